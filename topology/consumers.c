/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers: nodes that take events imply one, nodes of a group share one, and each belongs to one stream. */
#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"
#include "topology/tables.h"

struct word {
    const char *text;
    size_t len;
};

static struct word next_word(const char **at)
{
    struct word w = {*at, strcspn(*at, ".")};
    *at += w.len + ((*at)[w.len] == '.');
    return w;
}

static bool is(struct word w, char wildcard)
{
    return w.len == 1 && *w.text == wildcard;
}

/* The pattern of all topics that match both; false if there are none. */
static bool pattern_intersect(const char *a, const char *b, struct buf *both)
{
    buf_clear(both);
    if (!topic_overlap(a, b))
        return false;
    while (*a && *b) {
        const char *rest_a = a, *rest_b = b;
        struct word x = next_word(&a), y = next_word(&b);
        buf_addf(both, "%s", both->len ? "." : "");
        if (is(x, '>') || is(y, '>')) {
            buf_addf(both, "%s", is(x, '>') ? rest_b : rest_a);
            break;
        }
        struct word narrow = is(x, '*') ? y : x;
        buf_add(both, narrow.text, narrow.len);
    }
    buf_text(both);
    return true;
}

/* Some pattern of streams before `s` covers `pattern` alone. */
static bool claimed_before(const struct topology *t, const struct topology_stream *s, const char *pattern)
{
    for (const struct topology_stream *before = t->streams; before < s; before++)
        for (size_t i = 0; i < before->topics.count; i++)
            if (topic_covers(before->topics.items[i], pattern))
                return true;
    return false;
}

bool topology_stream_takes(const struct topology *t, const struct topology_stream *s, const char *pattern)
{
    struct buf both = {0};
    bool takes = false;
    for (size_t i = 0; i < s->topics.count && !takes; i++)
        takes = pattern_intersect(s->topics.items[i], pattern, &both) && !claimed_before(t, s, buf_text(&both));
    buf_fini(&both);
    return takes;
}

static struct topology_consumer *find_consumer(const struct topology *t, const char *name)
{
    for (size_t i = 0; i < t->consumer_count; i++)
        if (!strcmp(t->consumers[i].name, name))
            return &t->consumers[i];
    return NULL;
}

static void list_line(const struct text_list *list, struct buf *out)
{
    for (size_t i = 0; i < list->count; i++)
        buf_addf(out, "%s%s", i ? ", " : "", list->items[i]);
    buf_text(out);
}

static void differs(const struct topology_node *n, const struct topology_consumer *c, const char *key,
                    struct diag_list *diags)
{
    const struct value *other = value_find_key(c->at, key);
    struct diag *d =
        diag_add(diags, DIAG_CONSUMER_DUPLICATE, value_find(n->at, key)->at,
                 "node \"%.64s\" wants another \"%s\" than the consumer \"%.64s\" has", n->name, key, c->name);
    diag_other(d, other ? other->at : c->place, "consumer \"%.64s\" is defined here", c->name);
    diag_hint(d, "leave the option out here, or give the node another group");
}

/* A node that joins an existing consumer may repeat its settings, not change them. */
static void join_consumer(struct topology_node *n, const struct topology_consumer *c, struct diag_list *diags)
{
    struct buf mine = {0}, theirs = {0};
    for (const struct option_def *opt = OPTIONS_DELIVERY; opt->name; opt++) {
        if (!value_find(n->at, opt->name))
            continue;
        buf_clear(&mine);
        buf_clear(&theirs);
        option_text(opt, &n->delivery, &mine);
        option_text(opt, &c->delivery, &theirs);
        if (strcmp(buf_text(&mine), buf_text(&theirs)))
            differs(n, c, opt->name, diags);
    }
    buf_clear(&mine);
    buf_clear(&theirs);
    list_line(&n->takes, &mine);
    list_line(&c->takes, &theirs);
    if (value_find(n->at, "takes") && strcmp(buf_text(&mine), buf_text(&theirs)))
        differs(n, c, "takes", diags);
    else
        n->takes = c->takes;
    n->delivery = c->delivery;
    buf_fini(&mine);
    buf_fini(&theirs);
}

static void report_unused(const struct topology_node *n, struct diag_list *diags)
{
    for (const struct option_def *opt = OPTIONS_DELIVERY; opt->name; opt++) {
        const struct value *key = value_find_key(n->at, opt->name);
        if (!key)
            continue;
        struct diag *d =
            diag_add(diags, DIAG_OPTION_UNUSED, key->at,
                     "node \"%.64s\": \"%s\" has no effect, for the node takes nothing", n->name, opt->name);
        if (n->builtin && !n->builtin->takes)
            diag_hint(d, "the kind %s takes no events", n->builtin->name);
        else
            diag_hint(d, "say which events it consumes: takes: [...]");
    }
}

