/* SPDX-License-Identifier: Apache-2.0 */
/* The `tasks` of a workflow, one by one: their options with `defaults` merged in, and what they do. How they hang
 * together is in load_graph.c. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/xmem.h"
#include "workflow/load.h"

/* ---- by id ---- */

static uint64_t hash_of(const char *id)
{
    return XXH3_64bits(id, strlen(id));
}

struct draft *load_task_find(struct loader *l, const char *id)
{
    struct draft *d = map_get(&l->ids, hash_of(id));
    while (d && strcmp(d->task.id, id))
        d = d->same_hash;
    return d;
}

const char *load_task_near(struct loader *l, const char *id)
{
    if (l->diags->count > NEAR_MAX)
        return NULL;
    if (!l->id_names) {
        l->id_names = xcalloc(l->draft_count + 1, sizeof(*l->id_names));
        size_t count = 0;
        for (size_t i = 0; i < l->draft_count; i++)
            if (*l->drafts[i].task.id)
                l->id_names[count++] = l->drafts[i].task.id;
    }
    return diag_nearest(id, l->id_names);
}

static void take_id(struct loader *l, struct draft *d, const struct value *v)
{
    struct draft *other = load_task_find(l, v->text);
    d->task.id = pool_text(&l->file->pool, v->text, strlen(v->text));
    d->task.place = v->at;
    if (other) {
        struct diag *diag = diag_add(l->diags, DIAG_ID_DUPLICATE, v->at, "there are two tasks \"%.60s\"", v->text);
        diag_other(diag, other->task.place, "the first is here");
        return;
    }
    d->same_hash = map_get(&l->ids, hash_of(v->text));
    map_put(&l->ids, hash_of(v->text), d);
}

/* ---- options ---- */

/* Entries of `map`, and those of `fallback` that it has not; `env` and `retry` are merged in turn. */
static struct value *merge(struct loader *l, const struct value *map, const struct value *fallback, bool inner)
{
    struct value *all = pool_alloc(&l->tree, 1, sizeof *all);
    *all = *map;
    all->keys = pool_alloc(&l->tree, map->count + fallback->count, sizeof(*all->keys));
    all->items = pool_alloc(&l->tree, map->count + fallback->count, sizeof(*all->items));
    for (size_t i = 0; i < map->count; i++) {
        const char *key = map->keys[i]->text;
        bool merged = !inner && (!strcmp(key, "env") || !strcmp(key, "retry"));
        const struct value *under = merged ? value_find(fallback, key) : NULL;
        bool both = under && under->type == VALUE_MAP && map->items[i]->type == VALUE_MAP;
        all->keys[i] = map->keys[i];
        all->items[i] = both ? merge(l, map->items[i], under, true) : map->items[i];
    }
    for (size_t i = 0; i < fallback->count; i++) {
        if (value_find_key(map, fallback->keys[i]->text))
            continue;
        all->keys[all->count] = fallback->keys[i];
        all->items[all->count++] = fallback->items[i];
    }
    return all;
}

static void load_exit_codes(struct loader *l, const char *what, const struct value *v, struct retry *retry)
{
    if (v->type == VALUE_LIST)
        retry->exit_codes.items = pool_alloc(&l->file->pool, v->count, sizeof *retry->exit_codes.items);
    for (size_t i = 0; v->type == VALUE_LIST && i < v->count; i++) {
        long long code;
        if (v->items[i]->broken)
            continue;
        if (value_int(v->items[i], &code) && code >= 1 && code <= 255) {
            retry->exit_codes.items[retry->exit_codes.count++] = code;
            continue;
        }
        struct diag *d =
            diag_add(l->diags, DIAG_VALUE_RANGE, v->items[i]->at, "%s: \"exit_codes\" are numbers from 1 to 255", what);
        diag_hint(d, "exit_codes: [75, 111]");
    }
    if (v->type != VALUE_LIST && !v->broken) {
        struct diag *d =
            diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "%s: \"exit_codes\" must be a list of numbers", what);
        diag_hint(d, "exit_codes: [75, 111]");
    }
}

