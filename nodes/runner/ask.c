/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the scheduler: JSON objects there and back, parts of an answer joined. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define ANSWER_BYTES_MAX ((size_t) 4 << 20)

struct question {
    LIST_ENTRY(question) link;
    ask_fn *fn;
    void *arg;
    struct buf answer;
};

static void question_free(struct question *q)
{
    LIST_REMOVE(q, link);
    buf_fini(&q->answer);
    free(q);
}

static void finish(struct question *q, const struct ls_error *refusal)
{
    struct ls_error err = {0};
    json_auto_t *answer = refusal ? NULL : node_json(ls_bytes(q->answer.data, q->answer.len), &err);
    ask_fn *fn = q->fn;
    void *arg = q->arg;
    question_free(q);
    fn(arg, answer, refusal ? refusal : answer ? NULL : &err);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct question *q = arg;
    if (!part->err && q->answer.len + part->body.len <= ANSWER_BYTES_MAX)
        buf_add(&q->answer, part->body.data, part->body.len);
    if (part->err || part->last)
        finish(q, part->err);
}

void ask_send(struct runner *r, const char *topic, json_t *body, int timeout_ms, ask_fn *fn, void *arg)
{
    struct question *q = xcalloc(1, sizeof *q);
    struct ls_error err = {0};
    struct buf text = {0};
    *q = (struct question){.fn = fn, .arg = arg};
    LIST_INSERT_HEAD(&r->questions, q, link);
    node_write(&text, body);
    json_decref(body);
    const struct ls_event request = {.topic = ls_str(topic), .body = ls_bytes(text.data, text.len)};
    if (!ls_request(node_client(r->node), &request, &(struct ls_request_options){.timeout_ms = timeout_ms}, on_part, q,
                    &err))
        finish(q, &err);
    buf_fini(&text);
}

void ask_free(struct runner *r)
{
    while (!LIST_EMPTY(&r->questions))
        question_free(LIST_FIRST(&r->questions));
}
