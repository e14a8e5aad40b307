/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer: from libmicrohttpd's callbacks to the caller's and back. An exchange begins with the request line
 * and ends in http_exchange_end, whatever happened in between. */
#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/http_gate.h"
#include "nodes/kit/http_server_private.h"

/* ---- beginning and end ---- */

void *http_exchange_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *server = arg;
    struct http_connection *c = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    size_t len = strlen(uri);
    struct http_exchange *x = xcalloc(1, sizeof *x + len + 1);
    x->server = server;
    x->connection = c;
    x->body_limit = server->limits.body_bytes;
    memcpy(x->path, uri, len);
    c->x = x;
    http_connection_phase(c, HTTP_HEADER);
    return x;
}

void http_exchange_end(struct http_exchange *x, bool complete)
{
    struct http_server *server = x->server;
    struct http_connection *c = x->connection;
    c->x = NULL;
    if (x->begun) {
        server->active--;
        if (!complete && !c->refused && !x->aborted && !server->closing)
            server->counters.cut++;
        server->options.end(server->options.arg, x, complete);
    }
    if (x->response)
        MHD_destroy_response(x->response);
    buf_fini(&x->body);
    buf_fini(&x->headers);
    buf_fini(&x->queue);
    free(x);
}

void http_exchange_completed(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    (void) arg;
    (void) mhd;
    struct http_exchange *x = *context;
    if (!x)
        return;
    struct http_connection *c = x->connection;
    bool done = x->past ? x->past_done : x->streaming ? (x->ending || x->bodyless) && !x->aborted : x->answered;
    bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && x->queued;
    bool complete = (sent || x->past) && done && !x->lost;
    if (!x->seen && code == MHD_REQUEST_TERMINATED_WITH_ERROR && !c->refused)
        c->server->counters.refused_gate++; /* libmicrohttpd did that itself */
    if (complete && x->bodied && !x->requested && !x->past) /* an early answer: the body is still coming */
        http_linger_add(c->server, c->fd);
    http_connection_phase(c, HTTP_IDLE);
    *context = NULL;
    http_exchange_end(x, complete);
    if (c->server->draining)
        shutdown(c->fd, SHUT_RD);
}

/* ---- the way in ---- */

static enum MHD_Result refuse(struct http_exchange *x, unsigned status, const char *code, const char *text)
{
    struct http_connection *c = x->connection;
    http_connection_refuse(c, status, code, text);
    http_linger_add(c->server, c->fd);
    return MHD_NO; /* libmicrohttpd closes, with no answer of its own */
}

static enum MHD_Result refuse_limit(struct http_exchange *x, unsigned status, const char *code, const char *text)
{
    x->server->counters.refused_limit++;
    return refuse(x, status, code, text);
}

/* The answer is made: to libmicrohttpd with it. */
static enum MHD_Result queue(struct http_exchange *x)
{
    struct MHD_Response *response = x->response;
    x->response = NULL;
    x->queued = true;
    http_connection_phase(x->connection, x->streaming ? HTTP_STREAM : HTTP_ANSWER);
    enum MHD_Result result = MHD_queue_response(x->connection->mhd, x->status, response);
    MHD_destroy_response(response);
    return result;
}

/* The header is complete. */
static enum MHD_Result begin(struct http_exchange *x, const char *url, const char *version)
{
    struct http_server *server = x->server;
    struct http_connection *c = x->connection;
    struct http_gate_verdict verdict;
    if (c->refuse_status)
        return refuse_limit(x, c->refuse_status, "too_many_connections", "There are too many connections.");
    if (!http_header_check(x, url, version, &verdict)) {
        server->counters.refused_gate++;
        return refuse(x, verdict.status, verdict.code, verdict.text);
    }
    if (server->draining)
        return refuse_limit(x, 503, "shutting_down", "The server is shutting down.");
    char *query = strchr(x->path, '?');
    if (query)
        *query++ = 0;
    x->query = query ? query : "";
    x->bodied = verdict.chunked || verdict.length;
    x->body_length = verdict.chunked ? -1 : (int64_t) verdict.length;
    x->chunked = !strcmp(version, "HTTP/1.1");
    x->begun = true;
    server->active++;
    server->counters.requests++;
    if (server->options.begin)
        server->options.begin(server->options.arg, x);
    if (x->lost)
        return MHD_NO;
    if (x->bodied && x->answered)
        return queue(x);
    if (!x->paused && verdict.length > x->body_limit)
        return refuse_limit(x, 413, "body_too_large", "The body is larger than this server takes.");
    if (x->bodied) {
        http_connection_phase(c, x->paused ? HTTP_WAITING : HTTP_BODY);
        if (!c->watched) /* libmicrohttpd misses a close that comes together with bytes */
            http_connection_watch(c, false);
    }
    return MHD_YES;
}

