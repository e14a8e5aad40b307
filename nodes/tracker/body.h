/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_BODY_H
#define NODES_TRACKER_BODY_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* Bodies of facts. JSON has no NaN and no infinities: here they are texts, on the bus numbers of msgpack. */

/* body_read reads JSON or msgpack; a number that is not finite becomes "NaN", "Infinity" or "-Infinity". NULL with
 * BAD_VALUE. */
json_t *body_read(struct ls_slice body, struct ls_error *err);
/* body_write appends a fact's body for the bus: JSON, or msgpack if `value` is one of these texts and the topic is
 * run.metric. */
void body_write(struct buf *out, const char *topic, const json_t *body);

#endif
