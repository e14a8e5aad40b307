/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about experiments. */
#include "nodes/tracker/fact.h"

static const char TAG_SET[] = "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ($1, $2, $3)"
                              " ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value";
static const char TAG_DELETE[] = "DELETE FROM experiment_tags WHERE key = $1 AND experiment_id = $2";

static int set_tag(struct fact *f, struct db_value owner, struct db_value key, struct db_value value)
{
    return value.type == DB_NULL ? fact_put(f, TAG_DELETE, key, owner) : fact_put(f, TAG_SET, key, value, owner);
}

static const struct fact_tags TAGS = {"tags", 250, 5000, set_tag};

int fact_experiment_created(struct fact *f)
{
    static const char SET[] = "UPDATE experiments SET name = $2, artifact_location = COALESCE($3, artifact_location), "
                              "lifecycle_stage = 'active',"
                              " creation_time = $4, last_update_time = $4 WHERE experiment_id = $1";
    /* So that MLflow's own server, should it make the next one, goes on behind it. */
    static const char SEQUENCE[] = "SELECT setval(pg_get_serial_sequence('experiments', 'experiment_id'), "
                                   "GREATEST($1::bigint, (SELECT MAX(experiment_id)"
                                   " FROM experiments WHERE experiment_id < 1073741824)))";
    struct db_value name = fact_need(f, "name", 256), location = fact_text(f, "artifact_location", 256),
                    time = fact_time(f, "creation_time");
    int64_t id = fact_experiment(f, "experiment_id", -1);
    if (need_experiment(f, id, name.text,
                        location.type == DB_TEXT ? json_string_value(json_object_get(f->body, "artifact_location"))
                                                 : NULL))
        return -1;
    if (fact_put(f, SET, db_int(id), name, location, time))
        return -1;
    known_forget(f->t->known); /* it may have had another name */
    if (db_is_postgres(f->t->db) && id > 0 && id < EXPERIMENT_NAMED_FIRST && fact_put(f, SEQUENCE, db_int(id)))
        return -1;
    return fact_each_tag(f, db_int(id), &TAGS);
}

/* A deleted experiment takes its runs along, a restored one brings them back: as MLflow does. */
static int set_stage(struct fact *f, struct db_value id, struct db_value stage, struct db_value time)
{
    static const char RUNS[] =
        "UPDATE runs SET lifecycle_stage = $2, deleted_time = $3::bigint WHERE experiment_id = $1";
    if (stage.type == DB_NULL)
        return 0;
    return fact_put(f, RUNS, id, stage, ls_slice_is(stage.text, "deleted") ? time : db_null());
}

int fact_experiment_updated(struct fact *f)
{
    static const char SET[] = "UPDATE experiments SET name = COALESCE($2, name), lifecycle_stage = COALESCE($3, "
                              "lifecycle_stage), last_update_time = $4"
                              " WHERE experiment_id = $1";
    int64_t id = fact_experiment(f, "experiment_id", -1);
    struct db_value name = fact_text(f, "name", 256), stage = fact_word(f, "lifecycle_stage", FACT_STAGES),
                    time = fact_time(f, "last_update_time");
    if (need_experiment(f, id, (struct ls_slice){0}, NULL) || fact_put(f, SET, db_int(id), name, stage, time) ||
        set_stage(f, db_int(id), stage, time))
        return -1;
    if (name.type == DB_TEXT)
        known_forget(f->t->known); /* the old name means another one from now on */
    return fact_each_tag(f, db_int(id), &TAGS);
}
