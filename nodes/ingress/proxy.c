/* SPDX-License-Identifier: Apache-2.0 */
/* Routes marked `bytes` (docs/decisions/038): the exchange is passed through to the door of the node that declared the route, body and
 * answer piece by piece, each side held back by the other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"
#include "nodes/kit/http_client.h"

#define PIECES_MAX (256u << 10) /* bytes that wait for the slower side, either way */
#define HEADERS_MAX 110         /* the server lets 100 in */

struct proxy {
    LIST_ENTRY(proxy) link;
    struct visit *v;
    struct ingress *in;
    struct directory_wait wait;
    bool waiting;
    struct http_call *call;
    char *client;      /* whose door it is */
    struct buf pieces; /* of the request's body */
    size_t taken;      /* of them */
    bool bodied;       /* the door gets a body */
    bool body_ended;
    bool answering;
    int64_t left;      /* of the answer that was announced; -1: not told */
};

static void proxy_free(struct proxy *p)
{
    LIST_REMOVE(p, link);
    if (p->waiting)
        directory_forget(&p->wait);
    http_call_cancel(&p->call);
    buf_fini(&p->pieces);
    free(p->client);
    free(p);
}

void proxies_close(struct ingress *in)
{
    while (!LIST_EMPTY(&in->proxies))
        proxy_free(LIST_FIRST(&in->proxies));
}

static void over(struct proxy *p)
{
    p->v->work = NULL;
    proxy_free(p);
}

static void on_gone(void *work)
{
    proxy_free(work);
}

/* ---- headers ---- */

static bool is_one_of(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcasecmp(*names, name) == 0)
            return true;
    return false;
}

/* Whether the list of tokens in a Connection header names it. */
static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at && *at; at += strcspn(at, ",")) {
        at += strspn(at, ", \t");
        if (strcspn(at, ", \t") == len && strncasecmp(at, name, len) == 0)
            return true;
    }
    return false;
}

/* Of one connection only (RFC 9110, 7.6.1); framing is made anew on each. */
static bool is_hop(const char *name, const char *connection)
{
    static const char *const HOP[] = {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
                                      "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", NULL};
    return is_one_of(HOP, name) || is_listed(connection, name);
}

/* What a request does not carry on: the caller's credentials are for us, and who the caller is, is ours to say. */
static bool is_kept_here(const char *name)
{
    static const char *const OURS[] = {"Host", "Expect", "Authorization", "Cookie", "X-Api-Key", "X-Lineshaft-Principal",
                                       "X-Request-Id", "traceparent", NULL};
    return is_one_of(OURS, name);
}

/* What an answer does not carry on: the address belongs to us, and so do its cookies and what other origins may do. */
static bool is_ours_to_say(const char *name)
{
    static const char *const OURS[] = {"Date", "X-Request-Id", "X-Content-Type-Options", "Set-Cookie", NULL};
    return is_one_of(OURS, name) || strncasecmp(name, "Access-Control-", 15) == 0;
}

static char **request_headers(const struct visit *v, const char *token)
{
    const char *name, *value, *connection = http_header(v->x, "connection");
    char trace[TRACEPARENT_SIZE], **lines = xcalloc(HEADERS_MAX, sizeof *lines);
    size_t count = 0;
    trace_begin(http_header(v->x, "traceparent"), trace);
    lines[count++] = xasprintf("X-Request-Id: %s", v->request_id);
    lines[count++] = xasprintf("traceparent: %s", trace);
    if (*v->principal)
        lines[count++] = xasprintf("X-Lineshaft-Principal: %s", v->principal);
    if (token)
        lines[count++] = xasprintf("Authorization: Bearer %s", token);
    for (size_t i = 0; count < HEADERS_MAX - 1 && http_header_at(v->x, i, &name, &value); i++)
        if (!is_hop(name, connection) && !is_kept_here(name))
            lines[count++] = *value ? xasprintf("%s: %s", name, value) : xasprintf("%s;", name); /* so curl sends an empty one */
    return lines;
}

static void free_lines(char **lines)
{
    for (size_t i = 0; lines[i]; i++)
        free(lines[i]);
    free(lines);
}

