/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions and templates of a file: are they well-formed, and is there what they name? */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "workflow/expr_tree.h"
#include "workflow/load.h"

static const char *const TASK_NAMES[] = {"inputs",
                                         "outputs",
                                         "run_id",
                                         "workflow",
                                         "task",
                                         "try_number",
                                         "logical_date",
                                         "data_interval_start",
                                         "data_interval_end",
                                         "ds",
                                         "ts",
                                         NULL};
static const char *const TRIGGER_NAMES[] = {"event", NULL};
static const char *const EVENT_NAMES[] = {
    "topic",         "id",          "source",          "subject",    "time",    "data",        "stream",
    "seq",           "data_base64", "datacontenttype", "dataschema", "dataref", "traceparent", "tracestate",
    "correlationid", "causationid", "partitionkey",    "expirytime", NULL};

/* What people who come from elsewhere, or from the other scope, look for. */
static const struct {
    const char *name, *hint;
} ELSEWHERE[] = {
    {"params", "inputs.NAME"},
    {"conf", "inputs.NAME"},
    {"dag_run", "inputs.NAME"},
    {"dag_id", "workflow"},
    {"dag", "workflow"},
    {"task_id", "task"},
    {"ti", "outputs.TASK.KEY"},
    {"task_instance", "outputs.TASK.KEY"},
    {"execution_date", "logical_date"},
    {"event", "inputs.NAME, which the trigger's `inputs` fill from the event"},
    {"env", "the variable itself, in the command; ${env:NAME} is one of the scheduler's environment"},
};

struct scope {
    struct loader *l;
    const struct draft *task; /* NULL: a trigger, or the defaults */
    const char *const *names;
    const char *what; /* `task "train"` */
    struct place at;
    bool outside; /* the text is from the environment or a file, which is not shown */
};

/* ---- names ---- */

/* What comes from outside the file may be a secret: of its names nothing is said but that there is no such. */
static bool hidden(const struct scope *s)
{
    if (s->outside)
        diag_add(s->l->diags, DIAG_EXPRESSION_UNKNOWN, s->at,
                 "%s: the expression, which comes from outside the file, names what is not there", s->what);
    return s->outside;
}

static void unknown_name(const struct scope *s, const char *name)
{
    if (hidden(s))
        return;
    struct diag *d = diag_add(s->l->diags, DIAG_EXPRESSION_UNKNOWN, s->at,
                              "%s: there is no \"%.60s\" for expressions here", s->what, name);
    for (size_t i = 0; i < sizeof ELSEWHERE / sizeof *ELSEWHERE; i++)
        if (!strcmp(ELSEWHERE[i].name, name) && s->names != TRIGGER_NAMES) {
            diag_hint(d, "here it is %s", ELSEWHERE[i].hint);
            return;
        }
    for (size_t i = 0; s->names == TRIGGER_NAMES && EVENT_NAMES[i]; i++)
        if (!strcmp(EVENT_NAMES[i], name)) {
            diag_hint(d, "here it is event.%s", name);
            return;
        }
    const char *near = diag_nearest(name, s->names);
    struct buf known = {0};
    for (size_t i = 0; s->names[i]; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", s->names[i]);
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "there is: %s; a text stands in quotes", buf_text(&known));
    buf_fini(&known);
}

#define STEPS_MAX 100000000

/* Is `to` before `d`, directly or not? Only what is later in the order than `to` can come after it. The steps are counted: a
 * file that is made to take minutes is believed (what is not there is null when the task runs). */
static bool is_upstream(struct loader *l, const struct draft *d, const struct draft *to)
{
    bool *seen = xcalloc(l->draft_count, sizeof *seen), found = false;
    size_t *stack = xcalloc(l->draft_count, sizeof *stack), top = 0;
    stack[top++] = d->file_order;
    while (top && !found && l->walked < STEPS_MAX) {
        const struct draft *at = &l->drafts[stack[--top]];
        l->walked += at->task.upstream_count;
        for (size_t i = 0; i < at->task.upstream_count && !found; i++) {
            size_t up = at->upstream[i];
            found = up == to->file_order;
            if (found || seen[up] || l->drafts[up].order < to->order)
                continue;
            seen[up] = true;
            stack[top++] = up;
        }
    }
    free(seen);
    free(stack);
    return found || l->walked >= STEPS_MAX;
}

static void check_output(const struct scope *s, const char *id)
{
    const struct draft *to = load_task_find(s->l, id);
    if (!to && hidden(s))
        return;
    if (!to) {
        struct diag *d = diag_add(s->l->diags, DIAG_TASK_UNKNOWN, s->at,
                                  "%s: \"outputs\" of a task \"%.60s\", which there is not", s->what, id);
        const char *near = load_task_near(s->l, id);
        if (near)
            diag_hint(d, "did you mean \"%s\"?", near);
        return;
    }
    if (!s->l->ordered || is_upstream(s->l, s->task, to))
        return;
    struct diag *d = diag_add(s->l->diags, DIAG_EXPRESSION_UNKNOWN, s->at,
                              "%s: \"outputs.%.60s\" is not there yet when this task runs", s->what, id);
    diag_other(d, to->task.place, "the task \"%.60s\" is here", id);
    diag_hint(d, "add it: depends_on: [%.60s]", id);
}

