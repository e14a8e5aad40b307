/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on experiments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define LOCATION_MAX 256

int64_t experiment_id(struct op_call *call, const json_t *from, const char *key, struct ls_error *err)
{
    const char *text = need_text(call, from, key, err);
    char *end;
    if (!text || refused(call))
        return -1;
    int64_t id = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end)
        op_fail(call, err, INVALID, "Invalid experiment ID '%.100s': it must be a whole number", text);
    else if (id > INT32_MAX)
        op_fail(call, err, ABSENT, "No Experiment with id=%.100s exists", text);
    return id;
}

struct experiment_row {
    char *location;
    bool found, active;
};

static void take_experiment(void *arg, const struct db_row *row)
{
    struct experiment_row *e = arg;
    struct ls_slice location = db_get_text(row, 0);
    e->location = xstrndup(location.len ? location.data : "", location.len);
    e->active = ls_slice_is(db_get_text(row, 1), "active");
    e->found = true;
}

enum wanted { ANY, ACTIVE, DELETED };

/* Refused unless the experiment is there as it is wanted. Returns its location, the caller's. */
static char *require(struct op_call *call, int64_t id, enum wanted wanted, struct ls_error *err)
{
    struct experiment_row e = {0};
    if (refused(call))
        return NULL;
    if (db_run(call->tracker->db, "SELECT artifact_location, lifecycle_stage FROM experiments WHERE experiment_id = $1",
               DB_VALUES(db_int(id)), take_experiment, &e, err) < 0)
        call->error_code = DATABASE_FAILED;
    if (!e.found || (wanted == DELETED && e.active))
        op_fail(call, err, ABSENT, "No %sExperiment with id=%lld exists", wanted == DELETED ? "deleted " : "",
                (long long) id);
    if (e.found && wanted == ACTIVE && !e.active)
        op_fail(call, err, INVALID, "The experiment %lld must be in the 'active' state. Current state is deleted.",
                (long long) id);
    if (refused(call)) {
        free(e.location);
        return NULL;
    }
    return e.location;
}

char *require_location(struct op_call *call, int64_t id, struct ls_error *err)
{
    return require(call, id, ACTIVE, err);
}

/* A fact about the experiment, or NULL if the request was refused. */
static json_t *change(struct op_call *call, int64_t id)
{
    if (refused(call))
        return NULL;
    json_t *body = json_object();
    char text[EXPERIMENT_TEXT_SIZE];
    snprintf(text, sizeof text, "%lld", (long long) id);
    put(body, "experiment_id", json_string(text));
    if (call->principal[0])
        put(body, "user_id", json_string(call->principal));
    return body;
}

static json_t *tell_change(struct op_call *call, json_t *body, struct ls_error *err)
{
    put(body, "last_update_time", body ? json_integer(call->now_ms) : NULL);
    return tracker_tell(call->tracker, "experiment.updated", body, err) < 0 ? NULL : json_object();
}

/* ---- create ---- */

static void take_int(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

/* The next number below those that come from names (fact.h). */
static int64_t next_id(struct op_call *call, struct ls_error *err)
{
    static const char NEXT[] = "SELECT COALESCE(MAX(experiment_id), 0) + 1 FROM experiments WHERE experiment_id < $1";
    int64_t id = -1;
    if (db_run(call->tracker->db, NEXT, DB_VALUES(db_int(EXPERIMENT_NAMED_FIRST)), take_int, &id, err) < 0)
        return -1;
    return id;
}

static bool name_taken(struct op_call *call, const char *name, struct ls_error *err)
{
    char *stage;
    bool taken = texts_ask(call, QUESTION("SELECT lifecycle_stage FROM experiments WHERE name = $1", db_text(name)),
                           &stage, 1, err);
    if (taken)
        op_fail(call, err, EXISTS, "Experiment(name=%.200s) already exists.%s", name,
                stage && strcmp(stage, "deleted") == 0 ? " It is deleted: restore it, or choose another name." : "");
    free(stage);
    return taken;
}

json_t *op_experiments_create(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *location = ask_text(call, call->request, "artifact_location", err);
    json_auto_t *tags = ask_pairs(call, "tags", check_experiment_tag, err);
    check_experiment_name(call, name, err);
    check_length(call, "artifact_location", location, LOCATION_MAX, err);
    if (location && strpbrk(location, "?#"))
        op_fail(call, err, INVALID, "Invalid artifact_location: it must have neither a query nor a fragment");
    if (refused(call) || name_taken(call, name, err))
        return NULL;
    int64_t id = next_id(call, err);
    json_t *body = id < 0 ? NULL : change(call, id);
    if (!body)
        return NULL;
    const char *id_text = json_string_value(json_object_get(body, "experiment_id"));
    json_t *answer = json_pack("{s:s}", "experiment_id", id_text);
    put(body, "name", json_string(name));
    put(body, "artifact_location",
        location && *location ? json_string(location) : json_sprintf("%s/%s", call->tracker->artifact_root, id_text));
    put(body, "creation_time", json_integer(call->now_ms));
    put(body, "tags", json_incref(tags));
    if (tracker_tell(call->tracker, "experiment.created", body, err) == 0)
        return answer;
    json_decref(answer);
    return NULL;
}

/* ---- get, search ---- */

json_t *op_experiments_get(struct op_call *call, struct ls_error *err)
{
    int64_t id = experiment_id(call, call->request, "experiment_id", err);
    if (refused(call))
        return NULL;
    json_t *found = answer_experiments(
        call->tracker,
        QUESTION("SELECT " EXPERIMENT_COLUMNS " FROM experiments e WHERE e.experiment_id = $1", db_int(id)), err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "No Experiment with id=%lld exists", (long long) id);
    return answer_one("experiment", found);
}

json_t *op_experiments_get_by_name(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "experiment_name", err);
    if (refused(call))
        return NULL;
    json_t *found = answer_experiments(
        call->tracker, QUESTION("SELECT " EXPERIMENT_COLUMNS " FROM experiments e WHERE e.name = $1", db_text(name)),
        err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "Could not find experiment with name '%.200s'", name);
    return answer_one("experiment", found);
}

