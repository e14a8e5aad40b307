/* SPDX-License-Identifier: Apache-2.0 */
/* One entry under `nodes:`: the options that all kinds have, then those of its own kind, whose tables turn into ours. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "topology/tables.h"

static size_t kind_count(const struct kind *const *kinds)
{
    size_t count = 0;
    while (kinds[count])
        count++;
    return count;
}

static size_t row_count(const struct option_def *table)
{
    size_t count = 0;
    while (table[count].name)
        count++;
    return count;
}

const struct option_def *node_options(struct pool *pool, const struct kind *const *kinds)
{
    size_t rows = row_count(OPTIONS_NODE), count = kind_count(kinds);
    const char **words = pool_alloc(pool, count + 2, sizeof *words);
    struct option_def *table = pool_alloc(pool, rows + 1, sizeof *table);
    memcpy(table, OPTIONS_NODE, rows * sizeof *table);
    words[0] = OPTIONS_NODE[0].words[0];
    for (size_t i = 0; i < count; i++)
        words[1 + i] = kinds[i]->name;
    table[0].words = words;
    return table;
}

/* Each option of a kind gets room for the largest type. */
union own_value {
    char *text;
    bool yes;
    int64_t number;
    double real;
    int word;
    struct text_list texts;
    struct text_map map;
};

const struct option_def *kind_options(struct pool *pool, const struct kind *kind, void **values)
{
    static const enum option_type TYPES[] = {
        [KIND_TEXT] = OPTION_TEXT,   [KIND_BOOL] = OPTION_BOOL,          [KIND_INT] = OPTION_INT,
        [KIND_NUMBER] = OPTION_NUMBER, [KIND_SIZE] = OPTION_SIZE,        [KIND_DURATION] = OPTION_DURATION,
        [KIND_ENUM] = OPTION_ENUM,   [KIND_ADDRESS] = OPTION_HOST_PORT,  [KIND_TEXTS] = OPTION_TEXTS,
        [KIND_TEXT_MAP] = OPTION_TEXT_MAP,
    };
    size_t count = 0;
    while (kind->options && kind->options[count].name)
        count++;
    struct option_def *table = pool_alloc(pool, count + 1, sizeof *table);
    for (size_t i = 0; i < count; i++) {
        const struct kind_option *o = &kind->options[i];
        unsigned flags = (o->flags & KIND_REQUIRED ? OPTION_REQUIRED : 0) | (o->flags & KIND_SECRET ? OPTION_SECRET : 0);
        bool bounded = o->type == KIND_INT || o->type == KIND_SIZE || o->type == KIND_DURATION;
        table[i] = (struct option_def){.name = o->name, .type = TYPES[o->type], .flags = flags,
                                       .offset = i * sizeof(union own_value), .fallback = o->fallback,
                                       .min = bounded ? o->min : 0, .max = bounded ? o->max : 0, .words = o->words,
                                       .help = o->help};
    }
    if (values)
        *values = pool_alloc(pool, count, sizeof(union own_value));
    return table;
}

const char *topology_kind_name(const struct topology_node *n)
{
    return n->builtin ? n->builtin->name : OPTIONS_NODE[0].words[0];
}

/* ---- what a node of a built-in kind is told: its options as JSON ---- */

