/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_ARTIFACTS_ANSWER_H
#define NODES_ARTIFACTS_ANSWER_H
#include "nodes/artifacts/artifacts.h"

/* Answers of the door, as docs/nodes/artifacts-api.md has them. */

/* door_json takes the body over. */
void door_json(struct http_exchange *x, unsigned status, json_t *body);
/* door_error: `mlflow` chooses the form. */
void door_error(struct http_exchange *x, bool mlflow, const struct ls_error *err);
/* door_number puts the status that callers over the bus get into err->number. */
void door_number(struct ls_error *err);
/* door_missing: that an artifact is not there is said in our words, whatever the store's are; not that there is no bucket. If the store
 * has it not, or is away, but the spool has it, that is said: SPOOLED. */
void door_missing(const struct artifacts *a, const char *key, struct ls_error *err);
/* door_spooled: SPOOLED at once, where the store would only be waited for: true, and *err. */
bool door_spooled(const struct artifacts *a, const char *key, struct ls_error *err);
/* OBJECT of the API; and content-type, ETag and the like in the answer's header. */
json_t *door_object(const struct artifacts *a, const struct objstore_object *object);
void door_object_headers(struct http_exchange *x, const struct objstore_object *object);

#endif
