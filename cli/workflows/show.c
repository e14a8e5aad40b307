/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft workflow show, explain, cancel, clear: runs and their tasks. */
#include <stdio.h>
#include <string.h>

#include "cli/info.h"
#include "cli/workflows/workflow.h"

#define RUNS_SHOWN 20

/* ---- show ---- */

static void add_run(struct table *table, const json_t *run)
{
    struct buf cell = {0};
    int64_t begun_us = view_us(run, "start_date");
    table_addf(table, "%s", view_text(run, "workflow"));
    table_addf(table, "%s", view_text(run, "workflow_run_id"));
    view_add_state(table, view_text(run, "state"));
    table_addf(table, "%s", view_text(run, "trigger"));
    view_put_when(&cell, begun_us < 0 ? view_us(run, "queued_at") : begun_us);
    table_add(table, cell.data, cell.len);
    buf_clear(&cell);
    view_put_took(&cell, run);
    table_add(table, cell.data, cell.len);
    int64_t total = view_number(run, "tasks_total"), done = view_number(run, "tasks_done");
    table_addf(table, total >= 0 ? "%lld/%lld" : "-", (long long) (done < 0 ? 0 : done), (long long) total);
    table_addf(table, "%s", *view_text(run, "reason") ? view_text(run, "reason") : view_text(run, "waits_for"));
    buf_fini(&cell);
}

static int show_runs(struct workflow_command *c)
{
    static const char *const HEADINGS[] = {"WORKFLOW", "RUN", "STATE", "BY", "BEGAN", ">TOOK", ">TASKS", "WHY", NULL};
    struct table table;
    size_t i;
    const json_t *run;
    json_t *body = workflow_which(c, NULL);
    json_object_set_new(body, "limit", json_integer((json_int_t) (c->limit ? c->limit : RUNS_SHOWN)));
    if (c->state)
        json_object_set_new(body, "state", json_string(c->state));
    json_auto_t *answer = workflow_ask(c, "scheduler.runs", body);
    if (!answer)
        return c->status;
    if (c->json) {
        workflow_print_json(answer);
        return CLI_OK;
    }
    table_init(&table, HEADINGS);
    json_array_foreach(json_object_get(answer, "runs"), i, run) add_run(&table, run);
    table_print(&table, c->workflow ? "This workflow has no such runs." : "There are no such runs.");
    return CLI_OK;
}

int workflow_show(struct workflow_command *c)
{
    if (c->second && (c->limit || c->state))
        return options_usage(&CMD_WORKFLOW, "show: --limit and --state are for a list of runs: leave RUN out");
    if (!c->workflow || c->limit || c->state)
        return show_runs(c);
    json_auto_t *run = workflow_ask(c, "scheduler.show", workflow_which(c, c->second));
    if (!run)
        return c->status;
    if (c->json) {
        workflow_print_json(run);
        return CLI_OK;
    }
    view_print_run(run);
    putchar('\n');
    view_print_tasks(run);
    return CLI_OK;
}

/* ---- explain ---- */

static void add_try(struct table *table, const json_t *one)
{
    struct buf cell = {0};
    const char *error = view_text(one, "error");
    int64_t exit_code = view_number(one, "exit_code");
    table_addf(table, "%lld", (long long) view_number(one, "attempt"));
    view_add_state(table, view_text(one, "state"));
    table_addf(table, "%s", *view_text(one, "runner") ? view_text(one, "runner") : "-");
    view_put_when(&cell, view_us(one, "start_date"));
    table_add(table, cell.data, cell.len);
    buf_clear(&cell);
    view_put_took(&cell, one);
    table_add(table, cell.data, cell.len);
    table_addf(table, exit_code < 0 ? "-" : "%lld", (long long) exit_code);
    bool well = strcmp(view_text(one, "state"), "success") == 0;
    table_addf(table, "%s", well ? "" : *error ? error : view_text(one, "reason"));
    buf_fini(&cell);
}

static void print_tries(const json_t *task)
{
    static const char *const HEADINGS[] = {">TRY", "STATE", "RUNNER", "BEGAN", ">TOOK", ">EXIT", "WHY", NULL};
    struct table table;
    size_t i;
    const json_t *one, *tries = json_object_get(task, "tries");
    if (!json_array_size(tries))
        return;
    putchar('\n');
    table_init(&table, HEADINGS);
    json_array_foreach(tries, i, one) add_try(&table, one);
    table_print(&table, "");
}

