/* SPDX-License-Identifier: Apache-2.0 */
/* Why a task is in its state: sentences for people. */
#include <stdarg.h>
#include <stdio.h>

#include "nodes/scheduler/engine.h"

static void say(json_t *sentences, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(json_t *sentences, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_array_append_new(sentences, json_vsprintf(format, args));
    va_end(args);
}

static const char *when(int64_t ms, char text[TIME_SIZE])
{
    return time_text(ms, text);
}

static void say_paused(const struct flow *flow, json_t *out)
{
    if (flow->paused)
        say(out, "the workflow is paused: nothing of it begins until it goes on (lineshaft workflow unpause %s)",
            flow->id);
}

/* ---- before it is ready ---- */

static void say_run_waits(const struct run *run, json_t *out)
{
    const struct flow *flow = run->flow;
    const struct definition *definition = flow->definition ? flow->definition : run->definition;
    say_paused(flow, out);
    if (!flow->paused && definition)
        say(out, "%zu of at most %lld runs of the workflow are running (max_active_runs)", flow->running_count,
            (long long) definition->workflow->max_active_runs);
}

static void say_upstream(const struct job *job, json_t *out)
{
    size_t waiting = 0;
    for (size_t i = 0; i < job->task->upstream_count; i++) {
        const struct job *up = &job->run->jobs[job->task->upstream[i]->index];
        if (task_state_is_final(up->state))
            continue;
        waiting++;
        say(out, "it waits for %s, which is %s", up->task->id, TASK_STATES[up->state]);
    }
    if (waiting)
        say(out, "its trigger_rule is %s", TRIGGER_RULES[job->task->trigger_rule]);
}

static void say_slots(const struct job *job, json_t *out)
{
    const struct engine *e = engine_of(job->run);
    const struct workflow *w = job->run->definition->workflow;
    const struct slot_pool *pool = slots_pool(e, job->task->pool);
    const struct flow *flow = job->run->flow;
    say_paused(flow, out);
    if (flow->active_tasks >= w->max_active_tasks)
        say(out, "%lld tasks of the workflow are under way, which are all that it may have (max_active_tasks)",
            (long long) flow->active_tasks);
    if (pool && pool->used + slots_of(e, job->task) > pool->slots)
        say(out, "it needs %lld of the pool %s, where %lld of %lld slots are taken", (long long) slots_of(e, job->task),
            pool->name, (long long) pool->used, (long long) pool->slots);
    if (e->active_tasks >= e->options->max_active_tasks)
        say(out,
            "%lld tasks are under way over all workflows, which are all that the scheduler may have (its "
            "max_active_tasks)",
            (long long) e->active_tasks);
    if (!json_array_size(out))
        say(out, "its dependencies are met; it gets a slot at once");
}

/* ---- on its way ---- */

static void say_queued(const struct job *job, json_t *out)
{
    const struct try *try = job->try;
    char text[TIME_SIZE];
    if (!try)
        return;
    if (!try->boot)
        say(out, "no runner has claimed it since %s: are there runners, and have they free slots?",
            when(job->queued_ms, text));
    else
        say(out, "runner %s claimed it at %s and has not said yet that its command was started", try->runner,
            when(try->claimed_ms, text));
}

static void say_running(const struct job *job, json_t *out)
{
    const struct try *try = job->try;
    char text[TIME_SIZE];
    if (!try)
        return;
    if (job->task->type == TASK_REQUEST)
        say(out, "it waits for the answer to its request since %s", when(job->start_ms, text));
    else if (job->task->type == TASK_EVENT)
        say(out, "its event is being stored by the broker since %s", when(job->start_ms, text));
    else
        say(out, "it runs at %s since %s", try->runner ? try->runner : "its runner", when(job->start_ms, text));
    if (try->stop_reason)
        say(out, "it was told to stop (%s)", try->stop_reason);
}

/* ---- over ---- */

json_t *explain_skipped(const struct job *job)
{
    const char *reason = job->reason ? job->reason : "", *rule = TRIGGER_RULES[job->task->trigger_rule];
    if (job->state != TASK_SKIPPED)
        return json_null();
    if (strcmp(reason, "when") == 0)
        return json_sprintf("its condition was false: %s", job->task->when_text);
    if (strcmp(reason, "disabled") == 0)
        return json_string("it is disabled in the workflow");
    if (strcmp(reason, "upstream_skipped") == 0)
        return json_sprintf("a task before it was skipped, and its trigger_rule is %s", rule);
    if (strcmp(reason, "trigger_rule") == 0)
        return json_sprintf("its trigger_rule %s cannot be met any more", rule);
    return json_string(job->run->error ? job->run->error : reason);
}

static void say_skipped(const struct job *job, json_t *out)
{
    json_t *why = explain_skipped(job);
    say(out, "it was skipped: %s", json_string_value(why));
    json_decref(why);
}

static void say_upstream_failed(const struct job *job, json_t *out)
{
    for (size_t i = 0; i < job->task->upstream_count; i++) {
        const struct job *up = &job->run->jobs[job->task->upstream[i]->index];
        if (up->state == TASK_FAILED || up->state == TASK_UPSTREAM_FAILED)
            say(out, "it did not run, because %s is %s, and its trigger_rule is %s", up->task->id,
                TASK_STATES[up->state], TRIGGER_RULES[job->task->trigger_rule]);
    }
}

void explain(const struct job *job, json_t *out)
{
    char text[TIME_SIZE];
    long long tries = (long long) (job->attempt - job->base_attempt);
    switch (job->state) {
    case TASK_NONE:
        if (job->run->state == RUN_QUEUED) {
            say(out, "its run is queued");
            say_run_waits(job->run, out);
        } else {
            say_upstream(job, out);
        }
        break;
    case TASK_SCHEDULED: say_slots(job, out); break;
    case TASK_QUEUED: say_queued(job, out); break;
    case TASK_RUNNING: say_running(job, out); break;
    case TASK_SUCCESS: say(out, "it succeeded at %s", when(job->end_ms, text)); break;
    case TASK_FAILED:
        say(out, "it failed after %lld %s: %s", tries, tries == 1 ? "try" : "tries",
            job->error ? job->error : "no reason is known");
        break;
    case TASK_SKIPPED: say_skipped(job, out); break;
    case TASK_UPSTREAM_FAILED: say_upstream_failed(job, out); break;
    case TASK_UP_FOR_RETRY:
        say(out, "try %lld failed: %s", (long long) job->attempt, job->error ? job->error : "no reason is known");
        say(out, "the next begins at %s", when(job->next_attempt_ms, text));
        break;
    case TASK_REMOVED: say(out, "it is not in the workflow any more"); break;
    }
}

/* ---- in one sentence ---- */

static json_t *first_of(json_t *sentences)
{
    json_t *first = json_array_get(sentences, 0);
    first = first ? json_incref(first) : json_null();
    json_decref(sentences);
    return first;
}

json_t *explain_run_waits(const struct run *run)
{
    json_t *why = json_array();
    if (run->state == RUN_QUEUED)
        say_run_waits(run, why);
    return first_of(why);
}

json_t *explain_job_waits(const struct job *job)
{
    if (job->state == TASK_NONE)
        return explain_run_waits(job->run);
    json_t *why = json_array();
    if (job->state == TASK_SCHEDULED || job->state == TASK_QUEUED)
        explain(job, why);
    return first_of(why);
}
