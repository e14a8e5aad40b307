/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SCRIPT_H
#define TESTS_UNIT_SCRIPT_H
/* A scripted broker for the client's tests: a ROUTER socket in this process that misbehaves on command, which the real
 * one cannot. Each test is a dialogue; the client and the script take turns in one thread. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/lineshaft.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define PATIENCE_MS 10000

/* ---- the scripted broker ---- */

struct script {
    void *context, *socket;
    int port;
    char url[64];
    struct ls_client *client;
    char peer[64];
    size_t peer_len;
    char verb[16];
    struct buf header, body; /* of the message received last */
    enum ls_state state;     /* of the last notice */
    char refused[24];
    int notices;
};

static inline void bind_script(struct script *s)
{
    char address[64];
    size_t size = sizeof address;
    int zero = 0;
    s->socket = zmq_socket(s->context, ZMQ_ROUTER);
    zmq_setsockopt(s->socket, ZMQ_LINGER, &zero, sizeof zero);
    if (s->port)
        snprintf(address, sizeof address, "tcp://127.0.0.1:%d", s->port);
    else
        snprintf(address, sizeof address, "tcp://127.0.0.1:*");
    while (zmq_bind(s->socket, address)) /* the old socket lets the port go in its own time */
        assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(zmq_getsockopt(s->socket, ZMQ_LAST_ENDPOINT, address, &size), 0);
    s->port = (int) strtol(strrchr(address, ':') + 1, NULL, 10);
    snprintf(s->url, sizeof s->url, "tcp://127.0.0.1:%d", s->port);
}

static inline void noticed(void *arg, const struct ls_notice *notice)
{
    struct script *s = arg;
    s->state = notice->state;
    s->notices++;
    if (notice->state == LS_REFUSED)
        snprintf(s->refused, sizeof s->refused, "%s", notice->err->name);
}

static inline int setup(void **state)
{
    struct script *s = xcalloc(1, sizeof *s);
    s->context = zmq_ctx_new();
    bind_script(s);
    *state = s;
    return 0;
}

static inline int teardown(void **state)
{
    struct script *s = *state;
    if (s->socket)
        zmq_close(s->socket); /* first: the client's BYE would wait for an answer */
    ls_client_close(&s->client);
    zmq_ctx_term(s->context);
    buf_fini(&s->header);
    buf_fini(&s->body);
    free(s);
    return 0;
}

static inline void take_frame(struct script *s, int i, const char *data, size_t len)
{
    if (i == 0) {
        assert_true(len <= sizeof s->peer);
        memcpy(s->peer, data, len);
        s->peer_len = len;
        buf_clear(&s->header);
        buf_clear(&s->body);
    } else if (i == 1) {
        wire_copy(s->verb, sizeof s->verb, ls_bytes(data, len));
    } else {
        buf_add(i == 2 ? &s->header : &s->body, data, len);
    }
}

/* Takes the client's next message, if there is one. */
static inline bool hear(struct script *s)
{
    char frame[70000];
    for (int i = 0, more = 1; more; i++) {
        size_t size = sizeof more;
        int len = zmq_recv(s->socket, frame, sizeof frame, ZMQ_DONTWAIT);
        if (len < 0)
            return false;
        assert_true((size_t) len <= sizeof frame);
        take_frame(s, i, frame, (size_t) len);
        zmq_getsockopt(s->socket, ZMQ_RCVMORE, &more, &size);
    }
    return true;
}

/* Lets the client work until it says `verb`; anything else it says first is a failure. */
static inline void expect(struct script *s, const char *verb)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!hear(s)) {
        assert_true(clock_mono_ms() < until);
        assert_true(ls_client_step(s->client, 5, NULL) >= 0);
    }
    assert_string_equal(s->verb, verb);
}

static inline uint64_t heard_uint(struct script *s, const char *key)
{
    uint64_t value = 0;
    assert_true(wire_uint(mp_over(s->header.data, s->header.len), key, &value));
    return value;
}

static inline bool heard_is(struct script *s, const char *key, const char *text)
{
    struct ls_slice value = {0};
    return wire_str(mp_over(s->header.data, s->header.len), key, &value) && ls_slice_is(value, text);
}

static inline struct mp heard(struct script *s, const char *key)
{
    struct mp at = {0};
    assert_true(mp_find(mp_over(s->header.data, s->header.len), key, &at));
    return at;
}

