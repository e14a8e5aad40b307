/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of a chat turn as server-sent events (WHATWG HTML, 9.2; the OpenAI API's chunks). One record is one write. */
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "nodes/ingress/chat.h"

/* False: the queue is full. A client that has gone takes nothing either, but that is told by itself. */
static bool put(struct turn *t, const struct buf *record)
{
    t->written_ms = turn_now_ms();
    return http_stream_write(t->v->x, ls_bytes(record->data, record->len)) ||
           http_stream_queued(t->v->x) + record->len < STREAM_QUEUE_MAX / 2;
}

void stream_start(struct turn *t)
{
    char ms[24];
    if (t->answering)
        return;
    t->answering = true;
    snprintf(ms, sizeof ms, "%.0f", turn_now_ms() - t->begun_ms);
    http_answer_header(t->v->x, "Content-Type", "text/event-stream; charset=utf-8");
    http_answer_header(t->v->x, "Cache-Control", "no-cache, no-transform");
    http_answer_header(t->v->x, "X-Accel-Buffering", "no"); /* nginx would hold the stream back */
    http_answer_header(t->v->x, "openai-processing-ms", ms);
    turn_headers(t);
    http_stream_begin(t->v->x, 200);
    t->written_ms = turn_now_ms();
    node_timer_set(t->in->node, &t->timer, t->in->options->keep_alive);
    buf_addf(&t->head, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", t->id,
             t->completion ? "text_completion" : "chat.completion.chunk", (long long) t->created);
    json_put_text(&t->head, t->model);
    buf_addf(&t->head, ",\"choices\":[");
}

static struct buf *begin_chunk(struct turn *t, size_t index)
{
    struct buf *out = &t->in->scratch;
    buf_clear(out);
    buf_add(out, t->head.data, t->head.len);
    buf_addf(out, "{\"index\":%zu,", index);
    return out;
}

static bool end_chunk(struct turn *t, struct buf *out, struct ls_slice logprobs, struct ls_slice finish)
{
    buf_addf(out, ",\"logprobs\":");
    if (logprobs.len)
        json_put_copy(out, logprobs.data, logprobs.len, SIZE_MAX);
    else
        buf_addf(out, "null");
    buf_addf(out, ",\"finish_reason\":");
    if (finish.len)
        json_put_string(out, finish.data, finish.len);
    else
        buf_addf(out, "null");
    buf_addf(out, t->include_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n");
    return put(t, out);
}

static void put_delta(struct buf *out, const struct piece *p)
{
    buf_addf(out, "\"delta\":{");
    if (p->text.len)
        json_put_pair(out, "content", p->text);
    if (p->reasoning.len)
        json_put_pair(out, "reasoning_content", p->reasoning);
    if (p->refusal.len)
        json_put_pair(out, "refusal", p->refusal);
    if (p->tool_calls.len) {
        buf_addf(out, "%s\"tool_calls\":", out->data[out->len - 1] == '{' ? "" : ",");
        json_put_copy(out, p->tool_calls.data, p->tool_calls.len, SIZE_MAX);
    }
    buf_add_byte(out, '}');
}

static void put_text(struct buf *out, struct ls_slice text)
{
    buf_addf(out, "\"text\":");
    json_put_string(out, text.data, text.len);
}

/* A chunk begins a choice by telling the role. */
static bool begin_choice(struct turn *t, struct choice *c)
{
    if (c->begun || t->completion)
        return true;
    c->begun = true;
    struct buf *out = begin_chunk(t, (size_t) (c - t->choices));
    buf_addf(out, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
    return end_chunk(t, out, (struct ls_slice){0}, (struct ls_slice){0});
}

bool stream_piece(struct turn *t, struct choice *c, const struct piece *p)
{
    size_t index = (size_t) (c - t->choices);
    bool content = p->text.len || p->reasoning.len || p->refusal.len || p->tool_calls.len || p->logprobs.len, ok;
    stream_start(t);
    ok = begin_choice(t, c);
    if (ok && content) {
        struct buf *out = begin_chunk(t, index);
        if (t->completion)
            put_text(out, p->text);
        else
            put_delta(out, p);
        ok = end_chunk(t, out, p->logprobs, (struct ls_slice){0});
    }
    if (ok && p->finish.len) {
        struct buf *out = begin_chunk(t, index);
        buf_addf(out, t->completion ? "\"text\":\"\"" : "\"delta\":{}");
        ok = end_chunk(t, out, (struct ls_slice){0}, p->finish);
    }
    return ok;
}

void stream_finish(struct turn *t)
{
    struct buf *out = &t->in->scratch;
    stream_start(t);
    buf_clear(out);
    if (t->include_usage) {
        buf_add(out, t->head.data, t->head.len);
        buf_addf(out, "],\"usage\":");
        turn_usage(t, out);
        buf_addf(out, "}\n\n");
        put(t, out);
        buf_clear(out);
    }
    buf_addf(out, "data: [DONE]\n\n");
    put(t, out);
    http_stream_end(t->v->x);
}

void stream_problem(struct turn *t, const struct problem *problem, const char *text)
{
    struct buf *out = &t->in->scratch;
    buf_clear(out);
    buf_addf(out, "data: ");
    problem_json(out, problem, text);
    buf_addf(out, "\n\n");
    if (put(t, out))
        http_stream_end(t->v->x);
    else
        http_stream_abort(t->v->x);
}

void stream_comment(struct turn *t)
{
    struct buf *out = &t->in->scratch;
    buf_clear(out);
    buf_addf(out, ": ka\n\n");
    put(t, out);
}
