/* SPDX-License-Identifier: Apache-2.0 */
/* What is logged into a run: metrics, parameters, tags, one by one and in batches; models and data sets that it
 * used or made. */
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define BATCH_METRICS_MAX 1000
#define BATCH_PARAMS_MAX 100
#define BATCH_TAGS_MAX 100
#define BATCH_MAX 1000
#define HISTORY_TAG "mlflow.log-model.history"

/* ---- facts ---- */

/* The body of a run.metric fact; NULL: refused. */
static json_t *metric_fact(struct op_call *call, const char *run, const json_t *from, struct ls_error *err)
{
    static const struct {
        const char *key;
        size_t most;
    } MORE[] = {{"model_id", 36}, {"dataset_name", 500}, {"dataset_digest", 36}};
    const char *key = need_text(call, from, "key", err);
    json_t *value = need_number(call, from, "value", err);
    int64_t timestamp = ask_int(call, from, "timestamp", -1, err), step = ask_int(call, from, "step", 0, err);
    check_key(call, "metric", key, err);
    if (timestamp < 0 || timestamp > TIME_MAX)
        op_fail(call, err, INVALID,
                "Got invalid timestamp for metric '%.200s': it must be milliseconds since 1970, and is required",
                key ? key : "");
    if (refused(call)) {
        json_decref(value);
        return NULL;
    }
    json_t *body = json_object();
    json_object_set_new(body, "run_id", json_string(run));
    json_object_set_new(body, "key", json_string(key));
    json_object_set_new(body, "value", value);
    json_object_set_new(body, "timestamp", json_integer(timestamp));
    json_object_set_new(body, "step", json_integer(step));
    for (size_t i = 0; i < 3; i++) {
        const char *text = ask_text(call, from, MORE[i].key, err);
        check_length(call, MORE[i].key, text, MORE[i].most, err);
        put(body, MORE[i].key, text && *text ? json_string(text) : NULL);
    }
    return body;
}

static json_t *param_fact(struct op_call *call, const char *run, const json_t *from, struct ls_error *err)
{
    const char *key = need_text(call, from, "key", err), *value = ask_text(call, from, "value", err);
    check_key(call, "parameter", key, err);
    return refused(call) ? NULL
                         : json_pack("{s:s,s:s,s:o}", "run_id", run, "key", key, "value",
                                     check_cut(value ? value : "", PARAM_VALUE_MAX));
}

static json_t *tag_fact(struct op_call *call, const char *run, const json_t *from, struct ls_error *err)
{
    const char *key = need_text(call, from, "key", err), *value = ask_text(call, from, "value", err);
    check_key(call, "tag", key, err);
    return refused(call) ? NULL
                         : json_pack("{s:s,s:s,s:o}", "run_id", run, "key", key, "value",
                                     check_cut(value ? value : "", TAG_VALUE_MAX));
}

int tell_tag(struct op_call *call, const char *run, const char *key, const char *value, struct ls_error *err)
{
    if (refused(call))
        return -1;
    return tracker_tell(call->tracker, "run.tag",
                        json_pack("{s:s,s:s,s:o}", "run_id", run, "key", key, "value", check_cut(value, TAG_VALUE_MAX)),
                        err);
}

/* ---- parameters are written once ---- */

static void take_param(void *arg, const struct db_row *row)
{
    struct ls_slice key = db_get_text(row, 0), value = db_get_text(row, 1);
    json_object_setn_new(arg, key.data, key.len, json_stringn(value.len ? value.data : "", value.len));
}

