/* SPDX-License-Identifier: Apache-2.0 */
/* The five sockets: their options, their ports, and taking a turn's share of messages from them. */
#include "broker/core.h"

#include <czmq.h>
#include <sys/stat.h>

/* A turn takes at most so much from one socket, so that timers, commits and the other sockets get theirs. */
#define DRAIN_MESSAGES 1000
#define FEED_HWM 8000 /* messages that may wait for a subscriber of the live feed */
#define DRAIN_BYTES (1u << 20)

static const struct socket_info {
    int type;
    const char *name;
} SOCKETS[SOCK_COUNT] = {
    [SOCK_ROUTER] = {ZMQ_ROUTER, "router"}, [SOCK_PULL] = {ZMQ_PULL, "push"},   [SOCK_LIVE] = {ZMQ_XPUB, "live"},
    [SOCK_SUB] = {ZMQ_SUB, "pub"},          [SOCK_BATCH] = {ZMQ_XPUB, "batch"},
};

/* Every option stands before the bind: libzmq applies most of them only to later binds. */
static zsock_t *socket_new(struct broker *b, enum socket_name name)
{
    const struct broker_config *c = b->config;
    zsock_t *sock = zsock_new(SOCKETS[name].type);
    if (!sock)
        return NULL;
    uint32_t frame_max = c->batch_bytes_max > c->body_bytes_max ? c->batch_bytes_max : c->body_bytes_max;
    bool feed = name == SOCK_LIVE || name == SOCK_BATCH;
    zsock_set_linger(sock, 500);
    zsock_set_maxmsgsize(sock, feed ? 1024 : (int) frame_max + 16);
    zsock_set_handshake_ivl(sock, 5000);
    zsock_set_rcvhwm(sock, feed ? 0 : 1000);
    zsock_set_sndhwm(sock, feed ? FEED_HWM : REPLIES_HWM);
    zsock_set_backlog(sock, 1024);
    if (name == SOCK_ROUTER)
        zsock_set_router_mandatory(sock, 1);
    if (name == SOCK_SUB)
        zsock_set_subscribe(sock, "");
    return sock;
}

static int monitor_open(struct broker *b, enum socket_name name)
{
    char address[64];
    /* libzmq gives an address back some time after the socket was closed: a second attempt needs another one. */
    snprintf(address, sizeof address, "inproc://monitor-%p-%d-%u", (void *) b, (int) name, b->sockets.attempts);
    void *raw = b->sockets.raw[name];
    if (zmq_socket_monitor(raw, address, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED) < 0)
        return -1;
    b->sockets.monitor[name] = zmq_socket(zsys_init(), ZMQ_PAIR);
    int hwm = 0;
    zmq_setsockopt(b->sockets.monitor[name], ZMQ_RCVHWM, &hwm, sizeof hwm);
    return zmq_connect(b->sockets.monitor[name], address);
}

static int bind_tcp(struct broker *b, enum socket_name name, int port, struct ls_error *err)
{
    zsock_t *sock = b->sockets.zsock[name];
    if (zsock_bind(sock, "tcp://%s:%d", b->config->host, port) == port)
        return 0;
    if (errno == EADDRINUSE)
        return error_set(
            err, "CONFLICT",
            "port %d (%s) on %s is taken by another program: stop it, or choose another port in `broker: listen`", port,
            SOCKETS[name].name, b->config->host);
    return error_set(err, "SYSTEM", "cannot listen on %s:%d: %s", b->config->host, port, strerror(errno));
}

static int bind_ipc(struct broker *b, struct ls_error *err)
{
    if (!b->config->ipc_dir)
        return 0;
    if (mkdir(b->config->ipc_dir, 0700) < 0 && errno != EEXIST)
        return error_set(err, "SYSTEM", "cannot make the folder %s for ipc sockets: %s", b->config->ipc_dir,
                         strerror(errno));
    for (int i = 0; i < SOCK_COUNT; i++)
        if (zsock_bind(b->sockets.zsock[i], "ipc://%s/%s", b->config->ipc_dir, SOCKETS[i].name) < 0)
            return error_set(err, "SYSTEM", "cannot listen on ipc://%s/%s: %s", b->config->ipc_dir, SOCKETS[i].name,
                             strerror(errno));
    return 0;
}

