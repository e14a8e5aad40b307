/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft graph: what talks to what in a topology. */
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/render.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

static bool known_format(const char *format)
{
    for (size_t i = 0; TOPOLOGY_GRAPH_FORMATS[i]; i++)
        if (!strcmp(format, TOPOLOGY_GRAPH_FORMATS[i]))
            return true;
    return false;
}

static int wrong_format(const char *format)
{
    const char *near = diag_nearest(format, TOPOLOGY_GRAPH_FORMATS);
    if (near)
        return options_usage(&CMD_GRAPH, "there is no format \"%s\"; did you mean \"%s\"?", format, near);
    return options_usage(&CMD_GRAPH, "there is no format \"%s\"; there are text, dot, json and mermaid", format);
}

/* A topology with problems has no sure wiring: they are shown instead. */
static int graph(const char *path, const char *format)
{
    struct diag_list diags = {0};
    struct buf out = {0};
    struct topology *t = topology_load(path, KINDS, &diags);
    bool ok = t && !diags.error_count;
    if (ok) {
        topology_graph(t, format, &out);
        render_put(&out, stdout);
    } else {
        diag_print(&diags, (struct diag_style){render_colours(STDERR_FILENO), false, 20}, &out);
        render_put(&out, stderr);
    }
    buf_fini(&out);
    topology_destroy(&t);
    diag_list_fini(&diags);
    return ok ? CLI_OK : CLI_FAILED;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"format", required_argument, NULL, 'f'}, {0}};
    const char *format = "text";
    for (int option; (option = options_next(&CMD_GRAPH, argc, argv, "f:", LONGS)) != OPTIONS_END;) {
        if (option != 'f')
            return CLI_USAGE;
        format = optarg;
    }
    if (!known_format(format))
        return wrong_format(format);
    if (argc - optind != 1)
        return options_usage(&CMD_GRAPH, argc == optind ? "which topology?" : "one topology at a time");
    return graph(argv[optind], format);
}

const struct cli_command CMD_GRAPH = {
    .name = "graph",
    .run = run,
    .summary = "show what talks to what in a topology",
    .usage =
        "lineshaft graph - show what talks to what in a topology\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft graph [--format text|dot|json|mermaid] TOPOLOGY\n"
        "\n"
        "DESCRIPTION\n"
        "  Draws the nodes, streams and consumers of the file TOPOLOGY and the topics that flow between them: from\n"
        "  a node's `gives` into streams, from streams through consumers to nodes and outside programs, and requests\n"
        "  from the nodes that ask, or from clients, to the nodes that serve them. A topology with problems is not\n"
        "  drawn; the problems are shown instead.\n"
        "\n"
        "OPTIONS\n"
        "  -f, --format F   text (default), dot (Graphviz), json, or mermaid (Markdown pages).\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft graph config/hello.yaml\n"
        "  lineshaft graph --format dot config/hello.yaml | dot -Tsvg > hello.svg\n"
        "\n"
        "EXIT STATUS\n"
        "  0  drawn\n"
        "  1  the topology has problems\n"
        "  2  wrong usage\n",
};
