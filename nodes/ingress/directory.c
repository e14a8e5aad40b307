/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes on the bus offer: models (`about` of services) and HTTP routes, as the broker knows them. Asked for when the
 * session begins and whenever the broker says that something changed ($sys.services). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/logger.h"
#include "lib/mp.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"

#define ABSENT_MAX 2048 /* four times as many as a session may declare; the oldest go first */

struct route_list {
    struct offered_route *items;
    size_t count, room;
};

struct directory {
    struct ingress *in;
    struct model *models;
    size_t model_count, model_room;
    bool unready;
    char unready_why[300];
    struct door {
        char *client, *http;
    } *doors; /* of the workers */
    size_t door_count, door_room;
    struct route_list routes;
    struct route_list absent; /* of nodes that had routes, and have none now: they restart, or will be back */
    bool known, asking, again; /* again: something changed while the question was under way */
    LIST_HEAD(, directory_wait) waits;
};

static void ask(struct directory *d);

/* ---- what is known ---- */

static void forget_models(struct directory *d)
{
    for (size_t i = 0; i < d->model_count; i++) {
        struct model *m = &d->models[i];
        free(m->id);
        free(m->owned_by);
        free(m->version);
        free(m->kind);
        free(m->topic);
    }
    d->model_count = 0;
}

static void forget_doors(struct directory *d)
{
    for (size_t i = 0; i < d->door_count; i++) {
        free(d->doors[i].client);
        free(d->doors[i].http);
    }
    d->door_count = 0;
}

static void free_route(struct offered_route *r)
{
    free(r->method);
    free(r->path);
    free(r->topic);
    free(r->summary);
    free(r->client);
}

static void forget_routes(struct route_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free_route(&list->items[i]);
    free(list->items);
    *list = (struct route_list){0};
}

const char *directory_unready(const struct ingress *in)
{
    return in->directory->unready ? in->directory->unready_why : NULL;
}

bool directory_known(const struct ingress *in)
{
    return in->directory->known;
}

const struct model *directory_models(const struct ingress *in, size_t *count)
{
    *count = in->directory->model_count;
    return in->directory->models;
}

const struct model *directory_model(const struct ingress *in, const char *id)
{
    for (size_t i = 0; i < in->directory->model_count; i++)
        if (strcmp(in->directory->models[i].id, id) == 0)
            return &in->directory->models[i];
    return NULL;
}

const struct offered_route *directory_routes(const struct ingress *in, size_t *count)
{
    *count = in->directory->routes.count;
    return in->directory->routes.items;
}

static const struct offered_route *find_route(const struct route_list *list, const char *method, const char *path)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct offered_route *r = &list->items[i];
        bool head = strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0;
        if ((head || strcmp(r->method, method) == 0) && route_match(r->path, path, NULL))
            return r;
    }
    return NULL;
}

const struct offered_route *directory_route(const struct ingress *in, const char *method, const char *path)
{
    return find_route(&in->directory->routes, method, path);
}

const struct offered_route *directory_absent(const struct ingress *in, const char *method, const char *path)
{
    return find_route(&in->directory->absent, method, path);
}

const char *directory_door(const struct ingress *in, const char *client)
{
    for (size_t i = 0; i < in->directory->door_count; i++)
        if (strcmp(in->directory->doors[i].client, client) == 0)
            return in->directory->doors[i].http;
    return NULL;
}

/* ---- the broker's answers ---- */

static char *text_of(struct mp map, const char *key)
{
    struct ls_slice text = {0};
    uint64_t number;
    if (wire_str(map, key, &text))
        return xstrndup(text.data, text.len);
    return wire_uint(map, key, &number) ? xasprintf("%llu", (unsigned long long) number) : NULL;
}

static void add_model(struct directory *d, struct mp map, const char *topic)
{
    uint64_t created = 0, context = 0;
    char *id = text_of(map, "id");
    if (!id || !*id || directory_model(d->in, id)) {
        free(id);
        return;
    }
    wire_uint(map, "created", &created);
    wire_uint(map, "context_length", &context);
    d->models = xgrow(d->models, &d->model_room, d->model_count + 1, sizeof *d->models);
    char *owner = text_of(map, "owned_by");
    d->models[d->model_count++] = (struct model){
        .id = id, .owned_by = owner ? owner : xstrdup("lineshaft"), .version = text_of(map, "version"), .kind = text_of(map, "kind"),
        .created = (int64_t) created, .context_length = (int64_t) context, .topic = xstrdup(topic)};
}

/* Calls fn for each map in the array that `map` has under `key`. */
static void each_map(struct mp map, const char *key, void (*fn)(struct directory *d, struct mp item, const char *topic),
                     struct directory *d, const char *topic)
{
    struct mp at;
    uint32_t count;
    if (!mp_find(map, key, &at) || !mp_array(&at, &count))
        return;
    for (; count; count--) {
        struct mp item = at;
        if (!mp_skip(&at))
            return;
        if (mp_peek(&item) == MP_MAP)
            fn(d, item, topic);
    }
}

static void add_door(struct directory *d, struct mp worker, struct mp about)
{
    char *client = text_of(worker, "client"), *http = text_of(about, "http");
    bool good = http && (strncmp(http, "unix:/", 6) == 0 || strncmp(http, "http://", 7) == 0);
    if (!client || !good) {
        free(client);
        free(http);
        return;
    }
    d->doors = xgrow(d->doors, &d->door_room, d->door_count + 1, sizeof *d->doors);
    d->doors[d->door_count++] = (struct door){client, http};
}

/* Takes `why` over. */
static void take_unready(struct directory *d, char *why)
{
    d->unready = true;
    if (why)
        snprintf(d->unready_why, sizeof d->unready_why, "%s", why);
    free(why);
}

