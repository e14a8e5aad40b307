/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft req: asks for work and prints the answer's parts as they come. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bus.h"
#include "cli/compose.h"
#include "cli/render.h"
#include "lib/json.h"

#define REQUEST_TIMEOUT_MAX_MS 3600000 /* docs/protocol.md, "Requests" */
#define PARTS_MAX 10000

struct ask {
    struct bus bus;
    struct options_broker broker;
    struct compose compose;
    uint64_t parts;
    bool json, raw, ended;
    int status;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void) signal;
    interrupted = 1;
}

static void put_part(const struct ask *a, const struct ls_part *part)
{
    struct buf line = {0};
    if (a->raw) {
        buf_add(&line, part->body.data, part->body.len);
        render_put(&line, stdout);
    } else if (a->json) {
        buf_addf(&line, "{\"n\":%u,\"last\":%s%s", part->n, part->last ? "true" : "false", part->body.len ? "," : "");
        json_put_body(&line, part->body);
        printf("%s}\n", buf_text(&line));
    } else if (part->body.len) {
        render_body(&line, part->body.data, part->body.len, SIZE_MAX);
        puts(buf_text(&line));
    }
    buf_fini(&line);
    fflush(stdout);
}

static void put_error(const struct ask *a, const struct ls_error *err)
{
    struct buf line = {0};
    if (a->json) {
        buf_addf(&line, "{\"error\":\"%s\",\"number\":%d,\"again\":%s,\"text\":", err->name, err->number,
                 err->again ? "true" : "false");
        json_put_text(&line, err->text);
        printf("%s}\n", buf_text(&line));
    }
    buf_fini(&line);
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct ask *a = arg;
    if (part->err) {
        put_error(a, part->err);
        a->status = bus_failed(&CMD_REQ, part->err);
    } else {
        put_part(a, part);
    }
    a->ended = part->last || part->err;
}

static bool take_option(struct ask *a, int option)
{
    bool ok = true;
    if (options_broker_take(&CMD_REQ, &a->broker, option, &ok) || compose_take(&CMD_REQ, &a->compose, option, &ok))
        return ok;
    if (option == 'j')
        a->json = true;
    else if (option == 'r')
        a->raw = true;
    else if (option == 'p')
        ok = options_number(&CMD_REQ, "--parts", optarg, PARTS_MAX, &a->parts);
    else
        ok = false;
    return ok;
}

static int take_arguments(struct ask *a, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER, COMPOSE_OPTIONS, {"json", no_argument, NULL, 'j'},
                                          {"raw", no_argument, NULL, 'r'}, {"parts", required_argument, NULL, 'p'}, {0}};
    int option;
    while ((option = options_next(&CMD_REQ, argc, argv, "a:j", LONGS)) != OPTIONS_END)
        if (!take_option(a, option))
            return CLI_USAGE;
    compose_finish(&a->compose);
    if (argc == optind)
        return options_usage(&CMD_REQ, "give a topic, such as chat.generate");
    if (argc - optind > 2)
        return options_usage(&CMD_REQ, "too many arguments: put the data into quotes");
    a->compose.event.topic = ls_str(argv[optind]);
    if (a->broker.timeout_ms > REQUEST_TIMEOUT_MAX_MS)
        return options_usage(&CMD_REQ, "--timeout: a request may take an hour at most");
    const char *data = argv[optind + 1];
    if (data && a->compose.file)
        return options_usage(&CMD_REQ, "DATA and --file exclude each other");
    bool ok = !data || compose_body(&CMD_REQ, &a->compose, data, strlen(data));
    if (a->compose.file)
        ok = compose_file(&CMD_REQ, &a->compose);
    return ok ? CLI_OK : CLI_FAILED;
}

static int ask(struct ask *a)
{
    struct ls_error err = {0};
    struct ls_request_options options = {.timeout_ms = (int) a->broker.timeout_ms, .parts = (uint32_t) a->parts};
    int status = bus_open(&a->bus, &CMD_REQ, &a->broker, NULL);
    if (status != CLI_OK)
        return status;
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int) SA_RESETHAND}, NULL);
    uint64_t rid = ls_request(a->bus.client, &a->compose.event, &options, on_part, a, &err);
    if (!rid)
        return bus_failed(&CMD_REQ, &err);
    while (!a->ended) {
        if (ls_client_step(a->bus.client, 200, &err) < 0)
            return bus_failed(&CMD_REQ, &err);
        if (interrupted) {
            ls_request_cancel(a->bus.client, rid);
            interrupted = 0;
        }
    }
    return a->status;
}

static int run(int argc, char **argv)
{
    struct ask a = {.parts = 0};
    options_broker_init(&a.broker);
    a.broker.timeout_ms = 30000;
    int status = take_arguments(&a, argc, argv);
    if (status == CLI_OK)
        status = ask(&a);
    bus_close(&a.bus);
    compose_fini(&a.compose);
    return status;
}

const struct cli_command CMD_REQ = {
    .name = "req",
    .run = run,
    .summary = "send a request and print the answer as it comes",
    .usage =
        "lineshaft req - send a request and print the answer as it comes\n"
        "\n"
        "SYNOPSIS\n"
        "  lineshaft req [OPTION ...] TOPIC [DATA]\n"
        "\n"
        "DESCRIPTION\n"
        "  Asks whoever serves TOPIC. Each part of the answer is printed on a line of its own, when it arrives. Ctrl-C\n"
        "  cancels the request. Without DATA the request's body is empty.\n"
        "\n"
        "OPTIONS\n"
        "  --parts N        So many parts may be under way; default 16.\n"
        "  --raw            The parts' bytes as they are, nothing between them.\n"
        "  -j, --json       A JSON object for each part: n, last, data (or data_base64); at the end of a failed request\n"
        "                   error, number, again, text.\n"
        COMPOSE_USAGE
        "  --url URL        The broker; default $LINESHAFT_URL, else tcp://127.0.0.1:7400.\n"
        "  --timeout TIME   How long the answer may take, an hour at most; default 30s.\n"
        "\n"
        "EXAMPLES\n"
        "  lineshaft req chat.generate '{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}'\n"
        "  lineshaft req image.render --file prompt.json --raw > picture.png\n"
        "\n"
        "EXIT STATUS\n"
        "  0  the whole answer arrived\n"
        "  1  the request failed; the reason is on standard error\n"
        "  2  wrong usage\n"
        "  3  the broker cannot be reached\n",
};
