/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a node's options: a JSON object and the table of its kind make the struct that the kind sees. What checks of kinds share. */
#include "lib/kind.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"

#define PORT_MAX 65535

/* Memory that an option points to is the struct's, though the kind sees it as constant. */
static void free_const(const void *memory)
{
    free((void *) (uintptr_t) memory);
}

static void *member(void *options, const struct kind_option *o)
{
    return (char *) options + o->offset;
}

/* ---- what an option takes ---- */

static const char *takes(const struct kind_option *o)
{
    static const char *const TAKES[] = {
        [KIND_TEXT] = "a text",
        [KIND_BOOL] = "true or false",
        [KIND_INT] = "a whole number",
        [KIND_NUMBER] = "a number",
        [KIND_SIZE] = "a number of bytes",
        [KIND_DURATION] = "a number of milliseconds",
        [KIND_ENUM] = "one of its words",
        [KIND_ADDRESS] = "an address, HOST:PORT",
        [KIND_TEXTS] = "a list of texts",
        [KIND_TEXT_MAP] = "a map of texts",
    };
    return TAKES[o->type];
}

static int wrong(const struct kind_option *o, struct ls_error *err)
{
    return error_set(err, "BAD_VALUE", "option \"%s\" takes %s", o->name, takes(o));
}

/* HOST:PORT, [IPV6]:PORT. Whether the host exists is seen when it is used. */
static bool address_valid(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    if (!digits || digits > 5 || colon[1 + digits] || colon == text || strtol(colon + 1, NULL, 10) > PORT_MAX)
        return false;
    return *text == '[' ? colon[-1] == ']' : memchr(text, ':', (size_t) (colon - text)) == NULL;
}

static int set_text(const struct kind_option *o, const char *text, void *at, struct ls_error *err)
{
    if (o->type == KIND_ADDRESS && !address_valid(text))
        return error_set(err, "BAD_VALUE", "option \"%s\" is \"%.80s\", which is no address: HOST:PORT, [IPV6]:PORT", o->name,
                         text);
    *(const char **) at = xstrdup(text);
    return 0;
}

static int set_word(const struct kind_option *o, const char *text, void *at, struct ls_error *err)
{
    for (int i = 0; o->words[i]; i++)
        if (strcmp(o->words[i], text) == 0) {
            *(int *) at = i;
            return 0;
        }
    return error_set(err, "BAD_VALUE", "option \"%s\" has no word \"%.80s\"", o->name, text);
}

static int set_integer(const struct kind_option *o, int64_t value, void *at, struct ls_error *err)
{
    if (o->max && (value < o->min || value > o->max))
        return error_set(err, "BAD_VALUE", "option \"%s\" is %lld; it must be %lld to %lld", o->name, (long long) value,
                         (long long) o->min, (long long) o->max);
    *(int64_t *) at = value;
    return 0;
}

/* ---- from the table: a default, as YAML writes it ---- */

static bool size_parse(const char *text, int64_t *bytes)
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char *unit;
    *bytes = strtoll(text, &unit, 10);
    if (unit == text)
        return false;
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (strcmp(unit, UNITS[i]) == 0)
            return !__builtin_mul_overflow(*bytes, INT64_C(1) << (10 * i), bytes);
    return !*unit;
}

static int set_fallback(const struct kind_option *o, void *at, struct ls_error *err)
{
    const char *text = o->fallback;
    int64_t number = 0;
    if (!text)
        return 0;
    switch (o->type) {
    case KIND_TEXT:
    case KIND_ADDRESS:
        return set_text(o, text, at, err);
    case KIND_ENUM:
        return set_word(o, text, at, err);
    case KIND_BOOL:
        *(bool *) at = strcmp(text, "true") == 0;
        return 0;
    case KIND_NUMBER:
        *(double *) at = strtod(text, NULL);
        return 0;
    case KIND_INT:
        return set_integer(o, strtoll(text, NULL, 10), at, err);
    case KIND_SIZE:
        return size_parse(text, &number) ? set_integer(o, number, at, err) : wrong(o, err);
    case KIND_DURATION:
        return clock_parse_duration(text, &number) ? set_integer(o, number, at, err) : wrong(o, err);
    case KIND_TEXTS:
    case KIND_TEXT_MAP:
        break;
    }
    return error_set(err, "BUG", "option \"%s\": lists and maps have no default in their table", o->name);
}

/* ---- from JSON ---- */

