/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_FETCH_H
#define NODES_INFERENCE_FETCH_H
#include "lib/node.h"
#include "nodes/inference/cache.h"

/* Bytes from the artifacts node, through its door (docs/decisions/038, docs/nodes/artifacts-api.md): first which content lies
 * under a key, then, unless the cache has it, the content. One fetch at a time. */

struct fetch;

struct fetched {
    char sha256[CACHE_HASH_SIZE]; /* as the store says; "": it does not know */
    struct cache_part *part;      /* the content, not yet verified: the callee's; NULL: the cache has it */
};

/* Exactly one of the two is given. Errors with `again` may be gone later. */
typedef void fetch_fn(void *arg, struct fetched *fetched, const struct ls_error *err);

struct fetch *fetch_open(struct node *node, const struct cache *cache, struct ls_error *err);
/* fetch_start ends the fetch before it. `key`: of an object, or of a folder with one *.ngram below it. `fn` is called once
 * (perhaps within this call), and never after fetch_cancel. */
void fetch_start(struct fetch *f, const char *key, fetch_fn *fn, void *arg);
void fetch_cancel(struct fetch *f);
int64_t fetch_tick(struct fetch *f, int64_t now_ms); /* returns when it wants to be called again */
void fetch_close(struct fetch **f);

#endif
