/* SPDX-License-Identifier: Apache-2.0 */
/* The search language of the tracker: what it takes, as which SQL, and what it says about the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/tracker/search.h"

struct asked {
    struct search search;
    struct query query;
};

static const char *where(struct asked *a, const struct search_subject *subject, const char *filter, bool postgres)
{
    struct ls_error err = {0};
    *a = (struct asked){.search = {.subject = subject}, .query = {.postgres = postgres}};
    if (search_filter(&a->search, filter, &err) < 0)
        fail_msg("%s: %s", filter, err.text);
    search_where(&a->query, &a->search);
    return buf_text(&a->query.sql);
}

static void done(struct asked *a)
{
    query_fini(&a->query);
    search_fini(&a->search);
}

/* A filter, and the SQL for SQLite; the values, each as text. */
static const struct {
    const struct search_subject *subject;
    const char *filter, *sql, *values;
} GOOD[] = {
    {&SEARCH_RUNS, "", "", ""},
    {&SEARCH_RUNS, "  ", "", ""},
    {&SEARCH_RUNS, "metrics.loss < 0.5",
     " AND EXISTS (SELECT 1 FROM latest_metrics x WHERE x.run_uuid = r.run_uuid AND x.key = $1 AND x.value < $2)",
     "loss|0.5"},
    {&SEARCH_RUNS, "metric.`my loss`>=-1e-3 and params.\"lr\" = '0.1'",
     " AND EXISTS (SELECT 1 FROM latest_metrics x WHERE x.run_uuid = r.run_uuid AND x.key = $1 AND x.value >= $2)"
     " AND EXISTS (SELECT 1 FROM params x WHERE x.run_uuid = r.run_uuid AND x.key = $3 AND x.value = $4)",
     "my loss|-0.001|lr|0.1"},
    {&SEARCH_RUNS, "tags.mlflow.source.name ILIKE '%Main_'",
     " AND EXISTS (SELECT 1 FROM tags x WHERE x.run_uuid = r.run_uuid AND x.key = $1 AND LOWER(x.value) LIKE "
     "LOWER($2))",
     "mlflow.source.name|%Main_"},
    {&SEARCH_RUNS, "tags.a LIKE 'x%_*?[y'",
     " AND EXISTS (SELECT 1 FROM tags x WHERE x.run_uuid = r.run_uuid AND x.key = $1 AND x.value GLOB $2)",
     "a|x*?[*][?][[]y"},
    {&SEARCH_RUNS, "params.a IS NULL AND tag.b IS NOT NULL",
     " AND NOT EXISTS (SELECT 1 FROM params x WHERE x.run_uuid = r.run_uuid AND x.key = $1)"
     " AND EXISTS (SELECT 1 FROM tags x WHERE x.run_uuid = r.run_uuid AND x.key = $2)",
     "a|b"},
    {&SEARCH_RUNS, "status = \"FINISHED\" AND attributes.start_time > 17",
     " AND r.status = $1 AND r.start_time > CAST($2 AS BIGINT)", "FINISHED|17"},
    {&SEARCH_RUNS, "attr.`run name` != 'it''s; DROP TABLE runs--'", " AND r.name <> $1", "it's; DROP TABLE runs--"},
    {&SEARCH_RUNS, "run_id IN ('a', 'b')", " AND r.run_uuid IN (SELECT CAST(value AS VARCHAR) FROM json_each($1))",
     "[\"a\",\"b\"]"},
    {&SEARCH_RUNS, "run_id NOT IN ('a')", " AND r.run_uuid NOT IN (SELECT CAST(value AS VARCHAR) FROM json_each($1))",
     "[\"a\"]"},
    {&SEARCH_RUNS, "datasets.name = 'd'",
     " AND EXISTS (SELECT 1 FROM inputs x JOIN datasets d ON d.dataset_uuid = x.source_id LEFT JOIN input_tags c ON "
     "c.input_uuid = x.input_uuid "
     "AND c.name = 'mlflow.data.context' WHERE x.source_type = 'DATASET' AND x.destination_type = 'RUN' AND "
     "x.destination_id = r.run_uuid"
     " AND d.name = $1)",
     "d"},
    {&SEARCH_EXPERIMENTS, "name LIKE 'a%' AND creation_time >= 5",
     " AND e.name GLOB $1 AND e.creation_time >= CAST($2 AS BIGINT)", "a*|5"},
    {&SEARCH_MODELS, "name='m' AND tag.`mlflow.prompt.is_prompt` != 'true'",
     " AND m.name = $1 AND NOT EXISTS (SELECT 1 FROM registered_model_tags x WHERE x.name = m.name AND x.key = "
     "'mlflow.prompt.is_prompt' "
     "AND x.value = 'true')",
     "m"},
    {&SEARCH_MODELS, "tags.`mlflow.prompt.is_prompt` = 'true'",
     " AND EXISTS (SELECT 1 FROM registered_model_tags x WHERE x.name = m.name AND x.key = $1 AND x.value = $2)",
     "mlflow.prompt.is_prompt|true"},
    {&SEARCH_LOGGED_MODELS, "status = 'READY' AND metrics.acc > 1",
     " AND l.status = CAST($1 AS BIGINT) AND EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = "
     "l.model_id AND x.metric_name = $2 "
     "AND x.metric_value > $3)",
     "2|acc|1"},
};

