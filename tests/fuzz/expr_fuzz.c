/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an expression and as a template: reading and evaluating must neither crash, leak nor run away. */
#include <stdlib.h>

#include "lib/xmem.h"
#include "workflow/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *arg, const char *first, const char *second)
{
    *(size_t *) arg += *first != 0 && (!second || *second != 0);
}

static void as_expression(const char *text, const json_t *scope)
{
    struct ls_error err = {0};
    size_t names = 0;
    int column = 0;
    struct expr *e = expr_parse(text, &column, &err);
    if (!e && (!*err.text || column < 0))
        abort(); /* a refusal without a reason */
    if (!e)
        return;
    expr_names(e, count, &names);
    json_t *value = expr_eval(e, scope, &err);
    if (value)
        expr_truth(value);
    else if (!*err.text)
        abort();
    json_decref(value);
    expr_free(e);
}

static void as_template(const char *text, const json_t *scope)
{
    struct ls_error err = {0};
    struct buf out = {0};
    size_t names = 0;
    int column = 0;
    bool well_formed = !template_check(text, &column, &err);
    template_names(text, count, &names);
    if (!template_fill(text, scope, &out, &err) && !well_formed)
        abort();
    buf_fini(&out);
    json_t *value = json_string(text);
    json_t *filled = value ? template_value(value, scope, &err) : NULL;
    json_decref(filled);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *) data, size);
    json_t *scope = json_pack("{s:{s:i, s:s, s:[i, s, n], s:f}, s:s}", "a", "n", 3, "t", "text", "l", 1, "x", "r", 0.5,
                              "ds", "2026-11-23");
    as_expression(text, scope);
    as_template(text, scope);
    json_decref(scope);
    free(text);
    return 0;
}
