/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and patterns as docs/protocol.md, "Topics", describes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/topic.h"

static bool is_topic(const char *text)
{
    return topic_valid(text, strlen(text));
}

static bool is_pattern(const char *text)
{
    return topic_pattern_valid(text, strlen(text));
}

static bool match(const char *pattern, const char *topic)
{
    return topic_match(pattern, strlen(pattern), topic, strlen(topic));
}

static void words_are_lower_case_digits_and_two_signs(void **state)
{
    (void) state;
    assert_true(is_topic("run.metric") && is_topic("a") && is_topic("0-_z.9"));
    const char *const BAD[] = {"", ".", "a.", ".a", "a..b", "A", "a b", "a/b", "a.*", ">", "a\x80", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (is_topic(BAD[i]))
            fail_msg("\"%s\" is taken for a topic", BAD[i]);
    assert_false(topic_valid("a\0b", 3));
}

static void only_the_first_word_may_begin_with_a_dollar(void **state)
{
    (void) state;
    assert_true(is_topic("$sys.stats") && is_topic("$dlq"));
    assert_false(is_topic("$") || is_topic("$.a") || is_topic("$$a") || is_topic("a.$b") || is_topic("a$"));
}

static void two_hundred_bytes_are_the_limit(void **state)
{
    char text[TOPIC_LEN_MAX + 2];
    (void) state;
    memset(text, 'a', sizeof text);
    assert_true(topic_valid(text, TOPIC_LEN_MAX));
    assert_false(topic_valid(text, TOPIC_LEN_MAX + 1));
    assert_false(topic_pattern_valid(text, TOPIC_LEN_MAX + 1));
}

static void wildcards_are_whole_words_and_the_rest_stands_last(void **state)
{
    (void) state;
    assert_true(is_pattern("*") && is_pattern(">") && is_pattern("a.*.b.>") && is_pattern("$sys.*"));
    assert_false(is_pattern("a*") || is_pattern("**") || is_pattern(">.a") || is_pattern("a.>b") || is_pattern("$*") || is_pattern("$>"));
}

static void a_star_is_one_word_and_the_rest_one_or_more(void **state)
{
    (void) state;
    assert_true(match("run.*", "run.metric") && match("run.>", "run.metric") && match("run.>", "run.a.b"));
    assert_false(match("run.*", "run.metric.best") || match("run.*", "run") || match("run.>", "run"));
    assert_true(match("*.b", "a.b") && match("a", "a") && !match("a", "ab") && !match("ab", "a"));
}

static void a_wildcard_in_front_never_matches_the_brokers_topics(void **state)
{
    (void) state;
    assert_false(match(">", "$sys.stats") || match("*.stats", "$sys.stats"));
    assert_true(match("$sys.>", "$sys.stats") && match("$sys.*", "$sys.stats"));
    assert_false(topic_overlap(">", "$sys.>") || topic_covers(">", "$sys.stats"));
}

static void overlap_means_a_topic_in_common(void **state)
{
    (void) state;
    assert_true(topic_overlap("a.*", "*.b") && topic_overlap("a.>", "a.b.c") && topic_overlap(">", "*"));
    assert_false(topic_overlap("a.*", "b.*") || topic_overlap("a.>", "a") || topic_overlap("a.*", "a.*.c"));
}

static void covering_means_every_topic_of_the_other(void **state)
{
    (void) state;
    assert_true(topic_covers(">", "*.>") && topic_covers("a.*", "a.b") && topic_covers("a.>", "a.*.c") && topic_covers("*", "a"));
    assert_false(topic_covers("*.>", ">") || topic_covers("a.b", "a.*") || topic_covers("a.*", "a.>") || topic_covers("a.>", "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_lower_case_digits_and_two_signs),
        cmocka_unit_test(only_the_first_word_may_begin_with_a_dollar),
        cmocka_unit_test(two_hundred_bytes_are_the_limit),
        cmocka_unit_test(wildcards_are_whole_words_and_the_rest_stands_last),
        cmocka_unit_test(a_star_is_one_word_and_the_rest_one_or_more),
        cmocka_unit_test(a_wildcard_in_front_never_matches_the_brokers_topics),
        cmocka_unit_test(overlap_means_a_topic_in_common),
        cmocka_unit_test(covering_means_every_topic_of_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
