/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that wait for one tagged answer: a single publish, reading the log, administration. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/event.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define PAGE_EVENTS_MAX 1000
#define PAGE_EVENTS_DEFAULT 100

/* ---- the waiting call ---- */

static void send_waiting(struct ls_client *client)
{
    struct waiting *w = client->waiting;
    w->sent = client_send(client, w->verb, &w->header, ls_bytes(w->body.data, w->body.len));
}

void wait_ready(struct ls_client *client)
{
    if (client->waiting && !client->waiting->done)
        send_waiting(client);
}

void wait_lost(struct ls_client *client)
{
    struct waiting *w = client->waiting;
    if (!w || w->done || !w->sent || w->repeat)
        return;
    error_set(&w->err, "UNREACHABLE", "lost the connection to %s before the answer came", client->url);
    w->done = true;
}

static bool wait_event(void *arg, const struct ls_event *event)
{
    struct waiting *w = arg;
    struct ls_error err = {0};
    w->events++;
    w->fn(w->arg, event, &err);
    return true;
}

bool wait_answer(struct ls_client *client, uint64_t tag, const struct message *message)
{
    struct waiting *w = client->waiting;
    if (!w || w->done || w->tag != tag)
        return false;
    if (ls_slice_is(message->verb, "MSG")) {
        deliver_message(message, wait_event, w);
        return true;
    }
    if (ls_slice_is(message->verb, "ERR"))
        wire_error(wire_map(message->header), &w->err);
    buf_add(&w->reply, message->header.data, message->header.len);
    w->done = true;
    return true;
}

static bool waiting_done(struct ls_client *client, void *arg)
{
    (void) arg;
    return client->waiting->done;
}

static void waiting_fini(struct waiting *w)
{
    buf_fini(&w->header);
    buf_fini(&w->body);
    buf_fini(&w->reply);
}

/* Sends what `w` holds, whose header is `pairs` pairs without head and tag, and steps until it is answered. */
static int ask(struct ls_client *client, struct waiting *w, uint32_t pairs, int timeout_ms, struct ls_error *err)
{
    struct buf header = {0};
    w->tag = ++client->last_tag;
    buf_pack_map(&header, pairs + 1);
    buf_pack_str(&header, "tag");
    buf_pack_uint(&header, w->tag);
    buf_add(&header, w->header.data, w->header.len);
    buf_fini(&w->header);
    w->header = header;
    client->waiting = w;
    if (client->phase == CLIENT_READY)
        send_waiting(client);
    int rc = client_until(client, waiting_done, NULL, timeout_ms, w->verb, err);
    client->waiting = NULL;
    if (!rc && w->err.name[0]) {
        rc = -1;
        if (err)
            *err = w->err;
    }
    return rc;
}

/* ---- one event ---- */

/* The slices of `published` move into the client, where they live until the next call. */
static void keep_result(struct ls_client *client, struct ls_published *published)
{
    struct ls_slice *slices[] = {&published->topic, &published->id, &published->level, &published->stream};
    size_t at = 0;
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
        size_t len = slices[i]->len < sizeof client->result - at ? slices[i]->len : sizeof client->result - at;
        if (len)
            memcpy(client->result + at, slices[i]->data, len);
        *slices[i] = ls_bytes(client->result + at, len);
        at += len;
    }
}

static int check_size(const struct ls_client *client, const struct waiting *w, struct ls_error *err)
{
    if (w->header.len + 32 > client->server.header_max || w->body.len > client->server.body_max)
        return error_set(err, "TOO_BIG", "header %zu and body %zu bytes; the broker takes %llu and %llu", w->header.len,
                         w->body.len, (unsigned long long) client->server.header_max,
                         (unsigned long long) client->server.body_max);
    return 0;
}

int ls_publish_wait(struct ls_client *client, const struct ls_event *event, int timeout_ms, struct ls_published *result,
                    struct ls_error *err)
{
    struct waiting w = {.verb = "PUB", .repeat = true};
    struct ls_published published = {.topic = event->topic, .id = event->id};
    struct ls_event filled = *event;
    char id[LS_ID_SIZE];
    uint32_t pairs;
    if (!event->id.len) {
        ls_id(id);
        filled.id = ls_str(id);
    }
    if (client_may_wait(client, err))
        return -1;
    if (client->phase == CLIENT_READY)
        publish_tick(client, clock_mono_ms()); /* what was published before goes first */
    buf_add(&w.body, event->body.data, event->body.len);
    int rc = event_pack(&w.header, &filled, &pairs, err) || check_size(client, &w, err)
                 ? -1
                 : ask(client, &w, pairs, timeout_ms, err);
    if (!rc && result) {
        struct mp reply = mp_over(w.reply.data, w.reply.len);
        published.id = filled.id;
        wire_str(reply, "level", &published.level);
        wire_str(reply, "stream", &published.stream);
        wire_uint(reply, "seq", &published.seq);
        published.dup = wire_bool(reply, "dup");
        keep_result(client, &published);
        *result = published;
    }
    waiting_fini(&w);
    return rc;
}

