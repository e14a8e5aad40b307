/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions and templates: what they read, what they give, what they refuse and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/xmem.h"
#include "workflow/expr.h"

static const char SCOPE[] =
    "{\"inputs\": {\"order\": 3, \"name\": \"Ada\", \"rate\": 0.1, \"list\": [1, \"two\", null], \"none\": null, "
    "\"yes\": true},"
    " \"outputs\": {\"build-image\": {\"tag\": \"v1\", \"n-1\": 7}, \"a.b\": {\"x\": 1}}, \"ds\": \"2026-11-23\"}";

static json_t *scope(void)
{
    json_t *json = json_loads(SCOPE, 0, NULL);
    assert_non_null(json);
    return json;
}

/* The value as JSON text, or "error: ..."; the caller frees it. */
static char *value_of(const char *text)
{
    struct ls_error err = {0};
    json_t *names = scope();
    struct expr *e = expr_parse(text, NULL, &err);
    json_t *value = e ? expr_eval(e, names, &err) : NULL;
    char *out = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) : NULL;
    if (!out) {
        struct buf message = {0};
        buf_addf(&message, "error: %s", err.text);
        out = xstrdup(buf_text(&message));
        buf_fini(&message);
        assert_string_equal(err.name, "BAD_VALUE");
    }
    json_decref(value);
    json_decref(names);
    expr_free(e);
    return out;
}

static void expect(const char *text, const char *value)
{
    char *got = value_of(text);
    if (strcmp(got, value))
        fail_msg("%s gives %s, not %s", text, got, value);
    free(got);
}

static void test_literals_and_paths(void **state)
{
    (void) state;
    expect("12", "12");
    expect("1.5e3", "1500.0");
    expect("'it''s'", "error: the expression should end before \"'s'\"");
    expect("'it\\'s'", "\"it's\"");
    expect("\"a\\n\"", "\"a\\n\"");
    expect("null", "null");
    expect("[1, 'x', [true]]", "[1,\"x\",[true]]");
    expect("inputs.order", "3");
    expect("inputs[\"name\"]", "\"Ada\"");
    expect("inputs.list[1]", "\"two\"");
    expect("inputs.list[-3]", "1");
    expect("inputs.list[3]", "null");
    expect("outputs.build-image.tag", "\"v1\"");
    expect("outputs.build-image.n-1", "7");
    expect("outputs['a.b'].x", "1");
    expect("nobody.knows.this[7].at.all", "null");
}

static void test_operators_and_their_rank(void **state)
{
    (void) state;
    expect("1 + 2 * 3", "7");
    expect("(1 + 2) * 3", "9");
    expect("7 / 2", "3.5");
    expect("6 / 2", "3");
    expect("-7 % 3", "-1");
    expect("7.5 % 2", "1.5");
    expect("10 - 2 - 3", "5");
    expect("- inputs.order", "-3");
    expect("'a' + 1 + null + true", "\"a1true\"");
    expect("1 < 2 && 2 < 3", "true");
    expect("1 == 2 || 'x'", "\"x\"");
    expect("0 || null", "null");
    expect("0 && x.y", "0");
    expect("not 1 == 2", "true");
    expect("!1 == 2", "false");
    expect("not inputs.none and inputs.yes", "true");
    expect("inputs.order > 2 ? 'big' : 'small'", "\"big\"");
    expect("0 ? 1 : 0 ? 2 : 3", "3");
    expect("'two' in inputs.list", "true");
    expect("4 not in inputs.list", "true");
    expect("'da' in inputs.name", "true");
    expect("'order' in inputs", "true");
    expect("inputs.rate * 10 == 1", "true");
    expect("9223372036854775807 + 1", "9.22337203685e18");
}

static void test_comparisons_of_unlike_types(void **state)
{
    (void) state;
    expect("'3' == 3", "true");
    expect("'10' > 9", "true");
    expect("'10' > '9'", "false");
    expect("'abc' == 3", "false");
    expect("true == 1", "false");
    expect("null == 0", "false");
    expect("[1] == [1]", "true");
    expect("1 == 1.0", "true");
    expect("null < 1", "error: null and a number cannot be put in order");
    expect("'x' < 1", "error: a text and a number cannot be put in order");
    expect("true - 1", "error: true is no number to reckon with");
    expect("1 / 0", "error: a division by zero");
    expect("1e308 * 10", "error: the result is no finite number");
}

