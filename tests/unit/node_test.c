/* SPDX-License-Identifier: Apache-2.0 */
/* The node runner: a small kind in a process of its own, in dialogue with a scripted broker. */
#include "tests/unit/node_rig.h"

#define FLOOD 1500 /* more than the client's window of unacknowledged events */

/* ---- the kind ---- */

struct options {
    const char *greeting;
};

struct tester {
    struct node *node;
    const struct options *options;
    struct ls_call *call;
    uint64_t seq;
    struct timer timer;
    int64_t tick_at;
    int pipes[2][2];
    int stale, ready;
};

static void tell(struct tester *t, const char *topic, const char *subject)
{
    const struct ls_event event = {.topic = ls_str(topic), .subject = ls_str(subject)};
    node_publish(t->node, &event);
}

static void answer(struct tester *t, const char *text)
{
    struct ls_call *call = t->call;
    t->call = NULL;
    assert_int_equal(ls_reply(call, ls_str(text), (struct ls_slice){0}, true, NULL), 0);
}

static void on_timer(void *self, struct timer *timer)
{
    struct tester *t = self;
    assert_ptr_equal(timer, &t->timer);
    node_settle(t->node, CONSUMER, t->seq, LS_DONE, NULL);
}

static int tester_open(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct tester *t = self;
    struct buf about = {0};
    t->node = node;
    t->options = options;
    t->timer.fire = on_timer;
    t->tick_at = INT64_MAX;
    assert_ptr_equal(node_kind_options(node), options);
    assert_string_equal(node_name(node), "n");
    assert_string_equal(node_member(node), "n.1");
    buf_pack_map(&about, 1);
    buf_pair_str(&about, "model", "toy");
    node_about(node, ls_bytes(about.data, about.len));
    buf_fini(&about);
    if (t->options->greeting && strcmp(t->options->greeting, "pause") == 0)
        node_pause(node);
    if (t->options->greeting && strcmp(t->options->greeting, "fail") == 0)
        return error_set(err, "SYSTEM", "asked to fail");
    return 0;
}

static enum ls_verdict tester_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct tester *t = self;
    ++*node_metric(t->node, 0);
    *node_metric(t->node, 1) += 1500;
    if (ls_slice_is(event->topic, "e.done"))
        return LS_DONE;
    for (int i = 0; i < 2; i++) /* twice is as good as once */
        if (ls_slice_is(event->topic, "e.pause"))
            node_pause(t->node);
        else if (ls_slice_is(event->topic, "e.resume"))
            node_resume(t->node);
    if (ls_slice_is(event->topic, "e.pause") || ls_slice_is(event->topic, "e.resume"))
        return LS_DONE;
    if (ls_slice_is(event->topic, "e.follow"))
        return node_follow(t->node, event, "t.followed", json_pack("{s:f,s:[i,b,n]}", "a", 0.7, "b", 1, true), err);
    if (ls_slice_is(event->topic, "e.nothing"))
        return node_follow(t->node, event, "t.followed", json_pack("{s:s}", "a", "\xff"), err);
    if (ls_slice_is(event->topic, "e.later")) {
        t->seq = event->seq;
        node_working(t->node, event->subscription, event->seq);
        node_timer_set(t->node, &t->timer, 0);
        return LS_PENDING;
    }
    error_set(err, "FAILED", "no good");
    err->retry_ms = 20;
    return ls_slice_is(event->topic, "e.retry") ? LS_RETRY : LS_REJECT;
}

static void on_hold(void *arg, int fd, uint32_t events)
{
    struct tester *t = arg;
    char byte;
    assert_true(events & EPOLLIN);
    assert_int_equal(read(fd, &byte, 1), 1);
    node_unwatch(t->node, fd);
    if (t->call)
        answer(t, "held");
}

static void on_stale(void *arg, int fd, uint32_t events)
{
    (void) fd, (void) events;
    ((struct tester *) arg)->stale++;
}

