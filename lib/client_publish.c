/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelined publishing: the queue, what is in flight by `n`, what waits to be sent again, batches under load.
 * Source: docs/protocol.md, "Publishing", "Batches", "A client that survives". */
#include <stdio.h>
#include <stdlib.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define RETRY_DEFAULT_MS 1000
#define NUMBER_BYTES 16 /* what `n` adds to a header, at most */

static struct ls_slice header_of(const struct outgoing *o)
{
    return ls_bytes(o->bytes, o->header_len);
}

static struct ls_slice body_of(const struct outgoing *o)
{
    return ls_bytes(o->bytes + o->header_len, o->body_len);
}

static size_t size_of(const struct outgoing *o)
{
    return o->header_len + o->body_len;
}

/* ---- the end of an event ---- */

static void finish(struct ls_client *client, struct outgoing *o, struct ls_slice level, bool dup,
                   const struct ls_error *err)
{
    client->counters.unacked--;
    client->counters.unacked_bytes -= size_of(o);
    if (err)
        client->counters.refused++;
    else
        client->counters.acknowledged++;
    if (o->fn) {
        struct ls_event event;
        event_read(&event, header_of(o), body_of(o));
        const struct ls_published result = {
            .topic = event.topic, .id = event.id, .level = level, .dup = dup, .err = err};
        o->fn(o->arg, &result);
    }
    free(o);
}

void publish_ok(struct ls_client *client, struct mp header, uint64_t upto)
{
    struct publisher *p = &client->publisher;
    struct outgoing_list done = STAILQ_HEAD_INITIALIZER(done);
    struct ls_slice level = {0};
    uint64_t dup = 0, count = 0;
    struct outgoing *o;
    wire_str(header, "level", &level);
    wire_uint(header, "dup", &dup);
    while ((o = STAILQ_FIRST(&p->flight)) != NULL && o->n <= upto) {
        STAILQ_REMOVE_HEAD(&p->flight, link);
        STAILQ_INSERT_TAIL(&done, o, link);
        count++;
    }
    client->counters.duplicates += dup;
    while ((o = STAILQ_FIRST(&done)) != NULL) {
        STAILQ_REMOVE_HEAD(&done, link);
        finish(client, o, level, dup == count, NULL);
    }
}

static void refuse(struct ls_client *client, struct outgoing *o, const struct ls_error *err)
{
    struct publisher *p = &client->publisher;
    int64_t now = clock_mono_ms();
    int keep_ms = client->options.publish_retry_ms;
    if (!o->give_up_at)
        o->give_up_at = keep_ms < 0 ? INT64_MAX : now + keep_ms;
    o->retry_at = now + (err->retry_ms > 0 ? err->retry_ms : RETRY_DEFAULT_MS);
    if (err->again && o->retry_at <= o->give_up_at)
        STAILQ_INSERT_TAIL(&p->retry, o, link);
    else
        finish(client, o, (struct ls_slice){0}, false, err);
}

void publish_err(struct ls_client *client, uint64_t n, uint64_t count, const struct ls_error *err)
{
    struct publisher *p = &client->publisher;
    struct outgoing_list refused = STAILQ_HEAD_INITIALIZER(refused), rest = STAILQ_HEAD_INITIALIZER(rest);
    struct outgoing *o;
    while ((o = STAILQ_FIRST(&p->flight)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->flight, link);
        if (o->n >= n && o->n - n < count)
            STAILQ_INSERT_TAIL(&refused, o, link);
        else
            STAILQ_INSERT_TAIL(&rest, o, link);
    }
    STAILQ_CONCAT(&p->flight, &rest);
    while ((o = STAILQ_FIRST(&refused)) != NULL) {
        STAILQ_REMOVE_HEAD(&refused, link);
        refuse(client, o, err);
    }
}

/* ---- sending ---- */

static void to_flight(struct ls_client *client, struct outgoing *o)
{
    struct publisher *p = &client->publisher;
    STAILQ_REMOVE_HEAD(&p->queue, link);
    p->queued--;
    p->queued_bytes -= size_of(o);
    o->n = ++p->last_n;
    client->counters.resent += o->sent_before;
    o->sent_before = true;
    STAILQ_INSERT_TAIL(&p->flight, o, link);
}

