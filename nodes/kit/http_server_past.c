/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are given while the body of the request is still coming. libmicrohttpd takes none then, so we write the header and
 * what follows to the socket ourselves, read on and drop what comes, and have the connection closed. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "nodes/kit/http_server_private.h"

static void put_head(struct buf *out, struct http_exchange *x, unsigned status)
{
    char date[40];
    http_date(date, sizeof date);
    buf_addf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\n", status, MHD_get_reason_phrase_for(status), date);
    const char *at = (const char *) x->headers.data, *end = at + x->headers.len;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        buf_addf(out, "%s: %s\r\n", at, value);
        at = value + strlen(value) + 1;
    }
    if (x->sized)
        buf_addf(out, "Content-Length: %llu\r\n", (unsigned long long) x->size);
    else if (x->streaming && x->chunked && !x->bodyless)
        buf_addf(out, "Transfer-Encoding: chunked\r\n");
}

static void begin(struct http_exchange *x, unsigned status)
{
    x->past = x->answered = x->direct = true;
    x->status = status;
    x->bodyless = status == 204 || status == 304 || strcmp(x->method, "HEAD") == 0;
    put_head(&x->queue, x, status);
    http_connection_phase(x->connection, HTTP_STREAM);
    http_exchange_resume(x); /* paused: the rest of the body is dropped from here on */
}

void http_past_begin(struct http_exchange *x, unsigned status)
{
    begin(x, status);
    buf_addf(&x->queue, "\r\n");
    http_stream_flush(x);
}

void http_past_answer(struct http_exchange *x, unsigned status, struct ls_slice body)
{
    begin(x, status);
    if (status != 204 && status != 304)
        buf_addf(&x->queue, "Content-Length: %zu\r\n", body.len);
    buf_addf(&x->queue, "\r\n");
    if (!x->bodyless)
        buf_add(&x->queue, body.data, body.len);
    x->ending = true;
    http_stream_flush(x);
}

void http_past_sent(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    if (x->past_done)
        return;
    if (x->streaming && x->chunked && !x->bodyless) /* the queue is empty, so the socket takes these few */
        (void) !send(c->fd, "0\r\n\r\n", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
    x->past_done = true;
    shutdown(c->fd, SHUT_WR);
    http_connection_phase(c, HTTP_CLOSING);
    http_exchange_resume(x); /* the body was over before */
    if (c->gone)
        http_connection_check_gone(c);
}
