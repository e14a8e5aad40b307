/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 driver: the store itself, deleting, errands that nobody waits for, and the probe that finds out whether If-None-Match is
 * honoured. Requests, puts, gets and lists have files of their own. */
#include "nodes/kit/objstore_s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

/* ---- errands ---- */

struct s3_errand {
    LIST_ENTRY(s3_errand) link;
    struct s3_request request;
    char *key;
    char *journal; /* removed when it is done; NULL: none */
};

static void errand_free(struct s3_errand *errand)
{
    LIST_REMOVE(errand, link);
    s3_request_stop(&errand->request);
    free(errand->key);
    free(errand->journal);
    free(errand);
}

static void on_errand(struct s3_request *r)
{
    struct s3_errand *errand = r->arg;
    struct ls_error err;
    if (!s3_request_done(r) && r->status != 404) {
        s3_request_error(r, "cannot tidy up", errand->key, &err);
        logger_put(LEVEL_WARN, "s3.tidy", err.text, "key=\"%s\"", errand->key);
    }
    if (errand->journal)
        unlink(errand->journal);
    errand_free(errand);
}

static void errand_begin(struct s3_store *store, const char *key, const char *upload, const char *journal)
{
    struct s3_errand *errand = xcalloc(1, sizeof *errand);
    struct sigv4_pair pairs[] = {{"uploadId", upload}, {NULL, NULL}};
    errand->key = xstrdup(key);
    errand->journal = journal ? xstrdup(journal) : NULL;
    LIST_INSERT_HEAD(&store->errands, errand, link);
    s3_request_init(&errand->request, store, "DELETE", key, upload ? pairs : NULL);
    errand->request.arg = errand;
    errand->request.end = on_errand;
    s3_request_send(&errand->request);
}

void s3_errand_delete(struct s3_store *store, const char *key, const char *upload)
{
    errand_begin(store, key, upload, NULL);
}

static void s3_abandon(struct objstore *store, const char *key, const char *path)
{
    struct s3_journal journal;
    struct ls_error err = {0};
    if (s3_journal_load(&journal, path, &err) < 0)
        logger_put(LEVEL_WARN, "s3.journal", err.text, "key=\"%s\"", key);
    else if (journal.upload)
        errand_begin((struct s3_store *) (void *) store, journal.key, journal.upload, path);
    else
        s3_journal_remove(&journal);
    s3_journal_fini(&journal);
}

/* ---- the probe ---- */

struct s3_probe {
    struct s3_request request;
    char *key;
    bool made;       /* the object is there */
    int conditional; /* what it told, while it is being removed */
};

static void probe_send(struct s3_store *store);

static void probe_free(struct s3_store *store)
{
    if (!store->probe)
        return;
    s3_request_stop(&store->probe->request);
    free(store->probe->key);
    free(store->probe);
    store->probe = NULL;
}

static void probe_over(struct s3_store *store, int conditional, const struct ls_error *err)
{
    probe_free(store);
    store->conditional = conditional;
    if (conditional >= 0)
        logger_put(LEVEL_INFO, "s3.conditional",
                   conditional ? "the store creates an object only if its key is free (If-None-Match)"
                               : "the store does not honour If-None-Match: a key is looked at before it is written, "
                                 "with a gap between",
                   "host=%s bucket=%s", store->config.host, store->config.bucket);
    s3_put_probed(store, err);
}

static void on_probe_removed(struct s3_request *r)
{
    struct s3_store *store = r->arg;
    struct ls_error err;
    if (!s3_request_done(r)) {
        s3_request_error(r, "cannot remove", store->probe->key, &err);
        logger_put(LEVEL_WARN, "s3.tidy", err.text, "key=\"%s\"", store->probe->key);
    }
    probe_over(store, store->probe->conditional, NULL);
}

static void probe_remove(struct s3_store *store, int conditional)
{
    struct s3_request *r = &store->probe->request;
    store->probe->conditional = conditional;
    s3_request_init(r, store, "DELETE", store->probe->key, NULL);
    r->arg = store;
    r->end = on_probe_removed;
    s3_request_send(r);
}

/* Who may not write the probe may yet write what is asked for. */
static void on_probed(struct s3_request *r)
{
    struct s3_store *store = r->arg;
    struct ls_error err;
    bool again = s3_request_done(r) && !store->probe->made;
    if (again) {
        store->probe->made = true;
        probe_send(store);
    } else if (s3_request_done(r)) {
        probe_remove(store, 0);
    } else if (r->status == 412) {
        probe_remove(store, 1);
    } else if (r->status == 501 || r->status == 400 || strcmp(r->code, "AccessDenied") == 0) {
        probe_over(store, 0, NULL);
    } else {
        s3_request_error(r, "cannot write to", NULL, &err);
        probe_over(store, -1, &err);
    }
}

static void probe_send(struct s3_store *store)
{
    struct s3_request *r = &store->probe->request;
    s3_request_init(r, store, "PUT", store->probe->key, NULL);
    s3_request_header(r, "If-None-Match", "*");
    r->arg = store;
    r->end = on_probed;
    s3_request_send(r);
}

