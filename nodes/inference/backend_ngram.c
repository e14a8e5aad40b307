/* SPDX-License-Identifier: Apache-2.0 */
/* The ngram backend: the model is in this process and takes microseconds for a token, so answers are made in the node's loop, a
 * few tokens of each in turn. An answer that its requester does not take is not made further. Another model may take the place of
 * the present one at any time: answers under way keep theirs, which goes with the last of them. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/inference/follow.h"
#include "nodes/inference/inference.h"
#include "nodes/inference/ngram.h"

#define CHOICES_MAX 16
#define STOPS_MAX 16
#define TOKENS_PER_TURN 4
#define PENDING_BYTES_MAX 4096 /* of an answer without credit */

/* turn->work */
struct making {
    LIST_ENTRY(making) link;
    struct turn *turn;
    struct ngram_stream *choices[CHOICES_MAX]; /* NULL: ended */
    uint32_t count, open;
    uint64_t prompt_tokens, completion_tokens; /* completion: of the choices that ended */
    int64_t next_ms;                           /* not before, with a pace */
};

struct local {
    struct ngram *model;   /* of new answers; NULL: there is none yet */
    struct follow *follow; /* NULL: the model is that of the option `file`, for good */
    struct registry_uri uri;
    LIST_HEAD(, making) makings;
};

/* ---- reading what is wanted ---- */

static int read_number(const json_t *json, const char *key, double *number, struct ls_error *err)
{
    const json_t *value = json_object_get(json, key);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_number(value))
        return error_set(err, "BAD_VALUE", "`%s` must be a number", key);
    *number = json_number_value(value);
    return 0;
}

static int read_count(const json_t *json, const char *key, int64_t max, int64_t *count, struct ls_error *err)
{
    const json_t *value = json_object_get(json, key);
    if (!value || json_is_null(value))
        return 0;
    *count = json_integer_value(value);
    if (json_is_integer(value) && *count >= 1 && *count <= max)
        return 0;
    return error_set(err, "BAD_VALUE", "`%s` must be a whole number from 1 to %lld", key, (long long) max);
}

static int read_stop(const json_t *json, const char *stops[STOPS_MAX], size_t *count, struct ls_error *err)
{
    const json_t *stop = json_object_get(json, "stop");
    bool many = json_is_array(stop);
    size_t given = many ? json_array_size(stop) : stop && !json_is_null(stop) ? 1 : 0;
    if (given > STOPS_MAX)
        return error_set(err, "BAD_VALUE", "`stop` has more than %d texts", STOPS_MAX);
    for (size_t i = 0; i < given; i++) {
        stops[i] = json_string_value(many ? json_array_get(stop, i) : stop);
        if (!stops[i])
            return error_set(err, "BAD_VALUE", "`stop` must be a text or a list of texts");
    }
    *count = given;
    return 0;
}

/* stops: room that `sampling` points into. */
static int read_sampling(const struct request *request, const struct inference_options *options,
                         const char *stops[STOPS_MAX], struct ngram_sampling *sampling, struct ls_error *err)
{
    const json_t *json = request->json, *seed = json_object_get(json, "seed");
    *sampling = NGRAM_SAMPLING;
    sampling->answer = !request->completion;
    sampling->max_tokens = options->max_tokens;
    if (read_number(json, "temperature", &sampling->temperature, err) < 0 ||
        read_number(json, "top_p", &sampling->top_p, err) < 0 ||
        read_count(json, "max_tokens", INT32_MAX, &sampling->max_tokens, err) < 0 ||
        read_count(json, "max_completion_tokens", INT32_MAX, &sampling->max_tokens, err) < 0 ||
        read_stop(json, stops, &sampling->stop_count, err) < 0)
        return -1;
    sampling->stop = stops;
    sampling->has_seed = json_is_integer(seed);
    sampling->seed = (uint64_t) json_integer_value(seed);
    return 0;
}

