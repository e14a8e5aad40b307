/* SPDX-License-Identifier: Apache-2.0 */
/* The events of a try. Start and end have ids made of the try's, so that one that is told twice, by a runner that came back, is
 * stored once. There is room for them in the end: what the client cannot take now is told in a later turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define BODY_MAX_DEFAULT ((size_t) 1 << 20)

static void begin_body(struct buf *body, const struct try *try)
{
    static const char *const TEXTS[] = {"workflow", "workflow_run_id", "task"};
    static const char *const NUMBERS[] = {"map_index", "attempt"};
    buf_add_byte(body, '{');
    for (size_t i = 0; i < 3; i++) {
        const char *text = json_string_value(json_object_get(try->task, TEXTS[i]));
        json_put_pair(body, TEXTS[i], ls_str(text ? text : "none"));
    }
    json_put_pair(body, "try", ls_str(try->id));
    for (size_t i = 0; i < 2; i++)
        if (json_is_integer(json_object_get(try->task, NUMBERS[i])))
            buf_addf(body, ",\"%s\":%lld", NUMBERS[i],
                     (long long) json_integer_value(json_object_get(try->task, NUMBERS[i])));
    json_put_pair(body, "runner", ls_str(node_member(try->runner->node)));
}

static struct ls_event event_of(const struct try *try, const char *topic, const struct buf *body)
{
    return (struct ls_event){.topic = ls_str(topic),
                             .subject = ls_str(try->cause.subject),
                             .traceparent = ls_str(try->cause.traceparent),
                             .tracestate = ls_str(try->cause.tracestate),
                             .correlationid = ls_str(try->cause.correlationid),
                             .causationid = ls_str(try->cause.id),
                             .body = ls_bytes(body->data, body->len)};
}

static void complain(const struct ls_published *result)
{
    logger_put(LEVEL_WARN, "publish-failed", result->err->text, "topic=%.*s name=%s", (int) result->topic.len,
               result->topic.len ? result->topic.data : "", result->err->name);
}

static void on_published(void *arg, const struct ls_published *result)
{
    (void) arg;
    if (result->err)
        complain(result);
}

/* False: there is no room now. Another refusal is final, and logged. */
static bool publish(const struct try *try, const struct ls_event *event, ls_published_fn *fn, void *arg)
{
    struct ls_error err = {0};
    if (ls_publish(node_client(try->runner->node), event, fn, arg, &err) == 0)
        return true;
    if (strcmp(err.name, "BUSY") == 0)
        return false;
    fn(arg, &(struct ls_published){.topic = event->topic, .err = &err});
    return true;
}

/* ---- progress ---- */

bool report_progress(struct try *try, struct ls_slice log, int64_t offset)
{
    struct buf body = {0};
    struct progress *progress = &try->log.progress;
    begin_body(&body, try);
    if (log.len) {
        buf_addf(&body, ",\"log\":");
        log_text(&body, (const uint8_t *) log.data, log.len);
        buf_addf(&body, ",\"log_offset\":%lld", (long long) offset);
    }
    if (progress->news) {
        buf_addf(&body, ",\"fraction\":");
        json_put_double(&body, progress->fraction);
        if (progress->message) {
            buf_addf(&body, ",\"message\":");
            log_text(&body, (const uint8_t *) progress->message, strlen(progress->message));
        }
    }
    buf_add_byte(&body, '}');
    const struct ls_event event = event_of(try, "task.progress", &body);
    bool sent = publish(try, &event, on_published, NULL);
    progress->news = progress->news && !sent;
    buf_fini(&body);
    return sent;
}

/* ---- start ---- */

static bool tell_start(struct try *try)
{
    struct buf body = {0};
    char id[160];
    begin_body(&body, try);
    buf_addf(&body, ",\"pid\":%d,\"start_time\":%lld", try->started.pid, (long long) try->started.start_ms);
    json_put_pair(&body, "host", ls_str(try->runner->host));
    buf_add_byte(&body, '}');
    struct ls_event event = event_of(try, "task.started", &body);
    snprintf(id, sizeof id, "%s.started", try->id);
    event.id = ls_str(id);
    bool sent = publish(try, &event, on_published, NULL);
    buf_fini(&body);
    return sent;
}