void s3_probe_begin(struct s3_store *store)
{
    char id[UUID_TEXT_SIZE];
    if (store->probe)
        return;
    uuid7(clock_wall_us(), id);
    store->probe = xcalloc(1, sizeof *store->probe);
    store->probe->key = xasprintf(".lineshaft-probe-%s", id);
    probe_send(store);
}

/* ---- deleting ---- */

struct s3_delete {
    struct s3_op op;
    struct s3_request request;
    char *key;
    objstore_deleted_fn *end;
    void *arg;
};

static void on_deleted(struct s3_request *r)
{
    struct s3_delete *delete = r->arg;
    struct ls_error err;
    bool done = s3_request_done(r) || (r->status == 404 && strcmp(r->code, "NoSuchBucket") != 0);
    if (!done)
        s3_request_error(r, "cannot delete", delete->key, &err);
    objstore_op_over(&delete->op.head);
    delete->end(delete->arg, done ? NULL : &err);
}

static void on_delete_stop(struct objstore_op *op)
{
    s3_request_stop(&((struct s3_delete *) (void *) op)->request);
}

static void on_delete_free(struct objstore_op *op)
{
    free(((struct s3_delete *) (void *) op)->key);
    free(op);
}

static struct objstore_op *s3_remove(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg,
                                     struct ls_error *err)
{
    struct s3_delete *delete = xcalloc(1, sizeof *delete);
    (void) err;
    delete->op = (struct s3_op){.stop = on_delete_stop, .free = on_delete_free};
    delete->key = xstrdup(key);
    delete->end = end;
    delete->arg = arg;
    objstore_op_begin(&delete->op.head, store);
    s3_request_init(&delete->request, (struct s3_store *) (void *) store, "DELETE", key, NULL);
    delete->request.arg = delete;
    delete->request.end = on_deleted;
    s3_request_send(&delete->request);
    return &delete->op.head;
}

/* ---- the store ---- */

static struct objstore *s3_open(const struct objstore_options *options, struct ls_error *err)
{
    struct s3_store *store = xcalloc(1, sizeof *store);
    store->conditional = -1;
    store->http = http_client_open(err);
    if (!store->http || s3_config_load(&store->config, options, err) < 0) {
        http_client_close(&store->http);
        free(store);
        return NULL;
    }
    const struct s3_config *c = &store->config;
    store->signer = (struct sigv4_signer){.access_key = c->access_key,
                                          .secret_key = c->secret_key,
                                          .session_token = c->session_token,
                                          .region = c->region};
    return &store->head;
}

static void s3_close(struct objstore *base)
{
    struct s3_store *store = (struct s3_store *) (void *) base;
    while (!LIST_EMPTY(&store->errands))
        errand_free(LIST_FIRST(&store->errands));
    probe_free(store);
    http_client_close(&store->http);
    heap_fini(&store->timers);
    s3_config_fini(&store->config);
    free(store);
}

static int s3_fd(const struct objstore *base)
{
    return http_client_fd(((const struct s3_store *) (const void *) base)->http);
}

static int64_t s3_due(const struct objstore *base)
{
    const struct s3_store *store = (const struct s3_store *) (const void *) base;
    int64_t timers = heap_next(&store->timers), http = http_client_due(store->http);
    if (!LIST_EMPTY(&store->hashing))
        return 0;
    return http < timers ? http : timers;
}

static void s3_run(struct objstore *base)
{
    struct s3_store *store = (struct s3_store *) (void *) base;
    http_client_run(store->http);
    heap_fire(&store->timers, clock_mono_ms(), NULL);
    s3_put_step(store);
}

static void s3_stop(struct objstore_op *op)
{
    ((struct s3_op *) (void *) op)->stop(op);
}

static void s3_free(struct objstore_op *op)
{
    ((struct s3_op *) (void *) op)->free(op);
}

static void s3_resume(struct objstore_op *op)
{
    void (*resume)(struct objstore_op *) = ((struct s3_op *) (void *) op)->resume;
    if (resume)
        resume(op);
}

static int s3_conditional(const struct objstore *base)
{
    return ((const struct s3_store *) (const void *) base)->conditional;
}

static int s3_file(struct objstore *store, const char *key, struct objstore_object *object, struct ls_error *err)
{
    (void) store;
    (void) object;
    return error_set(err, "UNSUPPORTED", "\"%.200s\" is in an S3 store: it is no file", key);
}

static char *s3_uri(const struct objstore *base, const char *key)
{
    const struct s3_config *c = &((const struct s3_store *) (const void *) base)->config;
    return xasprintf("s3://%s/%s%s", c->bucket, c->prefix, key);
}

const struct objstore_driver OBJSTORE_S3 = {
    .scheme = "s3://",
    .check = s3_config_check,
    .open = s3_open,
    .close = s3_close,
    .fd = s3_fd,
    .due = s3_due,
    .run = s3_run,
    .put = s3_put_begin,
    .get = s3_get_begin,
    .list = s3_list_begin,
    .remove = s3_remove,
    .abandon = s3_abandon,
    .resume = s3_resume,
    .stop = s3_stop,
    .free = s3_free,
    .conditional = s3_conditional,
    .file = s3_file,
    .uri = s3_uri,
};
