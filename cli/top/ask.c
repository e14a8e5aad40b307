/* SPDX-License-Identifier: Apache-2.0 */
/* One round of questions to the broker, and to every `up` that it knows; their answers become a sample. */
#include <stdlib.h>
#include <string.h>

#include "cli/top/top.h"
#include "lib/clock.h"
#include "lib/xmem.h"

#define UP_STATUS "up.status."
#define UP_PATIENCE_MS 1000 /* an `up` that died stays among the services until the broker has missed it */
#define UPS_MAX 64
#define ANSWER_BYTES_MAX (8u << 20) /* more is no `up` */

static const char *const OPS[] = {"info", "streams", "consumers", "services", "sessions", "topics", "dlq"};

struct top_question {
    LIST_ENTRY(top_question) link;
    struct top_ask *ask;
    const char *op; /* of the broker; or the topic of the request, which is in the sample */
    struct buf answer; /* of an `up`, as far as it came */
};

static struct top_question *question_new(struct top_ask *ask, const char *op)
{
    struct top_question *q = xcalloc(1, sizeof *q);
    q->ask = ask;
    q->op = op;
    LIST_INSERT_HEAD(&ask->open, q, link);
    return q;
}

static void question_end(struct top_question *q)
{
    LIST_REMOVE(q, link);
    buf_fini(&q->answer);
    free(q);
}

/* ---- supervisors ---- */

static void on_part(void *arg, const struct ls_part *part)
{
    struct top_question *q = arg;
    if (!part->err && q->answer.len <= ANSWER_BYTES_MAX)
        buf_add(&q->answer, part->body.data, part->body.len);
    if (!part->err && !part->last)
        return;
    json_t *status = part->err ? NULL : json_loadb((const char *) q->answer.data, q->answer.len, JSON_ALLOW_NUL, NULL);
    if (json_is_object(status)) {
        json_object_set_new(status, "topic", json_string_nocheck(q->op));
        json_array_append(json_object_get(q->ask->sample, "supervisors"), status);
    }
    json_decref(status);
    question_end(q);
}

static void ask_supervisors(struct top_ask *ask, const json_t *services)
{
    static const struct ls_request_options OPTIONS = {.timeout_ms = UP_PATIENCE_MS};
    size_t i, asked = 0;
    const json_t *service;
    json_array_foreach((json_t *) (uintptr_t) services, i, service) {
        const char *topic = top_text(service, "topic");
        if (strncmp(topic, UP_STATUS, strlen(UP_STATUS)) != 0 || strpbrk(topic, "*>") || asked++ == UPS_MAX)
            continue;
        struct top_question *q = question_new(ask, topic);
        if (!ls_request(ask->client, &(struct ls_event){.topic = ls_str(topic)}, &OPTIONS, on_part, q, NULL))
            question_end(q);
    }
}

/* ---- the broker ---- */

/* A refused question leaves its list out: an older broker does not know `topics`. */
static void on_answer(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct top_question *q = arg;
    const char *key = strcmp(q->op, "dlq") == 0 ? "seqs" : q->op;
    json_t *answer = err ? NULL : top_json(mp_over(reply.data, reply.len)), *sample = q->ask->sample;
    json_object_del(answer, "op"); /* what was asked */
    json_object_del(answer, "tag");
    if (strcmp(q->op, "info") == 0 && answer)
        json_object_set(sample, "broker", answer);
    else if (json_is_array(json_object_get(answer, key)))
        json_object_set(sample, q->op, json_object_get(answer, key));
    if (strcmp(q->op, "services") == 0)
        ask_supervisors(q->ask, json_object_get(sample, "services"));
    json_decref(answer);
    question_end(q);
}

void top_ask_begin(struct top_ask *ask)
{
    ask->sample = json_pack("{s:n,s:[]}", "broker", "supervisors");
    ask->began_ms = clock_mono_ms();
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++) {
        struct buf request = {0};
        struct top_question *q = question_new(ask, OPS[i]);
        buf_pack_map(&request, 1);
        buf_pair_str(&request, "op", OPS[i]);
        if (ls_adm(ask->client, ls_bytes(request.data, request.len), on_answer, q, NULL) < 0)
            question_end(q);
        buf_fini(&request);
    }
}

json_t *top_ask_take(struct top_ask *ask)
{
    json_t *sample = ask->sample;
    if (!LIST_EMPTY(&ask->open))
        return NULL;
    ask->sample = NULL;
    return sample;
}

void top_ask_fini(struct top_ask *ask)
{
    while (!LIST_EMPTY(&ask->open))
        question_end(LIST_FIRST(&ask->open));
    json_decref(ask->sample);
    ask->sample = NULL;
}