/* Both pipes are ready in one turn. The first called closes the other and opens a silent one, which gets its number. */
static void on_pair(void *arg, int fd, uint32_t events)
{
    struct tester *t = arg;
    int other = fd == t->pipes[0][0] ? 1 : 0;
    (void) events;
    node_unwatch(t->node, fd);
    node_unwatch(t->node, t->pipes[other][0]);
    close(t->pipes[other][0]);
    close(t->pipes[other][1]);
    assert_int_equal(pipe(t->pipes[other]), 0);
    node_watch(t->node, t->pipes[other][0], EPOLLIN, on_stale, t);
    t->ready++;
    t->tick_at = clock_mono_ms();
}

static void watch_pair(struct tester *t)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(t->pipes[i]), 0);
        assert_int_equal(write(t->pipes[i][1], "x", 1), 1);
        node_watch(t->node, t->pipes[i][0], EPOLLIN, on_stale, t);
        node_watch(t->node, t->pipes[i][0], EPOLLIN, on_pair, t); /* again: changes the function */
    }
}

static enum ls_verdict flood(struct tester *t)
{
    char subject[16];
    for (int i = 0; i < FLOOD; i++) {
        snprintf(subject, sizeof subject, "%d", i);
        tell(t, "t.flood", subject);
    }
    answer(t, "flooded");
    return LS_DONE;
}

static enum ls_verdict tester_request(void *self, struct ls_call *call, const struct ls_event *request, struct ls_error *err)
{
    struct tester *t = self;
    char byte;
    t->call = call;
    if (ls_slice_is(request->topic, "r.json")) {
        t->call = NULL;
        return node_reply(call, node_json(request->body, err), err);
    }
    if (ls_slice_is(request->topic, "r.hold")) {
        node_watch(t->node, hold_fd, EPOLLIN, on_hold, t);
        return LS_PENDING;
    }
    if (ls_slice_is(request->topic, "r.parts"))
        return ls_reply(call, ls_str("one"), (struct ls_slice){0}, false, err) ? LS_REJECT : LS_PENDING;
    if (ls_slice_is(request->topic, "r.pair")) {
        watch_pair(t);
        return LS_PENDING;
    }
    if (ls_slice_is(request->topic, "r.block")) {
        assert_int_equal(read(hold_fd, &byte, 1), 1);
        answer(t, "late");
        return LS_DONE;
    }
    if (ls_slice_is(request->topic, "r.flood"))
        return flood(t);
    t->call = NULL;
    if (ls_slice_is(request->topic, "r.fail")) {
        error_set(err, "FAILED", "had enough");
        node_fail(t->node, err);
        return LS_PENDING;
    }
    error_set(err, "BAD_VALUE", "not so");
    return ls_slice_is(request->topic, "r.retry") ? LS_RETRY : LS_REJECT;
}

static void tester_cancelled(void *self, struct ls_call *call, const char *reason)
{
    struct tester *t = self;
    if (call == t->call)
        t->call = NULL;
    tell(t, "t.cancelled", reason);
}

static void tester_credit(void *self, struct ls_call *call)
{
    assert_int_equal(call->credit, 2);
    answer(self, "two");
}

static void tester_connected(void *self, const struct ls_error *err)
{
    struct tester *t = self;
    if (t->options->greeting)
        tell(t, err ? "t.lost" : "t.connected", t->options->greeting);
}

static int64_t tester_tick(void *self, int64_t now)
{
    struct tester *t = self;
    if (now < t->tick_at)
        return t->tick_at;
    if (t->ready++ < 3) /* turns enough for a stale report to show */
        return t->tick_at = now + 1;
    answer(t, t->stale ? "stale" : "fresh");
    return t->tick_at = INT64_MAX;
}

static size_t tester_busy(void *self)
{
    return ((struct tester *) self)->call != NULL;
}

static void tester_close(void *self)
{
    struct tester *t = self;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (t->pipes[i][j])
                close(t->pipes[i][j]);
}

