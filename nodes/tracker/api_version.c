/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on versions of registered models, and promotion by a metric. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define DELETED "Deleted_Internal"
#define THERE " FROM model_versions v WHERE v.name = $1 AND v.version = $2 AND v.current_stage <> '" DELETED "'"
#define TELL "model.version.updated"

int64_t version_number(struct op_call *call, struct ls_error *err)
{
    const char *text = need_text(call, call->request, "version", err);
    char *end;
    if (!text || refused(call))
        return 0;
    errno = 0;
    long long version = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || version > INT32_MAX)
        op_fail(call, err, INVALID, "Parameter 'version' must be an integer, got '%.100s'.", text);
    return version;
}

void require_version(struct op_call *call, const char *name, int64_t version, struct ls_error *err)
{
    char *stage = NULL;
    if (!refused(call) &&
        !texts_ask(call, QUESTION("SELECT v.current_stage" THERE, db_text(name), db_int(version)), &stage, 1, err))
        op_fail(call, err, ABSENT, "Model Version (name=%.200s, version=%lld) not found", name, (long long) version);
    free(stage);
}

json_t *version_answer(struct op_call *call, const char *name, int64_t version, struct ls_error *err)
{
    if (refused(call))
        return NULL;
    json_t *found =
        answer_versions(call->tracker, QUESTION("SELECT " VERSION_COLUMNS THERE, db_text(name), db_int(version)), err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "Model Version (name=%.200s, version=%lld) not found", name, (long long) version);
    return answer_one("model_version", found);
}

static json_t *change(struct op_call *call, const char *name, int64_t version, const char *time)
{
    if (refused(call))
        return NULL;
    json_t *body = json_pack("{s:s,s:o,s:I}", "name", name, "version", json_sprintf("%lld", (long long) version), time,
                             (json_int_t) call->now_ms);
    put(body, "user_id", call->principal[0] ? json_string(call->principal) : NULL);
    return body;
}

/* ---- create ---- */

/* Where the files of a version really are, when its source names a logged model or another version. */
struct place {
    char *uri, *run;
};

static void resolve_logged(struct op_call *call, const char *model, struct place *place, struct ls_error *err)
{
    char *row[2] = {NULL, NULL};
    if (texts_ask(call,
                  QUESTION("SELECT artifact_location, source_run_id FROM logged_models WHERE model_id = $1 AND "
                           "lifecycle_stage = 'active'",
                           db_text(model)),
                  row, 2, err))
        *place = (struct place){row[0], row[1]};
    else
        op_fail(call, err, ABSENT, "Logged model with ID '%.100s' not found.", model);
}

/* "models:/name/version" */
static void resolve_version(struct op_call *call, const char *reference, struct place *place, struct ls_error *err)
{
    const char *slash = strrchr(reference, '/');
    char *name = xstrndup(reference, slash ? (size_t) (slash - reference) : 0), *row[2] = {NULL, NULL}, *end = NULL;
    long long version = slash ? strtoll(slash + 1, &end, 10) : 0;
    if (!slash || !*name || *end || version < 1 || version > INT32_MAX)
        op_fail(call, err, INVALID,
                "Invalid model version source 'models:/%.200s': it must be models:/NAME/VERSION or models:/m-ID",
                reference);
    else if (texts_ask(call,
                       QUESTION("SELECT COALESCE(v.storage_location, v.source), v.run_id" THERE, db_text(name),
                                db_int(version)),
                       row, 2, err))
        *place = (struct place){row[0], row[1]};
    else
        op_fail(call, err, ABSENT, "Model Version (name=%.200s, version=%lld) not found", name, version);
    free(name);
}

static struct place resolve(struct op_call *call, const char *source, const char *run, struct ls_error *err)
{
    struct place place = {NULL, NULL};
    char *root = NULL;
    if (refused(call))
        return place;
    if (strncmp(source, "models:/m-", 10) == 0) {
        resolve_logged(call, source + 8, &place, err);
    } else if (strncmp(source, "models:/", 8) == 0) {
        resolve_version(call, source + 8, &place, err);
    } else {
        if (run && *run)
            texts_ask(call, QUESTION("SELECT artifact_uri FROM runs WHERE run_uuid = $1", db_text(run)), &root, 1, err);
        check_source(call, source, root, err);
    }
    free(root);
    return place;
}

