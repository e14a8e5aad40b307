/* SPDX-License-Identifier: Apache-2.0 */
/* The log's everyday life: append, commit, read back, reopen, roll on, be refused. */
#include "tests/unit/log_rig.h"

static void what_is_committed_reads_back(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    assert_int_equal(log_next_seq(rig.log), 1);
    assert_int_equal(log_first_seq(rig.log), 1);
    rig_write(&rig, 100);
    assert_int_equal(rig.committed, 100);
    assert_int_equal(log_durable_seq(rig.log), 100);
    assert_int_equal(rig_read(&rig, 1, &last), 100);
    assert_int_equal(last, 100);
    assert_int_equal(rig_read(&rig, 41, NULL), 60);
    assert_int_equal(rig_read(&rig, 101, NULL), 0);
    rig_fini(&rig);
}

static void what_is_not_committed_is_not_read(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 3);
    assert_int_equal(rig_append(&rig), 4);
    assert_int_equal(log_durable_seq(rig.log), 3);
    assert_int_equal(rig_read(&rig, 1, NULL), 3);
    log_device_wait(rig.dev);
    assert_int_equal(rig_read(&rig, 1, NULL), 4);
    rig_fini(&rig);
}

static void an_orderly_restart_goes_on_without_a_gap(void **state)
{
    struct rig rig;
    struct log_info info;
    (void) state;
    rig_init(&rig);
    for (int round = 0; round < 3; round++) {
        rig_open(&rig);
        assert_int_equal(log_next_seq(rig.log), round * 50 + 1);
        rig_write(&rig, 50);
        assert_int_equal(rig_read(&rig, 1, NULL), round * 50 + 50);
        log_info(rig.log, &info);
        assert_false(info.unclean_start);
        assert_int_equal(info.lost_count, 0);
        rig_close(&rig);
    }
    rig_fini(&rig);
}

static void an_unclean_restart_leaves_a_gap_in_the_numbers(void **state)
{
    struct rig rig;
    struct log_info info;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 10);
    rig_crash(&rig);
    rig_open(&rig);
    log_info(rig.log, &info);
    assert_true(info.unclean_start);
    assert_int_equal(info.lost_count, 0);
    uint64_t next = log_next_seq(rig.log);
    assert_true(next > 10 + LOG_GROUP_EVENTS_MAX);
    assert_int_equal(log_durable_seq(rig.log), 10);
    rig_crash(&rig); /* numbers given out and never written do not come again either */
    rig_open(&rig);
    assert_true(log_next_seq(rig.log) > next + LOG_GROUP_EVENTS_MAX);
    next = log_next_seq(rig.log);
    rig_write(&rig, 5);
    uint64_t last;
    assert_int_equal(rig_read(&rig, 1, &last), 15);
    assert_int_equal(last, next + 4);
    assert_int_equal(log_seq_back(rig.log, 7), 9);
    rig_fini(&rig);
}

static void a_full_segment_is_followed_by_the_next(void **state)
{
    struct rig rig;
    struct log_info info;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 5000);
    log_info(rig.log, &info);
    assert_true(info.segments > 5);
    assert_int_equal(rig_read(&rig, 1, NULL), 5000);
    for (uint64_t seq = 1; seq <= 5000; seq += 777)
        assert_int_equal(rig_read(&rig, seq, NULL), 5001 - seq);
    rig_close(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, NULL), 5000);
    rig_write(&rig, 100);
    assert_int_equal(rig_read(&rig, 1, NULL), 5100);
    rig_fini(&rig);
}

static void an_entry_may_stand_for_many_events(void **state)
{
    struct rig rig;
    struct log_cursor cursor = {0};
    struct log_entry entry;
    struct log_part part = {"batch", 5};
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    assert_int_equal(log_append(rig.log, 1, 32, 5, &part, 1, &rig.err), 1);
    assert_int_equal(log_append(rig.log, 2, 1, 4, &part, 1, &rig.err), 33); /* an earlier clock is raised */
    log_device_wait(rig.dev);
    assert_int_equal(rig.committed, 33);
    log_cursor_seek(&cursor, rig.log, 20);
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
    assert_int_equal(entry.seq, 1);
    assert_int_equal(entry.count, 32);
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
    assert_int_equal(entry.seq, 33);
    assert_int_equal(entry.ts_us, 5);
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 0);
    assert_int_equal(log_seq_back(rig.log, 2), 32);
    log_cursor_fini(&cursor);
    rig_fini(&rig);
}

