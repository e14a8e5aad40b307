/* SPDX-License-Identifier: Apache-2.0 */
/* The event stream parser against a slow second opinion that reads the whole text at once. The first byte of an input says how
 * the rest, the stream, is cut into pieces: 0 not at all, else into pieces of 1 to so many bytes. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "nodes/kit/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the second opinion: the steps of the standard, one after the other ---- */

struct slow {
    struct buf data, event, id; /* data with a line feed behind each line, as the standard keeps it */
    struct buf records;
};

static void put_record(struct buf *out, struct ls_slice event, struct ls_slice data, struct ls_slice id)
{
    const struct ls_slice parts[] = {event, data, id};
    for (size_t i = 0; i < 3; i++) {
        buf_addf(out, "<%zu>", parts[i].len);
        buf_add(out, parts[i].data, parts[i].len);
    }
}

static bool is_name(const char *line, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(line, name, len) == 0;
}

static void slow_line(struct slow *s, const char *line, size_t len)
{
    if (len == 0) {
        if (s->data.len)
            put_record(&s->records, ls_bytes(s->event.data, s->event.len), ls_bytes(s->data.data, s->data.len - 1),
                       ls_bytes(s->id.data, s->id.len));
        buf_clear(&s->data);
        buf_clear(&s->event);
        return;
    }
    size_t name = 0;
    while (name < len && line[name] != ':')
        name++;
    size_t value = name < len ? name + 1 : len;
    if (value < len && line[value] == ' ')
        value++;
    struct buf *field = is_name(line, name, "event") ? &s->event : is_name(line, name, "id") ? &s->id : NULL;
    if (is_name(line, name, "data")) {
        buf_add(&s->data, line + value, len - value);
        buf_add_byte(&s->data, '\n');
    } else if (field == &s->event || (field && !memchr(line + value, 0, len - value))) {
        buf_clear(field);
        buf_add(field, line + value, len - value);
    }
}

static void slow_stream(struct slow *s, const char *text, size_t len)
{
    size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (size_t end = at; end < len; end++) {
        if (text[end] != '\r' && text[end] != '\n')
            continue;
        slow_line(s, text + at, end - at);
        end += text[end] == '\r' && end + 1 < len && text[end + 1] == '\n';
        at = end + 1;
    }
}

/* ---- the parser ---- */

static bool on_record(void *arg, const struct sse_record *r)
{
    put_record(arg, r->event, r->data, r->id);
    return true;
}

static void feed_in_pieces(struct sse *s, const char *text, size_t len, unsigned largest, struct buf *records)
{
    size_t step = 0;
    for (size_t at = 0; at < len; step++) {
        size_t piece = largest ? 1 + (step * 7 + at) % largest : len;
        piece = piece < len - at ? piece : len - at;
        char *copy = xcalloc(1, piece); /* of its own, so that reading past it is noticed */
        memcpy(copy, text + at, piece);
        if (sse_feed(s, ls_bytes(copy, piece), on_record, records, NULL) < 0)
            abort();
        free(copy);
        at += piece;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slow slow = {0};
    struct sse s = {0};
    struct buf records = {0};
    if (size < 1 || size > 4096)
        return 0;
    const char *text = (const char *) data + 1;
    slow_stream(&slow, text, size - 1);
    sse_init(&s, 2 * size);
    feed_in_pieces(&s, text, size - 1, data[0], &records);
    if (records.len != slow.records.len || (records.len && memcmp(records.data, slow.records.data, records.len) != 0))
        abort();
    sse_fini(&s);
    buf_fini(&records);
    buf_fini(&slow.data);
    buf_fini(&slow.event);
    buf_fini(&slow.id);
    buf_fini(&slow.records);
    return 0;
}
