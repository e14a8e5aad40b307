/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML tree: libyaml events become values that know their place; depth, size and aliases are bounded here.
 * Expansion of ${env:} and ${file:} is in expand.c, meaning in option.c and model.c. */
#include "yaml/value.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>

#include "lib/map.h"
#include "lib/xmem.h"

#define MAP_LOOK_MAX 32 /* keys that are compared one by one */

void *pool_alloc(struct pool *pool, size_t count, size_t size)
{
    pool->items = xgrow(pool->items, &pool->room, pool->count + 1, sizeof *pool->items);
    return pool->items[pool->count++] = xcalloc(count ? count : 1, size);
}

char *pool_text(struct pool *pool, const char *text, size_t len)
{
    char *copy = pool_alloc(pool, len + 1, 1);
    memcpy(copy, text, len);
    return copy;
}

void pool_fini(struct pool *pool)
{
    for (size_t i = 0; i < pool->count; i++)
        free(pool->items[i]);
    free(pool->items);
    *pool = (struct pool){0};
}

struct builder {
    yaml_parser_t parser;
    struct pool *pool;
    struct diag_list *diags;
    const struct value_form *form;
    struct value **stack; /* children of the open lists and maps */
    size_t top, room;
    size_t weight;
    struct {
        char *name;
        struct value *value;
    } anchors[VALUE_ANCHORS_MAX];
    size_t anchor_count;
    bool stopped; /* a problem after which nothing more can be read */
};

static struct place place_of(yaml_mark_t from, yaml_mark_t to)
{
    int width = from.line == to.line ? (int) (to.column - from.column) : 1;
    return (struct place){(int) from.line + 1, (int) from.column + 1, width};
}

static struct diag *refuse(struct builder *b, enum diag_code code, struct place at, const char *text)
{
    b->stopped = true;
    return diag_add(b->diags, code, at, "%s", text);
}

/* What stands at the place of a scanner error tells which of the usual slips it was. */
static void hint_at(struct diag *d, const struct diag_list *diags, const yaml_parser_t *parser)
{
    bool alias = parser->context && strstr(parser->context, "alias");
    const yaml_mark_t *mark = alias ? &parser->context_mark : &parser->problem_mark;
    const char *at = diags->text;
    for (size_t left = mark->index; *at && left; at++) /* the index counts characters, not bytes */
        left -= (at[1] & 0xc0) != 0x80;
    char c = *at;
    if (c == '\t')
        diag_hint(d, "YAML does not take tabs for indentation: use spaces");
    else if (c == '>' || c == '*')
        diag_hint(d, "a pattern that begins with %c needs quotes: \"%c\"", c, c);
    else if (c == '@' || c == '`' || c == '%')
        diag_hint(d, "a text that begins with %c needs quotes", c);
}

static void syntax_error(struct builder *b)
{
    yaml_parser_t *p = &b->parser;
    const char *problem = p->problem ? p->problem : "unreadable";
    if (p->error == YAML_READER_ERROR) {
        refuse(b, DIAG_YAML_SYNTAX, (struct place){0}, "the file is not text in UTF-8");
        return;
    }
    struct place at = place_of(p->problem_mark, p->problem_mark);
    struct place begin = place_of(p->context_mark, p->context_mark);
    if (p->context && strstr(p->context, "quoted scalar") && strstr(problem, "end of stream")) {
        struct diag *d = refuse(b, DIAG_YAML_SYNTAX, begin, "the quote that begins here is never closed");
        diag_hint(d, "close it with the same quote");
        return;
    }
    b->stopped = true;
    struct diag *d = diag_add(b->diags, DIAG_YAML_SYNTAX, at, "the file is not valid YAML: %s%s%s", problem,
                              p->context ? " " : "", p->context ? p->context : "");
    if (p->context && (begin.line != at.line || begin.column != at.column))
        diag_other(d, begin, "it begins here");
    hint_at(d, b->diags, p);
}

/* The next event; false after an error. The caller deletes the event. */
static bool next_event(struct builder *b, yaml_event_t *event)
{
    if (b->stopped)
        return false;
    if (yaml_parser_parse(&b->parser, event))
        return true;
    syntax_error(b);
    return false;
}

static struct value *new_value(struct builder *b, enum value_type type, const yaml_event_t *event)
{
    struct value *v = pool_alloc(b->pool, 1, sizeof *v);
    v->type = type;
    v->at = place_of(event->start_mark, event->end_mark);
    v->weight = 1;
    v->height = 1;
    return v;
}

/* Counts a finished value; an aliased one counts again with all it holds. */
static bool weigh(struct builder *b, const struct value *v, size_t weight)
{
    b->weight += weight;
    if (b->weight <= b->form->weight_max)
        return true;
    b->stopped = true;
    struct diag *d = diag_add(b->diags, DIAG_YAML_TOO_BIG, v->at, "the file holds more values than a %s can need", b->form->what);
    diag_hint(d, "at most %zu values, counting those that aliases repeat", b->form->weight_max);
    return false;
}

static void push(struct builder *b, struct value *v)
{
    b->stack = xgrow(b->stack, &b->room, b->top + 1, sizeof(*b->stack));
    b->stack[b->top++] = v;
}

