/* SPDX-License-Identifier: Apache-2.0 */
/* The history of metrics: of one run in pages, of several at once, thinned out for charts. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define HISTORY_MAX 1000000 /* MLflow 1 and 2 ask without max_results and know no pages */
#define BULK_MAX 25000
#define BULK_RUNS_MAX 100
#define SAMPLES_MAX 2500

struct history {
    json_t *metrics;
    const char *key;
};

/* value, is_nan, timestamp, step, and the run */
static void take_value(void *arg, const struct db_row *row, bool run)
{
    struct history *h = arg;
    json_t *metric = json_object();
    json_object_set_new(metric, "key", json_string(h->key));
    json_object_set_new(metric, "value", answer_value(row, 0, 1));
    json_object_set_new(metric, "timestamp", json_integer(db_get_int(row, 2)));
    json_object_set_new(metric, "step", json_integer(db_get_int(row, 3)));
    if (run) {
        struct ls_slice id = db_get_text(row, 4);
        json_object_set_new(metric, "run_id", json_stringn(id.data, id.len));
    }
    json_array_append_new(h->metrics, metric);
}

static void take_own(void *arg, const struct db_row *row)
{
    take_value(arg, row, false);
}

static void take_of_run(void *arg, const struct db_row *row)
{
    take_value(arg, row, true);
}

json_t *op_metrics_get_history(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err), *key = need_text(call, call->request, "metric_key", err);
    struct answer_page page = {
        .key = "metrics", .most = ask_max(call, HISTORY_MAX, HISTORY_MAX, err), .offset = token_read(call, "", err)};
    struct history h = {json_array(), key};
    if (refused(call) || db_run(call->tracker->db,
                                "SELECT value, is_nan, timestamp, step FROM metrics WHERE run_uuid = $1 AND key = $2 "
                                "ORDER BY timestamp, step, value "
                                "LIMIT CAST($3 AS BIGINT) OFFSET CAST($4 AS BIGINT)",
                                DB_VALUES(db_text(run), db_text(key), db_int(page.most + 1), db_int(page.offset)),
                                take_own, &h, err) < 0) {
        json_decref(h.metrics);
        return NULL;
    }
    return answer_list(&page, h.metrics);
}

/* ---- several runs ---- */

static const json_t *ask_runs(struct op_call *call, const char *key, struct ls_error *err)
{
    const json_t *runs = ask_list(call, call->request, key, false, err);
    if (!json_array_size(runs))
        op_fail(call, err, INVALID, "%s must be given, at least once", key);
    if (json_array_size(runs) > BULK_RUNS_MAX)
        op_fail(call, err, INVALID, "%s must name at most %d runs, received %zu", key, BULK_RUNS_MAX,
                json_array_size(runs));
    return runs;
}

static json_t *run_history(struct op_call *call, struct query *query, const char *key, struct ls_error *err)
{
    struct history h = {json_array(), key};
    bool ok = db_run(call->tracker->db, buf_text(&query->sql), query->values, query->count, take_of_run, &h, err) >= 0;
    query_fini(query);
    json_t *answer = ok && json_array_size(h.metrics) ? json_pack("{s:O}", "metrics", h.metrics)
                     : ok                             ? json_object()
                                                      : NULL;
    json_decref(h.metrics);
    return answer;
}

/* A query for the columns, of these runs and this metric. */
static struct query begin_query(struct op_call *call, const char *columns, const json_t *runs, const char *key)
{
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    buf_addf(&query.sql, "SELECT %s FROM metrics WHERE key = $%zu AND ", columns, query_text(&query, key));
    query_list(&query, "run_uuid", runs, "VARCHAR", false);
    return query;
}

#define VALUE_COLUMNS "value, is_nan, timestamp, step, run_uuid"

