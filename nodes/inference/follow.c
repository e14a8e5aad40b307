/* SPDX-License-Identifier: Apache-2.0 */
/* From a version in the registry to a model in use. What blocks on the disk (copying, syncing, verifying) is a job in a thread of
 * its own, so that answers under way go on; a job whose version is no longer wanted ends, and its model is dropped. */
#include "nodes/inference/follow.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/inference/fetch.h"
#include "nodes/inference/registry.h"
#include "nodes/kit/http_server.h"

#define RETRY_MS_MIN 250
#define RETRY_MS_MAX 10000

/* What a thread works on. Between start and `done` it is the thread's alone. */
struct job {
    LIST_ENTRY(job) link;
    const struct cache *cache;
    int event_fd;
    pthread_t thread;
    char *local;             /* a file or folder to be copied into the cache first; NULL: none */
    struct cache_part *part; /* content that came; NULL: it is in the cache */
    char sha256[CACHE_HASH_SIZE];
    atomic_bool done;
    bool cached; /* nothing had to be brought into the cache */
    struct ngram *model; /* NULL: err says why */
    struct ls_error err;
};

struct follow {
    struct inference *in;
    struct registry_uri uri;
    follow_fn *fn;
    struct cache *cache;
    struct fetch *fetch;
    struct registry *registry;
    struct registry_version now, goal; /* served; meant by the registry. Empty: none yet */
    struct registry_cause cause;       /* of the goal */
    int64_t goal_ms;                   /* since when it is the goal */
    bool loading, hopeless;            /* the goal: under way; it cannot be served, ever */
    struct job *job;                   /* of the goal; NULL: there is none yet */
    LIST_HEAD(, job) jobs;
    int event_fd;
    struct timer retry;
    int64_t retry_ms;
    char told[300]; /* the failure that was logged last */
};

/* ---- the end of a load ---- */

static void on_failure(struct follow *f, const struct ls_error *err)
{
    f->loading = false;
    f->hopeless = !err->again;
    if (strncmp(f->told, err->text, sizeof f->told - 1) != 0)
        logger_put(LEVEL_WARN, "model-not-loaded", err->text, "model=%s version=%s serves=%s again=%d", f->uri.name, f->goal.version,
                   f->now.version[0] ? f->now.version : "-", err->again);
    snprintf(f->told, sizeof f->told, "%s", err->text);
    if (f->hopeless)
        return;
    node_timer_set(f->in->node, &f->retry, f->retry_ms);
    f->retry_ms = f->retry_ms * 2 < RETRY_MS_MAX ? f->retry_ms * 2 : RETRY_MS_MAX;
}

static void tell(struct follow *f, const struct job *job, int64_t took_ms)
{
    struct buf text = {0};
    json_t *body = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "name", f->uri.name, "version", f->goal.version, "source", f->goal.source,
                             "sha256", job->sha256, "worker", node_member(f->in->node), "from", job->cached ? "cache" : "store",
                             "duration_ms", (json_int_t) took_ms);
    if (f->uri.alias[0])
        json_object_set_new(body, "alias", json_string(f->uri.alias));
    if (f->now.version[0])
        json_object_set_new(body, "previous_version", json_string(f->now.version));
    node_write(&text, body);
    json_decref(body);
    node_publish(f->in->node, &(struct ls_event){.topic = ls_str("model.loaded"), .subject = ls_str(f->uri.name),
                                                 .traceparent = ls_str(f->cause.traceparent),
                                                 .tracestate = ls_str(f->cause.tracestate),
                                                 .correlationid = ls_str(f->cause.correlationid),
                                                 .causationid = ls_str(f->cause.id),
                                                 .body = ls_bytes(text.data, text.len)});
    buf_fini(&text);
}

static void on_success(struct follow *f, struct job *job)
{
    int64_t took_ms = clock_mono_ms() - f->goal_ms;
    struct ngram *model = job->model;
    job->model = NULL;
    f->fn(f->in, model, f->goal.version);
    tell(f, job, took_ms);
    logger_put(LEVEL_INFO, "model-loaded", "new answers are given by this version", "model=%s version=%s previous=%s from=%s ms=%lld",
               f->uri.name, f->goal.version, f->now.version[0] ? f->now.version : "-", job->cached ? "cache" : "store",
               (long long) took_ms);
    f->now = f->goal;
    f->loading = false;
    f->retry_ms = RETRY_MS_MIN;
    f->told[0] = '\0';
}

