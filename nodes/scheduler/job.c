/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs, the tasks of a run: when they are ready, what they begin with, what follows from their end. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/topic.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

static void on_retry(void *arg, struct timer *timer);

void job_init(struct job *job, struct run *run, const struct task *task)
{
    *job = (struct job){.run = run, .task = task, .timer.fire = on_retry};
    job->counts.upstream = task->upstream_count;
}

void job_fini(struct job *job)
{
    heap_unset(&engine_of(job->run)->mono, &job->timer);
    slots_forget(job);
    if (job->try)
        attempt_free(job->try);
    json_decref(job->outputs);
    free(job->reason);
    free(job->error);
}

static int64_t now_of(const struct job *job)
{
    return now_wall(engine_of(job->run));
}

static void become(struct job *job, enum task_state state)
{
    struct engine *e = engine_of(job->run);
    job->state = state;
    dirty_job(job);
    if (!task_state_is_final(state))
        return;
    if (!job->end_ms)
        job->end_ms = now_wall(e);
    if (!job->settled)
        STAILQ_INSERT_TAIL(&e->settled, job, settled_link);
    job->settled = true;
}

/* ---- what follows ---- */

void job_tell_downstream(struct job *job)
{
    struct run *run = job->run;
    run->jobs_done++;
    run->jobs_failed += job->state == TASK_FAILED || job->state == TASK_UPSTREAM_FAILED;
    for (size_t i = 0; i < job->task->downstream_count; i++) {
        struct rule_counts *counts = &run->jobs[job->task->downstream[i]->index].counts;
        counts->success += job->state == TASK_SUCCESS;
        counts->failed += job->state == TASK_FAILED;
        counts->skipped += job->state == TASK_SKIPPED;
        counts->upstream_failed += job->state == TASK_UPSTREAM_FAILED;
        counts->removed += job->state == TASK_REMOVED;
    }
}

void jobs_settle(struct engine *e)
{
    struct job *job;
    while ((job = STAILQ_FIRST(&e->settled)) != NULL) {
        STAILQ_REMOVE_HEAD(&e->settled, settled_link);
        job->settled = false;
        if (!task_state_is_final(job->state)) /* cleared since */
            continue;
        job_tell_downstream(job);
        for (size_t i = 0; i < job->task->downstream_count; i++)
            job_consider(&job->run->jobs[job->task->downstream[i]->index]);
        run_check_over(job->run);
    }
}

void job_skip(struct job *job, enum task_state state, const char *reason)
{
    slots_forget(job);
    heap_unset(&engine_of(job->run)->mono, &job->timer);
    set_text(&job->reason, reason);
    job->next_attempt_ms = 0;
    become(job, state);
    json_t *more = json_pack("{s:s}", "reason", reason);
    if (state == TASK_SKIPPED)
        json_object_set_new(more, "because", explain_skipped(job));
    outbox_tell_job(job, "task.skipped", more);
}

static void schedule(struct job *job)
{
    job->scheduled_ms = now_of(job);
    job->next_attempt_ms = 0;
    become(job, TASK_SCHEDULED);
    outbox_tell_job(job, "task.scheduled", NULL);
    slots_wait(job);
}

static json_t *scope_of(struct job *job, int64_t attempt)
{
    json_t *scope = run_scope(job->run);
    json_object_set_new(scope, "task", json_string(job->task->id));
    json_object_set_new(scope, "try_number", json_integer(attempt));
    return scope;
}

/* A mistake in the workflow's own text: no try can mend it. */
static void fail_unbegun(struct job *job, const struct ls_error *err)
{
    struct try *try = attempt_new(job);
    attempt_link(try);
    slots_take(job);
    attempt_ended(try, &(struct outcome){
                           .reason = "template", .error = err->text, .final = true, .cpu_ms = -1, .memory_bytes = -1});
}

