/* SPDX-License-Identifier: Apache-2.0 */
/* The events of a trace as a tree: an event hangs below the one that its causationid names, else below the first one of its
 * span; siblings stand in the order of time. */
#include "cli/tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

#define NO_PARENT SIZE_MAX
#define DEPTH_MAX 64

static bool same(struct ls_slice a, struct ls_slice b)
{
    return a.len && a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Parents come before their children in time, so no circle can arise. */
static size_t find_parent(const struct tail *t, size_t child)
{
    const struct ls_event *event = &t->tree[child].event;
    for (size_t i = child; i-- > 0;)
        if (same(event->causationid, t->tree[i].event.id))
            return i;
    for (size_t i = 0; i < child; i++)
        if (same(event_span_id(event), event_span_id(&t->tree[i].event)))
            return i;
    return NO_PARENT;
}

static int by_time(const void *a, const void *b)
{
    const struct ls_event *x = &((const struct event_copy *) a)->event, *y = &((const struct event_copy *) b)->event;
    int64_t x_us = event_time_us(x), y_us = event_time_us(y);
    if (x_us != y_us)
        return x_us < y_us ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

struct tree {
    const struct tail *tail;
    const size_t *parents;
    struct buf prefix;
};

static void put_node(struct tree *tree, size_t index, bool last, int depth);

static void put_children(struct tree *tree, size_t parent, int depth)
{
    size_t last = NO_PARENT;
    for (size_t i = 0; i < tree->tail->tree_count; i++)
        if (tree->parents[i] == parent)
            last = i;
    for (size_t i = 0; i < tree->tail->tree_count && depth < DEPTH_MAX; i++)
        if (tree->parents[i] == parent)
            put_node(tree, i, i == last, depth);
}

static void put_event(const struct tree *tree, size_t index, struct buf *line)
{
    const struct view *view = &tree->tail->view;
    const struct ls_event *event = &tree->tail->tree[index].event;
    size_t parent = tree->parents[index];
    char text[RENDER_SHORT_SIZE];
    render_colour(line, view->colours, COLOUR_BOLD);
    render_harmless(line, event->topic.data, event->topic.len);
    render_colour(line, view->colours, COLOUR_NONE);
    buf_add_byte(line, ' ');
    if (parent == NO_PARENT)
        event_clock(event_time_us(event), line);
    else
        buf_addf(line, "+%s", render_duration(event_time_us(event) - event_time_us(&tree->tail->tree[parent].event), text));
    buf_add_byte(line, ' ');
    render_harmless(line, event->source.data, event->source.len);
    buf_add_byte(line, ' ');
    render_harmless(line, event->stream.data, event->stream.len);
    buf_addf(line, ":%llu", (unsigned long long) event->seq);
    if (event->subject.len) {
        buf_addf(line, " ");
        render_harmless(line, event->subject.data, event->subject.len);
    }
    if (view->body != VIEW_BODY_NONE) {
        buf_add_byte(line, ' ');
        render_body(line, event->body.data, event->body.len, view->body == VIEW_BODY_FULL ? SIZE_MAX : 400);
    }
}

static void put_node(struct tree *tree, size_t index, bool last, int depth)
{
    struct buf line = {0};
    size_t prefix = tree->prefix.len;
    buf_add(&line, tree->prefix.data, tree->prefix.len);
    if (depth > 0)
        buf_addf(&line, "%s", last ? "└─ " : "├─ ");
    put_event(tree, index, &line);
    if (!tree->tail->view.colours && tree->tail->view.body == VIEW_BODY_SHORT)
        render_cut(&line, tree->tail->view.width);
    puts(buf_text(&line));
    buf_fini(&line);
    if (depth > 0)
        buf_addf(&tree->prefix, "%s", last ? "   " : "│  ");
    put_children(tree, index, depth + 1);
    tree->prefix.len = prefix;
}

void tail_tree(struct tail *t)
{
    char span[RENDER_SHORT_SIZE];
    if (t->tree_count == 0) {
        fprintf(stderr, "no event of trace %s is stored\n", t->trace);
        return;
    }
    qsort(t->tree, t->tree_count, sizeof *t->tree, by_time);
    size_t *parents = xcalloc(t->tree_count, sizeof *parents);
    for (size_t i = 0; i < t->tree_count; i++)
        parents[i] = find_parent(t, i);
    struct tree tree = {.tail = t, .parents = parents};
    put_children(&tree, NO_PARENT, 0);
    int64_t took = event_time_us(&t->tree[t->tree_count - 1].event) - event_time_us(&t->tree[0].event);
    printf("%zu event%s, %s from the first to the last\n", t->tree_count, t->tree_count == 1 ? "" : "s", render_duration(took, span));
    buf_fini(&tree.prefix);
    free(parents);
}
