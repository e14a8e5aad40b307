/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds: which runs changed, then what each has of the chosen keys, one question at a time. */
#include "nodes/wandb/pull.h"

#include <stdlib.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/db_node.h"
#include "nodes/wandb/pull_run.h"

#define FIRST_S 600 /* at the first start: runs that were alive so long ago */
#define OVERLAP_S (PULL_LATE_MS / 1000)
#define PAGE 50
#define AWAY_MS 200 /* looks again so soon while bus or database are away */

static const char RUNS[] =
    "query PullRuns($project:String!,$entity:String,$first:Int,$after:String){project(name:$project,entityName:$entity){entity{name} "
    "runs(first:$first,after:$after,order:\"-heartbeat_at\"){edges{node{name heartbeatAt historyKeys}} "
    "pageInfo{endCursor hasNextPage}}}}";
static const char HISTORY[] =
    "query PullHistory($project:String!,$entity:String,$run:String!,$specs:[JSONString!]!){project(name:$project,entityName:$entity){"
    "run(name:$run){sampledHistory(specs:$specs)}}}";

struct pull {
    struct node *node;
    struct api *api;
    struct db_node *db_node;
    struct pull_options options;
    struct timer timer;
    struct api_call *call;
    bool away;               /* bus or database were not there */
    bool whole;              /* every question of this round was answered */
    char *entity;            /* as W&B told it; NULL until then */
    char *cursor;            /* of the next page; NULL: the first */
    int64_t heartbeat_s;     /* all runs were asked up to this one; 0: not read yet */
    int64_t newest_s;        /* seen in this round */
    struct pull_runs runs;
    char complained[480];    /* the last failure that was logged */
};

static void ask_runs(struct pull *pull);
static void ask_history(struct pull *pull);

static struct pull_place place_of(const struct pull *pull)
{
    return (struct pull_place){pull->entity, pull->options.project};
}

/* ---- rounds ---- */

static void end_round(struct pull *pull)
{
    node_timer_set(pull->node, &pull->timer, pull->options.every_ms);
}

/* Says what failed, once while it lasts; the next round tries again. */
static void complain(struct pull *pull, const struct ls_error *err, const char *run)
{
    pull->whole = false;
    if (strcmp(pull->complained, err->text) != 0)
        logger_put(LEVEL_WARN, "pull-failed", err->text, "project=%s%s%s", pull->options.project, run ? " run=" : "", run ? run : "");
    snprintf(pull->complained, sizeof pull->complained, "%s", err->text);
}

static void fail_round(struct pull *pull, const struct ls_error *err)
{
    complain(pull, err, NULL);
    end_round(pull);
}

static void fail_database(struct pull *pull, const struct ls_error *err)
{
    if (!db_node_failed(pull->db_node, err))
        fail_round(pull, err);
    else
        end_round(pull);
}

/* What was published before the session was lost may have gone out only now. */
static void settle(struct pull *pull)
{
    int64_t now = clock_mono_ms();
    struct pull_run *run;
    LIST_FOREACH(run, &pull->runs, link)
        for (size_t i = 0; i < run->key_count; i++)
            (pull->away ? series_wait : series_settle)(&run->series[i], now);
    pull->away = false;
}

static void on_timer(void *self, struct timer *timer)
{
    struct pull *pull = (struct pull *) (void *) ((char *) timer - offsetof(struct pull, timer));
    (void) self;
    if (!ls_client_connected(node_client(pull->node)) || !db_node_db(pull->db_node)) {
        pull->away = true;
        node_timer_set(pull->node, &pull->timer, AWAY_MS);
        return;
    }
    settle(pull);
    pull->whole = true;
    pull->newest_s = 0;
    free(pull->cursor);
    pull->cursor = NULL;
    ask_runs(pull);
}

/* Runs of which nothing more is to come are forgotten; the database has what matters of them. */
static void forget_idle(struct pull *pull)
{
    struct pull_run *run = LIST_FIRST(&pull->runs);
    while (run) {
        struct pull_run *next = LIST_NEXT(run, link);
        if (run->heartbeat_s < pull->heartbeat_s - OVERLAP_S && pull_run_is_idle(run, clock_mono_ms())) {
            LIST_REMOVE(run, link);
            pull_run_free(run);
        }
        run = next;
    }
}

