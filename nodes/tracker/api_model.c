/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on registered models: names with tags, aliases and versions. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

void require_model(struct op_call *call, const char *name, struct ls_error *err)
{
    char *there = NULL;
    if (!refused(call) &&
        !texts_ask(call, QUESTION("SELECT name FROM registered_models WHERE name = $1", db_text(name)), &there, 1, err))
        op_fail(call, err, ABSENT, "Registered Model with name=%.200s not found", name);
    free(there);
}

static json_t *get_model(struct op_call *call, const char *name, struct ls_error *err)
{
    if (refused(call))
        return NULL;
    json_t *found = answer_models(
        call->tracker, QUESTION("SELECT " MODEL_COLUMNS " FROM registered_models m WHERE m.name = $1", db_text(name)),
        err);
    if (found && !json_array_size(found))
        op_fail(call, err, ABSENT, "Registered Model with name=%.200s not found", name);
    return answer_one("registered_model", found);
}

static void refuse_taken(struct op_call *call, const char *name, struct ls_error *err)
{
    char *there = NULL;
    if (!refused(call) &&
        texts_ask(call, QUESTION("SELECT name FROM registered_models WHERE name = $1", db_text(name)), &there, 1, err))
        op_fail(call, err, EXISTS, "Registered Model (name=%.200s) already exists.", name);
    free(there);
}

static json_t *change(struct op_call *call, const char *name, const char *time)
{
    if (refused(call))
        return NULL;
    json_t *body = json_pack("{s:s,s:I}", "name", name, time, (json_int_t) call->now_ms);
    put(body, "user_id", call->principal[0] ? json_string(call->principal) : NULL);
    return body;
}

/* ---- create, get, change ---- */

json_t *op_registered_models_create(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *description = ask_text(call, call->request, "description", err);
    json_auto_t *tags = ask_pairs(call, "tags", check_model_tag, err);
    check_model_name(call, name, err);
    check_length(call, "description", description, DESCRIPTION_MAX, err);
    refuse_taken(call, name, err);
    json_t *body = change(call, name, "creation_timestamp");
    put(body, "description", body && description ? json_string(description) : NULL);
    put(body, "tags", body ? json_incref(tags) : NULL);
    return tracker_tell(call->tracker, "model.registered", body, err) < 0 ? NULL : get_model(call, name, err);
}

json_t *op_registered_models_get(struct op_call *call, struct ls_error *err)
{
    return get_model(call, need_text(call, call->request, "name", err), err);
}

static json_t *tell_change(struct op_call *call, const char *name, const char *key, json_t *value, struct ls_error *err)
{
    json_t *body = change(call, name, "last_updated_timestamp");
    if (!body)
        json_decref(value);
    put(body, key, body ? value : NULL);
    return tracker_tell(call->tracker, "model.updated", body, err) < 0 ? NULL : json_object();
}

json_t *op_registered_models_rename(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *new_name = need_text(call, call->request, "new_name", err);
    check_model_name(call, new_name, err);
    require_model(call, name, err);
    if (!refused(call) && strcmp(name, new_name) != 0)
        refuse_taken(call, new_name, err);
    json_t *done = tell_change(call, name, "new_name", new_name ? json_string(new_name) : NULL, err);
    json_decref(done);
    return done ? get_model(call, new_name, err) : NULL;
}

json_t *op_registered_models_update(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *description = ask_text(call, call->request, "description", err);
    check_length(call, "description", description, DESCRIPTION_MAX, err);
    require_model(call, name, err);
    json_t *done = tell_change(call, name, "description", json_string(description ? description : ""), err);
    json_decref(done);
    return done ? get_model(call, name, err) : NULL;
}

json_t *op_registered_models_delete(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err);
    require_model(call, name, err);
    return tracker_tell(call->tracker, "model.deleted", change(call, name, "timestamp"), err) < 0 ? NULL
                                                                                                  : json_object();
}

json_t *op_registered_models_set_tag(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err), *key = need_text(call, call->request, "key", err),
               *value = ask_text(call, call->request, "value", err);
    check_model_tag(call, key, value, err);
    require_model(call, name, err);
    return tell_change(call, name, "tags", refused(call) ? NULL : json_pack("{s:s}", key, value ? value : ""), err);
}

/* To remove a tag that is not there is well, here and at versions. */
json_t *op_registered_models_delete_tag(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err), *key = need_text(call, call->request, "key", err);
    require_model(call, name, err);
    return tell_change(call, name, "tags", refused(call) ? NULL : json_pack("{s:n}", key), err);
}

/* ---- search, latest versions ---- */

json_t *op_registered_models_search(struct op_call *call, struct ls_error *err)
{
    struct search search = {.subject = &SEARCH_MODELS};
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    struct answer_page page = {
        .key = "registered_models", .most = ask_max(call, 100, 1000, err), .offset = token_read(call, "", err)};
    json_t *found = NULL;
    search_read(call, &search, err);
    if (!refused(call)) {
        buf_addf(&query.sql, "SELECT " MODEL_COLUMNS " FROM registered_models m WHERE m.name IS NOT NULL");
        search_where(&query, &search);
        search_order_by(&query, &search, "m.name");
        query_page(&query, page.most, page.offset);
        found = answer_models(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count}, err);
    }
    query_fini(&query);
    search_fini(&search);
    return answer_list(&page, found);
}

