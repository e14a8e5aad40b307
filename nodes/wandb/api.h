/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_API_H
#define NODES_WANDB_API_H
#include <jansson.h>

#include "lib/node.h"

/* W&B's two endpoints over one HTTP client: GraphQL and file_stream. Keeps to the server's pace (RateLimit-Remaining, RateLimit-Reset,
 * Retry-After), one bucket for an API key; tries again what may succeed (2 s doubling to 60 s, jitter) with the same bytes, and never gives
 * up on what is not final. Callbacks come from the node's loop, never inside the call that asks. */

struct api;
struct api_call;

struct api_options {
    const char *base_url; /* "https://api.wandb.ai"; no slash at the end */
    const char *key;      /* goes to base_url only */
    const char *ca_file;  /* NULL: the system's */
};
/* NULL with BAD_VALUE. */
struct api *api_open(struct node *node, const struct api_options *options, struct ls_error *err);
void api_close(struct api **api); /* what is under way ends without a callback */

/* The answer, or an error. err->again false: final for this call (status 400, 401, 403, 404, 409, 410, 413, 422, 501, or GraphQL errors
 * that say so; a 409 of GraphQL's only if it names a duplicate, and an error of GraphQL's that nobody knows after eight tries); its number
 * is the HTTP status, 0 for a failure of our own. `answer` is GraphQL's `data`, or file_stream's whole answer; borrowed. */
typedef void api_fn(void *arg, const json_t *answer, const struct ls_error *err);
/* `variables` is taken over. `retry`: try again until it succeeds or fails for good; else one try, and err->again tells. */
struct api_call *api_graphql(struct api *api, const char *operation, const char *query, json_t *variables, bool retry,
                             api_fn *fn, void *arg);
/* The body's bytes are copied and never change between tries. */
struct api_call *api_file_stream(struct api *api, const char *entity, const char *project, const char *run,
                                 struct ls_slice body, api_fn *fn, void *arg);
void api_cancel(struct api_call **call); /* NULL allowed */
bool api_away(const struct api *api);    /* the last try failed, and others follow */

/* api_json reads JSON in which NaN, Infinity and -Infinity may stand bare, as W&B's clients write it: they become the strings "NaN",
 * "Infinity", "-Infinity". NULL with BAD_VALUE. */
json_t *api_json(struct ls_slice text, struct ls_error *err);

#endif
