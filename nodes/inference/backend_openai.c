/* SPDX-License-Identifier: Apache-2.0 */
/* The openai backend: one HTTP call for each turn, all in the node's loop. Whether the body is an event stream is seen from its
 * first byte, not from its Content-Type, which some backends get wrong. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/inference/openai.h"

#define RECORD_BYTES_MAX (16u << 20)
#define PLAIN_BYTES_MAX (16u << 20)
#define ERROR_BYTES_MAX (64u << 10)
#define GRACE_MS 1000 /* from [DONE] to the end of the body: an error may stand behind it */

enum form { FORM_UNKNOWN, FORM_STREAM, FORM_PLAIN, FORM_ERROR };

/* turn->work */
struct asked {
    struct turn *turn;
    struct openai *openai;
    struct http_call *http; /* NULL once it has ended */
    enum form form;
    unsigned status;
    struct sse sse;
    struct buf body; /* plain and error answers */
    struct openai_answer answer;
    struct timer grace;
    bool failed; /* err says why */
    struct ls_error err;
};

static void stop(struct turn *turn)
{
    struct asked *a = turn->work;
    http_call_cancel(&a->http);
    node_timer_unset(turn->inference->node, &a->grace);
    openai_answer_fini(&a->answer);
    sse_fini(&a->sse);
    buf_fini(&a->body);
    free(a);
}

/* ---- how a turn ends ---- */

static void fail(struct asked *a, const struct ls_error *why)
{
    struct ls_error err = *why; /* it may be a part of what goes now */
    openai_noted(a->openai, &err);
    turn_fail(a->turn, &err);
}

/* The body is there, or what follows does not count any more. */
static void conclude(struct asked *a)
{
    struct ls_error err;
    struct usage usage;
    struct buf scratch = {0};
    if (!openai_answer_complete(&a->answer)) {
        openai_broken(&err, "the backend ended the answer without a finish_reason");
        fail(a, &err);
        return;
    }
    openai_noted(a->openai, NULL);
    openai_answer_usage(&a->answer, &usage, &scratch);
    turn_end(a->turn, &usage);
    buf_fini(&scratch);
}

static void on_grace(void *self, struct timer *timer)
{
    (void) self;
    conclude((struct asked *) (void *) ((char *) timer - offsetof(struct asked, grace)));
}

/* ---- the body ---- */

static bool note(struct asked *a, int result)
{
    a->failed |= result < 0;
    return result == 0;
}

static bool on_record(void *arg, const struct sse_record *record)
{
    struct asked *a = arg;
    bool done = a->answer.done;
    if (ls_slice_is(record->event, "error")) {
        json_t *json = json_read(record->data, NULL);
        openai_error_record_fill(&a->err, json);
        json_decref(json);
        return note(a, -1);
    }
    bool good = note(a, openai_answer_record(&a->answer, record->data, &a->err));
    if (good && !done && a->answer.done)
        node_timer_set(a->turn->inference->node, &a->grace, GRACE_MS);
    return good;
}

static enum form form_of(struct ls_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (!strchr(" \t\r\n", bytes.data[i]))
            return bytes.data[i] == '{' ? FORM_PLAIN : FORM_STREAM;
    return FORM_UNKNOWN;
}

static bool take_stream(struct asked *a, struct ls_slice bytes)
{
    if (sse_feed(&a->sse, bytes, on_record, a, &a->err) == 0)
        return !a->failed;
    openai_broken(&a->err, "the backend sent a record of more than %u bytes", RECORD_BYTES_MAX);
    return note(a, -1);
}

static bool take_plain(struct asked *a, struct ls_slice bytes)
{
    if (a->body.len + bytes.len <= PLAIN_BYTES_MAX) {
        buf_add(&a->body, bytes.data, bytes.len);
        return true;
    }
    openai_broken(&a->err, "the backend sent an answer of more than %u bytes", PLAIN_BYTES_MAX);
    return note(a, -1);
}

/* Reads no more of an error than it would understand. */
static bool take_error(struct asked *a, struct ls_slice bytes)
{
    size_t room = ERROR_BYTES_MAX - a->body.len;
    buf_add(&a->body, bytes.data, bytes.len < room ? bytes.len : room);
    if (a->body.len < ERROR_BYTES_MAX)
        return true;
    openai_error_status(&a->err, a->status, ls_bytes(a->body.data, a->body.len));
    return note(a, -1);
}

static bool take(struct asked *a, struct ls_slice bytes)
{
    if (a->form == FORM_UNKNOWN)
        a->form = form_of(bytes);
    switch (a->form) {
    case FORM_STREAM: return take_stream(a, bytes);
    case FORM_PLAIN: return take_plain(a, bytes);
    case FORM_ERROR: return take_error(a, bytes);
    default: return true; /* white space */
    }
}

/* ---- what the HTTP client calls ---- */

static void on_headers(void *arg, struct http_call *call, unsigned status)
{
    struct asked *a = arg;
    (void) call;
    a->status = status;
    if (status < 200 || status > 299)
        a->form = FORM_ERROR;
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct asked *a = arg;
    (void) call;
    turn_heard(a->turn);
    if (take(a, bytes))
        return true;
    fail(a, &a->err); /* cancels the call */
    return true;
}

