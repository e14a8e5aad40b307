/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_API_TEXT_H
#define NODES_WANDB_API_TEXT_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* What W&B's answers say. Pure functions; api_json is declared in api.h. */

/* api_refusal fills *err for an answer whose status is not 2xx: number is the status; again: it may go better later. `graphql`: a 409 is
 * final only if it names a duplicate. */
void api_refusal(struct ls_error *err, unsigned status, struct ls_slice body, bool graphql);

/* api_graphql_errors fills *err for an answer of status 200 that has `errors`: 401, 403, 404, 409 or 422 when the text says so, else
 * number 0 and again. Takes the first error. */
void api_graphql_errors(struct ls_error *err, const json_t *errors);

/* api_retry_after reads Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3): ms from now; 0 if it is neither. */
int64_t api_retry_after(const char *value);

#endif