static void send_single(struct ls_client *client)
{
    struct outgoing *o = STAILQ_FIRST(&client->publisher.queue);
    struct buf *h = client_header(client);
    to_flight(client, o);
    buf_pack_map(h, o->pairs + 1);
    buf_add(h, o->bytes + o->head_len, o->header_len - o->head_len);
    buf_pack_str(h, "n");
    buf_pack_uint(h, o->n);
    client_send(client, "PUB", h, body_of(o));
}

/* How many events from the head of the queue make the next message. */
static uint32_t batch_count(const struct ls_client *client)
{
    const struct ls_client_options *limits = &client->options;
    size_t bytes = 0;
    uint32_t count = 0;
    const struct outgoing *o;
    STAILQ_FOREACH(o, &client->publisher.queue, link) {
        bytes += size_of(o) + 8;
        if (count && (bytes > limits->batch_bytes_max || bytes > client->server.batch_max))
            break;
        if (++count >= limits->batch_max || count >= client->server.batch_count_max)
            break;
    }
    return count;
}

static void send_batch(struct ls_client *client, uint32_t count)
{
    struct publisher *p = &client->publisher;
    struct buf packed = {0};
    struct buf *h = client_header(client);
    buf_pack_map(h, 2);
    buf_pack_str(h, "batch");
    buf_pack_uint(h, count);
    buf_pack_str(h, "n");
    buf_pack_uint(h, p->last_n + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct outgoing *o = STAILQ_FIRST(&p->queue);
        to_flight(client, o);
        wire_packed_add(&packed, header_of(o), body_of(o));
    }
    client->counters.batches++;
    client_send(client, "PUB", h, ls_bytes(packed.data, packed.len));
    buf_fini(&packed);
}

/* Taken before this broker's limits were known, or for a broker with wider ones. */
static int check_size(const struct ls_client *client, const struct outgoing *o, struct ls_error *err)
{
    const struct ls_server *s = &client->server;
    if (o->header_len + NUMBER_BYTES > s->header_max)
        return error_set(err, "TOO_BIG", "the event's header has %zu bytes, the broker takes %llu", o->header_len,
                         (unsigned long long) s->header_max);
    if (o->body_len > s->body_max)
        return error_set(err, "TOO_BIG", "the event's body has %zu bytes, the broker takes %llu", o->body_len,
                         (unsigned long long) s->body_max);
    return 0;
}

static void send_next(struct ls_client *client)
{
    uint32_t count = batch_count(client);
    client->publisher.sent_this_step = true;
    if (count == 1)
        send_single(client);
    else
        send_batch(client, count);
}

static void drop_too_big(struct ls_client *client)
{
    struct publisher *p = &client->publisher;
    struct outgoing_list keep = STAILQ_HEAD_INITIALIZER(keep), refused = STAILQ_HEAD_INITIALIZER(refused);
    struct ls_error err;
    struct outgoing *o;
    while ((o = STAILQ_FIRST(&p->queue)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->queue, link);
        bool bad = check_size(client, o, &err);
        p->queued -= bad;
        p->queued_bytes -= bad ? size_of(o) : 0;
        if (bad)
            STAILQ_INSERT_TAIL(&refused, o, link);
        else
            STAILQ_INSERT_TAIL(&keep, o, link);
    }
    STAILQ_CONCAT(&p->queue, &keep);
    while ((o = STAILQ_FIRST(&refused)) != NULL) {
        STAILQ_REMOVE_HEAD(&refused, link);
        check_size(client, o, &err);
        finish(client, o, (struct ls_slice){0}, false, &err);
    }
}

static void enqueue(struct publisher *p, struct outgoing *o)
{
    o->n = 0;
    STAILQ_INSERT_TAIL(&p->queue, o, link);
    p->queued++;
    p->queued_bytes += size_of(o);
}

void publish_tick(struct ls_client *client, int64_t now)
{
    struct publisher *p = &client->publisher;
    struct outgoing_list later = STAILQ_HEAD_INITIALIZER(later);
    struct outgoing *o;
    while ((o = STAILQ_FIRST(&p->retry)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->retry, link);
        if (o->retry_at <= now)
            enqueue(p, o);
        else
            STAILQ_INSERT_TAIL(&later, o, link);
    }
    STAILQ_CONCAT(&p->retry, &later);
    while (p->queued && !client->broken)
        send_next(client);
    p->sent_this_step = false;
}

