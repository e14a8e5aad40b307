/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as MLflow's JSON. A page of things is read with one question, and what belongs to them (tags, metrics ...)
 * with one more for each sort. */
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/tracker/api.h"

/* ---- small things ---- */

void put(json_t *object, const char *key, json_t *value)
{
    if (value)
        json_object_set_new(object, key, value);
}

void new_id(char id[NEW_ID_SIZE], const char *prefix)
{
    char uuid[UUID_TEXT_SIZE];
    size_t len = strlen(prefix);
    uuid7(clock_wall_us(), uuid);
    memcpy(id, prefix, len);
    for (const char *c = uuid; *c; c++)
        if (*c != '-')
            id[len++] = *c;
    id[len] = '\0';
}

static int64_t ask(struct tracker *t, const struct question *q, db_row_fn *fn, void *arg, struct ls_error *err)
{
    return db_run(t->db, q->sql, q->values, q->count, fn, arg, err);
}

struct texts {
    char **texts;
    size_t count;
    bool found;
};

static void take_texts(void *arg, const struct db_row *row)
{
    struct texts *to = arg;
    for (size_t i = 0; i < to->count && !to->found; i++) {
        struct ls_slice text = db_get_text(row, (int) i);
        to->texts[i] = db_is_null(row, (int) i) ? NULL : xstrndup(text.len ? text.data : "", text.len);
    }
    to->found = true;
}

bool texts_ask(struct op_call *call, const struct question *q, char **texts, size_t count, struct ls_error *err)
{
    struct texts to = {texts, count, false};
    memset(texts, 0, count * sizeof *texts);
    if (refused(call))
        return false;
    if (ask(call->tracker, q, take_texts, &to, err) < 0)
        call->error_code = DATABASE_FAILED;
    return to.found;
}

void texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
}

/* ---- rows as objects ---- */

enum show { SHOW_TEXT, SHOW_INT, SHOW_ID /* a number shown as text */, SHOW_LOGGED_STATUS };
struct column {
    const char *name;
    enum show show;
};

static json_t *text_column(const struct db_row *row, int i)
{
    struct ls_slice text = db_get_text(row, i);
    return json_stringn(text.len ? text.data : "", text.len);
}

static json_t *logged_status(int64_t status)
{
    static const char *const NAMES[] = {"LOGGED_MODEL_STATUS_UNSPECIFIED", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
                                        "LOGGED_MODEL_UPLOAD_FAILED"};
    return json_string(NAMES[status >= 1 && status <= 3 ? status : 0]);
}

static json_t *row_object(const struct db_row *row, const struct column *columns)
{
    json_t *object = json_object();
    for (int i = 0; columns[i].name; i++) {
        if (db_is_null(row, i))
            continue;
        enum show show = columns[i].show;
        json_object_set_new(object, columns[i].name,
                            show == SHOW_INT             ? json_integer(db_get_int(row, i))
                            : show == SHOW_LOGGED_STATUS ? logged_status(db_get_int(row, i))
                                                         : text_column(row, i));
    }
    return object;
}

/* A page: the things in order, and where to find the part of each that children go to. */
struct page {
    json_t *items, *by_id;
    const struct column *columns;
    const char *inside; /* the thing is wrapped: {inside: row} */
};

static void take_item(void *arg, const struct db_row *row)
{
    struct page *page = arg;
    json_t *object = row_object(row, page->columns);
    struct ls_slice id = db_get_text(row, 0);
    json_t *item = page->inside ? json_pack("{s:o,s:{}}", page->inside, object, "data") : object;
    json_object_setn(page->by_id, id.data, id.len, item);
    json_array_append_new(page->items, item);
}

static struct page page_ask(struct tracker *t, const struct question *q, const struct column *columns,
                            const char *inside, struct ls_error *err)
{
    struct page page = {json_array(), json_object(), columns, inside};
    if (ask(t, q, take_item, &page, err) < 0) {
        json_decref(page.items);
        page.items = NULL;
    }
    return page;
}

static void page_drop(struct page *page)
{
    json_decref(page->items);
    page->items = NULL;
}

static json_t *page_end(struct page *page)
{
    json_decref(page->by_id);
    return page->items;
}

/* The ids as a JSON array, for LIST_LITE and LIST_POSTGRES. */
static char *page_ids(const struct page *page)
{
    struct buf text = {0};
    const char *id, *comma = "[";
    json_t *item;
    json_object_foreach(page->by_id, id, item)
    {
        buf_addf(&text, "%s", comma);
        comma = ",";
        json_auto_t *one = json_string(id);
        node_write(&text, one);
    }
    buf_addf(&text, "]");
    char *ids = xstrdup(buf_text(&text));
    buf_fini(&text);
    return ids;
}

