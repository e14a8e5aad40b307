/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: who is there, and cutting off those that would fill the memory.
 *
 * libzmq's limits count whole messages and single frames: a peer that sends endless frames of one message, or endless
 * subscriptions, fills the process without ever handing anything over. So the kernel's count of bytes received on each
 * connection (TCP_INFO) is compared with what came out as messages; what grows without messages is cut off. */
#include "broker/core.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define CHECK_EVERY_MS 100
#define OWN_DESCRIPTORS 64           /* sockets, threads, and connections between accept and on_accepted */
#define CONNECTIONS_MIN 32           /* fewer are no bus */
#define SLOW_BYTES (1 << 20)         /* waiting in the kernel for a peer that does not take them ... */
#define STUCK_CHECKS 10              /* a subscriber that takes nothing for so many checks ... */
#define STUCK_FEED_BYTES (64u << 20) /* ... while so much was published is cut off */
#define FEED_ALLOWANCE (256u << 10)  /* bytes of subscriptions a connection may send at once ... */
#define FEED_BYTES_PER_S 2048        /* ... and per second after that */

struct connection {
    bool open, cutting, talked;
    enum socket_name socket;
    uint64_t cookie;   /* SO_COOKIE: tells this connection from a later one with the same descriptor */
    uint64_t baseline; /* bytes received when the last message came out */
    uint64_t taken;    /* live feed: bytes the peer had taken when it last took any ... */
    uint64_t fed;      /* ... and the bytes that the feed had published then */
    unsigned stuck;    /* checks since */
    int slow_bytes;
    int64_t since_ms;
};

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

static struct tcp_info tcp_info_of(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        memset(&info, 0, sizeof info);
    return info;
}

/* ... or, where the kernel would never hold as much (unix sockets), half of what it would. */
static int slow_bytes_of(int fd)
{
    int domain = 0, room = 0;
    socklen_t len = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX) {
        len = sizeof room;
        if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len) == 0 && room / 2 < SLOW_BYTES)
            return room / 2;
    }
    return SLOW_BYTES;
}

static struct connection *connection_at(const struct broker *b, int fd)
{
    return fd >= 0 && (size_t) fd < b->guard.room && b->guard.connections[fd].open ? &b->guard.connections[fd] : NULL;
}

bool guard_is_open(const struct broker *b, int fd)
{
    return connection_at(b, fd) != NULL;
}

/* libzmq counts messages, not bytes, so what a peer has yet to take is judged by the kernel's queue behind it. */
bool guard_is_slow(const struct broker *b, int fd)
{
    int queued = 0;
    const struct connection *c = connection_at(b, fd);
    return c && ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > c->slow_bytes;
}

void guard_cut(struct broker *b, int fd, const char *why)
{
    struct connection *c = connection_at(b, fd);
    if (!c || c->cutting || cookie_of(fd) != c->cookie)
        return;
    c->cutting = true;
    b->counters[C_CUT]++;
    logger_put(LEVEL_WARN, "peer-cut", why, "fd=%d", fd);
    shutdown(fd, SHUT_RDWR); /* libzmq sees the end of the stream and cleans up */
}

static void on_accepted(struct broker *b, enum socket_name socket, int fd)
{
    if (fd < 0)
        return;
    if ((size_t) fd >= b->guard.room) {
        size_t old = b->guard.room;
        b->guard.connections =
            xgrow(b->guard.connections, &b->guard.room, (size_t) fd + 1, sizeof *b->guard.connections);
        memset(b->guard.connections + old, 0, (b->guard.room - old) * sizeof *b->guard.connections);
    }
    struct connection *c = &b->guard.connections[fd];
    if (!c->open)
        b->guard.open++;
    *c = (struct connection){.open = true,
                             .socket = socket,
                             .cookie = cookie_of(fd),
                             .since_ms = b->now_ms,
                             .slow_bytes = slow_bytes_of(fd)};
    if (b->guard.open > b->guard.most)
        guard_cut(b, fd, b->guard.most < b->config->connections_max
                             ? "too many connections for the open files that the system allows: raise ulimit -n, or find out who opens them"
                             : "too many connections: raise broker.connections_max, or find out who opens them");
}

static void on_disconnected(struct broker *b, int fd)
{
    struct connection *c = connection_at(b, fd);
    if (!c)
        return;
    c->open = false;
    b->guard.open--;
    struct session *s = session_of_fd(b, fd);
    if (s)
        session_lost(s);
}

