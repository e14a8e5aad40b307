/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CHECK_WORKFLOWS_H
#define CLI_CHECK_WORKFLOWS_H
#include "topology/topology.h"
#include "workflow/workflow.h"

/* The workflow files that the schedulers of a topology read, for `lineshaft check`. Zero-initialise to start. */
struct checked_workflow {
    struct workflow_file *file;
    struct diag_list diags; /* its problems, in the order of the file */
};

struct check_workflows {
    struct checked_workflow **items;
    size_t count, room;
    struct text_list pools; /* of all schedulers */
};

/* check_workflow_load reads one file. */
struct checked_workflow *check_workflow_load(struct check_workflows *all, const char *path);
/* check_workflows_load reads all files of the nodes of kind `scheduler`, and checks them against the topology:
 * events that no stream keeps or nobody takes, requests that nobody serves, pools that there are not. Problems with
 * the folders go to `diags`, whose source is the topology. */
void check_workflows_load(struct check_workflows *all, const struct topology *t, struct diag_list *diags);
void check_workflows_fini(struct check_workflows *all);

#endif
