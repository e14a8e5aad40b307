/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions as such: SUB and its answer, sending it again with each session, ending it. Services use the same SUB.
 * What they receive is handled in client_consume.c and client_serve.c.
 * Source: docs/protocol.md, "Durable consumers", "Ephemeral subscriptions". */
#include <stdio.h>
#include <stdlib.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/topic.h"
#include "lib/wire.h"
#include "lib/xmem.h"

/* ---- packing ---- */

void pack_patterns(struct buf *b, const char *key, const char *const *patterns)
{
    uint32_t count = 0;
    while (patterns && patterns[count])
        count++;
    buf_pack_str(b, key);
    buf_pack_array(b, count);
    for (uint32_t i = 0; i < count; i++)
        buf_pack_str(b, patterns[i]);
}

static void pack_from_number(struct buf *b, const char *key, uint64_t value)
{
    buf_pack_map(b, 1);
    buf_pack_str(b, key);
    buf_pack_uint(b, value);
}

void pack_from(struct buf *b, const struct ls_from *from)
{
    switch (from->kind) {
    case LS_FROM_DEFAULT:
        break;
    case LS_FROM_NEW:
        buf_pack_str(b, "new");
        break;
    case LS_FROM_ALL:
        buf_pack_str(b, "all");
        break;
    case LS_FROM_LAST:
        pack_from_number(b, "last", from->value ? from->value : 1);
        break;
    case LS_FROM_SEQ:
        pack_from_number(b, "seq", from->value);
        break;
    case LS_FROM_TIME:
        pack_from_number(b, "time_us", from->value);
        break;
    }
}

static void add_str(struct subscription *sub, const char *key, const char *value)
{
    buf_pack_str(&sub->request, key);
    buf_pack_str(&sub->request, value);
    sub->request_pairs++;
}

static void add_uint(struct subscription *sub, const char *key, uint64_t value)
{
    buf_pack_str(&sub->request, key);
    buf_pack_uint(&sub->request, value);
    sub->request_pairs++;
}

static void add_batch(struct subscription *sub)
{
    buf_pack_str(&sub->request, "batch");
    buf_pack_bool(&sub->request, true);
    sub->request_pairs++;
}

static void pack_durable(struct subscription *sub, const struct ls_subscription *s)
{
    add_str(sub, "consumer", s->consumer);
    if (s->stream)
        add_str(sub, "stream", s->stream);
    if (s->topics) {
        pack_patterns(&sub->request, "takes", s->topics);
        sub->request_pairs++;
    }
    if (s->window_bytes)
        add_uint(sub, "bytes", s->window_bytes);
    if (s->each)
        add_str(sub, "share", "each");
    if (s->ack_wait_ms > 0)
        add_uint(sub, "ack_wait", (uint64_t) s->ack_wait_ms);
    if (s->max_deliver)
        add_uint(sub, "max_deliver", s->max_deliver < 0 ? 0 : (uint64_t) s->max_deliver);
    if (s->member_ttl_ms > 0)
        add_uint(sub, "member_ttl", (uint64_t) s->member_ttl_ms);
    if (s->backoff_count) {
        buf_pack_str(&sub->request, "backoff");
        buf_pack_array(&sub->request, (uint32_t) s->backoff_count);
        for (size_t i = 0; i < s->backoff_count; i++)
            buf_pack_int(&sub->request, s->backoff_ms[i]);
        sub->request_pairs++;
    }
}

static void pack_ephemeral(struct subscription *sub, const struct ls_subscription *s)
{
    pack_patterns(&sub->request, "topics", s->topics);
    sub->request_pairs++;
    if (s->stream)
        add_str(sub, "stream", s->stream);
}

/* ---- making and sending ---- */

struct subscription *subscription_new(struct ls_client *client, bool service)
{
    struct subscription *sub = xcalloc(1, sizeof *sub);
    sub->cid = ++client->last_cid;
    sub->service = service;
    sub->acks_sorted = true;
    LIST_INSERT_HEAD(&client->subscriptions, sub, link);
    client->dirty = true;
    return sub;
}

static void pack_position(struct buf *h, const struct stream_position *at)
{
    buf_pack_map(h, 1 + (at->seen_us > 0));
    buf_pair_uint(h, "seq", at->next);
    if (at->seen_us > 0)
        buf_pair_uint(h, "seen_us", (uint64_t) at->seen_us);
}

