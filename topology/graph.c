/* SPDX-License-Identifier: Apache-2.0 */
/* The graph for people at a terminal: three aligned columns. And as JSON for programs. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "topology/flow.h"
#include "topology/tables.h"

/* Longer lists of topics are cut in the text form, so that both ends of an arrow stay on the screen. */
#define TOPICS_WIDTH 64

/* One arrow of the text form. */
struct row {
    struct buf from, topics, to;
};

static void stream_facts(const struct topology_stream *s, struct buf *out)
{
    buf_addf(out, "%s", s->durability == DURABILITY_MEMORY ? "memory" : "disk");
    bool limited = s->retain.age || s->retain.size || s->retain.count;
    buf_addf(out, limited ? ", keeps" : ", keeps everything");
    if (s->retain.age) {
        buf_addf(out, " ");
        duration_text(s->retain.age, out);
    }
    if (s->retain.size) {
        buf_addf(out, "%s", s->retain.age ? " or " : " ");
        size_text(s->retain.size, out);
    }
    if (s->retain.count)
        buf_addf(out, "%s%lld events", s->retain.age || s->retain.size ? " or " : " ", (long long) s->retain.count);
}

static void node_label(const struct topology_node *n, struct buf *out)
{
    buf_addf(out, "%s", n->name);
    if (n->replicas > 1)
        buf_addf(out, " ×%lld", (long long) n->replicas);
}

/* "tracker", "a + b (consumer work)", "my-report (outside)". */
static void consumer_label(const struct topology *t, const struct topology_consumer *c, struct buf *out)
{
    size_t members = 0;
    for (size_t i = 0; i < t->node_count; i++) {
        if (t->nodes[i].consumer != c)
            continue;
        buf_addf(out, "%s", members++ ? " + " : "");
        node_label(&t->nodes[i], out);
    }
    if (!members)
        buf_addf(out, "%s (outside program)", c->name);
    else if (!consumer_is_node(t, c))
        buf_addf(out, " (consumer %s)", c->name);
    if (c->delivery.share == TOPOLOGY_SHARE_EACH)
        buf_addf(out, ", each");
}

static size_t characters(const struct buf *text)
{
    size_t count = 0;
    for (size_t i = 0; i < text->len; i++)
        count += (text->data[i] & 0xc0) != 0x80;
    return count;
}

/* "run.created, run.updated and 17 more"; at least one topic is shown, however long. */
static void short_topics(const struct flow *flow, struct buf *out)
{
    size_t shown = 0, room = TOPICS_WIDTH - strlen(" and 10 more");
    flow_topics(flow, out);
    if (characters(out) <= TOPICS_WIDTH)
        return;
    buf_clear(out);
    do
        buf_addf(out, "%s%s", shown ? ", " : "", flow->topics[shown]);
    while (++shown < flow->topic_count && out->len + strlen(", ") + strlen(flow->topics[shown]) <= room);
    if (shown < flow->topic_count)
        buf_addf(out, " and %zu more", flow->topic_count - shown);
}

static void fill_row(const struct topology *t, const struct flow *flow, struct row *row)
{
    short_topics(flow, &row->topics);
    switch (flow->kind) {
    case FLOW_GIVES:
        node_label(&t->nodes[flow->from], &row->from);
        buf_addf(&row->to, "%s", t->streams[flow->to].name);
        break;
    case FLOW_LIVE:
        node_label(&t->nodes[flow->from], &row->from);
        buf_addf(&row->to, "(live only)");
        break;
    case FLOW_TAKES:
        buf_addf(&row->from, "%s", t->streams[flow->from].name);
        consumer_label(t, &t->consumers[flow->to], &row->to);
        break;
    case FLOW_ASKS:
        node_label(&t->nodes[flow->from], &row->from);
        node_label(&t->nodes[flow->to], &row->to);
        break;
    case FLOW_UNSERVED:
        node_label(&t->nodes[flow->from], &row->from);
        buf_addf(&row->to, "(no node)");
        break;
    case FLOW_DELIVERS: /* not shown */
    case FLOW_SERVES:
        buf_addf(&row->from, "clients");
        node_label(&t->nodes[flow->to], &row->to);
        break;
    }
}

static void pad(const struct buf *text, size_t width, struct buf *out)
{
    buf_add(out, text->data, text->len);
    for (size_t i = characters(text); i < width; i++)
        buf_add_byte(out, ' ');
}

static void print_rows(const struct topology *t, const struct flow_list *flows, bool requests, struct buf *out)
{
    struct row *rows = xcalloc(flows->count + 1, sizeof *rows);
    size_t count = 0, from = 0, topics = 0;
    for (size_t i = 0; i < flows->count; i++) {
        const struct flow *flow = &flows->items[i];
        if (flow->kind == FLOW_DELIVERS || flow_is_request(flow) != requests)
            continue;
        struct row *row = &rows[count++];
        fill_row(t, flow, row);
        from = characters(&row->from) > from ? characters(&row->from) : from;
        topics = characters(&row->topics) > topics ? characters(&row->topics) : topics;
    }
    if (count)
        buf_addf(out, requests ? "\nrequests\n" : "\nevents\n");
    for (size_t i = 0; i < count; i++) {
        buf_addf(out, "  ");
        pad(&rows[i].from, from, out);
        buf_addf(out, "  ──  ");
        pad(&rows[i].topics, topics, out);
        buf_addf(out, "  ──▶  %s\n", buf_text(&rows[i].to));
        buf_fini(&rows[i].from);
        buf_fini(&rows[i].topics);
        buf_fini(&rows[i].to);
    }
    free(rows);
}

