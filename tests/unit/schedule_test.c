/* SPDX-License-Identifier: Apache-2.0 */
/* When a workflow runs, and what is made up after an absence, with a clock that the tests set: docs/schedules.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "workflow/workflow.h"

#define SECOND 1000ll
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)

static int64_t ms(const char *text)
{
    int64_t us;
    if (!clock_parse(text, strlen(text), &us))
        fail_msg("\"%s\" is no time", text);
    return us / 1000;
}

/* ---- a workflow, and the way a scheduler goes with it ---- */

struct rig {
    struct workflow w;
    struct cron crons[2];
    int64_t at_s[3];
    int64_t anchor, done, last; /* last: the newest tick that was given */
    size_t total;               /* ticks given so far */
    bool more;
};

static void rig_open(struct rig *r, const char *zone, const char *cron)
{
    struct ls_error err = {0};
    *r = (struct rig){.last = -1};
    r->w = (struct workflow){.zone = zone_open(zone, &err),
                             .crons = r->crons,
                             .at_s = r->at_s,
                             .start_s = INT64_MIN,
                             .end_s = INT64_MAX,
                             .catchup = CATCHUP_LATEST,
                             .catchup_window_ms = YEAR};
    assert_non_null(r->w.zone);
    if (cron)
        assert_int_equal(cron_parse(cron, &r->crons[r->w.cron_count++], NULL, &err), 0);
}

static void rig_close(struct rig *r)
{
    zone_close(r->w.zone);
}

/* What a scheduler does at a time: asks what is due, handles it, and asks on while there is more. Nothing may come
 * twice, or go back. */
static size_t at(struct rig *r, int64_t now)
{
    int64_t ticks[7], handled = 0;
    size_t before = r->total;
    do {
        size_t count = workflow_missed(&r->w, r->done, now, r->anchor, ticks, 7, &r->more, &handled);
        assert_true(handled >= r->done && count <= 7);
        assert_true(!r->more || count == 7);
        for (size_t i = 0; i < count; i++) {
            assert_true(ticks[i] > r->last && ticks[i] > r->done && ticks[i] <= now && ticks[i] <= handled);
            r->last = ticks[i];
        }
        r->done = handled;
        r->total += count;
    } while (r->more);
    return r->total - before;
}

/* ---- ticks ---- */

static void all_parts_of_a_schedule_tick_together(void **state)
{
    struct rig r;
    struct ls_error err = {0};
    static const char *const TICKS[] = {"2025-01-01T06:00:00Z", "2025-01-01T08:00:00Z", "2025-01-01T13:37:00Z",
                                        "2025-01-01T16:00:00Z", "2025-01-01T18:00:00Z", "2025-01-02T00:00:00Z",
                                        "2025-01-02T06:00:00Z"};
    (void) state;
    rig_open(&r, "UTC", "0 6 * * *");
    assert_int_equal(cron_parse("0 18 * * *", &r.crons[r.w.cron_count++], NULL, &err), 0);
    r.w.every_ms = 8 * HOUR;
    r.at_s[r.w.at_count++] = ms("2025-01-01T08:00:00Z") / 1000; /* when `every` ticks too */
    r.at_s[r.w.at_count++] = ms("2025-01-01T13:37:00Z") / 1000;
    r.anchor = ms("2025-01-01T00:00:00Z");
    int64_t tick = r.anchor;
    for (size_t i = 0; i < sizeof TICKS / sizeof *TICKS; i++) {
        int64_t start, before = tick;
        tick = workflow_next(&r.w, tick, r.anchor);
        assert_int_equal(tick, ms(TICKS[i]));
        workflow_interval(&r.w, tick, r.anchor, &start);
        assert_int_equal(start, before);
    }
    rig_close(&r);
}

static void a_workflow_without_a_schedule_never_ticks(void **state)
{
    struct rig r;
    int64_t start;
    (void) state;
    rig_open(&r, "UTC", NULL);
    assert_int_equal(workflow_next(&r.w, 0, 0), -1);
    r.w.catchup = CATCHUP_ALL;
    assert_int_equal(at(&r, YEAR), 0);
    workflow_interval(&r.w, 5 * DAY, 0, &start); /* of a run by hand */
    assert_int_equal(start, 5 * DAY);
    rig_close(&r);
}

