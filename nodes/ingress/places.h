/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_PLACES_H
#define NODES_INGRESS_PLACES_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* Where a reader is in each of up to 64 streams: the next sequence number. Its text, "events:1235,audit:17", is the id of a record of
 * a feed. Zero-initialise to start; places_fini leaves it so. */
struct places {
    struct ls_position *items; /* streams are ours */
    size_t count, room;
};

void places_set(struct places *p, const char *stream, size_t len, uint64_t next);
void places_copy(struct places *to, const struct places *from); /* in place of what it held */
void places_text(const struct places *p, struct buf *out);
/* places_parse adds what the text says; false if it is not such a text, or empty. */
bool places_parse(struct places *p, const char *text);
void places_fini(struct places *p);

/* from_parse reads where to begin: new, or nothing (*from stays as it is), all, last:N, seq:N, or a time. */
bool from_parse(const char *text, struct ls_from *from);

#endif
