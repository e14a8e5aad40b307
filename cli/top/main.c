/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft-top: what `lineshaft top` becomes. Options, signals, and waiting for several things at once. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/top/top.h"
#include "lib/clock.h"

#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 3600000
#define NUMBER_MAX 15

const struct cli_command TOP = {.name = "top"};

/* ---- signals ---- */

static volatile sig_atomic_t interrupted;
static sigset_t unblocked; /* while waiting */

static void on_signal(int signal)
{
    interrupted = signal;
}

int top_interrupted(void)
{
    return interrupted;
}

/* They are taken while we wait, so that none is missed between a look and a wait. */
static void take_signals(void)
{
    static const int ENDING[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    for (size_t i = 0; i < sizeof ENDING / sizeof *ENDING; i++) {
        sigaddset(&blocked, ENDING[i]);
        sigaction(ENDING[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &unblocked);
}

/* Ctrl-C ends it as `q` does. Whoever sent another signal learns that it was the end. */
static int end_by_signal(int status)
{
    if (interrupted && interrupted != SIGINT) {
        signal(interrupted, SIG_DFL);
        raise(interrupted);
        sigprocmask(SIG_SETMASK, &unblocked, NULL);
    }
    return status;
}

/* ---- what both forms need ---- */

int top_poll(struct top *top, int fd, int64_t timeout_ms, struct ls_error *err)
{
    struct pollfd fds[] = {{.fd = ls_client_fd(top->bus.client), .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int64_t due_ms = ls_client_due(top->bus.client);
    int64_t wait_ms = due_ms >= 0 && due_ms < timeout_ms ? due_ms : timeout_ms > 0 ? timeout_ms : 0;
    struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};
    ppoll(fds, 2, &wait, &unblocked);
    if (fd >= 0 && fds[1].revents & (POLLHUP | POLLERR | POLLNVAL) && !interrupted)
        interrupted = SIGHUP;
    return ls_client_step(top->bus.client, 0, err) < 0 ? -1 : 0;
}

bool top_next(struct top *top, json_t *sample)
{
    if (!json_is_object(json_object_get(sample, "broker"))) {
        json_decref(sample);
        return false;
    }
    top_digest(sample, top->sample);
    json_decref(top->sample);
    top->sample = sample;
    return true;
}

/* ---- options ---- */

/* Seconds ("2", "0.5"), or a duration ("500ms", "1m"). */
static bool take_interval(struct top *top, const char *text)
{
    char *end = NULL;
    bool plain = strlen(text) <= NUMBER_MAX && strspn(text, "0123456789.") == strlen(text);
    double seconds = plain ? strtod(text, &end) : 0;
    if (seconds > 0 && !*end && seconds < 1e6)
        top->interval_ms = (int64_t) (seconds * 1000 + 0.5);
    else if (!clock_parse_duration(text, &top->interval_ms))
        top->interval_ms = 0;
    if (top->interval_ms >= INTERVAL_MIN_MS && top->interval_ms <= INTERVAL_MAX_MS)
        return true;
    options_usage(&TOP, "--interval: \"%.60s\" is neither seconds, such as 2 or 0.5, nor a duration from 100ms to 1h", text);
    return false;
}

struct chosen {
    bool plain, interval, count;
};

static bool take(struct top *top, struct chosen *chosen, int option)
{
    bool ok;
    if (options_broker_take(&TOP, &top->broker, option, &ok))
        return ok;
    switch (option) {
    case 'p': chosen->plain = true; return true;
    case 'j': chosen->plain = top->json = true; return true;
    case 'i': chosen->interval = true; return take_interval(top, optarg);
    case 'n':
        chosen->plain = chosen->count = true;
        return options_number(&TOP, "--count", optarg, UINT32_MAX, &top->count);
    default: return false;
    }
}

static bool is_screen(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

int main(int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER,
                                          {"interval", required_argument, NULL, 'i'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"plain", no_argument, NULL, 'p'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    struct top top = {.interval_ms = 1000};
    struct chosen chosen = {false, false, false};
    signal(SIGPIPE, SIG_IGN);
    options_broker_init(&top.broker);
    for (int option; (option = options_next(&TOP, argc, argv, "i:n:j", LONGS)) != OPTIONS_END;)
        if (!take(&top, &chosen, option))
            return CLI_USAGE;
    if (optind < argc)
        return options_usage(&TOP, "it takes no arguments, and \"%.60s\" is one", argv[optind]);
    if (!chosen.count)
        top.count = chosen.interval ? 0 : 1;
    int status = bus_open(&top.bus, &TOP, &top.broker, NULL);
    if (status == CLI_OK) {
        take_signals();
        top.ask.client = top.bus.client;
        status = chosen.plain || !is_screen() ? top_plain(&top) : top_screen(&top);
    }
    bus_close(&top.bus);
    top_ask_fini(&top.ask);
    json_decref(top.sample);
    return end_by_signal(status);
}
