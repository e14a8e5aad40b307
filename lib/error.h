/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H
#include "lib/lineshaft.h"

/* Errors are filled low and logged once, by the place that decides (struct ls_error is public, in lineshaft.h).
 * The table below is the one list of names that may cross the wire; docs/protocol.md shows it and lint compares. */
struct error_kind {
    const char *name;
    int number;
    bool again; /* a resend with the same id is safe and may succeed */
    const char *sentence;
};
extern const struct error_kind ERROR_KINDS[]; /* ends with a NULL name */

const struct error_kind *error_kind_find(const char *name);

/* error_set fills *err from the kind `name` with a formatted text and returns -1. err may be NULL. */
int error_set(struct ls_error *err, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* error_wrap puts "context: " before the text; returns -1. */
int error_wrap(struct ls_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
