/* SPDX-License-Identifier: Apache-2.0 */
/* Cron expressions: what other implementations agree on, our own rules for summer time, and properties of random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "tests/unit/cron_cases.h"
#include "workflow/cron_inside.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DAY 86400

static int64_t instant(const char *text)
{
    int64_t us;
    if (!clock_parse(text, strlen(text), &us))
        fail_msg("\"%s\" is no time", text);
    return us / 1000000;
}

static const char *shown(int64_t at)
{
    static char text[CLOCK_TEXT_SIZE];
    clock_format(at * 1000000, text);
    return at < 0 ? "none" : text;
}

static const struct zone *zone_named(const char *name)
{
    struct ls_error err = {0};
    const struct zone *zone = zone_open(name, &err);
    if (!zone)
        fail_msg("%s", err.text);
    return zone;
}

static struct cron parsed(const char *text)
{
    struct ls_error err = {0};
    struct cron cron;
    if (cron_parse(text, &cron, NULL, &err))
        fail_msg("\"%s\" is refused: %s", text, err.text);
    return cron;
}

/* ---- what others agree on ---- */

static void what_three_implementations_do_we_do(void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT(AGREED); i++) {
        const struct agreed *is = &AGREED[i];
        const struct zone *zone = zone_named(is->zone);
        struct cron cron = parsed(is->expression);
        int64_t at = instant(is->from);
        assert_true(strlen(is->engines) >= 3);
        for (size_t k = 0; k < COUNT(is->times); k++) {
            at = is->direction > 0 ? cron_next(&cron, zone, at) : cron_previous(&cron, zone, at);
            if (at != instant(is->times[k]))
                fail_msg("\"%s\" in %s from %s: %s, not %s", is->expression, is->zone, is->from, shown(at),
                         is->times[k]);
        }
        zone_close(zone);
    }
}

static void what_three_implementations_refuse_we_refuse(void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT(REFUSED); i++) {
        struct ls_error err = {0};
        struct cron cron;
        int column = -1;
        if (!cron_parse(REFUSED[i].expression, &cron, &column, &err))
            fail_msg("\"%s\" is taken", REFUSED[i].expression);
        assert_string_equal(err.name, "BAD_VALUE");
        assert_true(strlen(REFUSED[i].engines) >= 3 && strlen(err.text) > 20);
        assert_true(column >= 0 && column <= (int) strlen(REFUSED[i].expression));
    }
}

