/* SPDX-License-Identifier: Apache-2.0 */
/* Streams. libmicrohttpd sends the header and, at the end, the last chunk; in between the connection stays suspended and we
 * write chunks straight to the socket: one system call each, nothing else to wake or to walk through. Streams with
 * Content-Length leave the connection usable for the next request, which wants libmicrohttpd to count their bytes: it sends them. */
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
#define SIZED_BLOCK 65536 /* of a sized stream, to libmicrohttpd at a time */

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
    if (!x->ending || http_stream_queued(x))
        return;
    if (x->past)
        http_past_sent(x);
    else
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
    assert(!x->sized || bytes.len <= x->size - x->written);
    if (http_stream_queued(x) + bytes.len + FRAME_BYTES > x->server->limits.queue_bytes)
        return false;
    char head[FRAME_BYTES];
    struct iovec parts[3] = {{head, 0}, {(void *) (uintptr_t) bytes.data, bytes.len}, {(void *) (uintptr_t) "\r\n", 0}};
    if (x->chunked) {
        parts[0].iov_len = (size_t) snprintf(head, sizeof head, "%zx\r\n", bytes.len);
        parts[2].iov_len = 2;
    }
    x->written += bytes.len;
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
    if (x->sized)
        http_exchange_resume(x);
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

/* Of a stream with Content-Length libmicrohttpd sends every byte, and ends the answer with the last one: so that one stays here
 * until the caller says that it was the last. */
static ssize_t on_sized_reader(void *arg, uint64_t at, char *room, size_t size)
{
    (void) at;
    struct http_exchange *x = arg;
    if (x->lost || x->aborted)
        return close_after(x, MHD_CONTENT_READER_END_WITH_ERROR);
    size_t held = !x->ending && x->written == x->size, queued = http_stream_queued(x);
    size_t take = queued - (queued ? held : 0);
    if (take > size)
        take = size;
    if (!take) {
        http_exchange_suspend(x);
        return 0;
    }
    memcpy(room, x->queue.data + x->sent, take);
    x->sent += take;
    if (!http_stream_queued(x)) {
        buf_fini(&x->queue);
        x->sent = 0;
        tell_drained(x);
    }
    return (ssize_t) take;
}

void http_stream_begin_sized(struct http_exchange *x, unsigned status, uint64_t bytes)
{
    x->streaming = x->sized = true;
    x->size = bytes;
    x->chunked = false;
    if (http_within_body(x)) {
        http_past_begin(x, status);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_callback(bytes, SIZED_BLOCK, on_sized_reader, x, NULL);
    if (!response)
        abort(); /* out of memory, as in lib/xmem.h */
    http_exchange_take(x, status, response);
}

void http_stream_begin(struct http_exchange *x, unsigned status)
{
    if (http_within_body(x)) {
        x->streaming = true;
        http_past_begin(x, status);
        return;
    }
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
    if (x->sized && !x->bodyless && x->written < x->size) {
        http_stream_abort(x); /* the client must not take the part for the whole */
        return;
    }
    x->ending = true;
    if (x->past && !http_stream_queued(x))
        http_past_sent(x);
    else if (x->sized || (x->direct && !http_stream_queued(x)))
        http_exchange_resume(x);
}

void http_stream_abort(struct http_exchange *x)
{
    if (x->ending && !http_stream_queued(x))
        return; /* too late */
    x->aborted = true;
    if (!x->streaming)
        x->lost = true;
    if (http_within_body(x)) /* libmicrohttpd may be waiting for more of it, and sees this */
        shutdown(x->connection->fd, SHUT_RDWR);
    http_exchange_resume(x);
}
