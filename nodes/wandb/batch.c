/* SPDX-License-Identifier: Apache-2.0 */
/* Events on their way: into the inbox; in one transaction what they say of runs and rows; acknowledged when W&B or an offline file has it.
 * What is in memory only, a row that still gathers, comes again from the bus after a crash. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/mp.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define KEEP_ALIVE_MS 5000
#define CLEAN_MS 3600000
#define TELL_MS 60000

/* ---- taking ---- */

/* A metric's value that JSON has no number for is a word from here on. */
static void mend_value(json_t *body, struct ls_slice bytes)
{
    struct mp value;
    double number;
    if (!json_is_null(json_object_get(body, "value")) || !mp_find(mp_over(bytes.data, bytes.len), "value", &value) ||
        !mp_double(&value, &number) || isfinite(number))
        return;
    json_object_set_new(body, "value", json_string(isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity"));
}

static int64_t time_of(const struct ls_event *event)
{
    int64_t us = 0;
    if (!event->time.len || !clock_parse(event->time.data, event->time.len, &us) || us < 0)
        us = event->ts_us;
    return us / 1000;
}

static void set_key(struct held *held, const struct ls_event *event)
{
    struct buf all = {0};
    buf_pack_strn(&all, event->topic.data, event->topic.len);
    buf_pack_strn(&all, event->source.data, event->source.len);
    buf_pack_strn(&all, event->id.data, event->id.len);
    XXH128_hash_t hash = XXH3_128bits(all.data, all.len);
    buf_fini(&all);
    snprintf(held->key, sizeof held->key, "%016llx%016llx", (unsigned long long) hash.high64,
             (unsigned long long) hash.low64);
    held->hash = hash.low64;
}

static void held_free(struct held *held)
{
    while (held) {
        struct held *twin = held->twin;
        json_decref(held->body);
        free(held->topic);
        free(held);
        held = twin;
    }
}

/* It is here already: delivered again in a new session, or published twice. */
static bool is_here(struct held *here, const struct held *held)
{
    for (; here; here = here->twin)
        if (here->seq == held->seq) {
            here->subscription = held->subscription;
            return true;
        }
    return false;
}

enum ls_verdict batch_take(struct wandb *w, const struct ls_event *event)
{
    struct held *held = xcalloc(1, sizeof *held);
    *held = (struct held){.subscription = event->subscription, .seq = event->seq, .time_ms = time_of(event)};
    set_key(held, event);
    struct held *here = map_get(&w->by_key, held->hash);
    if (here) {
        if (is_here(here, held)) {
            held_free(held);
            return LS_PENDING;
        }
        held->twin = here->twin;
        here->twin = held;
        return LS_PENDING;
    }
    held->topic = xstrndup(event->topic.data, event->topic.len);
    held->body = node_json(event->body, &held->problem);
    if (strcmp(held->topic, "run.metric") == 0)
        mend_value(held->body, event->body);
    map_put(&w->by_key, held->hash, held);
    TAILQ_INSERT_TAIL(&w->inbox, held, link);
    w->held_count++;
    return LS_PENDING;
}

/* ---- acknowledging ---- */

static void settle(struct wandb *w, struct held *held, enum ls_verdict verdict)
{
    for (const struct held *each = held; each; each = each->twin)
        node_settle(w->node, each->subscription, each->seq, verdict, verdict == LS_REJECT ? &held->problem : NULL);
    map_remove(&w->by_key, held->hash);
    w->held_count--;
    held_free(held);
}

static void settle_done(struct wandb *w)
{
    struct held *held, *next;
    struct run *run;
    while ((held = TAILQ_FIRST(&w->done))) {
        TAILQ_REMOVE(&w->done, held, link);
        settle(w, held, held->problem.text[0] ? LS_REJECT : LS_DONE);
    }
    TAILQ_FOREACH(run, &w->runs, link)
    {
        for (held = run->look ? TAILQ_FIRST(&run->waiting) : NULL; held; held = next) {
            next = TAILQ_NEXT(held, link);
            if (!wandb_run_is_over(run, &held->wait))
                continue;
            TAILQ_REMOVE(&run->waiting, held, link);
            settle(w, held, LS_DONE);
        }
        run->look = false;
    }
}

static void keep_alive(struct wandb *w, int64_t now_ms)
{
    size_t at = 0;
    const struct held *held;
    if (now_ms - w->alive_at < KEEP_ALIVE_MS)
        return;
    w->alive_at = now_ms;
    while ((held = map_walk(&w->by_key, &at, NULL)))
        for (; held; held = held->twin)
            node_working(w->node, held->subscription, held->seq);
}

void batch_release(struct wandb *w)
{
    size_t at = 0;
    const struct held *held;
    while ((held = map_walk(&w->by_key, &at, NULL)))
        for (; held; held = held->twin)
            node_release(w->node, held->seq);
}

/* ---- runs in memory ---- */

static uint64_t hash_of(const char *subject)
{
    return XXH3_64bits(subject, strlen(subject));
}

void wandb_index(struct wandb *w, struct run *run)
{
    TAILQ_INSERT_TAIL(&w->runs, run, link);
    map_put(&w->by_subject, hash_of(run->subject), run);
}

/* "a-b" of "c" and "a" of "b-c": while both are open they must not share a run at W&B. */
static bool name_is_taken(const struct wandb *w, const char *name)
{
    const struct run *run;
    TAILQ_FOREACH(run, &w->runs, link)
    if (strcmp(run->name, name) == 0)
        return true;
    return false;
}

static void set_name(struct wandb *w, struct run *run)
{
    while (name_is_taken(w, run->name)) {
        free(run->name);
        run->name = name_run(run->id, (int) ++run->suffix);
    }
}

struct run *wandb_find(struct wandb *w, const char *subject, int64_t at_ms, struct ls_error *err)
{
    struct ls_error why = {0};
    struct run *run = map_get(&w->by_subject, hash_of(subject));
    if (!run) {
        run = wandb_store_find(w, subject, &why);
        if (!run && why.text[0]) {
            *err = why;
            return NULL;
        }
        if (!run) {
            run = wandb_run_new(w, subject);
            run->number = w->next_number++;
            run->started_ms = at_ms;
            set_name(w, run);
        }
        wandb_index(w, run);
    }
    run->touched_ms = clock_wall_us() / 1000;
    run->forgotten = false; /* kept in the database with the next change */
    return run;
}

static void drop(struct wandb *w, struct run *run)
{
    TAILQ_REMOVE(&w->runs, run, link);
    map_remove(&w->by_subject, hash_of(run->subject));
    wandb_run_free(run);
}

/* ---- the transaction ---- */

/* It was in a row, or in a revision, before a crash. -1: the database. */
static int apply_seen(struct wandb *w, struct held *held, struct ls_error *err)
{
    struct run *run;
    int64_t number = 0;
    int seen = wandb_store_seen(w, held->key, &number, &held->wait, err);
    if (seen <= 0)
        return seen;
    TAILQ_FOREACH(run, &w->runs, link)
    if (run->number == number) {
        TAILQ_INSERT_TAIL(&run->waiting, held, link);
        run->look = true;
        return 1;
    }
    TAILQ_INSERT_TAIL(&w->done, held, link); /* its run is closed */
    return 1;
}

static int apply(struct wandb *w, struct held *held, struct ls_error *err)
{
    struct run *run = NULL;
    int seen = apply_seen(w, held, err);
    if (seen)
        return seen < 0 ? -1 : 0;
    switch (wandb_apply(w, held, &run, err)) {
    case FACT_GATHERS: return 0;
    case FACT_WAITS: TAILQ_INSERT_TAIL(&run->waiting, held, link); return wandb_store_see(run, held, err);
    case FACT_NONE: TAILQ_INSERT_TAIL(&w->done, held, link); return 0;
    case FACT_REJECT:
        held->problem = *err;
        TAILQ_INSERT_TAIL(&w->done, held, link);
        return 0;
    default: return -1;
    }
}

static int apply_inbox(struct wandb *w, struct ls_error *err)
{
    struct held *held;
    while ((held = TAILQ_FIRST(&w->inbox))) {
        TAILQ_REMOVE(&w->inbox, held, link);
        if (apply(w, held, err))
            return -1;
        json_decref(held->body); /* what it says is in the run, or in a row that gathers */
        held->body = NULL;
    }
    return 0;
}

static int64_t row_due(const struct run *run)
{
    if (!run->row.count)
        return INT64_MAX;
    return run->ended || run->w->draining ? 0 : run->row.opened_ms + run->w->options->flush;
}

/* All of it is where it shall be, and its end is told. */
static bool is_complete(const struct run *run)
{
    if (!run->ended || !run->closing || run->call || run->row.count)
        return false;
    if (run->w->settings.mode == WANDB_OFFLINE)
        return run->end_spooled == run->end_rev && run->spooled >= run->lines && run->rev_spooled == run->rev;
    return !run->parked && run->end_sent == run->end_rev && run->acked >= run->lines && run->rev_sent == run->rev;
}

static bool is_stale(const struct run *run)
{
    const struct wait all = {.line = run->lines - 1, .rev = run->rev};
    return run->touched_ms < clock_wall_us() / 1000 - run->w->options->id_keep && TAILQ_EMPTY(&run->waiting) &&
           !run->row.count && wandb_run_is_over(run, &all);
}

/* What nobody has acknowledged comes again, however long it waited for W&B. */
static int keep_ids(struct wandb *w, const struct run *run, struct ls_error *err)
{
    const struct held *held;
    TAILQ_FOREACH(held, &run->waiting, link)
    if (wandb_store_keep(w, held, err))
        return -1;
    return 0;
}

static int save(struct wandb *w, int64_t now_ms, bool cleaning, struct ls_error *err)
{
    struct run *run;
    TAILQ_FOREACH(run, &w->runs, link)
    {
        if (row_due(run) <= now_ms && wandb_run_row_close(run, err))
            return -1;
        if (!run->dirty && !cleaning)
            continue;
        if (cleaning && keep_ids(w, run, err))
            return -1;
        int64_t rows = wandb_is_offline(run) ? run->spooled : run->acked;
        bool complete = is_complete(run);
        if (!run->forgotten &&
            (complete || (rows > run->told_rows && (!run->told_at || now_ms - run->told_at >= TELL_MS))))
            wandb_tell(run, complete);
        run->forgotten |= complete || (cleaning && is_stale(run));
        run->look = true;
        if (wandb_store_save(run, err) || (run->forgotten && wandb_store_rows_gone(run, err)))
            return -1;
    }
    return cleaning ? wandb_store_clean(w, err) : 0;
}

static bool has_work(const struct wandb *w, int64_t now_ms, int64_t *due)
{
    const struct run *run;
    bool work = !TAILQ_EMPTY(&w->inbox);
    *due = INT64_MAX;
    TAILQ_FOREACH(run, &w->runs, link)
    {
        int64_t at = row_due(run);
        work |= run->dirty || at <= now_ms;
        *due = at < *due ? at : *due;
    }
    return work;
}

static void count(struct wandb *w)
{
    const struct run *run;
    int64_t open = 0, parked = 0;
    TAILQ_FOREACH(run, &w->runs, link)
    {
        open += !run->forgotten;
        parked += run->parked && !run->forgotten;
    }
    *node_metric(w->node, METRIC_RUNS) = open;
    *node_metric(w->node, METRIC_PARKED) = parked;
    *node_metric(w->node, METRIC_WAITING) = (int64_t) w->held_count;
}

static void drop_forgotten(struct wandb *w)
{
    struct run *run, *next;
    for (run = TAILQ_FIRST(&w->runs); run; run = next) {
        next = TAILQ_NEXT(run, link);
        if (run->forgotten && !run->dirty && !run->call && TAILQ_EMPTY(&run->waiting) && TAILQ_EMPTY(&run->gathering))
            drop(w, run);
    }
}

int64_t batch_turn(struct wandb *w, int64_t now_ms)
{
    struct ls_error err = {0};
    int64_t due;
    bool cleaning = now_ms - w->cleaned_at >= CLEAN_MS;
    keep_alive(w, now_ms);
    if (has_work(w, now_ms, &due) || cleaning) {
        if (db_begin(w->db, &err) || apply_inbox(w, &err) || save(w, now_ms, cleaning, &err) ||
            db_commit(w->db, &err)) {
            db_rollback(w->db);
            error_wrap(&err, "%s/wandb.db", w->options->dir);
            wandb_failed(w, &err);
            return INT64_MAX;
        }
        w->cleaned_at = cleaning ? now_ms : w->cleaned_at;
        settle_done(w);
        drop_forgotten(w);
        has_work(w, now_ms, &due);
    }
    count(w);
    int64_t alive = w->held_count ? w->alive_at + KEEP_ALIVE_MS : INT64_MAX;
    return due < alive ? due : alive;
}

void wandb_forget_runs(struct wandb *w)
{
    struct run *run;
    while ((run = TAILQ_FIRST(&w->runs)))
        drop(w, run);
    map_fini(&w->by_subject);
}

void batch_free(struct wandb *w)
{
    size_t at = 0;
    struct held *held;
    while ((held = map_walk(&w->by_key, &at, NULL)))
        held_free(held);
    map_fini(&w->by_key);
    wandb_forget_runs(w);
}
