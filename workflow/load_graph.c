/* SPDX-License-Identifier: Apache-2.0 */
/* How the tasks of a workflow hang together: depends_on, circles, the order in which they stand in the workflow,
 * failures that nobody sees. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "workflow/load.h"

/* ---- depends_on ---- */

static void unknown_task(struct loader *l, const struct draft *d, size_t i)
{
    const char *id = d->depends_on.items[i];
    char *what = load_task_what(d);
    struct diag *diag = diag_add(l->diags, DIAG_TASK_UNKNOWN, d->depends_on.places[i],
                                 "%s depends on \"%.60s\", which there is not", what, id);
    const char *near = load_task_near(l, id);
    if (near)
        diag_hint(diag, "did you mean \"%s\"?", near);
    else if (strpbrk(id, ", "))
        diag_hint(diag, "several are a list: depends_on: [one, two]");
    free(what);
}

/* `named[t]` is 1 + the last draft that named t. */
static void resolve_one(struct loader *l, struct draft *d, size_t *named)
{
    d->upstream = pool_alloc(&l->tree, d->depends_on.count, sizeof *d->upstream);
    for (size_t i = 0; i < d->depends_on.count; i++) {
        const struct draft *to = load_task_find(l, d->depends_on.items[i]);
        struct place at = d->depends_on.places[i];
        if (!to) {
            unknown_task(l, d, i);
        } else if (named[to->file_order] == d->file_order + 1) {
            diag_add(l->diags, DIAG_ID_DUPLICATE, at, "task \"%.64s\" names \"%.60s\" twice", d->task.id, to->task.id);
        } else {
            named[to->file_order] = d->file_order + 1;
            d->upstream[d->task.upstream_count++] = to->file_order;
            l->drafts[to->file_order].task.downstream_count++;
        }
    }
}

static void resolve(struct loader *l)
{
    size_t *named = xcalloc(l->draft_count, sizeof *named);
    for (size_t i = 0; i < l->draft_count; i++)
        resolve_one(l, &l->drafts[i], named);
    for (size_t i = 0; i < l->draft_count; i++) {
        struct draft *d = &l->drafts[i];
        d->downstream = pool_alloc(&l->tree, d->task.downstream_count, sizeof *d->downstream);
        d->task.downstream_count = 0;
    }
    for (size_t i = 0; i < l->draft_count; i++)
        for (size_t k = 0; k < l->drafts[i].task.upstream_count; k++) {
            struct draft *up = &l->drafts[l->drafts[i].upstream[k]];
            up->downstream[up->task.downstream_count++] = i;
        }
    free(named);
}

/* ---- circles: a walk up from each task; one that is met again on the way closes a circle ---- */

struct search {
    struct loader *l;
    struct visit {
        size_t task, next; /* upstream[next] is to be followed */
    } * stack;
    size_t top;
    size_t *depth; /* 0: not seen; SIZE_MAX: done; else its place in the stack, from 1 */
};

#define PATH_SHOWN 10

static void report_circle(struct search *s, size_t from, struct place at)
{
    const struct loader *l = s->l;
    size_t length = s->top - from + 1; /* stack[from - 1 .. top - 1], each upstream of the one before */
    const char *first = l->drafts[s->stack[from - 1].task].task.id;
    if (length == 1) {
        diag_add(l->diags, DIAG_WORKFLOW_CYCLE, at, "task \"%.64s\" depends on itself", first);
        return;
    }
    struct buf path = {0};
    buf_addf(&path, "%.64s", first);
    for (size_t i = s->top; i > from; i--) {
        size_t place = s->top - i; /* of `length - 1` */
        if (length > PATH_SHOWN + 1 && place == PATH_SHOWN / 2)
            buf_addf(&path, " -> (%zu more)", length - 1 - PATH_SHOWN);
        if (length > PATH_SHOWN + 1 && place >= PATH_SHOWN / 2 && place < length - 1 - PATH_SHOWN / 2)
            continue;
        buf_addf(&path, " -> %.64s", l->drafts[s->stack[i - 1].task].task.id);
    }
    struct diag *d = diag_add(l->diags, DIAG_WORKFLOW_CYCLE, at, "tasks wait for each other in a circle: %s -> %.64s",
                              buf_text(&path), first);
    diag_hint(d, "take one of these out of `depends_on`; what is to be repeated can be a `retry`, or a workflow that "
                 "an event starts again");
    buf_fini(&path);
}

static struct place dependency_place(const struct loader *l, const struct draft *d, size_t to)
{
    for (size_t i = 0; i < d->depends_on.count; i++)
        if (!strcmp(d->depends_on.items[i], l->drafts[to].task.id))
            return d->depends_on.places[i];
    return d->task.place;
}

static void walk_up(struct search *s, size_t start)
{
    struct loader *l = s->l;
    s->stack[s->top++] = (struct visit){start, 0};
    s->depth[start] = s->top;
    while (s->top) {
        struct visit *v = &s->stack[s->top - 1];
        const struct draft *d = &l->drafts[v->task];
        if (v->next == d->task.upstream_count) {
            s->depth[v->task] = SIZE_MAX;
            s->top--;
            continue;
        }
        size_t up = d->upstream[v->next++];
        if (!s->depth[up]) {
            s->stack[s->top++] = (struct visit){up, 0};
            s->depth[up] = s->top;
        } else if (s->depth[up] != SIZE_MAX) {
            l->ordered = false;
            report_circle(s, s->depth[up], dependency_place(l, d, up));
        }
    }
}

