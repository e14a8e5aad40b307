/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `wandb`. */
#include <string.h>

#include "nodes/wandb/options.h"

#define AT(member) .offset = offsetof(struct wandb_options, member)
#define DAY_MS 86400000

/* clang-format off */
static const char *const MODES[] = {"auto", "online", "offline", "disabled", NULL};

static const struct kind_option OPTIONS[] = {
    {"mode", KIND_ENUM, 0, AT(mode), .words = MODES, .fallback = "auto",
     .help = "`online`: to W&B. `offline`: into `.wandb` files, for `wandb sync`. `disabled`: events are taken and dropped. `auto`: what "
             "`WANDB_MODE` says, else online when there is an API key, else offline."},
    {"base_url", KIND_TEXT, 0, AT(base_url),
     .help = "The server; absent: `WANDB_BASE_URL`, else `https://api.wandb.ai`. Proxies are not taken from the environment."},
    {"api_key", KIND_TEXT, KIND_SECRET, AT(api_key),
     .help = "Absent: `WANDB_API_KEY`, else the server's entry in `~/.netrc`. Written as `${env:NAME}` or `${file:PATH}` it is masked "
             "wherever it shows."},
    {"entity", KIND_TEXT, 0, AT(entity), .help = "User or team; absent: `WANDB_ENTITY`, else the key's own."},
    {"project", KIND_TEXT, 0, AT(project),
     .help = "One project for all; absent: `WANDB_PROJECT`, else each experiment and each workflow is a project of its own."},
    {"dir", KIND_TEXT, 0, AT(dir), .fallback = "var/wandb",
     .help = "Folder for `wandb.db`, which knows what was sent, and for offline files. On a local disk."},
    {"flush", KIND_DURATION, 0, AT(flush), .fallback = "2s", .min = 10, .max = 60000,
     .help = "How long a row waits for further metrics of its step, and the time between two uploads of a run."},
    {"heartbeat", KIND_DURATION, 0, AT(heartbeat), .fallback = "30s", .min = 100, .max = 300000,
     .help = "A run without rows gives W&B a sign of life so often; without one it is shown as crashed after some minutes."},
    {"id_keep", KIND_DURATION, 0, AT(id_keep), .fallback = "7d", .min = DAY_MS, .max = 3650 * (int64_t) DAY_MS,
     .help = "How long events are known by their ids, so that one that comes again is exported once; and how long a run may be silent "
             "until it is forgotten."},
    {"in_flight", KIND_INT, 0, AT(in_flight), .fallback = "10000", .min = 1, .max = 10000,
     .help = "Most events that are taken and not yet at W&B; the rest waits in the stream. Stands in place of the node's `window`."},
    {"ca_file", KIND_TEXT, 0, AT(ca_file), .help = "Certificates to trust for https, PEM; absent: the system's."},
    {"pull", KIND_TEXTS, 0, AT(pull),
     .help = "Names of metrics at W&B that are brought onto the bus as `wandb.metric`. Only online."},
    {"pull_project", KIND_TEXT, 0, AT(pull_project), .help = "The project that they are in; absent: `project`."},
    {"pull_every", KIND_DURATION, 0, AT(pull_every), .fallback = "1m", .min = 100, .max = DAY_MS,
     .help = "How often W&B is asked for them."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_ROWS] = {"rows_total", "history lines made"},
    [METRIC_UPLOADED] = {"rows_uploaded_total", "lines that W&B has confirmed"},
    [METRIC_SPOOLED] = {"rows_offline_total", "lines written to offline files"},
    [METRIC_WAITING] = {"events_waiting", "events taken that are neither at W&B nor in an offline file"},
    [METRIC_RUNS] = {"runs_open", "runs that are not closed"},
    [METRIC_PARKED] = {"runs_parked", "runs among them that W&B refused for good; they go into offline files"},
    [METRIC_LATE] = {"points_late_total", "points of a step that was over; they have a row and an axis of their own"},
    {0}};

static const char *const TAKES[] = {"run.>", "task.>", "workflow.run.>", "experiment.>", NULL};
static const char *const GIVES[] = {"wandb.synced", "wandb.metric", "wandb.stopped", NULL};
/* clang-format on */

static bool is_project(const char *name)
{
    return !name || (strlen(name) <= 128 && !strpbrk(name, "/\\#?%:"));
}

static bool check(const void *options, struct kind_problem *problem)
{
    const struct wandb_options *o = options;
    if (o->base_url && strncmp(o->base_url, "http://", 7) != 0 && strncmp(o->base_url, "https://", 8) != 0)
        return kind_complain(problem, "base_url", "the address begins with neither http:// nor https://",
                             "write the server's base, such as https://api.wandb.ai");
    if (!is_project(o->project) || !is_project(o->pull_project))
        return kind_complain(problem, is_project(o->project) ? "pull_project" : "project",
                             "W&B takes no project name with one of / \\ # ? % : or more than 128 bytes",
                             "use another name");
    if (o->pull.count && (o->mode == WANDB_OFFLINE || o->mode == WANDB_DISABLED))
        return kind_complain(problem, "pull", "metrics can be brought from W&B online only",
                             "leave out pull, or say mode: online");
    return true;
}

const struct kind kind_wandb = {
    .name = "wandb",
    .summary = "experiments, runs and workflows at Weights & Biases, or in its offline files",
    .about = "Runs and their metrics, as they come over the bus, become runs and history at Weights & Biases: each "
             "event in one row, "
             "once, whatever crashes or is away meanwhile. Nothing that publishes ever waits for W&B: what it has not "
             "got yet waits in "
             "the stream. Offline, or when W&B refuses a run, the rows go into a `.wandb` file, which `wandb sync` "
             "sends later.",
    .options = OPTIONS,
    .options_size = sizeof(struct wandb_options),
    .takes = TAKES,
    .gives = GIVES,
    .metrics = METRICS,
    .check = check,
};
