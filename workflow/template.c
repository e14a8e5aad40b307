/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: texts with {{ expressions }} in them. */
#include <string.h>

#include "lib/error.h"
#include "workflow/expr_tree.h"

/* A walk over a template: literal pieces and expressions in turn. */
struct walk {
    const char *text;
    size_t len, at;
    struct ls_slice piece; /* a literal piece, when expr is NULL; else the expression's text */
    struct expr *expr;
    size_t failed_at; /* bytes */
};

enum step { STEP_OVER, STEP_PIECE, STEP_FAILED };

/* The next piece; the caller frees walk->expr. */
static enum step step(struct walk *w, struct ls_error *err)
{
    const char *from = w->text + w->at;
    w->expr = NULL;
    if (w->at >= w->len)
        return STEP_OVER;
    if (!strncmp(from, "\\{{", 3)) {
        w->piece = (struct ls_slice){from + 1, 2};
        w->at += 3;
        return STEP_PIECE;
    }
    if (strncmp(from, "{{", 2)) {
        const char *open = strstr(from, "{{"), *end = open ? open - (open[-1] == '\\') : w->text + w->len;
        w->piece = (struct ls_slice){from, (size_t) (end - from)};
        w->at += w->piece.len;
        return STEP_PIECE;
    }
    size_t used, at;
    struct ls_slice rest = {from + 2, w->len - w->at - 2};
    w->expr = expr_parse_part(rest, &used, &at, err);
    w->failed_at = w->at + 2 + at;
    if (!w->expr)
        return STEP_FAILED;
    w->piece = (struct ls_slice){from, 2 + used};
    w->at += 2 + used;
    return STEP_PIECE;
}

int template_check(const char *text, int *column, struct ls_error *err)
{
    struct walk w = {.text = text, .len = strlen(text)};
    enum step s;
    while ((s = step(&w, err)) == STEP_PIECE)
        expr_free(w.expr);
    if (column)
        *column = s == STEP_FAILED ? expr_column(text, w.failed_at) : 0;
    return s == STEP_FAILED ? -1 : 0;
}

void template_names(const char *text, void (*fn)(void *arg, const char *first, const char *second), void *arg)
{
    struct walk w = {.text = text, .len = strlen(text)};
    while (step(&w, NULL) == STEP_PIECE) {
        if (w.expr)
            expr_names(w.expr, fn, arg);
        expr_free(w.expr);
    }
}

/* The value of the expression that the walk stands at. */
static json_t *evaluate(const struct walk *w, const json_t *scope, struct ls_error *err)
{
    json_t *value = expr_eval(w->expr, scope, err);
    if (!value)
        error_wrap(err, "%.*s", (int) (w->piece.len > 80 ? 80 : w->piece.len), w->piece.data);
    return value;
}

int template_fill(const char *text, const json_t *scope, struct buf *out, struct ls_error *err)
{
    struct walk w = {.text = text, .len = strlen(text)};
    size_t before = out->len;
    enum step s;
    while ((s = step(&w, err)) == STEP_PIECE) {
        json_t *value = w.expr ? evaluate(&w, scope, err) : NULL;
        if (value)
            expr_text(value, out);
        else if (!w.expr)
            buf_add(out, w.piece.data, w.piece.len);
        bool failed = w.expr && !value;
        expr_free(w.expr);
        json_decref(value);
        if (failed)
            return -1;
        if (out->len - before > EXPR_TEXT_MAX)
            return error_set(err, "BAD_VALUE", "the text becomes longer than 1 MiB");
    }
    return s == STEP_FAILED ? -1 : 0;
}

/* One single {{ expression }} keeps the type of its value; any other template makes a text. */
static json_t *text_value(const char *text, const json_t *scope, struct ls_error *err)
{
    struct walk w = {.text = text, .len = strlen(text)};
    struct buf out = {0};
    json_t *value = NULL;
    if (!strncmp(text, "{{", 2)) {
        if (step(&w, err) == STEP_FAILED)
            return NULL;
        bool single = w.at == w.len;
        if (single)
            value = evaluate(&w, scope, err);
        expr_free(w.expr);
        if (single)
            return value;
    }
    if (!template_fill(text, scope, &out, err)) {
        value = json_stringn(out.len ? (const char *) out.data : "", out.len);
        if (!value)
            error_set(err, "BAD_VALUE", "the text is not UTF-8");
    }
    buf_fini(&out);
    return value;
}

static json_t *list_value(const json_t *list, const json_t *scope, struct ls_error *err)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = template_value(json_array_get(list, i), scope, err);
        if (item) {
            json_array_append_new(out, item);
            continue;
        }
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *object_value(const json_t *object, const json_t *scope, struct ls_error *err)
{
    json_t *out = json_object();
    for (void *it = json_object_iter((json_t *) (uintptr_t) object); it;
         it = json_object_iter_next((json_t *) (uintptr_t) object, it)) {
        json_t *item = template_value(json_object_iter_value(it), scope, err);
        if (item) {
            json_object_set_new(out, json_object_iter_key(it), item);
            continue;
        }
        json_decref(out);
        return NULL;
    }
    return out;
}

json_t *template_value(const json_t *value, const json_t *scope, struct ls_error *err)
{
    if (json_is_string(value))
        return text_value(json_string_value(value), scope, err);
    if (json_is_array(value))
        return list_value(value, scope, err);
    if (json_is_object(value))
        return object_value(value, scope, err);
    return json_incref((json_t *) (uintptr_t) value);
}
