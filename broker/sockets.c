/* SPDX-License-Identifier: Apache-2.0 */
/* The five sockets: their options, their ports, and taking a turn's share of messages from them. */
#include "broker/core.h"

#include <czmq.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "broker/log/log.h"

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

/* ---- waiting ----
 *
 * A socket's descriptor is readable while it has commands to process, which is not the same as messages: any operation on the
 * socket may process them (zmq_getsockopt(3), ZMQ_FD). So a socket is read when its descriptor says so, always to its end,
 * and looked at once more after something was sent on it. zmq_poll does the same for every socket at every call, at the
 * price of some twenty system calls a turn. */

enum { WATCH_MONITOR = SOCK_COUNT, WATCH_DEVICE = 2 * SOCK_COUNT, WATCH_SIGNAL, WATCH_COUNT };

static int watch(struct broker *b, int fd, uint32_t what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    return fd < 0 ? 0 : epoll_ctl(b->sockets.epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int fd_of(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    return fd;
}

static int watch_all(struct broker *b, struct ls_error *err)
{
    struct sockets *s = &b->sockets;
    int bad = 0;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < SOCK_COUNT && s->epoll_fd >= 0; i++) {
        bad |= watch(b, fd_of(s->raw[i]), i) | watch(b, fd_of(s->monitor[i]), WATCH_MONITOR + i);
        s->ready[i] = s->monitor_ready[i] = true; /* what came before the watch */
    }
    bad |= s->epoll_fd < 0 || watch(b, log_device_fd(b->device), WATCH_DEVICE) || watch(b, b->signal_fd, WATCH_SIGNAL);
    return bad ? error_set(err, "SYSTEM", "cannot watch the sockets: %s", strerror(errno)) : 0;
}

static bool has_input(void *socket)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

bool sockets_wait(struct broker *b, int64_t wait_ms)
{
    struct sockets *s = &b->sockets;
    struct epoll_event events[WATCH_COUNT];
    bool signalled = false;
    for (int i = 0; i < SOCK_COUNT; i++) {
        s->ready[i] = s->ready[i] || (s->sent[i] && has_input(s->raw[i]));
        s->sent[i] = false;
        if (s->ready[i])
            wait_ms = 0;
    }
    int count = epoll_wait(s->epoll_fd, events, WATCH_COUNT, wait_ms > INT32_MAX ? INT32_MAX : (int) wait_ms);
    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].data.u32;
        if (what < WATCH_MONITOR)
            s->ready[what] = true;
        else if (what < WATCH_DEVICE)
            s->monitor_ready[what - WATCH_MONITOR] = true;
        signalled |= what == WATCH_SIGNAL;
    }
    return signalled;
}

/* ---- opening and closing ---- */

int sockets_open(struct broker *b, struct ls_error *err)
{
    for (int attempt = 0;; attempt++) {
        if (open_all(b, err) < 0)
            return -1;
        if (bind_all(b, err) == 0)
            return watch_all(b, err);
        sockets_close(b);
        if (b->config->port || attempt == 20)
            return -1;
    }
}

void sockets_close(struct broker *b)
{
    if (b->sockets.epoll_fd > 0)
        close(b->sockets.epoll_fd);
    b->sockets.epoll_fd = 0;
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

/* ---- reading ---- */

bool sockets_drain(struct broker *b, enum socket_name from)
{
    enum origin origin = from == SOCK_ROUTER ? FROM_ROUTER : from == SOCK_PULL ? FROM_PULL : FROM_SUB;
    struct message m;
    size_t bytes = 0;
    for (int i = 0; i < DRAIN_MESSAGES && bytes < DRAIN_BYTES; i++) {
        if (!message_receive(b, origin, &m)) {
            b->sockets.ready[from] = b->sockets.sent[from] = false;
            return true;
        }
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
