/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OPTIONS_H
#define NODES_TRACKER_OPTIONS_H
#include "lib/kind.h"

struct tracker_options {
    const char *database;      /* "sqlite:var/tracker.db" or postgresql://... */
    const char *artifact_root; /* "file:var/artifacts" or any URI */
    const char *chat_experiment; /* name; empty: chats are not tracked */
    bool chat_text;            /* keep question and answer as tags */
};

extern const struct kind kind_tracker;

#endif
