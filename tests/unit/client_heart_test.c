/* SPDX-License-Identifier: Apache-2.0 */
/* What a node needs of the client: signs of life from a thread, stats, routes, services that change, questions that nobody
 * waits for. Against a scripted broker. */
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "tests/unit/script.h"

/* Waits for the client's next message without stepping it. */
static void expect_unstepped(struct script *s, const char *verb)
{
    zmq_pollitem_t item = {s->socket, 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, PATIENCE_MS), 1);
    assert_true(hear(s));
    assert_string_equal(s->verb, verb);
}

static void expect_past_pings(struct script *s, const char *verb)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    do {
        while (!hear(s)) {
            assert_true(clock_mono_ms() < until);
            assert_true(ls_client_step(s->client, 5, NULL) >= 0);
        }
    } while (strcmp(s->verb, "PING") == 0);
    assert_string_equal(s->verb, verb);
}

/* ---- the heart ---- */

static void the_thread_keeps_a_session_while_nobody_steps(void **state)
{
    struct script *s = *state;
    start(s, (struct ls_client_options){.hb_ms = 1000, .heartbeat_thread = true});
    for (int i = 0; i < 7; i++) { /* one every half of hb: longer than the three hb that a broker waits */
        expect_unstepped(s, "PING");
        say(s, "PONG", "u:now_us", 1, "b:session", 1);
    }
    const struct ls_event event = {.topic = ls_str("a.b"), .id = ls_str("after")};
    assert_int_equal(ls_publish(s->client, &event, NULL, NULL, NULL), 0);
    expect_past_pings(s, "PUB");
    assert_true(ls_client_connected(s->client));
    struct ls_counters counters;
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.connects, 1);
}

static void what_the_thread_reads_past_wakes_the_loop(void **state)
{
    struct script *s = *state;
    int called = 0;
    start(s, (struct ls_client_options){.hb_ms = 1000, .heartbeat_thread = true});
    ls_client_step(s->client, 0, NULL);
    while (ls_client_due(s->client) == 0)
        ls_client_step(s->client, 0, NULL);
    expect_unstepped(s, "PING"); /* sending it read the mailbox of the socket */
    say(s, "PONG", "u:now_us", 1, "b:session", 1);
    struct pollfd wait = {.fd = ls_client_fd(s->client), .events = POLLIN};
    called = poll(&wait, 1, PATIENCE_MS);
    assert_int_equal(called, 1);
    assert_int_equal(ls_client_due(s->client), 0);
}

static void a_loop_that_never_comes_back_falls_silent(void **state)
{
    struct script *s = *state;
    char line[400] = "";
    int ends[2], saved = dup(STDERR_FILENO);
    start(s, (struct ls_client_options){.hb_ms = 1000, .heartbeat_thread = true, .stall_ms = 1200});
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    int told = poll(&wait, 1, PATIENCE_MS);
    dup2(saved, STDERR_FILENO);
    assert_int_equal(told, 1);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, " stalled "));
    while (hear(s))
        assert_string_equal(s->verb, "PING");
    ls_client_step(s->client, 0, NULL); /* it lives again */
    expect_unstepped(s, "PING");
    close(ends[0]);
    close(ends[1]);
    close(saved);
}

/* ---- stats and routes ---- */

static void stats_travel_with_every_ping(void **state)
{
    struct script *s = *state;
    struct buf map = {0};
    uint64_t value = 0;
    struct ls_error err;
    start(s, (struct ls_client_options){.hb_ms = 1000});
    buf_pack_map(&map, 1);
    buf_pair_uint(&map, "events_total", 42);
    assert_int_equal(ls_stats(s->client, ls_bytes(map.data, map.len), NULL), 0);
    expect(s, "PING");
    assert_true(wire_uint(heard(s, "stats"), "events_total", &value) && value == 42);
    assert_int_equal(ls_stats(s->client, ls_str("x"), &err), -1);
    assert_string_equal(err.name, "BAD_VALUE");
    buf_fini(&map);
}