static const struct kind_option OPTIONS[] = {{"greeting", KIND_TEXT, 0, offsetof(struct options, greeting), .help = "."}, {0}};
static const struct kind_route ROUTES[] = {
    {"GET", "/api/parts", "r.parts", "Parts.", true}, {"POST", "/api/other", "other.topic", NULL, false}, {0}};
static const struct kind_metric METRICS[] = {{"seen_total", "."}, {"waited_seconds_total", "."}, {0}};
static const struct kind KIND = {.name = "tester", .summary = ".", .options = OPTIONS, .options_size = sizeof(struct options),
                                 .slots = 3, .routes = ROUTES, .metrics = METRICS};
static const struct node_code CODE = {
    .kind = &KIND, .size = sizeof(struct tester), .open = tester_open, .event = tester_event, .request = tester_request,
    .cancelled = tester_cancelled, .credit = tester_credit, .connected = tester_connected, .tick = tester_tick,
    .busy = tester_busy, .close = tester_close};

/* ---- the rules ---- */

static void it_introduces_itself(void **state)
{
    struct bench *b = *state;
    struct ls_slice text = {0};
    uint32_t count = 0;
    start_wired(b, "");
    welcome_node(b);
    assert_true(heard_is(&b->s, "client", "n") && heard_is(&b->s, "member", "n.1"));
    struct mp routes = heard(&b->s, "routes");
    assert_true(mp_array(&routes, &count) && count == 1); /* the other route's topic is not served here */
    assert_true(wire_str(routes, "path", &text) && ls_slice_is(text, "/api/parts"));
    assert_true(wire_bool(routes, "bytes"));
    for (int i = 0; i < 2; i++) {
        expect_node(b, "SUB");
        if (heard_uint(&b->s, "cid") == CONSUMER) {
            assert_true(heard_is(&b->s, "consumer", "n"));
            assert_int_equal(heard_uint(&b->s, "window"), 5);
        } else {
            assert_int_equal(heard_uint(&b->s, "slots"), 3);
            assert_true(wire_str(heard(&b->s, "about"), "model", &text) && ls_slice_is(text, "toy"));
        }
    }
}

static void verdicts_settle_events(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_event(b, "e.done", 1);
    expect_seq(b, "ACK", 1);
    send_event(b, "e.retry", 2);
    expect_seq(b, "NAK", 2);
    assert_int_equal(heard_uint(&b->s, "delay"), 20);
    assert_true(heard_is(&b->s, "error", "no good"));
    send_event(b, "e.reject", 3);
    expect_seq(b, "TERM", 3);
    send_event(b, "e.later", 4);
    expect_seq(b, "WIP", 4);
    expect_seq(b, "ACK", 4);
}

static void a_cause_is_acknowledged_when_what_follows_is_stored(void **state)
{
    struct bench *b = *state;
    char id[2][64];
    struct ls_slice text;
    wire_node(b, "");
    for (int i = 0; i < 2; i++) { /* the same event twice */
        send_event(b, "e.follow", 1 + i);
        expect_node(b, "PUB");
        assert_true(heard_is(&b->s, "topic", "t.followed") && heard_is(&b->s, "causationid", "e1"));
        assert_true(ls_slice_is(ls_bytes(b->s.body.data, b->s.body.len), "{\"a\":0.7,\"b\":[1,true,null]}"));
        assert_true(wire_str(mp_over(b->s.header.data, b->s.header.len), "id", &text));
        wire_copy(id[i], sizeof id[i], text);
        send_request(b, "r.reject", 7 + i, 1); /* its answer comes next: nothing was acknowledged yet */
        expect_refusal(b, 7 + i, 400, false);
        say(&b->s, "OK", "u:upto", 1 + i, "s:level", "disk");
        expect_seq(b, "ACK", (uint64_t) (1 + i));
    }
    assert_string_equal(id[0], id[1]);
    send_event(b, "e.follow", 3);
    expect_node(b, "PUB");
    say(&b->s, "ERR", "u:n", 3, "s:name", "SCHEMA", "u:number", 422, "s:text", "not so");
    expect_seq(b, "TERM", 3);
    assert_true(heard_is(&b->s, "error", "not so"));
    send_event(b, "e.nothing", 4);
    expect_seq(b, "TERM", 4);
}

