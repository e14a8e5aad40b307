/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the scheduler, and what to say when it cannot be asked or says no. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/workflows/workflow.h"
#include "lib/node.h"
#include "lib/xmem.h"
#include "yaml/diag.h"

#define NOT_FOUND 404

json_t *workflow_try(struct workflow_command *c, const char *topic, json_t *body, struct ls_error *err)
{
    json_auto_t *owned = body ? body : json_object();
    char *text = json_dumps(owned, JSON_COMPACT), *answer = NULL;
    size_t len = 0;
    struct ls_event request = {
        .topic = ls_str(topic), .body = ls_str(text), .datacontenttype = ls_str("application/json")};
    int result = ls_request_wait(c->bus.client, &request, c->bus.timeout_ms, &answer, &len, err);
    json_t *json = result < 0 ? NULL : node_json(ls_bytes(answer, len), err);
    free(text);
    free(answer);
    return json;
}

/* The nearest task of the run; false: none is near. */
static bool hint_task(struct workflow_command *c)
{
    struct ls_error err = {0};
    json_auto_t *run = c->second ? workflow_try(c, "scheduler.show", workflow_which(c, NULL), &err) : NULL;
    const json_t *tasks = json_object_get(run, "tasks"), *task;
    const char **names = xcalloc(json_array_size(tasks) + 1, sizeof *names);
    size_t i, count = 0;
    json_array_foreach(tasks, i, task) if (*view_text(task, "task")) names[count++] = view_text(task, "task");
    const char *near = c->second ? diag_nearest(c->second, names) : NULL;
    if (near)
        fprintf(stderr, "  did you mean \"%s\"?\n", near);
    free(names);
    return near != NULL;
}

/* The workflow may be misspelt, or its file have mistakes; of one that there is, the run or task is not there. */
static void hint_workflow(struct workflow_command *c, const char *said)
{
    struct ls_error err = {0};
    struct buf shown = {0};
    json_auto_t *answer = workflow_try(c, "scheduler.list", NULL, &err);
    const json_t *list = json_object_get(answer, "workflows"), *item;
    const char **names = xcalloc(json_array_size(list) + 1, sizeof *names);
    size_t i, count = 0;
    bool known = false;
    json_array_foreach(list, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        if (id)
            names[count++] = id;
        known |= id && strcmp(id, c->workflow) == 0;
    }
    const char *near = known ? NULL : diag_nearest(c->workflow, names);
    render_harmless(&shown, c->workflow, strlen(c->workflow));
    if (near)
        fprintf(stderr, "  did you mean \"%s\"?\n", near);
    else if (known && strstr(said, "has not run yet"))
        fprintf(stderr, "  `lineshaft workflow run %s` starts a run\n", buf_text(&shown));
    else if (known && !(strstr(said, "has no task") && hint_task(c)))
        fprintf(stderr, "  `lineshaft workflow show %s` shows the newest run with its tasks, with --limit 20 the runs\n",
                buf_text(&shown));
    else if (answer && !strstr(said, "workflow ls"))
        fprintf(stderr, "  `lineshaft workflow ls` lists the workflows that there are, and files with mistakes\n");
    buf_fini(&shown);
    free(names);
}

void workflow_refused(struct workflow_command *c, const struct ls_error *err)
{
    c->status = CLI_FAILED;
    if (strcmp(err->name, "NO_RESPONDER") == 0) {
        fprintf(stderr, "lineshaft workflow: no scheduler serves here; does the topology have a node of kind "
                        "scheduler? (NO_RESPONDER)\n");
        return;
    }
    c->status = bus_failed(c->bus.command, err);
    if (strcmp(err->name, "FAILED") == 0 && err->number == NOT_FOUND && c->workflow &&
        !strstr(err->text, "did you mean"))
        hint_workflow(c, err->text);
}

json_t *workflow_ask(struct workflow_command *c, const char *topic, json_t *body)
{
    struct ls_error err = {0};
    if (!c->bus.client) {
        c->status = bus_open(&c->bus, &CMD_WORKFLOW, &c->broker, NULL);
        if (c->status != CLI_OK) {
            json_decref(body);
            return NULL;
        }
    }
    json_t *answer = workflow_try(c, topic, body, &err);
    if (!answer)
        workflow_refused(c, &err);
    return answer;
}

json_t *workflow_which(const struct workflow_command *c, const char *run_id)
{
    json_t *body = json_object();
    const char *run = c->run_id ? c->run_id : run_id;
    if (c->workflow)
        json_object_set_new(body, "workflow", json_string(c->workflow));
    if (run)
        json_object_set_new(body, "workflow_run_id", json_string(run));
    return body;
}

void workflow_print_json(const json_t *answer)
{
    struct buf out = {0};
    node_write(&out, answer);
    puts(buf_text(&out));
    buf_fini(&out);
}
