/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the database: live state at the start, and runs that are over when somebody asks for them. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

/* ---- columns ---- */

static char *text_at(const struct db_row *r, int column)
{
    struct ls_slice text = db_get_text(r, column);
    return db_is_null(r, column) ? NULL : xstrndup(text.len ? text.data : "", text.len);
}

static json_t *json_at(const struct db_row *r, int column)
{
    struct ls_slice text = db_get_text(r, column);
    return text.len ? json_loadb(text.data, text.len, 0, NULL) : NULL;
}

static int64_t time_at(const struct db_row *r, int column)
{
    return db_is_null(r, column) ? NO_TIME : db_get_int(r, column);
}

static int word_at(const struct db_row *r, int column, const char *const *words)
{
    struct ls_slice text = db_get_text(r, column);
    for (int i = 0; words[i]; i++)
        if (ls_slice_is(text, words[i]))
            return i;
    return 0;
}

/* ---- what there is once ---- */

static void on_meta(void *arg, const struct db_row *r)
{
    struct engine *e = arg;
    struct ls_slice id = db_get_text(r, 0);
    if (id.len < sizeof e->id)
        memcpy(e->id, id.data, id.len);
    e->next_run = db_get_int(r, 1);
    e->next_event = db_get_int(r, 2);
    e->positions->broker = text_at(r, 3);
}

int store_read_meta(struct engine *e, struct ls_error *err)
{
    memset(e->id, 0, sizeof e->id);
    int64_t rows =
        db_run(e->db, "SELECT id, next_run, next_event, broker FROM lineshaft_scheduler", NULL, 0, on_meta, e, err);
    if (rows)
        return rows < 0 ? -1 : 0;
    ls_id(e->id);
    e->next_run = e->next_event = 1;
    return db_run(e->db, "INSERT INTO lineshaft_scheduler (one, id, next_run, next_event) VALUES (1, $1, 1, 1)",
                  DB_VALUES(db_text(e->id)), NULL, NULL, err) < 0
               ? -1
               : 0;
}

static void on_flow(void *arg, const struct db_row *r)
{
    char *id = text_at(r, 0);
    struct flow *flow = flow_new(arg, id);
    free(id);
    flow->stored_hash = text_at(r, 1);
    flow->paused = db_get_bool(r, 2);
    flow->first_seen_ms = db_get_int(r, 3);
    flow->done_ms = db_get_int(r, 4);
    flow->failures = db_get_int(r, 5);
}

int store_read_flows(struct engine *e, struct ls_error *err)
{
    return db_run(e->db, "SELECT id, hash, paused, first_seen_ms, done_ms, failures FROM lineshaft_workflow", NULL, 0,
                  on_flow, e, err) < 0
               ? -1
               : 0;
}

static void on_two_texts(void *arg, const struct db_row *r)
{
    char **texts = arg;
    texts[0] = text_at(r, 0);
    texts[1] = text_at(r, 1);
}

char *store_definition_text(struct engine *e, const char *hash, char **path, struct ls_error *err)
{
    char *texts[2] = {0};
    if (db_run(e->db, "SELECT text, path FROM lineshaft_definition WHERE hash = $1", DB_VALUES(db_text(hash)),
               on_two_texts, texts, err) == 0)
        error_set(err, "NOT_FOUND", "the workflow's text %s is not in the database", hash);
    *path = texts[1];
    return texts[0];
}

char *store_hash_at(struct engine *e, const char *path)
{
    static const char SQL[] = "SELECT w.hash, w.id FROM lineshaft_workflow w JOIN lineshaft_definition d ON d.hash = "
                              "w.hash WHERE d.path = $1 LIMIT 1";
    char *texts[2] = {0};
    struct ls_error err = {0};
    if (!e->broken.name[0] && db_run(e->db, SQL, DB_VALUES(db_text(path)), on_two_texts, texts, &err) < 0)
        e->broken = err;
    free(texts[1]);
    return texts[0];
}

/* ---- runs ---- */

#define RUN_COLUMNS                                                                                                    \
    "SELECT id, workflow, run_id, state, reason, error, cause, logical_ms, interval_start_ms, interval_end_ms, "       \
    "queued_ms, start_ms, end_ms, "                                                                                    \
    "inputs, note, event_id, event_topic, traceparent, correlationid, definition_hash, stopping, tasks_total, "        \
    "tasks_done, "                                                                                                     \
    "tasks_failed FROM lineshaft_workflow_run "

static const char *const CAUSES[] = {"schedule", "manual", "event", "backfill", NULL};

