/* SPDX-License-Identifier: Apache-2.0 */
/* The msgpack reader: boundaries of each form, and input that lies about its lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/mp.h"
#include "lib/xmem.h"

#define OVER(bytes) mp_over(bytes, sizeof(bytes) - 1)
#define VALID(bytes) mp_valid(bytes, sizeof(bytes) - 1, MP_DEPTH_MAX)

static void numbers_are_read_from_every_form(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        uint64_t value;
    } CASES[] = {
        {"\x7f", 1, 127}, {"\xcc\xff", 2, 255}, {"\xcd\xff\xff", 3, 65535}, {"\xce\xff\xff\xff\xff", 5, UINT32_MAX},
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, UINT64_MAX}, {"\xd0\x7f", 2, 127}, {"\xd1\x7f\xff", 3, 32767},
        {"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 9, INT64_MAX}, {"\xcf\0\0\0\0\0\0\0\1", 9, 1},
    };
    (void) state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct mp r = mp_over(CASES[i].bytes, CASES[i].len);
        uint64_t got;
        assert_true(mp_uint(&r, &got) && got == CASES[i].value && r.p == r.end);
    }
}

static void negative_numbers_are_no_unsigned_ones(void **state)
{
    struct mp r = OVER("\xd3\x80\0\0\0\0\0\0\0");
    const uint8_t *start = r.p;
    uint64_t number;
    int64_t sint;
    (void) state;
    assert_false(mp_uint(&r, &number));
    assert_ptr_equal(r.p, start);
    assert_true(mp_int(&r, &sint) && sint == INT64_MIN);
    r = OVER("\xe0");
    assert_true(mp_int(&r, &sint) && sint == -32);
    r = OVER("\xcf\x80\0\0\0\0\0\0\0");
    assert_false(mp_int(&r, &sint)); /* 2^63 does not fit */
}

static void any_number_is_a_double(void **state)
{
    struct mp r = OVER("\x93\xca\x3f\x00\x00\x00\xff\x07");
    uint32_t items;
    double d;
    (void) state;
    assert_true(mp_array(&r, &items) && items == 3);
    assert_true(mp_double(&r, &d) && d == 0.5);
    assert_true(mp_double(&r, &d) && d == -1.0);
    assert_true(mp_double(&r, &d) && d == 7.0);
    r = OVER("\xa1x");
    assert_false(mp_double(&r, &d));
}

/* Every proper beginning of a value is refused, and the reader stays where it was. */
static void what_is_cut_off_is_refused(void **state)
{
    static const char WHOLE[] = "\x84\xa1" "a\xcd\x01\x02\xa1" "b\xc4\x03xyz\xa1" "c\xd8\x05" "0123456789abcdef\xa1"
                                "d\x92\xcb\0\0\0\0\0\0\0\0\xdb\0\0\0\2hi";
    (void) state;
    assert_true(VALID(WHOLE));
    for (size_t len = 0; len < sizeof WHOLE - 1; len++) {
        char *copy = xcalloc(1, len + 1); /* its own block, so that a sanitizer sees a byte too far */
        memcpy(copy, WHOLE, len);
        struct mp r = mp_over(copy, len);
        const uint8_t *start = r.p;
        assert_false(mp_skip(&r));
        assert_ptr_equal(r.p, start);
        free(copy);
    }
    assert_false(mp_valid(WHOLE, sizeof WHOLE, MP_DEPTH_MAX)); /* a byte behind it */
}

static void lengths_that_lie_are_refused(void **state)
{
    (void) state;
    assert_false(VALID("\xdb\xff\xff\xff\xff" "abc"));
    assert_false(VALID("\xc6\xff\xff\xff\xff"));
    assert_false(VALID("\xc9\xff\xff\xff\xff\x01"));
    assert_false(VALID("\xdd\xff\xff\xff\xff\xc0"));
    assert_false(VALID("\xdf\xff\xff\xff\xff\xc0\xc0"));
    assert_false(VALID("\xdf\x80\0\0\0\xc0\xc0")); /* twice as many values overflow 32 bits */
    assert_false(VALID("\xc1"));
}