/* Runs with an older heartbeat need not be asked again. */
static int64_t heartbeat_done(const struct pull *pull)
{
    int64_t done = pull->newest_s;
    const struct pull_run *run;
    LIST_FOREACH(run, &pull->runs, link)
        if (run->heartbeat_s < done && !pull_run_is_idle(run, clock_mono_ms()))
            done = run->heartbeat_s;
    return pull->whole && done > pull->heartbeat_s ? done : pull->heartbeat_s;
}

static void finish_round(struct pull *pull)
{
    struct db *db = db_node_db(pull->db_node);
    struct pull_place place = place_of(pull);
    struct ls_error err;
    int64_t heartbeat_s = heartbeat_done(pull);
    if (db && (heartbeat_s > pull->heartbeat_s || pull_is_unsaved(&pull->runs))) {
        if (pull_save(db, &place, &pull->runs, heartbeat_s, &err)) {
            fail_database(pull, &err);
            return;
        }
        pull->heartbeat_s = heartbeat_s;
    }
    if (pull->whole)
        pull->complained[0] = '\0';
    forget_idle(pull);
    end_round(pull);
}

/* ---- rows ---- */

/* W&B writes some JSON as text inside JSON. The caller's. */
static json_t *unpacked(const json_t *value)
{
    if (json_is_string(value))
        return api_json(ls_bytes(json_string_value(value), json_string_length(value)), NULL);
    return json_incref((json_t *) (uintptr_t) value);
}