/* A monitor message is two frames: u16 event and i32 value (the descriptor), then the address. */
static bool read_event(struct broker *b, enum socket_name socket)
{
    uint8_t head[6];
    char address[256];
    if (zmq_recv(b->sockets.monitor[socket], head, sizeof head, ZMQ_DONTWAIT) != sizeof head)
        return false;
    zmq_recv(b->sockets.monitor[socket], address, sizeof address, ZMQ_DONTWAIT);
    uint16_t event;
    int32_t fd;
    memcpy(&event, head, sizeof event);
    memcpy(&fd, head + 2, sizeof fd);
    if (event == ZMQ_EVENT_ACCEPTED)
        on_accepted(b, socket, fd);
    else
        on_disconnected(b, fd);
    return true;
}

void guard_events(struct broker *b)
{
    for (int i = 0; i < SOCK_COUNT; i++) {
        while (b->sockets.monitor_ready[i] && read_event(b, (enum socket_name) i))
            ;
        b->sockets.monitor_ready[i] = false;
    }
}

void guard_catch_up(struct broker *b)
{
    for (int i = 0; i < SOCK_COUNT; i++)
        b->sockets.monitor_ready[i] = true;
    guard_events(b);
}

void guard_saw_message(struct broker *b, int fd)
{
    struct connection *c = connection_at(b, fd);
    if (c)
        c->talked = true;
}

static void check_subscriber(struct broker *b, int fd, struct connection *c, const struct tcp_info *info)
{
    bool waits = info->tcpi_notsent_bytes || info->tcpi_unacked;
    if (!waits || info->tcpi_bytes_acked != c->taken) {
        c->taken = info->tcpi_bytes_acked;
        c->fed = b->live_bytes;
        c->stuck = 0;
    } else if (++c->stuck >= STUCK_CHECKS && b->live_bytes - c->fed > STUCK_FEED_BYTES) {
        guard_cut(b, fd, "a subscriber of the live feed does not read");
    }
}

static void check(struct broker *b, int fd, struct connection *c)
{
    struct tcp_info info = tcp_info_of(fd);
    uint64_t got = info.tcpi_bytes_received;
    if (c->socket == SOCK_LIVE || c->socket == SOCK_BATCH) {
        check_subscriber(b, fd, c, &info);
        uint64_t allowed = FEED_ALLOWANCE + (uint64_t) (b->now_ms - c->since_ms) * FEED_BYTES_PER_S / 1000;
        if (got > allowed)
            guard_cut(b, fd, "a subscriber sends too many subscriptions");
        return;
    }
    if (c->talked) {
        c->talked = false;
        c->baseline = got;
        return;
    }
    /* Nothing came out since the baseline. While the loop lags behind, whole messages may still lie in the pipe. */
    uint64_t limit = 2ull * (b->config->batch_bytes_max + b->config->header_bytes_max) + (1u << 20);
    if (b->lagging)
        limit += 64u << 20;
    if (got > c->baseline + limit)
        guard_cut(b, fd, "a peer sends frames without end, or more than a message may hold");
}

static void on_timer(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    for (size_t fd = 0; fd < b->guard.room; fd++) {
        struct connection *c = &b->guard.connections[fd];
        if (c->open && !c->cutting)
            check(b, (int) fd, c);
    }
    heap_set(&b->timers, timer, b->now_ms + CHECK_EVERY_MS);
}

int guard_descriptors(struct broker *b, struct ls_error *err)
{
    struct rlimit limit;
    size_t own = OWN_DESCRIPTORS + b->config->stream_count * LOG_DESCRIPTORS;
    b->guard.most = b->config->connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_max < own + CONNECTIONS_MIN)
        return error_set(err, "SYSTEM",
                         "the system allows %llu open files (ulimit -n); the broker needs %zu, and one more for each connection",
                         (unsigned long long) limit.rlim_max, own + CONNECTIONS_MIN);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max - own >= b->guard.most)
        return 0;
    b->guard.most = limit.rlim_max - own;
    logger_put(LEVEL_WARN, "few-descriptors", "the system allows fewer connections than broker.connections_max (ulimit -n)",
               "connections=%zu limit=%llu connections_max=%u", b->guard.most, (unsigned long long) limit.rlim_max,
               b->config->connections_max);
    return 0;
}

void guard_init(struct broker *b)
{
    b->guard.timer.fire = on_timer;
    heap_set(&b->timers, &b->guard.timer, b->now_ms + CHECK_EVERY_MS);
}

void guard_fini(struct broker *b)
{
    free(b->guard.connections);
    b->guard = (struct guard){0};
}
