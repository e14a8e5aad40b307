/* SPDX-License-Identifier: Apache-2.0 */
/* Runs: made by ticks, events and people, queued, started, stopped, cleared, over. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define TRACEPARENT_SIZE 56

static uint64_t key_of(const char *flow_id, const char *id)
{
    return XXH3_64bits_withSeed(id, strlen(id), XXH3_64bits(flow_id, strlen(flow_id)));
}

struct run *run_find(const struct engine *e, const char *flow_id, const char *id)
{
    struct run *run = map_get(&e->run_map, key_of(flow_id, id));
    return run && strcmp(run->id, id) == 0 && strcmp(run->flow->id, flow_id) == 0 ? run : NULL;
}

/* ---- live runs ---- */

static void on_timeout(void *arg, struct timer *timer)
{
    struct run *run = (struct run *) (void *) ((char *) timer - offsetof(struct run, timeout));
    (void) arg;
    run_stop(run, "timeout", "the run took longer than its timeout");
}

void run_link(struct run *run)
{
    struct engine *e = engine_of(run);
    struct flow *flow = run->flow;
    bool queued = run->state == RUN_QUEUED;
    run->timeout.fire = on_timeout;
    run->linked = true;
    map_put(&e->run_map, key_of(flow->id, run->id), run);
    if (queued)
        TAILQ_INSERT_TAIL(&flow->queued, run, link);
    else
        TAILQ_INSERT_TAIL(&flow->running, run, link);
    flow->queued_count += queued;
    flow->running_count += !queued;
    engine_count(e, queued ? METRIC_RUNS_QUEUED : METRIC_RUNS_RUNNING, 1);
}

/* From the list that its state says; it stays findable. */
static void leave_list(struct run *run)
{
    struct flow *flow = run->flow;
    bool queued = run->state == RUN_QUEUED;
    if (queued)
        TAILQ_REMOVE(&flow->queued, run, link);
    else
        TAILQ_REMOVE(&flow->running, run, link);
    flow->queued_count -= queued;
    flow->running_count -= !queued;
    engine_count(engine_of(run), queued ? METRIC_RUNS_QUEUED : METRIC_RUNS_RUNNING, -1);
}

void run_make_jobs(struct run *run)
{
    const struct workflow *w = run->definition->workflow;
    run->jobs = xcalloc(w->task_count ? w->task_count : 1, sizeof *run->jobs);
    for (size_t i = 0; i < w->task_count; i++)
        job_init(&run->jobs[i], run, &w->tasks[i]);
}

void run_free(struct run *run)
{
    struct engine *e = engine_of(run);
    if (run->linked)
        map_remove(&e->run_map, key_of(run->flow->id, run->id));
    heap_unset(&e->mono, &run->timeout);
    for (size_t i = 0; run->jobs && i < run->definition->workflow->task_count; i++)
        job_fini(&run->jobs[i]);
    free(run->jobs);
    json_decref(run->inputs);
    json_decref(run->scope);
    json_decref(run->outputs);
    char *const texts[] = {run->id,       run->reason,      run->error,       run->note,
                           run->event_id, run->event_topic, run->traceparent, run->correlationid};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    definition_drop(run->definition);
    free(run);
}

void run_recount(struct run *run)
{
    const struct workflow *w = run->definition->workflow;
    run->jobs_done = run->jobs_failed = 0;
    for (size_t i = 0; i < w->task_count; i++)
        run->jobs[i].counts = (struct rule_counts){.upstream = w->tasks[i].upstream_count};
    for (size_t i = 0; i < w->task_count; i++)
        if (task_state_is_final(run->jobs[i].state) &&
            !run->jobs[i].settled) /* else it is counted when its turn comes */
            job_tell_downstream(&run->jobs[i]);
}

void run_arm_timeout(struct run *run)
{
    int64_t limit = run->definition->workflow->timeout_ms;
    if (limit > 0 && !run->stopping)
        engine_after(engine_of(run), &run->timeout, run->start_ms + limit);
}

/* ---- what templates see ---- */

static void put_time(json_t *scope, const char *name, int64_t ms)
{
    char text[TIME_SIZE];
    json_object_set_new(scope, name, ms == NO_TIME ? json_null() : json_string(time_text(ms, text)));
}

json_t *run_scope(struct run *run)
{
    char text[TIME_SIZE];
    if (run->scope)
        return run->scope;
    int64_t when = run->logical_ms != NO_TIME ? run->logical_ms : run->queued_ms;
    run->outputs = json_object();
    for (size_t i = 0; run->jobs && i < run->definition->workflow->task_count; i++)
        if (run->jobs[i].outputs)
            json_object_set(run->outputs, run->jobs[i].task->id, run->jobs[i].outputs);
    time_text(when, text);
    run->scope = json_pack("{s:s, s:s, s:O, s:O, s:s, s:s#}", "workflow", run->flow->id, "run_id", run->id, "inputs",
                           run->inputs, "outputs", run->outputs, "ts", text, "ds", text, (size_t) 10);
    put_time(run->scope, "logical_date", run->logical_ms);
    put_time(run->scope, "data_interval_start", run->interval_start_ms);
    put_time(run->scope, "data_interval_end", run->interval_end_ms);
    return run->scope;
}

