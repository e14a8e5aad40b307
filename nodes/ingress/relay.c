/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP over the bus: a route that a node declared becomes a request to it (docs/nodes/ingress.md, "Routes of nodes"). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/mp.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"

#define CREDIT 4 /* parts of up to 1 MiB that may wait for a slow client */
#define TIMEOUT_MS 60000
#define KEY_BYTES_MAX 255 /* of an Idempotency-Key: a longer one is none */

struct relay {
    LIST_ENTRY(relay) link;
    struct visit *v; /* NULL: the client is gone */
    struct ingress *in;
    struct directory_wait wait;
    bool waiting;
    uint64_t request;
    bool answering;
    uint32_t spent;
};

static void relay_free(struct relay *r)
{
    LIST_REMOVE(r, link);
    free(r);
}

void relays_close(struct ingress *in)
{
    while (!LIST_EMPTY(&in->relays))
        relay_free(LIST_FIRST(&in->relays));
}

static void over(struct relay *r)
{
    if (r->v)
        r->v->work = NULL;
    r->v = NULL;
    if (r->waiting)
        directory_forget(&r->wait);
    r->waiting = false;
    if (r->request)
        ls_request_cancel(node_client(r->in->node), r->request); /* its end frees *r */
    else
        relay_free(r);
}

static void on_gone(void *work)
{
    over(work);
}

/* How the answer is framed on this connection is not the node's to say (RFC 9110, 7.6.1). */
static bool is_framing(const char *name)
{
    static const char *const NAMES[] = {"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Trailer", "Upgrade"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcasecmp(name, NAMES[i]) == 0)
            return true;
    return false;
}

/* The first part's own keys: status, headers. */
static unsigned take_head(struct relay *r, struct ls_slice header)
{
    uint64_t status = 200;
    struct mp map = wire_map(header), headers;
    struct mp_slice name, value;
    uint32_t pairs;
    wire_uint(map, "status", &status);
    if (mp_find(map, "headers", &headers) && mp_map(&headers, &pairs))
        for (; pairs && mp_str(&headers, &name) && mp_str(&headers, &value); pairs--) {
            char *n = xstrndup(name.data, name.len), *text = xstrndup(value.data, value.len);
            if (!is_framing(n))
                http_answer_header(r->v->x, n, text);
            free(n);
            free(text);
        }
    return status >= 200 && status < 600 ? (unsigned) status : 502;
}

static bool is_bodyless(unsigned status)
{
    return status == 204 || status == 304;
}

/* false: the answer is over, whatever may follow. */
static bool answer_part(struct relay *r, const struct ls_part *part)
{
    if (!r->answering) {
        unsigned status = take_head(r, part->header);
        if (part->last || is_bodyless(status)) {
            http_answer(r->v->x, status, is_bodyless(status) ? (struct ls_slice){0} : part->body);
            return false;
        }
        http_stream_begin(r->v->x, status);
        r->answering = true;
    }
    bool ok = !part->body.len || http_stream_write(r->v->x, part->body);
    if (!ok)
        http_stream_abort(r->v->x);
    else if (part->last)
        http_stream_end(r->v->x);
    return ok;
}

static void renew_credit(struct relay *r)
{
    if (!r->request || !r->spent || (r->answering && http_stream_queued(r->v->x) > 0))
        return;
    ls_request_more(node_client(r->in->node), r->request, r->spent);
    r->spent = 0;
}

static void on_drained(void *work)
{
    renew_credit(work);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct relay *r = arg;
    bool end = part->err || part->last;
    if (end)
        r->request = 0;
    if (!r->v) {
        if (end)
            relay_free(r);
        return;
    }
    bool ok = true;
    if (part->err && r->answering)
        http_stream_abort(r->v->x);
    else if (part->err)
        answer_bus_error(r->v, part->err);
    else
        ok = answer_part(r, part);
    if (end || !ok) {
        over(r);
        return;
    }
    r->spent++;
    renew_credit(r);
}

/* ---- asking ---- */

