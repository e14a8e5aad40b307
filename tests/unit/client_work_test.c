/* SPDX-License-Identifier: Apache-2.0 */
/* The client's subscriptions, requests, services and reading, against a scripted broker. */
#include <poll.h>

#include "tests/unit/script.h"

/* ---- consume ---- */

struct seen {
    int count;
    uint64_t last_seq;
    enum ls_verdict verdict;
    struct ls_client *client;
    char source[20], text[40];
};

static enum ls_verdict see(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct seen *seen = arg;
    seen->count++;
    seen->last_seq = event->seq;
    wire_copy(seen->source, sizeof seen->source, event->source);
    snprintf(seen->text, sizeof seen->text, "%.*s %u %u", (int) event->topic.len, event->topic.data, event->attempt,
             event->subscription);
    if (seen->verdict == LS_RETRY || seen->verdict == LS_REJECT)
        snprintf(err->text, sizeof err->text, "broken");
    if (seen->verdict == LS_RETRY)
        err->retry_ms = 250;
    return seen->verdict;
}

static void subscribe_durable(struct script *s, struct seen *seen)
{
    static const int backoff[] = {10, 20};
    static const char *const takes[] = {"a.*", NULL};
    const struct ls_subscription sub = {.consumer = "c", .stream = "events", .topics = takes, .window = 100,
                                        .each = true, .backoff_ms = backoff, .backoff_count = 2, .max_deliver = -1,
                                        .from = {LS_FROM_SEQ, 7}};
    start(s, (struct ls_client_options){0});
    assert_int_equal(ls_subscribe(s->client, &sub, see, seen, NULL), 1);
    expect(s, "SUB");
    say(s, "OK", "u:cid", 1, "s:stream", "events", "u:next", 7, "u:pending", 3);
}

static void sub_carries_what_was_asked(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    struct ls_subscribed standing;
    subscribe_durable(s, &seen);
    uint64_t value = 1;
    struct mp from = heard(s, "from"), backoff = heard(s, "backoff"), takes = heard(s, "takes");
    uint32_t items;
    assert_true(wire_uint(from, "seq", &value) && value == 7);
    assert_true(mp_array(&backoff, &items) && items == 2 && mp_array(&takes, &items) && items == 1);
    assert_int_equal(heard_uint(s, "max_deliver"), 0);
    assert_true(heard_is(s, "share", "each") && heard_is(s, "consumer", "c") && heard_is(s, "stream", "events"));
    assert_true(wire_bool(mp_over(s->header.data, s->header.len), "batch"));
    assert_int_equal(ls_subscribed_wait(s->client, 1, PATIENCE_MS, &standing, NULL), 0);
    assert_int_equal(standing.next, 7);
    assert_int_equal(standing.pending, 3);
}

static void acknowledgements_are_gathered_into_ranges(void **state)
{
    struct script *s = *state;
    struct seen seen = {.verdict = LS_PENDING};
    subscribe_durable(s, &seen);
    static const int order[] = {9, 5, 7, 6, 12};
    for (int i = 0; i < 5; i++)
        deliver(s, 1, order[i]);
    until_equal(s, &seen.count, 5);
    assert_string_equal(seen.text, "a.b 2 1");
    for (int i = 0; i < 5; i++)
        ls_ack(s->client, 1, (uint64_t) order[i]);
    expect(s, "ACK");
    assert_int_equal(heard_uint(s, "cid"), 1);
    struct mp seqs = heard(s, "seqs");
    uint32_t items;
    uint64_t a, b, c, d;
    assert_true(mp_array(&seqs, &items) && items == 3);
    assert_true(mp_array(&seqs, &items) && items == 2 && mp_uint(&seqs, &a) && mp_uint(&seqs, &b));
    assert_true(mp_uint(&seqs, &c) && mp_uint(&seqs, &d));
    assert_true(a == 5 && b == 7 && c == 9 && d == 12);
}

