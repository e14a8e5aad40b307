/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on runs as such: their life, name and tags. What is logged into them: api_log.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

#define RUN_NAME_TAG "mlflow.runName"
#define LOCATION_MAX 200

const char *run_id(struct op_call *call, struct ls_error *err)
{
    const char *id = ask_text(call, call->request, "run_id", err);
    return id && *id ? id : need_text(call, call->request, has(call->request, "run_uuid") ? "run_uuid" : "run_id", err);
}

void require_run(struct op_call *call, const char *id, bool active, struct ls_error *err)
{
    char *stage = NULL;
    if (refused(call))
        return;
    if (!texts_ask(call, QUESTION("SELECT lifecycle_stage FROM runs WHERE run_uuid = $1", db_text(id)), &stage, 1, err))
        op_fail(call, err, ABSENT, "Run with id=%.100s not found", id);
    else if (active && (!stage || strcmp(stage, "active") != 0))
        op_fail(call, err, INVALID, "The run %.100s must be in the 'active' state. Current state is deleted.", id);
    free(stage);
}

static json_t *get_run(struct op_call *call, const char *id, struct ls_error *err)
{
    if (refused(call))
        return NULL;
    json_t *found = answer_runs(call->tracker,
                                QUESTION("SELECT " RUN_COLUMNS " FROM runs r WHERE r.run_uuid = $1", db_text(id)), err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "Run with id=%.100s not found", id);
    return answer_one("run", found);
}

json_t *op_runs_get(struct op_call *call, struct ls_error *err)
{
    return get_run(call, run_id(call, err), err);
}

/* ---- create ---- */

/* adjective-noun-number, at most 20 characters as MLflow's. */
static void invent_name(char *name, size_t size)
{
    static const char *const FIRST[] = {
        "able", "amber", "bold",  "brave", "brisk", "calm",   "clear",  "clever", "crisp", "dapper", "eager", "early",
        "fair", "fond",  "frank", "glad",  "grand", "hardy",  "honest", "jolly",  "keen",  "kind",   "light", "lively",
        "loud", "lucid", "merry", "mild",  "neat",  "nimble", "noble",  "plucky", "proud", "quick",  "quiet", "steady"};
    static const char *const SECOND[] = {
        "adder", "badger", "bear",  "beaver", "bison", "crane", "crow",  "deer",  "dove",  "eagle", "falcon", "finch",
        "fox",   "goose",  "hare",  "hawk",   "heron", "horse", "ibis",  "jay",   "koala", "lark",  "lynx",   "mole",
        "moose", "newt",   "otter", "owl",    "panda", "perch", "quail", "raven", "seal",  "shrew", "stoat",  "wren"};
    uint16_t dice[3] = {0, 0, 0};
    if (getrandom(dice, sizeof dice, 0) != sizeof dice)
        dice[0] = dice[1] = dice[2] = 0; /* names need not be unlike each other */
    snprintf(name, size, "%s-%s-%d", FIRST[dice[0] % (sizeof FIRST / sizeof *FIRST)],
             SECOND[dice[1] % (sizeof SECOND / sizeof *SECOND)], dice[2] % 1000);
}

/* The name by field or tag; both, if given, must agree. */
static char *choose_name(struct op_call *call, const json_t *tags, struct ls_error *err)
{
    const char *name = ask_text(call, call->request, "run_name", err),
               *tag = json_string_value(json_object_get(tags, RUN_NAME_TAG));
    char invented[48];
    if (name && *name && tag && *tag && strcmp(name, tag) != 0)
        op_fail(call, err, INVALID,
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                "(run_name='%.100s', mlflow.runName='%.100s').",
                name, tag);
    name = name && *name ? name : tag;
    check_length(call, "run_name", name, 250, err);
    if (!name || !*name) {
        invent_name(invented, sizeof invented);
        name = invented;
    }
    return xstrdup(name);
}

