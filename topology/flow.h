/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_FLOW_H
#define TOPOLOGY_FLOW_H
#include "topology/topology.h"

/* The wiring as arrows, for the graph formats. */
enum flow_kind {
    FLOW_GIVES,    /* node -> stream */
    FLOW_LIVE,     /* node -> nobody in particular */
    FLOW_TAKES,    /* stream -> consumer */
    FLOW_DELIVERS, /* consumer -> node */
    FLOW_SERVES,   /* requests of outside programs -> node */
    FLOW_ASKS,     /* node -> node that serves its requests */
    FLOW_UNSERVED  /* node -> nobody in the file */
};

struct flow {
    enum flow_kind kind;
    size_t from, to; /* index into the topology's array that the kind tells; 0 where there is none */
    const char **topics;
    size_t topic_count;
};

struct flow_list {
    struct flow *items;
    size_t count, room;
};

void flow_topics(const struct flow *flow, struct buf *out); /* joined by ", " */
bool flow_is_request(const struct flow *flow);

/* consumer_is_node: the consumer is just the inbox of one node of the same name, and need not be shown by itself. */
bool consumer_is_node(const struct topology *t, const struct topology_consumer *c);

void graph_text(const struct topology *t, const struct flow_list *flows, struct buf *out);
void graph_dot(const struct topology *t, const struct flow_list *flows, struct buf *out);
void graph_mermaid(const struct topology *t, const struct flow_list *flows, struct buf *out);
void graph_json(const struct topology *t, const struct flow_list *flows, struct buf *out);

#endif
