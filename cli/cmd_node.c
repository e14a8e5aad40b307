/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft node: becomes one process of one node, as `up` would start it; in containers, or to look at one alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/up/launch.h"
#include "cli/options.h"
#include "cli/render.h"
#include "lib/xmem.h"
#include "nodes/kinds.h"

#define REPLICAS_MAX 256

struct wanted {
    const char *name, *file, *url;
    uint64_t replica; /* 0: not given */
};

static void print_kinds(void)
{
    for (size_t i = 0; KINDS[i]; i++)
        printf("  %-10s %s\n", KINDS[i]->name, KINDS[i]->summary);
    printf("  %-10s %s\n", "exec", TOPOLOGY_EXEC_SUMMARY);
}

static void print_more(void)
{
    puts("\nKINDS");
    print_kinds();
}

static const struct topology_node *find_node(const struct topology *t, const char *name)
{
    const char **names = xcalloc(t->node_count + 1, sizeof *names);
    for (size_t i = 0; i < t->node_count; i++) {
        names[i] = t->nodes[i].name;
        if (strcmp(names[i], name) == 0) {
            free(names);
            return &t->nodes[i];
        }
    }
    const char *near = diag_nearest(name, names);
    fprintf(stderr, "lineshaft node: %s has no node \"%s\"", t->file, name);
    if (near)
        fprintf(stderr, "; did you mean \"%s\"?", near);
    else if (t->node_count)
        fputs("; it has:", stderr);
    for (size_t i = 0; !near && i < t->node_count; i++)
        fprintf(stderr, "%s %s", i ? "," : "", names[i]);
    fputc('\n', stderr);
    free(names);
    return NULL;
}

/* Where the broker is: said here, or in the environment, or in the file. NULL after a message. */
static char *find_url(const struct topology *t, const struct wanted *w)
{
    const char *outer = getenv("LINESHAFT_URL");
    if (w->url)
        return xstrdup(w->url);
    if (outer && *outer)
        return xstrdup(outer);
    if (t->broker.listen.port)
        return launch_url(t->broker.listen.host, t->broker.listen.port);
    fprintf(stderr, "lineshaft node: %s lets the broker choose its port; say where it is: --url tcp://HOST:PORT\n", t->file);
    return NULL;
}

/* Does not return if all is well. */
static int become(const struct topology_node *node, uint64_t replica, const char *url)
{
    char **command = launch_command(node), **env = launch_environment(node, (long) replica, url);
    const char *what = node->directory, *verb = "enter the directory";
    if (!node->directory || chdir(node->directory) == 0) {
        environ = env;
        what = command[0];
        verb = "execute";
        execvp(command[0], command);
    }
    fprintf(stderr, "lineshaft node: cannot %s %s: %s\n", verb, what, strerror(errno));
    launch_texts_free(command);
    if (environ != env)
        launch_texts_free(env);
    return CLI_FAILED;
}

static int start(const struct topology *t, const struct wanted *w)
{
    const struct topology_node *node = find_node(t, w->name);
    if (!node)
        return CLI_FAILED;
    if (w->replica > (uint64_t) node->replicas) {
        fprintf(stderr, "lineshaft node: node \"%s\" has %lld replica%s in %s; raise \"replicas\" there\n", node->name,
                (long long) node->replicas, node->replicas == 1 ? "" : "s", t->file);
        return CLI_FAILED;
    }
    char *url = launch_possible("node", node) ? find_url(t, w) : NULL;
    int status = url ? become(node, w->replica ? w->replica : 1, url) : CLI_FAILED;
    free(url);
    return status;
}

static int load_and_start(const struct wanted *w)
{
    struct diag_list diags = {0};
    struct buf problems = {0};
    struct topology *t = topology_load(w->file, KINDS, &diags);
    if (diags.error_count) {
        diag_print(&diags, (struct diag_style){.colour = render_colours(STDERR_FILENO), .max = 20}, &problems);
        render_put(&problems, stderr);
    }
    int status = t && !diags.error_count ? start(t, w) : CLI_FAILED;
    buf_fini(&problems);
    topology_destroy(&t);
    diag_list_fini(&diags);
    return status;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"list", no_argument, NULL, 'l'},
                                          {"replica", required_argument, NULL, 'r'},
                                          {"url", required_argument, NULL, 'u'},
                                          {0}};
    struct wanted w = {0};
    for (int option; (option = options_next(&CMD_NODE, argc, argv, "", LONGS)) != OPTIONS_END;) {
        if (option == 'l') {
            print_kinds();
            return CLI_OK;
        }
        if (option == 'u')
            w.url = optarg;
        else if (option != 'r' || !options_number(&CMD_NODE, "--replica", optarg, REPLICAS_MAX, &w.replica))
            return CLI_USAGE;
    }
    if (argc - optind != 2)
        return options_usage(&CMD_NODE, "give the name of one node and its topology file");
    w.name = argv[optind];
    w.file = argv[optind + 1];
    return load_and_start(&w);
}

const struct cli_command CMD_NODE = {
    .name = "node",
    .run = run,
    .more = print_more,
    .summary = "run one node of a topology, in the foreground",
    .usage =
        "lineshaft node - run one node of a topology, in the foreground\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft node [--replica N] [--url URL] NAME TOPOLOGY\n"
        "  lineshaft node --list\n"
        "  lineshaft help node KIND [--markdown]\n"
        "\n"
        "DESCRIPTION\n"
        "  Checks the file and becomes one process of the node NAME, with the command, the directory and the environment\n"
        "  that `lineshaft up` gives it: lineshaft-node for built-in kinds, the node's own command for exec. It starts no\n"
        "  broker, and nobody starts it again. Use it in containers, under a service manager, or with a debugger.\n"
        "\n"
        "OPTIONS\n"
        "  --replica N      Which of the node's replicas; default 1.\n"
        "  --url URL        The broker; default $LINESHAFT_URL, else where `broker: listen` says.\n"
        "  --list           List the kinds of nodes.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft node greeter config/hello.yaml\n"
        "  lineshaft node --replica 2 --url tcp://broker:7400 model config/chat.yaml\n"
        "\n"
        "EXIT STATUS\n"
        "  Once it runs, the node's own. Before that:\n"
        "  1  the file has problems or no such node, or the program cannot be executed\n"
        "  2  wrong usage\n",
};
