/* SPDX-License-Identifier: Apache-2.0 */
/* What is small: lists, what an object is, deleting. Asked at the door, or over the bus as artifacts.list, artifacts.stat and
 * artifacts.delete. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/artifacts/answer.h"
#include "nodes/artifacts/door.h"

#define PAGE_MAX 1000
#define PAGE_BYTES 900000 /* of an answer, so that it fits into one part of a reply (1 MiB) */
#define TEXT_BYTES 2048

struct job {
    struct visit visit;     /* its x is NULL when the caller is on the bus */
    struct ls_call *call;   /* NULL: at the door */
    struct objstore_op *op;
    bool recursive;
    char *prefix, *after;
    char *user_id, *traceparent;
    size_t max;
    /* A page as it comes. */
    json_t *objects, *folders;
    char *last;
    size_t bytes;
    /* Deleting: the keys of a page that are still to go. */
    json_t *keys;
    size_t at;
    uint64_t deleted;
};

static void job_free(struct job *job)
{
    objstore_cancel(&job->op);
    json_decref(job->objects);
    json_decref(job->folders);
    json_decref(job->keys);
    free(job->prefix);
    free(job->after);
    free(job->last);
    free(job->user_id);
    free(job->traceparent);
    free(job->visit.key);
    free(job);
}

/* ---- answers ---- */

static void fail(struct job *job, const struct ls_error *err)
{
    if (!job->call) {
        visit_fail(&job->visit, err);
        return;
    }
    struct ls_error told = *err;
    door_number(&told);
    ls_reply_error(job->call, &told);
    job_free(job);
}

static void fail_missing(struct job *job, const struct ls_error *err)
{
    struct ls_error told = *err;
    door_missing(job->visit.a, job->visit.key, &told);
    fail(job, &told);
}

static void answer(struct job *job, json_t *body)
{
    struct ls_error err = {0};
    if (!job->call)
        visit_answer(&job->visit, 200, body);
    else if (node_reply(job->call, body, &err) != LS_DONE)
        fail(job, &err);
    else
        job_free(job);
}

/* ---- lists ---- */

static void list_page(struct job *job);

static void answer_list(struct job *job, bool more)
{
    if (!job->visit.mlflow) {
        answer(job, json_pack("{s:o, s:o, s:o}", "objects", json_incref(job->objects), "folders", json_incref(job->folders), "next",
                              more && job->last ? json_string(job->last) : json_null()));
    } else if (more && job->last) { /* MLflow's clients know no pages */
        free(job->after);
        job->after = job->last;
        job->last = NULL;
        list_page(job);
    } else {
        answer(job, json_pack("{s:o}", "files", json_incref(job->objects)));
    }
}

static void add_mlflow(struct job *job, const char *key, const struct objstore_object *object)
{
    const char *name = key + strlen(job->prefix);
    size_t len = strlen(name);
    json_array_append_new(job->objects, object ? json_pack("{s:s, s:b, s:I}", "path", name, "is_dir", false, "file_size",
                                                           (json_int_t) object->size)
                                               : json_pack("{s:s%, s:b}", "path", name, len - 1, "is_dir", true));
}

static void on_entry(void *arg, const char *key, const struct objstore_object *object)
{
    struct job *job = arg;
    if (!utf8_valid(key, strlen(key))) /* another program's: no JSON can name it */
        return;
    if (job->visit.mlflow) {
        add_mlflow(job, key, object);
    } else if (object) {
        json_array_append_new(job->objects, door_object(job->visit.a, object));
        job->bytes += 5 * strlen(key) + 600; /* a quote is two bytes in the path and three in the uri */
    } else {
        json_array_append_new(job->folders, json_string(key));
        job->bytes += 2 * strlen(key) + 3;
    }
    free(job->last);
    job->last = xstrdup(key);
    if (job->bytes > PAGE_BYTES) {
        objstore_cancel(&job->op);
        answer_list(job, true);
    }
}

static void on_listed(void *arg, bool more, const struct ls_error *err)
{
    struct job *job = arg;
    job->op = NULL;
    if (err)
        fail(job, err);
    else
        answer_list(job, more);
}

static void list_page(struct job *job)
{
    struct ls_error err;
    const struct objstore_list list = {.prefix = job->prefix, .recursive = job->recursive, .after = job->after, .max = job->max,
                                       .arg = job, .entry = on_entry, .end = on_listed};
    job->op = objstore_list(job->visit.a->store, &list, &err);
    if (!job->op)
        fail(job, &err);
}

