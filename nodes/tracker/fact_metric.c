/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: gathered, then written as a set, and the latest of each key, in few statements. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/xmem.h"
#include "nodes/tracker/fact.h"

#define COLUMNS 6
#define ROWS_MAX 64

struct metrics {
    struct metric *items;
    size_t count, room;
};

struct metrics *metrics_new(void)
{
    return xcalloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics **metrics)
{
    if (*metrics)
        free((*metrics)->items);
    free(*metrics);
    *metrics = NULL;
}

/* As MLflow keeps them: 0 for NaN, with is_nan; the largest numbers for the infinities. */
void metrics_add(struct metrics *metrics, struct metric metric)
{
    metric.is_nan = isnan(metric.value);
    metric.value = metric.is_nan         ? 0
                   : isinf(metric.value) ? copysign(DBL_MAX, metric.value)
                                         : metric.value + 0.0; /* -0 is 0 */
    metrics->items = xgrow(metrics->items, &metrics->room, metrics->count + 1, sizeof metric);
    metrics->items[metrics->count++] = metric;
}

void metrics_drop(struct metrics *metrics)
{
    metrics->count = 0;
}

/* ---- statements of many rows ---- */

/* One text for each number of rows in use: PostgreSQL prepares each once. */
static const size_t SIZES[] = {ROWS_MAX, 8, 1};
#define SIZE_COUNT (sizeof SIZES / sizeof *SIZES)
struct many {
    const char *before, *after;
    char *texts[SIZE_COUNT];
};

static const char *text_of(struct many *many, size_t size)
{
    struct buf text = {0};
    if (many->texts[size])
        return many->texts[size];
    buf_addf(&text, "%s VALUES ", many->before);
    for (size_t row = 0; row < SIZES[size]; row++) {
        buf_addf(&text, "%s(", row ? ", " : "");
        for (size_t i = 0; i < COLUMNS; i++)
            buf_addf(&text, "%s$%zu", i ? ", " : "", row * COLUMNS + i + 1);
        buf_addf(&text, ")");
    }
    buf_addf(&text, " %s", many->after);
    many->texts[size] = xstrdup(buf_text(&text)); /* for the life of the process */
    buf_fini(&text);
    return many->texts[size];
}

static int put_all(struct db *db, struct many *many, const struct metric *items, size_t count, struct ls_error *err)
{
    struct db_value values[ROWS_MAX * COLUMNS];
    while (count) {
        size_t size = 0;
        while (SIZES[size] > count)
            size++;
        for (size_t row = 0; row < SIZES[size]; row++) {
            const struct metric *m = &items[row];
            const struct db_value columns[COLUMNS] = {db_slice(m->key), db_double(m->value), db_int(m->timestamp),
                                                      db_slice(m->run), db_int(m->step),     db_bool(m->is_nan)};
            memcpy(&values[row * COLUMNS], columns, sizeof columns);
        }
        if (db_queue(db, text_of(many, size), values, SIZES[size] * COLUMNS, err))
            return -1;
        items += SIZES[size];
        count -= SIZES[size];
    }
    return 0;
}

/* ---- the latest of each key ---- */

static int compare_slices(struct ls_slice a, struct ls_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_keys(const struct metric *a, const struct metric *b)
{
    int order = compare_slices(a->run, b->run);
    return order ? order : compare_slices(a->key, b->key);
}

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

/* By run and key, the latest first. is_nan comes last so that the order in which NaN and 0 arrive does not matter. */
static int compare(const void *left, const void *right)
{
    const struct metric *a = left, *b = right;
    int order = compare_keys(a, b);
    order = order ? order : COMPARE(b->step, a->step);
    order = order ? order : COMPARE(b->timestamp, a->timestamp);
    order = order ? order : COMPARE(b->value, a->value);
    return order ? order : COMPARE(b->is_nan, a->is_nan);
}

/* Keeps the first of each run and key; returns how many there are. */
static size_t keep_latest(struct metric *items, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!kept || compare_keys(&items[kept - 1], &items[i]) != 0)
            items[kept++] = items[i];
    return kept;
}

/* Sorted by run and key, rows are locked in one order by all who write: no deadlock with MLflow's own server. */
int metrics_flush(struct tracker *t, struct ls_error *err)
{
    static struct many insert = {.before = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)",
                                 .after = "ON CONFLICT DO NOTHING"};
    static struct many latest = {
        .before = "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)",
        .after =
            "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = "
            "excluded.step,"
            " is_nan = excluded.is_nan WHERE (excluded.step, excluded.timestamp, excluded.value, excluded.is_nan) >"
            " (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value, latest_metrics.is_nan)"};
    struct metrics *m = t->metrics;
    size_t count = m->count;
    m->count = 0;
    if (!count)
        return 0;
    qsort(m->items, count, sizeof *m->items, compare);
    if (put_all(t->db, &insert, m->items, count, err))
        return -1;
    return put_all(t->db, &latest, m->items, keep_latest(m->items, count), err);
}

/* ---- run.metric ---- */

static bool read_value(const json_t *value, double *number)
{
    static const struct {
        const char *text;
        double number;
    } WORDS[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    if (json_is_number(value)) {
        *number = json_number_value(value);
        return true;
    }
    for (size_t i = 0; json_is_string(value) && i < sizeof WORDS / sizeof *WORDS; i++)
        if (strcmp(json_string_value(value), WORDS[i].text) == 0) {
            *number = WORDS[i].number;
            return true;
        }
    return false;
}

/* The same value as one of a logged model. The table has no is_nan: MLflow writes 0 there, too. */
static int put_logged(struct fact *f, const struct metric *m, struct ls_slice model)
{
    static const char INSERT[] = "INSERT INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, "
                                 "metric_step, metric_value, experiment_id, run_id, dataset_uuid,"
                                 " dataset_name, dataset_digest) SELECT $1::text, $2::text, $3::bigint, $4::bigint, "
                                 "$5::float8, r.experiment_id, r.run_uuid,"
                                 " (SELECT d.dataset_uuid FROM datasets d WHERE d.experiment_id = r.experiment_id AND "
                                 "d.name = $7 AND d.digest = $8), $7::text, $8::text"
                                 " FROM runs r WHERE r.run_uuid = $6 ON CONFLICT DO NOTHING";
    struct db_value name = fact_text(f, "dataset_name", 500), digest = fact_text(f, "dataset_digest", 36);
    double value = isnan(m->value) ? 0 : isinf(m->value) ? copysign(DBL_MAX, m->value) : m->value;
    if (need_logged(f, model, m->run))
        return -1;
    return fact_put(f, INSERT, db_slice(model), db_slice(m->key), db_int(m->timestamp), db_int(m->step),
                    db_double(value), db_slice(m->run), name, digest);
}

int fact_run_metric(struct fact *f)
{
    struct db_value run = fact_id(f, "run_id", 32), key = fact_need(f, "key", 250), time = fact_time(f, "timestamp");
    struct metric m = {.run = run.text, .key = key.text, .step = fact_int(f, "step", 0), .timestamp = time.i};
    if (!read_value(json_object_get(f->body, "value"), &m.value))
        return fact_wrong(f, "\"value\" must be a number");
    if (need_run(f, run.text))
        return -1;
    if (fact_has(f, "model_id")) {
        struct db_value model = fact_id(f, "model_id", 36);
        if (model.text.len && put_logged(f, &m, model.text))
            return -1;
    }
    metrics_add(f->t->metrics, m);
    return 0;
}
