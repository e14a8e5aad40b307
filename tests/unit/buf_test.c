/* SPDX-License-Identifier: Apache-2.0 */
/* Growable bytes, and msgpack in its shortest forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "lib/buf.h"
#include "lib/mp.h"

static void assert_bytes(struct buf *b, const char *bytes, size_t len)
{
    assert_int_equal(b->len, len);
    assert_memory_equal(b->data, bytes, len);
    buf_clear(b);
}
#define ASSERT_BYTES(b, bytes) assert_bytes(b, bytes, sizeof(bytes) - 1)

static void it_grows_and_keeps_what_it_holds(void **state)
{
    struct buf b = {0};
    (void) state;
    for (unsigned i = 0; i < 10000; i++)
        buf_add_byte(&b, (uint8_t) i);
    assert_int_equal(b.len, 10000);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], (uint8_t) i);
    size_t room = b.room;
    buf_clear(&b);
    assert_true(!b.len && b.room == room);
    buf_add(&b, NULL, 0);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
    assert_true(!b.data && !b.len && !b.room);
}

static void text_ends_with_a_nul_that_does_not_count(void **state)
{
    struct buf b = {0};
    (void) state;
    assert_string_equal(buf_text(&b), "");
    buf_addf(&b, "%s %d%%", "about", 50);
    buf_addf(&b, "%s", "");
    buf_add_byte(&b, '!');
    assert_string_equal(buf_text(&b), "about 50%!");
    assert_int_equal(b.len, 10);
    buf_clear(&b);
    buf_addf(&b, "%0300d", 1);
    assert_int_equal(strlen(buf_text(&b)), 300);
    buf_fini(&b);
}

static void numbers_take_their_shortest_form(void **state)
{
    struct buf b = {0};
    (void) state;
    buf_pack_uint(&b, 127);
    ASSERT_BYTES(&b, "\x7f");
    buf_pack_uint(&b, 128);
    ASSERT_BYTES(&b, "\xcc\x80");
    buf_pack_uint(&b, UINT64_MAX);
    ASSERT_BYTES(&b, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    buf_pack_int(&b, -32);
    ASSERT_BYTES(&b, "\xe0");
    buf_pack_int(&b, INT64_MIN);
    ASSERT_BYTES(&b, "\xd3\x80\0\0\0\0\0\0\0");
    buf_pack_double(&b, 0.5);
    ASSERT_BYTES(&b, "\xcb\x3f\xe0\0\0\0\0\0\0");
    buf_pack_nil(&b);
    buf_pack_bool(&b, true);
    buf_pack_bool(&b, false);
    ASSERT_BYTES(&b, "\xc0\xc3\xc2");
    buf_fini(&b);
}

static void texts_and_bytes_carry_their_length(void **state)
{
    static char long_text[70000];
    struct buf b = {0};
    (void) state;
    buf_pack_str(&b, "");
    buf_pack_str(&b, "ab");
    buf_pack_bin(&b, "\0", 1);
    ASSERT_BYTES(&b, "\xa0\xa2" "ab\xc4\x01\0");
    buf_pack_strn(&b, long_text, 32);
    assert_memory_equal(b.data, "\xd9\x20", 2);
    buf_clear(&b);
    buf_pack_strn(&b, long_text, sizeof long_text);
    assert_memory_equal(b.data, "\xdb\0\x01\x11\x70", 5);
    assert_true(mp_valid(b.data, b.len, 0));
    buf_fini(&b);
}

static void a_count_may_be_told_at_the_end(void **state)
{
    struct buf b = {0};
    (void) state;
    size_t map = buf_begin_map(&b);
    buf_pack_str(&b, "list");
    size_t list = buf_begin_array(&b);
    for (unsigned i = 0; i < 300; i++)
        buf_pack_uint(&b, i);
    buf_end_array(&b, list, 300);
    buf_end_map(&b, map, 1);
    struct mp r;
    uint32_t items;
    assert_true(mp_valid(b.data, b.len, 2));
    assert_true(mp_find(mp_over(b.data, b.len), "list", &r) && mp_array(&r, &items) && items == 300);
    buf_clear(&b);
    buf_pack_map(&b, 16);
    buf_pack_array(&b, 15);
    ASSERT_BYTES(&b, "\xde\0\x10\x9f");
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_and_keeps_what_it_holds),
        cmocka_unit_test(text_ends_with_a_nul_that_does_not_count),
        cmocka_unit_test(numbers_take_their_shortest_form),
        cmocka_unit_test(texts_and_bytes_carry_their_length),
        cmocka_unit_test(a_count_may_be_told_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
