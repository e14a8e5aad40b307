/* SPDX-License-Identifier: Apache-2.0 */
/* What events mean for runs at W&B: metrics become points, params config, tags labels; a workflow's run is a run, with a row for each
 * try that ended. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define KEY_MAX 10000
#define KILLED 255 /* exit code of a run that somebody ended */

static const char *text_of(const json_t *body, const char *key)
{
    return json_string_value(json_object_get(body, key));
}

static int64_t int_of(const json_t *body, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(body, key);
    if (json_is_real(value) && fabs(json_real_value(value)) < 0x1p63)
        return (int64_t) json_real_value(value);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

/* What waits for the present names, config and state. */
static enum fact waits_for_rev(struct run *run, struct held *held)
{
    wandb_run_changed(run);
    held->wait = (struct wait){.line = -1, .rev = run->rev};
    return FACT_WAITS;
}

static enum fact waits_for_end(struct run *run, struct held *held)
{
    held->wait = (struct wait){.line = -1, .rev = run->rev, .end = run->end_rev};
    return FACT_WAITS;
}

static void set_text(struct run *run, const char *key, const char *value)
{
    if (value && *value)
        json_object_set_new(run->about, key, json_string(value));
}

static void set_start(struct run *run, int64_t at_ms)
{
    if (at_ms > 0 && !run->filed_ms)
        run->started_ms = at_ms;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* ---- experiments ---- */

/* Decimal, as number or text. The caller's to free; NULL: absent. */
static char *experiment_id(const json_t *body)
{
    const json_t *id = json_object_get(body, "experiment_id");
    if (json_is_string(id))
        return xstrdup(json_string_value(id));
    return json_is_integer(id) ? xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(id)) : NULL;
}

static enum fact apply_experiment(struct wandb *w, const struct held *held, struct ls_error *err)
{
    const char *name = text_of(held->body, "name");
    char *id = experiment_id(held->body);
    int rc = id && name ? wandb_store_experiment(w, id, name, err) : 0;
    free(id);
    return rc ? FACT_FAILED : FACT_NONE;
}

/* The experiment's name is the project's. */
static void set_project(struct run *run, const json_t *body)
{
    const char *name = text_of(body, "experiment_name");
    char *id = experiment_id(body);
    const char *known = id ? text_of(run->w->experiments, id) : "Default";
    if (name || known || id) {
        char *other = name || known ? NULL : xasprintf("experiment-%s", id);
        char *project = name_project(name ? name : known ? known : other);
        set_text(run, "project", project);
        free(project);
        free(other);
    }
    free(id);
}

/* ---- runs ---- */

/* MLflow's own tags are names and notes; those of users become labels, `key=value`. */
static void set_tag(struct run *run, const char *key, const json_t *value)
{
    struct buf text = {0};
    json_t *labels = json_object_get(run->about, "labels");
    if (json_is_string(value))
        buf_addf(&text, "%s", json_string_value(value));
    else if (value)
        node_write(&text, value);
    if (strcmp(key, "mlflow.runName") == 0) {
        set_text(run, "display_name", buf_text(&text));
    } else if (strcmp(key, "mlflow.note.content") == 0) {
        set_text(run, "notes", buf_text(&text));
    } else if (strcmp(key, "mlflow.parentRunId") == 0) {
        set_text(run, "group", buf_text(&text));
    } else if (!has_prefix(key, "mlflow.") && *key) {
        char *label = name_label(key, buf_text(&text));
        json_object_set_new(labels, key, json_string(label));
        free(label);
    }
    buf_fini(&text);
}

static void end_by_status(struct run *run, const char *status, int64_t at_ms)
{
    if (strcmp(status, "FINISHED") == 0)
        wandb_run_end(run, 0, at_ms);
    else if (strcmp(status, "FAILED") == 0)
        wandb_run_end(run, 1, at_ms);
    else if (strcmp(status, "KILLED") == 0)
        wandb_run_end(run, KILLED, at_ms);
    else
        wandb_run_reopen(run);
}

static enum fact apply_created(struct run *run, struct held *held)
{
    const json_t *body = held->body;
    const char *status = text_of(body, "status"), *key;
    json_t *value;
    set_start(run, int_of(body, "start_time", held->time_ms));
    set_project(run, body);
    set_text(run, "display_name", text_of(body, "run_name"));
    json_object_foreach(json_object_get(body, "tags"), key, value) set_tag(run, key, value);
    enum fact fact = waits_for_rev(run, held);
    if (status)
        end_by_status(run, status, held->time_ms);
    return fact;
}

static enum fact apply_updated(struct run *run, struct held *held)
{
    const char *status = text_of(held->body, "status"), *name = text_of(held->body, "run_name");
    if (name && *name) {
        set_text(run, "display_name", name);
        wandb_run_changed(run);
    }
    if (status)
        end_by_status(run, status, int_of(held->body, "end_time", held->time_ms));
    return waits_for_end(run, held);
}

/* Clients of MLflow send numbers as text; at W&B they are to be sorted and drawn. */
static json_t *param_value(const json_t *value)
{
    const char *text = json_string_value(value);
    json_t *number = NULL;
    if (text && (*text == '-' || (*text >= '0' && *text <= '9')))
        number = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json_is_number(number))
        return number;
    json_decref(number);
    return json_incref((json_t *) (uintptr_t) value);
}

