/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft check: the workflows of a topology. Each file by itself is checked by workflow/; here is what only shows
 * beside the topology, which knows nothing of workflows, as they know nothing of it. */
#include "cli/check_workflows.h"

#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"

static const char SCHEDULER[] = "scheduler", WORKFLOWS[] = "workflows", POOLS[] = "pools", QUEUED[] = "task.queued";
static const char POOL_DEFAULT[] = "default"; /* every scheduler has it */

/* ---- files ---- */

struct checked_workflow *check_workflow_load(struct check_workflows *all, const char *path)
{
    all->items = xgrow(all->items, &all->room, all->count + 1, sizeof(*all->items));
    struct checked_workflow *c = xcalloc(1, sizeof *c);
    c->file = workflow_load(path, &c->diags);
    return all->items[all->count++] = c;
}

void check_workflows_fini(struct check_workflows *all)
{
    for (size_t i = 0; i < all->count; i++) {
        workflow_file_free(&all->items[i]->file);
        diag_list_fini(&all->items[i]->diags);
        free(all->items[i]);
    }
    for (size_t i = 0; i < all->pools.count; i++)
        free(all->pools.items[i]);
    free(all->pools.items);
    free(all->items);
    *all = (struct check_workflows){0};
}

static bool is_loaded(const struct check_workflows *all, const char *path)
{
    for (size_t i = 0; i < all->count; i++)
        if (!strcmp(all->items[i]->file->path, path))
            return true;
    return false;
}

static void load_folder(struct check_workflows *all, const struct topology_node *n, const char *folder,
                        struct diag_list *diags)
{
    struct ls_error err = {0};
    char **paths;
    const struct value *there = value_find(n->at, WORKFLOWS);
    if (workflow_folder(folder, &paths, &err)) {
        struct diag *d = diag_add(diags, DIAG_DIRECTORY_MISSING, there ? there->at : n->place,
                                  "node \"%.64s\": workflows cannot be read", n->name);
        diag_hint_path(diags, d, folder, err.text);
        return;
    }
    for (size_t i = 0; paths[i]; i++)
        if (!is_loaded(all, paths[i]))
            check_workflow_load(all, paths[i]);
    workflow_paths_free(&paths);
}

/* The value of an option in the kind's struct; NULL: the kind has none of that name and type. */
static const void *option_value(const struct kind *kind, const void *options, const char *name,
                                enum kind_option_type type)
{
    const struct kind_option *o = kind->options;
    while (o && o->name && strcmp(o->name, name))
        o++;
    return o && o->name && o->type == type ? (const char *) options + o->offset : NULL;
}

static void add_pools(struct text_list *pools, const struct kind_text_map *own)
{
    pools->items = xrealloc(pools->items, (pools->count + own->count + 1) * sizeof(*pools->items));
    for (size_t i = 0; i < own->count; i++)
        pools->items[pools->count++] = xstrdup(own->keys[i]);
    pools->items[pools->count] = NULL;
}

/* The folders and files of a scheduler, and its pools. */
static void load_node(struct check_workflows *all, const struct topology_node *n, struct diag_list *diags)
{
    struct ls_error err = {0};
    void *options = xcalloc(1, n->builtin->options_size);
    if (!kind_options_read(n->builtin, n->options, options, &err)) {
        const struct kind_texts *texts = option_value(n->builtin, options, WORKFLOWS, KIND_TEXTS);
        const struct kind_text_map *pools = option_value(n->builtin, options, POOLS, KIND_TEXT_MAP);
        for (size_t i = 0; texts && i < texts->count; i++)
            load_folder(all, n, texts->items[i], diags);
        if (texts && !texts->items)
            load_folder(all, n, WORKFLOW_FOLDER, diags);
        if (pools)
            add_pools(&all->pools, pools);
    }
    kind_options_free(n->builtin, options);
    free(options);
}

/* ---- beside each other ---- */

struct known_id {
    const char *id;
    struct checked_workflow *in;
    size_t order;
};

