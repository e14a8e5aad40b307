/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `runner`. */
#include <stdlib.h>
#include <string.h>

#include "nodes/runner/options.h"

#define AT(member) .offset = offsetof(struct runner_options, member)
#define HOUR_MS ((int64_t) 3600000)
#define MIB ((int64_t) 1 << 20)
#define RATE_MAX (1024 * MIB)

/* clang-format off */
static const struct kind_option OPTIONS[] = {
    {"slots", KIND_INT, 0, AT(slots), .fallback = "2", .min = 1, .max = 1000,
     .help = "Most commands that each of its processes runs at a time."},
    {"dir", KIND_TEXT, 0, AT(dir), .fallback = "var/runner",
     .help = "Folder for logs, `logs/WORKFLOW/RUN/TASK/attempt=N.log`, and for what it must know after a crash. On a local disk."},
    {"kill_after", KIND_DURATION, 0, AT(kill_after), .fallback = "10s", .min = 0, .max = HOUR_MS,
     .help = "A command that is to end gets SIGTERM, and so much later SIGKILL, with all that it started."},
    {"env", KIND_TEXT_MAP, KIND_SECRET, AT(env),
     .help = "Further environment variables for commands; those of a task come on top."},
    {"log_max", KIND_SIZE, 0, AT(log_max), .fallback = "64MiB", .min = 4096, .max = 1024 * 1024 * MIB,
     .help = "Largest log of one try. What a command writes beyond it is dropped; the last line of the log says so."},
    {"log_keep", KIND_DURATION, 0, AT(log_keep), .fallback = "30d", .min = 60000, .max = 36500 * 24 * HOUR_MS,
     .help = "Logs that are older are removed."},
    {"log_keep_size", KIND_SIZE, 0, AT(log_keep_size), .fallback = "1GiB", .min = MIB, .max = 1024 * 1024 * MIB,
     .help = "When all logs together are larger, the oldest are removed."},
    {"log_events", KIND_TEXT, 0, AT(log_events), .fallback = "64KiB",
     .help = "How much of a try's log goes onto the bus while it runs: a size, most bytes a second (a burst of twice that); "
             "`full`; `tail`, the last 16 KiB at its end; `none`. The file has it all; what is left out shows as a gap in "
             "`log_offset`."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_RUNNING] = {"tries_running", "commands that run"},
    [METRIC_STARTED] = {"tries_started_total", "commands started"},
    [METRIC_SUCCEEDED] = {"tries_succeeded_total", "tries that ended with exit status 0"},
    [METRIC_FAILED] = {"tries_failed_total", "tries that ended in another way"},
    [METRIC_LOST] = {"tries_lost_total", "tries among them that were lost: the lease, a keeper or a former process of this runner ended"},
    [METRIC_REFUSED] = {"claims_refused_total", "tries that the scheduler gave to another, or knows to be over"},
    [METRIC_CLAIM_RETRIES] = {"claim_retries_total", "claims that were not answered and asked again"},
    [METRIC_RENEWALS] = {"renewals_total", "renewals of the lease, by the scheduler or because none is there"},
    [METRIC_RENEWALS_FAILED] = {"renewals_failed_total", "renewals of the lease that were not answered"},
    [METRIC_LOG_BYTES] = {"log_bytes_total", "bytes that commands wrote to their logs"},
    [METRIC_LOG_BYTES_UNSENT] = {"log_unsent_bytes_total", "bytes of them that did not go onto the bus"},
    [METRIC_KEEPERS_LOST] = {"keepers_lost_total", "keepers that were killed"},
    {0}};
/* clang-format on */

bool runner_log_events(const char *text, enum log_events *events, int64_t *rate)
{
    static const struct {
        const char *word;
        enum log_events events;
    } WORDS[] = {{"full", LOG_EVENTS_FULL}, {"tail", LOG_EVENTS_TAIL}, {"none", LOG_EVENTS_NONE}};
    static const struct {
        const char *unit;
        int64_t bytes;
    } UNITS[] = {{"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", MIB}, {"GiB", 1024 * MIB}};
    char *unit;
    *rate = 0;
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (strcmp(text, WORDS[i].word) == 0) {
            *events = WORDS[i].events;
            return true;
        }
    *events = LOG_EVENTS_RATE;
    long long count = strtoll(text, &unit, 10);
    size_t len = strlen(unit) >= 2 && strcmp(unit + strlen(unit) - 2, "/s") == 0 ? strlen(unit) - 2 : strlen(unit);
    for (size_t i = 0; unit > text && i < sizeof UNITS / sizeof *UNITS; i++)
        if (strlen(UNITS[i].unit) == len && memcmp(UNITS[i].unit, unit, len) == 0 && count > 0 &&
            count <= RATE_MAX / UNITS[i].bytes) {
            *rate = count * UNITS[i].bytes;
            return true;
        }
    return false;
}

static bool check(const void *options, struct kind_problem *problem)
{
    const struct runner_options *o = options;
    enum log_events events;
    int64_t rate;
    if (!runner_log_events(o->log_events, &events, &rate))
        return kind_complain(problem, "log_events",
                             "\"log_events\" says neither how much of a log goes onto the bus nor that none does",
                             "write bytes a second, such as 64KiB, or full, tail or none");
    if (!o->dir[0])
        return kind_complain(problem, "dir", "\"dir\" is empty", "name a folder on a local disk, or leave it out");
    for (size_t i = 0; i < o->env.count; i++)
        if (!o->env.keys[i][0] || strchr(o->env.keys[i], '='))
            return kind_complain(problem, "env", "a variable in \"env\" has no name, or one with \"=\" in it",
                                 "write NAME: value");
    return true;
}

const struct kind kind_runner = {
    .name = "runner",
    .summary = "runs the commands of workflows",
    .about = "Takes tries of tasks as a group, so work spreads over its processes and over machines, and claims each "
             "from the scheduler before it "
             "starts it: a command is started at most once. It runs in a process group of its own, its output goes to "
             "a file and in pieces onto "
             "the bus, and when it is over nothing that it started is left, whatever happens to the runner meanwhile.",
    .takes = KIND_TOPICS("task.queued"),
    .gives = KIND_TOPICS("task.started", "task.progress", "task.ended"),
    .asks = KIND_TOPICS("task.claim", "task.renew"),
    .options = OPTIONS,
    .options_size = sizeof(struct runner_options),
    .metrics = METRICS,
    .check = check,
};
