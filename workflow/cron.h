/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_CRON_H
#define WORKFLOW_CRON_H
#include <stdbool.h>
#include <stdint.h>

#include "lib/lineshaft.h"
#include "workflow/zone.h"

/* Cron expressions: the grammar of Vixie's crontab(5) and the Open Cron Pattern Specification 1.x, with the
 * extensions that at least three engines share. Five fields (minute hour day-of-month month day-of-week), or six with
 * seconds first; names of months and days; lists, ranges, steps, `5/15`, `?`, `L`, `5L` (or `L5`), `5#2`; @yearly
 * @annually @quarterly @monthly @weekly @daily @midnight @hourly. Both day fields restricted (their text is neither *
 * nor ?): either may match.
 *
 * In a zone with summer time: a job whose hour field allows every hour (`*`, `0-23`) runs on every matching real
 * instant, any other, also with a step as in `0-23/2`, runs once per local day and time: in a gap at the instant
 * moved forward by the gap's length (02:30 -> 03:30), in an overlap on the first pass. Several times that the gap
 * moves onto one instant are one. docs/schedules.md holds the table. */

struct cron {
    uint64_t seconds, minutes; /* bit n: n matches */
    uint32_t hours, days, months;
    uint8_t weekdays;          /* bit 0: Sunday */
    bool days_any, weekdays_any; /* the text was * or ? */
    bool hours_any;            /* every hour is allowed */
    bool last_day;             /* L */
    uint8_t last_weekdays;     /* 5L: bit 5 */
    uint64_t nth_weekdays;     /* 5#2: bit (2 - 1) * 7 + 5 */
    bool has_seconds;
};

/* cron_parse reads an expression. -1 with BAD_VALUE: which field, what is wrong, how to write it; *column (may be
 * NULL) gets the place of the offending character, from 0. */
int cron_parse(const char *text, struct cron *cron, int *column, struct ls_error *err);

/* cron_next: the first match strictly after `after_s` (seconds since 1970); -1: none within CRON_YEARS.
 * cron_previous: the last match strictly before. Bounded time for impossible dates. Times are from 1970 to 9999. */
#define CRON_YEARS 40
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_s);
int64_t cron_previous(const struct cron *cron, const struct zone *zone, int64_t before_s);

#endif
