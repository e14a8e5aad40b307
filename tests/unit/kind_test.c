/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a node kind: JSON and a table fill a struct. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/kind.h"

struct options {
    const char *model, *listen, *none;
    bool fast;
    int64_t count, size, wait;
    double weight;
    int mode;
    struct kind_texts origins;
    struct kind_text_map headers;
};

#define AT(member) offsetof(struct options, member)
static const char *const MODES[] = {"slow", "even", "quick", NULL};
static const struct kind_option OPTIONS[] = {
    {"model", KIND_TEXT, KIND_REQUIRED, AT(model), .help = "."},
    {"listen", KIND_ADDRESS, 0, AT(listen), "127.0.0.1:7480", .help = "."},
    {"none", KIND_TEXT, 0, AT(none), .help = "."},
    {"fast", KIND_BOOL, 0, AT(fast), "true", .help = "."},
    {"count", KIND_INT, 0, AT(count), "3", 1, 10, .help = "."},
    {"size", KIND_SIZE, 0, AT(size), "64KiB", .help = "."},
    {"wait", KIND_DURATION, 0, AT(wait), "1m30s", .help = "."},
    {"weight", KIND_NUMBER, 0, AT(weight), "0.5", .help = "."},
    {"mode", KIND_ENUM, 0, AT(mode), "even", .words = MODES, .help = "."},
    {"origins", KIND_TEXTS, 0, AT(origins), .help = "."},
    {"headers", KIND_TEXT_MAP, 0, AT(headers), .help = "."},
    {0},
};
static const struct kind KIND = {.name = "tester", .summary = "a kind", .options = OPTIONS, .options_size = sizeof(struct options)};

static void read_good(const char *json, struct options *o)
{
    struct ls_error err;
    if (kind_options_read(&KIND, json, o, &err))
        fail_msg("%s", err.text);
}

static void absent_options_have_their_defaults(void **state)
{
    struct options o;
    (void) state;
    read_good("{\"model\": \"m\"}", &o);
    assert_string_equal(o.model, "m");
    assert_string_equal(o.listen, "127.0.0.1:7480");
    assert_null(o.none);
    assert_true(o.fast);
    assert_int_equal(o.count, 3);
    assert_int_equal(o.size, 65536);
    assert_int_equal(o.wait, 90000);
    assert_true(o.weight > 0.49 && o.weight < 0.51);
    assert_int_equal(o.mode, 1);
    assert_null(o.origins.items);
    assert_int_equal(o.headers.count, 0);
    kind_options_free(&KIND, &o);
}

static void given_options_replace_them(void **state)
{
    struct options o;
    (void) state;
    read_good("{\"model\": \"m\", \"listen\": \"[::1]:0\", \"none\": \"some\", \"fast\": false, \"count\": 10, \"size\": 5, \"wait\": 0,"
              " \"weight\": 2, \"mode\": \"quick\", \"origins\": [\"a\", \"b\"], \"headers\": {\"k\": \"v\"}}", &o);
    assert_string_equal(o.listen, "[::1]:0");
    assert_string_equal(o.none, "some");
    assert_false(o.fast);
    assert_true(o.count == 10 && o.size == 5 && o.wait == 0 && o.weight > 1.9 && o.mode == 2);
    assert_int_equal(o.origins.count, 2);
    assert_string_equal(o.origins.items[1], "b");
    assert_null(o.origins.items[2]);
    assert_string_equal(o.headers.keys[0], "k");
    assert_string_equal(o.headers.values[0], "v");
    kind_options_free(&KIND, &o);
    kind_options_free(&KIND, &o); /* it left a zeroed struct */
}

static void what_is_wrong_is_named(void **state)
{
    static const struct { const char *json, *word; } CASES[] = {
        {"{}", "\"model\""},
        {"{\"model\": 7}", "\"model\" takes a text"},
        {"{\"model\": null}", "\"model\""},
        {"{\"model\": \"m\", \"modle\": 1}", "\"modle\""},
        {"{\"model\": \"m\", \"listen\": \"localhost\"}", "\"listen\""},
        {"{\"model\": \"m\", \"listen\": \"::1:80\"}", "\"listen\""},
        {"{\"model\": \"m\", \"listen\": \"a:70000\"}", "\"listen\""},
        {"{\"model\": \"m\", \"fast\": \"yes\"}", "\"fast\" takes true or false"},
        {"{\"model\": \"m\", \"count\": 11}", "\"count\" is 11; it must be 1 to 10"},
        {"{\"model\": \"m\", \"count\": 1.5}", "\"count\""},
        {"{\"model\": \"m\", \"wait\": \"30s\"}", "\"wait\" takes a number of milliseconds"},
        {"{\"model\": \"m\", \"mode\": \"fast\"}", "\"mode\" has no word \"fast\""},
        {"{\"model\": \"m\", \"origins\": [\"a\", 1]}", "\"origins\""},
        {"{\"model\": \"m\", \"origins\": \"a\"}", "\"origins\""},
        {"{\"model\": \"m\", \"headers\": {\"a\": \"x\", \"b\": 1}}", "\"headers\""},
        {"{\"model\": \"m\", \"model\": \"n\"}", "duplicate"},
        {"[1]", "no JSON object"},
        {"{", "no JSON object"},
    };
    struct options o;
    struct ls_error err;
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(kind_options_read(&KIND, CASES[i].json, &o, &err), -1);
        assert_string_equal(err.name, "BAD_VALUE");
        if (!strstr(err.text, CASES[i].word))
            fail_msg("%s: %s", CASES[i].json, err.text);
    }
}

static void a_kind_may_have_no_options(void **state)
{
    static const struct kind BARE = {.name = "bare", .summary = "."};
    struct ls_error err;
    (void) state;
    assert_int_equal(kind_options_read(&BARE, "{}", NULL, &err), 0);
    assert_int_equal(kind_options_read(&BARE, "{\"a\": 1}", NULL, &err), -1);
    kind_options_free(&BARE, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_options_have_their_defaults),
        cmocka_unit_test(given_options_replace_them),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_kind_may_have_no_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