static void pass_headers(struct proxy *p)
{
    const char *name, *value, *connection = http_call_header(p->call, "connection");
    for (size_t i = 0; http_call_header_at(p->call, i, &name, &value); i++)
        if (*value && !is_hop(name, connection) && !is_ours_to_say(name))
            http_answer_header(p->v->x, name, value);
}

/* ---- the answer ---- */

/* Content-Length; -1: not told. */
static int64_t answer_length(const struct proxy *p)
{
    const char *text = http_call_header(p->call, "content-length");
    return text && *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 19 ? strtoll(text, NULL, 10) : -1;
}

static bool is_bodyless(const struct proxy *p, unsigned status)
{
    return status == 204 || status == 304 || strcmp(http_method(p->v->x), "HEAD") == 0 || answer_length(p) == 0;
}

static void on_headers(void *arg, struct http_call *call, unsigned status)
{
    (void) call;
    struct proxy *p = arg;
    if (is_bodyless(p, status))
        return; /* answered when the call has ended well */
    p->left = answer_length(p);
    pass_headers(p);
    p->answering = true;
    if (p->left > 0)
        http_stream_begin_sized(p->v->x, status, (uint64_t) p->left);
    else
        http_stream_begin(p->v->x, status);
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct proxy *p = arg;
    if (p->left >= 0 && bytes.len > (uint64_t) p->left) /* chunks, or a second length, beside the one that was passed on */
        return false;
    p->left -= p->left >= 0 ? (int64_t) bytes.len : 0;
    if (!http_stream_write(p->v->x, bytes))
        return false;
    if (http_stream_queued(p->v->x) >= PIECES_MAX)
        http_call_pause(call);
    return true;
}

static void on_drained(void *work)
{
    struct proxy *p = work;
    if (p->call)
        http_call_resume(p->call);
}

static void answer_bodyless(struct proxy *p, unsigned status)
{
    int64_t length = answer_length(p);
    pass_headers(p);
    if (strcmp(http_method(p->v->x), "HEAD") != 0)
        http_answer(p->v->x, status, (struct ls_slice){0});
    else if (length > 0)
        http_stream_begin_sized(p->v->x, status, (uint64_t) length);
    else
        http_stream_begin(p->v->x, status);
}

static void answer_failure(struct proxy *p, const struct ls_error *err)
{
    bool away = strcmp(err->name, "UNREACHABLE") == 0, late = strcmp(err->name, "TIMEOUT") == 0;
    struct problem problem = {.status = away ? 503 : late ? 504 : 502, .code = away ? "unreachable" : late ? "timeout" : "bad_gateway"};
    logger_put(LEVEL_WARN, "door", err->text, "node=%s name=%s method=%s", p->client, err->name, http_method(p->v->x));
    answer_problem(p->v, &problem, "the node %s, which serves this, %s", p->client,
                   away   ? "cannot be reached at its door; it may be starting"
                   : late ? "did not go on in time"
                          : "broke off before it answered");
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    (void) call;
    struct proxy *p = arg;
    if (p->answering && err)
        http_stream_abort(p->v->x); /* the client must not take the part for the whole */
    else if (p->answering)
        http_stream_end(p->v->x);
    else if (err)
        answer_failure(p, err);
    else
        answer_bodyless(p, status);
    over(p); /* cancelling a call within its end does nothing */
}

/* ---- the body ---- */

static size_t on_read(void *arg, struct http_call *call, char *out, size_t size)
{
    struct proxy *p = arg;
    size_t have = p->pieces.len - p->taken, take = have < size ? have : size;
    (void) call;
    if (!have)
        return p->body_ended ? 0 : HTTP_CALL_WAIT;
    memcpy(out, p->pieces.data + p->taken, take);
    p->taken += take;
    if (take == have) {
        buf_clear(&p->pieces);
        p->taken = 0;
        http_body_resume(p->v->x);
    }
    return take;
}

