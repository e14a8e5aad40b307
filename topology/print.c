/* SPDX-License-Identifier: Apache-2.0 */
/* `check -v`: the effective settings, written as a topology file again; secrets are masked. */
#include <string.h>

#include "topology/tables.h"

static void print_group(const struct option_def *opt, const void *target, struct buf *out)
{
    bool any = false;
    for (const struct option_def *inner = opt->table; inner->name; inner++) {
        struct buf text = {0};
        option_text(inner, target, &text);
        if (text.len) {
            buf_addf(out, "%s%s: ", any ? ", " : "{", inner->name);
            buf_add(out, text.data, text.len);
            any = true;
        }
        buf_fini(&text);
    }
    if (any)
        buf_addf(out, "}");
}

static void print_value(const struct option_def *opt, const struct value *map, const void *target, struct buf *out)
{
    const struct value *v = value_find(map, opt->name);
    if (opt->type == OPTION_GROUP)
        print_group(opt, target, out);
    else if (v && opt->flags & OPTION_SECRET && opt->type != OPTION_TEXT_MAP)
        value_json(v, true, out); /* from the file's own values, which know what is secret */
    else if (opt->type != OPTION_COMMAND && opt->type != OPTION_FREE)
        option_text(opt, target, out);
}

static void print_table(const struct option_def *table, const struct value *map, const void *target, const char *indent,
                        struct buf *out)
{
    for (const struct option_def *opt = table; opt->name; opt++) {
        if (opt->type == OPTION_SECTION || opt->type == OPTION_INLINE)
            continue;
        struct buf text = {0};
        print_value(opt, map, target, &text);
        if (text.len)
            buf_addf(out, "%s%s: %s\n", indent, opt->name, buf_text(&text));
        buf_fini(&text);
    }
}

static void print_stream(const struct topology_stream *s, struct buf *out)
{
    buf_addf(out, "  %s:%s\n", s->name, s->builtin ? "  # built in; keeps $dlq.> and $sys.rejected" : "");
    print_table(s->builtin ? OPTIONS_STREAM + 1 : OPTIONS_STREAM, s->at, s, "    ", out); /* topics is the first row */
}

static void print_node(const struct topology_node *n, struct buf *out)
{
    buf_addf(out, "  %s:", n->name);
    if (n->consumer)
        buf_addf(out, "  # consumer %s of stream %s", n->consumer->name, n->consumer->stream_name);
    buf_addf(out, "\n");
    buf_addf(out, "    kind: %s\n", topology_kind_name(n));
    print_table(n->own, n->at, n->own_values, "    ", out);
    print_table(OPTIONS_NODE + 1, n->at, n, "    ", out); /* kind is the first row */
    if (n->consumer)
        print_table(OPTIONS_DELIVERY, n->at, &n->delivery, "    ", out);
}

static void print_consumer(const struct topology_consumer *c, struct buf *out)
{
    buf_addf(out, "  %s:\n", c->name);
    print_table(OPTIONS_CONSUMER, c->at, c, "    ", out);
    print_table(OPTIONS_DELIVERY, c->at, &c->delivery, "    ", out);
}

void topology_print(const struct topology *t, struct buf *out)
{
    print_table(OPTIONS_TOP, t->root, t, "", out);
    buf_addf(out, "broker:\n");
    print_table(OPTIONS_BROKER, t->broker.at, &t->broker, "  ", out);
    buf_addf(out, "streams:\n");
    for (size_t i = 0; i < t->stream_count; i++)
        print_stream(&t->streams[i], out);
    if (t->node_count)
        buf_addf(out, "nodes:\n");
    for (size_t i = 0; i < t->node_count; i++)
        print_node(&t->nodes[i], out);
    bool any = false;
    for (size_t i = 0; i < t->consumer_count; i++) {
        if (!t->consumers[i].declared)
            continue;
        buf_addf(out, "%s", any ? "" : "consumers:\n");
        print_consumer(&t->consumers[i], out);
        any = true;
    }
}
