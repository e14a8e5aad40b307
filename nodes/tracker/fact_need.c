/* SPDX-License-Identifier: Apache-2.0 */
/* What a fact names must be there: experiments, runs, models are found, or made with what is known of them. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/error.h"
#include "lib/map.h"
#include "lib/xmem.h"
#include "nodes/tracker/fact.h"

#define KNOWN_MAX 100000 /* then all is forgotten, and looked for once more */

/* Hashes of names that are in the database, with the id where there is one. A name that is not what its hash says,
 * at odds of one in 2^64, ends in a broken foreign key; the feed then forgets all and tries again. */
struct known {
    struct map there;
};

struct known *known_new(void)
{
    return xcalloc(1, sizeof(struct known));
}

void known_forget(struct known *known)
{
    map_fini(&known->there);
    known->there = (struct map){0};
}

void known_free(struct known **known)
{
    if (*known)
        known_forget(*known);
    free(*known);
    *known = NULL;
}

static uint64_t hash_of(char sort, struct ls_slice name)
{
    return XXH3_64bits_withSeed(name.len ? name.data : "", name.len, (XXH64_hash_t) sort);
}

/* The remembered id + 1; 0: not known. */
static uintptr_t recall(const struct known *known, uint64_t hash)
{
    return (uintptr_t) map_get(&known->there, hash);
}

static void remember(struct known *known, uint64_t hash, int64_t id)
{
    if (known->there.used >= KNOWN_MAX)
        known_forget(known);
    map_put(&known->there, hash, (void *) ((uintptr_t) id + 1)); /* NULL would be absent */
}

/* 1: made now, 0: it was there, -1. */
static int make(struct fact *f, const char *sql, const struct db_value *values, size_t count)
{
    return f->wrong ? -1 : (int) db_run(f->t->db, sql, values, count, NULL, NULL, f->err);
}

/* ---- experiments ---- */

static const char EXPERIMENT_NAMED[] = "SELECT experiment_id FROM experiments WHERE name = $1";
static const char EXPERIMENT_WITH[] = "SELECT 1 FROM experiments WHERE experiment_id = $1";
/* The artifact location of a new one: what is given, else below the root. */
static const char EXPERIMENT_MAKE[] =
    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
    " VALUES ($1, $2, $3, 'active', $4, $4) ON CONFLICT (experiment_id) DO NOTHING";

static void take_id(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

static int make_experiment(struct fact *f, int64_t id, struct ls_slice name, const char *location)
{
    char *below = location ? NULL : xasprintf("%s/%lld", f->t->artifact_root, (long long) id);
    int made = make(f, EXPERIMENT_MAKE,
                    DB_VALUES(db_int(id), db_slice(name), db_text(location ? location : below), db_int(f->time_ms)));
    free(below);
    return made;
}

int64_t need_experiment_named(struct fact *f, struct ls_slice name, const char *location)
{
    uint64_t hash = hash_of('n', name);
    uintptr_t known = recall(f->t->known, hash);
    int64_t id = -1;
    if (known)
        return (int64_t) known - 1;
    if (db_run(f->t->db, EXPERIMENT_NAMED, DB_VALUES(db_slice(name)), take_id, &id, f->err) < 0)
        return -1;
    if (id < 0) {
        id = EXPERIMENT_NAMED_FIRST + (int64_t) (XXH3_64bits(name.data, name.len) % EXPERIMENT_NAMED_FIRST);
        int made = make_experiment(f, id, name, location);
        if (made == 0)
            fact_wrong(f, "the experiment %.*s cannot be made: its id %lld has gone to another name", (int) name.len,
                       name.data, (long long) id);
        if (made < 1)
            return -1;
    }
    remember(f->t->known, hash, id);
    return id;
}

int need_experiment(struct fact *f, int64_t id, struct ls_slice name, const char *location)
{
    char number[24], invented[48];
    snprintf(number, sizeof number, "%lld", (long long) id);
    snprintf(invented, sizeof invented, "experiment-%s", number);
    uint64_t hash = hash_of('e', ls_str(number));
    if (f->wrong)
        return -1;
    if (recall(f->t->known, hash))
        return 0;
    int64_t rows = db_run(f->t->db, EXPERIMENT_WITH, DB_VALUES(db_int(id)), NULL, NULL, f->err);
    if (rows == 0)
        rows = make_experiment(f, id, name.len ? name : ls_str(invented), location);
    if (rows < 0)
        return -1;
    remember(f->t->known, hash, id);
    return 0;
}

/* ---- runs ---- */

static const char RUN_MAKE[] = "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, "
                               "status, start_time, source_version, lifecycle_stage,"
                               " artifact_uri, experiment_id) SELECT $1::text, $4::text, 'UNKNOWN', '', '', '', "
                               "'RUNNING', $2::bigint, '', 'active',"
                               " e.artifact_location || '/' || $1::text || '/artifacts', e.experiment_id FROM "
                               "experiments e WHERE e.experiment_id = $3"
                               " ON CONFLICT (run_uuid) DO NOTHING";

int need_run_in(struct fact *f, struct ls_slice id, int64_t experiment, struct ls_slice name)
{
    uint64_t hash = hash_of('r', id);
    if (f->wrong)
        return -1;
    if (recall(f->t->known, hash))
        return 0;
    int made = make(f, RUN_MAKE, DB_VALUES(db_slice(id), db_int(f->time_ms), db_int(experiment), db_slice(name)));
    if (made < 0 || (made == 1 && run_set_tag(f, db_slice(id), db_text("mlflow.runName"), db_slice(name))))
        return -1;
    remember(f->t->known, hash, 0);
    return 0;
}

int need_run(struct fact *f, struct ls_slice id)
{
    return need_run_in(f, id, 0, id);
}

/* ---- models ---- */

static const char LOGGED_MAKE[] = "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, "
                                  "creation_timestamp_ms, last_updated_timestamp_ms, status,"
                                  " lifecycle_stage) SELECT $1::text, e.experiment_id, $1::text, e.artifact_location "
                                  "|| '/models/' || $1::text || '/artifacts', $2::bigint, $2::bigint,"
                                  " 1, 'active' FROM experiments e"
                                  " WHERE e.experiment_id = COALESCE((SELECT r.experiment_id FROM runs r WHERE "
                                  "r.run_uuid = $3), 0) ON CONFLICT (model_id) DO NOTHING";
/* The primary key has one more column in newer releases: no conflict target is named. */
static const char MODEL_MAKE[] =
    "INSERT INTO registered_models (name, creation_time, last_updated_time) SELECT $1::text, $2::bigint, $2::bigint"
    " WHERE NOT EXISTS (SELECT 1 FROM registered_models WHERE name = $1::text) ON CONFLICT DO NOTHING";

int need_logged(struct fact *f, struct ls_slice id, struct ls_slice run)
{
    uint64_t hash = hash_of('l', id);
    if (f->wrong)
        return -1;
    if (recall(f->t->known, hash))
        return 0;
    if (make(f, LOGGED_MAKE, DB_VALUES(db_slice(id), db_int(f->time_ms), run.len ? db_slice(run) : db_text(""))) < 0)
        return -1;
    remember(f->t->known, hash, 0);
    return 0;
}

int need_model(struct fact *f, struct ls_slice name)
{
    return fact_put(f, MODEL_MAKE, db_slice(name),
                    db_int(f->time_ms)); /* not remembered: models are renamed and deleted */
}