static void ready(struct job *job)
{
    struct ls_error err = {0};
    if (job->task->disabled) {
        job_skip(job, TASK_SKIPPED, "disabled");
        return;
    }
    json_t *value = job->task->when ? expr_eval(job->task->when, scope_of(job, job->attempt + 1), &err) : json_true();
    if (!value) {
        error_wrap(&err, "when: %s", job->task->when_text);
        fail_unbegun(job, &err);
    } else if (!expr_truth(value)) {
        job_skip(job, TASK_SKIPPED, "when");
    } else {
        schedule(job);
    }
    json_decref(value);
}

void job_consider(struct job *job)
{
    if (job->state != TASK_NONE || job->run->stopping || job->run->state != RUN_RUNNING)
        return;
    switch (job->task->upstream_count ? rule_decide(job->task->trigger_rule, &job->counts) : RULE_RUN) {
    case RULE_WAIT: break;
    case RULE_RUN: ready(job); break;
    case RULE_SKIP: job_skip(job, TASK_SKIPPED, job->counts.skipped ? "upstream_skipped" : "trigger_rule"); break;
    case RULE_FAIL: job_skip(job, TASK_UPSTREAM_FAILED, "upstream_failed"); break;
    }
}

/* ---- beginning ---- */

static json_t *text_of_value(const json_t *value)
{
    char *text = json_is_null(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_t *made = json_string(text ? text : "");
    free(text);
    return made;
}

/* Arguments and variables are texts, whatever a template gave: `{{ inputs.order }}` may be a number. In place. */
static void make_texts(json_t *values)
{
    const char *key;
    json_t *value;
    void *next;
    size_t i;
    json_array_foreach(values, i, value)
    {
        if (!json_is_string(value))
            json_array_set_new(values, i, text_of_value(value));
    }
    json_object_foreach_safe(values, next, key, value)
    {
        if (!json_is_string(value))
            json_object_set_new(values, key, text_of_value(value));
    }
}

static int begin_command(struct job *job, json_t *scope, struct ls_error *err)
{
    const struct task *task = job->task;
    json_auto_t *command = template_value(task->command, scope, err);
    json_auto_t *env = task->environment ? template_value(task->environment, scope, err) : json_object();
    if (!command || !env)
        return -1;
    make_texts(command);
    make_texts(env);
    json_t *more = json_pack("{s:O, s:O, s:O, s:s, s:I}", "command", command, "env", env, "inputs", job->run->inputs,
                             "pool", task->pool, "priority", (json_int_t) task->priority);
    if (task->directory)
        json_object_set_new(more, "directory", json_string(task->directory));
    if (task->timeout_ms > 0)
        json_object_set_new(more, "timeout_ms", json_integer(task->timeout_ms));
    become(job, TASK_QUEUED);
    outbox_tell_job(job, "task.queued", more);
    return 0;
}

/* Topic and body of an event or a request. */
static int fill_message(const struct task *task, json_t *scope, struct buf *topic, struct buf *body,
                        struct ls_error *err)
{
    if (template_fill(task->topic, scope, topic, err))
        return error_wrap(err, "topic");
    buf_text(topic);
    if (!topic_valid((const char *) topic->data, topic->len) || topic->data[0] == '$')
        return error_set(err, "BAD_VALUE", "\"%.100s\" is no topic: words of a-z 0-9 _ - joined by dots",
                         buf_text(topic));
    json_auto_t *data = task->data ? template_value(task->data, scope, err) : NULL;
    if (task->data && !data)
        return error_wrap(err, "data");
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        buf_add(body, text, strlen(text));
    free(text);
    return 0;
}

static int begin_message(struct job *job, json_t *scope, struct ls_error *err)
{
    struct try *try = job->try;
    struct buf topic = {0}, body = {0};
    int rc = fill_message(job->task, scope, &topic, &body, err);
    if (!rc) {
        set_text(&try->runner, engine_of(job->run)->name);
        attempt_started(try, try->queued_ms);
        outbox_tell_job(job, "task.started", json_pack("{s:I}", "start_time", (json_int_t) try->start_ms));
        if (job->task->type == TASK_EVENT) {
            outbox_post(try, buf_text(&topic), buf_text(&body));
        } else {
            set_text(&try->topic, buf_text(&topic));
            set_text(&try->body, buf_text(&body));
            try->to_ask = true;
            STAILQ_INSERT_TAIL(&engine_of(job->run)->asks, try, ask_link);
        }
    }
    buf_fini(&topic);
    buf_fini(&body);
    return rc;
}

void job_begin(struct job *job)
{
    struct engine *e = engine_of(job->run);
    struct ls_error err = {0};
    struct try *try = attempt_new(job);
    attempt_link(try);
    slots_take(job);
    job->queued_ms = try->queued_ms;
    job->start_ms = job->end_ms = 0;
    job->has_exit_code = false;
    set_text(&job->reason, NULL);
    set_text(&job->error, NULL);
    engine_count(e, METRIC_TASK_LAG_MS, job->queued_ms - job->scheduled_ms);
    int (*begin)(struct job *, json_t *, struct ls_error *) =
        job->task->type == TASK_COMMAND ? begin_command : begin_message;
    if (begin(job, scope_of(job, job->attempt), &err))
        attempt_ended(try,
                      &(struct outcome){
                          .reason = "template", .error = err.text, .final = true, .cpu_ms = -1, .memory_bytes = -1});
}

/* ---- the end of a try ---- */

static void put_real(json_t *more, const char *key, double value)
{
    if (value >= 0)
        json_object_set_new(more, key, json_real(value));
}

static json_t *told(const struct job *job, const struct outcome *o)
{
    json_t *more = json_object();
    if (job->start_ms)
        json_object_set_new(more, "start_time", json_integer(job->start_ms));
    json_object_set_new(more, "end_time", json_integer(job->end_ms));
    if (job->start_ms)
        json_object_set_new(more, "duration_ms",
                            json_integer(job->end_ms > job->start_ms ? job->end_ms - job->start_ms : 0));
    put_real(more, "cpu_ms", o->cpu_ms);
    if (o->memory_bytes >= 0)
        json_object_set_new(more, "memory_bytes_max", json_integer(o->memory_bytes));
    if (o->has_exit_code)
        json_object_set_new(more, "exit_code", json_integer(o->exit_code));
    if (o->has_signal)
        json_object_set_new(more, "signal", json_integer(o->signal));
    return more;
}

static void succeed(struct job *job, const struct outcome *o)
{
    json_t *more = told(job, o);
    job->outputs = json_incref(o->outputs);
    if (o->outputs)
        json_object_set(more, "outputs", o->outputs);
    if (o->outputs && job->run->outputs)
        json_object_set(job->run->outputs, job->task->id, o->outputs);
    become(job, TASK_SUCCESS);
    outbox_tell_job(job, "task.succeeded", more);
    engine_count(engine_of(job->run), METRIC_TASKS_SUCCEEDED, 1);
}

static bool is_loss(const struct outcome *o)
{
    return strcmp(o->reason, "lost") == 0 || strcmp(o->reason, "stopped") == 0;
}

static bool may_retry(const struct job *job, const struct outcome *o)
{
    const struct retry *retry = &job->task->retry;
    if (o->final || job->run->stopping || strcmp(o->reason, "cancelled") == 0)
        return false;
    if (is_loss(o))
        return job->losses <= retry->lost_limit;
    if (job->attempt - job->base_attempt - job->losses > retry->limit)
        return false;
    bool listed = !retry->exit_codes.count;
    for (size_t i = 0; i < retry->exit_codes.count; i++)
        listed |= o->has_exit_code && retry->exit_codes.items[i] == o->exit_code;
    return listed;
}

/* A lost try is made up for at once: its lease has taken its time already. */
static void retry(struct job *job, const struct outcome *o)
{
    int64_t failures = job->attempt - job->base_attempt - job->losses, delay_ms = 0;
    if (!is_loss(o)) {
        char *identity =
            xasprintf("%s/%s/%s/%lld", job->run->flow->id, job->run->id, job->task->id, (long long) job->attempt);
        delay_ms = retry_delay_ms(&job->task->retry, failures, identity);
        free(identity);
    }
    job->next_attempt_ms = job->end_ms + delay_ms;
    become(job, TASK_UP_FOR_RETRY);
    outbox_tell_job(job, "task.retrying",
                    json_pack("{s:I, s:I, s:I, s:I, s:s, s:s}", "next_attempt", (json_int_t) job->attempt + 1, "delay_ms",
                              (json_int_t) delay_ms, "next_time", (json_int_t) job->next_attempt_ms, "end_time",
                              (json_int_t) job->end_ms, "error", job->error, "reason", job->reason));
    engine_count(engine_of(job->run), METRIC_TASKS_RETRIED, 1);
    engine_after(engine_of(job->run), &job->timer, job->next_attempt_ms);
}

static void on_retry(void *arg, struct timer *timer)
{
    struct job *job = (struct job *) (void *) ((char *) timer - offsetof(struct job, timer));
    (void) arg;
    if (job->state == TASK_UP_FOR_RETRY)
        schedule(job);
}

static void fail(struct job *job, const struct outcome *o)
{
    json_t *more = told(job, o);
    json_object_set_new(more, "error", json_string(job->error));
    json_object_set_new(more, "reason", json_string(job->reason));
    json_object_set_new(more, "final", json_true());
    become(job, TASK_FAILED);
    outbox_tell_job(job, "task.failed", more);
    engine_count(engine_of(job->run), METRIC_TASKS_FAILED, 1);
}

void job_try_ended(struct job *job, const struct outcome *o)
{
    slots_give(job);
    job->start_ms = job->try->start_ms;
    job->end_ms = job->try->end_ms;
    job->exit_code = o->exit_code;
    job->has_exit_code = o->has_exit_code;
    set_text(&job->reason, o->ok ? NULL : o->reason);
    set_text(&job->error, job->try->error);
    if (!o->ok && is_loss(o))
        job->losses++;
    if (o->ok)
        succeed(job, o);
    else if (may_retry(job, o))
        retry(job, o);
    else
        fail(job, o);
}

/* ---- by order ---- */

void job_stop(struct job *job, const char *reason)
{
    if (job->state == TASK_NONE || job->state == TASK_SCHEDULED || job->state == TASK_UP_FOR_RETRY)
        job_skip(job, TASK_SKIPPED, reason);
    else if (job->try)
        attempt_stop(job->try, reason);
}

void job_cleared(struct job *job, const char *user)
{
    slots_forget(job);
    heap_unset(&engine_of(job->run)->mono, &job->timer);
    job->base_attempt = job->attempt;
    job->losses = 0;
    job->scheduled_ms = job->queued_ms = job->start_ms = job->end_ms = job->next_attempt_ms = 0;
    job->has_exit_code = false;
    set_text(&job->reason, NULL);
    set_text(&job->error, NULL);
    json_decref(job->outputs);
    job->outputs = NULL;
    if (job->run->outputs)
        json_object_del(job->run->outputs, job->task->id);
    become(job, TASK_NONE);
    outbox_tell_job(job, "task.cleared", user ? json_pack("{s:s}", "user_id", user) : NULL);
}

void job_arm(struct job *job)
{
    if (job->state == TASK_SCHEDULED)
        slots_wait(job);
    else if (job->state == TASK_UP_FOR_RETRY)
        engine_after(engine_of(job->run), &job->timer, job->next_attempt_ms);
    else if (job->state == TASK_NONE)
        job_consider(job);
    else if (job->try)
        attempt_resume(job->try);
}