/* What the run has under the keys of these facts: {key: value}. NULL with *err. */
static json_t *params_there(struct op_call *call, const char *run, const json_t *facts, struct ls_error *err)
{
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    json_t *there = json_object(), *keys = json_array();
    size_t i;
    const json_t *fact;
    json_array_foreach(facts, i, fact) json_array_append(keys, json_object_get(fact, "key"));
    buf_addf(&query.sql, "SELECT key, value FROM params WHERE run_uuid = $%zu AND ", query_text(&query, run));
    query_list(&query, "key", keys, "VARCHAR", false);
    if (db_run(call->tracker->db, buf_text(&query.sql), query.values, query.count, take_param, there, err) < 0) {
        json_decref(there);
        there = NULL;
    }
    query_fini(&query);
    json_decref(keys);
    return there;
}

/* The facts that are new. Takes `facts` over; NULL: refused, or *err. */
static json_t *new_params(struct op_call *call, const char *run, json_t *facts, struct ls_error *err)
{
    json_auto_t *all = facts;
    if (refused(call) || !json_array_size(facts))
        return refused(call) ? NULL : json_incref(facts);
    json_auto_t *there = params_there(call, run, facts, err);
    if (!there)
        return NULL;
    json_t *fresh = json_array();
    size_t i;
    json_t *fact;
    json_array_foreach(all, i, fact)
    {
        const char *key = json_string_value(json_object_get(fact, "key"));
        const json_t *value = json_object_get(fact, "value"), *old = json_object_get(there, key);
        if (!old)
            json_array_append(fresh, fact);
        else if (!json_equal(value, old))
            op_fail(call, err, INVALID,
                    "Changing param values is not allowed. Param with key='%.100s' was already logged with "
                    "value='%.80s' for run "
                    "ID='%.32s'. Attempted logging new value '%.80s'.",
                    key, json_string_value(old), run, json_string_value(value));
    }
    if (!refused(call))
        return fresh;
    json_decref(fresh);
    return NULL;
}

/* ---- one by one ---- */

json_t *op_runs_log_metric(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err);
    json_t *fact = metric_fact(call, run ? run : "", call->request, err);
    require_run(call, run, true, err);
    if (refused(call)) {
        json_decref(fact);
        return NULL;
    }
    return tracker_tell(call->tracker, "run.metric", fact, err) < 0 ? NULL : json_object();
}

json_t *op_runs_log_param(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err);
    require_run(call, run, true, err);
    json_t *fact = run ? param_fact(call, run, call->request, err) : NULL;
    json_t *fresh = fact ? new_params(call, run, json_pack("[o]", fact), err) : NULL;
    return tracker_tell_all(call->tracker, "run.param", fresh, err) < 0 ? NULL : json_object();
}

/* ---- batches ---- */

typedef json_t *fact_fn(struct op_call *call, const char *run, const json_t *from, struct ls_error *err);

static json_t *facts_of(struct op_call *call, const char *run, const char *key, fact_fn *make, size_t most,
                        struct ls_error *err)
{
    const json_t *list = ask_list(call, call->request, key, true, err);
    json_t *facts = json_array();
    size_t i;
    const json_t *item;
    if (json_array_size(list) > most)
        op_fail(call, err, INVALID,
                "A batch logging request can contain at most %zu %s. Got %zu %s. Please split up %s across multiple "
                "requests and try "
                "again.",
                most, key, json_array_size(list), key, key);
    json_array_foreach(list, i, item)
    {
        json_t *fact = refused(call) ? NULL : make(call, run, item, err);
        if (fact)
            json_array_append_new(facts, fact);
    }
    return facts;
}

static void refuse_twice(struct op_call *call, const json_t *params, struct ls_error *err)
{
    json_auto_t *seen = json_object();
    size_t i;
    const json_t *param;
    json_array_foreach(params, i, param)
    {
        const char *key = json_string_value(json_object_get(param, "key"));
        if (json_object_get(seen, key))
            op_fail(call, err, INVALID,
                    "Duplicate parameter keys have been submitted: '%.200s'. Please ensure the request contains only "
                    "one param value "
                    "per param key.",
                    key);
        json_object_set_new(seen, key, json_true());
    }
}

