/* SPDX-License-Identifier: Apache-2.0 */
/* What ADM answers and $sys.stats tells about the broker, its streams, consumers and sessions: lists that end where they would
 * get too long. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define LAGS_LOOK 2000 /* events looked at for all consumers together */
#define LAG_LOOK_MIN 10

/* ---- lists ---- */

struct report_list report_begin(struct report *r, const char *key)
{
    struct report_list list = {.report = r};
    if (key)
        buf_pack_str(r->out, key);
    list.at = buf_begin_array(r->out);
    list.item = r->out->len;
    return list;
}

bool report_keep(struct report_list *list)
{
    struct report *r = list->report;
    if (r->out->len > r->limit || list->count == UINT16_MAX) {
        r->out->len = list->item;
        r->truncated = true;
        return false;
    }
    list->item = r->out->len;
    list->count++;
    return true;
}

void report_end(struct report_list *list)
{
    buf_end_array(list->report->out, list->at, list->count);
}

static void pack_list(struct buf *out, const char *const *list)
{
    size_t at = buf_begin_array(out);
    uint16_t count = 0;
    for (; *list; list++, count++)
        buf_pack_str(out, *list);
    buf_end_array(out, at, count);
}

/* ---- the broker ---- */

static size_t count_sessions(const struct broker *b)
{
    size_t at = 0, count = 0;
    const struct session *s;
    uint64_t hash;
    while ((s = map_walk(&b->sessions, &at, &hash)))
        count += s->introduced && !(hash >> 63); /* the other keys are descriptors */
    return count;
}

uint16_t report_info(struct broker *b, struct buf *out)
{
    buf_pair_str(out, "name", b->config->name);
    buf_pair_str(out, "server", "lineshaft/" LINESHAFT_VERSION);
    buf_pair_str(out, "broker", b->uuid);
    buf_pair_str(out, "boot", b->boot);
    buf_pair_uint(out, "uptime_ms", (uint64_t) (b->now_ms - b->started_ms));
    buf_pair_uint(out, "now_us", (uint64_t) b->now_us);
    buf_pair_uint(out, "connections", b->guard.open);
    buf_pair_uint(out, "sessions", count_sessions(b));
    buf_pair_uint(out, "requests", b->requests.used);
    buf_pair_uint(out, "requests_waiting", b->waiting_count);
    buf_pair_uint(out, "memory", stats_memory(b));
    buf_pair_uint(out, "memory_max", b->config->memory_bytes_max);
    buf_pack_str(out, "counters");
    stats_pack_counters(b, out);
    return 13;
}

/* ---- streams ---- */

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
    buf_pack_map(out, 18);
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
    buf_pair_uint(out, "groups", info.groups);
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

void report_streams(struct broker *b, struct report *r, const struct stream *only)
{
    struct report_list list = report_begin(r, "streams");
    for (size_t i = 0; i < b->stream_count; i++) {
        if (only && only != &b->streams[i])
            continue;
        pack_stream(r->out, &b->streams[i]);
        if (!report_keep(&list))
            break;
    }
    report_end(&list);
}

/* ---- consumers ---- */

struct lag { /* of all positions of a consumer */
    uint64_t pending, in_flight;
    int64_t oldest_us;
};

static void lag_add(struct lag *lag, const struct backlog *backlog)
{
    lag->pending += backlog->unfinished;
    lag->in_flight += backlog->in_flight;
    if (backlog->oldest_us && (!lag->oldest_us || backlog->oldest_us < lag->oldest_us))
        lag->oldest_us = backlog->oldest_us;
}

static void pack_position(struct buf *out, const struct position *p, const struct backlog *backlog)
{
    buf_pack_map(out, 7);
    buf_pair_str(out, "member", p->member);
    buf_pair_uint(out, "next", p->cursor);
    buf_pair_uint(out, "in_flight", backlog->in_flight);
    buf_pair_uint(out, "waiting", p->pending.used - backlog->in_flight);
    buf_pair_uint(out, "pending", backlog->unfinished);
    buf_pair_uint(out, "members", p->sub_count);
    buf_pair_uint(out, "oldest_us", (uint64_t) backlog->oldest_us);
}