/* ---- making ---- */

/* A span of its own in the trace that the run belongs to (W3C Trace Context). */
static char *trace_of(const char *parent)
{
    unsigned char bytes[24];
    char hex[49], out[TRACEPARENT_SIZE];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes)
        memset(bytes, 0x5a, sizeof bytes); /* cannot happen for so few bytes once the system is up */
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    bool given = parent && strlen(parent) == 55 && strncmp(parent, "00-", 3) == 0;
    if (given)
        snprintf(out, sizeof out, "%.36s%.16s%.3s", parent, hex, parent + 52);
    else
        snprintf(out, sizeof out, "00-%.32s-%.16s-01", hex, hex + 32);
    return xstrdup(out);
}

static bool is_taken(const struct flow *flow, const char *id)
{
    return run_find(flow->engine, flow->id, id) || store_run_exists(flow->engine, flow->id, id, NO_TIME) != EXISTS_NOT;
}

/* scheduled__2026-11-23T02:00:00Z, manual__2026-11-23T11:07:31.123Z. */
static char *make_id(const struct flow *flow, const struct run_spec *spec)
{
    char text[TIME_SIZE];
    if (spec->id)
        return xstrdup(spec->id);
    if (strcmp(spec->trigger, "schedule") == 0)
        return xasprintf("scheduled__%s", time_text(spec->logical_ms, text));
    for (int64_t ms = now_wall(flow->engine);; ms++) {
        clock_format(ms * 1000, text);
        char *id = xasprintf("manual__%s", text);
        if (!is_taken(flow, id) || flow->engine->broken.name[0])
            return id;
        free(id);
    }
}

static bool date_taken(const struct flow *flow, int64_t logical_ms)
{
    const struct run *run;
    TAILQ_FOREACH(run, &flow->queued, link)
    if (run->logical_ms == logical_ms)
        return true;
    TAILQ_FOREACH(run, &flow->running, link)
    if (run->logical_ms == logical_ms)
        return true;
    TAILQ_FOREACH(run, &flow->engine->over, link)
    if (run->flow == flow && run->logical_ms == logical_ms)
        return true;
    return false;
}

/* False: the run is dropped. */
static bool make_room(struct flow *flow)
{
    const struct workflow *w = flow->definition->workflow;
    struct run *run;
    size_t active = flow->queued_count, limit = (size_t) w->max_active_runs;
    TAILQ_FOREACH(run, &flow->running, link)
    active += !run->stopping;
    if (w->overlap == OVERLAP_QUEUE || active < limit)
        return true;
    if (w->overlap == OVERLAP_SKIP)
        return false;
    for (; active >= limit; active--) {
        TAILQ_FOREACH(run, &flow->running, link)
        if (!run->stopping)
            break;
        run_stop(run ? run : TAILQ_FIRST(&flow->queued), "cancelled", "replaced by a newer run");
    }
    return true;
}

static json_t *created(const struct run *run, const struct run_spec *spec)
{
    json_t *more = json_pack("{s:s, s:O, s:s}", "trigger", run->trigger, "inputs", run->inputs, "definition_hash",
                             run->definition->workflow->hash);
    const int64_t times[] = {run->logical_ms, run->interval_start_ms, run->interval_end_ms};
    static const char *const NAMES[] = {"logical_date", "data_interval_start", "data_interval_end"};
    char text[TIME_SIZE];
    for (size_t i = 0; i < 3; i++)
        if (times[i] != NO_TIME)
            json_object_set_new(more, NAMES[i], json_string(time_text(times[i], text)));
    const char *const pairs[] = {"event_id", run->event_id, "event_topic", run->event_topic,
                                 "note",     run->note,     "user_id",     spec->user};
    for (size_t i = 0; i < 8; i += 2)
        if (pairs[i + 1])
            json_object_set_new(more, pairs[i], json_string(pairs[i + 1]));
    return more;
}

