/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_SCHEDULER_ENGINE_H
#define NODES_SCHEDULER_ENGINE_H
#include <sys/queue.h>

#include "lib/heap.h"
#include "lib/map.h"
#include "nodes/kit/db.h"
#include "nodes/scheduler/options.h"
#include "workflow/workflow.h"

/* The engine: workflows, runs, jobs (a task within a run) and tries, and how their states change. It knows neither the
 * bus nor the clock: both are behind struct engine_ports, so that tests set the time and play the bus.
 *
 *   what comes in   changes memory at once, marks what it changed (dirty_...), and tells events (outbox_tell_...)
 *   engine_turn     fires what is due, settles what follows, gives out slots, then writes everything that was marked, and
 *                   the events, in one transaction; after the commit events are published and requests asked
 *   engine_load     memory from the database: live runs only. A database that fails means engine_reset, and engine_load
 *                   when it is back; so memory is never ahead of the database but within a turn
 *
 * Times are ms since 1970 (wall) unless they say mono. 0 stands for "not yet" in optional times. */

#define NO_TIME INT64_MIN
#define CATCHUP_QUEUE_MAX 1000  /* runs of one workflow that catching up may have waiting */
#define OUTPUTS_MAX (256 << 10) /* bytes of a task's outputs as JSON */

struct engine;
struct flow;
struct run;
struct try;

/* ---- what is kept ---- */

/* A workflow's text, read; shared by the workflow and its runs. */
struct definition {
    struct map *map; /* the engine's, in which it stands ... */
    uint64_t key;    /* ... by the hash of the workflow's hash */
    LIST_ENTRY(definition) link;
    struct workflow_file *file;
    const struct workflow *workflow;
    size_t users;
    bool stored;
};

/* A task within a run. Its row exists once its state is not none. */
struct job {
    struct run *run;
    const struct task *task;
    enum task_state state;
    int64_t attempt;      /* of the last try, 0: none; grows for ever */
    int64_t base_attempt; /* attempts before it was last cleared */
    int64_t losses;       /* tries lost since then, which do not count as failures */
    int64_t scheduled_ms, queued_ms, start_ms, end_ms, next_attempt_ms;
    int exit_code;
    bool has_exit_code;
    char *reason, *error;
    json_t *outputs;
    struct rule_counts counts;
    struct try *try;    /* the live one; NULL: none */
    struct timer timer; /* the next attempt */
    struct timer place; /* among those that wait for a slot; due_ms is the order */
    struct heap *waits_in;
    bool dirty, settled;
    STAILQ_ENTRY(job) dirty_link, settled_link;
};

struct
try {
    char id[LS_ID_SIZE];
    struct job *job;
    enum task_state state; /* QUEUED, RUNNING, SUCCESS, FAILED */
    int64_t attempt;
    char *runner, *boot, *host; /* NULL: nobody has claimed it */
    int64_t pid, queued_ms, claimed_ms, start_ms, end_ms;
    int exit_code, signal;
    bool has_exit_code, has_signal;
    char *reason, *error, *log;
    const char *stop_reason; /* it was told to stop: "cancelled" or "timeout" */
    struct timer lease;
    char *topic, *body;        /* REQUEST: what is asked after the commit */
    bool to_ask, asking, over; /* over: freed after the commit */
    bool dirty;
    STAILQ_ENTRY(try) dirty_link, ask_link;
};

struct run {
    int64_t number;
    struct flow *flow;
    struct definition *definition;
    char *id;
    enum run_state state;
    char *reason; /* of a stopped or failed run: cancelled, timeout, tasks */
    char *error;
    const char *trigger;                                    /* schedule, manual, event, backfill */
    int64_t logical_ms, interval_start_ms, interval_end_ms; /* NO_TIME: none */
    int64_t queued_ms, start_ms, end_ms;
    json_t *inputs;
    char *note, *event_id, *event_topic, *traceparent, *correlationid;
    bool stopping;
    struct job *jobs; /* by task index; NULL until it first starts */
    size_t jobs_total, jobs_done, jobs_failed;
    json_t *scope, *outputs; /* what templates see; NULL until it is needed */
    struct timer timeout;
    bool dirty, linked;
    STAILQ_ENTRY(run) dirty_link;
    TAILQ_ENTRY(run) link; /* flow->queued or flow->running, or engine->over */
};
TAILQ_HEAD(run_list, run);

