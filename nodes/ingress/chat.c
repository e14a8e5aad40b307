/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a chat turn: from the HTTP request to a request on the bus, its parts, its one end. */
#include "nodes/ingress/chat.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/xmem.h"

#define CREDIT 64               /* parts under way */
#define CREDIT_RENEW 24         /* renewed when so many were handled */
#define QUEUE_BYTES (128u << 10) /* no credit while more waits for a slow client */

double turn_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec * 1000 + (double) now.tv_nsec / 1e6;
}

void turn_headers(struct turn *t)
{
    const struct {
        const char *name, *value;
    } headers[] = {{"x-lineshaft-model", t->answered_by}, {"x-lineshaft-version", t->version}, {"x-lineshaft-worker", t->worker},
                   {"x-lineshaft-event", t->event_id}, {"traceparent", t->trace}};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        if (headers[i].value)
            http_answer_header(t->v->x, headers[i].name, headers[i].value);
}

/* ---- begin and end ---- */

static void turn_free(struct turn *t)
{
    LIST_REMOVE(t, link);
    node_timer_unset(t->in->node, &t->timer);
    if (t->waiting)
        directory_forget(&t->wait);
    for (uint32_t i = 0; i < t->choice_count; i++) {
        buf_fini(&t->choices[i].text);
        buf_fini(&t->choices[i].reasoning);
        buf_fini(&t->choices[i].refusal);
        json_decref(t->choices[i].tool_calls);
        json_decref(t->choices[i].logprobs);
    }
    free(t->choices);
    json_decref(t->body);
    buf_fini(&t->usage);
    buf_fini(&t->head);
    free(t->model);
    free(t->worker);
    free(t->version);
    free(t->answered_by);
    free(t);
}

/* The turn is over for its caller and its record; *t is freed unless the bus still owes the end of the request. */
static void turn_over(struct turn *t)
{
    if (t->v)
        t->v->work = NULL;
    t->v = NULL;
    node_timer_unset(t->in->node, &t->timer);
    --*node_metric(t->in->node, METRIC_CHATS_OPEN);
    if (!t->request)
        turn_free(t);
}

void turns_close(struct ingress *in)
{
    struct turn *t;
    while ((t = LIST_FIRST(&in->turns)) != NULL)
        turn_free(t);
}

static void on_gone(void *work)
{
    struct turn *t = work;
    t->v->work = NULL;
    t->v = NULL;
    ++*node_metric(t->in->node, METRIC_CHATS_CANCELLED);
    event_cancelled(t, t->in->closing ? "shutdown" : "disconnect");
    if (t->request)
        ls_request_cancel(node_client(t->in->node), t->request); /* its end frees the turn */
    turn_over(t);
}

static void fail(struct turn *t, const struct problem *problem, const char *text)
{
    struct problem told = *problem;
    told.dont_retry |= t->first_ms > 0; /* tokens were spent */
    ++*node_metric(t->in->node, METRIC_CHATS_FAILED);
    event_failed(t, &told, text);
    if (t->v && t->answering)
        stream_problem(t, &told, text);
    else if (t->v)
        answer_problem(t->v, &told, "%s", text);
    if (t->request)
        ls_request_cancel(node_client(t->in->node), t->request);
    turn_over(t);
}

void turns_stop(struct ingress *in)
{
    for (struct turn *t = LIST_FIRST(&in->turns), *next; t; t = next) {
        next = LIST_NEXT(t, link);
        if (t->v)
            fail(t, &(struct problem){.status = 503, .code = "stopping"}, "the server is stopping");
    }
}

static void complete(struct turn *t)
{
    ++*node_metric(t->in->node, METRIC_CHATS_COMPLETED);
    histogram_add(&t->in->chat_duration, (double) (turn_now_ms() - t->begun_ms) / 1e3);
    if (t->stream)
        stream_finish(t);
    else
        whole_finish(t);
    event_completed(t);
    turn_over(t);
}

/* ---- parts ---- */

/* What is longer than events may tell (schemas/chat.completed.yaml) is not told at all. */
static void copy_text(char **to, struct ls_slice text, size_t max)
{
    if (!*to && text.len && text.len <= max)
        *to = xstrndup(text.data, text.len);
}

static struct choice *choice_of(struct turn *t, uint64_t index)
{
    if (index >= TURN_CHOICES_MAX)
        return NULL;
    if (index >= t->choice_count) {
        t->choices = xrealloc(t->choices, (index + 1) * sizeof *t->choices);
        memset(t->choices + t->choice_count, 0, (index + 1 - t->choice_count) * sizeof *t->choices);
        t->choice_count = (uint32_t) index + 1;
    }
    return &t->choices[index];
}

