/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_SCHEDULER_OPTIONS_H
#define NODES_SCHEDULER_OPTIONS_H
#include "lib/kind.h"

/* What the tables (kind.c) and the code share. The help of each option is in kind.c. */

#define SCHEDULER_POOL "default" /* for tasks that name none */
#define SCHEDULER_POOL_SLOTS 128

struct scheduler_options {
    const char *database;
    struct kind_texts workflows;
    int64_t lease;
    struct kind_text_map pools;
    int64_t max_active_tasks;
    int64_t history;
};

enum scheduler_metric {
    METRIC_WORKFLOWS,
    METRIC_PROBLEMS,
    METRIC_RUNS_QUEUED,
    METRIC_RUNS_RUNNING,
    METRIC_TASKS_WAITING,
    METRIC_TASKS_ACTIVE,
    METRIC_RUNS_SUCCEEDED,
    METRIC_RUNS_FAILED,
    METRIC_TASKS_SUCCEEDED,
    METRIC_TASKS_FAILED,
    METRIC_TASKS_RETRIED,
    METRIC_TRIES_LOST,
    METRIC_LATE_REPORTS,
    METRIC_TICKS,
    METRIC_TICK_LATE_MS,
    METRIC_TASK_LAG_MS,
    METRIC_COMMITS,
    METRIC_OUTBOX,
    METRIC_COUNT
};

extern const struct kind kind_scheduler;

#endif
