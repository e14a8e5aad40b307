/* SPDX-License-Identifier: Apache-2.0 */
/* The client's session: socket, HELLO, signs of life, losing and finding the broker, and which part of the client gets
 * which message.
 *
 * libzmq must never reconnect by itself: events sent on the old connection could be lost while the count of `n` goes
 * on, and the broker's cumulative OK would then cover them. So each socket lives for one TCP connection and a
 * monitor tells when that is over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/wire.h"

#define HELLO_TAG 0 /* the tags of waiting calls begin at 1 */
#define BYE_TAG 0
#define BYE_MS 2000
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000  /* a broker that is back is noticed within it */
#define RETRY_MAX_MS 10000 /* most that a broker's advice is followed */
#define RECEIVE_HWM 20000
#define FRAMES_MAX 4
#define PROTOCOL_VERSION 1

/* ---- sending ---- */

struct buf *client_header(struct ls_client *client)
{
    buf_clear(&client->scratch);
    return &client->scratch;
}

static bool send_frame(struct ls_client *client, const void *data, size_t len, int flags)
{
    int rc;
    do
        rc = zmq_send(client->socket, data, len, ZMQ_DONTWAIT | flags);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* The lock is held, so that the frames of two threads never mix. */
static bool send_frames(struct ls_client *client, const char *verb, const struct buf *header, struct ls_slice body)
{
    return send_frame(client, verb, strlen(verb), ZMQ_SNDMORE) &&
           send_frame(client, header->data, header->len, body.len ? ZMQ_SNDMORE : 0) &&
           (!body.len || send_frame(client, body.data, body.len, 0));
}

static bool send_message(struct ls_client *client, const char *verb, const struct buf *header, struct ls_slice body)
{
    heart_lock(client);
    bool sent = send_frames(client, verb, header, body);
    heart_unlock(client);
    client->sent = true;
    client->spoke_at = clock_mono_ms();
    client->broken |= !sent; /* the pipe is gone: the monitor will say so too */
    return sent;
}

bool client_send(struct ls_client *client, const char *verb, const struct buf *header, struct ls_slice body)
{
    return client->phase == CLIENT_READY && !client->broken && send_message(client, verb, header, body);
}

void client_notice(struct ls_client *client, enum ls_state state, uint32_t cid, const struct ls_error *err,
                   const char *text)
{
    const struct ls_notice notice = {state, cid, text, err};
    if (client->options.notice)
        client->options.notice(client->options.arg, &notice);
}

/* ---- connecting and losing ---- */

void session_close_socket(struct ls_client *client)
{
    if (!client->socket)
        return;
    heart_lock(client);
    heart_stands(client, false);
    void *sockets[] = {client->socket, client->monitor};
    for (int i = 0; i < 2; i++) {
        int fd;
        size_t size = sizeof fd;
        if (sockets[i] && !zmq_getsockopt(sockets[i], ZMQ_FD, &fd, &size))
            epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    }
    zmq_socket_monitor(client->socket, NULL, 0);
    if (client->monitor)
        zmq_close(client->monitor);
    zmq_close(client->socket);
    client->socket = client->monitor = NULL;
    client->ready = client->monitor_ready = false;
    client->sent = false;
    heart_unlock(client);
}

static int watch(struct ls_client *client, void *socket)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = socket};
    int fd;
    size_t size = sizeof fd;
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) || epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_socket(struct ls_client *client)
{
    static const struct { int option, value; } OPTIONS[] = {
        {ZMQ_LINGER, 0}, /* the answer to BYE is waited for instead: session_bye */
        {ZMQ_RCVHWM, RECEIVE_HWM}, {ZMQ_SNDHWM, 0}, {ZMQ_RECONNECT_IVL, -1}};
    char where[80];
    client->socket = zmq_socket(client->context, ZMQ_DEALER);
    if (!client->socket)
        return -1;
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        if (zmq_setsockopt(client->socket, OPTIONS[i].option, &OPTIONS[i].value, sizeof OPTIONS[i].value))
            return -1;
    snprintf(where, sizeof where, "inproc://lineshaft-client-%p-%u", (void *) client, client->sockets++);
    client->monitor = zmq_socket(client->context, ZMQ_PAIR);
    int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    if (!client->monitor || zmq_socket_monitor(client->socket, where, events) || zmq_connect(client->monitor, where) ||
        zmq_connect(client->socket, client->address))
        return -1;
    client->ready = client->monitor_ready = true; /* what came before the watch */
    return watch(client, client->socket) || watch(client, client->monitor) ? -1 : 0;
}

