/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server's sockets and loop: libmicrohttpd's daemon in its epoll mode without a thread, one epoll around
 * it and the sockets we watch ourselves, timers, draining. */
#include "nodes/kit/http_server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/http_server_private.h"

#define SPARE_CONNECTIONS 64 /* beyond the limit, to tell them that they are too many */
#define ROUNDS 8             /* of libmicrohttpd in one http_server_run */

/* ---- libmicrohttpd ---- */

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        http_connection_open(arg, mhd, context);
    } else if (*context) {
        http_connection_close(*context);
        *context = NULL;
    }
}

/* libmicrohttpd refuses a bad Content-Length and too many cookies before it calls http_exchange_access, and then sends its
 * answer's header twice. It logs first, which is where we come in: our answer goes out instead, and it finds the socket closed
 * for writing. Should it word its log otherwise one day, its own answers go out. */
static void on_log(void *arg, const char *format, va_list args)
{
    (void) args;
    struct http_server *server = arg;
    bool length = strstr(format, "Content-Length"), cookies = strstr(format, "parse cookies");
    for (struct http_connection *c = server->connections; c && (length || cookies); c = c->next) {
        bool complete = c->x && !c->x->seen && !c->refused &&
                        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (!complete)
            continue;
        server->counters.refused_gate++;
        if (length)
            http_connection_refuse(c, 400, "bad_request", "Content-Length must be a number of digits only.");
        else
            http_connection_refuse(c, 431, "header_too_large", "The header is too large.");
        shutdown(c->fd, SHUT_WR);
        http_linger_add(server, c->fd);
    }
}

/* The target stays as the client sent it. */
static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void) arg;
    (void) mhd;
    return strlen(text);
}

/* Takes the listening socket, also when it fails. */
static struct MHD_Daemon *start_daemon(struct http_server *server, int listener)
{
    /* Its eventfd is for waking it from other threads; there are none, and each resumed connection would write to it. */
    unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (MHD_ALLOW_SUSPEND_RESUME & ~(unsigned) MHD_USE_ITC);
    return MHD_start_daemon(flags, 0, NULL, NULL, http_exchange_access, server,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, server, /* first: the others may log */
                            MHD_OPTION_LISTEN_SOCKET, listener,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HTTP_POOL_BYTES,
                            MHD_OPTION_CONNECTION_LIMIT, server->limits.connections + SPARE_CONNECTIONS,
                            MHD_OPTION_CONNECTION_TIMEOUT, 0U,
                            MHD_OPTION_STRICT_FOR_CLIENT, 0,
                            MHD_OPTION_URI_LOG_CALLBACK, http_exchange_uri, server,
                            MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                            MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, server, MHD_OPTION_END);
}

static int start(struct http_server *server, int listener, struct ls_error *err)
{
    server->mhd = start_daemon(server, listener);
    if (!server->mhd)
        return error_set(err, "SYSTEM", "cannot start the HTTP server at %s: %s", server->address, strerror(errno));
    server->mhd_epoll = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (server->epoll < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->mhd_epoll, &event) < 0)
        return error_set(err, "SYSTEM", "cannot make an epoll: %s", strerror(errno));
    return 0;
}

static void fill_limits(struct http_limits *limits)
{
    if (!limits->header_ms)
        limits->header_ms = 10000;
    if (!limits->body_ms)
        limits->body_ms = 60000;
    if (!limits->idle_ms)
        limits->idle_ms = 60000;
    if (!limits->body_bytes)
        limits->body_bytes = 4 << 20;
    if (!limits->connections)
        limits->connections = 10000;
    if (!limits->queue_bytes)
        limits->queue_bytes = 1 << 20;
}

