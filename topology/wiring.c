/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the wiring: streams that hide each other, services and routes that clash, flows that lead nowhere or in a
 * circle. */
#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"
#include "topology/tables.h"

/* The stream, and which of its patterns, that claims all of `pattern` before stream `s` sees it. */
static const struct topology_stream *claimant(const struct topology *t, const struct topology_stream *s,
                                              const char *pattern, struct place *place)
{
    for (const struct topology_stream *before = t->streams; before < s; before++)
        for (size_t i = 0; i < before->topics.count; i++)
            if (topic_covers(before->topics.items[i], pattern)) {
                *place = before->topics.places[i];
                return before;
            }
    return NULL;
}

static void check_shadowed(const struct topology *t, const struct topology_stream *s, struct diag_list *diags)
{
    size_t hidden = 0;
    struct place place = {0};
    for (size_t i = 0; i < s->topics.count; i++)
        hidden += claimant(t, s, s->topics.items[i], &place) != NULL;
    if (hidden && hidden == s->topics.count) {
        struct diag *d = diag_add(diags, DIAG_STREAM_SHADOWED, s->place,
                                  "stream \"%.64s\" never gets an event: earlier streams take all its topics", s->name);
        diag_other(d, place, "they are taken here");
        diag_hint(d, "a topic goes to the first stream that matches: put the stream before, or take it out");
        return;
    }
    for (size_t i = 0; i < s->topics.count; i++) {
        const struct topology_stream *before = claimant(t, s, s->topics.items[i], &place);
        if (!before)
            continue;
        struct diag *d = diag_add(diags, DIAG_PATTERN_SHADOWED, s->topics.places[i],
                                  "stream \"%.64s\" never gets \"%s\": the earlier stream \"%.64s\" takes it", s->name,
                                  s->topics.items[i], before->name);
        diag_other(d, place, "it is taken here");
    }
}

/* Topics with $ are the broker's: nothing else publishes or keeps them. */
static void check_reserved(const struct text_list *list, const char *what, const char *name, struct diag_list *diags)
{
    for (size_t i = 0; i < list->count; i++)
        if (*list->items[i] == '$')
            diag_add(diags, DIAG_NAME_RESERVED, list->places[i],
                     "%s \"%.64s\" cannot have \"%s\": topics that begin with $ belong to the broker", what, name,
                     list->items[i]);
}

/* Both nodes are the same program, told the same. */
static bool same_program(const struct topology_node *a, const struct topology_node *b)
{
    if (a->kind != b->kind || (a->builtin && strcmp(a->options, b->options)))
        return false;
    if (a->command.count != b->command.count)
        return false;
    for (size_t i = 0; i < a->command.count; i++)
        if (strcmp(a->command.items[i], b->command.items[i]))
            return false;
    return true;
}

/* Two programs that answer the same requests are rarely meant; the same program twice is. */
static void check_serves(const struct topology_node *a, const struct topology_node *b, struct diag_list *diags)
{
    for (size_t i = 0; i < b->serves.count; i++)
        for (size_t j = 0; j < a->serves.count; j++) {
            if (same_program(a, b) || !topic_overlap(a->serves.items[j], b->serves.items[i]))
                continue;
            struct diag *d = diag_add(diags, DIAG_SERVES_OVERLAP, b->serves.places[i],
                                      "node \"%.64s\" answers the same requests as node \"%.64s\"", b->name, a->name);
            diag_other(d, a->serves.places[j], "node \"%.64s\" serves them here", a->name);
            if (a->builtin || b->builtin)
                diag_hint(d, "each request goes to whichever is free; so that callers can choose, let one serve another "
                             "topic: serves: [%s.other]",
                          strpbrk(a->serves.items[j], "*>") ? "topic" : a->serves.items[j]);
            else
                diag_hint(d, "each request goes to whichever is free");
            return;
        }
}

/* The first pattern that a gives and b takes; b->takes.count if there is none. */
static size_t flow_between(const struct topology_node *a, const struct topology_node *b)
{
    for (size_t i = 0; i < b->takes.count; i++)
        for (size_t j = 0; j < a->gives.count; j++)
            if (topic_overlap(a->gives.items[j], b->takes.items[i]))
                return i;
    return b->takes.count;
}

/* Nobody wrote what it takes and gives: it is as the kind has it, and so are its circles. */
static bool is_wired_by_kind(const struct topology_node *n)
{
    return n->builtin && !value_find(n->at, "takes") && !value_find(n->at, "gives");
}

static void check_circle(const struct topology_node *a, const struct topology_node *b, struct diag_list *diags)
{
    size_t there = flow_between(a, b), back = flow_between(b, a);
    if (there == b->takes.count || back == a->takes.count)
        return;
    enum diag_code code = is_wired_by_kind(a) && is_wired_by_kind(b) ? DIAG_TWO_WAY_KIND : DIAG_TWO_WAY_FLOW;
    if (a == b) {
        diag_add(diags, code, a->takes.places[back], "node \"%.64s\" takes \"%s\", which it gives itself",
                 a->name, a->takes.items[back]);
        return;
    }
    struct diag *d = diag_add(diags, code, b->takes.places[there],
                              "events flow both ways between node \"%.64s\" and node \"%.64s\"", a->name, b->name);
    diag_other(d, a->takes.places[back], "and back here");
}

