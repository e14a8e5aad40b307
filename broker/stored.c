/* SPDX-License-Identifier: Apache-2.0 */
/* How events lie in log entries, and a walk over them. An entry's payload is `u32 header length, u32 body length, header,
 * body` (big-endian) for each event: the protocol's packed form, so that it is forwarded as it lies. */
#include "broker/core.h"

#include <arpa/inet.h>
#include <string.h>

void pack_event(struct buf *out, struct mp_slice header, struct mp_slice body)
{
    uint32_t lens[2] = {htonl((uint32_t) header.len), htonl((uint32_t) body.len)};
    buf_add(out, lens, sizeof lens);
    buf_add(out, header.data, header.len);
    buf_add(out, body.data, body.len);
}

bool unpack_event(struct mp_slice *packed, struct mp_slice *header, struct mp_slice *body)
{
    uint32_t lens[2];
    if (packed->len < sizeof lens)
        return false;
    memcpy(lens, packed->data, sizeof lens);
    uint64_t header_len = ntohl(lens[0]), body_len = ntohl(lens[1]);
    if (header_len + body_len > packed->len - sizeof lens)
        return false;
    *header = (struct mp_slice){packed->data + sizeof lens, (size_t) header_len};
    *body = (struct mp_slice){header->data + header_len, (size_t) body_len};
    size_t used = sizeof lens + header->len + body->len;
    *packed = (struct mp_slice){packed->data + used, packed->len - used};
    return true;
}

void walk_seek(struct walk *w, struct log *log, uint64_t seq)
{
    log_cursor_seek(&w->cursor, log, seq);
    w->open = false;
    w->index = seq;
}

static bool walk_open(struct walk *w)
{
    w->at = 0;
    w->source = (struct mp_slice){0};
    if (!(w->entry.flags & ENTRY_BATCH))
        return true;
    if (!w->entry.len || (size_t) 1 + w->entry.data[0] > w->entry.len)
        return false;
    w->source = (struct mp_slice){(const char *) w->entry.data + 1, w->entry.data[0]};
    w->at = 1 + w->source.len;
    return true;
}

/* The next event of the open entry, skipping those before w->index (the place to go on from). */
static bool next_in_entry(struct walk *w, uint64_t *seq, struct stored *s)
{
    while (*seq < w->entry.seq + w->entry.count) {
        struct mp_slice rest = {(const char *) w->entry.data + w->at, w->entry.len - w->at};
        const char *from = rest.data;
        if (!unpack_event(&rest, &s->header, &s->body))
            return false;
        w->at = (size_t) (rest.data - (const char *) w->entry.data);
        s->packed = (struct mp_slice){from, (size_t) (rest.data - from)};
        if ((*seq)++ >= w->index)
            return true;
    }
    return false;
}

int walk_next(struct walk *w, struct stored *s)
{
    struct ls_error err;
    for (;;) {
        if (!w->open) {
            int got = log_cursor_next(&w->cursor, &w->entry, &err);
            if (got <= 0)
                return got;
            if (!walk_open(w))
                continue;
            w->open = true;
            w->cursor_seq = w->entry.seq;
        }
        if (next_in_entry(w, &w->cursor_seq, s)) {
            s->seq = w->cursor_seq - 1;
            s->ts_us = w->entry.ts_us;
            s->batch = w->entry.flags & ENTRY_BATCH;
            s->source = w->source;
            w->index = s->seq + 1;
            return 1;
        }
        w->open = false;
        w->index = w->entry.seq + w->entry.count;
    }
}

void walk_rest(struct walk *w)
{
    if (w->cursor.log && w->open)
        walk_seek(w, w->cursor.log, w->index);
}

void walk_fini(struct walk *w)
{
    log_cursor_fini(&w->cursor);
    *w = (struct walk){0};
}

bool stored_topic(const struct stored *s, struct mp_slice *topic)
{
    struct mp value;
    return mp_find(mp_over(s->header.data, s->header.len), "topic", &value) && mp_str(&value, topic);
}

void stored_complete(const struct stored *s, struct buf *out)
{
    struct header h;
    if (!s->batch || header_read(s->header, false, &h, NULL) < 0) {
        buf_add(out, s->header.data, s->header.len);
        return;
    }
    char time[CLOCK_TEXT_SIZE];
    clock_format(s->ts_us, time);
    header_write(out, &h, (struct mp_slice){0}, s->source, (struct mp_slice){time, CLOCK_TEXT_SIZE - 1});
}