static void find_circles(struct loader *l)
{
    struct search s = {l, xcalloc(l->draft_count, sizeof *s.stack), 0, xcalloc(l->draft_count, sizeof *s.depth)};
    l->ordered = true;
    for (size_t i = 0; i < l->draft_count; i++)
        if (!s.depth[i])
            walk_up(&s, i);
    free(s.stack);
    free(s.depth);
}

/* ---- order: each after those it depends on; of those that could come next, the first in the file ---- */

static void order(struct loader *l)
{
    struct heap ready = {0};
    size_t count = 0;
    for (size_t i = 0; i < l->draft_count; i++) {
        struct draft *d = &l->drafts[i];
        d->waiting = d->task.upstream_count;
        if (!d->waiting)
            heap_set(&ready, &d->ready, (int64_t) i);
    }
    while (ready.count) {
        struct timer *first = ready.timers[0];
        struct draft *d = &l->drafts[first->due_ms];
        heap_unset(&ready, first);
        d->order = count++;
        for (size_t i = 0; i < d->task.downstream_count; i++) {
            struct draft *next = &l->drafts[d->downstream[i]];
            if (!--next->waiting)
                heap_set(&ready, &next->ready, (int64_t) next->file_order);
        }
    }
    heap_fini(&ready);
}

/* ---- failures that nobody sees ---- */

/* Tasks with this rule may run, and succeed, when one before them has failed. */
static bool is_deaf(const struct task *t)
{
    return t->trigger_rule != RULE_ALL_SUCCESS && t->trigger_rule != RULE_NONE_FAILED &&
           t->trigger_rule != RULE_NONE_FAILED_MIN_ONE_SUCCESS && t->trigger_rule != RULE_ALL_SKIPPED;
}

/* The first of the tasks after t when all of them are deaf. */
static const struct task *hidden_by(const struct task *t)
{
    for (size_t i = 0; i < t->downstream_count; i++)
        if (!is_deaf(t->downstream[i]))
            return NULL;
    return t->downstream_count ? t->downstream[0] : NULL;
}

static void check_hidden(struct loader *l, const struct draft *d)
{
    const struct task *t = &l->w->tasks[d->order], *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < t->upstream_count; i++) {
        if (hidden_by(t->upstream[i]) != t)
            continue;
        first = first ? first : t->upstream[i];
        count++;
    }
    if (!count)
        return;
    const struct value *rule = value_find(d->own, "trigger_rule");
    char more[32] = "";
    if (count > 1)
        snprintf(more, sizeof more, " and %zu more", count - 1);
    struct diag *diag = diag_add(l->diags, DIAG_FAILURE_HIDDEN, rule ? rule->at : t->place,
                                 "a failure of \"%.60s\"%s does not make the run fail, for \"%.60s\" runs all the same",
                                 first->id, more, t->id);
    diag_hint(diag, "a run ends as its last tasks do: let one with the rule all_success depend on \"%.60s\", too",
              first->id);
}

/* ---- into the workflow ---- */

static void link_tasks(struct loader *l, const struct draft *d)
{
    struct task *t = &l->w->tasks[d->order];
    t->upstream = pool_alloc(&l->file->pool, t->upstream_count, sizeof(*t->upstream));
    t->downstream = pool_alloc(&l->file->pool, t->downstream_count, sizeof(*t->downstream));
    for (size_t i = 0; i < t->upstream_count; i++)
        t->upstream[i] = &l->w->tasks[l->drafts[d->upstream[i]].order];
    for (size_t i = 0; i < t->downstream_count; i++)
        t->downstream[i] = &l->w->tasks[l->drafts[d->downstream[i]].order];
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(const struct task *const *) a)->id, (*(const struct task *const *) b)->id);
}

void load_graph(struct loader *l)
{
    resolve(l);
    find_circles(l);
    if (l->ordered)
        order(l);
}

void load_graph_keep(struct loader *l)
{
    struct workflow *w = l->w;
    if (!l->ordered)
        return;
    w->task_count = l->draft_count;
    w->tasks = pool_alloc(&l->file->pool, w->task_count, sizeof *w->tasks);
    w->by_id = pool_alloc(&l->file->pool, w->task_count, sizeof(*w->by_id));
    for (size_t i = 0; i < l->draft_count; i++) {
        const struct draft *d = &l->drafts[i];
        w->tasks[d->order] = d->task;
        w->tasks[d->order].index = d->order;
        w->by_id[i] = &w->tasks[d->order];
    }
    for (size_t i = 0; i < l->draft_count; i++)
        link_tasks(l, &l->drafts[i]);
    if (w->task_count)
        qsort(w->by_id, w->task_count, sizeof(*w->by_id), by_id);
    for (size_t i = 0; i < l->draft_count; i++)
        check_hidden(l, &l->drafts[i]);
}
