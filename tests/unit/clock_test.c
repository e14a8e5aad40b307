/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3339 in and out, durations, and UUIDv7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/clock.h"

#define SECOND 1000000ll

static int64_t parse(const char *text)
{
    int64_t us;
    if (!clock_parse(text, strlen(text), &us))
        fail_msg("\"%s\" is refused", text);
    return us;
}

static bool refused(const char *text)
{
    int64_t us;
    return !clock_parse(text, strlen(text), &us);
}

static void known_moments_are_read(void **state)
{
    (void) state;
    assert_int_equal(parse("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parse("1970-01-01"), 0);
    assert_int_equal(parse("2000-02-29T12:00:00Z"), 951825600 * SECOND);
    assert_int_equal(parse("2038-01-19t03:14:08z"), 2147483648 * SECOND);
    assert_int_equal(parse("1969-12-31 23:59:59.5Z"), -SECOND / 2);
    assert_int_equal(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z")); /* a leap second */
}

static void an_offset_counts_and_may_be_negative(void **state)
{
    (void) state;
    assert_int_equal(parse("1970-01-01T01:30:00+01:30"), 0);
    assert_int_equal(parse("1969-12-31T16:00:00-08:00"), 0);
    assert_int_equal(parse("1985-04-12T23:20:50.52Z"), parse("1985-04-12T18:20:50.52-05:00"));
    assert_int_equal(parse("1970-01-01T00:00:00-00:00"), 0);
}

static void fractions_are_kept_to_the_microsecond(void **state)
{
    (void) state;
    assert_int_equal(parse("1970-01-01T00:00:00.1Z"), 100000);
    assert_int_equal(parse("1970-01-01T00:00:00.000001Z"), 1);
    assert_int_equal(parse("1970-01-01T00:00:00.123456789123Z"), 123456);
}

static void a_day_must_be_in_the_calendar(void **state)
{
    (void) state;
    assert_int_equal(parse("2024-02-29") - parse("2024-02-28"), 86400 * SECOND);
    assert_int_equal(parse("2000-03-01") - parse("2000-02-28"), 2 * 86400 * SECOND);
    assert_true(refused("2023-02-29") && refused("1900-02-29") && refused("2100-02-29T00:00:00Z"));
    assert_true(refused("2024-02-30") && refused("2024-04-31") && refused("2024-06-31") && refused("2024-09-31") && refused("2024-11-31"));
    assert_true(refused("2024-00-10") && refused("2024-13-10") && refused("2024-01-00") && refused("2024-01-32"));
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const BAD[] = {
        "", "2024", "2024-1-1", "2024-01-01T", "2024-01-01T00:00Z", "2024-01-01T00:00:00", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+0100", "2024-01-01T00:00:00Zx",
        "2024-01-01x", "-024-01-01", "2024-01-01T00:00:00*01:00", " 2024-01-01"};
    int64_t us;
    (void) state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (!refused(BAD[i]))
            fail_msg("\"%s\" is taken for a time", BAD[i]);
    assert_false(clock_parse("2024-01-01T00:00:00\0", 20, &us));
}

static void formatting_and_reading_are_each_others_reverse(void **state)
{
    static const int64_t TIMES[] = {0, 1000, -1000, 951825599999000, 1767225600000000, 253402300799999000, -62135596800000000};
    char text[CLOCK_TEXT_SIZE];
    (void) state;
    for (size_t i = 0; i < sizeof TIMES / sizeof *TIMES; i++) {
        clock_format(TIMES[i], text);
        assert_int_equal(strlen(text), CLOCK_TEXT_SIZE - 1);
        assert_int_equal(parse(text), TIMES[i]);
    }
    clock_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    clock_format(INT64_MAX, text); /* far beyond four digits of a year: still a text of that form */
    assert_int_equal(strlen(text), CLOCK_TEXT_SIZE - 1);
    clock_format(INT64_MIN, text);
    assert_int_equal(strlen(text), CLOCK_TEXT_SIZE - 1);
}

static void durations_add_up(void **state)
{
    int64_t ms = 0;
    (void) state;
    assert_true(clock_parse_duration("250ms", &ms) && ms == 250);
    assert_true(clock_parse_duration("1h30m", &ms) && ms == 5400000);
    assert_true(clock_parse_duration("7d", &ms) && ms == 604800000);
    assert_true(clock_parse_duration("1m5ms", &ms) && ms == 60005);
    assert_true(clock_parse_duration("0s", &ms) && ms == 0);
}

static void a_duration_that_overflows_is_refused(void **state)
{
    static const char *const BAD[] = {"", "5", "s", "5x", "-5s", "1.5s", "5s ", "5 s", "99999999999d", "18446744073709551616ms"};
    char many[11 * 20 + 1] = "";
    int64_t ms;
    (void) state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (clock_parse_duration(BAD[i], &ms))
            fail_msg("\"%s\" is taken for a duration", BAD[i]);
    for (size_t i = 0; i < 20; i++) /* each fits, their sum does not */
        memcpy(many + 11 * i, "9999999999d", 12);
    assert_false(clock_parse_duration(many, &ms));
}

static void assert_uuid7(const char *text)
{
    assert_int_equal(strlen(text), 36);
    for (size_t i = 0; i < 36; i++)
        assert_true(i == 8 || i == 13 || i == 18 || i == 23 ? text[i] == '-' : strchr("0123456789abcdef", text[i]) != NULL);
    assert_int_equal(text[14], '7');
    assert_non_null(strchr("89ab", text[19]));
}

static void uuids_grow_even_where_the_clock_stands_or_steps_back(void **state)
{
    static const int64_t STEPS[] = {0, 0, 1, -5000000, 250, 999, 1000};
    int64_t now = 1767225600000000;
    char last[UUID_TEXT_SIZE] = "", text[UUID_TEXT_SIZE];
    (void) state;
    for (size_t i = 0; i < 10000; i++) {
        now += STEPS[i % (sizeof STEPS / sizeof *STEPS)];
        uuid7(now, text);
        assert_uuid7(text);
        assert_true(strcmp(text, last) > 0);
        memcpy(last, text, sizeof last);
    }
}

static void a_uuid_tells_its_millisecond(void **state)
{
    char text[UUID_TEXT_SIZE];
    (void) state;
    uuid7(4102444800123000, text); /* later than any other in this program: 0x3bb2cc3d87b ms */
    assert_memory_equal(text, "03bb2cc3-d87b-7", 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_moments_are_read),
        cmocka_unit_test(an_offset_counts_and_may_be_negative),
        cmocka_unit_test(fractions_are_kept_to_the_microsecond),
        cmocka_unit_test(a_day_must_be_in_the_calendar),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(formatting_and_reading_are_each_others_reverse),
        cmocka_unit_test(durations_add_up),
        cmocka_unit_test(a_duration_that_overflows_is_refused),
        cmocka_unit_test(uuids_grow_even_where_the_clock_stands_or_steps_back),
        cmocka_unit_test(a_uuid_tells_its_millisecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
