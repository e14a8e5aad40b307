/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft top: its help. The work is that of lineshaft-top, which stands beside us and links ncurses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/up/launch.h"

static int run(int argc, char **argv)
{
    static char name[] = "lineshaft-top";
    char *program = launch_beside(name);
    (void) argc;
    argv[0] = name;
    execv(program, argv);
    fprintf(stderr,
            "lineshaft top: it is the work of the program lineshaft-top, and %s does not start: %s.\n"
            "  It belongs into the same folder as lineshaft: `make` builds both, `make install` installs both.\n",
            program, strerror(errno));
    free(program);
    return CLI_FAILED;
}

const struct cli_command CMD_TOP = {
    .name = "top",
    .run = run,
    .summary = "watch streams, topics, consumers, services and nodes, live",
    .usage =
        "lineshaft top - watch streams, topics, consumers, services and nodes, live\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft top [-i TIME] [--plain | --json] [--count N]\n"
        "\n"
        "DESCRIPTION\n"
        "  What flows through the broker, and what runs. On a terminal a full screen, else tables. Numbers are of the last\n"
        "  interval; - is what is not known, such as a rate when counting has just begun. A broker that goes away is said to\n"
        "  be away, and shown again when it is back.\n"
        "\n"
        "  overview   The busiest of everything below.\n"
        "  streams    Events and bytes a second; what each holds, how long it keeps it, and how it is.\n"
        "  topics     The same for topics, those too that no stream keeps, and when the latest event came.\n"
        "  consumers  Lag (events pending), events acknowledged a second, in flight, age of the oldest, members, dead letters.\n"
        "  services   Who serves which requests: workers, slots, busy ones, requests that wait, requests a second.\n"
        "  nodes      Processes of every `lineshaft up` on this broker, with CPU, memory (PSS) and restarts, and all other\n"
        "             clients; where `up` does not run, CPU and memory are not known.\n"
        "\n"
        "KEYS\n"
        "  Tab, Shift-Tab, 1 to 6  Next panel, former one, this one.\n"
        "  s, S                    Sort by the next column, by the former one.\n"
        "  r                       Reverse the order.\n"
        "  /                       Filter: rows that have this text. Return keeps it, Esc clears it.\n"
        "  Up, Down, PgUp, PgDn, Home, End\n"
        "                          Scroll.\n"
        "  p                       Pause: nothing is asked any more; again to go on.\n"
        "  +, -                    A longer interval, a shorter one.\n"
        "  ?                       Keys, and what the columns of this panel mean.\n"
        "  q, Ctrl-C               Quit.\n"
        "\n"
        "OPTIONS\n"
        "  -i, --interval TIME  Seconds, such as 2 or 0.5, or a duration, such as 500ms; default 1.\n"
        "  --plain              Tables, also on a terminal: one interval, or with -i one after the other until it is ended.\n"
        "  -j, --json           One JSON object an interval: the lists as the broker and `up` tell them, with rates;\n"
        "                       docs/protocol.md, \"Administration\".\n"
        "  -n, --count N        Tables or objects: so many; 0: until it is ended.\n"
        "  --url URL            The broker; default $LINESHAFT_URL, else tcp://127.0.0.1:7400.\n"
        "  --timeout TIME       Give up after so long without an answer, such as 500ms or 1m; default 10s, and 2s when nothing\n"
        "                       listens at the address. On a screen, and without end, only to begin with.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft top\n"
        "  lineshaft top --plain\n"
        "  lineshaft top --json -i 10 >> load.jsonl\n"
        "  lineshaft top --json | jq '.consumers[] | {name, pending, rate}'\n"
        "\n"
        "EXIT STATUS\n"
        "  0  fine\n"
        "  1  failed; the reason is on standard error\n"
        "  2  wrong usage\n"
        "  3  the broker cannot be reached\n",
};
