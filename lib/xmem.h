/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_XMEM_H
#define LIB_XMEM_H
#include <stddef.h>

/* Allocation that does not return on failure: it prints one line and aborts.
 * Sizes that come from outside the process are bounded by the caller first. */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* xgrow ensures room for `need` items of `size` bytes; doubles *room. Returns the (moved) array. */
void *xgrow(void *items, size_t *room, size_t need, size_t size);

#endif