/* NULL, or what went wrong, and its code. */
static const char *take_piece(struct turn *t, const struct piece *p, const char **code)
{
    struct choice *c = choice_of(t, p->index);
    *code = "bad_worker";
    if (!c)
        return "the worker answered with more choices than there can be";
    copy_text(&t->worker, p->worker, 200);
    copy_text(&t->version, p->version, 20);
    copy_text(&t->answered_by, p->model, 256);
    t->pieces += p->text.len > 0;
    if (p->usage.len) {
        buf_clear(&t->usage);
        buf_add(&t->usage, p->usage.data, p->usage.len);
    }
    const char *wrong = piece_gather(t, c, p);
    if (wrong)
        return wrong;
    if (p->finish.len)
        snprintf(c->finish, sizeof c->finish, "%.*s", (int) p->finish.len, p->finish.data);
    *code = "slow_client";
    return !t->stream || stream_piece(t, c, p) ? NULL : "the client does not read its stream";
}

static bool all_finished(const struct turn *t)
{
    for (uint32_t i = 0; i < t->choice_count; i++)
        if (!t->choices[i].finish[0])
            return false;
    return t->choice_count > 0;
}

static void renew_credit(struct turn *t)
{
    if (!t->request || t->spent < CREDIT_RENEW || (t->answering && http_stream_queued(t->v->x) > QUEUE_BYTES))
        return;
    ls_request_more(node_client(t->in->node), t->request, t->spent);
    t->spent = 0;
}

static void on_drained(void *work)
{
    renew_credit(work);
}

/* "[code] sentence" of a worker; the status as it is meant for the caller. */
static void fail_by_worker(struct turn *t, const struct ls_error *err)
{
    char code[64] = "";
    const char *text = err->text, *end = *text == '[' ? strchr(text, ']') : NULL;
    struct problem problem = {.status = bus_error_status(err), .retry_ms = err->retry_ms};
    if (end && (size_t) (end - text) < sizeof code) {
        snprintf(code, sizeof code, "%.*s", (int) (end - text - 1), text + 1);
        text = end + 1 + strspn(end + 1, " ");
    }
    if (problem.status == 401 || problem.status == 403)
        problem.status = 502; /* the backend's quarrel with us is not the caller's */
    problem.code = *code ? code : problem.status == 503 ? "overloaded" : problem.status == 504 ? "timeout"
                   : problem.status == 429 ? "rate_limit_exceeded" : problem.status >= 500 ? "server_error" : NULL;
    if (strcmp(err->name, "WORKER_LOST") == 0)
        problem.code = "worker_lost";
    if (strcmp(err->name, "NO_RESPONDER") == 0) {
        problem.code = "no_worker";
        text = "no worker for this model is running";
    }
    fail(t, &problem, text);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct turn *t = arg;
    struct piece piece;
    const char *wrong, *code = "bad_worker";
    bool end = part->err || part->last;
    if (end)
        t->request = 0;
    if (!t->v) {
        if (end)
            turn_free(t); /* it was over for its caller before */
        return;
    }
    if (part->err) {
        fail_by_worker(t, part->err);
        return;
    }
    if (!t->first_ms) {
        t->first_ms = turn_now_ms();
        histogram_add(&t->in->first_token, (double) (t->first_ms - t->begun_ms) / 1e3);
    }
    if ((wrong = piece_read(&piece, part->body)) || (wrong = take_piece(t, &piece, &code))) {
        fail(t, &(struct problem){.status = 502, .code = code}, wrong);
    } else if (end && !all_finished(t)) {
        fail(t, &(struct problem){.status = 502, .code = "bad_worker"}, "the worker ended without a finish_reason");
    } else if (end) {
        complete(t);
    } else {
        t->spent++;
        renew_credit(t);
    }
}

/* ---- asking ---- */

static int send_request(struct turn *t, const char *topic, struct ls_error *err)
{
    char trace[TRACEPARENT_SIZE];
    struct buf more = {0};
    trace_child(t->trace, trace);
    buf_pack_map(&more, 1);
    buf_pair_str(&more, "operation", t->completion ? "completion" : "chat");
    struct ls_event request = {.topic = ls_str(topic), .subject = ls_str(t->chat_id), .traceparent = ls_str(trace),
                               .correlationid = ls_str(t->request_id), .causationid = ls_str(t->event_id),
                               .more = ls_bytes(more.data, more.len), .body = http_body(t->v->x)};
    struct ls_request_options options = {.timeout_ms = (int) t->in->options->chat_timeout, .parts = CREDIT, .manual_credit = true};
    t->request = ls_request(node_client(t->in->node), &request, &options, on_part, t, err);
    buf_fini(&more);
    return t->request ? 0 : -1;
}

static void fail_unready(struct turn *t, const char *why)
{
    char text[512];
    snprintf(text, sizeof text, "no worker has the model \"%.100s\" yet%s%.300s", t->model, *why ? ": " : "", why);
    fail(t, &(struct problem){.status = 503, .code = "model_loading", .retry_ms = 2000}, text);
}

