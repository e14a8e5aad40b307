/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of the tracker as events, and the words between a task's command and its runner. */
#include "cli/run_report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/node.h"
#include "lib/xmem.h"

#define LOOK_EVERY_MS 20 /* whether the tracker knows the run */
#define NOT_FOUND 404

static const char *text_of(const char *variable)
{
    const char *text = getenv(variable);
    return text && *text ? text : NULL;
}

/* ---- connection ---- */

bool run_report_id_good(const char *run_id)
{
    size_t len = strspn(run_id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-");
    return len > 0 && len < RUN_ID_SIZE && !run_id[len];
}

int run_report_open(struct run_report *report, const struct cli_command *command, const struct options_broker *broker,
                    const char *run_id)
{
    char id[LS_ID_SIZE];
    size_t len = 0;
    *report = (struct run_report){.failed = false};
    ls_id(id);
    for (const char *c = id; *c && !run_id; c++)
        if (*c != '-')
            report->run_id[len++] = *c;
    if (run_id)
        snprintf(report->run_id, sizeof report->run_id, "%s", run_id);
    return bus_open(&report->bus, command, broker, &(struct ls_client_options){.heartbeat_thread = true});
}

void run_report_close(struct run_report *report)
{
    bus_close(&report->bus);
}

/* ---- events ---- */

static void note_failure(struct run_report *report, const struct ls_error *err)
{
    if (!report->failed)
        report->err = *err;
    report->failed = true;
}

static void on_published(void *arg, const struct ls_published *result)
{
    if (result->err)
        note_failure(arg, result->err);
}

/* Within a task the event says what it belongs to: the trace, and the start of this try (docs/nodes/task-run.md names that event).
 * A body is msgpack: JSON has no NaN. */
static void tell(struct run_report *report, const char *topic, const struct buf *body)
{
    struct ls_error err = {0};
    const char *try = text_of("LINESHAFT_TRY");
    char *cause = try ? xasprintf("%s.started", try) : NULL;
    struct ls_event event = {.topic = ls_str(topic),
                             .subject = ls_str(report->run_id),
                             .body = ls_bytes(body->data, body->len),
                             .traceparent = ls_str(text_of("LINESHAFT_TRACEPARENT")),
                             .causationid = ls_str(cause)};
    if (ls_publish(report->bus.client, &event, on_published, report, &err) < 0 ||
        ls_client_step(report->bus.client, 0, &err) < 0)
        note_failure(report, &err);
    free(cause);
}

static void add_optional(struct buf *body, uint16_t *pairs, const char *key, const char *text)
{
    if (!text)
        return;
    buf_pair_str(body, key, text);
    ++*pairs;
}

static void add_tags(struct buf *body)
{
    static const char *const TAGS[][2] = {{"lineshaft.workflow", "LINESHAFT_WORKFLOW"},
                                          {"lineshaft.workflow_run_id", "LINESHAFT_WORKFLOW_RUN_ID"},
                                          {"lineshaft.task", "LINESHAFT_TASK"},
                                          {"lineshaft.try", "LINESHAFT_TRY"}};
    uint16_t pairs = 0;
    buf_pack_str(body, "tags");
    size_t at = buf_begin_map(body);
    add_optional(body, &pairs, "mlflow.source.name", "lineshaft");
    add_optional(body, &pairs, "mlflow.source.type", "JOB");
    for (size_t i = 0; i < sizeof TAGS / sizeof TAGS[0]; i++)
        add_optional(body, &pairs, TAGS[i][0], text_of(TAGS[i][1]));
    buf_end_map(body, at, pairs);
}

static void tell_param(struct run_report *report, const char *key, const json_t *value)
{
    struct buf body = {0};
    buf_pack_map(&body, 3);
    buf_pair_str(&body, "run_id", report->run_id);
    buf_pair_str(&body, "key", key);
    buf_pack_str(&body, "value");
    if (json_is_string(value))
        buf_pack_strn(&body, json_string_value(value), json_string_length(value));
    else
        buf_pack_int(&body, json_integer_value(value));
    tell(report, "run.param", &body);
    buf_fini(&body);
}

void run_report_create(struct run_report *report, const char *experiment, const char *name, json_t *params)
{
    struct buf body = {0};
    uint16_t pairs = 5;
    const char *key, *user = text_of("USER");
    json_t *value;
    size_t at = buf_begin_map(&body);
    buf_pair_str(&body, "run_id", report->run_id);
    buf_pair_str(&body, "status", "RUNNING");
    buf_pack_str(&body, "start_time");
    buf_pack_int(&body, clock_wall_us() / 1000);
    buf_pair_str(&body, "source_type", "JOB");
    add_optional(&body, &pairs, "source_name", "lineshaft");
    add_optional(&body, &pairs, "experiment_name", experiment);
    add_optional(&body, &pairs, "run_name", name);
    add_optional(&body, &pairs, "user_id", user);
    add_tags(&body);
    buf_end_map(&body, at, pairs);
    tell(report, "run.created", &body);
    buf_fini(&body);
    json_object_foreach(params, key, value) tell_param(report, key, value);
    json_decref(params);
}

void run_report_metric(struct run_report *report, const char *key, double value, int64_t step)
{
    struct buf body = {0};
    buf_pack_map(&body, 5);
    buf_pair_str(&body, "run_id", report->run_id);
    buf_pair_str(&body, "key", key);
    buf_pack_str(&body, "value");
    buf_pack_double(&body, value);
    buf_pack_str(&body, "step");
    buf_pack_int(&body, step);
    buf_pack_str(&body, "timestamp");
    buf_pack_int(&body, clock_wall_us() / 1000);
    tell(report, "run.metric", &body);
    buf_fini(&body);
}

void run_report_tag(struct run_report *report, const char *key, const char *value)
{
    struct buf body = {0};
    buf_pack_map(&body, 3);
    buf_pair_str(&body, "run_id", report->run_id);
    buf_pair_str(&body, "key", key);
    buf_pair_str(&body, "value", value);
    tell(report, "run.tag", &body);
    buf_fini(&body);
}

void run_report_end(struct run_report *report, const char *status)
{
    struct buf body = {0};
    buf_pack_map(&body, 3);
    buf_pair_str(&body, "run_id", report->run_id);
    buf_pair_str(&body, "status", status);
    buf_pack_str(&body, "end_time");
    buf_pack_int(&body, clock_wall_us() / 1000);
    tell(report, "run.updated", &body);
    buf_fini(&body);
}

/* ---- certainty ---- */

int run_report_flush(struct run_report *report)
{
    struct ls_error err = {0};
    if (!report->failed && ls_flush(report->bus.client, report->bus.timeout_ms, &err) < 0)
        note_failure(report, &err);
    if (!report->failed)
        return CLI_OK;
    error_wrap(&report->err, "the run %s is not on record", report->run_id);
    return bus_failed(report->bus.command, &report->err);
}

/* The run's info, NULL with *err: FAILED and 404 when it is not there yet. */
static json_t *ask_tracker(struct run_report *report, struct ls_error *err)
{
    char body[80], *answer = NULL;
    size_t len = 0;
    snprintf(body, sizeof body, "{\"run_id\":\"%s\"}", report->run_id);
    struct ls_event request = {.topic = ls_str("tracker.runs.get"), .body = ls_str(body)};
    if (ls_request_wait(report->bus.client, &request, report->bus.timeout_ms, &answer, &len, err) < 0)
        return NULL;
    json_auto_t *json = node_json(ls_bytes(answer, len), err);
    free(answer);
    json_t *info = json_object_get(json_object_get(json, "run"), "info");
    if (json && !info)
        error_set(err, "BAD_VALUE", "the tracker's answer has no run.info");
    return json_incref(info);
}

static bool has_ended(const json_t *info)
{
    const char *status = json_string_value(json_object_get(info, "status"));
    return status && strcmp(status, "RUNNING") != 0 && strcmp(status, "SCHEDULED") != 0;
}

json_t *run_report_known(struct run_report *report, bool ended, struct ls_error *err)
{
    int64_t until_ms = clock_mono_ms() + report->bus.timeout_ms;
    for (;;) {
        *err = (struct ls_error){.number = 0};
        json_t *info = ask_tracker(report, err);
        if (info && (!ended || has_ended(info)))
            return info;
        bool later = info || (strcmp(err->name, "FAILED") == 0 && err->number == NOT_FOUND);
        json_decref(info);
        if (!later)
            return NULL;
        if (clock_mono_ms() >= until_ms) {
            error_set(err, "TIMEOUT", "the tracker does not know the run %s yet", report->run_id);
            return NULL;
        }
        ls_client_step(report->bus.client, LOOK_EVERY_MS, err);
    }
}

/* ---- the runner ---- */

int task_output(const char *key, json_t *value, struct ls_error *err)
{
    const char *path = text_of("LINESHAFT_OUTPUTS");
    json_auto_t *owned = value;
    struct buf line = {0};
    if (!path)
        return 0;
    buf_addf(&line, "%s=", key);
    node_write(&line, owned); /* as JSON, so that a text of digits stays one */
    buf_add_byte(&line, '\n');
    FILE *file = fopen(path, "ae");
    bool ok = file && fwrite(line.data, 1, line.len, file) == line.len;
    ok = file && fclose(file) == 0 && ok;
    buf_fini(&line);
    return ok ? 0 : error_set(err, "SYSTEM", "cannot write the outputs to %s: %s", path, strerror(errno));
}

void task_progress(double fraction, const char *format, ...)
{
    va_list args;
    if (!text_of("LINESHAFT_TRY") || isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "::progress %.2f ", fraction);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
