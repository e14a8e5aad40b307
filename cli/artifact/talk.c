/* SPDX-License-Identifier: Apache-2.0 */
/* One question to the door over HTTP, waited for; what a refusal says; trying again. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/artifact/artifact.h"
#include "cli/render.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define BODY_MAX (16u << 20)       /* of an answer that is gathered: a page of a list */
#define EXPECT_BYTES (1 << 20)     /* a body from this size on is sent when the door wants it */
#define SAY_AFTER_MS 2000          /* so long nothing moved: what is waited for is said */
#define NEVER_MS ((int64_t) 1 << 40) /* the client's own clocks: patience is kept here */
#define PAUSE_MS 200               /* before the second try; doubled each time */
#define PAUSE_MAX_MS 30000
#define HEADERS_MAX 12
#define KEY_MAX 1024 /* bytes */

/* ---- one exchange ---- */

struct exchange {
    struct artifact *a;
    struct talk *talk;
    struct ls_error *err;
    bool over, failed, stopped;
};

static bool is_good(const struct talk *talk)
{
    return talk->status >= 200 && talk->status < 300;
}

static void copy_header(struct http_call *call, const char *name, char *out, size_t size)
{
    const char *value = http_call_header(call, name);
    snprintf(out, size, "%s", value ? value : "");
}

static void on_head(void *arg, struct http_call *call, unsigned status)
{
    struct exchange *x = arg;
    struct talk *talk = x->talk;
    const char *length = http_call_header(call, "Content-Length"), *retry = http_call_header(call, "Retry-After");
    talk->status = status;
    talk->length = length ? strtoll(length, NULL, 10) : -1;
    long long seconds = retry ? strtoll(retry, NULL, 10) : 0;
    talk->retry_ms = seconds > 0 && seconds < PAUSE_MAX_MS / 1000 ? (int) seconds * 1000 : seconds > 0 ? PAUSE_MAX_MS : 0;
    copy_header(call, "ETag", talk->etag, sizeof talk->etag);
    copy_header(call, "Repr-Digest", talk->digest, sizeof talk->digest);
    copy_header(call, "Content-Range", talk->range, sizeof talk->range);
    copy_header(call, "X-Lineshaft-Deleted", talk->deleted, sizeof talk->deleted);
    if (is_good(talk))
        x->a->moved_ms = clock_mono_ms();
    if (is_good(talk) && talk->begin && !talk->begin(talk->arg, talk))
        x->stopped = true;
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct exchange *x = arg;
    struct talk *talk = x->talk;
    (void) call;
    if (x->stopped)
        return false;
    bool taken = true;
    if (is_good(talk) && talk->data)
        taken = talk->data(talk->arg, bytes);
    else if (talk->body.len + bytes.len > BODY_MAX)
        taken = false;
    else
        buf_add(&talk->body, bytes.data, bytes.len);
    if (is_good(talk))
        x->a->moved_ms = clock_mono_ms();
    return taken;
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    struct exchange *x = arg;
    (void) call, (void) status;
    x->over = true;
    x->failed = err || x->stopped;
    if (err)
        *x->err = *err;
    else if (x->stopped)
        error_set(x->err, "CANCELLED", "the answer was not wanted");
}

static size_t on_read(void *arg, struct http_call *call, char *out, size_t size)
{
    struct exchange *x = arg;
    (void) call;
    size_t got = x->talk->read(x->talk->arg, out, size);
    x->a->moved_ms = clock_mono_ms(); /* a pipe may be slow: that is no silence of the store */
    return got;
}

static bool on_rewind(void *arg, struct http_call *call)
{
    struct exchange *x = arg;
    (void) call;
    return x->talk->rewind(x->talk->arg);
}

static int64_t patience_left(const struct artifact *a)
{
    return (a->in_all ? a->began_ms : a->moved_ms) + a->patience_ms - clock_mono_ms();
}

static void out_of_patience(struct artifact *a, struct ls_error *err)
{
    char time[RENDER_SHORT_SIZE];
    a->spent = true;
    error_set(err, "TIMEOUT", a->in_all ? "the store did not answer in time: %s in all" : "the store did not answer for %s",
              render_duration(a->patience_ms * 1000, time));
}

static void run_until_over(struct artifact *a, struct http_call *call, struct exchange *x)
{
    while (!x->over) {
        int64_t due = http_client_due(a->client), now = clock_mono_ms(), left = patience_left(a), quiet = now - a->moved_ms;
        int64_t wait = due <= now ? 0 : due - now;
        if (left <= 0) {
            http_call_cancel(&call);
            out_of_patience(a, x->err);
            x->failed = x->over = true;
            return;
        }
        if (quiet >= SAY_AFTER_MS)
            artifact_says_it_waits(&a->said, "the store does not answer yet", left);
        else if (wait > SAY_AFTER_MS - quiet)
            wait = SAY_AFTER_MS - quiet;
        poll(&(struct pollfd){.fd = http_client_fd(a->client), .events = POLLIN}, 1, (int) (wait < left ? wait : left));
        http_client_run(a->client);
    }
}

