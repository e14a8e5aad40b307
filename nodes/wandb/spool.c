/* SPDX-License-Identifier: Apache-2.0 */
/* A run in its offline file: the same lines, from the first one on. The file says itself how many it has, so that none is written twice
 * after a crash. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

#define RETRY_MS 10000
#define SUMMARY_MS 60000
#define LINES_MAX 2000 /* of one turn */

static const char *about(const struct run *run, const char *key)
{
    return json_string_value(json_object_get(run->about, key));
}

/* NULL-terminated; borrowed texts in an array to free. */
static const char **labels_of(const struct run *run)
{
    const json_t *labels = json_object_get(run->about, "labels");
    const char **tags = xcalloc(json_object_size(labels) + 1, sizeof *tags), *key;
    json_t *label;
    size_t count = 0;
    json_object_foreach((json_t *) (uintptr_t) labels, key, label) tags[count++] = json_string_value(label);
    return tags;
}

/* What it finds is committed before anything is written. */
static int open_file(struct run *run, struct ls_error *err)
{
    const struct settings *settings = &run->w->settings;
    const char **tags = labels_of(run), *project = about(run, "project");
    uint64_t rows = 0;
    int64_t first;
    const struct wandb_run as = {.id = run->name,
                                 .entity = run->entity ? run->entity : settings->entity,
                                 .project = run->project        ? run->project
                                            : settings->project ? settings->project
                                                                : project,
                                 .display_name = about(run, "display_name"),
                                 .group = about(run, "group"),
                                 .job_type = about(run, "job_type"),
                                 .notes = about(run, "notes"),
                                 .tags = tags,
                                 .config = json_object_get(run->about, "config"),
                                 .started_ms = run->filed_ms};
    run->offline = offline_open(run->w->options->dir, &as, &rows, err);
    free(tags);
    if (!run->offline)
        return -1;
    if (wandb_store_first(run, &first, err))
        return 1;
    if (!rows || run->file_line + (int64_t) rows < first) /* what is not kept any more is at W&B */
        run->file_line = first - (int64_t) rows;
    free(run->file);
    run->file = xstrdup(offline_path(run->offline));
    run->spooled = run->file_line + (int64_t) rows;
    if (!offline_ended(run->offline)) /* a power cut may have taken the end that was not synced */
        run->end_spooled = 0;
    run->dirty = true;
    logger_put(LEVEL_INFO, "offline-file", "the run is written to an offline file; `wandb sync` sends it",
               "run=%s file=%s rows=%llu", run->name, run->file, (unsigned long long) rows);
    return 0;
}

struct lines {
    struct run *run;
    struct buf text;
    int64_t next;
    struct ls_error *err;
    bool failed;
};

static bool put_line(void *arg, int64_t line, const struct row_place *place, struct ls_slice text)
{
    struct lines *lines = arg;
    buf_clear(&lines->text);
    wandb_run_line(lines->run, &lines->text, text, place);
    lines->failed = offline_history(lines->run->offline, buf_text(&lines->text), lines->err) < 0;
    lines->next = line + 1;
    return !lines->failed && lines->next < lines->run->spooled + LINES_MAX;
}

/* 1: the database failed; -1: the file did. */
static int put_lines(struct run *run, int64_t *next, struct ls_error *err)
{
    struct lines lines = {.run = run, .next = run->spooled, .err = err};
    int rc = wandb_store_lines(run, run->spooled, put_line, &lines, err);
    buf_fini(&lines.text);
    *next = lines.next;
    return rc ? 1 : lines.failed ? -1 : 0;
}

static int put_summary(struct run *run, int64_t now_ms, struct ls_error *err)
{
    struct buf text = {0};
    wandb_run_summary(run, &text);
    int rc = offline_summary(run->offline, buf_text(&text), err);
    buf_fini(&text);
    run->summary_at = now_ms;
    return rc;
}

static int put_end(struct run *run, struct ls_error *err)
{
    int64_t ended_ms = run->ended_ms > run->last_ms ? run->ended_ms : run->last_ms;
    double runtime = ended_ms > run->started_ms ? (double) (ended_ms - run->started_ms) / 1000 : 0;
    return offline_exit(run->offline, (int) run->exit_code, runtime, err);
}

/* 0; -1: the file failed, 1: the database. */
static int put_all(struct run *run, int64_t now_ms, struct ls_error *err)
{
    int64_t next, rev = run->rev, end = 0;
    int rc = put_lines(run, &next, err);
    if (rc)
        return rc;
    if (run->rev_spooled < rev && offline_config(run->offline, json_object_get(run->about, "config"), err))
        return -1;
    bool closing = run->closing && next == run->lines && run->end_spooled < run->end_rev;
    if (run->lines && (closing || now_ms - run->summary_at >= SUMMARY_MS) && put_summary(run, now_ms, err))
        return -1;
    if (closing)
        end = run->end_rev;
    if ((closing && put_end(run, err)) || offline_sync(run->offline, err))
        return -1;
    *node_metric(run->w->node, METRIC_SPOOLED) += next - run->spooled;
    run->spooled = next;
    run->rev_spooled = rev;
    run->end_spooled = end ? end : run->end_spooled;
    if (next == run->lines) /* else the rest follows at once */
        run->posted_at = now_ms;
    run->dirty = true;
    return 0;
}

static void complain(struct run *run, const struct ls_error *err, int64_t now_ms)
{
    logger_put(LEVEL_ERROR, "offline-failed", err->text, "run=%s retry_ms=%d", run->name, RETRY_MS);
    offline_close(&run->offline);
    run->retry_at = now_ms + RETRY_MS;
}

static bool has_work(const struct run *run)
{
    return run->spooled < run->lines || run->rev_spooled < run->rev ||
           (run->closing && run->end_spooled < run->end_rev);
}

int64_t wandb_run_spool(struct run *run, int64_t now_ms)
{
    struct ls_error err = {0};
    int64_t flush = run->w->options->flush, named = run->born_at + flush, due = run->posted_at + wandb_run_pause(run);
    if (run->forgotten)
        return INT64_MAX;
    if (run->retry_at > now_ms)
        return run->retry_at;
    if (run->end_spooled < run->end_rev && run->ended && !run->closing && wandb_run_may_close(run, now_ms))
        run->closing = run->dirty = true;
    if (!has_work(run))
        return run->ended && !run->closing ? run->ended_at + flush : INT64_MAX;
    due = due > named ? due : named; /* a run that has just begun soon has its names and params */
    if (due > now_ms && !run->closing && !run->w->draining)
        return due;
    if (!run->filed_ms) { /* names the file: committed before it is made */
        run->filed_ms = run->started_ms > 0 ? run->started_ms : 1;
        while (offline_is_there(run->w->options->dir, run->name, run->filed_ms)) /* of a wandb.db that was lost */
            run->filed_ms += 1000;
        run->dirty = true;
        return now_ms;
    }
    int rc = run->offline ? put_all(run, now_ms, &err) : open_file(run, &err);
    if (rc > 0)
        wandb_failed(run->w, &err);
    else if (rc)
        complain(run, &err, now_ms);
    return now_ms;
}
