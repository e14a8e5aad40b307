/* SPDX-License-Identifier: Apache-2.0 */
/* The client's sessions and its publishing, against a scripted broker. */
#include "tests/unit/script.h"

/* ---- sessions ---- */

static void hello_introduces_the_client(void **state)
{
    struct script *s = *state;
    start(s, (struct ls_client_options){.name = "tracker", .member = "m1", .hb_ms = 2000});
    assert_true(heard_is(s, "client", "tracker") && heard_is(s, "member", "m1"));
    assert_int_equal(heard_uint(s, "v"), 1);
    assert_int_equal(heard_uint(s, "hb"), 2000);
    assert_int_equal(s->state, LS_CONNECTED);
    assert_string_equal(ls_client_server(s->client)->server, "script/1");
    assert_int_equal(ls_client_server(s->client)->body_max, 100000);
}

static void a_missing_broker_is_named(void **state)
{
    struct script *s = *state;
    struct ls_error err;
    zmq_close(s->socket);
    s->socket = NULL;
    const struct ls_client_options options = {.url = s->url, .notice = noticed, .arg = s};
    s->client = ls_client_open(&options, &err);
    assert_int_equal(ls_client_wait(s->client, 150, &err), -1);
    assert_string_equal(err.name, "UNREACHABLE");
    assert_true(err.again);
    assert_non_null(strstr(err.text, s->url));
    assert_non_null(strstr(err.text, "lineshaft up"));
    assert_int_equal(s->notices, 1); /* one word per outage, however many attempts */
}

static void a_bad_address_is_refused(void **state)
{
    (void) state;
    struct ls_error err;
    const struct ls_client_options options = {.url = "localhost"};
    assert_null(ls_client_open(&options, &err));
    assert_string_equal(err.name, "USAGE");
}

static void no_session_means_hello_and_sub_again(void **state)
{
    struct script *s = *state;
    start(s, (struct ls_client_options){0});
    const struct ls_subscription sub = {.consumer = "c", .window = 10};
    ls_subscribe(s->client, &sub, NULL, NULL, NULL);
    expect(s, "SUB");
    say(s, "ERR", "s:name", "NO_SESSION", "u:number", 401);
    welcome(s);
    expect(s, "SUB");
    assert_true(heard_is(s, "consumer", "c"));
    assert_int_equal(heard_uint(s, "window"), 10);
    struct ls_counters counters;
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.connects, 2);
}

static void goodbye_stopping_reconnects(void **state)
{
    struct script *s = *state;
    start(s, (struct ls_client_options){0});
    say(s, "GOODBYE", "s:reason", "stopping", "u:retry_ms", 1);
    welcome(s);
    assert_int_equal(s->state, LS_CONNECTED);
}

static void published(void *arg, const struct ls_published *result)
{
    char *text = arg;
    snprintf(text, 40, "%.*s%s%s", (int) result->level.len, result->level.len ? result->level.data : "",
             result->dup ? " dup" : "", result->err ? result->err->name : "");
}

static void goodbye_replaced_ends_everything(void **state)
{
    struct script *s = *state;
    char outcome[40] = "";
    const struct ls_event event = {.topic = ls_str("a.b")};
    struct ls_error err;
    start(s, (struct ls_client_options){0});
    ls_publish(s->client, &event, published, outcome, NULL);
    say(s, "GOODBYE", "s:reason", "replaced");
    while (ls_client_step(s->client, 5, &err) >= 0)
        continue;
    assert_string_equal(err.name, "CONFLICT");
    assert_string_equal(outcome, "CONFLICT");
    assert_int_equal(s->state, LS_ENDED);
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, &err), -1);
}

/* ---- publish ---- */

static void one_event_goes_at_once(void **state)
{
    struct script *s = *state;
    char outcome[40] = "";
    struct ls_counters counters;
    const struct ls_event event = {.topic = ls_str("run.metric"), .subject = ls_str("r1"), .body = ls_str("{}")};
    start(s, (struct ls_client_options){0});
    assert_int_equal(ls_publish(s->client, &event, published, outcome, NULL), 0);
    expect(s, "PUB");
    assert_true(heard_is(s, "topic", "run.metric") && heard_is(s, "subject", "r1"));
    assert_int_equal(heard_uint(s, "n"), 1);
    struct mp id = heard(s, "id");
    struct mp_slice text;
    assert_true(mp_str(&id, &text) && text.len == 36);
    say(s, "OK", "u:upto", 1, "s:level", "disk", "u:dup", 1);
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_string_equal(outcome, "disk dup");
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.acknowledged, 1);
    assert_int_equal(counters.unacked_bytes, 0);
}

