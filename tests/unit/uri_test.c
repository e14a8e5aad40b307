/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-escapes, both ways, and paths in file: URIs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/uri.h"

static void encoded(const char *text, const char *kept, const char *expected)
{
    char *out = uri_encoded(text, kept);
    assert_string_equal(out, expected);
    free(out);
}

static void all_but_letters_digits_and_four_marks_is_escaped(void **state)
{
    (void) state;
    encoded("", "", "");
    encoded("AZaz09-._~", "", "AZaz09-._~");
    encoded("a b+c=d&e?f%2F\"<>\\^`{|}#@\x7f\x01", "", "a%20b%2Bc%3Dd%26e%3Ff%252F%22%3C%3E%5C%5E%60%7B%7C%7D%23%40%7F%01");
    encoded("ü€", "", "%C3%BC%E2%82%AC");
    encoded("a/b", "", "a%2Fb");
    encoded("/a/b c", "/", "/a/b%20c");
    encoded("/a(b)=c", "/=", "/a%28b%29=c");
}

static void decoded(const char *text, bool plus, const char *expected, unsigned expected_flaws)
{
    char out[64];
    unsigned flaws = 99;
    size_t len = strlen(text);
    memcpy(out, text, len + 1);
    assert_int_equal(uri_decode(out, len, plus, &flaws), strlen(expected));
    assert_string_equal(out, expected);
    assert_int_equal(flaws, expected_flaws);
}

static void an_escape_becomes_its_byte_once(void **state)
{
    (void) state;
    decoded("", false, "", 0);
    decoded("a%2Fb%2fc", false, "a/b/c", 0);
    decoded("%c3%A4", false, "\xc3\xa4", 0);
    decoded("%252F", false, "%2F", 0);
    decoded("%", false, "%", URI_MALFORMED);
    decoded("%4", false, "%4", URI_MALFORMED);
    decoded("%g1%1g%%41", false, "%g1%1g%A", URI_MALFORMED);
    decoded("%\x10\x11", false, "%\x10\x11", URI_MALFORMED); /* no digits, though | 0x20 makes them look so */
}

static void a_plus_is_a_blank_where_the_caller_says_so(void **state)
{
    (void) state;
    decoded("a+b%2B", true, "a b+", 0);
    decoded("a+b%2B", false, "a+b+", 0);
}

static void a_nul_is_told_and_kept(void **state)
{
    char text[] = "a%00b", raw[] = {'a', '\0', '\0'};
    unsigned flaws = 0;
    (void) state;
    assert_int_equal(uri_decode(text, strlen(text), false, &flaws), 3);
    assert_memory_equal(text, "a\0b", 4);
    assert_int_equal(flaws, URI_NUL);
    assert_int_equal(uri_decode(raw, 2, false, &flaws), 2);
    assert_int_equal(flaws, URI_NUL);
}

static void what_is_encoded_comes_back(void **state)
{
    char all[256];
    (void) state;
    for (int i = 0; i < 255; i++)
        all[i] = (char) (i + 1);
    all[255] = '\0';
    char *there = uri_encoded(all, ""), *back = uri_decoded(there);
    assert_string_equal(back, all);
    free(there);
    free(back);
}

static void path_in(const char *uri, const char *expected)
{
    char *path = uri_file_path(uri);
    if (expected)
        assert_string_equal(path, expected);
    else
        assert_null(path);
    free(path);
}

static void a_file_uri_of_this_machine_has_a_path(void **state)
{
    (void) state;
    path_in("file:///a/b%20c", "/a/b c");
    path_in("file:/a", "/a");
    path_in("file://localhost/a", "/a");
    path_in("file://elsewhere/a", NULL);
    path_in("file:a", NULL);
    path_in("/a", NULL);
    path_in("s3://a/b", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_letters_digits_and_four_marks_is_escaped),
        cmocka_unit_test(an_escape_becomes_its_byte_once),
        cmocka_unit_test(a_plus_is_a_blank_where_the_caller_says_so),
        cmocka_unit_test(a_nul_is_told_and_kept),
        cmocka_unit_test(what_is_encoded_comes_back),
        cmocka_unit_test(a_file_uri_of_this_machine_has_a_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
