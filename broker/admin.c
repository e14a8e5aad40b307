/* SPDX-License-Identifier: Apache-2.0 */
/* ADM: what the broker knows about itself, and the few things an operator may do. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (8u << 20) /* about: lists are cut there */
#define TOPICS_DEFAULT 1000

struct asked { /* an ADM message and the answer's pairs */
    struct broker *broker;
    struct mp header;
    struct buf pairs;
    uint32_t count;
    struct stream *changed; /* answered when its state file has reached the token */
    uint64_t token;
    struct replay replay; /* or, with a stream, when that is done */
};

static void key(struct asked *a, const char *name)
{
    buf_pack_str(&a->pairs, name);
    a->count++;
}

static struct mp_slice text_of(struct asked *a, const char *name)
{
    struct mp at;
    struct mp_slice text = {0};
    if (mp_find(a->header, name, &at))
        mp_str(&at, &text);
    return text;
}

static uint64_t number_of(struct asked *a, const char *name, uint64_t otherwise)
{
    struct mp at;
    uint64_t value;
    return mp_find(a->header, name, &at) && mp_uint(&at, &value) ? value : otherwise;
}

static int op_info(struct asked *a, struct ls_error *err)
{
    (void) err;
    a->count += report_info(a->broker, &a->pairs);
    return 0;
}

static void list_told(struct asked *a, const struct report *r)
{
    a->count++; /* the list itself */
    key(a, "now_us");
    buf_pack_uint(&a->pairs, (uint64_t) a->broker->now_us);
    if (!r->truncated)
        return;
    key(a, "truncated");
    buf_pack_bool(&a->pairs, true);
}

/* The stream that is asked for: *only NULL if it is all of them. */
static int stream_asked(struct asked *a, const struct stream **only, struct ls_error *err)
{
    struct mp_slice name = text_of(a, "stream");
    *only = name.len ? stream_find(a->broker, name) : NULL;
    if (name.len && !*only)
        return error_set(err, "NO_STREAM", "there is no stream \"%.*s\"", (int) (name.len < 64 ? name.len : 64),
                         name.data);
    return 0;
}

static int op_streams(struct asked *a, struct ls_error *err)
{
    const struct stream *only;
    struct report r = {&a->pairs, ANSWER_BYTES_MAX, false};
    if (stream_asked(a, &only, err) < 0)
        return -1;
    report_streams(a->broker, &r, only);
    list_told(a, &r);
    return 0;
}

static int op_topics(struct asked *a, struct ls_error *err)
{
    const struct stream *only;
    struct report r = {&a->pairs, ANSWER_BYTES_MAX, false};
    if (stream_asked(a, &only, err) < 0)
        return -1;
    uint64_t total = report_topics(a->broker, &r, number_of(a, "n", TOPICS_DEFAULT), only);
    list_told(a, &r);
    key(a, "total");
    buf_pack_uint(&a->pairs, total);
    key(a, "since_us");
    buf_pack_uint(&a->pairs, (uint64_t) a->broker->routes_since_us);
    return 0;
}

static int op_consumers(struct asked *a, struct ls_error *err)
{
    struct mp_slice name = text_of(a, "consumer");
    struct report r = {&a->pairs, ANSWER_BYTES_MAX, false};
    if (name.len && !consumer_find(a->broker, name))
        return error_set(err, "NO_CONSUMER", "there is no consumer \"%.*s\"", (int) (name.len < 64 ? name.len : 64),
                         name.data);
    report_consumers(a->broker, &r, name, text_of(a, "stream"));
    list_told(a, &r);
    return 0;
}

static int op_list(struct asked *a, void (*list)(struct broker *b, struct report *r))
{
    struct report r = {&a->pairs, ANSWER_BYTES_MAX, false};
    list(a->broker, &r);
    list_told(a, &r);
    return 0;
}

static int op_services(struct asked *a, struct ls_error *err)
{
    (void) err;
    return op_list(a, report_services);
}

static int op_routes(struct asked *a, struct ls_error *err)
{
    (void) err;
    return op_list(a, report_http_routes);
}

static int op_sessions(struct asked *a, struct ls_error *err)
{
    (void) err;
    return op_list(a, report_sessions);
}

static int op_dlq(struct asked *a, struct ls_error *err)
{
    (void) err;
    key(a, "seqs");
    deadletters_list(a->broker, text_of(a, "consumer"), number_of(a, "from", 0), number_of(a, "n", 1000), &a->pairs);
    return 0;
}

