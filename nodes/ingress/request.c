/* SPDX-License-Identifier: Apache-2.0 */
/* POST /api/requests/{topic}: a request over the bus, its answer as a whole or part by part. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/topic.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"

#define CREDIT 4 /* parts of up to 1 MiB that may wait for a slow client */
#define TIMEOUT_MS 30000
#define TIMEOUT_MAX_MS 3600000
#define ANSWER_MAX (64u << 20)

struct inquiry {
    LIST_ENTRY(inquiry) link;
    struct visit *v;      /* NULL: the client is gone */
    struct ingress *in;
    uint64_t request;     /* 0: ended */
    bool parts, answering;
    uint32_t spent;
    struct buf answer;
};

static void inquiry_free(struct inquiry *q)
{
    LIST_REMOVE(q, link);
    buf_fini(&q->answer);
    free(q);
}

void inquiries_close(struct ingress *in)
{
    while (!LIST_EMPTY(&in->inquiries))
        inquiry_free(LIST_FIRST(&in->inquiries));
}

static void over(struct inquiry *q)
{
    if (q->v)
        q->v->work = NULL;
    q->v = NULL;
    if (q->request)
        ls_request_cancel(node_client(q->in->node), q->request); /* its end frees *q */
    else
        inquiry_free(q);
}

static void on_gone(void *work)
{
    over(work);
}

/* JSON as it is, msgpack as JSON, anything else as bytes. */
static void answer_whole(struct inquiry *q)
{
    struct ls_slice body = ls_bytes(q->answer.data, q->answer.len);
    struct buf *out = &q->in->scratch;
    struct mp value = mp_over(body.data, body.len);
    enum ls_body kind = json_body_kind(body);
    buf_clear(out);
    if (kind == LS_BODY_JSON)
        buf_add(out, body.data, body.len);
    if (kind == LS_BODY_JSON || (kind == LS_BODY_MSGPACK && json_put_value(out, &value, SIZE_MAX))) {
        answer_json(q->v, 200, out);
        return;
    }
    http_answer_header(q->v->x, "Content-Type", kind == LS_BODY_BYTES ? "application/octet-stream" : "application/json");
    http_answer(q->v->x, 200, body);
}

static bool put_record(struct inquiry *q, const char *event, const struct buf *json)
{
    struct buf *out = &q->in->scratch;
    buf_clear(out);
    if (event)
        buf_addf(out, "event: %s\n", event);
    buf_addf(out, "data: ");
    buf_add(out, json->data, json->len);
    buf_addf(out, "\n\n");
    return http_stream_write(q->v->x, ls_bytes(out->data, out->len));
}

static void begin_stream(struct inquiry *q)
{
    if (q->answering)
        return;
    q->answering = true;
    http_answer_header(q->v->x, "Content-Type", "text/event-stream; charset=utf-8");
    http_answer_header(q->v->x, "Cache-Control", "no-cache, no-transform");
    http_answer_header(q->v->x, "X-Accel-Buffering", "no");
    http_stream_begin(q->v->x, 200);
}

static bool stream_part(struct inquiry *q, const struct ls_part *part)
{
    struct buf json = {0};
    begin_stream(q);
    buf_add_byte(&json, '{');
    json_put_body(&json, part->body);
    buf_add_byte(&json, '}');
    bool ok = put_record(q, NULL, &json);
    buf_fini(&json);
    return ok;
}

static void fail(struct inquiry *q, const struct ls_error *err)
{
    struct buf json = {0};
    if (!q->answering) {
        answer_bus_error(q->v, err);
        return;
    }
    problem_json(&json, &(struct problem){.status = bus_error_status(err), .code = err->name}, err->text);
    put_record(q, "error", &json);
    buf_fini(&json);
    http_stream_end(q->v->x);
}

static void renew_credit(struct inquiry *q)
{
    if (!q->spent || (q->answering && http_stream_queued(q->v->x) > 0))
        return;
    ls_request_more(node_client(q->in->node), q->request, q->spent);
    q->spent = 0;
}

static void on_drained(void *work)
{
    struct inquiry *q = work;
    if (q->request)
        renew_credit(q);
}

static void on_part(void *arg, const struct ls_part *part)
{
    static const struct ls_error TOO_LONG = {.name = "TOO_BIG", .number = 502, .text = "the answer is longer than 64 MiB; ask for it "
                                                                                 "part by part (Accept: text/event-stream)"};
    struct inquiry *q = arg;
    bool end = part->err || part->last;
    if (end)
        q->request = 0;
    if (!q->v) {
        if (end)
            inquiry_free(q);
        return;
    }
    bool ok = true;
    if (part->err) {
        fail(q, part->err);
    } else if (q->parts) {
        ok = stream_part(q, part);
        if (end)
            http_stream_end(q->v->x);
    } else if (q->answer.len + part->body.len > ANSWER_MAX) {
        fail(q, &TOO_LONG);
        ok = false;
    } else {
        buf_add(&q->answer, part->body.data, part->body.len);
        if (end)
            answer_whole(q);
    }
    if (!ok && q->answering)
        http_stream_abort(q->v->x);
    if (end || !ok) {
        over(q);
        return;
    }
    q->spent++;
    renew_credit(q);
}

/* The wait in ms of the query; 0 after it has answered. */
static int timeout_of(struct visit *v)
{
    char text[16];
    if (!http_query_get(v->x, "timeout", text, sizeof text))
        return TIMEOUT_MS;
    long ms = strspn(text, "0123456789") == strlen(text) ? strtol(text, NULL, 10) : 0;
    if (ms >= 1 && ms <= TIMEOUT_MAX_MS)
        return (int) ms;
    answer_problem(v, &(struct problem){.status = 422, .code = "value_error", .param = "timeout"},
                   "timeout is a number of ms, 1 to %d", TIMEOUT_MAX_MS);
    return 0;
}

void handle_request(struct visit *v)
{
    struct ls_error err;
    const char *topic = v->params[0], *accept = http_header(v->x, "accept"), *trace = trace_given(http_header(v->x, "traceparent"));
    int timeout = timeout_of(v);
    if (!timeout)
        return;
    if (!topic_valid(topic, strlen(topic))) {
        answer_problem(v, &(struct problem){.status = 422, .code = "value_error", .param = "topic"},
                       "\"%.200s\" is no topic: lower-case words joined by dots", topic);
        return;
    }
    struct inquiry *q = xcalloc(1, sizeof *q);
    struct buf more = {0};
    q->v = v;
    q->in = v->ingress;
    LIST_INSERT_HEAD(&q->in->inquiries, q, link);
    q->parts = accept && strstr(accept, "text/event-stream");
    buf_pack_map(&more, *v->principal ? 1 : 0);
    if (*v->principal)
        buf_pair_str(&more, "principal", v->principal);
    struct ls_event request = {.topic = ls_str(topic), .correlationid = ls_str(v->request_id),
                               .traceparent = trace ? ls_str(trace) : (struct ls_slice){0},
                               .more = ls_bytes(more.data, more.len), .body = http_body(v->x)};
    struct ls_request_options options = {.timeout_ms = timeout, .parts = CREDIT, .manual_credit = true};
    v->work = q;
    v->gone = on_gone;
    v->drained = on_drained;
    q->request = ls_request(node_client(q->in->node), &request, &options, on_part, q, &err);
    if (!q->request) {
        answer_bus_error(v, &err);
        over(q);
    }
    buf_fini(&more);
}
