/* SPDX-License-Identifier: Apache-2.0 */
/* The node: takes requests, keeps the turns under way, tells which models it answers for. The work itself is the backend's. */
#include "nodes/inference/inference.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define ABOUT_BYTES_MAX 16384
#define BYTES_PER_TOKEN 4 /* of English text, roughly; only for usage that is marked as estimated */

static double mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

void inference_count(struct inference *in, enum inference_metric metric, int64_t more)
{
    *node_metric(in->node, metric) += more;
}

/* ---- models ---- */

static void tell_models(struct inference *in)
{
    struct buf about = {0};
    size_t told = models_pack(&in->models, &about, ABOUT_BYTES_MAX);
    node_about(in->node, ls_bytes(about.data, about.len));
    buf_fini(&about);
    logger_put(LEVEL_INFO, "models", "this node answers for", "models=%zu first=%s", in->models.count,
               in->models.count ? in->models.items[0].id : "none");
    if (told < in->models.count)
        logger_put(LEVEL_WARN, "models-many", "more models than the broker is told of: name one in the option `model`",
                   "models=%zu told=%zu", in->models.count, told);
}

void inference_models(struct inference *in, struct models *models)
{
    bool changed = !models_equal(&in->models, models);
    models_fini(&in->models);
    in->models = *models;
    *models = (struct models){0};
    if (changed)
        tell_models(in);
}

void inference_waits(struct inference *in, const char *format, ...)
{
    char before[sizeof in->unready];
    struct buf about = {0};
    va_list args;
    memcpy(before, in->unready, sizeof before);
    va_start(args, format);
    vsnprintf(in->unready, sizeof in->unready, format, args);
    va_end(args);
    if (strcmp(before, in->unready) == 0)
        return;
    buf_pack_map(&about, 2);
    buf_pack_str(&about, "models");
    buf_pack_array(&about, 0);
    buf_pair_str(&about, "waits", in->unready);
    node_about(in->node, ls_bytes(about.data, about.len));
    buf_fini(&about);
}

/* The model that is meant, or NULL with the error for the caller. */
static const struct model *choose_model(const struct inference *in, const char *id, struct ls_error *err)
{
    if (in->unready[0]) {
        error_set(err, "BUSY", "%s", in->unready);
        err->number = 503;
        return NULL;
    }
    const struct model *model = id ? models_find(&in->models, id) : in->models.count ? &in->models.items[0] : NULL;
    if (!model)
        error_set(err, "NOT_FOUND", "[model_not_found] there is no model \"%.200s\" at this node", id ? id : "");
    return model;
}

/* ---- turns ---- */

static void stop_work(struct turn *turn)
{
    if (turn->work)
        turn->inference->backend->stop(turn);
    turn->work = NULL;
}

static void turn_free(struct turn *turn)
{
    struct inference *in = turn->inference;
    stop_work(turn);
    answer_close(&turn->answer);
    LIST_REMOVE(turn, link);
    if (turn->fresh)
        LIST_REMOVE(turn, fresh_link);
    in->turn_count--;
    inference_count(in, METRIC_OPEN, -1);
    free(turn);
}

void turn_heard(struct turn *turn)
{
    if (turn->heard_ms == 0)
        turn->heard_ms = mono_ms();
}

