/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing: PUB, bare event maps, [topic][body], batches, and the broker's own events. An event is checked, found new,
 * appended to its stream's log, and answered when the log has committed it (acks.c). */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define BUSY_RETRY_MS 20
#define REJECTED_PER_SECOND 100
#define WHOLE UINT64_MAX /* instead of an index: the whole batch */

struct refusal {
    struct ls_error err;
    char path[256]; /* SCHEMA */
};

/* What became of an event. */
struct placed {
    struct route *route;
    struct stream *stream; /* NULL: live only */
    bool dup;
    uint64_t seq; /* 0 when live only */
};

static int check_event(struct broker *b, const struct header *h, size_t header_len, struct mp_slice body,
                       struct placed *placed, struct refusal *no)
{
    const struct broker_config *c = b->config;
    if (!h->topic.len)
        return error_set(&no->err, "BAD_VALUE", "the event has no topic");
    if (h->topic.data[0] == '$')
        return error_set(&no->err, "DENIED", "topics that begin with $ belong to the broker");
    struct route *route = route_find(b, h->topic);
    if (!route)
        return error_set(&no->err, "BAD_TOPIC",
                         "\"%.*s\" is not a topic: lower-case words of a-z 0-9 _ - joined by dots, at most %d bytes",
                         (int) (h->topic.len < 80 ? h->topic.len : 80), h->topic.data, TOPIC_LEN_MAX);
    if (header_len > c->header_bytes_max)
        return error_set(&no->err, "TOO_BIG", "the header is %zu bytes long; broker.header_max is %u", header_len,
                         c->header_bytes_max);
    if (body.len > c->body_bytes_max)
        return error_set(
            &no->err, "TOO_BIG",
            "the body is %zu bytes long; broker.body_max is %u (larger things belong in a store, with dataref)",
            body.len, c->body_bytes_max);
    placed->route = route;
    placed->stream = route->stream;
    if (route->schema && schema_check(route->schema, body.data, body.len, no->path, sizeof no->path, &no->err) < 0)
        return -1;
    return 0;
}

static int check_room(struct broker *b, const struct session *s, size_t bytes, struct ls_error *err)
{
    if (b->draining && s) /* what comes by PUSH and PUB could not be told: it is still taken */
        return error_set(err, "DRAINING", "the broker is stopping");
    bool own = s && s->pending_bytes + bytes > b->config->connection_bytes_max;
    if (!own && b->memory + bytes <= b->config->memory_bytes_max)
        return 0;
    error_set(err, "BUSY",
              own ? "this connection has too much that is not yet on disk" : "the broker's memory is full");
    err->retry_ms = BUSY_RETRY_MS;
    return -1;
}

static void append_failed(struct ls_error *err)
{
    if (err->again && !err->retry_ms)
        err->retry_ms = err->number == 429 ? BUSY_RETRY_MS : 500;
}

/* Appends one event whose header is complete. */
static uint64_t append_single(struct stream *s, int64_t now_us, struct mp_slice header, struct mp_slice body,
                              struct ls_error *err)
{
    uint32_t lens[2] = {__builtin_bswap32((uint32_t) header.len), __builtin_bswap32((uint32_t) body.len)};
    struct log_part parts[] = {{lens, sizeof lens}, {header.data, header.len}, {body.data, body.len}};
    uint64_t seq = log_append(s->log, 0, 1, now_us, parts, 3, err);
    if (seq)
        s->published++;
    else
        append_failed(err);
    return seq;
}

static struct mp_slice event_source(const struct header *h, const struct session *s)
{
    const char *name = session_source(s);
    return h->source.len ? h->source : (struct mp_slice){name, strlen(name)};
}