static int talk_once(struct artifact *a, struct talk *talk, struct ls_error *err)
{
    const char *headers[HEADERS_MAX] = {NULL};
    size_t count = 0;
    struct exchange x = {.a = a, .talk = talk, .err = err};
    char *url = xasprintf("%s%s", a->door.base, talk->path);
    for (const char *const *header = talk->headers; *header; header++)
        headers[count++] = *header;
    const char *trace = getenv("LINESHAFT_TRACEPARENT"); /* within a task: what it stores belongs to the run's trace */
    char *parent = trace && *trace ? xasprintf("traceparent: %s", trace) : NULL;
    if (parent)
        headers[count++] = parent;
    headers[count] = a->door.authorization;
    talk->status = 0;
    buf_clear(&talk->body);
    const struct http_call_options options = {
        .method = talk->method, .url = url, .headers = headers, .read = talk->read ? on_read : NULL,
        .rewind = talk->rewind ? on_rewind : NULL, .body_bytes = talk->body_bytes,
        .expect = talk->read && (talk->body_bytes < 0 || talk->body_bytes >= EXPECT_BYTES), .exact_path = true,
        .first_byte_ms = NEVER_MS, .stall_ms = talk->read ? NEVER_MS : 0, .unix_socket = a->door.socket, .arg = &x,
        .headers_done = on_head, .data = on_data, .end = on_end};
    struct http_call *call = http_call_start(a->client, &options, err);
    if (call)
        run_until_over(a, call, &x);
    free(url);
    free(parent);
    return call && !x.failed ? 0 : -1;
}

/* ---- what a refusal says ---- */

/* {"error": {"message", "code"}}, and of an ingress that knows no such route a text. */
static int talk_refused(const struct artifact *a, struct talk *talk, struct ls_error *err)
{
    json_auto_t *body = json_loadb((const char *) talk->body.data, talk->body.len, JSON_ALLOW_NUL, NULL);
    const json_t *error = json_object_get(body, "error");
    const char *text = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));
    if (talk->status == 401 || (talk->status == 403 && !code))
        return error_set(err, "FORBIDDEN", "%s does not let us in (%u): %s", a->door.name, talk->status,
                         a->http ? "give the API key in LINESHAFT_API_KEY" : "LINESHAFT_TOKEN is not this start's token");
    if (!text)
        return error_set(err, "FAILED", "%s answered %u%s", a->door.name, talk->status,
                         talk->status == 404   ? ": it has no artifacts, or no such one"
                         : talk->status == 503 ? ": no `artifacts` node serves there now"
                                               : "");
    error_set(err, "FAILED", "%s", text);
    if (code)
        snprintf(err->name, sizeof err->name, "%s", code);
    return -1;
}

/* ---- patience ---- */

void talk_begin(struct artifact *a)
{
    a->moved_ms = clock_mono_ms();
}

bool talk_pause(struct artifact *a, int done, int retry_ms)
{
    int pause = retry_ms ? retry_ms : PAUSE_MS << (done - 1);
    int64_t left = patience_left(a);
    if (a->spent || pause >= left)
        return false;
    if (clock_mono_ms() - a->moved_ms + pause >= SAY_AFTER_MS)
        artifact_says_it_waits(&a->said, "the store cannot do it yet", left);
    poll(NULL, 0, pause);
    return true;
}

/* What is spooled will be there only when the store is back: that is said, and not waited for. */
static bool comes_again(const struct talk *talk, const struct ls_error *err)
{
    static const unsigned PASSING[] = {429, 502, 503, 504, 507};
    for (size_t i = 0; i < sizeof PASSING / sizeof *PASSING; i++)
        if (talk->status == PASSING[i])
            return (talk->retry_ms || talk->status != 502) && strcmp(err->name, "SPOOLED") != 0;
    return false;
}

int talk_well(struct artifact *a, struct talk *talk, struct ls_error *err)
{
    bool was_there = false;
    for (int tries = 1;; tries++) {
        *err = (struct ls_error){.number = 0};
        int result = talk_once(a, talk, err);
        if (result == 0 && is_good(talk))
            return 0;
        bool begun = talk->data && is_good(talk); /* then its owner goes on, where it broke off */
        bool cut = result < 0 && !begun &&
                   (strcmp(err->name, "CUT") == 0 || (was_there && strcmp(err->name, "UNREACHABLE") == 0));
        was_there |= cut;
        if (result == 0)
            talk_refused(a, talk, err);
        bool again = cut || (result == 0 && comes_again(talk, err));
        bool able = !talk->read || (talk->rewind && talk->rewind(talk->arg));
        if (!again || !able || tries == TALK_TRIES || !talk_pause(a, tries, result < 0 ? 0 : talk->retry_ms))
            return -1;
    }
}

/* ---- paths and keys ---- */

char *artifact_path(const char *key, const char *query)
{
    struct buf path = {0};
    buf_addf(&path, "/api/artifacts%s", key ? "/" : "");
    if (key)
        uri_encode(&path, key, "/");
    buf_addf(&path, "%s%s", query ? "?" : "", query ? query : "");
    char *text = xstrdup(buf_text(&path));
    buf_fini(&path);
    return text;
}

char *artifact_key(const char *text)
{
    static const char SCHEME[] = "mlflow-artifacts:";
    if (strncmp(text, SCHEME, sizeof SCHEME - 1) != 0)
        return xstrdup(text);
    text += sizeof SCHEME - 1;
    if (strncmp(text, "//", 2) == 0) /* a host: which server that is, --http says */
        text += 2 + strcspn(text + 2, "/");
    return uri_decoded(text + strspn(text, "/"));
}

int artifact_key_check(const char *key, struct ls_error *err)
{
    size_t len = strlen(key);
    if (len <= KEY_MAX)
        return 0;
    return error_set(err, "BAD_VALUE", "the key %.60s... has %zu bytes; at most %d fit into a store", key, len, KEY_MAX);
}
