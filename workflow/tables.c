/* SPDX-License-Identifier: Apache-2.0 */
/* The option tables: every key of a workflow file with its type, default, range and help, and the names that other
 * systems have for them. */
#include "workflow/load.h"

/* clang-format off */
#define SECONDS(n) ((n) * INT64_C(1000))
#define HOURS(n) SECONDS((n) * INT64_C(3600))
#define DAYS(n) HOURS((n) * INT64_C(24))

#define WORDS(...) .words = (const char *const[]){__VA_ARGS__, NULL}

static const char *const CATCHUPS[] = {"none", "latest", "all", NULL};
static const char *const POLICIES[] = {"queue", "skip", "cancel", NULL};
const char *const TASK_TYPES[] = {"command", "event", "request", NULL};
const char *const INPUT_TYPES[] = {"string", "integer", "number", "boolean", "object", "array", NULL};

const struct synonym SYNONYMS_WORKFLOW[] = {{"dag_id", "id"}, {"params", "inputs"}, {"default_args", "defaults"}, {0}};
const struct synonym SYNONYMS_TASK[] = {{"needs", "depends_on"}, {0}};

#define AT(member) .offset = offsetof(struct sheet, member)
static const struct option_def OPTIONS_CONCURRENCY[] = {
    {"limit", OPTION_INT, AT(concurrency.limit), .min = 1, .max = 10000, .help = "The same as `max_active_runs`."},
    {"policy", OPTION_ENUM, AT(concurrency.policy), .fallback = "queue", .words = POLICIES,
     .help = "What happens to a new run when so many are active: it waits, it is skipped, or the oldest active one "
             "is cancelled."},
    {0}};