/* What the tables cannot say about `retry`. */
static void load_retry_rest(struct loader *l, const char *what, const struct value *map, struct retry *retry)
{
    const struct value *given = value_find(map, "retry"), *backoff = value_find(given, "backoff"),
                       *codes = value_find(given, "exit_codes");
    if (backoff && !(retry->backoff >= 1 && retry->backoff <= 100)) {
        diag_add(l->diags, DIAG_VALUE_RANGE, backoff->at, "%s: \"backoff\" must be from 1 to 100", what);
        retry->backoff = 1;
    }
    if (codes && !value_is_null(codes))
        load_exit_codes(l, what, codes, retry);
}

static void load_defaults(struct loader *l)
{
    static const char WHAT[] = "\"defaults\"";
    const struct value *v = value_find(l->root, "defaults");
    struct option_context ctx = load_context(l, WHAT);
    struct draft scratch = {0};
    size_t errors = l->diags->error_count;
    if (!v || value_is_null(v) || !load_map(l, v, WHAT))
        return;
    ctx.elsewhere = ELSEWHERE_TASK;
    struct value *own = load_own(l, v, SYNONYMS_TASK, OPTIONS_TASK_DEFAULTS);
    load_retry(l, own);
    l->defaults = own;
    options_parse(&ctx, OPTIONS_TASK_DEFAULTS, own, own->at, &scratch);
    load_retry_rest(l, WHAT, own, &scratch.task.retry);
    load_defaults_expressions(l);
    if (l->diags->error_count > errors)
        l->defaults = NULL; /* or each task would report them again */
}

/* ---- what it does ---- */

char *load_task_what(const struct draft *d)
{
    return *d->task.id ? xasprintf("task \"%.64s\"", d->task.id) : xasprintf("task %zu", d->file_order + 1);
}

static void unused(struct loader *l, const struct draft *d, const char *key)
{
    const struct value *there = value_find_key(d->own, key);
    char *what = load_task_what(d);
    if (there)
        diag_add(l->diags, DIAG_OPTION_UNUSED, there->at, "%s: \"%s\" has no effect, for the task is of type %s", what,
                 key, TASK_TYPES[d->task.type]);
    free(what);
}

static void wrong_action(struct loader *l, const struct draft *d, struct place at, const char *problem)
{
    char *what = load_task_what(d);
    struct diag *diag = diag_add(l->diags, DIAG_ACTION_BAD, at, "%s %s", what, problem);
    diag_hint(diag, "a task has one of these: command: [program, argument], event: topic, request: topic");
    free(what);
}

/* Which of command, event and request; false: it was reported. */
static bool find_action(struct loader *l, struct draft *d, struct place at)
{
    const struct value *key = NULL;
    int count = 0, found = 0;
    for (int i = 0; TASK_TYPES[i]; i++) {
        const struct value *there = value_find_key(d->own, TASK_TYPES[i]);
        count += there != NULL;
        found = there ? i : found;
        key = there ? there : key;
    }
    d->task.type = (enum task_type) found;
    if (count > 1)
        wrong_action(l, d, key->at, "is to do several things at once");
    else if (!count)
        wrong_action(l, d, at, "does not say what to do");
    else if (d->type >= 0 && d->type != found)
        wrong_action(l, d, value_find(d->own, "type")->at, "does not do what its \"type\" says");
    return count == 1;
}

static json_t *texts_json(const struct text_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

static void load_command(struct loader *l, struct draft *d)
{
    const struct value *v = value_find(d->own, "command");
    if (v->type == VALUE_LIST && !v->count) {
        char *what = load_task_what(d);
        struct diag *diag = diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "%s: \"command\" has no value", what);
        diag_hint(diag, "it takes: a list of texts: [program, argument], or one text for the shell");
        free(what);
    }
    d->task.command = load_keep(l, texts_json(&d->command));
    d->task.environment = load_keep(l, json_object());
    for (size_t i = 0; i < d->environment.count; i++)
        json_object_set_new(d->task.environment, d->environment.keys[i], json_string(d->environment.values[i]));
    unused(l, d, "data");
}

static void load_message(struct loader *l, struct draft *d)
{
    static const char *const UNUSED[] = {"env", "directory"};
    bool event = d->task.type == TASK_EVENT;
    const char *key = event ? "event" : "request";
    char *what = load_task_what(d);
    struct option_context ctx = load_context(l, what);
    const struct value *topic = value_find(d->own, key), *data = value_find(d->own, "data");
    d->task.topic = event ? d->event : d->request;
    if (d->task.topic && !strstr(d->task.topic, "{{"))
        d->task.topic = load_topic(l, &ctx, key, topic, false);
    if (data)
        d->task.data = load_json(l, data);
    for (size_t i = 0; i < sizeof UNUSED / sizeof *UNUSED; i++)
        unused(l, d, UNUSED[i]);
    free(what);
}