struct http_server *http_server_open(const struct http_server_options *options, struct ls_error *err)
{
    char address[sizeof ((struct http_server *) 0)->address];
    int listener = http_listen(options->address, address, sizeof address, err);
    if (listener < 0)
        return NULL;
    struct http_server *server = xcalloc(1, sizeof *server);
    server->options = *options;
    server->options.address = NULL; /* it need not live as long as we do */
    server->limits = options->limits;
    fill_limits(&server->limits);
    server->epoll = -1;
    memcpy(server->address, address, sizeof address);
    if (strncmp(address, "unix:", 5) == 0)
        server->unix_path = server->address + 5;
    if (start(server, listener, err) < 0)
        http_server_close(&server);
    return server;
}

/* Only while it is ours: when nobody listens any more another process may take the path. */
static void remove_socket(struct http_server *server)
{
    if (server->unix_path)
        unlink(server->unix_path);
    server->unix_path = NULL;
}

void http_server_close(struct http_server **server_at)
{
    struct http_server *server = *server_at;
    if (!server)
        return;
    *server_at = NULL;
    server->closing = true;
    remove_socket(server);
    for (struct http_connection *c = server->connections; c; c = c->next)
        if (c->x)
            http_exchange_lose(c->x);
    if (server->mhd)
        MHD_stop_daemon(server->mhd);
    http_linger_end_all(server);
    if (server->epoll >= 0)
        close(server->epoll);
    heap_fini(&server->timers);
    map_fini(&server->peers);
    free(server);
}

const char *http_server_address(const struct http_server *server)
{
    return server->address;
}

/* ---- the loop ---- */

void http_server_timer(void *arg, struct timer *timer)
{
    (void) arg;
    struct http_watch *watch = (struct http_watch *) (void *) ((char *) timer - offsetof(struct http_watch, timer));
    if (watch->what == HTTP_WATCH_LINGER)
        http_linger_end(watch);
    else
        http_connection_expire((struct http_connection *) (void *) watch, clock_mono_ms());
}

static bool mhd_is_due(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG ms;
    return server->resumed || (MHD_get_timeout(server->mhd, &ms) == MHD_YES && ms == 0);
}

int http_server_fd(const struct http_server *server)
{
    return server->epoll;
}

int64_t http_server_due(struct http_server *server)
{
    return mhd_is_due(server) ? 0 : heap_next(&server->timers);
}

static void on_connection_event(struct http_connection *c, uint32_t events)
{
    if (events & EPOLLOUT && c->x && c->x->direct)
        http_stream_flush(c->x);
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->gone = true;
        if (c->x && c->x->suspended)
            http_exchange_lose(c->x);
        else if (c->x)
            http_connection_check_gone(c);
    }
}

/* Sockets that we watch; true if libmicrohttpd's epoll is ready, too. */
static bool poll_watched(struct http_server *server)
{
    struct epoll_event events[64];
    bool ready = false;
    int count = epoll_wait(server->epoll, events, 64, 0);
    for (int i = 0; i < count; i++) {
        struct http_watch *watch = events[i].data.ptr;
        if (!watch)
            ready = true;
        else if (watch->what == HTTP_WATCH_LINGER)
            http_linger_read(watch);
        else
            on_connection_event((struct http_connection *) (void *) watch, events[i].events);
    }
    return ready;
}

void http_server_run(struct http_server *server)
{
    /* libmicrohttpd asks its own epoll: ours is worth the call only if it holds more than that. */
    bool ready = !server->watched_count || poll_watched(server);
    heap_fire(&server->timers, clock_mono_ms(), server);
    for (int i = 0; i < ROUNDS && (ready || mhd_is_due(server)); i++) {
        server->resumed = false;
        ready = false;
        MHD_run(server->mhd);
    }
}

/* ---- draining ---- */

void http_server_drain(struct http_server *server)
{
    if (server->draining || server->closing)
        return;
    server->draining = true;
    remove_socket(server);
    int fd = MHD_quiesce_daemon(server->mhd);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    for (struct http_connection *c = server->connections; c; c = c->next)
        if (c->phase == HTTP_IDLE)
            shutdown(c->fd, SHUT_RDWR);
}

size_t http_server_active(const struct http_server *server)
{
    return server->active;
}

void http_server_counters(const struct http_server *server, struct http_server_counters *counters)
{
    *counters = server->counters;
}