/* ---- what belongs to them ---- */

struct children {
    struct page *page;
    const char *part, *list; /* the array `list`, within the object `part` of the item (NULL: the item itself) */
    json_t *(*make)(const struct db_row *row);
    json_t *index; /* may be NULL: column 1 -> the child */
};

static json_t *require_object(json_t *object, const char *key)
{
    json_t *part = json_object_get(object, key);
    if (!part)
        json_object_set_new(object, key, part = json_object());
    return part;
}

static void append_to(json_t *object, const char *key, json_t *value)
{
    json_t *list = json_object_get(object, key);
    if (!list)
        json_object_set_new(object, key, list = json_array());
    json_array_append_new(list, value);
}

static void take_child(void *arg, const struct db_row *row)
{
    const struct children *c = arg;
    struct ls_slice id = db_get_text(row, 0);
    json_t *item = json_object_getn(c->page->by_id, id.data, id.len);
    if (!item)
        return;
    json_t *child = c->make(row);
    if (c->index) {
        struct ls_slice own = db_get_text(row, 1);
        json_object_setn(c->index, own.data, own.len, child);
    }
    append_to(c->part ? require_object(item, c->part) : item, c->list, child);
}

struct sql {
    const char *lite, *postgres;
};
#define BY_LIST(before, after)                                                                                         \
    {                                                                                                                  \
        before " " LIST_LITE after, before " " LIST_POSTGRES after                                                     \
    }
#define BY_INTS(before, after)                                                                                         \
    {                                                                                                                  \
        before " " LIST_OF_INTS_LITE after, before " " LIST_OF_INTS_POSTGRES after                                     \
    }

/* Adds the children of all items; drops the page if it fails. */
static void page_children(struct tracker *t, struct page *page, const struct sql *sql, const struct children *children,
                          struct ls_error *err)
{
    struct children c = *children;
    if (!page->items || !json_array_size(page->items))
        return;
    char *ids = page_ids(page);
    c.page = page;
    if (db_run(t->db, db_is_postgres(t->db) ? sql->postgres : sql->lite, DB_VALUES(db_text(ids)), take_child, &c, err) <
        0)
        page_drop(page);
    free(ids);
}

static json_t *make_pair(const struct db_row *row)
{
    json_t *pair = json_object();
    json_object_set_new(pair, "key", text_column(row, 1));
    json_object_set_new(pair, "value", text_column(row, 2));
    return pair;
}

json_t *answer_value(const struct db_row *row, int value, int is_nan)
{
    return db_is_null(row, value) || (is_nan >= 0 && db_get_bool(row, is_nan)) ? json_string("NaN")
                                                                               : json_real(db_get_double(row, value));
}

/* key, value, is_nan, timestamp, step */
static json_t *make_metric(const struct db_row *row)
{
    json_t *metric = json_object();
    json_object_set_new(metric, "key", text_column(row, 1));
    json_object_set_new(metric, "value", answer_value(row, 2, 3));
    json_object_set_new(metric, "timestamp", json_integer(db_get_int(row, 4)));
    json_object_set_new(metric, "step", json_integer(db_get_int(row, 5)));
    return metric;
}

/* ---- experiments ---- */

json_t *answer_experiments(struct tracker *t, const struct question *q, struct ls_error *err)
{
    static const struct column COLUMNS[] = {{"experiment_id", SHOW_ID},
                                            {"name", SHOW_TEXT},
                                            {"artifact_location", SHOW_TEXT},
                                            {"lifecycle_stage", SHOW_TEXT},
                                            {"last_update_time", SHOW_INT},
                                            {"creation_time", SHOW_INT},
                                            {NULL, SHOW_TEXT}};
    static const struct sql TAGS =
        BY_INTS("SELECT experiment_id, key, value FROM experiment_tags WHERE experiment_id", " ORDER BY key");
    struct page page = page_ask(t, q, COLUMNS, NULL, err);
    page_children(t, &page, &TAGS, &(struct children){.list = "tags", .make = make_pair}, err);
    return page_end(&page);
}

/* ---- runs ---- */