int64_t publish_due(const struct ls_client *client, int64_t now)
{
    const struct publisher *p = &client->publisher;
    int64_t at = p->queued ? now : INT64_MAX;
    const struct outgoing *o;
    STAILQ_FOREACH(o, &p->retry, link)
        if (o->retry_at < at)
            at = o->retry_at;
    return at;
}

/* ---- sessions ---- */

void publish_init(struct ls_client *client)
{
    STAILQ_INIT(&client->publisher.queue);
    STAILQ_INIT(&client->publisher.flight);
    STAILQ_INIT(&client->publisher.retry);
}

void publish_ready(struct ls_client *client)
{
    drop_too_big(client);
    publish_tick(client, clock_mono_ms());
}

/* What was in flight goes before what is queued, so that the order stays; the broker knows the ids. */
void publish_lost(struct ls_client *client)
{
    struct publisher *p = &client->publisher;
    struct outgoing_list queued = STAILQ_HEAD_INITIALIZER(queued);
    struct outgoing *o;
    STAILQ_CONCAT(&queued, &p->queue);
    while ((o = STAILQ_FIRST(&p->flight)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->flight, link);
        enqueue(p, o);
    }
    STAILQ_CONCAT(&p->queue, &queued);
    p->last_n = 0;
}

void publish_ended(struct ls_client *client)
{
    struct publisher *p = &client->publisher;
    struct outgoing *o;
    STAILQ_CONCAT(&p->queue, &p->retry);
    while ((o = STAILQ_FIRST(&p->queue)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->queue, link);
        finish(client, o, (struct ls_slice){0}, false, &client->why);
    }
    p->queued = 0;
    p->queued_bytes = 0;
}

static void free_list(struct outgoing_list *list)
{
    struct outgoing *o;
    while ((o = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        free(o);
    }
}

void publish_free(struct ls_client *client)
{
    free_list(&client->publisher.queue);
    free_list(&client->publisher.flight);
    free_list(&client->publisher.retry);
}

/* ---- the public calls ---- */

static struct outgoing *outgoing_new(const struct ls_event *event, struct ls_error *err)
{
    struct buf pairs = {0}, head = {0};
    uint32_t count;
    struct outgoing *o = NULL;
    if (!event_pack(&pairs, event, &count, err)) {
        buf_pack_map(&head, count);
        o = xcalloc(1, sizeof *o + head.len + pairs.len + event->body.len);
        o->pairs = count;
        o->head_len = head.len;
        o->header_len = head.len + pairs.len;
        o->body_len = event->body.len;
        memcpy(o->bytes, head.data, head.len);
        memcpy(o->bytes + head.len, pairs.data, pairs.len);
        if (event->body.len)
            memcpy(o->bytes + o->header_len, event->body.data, event->body.len);
    }
    buf_fini(&head);
    buf_fini(&pairs);
    return o;
}

static bool window_full(const struct ls_client *client, size_t more)
{
    const struct ls_counters *c = &client->counters;
    return c->unacked >= client->options.unacked_max ||
           (c->unacked && c->unacked_bytes + more > client->options.unacked_bytes_max);
}

int ls_publish(struct ls_client *client, const struct ls_event *event, ls_published_fn *fn, void *arg,
               struct ls_error *err)
{
    struct publisher *p = &client->publisher;
    if (client_may_ask(client, err))
        return -1;
    if (window_full(client, event->body.len))
        return error_set(err, "BUSY", "%llu events wait for acknowledgement: step the client, then publish again",
                         (unsigned long long) client->counters.unacked);
    struct outgoing *o = outgoing_new(event, err);
    if (!o)
        return -1;
    if (check_size(client, o, err)) {
        free(o);
        return -1;
    }
    o->fn = fn;
    o->arg = arg;
    enqueue(p, o);
    client->counters.published++;
    client->counters.unacked++;
    client->counters.unacked_bytes += size_of(o);
    bool full = p->queued >= client->options.batch_max || p->queued_bytes >= client->options.batch_bytes_max;
    if (client->phase == CLIENT_READY && !client->broken && (!p->sent_this_step || full))
        send_next(client);
    return 0;
}

static bool all_acknowledged(struct ls_client *client, void *arg)
{
    (void) arg;
    return !client->counters.unacked;
}

int ls_flush(struct ls_client *client, int timeout_ms, struct ls_error *err)
{
    return client_until(client, all_acknowledged, NULL, timeout_ms, "flush", err);
}