static void print_task(const json_t *task)
{
    struct buf line = {0};
    size_t i;
    const json_t *sentence, *outputs = json_object_get(task, "outputs");
    info_line("task", "%s", view_text(task, "task"));
    view_put_state(&line, view_text(task, "state"), render_colours(1));
    printf("%-14s %s\n", "state", buf_text(&line));
    json_array_foreach(json_object_get(task, "why"), i, sentence)
        info_line(i ? "" : "why", "%s", json_is_string(sentence) ? json_string_value(sentence) : "");
    if (json_array_size(json_object_get(task, "depends_on"))) {
        buf_clear(&line);
        view_put_list(&line, json_object_get(task, "depends_on"));
        info_line("after", "%s (%s)", buf_text(&line), view_text(task, "trigger_rule"));
    }
    if (json_object_size(outputs)) {
        buf_clear(&line);
        view_put_json(&line, outputs);
        info_put("outputs", line.data, line.len);
    }
    if (*view_text(task, "log"))
        workflow_print_log(task);
    print_tries(task);
    buf_fini(&line);
}

int workflow_explain(struct workflow_command *c)
{
    json_t *body = workflow_which(c, NULL);
    json_object_set_new(body, "task", json_string(c->second));
    json_auto_t *task = workflow_ask(c, "scheduler.explain", body);
    if (!task)
        return c->status;
    if (c->json)
        workflow_print_json(task);
    else
        print_task(task);
    return CLI_OK;
}

/* ---- cancel, clear ---- */

/* The one run that is under way, when none was named: its id, in *answer. NULL after a message. */
static const char *only_run(struct workflow_command *c, json_t **answer)
{
    static const char *const STATES[] = {"running", "queued"};
    const char *found = NULL;
    size_t count = 0;
    *answer = json_array();
    for (int i = 0; i < 2; i++) {
        json_t *body = json_pack("{s:s, s:s, s:i}", "workflow", c->workflow, "state", STATES[i], "limit", 2);
        json_t *part = workflow_ask(c, "scheduler.runs", body);
        if (!part)
            return NULL;
        json_array_append_new(*answer, part);
        const json_t *runs = json_object_get(part, "runs");
        count += json_array_size(runs);
        if (json_array_size(runs))
            found = view_text(json_array_get(runs, 0), "workflow_run_id");
    }
    if (count == 1)
        return found;
    if (count == 0)
        fprintf(stderr, "lineshaft workflow: no run of \"%s\" is under way\n", c->workflow);
    else
        fprintf(stderr,
                "lineshaft workflow: several runs of \"%s\" are under way: name one; `lineshaft workflow show %s "
                "--limit 20` lists them\n",
                c->workflow, c->workflow);
    c->status = CLI_FAILED;
    return NULL;
}

int workflow_cancel(struct workflow_command *c)
{
    json_auto_t *active = NULL;
    const char *run_id = c->second ? c->second : only_run(c, &active);
    if (!run_id)
        return c->status;
    json_t *body = workflow_which(c, run_id);
    if (c->reason)
        json_object_set_new(body, "reason", json_string(c->reason));
    json_auto_t *run = workflow_ask(c, "scheduler.cancel", body);
    if (!run)
        return c->status;
    if (c->json)
        workflow_print_json(run);
    else
        printf("ok %s %s is cancelled%s\n", c->workflow, view_text(run, "workflow_run_id"),
               strcmp(view_text(run, "state"), "running") == 0 ? "; what is running is being stopped" : "");
    return CLI_OK;
}

int workflow_clear(struct workflow_command *c)
{
    size_t i;
    const json_t *task;
    json_t *body = workflow_which(c, c->second);
    if (c->tasks)
        json_object_set(body, "tasks", c->tasks);
    json_object_set_new(body, "downstream", json_boolean(!c->only));
    json_object_set_new(body, "dry_run", json_boolean(c->dry_run));
    json_auto_t *answer = workflow_ask(c, "scheduler.clear", body);
    if (!answer)
        return c->status;
    if (c->json) {
        workflow_print_json(answer);
        return CLI_OK;
    }
    json_array_foreach(json_object_get(answer, "tasks"), i, task)
        printf("%s %s\n", c->dry_run ? "would clear" : "cleared", json_string_value(task));
    if (!json_array_size(json_object_get(answer, "tasks")))
        fprintf(stderr, "There was nothing to clear: no task of this run has failed. --task TASK names others.\n");
    return CLI_OK;
}
