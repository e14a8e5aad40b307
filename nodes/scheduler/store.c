/* SPDX-License-Identifier: Apache-2.0 */
/* The database: its tables, and writing what a turn has changed. A row per workflow, run, task and try, which
 * holds the present state. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

/* clang-format off */
#define TABLES(S) \
    "CREATE TABLE " S "lineshaft_scheduler (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, next_run BIGINT NOT NULL," \
    " next_event BIGINT NOT NULL, broker TEXT);" \
    "CREATE TABLE " S "lineshaft_definition (hash TEXT PRIMARY KEY, path TEXT NOT NULL, text TEXT NOT NULL);" \
    "CREATE TABLE " S "lineshaft_workflow (id TEXT PRIMARY KEY, hash TEXT, paused BOOLEAN NOT NULL, first_seen_ms BIGINT NOT NULL," \
    " done_ms BIGINT NOT NULL, failures BIGINT NOT NULL);" \
    "CREATE TABLE " S "lineshaft_workflow_run (id BIGINT PRIMARY KEY, workflow TEXT NOT NULL, run_id TEXT NOT NULL, state TEXT NOT NULL," \
    " reason TEXT, error TEXT, cause TEXT NOT NULL, logical_ms BIGINT, interval_start_ms BIGINT, interval_end_ms BIGINT," \
    " queued_ms BIGINT NOT NULL, start_ms BIGINT, end_ms BIGINT, inputs TEXT NOT NULL, note TEXT, event_id TEXT, event_topic TEXT," \
    " traceparent TEXT, correlationid TEXT, definition_hash TEXT NOT NULL, stopping BOOLEAN NOT NULL, tasks_total BIGINT NOT NULL," \
    " tasks_done BIGINT NOT NULL, tasks_failed BIGINT NOT NULL, UNIQUE (workflow, run_id), UNIQUE (workflow, logical_ms));" \
    "CREATE INDEX " "lineshaft_workflow_run_newest ON " S "lineshaft_workflow_run (workflow, id);" \
    "CREATE INDEX " "lineshaft_workflow_run_live ON " S "lineshaft_workflow_run (state) WHERE state IN ('queued', 'running');" \
    "CREATE INDEX " "lineshaft_workflow_run_ended ON " S "lineshaft_workflow_run (end_ms);" \
    "CREATE TABLE " S "lineshaft_task (run BIGINT NOT NULL, task TEXT NOT NULL, state TEXT NOT NULL, attempt BIGINT NOT NULL," \
    " base_attempt BIGINT NOT NULL, losses BIGINT NOT NULL, scheduled_ms BIGINT, queued_ms BIGINT, start_ms BIGINT, end_ms BIGINT," \
    " next_attempt_ms BIGINT, exit_code BIGINT, reason TEXT, error TEXT, outputs TEXT, PRIMARY KEY (run, task));" \
    "CREATE TABLE " S "lineshaft_try (id TEXT PRIMARY KEY, run BIGINT NOT NULL, task TEXT NOT NULL, attempt BIGINT NOT NULL," \
    " state TEXT NOT NULL, runner TEXT, boot TEXT, host TEXT, pid BIGINT," \
    " queued_ms BIGINT NOT NULL, claimed_ms BIGINT, start_ms BIGINT, end_ms BIGINT," \
    " exit_code BIGINT, signal BIGINT, reason TEXT, error TEXT, log TEXT);" \
    "CREATE INDEX " "lineshaft_try_task ON " S "lineshaft_try (run, task, attempt);" \
    "CREATE INDEX " "lineshaft_try_live ON " S "lineshaft_try (state) WHERE state IN ('queued', 'running');" \
    "CREATE TABLE " S "lineshaft_trigger_seen (workflow TEXT NOT NULL, event_key TEXT NOT NULL, for_ever BOOLEAN NOT NULL," \
    " seen_ms BIGINT NOT NULL, PRIMARY KEY (workflow, event_key));" \
    "CREATE TABLE " S "lineshaft_trigger_position (pattern TEXT NOT NULL, stream TEXT NOT NULL, next_seq BIGINT NOT NULL," \
    " PRIMARY KEY (pattern, stream));" \
    "CREATE TABLE " S "lineshaft_scheduler_outbox (number BIGINT PRIMARY KEY, source TEXT NOT NULL, events TEXT NOT NULL);"
/* clang-format on */

/* clang-format off */
#define SEEN(S) "ALTER TABLE " S "lineshaft_trigger_position ADD COLUMN seen_us BIGINT NOT NULL DEFAULT 0;"
/* clang-format on */

const struct db_step STORE_STEPS[] = {{.sqlite = TABLES(""), .postgres = TABLES("lineshaft.")},
                                      {.sqlite = SEEN(""), .postgres = SEEN("lineshaft.")}};