/* A row as a struct run without definition; `hash` is the caller's. */
static struct run *run_of(struct engine *e, const struct db_row *r, char **hash)
{
    char *flow_id = text_at(r, 1);
    struct run *run = xcalloc(1, sizeof *run);
    run->flow = flow_find(e, flow_id);
    if (!run->flow)
        run->flow = flow_new(e, flow_id);
    free(flow_id);
    run->number = db_get_int(r, 0);
    run->id = text_at(r, 2);
    run->state = (enum run_state) word_at(r, 3, RUN_STATES);
    run->reason = text_at(r, 4);
    run->error = text_at(r, 5);
    run->trigger = CAUSES[word_at(r, 6, CAUSES)];
    run->logical_ms = time_at(r, 7);
    run->interval_start_ms = time_at(r, 8);
    run->interval_end_ms = time_at(r, 9);
    run->queued_ms = db_get_int(r, 10);
    run->start_ms = db_get_int(r, 11);
    run->end_ms = db_get_int(r, 12);
    run->inputs = json_at(r, 13);
    if (!run->inputs)
        run->inputs = json_object();
    run->note = text_at(r, 14);
    run->event_id = text_at(r, 15);
    run->event_topic = text_at(r, 16);
    run->traceparent = text_at(r, 17);
    run->correlationid = text_at(r, 18);
    *hash = text_at(r, 19);
    run->stopping = db_get_bool(r, 20);
    run->jobs_total = (size_t) db_get_int(r, 21);
    run->jobs_done = (size_t) db_get_int(r, 22);
    run->jobs_failed = (size_t) db_get_int(r, 23);
    return run;
}

/* Rows cannot be asked for while others come: they are gathered first. */
struct gathered {
    struct engine *engine;
    struct run **runs;
    char **hashes;
    size_t count, room, hash_room;
};

static void on_run(void *arg, const struct db_row *r)
{
    struct gathered *g = arg;
    g->runs = xgrow(g->runs, &g->room, g->count + 1, sizeof *g->runs);
    g->hashes = xgrow(g->hashes, &g->hash_room, g->count + 1, sizeof *g->hashes);
    g->runs[g->count] = run_of(g->engine, r, &g->hashes[g->count]);
    g->count++;
}

static int give_definition(struct engine *e, struct run *run, const char *hash, struct ls_error *err)
{
    run->definition = definition_require(e, hash, err);
    if (!run->definition)
        return -1;
    definition_use(run->definition);
    return 0;
}

static void gathered_fini(struct gathered *g)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->runs[i])
            run_free(g->runs[i]);
        free(g->hashes[i]);
    }
    free(g->runs);
    free(g->hashes);
}

/* ---- tasks and tries ---- */

#define JOB_COLUMNS                                                                                                    \
    "SELECT t.run, t.task, t.state, t.attempt, t.base_attempt, t.losses, t.scheduled_ms, t.queued_ms, t.start_ms, "    \
    "t.end_ms, "                                                                                                       \
    "t.next_attempt_ms, t.exit_code, t.reason, t.error, t.outputs FROM lineshaft_task t "
#define TRY_COLUMNS                                                                                                    \
    "SELECT y.run, y.task, y.id, y.attempt, y.state, y.runner, y.boot, y.host, y.pid, y.queued_ms, y.claimed_ms, "     \
    "y.start_ms, y.end_ms, "                                                                                           \
    "y.exit_code, y.signal, y.reason, y.error, y.log FROM lineshaft_try y "

struct reading {
    struct map runs; /* by number */
    struct run *run; /* or a single one */
};

static struct job *job_at(struct reading *reading, const struct db_row *r)
{
    struct run *run = reading->run ? reading->run : map_get(&reading->runs, (uint64_t) db_get_int(r, 0));
    char *id = text_at(r, 1);
    const struct task *task = run ? workflow_task(run->definition->workflow, id) : NULL;
    free(id);
    if (task && !run->jobs)
        run_make_jobs(run);
    return task ? &run->jobs[task->index] : NULL;
}

static void on_job(void *arg, const struct db_row *r)
{
    struct job *job = job_at(arg, r);
    if (!job)
        return;
    job->state = (enum task_state) word_at(r, 2, TASK_STATES);
    job->attempt = db_get_int(r, 3);
    job->base_attempt = db_get_int(r, 4);
    job->losses = db_get_int(r, 5);
    job->scheduled_ms = db_get_int(r, 6);
    job->queued_ms = db_get_int(r, 7);
    job->start_ms = db_get_int(r, 8);
    job->end_ms = db_get_int(r, 9);
    job->next_attempt_ms = db_get_int(r, 10);
    job->exit_code = (int) db_get_int(r, 11);
    job->has_exit_code = !db_is_null(r, 11);
    job->reason = text_at(r, 12);
    job->error = text_at(r, 13);
    job->outputs = json_at(r, 14);
}

