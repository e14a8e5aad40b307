/* SPDX-License-Identifier: Apache-2.0 */
/* Reading options and their values, and the messages when they are wrong. */
#include "cli/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "yaml/diag.h"

#define LONG_OPTIONS_MAX 40

int options_usage(const struct cli_command *command, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "lineshaft %s: ", command->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n`lineshaft help %s` tells how to use it.\n", command->name);
    return CLI_USAGE;
}

static void say_wrong_long(const struct cli_command *command, const char *word, const struct option *longs)
{
    const char *names[LONG_OPTIONS_MAX + 1] = {"help"};
    size_t count = 1, len = strcspn(word + 2, "=");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int) (len < sizeof name ? len : sizeof name - 1), word + 2);
    for (const struct option *o = longs; o->name && count < LONG_OPTIONS_MAX; o++) {
        if (strcmp(o->name, name) == 0) {
            options_usage(command, o->has_arg == no_argument ? "--%s takes no value" : "--%s needs a value", name);
            return;
        }
        names[count++] = o->name;
    }
    const char *nearest = diag_nearest(name, names);
    if (nearest)
        options_usage(command, "there is no option --%s; did you mean --%s?", name, nearest);
    else
        options_usage(command, "there is no option --%s", name);
}

int options_next(const struct cli_command *command, int argc, char **argv, const char *shorts, const struct option *longs)
{
    opterr = 0;
    int option = getopt_long(argc, argv, shorts, longs, NULL);
    if (option != '?')
        return option;
    const char *word = argv[optind - 1];
    const char *known = optopt ? strchr(shorts, optopt) : NULL;
    if (strncmp(word, "--", 2) == 0)
        say_wrong_long(command, word, longs);
    else if (known && known[1] == ':')
        options_usage(command, "-%c needs a value", optopt);
    else
        options_usage(command, "there is no option -%c", optopt);
    return OPTIONS_BAD;
}

void options_broker_init(struct options_broker *broker)
{
    const char *url = getenv("LINESHAFT_URL");
    broker->url = url && *url ? url : OPTIONS_URL_DEFAULT;
    broker->timeout_ms = OPTIONS_TIMEOUT_MS;
    broker->refused_ms = OPTIONS_REFUSED_MS;
}

static bool parse_duration(const struct cli_command *command, const char *what, const char *text, int64_t *ms)
{
    if (clock_parse_duration(text, ms) && *ms > 0)
        return true;
    options_usage(command, "%s: \"%s\" is not a duration such as 500ms, 30s, 10m, 2h or 7d", what, text);
    return false;
}

bool options_broker_take(const struct cli_command *command, struct options_broker *broker, int option, bool *ok)
{
    *ok = true;
    if (option == OPTION_URL) {
        broker->url = optarg;
    } else if (option == OPTION_TIMEOUT) {
        *ok = parse_duration(command, "--timeout", optarg, &broker->timeout_ms);
        broker->refused_ms = broker->timeout_ms;
    } else {
        return false;
    }
    return true;
}

bool options_number(const struct cli_command *command, const char *what, const char *text, uint64_t max, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && number <= max) {
        *value = number;
        return true;
    }
    if (max == UINT64_MAX)
        options_usage(command, "%s: \"%s\" is not a whole number", what, text);
    else
        options_usage(command, "%s: \"%s\" is not a whole number up to %llu", what, text, (unsigned long long) max);
    return false;
}

bool options_moment(const struct cli_command *command, const char *what, const char *text, int64_t *time_us)
{
    int64_t ms;
    if (clock_parse(text, strlen(text), time_us))
        return true;
    if (clock_parse_duration(text, &ms)) {
        *time_us = clock_wall_us() - ms * 1000;
        return true;
    }
    options_usage(command, "%s: \"%s\" is neither a duration back from now (10m, 2h) nor a time (2026-11-23T10:00:00Z)", what, text);
    return false;
}
