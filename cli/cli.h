/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* A command of the lineshaft program. Each cmd_*.c defines one; cli/main.c lists them.
 * run gets argv[0] = the command's name and returns the exit status: 0 fine, 1 failed or problems found, 2 wrong usage,
 * 3 broker not reachable. usage is the whole --help text. */
struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* one line for the list of commands */
    const char *usage;
    void (*more)(void); /* NULL, or prints what --help shows below usage */
};

enum cli_exit { CLI_OK, CLI_FAILED, CLI_USAGE, CLI_UNREACHABLE };

/* cli_command_find: the command of that name, or NULL. */
const struct cli_command *cli_command_find(const char *name);
/* cli_command_names: all names, NULL-terminated, for diag_nearest and completion. */
const char *const *cli_command_names(void);
/* cli_help prints what --help shows of a command. */
void cli_help(const struct cli_command *command);
/* cli_overview prints the short grouped list of commands to standard output. */
void cli_overview(void);
/* cli_unknown says that there is no command `name`, with the nearest one; returns CLI_USAGE. */
int cli_unknown(const char *name);

extern const struct cli_command CMD_ARTIFACT, CMD_BROKER, CMD_CHECK, CMD_CONSUMER, CMD_DLQ, CMD_EVALUATE, CMD_GRAPH, CMD_HELP,
    CMD_LOG, CMD_NODE, CMD_PUB, CMD_REQ, CMD_STREAM, CMD_TAIL, CMD_TOP, CMD_TRAIN, CMD_UP, CMD_VERSION, CMD_WORKFLOW;

#endif
