/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_DESCEND_H
#define NODES_RUNNER_DESCEND_H
#include <stddef.h>
#include <sys/types.h>

/* descend_signal sends `signal` to all descendants of `root`, whatever their group or session, but not to those in `spare`
 * and what descends from them. Returns how many there were, the dead that wait for their parent not counted. */
size_t descend_signal(pid_t root, int signal, const pid_t *spare, size_t spare_count);

#endif