static int by_id(const void *a, const void *b)
{
    const struct known_id *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : x->order < y->order ? -1 : 1;
}

static void check_ids(const struct check_workflows *all)
{
    struct known_id *ids = xcalloc(all->count + 1, sizeof *ids);
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i]->file->workflow)
            ids[count++] = (struct known_id){all->items[i]->file->workflow->id, all->items[i], i};
    if (count)
        qsort(ids, count, sizeof *ids, by_id);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(ids[i].id, ids[i - 1].id))
            continue;
        struct diag *d = diag_add(&ids[i].in->diags, DIAG_WORKFLOW_DUPLICATE, ids[i].in->file->workflow->place,
                                  "the workflow \"%.60s\" stands in %s, too", ids[i].id, ids[i - 1].in->file->path);
        diag_hint(d, "the scheduler takes the first file; give one of them another `id`");
    }
    free(ids);
}

/* ---- beside the topology ---- */

struct wiring {
    const struct topology *t;
    const struct check_workflows *all;
};

static bool overlaps(const struct text_list *list, const char *topic)
{
    for (size_t i = 0; i < list->count; i++)
        if (topic_overlap(list->items[i], topic))
            return true;
    return false;
}

static bool is_kept(const struct topology *t, const char *pattern)
{
    for (size_t i = 0; i < t->stream_count; i++)
        if (topology_stream_takes(t, &t->streams[i], pattern))
            return true;
    return false;
}

static bool node_takes(const struct topology *t, const char *topic)
{
    for (size_t i = 0; i < t->node_count; i++)
        if (overlaps(&t->nodes[i].takes, topic))
            return true;
    return false;
}

static bool is_taken(const struct wiring *w, const char *topic)
{
    if (node_takes(w->t, topic))
        return true;
    for (size_t i = 0; i < w->t->consumer_count; i++)
        if (overlaps(&w->t->consumers[i].takes, topic))
            return true;
    for (size_t i = 0; i < w->all->count; i++) {
        const struct workflow *other = w->all->items[i]->file->workflow;
        for (size_t k = 0; other && k < other->trigger_count; k++)
            if (topic_overlap(other->triggers[k].event, topic))
                return true;
    }
    return false;
}

/* The topics that a node's kind answers, where its table has them all; else NULL. */
static const struct kind_route *all_routes(const struct topology_node *n)
{
    return n->builtin && n->builtin->serves_routes_only ? n->builtin->routes : NULL;
}

static bool node_serves(const struct topology_node *n, const char *topic)
{
    const struct kind_route *route = all_routes(n);
    if (!overlaps(&n->serves, topic))
        return false;
    for (; route && route->method; route++)
        if (!strcmp(route->topic, topic))
            return true;
    return !all_routes(n);
}

struct served {
    const char **topics; /* NULL-terminated */
    size_t count, room;
};

static void add_served(struct served *served, const char *topic)
{
    served->topics = xgrow(served->topics, &served->room, served->count + 2, sizeof *served->topics);
    served->topics[served->count++] = topic;
    served->topics[served->count] = NULL;
}

/* NULL when some node serves the topic; else the nearest one that is served, or "". */
static const char *not_served(const struct topology *t, const char *topic)
{
    struct served served = {0};
    for (size_t i = 0; i < t->node_count; i++) {
        const struct topology_node *n = &t->nodes[i];
        if (node_serves(n, topic)) {
            free(served.topics);
            return NULL;
        }
        for (size_t k = 0; k < n->serves.count; k++)
            add_served(&served, n->serves.items[k]);
        for (const struct kind_route *route = all_routes(n); route && route->method; route++)
            add_served(&served, route->topic);
    }
    const char *near = served.topics ? diag_nearest(topic, served.topics) : NULL;
    free(served.topics);
    return near ? near : "";
}

static void check_trigger(const struct wiring *w, const struct trigger *trigger, struct diag_list *diags)
{
    if (is_kept(w->t, trigger->event))
        return;
    struct diag *d =
        diag_add(diags, DIAG_TRIGGER_UNROUTED, trigger->place,
                 "no stream of %s keeps \"%.60s\": the trigger never starts a run", w->t->file, trigger->event);
    diag_hint(d, "add the topic to a stream; a trigger reads streams, so that it misses nothing");
}