/* One event on its way into the log, or to those who listen now. `id` is its id, own or given. */
static int place_event(struct broker *b, struct session *s, const struct header *h, struct mp_slice body,
                       struct mp_slice id, struct placed *placed, struct ls_error *err)
{
    struct stream *stream = placed->stream;
    struct mp_slice source = event_source(h, s);
    struct dedup_key key = {0};
    if (stream && check_room(b, s, body.len, err) < 0)
        return -1;
    if (stream && h->id.len)
        key = dedup_prepare(&stream->dedup, source, id);
    buf_clear(&b->scratch2);
    header_write(&b->scratch2, h, id, source, (struct mp_slice){b->now_text, CLOCK_TEXT_SIZE - 1});
    struct mp_slice header = {(const char *) b->scratch2.data, b->scratch2.len};
    if (!stream) {
        route_count(placed->route, s, header.len + body.len, b->now_us);
        live_event(b, h->topic, header, body, b->now_us);
        return 0;
    }
    placed->seq = h->id.len ? dedup_add_key(&stream->dedup, key, log_next_seq(stream->log), b->now_us) : 0;
    if (placed->seq) {
        placed->dup = true;
        stream->duplicates++;
        b->counters[C_DUPLICATES]++;
        return 0;
    }
    placed->seq = append_single(stream, b->now_us, header, body, err);
    if (!placed->seq) {
        dedup_forget_from(&stream->dedup, log_next_seq(stream->log));
        return -1;
    }
    route_count(placed->route, s, header.len + body.len, b->now_us);
    b->counters[C_EVENTS_STORED]++;
    return 0;
}

/* ---- answers ---- */

static uint32_t pack_about(struct buf *out, const struct header *h, const struct refusal *no, uint64_t n,
                           uint64_t index, uint64_t count)
{
    uint32_t pairs = 0;
    if (h->has_n)
        pairs += pack_numbers(out, n, count);
    else if (h->has_batch && index != WHOLE) {
        buf_pair_uint(out, "index", index);
        pairs++;
    }
    if (!h->has_n && !h->has_batch && h->id.len) {
        buf_pair_strn(out, "id", h->id.data, h->id.len);
        pairs++;
    }
    if (h->has_tag) {
        buf_pack_str(out, "tag");
        buf_add(out, h->tag.data, h->tag.len);
        pairs++;
    }
    if (no->path[0] || !strcmp(no->err.name, "SCHEMA")) {
        buf_pair_str(out, "path", no->path);
        pairs++;
    }
    return pairs;
}

/* Answers with ERR, or where nothing can be answered, records the refusal. */
static void refuse(struct broker *b, struct message *m, const struct header *h, const struct refusal *no,
                   uint64_t index, uint64_t count)
{
    if (!m->session) {
        publish_rejected(b, m, &no->err);
        return;
    }
    struct buf about = {0};
    uint32_t pairs = pack_about(&about, h, no, h->n + (index == WHOLE ? 0 : index), index, count);
    if (!strcmp(no->err.name, "BUSY"))
        b->counters[C_BUSY]++;
    reply_error(m->session, &no->err, &about, pairs);
    buf_fini(&about);
}

static void pack_level(struct buf *out, const struct stream *stream)
{
    buf_pair_str(out, "level", !stream ? "none" : stream->config->memory ? "memory" : "disk");
}

static void pack_place(struct buf *out, const struct stream *stream, uint64_t seq)
{
    buf_pair_str(out, "stream", stream->config->name);
    buf_pair_uint(out, "seq", seq);
}

static void answer_single(struct session *s, const struct header *h, struct mp_slice id, const struct placed *placed,
                          size_t bytes)
{
    struct stream *stream = placed->stream;
    if (h->has_n) {
        acks_numbered(s, stream, placed->seq, 1, h->n, placed->dup, bytes);
        return;
    }
    struct buf reply = {0};
    buf_pack_map(&reply, 2 + (stream ? 2 : 0) + placed->dup + h->has_tag);
    buf_pair_strn(&reply, "id", id.data, id.len);
    if (stream)
        pack_place(&reply, stream, placed->seq);
    pack_level(&reply, stream);
    if (placed->dup) {
        buf_pair_bool(&reply, "dup", true);
    }
    if (h->has_tag) {
        buf_pack_str(&reply, "tag");
        buf_add(&reply, h->tag.data, h->tag.len);
    }
    acks_single(s, stream, placed->seq, placed->seq, &reply, bytes);
}

