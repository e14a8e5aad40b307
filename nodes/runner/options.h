/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_OPTIONS_H
#define NODES_RUNNER_OPTIONS_H
#include "lib/kind.h"

struct runner_options {
    int64_t slots;
    const char *dir;
    int64_t kill_after, log_max, log_keep, log_keep_size;
    const char *log_events;
    struct kind_text_map env;
};

/* How much of a try's log goes onto the bus. */
enum log_events { LOG_EVENTS_RATE, LOG_EVENTS_FULL, LOG_EVENTS_TAIL, LOG_EVENTS_NONE };

/* runner_log_events reads the option `log_events`; *rate is bytes a second, 0 unless LOG_EVENTS_RATE. False if it is
 * malformed. */
bool runner_log_events(const char *text, enum log_events *events, int64_t *rate);

enum runner_metric {
    METRIC_RUNNING,
    METRIC_STARTED,
    METRIC_SUCCEEDED,
    METRIC_FAILED,
    METRIC_LOST,
    METRIC_REFUSED,
    METRIC_CLAIM_RETRIES,
    METRIC_RENEWALS,
    METRIC_RENEWALS_FAILED,
    METRIC_LOG_BYTES,
    METRIC_LOG_BYTES_UNSENT,
    METRIC_KEEPERS_LOST,
};

extern const struct kind kind_runner;
#endif