json_t *op_runs_log_batch(struct op_call *call, struct ls_error *err)
{
    const char *id = run_id(call, err), *run = id ? id : "";
    json_t *metrics = facts_of(call, run, "metrics", metric_fact, BATCH_METRICS_MAX, err);
    json_t *params = facts_of(call, run, "params", param_fact, BATCH_PARAMS_MAX, err);
    json_t *tags = facts_of(call, run, "tags", tag_fact, BATCH_TAGS_MAX, err);
    size_t sum = json_array_size(metrics) + json_array_size(params) + json_array_size(tags);
    if (sum > BATCH_MAX)
        op_fail(call, err, INVALID,
                "A batch logging request can contain at most %d metrics, params, and tags in total. Got %zu.",
                BATCH_MAX, sum);
    refuse_twice(call, params, err);
    require_run(call, run, true, err);
    params = new_params(call, run, params, err);
    const struct {
        const char *topic;
        json_t *facts;
    } sets[] = {{"run.param", params}, {"run.metric", metrics}, {"run.tag", tags}};
    bool ok = params && !refused(call);
    for (size_t i = 0; i < 3; i++) {
        if (ok)
            ok = tracker_tell_all(call->tracker, sets[i].topic, sets[i].facts, err) == 0;
        else
            json_decref(sets[i].facts); /* after a failure nothing more may be asked in this transaction */
    }
    return ok ? json_object() : NULL;
}

/* ---- models and data sets ---- */

/* The model's description as MLflow 2 sends it; NULL: refused. */
static json_t *read_model(struct op_call *call, const char *run, struct ls_error *err)
{
    static const char *const NEEDED[] = {"artifact_path", "flavors", "utc_time_created", "run_id"};
    const char *text = need_text(call, call->request, "model_json", err);
    json_t *model = text ? json_loads(text, 0, NULL) : NULL;
    if (!json_is_object(model))
        op_fail(call, err, INVALID, "Malformed model info: model_json must be a JSON object in a string");
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++)
        if (!json_object_get(model, NEEDED[i]))
            op_fail(call, err, INVALID, "Model json is missing mandatory fields: %s", NEEDED[i]);
    if (run && json_object_get(model, "run_id") &&
        strcmp(run, json_string_value(json_object_get(model, "run_id")) ?: "") != 0)
        op_fail(call, err, INVALID, "Model json says another run_id than the request");
    if (!refused(call))
        return model;
    json_decref(model);
    return NULL;
}

json_t *op_runs_log_model(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err);
    char *old = NULL;
    require_run(call, run, true, err);
    json_t *model = read_model(call, run, err);
    if (!model)
        return NULL;
    texts_ask(call, QUESTION("SELECT value FROM tags WHERE run_uuid = $1 AND key = '" HISTORY_TAG "'", db_text(run)),
              &old, 1, err);
    json_t *history = old ? json_loads(old, 0, NULL) : NULL;
    free(old);
    if (!json_is_array(history)) {
        json_decref(history);
        history = json_array();
    }
    json_array_append_new(history, model);
    char *text = json_dumps(history, JSON_COMPACT);
    while (strlen(text) > TAG_VALUE_MAX && json_array_size(history) > 1) { /* a tag holds only so much: the oldest go */
        free(text);
        json_array_remove(history, 0);
        text = json_dumps(history, JSON_COMPACT);
    }
    json_decref(history);
    if (strlen(text) > TAG_VALUE_MAX)
        op_fail(call, err, INVALID, "model_json is too long: it is kept in a tag of at most %d characters",
                TAG_VALUE_MAX);
    int rc = tell_tag(call, run, HISTORY_TAG, text, err);
    free(text);
    return rc < 0 ? NULL : json_object();
}

