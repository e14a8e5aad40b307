/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_WANDB_OPTIONS_H
#define NODES_WANDB_OPTIONS_H
#include "lib/kind.h"

enum wandb_mode { WANDB_AUTO, WANDB_ONLINE, WANDB_OFFLINE, WANDB_DISABLED };

struct wandb_options {
    int mode; /* enum wandb_mode */
    const char *base_url, *api_key, *entity, *project, *dir, *ca_file;
    int64_t flush, heartbeat, id_keep;
    int64_t in_flight;
    struct kind_texts pull;
    const char *pull_project;
    int64_t pull_every;
};

enum wandb_metric {
    METRIC_ROWS,     /* history lines made */
    METRIC_UPLOADED, /* lines that W&B has */
    METRIC_SPOOLED,  /* lines in offline files */
    METRIC_WAITING,  /* events not yet at W&B */
    METRIC_RUNS,     /* runs that are not closed */
    METRIC_PARKED,   /* runs among them that W&B refused */
    METRIC_LATE,     /* points of an earlier step */
};

extern const struct kind kind_wandb;

#endif