static enum MHD_Result add_body(struct http_exchange *x, const char *data, size_t *size)
{
    size_t len = *size;
    if (x->lost)
        return MHD_NO;
    if (x->paused && !x->answered) { /* libmicrohttpd keeps it, and comes again with it */
        http_exchange_suspend(x);
        return MHD_YES;
    }
    *size = 0;
    if (x->answered)
        return MHD_YES; /* nobody will look at it */
    if (x->body_length > 0 && (uint64_t) x->body_length > x->body_limit)
        return refuse_limit(x, 413, "body_too_large", "The body is larger than this server takes.");
    if (len > x->body_limit - x->body_got)
        return refuse_limit(x, 413, "body_too_large", "The body is larger than this server takes.");
    x->body_got += len;
    if (!x->streamed)
        buf_add(&x->body, data, len);
    else if (x->server->options.body)
        x->server->options.body(x->server->options.arg, x, ls_bytes(data, len));
    return x->lost ? MHD_NO : MHD_YES;
}

/* The body is complete; also when libmicrohttpd takes the connection up again. */
static enum MHD_Result serve(struct http_exchange *x)
{
    if (x->lost || x->queued) /* queued: libmicrohttpd did not take the answer, such as a status above 999 */
        return MHD_NO;
    if (x->past && (x->past_done || x->aborted))
        return MHD_NO;
    if (x->past) { /* the rest of the answer is still to come */
        http_exchange_suspend(x);
        return MHD_YES;
    }
    if (!x->requested) {
        x->requested = true;
        if (!x->answered)
            x->server->options.request(x->server->options.arg, x);
    }
    if (x->lost)
        return MHD_NO;
    if (x->answered)
        return queue(x);
    http_connection_phase(x->connection, HTTP_WAITING);
    http_exchange_suspend(x);
    return MHD_YES;
}

enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                                     const char *version, const char *data, size_t *size, void **context)
{
    (void) server;
    (void) mhd;
    struct http_exchange *x = *context;
    if (x->connection->refused)
        return MHD_NO;
    if (!x->seen) {
        x->seen = true;
        x->method = method;
        return begin(x, url, version);
    }
    return *size ? add_body(x, data, size) : serve(x);
}

/* ---- suspending ---- */

void http_exchange_suspend(struct http_exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->connection->mhd);
    if (!x->connection->watched)
        http_connection_watch(x->connection, false);
    if (x->connection->gone)
        http_exchange_lose(x);
}

void http_exchange_resume(struct http_exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    x->server->resumed = true;
    MHD_resume_connection(x->connection->mhd);
}

void http_exchange_lose(struct http_exchange *x)
{
    x->lost = true;
    if (x->past)
        shutdown(x->connection->fd, SHUT_RDWR); /* libmicrohttpd sees that */
    http_exchange_resume(x);
}

/* ---- the request ---- */

const char *http_method(const struct http_exchange *x)
{
    return x->method;
}

const char *http_path(const struct http_exchange *x)
{
    return x->path;
}

const char *http_query(const struct http_exchange *x)
{
    return x->query;
}

struct header_at {
    size_t left;
    const char *name, *value;
};

static enum MHD_Result count_down(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void) kind;
    struct header_at *at = arg;
    at->name = name;
    at->value = value ? value : "";
    return at->left-- ? MHD_YES : MHD_NO;
}

bool http_header_at(const struct http_exchange *x, size_t index, const char **name, const char **value)
{
    struct header_at at = {.left = index};
    if ((size_t) MHD_get_connection_values(x->connection->mhd, MHD_HEADER_KIND, NULL, NULL) <= index)
        return false;
    MHD_get_connection_values(x->connection->mhd, MHD_HEADER_KIND, count_down, &at);
    *name = at.name;
    *value = at.value;
    return true;
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection->mhd, MHD_HEADER_KIND, name);
}

