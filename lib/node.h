/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_NODE_H
#define LIB_NODE_H
#include <jansson.h>
#include <sys/epoll.h>

#include "lib/buf.h"
#include "lib/heap.h"
#include "lib/kind.h"

/* The node runner: what every node of the bus does besides its work. It owns connection, HELLO with routes, signs of life
 * (in a thread of their own, so that a slow callback never looks dead), the consumer and the service, acknowledgement and
 * retry, metrics, signals, logs, and one loop in which all callbacks run. A kind is a struct node_code: it gets calls, never
 * two at a time, never nested, all from one thread.
 *
 * A node is started with its whole configuration in the environment, as docs/nodes/exec.md says: LINESHAFT_URL,
 * LINESHAFT_NODE, LINESHAFT_MEMBER, LINESHAFT_CONSUMER, LINESHAFT_OPTIONS, LINESHAFT_DRAIN_MS (8000); and LINESHAFT_HB_MS (5000),
 * the promise of signs of life. */

struct node;

struct node_code {
    const struct kind *kind;
    size_t size; /* of the instance state; the runner allocates it zeroed and passes it as `self`. 0: there is none, and
                  * `self` is the struct node */

    /* Before the loop runs; the bus need not be there yet. May block (a database, a model file). `options` live as long as
     * the node. On failure (-1, *err) the node logs it and exits 1; close is called either way, so leave a state that
     * close can take. May be NULL. */
    int (*open)(void *self, struct node *node, const void *options, struct ls_error *err);

    /* An event that the node takes. LS_DONE acknowledges; LS_RETRY comes again later (err->retry_ms, or the back-off);
     * LS_REJECT makes it a dead letter with err->text; LS_PENDING: settled later by node_settle with event->subscription
     * and event->seq. The event is borrowed. NULL: takes nothing. */
    enum ls_verdict (*event)(void *self, const struct ls_event *event, struct ls_error *err);

    /* A request that the node serves. LS_PENDING: answered later, or being answered, with ls_reply and ls_reply_error
     * (call->credit tells how many parts may be sent now). LS_DONE: it was answered to its end within this call. LS_RETRY
     * and LS_REJECT: the runner answers with *err (`again` true or false). call->user is the kind's. NULL: serves
     * nothing. */
    enum ls_verdict (*request)(void *self, struct ls_call *call, const struct ls_event *request, struct ls_error *err);
    /* Nobody waits for this call any more: stop the work; the call is dead when this returns. Reasons as in struct
     * ls_service. May be NULL. */
    void (*cancelled)(void *self, struct ls_call *call, const char *reason);
    /* Credit came back after it was used up. May be NULL. */
    void (*credit)(void *self, struct ls_call *call);

    /* The session stands (again), or was lost (`err` says why, NULL when it stands). May be NULL. */
    void (*connected)(void *self, const struct ls_error *err);
    /* A subscription that the kind made by itself (node_client) was refused by the broker, and is over. NULL: the node ends,
     * as it always does when the consumer or the service of the topology is refused. */
    void (*refused)(void *self, uint32_t subscription, const struct ls_error *err);

    /* Called in each turn of the loop, after descriptors, bus and timers; returns when it wants to be called again at the
     * latest (CLOCK_MONOTONIC ms; INT64_MAX: whenever something else happens). May be NULL. */
    int64_t (*tick)(void *self, int64_t now_ms);

    /* SIGTERM or SIGINT came: no new work arrives from now on (the runner refuses requests and gives back events that crossed
     * its word). The runner then goes on turning until `busy` says 0 and
     * nothing of its own is open (calls, pending events, unacknowledged publishes), at most LINESHAFT_DRAIN_MS (default
     * 8000), then closes. Both may be NULL. */
    void (*drain)(void *self);
    size_t (*busy)(void *self);

    /* Frees what open made. Calls that are still open were cancelled ("gone") before. What is published here is given to the
     * broker, but its answer is not waited for; no callback comes after this one. May be NULL. */
    void (*close)(void *self);
};

/* node_run runs a node until it is told to stop; returns the process's exit status. Blocks. */
int node_run(const struct node_code *code);

/* ---- for callbacks ---- */

struct ls_client *node_client(struct node *node); /* for ls_publish, ls_request, ls_subscribe ...; never step or close it */
const char *node_name(const struct node *node);   /* as in the topology */
const char *node_member(const struct node *node); /* this replica: NAME or NAME.N */
const void *node_kind_options(const struct node *node); /* the kind's options struct, as open gets it */
bool node_draining(const struct node *node);
int64_t node_drain_ms(const struct node *node); /* LINESHAFT_DRAIN_MS */