void proxy_body(struct visit *v, struct ls_slice bytes)
{
    struct proxy *p = v->work;
    if (!p || !p->bodied)
        return;
    buf_add(&p->pieces, bytes.data, bytes.len);
    if (p->pieces.len >= PIECES_MAX)
        http_body_pause(v->x);
    http_call_resume(p->call);
}

void proxy_body_end(struct visit *v)
{
    struct proxy *p = v->work;
    p->body_ended = true;
    http_call_resume(p->call);
}

/* ---- asking ---- */

/* Methods whose requests say that they have no body by Content-Length: 0. */
static bool wants_length(const char *method)
{
    return strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0 || strcmp(method, "PATCH") == 0;
}

static void call_door(struct proxy *p, const char *door)
{
    struct http_exchange *x = p->v->x;
    const char *query = http_query(x), *path = strncmp(door, "unix:", 5) == 0 ? door + 5 : NULL;
    char *url = xasprintf("%s%s%s%s", path ? "http://localhost" : door, http_path(x), *query ? "?" : "", query);
    char **headers = request_headers(p->v, path ? NULL : getenv("LINESHAFT_TOKEN"));
    p->bodied = (http_body_length(x) != 0 || wants_length(http_method(x))) && strcmp(http_method(x), "HEAD") != 0;
    struct http_call_options options = {.method = http_method(x), .url = url, .headers = (const char *const *) headers,
                                        .read = p->bodied ? on_read : NULL, .body_bytes = http_body_length(x), .exact_path = true,
                                        .unix_socket = path, .arg = p, .headers_done = on_headers, .data = on_data, .end = on_end};
    struct ls_error err;
    p->call = http_call_start(p->in->doors, &options, &err);
    free_lines(headers);
    free(url);
    if (p->call)
        return;
    answer_failure(p, &err);
    over(p);
}

static void pass_on(struct proxy *p, const struct offered_route *route)
{
    const char *door = directory_door(p->in, route->client);
    p->client = xstrdup(route->client);
    http_body_stream(p->v->x);
    http_body_limit(p->v->x, UINT64_MAX); /* the node has its own */
    if (door) {
        call_door(p, door);
        return;
    }
    answer_problem(p->v, &(struct problem){.status = 503, .code = "unreachable"},
                   "the node %s, which serves this, has not said where its door is; it may be starting", p->client);
    over(p);
}

static struct proxy *proxy_new(struct visit *v)
{
    struct proxy *p = xcalloc(1, sizeof *p);
    p->v = v;
    p->in = v->ingress;
    LIST_INSERT_HEAD(&p->in->proxies, p, link);
    v->work = p;
    v->gone = on_gone;
    v->drained = on_drained;
    return p;
}

void proxy_start(struct visit *v, const struct offered_route *route)
{
    pass_on(proxy_new(v), route);
}

/* The directory is as new as it gets; the body still waits. */
static void on_known(void *arg)
{
    struct proxy *p = arg;
    struct visit *v = p->v;
    struct http_exchange *x = v->x;
    const struct offered_route *route = directory_route(p->in, http_method(x), http_path(x));
    p->waiting = false;
    if (route && route->bytes) {
        pass_on(p, route);
    } else if (route) {
        over(p); /* over the bus: relay_start, when the body is there */
    } else {
        http_body_stream(x); /* so that the answer does not wait for it */
        if (p->in->connected)
            answer_no_route(v);
        else
            answer_no_bus(v);
        over(p);
    }
    http_body_resume(x);
}

bool proxy_take(struct visit *v)
{
    struct http_exchange *x = v->x;
    const struct offered_route *route = directory_route(v->ingress, http_method(x), http_path(x));
    if (route && route->bytes)
        proxy_start(v, route);
    if (route)
        return route->bytes;
    /* It may have come, or come back, a moment ago. Without a body there is time to ask later: relay_start does. */
    if (http_body_length(x) == 0 || !relay_find(v))
        return false;
    struct proxy *p = proxy_new(v);
    p->wait = (struct directory_wait){.fn = on_known, .arg = p};
    http_body_pause(x);
    p->waiting = directory_refresh(v->ingress, &p->wait);
    if (!p->waiting)
        on_known(p);
    return true;
}