static void many_events_make_batches(void **state)
{
    struct script *s = *state;
    struct ls_event event = {.topic = ls_str("run.metric"), .body = ls_str("{}")};
    start(s, (struct ls_client_options){0});
    for (int i = 0; i < 100; i++)
        assert_int_equal(ls_publish(s->client, &event, NULL, NULL, NULL), 0);
    expect(s, "PUB"); /* the first did not wait for the others */
    assert_int_equal(heard_uint(s, "n"), 1);
    expect(s, "PUB");
    assert_int_equal(heard_uint(s, "batch"), 64);
    assert_int_equal(heard_uint(s, "n"), 2);
    struct ls_slice packed = ls_bytes(s->body.data, s->body.len), header, body, topic;
    int count = 0;
    for (; wire_packed_next(&packed, &header, &body); count++)
        assert_true(wire_str(wire_map(header), "topic", &topic) && ls_slice_is(topic, "run.metric"));
    assert_int_equal(count, 64);
    assert_int_equal(packed.len, 0);
    expect(s, "PUB");
    assert_int_equal(heard_uint(s, "batch"), 35);
    assert_int_equal(heard_uint(s, "n"), 66);
    say(s, "OK", "u:upto", 100, "s:level", "disk");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
}

static void batch_max_one_never_batches(void **state)
{
    struct script *s = *state;
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){.batch_max = 1});
    for (int i = 0; i < 3; i++)
        ls_publish(s->client, &event, NULL, NULL, NULL);
    for (uint64_t n = 1; n <= 3; n++) {
        expect(s, "PUB");
        assert_int_equal(heard_uint(s, "n"), n);
    }
}

static void unacknowledged_events_survive_the_broker(void **state)
{
    struct script *s = *state;
    const struct ls_event one = {.topic = ls_str("a.b"), .id = ls_str("one")};
    const struct ls_event two = {.topic = ls_str("a.b"), .id = ls_str("two")};
    const struct ls_event three = {.topic = ls_str("a.b"), .id = ls_str("three")};
    start(s, (struct ls_client_options){.batch_max = 1});
    ls_publish(s->client, &one, NULL, NULL, NULL);
    ls_publish(s->client, &two, NULL, NULL, NULL);
    expect(s, "PUB");
    expect(s, "PUB");
    say(s, "OK", "u:upto", 1, "s:level", "disk");
    struct ls_counters counters = {0};
    while (counters.acknowledged < 1) {
        ls_client_step(s->client, 5, NULL);
        ls_client_counters(s->client, &counters);
    }
    restart_script(s); /* the OK for "two" is lost */
    ls_publish(s->client, &three, NULL, NULL, NULL);
    welcome(s);
    expect(s, "PUB");
    assert_true(heard_is(s, "id", "two"));
    assert_int_equal(heard_uint(s, "n"), 1);
    expect(s, "PUB");
    assert_true(heard_is(s, "id", "three"));
    assert_int_equal(heard_uint(s, "n"), 2);
    say(s, "OK", "u:upto", 2, "s:level", "disk");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.resent, 2); /* "three" had left on the dying connection */
}

static void a_full_window_says_so(void **state)
{
    struct script *s = *state;
    const struct ls_event event = {.topic = ls_str("a.b")};
    struct ls_error err;
    start(s, (struct ls_client_options){.unacked_max = 2});
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, &err), 0);
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, &err), 0);
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, &err), -1);
    assert_string_equal(err.name, "BUSY");
    assert_true(err.again);
    expect(s, "PUB");
    expect(s, "PUB");
    say(s, "OK", "u:upto", 2, "s:level", "disk");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, &err), 0);
}

static void a_refused_event_is_reported_and_stops_nothing(void **state)
{
    struct script *s = *state;
    char first[40] = "", second[40] = "";
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){.batch_max = 1});
    ls_publish(s->client, &event, published, first, NULL);
    ls_publish(s->client, &event, published, second, NULL);
    expect(s, "PUB");
    expect(s, "PUB");
    say(s, "ERR", "u:n", 1, "s:name", "SCHEMA", "u:number", 422, "b:again", 0, "s:text", "no");
    say(s, "OK", "u:upto", 2, "s:level", "none");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_string_equal(first, "SCHEMA");
    assert_string_equal(second, "none");
}