const char *view_clause(struct op_call *call, const char *key, const char *column, struct ls_error *err)
{
    static const char *const VIEWS[] = {"", "ACTIVE_ONLY", "DELETED_ONLY", "ALL", NULL};
    int view = ask_enum(call, call->request, key, VIEWS, err);
    bool run = strcmp(column, "r.lifecycle_stage") == 0;
    if (view == 3)
        return "";
    if (view == 2)
        return run ? " AND r.lifecycle_stage = 'deleted'" : " AND e.lifecycle_stage = 'deleted'";
    return run ? " AND r.lifecycle_stage = 'active'" : " AND e.lifecycle_stage = 'active'";
}

json_t *op_experiments_search(struct op_call *call, struct ls_error *err)
{
    struct search search = {.subject = &SEARCH_EXPERIMENTS};
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    struct answer_page page = {
        .key = "experiments", .most = ask_max(call, 0, 50000, err), .offset = token_read(call, "", err)};
    const char *view = view_clause(call, "view_type", "e.lifecycle_stage", err);
    search_read(call, &search, err);
    json_t *found = NULL;
    if (!refused(call)) {
        buf_addf(&query.sql, "SELECT " EXPERIMENT_COLUMNS " FROM experiments e WHERE e.name IS NOT NULL%s", view);
        search_where(&query, &search);
        search_order_by(&query, &search,
                        search.order_count ? "e.experiment_id" : "e.creation_time DESC, e.experiment_id");
        query_page(&query, page.most, page.offset);
        found =
            answer_experiments(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count}, err);
    }
    query_fini(&query);
    search_fini(&search);
    return answer_list(&page, found);
}

/* ---- change ---- */

json_t *op_experiments_update(struct op_call *call, struct ls_error *err)
{
    int64_t id = experiment_id(call, call->request, "experiment_id", err);
    const char *name = need_text(call, call->request, "new_name", err);
    check_experiment_name(call, name, err);
    free(require(call, id, ANY, err));
    json_t *body = change(call, id);
    char *own = NULL;
    if (!body)
        return NULL;
    texts_ask(
        call,
        QUESTION("SELECT name FROM experiments WHERE experiment_id = $1 AND lifecycle_stage = 'active'", db_int(id)),
        &own, 1, err);
    if (!own)
        op_fail(call, err, "INVALID_STATE", "Cannot rename a deleted experiment.");
    if (refused(call) || (strcmp(own, name) != 0 && name_taken(call, name, err))) {
        free(own);
        json_decref(body);
        return NULL;
    }
    free(own);
    put(body, "name", json_string(name));
    return tell_change(call, body, err);
}

static json_t *set_stage(struct op_call *call, bool active, struct ls_error *err)
{
    int64_t id = experiment_id(call, call->request, "experiment_id", err);
    char *location = require(call, id, active ? DELETED : ANY, err), *stage = NULL;
    if (location && !active &&
        !texts_ask(call,
                   QUESTION("SELECT name FROM experiments WHERE experiment_id = $1 AND lifecycle_stage = 'active'",
                            db_int(id)),
                   &stage, 1, err))
        op_fail(call, err, ABSENT, "No active Experiment with id=%lld exists", (long long) id);
    free(stage);
    json_t *body = location ? change(call, id) : NULL;
    free(location);
    put(body, "lifecycle_stage", body ? json_string(active ? "active" : "deleted") : NULL);
    return tell_change(call, body, err);
}

json_t *op_experiments_delete(struct op_call *call, struct ls_error *err)
{
    return set_stage(call, false, err);
}

json_t *op_experiments_restore(struct op_call *call, struct ls_error *err)
{
    return set_stage(call, true, err);
}

json_t *op_experiments_set_tag(struct op_call *call, struct ls_error *err)
{
    int64_t id = experiment_id(call, call->request, "experiment_id", err);
    const char *key = need_text(call, call->request, "key", err), *value = ask_text(call, call->request, "value", err);
    check_experiment_tag(call, key, value, err);
    char *location = require(call, id, ACTIVE, err);
    json_t *body = location ? change(call, id) : NULL;
    free(location);
    put(body, "tags", body ? json_pack("{s:s}", key, value ? value : "") : NULL);
    return tell_change(call, body, err);
}

json_t *op_experiments_delete_tag(struct op_call *call, struct ls_error *err)
{
    int64_t id = experiment_id(call, call->request, "experiment_id", err);
    const char *key = need_text(call, call->request, "key", err);
    char *location = require(call, id, ACTIVE, err), *value = NULL;
    if (location && !texts_ask(call,
                               QUESTION("SELECT value FROM experiment_tags WHERE experiment_id = $1 AND key = $2",
                                        db_int(id), db_text(key)),
                               &value, 1, err))
        op_fail(call, err, ABSENT, "No tag with name: %.200s in experiment with id %lld", key, (long long) id);
    free(value);
    json_t *body = location ? change(call, id) : NULL;
    free(location);
    put(body, "tags", body ? json_pack("{s:n}", key) : NULL);
    return tell_change(call, body, err);
}
