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

static bool is_usage(struct mp_slice key, enum mp_type type)
{
    if (mp_is(key, "estimated"))
        return type == MP_BOOL;
    return key.len > 7 && memcmp(key.data + key.len - 7, "_tokens", 7) == 0 ? type == MP_UINT : type == MP_MAP;
}

/* Of the usage what the schema knows: backends add nulls and keys of their own. */
static void put_usage(const struct turn *t, struct buf *out)
{
    struct mp r = mp_over(t->usage.data, t->usage.len);
    struct mp_slice key;
    uint32_t pairs = 0;
    const char *comma = "";
    buf_addf(out, ",\"usage\":");
    if (!t->usage.len) {
        turn_usage(t, out);
        return;
    }
    buf_add_byte(out, '{');
    for (mp_map(&r, &pairs); pairs && mp_str(&r, &key); pairs--) {
        struct mp value = r;
        if (!mp_skip(&r))
            break;
        if (!is_usage(key, mp_peek(&value)))
            continue;
        buf_addf(out, "%s", comma);
        comma = ",";
        json_put_string(out, key.data, key.len);
        buf_add_byte(out, ':');
        json_put_value(out, &value, SIZE_MAX);
    }
    buf_add_byte(out, '}');
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

/* A record must not fail for its size; true with the body emptied: it is written again without texts. */
static bool too_long(const struct turn *t, struct buf *body)
{
    if (body->len < ls_client_server(node_client(t->in->node))->body_max)
        return false;
    buf_clear(body);
    return true;
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

/* What callers may have written in forms that the schema does not know is left out: a record must not fail for it. */
static json_t *as_told(const json_t *messages)
{
    static const char *const TEXTS[] = {"name", "tool_call_id"};
    json_t *out = json_array(), *message;
    size_t i;
    json_array_foreach(messages, i, message) {
        json_t *copy = json_copy(message);
        for (size_t j = 0; j < sizeof TEXTS / sizeof TEXTS[0]; j++)
            if (!json_is_string(json_object_get(copy, TEXTS[j])))
                json_object_del(copy, TEXTS[j]);
        if (!json_is_array(json_object_get(copy, "tool_calls")))
            json_object_del(copy, "tool_calls");
        json_array_append_new(out, copy);
    }
    return out;
}

static json_t *messages_of(const struct turn *t, bool content)
{
    json_t *messages = json_object_get(t->body, "messages"), *prompt = json_object_get(t->body, "prompt");
    if (t->completion && content && json_is_string(prompt))
        return json_pack("[{s:s,s:O}]", "role", "user", "content", prompt);
    if (t->completion)
        return json_pack("[{s:s,s:n}]", "role", "user", "content");
    return content ? as_told(messages) : without_content(messages);
}

static void put_field(struct buf *out, const char *key, const json_t *value)
{
    if (!value || json_is_null(value))
        return;
    buf_addf(out, ",\"%s\":", key);
    node_write(out, value);
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
    put_request(t, t->in->options->content == CONTENT_FULL, &body);
    if (too_long(t, &body))
        put_request(t, false, &body);
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

static void put_completed(const struct turn *t, bool content, struct buf *out)
{
    begin_body(t, out);
    if (t->version)
        json_put_pair(out, "version", ls_str(t->version));
    if (content)
        put_answer(t, out);
    json_put_pair(out, "finish_reason", ls_str(t->choices[0].finish));
    put_usage(t, out);
    put_ms(out, "first_token_ms", t->first_ms - t->begun_ms);
    put_ms(out, "duration_ms", turn_now_ms() - t->begun_ms);
    if (t->worker)
        json_put_pair(out, "worker", ls_str(t->worker));
}

void event_completed(struct turn *t)
{
    struct buf body = {0};
    count_usage(t);
    put_completed(t, t->in->options->content == CONTENT_FULL, &body);
    if (too_long(t, &body))
        put_completed(t, false, &body);
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