/* ---- one event ---- */

static void publish_one(struct broker *b, struct message *m, const struct header *h, size_t header_len,
                        struct mp_slice body)
{
    struct refusal no = {0};
    struct placed placed = {0};
    char uuid[UUID_TEXT_SIZE];
    struct mp_slice id = h->id;
    b->counters[C_EVENTS_IN]++;
    if (!id.len) {
        uuid7(b->now_us, uuid);
        id = (struct mp_slice){uuid, UUID_TEXT_SIZE - 1};
    }
    if (check_event(b, h, header_len, body, &placed, &no) < 0 ||
        place_event(b, m->session, h, body, id, &placed, &no.err) < 0) {
        refuse(b, m, h, &no, 0, 1);
        return;
    }
    if (m->session)
        answer_single(m->session, h, id, &placed, body.len);
}

/* The counter counts the events of one connection without gaps. ZeroMQ sockets reconnect by themselves: a publisher that has not
 * noticed would go on with a higher number, and "all up to n" would acknowledge what the old connection lost. */
static int take_number(struct session *s, const struct header *h, uint64_t count, struct ls_error *err)
{
    if (!s || !h->has_n)
        return 0;
    if (h->n <= s->last_n || h->n + count - 1 < h->n)
        return error_set(err, "BAD_VALUE", "\"n\" is %llu, but %llu was already used on this connection: it must grow",
                         (unsigned long long) h->n, (unsigned long long) s->last_n);
    if (h->n != s->last_n + 1)
        return error_set(err, "NO_SESSION",
                         "\"n\" is %llu where %llu was expected: the connection was replaced on the way; connect anew, "
                         "count from 1, and resend what is unacknowledged",
                         (unsigned long long) h->n, (unsigned long long) s->last_n + 1);
    s->last_n = h->n + count - 1;
    return 0;
}

static void publish_batch(struct broker *b, struct message *m, const struct header *h);

static void publish_header(struct broker *b, struct message *m, struct mp_slice map, bool bare)
{
    struct header h;
    struct refusal no = {0};
    bool readable = header_read(map, bare, &h, &no.err) == 0;
    struct ls_error number_err;
    if (!readable)
        header_read_control(map, &h); /* its number is used up all the same, and the ERR names it */
    bool numbered = take_number(m->session, &h, h.has_batch ? h.batch : 1, &number_err) == 0;
    if (!readable || !numbered) {
        if (readable)
            no.err = number_err;
        refuse(b, m, &h, &no, h.has_batch ? WHOLE : 0, h.has_batch ? h.batch : 1);
        return;
    }
    if (h.has_batch) {
        publish_batch(b, m, &h);
        return;
    }
    struct mp_slice body = message_part(m, 2);
    if (bare) {
        struct mp r = mp_over(h.data.data, h.data.len);
        body = h.data;
        if (mp_peek(&r) == MP_BIN)
            mp_str(&r, &body);
    }
    publish_one(b, m, &h, map.len - (bare ? h.data.len : 0), body);
}

void on_publish(struct broker *b, struct message *m)
{
    publish_header(b, m, message_part(m, 1), false);
}

void publish_bare(struct broker *b, struct message *m)
{
    publish_header(b, m, message_part(m, 0), true);
}

void publish_topic(struct broker *b, struct message *m)
{
    struct mp_slice topic = message_part(m, 0);
    struct buf map = {0};
    struct header h;
    struct refusal no = {0};
    buf_pack_map(&map, 1);
    buf_pair_strn(&map, "topic", topic.data, topic.len < 4096 ? topic.len : 4096);
    if (header_read((struct mp_slice){(const char *) map.data, map.len}, false, &h, &no.err) < 0)
        refuse(b, m, &h, &no, 0, 1);
    else
        publish_one(b, m, &h, map.len, message_part(m, 1));
    buf_fini(&map);
}

