/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked of a scheduler (docs/nodes/scheduler-requests.md): a function for each request. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define LIST_MAX 1000

/* ---- arguments ---- */

static int wrong(struct ls_error *err, int number)
{
    err->number = number;
    return -1;
}

#define COMPLAIN(number, ...) (error_set(err, "FAILED", __VA_ARGS__), wrong(err, number))

/* 0 with *text NULL when it is absent. */
static int get_text(const json_t *request, const char *key, const char **text, struct ls_error *err)
{
    const json_t *value = json_object_get(request, key);
    *text = json_string_value(value);
    if (value && !json_is_null(value) && !*text)
        return COMPLAIN(400, "\"%s\" must be a text", key);
    return 0;
}

static int get_bool(const json_t *request, const char *key, bool fallback, bool *out, struct ls_error *err)
{
    const json_t *value = json_object_get(request, key);
    const char *text = json_string_value(value);
    *out = !value || json_is_null(value) ? fallback : json_is_true(value) || (text && strcmp(text, "true") == 0);
    if (value && !json_is_boolean(value) && !json_is_null(value) &&
        !(text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)))
        return COMPLAIN(400, "\"%s\" must be true or false", key);
    return 0;
}

static int get_count(const json_t *request, const char *key, int64_t fallback, int64_t *out, struct ls_error *err)
{
    const json_t *value = json_object_get(request, key);
    const char *text = json_string_value(value);
    char *end = NULL;
    *out = !value || json_is_null(value) ? fallback : text ? strtoll(text, &end, 10) : json_integer_value(value);
    if (*out < 1 || *out > LIST_MAX || (text && (*end || end == text)) ||
        (value && !text && !json_is_null(value) && !json_is_integer(value)))
        return COMPLAIN(400, "\"%s\" must be a number from 1 to %d", key, LIST_MAX);
    return 0;
}

static struct flow *require_flow(const struct engine *e, const json_t *request, struct ls_error *err)
{
    const char *id;
    if (get_text(request, "workflow", &id, err))
        return NULL;
    struct flow *flow = id ? flow_find(e, id) : NULL;
    if (!id)
        COMPLAIN(400, "say which \"workflow\"");
    else if (!flow)
        COMPLAIN(404, "there is no workflow \"%.200s\": `lineshaft workflow ls` lists all", id);
    return flow;
}

/* A run that is live, or was read for this request: then *loaded is set, and the caller's to free. */
static struct run *require_run(struct engine *e, const json_t *request, bool newest, struct run **loaded,
                               struct ls_error *err)
{
    struct flow *flow = require_flow(e, request, err);
    const char *id;
    *loaded = NULL;
    if (!flow || get_text(request, "workflow_run_id", &id, err))
        return NULL;
    if (!id && !newest) {
        COMPLAIN(400, "say which \"workflow_run_id\" of workflow %s", flow->id);
        return NULL;
    }
    struct run *run = id ? run_find(e, flow->id, id) : NULL;
    if (run)
        return run;
    run = *loaded = store_read_run(e, flow, id, err);
    if (!run && !err->name[0] && id)
        COMPLAIN(404, "workflow %s has no run \"%.200s\"", flow->id, id);
    else if (!run && !err->name[0])
        COMPLAIN(404, "workflow %s has not run yet", flow->id);
    if (!run)
        return NULL;
    struct run *live = run_find(e, flow->id, run->id);
    if (live) {
        run_free(run);
        *loaded = NULL;
    }
    return live ? live : run;
}

static void done_with(struct run *loaded)
{
    if (loaded)
        run_free(loaded);
}

/* ---- workflows ---- */

static json_t *on_list(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct flow *flow;
    json_t *list = json_array();
    (void) request;
    LIST_FOREACH(flow, &e->flows, link)
    {
        if (!flow->definition)
            continue;
        json_t *view = view_flow(flow, flow->definition->file->path, err);
        if (!view) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, view);
    }
    return json_pack("{s:o}", "workflows", list);
}

static json_t *on_next(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct flow *flow = require_flow(e, request, err);
    int64_t count;
    if (!flow || get_count(request, "count", 5, &count, err))
        return NULL;
    json_t *times = json_array(), *answer = json_pack("{s:s, s:o}", "workflow", flow->id, "times", times);
    int64_t at = now_wall(e);
    for (; flow->definition && count > 0; count--) {
        at = workflow_next(flow->definition->workflow, at, flow_anchor(flow));
        if (at < 0)
            break;
        json_array_append_new(times, time_or_null(at));
    }
    if (flow->paused)
        json_object_set_new(answer, "paused", json_true());
    return answer;
}

static json_t *on_pause(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct flow *flow = require_flow(e, request, err);
    bool paused;
    if (!flow || get_bool(request, "paused", true, &paused, err))
        return NULL;
    if (!flow->definition) {
        COMPLAIN(409, "workflow %s has no file any more", flow->id);
        return NULL;
    }
    flow_pause(flow, paused, NULL);
    return view_flow(flow, flow->definition->file->path, err);
}

