/* SPDX-License-Identifier: Apache-2.0 */
/* Deliveries: handing events to handlers, settling them, credit. Source: docs/protocol.md, "Durable consumers",
 * "Ephemeral subscriptions". */
#include <stdio.h>
#include <stdlib.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/topic.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define WINDOW_DEFAULT 256
#define RANGES_MAX 300   /* ranges in one ACK: its header map stays below the broker's 8 KiB */
#define WHY_MAX 1000     /* bytes of error text sent with NAK and TERM */

/* ---- settling ---- */

static void add_ack(struct ls_client *client, struct subscription *sub, uint64_t seq)
{
    sub->acks = xgrow(sub->acks, &sub->ack_room, sub->ack_count + 1, sizeof *sub->acks);
    if (sub->ack_count && sub->acks[sub->ack_count - 1] >= seq)
        sub->acks_sorted = false;
    sub->acks[sub->ack_count++] = seq;
    client->dirty |= !client->options.ack_every_ms;
}

static int compare_seq(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

/* Writes the list of numbers and ranges for acks[*at...]; moves *at behind what it covers. */
static void pack_ranges(struct buf *h, const struct subscription *sub, size_t *at)
{
    size_t list = buf_begin_array(h);
    uint16_t items = 0;
    while (*at < sub->ack_count && items < RANGES_MAX) {
        uint64_t from = sub->acks[*at], to = from;
        for (++*at; *at < sub->ack_count && sub->acks[*at] <= to + 1; ++*at)
            to = sub->acks[*at];
        if (from == to) {
            buf_pack_uint(h, from);
        } else {
            buf_pack_array(h, 2);
            buf_pack_uint(h, from);
            buf_pack_uint(h, to);
        }
        items++;
    }
    buf_end_array(h, list, items);
}

static void flush_acks(struct ls_client *client, struct subscription *sub)
{
    if (!sub->ack_count || client->phase != CLIENT_READY || client->broken)
        return;
    if (!sub->acks_sorted)
        qsort(sub->acks, sub->ack_count, sizeof *sub->acks, compare_seq);
    for (size_t at = 0; at < sub->ack_count;) {
        struct buf *h = client_header(client);
        buf_pack_map(h, 2);
        buf_pack_str(h, "cid");
        buf_pack_uint(h, sub->cid);
        buf_pack_str(h, "seqs");
        pack_ranges(h, sub, &at);
        client_send(client, "ACK", h, (struct ls_slice){0});
    }
    sub->ack_count = 0;
    sub->acks_sorted = true;
}

void consume_flush_acks(struct ls_client *client)
{
    struct subscription *sub;
    LIST_FOREACH(sub, &client->subscriptions, link)
        flush_acks(client, sub);
}

/* A verb for one delivery. Without a session it is void, as is the delivery. */
static void settle(struct ls_client *client, uint32_t cid, uint64_t seq, const char *verb, struct ls_slice why,
                   int delay_ms)
{
    struct buf *h = client_header(client);
    bool has_why = why.len > 0, has_delay = delay_ms >= 0;
    if (why.len > WHY_MAX)
        why.len = WHY_MAX;
    buf_pack_map(h, 2 + has_why + has_delay);
    buf_pack_str(h, "cid");
    buf_pack_uint(h, cid);
    buf_pack_str(h, "seqs");
    buf_pack_array(h, 1);
    buf_pack_uint(h, seq);
    if (has_why) {
        buf_pack_str(h, "error");
        buf_pack_strn(h, why.data, why.len);
    }
    if (has_delay) {
        buf_pack_str(h, "delay");
        buf_pack_int(h, delay_ms);
    }
    client_send(client, verb, h, (struct ls_slice){0});
}

void ls_ack(struct ls_client *client, uint32_t subscription, uint64_t seq)
{
    struct subscription *sub = subscription_find(client, subscription);
    if (sub && sub->durable)
        add_ack(client, sub, seq);
}

void ls_nak(struct ls_client *client, uint32_t subscription, uint64_t seq, int delay_ms, const char *why)
{
    settle(client, subscription, seq, "NAK", ls_str(why), delay_ms);
}

void ls_term(struct ls_client *client, uint32_t subscription, uint64_t seq, const char *why)
{
    settle(client, subscription, seq, "TERM", ls_str(why), -1);
}

void ls_wip(struct ls_client *client, uint32_t subscription, uint64_t seq)
{
    settle(client, subscription, seq, "WIP", (struct ls_slice){0}, -1);
}

/* ---- deliveries ---- */

void deliver_message(const struct message *message, deliver_fn fn, void *arg)
{
    struct mp delivery = wire_map(message->header);
    struct ls_slice stream = {0}, source = {0}, rest = message->body, header, body;
    uint64_t cid = 0, seq = 0, attempt = 0;
    int64_t ts_us = 0;
    wire_uint(delivery, "cid", &cid);
    wire_uint(delivery, "seq", &seq);
    wire_uint(delivery, "attempt", &attempt);
    wire_int(delivery, "ts_us", &ts_us);
    wire_str(delivery, "stream", &stream);
    wire_str(delivery, "source", &source);
    bool batch = wire_bool(delivery, "batch"), on = true;
    while (on && (!batch || wire_packed_next(&rest, &header, &body))) {
        struct ls_event event;
        event_read(&event, batch ? header : message->body, batch ? body : message->extra);
        if (!event.source.len)
            event.source = source;
        event.stream = stream;
        event.seq = seq;
        event.ts_us = ts_us;
        event.attempt = (uint32_t) attempt;
        event.subscription = (uint32_t) cid;
        on = fn(arg, &event) && batch;
        seq += seq != 0;
    }
}

static void remember_position(struct subscription *sub, const struct ls_event *event)
{
    struct stream_position *at = sub->positions;
    size_t i = 0;
    while (i < sub->position_count && !ls_slice_is(event->stream, at[i].stream))
        i++;
    if (i == sub->position_count) {
        sub->positions = xgrow(sub->positions, &sub->position_room, i + 1, sizeof *sub->positions);
        sub->positions[i].stream = xstrndup(event->stream.data, event->stream.len);
        sub->position_count++;
    }
    sub->positions[i].next = event->seq + 1;
    sub->positions[i].seen_us = event->ts_us;
}

static uint32_t window_of(const struct subscription *sub)
{
    return sub->window ? sub->window : WINDOW_DEFAULT;
}

static void give_credit(struct ls_client *client, struct subscription *sub)
{
    struct buf *h = client_header(client);
    buf_pack_map(h, 2);
    buf_pack_str(h, "cid");
    buf_pack_uint(h, sub->cid);
    buf_pack_str(h, "n");
    buf_pack_uint(h, sub->consumed);
    sub->consumed = 0;
    client_send(client, "MORE", h, (struct ls_slice){0});
}

struct delivery {
    struct ls_client *client;
    struct subscription *sub;
};

static bool take_ephemeral(struct ls_client *client, struct subscription *sub, const struct ls_event *event)
{
    struct ls_error err = {0};
    if (event->stream.len)
        remember_position(sub, event);
    sub->fn(sub->arg, event, &err);
    if (!sub->ended && ++sub->consumed >= (window_of(sub) + 1) / 2)
        give_credit(client, sub);
    return !sub->ended;
}

static void conclude(struct ls_client *client, struct subscription *sub, uint64_t seq, enum ls_verdict verdict,
                     const struct ls_error *err)
{
    switch (verdict) {
    case LS_DONE:
        add_ack(client, sub, seq);
        if (sub->ack_count >= (window_of(sub) + 3) / 4 && !client->options.ack_every_ms)
            flush_acks(client, sub);
        break;
    case LS_RETRY:
        settle(client, sub->cid, seq, "NAK", ls_str(err->text), err->retry_ms > 0 ? err->retry_ms : -1);
        break;
    case LS_REJECT:
        settle(client, sub->cid, seq, "TERM", ls_str(err->text), -1);
        break;
    case LS_PENDING:
        break;
    }
}

static bool take(void *arg, const struct ls_event *event)
{
    struct ls_client *client = ((struct delivery *) arg)->client;
    struct subscription *sub = ((struct delivery *) arg)->sub;
    struct ls_error err = {0};
    bool on = true;
    client->counters.received++;
    if (sub->durable) {
        enum ls_verdict verdict = sub->fn(sub->arg, event, &err);
        conclude(client, sub, event->seq, verdict, &err);
        on = !sub->ended; /* the rest of a batch goes back with BYE */
    } else {
        on = take_ephemeral(client, sub, event);
    }
    client_breathe(client);
    return on;
}

void consume_message(struct ls_client *client, const struct message *message)
{
    uint64_t cid;
    if (!wire_uint(wire_map(message->header), "cid", &cid))
        return;
    struct delivery delivery = {client, subscription_find(client, cid)};
    if (delivery.sub && !delivery.sub->service)
        deliver_message(message, take, &delivery);
}

/* ---- time ---- */

void consume_tick(struct ls_client *client, int64_t now)
{
    int every = client->options.ack_every_ms;
    if (every && now - client->acks_at < every)
        return;
    client->acks_at = now;
    consume_flush_acks(client);
}

int64_t consume_due(const struct ls_client *client)
{
    const struct subscription *sub;
    LIST_FOREACH(sub, &client->subscriptions, link)
        if (sub->ack_count)
            return client->acks_at + client->options.ack_every_ms;
    return INT64_MAX;
}
