/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_API_H
#define NODES_TRACKER_API_H
#include "nodes/tracker/ops.h"
#include "nodes/tracker/tracker.h"

/* What the files of the API (api_*.c) share. A request is refused once: when call->error_code is set, further
 * complaints change nothing, so an op may read and check all it needs and look once, with `refused`. */

#define TRACKER_OP_DECLARATION(name, method, path, topic, summary)                                                     \
    json_t *op_##name(struct op_call *call, struct ls_error *err);
TRACKER_READS(TRACKER_OP_DECLARATION)
TRACKER_WRITES(TRACKER_OP_DECLARATION)

/* The error codes of MLflow that are used here; their statuses are in api.c. */
#define INVALID "INVALID_PARAMETER_VALUE"
#define ABSENT "RESOURCE_DOES_NOT_EXIST"
#define EXISTS "RESOURCE_ALREADY_EXISTS"

/* In place of a code: a question failed, *err is the database's, and the op ends. */
extern const char DATABASE_FAILED[];

static inline bool refused(const struct op_call *call)
{
    return call->error_code != NULL;
}

/* ---- api.c ---- */

/* api_answer sends what an op answered (takes it over), or its failure when that is NULL, to who asked; as `request` of the kind. */
enum ls_verdict api_answer(struct op_call *call, struct ls_call *to, json_t *answer, bool http, struct ls_error *err);

/* ---- api_request.c: reading a request ---- */

/* ask_request makes one object of path parameters, query and body. `http`: as ingress sends it; `pattern`: the
 * route's path. NULL with BAD_VALUE. */
json_t *ask_request(const struct ls_event *event, bool http, const char *pattern, struct ls_error *err);

/* ask_unescaped: a text without its percent escapes; NULL if it is not UTF-8 or has a NUL. */
json_t *ask_unescaped(const char *text, size_t len, bool plus);

/* Fields of an object (call->request, or one within). null counts as absent. ask_text: NULL if it is absent.
 * need_text: refuses what is absent or empty, as MLflow does. Numbers may be texts, as in a query; enums are
 * numbers or names. Wrong types refuse the request. */
const char *ask_text(struct op_call *call, const json_t *from, const char *key, struct ls_error *err);
const char *need_text(struct op_call *call, const json_t *from, const char *key, struct ls_error *err);
bool has(const json_t *from, const char *key);
int64_t ask_int(struct op_call *call, const json_t *from, const char *key, int64_t fallback, struct ls_error *err);
bool ask_bool(struct op_call *call, const json_t *from, const char *key, bool fallback, struct ls_error *err);
/* need_number: the number, or the text "NaN", "Infinity" or "-Infinity": new reference of a real or one of these
 * texts. */
json_t *need_number(struct op_call *call, const json_t *from, const char *key, struct ls_error *err);
/* ask_list: an array, NULL if it is absent; the one text of a query becomes an array of one (all borrowed). Items
 * are objects if `objects`, else texts. */
const json_t *ask_list(struct op_call *call, json_t *from, const char *key, bool objects, struct ls_error *err);
/* ask_enum: index into words, which ends with NULL; words[0] is unused. 0 if it is absent. */
int ask_enum(struct op_call *call, const json_t *from, const char *key, const char *const *words, struct ls_error *err);
/* ask_max: max_results, 1 to `most`. */
int64_t ask_max(struct op_call *call, int64_t fallback, int64_t most, struct ls_error *err);
/* ask_pairs: [{key, value}] as {key: value}; a key that stands twice has its last value. Each pair goes through
 * `check`. New reference. */
json_t *ask_pairs(struct op_call *call, const char *key,
                  void (*check)(struct op_call *call, const char *key, const char *value, struct ls_error *err),
                  struct ls_error *err);

/* search_read reads `filter` and the list `order_by` of the request; what is wrong refuses it. */
struct search;
void search_read(struct op_call *call, struct search *search, struct ls_error *err);

/* Page tokens: base64 of {"offset": n}, with `question`, when it is not empty, the hash of what was asked.
 * token_read: the offset, 0 without a token. */
