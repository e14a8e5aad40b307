/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NODE_RIG_H
#define TESTS_UNIT_NODE_RIG_H
/* A node in a process of its own, in dialogue with a scripted broker. The test defines CODE, the node's kind; the node takes e.>,
 * serves r.>, and has a window of 5. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/node.h"
#include "tests/unit/script.h"

#define CONSUMER 1 /* the numbers of the node's subscriptions */
#define SERVICE 2

static const struct node_code CODE;
static int hold_fd; /* the node waits for a byte from the test here */

struct bench {
    struct script s; /* first */
    pid_t node;
    int hold, url;
    int pings;
};

static const char WIRED[] = "{\"node\": \"n\", \"takes\": [\"e.>\"], \"consumer\": \"n\", \"serves\": [\"r.>\"], \"window\": 5,"
                            " \"options\": {%s}}";

static inline _Noreturn void be_the_node(int url_fd)
{
    char url[64] = "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(url_fd, url, sizeof url - 1) <= 0)
        _exit(99);
    setenv("LINESHAFT_URL", url, 1);
    setenv("LINESHAFT_NODE", "n", 1);
    setenv("LINESHAFT_MEMBER", "n.1", 1);
    setenv("LINESHAFT_CONSUMER", "n", 1);
    exit(node_run(&CODE));
}

/* The node's process is made before this one has threads of its own. */
static inline void start_node(struct bench *b, const char *json)
{
    int hold[2], url[2];
    assert_int_equal(pipe(hold), 0);
    assert_int_equal(pipe(url), 0);
    if (json)
        setenv("LINESHAFT_OPTIONS", json, 1);
    else
        unsetenv("LINESHAFT_OPTIONS");
    setenv("LINESHAFT_HB_MS", "1000", 1);
    fflush(NULL);
    b->node = fork();
    if (b->node == 0) {
        hold_fd = hold[0];
        close(hold[1]);
        close(url[1]);
        be_the_node(url[0]);
    }
    close(hold[0]);
    close(url[0]);
    b->hold = hold[1];
    b->url = url[1];
    b->s.context = zmq_ctx_new();
    bind_script(&b->s);
    assert_int_equal(write(b->url, b->s.url, strlen(b->s.url)), (ssize_t) strlen(b->s.url));
}

static inline void start_wired(struct bench *b, const char *options)
{
    char json[400];
    snprintf(json, sizeof json, WIRED, options);
    start_node(b, json);
}

static inline int bench_setup(void **state)
{
    *state = xcalloc(1, sizeof(struct bench));
    unsetenv("LINESHAFT_DRAIN_MS");
    return 0;
}

static inline int bench_teardown(void **state)
{
    struct bench *b = *state;
    if (b->node) {
        kill(b->node, SIGKILL);
        waitpid(b->node, NULL, 0);
    }
    if (b->s.context) {
        zmq_close(b->s.socket);
        zmq_ctx_term(b->s.context);
        close(b->hold);
        close(b->url);
    }
    buf_fini(&b->s.header);
    buf_fini(&b->s.body);
    free(b);
    return 0;
}

static inline void hear_node(struct bench *b)
{
    zmq_pollitem_t item = {b->s.socket, 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, PATIENCE_MS), 1);
    assert_true(hear(&b->s));
    if (strcmp(b->s.verb, "PING") == 0) {
        b->pings++;
        say(&b->s, "PONG", "u:now_us", 1, "b:session", 1);
    }
}

static inline void expect_node(struct bench *b, const char *verb)
{
    do
        hear_node(b);
    while (strcmp(b->s.verb, "PING") == 0);
    assert_string_equal(b->s.verb, verb);
}

static inline void welcome_node(struct bench *b)
{
    expect_node(b, "HELLO");
    say(&b->s, "OK", "u:tag", 0, "u:v", 1, "s:server", "script/1");
}

