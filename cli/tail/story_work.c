/* SPDX-License-Identifier: Apache-2.0 */
/* What the events of workflows and tasks say. */
#include <string.h>

#include "cli/tail/story.h"

/* ---- workflow.* ---- */

/* "train/r1": as --trace and `lineshaft workflow show` take it. */
static void put_run(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "workflow"));
    story_put_more(out, "/", story_text(body, "workflow_run_id"));
}

static void tell_created(const json_t *body, struct buf *out)
{
    const char *trigger = story_text(body, "trigger"), *topic = story_text(body, "event_topic");
    put_run(body, out);
    if (trigger && strcmp(trigger, "event") == 0)
        story_put_more(out, ", by the event ", topic ? topic : "that it waits for");
    else if (trigger && strcmp(trigger, "manual") == 0)
        story_put_more(out, ", by hand", "");
    else if (trigger)
        story_put_more(out, strcmp(trigger, "schedule") == 0 ? ", by its " : ", by ", trigger);
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ", for ", story_text(body, "logical_date"));
    story_put_pairs(out, ": ", json_object_get(body, "inputs"));
    story_put_more(out, "; ", story_text(body, "note"));
}

static void tell_succeeded(const json_t *body, struct buf *out)
{
    put_run(body, out);
    story_put_took(body, out);
    story_put_pairs(out, ": ", json_object_get(body, "outputs"));
}

static void tell_failed(const json_t *body, struct buf *out)
{
    const json_t *tasks = json_object_get(body, "failed_tasks"), *task;
    size_t i;
    put_run(body, out);
    story_put_after(body, out);
    story_put_more(out, ": ", story_text(body, "error"));
    json_array_foreach(tasks, i, task) {
        buf_addf(out, "%s", i ? ", " : "; failed: ");
        story_put_value(out, task);
    }
}

static void tell_cancelled(const json_t *body, struct buf *out)
{
    put_run(body, out);
    story_put_after(body, out);
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ": ", story_text(body, "reason"));
}

static void tell_updated(const json_t *body, struct buf *out)
{
    bool removed = json_is_true(json_object_get(body, "removed")), paused = json_is_true(json_object_get(body, "paused"));
    story_put_text(out, story_text(body, "workflow"));
    story_put_more(out, removed ? ", removed" : paused ? ", paused" : ", in force", "");
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ": ", story_text(body, "reason"));
}

/* ---- task.* ---- */

/* "train", "train[3]" in a fan-out. The run stands above it in the tree. */
static void tell_task(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "task"));
    if (story_number(body, "map_index") >= 0)
        buf_addf(out, "[%.0f]", story_number(body, "map_index"));
}

static void put_try(const json_t *body, struct buf *out)
{
    tell_task(body, out);
    if (story_number(body, "attempt") > 1)
        buf_addf(out, ", try %.0f", story_number(body, "attempt"));
}

static void tell_queued(const json_t *body, struct buf *out)
{
    const json_t *command = json_object_get(body, "command"), *word;
    const char *pool = story_text(body, "pool");
    size_t i;
    put_try(body, out);
    if (pool && strcmp(pool, "default") != 0)
        story_put_more(out, ", in the pool ", pool);
    story_put_more(out, ": ", json_string_value(command));
    json_array_foreach(command, i, word) {
        story_put_more(out, i ? " " : ": ", json_string_value(word));
    }
}

static void tell_started(const json_t *body, struct buf *out)
{
    put_try(body, out);
    story_put_more(out, ", on ", story_text(body, "runner"));
    if (story_number(body, "pid") > 0)
        buf_addf(out, ", process %.0f", story_number(body, "pid"));
    story_put_more(out, " of ", story_text(body, "host"));
}

/* The last line of a piece of log, which says why when a task fails; but not what it told the runner (::progress, ::output). */
static void put_log(const char *log, struct buf *out)
{
    size_t end = strlen(log), begin;
    while (end && strchr("\r\n", log[end - 1]))
        end--;
    for (begin = end; begin && log[begin - 1] != '\n';)
        begin--;
    if (begin == end || strncmp(log + begin, "::", 2) == 0)
        return;
    struct buf line = {0};
    buf_add(&line, log + begin, end - begin);
    buf_addf(out, ": ");
    story_put_words(out, &line);
    buf_fini(&line);
}

