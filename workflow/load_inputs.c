/* SPDX-License-Identifier: Apache-2.0 */
/* The `inputs` that a workflow declares: {name: default}, or {name: {type, default, required, description}}. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "workflow/load.h"

static bool is_name(const char *name)
{
    size_t len = strlen(name), known = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    return known == len && len <= WORKFLOW_ID_MAX && !strchr("0123456789-", *name) && name[len - 1] != '-';
}

void load_undeclared(struct loader *l, struct place at, const char *what, const char *name)
{
    struct diag *d =
        diag_add(l->diags, DIAG_EXPRESSION_UNKNOWN, at, "%s: the workflow declares no input \"%.60s\"", what, name);
    const char *near = l->diags->count > NEAR_MAX ? NULL : input_near(l->w, name);
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "declare it: inputs: {%.60s: its default}", name);
}

static enum input_type type_of(const json_t *value)
{
    return json_is_object(value)    ? INPUT_OBJECT
           : json_is_array(value)   ? INPUT_ARRAY
           : json_is_boolean(value) ? INPUT_BOOLEAN
           : json_is_integer(value) ? INPUT_INTEGER
           : json_is_real(value)    ? INPUT_NUMBER
                                    : INPUT_STRING;
}

/* What stands in the file as a text is one, also 1.10, where the input is a string. */
static void load_fallback(struct loader *l, struct input *input, const struct value *v, int type)
{
    struct ls_error err = {0};
    if (!v || value_is_null(v) || v->broken) {
        input->type = type < 0 ? INPUT_STRING : (enum input_type) type;
        return;
    }
    json_t *json = load_json(l, v);
    input->type = type < 0 ? type_of(json) : (enum input_type) type;
    if (input->type == INPUT_STRING && v->type == VALUE_TEXT)
        json = load_keep(l, json_string(v->text));
    input->fallback = input_read(input, json, &err);
    if (input->fallback) {
        load_keep(l, input->fallback);
        return;
    }
    struct diag *d = diag_add(l->diags, DIAG_INPUT_BAD, v->at, "%s",
                              v->outside ? "the default is not of the input's type" : err.text);
    diag_hint(d, "change the default, or the type");
}

static void load_input(struct loader *l, struct input *input, const struct value *v)
{
    char *what = xasprintf("input \"%.64s\"", input->name);
    struct option_context ctx = load_context(l, what);
    struct input_draft draft = {.type = -1};
    if (v->type == VALUE_MAP) {
        options_parse(&ctx, OPTIONS_INPUT, v, v->at, &draft);
        input->description = draft.description;
        input->required = draft.required;
        load_fallback(l, input, value_find(v, "default"), draft.type);
    } else {
        load_fallback(l, input, v, -1);
    }
    free(what);
}

static void check_required(struct loader *l, const struct input *input, const struct value *key)
{
    const struct workflow *w = l->w;
    if (!input->required || input->fallback || !(w->cron_count || w->every_ms || w->at_count))
        return;
    struct diag *d =
        diag_add(l->diags, DIAG_INPUT_MISSING, key->at,
                 "the input \"%s\" is required and has no default, but scheduled runs are given none", input->name);
    diag_hint(d, "give it a default, or take `required` or `schedule` out");
}

void load_inputs(struct loader *l)
{
    const struct value *map = value_find(l->root, "inputs");
    if (!map || value_is_null(map))
        return;
    if (map->type != VALUE_MAP) {
        struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, map->at, "\"inputs\" must be a map");
        diag_hint(d, "{name: default, ...}, or {name: {type: integer, required: true}, ...}");
        return;
    }
    if (map->count > WORKFLOW_INPUTS_MAX) {
        diag_add(l->diags, DIAG_VALUE_RANGE, map->at, "the workflow has %zu inputs, at most %d are taken", map->count,
                 WORKFLOW_INPUTS_MAX);
        return;
    }
    l->w->inputs = pool_alloc(&l->file->pool, map->count, sizeof *l->w->inputs);
    for (size_t i = 0; i < map->count; i++) {
        const struct value *key = map->keys[i];
        struct input *input = &l->w->inputs[l->w->input_count++];
        input->name = pool_text(&l->file->pool, key->text, strlen(key->text));
        if (!is_name(key->text)) {
            struct diag *d =
                diag_add(l->diags, DIAG_NAME_BAD, key->at, "\"%.60s\" cannot be the name of an input", key->text);
            diag_hint(d, "names are made of letters, digits, _ and inner -, and begin with a letter or _");
        }
        load_input(l, input, map->items[i]);
        check_required(l, input, key);
    }
}
