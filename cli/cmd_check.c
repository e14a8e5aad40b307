/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft check: all problems of a topology file at once, without starting anything. */
#include <unistd.h>

#include "cli/options.h"
#include "cli/render.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

#define SHOWN_MAX 20 /* problems */

static void put(struct buf *text, FILE *stream)
{
    render_put(text, stream);
    fflush(stream);
    buf_fini(text);
}

static void add_count(struct buf *out, size_t count, const char *what)
{
    buf_addf(out, ", %zu %s%s", count, what, count == 1 ? "" : "s");
}

/* "config/hello.yaml: ok: 1 stream, 2 nodes, 1 consumer"; with the settings, as a comment above them. */
static void print_ok(const struct topology *t, const struct diag_list *diags, bool verbose)
{
    struct buf out = {0};
    size_t streams = t->stream_count - 1; /* $sys is built in */
    buf_addf(&out, "%s%s: ok: %zu stream%s", verbose ? "# " : "", t->file, streams, streams == 1 ? "" : "s");
    add_count(&out, t->node_count, "node");
    add_count(&out, t->consumer_count, "consumer");
    if (diags->warning_count)
        add_count(&out, diags->warning_count, "warning");
    buf_addf(&out, "\n");
    if (verbose)
        topology_print(t, &out);
    put(&out, stdout);
}

static int check(const char *path, bool verbose, bool json)
{
    struct diag_list diags = {0};
    struct buf out = {0};
    struct topology *t = topology_load(path, KINDS, &diags);
    bool ok = t && !diags.error_count;
    if (json) {
        diag_print_json(&diags, verbose, &out);
        put(&out, stdout);
    } else {
        diag_print(&diags, (struct diag_style){render_colours(STDERR_FILENO), verbose, SHOWN_MAX}, &out);
        put(&out, stderr);
        if (ok)
            print_ok(t, &diags, verbose);
    }
    topology_destroy(&t);
    diag_list_fini(&diags);
    return ok ? CLI_OK : CLI_FAILED;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"verbose", no_argument, NULL, 'v'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"json-schema", no_argument, NULL, 's'},
                                          {0}};
    bool verbose = false, json = false;
    for (int option; (option = options_next(&CMD_CHECK, argc, argv, "v", LONGS)) != OPTIONS_END;) {
        struct buf out = {0};
        switch (option) {
        case 'v': verbose = true; break;
        case 'j': json = true; break;
        case 's':
            topology_json_schema(KINDS, &out);
            put(&out, stdout);
            return CLI_OK;
        default: return CLI_USAGE;
        }
    }
    if (argc - optind != 1)
        return options_usage(&CMD_CHECK, argc == optind ? "which topology?" : "one topology at a time");
    return check(argv[optind], verbose, json);
}

const struct cli_command CMD_CHECK = {
    .name = "check",
    .run = run,
    .summary = "find all problems of a topology, without starting anything",
    .usage =
        "lineshaft check - find all problems of a topology, without starting anything\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft check [-v] [--json] TOPOLOGY\n"
        "  lineshaft check --json-schema\n"
        "\n"
        "DESCRIPTION\n"
        "  Reads the file TOPOLOGY and reports every problem with its place, the source line and a hint: syntax,\n"
        "  unknown or missing options, wrong values, and wiring that cannot work, such as a node that takes events\n"
        "  which no stream keeps. Prints one line when all is well. docs/errors.md explains each code in [brackets].\n"
        "\n"
        "OPTIONS\n"
        "  -v, --verbose    Also print the settings in effect, defaults filled in and secrets masked, and notes about\n"
        "                   events that nobody keeps.\n"
        "  --json           Print the problems as a JSON array.\n"
        "  --json-schema    Print the JSON Schema of topology files, for editors.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft check config/hello.yaml\n"
        "  lineshaft check --json config/hello.yaml | jq -r '.[].code'\n"
        "\n"
        "EXIT STATUS\n"
        "  0  no problems; there may be warnings\n"
        "  1  problems were found\n"
        "  2  wrong usage\n",
};
