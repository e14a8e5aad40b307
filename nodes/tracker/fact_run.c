/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about runs: that they are there, how they go, their parameters and tags. */
#include <string.h>

#include "lib/error.h"
#include "nodes/tracker/fact.h"

#define RUN_NAME "mlflow.runName"

static const char *const SOURCES[] = {"NOTEBOOK", "JOB", "LOCAL", "UNKNOWN", "PROJECT", NULL};

/* ---- tags ---- */

int run_set_tag(struct fact *f, struct db_value run, struct db_value key, struct db_value value)
{
    static const char SET[] = "INSERT INTO tags (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, run_uuid) "
                              "DO UPDATE SET value = excluded.value";
    static const char DELETE[] = "DELETE FROM tags WHERE key = $1 AND run_uuid = $2";
    return value.type == DB_NULL ? fact_put(f, DELETE, key, run) : fact_put(f, SET, key, value, run);
}

/* The name stands in two places. */
static int set_name(struct fact *f, struct db_value run, struct db_value name)
{
    static const char SET[] = "UPDATE runs SET name = $2 WHERE run_uuid = $1";
    if (fact_chars(name.text) > 250)
        return fact_wrong(f, "the name of a run has at most 250 characters");
    return fact_put(f, SET, run, name) || run_set_tag(f, run, db_text(RUN_NAME), name) ? -1 : 0;
}

static const struct fact_tags TAGS = {"tags", 250, 8000, run_set_tag};

int fact_run_tag(struct fact *f)
{
    char room[FACT_ROOM];
    struct db_value run = fact_id(f, "run_id", 32), key = fact_need(f, "key", 250);
    struct db_value value = fact_value(json_object_get(f->body, "value"), 8000, room);
    if (json_is_true(json_object_get(f->body, "deleted")))
        value = db_null();
    else if (value.type == DB_NULL)
        value = db_text("");
    if (need_run(f, run.text))
        return -1;
    if (value.type == DB_TEXT && ls_slice_is(key.text, RUN_NAME))
        return set_name(f, run, value);
    return run_set_tag(f, run, key, value);
}

/* ---- the run itself ---- */

/* The experiment that the fact names: by id, by name, or the default one. */
static int64_t experiment_of(struct fact *f)
{
    const char *location = json_string_value(json_object_get(f->body, "experiment_artifact_location"));
    struct db_value name = fact_text(f, "experiment_name", 256);
    int64_t id = fact_has(f, "experiment_id") ? fact_experiment(f, "experiment_id", -1) : -1;
    fact_text(f, "experiment_artifact_location", 256);
    if (f->wrong)
        return -1;
    if (id < 0 && name.type == DB_TEXT && name.text.len)
        return need_experiment_named(f, name.text, location);
    id = id < 0 ? 0 : id;
    return need_experiment(f, id, name.text, location) ? -1 : id;
}

/* Writes every column: the run may have been made by an event about it that came first. */
int fact_run_created(struct fact *f)
{
    static const char SET[] =
        "UPDATE runs SET name = $2, user_id = $3, status = $4, start_time = $5, end_time = NULL, source_type = $6, "
        "source_name = $7,"
        " lifecycle_stage = 'active', deleted_time = NULL, experiment_id = $8, artifact_uri = COALESCE($9, (SELECT "
        "e.artifact_location"
        " FROM experiments e WHERE e.experiment_id = $8) || '/' || $1::text || '/artifacts') WHERE run_uuid = $1";
    static const char MOVE[] = "UPDATE logged_model_metrics SET experiment_id = $2 WHERE run_id = $1";
    struct db_value run = fact_id(f, "run_id", 32), user = fact_or(f, "user_id", 256, ""),
                    start = fact_time(f, "start_time");
    struct db_value name = fact_text(f, "run_name", 250), status = fact_word(f, "status", FACT_STATUSES);
    struct db_value source = fact_or(f, "source_name", 500, ""), uri = fact_text(f, "artifact_uri", 200),
                    type = fact_word(f, "source_type", SOURCES);
    const char *tagged = json_string_value(json_object_get(json_object_get(f->body, "tags"), RUN_NAME));
    int64_t experiment = experiment_of(f);
    if (experiment < 0 || need_run(f, run.text))
        return -1;
    name = name.type == DB_TEXT && name.text.len ? name : tagged ? db_text(tagged) : run;
    status = status.type == DB_NULL ? db_text("RUNNING") : status;
    type = type.type == DB_NULL ? db_text("UNKNOWN") : type;
    if (fact_put(f, SET, run, name, user, status, start, type, source, db_int(experiment), uri) ||
        fact_put(f, MOVE, run, db_int(experiment)) || fact_each_tag(f, run, &TAGS))
        return -1;
    return set_name(f, run, name);
}

int fact_run_updated(struct fact *f)
{
    static const char SET[] = "UPDATE runs SET status = COALESCE($2, status), start_time = COALESCE($3, start_time), "
                              "end_time = COALESCE($4, end_time)"
                              " WHERE run_uuid = $1";
    static const char STAGE[] = "UPDATE runs SET lifecycle_stage = $2, deleted_time = $3 WHERE run_uuid = $1";
    struct db_value run = fact_id(f, "run_id", 32), name = fact_text(f, "run_name", 250),
                    status = fact_word(f, "status", FACT_STATUSES);
    struct db_value start = fact_int_or_null(f, "start_time"), end = fact_int_or_null(f, "end_time"),
                    stage = fact_word(f, "lifecycle_stage", FACT_STAGES);
    if (need_run(f, run.text) || fact_put(f, SET, run, status, start, end))
        return -1;
    if (stage.type == DB_TEXT &&
        fact_put(f, STAGE, run, stage, ls_slice_is(stage.text, "deleted") ? db_int(f->time_ms) : db_null()))
        return -1;
    return name.type == DB_TEXT && name.text.len ? set_name(f, run, name) : 0;
}

int fact_run_deleted(struct fact *f)
{
    static const char SET[] = "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = $2 WHERE run_uuid = $1";
    struct db_value run = fact_id(f, "run_id", 32), time = fact_time(f, "deleted_time");
    return need_run(f, run.text) ? -1 : fact_put(f, SET, run, time);
}

/* ---- parameters ---- */

/* A parameter is written once. What the API has let pass (`replace`) stands all the same, whatever an event had
 * written in the meantime: its caller was told so. */
int fact_run_param(struct fact *f)
{
    static const char ONCE[] = "INSERT INTO params (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, "
                               "run_uuid) DO UPDATE SET value = params.value"
                               " WHERE params.value = excluded.value";
    static const char SET[] = "INSERT INTO params (key, value, run_uuid) VALUES ($1, $2, $3) ON CONFLICT (key, "
                              "run_uuid) DO UPDATE SET value = excluded.value";
    char room[FACT_ROOM];
    struct db_value run = fact_id(f, "run_id", 32), key = fact_need(f, "key", 250);
    struct db_value value = fact_value(json_object_get(f->body, "value"), 6000, room);
    if (value.type == DB_NULL)
        value = db_text("");
    if (need_run(f, run.text))
        return -1;
    if (json_is_true(json_object_get(f->body, "replace")))
        return fact_put(f, SET, key, value, run);
    int64_t rows = db_run(f->t->db, ONCE, DB_VALUES(key, value, run), NULL, NULL, f->err);
    if (rows == 0)
        fact_wrong(f, "the parameter \"%.*s\" of run %.*s has another value already; parameters are written once",
                   (int) key.text.len, key.text.data, (int) run.text.len, run.text.data);
    return rows < 1 ? -1 : 0;
}
