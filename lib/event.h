/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_EVENT_H
#define LIB_EVENT_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* struct ls_event <-> the header map. Source: docs/protocol.md, "Events". */

/* event_read fills `event` with slices of header and body; whatever is not there stays absent. */
void event_read(struct ls_event *event, struct ls_slice header, struct ls_slice body);

/* event_pack appends the header map without its head (key and value pairs only) and gives their number; an absent id
 * becomes a UUIDv7. BAD_TOPIC, BAD_VALUE (id, source, more), TOO_BIG (more than 64 keys). */
int event_pack(struct buf *pairs, const struct ls_event *event, uint32_t *count, struct ls_error *err);

#endif
