/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones: known instants, gaps and overlaps, the rule behind the table, and files that are damaged. All zones are
 * compared with Python's in tests/compat/zone_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "workflow/zone_inside.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int64_t instant(const char *text)
{
    int64_t us;
    if (!clock_parse(text, strlen(text), &us))
        fail_msg("\"%s\" is no time", text);
    return us / 1000000;
}

static const struct zone *zone_named(const char *name)
{
    struct ls_error err = {0};
    const struct zone *zone = zone_open(name, &err);
    if (!zone)
        fail_msg("%s", err.text);
    return zone;
}

static struct civil civil(const char *text)
{
    struct civil c = {0};
    if (sscanf(text, "%d-%d-%d %d:%d:%d", &c.year, &c.month, &c.day, &c.hour, &c.minute, &c.second) < 5)
        fail_msg("\"%s\" is no civil time", text);
    return c;
}

/* ---- the calendar ---- */

static void days_and_dates_are_each_others_reverse(void **state)
{
    struct civil c, before = {0};
    (void) state;
    assert_int_equal(civil_days(1970, 1, 1), 0);
    assert_int_equal(civil_days(2000, 2, 29), 11016);
    assert_int_equal(civil_days(1969, 12, 31), -1);
    assert_int_equal(civil_days(1, 1, 1), -719162);
    for (int64_t day = civil_days(-400, 1, 1); day < civil_days(2500, 1, 1); day++) {
        civil_from_days(day, &c);
        assert_int_equal(civil_days(c.year, c.month, c.day), day);
        assert_true(c.weekday >= 0 && c.weekday < 7 && (day % 7 + 11) % 7 == c.weekday);
        assert_true(c.day == before.day + 1 || c.day == 1);
        before = c;
    }
}

/* ---- real zones ---- */

static void an_instant_has_its_local_name(void **state)
{
    static const struct {
        const char *zone, *instant, *local;
        int offset, weekday;
    } CASES[] = {
        {"UTC", "2024-02-29T12:34:56Z", "2024-02-29 12:34:56", 0, 4},
        {"Europe/Berlin", "2025-07-01T00:00:00Z", "2025-07-01 02:00:00", 7200, 2},
        {"Europe/Berlin", "1970-01-01T00:00:00Z", "1970-01-01 01:00:00", 3600, 4},
        {"America/New_York", "2025-03-09T06:59:59Z", "2025-03-09 01:59:59", -18000, 0},
        {"America/New_York", "2025-03-09T07:00:00Z", "2025-03-09 03:00:00", -14400, 0},
        {"Asia/Kathmandu", "2025-01-01T00:00:00Z", "2025-01-01 05:45:00", 20700, 3},
        {"Australia/Lord_Howe", "2025-01-01T00:00:00Z", "2025-01-01 11:00:00", 39600, 3},
        {"Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29 23:59:59", -36000, 4},
        {"Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31 00:00:00", 50400, 6},
        /* behind the table */
        {"Europe/Berlin", "2080-07-01T00:00:00Z", "2080-07-01 02:00:00", 7200, 1},
        {"America/New_York", "2300-12-25T00:00:00Z", "2300-12-24 19:00:00", -18000, 1},
        {"Europe/Dublin", "2090-07-01T00:00:00Z", "2090-07-01 01:00:00", 3600, 6},
        /* before it: local mean time */
        {"Europe/Berlin", "1800-01-01T00:00:00Z", "1800-01-01 00:53:28", 3208, 3},
    };
    (void) state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        const struct zone *zone = zone_named(CASES[i].zone);
        struct civil c, is = civil(CASES[i].local);
        assert_int_equal(zone_local(zone, instant(CASES[i].instant), &c), CASES[i].offset);
        if (c.year != is.year || c.month != is.month || c.day != is.day || c.hour != is.hour || c.minute != is.minute ||
            c.second != is.second || c.weekday != CASES[i].weekday)
            fail_msg("%s in %s is not %s", CASES[i].instant, CASES[i].zone, CASES[i].local);
        zone_close(zone);
    }
}