/* Writes a map of "u:key", int / "s:key", text / "b:key", int ... NULL. */
static inline void pack_pairs(struct buf *b, va_list args)
{
    size_t at = buf_begin_map(b);
    uint16_t pairs = 0;
    for (const char *key; (key = va_arg(args, const char *)) != NULL; pairs++) {
        buf_pack_str(b, key + 2);
        if (key[0] == 's')
            buf_pack_str(b, va_arg(args, const char *));
        else if (key[0] == 'b')
            buf_pack_bool(b, va_arg(args, int));
        else
            buf_pack_uint(b, (uint64_t) va_arg(args, int));
    }
    buf_end_map(b, at, pairs);
}

static inline void send_frames(struct script *s, const char *verb, const struct buf *header, struct ls_slice body,
                        struct ls_slice extra)
{
    zmq_send(s->socket, s->peer, s->peer_len, ZMQ_SNDMORE);
    zmq_send(s->socket, verb, strlen(verb), ZMQ_SNDMORE);
    zmq_send(s->socket, header->data, header->len, body.len ? ZMQ_SNDMORE : 0);
    if (body.len)
        zmq_send(s->socket, body.data, body.len, extra.len ? ZMQ_SNDMORE : 0);
    if (extra.len)
        zmq_send(s->socket, extra.data, extra.len, 0);
}

static inline void say_with(struct script *s, struct ls_slice body, const char *verb, ...)
{
    struct buf header = {0};
    va_list args;
    va_start(args, verb);
    pack_pairs(&header, args);
    va_end(args);
    send_frames(s, verb, &header, body, (struct ls_slice){0});
    buf_fini(&header);
}
#define say(s, ...) say_with(s, (struct ls_slice){0}, __VA_ARGS__, NULL)

static inline void event_header(struct buf *b, const char *topic, const char *id)
{
    buf_pack_map(b, 2);
    buf_pack_str(b, "topic");
    buf_pack_str(b, topic);
    buf_pack_str(b, "id");
    buf_pack_str(b, id);
}

static inline void deliver(struct script *s, int cid, int seq)
{
    struct buf header = {0}, event = {0};
    buf_pack_map(&header, 5);
    buf_pack_str(&header, "cid");
    buf_pack_uint(&header, (uint64_t) cid);
    buf_pack_str(&header, "stream");
    buf_pack_str(&header, "events");
    buf_pack_str(&header, "seq");
    buf_pack_uint(&header, (uint64_t) seq);
    buf_pack_str(&header, "attempt");
    buf_pack_uint(&header, 2);
    buf_pack_str(&header, "ts_us");
    buf_pack_uint(&header, 77);
    event_header(&event, "a.b", "e1");
    send_frames(s, "MSG", &header, ls_bytes(event.data, event.len), ls_str("{}"));
    buf_fini(&header);
    buf_fini(&event);
}

static inline void welcome(struct script *s)
{
    expect(s, "HELLO");
    say(s, "OK", "u:tag", 0, "u:v", 1, "s:server", "script/1", "s:boot", "b1", "u:body_max", 100000);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!ls_client_connected(s->client)) {
        assert_true(clock_mono_ms() < until);
        ls_client_step(s->client, 5, NULL);
    }
}

static inline void start(struct script *s, struct ls_client_options options)
{
    options.url = s->url;
    options.name = options.name ? options.name : "tester";
    options.notice = noticed;
    options.arg = s;
    s->client = ls_client_open(&options, NULL);
    assert_non_null(s->client);
    welcome(s);
}

static inline void restart_script(struct script *s)
{
    zmq_close(s->socket);
    bind_script(s);
}

/* Steps the client until *flag reaches `value`. */
static inline void until_equal(struct script *s, const int *flag, int value)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (*flag != value) {
        assert_true(clock_mono_ms() < until);
        ls_client_step(s->client, 5, NULL);
    }
}

/* A word from the client that comes last proves that nothing else was on its way. */
static inline void expect_silence(struct script *s)
{
    struct ls_event mark = {.topic = ls_str("mark"), .id = ls_str("mark")};
    assert_int_equal(ls_publish(s->client, &mark, NULL, NULL, NULL), 0);
    expect(s, "PUB");
    assert_true(heard_is(s, "id", "mark"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