static void show_values(const struct query *q, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < q->count && at < size; i++) {
        const struct db_value *v = &q->values[i];
        const char *bar = i ? "|" : "";
        if (v->type == DB_TEXT)
            at += (size_t) snprintf(text + at, size - at, "%s%.*s", bar, (int) v->text.len, v->text.data);
        else if (v->type == DB_INT)
            at += (size_t) snprintf(text + at, size - at, "%s%lld", bar, (long long) v->i);
        else
            at += (size_t) snprintf(text + at, size - at, "%s%g", bar, v->d);
    }
}

static void good_filters_become_sql_with_parameters(void **state)
{
    (void) state;
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        struct asked a;
        char values[500];
        assert_string_equal(where(&a, GOOD[i].subject, GOOD[i].filter, false), GOOD[i].sql);
        show_values(&a.query, values, sizeof values);
        assert_string_equal(values, GOOD[i].values);
        done(&a);
    }
}

static void postgres_has_its_own_like_and_lists(void **state)
{
    (void) state;
    struct asked a;
    assert_string_equal(where(&a, &SEARCH_RUNS, "user_id LIKE 'a%'", true), " AND r.user_id LIKE $1 ESCAPE ''");
    done(&a);
    assert_string_equal(where(&a, &SEARCH_RUNS, "run_id IN ('a')", true),
                        " AND r.run_uuid IN (SELECT CAST(jsonb_array_elements_text($1::jsonb) AS VARCHAR))");
    done(&a);
}

/* A filter, and what its complaint says. */
static const struct {
    const struct search_subject *subject;
    const char *filter, *says;
} BAD[] = {
    {&SEARCH_RUNS, "loss", "at character 1, near 'loss', 'loss' is no attribute of a run; it is one of run_id"},
    {&SEARCH_RUNS, "metrics.loss", "at its end an operator is missing"},
    {&SEARCH_RUNS, "metrics. < 1", "at character 10, near '<', a key is missing"},
    {&SEARCH_RUNS, "metrics.loss < ", "at its end a number is missing"},
    {&SEARCH_RUNS, "metrics.loss < 'a'", "a number is missing; numbers stand without quotes"},
    {&SEARCH_RUNS, "metrics.loss LIKE 'a'", "at character 14, near 'LIKE', this operator does not fit; numbers take"},
    {&SEARCH_RUNS, "params.lr > '1'", "this operator does not fit; texts take"},
    {&SEARCH_RUNS, "params.lr = 1", "a quoted string is missing"},
    {&SEARCH_RUNS, "params.lr = 'x", "the string does not end"},
    {&SEARCH_RUNS, "params.lr IN ('x')", "this operator does not fit"},
    {&SEARCH_RUNS, "start_time > 1.5", "a whole number is missing"},
    {&SEARCH_RUNS, "status = 'A' OR status = 'B'",
     "near 'OR', AND or the end is expected; comparisons are joined by AND alone"},
    {&SEARCH_RUNS, "(status = 'A')", "at character 1, near '(status', a name is missing"},
    {&SEARCH_RUNS, "status = 'A' AND", "at its end a name is missing"},
    {&SEARCH_RUNS, "run_id IN ()", "a quoted string is missing"},
    {&SEARCH_RUNS, "run_id IN ('a'", "at its end the list does not end"},
    {&SEARCH_RUNS, "run_id IS NULL", "this operator does not fit"},
    {&SEARCH_RUNS, "model.name = 'x'", "'model' is nothing that a run has"},
    {&SEARCH_RUNS, "datasets.color = 'x'", "'color' is no attribute of a run; it is one of name, digest, context"},
    {&SEARCH_RUNS, "metrics.loss < 1e999", "a number is missing"},
    {&SEARCH_RUNS, "tags.a = 'b';", "near ';', AND or the end is expected"},
    {&SEARCH_EXPERIMENTS, "metrics.loss < 1", "'metrics' is nothing that an experiment has"},
    {&SEARCH_MODELS, "timestamp > 1", "'timestamp' is no attribute of a registered model; it is one of name"},
    {&SEARCH_VERSIONS, "name IN 'a'", "a list is missing; write IN ('a', 'b')"},
};