static struct run *make(struct flow *flow, const struct run_spec *spec, char *id, json_t *inputs)
{
    struct engine *e = flow->engine;
    struct run *run = xcalloc(1, sizeof *run);
    run->number = e->next_run++;
    run->flow = flow;
    run->definition = flow->definition;
    definition_use(run->definition);
    run->id = id;
    run->state = RUN_QUEUED;
    run->trigger = spec->trigger;
    run->logical_ms = spec->logical_ms;
    run->interval_start_ms = run->interval_end_ms = NO_TIME;
    if (spec->logical_ms != NO_TIME) {
        workflow_interval(run->definition->workflow, spec->logical_ms, flow_anchor(flow), &run->interval_start_ms);
        run->interval_end_ms = spec->logical_ms;
    }
    run->queued_ms = now_wall(e);
    run->inputs = inputs;
    set_text(&run->note, spec->note);
    set_text(&run->event_id, spec->event_id);
    set_text(&run->event_topic, spec->event_topic);
    set_text(&run->correlationid, spec->correlationid);
    run->traceparent = trace_of(spec->traceparent);
    run->jobs_total = run->definition->workflow->task_count;
    return run;
}

static int refuse(struct ls_error *err, int number)
{
    err->number = number;
    return -1;
}

/* 0: it may be made. 1: it is there already. -1: no. */
static int check(struct flow *flow, const struct run_spec *spec, const char *id, struct ls_error *err)
{
    char text[TIME_SIZE];
    enum exists exists = run_find(flow->engine, flow->id, id)
                             ? EXISTS_ID
                             : store_run_exists(flow->engine, flow->id, id, spec->logical_ms);
    if (exists == EXISTS_ID)
        return 1;
    if (exists == EXISTS_NOT && (spec->logical_ms == NO_TIME || !date_taken(flow, spec->logical_ms)))
        return 0;
    error_set(err, "FAILED", "workflow %s has had a run for %s already: clear that one to run it again", flow->id,
              time_text(spec->logical_ms, text));
    return refuse(err, 409);
}

struct run *run_create(struct flow *flow, struct run_spec *spec, bool *existing, bool *dropped, struct ls_error *err)
{
    json_t *given = spec->inputs;
    spec->inputs = NULL;
    *existing = *dropped = false;
    if (!flow->definition) {
        json_decref(given);
        error_set(err, "FAILED", "workflow %s has no file any more", flow->id);
        refuse(err, 409);
        return NULL;
    }
    json_t *inputs = workflow_inputs(flow->definition->workflow, given, err);
    json_decref(given);
    if (!inputs) {
        refuse(err, 400);
        return NULL;
    }
    char *id = make_id(flow, spec);
    int there = check(flow, spec, id, err);
    *existing = there == 1;
    *dropped = !there && !make_room(flow);
    if (there || *dropped) {
        struct run *run = *existing ? run_find(flow->engine, flow->id, id) : NULL;
        if (*dropped)
            error_set(err, "FAILED",
                      "workflow %s has %lld active runs, and its `concurrency` says to skip further ones", flow->id,
                      (long long) flow->definition->workflow->max_active_runs);
        if (*dropped)
            refuse(err, 409);
        json_decref(inputs);
        free(id);
        return run;
    }
    struct run *run = make(flow, spec, id, inputs);
    run_link(run);
    dirty_run(run);
    outbox_tell_run(run, "workflow.run.created", created(run, spec));
    runs_admit(flow);
    return run;
}

/* ---- starting ---- */

static void start(struct run *run)
{
    leave_list(run);
    run->linked = false;
    run->state = RUN_RUNNING;
    run->start_ms = now_wall(engine_of(run));
    run_link(run);
    dirty_run(run);
    if (!run->jobs)
        run_make_jobs(run);
    run_recount(run);
    run_arm_timeout(run);
    outbox_tell_run(run, "workflow.run.started", json_pack("{s:I}", "start_time", (json_int_t) run->start_ms));
    for (size_t i = 0; i < run->definition->workflow->task_count; i++)
        job_consider(&run->jobs[i]);
    run_check_over(run); /* one without tasks, or that was cleared of nothing */
}

void runs_admit(struct flow *flow)
{
    struct run *run;
    if (flow->admitting) /* a run without tasks was over at once: whoever started it goes on with the next */
        return;
    flow->admitting = true;
    while (!flow->paused && (run = TAILQ_FIRST(&flow->queued)) != NULL) {
        const struct workflow *w = flow->definition ? flow->definition->workflow : run->definition->workflow;
        if ((int64_t) flow->running_count >= w->max_active_runs)
            break;
        start(run);
    }
    flow->admitting = false;
    if (flow->held && flow->queued_count < CATCHUP_QUEUE_MAX / 2)
        flow_arm(flow);
}

/* ---- the end ---- */

static void count_failures(struct flow *flow, bool failed)
{
    int64_t limit = flow->definition ? flow->definition->workflow->max_consecutive_failures : 0;
    if (!failed && !flow->failures)
        return;
    flow->failures = failed ? flow->failures + 1 : 0;
    dirty_flow(flow);
    if (limit > 0 && flow->failures >= limit) {
        char *reason = xasprintf("%lld failed runs in a row", (long long) flow->failures);
        flow_pause(flow, true, reason);
        free(reason);
    }
}

