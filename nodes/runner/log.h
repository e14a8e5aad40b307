/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_LOG_H
#define NODES_RUNNER_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/heap.h"

struct try;

#define LOG_LINE_MAX 4096 /* of a line with ::progress; a longer one is no progress */

/* Finds lines "::progress FRACTION [MESSAGE]" in what passes. */
struct progress {
    char line[LOG_LINE_MAX];
    size_t len;
    bool skip; /* the rest of this line is none */
    bool news; /* since the last report; the caller resets it */
    double fraction;
    char *message; /* owned; NULL: none */
};
void progress_feed(struct progress *progress, const uint8_t *data, size_t len);
void progress_fini(struct progress *progress);

/* The log of one try: a file with every byte, and pieces of it on the bus. */
struct try_log {
    char *path;                /* owned; NULL: nothing was written yet */
    int fd;                    /* -1 with path: it cannot be written any more */
    bool closed;               /* log_max, or the disk: the file takes nothing more */
    int64_t written;           /* bytes in the file */
    int64_t sent;              /* up to where it is on the bus */
    int64_t live_at;           /* where `live` begins in the file */
    struct buf live;           /* what goes onto the bus next */
    int64_t tokens, tokens_at; /* bytes that may go now; mono ms */
    struct progress progress;
    struct timer flush;
};

void log_init(struct try *try);
/* log_find takes over what a former process wrote of this try, for its report. */
void log_find(struct try *try);
/* log_take takes what the command wrote. log_end sends what is left, the last 16 KiB at least, and closes the file. */
void log_take(struct try *try, const uint8_t *data, size_t len);
void log_end(struct try *try);
void log_fini(struct try *try);

/* log_cut: how much of the bytes can go now without cutting a character of UTF-8 in two; at most three bytes stay. */
size_t log_cut(const uint8_t *data, size_t len);
/* log_text appends the bytes as a quoted JSON string that every reader takes: what is no UTF-8, and NUL, becomes U+FFFD. */
void log_text(struct buf *out, const uint8_t *data, size_t len);
/* log_name appends a name as a file name: letters, digits and ._-+:=@, stay, other bytes become %XX; long ones end in a hash. */
void log_name(struct buf *out, const char *name);

#endif
