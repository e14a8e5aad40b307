/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_PULL_H
#define NODES_WANDB_PULL_H
#include "nodes/wandb/api.h"

/* Brings chosen metrics of W&B's runs onto the bus: asks for the runs of a project that changed, then for the chosen keys of each behind
 * the last step that is settled (pages overlap for a minute, since W&B counts late), and publishes `wandb.metric`, one per value, with an
 * id made of entity, project, run, key and step, so that one told twice is stored once. How far it came is in the node's database (the
 * table lineshaft_wandb_pull). At the very first start it begins with the runs that were alive in the last ten minutes. */

struct pull;
struct db_node;

struct pull_options {
    const char *entity, *project; /* entity NULL: the key's own */
    const char *const *keys;      /* NULL-terminated, "eval/loss" */
    int64_t every_ms;
};
/* Texts are borrowed for as long as it lives. Asks only while the session with the bus stands and the database is there. Never NULL. */
struct pull *pull_open(struct node *node, struct api *api, struct db_node *db, const struct pull_options *options);
void pull_close(struct pull **pull); /* NULL allowed; before api_close and db_node_close */

#endif