static void fill_try(struct try *try, const struct db_row *r)
{
    struct ls_slice id = db_get_text(r, 2);
    if (id.len < sizeof try->id)
        memcpy(try->id, id.data, id.len);
    try->attempt = db_get_int(r, 3);
    try->state = (enum task_state) word_at(r, 4, TASK_STATES);
    try->runner = text_at(r, 5);
    try->boot = text_at(r, 6);
    try->host = text_at(r, 7);
    try->pid = db_get_int(r, 8);
    try->queued_ms = db_get_int(r, 9);
    try->claimed_ms = db_get_int(r, 10);
    try->start_ms = db_get_int(r, 11);
    try->end_ms = db_get_int(r, 12);
    try->exit_code = (int) db_get_int(r, 13);
    try->has_exit_code = !db_is_null(r, 13);
    try->signal = (int) db_get_int(r, 14);
    try->has_signal = !db_is_null(r, 14);
    try->reason = text_at(r, 15);
    try->error = text_at(r, 16);
    try->log = text_at(r, 17);
}

static void on_live_try(void *arg, const struct db_row *r)
{
    struct job *job = job_at(arg, r);
    if (!job || job->try)
        return;
    struct try *try = xcalloc(1, sizeof *try);
    try->job = job;
    fill_try(try, r);
    attempt_link(try);
}

/* ---- live ---- */

/* One whose text this scheduler cannot read any more cannot go on. */
static int give_up(struct engine *e, const struct run *run, const char *why, struct ls_error *err)
{
    static const char SQL[] = "UPDATE lineshaft_workflow_run SET state = 'failed', reason = 'definition', error = $2, "
                              "end_ms = $3 WHERE id = $1";
    logger_put(LEVEL_ERROR, "run-unreadable", why, "workflow=%s run=%s", run->flow->id, run->id);
    return db_run(e->db, SQL, DB_VALUES(db_int(run->number), db_text(why), db_int(now_wall(e))), NULL, NULL, err) < 0
               ? -1
               : 0;
}

static int link_live(struct engine *e, struct gathered *g, struct reading *reading, struct ls_error *err)
{
    for (size_t i = 0; i < g->count; i++) {
        struct run *run = g->runs[i];
        struct ls_error why = {0};
        if (give_definition(e, run, g->hashes[i], &why)) {
            if (db_problem(e->db) != DB_OK) {
                *err = why;
                return -1;
            }
            if (give_up(e, run, why.text, err))
                return -1;
            outbox_tell_run(run, "workflow.run.failed", json_pack("{s:s}", "error", why.text));
            continue;
        }
        g->runs[i] = NULL;
        run_link(run);
        map_put(&reading->runs, (uint64_t) run->number, run);
    }
    return 0;
}

int store_read_live(struct engine *e, struct ls_error *err)
{
    struct gathered g = {.engine = e};
    struct reading reading = {0};
    int rc = 0;
    e->counters[METRIC_RUNS_QUEUED] = e->counters[METRIC_RUNS_RUNNING] = e->counters[METRIC_TASKS_ACTIVE] =
        e->counters[METRIC_TASKS_WAITING] = 0;
    if (db_run(e->db, RUN_COLUMNS "WHERE state IN ('queued', 'running') ORDER BY id", NULL, 0, on_run, &g, err) < 0 ||
        link_live(e, &g, &reading, err) ||
        db_run(e->db,
               JOB_COLUMNS "JOIN lineshaft_workflow_run r ON r.id = t.run WHERE r.state IN ('queued', 'running')", NULL,
               0, on_job, &reading, err) < 0 ||
        db_run(e->db, TRY_COLUMNS "WHERE y.state IN ('queued', 'running')", NULL, 0, on_live_try, &reading, err) < 0)
        rc = -1;
    gathered_fini(&g);
    map_fini(&reading.runs);
    return rc;
}

/* ---- for those who ask ---- */

struct run *store_read_run(struct engine *e, struct flow *flow, const char *id, struct ls_error *err)
{
    struct gathered g = {.engine = e};
    struct reading reading = {0};
    err->name[0] = 0;
    int64_t rows = id ? db_run(e->db, RUN_COLUMNS "WHERE workflow = $1 AND run_id = $2",
                               DB_VALUES(db_text(flow->id), db_text(id)), on_run, &g, err)
                      : db_run(e->db, RUN_COLUMNS "WHERE workflow = $1 ORDER BY id DESC LIMIT 1",
                               DB_VALUES(db_text(flow->id)), on_run, &g, err);
    struct run *run = rows > 0 ? g.runs[0] : NULL;
    if (run && !give_definition(e, run, g.hashes[0], err)) {
        reading.run = run;
        g.runs[0] = NULL;
        run_make_jobs(run);
        if (db_run(e->db, JOB_COLUMNS "WHERE t.run = $1", DB_VALUES(db_int(run->number)), on_job, &reading, err) < 0) {
            run_free(run);
            run = NULL;
        }
    } else {
        run = NULL;
    }
    gathered_fini(&g);
    return run;
}

