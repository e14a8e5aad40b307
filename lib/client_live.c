/* SPDX-License-Identifier: Apache-2.0 */
/* Watching the live feed: a SUB socket, and the handshake that tells when its subscription stands.
 * Source: docs/protocol.md, "Live feed". */
#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define ASK_EVERY_MS 100
#define FRAMES_MAX 4
#define LINGER_MS 0
#define KEEPALIVE_SECONDS 30 /* a feed that is only read never notices a vanished host by itself */

struct ls_live {
    void *context, *socket;
    bool own_context;
    char *url;
    zmq_msg_t frames[FRAMES_MAX];
    int frame_count;
    /* what is left of the message in `frames` */
    bool batch;
    struct ls_slice packed, stream, source;
    uint64_t seq;
    int64_t ts_us;
};

static void drop_message(struct ls_live *live)
{
    for (int i = 0; i < live->frame_count; i++)
        zmq_msg_close(&live->frames[i]);
    live->frame_count = 0;
    live->packed = (struct ls_slice){0};
}

static struct ls_slice frame(struct ls_live *live, int i)
{
    if (i >= live->frame_count)
        return (struct ls_slice){0};
    return ls_bytes(zmq_msg_data(&live->frames[i]), zmq_msg_size(&live->frames[i]));
}

/* A signal may come between two frames of a message. */
static int take_frame(void *socket, zmq_msg_t *frame)
{
    int rc;
    do
        rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc;
}

/* Takes the next message off the socket; false if there is none. */
static bool receive(struct ls_live *live)
{
    int more = 1;
    drop_message(live);
    while (more) {
        zmq_msg_t spare, *into = live->frame_count < FRAMES_MAX ? &live->frames[live->frame_count] : &spare;
        zmq_msg_init(into);
        if (take_frame(live->socket, into) < 0) {
            zmq_msg_close(into);
            break;
        }
        more = zmq_msg_more(into);
        if (into == &spare)
            zmq_msg_close(into);
        else
            live->frame_count++;
    }
    return live->frame_count > 0;
}

static bool is_sync(struct ls_slice topic)
{
    return topic.len > 6 && !memcmp(topic.data, "$sync.", 6);
}

/* ---- opening ---- */