static inline void wire_node(struct bench *b, const char *options)
{
    start_wired(b, options);
    welcome_node(b);
    for (int i = 0; i < 2; i++) {
        expect_node(b, "SUB");
        say(&b->s, "OK", "u:cid", (int) heard_uint(&b->s, "cid"));
    }
}

static inline void send_event(struct bench *b, const char *topic, int seq)
{
    struct buf header = {0}, event = {0};
    buf_pack_map(&header, 3);
    buf_pair_uint(&header, "cid", CONSUMER);
    buf_pair_uint(&header, "seq", (uint64_t) seq);
    buf_pair_str(&header, "stream", "events");
    event_header(&event, topic, "e1");
    send_frames(&b->s, "MSG", &header, ls_bytes(event.data, event.len), ls_str("{}"));
    buf_fini(&header);
    buf_fini(&event);
}

static inline void send_request(struct bench *b, const char *topic, int rid, int parts)
{
    say(&b->s, "REQ", "u:cid", SERVICE, "u:rid", rid, "s:topic", topic, "u:timeout", 60000, "u:parts", parts);
}

static inline void expect_seq(struct bench *b, const char *verb, uint64_t seq)
{
    uint64_t got = 0;
    uint32_t items;
    expect_node(b, verb);
    struct mp seqs = heard(&b->s, "seqs");
    assert_true(mp_array(&seqs, &items) && items == 1 && mp_uint(&seqs, &got));
    assert_int_equal(got, seq);
}

static inline void expect_answer(struct bench *b, int rid, const char *text)
{
    expect_node(b, "REP");
    assert_int_equal(heard_uint(&b->s, "rid"), rid);
    assert_true(ls_slice_is(ls_bytes(b->s.body.data, b->s.body.len), text));
}

static inline void expect_refusal(struct bench *b, int rid, uint64_t number, bool again)
{
    expect_node(b, "REP");
    assert_int_equal(heard_uint(&b->s, "rid"), rid);
    assert_int_equal(heard_uint(&b->s, "number"), number);
    assert_int_equal(wire_bool(mp_over(b->s.header.data, b->s.header.len), "again"), again);
    heard(&b->s, "error");
}

static inline void release(struct bench *b)
{
    assert_int_equal(write(b->hold, "x", 1), 1);
}

static inline void expect_exit(struct bench *b, int status)
{
    int got, left = PATIENCE_MS;
    pid_t ended;
    while ((ended = waitpid(b->node, &got, WNOHANG)) == 0 && left-- > 0)
        zmq_poll(NULL, 0, 1);
    assert_int_equal(ended, b->node);
    b->node = 0;
    assert_true(WIFEXITED(got));
    assert_int_equal(WEXITSTATUS(got), status);
}

/* Its last words: the end of each subscription, then of the session. */
static inline void expect_farewell(struct bench *b)
{
    uint64_t tag;
    do
        expect_node(b, "BYE");
    while (!wire_uint(mp_over(b->s.header.data, b->s.header.len), "tag", &tag));
    say(&b->s, "OK", "u:tag", 0);
}

/* ---- how much the node takes ---- */

static inline void expect_offer(struct bench *b, uint64_t slots, uint64_t window)
{
    expect_node(b, "SUB");
    assert_true(heard_uint(&b->s, "cid") == SERVICE && heard_uint(&b->s, "slots") == slots);
    expect_node(b, "MORE");
    assert_true(heard_uint(&b->s, "cid") == CONSUMER && heard_uint(&b->s, "window") == window);
}

static inline void expect_pause(struct bench *b)
{
    expect_offer(b, 0, 0);
}

/* A session that begins while the node is paused. */
static inline void welcome_paused_node(struct bench *b)
{
    welcome_node(b);
    for (int i = 0; i < 2; i++) {
        expect_node(b, "SUB");
        uint64_t cid = heard_uint(&b->s, "cid");
        assert_int_equal(heard_uint(&b->s, cid == SERVICE ? "slots" : "window"), 0);
        say(&b->s, "OK", "u:cid", (int) cid);
    }
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

#endif