static void take_worker(struct directory *d, struct mp worker, const char *topic)
{
    struct mp about, models;
    uint32_t count = 0;
    bool about_known = mp_find(worker, "about", &about);
    if (about_known)
        add_door(d, worker, about);
    if (strpbrk(topic, "*>")) /* a pattern is no topic to ask */
        return;
    if (about_known) {
        each_map(about, "models", add_model, d, topic);
        if (mp_find(about, "models", &models))
            mp_array(&models, &count);
    }
    if (!count && strncmp(topic, "chat.", 5) == 0)
        take_unready(d, about_known ? text_of(about, "waits") : NULL);
}

static void take_service(struct directory *d, struct mp service, const char *unused)
{
    (void) unused;
    char *topic = text_of(service, "topic");
    if (topic)
        each_map(service, "workers", take_worker, d, topic);
    free(topic);
}

static void add_route(struct route_list *list, const struct offered_route *route)
{
    list->items = xgrow(list->items, &list->room, list->count + 1, sizeof *list->items);
    list->items[list->count++] = *route;
}

static void take_route(struct directory *d, struct mp route, const char *unused)
{
    (void) unused;
    struct offered_route r = {text_of(route, "method"), text_of(route, "path"), text_of(route, "topic"), text_of(route, "summary"),
                              text_of(route, "client"), wire_bool(route, "bytes")};
    if (r.method && r.path && r.topic && r.client)
        add_route(&d->routes, &r);
    else
        free_route(&r);
}

static bool has_routes(const struct directory *d, const char *client)
{
    for (size_t i = 0; i < d->routes.count; i++)
        if (strcmp(d->routes.items[i].client, client) == 0)
            return true;
    return false;
}

/* Of the routes that were there those stay known whose node is away; of a node that is back only what it declares now counts. */
static void note_absent(struct directory *d, struct route_list *were_there)
{
    struct route_list lists[] = {d->absent, *were_there};
    d->absent = *were_there = (struct route_list){0};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < lists[k].count; i++)
            if (has_routes(d, lists[k].items[i].client))
                free_route(&lists[k].items[i]);
            else
                add_route(&d->absent, &lists[k].items[i]);
        free(lists[k].items);
    }
    size_t excess = d->absent.count > ABSENT_MAX ? d->absent.count - ABSENT_MAX : 0;
    for (size_t i = 0; i < excess; i++)
        free_route(&d->absent.items[i]);
    d->absent.count -= excess;
    if (excess)
        memmove(d->absent.items, d->absent.items + excess, d->absent.count * sizeof *d->absent.items);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct model *) a)->id, ((const struct model *) b)->id);
}

static void wake_all(struct directory *d)
{
    struct directory_wait *w;
    while ((w = LIST_FIRST(&d->waits)) != NULL) {
        directory_forget(w);
        w->fn(w->arg);
    }
}

static void on_routes(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct directory *d = arg;
    d->asking = false;
    if (!err) {
        struct route_list before = d->routes;
        d->routes = (struct route_list){0};
        each_map(wire_map(reply), "routes", take_route, d, NULL);
        note_absent(d, &before);
        d->known = true;
    }
    if (d->again)
        ask(d);
    else
        wake_all(d);
}

static void on_services(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct directory *d = arg;
    if (err)
        return;
    forget_models(d);
    forget_doors(d);
    d->unready = false;
    d->unready_why[0] = '\0';
    each_map(wire_map(reply), "services", take_service, d, NULL);
    if (d->model_count)
        qsort(d->models, d->model_count, sizeof *d->models, by_id);
}

static int question(struct directory *d, const char *op, ls_adm_fn *fn)
{
    struct ls_error err;
    struct buf request = {0};
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", op);
    int rc = ls_adm(node_client(d->in->node), ls_bytes(request.data, request.len), fn, d, &err);
    if (rc)
        logger_put(LEVEL_WARN, "directory", err.text, "op=%s", op);
    buf_fini(&request);
    return rc;
}

/* Both questions travel in order, and so do the answers. */
static void ask(struct directory *d)
{
    d->again = d->asking;
    if (d->asking)
        return;
    d->asking = question(d, "services", on_services) == 0 && question(d, "routes", on_routes) == 0;
}

bool directory_refresh(struct ingress *in, struct directory_wait *wait)
{
    if (!in->connected)
        return false;
    ask(in->directory);
    LIST_INSERT_HEAD(&in->directory->waits, wait, link);
    return true;
}

void directory_forget(struct directory_wait *wait)
{
    LIST_REMOVE(wait, link);
}

/* ---- its life ---- */

static enum ls_verdict on_change(void *arg, const struct ls_event *event, struct ls_error *err)
{
    (void) event;
    (void) err;
    ask(arg);
    return LS_DONE;
}

void directory_open(struct ingress *in)
{
    static const char *const TOPICS[] = {"$sys.services", NULL};
    struct ls_error err;
    in->directory = xcalloc(1, sizeof *in->directory);
    in->directory->in = in;
    LIST_INIT(&in->directory->waits);
    if (!ls_subscribe(node_client(in->node), &(struct ls_subscription){.topics = TOPICS}, on_change, in->directory, &err))
        logger_put(LEVEL_ERROR, "directory", err.text, "topic=%s", TOPICS[0]);
}

void directory_connected(struct ingress *in)
{
    ask(in->directory);
}

void directory_lost(struct ingress *in)
{
    if (in->directory)
        wake_all(in->directory);
}

void directory_close(struct ingress *in)
{
    if (!in->directory)
        return;
    forget_models(in->directory);
    forget_routes(&in->directory->routes);
    forget_routes(&in->directory->absent);
    forget_doors(in->directory);
    free(in->directory->doors);
    free(in->directory->models);
    free(in->directory);
    in->directory = NULL;
}
