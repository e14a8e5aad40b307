/* SPDX-License-Identifier: Apache-2.0 */
/* The next and the previous time of a cron expression in a zone. The search goes from one stretch of constant offset
 * to the next; within one, local time runs like UTC, and days that cannot match are passed over without looking at
 * their minutes. */
#include "workflow/cron_inside.h"

#define DAY_S 86400
#define NONE INT64_MIN
#define YEARS_S (CRON_YEARS * 366ll * DAY_S)
#define INSTANT_MAX 253402300799 /* the end of 9999, in UTC */

struct search {
    int64_t from, limit; /* the first and the last instant to look at, in the direction of the search */
    bool forward;
};

/* The set bit nearest to `from`, itself included, upwards or downwards; -1: none. */
static int nearest_bit(uint64_t bits, int from, bool forward)
{
    if (from < 0 || from > 63)
        return -1;
    bits &= forward ? ~0ull << from : ~0ull >> (63 - from);
    if (!bits)
        return -1;
    return forward ? __builtin_ctzll(bits) : 63 - __builtin_clzll(bits);
}

static int extreme_bit(uint64_t bits, bool forward)
{
    return nearest_bit(bits, forward ? 0 : 63, forward);
}

/* The matching second of a day nearest to `start`, itself included; -1: none on that side. Carries from field to
 * field, as a clock does. */
static int second_of_day(const struct cron *cron, int start, bool forward)
{
    int step = forward ? 1 : -1, hour = start / 3600, minute = start / 60 % 60;
    int second = extreme_bit(cron->seconds, forward);
    int found_hour = nearest_bit(cron->hours, hour, forward);
    if (found_hour == hour) {
        int found = nearest_bit(cron->minutes, minute, forward);
        if (found == minute) {
            int same = nearest_bit(cron->seconds, start % 60, forward);
            if (same >= 0)
                return hour * 3600 + minute * 60 + same;
            found = nearest_bit(cron->minutes, minute + step, forward);
        }
        if (found >= 0)
            return hour * 3600 + found * 60 + second;
        found_hour = nearest_bit(cron->hours, hour + step, forward);
    }
    return found_hour < 0 ? -1 : found_hour * 3600 + extreme_bit(cron->minutes, forward) * 60 + second;
}

static int days_in_month(int year, int month)
{
    return (int) ((month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, month + 1, 1)) -
                  civil_days(year, month, 1));
}

/* Does the day match? Its month does. */
static bool day_matches(const struct cron *cron, const struct civil *date, int month_days)
{
    int nth = (date->day - 1) / 7;
    bool day = cron->days >> date->day & 1 || (cron->last_day && date->day == month_days);
    bool weekday = cron->weekdays >> date->weekday & 1 || cron->nth_weekdays >> (nth * 7 + date->weekday) & 1 ||
                   (cron->last_weekdays >> date->weekday & 1 && date->day + 7 > month_days);
    if (cron->days_any || cron->weekdays_any)
        return (cron->days_any || day) && (cron->weekdays_any || weekday);
    return day || weekday;
}

/* The matching local second (counted as if local time were UTC) nearest to `from` and not beyond `limit`. */
static int64_t local_match(const struct cron *cron, int64_t from, int64_t limit, bool forward, uint64_t *steps)
{
    int64_t day = from / DAY_S - (from % DAY_S < 0), last_day = limit / DAY_S - (limit % DAY_S < 0);
    int start = (int) (from - day * DAY_S);
    while (forward ? day <= last_day : day >= last_day) {
        struct civil date;
        civil_from_days(day, &date);
        int month_days = days_in_month(date.year, date.month);
        ++*steps;
        bool month = cron->months >> date.month & 1;
        if (month && day_matches(cron, &date, month_days)) {
            int second = second_of_day(cron, start, forward);
            int64_t found = day * DAY_S + second;
            if (second >= 0)
                return (forward ? found <= limit : found >= limit) ? found : NONE;
        }
        if (forward)
            day += month ? 1 : month_days - date.day + 1;
        else
            day -= month ? 1 : date.day;
        start = forward ? 0 : DAY_S - 1;
    }
    return NONE;
}

/* Fixed times in the gap that opened a stretch come later by its length, as if the clock had not jumped yet. */
static int64_t moved_match(const struct cron *cron, const struct zone_span *span, int64_t from, bool forward,
                           uint64_t *steps)
{
    int64_t first = span->from_s + span->offset_before, last = span->from_s + span->offset - 1;
    int64_t start = from + span->offset_before;
    if (!forward && start > last)
        start = last;
    int64_t found = forward && start > last ? NONE : local_match(cron, start, forward ? last : first, forward, steps);
    return found == NONE ? NONE : found - span->offset_before;
}

/* The match nearest to the instant `from` within its stretch and not beyond the instant `limit`. */
static int64_t match_in_span(const struct cron *cron, const struct zone_span *span, struct search search,
                             uint64_t *steps)
{
    bool forward = search.forward;
    int shift = !cron->hours_any && span->from_s != INT64_MIN ? span->offset - span->offset_before : 0;
    int64_t start = search.from + span->offset, stop = search.limit + span->offset, moved = NONE;
    if (span->from_s != INT64_MIN) {
        /* Fixed times that an overlap brings again are passed over: they ran in the stretch before. */
        int64_t first = span->from_s + span->offset - (shift < 0 ? shift : 0);
        if (forward && start < first)
            start = first;
        if (!forward && stop < first)
            stop = first;
    }
    if (forward && span->until_s != INT64_MAX && stop > span->until_s - 1 + span->offset)
        stop = span->until_s - 1 + span->offset;
    int64_t found = local_match(cron, start, stop, forward, steps);
    found = found == NONE ? NONE : found - span->offset;
    if (shift > 0)
        moved = moved_match(cron, span, search.from, forward, steps);
    if (found == NONE || moved == NONE)
        return found == NONE ? moved : found;
    return (moved < found) == forward ? moved : found;
}

int64_t cron_search(const struct cron *cron, const struct zone *zone, int64_t from_s, bool forward, uint64_t *steps)
{
    uint64_t own_steps = 0;
    struct search search = {.forward = forward};
    if (forward ? from_s >= INSTANT_MAX : from_s <= 0)
        return -1;
    if (forward) {
        search.from = from_s < 0 ? 0 : from_s + 1;
        search.limit = search.from < INSTANT_MAX - YEARS_S ? search.from + YEARS_S : INSTANT_MAX;
    } else {
        search.from = from_s > INSTANT_MAX ? INSTANT_MAX : from_s - 1;
        search.limit = search.from > YEARS_S ? search.from - YEARS_S : 0;
    }
    while (forward ? search.from <= search.limit : search.from >= search.limit) {
        struct zone_span span;
        zone_span(zone, search.from, &span);
        int64_t found = match_in_span(cron, &span, search, steps ? steps : &own_steps);
        if (found != NONE)
            return found;
        if (forward ? span.until_s == INT64_MAX : span.from_s == INT64_MIN)
            break;
        search.from = forward ? span.until_s : span.from_s - 1;
    }
    return -1;
}

int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_s)
{
    return cron_search(cron, zone, after_s, true, NULL);
}

int64_t cron_previous(const struct cron *cron, const struct zone *zone, int64_t before_s)
{
    return cron_search(cron, zone, before_s, false, NULL);
}
