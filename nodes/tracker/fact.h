/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_FACT_H
#define NODES_TRACKER_FACT_H
#include "nodes/tracker/tracker.h"

/* What the files of facts (fact*.c, chat.c) share.
 *
 * Rules of every fact, so that the order in which facts stand in the stream decides alone, whatever was applied
 * before:
 *  - A value is written whatever stood there; the last writer wins. Metrics are a set, and the latest one a
 *    maximum: their order does not matter.
 *  - A run, experiment or model that is named and not there is made, with what is known of it. The fact that
 *    created it, when it comes, writes all of its columns.
 *  - Nothing is taken from the clock, from chance or from a sequence. */

/* A fact while it is read. The first problem sets *err (BAD_VALUE) and `wrong`; what is read after it does not
 * matter. */
struct fact {
    struct tracker *t;
    const char *topic;
    const json_t *body;
    int64_t time_ms;
    struct ls_error *err;
    bool wrong;
};

/* The key under which the feed puts the trace of a chat event into its body. */
#define FACT_TRACE "lineshaft.trace"

/* fact_wrong notes a problem; returns -1. */
int fact_wrong(struct fact *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fields of the body. null is absent. Lengths are in characters, as in the columns; too long is a problem, as is
 * another type. fact_text: NULL when it is absent. fact_need: absent or empty is a problem. fact_or: `fallback`
 * when it is absent. fact_word: one of the words (which end with NULL), or absent. fact_int: a number, or a text in
 * decimal. fact_time: ms; the fact's time when absent. */
struct db_value fact_text(struct fact *f, const char *key, size_t most);
struct db_value fact_need(struct fact *f, const char *key, size_t most);
struct db_value fact_or(struct fact *f, const char *key, size_t most, const char *fallback);
struct db_value fact_word(struct fact *f, const char *key, const char *const *words);
bool fact_has(const struct fact *f, const char *key);
int64_t fact_int(struct fact *f, const char *key, int64_t fallback);
struct db_value fact_int_or_null(struct fact *f, const char *key);
struct db_value fact_time(struct fact *f, const char *key);

/* fact_id is fact_need for what becomes part of a path: at most `most` ASCII letters, digits, _ and -, the first no
 * _ or -, as MLflow wants ids of runs. */
struct db_value fact_id(struct fact *f, const char *key, size_t most);

/* fact_value is a parameter or a tag as text: texts as they are, all else as JSON writes it; cut behind `most`
 * characters. It borrows from `value` or from `room`. */
#define FACT_ROOM 40
struct db_value fact_value(const json_t *value, size_t most, char room[FACT_ROOM]);
/* fact_chars counts the characters of UTF-8. */
size_t fact_chars(struct ls_slice text);

/* fact_each_tag calls fn for each pair of the object `key` in the body: value NULL where it is null. Keys have at
 * most `key_most` characters. Stops at -1. */
typedef int fact_tag_fn(struct fact *f, struct db_value owner, struct db_value key, struct db_value value);
struct fact_tags {
    const char *field;
    size_t key_most, value_most;
    fact_tag_fn *fn;
};
int fact_each_tag(struct fact *f, struct db_value owner, const struct fact_tags *tags);

/* fact_put queues a statement within the transaction. */
#define fact_put(f, sql, ...) fact_put_values((f), (sql), DB_VALUES(__VA_ARGS__))
static inline int fact_put_values(struct fact *f, const char *sql, const struct db_value *values, size_t count)
{
    return f->wrong ? -1 : db_queue(f->t->db, sql, values, count, f->err);
}

extern const char *const FACT_STAGES[];   /* active, deleted */
extern const char *const FACT_STATUSES[]; /* of runs */

/* ---- what a fact names must be there (fact_need.c): found, or made. What was found is remembered until
 * known_forget ---- */

struct known;
struct known *known_new(void);
void known_free(struct known **known);
void known_forget(struct known *known); /* after a rollback, and when the database was lost */

/* need_experiment_named: the id of the experiment with that name. A new one's id comes from its name and not from
 * the sequence, so every database gives it the same. need_experiment makes one with `name`, or, if that is empty, a
 * name made of its number. `location` may be NULL: below the artifact root. */
int64_t need_experiment_named(struct fact *f, struct ls_slice name, const char *location);
int need_experiment(struct fact *f, int64_t id, struct ls_slice name, const char *location);
/* need_run: a new one is in experiment 0 and has its id for a name; need_run_in says where and how. It has begun at
 * the time of the fact. need_logged: a new one is in the experiment of `run`, of 0 if that is empty. need_model: a
 * registered model. All need a name that is not empty. */
int need_run(struct fact *f, struct ls_slice id);
int need_run_in(struct fact *f, struct ls_slice id, int64_t experiment, struct ls_slice name);
int need_logged(struct fact *f, struct ls_slice id, struct ls_slice run);
int need_model(struct fact *f, struct ls_slice name);
/* fact_experiment: the id in the field `key`, `fallback` if it is absent. */
int64_t fact_experiment(struct fact *f, const char *key, int64_t fallback);

int run_set_tag(struct fact *f, struct db_value run, struct db_value key, struct db_value value); /* NULL removes it */

/* ---- metrics (fact_metric.c) ---- */

/* A value, gathered until metrics_flush writes all of them. Texts are borrowed until then. */
struct metric {
    struct ls_slice run, key;
    int64_t step, timestamp;
    double value;
    bool is_nan;
};
struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics **metrics);
/* metrics_add: its run must be there; NaN and the infinities become what MLflow keeps for them. metrics_flush
 * writes within the transaction; metrics_drop forgets. */
void metrics_add(struct metrics *metrics, struct metric metric);
int metrics_flush(struct tracker *t, struct ls_error *err);
void metrics_drop(struct metrics *metrics);

/* ---- the functions of the table in fact.c ---- */

typedef int fact_fn(struct fact *f);
fact_fn fact_experiment_created, fact_experiment_updated;
fact_fn fact_run_created, fact_run_updated, fact_run_deleted, fact_run_metric, fact_run_param, fact_run_tag,
    fact_run_input, fact_run_output;
fact_fn fact_model_registered, fact_model_updated, fact_model_deleted, fact_version_created, fact_version_updated,
    fact_alias_set, fact_alias_deleted;
fact_fn fact_logged_created, fact_logged_updated;
fact_fn fact_try_failed;
fact_fn chat_completed, chat_failed, chat_cancelled, chat_feedback;

#endif
