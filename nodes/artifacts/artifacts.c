/* SPDX-License-Identifier: Apache-2.0 */
/* The kind `artifacts`: its life and the callbacks of the node. */
#include "nodes/artifacts/artifacts.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "nodes/artifacts/door.h"

void artifacts_count(struct artifacts *a, enum artifacts_metric metric, int64_t more)
{
    *node_metric(a->node, metric) += more;
}

/* What is in a folder that is the store is served, and may be replaced by anyone who may upload. */
static int check_folders(const struct artifacts *a, struct ls_error *err)
{
    const char *spool = spool_dir(a->spool);
    char root[PATH_MAX];
    if (strncmp(a->options->store, "file:", 5) != 0 || !realpath(a->options->store + 5, root))
        return 0;
    size_t len = strlen(root);
    if (strncmp(spool, root, len) != 0 || (spool[len] && spool[len] != '/'))
        return 0;
    return error_set(err, "CONFIG", "dir: the spool %.200s is inside of the store %.200s, where everybody could read and replace it: give "
                                    "it a folder outside", spool, root);
}

static int open_store(struct artifacts *a, struct ls_error *err)
{
    const struct artifacts_options *o = a->options;
    const struct objstore_options options = {
        .url = o->store, .endpoint = o->endpoint, .region = o->region, .access_key = o->access_key, .secret_key = o->secret_key,
        .session_token = o->session_token, .addressing = ARTIFACTS_ADDRESSING[o->addressing], .ca_file = o->ca_file,
        .encryption = o->encryption, .create_bucket = o->create_bucket, .part_bytes = o->part_size};
    a->store = objstore_open(&options, err);
    return a->store ? check_folders(a, err) : -1;
}

static void tell_door(struct artifacts *a)
{
    struct buf about = {0};
    char *url = door_url(a);
    buf_pack_map(&about, 1);
    buf_pair_str(&about, "http", url);
    node_about(a->node, ls_bytes(about.data, about.len));
    logger_put(LEVEL_INFO, "door", "bytes come and go here", "http=%s store=%s", url, a->options->store);
    buf_fini(&about);
    free(url);
}

/* tick does the work in every turn, in an order of its own. */
static void on_ready(void *arg, int fd, uint32_t events)
{
    (void) arg;
    (void) fd;
    (void) events;
}

static int open_node(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct artifacts *a = self;
    a->node = node;
    a->options = options;
    const struct spool_options spool = {.dir = a->options->dir, .limit_bytes = (uint64_t) a->options->spool_limit,
                                        .floor_bytes = (uint64_t) a->options->free_floor};
    a->spool = spool_open(&spool, err);
    if (!a->spool || open_store(a, err) || door_open(a, err))
        return -1;
    node_watch(node, objstore_fd(a->store), EPOLLIN, on_ready, a);
    node_watch(node, http_server_fd(a->server), EPOLLIN, on_ready, a);
    events_open(a);
    put_open(a);
    store_open(a);
    tell_door(a);
    return 0;
}

static enum ls_verdict on_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    return put_event(self, event, err);
}

static enum ls_verdict on_request(void *self, struct ls_call *call, const struct ls_event *request, struct ls_error *err)
{
    return job_request(self, call, request, err);
}

static void on_cancelled(void *self, struct ls_call *call, const char *reason)
{
    (void) self;
    (void) reason;
    job_cancelled(call);
}

/* The store first: what it ends is answered in the same turn. */
static int64_t tick(void *self, int64_t now_ms)
{
    struct artifacts *a = self;
    objstore_run(a->store);
    http_server_run(a->server);
    if (put_turn(a))
        return now_ms;
    int64_t store_due = objstore_due(a->store), door_due = http_server_due(a->server);
    return store_due < door_due ? store_due : door_due;
}

/* The store had time enough: what waits for it stays in the spool for the next life, and who waits is told so. */
static void on_leave(void *arg, struct timer *timer)
{
    struct artifacts *a = arg;
    struct visit *visit, *next;
    (void) timer;
    a->leaving = true;
    for (visit = LIST_FIRST(&a->visits); visit; visit = next) {
        next = LIST_NEXT(visit, link);
        upload_leave(visit);
    }
    put_leave(a);
}

static void drain(void *self)
{
    struct artifacts *a = self;
    http_server_drain(a->server);
    a->leave_timer.fire = on_leave;
    node_timer_set(a->node, &a->leave_timer, a->troubled[TROUBLE_AWAY] ? 0 : node_drain_ms(a->node) / 2);
}

static size_t busy(void *self)
{
    const struct artifacts *a = self;
    return http_server_active(a->server) + (a->leaving ? 0 : (size_t) a->active);
}

static void close_node(void *self)
{
    struct artifacts *a = self;
    if (a->server)
        node_unwatch(a->node, http_server_fd(a->server));
    door_close(a);
    put_close(a);
    if (a->store && a->spool)
        store_close(a);
    if (a->store) {
        node_unwatch(a->node, objstore_fd(a->store));
        objstore_close(&a->store);
    }
    spool_close(&a->spool);
}

const struct node_code node_artifacts = {
    .kind = &kind_artifacts,
    .size = sizeof(struct artifacts),
    .open = open_node,
    .event = on_event,
    .request = on_request,
    .cancelled = on_cancelled,
    .tick = tick,
    .drain = drain,
    .busy = busy,
    .close = close_node,
};