static void send_hello(struct ls_client *client)
{
    struct buf *h = client_header(client);
    buf_pack_map(h, 4 + (client->member != NULL) + (client->routes.len > 0));
    buf_pack_str(h, "v");
    buf_pack_uint(h, PROTOCOL_VERSION);
    buf_pack_str(h, "client");
    buf_pack_str(h, client->name);
    buf_pack_str(h, "hb");
    buf_pack_uint(h, (uint64_t) client->options.hb_ms);
    buf_pack_str(h, "tag");
    buf_pack_uint(h, HELLO_TAG);
    if (client->member) {
        buf_pack_str(h, "member");
        buf_pack_str(h, client->member);
    }
    if (client->routes.len) {
        buf_pack_str(h, "routes");
        buf_add(h, client->routes.data, client->routes.len);
    }
    send_message(client, "HELLO", h, (struct ls_slice){0});
}

/* The pause doubles from PAUSE_MIN_MS to PAUSE_MAX_MS, of which a random half to whole is waited. */
static int64_t next_pause(struct ls_client *client)
{
    uint16_t noise = 0;
    int pause = client->pause_ms ? client->pause_ms : PAUSE_MIN_MS;
    client->pause_ms = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    if (getrandom(&noise, sizeof noise, GRND_NONBLOCK) != sizeof noise)
        noise = (uint16_t) clock_wall_us();
    return pause / 2 + noise % (pause / 2 + 1);
}

static void lose(struct ls_client *client, const struct ls_error *why)
{
    bool stood = client->phase == CLIENT_READY;
    client->why = *why;
    session_close_socket(client);
    client->broken = false;
    client->phase = CLIENT_WAITING;
    client->connect_at = clock_mono_ms() + next_pause(client);
    if (why->retry_ms > 0)
        client->connect_at = clock_mono_ms() + why->retry_ms;
    if (stood) {
        publish_lost(client);
        subscribe_lost(client);
        wait_lost(client);
        request_lost(client);
        serve_lost(client);
    }
    if (stood || !client->told_lost)
        client_notice(client, LS_LOST, 0, &client->why, client->why.text);
    client->told_lost = true;
}

static void lose_unreachable(struct ls_client *client, const char *what)
{
    struct ls_error err;
    error_set(&err, "UNREACHABLE", "%s %s; is the broker running? (lineshaft up TOPOLOGY)", what, client->url);
    lose(client, &err);
}

static void end(struct ls_client *client, const struct ls_error *why)
{
    lose(client, why);
    client->phase = CLIENT_ENDED;
    client_notice(client, LS_ENDED, 0, &client->why, client->why.text);
    publish_ended(client);
    request_ended(client);
    adm_ended(client);
}

static void connect_now(struct ls_client *client, int64_t now)
{
    if (open_socket(client)) {
        struct ls_error err;
        error_set(&err, "SYSTEM", "cannot open a connection to %s: %s", client->url, zmq_strerror(errno));
        lose(client, &err);
        return;
    }
    client->phase = CLIENT_CONNECTING;
    client->connecting_since = now;
    client->heard_at = now;
    client->pinged_at = now;
    send_hello(client);
}

/* ---- what arrives ---- */

static void copy_field(char *field, size_t room, struct mp header, const char *key)
{
    struct ls_slice value = {0};
    wire_str(header, key, &value);
    wire_copy(field, room, value);
}