static void stats_stay_fresh_under_other_traffic(void **state)
{
    struct script *s = *state;
    struct buf map = {0};
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){.hb_ms = 1000, .unacked_max = 100000});
    buf_pack_map(&map, 1);
    buf_pair_uint(&map, "a", 1);
    assert_int_equal(ls_stats(s->client, ls_bytes(map.data, map.len), NULL), 0);
    for (bool pinged = false; !pinged; pinged = strcmp(s->verb, "PING") == 0) {
        assert_true(clock_mono_ms() < until);
        ls_publish(s->client, &event, NULL, NULL, NULL);
        ls_client_step(s->client, 5, NULL);
        hear(s);
        say(s, "PONG", "u:now_us", 1, "b:session", 1);
    }
    buf_fini(&map);
}

static void hello_carries_the_routes(void **state)
{
    struct script *s = *state;
    struct buf routes = {0};
    struct ls_error err;
    uint32_t count = 0;
    buf_pack_array(&routes, 1);
    buf_pack_map(&routes, 1);
    buf_pair_str(&routes, "path", "/api/x");
    start(s, (struct ls_client_options){.routes = ls_bytes(routes.data, routes.len)});
    struct mp list = heard(s, "routes");
    assert_true(mp_array(&list, &count) && count == 1);
    const struct ls_client_options bad = {.routes = ls_str("\x80")};
    assert_null(ls_client_open(&bad, &err));
    assert_string_equal(err.name, "USAGE");
    buf_fini(&routes);
}

/* ---- a service that changes ---- */

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    (void) request;
    *(struct ls_call **) arg = call;
}

static void about_map(struct buf *b, const char *model)
{
    buf_clear(b);
    buf_pack_map(b, 1);
    buf_pair_str(b, "model", model);
}

static bool about_is(struct script *s, const char *model)
{
    struct ls_slice value = {0};
    return wire_str(heard(s, "about"), "model", &value) && ls_slice_is(value, model);
}

static void an_update_is_sub_again(void **state)
{
    static const char *const TOPICS[] = {"do.it", NULL};
    struct script *s = *state;
    struct ls_call *call = NULL;
    struct buf about = {0};
    struct ls_error err;
    start(s, (struct ls_client_options){0});
    about_map(&about, "small");
    const struct ls_service service = {.topics = TOPICS, .slots = 4, .about = ls_bytes(about.data, about.len),
                                       .request = on_request, .arg = &call};
    uint32_t cid = ls_serve(s->client, &service, NULL);
    expect(s, "SUB");
    assert_true(heard_uint(s, "slots") == 4 && about_is(s, "small"));
    say(s, "OK", "u:cid", 1);
    about_map(&about, "large");
    assert_int_equal(ls_service_update(s->client, cid, 8, ls_bytes(about.data, about.len), NULL), 0);
    expect(s, "SUB");
    assert_true(heard_uint(s, "cid") == cid && heard_uint(s, "slots") == 8 && about_is(s, "large"));
    assert_int_equal(ls_service_update(s->client, cid, 0, (struct ls_slice){0}, NULL), 0);
    expect(s, "SUB");
    assert_true(heard_uint(s, "slots") == 0 && about_is(s, "large"));
    restart_script(s);
    welcome(s);
    expect(s, "SUB"); /* the next session begins where this one was */
    assert_true(heard_uint(s, "slots") == 0 && about_is(s, "large"));
    assert_int_equal(ls_service_update(s->client, 99, 1, (struct ls_slice){0}, &err), -1);
    assert_string_equal(err.name, "NOT_FOUND");
    assert_int_equal(ls_service_update(s->client, cid, 1, ls_str("x"), &err), -1);
    assert_string_equal(err.name, "BAD_VALUE");
    buf_fini(&about);
}

