/* SPDX-License-Identifier: Apache-2.0 */
/* The text side of logs (nodes/runner/log_text.c), how much goes onto the bus (kind.c), what a keeper writes down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/runner/keeper.h"
#include "nodes/runner/log.h"
#include "nodes/runner/options.h"

static size_t cut(const char *text)
{
    return log_cut((const uint8_t *) text, strlen(text));
}

static void test_no_character_is_cut_in_two(void **state)
{
    (void) state;
    assert_int_equal(cut(""), 0);
    assert_int_equal(cut("abc"), 3);
    assert_int_equal(cut("ab\xc3\xa4"), 4);
    assert_int_equal(cut("ab\xc3"), 2);
    assert_int_equal(cut("ab\xe2\x82"), 2);
    assert_int_equal(cut("ab\xf0\x9f\x98"), 2);
    assert_int_equal(cut("ab\xf0\x9f\x98\x80"), 6);
    assert_int_equal(cut("\x80\x80\x80\x80\x80"), 5); /* not UTF-8 at all: nothing to wait for */
    assert_int_equal(cut("\xc3"), 0);
    assert_int_equal(cut("ab\xff"), 3);
}

static void expect_text(const void *data, size_t len, const char *wanted)
{
    struct buf out = {0};
    log_text(&out, data, len);
    assert_string_equal(buf_text(&out), wanted);
    buf_fini(&out);
}

static void test_every_reader_can_read_it(void **state)
{
    (void) state;
    expect_text("a\tb\"\n", 5, "\"a\\tb\\\"\\n\"");
    expect_text("a\0b\0", 4,
                "\"a\xef\xbf\xbd"
                "b\xef\xbf\xbd\"");
    expect_text("\xff", 1, "\"\xef\xbf\xbd\"");
    expect_text("", 0, "\"\"");
}

static void expect_name(const char *name, const char *wanted)
{
    struct buf out = {0};
    log_name(&out, name);
    assert_string_equal(buf_text(&out), wanted);
    buf_fini(&out);
}

static void test_names_of_files(void **state)
{
    char name[400] = {0};
    struct buf a = {0}, b = {0};
    (void) state;
    expect_name("train", "train");
    expect_name("scheduled__2026-01-02T03:04:05+00:00", "scheduled__2026-01-02T03:04:05+00:00");
    expect_name("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd");
    expect_name("..", "%2E.");
    expect_name("a b\n\xc3\xa4", "a%20b%0A%C3%A4");
    memset(name, 'x', 300);
    log_name(&a, name);
    name[299] = 'y';
    log_name(&b, name);
    assert_true(a.len <= 200 && b.len <= 200);
    assert_string_not_equal(buf_text(&a), buf_text(&b));
    buf_fini(&a);
    buf_fini(&b);
}

static struct progress progress;

static void feed(const char *text)
{
    progress.news = false;
    progress_feed(&progress, (const uint8_t *) text, strlen(text));
}

static void test_progress(void **state)
{
    (void) state;
    feed("::progress 0.5 half of it\r\n");
    assert_true(progress.news && progress.fraction == 0.5);
    assert_string_equal(progress.message, "half of it");
    feed("::prog");
    assert_false(progress.news);
    feed("ress 1\nmore\n");
    assert_true(progress.news && progress.fraction == 1);
    assert_null(progress.message);
    static const char *const NOT[] = {"x ::progress 0.1\n", "::progress\n",     "::progress half\n",
                                      "::progress 1.5\n",   "::progress -1\n",  "::progress nan\n",
                                      "::progress0.5\n",    "::progress 0.5x\n"};
    for (size_t i = 0; i < sizeof NOT / sizeof *NOT; i++) {
        feed(NOT[i]);
        assert_false(progress.news);
    }
    feed("first\n::progress 0.1 a\nbetween\n::progress 0.2 b\n::progress");
    assert_true(progress.news && progress.fraction == 0.2);
    feed("\n");
    assert_false(progress.news);
    progress_fini(&progress);
}

static void test_a_line_without_end_takes_no_memory(void **state)
{
    (void) state;
    feed("::progress 0.5 ");
    for (int i = 0; i < 10000; i++)
        feed("0123456789");
    feed("\n");
    assert_false(progress.news);
    feed("::progress 0.75\n");
    assert_true(progress.news && progress.fraction == 0.75);
    progress_fini(&progress);
}

static void expect_rate(const char *text, bool good, enum log_events wanted, int64_t bytes)
{
    enum log_events events;
    int64_t rate;
    assert_int_equal(runner_log_events(text, &events, &rate), good);
    if (!good)
        return;
    assert_int_equal(events, wanted);
    assert_int_equal(rate, bytes);
}

static void test_how_much_goes_onto_the_bus(void **state)
{
    (void) state;
    expect_rate("full", true, LOG_EVENTS_FULL, 0);
    expect_rate("tail", true, LOG_EVENTS_TAIL, 0);
    expect_rate("none", true, LOG_EVENTS_NONE, 0);
    expect_rate("64KiB", true, LOG_EVENTS_RATE, 65536);
    expect_rate("1MiB/s", true, LOG_EVENTS_RATE, 1 << 20);
    expect_rate("500", true, LOG_EVENTS_RATE, 500);
    static const char *const BAD[] = {"", "some", "0", "-5KiB", "64KB", "KiB", "99999999GiB", "64KiB/h"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        expect_rate(BAD[i], false, LOG_EVENTS_RATE, 0);
}

static void test_what_a_keeper_writes_is_read_again(void **state)
{
    const struct word ended = {.kind = WORD_ENDED,
                               .pid = 4711,
                               .status = 256,
                               .why = WHY_LEASE,
                               .start_ms = 1790000000000,
                               .end_ms = 1790000000500,
                               .cpu_us = 12345,
                               .memory_bytes = INT64_C(1) << 40};
    struct word read;
    char line[KEEPER_LINE_SIZE];
    (void) state;
    assert_true(keeper_line_format(&ended, line) < KEEPER_LINE_SIZE);
    assert_true(keeper_line_parse(line, &read));
    assert_memory_equal(&read, &ended, sizeof read);
    line[strlen(line) - 1] = '\0'; /* torn */
    assert_false(keeper_line_parse(line, &read));
    assert_false(keeper_line_parse("", &read));
    assert_false(keeper_line_parse("ended 1 2\n", &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_character_is_cut_in_two),
        cmocka_unit_test(test_every_reader_can_read_it),
        cmocka_unit_test(test_names_of_files),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_a_line_without_end_takes_no_memory),
        cmocka_unit_test(test_how_much_goes_onto_the_bus),
        cmocka_unit_test(test_what_a_keeper_writes_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