/* ---- batches ---- */

struct item { /* one event of a batch */
    struct header h;
    struct mp_slice header, body;
    struct placed placed;
    bool refused;
};

static int batch_read(const struct header *h, struct mp_slice packed, struct item *items, struct ls_error *err)
{
    for (uint64_t i = 0; i < h->batch; i++) {
        if (!unpack_event(&packed, &items[i].header, &items[i].body))
            return error_set(err, "BAD_FRAME", "event %llu of the batch is cut off: the lengths do not fit",
                             (unsigned long long) i);
    }
    if (packed.len)
        return error_set(err, "BAD_FRAME", "%zu bytes are left behind the last event of the batch", packed.len);
    return 0;
}

static int item_check(struct broker *b, struct item *item, struct refusal *no)
{
    if (header_read(item->header, false, &item->h, &no->err) < 0)
        return -1;
    if (item->h.control)
        return error_set(&no->err, "BAD_VALUE",
                         "\"n\", \"tag\" and \"batch\" belong in the batch's own header, not in its events");
    if (!item->h.id.len)
        return error_set(&no->err, "BAD_VALUE", "an event in a batch must bring its own \"id\"");
    return check_event(b, &item->h, item->header.len, item->body, &item->placed, no);
}

/* Looks for the event in its stream's window. Its number will be the next one after the events of that stream that stand before
 * it in this batch. */
static void item_dedup(struct broker *b, struct session *s, struct item *item)
{
    struct stream *stream = item->placed.stream;
    if (!stream)
        return;
    uint64_t seq = log_next_seq(stream->log) + stream->batch_taken;
    item->placed.seq = dedup_add(&stream->dedup, event_source(&item->h, s), item->h.id, seq, b->now_us);
    item->placed.dup = item->placed.seq != 0;
    if (item->placed.dup) {
        stream->duplicates++;
        b->counters[C_DUPLICATES]++;
    } else {
        item->placed.seq = seq;
        stream->batch_taken++;
    }
}

static bool item_goes_to(const struct item *item, const struct stream *stream)
{
    return !item->refused && !item->placed.dup && item->placed.stream == stream;
}

/* Appends the batch's events of one stream as one entry; `whole` is the packed frame if all of it goes there. */
static int append_batch(struct broker *b, struct session *s, struct stream *stream, struct item *items, uint64_t count,
                        struct mp_slice whole, struct ls_error *err)
{
    struct mp_slice packed = whole;
    uint32_t stored = 0;
    buf_clear(&b->scratch2);
    for (uint64_t i = 0; i < count; i++)
        if (item_goes_to(&items[i], stream)) {
            stored++;
            if (!whole.len)
                pack_event(&b->scratch2, items[i].header, items[i].body);
        }
    if (!whole.len)
        packed = (struct mp_slice){(const char *) b->scratch2.data, b->scratch2.len};
    const char *source = session_source(s);
    uint8_t source_len = (uint8_t) strlen(source);
    struct log_part parts[] = {{&source_len, 1}, {source, source_len}, {packed.data, packed.len}};
    uint64_t next = log_next_seq(stream->log);
    if (check_room(b, s, packed.len, err) == 0 &&
        log_append(stream->log, ENTRY_BATCH, stored, b->now_us, parts, 3, err)) {
        stream->published += stored;
        b->counters[C_EVENTS_STORED] += stored;
        return 0;
    }
    append_failed(err);
    dedup_forget_from(&stream->dedup, next);
    return -1;
}

/* What no stream keeps goes out at once: one by one, and in runs of one topic on the batched feed. */
static void live_batch(struct broker *b, struct session *s, struct item *items, uint64_t count)
{
    const char *source = session_source(s);
    for (uint64_t i = 0; i < count; i++) {
        const struct item *item = &items[i];
        if (!item_goes_to(item, NULL))
            continue;
        struct stored event = {.ts_us = b->now_us,
                               .batch = true,
                               .source = {source, strlen(source)},
                               .header = item->header,
                               .body = item->body,
                               .packed = {item->header.data - 8, 8 + item->header.len + item->body.len}};
        live_add(b, item->h.topic, &event);
    }
    live_flush(b);
}

