/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `tracker`. */
#include <string.h>

#include "nodes/tracker/ops.h"
#include "nodes/tracker/options.h"

#define AT(member) .offset = offsetof(struct tracker_options, member)

/* clang-format off */
static const struct kind_option OPTIONS[] = {
    {"database", KIND_TEXT, KIND_SECRET, AT(database), .fallback = "sqlite:var/tracker.db",
     .help = "Where runs and models are kept, in MLflow's own tables: `sqlite:PATH`, or `postgresql://USER@HOST/NAME`. "
             "Written with `${env:NAME}` it is masked wherever it shows."},
    {"artifact_root", KIND_TEXT, 0, AT(artifact_root), .fallback = "file:var/artifacts",
     .help = "URI below which new experiments have their files: `file:PATH`, `s3://BUCKET/PATH`, or `mlflow-artifacts:/` where "
             "clients shall go through the server. Relative paths become absolute."},
    {"chat_experiment", KIND_TEXT, 0, AT(chat_experiment), .fallback = "chat",
     .help = "Experiment in which each chat turn becomes a run; empty: chats are not tracked."},
    {"chat_text", KIND_BOOL, 0, AT(chat_text), .fallback = "true",
     .help = "Keep the answer of a chat turn, as the tag `answer`."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_FACTS] = {"facts_total", "facts applied to the tables: own ones, and events from the bus"},
    [METRIC_REJECTED] = {"rejected_total", "events that can never be applied; they are dead letters"},
    [METRIC_BATCHES] = {"batches_total", "transactions in which events were applied"},
    [METRIC_OUTBOX] = {"outbox", "own facts that are committed and have not come back on the bus yet"},
    [METRIC_REFUSED] = {"refused_total", "own facts that the broker refused for good"},
    {0}};

#define API_ROUTE(name, method, path, topic, says) {method, "/api/2.0/mlflow" path, "tracker." topic, .summary = says},
#define AJAX_ROUTE(name, method, path, topic, says) {method, "/ajax-api/2.0/mlflow" path, "tracker." topic, .summary = says},
static const struct kind_route ROUTES[] = {
    TRACKER_OPS(API_ROUTE)
    TRACKER_OPS(AJAX_ROUTE)
    {"GET", "/health", "tracker.health", .summary = "the tracker takes requests"},
    {"GET", "/version", "tracker.version", .summary = "the MLflow release whose API and tables these are"},
    {0}};

static const char *const TAKES[] = {"run.>",         "experiment.>", "model.>",       "chat.completed",
                                    "chat.feedback", "chat.failed",  "chat.cancelled", "task.failed", "task.retrying", NULL};
static const char *const GIVES[] = {
    "experiment.created", "experiment.updated", "run.created", "run.updated", "run.deleted", "run.metric", "run.param",
    "run.tag", "run.input", "run.output", "model.registered", "model.updated", "model.deleted", "model.version.created",
    "model.version.updated", "model.alias.set", "model.alias.deleted", "model.logged", "model.logged.updated", NULL};
static const char *const SERVES[] = {"tracker.>", NULL};
/* clang-format on */

/* Files that are in the store of the `artifacts` node are listed by it. */
static const struct kind_wiring *wiring(const void *options)
{
    static const char *const ASKS[] = {"artifacts.list", NULL};
    static const struct kind_wiring OF_STORE = {GIVES, ASKS};
    const struct tracker_options *o = options;
    return strncmp(o->artifact_root, "mlflow-artifacts:", 17) == 0 ? &OF_STORE : NULL;
}

/* What follows is looked at by the node (nodes/kit/db.h), which this program does not link. */
static bool is_database(const char *url)
{
    return (kind_begins(url, "sqlite:") && url[7]) || kind_begins(url, "postgresql://") || kind_begins(url, "postgres://");
}

/* Schemes that MLflow's clients know; the tracker itself reads files and asks the store. */
static bool has_scheme(const char *uri)
{
    static const char *const SCHEMES[] = {"file", "s3", "mlflow-artifacts", "gs", "wasb", "wasbs", "abfs", "abfss", "adl", "r2", "b2",
                                          "hdfs", "viewfs", "dbfs", "ftp", "sftp", "http", "https"};
    size_t len = strcspn(uri, ":");
    for (size_t i = 0; i < sizeof SCHEMES / sizeof *SCHEMES; i++)
        if (strlen(SCHEMES[i]) == len && memcmp(uri, SCHEMES[i], len) == 0)
            return true;
    return false;
}

static bool check(const void *options, struct kind_problem *problem)
{
    const struct tracker_options *o = options;
    const char *colon = strchr(o->artifact_root, ':');
    if (!is_database(o->database))
        return kind_complain(problem, "database", "that is no database", "write sqlite:PATH or postgresql://USER@HOST/NAME");
    if (!colon || colon == o->artifact_root || !colon[1])
        return kind_complain(problem, "artifact_root", "that is no URI",
                             "write file:PATH, s3://BUCKET/PATH or mlflow-artifacts:/");
    if (!has_scheme(o->artifact_root))
        return kind_complain(problem, "artifact_root", "MLflow's clients know no URIs that begin so",
                             kind_begins(o->artifact_root, "mlflow") ? "did you mean mlflow-artifacts:/?"
                             : kind_begins(o->artifact_root, "s3")   ? "did you mean s3://BUCKET/PATH?"
                                                                     : "write file:PATH, s3://BUCKET/PATH or mlflow-artifacts:/");
    if (strlen(o->artifact_root) > 120)
        return kind_complain(problem, "artifact_root",
                             "the URI has more than 120 characters: those of runs would not fit into MLflow's tables",
                             "use a shorter path");
    if (strlen(o->chat_experiment) > 256)
        return kind_complain(problem, "chat_experiment", "the name has more than 256 bytes", "use a shorter name");
    return true;
}

const struct kind kind_tracker = {
    .name = "tracker",
    .summary = "experiments, runs and models, in MLflow's tables and with its API",
    .about = "Whatever MLflow's clients, its UI or its server do with experiments, runs, metrics, registered models "
             "and aliases works here: over HTTP "
             "through ingress, as requests over the bus, and in the database itself. Every change is an event; events "
             "of others, such as run.metric "
             "or chat.completed, become rows. Several trackers with one database: one works, the others stand by.",
    .options = OPTIONS,
    .options_size = sizeof(struct tracker_options),
    .takes = TAKES,
    .gives = GIVES,
    .serves = SERVES,
    .serves_routes_only = true,
    .slots = 64,
    .routes = ROUTES,
    .metrics = METRICS,
    .check = check,
    .wiring = wiring,
};
