/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the HTTP server: deadlines that no drip of bytes can stretch, limits, what the server itself answers, and
 * reading on for a while after an early answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/kit/http_server_private.h"

#define BODY_LOOKS 4       /* at the progress of a body, within body_ms */
#define BODY_PROGRESS 1024 /* bytes that each look wants to see */
#define GONE_LOOK_MS 20     /* until what a client that left had sent is read */
#define LINGER_MS 2000
#define LINGER_BYTES (4 << 20)
#define LINGER_MAX 256

/* ---- opening and closing ---- */

/* IPv4 addresses one by one, IPv6 by network of 64 bits: one customer has that many. */
static uint64_t peer_key(const struct sockaddr *addr)
{
    uint64_t key = 0;
    if (addr->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *) (const void *) addr)->sin6_addr;
        memcpy(&key, a->s6_addr + (IN6_IS_ADDR_V4MAPPED(a) ? 8 : 0), sizeof key);
    } else if (addr->sa_family == AF_INET) {
        key = UINT64_C(0xffff) << 32 | ((const struct sockaddr_in *) (const void *) addr)->sin_addr.s_addr;
    }
    return key;
}

static void name_peer(struct http_connection *c, const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *) (const void *) addr)->sin_addr, c->peer, sizeof c->peer);
    else if (addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) (const void *) addr)->sin6_addr, c->peer, sizeof c->peer);
    else
        snprintf(c->peer, sizeof c->peer, "unix");
}

/* Counts the connection; one too many may send its request and is then told. */
static void count_in(struct http_connection *c)
{
    struct http_server *server = c->server;
    uintptr_t of_peer = (uintptr_t) map_get(&server->peers, c->peer_key) + 1;
    map_put(&server->peers, c->peer_key, (void *) of_peer);
    server->counters.accepted++;
    server->counters.connections++;
    if (server->counters.connections > server->limits.connections)
        c->refuse_status = 503;
    else if (server->limits.connections_per_peer && !c->local && of_peer > server->limits.connections_per_peer)
        c->refuse_status = 429;
}

static void count_out(struct http_connection *c)
{
    struct http_server *server = c->server;
    uintptr_t of_peer = (uintptr_t) map_get(&server->peers, c->peer_key) - 1;
    if (of_peer)
        map_put(&server->peers, c->peer_key, (void *) of_peer);
    else
        map_remove(&server->peers, c->peer_key);
    server->counters.connections--;
}

void http_connection_open(struct http_server *server, struct MHD_Connection *mhd, void **context)
{
    struct http_connection *c = xcalloc(1, sizeof *c);
    c->watch.what = HTTP_WATCH_CONNECTION;
    c->watch.timer.fire = http_server_timer;
    c->server = server;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    /* A peer that takes nothing for so long, or is gone without a word, is cut by the kernel (tcp(7)). */
    unsigned patience_ms = (unsigned) server->limits.body_ms;
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
    const struct sockaddr *addr = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    c->local = addr->sa_family == AF_UNIX;
    c->peer_key = peer_key(addr);
    name_peer(c, addr);
    c->next = server->connections;
    c->link = &server->connections;
    if (c->next)
        c->next->link = &c->next;
    server->connections = c;
    count_in(c);
    http_connection_phase(c, HTTP_IDLE);
    *context = c;
}

void http_connection_close(struct http_connection *c)
{
    if (c->x)
        http_exchange_end(c->x, false);
    if (c->watched) {
        epoll_ctl(c->server->epoll, EPOLL_CTL_DEL, c->fd, NULL);
        c->server->watched_count--;
    }
    heap_unset(&c->server->timers, &c->watch.timer);
    count_out(c);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    free(c);
}

void http_connection_watch(struct http_connection *c, bool out)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET | (out ? EPOLLOUT : 0), .data.ptr = &c->watch};
    epoll_ctl(c->server->epoll, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
    c->server->watched_count += !c->watched;
    c->watched = true;
}

/* ---- deadlines ---- */

/* What the client has acknowledged, or sent. */
static void tcp_progress(const struct http_connection *c, uint64_t *acked, uint64_t *received)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    *acked = info.tcpi_bytes_acked;
    *received = info.tcpi_bytes_received;
}

/* Most deadlines are met: a timer is moved only to come earlier, and when it fires too early it is set again. */
static void arm(struct http_connection *c)
{
    struct timer *timer = &c->watch.timer;
    if (c->deadline_ms != INT64_MAX && (!timer->place || timer->due_ms > c->deadline_ms))
        heap_set(&c->server->timers, timer, c->deadline_ms);
}

void http_connection_phase(struct http_connection *c, enum http_phase phase)
{
    const struct http_limits *limits = &c->server->limits;
    int64_t now = clock_mono_ms();
    c->phase = phase;
    switch (phase) {
    case HTTP_IDLE: c->deadline_ms = now + (c->used ? limits->idle_ms : limits->header_ms); break;
    case HTTP_HEADER:
        if (c->used) /* the first header's time runs from the start of the connection */
            c->deadline_ms = now + limits->header_ms;
        c->used = true;
        break;
    case HTTP_BODY:
        c->mark = c->x->body_got;
        c->body_end_ms = c->x->streamed ? INT64_MAX : now + limits->body_ms;
        c->deadline_ms = now + (c->x->streamed ? limits->body_ms : limits->body_ms / BODY_LOOKS);
        break;
    case HTTP_ANSWER:
        c->mark = 0;
        c->deadline_ms = now + limits->body_ms;
        break;
    case HTTP_CLOSING: c->deadline_ms = now + LINGER_MS; break;
    case HTTP_WAITING:
    case HTTP_STREAM: c->deadline_ms = INT64_MAX; break;
    }
    arm(c);
}