/* ---- runs ---- */

static int read_date(const json_t *request, int64_t *ms, struct ls_error *err)
{
    const char *text;
    int64_t us;
    *ms = NO_TIME;
    if (get_text(request, "logical_date", &text, err) || !text)
        return err->name[0] ? -1 : 0;
    if (!clock_parse(text, strlen(text), &us))
        return COMPLAIN(400, "\"logical_date\" must be a time such as 2026-11-23T02:00:00Z");
    *ms = us / 1000;
    return 0;
}

static bool is_id(const char *id)
{
    size_t len = strlen(id);
    return len && len <= WORKFLOW_ID_MAX &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.~:+-") == len;
}

static json_t *on_run(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct flow *flow = require_flow(e, request, err);
    struct run_spec spec = {.trigger = "manual"};
    json_t *inputs = json_object_get(request, "inputs");
    bool existing, dropped;
    struct run *loaded = NULL;
    if (!flow || get_text(request, "workflow_run_id", &spec.id, err) || get_text(request, "note", &spec.note, err) ||
        get_text(request, "user_id", &spec.user, err) || read_date(request, &spec.logical_ms, err) ||
        get_text(request, "traceparent", &spec.traceparent, err))
        return NULL;
    if (spec.id && !is_id(spec.id)) {
        COMPLAIN(400, "\"workflow_run_id\" must be 1 to %d of A-Z a-z 0-9 _ . ~ : + -", WORKFLOW_ID_MAX);
        return NULL;
    }
    if (inputs && !json_is_object(inputs) && !json_is_null(inputs)) {
        COMPLAIN(400, "\"inputs\" must be an object");
        return NULL;
    }
    spec.inputs = json_is_object(inputs) ? json_incref(inputs) : NULL;
    struct run *run = run_create(flow, &spec, &existing, &dropped, err);
    if (!run && existing)
        run = loaded = store_read_run(e, flow, spec.id, err);
    json_t *view = run ? view_run(run) : NULL;
    done_with(loaded);
    return view;
}

static void append_run(void *arg, struct run *run)
{
    const struct run *live = run_find(engine_of(run), run->flow->id, run->id);
    json_array_append_new(arg, view_run(live ? live : run));
}

static json_t *on_runs(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct run_filter filter = {0};
    if (get_text(request, "workflow", &filter.flow_id, err) || get_text(request, "state", &filter.state, err) ||
        get_count(request, "limit", 20, &filter.limit, err))
        return NULL;
    if (filter.flow_id && !require_flow(e, request, err))
        return NULL;
    bool known = !filter.state;
    for (size_t i = 0; RUN_STATES[i] && !known; i++)
        known = strcmp(RUN_STATES[i], filter.state) == 0;
    if (!known) {
        COMPLAIN(400, "\"state\" must be queued, running, success or failed");
        return NULL;
    }
    json_t *runs = json_array();
    if (store_list_runs(e, &filter, append_run, runs, err)) {
        json_decref(runs);
        return NULL;
    }
    return json_pack("{s:o}", "runs", runs);
}

static json_t *on_show(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct run *loaded, *run = require_run(e, request, true, &loaded, err);
    json_t *view = NULL, *tasks = json_array();
    if (run && !run->jobs)
        run_make_jobs(run);
    bool ok = run != NULL;
    for (size_t i = 0; ok && i < run->definition->workflow->task_count; i++) {
        json_t *task = view_job(&run->jobs[i], err);
        ok = task && !json_array_append_new(tasks, task);
    }
    if (ok) {
        view = view_run(run);
        json_object_set(view, "tasks", tasks);
    }
    json_decref(tasks);
    done_with(loaded);
    return view;
}

static json_t *on_cancel(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct run *loaded, *run = require_run(e, request, false, &loaded, err);
    const char *reason = NULL;
    json_t *view = NULL;
    if (run && !get_text(request, "reason", &reason, err)) {
        if (loaded || run->state == RUN_SUCCESS || run->state == RUN_FAILED)
            COMPLAIN(409, "run %s of workflow %s is over: %s", run->id, run->flow->id, RUN_STATES[run->state]);
        else
            run_stop(run, "cancelled", reason ? reason : "cancelled by request");
        jobs_settle(e);
        view = err->name[0] ? NULL : view_run(run);
    }
    done_with(loaded);
    return view;
}

/* ---- clear ---- */

