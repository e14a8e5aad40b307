/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft up: checks a topology and makes its broker and nodes into children for the supervisor. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/up/launch.h"
#include "cli/up/listen.h"
#include "cli/options.h"
#include "cli/up/orphan.h"
#include "cli/up/stray.h"
#include "cli/up/supervisor.h"
#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/kinds.h"
#include "workflow/workflow.h"

#define BROKER_DELAY_MS 100
#define BROKER_DELAY_MAX_MS 10000
#define BROKER_ENDS 5
#define BROKER_ENDS_WITHIN_MS 60000
#define BROKER_STOP_MS 30000 /* the disk may be slow, and what was acknowledged must get there */
#define TOKEN_VARIABLE "LINESHAFT_TOKEN"
#define TOKEN_BYTES 32
#define PORT_FIRST_TRIED 20000
#define PORT_LAST_TRIED 32000 /* below the range that the system gives to outgoing connections */

/* ---- where the broker listens ---- */

static int choose_port(const char *host)
{
    for (int base = PORT_FIRST_TRIED + (int) (getpid() % 997) * 10; base < PORT_LAST_TRIED; base += LISTEN_BUS_PORTS)
        if (!listen_bus_taken(host, base))
            return base;
    return 0;
}

/* ---- children ---- */

struct workplace {
    const char *url, *mark;
};

static void broker_child(struct child *child, const char *file, int port, const char *mark)
{
    char number[16], option[] = "--port", word[] = "broker", *self = xstrdup(launch_self()), *copy = xstrdup(file);
    snprintf(number, sizeof number, "%d", port);
    char *fixed[] = {self, word, copy, NULL}, *chosen[] = {self, word, option, number, copy, NULL};
    *child = (struct child){.speaker.name = "broker", .kind = "broker", .is_broker = true,
                            .argv = launch_texts(port ? chosen : fixed), .env = launch_texts(environ),
                            .delay_ms = BROKER_DELAY_MS, .delay_max_ms = BROKER_DELAY_MAX_MS,
                            .limit = BROKER_ENDS, .within_ms = BROKER_ENDS_WITHIN_MS, .stop_timeout_ms = BROKER_STOP_MS};
    free(self);
    free(copy);
    launch_set(&child->env, xstrdup(mark));
    child_init(child);
}

static void node_child(struct child *child, const struct topology_node *node, long replica, const struct workplace *place)
{
    char *name = launch_member(node, replica);
    *child = (struct child){.speaker.name = name, .node = node->name, .kind = topology_kind_name(node), .argv = launch_command(node),
                            .env = launch_environment(node, replica, place->url),
                            .directory = node->directory ? xstrdup(node->directory) : NULL, .asks = node->asks.count > 0,
                            .connects = node->builtin != NULL,
                            .delay_ms = node->restart.delay, .delay_max_ms = node->restart.delay_max,
                            .limit = node->restart.limit, .within_ms = node->restart.within,
                            .stop_timeout_ms = node->stop_timeout};
    child->mark = xasprintf("%s%s.", place->mark, name);
    launch_set(&child->env, xstrdup(child->mark));
    child_init(child);
}

/* ---- the token ---- */

/* By LINESHAFT_TOKEN nodes know each other at their private HTTP ports: new for each start, unless it was given. In the environment only,
 * which other users cannot see; nothing prints it. token_take removes it from ours, as the broker has no use for it; token_put puts it
 * (back) for the nodes. */
