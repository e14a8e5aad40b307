/* SPDX-License-Identifier: Apache-2.0 */
/* `lineshaft broker`: the broker alone, in the foreground. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "cli/broker_config.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/render.h"
#include "cli/up/listen.h"
#include "lib/logger.h"
#include "nodes/kinds.h"
#include "yaml/diag.h"

#define PORT_MAX 65531 /* the four above it are the broker's too */

/* Somebody else has the data directory: how to run beside it. */
static void hint_another(const struct topology *t, const char *text)
{
    struct buf way = {0}, line = {0};
    listen_another(t, text, true, &way);
    if (way.len) {
        render_harmless(&line, buf_text(&way), way.len);
        fprintf(stderr, "A second copy, with data of its own: %s\n", buf_text(&line));
    }
    buf_fini(&way);
    buf_fini(&line);
}

static int serve(const struct topology *t, const char *text)
{
    struct ls_error err;
    struct broker_config *config = broker_config_new(t);
    struct broker *b = broker_open(config, &err);
    int status = CLI_FAILED;
    if (b) {
        broker_run(b);
        broker_close(&b);
        status = CLI_OK;
    } else {
        logger_put(LEVEL_ERROR, "broker-refused", err.text, "name=%s", err.name);
        if (strcmp(err.name, "CONFLICT") == 0 && strstr(err.text, "data directory"))
            hint_another(t, text);
    }
    broker_config_destroy(&config);
    return status;
}

static void block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file as large as a limit allows (ulimit -f) is an error of the write, as a full disk is */
}

static void print_problems(const struct diag_list *diags)
{
    struct buf text = {0};
    diag_print(diags, (struct diag_style){.colour = render_colours(STDERR_FILENO), .max = 20}, &text);
    render_put(&text, stderr);
    buf_fini(&text);
}

/* `port` 0: as the topology says. */
static int run_topology(const char *file, int port)
{
    struct diag_list diags = {0};
    struct topology *t = topology_load(file, KINDS, &diags);
    int status = CLI_FAILED;
    if (t && port)
        t->broker.listen.port = port;
    if (diags.error_count)
        print_problems(&diags);
    else
        status = serve(t, diags.text);
    topology_destroy(&t);
    diag_list_fini(&diags);
    return status;
}

static int run(int argc, char **argv)
{
    static const struct option LONGS[] = {{"debug", no_argument, NULL, 'd'}, {"port", required_argument, NULL, 'p'}, {0}};
    enum log_level level = LEVEL_INFO;
    uint64_t port = 0;
    int option;
    while ((option = options_next(&CMD_BROKER, argc, argv, "", LONGS)) != OPTIONS_END) {
        if (option == 'd')
            level = LEVEL_DEBUG;
        else if (option != 'p' || !options_number(&CMD_BROKER, "--port", optarg, PORT_MAX, &port))
            return CLI_USAGE;
    }
    if (optind + 1 != argc)
        return options_usage(&CMD_BROKER, "one topology file is wanted");
    logger_init("broker", level);
    block_signals(); /* before the first thread */
    return run_topology(argv[optind], (int) port);
}

const struct cli_command CMD_BROKER = {
    .name = "broker",
    .run = run,
    .summary = "run the broker of a topology alone, in the foreground",
    .usage =
        "lineshaft broker - run the broker of a topology alone, in the foreground\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft broker [--debug] [--port N] TOPOLOGY\n"
        "\n"
        "DESCRIPTION\n"
        "  Recovers the data directory, listens, and serves until SIGTERM or SIGINT. It starts no nodes: that is\n"
        "  `lineshaft up`, which runs this command for itself. Use it in containers and under a service manager. The\n"
        "  log goes to standard error; the line with the code broker-ready says that it serves.\n"
        "\n"
        "  On SIGTERM it commits and answers what it has accepted, tells its clients GOODBYE, and ends.\n"
        "\n"
        "OPTIONS\n"
        "  --debug          Log more.\n"
        "  --port N         The first of the five ports, whatever `broker: listen` says; 0 leaves it as it is there.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft broker config/hello.yaml\n"
        "  lineshaft broker --port 7500 config/hello.yaml\n"
        "\n"
        "EXIT STATUS\n"
        "  0  stopped in order\n"
        "  1  could not start; the last line says why\n"
        "  2  wrong usage\n",
};