static const char *const STAGES[] = {"None", "Staging", "Production", "Archived", NULL};

const char *stage_of(struct op_call *call, const char *text, struct ls_error *err)
{
    for (size_t i = 0; text && STAGES[i]; i++)
        if (strcasecmp(STAGES[i], text) == 0)
            return STAGES[i];
    if (text)
        op_fail(call, err, INVALID,
                "Invalid Model Version stage: %.100s. Value must be one of None, Staging, Production, Archived.", text);
    return NULL;
}

json_t *op_registered_models_latest(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err);
    const json_t *asked = ask_list(call, call->request, "stages", false, err), *stage;
    json_auto_t *stages = json_array();
    size_t i;
    json_array_foreach(asked, i, stage)
        json_array_append_new(stages, json_string(stage_of(call, json_string_value(stage), err)));
    for (i = 0; !json_array_size(asked) && STAGES[i]; i++)
        json_array_append_new(stages, json_string(STAGES[i]));
    require_model(call, name, err);
    if (refused(call))
        return NULL;
    struct query query = {.postgres = db_is_postgres(call->tracker->db)};
    buf_addf(&query.sql, "SELECT " VERSION_COLUMNS " FROM model_versions v WHERE v.name = $%zu AND ",
             query_text(&query, name));
    query_list(&query, "v.current_stage", stages, "VARCHAR", false);
    buf_addf(&query.sql, " AND v.version = (SELECT MAX(x.version) FROM model_versions x WHERE x.name = v.name AND "
                         "x.current_stage = v.current_stage) "
                         "ORDER BY v.version");
    json_t *found =
        answer_versions(call->tracker, &(struct question){buf_text(&query.sql), query.values, query.count}, err);
    query_fini(&query);
    return answer_list(&(struct answer_page){.key = "model_versions", .most = INT64_MAX}, found);
}

/* ---- aliases ---- */

int64_t alias_find(struct op_call *call, const char *name, const char *alias, struct ls_error *err)
{
    char *version = NULL;
    texts_ask(call,
              QUESTION("SELECT version FROM registered_model_aliases WHERE name = $1 AND alias = $2", db_text(name),
                       db_text(alias)),
              &version, 1, err);
    int64_t number = version ? strtoll(version, NULL, 10) : 0;
    free(version);
    return number;
}

int alias_set(struct op_call *call, const char *name, const char *alias, int64_t version, struct ls_error *err)
{
    int64_t previous = alias_find(call, name, alias, err);
    char *of[2] = {NULL, NULL};
    texts_ask(
        call,
        QUESTION(
            "SELECT COALESCE(storage_location, source), run_id FROM model_versions WHERE name = $1 AND version = $2",
            db_text(name), db_int(version)),
        of, 2, err);
    json_t *body = change(call, name, "timestamp");
    put(body, "alias", body ? json_string(alias) : NULL);
    put(body, "version", body ? json_sprintf("%lld", (long long) version) : NULL);
    put(body, "previous_version", body && previous ? json_sprintf("%lld", (long long) previous) : NULL);
    put(body, "source", body && of[0] ? json_string(of[0]) : NULL);
    put(body, "run_id", body && of[1] ? json_string(of[1]) : NULL);
    texts_free(of, 2);
    return tracker_tell(call->tracker, "model.alias.set", body, err);
}

int alias_drop(struct op_call *call, const char *name, const char *alias, int64_t version, struct ls_error *err)
{
    json_t *body = change(call, name, "timestamp");
    put(body, "alias", body ? json_string(alias) : NULL);
    put(body, "previous_version", body ? json_sprintf("%lld", (long long) version) : NULL);
    return tracker_tell(call->tracker, "model.alias.deleted", body, err);
}

json_t *op_registered_models_set_alias(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *alias = need_text(call, call->request, "alias", err);
    int64_t version = version_number(call, err);
    check_alias(call, alias, err);
    require_version(call, name, version, err);
    return refused(call) || alias_set(call, name, alias, version, err) < 0 ? NULL : json_object();
}

json_t *op_registered_models_delete_alias(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *alias = need_text(call, call->request, "alias", err);
    require_model(call, name, err);
    int64_t version = refused(call) ? 0 : alias_find(call, name, alias, err);
    if (refused(call))
        return NULL;
    if (!version)
        return json_object();
    return alias_drop(call, name, alias, version, err) < 0 ? NULL : json_object();
}

json_t *op_registered_models_get_alias(struct op_call *call, struct ls_error *err)
{
    const char *name = need_text(call, call->request, "name", err),
               *alias = need_text(call, call->request, "alias", err);
    require_model(call, name, err);
    int64_t version = refused(call) ? 0 : alias_find(call, name, alias, err);
    if (!version)
        op_fail(call, err, INVALID, "Registered model alias %.200s not found.", alias ? alias : "");
    return version_answer(call, name, version, err);
}
