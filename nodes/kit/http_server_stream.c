/* SPDX-License-Identifier: Apache-2.0 */
/* Streams. libmicrohttpd sends the header and, at the end, the last chunk; in between the connection stays suspended and we
 * write chunks straight to the socket: one system call each, nothing else to wake or to walk through. */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/xmem.h"
#include "nodes/kit/http_server_private.h"

/* The end of a chunk's framing and its length, with room for both. */
#define FRAME_BYTES 24

static bool over(const struct http_exchange *x)
{
    return x->ending || x->aborted || x->lost;
}

/* Sends what the socket takes; -1: the connection is broken. */
static ssize_t send_now(int fd, const struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = (struct iovec *) (uintptr_t) parts, .msg_iovlen = count};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return sent;
}

/* ---- the queue ---- */

size_t http_stream_queued(const struct http_exchange *x)
{
    return x->queue.len - x->sent;
}

static void tell_drained(struct http_exchange *x)
{
    if (!x->backlog)
        return;
    x->backlog = false;
    if (x->server->options.drained && !over(x))
        x->server->options.drained(x->server->options.arg, x);
}

void http_stream_flush(struct http_exchange *x)
{
    size_t left = http_stream_queued(x);
    if (left) {
        struct iovec part = {x->queue.data + x->sent, left};
        ssize_t sent = send_now(x->connection->fd, &part, 1);
        if (sent < 0) {
            http_exchange_lose(x);
            return;
        }
        x->sent += (size_t) sent;
        if ((size_t) sent < left) {
            http_connection_watch(x->connection, true);
            return;
        }
        buf_fini(&x->queue); /* thousands of streams are idle: none keeps what it once needed */
        x->sent = 0;
    }
    tell_drained(x);
    if (x->ending && !http_stream_queued(x))
        http_exchange_resume(x);
}

/* Keeps what the socket did not take of the parts. */
static void keep(struct http_exchange *x, const struct iovec *parts, size_t count, size_t skip)
{
    if (x->sent && x->sent >= x->queue.len / 2) {
        x->queue.len -= x->sent;
        memmove(x->queue.data, x->queue.data + x->sent, x->queue.len);
        x->sent = 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t gone = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        buf_add(&x->queue, (const char *) parts[i].iov_base + gone, parts[i].iov_len - gone);
        skip -= gone;
    }
}

bool http_stream_write(struct http_exchange *x, struct ls_slice bytes)
{
    if (!x->streaming || over(x) || x->server->closing)
        return false;
    if (x->bodyless || !bytes.len)
        return true;
    if (http_stream_queued(x) + bytes.len + FRAME_BYTES > x->server->limits.queue_bytes)
        return false;
    char head[FRAME_BYTES];
    struct iovec parts[3] = {{head, 0}, {(void *) (uintptr_t) bytes.data, bytes.len}, {(void *) (uintptr_t) "\r\n", 0}};
    if (x->chunked) {
        parts[0].iov_len = (size_t) snprintf(head, sizeof head, "%zx\r\n", bytes.len);
        parts[2].iov_len = 2;
    }
    size_t total = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len, done = 0;
    if (x->direct && !http_stream_queued(x)) {
        ssize_t sent = send_now(x->connection->fd, parts, 3);
        if (sent < 0) {
            http_exchange_lose(x);
            return false;
        }
        done = (size_t) sent;
        if (done == total)
            return true;
        http_connection_watch(x->connection, true);
    }
    keep(x, parts, 3, done);
    x->backlog = true;
    return true;
}

/* ---- beginning and end ---- */

/* A connection that libmicrohttpd closes because of what the reader says stays among the open ones until all older ones are
 * gone: nobody looks at it. Those with a time limit of their own it looks at in each turn. */
static ssize_t close_after(struct http_exchange *x, ssize_t verdict)
{
    MHD_set_connection_option(x->connection->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1U);
    x->server->resumed = true;
    return verdict;
}

/* libmicrohttpd asks for the body: first when the header is out, then whenever the connection is resumed. */
static ssize_t on_reader(void *arg, uint64_t at, char *room, size_t size)
{
    (void) at;
    (void) room;
    (void) size;
    struct http_exchange *x = arg;
    if (!x->direct && !x->lost && !x->aborted) {
        int on = 1;
        x->direct = true;
        http_stream_flush(x);
        /* The header was sent with more to follow; this sends it if nothing did, and keeps what comes from waiting. */
        setsockopt(x->connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (x->lost || x->aborted)
        return close_after(x, MHD_CONTENT_READER_END_WITH_ERROR);
    if (x->ending && !http_stream_queued(x)) {
        ssize_t end = MHD_CONTENT_READER_END_OF_STREAM;
        return x->chunked ? end : close_after(x, end);
    }
    http_exchange_suspend(x);
    return 0;
}

void http_stream_begin(struct http_exchange *x, unsigned status)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64, on_reader, x, NULL);
    if (!response)
        abort(); /* out of memory, as in lib/xmem.h */
    x->streaming = true;
    /* libmicrohttpd ends the body that HEAD does not have by a chunk of length 0, which the client would take for the next
     * answer. Without chunks it closes instead. */
    if (x->method && !strcmp(x->method, "HEAD"))
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    http_exchange_take(x, status, response);
}

void http_stream_end(struct http_exchange *x)
{
    assert(x->streaming);
    if (over(x))
        return;
    x->ending = true;
    if (x->direct && !http_stream_queued(x))
        http_exchange_resume(x);
}

void http_stream_abort(struct http_exchange *x)
{
    if (x->ending && !http_stream_queued(x))
        return; /* too late */
    x->aborted = true;
    if (!x->streaming)
        x->lost = true;
    http_exchange_resume(x);
}
