/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP routes that clients declare with HELLO. The broker does nothing with them but keep them apart: a route belongs to one
 * client, and lives as long as a session of it that declared it. Who answers HTTP asks ADM routes for them. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROUTES_MAX 512
#define PATH_BYTES_MAX 400
#define SUMMARY_BYTES_MAX 200
#define PARAMETER_BYTES_MAX 64
#define LITERALS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@"
#define WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* ---- one path ---- */

static bool made_of(struct mp_slice text, const char *bytes)
{
    for (size_t i = 0; i < text.len; i++)
        if (!text.data[i] || !strchr(bytes, text.data[i]))
            return false;
    return true;
}

/* The segments of a path, one after the other: `at` stands at a slash, or at the end. */
static bool next_segment(struct mp_slice path, size_t *at, struct mp_slice *segment, bool *last)
{
    if (*at >= path.len)
        return false;
    const char *from = path.data + *at + 1;
    const char *slash = memchr(from, '/', path.len - *at - 1);
    *segment = (struct mp_slice){from, slash ? (size_t) (slash - from) : path.len - *at - 1};
    *at += 1 + segment->len;
    *last = !slash;
    return true;
}

static bool is_parameter(struct mp_slice segment)
{
    return segment.len && segment.data[0] == '{';
}

/* The name between the braces; its data is NULL if it is not a valid parameter. */
static struct mp_slice parameter_name(struct mp_slice segment, bool last, bool *rest)
{
    struct mp_slice name = {segment.data + 1, segment.len - 1};
    *rest = false;
    if (!name.len || name.data[name.len - 1] != '}')
        return (struct mp_slice){0};
    name.len--;
    if (last && name.len > 3 && !memcmp(name.data + name.len - 3, "...", 3)) {
        name.len -= 3;
        *rest = true;
    }
    bool ok = name.len && name.len <= PARAMETER_BYTES_MAX && made_of(name, WORD);
    return ok ? name : (struct mp_slice){0};
}

static bool named_before(struct mp_slice path, size_t before, struct mp_slice name)
{
    struct mp_slice segment;
    bool last, rest;
    for (size_t at = 0; at < before && next_segment(path, &at, &segment, &last);) {
        struct mp_slice other = is_parameter(segment) ? parameter_name(segment, last, &rest) : (struct mp_slice){0};
        if (other.len == name.len && !memcmp(other.data, name.data, name.len))
            return true;
    }
    return false;
}

/* What is wrong with a path, NULL if nothing is. `shape` gets it with the parameters' names left out. */
static const char *path_problem(struct mp_slice path, struct buf *shape)
{
    struct mp_slice segment;
    bool last, rest;
    if (!path.len || path.len > PATH_BYTES_MAX || path.data[0] != '/')
        return "\"path\" wants 1 to 400 bytes that begin with /";
    for (size_t at = 0, from = 0; next_segment(path, &at, &segment, &last); from = at) {
        buf_add_byte(shape, '/');
        if (!segment.len && !last)
            return "\"path\" has an empty segment: only the last may be empty";
        if (!is_parameter(segment)) {
            if (!made_of(segment, LITERALS))
                return "a segment of \"path\" is neither literal (letters, digits, -._~!$&'()*+,;=:@) nor {name}";
            buf_add(shape, segment.data, segment.len);
            continue;
        }
        struct mp_slice name = parameter_name(segment, last, &rest);
        if (!name.data)
            return "a parameter of \"path\" wants {name} of 1 to 64 letters, digits, _ ({name...} only at the end)";
        if (named_before(path, from, name))
            return "\"path\" has two parameters of one name";
        buf_add(shape, rest ? "{...}" : "{}", rest ? 5 : 2);
    }
    return NULL;
}

/* ---- reading a HELLO ---- */

static bool method_ok(struct mp_slice method)
{
    static const char *const METHODS[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};
    for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; i++)
        if (mp_is(method, METHODS[i]))
            return true;
    return false;
}

struct wish { /* a route as it was asked for */
    struct mp_slice method, path, topic, summary;
    bool bytes;
};

