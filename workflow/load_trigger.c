/* SPDX-License-Identifier: Apache-2.0 */
/* The `triggers` of a workflow: which events start a run, and what they give to it. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "workflow/load.h"

/* A value without templates is known already. */
static void check_given(struct loader *l, const char *what, const struct value *key, const struct value *v)
{
    struct ls_error err = {0};
    const struct input *input = input_find(l->w, key->text);
    if (!input) {
        load_undeclared(l, key->at, what, key->text);
        return;
    }
    if (v->type != VALUE_TEXT || strstr(v->text, "{{") || value_is_null(v) || v->broken)
        return;
    json_t *read = input_read(input, load_json(l, v), &err);
    if (!read && !(input->type == INPUT_STRING))
        diag_add(l->diags, DIAG_INPUT_BAD, v->at, "%s: %s", what,
                 v->outside ? "the value is not of the input's type" : err.text);
    json_decref(read);
}

static void check_required(struct loader *l, const char *what, const struct value *given, struct place at)
{
    for (size_t i = 0; i < l->w->input_count; i++) {
        const struct input *input = &l->w->inputs[i];
        if (!input->required || input->fallback || value_find(given, input->name))
            continue;
        struct diag *d =
            diag_add(l->diags, DIAG_INPUT_MISSING, at,
                     "%s: the input \"%s\" is required, but the trigger does not give it", what, input->name);
        diag_hint(d, "inputs: {%s: \"{{ event.data.%s }}\"}", input->name, input->name);
    }
}

/* As JSON; a text for an input that is a string stays one, also 1.10. */
static void load_given(struct loader *l, const char *what, struct trigger *t, const struct value *map)
{
    if (map->type != VALUE_MAP) {
        load_map(l, map, what);
        return;
    }
    t->inputs = load_keep(l, json_object());
    load_trigger_templates(l, what, map);
    for (size_t i = 0; i < map->count; i++) {
        const struct value *v = map->items[i];
        const struct input *input = input_find(l->w, map->keys[i]->text);
        check_given(l, what, map->keys[i], v);
        bool string = v->type == VALUE_TEXT && input && input->type == INPUT_STRING && !value_is_null(v);
        json_object_set_new(t->inputs, map->keys[i]->text,
                            string ? json_string(v->text) : json_incref(load_json(l, v)));
    }
}

static void load_trigger(struct loader *l, struct trigger *t, const struct value *v)
{
    char *what = xasprintf("trigger %zu", (size_t) (t - l->w->triggers) + 1);
    struct option_context ctx = load_context(l, what);
    ctx.elsewhere = ELSEWHERE_TRIGGER;
    struct trigger_draft draft = {0};
    t->place = v->at;
    if (v->type == VALUE_TEXT) {
        t->event = load_topic(l, &ctx, "event", v, true);
        check_required(l, what, NULL, v->at);
    } else if (load_map(l, v, what)) {
        options_parse(&ctx, OPTIONS_TRIGGER, v, v->at, &draft);
        const struct value *event = value_find(v, "event"), *filter = value_find(v, "filter"),
                           *key = value_find(v, "key"), *inputs = value_find(v, "inputs");
        if (event)
            t->event = load_topic(l, &ctx, "event", event, true);
        else
            diag_add(l->diags, DIAG_KEY_MISSING, v->at, "%s needs the option \"event\"", what);
        if (draft.filter)
            t->filter = load_filter(l, what, filter);
        if (draft.key)
            load_trigger_templates(l, what, key);
        t->key = draft.key;
        if (inputs && !value_is_null(inputs))
            load_given(l, what, t, inputs);
        check_required(l, what, inputs, v->at);
    }
    free(what);
}

void load_triggers(struct loader *l)
{
    const struct value *v = value_find(l->root, "triggers");
    if (!v || value_is_null(v) || v->broken)
        return;
    size_t count = v->type == VALUE_LIST ? v->count : 1;
    l->w->triggers = pool_alloc(&l->file->pool, count, sizeof *l->w->triggers);
    l->w->trigger_count = count;
    for (size_t i = 0; i < count; i++)
        load_trigger(l, &l->w->triggers[i], v->type == VALUE_LIST ? v->items[i] : v);
}