static void event_id(char id[33], const struct pull *pull, const char *run, const char *key, int64_t step)
{
    struct buf all = {0};
    buf_pack_str(&all, pull->entity);
    buf_pack_str(&all, pull->options.project);
    buf_pack_str(&all, run);
    buf_pack_str(&all, key);
    buf_pack_int(&all, step);
    XXH128_hash_t hash = XXH3_128bits(all.data, all.len);
    snprintf(id, 33, "%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
    buf_fini(&all);
}

static void publish(struct pull *pull, const struct pull_run *run, const char *key, int64_t step, const json_t *row)
{
    char id[33];
    struct buf text = {0};
    json_auto_t *body = json_pack("{s:s,s:s,s:s,s:s,s:O,s:I}", "entity", pull->entity, "project", pull->options.project, "run", run->name,
                                  "key", key, "value", json_object_get(row, key), "step", (json_int_t) step);
    double seconds = json_number_value(json_object_get(row, "_timestamp"));
    if (seconds > 0 && seconds < 253402300800.0)
        json_object_set_new(body, "timestamp", json_integer((json_int_t) (seconds * 1000)));
    if (run->run_id)
        json_object_set_new(body, "run_id", json_string(run->run_id));
    node_write(&text, body);
    event_id(id, pull, run->name, key, step);
    node_publish(pull->node, &(struct ls_event){.topic = ls_str("wandb.metric"), .id = ls_str(id),
                                                .subject = ls_str(run->run_id ? run->run_id : run->name),
                                                .body = ls_bytes(text.data, text.len)});
    buf_fini(&text);
}

static void take_rows(struct pull *pull, struct pull_run *run, struct series *series, const json_t *rows)
{
    int64_t now = clock_mono_ms();
    size_t i;
    json_t *row;
    if (!series_took(series, json_array_size(rows)))
        return;
    json_array_foreach(rows, i, row) {
        const json_t *value = json_object_get(row, series->key), *step = json_object_get(row, "_step");
        bool plain = json_is_number(value) || json_is_string(value) || json_is_boolean(value);
        if (plain && json_is_number(step) && series_tell(series, (int64_t) json_number_value(step), now))
            publish(pull, run, series->key, (int64_t) json_number_value(step), row);
    }
}

static struct pull_run *run_that_is_due(struct pull *pull)
{
    struct pull_run *run;
    LIST_FOREACH(run, &pull->runs, link)
        if (run->due)
            return run;
    return NULL;
}

static void on_history(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct pull *pull = arg;
    struct pull_run *run = run_that_is_due(pull);
    pull->call = NULL;
    if (err) { /* of this run; the others go on */
        complain(pull, err, run->name);
        run->due = false;
        ask_history(pull);
        return;
    }
    const json_t *all = json_object_get(json_object_get(json_object_get(answer, "project"), "run"), "sampledHistory");
    size_t part = 0;
    for (size_t i = 0; i < run->key_count; i++) {
        struct series *series = &run->series[i];
        if (series->asked) {
            json_auto_t *rows = unpacked(json_array_get(all, part++));
            take_rows(pull, run, series, rows);
        }
    }
    ask_history(pull);
}

/* What is asked of the run now, a text for each key; empty: no more. */
static json_t *specs_of(struct pull_run *run)
{
    json_t *specs = json_array();
    for (size_t i = 0; i < run->key_count; i++) {
        struct series *series = &run->series[i];
        struct buf text = {0};
        if (!series_ask(series, run->last_step))
            continue;
        json_auto_t *spec = json_pack("{s:[s,s,s],s:I,s:I,s:i}", "keys", "_step", "_timestamp", series->key, "minStep",
                                      (json_int_t) series->next, "maxStep", (json_int_t) (series->next + series->asked - 1), "samples",
                                      PULL_SAMPLES);
        node_write(&text, spec);
        json_array_append_new(specs, json_stringn((const char *) text.data, text.len));
        buf_fini(&text);
    }
    return specs;
}

static void ask_history(struct pull *pull)
{
    struct pull_run *run;
    while ((run = run_that_is_due(pull))) {
        json_t *specs = specs_of(run);
        if (json_array_size(specs)) {
            json_t *variables = json_pack("{s:s,s:s,s:s,s:o}", "project", pull->options.project, "entity", pull->entity, "run", run->name,
                                          "specs", specs);
            pull->call = api_graphql(pull->api, "PullHistory", HISTORY, variables, true, on_history, pull);
            return;
        }
        json_decref(specs);
        run->asked_ms = clock_mono_ms();
        run->due = false;
    }
    finish_round(pull);
}

/* ---- runs ---- */

/* Seconds since 1970; 0 if there was none. W&B writes UTC, older servers without a zone. */
static int64_t heartbeat_of(const json_t *node)
{
    const char *text = json_string_value(json_object_get(node, "heartbeatAt"));
    int64_t wall_us = 0;
    char zoned[64];
    if (!text || clock_parse(text, strlen(text), &wall_us))
        return wall_us / 1000000;
    snprintf(zoned, sizeof zoned, "%.60sZ", text);
    return clock_parse(zoned, strlen(zoned), &wall_us) ? wall_us / 1000000 : 0;
}

static struct pull_run *find_run(struct pull *pull, struct db *db, const char *name, struct ls_error *err)
{
    struct pull_place place = place_of(pull);
    struct pull_run *run;
    LIST_FOREACH(run, &pull->runs, link)
        if (strcmp(run->name, name) == 0)
            return run;
    run = pull_run_new(db, &place, name, pull->options.keys, err);
    if (run)
        LIST_INSERT_HEAD(&pull->runs, run, link);
    return run;
}

/* Notes a run of the list: it is asked in this round unless all that it has is here. */
static int note_run(struct pull *pull, struct db *db, const json_t *node, int64_t heartbeat_s, struct ls_error *err)
{
    int64_t now = clock_mono_ms();
    struct pull_run *run = find_run(pull, db, json_string_value(json_object_get(node, "name")), err);
    if (!run)
        return -1;
    json_auto_t *keys = unpacked(json_object_get(node, "historyKeys"));
    const json_t *last = json_object_get(keys, "lastStep");
    if (heartbeat_s != run->heartbeat_s) {
        run->heartbeat_s = heartbeat_s;
        run->changed_ms = now;
    }
    run->last_step = json_is_number(last) ? (int64_t) json_number_value(last) : -1;
    run->due = !pull_run_is_idle(run, now);
    for (size_t i = 0; i < run->key_count; i++)
        run->series[i].next = run->series[i].settled + 1;
    return 0;
}

/* Where to begin, when the database was not asked yet. */
static int read_place(struct pull *pull, struct db *db, const json_t *project, struct ls_error *err)
{
    const char *entity = json_string_value(json_object_get(json_object_get(project, "entity"), "name"));
    if (pull->heartbeat_s)
        return 0;
    if (!pull->entity)
        pull->entity = xstrdup(entity ? entity : pull->options.entity ? pull->options.entity : "");
    struct pull_place place = place_of(pull);
    int found = pull_load(db, &place, &pull->heartbeat_s, err);
    if (found == 0) {
        pull->heartbeat_s = clock_wall_us() / 1000000 - FIRST_S;
        found = pull_save(db, &place, &pull->runs, pull->heartbeat_s, err);
    }
    return found < 0 ? -1 : 0;
}

/* *more: the next page has runs that changed, too. */
static int take_runs(struct pull *pull, struct db *db, const json_t *runs, bool *more, struct ls_error *err)
{
    size_t i;
    json_t *edge;
    const json_t *page = json_object_get(runs, "pageInfo");
    const char *cursor = json_string_value(json_object_get(page, "endCursor"));
    *more = json_is_true(json_object_get(page, "hasNextPage")) && cursor;
    json_array_foreach(json_object_get(runs, "edges"), i, edge) {
        const json_t *node = json_object_get(edge, "node");
        int64_t heartbeat_s = heartbeat_of(node);
        if (heartbeat_s < pull->heartbeat_s - OVERLAP_S) { /* newest first: the rest is older still */
            *more = false;
            break;
        }
        if (heartbeat_s > pull->newest_s)
            pull->newest_s = heartbeat_s;
        if (json_is_string(json_object_get(node, "name")) && note_run(pull, db, node, heartbeat_s, err))
            return -1;
    }
    free(pull->cursor);
    pull->cursor = *more ? xstrdup(cursor) : NULL;
    return 0;
}

static void on_runs(void *arg, const json_t *answer, const struct ls_error *failed)
{
    struct pull *pull = arg;
    struct db *db = db_node_db(pull->db_node);
    const json_t *project = json_object_get(answer, "project");
    struct ls_error err;
    bool more = false;
    pull->call = NULL;
    if (!failed && !json_is_object(project)) {
        error_set(&err, "NOT_FOUND", "W&B has no project \"%.128s\"%s%.200s: nothing can be brought from it yet", pull->options.project,
                  pull->options.entity ? " of " : "", pull->options.entity ? pull->options.entity : "");
        failed = &err;
    }
    if (failed)
        fail_round(pull, failed);
    else if (!db)
        end_round(pull);
    else if (read_place(pull, db, project, &err) || take_runs(pull, db, json_object_get(project, "runs"), &more, &err))
        fail_database(pull, &err);
    else if (more)
        ask_runs(pull);
    else
        ask_history(pull);
}

static void ask_runs(struct pull *pull)
{
    json_t *variables = json_pack("{s:s,s:s?,s:i,s:s?}", "project", pull->options.project, "entity", pull->options.entity, "first", PAGE,
                                  "after", pull->cursor);
    pull->call = api_graphql(pull->api, "PullRuns", RUNS, variables, true, on_runs, pull);
}

/* ---- opening and closing ---- */

struct pull *pull_open(struct node *node, struct api *api, struct db_node *db, const struct pull_options *options)
{
    struct pull *pull = xcalloc(1, sizeof *pull);
    *pull = (struct pull){.node = node, .api = api, .db_node = db, .options = *options, .timer.fire = on_timer};
    node_timer_set(node, &pull->timer, 0);
    return pull;
}

void pull_close(struct pull **pointer)
{
    struct pull *pull = *pointer;
    struct pull_run *run;
    if (!pull)
        return;
    *pointer = NULL;
    if (pull->timer.place)
        node_timer_unset(pull->node, &pull->timer);
    api_cancel(&pull->call);
    while ((run = LIST_FIRST(&pull->runs))) {
        LIST_REMOVE(run, link);
        pull_run_free(run);
    }
    free(pull->entity);
    free(pull->cursor);
    free(pull);
}
