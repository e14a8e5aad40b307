/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void);  /* CLOCK_MONOTONIC: every timer */
int64_t clock_wall_us(void);  /* CLOCK_REALTIME since 1970: data only, never a timer */

/* clock_format writes RFC 3339 in UTC with milliseconds, "2026-11-23T03:43:00.123Z" (24 bytes + NUL). */
#define CLOCK_TEXT_SIZE 25
void clock_format(int64_t wall_us, char text[CLOCK_TEXT_SIZE]);
/* clock_parse reads RFC 3339 (any offset, optional fraction) or "YYYY-MM-DD"; false if it is neither. */
bool clock_parse(const char *text, size_t len, int64_t *wall_us);
/* clock_parse_duration reads "250ms", "30s", "5m", "2h", "7d" or a sum such as "1h30m"; false if malformed. */
bool clock_parse_duration(const char *text, int64_t *ms);

/* uuid7 writes a UUID version 7 (RFC 9562, 5.7), 36 bytes + NUL; monotonic within the calling thread. */
#define UUID_TEXT_SIZE 37
void uuid7(int64_t wall_us, char text[UUID_TEXT_SIZE]);

#endif
