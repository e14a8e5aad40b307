/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_SERVER_PRIVATE_H
#define NODES_KIT_HTTP_SERVER_PRIVATE_H
#include <microhttpd.h>
#include <netinet/in.h>

#include "lib/buf.h"
#include "lib/heap.h"
#include "lib/map.h"
#include "nodes/kit/http_gate.h"
#include "nodes/kit/http_server.h"

/* What the files of the HTTP server share. http_server.c: sockets and loop; http_server_connection.c: deadlines, limits,
 * refusals; http_server_header.c: judging headers; http_server_exchange.c: requests and answers; http_server_stream.c:
 * streams; http_server_past.c: answers within a body; http_server_text.c: percent-escapes; http_listen.c: addresses. */

/* Of libmicrohttpd, for each connection: the received header, HTTP_POOL_RECORD for each header, parameter and cookie, a copy of
 * the cookies, and the header of the answer must all fit. An idle stream costs 14 to 17 KB with this (5 with 4 KiB, where a
 * browser's cookies would not fit; 22 to 33 with libmicrohttpd's default of 32 KiB). */
#define HTTP_POOL_BYTES 16384
#define HTTP_POOL_RECORD 64
#define HTTP_POOL_ANSWER 3072 /* kept for the answer's header */

/* What our epoll holds besides libmicrohttpd's own; begins each of the structures below. */
struct http_watch {
    enum { HTTP_WATCH_CONNECTION, HTTP_WATCH_LINGER } what;
    struct timer timer;
};

/* What a connection is doing decides its deadline. */
enum http_phase {
    HTTP_IDLE,    /* no request has begun; a new one: header_ms, a kept-alive one: idle_ms */
    HTTP_HEADER,  /* the request line is there: header_ms */
    HTTP_BODY,    /* body_ms in all, and some progress in every quarter of it; streamed: some progress in each body_ms */
    HTTP_WAITING, /* for the caller's answer, or for it to take more of a body: none */
    HTTP_ANSWER,  /* a whole answer is on its way: the client must take something every body_ms */
    HTTP_STREAM,  /* none */
    HTTP_CLOSING, /* answered within its body: what the client still sends is read for LINGER_MS and dropped */
};

struct http_connection {
    struct http_watch watch;
    struct http_server *server;
    struct MHD_Connection *mhd;
    struct http_connection *next, **link;
    struct http_exchange *x; /* from the request line on; NULL between requests */
    int64_t deadline_ms;     /* INT64_MAX: none; the timer may be set earlier and is then set again */
    int64_t body_end_ms;
    uint64_t mark;           /* progress at the last look: bytes of the body, or bytes that the client acknowledged */
    int fd;                  /* libmicrohttpd's */
    enum http_phase phase;
    unsigned refuse_status;  /* too many connections: what its request will be answered with; 0: welcome */
    bool used;               /* it had a request already */
    bool watched;            /* in our epoll */
    bool gone;               /* the client closed, or shut down its sending side */
    bool refused;            /* answered past libmicrohttpd, which must close now */
    bool local;              /* a unix socket */
    uint64_t peer_key;
    char peer[INET6_ADDRSTRLEN];
};

struct http_exchange {
    struct http_server *server;
    struct http_connection *connection;
    const char *method;
    const char *query;
    void *user;
    struct buf body;
    uint64_t body_limit, body_got;
    int64_t body_length;           /* announced; -1: not */
    struct buf headers;            /* of the answer: name NUL value NUL ... */
    struct MHD_Response *response; /* made, not yet given to libmicrohttpd */
    unsigned status;
    bool seen;      /* the header passed through on_access */
    bool begun;     /* the caller knows of it */
    bool bodied;    /* a body was announced */
    bool streamed;  /* the body goes to the caller piece by piece */
    bool paused;    /* no pieces, please */
    bool requested; /* `request` was called */
    bool answered;  /* by the caller, whole or as a stream */
    bool queued;    /* libmicrohttpd has the response */
    bool suspended;
    bool lost;      /* the client went away, or a limit was hit */
    bool past;      /* answered within its body, and so past libmicrohttpd, which would not take the answer */
    bool past_done; /* that answer is out */
    /* Streams. */
    bool streaming, chunked;
    bool sized;     /* with Content-Length: libmicrohttpd takes the bytes from our queue */
    uint64_t size, written;
    bool bodyless;  /* HEAD, 204, 304: only the header is sent */
    bool direct;    /* the header is out: from here on we write to the socket ourselves */
    bool ending, aborted;
    bool backlog;   /* the caller waits for `drained` */
    struct buf queue;
    size_t sent;    /* of the queue */
    char path[];
};