static bool read_text(struct mp map, const char *key, struct mp_slice *text)
{
    struct mp at;
    *text = (struct mp_slice){"", 0};
    return mp_find(map, key, &at) && mp_peek(&at) == MP_STR && mp_str(&at, text);
}

static const char *wish_problem(struct mp map, struct wish *w, struct buf *shape)
{
    struct mp at;
    *w = (struct wish){0};
    if (mp_peek(&map) != MP_MAP)
        return "it is not a map";
    if (!read_text(map, "method", &w->method) || !method_ok(w->method))
        return "\"method\" wants GET, POST, PUT, PATCH, DELETE or HEAD";
    if (!read_text(map, "path", &w->path))
        return "\"path\" is missing, or not a string";
    const char *problem = path_problem(w->path, shape);
    if (problem)
        return problem;
    if (!read_text(map, "topic", &w->topic) || !topic_valid(w->topic.data, w->topic.len) || w->topic.data[0] == '$')
        return "\"topic\" wants a topic without wildcards that does not begin with $";
    if ((!read_text(map, "summary", &w->summary) && mp_find(map, "summary", &at)) || w->summary.len > SUMMARY_BYTES_MAX)
        return "\"summary\" wants a string of at most 200 bytes";
    if (mp_find(map, "bytes", &at) && !mp_bool(&at, &w->bytes))
        return "\"bytes\" wants true or false";
    return NULL;
}

/* "route 3 (GET /a/b): why"; what cannot be shown is left out. */
static int complain(struct ls_error *err, uint32_t number, const struct wish *w, const char *problem)
{
    bool method = made_of(w->method, LITERALS), path = made_of(w->path, LITERALS "/{}%");
    bool shown = method && path && w->method.len && w->method.len <= 10 && w->path.len;
    if (!shown)
        return error_set(err, "BAD_VALUE", "route %u of \"routes\": %s", number, problem);
    return error_set(err, "BAD_VALUE", "route %u of \"routes\" (%.*s %.*s): %s", number, (int) w->method.len,
                     w->method.data, (int) (w->path.len < 80 ? w->path.len : 80), w->path.data, problem);
}

static void add(struct http_routes *routes, const struct wish *w, uint64_t key)
{
    struct http_route *route = &routes->items[routes->count++];
    *route = (struct http_route){.method = xstrndup(w->method.data, w->method.len),
                                 .path = xstrndup(w->path.data, w->path.len),
                                 .topic = xstrndup(w->topic.data, w->topic.len),
                                 .summary = xstrndup(w->summary.data, w->summary.len),
                                 .bytes = w->bytes,
                                 .key = key};
    routes->bytes += sizeof *route + w->method.len + w->path.len + w->topic.len + w->summary.len;
}

static int read_all(struct broker *b, struct mp list, uint32_t count, struct http_routes *routes, struct ls_error *err)
{
    struct buf shape = {0};
    struct map seen = {0};
    int result = 0;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        struct wish w = {0};
        struct mp item = list;
        if (!mp_skip(&list)) {
            result = error_set(err, "BAD_FRAME", "the header is cut off");
            break;
        }
        buf_clear(&shape);
        const char *problem = wish_problem(item, &w, &shape);
        buf_add_byte(&shape, ' '); /* which no path holds */
        buf_add(&shape, w.method.data, w.method.len);
        uint64_t key = problem ? 0 : XXH3_64bits_withSeed(shape.data, shape.len, b->seed);
        if (!problem && map_get(&seen, key))
            problem = "it stands twice (parameters' names do not count)";
        if (problem) {
            result = complain(err, i + 1, &w, problem);
            break;
        }
        map_put(&seen, key, routes);
        add(routes, &w, key);
    }
    buf_fini(&shape);
    map_fini(&seen);
    return result;
}

int http_routes_read(struct broker *b, struct mp header, struct http_routes *routes, struct ls_error *err)
{
    struct mp list;
    uint32_t count;
    *routes = (struct http_routes){0};
    if (!mp_find(header, "routes", &list))
        return 0;
    if (!mp_array(&list, &count) || count > ROUTES_MAX)
        return error_set(err, "BAD_VALUE", "\"routes\" wants a list of at most %d routes", ROUTES_MAX);
    routes->items = xcalloc(count + 1, sizeof *routes->items);
    int result = read_all(b, list, count, routes, err);
    if (result < 0)
        http_routes_free(routes);
    return result;
}

