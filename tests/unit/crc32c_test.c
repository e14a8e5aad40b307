/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C: the check values of RFC 3720 appendix B.4, by the instruction and by the table. The source is included, since the
 * program itself only ever takes the one that the processor offers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/crc32c.c"

static uint32_t table_crc(uint32_t crc, const void *data, size_t len)
{
    return ~by_table(~crc, data, len);
}

typedef uint32_t crc_fn(uint32_t crc, const void *data, size_t len);

static void assert_check_values(crc_fn *crc)
{
    static const uint8_t ISCSI_READ[48] = { /* a SCSI Read (10) command PDU, as in the RFC */
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc(0, bytes, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t) i;
    assert_int_equal(crc(0, bytes, 32), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t) (31 - i);
    assert_int_equal(crc(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(crc(0, ISCSI_READ, sizeof ISCSI_READ), 0xd9963a56);
    assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc(0, "", 0), 0);
}

static void the_check_values_come_out(void **state)
{
    (void) state;
    assert_check_values(crc32c);
}

static void the_table_gives_the_same(void **state)
{
    (void) state;
    assert_check_values(table_crc);
}

static void both_ways_agree_at_every_length_and_place(void **state)
{
    uint8_t bytes[80];
    (void) state;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t) (i * 37 + 11);
    for (size_t at = 0; at < 9; at++)
        for (size_t len = 0; at + len <= sizeof bytes; len++)
            assert_int_equal(crc32c(0x1234, bytes + at, len), table_crc(0x1234, bytes + at, len));
}

static void it_can_be_continued(void **state)
{
    static const char TEXT[] = "the quick brown fox jumps over the lazy dog";
    (void) state;
    uint32_t whole = crc32c(0, TEXT, sizeof TEXT);
    for (size_t first = 0; first <= sizeof TEXT; first++)
        assert_int_equal(crc32c(crc32c(0, TEXT, first), TEXT + first, sizeof TEXT - first), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_values_come_out),
        cmocka_unit_test(the_table_gives_the_same),
        cmocka_unit_test(both_ways_agree_at_every_length_and_place),
        cmocka_unit_test(it_can_be_continued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