static void a_civil_time_has_one_two_or_no_instants(void **state)
{
    static const struct {
        const char *zone, *local;
        int count;
        const char *first, *second; /* of a gap: the moved time, the jump */
    } CASES[] = {
        {"UTC", "2025-03-09 02:30", 1, "2025-03-09T02:30:00Z", NULL},
        {"America/New_York", "2025-03-09 01:59:59", 1, "2025-03-09T06:59:59Z", NULL},
        {"America/New_York", "2025-03-09 02:00", 0, "2025-03-09T07:00:00Z", "2025-03-09T07:00:00Z"},
        {"America/New_York", "2025-03-09 02:30", 0, "2025-03-09T07:30:00Z", "2025-03-09T07:00:00Z"},
        {"America/New_York", "2025-03-09 03:00", 1, "2025-03-09T07:00:00Z", NULL},
        {"America/New_York", "2025-11-02 00:59:59", 1, "2025-11-02T04:59:59Z", NULL},
        {"America/New_York", "2025-11-02 01:00", 2, "2025-11-02T05:00:00Z", "2025-11-02T06:00:00Z"},
        {"America/New_York", "2025-11-02 02:00", 1, "2025-11-02T07:00:00Z", NULL},
        {"Europe/Berlin", "2025-03-30 02:30", 0, "2025-03-30T01:30:00Z", "2025-03-30T01:00:00Z"},
        {"Europe/Berlin", "2025-10-26 02:30", 2, "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z"},
        {"Europe/Berlin", "2060-03-28 02:30", 0, "2060-03-28T01:30:00Z", "2060-03-28T01:00:00Z"},
        {"Australia/Lord_Howe", "2025-10-05 02:15", 0, "2025-10-04T15:45:00Z", "2025-10-04T15:30:00Z"},
        {"Australia/Lord_Howe", "2025-04-06 01:45", 2, "2025-04-05T14:45:00Z", "2025-04-05T15:15:00Z"},
        {"America/Santiago", "2025-09-07 00:00", 0, "2025-09-07T04:00:00Z", "2025-09-07T04:00:00Z"},
        {"America/Santiago", "2025-04-05 23:30", 2, "2025-04-06T02:30:00Z", "2025-04-06T03:30:00Z"},
        {"Pacific/Apia", "2011-12-30 12:00", 0, "2011-12-30T22:00:00Z", "2011-12-30T10:00:00Z"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        const struct zone *zone = zone_named(CASES[i].zone);
        struct civil c = civil(CASES[i].local);
        int64_t instants[2];
        int count = zone_instants(zone, &c, instants);
        if (count != CASES[i].count || instants[0] != instant(CASES[i].first) ||
            (CASES[i].second && instants[1] != instant(CASES[i].second)))
            fail_msg("%s in %s: %d", CASES[i].local, CASES[i].zone, count);
        zone_close(zone);
    }
}

static void spans_join_without_holes(void **state)
{
    static const char *const ZONES[] = {"UTC",        "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca",
                                        "Asia/Tokyo", "Europe/Dublin"};
    (void) state;
    for (size_t i = 0; i < COUNT(ZONES); i++) {
        const struct zone *zone = zone_named(ZONES[i]);
        struct zone_span span, next;
        size_t count = 0;
        zone_span(zone, INT64_MIN, &span);
        assert_true(span.from_s == INT64_MIN);
        while (span.until_s != INT64_MAX && span.until_s < instant("2200-01-01")) {
            zone_span(zone, span.until_s, &next);
            assert_true(next.from_s == span.until_s && next.until_s > next.from_s && next.offset_before == span.offset);
            zone_span(zone, next.until_s - 1, &span);
            assert_memory_equal(&span, &next, sizeof next);
            count++;
        }
        assert_true(count < 1000 && (i == 0 || count > 5));
        zone_span(zone, INT64_MAX, &span);
        assert_true(span.until_s == INT64_MAX);
        zone_close(zone);
    }
}

/* ---- names ---- */

static void zones_are_shared_by_name(void **state)
{
    const struct zone *a = zone_named("Europe/Berlin"), *b = zone_named("Europe/Berlin"),
                      *c = zone_named("Europe/Paris");
    (void) state;
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    zone_close(a);
    assert_string_equal(zone_name(b), "Europe/Berlin");
    zone_close(c);
    zone_close(b);
    zone_close(NULL);
}

static void a_wrong_name_is_told_with_the_nearest(void **state)
{
    static const char *const CASES[][2] = {
        {"Europe/Berln", "did you mean \"Europe/Berlin\"?"},
        {"berlin", "did you mean \"Europe/Berlin\"?"},
        {"New York", "did you mean \"America/New_York\"?"},
        {"utc", "did you mean \"UTC\"?"},
        {"Europe", "there is no time zone"},
        {"Atlantis/Centre", "write an IANA name"},
        {"", "there is no time zone"},
        {"../../etc/passwd", "there is no time zone"},
        {"/etc/localtime", "there is no time zone"},
        {"Europe/../Europe/Berlin", "there is no time zone"},
        {"Europe/Berlin/", "there is no time zone"},
        {"Europe//Berlin", "there is no time zone"},
        {".hidden", "there is no time zone"},
        {"Europe/Berlin\n", "did you mean \"Europe/Berlin\"?"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ls_error err = {0};
        assert_null(zone_open(CASES[i][0], &err));
        assert_string_equal(err.name, "BAD_VALUE");
        if (!strstr(err.text, CASES[i][1]))
            fail_msg("\"%s\": %s", CASES[i][0], err.text);
        assert_null(zone_open(CASES[i][0], NULL));
    }
}

static void utc_needs_no_files(void **state)
{
    char folder[] = "/tmp/zones-XXXXXX", *file;
    struct ls_error err = {0};
    (void) state;
    assert_non_null(mkdtemp(folder));
    setenv("TZDIR", folder, 1);
    const struct zone *utc = zone_named("UTC");
    assert_null(zone_open("Europe/Vienna", &err));
    assert_non_null(strstr(err.text, "install tzdata, or use \"UTC\""));
    file = xasprintf("%s/Broken", folder);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fputs("no zone", out);
    fclose(out);
    assert_null(zone_open("Broken", &err));
    assert_string_equal(err.name, "CORRUPT");
    unsetenv("TZDIR");
    zone_close(utc);
    unlink(file);
    rmdir(folder);
    free(file);
}

/* ---- the rule, and the bytes of a file ---- */

static void add_big(struct buf *b, uint64_t value, int bytes)
{
    while (bytes-- > 0)
        buf_add_byte(b, bytes < 8 ? (uint8_t) (value >> (8 * bytes)) : 0);
}

static void add_header(struct buf *b, char version, uint32_t leaps, uint32_t jumps, uint32_t types)
{
    buf_add(b, "TZif", 4);
    buf_add_byte(b, (uint8_t) version);
    add_big(b, 0, 15);
    add_big(b, 0, 4);
    add_big(b, 0, 4);
    add_big(b, leaps, 4);
    add_big(b, jumps, 4);
    add_big(b, types, 4);
    add_big(b, 1, 4);
}

/* A file whose table goes to offset -1h at 1000 s, then to 0 at 2000 s; then comes the rule. */
static void make_file(struct buf *b, const char *footer)
{
    buf_clear(b);
    add_header(b, '2', 0, 0, 1);
    buf_add(b, "\0\0\0\0\0\0\0", 7);
    add_header(b, '2', 0, 2, 2);
    add_big(b, 1000, 8);
    add_big(b, 2000, 8);
    buf_add(b, "\1\0", 2);
    add_big(b, 0, 6);
    add_big(b, (uint64_t) -3600, 4);
    add_big(b, 0, 2);
    buf_add_byte(b, 0);
    buf_addf(b, "\n%s\n", footer);
}

static struct zone *made(const char *footer)
{
    struct ls_error err = {0};
    struct buf b = {0};
    make_file(&b, footer);
    struct zone *zone = zone_parse("Made/Up", b.data, b.len, &err);
    buf_fini(&b);
    return zone;
}

static void a_rule_is_read_in_all_its_forms(void **state)
{
    static const struct {
        const char *rule, *instant;
        int offset;
    } CASES[] = {
        {"ABC0", "2030-06-01", 0},
        {"<+0530>-5:30", "2030-06-01", 19800},
        {"<-03>3", "2030-06-01", -10800},
        {"ABC-1:02:03", "2030-06-01", 3723},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2030-03-31T00:59:59Z", 3600},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2030-03-31T01:00:00Z", 7200},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2030-10-27T00:59:59Z", 7200},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2030-10-27T01:00:00Z", 3600},
        {"AAA10BBB,J60/0,J300/0", "2028-03-01T09:59:59Z", -36000}, /* J60 is 1 March also in a leap year */
        {"AAA10BBB,J60/0,J300/0", "2028-03-01T10:00:00Z", -32400},
        {"AAA0BBB,59/0,300/0", "2028-02-28T23:59:59Z", 0}, /* day 59 counts from 0: 29 February */
        {"AAA0BBB,59/0,300/0", "2028-02-29T00:00:00Z", 3600},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2030-03-31T00:59:59Z", -7200},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2030-03-31T01:00:00Z", -3600},
        {"IST-2IDT,M3.4.4/26,M10.5.0", "2030-03-29T00:00:00Z", 10800}, /* Thursday, and 26 hours */
        {"IST-2IDT,M3.4.4/26,M10.5.0", "2030-03-28T23:59:59Z", 7200},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2030-07-01", 3600}, /* summer time in winter */
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2030-12-31", 0},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", "2031-01-01", 0},
        {"EST5EDT,0/0,J365/25", "2030-01-01T05:00:00Z", -14400}, /* summer without end */
        {"EST5EDT,0/0,J365/25", "2030-12-31T23:59:59Z", -14400},
    };
    struct civil c;
    (void) state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct zone *zone = made(CASES[i].rule);
        if (!zone || zone_local(zone, instant(CASES[i].instant), &c) != CASES[i].offset)
            fail_msg("%s at %s: %d", CASES[i].rule, CASES[i].instant,
                     zone ? zone_local(zone, instant(CASES[i].instant), &c) : -1);
        assert_int_equal(zone_local(zone, 999, &c), 0);
        assert_int_equal(zone_local(zone, 1000, &c), -3600);
        zone_free(zone);
    }
}

