/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

/* Reading options: getopt_long, with messages that name the nearest option. */

#define OPTIONS_END (-1)
#define OPTIONS_BAD '?'

/* options_next is getopt_long for `command`; at a wrong option it prints the message and returns OPTIONS_BAD.
 * `shorts` is as for getopt_long ("+" first: stop at the first argument that is no option). */
int options_next(const struct cli_command *command, int argc, char **argv, const char *shorts, const struct option *longs);

/* options_usage prints "lineshaft NAME: message" and where to read more; returns CLI_USAGE. */
int options_usage(const struct cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What every command that talks to a broker takes. Write the two long options with OPTIONS_BROKER, and offer each
 * result of options_next to options_broker_take: true when it was one of them (false in *ok after a wrong value). */
struct options_broker {
    const char *url;
    int64_t timeout_ms;
    int64_t refused_ms; /* a broker that refuses the first connection all this time is not there */
};
#define OPTION_URL 0x1000
#define OPTION_TIMEOUT 0x1001
#define OPTIONS_BROKER {"url", required_argument, NULL, OPTION_URL}, {"timeout", required_argument, NULL, OPTION_TIMEOUT}
#define OPTIONS_BROKER_USAGE                                                                                            \
    "  --url URL        The broker; default $LINESHAFT_URL, else tcp://127.0.0.1:7400.\n"                               \
    "  --timeout TIME   Give up after so long without an answer, such as 500ms or 1m; default 10s,\n"                   \
    "                   and 2s when nothing listens at the address.\n"
#define OPTIONS_EXIT_USAGE                                                                                              \
    "EXIT STATUS\n"                                                                                                     \
    "  0  fine\n"                                                                                                       \
    "  1  failed; the reason is on standard error\n"                                                                    \
    "  2  wrong usage\n"                                                                                                \
    "  3  the broker cannot be reached\n"
#define OPTIONS_URL_DEFAULT "tcp://127.0.0.1:7400"
#define OPTIONS_TIMEOUT_MS 10000
#define OPTIONS_REFUSED_MS 2000

void options_broker_init(struct options_broker *broker); /* from the environment */
bool options_broker_take(const struct cli_command *command, struct options_broker *broker, int option, bool *ok);

/* Each prints a message that names `what` (such as "--last") and returns false when `text` is not one. */
bool options_number(const struct cli_command *command, const char *what, const char *text, uint64_t max, uint64_t *value);
/* options_moment reads a duration back from now, or a time; microseconds since 1970. */
bool options_moment(const struct cli_command *command, const char *what, const char *text, int64_t *time_us);

#endif
