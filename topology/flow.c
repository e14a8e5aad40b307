/* SPDX-License-Identifier: Apache-2.0 */
/* The wiring as a list of arrows, in file order, and the choice of the format they are written in. */
#include "topology/flow.h"

#include <stdlib.h>
#include <string.h>

#include "lib/topic.h"
#include "lib/xmem.h"

static struct flow *add_flow(struct flow_list *flows, enum flow_kind kind, size_t from, size_t to)
{
    flows->items = xgrow(flows->items, &flows->room, flows->count + 1, sizeof *flows->items);
    flows->items[flows->count] = (struct flow){.kind = kind, .from = from, .to = to};
    return &flows->items[flows->count++];
}

static void add_topic(struct flow *flow, const char *topic)
{
    flow->topics = xrealloc(flow->topics, (flow->topic_count + 1) * sizeof *flow->topics);
    flow->topics[flow->topic_count++] = topic;
}

static void add_topics(struct flow *flow, const struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        add_topic(flow, list->items[i]);
}

static void add_gives(const struct topology *t, size_t node, struct flow_list *flows)
{
    const struct text_list *gives = &t->nodes[node].gives;
    bool *kept = xcalloc(gives->count + 1, sizeof *kept);
    for (size_t s = 0; s < t->stream_count; s++) {
        struct flow *flow = NULL;
        for (size_t i = 0; i < gives->count; i++) {
            if (!topology_stream_takes(t, &t->streams[s], gives->items[i]))
                continue;
            flow = flow ? flow : add_flow(flows, FLOW_GIVES, node, s);
            add_topic(flow, gives->items[i]);
            kept[i] = true;
        }
    }
    struct flow *live = NULL;
    for (size_t i = 0; i < gives->count; i++) {
        if (kept[i])
            continue;
        live = live ? live : add_flow(flows, FLOW_LIVE, node, 0);
        add_topic(live, gives->items[i]);
    }
    free(kept);
}

/* Something of the list may mean the same requests as `topic`. */
static bool has_requests(const struct text_list *list, const char *topic)
{
    for (size_t i = 0; i < list->count; i++)
        if (topic_overlap(list->items[i], topic))
            return true;
    return false;
}

static void add_asks(const struct topology *t, size_t node, struct flow_list *flows)
{
    const struct text_list *asks = &t->nodes[node].asks;
    bool *served = xcalloc(asks->count + 1, sizeof *served);
    for (size_t to = 0; to < t->node_count; to++) {
        struct flow *flow = NULL;
        for (size_t i = 0; i < asks->count; i++) {
            if (!has_requests(&t->nodes[to].serves, asks->items[i]))
                continue;
            flow = flow ? flow : add_flow(flows, FLOW_ASKS, node, to);
            add_topic(flow, asks->items[i]);
            served[i] = true;
        }
    }
    struct flow *nobody = NULL;
    for (size_t i = 0; i < asks->count; i++) {
        if (served[i])
            continue;
        nobody = nobody ? nobody : add_flow(flows, FLOW_UNSERVED, node, 0);
        add_topic(nobody, asks->items[i]);
    }
    free(served);
}

/* What nobody in the file asks for is there for programs outside. */
static void add_serves(const struct topology *t, size_t node, struct flow_list *flows)
{
    struct flow *flow = NULL;
    const struct text_list *serves = &t->nodes[node].serves;
    for (size_t i = 0; i < serves->count; i++) {
        bool asked = false;
        for (size_t n = 0; n < t->node_count && !asked; n++)
            asked = has_requests(&t->nodes[n].asks, serves->items[i]);
        if (asked)
            continue;
        flow = flow ? flow : add_flow(flows, FLOW_SERVES, 0, node);
        add_topic(flow, serves->items[i]);
    }
}

static void flows_of(const struct topology *t, struct flow_list *flows)
{
    for (size_t i = 0; i < t->node_count; i++)
        add_gives(t, i, flows);
    for (size_t i = 0; i < t->consumer_count; i++) {
        const struct topology_consumer *c = &t->consumers[i];
        if (c->stream)
            add_topics(add_flow(flows, FLOW_TAKES, (size_t) (c->stream - t->streams), i), &c->takes);
        for (size_t n = 0; n < t->node_count; n++)
            if (t->nodes[n].consumer == c)
                add_topics(add_flow(flows, FLOW_DELIVERS, i, n), &c->takes);
    }
    for (size_t i = 0; i < t->node_count; i++)
        add_asks(t, i, flows);
    for (size_t i = 0; i < t->node_count; i++)
        add_serves(t, i, flows);
}

static void flow_list_fini(struct flow_list *flows)
{
    for (size_t i = 0; i < flows->count; i++)
        free(flows->items[i].topics);
    free(flows->items);
    *flows = (struct flow_list){0};
}

void flow_topics(const struct flow *flow, struct buf *out)
{
    for (size_t i = 0; i < flow->topic_count; i++)
        buf_addf(out, "%s%s", i ? ", " : "", flow->topics[i]);
}

bool flow_is_request(const struct flow *flow)
{
    return flow->kind == FLOW_SERVES || flow->kind == FLOW_ASKS || flow->kind == FLOW_UNSERVED;
}

bool consumer_is_node(const struct topology *t, const struct topology_consumer *c)
{
    size_t members = 0;
    for (size_t i = 0; i < t->node_count; i++)
        members += t->nodes[i].consumer == c;
    return members == 1 && !strcmp(c->name, c->node->name);
}

const char *const TOPOLOGY_GRAPH_FORMATS[] = {"text", "dot", "json", "mermaid", NULL};

bool topology_graph(const struct topology *t, const char *format, struct buf *out)
{
    static void (*const WRITERS[])(const struct topology *, const struct flow_list *,
                                   struct buf *) = {graph_text, graph_dot, graph_json, graph_mermaid};
    for (size_t i = 0; TOPOLOGY_GRAPH_FORMATS[i]; i++) {
        if (strcmp(format, TOPOLOGY_GRAPH_FORMATS[i]))
            continue;
        struct flow_list flows = {0};
        flows_of(t, &flows);
        WRITERS[i](t, &flows, out);
        flow_list_fini(&flows);
        return true;
    }
    return false;
}
