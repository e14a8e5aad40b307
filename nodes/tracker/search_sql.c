/* SPDX-License-Identifier: Apache-2.0 */
/* What can be searched, and how a search is asked in SQL: a condition on a metric, parameter or tag is an EXISTS
 * over its table, which both databases answer from the primary key; a value is always a parameter. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/xmem.h"
#include "nodes/tracker/search.h"

#define PROMPT "mlflow.prompt.is_prompt"

/* ---- what there is ---- */

static const char *const METRIC_WORDS[] = {"metric", "metrics", NULL};
static const char *const PARAM_WORDS[] = {"param", "params", "parameter", "parameters", NULL};
static const char *const TAG_WORDS[] = {"tag", "tags", NULL};
static const char *const DATASET_WORDS[] = {"dataset", "datasets", NULL};

static const struct search_attribute DATASET[] = {{"name", "d.name", SEARCH_TEXT, SEARCH_FILTER | SEARCH_IN},
                                                  {"digest", "d.digest", SEARCH_TEXT, SEARCH_FILTER | SEARCH_IN},
                                                  {"context", "c.value", SEARCH_TEXT, SEARCH_FILTER | SEARCH_IN},
                                                  {0}};

/* The name of a run is what its tag says, in MLflow too: both are always the same. */
static const struct search_attribute RUN[] = {{"run_id", "r.run_uuid", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
                                              {"run_uuid", "r.run_uuid", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
                                              {"run_name", "r.name", SEARCH_TEXT, SEARCH_ANY},
                                              {"run name", "r.name", SEARCH_TEXT, SEARCH_ANY},
                                              {"Run name", "r.name", SEARCH_TEXT, SEARCH_ANY},
                                              {"status", "r.status", SEARCH_TEXT, SEARCH_ANY},
                                              {"user_id", "r.user_id", SEARCH_TEXT, SEARCH_ANY},
                                              {"artifact_uri", "r.artifact_uri", SEARCH_TEXT, SEARCH_ANY},
                                              {"start_time", "r.start_time", SEARCH_INT, SEARCH_ANY},
                                              {"created", "r.start_time", SEARCH_INT, SEARCH_ANY},
                                              {"Created", "r.start_time", SEARCH_INT, SEARCH_ANY},
                                              {"end_time", "r.end_time", SEARCH_INT, SEARCH_ANY},
                                              {"experiment_id", "r.experiment_id", SEARCH_INT, SEARCH_ORDER},
                                              {0}};
static const struct search_children RUN_CHILDREN[] = {
    {ENTITY_METRIC, METRIC_WORDS, "latest_metrics x WHERE x.run_uuid = r.run_uuid", "x.key", "x.value", "x.is_nan",
     NULL, NULL},
    {ENTITY_PARAM, PARAM_WORDS, "params x WHERE x.run_uuid = r.run_uuid", "x.key", "x.value", NULL, NULL, NULL},
    {ENTITY_TAG, TAG_WORDS, "tags x WHERE x.run_uuid = r.run_uuid", "x.key", "x.value", NULL, NULL, NULL},
    {ENTITY_DATASET, DATASET_WORDS,
     "inputs x JOIN datasets d ON d.dataset_uuid = x.source_id LEFT JOIN input_tags c ON c.input_uuid = x.input_uuid "
     "AND c.name = 'mlflow.data.context' WHERE x.source_type = 'DATASET' AND x.destination_type = 'RUN' AND "
     "x.destination_id = r.run_uuid",
     NULL, NULL, NULL, NULL, DATASET},
    {0}};
const struct search_subject SEARCH_RUNS = {
    "a run", RUN, RUN_CHILDREN, {"attribute", "attributes", "attr", "run", NULL}, false};

static const struct search_attribute EXPERIMENT[] = {{"name", "e.name", SEARCH_TEXT, SEARCH_ANY},
                                                     {"creation_time", "e.creation_time", SEARCH_INT, SEARCH_ANY},
                                                     {"last_update_time", "e.last_update_time", SEARCH_INT, SEARCH_ANY},
                                                     {"experiment_id", "e.experiment_id", SEARCH_INT, SEARCH_ORDER},
                                                     {0}};
static const struct search_children EXPERIMENT_CHILDREN[] = {
    {ENTITY_TAG, TAG_WORDS, "experiment_tags x WHERE x.experiment_id = e.experiment_id", "x.key", "x.value", NULL, NULL,
     NULL},
    {0}};
const struct search_subject SEARCH_EXPERIMENTS = {
    "an experiment", EXPERIMENT, EXPERIMENT_CHILDREN, {"attribute", "attributes", "attr", NULL}, false};

static const struct search_attribute MODEL[] = {
    {"name", "m.name", SEARCH_TEXT, SEARCH_ANY},
    {"timestamp", "m.last_updated_time", SEARCH_INT, SEARCH_ORDER},
    {"last_updated_timestamp", "m.last_updated_time", SEARCH_INT, SEARCH_ORDER},
    {"creation_timestamp", "m.creation_time", SEARCH_INT, SEARCH_ORDER},
    {0}};
static const struct search_children MODEL_CHILDREN[] = {
    {ENTITY_TAG, TAG_WORDS, "registered_model_tags x WHERE x.name = m.name", "x.key", "x.value", NULL, NULL, NULL},
    {0}};
const struct search_subject SEARCH_MODELS = {
    "a registered model", MODEL, MODEL_CHILDREN, {"attribute", "attributes", "attr", NULL}, true};

static const struct search_attribute VERSION[] = {
    {"name", "v.name", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
    {"version_number", "v.version", SEARCH_INT, SEARCH_ANY},
    {"run_id", "v.run_id", SEARCH_TEXT, SEARCH_FILTER | SEARCH_IN},
    {"source_path", "v.source", SEARCH_TEXT, SEARCH_FILTER},
    {"creation_timestamp", "v.creation_time", SEARCH_INT, SEARCH_ORDER},
    {"timestamp", "v.last_updated_time", SEARCH_INT, SEARCH_ORDER},
    {"last_updated_timestamp", "v.last_updated_time", SEARCH_INT, SEARCH_ORDER},
    {0}};
static const struct search_children VERSION_CHILDREN[] = {
    {ENTITY_TAG, TAG_WORDS, "model_version_tags x WHERE x.name = v.name AND x.version = v.version", "x.key", "x.value",
     NULL, NULL, NULL},
    {0}};
const struct search_subject SEARCH_VERSIONS = {
    "a model version", VERSION, VERSION_CHILDREN, {"attribute", "attributes", "attr", NULL}, true};

static const struct search_attribute LOGGED_MODEL[] = {
    {"name", "l.name", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
    {"model_id", "l.model_id", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
    {"model_type", "l.model_type", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
    {"source_run_id", "l.source_run_id", SEARCH_TEXT, SEARCH_ANY | SEARCH_IN},
    {"status", "l.status", SEARCH_LOGGED_STATUS, SEARCH_ANY},
    {"creation_timestamp", "l.creation_timestamp_ms", SEARCH_INT, SEARCH_ANY},
    {"creation_time", "l.creation_timestamp_ms", SEARCH_INT, SEARCH_ANY},
    {"creation_timestamp_ms", "l.creation_timestamp_ms", SEARCH_INT, SEARCH_ANY},
    {"last_updated_timestamp", "l.last_updated_timestamp_ms", SEARCH_INT, SEARCH_ANY},
    {"last_updated_timestamp_ms", "l.last_updated_timestamp_ms", SEARCH_INT, SEARCH_ANY},
    {0}};
static const struct search_children LOGGED_MODEL_CHILDREN[] = {
    {ENTITY_METRIC, METRIC_WORDS, "logged_model_metrics x WHERE x.model_id = l.model_id", "x.metric_name",
     "x.metric_value", "x.metric_value IS NULL", "x.metric_timestamp_ms DESC, x.metric_step DESC", NULL},
    {ENTITY_PARAM, PARAM_WORDS, "logged_model_params x WHERE x.model_id = l.model_id", "x.param_key", "x.param_value",
     NULL, NULL, NULL},
    {ENTITY_TAG, TAG_WORDS, "logged_model_tags x WHERE x.model_id = l.model_id", "x.tag_key", "x.tag_value", NULL, NULL,
     NULL},
    {0}};
const struct search_subject SEARCH_LOGGED_MODELS = {
    "a logged model", LOGGED_MODEL, LOGGED_MODEL_CHILDREN, {"attribute", "attributes", NULL}, false};

/* ---- parameters ---- */

static size_t add_value(struct query *q, struct db_value value)
{
    q->values = xgrow(q->values, &q->room, q->count + 1, sizeof *q->values);
    q->values[q->count++] = value;
    return q->count;
}

size_t query_int(struct query *q, int64_t value)
{
    return add_value(q, db_int(value));
}

static size_t query_double(struct query *q, double value)
{
    return add_value(q, db_double(value));
}

size_t query_text(struct query *q, const char *text)
{
    json_t *copy = json_string(text);
    if (!q->kept)
        q->kept = json_array();
    json_array_append_new(q->kept, copy);
    return add_value(q, db_text(json_string_value(copy)));
}

void query_list(struct query *q, const char *column, const json_t *list, const char *type, bool inverse)
{
    char *text = json_dumps(list, JSON_COMPACT);
    size_t n = query_text(q, text);
    free(text);
    buf_addf(&q->sql, "%s%s IN (SELECT CAST(", column, inverse ? " NOT" : "");
    if (q->postgres)
        buf_addf(&q->sql, "jsonb_array_elements_text($%zu::jsonb) AS %s))", n, type);
    else
        buf_addf(&q->sql, "value AS %s) FROM json_each($%zu))", type, n);
}

void query_page(struct query *q, int64_t most, int64_t offset)
{
    size_t limit = query_int(q, most + 1), from = query_int(q, offset);
    buf_addf(&q->sql, " LIMIT CAST($%zu AS BIGINT) OFFSET CAST($%zu AS BIGINT)", limit, from);
}

void query_fini(struct query *q)
{
    buf_fini(&q->sql);
    free(q->values);
    json_decref(q->kept);
    *q = (struct query){0};
}

/* ---- conditions ---- */

static const char *const SIGNS[] = {
    [OP_EQ] = "=", [OP_NE] = "<>", [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};

/* A pattern of LIKE as one of GLOB, SQLite's comparison that minds case. */
static char *glob_of(const char *pattern)
{
    struct buf glob = {0};
    for (const char *c = pattern; *c; c++) {
        if (*c == '%' || *c == '_')
            buf_add_byte(&glob, *c == '%' ? '*' : '?');
        else if (strchr("*?[", *c))
            buf_addf(&glob, "[%c]", *c);
        else
            buf_add_byte(&glob, (uint8_t) *c);
    }
    char *text = xstrdup(buf_text(&glob));
    buf_fini(&glob);
    return text;
}

static int logged_status(const char *word)
{
    static const char *const WORDS[] = {"PENDING", "READY", "UPLOAD_FAILED"};
    const char *bare = strncasecmp(word, "LOGGED_MODEL_", 13) == 0 ? word + 13 : word;
    for (int i = 0; i < 3; i++)
        if (strcasecmp(bare, WORDS[i]) == 0)
            return i + 1;
    return 0;
}

static void compare_text(struct query *q, const char *column, enum search_op op, const char *text)
{
    if (op == OP_LIKE && !q->postgres) {
        char *glob = glob_of(text);
        buf_addf(&q->sql, "%s GLOB $%zu", column, query_text(q, glob));
        free(glob);
    } else if (op == OP_LIKE) {
        buf_addf(&q->sql, "%s LIKE $%zu ESCAPE ''", column, query_text(q, text));
    } else if (op == OP_ILIKE) {
        buf_addf(&q->sql, "LOWER(%s) LIKE LOWER($%zu)%s", column, query_text(q, text), q->postgres ? " ESCAPE ''" : "");
    } else {
        buf_addf(&q->sql, "%s %s $%zu", column, SIGNS[op], query_text(q, text));
    }
}

static void compare(struct query *q, const char *column, enum search_type type, const struct search_condition *c)
{
    if (c->op == OP_IN || c->op == OP_NOT_IN)
        query_list(q, column, c->value, "VARCHAR", c->op == OP_NOT_IN);
    else if (type == SEARCH_INT)
        buf_addf(&q->sql, "%s %s CAST($%zu AS BIGINT)", column, SIGNS[c->op],
                 query_int(q, json_integer_value(c->value)));
    else if (type == SEARCH_NUMBER)
        buf_addf(&q->sql, "%s %s $%zu", column, SIGNS[c->op], query_double(q, json_real_value(c->value)));
    else if (type == SEARCH_LOGGED_STATUS)
        buf_addf(&q->sql, "%s %s CAST($%zu AS BIGINT)", column, SIGNS[c->op],
                 query_int(q, logged_status(json_string_value(c->value))));
    else
        compare_text(q, column, c->op, json_string_value(c->value));
}

static void where_children(struct query *q, const struct search_condition *c)
{
    const struct search_children *of = c->children;
    buf_addf(&q->sql, "%sEXISTS (SELECT 1 FROM %s", c->op == OP_NULL ? "NOT " : "", of->from);
    if (of->key)
        buf_addf(&q->sql, " AND %s = $%zu", of->key, query_text(q, c->key));
    if (c->op != OP_NULL && c->op != OP_NOT_NULL) {
        buf_addf(&q->sql, " AND ");
        compare(q, c->attribute ? c->attribute->sql : of->value,
                c->attribute ? c->attribute->type
                : of->is_nan ? SEARCH_NUMBER
                             : SEARCH_TEXT,
                c);
    }
    buf_addf(&q->sql, ")");
}

/* Prompts: `tags.mlflow.prompt.is_prompt = 'true'` finds them; without that only what is none is found, also
 * things that lack the tag. */
static bool is_about_prompts(const struct search_condition *c)
{
    return c->children && c->children->entity == ENTITY_TAG && strcmp(c->key, PROMPT) == 0 &&
           (c->op == OP_EQ || c->op == OP_NE);
}

static bool asks_for_prompts(const struct search *s)
{
    for (size_t i = 0; i < s->condition_count; i++)
        if (is_about_prompts(&s->conditions[i]) && s->conditions[i].op == OP_EQ)
            return true;
    return false;
}

void search_where(struct query *q, const struct search *s)
{
    bool prompts = s->subject->prompts;
    for (size_t i = 0; i < s->condition_count; i++) {
        const struct search_condition *c = &s->conditions[i];
        if (prompts && is_about_prompts(c) && c->op == OP_NE)
            continue;
        buf_addf(&q->sql, " AND ");
        if (c->children)
            where_children(q, c);
        else
            compare(q, c->attribute->sql, c->attribute->type, c);
    }
    if (prompts && !asks_for_prompts(s))
        buf_addf(&q->sql, " AND NOT EXISTS (SELECT 1 FROM %s AND x.key = '" PROMPT "' AND x.value = 'true')",
                 s->subject->children[0].from);
}

/* ---- orders ---- */

static void order_column(struct query *q, const struct search_order *o)
{
    const struct search_children *of = o->children;
    size_t key = query_text(q, o->key), name = 0, digest = 0;
    struct buf tail = {0};
    if (of->newest && o->dataset_name)
        name = query_text(q, o->dataset_name);
    if (of->newest && o->dataset_digest)
        digest = query_text(q, o->dataset_digest);
    buf_addf(&tail, "FROM %s AND %s = $%zu", of->from, of->key, key);
    if (name)
        buf_addf(&tail, " AND x.dataset_name = $%zu", name);
    if (digest)
        buf_addf(&tail, " AND x.dataset_digest = $%zu", digest);
    if (of->newest)
        buf_addf(&tail, " ORDER BY %s LIMIT 1", of->newest);
    const char *from = buf_text(&tail);
    /* Numbers, then NaN, then things without the key, whichever the direction. */
    if (of->is_nan)
        buf_addf(&q->sql, "COALESCE((SELECT CASE WHEN %s THEN 1 ELSE 0 END %s), 2), ", of->is_nan, from);
    else
        buf_addf(&q->sql, "COALESCE((SELECT 0 %s), 1), ", from);
    buf_addf(&q->sql, "(SELECT %s %s)", of->value, from);
    buf_fini(&tail);
}

void search_order_by(struct query *q, const struct search *s, const char *last)
{
    buf_addf(&q->sql, " ORDER BY ");
    for (size_t i = 0; i < s->order_count; i++) {
        const struct search_order *o = &s->orders[i];
        if (o->children)
            order_column(q, o);
        else
            buf_addf(&q->sql, "CASE WHEN %s IS NULL THEN 1 ELSE 0 END, %s", o->attribute->sql, o->attribute->sql);
        buf_addf(&q->sql, "%s, ", o->descending ? " DESC" : "");
    }
    buf_addf(&q->sql, "%s", last);
}