static void too_much_pending_is_refused_for_now(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig.config.pending_bytes_max = 4096;
    rig_open(&rig);
    while (rig_append(&rig))
        ;
    assert_string_equal(rig.err.name, "BUSY");
    assert_true(rig.err.again);
    uint64_t next = log_next_seq(rig.log);
    log_device_wait(rig.dev);
    assert_int_equal(rig_append(&rig), next);
    rig_fini(&rig);
}

static void an_entry_beyond_a_segment_is_too_big(void **state)
{
    struct rig rig;
    static uint8_t data[RIG_SEGMENT];
    struct log_part part = {data, RIG_SEGMENT - BLOCK_BYTES - 47};
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    assert_int_equal(log_append(rig.log, 0, 1, 1, &part, 1, &rig.err), 0);
    assert_string_equal(rig.err.name, "TOO_BIG");
    part.len = RIG_SEGMENT - BLOCK_BYTES - 48;
    assert_int_equal(log_append(rig.log, 0, 1, 1, &part, 1, &rig.err), 1);
    rig_fini(&rig);
}

static void two_devices_on_one_directory_are_refused(void **state)
{
    struct rig rig;
    char pid[32];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    assert_null(log_device_open(rig.dir, &rig.err));
    assert_string_equal(rig.err.name, "CONFLICT");
    snprintf(pid, sizeof pid, "process %ld", (long) getpid());
    assert_non_null(strstr(rig.err.text, pid));
    rig_fini(&rig);
}

static void entries_are_found_by_time(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 3000); /* entry n at 1000000 + n */
    assert_int_equal(log_seq_at_time(rig.log, 0), 1);
    assert_int_equal(log_seq_at_time(rig.log, 1000001), 1);
    assert_int_equal(log_seq_at_time(rig.log, 1000777), 777);
    assert_int_equal(log_seq_at_time(rig.log, 1003000), 3000);
    assert_int_equal(log_seq_at_time(rig.log, 1003001), 3001);
    rig_fini(&rig);
}

static void the_last_so_many_are_found(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    assert_int_equal(log_seq_back(rig.log, 10), 1);
    rig_write(&rig, 3000);
    for (uint64_t count = 1; count < 3000; count += 97)
        assert_int_equal(log_seq_back(rig.log, count), 3001 - count);
    assert_int_equal(log_seq_back(rig.log, 3000), 1);
    assert_int_equal(log_seq_back(rig.log, 100000), 1);
    assert_int_equal(log_seq_back(rig.log, 0), 3001);
    rig_fini(&rig);
}

static void a_reader_at_the_tail_needs_no_disk(void **state)
{
    struct rig rig;
    struct log_cursor cursor = {0};
    struct log_entry entry;
    (void) state;
    rig_init(&rig);
    rig.config.hot_bytes_max = 4u << 20;
    rig_open(&rig);
    log_cursor_seek(&cursor, rig.log, 1);
    for (int round = 1; round <= 3000; round++) {
        rig_write(&rig, 1);
        assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
        assert_int_equal(entry.seq, round);
        assert_null(cursor.window.data);
        assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 0);
    }
    log_cursor_fini(&cursor);
    rig_fini(&rig);
}

static void a_memory_log_survives_a_killed_process(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig.config.sync = false;
    rig_open(&rig);
    rig_write(&rig, 3000);
    rig_crash(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, NULL), 3000);
    assert_true(log_next_seq(rig.log) > 3000 + LOG_GROUP_EVENTS_MAX);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_reads_back),
        cmocka_unit_test(what_is_not_committed_is_not_read),
        cmocka_unit_test(an_orderly_restart_goes_on_without_a_gap),
        cmocka_unit_test(an_unclean_restart_leaves_a_gap_in_the_numbers),
        cmocka_unit_test(a_full_segment_is_followed_by_the_next),
        cmocka_unit_test(an_entry_may_stand_for_many_events),
        cmocka_unit_test(too_much_pending_is_refused_for_now),
        cmocka_unit_test(an_entry_beyond_a_segment_is_too_big),
        cmocka_unit_test(two_devices_on_one_directory_are_refused),
        cmocka_unit_test(entries_are_found_by_time),
        cmocka_unit_test(the_last_so_many_are_found),
        cmocka_unit_test(a_reader_at_the_tail_needs_no_disk),
        cmocka_unit_test(a_memory_log_survives_a_killed_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
