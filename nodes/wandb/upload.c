/* SPDX-License-Identifier: Apache-2.0 */
/* A run at W&B: one call at a time. First UpsertBucket, whenever names or config changed; then lines from the last confirmed one on;
 * a sign of life when there are none; `complete` when all is there. What a call carries is committed before it goes out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/uri.h"
#include "lib/xmem.h"
#include "nodes/wandb/api_text.h"
#include "nodes/wandb/wandb.h"

#define LINES_BYTES_MAX                                                                                                \
    (5u << 20)             /* of a body, beside the summary; W&B allows 10 MiB, and escaping may double a text */
#define ADOPT_WAIT_MS 6000 /* W&B counts lines late */
#define SUFFIX_MAX 20
#define QUIET_MS                                                                                                       \
    86400000 /* a run of which nothing was heard for a day gets no more signs of life: W&B shows it as crashed */
#define STREAM_HEAD "{\"files\":{\"wandb-history.jsonl\":{\"offset\":%" PRId64 ",\"content\":["

static const char UPSERT[] =
    "mutation "
    "UpsertBucket($id:String,$name:String,$project:String,$entity:String,$config:JSONString,$displayName:String,"
    "$groupName:String,$jobType:String,$notes:String,$tags:[String!]){upsertBucket(input:{id:$id,name:$name,modelName:$"
    "project,"
    "entityName:$entity,config:$config,displayName:$displayName,groupName:$groupName,jobType:$jobType,notes:$notes,"
    "tags:$tags})"
    "{bucket{id name displayName project{name entity{name}} historyLineCount} inserted}}";
static const char STATUS[] =
    "query RunResumeStatus($project:String,$entity:String,$name:String!){model(name:$project,entityName:$entity){id "
    "name "
    "bucket(name:$name,missingOk:true){id name summaryMetrics historyLineCount historyTail}}}";

/* ---- what went wrong ---- */

/* The run is written offline from now on, from its first line, so that `wandb sync` can complete it. */
static void park(struct run *run, const struct ls_error *err)
{
    run->parked = true;
    run->dirty = true;
    logger_put(LEVEL_WARN, "run-parked", err->text,
               "run=%s status=%d next=\"written to an offline file; tried again after a restart\"", run->name,
               err->number);
}

/* A run of this id was deleted at W&B, where ids are never given again: another id, with all lines that are kept. */
static void rename_run(struct run *run)
{
    struct ls_error err = {0};
    int64_t first;
    if (wandb_store_first(run, &first, &err)) {
        wandb_failed(run->w, &err);
        return;
    }
    char *old = run->name;
    run->name = name_run(run->id, (int) ++run->suffix);
    run->acked = first;
    run->base_line = -first;
    run->base_step = 0;
    run->rev_sent = 0;
    free(run->storage_id);
    run->storage_id = NULL;
    run->dirty = true;
    logger_put(LEVEL_WARN, "run-renamed", "W&B had a run of this id that was deleted; the run goes on under another",
               "run=%s new=%s", old, run->name);
    free(old);
}

/* Final errors park the run, but for an id that is taken for ever. */
static void refused(struct run *run, const struct ls_error *err, bool upsert)
{
    if (upsert && err->number == 409 && run->suffix < SUFFIX_MAX)
        rename_run(run);
    else
        park(run, err);
}

/* ---- names and config ---- */

static json_t *text_or_null(const json_t *value)
{
    return json_is_string(value) ? json_incref((json_t *) (uintptr_t) value) : json_null();
}

static json_t *labels_of(const struct run *run)
{
    json_t *tags = json_array(), *label;
    const char *key;
    json_object_foreach(json_object_get(run->about, "labels"), key, label) json_array_append(tags, label);
    return tags;
}

static const char *project_of(const struct run *run)
{
    const char *own = json_string_value(json_object_get(run->about, "project"));
    const char *set = run->w->settings.project;
    return run->project ? run->project : set ? set : own ? own : "uncategorized";
}

static void take_text(char **member, const json_t *value)
{
    if (!json_is_string(value))
        return;
    free(*member);
    *member = xstrdup(json_string_value(value));
}

