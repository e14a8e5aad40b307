/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers' state in the stream's state file: msgpack arrays whose first item is the kind of record. A checkpoint is one
 * `consumer` and its `position` records for each; what happens later is appended. Unknown kinds are skipped. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void begin(struct buf *out, const char *kind, const char *consumer, uint32_t more)
{
    buf_pack_array(out, 2 + more);
    buf_pack_str(out, kind);
    buf_pack_str(out, consumer);
}

static uint64_t finish(struct stream *s, struct buf *out, bool sync)
{
    uint64_t token = state_file_append(s->state, out->data, out->len, sync);
    buf_fini(out);
    return token;
}

static void pack_ranges(struct buf *out, const struct ranges *r)
{
    buf_pack_array(out, (uint32_t) (r->count * 2));
    for (size_t i = 0; i < r->count; i++) {
        buf_pack_uint(out, r->items[i].from);
        buf_pack_uint(out, r->items[i].to);
    }
}

static void pack_failure(struct buf *out, const struct failure *f)
{
    buf_pack_uint(out, f->attempt);
    buf_pack_uint(out, (uint64_t) f->at_us);
    buf_pack_str(out, f->who);
    buf_pack_str(out, f->error);
}

void state_created(const struct consumer *c)
{
    struct buf out = {0};
    begin(&out, "consumer", c->name, 12);
    buf_pack_bool(&out, c->declared);
    size_t count = 0;
    while (c->takes[count])
        count++;
    buf_pack_array(&out, (uint32_t) count);
    for (size_t i = 0; i < count; i++)
        buf_pack_str(&out, c->takes[i]);
    buf_pack_uint(&out, c->from.kind);
    buf_pack_uint(&out, c->from.value);
    buf_pack_int(&out, c->from.time_us);
    buf_pack_uint(&out, c->share);
    buf_pack_uint(&out, c->window);
    buf_pack_uint(&out, c->window_bytes);
    buf_pack_uint(&out, (uint64_t) c->ack_wait_ms);
    buf_pack_array(&out, (uint32_t) c->backoff_count);
    for (size_t i = 0; i < c->backoff_count; i++)
        buf_pack_uint(&out, (uint64_t) c->backoff_ms[i]);
    buf_pack_uint(&out, c->max_deliver);
    buf_pack_uint(&out, (uint64_t) c->member_ttl_ms);
    finish(c->stream, &out, true);
}

uint64_t state_dropped(const struct consumer *c)
{
    struct buf out = {0};
    begin(&out, "dropped", c->name, 0);
    return finish(c->stream, &out, true);
}

uint64_t state_position(const struct position *p)
{
    struct buf out = {0};
    begin(&out, "position", p->consumer->name, 4);
    buf_pack_str(&out, p->member);
    buf_pack_uint(&out, p->cursor);
    pack_ranges(&out, &p->done);
    buf_pack_array(&out, (uint32_t) p->pending.used);
    const struct delivery *d;
    for (size_t at = 0; (d = map_walk(&p->pending, &at, NULL));) {
        buf_pack_array(&out, 4);
        buf_pack_uint(&out, d->seq);
        buf_pack_uint(&out, d->failed);
        buf_pack_str(&out, d->reason ? d->reason : "");
        buf_pack_array(&out, (uint32_t) (4 * d->failure_count));
        for (size_t i = 0; i < d->failure_count; i++)
            pack_failure(&out, &d->failures[i]);
    }
    return finish(p->consumer->stream, &out, true);
}

void state_position_dropped(const struct position *p)
{
    struct buf out = {0};
    begin(&out, "left", p->consumer->name, 1);
    buf_pack_str(&out, p->member);
    finish(p->consumer->stream, &out, false);
}

uint64_t state_acked(const struct position *p, const struct ranges *ranges, bool sync)
{
    if (!ranges->count && !sync)
        return 0;
    struct buf out = {0};
    begin(&out, "acked", p->consumer->name, 2);
    buf_pack_str(&out, p->member);
    pack_ranges(&out, ranges);
    return finish(p->consumer->stream, &out, sync);
}