static void check_event(const struct scope *s, const char *name)
{
    const char *const *known = EVENT_NAMES;
    while (*known && strcmp(*known, name))
        known++;
    if (*known || hidden(s))
        return;
    struct diag *d =
        diag_add(s->l->diags, DIAG_EXPRESSION_UNKNOWN, s->at, "%s: an event has no \"%.60s\"", s->what, name);
    if (!strcmp(name, "body") || !strcmp(name, "payload"))
        diag_hint(d, "its body is event.data");
    else
        diag_hint(d,
                  "it has topic, id, source, subject, time and data, and the other attributes of docs/protocol.md; "
                  "what is in its body: event.data.%.60s",
                  name);
}

static void check_name(void *arg, const char *first, const char *second)
{
    const struct scope *s = arg;
    size_t i = 0;
    while (s->names[i] && strcmp(s->names[i], first))
        i++;
    if (!s->names[i]) {
        unknown_name(s, first);
    } else if (s->names == TRIGGER_NAMES && second) {
        check_event(s, second);
    } else if (s->names == TASK_NAMES && !strcmp(first, "inputs") && second) {
        if (!input_find(s->l->w, second) && !hidden(s))
            load_undeclared(s->l, s->at, s->what, second);
    } else if (!strcmp(first, "outputs") && !s->task) {
        struct diag *d =
            diag_add(s->l->diags, DIAG_EXPRESSION_UNKNOWN, s->at, "%s: \"outputs\" cannot be used here", s->what);
        diag_hint(d, "say it at the tasks that come after");
    } else if (!strcmp(first, "outputs") && second) {
        check_output(s, second);
    }
}

/* ---- texts ---- */

static void bad(struct scope *s, const struct value *v, int column, const char *why)
{
    struct diag *d = diag_add(s->l->diags, DIAG_EXPRESSION_BAD, load_inside(v, column), "%s: %s", s->what,
                              v->outside ? "the expression cannot be read" : why);
    if (strstr(v->text, "{{"))
        diag_hint(d, "for a {{ that is no template write \\{{");
}

static struct expr *read_expression(struct scope *s, const struct value *v)
{
    struct ls_error err = {0};
    int column = 0;
    if (v->broken || v->type != VALUE_TEXT || !*v->text)
        return NULL; /* was reported */
    if (!strncmp(v->text, "{{", 2)) {
        struct diag *d = diag_add(s->l->diags, DIAG_EXPRESSION_BAD, v->at,
                                  "%s: this is an expression by itself, not a template", s->what);
        diag_hint(d, "write it without {{ and }}");
        return NULL;
    }
    struct expr *e = expr_parse(v->text, &column, &err);
    if (!e) {
        bad(s, v, column, err.text);
        return NULL;
    }
    s->at = v->at;
    s->outside = v->outside;
    expr_names(e, check_name, s);
    return load_keep_expr(s->l, e);
}

/* Every text in a value. */
static void read_templates(struct scope *s, const struct value *v)
{
    struct ls_error err = {0};
    int column = 0;
    if (v->type != VALUE_TEXT) {
        for (size_t i = 0; i < v->count; i++)
            read_templates(s, v->items[i]);
        return;
    }
    if (v->broken || !strstr(v->text, "{{"))
        return;
    if (template_check(v->text, &column, &err)) {
        bad(s, v, column, err.text);
        return;
    }
    s->at = v->at;
    s->outside = v->outside;
    template_names(v->text, check_name, s);
}

static void read_keys(struct scope *s, const struct value *map)
{
    static const char *const KEYS[] = {"command", "env", "event", "request", "data", NULL};
    static const char *const PLAIN[] = {"directory", "pool", NULL};
    for (size_t i = 0; KEYS[i]; i++) {
        const struct value *v = value_find(map, KEYS[i]);
        if (v)
            read_templates(s, v);
    }
    for (size_t i = 0; PLAIN[i]; i++) {
        const struct value *v = value_find(map, PLAIN[i]);
        if (v && v->type == VALUE_TEXT && strstr(v->text, "{{"))
            diag_add(s->l->diags, DIAG_EXPRESSION_BAD, v->at, "%s: \"%s\" takes no template", s->what, PLAIN[i]);
    }
}

/* What came from the defaults was looked at there. */
void load_task_expressions(struct loader *l, const struct draft *d)
{
    char *what = load_task_what(d);
    struct scope s = {.l = l, .task = d, .names = TASK_NAMES, .what = what};
    const struct value *when = value_find(d->map, "when");
    if (d->own)
        read_keys(&s, d->own);
    if (when && d->when) {
        struct draft *writable = &l->drafts[d->file_order];
        writable->task.when = read_expression(&s, when);
        writable->task.when_text = d->when;
    }
    free(what);
}

void load_defaults_expressions(struct loader *l)
{
    struct scope s = {.l = l, .names = TASK_NAMES, .what = "\"defaults\""};
    read_keys(&s, l->defaults);
    const struct value *when = value_find(l->defaults, "when");
    if (when)
        read_expression(&s, when);
}

struct expr *load_filter(struct loader *l, const char *what, const struct value *v)
{
    struct scope s = {.l = l, .names = TRIGGER_NAMES, .what = what};
    return read_expression(&s, v);
}

void load_trigger_templates(struct loader *l, const char *what, const struct value *v)
{
    struct scope s = {.l = l, .names = TRIGGER_NAMES, .what = what};
    read_templates(&s, v);
}