/* input, name, digest, source_type, source, schema, profile */
static json_t *make_dataset(const struct db_row *row)
{
    static const char *const NAMES[] = {"name", "digest", "source_type", "source", "schema", "profile"};
    json_t *dataset = json_object();
    for (int i = 0; i < 6; i++)
        if (!db_is_null(row, 2 + i))
            json_object_set_new(dataset, NAMES[i], text_column(row, 2 + i));
    return json_pack("{s:o}", "dataset", dataset);
}

static json_t *make_model_input(const struct db_row *row)
{
    return json_pack("{s:o}", "model_id", text_column(row, 1));
}

static json_t *make_model_output(const struct db_row *row)
{
    return json_pack("{s:o,s:I}", "model_id", text_column(row, 1), "step", (json_int_t) db_get_int(row, 2));
}

static void add_datasets(struct tracker *t, struct page *page, struct ls_error *err)
{
    static const struct sql DATASETS =
        BY_LIST("SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "
                "d.dataset_schema, d.dataset_profile "
                "FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE i.source_type = 'DATASET' AND "
                "i.destination_type = 'RUN' "
                "AND i.destination_id",
                " ORDER BY d.name, d.digest");
    static const struct sql TAGS =
        BY_LIST("SELECT t.input_uuid, t.name, t.value FROM inputs i JOIN input_tags t ON t.input_uuid = i.input_uuid "
                "WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id",
                " ORDER BY t.name");
    json_t *inputs = json_object();
    page_children(t, page, &DATASETS,
                  &(struct children){.part = "inputs", .list = "dataset_inputs", .make = make_dataset, .index = inputs},
                  err);
    if (page->items && json_object_size(inputs)) {
        struct page rows = {NULL, inputs, NULL, NULL}; /* the ids are the runs', the parents the inputs */
        char *ids = page_ids(page);
        struct children c = {.page = &rows, .list = "tags", .make = make_pair};
        if (db_run(t->db, db_is_postgres(t->db) ? TAGS.postgres : TAGS.lite, DB_VALUES(db_text(ids)), take_child, &c,
                   err) < 0)
            page_drop(page);
        free(ids);
    }
    json_decref(inputs);
}

static void finish_run(json_t *run)
{
    json_t *info = json_object_get(run, "info");
    put(info, "run_uuid", json_incref(json_object_get(info, "run_id")));
    require_object(run, "inputs");
}

json_t *answer_runs(struct tracker *t, const struct question *q, struct ls_error *err)
{
    static const struct column COLUMNS[] = {{"run_id", SHOW_TEXT},          {"run_name", SHOW_TEXT},
                                            {"experiment_id", SHOW_ID},     {"user_id", SHOW_TEXT},
                                            {"status", SHOW_TEXT},          {"start_time", SHOW_INT},
                                            {"end_time", SHOW_INT},         {"artifact_uri", SHOW_TEXT},
                                            {"lifecycle_stage", SHOW_TEXT}, {NULL, SHOW_TEXT}};
    static const struct sql METRICS =
        BY_LIST("SELECT run_uuid, key, value, is_nan, timestamp, step FROM latest_metrics WHERE run_uuid", "");
    static const struct sql PARAMS = BY_LIST("SELECT run_uuid, key, value FROM params WHERE run_uuid", "");
    static const struct sql TAGS = BY_LIST("SELECT run_uuid, key, value FROM tags WHERE run_uuid", "");
    static const struct sql INPUTS = BY_LIST("SELECT source_id, destination_id FROM inputs WHERE source_type = "
                                             "'RUN_INPUT' AND destination_type = 'MODEL_INPUT' AND source_id",
                                             "");
    static const struct sql OUTPUTS = BY_LIST("SELECT source_id, destination_id, step FROM inputs WHERE source_type = "
                                              "'RUN_OUTPUT' AND destination_type = 'MODEL_OUTPUT' "
                                              "AND source_id",
                                              "");
    struct page page = page_ask(t, q, COLUMNS, "info", err);
    page_children(t, &page, &METRICS, &(struct children){.part = "data", .list = "metrics", .make = make_metric}, err);
    page_children(t, &page, &PARAMS, &(struct children){.part = "data", .list = "params", .make = make_pair}, err);
    page_children(t, &page, &TAGS, &(struct children){.part = "data", .list = "tags", .make = make_pair}, err);
    add_datasets(t, &page, err);
    page_children(t, &page, &INPUTS,
                  &(struct children){.part = "inputs", .list = "model_inputs", .make = make_model_input}, err);
    page_children(t, &page, &OUTPUTS,
                  &(struct children){.part = "outputs", .list = "model_outputs", .make = make_model_output}, err);
    size_t i;
    json_t *run;
    json_array_foreach(page.items, i, run) finish_run(run);
    return page_end(&page);
}