void state_failed(const struct delivery *d, const struct failure *f)
{
    struct buf out = {0};
    begin(&out, "failed", d->position->consumer->name, 6);
    buf_pack_str(&out, d->position->member);
    buf_pack_uint(&out, d->seq);
    pack_failure(&out, f);
    finish(d->position->consumer->stream, &out, false);
}

void state_dying(const struct delivery *d)
{
    struct buf out = {0};
    begin(&out, "dying", d->position->consumer->name, 3);
    buf_pack_str(&out, d->position->member);
    buf_pack_uint(&out, d->seq);
    buf_pack_str(&out, d->reason);
    finish(d->position->consumer->stream, &out, false);
}

uint64_t state_replayed(const struct position *p, uint64_t seq)
{
    struct buf out = {0};
    begin(&out, "replayed", p->consumer->name, 2);
    buf_pack_str(&out, p->member);
    buf_pack_uint(&out, seq);
    return finish(p->consumer->stream, &out, true);
}

void state_checkpoint(struct stream *s)
{
    state_file_checkpoint_begin(s->state);
    for (size_t i = 0; i < s->consumer_count; i++) {
        state_created(s->consumers[i]);
        for (size_t k = 0; k < s->consumers[i]->position_count; k++)
            state_position(s->consumers[i]->positions[k]);
    }
    state_file_checkpoint_end(s->state);
}

/* ---- reading: every function takes the record behind its kind; false: not as it should be ---- */

static bool read_text(struct mp *r, char *text, size_t size)
{
    struct mp_slice s;
    if (!mp_str(r, &s) || s.len >= size)
        return false;
    memcpy(text, s.data, s.len);
    text[s.len] = 0;
    return true;
}

static bool read_backoff(struct mp *r, int64_t *list, size_t room, size_t *count)
{
    uint32_t items;
    if (!mp_array(r, &items) || items > room)
        return false;
    for (uint32_t i = 0; i < items; i++)
        if (!mp_int(r, &list[i]))
            return false;
    *count = items;
    return true;
}

static bool read_small(struct mp *r, uint32_t *value)
{
    uint64_t wide;
    if (!mp_uint(r, &wide) || wide > UINT32_MAX)
        return false;
    *value = (uint32_t) wide;
    return true;
}

static bool read_consumer(struct stream *s, const char *name, struct mp *r)
{
    int64_t backoff[64];
    uint32_t kind, share;
    bool declared;
    struct consumer_config config = {.name = name, .backoff_ms = backoff};
    if (!mp_bool(r, &declared))
        return false;
    char **takes = topics_read(*r, NULL);
    bool ok = takes && mp_skip(r) && read_small(r, &kind) && mp_uint(r, &config.from.value) &&
              mp_int(r, &config.from.time_us) && read_small(r, &share) && read_small(r, &config.window) &&
              mp_uint(r, &config.window_bytes) && mp_int(r, &config.ack_wait_ms) &&
              read_backoff(r, backoff, 64, &config.backoff_count) && read_small(r, &config.max_deliver) &&
              mp_int(r, &config.member_ttl_ms);
    if (ok) {
        config.takes = (const char *const *) takes;
        config.from.kind = (enum start_kind) kind;
        config.share = (enum consumer_share) share;
        consumer_add(s, &config, false); /* the topology, read later, says whether it is declared */
    }
    topics_free(takes);
    return ok;
}

static bool read_failure(struct delivery *d, struct mp *r)
{
    uint32_t attempt;
    int64_t at_us;
    char who[2 * NAME_LEN_MAX + 2];
    struct mp_slice error;
    if (!read_small(r, &attempt) || !attempt || !mp_int(r, &at_us) || !read_text(r, who, sizeof who) ||
        !mp_str(r, &error))
        return false;
    d->failed = attempt - 1;
    delivery_add_failure(d, who, at_us, error);
    return true;
}

