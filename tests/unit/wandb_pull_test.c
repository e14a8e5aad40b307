/* SPDX-License-Identifier: Apache-2.0 */
/* What `pull` remembers of a key: each step is told once, however late and how often it comes; no answer that was thinned out is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nodes/wandb/pull_run.h"

static void a_step_is_told_once_until_it_is_settled_and_never_after(void **state)
{
    struct series s = {.settled = -1, .width = PULL_SAMPLES};
    (void) state;
    assert_true(series_tell(&s, 0, 1000));
    assert_true(series_tell(&s, 5, 2000));
    assert_true(series_tell(&s, 3, 3000)); /* W&B told it late */
    assert_false(series_tell(&s, 0, 4000));
    assert_false(series_tell(&s, 3, 4000));
    assert_false(series_tell(&s, 5, 4000));
    series_settle(&s, 1000 + PULL_LATE_MS - 1);
    assert_int_equal(s.settled, -1);
    series_settle(&s, 2000 + PULL_LATE_MS);
    assert_int_equal(s.settled, 0); /* 5 is old enough, but 3 before it is not */
    series_settle(&s, 3000 + PULL_LATE_MS);
    assert_int_equal(s.settled, 5);
    assert_int_equal(s.count, 0);
    assert_false(series_tell(&s, 4, 1 << 20));
    assert_true(series_tell(&s, 6, 1 << 20));
    series_wait(&s, 2 << 20);
    series_settle(&s, (1 << 20) + PULL_LATE_MS);
    assert_int_equal(s.settled, 5);
    free(s.told);
}

static void questions_reach_the_last_step_and_no_further(void **state)
{
    struct series s = {.settled = -1, .width = PULL_SAMPLES};
    (void) state;
    assert_false(series_ask(&s, -1));
    assert_true(series_ask(&s, 0));
    assert_int_equal(s.asked, 1);
    assert_true(series_ask(&s, 2499));
    assert_int_equal(s.asked, PULL_SAMPLES);
    assert_true(series_took(&s, PULL_SAMPLES)); /* a row for each step: all of them */
    assert_int_equal(s.next, 1000);
    assert_true(series_ask(&s, 2499) && series_took(&s, 999));
    assert_true(series_ask(&s, 2499));
    assert_int_equal(s.asked, 500);
    assert_true(series_took(&s, 500));
    assert_false(series_ask(&s, 2499));
}

static void a_sparse_key_is_asked_for_in_wider_steps_until_an_answer_may_be_thinned_out(void **state)
{
    struct series s = {.settled = -1, .width = PULL_SAMPLES};
    const int64_t last = 10 * 1000 * 1000;
    int questions = 0;
    (void) state;
    while (s.next < last / 2) { /* one row in 10,000 steps */
        assert_true(series_ask(&s, last));
        assert_true(series_took(&s, (size_t) (s.asked / 10000)));
        questions++;
    }
    assert_true(questions < 30);
    int64_t before = s.next;
    while (series_ask(&s, last) && !series_took(&s, PULL_SAMPLES)) /* and here is a row for each */
        assert_int_equal(s.next, before);
    assert_int_equal(s.asked, PULL_SAMPLES);
    assert_int_equal(s.next, before + PULL_SAMPLES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_told_once_until_it_is_settled_and_never_after),
        cmocka_unit_test(questions_reach_the_last_step_and_no_further),
        cmocka_unit_test(a_sparse_key_is_asked_for_in_wider_steps_until_an_answer_may_be_thinned_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