static void on_welcome(struct ls_client *client, struct mp header)
{
    struct ls_server *s = &client->server;
    uint64_t v = 0;
    if (!wire_uint(header, "v", &v) || v != PROTOCOL_VERSION) {
        struct ls_error err;
        error_set(&err, "CONFLICT", "%s speaks version %u of the protocol, this client version %d", client->url,
                  (unsigned) v, PROTOCOL_VERSION);
        end(client, &err);
        return;
    }
    copy_field(s->server, sizeof s->server, header, "server");
    copy_field(s->name, sizeof s->name, header, "name");
    copy_field(s->broker, sizeof s->broker, header, "broker");
    copy_field(s->boot, sizeof s->boot, header, "boot");
    wire_uint(header, "header_max", &s->header_max);
    wire_uint(header, "body_max", &s->body_max);
    wire_uint(header, "batch_max", &s->batch_max);
    wire_uint(header, "batch_count_max", &s->batch_count_max);
    client->phase = CLIENT_READY;
    heart_lock(client);
    heart_stands(client, true);
    heart_unlock(client);
    client->pause_ms = 0;
    client->told_lost = false;
    client->counters.connects++;
    char text[240];
    snprintf(text, sizeof text, "connected to %s at %.120s", s->server[0] ? s->server : "the broker", client->url);
    subscribe_ready(client);
    wait_ready(client);
    adm_ready(client);
    request_ready(client);
    publish_ready(client);
    client_notice(client, LS_CONNECTED, 0, NULL, text); /* last: what the user sends in it must not overtake the SUBs */
}

static void on_refused_hello(struct ls_client *client, const struct ls_error *err)
{
    struct ls_error why = *err;
    error_wrap(&why, "%s refuses this client", client->url);
    if (err->again)
        lose(client, &why);
    else
        end(client, &why);
}

static void on_ok(struct ls_client *client, const struct message *m)
{
    struct mp header = wire_map(m->header);
    uint64_t number;
    if (wire_uint(header, "tag", &number)) {
        if (number == HELLO_TAG && client->phase == CLIENT_CONNECTING)
            on_welcome(client, header);
        else if (!wait_answer(client, number, m))
            adm_answer(client, number, m);
    } else if (wire_uint(header, "upto", &number)) {
        publish_ok(client, header, number);
    } else if (wire_uint(header, "cid", &number)) {
        subscribe_ok(client, number, header);
    }
}

static void on_err_rid(struct ls_client *client, uint64_t rid, const struct ls_error *err)
{
    if (!request_err(client, rid, err))
        serve_err(client, rid, err);
}

static void on_tagged_err(struct ls_client *client, uint64_t tag, const struct message *m)
{
    if (!wait_answer(client, tag, m))
        adm_answer(client, tag, m);
}

static void on_err(struct ls_client *client, const struct message *m)
{
    struct mp header = wire_map(m->header);
    struct ls_error err;
    uint64_t number, count = 1;
    wire_error(header, &err);
    wire_uint(header, "count", &count);
    if (!strcmp(err.name, "NO_SESSION"))
        lose(client, &err);
    else if (wire_uint(header, "tag", &number) && number == HELLO_TAG)
        on_refused_hello(client, &err);
    else if (wire_uint(header, "tag", &number))
        on_tagged_err(client, number, m);
    else if (wire_uint(header, "rid", &number))
        on_err_rid(client, number, &err);
    else if (wire_uint(header, "n", &number))
        publish_err(client, number, count, &err);
    else if (wire_uint(header, "cid", &number))
        subscribe_err(client, number, &err);
}

static void on_msg(struct ls_client *client, const struct message *m)
{
    uint64_t tag;
    if (!wire_uint(wire_map(m->header), "tag", &tag) || !wait_answer(client, tag, m))
        consume_message(client, m);
}

static void on_end(struct ls_client *client, const struct message *m)
{
    uint64_t tag;
    if (wire_uint(wire_map(m->header), "tag", &tag))
        wait_answer(client, tag, m);
}

