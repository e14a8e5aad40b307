/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_NODE_INSIDE_H
#define LIB_NODE_INSIDE_H
#include <sys/queue.h>

#include "lib/buf.h"
#include "lib/map.h"
#include "lib/node.h"

/* The inside of the node runner, shared by lib/node*.c only. node.c holds the loop and the life of a node, node_config.c
 * reads the environment, node_work.c does what crosses the bus, node_json.c bodies in JSON, node_watch.c the descriptors. */

#define NODE_STATS_EVERY_MS 1000 /* a node looks at its numbers so often, and tells them when they have changed */

/* What the environment says. Everything is owned; node_config_free frees it. */
struct node_config {
    char *name, *member, *consumer; /* consumer NULL: takes nothing */
    char **serves;                  /* NULL-terminated; NULL: serves nothing */
    int64_t window, slots, drain_ms, hb_ms;
    void *options;                  /* the kind's struct */
};

/* node_config_read: CONFIG with a sentence for whoever starts the node. */
int node_config_read(struct node_config *config, const struct kind *kind, struct ls_error *err);
void node_config_free(struct node_config *config, const struct kind *kind);

enum node_counter { /* numbers that every node has; those of its kind stand behind them */
    NODE_EVENTS,
    NODE_RETRIES,
    NODE_REJECTS,
    NODE_REQUESTS,
    NODE_PUBLISH_FAILED,
    NODE_OPEN_CALLS,
    NODE_COUNTERS
};

struct watch {
    node_fd_fn *fn; /* NULL: the descriptor is not watched */
    void *arg;
    uint32_t generation; /* tells a stale report of epoll from one for this watch */
};

struct follow { /* an event that was taken and is settled when one that follows from it is stored */
    LIST_ENTRY(follow) link;
    struct node *node;
    uint32_t subscription;
    uint64_t seq;
};
LIST_HEAD(follow_list, follow);

struct kept { /* an event that waits for room in the client's window */
    STAILQ_ENTRY(kept) link;
    struct follow *follow; /* NULL: nothing depends on it */
    struct ls_event event;
    size_t size;
    char bytes[];
};
STAILQ_HEAD(kept_list, kept);

struct node {
    const struct node_code *code;
    struct node_config config;
    void *self;
    struct ls_client *client;
    struct ls_slice about; /* owned; what node_about said last */
    uint32_t consumer, service; /* subscriptions; 0: none */

    int epoll_fd, signal_fd;
    struct watch *watches; /* by descriptor */
    size_t watch_room;
    uint32_t generation;
    struct heap timers;
    int64_t turn_ms; /* when this turn of the loop began */
    int64_t tick_at; /* when the kind wants to be called again */

    struct map pending; /* seq of events left LS_PENDING */
    size_t pending_count;
    struct kept_list kept;
    size_t kept_bytes;
    struct follow_list follows;
    int64_t complained_at; /* last log line about a failed publish */

    int64_t *counters, *counters_sent;
    size_t counter_count;
    int64_t stats_at;

    bool paused;         /* by the kind: it takes no new work */
    bool full;           /* by the kind: window 0 */
    bool draining, over; /* over: the loop ends with `status` */
    int64_t drain_until;
    int status;
};

/* node_work.c */

/* node_work_routes packs the kind's routes whose topics this node serves as a msgpack array; nothing if there are none. */
void node_work_routes(const struct node *node, struct buf *routes);
/* node_work_start subscribes and serves; node_work_offer tells the broker how much may come now, nothing while the node is
 * draining or paused, in this session and in later ones; node_work_stop gives back what is open (open calls are cancelled,
 * "gone"). */
int node_work_start(struct node *node, struct ls_error *err);
void node_work_offer(struct node *node);
void node_work_stop(struct node *node);
/* node_work_follow publishes `event` (copied) and settles `cause` by the outcome. */
void node_work_follow(struct node *node, const struct ls_event *cause, const struct ls_event *event);
/* node_work_turn sends kept events, and the numbers once a second. */
void node_work_turn(struct node *node);
/* node_work_open counts what is not finished: calls, pending events, publishes. */
size_t node_work_open(const struct node *node);
void node_work_free(struct node *node);

/* node_watch.c */

/* node_watch_wait waits for descriptors and calls their functions. */
void node_watch_wait(struct node *node, int timeout_ms);

#endif
