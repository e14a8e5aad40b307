/* SPDX-License-Identifier: Apache-2.0 */
/* WORKFLOW, RUN and TASK as JSON (docs/nodes/scheduler-requests.md). */
#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "nodes/scheduler/engine.h"

json_t *time_or_null(int64_t ms)
{
    char text[TIME_SIZE];
    return ms && ms != NO_TIME ? json_string(time_text(ms, text)) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *duration(int64_t start_ms, int64_t end_ms)
{
    if (!start_ms || !end_ms)
        return json_null();
    return json_integer(end_ms > start_ms ? end_ms - start_ms : 0);
}

/* ---- runs ---- */

json_t *view_run(const struct run *run)
{
    json_t *view = json_pack("{s:s, s:s, s:s, s:s, s:O, s:I, s:I, s:I}", "workflow", run->flow->id, "workflow_run_id",
                             run->id, "state", RUN_STATES[run->state], "trigger", run->trigger, "inputs", run->inputs,
                             "tasks_total", (json_int_t) run->jobs_total, "tasks_done", (json_int_t) run->jobs_done,
                             "tasks_failed", (json_int_t) run->jobs_failed);
    json_object_set_new(view, "reason", text_or_null(run->error ? run->error : run->reason));
    json_object_set_new(view, "waits_for", explain_run_waits(run));
    if (run->flow->paused && (run->state == RUN_QUEUED || run->state == RUN_RUNNING))
        json_object_set_new(view, "paused", json_true());
    json_object_set_new(view, "logical_date", time_or_null(run->logical_ms));
    json_object_set_new(view, "data_interval_start", time_or_null(run->interval_start_ms));
    json_object_set_new(view, "data_interval_end", time_or_null(run->interval_end_ms));
    json_object_set_new(view, "queued_at", time_or_null(run->queued_ms));
    json_object_set_new(view, "start_date", time_or_null(run->start_ms));
    json_object_set_new(view, "end_date", time_or_null(run->end_ms));
    json_object_set_new(view, "duration_ms", duration(run->start_ms, run->end_ms));
    json_object_set_new(view, "note", text_or_null(run->note));
    json_object_set_new(view, "event_id", text_or_null(run->event_id));
    json_object_set_new(view, "event_topic", text_or_null(run->event_topic));
    json_object_set_new(view, "definition_hash",
                        text_or_null(run->definition ? run->definition->workflow->hash : NULL));
    return view;
}

/* ---- tasks ---- */

static void add_try(void *arg, const struct try *try)
{
    json_t *view = json_pack("{s:s, s:I, s:s}", "try", try->id, "attempt", (json_int_t) try->attempt, "state",
                             TASK_STATES[try->state]);
    json_object_set_new(view, "runner", text_or_null(try->runner));
    json_object_set_new(view, "start_date", time_or_null(try->start_ms));
    json_object_set_new(view, "end_date", time_or_null(try->end_ms));
    json_object_set_new(view, "exit_code", try->has_exit_code ? json_integer(try->exit_code) : json_null());
    json_object_set_new(view, "reason", text_or_null(try->reason));
    json_object_set_new(view, "error", text_or_null(try->error));
    json_object_set_new(view, "log", text_or_null(try->log));
    json_array_append_new(arg, view);
}

static json_t *upstream(const struct task *task)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < task->upstream_count; i++)
        json_array_append_new(ids, json_string(task->upstream[i]->id));
    return ids;
}

static const char *type_word(enum task_type type)
{
    return type == TASK_COMMAND ? "command" : type == TASK_EVENT ? "event" : "request";
}

