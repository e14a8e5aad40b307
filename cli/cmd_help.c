/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft help: the overview, or the whole text of one command. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/render.h"
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
        topology_options_markdown(&out);
    else if (argc == 2 && strcmp(argv[1], "--json-schema") == 0)
        topology_json_schema(&out);
    else
        return options_usage(&CMD_HELP, "topology: --json-schema is all that may follow");
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
    const struct cli_command *command = cli_command_find(argv[1]);
    if (!command)
        return cli_unknown(argv[1]);
    fputs(command->usage, stdout);
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
             "  lineshaft COMMAND --help\n"
             "\n"
             "DESCRIPTION\n"
             "  Without COMMAND, lists the commands. With one, prints its whole text. With topology, prints the\n"
             "  options of topology files as Markdown, or as a JSON Schema for editors.\n"
             "\n"
             "OPTIONS\n"
             "  --json-schema    With topology: its JSON Schema, as `lineshaft check --json-schema` prints it.\n"
             "  --markdown       All texts as one Markdown page (docs/cli.md).\n"
             "\n"
             "EXIT STATUS\n"
             "  0  fine\n"
             "  2  there is no such command\n",
};