static void take_whole(struct asked *a)
{
    struct ls_slice body = ls_bytes(a->body.data, a->body.len);
    if (a->form == FORM_ERROR)
        openai_error_status(&a->err, a->status, body);
    if (a->form == FORM_ERROR || (a->form == FORM_PLAIN && openai_answer_record(&a->answer, body, &a->err) < 0))
        fail(a, &a->err);
    else
        conclude(a);
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *why)
{
    struct asked *a = arg;
    struct ls_error err;
    (void) call;
    (void) status;
    a->http = NULL;
    if (!why || a->form == FORM_ERROR || (a->answer.done && openai_answer_complete(&a->answer))) {
        take_whole(a);
        return;
    }
    openai_error_call(&err, a->openai->base, why);
    fail(a, &err);
}

/* ---- a turn ---- */

static int start(struct turn *turn, const struct request *request, const struct model *model, struct ls_error *err)
{
    const struct inference *in = turn->inference;
    struct openai *o = in->state;
    const char *upstream = in->options->backend_model, *headers[4];
    struct buf body = {0};
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){.turn = turn, .openai = o, .answer.turn = turn, .grace.fire = on_grace};
    sse_init(&a->sse, RECORD_BYTES_MAX);
    turn->work = a;
    openai_request(&body, request, upstream && *upstream ? upstream : model->id, in->options->max_tokens);
    char *url = xasprintf("%s/%s", o->base, request->completion ? "completions" : "chat/completions");
    struct http_call_options call = {.method = "POST",
                                     .url = url,
                                     .body = ls_bytes(body.data, body.len),
                                     .arg = a,
                                     .headers_done = on_headers,
                                     .data = on_data,
                                     .end = on_end};
    openai_call(o, &call, headers);
    struct ls_error why;
    a->http = http_call_start(o->http, &call, &why);
    free(url);
    buf_fini(&body);
    return a->http ? 0 : openai_broken(err, "the backend cannot be called: %.300s", why.text);
}

/* ---- the backend as a whole ---- */

void openai_call(const struct openai *o, struct http_call_options *call, const char *headers[4])
{
    const struct inference_options *options = o->inference->options;
    size_t count = 0;
    headers[count++] = "Content-Type: application/json";
    headers[count++] = "User-Agent: lineshaft";
    if (o->authorization)
        headers[count++] = o->authorization;
    headers[count] = NULL;
    call->headers = headers;
    call->connect_ms = options->connect_timeout;
    call->first_byte_ms = options->first_byte_timeout;
    call->stall_ms = options->stall_timeout;
    call->total_ms = options->total_timeout;
    call->ca_file = options->ca_file;
}

static enum inference_metric class_of(const struct ls_error *err)
{
    static const struct {
        const char *name;
        enum inference_metric metric;
    } CLASSES[] = {{"UNREACHABLE", METRIC_BACKEND_UNREACHABLE},
                   {"TIMEOUT", METRIC_BACKEND_TIMEOUT},
                   {"BUSY", METRIC_BACKEND_BUSY},
                   {"REFUSED", METRIC_BACKEND_REFUSED}};
    for (size_t i = 0; i < sizeof CLASSES / sizeof CLASSES[0]; i++)
        if (strcmp(CLASSES[i].name, err->name) == 0)
            return CLASSES[i].metric;
    return METRIC_BACKEND_BROKEN;
}

void openai_noted(struct openai *o, const struct ls_error *err)
{
    bool down = err && strcmp(err->name, "UNREACHABLE") == 0;
    if (err)
        inference_count(o->inference, class_of(err), 1);
    if (down && !o->down)
        logger_put(LEVEL_WARN, "backend-down", err->text, "url=%s", o->base);
    if (!down && o->down)
        logger_put(LEVEL_INFO, "backend-up", "the backend answers again", "url=%s", o->base);
    o->down = down;
}

static void on_http(void *arg, int fd, uint32_t events)
{
    const struct openai *o = arg;
    (void) fd;
    (void) events;
    http_client_run(o->http);
}

static char *without_slash(const char *url)
{
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    return xstrndup(url, len);
}

static int open_backend(struct inference *in, struct ls_error *err)
{
    const struct inference_options *options = in->options;
    struct openai *o = xcalloc(1, sizeof *o);
    in->state = o;
    o->inference = in;
    o->base = without_slash(options->url ? options->url : "");
    if (options->api_key && *options->api_key)
        o->authorization = xasprintf("Authorization: Bearer %s", options->api_key);
    o->http = http_client_open(err);
    if (!o->http)
        return -1;
    node_watch(in->node, http_client_fd(o->http), EPOLLIN, on_http, o);
    openai_models_open(o);
    return 0;
}

static int64_t tick(struct inference *in, int64_t now_ms)
{
    const struct openai *o = in->state;
    if (http_client_due(o->http) <= now_ms)
        http_client_run(o->http);
    return http_client_due(o->http);
}

static void close_backend(struct inference *in)
{
    struct openai *o = in->state;
    if (!o)
        return;
    openai_models_close(o);
    if (o->http)
        node_unwatch(in->node, http_client_fd(o->http));
    http_client_close(&o->http);
    free(o->base);
    free(o->authorization);
    free(o);
    in->state = NULL;
}

const struct backend inference_openai = {
    .open = open_backend,
    .start = start,
    .stop = stop,
    .tick = tick,
    .close = close_backend,
};