json_t *view_job(const struct job *job, struct ls_error *err)
{
    const struct task *task = job->task;
    json_t *tries = json_array();
    if (job->attempt && store_list_tries(engine_of(job->run), job, add_try, tries, err)) {
        json_decref(tries);
        return NULL;
    }
    const json_t *last = json_array_get(tries, json_array_size(tries) ? json_array_size(tries) - 1 : 0);
    json_t *view =
        json_pack("{s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:s}", "task", task->id, "state", TASK_STATES[job->state],
                  "type", type_word(task->type), "depends_on", upstream(task), "trigger_rule",
                  TRIGGER_RULES[task->trigger_rule], "attempt", (json_int_t) job->attempt, "attempts_max",
                  (json_int_t) (job->base_attempt + job->losses + task->retry.limit + 1), "pool", task->pool);
    static const char *const FROM_TRY[] = {"try", "runner", "log"};
    for (size_t i = 0; i < 3; i++) {
        json_t *value = json_object_get(last, FROM_TRY[i]);
        json_object_set(view, FROM_TRY[i], value ? value : json_null());
    }
    json_object_set_new(view, "scheduled_at", time_or_null(job->scheduled_ms));
    json_object_set_new(view, "queued_at", time_or_null(job->queued_ms));
    json_object_set_new(view, "start_date", time_or_null(job->start_ms));
    json_object_set_new(view, "end_date", time_or_null(job->end_ms));
    json_object_set_new(view, "duration_ms", duration(job->start_ms, job->end_ms));
    json_object_set_new(view, "exit_code", job->has_exit_code ? json_integer(job->exit_code) : json_null());
    json_object_set_new(view, "error", text_or_null(job->error));
    json_object_set_new(view, "reason", text_or_null(job->reason));
    json_object_set_new(view, "because", explain_skipped(job));
    json_object_set_new(view, "waits_for", explain_job_waits(job));
    json_object_set(view, "outputs", job->outputs ? job->outputs : json_null());
    json_object_set_new(view, "next_attempt_at", time_or_null(job->next_attempt_ms));
    json_object_set_new(view, "tries", tries);
    return view;
}

/* ---- workflows ---- */

static json_t *schedule_texts(const struct workflow *w)
{
    json_t *texts = json_array();
    char text[TIME_SIZE];
    for (size_t i = 0; i < w->cron_count; i++)
        json_array_append_new(texts, json_string(w->cron_texts[i]));
    if (w->every_ms > 0) {
        struct buf every = {0};
        buf_addf(&every, "every ");
        duration_text(w->every_ms, &every);
        json_array_append_new(texts, json_string(buf_text(&every)));
        buf_fini(&every);
    }
    for (size_t i = 0; i < w->at_count; i++)
        json_array_append_new(texts, json_string(time_text(w->at_s[i] * 1000, text)));
    return texts;
}

static json_t *patterns(const struct workflow *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->trigger_count; i++)
        json_array_append_new(list, json_string(w->triggers[i].event));
    return list;
}

static json_t *inputs(const struct workflow *w)
{
    json_t *list = json_array();
    for (const struct input *i = w->inputs; i < w->inputs + w->input_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:O?, s:b, s:s?}", "name", i->name, "type", INPUT_TYPES[i->type], "default",
                                              i->fallback, "required", i->required, "description", i->description));
    return list;
}

static void take_run(void *arg, struct run *run)
{
    *(json_t **) arg = view_run(run);
}

json_t *view_flow(struct flow *flow, const char *path, struct ls_error *err)
{
    const struct workflow *w = flow->definition->workflow;
    const struct run_filter newest = {.flow_id = flow->id, .limit = 1};
    json_t *last = NULL, *tags = json_array();
    if (store_list_runs(flow->engine, &newest, take_run, &last, err)) {
        json_decref(tags);
        return NULL;
    }
    for (char **tag = w->tags; tag && *tag; tag++)
        json_array_append_new(tags, json_string(*tag));
    int64_t next = flow->paused ? -1 : workflow_next(w, flow->done_ms, flow_anchor(flow));
    json_t *view =
        json_pack("{s:s, s:o, s:o, s:s, s:b, s:o, s:s, s:o, s:I, s:s}", "id", flow->id, "description",
                  text_or_null(w->description), "tags", tags, "file", path, "paused", flow->paused, "schedule",
                  schedule_texts(w), "timezone", zone_name(w->zone), "triggers", patterns(w), "active_runs",
                  (json_int_t) (flow->queued_count + flow->running_count), "definition_hash", w->hash);
    json_object_set_new(view, "inputs", inputs(w));
    json_object_set_new(view, "next", next < 0 ? json_null() : time_or_null(next));
    json_object_set_new(view, "last_run", last ? last : json_null());
    return view;
}