static void verdicts_become_verbs(void **state)
{
    struct script *s = *state;
    struct seen seen = {.verdict = LS_RETRY};
    subscribe_durable(s, &seen);
    deliver(s, 1, 1);
    expect(s, "NAK");
    assert_int_equal(heard_uint(s, "delay"), 250);
    assert_true(heard_is(s, "error", "broken"));
    seen.verdict = LS_REJECT;
    deliver(s, 1, 2);
    expect(s, "TERM");
    assert_true(heard_is(s, "error", "broken"));
    seen.verdict = LS_DONE;
    deliver(s, 1, 3);
    expect(s, "ACK");
    ls_wip(s->client, 1, 4);
    expect(s, "WIP");
}

static void batches_are_delivered_one_by_one(void **state)
{
    struct script *s = *state;
    struct seen seen = {.verdict = LS_DONE};
    struct buf packed = {0}, event = {0};
    subscribe_durable(s, &seen);
    event_header(&event, "a.b", "e1");
    for (int i = 0; i < 3; i++)
        wire_packed_add(&packed, ls_bytes(event.data, event.len), ls_str("{}"));
    say_with(s, ls_bytes(packed.data, packed.len), "MSG", "u:cid", 1, "s:stream", "events", "u:seq", 10, "u:attempt", 1,
             "b:batch", 1, "u:count", 3, "s:source", "maker", NULL);
    expect(s, "ACK");
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.last_seq, 12);
    assert_string_equal(seen.source, "maker");
    buf_fini(&packed);
    buf_fini(&event);
}

static void a_refused_subscription_is_told(void **state)
{
    struct script *s = *state;
    struct ls_error err;
    const struct ls_subscription sub = {.consumer = "c"};
    start(s, (struct ls_client_options){0});
    ls_subscribe(s->client, &sub, see, NULL, NULL);
    say(s, "ERR", "u:cid", 1, "s:name", "CONFLICT", "u:number", 409, "s:text", "differs");
    assert_int_equal(ls_subscribed_wait(s->client, 1, PATIENCE_MS, NULL, &err), -1);
    assert_string_equal(err.name, "CONFLICT");
    assert_string_equal(s->refused, "CONFLICT");
}

static void subscribe_ephemeral(struct script *s, struct seen *seen, const char *stream)
{
    static const char *const topics[] = {"a.>", NULL};
    const struct ls_subscription sub = {.topics = topics, .stream = stream, .window = 4, .from = {LS_FROM_LAST, 3}};
    start(s, (struct ls_client_options){0});
    ls_subscribe(s->client, &sub, see, seen, NULL);
    expect(s, "SUB");
    say(s, "OK", "u:cid", 1);
}

static void ephemeral_credit_is_given_back(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    subscribe_ephemeral(s, &seen, NULL);
    deliver(s, 1, 1);
    deliver(s, 1, 2);
    expect(s, "MORE");
    assert_int_equal(heard_uint(s, "n"), 2);
    assert_int_equal(heard_uint(s, "cid"), 1);
}

static void ephemeral_goes_on_where_it_was(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    uint64_t value = 0;
    subscribe_ephemeral(s, &seen, NULL);
    struct mp from = heard(s, "from"), streams, place;
    assert_true(wire_uint(from, "last", &value) && value == 3);
    deliver(s, 1, 8);
    until_equal(s, &seen.count, 1);
    restart_script(s);
    welcome(s);
    expect(s, "SUB");
    from = heard(s, "from");
    assert_true(mp_find(from, "streams", &streams) && mp_find(streams, "events", &place));
    assert_true(wire_uint(place, "seq", &value) && value == 9);
}

static void unsubscribe_says_bye_and_deafens(void **state)
{
    struct script *s = *state;
    struct seen seen = {.verdict = LS_PENDING};
    subscribe_durable(s, &seen);
    ls_unsubscribe(s->client, 1);
    expect(s, "BYE");
    assert_int_equal(heard_uint(s, "cid"), 1);
    deliver(s, 1, 1);
    expect_silence(s);
    assert_int_equal(seen.count, 0);
}

