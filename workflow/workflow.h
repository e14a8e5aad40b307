/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_WORKFLOW_H
#define WORKFLOW_WORKFLOW_H
#include <jansson.h>

#include "workflow/cron.h"
#include "workflow/expr.h"
#include "yaml/option.h"

/* What a workflow file says: read, checked, with defaults filled in. docs/workflows.md is the reference of the keys.
 * Pure: no bus, no database, no clock. Everything belongs to the struct workflow_file. Names and words are Airflow's
 * where it has them. */

#define WORKFLOW_FOLDER "config/workflows" /* where a scheduler looks that is told nothing else */
#define WORKFLOW_TASKS_MAX 10000
#define WORKFLOW_INPUTS_MAX 1000
#define WORKFLOW_CRONS_MAX 1000
#define WORKFLOW_ID_MAX 200 /* [A-Za-z0-9_.~:+-]+ */

enum catchup { CATCHUP_NONE, CATCHUP_LATEST, CATCHUP_ALL };
enum trigger_rule { /* in the order of TRIGGER_RULES */
    RULE_ALL_SUCCESS, RULE_ALL_FAILED, RULE_ALL_DONE, RULE_ALL_DONE_MIN_ONE_SUCCESS, RULE_ALL_SKIPPED, RULE_ONE_FAILED, RULE_ONE_SUCCESS,
    RULE_ONE_DONE, RULE_NONE_FAILED, RULE_NONE_FAILED_MIN_ONE_SUCCESS, RULE_NONE_SKIPPED, RULE_ALWAYS
};
extern const char *const TRIGGER_RULES[]; /* NULL-terminated */

enum task_type {
    TASK_COMMAND, /* a program at a runner */
    TASK_EVENT,   /* publishes an event; done when it is stored */
    TASK_REQUEST, /* asks a service of the bus; its answer, a JSON or msgpack object, is the outputs */
};

struct retry {
    int64_t limit;                 /* further tries after the first; 0 */
    int64_t delay_ms, max_delay_ms; /* 30s, 1h */
    double backoff;                /* factor from one delay to the next; 2; 1: constant */
    bool jitter;                   /* true: a delay d becomes one of [d, 2d), by a hash of the try's identity */
    struct { int64_t *items; size_t count; } exit_codes; /* only these are tried again; none given: all */
    int64_t lost_limit;            /* tries whose runner went away do not count against limit; so many of them are tried again; 3 */
};

struct task {
    char *id;
    size_t index;                  /* in workflow->tasks: topological order, file order among equals */
    enum task_type type;
    json_t *command;               /* COMMAND: an array of texts (a text became ["/bin/sh", "-c", text]); texts are templates */
    json_t *environment;           /* COMMAND: an object of texts (templates) */
    char *directory;               /* COMMAND; no template; NULL: the runner's working directory */
    char *topic;                   /* EVENT, REQUEST; a template */
    json_t *data;                  /* EVENT, REQUEST: body; templates inside */
    const struct task **upstream, **downstream; /* depends_on, and its reverse */
    size_t upstream_count, downstream_count;
    enum trigger_rule trigger_rule;
    struct expr *when;             /* NULL: always; false: the task is skipped */
    char *when_text;
    struct retry retry;
    int64_t timeout_ms;            /* of a try; 0: none */
    char *pool;                    /* "default" */
    int64_t pool_slots, priority;
    bool disabled;                 /* skipped always */
    struct place place;
};

struct trigger {                   /* one run per event */
    char *event;                   /* topic or pattern */
    struct expr *filter;           /* over `event`: {topic, id, source, subject, time, data ...}, as json_put_event writes it;
                                    * NULL: each */
    char *key;                     /* template over `event`: of events with one key only the first starts a run; NULL: the
                                    * event's (source, id) */
    json_t *inputs;                /* object: inputs of the run, templates over `event`; may be NULL */
    struct place place;
};

enum input_type { INPUT_STRING, INPUT_INTEGER, INPUT_NUMBER, INPUT_BOOLEAN, INPUT_OBJECT, INPUT_ARRAY };
extern const char *const INPUT_TYPES[]; /* their names; ends with NULL */
struct input {
    char *name, *description;
    enum input_type type;
    json_t *fallback;              /* NULL: none */
    bool required;
};

struct workflow {
    char *id, *description;
    char **tags;                   /* NULL-terminated */
    bool paused;                   /* as first seen; later the scheduler's database decides */
    const struct zone *zone;
    /* The schedule: any of these; none: by hand and by events only. */
    struct cron *crons; char **cron_texts; size_t cron_count;
    int64_t every_ms;              /* 0: none */
    int64_t *at_s; size_t at_count; /* single instants, ascending */
    int64_t start_s, end_s;        /* no logical date before or after; INT64_MIN, INT64_MAX: no limit */
    enum catchup catchup;          /* LATEST by default */
    int64_t catchup_window_ms;     /* missed ticks older than that are dropped; 1 year */
    struct trigger *triggers; size_t trigger_count;
    struct input *inputs; size_t input_count;
    int64_t max_active_runs;       /* 16 */
    int64_t max_active_tasks;      /* over all its runs; 16 */
    int64_t max_consecutive_failures; /* so many failed runs in a row pause it; 0: never */
    /* When max_active_runs are active: wait, drop the new run, cancel the oldest. */
    enum { OVERLAP_QUEUE, OVERLAP_SKIP, OVERLAP_CANCEL } overlap;
    int64_t timeout_ms;            /* of a run; 0: none */
    struct task *tasks; size_t task_count;
    const struct task **by_id;     /* the same, sorted by id; see workflow_task */
    char *text;                    /* the file, or its document, as it was */
    char hash[33];                 /* XXH3-128 of the text, hexadecimal */
    struct place place;
};

