/* SPDX-License-Identifier: Apache-2.0 */
/* States, times, runs and tasks, as people read them. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/info.h"
#include "cli/workflows/workflow.h"
#include "lib/clock.h"
#include "lib/node.h"

const char *view_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int64_t view_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? (int64_t) json_number_value(value) : -1;
}

int64_t view_us(const json_t *object, const char *key)
{
    int64_t us;
    const char *text = view_text(object, key);
    return clock_parse(text, strlen(text), &us) ? us : -1;
}

/* ---- states ---- */

static const struct view_state STATES[] = {{"none", "·", COLOUR_DIM},
                                           {"scheduled", "○", COLOUR_DIM},
                                           {"queued", "○", COLOUR_YELLOW},
                                           {"running", "▶", COLOUR_CYAN},
                                           {"success", "✔", COLOUR_GREEN},
                                           {"failed", "✘", COLOUR_RED},
                                           {"skipped", "↷", COLOUR_MAGENTA},
                                           {"upstream_failed", "⊘", COLOUR_RED},
                                           {"up_for_retry", "↻", COLOUR_YELLOW},
                                           {"removed", "×", COLOUR_DIM},
                                           {NULL, "", COLOUR_NONE}};

const struct view_state *view_state(const char *name)
{
    const struct view_state *state = STATES;
    while (state->name && strcmp(state->name, name) != 0)
        state++;
    return state;
}

void view_add_state(struct table *table, const char *name)
{
    const struct view_state *state = view_state(name);
    if (state->name && isatty(STDOUT_FILENO))
        table_addf(table, "%s %s", state->symbol, name);
    else
        table_addf(table, "%s", name);
    table_colour(table, state->colour);
}

void view_put_state(struct buf *out, const char *name, bool colours)
{
    const struct view_state *state = view_state(name);
    render_colour(out, colours && state->name, state->colour);
    if (state->name && isatty(STDOUT_FILENO))
        buf_addf(out, "%s ", state->symbol);
    render_harmless(out, name, strlen(name));
    render_colour(out, colours && state->name, COLOUR_NONE);
}

/* ---- times ---- */

void view_put_clock(struct buf *out, int64_t time_us)
{
    char text[64];
    struct tm at, today;
    size_t len;
    time_t time_s = (time_t) (time_us / 1000000), now_s = time(NULL);
    if (!localtime_r(&time_s, &at) || !localtime_r(&now_s, &today)) {
        buf_addf(out, "%lld", (long long) time_us);
        return;
    }
    int64_t away_s = time_s > now_s ? time_s - now_s : now_s - time_s;
    bool is_today = at.tm_year == today.tm_year && at.tm_yday == today.tm_yday;
    if (is_today && away_s < 60)
        len = strftime(text, sizeof text, "%H:%M:%S", &at);
    else if (is_today)
        len = strftime(text, sizeof text, "%H:%M", &at);
    else if (away_s < 6 * 86400)
        len = strftime(text, sizeof text, "%a %H:%M", &at);
    else
        len = strftime(text, sizeof text, "%Y-%m-%d %H:%M", &at);
    buf_add(out, text, len);
}

void view_put_when(struct buf *out, int64_t time_us)
{
    char text[RENDER_SHORT_SIZE];
    int64_t away_us = time_us - clock_wall_us(), size_us = away_us < 0 ? -away_us : away_us;
    if (time_us < 0) {
        buf_addf(out, "-");
        return;
    }
    if (size_us < 1000000)
        buf_addf(out, "now");
    else
        buf_addf(out, away_us < 0 ? "%s ago" : "in %s", render_duration(size_us, text));
    buf_addf(out, " (");
    view_put_clock(out, time_us);
    buf_addf(out, ")");
}

void view_put_took(struct buf *out, const json_t *object)
{
    char text[RENDER_SHORT_SIZE];
    int64_t ms = view_number(object, "duration_ms"), start_us = view_us(object, "start_date"),
            end_us = view_us(object, "end_date");
    if (ms < 0 && start_us >= 0 && end_us >= start_us)
        ms = (end_us - start_us) / 1000;
    else if (ms < 0 && start_us >= 0 && end_us < 0 && strcmp(view_text(object, "state"), "running") == 0)
        ms = (clock_wall_us() - start_us) / 1000;
    if (ms < 0)
        buf_addf(out, "-");
    else
        buf_addf(out, "%s", ms ? render_duration(ms * 1000, text) : "0 ms");
}

void view_put_list(struct buf *out, const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) if (json_is_string(item))
        buf_addf(out, "%s%s", i ? ", " : "", json_string_value(item));
}

void view_put_json(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        buf_add(out, json_string_value(value), json_string_length(value));
    else
        node_write(out, value);
}

