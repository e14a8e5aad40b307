/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and the connections that they stand on. */
#include "tests/unit/broker_rig.h"

#include "broker/core.h"

#define ROUNDS 30 /* in most of them the two connections have one descriptor, which is the system's choice */

static void wait_for_input(void *socket)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, PATIENCE_MS), 1);
}

/* The session that no HELLO introduced. */
static struct session *newcomer(struct broker *b)
{
    struct session *s;
    uint64_t hash;
    for (size_t at = 0; (s = map_walk(&b->sessions, &at, &hash));)
        if (!s->introduced && !s->gone && !(hash >> 63))
            return s;
    return NULL;
}

static void publish_unintroduced(struct rig *r)
{
    struct peer *p = &r->peers[r->peer_count++];
    int zero = 0;
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", broker_port(r->broker));
    p->rig = r;
    p->socket = zmq_socket(r->context, ZMQ_DEALER);
    zmq_setsockopt(p->socket, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(p->socket, address), 0);
    say(p, "PUB", "s:topic", "job.new");
    wait_for_input(r->broker->sockets.raw[SOCK_ROUTER]);
}

/* The descriptor of a connection that ended is the next one's at once. What libzmq said of the old one may be unread yet when the
 * new one's first message is read, since poll tells of both in no order: read later, it would end the new session, and what was
 * published there would never be answered. */
static void an_end_that_poll_has_not_told_of_is_known_before_a_new_session_begins(void **state)
{
    struct rig *r = *state;
    struct broker *b = r->broker;
    for (int round = 0; round < ROUNDS; round++) {
        struct peer *old = peer(r, "old");
        zmq_close(old->socket);
        wait_for_input(b->sockets.monitor[SOCK_ROUTER]); /* its end */
        publish_unintroduced(r);
        memset(b->sockets.monitor_ready, 0, sizeof b->sockets.monitor_ready);
        sockets_drain(b, SOCK_ROUTER); /* a turn in which poll told of the message alone */
        memset(b->sockets.monitor_ready, 1, sizeof b->sockets.monitor_ready);
        guard_events(b); /* the next one, in which it tells of the rest */
        assert_non_null(newcomer(b));
        assert_false(newcomer(b)->lost);
        expect(&r->peers[1], "OK");
        zmq_close(r->peers[1].socket);
        buf_fini(&old->header);
        buf_fini(&r->peers[1].header);
        memset(r->peers, 0, sizeof r->peers);
        r->peer_count = 0;
        wait_for_input(b->sockets.monitor[SOCK_ROUTER]);
        broker_step(b, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_end_that_poll_has_not_told_of_is_known_before_a_new_session_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
