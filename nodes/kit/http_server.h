/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_SERVER_H
#define NODES_KIT_HTTP_SERVER_H
#include "lib/lineshaft.h"

/* An HTTP/1.1 server on libmicrohttpd for a loop that someone else owns: one thread, no callback from anywhere but
 * http_server_run. Answers may come at once or at any later time. Requests pass a gate first (http_gate.h), which refuses
 * what RFC 9112 calls ambiguous, so that no proxy in front can be tricked.
 *
 * What the server answers itself (gate, limits, 408, 413, 431) has a JSON body, {"error":{"message", "type":
 * "invalid_request_error", "param": null, "code"}}, and Connection: close. Codes: bad_request, header_too_large, http_version,
 * expectation_failed, body_too_large, timeout, too_many_connections, shutting_down. Only what libmicrohttpd cannot read as a
 * request, or not store, gets its short HTML instead (400, 414, 431 or 505), with Connection: close, too.
 *
 * Header limit: 12 KiB and 100 lines; in all, the header's bytes, 64 more for each line, parameter and cookie, and the cookies
 * once again must stay within 13 KiB. Beyond: 431 (414 if the request line alone is too long). What libmicrohttpd 0.9.75
 * tolerates and the gate cannot see: extensions and bare LF around the chunks of a body.
 *
 * A client that shuts down its sending side counts as gone while its answer is awaited or streamed: the system tells the two
 * apart no better than that. Clients that do so (nc -N) get answers that come at once, no others. */

struct http_server;
struct http_exchange; /* one request and its answer */

struct http_limits {           /* 0: the default */
    /* A new connection: from its start to the end of its header. Later requests: from the request line to the end of the
     * header, the line itself within idle_ms. 10000 */
    int64_t header_ms;
    int64_t body_ms;           /* for the whole body, 1 KiB of it in every quarter; of an answer: between two
                                * pieces that the client takes; 60000 */
    int64_t idle_ms;           /* a kept-alive connection without a request; 60000 */
    size_t body_bytes;         /* 4 MiB; http_body_limit changes it for one exchange */
    unsigned connections;      /* 10000 */
    unsigned connections_per_peer; /* of one IPv4 address or IPv6 /64; 0: no limit. Above one of the two: 429 or 503 */
    size_t queue_bytes;        /* of one stream, unsent; 1 MiB */
};

/* Callbacks; `arg` is options.arg. Inside them every function below may be called on any exchange but http_server_run and
 * http_server_close. */
struct http_server_options {
    /* "HOST:PORT", "[::1]:PORT"; port 0: a free one. "unix:PATH": a socket for this user alone (mode 0600); one that a dead process left
     * is removed, one that answers is SYSTEM. */
    const char *address;
    struct http_limits limits;
    void *arg;
    /* The header is there and passed the gate; the body is not read yet. Answer here to refuse early (401, 404, 413): the
     * body is then never read. May be NULL. */
    void (*begin)(void *arg, struct http_exchange *x);
    /* A piece of a body that http_body_stream asked for. It is gone when this returns. May be NULL. */
    void (*body)(void *arg, struct http_exchange *x, struct ls_slice bytes);
    /* Header and body are there. Answer now or later. */
    void (*request)(void *arg, struct http_exchange *x);
    /* The exchange is over, answered (`complete`) or cut (the client went away, or a limit was hit); *x dies with this call.
     * Called exactly once for every exchange of which begin (or request, if begin is NULL) was called. A client that goes
     * away is noticed at once, also while nothing is being sent. With begin NULL it may come without request: the body did
     * not arrive. A stream that answers HEAD is complete when its header is sent. */
    void (*end)(void *arg, struct http_exchange *x, bool complete);
    /* A stream's queue, which a http_stream_write had left filled, became empty. (What the socket takes at once never queues,
     * and nobody is told.) May be NULL. */
    void (*drained)(void *arg, struct http_exchange *x);
};

/* http_server_open listens. NULL with SYSTEM and a sentence (address taken, not allowed, not an address). */
struct http_server *http_server_open(const struct http_server_options *options, struct ls_error *err);
/* The address it listens on, with the real port: "127.0.0.1:7480". Lives as long as the server. */
const char *http_server_address(const struct http_server *server);
/* One descriptor to poll for reading (an epoll that holds everything); http_server_due: when to call http_server_run at the
 * latest, CLOCK_MONOTONIC ms, INT64_MAX: not before the descriptor is ready. http_server_run does what there is to do and
 * never blocks; call it whenever either says so, and after answering anything outside a callback. */
int http_server_fd(const struct http_server *server);
int64_t http_server_due(struct http_server *server);
void http_server_run(struct http_server *server);
/* http_server_drain: no further connections and no further requests on open ones (Connection: close is sent, a request that
 * comes all the same gets 503). Exchanges under way go on. http_server_active counts them. */