void http_routes_free(struct http_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++) {
        free(routes->items[i].method);
        free(routes->items[i].path);
        free(routes->items[i].topic);
        free(routes->items[i].summary);
    }
    free(routes->items);
    *routes = (struct http_routes){0};
}

/* ---- who holds which ---- */

int http_routes_check(struct broker *b, const struct http_routes *routes, const struct session *s,
                      struct mp_slice client, struct ls_error *err)
{
    for (size_t i = 0; i < routes->count; i++)
        for (const struct http_route *held = map_get(&b->http_routes, routes->items[i].key); held; held = held->older) {
            const struct session *holder = held->session;
            if (holder == s || holder->gone || mp_is(client, holder->client))
                continue;
            return error_set(err, "CONFLICT",
                             "route %s %s is held by client \"%s\", for topic %s: one of the two must go", held->method,
                             held->path, holder->client, held->topic);
        }
    if (!routes->count || b->memory + routes->bytes <= b->config->memory_bytes_max)
        return 0;
    error_set(err, "BUSY", "the broker's memory is full");
    err->retry_ms = 100;
    return -1;
}

void http_routes_declare(struct session *s, struct http_routes *routes)
{
    struct broker *b = s->broker;
    s->http_routes = *routes;
    *routes = (struct http_routes){0};
    b->declared_bytes += s->http_routes.bytes;
    for (size_t i = 0; i < s->http_routes.count; i++) {
        struct http_route *route = &s->http_routes.items[i];
        route->session = s;
        route->older = map_get(&b->http_routes, route->key);
        map_put(&b->http_routes, route->key, route);
    }
    if (s->http_routes.count)
        services_changed(b);
}

static void unlink_route(struct broker *b, struct http_route *route)
{
    struct http_route *at = map_get(&b->http_routes, route->key);
    if (at != route) {
        while (at->older != route)
            at = at->older;
        at->older = route->older;
    } else if (route->older) {
        map_put(&b->http_routes, route->key, route->older);
    } else {
        map_remove(&b->http_routes, route->key);
    }
}

void http_routes_withdraw(struct session *s)
{
    struct broker *b = s->broker;
    if (s->http_routes.count)
        services_changed(b);
    for (size_t i = 0; i < s->http_routes.count; i++)
        unlink_route(b, &s->http_routes.items[i]);
    b->declared_bytes -= s->http_routes.bytes;
    http_routes_free(&s->http_routes);
}

/* ---- ADM routes ---- */

static int by_path(const void *a, const void *b)
{
    const struct http_route *x = *(struct http_route *const *) a, *y = *(struct http_route *const *) b;
    int order = strcmp(x->path, y->path);
    return order ? order : strcmp(x->method, y->method);
}

void report_http_routes(struct broker *b, struct report *r)
{
    struct http_route *route, **routes = xcalloc(b->http_routes.used + 1, sizeof *routes);
    size_t count = 0;
    for (size_t at = 0; (route = map_walk(&b->http_routes, &at, NULL));)
        routes[count++] = route;
    qsort(routes, count, sizeof *routes, by_path);
    struct report_list list = report_begin(r, "routes");
    for (size_t i = 0; i < count; i++) {
        buf_pack_map(r->out, 5 + routes[i]->bytes);
        buf_pair_str(r->out, "method", routes[i]->method);
        buf_pair_str(r->out, "path", routes[i]->path);
        buf_pair_str(r->out, "topic", routes[i]->topic);
        buf_pair_str(r->out, "summary", routes[i]->summary);
        buf_pair_str(r->out, "client", routes[i]->session->client);
        if (routes[i]->bytes)
            buf_pair_bool(r->out, "bytes", true);
        if (!report_keep(&list))
            break;
    }
    report_end(&list);
    free(routes);
}
