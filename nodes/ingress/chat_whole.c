/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of a chat turn as one JSON object: what the parts said, put together. */
#include <stdio.h>

#include "lib/json.h"
#include "nodes/ingress/chat.h"

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
        node_write(out, c->tool_calls);
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
    node_write(out, c->logprobs);
    buf_addf(out, ",\"finish_reason\":");
    json_put_text(out, c->finish);
    buf_add_byte(out, '}');
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