static void on_goodbye(struct ls_client *client, const struct message *m)
{
    struct mp header = wire_map(m->header);
    struct ls_slice reason = {0};
    uint64_t retry_ms = 0;
    struct ls_error err;
    wire_str(header, "reason", &reason);
    wire_uint(header, "retry_ms", &retry_ms);
    if (ls_slice_is(reason, "replaced")) {
        error_set(&err, "CONFLICT", "another client with the name %s and the member %s took this one's place at %s",
                  client->name, client->member ? client->member : "(none)", client->url);
        end(client, &err);
        return;
    }
    error_set(&err, "UNREACHABLE", "the broker at %s said good-bye: %.*s", client->url,
              (int) (reason.len < 80 ? reason.len : 80), reason.data ? reason.data : "");
    err.retry_ms = retry_ms > RETRY_MAX_MS ? RETRY_MAX_MS : (int) retry_ms;
    lose(client, &err);
}

static const struct {
    const char *verb;
    void (*handle)(struct ls_client *client, const struct message *m);
} HANDLERS[] = {
    {"MSG", on_msg}, {"OK", on_ok}, {"ERR", on_err}, {"REP", request_part}, {"REQ", serve_request},
    {"MORE", serve_more}, {"CANCEL", serve_cancel}, {"END", on_end}, {"GOODBYE", on_goodbye},
};

