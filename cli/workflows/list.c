/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft workflow ls: the workflows, when they run next and how they ran last; and the files that are none. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/workflows/workflow.h"

/* "0 2 * * *, on model.version.created", or "by hand". */
static void add_starts(struct table *table, const json_t *workflow)
{
    struct buf cell = {0};
    const json_t *triggers = json_object_get(workflow, "triggers");
    view_put_list(&cell, json_object_get(workflow, "schedule"));
    if (json_array_size(triggers)) {
        buf_addf(&cell, cell.len ? ", on " : "on ");
        view_put_list(&cell, triggers);
    }
    table_addf(table, "%s", cell.len ? buf_text(&cell) : "by hand");
    buf_fini(&cell);
}

static void add_next(struct table *table, const json_t *workflow)
{
    struct buf cell = {0};
    if (json_is_true(json_object_get(workflow, "paused"))) {
        table_addf(table, "paused");
        table_colour(table, COLOUR_YELLOW);
        return;
    }
    view_put_when(&cell, view_us(workflow, "next"));
    table_add(table, cell.data, cell.len);
    buf_fini(&cell);
}

static void add_last(struct table *table, const json_t *run)
{
    struct buf cell = {0};
    const char *state = view_text(run, "state");
    int64_t end_us = view_us(run, "end_date"), start_us = view_us(run, "start_date");
    if (*state) {
        view_put_state(&cell, state, false);
        buf_addf(&cell, ", ");
        view_put_when(&cell, end_us >= 0 ? end_us : start_us >= 0 ? start_us : view_us(run, "queued_at"));
        table_add(table, cell.data, cell.len);
        table_colour(table, view_state(state)->colour);
    } else {
        table_addf(table, "-");
    }
    buf_fini(&cell);
}

static void print_workflows(const json_t *list)
{
    static const char *const HEADINGS[] = {"WORKFLOW", "STARTS", "NEXT", ">ACTIVE", "LAST RUN", "DESCRIPTION", NULL};
    struct table table;
    size_t i;
    const json_t *workflow;
    table_init(&table, HEADINGS);
    json_array_foreach(list, i, workflow)
    {
        int64_t active = view_number(workflow, "active_runs");
        table_addf(&table, "%s", view_text(workflow, "id"));
        add_starts(&table, workflow);
        add_next(&table, workflow);
        table_addf(&table, "%lld", (long long) (active < 0 ? 0 : active));
        add_last(&table, json_object_get(workflow, "last_run"));
        table_addf(&table, "%s", view_text(workflow, "description"));
    }
    table_print(&table, "There are no workflows.");
}

/* As `lineshaft check` prints them: they keep a workflow from being run. */
static void print_problem(const json_t *problem)
{
    struct buf line = {0}, text = {0};
    bool colours = render_colours(STDERR_FILENO);
    int64_t at = view_number(problem, "line"), column = view_number(problem, "column");
    buf_addf(&text, "%s", view_text(problem, "file"));
    if (at > 0)
        buf_addf(&text, ":%lld:%lld", (long long) at, (long long) (column > 0 ? column : 1));
    render_harmless(&line, text.data, text.len);
    buf_addf(&line, ": ");
    render_colour(&line, colours, COLOUR_RED);
    buf_addf(&line, "error: ");
    render_colour(&line, colours, COLOUR_NONE);
    render_harmless(&line, view_text(problem, "text"), strlen(view_text(problem, "text")));
    if (*view_text(problem, "code")) {
        buf_addf(&line, " [");
        render_harmless(&line, view_text(problem, "code"), strlen(view_text(problem, "code")));
        buf_addf(&line, "]");
    }
    if (*view_text(problem, "hint")) {
        buf_addf(&line, "\n  hint: ");
        render_harmless(&line, view_text(problem, "hint"), strlen(view_text(problem, "hint")));
    }
    fprintf(stderr, "%s\n", buf_text(&line));
    buf_fini(&line);
    buf_fini(&text);
}

int workflow_list(struct workflow_command *c)
{
    json_auto_t *answer = workflow_ask(c, "scheduler.list", NULL);
    size_t i;
    const json_t *problem;
    if (!answer)
        return c->status;
    if (c->json) {
        workflow_print_json(answer);
        return CLI_OK;
    }
    print_workflows(json_object_get(answer, "workflows"));
    fflush(stdout);
    json_array_foreach(json_object_get(answer, "problems"), i, problem) print_problem(problem);
    return CLI_OK;
}
