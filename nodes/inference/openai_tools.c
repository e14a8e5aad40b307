/* SPDX-License-Identifier: Apache-2.0 */
/* Tool calls. Backends leave out `index`, `type` or `id`, number every call 0, repeat ids, or give arguments as an object; callers
 * lose calls over each of these. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/inference/openai.h"

#define TOOLS_MAX 128

struct openai_tool {
    json_int_t theirs; /* the backend's index; -1: it gave none */
    char *id;
    bool named;
};

void openai_tools_fini(struct openai_tools *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->items[i].id);
    free(t->items);
    *t = (struct openai_tools){0};
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && *text ? text : NULL;
}

static struct openai_tool *by_id(struct openai_tools *t, const char *id)
{
    for (size_t i = t->count; i-- > 0;)
        if (strcmp(t->items[i].id, id) == 0)
            return &t->items[i];
    return NULL;
}

static struct openai_tool *by_index(struct openai_tools *t, json_int_t theirs)
{
    for (size_t i = t->count; i-- > 0;)
        if (t->items[i].theirs == theirs)
            return &t->items[i];
    return NULL;
}

/* The call that a delta goes on with; NULL: it begins a new one. Only what carries a name can be a second call under an index
 * that is in use: some backends give every fragment another id. */
static struct openai_tool *find(struct openai_tools *t, const json_t *index, const char *id, const char *name)
{
    struct openai_tool *known = id ? by_id(t, id) : NULL;
    if (known)
        return known;
    if (json_is_integer(index)) {
        known = by_index(t, json_integer_value(index));
        return known && known->named && id && name ? NULL : known;
    }
    return name || !t->count ? NULL : &t->items[t->count - 1];
}

static struct openai_tool *begin(struct openai_tools *t, const json_t *index, const char *id)
{
    char made[UUID_TEXT_SIZE];
    if (t->count == TOOLS_MAX)
        return NULL;
    t->items = xgrow(t->items, &t->room, t->count + 1, sizeof *t->items);
    struct openai_tool *tool = &t->items[t->count++];
    uuid7(clock_wall_us(), made);
    *tool = (struct openai_tool){.theirs = json_is_integer(index) ? json_integer_value(index) : -1,
                                 .id = id ? xstrdup(id) : xasprintf("call_%s", made)};
    return tool;
}

/* `arguments` as text; false: there are none. */
static bool mend_arguments(json_t *function)
{
    json_t *arguments = json_object_get(function, "arguments");
    if (json_is_string(arguments))
        return json_string_length(arguments) > 0;
    if (!arguments || json_is_null(arguments)) {
        json_object_set_new(function, "arguments", json_string(""));
        return false;
    }
    char *text = json_dumps(arguments, JSON_COMPACT | JSON_ENCODE_ANY);
    json_object_set_new(function, "arguments", json_string(text ? text : ""));
    free(text);
    return true;
}

/* True: something is left to be told. */
static bool mend(struct openai_tools *t, json_t *delta)
{
    json_t *function = json_object_get(delta, "function");
    const char *id = text_at(delta, "id"), *name = text_at(function, "name");
    const json_t *index = json_object_get(delta, "index");
    struct openai_tool *tool = find(t, index, id, name);
    bool is_new = !tool;
    if (!json_is_object(function))
        return false;
    if (is_new)
        tool = begin(t, index, id);
    if (!tool)
        return false;
    bool says_more = mend_arguments(function);
    if (name && !tool->named)
        tool->named = says_more = true;
    else
        json_object_del(function, "name"); /* once is enough: clients join what comes twice */
    json_object_set_new(delta, "index", json_integer((json_int_t) (tool - t->items)));
    if (is_new) {
        json_object_set_new(delta, "id", json_string(tool->id));
        json_object_set_new(delta, "type", json_string("function"));
        return true;
    }
    json_object_del(delta, "id");
    json_object_del(delta, "type");
    return says_more;
}

void openai_tools_put(struct openai_tools *t, json_t *deltas, struct buf *out)
{
    size_t i, start = out->len;
    json_t *delta;
    json_array_foreach(deltas, i, delta)
    {
        if (!json_is_object(delta) || !mend(t, delta))
            continue;
        char *text = json_dumps(delta, JSON_COMPACT);
        if (text)
            buf_addf(out, "%c%s", out->len == start ? '[' : ',', text);
        free(text);
    }
    if (out->len > start)
        buf_add_byte(out, ']');
}
