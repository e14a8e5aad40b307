/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: what a topic leads to (its stream, its schema), and what flowed over it since it was remembered. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROUTES_MAX 20000

void routes_init(struct broker *b)
{
    b->routes_since_us = b->now_us;
}

void routes_fini(struct broker *b)
{
    size_t at = 0;
    struct route *route;
    while ((route = map_walk(&b->routes, &at, NULL)))
        free(route);
    map_fini(&b->routes);
}

void routes_trim(struct broker *b)
{
    if (b->routes.used < ROUTES_MAX)
        return;
    routes_fini(b);
    routes_init(b);
}

static struct stream *stream_for(struct broker *b, struct mp_slice topic)
{
    for (size_t i = 0; i < b->stream_count; i++)
        for (const char *const *p = b->streams[i].config->topics; *p; p++)
            if (topic_match(*p, strlen(*p), topic.data, topic.len))
                return &b->streams[i];
    return NULL;
}

struct route *route_find(struct broker *b, struct mp_slice topic)
{
    uint64_t key = XXH3_64bits_withSeed(topic.data, topic.len, b->seed);
    struct route *route = map_get(&b->routes, key);
    if (route && route->len == topic.len && !memcmp(route->topic, topic.data, topic.len))
        return route;
    if (!topic_valid(topic.data, topic.len))
        return NULL;
    if (!route) {
        route = xcalloc(1, sizeof *route);
        map_put(&b->routes, key, route);
    }
    *route = (struct route){.len = topic.len,
                            .stream = stream_for(b, topic),
                            .schema = schema_set_find(b->schemas, topic.data, topic.len)};
    memcpy(route->topic, topic.data, topic.len);
    return route;
}

void route_count(struct route *route, struct session *s, size_t bytes, int64_t now_us)
{
    route->events++;
    route->bytes += bytes;
    route->last_us = now_us;
    if (s)
        s->flow.published++;
}

/* ---- ADM topics, $sys.stats ---- */

static bool busier(const struct route *x, const struct route *y)
{
    if (x->events != y->events)
        return x->events > y->events;
    return x->last_us != y->last_us ? x->last_us > y->last_us : strcmp(x->topic, y->topic) < 0;
}

static int busiest_first(const void *a, const void *b)
{
    return busier(*(const struct route *const *) a, *(const struct route *const *) b) ? -1 : 1;
}

/* The busiest `most` of all, found without sorting all: a heap with the least busy of them on top. */
struct ranking {
    const struct route **items;
    size_t count, most;
};

static void sink(struct ranking *r, size_t at)
{
    for (size_t child = 2 * at + 1; child < r->count; child = 2 * at + 1) {
        if (child + 1 < r->count && busier(r->items[child], r->items[child + 1]))
            child++;
        if (!busier(r->items[at], r->items[child]))
            return;
        const struct route *swapped = r->items[at];
        r->items[at] = r->items[child];
        r->items[child] = swapped;
        at = child;
    }
}

static void rank(struct ranking *r, const struct route *route)
{
    if (r->count == r->most) {
        if (r->most && busier(route, r->items[0])) {
            r->items[0] = route;
            sink(r, 0);
        }
        return;
    }
    r->items[r->count++] = route;
    if (r->count == r->most) /* full: from now on it is a heap */
        for (size_t at = r->count / 2; at-- > 0;)
            sink(r, at);
}

static void pack_route(struct buf *out, const struct route *route)
{
    buf_pack_map(out, 4 + (route->stream != NULL));
    buf_pair_strn(out, "topic", route->topic, route->len);
    if (route->stream) {
        buf_pair_str(out, "stream", route->stream->config->name);
    }
    buf_pair_uint(out, "events", route->events);
    buf_pair_uint(out, "bytes", route->bytes);
    buf_pair_uint(out, "last_us", (uint64_t) route->last_us);
}

uint64_t report_topics(struct broker *b, struct report *r, size_t most, const struct stream *only)
{
    struct ranking busiest = {.most = most < b->routes.used ? most : b->routes.used};
    const struct route *route;
    uint64_t total = 0;
    busiest.items = xcalloc(busiest.most + 1, sizeof *busiest.items);
    for (size_t at = 0; (route = map_walk(&b->routes, &at, NULL));)
        if (route->events && (!only || route->stream == only)) {
            rank(&busiest, route);
            total++;
        }
    qsort(busiest.items, busiest.count, sizeof *busiest.items, busiest_first);
    struct report_list list = report_begin(r, "topics");
    for (size_t i = 0; i < busiest.count; i++) {
        pack_route(r->out, busiest.items[i]);
        if (!report_keep(&list))
            break;
    }
    report_end(&list);
    free(busiest.items);
    return total;
}