/* ---- a run ---- */

static void put_when(const char *label, const json_t *object, const char *key)
{
    struct buf text = {0};
    int64_t time_us = view_us(object, key);
    if (time_us >= 0) {
        view_put_when(&text, time_us);
        info_put(label, text.data, text.len);
    }
    buf_fini(&text);
}

static void put_text(const char *label, const json_t *object, const char *key)
{
    const char *text = view_text(object, key);
    if (*text)
        info_put(label, text, strlen(text));
}

/* "by hand", "schedule, for Tue 02:00", "model.version.created". */
static void put_cause(const json_t *run)
{
    struct buf text = {0};
    const char *trigger = view_text(run, "trigger"), *topic = view_text(run, "event_topic");
    int64_t date_us = view_us(run, "logical_date");
    if (strcmp(trigger, "manual") == 0)
        buf_addf(&text, "by hand");
    else if (*topic)
        buf_addf(&text, "by the event %s %s", topic, view_text(run, "event_id"));
    else
        buf_addf(&text, "by %s", trigger);
    if (date_us >= 0 && !*topic && strcmp(trigger, "manual") != 0) {
        buf_addf(&text, ", for ");
        view_put_clock(&text, date_us);
    }
    info_put("started", text.data, text.len);
    buf_fini(&text);
}

void view_print_run(const json_t *run)
{
    struct buf line = {0};
    bool colours = render_colours(STDOUT_FILENO);
    const json_t *inputs = json_object_get(run, "inputs");
    put_text("workflow", run, "workflow");
    put_text("run", run, "workflow_run_id");
    view_put_state(&line, view_text(run, "state"), colours);
    printf("%-14s %s", "state", buf_text(&line));
    buf_clear(&line);
    if (view_us(run, "start_date") >= 0) {
        view_put_took(&line, run);
        printf(view_us(run, "end_date") < 0 ? ", for %s" : ", took %s", buf_text(&line));
        buf_clear(&line);
    }
    putchar('\n');
    put_text("reason", run, "reason");
    put_text("waits for", run, "waits_for");
    put_cause(run);
    put_when("began", run, view_us(run, "start_date") < 0 ? "queued_at" : "start_date");
    if (json_object_size(inputs)) {
        view_put_json(&line, inputs);
        info_put("inputs", line.data, line.len);
    }
    put_text("note", run, "note");
    buf_fini(&line);
}

const char *view_message(const json_t *task)
{
    const char *message = view_text(json_object_get(task, "outputs"), "message");
    return *message ? message : view_text(task, "because");
}

/* Why a task is as it is, in a few words: its error, its reason, or when it goes on. */
static void put_why(struct buf *out, const json_t *task)
{
    const char *error = view_text(task, "error"), *reason = view_text(task, "reason");
    int64_t next_us = view_us(task, "next_attempt_at");
    if (strcmp(view_text(task, "state"), "up_for_retry") == 0 && next_us >= 0) {
        buf_addf(out, "again ");
        view_put_when(out, next_us);
        buf_addf(out, *error || *reason ? ": " : "");
    }
    const char *message = view_message(task), *why = *error ? error : *reason ? reason : view_text(task, "waits_for");
    bool well = strcmp(view_text(task, "state"), "success") == 0;
    if (well || *message)
        buf_addf(out, "%s", message);
    else if (strcmp(view_text(task, "state"), why) != 0)
        buf_addf(out, "%s", why);
}

static void add_task(struct table *table, const json_t *task)
{
    struct buf cell = {0};
    int64_t attempt = view_number(task, "attempt"), most = view_number(task, "attempts_max");
    table_addf(table, "%s", view_text(task, "task"));
    view_add_state(table, view_text(task, "state"));
    if (attempt > 0 && most > 1)
        table_addf(table, "%lld of %lld", (long long) attempt, (long long) most);
    else
        table_addf(table, attempt > 0 ? "%lld" : "-", (long long) attempt);
    view_put_took(&cell, task);
    table_add(table, cell.data, cell.len);
    buf_clear(&cell);
    view_put_list(&cell, json_object_get(task, "depends_on"));
    table_addf(table, "%s", cell.len ? buf_text(&cell) : "-");
    buf_clear(&cell);
    put_why(&cell, task);
    table_add(table, cell.data, cell.len);
    buf_fini(&cell);
}

void view_print_tasks(const json_t *run)
{
    static const char *const HEADINGS[] = {"TASK", "STATE", ">TRY", ">TOOK", "AFTER", "WHY", NULL};
    struct table table;
    size_t i;
    const json_t *task;
    table_init(&table, HEADINGS);
    json_array_foreach(json_object_get(run, "tasks"), i, task) add_task(&table, task);
    table_print(&table, "The run has no tasks.");
}