static void pack_positions(struct buf *out, const struct consumer *c, struct lag *lag)
{
    buf_pack_str(out, "positions");
    buf_pack_array(out, (uint32_t) c->position_count);
    for (size_t i = 0; i < c->position_count; i++) {
        struct backlog backlog;
        position_backlog(c->positions[i], BACKLOG_LOOK, &backlog);
        lag_add(lag, &backlog);
        pack_position(out, c->positions[i], &backlog);
    }
}

/* look: events that may be looked at in all; NULL: many, and the positions are told one by one. */
static void pack_consumer(struct buf *out, const struct consumer *c, int *look)
{
    struct lag lag = {0};
    size_t members = 0;
    for (size_t i = 0; i < c->position_count; i++)
        members += c->positions[i]->sub_count;
    buf_pack_map(out, look ? 18 : 19);
    if (!look)
        pack_positions(out, c, &lag);
    for (size_t i = 0; look && i < c->position_count; i++) {
        struct backlog backlog;
        *look -= position_backlog(c->positions[i], *look > LAG_LOOK_MIN ? *look : LAG_LOOK_MIN, &backlog);
        lag_add(&lag, &backlog);
    }
    int64_t age_us = lag.oldest_us ? c->stream->broker->now_us - lag.oldest_us : 0;
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
    buf_pair_uint(out, "pending", lag.pending);
    buf_pair_uint(out, "in_flight", lag.in_flight);
    buf_pair_uint(out, "oldest_ms", age_us > 0 ? (uint64_t) age_us / 1000 : 0);
    buf_pair_uint(out, "delivered", c->delivered);
    buf_pair_uint(out, "acked", c->acked);
    buf_pair_uint(out, "naked", c->naked);
    buf_pair_uint(out, "expired", c->expired);
    buf_pair_uint(out, "dead", c->dead);
    buf_pair_uint(out, "late_acks", c->late_acks);
}

static void consumers(struct broker *b, struct report *r, struct mp_slice name, struct mp_slice stream, int *look)
{
    struct report_list list = report_begin(r, "consumers");
    bool room = true;
    for (size_t i = 0; i < b->stream_count && room; i++) {
        const struct stream *s = &b->streams[i];
        for (size_t k = 0; k < s->consumer_count && room; k++) {
            const struct consumer *c = s->consumers[k];
            if (c == b->letters || (name.len && !mp_is(name, c->name)) ||
                (stream.len && !mp_is(stream, s->config->name)))
                continue;
            pack_consumer(r->out, c, look);
            room = report_keep(&list);
        }
    }
    report_end(&list);
}

void report_consumers(struct broker *b, struct report *r, struct mp_slice consumer, struct mp_slice stream)
{
    consumers(b, r, consumer, stream, NULL);
}

void report_lags(struct broker *b, struct report *r)
{
    int look = LAGS_LOOK;
    consumers(b, r, (struct mp_slice){0}, (struct mp_slice){0}, &look);
}

/* ---- sessions ---- */

static void pack_session(struct buf *out, const struct session *s, bool since)
{
    buf_pack_map(out, 6u + since + (s->stats.len > 0));
    buf_pair_str(out, "client", s->client);
    buf_pair_str(out, "member", s->member);
    if (since)
        buf_pair_uint(out, "since_us", (uint64_t) s->since_us);
    buf_pair_uint(out, "published", s->flow.published);
    buf_pair_uint(out, "delivered", s->flow.delivered);
    buf_pair_uint(out, "requests", s->flow.requests);
    buf_pair_uint(out, "served", s->flow.served);
    if (s->stats.len) {
        buf_pack_str(out, "stats");
        buf_add(out, s->stats.data, s->stats.len);
    }
}

static void sessions(struct broker *b, struct report *r, bool nodes)
{
    size_t count;
    struct session **sorted = sessions_sorted(b, &count);
    struct report_list list = report_begin(r, nodes ? "nodes" : "sessions");
    for (size_t i = 0; i < count; i++) {
        if (nodes && !sorted[i]->stats.len)
            continue;
        pack_session(r->out, sorted[i], !nodes);
        if (!report_keep(&list))
            break;
    }
    report_end(&list);
    free(sorted);
}

void report_sessions(struct broker *b, struct report *r)
{
    sessions(b, r, false);
}

void report_nodes(struct broker *b, struct report *r)
{
    sessions(b, r, true);
}
