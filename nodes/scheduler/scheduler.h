/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_SCHEDULER_SCHEDULER_H
#define NODES_SCHEDULER_SCHEDULER_H
#include "nodes/kit/db_node.h"
#include "nodes/scheduler/engine.h"

/* The kind `scheduler`: the engine (engine.h) between a database, the files, the clock and the bus. A turn of the
 * node's loop is a turn of the engine: what events and requests changed is committed, then they are acknowledged
 * and answered. */

struct answer;
struct asking;

struct unsettled { /* an event that is acknowledged after the commit */
    uint32_t subscription;
    uint64_t seq;
};

struct scheduler {
    struct node *node;
    const struct scheduler_options *options;
    struct db_node *db_node;
    struct engine engine;
    struct engine_ports ports;
    struct files *files;
    struct feed *feed;
    LIST_HEAD(, answer) answers; /* to requests of this turn, or on their way in parts */
    LIST_HEAD(, asking) askings; /* requests that tasks make */
    struct unsettled *unsettled;
    size_t unsettled_count, unsettled_room;
    int clock_fd; /* fires at the next tick, and when the clock is set */
    int64_t clock_due;
    bool connected;
};

/* ---- files.c: workflow files, read and watched ---- */

/* files_open reads all files; later changes call scheduler_files_changed. */
void files_open(struct scheduler *s);
void files_close(struct scheduler *s);
/* files_tell gives the engine what there is: for a file with mistakes the last version without, also from the database. */
void files_tell(struct scheduler *s);
json_t *files_problems(const struct scheduler *s); /* new: [{file, line, column, code, text, hint}] */
void scheduler_files_changed(struct scheduler *s);

/* ---- feed.c: events that trigger workflows ---- */

void feed_open(struct scheduler *s);
void feed_close(struct scheduler *s);
/* feed_sync subscribes to what the workflows' triggers name, each pattern from its position on. Call it when they
 * changed, when the database is there, and when the bus is there. */
void feed_sync(struct scheduler *s);
void feed_stop(struct scheduler *s); /* the database went: nothing can be remembered now */
bool feed_refused(struct scheduler *s, uint32_t subscription, const struct ls_error *err); /* false: not one of these */

/* ---- answers.c: requests in, answers out after the commit ---- */

enum ls_verdict answers_request(struct scheduler *s, struct ls_call *call, const struct ls_event *request,
                                struct ls_error *err);
void answers_send(struct scheduler *s);
void answers_fail(struct scheduler *s, const struct ls_error *why); /* those that were not begun */
void answers_credit(struct ls_call *call);
void answers_cancelled(struct ls_call *call);

/* ---- ask.c: requests that tasks make ---- */

void ask_service(void *scheduler, const struct try *try, int64_t timeout_ms);
void ask_stop(void *scheduler, const char *try_id);
void asks_stop(struct scheduler *s);
void asks_free(struct scheduler *s);
size_t asks_open(const struct scheduler *s);

#endif