static bool remember_anchor(struct builder *b, const yaml_char_t *name, struct value *v)
{
    if (!name)
        return true;
    const char *text = (const char *) name;
    if (b->anchor_count == VALUE_ANCHORS_MAX) {
        refuse(b, DIAG_YAML_TOO_BIG, v->at, "the file has more than 500 anchors");
        return false;
    }
    b->anchors[b->anchor_count].name = pool_text(b->pool, text, strlen(text));
    b->anchors[b->anchor_count++].value = v;
    return true;
}

/* The last anchor of a name counts, as YAML has it; one that is still open cannot be meant. */
static struct value *find_anchor(struct builder *b, const yaml_event_t *event)
{
    const char *name = (const char *) event->data.alias.anchor;
    struct place at = place_of(event->start_mark, event->end_mark);
    for (size_t i = b->anchor_count; i-- > 0;) {
        struct value *v = b->anchors[i].value;
        if (!strcmp(b->anchors[i].name, name))
            return weigh(b, v, v->weight) ? v : NULL;
    }
    b->stopped = true;
    struct diag *d = diag_add(b->diags, DIAG_YAML_SYNTAX, at, "there is no anchor \"&%.60s\" before this alias", name);
    diag_hint(d, "a pattern that begins with * needs quotes: \"*\"");
    return NULL;
}

static bool has_tag(const yaml_event_t *event)
{
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.tag) ||
           (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.tag) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.tag);
}

static struct value *build(struct builder *b, const yaml_event_t *event, int depth, bool key);

static struct value *build_scalar(struct builder *b, const yaml_event_t *event, bool key)
{
    struct value *v = new_value(b, VALUE_TEXT, event);
    const char *text = (const char *) event->data.scalar.value;
    size_t len = event->data.scalar.length;
    v->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(text, 0, len))
        diag_add(b->diags, DIAG_YAML_UNSUPPORTED, v->at, "the text holds a NUL character");
    v->text = pool_text(b->pool, text, strlen(text));
    if (!key)
        value_expand(b->pool, v, b->diags);
    return v;
}

/* Reads children up to the end event; flow collections on one line are underlined whole. */
static bool read_children(struct builder *b, struct value *v, yaml_event_type_t end, bool flow, int depth)
{
    for (;;) {
        yaml_event_t event;
        if (!next_event(b, &event))
            return false;
        bool done = event.type == end;
        if (done && flow && (int) event.end_mark.line + 1 == v->at.line)
            v->at.width = (int) event.end_mark.column + 1 - v->at.column;
        bool is_key = v->type == VALUE_MAP && !(v->count & 1);
        struct value *child = done ? NULL : build(b, &event, depth + 1, is_key);
        yaml_event_delete(&event);
        if (!child)
            return done && !b->stopped;
        push(b, child);
        v->count++;
        v->weight += child->weight;
        v->height = child->height >= v->height ? child->height + 1 : v->height;
    }
}

/* The same key before it; `seen` finds it in maps that are too large to look through. */
static const struct value *same_key(const struct value *map, struct value *key, struct map *seen)
{
    if (map->count >= MAP_LOOK_MAX) {
        uint64_t hash = XXH3_64bits(key->text, strlen(key->text));
        const struct value *other = map_get(seen, hash);
        if (!other)
            map_put(seen, hash, key);
        if (!other || !strcmp(other->text, key->text))
            return other;
    }
    for (size_t i = 0; i < map->count; i++)
        if (!strcmp(map->keys[i]->text, key->text))
            return map->keys[i];
    return NULL;
}

static bool take_key(struct builder *b, struct value *map, struct value *key, struct map *seen)
{
    if (key->type != VALUE_TEXT || !*key->text) {
        struct diag *d = diag_add(b->diags, DIAG_YAML_UNSUPPORTED, key->at, "a key must be a word, not %s",
                                  key->type == VALUE_TEXT ? "empty" : "a list or a map");
        if (key->type == VALUE_MAP)
            diag_hint(d, "a text that begins with { needs quotes: \"{{ inputs.name }}\"");
        return false;
    }
    if (!strcmp(key->text, "<<") && key->plain) {
        struct diag *d = diag_add(b->diags, DIAG_YAML_UNSUPPORTED, key->at, "merge keys (<<) are not supported");
        diag_hint(d, "an alias can stand for a whole value: retain: *retain");
        return false;
    }
    const struct value *other = same_key(map, key, seen);
    if (!other)
        return true;
    struct diag *d = diag_add(b->diags, DIAG_KEY_DUPLICATE, key->at, "the key \"%.60s\" stands here twice", key->text);
    diag_other(d, other->at, "first defined here");
    return false;
}

