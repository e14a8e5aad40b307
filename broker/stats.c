/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, memory accounts, and the $sys.stats event that tells them. */
#include "broker/core.h"

#define BODY_RESERVE 128 /* of the body of $sys.stats, for the ends of its lists */
#define TOPICS_MAX 200

const struct counter_info COUNTERS[C_COUNT] = {
    [C_MESSAGES_IN] = {"messages_in", "messages received on all sockets"},
    [C_EVENTS_IN] = {"events_in", "events offered, also those refused"},
    [C_EVENTS_STORED] = {"events_stored", "events appended to a stream"},
    [C_DUPLICATES] = {"duplicates", "events whose (source, id) was in the window"},
    [C_REFUSED] = {"refused", "ERR replies sent"},
    [C_DELIVERED] = {"delivered", "events sent to subscriptions and readers"},
    [C_LIVE_OUT] = {"live_out", "events sent on the live feeds"},
    [C_ACKED] = {"acked", "deliveries acknowledged"},
    [C_NAKED] = {"naked", "deliveries refused with NAK"},
    [C_EXPIRED] = {"expired", "deliveries not answered within ack_wait"},
    [C_DEAD_LETTERS] = {"dead_letters", "events given up"},
    [C_REQUESTS] = {"requests", "requests received"},
    [C_NO_RESPONDER] = {"no_responder", "requests that nobody served"},
    [C_TIMEOUTS] = {"timeouts", "requests past their deadline"},
    [C_REROUTED] = {"rerouted", "requests given to another worker after the first went away"},
    [C_BUSY] = {"busy", "events refused because a memory account was full"},
    [C_CUT] = {"cut", "connections cut off"},
    [C_REJECTED] = {"rejected", "events refused on sockets without a reply"},
};

void stats_pack_counters(const struct broker *b, struct buf *out)
{
    buf_pack_map(out, C_COUNT);
    for (int i = 0; i < C_COUNT; i++) {
        buf_pack_str(out, COUNTERS[i].name);
        buf_pack_uint(out, b->counters[i]);
    }
}

uint64_t stats_memory(const struct broker *b)
{
    uint64_t bytes = b->request_bytes + b->declared_bytes;
    for (size_t i = 0; i < b->stream_count; i++) {
        struct log_info info;
        log_info(b->streams[i].log, &info);
        bytes += info.pending_bytes;
    }
    return bytes;
}

/* The lists share what the scalars leave of the body. The nodes come last: there may be many. */
static void pack_body(struct broker *b, struct buf *body)
{
    struct report r = {.out = body, .limit = b->config->body_bytes_max - BODY_RESERVE};
    size_t at = buf_begin_map(body);
    uint16_t pairs = (uint16_t) (report_info(b, body) + 4);
    report_streams(b, &r, NULL);
    report_lags(b, &r);
    report_topics(b, &r, TOPICS_MAX, NULL);
    report_nodes(b, &r);
    if (r.truncated) {
        buf_pair_bool(body, "truncated", true);
        pairs++;
    }
    buf_end_map(body, at, pairs);
}

static void on_timer(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    struct buf header = {0}, body = {0};
    pack_own_header(b, &header, "$sys.stats");
    pack_body(b, &body);
    live_event(b, SLICE("$sys.stats"), (struct mp_slice){(const char *) header.data, header.len},
               (struct mp_slice){(const char *) body.data, body.len}, b->now_us);
    buf_fini(&header);
    buf_fini(&body);
    heap_set(&b->timers, timer, b->now_ms + b->config->stats_every_ms);
}

void stats_init(struct broker *b)
{
    b->stats_timer.fire = on_timer;
    if (b->config->stats_every_ms)
        heap_set(&b->timers, &b->stats_timer, b->now_ms + b->config->stats_every_ms);
}
