/* SPDX-License-Identifier: Apache-2.0 */
/* Values as workflow files write them, brought into the form that the option tables read: other systems' names,
 * durations, single texts for lists. Reports with the place in the file, and what the workflow keeps of it. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"
#include "workflow/expr_tree.h"
#include "workflow/load.h"

struct option_context load_context(struct loader *l, const char *what)
{
    return (struct option_context){.pool = &l->file->pool, .diags = l->diags, .what = what};
}

json_t *load_keep(struct loader *l, json_t *json)
{
    struct workflow_kept *k = l->file->kept;
    k->jsons = xgrow(k->jsons, &k->json_room, k->json_count + 1, sizeof(*k->jsons));
    return k->jsons[k->json_count++] = json;
}

struct expr *load_keep_expr(struct loader *l, struct expr *expr)
{
    struct workflow_kept *k = l->file->kept;
    k->exprs = xgrow(k->exprs, &k->expr_room, k->expr_count + 1, sizeof(*k->exprs));
    return k->exprs[k->expr_count++] = expr;
}

json_t *load_json(struct loader *l, const struct value *v)
{
    struct buf text = {0};
    value_json(v, false, &text);
    json_t *json = json_loadb((const char *) text.data, text.len, JSON_DECODE_ANY, NULL);
    buf_fini(&text);
    return load_keep(l, json ? json : json_null());
}

struct value *load_text_value(struct loader *l, struct place at, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct value *v = pool_alloc(&l->tree, 1, sizeof *v);
    *v = (struct value){.type = VALUE_TEXT, .plain = true, .at = at, .text = pool_text(&l->tree, text, strlen(text))};
    return v;
}

static size_t find_key(const struct value *map, const char *key)
{
    size_t i = 0;
    while (i < map->count && strcmp(map->keys[i]->text, key))
        i++;
    return i;
}

void load_set(struct loader *l, struct value *map, struct value *key, struct value *item)
{
    size_t i = find_key(map, key->text);
    if (i == map->count) {
        struct value **keys = pool_alloc(&l->tree, i + 1, sizeof *keys),
                     **items = pool_alloc(&l->tree, i + 1, sizeof *items);
        for (size_t k = 0; k < i; k++) {
            keys[k] = map->keys[k];
            items[k] = map->items[k];
        }
        map->keys = keys;
        map->items = items;
        map->count++;
    }
    map->keys[i] = key;
    map->items[i] = item;
}

static void drop(struct value *map, const char *key)
{
    size_t i = find_key(map, key);
    if (i == map->count)
        return;
    map->count--;
    for (; i < map->count; i++) {
        map->keys[i] = map->keys[i + 1];
        map->items[i] = map->items[i + 1];
    }
}

/* ---- durations: also plain seconds (90, 1.5) and ISO 8601 (PT5M, P1DT12H) ---- */

/* A number with at most nine digits before the point; *text behind it. */
static bool read_number(const char **text, double *number)
{
    size_t digits = strspn(*text, "0123456789"), point = (*text)[digits] == '.',
           rest = point ? strspn(*text + digits + 1, "0123456789") : 0;
    if (!digits || digits > 9 || (point && !rest))
        return false;
    *number = strtod(*text, NULL);
    *text += digits + point + rest;
    return true;
}

static bool seconds_ms(const char *text, double *ms)
{
    bool ok = read_number(&text, ms) && !*text;
    *ms *= 1000;
    return ok;
}

static bool iso_ms(const char *text, double *ms)
{
    static const struct {
        char letter;
        bool time;
        double ms;
    } UNITS[] = {
        {'W', false, 604800e3}, {'D', false, 86400e3}, {'H', true, 3600e3}, {'M', true, 60e3}, {'S', true, 1e3}};
    size_t unit = 0, units = sizeof UNITS / sizeof *UNITS, parts = 0;
    bool time = false;
    *ms = 0;
    if (*text++ != 'P')
        return false;
    while (*text) {
        double number;
        if (*text == 'T' && !time) {
            time = true;
            parts = 0; /* something must follow */
            text++;
        }
        if (!read_number(&text, &number))
            return false;
        while (unit < units && (UNITS[unit].letter != *text || UNITS[unit].time != time))
            unit++;
        if (unit == units)
            return false;
        *ms += number * UNITS[unit++].ms;
        parts++;
        text++;
    }
    return parts > 0;
}

