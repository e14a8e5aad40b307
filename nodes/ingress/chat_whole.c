/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of a chat turn as one JSON object: what the parts said, put together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "nodes/ingress/chat.h"

/* ---- gathering ---- */

static void append_text(json_t *object, const char *key, const json_t *more)
{
    const char *text = json_string_value(more), *before = json_string_value(json_object_get(object, key));
    if (!text)
        return;
    json_object_set_new(object, key, json_sprintf("%s%s", before ? before : "", text));
}

/* A fragment of a call: names are told once, arguments grow (the OpenAI API's chat.completion.chunk). */
static void merge_call(json_t *calls, const json_t *delta)
{
    size_t index = (size_t) json_integer_value(json_object_get(delta, "index"));
    if (index > TURN_CHOICES_MAX)
        return;
    while (json_array_size(calls) <= index)
        json_array_append_new(calls, json_pack("{s:n,s:s,s:{s:s,s:s}}", "id", "type", "function", "function", "name", "", "arguments", ""));
    json_t *call = json_array_get(calls, index), *function = json_object_get(call, "function");
    const json_t *given = json_object_get(delta, "function");
    if (json_is_string(json_object_get(delta, "id")))
        json_object_set(call, "id", json_object_get(delta, "id"));
    append_text(function, "name", json_object_get(given, "name"));
    append_text(function, "arguments", json_object_get(given, "arguments"));
}

void whole_piece(struct choice *c, const struct piece *p)
{
    json_t *deltas = p->tool_calls.len ? json_loadb(p->tool_calls.data, p->tool_calls.len, 0, NULL) : NULL;
    json_t *logprobs = p->logprobs.len ? json_loadb(p->logprobs.data, p->logprobs.len, 0, NULL) : NULL, *delta;
    size_t i;
    if (deltas && !c->tool_calls)
        c->tool_calls = json_array();
    json_array_foreach(deltas, i, delta)
        merge_call(c->tool_calls, delta);
    json_decref(deltas);
    json_t *before = json_object_get(c->logprobs, "content"), *more = json_object_get(logprobs, "content");
    if (logprobs && json_is_array(before) && json_is_array(more)) {
        json_array_extend(before, more);
        json_decref(logprobs);
    } else if (logprobs) {
        json_decref(c->logprobs);
        c->logprobs = logprobs;
    }
}

/* ---- writing ---- */

static void put_json(struct buf *out, const json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    buf_addf(out, "%s", text ? text : "null");
    free(text);
}

static void put_message(struct buf *out, const struct choice *c)
{
    buf_addf(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (c->text.len || !c->tool_calls)
        json_put_string(out, c->text.data, c->text.len);
    else
        buf_addf(out, "null");
    buf_addf(out, ",\"refusal\":");
    if (c->refusal.len)
        json_put_string(out, c->refusal.data, c->refusal.len);
    else
        buf_addf(out, "null");
    if (c->reasoning.len)
        json_put_pair(out, "reasoning_content", ls_bytes(c->reasoning.data, c->reasoning.len));
    if (c->tool_calls) {
        buf_addf(out, ",\"tool_calls\":");
        put_json(out, c->tool_calls);
    }
    buf_add_byte(out, '}');
}

static void put_choice(struct buf *out, const struct turn *t, const struct choice *c)
{
    buf_addf(out, "{\"index\":%zu,", (size_t) (c - t->choices));
    if (t->completion) {
        buf_addf(out, "\"text\":");
        json_put_string(out, c->text.data, c->text.len);
    } else {
        put_message(out, c);
    }
    buf_addf(out, ",\"logprobs\":");
    put_json(out, c->logprobs);
    buf_addf(out, ",\"finish_reason\":\"%s\"}", c->finish);
}

void whole_finish(struct turn *t)
{
    char ms[24];
    struct buf *out = &t->in->scratch;
    snprintf(ms, sizeof ms, "%.0f", turn_now_ms() - t->begun_ms);
    http_answer_header(t->v->x, "openai-processing-ms", ms);
    turn_headers(t);
    buf_clear(out);
    buf_addf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", t->id,
             t->completion ? "text_completion" : "chat.completion", (long long) t->created);
    json_put_text(out, t->model);
    buf_addf(out, ",\"choices\":[");
    for (uint32_t i = 0; i < t->choice_count; i++) {
        buf_addf(out, "%s", i ? "," : "");
        put_choice(out, t, &t->choices[i]);
    }
    buf_addf(out, "],\"usage\":");
    turn_usage(t, out);
    buf_add_byte(out, '}');
    answer_json(t->v, 200, out);
}