static void dispatch(struct ls_client *client, const struct message *m)
{
    for (size_t i = 0; i < sizeof HANDLERS / sizeof *HANDLERS; i++)
        if (ls_slice_is(m->verb, HANDLERS[i].verb)) {
            HANDLERS[i].handle(client, m);
            return;
        }
    /* PONG needs no handling, and verbs of a later protocol are none of ours: both are signs of life. */
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

static int take_frames(struct ls_client *client, zmq_msg_t frames[FRAMES_MAX])
{
    int count = 0, more = 1;
    while (more) {
        zmq_msg_t spare, *frame = count < FRAMES_MAX ? &frames[count] : &spare;
        zmq_msg_init(frame);
        if (take_frame(client->socket, frame) < 0) {
            zmq_msg_close(frame);
            break;
        }
        more = zmq_msg_more(frame);
        if (frame == &spare)
            zmq_msg_close(frame); /* further frames mean nothing in this version */
        else
            count++;
    }
    return count;
}

/* Takes one message off the socket for `handle`; false if there is none. */
static bool receive(struct ls_client *client, void (*handle)(struct ls_client *client, const struct message *m))
{
    zmq_msg_t frames[FRAMES_MAX];
    struct ls_slice slices[FRAMES_MAX] = {{0}};
    heart_lock(client);
    int count = take_frames(client, frames);
    heart_unlock(client);
    client->ready = count > 0;
    if (!count)
        return false;
    for (int i = 0; i < count; i++)
        slices[i] = ls_bytes(zmq_msg_data(&frames[i]), zmq_msg_size(&frames[i]));
    const struct message m = {slices[0], slices[1], slices[2], slices[3]};
    client->heard_at = clock_mono_ms();
    handle(client, &m);
    for (int i = 0; i < count; i++)
        zmq_msg_close(&frames[i]);
    return true;
}

bool session_receive(struct ls_client *client)
{
    return receive(client, dispatch);
}

/* ---- time ---- */

static bool monitor_says_lost(struct ls_client *client)
{
    bool lost = client->broken;
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (client->monitor_ready && client->monitor && zmq_msg_recv(&frame, client->monitor, ZMQ_DONTWAIT) >= 0)
        lost = true; /* only ends of connections were asked for */
    client->monitor_ready = false;
    zmq_msg_close(&frame);
    return lost;
}

void session_ping(struct ls_client *client, int64_t now)
{
    client->pinged_at = now;
    client_send(client, "PING", &client->ping, (struct ls_slice){0});
}

static bool has_input(void *socket)
{
    int events = 0, rc;
    size_t size = sizeof events;
    if (!socket)
        return false;
    do
        rc = zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    while (rc < 0 && errno == EINTR);
    return !rc && (events & ZMQ_POLLIN);
}

bool session_beat(struct ls_client *client, int64_t now)
{
    client->pinged_at = client->spoke_at = now;
    send_frames(client, "PING", &client->ping, (struct ls_slice){0}); /* a broken pipe is the monitor's to tell */
    client->sent = true;
    return has_input(client->socket);
}

/* A PING is due after hb without a word from us, or from the broker (which does not answer ACKs), or without stats. */
static int64_t ping_at(const struct ls_client *client)
{
    int64_t spoke_at = client->spoke_at, silence = client->pinged_at;
    if (client->heard_at > silence && !client->has_stats)
        silence = client->heard_at;
    return (spoke_at < silence ? spoke_at : silence) + client->options.hb_ms;
}

static int64_t silent_at(const struct ls_client *client)
{
    return client->heard_at + 3 * (int64_t) client->options.hb_ms;
}

int64_t session_due(const struct ls_client *client)
{
    switch (client->phase) {
    case CLIENT_WAITING:
        return client->connect_at;
    case CLIENT_CONNECTING:
        return silent_at(client);
    case CLIENT_READY:
        return ping_at(client) < silent_at(client) ? ping_at(client) : silent_at(client);
    case CLIENT_ENDED:
        break;
    }
    return INT64_MAX;
}

/* A descriptor of libzmq is readable while its socket has commands to process; any operation on the socket may process them
 * and leave messages that no descriptor tells of (zmq_getsockopt(3), ZMQ_FD). So a socket is read to its end when its
 * descriptor says so, and looked at once more after something was sent on it. */
bool session_has_input(struct ls_client *client)
{
    if (!client->ready && client->sent) {
        heart_lock(client);
        client->sent = false;
        client->ready = has_input(client->socket);
        heart_unlock(client);
    }
    return client->ready;
}

void session_look(struct ls_client *client, int timeout_ms)
{
    struct epoll_event events[4];
    int count = epoll_wait(client->epoll_fd, events, 4, session_has_input(client) ? 0 : timeout_ms);
    for (int i = 0; i < count; i++) {
        client->ready |= events[i].data.ptr == client->socket;
        client->monitor_ready |= events[i].data.ptr == client->monitor;
    }
}

void session_tick(struct ls_client *client, int64_t now)
{
    if (client->phase == CLIENT_WAITING && now >= client->connect_at)
        connect_now(client, now);
    if (client->phase != CLIENT_CONNECTING && client->phase != CLIENT_READY)
        return;
    /* What has arrived comes first: it may be a good-bye, or the sign of life that seems to be missing. */
    if (!session_has_input(client)) {
        if (monitor_says_lost(client))
            lose_unreachable(client, client->phase == CLIENT_READY ? "lost the connection to" : "cannot connect to");
        else if (now >= silent_at(client))
            lose_unreachable(client, "nothing heard from");
    }
    if (client->phase == CLIENT_READY && now >= ping_at(client))
        session_ping(client, now);
}

/* ---- the end ---- */

static void on_last_words(struct ls_client *client, const struct message *m)
{
    uint64_t tag;
    if (wire_uint(wire_map(m->header), "tag", &tag) && tag == BYE_TAG)
        client->phase = CLIENT_ENDED;
}

void session_bye(struct ls_client *client)
{
    int64_t until = clock_mono_ms() + BYE_MS;
    struct buf *h = client_header(client);
    if (client->phase != CLIENT_READY)
        return;
    buf_pack_map(h, 1);
    buf_pack_str(h, "tag");
    buf_pack_uint(h, BYE_TAG);
    client_send(client, "BYE", h, (struct ls_slice){0});
    while (client->phase == CLIENT_READY) {
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            break;
        session_look(client, (int) left);
        if (!receive(client, on_last_words) && monitor_says_lost(client))
            break;
    }
}