static void bad_filters_are_told_with_their_place(void **state)
{
    (void) state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct search search = {.subject = BAD[i].subject};
        struct ls_error err = {0};
        if (search_filter(&search, BAD[i].filter, &err) == 0)
            fail_msg("%s was taken", BAD[i].filter);
        assert_string_equal(err.name, "BAD_VALUE");
        if (!strstr(err.text, BAD[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", BAD[i].filter, err.text, BAD[i].says);
        search_fini(&search);
    }
}

static void bytes_of_any_kind_are_taken_or_refused(void **state)
{
    (void) state;
    static const char PIECES[] = "metrics.a <>= 'b' \"`,() AND IN NOT LIKE IS NULL 1e5 -\xc3\xa4\xff\t";
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[40];
        size_t len = i % (sizeof text - 1);
        for (size_t j = 0; j < len; j++) {
            seed = seed * 1103515245u + 12345u;
            text[j] = PIECES[(seed >> 16) % (sizeof PIECES - 1)];
        }
        text[len] = '\0';
        struct search search = {.subject = &SEARCH_RUNS};
        struct query query = {0};
        struct ls_error err;
        if (search_filter(&search, text, &err) == 0)
            search_where(&query, &search);
        query_fini(&query);
        search_fini(&search);
    }
}

static const char *order(struct asked *a, const struct search_subject *subject, const char *text, const char *last)
{
    struct ls_error err = {0};
    *a = (struct asked){.search = {.subject = subject}};
    if (search_order(&a->search, text, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    search_order_by(&a->query, &a->search, last);
    return buf_text(&a->query.sql);
}

static void orders_put_what_is_missing_last(void **state)
{
    (void) state;
    struct asked a;
    assert_string_equal(order(&a, &SEARCH_RUNS, "start_time", "r.run_uuid"),
                        " ORDER BY CASE WHEN r.start_time IS NULL THEN 1 ELSE 0 END, r.start_time, r.run_uuid");
    assert_true(search_orders_by(&a.search, "r.start_time"));
    done(&a);
    assert_string_equal(order(&a, &SEARCH_RUNS, "metrics.`x y` desc", "r.run_uuid"),
                        " ORDER BY COALESCE((SELECT CASE WHEN x.is_nan THEN 1 ELSE 0 END FROM latest_metrics x WHERE "
                        "x.run_uuid = r.run_uuid "
                        "AND x.key = $1), 2), (SELECT x.value FROM latest_metrics x WHERE x.run_uuid = r.run_uuid AND "
                        "x.key = $1) DESC, "
                        "r.run_uuid");
    done(&a);
    assert_string_equal(order(&a, &SEARCH_RUNS, "params.lr ASC", "r.run_uuid"),
                        " ORDER BY COALESCE((SELECT 0 FROM params x WHERE x.run_uuid = r.run_uuid AND x.key = $1), 1), "
                        "(SELECT x.value FROM params x WHERE x.run_uuid = r.run_uuid AND x.key = $1), r.run_uuid");
    done(&a);
}

static void bad_orders_are_told(void **state)
{
    (void) state;
    static const char *const ORDERS[] = {
        "", "loss DESC", "metrics.loss DOWN", "metrics.a, metrics.b", "datasets.name", "name; DROP TABLE runs"};
    for (size_t i = 0; i < sizeof ORDERS / sizeof *ORDERS; i++) {
        struct search search = {.subject = &SEARCH_RUNS};
        struct ls_error err = {0};
        if (search_order(&search, ORDERS[i], &err) == 0)
            fail_msg("%s was taken", ORDERS[i]);
        assert_string_equal(err.name, "BAD_VALUE");
        search_fini(&search);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_filters_become_sql_with_parameters),
        cmocka_unit_test(postgres_has_its_own_like_and_lists),
        cmocka_unit_test(bad_filters_are_told_with_their_place),
        cmocka_unit_test(bytes_of_any_kind_are_taken_or_refused),
        cmocka_unit_test(orders_put_what_is_missing_last),
        cmocka_unit_test(bad_orders_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