int64_t token_read(struct op_call *call, const char *question, struct ls_error *err);
json_t *token_make(int64_t offset, const char *question);

/* ---- check.c: names, keys, limits ---- */

#define TIME_MAX 253402300799999 /* ms: the year 9999 */
#define METRIC_KEY_MAX 250
#define PARAM_VALUE_MAX 6000
#define TAG_VALUE_MAX 8000
#define EXPERIMENT_TAG_MAX 5000
#define MODEL_TAG_MAX 5000
#define VERSION_TAG_MAX 100000
#define DESCRIPTION_MAX 5000

/* Lengths are in characters, as in the columns. check_length: `what` names the field. */
void check_length(struct op_call *call, const char *what, const char *text, size_t most, struct ls_error *err);
/* check_key: key of a metric, parameter or tag: letters, digits, _ - . space : / and a path that is its own normal
 * form. */
void check_key(struct op_call *call, const char *what, const char *key, struct ls_error *err);
void check_experiment_name(struct op_call *call, const char *name, struct ls_error *err);
void check_model_name(struct op_call *call, const char *name, struct ls_error *err);
void check_logged_model_name(struct op_call *call, const char *name, struct ls_error *err);
void check_alias(struct op_call *call, const char *alias, struct ls_error *err);
/* For ask_pairs. Values of run tags are cut (check_cut), all others must fit. */
void check_run_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err);
void check_experiment_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err);
void check_model_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err);
void check_version_tag(struct op_call *call, const char *key, const char *value, struct ls_error *err);
void check_logged_model_pair(struct op_call *call, const char *key, const char *value, struct ls_error *err);
/* check_cut: `text`, or its first `most` characters: MLflow cuts values of parameters and run tags rather than
 * losing them. */
json_t *check_cut(const char *text, size_t most);
/* check_path: a relative path below a root, without "..": false otherwise. Percent escapes are looked through. */
bool check_path(const char *path);
/* check_source: where a version's files are: a URI with a path; what is local must be inside `root` (NULL: nothing
 * may be local). */
void check_source(struct op_call *call, const char *source, const char *root, struct ls_error *err);

/* ---- api_answer.c: rows as MLflow's JSON; what is NULL or empty is absent ---- */

/* A question to the database. */
struct question {
    const char *sql;
    const struct db_value *values;
    size_t count;
};
#define QUESTION(sql_, ...) (&(struct question){sql_, DB_VALUES(__VA_ARGS__)})

/* The columns that the functions below want a question to select, in these orders, from tables called e, r, m, v
 * and l. */
#define EXPERIMENT_COLUMNS                                                                                             \
    "e.experiment_id, e.name, e.artifact_location, e.lifecycle_stage, e.last_update_time, e.creation_time"
#define RUN_COLUMNS                                                                                                    \
    "r.run_uuid, r.name, r.experiment_id, r.user_id, r.status, r.start_time, r.end_time, r.artifact_uri, "             \
    "r.lifecycle_stage"
#define MODEL_COLUMNS "m.name, m.creation_time, m.last_updated_time, m.description"
#define VERSION_COLUMNS                                                                                                \
    "v.name, v.version, v.creation_time, v.last_updated_time, v.user_id, v.current_stage, v.description, v.source, "   \
    "v.run_id, v.status, "                                                                                             \
    "v.status_message, v.run_link"
#define LOGGED_MODEL_COLUMNS                                                                                           \
    "l.model_id, l.experiment_id, l.name, l.creation_timestamp_ms, l.last_updated_timestamp_ms, l.artifact_location, " \
    "l.status, "                                                                                                       \
    "l.model_type, l.source_run_id, l.status_message"

/* Each returns an array of whole things in the order of the rows: one more question for each sort of what belongs
 * to them, however many they are. New reference, NULL with *err. */
json_t *answer_experiments(struct tracker *t, const struct question *q, struct ls_error *err);
json_t *answer_runs(struct tracker *t, const struct question *q, struct ls_error *err);
json_t *answer_models(struct tracker *t, const struct question *q, struct ls_error *err);
json_t *answer_versions(struct tracker *t, const struct question *q, struct ls_error *err);
json_t *answer_logged_models(struct tracker *t, const struct question *q, struct ls_error *err);