static enum fact apply_param(struct run *run, struct held *held)
{
    json_t *config = json_object_get(run->about, "config"), *value = json_object_get(held->body, "value");
    const char *key = text_of(held->body, "key");
    if (!key || !value)
        return FACT_NONE;
    if (!json_object_get(config, key) || json_is_true(json_object_get(held->body, "replace")))
        json_object_set_new(config, key, param_value(value));
    return waits_for_rev(run, held);
}

static enum fact apply_tag(struct run *run, struct held *held)
{
    const char *key = text_of(held->body, "key");
    if (!key)
        return FACT_NONE;
    if (json_is_true(json_object_get(held->body, "deleted")))
        json_object_del(json_object_get(run->about, "labels"), key);
    else
        set_tag(run, key, json_object_get(held->body, "value"));
    return waits_for_rev(run, held);
}

/* Numbers that JSON cannot hold are words here (batch.c). */
static bool put_value(struct buf *out, const json_t *value)
{
    static const char *const WORDS[] = {"NaN", "Infinity", "-Infinity", NULL};
    const char *text = json_string_value(value);
    if (json_is_number(value))
        node_write(out, value);
    for (size_t i = 0; text && WORDS[i]; i++)
        if (strcmp(text, WORDS[i]) == 0)
            buf_addf(out, "%s", text);
    return out->len > 0;
}

static enum fact apply_metric(struct run *run, struct held *held, struct ls_error *err)
{
    const char *key = text_of(held->body, "key");
    char *column = key ? row_column(key) : NULL;
    struct buf value = {0};
    enum fact fact = FACT_GATHERS;
    if (!key || strlen(key) > KEY_MAX || !put_value(&value, json_object_get(held->body, "value"))) {
        error_set(err, "BAD_VALUE", "run.metric needs a \"key\" of at most %d bytes and a number as \"value\"",
                  KEY_MAX);
        fact = FACT_REJECT;
    } else {
        const struct point point = {.column = column,
                                    .value = buf_text(&value),
                                    .step = int_of(held->body, "step", 0),
                                    .at_ms = int_of(held->body, "timestamp", held->time_ms)};
        if (wandb_run_point(run, &point, held, err))
            fact = FACT_FAILED;
    }
    buf_fini(&value);
    free(column);
    return fact;
}

static enum fact apply_run(struct run *run, struct held *held, struct ls_error *err)
{
    const char *what = held->topic + strlen("run.");
    if (strcmp(what, "metric") == 0)
        return apply_metric(run, held, err);
    if (strcmp(what, "created") == 0)
        return apply_created(run, held);
    if (strcmp(what, "updated") == 0)
        return apply_updated(run, held);
    if (strcmp(what, "param") == 0)
        return apply_param(run, held);
    return apply_tag(run, held);
}

/* ---- workflows ---- */

static void begin_workflow(struct run *run, const json_t *body)
{
    const char *workflow = text_of(body, "workflow");
    char *project = name_project(workflow);
    set_text(run, "project", project);
    set_text(run, "display_name", text_of(body, "workflow_run_id"));
    set_text(run, "group", workflow);
    set_text(run, "job_type", "workflow");
    free(project);
}