static void a_mistake_is_named_with_its_place(void **state)
{
    static const struct {
        const char *expression;
        int column;
        const char *part;
    } CASES[] = {
        {"0 61 * * *", 2, "the hour field \"61\": out of range; it takes 0 to 23"},
        {"0 6,7,x * * *", 6, "hour field"},
        {"*/0 * * * *", 2, "a step is a number from 1 on"},
        {"  0 6 * * FRI-MON", 10, "a range goes upwards"},
        {"0 0 * * * 30", 10, "with six fields the first one is seconds"}, /* as Airflow writes seconds */
        {"0 0 15W * *", 6, "working days"},
        {"0 0 * * 5#9", 10, "1 to 5"},
        {"0 0 * * 5#", 10, "1 to 5"},
        {"1, * * * *", 2, "empty"},
        {"5- * * * *", 2, "missing at the end"},
        {"* * * *", 0, "five fields"},
        {" @dayly", 1, "@daily"},
        {"1 2 3 4 5 6 7", 12, "more than six fields"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ls_error err = {0};
        struct cron cron;
        int column = -1;
        assert_int_equal(cron_parse(CASES[i].expression, &cron, &column, &err), -1);
        if (column != CASES[i].column || !strstr(err.text, CASES[i].part))
            fail_msg("\"%s\": column %d: %s", CASES[i].expression, column, err.text);
        assert_int_equal(cron_parse(CASES[i].expression, &cron, NULL, NULL), -1);
    }
}

static void an_endless_text_is_refused(void **state)
{
    char *text = xcalloc(200000, 1);
    struct cron cron;
    (void) state;
    memset(text, '1', 199999);
    assert_int_equal(cron_parse(text, &cron, NULL, NULL), -1);
    free(text);
}

static void several_spellings_mean_the_same(void **state)
{
    static const char *const SAME[][2] = {
        {"0 0 * * L5", "0 0 * * 5L"},           {"0 0 * * FRIL", "0 0 * * 5l"},
        {"0 0 * * 7L", "0 0 * * sunL"},         {"0 0 * * 1/2", "0 0 * * 1,3,5"},
        {"0 0 * * SAT-SUN", "0 0 * * 0,6"},     {"0 0 * * fri#2,tue", "0 0 * * 2,5#2"},
        {"@quarterly", "0 0 1 1,4,7,10 *"},     {"@Weekly", "0 0 * * 7"},
        {"\t@daily ", "00 00 * * *"},           {"0 0 ? * ?", "0 0 * * *"},
        {"0 0 1 * */3", "0 0 1 * 0,3,6"},       {"* 0-23 * * *", "* */1 * * *"},
        {"0 */6 * * *", "0 0,6,12,18 * * *"},   {"*/1000 * * * *", "0 * * * *"},
        {"5,5,5 1-3,2-4 * * *", "5 1-4 * * *"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT(SAME); i++) {
        struct cron a = parsed(SAME[i][0]), b = parsed(SAME[i][1]);
        bool same = a.seconds == b.seconds && a.minutes == b.minutes && a.hours == b.hours && a.days == b.days &&
                    a.months == b.months && a.weekdays == b.weekdays && a.hours_any == b.hours_any &&
                    a.days_any == b.days_any && a.weekdays_any == b.weekdays_any && a.last_day == b.last_day &&
                    a.last_weekdays == b.last_weekdays && a.nth_weekdays == b.nth_weekdays;
        if (!same)
            fail_msg("\"%s\" is not \"%s\"", SAME[i][0], SAME[i][1]);
    }
}

/* ---- our own rules for summer time: docs/schedules.md ---- */

static void assert_times(const char *expression, const char *zone_text, const char *from, const char *const *times)
{
    const struct zone *zone = zone_named(zone_text);
    struct cron cron = parsed(expression);
    int64_t start = instant(from), at = start;
    size_t count = 0;
    for (; times[count]; count++) {
        int64_t next = cron_next(&cron, zone, at);
        if (next != instant(times[count]))
            fail_msg("\"%s\" in %s, time %zu: %s, not %s", expression, zone_text, count, shown(next), times[count]);
        at = next;
    }
    for (at++; count > 0; count--) /* and back again */
        if ((at = cron_previous(&cron, zone, at)) != instant(times[count - 1]))
            fail_msg("\"%s\" in %s, time %zu backwards: %s", expression, zone_text, count - 1, shown(at));
    assert_true(cron_previous(&cron, zone, at) <= start);
    zone_close(zone);
}
#define TIMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void a_time_in_a_gap_comes_later_by_the_length_of_the_gap(void **state)
{
    (void) state;
    assert_times("30 2 * * *", "America/New_York", "2025-03-08T12:00:00Z",
                 TIMES("2025-03-09T07:30:00Z", "2025-03-10T06:30:00Z"));
    assert_times("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z",
                 TIMES("2025-03-30T01:30:00Z", "2025-03-31T00:30:00Z"));
    assert_times("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z",
                 TIMES("2025-10-04T15:45:00Z", "2025-10-05T15:15:00Z"));
    assert_times("0 0 * * *", "America/Santiago", "2025-09-06T12:00:00Z",
                 TIMES("2025-09-07T04:00:00Z", "2025-09-08T03:00:00Z"));
    assert_times("30 0 * * *", "Asia/Beirut", "2025-03-29T12:00:00Z",
                 TIMES("2025-03-29T22:30:00Z", "2025-03-30T21:30:00Z"));
    assert_times("45 0 * * *", "Africa/Cairo", "2025-04-24T12:00:00Z",
                 TIMES("2025-04-24T22:45:00Z", "2025-04-25T21:45:00Z"));
    /* the day of the jump, and no other */
    assert_times("30 2 9 3 *", "America/New_York", "2025-01-01T00:00:00Z",
                 TIMES("2025-03-09T07:30:00Z", "2026-03-09T06:30:00Z"));
    /* a whole day was left out on Samoa */
    assert_times("0 12 30 12 *", "Pacific/Apia", "2011-06-01T00:00:00Z",
                 TIMES("2011-12-30T22:00:00Z", "2012-12-29T22:00:00Z"));
    assert_times("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z",
                 TIMES("2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"));
}

static void times_that_the_gap_moves_together_are_one(void **state)
{
    (void) state;
    assert_times("0 2,3 * * *", "America/New_York", "2025-03-09T06:00:00Z",
                 TIMES("2025-03-09T07:00:00Z", "2025-03-10T06:00:00Z"));
    assert_times("0 1-4 * * *", "Europe/Berlin", "2025-03-29T23:30:00Z",
                 TIMES("2025-03-30T00:00:00Z", "2025-03-30T01:00:00Z", "2025-03-30T02:00:00Z", "2025-03-30T23:00:00Z"));
    assert_times("*/15 2 * * *", "America/New_York", "2025-03-08T12:00:00Z",
                 TIMES("2025-03-09T07:00:00Z", "2025-03-09T07:15:00Z", "2025-03-09T07:30:00Z", "2025-03-09T07:45:00Z",
                       "2025-03-10T06:00:00Z"));
    /* 02:00 02:15 become 02:30 02:45, which are there already; 02:20 goes between 02:40 and 03:00 */
    assert_times("*/15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z",
                 TIMES("2025-10-04T15:30:00Z", "2025-10-04T15:45:00Z", "2025-10-05T15:00:00Z"));
    assert_times("*/20 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z",
                 TIMES("2025-10-04T15:30:00Z", "2025-10-04T15:40:00Z", "2025-10-04T15:50:00Z", "2025-10-05T15:00:00Z"));
}

static void a_time_in_an_overlap_comes_once_the_first_time(void **state)
{
    (void) state;
    assert_times("30 1 * * *", "America/New_York", "2025-11-01T12:00:00Z",
                 TIMES("2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"));
    assert_times("*/15 1 * * *", "America/New_York", "2025-11-02T05:20:00Z",
                 TIMES("2025-11-02T05:30:00Z", "2025-11-02T05:45:00Z", "2025-11-03T06:00:00Z"));
    assert_times("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z",
                 TIMES("2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"));
    assert_times("45 1 * * *", "Australia/Lord_Howe", "2025-04-05T12:00:00Z",
                 TIMES("2025-04-05T14:45:00Z", "2025-04-06T15:15:00Z"));
    assert_times("30 23 * * *", "America/Santiago", "2025-04-05T12:00:00Z",
                 TIMES("2025-04-06T02:30:00Z", "2025-04-07T03:30:00Z"));
    assert_times("30 23 * * *", "Asia/Beirut", "2025-10-25T12:00:00Z",
                 TIMES("2025-10-25T20:30:00Z", "2025-10-26T21:30:00Z"));
    /* asked in the second pass: that time is over */
    assert_times("30 1 * * *", "America/New_York", "2025-11-02T06:10:00Z", TIMES("2025-11-03T06:30:00Z"));
}

static void every_hour_means_every_real_hour(void **state)
{
    (void) state;
    assert_times("0 * * * *", "America/New_York", "2025-03-09T05:30:00Z",
                 TIMES("2025-03-09T06:00:00Z", "2025-03-09T07:00:00Z", "2025-03-09T08:00:00Z"));
    assert_times("30 * * * *", "America/New_York", "2025-11-02T05:00:00Z",
                 TIMES("2025-11-02T05:30:00Z", "2025-11-02T06:30:00Z", "2025-11-02T07:30:00Z"));
    assert_times("0 0-23 2 11 *", "America/New_York", "2025-11-02T04:30:00Z",
                 TIMES("2025-11-02T05:00:00Z", "2025-11-02T06:00:00Z"));
    /* half an hour of summer time: minute 15 is left out, minute 45 comes twice */
    assert_times("15 * * * *", "Australia/Lord_Howe", "2025-10-04T14:00:00Z",
                 TIMES("2025-10-04T14:45:00Z", "2025-10-04T16:15:00Z"));
    assert_times("45 * * * *", "Australia/Lord_Howe", "2025-04-05T14:00:00Z",
                 TIMES("2025-04-05T14:45:00Z", "2025-04-05T15:15:00Z", "2025-04-05T16:15:00Z"));
    assert_times("*/30 * * * *", "Australia/Lord_Howe", "2025-04-05T14:40:00Z",
                 TIMES("2025-04-05T15:00:00Z", "2025-04-05T15:30:00Z", "2025-04-05T16:00:00Z"));
}

static void a_step_over_hours_is_a_list_of_hours(void **state)
{
    (void) state;
    assert_times("0 */2 * * *", "America/New_York", "2025-03-09T04:30:00Z",
                 TIMES("2025-03-09T05:00:00Z", "2025-03-09T07:00:00Z", "2025-03-09T08:00:00Z", "2025-03-09T10:00:00Z"));
    assert_times("0 */2 * * *", "Europe/Berlin", "2025-10-25T21:30:00Z",
                 TIMES("2025-10-25T22:00:00Z", "2025-10-26T00:00:00Z", "2025-10-26T03:00:00Z", "2025-10-26T05:00:00Z"));
    assert_times("0 */12 * * *", "Asia/Beirut", "2025-03-29T12:00:00Z",
                 TIMES("2025-03-29T22:00:00Z", "2025-03-30T09:00:00Z", "2025-03-30T21:00:00Z"));
}

/* ---- searches end ---- */

static void impossible_dates_end_in_bounded_steps(void **state)
{
    static const char *const NEVER[] = {"0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "59 59 23 30-31 FEB ?"};
    static const char *const ZONES[] = {"UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"};
    static const int64_t TIMES_OF_DAY[] = {0, 1750000000, 4102444800, 253402300000, INT64_MAX};
    (void) state;
    for (size_t i = 0; i < COUNT(NEVER) * COUNT(ZONES) * COUNT(TIMES_OF_DAY); i++) {
        struct cron cron = parsed(NEVER[i % COUNT(NEVER)]);
        const struct zone *zone = zone_named(ZONES[i / COUNT(NEVER) % COUNT(ZONES)]);
        int64_t from = TIMES_OF_DAY[i / COUNT(NEVER) / COUNT(ZONES)];
        uint64_t steps = 0;
        assert_int_equal(cron_search(&cron, zone, from, true, &steps), -1);
        assert_int_equal(cron_search(&cron, zone, from, false, &steps), -1);
        assert_true(steps < 2 * CRON_YEARS * 150);
        zone_close(zone);
    }
}

static void a_rare_date_is_found_without_looking_at_each_day(void **state)
{
    const struct zone *zone = zone_named("Europe/Berlin");
    struct cron leap = parsed("0 12 29 2 *");
    uint64_t steps = 0;
    (void) state;
    assert_int_equal(cron_search(&leap, zone, instant("2096-03-01T00:00:00Z"), true, &steps),
                     instant("2104-02-29T11:00:00Z"));
    assert_int_equal(cron_search(&leap, zone, instant("2104-02-01T00:00:00Z"), false, &steps),
                     instant("2096-02-29T11:00:00Z"));
    assert_true(steps < 1500);
    zone_close(zone);
}

static void times_outside_of_the_calendar_are_none(void **state)
{
    const struct zone *utc = zone_named("UTC"), *zone = zone_named("America/New_York");
    struct cron cron = parsed("* * * * *");
    (void) state;
    assert_int_equal(cron_next(&cron, utc, INT64_MIN), 0);
    assert_int_equal(cron_next(&cron, utc, -1), 0);
    assert_int_equal(cron_next(&cron, zone, INT64_MAX), -1);
    assert_int_equal(cron_previous(&cron, utc, 0), -1);
    assert_int_equal(cron_previous(&cron, zone, INT64_MIN), -1);
    assert_int_equal(cron_previous(&cron, utc, 60), 0);
    assert_int_equal(cron_previous(&cron, utc, INT64_MAX), instant("9999-12-31T23:59:00Z"));
    zone_close(utc);
    zone_close(zone);
}

/* ---- properties: every time found, and none besides, by looking at each minute ---- */

static uint64_t seed;

static int random_below(int limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int) (seed % (uint64_t) limit);
}

static void add_item(char *text, size_t room, int min, int max)
{
    size_t used = strlen(text);
    int from = min + random_below(max - min + 1), to = from + random_below(max - from + 1);
    switch (random_below(5)) {
    case 0: snprintf(text + used, room - used, "*/%d", 1 + random_below(max)); break;
    case 1: snprintf(text + used, room - used, "%d-%d", from, to); break;
    case 2: snprintf(text + used, room - used, "%d-%d/%d", from, to, 1 + random_below(7)); break;
    case 3: snprintf(text + used, room - used, "%d/%d", from, 1 + random_below(max)); break;
    default: snprintf(text + used, room - used, "%d", from); break;
    }
}

static void add_field(char *text, size_t room, int star_percent, int min, int max)
{
    int items = 1 + random_below(3);
    if (*text)
        strncat(text, " ", room - strlen(text) - 1);
    if (random_below(100) < star_percent)
        items = 0;
    for (int i = 0; i < items; i++) {
        if (i)
            strncat(text, ",", room - strlen(text) - 1);
        add_item(text, room, min, max);
    }
    if (!items)
        strncat(text, "*", room - strlen(text) - 1);
}

static void random_expression(char *text, size_t room, bool seconds)
{
    static const char *const WEEKDAYS[] = {"5L", "1#1", "0#5,3#3", "MON-FRI", "6-7", "L0"};
    *text = '\0';
    if (seconds)
        add_field(text, room, 10, 0, 59);
    add_field(text, room, 20, 0, 59);
    add_field(text, room, 30, 0, 23);
    if (random_below(8) == 0)
        strncat(text, " L", room - strlen(text) - 1);
    else
        add_field(text, room, 60, 1, 31);
    add_field(text, room, 80, 1, 12);
    if (random_below(6) == 0) {
        strncat(text, " ", room - strlen(text) - 1);
        strncat(text, WEEKDAYS[random_below(COUNT(WEEKDAYS))], room - strlen(text) - 1);
    } else {
        add_field(text, room, 60, 0, 7);
    }
}

static bool fields_match(const struct cron *cron, const struct civil *c)
{
    static const int LENGTH[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;
    int length = LENGTH[c->month - 1] + (c->month == 2 && leap);
    bool day = cron->days & 1u << c->day || (cron->last_day && c->day == length);
    bool weekday = cron->weekdays & 1u << c->weekday ||
                   (cron->last_weekdays & 1u << c->weekday && c->day > length - 7) ||
                   cron->nth_weekdays & 1ull << ((c->day + 6) / 7 * 7 - 7 + c->weekday);
    bool date = cron->days_any && cron->weekdays_any ? true
                : cron->days_any                     ? weekday
                : cron->weekdays_any                 ? day
                                                     : day || weekday;
    return date && cron->months & 1u << c->month && cron->hours & 1u << c->hour && cron->minutes & 1ull << c->minute &&
           cron->seconds & 1ull << c->second;
}

static struct civil civil_of(int64_t local)
{
    struct civil c;
    civil_from_days(local / DAY, &c);
    c.hour = (int) (local % DAY / 3600);
    c.minute = (int) (local % 3600 / 60);
    c.second = (int) (local % 60);
    return c;
}

/* The rule of docs/schedules.md, asked of one instant. */
static bool oracle(const struct cron *cron, const struct zone *zone, int64_t at)
{
    struct civil now, then;
    int64_t instants[2];
    int offset = zone_local(zone, at, &now), earlier = offset;
    if (fields_match(cron, &now) && (cron->hours_any || (zone_instants(zone, &now, instants) > 0 && instants[0] == at)))
        return true;
    for (int64_t back = 1; back < 2 * DAY && earlier == offset && !cron->hours_any; back += 1800)
        earlier = zone_local(zone, at - back, &then);
    if (earlier == offset)
        return false;
    then = civil_of(at + earlier); /* what the clock would show without the jump */
    return zone_instants(zone, &then, instants) == 0 && instants[0] == at && fields_match(cron, &then);
}

static void check_window(const char *expression, const struct zone *zone, int64_t first, int64_t step, int count)
{
    struct cron cron = parsed(expression);
    int64_t last = first + (count - 1) * step, next = cron_next(&cron, zone, first - 1), found[2880];
    size_t matches = 0;
    for (int64_t at = first; at <= last; at += step) {
        if (!oracle(&cron, zone, at))
            continue;
        if (next != at)
            fail_msg("\"%s\" in %s: %" PRId64 " is missed, %s comes", expression, zone_name(zone), at, shown(next));
        found[matches++] = at;
        next = cron_next(&cron, zone, at);
        assert_true(next == -1 || next > at);
    }
    if (next != -1 && next <= last)
        fail_msg("\"%s\" in %s: %s comes too", expression, zone_name(zone), shown(next));
    for (int64_t at = last + 1; matches > 0; at = found[matches])
        if (cron_previous(&cron, zone, at) != found[--matches])
            fail_msg("\"%s\" in %s: before %" PRId64 " comes %s", expression, zone_name(zone), at,
                     shown(cron_previous(&cron, zone, at)));
}

/* Just before something happens to the clock, and at other times. */
static const struct {
    const char *zone, *from;
} MOMENTS[] = {
    {"UTC", "2024-02-28T00:00:00Z"},
    {"UTC", "2025-12-31T00:00:00Z"},
    {"America/New_York", "2025-03-08T18:00:00Z"},
    {"America/New_York", "2025-11-01T18:00:00Z"},
    {"Europe/Berlin", "2025-03-29T12:00:00Z"},
    {"Europe/Berlin", "2040-10-27T12:00:00Z"},
    {"Australia/Lord_Howe", "2025-10-04T03:00:00Z"},
    {"Australia/Lord_Howe", "2026-04-04T03:00:00Z"},
    {"America/Santiago", "2025-09-06T18:00:00Z"},
    {"America/Santiago", "2025-04-05T18:00:00Z"},
    {"Asia/Beirut", "2025-03-29T10:00:00Z"},
    {"Africa/Cairo", "2025-10-30T10:00:00Z"},
    {"Pacific/Apia", "2011-12-29T20:00:00Z"},
    {"Europe/Dublin", "2030-03-30T12:00:00Z"},
    {"America/St_Johns", "2006-10-28T12:00:00Z"},
    {"Africa/Casablanca", "2026-02-14T12:00:00Z"},
    {"Pacific/Kwajalein", "1993-08-20T00:00:00Z"},
    {"Asia/Kathmandu", "1985-12-31T00:00:00Z"},
    {"Asia/Tokyo", "2025-05-30T12:00:00Z"},
    {"UTC", "2026-02-21T12:00:00Z"},
};

static void each_minute_matches_or_is_passed_over(void **state)
{
    (void) state;
    seed = 20251102;
    for (size_t i = 0; i < 25 * COUNT(MOMENTS); i++) {
        const struct zone *zone = zone_named(MOMENTS[i % COUNT(MOMENTS)].zone);
        char expression[200];
        random_expression(expression, sizeof expression, false);
        check_window(expression, zone, instant(MOMENTS[i % COUNT(MOMENTS)].from), 60, 2160);
        zone_close(zone);
    }
}

static void each_second_matches_or_is_passed_over(void **state)
{
    (void) state;
    seed = 3;
    for (size_t i = 0; i < 6 * COUNT(MOMENTS); i++) {
        const struct zone *zone = zone_named(MOMENTS[i % COUNT(MOMENTS)].zone);
        char expression[200];
        random_expression(expression, sizeof expression, true);
        check_window(expression, zone, instant(MOMENTS[i % COUNT(MOMENTS)].from) + random_below(DAY), 1, 2880);
        zone_close(zone);
    }
}

static void next_and_previous_are_each_others_reverse(void **state)
{
    (void) state;
    seed = 77;
    for (size_t i = 0; i < 1500; i++) {
        const struct zone *zone = zone_named(MOMENTS[i % COUNT(MOMENTS)].zone);
        char expression[200];
        random_expression(expression, sizeof expression, random_below(2));
        struct cron cron = parsed(expression);
        int64_t from = (int64_t) random_below(2000000000) * 2, next = cron_next(&cron, zone, from);
        int64_t after = next < 0 ? -1 : cron_next(&cron, zone, next);
        assert_true(next == -1 || next > from);
        assert_true(after == -1 || after > next);
        if (next >= 0)
            assert_true(cron_previous(&cron, zone, next) <= from);
        if (after >= 0)
            assert_int_equal(cron_previous(&cron, zone, after), next);
        zone_close(zone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_three_implementations_do_we_do),
        cmocka_unit_test(what_three_implementations_refuse_we_refuse),
        cmocka_unit_test(a_mistake_is_named_with_its_place),
        cmocka_unit_test(an_endless_text_is_refused),
        cmocka_unit_test(several_spellings_mean_the_same),
        cmocka_unit_test(a_time_in_a_gap_comes_later_by_the_length_of_the_gap),
        cmocka_unit_test(times_that_the_gap_moves_together_are_one),
        cmocka_unit_test(a_time_in_an_overlap_comes_once_the_first_time),
        cmocka_unit_test(every_hour_means_every_real_hour),
        cmocka_unit_test(a_step_over_hours_is_a_list_of_hours),
        cmocka_unit_test(impossible_dates_end_in_bounded_steps),
        cmocka_unit_test(a_rare_date_is_found_without_looking_at_each_day),
        cmocka_unit_test(times_outside_of_the_calendar_are_none),
        cmocka_unit_test(each_minute_matches_or_is_passed_over),
        cmocka_unit_test(each_second_matches_or_is_passed_over),
        cmocka_unit_test(next_and_previous_are_each_others_reverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