/* ---- versions and registered models ---- */

/* "models:/m-..." names a logged model. */
static void finish_version(json_t *version)
{
    const char *source = json_string_value(json_object_get(version, "source"));
    if (source && strncmp(source, "models:/m-", 10) == 0)
        json_object_set_new(version, "model_id", json_string(source + 8));
}

static json_t *make_text(const struct db_row *row)
{
    return text_column(row, 1);
}

static const struct column VERSION_SHOWN[] = {{"name", SHOW_TEXT},
                                              {"version", SHOW_ID},
                                              {"creation_timestamp", SHOW_INT},
                                              {"last_updated_timestamp", SHOW_INT},
                                              {"user_id", SHOW_TEXT},
                                              {"current_stage", SHOW_TEXT},
                                              {"description", SHOW_TEXT},
                                              {"source", SHOW_TEXT},
                                              {"run_id", SHOW_TEXT},
                                              {"status", SHOW_TEXT},
                                              {"status_message", SHOW_TEXT},
                                              {"run_link", SHOW_TEXT},
                                              {NULL, SHOW_TEXT}};

/* Versions are found by "name/version": no name has a slash. */
static void take_version(void *arg, const struct db_row *row)
{
    struct page *page = arg;
    json_t *version = row_object(row, VERSION_SHOWN);
    struct ls_slice name = db_get_text(row, 0);
    char *id = xasprintf("%.*s/%lld", (int) name.len, name.data, (long long) db_get_int(row, 1));
    json_object_set(page->by_id, id, version);
    json_array_append_new(page->items, version);
    free(id);
}

json_t *answer_versions(struct tracker *t, const struct question *q, struct ls_error *err)
{
    static const struct sql TAGS =
        BY_LIST("SELECT name || '/' || CAST(version AS VARCHAR), key, value FROM model_version_tags "
                "WHERE name || '/' || CAST(version AS VARCHAR)",
                " ORDER BY key");
    static const struct sql ALIASES =
        BY_LIST("SELECT name || '/' || CAST(version AS VARCHAR), alias FROM registered_model_aliases "
                "WHERE name || '/' || CAST(version AS VARCHAR)",
                " ORDER BY alias");
    struct page page = {json_array(), json_object(), NULL, NULL};
    if (ask(t, q, take_version, &page, err) < 0)
        page_drop(&page);
    page_children(t, &page, &TAGS, &(struct children){.list = "tags", .make = make_pair}, err);
    page_children(t, &page, &ALIASES, &(struct children){.list = "aliases", .make = make_text}, err);
    size_t i;
    json_t *version;
    json_array_foreach(page.items, i, version) finish_version(version);
    return page_end(&page);
}

static json_t *make_alias(const struct db_row *row)
{
    return json_pack("{s:o,s:o}", "alias", text_column(row, 1), "version", text_column(row, 2));
}

static void add_latest(struct tracker *t, struct page *page, struct ls_error *err)
{
    static const struct sql LATEST = {
        "SELECT " VERSION_COLUMNS
        " FROM model_versions v WHERE v.current_stage <> 'Deleted_Internal' AND v.version = (SELECT MAX(x.version) "
        "FROM model_versions x WHERE x.name = v.name AND x.current_stage = v.current_stage) AND v.name " LIST_LITE
        " ORDER BY v.name, v.version",
        "SELECT " VERSION_COLUMNS
        " FROM model_versions v WHERE v.current_stage <> 'Deleted_Internal' AND v.version = (SELECT MAX(x.version) "
        "FROM model_versions x WHERE x.name = v.name AND x.current_stage = v.current_stage) AND v.name " LIST_POSTGRES
        " ORDER BY v.name, v.version"};
    if (!page->items || !json_array_size(page->items))
        return;
    char *ids = page_ids(page);
    struct db_value list = db_text(ids);
    json_t *versions =
        answer_versions(t, &(struct question){db_is_postgres(t->db) ? LATEST.postgres : LATEST.lite, &list, 1}, err);
    size_t i;
    json_t *version;
    json_array_foreach(versions, i, version)
    {
        json_t *model = json_object_get(page->by_id, json_string_value(json_object_get(version, "name")));
        if (model)
            append_to(model, "latest_versions", json_incref(version));
    }
    if (!versions)
        page_drop(page);
    json_decref(versions);
    free(ids);
}

