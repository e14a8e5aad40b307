/* SPDX-License-Identifier: Apache-2.0 */
/* Which steps of which run were brought onto the bus, in memory and in the table lineshaft_wandb_pull. */
#include "nodes/wandb/pull_run.h"

#include <stdlib.h>

#include "lib/xmem.h"

/* The heartbeat of the whole project is kept as the step of a run and key that cannot be. */
#define NO_RUN ""
#define WIDTH_MAX ((int64_t) 1 << 20) /* steps in one question about a key that is logged now and then */

/* ---- series ---- */

void series_settle(struct series *series, int64_t now_ms)
{
    size_t old = 0;
    while (old < series->count && series->told[old].at_ms + PULL_LATE_MS <= now_ms)
        series->settled = series->told[old++].step;
    series->count -= old;
    if (old)
        memmove(series->told, series->told + old, series->count * sizeof *series->told);
}

void series_wait(struct series *series, int64_t now_ms)
{
    for (size_t i = 0; i < series->count; i++)
        series->told[i].at_ms = now_ms;
}

bool series_tell(struct series *series, int64_t step, int64_t now_ms)
{
    size_t at = series->count; /* nearly always the last */
    while (at > 0 && series->told[at - 1].step > step)
        at--;
    if (step <= series->settled || (at > 0 && series->told[at - 1].step == step))
        return false;
    series->told = xgrow(series->told, &series->room, series->count + 1, sizeof *series->told);
    memmove(series->told + at + 1, series->told + at, (series->count - at) * sizeof *series->told);
    series->told[at] = (struct told){step, now_ms};
    series->count++;
    return true;
}

bool series_ask(struct series *series, int64_t last_step)
{
    int64_t left = last_step - series->next + 1;
    series->asked = left <= 0 ? 0 : left < series->width ? left : series->width;
    return series->asked > 0;
}

bool series_took(struct series *series, size_t rows)
{
    bool few = rows <= PULL_SAMPLES / 4; /* of rows that were thinned out there would be far more */
    if (series->asked > PULL_SAMPLES && !few) {
        series->width = series->asked / 2 > PULL_SAMPLES ? series->asked / 2 : PULL_SAMPLES;
        return false;
    }
    series->next += series->asked;
    if (few && series->width < WIDTH_MAX)
        series->width *= 2;
    return true;
}

/* ---- runs ---- */

static void take_step(void *arg, const struct db_row *row)
{
    struct series *series = arg;
    series->settled = series->stored = db_get_int(row, 0);
}

static void take_id(void *arg, const struct db_row *row)
{
    struct pull_run *run = arg;
    struct ls_slice subject = db_get_text(row, 0);
    size_t prefix = strlen("run/");
    free(run->run_id);
    run->run_id = xstrndup(subject.data + prefix, subject.len - prefix);
}

struct pull_run *pull_run_new(struct db *db, const struct pull_place *place, const char *name, const char *const *keys,
                              struct ls_error *err)
{
    static const char STEP[] = "SELECT step FROM lineshaft_wandb_pull WHERE entity = $1 AND project = $2 AND run = $3 AND key = $4";
    /* One of ours, when the exporter made it there: its id at W&B is in the exporter's state. */
    static const char OURS[] = "SELECT subject FROM lineshaft_wandb_run WHERE subject LIKE 'run/%' AND json_extract(state, '$.name') = $1"
                               " AND json_extract(state, '$.project') = $2";
    size_t count = 0;
    while (keys[count])
        count++;
    struct pull_run *run = xcalloc(1, sizeof *run + count * sizeof *run->series);
    run->name = xstrdup(name);
    run->key_count = count;
    int64_t rows = db_run(db, OURS, DB_VALUES(db_text(name), db_text(place->project)), take_id, run, err);
    for (size_t i = 0; i < count && rows >= 0; i++) {
        run->series[i] = (struct series){.key = keys[i], .settled = -1, .stored = -1, .width = PULL_SAMPLES};
        rows = db_run(db, STEP, DB_VALUES(db_text(place->entity), db_text(place->project), db_text(name), db_text(keys[i])), take_step,
                      &run->series[i], err);
    }
    if (rows >= 0)
        return run;
    pull_run_free(run);
    return NULL;
}

void pull_run_free(struct pull_run *run)
{
    for (size_t i = 0; i < run->key_count; i++)
        free(run->series[i].told);
    free(run->name);
    free(run->run_id);
    free(run);
}

bool pull_run_is_idle(const struct pull_run *run, int64_t now_ms)
{
    bool idle = run->asked_ms >= run->changed_ms + PULL_LATE_MS && now_ms >= run->asked_ms;
    for (size_t i = 0; i < run->key_count; i++)
        idle = idle && run->series[i].count == 0 && run->series[i].settled == run->series[i].stored;
    return idle;
}

/* ---- the table ---- */

static int put(struct db *db, const struct pull_place *place, const char *run, const char *key, int64_t step, struct ls_error *err)
{
    static const char PUT[] = "INSERT INTO lineshaft_wandb_pull (entity, project, run, key, step) VALUES ($1, $2, $3, $4, $5)"
                              " ON CONFLICT (entity, project, run, key) DO UPDATE SET step = excluded.step";
    return db_queue(db, PUT, DB_VALUES(db_text(place->entity), db_text(place->project), db_text(run), db_text(key), db_int(step)), err);
}

static int put_all(struct db *db, const struct pull_place *place, struct pull_runs *runs, int64_t heartbeat_s, struct ls_error *err)
{
    struct pull_run *run;
    LIST_FOREACH(run, runs, link)
        for (size_t i = 0; i < run->key_count; i++) {
            struct series *series = &run->series[i];
            if (series->settled != series->stored && put(db, place, run->name, series->key, series->settled, err))
                return -1;
        }
    return put(db, place, NO_RUN, "", heartbeat_s, err) || db_commit(db, err) ? -1 : 0;
}

bool pull_is_unsaved(const struct pull_runs *runs)
{
    const struct pull_run *run;
    LIST_FOREACH(run, runs, link)
        for (size_t i = 0; i < run->key_count; i++)
            if (run->series[i].settled != run->series[i].stored)
                return true;
    return false;
}

int pull_save(struct db *db, const struct pull_place *place, struct pull_runs *runs, int64_t heartbeat_s, struct ls_error *err)
{
    struct pull_run *run;
    if (db_begin(db, err) || put_all(db, place, runs, heartbeat_s, err)) {
        db_rollback(db);
        return -1;
    }
    LIST_FOREACH(run, runs, link)
        for (size_t i = 0; i < run->key_count; i++)
            run->series[i].stored = run->series[i].settled;
    return 0;
}

static void take_heartbeat(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

int pull_load(struct db *db, const struct pull_place *place, int64_t *heartbeat_s, struct ls_error *err)
{
    static const char GET[] = "SELECT step FROM lineshaft_wandb_pull WHERE entity = $1 AND project = $2 AND run = $3 AND key = ''";
    return (int) db_run(db, GET, DB_VALUES(db_text(place->entity), db_text(place->project), db_text(NO_RUN)), take_heartbeat, heartbeat_s,
                        err);
}