/* ---- requests and routes ---- */

static bool is_served(const struct topology *t, const char *topic)
{
    for (size_t i = 0; i < t->node_count; i++)
        for (size_t j = 0; j < t->nodes[i].serves.count; j++)
            if (topic_overlap(t->nodes[i].serves.items[j], topic))
                return true;
    return false;
}

/* Every topic that some node serves, for diag_nearest; the caller frees the list. */
static const char **served_topics(const struct topology *t)
{
    size_t count = 0;
    for (size_t i = 0; i < t->node_count; i++)
        count += t->nodes[i].serves.count;
    const char **topics = xcalloc(count + 1, sizeof *topics);
    count = 0;
    for (size_t i = 0; i < t->node_count; i++)
        for (size_t j = 0; j < t->nodes[i].serves.count; j++)
            topics[count++] = t->nodes[i].serves.items[j];
    return topics;
}

static void check_asks(const struct topology *t, const struct topology_node *n, struct diag_list *diags)
{
    for (size_t i = 0; i < n->asks.count; i++) {
        if (is_served(t, n->asks.items[i]))
            continue;
        const char **served = served_topics(t);
        const char *near = diag_nearest(n->asks.items[i], served);
        struct diag *d = diag_add(diags, DIAG_REQUEST_UNSERVED, n->asks.places[i],
                                  "node \"%.64s\" sends the request \"%s\", which no node serves", n->name,
                                  n->asks.items[i]);
        if (near)
            diag_hint(d, "did you mean \"%s\"?", near);
        else
            diag_hint(d, "add a node that serves it; where a program from outside does, `asks: []` ends this warning");
        free(served);
    }
}

/* Paths are the same when they differ in the names of parameters only. */
static bool same_path(const char *a, const char *b)
{
    while (*a && *b) {
        bool parameter = *a == '{' && *b == '{';
        size_t a_len = parameter ? strcspn(a, "}") : 1, b_len = parameter ? strcspn(b, "}") : 1;
        bool a_rest = parameter && a_len > 3 && !strncmp(a + a_len - 3, "...", 3);
        bool b_rest = parameter && b_len > 3 && !strncmp(b + b_len - 3, "...", 3);
        if (parameter ? a_rest != b_rest : *a != *b)
            return false;
        a += a_len;
        b += b_len;
    }
    return !*a && !*b;
}

static void check_routes(const struct topology_node *a, const struct topology_node *b, struct diag_list *diags)
{
    const struct kind_route *none = &(struct kind_route){0};
    const struct kind_route *first = a->builtin && a->builtin->routes ? a->builtin->routes : none;
    const struct kind_route *second = b->builtin && b->builtin->routes ? b->builtin->routes : none;
    for (const struct kind_route *r = second; r->method; r++)
        for (const struct kind_route *s = first; s->method; s++) {
            if (strcmp(r->method, s->method) || !same_path(r->path, s->path))
                continue;
            struct diag *d = diag_add(diags, DIAG_ROUTE_CONFLICT, b->place,
                                      "node \"%.64s\" answers %s %s over HTTP, and so does node \"%.64s\"", b->name,
                                      r->method, r->path, a->name);
            diag_other(d, a->place, "node \"%.64s\" is here", a->name);
            diag_hint(d, a->builtin == b->builtin ? "keep one of them; `replicas` makes more processes of one node"
                                                  : "keep one of them: a route has one owner");
            return;
        }
}

/* ---- events that are given ---- */

static bool taken_by_stream(const struct topology *t, const char *pattern)
{
    for (size_t s = 0; s < t->stream_count; s++)
        if (topology_stream_takes(t, &t->streams[s], pattern))
            return true;
    return false;
}

static void check_gives(const struct topology *t, const struct topology_node *n, struct diag_list *diags)
{
    for (size_t i = 0; i < n->gives.count; i++) {
        if (*n->gives.items[i] == '$' || taken_by_stream(t, n->gives.items[i]))
            continue;
        diag_add(diags, DIAG_GIVES_UNROUTED, n->gives.places[i],
                 "node \"%.64s\" gives \"%s\", which no stream keeps: only those who watch get it", n->name,
                 n->gives.items[i]);
    }
}

void wiring_check(const struct topology *t, struct diag_list *diags)
{
    for (size_t i = 0; i < t->stream_count; i++) {
        check_shadowed(t, &t->streams[i], diags);
        if (!t->streams[i].builtin)
            check_reserved(&t->streams[i].topics, "stream", t->streams[i].name, diags);
    }
    for (size_t i = 0; i < t->node_count; i++) {
        const struct topology_node *n = &t->nodes[i];
        check_reserved(&n->gives, "node", n->name, diags);
        check_reserved(&n->serves, "node", n->name, diags);
        check_reserved(&n->asks, "node", n->name, diags);
        check_gives(t, n, diags);
        for (size_t j = 0; j <= i; j++)
            check_circle(&t->nodes[j], n, diags);
        for (size_t j = 0; j < i; j++) {
            check_serves(&t->nodes[j], n, diags);
            check_routes(&t->nodes[j], n, diags);
        }
        check_asks(t, n, diags);
    }
}