/* The client in a poll loop that trusts ls_client_fd and ls_client_due alone. */
static void the_descriptor_drives_a_foreign_loop(void **state)
{
    struct script *s = *state;
    struct seen seen = {.verdict = LS_DONE};
    subscribe_durable(s, &seen);
    for (int round = 1; round <= 20; round++) {
        deliver(s, 1, round);
        while (seen.count < round) {
            struct pollfd item = {.fd = ls_client_fd(s->client), .events = POLLIN};
            int due = ls_client_due(s->client);
            if (due)
                assert_int_equal(poll(&item, 1, due), 1); /* a sleep to its end would mean a missed wake-up */
            assert_true(ls_client_step(s->client, 0, NULL) >= 0);
        }
    }
}

static struct ls_error nested;
static enum ls_verdict waits_inside(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct seen *seen = arg;
    (void) event;
    (void) err;
    seen->count++;
    ls_flush(seen->client, 1000, &nested);
    return LS_DONE;
}

static void waiting_inside_a_callback_is_refused(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    const struct ls_subscription sub = {.consumer = "c"};
    const struct ls_event event = {.topic = ls_str("a.b")};
    start(s, (struct ls_client_options){0});
    seen.client = s->client;
    ls_publish(s->client, &event, NULL, NULL, NULL);
    expect(s, "PUB");
    ls_subscribe(s->client, &sub, waits_inside, &seen, NULL);
    expect(s, "SUB");
    deliver(s, 1, 1);
    until_equal(s, &seen.count, 1);
    assert_string_equal(nested.name, "USAGE");
}

/* ---- requests ---- */

struct answer {
    int parts, done;
    char text[40], err[24];
};

static void take_part(void *arg, const struct ls_part *part)
{
    struct answer *answer = arg;
    answer->parts++;
    answer->done += part->last;
    if (part->body.len)
        strncat(answer->text, part->body.data, part->body.len);
    if (part->err)
        snprintf(answer->err, sizeof answer->err, "%s", part->err->name);
}

static uint64_t ask(struct script *s, struct answer *answer)
{
    const struct ls_event request = {.topic = ls_str("chat.generate"), .body = ls_str("hi")};
    const struct ls_request_options options = {.timeout_ms = 9000, .parts = 4};
    uint64_t rid = ls_request(s->client, &request, &options, take_part, answer, NULL);
    expect(s, "REQ");
    assert_int_equal(heard_uint(s, "rid"), rid);
    return rid;
}

static void rep(struct script *s, uint64_t rid, const char *body, bool more, const char *error)
{
    struct buf h = {0};
    buf_pack_map(&h, 2 + (error != NULL));
    buf_pack_str(&h, "rid");
    buf_pack_uint(&h, rid);
    buf_pack_str(&h, "more");
    buf_pack_bool(&h, more);
    if (error) {
        buf_pack_str(&h, "error");
        buf_pack_str(&h, error);
    }
    send_frames(s, "REP", &h, ls_str(body), (struct ls_slice){0});
    buf_fini(&h);
}

static void parts_come_in_and_credit_goes_out(void **state)
{
    struct script *s = *state;
    struct answer answer = {0};
    start(s, (struct ls_client_options){0});
    uint64_t rid = ask(s, &answer);
    assert_int_equal(heard_uint(s, "parts"), 4);
    assert_true(heard_uint(s, "timeout") <= 9000);
    rep(s, rid, "a", true, NULL);
    rep(s, rid, "b", true, NULL);
    expect(s, "MORE");
    assert_int_equal(heard_uint(s, "rid"), rid);
    assert_int_equal(heard_uint(s, "parts"), 2);
    rep(s, rid, "c", false, NULL);
    until_equal(s, &answer.done, 1);
    assert_string_equal(answer.text, "abc");
}

static void a_failing_worker_is_told(void **state)
{
    struct script *s = *state;
    struct answer answer = {0};
    start(s, (struct ls_client_options){0});
    rep(s, ask(s, &answer), "", false, "the model is on fire");
    until_equal(s, &answer.done, 1);
    assert_string_equal(answer.err, "FAILED");
}

static void a_lost_connection_ends_open_requests(void **state)
{
    struct script *s = *state;
    struct answer answer = {0};
    start(s, (struct ls_client_options){0});
    ask(s, &answer);
    restart_script(s);
    until_equal(s, &answer.done, 1);
    assert_string_equal(answer.err, "UNREACHABLE");
}

