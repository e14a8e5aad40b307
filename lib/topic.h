/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_TOPIC_H
#define LIB_TOPIC_H
#include <stdbool.h>
#include <stddef.h>

/* Topics are words of [a-z0-9_-] joined by dots, at most 200 bytes; the first word may begin with `$` (reserved for the
 * broker). Patterns may use `*` for one word and, last, `>` for one or more words. A pattern whose first word is a
 * wildcard never matches a `$` topic. Source: docs/protocol.md, "Topics". */
#define TOPIC_LEN_MAX 200

bool topic_valid(const char *topic, size_t len);
bool topic_pattern_valid(const char *pattern, size_t len);
bool topic_match(const char *pattern, size_t pattern_len, const char *topic, size_t topic_len);

/* topic_overlap: some topic could match both patterns. topic_covers: every topic that `narrow` matches, `wide` matches. */
bool topic_overlap(const char *a, const char *b);
bool topic_covers(const char *wide, const char *narrow);

#endif