static void a_reply_is_json_and_an_error_without_a_body(void **state)
{
    struct bench *b = *state;
    struct ls_slice type;
    wire_node(b, "");
    for (int i = 0; i < 2; i++)
        say_with(&b->s, ls_str(i ? "{" : "{\"a\": [1]}"), "REQ", "u:cid", SERVICE, "u:rid", 7 + i, "s:topic", "r.json", "u:timeout", 60000,
                 "u:parts", 1, NULL);
    expect_answer(b, 7, "{\"a\":[1]}");
    assert_true(wire_str(heard(&b->s, "headers"), "Content-Type", &type) && ls_slice_is(type, "application/json"));
    expect_refusal(b, 8, 400, false);
}

static void a_request_is_answered_in_parts_as_credit_comes(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.parts", 7, 1);
    expect_answer(b, 7, "one");
    assert_true(wire_bool(mp_over(b->s.header.data, b->s.header.len), "more"));
    say(&b->s, "MORE", "u:rid", 7, "u:parts", 2);
    expect_answer(b, 7, "two");
    send_request(b, "r.retry", 8, 1);
    expect_refusal(b, 8, 400, true);
    send_request(b, "r.reject", 9, 1);
    expect_refusal(b, 9, 400, false);
}

static void cancelling_reaches_the_kind(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.hold", 7, 1);
    say(&b->s, "CANCEL", "u:rid", 7, "s:reason", "timeout");
    expect_node(b, "PUB");
    assert_true(heard_is(&b->s, "topic", "t.cancelled") && heard_is(&b->s, "subject", "timeout"));
}

static void a_slow_callback_keeps_the_session(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.block", 7, 1);
    for (b->pings = 0; b->pings < 8;) { /* one each half of hb: far more than the three hb that a broker waits */
        hear_node(b);
        assert_string_equal(b->s.verb, "PING");
    }
    release(b);
    expect_answer(b, 7, "late");
    send_request(b, "r.reject", 8, 1); /* in the same session */
    expect_refusal(b, 8, 400, false);
}

static void numbers_travel_with_signs_of_life(void **state)
{
    struct bench *b = *state;
    uint64_t events = 0, seen = 0, requests = 0;
    double waited_s = 0;
    wire_node(b, "");
    send_event(b, "e.done", 1);
    send_request(b, "r.reject", 2, 1);
    for (int i = 0; i < 50 && !(events && requests); i++) {
        struct mp stats, waited;
        hear_node(b);
        if (strcmp(b->s.verb, "PING") || !mp_find(mp_over(b->s.header.data, b->s.header.len), "stats", &stats))
            continue;
        wire_uint(stats, "tester_events_total", &events);
        wire_uint(stats, "tester_requests_total", &requests);
        wire_uint(stats, "tester_seen_total", &seen);
        assert_true(mp_find(stats, "tester_waited_seconds_total", &waited) && mp_double(&waited, &waited_s));
    }
    assert_true(events == 1 && seen == 1 && requests == 1 && waited_s == 1.5);
}

static void watches_may_change_inside_their_callbacks(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.pair", 7, 1);
    expect_answer(b, 7, "fresh");
}

