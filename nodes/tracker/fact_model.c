/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about the registry: models, versions, aliases. The primary keys of these tables grow a column in newer
 * releases of MLflow, so no statement here names what an INSERT may collide with: first UPDATE, then INSERT what is
 * not there. */
#include <stdint.h>

#include "nodes/tracker/fact.h"

static const char *const STATUSES[] = {"PENDING_REGISTRATION", "FAILED_REGISTRATION", "READY", NULL};
static const char *const STAGES[] = {"None", "Staging", "Production", "Archived", "Deleted_Internal", NULL};

static int set_model_tag(struct fact *f, struct db_value name, struct db_value key, struct db_value value)
{
    static const char SET[] = "UPDATE registered_model_tags SET value = $3 WHERE name = $1 AND key = $2";
    static const char PUT[] =
        "INSERT INTO registered_model_tags (name, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    static const char DELETE[] = "DELETE FROM registered_model_tags WHERE name = $1 AND key = $2";
    if (value.type == DB_NULL)
        return fact_put(f, DELETE, name, key);
    return fact_put(f, SET, name, key, value) || fact_put(f, PUT, name, key, value) ? -1 : 0;
}

static const struct fact_tags MODEL_TAGS = {"tags", 250, 5000, set_model_tag};

/* ---- models ---- */

static int touch(struct fact *f, struct db_value name, struct db_value time)
{
    static const char SET[] = "UPDATE registered_models SET last_updated_time = $2 WHERE name = $1";
    return fact_put(f, SET, name, time);
}

int fact_model_registered(struct fact *f)
{
    static const char SET[] =
        "UPDATE registered_models SET creation_time = $2, last_updated_time = $2, description = $3 WHERE name = $1";
    struct db_value name = fact_need(f, "name", 256), description = fact_text(f, "description", 5000),
                    time = fact_time(f, "creation_timestamp");
    if (need_model(f, name.text) || fact_put(f, SET, name, time, description))
        return -1;
    return fact_each_tag(f, name, &MODEL_TAGS);
}

/* 1, 0, or -1. */
static int is_there(struct fact *f, struct db_value name)
{
    static const char THERE[] = "SELECT 1 FROM registered_models WHERE name = $1";
    return f->wrong ? -1 : (int) db_run(f->t->db, THERE, DB_VALUES(name), NULL, NULL, f->err);
}

static int drop_model(struct fact *f, struct db_value name)
{
    static const char *const DELETES[] = {
        "DELETE FROM model_version_tags WHERE name = $1", "DELETE FROM model_versions WHERE name = $1",
        "DELETE FROM registered_model_aliases WHERE name = $1", "DELETE FROM registered_model_tags WHERE name = $1",
        "DELETE FROM registered_models WHERE name = $1"};
    for (size_t i = 0; i < sizeof DELETES / sizeof *DELETES; i++)
        if (fact_put(f, DELETES[i], name))
            return -1;
    return 0;
}

/* Foreign keys carry the new name to versions, tags and aliases. When the fact is applied again, facts about the
 * old name that were, too, may have brought that back; the model itself has its new name since the first time. */
static int rename_model(struct fact *f, struct db_value name, struct db_value new_name)
{
    static const char SET[] = "UPDATE registered_models SET name = $2 WHERE name = $1";
    int there = is_there(f, new_name);
    if (there < 0)
        return -1;
    if (there && !f->t->again)
        return fact_wrong(f, "there is another model \"%.*s\"", (int) new_name.text.len, new_name.text.data);
    return there ? drop_model(f, name) : fact_put(f, SET, name, new_name);
}

/* A name that is not there is none that was forgotten: the model was renamed or deleted since. */
int fact_model_updated(struct fact *f)
{
    static const char SET[] =
        "UPDATE registered_models SET description = COALESCE($2, description), last_updated_time = $3 WHERE name = $1";
    struct db_value name = fact_need(f, "name", 256), new_name = fact_text(f, "new_name", 256),
                    description = fact_text(f, "description", 5000);
    struct db_value time = fact_time(f, "last_updated_timestamp");
    int there = is_there(f, name);
    if (there < 1)
        return there;
    if (fact_put(f, SET, name, description, time) || fact_each_tag(f, name, &MODEL_TAGS))
        return -1;
    return new_name.type == DB_TEXT && new_name.text.len ? rename_model(f, name, new_name) : 0;
}

int fact_model_deleted(struct fact *f)
{
    return drop_model(f, fact_need(f, "name", 256));
}

/* ---- versions ---- */

static struct db_value version_of(struct fact *f, const char *key)
{
    int64_t version = fact_int(f, key, 0);
    if (version < 1 || version > INT32_MAX)
        fact_wrong(f, "\"%s\" is no number of a version", key);
    return db_int(version);
}