static void a_malformed_rule_is_refused(void **state)
{
    static const char *const BAD[] = {
        "X",
        "XX0",
        "ABC",
        "ABC25",
        "ABC1:60",
        "ABC1:2:60",
        "ABC0 ",
        "<XX",
        "<>0",
        "<+3>",
        "ABC0YYY",
        "ABC0YYY,M3.5.0",
        "ABC0YYY,M3.5.0,",
        "ABC0YYY,M13.1.0,M4.1.0",
        "ABC0YYY,M0.1.0,M4.1.0",
        "ABC0YYY,M3.6.0,M4.1.0",
        "ABC0YYY,M3.0.0,M4.1.0",
        "ABC0YYY,M3.1.7,M4.1.0",
        "ABC0YYY,M3.1.0/168,M4.1.0",
        "ABC0YYY,J0,J5",
        "ABC0YYY,J366,J5",
        "ABC0YYY,366,5",
        "ABC0YYY,1,2,3",
        "ABC0YYY,M3-1.0,M4.1.0",
        "ABC-24YYY-24:60",
        "ABC0YYY,M99999999999.1.0,M4.1.0",
    };
    (void) state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        if (made(BAD[i]))
            fail_msg("\"%s\" is taken for a rule", BAD[i]);
    struct zone *none = made(""); /* nothing is known of later years: what is last stays */
    struct civil c;
    assert_non_null(none);
    assert_int_equal(zone_local(none, instant("2100-01-01"), &c), 0);
    zone_free(none);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    struct buf b = {0};
    (void) state;
    make_file(&b, "CET-1CEST,M3.5.0,M10.5.0/3");
    for (size_t len = 0; len < b.len; len++) {
        struct ls_error err = {0};
        uint8_t *copy = xcalloc(len + 1, 1);
        uint8_t *exact = xrealloc(copy, len ? len : 1); /* a sanitizer sees each read behind its end */
        memcpy(exact, b.data, len);
        assert_null(zone_parse("Cut", exact, len, &err));
        assert_string_equal(err.name, "CORRUPT");
        free(exact);
    }
    buf_fini(&b);
}

