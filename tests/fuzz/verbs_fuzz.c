/* SPDX-License-Identifier: Apache-2.0 */
/* Any messages against a whole broker in this process. An input is a dialogue: messages divided by two bytes 0xc1 (which msgpack
 * never uses), their frames by one. A message's first byte says who sends it and how (enum below). Two real DEALER sockets
 * take the replies, so that sessions live; the messages themselves go straight to verb_dispatch, which keeps runs repeatable. */
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum {
    FROM_MASK = 3,   /* 0: a session that has said HELLO, 1: an anonymous one, 2: PULL, 3: SUB */
    DELIMITED = 4,   /* an empty frame in front, as from a REQ socket */
    STEP = 8,        /* a turn of the loop afterwards */
    COMMIT = 16,     /* everything is on disk, and told so, afterwards */
    EMPTY_LAST = 32, /* one more frame, empty */
    MUTE = 64,       /* from a peer that is gone: the reply fails, and the session ends with the turn */
    LATER = 128,     /* before it, seconds pass */
};
#define DIVIDER 0xc1
#define MESSAGES_MAX 48
#define INPUTS_PER_BROKER 1500
#define PEERS 2

static const char *const EVENTS[] = {"run.>", "chat.*", NULL}, *const NOTES[] = {"note.>", NULL};
static const char *const SYS[] = {"$dlq.>", "$sys.rejected", NULL}, *const TAKES[] = {"run.>", NULL};
static const struct stream_config STREAMS[] = {
    {.name = "events", .topics = EVENTS, .segment_bytes = 65536, .retain_bytes = 1 << 20, .dedup_window_ms = 600000, .dedup_count = 50},
    {.name = "notes", .topics = NOTES, .memory = true, .segment_bytes = 65536, .retain_count = 500, .dedup_window_ms = 1000,
     .dedup_count = 50},
    {.name = "$sys", .topics = SYS, .segment_bytes = 65536, .retain_count = 500},
};
static const int64_t BACKOFF[] = {0, 1};
static const struct consumer_config CONSUMERS[] = {
    {.name = "work", .stream = "events", .takes = TAKES, .from = {.kind = START_ALL}, .window = 16, .window_bytes = 65536, .ack_wait_ms = 5,
     .backoff_ms = BACKOFF, .backoff_count = 2, .max_deliver = 2, .member_ttl_ms = 1000},
    {.name = "each", .stream = "notes", .takes = NOTES, .from = {.kind = START_NEW}, .share = SHARE_EACH, .window = 16,
     .window_bytes = 65536, .ack_wait_ms = 30000, .max_deliver = 0, .member_ttl_ms = 5},
};
static char data_dir[64];
static const struct broker_config CONFIG = {
    .name = "fuzz", .host = "127.0.0.1", .data_dir = data_dir, .header_bytes_max = 1024, .body_bytes_max = 2048,
    .batch_bytes_max = 4096, .batch_count_max = 16, .connections_max = 100, .subscriptions_max = 100, .requests_max = 8,
    .memory_bytes_max = 64 << 20, .connection_bytes_max = 8192, .stats_every_ms = 1000,
    .streams = STREAMS, .stream_count = 3, .consumers = CONSUMERS, .consumer_count = 2,
};

static struct broker *broker;
static void *context, *peers[PEERS];
static unsigned inputs;

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "verbs_fuzz: %s\n", what);
    abort();
}

/* ---- the broker and its peers ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void) st, (void) type, (void) where;
    return remove(path);
}

static void connect_peer(int i)
{
    char name[] = {'p', (char) ('0' + i)};
    int zero = 0;
    peers[i] = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(peers[i], ZMQ_ROUTING_ID, name, sizeof name);
    zmq_setsockopt(peers[i], ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(peers[i], ZMQ_LINGER, &zero, sizeof zero);
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", broker_port(broker));
    check(zmq_connect(peers[i], address) == 0, "cannot connect");
    /* The answer shows that the ROUTER knows the routing id. */
    zmq_send(peers[i], "PING", 4, 0);
    zmq_pollitem_t item = {.socket = peers[i], .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, 0) == 0)
        broker_step(broker, 1);
}