static void publishing_more_than_the_window_keeps_the_order(void **state)
{
    struct bench *b = *state;
    int seen = 0;
    struct ls_slice header, body, subject;
    wire_node(b, "");
    send_request(b, "r.flood", 7, 1);
    while (seen < FLOOD) {
        hear_node(b);
        if (strcmp(b->s.verb, "PUB"))
            continue;
        uint64_t n = heard_uint(&b->s, "n"), batch = 0;
        struct mp map = mp_over(b->s.header.data, b->s.header.len);
        struct ls_slice packed = ls_bytes(b->s.body.data, b->s.body.len);
        header = ls_bytes(b->s.header.data, b->s.header.len);
        wire_uint(map, "batch", &batch);
        for (uint64_t i = 0; i < (batch ? batch : 1); i++) {
            char expected[16];
            snprintf(expected, sizeof expected, "%d", seen++);
            assert_true(!batch || wire_packed_next(&packed, &header, &body));
            assert_true(wire_str(wire_map(header), "subject", &subject) && ls_slice_is(subject, expected));
        }
        say(&b->s, "OK", "u:upto", (int) (n + (batch ? batch : 1) - 1), "s:level", "disk");
    }
}

static void the_kind_hears_of_lost_and_found_sessions(void **state)
{
    struct bench *b = *state;
    wire_node(b, "\"greeting\": \"hi\"");
    expect_node(b, "PUB");
    assert_true(heard_is(&b->s, "topic", "t.connected") && heard_is(&b->s, "subject", "hi"));
    say(&b->s, "OK", "u:upto", 1, "s:level", "disk");
    say(&b->s, "ERR", "s:name", "NO_SESSION", "u:number", 401, "s:text", "who?");
    welcome_node(b);
    expect_node(b, "SUB");
    expect_node(b, "SUB");
    expect_node(b, "PUB");
    assert_true(heard_is(&b->s, "topic", "t.lost"));
    expect_node(b, "PUB");
    assert_true(heard_is(&b->s, "topic", "t.connected"));
}

/* ---- pausing ---- */

static void expect_resumption(struct bench *b)
{
    send_event(b, "e.resume", 9); /* it crossed the pause: the kind has it as ever */
    expect_offer(b, 3, 5);
    expect_seq(b, "ACK", 9);
    send_event(b, "e.done", 10);
    expect_seq(b, "ACK", 10);
    send_request(b, "r.reject", 11, 1);
    expect_refusal(b, 11, 400, false);
}

static void a_paused_node_takes_no_requests_and_stays_paused_over_sessions(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_event(b, "e.pause", 1);
    expect_pause(b);
    expect_seq(b, "ACK", 1);
    send_request(b, "r.hold", 7, 1);
    expect_refusal(b, 7, 503, true);
    say(&b->s, "ERR", "s:name", "NO_SESSION", "u:number", 401, "s:text", "who?");
    welcome_paused_node(b);
    expect_resumption(b);
}

static void a_node_may_begin_paused(void **state)
{
    struct bench *b = *state;
    start_wired(b, "\"greeting\": \"pause\"");
    welcome_paused_node(b);
    expect_node(b, "PUB"); /* t.connected */
    say(&b->s, "OK", "u:upto", 1, "s:level", "disk");
    expect_resumption(b);
}

static void a_paused_node_ends_in_order(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_event(b, "e.pause", 1);
    expect_pause(b);
    expect_seq(b, "ACK", 1);
    kill(b->node, SIGTERM);
    expect_pause(b);
    expect_farewell(b);
    expect_exit(b, 0);
}

/* ---- the end ---- */

static void sigterm_lets_open_calls_finish_and_takes_no_new_ones(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.hold", 7, 1);
    send_event(b, "e.done", 1);
    expect_seq(b, "ACK", 1); /* so the request before it was taken, too */
    kill(b->node, SIGTERM);
    expect_pause(b);
    send_event(b, "e.done", 2); /* it crossed the pause: it goes back with the session */
    send_request(b, "r.hold", 8, 1);
    expect_refusal(b, 8, 503, true);
    release(b);
    expect_answer(b, 7, "held");
    expect_farewell(b);
    expect_exit(b, 0);
}

