/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the tracker that wait for what another node says: asking, and going on with the op when the reply is whole. */
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/tracker/api.h"

#define ASK_MS 10000
#define REPLY_MAX (16u << 20)

struct asking {
    TAILQ_ENTRY(asking) link;
    struct tracker *tracker;
    struct ls_call *of; /* NULL: nobody waits any more */
    uint64_t request;
    bool http;
    json_t *had;
    json_t *(*answer)(struct op_call *call, json_t *had, const json_t *reply, const struct ls_error *failed,
                      struct ls_error *err);
    struct buf reply;
    bool too_big;
};

static void asking_free(struct asking *a)
{
    TAILQ_REMOVE(&a->tracker->askings, a, link);
    json_decref(a->had);
    buf_fini(&a->reply);
    free(a);
}

/* The reply is whole, or none will come. */
static void end(struct asking *a, const struct ls_error *failed)
{
    struct ls_error err = {0}, why = failed ? *failed : (struct ls_error){0};
    struct op_call call = {.tracker = a->tracker, .principal = "", .now_ms = clock_wall_us() / 1000};
    json_auto_t *reply = failed ? NULL : node_json(ls_bytes(a->reply.data, a->reply.len), &why);
    struct ls_call *of = a->of;
    bool http = a->http;
    json_t *had = json_incref(a->had), *answer = NULL;
    if (of)
        answer = a->answer(&call, had, reply, reply ? NULL : &why, &err);
    asking_free(a);
    enum ls_verdict verdict = LS_DONE;
    if (of && answer && call.ask.topic)
        verdict = asking_begin(&call, of, answer, http, &err);
    else if (of)
        verdict = api_answer(&call, of, answer, http, &err);
    json_decref(had);
    if (verdict == LS_RETRY || verdict == LS_REJECT)
        ls_reply_error(of, &err);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct asking *a = arg;
    struct ls_error err;
    if (part->err) {
        end(a, part->err);
        return;
    }
    a->too_big |= a->reply.len + part->body.len > REPLY_MAX;
    if (!a->too_big)
        buf_add(&a->reply, part->body.data, part->body.len);
    if (part->last && a->too_big)
        error_set(&err, "TOO_BIG", "the answer has more than %u bytes", REPLY_MAX);
    if (part->last)
        end(a, a->too_big ? &err : NULL);
}

enum ls_verdict asking_begin(struct op_call *call, struct ls_call *of, json_t *had, bool http, struct ls_error *err)
{
    struct tracker *t = call->tracker;
    struct buf body = {0};
    struct ls_error why = {0};
    struct asking *a = xcalloc(1, sizeof *a);
    *a = (struct asking){.tracker = t, .of = of, .http = http, .had = had, .answer = call->ask.answer};
    TAILQ_INSERT_TAIL(&t->askings, a, link);
    node_write(&body, call->ask.body);
    json_decref(call->ask.body);
    const struct ls_event request = {.topic = ls_str(call->ask.topic), .body = ls_bytes(body.data, body.len)};
    a->request = ls_request(node_client(t->node), &request, &(struct ls_request_options){.timeout_ms = ASK_MS}, on_part, a, &why);
    buf_fini(&body);
    if (a->request)
        return LS_PENDING;
    asking_free(a);
    op_fail(call, err, "INTERNAL_ERROR", "%s", why.text);
    return api_answer(call, of, NULL, http, err);
}

bool asking_forget(struct tracker *t, const struct ls_call *of)
{
    struct asking *a;
    TAILQ_FOREACH(a, &t->askings, link)
    {
        if (a->of != of)
            continue;
        a->of = NULL;
        ls_request_cancel(node_client(t->node), a->request);
        return true;
    }
    return false;
}

void asking_close(struct tracker *t)
{
    while (!TAILQ_EMPTY(&t->askings))
        asking_free(TAILQ_FIRST(&t->askings));
}