/* Where people see the run. W&B's own service has its pages at another host than its API. */
static char *url_of(const struct run *run)
{
    struct buf url = {0};
    const char *base = run->w->settings.base_url;
    buf_addf(&url, "%s", strcmp(base, "https://api.wandb.ai") == 0 ? "https://wandb.ai" : base);
    const char *const parts[] = {run->entity, run->project, "runs", run->name};
    for (size_t i = 0; i < 4; i++) {
        buf_add_byte(&url, '/');
        uri_encode(&url, parts[i] ? parts[i] : "", "");
    }
    char *text = xstrdup(buf_text(&url));
    buf_fini(&url);
    return text;
}

/* False: W&B does not say where the run is, and so its lines cannot be sent. */
static bool take_bucket(struct run *run, const json_t *bucket)
{
    const json_t *id = json_object_get(bucket, "id"), *project = json_object_get(bucket, "project");
    const json_t *project_name = json_object_get(project, "name");
    const json_t *entity_name = json_object_get(json_object_get(project, "entity"), "name");
    if (!json_is_string(id) || !json_is_string(project_name) || !json_is_string(entity_name))
        return false;
    take_text(&run->storage_id, id);
    take_text(&run->name, json_object_get(bucket, "name"));
    take_text(&run->project, project_name);
    take_text(&run->entity, entity_name);
    free(run->url);
    run->url = url_of(run);
    run->rev_sent = run->posting_rev;
    run->reopened = false;
    return true;
}

static void on_upsert(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct run *run = arg;
    const json_t *upsert = json_object_get(answer, "upsertBucket"), *bucket = json_object_get(upsert, "bucket");
    run->call = NULL;
    run->upserted_at = clock_mono_ms();
    run->dirty = true;
    if (err) {
        refused(run, err, true);
    } else if (!run->storage_id && json_is_false(json_object_get(upsert, "inserted")) &&
               json_integer_value(json_object_get(bucket, "historyLineCount")) > 0) {
        run->adopting = true; /* it has lines, and none is ours: we send none before this answer is committed */
        run->retry_at = run->upserted_at + ADOPT_WAIT_MS;
    } else if (!take_bucket(run, bucket)) {
        struct ls_error why = {.text = "W&B's answer does not name the run, its project and its entity"};
        park(run, &why);
    }
    run->posting_rev = 0;
}

static void upsert(struct run *run)
{
    struct buf config = {0};
    row_config(&config, json_object_get(run->about, "config"), json_object_get(run->about, "axes"));
    json_t *variables =
        json_pack("{s:s?,s:s,s:s,s:s?,s:s%,s:o,s:o,s:o,s:o,s:o}", "id", run->storage_id, "name", run->name, "project",
                  project_of(run), "entity", run->entity ? run->entity : run->w->settings.entity, "config",
                  (const char *) config.data, config.len, "displayName",
                  text_or_null(json_object_get(run->about, "display_name")), "groupName",
                  text_or_null(json_object_get(run->about, "group")), "jobType",
                  text_or_null(json_object_get(run->about, "job_type")), "notes",
                  text_or_null(json_object_get(run->about, "notes")), "tags", labels_of(run));
    buf_fini(&config);
    run->posting_rev = run->rev;
    run->call = api_graphql(run->w->api, "UpsertBucket", UPSERT, variables, true, on_upsert, run);
}

/* ---- a run that somebody else began ---- */

static int64_t step_in(const json_t *text)
{
    struct ls_slice slice = ls_bytes(json_string_value(text), json_string_length(text));
    json_auto_t *json = json_is_string(text) ? api_json(slice, NULL) : NULL;
    const json_t *row = json_is_array(json) ? json_array_get(json, json_array_size(json) - 1) : json;
    if (json_is_string(row))
        return step_in(row);
    const json_t *step = json_object_get(row, "_step");
    return json_is_integer(step) ? json_integer_value(step) : -1;
}

static bool take_first_step(void *arg, int64_t line, const struct row_place *place, struct ls_slice text)
{
    (void) line, (void) text;
    *(int64_t *) arg = place->step;
    return false;
}