static void close_broker(void)
{
    if (!broker)
        return;
    for (int i = 0; i < PEERS; i++)
        zmq_close(peers[i]);
    zmq_ctx_term(context);
    broker_close(&broker);
    nftw(data_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void open_broker(void)
{
    struct ls_error err;
    snprintf(data_dir, sizeof data_dir, "%s/verbs-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    check(mkdtemp(data_dir) != NULL, "no scratch folder");
    broker = broker_open(&CONFIG, &err);
    check(broker != NULL, err.text);
    atexit(close_broker); /* each time: CZMQ registers its own clean-up anew, and this must come before it */
    context = zmq_ctx_new();
    for (int i = 0; i < PEERS; i++)
        connect_peer(i);
}

static void drain_peers(void)
{
    static char frame[4096];
    for (int i = 0; i < PEERS; i++)
        while (zmq_recv(peers[i], frame, sizeof frame, ZMQ_DONTWAIT) >= 0)
            ;
}

static void commit(void)
{
    log_device_submit(broker->device);
    log_device_wait(broker->device);
    broker_step(broker, 0);
}

/* ---- messages ---- */

/* Sequence numbers grow from input to input, so an input says them backwards: the bytes 0xcf "SEQ<" and four more stand for the
 * next number of the stream `events` less the last byte; "SYS<" for that of $sys. */
static void fill_in_numbers(uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 9 <= size; i++) {
        bool sys = !memcmp(data + i, "\xcfSYS<", 5);
        if (!sys && memcmp(data + i, "\xcfSEQ<", 5))
            continue;
        uint64_t next = log_next_seq(broker->streams[sys ? 2 : 0].log), back = data[i + 8];
        uint64_t seq = __builtin_bswap64(back < next ? next - back : 0);
        memcpy(data + i + 1, &seq, sizeof seq);
    }
}

static void add_frame(struct message *m, const uint8_t *data, size_t size)
{
    if (m->parts == MESSAGE_PARTS_MAX) {
        m->too_many_parts = true;
        return;
    }
    zmq_msg_t *part = &m->part[m->parts++];
    zmq_msg_init_size(part, size);
    if (size)
        memcpy(zmq_msg_data(part), data, size);
    fill_in_numbers(zmq_msg_data(part), size);
    m->bytes += size;
}

/* The timers see a clock that is ahead until the next turn reads the real one. */
static void let_time_pass(void)
{
    broker->now_ms += 61000;
    heap_fire(&broker->timers, broker->now_ms, broker);
}

static void split_frames(struct message *m, const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *at = data;
    for (;;) {
        const uint8_t *stop = at < end ? memchr(at, DIVIDER, (size_t) (end - at)) : NULL;
        add_frame(m, at, (size_t) ((stop ? stop : end) - at));
        if (!stop)
            return;
        at = stop + 1;
    }
}

static void send_message(const uint8_t *data, size_t size)
{
    uint8_t how = *data;
    struct message m = {.origin = FROM_ROUTER, .delimited = how & DELIMITED, .fd = -1};
    if (how & LATER)
        let_time_pass();
    split_frames(&m, data + 1, size - 1);
    if (how & EMPTY_LAST)
        add_frame(&m, data, 0);
    if ((how & FROM_MASK) < PEERS) {
        m.route[0] = how & MUTE ? 'x' : 'p';
        m.route[1] = (char) ('0' + (how & FROM_MASK));
        m.route_len = 2;
        m.session = session_require(broker, &m);
    } else {
        m.origin = (how & FROM_MASK) == 2 ? FROM_PULL : FROM_SUB;
        m.delimited = false;
    }
    verb_dispatch(broker, &m);
    message_fini(&m);
    if (how & COMMIT)
        commit();
    else if (how & STEP)
        broker_step(broker, 0);
}

static void say_hello(void)
{
    static const uint8_t HELLO[] = "\x00HELLO\xc1\x83\xa1v\x01\xa6" "client\xa4" "fuzz\xa6member\xa1m";
    send_message(HELLO, sizeof HELLO - 1);
}

/* ---- between inputs ---- */

static void end_sessions(void)
{
    struct session *s;
    for (;;) {
        size_t at = 0;
        if (!(s = map_walk(&broker->sessions, &at, NULL)))
            break;
        session_end(s, "the input is over");
    }
    commit();
}

/* As far as it goes cheaply, every input finds the same broker. */
static void forget_input(void)
{
    for (size_t i = 0; i < broker->stream_count; i++) {
        struct stream *s = &broker->streams[i];
        dedup_forget_from(&s->dedup, 0);
        for (size_t k = s->consumer_count; k-- > 0;)
            if (!s->consumers[k]->declared)
                consumer_drop(s->consumers[k]);
    }
}

/* What a session brought goes with it: whatever is left here would grow without bound. */
static void check_nothing_is_left(void)
{
    check(!broker->sessions.used && !broker->gone_sessions && !broker->lost_sessions, "a session is left");
    check(!broker->requests.used && !broker->waiting_head && !broker->request_bytes, "a request is left");
    check(!broker->sub_count && !broker->service_count && !broker->ephemeral, "a subscription is left");
    check(!broker->ack_head, "an acknowledgement is left");
    for (size_t i = 0; i < broker->stream_count; i++) {
        struct stream *s = &broker->streams[i];
        check(!s->batch_taken || s->batch_taken <= CONFIG.batch_count_max, "more taken from a batch than it holds");
        for (size_t k = 0; k < s->consumer_count; k++)
            for (size_t p = 0; p < s->consumers[k]->position_count; p++)
                check(!s->consumers[k]->positions[p]->sub_count, "a position has a member that is gone");
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void) argc, (void) argv;
    logger_init("fuzz", LEVEL_ERROR);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size;
    if (inputs++ % INPUTS_PER_BROKER == 0)
        close_broker();
    if (!broker)
        open_broker();
    broker->last_rid = 0;
    say_hello();
    for (int i = 0; data < end && i < MESSAGES_MAX; i++) {
        const uint8_t *stop = memmem(data, (size_t) (end - data), (uint8_t[]){DIVIDER, DIVIDER}, 2);
        size_t len = (size_t) ((stop ? stop : end) - data);
        if (len)
            send_message(data, len);
        data = stop ? stop + 2 : end;
    }
    commit();
    drain_peers();
    end_sessions();
    forget_input();
    check_nothing_is_left();
    return 0;
}