/* Where an ephemeral subscription goes on after what it has seen. */
static void pack_positions(struct buf *h, const struct subscription *sub)
{
    buf_pack_str(h, "from");
    if (sub->stream) {
        pack_position(h, &sub->positions[0]);
        return;
    }
    buf_pack_map(h, 1);
    buf_pack_str(h, "streams");
    buf_pack_map(h, (uint32_t) sub->position_count);
    for (size_t i = 0; i < sub->position_count; i++) {
        buf_pack_str(h, sub->positions[i].stream);
        pack_position(h, &sub->positions[i]);
    }
}

void subscription_send(struct ls_client *client, struct subscription *sub)
{
    struct buf *h = client_header(client);
    bool has_about = sub->about.len > 0;
    bool has_from = sub->position_count || sub->from.len;
    bool has_window = sub->window || sub->window_changed;
    bool away = sub->slots == LS_SLOTS_AWAY;
    sub->consumed = 0;
    buf_pack_map(h, sub->request_pairs + 1 + has_from + has_window + 2 * sub->service + has_about);
    buf_pack_str(h, "cid");
    buf_pack_uint(h, sub->cid);
    buf_add(h, sub->request.data, sub->request.len);
    if (has_window) {
        buf_pack_str(h, "window");
        buf_pack_uint(h, sub->window);
    }
    if (sub->service) {
        buf_pair_uint(h, "slots", away ? 0 : sub->slots);
        buf_pair_bool(h, "away", away);
    }
    if (has_about) {
        buf_pack_str(h, "about");
        buf_add(h, sub->about.data, sub->about.len);
    }
    if (sub->position_count) {
        pack_positions(h, sub);
    } else if (sub->from.len) {
        buf_pack_str(h, "from");
        buf_add(h, sub->from.data, sub->from.len);
    }
    client_send(client, "SUB", h, (struct ls_slice){0});
}

static int check_subscription(const struct ls_subscription *s, struct ls_error *err)
{
    if (!s->consumer && (!s->topics || !s->topics[0]))
        return error_set(err, "USAGE", "a subscription needs `consumer` or at least one pattern in `topics`");
    for (const char *const *pattern = s->topics; pattern && *pattern; pattern++)
        if (!topic_pattern_valid(*pattern, strlen(*pattern)))
            return error_set(err, "BAD_TOPIC", "\"%.210s\" is no topic pattern: words joined by dots, `*`, `>` last",
                             *pattern);
    return 0;
}

uint32_t ls_subscribe(struct ls_client *client, const struct ls_subscription *subscription, ls_event_fn *fn, void *arg,
                      struct ls_error *err)
{
    if (check_subscription(subscription, err))
        return 0;
    struct subscription *sub = subscription_new(client, false);
    sub->fn = fn;
    sub->arg = arg;
    sub->durable = subscription->consumer != NULL;
    sub->window = subscription->window;
    sub->stream = !sub->durable && subscription->stream ? xstrdup(subscription->stream) : NULL;
    if (sub->durable)
        pack_durable(sub, subscription);
    else
        pack_ephemeral(sub, subscription);
    if (!subscription->single)
        add_batch(sub);
    pack_from(&sub->from, &subscription->from);
    for (size_t i = 0; i < subscription->position_count && !sub->durable; i++) {
        sub->positions = xgrow(sub->positions, &sub->position_room, i + 1, sizeof *sub->positions);
        sub->positions[i].stream = xstrdup(subscription->positions[i].stream);
        sub->positions[i].next = subscription->positions[i].next;
        sub->positions[i].seen_us = subscription->positions[i].seen_us;
        sub->position_count++;
    }
    subscription_send(client, sub);
    return sub->cid;
}

struct subscription *subscription_find(struct ls_client *client, uint64_t cid)
{
    struct subscription *sub;
    LIST_FOREACH(sub, &client->subscriptions, link)
        if (sub->cid == cid && !sub->ended)
            return sub;
    return NULL;
}

void ls_unsubscribe(struct ls_client *client, uint32_t subscription)
{
    struct subscription *sub = subscription_find(client, subscription);
    if (sub)
        sub->ended = client->ended_subscriptions = client->dirty = true;
}