/* For a chat the last thing that the user said. */
static int read_prompt(const struct request *request, struct buf *prompt, struct ls_error *err)
{
    const json_t *messages = json_object_get(request->json, "messages"),
                 *text = json_object_get(request->json, "prompt");
    if (request->completion) {
        if (json_is_array(text) && json_array_size(text) == 1)
            text = json_array_get(text, 0);
        if (!json_is_string(text))
            return error_set(err, "BAD_VALUE",
                             "`prompt` must be one text: this model takes neither token numbers nor several prompts");
        json_text_of(text, prompt);
        return 0;
    }
    for (size_t i = json_array_size(messages); i-- > 0;) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role && strcmp(role, "user") == 0) {
            json_text_of(json_object_get(message, "content"), prompt);
            return 0;
        }
    }
    return error_set(err, "BAD_VALUE", "`messages` has none of the role user");
}

/* ---- a turn ---- */

static void stop(struct turn *turn)
{
    struct making *m = turn->work;
    LIST_REMOVE(m, link);
    for (uint32_t i = 0; i < m->count; i++)
        ngram_finish(&m->choices[i]);
    free(m);
}

static int start_choices(struct making *m, struct ngram *model, struct ls_slice prompt, struct ngram_sampling *sampling,
                         struct ls_error *err)
{
    for (; m->open < m->count; m->open++) {
        m->choices[m->open] = ngram_start(model, prompt, sampling, err);
        if (!m->choices[m->open])
            return -1;
        sampling->seed++;
    }
    m->prompt_tokens = ngram_prompt_tokens(m->choices[0]);
    return 0;
}

static int start(struct turn *turn, const struct request *request, const struct model *model, struct ls_error *err)
{
    struct local *local = turn->inference->state;
    struct ngram_sampling sampling;
    const char *stops[STOPS_MAX];
    struct buf prompt = {0};
    int64_t count = 1;
    (void) model;
    int result = read_sampling(request, turn->inference->options, stops, &sampling, err);
    if (result == 0)
        result = read_count(request->json, "n", CHOICES_MAX, &count, err);
    if (result == 0)
        result = read_prompt(request, &prompt, err);
    if (result == 0) {
        struct making *m = xcalloc(1, sizeof *m);
        *m = (struct making){.turn = turn, .count = (uint32_t) count};
        turn->work = m;
        LIST_INSERT_HEAD(&local->makings, m, link);
        result = start_choices(m, local->model, ls_bytes(prompt.data, prompt.len), &sampling, err);
    }
    buf_fini(&prompt);
    return result;
}

/* One token of a choice; false: the turn has failed, it and *m are gone. */
static bool make_token(struct making *m, uint32_t index)
{
    struct turn *turn = m->turn;
    struct delta delta = {.index = index};
    struct ls_error err;
    if (!ngram_next(m->choices[index], &delta.text, &delta.finish_reason)) {
        m->completion_tokens += ngram_completion_tokens(m->choices[index]);
        ngram_finish(&m->choices[index]);
        m->open--;
        delta.text = (struct ls_slice){0};
    } else {
        delta.finish_reason = NULL;
    }
    turn_heard(turn);
    if (turn_add(turn, &delta, &err) == 0)
        return true;
    turn_fail(turn, &err);
    return false;
}

static void finish(struct making *m)
{
    struct usage usage = {.prompt_tokens = m->prompt_tokens,
                          .completion_tokens = m->completion_tokens,
                          .total_tokens = m->prompt_tokens + m->completion_tokens};
    turn_end(m->turn, &usage);
}

static bool can_go_on(const struct making *m, int64_t now_ms)
{
    return m->next_ms <= now_ms && m->turn->answer.pending_bytes < PENDING_BYTES_MAX;
}

