/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_TABLES_H
#define TOPOLOGY_TABLES_H
#include "topology/topology.h"

/* The option tables of a topology, and the steps of reading one. This header is topology's own: nothing outside the folder
 * includes it. */

/* A part of the file with a table: `path` is "broker" or "streams.NAME". */
struct option_section {
    const char *path; /* NULL ends the list; "" is the top level */
    const char *help;
    const struct option_def *table;
};
extern const struct option_section OPTION_SECTIONS[];
extern const struct option_def OPTIONS_TOP[], OPTIONS_BROKER[], OPTIONS_STREAM[], OPTIONS_NODE[], OPTIONS_EXEC[],
    OPTIONS_CONSUMER[], OPTIONS_DELIVERY[];

/* ---- node.c ---- */

/* node_options: OPTIONS_NODE with exec and the built-in kinds as the words of its first row, `kind`. */
const struct option_def *node_options(struct pool *pool, const struct kind *const *kinds);
/* kind_options: a kind's table of options as one of ours; *values (may be NULL) is memory for what it reads. */
const struct option_def *kind_options(struct pool *pool, const struct kind *kind, void **values);
/* node_load reads an entry under `nodes:`, by the common table and then by that of its kind; n->name, n->place and
 * n->at are set. `common` is from node_options. */
void node_load(struct topology *t, struct diag_list *diags, const struct option_def *common, struct topology_node *n);

/* option_place: where an option stands, or `instead` when it is at its default. */
struct place option_place(const struct value *map, const char *key, struct place instead);

/* Checks across the model, in the order they are made. consumers.c: finds or makes the consumer of each node, and
 * the stream of each consumer. settings.c: what options must be together, and what must exist outside the file.
 * wiring.c: streams that hide each other, flows that lead nowhere or in a circle, requests and routes that clash or
 * that nobody answers. */
void consumers_resolve(struct topology *t, struct diag_list *diags);
void settings_check(const struct topology *t, struct diag_list *diags);
void wiring_check(const struct topology *t, struct diag_list *diags);

#endif
