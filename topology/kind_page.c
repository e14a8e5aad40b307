/* SPDX-License-Identifier: Apache-2.0 */
/* A node kind for readers: its page for the terminal, and the tables of its document. Both come from its tables. */
#include <string.h>

#include "topology/tables.h"

#define COLUMNS 100
#define TOPICS_INDENT 10

static const char EXEC_ABOUT[] =
    "Starts `command` and keeps it running. The program learns from its environment where the broker is and what it is to "
    "take, give and serve; docs/nodes/exec.md lists the variables, docs/protocol.md is all it has to speak.";

/* exec has no struct kind: it has no code of ours. */
static struct kind exec_kind(void)
{
    return (struct kind){.name = OPTIONS_NODE[0].words[0], .summary = TOPOLOGY_EXEC_SUMMARY, .about = EXEC_ABOUT};
}

static const struct option_def *own_options(struct pool *pool, const struct kind *kind)
{
    return kind ? kind_options(pool, kind, NULL) : OPTIONS_EXEC;
}

/* Breaks at blanks; newlines in the text end paragraphs. Bytes of one character count as one. */
static void wrap(const char *text, size_t indent, struct buf *out)
{
    size_t column = 0;
    while (*text) {
        size_t len = strcspn(text, " \n"), width = 0;
        for (size_t i = 0; i < len; i++)
            width += (text[i] & 0xc0) != 0x80;
        if (column && column + 1 + width > COLUMNS) {
            buf_add_byte(out, '\n');
            column = 0;
        }
        buf_addf(out, "%*s%.*s", column ? 1 : (int) indent, "", (int) len, text);
        column = (column ? column + 1 : indent) + width;
        text += len;
        for (; *text == ' ' || *text == '\n'; text++)
            if (*text == '\n') {
                buf_add_byte(out, '\n');
                column = 0;
            }
    }
    buf_add_byte(out, '\n');
}

static void option_page(const struct option_def *opt, struct buf *out)
{
    buf_addf(out, "\n  %s  ", opt->name);
    option_type_text(opt, out);
    if (opt->flags & OPTION_REQUIRED)
        buf_addf(out, "; required");
    else if (opt->fallback)
        buf_addf(out, "; default %s", opt->fallback);
    buf_add_byte(out, '\n');
    wrap(opt->help, 6, out);
}

/* "  gives   a, b,", broken between topics. */
static void topics_line(const char *name, const char *const *topics, struct buf *out)
{
    if (!topics || !*topics)
        return;
    buf_addf(out, "  %-7s %s", name, topics[0]);
    size_t column = TOPICS_INDENT + strlen(topics[0]);
    for (size_t i = 1; topics[i]; i++) {
        bool breaks = column + 3 + strlen(topics[i]) > COLUMNS; /* ", " and a comma behind it */
        buf_addf(out, breaks ? ",\n%*s%s" : ", %*s%s", breaks ? TOPICS_INDENT : 0, "", topics[i]);
        column = (breaks ? TOPICS_INDENT : column + 2) + strlen(topics[i]);
    }
    buf_add_byte(out, '\n');
}

static void wiring_page(const struct kind *kind, struct buf *out)
{
    buf_addf(out, "\nWIRING, unless the topology says otherwise\n");
    size_t before = out->len;
    topics_line("takes", kind->takes, out);
    topics_line("gives", kind->gives, out);
    topics_line("serves", kind->serves, out);
    topics_line("asks", kind->asks, out);
    if (kind->serves)
        buf_addf(out, "  %-7s %lld\n", "slots", (long long) (kind->slots ? kind->slots : 1));
    if (out->len == before)
        buf_addf(out, "  none\n");
}

static void metrics_page(const struct kind *kind, struct buf *out)
{
    size_t width = 0;
    if (!kind->metrics || !kind->metrics->name)
        return;
    for (const struct kind_metric *m = kind->metrics; m->name; m++)
        width = strlen(m->name) > width ? strlen(m->name) : width;
    buf_addf(out, "\nMETRICS, as lineshaft_%s_NAME\n", kind->name);
    for (const struct kind_metric *m = kind->metrics; m->name; m++)
        buf_addf(out, "  %-*s  %s\n", (int) width, m->name, m->help);
}

void topology_kind_text(const struct kind *kind, struct buf *out)
{
    struct pool pool = {0};
    const struct option_def *options = own_options(&pool, kind);
    struct kind exec = exec_kind();
    const struct kind *shown = kind ? kind : &exec;
    buf_addf(out, "%s - %s\n", shown->name, shown->summary);
    if (shown->about) {
        buf_add_byte(out, '\n');
        wrap(shown->about, 2, out);
    }
    buf_addf(out, "\nOPTIONS, beside those that every node has (`lineshaft help topology`)\n");
    for (const struct option_def *opt = options; opt->name; opt++)
        option_page(opt, out);
    if (!options->name)
        buf_addf(out, "  none\n");
    wiring_page(shown, out);
    if (shown->routes && shown->routes->method)
        buf_addf(out, "\nHTTP ROUTES, through a node of the kind ingress\n");
    for (const struct kind_route *r = shown->routes; r && r->method; r++)
        buf_addf(out, "  %-6s %s\n         %s\n         %s %s\n", r->method, r->path, r->summary,
                 r->bytes ? "bytes, past the bus, of the service" : "request", r->topic);
    metrics_page(shown, out);
    pool_fini(&pool);
}

static void topics_row(const char *name, const char *const *topics, struct buf *out)
{
    buf_addf(out, "| `%s` | ", name);
    for (size_t i = 0; topics && topics[i]; i++)
        buf_addf(out, "%s`%s`", i ? ", " : "", topics[i]);
    buf_addf(out, "%s |\n", topics && *topics ? "" : "–");
}

void topology_kind_markdown(const struct kind *kind, struct buf *out)
{
    struct pool pool = {0};
    const struct option_def *options = own_options(&pool, kind);
    if (options->name)
        options_markdown(options, out);
    pool_fini(&pool);
    if (!kind)
        return;
    buf_addf(out, "\n| wiring | by default |\n|---|---|\n");
    topics_row("takes", kind->takes, out);
    topics_row("gives", kind->gives, out);
    topics_row("serves", kind->serves, out);
    topics_row("asks", kind->asks, out);
    if (kind->serves)
        buf_addf(out, "| `slots` | %lld |\n", (long long) (kind->slots ? kind->slots : 1));
    if (kind->routes && kind->routes->method)
        buf_addf(out, "\n| method | path | request | what it does |\n|---|---|---|---|\n");
    for (const struct kind_route *r = kind->routes; r && r->method; r++) {
        buf_addf(out, "| `%s` | `%s` | `%s`%s | ", r->method, r->path, r->topic, r->bytes ? ", bytes" : "");
        markdown_cell(r->summary, out);
        buf_addf(out, " |\n");
    }
    if (kind->metrics && kind->metrics->name)
        buf_addf(out, "\n| metric | meaning |\n|---|---|\n");
    for (const struct kind_metric *m = kind->metrics; m && m->name; m++) {
        buf_addf(out, "| `lineshaft_%s_%s` | ", kind->name, m->name);
        markdown_cell(m->help, out);
        buf_addf(out, " |\n");
    }
}