static void every_counts_real_time_from_its_anchor(void **state)
{
    struct rig r;
    int64_t start;
    (void) state;
    rig_open(&r, "Europe/Berlin", NULL);
    r.w.every_ms = DAY;
    r.anchor = ms("2025-03-28T12:00:00.250Z");
    assert_int_equal(workflow_next(&r.w, 0, r.anchor), r.anchor);
    assert_int_equal(workflow_next(&r.w, r.anchor - 1, r.anchor), r.anchor);
    assert_int_equal(workflow_next(&r.w, r.anchor, r.anchor), r.anchor + DAY);
    assert_int_equal(workflow_next(&r.w, r.anchor + 3 * DAY - 1, r.anchor),
                     r.anchor + 3 * DAY); /* not moved by summer time */
    workflow_interval(&r.w, r.anchor + DAY, r.anchor, &start);
    assert_int_equal(start, r.anchor);
    workflow_interval(&r.w, r.anchor, r.anchor, &start); /* none before the first */
    assert_int_equal(start, r.anchor);
    assert_int_equal(workflow_next(&r.w, INT64_MAX, r.anchor), -1);
    r.w.every_ms = INT64_MAX;
    assert_int_equal(workflow_next(&r.w, r.anchor, r.anchor), -1);
    r.w.every_ms = HOUR;
    assert_int_equal(workflow_next(&r.w, INT64_MIN, -10 * HOUR), 0); /* from 1970 on */
    assert_int_equal(workflow_next(&r.w, 0, -10 * HOUR + 1), 1);
    rig_close(&r);
}

static void nothing_ticks_before_the_start_or_after_the_end(void **state)
{
    struct rig r;
    int64_t start;
    (void) state;
    rig_open(&r, "Europe/Berlin", "0 0 * * *");
    r.w.start_s = ms("2025-06-10T22:00:00Z") / 1000; /* midnight in Berlin: that tick counts */
    r.w.end_s = ms("2025-06-12T22:00:00Z") / 1000;
    r.at_s[r.w.at_count++] = ms("2025-06-01T00:00:00Z") / 1000;
    assert_int_equal(workflow_next(&r.w, 0, 0), ms("2025-06-10T22:00:00Z"));
    assert_int_equal(workflow_next(&r.w, ms("2025-06-11T23:00:00Z"), 0), ms("2025-06-12T22:00:00Z"));
    assert_int_equal(workflow_next(&r.w, ms("2025-06-12T22:00:00Z"), 0), -1);
    workflow_interval(&r.w, ms("2025-06-10T22:00:00Z"), 0, &start);
    assert_int_equal(start, ms("2025-06-10T22:00:00Z"));
    workflow_interval(&r.w, ms("2025-06-11T22:00:00Z"), 0, &start);
    assert_int_equal(start, ms("2025-06-10T22:00:00Z"));
    r.w.catchup = CATCHUP_ALL;
    assert_int_equal(at(&r, ms("2025-06-30T00:00:00Z")), 3);
    r.w.catchup = CATCHUP_LATEST; /* the latest of those that count */
    r.done = 0, r.last = -1;
    assert_int_equal(at(&r, ms("2025-06-30T00:00:00Z")), 1);
    assert_int_equal(r.last, ms("2025-06-12T22:00:00Z"));
    rig_close(&r);
}

static void a_moved_tick_closes_the_interval_from_the_real_tick_before(void **state)
{
    struct rig r;
    int64_t start;
    (void) state;
    rig_open(&r, "America/New_York", "30 2 * * *");
    workflow_interval(&r.w, ms("2025-03-09T07:30:00Z"), 0, &start);
    assert_int_equal(start, ms("2025-03-08T07:30:00Z"));
    workflow_interval(&r.w, ms("2025-03-10T06:30:00Z"), 0, &start);
    assert_int_equal(start, ms("2025-03-09T07:30:00Z"));
    rig_close(&r);
}

