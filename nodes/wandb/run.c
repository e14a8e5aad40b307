/* SPDX-License-Identifier: Apache-2.0 */
/* A run's record, and how points become rows. */
#include "nodes/wandb/run.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define CROWDED_MS 500

/* ---- the object ---- */

/* "workflow/nightly/manual__7" is told apart from others by "nightly-manual__7". */
static char *id_of(const char *subject)
{
    char *id = xstrdup(strchr(subject, '/') + 1);
    for (char *slash = id; (slash = strchr(slash, '/'));)
        *slash = '-';
    return id;
}

struct run *wandb_run_new(struct wandb *w, const char *subject)
{
    struct run *run = xcalloc(1, sizeof *run);
    *run = (struct run){.w = w,
                        .subject = xstrdup(subject),
                        .kind = strncmp(subject, "run/", 4) == 0 ? "run" : "workflow",
                        .id = id_of(subject),
                        .suffix = 1,
                        .about = json_pack("{s:{},s:{},s:[]}", "config", "labels", "axes"),
                        .latest = json_object()};
    run->name = name_run(run->id, 1);
    run->born_at = clock_mono_ms();
    TAILQ_INIT(&run->gathering);
    TAILQ_INIT(&run->waiting);
    return run;
}

void wandb_run_free(struct run *run)
{
#define FREE_TEXT(member) free(run->member);
    RUN_TEXTS(FREE_TEXT)
    api_cancel(&run->call);
    offline_close(&run->offline);
    row_fini(&run->row);
    json_decref(run->about);
    json_decref(run->latest);
    free(run->subject);
    free(run->id);
    free(run);
}

json_t *wandb_run_state(const struct run *run)
{
    json_t *state = json_object();
#define PUT_NUMBER(member) json_object_set_new(state, #member, json_integer(run->member));
#define PUT_TEXT(member) json_object_set_new(state, #member, run->member ? json_string(run->member) : json_null());
#define PUT_FLAG(member) json_object_set_new(state, #member, json_boolean(run->member));
    RUN_NUMBERS(PUT_NUMBER)
    RUN_TEXTS(PUT_TEXT)
    RUN_FLAGS(PUT_FLAG)
    json_object_set(state, "about", run->about);
    json_object_set(state, "latest", run->latest);
    return state;
}

static void take_text(char **member, const json_t *value)
{
    free(*member);
    *member = json_is_string(value) ? xstrdup(json_string_value(value)) : NULL;
}

static void take_object(json_t **member, json_t *value)
{
    if (!json_is_object(value))
        return;
    json_decref(*member);
    *member = json_incref(value);
}

void wandb_run_restore(struct run *run, const json_t *state)
{
#define GET_NUMBER(member) run->member = json_integer_value(json_object_get(state, #member));
#define GET_TEXT(member) take_text(&run->member, json_object_get(state, #member));
#define GET_FLAG(member) run->member = json_is_true(json_object_get(state, #member));
    RUN_NUMBERS(GET_NUMBER)
    RUN_TEXTS(GET_TEXT)
    RUN_FLAGS(GET_FLAG)
    take_object(&run->about, json_object_get(state, "about"));
    take_object(&run->latest, json_object_get(state, "latest"));
}

/* Its end may have been told: W&B takes more when it hears of the run anew, and then of its end once more. */
static void open_again(struct run *run)
{
    if (!run->closing)
        return;
    run->closing = false;
    run->reopened = true;
    run->rev++;
    run->end_rev += run->ended;
}

void wandb_run_changed(struct run *run)
{
    int64_t told = run->rev_sent > run->rev_spooled ? run->rev_sent : run->rev_spooled;
    open_again(run);
    if (run->rev <= told || run->rev == run->posting_rev)
        run->rev++;
    run->dirty = true;
}

void wandb_run_end(struct run *run, int exit_code, int64_t at_ms)
{
    if (run->ended && run->exit_code == exit_code)
        return;
    open_again(run);
    run->ended = true;
    run->exit_code = exit_code;
    run->ended_ms = at_ms;
    run->ended_at = clock_mono_ms();
    run->end_rev++;
    run->dirty = true;
}

void wandb_run_reopen(struct run *run)
{
    if (!run->ended)
        return;
    run->ended = false;
    open_again(run);
    run->end_sent = run->end_spooled = run->end_rev; /* nobody waits for an end that is none */
    run->dirty = true;
}

bool wandb_run_may_close(struct run *run, int64_t now_ms)
{
    return run->ended && !run->row.count && (run->w->draining || now_ms - run->ended_at >= run->w->options->flush);
}

