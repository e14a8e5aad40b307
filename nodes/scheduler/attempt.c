/* SPDX-License-Identifier: Apache-2.0 */
/* Tries: one attempt at a task, from its slot to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define RUN_OUT_AGAIN_MS 1000

static uint64_t key_of(const char *id)
{
    return XXH3_64bits(id, strlen(id));
}

struct try *attempt_find(const struct engine *e, const char *id)
{
    struct try *try = map_get(&e->try_map, key_of(id));
    return try && strcmp(try->id, id) == 0 ?
    try : NULL
        ;
}

static void on_lease(void *arg, struct timer *timer);

struct try *attempt_new(struct job *job)
{
    struct try *try = xcalloc(1, sizeof *try);
    uuid7(clock_wall_us(), try->id);
    try->job = job;
    try->state = TASK_QUEUED;
    try->attempt = ++job->attempt;
    try->queued_ms = now_wall(engine_of(job->run));
    dirty_try(try);
    return try;
}

void attempt_link(struct try *try)
{
    try->lease.fire = on_lease;
    try->job->try = try;
    map_put(&engine_of(try->job->run)->try_map, key_of(try->id), try);
}

static void unlink_try(struct try *try)
{
    struct engine *e = engine_of(try->job->run);
    heap_unset(&e->mono, &try->lease);
    if (try->to_ask)
        STAILQ_REMOVE(&e->asks, try, try, ask_link);
    map_remove(&e->try_map, key_of(try->id));
    try->job->try = NULL;
    try->over = true;
}

void attempt_free(struct try *try)
{
    if (!try->over)
        unlink_try(try);
    char *const texts[] = {try->runner, try->boot, try->host, try->reason, try->error, try->log, try->topic, try->body};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    free(try);
}

/* ---- leases ---- */

void attempt_lease(struct try *try, int64_t lease_ms)
{
    struct engine *e = engine_of(try->job->run);
    heap_set(&e->mono, &try->lease, now_mono(e) + lease_ms);
}

static void on_lease(void *arg, struct timer *timer)
{
    struct try *try = (struct try *) (void *) ((char *) timer - offsetof(struct try, lease));
    struct engine *e = arg;
    if (!e->connected) { /* runners cannot reach us, and keep what they have */
        attempt_lease(try, RUN_OUT_AGAIN_MS);
        return;
    }
    logger_put(LEVEL_WARN, "try-lost", "its runner was silent for longer than its lease",
               "try=%s runner=%s workflow=%s task=%s", try->id, try->runner, try->job->run->flow->id,
               try->job->task->id);
    attempt_ended(try, &(struct outcome){.reason = "lost", .cpu_ms = -1, .memory_bytes = -1});
}

/* ---- its way ---- */

void attempt_started(struct try *try, int64_t start_ms)
{
    struct job *job = try->job;
    try->state = TASK_RUNNING;
    try->start_ms = start_ms;
    dirty_try(try);
    job->state = TASK_RUNNING;
    job->start_ms = start_ms;
    dirty_job(job);
}

static char *sentence(const struct try *try, const struct outcome *o)
{
    if (o->error && *o->error)
        return xstrdup(o->error);
    if (strcmp(o->reason, "exit") == 0)
        return xasprintf("exit code %d", o->exit_code);
    if (strcmp(o->reason, "signal") == 0)
        return xasprintf("ended by signal %d", o->signal);
    if (strcmp(o->reason, "timeout") == 0)
        return xasprintf("took longer than its timeout");
    if (strcmp(o->reason, "lost") == 0)
        return xasprintf("its runner %s went away", try->runner ? try->runner : "");
    if (strcmp(o->reason, "stopped") == 0)
        return xasprintf("its runner %s was stopped", try->runner ? try->runner : "");
    return xstrdup(o->reason);
}

static void close_try(struct try *try, const struct outcome *o)
{
    try->state = o->ok ? TASK_SUCCESS : TASK_FAILED;
    try->start_ms = o->start_ms ? o->start_ms : try->start_ms;
    try->end_ms = o->end_ms ? o->end_ms : now_wall(engine_of(try->job->run));
    try->exit_code = o->exit_code;
    try->has_exit_code = o->has_exit_code;
    try->signal = o->signal;
    try->has_signal = o->has_signal;
    set_text(&try->log, o->log);
    set_text(&try->reason, o->reason);
    if (!o->ok)
        try->error = sentence(try, o);
    dirty_try(try);
}

