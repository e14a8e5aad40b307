/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about logged models (MLflow 3). */
#include <string.h>

#include "nodes/tracker/fact.h"

static const char *const STATUSES[] = {"PENDING", "READY", "UPLOAD_FAILED", NULL}; /* 1, 2, 3 in the table */

/* Parameters and tags of logged models carry the experiment of their model. */
static int set_param(struct fact *f, struct db_value owner, struct db_value key, struct db_value value)
{
    static const char SET[] = "INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value) "
                              "SELECT l.model_id, l.experiment_id, $2::text, $3::text"
                              " FROM logged_models l WHERE l.model_id = $1 ON CONFLICT (model_id, param_key) DO UPDATE "
                              "SET param_value = excluded.param_value";
    return value.type == DB_NULL ? 0 : fact_put(f, SET, owner, key, value);
}

static int set_tag(struct fact *f, struct db_value owner, struct db_value key, struct db_value value)
{
    static const char SET[] = "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value) SELECT "
                              "l.model_id, l.experiment_id, $2::text, $3::text"
                              " FROM logged_models l WHERE l.model_id = $1 ON CONFLICT (model_id, tag_key) DO UPDATE "
                              "SET tag_value = excluded.tag_value";
    static const char DELETE[] = "DELETE FROM logged_model_tags WHERE model_id = $1 AND tag_key = $2";
    return value.type == DB_NULL ? fact_put(f, DELETE, owner, key) : fact_put(f, SET, owner, key, value);
}

#define ANY_LENGTH 1000000
static const struct fact_tags PARAMS = {"params", 255, ANY_LENGTH, set_param},
                              TAGS = {"tags", 255, ANY_LENGTH, set_tag};

/* NULL when the fact does not say. */
static struct db_value status_of(struct fact *f)
{
    struct db_value word = fact_word(f, "status", STATUSES);
    for (int i = 0; word.type == DB_TEXT && STATUSES[i]; i++)
        if (ls_slice_is(word.text, STATUSES[i]))
            return db_int(i + 1);
    return db_null();
}

int fact_logged_created(struct fact *f)
{
    static const char SET[] = "UPDATE logged_models SET experiment_id = $2, name = $3, artifact_location = "
                              "COALESCE($4, (SELECT e.artifact_location FROM experiments e"
                              " WHERE e.experiment_id = $2) || '/models/' || $1::text || '/artifacts'), "
                              "creation_timestamp_ms = $5, last_updated_timestamp_ms = $5, status = $6,"
                              " lifecycle_stage = 'active', model_type = $7, source_run_id = $8 WHERE model_id = $1";
    struct db_value id = fact_id(f, "model_id", 36), name = fact_text(f, "name", 500),
                    location = fact_text(f, "artifact_location", 1000);
    struct db_value time = fact_time(f, "creation_timestamp"), type = fact_text(f, "model_type", 500),
                    run = fact_text(f, "source_run_id", 32);
    struct db_value status = status_of(f);
    int64_t experiment = fact_experiment(f, "experiment_id", -1);
    if (need_experiment(f, experiment, (struct ls_slice){0}, NULL) || need_logged(f, id.text, (struct ls_slice){0}))
        return -1;
    name = name.type == DB_TEXT && name.text.len ? name : id;
    status = status.type == DB_NULL ? db_int(1) : status;
    if (fact_put(f, SET, id, db_int(experiment), name, location, time, status, type, run))
        return -1;
    return fact_each_tag(f, id, &PARAMS) || fact_each_tag(f, id, &TAGS) ? -1 : 0;
}

int fact_logged_updated(struct fact *f)
{
    static const char SET[] =
        "UPDATE logged_models SET status = COALESCE($2, status), lifecycle_stage = COALESCE($3, lifecycle_stage),"
        " last_updated_timestamp_ms = $4 WHERE model_id = $1";
    struct db_value id = fact_id(f, "model_id", 36), stage = fact_word(f, "lifecycle_stage", FACT_STAGES),
                    status = status_of(f);
    struct db_value time = fact_time(f, "last_updated_timestamp");
    if (need_logged(f, id.text, (struct ls_slice){0}) || fact_put(f, SET, id, status, stage, time))
        return -1;
    return fact_each_tag(f, id, &PARAMS) || fact_each_tag(f, id, &TAGS) ? -1 : 0;
}