static void cancel_is_passed_on(void **state)
{
    struct script *s = *state;
    struct answer answer = {0};
    start(s, (struct ls_client_options){0});
    uint64_t rid = ask(s, &answer);
    ls_request_cancel(s->client, rid);
    expect(s, "CANCEL");
    assert_int_equal(heard_uint(s, "rid"), rid);
    struct buf h = {0};
    buf_pack_map(&h, 2);
    buf_pack_str(&h, "rid");
    buf_pack_uint(&h, rid);
    buf_pack_str(&h, "name");
    buf_pack_str(&h, "CANCELLED");
    send_frames(s, "ERR", &h, (struct ls_slice){0}, (struct ls_slice){0});
    buf_fini(&h);
    until_equal(s, &answer.done, 1);
    assert_string_equal(answer.err, "CANCELLED");
}

/* ---- services ---- */

struct worker {
    int asked, credits, cancels;
    struct ls_call *call;
    char topic[40], reason[20];
};

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    struct worker *w = arg;
    w->asked++;
    w->call = call;
    wire_copy(w->topic, sizeof w->topic, request->topic);
}

static void on_credit(void *arg, struct ls_call *call)
{
    struct worker *w = arg;
    w->credits++;
    w->call = call;
}

static void on_cancel(void *arg, struct ls_call *call, const char *reason)
{
    struct worker *w = arg;
    (void) call;
    w->cancels++;
    snprintf(w->reason, sizeof w->reason, "%s", reason);
}

static void serve(struct script *s, struct worker *w)
{
    static const char *const topics[] = {"chat.*", NULL};
    const struct ls_service service = {.topics = topics, .slots = 2, .request = on_request, .cancelled = on_cancel,
                                       .credit = on_credit, .arg = w};
    start(s, (struct ls_client_options){0});
    assert_int_equal(ls_serve(s->client, &service, NULL), 1);
    expect(s, "SUB");
    assert_int_equal(heard_uint(s, "slots"), 2);
    say(s, "OK", "u:cid", 1);
    say(s, "REQ", "u:cid", 1, "u:rid", 5, "s:topic", "chat.generate", "u:timeout", 1000, "u:parts", 1);
    until_equal(s, &w->asked, 1);
}

static void a_worker_pauses_without_credit(void **state)
{
    struct script *s = *state;
    struct worker w = {0};
    struct ls_error err;
    serve(s, &w);
    assert_string_equal(w.topic, "chat.generate");
    assert_int_equal(w.call->timeout_ms, 1000);
    assert_int_equal(ls_reply(w.call, ls_str("one"), (struct ls_slice){0}, false, NULL), 0);
    assert_int_equal(ls_reply(w.call, ls_str("two"), (struct ls_slice){0}, true, &err), -1);
    assert_string_equal(err.name, "BUSY");
    expect(s, "REP");
    assert_int_equal(heard_uint(s, "rid"), 5);
    assert_int_equal(heard_uint(s, "n"), 0);
    assert_true(wire_bool(mp_over(s->header.data, s->header.len), "more"));
    say(s, "MORE", "u:rid", 5, "u:parts", 3);
    until_equal(s, &w.credits, 1);
    assert_int_equal(ls_reply(w.call, ls_str("two"), (struct ls_slice){0}, true, &err), 0);
    expect(s, "REP");
    assert_int_equal(heard_uint(s, "n"), 1);
    assert_false(wire_bool(mp_over(s->header.data, s->header.len), "more"));
}

static void a_worker_tells_its_failure(void **state)
{
    struct script *s = *state;
    struct worker w = {0};
    const struct ls_error why = {.text = "no such model", .number = 404};
    serve(s, &w);
    ls_reply_error(w.call, &why);
    expect(s, "REP");
    assert_true(heard_is(s, "error", "no such model"));
    assert_int_equal(heard_uint(s, "number"), 404);
}

