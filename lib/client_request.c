/* SPDX-License-Identifier: Apache-2.0 */
/* Asking: open requests by rid, their parts, credit, deadlines. Source: docs/protocol.md, "Requests". */
#include <stdlib.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX_MS 3600000
#define PARTS_DEFAULT 16
#define GRACE_MS 2000 /* the broker keeps the deadline; this much later we stop waiting for its word */
/* Our rids begin far above the broker's own, so that ERR {rid} is never ambiguous in a client that also serves. */
#define RID_BASE (1ull << 40)

static struct request_list *bucket(struct ls_client *client, uint64_t rid)
{
    return &client->requests[rid % REQUEST_BUCKETS];
}

static struct request *request_find(struct ls_client *client, uint64_t rid)
{
    struct request *r;
    LIST_FOREACH(r, bucket(client, rid), link)
        if (r->rid == rid)
            return r;
    return NULL;
}

static void request_release(struct ls_client *client, struct request *r)
{
    LIST_REMOVE(r, link);
    client->request_count--;
    buf_fini(&r->pairs);
    buf_fini(&r->body);
    free(r);
}

static void fail(struct ls_client *client, struct request *r, const struct ls_error *err)
{
    const struct ls_part part = {.request = r->rid, .n = 0, .last = true, .err = err};
    ls_part_fn *fn = r->fn;
    void *arg = r->arg;
    request_release(client, r);
    fn(arg, &part);
}

/* ---- asking ---- */

static void request_send(struct ls_client *client, struct request *r)
{
    struct buf *h = client_header(client);
    int64_t left = r->give_up_at - clock_mono_ms();
    buf_pack_map(h, r->pair_count + 3);
    buf_add(h, r->pairs.data, r->pairs.len);
    buf_pack_str(h, "rid");
    buf_pack_uint(h, r->rid);
    buf_pack_str(h, "timeout");
    buf_pack_int(h, left > 1 ? left : 1);
    buf_pack_str(h, "parts");
    buf_pack_uint(h, r->parts);
    if (!client_send(client, "REQ", h, ls_bytes(r->body.data, r->body.len)))
        return;
    r->sent = true;
    r->give_up_at += GRACE_MS;
    buf_fini(&r->pairs);
    buf_fini(&r->body);
}

uint64_t ls_request(struct ls_client *client, const struct ls_event *request, const struct ls_request_options *options,
                    ls_part_fn *fn, void *arg, struct ls_error *err)
{
    static const struct ls_request_options DEFAULTS;
    options = options ? options : &DEFAULTS;
    int timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_DEFAULT_MS;
    struct buf pairs = {0};
    uint32_t count;
    if (client_may_ask(client, err))
        return 0;
    if (timeout_ms < 0 || timeout_ms > TIMEOUT_MAX_MS) {
        error_set(err, "USAGE", "a request's timeout is 1 to %d ms, not %d", TIMEOUT_MAX_MS, timeout_ms);
        return 0;
    }
    if (request->body.len > client->server.body_max) {
        error_set(err, "TOO_BIG", "the request's body has %zu bytes, the broker takes %llu", request->body.len,
                  (unsigned long long) client->server.body_max);
        return 0;
    }
    if (event_pack(&pairs, request, &count, err)) {
        buf_fini(&pairs);
        return 0;
    }
    struct request *r = xcalloc(1, sizeof *r);
    r->rid = RID_BASE + ++client->last_rid;
    r->fn = fn;
    r->arg = arg;
    r->pairs = pairs;
    r->pair_count = count;
    buf_add(&r->body, request->body.data, request->body.len);
    r->parts = options->parts ? options->parts : PARTS_DEFAULT;
    r->manual_credit = options->manual_credit;
    r->give_up_at = clock_mono_ms() + timeout_ms;
    LIST_INSERT_HEAD(bucket(client, r->rid), r, link);
    client->request_count++;
    if (r->give_up_at < client->requests_due)
        client->requests_due = r->give_up_at;
    request_send(client, r);
    return r->rid;
}

void ls_request_more(struct ls_client *client, uint64_t request, uint32_t parts)
{
    struct request *r = request_find(client, request);
    if (!r)
        return;
    if (!r->sent) {
        r->parts += parts;
        return;
    }
    struct buf *h = client_header(client);
    buf_pack_map(h, 2);
    buf_pack_str(h, "rid");
    buf_pack_uint(h, r->rid);
    buf_pack_str(h, "parts");
    buf_pack_uint(h, parts);
    client_send(client, "MORE", h, (struct ls_slice){0});
}

void ls_request_cancel(struct ls_client *client, uint64_t request)
{
    struct request *r = request_find(client, request);
    if (!r || r->cancelled)
        return;
    r->cancelled = true;
    if (!r->sent) { /* nobody will answer: the next step does */
        r->give_up_at = client->requests_due = 0;
        client->dirty = true;
        return;
    }
    struct buf *h = client_header(client);
    buf_pack_map(h, 1);
    buf_pack_str(h, "rid");
    buf_pack_uint(h, r->rid);
    client_send(client, "CANCEL", h, (struct ls_slice){0});
}

/* ---- answers ---- */

static void worker_error(struct mp header, struct ls_slice text, struct ls_error *err)
{
    uint64_t number = 500;
    wire_uint(header, "number", &number);
    *err = (struct ls_error){.name = "FAILED", .number = (int) number, .again = wire_bool(header, "again")};
    wire_copy(err->text, sizeof err->text, text);
}