/* A duplicate of an event of this very batch that was not stored after all. */
static bool repeats_refused(const struct item *item, const struct stream *stream)
{
    return !item->refused && item->placed.dup && item->placed.stream == stream &&
           item->placed.seq >= log_next_seq(stream->log);
}

/* Appends all that the batch holds, stream by stream. What a stream refuses is refused event by event. */
static void batch_store(struct broker *b, struct message *m, const struct header *h, struct item *items, bool uniform)
{
    for (size_t i = 0; i < b->stream_count; i++) {
        struct stream *stream = &b->streams[i];
        struct refusal no = {0};
        bool any = false;
        for (uint64_t k = 0; k < h->batch && !any; k++)
            any = item_goes_to(&items[k], stream);
        if (!any || append_batch(b, m->session, stream, items, h->batch,
                                 uniform ? message_part(m, 2) : (struct mp_slice){0}, &no.err) == 0)
            continue;
        for (uint64_t k = 0; k < h->batch; k++)
            if (item_goes_to(&items[k], stream) || repeats_refused(&items[k], stream)) {
                items[k].refused = true;
                refuse(b, m, h, &no, k, 1);
            }
    }
    live_batch(b, m->session, items, h->batch);
    for (uint64_t k = 0; k < h->batch; k++)
        if (!items[k].refused && !items[k].placed.dup)
            route_count(items[k].placed.route, m->session, items[k].header.len + items[k].body.len, b->now_us);
}

static void answer_batch_numbered(struct session *s, const struct header *h, const struct item *items)
{
    for (uint64_t i = 0; i < h->batch; i++)
        if (!items[i].refused)
            acks_numbered(s, items[i].placed.stream, items[i].placed.seq, 1, h->n + i, items[i].placed.dup,
                          items[i].header.len + items[i].body.len);
}

static void answer_batch_single(struct session *s, const struct header *h, const struct item *items)
{
    const struct item *first = NULL;
    uint64_t dups = 0, refused = 0;
    struct stream *lowest = NULL;
    bool any = false;
    for (uint64_t i = 0; i < h->batch; i++) {
        const struct placed *p = &items[i].placed;
        refused += items[i].refused;
        if (items[i].refused)
            continue;
        dups += p->dup;
        if (p->seq && !p->dup && !first)
            first = &items[i];
        if (!any || !p->stream || (lowest && p->stream->config->memory))
            lowest = p->stream;
        any = true;
        struct buf wait = {0};
        if (p->seq)
            acks_single(s, p->stream, p->seq, p->seq, &wait, items[i].header.len + items[i].body.len);
    }
    struct buf reply = {0};
    buf_pack_map(&reply, 2 + (first ? 2 : 0) + (dups > 0) + (refused > 0) + h->has_tag);
    buf_pair_uint(&reply, "count", h->batch);
    pack_level(&reply, any ? lowest : NULL);
    if (first)
        pack_place(&reply, first->placed.stream, first->placed.seq);
    if (dups) {
        buf_pair_uint(&reply, "dup", dups);
    }
    if (refused) {
        buf_pair_uint(&reply, "refused", refused);
    }
    if (h->has_tag) {
        buf_pack_str(&reply, "tag");
        buf_add(&reply, h->tag.data, h->tag.len);
    }
    acks_single(s, NULL, 0, 0, &reply, 0);
}

static bool batch_check(struct broker *b, struct message *m, const struct header *h, struct item *items)
{
    bool uniform = true;
    for (size_t i = 0; i < b->stream_count; i++)
        b->streams[i].batch_taken = 0;
    for (uint64_t i = 0; i < h->batch; i++) {
        struct refusal no = {0};
        struct item *item = &items[i];
        if (item_check(b, item, &no) < 0) {
            item->refused = true;
            uniform = false;
            refuse(b, m, h, &no, i, 1);
            continue;
        }
        struct stream *stream = item->placed.stream;
        item_dedup(b, m->session, item);
        uniform = uniform && !item->placed.dup && stream && stream == items[0].placed.stream;
    }
    return uniform;
}

