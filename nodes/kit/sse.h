/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_SSE_H
#define NODES_KIT_SSE_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* A push parser of event streams ("text/event-stream": WHATWG HTML Living Standard, section 9.2.6). Bytes come in pieces cut
 * anywhere; records come out. As the standard says, a record that the stream's end cuts off is not handed out. */

struct sse {
    size_t limit;    /* bytes of one record */
    struct buf line; /* a line of which only a part has come */
    struct buf event, data, id;
    bool has_data;
    bool skip_lf;     /* the last byte was a CR, which has ended its line */
    unsigned bom;     /* bytes of the byte order mark seen; 3: past the place where one may be */
    int64_t retry_ms; /* the last `retry`; -1: none */
};

/* Borrowed until the callback returns. */
struct sse_record {
    struct ls_slice event; /* empty: none was given, that is "message" */
    struct ls_slice data;
    struct ls_slice id; /* the last one that the stream gave, with this record or before */
};
typedef bool (*sse_fn)(void *arg, const struct sse_record *record); /* false: stop, drop the rest of the piece */

/* sse_init prepares a zeroed or used parser for a new stream, keeping its memory; sse_fini frees. */
void sse_init(struct sse *s, size_t limit);
void sse_fini(struct sse *s);

/* sse_feed takes the next piece. -1 with TOO_BIG when a record grows over the limit: the stream is of no use then. */
int sse_feed(struct sse *s, struct ls_slice piece, sse_fn fn, void *arg, struct ls_error *err);

#endif