static void test_functions(void **state)
{
    (void) state;
    expect("number('1.50')", "1.5");
    expect("number('0x10')", "error: number(): a text does not read as a number");
    expect("number('nan')", "error: number(): a text does not read as a number");
    expect("text(inputs.rate)", "\"0.1\"");
    expect("length('äöü') + length(inputs.list) + length(null)", "6");
    expect("lower('ÄBC')", "\"Äbc\"");
    expect("contains(inputs.list, 'two')", "true");
    expect("starts_with(ds, '2026-')", "true");
    expect("matches('run.metric', 'run.>')", "true");
    expect("matches('run.metric', 'run.>.x')",
           "error: matches(): the second value is no pattern of topics, such as \"run.>\"");
    expect("quote(\"a'b; rm -rf /\")", "\"'a'\\\\''b; rm -rf /'\"");
}

struct wrong {
    const char *text, *error;
    int column;
};

static void test_what_is_refused_and_where(void **state)
{
    (void) state;
    static const struct wrong CASES[] = {
        {"", "the expression is empty", 0},
        {"  ", "the expression is empty", 2},
        {"1 +", "something is missing at the end", 3},
        {"a = 1", "\"=\" is no sign of an expression (== compares)", 2},
        {"a & b", "\"&\" is no sign of an expression (both must hold: &&)", 2},
        {"ds | lower", "\"|\" is no sign of an expression (one of them: ||; functions are written lower(x))", 3},
        {"(1 + 2", "this is never closed: \")\" is missing", 0},
        {"a[1", "this is never closed: \"]\" is missing", 1},
        {"'abc", "the quote is never closed", 0},
        {"a.", "a name should follow the dot", 1},
        {"1 < 2 < 3", "comparisons do not chain: write a < b && b < c", 6},
        {"upper(x)",
         "there is no function upper; there are number, text, length, lower, contains, starts_with, matches, quote", 0},
        {"contains(x)", "contains takes 2 values, not 1", 0},
        {"1 2", "the expression should end before \"2\"", 2},
        {"ä ö", "\"ä\" is no sign of an expression (texts stand in quotes)", 0},
        {"'ä' ?", "something is missing at the end", 5},
        {"x ? 1", "this is never closed: \":\" is missing", 2},
        {"and", "\"and\" cannot stand here", 0},
        {"1e999", "the number is too large", 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct ls_error err = {0};
        int column = -1;
        assert_null(expr_parse(CASES[i].text, &column, &err));
        assert_string_equal(err.text, CASES[i].error);
        assert_int_equal(column, CASES[i].column);
        assert_null(expr_parse(CASES[i].text, NULL, NULL));
    }
}

static void test_length_and_depth_are_bounded(void **state)
{
    (void) state;
    struct buf text = {0};
    struct ls_error err;
    for (int i = 0; i < 51; i++)
        buf_addf(&text, "(");
    assert_null(expr_parse(buf_text(&text), NULL, &err));
    assert_string_equal(err.text, "the expression is nested too deep");
    buf_clear(&text);
    for (int i = 0; i < 4000; i++)
        buf_addf(&text, "!");
    assert_null(expr_parse(buf_text(&text), NULL, &err));
    assert_string_equal(err.text, "the expression is nested too deep");
    buf_clear(&text);
    buf_addf(&text, "1");
    for (int i = 0; i < 2000; i++)
        buf_addf(&text, "+1");
    char *sum = value_of(buf_text(&text));
    assert_string_equal(sum, "2001");
    free(sum);
    for (int i = 0; i < 100; i++)
        buf_addf(&text, "+1");
    assert_null(expr_parse(buf_text(&text), NULL, &err));
    assert_string_equal(err.text, "the expression is longer than 4096 bytes");
    buf_fini(&text);
}

static void collect(void *arg, const char *first, const char *second)
{
    buf_addf(arg, "%s/%s ", first, second ? second : "-");
}

static void test_names_of_an_expression(void **state)
{
    (void) state;
    struct buf out = {0};
    struct expr *e = expr_parse("inputs.a > outputs['t'].x && lower(ds) == inputs[b].c || (run_id).x", NULL, NULL);
    expr_names(e, collect, &out);
    assert_string_equal(buf_text(&out), "inputs/a outputs/t ds/- inputs/- b/- run_id/x ");
    expr_free(e);
    buf_clear(&out);
    template_names("{{ a.b }} and \\{{ c }} and {{d}}", collect, &out);
    assert_string_equal(buf_text(&out), "a/b d/- ");
    buf_fini(&out);
}

static void expect_filled(const char *text, const char *filled)
{
    struct buf out = {0};
    struct ls_error err = {0};
    json_t *names = scope();
    if (template_fill(text, names, &out, &err)) {
        buf_clear(&out);
        buf_addf(&out, "error: %s", err.text);
    }
    assert_string_equal(buf_text(&out), filled);
    json_decref(names);
    buf_fini(&out);
}

static void test_templates_are_filled(void **state)
{
    (void) state;
    expect_filled("", "");
    expect_filled("plain } {x} }}", "plain } {x} }}");
    expect_filled("{{inputs.name}}-{{ inputs.order }}{{inputs.none}}!", "Ada-3!");
    expect_filled("{{ inputs.list }} {{ inputs.yes }} {{ inputs.rate }}", "[1,\"two\",null] true 0.1");
    expect_filled("{{ '}}' + \"{{\" }}", "}}{{");
    expect_filled("docker ps --format '\\{{.Names}}' \\\\{{ x", "docker ps --format '{{.Names}}' \\{{ x");
    expect_filled("\\{{\\{{ {{ 1 }}", "{{{{ 1");
    expect_filled("a {{ 1 / 0 }}", "error: {{ 1 / 0 }}: a division by zero");
}

static void test_templates_that_are_malformed(void **state)
{
    (void) state;
    static const struct wrong CASES[] = {
        {"a {{ x", "the {{ is never closed by }}", 4},
        {"ä {{ 1 + }}", "something is missing at the end", 9},
        {"{{ }}", "the expression is empty", 3},
        {"{{ {a} }}", "\"{\" is no sign of an expression (a { has no place inside an expression)", 3},
        {"{{ x } }", "\"}\" is no sign of an expression (one } too many)", 5},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct ls_error err = {0};
        int column = -1;
        assert_int_equal(template_check(CASES[i].text, &column, &err), -1);
        assert_string_equal(err.text, CASES[i].error);
        assert_int_equal(column, CASES[i].column);
    }
    assert_int_equal(template_check("{{ a }} {{ b }}", NULL, NULL), 0);
}

static void test_a_single_expression_keeps_its_type(void **state)
{
    (void) state;
    json_t *names = scope();
    json_t *from = json_loads("{\"a\": \"{{ inputs.order }}\", \"b\": [\"{{ inputs.list }}\", \"x{{ ds }}\", 5, null], "
                              "\"{{ k }}\": \"{{ 1 }}{{ 2 }}\"}",
                              0, NULL);
    json_t *filled = template_value(from, names, NULL);
    char *text = json_dumps(filled, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"a\":3,\"b\":[[1,\"two\",null],\"x2026-11-23\",5,null],\"{{ k }}\":\"12\"}");
    free(text);
    json_decref(filled);
    json_decref(from);
    struct ls_error err;
    from = json_pack("{s:[s]}", "a", "{{ -'x' }}");
    assert_null(template_value(from, names, &err));
    assert_string_equal(err.text, "{{ -'x' }}: a text is no number to reckon with");
    json_decref(from);
    json_decref(names);
}

static void test_texts_do_not_grow_without_end(void **state)
{
    (void) state;
    struct buf text = {0};
    struct ls_error err;
    char *large = xcalloc(1, 100001);
    memset(large, 'x', 100000);
    json_t *names = json_pack("{s:s}", "x", large);
    buf_addf(&text, "x");
    for (int i = 0; i < 20; i++)
        buf_addf(&text, "+x");
    struct expr *e = expr_parse(buf_text(&text), NULL, NULL);
    assert_null(expr_eval(e, names, &err));
    assert_string_equal(err.text, "the text becomes longer than 1 MiB");
    expr_free(e);
    buf_clear(&text);
    for (int i = 0; i < 20; i++)
        buf_addf(&text, "{{x}}");
    struct buf out = {0};
    assert_int_equal(template_fill(buf_text(&text), names, &out, &err), -1);
    buf_fini(&out);
    buf_fini(&text);
    json_decref(names);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_and_paths),
        cmocka_unit_test(test_operators_and_their_rank),
        cmocka_unit_test(test_comparisons_of_unlike_types),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_what_is_refused_and_where),
        cmocka_unit_test(test_length_and_depth_are_bounded),
        cmocka_unit_test(test_names_of_an_expression),
        cmocka_unit_test(test_templates_are_filled),
        cmocka_unit_test(test_templates_that_are_malformed),
        cmocka_unit_test(test_a_single_expression_keeps_its_type),
        cmocka_unit_test(test_texts_do_not_grow_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