static void check_pool(const struct wiring *w, const struct task *task, struct diag_list *diags)
{
    const struct text_list *pools = &w->all->pools;
    if (!strcmp(task->pool, POOL_DEFAULT))
        return;
    for (size_t i = 0; i < pools->count; i++)
        if (!strcmp(pools->items[i], task->pool))
            return;
    struct diag *d = diag_add(diags, DIAG_POOL_UNKNOWN, task->place,
                              "task \"%.60s\" takes slots of the pool \"%.60s\", which no scheduler in %s has: nothing limits it",
                              task->id, task->pool, w->t->file);
    const char *near = pools->items ? diag_nearest(task->pool, (const char *const *) pools->items) : NULL;
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "give it to the scheduler: pools: { %.60s: 2 }", task->pool);
}

/* A topic with a template in it is known when the task runs. */
static void check_task(const struct wiring *w, const struct task *task, struct diag_list *diags)
{
    const char *near;
    check_pool(w, task, diags);
    if (task->type == TASK_COMMAND || strstr(task->topic, "{{"))
        return;
    if (task->type == TASK_EVENT) {
        if (is_kept(w->t, task->topic) || is_taken(w, task->topic))
            return;
        struct diag *d = diag_add(diags, DIAG_EVENT_UNTAKEN, task->place,
                                  "task \"%.60s\" publishes \"%.60s\", which nothing in %s takes", task->id,
                                  task->topic, w->t->file);
        diag_hint(d, "and no stream keeps it");
    } else if ((near = not_served(w->t, task->topic))) {
        struct diag *d = diag_add(diags, DIAG_REQUEST_UNSERVED, task->place,
                                  "task \"%.60s\" sends the request \"%.60s\", which no node in %s serves", task->id,
                                  task->topic, w->t->file);
        if (*near)
            diag_hint(d, "did you mean \"%s\"?", near);
        else
            diag_hint(d, "add a node that serves it, unless a program from outside does");
    }
}

static void check_workflow(const struct wiring *w, struct checked_workflow *c)
{
    const struct workflow *workflow = c->file->workflow;
    for (size_t i = 0; workflow && i < workflow->trigger_count; i++)
        check_trigger(w, &workflow->triggers[i], &c->diags);
    for (size_t i = 0; workflow && i < workflow->task_count; i++)
        check_task(w, &workflow->tasks[i], &c->diags);
    diag_sort(&c->diags);
}

static bool has_commands(const struct check_workflows *all)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct workflow *w = all->items[i]->file->workflow;
        for (size_t k = 0; w && k < w->task_count; k++)
            if (w->tasks[k].type == TASK_COMMAND)
                return true;
    }
    return false;
}

static void check_runner(const struct check_workflows *all, const struct topology *t,
                         const struct topology_node *scheduler, struct diag_list *diags)
{
    if (!scheduler || !has_commands(all) || node_takes(t, QUEUED))
        return;
    struct diag *d = diag_add(diags, DIAG_EVENT_UNTAKEN, scheduler->place,
                              "no node takes \"%s\", so nothing runs the commands of the workflows", QUEUED);
    diag_hint(d, "add a node of kind runner, unless one runs elsewhere");
}

void check_workflows_load(struct check_workflows *all, const struct topology *t, struct diag_list *diags)
{
    struct wiring w = {t, all};
    const struct topology_node *scheduler = NULL;
    for (size_t i = 0; i < t->node_count; i++) {
        const struct topology_node *n = &t->nodes[i];
        if (!n->builtin || strcmp(n->builtin->name, SCHEDULER))
            continue;
        load_node(all, n, diags);
        scheduler = n;
    }
    check_ids(all);
    for (size_t i = 0; i < all->count; i++)
        check_workflow(&w, all->items[i]);
    check_runner(all, t, scheduler, diags);
    diag_sort(diags);
}
