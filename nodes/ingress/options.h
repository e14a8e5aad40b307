/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_OPTIONS_H
#define NODES_INGRESS_OPTIONS_H
#include "lib/kind.h"

/* What the tables (kind.c) and the code share. The help of each option is in kind.c. */

enum ingress_content { CONTENT_FULL, CONTENT_NONE };

struct ingress_options {
    const char *listen;
    struct kind_text_map keys;
    bool insecure;
    struct kind_texts hosts, origins;
    int content; /* enum ingress_content */
    int64_t body_max, connections_max, connections_per_peer;
    int64_t header_timeout, chat_timeout, hold, keep_alive;
};

enum ingress_metric {
    METRIC_REQUESTS,
    METRIC_REFUSED,
    METRIC_DENIED,
    METRIC_CONNECTIONS,
    METRIC_CHATS,
    METRIC_CHATS_OPEN,
    METRIC_CHATS_COMPLETED,
    METRIC_CHATS_FAILED,
    METRIC_CHATS_CANCELLED,
    METRIC_PROMPT_TOKENS,
    METRIC_COMPLETION_TOKENS,
    METRIC_FEEDS_OPEN,
    METRIC_FEED_EVENTS,
};

extern const struct kind kind_ingress;

#endif