static int letter_seq(struct asked *a, uint64_t *seq, struct ls_error *err)
{
    struct mp at;
    if (!mp_find(a->header, "seq", &at) || !mp_uint(&at, seq))
        return error_set(err, "BAD_VALUE", "\"seq\" wants the dead letter's sequence number in $sys");
    key(a, "seq");
    buf_pack_uint(&a->pairs, *seq);
    return 0;
}

static int op_dlq_replay(struct asked *a, struct ls_error *err)
{
    if (letter_seq(a, &a->replay.letter, err) < 0 || deadletter_replay(a->broker, &a->replay, &a->pairs, err) < 0)
        return -1;
    a->count += REPLAY_PAIRS;
    return 0;
}

static int op_dlq_drop(struct asked *a, struct ls_error *err)
{
    uint64_t seq;
    return letter_seq(a, &seq, err) < 0 ? -1 : deadletter_drop(a->broker, seq, &a->token, err);
}

/* The consumer that is asked for, if nobody uses it. */
static struct consumer *idle_consumer(struct asked *a, struct ls_error *err)
{
    struct mp_slice name = text_of(a, "consumer");
    struct consumer *c = consumer_find(a->broker, name);
    if (!c || c == a->broker->letters) {
        error_set(err, "NO_CONSUMER", "there is no consumer \"%.*s\"", (int) (name.len < 64 ? name.len : 64), name.data);
        return NULL;
    }
    for (size_t i = 0; i < c->position_count; i++)
        if (c->positions[i]->sub_count) {
            error_set(err, "CONFLICT", "consumer \"%s\" has members that are connected: stop them first", c->name);
            return NULL;
        }
    key(a, "consumer");
    buf_pack_str(&a->pairs, c->name);
    a->changed = c->stream;
    return c;
}

static int op_consumer_drop(struct asked *a, struct ls_error *err)
{
    struct consumer *c = consumer_find(a->broker, text_of(a, "consumer"));
    if (c && c->declared && c != a->broker->letters)
        return error_set(err, "DENIED", "consumer \"%s\" is declared in the topology: remove it there", c->name);
    c = idle_consumer(a, err);
    if (!c)
        return -1;
    a->token = consumer_drop(c);
    return 0;
}

static int op_consumer_reset(struct asked *a, struct ls_error *err)
{
    struct mp at;
    struct start start;
    struct consumer *c = idle_consumer(a, err);
    if (!c)
        return -1;
    if (!mp_find(a->header, "from", &at) || !start_read(at, &start))
        return error_set(err, "BAD_VALUE", "\"from\" wants \"new\", \"all\", \"last\", {seq: n}, {time_us: t} or {last: n}");
    uint64_t next = start_seq(c->stream, &start), first = log_first_seq(c->stream->log), end = log_next_seq(c->stream->log);
    next = next < first ? first : next > end ? end : next;
    a->token = consumer_reset(c, next);
    key(a, "next");
    buf_pack_uint(&a->pairs, next);
    return 0;
}

static const struct op {
    const char *name;
    int (*run)(struct asked *a, struct ls_error *err);
} OPS[] = {
    {"info", op_info},
    {"streams", op_streams},
    {"topics", op_topics},
    {"consumers", op_consumers},
    {"services", op_services},
    {"routes", op_routes},
    {"sessions", op_sessions},
    {"dlq", op_dlq},
    {"dlq.replay", op_dlq_replay},
    {"dlq.drop", op_dlq_drop},
    {"consumer.drop", op_consumer_drop},
    {"consumer.reset", op_consumer_reset},
};

void on_admin(struct broker *b, struct message *m)
{
    struct mp_slice header = message_part(m, 1);
    struct asked a = {.broker = b, .changed = b->sys, .header = mp_over(header.data, header.len)};
    struct ls_error err;
    struct mp_slice name = text_of(&a, "op");
    int result = -1;
    error_set(&err, "BAD_VALUE",
              "\"op\" wants one of info, streams, topics, consumers, services, routes, sessions, dlq, dlq.replay, dlq.drop, "
              "consumer.drop, consumer.reset");
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
        if (mp_is(name, OPS[i].name)) {
            buf_pair_str(&a.pairs, "op", OPS[i].name);
            a.count++;
            result = OPS[i].run(&a, &err);
        }
    if (result < 0) {
        reply_complaint(m, &err);
    } else {
        struct buf map = {0};
        a.count += pack_tag(&a.pairs, header);
        buf_pack_map(&map, a.count);
        buf_add(&map, a.pairs.data, a.pairs.len);
        if (a.replay.stream)
            deadletter_replay_wait(m->session, &a.replay, &map);
        else
            settle_wait(a.changed, a.token, m->session, NULL, &map);
    }
    buf_fini(&a.pairs);
}
