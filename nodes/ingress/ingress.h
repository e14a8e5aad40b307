/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_INGRESS_H
#define NODES_INGRESS_INGRESS_H
#include <jansson.h>
#include <sys/queue.h>

#include "lib/buf.h"
#include "lib/map.h"
#include "lib/node.h"
#include "nodes/ingress/options.h"
#include "nodes/kit/http_server.h"

/* A histogram as Prometheus has them: how many values are at or below each of HISTOGRAM_BOUNDS (metrics.c), and above all of them. */
#define HISTOGRAM_SIZE 14
struct histogram {
    uint64_t counts[HISTOGRAM_SIZE + 1]; /* not cumulated; the last: beyond the bounds */
    double sum;
};

/* The inside of the ingress. One struct, one thread. The way of a request: ingress.c (server callbacks) finds its row in the
 * route table (routes.c), has the caller checked (access.c) and calls the row's handler, which is in the file named after
 * what it serves. A handler that answers later hangs a struct of its own on the exchange (visit.work). */

struct ingress {
    struct node *node;
    const struct ingress_options *options;
    struct http_server *server;
    struct directory *directory;   /* directory.c: models and routes that nodes offer */
    struct feeds *feeds;           /* feed.c */
    struct overview *overview;     /* overview.c: the state of bus and processes */
    struct histogram first_token, chat_duration; /* metrics.c; in seconds */
    LIST_HEAD(, turn) turns;       /* chat.c */
    LIST_HEAD(, inquiry) inquiries; /* request.c */
    LIST_HEAD(, relay) relays;     /* relay.c */
    LIST_HEAD(, proxy) proxies;    /* proxy.c */
    struct http_client *doors;     /* to the nodes whose routes carry bytes */
    TAILQ_HEAD(, publication) publications; /* publish.c; in the order in which they came */
    struct buf scratch;            /* one answer or chunk being written */
    bool connected, closing;
};

/* A backstop: what waits for a slow client is held back long before, by credit and by leaving feeds, but for one record. */
#define STREAM_QUEUE_MAX (64u << 20)

/* What is known of an exchange from its first callback on. */
struct visit {
    struct ingress *ingress;
    struct http_exchange *x;
    const struct route *route;     /* NULL: not one of ours */
    char request_id[129];
    const char *principal;         /* name of the caller's key; "" when there are no keys */
    char params[2][512];           /* {name} of the path, decoded, in order */
    bool openai;                   /* errors in the form of the OpenAI API */
    /* What answers later: `gone` is called when the exchange ends before `work` has been cleared by it. */
    void *work;
    void (*gone)(void *work);
    void (*drained)(void *work);   /* the stream's queue became empty; may be NULL */
};

/* ---- routes.c: the one table, from which dispatch, /openapi.json and /docs come ---- */

#define ROUTE_OPEN 1u   /* needs no key */

struct route {
    const char *method, *path;  /* path with {name} segments */
    void (*handle)(struct visit *v);
    unsigned flags;
    const char *tag, *summary;
    const char *body, *answer;  /* names of schemas in openapi.c; NULL: none */
    const char *parameters;     /* "topic! name=what it is; ..." of the query: openapi.c; NULL: none */
};
extern const struct route ROUTES[]; /* ends with method NULL */

/* route_find: the row, its params filled; NULL with *status 404 or 405, and for 405 *allow. */
const struct route *route_find(struct visit *v, unsigned *status, const char **allow);
/* route_match: the path fits the pattern ("/a/{b}/c/{rest...}"); up to two parameters, of less than 512 bytes, are decoded. params NULL:
 * they are not wanted, and may be of any length. */
bool route_match(const char *pattern, const char *path, char params[2][512]);

/* ---- access.c: who may ask ---- */

/* access_check answers the exchange itself (401, 403, or a preflight) and returns false when the request ends here. */
bool access_check(struct visit *v);

/* ---- answer.c: answers of all kinds ---- */

/* answer_json adds a newline to the text, for those who read it in a terminal. */
void answer_json(struct visit *v, unsigned status, struct buf *json);