/* Whether the client does enough to be given more time; sets the new deadline. */
static bool in_progress(struct http_connection *c, int64_t now_ms)
{
    int64_t body_ms = c->server->limits.body_ms;
    uint64_t acked, received, had = c->mark;
    if (c->phase == HTTP_BODY && c->x && now_ms < c->body_end_ms) {
        int64_t look = now_ms + (c->x->streamed ? body_ms : body_ms / BODY_LOOKS);
        c->mark = c->x->body_got;
        c->deadline_ms = look < c->body_end_ms ? look : c->body_end_ms;
        return c->mark >= had + BODY_PROGRESS;
    }
    if (c->phase != HTTP_ANSWER)
        return false;
    if (c->local) { /* its progress cannot be seen; who may connect is trusted */
        c->deadline_ms = INT64_MAX;
        return true;
    }
    tcp_progress(c, &acked, &received);
    c->mark = acked;
    c->deadline_ms = now_ms + body_ms;
    return acked > had;
}

void http_connection_check_gone(struct http_connection *c)
{
    int unread = 0;
    if (c->phase != HTTP_BODY && c->phase != HTTP_CLOSING)
        return; /* the others end by themselves */
    if (ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0)
        shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees that */
    c->deadline_ms = clock_mono_ms() + GONE_LOOK_MS;
    arm(c);
}

void http_connection_expire(struct http_connection *c, int64_t now_ms)
{
    if (c->gone && (c->phase == HTTP_BODY || c->phase == HTTP_CLOSING)) {
        http_connection_check_gone(c);
        return;
    }
    if (c->deadline_ms > now_ms || in_progress(c, now_ms)) {
        arm(c);
        return;
    }
    uint64_t acked = 0, received = 0;
    bool begun = c->phase == HTTP_HEADER || c->phase == HTTP_BODY;
    if (c->phase == HTTP_IDLE && !c->used) {
        tcp_progress(c, &acked, &received);
        begun = received > 0;
    }
    c->deadline_ms = INT64_MAX;
    if (begun || c->phase == HTTP_ANSWER)
        c->server->counters.timed_out++;
    if (begun)
        http_connection_refuse(c, 408, "timeout", "The request did not arrive in time.");
    shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees that and closes */
}

/* ---- answers of the server itself ---- */

void http_date(char *text, size_t size)
{
    struct tm tm;
    time_t now = time(NULL);
    if (!strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm)))
        *text = 0;
}

void http_connection_refuse(struct http_connection *c, unsigned status, const char *code, const char *text)
{
    char date[40];
    struct buf body = {0}, answer = {0};
    http_date(date, sizeof date);
    buf_addf(&body, "{\"error\":{\"message\":\"");
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            buf_add_byte(&body, '\\');
        buf_add_byte(&body, (uint8_t) *at);
    }
    buf_addf(&body, "\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"%s\"}}\n", code);
    buf_addf(&answer, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\n", status, MHD_get_reason_phrase_for(status), date);
    if (status == 429 || status == 503)
        buf_addf(&answer, "Retry-After: 1\r\n");
    buf_addf(&answer, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.len);
    if (!c->x || !c->x->method || strcmp(c->x->method, "HEAD") != 0)
        buf_add(&answer, body.data, body.len);
    /* Nothing else is on its way, so the socket takes it; if not, the client does not read and misses nothing. */
    (void) !send(c->fd, answer.data, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_fini(&answer);
    buf_fini(&body);
    c->refused = true;
}

/* ---- lingering ---- */

struct http_linger {
    struct http_watch watch;
    struct http_server *server;
    struct http_linger *next, **link;
    size_t left; /* bytes that we still read */
    int fd;
};

void http_linger_add(struct http_server *server, int fd)
{
    if (server->lingering_count >= LINGER_MAX || server->closing)
        return;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return;
    struct http_linger *linger = xcalloc(1, sizeof *linger);
    linger->watch.what = HTTP_WATCH_LINGER;
    linger->watch.timer.fire = http_server_timer;
    linger->server = server;
    linger->fd = copy;
    linger->left = LINGER_BYTES;
    linger->next = server->lingering;
    linger->link = &server->lingering;
    if (linger->next)
        linger->next->link = &linger->next;
    server->lingering = linger;
    server->lingering_count++;
    server->watched_count++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = &linger->watch};
    epoll_ctl(server->epoll, EPOLL_CTL_ADD, copy, &event);
    heap_set(&server->timers, &linger->watch.timer, clock_mono_ms() + LINGER_MS);
}

void http_linger_read(struct http_watch *watch)
{
    struct http_linger *linger = (struct http_linger *) (void *) watch;
    char scrap[16384];
    ssize_t got = recv(linger->fd, scrap, sizeof scrap, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || (size_t) got >= linger->left)
        http_linger_end(watch);
    else
        linger->left -= (size_t) got;
}

void http_linger_end(struct http_watch *watch)
{
    struct http_linger *linger = (struct http_linger *) (void *) watch;
    heap_unset(&linger->server->timers, &watch->timer);
    *linger->link = linger->next;
    if (linger->next)
        linger->next->link = linger->link;
    linger->server->lingering_count--;
    linger->server->watched_count--;
    epoll_ctl(linger->server->epoll, EPOLL_CTL_DEL, linger->fd, NULL); /* libmicrohttpd may still hold the socket */
    close(linger->fd);
    free(linger);
}

void http_linger_end_all(struct http_server *server)
{
    while (server->lingering)
        http_linger_end(&server->lingering->watch);
}
