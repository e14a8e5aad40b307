/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_RUN_H
#define NODES_WANDB_RUN_H
#include <sys/queue.h>

#include "nodes/wandb/api.h"
#include "nodes/wandb/offline.h"
#include "nodes/wandb/rows.h"

/* A run as the exporter knows it: what is kept in wandb.db, and what it is doing now. */

struct wandb; /* wandb.h */
struct run;

/* When an event is done: its line is safe, its revision of the run's config and names is told, its end is told. A member that does not
 * matter is -1, 0, 0. */
struct wait {
    int64_t line, rev, end;
};

/* An event that was taken and is not acknowledged. */
struct held {
    TAILQ_ENTRY(held) link; /* of the inbox, of run->gathering, or of run->waiting */
    struct held *twin;      /* the same event, delivered under another number */
    uint32_t subscription;
    uint64_t seq;
    char key[33]; /* of topic, source and id */
    uint64_t hash;
    char *topic;  /* with body: until it is applied */
    json_t *body; /* NULL: `problem` */
    struct ls_error problem;
    int64_t time_ms;
    struct wait wait;
};
TAILQ_HEAD(held_list, held);

/* Lines count from 0 for ever; line n is line n + base_line at W&B, and row n - file_line of the offline file. How far each of the two
 * has come: acked, rev_sent, end_sent; spooled, rev_spooled, end_spooled. closing: that the run ended may have been told already, and
 * whatever comes now must open it again; reopened: that is to be told, by UpsertBucket, before W&B gets another line. */
#define RUN_NUMBERS(X)                                                                                                 \
    X(started_ms) X(ended_ms) X(exit_code) X(suffix) X(lines) X(next_step) X(last_step) X(last_ms) X(base_line)        \
    X(base_step) X(acked) X(spooled) X(rev) X(rev_sent) X(rev_spooled) X(end_rev) X(end_sent) X(end_spooled)           \
    X(touched_ms) X(told_rows) X(filed_ms) X(file_line)
#define RUN_TEXTS(X) X(name) X(entity) X(project) X(storage_id) X(url) X(file)
#define RUN_FLAGS(X) X(ended) X(closing) X(reopened) X(parked) X(stopped)

struct run {
    TAILQ_ENTRY(run) link;
    struct wandb *w;
    int64_t number;           /* of the row in wandb.db */
    char *subject;            /* "run/ID" or "workflow/WORKFLOW/RUN" */
    const char *kind;         /* "run" or "workflow" */
    char *id;                 /* run_id, or "WORKFLOW-RUN" */
#define NUMBER(member) int64_t member;
#define TEXT(member) char *member;
#define FLAG(member) bool member;
    RUN_NUMBERS(NUMBER)
    RUN_TEXTS(TEXT)           /* name: the id at W&B; storage_id NULL: W&B has not answered for it yet */
    RUN_FLAGS(FLAG)
#undef NUMBER
#undef TEXT
#undef FLAG
    json_t *about;            /* display_name, notes, group, job_type, project; config {}; labels {}; axes [] */
    json_t *latest;           /* name -> [step, value] */

    /* Not stored. */
    bool dirty;               /* differs from wandb.db */
    bool forgotten;           /* closed: goes when nothing waits */
    bool look;                /* events that wait may be done now */
    struct row row;
    struct held_list gathering; /* in `row` */
    struct held_list waiting;
    struct api_call *call;
    int64_t posting_lines, posting_rev, posting_end; /* what the call carries */
    int64_t born_at, ended_at, posted_at, upserted_at, told_at, summary_at, retry_at; /* CLOCK_MONOTONIC */
    bool full;                /* the last upload did not hold all lines */
    bool adopting;            /* the next question is RunResumeStatus */
    struct offline *offline;
};

static inline bool wandb_run_is_over(const struct run *run, const struct wait *wait)
{
    int64_t lines = run->acked > run->spooled ? run->acked : run->spooled;
    int64_t rev = run->rev_sent > run->rev_spooled ? run->rev_sent : run->rev_spooled;
    int64_t end = run->end_sent > run->end_spooled ? run->end_sent : run->end_spooled;
    return wait->line < lines && wait->rev <= rev && wait->end <= end;
}

/* run.c: the object, and rows. */
struct run *wandb_run_new(struct wandb *w, const char *subject); /* subject as above */
void wandb_run_free(struct run *run);
json_t *wandb_run_state(const struct run *run);                  /* as wandb.db keeps it */
void wandb_run_restore(struct run *run, const json_t *state);
void wandb_run_changed(struct run *run);                         /* config, names or state: a new revision */
void wandb_run_end(struct run *run, int exit_code, int64_t at_ms); /* run->end_rev is its number */
void wandb_run_reopen(struct run *run);
bool wandb_run_may_close(struct run *run, int64_t now_ms);       /* it ended, some time ago, and nothing gathers */
int64_t wandb_run_pause(const struct run *run);                   /* from one upload to the next, ms */
/* wandb_run_point adds a value: to the row that gathers, or to a new one. `held` joins run->gathering. */
struct point {
    const char *column, *value; /* value: JSON text or bare word */
    int64_t step, at_ms;
};
int wandb_run_point(struct run *run, const struct point *point, struct held *held, struct ls_error *err);
int wandb_run_row_close(struct run *run, struct ls_error *err); /* within a transaction; nothing if no row gathers */

/* upload.c: the run at W&B. Starts at most one call; returns when it wants to be called again (CLOCK_MONOTONIC ms). */
int64_t wandb_run_upload(struct run *run, int64_t now_ms);
/* spool.c: the run in its offline file. Likewise. */
int64_t wandb_run_spool(struct run *run, int64_t now_ms);
/* The texts that both send: a line as it is there, which never changes once it was sent; the summary as it is now. */
void wandb_run_line(const struct run *run, struct buf *out, struct ls_slice text, const struct row_place *place);
void wandb_run_summary(const struct run *run, struct buf *out);

#endif