struct problem {
    unsigned status;
    const char *type;   /* of the OpenAI API; NULL: by status */
    const char *code;   /* NULL: none */
    const char *param;  /* JSON path such as messages[2].content; NULL: none */
    bool dont_retry;    /* x-should-retry: false, for what failed after tokens were spent */
    int retry_ms;       /* 0: none */
};
/* answer_problem sends the error body of the route's form: {"error": {...}} under /v1, FastAPI's {"detail": [...]} else. */
void answer_problem(struct visit *v, const struct problem *problem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* answer_bus_error: a failure on the bus as an HTTP status. */
void answer_bus_error(struct visit *v, const struct ls_error *err);
/* answer_no_bus: 503, as there is no connection to the broker. */
void answer_no_bus(struct visit *v);
unsigned bus_error_status(const struct ls_error *err);
/* problem_json appends {"error":{...}} alone, for a stream that has begun. */
void problem_json(struct buf *out, const struct problem *problem, const char *text);
/* body_json reads the request's body as a JSON object or array, strictly: UTF-8, no duplicate keys, at most 64 deep. NULL
 * after it has answered 400 or 422. */
json_t *body_json(struct visit *v);
/* pack_data appends a value as the body of an event: an object or array as compact JSON text, a scalar as msgpack. */
void pack_data(struct buf *body, const json_t *data);

/* ---- handlers ---- */

void handle_health(struct visit *v);  /* health.c */
void handle_ready(struct visit *v);
void handle_metrics(struct visit *v); /* metrics.c */
void handle_openapi(struct visit *v); /* openapi.c */
void handle_page(struct visit *v);    /* page.c */
void handle_models(struct visit *v);  /* models.c */
void handle_model(struct visit *v);
void handle_chat(struct visit *v);    /* chat.c */
void handle_completion(struct visit *v);
void handle_elsewhere(struct visit *v);
void handle_publish(struct visit *v); /* publish.c */
void handle_feed(struct visit *v);    /* feed.c */
void handle_console(struct visit *v);
void handle_request(struct visit *v); /* request.c */
/* relay_find: a node declared such a route, or may have a moment ago. relay_start sends the request to it, or answers. relay.c */
bool relay_find(struct visit *v);
void relay_start(struct visit *v);
/* answer_no_route: 404, and where to look; 503 when the node that had the route is away. */
void answer_no_route(struct visit *v);

struct offered_route;
/* proxy_take (in begin): true if the exchange is passed through to a node's door, or waits to learn whether it is; what follows goes to
 * proxy_body and proxy_body_end for as long as the visit has `work`. It may give the exchange back, which clears `work`: then it is
 * relay_start's, with the body. proxy_start: as proxy_take when the route is known; of a request without a body. proxy.c */
bool proxy_take(struct visit *v);
void proxy_start(struct visit *v, const struct offered_route *route);
void proxy_body(struct visit *v, struct ls_slice bytes);
void proxy_body_end(struct visit *v);

/* ---- directory.c: what the nodes on the bus offer, as the broker knows it ---- */

struct model {
    char *id, *owned_by, *version, *kind;
    int64_t created, context_length;
    char *topic; /* the request topic of a service that names it */
};
struct offered_route {
    char *method, *path, *topic, *summary, *client;
    bool bytes; /* goes to the client's door, not over the bus */
};

void directory_open(struct ingress *in);
void directory_connected(struct ingress *in); /* asks the broker anew */
void directory_lost(struct ingress *in);      /* those who wait are told at once */
void directory_close(struct ingress *in);
bool directory_known(const struct ingress *in); /* an answer has come since the session began */
/* Some worker of chat turns has no model yet: why, as it says, or "". NULL: there is none such. */
const char *directory_unready(const struct ingress *in);
const struct model *directory_model(const struct ingress *in, const char *id); /* NULL: none */
const struct model *directory_models(const struct ingress *in, size_t *count);
const struct offered_route *directory_routes(const struct ingress *in, size_t *count);
const struct offered_route *directory_route(const struct ingress *in, const char *method, const char *path);
/* directory_absent: a route of a node that was here since this ingress began, and is not connected now. NULL: none such. */
const struct offered_route *directory_absent(const struct ingress *in, const char *method, const char *path);
/* directory_door: where the HTTP server of the client's worker is, "unix:/PATH" or "http://HOST:PORT"; NULL: it has not said. */
const char *directory_door(const struct ingress *in, const char *client);
struct directory_wait {
    LIST_ENTRY(directory_wait) link;
    void (*fn)(void *arg);
    void *arg;
};
/* directory_refresh asks the broker once more and calls wait->fn when the answer is there: for a model or route that may just
 * have come. All who wait share a question. false: there is no connection. */
bool directory_refresh(struct ingress *in, struct directory_wait *wait);
void directory_forget(struct directory_wait *wait);

/* ---- feed.c, metrics.c and others ---- */

void feeds_open(struct ingress *in);
void feeds_connected(struct ingress *in);
void feeds_drain(struct ingress *in);
void feeds_refused(struct ingress *in, uint32_t subscription, const struct ls_error *err);
void feeds_close(struct ingress *in);
void feeds_tick(struct ingress *in);
/* Consoles are feeds that also carry what overview.c knows. feeds_tell_state writes its record to each that has taken the one before
 * (only the newest is worth reading), feeds_tell_away that the bus is away. */
bool feeds_watching(const struct ingress *in);
void feeds_tell_state(struct ingress *in, struct ls_slice record);
void feeds_tell_away(struct ingress *in);
void metrics_count(struct ingress *in); /* the server's counters into the node's metrics */
void histogram_add(struct histogram *h, double seconds);

/* ---- overview.c; more in overview.h ---- */

void overview_open(struct ingress *in);
void overview_connected(struct ingress *in);
void overview_lost(struct ingress *in);
void overview_close(struct ingress *in);
/* overview_watch: a console has come; feeds_tell_state follows at once and then every second while feeds_watching. The last record if it
 * is that fresh, else empty. Until the next turn. */
struct ls_slice overview_watch(struct ingress *in);

void turns_stop(struct ingress *in); /* chat.c: tells those who still wait that the server stops */
void turns_close(struct ingress *in);
void inquiries_close(struct ingress *in); /* request.c */
void relays_close(struct ingress *in); /* relay.c */
void proxies_close(struct ingress *in); /* proxy.c */
void publications_tick(struct ingress *in); /* publish.c */
void publications_close(struct ingress *in);

/* ---- trace.c: W3C Trace Context ---- */

#define TRACEPARENT_SIZE 56
/* trace_begin writes a traceparent with a new span: in the caller's trace if its header is well-formed, else a new one. */
void trace_begin(const char *header, char out[TRACEPARENT_SIZE]);
/* trace_given: the header if it is well-formed, else NULL. */
const char *trace_given(const char *header);
/* trace_child: the same trace, a new span. */
void trace_child(const char *parent, char out[TRACEPARENT_SIZE]);

#endif