static int choose(const struct run *run, const json_t *request, bool *which, struct ls_error *err)
{
    const json_t *ids = json_object_get(request, "tasks"), *id;
    const struct workflow *w = run->definition->workflow;
    size_t i;
    if (!ids || json_is_null(ids)) {
        for (i = 0; i < w->task_count; i++)
            which[i] = run->jobs[i].state == TASK_FAILED || run->jobs[i].state == TASK_UPSTREAM_FAILED ||
                       (run->jobs[i].state == TASK_SKIPPED && run->stopping);
        return 0;
    }
    if (!json_is_array(ids))
        return COMPLAIN(400, "\"tasks\" must be a list of task ids");
    json_array_foreach((json_t *) (uintptr_t) ids, i, id)
    {
        const struct task *task = json_is_string(id) ? workflow_task(w, json_string_value(id)) : NULL;
        if (!task)
            return COMPLAIN(404, "workflow %s has no task \"%.200s\"", run->flow->id,
                            json_is_string(id) ? json_string_value(id) : "");
        which[task->index] = true;
    }
    return 0;
}

/* Tasks stand in topological order: one pass reaches everything behind. */
static void add_downstream(const struct run *run, bool *which)
{
    const struct workflow *w = run->definition->workflow;
    for (size_t i = 0; i < w->task_count; i++)
        for (size_t d = 0; which[i] && d < w->tasks[i].downstream_count; d++)
            which[w->tasks[i].downstream[d]->index] = true;
}

static json_t *chosen(const struct run *run, bool *which, struct ls_error *err)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < run->definition->workflow->task_count; i++) {
        const struct job *job = &run->jobs[i];
        which[i] &= job->state != TASK_NONE;
        if (which[i] && (job->state == TASK_QUEUED || job->state == TASK_RUNNING)) {
            COMPLAIN(409, "task %s is %s: wait for it, or cancel the run first", job->task->id,
                     TASK_STATES[job->state]);
            json_decref(ids);
            return NULL;
        }
        if (which[i])
            json_array_append_new(ids, json_string(job->task->id));
    }
    return ids;
}

static json_t *on_clear(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct run *loaded, *run = require_run(e, request, false, &loaded, err);
    bool downstream, dry;
    const char *user;
    json_t *ids = NULL;
    if (!run || get_bool(request, "downstream", true, &downstream, err) ||
        get_bool(request, "dry_run", false, &dry, err) || get_text(request, "user_id", &user, err)) {
        done_with(loaded);
        return NULL;
    }
    if (!run->jobs)
        run_make_jobs(run);
    bool *which = xcalloc(run->definition->workflow->task_count + 1, sizeof *which);
    if (run->stopping && !loaded && run->state == RUN_RUNNING) {
        COMPLAIN(409, "run %s is being stopped: clear it when it is over", run->id);
    } else if (!choose(run, request, which, err)) {
        if (downstream)
            add_downstream(run, which);
        ids = chosen(run, which, err);
    }
    if (ids && json_array_size(ids) && !dry) {
        run_clear(run, which, user);
        loaded = NULL; /* it lives again */
    }
    free(which);
    done_with(loaded);
    return ids ? json_pack("{s:o}", "tasks", ids) : NULL;
}

/* ---- explain ---- */

static json_t *on_explain(struct engine *e, const json_t *request, struct ls_error *err)
{
    struct run *loaded, *run = require_run(e, request, true, &loaded, err);
    const char *id = NULL;
    json_t *view = NULL;
    if (run && !get_text(request, "task", &id, err)) {
        const struct task *task = id ? workflow_task(run->definition->workflow, id) : NULL;
        if (!run->jobs)
            run_make_jobs(run);
        if (!task)
            COMPLAIN(id ? 404 : 400,
                     id ? "workflow %s has no task \"%.200s\"" : "say which \"task\" of workflow %s%.0s", run->flow->id,
                     id ? id : "");
        else
            view = view_job(&run->jobs[task->index], err);
        if (view) {
            json_t *why = json_array();
            explain(&run->jobs[task->index], why);
            json_object_set_new(view, "why", why);
        }
    }
    done_with(loaded);
    return view;
}

/* ---- the table ---- */

static const struct {
    const char *topic;
    json_t *(*answer)(struct engine *e, const json_t *request, struct ls_error *err);
} REQUESTS[] = {
    {"task.claim", lease_claim},     {"task.renew", lease_renew},   {"scheduler.list", on_list},
    {"scheduler.run", on_run},       {"scheduler.runs", on_runs},   {"scheduler.show", on_show},
    {"scheduler.cancel", on_cancel}, {"scheduler.clear", on_clear}, {"scheduler.explain", on_explain},
    {"scheduler.next", on_next},     {"scheduler.pause", on_pause},
};

json_t *request_answer(struct engine *e, const char *topic, const json_t *request, struct ls_error *err)
{
    err->name[0] = 0;
    for (size_t i = 0; i < sizeof REQUESTS / sizeof REQUESTS[0]; i++)
        if (strcmp(REQUESTS[i].topic, topic) == 0)
            return REQUESTS[i].answer(e, request, err);
    COMPLAIN(404, "a scheduler cannot be asked for \"%.200s\"", topic);
    return NULL;
}
