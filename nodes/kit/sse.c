/* SPDX-License-Identifier: Apache-2.0 */
/* The event stream parser: lines out of pieces, fields out of lines, records at empty lines. A line that lies within one piece
 * is read in place. */
#include "nodes/kit/sse.h"

#include "lib/error.h"

static const char BOM[] = "\xef\xbb\xbf";

void sse_init(struct sse *s, size_t limit)
{
    s->limit = limit;
    buf_clear(&s->line);
    buf_clear(&s->event);
    buf_clear(&s->data);
    buf_clear(&s->id);
    s->has_data = s->skip_lf = false;
    s->bom = 0;
    s->retry_ms = -1;
}

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->event);
    buf_fini(&s->data);
    buf_fini(&s->id);
}

static struct ls_slice slice_of(const struct buf *b)
{
    return ls_bytes(b->data, b->len);
}

/* An empty line. The event's name counts for one record, the id until the next. */
static bool dispatch(struct sse *s, sse_fn fn, void *arg)
{
    bool go_on = true;
    if (s->has_data) {
        struct sse_record record = {slice_of(&s->event), slice_of(&s->data), slice_of(&s->id)};
        go_on = fn(arg, &record);
    }
    s->has_data = false;
    buf_clear(&s->event);
    buf_clear(&s->data);
    return go_on;
}

static void set_retry(struct sse *s, struct ls_slice value)
{
    int64_t ms = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || ms > INT64_MAX / 10 - 1)
            return;
        ms = ms * 10 + (value.data[i] - '0');
    }
    if (value.len)
        s->retry_ms = ms;
}

static void set(struct buf *b, struct ls_slice value)
{
    buf_clear(b);
    buf_add(b, value.data, value.len);
}

static void take_field(struct sse *s, struct ls_slice name, struct ls_slice value)
{
    if (ls_slice_is(name, "data")) {
        if (s->has_data)
            buf_add_byte(&s->data, '\n');
        s->has_data = true;
        buf_add(&s->data, value.data, value.len);
    } else if (ls_slice_is(name, "event")) {
        set(&s->event, value);
    } else if (ls_slice_is(name, "id")) {
        if (!value.len || !memchr(value.data, 0, value.len))
            set(&s->id, value);
    } else if (ls_slice_is(name, "retry")) {
        set_retry(s, value);
    }
}

/* False: the callback wants no more. A line that begins with a colon is a comment: a field without a name. */
static bool take_line(struct sse *s, struct ls_slice line, sse_fn fn, void *arg)
{
    if (!line.len)
        return dispatch(s, fn, arg);
    const char *colon = memchr(line.data, ':', line.len);
    struct ls_slice name = line, value = {0};
    if (colon) {
        name.len = (size_t) (colon - line.data);
        value = (struct ls_slice){colon + 1, line.len - name.len - 1};
        if (value.len && *value.data == ' ')
            value = (struct ls_slice){value.data + 1, value.len - 1};
    }
    take_field(s, name, value);
    return true;
}

/* The rest of the piece behind a byte order mark at the stream's beginning, which may come in pieces too. */
static struct ls_slice skip_bom(struct sse *s, struct ls_slice piece)
{
    while (s->bom < 3 && piece.len) {
        if (*piece.data != BOM[s->bom]) {
            buf_add(&s->line, BOM, s->bom); /* it was none: these bytes begin the first line */
            s->bom = 3;
            break;
        }
        s->bom++;
        piece = (struct ls_slice){piece.data + 1, piece.len - 1};
    }
    return piece;
}

static size_t line_len(struct ls_slice piece)
{
    const char *lf = memchr(piece.data, '\n', piece.len);
    size_t len = lf ? (size_t) (lf - piece.data) : piece.len;
    const char *cr = len ? memchr(piece.data, '\r', len) : NULL;
    return cr ? (size_t) (cr - piece.data) : len;
}

static bool is_over(const struct sse *s, size_t more)
{
    return s->line.len + s->data.len + s->event.len + s->id.len + more > s->limit;
}

int sse_feed(struct sse *s, struct ls_slice piece, sse_fn fn, void *arg, struct ls_error *err)
{
    for (piece = skip_bom(s, piece); piece.len;) {
        if (s->skip_lf && *piece.data == '\n') {
            s->skip_lf = false;
            piece = (struct ls_slice){piece.data + 1, piece.len - 1};
            continue;
        }
        s->skip_lf = false;
        size_t len = line_len(piece);
        if (is_over(s, len))
            return error_set(err, "TOO_BIG", "a record of the event stream is over %zu bytes", s->limit);
        struct ls_slice line = {piece.data, len};
        if (len == piece.len || s->line.len) {
            buf_add(&s->line, piece.data, len);
            line = slice_of(&s->line);
        }
        if (len == piece.len)
            return 0;
        s->skip_lf = piece.data[len] == '\r';
        piece = (struct ls_slice){piece.data + len + 1, piece.len - len - 1};
        bool go_on = take_line(s, line, fn, arg);
        buf_clear(&s->line);
        if (!go_on)
            return 0;
    }
    return 0;
}
