/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's life and its turn: timers, what follows from what, one transaction, and what may leave after it. */
#include "nodes/scheduler/engine.h"

#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define FORGET_EVERY_MS 3600000
#define FORGET_SOON_MS 1000 /* when there was more than one helping */

void engine_count(struct engine *e, enum scheduler_metric metric, int64_t more)
{
    e->counters[metric] += more;
}

bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

void set_text(char **text, const char *value)
{
    char *copy = value ? xstrdup(value) : NULL;
    free(*text);
    *text = copy;
}

const char *time_text(int64_t ms, char out[TIME_SIZE])
{
    clock_format(ms * 1000, out);
    char *fraction = strchr(out, '.');
    if (fraction && strcmp(fraction, ".000Z") == 0)
        memcpy(fraction, "Z", 2);
    return out;
}

struct engine *engine_of(const struct run *run)
{
    return run->flow->engine;
}

/* ---- what was changed ---- */

void dirty_flow(struct flow *flow)
{
    struct engine *e = flow->engine;
    e->changed = true;
    if (!flow->dirty)
        STAILQ_INSERT_TAIL(&e->dirty_flows, flow, dirty_link);
    flow->dirty = true;
}

void dirty_run(struct run *run)
{
    struct engine *e = engine_of(run);
    e->changed = true;
    if (!run->dirty)
        STAILQ_INSERT_TAIL(&e->dirty_runs, run, dirty_link);
    run->dirty = true;
}

void dirty_job(struct job *job)
{
    struct engine *e = engine_of(job->run);
    e->changed = true;
    if (!job->dirty)
        STAILQ_INSERT_TAIL(&e->dirty_jobs, job, dirty_link);
    job->dirty = true;
}

void dirty_try(struct try *try)
{
    struct engine *e = engine_of(try->job->run);
    e->changed = true;
    if (!try->dirty)
        STAILQ_INSERT_TAIL(&e->dirty_tries, try, dirty_link);
    try->dirty = true;
}

/* Forgets what was marked: it is written, or void. Must come before runs are freed. */
static void clean(struct engine *e)
{
    struct flow *flow;
    struct run *run;
    struct job *job;
    struct try *try, *next;
    STAILQ_FOREACH(flow, &e->dirty_flows, dirty_link)
    flow->dirty = false;
    STAILQ_FOREACH(run, &e->dirty_runs, dirty_link)
    run->dirty = false;
    STAILQ_FOREACH(job, &e->dirty_jobs, dirty_link)
    job->dirty = false;
    STAILQ_FOREACH(job, &e->settled, settled_link)
    job->settled = false;
    for (try = STAILQ_FIRST(&e->dirty_tries); try; try = next) {
        next = STAILQ_NEXT(try, dirty_link);
        try->dirty = false;
        if (try->over)
            attempt_free(try);
    }
    STAILQ_INIT(&e->settled);
    STAILQ_INIT(&e->dirty_flows);
    STAILQ_INIT(&e->dirty_runs);
    STAILQ_INIT(&e->dirty_jobs);
    STAILQ_INIT(&e->dirty_tries);
    e->changed = false;
    e->broken = (struct ls_error){0};
    for (size_t i = 0; i < e->seen_count; i++) {
        free(e->seen[i].flow_id);
        free(e->seen[i].key);
    }
    e->seen_count = 0;
}

/* ---- life ---- */

void engine_open(struct engine *e, const struct engine_ports *ports, const struct scheduler_options *options,
                 const char *name, int64_t *counters)
{
    e->ports = ports;
    e->options = options;
    e->name = name;
    e->counters = counters;
    LIST_INIT(&e->flows);
    LIST_INIT(&e->definitions);
    TAILQ_INIT(&e->over);
    STAILQ_INIT(&e->settled);
    STAILQ_INIT(&e->asks);
    STAILQ_INIT(&e->dirty_flows);
    STAILQ_INIT(&e->dirty_runs);
    STAILQ_INIT(&e->dirty_jobs);
    STAILQ_INIT(&e->dirty_tries);
    clean(e);
    e->positions = xcalloc(1, sizeof *e->positions);
    slots_open(e);
    outbox_open(e);
}

static void free_runs(struct run_list *runs)
{
    struct run *run;
    while ((run = TAILQ_FIRST(runs)) != NULL) {
        TAILQ_REMOVE(runs, run, link);
        run_free(run);
    }
}

void engine_reset(struct engine *e)
{
    struct flow *flow;
    clean(e);
    STAILQ_INIT(&e->settled);
    free_runs(&e->over);
    while ((flow = LIST_FIRST(&e->flows)) != NULL) {
        free_runs(&flow->queued);
        free_runs(&flow->running);
        flow_free(flow);
    }
    map_fini(&e->flow_map);
    map_fini(&e->run_map);
    map_fini(&e->try_map);
    e->flow_map = e->run_map = e->try_map = (struct map){0};
    slots_reset(e);
    outbox_reset(e);
    positions_clear(e);
    e->active_tasks = 0;
    e->db = NULL;
}