struct http_server {
    struct MHD_Daemon *mhd;
    struct http_server_options options;
    struct http_limits limits; /* with the defaults filled in */
    int epoll, mhd_epoll;
    bool resumed;              /* libmicrohttpd must run though no descriptor says so */
    bool draining, closing;
    size_t active;
    struct heap timers;
    struct http_connection *connections;
    struct http_linger *lingering;
    const char *unix_path;     /* to be removed when we listen no more; a part of `address`, NULL: TCP */
    unsigned lingering_count, watched_count; /* the latter: sockets in our epoll besides libmicrohttpd's */
    struct map peers;          /* key of an address -> number of its connections */
    struct http_server_counters counters;
    char address[128];
};

/* http_server.c: fires for every timer in server->timers, each of which is a struct http_watch's. */
void http_server_timer(void *server, struct timer *timer);

/* http_server_connection.c */
void http_connection_open(struct http_server *server, struct MHD_Connection *mhd, void **context);
void http_connection_close(struct http_connection *c);
void http_connection_phase(struct http_connection *c, enum http_phase phase);
void http_connection_expire(struct http_connection *c, int64_t now_ms);
/* http_connection_check_gone closes the connection of a client that has left when all it sent is read. */
void http_connection_check_gone(struct http_connection *c);
/* http_connection_watch has us told when the client goes away and, with `out`, when the socket takes bytes again. */
void http_connection_watch(struct http_connection *c, bool out);
/* http_connection_refuse answers past libmicrohttpd with a JSON error and Connection: close. The caller has libmicrohttpd
 * close the connection. */
void http_connection_refuse(struct http_connection *c, unsigned status, const char *code, const char *text);

/* A closed connection whose client may still be sending: we read on for a while, as closing at once would make the system reset
 * the connection and the client lose the answer. */
void http_linger_add(struct http_server *server, int fd);
void http_linger_read(struct http_watch *watch);
void http_linger_end(struct http_watch *watch);
void http_linger_end_all(struct http_server *server);

/* http_server_header.c: judges the header of x, whose target is still whole in x->path. */
bool http_header_check(struct http_exchange *x, const char *url, const char *version, struct http_gate_verdict *verdict);

/* http_server_exchange.c: the callbacks for libmicrohttpd. */
void *http_exchange_uri(void *server, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                                     const char *version, const char *data, size_t *size, void **context);
void http_exchange_completed(void *server, struct MHD_Connection *mhd, void **context,
                             enum MHD_RequestTerminationCode code);
void http_exchange_end(struct http_exchange *x, bool complete);
void http_exchange_suspend(struct http_exchange *x);
void http_exchange_resume(struct http_exchange *x);
/* http_exchange_lose: the client is gone; `end` follows from libmicrohttpd. */
void http_exchange_lose(struct http_exchange *x);
/* http_within_body: the header was read, of a streamed body something is still to come: libmicrohttpd takes an answer before
 * that and behind it, but not now. */
bool http_within_body(const struct http_exchange *x);
/* http_exchange_take gives a finished response to libmicrohttpd, now or when it asks. */
void http_exchange_take(struct http_exchange *x, unsigned status, struct MHD_Response *response);

/* http_server_stream.c */
void http_stream_flush(struct http_exchange *x);

/* http_server_past.c: answers within a body, which we write to the socket ourselves. http_past_begin puts the header into the
 * queue, http_past_sent is called when the queue is out. */
void http_past_begin(struct http_exchange *x, unsigned status);
void http_past_answer(struct http_exchange *x, unsigned status, struct ls_slice body);
void http_past_sent(struct http_exchange *x);
/* "Tue, 15 Nov 1994 08:12:31 GMT" */
void http_date(char *text, size_t size);

/* http_listen.c: the descriptor, the real address; -1 with SYSTEM. */
int http_listen(const char *address, char *real, size_t size, struct ls_error *err);

#endif
