/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on logged models (MLflow 3): models with an id of their own, before they are registered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define TELL "model.logged.updated"

static json_t *get_model(struct op_call *call, const char *id, bool deleted, struct ls_error *err)
{
    static const char ACTIVE[] =
        "SELECT " LOGGED_MODEL_COLUMNS " FROM logged_models l WHERE l.model_id = $1 AND l.lifecycle_stage = 'active'";
    static const char ALL[] = "SELECT " LOGGED_MODEL_COLUMNS " FROM logged_models l WHERE l.model_id = $1";
    if (refused(call))
        return NULL;
    json_t *found = answer_logged_models(call->tracker, QUESTION(deleted ? ALL : ACTIVE, db_text(id)), err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "Logged model with ID '%.100s' not found.", id);
    return answer_one("model", found);
}

/* The model's id, refused unless there is such a model that is not deleted. */
static const char *require(struct op_call *call, struct ls_error *err)
{
    const char *id = need_text(call, call->request, "model_id", err);
    char *stage = NULL;
    if (id &&
        !texts_ask(
            call,
            QUESTION("SELECT lifecycle_stage FROM logged_models WHERE model_id = $1 AND lifecycle_stage = 'active'",
                     db_text(id)),
            &stage, 1, err))
        op_fail(call, err, ABSENT, "Logged model with ID '%.100s' not found.", id);
    free(stage);
    return id;
}

static json_t *tell_change(struct op_call *call, const char *id, const char *key, json_t *value, struct ls_error *err)
{
    json_t *body = refused(call) ? NULL
                                 : json_pack("{s:s,s:I,s:O}", "model_id", id, "last_updated_timestamp",
                                             (json_int_t) call->now_ms, key, value);
    json_decref(value);
    return tracker_tell(call->tracker, TELL, body, err) < 0 ? NULL : json_object();
}

/* ---- create, get ---- */

static void invent_name(char *name, size_t size, const char *id)
{
    snprintf(name, size, "model-%.8s", id + strlen(id) - 8);
}

json_t *op_logged_models_create(struct op_call *call, struct ls_error *err)
{
    const char *name = ask_text(call, call->request, "name", err),
               *type = ask_text(call, call->request, "model_type", err),
               *run = ask_text(call, call->request, "source_run_id", err);
    int64_t experiment = experiment_id(call, call->request, "experiment_id", err);
    json_auto_t *params = ask_pairs(call, "params", check_logged_model_pair, err),
                *tags = ask_pairs(call, "tags", check_logged_model_pair, err);
    char id[NEW_ID_SIZE], invented[32];
    check_logged_model_name(call, name, err);
    check_length(call, "model_type", type, 500, err);
    check_length(call, "source_run_id", run, 32, err);
    char *location = require_location(call, experiment, err);
    new_id(id, "m-");
    invent_name(invented, sizeof invented, id);
    json_t *body =
        refused(call)
            ? NULL
            : json_pack("{s:s,s:o,s:s,s:o,s:I,s:s,s:O,s:O}", "model_id", id, "experiment_id",
                        json_sprintf("%lld", (long long) experiment), "name", name && *name ? name : invented,
                        "artifact_location", json_sprintf("%s/models/%s/artifacts", location, id), "creation_timestamp",
                        (json_int_t) call->now_ms, "status", "PENDING", "params", params, "tags", tags);
    put(body, "model_type", body && type && *type ? json_string(type) : NULL);
    put(body, "source_run_id", body && run && *run ? json_string(run) : NULL);
    free(location);
    return tracker_tell(call->tracker, "model.logged", body, err) < 0 ? NULL : get_model(call, id, false, err);
}

json_t *op_logged_models_get(struct op_call *call, struct ls_error *err)
{
    const char *id = need_text(call, call->request, "model_id", err);
    return get_model(call, id, ask_bool(call, call->request, "allow_deleted", false, err), err);
}

/* ---- change ---- */

json_t *op_logged_models_finalize(struct op_call *call, struct ls_error *err)
{
    static const char *const STATUSES[] = {"", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
                                           "LOGGED_MODEL_UPLOAD_FAILED", NULL};
    const char *id = require(call, err);
    int status = ask_enum(call, call->request, "status", STATUSES, err);
    if (status < 2)
        op_fail(call, err, INVALID,
                "Invalid model status: expected status to be one of LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED");
    json_t *done = tell_change(call, id, "status", json_string(status == 3 ? "UPLOAD_FAILED" : "READY"), err);
    json_decref(done);
    return done ? get_model(call, id, false, err) : NULL;
}

json_t *op_logged_models_delete(struct op_call *call, struct ls_error *err)
{
    const char *id = require(call, err);
    return tell_change(call, id, "lifecycle_stage", json_string("deleted"), err);
}

