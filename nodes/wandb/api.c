/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of W&B: a queue in front of the HTTP client, held back by one clock for all (what the server's headers say), and tries that are
 * made again. */
#include "nodes/wandb/api.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/uri.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client.h"
#include "nodes/wandb/api_text.h"

#define OPEN_MAX_CALLS 16
#define ANSWER_BYTES_MAX (64u << 20)
#define RETRY_MIN_MS 2000
#define RETRY_MAX_MS 60000
#define PACE_MAX_MS 10000 /* no slower than one call in ten seconds */
#define UNCLEAR_TRIES 8   /* GraphQL errors of which nobody knows whether they are final: then they are */
#define GRAPHQL_MS 30000
#define FILE_STREAM_MS 180000

struct api_call {
    TAILQ_ENTRY(api_call) link; /* of api->calls */
    struct api *api;
    char *url;
    struct buf body, answer;
    struct http_call *http; /* NULL: waits */
    struct timer timer;     /* the next try */
    bool queued;            /* may go as soon as the pace allows */
    bool graphql, retry;
    bool too_large; /* the answer */
    unsigned status, tries, unclear;
    int64_t retry_after_ms;
    api_fn *fn;
    void *arg;
};

struct api {
    struct node *node;
    struct http_client *http;
    char *base, *authorization, *ca_file;
    TAILQ_HEAD(, api_call) calls;
    size_t open;
    struct timer http_timer, pace_timer;
    int64_t next_ms;     /* no call before this */
    int64_t interval_ms; /* between two calls, until paced_until */
    int64_t paced_until_ms;
    bool failing; /* the last try was, and others follow */
    bool down;    /* said so */
};

static void pump(struct api *api);

/* ---- the loop ---- */

static void watch_due(struct api *api)
{
    int64_t due = http_client_due(api->http), now = clock_mono_ms();
    if (due == INT64_MAX)
        node_timer_unset(api->node, &api->http_timer);
    else
        node_timer_set(api->node, &api->http_timer, due > now ? due - now : 0);
}

static void run_http(struct api *api)
{
    http_client_run(api->http);
    watch_due(api);
}

static void on_http_timer(void *self, struct timer *timer)
{
    (void) self;
    run_http((struct api *) (void *) ((char *) timer - offsetof(struct api, http_timer)));
}

static void on_http(void *arg, int fd, uint32_t events)
{
    (void) fd, (void) events;
    run_http(arg);
}

static void on_pace_timer(void *self, struct timer *timer)
{
    (void) self;
    pump((struct api *) (void *) ((char *) timer - offsetof(struct api, pace_timer)));
}

/* ---- pace ---- */

static void hold_back(struct api *api, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    if (until > api->next_ms)
        api->next_ms = until;
}

/* RateLimit-Remaining calls until RateLimit-Reset seconds have passed: spread evenly. Resets of a second or less do not matter. */
static void read_pace(struct api *api, const struct http_call *http)
{
    const char *remaining = http_call_header(http, "RateLimit-Remaining"),
               *reset = http_call_header(http, "RateLimit-Reset");
    if (!remaining || !reset)
        return;
    double left = strtod(remaining, NULL), seconds = strtod(reset, NULL);
    if (!(seconds > 1) || !(seconds < 3600) || !(left >= 0))
        return;
    api->interval_ms = left > 0 ? (int64_t) (1000 * seconds / left) : PACE_MAX_MS;
    if (api->interval_ms > PACE_MAX_MS)
        api->interval_ms = PACE_MAX_MS;
    api->paced_until_ms = clock_mono_ms() + (int64_t) (seconds * 1000);
    if (left < 1)
        hold_back(api, api->interval_ms < seconds * 1000 ? api->interval_ms : (int64_t) (seconds * 1000));
}

static void note_sent(struct api *api)
{
    int64_t next = clock_mono_ms() + api->interval_ms;
    if (next > api->paced_until_ms)
        next = api->paced_until_ms;
    if (next > api->next_ms)
        api->next_ms = next;
}

/* 2 s doubling to 60 s, and up to a quarter more so that many do not come at once. */
static int64_t retry_delay(const struct api_call *call)
{
    uint8_t dice = 0;
    int64_t ms = RETRY_MIN_MS;
    for (unsigned i = 1; i < call->tries && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    if (ms > RETRY_MAX_MS)
        ms = RETRY_MAX_MS;
    if (getrandom(&dice, 1, GRND_NONBLOCK) != 1)
        dice = 128;
    ms += ms * dice / 1024;
    return call->retry_after_ms ? call->retry_after_ms : ms;
}

/* ---- how a call ends ---- */

static void call_free(struct api_call *call)
{
    struct api *api = call->api;
    if (call->http) {
        http_call_cancel(&call->http);
        api->open--;
    }
    node_timer_unset(api->node, &call->timer);
    TAILQ_REMOVE(&api->calls, call, link);
    buf_fini(&call->body);
    buf_fini(&call->answer);
    free(call->url);
    free(call);
}

static void finish(struct api_call *call, const json_t *answer, const struct ls_error *err)
{
    api_fn *fn = call->fn;
    void *arg = call->arg;
    call_free(call);
    fn(arg, answer, err);
}

static void on_retry_timer(void *self, struct timer *timer)
{
    struct api_call *call = (struct api_call *) (void *) ((char *) timer - offsetof(struct api_call, timer));
    (void) self;
    call->queued = true;
    pump(call->api);
}

/* Who says "not so fast" is there. */
static void note_health(struct api *api, const struct ls_error *err)
{
    api->failing = err && err->again;
    bool down = api->failing && err->number != 429;
    if (down && !api->down)
        logger_put(LEVEL_WARN, "wandb-away", err->text, "url=%s", api->base);
    if (!down && api->down)
        logger_put(LEVEL_INFO, "wandb-back", "W&B answers again", "url=%s", api->base);
    api->down = down;
}

static void fail(struct api_call *call, const struct ls_error *why)
{
    struct ls_error err = *why;
    note_health(call->api, &err);
    if (!err.again || !call->retry) {
        finish(call, NULL, &err);
        return;
    }
    node_timer_set(call->api->node, &call->timer, retry_delay(call));
}

/* The answer to a try is whole. False with *err. */
static json_t *read_answer(struct api_call *call, struct ls_error *err)
{
    struct ls_slice body = ls_bytes(call->answer.data, call->answer.len);
    if (call->status < 200 || call->status > 299) {
        api_refusal(err, call->status, body, call->graphql);
        return NULL;
    }
    json_t *json = api_json(body, err);
    if (!json) {
        error_wrap(err, "the answer of %s is none of W&B's", call->url);
        err->again = true;
        return NULL;
    }
    const json_t *errors = call->graphql ? json_object_get(json, "errors") : NULL;
    if (!json_array_size(errors))
        return json;
    api_graphql_errors(err, errors);
    if (err->again && ++call->unclear >= UNCLEAR_TRIES)
        err->again = false;
    json_decref(json);
    return NULL;
}

static void on_headers(void *arg, struct http_call *http, unsigned status)
{
    struct api_call *call = arg;
    call->status = status;
    read_pace(call->api, http);
    call->retry_after_ms = api_retry_after(http_call_header(http, "Retry-After"));
    if (status == 429)
        hold_back(call->api, call->retry_after_ms ? call->retry_after_ms : RETRY_MIN_MS);
}

static bool on_data(void *arg, struct http_call *http, struct ls_slice bytes)
{
    struct api_call *call = arg;
    (void) http;
    call->too_large = call->answer.len + bytes.len > ANSWER_BYTES_MAX;
    if (!call->too_large)
        buf_add(&call->answer, bytes.data, bytes.len);
    return !call->too_large;
}

static void on_end(void *arg, struct http_call *http, unsigned status, const struct ls_error *why)
{
    struct api_call *call = arg;
    struct api *api = call->api;
    struct ls_error err = {0};
    json_t *answer = NULL;
    (void) http, (void) status;
    call->http = NULL;
    api->open--;
    if (why) {
        err = *why;
        error_wrap(&err, call->too_large ? "more than 64 MiB from %s" : "no answer from %s", api->base);
        err.again = !call->too_large;
        err.number = 0;
    } else {
        answer = read_answer(call, &err);
    }
    if (!answer) {
        fail(call, &err);
    } else {
        note_health(api, NULL);
        finish(call, call->graphql ? json_object_get(answer, "data") : answer, NULL);
        json_decref(answer);
    }
    pump(api);
}

/* ---- going out ---- */

static void start(struct api_call *call)
{
    struct api *api = call->api;
    struct ls_error err = {0};
    const char *headers[] = {"Content-Type: application/json", "User-Agent: lineshaft", api->authorization, NULL};
    call->queued = false;
    call->tries++;
    call->status = 0;
    call->retry_after_ms = 0;
    buf_clear(&call->answer);
    struct http_call_options options = {.method = "POST",
                                        .url = call->url,
                                        .headers = headers,
                                        .body = ls_bytes(call->body.data, call->body.len),
                                        .connect_ms = 10000,
                                        .first_byte_ms = call->graphql ? GRAPHQL_MS : FILE_STREAM_MS,
                                        .ca_file = api->ca_file,
                                        .arg = call,
                                        .headers_done = on_headers,
                                        .data = on_data,
                                        .end = on_end};
    call->http = http_call_start(api->http, &options, &err);
    if (call->http) {
        api->open++;
        note_sent(api);
    } else {
        fail(call, &err);
    }
}

static struct api_call *first_queued(struct api *api)
{
    struct api_call *call;
    TAILQ_FOREACH(call, &api->calls, link)
    if (call->queued)
        return call;
    return NULL;
}

static void pump(struct api *api)
{
    struct api_call *call;
    while (api->open < OPEN_MAX_CALLS && (call = first_queued(api))) {
        int64_t wait = api->next_ms - clock_mono_ms();
        if (wait > 0) {
            node_timer_set(api->node, &api->pace_timer, wait);
            break;
        }
        start(call);
    }
    watch_due(api);
}

static struct api_call *call_new(struct api *api, char *url, api_fn *fn, void *arg)
{
    struct api_call *call = xcalloc(1, sizeof *call);
    *call =
        (struct api_call){.api = api, .url = url, .queued = true, .timer.fire = on_retry_timer, .fn = fn, .arg = arg};
    TAILQ_INSERT_TAIL(&api->calls, call, link);
    if (!api->pace_timer.place) /* from the loop, not from here */
        node_timer_set(api->node, &api->pace_timer, 0);
    return call;
}

struct api_call *api_graphql(struct api *api, const char *operation, const char *query, json_t *variables, bool retry,
                             api_fn *fn, void *arg)
{
    struct api_call *call = call_new(api, xasprintf("%s/graphql", api->base), fn, arg);
    call->graphql = true;
    call->retry = retry;
    buf_addf(&call->body, "{\"operationName\":");
    json_put_text(&call->body, operation);
    buf_addf(&call->body, ",\"query\":");
    json_put_text(&call->body, query);
    buf_addf(&call->body, ",\"variables\":");
    node_write(&call->body, variables);
    buf_add_byte(&call->body, '}');
    json_decref(variables);
    return call;
}

struct api_call *api_file_stream(struct api *api, const char *entity, const char *project, const char *run,
                                 struct ls_slice body, api_fn *fn, void *arg)
{
    struct buf url = {0};
    const char *const parts[] = {entity, project, run};
    buf_addf(&url, "%s/files", api->base);
    for (size_t i = 0; i < 3; i++) {
        buf_add_byte(&url, '/');
        uri_encode(&url, parts[i], "");
    }
    buf_addf(&url, "/file_stream");
    struct api_call *call = call_new(api, xstrdup(buf_text(&url)), fn, arg);
    buf_fini(&url);
    call->retry = true;
    buf_add(&call->body, body.data, body.len);
    return call;
}

void api_cancel(struct api_call **call)
{
    if (*call)
        call_free(*call);
    *call = NULL;
}

bool api_away(const struct api *api)
{
    return api->failing;
}

/* ---- the whole ---- */

static char *authorization_of(const char *key)
{
    struct buf plain = {0}, line = {0};
    buf_addf(&plain, "api:%s", key);
    buf_addf(&line, "Authorization: Basic ");
    json_put_base64(&line, plain.data, plain.len);
    char *text = xstrdup(buf_text(&line));
    buf_fini(&plain);
    buf_fini(&line);
    return text;
}

struct api *api_open(struct node *node, const struct api_options *options, struct ls_error *err)
{
    size_t len = strlen(options->base_url);
    if (strncmp(options->base_url, "http://", 7) != 0 && strncmp(options->base_url, "https://", 8) != 0) {
        error_set(err, "BAD_VALUE", "%s is no address of W&B: it begins with neither http:// nor https://",
                  options->base_url);
        return NULL;
    }
    if (strpbrk(options->key, "\r\n")) {
        error_set(err, "BAD_VALUE", "the API key of W&B has a line break in it");
        return NULL;
    }
    struct http_client *http = http_client_open(err);
    if (!http)
        return NULL;
    while (len && options->base_url[len - 1] == '/')
        len--;
    struct api *api = xcalloc(1, sizeof *api);
    *api = (struct api){.node = node,
                        .http = http,
                        .base = xstrndup(options->base_url, len),
                        .authorization = authorization_of(options->key),
                        .ca_file = options->ca_file ? xstrdup(options->ca_file) : NULL,
                        .http_timer.fire = on_http_timer,
                        .pace_timer.fire = on_pace_timer};
    TAILQ_INIT(&api->calls);
    node_watch(node, http_client_fd(http), EPOLLIN, on_http, api);
    return api;
}

void api_close(struct api **api)
{
    struct api *a = *api;
    *api = NULL;
    if (!a)
        return;
    while (!TAILQ_EMPTY(&a->calls))
        call_free(TAILQ_FIRST(&a->calls));
    node_timer_unset(a->node, &a->http_timer);
    node_timer_unset(a->node, &a->pace_timer);
    node_unwatch(a->node, http_client_fd(a->http));
    http_client_close(&a->http);
    free(a->base);
    free(a->authorization);
    free(a->ca_file);
    free(a);
}
