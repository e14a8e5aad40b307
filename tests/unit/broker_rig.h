/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BROKER_RIG_H
#define TESTS_UNIT_BROKER_RIG_H
/* What the broker's unit tests share: a whole broker in this process, stepped by hand, its clock set and never waited for. Its
 * peers are DEALER sockets. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "broker/broker.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/mp.h"
#include "lib/xmem.h"

#define PATIENCE_MS 10000 /* of the test with its own sockets, in real time: no rule depends on it */
#define PEERS_MAX 3
#define START_MS 1000000000000ll    /* later than any machine has been up: the log has looked at the system's clock */
#define START_US 1800000000000000ll /* 2027-01-15 */
#define YEAR_US (365ll * 86400 * 1000000)
#define DEDUP_MS 60000
#define STATS_MS 10000

static const char *const JOBS[] = {"job.>", NULL}, *const SYS[] = {"$dlq.>", "$sys.rejected", NULL};
static const struct stream_config STREAMS[] = {
    {.name = "events", .topics = JOBS, .segment_bytes = 65536, .dedup_window_ms = DEDUP_MS, .dedup_count = 1000},
    {.name = "$sys", .topics = SYS, .segment_bytes = 65536},
};
static const int64_t BACKOFF[] = {100, 250};
#define CONSUMER .stream = "events", .takes = JOBS, .from = {.kind = START_ALL}, .window = 16, .window_bytes = 65536
static const struct consumer_config CONSUMERS[] = {
    {.name = "patient", CONSUMER, .ack_wait_ms = 3600000, .backoff_ms = BACKOFF, .backoff_count = 2},
    {.name = "hasty", CONSUMER, .ack_wait_ms = 1000},
    {.name = "every", CONSUMER, .ack_wait_ms = 3600000, .share = SHARE_EACH, .member_ttl_ms = 5000},
};

struct peer {
    struct rig *rig;
    void *socket;
    char verb[16];
    struct buf header; /* of the message received last */
};

struct rig {
    char dir[64];
    int64_t now_ms, now_us;
    struct broker_clock clock;
    struct broker_config config;
    struct broker *broker;
    void *context;
    struct peer peers[PEERS_MAX];
    size_t peer_count;
};

/* ---- the broker and the time ---- */

static inline int64_t mono_ms(void *arg)
{
    const struct rig *r = arg;
    return r->now_ms;
}

static inline int64_t wall_us(void *arg)
{
    const struct rig *r = arg;
    return r->now_us;
}

static inline void open_broker(struct rig *r)
{
    struct ls_error err;
    r->broker = broker_open(&r->config, &err);
    if (!r->broker)
        fail_msg("%s", err.text);
}

/* It is `ms` after the start, by both clocks; the loop turns once, as after a pause of the whole process. */
static inline void leap(struct rig *r, int64_t ms)
{
    int64_t passed = START_MS + ms - r->now_ms;
    assert_true(passed >= 0);
    r->now_ms += passed;
    r->now_us += passed * 1000;
    broker_step(r->broker, 0);
}

/* The same, but the loop turns every second meanwhile, as it does when nothing keeps it from it. */
static inline void at(struct rig *r, int64_t ms)
{
    while (START_MS + ms - r->now_ms > 1000)
        leap(r, r->now_ms - START_MS + 1000);
    leap(r, ms);
}

static inline int setup(void **state)
{
    struct rig *r = xcalloc(1, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/broker-test-XXXXXX");
    if (!mkdtemp(r->dir))
        return -1;
    r->now_ms = START_MS;
    r->now_us = START_US;
    r->clock = (struct broker_clock){mono_ms, wall_us, r};
    r->config = (struct broker_config){
        .name = "test",
        .host = "127.0.0.1",
        .data_dir = r->dir,
        .header_bytes_max = 1024,
        .body_bytes_max = 2048,
        .batch_bytes_max = 4096,
        .batch_count_max = 16,
        .connections_max = 100,
        .subscriptions_max = 100,
        .requests_max = 8,
        .memory_bytes_max = 64 << 20,
        .connection_bytes_max = 1 << 20,
        .stats_every_ms = STATS_MS,
        .streams = STREAMS,
        .stream_count = sizeof STREAMS / sizeof *STREAMS,
        .consumers = CONSUMERS,
        .consumer_count = sizeof CONSUMERS / sizeof *CONSUMERS,
        .clock = &r->clock,
    };
    r->context = zmq_ctx_new();
    open_broker(r);
    *state = r;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void) st, (void) type, (void) where;
    return remove(path);
}

static inline void close_peers(struct rig *r)
{
    for (size_t i = 0; i < r->peer_count; i++) {
        zmq_close(r->peers[i].socket);
        buf_fini(&r->peers[i].header);
    }
    memset(r->peers, 0, sizeof r->peers);
    r->peer_count = 0;
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    close_peers(r);
    zmq_ctx_term(r->context);
    broker_close(&r->broker);
    nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(r);
    return 0;
}

/* ---- peers ---- */