void ls_window(struct ls_client *client, uint32_t subscription, uint32_t window)
{
    struct subscription *sub = subscription_find(client, subscription);
    if (!sub || !sub->durable)
        return;
    struct buf *h = client_header(client);
    sub->window = window;
    sub->window_changed = true;
    buf_pack_map(h, 2);
    buf_pack_str(h, "cid");
    buf_pack_uint(h, sub->cid);
    buf_pack_str(h, "window");
    buf_pack_uint(h, window);
    client_send(client, "MORE", h, (struct ls_slice){0});
}

/* ---- answers ---- */

void subscribe_ok(struct ls_client *client, uint64_t cid, struct mp header)
{
    struct subscription *sub = subscription_find(client, cid);
    struct ls_slice stream = {0};
    if (!sub || sub->stands)
        return;
    sub->stands = true;
    wire_str(header, "stream", &stream);
    wire_copy(sub->answer.stream, sizeof sub->answer.stream, stream);
    wire_uint(header, "next", &sub->answer.next);
    wire_uint(header, "pending", &sub->answer.pending);
}

void subscribe_err(struct ls_client *client, uint64_t cid, const struct ls_error *err)
{
    struct subscription *sub = subscription_find(client, cid);
    if (!sub)
        return;
    if (sub->stands) { /* STALE, or something that a settled or pausing subscription survives */
        client_notice(client, LS_STALE, sub->cid, err, err->text);
        return;
    }
    sub->refused = *err;
    client_notice(client, LS_REFUSED, sub->cid, err, err->text);
}

struct standing {
    uint32_t cid;
    struct ls_subscribed *result;
    struct ls_error refused;
};

static bool stands_or_not(struct ls_client *client, void *arg)
{
    struct standing *s = arg;
    const struct subscription *sub = subscription_find(client, s->cid);
    if (!sub) {
        error_set(&s->refused, "NOT_FOUND", "there is no subscription %u", s->cid);
        return true;
    }
    s->refused = sub->refused;
    if (sub->stands && s->result)
        *s->result = sub->answer;
    return sub->stands || sub->refused.name[0];
}

int ls_subscribed_wait(struct ls_client *client, uint32_t subscription, int timeout_ms, struct ls_subscribed *result,
                       struct ls_error *err)
{
    struct standing s = {.cid = subscription, .result = result};
    if (client_may_wait(client, err) || client_until(client, stands_or_not, &s, timeout_ms, "subscribe", err))
        return -1;
    if (!s.refused.name[0])
        return 0;
    if (err)
        *err = s.refused;
    return -1;
}

/* ---- sessions, the end ---- */

void subscribe_ready(struct ls_client *client)
{
    struct subscription *sub;
    LIST_FOREACH(sub, &client->subscriptions, link)
        if (!sub->ended && !sub->refused.name[0])
            subscription_send(client, sub);
}

void subscribe_lost(struct ls_client *client)
{
    struct subscription *sub;
    LIST_FOREACH(sub, &client->subscriptions, link) {
        sub->stands = false;
        if (sub->refused.again) /* what stood in the way may be over in the next session */
            sub->refused = (struct ls_error){0};
    }
}

static void subscription_free(struct subscription *sub)
{
    LIST_REMOVE(sub, link);
    for (size_t i = 0; i < sub->position_count; i++)
        free(sub->positions[i].stream);
    free(sub->positions);
    free(sub->acks);
    free(sub->stream);
    buf_fini(&sub->request);
    buf_fini(&sub->about);
    buf_fini(&sub->from);
    free(sub);
}

void subscribe_sweep(struct ls_client *client)
{
    if (!client->ended_subscriptions)
        return;
    client->ended_subscriptions = false;
    consume_flush_acks(client);
    for (struct subscription *sub = LIST_FIRST(&client->subscriptions), *next; sub; sub = next) {
        next = LIST_NEXT(sub, link);
        if (!sub->ended)
            continue;
        serve_ended(client, sub);
        struct buf *h = client_header(client);
        pack_from_number(h, "cid", sub->cid);
        client_send(client, "BYE", h, (struct ls_slice){0});
        subscription_free(sub);
    }
}

void subscribe_free(struct ls_client *client)
{
    while (!LIST_EMPTY(&client->subscriptions))
        subscription_free(LIST_FIRST(&client->subscriptions));
}