static void draining_has_a_limit(void **state)
{
    struct bench *b = *state;
    setenv("LINESHAFT_DRAIN_MS", "1", 1);
    wire_node(b, "");
    send_request(b, "r.hold", 7, 1);
    send_event(b, "e.done", 1);
    expect_seq(b, "ACK", 1);
    kill(b->node, SIGTERM);
    expect_pause(b);
    while (strcmp(b->s.verb, "PUB"))
        hear_node(b);
    assert_true(heard_is(&b->s, "topic", "t.cancelled") && heard_is(&b->s, "subject", "gone"));
    while (strcmp(b->s.verb, "BYE"))
        hear_node(b);
    expect_farewell(b);
    expect_exit(b, 0);
}

static void a_second_signal_ends_it_at_once(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.hold", 7, 1);
    send_event(b, "e.done", 1);
    expect_seq(b, "ACK", 1);
    kill(b->node, SIGINT);
    expect_pause(b);
    kill(b->node, SIGTERM);
    expect_exit(b, 1);
}

static void a_failing_kind_ends_the_node(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    send_request(b, "r.fail", 7, 1);
    expect_node(b, "PUB"); /* the call that nobody answers any more is cancelled */
    expect_farewell(b);
    expect_exit(b, 1);
}

static void a_kind_that_cannot_open_ends_the_node(void **state)
{
    struct bench *b = *state;
    start_wired(b, "\"greeting\": \"fail\"");
    expect_exit(b, 1);
}

static void a_replaced_node_ends(void **state)
{
    struct bench *b = *state;
    wire_node(b, "");
    say(&b->s, "GOODBYE", "s:reason", "replaced");
    expect_exit(b, 1);
}

static void a_refused_subscription_ends_the_node(void **state)
{
    struct bench *b = *state;
    start_wired(b, "");
    welcome_node(b);
    expect_node(b, "SUB");
    say(&b->s, "ERR", "u:cid", CONSUMER, "s:name", "NO_CONSUMER", "u:number", 404, "s:text", "none");
    while (strcmp(b->s.verb, "BYE"))
        hear_node(b);
    expect_farewell(b);
    expect_exit(b, 1);
}

static void a_bad_environment_is_status_2(void **state)
{
    struct bench *b = *state;
    static const char *const BAD[] = {NULL, "", "[]", "{\"node\": \"n\", \"serves\": [1]}", "{\"options\": {\"greting\": \"x\"}}",
                                      "{\"window\": \"much\"}"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        start_node(b, BAD[i]);
        expect_exit(b, 2);
        zmq_close(b->s.socket);
        zmq_ctx_term(b->s.context);
        b->s.context = NULL;
        b->s.port = 0;
        close(b->hold);
        close(b->url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(it_introduces_itself),
        RULE(verdicts_settle_events),
        RULE(a_cause_is_acknowledged_when_what_follows_is_stored),
        RULE(a_reply_is_json_and_an_error_without_a_body),
        RULE(a_request_is_answered_in_parts_as_credit_comes),
        RULE(cancelling_reaches_the_kind),
        RULE(a_slow_callback_keeps_the_session),
        RULE(numbers_travel_with_signs_of_life),
        RULE(watches_may_change_inside_their_callbacks),
        RULE(publishing_more_than_the_window_keeps_the_order),
        RULE(the_kind_hears_of_lost_and_found_sessions),
        RULE(a_paused_node_takes_no_requests_and_stays_paused_over_sessions),
        RULE(a_node_may_begin_paused),
        RULE(a_paused_node_ends_in_order),
        RULE(sigterm_lets_open_calls_finish_and_takes_no_new_ones),
        RULE(draining_has_a_limit),
        RULE(a_second_signal_ends_it_at_once),
        RULE(a_failing_kind_ends_the_node),
        RULE(a_kind_that_cannot_open_ends_the_node),
        RULE(a_replaced_node_ends),
        RULE(a_refused_subscription_ends_the_node),
        RULE(a_bad_environment_is_status_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