/* A workflow as the scheduler has it. */
struct flow {
    struct engine *engine;
    char *id;
    struct definition *definition; /* NULL: its file is gone */
    char *stored_hash;             /* of the definition last known to the database */
    bool paused;
    int64_t first_seen_ms, done_ms; /* done_ms: ticks up to there were handled */
    int64_t failures;               /* failed runs in a row */
    struct run_list queued, running;
    size_t queued_count, running_count;
    int64_t active_tasks;
    struct heap waiting; /* jobs that the workflow's own limits hold back */
    struct timer tick;
    bool dirty, admitting;
    bool held; /* ticks are due, but too many runs wait already */
    STAILQ_ENTRY(flow) dirty_link;
    LIST_ENTRY(flow) link;
};

struct slot_pool {
    char *name;
    int64_t slots, used;
    struct heap waiting;
};

/* A trigger's event that was seen: of events with one key the first alone starts a run. */
struct seen {
    char *flow_id, *key;
    bool for_ever; /* the key was written in the workflow, and is not the event's own id */
};

/* ---- the outside ---- */

struct letter; /* an event of the outbox */

struct engine_ports {
    int64_t (*wall_ms)(void *arg);
    int64_t (*mono_ms)(void *arg);
    /* Publishes; outbox_published(letter, err) tells the outcome, once. False: no room now, outbox_pump tries again. */
    bool (*publish)(void *arg, const struct ls_event *event, struct letter *letter);
    /* Asks a service for a try; engine_answered tells the outcome. */
    void (*ask)(void *arg, const struct try *try, int64_t timeout_ms);
    void (*stop_asking)(void *arg, const char *try_id);
    void *arg;
};

struct engine {
    const struct engine_ports *ports;
    const struct scheduler_options *options;
    const char *name;             /* the node's: `source` of its events, `runner` of tasks that it does itself */
    int64_t *counters;            /* enum scheduler_metric */
    struct db *db;                /* NULL: away */
    char id[LS_ID_SIZE];          /* of the database */
    int64_t next_run, next_event; /* numbers */
    uint64_t order; /* of jobs that wait */
    bool connected;
    bool draining;    /* nothing new is begun */
    int64_t due_mono; /* when the last turn wanted the next at the latest */

    LIST_HEAD(, flow) flows;
    struct map flow_map, run_map, try_map; /* by XXH3 of ids; what is found is compared */
    LIST_HEAD(, definition) definitions;
    struct map definition_map;
    struct run_list over; /* finished within this turn: freed after the commit */

    struct heap wall, mono; /* timers by the clock of the wall, and by the one that only goes forward */
    struct heap ready;      /* jobs that may get a slot */
    struct slot_pool *pools;
    size_t pool_count;
    int64_t active_tasks;

    STAILQ_HEAD(, job) settled, dirty_jobs;
    STAILQ_HEAD(, run) dirty_runs;
    STAILQ_HEAD(, try) dirty_tries, asks;
    STAILQ_HEAD(, flow) dirty_flows;
    struct outbox *outbox;
    struct seen *seen; /* of this turn (trigger.c) */
    size_t seen_count, seen_room;
    struct positions *positions; /* of triggers (trigger.c) */
    const char *cause;           /* id of the event that is being handled, for causationid */
    bool changed;                /* something is to be written */
    struct ls_error broken;      /* a read failed within this turn: so does the turn */
    int64_t history_at_mono;
};

/* ---- engine.c: life, turn ---- */

void engine_open(struct engine *e, const struct engine_ports *ports, const struct scheduler_options *options,
                 const char *name, int64_t *counters);
void engine_close(struct engine *e);
/* engine_load reads the state; then flows, runs, tries stand, and timers are set. Files are told by
 * engine_definitions afterwards. */
