/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: filled from the table, wrapped, never over their room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/error.h"

static void the_table_fills_number_and_again(void **state)
{
    struct ls_error err;
    (void) state;
    memset(&err, 0xff, sizeof err);
    assert_int_equal(error_set(&err, "BUSY", "%d of %s", 3, "four"), -1);
    assert_string_equal(err.name, "BUSY");
    assert_string_equal(err.text, "3 of four");
    assert_true(err.number == 429 && err.again && err.retry_ms == 0);
    error_set(&err, "SCHEMA", "x");
    assert_true(err.number == 422 && !err.again);
}

static void every_kind_is_named_once_and_fits(void **state)
{
    struct ls_error err;
    (void) state;
    for (const struct error_kind *kind = ERROR_KINDS; kind->name; kind++) {
        assert_ptr_equal(error_kind_find(kind->name), kind); /* a second one of that name would not be found */
        assert_true(strlen(kind->name) < sizeof err.name && kind->sentence[0]);
    }
    assert_null(error_kind_find("NO_SUCH"));
    assert_null(error_kind_find(""));
}

static void an_unknown_name_counts_as_our_own_fault(void **state)
{
    struct ls_error err;
    (void) state;
    error_set(&err, "A_NAME_THAT_IS_MUCH_TOO_LONG_FOR_IT", "x");
    assert_int_equal(strlen(err.name), sizeof err.name - 1);
    assert_true(err.number == 500 && !err.again);
}

static void wrapping_puts_the_context_in_front(void **state)
{
    struct ls_error err;
    (void) state;
    error_set(&err, "DISK_FULL", "no room");
    err.retry_ms = 7;
    assert_int_equal(error_wrap(&err, "stream %s", "a"), -1);
    error_wrap(&err, "broker");
    assert_string_equal(err.text, "broker: stream a: no room");
    assert_true(!strcmp(err.name, "DISK_FULL") && err.number == 507 && err.retry_ms == 7);
}

static void long_texts_are_cut_off(void **state)
{
    struct ls_error err;
    char longer[2 * sizeof err.text];
    (void) state;
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    error_set(&err, "BUG", "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    error_wrap(&err, "here");
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "here: xxx", 9);
    error_wrap(&err, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void what_was_cut_is_no_half_a_letter(void **state)
{
    struct ls_error err;
    (void) state;
    error_set(&err, "BUG", "%.4s: not there", "a\xc3\xa4\xc3\xa4");
    assert_string_equal(err.text, "a\xc3\xa4: not there");
    error_wrap(&err, "%.2s\xff", "\xe6\x97\xa5");
    assert_string_equal(err.text, ": a\xc3\xa4: not there");
}

static void nobody_has_to_want_the_error(void **state)
{
    (void) state;
    assert_int_equal(error_set(NULL, "BUG", "x"), -1);
    assert_int_equal(error_wrap(NULL, "x"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_fills_number_and_again),
        cmocka_unit_test(every_kind_is_named_once_and_fits),
        cmocka_unit_test(an_unknown_name_counts_as_our_own_fault),
        cmocka_unit_test(wrapping_puts_the_context_in_front),
        cmocka_unit_test(long_texts_are_cut_off),
        cmocka_unit_test(what_was_cut_is_no_half_a_letter),
        cmocka_unit_test(nobody_has_to_want_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
