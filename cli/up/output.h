/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_OUTPUT_H
#define CLI_UP_OUTPUT_H
#include <stdbool.h>
#include <stdint.h>

#include "cli/render.h"
#include "lib/buf.h"

/* What the children of `up` write, line by line with their names in front; harmless, never interleaved. */

#define OUTPUT_LINE_MAX (64u << 10) /* a longer line is cut into several */
#define OUTPUT_KEPT 5               /* a child's last lines, for the report of a crash loop */
#define OUTPUT_KEPT_BYTES 300

/* Where lines go: the two streams of this program. */
struct screen {
    int name_width;
    bool colours[3]; /* by file descriptor: 1 and 2 */
    bool broken;     /* nobody reads any more */
    struct buf line;
};

struct speaker {
    const char *name;
    enum colour colour;
    char kept[OUTPUT_KEPT][OUTPUT_KEPT_BYTES];
    uint64_t kept_count;
};

/* A pipe from a child. */
struct source {
    int fd;     /* -1: closed */
    int screen; /* 1 or 2 */
    struct buf text;
};

void screen_init(struct screen *screen);
void screen_fini(struct screen *screen);
/* screen_line writes "NAME | text" in one piece to descriptor `fd` (1 or 2). */
void screen_line(struct screen *screen, int fd, const struct speaker *speaker, const char *text, size_t len);

/* source_read takes in what the pipe holds (one read) and writes complete lines; false at its end, when it is closed. */
bool source_read(struct source *source, struct screen *screen, struct speaker *speaker);
/* source_close writes what is left, complete line or not, and closes. */
void source_close(struct source *source, struct screen *screen, struct speaker *speaker);

#endif