/* The model is looked up once more when it is not known: it may have come a moment ago. */
static void ask_worker(void *arg)
{
    struct turn *t = arg;
    struct ls_error err;
    t->waiting = false;
    const struct model *model = directory_model(t->in, t->model);
    if (!t->in->connected) {
        fail(t, &(struct problem){.status = 503, .code = "no_bus"}, "the bus cannot be reached; trying again by itself");
    } else if (!model && directory_unready(t->in)) {
        fail_unready(t, directory_unready(t->in));
    } else if (!model) {
        char text[512];
        snprintf(text, sizeof text, "no worker on the bus answers for the model \"%.200s\"; GET /v1/models lists those there are",
                 t->model);
        fail(t, &(struct problem){.status = 404, .code = "model_not_found", .param = "model"}, text);
    } else if (send_request(t, model->topic, &err)) {
        fail_by_worker(t, &err);
    }
}

static void record(struct turn *t)
{
    event_request(t);
    json_decref(t->body);
    t->body = NULL;
}

/* The usual case. The record follows the request on the same connection: the worker need not wait for the log's work. */
static void ask_and_record(struct turn *t, const struct model *model)
{
    struct ls_error err;
    int rc = send_request(t, model->topic, &err);
    record(t);
    if (rc)
        fail_by_worker(t, &err);
}

static void record_and_look(struct turn *t)
{
    record(t);
    t->wait = (struct directory_wait){.fn = ask_worker, .arg = t};
    t->waiting = directory_refresh(t->in, &t->wait);
    if (!t->waiting)
        ask_worker(t);
}

static void on_timer(void *arg, struct timer *timer)
{
    (void) arg;
    struct turn *t = (struct turn *) (void *) ((char *) timer - offsetof(struct turn, timer));
    double silent = turn_now_ms() - t->written_ms;
    if (!t->answering || silent >= (double) t->in->options->keep_alive) {
        stream_start(t);
        stream_comment(t);
        silent = 0;
    }
    node_timer_set(t->in->node, timer, t->in->options->keep_alive - (int64_t) silent);
}

/* Printable ASCII: other bytes could not stand in events, which are UTF-8. */
static bool is_chat_id(const char *text)
{
    size_t len = 0;
    while (text[len] >= ' ' && text[len] <= '~')
        len++;
    return len && len <= 200 && !text[len];
}

static struct turn *turn_new(struct visit *v, json_t *body, bool completion)
{
    struct turn *t = xcalloc(1, sizeof *t);
    char id[LS_ID_SIZE];
    const char *chat = http_header(v->x, "x-lineshaft-chat");
    json_t *options = json_object_get(body, "stream_options");
    ls_id(id);
    ls_id(t->event_id);
    t->in = v->ingress;
    t->v = v;
    t->body = body;
    t->completion = completion;
    t->stream = json_is_true(json_object_get(body, "stream"));
    t->include_usage = json_is_true(json_object_get(options, "include_usage"));
    t->model = xstrdup(json_string_value(json_object_get(body, "model")));
    t->created = clock_wall_us() / 1000000;
    t->begun_ms = turn_now_ms();
    snprintf(t->id, sizeof t->id, "%s%s", completion ? "cmpl-" : "chatcmpl-", id);
    snprintf(t->request_id, sizeof t->request_id, "%s", v->request_id);
    snprintf(t->chat_id, sizeof t->chat_id, "%s", chat && is_chat_id(chat) ? chat : v->request_id);
    trace_begin(http_header(v->x, "traceparent"), t->trace);
    t->timer.fire = on_timer;
    LIST_INSERT_HEAD(&t->in->turns, t, link);
    v->work = t;
    v->gone = on_gone;
    v->drained = on_drained;
    return t;
}

static void begin(struct visit *v, bool completion)
{
    json_t *body = body_json(v);
    if (!body)
        return;
    if (!chat_body_check(v, body, completion)) {
        json_decref(body);
        return;
    }
    const struct ls_server *server = ls_client_server(node_client(v->ingress->node));
    if (http_body(v->x).len > server->body_max) {
        json_decref(body);
        answer_problem(v, &(struct problem){.status = 413, .code = "request_too_large"},
                       "the body has %zu bytes; the bus carries at most %llu (broker option body_max)", http_body(v->x).len,
                       (unsigned long long) server->body_max);
        return;
    }
    struct turn *t = turn_new(v, body, completion);
    ++*node_metric(t->in->node, METRIC_CHATS);
    ++*node_metric(t->in->node, METRIC_CHATS_OPEN);
    if (t->stream)
        node_timer_set(t->in->node, &t->timer, t->in->options->hold);
    const struct model *model = directory_model(t->in, t->model);
    if (model && t->in->connected)
        ask_and_record(t, model);
    else
        record_and_look(t);
}

void handle_chat(struct visit *v)
{
    begin(v, false);
}

void handle_completion(struct visit *v)
{
    begin(v, true);
}

void handle_elsewhere(struct visit *v)
{
    answer_problem(v, &(struct problem){.status = 404, .code = "unknown_url"},
                   "/v1/responses is not served; use /v1/chat/completions (in the AI SDK: openai.chat('model') or "
                   "@ai-sdk/openai-compatible)");
}
