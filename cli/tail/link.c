/* SPDX-License-Identifier: Apache-2.0 */
/* What hangs below what in a tree. The first rule that names an earlier event gives the parent:
 *
 *   task.*                below the first event of that task, and that below the workflow's run
 *   workflow.run.*        below the first event of that run; that one, as all others, by what follows
 *   run.* artifact.* model.*  below the first event of the tracker's run that is their subject, unless they have another cause
 *   wandb.*               below the first event of what was exported
 *   causationid           below that event; if it is the id of a try, below the start of that try
 *   chat.*                below the request that they are about
 *   traceparent           below the first event of that span */
#include <stdlib.h>
#include <string.h>

#include "cli/tail/tail.h"
#include "lib/xmem.h"

#define DEPTH_MAX 64
#define TOPIC_COLUMNS_MAX 50
#define FOLD_COLUMNS 5 /* " ×999" */

/* ---- ids ---- */

static size_t find(const struct map *map, struct ls_slice id)
{
    uintptr_t found = id.len ? (uintptr_t) map_get(map, tail_hash(id)) : 0;
    return found ? found - 1 : TRACE_NO_PARENT;
}

/* The first node of that id stays. */
static void add(struct map *map, struct ls_slice id, size_t node)
{
    if (id.len && !map_get(map, tail_hash(id)))
        map_put(map, tail_hash(id), (void *) (uintptr_t) (node + 1));
}

/* "TRACE-SPAN": a span is one within its trace. */
static struct ls_slice span_of(const struct ls_event *event)
{
    return event_trace_id(event).len ? ls_bytes(event->traceparent.data + 3, 49) : ls_bytes("", 0);
}

bool tail_has_prefix(struct ls_slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len > len && memcmp(text.data, prefix, len) == 0;
}

static bool is_work(const struct ls_event *event)
{
    return tail_has_prefix(event->topic, "workflow.run.") || tail_has_prefix(event->topic, "task.");
}

char *tail_thing(const struct ls_event *event)
{
    static const char *const OF_RUNS[] = {"run.", "artifact.", "model."};
    struct ls_slice subject = event->subject;
    if (!subject.len)
        return NULL;
    if (is_work(event))
        return xasprintf("workflow/%.*s", (int) subject.len, subject.data);
    for (size_t i = 0; i < sizeof OF_RUNS / sizeof *OF_RUNS; i++)
        if (tail_has_prefix(event->topic, OF_RUNS[i]))
            return xasprintf("run/%.*s", (int) subject.len, subject.data);
    if (!tail_has_prefix(event->topic, "wandb."))
        return NULL;
    bool whole = memchr(subject.data, '/', subject.len) != NULL; /* a subject without a kind is a run's */
    return xasprintf("%s%.*s", whole ? "" : "run/", (int) subject.len, subject.data);
}

/* ---- the parent ---- */

static size_t by_cause(const struct trace *trace, const struct ls_event *event)
{
    size_t cause = find(&trace->events, event->causationid);
    return cause != TRACE_NO_PARENT ? cause : find(&trace->tries, event->causationid);
}

/* "workflow/W/R/T" -> the first event of "workflow/W/R". */
static size_t above(const struct trace *trace, const char *thing)
{
    const char *slash = strrchr(thing, '/');
    return find(&trace->things, ls_bytes(thing, (size_t) (slash - thing)));
}

static size_t by_thing(const struct trace *trace, const struct ls_event *event, const char *thing)
{
    size_t first = thing ? find(&trace->things, ls_str(thing)) : TRACE_NO_PARENT;
    if (first == TRACE_NO_PARENT)
        return thing && tail_has_prefix(event->topic, "task.") ? above(trace, thing) : TRACE_NO_PARENT;
    if (is_work(event) || tail_has_prefix(event->topic, "wandb."))
        return first;
    size_t cause = by_cause(trace, event);
    return cause == TRACE_NO_PARENT || cause == trace->nodes[first].parent ? first : TRACE_NO_PARENT;
}

static size_t parent_of(const struct trace *trace, const struct trace_node *node, const char *thing)
{
    const struct ls_event *event = &node->copy.event;
    size_t parent = by_thing(trace, event, thing);
    if (parent == TRACE_NO_PARENT)
        parent = by_cause(trace, event);
    if (parent == TRACE_NO_PARENT)
        parent = find(&trace->requests, ls_str(node->request));
    if (parent == TRACE_NO_PARENT)
        parent = find(&trace->spans, span_of(event));
    if (parent != TRACE_NO_PARENT && trace->nodes[parent].depth >= DEPTH_MAX)
        parent = trace->nodes[parent].parent;
    return parent;
}

/* ---- placing ---- */

/* A chat may have many turns, each a trace of its own: a group is a trace, named by its first node. What has no trace of its own
 * belongs to its parent's. */
static void place_node(struct trace *trace, size_t i)
{
    struct trace_node *node = &trace->nodes[i];
    struct ls_slice id = event_trace_id(&node->copy.event);
    id = id.len ? id : ls_str("none");
    if (node->parent != TRACE_NO_PARENT) {
        node->depth = trace->nodes[node->parent].depth + 1;
        node->group = trace->nodes[node->parent].group;
        trace->nodes[node->parent].children++;
        return;
    }
    add(&trace->groups, id, i);
    node->group = find(&trace->groups, id);
}

/* A service that a task asks names the try as the cause of what it does. */
static void add_try(struct trace *trace, size_t i)
{
    json_t *body = event_body_json(&trace->nodes[i].copy.event);
    const char *try = json_string_value(json_object_get(body, "try"));
    add(&trace->tries, ls_str(try), i);
    json_decref(body);
}

static void add_ids(struct trace *trace, size_t i, const char *thing)
{
    const struct trace_node *node = &trace->nodes[i];
    const struct ls_event *event = &node->copy.event;
    add(&trace->events, event->id, i);
    add(&trace->spans, span_of(event), i);
    if (ls_slice_is(event->topic, "chat.request"))
        add(&trace->requests, ls_str(node->request), i);
    if (thing && (is_work(event) || tail_has_prefix(event->topic, "run.")))
        add(&trace->things, ls_str(thing), i);
    if (ls_slice_is(event->topic, "task.started"))
        add_try(trace, i);
}

static void widen(struct trace *trace, const struct trace_node *node)
{
    const struct ls_event *event = &node->copy.event;
    size_t columns = event->topic.len + 3 * node->depth + (story_folds(event, event) ? FOLD_COLUMNS : 0);
    int topic = columns < TOPIC_COLUMNS_MAX ? (int) columns : TOPIC_COLUMNS_MAX;
    int source = event->source.len < SOURCE_COLUMNS_MAX ? (int) event->source.len : SOURCE_COLUMNS_MAX;
    trace->topic_columns = topic > trace->topic_columns ? topic : trace->topic_columns;
    trace->source_columns = source > trace->source_columns ? source : trace->source_columns;
}

/* Only what came before can be a parent, so no circle can arise. */
void tail_link(struct trace *trace, size_t i)
{
    struct trace_node *node = &trace->nodes[i];
    char *thing = tail_thing(&node->copy.event);
    node->request = tail_request_id(&node->copy.event);
    node->parent = parent_of(trace, node, thing);
    place_node(trace, i);
    add_ids(trace, i, thing);
    widen(trace, node);
    free(thing);
}