/* node_settle settles an event left LS_PENDING: `verdict` LS_DONE, LS_RETRY or LS_REJECT (err gives text and retry_ms, may
 * be NULL). node_working tells the broker that it is still worked on (the lease starts anew). */
void node_settle(struct node *node, uint32_t subscription, uint64_t seq, enum ls_verdict verdict, const struct ls_error *err);
void node_working(struct node *node, uint32_t subscription, uint64_t seq);

/* node_publish publishes; a failure is logged and counted (publish_failed_total). BUSY (window full) is kept and sent as
 * soon as there is room. Everything is copied. */
void node_publish(struct node *node, const struct ls_event *event);

/* node_follow publishes the event that follows from `cause`, an event that this node takes, and settles `cause` by what becomes
 * of it: acknowledged when the broker has stored the new one, else as the error says. Return what it returns (LS_PENDING). The
 * new event has the subject, trace and correlationid of its cause, causationid, and an id made of source and id of the cause
 * and the topic: work that is done twice is stored once. Call it at most once for a cause. `body`, an object or array, is taken
 * over and sent as JSON; NULL: LS_REJECT with *err, so a function that may fail can be called in its place. */
enum ls_verdict node_follow(struct node *node, const struct ls_event *cause, const char *topic, json_t *body,
                            struct ls_error *err);

/* node_reply answers a request to its end; return what it returns. `body` as above; HTTP callers get it as
 * application/json. */
enum ls_verdict node_reply(struct ls_call *call, json_t *body, struct ls_error *err);

/* node_json reads a body, JSON or msgpack (binary becomes base64, integers beyond 64 bits become reals). The caller's: hold it
 * in a json_auto_t, or json_decref it. NULL with BAD_VALUE.
 * node_field borrows a field of an object: JSON_REAL stands for any number, JSON_TRUE for true and false. NULL with BAD_VALUE
 * if it is absent or of another type. A NULL object gives NULL and leaves *err as it is, and jansson's functions take NULL
 * too, so one check at the end of such a chain is enough.
 * node_write appends JSON text; reals in the shortest form that reads back the same. */
json_t *node_json(struct ls_slice body, struct ls_error *err);
const json_t *node_field(const json_t *object, const char *key, json_type type, struct ls_error *err);
void node_write(struct buf *out, const json_t *json);

/* node_about sets what this node says of its service (`about` in SUB and ADM services): one msgpack map of at most 16 KiB.
 * It may be called in open and at any time later. */
void node_about(struct node *node, struct ls_slice map);

/* node_watch has fn called when the descriptor is ready (level-triggered; events are EPOLLIN | EPOLLOUT); again for the same
 * descriptor: changes events, fn and arg. node_unwatch must be called before the descriptor is closed. */
typedef void node_fd_fn(void *arg, int fd, uint32_t events);
void node_watch(struct node *node, int fd, uint32_t events, node_fd_fn *fn, void *arg);
void node_unwatch(struct node *node, int fd);

/* Timers: struct timer of lib/heap.h, a member of the thing that waits; fire's `arg` is the node's `self`. */
void node_timer_set(struct node *node, struct timer *timer, int64_t delay_ms);
void node_timer_unset(struct node *node, struct timer *timer);

/* node_pause takes no new work from now on, in later sessions too: window 0 for the consumer of the topology, LS_SLOTS_AWAY for the
 * service; what is under way goes on. Requests that cross it are refused with `again`, events that cross it are handed to the
 * kind as ever. node_resume ends it. Both may be called at any time, in open too (then the node begins paused), and twice. */
void node_pause(struct node *node);
void node_resume(struct node *node);

/* node_window sets how many events of the topology's consumer may be unacknowledged from now on, in place of the topology's
 * `window`; 0: none comes; NODE_WINDOW_OWN: again as many as the topology says, or as was set last. At any time, in open too.
 * node_release leaves an event unsettled for good: the end of the session gives it back, which is no failed attempt; a node that
 * is stopping no longer waits for it. */
#define NODE_WINDOW_OWN UINT32_MAX
void node_window(struct node *node, uint32_t window);
void node_release(struct node *node, uint64_t seq);

/* node_metric is the number at `index` of the kind's metrics table, to be read and changed freely. */
int64_t *node_metric(struct node *node, size_t index);

/* node_fail ends the node after this callback: it logs, closes and exits 1 (and `up` starts it again). */
void node_fail(struct node *node, const struct ls_error *err);

#endif