static bool is_silent(const struct topology_node *n)
{
    return !n->consumer && !n->gives.count && !n->serves.count && !n->asks.count;
}

void graph_text(const struct topology *t, const struct flow_list *flows, struct buf *out)
{
    size_t width = 0;
    buf_addf(out, "%s: %s, data in %s\n\nstreams\n", t->name, t->broker.listen.text, t->broker.data);
    for (size_t i = 0; i < t->stream_count; i++)
        width = strlen(t->streams[i].name) > width ? strlen(t->streams[i].name) : width;
    for (size_t i = 0; i < t->stream_count; i++) {
        const struct topology_stream *s = &t->streams[i];
        buf_addf(out, "  %-*s  ", (int) width, s->name);
        for (size_t p = 0; p < s->topics.count; p++)
            buf_addf(out, "%s%s", p ? ", " : "", s->topics.items[p]);
        buf_addf(out, "  (");
        stream_facts(s, out);
        buf_addf(out, ")\n");
    }
    print_rows(t, flows, false, out);
    print_rows(t, flows, true, out);
    bool any = false;
    for (size_t i = 0; i < t->node_count; i++) {
        if (!is_silent(&t->nodes[i]))
            continue;
        buf_addf(out, any ? "  " : "\nnot wired\n  ");
        node_label(&t->nodes[i], out);
        buf_addf(out, "\n");
        any = true;
    }
}

static json_t *texts_json(const struct text_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

static json_t *streams_json(const struct topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->stream_count; i++) {
        const struct topology_stream *s = &t->streams[i];
        json_array_append_new(
            array, json_pack("{s:s, s:o, s:s, s:b}", "name", s->name, "topics", texts_json(&s->topics), "durability",
                             s->durability == DURABILITY_MEMORY ? "memory" : "disk", "builtin", s->builtin));
    }
    return array;
}

static json_t *nodes_json(const struct topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->node_count; i++) {
        const struct topology_node *n = &t->nodes[i];
        json_array_append_new(array, json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s?}", "name", n->name, "kind",
                                               topology_kind_name(n), "replicas", (json_int_t) n->replicas, "takes",
                                               texts_json(&n->takes), "gives", texts_json(&n->gives), "serves",
                                               texts_json(&n->serves), "asks", texts_json(&n->asks), "consumer",
                                               n->consumer ? n->consumer->name : NULL));
    }
    return array;
}

static json_t *consumers_json(const struct topology *t)
{
    json_t *array = json_array();
    for (size_t i = 0; i < t->consumer_count; i++) {
        const struct topology_consumer *c = &t->consumers[i];
        json_array_append_new(array, json_pack("{s:s, s:s?, s:o, s:s, s:b}", "name", c->name, "stream", c->stream_name,
                                               "takes", texts_json(&c->takes), "share",
                                               c->delivery.share == TOPOLOGY_SHARE_EACH ? "each" : "group", "outside",
                                               !c->node));
    }
    return array;
}

static json_t *flow_json(const struct topology *t, const struct flow *flow)
{
    static const char *const KINDS[] = {"gives", "live", "takes", "delivers", "serves", "asks", "unserved"};
    const char *from = NULL, *to = NULL;
    if (flow->kind == FLOW_GIVES || flow->kind == FLOW_LIVE || flow->kind == FLOW_ASKS || flow->kind == FLOW_UNSERVED)
        from = t->nodes[flow->from].name;
    else if (flow->kind == FLOW_TAKES)
        from = t->streams[flow->from].name;
    else if (flow->kind == FLOW_DELIVERS)
        from = t->consumers[flow->from].name;
    if (flow->kind == FLOW_GIVES)
        to = t->streams[flow->to].name;
    else if (flow->kind == FLOW_TAKES)
        to = t->consumers[flow->to].name;
    else if (flow->kind != FLOW_LIVE && flow->kind != FLOW_UNSERVED)
        to = t->nodes[flow->to].name;
    json_t *topics = json_array();
    for (size_t i = 0; i < flow->topic_count; i++)
        json_array_append_new(topics, json_string(flow->topics[i]));
    return json_pack("{s:s, s:s?, s:s?, s:o}", "kind", KINDS[flow->kind], "from", from, "to", to, "topics", topics);
}

void graph_json(const struct topology *t, const struct flow_list *flows, struct buf *out)
{
    json_t *arrows = json_array();
    for (size_t i = 0; i < flows->count; i++)
        json_array_append_new(arrows, flow_json(t, &flows->items[i]));
    json_t *all = json_pack("{s:s, s:{s:s, s:s}, s:o, s:o, s:o, s:o}", "name", t->name, "broker", "listen",
                            t->broker.listen.text, "data", t->broker.data, "streams", streams_json(t), "nodes",
                            nodes_json(t), "consumers", consumers_json(t), "flows", arrows);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    if (text)
        buf_addf(out, "%s\n", text);
    free(text);
    json_decref(all);
}