static void take_int(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

/* Numbers of deleted versions are not given out again. */
static int64_t next_version(struct op_call *call, const char *name, struct ls_error *err)
{
    int64_t version = 0;
    if (refused(call) ||
        db_run(call->tracker->db, "SELECT COALESCE(MAX(version), 0) + 1 FROM model_versions WHERE name = $1",
               DB_VALUES(db_text(name)), take_int, &version, err) < 0)
        return 0;
    return version;
}

/* A logged model says in a tag which versions were made of it. */
static int note_version(struct op_call *call, const char *model, const char *name, int64_t version,
                        struct ls_error *err)
{
    char *old = NULL;
    texts_ask(
        call,
        QUESTION("SELECT tag_value FROM logged_model_tags WHERE model_id = $1 AND tag_key = 'mlflow.modelVersions'",
                 db_text(model)),
        &old, 1, err);
    json_t *list = old ? json_loads(old, 0, NULL) : NULL;
    free(old);
    if (!json_is_array(list)) {
        json_decref(list);
        list = json_array();
    }
    json_array_append_new(list,
                          json_pack("{s:s,s:o}", "name", name, "version", json_sprintf("%lld", (long long) version)));
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    json_t *body = json_pack("{s:s,s:{s:s},s:I}", "model_id", model, "tags", "mlflow.modelVersions", text,
                             "last_updated_timestamp", (json_int_t) call->now_ms);
    free(text);
    return tracker_tell(call->tracker, "model.logged.updated", body, err);
}

static json_t *created(struct op_call *call, const char *name, int64_t version, const struct place *place,
                       struct ls_error *err)
{
    static const char *const COPIED[] = {"source", "run_link", "description", "model_id"};
    json_auto_t *tags = ask_pairs(call, "tags", check_version_tag, err);
    const char *run = ask_text(call, call->request, "run_id", err);
    json_t *body = change(call, name, version, "creation_timestamp");
    if (!body)
        return NULL;
    for (size_t i = 0; i < sizeof COPIED / sizeof *COPIED; i++) {
        const char *text = ask_text(call, call->request, COPIED[i], err);
        put(body, COPIED[i], text ? json_string(text) : NULL);
    }
    run = run && *run ? run : place->run;
    put(body, "run_id", run ? json_string(run) : NULL);
    put(body, "storage_location", place->uri ? json_string(place->uri) : NULL);
    put(body, "status", json_string("READY"));
    put(body, "current_stage", json_string("None"));
    put(body, "tags", json_incref(tags));
    return body;
}

json_t *op_model_versions_create(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *source = need_text(call, call->request, "source", err),
               *run = ask_text(call, call->request, "run_id", err),
               *model = ask_text(call, call->request, "model_id", err);
    check_length(call, "description", ask_text(call, call->request, "description", err), DESCRIPTION_MAX, err);
    check_length(call, "run_link", ask_text(call, call->request, "run_link", err), 500, err);
    check_length(call, "run_id", run, 32, err);
    check_length(call, "model_id", model, 36, err);
    require_model(call, name, err);
    struct place place = resolve(call, source, run, err);
    int64_t version = next_version(call, name, err);
    json_t *body = version ? created(call, name, version, &place, err) : NULL;
    free(place.uri);
    free(place.run);
    if (tracker_tell(call->tracker, "model.version.created", body, err) < 0)
        return NULL;
    if (!model && strncmp(source, "models:/m-", 10) == 0)
        model = source + 8;
    if (model && *model && note_version(call, model, name, version, err) < 0)
        return NULL;
    return version_answer(call, name, version, err);
}

/* ---- get, search ---- */

json_t *op_model_versions_get(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err);
    return version_answer(call, name, version_number(call, err), err);
}

json_t *op_model_versions_get_download_uri(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err);
    int64_t version = version_number(call, err);
    char *uri = NULL;
    if (!refused(call) &&
        !texts_ask(call,
                   QUESTION("SELECT COALESCE(v.storage_location, v.source)" THERE, db_text(name), db_int(version)),
                   &uri, 1, err))
        op_fail(call, err, ABSENT, "Model Version (name=%.200s, version=%lld) not found", name, (long long) version);
    json_t *answer = refused(call) ? NULL : json_object();
    put(answer, "artifact_uri", answer && uri ? json_string(uri) : NULL);
    free(uri);
    return answer;
}

json_t *op_model_versions_search(struct op_call *call, struct ls_error *err)
{
    struct search search = {.subject = &SEARCH_VERSIONS};
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    struct answer_page page = {
        .key = "model_versions", .most = ask_max(call, 200000, 200000, err), .offset = token_read(call, "", err)};
    json_t *found = NULL;
    search_read(call, &search, err);
    if (!refused(call)) {
        buf_addf(&query.sql, "SELECT " VERSION_COLUMNS " FROM model_versions v WHERE v.current_stage <> '" DELETED "'");
        search_where(&query, &search);
        search_order_by(&query, &search, "v.name, v.version DESC");
        query_page(&query, page.most, page.offset);
        found =
            answer_versions(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count}, err);
    }
    query_fini(&query);
    search_fini(&search);
    return answer_list(&page, found);
}