static void list_start(struct job *job)
{
    job->objects = json_array();
    job->folders = json_array();
    job->prefix = job->prefix ? job->prefix : xstrdup("");
    if (!job->max || job->max > PAGE_MAX)
        job->max = PAGE_MAX;
    list_page(job);
}

/* ---- one object ---- */

static void on_stat_found(void *arg, const struct objstore_object *object)
{
    struct job *job = arg;
    job->objects = door_object(job->visit.a, object);
}

static void on_stat(void *arg, const struct ls_error *err)
{
    struct job *job = arg;
    job->op = NULL;
    if (err)
        fail_missing(job, err);
    else
        answer(job, json_incref(job->objects));
}

static void stat_start(struct job *job)
{
    struct ls_error err;
    const struct objstore_get get = {.key = job->visit.key, .length = 0, .arg = job, .found = on_stat_found, .end = on_stat};
    if (door_spooled(job->visit.a, job->visit.key, &err)) {
        fail(job, &err);
        return;
    }
    job->op = objstore_get(job->visit.a->store, &get, &err);
    if (!job->op)
        fail(job, &err);
}

/* ---- deleting: the key itself, then what is below it, page by page ---- */

static void delete_next(struct job *job);

static void delete_done(struct job *job)
{
    if (job->call) {
        answer(job, json_pack("{s:I}", "deleted", (json_int_t) job->deleted));
    } else if (job->visit.mlflow) {
        answer(job, json_object());
    } else if (job->visit.x) {
        char count[24];
        snprintf(count, sizeof count, "%llu", (unsigned long long) job->deleted);
        http_answer_header(job->visit.x, "X-Lineshaft-Deleted", count);
        http_answer(job->visit.x, 204, (struct ls_slice){0});
        job->visit.answered = true;
    }
}

static void on_below(void *arg, const char *key, const struct objstore_object *object)
{
    struct job *job = arg;
    if (object)
        json_array_append_new(job->keys, json_string(key));
}

static void on_page_below(void *arg, bool more, const struct ls_error *err)
{
    struct job *job = arg;
    (void) more; /* they are asked for again, from the start, when these are gone */
    job->op = NULL;
    if (err)
        fail(job, err);
    else if (json_array_size(job->keys))
        delete_next(job);
    else {
        objstore_prune(job->visit.a->store, job->visit.key);
        delete_done(job);
    }
}

static void delete_page(struct job *job)
{
    struct ls_error err;
    const struct objstore_list list = {.prefix = job->prefix, .recursive = true, .max = PAGE_MAX, .arg = job, .entry = on_below,
                                       .end = on_page_below};
    json_array_clear(job->keys);
    job->at = 0;
    job->op = objstore_list(job->visit.a->store, &list, &err);
    if (!job->op)
        fail(job, &err);
}

static void on_deleted(void *arg, const struct ls_error *err)
{
    struct job *job = arg;
    job->op = NULL;
    if (err) {
        fail(job, err);
        return;
    }
    job->deleted++;
    events_deleted(job->visit.a, json_string_value(json_array_get(job->keys, job->at)), job->user_id, job->traceparent);
    job->at++;
    delete_next(job);
}

static void delete_next(struct job *job)
{
    struct ls_error err;
    const char *key = json_string_value(json_array_get(job->keys, job->at));
    if (!key && job->recursive) {
        delete_page(job);
        return;
    }
    if (!key) {
        delete_done(job);
        return;
    }
    job->op = objstore_delete(job->visit.a->store, key, on_deleted, job, &err);
    if (!job->op)
        fail(job, &err);
}

/* Was there an object of just this key? */
static void on_own_key(void *arg, const struct ls_error *err)
{
    struct job *job = arg;
    job->op = NULL;
    if (err && strcmp(err->name, "NOT_FOUND") != 0) {
        fail(job, err);
        return;
    }
    if (!err)
        json_array_append_new(job->keys, json_string(job->visit.key));
    delete_next(job);
}

static void delete_start(struct job *job)
{
    struct ls_error err;
    const struct objstore_get get = {.key = job->visit.key, .length = 0, .arg = job, .end = on_own_key};
    job->keys = json_array();
    free(job->prefix);
    job->prefix = xasprintf("%s/", job->visit.key);
    if (store_has_waiting(job->visit.a, job->visit.key, job->recursive)) {
        error_set(&err, "BUSY", "%.200s%s is about to be stored: delete it when that is done", job->visit.key,
                  job->recursive ? ", or what is below it," : "");
        fail(job, &err);
        return;
    }
    job->op = objstore_get(job->visit.a->store, &get, &err);
    if (!job->op)
        fail(job, &err);
}

