/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_SEARCH_H
#define NODES_TRACKER_SEARCH_H
#include "lib/buf.h"
#include "nodes/kit/db.h"

#include <jansson.h>

/* MLflow's search language: `<entity>.<key> <op> <value>` joined by AND
 * (https://mlflow.org/docs/latest/search-runs.html), and order_by. Read here into conditions, written as SQL with
 * every value as a parameter. Whatever is wrong is BAD_VALUE with the place. */

enum search_entity { ENTITY_ATTRIBUTE, ENTITY_METRIC, ENTITY_PARAM, ENTITY_TAG, ENTITY_DATASET };
enum search_type { SEARCH_TEXT, SEARCH_INT, SEARCH_NUMBER, SEARCH_LOGGED_STATUS };
enum search_op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_LIKE, OP_ILIKE, OP_IN, OP_NOT_IN, OP_NULL, OP_NOT_NULL };

#define SEARCH_FILTER 1u /* may stand in a filter */
#define SEARCH_ORDER 2u  /* may stand in order_by */
#define SEARCH_IN 4u     /* takes IN and NOT IN */
#define SEARCH_ANY (SEARCH_FILTER | SEARCH_ORDER)

struct search_attribute {
    const char *name; /* as people write it; several may mean one column. NULL ends the table */
    const char *sql;
    enum search_type type;
    unsigned flags;
};

/* Metrics, parameters, tags, data sets of a thing: rows of a table of their own, called x. */
struct search_children {
    enum search_entity entity;
    const char *const *words;                  /* how people call the entity; NULL ends */
    const char *from;                          /* table, and the condition that joins it to the thing */
    const char *key, *value;                   /* columns; key NULL: the attribute's column is the value */
    const char *is_nan;                        /* for ordering; NULL: not a number */
    const char *newest;                        /* which of several rows counts when ordering; NULL: there is one */
    const struct search_attribute *attributes; /* ENTITY_DATASET */
};

struct search_subject {
    const char *name; /* "a run" */
    const struct search_attribute *attributes;
    const struct search_children *children; /* the last has no words */
    const char *attribute_words[5];
    bool prompts; /* prompts are registered models with a tag: left out unless they are asked for */
};

extern const struct search_subject SEARCH_RUNS, SEARCH_EXPERIMENTS, SEARCH_MODELS, SEARCH_VERSIONS,
    SEARCH_LOGGED_MODELS;

struct search_condition {
    const struct search_children *children; /* NULL: an attribute */
    const struct search_attribute *attribute;
    char *key;
    enum search_op op;
    json_t *value; /* string, real, integer, or array of strings */
};

struct search_order {
    const struct search_children *children;
    const struct search_attribute *attribute;
    char *key, *dataset_name, *dataset_digest;
    bool descending;
};

struct search {
    const struct search_subject *subject;
    struct search_condition *conditions;
    struct search_order *orders;
    size_t condition_count, condition_room, order_count, order_room;
};

/* search_filter reads a filter, search_order one item of order_by ("metrics.loss DESC"). NULL and blank text mean
 * nothing. Called on a struct with its subject set, once or several times. search_order_field is order_by of
 * logged models, where direction and data set are fields of their own. */
int search_filter(struct search *s, const char *text, struct ls_error *err);
int search_order(struct search *s, const char *text, struct ls_error *err);
int search_order_field(struct search *s, const char *field, bool descending, const char *dataset_name,
                       const char *dataset_digest, struct ls_error *err);
bool search_orders_by(const struct search *s, const char *sql); /* one of the orders is this attribute */
void search_fini(struct search *s);

/* SQL with its parameters, which number themselves. */
struct query {
    bool postgres;
    struct buf sql;
    struct db_value *values;
    size_t count, room;
    json_t *kept; /* texts that values borrow */
};

/* query_text copies the text. Each returns the number n of $n. */
size_t query_int(struct query *q, int64_t value);
size_t query_text(struct query *q, const char *text);
/* query_list appends `column IN (...)` over an array of texts, `type` VARCHAR or INTEGER. */
void query_list(struct query *q, const char *column, const json_t *list, const char *type, bool inverse);
/* search_where appends " AND (...)" for each condition; search_order_by appends " ORDER BY ..." ending with
 * `last`; query_page appends LIMIT and OFFSET: one more than `most` rows, which tells that there is another page. */
void search_where(struct query *q, const struct search *s);
void search_order_by(struct query *q, const struct search *s, const char *last);
void query_page(struct query *q, int64_t most, int64_t offset);
void query_fini(struct query *q);

#endif
