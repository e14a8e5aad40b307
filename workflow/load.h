/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_LOAD_H
#define WORKFLOW_LOAD_H
#include "lib/heap.h"
#include "lib/map.h"
#include "workflow/workflow.h"

/* Reading a workflow file, in steps that share a struct loader. This header is for load*.c, inputs.c and tables.c
 * only. The YAML tree and the drafts live in `tree` and go at the end; what the workflow keeps lives in file->pool,
 * and, for what a pool cannot free, in file->kept. */

struct workflow_kept {
    json_t **jsons;
    size_t json_count, json_room;
    struct expr **exprs;
    size_t expr_count, expr_room;
};

/* The keys of a task, as its table reads them; `map` has own names only, with defaults merged in. */
struct draft {
    struct task task;
    int type; /* index into TASK_TYPES; -1: not said */
    struct text_list command, depends_on;
    struct text_map environment;
    char *event, *request, *when;
    const struct value *map, *own; /* own: without defaults */
    size_t *upstream;              /* indices of drafts; task.upstream_count of them */
    size_t file_order, order;      /* order: in workflow->tasks */
    size_t waiting;                /* upstream that is not in order yet */
    size_t *downstream;
    struct timer ready;
    struct draft *same_hash;
};

/* The top level, as its table reads it. */
struct sheet {
    struct workflow w;
    char *id, *timezone;
    struct text_list tags;
    struct {
        int64_t limit;
        int policy;
    } concurrency;
};

struct trigger_draft {
    char *event, *filter, *key;
};

struct input_draft {
    char *description;
    int type; /* -1: not said */
    bool required;
};

struct schedule_draft {
    struct text_list cron, at;
    int64_t every;
};

struct loader {
    struct workflow_file *file;
    struct diag_list *diags;
    struct pool tree;
    struct sheet *sheet;
    struct workflow *w;
    const struct value *root;
    const struct value *defaults; /* own names; NULL: none, or with errors */
    struct draft *drafts;
    size_t draft_count;
    struct map ids;               /* hash of an id -> struct draft */
    const char **id_names;        /* for diag_nearest; NULL until asked for */
    bool ordered;                 /* the tasks form no circle */
    size_t walked;                /* steps up the graph, to look for tasks that expressions name */
    size_t cron_room;
};

#define NEAR_MAX 50 /* looking for the nearest of thousands of names is for the first few problems only */

/* ---- tables.c ---- */

struct synonym {
    const char *given, *own;
};
extern const struct option_def OPTIONS_WORKFLOW[], OPTIONS_SCHEDULE[], OPTIONS_TRIGGER[], OPTIONS_INPUT[],
    OPTIONS_TASK[], OPTIONS_TASK_DEFAULTS[];
extern const struct synonym SYNONYMS_WORKFLOW[], SYNONYMS_TASK[];
extern const struct option_elsewhere ELSEWHERE_WORKFLOW[], ELSEWHERE_SCHEDULE[], ELSEWHERE_TRIGGER[], ELSEWHERE_TASK[];
extern const char *const TASK_TYPES[];

/* ---- load_value.c: values as this format writes them, before the tables read them ---- */

/* load_own copies a map: synonyms become own names (both at once is reported), durations such as 90 or PT5M the form
 * that the tables read, a single text a list where a list is due. `synonyms` may be NULL. */
struct value *load_own(struct loader *l, const struct value *map, const struct synonym *synonyms, const struct option_def *table);
/* load_retry makes one `retry` map of `retry`, `retries` and `retry_delay`. */
void load_retry(struct loader *l, struct value *map);
void load_set(struct loader *l, struct value *map, struct value *key, struct value *item); /* replaces or adds; keys by their text */
struct value *load_text_value(struct loader *l, struct place at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* load_json: a value as JSON; of file->kept. load_keep hands a JSON value to file->kept. */
json_t *load_json(struct loader *l, const struct value *v);
json_t *load_keep(struct loader *l, json_t *json);
struct expr *load_keep_expr(struct loader *l, struct expr *expr);
struct option_context load_context(struct loader *l, const char *what);
/* load_inside: the place of a character (from 0) of a text, or that of the text where it cannot be told. */
struct place load_inside(const struct value *v, int column);
/* load_topic reads a topic, or with `pattern` a pattern; NULL when it was reported. */
char *load_topic(struct loader *l, const struct option_context *ctx, const char *name, const struct value *v, bool pattern);
/* load_id checks the form of an id. */
bool load_id(struct loader *l, const struct value *v, const char *what);
/* load_undeclared reports that the workflow has no input of that name. */
void load_undeclared(struct loader *l, struct place at, const char *what, const char *name);
/* load_map: v as a map; reports what is none. */
const struct value *load_map(struct loader *l, const struct value *v, const char *what);

/* ---- the parts of the file ---- */

void load_schedule(struct loader *l);  /* load_schedule.c: timezone, schedule, start_date, end_date */
void load_inputs(struct loader *l);    /* load_inputs.c */
void load_triggers(struct loader *l);  /* load_trigger.c */
void load_tasks(struct loader *l);     /* load_task.c: reads, resolves, orders */
struct draft *load_task_find(struct loader *l, const char *id);
const char *load_task_near(struct loader *l, const char *id); /* for a hint; may be NULL */
char *load_task_what(const struct draft *d); /* `task "train"`, or `task 3`, for messages; the caller's */
void load_graph(struct loader *l);     /* load_graph.c: depends_on, circles, order */
void load_graph_keep(struct loader *l); /* fills workflow->tasks */

/* ---- load_scope.c: expressions and templates, and the names they use ---- */

void load_task_expressions(struct loader *l, const struct draft *d);
void load_defaults_expressions(struct loader *l);
struct expr *load_filter(struct loader *l, const char *what, const struct value *v);
void load_trigger_templates(struct loader *l, const char *what, const struct value *v);

/* ---- inputs.c ---- */

/* input_read: a given value as the declared type, a new reference; NULL with BAD_VALUE. */
json_t *input_read(const struct input *input, const json_t *given, struct ls_error *err);
/* input_find: NULL when it is not declared; input_near: the nearest one's name, or NULL. */
const struct input *input_find(const struct workflow *w, const char *name);
const char *input_near(const struct workflow *w, const char *name);

#endif
