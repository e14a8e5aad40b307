/* SPDX-License-Identifier: Apache-2.0 */
/* The node `ingress`: its life, and the way of a request from the HTTP server to the handler of its route. */
#include "nodes/ingress/ingress.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client.h"

#define REQUEST_ID_MAX 128
#define OTHER_DESCRIPTORS 200 /* of the bus, the loop, the program itself */

/* ---- a request comes and goes ---- */

/* The caller's own id if it is one that can be repeated in a header, else a new one. */
static void set_request_id(struct visit *v)
{
    static const char TOKEN[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz:/=@";
    const char *given = http_header(v->x, "x-request-id");
    size_t len = given ? strlen(given) : 0;
    if (len && len <= REQUEST_ID_MAX && strspn(given, TOKEN) == len) {
        snprintf(v->request_id, sizeof v->request_id, "%s", given);
        return;
    }
    char id[LS_ID_SIZE];
    ls_id(id);
    snprintf(v->request_id, sizeof v->request_id, "req_%s", id);
}

static void refuse_path(struct visit *v, unsigned status, const char *allow)
{
    const char *path = http_path(v->x), *method = http_method(v->x);
    if (status == 405) {
        http_answer_header(v->x, "Allow", allow);
        answer_problem(v, &(struct problem){.status = 405}, "%s does not take %s; it takes: %s", path, method, allow);
    } else if (v->openai) {
        answer_problem(v, &(struct problem){.status = 404, .code = "unknown_url"},
                       "there is no %s %.200s here; the OpenAI API is served at /v1/chat/completions, /v1/completions and "
                       "/v1/models", method, path);
    } else {
        answer_no_route(v);
    }
}

static void on_begin(void *arg, struct http_exchange *x)
{
    struct ingress *in = arg;
    struct visit *v = xcalloc(1, sizeof *v);
    v->ingress = in;
    v->x = x;
    v->principal = "";
    v->openai = strncmp(http_path(x), "/v1/", 4) == 0;
    http_set_user(x, v);
    set_request_id(v);
    http_answer_header(x, "x-request-id", v->request_id);
    http_answer_header(x, "X-Content-Type-Options", "nosniff");
    ++*node_metric(in->node, METRIC_REQUESTS);

    unsigned status = 404;
    const char *allow = NULL;
    v->route = route_find(v, &status, &allow);
    if (!access_check(v))
        return;
    if (!v->route && status == 404 && (proxy_take(v) || relay_find(v)))
        return; /* a node's route */
    if (!v->route)
        refuse_path(v, status, allow);
}

static void on_request(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *v = http_user(x);
    if (v->route)
        v->route->handle(v);
    else if (v->work)
        proxy_body_end(v);
    else
        relay_start(v);
}

static void on_body(void *arg, struct http_exchange *x, struct ls_slice bytes)
{
    (void) arg;
    proxy_body(http_user(x), bytes);
}

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    (void) arg;
    (void) complete;
    struct visit *v = http_user(x);
    if (v->work)
        v->gone(v->work);
    free(v);
}

static void on_drained(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *v = http_user(x);
    if (v->work && v->drained)
        v->drained(v->work);
}

/* ---- the node ---- */

static void on_server_ready(void *arg, int fd, uint32_t events)
{
    (void) fd;
    (void) events;
    http_server_run(((struct ingress *) arg)->server);
}

static void on_doors_ready(void *arg, int fd, uint32_t events)
{
    (void) fd;
    (void) events;
    http_client_run(((struct ingress *) arg)->doors);
}

/* Each connection is a descriptor; systems give a process 1,024 unless it asks for more. */
static void raise_descriptor_limit(int64_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t) connections + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        logger_put(LEVEL_WARN, "descriptors", "the system allows fewer connections than connections_max (ulimit -n)",
                   "limit=%llu connections_max=%lld", (unsigned long long) limit.rlim_cur, (long long) connections);
}

static int open_ingress(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct ingress *in = self;
    in->node = node;
    in->options = options;
    TAILQ_INIT(&in->publications);
    const struct ingress_options *o = options;
    struct http_server_options server = {
        .address = o->listen, .arg = in, .begin = on_begin, .body = on_body, .request = on_request, .end = on_end, .drained = on_drained,
        .limits = {.header_ms = o->header_timeout, .body_bytes = (size_t) o->body_max,
                   .connections = (unsigned) o->connections_max,
                   .connections_per_peer = (unsigned) o->connections_per_peer, .queue_bytes = STREAM_QUEUE_MAX}};
    raise_descriptor_limit(o->connections_max);
    in->server = http_server_open(&server, err);
    if (!in->server)
        return -1;
    in->doors = http_client_open(err);
    if (!in->doors)
        return -1;
    directory_open(in);
    feeds_open(in);
    overview_open(in);
    node_watch(node, http_server_fd(in->server), EPOLLIN, on_server_ready, in);
    node_watch(node, http_client_fd(in->doors), EPOLLIN, on_doors_ready, in);
    if (o->insecure && !o->keys.count)
        logger_put(LEVEL_WARN, "insecure", "anybody who reaches the address may do everything", "listen=%s",
                   http_server_address(in->server));
    logger_put(LEVEL_INFO, "listening", "HTTP server is open", "url=http://%s/", http_server_address(in->server));
    return 0;
}

static void on_connected(void *self, const struct ls_error *err)
{
    struct ingress *in = self;
    in->connected = !err;
    if (in->connected) {
        directory_connected(in);
        feeds_connected(in);
        overview_connected(in);
    } else {
        directory_lost(in);
        overview_lost(in);
    }
}

static void on_refused(void *self, uint32_t subscription, const struct ls_error *err)
{
    logger_put(LEVEL_WARN, "refused", err->text, "subscription=%u name=%s", subscription, err->name);
    feeds_refused(self, subscription, err);
}

static int64_t tick(void *self, int64_t now_ms)
{
    struct ingress *in = self;
    feeds_tick(in);
    publications_tick(in);
    if (http_client_due(in->doors) <= now_ms)
        http_client_run(in->doors);
    if (http_server_due(in->server) <= now_ms)
        http_server_run(in->server); /* what callbacks from the bus have answered goes out now */
    metrics_count(in);
    int64_t server = http_server_due(in->server), doors = http_client_due(in->doors);
    return server < doors ? server : doors;
}

static void drain(void *self)
{
    struct ingress *in = self;
    http_server_drain(in->server);
    feeds_drain(in);
}

static size_t busy(void *self)
{
    return http_server_active(((struct ingress *) self)->server);
}

static void close_ingress(void *self)
{
    struct ingress *in = self;
    in->closing = true;
    if (in->server) {
        turns_stop(in);
        http_server_run(in->server);
        node_unwatch(in->node, http_server_fd(in->server));
        http_server_close(&in->server);
    }
    proxies_close(in);
    if (in->doors) {
        node_unwatch(in->node, http_client_fd(in->doors));
        http_client_close(&in->doors);
    }
    turns_close(in);
    inquiries_close(in);
    relays_close(in);
    publications_close(in);
    overview_close(in);
    feeds_close(in);
    directory_close(in);
    buf_fini(&in->scratch);
}

const struct node_code node_ingress = {
    .kind = &kind_ingress,
    .size = sizeof(struct ingress),
    .open = open_ingress,
    .connected = on_connected,
    .refused = on_refused,
    .tick = tick,
    .drain = drain,
    .busy = busy,
    .close = close_ingress,
};
