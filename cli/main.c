/* SPDX-License-Identifier: Apache-2.0 */
/* The one executable: the table of commands and the way into them. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "yaml/diag.h"

/* A NULL command starts a group. */
static const struct entry {
    const struct cli_command *command;
    const char *group;
} COMMANDS[] = {
    {NULL, "A topology"},
    {&CMD_CHECK, NULL},
    {&CMD_GRAPH, NULL},
    {&CMD_UP, NULL},
    {&CMD_BROKER, NULL},
    {&CMD_NODE, NULL},
    {NULL, "Events and requests"},
    {&CMD_PUB, NULL},
    {&CMD_TAIL, NULL},
    {&CMD_REQ, NULL},
    {NULL, "What the broker keeps"},
    {&CMD_STREAM, NULL},
    {&CMD_CONSUMER, NULL},
    {&CMD_DLQ, NULL},
    {&CMD_LOG, NULL},
    {&CMD_TOP, NULL},
    {NULL, "Models"},
    {&CMD_TRAIN, NULL},
    {&CMD_EVALUATE, NULL},
    {&CMD_ARTIFACT, NULL},
    {NULL, "Workflows"},
    {&CMD_WORKFLOW, NULL},
    {NULL, "Help"},
    {&CMD_HELP, NULL},
    {&CMD_VERSION, NULL},
};
#define ENTRY_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static const char *the_names[ENTRY_COUNT + 1];

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        if (COMMANDS[i].command && strcmp(COMMANDS[i].command->name, name) == 0)
            return COMMANDS[i].command;
    return NULL;
}

const char *const *cli_command_names(void)
{
    size_t count = 0;
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        if (COMMANDS[i].command)
            the_names[count++] = COMMANDS[i].command->name;
    the_names[count] = NULL;
    return the_names;
}

void cli_help(const struct cli_command *command)
{
    fputs(command->usage, stdout);
    if (command->more)
        command->more();
}

void cli_overview(void)
{
    puts("lineshaft: a durable event bus for language-model services.\n\nusage: lineshaft COMMAND [ARGUMENT ...]");
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (COMMANDS[i].group)
            printf("\n%s\n", COMMANDS[i].group);
        else
            printf("  %-10s %s\n", COMMANDS[i].command->name, COMMANDS[i].command->summary);
    }
    puts("\n`lineshaft help COMMAND` tells all about one.");
}

int cli_unknown(const char *name)
{
    const char *nearest = diag_nearest(name, cli_command_names());
    fprintf(stderr, "lineshaft: there is no command \"%s\".", name);
    if (nearest)
        fprintf(stderr, " Did you mean \"%s\"?", nearest);
    fputs("\n`lineshaft` alone lists the commands.\n", stderr);
    return CLI_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* A standard stream that is closed stays unusable: else the first file or socket that is opened gets its number, and messages go there. */
static void keep_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    keep_standard_streams();
    if (argc < 2) {
        cli_overview();
        return CLI_OK;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    const struct cli_command *command = cli_command_find(name);
    if (!command)
        return cli_unknown(name);
    if (wants_help(argc - 1, argv + 1)) {
        cli_help(command);
        return CLI_OK;
    }
    return command->run(argc - 1, argv + 1);
}