json_t *op_logged_models_log_params(struct op_call *call, struct ls_error *err)
{
    const char *id = require(call, err);
    return tell_change(call, id, "params", ask_pairs(call, "params", check_logged_model_pair, err), err);
}

json_t *op_logged_models_set_tags(struct op_call *call, struct ls_error *err)
{
    const char *id = require(call, err);
    return tell_change(call, id, "tags", ask_pairs(call, "tags", check_logged_model_pair, err), err);
}

json_t *op_logged_models_delete_tag(struct op_call *call, struct ls_error *err)
{
    const char *id = require(call, err), *key = need_text(call, call->request, "tag_key", err);
    char *value = NULL;
    if (!refused(call) &&
        !texts_ask(call,
                   QUESTION("SELECT tag_value FROM logged_model_tags WHERE model_id = $1 AND tag_key = $2", db_text(id),
                            db_text(key)),
                   &value, 1, err))
        op_fail(call, err, ABSENT, "No tag with key '%.100s' found for logged model with ID '%.100s'.", key, id);
    free(value);
    return tell_change(call, id, "tags", refused(call) ? json_object() : json_pack("{s:n}", key), err);
}

/* ---- search ---- */

static void read_orders(struct op_call *call, struct search *search, struct ls_error *err)
{
    const json_t *orders = ask_list(call, call->request, "order_by", true, err), *order;
    struct ls_error why = {0};
    size_t i;
    json_array_foreach(orders, i, order)
    {
        const char *field = need_text(call, order, "field_name", err),
                   *name = ask_text(call, order, "dataset_name", err),
                   *digest = ask_text(call, order, "dataset_digest", err);
        bool ascending = ask_bool(call, order, "ascending", true, err);
        if (refused(call))
            return;
        if (search_order_field(search, field, !ascending, name, digest, &why) < 0)
            op_fail(call, err, INVALID, "%s", why.text);
    }
}

/* Only models that have a metric on one of the data sets. */
static void where_datasets(struct op_call *call, struct query *query, struct ls_error *err)
{
    const json_t *datasets = ask_list(call, call->request, "datasets", true, err), *dataset;
    size_t i;
    json_array_foreach(datasets, i, dataset)
    {
        const char *name = need_text(call, dataset, "dataset_name", err),
                   *digest = ask_text(call, dataset, "dataset_digest", err);
        if (refused(call))
            return;
        buf_addf(
            &query->sql,
            "%s EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = l.model_id AND x.dataset_name = $%zu",
            i ? " OR" : " AND (", query_text(query, name));
        if (digest)
            buf_addf(&query->sql, " AND x.dataset_digest = $%zu", query_text(query, digest));
        buf_addf(&query->sql, ")");
    }
    if (json_array_size(datasets))
        buf_addf(&query->sql, ")");
}

/* What a page token belongs to. */
static void hash_question(const struct op_call *call, char hash[24])
{
    static const char *const KEYS[] = {"experiment_ids", "filter", "order_by", "datasets"};
    struct buf text = {0};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = json_object_get(call->request, KEYS[i]);
        if (value)
            node_write(&text, value);
        buf_add_byte(&text, '\n');
    }
    snprintf(hash, 24, "%016llx", (unsigned long long) XXH3_64bits(text.data, text.len));
    buf_fini(&text);
}

json_t *op_logged_models_search(struct op_call *call, struct ls_error *err)
{
    char hash[24];
    struct search search = {.subject = &SEARCH_LOGGED_MODELS};
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    hash_question(call, hash);
    struct answer_page page = {.key = "models",
                               .most = ask_max(call, 100, 50000, err),
                               .offset = token_read(call, hash, err),
                               .question = hash};
    const json_t *experiments = ask_list(call, call->request, "experiment_ids", false, err);
    const char *filter = ask_text(call, call->request, "filter", err);
    struct ls_error why = {0};
    json_t *found = NULL;
    if (!refused(call) && search_filter(&search, filter, &why) < 0)
        op_fail(call, err, INVALID, "%s", why.text);
    read_orders(call, &search, err);
    check_experiment_ids(call, experiments, err);
    buf_addf(&query.sql,
             "SELECT " LOGGED_MODEL_COLUMNS " FROM logged_models l WHERE l.lifecycle_stage = 'active' AND ");
    query_list(&query, "l.experiment_id", experiments, "INTEGER", false);
    where_datasets(call, &query, err);
    if (!refused(call) && !json_array_size(experiments)) {
        found = json_array();
    } else if (!refused(call)) {
        search_where(&query, &search);
        search_order_by(&query, &search, "l.creation_timestamp_ms DESC, l.model_id");
        query_page(&query, page.most, page.offset);
        found = answer_logged_models(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count},
                                     err);
    }
    query_fini(&query);
    search_fini(&search);
    return answer_list(&page, found);
}
