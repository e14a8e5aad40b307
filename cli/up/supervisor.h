/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_SUPERVISOR_H
#define CLI_UP_SUPERVISOR_H
#include "cli/up/child.h"
#include "cli/up/status.h"

struct supervision {
    struct child *children; /* [0] is the broker; the others start when it answers */
    size_t count;
    const char *url;        /* where it answers */
    const char *pages;      /* what a person opens when all is up; NULL: nothing but the broker */
    const char *nodes_mark, *broker_mark; /* environment entries by which the children are found again: stray.h */
    struct up_story story;
};

/* supervise keeps the children running until SIGINT or SIGTERM, then ends them in order. Blocks; returns the exit status of
 * `up`: 0 after an ordered stop, 1 when the broker did not start or all was killed by a second signal. Everything about the
 * children is said on standard error, and to whoever asks: up_status.h. */
int supervise(const struct supervision *what);

#endif