/* ---- the task ---- */

static void load_task(struct loader *l, struct draft *d, const struct value *v)
{
    static const struct option_def *const TABLES[] = {OPTIONS_TASK, NULL};
    char *what = load_task_what(d);
    struct option_context ctx = load_context(l, what);
    ctx.elsewhere = ELSEWHERE_TASK;
    struct value *own = load_own(l, v, SYNONYMS_TASK, OPTIONS_TASK);
    load_retry(l, own);
    d->own = own;
    d->map = l->defaults ? merge(l, own, l->defaults, false) : own;
    d->type = -1;
    options_check_keys(&ctx, TABLES, own);
    options_read(&ctx, OPTIONS_TASK, d->map, d->task.place, d);
    load_retry_rest(l, what, d->map, &d->task.retry);
    if (find_action(l, d, d->task.place)) {
        if (d->task.type == TASK_COMMAND)
            load_command(l, d);
        else
            load_message(l, d);
    }
    const struct value *rule = value_find_key(own, "trigger_rule");
    if (rule && !d->depends_on.count)
        diag_add(l->diags, DIAG_OPTION_UNUSED, rule->at,
                 "%s: \"trigger_rule\" has no effect, for the task depends on nothing", what);
    free(what);
}

/* In a list, `id` stands inside; in a map, it is the key. */
static void name_task(struct loader *l, struct draft *d, const struct value *key, const struct value *v)
{
    const struct value *inner = value_find(v, "id"), *id = key ? key : inner;
    d->task.id = pool_text(&l->file->pool, "", 0);
    d->task.place = key ? key->at : v->at;
    if (key && inner && (inner->type != VALUE_TEXT || strcmp(inner->text, key->text))) {
        struct diag *diag = diag_add(l->diags, DIAG_KEY_DUPLICATE, value_find_key(v, "id")->at,
                                     "the task \"%.60s\" has another id inside", key->text);
        diag_hint(diag, "in a map of tasks the key is the id: leave the inner one out");
    }
    if (id && load_id(l, id, "task"))
        take_id(l, d, id);
    else if (!id)
        diag_add(l->diags, DIAG_KEY_MISSING, v->at, "task %zu needs the option \"id\"", d->file_order + 1);
}

static bool tasks_usable(struct loader *l, const struct value *v)
{
    if (!v || v->broken)
        return false;
    if (v->type == VALUE_TEXT || !v->count) {
        struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, v->at,
                                  value_is_null(v) || v->type != VALUE_TEXT ? "the workflow has no tasks"
                                                                            : "\"tasks\" must be a list or a map");
        diag_hint(d, "tasks: [{id: first, command: [program, argument]}]");
        return false;
    }
    if (v->count <= WORKFLOW_TASKS_MAX)
        return true;
    struct diag *d = diag_add(l->diags, DIAG_VALUE_RANGE, v->at, "the workflow has %zu tasks", v->count);
    diag_hint(d, "at most %d; a task can start another workflow by an event", WORKFLOW_TASKS_MAX);
    return false;
}

void load_tasks(struct loader *l)
{
    const struct value *v = value_find(l->root, "tasks");
    load_defaults(l);
    if (!v)
        diag_add(l->diags, DIAG_KEY_MISSING, (struct place){1, 1, 0}, "the workflow needs the option \"tasks\"");
    if (!tasks_usable(l, v))
        return;
    l->drafts = pool_alloc(&l->tree, v->count, sizeof *l->drafts);
    for (size_t i = 0; i < v->count; i++) {
        struct draft *d = &l->drafts[l->draft_count];
        char what[32];
        snprintf(what, sizeof what, "task %zu", i + 1);
        d->file_order = l->draft_count;
        if (v->items[i]->broken || !load_map(l, v->items[i], v->type == VALUE_MAP ? "a task" : what))
            continue;
        l->draft_count++;
        name_task(l, d, v->type == VALUE_MAP ? v->keys[i] : NULL, v->items[i]);
        load_task(l, d, v->items[i]);
    }
    load_graph(l);
    for (size_t i = 0; i < l->draft_count; i++)
        load_task_expressions(l, &l->drafts[i]);
    load_graph_keep(l);
}