void turn_estimate(const struct turn *turn, struct usage *usage)
{
    usage->prompt_tokens = (turn->prompt_bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    usage->completion_tokens = (turn->answer.bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    usage->estimated = true;
}

int turn_add(struct turn *turn, const struct delta *delta, struct ls_error *err)
{
    uint64_t before = turn->answer.bytes;
    if (!turn->fresh)
        LIST_INSERT_HEAD(&turn->inference->fresh, turn, fresh_link);
    turn->fresh = true;
    if (answer_add(&turn->answer, delta, err) < 0)
        return -1;
    if (!before && turn->answer.bytes) {
        inference_count(turn->inference, METRIC_FIRST_TOKENS, 1);
        inference_count(turn->inference, METRIC_FIRST_TOKEN_MS, clock_mono_ms() - turn->begun_ms);
    }
    return 0;
}

/* `over`: what answer_end and answer_credit returned. */
static void settle(struct turn *turn, int over, const struct ls_error *err)
{
    if (over < 0) {
        turn_fail(turn, err);
    } else if (over > 0) {
        inference_count(turn->inference, METRIC_COMPLETED, 1);
        turn_free(turn);
    }
}

void turn_end(struct turn *turn, const struct usage *usage)
{
    struct ls_error err;
    double took = turn->heard_ms > 0 ? turn->heard_ms - turn->asked_ms : 0;
    inference_count(turn->inference, METRIC_TOKENS, (int64_t) usage->completion_tokens);
    int over = answer_end(&turn->answer, usage, took, &err);
    stop_work(turn); /* only now: usage may be a part of it */
    settle(turn, over, &err);
}

void turn_fail(struct turn *turn, const struct ls_error *err)
{
    struct ls_error told = *err, ignored;
    answer_credit(&turn->answer, &ignored); /* what came before the failure is told before it */
    told.again &= !turn->answer.begun; /* what was read cannot be taken back */
    if (told.number == 413)
        told.number = 502; /* the answer is too big, not the request */
    logger_put(LEVEL_DEBUG, "turn-failed", told.text, "number=%d again=%d begun=%d", told.number, told.again,
               turn->answer.begun);
    inference_count(turn->inference, METRIC_FAILED, 1);
    ls_reply_error(turn->answer.call, &told);
    turn_free(turn);
}

/* ---- what the runner calls ---- */

static enum ls_verdict begin(struct inference *in, struct ls_call *call, const struct request *request,
                             struct ls_error *err)
{
    const struct model *model = choose_model(in, request->model, err);
    if (!model)
        return err->again ? LS_RETRY : LS_REJECT;
    struct turn *turn = xcalloc(1, sizeof *turn);
    turn->inference = in;
    turn->begun_ms = clock_mono_ms();
    turn->prompt_bytes = request_prompt_bytes(request);
    answer_open(&turn->answer, call, &in->scratch);
    answer_name(&turn->answer, model->id, model->version, node_member(in->node));
    LIST_INSERT_HEAD(&in->turns, turn, link);
    in->turn_count++;
    inference_count(in, METRIC_OPEN, 1);
    call->user = turn;
    turn->asked_ms = mono_ms();
    if (in->backend->start(turn, request, model, err) == 0)
        return LS_PENDING;
    call->user = NULL;
    turn_free(turn);
    return err->again ? LS_RETRY : LS_REJECT;
}

static enum ls_verdict on_request(void *self, struct ls_call *call, const struct ls_event *event, struct ls_error *err)
{
    struct inference *in = self;
    struct request request;
    enum ls_verdict verdict = LS_REJECT;
    inference_count(in, METRIC_CALLS, 1);
    if (request_read(&request, event, err) == 0)
        verdict = begin(in, call, &request, err);
    request_fini(&request);
    if (verdict != LS_PENDING)
        inference_count(in, METRIC_FAILED, 1);
    return verdict;
}

static void on_cancelled(void *self, struct ls_call *call, const char *reason)
{
    struct turn *turn = call->user;
    logger_put(LEVEL_DEBUG, "turn-cancelled", "nobody waits for the answer any more", "reason=%s", reason);
    inference_count(self, METRIC_CANCELLED, 1);
    if (turn)
        turn_free(turn);
}

static void on_credit(void *self, struct ls_call *call)
{
    struct inference *in = self;
    struct turn *turn = call->user;
    struct ls_error err;
    if (!turn)
        return;
    int over = answer_credit(&turn->answer, &err);
    if (over)
        settle(turn, over, &err);
    else if (turn->work && in->backend->credit)
        in->backend->credit(turn);
}

static int open_node(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct inference *in = self;
    in->node = node;
    in->options = options;
    LIST_INIT(&in->turns);
    LIST_INIT(&in->fresh);
    in->backend = in->options->backend == BACKEND_NGRAM ? &inference_ngram : &inference_openai;
    return in->backend->open(in, err);
}

static void on_connected(void *self, const struct ls_error *err)
{
    struct inference *in = self;
    if (in->backend->connected)
        in->backend->connected(in, err == NULL);
}

static void flush(struct inference *in)
{
    struct turn *turn;
    struct ls_error err;
    while ((turn = LIST_FIRST(&in->fresh)) != NULL) {
        LIST_REMOVE(turn, fresh_link);
        turn->fresh = false;
        int over = answer_credit(&turn->answer, &err);
        if (over)
            settle(turn, over, &err);
    }
}

static int64_t tick(void *self, int64_t now_ms)
{
    struct inference *in = self;
    int64_t due = in->backend->tick(in, now_ms);
    flush(in);
    return due;
}

static size_t busy(void *self)
{
    const struct inference *in = self;
    return in->turn_count;
}

static void close_node(void *self)
{
    struct inference *in = self;
    while (in->backend && !LIST_EMPTY(&in->turns))
        turn_free(LIST_FIRST(&in->turns));
    if (in->backend)
        in->backend->close(in);
    models_fini(&in->models);
    buf_fini(&in->scratch);
}

const struct node_code node_inference = {
    .kind = &kind_inference,
    .size = sizeof(struct inference),
    .open = open_node,
    .request = on_request,
    .cancelled = on_cancelled,
    .credit = on_credit,
    .connected = on_connected,
    .tick = tick,
    .busy = busy,
    .close = close_node,
};