static json_t *created(struct op_call *call, const char *id, const char *name, struct ls_error *err)
{
    const char *user = ask_text(call, call->request, "user_id", err);
    json_auto_t *tags = ask_pairs(call, "tags", check_run_tag, err);
    int64_t start = ask_int(call, call->request, "start_time", call->now_ms, err),
            experiment = experiment_id(call, call->request, "experiment_id", err);
    char *location = require_location(call, experiment, err);
    check_length(call, "user_id", user, 256, err);
    if (location && strlen(location) + 43 > LOCATION_MAX)
        op_fail(call, err, INVALID,
                "The experiment's artifact_location is too long: with the run's own part it exceeds %d characters",
                LOCATION_MAX);
    if (start < 0 || start > TIME_MAX)
        op_fail(call, err, INVALID, "Invalid value for parameter 'start_time': it must be milliseconds since 1970");
    if (refused(call) || !location) {
        free(location);
        return NULL;
    }
    json_object_set_new(tags, RUN_NAME_TAG, json_string(name));
    user = user && *user ? user : call->principal;
    json_t *body = json_pack("{s:s,s:o,s:s,s:s,s:s,s:I,s:o,s:s,s:O}", "run_id", id, "experiment_id",
                             json_sprintf("%lld", (long long) experiment), "run_name", name, "user_id", user, "status",
                             "RUNNING", "start_time", (json_int_t) start, "artifact_uri",
                             json_sprintf("%s/%s/artifacts", location, id), "source_type", "UNKNOWN", "tags", tags);
    free(location);
    return body;
}

json_t *op_runs_create(struct op_call *call, struct ls_error *err)
{
    char id[NEW_ID_SIZE];
    json_auto_t *tags = ask_pairs(call, "tags", check_run_tag, err);
    char *name = choose_name(call, tags, err);
    new_id(id, "");
    json_t *body = created(call, id, name, err);
    free(name);
    return tracker_tell(call->tracker, "run.created", body, err) < 0 ? NULL : get_run(call, id, err);
}

/* ---- search ---- */

void check_experiment_ids(struct op_call *call, const json_t *ids, struct ls_error *err)
{
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id)
    {
        const char *text = json_string_value(id);
        if (!*text || strlen(text) > 10 || strtoll(text, NULL, 10) > INT32_MAX || text[strspn(text, "0123456789")])
            op_fail(call, err, INVALID, "Invalid experiment ID '%.100s': it must be a whole number", text);
    }
}

json_t *op_runs_search(struct op_call *call, struct ls_error *err)
{
    struct search search = {.subject = &SEARCH_RUNS};
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    struct answer_page page = {
        .key = "runs", .most = ask_max(call, 1000, 50000, err), .offset = token_read(call, "", err)};
    const json_t *experiments = ask_list(call, call->request, "experiment_ids", false, err);
    const char *view = view_clause(call, "run_view_type", "r.lifecycle_stage", err);
    json_t *found = NULL;
    check_experiment_ids(call, experiments, err);
    search_read(call, &search, err);
    if (!refused(call) && !json_array_size(experiments)) {
        found = json_array();
    } else if (!refused(call)) {
        buf_addf(&query.sql, "SELECT " RUN_COLUMNS " FROM runs r WHERE ");
        query_list(&query, "r.experiment_id", experiments, "INTEGER", false);
        buf_addf(&query.sql, "%s", view);
        search_where(&query, &search);
        search_order_by(&query, &search,
                        search_orders_by(&search, "r.start_time") ? "r.run_uuid" : "r.start_time DESC, r.run_uuid");
        query_page(&query, page.most, page.offset);
        found = answer_runs(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count}, err);
    }
    query_fini(&query);
    search_fini(&search);
    return answer_list(&page, found);
}

/* ---- change ---- */