/* ---- what was missed ---- */

static void a_month_of_five_minutes_is_made_up_as_asked(void **state)
{
    struct rig r;
    int64_t first = ms("2025-01-01T00:00:00Z"), back = ms("2025-02-01T00:02:00Z");
    (void) state;
    rig_open(&r, "UTC", "*/5 * * * *");
    r.done = first;
    r.w.catchup = CATCHUP_ALL;
    assert_int_equal(at(&r, back), 31 * 288); /* the first was handled, that of midnight was not */
    assert_int_equal(r.last, ms("2025-02-01T00:00:00Z"));
    assert_int_equal(r.done, back);
    assert_int_equal(at(&r, back), 0);
    r.done = first, r.last = -1;
    r.w.catchup = CATCHUP_LATEST;
    assert_int_equal(at(&r, back), 1);
    assert_int_equal(r.last, ms("2025-02-01T00:00:00Z"));
    r.done = first, r.last = -1;
    r.w.catchup = CATCHUP_NONE;
    assert_int_equal(at(&r, back), 0);
    assert_int_equal(r.done, back);
    assert_int_equal(workflow_next(&r.w, r.done, 0), ms("2025-02-01T00:05:00Z"));
    rig_close(&r);
}

static void the_window_drops_what_is_older(void **state)
{
    struct rig r;
    int64_t now = ms("2025-02-01T00:00:00Z");
    (void) state;
    rig_open(&r, "UTC", "0 * * * *");
    r.w.catchup = CATCHUP_ALL;
    r.w.catchup_window_ms = DAY;
    r.done = ms("2025-01-01T00:00:00Z");
    assert_int_equal(at(&r, now), 25); /* a tick that is just as old as the window is in */
    r.done = ms("2025-01-31T21:30:00Z"), r.last = -1;
    assert_int_equal(at(&r, now), 3);
    r.w.catchup = CATCHUP_LATEST;
    r.w.catchup_window_ms = 10 * MINUTE;
    r.done = ms("2025-01-01T00:00:00Z"), r.last = -1;
    assert_int_equal(at(&r, now + 11 * MINUTE), 0);
    r.done = ms("2025-01-01T00:00:00Z");
    assert_int_equal(at(&r, now + 10 * MINUTE), 1);
    r.w.catchup = CATCHUP_ALL;
    r.w.catchup_window_ms = INT64_MAX; /* no window */
    r.done = ms("2025-01-31T00:00:00Z"), r.last = -1;
    assert_int_equal(at(&r, now), 24);
    rig_close(&r);
}

static void little_room_takes_them_in_portions(void **state)
{
    struct rig r;
    int64_t ticks[3], handled, now = ms("2025-01-01T01:00:30Z");
    bool more;
    (void) state;
    rig_open(&r, "UTC", "*/20 * * * *");
    r.w.catchup = CATCHUP_ALL;
    r.done = ms("2025-01-01T00:00:00Z");
    assert_int_equal(workflow_missed(&r.w, r.done, now, 0, ticks, 0, &more, &handled), 0);
    assert_true(more && handled == r.done);
    assert_int_equal(workflow_missed(&r.w, r.done, now, 0, ticks, 2, &more, &handled), 2);
    assert_true(more && handled == ticks[1] && ticks[1] == ms("2025-01-01T00:40:00Z"));
    assert_int_equal(workflow_missed(&r.w, handled, now, 0, ticks, 1, &more, &handled), 1);
    assert_true(!more && handled == now && ticks[0] == ms("2025-01-01T01:00:00Z"));
    r.w.catchup = CATCHUP_LATEST;
    assert_int_equal(workflow_missed(&r.w, r.done, now, 0, ticks, 0, &more, &handled), 0);
    assert_true(more && handled == r.done);
    rig_close(&r);
}

static void a_tick_is_due_at_its_millisecond(void **state)
{
    struct rig r;
    int64_t tick = ms("2025-01-01T00:05:00Z");
    (void) state;
    rig_open(&r, "UTC", "*/5 * * * *");
    r.done = tick - MINUTE;
    assert_int_equal(at(&r, tick - 1), 0);
    assert_int_equal(at(&r, tick), 1);
    assert_int_equal(at(&r, tick + 1), 0);
    rig_close(&r);
}

