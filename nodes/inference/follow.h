/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_FOLLOW_H
#define NODES_INFERENCE_FOLLOW_H
#include "nodes/inference/inference.h"
#include "nodes/inference/ngram.h"

/* The version of a registered model that this node serves: follows the registry, fetches, opens in a thread (it reads every byte
 * of the file), hands over, and says so on the bus as `model.loaded`. Whatever fails, what was handed over last stands. */

struct follow;

/* The model is the callee's. `version` is the registry's. */
typedef void follow_fn(struct inference *in, struct ngram *model, const char *version);

struct follow *follow_open(struct inference *in, const struct registry_uri *uri, follow_fn *fn, struct ls_error *err);
void follow_connected(struct follow *f, bool stands);
int64_t follow_tick(struct follow *f, int64_t now_ms); /* returns when it wants to be called again */
void follow_close(struct follow **f);

#endif