/* This answer's share of a turn of the loop. */
static void make(struct making *m, int64_t now_ms, int64_t pace_ms)
{
    for (int i = 0; i < TOKENS_PER_TURN && m->open && can_go_on(m, now_ms); i++) {
        for (uint32_t k = 0; k < m->count; k++)
            if (m->choices[k] && !make_token(m, k))
                return;
        if (pace_ms)
            m->next_ms = now_ms + pace_ms;
    }
    if (!m->open)
        finish(m);
}

static int64_t tick(struct inference *in, int64_t now_ms)
{
    struct local *local = in->state;
    int64_t due = INT64_MAX;
    struct making *m, *next;
    for (m = LIST_FIRST(&local->makings); m; m = next) {
        next = LIST_NEXT(m, link);
        make(m, now_ms, in->options->pace);
    }
    LIST_FOREACH(m, &local->makings, link)
    if (m->next_ms < due && (m->turn->answer.pending_bytes < PENDING_BYTES_MAX || m->turn->answer.call->credit))
        due = m->next_ms; /* with credit, what is pending leaves when this returns */
    if (local->follow) {
        int64_t again = follow_tick(local->follow, now_ms);
        due = again < due ? again : due;
    }
    return due;
}

/* ---- the backend as a whole ---- */

/* Takes the model over: new answers are its own from now on. `version`: the registry's, or NULL. */
static void use(struct inference *in, struct ngram *model, const char *version)
{
    struct local *local = in->state;
    const struct ngram_info *info = ngram_info(model);
    const char *name = local->uri.name[0] ? local->uri.name : in->options->model;
    struct models models = {0};
    struct model told = {.id = name && *name ? name : info->name,
                         .owned_by = in->options->owned_by,
                         .version = version ? version : info->version,
                         .content = version ? info->version : NULL,
                         .kind = "ngram",
                         .created = info->created,
                         .context_length = in->options->context_length};
    models_add(&models, &told);
    inference_models(in, &models);
    ngram_close(&local->model);
    local->model = model;
    in->unready[0] = '\0';
    node_resume(in->node);
}

/* The registry's model is served as soon as it is there, `file` until then, if it can be. */
static int open_followed(struct inference *in, struct ls_error *err)
{
    struct local *local = in->state;
    const char *file = in->options->file;
    struct ngram *model = file && *file ? ngram_open(file, err) : NULL;
    local->uri.bridged = model != NULL;
    if (model) {
        use(in, model, NULL);
    } else {
        if (file && *file)
            logger_put(LEVEL_WARN, "file-unusable", err->text, "file=%s", file);
        inference_waits(in, "it waits for a version %s%.200s of the model %.200s",
                        local->uri.alias[0] ? "with the alias " : "", local->uri.alias[0] ? local->uri.alias : local->uri.version,
                        local->uri.name);
        node_pause(in->node);
    }
    local->follow = follow_open(in, &local->uri, use, err);
    return local->follow ? 0 : -1;
}

static int open_backend(struct inference *in, struct ls_error *err)
{
    const struct inference_options *options = in->options;
    struct local *local = xcalloc(1, sizeof *local);
    in->state = local;
    LIST_INIT(&local->makings);
    if (registry_uri_meant(options->model)) {
        const char *wrong = registry_uri_read(options->model, &local->uri);
        return wrong ? error_set(err, "BAD_VALUE", "model %.200s: %s", options->model, wrong) : open_followed(in, err);
    }
    struct ngram *model = ngram_open(options->file, err);
    if (!model)
        return error_wrap(err, "model file %.200s", options->file);
    use(in, model, NULL);
    return 0;
}

static void connected(struct inference *in, bool stands)
{
    const struct local *local = in->state;
    if (local->follow)
        follow_connected(local->follow, stands);
}

static void close_backend(struct inference *in)
{
    struct local *local = in->state;
    if (!local)
        return;
    follow_close(&local->follow);
    ngram_close(&local->model);
    free(local);
    in->state = NULL;
}

const struct backend inference_ngram = {
    .open = open_backend,
    .start = start,
    .stop = stop,
    .connected = connected,
    .tick = tick,
    .close = close_backend,
};
