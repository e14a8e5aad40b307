/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_LAUNCH_H
#define CLI_UP_LAUNCH_H
#include <stdbool.h>

#include "topology/topology.h"

/* How the process of a node is started, by `up` and by `node`: its command and its environment (docs/nodes/exec.md). */

/* launch_self: the path of this executable; static memory. */
const char *launch_self(void);

/* launch_beside: where a program is that stands in the same folder; the caller frees it. */
char *launch_beside(const char *program);

/* launch_texts copies a NULL-terminated list; launch_texts_free frees one. */
char **launch_texts(char *const *texts);
void launch_texts_free(char **texts);

/* launch_set puts `entry` ("NAME=value", taken) into an environment, in place of one of that name. */
void launch_set(char ***env, char *entry);

/* launch_url: where nodes of this host reach a broker that listens there; the caller frees it. */
char *launch_url(const char *host, int port);

/* launch_member: the name of a replica, NAME or NAME.N; the caller frees it. */
char *launch_member(const struct topology_node *node, long replica);

/* launch_command: what is executed; launch_environment: ours, and what the node is told. The caller frees them. */
char **launch_command(const struct topology_node *node);
char **launch_environment(const struct topology_node *node, long replica, const char *url);

/* launch_possible: false after a message on standard error when the program of built-in kinds is not where it must be. */
bool launch_possible(const char *command, const struct topology_node *node);

#endif
