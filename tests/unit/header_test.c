/* SPDX-License-Identifier: Apache-2.0 */
/* Event headers: what is accepted, what is kept, what is filled in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "broker/core.h"

#define NONE ((struct mp_slice){0})

static struct mp_slice bytes_of(const struct buf *b)
{
    return (struct mp_slice){(const char *) b->data, b->len};
}

static int read_bytes(struct mp_slice map, bool bare, struct header *h, const char **name)
{
    static struct ls_error err;
    memset(&err, 0, sizeof err);
    *name = err.name;
    return header_read(map, bare, h, &err);
}
#define READ(bytes, bare, h, name) read_bytes((struct mp_slice){bytes, sizeof(bytes) - 1}, bare, h, name)

static void attributes_are_found_and_control_keys_taken_out(void **state)
{
    struct header h;
    const char *name;
    struct buf out = {0};
    (void) state;
    assert_int_equal(READ("\x86\xa1n\x05\xa5topic\xa1" "a\xa5" "batch\x02\xa1x\xc0\xa3tag\xa1t\xa2id\xa1i", false, &h, &name), 0);
    assert_true(mp_is(h.topic, "a") && mp_is(h.id, "i") && !h.source.len && h.has_n && h.n == 5 && h.has_batch && h.batch == 2);
    assert_true(h.has_tag && mp_is(h.tag, "\xa1t"));
    header_write(&out, &h, SLICE("other"), SLICE("src"), NONE);
    assert_true(mp_is(bytes_of(&out), "\x84\xa5topic\xa1" "a\xa1x\xc0\xa2id\xa1i\xa6source\xa3src"));
    buf_fini(&out);
}

static void data_is_a_control_key_of_bare_maps_only(void **state)
{
    struct header h;
    const char *name;
    (void) state;
    assert_int_equal(READ("\x82\xa5topic\xa1" "a\xa4" "data\x91\x01", true, &h, &name), 0);
    assert_true(mp_is(h.data, "\x91\x01") && h.control == 1);
    assert_int_equal(READ("\x82\xa5topic\xa1" "a\xa4" "data\x91\x01", false, &h, &name), 0);
    assert_true(!h.data.len && h.control == 0);
}

static void only_what_is_missing_is_filled_in(void **state)
{
    struct header h;
    const char *name;
    struct buf out = {0};
    (void) state;
    assert_int_equal(READ("\x84\xa5topic\xa1" "a\xa2id\xa1i\xa6source\xa1s\xa4time\xa1t", false, &h, &name), 0);
    header_write(&out, &h, SLICE("I"), SLICE("S"), SLICE("T"));
    assert_int_equal(header_read(bytes_of(&out), false, &h, NULL), 0);
    assert_true(h.pairs == 4 && mp_is(h.id, "i") && mp_is(h.source, "s") && mp_is(h.time, "t"));
    buf_clear(&out);
    assert_int_equal(READ("\x80", false, &h, &name), 0);
    header_write(&out, &h, SLICE("I"), SLICE("S"), SLICE("T"));
    assert_int_equal(header_read(bytes_of(&out), false, &h, NULL), 0);
    assert_true(h.pairs == 3 && mp_is(h.id, "I") && mp_is(h.source, "S") && mp_is(h.time, "T"));
    buf_fini(&out);
}

/* Which of the two would count? The consumers' filter and the router could disagree. */
static void a_key_that_the_broker_reads_stands_once(void **state)
{
    struct header h;
    const char *name;
    (void) state;
    assert_int_equal(READ("\x82\xa5topic\xa1" "a\xa5topic\xa1" "b", false, &h, &name), -1);
    assert_string_equal(name, "BAD_FRAME");
    assert_int_equal(READ("\x82\xa2id\xa1" "a\xa2id\xa1" "a", false, &h, &name), -1);
    assert_int_equal(READ("\x82\xa1n\x01\xa1n\x02", false, &h, &name), -1);
    assert_int_equal(READ("\x82\xa5" "batch\x01\xa5" "batch\x01", false, &h, &name), -1);
    assert_int_equal(READ("\x82\xa3tag\x01\xa3tag\x02", false, &h, &name), -1);
    assert_int_equal(READ("\x82\xa4" "data\x01\xa4" "data\x02", true, &h, &name), -1);
    assert_string_equal(name, "BAD_FRAME");
}