static void check_dataset(struct op_call *call, const json_t *input, struct ls_error *err)
{
    static const struct {
        const char *key;
        size_t most;
        bool needed;
    } FIELDS[] = {{"name", 500, true},     {"digest", 36, true},       {"source_type", 36, true},
                  {"source", 65535, true}, {"schema", 1048575, false}, {"profile", 16777215, false}};
    json_t *dataset = json_object_get(input, "dataset");
    json_t *tags = json_object_get(input, "tags");
    if (!json_is_object(dataset))
        op_fail(call, err, INVALID, "Missing value for required parameter 'dataset'");
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        const char *text = FIELDS[i].needed ? need_text(call, dataset, FIELDS[i].key, err)
                                            : ask_text(call, dataset, FIELDS[i].key, err);
        check_length(call, FIELDS[i].key, text, FIELDS[i].most, err);
    }
    size_t i;
    const json_t *tag;
    json_array_foreach(tags, i, tag)
    {
        check_length(call, "tag key", need_text(call, tag, "key", err), 255, err);
        check_length(call, "tag value", ask_text(call, tag, "value", err), 500, err);
    }
}

static void check_models(struct op_call *call, const json_t *models, struct ls_error *err)
{
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model)
    {
        check_length(call, "model_id", need_text(call, model, "model_id", err), 36, err);
        ask_int(call, model, "step", 0, err);
    }
}

/* Objects with no more than these fields of those in `list`: what else a caller sends is not carried on. */
static json_t *only(const json_t *list, const char *const *fields)
{
    json_t *kept = json_array();
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        json_t *object = json_object();
        for (const char *const *field = fields; *field; field++)
            put(object, *field, json_incref(json_object_get(item, *field)));
        json_array_append_new(kept, object);
    }
    return kept;
}

/* [{dataset, tags}] */
static json_t *input_facts(const json_t *datasets)
{
    static const char *const FIELDS[] = {"name", "digest", "source_type", "source", "schema", "profile", NULL},
                             *const PAIR[] = {"key", "value", NULL};
    json_t *facts = json_array();
    size_t i;
    const json_t *input;
    json_array_foreach(datasets, i, input)
    {
        json_auto_t *one = json_pack("[O]", json_object_get(input, "dataset")), *kept = only(one, FIELDS);
        json_array_append_new(facts, json_pack("{s:O,s:o}", "dataset", json_array_get(kept, 0), "tags",
                                               only(json_object_get(input, "tags"), PAIR)));
    }
    return facts;
}

json_t *op_runs_log_inputs(struct op_call *call, struct ls_error *err)
{
    static const char *const MODEL[] = {"model_id", "step", NULL};
    const char *run = run_id(call, err);
    const json_t *datasets = ask_list(call, call->request, "datasets", true, err),
                 *models = ask_list(call, call->request, "models", true, err), *input;
    size_t i;
    json_array_foreach(datasets, i, input) check_dataset(call, input, err);
    check_models(call, models, err);
    require_run(call, run, true, err);
    if (refused(call))
        return NULL;
    json_t *body = json_pack("{s:s}", "run_id", run);
    put(body, "datasets", json_array_size(datasets) ? input_facts(datasets) : NULL);
    put(body, "models", json_array_size(models) ? only(models, MODEL) : NULL);
    return tracker_tell(call->tracker, "run.input", body, err) < 0 ? NULL : json_object();
}

json_t *op_runs_log_outputs(struct op_call *call, struct ls_error *err)
{
    const char *run = run_id(call, err);
    const json_t *models = ask_list(call, call->request, "models", true, err), *model;
    json_auto_t *made = json_array();
    size_t i;
    check_models(call, models, err);
    require_run(call, run, true, err);
    if (refused(call))
        return NULL;
    json_array_foreach(models, i, model)
        json_array_append_new(made, json_pack("{s:O,s:I}", "model_id", json_object_get(model, "model_id"), "step",
                                              (json_int_t) ask_int(call, model, "step", 0, err)));
    return tracker_tell(call->tracker, "run.output", json_pack("{s:s,s:O}", "run_id", run, "models", made), err) < 0
               ? NULL
               : json_object();
}
