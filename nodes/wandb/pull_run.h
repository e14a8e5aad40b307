/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_PULL_RUN_H
#define NODES_WANDB_PULL_RUN_H
#include <jansson.h>
#include <sys/queue.h>

#include "nodes/kit/db.h"

/* What `pull` knows of a run at W&B: for each key, which steps were published. A step is settled, and never asked for again, a minute
 * after it and all steps before it were published; until then it is asked for again, as W&B may tell a lower one late. */

#define PULL_LATE_MS 60000
#define PULL_SAMPLES 1000 /* rows of one answer; W&B thins out what is more */

struct series {
    const char *key;       /* borrowed */
    int64_t settled;       /* step; all up to it were published. -1: none */
    int64_t stored;        /* what the database has of it */
    int64_t next, width;   /* the next question: at most so many steps from here on */
    int64_t asked;         /* so many in the question that is under way; 0: none */
    struct told {
        int64_t step, at_ms;
    } *told;               /* published and not settled, by step */
    size_t count, room;
};

struct pull_run {
    LIST_ENTRY(pull_run) link;
    char *name;
    char *run_id;          /* ours; NULL: somebody else's */
    int64_t heartbeat_s;   /* since 1970, W&B's clock */
    int64_t last_step;
    int64_t changed_ms, asked_ms; /* CLOCK_MONOTONIC: when this heartbeat was first seen, when it was asked last */
    bool due;              /* in this round */
    size_t key_count;
    struct series series[];
};
LIST_HEAD(pull_runs, pull_run);

/* Where a run is. */
struct pull_place {
    const char *entity, *project;
};

/* pull_run_new reads what the database knows of it. NULL on failure. */
struct pull_run *pull_run_new(struct db *db, const struct pull_place *place, const char *name, const char *const *keys,
                              struct ls_error *err);
void pull_run_free(struct pull_run *run);

/* series_settle takes what is old enough for settled; series_wait: as if all had been published now. series_tell: true if that step
 * was not published yet; it is from now on. */
void series_settle(struct series *series, int64_t now_ms);
void series_wait(struct series *series, int64_t now_ms);
bool series_tell(struct series *series, int64_t step, int64_t now_ms);
/* series_ask: true if there is something to ask for up to `last_step`, `asked` steps from `next` on. series_took: the answer had so many
 * rows. True: they are all that W&B has of those steps, and `next` goes on; false: they may have been thinned out, ask for fewer. */
bool series_ask(struct series *series, int64_t last_step);
bool series_took(struct series *series, size_t rows);

/* pull_run_is_idle: nothing of it can come any more unless its heartbeat changes. */
bool pull_run_is_idle(const struct pull_run *run, int64_t now_ms);

bool pull_is_unsaved(const struct pull_runs *runs);
/* One transaction: what is settled in all runs, and the heartbeat up to which all runs were asked. */
int pull_save(struct db *db, const struct pull_place *place, struct pull_runs *runs, int64_t heartbeat_s, struct ls_error *err);
/* 1 and *heartbeat_s, or 0 at the first start; -1 on failure. */
int pull_load(struct db *db, const struct pull_place *place, int64_t *heartbeat_s, struct ls_error *err);

#endif
