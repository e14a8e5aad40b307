/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OPTIONS_H
#define NODES_TRACKER_OPTIONS_H
#include "lib/kind.h"

struct tracker_options {
    const char *database;        /* "sqlite:var/tracker.db" or postgresql://... */
    const char *artifact_root;   /* "file:var/artifacts" or any URI */
    const char *chat_experiment; /* name; empty: chats are not tracked */
    bool chat_text;              /* keep the answer as a tag */
};

enum tracker_metric {
    METRIC_FACTS,    /* facts applied, own and others' */
    METRIC_REJECTED, /* events that can never be applied */
    METRIC_BATCHES,  /* transactions that applied events */
    METRIC_OUTBOX,   /* own facts that have not come round */
    METRIC_REFUSED,  /* own facts that the broker refused */
};

extern const struct kind kind_tracker;

#endif
