/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, memory accounts, and the $sys.stats event that tells them. */
#include "broker/core.h"

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
    uint64_t bytes = b->request_bytes;
    for (size_t i = 0; i < b->stream_count; i++) {
        struct log_info info;
        log_info(b->streams[i].log, &info);
        bytes += info.pending_bytes;
    }
    return bytes;
}

static void pack_streams(struct broker *b, struct buf *out)
{
    buf_pack_map(out, (uint32_t) b->stream_count);
    for (size_t i = 0; i < b->stream_count; i++) {
        struct log_info info;
        log_info(b->streams[i].log, &info);
        buf_pack_str(out, b->streams[i].config->name);
        buf_pack_map(out, 4);
        buf_pair_uint(out, "durable", info.durable_seq);
        buf_pair_uint(out, "bytes", info.bytes);
        buf_pair_uint(out, "published", b->streams[i].published);
        buf_pair_uint(out, "groups", info.groups);
    }
}

static void on_timer(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    struct buf header = {0}, body = {0};
    pack_own_header(b, &header, "$sys.stats");
    buf_pack_map(&body, 6);
    buf_pair_uint(&body, "uptime_ms", (uint64_t) (b->now_ms - b->started_ms));
    buf_pair_uint(&body, "connections", b->guard.open);
    buf_pair_uint(&body, "requests", b->requests.used);
    buf_pair_uint(&body, "memory", b->memory);
    buf_pack_str(&body, "counters");
    stats_pack_counters(b, &body);
    buf_pack_str(&body, "streams");
    pack_streams(b, &body);
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
