/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: what is well-formed (RFC 3629, and table 3-7 of the Unicode standard), and what does harm on a screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/utf8.h"

struct sample {
    const char *bytes;
    uint32_t code;
};

static size_t next(const char *bytes, size_t len, uint32_t *code)
{
    return utf8_next((const uint8_t *) bytes, len, code);
}

/* The first and the last code point of each row of the table. */
static void the_edges_of_every_form_are_read(void **state)
{
    static const struct sample CASES[] = {
        {"\x01", 0x01}, {"\x7f", 0x7f},                         /* one byte */
        {"\xc2\x80", 0x80}, {"\xdf\xbf", 0x7ff},                /* two */
        {"\xe0\xa0\x80", 0x800}, {"\xe0\xbf\xbf", 0xfff},       /* three */
        {"\xe1\x80\x80", 0x1000}, {"\xec\xbf\xbf", 0xcfff},
        {"\xed\x80\x80", 0xd000}, {"\xed\x9f\xbf", 0xd7ff},     /* up to the surrogates, and on from behind them */
        {"\xee\x80\x80", 0xe000}, {"\xef\xbf\xbf", 0xffff},
        {"\xf0\x90\x80\x80", 0x10000}, {"\xf0\xbf\xbf\xbf", 0x3ffff}, /* four */
        {"\xf1\x80\x80\x80", 0x40000}, {"\xf3\xbf\xbf\xbf", 0xfffff},
        {"\xf4\x80\x80\x80", 0x100000}, {"\xf4\x8f\xbf\xbf", 0x10ffff},
    };
    uint32_t code;
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        size_t len = strlen(CASES[i].bytes);
        assert_int_equal(next(CASES[i].bytes, len, &code), len);
        assert_int_equal(code, CASES[i].code);
        assert_int_equal(next(CASES[i].bytes, len + 1, &code), len); /* what follows is not looked at */
        assert_true(utf8_valid(CASES[i].bytes, len));
    }
    assert_int_equal(next("\0", 1, &code), 1); /* NUL is a character like any other */
    assert_int_equal(code, 0);
}

static void assert_refused(const char *const *cases, size_t count)
{
    uint32_t code;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(next(cases[i], strlen(cases[i]), &code), 0);
        assert_false(utf8_valid(cases[i], strlen(cases[i])));
    }
}
#define ASSERT_REFUSED(cases) assert_refused(cases, sizeof(cases) / sizeof *(cases))

static void overlong_forms_are_refused(void **state)
{
    static const char *const CASES[] = {"\xc0\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf",
                                        "\xf0\x8f\xbf\xbf"};
    (void) state;
    ASSERT_REFUSED(CASES);
}

static void surrogates_are_refused(void **state)
{
    static const char *const CASES[] = {"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80",
                                        "\xed\xbf\xbf", "\xed\xa0\xbd\xed\xb8\x80" /* a pair is no better */};
    (void) state;
    ASSERT_REFUSED(CASES);
}

static void what_is_beyond_unicode_is_refused(void **state)
{
    static const char *const CASES[] = {"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80",
                                        "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff"};
    (void) state;
    ASSERT_REFUSED(CASES);
}

static void stray_and_missing_continuations_are_refused(void **state)
{
    static const char *const CASES[] = {"\x80", "\xbf", "\xc3(", "\xc3\xc3", "\xe2\x82(", "\xe2(\xac", "\xf0\x9f\x8e(",
                                        "\xf0\x9f(\x89", "\xf0(\x8e\x89"};
    (void) state;
    ASSERT_REFUSED(CASES);
}

/* Each is cut before its last byte; an allocation of exactly that size lets a sanitizer see any byte read behind it. */
static void truncated_characters_are_refused_and_not_read_past(void **state)
{
    static const char *const WHOLE[] = {"\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x8e\x89"};
    uint32_t code;
    (void) state;
    for (size_t i = 0; i < sizeof WHOLE / sizeof *WHOLE; i++)
        for (size_t len = 1; len < strlen(WHOLE[i]); len++) {
            uint8_t *cut = test_malloc(len);
            memcpy(cut, WHOLE[i], len);
            assert_int_equal(utf8_next(cut, len, &code), 0);
            assert_false(utf8_valid(cut, len));
            test_free(cut);
        }
}

static void one_bad_byte_anywhere_spoils_a_text(void **state)
{
    static const char TEXT[] = "Gr\xc3\xbc\xc3\x9f" "e, \xe2\x82\xac 5 \xf0\x9f\x8e\x89.";
    char spoilt[sizeof TEXT];
    (void) state;
    assert_true(utf8_valid(TEXT, sizeof TEXT - 1));
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid(NULL, 0));
    for (size_t at = 0; at < sizeof TEXT - 1; at++) {
        memcpy(spoilt, TEXT, sizeof TEXT);
        spoilt[at] = '\xff';
        assert_false(utf8_valid(spoilt, sizeof TEXT - 1));
    }
}

/* The ranges, by their first and last code point; what stands right beside them is harmless. */
static void what_hides_or_reorders_text_is_harmful(void **state)
{
    static const struct {
        uint32_t first, last;
    } RANGES[] = {{0, 0x1f}, {0x7f, 0x9f}, {0x61c, 0x61c}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff},
                  {0xe0000, 0xe007f}};
    (void) state;
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++) {
        assert_true(utf8_is_harmful(RANGES[i].first) && utf8_is_harmful(RANGES[i].last));
        assert_false(RANGES[i].first && utf8_is_harmful(RANGES[i].first - 1));
        assert_false(utf8_is_harmful(RANGES[i].last + 1));
    }
    assert_false(utf8_is_harmful('"') || utf8_is_harmful(0xfffd) || utf8_is_harmful(0x1f389) || utf8_is_harmful(0x10ffff));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_edges_of_every_form_are_read),
        cmocka_unit_test(overlong_forms_are_refused),
        cmocka_unit_test(surrogates_are_refused),
        cmocka_unit_test(what_is_beyond_unicode_is_refused),
        cmocka_unit_test(stray_and_missing_continuations_are_refused),
        cmocka_unit_test(truncated_characters_are_refused_and_not_read_past),
        cmocka_unit_test(one_bad_byte_anywhere_spoils_a_text),
        cmocka_unit_test(what_hides_or_reorders_text_is_harmful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
