/* SPDX-License-Identifier: Apache-2.0 */
/* The live feed: what was committed, and what no stream keeps, on the XPUB sockets; one event per message on the one,
 * batches of one topic on the other. Nothing is built for sockets that nobody subscribes to. */
#include "broker/core.h"

#include <string.h>

#define BATCH_BYTES_MAX (256u << 10)
#define BATCH_COUNT_MAX 1024

static void send_frame(struct broker *b, enum socket_name name, const void *data, size_t len, int more)
{
    b->live_bytes += len;
    b->sockets.sent[name] = true;
    zmq_send(b->sockets.raw[name], data, len, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)); /* best effort by contract */
}

/* First byte 1: subscribe, 0: unsubscribe. libzmq passes on the first and last of each prefix only. */
static void read_subscriptions(struct broker *b, enum socket_name name, size_t *count)
{
    zmq_msg_t frame;
    for (int i = 0; i < 1000; i++) {
        zmq_msg_init(&frame);
        int len = zmq_msg_recv(&frame, b->sockets.raw[name], ZMQ_DONTWAIT);
        if (len > 0) {
            uint8_t byte = *(uint8_t *) zmq_msg_data(&frame);
            if (byte == 1)
                ++*count;
            else if (byte == 0 && *count)
                --*count;
        }
        zmq_msg_close(&frame);
        if (len < 0) {
            b->sockets.ready[name] = false;
            return;
        }
    }
    b->sockets.ready[name] = b->lagging = true; /* the descriptor does not tell of what is left */
}

void live_read_subscriptions(struct broker *b)
{
    read_subscriptions(b, SOCK_LIVE, &b->live_subs);
    read_subscriptions(b, SOCK_BATCH, &b->batch_subs);
}

static void pack_delivery(struct buf *map, const struct stream *stream, uint64_t seq, int64_t ts_us)
{
    buf_clear(map);
    buf_pack_map(map, stream ? 3 : 1);
    if (stream) {
        buf_pair_str(map, "stream", stream->config->name);
        buf_pair_uint(map, "seq", seq);
    }
    buf_pair_uint(map, "ts_us", (uint64_t) ts_us);
}

static void send_event(struct broker *b, struct mp_slice topic, const struct buf *delivery, struct mp_slice header,
                       struct mp_slice body)
{
    send_frame(b, SOCK_LIVE, topic.data, topic.len, 1);
    send_frame(b, SOCK_LIVE, delivery->data, delivery->len, 1);
    send_frame(b, SOCK_LIVE, header.data, header.len, 1);
    send_frame(b, SOCK_LIVE, body.data, body.len, 0);
    b->counters[C_LIVE_OUT]++;
}

static void send_batch(struct broker *b, struct mp_slice topic, struct packer *p, const struct stream *stream)
{
    if (!p->count)
        return;
    struct buf *map = &b->scratch;
    buf_clear(map);
    pack_batch_map(map, p, stream ? 1 : 0);
    if (stream) {
        buf_pair_str(map, "stream", stream->config->name);
    }
    send_frame(b, SOCK_BATCH, topic.data, topic.len, 1);
    send_frame(b, SOCK_BATCH, map->data, map->len, 1);
    send_frame(b, SOCK_BATCH, p->bytes.data, p->bytes.len, 0);
    b->counters[C_LIVE_OUT] += p->count;
    buf_clear(&p->bytes);
    p->count = 0;
}

static void feed_single(struct broker *b, struct stream *stream, const struct stored *event, struct mp_slice topic)
{
    pack_delivery(&b->scratch, stream, event->seq, event->ts_us);
    struct mp_slice header = event->header;
    if (event->batch) {
        buf_clear(&b->scratch2);
        stored_complete(event, &b->scratch2);
        header = (struct mp_slice){(const char *) b->scratch2.data, b->scratch2.len};
    }
    send_event(b, topic, &b->scratch, header, event->body);
}

static void send_run(struct broker *b, const struct stream *stream)
{
    struct live_run *run = &b->live_run;
    send_batch(b, (struct mp_slice){run->topic, run->topic_len}, &run->packer, stream);
}

static void run_add(struct broker *b, const struct stream *stream, struct mp_slice topic, const struct stored *event)
{
    struct live_run *run = &b->live_run;
    bool same = run->topic_len == topic.len && !memcmp(run->topic, topic.data, topic.len);
    if (!same || !packer_takes(&run->packer, event, BATCH_BYTES_MAX, BATCH_COUNT_MAX))
        send_run(b, stream);
    memcpy(run->topic, topic.data, topic.len);
    run->topic_len = topic.len;
    packer_add(&run->packer, event);
}

void live_stream(struct stream *s)
{
    struct broker *b = s->broker;
    if (!b->live_subs && !b->batch_subs) {
        walk_seek(&s->live, s->log, log_durable_seq(s->log) + 1);
        return;
    }
    struct mp_slice topic;
    struct stored event;
    live_flush(b);
    while (walk_next(&s->live, &event) == 1) {
        if (!stored_topic(&event, &topic) || topic.len > TOPIC_LEN_MAX)
            continue;
        if (b->live_subs)
            feed_single(b, s, &event, topic);
        if (!b->batch_subs)
            continue;
        run_add(b, s, topic, &event);
    }
    send_run(b, s);
    walk_rest(&s->live);
}

/* What no stream keeps, one event at a time; the batched feed's run goes out with live_flush. */
void live_add(struct broker *b, struct mp_slice topic, const struct stored *event)
{
    if (b->live_subs)
        feed_single(b, NULL, event, topic);
    if (b->batch_subs)
        run_add(b, NULL, topic, event);
    ephemeral_live(b, topic, event);
}

void live_flush(struct broker *b)
{
    send_run(b, NULL);
}

void live_event(struct broker *b, struct mp_slice topic, struct mp_slice header, struct mp_slice body, int64_t ts_us)
{
    struct stored event = {.ts_us = ts_us, .header = header, .body = body};
    live_add(b, topic, &event);
}

void live_sync(struct broker *b, struct mp_slice nonce)
{
    char topic[80];
    int len = snprintf(topic, sizeof topic, "$sync.%.*s", (int) nonce.len, nonce.data);
    live_read_subscriptions(b); /* what stands by now is what the marker confirms */
    send_frame(b, SOCK_LIVE, topic, (size_t) len, 0);
    send_frame(b, SOCK_BATCH, topic, (size_t) len, 0);
}
