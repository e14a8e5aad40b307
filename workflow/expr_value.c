/* SPDX-License-Identifier: Apache-2.0 */
/* What the operators of expressions do with JSON values: what counts as a number, what is equal, what comes first,
 * what is in what. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/json.h"
#include "workflow/expr_tree.h"

const char *expr_kind(const json_t *value)
{
    static const char *const KINDS[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",   [JSON_NULL] = "null"};
    return KINDS[json_typeof(value)];
}

static bool text_number(const char *text, size_t len, struct expr_number *number)
{
    if (!len || len > 60 || strlen(text) != len || text[strspn(text, "0123456789+-.eE")] ||
        !strpbrk(text, "0123456789"))
        return false;
    char *end = NULL;
    number->real = strtod(text, &end);
    if (*end || !isfinite(number->real))
        return false;
    errno = 0;
    number->count = strtoll(text, &end, 10);
    number->whole = !*end && !errno;
    return true;
}

bool expr_number(const json_t *value, struct expr_number *number)
{
    if (json_is_string(value))
        return text_number(json_string_value(value), json_string_length(value), number);
    *number = (struct expr_number){json_is_integer(value), json_integer_value(value), json_number_value(value)};
    return json_is_number(value);
}

json_t *expr_real(double number, struct ls_error *err)
{
    json_t *value = json_real(number); /* NULL for what JSON cannot say */
    if (!value)
        error_set(err, "BAD_VALUE", "the result is no finite number");
    return value;
}

static int number_order(const struct expr_number *x, const struct expr_number *y)
{
    if (x->whole && y->whole)
        return x->count < y->count ? -1 : x->count > y->count;
    return x->real < y->real ? -1 : x->real > y->real;
}

bool expr_equal(const json_t *a, const json_t *b)
{
    struct expr_number x, y;
    bool numbers = (json_is_number(a) || json_is_number(b)) && expr_number(a, &x) && expr_number(b, &y);
    return numbers ? !number_order(&x, &y) : json_equal(a, b);
}

int expr_compare(const json_t *a, const json_t *b, int *order, struct ls_error *err)
{
    struct expr_number x, y;
    if (json_is_string(a) && json_is_string(b)) {
        size_t a_len = json_string_length(a), b_len = json_string_length(b);
        *order = memcmp(json_string_value(a), json_string_value(b), a_len < b_len ? a_len : b_len);
        *order = *order ? *order : a_len < b_len ? -1 : a_len > b_len;
        return 0;
    }
    if (!expr_number(a, &x) || !expr_number(b, &y))
        return error_set(err, "BAD_VALUE", "%s and %s cannot be put in order", expr_kind(a), expr_kind(b));
    *order = number_order(&x, &y);
    return 0;
}

/* Whole numbers stay whole as long as they fit. */
static bool whole_result(enum expr_op op, int64_t x, int64_t y, int64_t *out)
{
    switch (op) {
    case EXPR_ADD: return !__builtin_add_overflow(x, y, out);
    case EXPR_SUBTRACT: return !__builtin_sub_overflow(x, y, out);
    case EXPR_MULTIPLY: return !__builtin_mul_overflow(x, y, out);
    default: break;
    }
    if (y == -1 && x == INT64_MIN)
        return false;
    *out = op == EXPR_DIVIDE ? x / y : x % y;
    return op == EXPR_REMAINDER || !(x % y);
}

static double real_result(enum expr_op op, double x, double y)
{
    switch (op) {
    case EXPR_ADD: return x + y;
    case EXPR_SUBTRACT: return x - y;
    case EXPR_MULTIPLY: return x * y;
    case EXPR_DIVIDE: return x / y;
    default: return fmod(x, y);
    }
}

static json_t *join(const json_t *a, const json_t *b, struct ls_error *err)
{
    struct buf out = {0};
    expr_text(a, &out);
    expr_text(b, &out);
    json_t *text = out.len <= EXPR_TEXT_MAX ? json_stringn(out.len ? (const char *) out.data : "", out.len) : NULL;
    if (!text)
        error_set(err, "BAD_VALUE", "the text becomes longer than 1 MiB");
    buf_fini(&out);
    return text;
}

json_t *expr_arithmetic(enum expr_op op, const json_t *a, const json_t *b, struct ls_error *err)
{
    struct expr_number x, y;
    if (op == EXPR_ADD && (json_is_string(a) || json_is_string(b)))
        return join(a, b, err);
    if (!expr_number(a, &x) || !expr_number(b, &y)) {
        const json_t *wrong = expr_number(a, &x) ? b : a;
        error_set(err, "BAD_VALUE", "%s is no number to reckon with", expr_kind(wrong));
        return NULL;
    }
    if ((op == EXPR_DIVIDE || op == EXPR_REMAINDER) && y.real == 0) {
        error_set(err, "BAD_VALUE", "a division by zero");
        return NULL;
    }
    int64_t whole;
    if (x.whole && y.whole && whole_result(op, x.count, y.count, &whole))
        return json_integer(whole);
    return expr_real(real_result(op, x.real, y.real), err);
}

bool expr_contains(const json_t *whole, const json_t *part)
{
    if (json_is_object(whole))
        return json_is_string(part) && json_object_get(whole, json_string_value(part));
    if (json_is_string(whole)) {
        struct buf text = {0};
        expr_text(part, &text);
        bool found = !text.len || memmem(json_string_value(whole), json_string_length(whole), text.data, text.len);
        buf_fini(&text);
        return found;
    }
    for (size_t i = 0; i < json_array_size(whole); i++)
        if (expr_equal(json_array_get(whole, i), part))
            return true;
    return false;
}

json_t *expr_member(const json_t *value, const char *key)
{
    json_t *member = json_object_get(value, key);
    return member ? json_incref(member) : json_null();
}

/* From the end with a negative number. */
json_t *expr_item(const json_t *value, const json_t *index)
{
    if (json_is_string(index))
        return expr_member(value, json_string_value(index));
    json_int_t at = json_integer_value(index), size = (json_int_t) json_array_size(value);
    json_t *item = NULL;
    if (json_is_integer(index) && at >= -size && at < size)
        item = json_array_get(value, (size_t) (at < 0 ? at + size : at));
    return item ? json_incref(item) : json_null();
}

void expr_text(const json_t *value, struct buf *out)
{
    if (json_is_null(value))
        return;
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
    } else if (json_is_real(value)) {
        json_put_double(out, json_real_value(value));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text)
            buf_add(out, text, strlen(text));
        free(text);
    }
}
