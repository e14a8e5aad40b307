/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that speaks ZeroMQ: the bare loops zmq-gc and zmq-router (zmq_server.c) and lineshaft. One code; the peers
 * differ only in the frames they write (`publish_…`), the acknowledgement they read (`…_upto`) and the event they take. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/mp.h"
#include "lib/xmem.h"
#include "tests/bench/bench.h"

#define TOPIC "bench.event" /* no stream of the live topology keeps it, the one of the durable topology does */
#define ANSWER_MS 20000
#define FRAMES_MAX 4

struct side {
    void *ctx, *socket;
    uint8_t *body;
    size_t size;
    uint32_t batch;
    uint64_t next, acked; /* lineshaft's n of the next event; events acknowledged */
    char id[40];          /* of an event; the counter is at the end */
    size_t id_len;
    struct buf header, packed;
    zmq_msg_t frames[FRAMES_MAX]; /* of the message received last */
    size_t frame_count;
};

static void fail_if(bool bad, const char *what)
{
    if (bad)
        die("zmq: %s: %s", what, zmq_strerror(errno));
}

static struct side *side_new(const struct cell *cell, int type, int port_offset)
{
    struct side *s = xcalloc(1, sizeof *s);
    const int unlimited = 0, linger = 2000;
    char url[128];

