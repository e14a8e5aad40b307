/* SPDX-License-Identifier: Apache-2.0 */
/* Chat turns on record: chat.request, then one of chat.completed, chat.failed, chat.cancelled; one trace, each caused by the
 * request. The schemas are schemas/chat.*.yaml. */
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "nodes/ingress/chat.h"

/* ---- usage ---- */

void turn_usage(const struct turn *t, struct buf *out)
{
    struct mp usage = mp_over(t->usage.data, t->usage.len);
    if (t->usage.len && json_put_value(out, &usage, SIZE_MAX))
        return;
    buf_addf(out, "{\"prompt_tokens\":0,\"completion_tokens\":%llu,\"total_tokens\":%llu,\"estimated\":true}",
             (unsigned long long) t->pieces, (unsigned long long) t->pieces);
}

static void count_usage(const struct turn *t)
{
    static const struct {
        const char *name;
        enum ingress_metric metric;
    } COUNTS[] = {{"prompt_tokens", METRIC_PROMPT_TOKENS}, {"completion_tokens", METRIC_COMPLETION_TOKENS}};
    for (size_t i = 0; i < sizeof COUNTS / sizeof COUNTS[0]; i++) {
        struct mp value;
        uint64_t count;
        if (t->usage.len && mp_find(mp_over(t->usage.data, t->usage.len), COUNTS[i].name, &value) && mp_uint(&value, &count))
            *node_metric(t->in->node, COUNTS[i].metric) += (int64_t) count;
    }
}

/* ---- the body, as JSON ---- */

static void begin_body(const struct turn *t, struct buf *out)
{
    buf_addf(out, "{");
    json_put_pair(out, "request_id", ls_str(t->request_id));
    if (strcmp(t->chat_id, t->request_id) != 0)
        json_put_pair(out, "chat_id", ls_str(t->chat_id));
    json_put_pair(out, "model", ls_str(t->answered_by ? t->answered_by : t->model));
}

static void put_ms(struct buf *out, const char *key, double ms)
{
    buf_addf(out, ",\"%s\":%.3f", key, ms);
}

static void put_usage(const struct turn *t, struct buf *out)
{
    buf_addf(out, ",\"usage\":");
    turn_usage(t, out);
}

static void publish(struct turn *t, const char *topic, struct buf *body)
{
    bool first = strcmp(topic, "chat.request") == 0;
    buf_add_byte(body, '}');
    node_publish(t->in->node, &(struct ls_event){.topic = ls_str(topic), .id = first ? ls_str(t->event_id) : (struct ls_slice){0},
                                                 .subject = ls_str(t->chat_id), .traceparent = ls_str(t->trace),
                                                 .correlationid = ls_str(t->request_id),
                                                 .causationid = first ? (struct ls_slice){0} : ls_str(t->event_id),
                                                 .body = ls_bytes(body->data, body->len)});
    buf_fini(body);
}

/* ---- chat.request ---- */

/* The roles alone: how the conversation went, not what was said. */
static json_t *without_content(const json_t *messages)
{
    json_t *out = json_array(), *message;
    size_t i;
    json_array_foreach(messages, i, message)
        json_array_append_new(out, json_pack("{s:O?,s:n}", "role", json_object_get(message, "role"), "content"));
    return out;
}

static json_t *messages_of(const struct turn *t, bool content)
{
    json_t *messages = json_object_get(t->body, "messages"), *prompt = json_object_get(t->body, "prompt");
    if (t->completion && content && json_is_string(prompt))
        return json_pack("[{s:s,s:O}]", "role", "user", "content", prompt);
    if (t->completion)
        return json_pack("[{s:s,s:n}]", "role", "user", "content");
    return content ? json_incref(messages) : without_content(messages);
}

static void put_field(struct buf *out, const char *key, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        buf_addf(out, ",\"%s\":%s", key, text);
    free(text);
}

static void put_request(const struct turn *t, bool content, struct buf *out)
{
    static const char *const FIELDS[] = {"stream", "temperature", "top_p", "max_tokens", "seed", "stop"};
    const char *retries = http_header(t->v->x, "x-stainless-retry-count");
    json_t *messages = messages_of(t, content);
    begin_body(t, out);
    put_field(out, "messages", messages);
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++)
        put_field(out, FIELDS[i], json_object_get(t->body, FIELDS[i]));
    if (content)
        put_field(out, "tools", json_object_get(t->body, "tools"));
    if (*t->v->principal)
        json_put_pair(out, "principal", ls_str(t->v->principal));
    if (retries && *retries && strlen(retries) < 6 && strspn(retries, "0123456789") == strlen(retries))
        buf_addf(out, ",\"retry_count\":%ld", strtol(retries, NULL, 10));
    json_decref(messages);
}

void event_request(struct turn *t)
{
    struct buf body = {0};
    const struct ls_server *server = ls_client_server(node_client(t->in->node));
    put_request(t, t->in->options->content == CONTENT_FULL, &body);
    if (body.len >= server->body_max) { /* the record must not fail for its size */
        buf_clear(&body);
        put_request(t, false, &body);
    }
    publish(t, "chat.request", &body);
}

/* ---- how it ended ---- */

static void put_answer(const struct turn *t, struct buf *out)
{
    const struct choice *c = &t->choices[0];
    buf_addf(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if (c->text.len > TURN_TEXT_MAX)
        json_put_string(out, c->text.data, TURN_TEXT_MAX);
    else
        json_put_string(out, c->text.data, c->text.len);
    if (c->reasoning.len && c->reasoning.len <= TURN_TEXT_MAX / 4)
        json_put_pair(out, "reasoning_content", ls_bytes(c->reasoning.data, c->reasoning.len));
    if (c->tool_calls)
        put_field(out, "tool_calls", c->tool_calls);
    buf_addf(out, "}");
    if (c->cut || c->text.len > TURN_TEXT_MAX)
        buf_addf(out, ",\"content_cut\":true");
}

void event_completed(struct turn *t)
{
    struct buf body = {0};
    double now = turn_now_ms();
    begin_body(t, &body);
    if (t->version)
        json_put_pair(&body, "version", ls_str(t->version));
    if (t->in->options->content == CONTENT_FULL)
        put_answer(t, &body);
    json_put_pair(&body, "finish_reason", ls_str(t->choices[0].finish));
    put_usage(t, &body);
    put_ms(&body, "first_token_ms", t->first_ms - t->begun_ms);
    put_ms(&body, "duration_ms", now - t->begun_ms);
    if (t->worker)
        json_put_pair(&body, "worker", ls_str(t->worker));
    count_usage(t);
    publish(t, "chat.completed", &body);
}

void event_failed(struct turn *t, const struct problem *problem, const char *text)
{
    struct buf body = {0};
    begin_body(t, &body);
    json_put_pair(&body, "error", ls_str(text && *text ? text : "failed"));
    if (problem->code)
        json_put_pair(&body, "code", ls_str(problem->code));
    buf_addf(&body, ",\"status\":%u,\"partial\":%s", problem->status, t->first_ms > 0 ? "true" : "false");
    if (t->first_ms > 0)
        put_usage(t, &body);
    put_ms(&body, "duration_ms", turn_now_ms() - t->begun_ms);
    publish(t, "chat.failed", &body);
}

void event_cancelled(struct turn *t, const char *reason)
{
    struct buf body = {0};
    begin_body(t, &body);
    json_put_pair(&body, "reason", ls_str(reason));
    if (t->first_ms > 0)
        put_usage(t, &body);
    put_ms(&body, "duration_ms", turn_now_ms() - t->begun_ms);
    publish(t, "chat.cancelled", &body);
}
