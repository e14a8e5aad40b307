/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_CLIENT_PRIVATE_H
#define NODES_KIT_HTTP_CLIENT_PRIVATE_H
#include <curl/curl.h>

#include <sys/queue.h>

#include "lib/heap.h"
#include "nodes/kit/http_client.h"

enum phase { PHASE_CONNECT, PHASE_UPLOAD, PHASE_FIRST_BYTE, PHASE_BODY };

struct http_call {
    LIST_ENTRY(http_call) link, woken_link;
    struct http_client *client;
    struct http_call_options on; /* its pointers to text are not used after the start */
    CURL *easy;
    struct curl_slist *headers;
    enum phase phase;
    struct timer phase_timer, total_timer;
    int64_t moved_ms; /* the last piece of a body */
    int64_t left;     /* of the request's body, unread; -1: not known */
    unsigned status;  /* 0: the header is not complete */
    size_t header_bytes;
    bool added;       /* curl has it */
    bool dead;        /* cancelled while curl was running: freed as soon as curl has returned */
    bool stopped;     /* by `data` or `read` */
    bool ending;      /* `end` is running */
    bool paused;      /* by its caller: curl is told when it brings the next piece */
    bool waiting;     /* for `read` to have something */
    bool early;       /* the answer began before the body was read: no more of it is */
    bool watched;     /* curl has its socket watched */
    bool finishing;   /* curl is told that the body ends here, as it alone knows whether all of the answer is here */
    bool woken;       /* among the client's woken ones: http_client_run looks whether it is stuck, and ... */
    bool resumed;     /* ... curl goes on with it */
    int64_t received; /* of the answer's body */
    char text[CURL_ERROR_SIZE];
};

struct http_client {
    CURLM *multi;
    int epoll_fd;
    int64_t curl_due_ms;
    struct heap timers;
    LIST_HEAD(, http_call) calls; /* curl has them */
    LIST_HEAD(, http_call) later; /* begun or cancelled while curl was running */
    LIST_HEAD(, http_call) woken; /* for http_client_run, as what is done with them calls back */
    bool in_curl;                 /* curl must not be called for adding and removing now */
};

/* http_client_call.c, for http_client.c; all but http_call_describe only outside curl.
 * http_call_hand_over: from `later` to curl; -1 with SYSTEM. http_call_describe: *err says why the call failed, by its state and curl's
 * code. http_call_end calls `end` (err NULL: all is well) and frees the call; http_call_free does that alone.
 * http_call_look, also within curl: the client looks at it in its next turn. */
int http_call_hand_over(struct http_call *call, struct ls_error *err);
void http_call_describe(const struct http_call *call, CURLcode code, struct ls_error *err);
void http_call_end(struct http_call *call, const struct ls_error *err);
void http_call_look(struct http_call *call);
void http_call_free(struct http_call *call);

/* http_client_options.c, for http_client.c. http_options_url: false with BAD_VALUE if it is no http or https URL.
 * http_options_headers: the caller's, and without those that curl would add of itself; *headers is the caller's also on failure (-1).
 * http_options_target: the method with its body unless that comes by `read`, and the exact path. */
bool http_options_url(const char *url, struct ls_error *err);
int http_options_headers(const struct http_call_options *o, struct curl_slist **headers, struct ls_error *err);
bool http_options_target(const struct http_call_options *o, CURL *easy);

#endif