    s->size = cell->size;
    s->batch = cell->batch;
    s->body = body_new(cell);
    s->next = 1;
    s->id_len = (size_t) snprintf(s->id, sizeof s->id, "%lx-%x-00000000", (long) time(NULL), (unsigned) getpid());
    s->ctx = zmq_ctx_new();
    s->socket = zmq_socket(s->ctx, type);
    fail_if(!s->socket, "cannot make a socket");
    /* The window bounds what is on its way; a limit here would only block or drop. */
    zmq_setsockopt(s->socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(s->socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(s->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (type == ZMQ_SUB)
        zmq_setsockopt(s->socket, ZMQ_SUBSCRIBE, TOPIC, strlen(TOPIC));
    snprintf(url, sizeof url, "tcp://%s:%d", cell->host, cell->port + port_offset);
    fail_if(zmq_connect(s->socket, url), url);
    return s;
}

static void side_close(void *self)
{
    struct side *s = self;

    for (size_t i = 0; i < s->frame_count; i++)
        zmq_msg_close(&s->frames[i]);
    zmq_close(s->socket);
    zmq_ctx_destroy(s->ctx);
    buf_fini(&s->header);
    buf_fini(&s->packed);
    free(s->body);
    free(s);
}

static void send_frame(struct side *s, const void *data, size_t len, int flags)
{
    zmq_msg_t msg;

    fail_if(zmq_msg_init_size(&msg, len), "no memory");
    memcpy(zmq_msg_data(&msg), data, len);
    fail_if(zmq_msg_send(&msg, s->socket, flags) < 0, "send");
}

/* Receives one whole message into s->frames; false if none came in time. Frames past FRAMES_MAX are dropped. */
static bool receive_frames(struct side *s, int timeout_ms)
{
    zmq_pollitem_t ready = {.socket = s->socket, .events = ZMQ_POLLIN};
    bool more = true;

    for (size_t i = 0; i < s->frame_count; i++)
        zmq_msg_close(&s->frames[i]);
    s->frame_count = 0;
    while (more) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        while (zmq_msg_recv(&msg, s->socket, ZMQ_DONTWAIT) < 0) {
            fail_if(errno != EAGAIN, "receive");
            if (!timeout_ms || zmq_poll(&ready, 1, timeout_ms) == 0)
                return false;
        }
        more = zmq_msg_more(&msg);
        if (s->frame_count < FRAMES_MAX)
            s->frames[s->frame_count++] = msg;
        else
            zmq_msg_close(&msg);
    }
    return true;
}

static const void *frame_data(struct side *s, size_t i)
{
    return zmq_msg_data(&s->frames[i]);
}

static size_t frame_len(struct side *s, size_t i)
{
    return zmq_msg_size(&s->frames[i]);
}

static uint64_t settle(struct side *s, uint64_t least, void (*take_upto)(struct side *))
{
    while (s->acked < least) {
        if (!receive_frames(s, ANSWER_MS))
            die("zmq: no acknowledgement for %d seconds", ANSWER_MS / 1000);
        take_upto(s);
    }
    while (receive_frames(s, 0))
        take_upto(s);
    return s->acked;
}

static size_t receive_one(struct side *s, int timeout_ms, size_t body_frame, uint64_t numbers[BATCH_MAX])
{
    if (!receive_frames(s, timeout_ms))
        return 0;
    if (s->frame_count != body_frame + 1)
        die("zmq: a feed message of %zu frames", s->frame_count);
    numbers[0] = body_number(frame_data(s, body_frame), frame_len(s, body_frame));
    return 1;
}

/* ---- zmq-gc: [number][body] out, [number of events on disk] back ---- */

static void *gc_open(const struct cell *cell, enum role role)
{
    (void) role;
    return side_new(cell, ZMQ_DEALER, 0);
}

static void gc_publish(void *self, uint64_t number)
{
    struct side *s = self;

    body_set_number(s->body, number);
    send_frame(s, &s->next, sizeof s->next, ZMQ_SNDMORE);
    send_frame(s, s->body, s->size, 0);
    s->next++;
}

static void gc_upto(struct side *s)
{
    if (frame_len(s, 0) != sizeof s->acked)
        die("zmq-gc: an acknowledgement of %zu bytes", frame_len(s, 0));
    memcpy(&s->acked, frame_data(s, 0), sizeof s->acked);
}

static uint64_t gc_settle(void *self, uint64_t least)
{
    return settle(self, least, gc_upto);
}

/* ---- zmq-router: [topic][body] both ways ---- */

static void *router_open(const struct cell *cell, enum role role)
{
    return role == ROLE_SUBSCRIBER ? side_new(cell, ZMQ_SUB, 1) : side_new(cell, ZMQ_DEALER, 0);
}

static void router_publish(void *self, uint64_t number)
{
    struct side *s = self;

    body_set_number(s->body, number);
    send_frame(s, TOPIC, strlen(TOPIC), ZMQ_SNDMORE);
    send_frame(s, s->body, s->size, 0);
}

static uint64_t router_settle(void *self, uint64_t least)
{
    (void) self;
    return least; /* it acknowledges nothing, and libzmq keeps nothing back */
}

static size_t router_receive(void *self, int timeout_ms, uint64_t numbers[BATCH_MAX])
{
    return receive_one(self, timeout_ms, 1, numbers);
}

/* ---- lineshaft: docs/protocol.md ---- */

static void *lineshaft_open(const struct cell *cell, enum role role)
{
    if (role != ROLE_SUBSCRIBER)
        return side_new(cell, ZMQ_DEALER, 0);
    return side_new(cell, ZMQ_SUB, cell->batch > 1 ? 4 : 2);
}

static const char *next_id(struct side *s, uint64_t n)
{
    char *at = s->id + s->id_len;

    for (int i = 0; i < 8; i++, n >>= 4)
        *--at = "0123456789abcdef"[n & 15];
    return s->id;
}

static void pack_attributes(struct side *s, uint64_t n)
{
    buf_pack_strn(&s->header, "topic", 5);
    buf_pack_strn(&s->header, TOPIC, strlen(TOPIC));
    buf_pack_strn(&s->header, "id", 2);
    buf_pack_strn(&s->header, next_id(s, n), s->id_len);
}

static void add_u32(struct buf *b, size_t value)
{
    const uint8_t bytes[] = {(uint8_t) (value >> 24), (uint8_t) (value >> 16), (uint8_t) (value >> 8), (uint8_t) value};

    buf_add(b, bytes, sizeof bytes);
}

static void publish_batch(struct side *s, uint64_t number)
{
    buf_clear(&s->packed);
    for (uint32_t i = 0; i < s->batch; i++) {
        body_set_number(s->body, number == PROBE ? PROBE : number + i);
        buf_clear(&s->header);
        buf_pack_map(&s->header, 2);
        pack_attributes(s, s->next + i);
        add_u32(&s->packed, s->header.len);
        add_u32(&s->packed, s->size);
        buf_add(&s->packed, s->header.data, s->header.len);
        buf_add(&s->packed, s->body, s->size);
    }
    buf_clear(&s->header);
    buf_pack_map(&s->header, 2);
    buf_pack_str(&s->header, "batch");
    buf_pack_uint(&s->header, s->batch);
    buf_pack_str(&s->header, "n");
    buf_pack_uint(&s->header, s->next);
    send_frame(s, "PUB", 3, ZMQ_SNDMORE);
    send_frame(s, s->header.data, s->header.len, ZMQ_SNDMORE);
    send_frame(s, s->packed.data, s->packed.len, 0);
}

static void lineshaft_publish(void *self, uint64_t number)
{
    struct side *s = self;

    if (s->batch > 1) {
        publish_batch(s, number);
    } else {
        body_set_number(s->body, number);
        buf_clear(&s->header);
        buf_pack_map(&s->header, 3);
        pack_attributes(s, s->next);
        buf_pack_strn(&s->header, "n", 1);
        buf_pack_uint(&s->header, s->next);
        send_frame(s, "PUB", 3, ZMQ_SNDMORE);
        send_frame(s, s->header.data, s->header.len, ZMQ_SNDMORE);
        send_frame(s, s->body, s->size, 0);
    }
    s->next += s->batch;
}

static void lineshaft_upto(struct side *s)
{
    struct mp_slice verb = {frame_data(s, 0), frame_len(s, 0)}, text = {"", 0};
    struct mp map = mp_over(s->frame_count > 1 ? frame_data(s, 1) : "", s->frame_count > 1 ? frame_len(s, 1) : 0), value;

    if (mp_is(verb, "OK") && mp_find(map, "upto", &value) && mp_uint(&value, &s->acked))
        return;
    if (mp_find(map, "text", &value))
        mp_str(&value, &text);
    die("lineshaft answered %.*s: %.*s", (int) verb.len, verb.data, (int) text.len, text.data);
}

static uint64_t lineshaft_settle(void *self, uint64_t least)
{
    return settle(self, least, lineshaft_upto);
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static size_t receive_packed(struct side *s, int timeout_ms, uint64_t numbers[BATCH_MAX])
{
    size_t count = 0;

    if (!receive_frames(s, timeout_ms))
        return 0;
    if (s->frame_count != 3)
        die("lineshaft: a batched feed message of %zu frames", s->frame_count);
    const uint8_t *p = frame_data(s, 2), *end = p + frame_len(s, 2);
    while (count < BATCH_MAX && end - p >= 8) {
        size_t header_len = read_u32(p), body_len = read_u32(p + 4);
        if ((size_t) (end - p) - 8 < header_len + body_len)
            break;
        numbers[count++] = body_number(p + 8 + header_len, body_len);
        p += 8 + header_len + body_len;
    }
    if (p != end)
        die("lineshaft: a packed frame with %zu bytes after %zu events", (size_t) (end - p), count);
    return count;
}

static size_t lineshaft_receive(void *self, int timeout_ms, uint64_t numbers[BATCH_MAX])
{
    struct side *s = self;

    return s->batch > 1 ? receive_packed(s, timeout_ms, numbers) : receive_one(s, timeout_ms, 3, numbers);
}

static const struct peer gc = {"zmq-gc", gc_open, gc_publish, gc_settle, NULL, side_close};
static const struct peer router = {"zmq-router", router_open, router_publish, router_settle, router_receive, side_close};
static const struct peer lineshaft = {"lineshaft",       lineshaft_open,    lineshaft_publish,
                                      lineshaft_settle, lineshaft_receive, side_close};
const struct peer *const PEERS[] = {&gc, &router, &lineshaft, NULL};