void http_server_drain(struct http_server *server);
size_t http_server_active(const struct http_server *server);
/* http_server_close cuts what is open (end is called with complete false), frees and NULLs. */
void http_server_close(struct http_server **server);

struct http_server_counters {
    /* requests: that passed the gate; cut: the client left before the end of the answer. */
    uint64_t accepted, requests, refused_gate, refused_limit, timed_out, cut;
    uint64_t connections; /* now */
};
void http_server_counters(const struct http_server *server, struct http_server_counters *counters);

/* ---- the request; what is returned lives as long as the exchange ---- */
const char *http_method(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);   /* as sent, percent-encoded, without the query: "/v1/models/a%2Fb" */
const char *http_query(const struct http_exchange *x);  /* as sent, behind "?"; "" if there is none */
const char *http_header(const struct http_exchange *x, const char *name); /* first value, name in any case; NULL: absent */
struct ls_slice http_body(const struct http_exchange *x);
const char *http_peer(const struct http_exchange *x);   /* address of the client without port */
void http_body_limit(struct http_exchange *x, uint64_t bytes); /* in begin, or while the body is paused from there on */
/* http_header_at: all of them one by one, in order; false behind the last. */
bool http_header_at(const struct http_exchange *x, size_t index, const char **name, const char **value);
/* http_body_stream (in begin, or while the body is paused from there on): the body is not gathered, its pieces go to `body` as they
 * come; http_body stays empty, the limit holds for their sum, `request` comes behind the last. In each body_ms 1 KiB must come; the clock
 * stands while paused. An answer between begin and request is sent at once, the rest of the body unread, the connection closed; `end`
 * comes when the client has taken it, or after two seconds.
 * http_body_pause: no more pieces until http_body_resume; the client is held back by TCP. */
void http_body_stream(struct http_exchange *x);
void http_body_pause(struct http_exchange *x);
void http_body_resume(struct http_exchange *x);
int64_t http_body_length(const struct http_exchange *x); /* Content-Length; -1: not given (chunked), 0: no body */
void *http_user(const struct http_exchange *x);          /* the caller's; NULL at first */
void http_set_user(struct http_exchange *x, void *user);

/* http_query_get writes the decoded value of the first parameter `name` into value (NUL-terminated); false if it is absent,
 * malformed, too long or holds a NUL. */
bool http_query_get(const struct http_exchange *x, const char *name, char *value, size_t size);
/* http_unescape decodes percent-escapes of [text, text + len) into out (NUL-terminated): false if malformed, too long or with
 * a NUL. `plus`: + is a space, as in queries. */
bool http_unescape(const char *text, size_t len, bool plus, char *out, size_t size);

/* ---- the answer: headers first, then either a whole body or a stream ---- */

/* http_answer_header adds a header to the answer to come. Names and values must be valid (no CR, LF, NUL): others are
 * dropped and logged. */
void http_answer_header(struct http_exchange *x, const char *name, const char *value);
/* http_answer sends a whole answer; the body is copied. http_answer_static does not copy: the bytes must outlive the server.
 * Answering twice is a bug (assert). HEAD gets the headers only. Content-Length and Date are set by the server. An answer in
 * begin to a request with a body closes the connection after it, the body unread; an answer between begin and request is
 * sent when the body has arrived. An answer to an exchange whose client is gone is ignored. */
void http_answer(struct http_exchange *x, unsigned status, struct ls_slice body);
void http_answer_static(struct http_exchange *x, unsigned status, struct ls_slice body);
/* A stream: chunked. Each http_stream_write becomes one chunk or a part of a larger one, in order, sent at once (TCP_NODELAY).
 * false: it was not queued, as the queue would exceed limits.queue_bytes or the exchange is over. http_stream_end ends it
 * properly; http_stream_abort cuts the connection (also of an exchange that is not answered yet). HTTP/1.0: no chunks, the end is
 * the connection's. HEAD: what is written is dropped. */
void http_stream_begin(struct http_exchange *x, unsigned status);
bool http_stream_write(struct http_exchange *x, struct ls_slice bytes);
/* As http_stream_begin with Content-Length in place of chunks. Fewer bytes by http_stream_end cut the connection; more are a bug. With 0
 * bytes it is complete when the header is sent. */
void http_stream_begin_sized(struct http_exchange *x, unsigned status, uint64_t bytes);
/* A part of a file, sent by the kernel. The descriptor is taken over and closed. Not while a streamed body is still coming. */
void http_answer_file(struct http_exchange *x, unsigned status, int fd, uint64_t offset, uint64_t bytes);
void http_stream_end(struct http_exchange *x);
void http_stream_abort(struct http_exchange *x);
size_t http_stream_queued(const struct http_exchange *x); /* bytes */

#endif