/* Behind what is there: lines by its count, steps by the highest that it tells. */
static int adopt(struct run *run, const json_t *bucket, struct ls_error *err)
{
    int64_t lines = json_integer_value(json_object_get(bucket, "historyLineCount")), first = run->next_step;
    int64_t summary = step_in(json_object_get(bucket, "summaryMetrics")),
            tail = step_in(json_object_get(bucket, "historyTail"));
    int64_t last = summary > tail ? summary : tail;
    last = lines - 1 > last ? lines - 1 : last;
    if (wandb_store_lines(run, run->acked, take_first_step, &first, err))
        return -1;
    run->base_line = lines - run->acked;
    if (run->acked == run->lines)
        run->next_step = last + 1 > run->next_step ? last + 1 : run->next_step;
    else if (first <= last)
        run->base_step = last + 1 - first;
    logger_put(LEVEL_INFO, "run-adopted", "the run is at W&B already: rows go behind those that it has",
               "run=%s lines=%" PRId64 " step=%" PRId64, run->name, lines, last);
    return 0;
}

static void on_status(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct run *run = arg;
    const json_t *bucket = json_object_get(json_object_get(answer, "model"), "bucket");
    struct ls_error why = {0};
    run->call = NULL;
    run->adopting = false;
    if (err) {
        park(run, err);
        return;
    }
    if (adopt(run, bucket, &why)) {
        wandb_failed(run->w, &why);
        return;
    }
    take_text(&run->storage_id, json_object_get(bucket, "id"));
    run->rev_sent = 0; /* the next UpsertBucket tells the rest of it, and opens it again */
    run->dirty = true;
}

static void ask_status(struct run *run)
{
    const char *entity = run->entity ? run->entity : run->w->settings.entity;
    json_t *variables = json_pack("{s:s,s:s?,s:s}", "project", project_of(run), "entity", entity, "name", run->name);
    run->call = api_graphql(run->w->api, "RunResumeStatus", STATUS, variables, true, on_status, run);
}

/* ---- lines ---- */

static void on_post(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct run *run = arg;
    run->call = NULL;
    run->posted_at = clock_mono_ms();
    if (err) {
        refused(run, err, false);
        return;
    }
    if (run->posting_lines > run->acked) {
        *node_metric(run->w->node, METRIC_UPLOADED) += run->posting_lines - run->acked;
        run->acked = run->posting_lines;
        run->dirty = true;
    }
    if (run->posting_end) {
        run->end_sent = run->posting_end;
        run->dirty = true;
    }
    if (json_is_true(json_object_get(answer, "stopped")) && !run->stopped) {
        run->stopped = true;
        run->dirty = true;
        wandb_stopped(run);
    }
}

struct body {
    const struct run *run;
    struct buf text, line;
    int64_t next;
    bool full;
};

static bool add_line(void *arg, int64_t line, const struct row_place *place, struct ls_slice text)
{
    struct body *body = arg;
    buf_clear(&body->line);
    wandb_run_line(body->run, &body->line, text, place);
    body->full = body->text.len + 2 * body->line.len > LINES_BYTES_MAX;
    if (body->full && body->next > body->run->acked)
        return false;
    if (body->next > body->run->acked)
        buf_add_byte(&body->text, ',');
    json_put_string(&body->text, body->line.data, body->line.len);
    body->next = line + 1;
    return !body->full;
}

static void put_summary(const struct run *run, struct buf *out)
{
    struct buf text = {0};
    wandb_run_summary(run, &text);
    buf_addf(out, "\"wandb-summary.json\":{\"offset\":0,\"content\":[");
    json_put_string(out, text.data, text.len);
    buf_addf(out, "]}");
    buf_fini(&text);
}

static void post(struct run *run, struct buf *body, int64_t lines, int64_t end)
{
    run->posting_lines = lines;
    run->posting_end = end;
    run->call = api_file_stream(run->w->api, run->entity, run->project, run->name, ls_bytes(body->data, body->len),
                                on_post, run);
}

