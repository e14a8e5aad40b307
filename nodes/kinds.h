/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KINDS_H
#define NODES_KINDS_H
#include "lib/kind.h"

/* The list of built-in node kinds, one line each. nodes/NAME/kind.c defines `kind_NAME`, the tables, which every command
 * links; another file of that folder defines `node_NAME`, the behaviour, which only lineshaft-node links. */
#define NODE_KINDS(KIND)                                                                                                 \
    KIND(artifacts)                                                                                                      \
    KIND(inference)                                                                                                      \
    KIND(ingress)                                                                                                        \
    KIND(runner)                                                                                                         \
    KIND(scheduler)                                                                                                      \
    KIND(tracker)                                                                                                        \
    KIND(wandb)

extern const struct kind *const KINDS[]; /* NULL-terminated */

/* kinds_find: NULL if there is none of this name. */
const struct kind *kinds_find(const char *name);

#endif