static char *token_take(void)
{
    const char *given = getenv(TOKEN_VARIABLE);
    if (given && *given) {
        char *kept = xstrdup(given);
        unsetenv(TOKEN_VARIABLE);
        return kept;
    }
    unsigned char bytes[TOKEN_BYTES];
    char *text = xcalloc(1, 2 * TOKEN_BYTES + 1);
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

static void token_put(char *token)
{
    setenv(TOKEN_VARIABLE, token, 1);
    explicit_bzero(token, strlen(token));
    free(token);
}

/* ---- the command ---- */

/* The wiring, as `graph` tells it: a JSON array. */
static char *wiring(const struct topology *t)
{
    struct buf graph = {0};
    topology_graph(t, "json", &graph);
    json_auto_t *json = json_loadb((const char *) graph.data, graph.len, 0, NULL);
    buf_fini(&graph);
    return json_dumps(json_object_get(json, "nodes"), JSON_COMPACT);
}

static int run_topology(const struct topology *t, const char *text)
{
    const char *host = t->broker.listen.host;
    int port = t->broker.listen.port, chosen = 0;
    orphans_end();
    if (!listen_possible(t, text))
        return CLI_FAILED;
    if (!port)
        port = chosen = choose_port(host);
    if (!port) {
        fprintf(stderr, "lineshaft up: found no %d free ports in a row on %s\n", LISTEN_BUS_PORTS, host);
        return CLI_FAILED;
    }
    size_t count = 1;
    for (size_t i = 0; i < t->node_count; i++) {
        if (!launch_possible("up", &t->nodes[i]))
            return CLI_FAILED;
        count += (size_t) t->nodes[i].replicas;
    }
    char *token = token_take();
    if (!token) {
        fprintf(stderr, "lineshaft up: the system gives no random bytes for " TOKEN_VARIABLE "\n");
        return CLI_FAILED;
    }
    struct child *children = xcalloc(count, sizeof *children);
    char *url = launch_url(host, port), id[UUID_TEXT_SIZE];
    uuid7(clock_wall_us(), id);
    char *broker_mark = xasprintf("%s=%s.broker", STRAY_VARIABLE, id);
    char *nodes_mark = xasprintf("%s=%s.node.", STRAY_VARIABLE, id);
    broker_child(&children[0], t->file, chosen, broker_mark);
    token_put(token);
    for (size_t i = 0, at = 1; i < t->node_count; i++)
        for (long replica = 1; replica <= t->nodes[i].replicas; replica++)
            node_child(&children[at++], &t->nodes[i], replica, &(struct workplace){url, nodes_mark});
    char *pages = listen_pages(t), *nodes = wiring(t);
    struct up_story story = {.id = id + UUID_TEXT_SIZE - 1 - UP_ID_LEN, .name = t->name, .file = t->file, .nodes = nodes};
    int status = supervise(&(struct supervision){children, count, url, pages, nodes_mark, broker_mark, story});
    for (size_t i = 0; i < count; i++) {
        if (i)
            free((char *) (uintptr_t) children[i].speaker.name);
        child_fini(&children[i]);
    }
    free(children);
    free(url);
    free(pages);
    free(nodes);
    free(broker_mark);
    free(nodes_mark);
    return status;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{0}};
    if (options_next(&CMD_UP, argc, argv, "", LONGS) == OPTIONS_BAD)
        return CLI_USAGE;
    if (argc - optind != 1)
        return options_usage(&CMD_UP, "give one topology file, such as config/hello.yaml");
    if (workflow_is(argv[optind])) {
        fprintf(stderr, "lineshaft up: %s is a workflow, not a topology. `lineshaft check %s` checks it; to run it, put it into a folder "
                        "that `workflows` of a scheduler node names.\n", argv[optind], argv[optind]);
        return CLI_FAILED;
    }
    struct diag_list diags = {0};
    struct topology *t = topology_load(argv[optind], KINDS, &diags);
    struct buf problems = {0};
    diag_print(&diags, (struct diag_style){.colour = render_colours(STDERR_FILENO), .max = 20}, &problems);
    render_put(&problems, stderr);
    int status = CLI_FAILED;
    if (t && diags.error_count == 0)
        status = run_topology(t, diags.text);
    topology_destroy(&t);
    diag_list_fini(&diags);
    buf_fini(&problems);
    return status;
}

const struct cli_command CMD_UP = {
    .name = "up",
    .run = run,
    .summary = "run a topology: its broker and its nodes, until Ctrl-C",
    .usage =
        "lineshaft up - run a topology: its broker and its nodes, until Ctrl-C\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft up TOPOLOGY\n"
        "\n"
        "DESCRIPTION\n"
        "  Checks the file, starts its broker (`lineshaft broker TOPOLOGY`), and when that answers, every node, one\n"
        "  process for each replica. Whatever they print comes out with the name in front: standard output on\n"
        "  standard output, standard error on standard error, together with a line for each change of state. When all\n"
        "  run for the first time, and those of built-in kinds are connected, a line says so, and the address to open.\n"
        "\n"
        "  A process that ends is started again after a pause that doubles from `restart.delay` to\n"
        "  `restart.delay_max`; a minute of life resets it. After `restart.limit` ends within `restart.within`\n"
        "  the crash loop is reported, once, with the last lines, and the pause stays at its longest.\n"
        "\n"
        "  Ctrl-C or SIGTERM ends first the nodes that ask (their `asks` names requests), so that what they wait for is still\n"
        "  answered, then the other nodes, the broker last: SIGTERM to their process groups, SIGKILL after `stop_timeout`. A\n"
        "  second Ctrl-C kills all at once. If `up` itself is killed, its children end too.\n"
        "\n"
        "  It answers the request up.status.ID (ID: new at each start; `lineshaft top` finds it) with the state, restarts, CPU\n"
        "  time and memory of every process, measured when somebody asks.\n"
        "\n"
        "  Nodes find LINESHAFT_TOKEN in their environment, by which they know each other at their private HTTP ports: new at\n"
        "  each start, or the one in the environment of `up`.\n"
        "\n"
        "  Nodes of built-in kinds run in the program lineshaft-node, which stands in the same folder as this one. What a\n"
        "  node of kind exec finds in its environment is told in docs/nodes/exec.md.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft up config/hello.yaml\n"
        "  LINESHAFT_PORT=7500 lineshaft up config/hello.yaml     when the file takes its port from there\n"
        "\n"
        "EXIT STATUS\n"
        "  0  stopped in order\n"
        "  1  the file has errors, a port is taken, the broker did not start, or all was killed\n"
        "  2  wrong usage\n",
};