/* answer_one: {key: the first of `items`} ({key: item} if it is one), which it takes over; NULL stays NULL.
 * answer_list: {key: items, next_page_token}: of more than `most` items the last one is left out, for a token. */
json_t *answer_one(const char *key, json_t *items);
struct answer_page {
    const char *key;
    int64_t offset, most;
    const char *question; /* for token_make */
};
json_t *answer_list(const struct answer_page *page, json_t *items);

/* A value of a metric; is_nan -1: there is no such column, NULL is NaN. */
json_t *answer_value(const struct db_row *row, int value, int is_nan);
/* Sets key to value unless it is NULL; takes value over. */
void put(json_t *object, const char *key, json_t *value);
/* The first row's columns as texts (NULL for NULL), into `texts` of `count`; found or not. Free with texts_free. A
 * failing database refuses the request (DATABASE_FAILED), so that nothing is taken for absent. */
bool texts_ask(struct op_call *call, const struct question *q, char **texts, size_t count, struct ls_error *err);
void texts_free(char **texts, size_t count);

/* `column IN` the texts of the JSON array $1, for both databases; LIST_OF_INTS for whole numbers. */
#define LIST_LITE "IN (SELECT value FROM json_each($1))"
#define LIST_POSTGRES "IN (SELECT jsonb_array_elements_text($1::jsonb))"
#define LIST_OF_INTS_LITE "IN (SELECT CAST(value AS INTEGER) FROM json_each($1))"
#define LIST_OF_INTS_POSTGRES "IN (SELECT CAST(jsonb_array_elements_text($1::jsonb) AS INTEGER))"

/* ---- what ops share ---- */

#define NEW_ID_SIZE 35
/* new_id: `prefix` and 32 hexadecimal digits that grow with time. */
void new_id(char id[NEW_ID_SIZE], const char *prefix);

/* api_experiment.c. experiment_id: of the field, refused if it is no number; experiment_text writes it. */
#define EXPERIMENT_TEXT_SIZE 24
int64_t experiment_id(struct op_call *call, const json_t *from, const char *key, struct ls_error *err);
/* require_location: where the experiment's files go; the caller's. Refused unless it exists and is active. */
char *require_location(struct op_call *call, int64_t id, struct ls_error *err);

/* api_run.c. require_run: refused unless the run exists (and is active). run_id: of the field run_id, or run_uuid. */
const char *run_id(struct op_call *call, struct ls_error *err);
void require_run(struct op_call *call, const char *id, bool active, struct ls_error *err);
/* check_experiment_ids: each of the texts is a number. */
void check_experiment_ids(struct op_call *call, const json_t *ids, struct ls_error *err);
/* view_clause: " AND <column> = 'active'" and so on, by the field `key`; empty for ALL. */
const char *view_clause(struct op_call *call, const char *key, const char *column, struct ls_error *err);

/* api_log.c: the body of a run.tag fact, cut to fit. */
int tell_tag(struct op_call *call, const char *run, const char *key, const char *value, struct ls_error *err);

/* api_model.c, api_version.c */
void require_model(struct op_call *call, const char *name, struct ls_error *err);
int64_t version_number(struct op_call *call, struct ls_error *err);
void require_version(struct op_call *call, const char *name, int64_t version, struct ls_error *err);
json_t *version_answer(struct op_call *call, const char *name, int64_t version, struct ls_error *err);
/* stage_of: the stage in MLflow's own spelling, which is any case of it. */
const char *stage_of(struct op_call *call, const char *text, struct ls_error *err);
/* Aliases: which version it has, 0 for none; setting it to a version that is there; dropping it, of that version. */
int64_t alias_find(struct op_call *call, const char *name, const char *alias, struct ls_error *err);
int alias_drop(struct op_call *call, const char *name, const char *alias, int64_t version, struct ls_error *err);
int alias_set(struct op_call *call, const char *name, const char *alias, int64_t version, struct ls_error *err);

#endif