/* ---- change ---- */

/* Tells the change {key: value}, value taken over. */
static int tell(struct op_call *call, const char *name, int64_t version, const char *key, json_t *value,
                struct ls_error *err)
{
    json_t *body = change(call, name, version, "last_updated_timestamp");
    if (!body)
        json_decref(value);
    put(body, key, body ? value : NULL);
    return tracker_tell(call->tracker, TELL, body, err);
}

json_t *op_model_versions_update(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *description = ask_text(call, call->request, "description", err);
    int64_t version = version_number(call, err);
    check_length(call, "description", description, DESCRIPTION_MAX, err);
    require_version(call, name, version, err);
    if (tell(call, name, version, "description", json_string(description ? description : ""), err) < 0)
        return NULL;
    return version_answer(call, name, version, err);
}

static void take_text(void *arg, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 0);
    json_array_append_new(arg, json_stringn(text.data, text.len));
}

/* The aliases go too: MLflow leaves them pointing at nothing. */
json_t *op_model_versions_delete(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err);
    int64_t version = version_number(call, err);
    json_auto_t *aliases = json_array();
    size_t i;
    const json_t *alias;
    require_version(call, name, version, err);
    if (refused(call) ||
        db_run(call->tracker->db,
               "SELECT alias FROM registered_model_aliases WHERE name = $1 AND version = $2 ORDER BY alias",
               DB_VALUES(db_text(name), db_int(version)), take_text, aliases, err) < 0)
        return NULL;
    json_array_foreach(aliases, i,
                       alias) if (alias_drop(call, name, json_string_value(alias), version, err) < 0) return NULL;
    return tell(call, name, version, "current_stage", json_string(DELETED), err) < 0 ? NULL : json_object();
}

static void take_version(void *arg, const struct db_row *row)
{
    json_array_append_new(arg, json_integer(db_get_int(row, 0)));
}

static int archive_others(struct op_call *call, const char *name, int64_t version, const char *stage,
                          struct ls_error *err)
{
    json_auto_t *others = json_array();
    size_t i;
    const json_t *other;
    if (db_run(call->tracker->db,
               "SELECT version FROM model_versions WHERE name = $1 AND current_stage = $2 AND version <> $3 ORDER BY "
               "version",
               DB_VALUES(db_text(name), db_text(stage), db_int(version)), take_version, others, err) < 0)
        return -1;
    json_array_foreach(others, i, other) if (tell(call, name, json_integer_value(other), "current_stage",
                                                  json_string("Archived"), err) < 0) return -1;
    return 0;
}

json_t *op_model_versions_transition(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *stage = stage_of(call, need_text(call, call->request, "stage", err), err);
    bool archive = ask_bool(call, call->request, "archive_existing_versions", false, err);
    int64_t version = version_number(call, err);
    require_version(call, name, version, err);
    if (archive && stage && strcmp(stage, "Staging") != 0 && strcmp(stage, "Production") != 0)
        op_fail(call, err, INVALID,
                "Model version transition cannot archive existing model versions because '%s' is not an Active stage. "
                "Valid stages are "
                "Staging and Production",
                stage);
    if (refused(call) || (archive && archive_others(call, name, version, stage, err) < 0) ||
        tell(call, name, version, "current_stage", json_string(stage), err) < 0)
        return NULL;
    return version_answer(call, name, version, err);
}

json_t *op_model_versions_set_tag(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err), *key = need_text(call, call->request, "key", err),
               *value = ask_text(call, call->request, "value", err);
    int64_t version = version_number(call, err);
    check_version_tag(call, key, value, err);
    require_version(call, name, version, err);
    return tell(call, name, version, "tags", refused(call) ? NULL : json_pack("{s:s}", key, value ? value : ""), err) <
                   0
               ? NULL
               : json_object();
}

json_t *op_model_versions_delete_tag(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err), *key = need_text(call, call->request, "key", err);
    int64_t version = version_number(call, err);
    require_version(call, name, version, err);
    return tell(call, name, version, "tags", refused(call) ? NULL : json_pack("{s:n}", key), err) < 0 ? NULL
                                                                                                      : json_object();
}

/* ---- promotion ---- */

struct score {
    bool there;
    double value; /* NaN is one */
};

