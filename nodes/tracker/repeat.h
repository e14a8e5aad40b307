/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_REPEAT_H
#define NODES_TRACKER_REPEAT_H
#include <jansson.h>

#include "nodes/kit/db.h"

/* Writes that may be asked for again: who sends a request with the header key `idempotencykey`, and never hears its answer, sends it again
 * with the same key and gets the first answer; the work is done once. (The idea is that of the Idempotency-Key header,
 * draft-ietf-httpapi-idempotency-key-header.) Answers are kept for a day, in the transaction of their work; failures are not kept. */

/* repeat_find: 1 and *answer (new) if this was done before; 0: it was not; -1 with *err. Within the transaction of the write. */
int repeat_find(struct db *db, struct ls_slice key, const char *topic, json_t **answer, struct ls_error *err);
/* repeat_keep keeps the answer of what was done now, and forgets those of yesterday. 0, or -1 with *err. */
int repeat_keep(struct db *db, struct ls_slice key, const char *topic, const json_t *answer, struct ls_error *err);

#endif