int engine_load(struct engine *e, struct db *db, struct ls_error *err);
/* engine_reset forgets everything that came from the database. */
void engine_reset(struct engine *e);
/* engine_turn: see above. Returns 0 and the time (mono) of the next turn in *due_mono; -1 with *err if the
 * database failed (then: engine_reset). Nothing of what was told in this turn may be answered before it returned
 * 0. */
int engine_turn(struct engine *e, int64_t *due_mono, struct ls_error *err);
int64_t engine_wall_due(const struct engine *e); /* when the first timer of the wall clock is due; INT64_MAX: none */
/* engine_connected: the bus is there (again), or was lost. Leases do not end while it is away, and begin anew when it is back. */
void engine_connected(struct engine *e, bool connected);

static inline int64_t now_wall(const struct engine *e)
{
    return e->ports->wall_ms(e->ports->arg);
}
static inline int64_t now_mono(const struct engine *e)
{
    return e->ports->mono_ms(e->ports->arg);
}
void engine_after(struct engine *e, struct timer *timer, int64_t wall_ms); /* sets a mono timer by a wall time */
void engine_count(struct engine *e, enum scheduler_metric metric, int64_t more);
bool same_text(const char *a, const char *b);
void set_text(char **text, const char *value); /* replaces by a copy; NULL allowed */

void dirty_flow(struct flow *flow);
void dirty_run(struct run *run);
void dirty_job(struct job *job);
void dirty_try(struct try *try);
struct engine *engine_of(const struct run *run);
#define TIME_SIZE 32
const char *time_text(int64_t ms, char out[TIME_SIZE]); /* RFC 3339, without milliseconds when there are none */

/* ---- flow.c: workflows, definitions, ticks ---- */

struct flow *flow_find(const struct engine *e, const char *id);
struct flow *flow_new(struct engine *e, const char *id);
void flow_free(struct flow *flow);
/* engine_definitions takes the good definitions of all files (pointers stay the caller's until the engine drops
 * its use of them by definition_drop): workflows are made, changed, or removed. */
void engine_definitions(struct engine *e, struct definition *const *definitions, size_t count);
void flow_pause(struct flow *flow, bool paused, const char *reason);
void flow_arm(struct flow *flow); /* sets the timer of the next tick */
int64_t flow_anchor(const struct flow *flow);
/* definition_keep: the shared definition of that text; NULL with *err if it cannot be read any more. Count users
 * by definition_use and _drop. */
struct definition *definition_add(struct engine *e, struct workflow_file **file);
struct definition *definition_require(struct engine *e, const char *hash, struct ls_error *err);
void definition_use(struct definition *definition);
void definition_drop(struct definition *definition);

/* ---- run.c ---- */

struct run_spec {
    const char *id; /* NULL: made of trigger and time */
    const char *trigger;
    int64_t logical_ms; /* NO_TIME: none */
    json_t *inputs;     /* taken; NULL: none given */
    const char *note, *user;
    const char *event_id, *event_topic, *traceparent, *correlationid;
};
/* run_create makes a queued run. NULL with *err (FAILED, number 400 or 409). *existing (may be NULL) is set to
 * whether the id was there already: then that run is returned if it is live, else NULL without an error.
 * `dropped`: the workflow's overlap policy let it fall. */
struct run *run_create(struct flow *flow, struct run_spec *spec, bool *existing, bool *dropped, struct ls_error *err);
struct run *run_find(const struct engine *e, const char *flow_id, const char *id);
void run_link(struct run *run); /* into the lists and maps of live runs */
void run_free(struct run *run);
void run_make_jobs(struct run *run);
void runs_admit(struct flow *flow); /* starts queued runs while there is room */
void run_recount(struct run *run);  /* counters and rule counts from the jobs' states */
void run_stop(struct run *run, const char *reason, const char *why);
void run_check_over(struct run *run);
void run_arm_timeout(struct run *run);
json_t *run_scope(struct run *run); /* borrowed */
/* run_clear sets jobs back to none and the run to queued; `which` by task index. A run that was loaded for this becomes live. */
void run_clear(struct run *run, const bool *which, const char *user);

/* ---- job.c, attempt.c ---- */