json_t *op_runs_update(struct op_call *call, struct ls_error *err)
{
    static const char *const STATUSES[] = {"", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", NULL};
    const char *id = run_id(call, err), *name = ask_text(call, call->request, "run_name", err);
    int status = ask_enum(call, call->request, "status", STATUSES, err);
    int64_t end = ask_int(call, call->request, "end_time", 0, err);
    check_length(call, "run_name", name, 250, err);
    if (end < 0 || end > TIME_MAX)
        op_fail(call, err, INVALID, "Invalid value for parameter 'end_time': it must be milliseconds since 1970");
    require_run(call, id, true, err);
    if (refused(call))
        return NULL;
    json_t *body = json_pack("{s:s}", "run_id", id);
    put(body, "status", status ? json_string(STATUSES[status]) : NULL);
    put(body, "end_time", has(call->request, "end_time") ? json_integer(end) : NULL);
    put(body, "run_name", name && *name ? json_string(name) : NULL);
    bool nothing = json_object_size(body) == 1;
    if (nothing)
        json_decref(body);
    else if (tracker_tell(call->tracker, "run.updated", body, err) < 0)
        return NULL;
    json_auto_t *run = get_run(call, id, err);
    json_t *info = json_object_get(json_object_get(run, "run"), "info");
    return info ? json_pack("{s:O}", "run_info", info) : NULL;
}

static bool is_stage(struct op_call *call, const char *id, const char *wanted, struct ls_error *err)
{
    char *stage = NULL;
    texts_ask(call, QUESTION("SELECT lifecycle_stage FROM runs WHERE run_uuid = $1", db_text(id)), &stage, 1, err);
    bool is = stage && strcmp(stage, wanted) == 0;
    free(stage);
    return is;
}

json_t *op_runs_delete(struct op_call *call, struct ls_error *err)
{
    const char *id = run_id(call, err);
    require_run(call, id, false, err);
    if (refused(call))
        return NULL;
    bool done = is_stage(call, id, "deleted", err);
    if (refused(call) || done)
        return refused(call) ? NULL : json_object();
    json_t *body = json_pack("{s:s,s:I}", "run_id", id, "deleted_time", (json_int_t) call->now_ms);
    put(body, "user_id", call->principal[0] ? json_string(call->principal) : NULL);
    return tracker_tell(call->tracker, "run.deleted", body, err) < 0 ? NULL : json_object();
}

json_t *op_runs_restore(struct op_call *call, struct ls_error *err)
{
    const char *id = run_id(call, err);
    require_run(call, id, false, err);
    if (refused(call))
        return NULL;
    bool done = is_stage(call, id, "active", err);
    if (refused(call) || done)
        return refused(call) ? NULL : json_object();
    json_t *body = json_pack("{s:s,s:s}", "run_id", id, "lifecycle_stage", "active");
    return tracker_tell(call->tracker, "run.updated", body, err) < 0 ? NULL : json_object();
}

json_t *op_runs_set_tag(struct op_call *call, struct ls_error *err)
{
    const char *id = run_id(call, err), *key = need_text(call, call->request, "key", err),
               *value = ask_text(call, call->request, "value", err);
    check_key(call, "tag", key, err);
    require_run(call, id, true, err);
    return tell_tag(call, id, key, value ? value : "", err) < 0 ? NULL : json_object();
}

json_t *op_runs_delete_tag(struct op_call *call, struct ls_error *err)
{
    const char *id = run_id(call, err), *key = need_text(call, call->request, "key", err);
    char *value = NULL;
    require_run(call, id, true, err);
    if (refused(call))
        return NULL;
    if (!texts_ask(call, QUESTION("SELECT value FROM tags WHERE run_uuid = $1 AND key = $2", db_text(id), db_text(key)),
                   &value, 1, err))
        op_fail(call, err, ABSENT, "No tag with name: %.200s in run with id %.100s", key, id);
    free(value);
    json_t *body = refused(call) ? NULL : json_pack("{s:s,s:s,s:b}", "run_id", id, "key", key, "deleted", true);
    return tracker_tell(call->tracker, "run.tag", body, err) < 0 ? NULL : json_object();
}
