/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of a run: given values against the declared ones. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "workflow/expr_tree.h"
#include "workflow/load.h"

/* A text that holds the type in its own form: "5", "true", "[1, 2]". */
static json_t *from_text(enum input_type type, const json_t *text)
{
    struct expr_number number;
    const char *chars = json_string_value(text);
    json_t *value;
    switch (type) {
    case INPUT_STRING: return json_incref((json_t *) (uintptr_t) text);
    case INPUT_INTEGER: return expr_number(text, &number) && number.whole ? json_integer(number.count) : NULL;
    case INPUT_NUMBER:
        if (!expr_number(text, &number))
            return NULL;
        return number.whole ? json_integer(number.count) : json_real(number.real);
    case INPUT_BOOLEAN: return !strcmp(chars, "true") || !strcmp(chars, "false") ? json_boolean(*chars == 't') : NULL;
    default:
        value = json_loadb(chars, json_string_length(text), JSON_REJECT_DUPLICATES, NULL);
        if (value && json_is_object(value) == (type == INPUT_OBJECT))
            return value;
        json_decref(value);
        return NULL;
    }
}

static json_t *from_value(enum input_type type, const json_t *given)
{
    double real = json_number_value(given);
    bool fits = type == INPUT_INTEGER   ? json_is_integer(given)
                : type == INPUT_NUMBER  ? json_is_number(given)
                : type == INPUT_BOOLEAN ? json_is_boolean(given)
                : type == INPUT_OBJECT  ? json_is_object(given)
                                        : type == INPUT_ARRAY && json_is_array(given);
    if (fits)
        return json_incref((json_t *) (uintptr_t) given);
    bool whole = type == INPUT_INTEGER && json_is_real(given) && real == floor(real) && fabs(real) < 9e15;
    return whole ? json_integer((json_int_t) real) : NULL; /* 5.0 is whole; some languages know no other numbers */
}

json_t *input_read(const struct input *input, const json_t *given, struct ls_error *err)
{
    json_t *value = json_is_string(given) ? from_text(input->type, given) : from_value(input->type, given);
    if (value)
        return value;
    char *shown = json_dumps(given, JSON_COMPACT | JSON_ENCODE_ANY);
    error_set(err, "BAD_VALUE", "the input \"%s\" takes %s %s, not %.60s", input->name,
              strchr("aio", *INPUT_TYPES[input->type]) ? "an" : "a", INPUT_TYPES[input->type], shown ? shown : "this");
    free(shown);
    return NULL;
}

const struct input *input_find(const struct workflow *w, const char *name)
{
    for (size_t i = 0; i < w->input_count; i++)
        if (!strcmp(w->inputs[i].name, name))
            return &w->inputs[i];
    return NULL;
}

const char *input_near(const struct workflow *w, const char *name)
{
    const char **names = xcalloc(w->input_count + 1, sizeof *names);
    for (size_t i = 0; i < w->input_count; i++)
        names[i] = w->inputs[i].name;
    const char *near = diag_nearest(name, names);
    free(names);
    return near;
}

static int refuse_unknown(const struct workflow *w, const json_t *given, struct ls_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *) (uintptr_t) given, name, value)
    {
        if (input_find(w, name))
            continue;
        const char *near = input_near(w, name);
        return near ? error_set(err, "BAD_VALUE", "the workflow \"%s\" has no input \"%.60s\"; did you mean \"%s\"?",
                                w->id, name, near)
                    : error_set(err, "BAD_VALUE", "the workflow \"%s\" has no input \"%.60s\"", w->id, name);
    }
    return 0;
}

json_t *workflow_inputs(const struct workflow *w, const json_t *given, struct ls_error *err)
{
    if (given && !json_is_null(given) && !json_is_object(given)) {
        error_set(err, "BAD_VALUE", "inputs are an object: {\"name\": value}");
        return NULL;
    }
    if (json_is_object(given) && refuse_unknown(w, given, err))
        return NULL;
    json_t *out = json_object();
    for (size_t i = 0; i < w->input_count; i++) {
        const struct input *input = &w->inputs[i];
        const json_t *value = json_object_get(given, input->name);
        bool absent = !value || json_is_null(value);
        if (absent && !input->fallback && !input->required)
            continue;
        json_t *read = NULL;
        if (!absent)
            read = input_read(input, value, err);
        else if (input->fallback)
            read = json_incref(input->fallback);
        else
            error_set(err, "BAD_VALUE", "the input \"%s\" of the workflow \"%s\" is required", input->name, w->id);
        if (!read) {
            json_decref(out);
            return NULL;
        }
        json_object_set_new(out, input->name, read);
    }
    return out;
}
