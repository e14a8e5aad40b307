/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in, over the bus or over HTTP, and their answers out: after the commit, long ones in parts, as far as
 * there is credit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/uri.h"
#include "lib/xmem.h"
#include "nodes/scheduler/scheduler.h"

#define PART_BYTES_MAX ((size_t) 512 << 10)

struct answer {
    LIST_ENTRY(answer) link;
    struct ls_call *call;
    json_t *body; /* NULL: failed, `err` */
    struct ls_error err;
    struct buf text;
    size_t sent;
    bool begun;
};

static void answer_free(struct answer *a)
{
    LIST_REMOVE(a, link);
    json_decref(a->body);
    buf_fini(&a->text);
    free(a);
}

/* ---- out ---- */

static void send_parts(struct answer *a)
{
    struct buf more = {0};
    struct ls_error err = {0};
    if (!a->sent) { /* for HTTP callers: docs/nodes/ingress.md, "Routes of nodes" */
        buf_pack_map(&more, 1);
        buf_pack_str(&more, "headers");
        buf_pack_map(&more, 1);
        buf_pair_str(&more, "Content-Type", "application/json");
    }
    for (bool last = false; !last && a->call->credit;) {
        size_t rest = a->text.len - a->sent, len = rest < PART_BYTES_MAX ? rest : PART_BYTES_MAX;
        last = len == rest;
        if (ls_reply(a->call, ls_bytes(a->text.data + a->sent, len), ls_bytes(more.data, more.len), last, &err))
            break;
        a->sent += len;
        buf_clear(&more);
        if (last)
            answer_free(a);
        if (last)
            break;
    }
    buf_fini(&more);
}

static void begin(struct answer *a)
{
    a->begun = true;
    if (!a->body) {
        ls_reply_error(a->call, &a->err);
        answer_free(a);
        return;
    }
    node_write(&a->text, a->body);
    json_decref(a->body);
    a->body = NULL;
    send_parts(a);
}

void answers_send(struct scheduler *s)
{
    struct answer *a, *next;
    for (a = LIST_FIRST(&s->answers); a; a = next) {
        next = LIST_NEXT(a, link);
        if (!a->begun)
            begin(a);
    }
}

void answers_fail(struct scheduler *s, const struct ls_error *why)
{
    struct answer *a, *next;
    for (a = LIST_FIRST(&s->answers); a; a = next) {
        next = LIST_NEXT(a, link);
        if (a->begun)
            continue;
        json_decref(a->body);
        a->body = NULL;
        a->err = *why;
        a->err.again = true;
        a->err.number = 503;
        begin(a);
    }
}

void answers_credit(struct ls_call *call)
{
    struct answer *a = call->user;
    if (a && a->begun)
        send_parts(a);
}

void answers_cancelled(struct ls_call *call)
{
    if (call->user)
        answer_free(call->user);
}

/* ---- in ---- */

/* In a query a plus is a space. Text that is not UTF-8 is left out. */
static void put_decoded(json_t *into, const char *key, struct ls_slice text, bool query)
{
    char *plain = xcalloc(1, text.len + 1);
    memcpy(plain, text.data, text.len);
    json_t *value = json_stringn(plain, uri_decode(plain, text.len, query, NULL));
    if (value)
        json_object_set_new(into, key, value);
    free(plain);
}

/* a=1&b=2 */
static void put_query(json_t *into, struct ls_slice query)
{
    const char *at = query.data, *end = at + query.len;
    while (query.len && at < end) {
        const char *stop = memchr(at, '&', (size_t) (end - at));
        stop = stop ? stop : end;
        const char *equals = memchr(at, '=', (size_t) (stop - at));
        if (equals && equals > at) {
            char *key = xstrndup(at, (size_t) (equals - at));
            put_decoded(into, key, ls_bytes(equals + 1, (size_t) (stop - equals - 1)), true);
            free(key);
        }
        at = stop + 1;
    }
}

/* Values of {names} in a route's path, which the request's path is known to fit. */
static bool put_path(json_t *into, const char *pattern, struct ls_slice path)
{
    const char *at = path.data, *end = at + path.len;
    for (; *pattern; pattern++) {
        if (*pattern != '{') {
            if (at == end || *at++ != *pattern)
                return false;
            continue;
        }
        const char *close = strchr(pattern, '}'), *stop = memchr(at, '/', (size_t) (end - at));
        stop = stop ? stop : end;
        char *key = xstrndup(pattern + 1, (size_t) (close - pattern - 1));
        put_decoded(into, key, ls_bytes(at, (size_t) (stop - at)), false);
        free(key);
        at = stop;
        pattern = close;
    }
    return at == end;
}

/* What an HTTP request says in its path, query and key, as if it stood in the body. */
static void read_http(json_t *into, const struct ls_event *request, struct ls_slice method)
{
    struct ls_slice path, query, principal;
    if (!ls_event_attribute(request, "path", &path))
        return;
    for (const struct kind_route *route = kind_scheduler.routes; route->method; route++) {
        json_auto_t *found = json_object();
        if (!ls_slice_is(method, route->method) || !ls_slice_is(request->topic, route->topic) ||
            !put_path(found, route->path, path))
            continue;
        if (ls_event_attribute(request, "query", &query))
            put_query(into, query);
        json_object_update(into, found);
        break;
    }
    if (ls_event_attribute(request, "principal", &principal) && principal.len)
        json_object_set_new(into, "user_id", json_stringn(principal.data, principal.len));
}

static json_t *read_request(const struct ls_event *request, struct ls_error *err)
{
    struct ls_slice method;
    json_t *body = request->body.len ? node_json(request->body, err) : json_object();
    if (body && !json_is_object(body)) {
        json_decref(body);
        body = NULL;
        error_set(err, "FAILED", "the request's body must be an object");
    }
    if (!body) {
        err->number = 400;
        return NULL;
    }
    if (ls_event_attribute(request, "method", &method))
        read_http(body, request, method);
    if (request->traceparent.len && !json_object_get(body, "traceparent"))
        json_object_set_new(body, "traceparent", json_stringn(request->traceparent.data, request->traceparent.len));
    return body;
}

enum ls_verdict answers_request(struct scheduler *s, struct ls_call *call, const struct ls_event *request,
                                struct ls_error *err)
{
    char topic[201];
    json_auto_t *body = read_request(request, err);
    if (!body)
        return LS_REJECT;
    struct answer *a = xcalloc(1, sizeof *a);
    snprintf(topic, sizeof topic, "%.*s", (int) request->topic.len, request->topic.data);
    a->call = call;
    a->body = request_answer(&s->engine, topic, body, &a->err);
    if (a->body && strcmp(topic, "scheduler.list") == 0)
        json_object_set_new(a->body, "problems", files_problems(s));
    if (!a->body && !a->err.number)
        a->err.number = 500;
    call->user = a;
    LIST_INSERT_HEAD(&s->answers, a, link);
    return LS_PENDING;
}