static struct value *own_duration(struct loader *l, struct value *v)
{
    double ms = 0;
    if (v->type != VALUE_TEXT || v->broken || !(seconds_ms(v->text, &ms) || iso_ms(v->text, &ms)) || ms > 9e12)
        return v;
    long long whole = llround(ms);
    return load_text_value(l, v->at, "%llds%lldms", whole / 1000, whole % 1000);
}

/* ---- own names ---- */

/* A value whose option takes a list, and which is a single text. */
static struct value *own_list(struct loader *l, struct value *v)
{
    if (v->type != VALUE_TEXT || value_is_null(v) || !*v->text)
        return v;
    struct value *list = pool_alloc(&l->tree, 1, sizeof *list);
    *list = (struct value){
        .type = VALUE_LIST, .at = v->at, .count = 1, .items = pool_alloc(&l->tree, 1, sizeof *list->items)};
    list->items[0] = v;
    return list;
}

static void own_values(struct loader *l, struct value *map, const struct option_def *table)
{
    for (const struct option_def *opt = table; opt->name; opt++) {
        if (opt->type == OPTION_INLINE) {
            own_values(l, map, opt->table);
            continue;
        }
        size_t i = find_key(map, opt->name);
        if (i == map->count)
            continue;
        struct value *v = map->items[i];
        if (opt->type == OPTION_DURATION)
            map->items[i] = own_duration(l, v);
        else if (opt->type == OPTION_TEXTS)
            map->items[i] = own_list(l, v);
        else if (opt->type == OPTION_GROUP && v->type == VALUE_MAP)
            map->items[i] = load_own(l, v, NULL, opt->table);
    }
}

static void both_stand_here(struct loader *l, const struct value *key, const char *own, struct place other)
{
    struct diag *d =
        diag_add(l->diags, DIAG_KEY_DUPLICATE, key->at, "\"%.60s\" says the same as \"%s\"", key->text, own);
    diag_other(d, other, "which stands here");
    diag_hint(d, "leave one of them out");
}

struct value *load_own(struct loader *l, const struct value *map, const struct synonym *synonyms,
                       const struct option_def *table)
{
    struct value *own = pool_alloc(&l->tree, 1, sizeof *own);
    *own = *map;
    own->keys = pool_alloc(&l->tree, map->count, sizeof(*own->keys));
    own->items = pool_alloc(&l->tree, map->count, sizeof(*own->items));
    for (size_t i = 0; i < map->count; i++) {
        own->keys[i] = map->keys[i];
        own->items[i] = map->items[i];
    }
    for (const struct synonym *s = synonyms; s && s->given; s++) {
        size_t given = find_key(own, s->given), instead = find_key(own, s->own);
        if (given == own->count)
            continue;
        if (instead < own->count) {
            both_stand_here(l, own->keys[given], s->own, own->keys[instead]->at);
            drop(own, s->given);
        } else {
            own->keys[given] = load_text_value(l, own->keys[given]->at, "%s", s->own);
        }
    }
    own_values(l, own, table);
    return own;
}

/* Moves `key` of a task into its `retry` as `into`. */
static void fold(struct loader *l, struct value *map, struct value *retry, const char *key, const char *into)
{
    size_t i = find_key(map, key);
    if (i == map->count)
        return;
    struct value *given = map->keys[i], *item = map->items[i];
    const struct value *there = value_find_key(retry, into);
    if (there)
        both_stand_here(l, given, into, there->at);
    else
        load_set(l, retry, load_text_value(l, given->at, "%s", into),
                 !strcmp(into, "delay") ? own_duration(l, item) : item);
    drop(map, key);
}