static void post_lines(struct run *run)
{
    struct ls_error err = {0};
    struct body body = {.run = run, .next = run->acked};
    buf_addf(&body.text, STREAM_HEAD, run->acked + run->base_line);
    if (wandb_store_lines(run, run->acked, add_line, &body, &err)) {
        wandb_failed(run->w, &err);
    } else {
        buf_addf(&body.text, "]},");
        put_summary(run, &body.text);
        buf_addf(&body.text, "}}");
        run->full = body.full;
        post(run, &body.text, body.next, 0);
    }
    buf_fini(&body.text);
    buf_fini(&body.line);
}

static void post_end(struct run *run)
{
    struct buf body = {0};
    buf_addf(&body, "{");
    if (run->lines) {
        buf_addf(&body, "\"files\":{");
        put_summary(run, &body);
        buf_addf(&body, "},");
    }
    buf_addf(&body, "\"complete\":true,\"exitcode\":%" PRId64 "}", run->exit_code);
    post(run, &body, run->acked, run->end_rev);
    buf_fini(&body);
}

static void post_heartbeat(struct run *run)
{
    struct buf body = {0};
    buf_addf(&body, "{}");
    post(run, &body, run->acked, 0);
    buf_fini(&body);
}

/* ---- a turn ---- */

/* When the next call of that kind may go: at once for the first, and when the node or the run is to end. */
static int64_t due(const struct run *run, int64_t last)
{
    return !last || run->ended || run->w->draining ? 0 : last + wandb_run_pause(run);
}

/* Names and config first; but when they change fast, lines need not wait for them. */
static bool takes_lines(const struct run *run)
{
    return run->storage_id && run->entity && run->project && !run->reopened && !run->adopting;
}

/* Rows of a run that was closed offline are not kept: what follows them goes behind what W&B has. True: that is to be committed first. */
static bool skips_rows(struct run *run)
{
    struct ls_error err = {0};
    int64_t first;
    if (wandb_store_first(run, &first, &err)) {
        wandb_failed(run->w, &err);
        return true;
    }
    if (first <= run->acked)
        return false;
    run->base_line -= first - run->acked;
    run->acked = first;
    run->dirty = true;
    return true;
}

static int64_t begin_call(struct run *run, int64_t now_ms, bool stale)
{
    int64_t names_at = stale ? due(run, run->upserted_at) : INT64_MAX;
    int64_t lines_at = run->acked == run->lines ? INT64_MAX : run->full ? 0 : due(run, run->posted_at);
    if (names_at <= now_ms)
        upsert(run);
    else if (takes_lines(run) && lines_at <= now_ms && !skips_rows(run))
        post_lines(run);
    return !takes_lines(run) || names_at < lines_at ? names_at : lines_at;
}

static int64_t begin_end(struct run *run, int64_t now_ms)
{
    if (run->closing)
        post_end(run);
    else if (wandb_run_may_close(run, now_ms))
        run->closing = run->dirty = true; /* committed before it is told */
    return run->ended_at + run->w->options->flush;
}

static int64_t begin_heartbeat(struct run *run, int64_t now_ms)
{
    int64_t every = run->w->options->heartbeat;
    if (clock_wall_us() / 1000 - run->touched_ms > QUIET_MS)
        return INT64_MAX;
    if (!run->posted_at)
        run->posted_at = now_ms - run->number % 8 * every / 8; /* not all at once */
    if (run->posted_at + every <= now_ms)
        post_heartbeat(run);
    return run->posted_at + every;
}

int64_t wandb_run_upload(struct run *run, int64_t now_ms)
{
    bool stale = run->rev_sent < run->rev || !run->storage_id || run->reopened;
    int64_t when = INT64_MAX;
    if (run->call || run->forgotten)
        return INT64_MAX;
    if (run->adopting) {
        when = run->retry_at;
        if (when <= now_ms)
            ask_status(run);
    } else if (stale || run->acked < run->lines) {
        when = begin_call(run, now_ms, stale);
    } else if (run->ended && run->end_sent < run->end_rev) {
        when = begin_end(run, now_ms);
    } else if (!run->ended) {
        when = begin_heartbeat(run, now_ms);
    }
    return run->call ? INT64_MAX : when;
}