const struct option_def OPTIONS_WORKFLOW[] = {
    {"id", OPTION_TEXT, AT(id),
     .help = "Its name, the same on all machines; by default the name of the file without its ending. Also: "
             "`dag_id`."},
    {"description", OPTION_TEXT, AT(w.description), .help = "A sentence for people."},
    {"tags", OPTION_TEXTS, AT(tags), .help = "Words to find it by."},
    {"schedule", OPTION_SECTION, WORDS("text", "list", "map"),
     .help = "When it runs: a cron expression, a list of them, or a map, see below. None: by hand and by events "
             "only."},
    {"timezone", OPTION_TEXT, AT(timezone), .fallback = "UTC",
     .help = "IANA name of the zone that `schedule`, `start_date` and `end_date` are meant in: `Europe/Berlin`."},
    {"start_date", OPTION_SECTION, WORDS("time"),
     .help = "No scheduled run before it: `2026-01-31`, `2026-01-31T08:00` (in `timezone`), or with an offset. "
             "`every` counts from it."},
    {"end_date", OPTION_SECTION, WORDS("time"),
     .help = "No scheduled run after it; a date alone means to the end of that day."},
    {"catchup", OPTION_ENUM, AT(w.catchup), .fallback = "latest", .words = CATCHUPS,
     .help = "Runs that were missed while nothing was running or the workflow was paused: make up none, the latest, "
             "or all. Also: `true` is `all`, `false` is `latest`."},
    {"catchup_window", OPTION_DURATION, AT(w.catchup_window_ms), .fallback = "366d", .min = SECONDS(1), .max = DAYS(36500),
     .help = "Missed runs older than that are not made up."},
    {"triggers", OPTION_SECTION, WORDS("list of maps"), .help = "Events that start a run each, see below."},
    {"inputs", OPTION_SECTION, WORDS("map"), .help = "Values that a run is given, see below. Also: `params`."},
    {"max_active_runs", OPTION_INT, AT(w.max_active_runs), .fallback = "16", .min = 1, .max = 10000,
     .help = "So many runs at a time."},
    {"concurrency", OPTION_GROUP, .table = OPTIONS_CONCURRENCY, .help = "Runs at a time, in other words:"},
    {"max_active_tasks", OPTION_INT, AT(w.max_active_tasks), .fallback = "16", .min = 1, .max = 10000,
     .help = "So many of its tasks at a time, over all its runs."},
    {"max_consecutive_failures", OPTION_INT, AT(w.max_consecutive_failures), .fallback = "0", .min = 0, .max = 10000,
     .help = "So many failed runs in a row pause it; 0: never."},
    {"timeout", OPTION_DURATION, AT(w.timeout_ms), .fallback = "0s", .min = 0, .max = DAYS(366),
     .help = "A run that takes longer fails; 0: no limit."},
    {"paused", OPTION_BOOL, AT(w.paused), .fallback = "false",
     .help = "Paused when it is first seen; from then on `lineshaft workflow` decides."},
    {"defaults", OPTION_SECTION, WORDS("map"),
     .help = "Options that all tasks have unless they say otherwise; `env` and `retry` are merged. Also: "
             "`default_args`."},
    {"tasks", OPTION_SECTION, OPTION_REQUIRED, WORDS("list of maps", "map of maps"),
     .help = "What is to be done: a list of tasks, or a map from their ids; see below. In any order."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct schedule_draft, member)
const struct option_def OPTIONS_SCHEDULE[] = {
    {"cron", OPTION_TEXTS, AT(cron), .help = "A cron expression, or a list of them."},
    {"every", OPTION_DURATION, AT(every), .min = SECONDS(1), .max = DAYS(366),
     .help = "A run after each such time, counted from `start_date`, or from when the workflow was first seen."},
    {"at", OPTION_TEXTS, AT(at), .help = "A single time, or a list of them, written as `start_date`."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct trigger_draft, member)
const struct option_def OPTIONS_TRIGGER[] = {
    {"event", OPTION_SECTION, OPTION_REQUIRED, WORDS("pattern"),
     .help = "A topic, or a pattern, of events in a stream."},
    {"filter", OPTION_TEXT, AT(filter),
     .help = "An expression over `event`; only events for which it is true start a run."},
    {"key", OPTION_TEXT, AT(key),
     .help = "A template over `event`: of events with the same key only the first starts a run. By default the "
             "event's source and id."},
    {"inputs", OPTION_SECTION, WORDS("map"), .help = "A map of inputs for the run, templates over `event`."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct input_draft, member)
const struct option_def OPTIONS_INPUT[] = {
    {"type", OPTION_ENUM, AT(type), .words = INPUT_TYPES, .help = "By default that of `default`, else `string`."},
    {"default", OPTION_SECTION, WORDS("any value"), .help = "The value when none is given."},
    {"required", OPTION_BOOL, AT(required), .fallback = "false", .help = "Without a value no run starts."},
    {"description", OPTION_TEXT, AT(description), .help = "A sentence for people."},
    {0}};
#undef AT

#define AT(member) .offset = offsetof(struct draft, member)
static const struct option_def OPTIONS_RETRY[] = {
    {"limit", OPTION_INT, AT(task.retry.limit), .fallback = "0", .min = 0, .max = 1000,
     .help = "Further tries after the first. Also: `retries` of the task."},
    {"delay", OPTION_DURATION, AT(task.retry.delay_ms), .fallback = "30s", .min = 0, .max = DAYS(30),
     .help = "Before the second try. Also: `retry_delay` of the task."},
    {"backoff", OPTION_NUMBER, AT(task.retry.backoff), .fallback = "2",
     .help = "Each delay is so many times the one before, 1 to 100; 1: always the same."},
    {"max_delay", OPTION_DURATION, AT(task.retry.max_delay_ms), .fallback = "1h", .min = 0, .max = DAYS(30),
     .help = "Longest delay."},
    {"jitter", OPTION_BOOL, AT(task.retry.jitter), .fallback = "true",
     .help = "Lengthen each delay by up to as much again, so that not all try at once."},
    {"exit_codes", OPTION_SECTION, WORDS("list of numbers"),
     .help = "Try again only after these exit codes of the command; by default after all but 0."},
    {"lost_limit", OPTION_INT, AT(task.retry.lost_limit), .fallback = "3", .min = 0, .max = 1000,
     .help = "Tries whose runner went away count apart: so many of them are tried again."},
    {0}};

const struct option_def OPTIONS_TASK_DEFAULTS[] = {
    {"env", OPTION_TEXT_MAP, OPTION_SECRET, AT(environment),
     .help = "Environment variables of the command; templates."},
    {"directory", OPTION_TEXT, AT(task.directory), .help = "Folder to run the command in; by default the runner's."},
    {"trigger_rule", OPTION_ENUM, AT(task.trigger_rule), .fallback = "all_success", .words = TRIGGER_RULES,
     .help = "What must have become of the tasks in `depends_on`, see below."},
    {"when", OPTION_TEXT, AT(when), .help = "An expression; when it is false, the task is skipped."},
    {"retry", OPTION_GROUP, .table = OPTIONS_RETRY, WORDS("map", "number"),
     .help = "When it fails. `retry: 3` is short for `retry: {limit: 3}`."},
    {"timeout", OPTION_DURATION, AT(task.timeout_ms), .fallback = "0s", .min = 0, .max = DAYS(366),
     .help = "A try that takes longer is ended and has failed; 0: no limit."},
    {"pool", OPTION_TEXT, AT(task.pool), .fallback = "default",
     .help = "Pool of the scheduler that it takes slots of."},
    {"pool_slots", OPTION_INT, AT(task.pool_slots), .fallback = "1", .min = 1, .max = 10000, .help = "How many slots."},
    {"priority", OPTION_INT, AT(task.priority), .fallback = "0", .min = -1000000, .max = 1000000,
     .help = "Where slots are short, the higher goes first."},
    {"disabled", OPTION_BOOL, AT(task.disabled), .fallback = "false", .help = "Always skipped."},
    {0}};

const struct option_def OPTIONS_TASK[] = {
    {"id", OPTION_SECTION, WORDS("text"), .help = "Its name within the workflow; in a map of tasks, the key."},
    {"command", OPTION_COMMAND, AT(command),
     .help = "A program and its arguments as a list, or a text for `/bin/sh -c`; templates. A runner runs it."},
    {"event", OPTION_TEXT, AT(event), .help = "Or: topic of an event that the task publishes; a template."},
    {"request", OPTION_TEXT, AT(request),
     .help = "Or: topic of a request that it sends; a template. An object as the answer becomes its outputs."},
    {"data", OPTION_SECTION, WORDS("any value"), .help = "Body of the event or request, templates inside."},
    {"type", OPTION_ENUM, AT(type), .words = TASK_TYPES, .help = "Which of the three it is; need not be said."},
    {"depends_on", OPTION_TEXTS, AT(depends_on), .help = "Ids of the tasks before it, or one id. Also: `needs`."},
    {"", OPTION_INLINE, .table = OPTIONS_TASK_DEFAULTS, .help = ""},
    {0}};
#undef AT

/* ---- what people who come from Airflow, Argo, Dagu, Kestra or GitHub write ---- */

#define HERE(name) "here it is \"" name "\""
#define OF_TASKS(name) "it is an option of tasks; for all of them: defaults: {" name ": ...}"
#define CALLBACKS "there are events instead: a workflow with triggers: [workflow.run.failed] does what is to be done"

const struct option_elsewhere ELSEWHERE_WORKFLOW[] = {
    {"name", HERE("id")},
    {"schedule_interval", HERE("schedule")},
    {"cron", HERE("schedule")},
    {"every", "it stands in the schedule: schedule: {every: 10m}"},
    {"on", "here it is \"schedule\" for times, \"triggers\" for events"},
    {"steps", HERE("tasks")},
    {"jobs", HERE("tasks")},
    {"labels", HERE("tags")},
    {"parameters", HERE("inputs")},
    {"dagrun_timeout", HERE("timeout")},
    {"timeout_sec", HERE("timeout")},
    {"is_paused_upon_creation", HERE("paused")},
    {"suspend", HERE("paused")},
    {"disabled", HERE("paused")},
    {"max_consecutive_failed_dag_runs", HERE("max_consecutive_failures")},
    {"concurrencyPolicy", "here it is concurrency: {limit: 1, policy: skip}"},
    {"overlap_policy", "here it is concurrency: {limit: 1, policy: skip}"},
    {"env", OF_TASKS("env")},
    {"pool", OF_TASKS("pool")},
    {"retry", OF_TASKS("retry")},
    {"retries", OF_TASKS("retries")},
    {"retry_delay", OF_TASKS("retry_delay")},
    {"on_failure_callback", CALLBACKS},
    {"on_success_callback", CALLBACKS},
    {0}};

const struct option_elsewhere ELSEWHERE_SCHEDULE[] = {
    {"timezone", "it stands beside \"schedule\", not in it"},
    {"start_date", "it stands beside \"schedule\", not in it"},
    {"end_date", "it stands beside \"schedule\", not in it"},
    {"interval", HERE("every")},
    {0}};

const struct option_elsewhere ELSEWHERE_TRIGGER[] = {
    {"topic", HERE("event")}, {"if", HERE("filter")}, {"when", HERE("filter")}, {"params", HERE("inputs")}, {0}};

const struct option_elsewhere ELSEWHERE_TASK[] = {
    {"task_id", HERE("id")},
    {"name", HERE("id")},
    {"bash_command", HERE("command")},
    {"run", HERE("command")},
    {"script", HERE("command")},
    {"operator", "say what to do: command: [program, argument], event: topic, or request: topic"},
    {"dependencies", HERE("depends_on")},
    {"depends", HERE("depends_on")},
    {"dependsOn", HERE("depends_on")},
    {"upstream", HERE("depends_on")},
    {"if", HERE("when")},
    {"runIf", HERE("when")},
    {"preconditions", HERE("when")},
    {"execution_timeout", HERE("timeout")},
    {"timeout_sec", HERE("timeout")},
    {"retry_exponential_backoff", "here it is retry: {backoff: 2}"},
    {"max_retry_delay", "here it is retry: {max_delay: 1h}"},
    {"priority_weight", HERE("priority")},
    {"queue", HERE("pool")},
    {"environment", HERE("env")},
    {"cwd", HERE("directory")},
    {"dir", HERE("directory")},
    {"working_dir", HERE("directory")},
    {"with", HERE("data")},
    {"outputs", "a command writes them into the file $LINESHAFT_OUTPUTS"},
    {"depends_on_past", "there is none; max_active_runs: 1 keeps runs apart"},
    {"foreach", "there is none; events that start runs of another workflow can do it"},
    {"expand", "there is none; events that start runs of another workflow can do it"},
    {"on_failure_callback", CALLBACKS},
    {"on_success_callback", CALLBACKS},
    {0}};

const struct workflow_section WORKFLOW_SECTIONS[] = {
    {"The workflow", OPTIONS_WORKFLOW},
    {"`schedule`", OPTIONS_SCHEDULE},
    {"`triggers`", OPTIONS_TRIGGER},
    {"`inputs`", OPTIONS_INPUT},
    {"`tasks`", OPTIONS_TASK},
    {0}};
/* clang-format on */
