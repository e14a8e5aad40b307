/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `ingress`. */
#include <stdio.h>
#include <string.h>

#include "nodes/ingress/options.h"

#define AT(member) .offset = offsetof(struct ingress_options, member)
#define MIB(n) ((int64_t) (n) << 20)

/* clang-format off */
static const char *const CONTENTS[] = {"full", "none", NULL};

static const struct kind_option OPTIONS[] = {
    {"listen", KIND_ADDRESS, AT(listen), .fallback = "127.0.0.1:7480",
     .help = "Address of the HTTP server. Off loopback it needs `keys`."},
    {"keys", KIND_TEXT_MAP, KIND_SECRET, AT(keys),
     .help = "API keys: a name for the caller, and `sha256:` with the 64 hexadecimal digits of the key's SHA-256 "
             "(`printf %s KEY | sha256sum`). Without keys everybody who reaches the address may do everything."},
    {"insecure", KIND_BOOL, AT(insecure), .fallback = "false",
     .help = "Allow to listen off loopback without keys."},
    {"hosts", KIND_TEXTS, AT(hosts),
     .help = "Further names by which browsers may call it (the Host header); on loopback without keys only loopback names "
             "are let in, which keeps rebound DNS names out."},
    {"origins", KIND_TEXTS, AT(origins),
     .help = "Other web origins whose pages may call it (CORS), such as `https://app.example.com`; none by default."},
    {"content", KIND_ENUM, AT(content), .fallback = "full", .words = CONTENTS,
     .help = "`full`: chat events carry the text of messages and answers. `none`: roles and counts only."},
    {"body_max", KIND_SIZE, AT(body_max), .fallback = "4MiB", .min = 1024, .max = MIB(64),
     .help = "Largest body of a request; never more than the broker's `body_max` where it travels over the bus."},
    {"connections_max", KIND_INT, AT(connections_max), .fallback = "10000", .min = 1, .max = 1000000,
     .help = "Most connections at once."},
    {"connections_per_peer", KIND_INT, AT(connections_per_peer), .fallback = "0", .min = 0, .max = 1000000,
     .help = "Most connections of one address; 0: no limit."},
    {"header_timeout", KIND_DURATION, AT(header_timeout), .fallback = "10s", .min = 100, .max = 600000,
     .help = "Time for the header of a request, however it drips in."},
    {"chat_timeout", KIND_DURATION, AT(chat_timeout), .fallback = "10m", .min = 1000, .max = 3600000,
     .help = "Longest chat turn."},
    {"hold", KIND_DURATION, AT(hold), .fallback = "10s", .min = 0, .max = 600000,
     .help = "How long a streamed answer waits for its first token before the response begins without it. Until then "
             "an error still has its own HTTP status."},
    {"keep_alive", KIND_DURATION, AT(keep_alive), .fallback = "15s", .min = 100, .max = 600000,
     .help = "A comment line is sent on a stream after so long a silence."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_REQUESTS] = {"http_requests_total", "HTTP requests whose header was accepted"},
    [METRIC_REFUSED] = {"http_refused_total", "HTTP requests refused by the gate or a limit"},
    [METRIC_DENIED] = {"http_denied_total", "HTTP requests without a valid key, or from a web page of another origin"},
    [METRIC_CONNECTIONS] = {"http_connections", "open HTTP connections"},
    [METRIC_CHATS] = {"chats_total", "chat turns begun"},
    [METRIC_CHATS_OPEN] = {"chats_open", "chat turns under way"},
    [METRIC_CHATS_COMPLETED] = {"chats_completed_total", "chat turns answered to their end"},
    [METRIC_CHATS_FAILED] = {"chats_failed_total", "chat turns that failed"},
    [METRIC_CHATS_CANCELLED] = {"chats_cancelled_total", "chat turns given up by their caller"},
    [METRIC_PROMPT_TOKENS] = {"prompt_tokens_total", "tokens of prompts"},
    [METRIC_COMPLETION_TOKENS] = {"completion_tokens_total", "tokens of answers"},
    [METRIC_FEEDS_OPEN] = {"feeds_open", "open event feeds"},
    [METRIC_FEED_EVENTS] = {"feed_events_total", "events sent on event feeds"},
    {0}};
/* clang-format on */

static const char *const GIVES[] = {"chat.request", "chat.completed", "chat.failed", "chat.cancelled", "chat.feedback", NULL};
static const char *const ASKS[] = {"chat.>", NULL};

static bool is_loopback(const char *address)
{
    bool ipv4 = strncmp(address, "127.", 4) == 0 && address[strspn(address, "0123456789.")] == ':'; /* no name that begins so */
    return ipv4 || strncmp(address, "localhost:", 10) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

static bool is_key(const char *text)
{
    return strncmp(text, "sha256:", 7) == 0 && strlen(text + 7) == 64 && strspn(text + 7, "0123456789abcdef") == 64;
}

static bool check(const void *options, struct kind_problem *problem)
{
    const struct ingress_options *o = options;
    char text[sizeof problem->text];
    for (size_t i = 0; i < o->keys.count; i++) {
        if (is_key(o->keys.values[i]))
            continue;
        snprintf(text, sizeof text, "the key of \"%.64s\" is not written as sha256:HEX", o->keys.keys[i]);
        return kind_complain(problem, "keys", text,
                             "printf %s KEY | sha256sum shows the 64 lower-case digits; write sha256: before them");
    }
    if (is_loopback(o->listen) || o->keys.count || o->insecure)
        return true;
    snprintf(text, sizeof text, "the HTTP server would be open to the network at %.100s", o->listen);
    return kind_complain(problem, "listen", text,
                         "listen on 127.0.0.1, or give keys, or say insecure: true where the network itself is closed");
}

const struct kind kind_ingress = {
    .name = "ingress",
    .summary = "the HTTP door: chat page, OpenAI-compatible API, events and requests over HTTP, metrics",
    .about = "Serves browsers and HTTP clients on one address, and turns what they ask into events and requests on the bus: "
             "the OpenAI API (/v1), publishing and following events (/api/events), requests (/api/requests), the routes that "
             "other nodes declare, /metrics for Prometheus, and the chat page at /. The whole list with examples is in "
             "docs/nodes/ingress.md and, while it runs, at /docs.",
    .options = OPTIONS,
    .options_size = sizeof(struct ingress_options),
    .gives = GIVES,
    .asks = ASKS,
    .metrics = METRICS,
    .check = check,
};
