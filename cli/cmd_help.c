/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft help: the overview, or the whole text of one command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/render.h"
#include "lib/xmem.h"
#include "nodes/kinds.h"
#include "topology/topology.h"

static int print_markdown(void)
{
    puts("# The command line\n\nMade from the `--help` texts by `lineshaft help --markdown`.\n");
    for (const char *const *name = cli_command_names(); *name; name++)
        printf("## lineshaft %s\n\n```text\n%s```\n\n", *name, cli_command_find(*name)->usage);
    return CLI_OK;
}

/* What there is to know about topology files: the options in Markdown, or all of it for an editor. */
static int print_topology(int argc, char **argv)
{
    struct buf out = {0};
    if (argc == 1)
        topology_options_markdown(KINDS, &out);
    else if (argc == 2 && strcmp(argv[1], "--json-schema") == 0)
        topology_json_schema(KINDS, &out);
    else
        return options_usage(&CMD_HELP, "topology: --json-schema is all that may follow");
    render_put(&out, stdout);
    buf_fini(&out);
    return CLI_OK;
}

static int unknown_kind(const char *name)
{
    size_t count = 0;
    while (KINDS[count])
        count++;
    const char **names = xcalloc(count + 2, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = KINDS[i]->name;
    names[count] = "exec";
    const char *near = diag_nearest(name, names);
    if (near)
        options_usage(&CMD_HELP, "there is no node kind \"%s\"; did you mean \"%s\"?", name, near);
    else
        options_usage(&CMD_HELP, "there is no node kind \"%s\"; `lineshaft node --list` shows them", name);
    free(names);
    return CLI_USAGE;
}

/* A kind of nodes: its page, or the tables of its document. */
static int print_kind(int argc, char **argv)
{
    struct buf out = {0};
    const struct kind *kind = kinds_find(argv[0]);
    if (!kind && strcmp(argv[0], "exec") != 0)
        return unknown_kind(argv[0]);
    if (argc == 1)
        topology_kind_text(kind, &out);
    else if (argc == 2 && strcmp(argv[1], "--markdown") == 0)
        topology_kind_markdown(kind, &out);
    else
        return options_usage(&CMD_HELP, "node %s: --markdown is all that may follow", argv[0]);
    render_put(&out, stdout);
    buf_fini(&out);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        cli_overview();
        return CLI_OK;
    }
    if (strcmp(argv[1], "--markdown") == 0)
        return print_markdown();
    if (strcmp(argv[1], "topology") == 0)
        return print_topology(argc - 1, argv + 1);
    if (strcmp(argv[1], "node") == 0 && argc > 2)
        return print_kind(argc - 2, argv + 2);
    const struct cli_command *command = cli_command_find(argv[1]);
    if (!command)
        return cli_unknown(argv[1]);
    cli_help(command);
    return CLI_OK;
}

const struct cli_command CMD_HELP = {
    .name = "help",
    .run = run,
    .summary = "show what a command does, its options, examples",
    .usage = "lineshaft help - show what a command does, its options, examples\n"
             "\n"
             "SYNOPSIS\n"
             "  lineshaft help [COMMAND]\n"
             "  lineshaft help topology [--json-schema]\n"
             "  lineshaft help node KIND [--markdown]\n"
             "  lineshaft COMMAND --help\n"
             "\n"
             "DESCRIPTION\n"
             "  Without COMMAND, lists the commands. With one, prints its whole text. With topology, prints the\n"
             "  options of topology files as Markdown, or as a JSON Schema for editors. With node KIND, tells what a\n"
             "  kind of nodes does, its options, wiring, HTTP routes and metrics; `help node` lists the kinds.\n"
             "\n"
             "OPTIONS\n"
             "  --json-schema    With topology: its JSON Schema, as `lineshaft check --json-schema` prints it.\n"
             "  --markdown       All texts as one Markdown page (docs/cli.md); with node KIND: its tables.\n"
             "\n"
             "EXIT STATUS\n"
             "  0  fine\n"
             "  2  there is no such command, or no such kind\n",
};