struct outcome {
    bool ok;
    const char *reason, *error, *log; /* reason: as in docs/nodes/task-run.md */
    int exit_code, signal;
    bool has_exit_code, has_signal, final; /* final: not tried again */
    int64_t start_ms, end_ms;
    double cpu_ms;        /* negative: unknown */
    int64_t memory_bytes; /* negative: unknown */
    json_t *outputs;      /* borrowed */
};
void job_init(struct job *job, struct run *run, const struct task *task);
void job_fini(struct job *job);
void job_tell_downstream(struct job *job); /* it is over: counts it in its run and in the tasks behind it */
void job_stop(struct job *job, const char *reason);
void job_consider(struct job *job); /* by its trigger rule, when it is none */
void job_begin(struct job *job);    /* it has got a slot */
void job_skip(struct job *job, enum task_state state, const char *reason);
void job_cleared(struct job *job, const char *user);
void jobs_settle(struct engine *e);
void job_arm(struct job *job); /* after a load: timers, slots, waiting */
void attempt_started(struct try *try, int64_t start_ms);
void attempt_ended(struct try *try, const struct outcome *outcome);
void job_try_ended(struct job *job, const struct outcome *outcome); /* by attempt_ended: what it means for the job */
void attempt_stop(struct try *try, const char *reason);
void attempt_resume(struct try *try); /* after a load */
void attempt_free(struct try *try);
struct try *attempt_find(const struct engine *e, const char *id);
struct try *attempt_new(struct job *job);
void attempt_link(struct try *try);
void attempt_lease(struct try *try, int64_t lease_ms);
/* The answer to a request task: outputs (borrowed), or err. */
void engine_answered(struct engine *e, const char *try_id, json_t *outputs, const struct ls_error *err);
/* The outcome of an event task's event. */
void engine_stored(struct engine *e, const char *try_id, const struct ls_error *err);

/* ---- slots.c: who waits, and who is next ---- */

void slots_open(struct engine *e);
void slots_close(struct engine *e);
void slots_reset(struct engine *e);
struct slot_pool *slots_pool(const struct engine *e, const char *name); /* NULL: there is none */
void slots_wait(struct job *job);
void slots_forget(struct job *job);
void slots_take(struct job *job);
void slots_give(struct job *job);
void slots_dispatch(struct engine *e);
int64_t slots_of(const struct engine *e, const struct task *task); /* how many it takes of its pool */

/* ---- outbox.c ---- */

void outbox_open(struct engine *e);
void outbox_close(struct engine *e);
/* outbox_tell adds an event about a run (or, `job` not NULL, a job; both NULL: a workflow) to this turn. Takes
 * `more`, an object or NULL: further fields. */
void outbox_tell_flow(struct flow *flow, const char *topic, json_t *more);
void outbox_tell_run(struct run *run, const char *topic, json_t *more);
void outbox_tell_job(struct job *job, const char *topic, json_t *more);
/* outbox_post adds the event of an event task. */
void outbox_post(struct try *try, const char *topic, const char *body);
int outbox_write(struct engine *e, struct ls_error *err); /* within the transaction */
bool outbox_has_work(const struct engine *e);
void outbox_committed(struct engine *e);
void outbox_pump(struct engine *e);
int outbox_load(struct engine *e, struct ls_error *err);
void outbox_reset(struct engine *e);
void outbox_published(struct letter *letter, const struct ls_error *err);
int64_t outbox_due(const struct engine *e); /* mono: when acknowledged rows are to be removed at the latest */

/* ---- store.c, store_read.c ---- */

extern const struct db_step STORE_STEPS[];
extern const size_t STORE_STEP_COUNT;
int store_write(struct engine *e, struct ls_error *err); /* everything that is marked */
int store_read_meta(struct engine *e, struct ls_error *err);
int store_read_flows(struct engine *e, struct ls_error *err);
int store_read_live(struct engine *e, struct ls_error *err);
/* store_definition_text: NULL with *err if there is none. *path (may be NULL) is the file that it came from; both
 * are the caller's. */