struct workflow_file {
    char *path;
    struct workflow *workflow;     /* NULL when there were errors */
    struct pool pool;
    struct workflow_kept *kept;    /* what the pool cannot free */
};

/* workflow_load reads a file of one workflow; problems go to `diags` (its source is set to this file), sorted, with
 * place, sentence and hint. workflow_load_text does the same for text in memory. Never NULL. References such as
 * ${env:NAME} are expanded, from the environment of this process. Blocks for as long as the disk does. */
struct workflow_file *workflow_load(const char *path, struct diag_list *diags);
struct workflow_file *workflow_load_text(const char *path, const char *text, size_t len, struct diag_list *diags);
void workflow_file_free(struct workflow_file **file);

/* workflow_folder lists the files *.yaml and *.yml below a folder (or the one file that is named), sorted, at most
 * 10,000 files and 16 deep, hidden ones left out. *paths: NULL-terminated, the caller's (workflow_paths_free). -1
 * with SYSTEM. */
int workflow_folder(const char *path, char ***paths, struct ls_error *err);
void workflow_paths_free(char ***paths);

/* workflow_is: the file at `path` is a workflow and no topology: it is YAML with some key of a workflow and without
 * `lineshaft:`. */
bool workflow_is(const char *path);

const struct task *workflow_task(const struct workflow *w, const char *id); /* NULL: none */

/* workflow_inputs checks given inputs (an object, or NULL) against the declared, fills defaults, reads texts as the
 * declared type ("5" for an integer): a new reference, or NULL with BAD_VALUE naming the input. */
json_t *workflow_inputs(const struct workflow *w, const json_t *given, struct ls_error *err);

/* ---- when it runs: pure functions of the workflow and of times (seconds since 1970; every_ms in ms is rounded to
 * seconds where it is asked in seconds) ---- */

/* workflow_next: the first tick strictly after `after_ms` (ms since 1970), -1: none. `anchor_ms`: from where `every`
 * counts: start_s, or when the workflow was first seen. */
int64_t workflow_next(const struct workflow *w, int64_t after_ms, int64_t anchor_ms);
/* workflow_interval: the data interval that a tick closes: *start_ms is the tick before (or the tick itself when
 * there is none), the end is the tick. */
void workflow_interval(const struct workflow *w, int64_t tick_ms, int64_t anchor_ms, int64_t *start_ms);
/* workflow_missed fills `ticks` with what is to be made up at `now_ms` when all ticks up to and including `done_ms`
 * were handled: by `catchup` and its window, at most `room`, oldest first. Returns their number; *more says that
 * further ones are due (CATCHUP_ALL). *handled_ms is up to where everything has been decided then. */
size_t workflow_missed(const struct workflow *w, int64_t done_ms, int64_t now_ms, int64_t anchor_ms, int64_t *ticks,
                       size_t room, bool *more, int64_t *handled_ms);

/* The tables of options, in the order of docs/workflows.md. */
struct workflow_section {
    const char *title; /* NULL ends the list */
    const struct option_def *table;
};
extern const struct workflow_section WORKFLOW_SECTIONS[];

/* ---- trigger rules ---- */

enum task_state { /* Airflow's words, in the order of TASK_STATES */
    TASK_NONE, TASK_SCHEDULED, TASK_QUEUED, TASK_RUNNING, TASK_SUCCESS, TASK_FAILED, TASK_SKIPPED, TASK_UPSTREAM_FAILED,
    TASK_UP_FOR_RETRY, TASK_REMOVED
};
extern const char *const TASK_STATES[]; /* "none" ... NULL-terminated */
enum run_state { RUN_QUEUED, RUN_RUNNING, RUN_SUCCESS, RUN_FAILED }; /* a cancelled run is failed, with the reason "cancelled" */
extern const char *const RUN_STATES[];
static inline bool task_state_is_final(enum task_state s)
{
    return s == TASK_SUCCESS || s == TASK_FAILED || s == TASK_SKIPPED || s == TASK_UPSTREAM_FAILED || s == TASK_REMOVED;
}

enum rule_verdict { RULE_WAIT, RULE_RUN, RULE_SKIP, RULE_FAIL /* upstream_failed */ };
struct rule_counts { size_t upstream, success, failed, skipped, upstream_failed, removed; }; /* failed does not count upstream_failed */
/* rule_decide: Airflow's twelve rules, as its trigger_rule dependency decides them. */
enum rule_verdict rule_decide(enum trigger_rule rule, const struct rule_counts *counts);

/* retry_delay_ms: the delay before try `attempt` + 1, when `attempt` (from 1) has failed; `identity` seeds the
 * jitter. */
int64_t retry_delay_ms(const struct retry *retry, int64_t attempt, const char *identity);

#endif