static void resolve_node(struct topology *t, struct topology_node *n, struct diag_list *diags)
{
    const struct value *group = value_find(n->at, "group");
    if (!n->takes.count && !n->group) {
        if (!value_find(n->at, "takes"))
            report_unused(n, diags);
        return;
    }
    if (!n->group)
        n->group = n->name;
    struct topology_consumer *c = find_consumer(t, n->group);
    if (!c && !n->takes.count) {
        n->group = NULL;
        struct diag *d = diag_add(diags, DIAG_OPTION_UNUSED, group->at,
                                  "node \"%.64s\": \"group\" has no effect, for the node takes nothing and no consumer "
                                  "has this name",
                                  n->name);
        diag_hint(d, "say which events it consumes: takes: [...]");
        return;
    }
    if (c) {
        join_consumer(n, c, diags);
    } else {
        c = &t->consumers[t->consumer_count++];
        *c = (struct topology_consumer){
            .name = n->group, .takes = n->takes, .delivery = n->delivery, .place = n->place, .at = n->at};
    }
    if (!c->node)
        c->node = n;
    n->consumer = c;
}

static const struct topology_stream *find_stream(const struct topology *t, const char *name)
{
    for (size_t i = 0; i < t->stream_count; i++)
        if (!strcmp(t->streams[i].name, name))
            return &t->streams[i];
    return NULL;
}

static void report_stream_unknown(const struct topology *t, const struct topology_consumer *c, struct diag_list *diags)
{
    struct diag *d = diag_add(diags, DIAG_STREAM_UNKNOWN, value_find(c->at, "stream")->at,
                              "consumer \"%.64s\": there is no stream \"%.64s\"", c->name, c->stream_name);
    const char **names = xcalloc(t->stream_count + 1, sizeof *names);
    struct buf all = {0};
    for (size_t i = 0; i < t->stream_count; i++) {
        names[i] = t->streams[i].name;
        buf_addf(&all, "%s%.64s", i ? ", " : "", names[i]);
    }
    const char *near = diag_nearest(c->stream_name, names);
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "there are: %.300s", buf_text(&all));
    buf_fini(&all);
    free(names);
}

/* The consumer names its stream: each of its patterns must be able to match there. */
static void check_named_stream(const struct topology *t, struct topology_consumer *c, struct diag_list *diags)
{
    struct buf topics = {0};
    c->stream = find_stream(t, c->stream_name);
    if (!c->stream) {
        report_stream_unknown(t, c, diags);
        return;
    }
    list_line(&c->stream->topics, &topics);
    for (size_t i = 0; i < c->takes.count; i++) {
        if (topology_stream_takes(t, c->stream, c->takes.items[i]))
            continue;
        struct diag *d = diag_add(diags, DIAG_CONSUMER_NEVER_MATCHES, c->takes.places[i],
                                  "consumer \"%.64s\" takes \"%s\", which never reaches the stream \"%.64s\"", c->name,
                                  c->takes.items[i], c->stream_name);
        if (c->stream->at)
            diag_other(d, c->stream->place, "the stream is defined here");
        diag_hint(d, "the stream keeps: %.300s; a topic goes to the first stream that matches", buf_text(&topics));
    }
    buf_fini(&topics);
}

static void report_no_stream(const struct topology_consumer *c, size_t i, struct diag_list *diags)
{
    const char *pattern = c->takes.items[i];
    struct diag *d;
    if (c->declared) {
        d = diag_add(diags, DIAG_CONSUMER_NO_STREAM, c->takes.places[i],
                     "consumer \"%.64s\" takes \"%s\", which no stream keeps", c->name, pattern);
    } else {
        d = diag_add(diags, DIAG_TAKES_LIVE_ONLY, c->takes.places[i],
                     "node \"%.64s\" takes \"%s\", which no stream keeps: it is only live", c->node->name, pattern);
    }
    diag_hint(d, "add a stream for it: streams: { %s: { topics: [\"%s\"] } }",
              *pattern == '*' || *pattern == '>' ? "events" : "more", pattern);
}

/* The stream follows from the patterns; all of them must lead to the same one. */
static void find_stream_by_takes(const struct topology *t, struct topology_consumer *c, struct diag_list *diags)
{
    size_t first = 0; /* the pattern that decided */
    for (size_t i = 0; i < c->takes.count; i++) {
        bool found = false;
        for (size_t s = 0; s < t->stream_count; s++) {
            if (!topology_stream_takes(t, &t->streams[s], c->takes.items[i]))
                continue;
            found = true;
            if (!c->stream) {
                c->stream = &t->streams[s];
                first = i;
            } else if (c->stream != &t->streams[s]) {
                struct diag *d = diag_add(diags, DIAG_CONSUMER_SPANS_STREAMS, c->takes.places[i],
                                          "consumer \"%.64s\" takes from two streams, \"%.64s\" and \"%.64s\"", c->name,
                                          c->stream->name, t->streams[s].name);
                if (first != i)
                    diag_other(d, c->takes.places[first], "the stream \"%.64s\" follows from this", c->stream->name);
                diag_hint(d,
                          c->declared ? "name one of them (stream: %.64s), or make two consumers"
                                      : "a consumer belongs to one stream (here %.64s): make two nodes, or one stream "
                                        "for all of it",
                          c->stream->name);
                return;
            }
        }
        if (!found)
            report_no_stream(c, i, diags);
    }
}

void consumers_resolve(struct topology *t, struct diag_list *diags)
{
    for (size_t i = 0; i < t->node_count; i++)
        resolve_node(t, &t->nodes[i], diags);
    for (size_t i = 0; i < t->consumer_count; i++) {
        struct topology_consumer *c = &t->consumers[i];
        if (c->stream_name)
            check_named_stream(t, c, diags);
        else
            find_stream_by_takes(t, c, diags);
        if (c->stream)
            c->stream_name = c->stream->name;
    }
}