static json_t *texts_json(const struct text_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

static json_t *map_json(const struct text_map *map)
{
    json_t *object = json_object();
    for (size_t i = 0; i < map->count; i++)
        json_object_set_new(object, map->keys[i], json_string(map->values[i]));
    return object;
}

static json_t *own_json(const struct option_def *opt, const union own_value *v)
{
    switch (opt->type) {
    case OPTION_BOOL: return json_boolean(v->yes);
    case OPTION_INT:
    case OPTION_SIZE:
    case OPTION_DURATION: return json_integer(v->number);
    case OPTION_NUMBER: return json_real(v->real);
    case OPTION_ENUM: return json_string(opt->words[v->word]);
    case OPTION_TEXTS: return texts_json(&v->texts);
    case OPTION_TEXT_MAP: return map_json(&v->map);
    default: return json_string(v->text);
    }
}

/* Only what the file sets: the kind knows its own defaults. */
static char *options_json(struct pool *pool, const struct topology_node *n)
{
    json_t *object = json_object();
    const union own_value *values = n->own_values;
    for (size_t i = 0; n->own[i].name; i++)
        if (value_find(n->at, n->own[i].name))
            json_object_set_new(object, n->own[i].name, own_json(&n->own[i], &values[i]));
    char *text = json_dumps(object, JSON_COMPACT), *kept = pool_text(pool, text, strlen(text));
    free(text);
    json_decref(object);
    return kept;
}

/* ---- checks that only the kind can make ---- */

static void check_options(struct diag_list *diags, const struct topology_node *n)
{
    struct kind_problem problem = {0};
    struct ls_error err = {0};
    void *options = xcalloc(1, n->builtin->options_size + 1);
    if (kind_options_read(n->builtin, n->options, options, &err) < 0) {
        diag_add(diags, DIAG_NODE_OPTION_CONFLICT, n->place, "node \"%.64s\": %s", n->name, err.text);
    } else if (n->builtin->check && !n->builtin->check(options, &problem)) {
        struct place at = problem.option ? option_place(n->at, problem.option, n->place) : n->place;
        struct diag *d = diag_add(diags, DIAG_NODE_OPTION_CONFLICT, at, "node \"%.64s\": %s", n->name, problem.text);
        if (*problem.hint)
            diag_hint(d, "%s", problem.hint);
    }
    kind_options_free(n->builtin, options);
    free(options);
}

/* ---- wiring: the kind's, where the file says nothing ---- */

static void default_wiring(struct pool *pool, const struct topology_node *n, const char *key,
                           const char *const *defaults, struct text_list *list)
{
    size_t count = 0;
    if (!defaults || value_find(n->at, key))
        return;
    while (defaults[count])
        count++;
    list->items = pool_alloc(pool, count + 1, sizeof *list->items);
    list->places = pool_alloc(pool, count + 1, sizeof *list->places);
    for (list->count = 0; list->count < count; list->count++) {
        list->items[list->count] = pool_text(pool, defaults[list->count], strlen(defaults[list->count]));
        list->places[list->count] = n->place;
    }
}

static void kind_cannot(struct diag_list *diags, const struct topology_node *n, const char *key, const char *what)
{
    const struct value *name = value_find_key(n->at, key), *v = value_find(n->at, key);
    if (!name || (v->type == VALUE_LIST && !v->count))
        return;
    struct diag *d = diag_add(diags, DIAG_KIND_CANNOT, name->at, "node \"%.64s\": \"%s\" cannot work, for the kind %s %s",
                              n->name, key, n->builtin->name, what);
    diag_hint(d, "leave it out; `lineshaft help node %s` tells what the kind does", n->builtin->name);
}

/* What the kind gives and asks for with these options; they may be wrong, which was said before. */
static struct kind_wiring wiring_of(const struct topology_node *n)
{
    struct kind_wiring wiring = {n->builtin->gives, n->builtin->asks};
    void *options = xcalloc(1, n->builtin->options_size + 1);
    const struct kind_wiring *own = n->builtin->wiring && kind_options_read(n->builtin, n->options, options, NULL) == 0
                                        ? n->builtin->wiring(options)
                                        : NULL;
    if (own)
        wiring = *own;
    kind_options_free(n->builtin, options);
    free(options);
    return wiring;
}

static void wire(struct pool *pool, struct diag_list *diags, struct topology_node *n)
{
    const struct kind *kind = n->builtin;
    const struct kind_wiring wiring = wiring_of(n);
    default_wiring(pool, n, "takes", kind->takes, &n->takes);
    default_wiring(pool, n, "gives", wiring.gives, &n->gives);
    default_wiring(pool, n, "serves", kind->serves, &n->serves);
    default_wiring(pool, n, "asks", wiring.asks, &n->asks);
    if (!kind->takes) {
        kind_cannot(diags, n, "takes", "takes no events");
        kind_cannot(diags, n, "group", "takes no events");
        n->takes = (struct text_list){0};
        n->group = NULL;
    }
    if (!kind->serves) {
        kind_cannot(diags, n, "serves", "answers no requests");
        n->serves = (struct text_list){0};
    }
}

static bool has_own(const struct topology_node *n, const char *name)
{
    for (const struct option_def *own = n->own; own && own->name; own++)
        if (strcmp(own->name, name) == 0)
            return true;
    return false;
}

static void set_slots(struct diag_list *diags, struct topology_node *n)
{
    const struct value *key = value_find_key(n->at, "slots");
    if (!n->serves.count) {
        if (key && !has_own(n, "slots")) /* a kind may give the word a sense of its own */
            diag_add(diags, DIAG_OPTION_UNUSED, key->at,
                     "node \"%.64s\": \"slots\" has no effect, for the node answers no requests", n->name);
        n->slots = 0;
    } else if (!n->slots) {
        n->slots = n->builtin && n->builtin->slots ? n->builtin->slots : 1;
    }
}

/* ---- the entry ---- */

/* Of an entry whose kind is unknown or missing, an option of any kind may be meant. */
static void check_keys(const struct option_context *ctx, const struct topology *t, const struct option_def *common,
                       const struct topology_node *n)
{
    const struct option_def **tables = xcalloc(kind_count(t->kinds) + 3, sizeof *tables);
    size_t count = 0;
    tables[count++] = common;
    if (n->own)
        tables[count++] = n->own;
    else
        tables[count++] = OPTIONS_EXEC;
    for (size_t i = 0; !n->own && t->kinds[i]; i++)
        tables[count++] = kind_options(ctx->pool, t->kinds[i], NULL);
    options_check_keys(ctx, tables, n->at);
    free(tables);
}

/* The rows of the common table behind the first, `kind`, without those that the kind has for itself. */
static const struct option_def *common_rows(struct pool *pool, const struct option_def *common, const struct topology_node *n)
{
    struct option_def *rows = pool_alloc(pool, row_count(common) + 1, sizeof *rows);
    size_t count = 0;
    for (const struct option_def *o = common + 1; o->name; o++)
        if (!has_own(n, o->name))
            rows[count++] = *o;
    return rows;
}

static void find_kind(struct topology *t, struct topology_node *n)
{
    if (n->kind == 0) {
        n->own = OPTIONS_EXEC;
        n->own_values = n;
    } else if (n->kind > 0) {
        n->builtin = t->kinds[n->kind - 1];
        n->own = kind_options(&t->pool, n->builtin, &n->own_values);
    }
}

void node_load(struct topology *t, struct diag_list *diags, const struct option_def *common, struct topology_node *n)
{
    char *what = xasprintf("node \"%.64s\"", n->name);
    struct option_context ctx = {.pool = &t->pool, .diags = diags, .what = what};
    size_t errors = diags->error_count;
    n->kind = -1;
    const struct option_def kind[] = {common[0], {0}};
    options_read(&ctx, kind, n->at, n->place, n);
    find_kind(t, n);
    options_read(&ctx, common_rows(&t->pool, common, n), n->at, n->place, n);
    if (n->at)
        check_keys(&ctx, t, common, n);
    if (n->own)
        options_read(&ctx, n->own, n->at, n->place, n->own_values);
    if (n->builtin) {
        n->options = options_json(&t->pool, n);
        if (diags->error_count == errors)
            check_options(diags, n);
        wire(&t->pool, diags, n);
    } else if (!n->options) {
        n->options = pool_text(&t->pool, "{}", 2);
    }
    set_slots(diags, n);
    free(what);
}