json_t *answer_models(struct tracker *t, const struct question *q, struct ls_error *err)
{
    static const struct column COLUMNS[] = {{"name", SHOW_TEXT},
                                            {"creation_timestamp", SHOW_INT},
                                            {"last_updated_timestamp", SHOW_INT},
                                            {"description", SHOW_TEXT},
                                            {NULL, SHOW_TEXT}};
    static const struct sql TAGS =
        BY_LIST("SELECT name, key, value FROM registered_model_tags WHERE name", " ORDER BY key");
    static const struct sql ALIASES =
        BY_LIST("SELECT name, alias, version FROM registered_model_aliases WHERE name", " ORDER BY alias");
    struct page page = page_ask(t, q, COLUMNS, NULL, err);
    add_latest(t, &page, err);
    page_children(t, &page, &TAGS, &(struct children){.list = "tags", .make = make_pair}, err);
    page_children(t, &page, &ALIASES, &(struct children){.list = "aliases", .make = make_alias}, err);
    return page_end(&page);
}

/* ---- logged models ---- */

/* name, value, timestamp, step, run, dataset name, dataset digest */
static json_t *make_logged_metric(const struct db_row *row)
{
    json_t *metric = json_object();
    json_object_set_new(metric, "key", text_column(row, 1));
    json_object_set_new(metric, "value", answer_value(row, 2, -1));
    json_object_set_new(metric, "timestamp", json_integer(db_get_int(row, 3)));
    json_object_set_new(metric, "step", json_integer(db_get_int(row, 4)));
    json_object_set_new(metric, "run_id", text_column(row, 5));
    if (!db_is_null(row, 6))
        json_object_set_new(metric, "dataset_name", text_column(row, 6));
    if (!db_is_null(row, 7))
        json_object_set_new(metric, "dataset_digest", text_column(row, 7));
    json_object_set_new(metric, "model_id", text_column(row, 0));
    return metric;
}

json_t *answer_logged_models(struct tracker *t, const struct question *q, struct ls_error *err)
{
    static const struct column COLUMNS[] = {{"model_id", SHOW_TEXT},
                                            {"experiment_id", SHOW_ID},
                                            {"name", SHOW_TEXT},
                                            {"creation_timestamp_ms", SHOW_INT},
                                            {"last_updated_timestamp_ms", SHOW_INT},
                                            {"artifact_uri", SHOW_TEXT},
                                            {"status", SHOW_LOGGED_STATUS},
                                            {"model_type", SHOW_TEXT},
                                            {"source_run_id", SHOW_TEXT},
                                            {"status_message", SHOW_TEXT},
                                            {NULL, SHOW_TEXT}};
    static const struct sql TAGS =
        BY_LIST("SELECT model_id, tag_key, tag_value FROM logged_model_tags WHERE model_id", " ORDER BY tag_key");
    static const struct sql PARAMS = BY_LIST(
        "SELECT model_id, param_key, param_value FROM logged_model_params WHERE model_id", " ORDER BY param_key");
    static const struct sql METRICS = BY_LIST("SELECT model_id, metric_name, metric_value, metric_timestamp_ms, "
                                              "metric_step, run_id, dataset_name, dataset_digest "
                                              "FROM logged_model_metrics WHERE model_id",
                                              " ORDER BY metric_name, metric_timestamp_ms, metric_step");
    struct page page = page_ask(t, q, COLUMNS, "info", err);
    page_children(t, &page, &TAGS, &(struct children){.part = "info", .list = "tags", .make = make_pair}, err);
    page_children(t, &page, &PARAMS, &(struct children){.part = "data", .list = "params", .make = make_pair}, err);
    page_children(t, &page, &METRICS, &(struct children){.part = "data", .list = "metrics", .make = make_logged_metric},
                  err);
    return page_end(&page);
}

/* ---- lists ---- */

json_t *answer_one(const char *key, json_t *items)
{
    if (!items)
        return NULL;
    json_t *item = json_is_array(items) ? json_incref(json_array_get(items, 0)) : json_incref(items);
    json_decref(items);
    return item ? json_pack("{s:o}", key, item) : NULL;
}

json_t *answer_list(const struct answer_page *page, json_t *items)
{
    if (!items)
        return NULL;
    json_t *answer = json_object();
    if ((int64_t) json_array_size(items) > page->most) {
        json_array_remove(items, json_array_size(items) - 1);
        json_object_set_new(answer, "next_page_token",
                            token_make(page->offset + page->most, page->question ? page->question : ""));
    }
    if (json_array_size(items))
        json_object_set(answer, page->key, items);
    json_decref(items);
    return answer;
}