/* ---- at the door ---- */

static bool query_is_true(const struct visit *visit, const char *name)
{
    char value[8];
    return http_query_get(visit->x, name, value, sizeof value) && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

static char *query_text(const struct visit *visit, const char *name)
{
    char value[TEXT_BYTES];
    return http_query_get(visit->x, name, value, sizeof value) ? xstrdup(value) : NULL;
}

/* MLflow's `path` is a folder, with or without a slash at its end. */
static char *mlflow_prefix(const struct visit *visit)
{
    char *path = query_text(visit, "path");
    size_t len = path ? strlen(path) : 0;
    while (len && path[len - 1] == '/')
        len--;
    char *prefix = len ? xasprintf("%.*s/", (int) len, path) : xstrdup("");
    free(path);
    return prefix;
}

static void on_request(struct visit *visit)
{
    struct job *job = (struct job *) visit;
    char max[16] = "";
    const char *user = visit_user(visit), *trace = visit_trace(visit);
    job->user_id = user ? xstrdup(user) : NULL;
    job->traceparent = trace ? xstrdup(trace) : NULL;
    if (strcmp(http_method(visit->x), "DELETE") == 0) {
        job->recursive = visit->mlflow || query_is_true(visit, "recursive");
        delete_start(job);
        return;
    }
    job->recursive = !visit->mlflow && query_is_true(visit, "recursive");
    job->prefix = visit->mlflow ? mlflow_prefix(visit) : query_text(visit, "prefix");
    job->after = visit->mlflow ? NULL : query_text(visit, "after");
    if (!visit->mlflow && http_query_get(visit->x, "max", max, sizeof max))
        job->max = strtoul(max, NULL, 10);
    list_start(job);
}

static void on_end(struct visit *visit, bool complete)
{
    (void) complete;
    job_free((struct job *) visit);
}

static const struct visit_code job_code = {.request = on_request, .end = on_end};

struct visit *job_new(void)
{
    struct job *job = xcalloc(1, sizeof *job);
    job->visit.code = &job_code;
    return &job->visit;
}

/* ---- over the bus ---- */

static char *body_text(const json_t *body, const char *name)
{
    const char *text = json_string_value(json_object_get(body, name));
    return text ? xstrdup(text) : NULL;
}

static char *slice_text(struct ls_slice slice)
{
    return slice.len ? xstrndup(slice.data, slice.len) : NULL;
}

/* Begins the job; what it answers comes later. */
static int begin(struct job *job, const struct ls_event *request, struct ls_error *err)
{
    bool list = ls_slice_is(request->topic, "artifacts.list"), stat = ls_slice_is(request->topic, "artifacts.stat");
    if (!list && !stat && !ls_slice_is(request->topic, "artifacts.delete"))
        return error_set(err, "BAD_VALUE", "%.*s is no request: artifacts.list, artifacts.stat and artifacts.delete are; bytes come by "
                                           "HTTP", (int) request->topic.len, request->topic.data);
    if (!list && objstore_key_check(job->visit.key, err))
        return error_wrap(err, "path");
    if (list)
        list_start(job);
    else if (stat)
        stat_start(job);
    else
        delete_start(job);
    return 0;
}

enum ls_verdict job_request(struct artifacts *a, struct ls_call *call, const struct ls_event *request, struct ls_error *err)
{
    struct ls_slice user = {0};
    json_auto_t *body = request->body.len ? node_json(request->body, err) : json_object();
    if (!body)
        return LS_REJECT;
    ls_event_attribute(request, "principal", &user);
    struct job *job = (struct job *) job_new();
    job->visit.a = a;
    job->call = call;
    job->visit.key = body_text(body, "path");
    job->prefix = body_text(body, "prefix");
    job->after = body_text(body, "after");
    job->recursive = json_is_true(json_object_get(body, "recursive"));
    job->max = (size_t) json_integer_value(json_object_get(body, "max"));
    job->user_id = slice_text(user);
    job->traceparent = slice_text(request->traceparent);
    call->user = job;
    if (begin(job, request, err) == 0)
        return LS_PENDING;
    call->user = NULL;
    door_number(err);
    job_free(job);
    return LS_REJECT;
}

void job_cancelled(struct ls_call *call)
{
    if (call->user)
        job_free(call->user);
}
