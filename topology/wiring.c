/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the wiring: streams that hide each other, services that clash, flows that lead nowhere or in a circle. */
#include <string.h>

#include "lib/topic.h"
#include "topology/option.h"

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

static bool same_command(const struct topology_node *a, const struct topology_node *b)
{
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
            if (same_command(a, b) || !topic_overlap(a->serves.items[j], b->serves.items[i]))
                continue;
            struct diag *d = diag_add(diags, DIAG_SERVES_OVERLAP, b->serves.places[i],
                                      "node \"%.64s\" answers the same requests as node \"%.64s\"", b->name, a->name);
            diag_other(d, a->serves.places[j], "node \"%.64s\" serves them here", a->name);
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

static void check_circle(const struct topology_node *a, const struct topology_node *b, struct diag_list *diags)
{
    size_t there = flow_between(a, b), back = flow_between(b, a);
    if (there == b->takes.count || back == a->takes.count)
        return;
    if (a == b) {
        diag_add(diags, DIAG_TWO_WAY_FLOW, a->takes.places[back], "node \"%.64s\" takes \"%s\", which it gives itself",
                 a->name, a->takes.items[back]);
        return;
    }
    struct diag *d = diag_add(diags, DIAG_TWO_WAY_FLOW, b->takes.places[there],
                              "events flow both ways between node \"%.64s\" and node \"%.64s\"", a->name, b->name);
    diag_other(d, a->takes.places[back], "and back here");
}

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
        check_gives(t, n, diags);
        for (size_t j = 0; j <= i; j++)
            check_circle(&t->nodes[j], n, diags);
        for (size_t j = 0; j < i; j++)
            check_serves(&t->nodes[j], n, diags);
    }
}
