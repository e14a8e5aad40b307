/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft version: of the program, the protocol and the libraries underneath. */
#include <czmq.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int run(int argc, char **argv)
{
    int major, minor, patch;
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    zmq_version(&major, &minor, &patch);
    printf(json ? "{\"version\":\"%s\",\"protocol\":\"LWP/1\",\"libzmq\":\"%d.%d.%d\",\"czmq\":\"%d.%d.%d\"}\n"
                : "lineshaft %s\nprotocol LWP/1\nlibzmq %d.%d.%d\nczmq %d.%d.%d\n",
           LINESHAFT_VERSION, major, minor, patch, CZMQ_VERSION_MAJOR, CZMQ_VERSION_MINOR, CZMQ_VERSION_PATCH);
    return CLI_OK;
}

const struct cli_command CMD_VERSION = {
    .name = "version",
    .run = run,
    .summary = "show the versions of the program, the protocol and its libraries",
    .usage = "lineshaft version - show the versions of the program, the protocol and its libraries\n"
             "\n"
             "SYNOPSIS\n"
             "  lineshaft version [--json]\n"
             "\n"
             "OPTIONS\n"
             "  --json           One JSON object.\n"
             "\n"
             "EXIT STATUS\n"
             "  0  always\n",
};
