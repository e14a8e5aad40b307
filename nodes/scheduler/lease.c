/* SPDX-License-Identifier: Apache-2.0 */
/* What runners ask and report (docs/nodes/task-run.md): claims, leases, beginnings and ends of tries. */
#include <stdlib.h>

#include "lib/error.h"
#include "nodes/scheduler/engine.h"

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* The runner counts from when it asked, we from when we answer; and then there is its keeper's last second. */
int64_t lease_with_grace(const struct engine *e)
{
    return e->options->lease + e->options->lease / 4;
}

static const char *require(const json_t *request, const char *key, struct ls_error *err)
{
    const char *text = text_of(request, key);
    if (!text || !*text) {
        error_set(err, "FAILED", "the request lacks \"%s\", a text", key);
        err->number = 400;
    }
    return text && *text ? text : NULL;
}

/* ---- claims ---- */

static json_t *refused(const char *reason)
{
    return json_pack("{s:b, s:s}", "granted", 0, "reason", reason);
}

static void bind(struct try *try, const char *runner, const char *boot, const json_t *request)
{
    set_text(&try->runner, runner);
    set_text(&try->boot, boot);
    set_text(&try->host, text_of(request, "host"));
    try->claimed_ms = now_wall(engine_of(try->job->run));
    dirty_try(try);
}

json_t *lease_claim(struct engine *e, const json_t *request, struct ls_error *err)
{
    const char *id = require(request, "try", err), *runner = require(request, "runner", err),
               *boot = require(request, "boot", err);
    if (!id || !runner || !boot)
        return NULL;
    struct try *try = attempt_find(e, id);
    if (!try || try->job->task->type != TASK_COMMAND)
        return refused(try || store_try_exists(e, id) ? "over" : "unknown");
    if (try->boot && (strcmp(try->boot, boot) != 0 || strcmp(try->runner, runner) != 0))
        return refused("taken");
    if (!try->boot)
        bind(try, runner, boot, request);
    attempt_lease(try, lease_with_grace(e));
    return json_pack("{s:b, s:I, s:b}", "granted", 1, "lease_ms", (json_int_t) e->options->lease, "cancelled",
                     try->stop_reason != NULL);
}

/* ---- leases ---- */

static void stop(json_t *list, const char *id, const char *reason)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "try", id, "reason", reason));
}

/* Tries of a former process of this runner, of which it has not told. What it did tell may still be on its way:
 * they have a little while. */
static void end_former(struct engine *e, const char *runner, const char *boot)
{
    struct try *try;
    size_t at = 0;
    int64_t soon = now_mono(e) + e->options->lease / 4;
    while ((try = map_walk(&e->try_map, &at, NULL)))
        if (try->boot && strcmp(try->runner, runner) == 0 && strcmp(try->boot, boot) != 0 &&
            (!try->lease.place || try->lease.due_ms > soon))
            attempt_lease(try, e->options->lease / 4);
}

/* A try's end is stored, or is being stored, as the runner says: its event may come later than this word, and
 * tells what became of it. */
static void await_ended(struct engine *e, const json_t *ended, const char *runner)
{
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *) (uintptr_t) ended, i, item)
    {
        const char *id = json_string_value(item);
        struct try *try = id ? attempt_find(e, id) : NULL;
        if (try && try->boot && strcmp(try->runner, runner) == 0)
            attempt_lease(try, lease_with_grace(e));
    }
}

json_t *lease_renew(struct engine *e, const json_t *request, struct ls_error *err)
{
    const char *runner = require(request, "runner", err), *boot = require(request, "boot", err);
    const json_t *tries = json_object_get(request, "tries");
    size_t i;
    const json_t *item;
    if (!runner || !boot)
        return NULL;
    json_t *list = json_array();
    json_array_foreach((json_t *) (uintptr_t) tries, i, item)
    {
        const char *id = json_string_value(item);
        struct try *try = id ? attempt_find(e, id) : NULL;
        if (!id)
            continue;
        if (!try || !try->boot || strcmp(try->runner, runner) != 0 || strcmp(try->boot, boot) != 0) {
            stop(list, id, "over");
            continue;
        }
        attempt_lease(try, lease_with_grace(e));
        if (try->stop_reason)
            stop(list, id, try->stop_reason);
    }
    end_former(e, runner, boot);
    await_ended(e, json_object_get(request, "ended"), runner); /* behind the line before: it takes some of that back */
    return json_pack("{s:I, s:o}", "lease_ms", (json_int_t) e->options->lease, "stop", list);
}

/* ---- reports ---- */

/* The try that a report is about; NULL: it is over, or was never that runner's. */
static struct try *reported(struct engine *e, const json_t *body)
{
    const char *id = text_of(body, "try"), *runner = text_of(body, "runner");
    struct try *try = id ? attempt_find(e, id) : NULL;
    if (try && try->boot && try->job->task->type == TASK_COMMAND && (!runner || strcmp(runner, try->runner) == 0))
        return try;
    if (!try || try->job->task->type == TASK_COMMAND)
        engine_count(e, METRIC_LATE_REPORTS, !runner || strcmp(runner, e->name) != 0); /* our own come round too */
    return NULL;
}

static int64_t time_of(const json_t *body, const char *key, int64_t fallback)
{
    int64_t ms = json_integer_value(json_object_get(body, key));
    return ms > 0 ? ms : fallback;
}

void report_started(struct engine *e, const json_t *body)
{
    struct try *try = reported(e, body);
    if (!try || try->state != TASK_QUEUED)
        return;
    const char *host = text_of(body, "host");
    try->pid = json_integer_value(json_object_get(body, "pid"));
    if (host)
        set_text(&try->host, host);
    attempt_started(try, time_of(body, "start_time", now_wall(e)));
}

void report_ended(struct engine *e, const json_t *body)
{
    struct try *try = reported(e, body);
    const json_t *code = json_object_get(body, "exit_code"), *signal = json_object_get(body, "signal");
    const json_t *cpu = json_object_get(body, "cpu_ms"), *memory = json_object_get(body, "memory_bytes_max");
    json_t *outputs = json_object_get(body, "outputs");
    const char *reason = text_of(body, "reason");
    if (!try)
        return;
    struct outcome o = {.reason = reason ? reason : "exit",
                        .error = text_of(body, "error"),
                        .log = text_of(body, "log"),
                        .has_exit_code = json_is_integer(code),
                        .exit_code = (int) json_integer_value(code),
                        .has_signal = json_is_integer(signal),
                        .signal = (int) json_integer_value(signal),
                        .start_ms = time_of(body, "start_time", try->start_ms),
                        .end_ms = time_of(body, "end_time", now_wall(e)),
                        .outputs = json_is_object(outputs) ? outputs : NULL,
                        .cpu_ms = json_is_number(cpu) ? json_number_value(cpu) : -1,
                        .memory_bytes = json_is_integer(memory) ? json_integer_value(memory) : -1};
    o.ok = strcmp(o.reason, "exit") == 0 && o.has_exit_code && o.exit_code == 0;
    attempt_ended(try, &o);
}