struct ls_slice http_body(const struct http_exchange *x)
{
    return ls_bytes(x->body.data, x->body.len);
}

const char *http_peer(const struct http_exchange *x)
{
    return x->connection->peer;
}

void http_body_limit(struct http_exchange *x, uint64_t bytes)
{
    x->body_limit = bytes;
}

int64_t http_body_length(const struct http_exchange *x)
{
    return x->body_length;
}

void http_body_stream(struct http_exchange *x)
{
    assert(!x->body_got);
    x->streamed = true;
}

/* The body is on its way: its clock may stand or run. */
static bool in_body(const struct http_exchange *x)
{
    enum http_phase phase = x->connection->phase;
    return x->bodied && !x->answered && !x->requested && (phase == HTTP_BODY || phase == HTTP_WAITING);
}

void http_body_pause(struct http_exchange *x)
{
    x->paused = true;
    if (in_body(x))
        http_connection_phase(x->connection, HTTP_WAITING);
}

void http_body_resume(struct http_exchange *x)
{
    if (!x->paused)
        return;
    x->paused = false;
    if (!in_body(x))
        return;
    http_connection_phase(x->connection, HTTP_BODY);
    http_exchange_resume(x);
}

void *http_user(const struct http_exchange *x)
{
    return x->user;
}

void http_set_user(struct http_exchange *x, void *user)
{
    x->user = user;
}

/* ---- the answer ---- */

void http_answer_header(struct http_exchange *x, const char *name, const char *value)
{
    if (!http_gate_name(name, strlen(name)) || !http_gate_value(value, strlen(value)) || !*value) {
        logger_put(LEVEL_WARN, "http-header-bad", "a header of an answer is not valid and was left out", "name=%s", name);
        return;
    }
    buf_add(&x->headers, name, strlen(name) + 1);
    buf_add(&x->headers, value, strlen(value) + 1);
}

static void add_headers(struct http_exchange *x, struct MHD_Response *response)
{
    const char *at = (const char *) x->headers.data, *end = at + x->headers.len;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (MHD_add_response_header(response, at, value) != MHD_YES)
            logger_put(LEVEL_WARN, "http-header-bad", "a header of an answer was refused and left out", "name=%s", at);
        at = value + strlen(value) + 1;
    }
    if (x->server->draining)
        MHD_add_response_header(response, "Connection", "close");
    buf_fini(&x->headers);
}

void http_exchange_take(struct http_exchange *x, unsigned status, struct MHD_Response *response)
{
    assert(!x->answered);
    x->answered = true;
    x->status = status;
    x->bodyless = status == 204 || status == 304 || (x->method && !strcmp(x->method, "HEAD")) || (x->sized && !x->size);
    x->response = response;
    add_headers(x, response);
    if (!x->suspended)
        return; /* libmicrohttpd asks for it */
    if (x->requested)
        queue(x);
    else
        http_connection_phase(x->connection, HTTP_BODY); /* was paused: what is left of it is dropped first */
    http_exchange_resume(x);
}

bool http_within_body(const struct http_exchange *x)
{
    return x->streamed && x->bodied && !x->requested && x->connection->phase != HTTP_HEADER;
}

static void answer(struct http_exchange *x, unsigned status, struct ls_slice body, enum MHD_ResponseMemoryMode mode)
{
    if (http_within_body(x)) {
        http_past_answer(x, status, body);
        return;
    }
    /* libmicrohttpd does not write to it. */
    void *data = (void *) (uintptr_t) body.data;
    struct MHD_Response *response = MHD_create_response_from_buffer(body.len, body.len ? data : NULL, mode);
    if (!response)
        abort(); /* out of memory, as in lib/xmem.h */
    http_exchange_take(x, status, response);
}

void http_answer(struct http_exchange *x, unsigned status, struct ls_slice body)
{
    answer(x, status, body, MHD_RESPMEM_MUST_COPY);
}

void http_answer_file(struct http_exchange *x, unsigned status, int fd, uint64_t offset, uint64_t bytes)
{
    assert(!http_within_body(x));
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(bytes, fd, offset);
    if (!response)
        abort(); /* out of memory, as in lib/xmem.h */
    http_exchange_take(x, status, response);
}

void http_answer_static(struct http_exchange *x, unsigned status, struct ls_slice body)
{
    answer(x, status, body, MHD_RESPMEM_PERSISTENT);
}