char *store_definition_text(struct engine *e, const char *hash, char **path, struct ls_error *err);
/* store_hash_at: the hash of the workflow that last came from that file, the caller's; NULL: none. Fails by engine->broken. */
char *store_hash_at(struct engine *e, const char *path);
/* store_read_run reads one run with its jobs (and their last tries): not linked, the caller's (run_free). NULL
 * without an error (err->name empty): there is none. `id` NULL: the newest. */
struct run *store_read_run(struct engine *e, struct flow *flow, const char *id, struct ls_error *err);
/* store_run_exists: EXISTS_ID, EXISTS_DATE or EXISTS_NOT. Fails by engine->broken. */
enum exists { EXISTS_NOT, EXISTS_ID, EXISTS_DATE };
enum exists store_run_exists(struct engine *e, const char *flow_id, const char *id, int64_t logical_ms);
/* store_list_runs: rows as runs without jobs, newest first, to `fn`, which must not keep them. */
struct run_filter {
    const char *flow_id, *state; /* NULL: any */
    int64_t limit;
};
int store_list_runs(struct engine *e, const struct run_filter *filter, void (*fn)(void *arg, struct run *run),
                    void *arg, struct ls_error *err);
int store_list_tries(struct engine *e, const struct job *job, void (*fn)(void *arg, const struct try *try), void *arg,
                     struct ls_error *err);
bool store_try_exists(struct engine *e, const char *id); /* fails by engine->broken */
bool store_was_seen(struct engine *e, const char *flow_id, const char *key);
int store_forget(struct engine *e, int64_t before_ms, struct ls_error *err); /* history; the number of runs removed */

/* ---- trigger.c: runs by events ---- */

/* engine_event gives the engine an event that matched the pattern of some triggers. */
void engine_event(struct engine *e, const char *pattern, const struct ls_event *event);
/* positions: from where on events of a pattern are still to be seen, per stream. */
struct position {
    char *pattern, *stream;
    uint64_t next;
    int64_t seen_us; /* when the last of its events was stored, or when it began at the end; 0: it begins at the first */
    bool dirty, gone; /* gone: to be removed */
};
struct positions {
    struct position *items;
    size_t count, room;
    char *broker;
    bool broker_dirty;
};
void position_set(struct engine *e, const char *pattern, struct ls_slice stream, uint64_t next, int64_t seen_us);
const struct position *position_find(const struct engine *e, const char *pattern, const char *stream);
bool position_known(const struct engine *e, const char *pattern); /* in any stream */
void position_drop(struct engine *e, const char *pattern);
void positions_clear(struct engine *e);
void positions_void(struct engine *e, const char *broker); /* another broker: none counts any more */
int positions_write(struct engine *e, struct ls_error *err);
int positions_read(struct engine *e, struct ls_error *err);
int seen_write(struct engine *e, struct ls_error *err);

/* ---- lease.c ---- */

/* The answer to a request, new; NULL with *err. */
json_t *lease_claim(struct engine *e, const json_t *request, struct ls_error *err);
json_t *lease_renew(struct engine *e, const json_t *request, struct ls_error *err);
/* Reports of runners; what is late or wrong is ignored. */
void report_started(struct engine *e, const json_t *body);
void report_ended(struct engine *e, const json_t *body);
int64_t lease_with_grace(const struct engine *e);

/* ---- view.c, explain.c: what people see ---- */

json_t *time_or_null(int64_t ms); /* null for 0 and NO_TIME */
json_t *view_flow(struct flow *flow, const char *path, struct ls_error *err);
json_t *view_run(const struct run *run);
json_t *view_job(const struct job *job, struct ls_error *err); /* with its tries */
void explain(const struct job *job, json_t *sentences);
/* What a run that is queued, or a task that has not begun, waits for: its first sentence, new; null when it does not wait, or
 * only for the tasks before it. */
json_t *explain_run_waits(const struct run *run);
json_t *explain_job_waits(const struct job *job);
/* explain_skipped: why a task was skipped, in a sentence; null of one that was not. */
json_t *explain_skipped(const struct job *job);

/* ---- requests.c ---- */

json_t *request_answer(struct engine *e, const char *topic, const json_t *request, struct ls_error *err);

#endif
