/* SPDX-License-Identifier: Apache-2.0 */
/* Answering: requests in this worker's hands, their parts, credit, cancelling. Source: docs/protocol.md, "Requests". */
#include <stdlib.h>

#include "lib/client.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/topic.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define PART_BYTES_MAX (1u << 20)

uint32_t ls_serve(struct ls_client *client, const struct ls_service *service, struct ls_error *err)
{
    const char *const *topics = service->topics;
    if (!topics || !topics[0] || !service->request) {
        error_set(err, "USAGE", "a service needs at least one pattern in `topics`, and `request`");
        return 0;
    }
    for (const char *const *pattern = topics; *pattern; pattern++)
        if (!topic_pattern_valid(*pattern, strlen(*pattern))) {
            error_set(err, "BAD_TOPIC", "\"%.210s\" is no topic pattern", *pattern);
            return 0;
        }
    if (service->about.len && client_check_map(service->about, ABOUT_BYTES_MAX, "`about` of a service", err))
        return 0;
    struct subscription *sub = subscription_new(client, true);
    sub->callbacks = *service;
    sub->callbacks.topics = NULL;
    sub->callbacks.about = (struct ls_slice){0};
    sub->slots = service->slots ? service->slots : 1;
    buf_add(&sub->about, service->about.data, service->about.len);
    pack_patterns(&sub->request, "serves", topics);
    sub->request_pairs = 1;
    subscription_send(client, sub);
    return sub->cid;
}

int ls_service_update(struct ls_client *client, uint32_t subscription, uint32_t slots, struct ls_slice about,
                      struct ls_error *err)
{
    struct subscription *sub = subscription_find(client, subscription);
    if (!sub || !sub->service)
        return error_set(err, "NOT_FOUND", "there is no service %u", subscription);
    if (about.len && client_check_map(about, ABOUT_BYTES_MAX, "`about` of a service", err))
        return -1;
    sub->slots = slots;
    if (about.len) {
        buf_clear(&sub->about);
        buf_add(&sub->about, about.data, about.len);
    }
    subscription_send(client, sub);
    return 0;
}

/* ---- what the broker sends ---- */

static struct work *work_find(struct ls_client *client, const struct message *message)
{
    uint64_t rid = 0;
    struct work *w;
    wire_uint(wire_map(message->header), "rid", &rid);
    LIST_FOREACH(w, &client->works, link)
        if (w->rid == rid)
            return w;
    return NULL;
}

static void work_free(struct work *w)
{
    LIST_REMOVE(w, link);
    w->client->counters.calls--;
    free(w);
}

static void cancel(struct work *w, const char *reason)
{
    const struct ls_service *service = &w->service->callbacks;
    if (service->cancelled)
        service->cancelled(service->arg, &w->call, reason);
    work_free(w);
}

void serve_request(struct ls_client *client, const struct message *message)
{
    struct mp header = wire_map(message->header);
    uint64_t cid = 0, rid = 0, timeout = 0, parts = 0;
    wire_uint(header, "cid", &cid);
    wire_uint(header, "rid", &rid);
    wire_uint(header, "timeout", &timeout);
    wire_uint(header, "parts", &parts);
    struct subscription *sub = subscription_find(client, cid);
    if (!sub || !sub->service)
        return; /* it crossed our BYE: the broker gives it to another */
    struct work *w = xcalloc(1, sizeof *w);
    w->client = client;
    w->service = sub;
    w->rid = rid;
    w->call.credit = parts > UINT32_MAX ? UINT32_MAX : (uint32_t) parts;
    w->call.timeout_ms = (int64_t) timeout;
    LIST_INSERT_HEAD(&client->works, w, link);
    client->counters.calls++;
    struct ls_event event;
    event_read(&event, message->header, message->body);
    event.subscription = sub->cid;
    sub->callbacks.request(sub->callbacks.arg, &w->call, &event);
    client_breathe(client);
}