static int set_texts(const struct kind_option *o, const json_t *value, struct kind_texts *texts, struct ls_error *err)
{
    if (!json_is_array(value))
        return wrong(o, err);
    size_t count = json_array_size(value);
    texts->items = xcalloc(count + 1, sizeof *texts->items);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_string(item))
            return wrong(o, err);
        texts->items[texts->count++] = xstrdup(json_string_value(item));
    }
    return 0;
}

static int set_text_map(const struct kind_option *o, json_t *value, struct kind_text_map *map, struct ls_error *err)
{
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return wrong(o, err);
    map->keys = xcalloc(json_object_size(value) + 1, sizeof *map->keys);
    map->values = xcalloc(json_object_size(value) + 1, sizeof *map->values);
    json_object_foreach(value, key, item) {
        if (!json_is_string(item))
            return wrong(o, err);
        map->keys[map->count] = xstrdup(key);
        map->values[map->count++] = xstrdup(json_string_value(item));
    }
    return 0;
}

static int set_value(const struct kind_option *o, json_t *value, void *at, struct ls_error *err)
{
    switch (o->type) {
    case KIND_TEXT:
    case KIND_ADDRESS:
        return json_is_string(value) ? set_text(o, json_string_value(value), at, err) : wrong(o, err);
    case KIND_ENUM:
        return json_is_string(value) ? set_word(o, json_string_value(value), at, err) : wrong(o, err);
    case KIND_BOOL:
        *(bool *) at = json_is_true(value);
        return json_is_boolean(value) ? 0 : wrong(o, err);
    case KIND_NUMBER:
        *(double *) at = json_number_value(value);
        return json_is_number(value) ? 0 : wrong(o, err);
    case KIND_INT:
    case KIND_SIZE:
    case KIND_DURATION:
        return json_is_integer(value) ? set_integer(o, json_integer_value(value), at, err) : wrong(o, err);
    case KIND_TEXTS:
        return set_texts(o, value, at, err);
    case KIND_TEXT_MAP:
        return set_text_map(o, value, at, err);
    }
    return error_set(err, "BUG", "option \"%s\" has a type that does not exist", o->name);
}

/* ---- the whole ---- */

static bool is_option(const struct kind *kind, const char *name)
{
    for (const struct kind_option *o = kind->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

static int check_names(const struct kind *kind, json_t *object, struct ls_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
        if (!is_option(kind, name))
            return error_set(err, "BAD_VALUE", "the kind %s has no option \"%.80s\"", kind->name, name);
    return 0;
}

static int fill(const struct kind *kind, json_t *object, void *options, struct ls_error *err)
{
    for (const struct kind_option *o = kind->options; o && o->name; o++) {
        json_t *value = json_object_get(object, o->name);
        if (!value && (o->flags & KIND_REQUIRED))
            return error_set(err, "BAD_VALUE", "the kind %s needs the option \"%s\"", kind->name, o->name);
        if (value ? set_value(o, value, member(options, o), err) : set_fallback(o, member(options, o), err))
            return -1;
    }
    return 0;
}

int kind_options_read(const struct kind *kind, const char *json, void *options, struct ls_error *err)
{
    json_error_t error;
    if (kind->options_size)
        memset(options, 0, kind->options_size);
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(err, "BAD_VALUE", "the options are no JSON object: %s (line %d, column %d)",
                         object ? "it is an array" : error.text, error.line, error.column);
    }
    int rc = check_names(kind, object, err) || fill(kind, object, options, err) ? -1 : 0;
    json_decref(object);
    if (rc)
        kind_options_free(kind, options);
    return rc;
}

static void free_texts(const char **items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free_const(items[i]);
    free(items);
}

void kind_options_free(const struct kind *kind, void *options)
{
    for (const struct kind_option *o = kind->options; o && o->name; o++) {
        void *at = member(options, o);
        struct kind_texts *texts = at;
        struct kind_text_map *map = at;
        if (o->type == KIND_TEXT || o->type == KIND_ADDRESS) {
            free_const(*(const char **) at);
        } else if (o->type == KIND_TEXTS) {
            free_texts(texts->items, texts->count);
        } else if (o->type == KIND_TEXT_MAP) {
            free_texts(map->keys, map->count);
            free_texts(map->values, map->count);
        }
    }
    if (kind->options_size)
        memset(options, 0, kind->options_size);
}

/* ---- for the checks of kinds ---- */

bool kind_complain(struct kind_problem *problem, const char *option, const char *text, const char *hint)
{
    problem->option = option;
    snprintf(problem->text, sizeof problem->text, "%s", text);
    snprintf(problem->hint, sizeof problem->hint, "%s", hint);
    return false;
}

bool kind_begins(const char *text, const char *with)
{
    return text && strncmp(text, with, strlen(with)) == 0;
}