const size_t STORE_STEP_COUNT = sizeof STORE_STEPS / sizeof STORE_STEPS[0];

/* ---- values ---- */

static struct db_value time_value(int64_t ms)
{
    return ms && ms != NO_TIME ? db_int(ms) : db_null();
}

static struct db_value maybe(bool there, int64_t value)
{
    return there ? db_int(value) : db_null();
}

/* The text lives until *text is freed. */
static struct db_value json_value(const json_t *json, char **text)
{
    *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    return db_text(*text);
}

/* ---- rows ---- */

static int write_definition(struct engine *e, struct definition *d, struct ls_error *err)
{
    static const char SQL[] =
        "INSERT INTO lineshaft_definition (hash, path, text) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
    if (d->stored)
        return 0;
    d->stored = true;
    return db_queue(e->db, SQL,
                    DB_VALUES(db_text(d->workflow->hash), db_text(d->file->path), db_text(d->workflow->text)), err);
}

static int write_flow(struct engine *e, struct flow *flow, struct ls_error *err)
{
    static const char SQL[] = "INSERT INTO lineshaft_workflow (id, hash, paused, first_seen_ms, done_ms, failures) "
                              "VALUES ($1, $2, $3, $4, $5, $6)"
                              " ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, paused = excluded.paused, done_ms "
                              "= excluded.done_ms, failures = excluded.failures";
    if (flow->definition && write_definition(e, flow->definition, err))
        return -1;
    return db_queue(e->db, SQL,
                    DB_VALUES(db_text(flow->id), db_text(flow->stored_hash), db_bool(flow->paused),
                              db_int(flow->first_seen_ms), db_int(flow->done_ms), db_int(flow->failures)),
                    err);
}

static int write_run(struct engine *e, struct run *run, struct ls_error *err)
{
    static const char SQL[] = "INSERT INTO lineshaft_workflow_run (id, workflow, run_id, state, reason, error, cause, "
                              "logical_ms, interval_start_ms, interval_end_ms,"
                              " queued_ms, start_ms, end_ms, inputs, note, event_id, event_topic, traceparent, "
                              "correlationid, definition_hash, stopping,"
                              " tasks_total, tasks_done, tasks_failed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
                              "$10, $11, $12, $13, $14, $15, $16, $17, $18, $19,"
                              " $20, $21, $22, $23, $24) ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason "
                              "= excluded.reason, error = excluded.error,"
                              " start_ms = excluded.start_ms, end_ms = excluded.end_ms, stopping = excluded.stopping, "
                              "tasks_done = excluded.tasks_done,"
                              " tasks_failed = excluded.tasks_failed";
    char *inputs;
    if (write_definition(e, run->definition, err))
        return -1;
    struct db_value logical = run->logical_ms == NO_TIME ? db_null() : db_int(run->logical_ms);
    struct db_value inputs_value = json_value(run->inputs, &inputs);
    int rc = db_queue(e->db, SQL,
                      DB_VALUES(db_int(run->number), db_text(run->flow->id), db_text(run->id),
                                db_text(RUN_STATES[run->state]), db_text(run->reason), db_text(run->error),
                                db_text(run->trigger), logical, time_value(run->interval_start_ms),
                                time_value(run->interval_end_ms), db_int(run->queued_ms), time_value(run->start_ms),
                                time_value(run->end_ms), inputs_value, db_text(run->note), db_text(run->event_id),
                                db_text(run->event_topic), db_text(run->traceparent), db_text(run->correlationid),
                                db_text(run->definition->workflow->hash), db_bool(run->stopping),
                                db_int((int64_t) run->jobs_total), db_int((int64_t) run->jobs_done),
                                db_int((int64_t) run->jobs_failed)),
                      err);
    free(inputs);
    return rc;
}

static int write_job(struct engine *e, struct job *job, struct ls_error *err)
{
    static const char SQL[] =
        "INSERT INTO lineshaft_task (run, task, state, attempt, base_attempt, losses, scheduled_ms, queued_ms, "
        "start_ms, end_ms, next_attempt_ms,"
        " exit_code, reason, error, outputs) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
        " ON CONFLICT (run, task) DO UPDATE SET state = excluded.state, attempt = excluded.attempt, base_attempt = "
        "excluded.base_attempt,"
        " losses = excluded.losses, scheduled_ms = excluded.scheduled_ms, queued_ms = excluded.queued_ms, start_ms = "
        "excluded.start_ms,"
        " end_ms = excluded.end_ms, next_attempt_ms = excluded.next_attempt_ms, exit_code = excluded.exit_code, reason "
        "= excluded.reason,"
        " error = excluded.error, outputs = excluded.outputs";
    char *outputs;
    struct db_value outputs_value = json_value(job->outputs, &outputs);
    int rc = db_queue(e->db, SQL,
                      DB_VALUES(db_int(job->run->number), db_text(job->task->id), db_text(TASK_STATES[job->state]),
                                db_int(job->attempt), db_int(job->base_attempt), db_int(job->losses),
                                time_value(job->scheduled_ms), time_value(job->queued_ms), time_value(job->start_ms),
                                time_value(job->end_ms), time_value(job->next_attempt_ms),
                                maybe(job->has_exit_code, job->exit_code), db_text(job->reason), db_text(job->error),
                                outputs_value),
                      err);
    free(outputs);
    return rc;
}