void serve_more(struct ls_client *client, const struct message *message)
{
    uint64_t parts = 0;
    struct work *w = work_find(client, message);
    if (!w || !wire_uint(wire_map(message->header), "parts", &parts) || !parts)
        return;
    const struct ls_service *service = &w->service->callbacks;
    bool was_empty = !w->call.credit;
    uint64_t credit = w->call.credit + parts;
    w->call.credit = credit > UINT32_MAX ? UINT32_MAX : (uint32_t) credit;
    if (was_empty && service->credit)
        service->credit(service->arg, &w->call);
}

void serve_cancel(struct ls_client *client, const struct message *message)
{
    struct ls_slice reason = {0};
    char text[32];
    struct work *w = work_find(client, message);
    if (!w)
        return;
    wire_str(wire_map(message->header), "reason", &reason);
    wire_copy(text, sizeof text, reason);
    cancel(w, text);
}

void serve_err(struct ls_client *client, uint64_t rid, const struct ls_error *err)
{
    struct work *w;
    LIST_FOREACH(w, &client->works, link)
        if (w->rid == rid)
            break;
    if (w)
        cancel(w, err->name);
}

void serve_lost(struct ls_client *client)
{
    while (!LIST_EMPTY(&client->works))
        cancel(LIST_FIRST(&client->works), "lost");
}

void serve_ended(struct ls_client *client, const struct subscription *sub)
{
    for (struct work *w = LIST_FIRST(&client->works); w;) {
        bool its = w->service == sub;
        struct work *next = its ? NULL : LIST_NEXT(w, link);
        if (its)
            cancel(w, "gone"); /* its callback may have ended others: begin again */
        w = its ? LIST_FIRST(&client->works) : next;
    }
}

void serve_free(struct ls_client *client)
{
    while (!LIST_EMPTY(&client->works))
        work_free(LIST_FIRST(&client->works));
}

/* ---- replies ---- */

static struct work *work_of(struct ls_call *call)
{
    return (struct work *) (void *) call;
}

static struct buf *begin_reply(struct work *w, uint32_t further_pairs)
{
    struct buf *h = client_header(w->client);
    buf_pack_map(h, 2 + further_pairs);
    buf_pack_str(h, "rid");
    buf_pack_uint(h, w->rid);
    buf_pack_str(h, "n");
    buf_pack_uint(h, w->n++);
    return h;
}

int ls_reply(struct ls_call *call, struct ls_slice body, struct ls_slice more, bool last, struct ls_error *err)
{
    struct work *w = work_of(call);
    struct ls_client *client = w->client;
    uint64_t body_max = client->server.body_max < PART_BYTES_MAX ? client->server.body_max : PART_BYTES_MAX;
    struct ls_slice rest;
    uint32_t pairs;
    if (body.len > body_max)
        return error_set(err, "TOO_BIG", "a part of %zu bytes; the broker takes %llu", body.len,
                         (unsigned long long) body_max);
    if (!wire_map_pairs(more, &pairs, &rest))
        return error_set(err, "BAD_VALUE", "`more` of a part must be one msgpack map");
    if (!call->credit)
        return error_set(err, "BUSY", "the requester gave no credit for a further part: wait for it");
    call->credit--;
    struct buf *h = begin_reply(w, pairs + !last);
    if (!last) {
        buf_pack_str(h, "more");
        buf_pack_bool(h, true);
    }
    buf_add(h, rest.data, rest.len);
    client_send(client, "REP", h, body);
    if (last)
        work_free(w);
    return 0;
}

void ls_reply_error(struct ls_call *call, const struct ls_error *why)
{
    struct work *w = work_of(call);
    struct buf *h = begin_reply(w, 3);
    buf_pack_str(h, "error");
    buf_pack_str(h, why->text[0] ? why->text : why->name);
    buf_pack_str(h, "number");
    buf_pack_int(h, why->number ? why->number : 500);
    buf_pack_str(h, "again");
    buf_pack_bool(h, why->again);
    client_send(w->client, "REP", h, (struct ls_slice){0});
    work_free(w);
}