static json_t *ended(const struct run *run)
{
    json_t *more = json_pack("{s:I}", "end_time", (json_int_t) run->end_ms);
    if (run->start_ms) {
        int64_t took = run->end_ms - run->start_ms;
        json_object_set_new(more, "start_time", json_integer(run->start_ms));
        json_object_set_new(more, "duration_ms", json_integer(took > 0 ? took : 0));
    }
    return more;
}

static void finish(struct run *run, bool ok, const char *topic, json_t *more)
{
    struct engine *e = engine_of(run);
    heap_unset(&e->mono, &run->timeout);
    leave_list(run);
    run->state = ok ? RUN_SUCCESS : RUN_FAILED;
    TAILQ_INSERT_TAIL(&e->over, run, link);
    dirty_run(run);
    outbox_tell_run(run, topic, more);
    engine_count(e, ok ? METRIC_RUNS_SUCCEEDED : METRIC_RUNS_FAILED, 1);
    if (!run->reason || strcmp(run->reason, "cancelled") != 0)
        count_failures(run->flow, !ok);
    runs_admit(run->flow);
}

/* By its leaves; what failed in the middle and was made good by a trigger rule does not count. */
static bool succeeded(const struct run *run)
{
    const struct workflow *w = run->definition->workflow;
    for (size_t i = 0; i < w->task_count; i++)
        if (!w->tasks[i].downstream_count &&
            (run->jobs[i].state == TASK_FAILED || run->jobs[i].state == TASK_UPSTREAM_FAILED))
            return false;
    return true;
}

static void explain_failure(struct run *run, json_t *more)
{
    json_t *failed = json_array();
    for (size_t i = 0; i < run->definition->workflow->task_count; i++) {
        const struct job *job = &run->jobs[i];
        if (job->state != TASK_FAILED)
            continue;
        if (!run->error)
            run->error =
                xasprintf("%s failed after %lld %s: %s", job->task->id, (long long) (job->attempt - job->base_attempt),
                          job->attempt - job->base_attempt == 1 ? "try" : "tries",
                          job->error ? job->error : "no reason is known");
        json_array_append_new(failed, json_string(job->task->id));
    }
    json_object_set_new(more, "failed_tasks", failed);
    if (run->error)
        json_object_set_new(more, "error", json_string(run->error));
}

void run_check_over(struct run *run)
{
    if (run->state == RUN_SUCCESS || run->state == RUN_FAILED || (run->jobs && run->jobs_done < run->jobs_total) ||
        (!run->jobs && !run->stopping))
        return;
    run->end_ms = now_wall(engine_of(run));
    json_t *more = ended(run);
    if (run->stopping && strcmp(run->reason, "cancelled") == 0) {
        json_object_del(more, "start_time");
        json_object_set_new(more, "reason", json_string(run->error ? run->error : "cancelled"));
        finish(run, false, "workflow.run.cancelled", more);
    } else if (!run->stopping && succeeded(run)) {
        finish(run, true, "workflow.run.succeeded", more);
    } else {
        if (!run->reason)
            set_text(&run->reason, "tasks");
        explain_failure(run, more);
        finish(run, false, "workflow.run.failed", more);
    }
}

void run_stop(struct run *run, const char *reason, const char *why)
{
    if (run->stopping || run->state == RUN_SUCCESS || run->state == RUN_FAILED)
        return;
    run->stopping = true;
    set_text(&run->reason, reason);
    set_text(&run->error, why);
    dirty_run(run);
    heap_unset(&engine_of(run)->mono, &run->timeout);
    for (size_t i = 0; run->jobs && i < run->definition->workflow->task_count; i++)
        job_stop(&run->jobs[i], reason);
    if (!run->jobs)
        run_check_over(run);
}

/* ---- again ---- */

void run_clear(struct run *run, const bool *which, const char *user)
{
    bool was_over = run->state == RUN_SUCCESS || run->state == RUN_FAILED;
    for (size_t i = 0; i < run->definition->workflow->task_count; i++)
        if (which[i])
            job_cleared(&run->jobs[i], user);
    run_recount(run);
    if (was_over) {
        if (run->linked) /* it was over in this very turn */
            TAILQ_REMOVE(&engine_of(run)->over, run, link);
        run->state = RUN_QUEUED;
        run->stopping = false;
        run->start_ms = run->end_ms = 0;
        set_text(&run->reason, NULL);
        set_text(&run->error, NULL);
        run_link(run);
    }
    dirty_run(run);
    if (run->state == RUN_RUNNING)
        for (size_t i = 0; i < run->definition->workflow->task_count; i++)
            job_consider(&run->jobs[i]);
    runs_admit(run->flow);
}