static int write_try(struct engine *e, struct try *try, struct ls_error *err)
{
    static const char SQL[] =
        "INSERT INTO lineshaft_try (id, run, task, attempt, state, runner, boot, host, pid, queued_ms, claimed_ms, "
        "start_ms, end_ms, exit_code,"
        " signal, reason, error, log) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
        "$17, $18)"
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, runner = excluded.runner, boot = excluded.boot, host "
        "= excluded.host,"
        " pid = excluded.pid, claimed_ms = excluded.claimed_ms, start_ms = excluded.start_ms, end_ms = excluded.end_ms,"
        " exit_code = excluded.exit_code, signal = excluded.signal, reason = excluded.reason, error = excluded.error, "
        "log = excluded.log";
    return db_queue(
        e->db, SQL,
        DB_VALUES(db_text(try->id), db_int(try->job->run->number), db_text(try->job->task->id), db_int(try->attempt),
                  db_text(TASK_STATES[try->state]), db_text(try->runner), db_text(try->boot), db_text(try->host),
                  maybe(try->pid > 0, try->pid), db_int(try->queued_ms), time_value(try->claimed_ms),
                  time_value(try->start_ms), time_value(try->end_ms), maybe(try->has_exit_code, try->exit_code),
                  maybe(try->has_signal, try->signal), db_text(try->reason), db_text(try->error), db_text(try->log)),
        err);
}

int store_write(struct engine *e, struct ls_error *err)
{
    struct flow *flow;
    struct run *run;
    struct job *job;
    struct try *try;
    int rc = 0;
    STAILQ_FOREACH(flow, &e->dirty_flows, dirty_link)
    rc = rc ? rc : write_flow(e, flow, err);
    STAILQ_FOREACH(run, &e->dirty_runs, dirty_link)
    rc = rc ? rc : write_run(e, run, err);
    STAILQ_FOREACH(job, &e->dirty_jobs, dirty_link)
    rc = rc ? rc : write_job(e, job, err);
    STAILQ_FOREACH(try, &e->dirty_tries, dirty_link)
    rc = rc ? rc : write_try(e, try, err);
    return rc;
}

/* ---- history ---- */

#define OVER                                                                                                           \
    "SELECT id FROM lineshaft_workflow_run WHERE end_ms < $1 AND state IN ('success', 'failed') ORDER BY end_ms, id "  \
    "LIMIT 200"

int store_forget(struct engine *e, int64_t before_ms, struct ls_error *err)
{
    static const char *const STATEMENTS[] = {
        "DELETE FROM lineshaft_try WHERE run IN (" OVER ")",
        "DELETE FROM lineshaft_task WHERE run IN (" OVER ")",
        "DELETE FROM lineshaft_trigger_seen WHERE seen_ms < $1 AND NOT for_ever",
    };
    const struct db_value before = db_int(before_ms);
    int64_t removed = db_begin(e->db, err);
    for (size_t i = 0; i < 3 && removed >= 0; i++)
        removed = db_run(e->db, STATEMENTS[i], &before, 1, NULL, NULL, err);
    if (removed >= 0)
        removed =
            db_run(e->db, "DELETE FROM lineshaft_workflow_run WHERE id IN (" OVER ")", &before, 1, NULL, NULL, err);
    if (removed > 0 &&
        db_run(e->db,
               "DELETE FROM lineshaft_definition WHERE hash NOT IN (SELECT definition_hash FROM lineshaft_workflow_run)"
               " AND hash NOT IN (SELECT hash FROM lineshaft_workflow WHERE hash IS NOT NULL)",
               NULL, 0, NULL, NULL, err) < 0)
        removed = -1;
    if (removed < 0 || db_commit(e->db, err)) {
        db_rollback(e->db);
        return -1;
    }
    struct definition *d;
    LIST_FOREACH(d, &e->definitions, link)
    d->stored = false; /* written again with the next run that needs it */
    return (int) removed;
}