json_t *op_metrics_get_history_bulk(struct op_call *call, struct ls_error *err)
{
    const json_t *runs = ask_runs(call, "run_id", err);
    const char *key = need_text(call, call->request, "metric_key", err);
    int64_t most = ask_max(call, BULK_MAX, BULK_MAX, err);
    if (refused(call))
        return NULL;
    struct query query = begin_query(call, VALUE_COLUMNS, runs, key);
    buf_addf(&query.sql, " ORDER BY run_uuid, timestamp, step, value");
    query_page(&query, most - 1, 0);
    return run_history(call, &query, key, err);
}

/* ---- thinned out ---- */

struct steps {
    int64_t *steps;
    size_t count, room;
};

static void take_step(void *arg, const struct db_row *row)
{
    struct steps *s = arg;
    s->steps = xgrow(s->steps, &s->room, s->count + 1, sizeof *s->steps);
    s->steps[s->count++] = db_get_int(row, 0);
}

static void take_ends(void *arg, const struct db_row *row)
{
    json_array_append_new(arg, json_sprintf("%lld", (long long) db_get_int(row, 0)));
    json_array_append_new(arg, json_sprintf("%lld", (long long) db_get_int(row, 1)));
}

static void between(struct query *query, struct op_call *call, struct ls_error *err)
{
    if (!has(call->request, "start_step"))
        return;
    size_t from = query_int(query, ask_int(call, call->request, "start_step", 0, err)),
           to = query_int(query, ask_int(call, call->request, "end_step", 0, err));
    buf_addf(&query->sql, " AND step BETWEEN CAST($%zu AS BIGINT) AND CAST($%zu AS BIGINT)", from, to);
}

/* The steps to show, as texts: all if they are few; else evenly spaced ones, and of each run its first and last. */
static json_t *choose_steps(struct op_call *call, const json_t *runs, const char *key, size_t most,
                            struct ls_error *err)
{
    struct db *db = call->tracker->db;
    struct steps all = {0};
    json_t *chosen = json_array();
    struct query query = begin_query(call, "DISTINCT step", runs, key);
    between(&query, call, err);
    buf_addf(&query.sql, " ORDER BY step");
    bool ok = db_run(db, buf_text(&query.sql), query.values, query.count, take_step, &all, err) >= 0;
    query_fini(&query);
    for (size_t i = 0; i < most && i < all.count; i++) {
        size_t at = all.count <= most ? i : i * (all.count - 1) / (most > 1 ? most - 1 : 1);
        json_array_append_new(chosen, json_sprintf("%lld", (long long) all.steps[at]));
    }
    if (ok && all.count > most) {
        query = begin_query(call, "MIN(step), MAX(step)", runs, key);
        between(&query, call, err);
        buf_addf(&query.sql, " GROUP BY run_uuid");
        ok = db_run(db, buf_text(&query.sql), query.values, query.count, take_ends, chosen, err) >= 0;
        query_fini(&query);
    }
    free(all.steps);
    if (ok)
        return chosen;
    json_decref(chosen);
    return NULL;
}

json_t *op_metrics_get_history_interval(struct op_call *call, struct ls_error *err)
{
    const json_t *runs = ask_runs(call, "run_ids", err);
    const char *key = need_text(call, call->request, "metric_key", err);
    int64_t most = ask_max(call, SAMPLES_MAX, SAMPLES_MAX, err),
            start = ask_int(call, call->request, "start_step", 0, err),
            end = ask_int(call, call->request, "end_step", 0, err);
    if (has(call->request, "start_step") != has(call->request, "end_step"))
        op_fail(call, err, INVALID, "If either start step or end step are specified, both must be specified.");
    if (start > end)
        op_fail(call, err, INVALID,
                "end_step must be greater than start_step. Found start_step=%lld and end_step=%lld.", (long long) start,
                (long long) end);
    json_t *steps = refused(call) ? NULL : choose_steps(call, runs, key, (size_t) most, err);
    if (!steps)
        return NULL;
    struct query query = begin_query(call, VALUE_COLUMNS, runs, key);
    buf_addf(&query.sql, " AND ");
    query_list(&query, "step", steps, "BIGINT", false);
    buf_addf(&query.sql, " ORDER BY run_uuid, step, timestamp, value");
    json_decref(steps);
    return run_history(call, &query, key, err);
}