static void tell_progress(const json_t *body, struct buf *out)
{
    double fraction = story_number(body, "fraction");
    const char *log = story_text(body, "log");
    put_try(body, out);
    if (fraction >= 0)
        buf_addf(out, ", %.0f %%", 100 * fraction);
    story_put_more(out, ", ", story_text(body, "message"));
    if (log)
        put_log(log, out);
}

void story_fold_progress(const json_t *bodies, struct buf *out)
{
    json_auto_t *latest = json_object();
    json_t *body;
    size_t i;
    json_array_foreach(bodies, i, body)
        json_object_update(latest, body);
    tell_progress(latest, out);
}

static void tell_ended(const json_t *body, struct buf *out)
{
    const char *reason = story_text(body, "reason");
    const json_t *code = json_object_get(body, "exit_code"), *sig = json_object_get(body, "signal");
    char size[RENDER_SHORT_SIZE];
    put_try(body, out);
    if (json_is_integer(code))
        buf_addf(out, ", exit code %lld", (long long) json_integer_value(code));
    if (json_is_integer(sig))
        buf_addf(out, ", signal %lld", (long long) json_integer_value(sig));
    if (reason && strcmp(reason, "exit") != 0 && strcmp(reason, "signal") != 0)
        story_put_more(out, ", ", reason);
    story_put_after(body, out);
    if (story_number(body, "cpu_ms") >= 0) {
        buf_addf(out, ", ");
        story_put_ms(out, story_number(body, "cpu_ms"));
        buf_addf(out, " of processor time");
    }
    if (story_number(body, "memory_bytes_max") > 0)
        buf_addf(out, ", %s of memory", render_size((uint64_t) story_number(body, "memory_bytes_max"), size));
    story_put_more(out, ": ", story_text(body, "error"));
}

static void tell_task_succeeded(const json_t *body, struct buf *out)
{
    put_try(body, out);
    story_put_took(body, out);
    story_put_pairs(out, ": ", json_object_get(body, "outputs"));
}

static void tell_task_failed(const json_t *body, struct buf *out)
{
    const char *error = story_text(body, "error");
    put_try(body, out);
    story_put_after(body, out);
    story_put_more(out, ": ", error ? error : story_text(body, "reason"));
}

static void tell_retrying(const json_t *body, struct buf *out)
{
    tell_task(body, out);
    if (story_number(body, "next_attempt") > 0)
        buf_addf(out, ", try %.0f", story_number(body, "next_attempt"));
    if (story_number(body, "delay_ms") >= 0) {
        buf_addf(out, " in ");
        story_put_ms(out, story_number(body, "delay_ms"));
    }
    story_put_more(out, ": ", story_text(body, "error"));
}

static void tell_reason(const json_t *body, struct buf *out)
{
    tell_task(body, out);
    story_put_more(out, ", by ", story_text(body, "user_id"));
    story_put_more(out, ": ", story_text(body, "reason"));
}

static void tell_skipped(const json_t *body, struct buf *out)
{
    const char *because = story_text(body, "because");
    tell_task(body, out);
    story_put_more(out, ": ", because ? because : story_text(body, "reason"));
}

const struct teller STORY_WORK[] = {
    {"workflow.run.created", tell_created},
    {"workflow.run.started", put_run},
    {"workflow.run.succeeded", tell_succeeded},
    {"workflow.run.failed", tell_failed},
    {"workflow.run.cancelled", tell_cancelled},
    {"workflow.updated", tell_updated},
    {"task.scheduled", tell_task},
    {"task.queued", tell_queued},
    {"task.started", tell_started},
    {"task.progress", tell_progress},
    {"task.ended", tell_ended},
    {"task.succeeded", tell_task_succeeded},
    {"task.failed", tell_task_failed},
    {"task.retrying", tell_retrying},
    {"task.skipped", tell_skipped},
    {"task.cancel", tell_reason},
    {"task.cleared", tell_reason},
    {NULL, NULL},
};