static int set_version_tag(struct fact *f, struct db_value name, struct db_value key, struct db_value value)
{
    static const char SET[] = "UPDATE model_version_tags SET value = $4 WHERE name = $1 AND version = $2 AND key = $3";
    static const char PUT[] =
        "INSERT INTO model_version_tags (name, version, key, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    static const char DELETE[] = "DELETE FROM model_version_tags WHERE name = $1 AND version = $2 AND key = $3";
    struct db_value version = version_of(f, "version");
    if (value.type == DB_NULL)
        return fact_put(f, DELETE, name, version, key);
    return fact_put(f, SET, name, version, key, value) || fact_put(f, PUT, name, version, key, value) ? -1 : 0;
}

static const struct fact_tags VERSION_TAGS = {"tags", 250, 100000, set_version_tag};

/* A version that is named must be there. */
static int need_version(struct fact *f, struct db_value name, struct db_value version)
{
    static const char PUT[] =
        "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, status)"
        " SELECT $1::text, $2::int, $3::bigint, $3::bigint, 'None', 'READY'"
        " WHERE NOT EXISTS (SELECT 1 FROM model_versions WHERE name = $1::text AND version = $2::int) ON CONFLICT DO "
        "NOTHING";
    return need_model(f, name.text) || fact_put(f, PUT, name, version, db_int(f->time_ms)) ? -1 : 0;
}

int fact_version_created(struct fact *f)
{
    static const char SET[] =
        "UPDATE model_versions SET creation_time = $3, last_updated_time = $3, description = $4, user_id = $5, "
        "current_stage = $6, source = $7, run_id = $8,"
        " status = $9, status_message = $10, run_link = $11, storage_location = $12 WHERE name = $1 AND version = $2";
    struct db_value name = fact_need(f, "name", 256), version = version_of(f, "version"),
                    time = fact_time(f, "creation_timestamp");
    struct db_value description = fact_text(f, "description", 5000), user = fact_text(f, "user_id", 256),
                    run = fact_text(f, "run_id", 32);
    struct db_value source = fact_text(f, "source", 500), location = fact_text(f, "storage_location", 500),
                    link = fact_text(f, "run_link", 500);
    struct db_value stage = fact_word(f, "current_stage", STAGES), status = fact_word(f, "status", STATUSES),
                    why = fact_text(f, "status_message", 500);
    stage = stage.type == DB_NULL ? db_text("None") : stage;
    status = status.type == DB_NULL ? db_text("READY") : status;
    location = location.type == DB_NULL ? source : location;
    if (need_version(f, name, version) ||
        fact_put(f, SET, name, version, time, description, user, stage, source, run, status, why, link, location) ||
        touch(f, name, time))
        return -1;
    return fact_each_tag(f, name, &VERSION_TAGS);
}

/* What is left of a deleted version, so that its number is not given again: as MLflow does. */
static int redact(struct fact *f, struct db_value name, struct db_value version)
{
    static const char SET[] = "UPDATE model_versions SET description = NULL, user_id = NULL, source = "
                              "'REDACTED-SOURCE-PATH', run_id = 'REDACTED-RUN-ID',"
                              " run_link = 'REDACTED-RUN-LINK', status_message = NULL WHERE name = $1 AND version = $2";
    static const char ALIASES[] = "DELETE FROM registered_model_aliases WHERE name = $1 AND version = $2";
    return fact_put(f, SET, name, version) || fact_put(f, ALIASES, name, version) ? -1 : 0;
}

int fact_version_updated(struct fact *f)
{
    static const char SET[] =
        "UPDATE model_versions SET description = COALESCE($3, description), status = COALESCE($4, status),"
        " status_message = COALESCE($5, status_message), current_stage = COALESCE($6, current_stage), "
        "last_updated_time = $7"
        " WHERE name = $1 AND version = $2";
    struct db_value name = fact_need(f, "name", 256), version = version_of(f, "version"),
                    description = fact_text(f, "description", 5000);
    struct db_value status = fact_word(f, "status", STATUSES), why = fact_text(f, "status_message", 500),
                    stage = fact_word(f, "current_stage", STAGES);
    struct db_value time = fact_time(f, "last_updated_timestamp");
    if (need_version(f, name, version) || fact_put(f, SET, name, version, description, status, why, stage, time) ||
        touch(f, name, time) || fact_each_tag(f, name, &VERSION_TAGS))
        return -1;
    return stage.type == DB_TEXT && ls_slice_is(stage.text, "Deleted_Internal") ? redact(f, name, version) : 0;
}

/* ---- aliases ---- */

int fact_alias_set(struct fact *f)
{
    static const char SET[] = "UPDATE registered_model_aliases SET version = $3 WHERE name = $1 AND alias = $2";
    static const char PUT[] =
        "INSERT INTO registered_model_aliases (name, alias, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    struct db_value name = fact_need(f, "name", 256), alias = fact_need(f, "alias", 255),
                    version = version_of(f, "version");
    if (need_model(f, name.text))
        return -1;
    return fact_put(f, SET, name, alias, version) || fact_put(f, PUT, name, alias, version) ? -1 : 0;
}

int fact_alias_deleted(struct fact *f)
{
    static const char DELETE[] = "DELETE FROM registered_model_aliases WHERE name = $1 AND alias = $2";
    struct db_value name = fact_need(f, "name", 256), alias = fact_need(f, "alias", 255);
    return fact_put(f, DELETE, name, alias);
}