static void on_one(void *arg, const struct db_row *r)
{
    *(int64_t *) arg = db_get_int(r, 0);
}

/* The first column of the first row; 0: no row, or the database failed, and with it the turn. */
static int64_t ask(struct engine *e, const char *sql, const struct db_value *values, size_t count)
{
    int64_t found = 0;
    struct ls_error err = {0};
    if (e->broken.name[0] || db_run(e->db, sql, values, count, on_one, &found, &err) >= 0)
        return found;
    e->broken = err;
    return 0;
}

enum exists store_run_exists(struct engine *e, const char *flow_id, const char *id, int64_t logical_ms)
{
    if (ask(e, "SELECT 1 FROM lineshaft_workflow_run WHERE workflow = $1 AND run_id = $2",
            DB_VALUES(db_text(flow_id), db_text(id))))
        return EXISTS_ID;
    if (logical_ms != NO_TIME && ask(e, "SELECT 1 FROM lineshaft_workflow_run WHERE workflow = $1 AND logical_ms = $2",
                                     DB_VALUES(db_text(flow_id), db_int(logical_ms))))
        return EXISTS_DATE;
    return EXISTS_NOT;
}

bool store_try_exists(struct engine *e, const char *id)
{
    return ask(e, "SELECT 1 FROM lineshaft_try WHERE id = $1", DB_VALUES(db_text(id))) == 1;
}

bool store_was_seen(struct engine *e, const char *flow_id, const char *key)
{
    return ask(e, "SELECT 1 FROM lineshaft_trigger_seen WHERE workflow = $1 AND event_key = $2",
               DB_VALUES(db_text(flow_id), db_text(key))) == 1;
}

int store_list_runs(struct engine *e, const struct run_filter *filter, void (*fn)(void *arg, struct run *run),
                    void *arg, struct ls_error *err)
{
    struct gathered g = {.engine = e};
    const struct db_value limit = db_int(filter->limit);
    int64_t rows;
    if (filter->flow_id && filter->state)
        rows = db_run(e->db, RUN_COLUMNS "WHERE workflow = $1 AND state = $2 ORDER BY id DESC LIMIT $3",
                      DB_VALUES(db_text(filter->flow_id), db_text(filter->state), limit), on_run, &g, err);
    else if (filter->flow_id)
        rows = db_run(e->db, RUN_COLUMNS "WHERE workflow = $1 ORDER BY id DESC LIMIT $2",
                      DB_VALUES(db_text(filter->flow_id), limit), on_run, &g, err);
    else if (filter->state)
        rows = db_run(e->db, RUN_COLUMNS "WHERE state = $1 ORDER BY id DESC LIMIT $2",
                      DB_VALUES(db_text(filter->state), limit), on_run, &g, err);
    else
        rows = db_run(e->db, RUN_COLUMNS "ORDER BY id DESC LIMIT $1", DB_VALUES(limit), on_run, &g, err);
    for (size_t i = 0; i < g.count; i++) {
        struct ls_error ignored;
        give_definition(e, g.runs[i], g.hashes[i], &ignored); /* for its hash */
        fn(arg, g.runs[i]);
    }
    gathered_fini(&g);
    return rows < 0 ? -1 : 0;
}

struct try_reader {
    const struct job *job;
    void (*fn)(void *arg, const struct try *try);
    void *arg;
};

static void on_try(void *arg, const struct db_row *r)
{
    const struct try_reader *reader = arg;
    struct try *try = xcalloc(1, sizeof *try);
    try->over = true; /* in no map */
    fill_try(try, r);
    reader->fn(reader->arg, try);
    attempt_free(try);
}

int store_list_tries(struct engine *e, const struct job *job, void (*fn)(void *arg, const struct try *try), void *arg,
                     struct ls_error *err)
{
    struct try_reader reader = {.job = job, .fn = fn, .arg = arg};
    return db_run(e->db, TRY_COLUMNS "WHERE y.run = $1 AND y.task = $2 ORDER BY y.attempt",
                  DB_VALUES(db_int(job->run->number), db_text(job->task->id)), on_try, &reader, err) < 0
               ? -1
               : 0;
}