static void pack_headers(struct buf *more, const struct visit *v)
{
    static const char *const PASSED[] = {"content-type", "accept", "if-match", "if-none-match", "range", "user-agent"};
    uint16_t pairs = 0;
    buf_pack_str(more, "headers");
    size_t at = buf_begin_map(more);
    for (size_t i = 0; i < sizeof PASSED / sizeof PASSED[0]; i++) {
        const char *value = http_header(v->x, PASSED[i]);
        if (value && strlen(value) <= 1024) {
            buf_pair_str(more, PASSED[i], value);
            pairs++;
        }
    }
    buf_end_map(more, at, pairs);
}

static void pack_request(struct buf *more, const struct visit *v)
{
    const char *key = http_header(v->x, "idempotency-key");
    bool keyed = key && *key && strlen(key) <= KEY_BYTES_MAX;
    buf_pack_map(more, 5 + keyed);
    if (keyed)
        buf_pair_str(more, "idempotencykey", key);
    buf_pair_str(more, "method", http_method(v->x));
    buf_pair_str(more, "path", http_path(v->x));
    buf_pair_str(more, "query", http_query(v->x));
    buf_pair_str(more, "principal", v->principal);
    pack_headers(more, v);
}

static void send_request(struct relay *r, const struct offered_route *route)
{
    struct visit *v = r->v;
    struct ls_error err;
    struct buf more = {0};
    char trace[TRACEPARENT_SIZE];
    trace_begin(http_header(v->x, "traceparent"), trace);
    pack_request(&more, v);
    struct ls_event request = {.topic = ls_str(route->topic), .correlationid = ls_str(v->request_id), .traceparent = ls_str(trace),
                               .more = ls_bytes(more.data, more.len), .body = http_body(v->x)};
    struct ls_request_options options = {.timeout_ms = TIMEOUT_MS, .parts = CREDIT, .manual_credit = true};
    r->request = ls_request(node_client(r->in->node), &request, &options, on_part, r, &err);
    if (!r->request) {
        answer_bus_error(v, &err);
        over(r);
    }
    buf_fini(&more);
}

static void send(struct relay *r, const struct offered_route *route)
{
    struct visit *v = r->v;
    if (!route->bytes) {
        send_request(r, route);
    } else if (http_body(v->x).len) { /* the route changed its kind while the body came */
        answer_problem(v, &(struct problem){.status = 503, .code = "changed"}, "the route has just changed; send it again");
        over(r);
    } else {
        over(r);
        proxy_start(v, route);
        if (v->work)
            proxy_body_end(v);
    }
}

/* The directory is as new as it gets. */
static void on_known(void *arg)
{
    struct relay *r = arg;
    const struct offered_route *route = directory_route(r->in, http_method(r->v->x), http_path(r->v->x));
    r->waiting = false;
    if (route && r->in->connected) {
        send(r, route);
        return;
    }
    if (r->in->connected)
        answer_no_route(r->v);
    else
        answer_no_bus(r->v);
    over(r);
}

bool relay_find(struct visit *v)
{
    const char *method = http_method(v->x), *path = http_path(v->x);
    if (directory_route(v->ingress, method, path))
        return true;
    /* It may have come, or come back, a moment ago: relay_start asks again. */
    return strncmp(path, "/api/", 5) == 0 || directory_absent(v->ingress, method, path);
}

void relay_start(struct visit *v)
{
    const struct offered_route *route = directory_route(v->ingress, http_method(v->x), http_path(v->x));
    struct relay *r = xcalloc(1, sizeof *r);
    r->v = v;
    r->in = v->ingress;
    LIST_INSERT_HEAD(&r->in->relays, r, link);
    r->wait = (struct directory_wait){.fn = on_known, .arg = r};
    v->work = r;
    v->gone = on_gone;
    v->drained = on_drained;
    if (route && v->ingress->connected) {
        send(r, route);
        return;
    }
    r->waiting = directory_refresh(v->ingress, &r->wait);
    if (!r->waiting)
        on_known(r);
}