static void take_score(void *arg, const struct db_row *row)
{
    *(struct score *) arg = (struct score){true, db_get_bool(row, 1) ? NAN : db_get_double(row, 0)};
}

/* The newest value of the metric in the version's run. */
static struct score score_of(struct op_call *call, const char *name, int64_t version, const char *metric,
                             struct ls_error *err)
{
    struct score score = {0};
    if (!refused(call) && version &&
        db_run(call->tracker->db,
               "SELECT m.value, m.is_nan FROM latest_metrics m JOIN model_versions v ON v.run_id = m.run_uuid WHERE "
               "v.name = $1 "
               "AND v.version = $2 AND m.key = $3",
               DB_VALUES(db_text(name), db_int(version), db_text(metric)), take_score, &score, err) < 0)
        call->error_code = DATABASE_FAILED;
    return score;
}

static bool is_better(const struct score *now, const struct score *before, bool greater)
{
    if (!before->there || isnan(before->value))
        return !isnan(now->value) || !before->there;
    return greater ? now->value > before->value : now->value < before->value;
}

static json_t *show_score(const struct score *score)
{
    return !score->there ? NULL : isnan(score->value) ? json_string("NaN") : json_real(score->value);
}

/* Two unlike numbers do not read alike. */
static void put_number(struct buf *out, double value, double beside)
{
    bool near = fabs(value - beside) < 1e-5 * fabs(value);
    buf_addf(out, isnan(value) ? "NaN" : near ? "%.17g" : "%.6g", value);
}

/* What was decided, for people: "version 2 is the champion now: perplexity 60.8 is below 64.6 of version 1". */
struct decision {
    const char *alias, *metric;
    int64_t version, previous;
    struct score now, before;
    bool greater, promoted;
};

static json_t *decision_text(const struct decision *d)
{
    const char *side = d->greater ? "above" : "below";
    long long version = (long long) d->version, previous = (long long) d->previous;
    struct buf text = {0};
    if (!d->previous) {
        buf_addf(&text, "version %lld is the %s now: there was none before", version, d->alias);
    } else if (d->previous == d->version) {
        buf_addf(&text, "version %lld is the %s already", version, d->alias);
    } else if (d->promoted && !d->before.there) {
        buf_addf(&text, "version %lld is the %s now: version %lld has no %s", version, d->alias, previous, d->metric);
    } else if (d->promoted && isnan(d->before.value)) {
        buf_addf(&text, "version %lld is the %s now: %s of version %lld is NaN", version, d->alias, d->metric, previous);
    } else {
        buf_addf(&text, "version %lld %s the %s%s: %s ", d->promoted ? version : previous, d->promoted ? "is" : "stays", d->alias,
                 d->promoted ? " now" : "", d->metric);
        put_number(&text, d->now.value, d->before.value);
        if (!d->promoted)
            buf_addf(&text, " of version %lld", version);
        buf_addf(&text, " is %s%s ", d->promoted ? "" : "not ", side);
        put_number(&text, d->before.value, d->now.value);
        if (d->promoted)
            buf_addf(&text, " of version %lld", previous);
    }
    json_t *shown = json_string(buf_text(&text));
    buf_fini(&text);
    return shown;
}

json_t *op_model_versions_promote(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *alias = need_text(call, call->request, "alias", err),
               *metric = need_text(call, call->request, "metric", err);
    bool greater = ask_bool(call, call->request, "greater_is_better", false, err);
    int64_t version = version_number(call, err);
    check_alias(call, alias, err);
    require_version(call, name, version, err);
    int64_t previous = refused(call) ? 0 : alias_find(call, name, alias, err);
    struct score now = score_of(call, name, version, metric, err), before = score_of(call, name, previous, metric, err);
    if (previous && previous != version && !now.there)
        op_fail(call, err, INVALID, "The run of version %lld of %.100s has no metric '%.100s' to compare by",
                (long long) version, name, metric ? metric : "");
    if (refused(call))
        return NULL;
    bool promoted = !previous || (previous != version && is_better(&now, &before, greater));
    if (promoted && alias_set(call, name, alias, version, err) < 0)
        return NULL;
    json_t *answer = json_pack("{s:b,s:s,s:o}", "promoted", promoted, "alias", alias, "version",
                               json_sprintf("%lld", (long long) version));
    put(answer, "value", show_score(&now));
    put(answer, "previous_version", previous ? json_sprintf("%lld", (long long) previous) : NULL);
    put(answer, "previous_value", show_score(&before));
    put(answer, "message", decision_text(&(struct decision){alias, metric, version, previous, now, before, greater, promoted}));
    return answer;
}
