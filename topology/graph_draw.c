/* SPDX-License-Identifier: Apache-2.0 */
/* The graph for drawing programs: Graphviz dot, and Mermaid. */
#include <string.h>

#include "topology/flow.h"

static void escape(const char *text, struct buf *out)
{
    for (; *text; text++)
        buf_addf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

/* A consumer that is just a node's inbox is drawn as the node. */
static void consumer_id(const struct topology *t, size_t consumer, struct buf *out)
{
    const struct topology_consumer *c = &t->consumers[consumer];
    if (consumer_is_node(t, c))
        buf_addf(out, "n%zu", (size_t) (c->node - t->nodes));
    else
        buf_addf(out, "c%zu", consumer);
}

/* Writes the ids of both ends of a drawn arrow; false for an arrow that is not drawn. */
static bool flow_ends(const struct topology *t, const struct flow *flow, struct buf *from, struct buf *to)
{
    buf_clear(from);
    buf_clear(to);
    switch (flow->kind) {
    case FLOW_GIVES:
        buf_addf(from, "n%zu", flow->from);
        buf_addf(to, "s%zu", flow->to);
        break;
    case FLOW_LIVE:
        buf_addf(from, "n%zu", flow->from);
        buf_addf(to, "live");
        break;
    case FLOW_TAKES:
        buf_addf(from, "s%zu", flow->from);
        consumer_id(t, flow->to, to);
        break;
    case FLOW_DELIVERS:
        if (consumer_is_node(t, &t->consumers[flow->from]))
            return false;
        buf_addf(from, "c%zu", flow->from);
        buf_addf(to, "n%zu", flow->to);
        break;
    case FLOW_SERVES:
        buf_addf(from, "clients");
        buf_addf(to, "n%zu", flow->to);
        break;
    case FLOW_ASKS:
        buf_addf(from, "n%zu", flow->from);
        buf_addf(to, "n%zu", flow->to);
        break;
    case FLOW_UNSERVED:
        buf_addf(from, "n%zu", flow->from);
        buf_addf(to, "nobody");
        break;
    }
    return true;
}

static bool has_flow(const struct flow_list *flows, enum flow_kind kind)
{
    for (size_t i = 0; i < flows->count; i++)
        if (flows->items[i].kind == kind)
            return true;
    return false;
}

/* Requests, and events that nothing keeps. */
static bool is_dashed(const struct flow *flow)
{
    return flow_is_request(flow) || flow->kind == FLOW_LIVE;
}

static void replicas_text(const struct topology_node *n, struct buf *out)
{
    if (n->replicas > 1)
        buf_addf(out, " ×%lld", (long long) n->replicas);
}

/* $sys is drawn only where something flows through it. */
static bool is_drawn(const struct flow_list *flows, const struct topology_stream *s, size_t index)
{
    for (size_t i = 0; i < flows->count; i++)
        if ((flows->items[i].kind == FLOW_TAKES && flows->items[i].from == index) ||
            (flows->items[i].kind == FLOW_GIVES && flows->items[i].to == index))
            return true;
    return !s->builtin;
}

void graph_dot(const struct topology *t, const struct flow_list *flows, struct buf *out)
{
    struct buf from = {0}, to = {0};
    buf_addf(out, "digraph \"");
    escape(t->name, out);
    buf_addf(
        out,
        "\" {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n");
    for (size_t i = 0; i < t->stream_count; i++)
        if (is_drawn(flows, &t->streams[i], i)) {
            buf_addf(out, "  s%zu [shape=cylinder, label=\"", i);
            escape(t->streams[i].name, out);
            buf_addf(out, "\"];\n");
        }
    for (size_t i = 0; i < t->node_count; i++) {
        buf_addf(out, "  n%zu [shape=box, style=rounded, label=\"", i);
        escape(t->nodes[i].name, out);
        replicas_text(&t->nodes[i], out);
        buf_addf(out, "\"];\n");
    }
    for (size_t i = 0; i < t->consumer_count; i++) {
        if (consumer_is_node(t, &t->consumers[i]))
            continue;
        buf_addf(out, "  c%zu [shape=%s, label=\"", i, t->consumers[i].node ? "ellipse" : "box, style=dashed");
        escape(t->consumers[i].name, out);
        buf_addf(out, "\"];\n");
    }
    if (has_flow(flows, FLOW_LIVE))
        buf_addf(out, "  live [shape=plaintext, label=\"live only\"];\n");
    if (has_flow(flows, FLOW_SERVES))
        buf_addf(out, "  clients [shape=plaintext];\n");
    if (has_flow(flows, FLOW_UNSERVED))
        buf_addf(out, "  nobody [shape=plaintext, label=\"no node\"];\n");
    for (size_t i = 0; i < flows->count; i++) {
        const struct flow *flow = &flows->items[i];
        if (!flow_ends(t, flow, &from, &to))
            continue;
        buf_addf(out, "  %s -> %s [label=\"", buf_text(&from), buf_text(&to));
        for (size_t p = 0; flow->kind != FLOW_DELIVERS && p < flow->topic_count; p++) {
            buf_addf(out, "%s", p ? "\\n" : "");
            escape(flow->topics[p], out);
        }
        buf_addf(out, "\"%s];\n", is_dashed(flow) ? ", style=dashed" : "");
    }
    buf_addf(out, "}\n");
    buf_fini(&from);
    buf_fini(&to);
}

void graph_mermaid(const struct topology *t, const struct flow_list *flows, struct buf *out)
{
    struct buf from = {0}, to = {0}, topics = {0};
    buf_addf(out, "flowchart LR\n");
    for (size_t i = 0; i < t->stream_count; i++)
        if (is_drawn(flows, &t->streams[i], i))
            buf_addf(out, "  s%zu[(\"%s\")]\n", i, t->streams[i].name);
    for (size_t i = 0; i < t->node_count; i++) {
        buf_addf(out, "  n%zu(\"%s", i, t->nodes[i].name);
        replicas_text(&t->nodes[i], out);
        buf_addf(out, "\")\n");
    }
    for (size_t i = 0; i < t->consumer_count; i++)
        if (!consumer_is_node(t, &t->consumers[i]))
            buf_addf(out, t->consumers[i].node ? "  c%zu([\"%s\"])\n" : "  c%zu[/\"%s\"/]\n", i, t->consumers[i].name);
    if (has_flow(flows, FLOW_LIVE))
        buf_addf(out, "  live[\"live only\"]\n");
    if (has_flow(flows, FLOW_SERVES))
        buf_addf(out, "  clients[\"clients\"]\n");
    if (has_flow(flows, FLOW_UNSERVED))
        buf_addf(out, "  nobody[\"no node\"]\n");
    for (size_t i = 0; i < flows->count; i++) {
        const struct flow *flow = &flows->items[i];
        if (!flow_ends(t, flow, &from, &to))
            continue;
        buf_clear(&topics);
        flow_topics(flow, &topics);
        buf_addf(out, "  %s %s", buf_text(&from), is_dashed(flow) ? "-.->" : "-->");
        if (flow->kind != FLOW_DELIVERS)
            buf_addf(out, "|\"%s\"|", buf_text(&topics));
        buf_addf(out, " %s\n", buf_text(&to));
    }
    buf_fini(&from);
    buf_fini(&to);
    buf_fini(&topics);
}