static void a_whole_batch_can_be_refused(void **state)
{
    struct script *s = *state;
    char outcome[4][40] = {"", "", "", ""};
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){0});
    for (int i = 0; i < 4; i++)
        ls_publish(s->client, &event, published, outcome[i], NULL);
    expect(s, "PUB");
    expect(s, "PUB");
    assert_int_equal(heard_uint(s, "batch"), 3);
    say(s, "ERR", "u:n", 2, "u:count", 2, "s:name", "TOO_BIG", "u:number", 413);
    say(s, "OK", "u:upto", 4, "s:level", "disk");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_string_equal(outcome[0], "disk");
    assert_string_equal(outcome[1], "TOO_BIG");
    assert_string_equal(outcome[2], "TOO_BIG");
    assert_string_equal(outcome[3], "disk");
}

static void again_means_the_same_id_under_a_new_n(void **state)
{
    struct script *s = *state;
    char outcome[40] = "";
    const struct ls_event event = {.topic = ls_str("a.b"), .id = ls_str("same")};
    start(s, (struct ls_client_options){0});
    ls_publish(s->client, &event, published, outcome, NULL);
    expect(s, "PUB");
    say(s, "ERR", "u:n", 1, "s:name", "BUSY", "u:number", 429, "b:again", 1, "u:retry_ms", 1);
    expect(s, "PUB");
    assert_true(heard_is(s, "id", "same"));
    assert_int_equal(heard_uint(s, "n"), 2);
    say(s, "OK", "u:upto", 2, "s:level", "disk");
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_string_equal(outcome, "disk");
}

static void again_ends_at_the_deadline(void **state)
{
    struct script *s = *state;
    char outcome[40] = "";
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){.publish_retry_ms = 5000});
    ls_publish(s->client, &event, published, outcome, NULL);
    expect(s, "PUB");
    say(s, "ERR", "u:n", 1, "s:name", "BUSY", "u:number", 429, "b:again", 1, "u:retry_ms", 6000);
    assert_int_equal(ls_flush(s->client, PATIENCE_MS, NULL), 0);
    assert_string_equal(outcome, "BUSY");
}

static void what_no_broker_takes_is_refused_at_once(void **state)
{
    struct script *s = *state;
    struct ls_error err;
    static char big[100001];
    start(s, (struct ls_client_options){0});
    const struct ls_event bad_topic = {.topic = ls_str("Not A Topic")};
    const struct ls_event too_big = {.topic = ls_str("a.b"), .body = ls_bytes(big, sizeof big)};
    const struct ls_event bad_more = {.topic = ls_str("a.b"), .more = ls_str("x")};
    assert_int_equal(ls_publish(s->client, &bad_topic, NULL, NULL, &err), -1);
    assert_string_equal(err.name, "BAD_TOPIC");
    assert_int_equal(ls_publish(s->client, &too_big, NULL, NULL, &err), -1);
    assert_string_equal(err.name, "TOO_BIG");
    assert_int_equal(ls_publish(s->client, &bad_more, NULL, NULL, &err), -1);
    assert_string_equal(err.name, "BAD_VALUE");
    expect_silence(s);
}

static void publish_wait_tells_the_place(void **state)
{
    struct script *s = *state;
    const struct ls_event event = {.topic = ls_str("a.b"), .id = ls_str("x")};
    struct ls_published result;
    start(s, (struct ls_client_options){0});
    /* The answer is there before the question, whose tag is known. */
    say(s, "OK", "u:tag", 1, "s:id", "x", "s:stream", "events", "u:seq", 42, "s:level", "disk");
    assert_int_equal(ls_publish_wait(s->client, &event, PATIENCE_MS, &result, NULL), 0);
    assert_int_equal(result.seq, 42);
    assert_true(ls_slice_is(result.stream, "events") && ls_slice_is(result.level, "disk"));
    assert_true(ls_slice_is(result.id, "x"));
    assert_false(result.dup);
    expect(s, "PUB");
    assert_int_equal(heard_uint(s, "tag"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_introduces_the_client),
        TEST(a_missing_broker_is_named),
        TEST(a_bad_address_is_refused),
        TEST(no_session_means_hello_and_sub_again),
        TEST(goodbye_stopping_reconnects),
        TEST(goodbye_replaced_ends_everything),
        TEST(one_event_goes_at_once),
        TEST(many_events_make_batches),
        TEST(batch_max_one_never_batches),
        TEST(unacknowledged_events_survive_the_broker),
        TEST(a_full_window_says_so),
        TEST(a_refused_event_is_reported_and_stops_nothing),
        TEST(a_whole_batch_can_be_refused),
        TEST(again_means_the_same_id_under_a_new_n),
        TEST(again_ends_at_the_deadline),
        TEST(what_no_broker_takes_is_refused_at_once),
        TEST(publish_wait_tells_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
