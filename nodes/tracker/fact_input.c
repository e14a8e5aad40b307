/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about what runs used and made: data sets and logged models. */
#include <stdio.h>
#include <xxhash.h>

#include "lib/error.h"
#include "nodes/tracker/fact.h"

#define UUID_SIZE 33

/* MLflow takes such ids by chance; here they come from what they stand for, so that a replay gives the same. */
static void make_uuid(char uuid[UUID_SIZE], const char *sort, struct db_value a, struct db_value b)
{
    struct buf all = {0};
    buf_pack_str(&all, sort);
    buf_pack_strn(&all, a.text.data, a.text.len);
    buf_pack_strn(&all, b.text.data, b.text.len);
    XXH128_hash_t hash = XXH3_128bits(all.data, all.len);
    snprintf(uuid, UUID_SIZE, "%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
    buf_fini(&all);
}

/* Another fact that reads a part of the body as its own. */
static struct fact within(const struct fact *f, const json_t *body)
{
    return (struct fact){.t = f->t, .topic = f->topic, .body = body, .time_ms = f->time_ms, .err = f->err};
}

/* ---- data sets ---- */

/* The data set of the experiment of run $1 with name $2 and digest $3, which may have been there before. */
#define DATASET_OF                                                                                                     \
    " FROM datasets d JOIN runs r ON r.experiment_id = d.experiment_id WHERE r.run_uuid = $1 AND d.name = $2 AND "     \
    "d.digest = $3"
static const char DATASET_PUT[] = "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, "
                                  "dataset_source_type, dataset_source, dataset_schema, dataset_profile)"
                                  " SELECT $4::text, r.experiment_id, $2::text, $3::text, $5::text, $6::text, "
                                  "$7::text, $8::text FROM runs r WHERE r.run_uuid = $1"
                                  " ON CONFLICT DO NOTHING";
static const char INPUT_PUT[] =
    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)"
    " SELECT $4::text, 'DATASET', d.dataset_uuid, 'RUN', r.run_uuid" DATASET_OF " ON CONFLICT DO NOTHING";
static const char INPUT_TAG_PUT[] =
    "INSERT INTO input_tags (input_uuid, name, value) SELECT i.input_uuid, $4::text, $5::text FROM inputs i"
    " WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = $1"
    " AND i.source_id = (SELECT d.dataset_uuid" DATASET_OF ") ON CONFLICT DO NOTHING";

static int put_tags(struct fact *f, const json_t *tags, struct db_value run, struct db_value name,
                    struct db_value digest)
{
    size_t i;
    const json_t *tag;
    json_array_foreach(tags, i, tag)
    {
        struct fact of = within(f, tag);
        struct db_value key = fact_need(&of, "key", 255), value = fact_or(&of, "value", 500, "");
        if (fact_put(&of, INPUT_TAG_PUT, run, name, digest, key, value))
            return -1;
    }
    return 0;
}

static void take_number(void *arg, const struct db_row *row)
{
    snprintf(arg, UUID_SIZE, "dataset %lld", (long long) db_get_int(row, 0));
}

/* Data sets belong to an experiment: the same one in two has two ids. `sort` (UUID_SIZE) names that of the run. */
static int sort_of(struct fact *f, struct db_value run, char *sort)
{
    static const char EXPERIMENT[] = "SELECT experiment_id FROM runs WHERE run_uuid = $1";
    return db_run(f->t->db, EXPERIMENT, DB_VALUES(run), take_number, sort, f->err) < 0 ? -1 : 0;
}

static int put_dataset(struct fact *f, struct db_value run, const json_t *input)
{
    char sort[UUID_SIZE] = "";
    struct fact of = within(f, json_object_get(input, "dataset"));
    char dataset[UUID_SIZE], edge[UUID_SIZE];
    struct db_value name = fact_need(&of, "name", 500), digest = fact_need(&of, "digest", 36),
                    source_type = fact_or(&of, "source_type", 36, "");
    struct db_value source = fact_or(&of, "source", 65535, ""), schema = fact_text(&of, "schema", 1048575),
                    profile = fact_text(&of, "profile", 16777215);
    if (of.wrong || sort_of(f, run, sort))
        return -1;
    make_uuid(dataset, sort, name, digest);
    make_uuid(edge, dataset, run, digest);
    if (fact_put(&of, DATASET_PUT, run, name, digest, db_text(dataset), source_type, source, schema, profile) ||
        fact_put(&of, INPUT_PUT, run, name, digest, db_text(edge)))
        return -1;
    return put_tags(f, json_object_get(input, "tags"), run, name, digest);
}

/* ---- models ---- */

static int put_models(struct fact *f, struct db_value run, const char *source, const char *destination)
{
    static const char PUT[] = "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, "
                              "destination_id, step) VALUES ($1, $2, $3, $4, $5, $6)"
                              " ON CONFLICT DO NOTHING";
    size_t i;
    const json_t *model;
    json_array_foreach(json_object_get(f->body, "models"), i, model)
    {
        struct fact of = within(f, model);
        char uuid[UUID_SIZE];
        struct db_value id = fact_id(&of, "model_id", 36);
        make_uuid(uuid, source, run, id);
        if (fact_put(&of, PUT, db_text(uuid), db_text(source), run, db_text(destination), id,
                     db_int(fact_int(&of, "step", 0))))
            return -1;
    }
    return 0;
}

int fact_run_input(struct fact *f)
{
    struct db_value run = fact_id(f, "run_id", 32);
    size_t i;
    const json_t *input;
    if (need_run(f, run.text))
        return -1;
    json_array_foreach(json_object_get(f->body, "datasets"), i, input) if (put_dataset(f, run, input)) return -1;
    return put_models(f, run, "RUN_INPUT", "MODEL_INPUT");
}

int fact_run_output(struct fact *f)
{
    struct db_value run = fact_id(f, "run_id", 32);
    return need_run(f, run.text) ? -1 : put_models(f, run, "RUN_OUTPUT", "MODEL_OUTPUT");
}
