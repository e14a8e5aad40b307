/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft-artifact: what `lineshaft artifact` becomes. Options, verbs, and words for people. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/artifact/artifact.h"
#include "cli/bus.h"
#include "cli/render.h"
#include "lib/clock.h"
#include "lib/node.h"
#include "lib/utf8.h"
#include "yaml/diag.h"

#define RUN_ID_MAX 32
#define TYPE_MAX 127
#define PATIENCE_MS 180000 /* an upload is answered when the store has it: after 60 s at the latest, the door says */
#define WIPE_LINE "\r\x1b[K"

const struct cli_command ARTIFACT = {.name = "artifact"};

static const struct verb {
    const char *name;
    int (*run)(struct artifact *a);
    bool small; /* --timeout is for all of it; else bytes may take as long as they move */
} VERBS[] = {{"put", artifact_put, false}, {"get", artifact_get, false}, {"ls", artifact_ls, true}, {"rm", artifact_rm, true}};
#define VERB_COUNT (sizeof VERBS / sizeof *VERBS)

/* ---- words ---- */

bool artifact_goes_on(const struct artifact *a, int status)
{
    return status != CLI_UNREACHABLE && !a->spent;
}

void artifact_says_it_waits(bool *said, const char *for_what, int64_t left_ms)
{
    char left[RENDER_SHORT_SIZE];
    if (*said)
        return;
    *said = true;
    fprintf(stderr, "%slineshaft artifact: %s; waiting up to %s\n", isatty(STDERR_FILENO) ? WIPE_LINE : "", for_what,
            render_duration((left_ms + 999) / 1000 * 1000000, left));
}

int artifact_failed(const struct ls_error *err)
{
    return bus_failed(&ARTIFACT, err);
}

void artifact_say(const struct artifact *a, const char *format, ...)
{
    va_list args;
    char text[2048];
    struct buf line = {0};
    if (a->quiet)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    render_harmless(&line, text, strlen(text));
    puts(buf_text(&line));
    fflush(stdout);
    buf_fini(&line);
}

void artifact_json(json_t *object)
{
    struct buf line = {0};
    node_write(&line, object);
    puts(buf_text(&line));
    fflush(stdout);
    buf_fini(&line);
    json_decref(object);
}

/* ---- options ---- */

/* They go into headers as they are. */
static bool is_plain(const char *what, const char *text, size_t most)
{
    size_t len = strlen(text), at = 0;
    while (at < len && text[at] >= ' ' && text[at] <= '~')
        at++;
    if (len && at == len && len <= most)
        return true;
    options_usage(&ARTIFACT, "%s: 1 to %zu printable ASCII characters", what, most);
    return false;
}

static bool take(struct artifact *a, int option)
{
    bool ok;
    if (options_broker_take(&ARTIFACT, &a->broker, option, &ok)) {
        if (option == OPTION_TIMEOUT)
            a->patience_ms = a->broker.timeout_ms < INT32_MAX ? a->broker.timeout_ms : INT32_MAX;
        return ok;
    }
    switch (option) {
    case 'h': a->http = optarg; return true;
    case 'i': a->run_id = optarg; return is_plain("--run", optarg, RUN_ID_MAX);
    case 't': a->type = optarg; return is_plain("--type", optarg, TYPE_MAX);
    case 'n': a->no_replace = true; return true;
    case 'r': a->recursive = true; return true;
    case 'l': a->details = true; return true;
    case 'j': a->json = true; return true;
    case 'q': a->quiet = true; return true;
    default: return false;
    }
}

static const struct verb *find_verb(const char *name)
{
    const char *names[VERB_COUNT + 1] = {NULL};
    for (size_t i = 0; i < VERB_COUNT; i++) {
        names[i] = VERBS[i].name;
        if (strcmp(name, VERBS[i].name) == 0)
            return &VERBS[i];
    }
    const char *near = diag_nearest(name, names);
    if (near)
        options_usage(&ARTIFACT, "there is no verb \"%.60s\"; did you mean \"%s\"?", name, near);
    else
        options_usage(&ARTIFACT, "there is no verb \"%.60s\"; the verbs are put, get, ls and rm", name);
    return NULL;
}

static int take_arguments(struct artifact *a, const struct verb **verb, int argc, char **argv)
{
    static const struct option LONGS[] = {OPTIONS_BROKER,
                                          {"http", required_argument, NULL, 'h'},
                                          {"run", required_argument, NULL, 'i'},
                                          {"type", required_argument, NULL, 't'},
                                          {"no-replace", no_argument, NULL, 'n'},
                                          {"recursive", no_argument, NULL, 'r'},
                                          {"long", no_argument, NULL, 'l'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {0}};
    for (int option; (option = options_next(&ARTIFACT, argc, argv, "rljq", LONGS)) != OPTIONS_END;)
        if (!take(a, option))
            return CLI_USAGE;
    if (optind == argc)
        return options_usage(&ARTIFACT, "what is to be done: put, get, ls or rm?");
    *verb = find_verb(argv[optind]);
    a->in_all = *verb && (*verb)->small && a->patience_ms;
    a->patience_ms = a->patience_ms ? a->patience_ms : PATIENCE_MS;
    a->began_ms = clock_mono_ms();
    a->names = argv + optind + 1;
    a->count = (size_t) (argc - optind - 1);
    return *verb ? CLI_OK : CLI_USAGE;
}

int main(int argc, char **argv)
{
    struct artifact a = {.http = getenv("LINESHAFT_HTTP_URL")};
    const struct verb *verb = NULL;
    struct ls_error err = {0};
    signal(SIGPIPE, SIG_IGN); /* a broken connection, or output that nobody reads, is an error with a text */
    options_broker_init(&a.broker);
    if (a.http && !*a.http)
        a.http = NULL;
    int status = take_arguments(&a, &verb, argc, argv);
    a.client = status == CLI_OK ? http_client_open(&err) : NULL;
    if (status == CLI_OK)
        status = a.client ? verb->run(&a) : artifact_failed(&err);
    if (a.client)
        http_client_close(&a.client);
    door_fini(&a.door);
    return status;
}
