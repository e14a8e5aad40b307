/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/buf.h"

/* Bytes from the wire and from other programs, made fit for a terminal (for JSON: lib/json.h).
 * Nothing that these functions write can move a cursor, change a colour or reorder a line: control characters, escape
 * sequences, invalid UTF-8 and the invisible direction marks of Unicode come out escaped. */

/* render_harmless appends text for people; what is not harmless becomes \xNN, or \u{N} beyond ASCII. Tabs stay. */
void render_harmless(struct buf *out, const void *data, size_t len);

/* render_body appends a body as one line for people, at most about `max` bytes of it. */
void render_body(struct buf *out, const void *body, size_t len, size_t max);

/* render_columns: how many terminal columns harmless text takes. render_cut shortens `text` to `columns`, the last one an
 * ellipsis when something is missing. */
size_t render_columns(const char *text, size_t len);
void render_cut(struct buf *text, size_t columns);

/* render_put writes the buffer's bytes as they are. */
void render_put(const struct buf *text, FILE *file);

/* Colours: used on a terminal, unless NO_COLOR is set or TERM is "dumb". */
enum colour { COLOUR_NONE, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_BLUE, COLOUR_MAGENTA, COLOUR_CYAN, COLOUR_DIM, COLOUR_BOLD };
bool render_colours(int fd);
void render_colour(struct buf *out, bool colours, enum colour colour); /* COLOUR_NONE: back to normal */
/* render_width: columns of the terminal at `fd`, or 0 if it is none. */
size_t render_width(int fd);

/* For people: "1.4 MiB", "340 ms", "2 h 5 min". */
#define RENDER_SHORT_SIZE 32
const char *render_size(uint64_t bytes, char text[RENDER_SHORT_SIZE]);
const char *render_duration(int64_t us, char text[RENDER_SHORT_SIZE]);

#endif
