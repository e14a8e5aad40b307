/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_INFO_H
#define CLI_INFO_H
#include "cli/bus.h"

/* What the broker tells, on standard output: "label   value" lines, and JSON. Texts are made harmless. */

void info_put(const char *label, const void *text, size_t len);
/* info_line formats a short value, at most a kilobyte. */
void info_line(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));
void info_text(const char *label, struct mp map, const char *key);
void info_json(struct mp value); /* on one line */

/* info_list appends a list of texts, commas between them. */
void info_list(struct buf *out, struct mp map, const char *key);

#endif
