/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: what goes, what stays, and that a crash between its steps leaves nothing half dropped. */
#include "tests/unit/log_rig.h"

static void retain(struct rig *rig, int64_t now_us)
{
    log_retain(rig->log, now_us);
    log_device_wait(rig->dev);
}

static size_t segments(struct rig *rig)
{
    struct log_info info;
    log_info(rig->log, &info);
    return info.segments;
}

static void the_oldest_segments_go_by_bytes(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 3 * RIG_SEGMENT;
    rig_open(&rig);
    rig_write(&rig, 4000);
    assert_true(segments(&rig) > 5);
    retain(&rig, 0);
    assert_int_equal(segments(&rig), 3);
    uint64_t first = log_first_seq(rig.log), last;
    assert_true(first > 1000);
    assert_int_equal(rig_read(&rig, 1, &last), 4001 - first);
    assert_int_equal(last, 4000);
    rig_segment_path(&rig, 1, path);
    assert_false(rig_exists(path));
    rig_crash(&rig);
    rig_open(&rig);
    assert_int_equal(log_first_seq(rig.log), first);
    assert_int_equal(rig_read(&rig, 1, &last), 4001 - first);
    struct log_info info;
    log_info(rig.log, &info);
    assert_int_equal(info.lost_count, 0);
    rig_fini(&rig);
}

static void by_count_at_least_so_many_stay(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig.config.retain_count = 1000;
    rig_open(&rig);
    rig_write(&rig, 4000);
    retain(&rig, 0);
    int left = rig_read(&rig, 1, NULL);
    assert_in_range(left, 1000, 1700);
    rig_fini(&rig);
}

static void by_age_only_what_is_older_goes(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig.config.retain_age_ms = 1;
    rig_open(&rig);
    rig_write(&rig, 4000); /* entry n at 1000000 + n us */
    retain(&rig, 1000000 + 2000 + 1000);
    uint64_t first = log_first_seq(rig.log);
    assert_in_range(first, 1000, 2000);
    retain(&rig, 10000000);
    assert_int_equal(segments(&rig), 1); /* never the one being written */
    rig_fini(&rig);
}

static void dropped_files_are_used_again(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 2 * RIG_SEGMENT;
    rig_open(&rig);
    for (int round = 0; round < 20; round++) {
        rig_write(&rig, 700);
        retain(&rig, 0);
        uint64_t first = log_first_seq(rig.log);
        assert_int_equal(rig_read(&rig, 1, &last), log_next_seq(rig.log) - first);
    }
    bool recycled = false;
    for (size_t i = 0; i < rig.log->segment_count; i++) {
        struct segment_head head;
        char path[256];
        uint8_t block[BLOCK_BYTES];
        rig_segment_path(&rig, rig.log->segments[i]->head.base, path);
        rig_load(path, block, sizeof block);
        assert_int_equal(block_get(block, BLOCK_SEGMENT, &head, sizeof head, NULL), 0);
        recycled |= !head.zeroed;
    }
    assert_true(recycled);
    rig_crash(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, &last), 14001 - log_first_seq(rig.log));
    rig_fini(&rig);
}

static void records_of_a_recycled_segments_past_are_not_read(void **state)
{
    struct rig rig;
    char path[256];
    static uint8_t old[RIG_SEGMENT], now[RIG_SEGMENT];
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 400);
    rig_crash(&rig);
    rig_segment_path(&rig, 1, path);
    rig_load(path, old, sizeof old);
    rig_remove(rig.dir);
    assert_int_equal(mkdir(rig.dir, 0750), 0);
    rig_open(&rig);
    rig_write(&rig, 10);
    uint64_t end = rig.log->at;
    rig_crash(&rig);
    rig_load(path, now, sizeof now);
    memcpy(now + end, old + end, RIG_SEGMENT - end); /* entries 11 to 400 of an earlier use, in their places */
    struct segment_head head;
    assert_int_equal(block_get(now, BLOCK_SEGMENT, &head, sizeof head, NULL), 0);
    head.zeroed = 0;
    block_put(now, BLOCK_SEGMENT, &head, sizeof head);
    rig_store(path, now, sizeof now);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, &last), 10);
    struct log_info info;
    log_info(rig.log, &info);
    assert_int_equal(info.lost_count, 0);
    rig_write(&rig, 1);
    assert_int_equal(rig_read(&rig, 1, &last), 11);
    rig_fini(&rig);
}

static void a_crash_between_mark_and_removal_removes_later(void **state)
{
    struct rig rig;
    char path[256];
    static uint8_t segment[RIG_SEGMENT];
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 3 * RIG_SEGMENT;
    rig_open(&rig);
    rig_write(&rig, 4000);
    rig_segment_path(&rig, 1, path);
    rig_load(path, segment, sizeof segment);
    retain(&rig, 0);
    uint64_t first = log_first_seq(rig.log);
    rig_crash(&rig);
    rig_store(path, segment, sizeof segment); /* the mark reached the disk, the removal did not */
    rig_open(&rig);
    assert_false(rig_exists(path));
    assert_int_equal(log_first_seq(rig.log), first);
    struct log_info info;
    log_info(rig.log, &info);
    assert_int_equal(info.lost_count, 0);
    rig_fini(&rig);
}

static void a_reader_of_dropped_entries_goes_on_with_the_first(void **state)
{
    struct rig rig;
    struct log_cursor cursor = {0};
    struct log_entry entry;
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 2 * RIG_SEGMENT;
    rig_open(&rig);
    rig_write(&rig, 4000);
    log_cursor_seek(&cursor, rig.log, 1);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
        assert_int_equal(entry.seq, seq);
    }
    retain(&rig, 0);
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
    assert_int_equal(entry.seq, log_first_seq(rig.log));
    log_cursor_fini(&cursor);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_segments_go_by_bytes),
        cmocka_unit_test(by_count_at_least_so_many_stay),
        cmocka_unit_test(by_age_only_what_is_older_goes),
        cmocka_unit_test(dropped_files_are_used_again),
        cmocka_unit_test(records_of_a_recycled_segments_past_are_not_read),
        cmocka_unit_test(a_crash_between_mark_and_removal_removes_later),
        cmocka_unit_test(a_reader_of_dropped_entries_goes_on_with_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