void load_retry(struct loader *l, struct value *map)
{
    const struct value *old = value_find(map, "retry");
    const struct value *key = value_find_key(map, "retry"), *count = value_find_key(map, "retries"),
                       *delay = value_find_key(map, "retry_delay");
    long long number;
    bool short_form = old && value_int(old, &number);
    if ((!count && !delay && !short_form) || (old && !short_form && old->type != VALUE_MAP))
        return; /* as it is, or for the table to refuse */
    key = key ? key : count ? count : delay;
    struct value *retry = pool_alloc(&l->tree, 1, sizeof *retry);
    retry->type = VALUE_MAP;
    retry->at = old ? old->at : key->at;
    if (short_form) {
        load_set(l, retry, load_text_value(l, key->at, "limit"), load_text_value(l, old->at, "%lld", number));
    } else if (old) {
        for (size_t i = 0; i < old->count; i++)
            load_set(l, retry, old->keys[i], old->items[i]);
    }
    fold(l, map, retry, "retries", "limit");
    fold(l, map, retry, "retry_delay", "delay");
    load_set(l, map, load_text_value(l, key->at, "retry"), retry);
}

/* ---- single values ---- */

struct place load_inside(const struct value *v, int column)
{
    struct place at = v->at;
    int len = expr_column(v->text, strlen(v->text));
    if (v->outside || (at.width != len && (v->plain || at.width != len + 2)))
        return at; /* it was escaped, or goes over several lines */
    at.column += column + (at.width != len);
    at.width = 1;
    return at;
}

const struct value *load_map(struct loader *l, const struct value *v, const char *what)
{
    if (v->type == VALUE_MAP)
        return v;
    struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "%s must be a map of options", what);
    diag_hint(d, "{option: value, ...}, or one option a line, indented");
    return NULL;
}

char *load_topic(struct loader *l, const struct option_context *ctx, const char *name, const struct value *v,
                 bool pattern)
{
    struct text_list list = {0};
    struct option_def opt = {.name = name, .type = OPTION_PATTERNS};
    struct value single = *v, *items[1] = {&single},
                 as_list = {.type = VALUE_LIST, .at = v->at, .items = items, .count = 1};
    if (v->broken)
        return NULL;
    if (v->type != VALUE_TEXT || value_is_null(v)) {
        option_wrong(ctx, &opt, v, pattern ? "a topic, or a pattern of topics" : "a topic");
        return NULL;
    }
    if (!pattern && strpbrk(v->text, "*>")) {
        struct diag *d = diag_add(l->diags, DIAG_TOPIC_BAD, v->at,
                                  "%s: \"%s\" needs one topic, not the pattern \"%.60s\"", ctx->what, name, v->text);
        diag_hint(d, "an event has one topic; wildcards are for those who take events");
        return NULL;
    }
    if (!pattern && *v->text == '$') {
        diag_add(l->diags, DIAG_NAME_RESERVED, v->at,
                 "%s: \"%s\" cannot be \"%.60s\": topics that begin with $ belong to the broker", ctx->what, name,
                 v->text);
        return NULL;
    }
    option_set_list(ctx, &opt, &as_list, &list);
    return list.count ? list.items[0] : NULL;
}

bool load_id(struct loader *l, const struct value *v, const char *what)
{
    char shown[VALUE_SHOWN_SIZE];
    bool text = v->type == VALUE_TEXT && !value_is_null(v);
    size_t len = text ? strlen(v->text) : 0;
    if (v->broken)
        return false;
    if (len && len <= WORKFLOW_ID_MAX &&
        strspn(v->text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~:+-") == len)
        return true;
    struct diag *d =
        diag_add(l->diags, DIAG_NAME_BAD, v->at, "%s cannot be the id of a %s", value_shown(v, false, shown), what);
    diag_hint(d, "ids are made of letters, digits and _ . ~ : + -, and have at most %d characters", WORKFLOW_ID_MAX);
    return false;
}
