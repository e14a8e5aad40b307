/* SPDX-License-Identifier: Apache-2.0 */
/* ADM: what the broker knows about itself, and the few things an operator may do. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

struct asked { /* an ADM message and the answer's pairs */
    struct broker *broker;
    struct mp header;
    struct buf pairs;
    uint32_t count;
    struct stream *changed; /* answered when its state file has reached the token */
    uint64_t token;
};

static void key(struct asked *a, const char *name)
{
    buf_pack_str(&a->pairs, name);
    a->count++;
}

static void pack_list(struct buf *out, const char *const *list)
{
    size_t at = buf_begin_array(out);
    uint16_t count = 0;
    for (; *list; list++, count++)
        buf_pack_str(out, *list);
    buf_end_array(out, at, count);
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
    struct broker *b = a->broker;
    size_t at = 0, sessions = 0;
    const struct session *s;
    uint64_t hash;
    (void) err;
    while ((s = map_walk(&b->sessions, &at, &hash)))
        sessions += s->introduced && !(hash >> 63); /* the other keys are descriptors */
    buf_pair_str(&a->pairs, "name", b->config->name);
    buf_pair_str(&a->pairs, "server", "lineshaft/" LINESHAFT_VERSION);
    buf_pair_str(&a->pairs, "broker", b->uuid);
    buf_pair_str(&a->pairs, "boot", b->boot);
    buf_pair_uint(&a->pairs, "uptime_ms", (uint64_t) (b->now_ms - b->started_ms));
    buf_pair_uint(&a->pairs, "now_us", (uint64_t) b->now_us);
    buf_pair_uint(&a->pairs, "connections", b->guard.open);
    buf_pair_uint(&a->pairs, "sessions", sessions);
    buf_pair_uint(&a->pairs, "requests", b->requests.used);
    buf_pair_uint(&a->pairs, "memory", b->memory);
    buf_pair_uint(&a->pairs, "memory_max", b->config->memory_bytes_max);
    buf_pack_str(&a->pairs, "counters");
    stats_pack_counters(b, &a->pairs);
    a->count += 12;
    return 0;
}

static void pack_retain(struct buf *out, const struct stream_config *c)
{
    buf_pack_map(out, 3);
    buf_pair_uint(out, "age_ms", (uint64_t) c->retain_age_ms);
    buf_pair_uint(out, "bytes", c->retain_bytes);
    buf_pair_uint(out, "count", c->retain_count);
}

static const char *health_of(const struct log_info *info)
{
    return info->health == LOG_HEALTHY ? "healthy" : info->health == LOG_FULL ? "full" : "read-only";
}

static void pack_stream(struct buf *out, const struct stream *s)
{
    struct log_info info;
    log_info(s->log, &info);
    buf_pack_map(out, 17);
    buf_pair_str(out, "name", s->config->name);
    buf_pack_str(out, "topics");
    pack_list(out, s->config->topics);
    buf_pair_str(out, "durability", s->config->memory ? "memory" : "disk");
    buf_pair_uint(out, "first", info.first_seq);
    buf_pair_uint(out, "next", info.next_seq);
    buf_pair_uint(out, "durable", info.durable_seq);
    buf_pair_uint(out, "events", log_events_from(s->log, 0));
    buf_pair_uint(out, "bytes", info.bytes);
    buf_pair_uint(out, "segments", info.segments);
    buf_pair_uint(out, "pending_bytes", info.pending_bytes);
    buf_pair_uint(out, "published", s->published);
    buf_pair_uint(out, "duplicates", s->duplicates);
    buf_pair_uint(out, "consumers", s->consumer_count);
    buf_pair_str(out, "health", health_of(&info));
    buf_pair_str(out, "problem", info.problem);
    buf_pack_str(out, "lost");
    buf_pack_array(out, (uint32_t) info.lost_count);
    for (size_t i = 0; i < info.lost_count; i++) {
        buf_pack_array(out, 2);
        buf_pack_uint(out, info.lost[i].from);
        buf_pack_uint(out, info.lost[i].to);
    }
    buf_pack_str(out, "retain");
    pack_retain(out, s->config);
}

static int op_streams(struct asked *a, struct ls_error *err)
{
    struct mp_slice only = text_of(a, "stream");
    struct broker *b = a->broker;
    if (only.len && !stream_find(b, only))
        return error_set(err, "NO_STREAM", "there is no stream \"%.*s\"", (int) (only.len < 64 ? only.len : 64),
                         only.data);
    key(a, "streams");
    size_t at = buf_begin_array(&a->pairs);
    uint16_t count = 0;
    for (size_t i = 0; i < b->stream_count; i++)
        if (!only.len || mp_is(only, b->streams[i].config->name)) {
            pack_stream(&a->pairs, &b->streams[i]);
            count++;
        }
    buf_end_array(&a->pairs, at, count);
    return 0;
}

static void pack_position(struct buf *out, struct position *p)
{
    struct backlog backlog;
    position_backlog(p, &backlog);
    uint64_t in_flight = 0;
    const struct delivery *d;
    for (size_t at = 0; (d = map_walk(&p->pending, &at, NULL));)
        in_flight += d->state == IN_FLIGHT;
    buf_pack_map(out, 7);
    buf_pair_str(out, "member", p->member);
    buf_pair_uint(out, "next", p->cursor);
    buf_pair_uint(out, "in_flight", in_flight);
    buf_pair_uint(out, "waiting", p->pending.used - in_flight);
    buf_pair_uint(out, "pending", backlog.unfinished);
    buf_pair_uint(out, "members", p->sub_count);
    buf_pair_uint(out, "oldest_us", (uint64_t) backlog.oldest_us);
}

