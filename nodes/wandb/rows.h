/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_ROWS_H
#define NODES_WANDB_ROWS_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/map.h"

/* The texts that W&B gets: lines of history, summary, config; and names that it accepts. Pure functions. */

#define ROW_AXIS "lineshaft/step" /* the column in which a late point carries its own step */
#define ROW_STEP_MAX (1LL << 53)  /* larger steps are no numbers in JavaScript */

/* A row that still gathers the metrics of one step. Zero-initialise. */
struct row {
    size_t count;      /* of metrics */
    int64_t step;      /* the step that they are of */
    int64_t at_ms;     /* the latest of their times, since 1970 */
    int64_t opened_ms; /* the owner's: when it began, CLOCK_MONOTONIC */
    struct buf text;   /* "loss":0.7,"acc":NaN */
    struct map keys;
};
void row_clear(struct row *row); /* empties; row_fini frees */
void row_fini(struct row *row);
/* row_column: what a metric's column is called: as the metric, but for names that W&B or we give to columns. The caller's to free. */
char *row_column(const char *key);
/* row_fits: a metric of that step and name can be added: the row is empty, or has this step and not this name, and room. */
bool row_fits(const struct row *row, const char *column, int64_t step);
void row_add(struct row *row, const char *column, const char *value); /* value: JSON, or one of the bare words */

/* row_put_time: ms as seconds with three decimals. */
void row_put_time(struct buf *out, int64_t ms);

/* row_line writes a whole line. `text` is what a row gathered, with times. */
struct row_place {
    int64_t step; /* _step */
    int64_t axis; /* ROW_AXIS, if has_axis */
    bool has_axis;
};
void row_line(struct buf *out, struct ls_slice text, const struct row_place *place);

/* row_summary: `latest` is an object, column to [step, value's JSON text]. Of more than 2 MiB the first ones. */
struct row_last {
    int64_t step, at_ms, started_ms;
};
void row_summary(struct buf *out, const json_t *latest, const struct row_last *last);

/* row_config: W&B's config, every value in {"value": ...}, with _wandb: `axes` are the names of metrics whose axis is ROW_AXIS. */
void row_config(struct buf *out, const json_t *config, const json_t *axes);

/* name_project: a project's name that W&B takes. name_run: a run's id that it takes, the same for the same text, different for
 * different ones; suffix > 1 makes another one. name_label: at most 64 bytes. The caller's to free. */
char *name_project(const char *text);
char *name_run(const char *text, int suffix);
char *name_label(const char *key, const char *value);

#endif