static void eight_hours_of_sleep_are_an_absence(void **state)
{
    struct rig r;
    int64_t evening = ms("2025-01-01T22:00:00Z");
    (void) state;
    for (enum catchup how = CATCHUP_NONE; how <= CATCHUP_ALL; how++) {
        static const size_t EXPECTED[] = {0, 1, 16};
        rig_open(&r, "UTC", "*/30 * * * *");
        r.w.catchup = how;
        r.done = evening;
        assert_int_equal(at(&r, evening + 8 * HOUR + 1), EXPECTED[how]);
        assert_int_equal(workflow_next(&r.w, r.done, 0), evening + 8 * HOUR + 30 * MINUTE);
        rig_close(&r);
    }
}

/* The clock is asked every minute for two hours; then it steps; then it goes on. Nothing may come twice (`at` sees to that). */
static size_t go(struct rig *r, int64_t from, int64_t step)
{
    size_t before = r->total;
    for (int64_t now = from; now < from + 2 * HOUR; now += MINUTE)
        at(r, now);
    for (int64_t now = from + 2 * HOUR + step; now < from + 4 * HOUR + step; now += MINUTE)
        at(r, now);
    return r->total - before;
}

static void a_step_of_the_clock_makes_nothing_run_twice(void **state)
{
    static const struct {
        int64_t step;
        size_t latest, all;
    } CASES[] = {
        {HOUR, 24 + 1 + 24, 24 + 12 + 24},
        {-HOUR, 24 + 12, 24 + 12}, /* an hour goes by again: it was handled */
        {YEAR, 24 + 1 + 24, 24 + 365 * 288 + 24},
        {-YEAR, 24, 24},
    };
    struct rig r;
    int64_t from = ms("2025-05-05T00:01:00Z");
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        for (enum catchup how = CATCHUP_NONE; how <= CATCHUP_ALL; how++) {
            rig_open(&r, "UTC", "*/5 * * * *");
            r.w.catchup = how;
            r.w.catchup_window_ms = 2 * YEAR;
            r.done = from - 1;
            size_t expected = how == CATCHUP_NONE ? 0 : how == CATCHUP_LATEST ? CASES[i].latest : CASES[i].all;
            assert_int_equal(go(&r, from, CASES[i].step), expected);
            rig_close(&r);
        }
}

static void a_clock_that_was_a_year_ahead_leaves_nothing_to_do_till_then(void **state)
{
    struct rig r;
    int64_t now = ms("2025-05-05T00:00:00Z");
    (void) state;
    rig_open(&r, "UTC", "0 * * * *");
    r.done = now;
    assert_int_equal(at(&r, now + YEAR), 1);
    assert_int_equal(at(&r, now + HOUR), 0);
    assert_int_equal(r.done, now + YEAR);
    assert_int_equal(workflow_next(&r.w, r.done, 0), now + YEAR + HOUR);
    assert_int_equal(at(&r, now + YEAR + HOUR), 1);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_of_a_schedule_tick_together),
        cmocka_unit_test(a_workflow_without_a_schedule_never_ticks),
        cmocka_unit_test(every_counts_real_time_from_its_anchor),
        cmocka_unit_test(nothing_ticks_before_the_start_or_after_the_end),
        cmocka_unit_test(a_moved_tick_closes_the_interval_from_the_real_tick_before),
        cmocka_unit_test(a_month_of_five_minutes_is_made_up_as_asked),
        cmocka_unit_test(the_window_drops_what_is_older),
        cmocka_unit_test(little_room_takes_them_in_portions),
        cmocka_unit_test(a_tick_is_due_at_its_millisecond),
        cmocka_unit_test(eight_hours_of_sleep_are_an_absence),
        cmocka_unit_test(a_step_of_the_clock_makes_nothing_run_twice),
        cmocka_unit_test(a_clock_that_was_a_year_ahead_leaves_nothing_to_do_till_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
