/* SPDX-License-Identifier: Apache-2.0 */
/* Request tasks: the question to a service of the bus, and its answer. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/scheduler/scheduler.h"

struct asking {
    LIST_ENTRY(asking) link;
    struct scheduler *scheduler;
    char try_id[LS_ID_SIZE];
    uint64_t request;
    struct buf body;
    bool too_big;
};

static void asking_free(struct asking *a)
{
    LIST_REMOVE(a, link);
    buf_fini(&a->body);
    free(a);
}

/* An object is the outputs; any other answer is well too, and has none. */
static json_t *read_outputs(const struct buf *body)
{
    struct ls_error ignored;
    json_t *json = node_json(ls_bytes(body->data, body->len), &ignored);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static void finish(struct asking *a, const struct ls_error *failure)
{
    struct engine *e = &a->scheduler->engine;
    struct ls_error err = {0};
    json_t *outputs = NULL;
    if (a->too_big)
        error_set(&err, "TOO_BIG", "the answer is larger than %d bytes, the most that outputs may have", OUTPUTS_MAX);
    else if (failure)
        err = *failure;
    else
        outputs = read_outputs(&a->body);
    if (e->db)
        engine_answered(e, a->try_id, outputs, err.name[0] ? &err : NULL);
    json_decref(outputs);
    asking_free(a);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct asking *a = arg;
    if (!part->err && !a->too_big)
        buf_add(&a->body, part->body.data, part->body.len);
    if (a->body.len > OUTPUTS_MAX && !a->too_big) {
        a->too_big = true;
        ls_request_cancel(node_client(a->scheduler->node), a->request);
    }
    if (part->err || part->last)
        finish(a, part->err);
}

/* One for all tries of a task until it is cleared: a service that keeps its answers gives the first again to a try whose forerunner was
 * lost on the way back, and does the work once. The time tells runs of one name apart. */
static void pack_key(struct buf *more, const struct job *job)
{
    const struct run *run = job->run;
    char *key = xasprintf("%s/%s/%s/%lld/%lld", run->flow->id, run->id, job->task->id, (long long) run->queued_ms,
                          (long long) job->base_attempt);
    buf_pack_map(more, 1);
    buf_pair_str(more, "idempotencykey", key);
    free(key);
}

void ask_service(void *scheduler, const struct try *try, int64_t timeout_ms)
{
    struct scheduler *s = scheduler;
    const struct run *run = try->job->run;
    struct asking *a = xcalloc(1, sizeof *a);
    struct ls_error err = {0};
    char *subject = xasprintf("%s/%s/%s", run->flow->id, run->id, try->job->task->id);
    struct buf more = {0};
    pack_key(&more, try->job);
    const struct ls_event request = {.topic = ls_str(try->topic),
                                     .id = ls_str(try->id),
                                     .subject = ls_str(subject),
                                     .traceparent = ls_str(run->traceparent),
                                     .correlationid = ls_str(run->correlationid),
                                     .more = ls_bytes(more.data, more.len),
                                     .body = ls_str(try->body)};
    const struct ls_request_options options = {.timeout_ms = timeout_ms > 3600000 ? 3600000 : (int) timeout_ms};
    a->scheduler = s;
    snprintf(a->try_id, sizeof a->try_id, "%s", try->id);
    LIST_INSERT_HEAD(&s->askings, a, link);
    a->request = ls_request(node_client(s->node), &request, &options, on_part, a, &err);
    if (!a->request)
        finish(a, &err);
    buf_fini(&more);
    free(subject);
}

void ask_stop(void *scheduler, const char *try_id)
{
    struct scheduler *s = scheduler;
    struct asking *a;
    LIST_FOREACH(a, &s->askings, link)
    if (strcmp(a->try_id, try_id) == 0)
        ls_request_cancel(node_client(s->node), a->request);
}

void asks_stop(struct scheduler *s)
{
    struct asking *a;
    LIST_FOREACH(a, &s->askings, link)
    ls_request_cancel(node_client(s->node), a->request);
}

void asks_free(struct scheduler *s)
{
    while (!LIST_EMPTY(&s->askings))
        asking_free(LIST_FIRST(&s->askings));
}

size_t asks_open(const struct scheduler *s)
{
    const struct asking *a;
    size_t count = 0;
    LIST_FOREACH(a, &s->askings, link)
    count++;
    return count;
}
