/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of expressions. */
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/topic.h"
#include "workflow/expr_tree.h"

static json_t *text_of(struct buf *text)
{
    json_t *value = json_stringn(text->len ? (const char *) text->data : "", text->len);
    buf_fini(text);
    return value;
}

static json_t *call_number(json_t *const *a, struct ls_error *err)
{
    struct expr_number number;
    if (json_is_boolean(a[0]))
        return json_integer(json_is_true(a[0]));
    if (expr_number(a[0], &number))
        return number.whole ? json_integer(number.count) : expr_real(number.real, err);
    error_set(err, "BAD_VALUE", "number(): %s does not read as a number", expr_kind(a[0]));
    return NULL;
}

static json_t *call_text(json_t *const *a, struct ls_error *err)
{
    (void) err;
    struct buf text = {0};
    expr_text(a[0], &text);
    return text_of(&text);
}

/* Of a text: characters, not bytes. */
static json_t *call_length(json_t *const *a, struct ls_error *err)
{
    if (json_is_string(a[0])) {
        json_int_t count = 0;
        for (size_t i = 0; i < json_string_length(a[0]); i++)
            count += ((unsigned char) json_string_value(a[0])[i] & 0xc0) != 0x80;
        return json_integer(count);
    }
    if (json_is_array(a[0]) || json_is_object(a[0]))
        return json_integer((json_int_t) (json_is_array(a[0]) ? json_array_size(a[0]) : json_object_size(a[0])));
    if (json_is_null(a[0]))
        return json_integer(0);
    error_set(err, "BAD_VALUE", "length(): %s has none", expr_kind(a[0]));
    return NULL;
}

static json_t *call_lower(json_t *const *a, struct ls_error *err)
{
    (void) err;
    struct buf text = {0};
    expr_text(a[0], &text);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] |= text.data[i] >= 'A' && text.data[i] <= 'Z' ? 0x20 : 0;
    return text_of(&text);
}

static json_t *call_contains(json_t *const *a, struct ls_error *err)
{
    (void) err;
    return json_boolean(expr_contains(a[0], a[1]));
}

static json_t *call_starts_with(json_t *const *a, struct ls_error *err)
{
    (void) err;
    struct buf text = {0}, start = {0};
    expr_text(a[0], &text);
    expr_text(a[1], &start);
    bool starts = start.len <= text.len && (!start.len || !memcmp(text.data, start.data, start.len));
    buf_fini(&text);
    buf_fini(&start);
    return json_boolean(starts);
}

static json_t *call_matches(json_t *const *a, struct ls_error *err)
{
    const char *topic = json_string_value(a[0]), *pattern = json_string_value(a[1]);
    if (!pattern || !topic_pattern_valid(pattern, strlen(pattern))) {
        error_set(err, "BAD_VALUE", "matches(): the second value is no pattern of topics, such as \"run.>\"");
        return NULL;
    }
    return json_boolean(topic && topic_match(pattern, strlen(pattern), topic, strlen(topic)));
}

/* One word of the shell, whatever is in it (POSIX.1-2017, XCU 2.2.2). */
static json_t *call_quote(json_t *const *a, struct ls_error *err)
{
    struct buf text = {0}, out = {0};
    expr_text(a[0], &text);
    buf_add_byte(&out, '\'');
    for (size_t i = 0; i < text.len && out.len <= EXPR_TEXT_MAX; i++)
        buf_add(&out, text.data[i] == '\'' ? "'\\''" : (const char *) text.data + i, text.data[i] == '\'' ? 4 : 1);
    buf_add_byte(&out, '\'');
    buf_fini(&text);
    if (out.len <= EXPR_TEXT_MAX)
        return text_of(&out);
    buf_fini(&out);
    error_set(err, "BAD_VALUE", "quote(): the text becomes longer than 1 MiB");
    return NULL;
}

const struct expr_function EXPR_FUNCTIONS[] = {
    {"number", 1, call_number},   {"text", 1, call_text},         {"length", 1, call_length},
    {"lower", 1, call_lower},     {"contains", 2, call_contains}, {"starts_with", 2, call_starts_with},
    {"matches", 2, call_matches}, {"quote", 1, call_quote},       {0}};