/* Twice a second, which is what W&B's own servers allow a run, when events pile up. */
int64_t wandb_run_pause(const struct run *run)
{
    const struct wandb *w = run->w;
    bool crowded = w->held_count * 2 > (size_t) w->options->in_flight;
    return crowded && w->options->flush > CROWDED_MS ? CROWDED_MS : w->options->flush;
}

/* ---- rows ---- */

static bool has_text(const json_t *array, const char *text)
{
    size_t i;
    const json_t *item;
    json_array_foreach(array, i, item) if (strcmp(json_string_value(item), text) == 0) return true;
    return false;
}

/* This metric has points whose _step is not their own: W&B shall draw it over the axis column. */
static void note_axis(struct run *run, const char *column)
{
    json_t *axes = json_object_get(run->about, "axes");
    if (has_text(axes, column))
        return;
    json_array_append_new(axes, json_string(column));
    wandb_run_changed(run);
}

/* The summary has the value of the latest step, whatever the order in which they came. */
static void note_latest(struct run *run, const struct point *point)
{
    json_t *pair = json_object_get(run->latest, point->column);
    if (pair && json_integer_value(json_array_get(pair, 0)) > point->step)
        return;
    if (!pair) {
        pair = json_pack("[I,s]", (json_int_t) point->step, point->value);
        json_object_set_new(run->latest, point->column, pair);
        return;
    }
    json_array_set_new(pair, 0, json_integer(point->step));
    json_array_set_new(pair, 1, json_string(point->value));
}

static bool is_late(const struct run *run, int64_t step)
{
    return step < run->next_step || step > ROW_STEP_MAX;
}

int wandb_run_point(struct run *run, const struct point *point, struct held *held, struct ls_error *err)
{
    if (!row_fits(&run->row, point->column, point->step) && wandb_run_row_close(run, err))
        return -1;
    struct row *row = &run->row;
    if (!row->count) {
        row->opened_ms = clock_mono_ms();
        row->step = point->step;
    }
    if (is_late(run, point->step)) {
        note_axis(run, point->column);
        ++*node_metric(run->w->node, METRIC_LATE);
    }
    row_add(row, point->column, point->value);
    if (point->at_ms > row->at_ms)
        row->at_ms = point->at_ms;
    note_latest(run, point);
    TAILQ_INSERT_TAIL(&run->gathering, held, link);
    return 0;
}

int wandb_run_row_close(struct run *run, struct ls_error *err)
{
    struct row *row = &run->row;
    struct held *held;
    if (!row->count)
        return 0;
    bool late = is_late(run, row->step);
    int64_t line = run->lines, step = late ? run->next_step : row->step;
    int64_t runtime = row->at_ms > run->started_ms ? row->at_ms - run->started_ms : 0;
    bool axis = late || json_array_size(json_object_get(run->about, "axes"));
    buf_addf(&row->text, ",\"_timestamp\":");
    row_put_time(&row->text, row->at_ms);
    buf_addf(&row->text, ",\"_runtime\":");
    row_put_time(&row->text, runtime);
    const struct row_place place = {.step = step, .axis = row->step, .has_axis = axis};
    if (wandb_store_row(run, line, &place, ls_bytes(row->text.data, row->text.len), err))
        return -1;
    while ((held = TAILQ_FIRST(&run->gathering))) {
        TAILQ_REMOVE(&run->gathering, held, link);
        TAILQ_INSERT_TAIL(&run->waiting, held, link);
        held->wait = (struct wait){.line = line};
        if (wandb_store_see(run, held, err))
            return -1;
    }
    run->lines++;
    run->next_step = step + 1;
    run->last_step = step;
    run->last_ms = row->at_ms > run->last_ms ? row->at_ms : run->last_ms;
    run->dirty = true;
    open_again(run);
    row_clear(row);
    ++*node_metric(run->w->node, METRIC_ROWS);
    return 0;
}

/* A run that was taken on from somebody else: its steps are moved, and keep their own as the axis. */
void wandb_run_line(const struct run *run, struct buf *out, struct ls_slice text, const struct row_place *place)
{
    const struct row_place there = {.step = place->step + run->base_step,
                                    .has_axis = place->has_axis || run->base_step,
                                    .axis = place->has_axis ? place->axis : place->step};
    row_line(out, text, &there);
}

void wandb_run_summary(const struct run *run, struct buf *out)
{
    const struct row_last last = {
        .step = run->last_step + run->base_step, .at_ms = run->last_ms, .started_ms = run->started_ms};
    row_summary(out, run->latest, &last);
}