static enum fact apply_workflow_created(struct run *run, struct held *held)
{
    static const char *const KEYS[] = {"workflow",        "trigger", "logical_date", "event_topic", "inputs",
                                       "definition_hash", NULL};
    json_t *config = json_object_get(run->about, "config");
    for (size_t i = 0; KEYS[i]; i++) {
        json_t *value = json_object_get(held->body, KEYS[i]);
        if (value && !json_is_null(value))
            json_object_set(config, KEYS[i], value);
    }
    set_text(run, "notes", text_of(held->body, "note"));
    set_start(run, held->time_ms);
    return waits_for_rev(run, held);
}

static enum fact apply_workflow(struct run *run, struct held *held)
{
    const char *what = held->topic + strlen("workflow.run.");
    int64_t at_ms = int_of(held->body, "end_time", held->time_ms);
    if (strcmp(what, "created") == 0)
        return apply_workflow_created(run, held);
    if (strcmp(what, "started") == 0) {
        set_start(run, int_of(held->body, "start_time", held->time_ms));
        wandb_run_reopen(run); /* a task was cleared, and it runs again */
        return waits_for_rev(run, held);
    }
    wandb_run_end(run, strcmp(what, "succeeded") == 0 ? 0 : strcmp(what, "failed") == 0 ? 1 : KILLED, at_ms);
    return waits_for_end(run, held);
}

/* A row of its own for a try that ended, whatever gathers. */
static enum fact apply_task(struct run *run, struct held *held, struct ls_error *err)
{
    static const char *const NUMBERS[] = {"map_index",        "attempt",   "duration_ms", "cpu_ms",
                                          "memory_bytes_max", "exit_code", NULL};
    const json_t *body = held->body;
    struct row *row = &run->row;
    struct buf value = {0};
    if (wandb_run_row_close(run, err))
        return FACT_FAILED;
    row->step = run->next_step;
    row->at_ms = int_of(body, "end_time", held->time_ms);
    json_put_text(&value, text_of(body, "task"));
    row_add(row, "task", buf_text(&value));
    buf_clear(&value);
    json_put_text(&value, held->topic + strlen("task."));
    row_add(row, "state", buf_text(&value));
    for (size_t i = 0; NUMBERS[i]; i++) {
        const json_t *number = json_object_get(body, NUMBERS[i]);
        buf_clear(&value);
        if (json_is_number(number)) {
            node_write(&value, number);
            row_add(row, NUMBERS[i], buf_text(&value));
        }
    }
    buf_fini(&value);
    TAILQ_INSERT_TAIL(&run->gathering, held, link);
    return wandb_run_row_close(run, err) ? FACT_FAILED : FACT_GATHERS;
}

/* ---- which run ---- */

static bool is_one_of(const char *topic, const char *const *topics)
{
    for (; *topics; topics++)
        if (strcmp(topic, *topics) == 0)
            return true;
    return false;
}

/* The subject of an event that is exported, to free; NULL: it is none. */
static char *subject_of(const struct held *held)
{
    static const char *const RUNS[] = {"run.created", "run.updated", "run.metric", "run.param", "run.tag", NULL};
    static const char *const WORKFLOWS[] = {"workflow.run.created", "workflow.run.started",   "workflow.run.succeeded",
                                            "workflow.run.failed",  "workflow.run.cancelled", "task.succeeded",
                                            "task.failed",          "task.skipped",           NULL};
    const char *id = text_of(held->body, "run_id"), *workflow = text_of(held->body, "workflow");
    const char *run = text_of(held->body, "workflow_run_id");
    if (is_one_of(held->topic, RUNS) && id && *id)
        return xasprintf("run/%s", id);
    if (is_one_of(held->topic, WORKFLOWS) && workflow && *workflow && run && *run)
        return xasprintf("workflow/%s/%s", workflow, run);
    return NULL;
}

enum fact wandb_apply(struct wandb *w, struct held *held, struct run **run, struct ls_error *err)
{
    if (!held->body) {
        *err = held->problem;
        return FACT_REJECT;
    }
    if (has_prefix(held->topic, "experiment."))
        return apply_experiment(w, held, err);
    char *subject = subject_of(held);
    if (!subject)
        return FACT_NONE;
    *run = wandb_find(w, subject, held->time_ms, err);
    free(subject);
    if (!*run)
        return FACT_FAILED;
    if (has_prefix(held->topic, "run."))
        return apply_run(*run, held, err);
    if (!text_of((*run)->about, "job_type"))
        begin_workflow(*run, held->body);
    return has_prefix(held->topic, "task.") ? apply_task(*run, held, err) : apply_workflow(*run, held);
}