void attempt_ended(struct try *try, const struct outcome *outcome)
{
    struct job *job = try->job;
    struct outcome o = *outcome;
    char text[120];
    size_t bytes = o.ok && o.outputs ? json_dumpb(o.outputs, NULL, 0, JSON_COMPACT) : 0;
    if (bytes > OUTPUTS_MAX) {
        snprintf(text, sizeof text, "its outputs are %zu bytes; at most %d: put large results into a file", bytes,
                 OUTPUTS_MAX);
        o = (struct outcome){.reason = "outputs",
                             .error = text,
                             .log = o.log,
                             .start_ms = o.start_ms,
                             .end_ms = o.end_ms,
                             .final = true,
                             .cpu_ms = -1,
                             .memory_bytes = -1};
    }
    if (!o.ok && strcmp(o.reason, "lost") == 0)
        engine_count(engine_of(job->run), METRIC_TRIES_LOST, 1);
    close_try(try, &o);
    job_try_ended(job, &o);
    unlink_try(try);
}

/* One that nobody has begun with: it never happened. */
static void withdraw(struct try *try, const char *reason)
{
    struct job *job = try->job;
    close_try(try, &(struct outcome){.reason = reason});
    slots_give(job);
    unlink_try(try);
    job_skip(job, TASK_SKIPPED, reason);
}

void attempt_stop(struct try *try, const char *reason)
{
    struct engine *e = engine_of(try->job->run);
    enum task_type type = try->job->task->type;
    try->stop_reason = strcmp(reason, "timeout") == 0 ? "timeout" : "cancelled";
    if (type == TASK_COMMAND && !try->boot)
        withdraw(try, reason);
    else if (type == TASK_COMMAND)
        outbox_tell_job(try->job, "task.cancel", json_pack("{s:s}", "reason", try->stop_reason));
    else if (type == TASK_REQUEST && try->asking)
        e->ports->stop_asking(e->ports->arg, try->id);
    else if (type == TASK_REQUEST)
        attempt_ended(try, &(struct outcome){.reason = "cancelled", .final = true, .cpu_ms = -1, .memory_bytes = -1});
}

void attempt_resume(struct try *try)
{
    struct job *job = try->job;
    slots_take(job);
    if (job->run->stopping)
        try->stop_reason = strcmp(job->run->reason, "timeout") == 0 ? "timeout" : "cancelled";
    if (try->boot)
        attempt_lease(try, lease_with_grace(engine_of(job->run)));
    else if (job->task->type == TASK_REQUEST)
        attempt_ended(try, &(struct outcome){.reason = "lost",
                                             .error = "the scheduler was started anew while it waited for the answer",
                                             .cpu_ms = -1,
                                             .memory_bytes = -1});
}

/* ---- what the bus says to tries without a runner ---- */

void engine_answered(struct engine *e, const char *try_id, json_t *outputs, const struct ls_error *err)
{
    struct try *try = attempt_find(e, try_id);
    struct outcome o = {.ok = !err,
                        .reason = err ? "request" : "answer",
                        .error = err ? err->text : NULL,
                        .outputs = outputs,
                        .cpu_ms = -1,
                        .memory_bytes = -1};
    if (!try)
        return;
    if (err && try->stop_reason)
        o.reason = try->stop_reason;
    else if (err && strcmp(err->name, "TIMEOUT") == 0)
        o.reason = "timeout";
    attempt_ended(try, &o);
}

void engine_stored(struct engine *e, const char *try_id, const struct ls_error *err)
{
    struct try *try = attempt_find(e, try_id);
    if (try)
        attempt_ended(try, &(struct outcome){.ok = !err,
                                             .reason = err ? "refused" : "stored",
                                             .error = err ? err->text : NULL,
                                             .cpu_ms = -1,
                                             .memory_bytes = -1});
}
