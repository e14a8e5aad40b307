/* SPDX-License-Identifier: Apache-2.0 */
/* The footer of a TZif file: a POSIX TZ text such as "CET-1CEST,M3.5.0,M10.5.0/3", which tells the offsets of all
 * years behind the table. */
#include "workflow/zone_inside.h"

#include <ctype.h>
#include <string.h>

#define HOUR_S 3600
#define DAY_S 86400

/* ---- reading ---- */

/* A name is three or more letters, or <...> of letters, digits and signs. Nothing here needs it. */
static bool skip_name(const char **at)
{
    const char *start = *at;
    if (*start == '<') {
        const char *end = start + 1;
        while (isalnum((unsigned char) *end) || *end == '+' || *end == '-')
            end++;
        *at = end + 1;
        return *end == '>' && end - start > 3;
    }
    while (isalpha((unsigned char) **at))
        ++*at;
    return *at - start >= 3;
}

static bool take_number(const char **at, int max, int *value)
{
    const char *start = *at;
    *value = 0;
    while (isdigit((unsigned char) **at) && *at - start < 4)
        *value = *value * 10 + *(*at)++ - '0';
    return *at > start && *value <= max;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool take_time(const char **at, int hours_max, int *seconds)
{
    bool minus = **at == '-';
    int hour = 0, minute = 0, second = 0;
    if (**at == '-' || **at == '+')
        ++*at;
    if (!take_number(at, hours_max, &hour))
        return false;
    if (**at == ':') {
        ++*at;
        if (!take_number(at, 59, &minute))
            return false;
        if (**at == ':') {
            ++*at;
            if (!take_number(at, 59, &second))
                return false;
        }
    }
    *seconds = (hour * 60 + minute) * 60 + second;
    if (minus)
        *seconds = -*seconds;
    return true;
}

static bool take_dot(const char **at)
{
    return *(*at)++ == '.';
}

static bool take_change(const char **at, struct zone_change *change)
{
    if (*(*at)++ != ',')
        return false;
    if (**at == 'M') {
        ++*at;
        change->form = CHANGE_WEEKDAY;
        if (!take_number(at, 12, &change->month) || change->month < 1 || !take_dot(at) ||
            !take_number(at, 5, &change->week) || change->week < 1 || !take_dot(at) ||
            !take_number(at, 6, &change->day))
            return false;
    } else {
        change->form = **at == 'J' ? CHANGE_JULIAN : CHANGE_DAY;
        *at += **at == 'J';
        if (!take_number(at, 365, &change->day) || (change->form == CHANGE_JULIAN && change->day < 1))
            return false;
    }
    change->time_s = 2 * HOUR_S;
    if (**at != '/')
        return true;
    ++*at;
    return take_time(at, 167, &change->time_s);
}

bool zone_rule_parse(const char *text, struct zone_rule *rule)
{
    const char *at = text;
    int west;
    memset(rule, 0, sizeof *rule);
    if (!skip_name(&at) || !take_time(&at, 24, &west))
        return false;
    rule->offset = -west; /* POSIX counts westward */
    if (!*at)
        return true;
    rule->has_summer = true;
    rule->summer_offset = rule->offset + HOUR_S;
    if (!skip_name(&at))
        return false;
    if (*at != ',') {
        if (!take_time(&at, 24, &west))
            return false;
        rule->summer_offset = -west;
    }
    return take_change(&at, &rule->start) && take_change(&at, &rule->end) && !*at &&
           rule->summer_offset <= ZONE_OFFSET_MAX;
}

/* ---- its meaning ---- */

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The change's local time in a year, in seconds as if it were UTC. */
static int64_t change_in_year(const struct zone_change *change, int year)
{
    int64_t day;
    if (change->form == CHANGE_WEEKDAY) {
        struct civil first;
        int64_t first_day = civil_days(year, change->month, 1);
        int64_t next_month = change->month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, change->month + 1, 1);
        civil_from_days(first_day, &first);
        day = first_day + (change->day - first.weekday + 7) % 7 + 7 * (change->week - 1);
        if (day >= next_month) /* week 5 is the last one */
            day -= 7;
    } else {
        day = civil_days(year, 1, 1) + change->day;
        if (change->form == CHANGE_JULIAN && !(is_leap(year) && change->day >= 60))
            day--;
    }
    return day * DAY_S + change->time_s;
}

/* The changes of the years around `year`, in order: at least two of them before it and one behind it, however odd the
 * rule is. Where an end and a start fall together, as in a summer without end, only the start counts. */
static size_t changes_around(const struct zone_rule *rule, int year, struct zone_jump jumps[12])
{
    size_t count = 0, kept = 0;
    for (int y = year - 3; y <= year + 2; y++) {
        jumps[count++] = (struct zone_jump){change_in_year(&rule->end, y) - rule->summer_offset, rule->offset};
        jumps[count++] = (struct zone_jump){change_in_year(&rule->start, y) - rule->offset, rule->summer_offset};
    }
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0; k--) {
            struct zone_jump one = jumps[k - 1], two = jumps[k];
            if (one.at_s < two.at_s || (one.at_s == two.at_s && one.offset == rule->offset))
                break;
            jumps[k - 1] = two;
            jumps[k] = one;
        }
    for (size_t i = 0; i < count; i++) {
        kept -= kept && jumps[kept - 1].at_s == jumps[i].at_s;
        jumps[kept++] = jumps[i];
    }
    return kept;
}

void zone_rule_span(const struct zone_rule *rule, int64_t instant_s, struct zone_span *span)
{
    struct civil now;
    struct zone_jump jumps[12];
    *span = (struct zone_span){INT64_MIN, INT64_MAX, rule->offset, rule->offset};
    if (!rule->has_summer)
        return;
    civil_from_days(instant_s / DAY_S - (instant_s % DAY_S < 0), &now);
    size_t count = changes_around(rule, now.year, jumps), next = 2;
    while (next < count - 1 && jumps[next].at_s <= instant_s)
        next++;
    *span = (struct zone_span){jumps[next - 1].at_s, jumps[next].at_s, jumps[next - 1].offset, jumps[next - 2].offset};
}