void engine_close(struct engine *e)
{
    if (!e->ports)
        return;
    engine_reset(e);
    slots_close(e);
    outbox_close(e);
    heap_fini(&e->wall);
    heap_fini(&e->mono);
    map_fini(&e->definition_map);
    free(e->positions);
    free(e->seen);
}

/* Runs that were under way go on where they were; what follows from states that are there is the same as it was before. */
static void revive(struct engine *e)
{
    struct flow *flow;
    struct run *run;
    LIST_FOREACH(flow, &e->flows, link)
    {
        TAILQ_FOREACH(run, &flow->running, link)
        {
            if (!run->jobs)
                run_make_jobs(run);
            run_recount(run);
            run_arm_timeout(run);
            for (size_t i = 0; i < run->definition->workflow->task_count; i++)
                job_arm(&run->jobs[i]);
        }
        TAILQ_FOREACH(run, &flow->queued, link)
        if (run->jobs)
            run_recount(run);
    }
}

int engine_load(struct engine *e, struct db *db, struct ls_error *err)
{
    e->db = db;
    e->due_mono = e->history_at_mono = now_mono(e);
    if (store_read_meta(e, err) || store_read_flows(e, err) || store_read_live(e, err) || positions_read(e, err) ||
        outbox_load(e, err)) {
        engine_reset(e);
        return -1;
    }
    revive(e);
    return 0;
}

/* ---- the bus comes and goes ---- */

/* Everyone who holds a try has a whole lease again. */
static void renew_leases(struct engine *e)
{
    struct try *try;
    size_t at = 0;
    while ((try = map_walk(&e->try_map, &at, NULL)))
        if (try->boot)
            attempt_lease(try, lease_with_grace(e));
}

void engine_connected(struct engine *e, bool connected)
{
    e->connected = connected;
    if (connected)
        renew_leases(e);
}

/* ---- the turn ---- */

void engine_after(struct engine *e, struct timer *timer, int64_t wall_ms)
{
    int64_t wait = wall_ms - now_wall(e);
    heap_set(&e->mono, timer, now_mono(e) + (wait > 0 ? wait : 0));
}

int64_t engine_wall_due(const struct engine *e)
{
    return heap_next(&e->wall);
}

/* One that is set again for now by its own function waits for the next turn. */
static void fire(struct engine *e, struct heap *heap, int64_t now)
{
    for (size_t most = heap->count; most && heap_next(heap) <= now; most--) {
        struct timer *timer = heap->timers[0];
        heap_unset(heap, timer);
        timer->fire(e, timer);
    }
}

static void settle_all(struct engine *e)
{
    do {
        jobs_settle(e);
        slots_dispatch(e);
    } while (!STAILQ_EMPTY(&e->settled));
}

static void ask_services(struct engine *e)
{
    struct try *try;
    while ((try = STAILQ_FIRST(&e->asks)) != NULL) {
        STAILQ_REMOVE_HEAD(&e->asks, ask_link);
        try->to_ask = false;
        try->asking = true;
        e->ports->ask(e->ports->arg, try, try->job->task->timeout_ms);
    }
}

static int commit(struct engine *e, struct ls_error *err)
{
    if (db_begin(e->db, err) || store_write(e, err) || positions_write(e, err) || seen_write(e, err) ||
        outbox_write(e, err) || db_commit(e->db, err)) {
        db_rollback(e->db);
        return -1;
    }
    engine_count(e, METRIC_COMMITS, 1);
    outbox_committed(e);
    clean(e);
    free_runs(&e->over);
    ask_services(e);
    return 0;
}

static int forget_history(struct engine *e, int64_t now, struct ls_error *err)
{
    if (now < e->history_at_mono)
        return 0;
    int removed = store_forget(e, now_wall(e) - e->options->history, err);
    e->history_at_mono = now + (removed > 0 ? FORGET_SOON_MS : FORGET_EVERY_MS);
    return removed < 0 ? -1 : 0;
}

int engine_turn(struct engine *e, int64_t *due_mono, struct ls_error *err)
{
    int64_t now = now_mono(e);
    if (now > e->due_mono &&
        now - e->due_mono > e->options->lease / 4) /* it slept: what runners said meanwhile is still unread */
        renew_leases(e);
    fire(e, &e->mono, now);
    fire(e, &e->wall, now_wall(e));
    settle_all(e);
    if (e->broken.name[0]) {
        *err = e->broken;
        return -1;
    }
    if ((e->changed || outbox_has_work(e)) && commit(e, err))
        return -1;
    if (forget_history(e, now, err))
        return -1;
    outbox_pump(e);
    *due_mono = e->changed ? now : heap_next(&e->mono); /* what was refused at once changes the next state */
    *due_mono = outbox_due(e) < *due_mono ? outbox_due(e) : *due_mono;
    *due_mono = e->history_at_mono < *due_mono ? e->history_at_mono : *due_mono;
    e->due_mono = *due_mono;
    return 0;
}
