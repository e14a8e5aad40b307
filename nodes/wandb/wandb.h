/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_WANDB_H
#define NODES_WANDB_WANDB_H
#include "nodes/kit/db_node.h"
#include "nodes/wandb/options.h"
#include "nodes/wandb/pull.h"
#include "nodes/wandb/run.h"

/* The kind `wandb` (docs/decisions/040).
 *
 *   event from the bus -> wandb.c: held, in the inbox
 *   each turn, one transaction -> facts.c: what it says of a run; run.c: rows; store.c: wandb.db
 *   after the commit -> upload.c: to W&B, or spool.c: into the offline file
 *   what came of it -> one transaction, then the events that waited for it are acknowledged */

struct settings {                            /* what options, environment and netrc say together */
    enum wandb_mode mode;                    /* not AUTO */
    char *base_url, *key, *entity, *project; /* NULL: not said; base_url always is */
};

struct wandb {
    struct node *node;
    const struct wandb_options *options;
    struct settings settings;
    struct api *api; /* NULL unless online */
    struct pull *pull;
    char *url; /* of the database */
    struct db_node *db_node;
    struct db *db;                  /* NULL while it is away */
    TAILQ_HEAD(run_list, run) runs; /* in memory */
    struct map by_subject;          /* hash -> struct run */
    struct held_list inbox;
    struct held_list done; /* acknowledged after the commit */
    struct map by_key;     /* hash -> struct held, of all that are not acknowledged */
    size_t held_count;
    json_t *experiments; /* id -> name */
    int64_t next_number;
    int64_t alive_at, cleaned_at;
    bool draining, failed;
};

/* settings.c: *settings is filled as far as it goes. CONFIG with what to do. */
int settings_read(struct settings *settings, const struct wandb_options *options, struct ls_error *err);
void settings_free(struct settings *settings);

/* store.c: wandb.db. All of it within a transaction but for wandb_store_lines. */
extern const struct db_step WANDB_STEPS[];
extern const size_t WANDB_STEP_COUNT;
int wandb_store_load(struct wandb *w, struct ls_error *err); /* open runs, experiments */
struct run *wandb_store_find(struct wandb *w, const char *subject,
                             struct ls_error *err); /* NULL without text in *err: there is none */
int wandb_store_save(struct run *run, struct ls_error *err);
int wandb_store_row(const struct run *run, int64_t line, const struct row_place *place, struct ls_slice text,
                    struct ls_error *err);
int wandb_store_first(const struct run *run, int64_t *line, struct ls_error *err); /* that is kept; run->lines: none is */
int wandb_store_rows_gone(const struct run *run, struct ls_error *err);
int wandb_store_experiment(struct wandb *w, const char *id, const char *name, struct ls_error *err);
/* wandb_store_seen: 1 and *number, *wait if the event came before; 0 if not. wandb_store_see notes it; wandb_store_keep keeps that for
 * id_keep from now on. */
int wandb_store_seen(struct wandb *w, const char *key, int64_t *number, struct wait *wait, struct ls_error *err);
int wandb_store_see(const struct run *run, const struct held *held, struct ls_error *err);
int wandb_store_keep(struct wandb *w, const struct held *held, struct ls_error *err);
int wandb_store_clean(struct wandb *w, struct ls_error *err); /* what is older than id_keep */
/* wandb_store_lines hands out stored rows from `line` on, in order, until fn returns false. */
typedef bool store_line_fn(void *arg, int64_t line, const struct row_place *place, struct ls_slice text);
int wandb_store_lines(const struct run *run, int64_t line, store_line_fn *fn, void *arg, struct ls_error *err);

/* facts.c: what an event means. */
enum fact { FACT_NONE, FACT_GATHERS, FACT_WAITS, FACT_REJECT, FACT_FAILED };
/* wandb_apply: NONE: nothing to export; GATHERS: it is in run->gathering; WAITS: held->wait and *run say for what; REJECT: it will never
 * do; FAILED: the database. The last two with *err. */
enum fact wandb_apply(struct wandb *w, struct held *held, struct run **run, struct ls_error *err);

/* batch.c: events, their transaction, their acknowledgement. */
enum ls_verdict batch_take(struct wandb *w, const struct ls_event *event);
int64_t batch_turn(struct wandb *w,
                   int64_t now_ms);  /* one transaction, if there is something to do; when rows are due next */
void batch_release(struct wandb *w); /* gives back what is not acknowledged, without a word */
void batch_free(struct wandb *w);
struct run *wandb_find(struct wandb *w, const char *subject, int64_t at_ms,
                       struct ls_error *err); /* found, or made; NULL: the database */
void wandb_index(struct wandb *w, struct run *run);
void wandb_forget_runs(struct wandb *w); /* all that are in memory */

/* tell.c: what the bus hears. */
void wandb_tell(struct run *run, bool finished); /* wandb.synced */
void wandb_stopped(struct run *run);             /* wandb.stopped */

/* wandb.c */
bool wandb_is_offline(const struct run *run);
void wandb_failed(struct wandb *w, const struct ls_error *err); /* the database failed: the node ends */

#endif