static void calls_in_hand_are_counted(void **state)
{
    static const char *const TOPICS[] = {"do.it", NULL};
    struct script *s = *state;
    struct ls_call *call = NULL;
    struct ls_counters counters;
    start(s, (struct ls_client_options){0});
    const struct ls_service service = {.topics = TOPICS, .request = on_request, .arg = &call};
    ls_serve(s->client, &service, NULL);
    expect(s, "SUB");
    say(s, "REQ", "u:cid", 1, "u:rid", 7, "s:topic", "do.it", "u:timeout", 1000, "u:parts", 1);
    while (!call)
        ls_client_step(s->client, 5, NULL);
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.calls, 1);
    assert_int_equal(ls_reply(call, ls_str("yes"), (struct ls_slice){0}, true, NULL), 0);
    ls_client_counters(s->client, &counters);
    assert_int_equal(counters.calls, 0);
}

/* ---- questions ---- */

struct answer {
    int count;
    char name[24];
    uint64_t value;
};

static void answered(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct answer *a = arg;
    a->count++;
    if (err)
        snprintf(a->name, sizeof a->name, "%s", err->name);
    else
        wire_uint(wire_map(reply), "value", &a->value);
}

static void ask(struct script *s, struct answer *a)
{
    struct buf request = {0};
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", "info");
    assert_int_equal(ls_adm(s->client, ls_bytes(request.data, request.len), answered, a, NULL), 0);
    buf_fini(&request);
}

static void questions_find_their_answers(void **state)
{
    struct script *s = *state;
    struct answer one = {0}, two = {0};
    struct ls_error err;
    start(s, (struct ls_client_options){0});
    ask(s, &one);
    ask(s, &two);
    expect(s, "ADM");
    assert_true(heard_is(s, "op", "info"));
    uint64_t first = heard_uint(s, "tag");
    expect(s, "ADM");
    say(s, "OK", "u:tag", (int) heard_uint(s, "tag"), "u:value", 2);
    say(s, "ERR", "u:tag", (int) first, "s:name", "DENIED", "u:number", 403);
    until_equal(s, &one.count, 1);
    until_equal(s, &two.count, 1);
    assert_string_equal(one.name, "DENIED");
    assert_true(two.value == 2 && !two.name[0]);
    assert_int_equal(ls_adm(s->client, ls_str("x"), answered, &one, &err), -1);
    assert_string_equal(err.name, "USAGE");
}

static void a_question_survives_a_reconnect(void **state)
{
    struct script *s = *state;
    struct answer a = {0};
    start(s, (struct ls_client_options){0});
    ask(s, &a);
    expect(s, "ADM");
    restart_script(s);
    welcome(s);
    expect(s, "ADM");
    say(s, "OK", "u:tag", (int) heard_uint(s, "tag"), "u:value", 9);
    until_equal(s, &a.count, 1);
    assert_int_equal(a.value, 9);
}

static void an_ended_client_answers_with_why(void **state)
{
    struct script *s = *state;
    struct answer a = {0};
    start(s, (struct ls_client_options){0});
    ask(s, &a);
    say(s, "GOODBYE", "s:reason", "replaced");
    while (ls_client_step(s->client, 5, NULL) >= 0)
        continue;
    assert_int_equal(a.count, 1);
    assert_string_equal(a.name, "CONFLICT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_thread_keeps_a_session_while_nobody_steps),
        TEST(what_the_thread_reads_past_wakes_the_loop),
        TEST(a_loop_that_never_comes_back_falls_silent),
        TEST(stats_travel_with_every_ping),
        TEST(stats_stay_fresh_under_other_traffic),
        TEST(hello_carries_the_routes),
        TEST(an_update_is_sub_again),
        TEST(calls_in_hand_are_counted),
        TEST(questions_find_their_answers),
        TEST(a_question_survives_a_reconnect),
        TEST(an_ended_client_answers_with_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
