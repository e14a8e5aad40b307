/* SPDX-License-Identifier: Apache-2.0 */
/* Workflows as the scheduler has them: their definitions, which come and go with files, their pause, and the ticks
 * of their schedules. */
#include <stdlib.h>
#include <xxhash.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define IN_TIME_MS 60000 /* a tick that is no later than that was not missed */
#define TICKS_MAX 64     /* made in one go */

static uint64_t key_of(const char *text)
{
    return XXH3_64bits(text, strlen(text));
}

/* ---- definitions ---- */

static struct definition *find_definition(const struct engine *e, const char *hash)
{
    struct definition *d = map_get(&e->definition_map, key_of(hash));
    return d && strcmp(d->workflow->hash, hash) == 0 ? d : NULL;
}

struct definition *definition_add(struct engine *e, struct workflow_file **file)
{
    struct definition *d = find_definition(e, (*file)->workflow->hash);
    if (d) {
        workflow_file_free(file);
        return d;
    }
    d = xcalloc(1, sizeof *d);
    d->file = *file;
    d->workflow = d->file->workflow;
    d->map = &e->definition_map;
    d->key = key_of(d->workflow->hash);
    map_put(d->map, d->key, d);
    *file = NULL;
    LIST_INSERT_HEAD(&e->definitions, d, link);
    return d;
}

struct definition *definition_require(struct engine *e, const char *hash, struct ls_error *err)
{
    struct definition *d = find_definition(e, hash);
    struct diag_list diags = {0};
    if (d)
        return d;
    char *path = NULL, *text = store_definition_text(e, hash, &path, err);
    if (!text)
        return NULL;
    struct workflow_file *file = workflow_load_text(path, text, strlen(text), &diags);
    if (file->workflow) {
        d = definition_add(e, &file);
        d->stored = true;
    } else {
        error_set(err, "BAD_VALUE", "the workflow's stored text cannot be read any more: %s",
                  diags.count ? diags.items[0].sentence : "it is empty");
        workflow_file_free(&file);
    }
    diag_list_fini(&diags);
    free(path);
    free(text);
    return d;
}

void definition_use(struct definition *definition)
{
    definition->users++;
}

void definition_drop(struct definition *definition)
{
    if (!definition || --definition->users)
        return;
    LIST_REMOVE(definition, link);
    map_remove(definition->map, definition->key);
    workflow_file_free(&definition->file);
    free(definition);
}

/* ---- workflows ---- */

struct flow *flow_find(const struct engine *e, const char *id)
{
    struct flow *flow = map_get(&e->flow_map, key_of(id));
    return flow && strcmp(flow->id, id) == 0 ? flow : NULL;
}

static void on_tick(void *arg, struct timer *timer);

struct flow *flow_new(struct engine *e, const char *id)
{
    struct flow *flow = xcalloc(1, sizeof *flow);
    flow->engine = e;
    flow->id = xstrdup(id);
    flow->tick.fire = on_tick;
    TAILQ_INIT(&flow->queued);
    TAILQ_INIT(&flow->running);
    LIST_INSERT_HEAD(&e->flows, flow, link);
    map_put(&e->flow_map, key_of(id), flow);
    return flow;
}

void flow_free(struct flow *flow)
{
    heap_unset(&flow->engine->wall, &flow->tick);
    heap_fini(&flow->waiting);
    LIST_REMOVE(flow, link);
    definition_drop(flow->definition);
    free(flow->stored_hash);
    free(flow->id);
    free(flow);
}

static json_t *updated(const struct flow *flow, const char *reason)
{
    json_t *more = json_pack("{s:b}", "paused", flow->paused);
    if (flow->definition)
        json_object_set_new(more, "definition_hash", json_string(flow->definition->workflow->hash));
    if (reason)
        json_object_set_new(more, "reason", json_string(reason));
    return more;
}

/* Where a new workflow's schedule begins: now; or at `start`, when all of its past is to be made up for. */
static int64_t begin_of(const struct workflow *w, int64_t now)
{
    if (w->catchup == CATCHUP_ALL && w->start_s != INT64_MIN && w->start_s * 1000 - 1 < now)
        return w->start_s * 1000 - 1;
    return now;
}

static bool same_schedule(const struct workflow *a, const struct workflow *b)
{
    bool same = a->cron_count == b->cron_count && a->every_ms == b->every_ms && a->at_count == b->at_count &&
                a->start_s == b->start_s && a->end_s == b->end_s && strcmp(zone_name(a->zone), zone_name(b->zone)) == 0;
    for (size_t i = 0; same && i < a->cron_count; i++)
        same = strcmp(a->cron_texts[i], b->cron_texts[i]) == 0;
    for (size_t i = 0; same && i < a->at_count; i++)
        same = a->at_s[i] == b->at_s[i];
    return same;
}

/* A changed schedule begins now: its ticks of the past were never promised. */
static void reschedule(struct flow *flow, const struct definition *fresh)
{
    struct ls_error err = {0};
    struct definition *old = flow->stored_hash ? definition_require(flow->engine, flow->stored_hash, &err) : NULL;
    bool same = old && same_schedule(old->workflow, fresh->workflow);
    int64_t now = now_wall(flow->engine);
    if (old && !old->users) {
        definition_use(old);
        definition_drop(old);
    }
    if (!same && flow->done_ms < now)
        flow->done_ms = now;
}