static void pack_consumer(struct buf *out, const struct consumer *c)
{
    size_t members = 0;
    for (size_t i = 0; i < c->position_count; i++)
        members += c->positions[i]->sub_count;
    buf_pack_map(out, 16);
    buf_pair_str(out, "name", c->name);
    buf_pair_str(out, "stream", c->stream->config->name);
    buf_pack_str(out, "takes");
    pack_list(out, (const char *const *) c->takes);
    buf_pair_str(out, "share", c->share == SHARE_EACH ? "each" : "group");
    buf_pair_uint(out, "window", c->window);
    buf_pair_uint(out, "ack_wait", (uint64_t) c->ack_wait_ms);
    buf_pair_uint(out, "max_deliver", c->max_deliver);
    buf_pair_bool(out, "declared", c->declared);
    buf_pair_uint(out, "members", members);
    buf_pack_str(out, "positions");
    buf_pack_array(out, (uint32_t) c->position_count);
    for (size_t i = 0; i < c->position_count; i++)
        pack_position(out, c->positions[i]);
    buf_pair_uint(out, "delivered", c->delivered);
    buf_pair_uint(out, "acked", c->acked);
    buf_pair_uint(out, "naked", c->naked);
    buf_pair_uint(out, "expired", c->expired);
    buf_pair_uint(out, "dead", c->dead);
    buf_pair_uint(out, "late_acks", c->late_acks);
}

static int op_consumers(struct asked *a, struct ls_error *err)
{
    struct mp_slice name = text_of(a, "consumer"), stream = text_of(a, "stream");
    struct broker *b = a->broker;
    if (name.len && !consumer_find(b, name))
        return error_set(err, "NO_CONSUMER", "there is no consumer \"%.*s\"", (int) (name.len < 64 ? name.len : 64),
                         name.data);
    key(a, "consumers");
    size_t at = buf_begin_array(&a->pairs);
    uint16_t count = 0;
    for (size_t i = 0; i < b->stream_count; i++)
        for (size_t k = 0; k < b->streams[i].consumer_count; k++) {
            const struct consumer *c = b->streams[i].consumers[k];
            if (c == b->letters || (name.len && !mp_is(name, c->name)) ||
                (stream.len && !mp_is(stream, b->streams[i].config->name)))
                continue;
            pack_consumer(&a->pairs, c);
            count++;
        }
    buf_end_array(&a->pairs, at, count);
    return 0;
}

static int op_services(struct asked *a, struct ls_error *err)
{
    (void) err;
    key(a, "services");
    services_pack(a->broker, &a->pairs);
    return 0;
}

static int op_dlq(struct asked *a, struct ls_error *err)
{
    (void) err;
    key(a, "seqs");
    deadletters_list(a->broker, text_of(a, "consumer"), number_of(a, "from", 0), number_of(a, "n", 1000), &a->pairs);
    return 0;
}

static int settle_letter(struct asked *a, bool replay, struct ls_error *err)
{
    struct mp at;
    uint64_t seq;
    if (!mp_find(a->header, "seq", &at) || !mp_uint(&at, &seq))
        return error_set(err, "BAD_VALUE", "\"seq\" wants the dead letter's sequence number in $sys");
    key(a, "seq");
    buf_pack_uint(&a->pairs, seq);
    return deadletter_settle(a->broker, seq, replay, &a->pairs, &a->count, &a->token, err);
}

static int op_dlq_replay(struct asked *a, struct ls_error *err)
{
    return settle_letter(a, true, err);
}

static int op_dlq_drop(struct asked *a, struct ls_error *err)
{
    return settle_letter(a, false, err);
}

static int op_consumer_drop(struct asked *a, struct ls_error *err)
{
    struct mp_slice name = text_of(a, "consumer");
    struct consumer *c = consumer_find(a->broker, name);
    if (!c || c == a->broker->letters)
        return error_set(err, "NO_CONSUMER", "there is no consumer \"%.*s\"", (int) (name.len < 64 ? name.len : 64),
                         name.data);
    if (c->declared)
        return error_set(err, "DENIED", "consumer \"%s\" is declared in the topology: remove it there", c->name);
    for (size_t i = 0; i < c->position_count; i++)
        if (c->positions[i]->sub_count)
            return error_set(err, "CONFLICT", "consumer \"%s\" has members that are connected: stop them first",
                             c->name);
    key(a, "consumer");
    buf_pack_str(&a->pairs, c->name);
    a->changed = c->stream;
    a->token = consumer_drop(c);
    return 0;
}

static const struct op {
    const char *name;
    int (*run)(struct asked *a, struct ls_error *err);
} OPS[] = {
    {"info", op_info}, {"streams", op_streams},       {"consumers", op_consumers}, {"services", op_services},
    {"dlq", op_dlq},   {"dlq.replay", op_dlq_replay}, {"dlq.drop", op_dlq_drop},   {"consumer.drop", op_consumer_drop},
};

void on_admin(struct broker *b, struct message *m)
{
    struct mp_slice header = message_part(m, 1);
    struct asked a = {.broker = b, .changed = b->sys, .header = mp_over(header.data, header.len)};
    struct ls_error err;
    struct mp_slice name = text_of(&a, "op");
    int result = -1;
    error_set(&err, "BAD_VALUE",
              "\"op\" wants one of info, streams, consumers, services, dlq, dlq.replay, dlq.drop, consumer.drop");
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
        settle_wait(a.changed, a.token, m->session, NULL, &map);
    }
    buf_fini(&a.pairs);
}