static void depth_is_bounded(void **state)
{
    char nest[MP_DEPTH_MAX + 2];
    (void) state;
    memset(nest, '\x91', sizeof nest);
    nest[MP_DEPTH_MAX] = '\xc0';
    assert_true(mp_valid(nest, MP_DEPTH_MAX + 1, MP_DEPTH_MAX));
    assert_false(mp_valid(nest, MP_DEPTH_MAX + 1, MP_DEPTH_MAX - 1));
    nest[MP_DEPTH_MAX] = '\x91';
    nest[MP_DEPTH_MAX + 1] = '\xc0';
    assert_false(mp_valid(nest, MP_DEPTH_MAX + 2, 1000)); /* never deeper, whoever asks */
    assert_true(mp_valid("\xc0", 1, 0));
    assert_false(mp_valid("\x90", 1, 0));
}

static void find_steps_over_any_key_and_value(void **state)
{
    struct mp map = OVER("\x84\x01\x02\x91\xc0\x03\xa3key\x81\xa1k\x05\xa1k\x06"), value;
    uint64_t number;
    (void) state;
    assert_true(mp_find(map, "k", &value) && mp_uint(&value, &number) && number == 6);
    assert_false(mp_find(map, "ke", &value));
    assert_false(mp_find(OVER("\x81\xa1k"), "k", &value)); /* no value behind it */
    assert_false(mp_find(OVER("\x91\xa1k"), "k", &value));
    assert_false(mp_find(mp_over(NULL, 0), "k", &value));
}

static unsigned count_maps(struct mp map)
{
    unsigned count = 0;
    struct mp_maps walk = mp_maps(map, "k");
    for (struct mp item, value; mp_maps_next(&walk, &item); count++)
        assert_true(!mp_find(item, "i", &value) || value.p < value.end);
    return count;
}

static void a_walk_over_maps_passes_over_the_rest_and_ends_at_harm(void **state)
{
    (void) state;
    assert_int_equal(count_maps(OVER("\x81\xa1k\x94\x80\x05\x81\xa1i\x01\x90")), 2);
    assert_int_equal(count_maps(OVER("\x81\xa1k\x93\x80\x81\xa1i\x81\xa1")), 1); /* the second is cut off */
    assert_int_equal(count_maps(OVER("\x81\xa1k\xdd\xff\xff\xff\xff\x80")), 1);  /* four thousand million, it says */
    assert_int_equal(count_maps(OVER("\x81\xa1k\x05")), 0);
    assert_int_equal(count_maps(OVER("\x81\xa1j\x91\x80")), 0);
    assert_int_equal(count_maps(mp_over(NULL, 0)), 0);
}

static void nothing_at_all_is_refused_by_every_reader(void **state)
{
    struct mp r = mp_over(NULL, 0);
    struct mp_value v;
    struct mp_slice text;
    uint32_t count;
    bool b;
    (void) state;
    assert_int_equal(mp_peek(&r), MP_BAD);
    assert_false(mp_next(&r, &v) || mp_skip(&r) || mp_map(&r, &count) || mp_array(&r, &count) || mp_str(&r, &text) || mp_bool(&r, &b));
    assert_false(mp_valid(NULL, 0, MP_DEPTH_MAX));
    assert_true(mp_is((struct mp_slice){"abc", 2}, "ab") && !mp_is((struct mp_slice){"ab", 2}, "abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_from_every_form),
        cmocka_unit_test(negative_numbers_are_no_unsigned_ones),
        cmocka_unit_test(any_number_is_a_double),
        cmocka_unit_test(what_is_cut_off_is_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(find_steps_over_any_key_and_value),
        cmocka_unit_test(a_walk_over_maps_passes_over_the_rest_and_ends_at_harm),
        cmocka_unit_test(nothing_at_all_is_refused_by_every_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
