/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft artifact: its help. The work is that of lineshaft-artifact, which stands beside us and links an HTTP client. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/up/launch.h"
#include "cli/options.h"
#include "cli/store.h"

static int run(int argc, char **argv)
{
    if (argc == 1)
        return options_usage(&CMD_ARTIFACT, "what is to be done: put, get, ls or rm?");
    static char name[] = STORE_PROGRAM;
    char *program = launch_beside(STORE_PROGRAM);
    argv[0] = name;
    execv(program, argv);
    fprintf(stderr, STORE_MISSING, "artifact", program, strerror(errno));
    free(program);
    return CLI_FAILED;
}

const struct cli_command CMD_ARTIFACT = {
    .name = "artifact",
    .run = run,
    .summary = "put files into the artifact store, get, list and remove them",
    .usage =
        "lineshaft artifact - put files into the artifact store, get, list and remove them\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft artifact put [-r] [--run ID] [--no-replace] [--type TYPE] FILE... [KEY | KEY/]\n"
        "  lineshaft artifact get [-r] [--no-replace] KEY... [FILE | FOLDER/ | -]\n"
        "  lineshaft artifact ls [-r] [-l] [PREFIX]\n"
        "  lineshaft artifact rm [-r] KEY...\n"
        "\n"
        "DESCRIPTION\n"
        "  Files of any size, over HTTP, to and from the store of an `artifacts` node. A KEY is a path such as\n"
        "  1/RUN/artifacts/model.bin, or a URI mlflow-artifacts:/KEY, as the tracker gives.\n"
        "\n"
        "  Where the store is: --http or LINESHAFT_HTTP_URL names an ingress (its API key is taken from LINESHAFT_API_KEY);\n"
        "  else the broker is asked where an `artifacts` node takes bytes, its door: a socket on this machine, open to the\n"
        "  user that the node runs as, or a port, which wants the token that nodes have, in LINESHAFT_TOKEN.\n"
        "\n"
        "  put    Stores each FILE: with several arguments the last one is where, else it goes to its own name. It waits\n"
        "         until the store has it; if that is away, until the node has spooled it (after a minute; artifact.stored tells\n"
        "         when it is stored). The SHA-256 goes along and is checked there, and again here. FILE may be -,\n"
        "         standard input, and with -r a folder: FOLDER's content goes below KEY/FOLDER/, that of FOLDER/ below KEY/.\n"
        "  get    Fetches each KEY, to its last name, to FILE, below FOLDER/, or with - to standard output. It is written to\n"
        "         FILE.part, and renamed when all is there and its SHA-256 is right. A download that broke off goes on where\n"
        "         it was, also in a later call, if the content is still the same. -r gets all below KEY.\n"
        "  ls     Lists what begins with PREFIX, folders as one line that ends with a slash; -r all below them.\n"
        "  rm     Removes each KEY, -r all below KEY/. What is not there is said, and is no error; a folder without -r is one.\n"
        "\n"
        "OPTIONS\n"
        "  -r, --recursive  What is said of -r above.\n"
        "  -l, --long       ls: size, time, the begin of the SHA-256.\n"
        "  --run ID         put: the tracker's run that it belongs to.\n"
        "  --no-replace     put: refused if KEY has another content; get: if FILE is there.\n"
        "  --type TYPE      put: the media type; default application/octet-stream.\n"
        "  -j, --json       One JSON object a line: each file, object or folder, as docs/nodes/artifacts-api.md shows them.\n"
        "  -q, --quiet      Neither a progress bar nor a word about what went well.\n"
        "  --http URL       An ingress; default $LINESHAFT_HTTP_URL, else the broker is asked.\n"
        "  --url URL        The broker; default $LINESHAFT_URL, else tcp://127.0.0.1:7400.\n"
        "  --timeout TIME   Give up after so long, such as 30s or 5m: ls and rm in all; put and get when no byte moved for so\n"
        "                   long; and so long without an answer of the broker. Default: 3m for the store, 10s for the broker,\n"
        "                   2s when nothing listens there. After 2s of silence it is said what is waited for.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft artifact put model.bin mlflow-artifacts:/1/4f2c/artifacts/model.bin --run 4f2c\n"
        "  lineshaft artifact put -r plots/ 1/4f2c/artifacts/plots/\n"
        "  lineshaft artifact ls -l 1/4f2c/artifacts/\n"
        "  lineshaft artifact get 1/4f2c/artifacts/model.bin /tmp/\n"
        "  tar cz logs | lineshaft artifact put - backup/logs.tgz\n"
        "\n"
        "EXIT STATUS\n"
        "  0  fine\n"
        "  1  something of it failed; the reasons are on standard error\n"
        "  2  wrong usage\n"
        "  3  the broker, or the store's door, cannot be reached\n",
};
