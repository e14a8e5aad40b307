/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: who waits for one, and who is next. A job waits in one of three heaps, ordered by priority, then by when
 * it came: `ready`, or that of the workflow or of the pool whose limit held it back when it was last looked at. */
#include "nodes/scheduler/engine.h"

#include <stdlib.h>

#include "lib/xmem.h"

#define PRIORITY_MAX ((int64_t) 1 << 20)
#define ORDER_BITS 40

static struct job *job_at(struct heap *heap)
{
    return heap->count ? (struct job *) (void *) ((char *) heap->timers[0] - offsetof(struct job, place)) : NULL;
}

/* ---- pools ---- */

static void add_pool(struct engine *e, const char *name, int64_t slots)
{
    e->pools = xrealloc(e->pools, (e->pool_count + 1) * sizeof *e->pools);
    e->pools[e->pool_count++] = (struct slot_pool){.name = xstrdup(name), .slots = slots};
}

void slots_open(struct engine *e)
{
    const struct kind_text_map *pools = &e->options->pools;
    for (size_t i = 0; i < pools->count; i++)
        add_pool(e, pools->keys[i], strtol(pools->values[i], NULL, 10));
    if (!slots_pool(e, SCHEDULER_POOL))
        add_pool(e, SCHEDULER_POOL, SCHEDULER_POOL_SLOTS);
}

void slots_close(struct engine *e)
{
    for (size_t i = 0; i < e->pool_count; i++) {
        heap_fini(&e->pools[i].waiting);
        free(e->pools[i].name);
    }
    free(e->pools);
    heap_fini(&e->ready);
}

void slots_reset(struct engine *e)
{
    for (size_t i = 0; i < e->pool_count; i++)
        e->pools[i].used = 0;
}

struct slot_pool *slots_pool(const struct engine *e, const char *name)
{
    for (size_t i = 0; i < e->pool_count; i++)
        if (strcmp(e->pools[i].name, name) == 0)
            return &e->pools[i];
    return NULL;
}

/* A task that wants more than there are gets the whole pool. A pool that there is not limits nothing (`check` warns). */
int64_t slots_of(const struct engine *e, const struct task *task)
{
    const struct slot_pool *pool = slots_pool(e, task->pool);
    return pool && task->pool_slots > pool->slots ? pool->slots : task->pool_slots;
}

static bool pool_fits(const struct engine *e, const struct job *job)
{
    const struct slot_pool *pool = slots_pool(e, job->task->pool);
    return !pool || pool->used + slots_of(e, job->task) <= pool->slots;
}

static bool flow_fits(const struct flow *flow, const struct job *job)
{
    return !flow->paused && flow->active_tasks < job->run->definition->workflow->max_active_tasks;
}

/* ---- waiting ---- */

static void wait_in(struct engine *e, struct heap *heap, struct job *job)
{
    if (job->waits_in)
        heap_unset(job->waits_in, &job->place);
    else
        engine_count(e, METRIC_TASKS_WAITING, 1);
    job->waits_in = heap;
    heap_set(heap, &job->place, job->place.due_ms);
}

void slots_wait(struct job *job)
{
    struct engine *e = engine_of(job->run);
    int64_t priority = job->task->priority;
    priority = priority > PRIORITY_MAX ? PRIORITY_MAX : priority < -PRIORITY_MAX ? -PRIORITY_MAX : priority;
    job->place.due_ms = -priority * ((int64_t) 1 << ORDER_BITS) + (int64_t) ++e->order;
    wait_in(e, &e->ready, job);
}

void slots_forget(struct job *job)
{
    if (!job->waits_in)
        return;
    heap_unset(job->waits_in, &job->place);
    job->waits_in = NULL;
    engine_count(engine_of(job->run), METRIC_TASKS_WAITING, -1);
}

/* ---- taking and giving ---- */

static void change(struct job *job, int sign)
{
    struct engine *e = engine_of(job->run);
    struct slot_pool *pool = slots_pool(e, job->task->pool);
    e->active_tasks += sign;
    job->run->flow->active_tasks += sign;
    if (pool)
        pool->used += sign * slots_of(e, job->task);
    engine_count(e, METRIC_TASKS_ACTIVE, sign);
}

void slots_take(struct job *job)
{
    change(job, 1);
}

void slots_give(struct job *job)
{
    change(job, -1);
}

/* ---- who is next ---- */

/* Moves the best of each pool and workflow that has room again to those that are ready. */
static void refill(struct engine *e)
{
    struct flow *flow;
    struct job *job;
    if ((int64_t) e->ready.count == e->counters[METRIC_TASKS_WAITING])
        return; /* nobody is held back */
    for (size_t i = 0; i < e->pool_count; i++)
        if ((job = job_at(&e->pools[i].waiting)) && pool_fits(e, job))
            wait_in(e, &e->ready, job);
    LIST_FOREACH(flow, &e->flows, link)
    if ((job = job_at(&flow->waiting)) && flow_fits(flow, job))
        wait_in(e, &e->ready, job);
}

/* It ends: a job that does not get its slot goes where only a change of what is free brings it back, and within
 * this call nothing gets free. */
void slots_dispatch(struct engine *e)
{
    struct job *job;
    while (!e->draining && e->active_tasks < e->options->max_active_tasks) {
        refill(e);
        job = job_at(&e->ready);
        if (!job)
            return;
        struct slot_pool *pool = slots_pool(e, job->task->pool);
        if (!flow_fits(job->run->flow, job)) {
            wait_in(e, &job->run->flow->waiting, job);
        } else if (pool && !pool_fits(e, job)) {
            wait_in(e, &pool->waiting, job);
        } else {
            slots_forget(job);
            job_begin(job);
        }
    }
}
