/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WORKFLOWS_WORKFLOW_H
#define CLI_WORKFLOWS_WORKFLOW_H
#include <jansson.h>

#include "cli/bus.h"
#include "cli/table.h"

/* The parts of `lineshaft workflow`: what is asked for (cmd_workflow.c), asking the scheduler (workflow_ask.c),
 * workflows, runs and tasks for people (workflow_view.c, workflow_list.c, workflow_show.c), the logs of tasks
 * (workflow_log.c), following a run (workflow_follow.c), and when something runs (workflow_when.c). The requests are
 * those of docs/nodes/scheduler-requests.md. */

struct workflow_command {
    struct bus bus; /* opened by the first workflow_ask */
    struct options_broker broker;
    int status;                    /* of a request that failed */
    const char *workflow, *second; /* the arguments behind the verb; NULL: not given */
    json_t *inputs, *tasks;        /* --inputs and --input, --task; NULL: none */
    const char *run_id, *zone, *note, *date, *reason, *state;
    uint64_t limit, count, attempt; /* 0 of limit and attempt: not given */
    int64_t from_us;
    bool json, wait, follow, only, dry_run, has_from;
};

/* ---- workflow_ask.c ---- */

/* workflow_ask asks topic with `body` (taken over; NULL: an empty object). A new reference; NULL after a
 * message, with c->status. */
json_t *workflow_ask(struct workflow_command *c, const char *topic, json_t *body);
/* workflow_try: the same of an open bus, silently: NULL with *err. workflow_refused says what went wrong, and with 404
 * what may be meant; sets c->status. */
json_t *workflow_try(struct workflow_command *c, const char *topic, json_t *body, struct ls_error *err);
void workflow_refused(struct workflow_command *c, const struct ls_error *err);
/* workflow_which: a body with the workflow, and c->run_id or `run_id` (NULL: neither) as workflow_run_id. */
json_t *workflow_which(const struct workflow_command *c, const char *run_id);
/* workflow_print_json prints the answer as it came, on one line. */
void workflow_print_json(const json_t *answer);

/* ---- workflow_view.c ---- */

/* The member's text, or "" when it is absent or null; its number, or -1. */
const char *view_text(const json_t *object, const char *key);
int64_t view_number(const json_t *object, const char *key);
/* view_us: the time at `key`, or -1. */
int64_t view_us(const json_t *object, const char *key);

struct view_state {
    const char *name, *symbol;
    enum colour colour;
};
/* view_state: how a state of a run or a task looks; one without name for words that are not known. */
const struct view_state *view_state(const char *name);
/* view_add_state adds a cell: the state, with its symbol and colour on a terminal. */
void view_add_state(struct table *table, const char *name);
/* view_put_state appends the same to a line. */
void view_put_state(struct buf *out, const char *name, bool colours);

/* view_put_when: "2 min 5 s ago (13:04)", "in 14 h 36 min (Tue 02:00)"; "-" for -1. view_put_clock: the part in
 * brackets. */
void view_put_when(struct buf *out, int64_t time_us);
void view_put_clock(struct buf *out, int64_t time_us);
/* view_put_took: the duration of a run, task or try; of one that is under way, until now. "-" when it has not begun. */
void view_put_took(struct buf *out, const json_t *object);
/* view_put_list appends the texts of a JSON array, commas between them. */
void view_put_list(struct buf *out, const json_t *list);
/* view_put_json appends a JSON value as compact text, a text as it is. */
void view_put_json(struct buf *out, const json_t *value);
/* view_message is what there is to say of a task that succeeded or was skipped, or of its event: its output `message`, or why
 * it was skipped; "": nothing. */
const char *view_message(const json_t *task);
/* view_print_run prints a run's own lines, view_print_tasks the table of its tasks. */
void view_print_run(const json_t *run);
void view_print_tasks(const json_t *run);

/* ---- workflow_log.c ---- */

/* workflow_print_log prints where the task's log is, and of one that failed its last lines, when it is a file of this
 * machine that can be read. */
void workflow_print_log(const json_t *task);

/* ---- the verbs; each returns the exit status ---- */

int workflow_list(struct workflow_command *c); /* ls */
int workflow_run(struct workflow_command *c);  /* workflow_follow.c */
int workflow_show(struct workflow_command *c);
int workflow_explain(struct workflow_command *c);
int workflow_log(struct workflow_command *c);
int workflow_cancel(struct workflow_command *c);
int workflow_clear(struct workflow_command *c);
int workflow_when(struct workflow_command *c); /* next */

#endif
