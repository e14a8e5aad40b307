/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `scheduler`. */
#include "nodes/scheduler/options.h"

#include <stdlib.h>
#include <string.h>

#define AT(member) .offset = offsetof(struct scheduler_options, member)
#define SECOND_MS ((int64_t) 1000)
#define DAY_MS (86400 * SECOND_MS)

/* clang-format off */
static const struct kind_option OPTIONS[] = {
    {"database", KIND_TEXT, KIND_SECRET, AT(database), .fallback = "sqlite:var/scheduler.db",
     .help = "Where runs and their states are kept: `sqlite:PATH`, or `postgresql://USER:PASSWORD@HOST/NAME`. Of several schedulers on one "
             "database one works, the others stand by."},
    {"workflows", KIND_TEXTS, 0, AT(workflows),
     .help = "Folders and files with workflows, one in each `*.yaml` (docs/workflows.md); by default `config/workflows`. "
             "They are watched: a change counts at once, a file with mistakes leaves the last good version at work."},
    {"lease", KIND_DURATION, 0, AT(lease), .fallback = "30s", .min = SECOND_MS, .max = 3600 * SECOND_MS,
     .help = "How long a runner may be silent. A quarter later its tries are lost."},
    {"pools", KIND_TEXT_MAP, 0, AT(pools),
     .help = "Slots by the name of the pool, such as `gpu: 2`, which tasks share by `pool` and `pool_slots`. The pool "
             "`default` has 128 unless it is given here."},
    {"max_active_tasks", KIND_INT, 0, AT(max_active_tasks), .fallback = "32", .min = 1, .max = 1000000,
     .help = "Most tasks that are queued at runners or running at a time, over all workflows."},
    {"history", KIND_DURATION, 0, AT(history), .fallback = "90d", .min = 3600 * SECOND_MS, .max = 36500 * DAY_MS,
     .help = "How long runs that are over are kept in the database. Their events are kept as the stream says."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_WORKFLOWS] = {"workflows", "workflows that are known and have a file"},
    [METRIC_PROBLEMS] = {"problems", "mistakes in workflow files"},
    [METRIC_RUNS_QUEUED] = {"runs_queued", "runs that wait"},
    [METRIC_RUNS_RUNNING] = {"runs_running", "runs under way"},
    [METRIC_TASKS_WAITING] = {"tasks_waiting", "tasks that wait for a slot"},
    [METRIC_TASKS_ACTIVE] = {"tasks_active", "tasks queued at runners or running"},
    [METRIC_RUNS_SUCCEEDED] = {"runs_succeeded_total", "runs that succeeded"},
    [METRIC_RUNS_FAILED] = {"runs_failed_total", "runs that failed or were cancelled"},
    [METRIC_TASKS_SUCCEEDED] = {"tasks_succeeded_total", "tasks that succeeded"},
    [METRIC_TASKS_FAILED] = {"tasks_failed_total", "tasks that failed for good"},
    [METRIC_TASKS_RETRIED] = {"tasks_retried_total", "tries that failed and are followed by another"},
    [METRIC_TRIES_LOST] = {"tries_lost_total", "tries whose runner went away"},
    [METRIC_LATE_REPORTS] = {"late_reports_total", "reports of tries that were given up before"},
    [METRIC_TICKS] = {"ticks_total", "runs made by a schedule in time"},
    [METRIC_TICK_LATE_MS] = {"tick_late_seconds_total", "sum over them of the time from the tick to the run"},
    [METRIC_TASK_LAG_MS] = {"task_lag_seconds_total", "sum over tries of the time from met dependencies to a slot"},
    [METRIC_COMMITS] = {"commits_total", "transactions"},
    [METRIC_OUTBOX] = {"outbox", "events that the broker has not acknowledged"},
    {0}};

static const struct kind_route ROUTES[] = {
    {"GET", "/api/workflows", "scheduler.list", .summary = "workflows, and mistakes in their files"},
    {"PATCH", "/api/workflows/{workflow}", "scheduler.pause", .summary = "pause a workflow, or let it go on"},
    {"GET", "/api/workflows/{workflow}/next", "scheduler.next", .summary = "when a workflow runs next"},
    {"POST", "/api/workflows/{workflow}/runs", "scheduler.run", .summary = "start a run"},
    {"GET", "/api/workflows/{workflow}/runs", "scheduler.runs", .summary = "runs of a workflow, newest first"},
    {"GET", "/api/workflows/{workflow}/runs/{workflow_run_id}", "scheduler.show", .summary = "a run and its tasks"},
    {"POST", "/api/workflows/{workflow}/runs/{workflow_run_id}/cancel", "scheduler.cancel", .summary = "stop a run"},
    {"POST", "/api/workflows/{workflow}/runs/{workflow_run_id}/clear", "scheduler.clear", .summary = "run tasks again"},
    {"GET", "/api/workflows/{workflow}/runs/{workflow_run_id}/tasks/{task}", "scheduler.explain",
     .summary = "a task, and why it is in its state"},
    {0}};
/* clang-format on */

static bool check(const void *options, struct kind_problem *problem)
{
    const struct scheduler_options *o = options;
    static const char *const SCHEMES[] = {"sqlite:", "postgresql://", "postgres://"};
    bool known = false;
    for (size_t i = 0; o->database && i < sizeof SCHEMES / sizeof SCHEMES[0]; i++)
        known |= strncmp(o->database, SCHEMES[i], strlen(SCHEMES[i])) == 0;
    if (!known)
        return kind_complain(problem, "database", "the database is neither sqlite:PATH nor postgresql://...",
                             "database: sqlite:var/scheduler.db");
    for (size_t i = 0; i < o->pools.count; i++) {
        char *end;
        long slots = strtol(o->pools.values[i], &end, 10);
        if (*end || end == o->pools.values[i] || slots < 1 || slots > 1000000)
            return kind_complain(problem, "pools", "the slots of a pool are no number from 1 to 1000000",
                                 "pools: { gpu: 2 }");
    }
    return true;
}

const struct kind kind_scheduler = {
    .name = "scheduler",
    .summary = "runs workflows: by the clock, by events, by hand",
    .about = "Reads workflows (docs/workflows.md), makes their runs, and brings each task to its end: commands through "
             "runners (docs/nodes/task-run.md), "
             "events and requests by itself. Every change of a state is one row in its database and one event, written "
             "together. Events that start "
             "workflows are found in the workflow files and subscribed to while it runs, so they do not stand in its "
             "`takes`.",
    .options = OPTIONS,
    .options_size = sizeof(struct scheduler_options),
    .takes = KIND_TOPICS("task.started", "task.ended"),
    .gives = KIND_TOPICS("task.scheduled", "task.queued", "task.started", "task.cancel", "task.cleared",
                         "task.succeeded", "task.failed", "task.retrying", "task.skipped", "workflow.>"),
    .serves = KIND_TOPICS("scheduler.>", "task.claim", "task.renew"),
    .slots = 256,
    .routes = ROUTES,
    .metrics = METRICS,
    .check = check,
};
