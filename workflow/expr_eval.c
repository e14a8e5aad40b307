/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions: the value of a tree over a scope of names, and the names that it uses. */
#include <math.h>
#include <string.h>

#include "lib/error.h"
#include "workflow/expr_tree.h"

struct eval {
    const struct expr *expr;
    const json_t *scope;
    struct ls_error *err;
};

static json_t *eval(const struct eval *e, int index);

bool expr_truth(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return json_object_size(value) > 0;
    case JSON_ARRAY: return json_array_size(value) > 0;
    case JSON_STRING: return json_string_length(value) > 0;
    case JSON_INTEGER:
    case JSON_REAL: return json_number_value(value) != 0;
    default: return json_is_true(value);
    }
}

static json_t *eval_list(const struct eval *e, const struct expr_node *n)
{
    json_t *list = json_array();
    for (int i = n->a; i >= 0; i = e->expr->nodes[i].next) {
        json_t *item = eval(e, i);
        if (!item) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *eval_call(const struct eval *e, const struct expr_node *n)
{
    json_t *arguments[EXPR_ARGUMENTS_MAX] = {0}, *result = NULL;
    int count = 0;
    bool ok = true;
    for (int i = n->a; i >= 0 && ok; i = e->expr->nodes[i].next) {
        arguments[count] = eval(e, i);
        ok = arguments[count++] != NULL;
    }
    if (ok)
        result = n->function->call(arguments, e->err);
    while (count--)
        json_decref(arguments[count]);
    return result;
}

/* The second operand decides only when the first has not: then that is the value. */
static json_t *eval_logic(const struct eval *e, const struct expr_node *n)
{
    json_t *first = eval(e, n->a);
    if (!first || expr_truth(first) == (n->op == EXPR_OR))
        return first;
    json_decref(first);
    return eval(e, n->b);
}

static json_t *eval_unary(const struct eval *e, const struct expr_node *n)
{
    json_t *value = eval(e, n->a), *result = NULL;
    if (!value)
        return NULL;
    if (n->op == EXPR_NOT) {
        result = json_boolean(!expr_truth(value));
    } else {
        json_t *zero = json_integer(0);
        result = expr_arithmetic(EXPR_SUBTRACT, zero, value, e->err);
        json_decref(zero);
    }
    json_decref(value);
    return result;
}

static json_t *compare(enum expr_op op, const json_t *a, const json_t *b, struct ls_error *err)
{
    int order = 0;
    if (expr_compare(a, b, &order, err))
        return NULL;
    return json_boolean(op == EXPR_LESS         ? order < 0
                        : op == EXPR_LESS_EQUAL ? order <= 0
                        : op == EXPR_MORE       ? order > 0
                                                : order >= 0);
}

static json_t *binary(const struct eval *e, enum expr_op op, const json_t *a, const json_t *b)
{
    switch (op) {
    case EXPR_INDEX: return expr_item(a, b);
    case EXPR_EQUAL: return json_boolean(expr_equal(a, b));
    case EXPR_UNEQUAL: return json_boolean(!expr_equal(a, b));
    case EXPR_IN: return json_boolean(expr_contains(b, a));
    case EXPR_LESS:
    case EXPR_LESS_EQUAL:
    case EXPR_MORE:
    case EXPR_MORE_EQUAL: return compare(op, a, b, e->err);
    default: return expr_arithmetic(op, a, b, e->err);
    }
}

static json_t *eval_binary(const struct eval *e, const struct expr_node *n)
{
    json_t *a = eval(e, n->a), *b = a ? eval(e, n->b) : NULL;
    json_t *result = b ? binary(e, n->op, a, b) : NULL;
    json_decref(a);
    json_decref(b);
    return result;
}

static json_t *eval_member(const struct eval *e, const struct expr_node *n)
{
    json_t *of = eval(e, n->a);
    json_t *member = of ? expr_member(of, json_string_value(n->value)) : NULL;
    json_decref(of);
    return member;
}

/* As deep as the tree: its parser bounds nesting, and its length bounds chains such as 1+1+1. */
static json_t *eval(const struct eval *e, int index)
{
    const struct expr_node *n = &e->expr->nodes[index];
    switch (n->op) {
    case EXPR_LITERAL: return json_incref(n->value);
    case EXPR_NAME: return expr_member(e->scope, json_string_value(n->value));
    case EXPR_MEMBER: return eval_member(e, n);
    case EXPR_LIST: return eval_list(e, n);
    case EXPR_CALL: return eval_call(e, n);
    case EXPR_NOT:
    case EXPR_NEGATE: return eval_unary(e, n);
    case EXPR_AND:
    case EXPR_OR: return eval_logic(e, n);
    case EXPR_CHOICE: {
        json_t *condition = eval(e, n->a);
        int chosen = condition && expr_truth(condition) ? n->b : n->c;
        bool ok = condition != NULL;
        json_decref(condition);
        return ok ? eval(e, chosen) : NULL;
    }
    default: return eval_binary(e, n);
    }
}

json_t *expr_eval(const struct expr *expr, const json_t *scope, struct ls_error *err)
{
    struct eval e = {expr, scope, err};
    return eval(&e, expr->root);
}

/* The parser puts the first step of a path right behind its name: name, member; or name, literal, index. */
static const char *first_step(const struct expr *expr, size_t name)
{
    const struct expr_node *n = &expr->nodes[name];
    if (name + 1 < expr->count && n[1].op == EXPR_MEMBER && n[1].a == (int) name)
        return json_string_value(n[1].value);
    bool index = name + 2 < expr->count && n[2].op == EXPR_INDEX && n[2].a == (int) name && n[1].op == EXPR_LITERAL;
    return index ? json_string_value(n[1].value) : NULL;
}

void expr_names(const struct expr *expr, void (*fn)(void *arg, const char *first, const char *second), void *arg)
{
    for (size_t i = 0; i < expr->count; i++)
        if (expr->nodes[i].op == EXPR_NAME)
            fn(arg, json_string_value(expr->nodes[i].value), first_step(expr, i));
}