static int open_all(struct broker *b, struct ls_error *err)
{
    b->sockets.attempts++;
    for (int i = 0; i < SOCK_COUNT; i++) {
        b->sockets.zsock[i] = socket_new(b, (enum socket_name) i);
        if (!b->sockets.zsock[i])
            return error_set(err, "SYSTEM", "cannot make a socket: %s", zmq_strerror(zmq_errno()));
        b->sockets.raw[i] = zsock_resolve(b->sockets.zsock[i]);
        if (monitor_open(b, (enum socket_name) i) < 0)
            return error_set(err, "SYSTEM", "cannot watch a socket: %s", zmq_strerror(zmq_errno()));
    }
    return 0;
}

/* Port 0: whichever five in a row are free. The first is the system's choice, the others follow or it tries again. */
static int bind_first(struct broker *b, int *port, struct ls_error *err)
{
    char endpoint[256];
    size_t size = sizeof endpoint;
    void *router = b->sockets.raw[SOCK_ROUTER];
    snprintf(endpoint, sizeof endpoint, "tcp://%s:*", b->config->host);
    if (zmq_bind(router, endpoint) < 0 || zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size) < 0)
        return error_set(err, "SYSTEM", "cannot listen on %s: %s", b->config->host, zmq_strerror(zmq_errno()));
    *port = (int) strtol(strrchr(endpoint, ':') + 1, NULL, 10);
    return *port <= 65535 - (SOCK_COUNT - 1) ? 0 : error_set(err, "CONFLICT", "no five free ports in a row were found");
}

static int bind_all(struct broker *b, struct ls_error *err)
{
    int port = b->config->port;
    if (!port && bind_first(b, &port, err) < 0)
        return -1;
    for (int i = b->config->port ? 0 : 1; i < SOCK_COUNT; i++)
        if (bind_tcp(b, (enum socket_name) i, port + i, err) < 0)
            return -1;
    b->port = port;
    return bind_ipc(b, err);
}

int sockets_open(struct broker *b, struct ls_error *err)
{
    for (int attempt = 0;; attempt++) {
        if (open_all(b, err) < 0)
            return -1;
        if (bind_all(b, err) == 0)
            return 0;
        sockets_close(b);
        if (b->config->port || attempt == 20)
            return -1;
    }
}

void sockets_close(struct broker *b)
{
    for (int i = 0; i < SOCK_COUNT; i++) {
        if (b->sockets.monitor[i]) {
            zmq_socket_monitor(b->sockets.raw[i], NULL, 0);
            int linger = 0;
            zmq_setsockopt(b->sockets.monitor[i], ZMQ_LINGER, &linger, sizeof linger);
            zmq_close(b->sockets.monitor[i]);
        }
        zsock_destroy(&b->sockets.zsock[i]);
        b->sockets.monitor[i] = b->sockets.raw[i] = NULL;
    }
}

bool sockets_drain(struct broker *b, enum socket_name from)
{
    enum origin origin = from == SOCK_ROUTER ? FROM_ROUTER : from == SOCK_PULL ? FROM_PULL : FROM_SUB;
    struct message m;
    size_t bytes = 0;
    for (int i = 0; i < DRAIN_MESSAGES && bytes < DRAIN_BYTES; i++) {
        if (!message_receive(b, origin, &m))
            return true;
        b->counters[C_MESSAGES_IN]++;
        if (origin == FROM_ROUTER)
            m.session = session_require(b, &m);
        else
            m.fd = message_fd(&m);
        guard_saw_message(b, m.fd);
        verb_dispatch(b, &m);
        bytes += m.bytes; /* with what reading for it has cost */
        message_fini(&m);
    }
    b->lagging = true;
    return false;
}