/* ---- jobs ---- */

static int bring(struct job *job)
{
    if (!job->local && !job->part) {
        job->cached = true;
        return 0;
    }
    if (job->local && !(job->part = cache_begin(job->cache, &job->err)))
        return -1;
    if (job->local && cache_copy(job->part, job->local, &job->err) < 0)
        return -1;
    char expected[CACHE_HASH_SIZE];
    memcpy(expected, job->sha256, sizeof expected);
    return cache_end(job->cache, &job->part, expected, job->sha256, &job->cached, &job->err);
}

/* A file that is no model goes. Another replica may have found the same of it first: then it has gone already. */
static void open_model(struct job *job)
{
    char *path = cache_path(job->cache, job->sha256);
    job->model = ngram_open(path, &job->err);
    if (job->model) {
        cache_prune(job->cache, job->sha256);
    } else {
        if (access(path, F_OK) < 0)
            error_set(&job->err, "CORRUPT", "%s: it is no model file (`lineshaft train` makes one)", path);
        cache_remove(job->cache, job->sha256);
        job->err.again |= job->cached; /* the cached file may be damaged: the next one is fetched */
    }
    free(path);
}

static void *work(void *arg)
{
    struct job *job = arg;
    if (bring(job) == 0)
        open_model(job);
    cache_drop(&job->part);
    atomic_store(&job->done, true);
    const uint64_t one = 1;
    while (write(job->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return NULL;
}

/* Waits for the thread if it is still at work. */
static void job_free(struct job *job)
{
    pthread_join(job->thread, NULL);
    LIST_REMOVE(job, link);
    ngram_close(&job->model);
    free(job->local);
    free(job);
}

/* `fetched` or `local` says where the content is. */
static void start_job(struct follow *f, const struct fetched *fetched, const char *local)
{
    struct job *job = xcalloc(1, sizeof *job);
    job->cache = f->cache;
    job->event_fd = f->event_fd;
    job->local = local ? xstrdup(local) : NULL;
    if (fetched) {
        job->part = fetched->part;
        memcpy(job->sha256, fetched->sha256, sizeof job->sha256);
    }
    if (pthread_create(&job->thread, NULL, work, job) == 0) {
        LIST_INSERT_HEAD(&f->jobs, job, link);
        f->job = job;
        return;
    }
    struct ls_error err;
    error_set(&err, "SYSTEM", "no thread can be started to open the model");
    err.again = true;
    cache_drop(&job->part);
    free(job->local);
    free(job);
    on_failure(f, &err);
}

static void on_job(void *arg, int fd, uint32_t events)
{
    struct follow *f = arg;
    uint64_t count;
    (void) events;
    if (read(fd, &count, sizeof count) < 0)
        return;
    struct job *job, *next;
    for (job = LIST_FIRST(&f->jobs); job; job = next) {
        next = LIST_NEXT(job, link);
        if (!atomic_load(&job->done))
            continue;
        if (job == f->job) {
            f->job = NULL;
            if (job->model)
                on_success(f, job);
            else
                on_failure(f, &job->err);
        }
        job_free(job);
    }
}

/* ---- the beginning of a load ---- */

static void on_fetched(void *arg, struct fetched *fetched, const struct ls_error *err)
{
    if (err)
        on_failure(arg, err);
    else
        start_job(arg, fetched, NULL);
}

/* Percent escapes decoded; what cannot be decoded stays as it is. The caller's. */
static char *decoded(const char *text)
{
    size_t size = strlen(text) + 1;
    char *plain = xcalloc(1, size);
    if (!http_unescape(text, size - 1, false, plain, size))
        memcpy(plain, text, size);
    return plain;
}

/* The path of a source in this machine's file system, the caller's, or NULL. */
static char *local_path(const char *source)
{
    if (strncmp(source, "file:", 5) != 0)
        return strchr(source, ':') ? NULL : xstrdup(source);
    const char *path = source + 5;
    if (strncmp(path, "//", 2) == 0)
        path += 2 + strcspn(path + 2, "/"); /* behind the host, which is empty or this one */
    return decoded(path);
}

/* The key at the artifacts node: mlflow-artifacts:/KEY, or with a host, mlflow-artifacts://HOST/KEY. The caller's. NULL: it is
 * something else. */
static char *artifact_key(const char *source)
{
    if (strncmp(source, "mlflow-artifacts:", 17) != 0)
        return NULL;
    const char *key = source + 17;
    if (strncmp(key, "//", 2) == 0)
        key += 2 + strcspn(key + 2, "/");
    return decoded(key + strspn(key, "/"));
}

static void load(struct follow *f)
{
    char *key = artifact_key(f->goal.source), *path = key ? NULL : local_path(f->goal.source);
    struct ls_error err;
    f->loading = true;
    if (key && *key) {
        fetch_start(f->fetch, key, on_fetched, f);
    } else if (path && *path) {
        start_job(f, NULL, path);
    } else {
        error_set(&err, "BAD_VALUE", "the version's source is \"%.200s\": this node reads mlflow-artifacts:/KEY, file:/PATH and paths",
                  f->goal.source);
        on_failure(f, &err);
    }
    free(key);
    free(path);
}

static void drop_goal(struct follow *f)
{
    fetch_cancel(f->fetch);
    node_timer_unset(f->in->node, &f->retry);
    registry_cause_fini(&f->cause);
    f->job = NULL; /* its thread ends by itself */
    f->loading = f->hopeless = false;
    f->retry_ms = RETRY_MS_MIN;
}

static bool same(const struct registry_version *a, const struct registry_version *b)
{
    return strcmp(a->version, b->version) == 0 && strcmp(a->source, b->source) == 0;
}

static void on_version(void *arg, const struct registry_version *version, const struct registry_cause *cause)
{
    struct follow *f = arg;
    if (!same(&f->goal, version)) {
        drop_goal(f);
        f->goal = *version;
        f->goal_ms = clock_mono_ms();
        registry_cause_copy(&f->cause, cause);
    }
    if (cause->id) /* somebody did something about it */
        f->hopeless = false;
    if (!f->loading && !f->hopeless && !same(&f->now, version))
        load(f);
}

static void on_retry(void *self, struct timer *timer)
{
    (void) self;
    registry_ask(((struct follow *) (void *) ((char *) timer - offsetof(struct follow, retry)))->registry);
}

/* ---- its life ---- */

struct follow *follow_open(struct inference *in, const struct registry_uri *uri, follow_fn *fn, struct ls_error *err)
{
    struct follow *f = xcalloc(1, sizeof *f);
    *f = (struct follow){.in = in, .uri = *uri, .fn = fn, .retry.fire = on_retry, .retry_ms = RETRY_MS_MIN,
                         .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    LIST_INIT(&f->jobs);
    if (f->event_fd < 0)
        error_set(err, "SYSTEM", "no descriptor for the thread that opens models: %s", strerror(errno));
    else if ((f->cache = cache_open(in->options->cache, in->options->cache_keep, err)) &&
             (f->fetch = fetch_open(in->node, f->cache, err)) && (f->registry = registry_open(in->node, uri, on_version, f, err))) {
        node_watch(in->node, f->event_fd, EPOLLIN, on_job, f);
        return f;
    }
    follow_close(&f);
    return NULL;
}

void follow_connected(struct follow *f, bool stands)
{
    registry_connected(f->registry, stands);
}

int64_t follow_tick(struct follow *f, int64_t now_ms)
{
    return fetch_tick(f->fetch, now_ms);
}

void follow_close(struct follow **follow)
{
    struct follow *f = *follow;
    *follow = NULL;
    if (!f)
        return;
    if (f->registry)
        node_unwatch(f->in->node, f->event_fd);
    node_timer_unset(f->in->node, &f->retry);
    while (!LIST_EMPTY(&f->jobs))
        job_free(LIST_FIRST(&f->jobs));
    registry_close(&f->registry);
    fetch_close(&f->fetch);
    cache_close(&f->cache);
    registry_cause_fini(&f->cause);
    if (f->event_fd >= 0)
        close(f->event_fd);
    free(f);
}