static void publish_batch(struct broker *b, struct message *m, const struct header *h)
{
    struct mp_slice packed = message_part(m, 2);
    struct refusal no = {0};
    struct item *items = NULL;
    b->counters[C_EVENTS_IN] += h->batch;
    if (h->batch > b->config->batch_count_max || packed.len > b->batch_bytes_max)
        error_set(&no.err, "TOO_BIG",
                  "the batch has %llu events and %zu bytes; %u events (broker.batch_count_max) and %u bytes "
                  "(broker.batch_max, or a segment) are allowed",
                  (unsigned long long) h->batch, packed.len, b->config->batch_count_max, b->batch_bytes_max);
    else
        items = xcalloc(h->batch, sizeof *items);
    if (!items || batch_read(h, packed, items, &no.err) < 0) {
        refuse(b, m, h, &no, WHOLE, h->batch);
        free(items);
        return;
    }
    bool uniform = batch_check(b, m, h, items);
    batch_store(b, m, h, items, uniform);
    if (m->session && !m->session->gone) {
        if (h->has_n)
            answer_batch_numbered(m->session, h, items);
        else
            answer_batch_single(m->session, h, items);
    }
    free(items);
}

/* ---- the broker's own events ---- */

void pack_own_header(struct broker *b, struct buf *out, const char *topic)
{
    char id[UUID_TEXT_SIZE];
    uuid7(b->now_us, id);
    buf_pack_map(out, 4);
    buf_pair_str(out, "topic", topic);
    buf_pair_str(out, "id", id);
    buf_pair_str(out, "source", "lineshaft");
    buf_pair_str(out, "time", b->now_text);
}

uint64_t publish_internal(struct broker *b, const char *topic, struct mp_slice header, struct mp_slice body,
                          struct ls_error *err)
{
    struct route *route = route_find(b, (struct mp_slice){topic, strlen(topic)});
    uint64_t seq = 0;
    if (!route->stream)
        live_event(b, (struct mp_slice){topic, strlen(topic)}, header, body, b->now_us);
    else if (!(seq = append_single(route->stream, b->now_us, header, body, err)))
        return 0;
    route_count(route, NULL, header.len + body.len, b->now_us);
    return seq;
}

void publish_rejected(struct broker *b, struct message *m, const struct ls_error *why)
{
    static const char *const SOCKETS[] = {"router", "push", "pub"};
    b->counters[C_REJECTED]++;
    if (b->rejected_second != b->now_ms / 1000) {
        b->rejected_second = b->now_ms / 1000;
        b->rejected_count = 0;
    }
    if (b->rejected_count++ >= REJECTED_PER_SECOND)
        return; /* counted, but a flood of rubbish may not become a flood of events */
    struct buf header = {0}, body = {0};
    pack_own_header(b, &header, "$sys.rejected");
    buf_pack_map(&body, 4);
    buf_pair_str(&body, "reason", why->name);
    buf_pair_str(&body, "text", why->text);
    buf_pair_str(&body, "socket", SOCKETS[m->origin]);
    buf_pack_str(&body, "head");
    struct buf head = {0};
    for (size_t i = 0; i < m->parts && head.len < 256; i++) {
        struct mp_slice part = message_part(m, i);
        buf_add(&head, part.data, part.len < 256 - head.len ? part.len : 256 - head.len);
    }
    buf_pack_bin(&body, head.data, head.len);
    struct ls_error err;
    publish_internal(b, "$sys.rejected", (struct mp_slice){(const char *) header.data, header.len},
                     (struct mp_slice){(const char *) body.data, body.len}, &err);
    buf_fini(&head);
    buf_fini(&header);
    buf_fini(&body);
}
