/* SPDX-License-Identifier: Apache-2.0 */
/* A trace as a tree (tail_link.c says what hangs below what), as text and as JSON; siblings stand in the order of time. Rows of the
 * same kind, as a run's values are, stand in one line unless bodies are shown. */
#include "cli/tail/tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/xmem.h"

#define STORY_COLUMNS_MIN 10
#define TIME_COLUMNS 9

static const struct ls_event *event_at(const struct trace *trace, size_t i)
{
    return &trace->nodes[i].copy.event;
}

static bool is_root(const struct trace *trace, size_t i)
{
    return trace->nodes[i].parent == TRACE_NO_PARENT;
}

static int by_time(const void *a, const void *b)
{
    const struct ls_event *x = &((const struct trace_node *) a)->copy.event, *y = &((const struct trace_node *) b)->copy.event;
    int64_t x_us = event_time_us(x), y_us = event_time_us(y);
    if (x_us != y_us)
        return x_us < y_us ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* ---- as text ---- */

struct tree {
    struct tail *tail;
    struct trace *trace;
    size_t group;
    struct buf prefix;
};

static void put_time(struct buf *out, const char *sign, int64_t us)
{
    char text[RENDER_SHORT_SIZE], whole[RENDER_SHORT_SIZE + 2];
    snprintf(whole, sizeof whole, "%s%s", sign, us > 0 ? render_duration(us, text) : "0 ms");
    buf_addf(out, "%*s", TIME_COLUMNS, whole);
}

static enum colour topic_colour(struct ls_slice topic)
{
    bool failed = topic.len > 7 && memcmp(topic.data + topic.len - 7, ".failed", 7) == 0;
    return failed ? COLOUR_RED : COLOUR_BOLD;
}

/* Moves the cell to the line, in its colour, padded to `columns`. */
static void put_cell(const struct tree *tree, enum colour colour, struct buf *cell, int columns)
{
    struct buf *out = &tree->tail->out;
    int used = (int) render_columns((const char *) cell->data, cell->len);
    render_colour(out, tree->tail->view.colours, colour);
    buf_add(out, cell->data, cell->len);
    render_colour(out, tree->tail->view.colours, COLOUR_NONE);
    buf_addf(out, "%*s", used < columns ? columns - used : 0, "");
    buf_clear(cell);
}

/* What stands in one line: a node, or several that are told together. */
struct row {
    const size_t *nodes;
    size_t count;
};

/* The cell with what the events say, as wide as the line has room. */
static void put_story(const struct tree *tree, const struct row *row, struct buf *cell)
{
    const struct view *view = &tree->tail->view;
    size_t used = 2 * TIME_COLUMNS + 6 + (size_t) tree->trace->topic_columns + (size_t) tree->trace->source_columns;
    if (view->body == VIEW_BODY_NONE)
        return;
    buf_addf(&tree->tail->out, "  ");
    if (row->count == 1) {
        story_put(event_at(tree->trace, row->nodes[0]), cell);
    } else {
        const struct ls_event **events = xcalloc(row->count, sizeof *events);
        for (size_t i = 0; i < row->count; i++)
            events[i] = event_at(tree->trace, row->nodes[i]);
        story_put_fold(events, row->count, cell);
        free(events);
    }
    if (view->width)
        render_cut(cell, view->width > used + STORY_COLUMNS_MIN ? view->width - used : STORY_COLUMNS_MIN);
    buf_add(&tree->tail->out, cell->data, cell->len);
}

/* "   92 ms   +92 ms  └─ chat.completed  chat  what it says", with its end. `branch`: what stands before the topic. */
static void put_line(const struct tree *tree, const struct row *row, const struct buf *branch)
{
    size_t i = row->nodes[0];
    const struct trace_node *node = &tree->trace->nodes[i];
    const struct ls_event *event = &node->copy.event;
    struct buf *out = &tree->tail->out, cell = {0};
    int64_t at = event_time_us(event);
    put_time(&cell, "", at - event_time_us(event_at(tree->trace, tree->group)));
    if (is_root(tree->trace, i))
        buf_addf(&cell, "%*s", TIME_COLUMNS, "");
    else
        put_time(&cell, "+", at - event_time_us(event_at(tree->trace, node->parent)));
    buf_addf(&cell, "  ");
    buf_add(&cell, branch->data, branch->len);
    put_cell(tree, COLOUR_DIM, &cell, 0);
    render_harmless(&cell, event->topic.data, event->topic.len);
    if (row->count > 1)
        buf_addf(&cell, " ×%zu", row->count);
    put_cell(tree, topic_colour(event->topic), &cell, tree->trace->topic_columns - (int) (3 * node->depth));
    buf_addf(out, "  ");
    render_harmless(&cell, event->source.data, event->source.len);
    render_cut(&cell, SOURCE_COLUMNS_MAX);
    put_cell(tree, COLOUR_GREEN, &cell, tree->trace->source_columns);
    put_story(tree, row, &cell);
    while (out->data[out->len - 1] == ' ')
        out->len--;
    buf_add_byte(out, '\n');
    if (tree->tail->view.body == VIEW_BODY_FULL)
        event_body_lines(event, out);
    buf_fini(&cell);
}

static bool folds_with(const struct tree *tree, size_t a, size_t b)
{
    const struct trace_node *nodes = tree->trace->nodes;
    return !nodes[a].children && !nodes[b].children && story_folds(&nodes[a].copy.event, &nodes[b].copy.event);
}

static void put_row(struct tree *tree, const struct row *row, bool last);

static void put_children(struct tree *tree, size_t i)
{
    const struct trace *trace = tree->trace;
    if (!trace->nodes[i].children)
        return;
    size_t *children = xcalloc(trace->nodes[i].children, sizeof *children), count = 0;
    for (size_t k = i + 1; count < trace->nodes[i].children; k++)
        if (trace->nodes[k].parent == i)
            children[count++] = k;
    for (size_t at = 0, end; at < count; at = end) {
        end = at + 1;
        while (end < count && tree->tail->view.body != VIEW_BODY_FULL && folds_with(tree, children[at], children[end]))
            end++;
        put_row(tree, &(struct row){children + at, end - at}, end == count);
    }
    free(children);
}

static void put_row(struct tree *tree, const struct row *row, bool last)
{
    size_t i = row->nodes[0];
    const struct trace *trace = tree->trace;
    bool root = is_root(trace, i);
    size_t kept = tree->prefix.len;
    if (!root)
        buf_addf(&tree->prefix, "%s", last ? "└─ " : "├─ ");
    put_line(tree, row, &tree->prefix);
    tree->prefix.len = kept;
    if (!root)
        buf_addf(&tree->prefix, "%s", last ? "   " : "│  ");
    put_children(tree, i);
    tree->prefix.len = kept;
}

/* "trace 4bf9...  c-19  10:00:00.001": whose offsets follow, and when it began. */
static void put_title(const struct tree *tree)
{
    const struct ls_event *first = event_at(tree->trace, tree->group);
    struct buf *out = &tree->tail->out;
    struct ls_slice id = event_trace_id(first);
    render_colour(out, tree->tail->view.colours, COLOUR_DIM);
    buf_addf(out, "%s", id.len ? "trace " : "no trace");
    render_harmless(out, id.data, id.len);
    if (first->subject.len)
        buf_addf(out, "  ");
    render_harmless(out, first->subject.data, first->subject.len);
    buf_addf(out, "  ");
    event_clock(event_time_us(first), out);
    render_colour(out, tree->tail->view.colours, COLOUR_NONE);
    buf_add_byte(out, '\n');
}

static void put_summary(struct tail *t)
{
    const struct trace *trace = &t->trace;
    char text[RENDER_SHORT_SIZE];
    int64_t took = event_time_us(event_at(trace, trace->count - 1)) - event_time_us(event_at(trace, 0));
    size_t traces = 0;
    for (size_t i = 0; i < trace->count; i++)
        traces += is_root(trace, i) && trace->nodes[i].group == i;
    buf_addf(&t->out, "%zu event%s", trace->count, trace->count == 1 ? "" : "s");
    if (traces > 1)
        buf_addf(&t->out, " in %zu traces", traces);
    buf_addf(&t->out, ", %s in all\n", took > 0 ? render_duration(took, text) : "0 ms");
    if (trace->count == TRACE_EVENTS_MAX)
        buf_addf(&t->out, "There are more: only the first %d that were found are shown.\n", TRACE_EVENTS_MAX);
}

/* ---- as JSON ---- */

static void put_ms(struct buf *out, const char *key, int64_t us)
{
    buf_addf(out, "\"%s\":%lld.%03d", key, (long long) us / 1000, (int) (us % 1000));
}

static void put_json(const struct tree *tree, size_t i)
{
    const struct trace *trace = tree->trace;
    const struct trace_node *node = &trace->nodes[i];
    struct buf *out = &tree->tail->out, story = {0};
    int64_t at = event_time_us(&node->copy.event), began = event_time_us(event_at(trace, tree->group));
    bool more = false;
    buf_add_byte(out, '{');
    put_ms(out, "offset_ms", at - began);
    buf_addf(out, ",");
    if (is_root(trace, i))
        buf_addf(out, "\"after_parent_ms\":null");
    else
        put_ms(out, "after_parent_ms", at - event_time_us(event_at(trace, node->parent)));
    story_put(&node->copy.event, &story);
    buf_addf(out, ",\"story\":");
    json_put_string(out, story.data, story.len);
    buf_addf(out, ",\"event\":");
    event_json(&node->copy.event, out);
    out->len--; /* its line end */
    buf_addf(out, ",\"children\":[");
    for (size_t k = i + 1; k < trace->count; k++)
        if (trace->nodes[k].parent == i) {
            buf_addf(out, "%s", more ? "," : "");
            put_json(tree, k);
            more = true;
        }
    buf_addf(out, "]}");
    buf_fini(&story);
}

/* ---- the whole ---- */

/* What opens a group in JSON. */
static void put_json_title(const struct tree *tree)
{
    const struct ls_event *first = event_at(tree->trace, tree->group);
    struct ls_slice id = event_trace_id(first);
    char time[CLOCK_TEXT_SIZE];
    clock_format(event_time_us(first), time);
    buf_addf(&tree->tail->out, "%s{\"trace\":", tree->group ? "," : "");
    json_put_string(&tree->tail->out, id.data, id.len);
    buf_addf(&tree->tail->out, ",\"began\":\"%s\",\"tree\":[", time);
}

/* The roots of one group in the order of time. */
static void put_group(struct tree *tree)
{
    struct tail *t = tree->tail;
    if (t->json)
        put_json_title(tree);
    else
        put_title(tree);
    for (size_t i = tree->group; i < tree->trace->count; i++) {
        if (!is_root(tree->trace, i) || tree->trace->nodes[i].group != tree->group)
            continue;
        if (!t->json) {
            put_row(tree, &(struct row){&i, 1}, true);
            continue;
        }
        buf_addf(&t->out, "%s", i == tree->group ? "" : ",");
        put_json(tree, i);
    }
    buf_addf(&t->out, "%s", t->json ? "]}" : "");
}

void tail_tree(struct tail *t)
{
    struct trace *trace = &t->trace;
    qsort(trace->nodes, trace->count, sizeof *trace->nodes, by_time);
    for (size_t i = 0; i < trace->count; i++)
        tail_link(trace, i);
    if (t->json) {
        int64_t took = trace->count ? event_time_us(event_at(trace, trace->count - 1)) - event_time_us(event_at(trace, 0)) : 0;
        buf_addf(&t->out, "{\"asked\":");
        json_put_text(&t->out, trace->asked);
        buf_addf(&t->out, ",\"events\":%zu,", trace->count);
        put_ms(&t->out, "duration_ms", took);
        buf_addf(&t->out, ",\"traces\":[");
    }
    struct tree tree = {.tail = t, .trace = trace};
    for (size_t i = 0; i < trace->count; i++) {
        tree.group = i;
        if (is_root(trace, i) && trace->nodes[i].group == i)
            put_group(&tree);
    }
    buf_fini(&tree.prefix);
    if (t->json)
        buf_addf(&t->out, "]}\n");
    else if (!t->follow)
        put_summary(t);
}

void tail_tree_more(struct tail *t, const struct ls_event *event)
{
    struct trace *trace = &t->trace;
    struct tree tree = {.tail = t, .trace = trace};
    size_t i = trace->count;
    trace->nodes = xgrow(trace->nodes, &trace->room, i + 1, sizeof *trace->nodes);
    trace->nodes[i] = (struct trace_node){0};
    event_copy_init(&trace->nodes[i].copy, event);
    trace->count++;
    tail_link(trace, i);
    tree.group = trace->nodes[i].group;
    if (tree.group == i)
        put_title(&tree);
    for (size_t k = 1; k < trace->nodes[i].depth; k++)
        buf_addf(&tree.prefix, "   ");
    buf_addf(&tree.prefix, "%s", trace->nodes[i].depth ? "└─ " : "");
    put_line(&tree, &(struct row){&i, 1}, &tree.prefix);
    buf_fini(&tree.prefix);
}

void tail_tree_fini(struct trace *trace)
{
    size_t at = 0;
    char *text;
    tail_forget_tree(trace);
    while ((text = map_walk(&trace->known, &at, NULL)))
        free(text);
    map_fini(&trace->known);
    map_fini(&trace->events);
    map_fini(&trace->spans);
    map_fini(&trace->requests);
    map_fini(&trace->groups);
    map_fini(&trace->things);
    map_fini(&trace->tries);
    free(trace->nodes);
    free(trace->asked);
    free(trace->alias);
}
