/* SPDX-License-Identifier: Apache-2.0 */
/* Which models the backend has. One that is named in the options is believed; without one the backend is asked at GET /models,
 * until it answers and then now and again. What it said last stands while it does not answer. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/inference/openai.h"

#define LIST_BYTES_MAX (4u << 20)
#define ASK_MS_MIN 250
#define ASK_MS_MAX 10000
#define ANSWER_MS_MAX 10000

static void ask(struct openai *o);

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && *text ? text : NULL;
}

static int64_t number_at(const json_t *object, const char *key)
{
    double number = json_number_value(json_object_get(object, key));
    return number > 0 && number < 1e15 ? (int64_t) number : 0;
}

/* vLLM has max_model_len, llama.cpp meta.n_ctx (newer) or n_ctx_train, several gateways context_length. */
static int64_t context_of(const json_t *item)
{
    static const char *const KEYS[] = {"context_length", "max_model_len", "n_ctx", "n_ctx_train"};
    const json_t *const places[] = {item, json_object_get(item, "meta")};
    for (size_t p = 0; p < 2; p++)
        for (size_t k = 0; k < sizeof KEYS / sizeof KEYS[0]; k++)
            if (number_at(places[p], KEYS[k]) > 0)
                return number_at(places[p], KEYS[k]);
    return 0;
}

/* Some servers tell the present time as `created` at every question: what was told first stands. */
static void add_item(const struct inference *in, struct models *models, const json_t *item)
{
    const struct inference_options *options = in->options;
    const char *id = text_at(item, "id"), *owner = text_at(item, "owned_by");
    if (!id || models_find(models, id))
        return;
    const struct model *known = models_find(&in->models, id);
    struct model model = {.id = id,
                          .owned_by = owner ? owner : options->owned_by,
                          .created = known ? known->created : number_at(item, "created"),
                          .context_length = options->context_length ? options->context_length : context_of(item)};
    models_add(models, &model);
}

/* False: *err says why the list is none. */
static bool take_list(struct openai *o, unsigned status, struct ls_error *err)
{
    struct ls_slice body = ls_bytes(o->list.data, o->list.len);
    if (status < 200 || status > 299) {
        openai_error_status(err, status, body);
        return false;
    }
    json_t *json = json_read(body, NULL), *item;
    const json_t *data = json_object_get(json, "data");
    struct models models = {0};
    size_t i;
    json_array_foreach(data, i, item) add_item(o->inference, &models, item);
    json_decref(json);
    if (!models.count) {
        openai_broken(err, "the backend's list of models has none");
        return false;
    }
    o->inference->unready[0] = '\0';
    inference_models(o->inference, &models);
    return true;
}

/* ---- asking ---- */

static void schedule(struct openai *o, bool answered)
{
    o->ask_ms = answered ? ASK_MS_MIN : o->ask_ms * 2 < ASK_MS_MAX ? o->ask_ms * 2 : ASK_MS_MAX;
    node_timer_set(o->inference->node, &o->ask_again, answered ? o->inference->options->models_every : o->ask_ms);
}

static void settle(struct openai *o, bool answered, const struct ls_error *err)
{
    struct inference *in = o->inference;
    bool first = o->ask_ms == ASK_MS_MIN;
    if (!answered && first && strcmp(err->name, "UNREACHABLE") != 0) /* that is told below */
        logger_put(LEVEL_WARN, "models-unknown", err->text, "url=%s", o->base);
    openai_noted(o, answered ? NULL : err);
    if (!answered && !in->models.count)
        inference_waits(in, "the node does not know its models yet: %.220s", err->text);
    schedule(o, answered);
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct openai *o = arg;
    (void) call;
    if (o->list.len + bytes.len > LIST_BYTES_MAX)
        return false;
    buf_add(&o->list, bytes.data, bytes.len);
    return true;
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *why)
{
    struct openai *o = arg;
    struct ls_error err;
    bool answered = false;
    (void) call;
    o->asking = NULL;
    if (why)
        openai_error_call(&err, o->base, why);
    else
        answered = take_list(o, status, &err);
    settle(o, answered, &err);
}

static void on_ask_again(void *self, struct timer *timer)
{
    (void) self;
    ask((struct openai *) (void *) ((char *) timer - offsetof(struct openai, ask_again)));
}

static void ask(struct openai *o)
{
    const char *headers[4];
    struct ls_error err;
    char *url = xasprintf("%s/models", o->base);
    struct http_call_options call = {.method = "GET", .url = url, .arg = o, .data = on_data, .end = on_end};
    openai_call(o, &call, headers);
    call.total_ms = ANSWER_MS_MAX;
    buf_clear(&o->list);
    o->asking = http_call_start(o->http, &call, &err);
    if (!o->asking)
        settle(o, false, &err);
    free(url);
}

void openai_models_open(struct openai *o)
{
    struct inference *in = o->inference;
    const struct inference_options *options = in->options;
    o->ask_again.fire = on_ask_again;
    o->ask_ms = ASK_MS_MIN;
    if (!options->model || !*options->model) {
        inference_waits(in, "the node does not know its models yet: the backend at %.150s has not answered", o->base);
        ask(o);
        return;
    }
    struct models models = {0};
    struct model model = {.id = options->model,
                          .owned_by = options->owned_by,
                          .created = clock_wall_us() / 1000000,
                          .context_length = options->context_length};
    models_add(&models, &model);
    inference_models(in, &models);
}

void openai_models_close(struct openai *o)
{
    node_timer_unset(o->inference->node, &o->ask_again);
    http_call_cancel(&o->asking);
    buf_fini(&o->list);
}