static void attributes_are_strings_that_hold_something(void **state)
{
    struct header h;
    const char *name;
    (void) state;
    assert_int_equal(READ("\x81\xa5topic\x01", false, &h, &name), -1);
    assert_string_equal(name, "BAD_VALUE");
    assert_int_equal(READ("\x81\xa2id\xa0", false, &h, &name), -1);
    assert_string_equal(name, "BAD_VALUE");
    assert_int_equal(READ("\x81\xaa" "expirytime\xc0", false, &h, &name), -1);
    assert_string_equal(name, "BAD_VALUE");
    assert_int_equal(READ("\x81\xa1n\x00", false, &h, &name), -1);
    assert_string_equal(name, "BAD_VALUE");
    assert_int_equal(READ("\x81\xa3tag\x90", false, &h, &name), -1);
    assert_string_equal(name, "BAD_VALUE");
}

static int read_id_of(size_t len)
{
    struct buf map = {0};
    char id[300];
    struct header h;
    memset(id, 'i', sizeof id);
    buf_pack_map(&map, 1);
    buf_pack_str(&map, "id");
    buf_pack_strn(&map, id, len);
    int result = header_read(bytes_of(&map), false, &h, NULL);
    buf_fini(&map);
    return result;
}

static int read_keys(unsigned count, const char **name, struct header *h, struct buf *map)
{
    buf_clear(map);
    buf_pack_map(map, count);
    for (unsigned i = 0; i < count; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        buf_pack_str(map, key);
        buf_pack_uint(map, i);
    }
    return read_bytes(bytes_of(map), false, h, name);
}

static void limits_hold_to_the_byte(void **state)
{
    struct buf map = {0};
    struct header h;
    const char *name;
    (void) state;
    assert_int_equal(read_id_of(256), 0);
    assert_int_equal(read_id_of(257), -1);
    assert_int_equal(read_keys(64, &name, &h, &map), 0);
    assert_int_equal(read_keys(65, &name, &h, &map), -1);
    assert_string_equal(name, "TOO_BIG");
    buf_fini(&map);
    assert_int_equal(READ("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x90", false, &h, &name), 0);
    assert_int_equal(READ("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x90", false, &h, &name), -1);
    assert_string_equal(name, "BAD_FRAME");
}

static void what_is_no_whole_map_is_refused(void **state)
{
    static const char WHOLE[] = "\x85\xa1n\x05\xa5topic\xa1" "a\xa1x\x82\x01\x02\x03\x90\xa3tag\xa1t\xa4" "data\xc4\x01z";
    struct header h;
    const char *name;
    (void) state;
    assert_int_equal(READ(WHOLE, true, &h, &name), 0);
    for (size_t len = 0; len < sizeof WHOLE - 1; len++) {
        char *copy = xcalloc(1, len + 1);
        memcpy(copy, WHOLE, len);
        assert_int_equal(read_bytes((struct mp_slice){copy, len}, true, &h, &name), -1);
        assert_true(name[0]);
        free(copy);
    }
    assert_int_equal(read_bytes((struct mp_slice){WHOLE, sizeof WHOLE}, true, &h, &name), -1); /* a byte behind it */
    assert_int_equal(READ("\x81\x01\x02", false, &h, &name), -1);
    assert_int_equal(READ("\x81\xa0\x02", false, &h, &name), -1);
    assert_int_equal(READ("\xdf\xff\xff\xff\xff", false, &h, &name), -1);
    assert_int_equal(read_bytes(NONE, false, &h, &name), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_are_found_and_control_keys_taken_out),
        cmocka_unit_test(data_is_a_control_key_of_bare_maps_only),
        cmocka_unit_test(only_what_is_missing_is_filled_in),
        cmocka_unit_test(a_key_that_the_broker_reads_stands_once),
        cmocka_unit_test(attributes_are_strings_that_hold_something),
        cmocka_unit_test(limits_hold_to_the_byte),
        cmocka_unit_test(what_is_no_whole_map_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
