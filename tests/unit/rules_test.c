/* SPDX-License-Identifier: Apache-2.0 */
/* Airflow's twelve trigger rules over every mix of up to four upstream tasks, and delays between tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "workflow/workflow.h"

/* A table as in Airflow's documentation of trigger rules. Upstream states: s success, f failed, k skipped, u
 * upstream_failed, r removed, - not done. */
struct row {
    const char *upstream;
    const char verdicts[13]; /* in the order of TRIGGER_RULES: R run, S skip, F upstream_failed, . wait */
};

static const struct row ROWS[] = {
    /* ASuc AFai ADon AD1S ASki 1Fai 1Suc 1Don NFai NF1S NSki Alw */
    {"", "RRRRRRRRRRRR"},
    {"-", "...........R"},
    {"--", "...........R"},
    {"s", "RSRRSSRRRRRR"},
    {"f", "FRRFSRFRFFRR"},
    {"k", "SSRSRSSSRSSR"},
    {"u", "FRRFSRFSFFRR"},
    {"ss", "RSRRSSRRRRRR"},
    {"s-", ".S..S.RR...R"},
    {"f-", "F...SR.RFF.R"},
    {"k-", "SS.S......SR"},
    {"u-", "F...SR..FF.R"},
    {"sf", "FSRRSRRRFFRR"},
    {"sk", "SSRSSSRRRRSR"},
    {"su", "FSRRSRRRFFRR"},
    {"fk", "FSRSSRFRFFSR"},
    {"ff", "FRRFSRFRFFRR"},
    {"fu", "FRRFSRFRFFRR"},
    {"uu", "FRRFSRFSFFRR"},
    {"kk", "SSRSRSSSRSSR"},
    {"ku", "FSRSSRFSFFSR"},
    {"sf-", "FS..SRRRFF.R"},
    {"sk-", "SS.SS.RR..SR"},
    {"fk-", "FS.SSR.RFFSR"},
    {"sss", "RSRRSSRRRRRR"},
    {"sssf", "FSRRSRRRFFRR"},
    {"sssk", "SSRSSSRRRRSR"},
    {"kkk-", "SS.S......SR"},
    {"fuk-", "FS.SSR.RFFSR"},
    /* Somebody was removed: no run waits for ever. */
    {"r", "FFRFFSFSFFRR"},
    {"sr", "FSRRSSRRFFRR"},
};

static struct rule_counts counts_of(const char *upstream)
{
    struct rule_counts n = {.upstream = strlen(upstream)};
    for (; *upstream; upstream++) {
        n.success += *upstream == 's';
        n.failed += *upstream == 'f';
        n.skipped += *upstream == 'k';
        n.upstream_failed += *upstream == 'u';
        n.removed += *upstream == 'r';
    }
    return n;
}

static void test_rules_decide_as_documented(void **state)
{
    (void) state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++)
        for (int rule = RULE_ALL_SUCCESS; rule <= RULE_ALWAYS; rule++) {
            struct rule_counts n = counts_of(ROWS[i].upstream);
            char got = ".RSF"[rule_decide((enum trigger_rule) rule, &n)];
            if (got != ROWS[i].verdicts[rule])
                fail_msg("%s of \"%s\" is %c, not %c", TRIGGER_RULES[rule], ROWS[i].upstream, got,
                         ROWS[i].verdicts[rule]);
        }
}

/* Every mix of at most four: when all are done, a rule decides; and a decision does not change when more get done,
 * but for those rules that run as soon as they may. */
static void test_rules_always_decide_in_the_end(void **state)
{
    (void) state;
    for (size_t s = 0; s < 5; s++)
        for (size_t f = 0; f < 5; f++)
            for (size_t k = 0; k < 5; k++)
                for (size_t u = 0; u < 5; u++)
                    for (int rule = RULE_ALL_SUCCESS; rule <= RULE_ALWAYS; rule++) {
                        struct rule_counts n = {s + f + k + u, s, f, k, u, 0};
                        assert_int_not_equal(rule_decide((enum trigger_rule) rule, &n), RULE_WAIT);
                        n.upstream++;
                        enum rule_verdict early = rule_decide((enum trigger_rule) rule, &n);
                        if (early == RULE_RUN)
                            assert_true(rule == RULE_ALWAYS || rule == RULE_ONE_FAILED || rule == RULE_ONE_SUCCESS ||
                                        rule == RULE_ONE_DONE);
                    }
}

static void test_words_are_complete(void **state)
{
    (void) state;
    assert_string_equal(TRIGGER_RULES[RULE_ALWAYS], "always");
    assert_null(TRIGGER_RULES[RULE_ALWAYS + 1]);
    assert_string_equal(TASK_STATES[TASK_REMOVED], "removed");
    assert_null(TASK_STATES[TASK_REMOVED + 1]);
    assert_string_equal(RUN_STATES[RUN_FAILED], "failed");
    assert_null(RUN_STATES[RUN_FAILED + 1]);
}

static void test_delays_grow_and_are_capped(void **state)
{
    (void) state;
    struct retry r = {.delay_ms = 30000, .max_delay_ms = 3600000, .backoff = 2};
    assert_int_equal(retry_delay_ms(&r, 1, "a"), 30000);
    assert_int_equal(retry_delay_ms(&r, 2, "a"), 60000);
    assert_int_equal(retry_delay_ms(&r, 7, "a"), 1920000);
    assert_int_equal(retry_delay_ms(&r, 8, "a"), 3600000);
    assert_int_equal(retry_delay_ms(&r, 100000, "a"), 3600000);
    r.backoff = 1;
    assert_int_equal(retry_delay_ms(&r, 9, "a"), 30000);
    r.delay_ms = 0;
    r.backoff = 100;
    assert_int_equal(retry_delay_ms(&r, 100000, "a"), 0);
}

static void test_jitter_lengthens_and_repeats_itself(void **state)
{
    (void) state;
    struct retry r = {.delay_ms = 1000, .max_delay_ms = 3000, .backoff = 2, .jitter = true};
    int64_t sum = 0, low = INT64_MAX, high = 0;
    for (int i = 0; i < 1000; i++) {
        char identity[16] = {'t', (char) ('0' + i / 100), (char) ('0' + i / 10 % 10), (char) ('0' + i % 10)};
        int64_t delay = retry_delay_ms(&r, 1, identity);
        assert_int_equal(delay, retry_delay_ms(&r, 1, identity));
        assert_in_range(delay, 1000, 1999);
        assert_in_range(retry_delay_ms(&r, 2, identity), 2000, 3000); /* capped again */
        assert_int_equal(retry_delay_ms(&r, 9, identity), 3000);
        sum += delay;
        low = delay < low ? delay : low;
        high = delay > high ? delay : high;
    }
    assert_in_range(sum / 1000, 1450, 1550);
    assert_in_range(low, 1000, 1020);
    assert_in_range(high, 1980, 1999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_decide_as_documented),
        cmocka_unit_test(test_rules_always_decide_in_the_end),
        cmocka_unit_test(test_words_are_complete),
        cmocka_unit_test(test_delays_grow_and_are_capped),
        cmocka_unit_test(test_jitter_lengthens_and_repeats_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
