/* SPDX-License-Identifier: Apache-2.0 */
/* The kind `wandb`: its life, and the callbacks of the node. */
#include "nodes/wandb/wandb.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/xmem.h"

bool wandb_is_offline(const struct run *run)
{
    return run->w->settings.mode == WANDB_OFFLINE || run->parked;
}

/* What is in memory may differ from the database now: the bus and the database know all that is needed to begin anew. */
void wandb_failed(struct wandb *w, const struct ls_error *err)
{
    if (!w->failed)
        node_fail(w->node, err);
    w->failed = true;
}

/* ---- the database ---- */

static int ready(void *self, struct db *db, struct ls_error *err)
{
    struct wandb *w = self;
    struct run *run;
    wandb_forget_runs(w); /* what an attempt that failed had read */
    w->db = db;
    if (wandb_store_load(w, err)) {
        w->db = NULL;
        return -1;
    }
    TAILQ_FOREACH(run, &w->runs, link)
    run->parked = false; /* another chance with each start */
    return 0;
}

static void lost(void *self, const struct ls_error *err)
{
    struct wandb *w = self;
    w->db = NULL;
    wandb_failed(w, err);
}

/* ---- opening ---- */

static int open_online(struct wandb *w, struct ls_error *err)
{
    const struct wandb_options *o = w->options;
    w->api = api_open(
        w->node, &(struct api_options){.base_url = w->settings.base_url, .key = w->settings.key, .ca_file = o->ca_file},
        err);
    if (!w->api)
        return -1;
    if (o->pull.count)
        w->pull = pull_open(w->node, w->api, w->db_node,
                            &(struct pull_options){.entity = w->settings.entity,
                                                   .project = o->pull_project ? o->pull_project : w->settings.project,
                                                   .keys = o->pull.items,
                                                   .every_ms = o->pull_every});
    return 0;
}

static int on_open(void *self, struct node *node, const void *options, struct ls_error *err)
{
    static const char *const MODES[] = {"auto", "online", "offline", "disabled"};
    struct wandb *w = self;
    w->node = node;
    w->options = options;
    TAILQ_INIT(&w->runs);
    TAILQ_INIT(&w->inbox);
    TAILQ_INIT(&w->done);
    w->experiments = json_object();
    w->cleaned_at = clock_mono_ms();
    if (settings_read(&w->settings, w->options, err))
        return -1;
    logger_put(LEVEL_INFO, "mode", "what becomes of runs", "mode=%s url=%s dir=%s", MODES[w->settings.mode],
               w->settings.base_url, w->options->dir);
    if (w->settings.mode == WANDB_DISABLED)
        return 0;
    if (folder_make(w->options->dir, 0755, err))
        return -1;
    node_window(node, (uint32_t) w->options->in_flight);
    w->url = xasprintf("sqlite:%s/wandb.db", w->options->dir);
    w->db_node = db_node_open(node, &(struct db_node_options){.url = w->url,
                                                              .lock = "wandb",
                                                              .component = "wandb",
                                                              .steps = WANDB_STEPS,
                                                              .step_count = WANDB_STEP_COUNT,
                                                              .ready = ready,
                                                              .lost = lost,
                                                              .self = w});
    return w->settings.mode == WANDB_ONLINE ? open_online(w, err) : 0;
}

/* ---- turns ---- */

static enum ls_verdict on_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct wandb *w = self;
    (void) err;
    return w->settings.mode == WANDB_DISABLED ? LS_DONE : batch_take(w, event);
}

/* What is committed may go; what came of it is committed in the turn that follows at once. */
static int64_t work_runs(struct wandb *w, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    struct run *run;
    TAILQ_FOREACH(run, &w->runs, link)
    {
        int64_t when = wandb_is_offline(run) ? wandb_run_spool(run, now_ms) : wandb_run_upload(run, now_ms);
        when = run->dirty ? now_ms : when;
        next = when < next ? when : next;
    }
    return next;
}

/* Runs that could still make headway. */
static size_t on_busy(void *self)
{
    const struct wandb *w = self;
    const struct run *run;
    size_t busy = 0;
    if (!w->db || w->failed)
        return 0;
    TAILQ_FOREACH(run, &w->runs, link)
    {
        bool offline = wandb_is_offline(run),
             closes = run->ended && (offline ? run->end_spooled : run->end_sent) < run->end_rev;
        bool rows = (offline ? run->spooled : run->acked) < run->lines,
             names = (offline ? run->rev_spooled : run->rev_sent) < run->rev;
        if (offline || !api_away(w->api))
            busy += run->dirty || run->call || run->row.count || rows || names || closes;
    }
    return busy;
}

static int64_t on_tick(void *self, int64_t now_ms)
{
    struct wandb *w = self;
    if (!w->db || w->failed)
        return INT64_MAX;
    int64_t due = batch_turn(w, now_ms);
    if (w->failed)
        return INT64_MAX;
    int64_t next = work_runs(w, now_ms);
    if (w->draining && !on_busy(w))
        batch_release(w); /* W&B is away: they come again after the start, and are known */
    return due < next ? due : next;
}

static void on_drain(void *self)
{
    ((struct wandb *) self)->draining = true;
}

static void on_close(void *self)
{
    struct wandb *w = self;
    batch_free(w);
    if (w->pull)
        pull_close(&w->pull);
    api_close(&w->api);
    db_node_close(&w->db_node);
    settings_free(&w->settings);
    json_decref(w->experiments);
    free(w->url);
}

const struct node_code node_wandb = {
    .kind = &kind_wandb,
    .size = sizeof(struct wandb),
    .open = on_open,
    .event = on_event,
    .tick = on_tick,
    .drain = on_drain,
    .busy = on_busy,
    .close = on_close,
};