/* Packs "u:key", int / "s:key", text / "a:key", int or "l:key", text (a list of that one) ... NULL as a map. */
static inline void pack_pairs(struct buf *b, va_list args)
{
    size_t begin = buf_begin_map(b);
    uint16_t pairs = 0;
    for (const char *key; (key = va_arg(args, const char *)) != NULL; pairs++) {
        buf_pack_str(b, key + 2);
        if (*key == 'a' || *key == 'l')
            buf_pack_array(b, 1);
        if (*key == 's' || *key == 'l')
            buf_pack_str(b, va_arg(args, const char *));
        else
            buf_pack_uint(b, (uint64_t) va_arg(args, int));
    }
    buf_end_map(b, begin, pairs);
}

static inline void say_pairs(struct peer *p, const char *verb, ...)
{
    struct buf header = {0};
    va_list args;
    va_start(args, verb);
    pack_pairs(&header, args);
    va_end(args);
    zmq_send(p->socket, verb, strlen(verb), ZMQ_SNDMORE);
    zmq_send(p->socket, header.data, header.len, 0);
    buf_fini(&header);
}
#define say(p, ...) say_pairs(p, __VA_ARGS__, NULL)

static inline bool hear(struct peer *p)
{
    char frame[4096];
    for (int i = 0, more = 1; more; i++) {
        size_t size = sizeof more;
        int len = zmq_recv(p->socket, frame, sizeof frame, ZMQ_DONTWAIT);
        if (len < 0)
            return false;
        assert_true((size_t) len <= sizeof frame);
        if (i == 0) {
            snprintf(p->verb, sizeof p->verb, "%.*s", len, frame);
            buf_clear(&p->header);
        } else if (i == 1) {
            buf_add(&p->header, frame, (size_t) len);
        }
        zmq_getsockopt(p->socket, ZMQ_RCVMORE, &more, &size);
    }
    return true;
}

/* The next that the peer hears is `verb`. The broker's time stands still meanwhile. */
static inline void expect(struct peer *p, const char *verb)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!hear(p)) {
        assert_true(clock_mono_ms() < until);
        broker_step(p->rig->broker, 1);
    }
    assert_string_equal(p->verb, verb);
}

static inline void expect_nothing(struct peer *p)
{
    say(p, "PING");
    expect(p, "PONG"); /* what was sent before would come before it */
}

static inline struct mp heard(struct peer *p, const char *key)
{
    struct mp value = {0};
    if (!mp_find(mp_over(p->header.data, p->header.len), key, &value))
        fail_msg("%s without %s", p->verb, key);
    return value;
}

static inline uint64_t heard_uint(struct peer *p, const char *key)
{
    struct mp value = heard(p, key);
    uint64_t number = 0;
    assert_true(mp_uint(&value, &number));
    return number;
}

static inline bool heard_bool(struct peer *p, const char *key)
{
    struct mp value = heard(p, key);
    bool is = false;
    assert_true(mp_bool(&value, &is));
    return is;
}

static inline void assert_heard(struct peer *p, const char *key, const char *text)
{
    struct mp value = heard(p, key);
    struct mp_slice str = {0};
    assert_true(mp_str(&value, &str) && mp_is(str, text));
}

static inline bool heard_key(struct peer *p, const char *key)
{
    struct mp value;
    return mp_find(mp_over(p->header.data, p->header.len), key, &value);
}

/* A peer with a session that lasts for three times `hb` of silence. */
static inline struct peer *peer_with(struct rig *r, const char *name, int hb)
{
    int zero = 0;
    char address[64];
    assert_true(r->peer_count < PEERS_MAX);
    struct peer *p = &r->peers[r->peer_count++];
    p->rig = r;
    p->socket = zmq_socket(r->context, ZMQ_DEALER);
    zmq_setsockopt(p->socket, ZMQ_LINGER, &zero, sizeof zero);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", broker_port(r->broker));
    assert_int_equal(zmq_connect(p->socket, address), 0);
    say(p, "HELLO", "u:v", 1, "s:client", name, "s:member", name, "u:hb", hb);
    expect(p, "OK");
    return p;
}

static inline struct peer *peer(struct rig *r, const char *name)
{
    return peer_with(r, name, 60000);
}

static inline void join(struct peer *p, const char *consumer)
{
    say(p, "SUB", "u:cid", 1, "s:consumer", consumer);
    expect(p, "OK");
}

static inline void publish(struct peer *p, const char *id)
{
    say(p, "PUB", "s:topic", "job.new", "s:id", id);
    expect(p, "OK");
}

static inline void expect_attempt(struct peer *p, uint64_t attempt)
{
    expect(p, "MSG");
    assert_int_equal(heard_uint(p, "attempt"), attempt);
}

/* A subscriber to `consumer` that has been given the event with sequence number 1. */
static inline struct peer *holder(struct rig *r, const char *consumer)
{
    struct peer *p = peer(r, "holder");
    publish(p, "e1");
    join(p, consumer);
    expect_attempt(p, 1);
    return p;
}

static inline void settle(struct peer *p, const char *verb)
{
    say(p, verb, "u:cid", 1, "a:seqs", 1, "u:tag", 0);
    expect(p, "OK");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