static void *connect_socket(struct ls_live *live, int type, enum wire_port port, struct ls_error *err)
{
    static const struct { int option, value; } OPTIONS[] = {
        {ZMQ_LINGER, LINGER_MS}, {ZMQ_TCP_KEEPALIVE, 1}, {ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_SECONDS}};
    char *address = wire_address(live->url, port, err);
    if (!address)
        return NULL;
    void *socket = zmq_socket(live->context, type);
    bool ok = socket != NULL;
    for (size_t i = 0; ok && i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        ok = !zmq_setsockopt(socket, OPTIONS[i].option, &OPTIONS[i].value, sizeof OPTIONS[i].value);
    if (!ok || zmq_connect(socket, address)) {
        error_set(err, "SYSTEM", "cannot open a connection to %s: %s", address, zmq_strerror(errno));
        if (socket)
            zmq_close(socket);
        socket = NULL;
    }
    free(address);
    return socket;
}

static void subscribe(struct ls_live *live, const char *const *prefixes)
{
    if (!prefixes)
        zmq_setsockopt(live->socket, ZMQ_SUBSCRIBE, "", 0);
    for (; prefixes && *prefixes; prefixes++)
        zmq_setsockopt(live->socket, ZMQ_SUBSCRIBE, *prefixes, strlen(*prefixes));
}

static void ask_for_sync(void *asker, const char *nonce)
{
    struct buf h = {0};
    buf_pack_map(&h, 1);
    buf_pack_str(&h, "sync");
    buf_pack_str(&h, nonce);
    if (zmq_send(asker, "PING", 4, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(asker, h.data, h.len, ZMQ_DONTWAIT);
    buf_fini(&h);
    char pong[16];
    while (zmq_recv(asker, pong, sizeof pong, ZMQ_DONTWAIT) >= 0) /* only the feed's answer counts */
        continue;
}

static void wait_readable(struct ls_live *live, int64_t timeout_ms)
{
    zmq_pollitem_t item = {live->socket, 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, timeout_ms);
}

/* Asks again and again until the feed brings the word. Events that come meanwhile are from before the promise. */
static int synchronise(struct ls_live *live, void *asker, int timeout_ms, struct ls_error *err)
{
    int64_t now = clock_mono_ms(), until = timeout_ms < 0 ? INT64_MAX : now + timeout_ms, ask_at = now;
    char nonce[LS_ID_SIZE];
    char topic[LS_ID_SIZE + 8] = "$sync.";
    ls_id(nonce);
    memcpy(topic + 6, nonce, sizeof nonce);
    zmq_setsockopt(live->socket, ZMQ_SUBSCRIBE, topic, strlen(topic));
    bool heard = false;
    for (; !heard && now <= until; now = clock_mono_ms()) {
        if (now >= ask_at) {
            ask_for_sync(asker, nonce);
            ask_at = now + ASK_EVERY_MS;
        }
        wait_readable(live, ask_at < until ? ask_at - now : until - now);
        while (!heard && receive(live))
            heard = ls_slice_is(frame(live, 0), topic);
    }
    zmq_setsockopt(live->socket, ZMQ_UNSUBSCRIBE, topic, strlen(topic));
    drop_message(live);
    if (heard)
        return 0;
    return error_set(err, "UNREACHABLE", "no live feed answers at %s; is the broker running? (lineshaft up TOPOLOGY)",
                     live->url);
}

struct ls_live *ls_live_open_wait(const struct ls_live_options *options, int timeout_ms, struct ls_error *err)
{
    struct ls_live *live = xcalloc(1, sizeof *live);
    live->url = xstrdup(wire_url(options->url));
    live->own_context = !options->context;
    live->context = options->context ? options->context : zmq_ctx_new();
    live->socket = connect_socket(live, ZMQ_SUB, options->single ? WIRE_LIVE : WIRE_BATCH, err);
    void *asker = live->socket ? connect_socket(live, ZMQ_DEALER, WIRE_ROUTER, err) : NULL;
    int rc = -1;
    if (asker) {
        subscribe(live, options->prefixes);
        rc = synchronise(live, asker, timeout_ms, err);
        zmq_close(asker);
    }
    if (rc)
        ls_live_close(&live);
    return live;
}

/* ---- reading ---- */

/* Starts on the message in `frames`. */
static void begin_message(struct ls_live *live)
{
    struct mp delivery = wire_map(frame(live, 1));
    live->stream = live->source = (struct ls_slice){0};
    live->seq = 0;
    live->ts_us = 0;
    wire_str(delivery, "stream", &live->stream);
    wire_str(delivery, "source", &live->source);
    wire_uint(delivery, "seq", &live->seq);
    wire_int(delivery, "ts_us", &live->ts_us);
    live->batch = wire_bool(delivery, "batch");
    if (live->batch)
        live->packed = frame(live, 2);
}

static bool next_of_batch(struct ls_live *live, struct ls_event *event)
{
    struct ls_slice header, body;
    if (!wire_packed_next(&live->packed, &header, &body))
        return false;
    event_read(event, header, body);
    return true;
}

static void describe(struct ls_live *live, struct ls_event *event)
{
    if (!event->topic.len)
        event->topic = frame(live, 0);
    if (!event->source.len)
        event->source = live->source;
    event->stream = live->stream;
    event->seq = live->seq;
    event->ts_us = live->ts_us;
    live->seq += live->seq != 0;
}

static bool next_event(struct ls_live *live, struct ls_event *event)
{
    bool found = next_of_batch(live, event);
    while (!found && receive(live)) {
        if (is_sync(frame(live, 0)))
            continue;
        begin_message(live);
        if (!live->batch)
            event_read(event, frame(live, 2), frame(live, 3));
        found = !live->batch || next_of_batch(live, event);
    }
    if (found)
        describe(live, event);
    return found;
}

int ls_live_next_wait(struct ls_live *live, int timeout_ms, struct ls_event *event, struct ls_error *err)
{
    if (next_event(live, event))
        return 1;
    zmq_pollitem_t item = {live->socket, 0, ZMQ_POLLIN, 0};
    if (timeout_ms && zmq_poll(&item, 1, timeout_ms) < 0 && errno != EINTR)
        return error_set(err, "SYSTEM", "cannot read the live feed of %s: %s", live->url, zmq_strerror(errno));
    return next_event(live, event);
}

int ls_live_fd(const struct ls_live *live)
{
    int fd = -1;
    size_t size = sizeof fd;
    zmq_getsockopt(live->socket, ZMQ_FD, &fd, &size);
    return fd;
}

void ls_live_close(struct ls_live **which)
{
    struct ls_live *live = *which;
    if (!live)
        return;
    *which = NULL;
    drop_message(live);
    if (live->socket)
        zmq_close(live->socket);
    if (live->own_context && live->context)
        zmq_ctx_term(live->context);
    free(live->url);
    free(live);
}
