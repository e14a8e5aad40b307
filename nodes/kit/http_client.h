/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_CLIENT_H
#define NODES_KIT_HTTP_CLIENT_H
#include "lib/lineshaft.h"

/* An HTTP client on libcurl's multi interface for a loop that someone else owns: hundreds of calls at once in one thread.
 * Follows no redirects, speaks only http and https, sends Expect only where asked to, keeps connections for reuse. Bodies of any size
 * can go up and come down in pieces, with each side held back by the other. */

struct http_client;
struct http_call;

#define HTTP_CALL_WAIT ((size_t) -1)
#define HTTP_CALL_ABORT ((size_t) -2)

struct http_call_options {
    const char *method;          /* "GET", "POST" ... */
    const char *url;
    const char *const *headers;  /* "Name: value", NULL-terminated; may be NULL */
    struct ls_slice body;        /* copied */
    /* Or a body by pieces (then `body` is not looked at): `read` fills up to `size` bytes and returns how many; 0: that was the end;
     * HTTP_CALL_WAIT: none now, http_call_resume says when; HTTP_CALL_ABORT: the call ends with CANCELLED. The same bytes may be wanted
     * again, when a kept connection turns out to be dead: `rewind` sets the reader back to the start (false, or NULL: the call ends
     * with CUT). Without `rewind` the call gets a new connection. The clock stall_ms runs from piece to piece, but not while `read` has
     * none; first_byte_ms from the end of the body. An answer of 400 and above ends the reading. */
    size_t (*read)(void *arg, struct http_call *call, char *out, size_t size);
    bool (*rewind)(void *arg, struct http_call *call);
    int64_t body_bytes;          /* with read: Content-Length; -1: not known, chunked */
    bool expect;                 /* with read: Expect: 100-continue, so that a refusal costs no upload */
    bool exact_path;             /* the path goes out as it stands, ".." and all */
    /* Phases, ms, 0: the default. */
    int64_t connect_ms;          /* until connected, TLS included; 5000 */
    int64_t first_byte_ms;       /* from there to the first byte of the answer's body; 120000 */
    int64_t stall_ms;            /* between two pieces of the body; 60000 */
    int64_t total_ms;            /* in all; none */
    const char *unix_socket;     /* path; NULL: TCP */
    const char *ca_file;         /* PEM; NULL: the system's */
    void *arg;
    /* The status and header are there; header values by http_call_header while this and the others run. May be NULL. */
    void (*headers_done)(void *arg, struct http_call *call, unsigned status);
    /* Bytes of the body, in order. May be NULL. Return false to end the call (then `end` comes with CANCELLED). */
    bool (*data)(void *arg, struct http_call *call, struct ls_slice bytes);
    /* The call is over and *call dies. err NULL: the answer is whole. Names: UNREACHABLE (no connection), TIMEOUT (text
     * tells the phase), CUT (the peer closed before the end), CANCELLED, PROTOCOL, SYSTEM. Exactly once, but never for a
     * call ended by http_call_cancel. */
    void (*end)(void *arg, struct http_call *call, unsigned status, const struct ls_error *err);
};

struct http_client *http_client_open(struct ls_error *err);
/* One descriptor to poll for reading; when to call http_client_run at the latest (CLOCK_MONOTONIC ms, INT64_MAX: never).
 * Callbacks run inside http_client_run only. */
int http_client_fd(const struct http_client *client);
int64_t http_client_due(const struct http_client *client);
void http_client_run(struct http_client *client);
void http_client_close(struct http_client **client); /* cancels what is open */

/* http_call_pause: no more `data` until http_call_resume, and the peer is held back by TCP; stall_ms does not run meanwhile. One
 * piece in hand may still come. http_call_resume also wakes `read` after HTTP_CALL_WAIT. Both may be called in callbacks and outside;
 * harmless when there is nothing to do. */
void http_call_pause(struct http_call *call);
void http_call_resume(struct http_call *call);

/* http_call_start: NULL with SYSTEM or BAD_VALUE (an URL that is none). http_call_cancel closes the connection to the peer at
 * once (that is how it learns), frees and NULLs; no further callback. It may be called inside callbacks of any call. */
struct http_call *http_call_start(struct http_client *client, const struct http_call_options *options, struct ls_error *err);
void http_call_cancel(struct http_call **call);
const char *http_call_header(const struct http_call *call, const char *name); /* of the answer; NULL: absent */
/* http_call_header_at: the headers of the answer one by one, in order; false behind the last. */
bool http_call_header_at(const struct http_call *call, size_t index, const char **name, const char **value);

#endif