static bool read_pending(struct position *p, struct mp *r)
{
    uint32_t items, fields, parts;
    if (!mp_array(r, &items))
        return false;
    for (uint32_t i = 0; i < items; i++) {
        uint64_t seq;
        uint32_t failed;
        struct mp_slice reason;
        if (!mp_array(r, &fields) || fields != 4 || !mp_uint(r, &seq) || !read_small(r, &failed) ||
            !mp_str(r, &reason) || !mp_array(r, &parts))
            return false;
        struct delivery *d = delivery_restore(p, seq);
        deadletter_reason(reason, &d->reason);
        for (uint32_t k = 0; k < parts / 4; k++)
            if (!read_failure(d, r))
                return false;
        d->failed = failed;
    }
    return true;
}

static bool read_ranges(struct mp *r, struct position *p, void (*take)(struct position *p, uint64_t from, uint64_t to))
{
    uint32_t items;
    if (!mp_array(r, &items))
        return false;
    for (uint32_t i = 0; i + 1 < items; i += 2) {
        uint64_t from, to;
        if (!mp_uint(r, &from) || !mp_uint(r, &to) || to < from)
            return false;
        take(p, from, to);
    }
    return true;
}

static bool read_position(struct consumer *c, const char *member, struct mp *r)
{
    uint64_t cursor;
    if (!mp_uint(r, &cursor))
        return false;
    struct position *old = consumer_position(c, member);
    if (old)
        position_destroy(old);
    struct position *p = position_new(c, member, cursor);
    return read_ranges(r, p, position_done_ahead) && read_pending(p, r);
}

/* What was acknowledged before the restart: pending before the cursor, or still ahead of it. */
static void take_acked(struct position *p, uint64_t from, uint64_t to)
{
    struct ranges found = {0};
    uint64_t seq;
    for (size_t at = 0; map_walk(&p->pending, &at, &seq);)
        if (seq >= from && seq <= to)
            ranges_add(&found, seq, seq);
    for (size_t i = 0; i < found.count; i++)
        for (seq = found.items[i].from; seq <= found.items[i].to; seq++)
            delivery_finish(map_get(&p->pending, seq));
    free(found.items);
    if (to >= p->cursor)
        position_done_ahead(p, from > p->cursor ? from : p->cursor, to);
}

static bool read_change(struct consumer *c, struct mp_slice kind, struct mp *r)
{
    char member[NAME_LEN_MAX + 1];
    uint64_t seq;
    if (mp_is(kind, "dropped")) {
        consumer_destroy(c);
        return true;
    }
    if (!read_text(r, member, sizeof member))
        return false;
    if (mp_is(kind, "position"))
        return read_position(c, member, r);
    struct position *p = consumer_position(c, member);
    if (!p)
        return true;
    if (mp_is(kind, "acked"))
        return read_ranges(r, p, take_acked);
    if (mp_is(kind, "left")) {
        position_destroy(p);
        return true;
    }
    if (!mp_uint(r, &seq))
        return false;
    if (mp_is(kind, "failed"))
        return position_is_done(p, seq) || read_failure(delivery_restore(p, seq), r);
    if (mp_is(kind, "replayed"))
        delivery_restore(p, seq)->failed = 0;
    struct mp_slice reason;
    if (mp_is(kind, "dying") && !position_is_done(p, seq))
        return mp_str(r, &reason) && deadletter_reason(reason, &delivery_restore(p, seq)->reason);
    return true;
}

static void on_record(void *arg, const uint8_t *data, size_t len)
{
    struct stream *s = arg;
    struct mp r = mp_over(data, len);
    uint32_t items;
    struct mp_slice kind;
    char name[NAME_LEN_MAX + 1];
    bool ok = mp_array(&r, &items) && mp_str(&r, &kind) && read_text(&r, name, sizeof name);
    if (ok && mp_is(kind, "consumer")) {
        ok = read_consumer(s, name, &r);
    } else if (ok) {
        struct consumer *c = stream_consumer(s, (struct mp_slice){name, strlen(name)});
        ok = !c || read_change(c, kind, &r);
    }
    if (!ok)
        logger_put(LEVEL_WARN, "state-record", "a record of consumers' state could not be read and was skipped",
                   "stream=%s bytes=%zu", s->config->name, len);
}

int state_open(struct stream *s, struct ls_error *err)
{
    s->state = state_file_open(s->log, "consumers", on_record, s, err);
    return s->state ? 0 : -1;
}
