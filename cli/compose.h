/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMPOSE_H
#define CLI_COMPOSE_H
#include "cli/options.h"
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* An event or a request as `pub` and `req` compose it from their options and arguments. */

enum compose_form { FORM_AUTO, FORM_TEXT, FORM_JSON, FORM_HEX, FORM_BYTES };

struct compose {
    struct ls_event event; /* topic and attributes; body is filled by compose_body */
    enum compose_form form;
    const char *file;      /* --file */
    struct buf more;       /* further attributes, packed pairs without the map's head */
    uint32_t more_count;
    struct buf more_map, body;
    char trace[64];
    bool doubted; /* it was said that a body only looks like JSON */
};

/* Options for LONGS and their help. Offer each result of options_next to compose_take, as with options_broker_take. */
#define OPTION_AS 0x1010
#define OPTION_FILE 0x1011
#define OPTION_ID 0x1012
#define OPTION_SOURCE 0x1013
#define OPTION_SUBJECT 0x1014
#define OPTION_TRACE 0x1015
#define OPTION_KEY 0x1016
#define COMPOSE_OPTIONS                                                                                                  \
    {"as", required_argument, NULL, OPTION_AS}, {"file", required_argument, NULL, OPTION_FILE},                          \
        {"id", required_argument, NULL, OPTION_ID}, {"source", required_argument, NULL, OPTION_SOURCE},                  \
        {"subject", required_argument, NULL, OPTION_SUBJECT}, {"trace", required_argument, NULL, OPTION_TRACE},          \
        {"key", required_argument, NULL, OPTION_KEY}, {"attribute", required_argument, NULL, 'a'}
#define COMPOSE_USAGE                                                                                                    \
    "  --as FORM        What DATA is: text (becomes a msgpack string), json (checked; a bare number, string, true,\n"    \
    "                   false or null becomes msgpack), hex (the bytes of the body in hexadecimal), bytes (as it is).\n" \
    "                   Default: a JSON object or array is json, anything else text; where { or [ begins what is\n"       \
    "                   no JSON, a line on standard error says so.\n"                                                     \
    "  --file PATH      The body is the content of this file (- for standard input); as bytes unless --as is given.\n"   \
    "  --id ID          The event's id; default: a new UUID.\n"                                                          \
    "  --source NAME    Who makes it; default: lineshaft-COMMAND.\n"                                                  \
    "  --subject TEXT   What it is about: a run's or a chat's id.\n"                                                     \
    "  --key TEXT       Its partitionkey.\n"                                                                             \
    "  --trace TRACE    A W3C traceparent, or a trace id of 32 hexadecimal digits.\n"                                    \
    "  -a, --attribute NAME=VALUE\n"                                                                                     \
    "                   Any other attribute; may be repeated.\n"

bool compose_take(const struct cli_command *command, struct compose *compose, int option, bool *ok);

/* compose_body sets event.body from `data` by the form; false after a message. The bytes live until the next call. */
bool compose_body(const struct cli_command *command, struct compose *compose, const char *data, size_t len);
/* compose_file reads --file and sets the body; false after a message. */
bool compose_file(const struct cli_command *command, struct compose *compose);
/* compose_finish must be called once behind the last option: it closes the map of attributes. */
void compose_finish(struct compose *compose);
void compose_fini(struct compose *compose);

#endif