static void what_a_table_must_not_hold_is_refused(void **state)
{
    struct ls_error err = {0};
    struct buf b = {0};
    (void) state;
    size_t second = 44 + 7, table = second + 44;
    static const struct {
        size_t at;
        uint8_t byte;
    } CASES[] = {
        {0, 'X'},        {36, 1}, {51, 'X'}, {51 + 36, 0xff}, {51 + 32, 0xff}, {51 + 28, 0x7f}, /* magic, counts */
        {95 + 7, 0xff},  /* the second jump is not later */
        {95 + 16, 2},    /* a type that is not there */
        {95 + 18, 0x7f}, /* an offset beyond all */
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        make_file(&b, "ABC0");
        assert_int_equal(table, 95);
        b.data[CASES[i].at] = CASES[i].byte;
        if (CASES[i].at == 95 + 7)
            b.data[95 + 6] = 0xff;
        if (zone_parse("Odd", b.data, b.len, &err))
            fail_msg("case %zu is taken", i);
    }
    buf_clear(&b);
    add_header(&b, 0, 1, 0, 1);
    add_big(&b, 0, 7 + 8);
    assert_null(zone_parse("right/UTC", b.data, b.len, &err));
    assert_string_equal(err.name, "BAD_VALUE");
    assert_non_null(strstr(err.text, "leap seconds"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_dates_are_each_others_reverse),
        cmocka_unit_test(an_instant_has_its_local_name),
        cmocka_unit_test(a_civil_time_has_one_two_or_no_instants),
        cmocka_unit_test(spans_join_without_holes),
        cmocka_unit_test(zones_are_shared_by_name),
        cmocka_unit_test(a_wrong_name_is_told_with_the_nearest),
        cmocka_unit_test(utc_needs_no_files),
        cmocka_unit_test(a_rule_is_read_in_all_its_forms),
        cmocka_unit_test(a_malformed_rule_is_refused),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(what_a_table_must_not_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
