/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OUTBOX_INSIDE_H
#define NODES_TRACKER_OUTBOX_INSIDE_H
#include <sys/queue.h>

#include "lib/map.h"
#include "nodes/tracker/outbox.h"

/* The inside of outbox*.c: outbox.c makes rows, publishes them and forgets them; outbox_order.c keeps the order
 * with what the stream brings. */

/* What a fact touches. */
struct touch {
    uint64_t keys[2]; /* hashes of the things; 0: none */
    bool commutes;    /* the order does not matter */
    bool of_run;      /* changes a run */
    bool all_runs;    /* may change any run: an experiment is deleted or restored */
};
struct touch touch_of(const char *topic, const json_t *body);

struct row;
struct own {
    struct row *row;
    const char *topic; /* borrowed from the row */
    json_t *body;
    struct touch touch;
    uint64_t order;    /* in which it was published; 0: not yet */
    uint64_t acked_at; /* the last order that was given when the broker acknowledged it; 0: not yet */
    bool disturbed;
    bool redo, coming; /* within a batch */
    bool done;         /* it came, or will never come */
};

struct row {
    TAILQ_ENTRY(row) link;
    struct outbox *outbox;
    int64_t id, time_ms;
    json_t *facts;      /* [{topic, subject, body, traceparent?, causationid?}] */
    size_t count, left; /* facts; those that are not done */
    size_t first;       /* all in front of this one are done or coming */
    size_t in_flight;   /* publishes whose outcome is open: each points at a fact here */
    bool seen;          /* outbox_read found it in the database */
    bool removing;      /* within a batch */
    bool gone;          /* not in the list any more; freed with the last outcome */
    struct own facts_of[];
};
TAILQ_HEAD(row_list, row);

struct outbox {
    struct tracker *t;
    struct row_list rows; /* in the order of their ids */
    struct map by_id;
    char uuid[LS_ID_SIZE]; /* of the database */
    json_t *takes;         /* the topics that this node takes; NULL: all */
    int64_t last_id;
    uint64_t order;
    size_t waiting;  /* facts that are not done */
    size_t finished; /* rows that wait for nothing but to be removed */
    bool unsent;     /* some fact was not published yet */
    /* the change that is being made */
    bool open;
    const struct ls_event *request; /* that makes it; borrowed until then */
    int64_t time_ms;
    json_t *facts;
    struct row *made;
    bool batch_redo; /* some fact is to be applied again at the end of the batch */
};

/* outbox_redo applies again what the batch disturbed. */
int outbox_redo(struct outbox *o, bool careful, struct ls_error *err);

#define OWNS_FOREACH(own_, row_)                                                                                       \
    for (struct own *own_ = (row_)->facts_of; own_ < (row_)->facts_of + (row_)->count; own_++)

#endif