static void a_cancelled_call_is_told(void **state)
{
    struct script *s = *state;
    struct worker w = {0};
    serve(s, &w);
    say(s, "CANCEL", "u:rid", 5, "s:reason", "timeout");
    until_equal(s, &w.cancels, 1);
    assert_string_equal(w.reason, "timeout");
}

static void calls_of_a_lost_session_are_cancelled(void **state)
{
    struct script *s = *state;
    struct worker w = {0};
    serve(s, &w);
    restart_script(s);
    until_equal(s, &w.cancels, 1);
    assert_string_equal(w.reason, "lost");
    welcome(s);
    expect(s, "SUB");
    assert_int_equal(heard_uint(s, "slots"), 2);
}

/* ---- reading and administration ---- */

static void a_page_is_read(void **state)
{
    struct script *s = *state;
    struct seen seen = {0};
    struct ls_page page;
    const struct ls_range range = {.stream = "events", .from = {LS_FROM_SEQ, 3}, .count = 10};
    struct buf event = {0}, header = {0};
    start(s, (struct ls_client_options){0});
    event_header(&event, "a.b", "e1");
    buf_pack_map(&header, 3);
    buf_pack_str(&header, "tag");
    buf_pack_uint(&header, 1);
    buf_pack_str(&header, "stream");
    buf_pack_str(&header, "events");
    buf_pack_str(&header, "seq");
    buf_pack_uint(&header, 3);
    send_frames(s, "MSG", &header, ls_bytes(event.data, event.len), (struct ls_slice){0});
    say(s, "END", "u:tag", 1, "u:next", 4, "u:first", 1, "u:last", 3);
    assert_int_equal(ls_get_wait(s->client, &range, see, &seen, &page, PATIENCE_MS, NULL), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.last_seq, 3);
    assert_true(page.next == 4 && page.first == 1 && page.last == 3);
    expect(s, "GET");
    assert_int_equal(heard_uint(s, "from"), 3);
    assert_int_equal(heard_uint(s, "n"), 10);
    buf_fini(&event);
    buf_fini(&header);
}

static void adm_brings_the_map(void **state)
{
    struct script *s = *state;
    struct buf op = {0};
    char *reply;
    size_t len;
    uint64_t value = 0;
    struct ls_error err;
    start(s, (struct ls_client_options){0});
    buf_pack_map(&op, 1);
    buf_pack_str(&op, "op");
    buf_pack_str(&op, "info");
    say(s, "OK", "u:tag", 1, "u:sessions", 3);
    assert_int_equal(ls_adm_wait(s->client, ls_bytes(op.data, op.len), PATIENCE_MS, &reply, &len, NULL), 0);
    assert_true(wire_uint(mp_over(reply, len), "sessions", &value) && value == 3);
    free(reply);
    expect(s, "ADM");
    assert_true(heard_is(s, "op", "info"));
    say(s, "ERR", "u:tag", 2, "s:name", "NOT_FOUND", "u:number", 404);
    assert_int_equal(ls_adm_wait(s->client, ls_bytes(op.data, op.len), PATIENCE_MS, &reply, &len, &err), -1);
    assert_string_equal(err.name, "NOT_FOUND");
    buf_fini(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sub_carries_what_was_asked),
        TEST(acknowledgements_are_gathered_into_ranges),
        TEST(verdicts_become_verbs),
        TEST(batches_are_delivered_one_by_one),
        TEST(a_refused_subscription_is_told),
        TEST(ephemeral_credit_is_given_back),
        TEST(ephemeral_goes_on_where_it_was),
        TEST(unsubscribe_says_bye_and_deafens),
        TEST(the_descriptor_drives_a_foreign_loop),
        TEST(waiting_inside_a_callback_is_refused),
        TEST(parts_come_in_and_credit_goes_out),
        TEST(a_failing_worker_is_told),
        TEST(a_lost_connection_ends_open_requests),
        TEST(cancel_is_passed_on),
        TEST(a_worker_pauses_without_credit),
        TEST(a_worker_tells_its_failure),
        TEST(a_cancelled_call_is_told),
        TEST(calls_of_a_lost_session_are_cancelled),
        TEST(a_page_is_read),
        TEST(adm_brings_the_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
