/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_ARTIFACTS_H
#define NODES_ARTIFACTS_ARTIFACTS_H
#include <sys/queue.h>

#include "lib/heap.h"
#include "lib/map.h"
#include "lib/node.h"
#include "nodes/artifacts/options.h"
#include "nodes/artifacts/spool.h"
#include "nodes/kit/http_server.h"
#include "nodes/kit/objstore.h"

/* The inside of the artifacts node. One thread. Content comes by door (upload.c) or by event (put.c) into the spool (spool.c); from
 * there to the store, in order for each key (store.c); what became of it goes to the bus (events.c). Downloads (download.c) and what is
 * small (job.c) go to the store directly. */

struct copy;

/* Why entries wait for another try. */
enum store_trouble { TROUBLE_NONE, TROUBLE_AWAY, TROUBLE_FULL, TROUBLE_COUNT };

struct artifacts {
    struct node *node;
    const struct artifacts_options *options;
    struct spool *spool;
    struct objstore *store;
    struct http_server *server;
    const char *token; /* the door's callers must know it; NULL: none is needed */

    /* store.c */
    struct map lanes;           /* hash of a key -> its entries that are not done */
    struct entry_list ready;    /* may be written now, by queue_link */
    int active;
    size_t troubled[TROUBLE_COUNT]; /* entries that wait for another try */

    /* events.c */
    struct entry_list untold;   /* done, and not given to the broker yet, by queue_link */
    struct timer untold_timer, pressure_timer;
    bool high;
    uint64_t starved_bytes;     /* an event of this size waits for room; no more are taken meanwhile */
    int64_t refused_ms;         /* when an upload was last turned away for lack of room */

    /* put.c */
    LIST_HEAD(, copy) copies;
    struct timer working_timer;

    LIST_HEAD(, visit) visits;  /* door.h */
    struct timer leave_timer;   /* the node is stopping */
    bool leaving;               /* ... and waits no longer for the store */
    uint64_t told[1024];        /* hashes of the ids of events whose outcome is in the log, newest at told_at - 1 */
    size_t told_at;
};

void artifacts_count(struct artifacts *a, enum artifacts_metric metric, int64_t more);

/* ---- store.c: from the spool to the store ---- */

void store_open(struct artifacts *a);
void store_close(struct artifacts *a);
/* store_line_up gives an entry its place behind the others of its key; store_go: its content is there, it may be written as soon as it
 * is the first. store_leave takes back an entry that will not be written; the caller drops it. */
void store_line_up(struct artifacts *a, struct entry *entry);
void store_go(struct artifacts *a, struct entry *entry);
void store_leave(struct artifacts *a, struct entry *entry);
/* store_has_waiting: is an entry of this key, or with `below` of one below it, not written yet? */
bool store_has_waiting(const struct artifacts *a, const char *key, bool below);
/* store_spooled: is there whole content for this key that is not in the store yet? With `away` only if the store was away when it was
 * tried. */
bool store_spooled(const struct artifacts *a, const char *key, bool away);

/* ---- events.c: what the bus is told ---- */

void events_open(struct artifacts *a);
/* The bodies. */
json_t *events_stored(const struct artifacts *a, const struct entry *entry, const struct objstore_object *object, bool already_there);
json_t *events_failed(const struct artifacts *a, const struct entry *entry, const struct ls_error *err);
/* events_tell publishes the outcome of an entry that is done, until it is in the log; then settles the event it came by, and drops it. */
void events_tell(struct artifacts *a, struct entry *entry);
/* events_was_told: the event that made the entry `id` was answered a while ago, by this process. */
bool events_was_told(const struct artifacts *a, const char *id);
void events_deleted(struct artifacts *a, const char *key, const char *user_id, const char *traceparent);
/* events_pressure looks at the spool's room, tells when that has become scarce or enough, and lets events come again. */
void events_pressure(struct artifacts *a);
/* events_run_of: the run id out of a key as MLflow lays them out, EXPERIMENT/RUN/artifacts/...; NULL: it is none. The caller's. */
char *events_run_of(const char *key);

/* ---- put.c: the event artifact.put ---- */

enum ls_verdict put_event(struct artifacts *a, const struct ls_event *event, struct ls_error *err);
void put_open(struct artifacts *a);
bool put_turn(struct artifacts *a); /* copies a little of each file under way; true: there is more to copy */
void put_leave(struct artifacts *a); /* gives back the events that wait for the store */
void put_close(struct artifacts *a);

/* ---- upload.c, as store.c tells it ---- */

struct upload;
void upload_stored(struct upload *upload, const struct objstore_object *object, bool already_there);
void upload_failed(struct upload *upload, const struct ls_error *err);

#endif