static void define(struct engine *e, struct definition *fresh)
{
    const struct workflow *w = fresh->workflow;
    struct flow *flow = flow_find(e, w->id);
    if (flow && flow->definition == fresh)
        return;
    if (!flow) {
        flow = flow_new(e, w->id);
        flow->paused = w->paused;
        flow->first_seen_ms = now_wall(e);
        flow->done_ms = begin_of(w, flow->first_seen_ms);
    } else if (!same_text(flow->stored_hash, w->hash)) {
        reschedule(flow, fresh);
    }
    definition_use(fresh);
    definition_drop(flow->definition);
    flow->definition = fresh;
    if (!same_text(flow->stored_hash, w->hash)) {
        set_text(&flow->stored_hash, w->hash);
        dirty_flow(flow);
        outbox_tell_flow(flow, "workflow.updated", updated(flow, NULL));
    }
    flow_arm(flow);
}

static void undefine(struct flow *flow)
{
    definition_drop(flow->definition);
    flow->definition = NULL;
    set_text(&flow->stored_hash, NULL);
    dirty_flow(flow);
    json_t *more = updated(flow, NULL);
    json_object_set_new(more, "removed", json_true());
    outbox_tell_flow(flow, "workflow.updated", more);
    flow_arm(flow);
}

void engine_definitions(struct engine *e, struct definition *const *definitions, size_t count)
{
    struct flow *flow;
    int64_t known = 0;
    for (size_t i = 0; i < count; i++)
        define(e, definitions[i]);
    LIST_FOREACH(flow, &e->flows, link)
    {
        bool has_file = false;
        for (size_t i = 0; i < count && !has_file; i++)
            has_file = definitions[i] == flow->definition;
        if (!has_file && (flow->definition || flow->stored_hash))
            undefine(flow);
        known += has_file;
        runs_admit(flow);
    }
    e->counters[METRIC_WORKFLOWS] = known;
}

void flow_pause(struct flow *flow, bool paused, const char *reason)
{
    if (flow->paused == paused)
        return;
    flow->paused = paused;
    if (!paused)
        flow->failures = 0;
    dirty_flow(flow);
    outbox_tell_flow(flow, "workflow.updated", updated(flow, reason));
    logger_put(LEVEL_INFO, paused ? "workflow-paused" : "workflow-resumed", reason ? reason : "by request",
               "workflow=%s", flow->id);
    flow_arm(flow);
    runs_admit(flow);
}

/* ---- ticks ---- */

int64_t flow_anchor(const struct flow *flow)
{
    const struct workflow *w = flow->definition->workflow;
    return w->start_s != INT64_MIN ? w->start_s * 1000 : flow->first_seen_ms;
}

static int64_t next_tick(const struct flow *flow, int64_t after_ms)
{
    return workflow_next(flow->definition->workflow, after_ms, flow_anchor(flow));
}

void flow_arm(struct flow *flow)
{
    struct engine *e = flow->engine;
    int64_t at = flow->definition && !flow->paused ? next_tick(flow, flow->done_ms) : -1;
    flow->held = false;
    if (at < 0)
        heap_unset(&e->wall, &flow->tick);
    else
        heap_set(&e->wall, &flow->tick, at);
}

static void make(struct flow *flow, int64_t tick_ms)
{
    struct engine *e = flow->engine;
    struct ls_error err = {0};
    struct run_spec spec = {.trigger = "schedule", .logical_ms = tick_ms};
    bool existing = false, dropped = false;
    if (!run_create(flow, &spec, &existing, &dropped, &err) && !existing && !dropped)
        logger_put(LEVEL_INFO, "tick-without-run", err.text, "workflow=%s", flow->id);
    engine_count(e, METRIC_TICKS, 1);
    engine_count(e, METRIC_TICK_LATE_MS, now_wall(e) - tick_ms);
}

static void catch_up(struct flow *flow, int64_t now)
{
    int64_t ticks[TICKS_MAX], handled = flow->done_ms;
    size_t room = flow->queued_count < CATCHUP_QUEUE_MAX ? CATCHUP_QUEUE_MAX - flow->queued_count : 0;
    bool more = false;
    if (!room)
        return;
    size_t count = workflow_missed(flow->definition->workflow, flow->done_ms, now, flow_anchor(flow), ticks,
                                   room < TICKS_MAX ? room : TICKS_MAX, &more, &handled);
    for (size_t i = 0; i < count; i++)
        make(flow, ticks[i]);
    if (handled > flow->done_ms)
        flow->done_ms = handled;
}

/* A single tick in time is a run. Several, or one that is late because nobody was there, are the matter of `catchup`. */
static void on_tick(void *arg, struct timer *timer)
{
    struct flow *flow = (struct flow *) (void *) ((char *) timer - offsetof(struct flow, tick));
    int64_t now = now_wall(flow->engine), tick = next_tick(flow, flow->done_ms), before = flow->done_ms;
    (void) arg;
    if (tick >= 0 && tick <= now) {
        int64_t next = next_tick(flow, tick);
        if (now - tick <= IN_TIME_MS && (next < 0 || next > now)) {
            make(flow, tick);
            flow->done_ms = tick;
        } else {
            catch_up(flow, now);
        }
    }
    if (flow->done_ms != before)
        dirty_flow(flow);
    flow->held = tick >= 0 && tick <= now && flow->done_ms == before;
    if (!flow->held)
        flow_arm(flow);
    runs_admit(flow);
}
