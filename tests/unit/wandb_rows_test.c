/* SPDX-License-Identifier: Apache-2.0 */
/* The texts that W&B gets (nodes/wandb/rows.h), and how its answers are read (api_text.h, api_json). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <time.h>

#include "nodes/wandb/api.h"
#include "nodes/wandb/api_text.h"
#include "nodes/wandb/rows.h"

static void assert_name(char *name, const char *expected)
{
    assert_string_equal(name, expected);
    free(name);
}

static void a_row_gathers_each_metric_of_a_step_once(void **state)
{
    (void) state;
    struct row row = {0};
    struct buf line = {0};
    assert_true(row_fits(&row, "loss", 7));
    row.step = 7;
    row_add(&row, "loss", "0.5");
    assert_false(row_fits(&row, "loss", 7));
    assert_false(row_fits(&row, "acc", 8));
    assert_true(row_fits(&row, "a \"b\"", 7));
    row_add(&row, "a \"b\"", "NaN");
    char *column = row_column("_step"), *plain = row_column("loss");
    assert_string_equal(plain, "loss");
    row_add(&row, column, "3");
    free(column);
    free(plain);
    row_line(&line, ls_bytes(row.text.data, row.text.len),
             &(struct row_place){.step = 9, .axis = -2, .has_axis = true});
    assert_string_equal(buf_text(&line),
                        "{\"loss\":0.5,\"a \\\"b\\\"\":NaN,\"metric/_step\":3,\"_step\":9,\"" ROW_AXIS "\":-2}");
    row_clear(&row);
    assert_true(row_fits(&row, "loss", 8));
    row_fini(&row);
    buf_fini(&line);
}

static void the_summary_and_the_config(void **state)
{
    (void) state;
    struct buf out = {0};
    json_auto_t *latest = json_pack("{s:[i,s]}", "loss", 4, "-Infinity");
    json_auto_t *config = json_pack("{s:f,s:s,s:{s:i}}", "lr", 0.001, "_wandb", "theirs", "inputs", "epochs", 3);
    json_auto_t *axes = json_pack("[s]", "loss"), *none = json_array();
    row_summary(&out, latest, &(struct row_last){.step = 4, .at_ms = 5250, .started_ms = 3000});
    assert_string_equal(
        buf_text(&out),
        "{\"loss\":-Infinity,\"_step\":4,\"_timestamp\":5.250,\"_runtime\":2.250,\"_wandb\":{\"runtime\":2}}");
    buf_clear(&out);
    row_config(&out, config, axes);
    assert_string_equal(buf_text(&out), "{\"lr\":{\"value\":0.001},\"inputs\":{\"value\":{\"epochs\":3}},\"_wandb\":{"
                                        "\"value\":{\"t\":{\"1\":[1]},\"m\":["
                                        "{\"1\":\"" ROW_AXIS "\",\"6\":[3]},{\"1\":\"loss\",\"5\":1,\"6\":[1,3]}]}}}");
    buf_clear(&out);
    row_config(&out, NULL, none);
    assert_string_equal(buf_text(&out), "{\"_wandb\":{\"value\":{\"t\":{\"1\":[1]},\"m\":[]}}}");
    buf_fini(&out);
}

static void a_summary_of_very_many_metrics_leaves_room_for_lines(void **state)
{
    (void) state;
    struct buf out = {0};
    json_auto_t *latest = json_object();
    for (int i = 0; i < 15000; i++) {
        char key[256];
        snprintf(key, sizeof key, "%0250d", i);
        json_object_set_new(latest, key, json_pack("[i,s]", 0, "0.5"));
    }
    row_summary(&out, latest, &(struct row_last){.step = 4});
    assert_in_range(out.len, 2u << 20, (2u << 20) + 1024);
    json_auto_t *json = api_json(ls_bytes(out.data, out.len), NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "_step")), 4);
    buf_fini(&out);
}

static void names_are_made_fit(void **state)
{
    (void) state;
    assert_name(name_project("a/b: c"), "a-b- c");
    assert_name(name_project(""), "uncategorized");
    assert_name(name_run("0f3c9a5e7d1b4c2f8a6e5d4c3b2a1908", 1), "0f3c9a5e7d1b4c2f8a6e5d4c3b2a1908");
    assert_name(name_run("r1", 3), "r1-3");
    assert_name(name_label("stage", "final"), "stage=final");
    assert_name(name_label("bus", ""), "bus");
    char *one = name_run("a:1", 1), *other = name_run("a;1", 1);
    assert_string_not_equal(one, other);
    assert_memory_equal(one, "a-1-", 4);
    free(one);
    free(other);
    char *label = name_label("key", "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\xc3\xa9");
    assert_int_equal(strlen(label), 63); /* not within a character */
    free(label);
}