void request_part(struct ls_client *client, const struct message *message)
{
    struct mp header = wire_map(message->header);
    struct ls_slice text;
    struct ls_error err;
    uint64_t rid = 0, n = 0;
    wire_uint(header, "rid", &rid);
    wire_uint(header, "n", &n);
    struct request *r = request_find(client, rid);
    if (!r)
        return; /* a part that crossed our giving up */
    if (wire_str(header, "error", &text)) {
        worker_error(header, text, &err);
        fail(client, r, &err);
        return;
    }
    const struct ls_part part = {.request = rid, .n = (uint32_t) n, .last = !wire_bool(header, "more"),
                                 .header = message->header, .body = message->body};
    ls_part_fn *fn = r->fn;
    void *arg = r->arg;
    if (part.last) {
        request_release(client, r);
    } else if (!r->manual_credit && ++r->handled >= (r->parts + 1) / 2) {
        ls_request_more(client, rid, r->handled);
        r->handled = 0;
    }
    fn(arg, &part);
}

bool request_err(struct ls_client *client, uint64_t rid, const struct ls_error *err)
{
    struct request *r = request_find(client, rid);
    if (r)
        fail(client, r, err);
    return rid > RID_BASE;
}

/* ---- sessions and time ---- */

void request_init(struct ls_client *client)
{
    for (size_t i = 0; i < REQUEST_BUCKETS; i++)
        LIST_INIT(&client->requests[i]);
    client->requests_due = INT64_MAX;
}

void request_ready(struct ls_client *client)
{
    struct request *r;
    for (size_t i = 0; i < REQUEST_BUCKETS; i++)
        LIST_FOREACH(r, &client->requests[i], link)
            if (!r->sent && !r->cancelled)
                request_send(client, r);
}

/* Says whether a request is over, and why. */
typedef bool doomed_fn(struct ls_client *client, struct request *r, struct ls_error *err);

/* Callbacks may open and cancel requests, so the doomed ones leave their lists before the first is called. */
static void fail_each(struct ls_client *client, doomed_fn *doomed)
{
    struct request_list failing = LIST_HEAD_INITIALIZER(failing);
    struct ls_error err;
    for (size_t i = 0; i < REQUEST_BUCKETS; i++) {
        for (struct request *r = LIST_FIRST(&client->requests[i]), *next; r; r = next) {
            next = LIST_NEXT(r, link);
            if (!doomed(client, r, &err))
                continue;
            LIST_REMOVE(r, link);
            LIST_INSERT_HEAD(&failing, r, link);
        }
    }
    while (!LIST_EMPTY(&failing)) {
        struct request *r = LIST_FIRST(&failing);
        doomed(client, r, &err);
        fail(client, r, &err);
    }
}

static bool was_sent(struct ls_client *client, struct request *r, struct ls_error *err)
{
    if (r->sent)
        error_set(err, "UNREACHABLE", "the connection to %s ended before the answer was complete", client->url);
    return r->sent;
}

void request_lost(struct ls_client *client)
{
    fail_each(client, was_sent);
}

static bool is_over(struct ls_client *client, struct request *r, struct ls_error *err)
{
    if (r->give_up_at > clock_mono_ms())
        return false;
    if (r->cancelled)
        error_set(err, "CANCELLED", "the request was cancelled before it was sent");
    else if (r->sent)
        error_set(err, "TIMEOUT", "no complete answer came from %s in time", client->url);
    else
        error_set(err, "UNREACHABLE", "no broker answers at %s; is it running? (lineshaft up TOPOLOGY)", client->url);
    return true;
}

void request_tick(struct ls_client *client, int64_t now)
{
    if (now < client->requests_due)
        return;
    fail_each(client, is_over);
    client->requests_due = INT64_MAX;
    const struct request *r;
    for (size_t i = 0; i < REQUEST_BUCKETS; i++)
        LIST_FOREACH(r, &client->requests[i], link)
            if (r->give_up_at < client->requests_due)
                client->requests_due = r->give_up_at;
}

int64_t request_due(const struct ls_client *client)
{
    return client->requests_due;
}

static bool any(struct ls_client *client, struct request *r, struct ls_error *err)
{
    (void) r;
    *err = client->why;
    return true;
}

void request_ended(struct ls_client *client)
{
    fail_each(client, any);
}

void request_free(struct ls_client *client)
{
    for (size_t i = 0; i < REQUEST_BUCKETS; i++)
        while (!LIST_EMPTY(&client->requests[i]))
            request_release(client, LIST_FIRST(&client->requests[i]));
}

/* ---- the whole answer at once ---- */

struct whole {
    struct buf answer;
    struct ls_error err;
    bool done;
};

static void add_part(void *arg, const struct ls_part *part)
{
    struct whole *whole = arg;
    if (part->err)
        whole->err = *part->err;
    buf_add(&whole->answer, part->body.data, part->body.len);
    whole->done = part->last;
}

static bool whole_done(struct ls_client *client, void *arg)
{
    (void) client;
    return ((const struct whole *) arg)->done;
}

int ls_request_wait(struct ls_client *client, const struct ls_event *request, int timeout_ms, char **answer,
                    size_t *len, struct ls_error *err)
{
    struct whole whole = {0};
    const struct ls_request_options options = {.timeout_ms = timeout_ms < 0 ? TIMEOUT_MAX_MS : timeout_ms};
    if (client_may_wait(client, err))
        return -1;
    uint64_t rid = ls_request(client, request, &options, add_part, &whole, err);
    if (!rid)
        return -1;
    int rc = client_until(client, whole_done, &whole, -1, "request", err); /* the request ends by itself */
    if (!rc && whole.err.name[0]) {
        rc = -1;
        if (err)
            *err = whole.err;
    }
    struct request *r = whole.done ? NULL : request_find(client, rid);
    if (r)
        request_release(client, r);
    if (rc) {
        buf_fini(&whole.answer);
        return -1;
    }
    buf_text(&whole.answer);
    *answer = (char *) whole.answer.data;
    *len = whole.answer.len;
    return 0;
}
