/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_PLAN_H
#define NODES_RUNNER_PLAN_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/kind.h"

/* What a keeper is to start: program, working directory, arguments, environment; as bytes in a memory file, so that there is no
 * limit to its size but the kernel's own. */

/* What a command finds in its environment besides what the runner has itself; absent ones NULL. */
struct plan_place {
    const struct kind_text_map *env; /* of the node */
    const char *const *variables;    /* NAME=VALUE, NULL-terminated, last of all */
    const char *const *unset;        /* names of the runner's own, NULL-terminated */
    const char *path_first;          /* folder in front of PATH */
};

/* plan_make appends the plan of a task (the body of task.queued). START with a sentence when there is no such command: what is
 * wrong, where it was looked for. */
int plan_make(struct buf *plan, const json_t *task, const struct plan_place *place, struct ls_error *err);

/* The plan as a keeper reads it; everything points into the memory that was read. */
struct plan {
    void *memory;
    size_t size;
    const char *program, *directory; /* directory "": where the runner is */
    char **arguments, **environment; /* NULL-terminated; one allocation, at `arguments` */
};
int plan_load(struct plan *plan, int fd); /* -1 with errno; takes no hold of fd */
void plan_unload(struct plan *plan);

#endif