static void json_with_bare_words(void **state)
{
    (void) state;
    json_auto_t *json =
        api_json(ls_str("{\"a\":NaN,\"b\":[-Infinity,Infinity],\"c\":\"NaN \\\" Infinity\",\"d\":-1}"), NULL);
    char *text = json_dumps(json, JSON_COMPACT);
    assert_string_equal(text,
                        "{\"a\":\"NaN\",\"b\":[\"-Infinity\",\"Infinity\"],\"c\":\"NaN \\\" Infinity\",\"d\":-1}");
    free(text);
    struct ls_error err = {0};
    assert_null(api_json(ls_str("<html>"), &err));
    assert_string_equal(err.name, "BAD_VALUE");
    assert_null(api_json(ls_str(""), NULL));
    assert_null(api_json(ls_str("{\"a"), NULL));
}

static void what_is_final(void **state)
{
    (void) state;
    static const struct {
        unsigned status;
        const char *body;
        bool graphql, again;
    } CASES[] = {{401, "{\"error\":\"bad key\"}", true, false},
                 {403, "", false, false},
                 {404, "x", false, false},
                 {409, "{\"error\":\"busy\"}", true, true},
                 {409, "{\"error\":\"busy\"}", false, false},
                 {409, "{\"errors\":[{\"message\":\"Duplicate entry 'r1'\"}]}", true, false},
                 {413, "", false, false},
                 {422, "", true, false},
                 {429, "", true, true},
                 {500, "[]", false, true},
                 {301, "", true, true}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct ls_error err = {0};
        api_refusal(&err, CASES[i].status, ls_str(CASES[i].body), CASES[i].graphql);
        assert_int_equal(err.again, CASES[i].again);
        assert_int_equal(err.number, CASES[i].status);
    }
    struct ls_error err = {0};
    json_auto_t *denied = json_pack("[{s:s}]", "message", "permission denied"),
                *unclear = json_pack("[{s:s}]", "message", "oops");
    api_graphql_errors(&err, denied);
    assert_int_equal(err.number, 403);
    assert_false(err.again);
    api_graphql_errors(&err, unclear);
    assert_true(err.again);
    assert_string_equal(err.text, "W&B said: oops");
}

static void retry_after(void **state)
{
    (void) state;
    char date[64];
    time_t soon = time(NULL) + 100;
    struct tm tm;
    assert_int_equal(api_retry_after(NULL), 0);
    assert_int_equal(api_retry_after("2"), 2000);
    assert_int_equal(api_retry_after("0.5"), 500);
    assert_int_equal(api_retry_after("soon"), 0);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&soon, &tm));
    assert_in_range(api_retry_after(date), 90000, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_gathers_each_metric_of_a_step_once),
        cmocka_unit_test(the_summary_and_the_config),
        cmocka_unit_test(a_summary_of_very_many_metrics_leaves_room_for_lines),
        cmocka_unit_test(names_are_made_fit),
        cmocka_unit_test(json_with_bare_words),
        cmocka_unit_test(what_is_final),
        cmocka_unit_test(retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