/* ---- reading the log ---- */

static uint32_t pack_range(struct buf *b, const struct ls_range *range, uint32_t count)
{
    static const struct ls_from FIRST = {LS_FROM_SEQ, 1};
    const struct ls_from *from = range->from.kind == LS_FROM_DEFAULT ? &FIRST : &range->from;
    buf_pack_str(b, "stream");
    buf_pack_str(b, range->stream);
    buf_pack_str(b, "batch");
    buf_pack_bool(b, true);
    buf_pack_str(b, "n");
    buf_pack_uint(b, count);
    buf_pack_str(b, "from");
    if (from->kind == LS_FROM_SEQ)
        buf_pack_uint(b, from->value); /* GET takes a bare number where SUB takes {seq} */
    else
        pack_from(b, from);
    if (range->topics)
        pack_patterns(b, "topics", range->topics);
    return range->topics ? 5 : 4;
}

static int check_range(const struct ls_range *range, struct ls_error *err)
{
    if (!range->stream)
        return error_set(err, "USAGE", "reading the log needs the name of a stream");
    if (range->from.kind == LS_FROM_NEW || range->from.kind == LS_FROM_ALL)
        return error_set(err, "USAGE", "a range begins at a sequence number, a time, or the last so many events");
    return 0;
}

static int get_page(struct ls_client *client, const struct ls_range *range, struct waiting *w, struct ls_page *page,
                    int timeout_ms, struct ls_error *err)
{
    uint32_t count = range->count ? range->count : PAGE_EVENTS_DEFAULT;
    uint32_t pairs = pack_range(&w->header, range, count < PAGE_EVENTS_MAX ? count : PAGE_EVENTS_MAX);
    w->verb = "GET";
    if (ask(client, w, pairs, timeout_ms, err))
        return -1;
    struct mp reply = mp_over(w->reply.data, w->reply.len);
    *page = (struct ls_page){0};
    wire_uint(reply, "next", &page->next);
    wire_uint(reply, "first", &page->first);
    wire_uint(reply, "last", &page->last);
    return 0;
}

int ls_get_wait(struct ls_client *client, const struct ls_range *range, ls_event_fn *fn, void *arg,
                struct ls_page *page, int timeout_ms, struct ls_error *err)
{
    struct waiting w = {.fn = fn, .arg = arg};
    struct ls_page got;
    if (client_may_wait(client, err) || check_range(range, err))
        return -1;
    int rc = get_page(client, range, &w, &got, timeout_ms, err);
    waiting_fini(&w);
    if (!rc && page)
        *page = got;
    return rc;
}

int64_t ls_read_wait(struct ls_client *client, const struct ls_range *range, ls_event_fn *fn, void *arg, int timeout_ms,
                     struct ls_error *err)
{
    struct ls_range rest = *range;
    struct ls_page page;
    int64_t total = 0;
    if (client_may_wait(client, err) || check_range(range, err))
        return -1;
    do {
        struct waiting w = {.fn = fn, .arg = arg};
        rest.count = range->count ? range->count - (uint32_t) total : PAGE_EVENTS_MAX;
        int rc = get_page(client, &rest, &w, &page, timeout_ms, err);
        waiting_fini(&w);
        if (rc)
            return -1;
        total += w.events;
        rest.from = (struct ls_from){LS_FROM_SEQ, page.next};
    } while (page.next <= page.last && (!range->count || total < range->count));
    return total;
}

/* ---- administration ---- */

int ls_adm_wait(struct ls_client *client, struct ls_slice request, int timeout_ms, char **reply, size_t *len,
                struct ls_error *err)
{
    struct waiting w = {.verb = "ADM"};
    struct ls_slice rest;
    uint32_t pairs;
    if (client_may_wait(client, err))
        return -1;
    if (!request.len || !wire_map_pairs(request, &pairs, &rest))
        return error_set(err, "USAGE", "an ADM request must be one msgpack map with `op`");
    buf_add(&w.header, rest.data, rest.len);
    int rc = ask(client, &w, pairs, timeout_ms, err);
    if (!rc) {
        *len = w.reply.len;
        *reply = xcalloc(1, w.reply.len + 1);
        memcpy(*reply, w.reply.data, w.reply.len);
    }
    waiting_fini(&w);
    return rc;
}
