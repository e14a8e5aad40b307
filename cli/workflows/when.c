/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft workflow next: when a workflow runs next. The scheduler tells it of its workflows; of a file, or of
 * a cron expression, it is worked out here, by what the scheduler uses too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/workflows/workflow.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "workflow/workflow.h"

#define CARET_COLUMNS_MAX 200
#define NOTHING "Nothing will come: it runs by hand, by events, or never again."

/* ---- showing ---- */

static void add_civil(struct table *table, const struct zone *zone, int64_t time_us)
{
    struct civil at;
    struct buf cell = {0};
    if (zone) {
        int offset_s = zone_local(zone, time_us / 1000000, &at), away_s = offset_s < 0 ? -offset_s : offset_s;
        buf_addf(&cell, "%04d-%02d-%02d %02d:%02d:%02d %c%02d:%02d", at.year, at.month, at.day, at.hour, at.minute,
                 at.second, offset_s < 0 ? '-' : '+', away_s / 3600, away_s / 60 % 60);
    } else {
        view_put_clock(&cell, time_us);
    }
    table_add(table, cell.data, cell.len);
    buf_fini(&cell);
}

static void add_away(struct table *table, int64_t time_us)
{
    char text[RENDER_SHORT_SIZE];
    int64_t away_us = time_us - clock_wall_us();
    if (away_us >= 0)
        table_addf(table, "in %s", render_duration(away_us, text));
    else
        table_addf(table, "%s ago", render_duration(-away_us, text));
}

/* `times`: texts; `zone` NULL: the machine's own; `nothing`: what to say when there are none. */
static void print_times(const json_t *times, const struct zone *zone, const char *nothing)
{
    bool is_utc = zone && strcmp(zone_name(zone), "UTC") == 0;
    const char *headings[] = {zone ? zone_name(zone) : "LOCAL TIME", "AWAY", is_utc ? NULL : "UTC", NULL};
    struct table table;
    size_t i;
    const json_t *item;
    table_init(&table, headings);
    json_array_foreach(times, i, item)
    {
        const char *text = json_string_value(item);
        int64_t us;
        if (!text || !clock_parse(text, strlen(text), &us))
            continue;
        add_civil(&table, zone, us);
        add_away(&table, us);
        if (!is_utc)
            table_addf(&table, "%s", text);
    }
    table_print(&table, nothing);
}

static void show(const struct workflow_command *c, const json_t *answer, const struct zone *zone, const char *nothing)
{
    if (c->json) {
        workflow_print_json(answer);
        return;
    }
    print_times(json_object_get(answer, "times"), zone, nothing);
    if (json_is_true(json_object_get(answer, "paused")))
        fprintf(stderr, "It is paused: nothing of that will run before `lineshaft workflow unpause %s`.\n",
                c->workflow);
}

/* ---- working it out ---- */

static int complain(const struct ls_error *err)
{
    return bus_failed(&CMD_WORKFLOW, err);
}

/* The next times as the scheduler would tell them. `next` gives the first after a time, both in ms; -1: none. */
static json_t *collect(const struct workflow_command *c, int64_t next(const void *what, int64_t after_ms),
                       const void *what)
{
    json_t *times = json_array();
    int64_t at_ms = (c->has_from ? c->from_us : clock_wall_us()) / 1000;
    for (uint64_t i = 0; i < c->count; i++) {
        char text[CLOCK_TEXT_SIZE];
        at_ms = next(what, at_ms);
        if (at_ms < 0)
            break;
        clock_format(at_ms * 1000, text);
        json_array_append_new(times, at_ms % 1000 ? json_string(text) : json_sprintf("%.19sZ", text));
    }
    return json_pack("{s:s, s:o}", "workflow", c->workflow, "times", times);
}

struct by_cron {
    struct cron cron;
    const struct zone *zone;
};

static int64_t next_of_cron(const void *what, int64_t after_ms)
{
    const struct by_cron *by = what;
    int64_t next_s = cron_next(&by->cron, by->zone, after_ms / 1000);
    return next_s < 0 ? -1 : next_s * 1000;
}

static int when_cron(const struct workflow_command *c)
{
    struct by_cron by = {.zone = NULL};
    struct ls_error err = {0};
    int column = -1;
    if (cron_parse(c->workflow, &by.cron, &column, &err) < 0) {
        complain(&err);
        if (column >= 0 && column < CARET_COLUMNS_MAX)
            fprintf(stderr, "  %s\n  %*s^\n", c->workflow, column, "");
        return CLI_FAILED;
    }
    by.zone = zone_open(c->zone ? c->zone : "UTC", &err);
    if (!by.zone)
        return complain(&err);
    json_auto_t *answer = collect(c, next_of_cron, &by);
    show(c, answer, by.zone, "No date matches the expression.");
    zone_close(by.zone);
    return CLI_OK;
}

struct by_file {
    const struct workflow *workflow;
    int64_t anchor_ms;
};

static int64_t next_of_file(const void *what, int64_t after_ms)
{
    const struct by_file *by = what;
    return workflow_next(by->workflow, after_ms, by->anchor_ms);
}

/* What counts from when a workflow is first seen counts from now here. */
static int when_file(struct workflow_command *c)
{
    struct diag_list diags = {0};
    struct buf text = {0};
    struct ls_error err = {0};
    if (access(c->workflow, R_OK) == 0 && !workflow_is(c->workflow)) {
        error_set(&err, "BAD_VALUE", "%.200s is no workflow: it has none of its keys, such as `tasks`, or is a topology",
                  c->workflow);
        return complain(&err);
    }
    struct workflow_file *file = workflow_load(c->workflow, &diags);
    const struct zone *zone = c->zone ? zone_open(c->zone, &err) : NULL;
    int status = CLI_OK;
    diag_print(&diags, (struct diag_style){.colour = render_colours(STDERR_FILENO), .max = 20}, &text);
    render_put(&text, stderr);
    if (!file->workflow || diags.error_count) {
        status = CLI_FAILED;
    } else if (c->zone && !zone) {
        status = complain(&err);
    } else {
        const struct workflow *w = file->workflow;
        struct by_file by = {w, w->start_s != INT64_MIN ? w->start_s * 1000 : clock_wall_us() / 1000};
        json_auto_t *answer = collect(c, next_of_file, &by);
        json_object_set_new(answer, "workflow", json_string(w->id));
        show(c, answer, zone ? zone : w->zone, NOTHING);
    }
    if (zone)
        zone_close(zone);
    buf_fini(&text);
    diag_list_fini(&diags);
    workflow_file_free(&file);
    return status;
}

/* ---- asking ---- */

static int when_known(struct workflow_command *c)
{
    struct ls_error err = {0};
    if (c->has_from)
        return options_usage(
            &CMD_WORKFLOW,
            "next: --from is for a file or a cron expression; the scheduler tells what comes from now on");
    const struct zone *zone = c->zone ? zone_open(c->zone, &err) : NULL;
    if (c->zone && !zone)
        return complain(&err);
    json_t *body = workflow_which(c, NULL);
    json_object_set_new(body, "count", json_integer((json_int_t) c->count));
    json_auto_t *answer = workflow_ask(c, "scheduler.next", body);
    if (answer)
        show(c, answer, zone, NOTHING);
    if (zone)
        zone_close(zone);
    return answer ? CLI_OK : c->status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

int workflow_when(struct workflow_command *c)
{
    const char *what = c->workflow;
    if (what[0] == '@' || strpbrk(what, " \t"))
        return when_cron(c);
    if (strchr(what, '/') || ends_with(what, ".yaml") || ends_with(what, ".yml"))
        return when_file(c);
    return when_known(c);
}