/* Moves the children from the stack into the value. */
static void take_children(struct builder *b, struct value *v, size_t bottom)
{
    size_t count = b->top - bottom;
    struct value **children = count ? b->stack + bottom : NULL;
    b->top = bottom;
    v->count = 0;
    if (v->type == VALUE_LIST) {
        v->items = pool_alloc(b->pool, count, sizeof *v->items);
        for (; v->count < count; v->count++)
            v->items[v->count] = children[v->count];
        return;
    }
    v->keys = pool_alloc(b->pool, count / 2, sizeof *v->keys);
    v->items = pool_alloc(b->pool, count / 2, sizeof *v->items);
    struct map seen = {0};
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (v->count == MAP_LOOK_MAX && !seen.used)
            for (size_t k = 0; k < v->count; k++)
                map_put(&seen, XXH3_64bits(v->keys[k]->text, strlen(v->keys[k]->text)), v->keys[k]);
        if (!take_key(b, v, children[i], &seen))
            continue;
        v->keys[v->count] = children[i];
        v->items[v->count++] = children[i + 1];
    }
    map_fini(&seen);
}

static struct value *build_collection(struct builder *b, const yaml_event_t *event, int depth)
{
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    bool flow = list ? event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE
                     : event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    struct value *v = new_value(b, list ? VALUE_LIST : VALUE_MAP, event);
    size_t bottom = b->top;
    if (!read_children(b, v, list ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT, flow, depth)) {
        b->top = bottom;
        return NULL;
    }
    take_children(b, v, bottom);
    return v;
}

static struct value *build(struct builder *b, const yaml_event_t *event, int depth, bool key)
{
    struct place at = place_of(event->start_mark, event->end_mark);
    struct value *alias = event->type == YAML_ALIAS_EVENT ? find_anchor(b, event) : NULL;
    if (event->type == YAML_ALIAS_EVENT && !alias)
        return NULL;
    if (depth + (alias ? alias->height : 1) > VALUE_DEPTH_MAX) {
        struct diag *d = refuse(b, DIAG_YAML_TOO_DEEP, at, "lists and maps are nested too deep here");
        diag_hint(d, "at most %d levels, counting those that aliases repeat", VALUE_DEPTH_MAX);
        return NULL;
    }
    if (alias)
        return alias;
    if (has_tag(event)) {
        struct diag *d = diag_add(b->diags, DIAG_YAML_UNSUPPORTED, at, "YAML tags (!...) are not supported");
        diag_hint(d, "leave the tag out; a text that begins with ! needs quotes");
    }
    struct value *v =
        event->type == YAML_SCALAR_EVENT ? build_scalar(b, event, key) : build_collection(b, event, depth);
    if (!v || !weigh(b, v, 1))
        return NULL;
    const yaml_char_t *anchor = event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
                                : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
                                                                           : event->data.mapping_start.anchor;
    return remember_anchor(b, anchor, v) ? v : NULL;
}

static struct value *build_document(struct builder *b)
{
    struct value *root = NULL;
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!next_event(b, &event))
            return NULL;
        bool content = event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT ||
                       event.type == YAML_MAPPING_START_EVENT || event.type == YAML_ALIAS_EVENT;
        if (content && root) {
            b->stopped = true;
            diag_add(b->diags, DIAG_YAML_UNSUPPORTED, place_of(event.start_mark, event.end_mark),
                     "a second document begins here; a %s is one document", b->form->what);
        } else if (content) {
            root = build(b, &event, 0, false);
        }
        more = event.type != YAML_STREAM_END_EVENT && !b->stopped;
        yaml_event_delete(&event);
    }
    return b->stopped ? NULL : root;
}

struct value *value_parse(struct pool *pool, const char *text, size_t len, struct diag_list *diags)
{
    return value_parse_as(pool, (struct ls_slice){text, len}, NULL, diags);
}

struct value *value_parse_as(struct pool *pool, struct ls_slice text, const struct value_form *form, struct diag_list *diags)
{
    static const struct value_form TOPOLOGY = {"topology", VALUE_FILE_MAX, VALUE_WEIGHT_MAX};
    form = form ? form : &TOPOLOGY;
    if (text.len > form->file_max) {
        diag_add(diags, DIAG_YAML_TOO_BIG, (struct place){0}, "the file is larger than %zu MiB", form->file_max >> 20);
        return NULL;
    }
    if (text.len && memchr(text.data, 0, text.len)) {
        diag_add(diags, DIAG_YAML_SYNTAX, (struct place){0}, "the file is not text: it holds NUL bytes");
        return NULL;
    }
    struct builder *b = xcalloc(1, sizeof *b);
    b->pool = pool;
    b->diags = diags;
    b->form = form;
    if (!yaml_parser_initialize(&b->parser))
        abort(); /* out of memory, as in lib/xmem.h */
    yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b->parser, (const unsigned char *) text.data, text.len);
    struct value *root = build_document(b);
    yaml_parser_delete(&b->parser);
    free(b->stack);
    free(b);
    return root;
}

static size_t find_index(const struct value *map, const char *key)
{
    size_t count = map && map->type == VALUE_MAP ? map->count : 0;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(map->keys[i]->text, key))
            return i;
    return SIZE_MAX;
}

const struct value *value_find(const struct value *map, const char *key)
{
    size_t i = find_index(map, key);
    return i == SIZE_MAX ? NULL : map->items[i];
}

const struct value *value_find_key(const struct value *map, const char *key)
{
    size_t i = find_index(map, key);
    return i == SIZE_MAX ? NULL : map->keys[i];
}
