/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_PROTO_H
#define NODES_WANDB_PROTO_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* As much of protobuf's encoding (https://protobuf.dev/programming-guides/encoding) as W&B's records need: varints, and fields with a
 * length, which are texts and messages. A message is written into a buffer of its own first. */

void proto_put_int(struct buf *out, uint32_t field, int64_t value);         /* int32, int64 */
void proto_put_bytes(struct buf *out, uint32_t field, struct ls_slice value);
void proto_put_text(struct buf *out, uint32_t field, const char *text);     /* NULL or "": nothing, as proto3 has it */
void proto_put_message(struct buf *out, uint32_t field, struct buf *inside); /* empties `inside` */

/* proto_next takes one field off *message, which must not be empty: a number goes to *number, anything else to *bytes (borrowed). False:
 * malformed. */
bool proto_next(struct ls_slice *message, uint32_t *field, uint64_t *number, struct ls_slice *bytes);

#endif