/* ---- end ---- */

static void put_status(struct buf *body, const struct ending *ending)
{
    int status = ending->word.status;
    bool known = ending->word.pid != 0;
    if (known && WIFEXITED(status))
        buf_addf(body, ",\"exit_code\":%d,\"signal\":null", WEXITSTATUS(status));
    else if (known && WIFSIGNALED(status))
        buf_addf(body, ",\"exit_code\":null,\"signal\":%d", WTERMSIG(status));
    else
        buf_addf(body, ",\"exit_code\":null,\"signal\":null");
    if (!known || ending->word.end_ms <= 0)
        return;
    int64_t took = ending->word.end_ms - ending->word.start_ms;
    buf_addf(body, ",\"start_time\":%lld,\"end_time\":%lld,\"duration_ms\":%lld,\"cpu_ms\":",
             (long long) ending->word.start_ms, (long long) ending->word.end_ms, (long long) (took > 0 ? took : 0));
    json_put_double(body, (double) ending->word.cpu_us / 1e3);
    buf_addf(body, ",\"memory_bytes_max\":%lld", (long long) ending->word.memory_bytes);
}

static void put_end(struct buf *body, const struct try *try)
{
    begin_body(body, try);
    json_put_pair(body, "reason", ls_str(try->ending.reason));
    put_status(body, &try->ending);
    if (try->ending.error)
        json_put_pair(body, "error", ls_str(try->ending.error));
    if (try->log.path && try->log.written) {
        char *place = xasprintf("%s:%s", try->runner->host, try->log.path);
        json_put_pair(body, "log", ls_str(place));
        free(place);
    }
    if (json_object_size(try->ending.outputs)) {
        buf_addf(body, ",\"outputs\":");
        node_write(body, try->ending.outputs);
    }
    buf_add_byte(body, '}');
}

static void refuse_outputs(struct try *try, const char *why)
{
    json_decref(try->ending.outputs);
    free(try->ending.error);
    try->ending.outputs = NULL;
    try->ending.reason = "outputs";
    try->ending.error = xasprintf("the outputs cannot be published: %s", why);
}

static void on_end_stored(void *arg, const struct ls_published *result)
{
    struct try *try = arg;
    struct runner *r = try->runner;
    if (result->err) {
        complain(result);
        if (try->ending.outputs) { /* the likely culprit; without them it goes */
            refuse_outputs(try, result->err->text);
            try->telling_end = false;
            return;
        }
    }
    if (try->former && r->former_tries)
        json_array_append_new(r->former_tries, json_string(try->id));
    record_clear(try);
    try_free(try);
    runner_window(r);
}

static bool tell_end(struct try *try)
{
    struct buf body = {0};
    char id[160];
    const struct ls_server *server = ls_client_server(node_client(try->runner->node));
    size_t most = server->body_max ? (size_t) server->body_max : BODY_MAX_DEFAULT;
    put_end(&body, try);
    if (body.len > most && try->ending.outputs) {
        refuse_outputs(try, "the event would be larger than the broker's body_max");
        buf_clear(&body);
        put_end(&body, try);
    }
    struct ls_event event = event_of(try, "task.ended", &body);
    snprintf(id, sizeof id, "%s.ended", try->id);
    event.id = ls_str(id);
    try->telling_end = true;
    bool sent = publish(try, &event, on_end_stored, try);
    if (!sent)
        try->telling_end = false;
    buf_fini(&body);
    return sent;
}

void report_turn(struct runner *r)
{
    struct try *try, *next;
    for (try = LIST_FIRST(&r->tries); try; try = next) {
        next = LIST_NEXT(try, link);
        if (try->tell_started) {
            if (!tell_start(try))
                return;
            try->tell_started = false;
        }
        if (try->state == TRY_OVER && !try->telling_end && !tell_end(try))
            return;
    }
}
