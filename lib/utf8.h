/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_UTF8_H
#define LIB_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* utf8_next decodes the code point at p; returns its size in bytes, 0 if it is not well-formed (RFC 3629: no surrogates, no
 * overlong forms) or does not fit into len, which must be at least 1. */
size_t utf8_next(const uint8_t *p, size_t len, uint32_t *code);
/* utf8_is_harmful: controls, and what reorders or hides text (direction marks, line separators, the byte order mark). */
bool utf8_is_harmful(uint32_t code);
/* utf8_valid: all of it is well-formed. */
bool utf8_valid(const void *data, size_t len);

#endif
