/* SPDX-License-Identifier: Apache-2.0 */
/* What a log makes of its files after a crash, damage, or a meddling administrator. */
#include "tests/unit/log_rig.h"

#define FILE_ROOM (RIG_SEGMENT + 4096)

static uint8_t before[FILE_ROOM], after[FILE_ROOM];

static struct log_info info_of(struct rig *rig)
{
    struct log_info info;
    log_info(rig->log, &info);
    return info;
}

/* Makes a log of `first` committed entries, then one group of `second` more, then a crash. The segment's bytes before and
 * after the last group are in `before` and `after`. Returns the offset of the group. */
static uint64_t two_groups(struct rig *rig, int first, int second)
{
    char path[256];
    rig_segment_path(rig, 1, path);
    rig_open(rig);
    rig_write(rig, first);
    uint64_t offset = rig->log->at;
    assert_int_equal(rig_load(path, before, sizeof before), RIG_SEGMENT);
    rig_write(rig, second);
    rig_crash(rig);
    assert_int_equal(rig_load(path, after, sizeof after), RIG_SEGMENT);
    return offset;
}

static void a_tail_torn_at_any_byte_is_cut(void **state)
{
    struct rig rig;
    char path[256], torn[256];
    (void) state;
    rig_init(&rig);
    uint64_t from = two_groups(&rig, 5, 3);
    rig_segment_path(&rig, 1, path);
    rig_path(&rig, "00000000000000000001.log.torn", torn);
    uint64_t to = FILE_ROOM;
    while (to > from && (to > RIG_SEGMENT || !after[to - 1]))
        to--;
    assert_true(to > from + 100);
    for (uint64_t cut = from; cut < to; cut++) {
        uint8_t image[RIG_SEGMENT];
        uint64_t last;
        memcpy(image, after, cut);
        memcpy(image + cut, before + cut, RIG_SEGMENT - cut);
        rig_store(path, image, sizeof image);
        unlink(torn);
        rig_open(&rig);
        int count = rig_read(&rig, 1, &last);
        assert_true(count >= 5 && count < 8);
        assert_int_equal(last, count);
        assert_int_equal(log_durable_seq(rig.log), count);
        assert_int_equal(info_of(&rig).lost_count, 0);
        assert_true(log_next_seq(rig.log) > 8);
        struct stat st;
        if (cut > from && !stat(torn, &st)) /* what was cut off is kept */
            assert_true((uint64_t) st.st_size <= cut - from);
        rig_crash(&rig);
    }
    rig_fini(&rig);
}

static void records_of_a_torn_group_never_come_back(void **state)
{
    struct rig rig;
    char path[256];
    uint64_t last;
    (void) state;
    rig_init(&rig);
    uint64_t from = two_groups(&rig, 5, 6);
    rig_segment_path(&rig, 1, path);
    struct record_head head;
    memcpy(&head, after + from, sizeof head);
    after[from + 60] ^= 1; /* the first record of the last group is torn, the other five are whole */
    rig_store(path, after, RIG_SEGMENT);
    for (int round = 0; round < 4; round++) {
        rig_open(&rig);
        assert_int_equal(rig_read(&rig, 1, &last), 5 + round);
        assert_int_equal(info_of(&rig).lost_count, 0);
        /* One record in the place of the torn one, and the stale bytes behind it again, as if wiping had not reached the disk. */
        rig_write(&rig, 1);
        rig_crash(&rig);
        uint8_t now[RIG_SEGMENT];
        rig_load(path, now, sizeof now);
        uint64_t end = from;
        for (int i = 0; i <= round; i++) {
            memcpy(&head, now + end, sizeof head);
            end += record_size(&head);
        }
        memcpy(now + end, after + end, RIG_SEGMENT - end);
        rig_store(path, now, sizeof now);
    }
    rig_fini(&rig);
}

static void one_flipped_bit_costs_one_record_at_most(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 12);
    uint64_t end = rig.log->at;
    rig_close(&rig);
    rig_segment_path(&rig, 1, path);
    assert_int_equal(rig_load(path, before, sizeof before), RIG_SEGMENT);
    for (uint64_t at = 0; at < end; at += at >= 200 && at < BLOCK_BYTES - 8 ? 8 : 1) {
        memcpy(after, before, RIG_SEGMENT);
        after[at] ^= (uint8_t) (1u << at % 8);
        rig_store(path, after, RIG_SEGMENT);
        int kept = rig_quiet();
        rig_open(&rig);
        rig_loud(kept);
        int count = rig_read(&rig, 1, NULL);
        assert_in_range(count, 11, 12);
        struct log_info info = info_of(&rig);
        assert_int_equal(info.lost_count, 12 - count);
        if (count < 12)
            assert_int_equal(info.lost[0].from, info.lost[0].to);
        assert_int_equal(log_next_seq(rig.log), 13);
        rig_write(&rig, 1);
        assert_int_equal(rig_read(&rig, 1, NULL), count + 1);
        /* The log may have moved on to a new segment: begin from the same files again. */
        rig_close(&rig);
        rig_remove(rig.dir);
        assert_int_equal(mkdir(rig.dir, 0750), 0);
        rig_open(&rig);
        rig_write(&rig, 12);
        rig_close(&rig);
        assert_int_equal(rig_load(path, before, sizeof before), RIG_SEGMENT);
    }
    rig_fini(&rig);
}

static void one_flipped_bit_in_meta_costs_nothing(void **state)
{
    struct rig rig;
    char path[256];
    uint8_t meta[2 * BLOCK_BYTES], flipped[2 * BLOCK_BYTES];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 12);
    rig_close(&rig);
    rig_path(&rig, "meta", path);
    assert_int_equal(rig_load(path, meta, sizeof meta), sizeof meta);
    for (size_t at = 0; at < sizeof meta; at += at % 2048 < 160 ? 1 : 67) {
        memcpy(flipped, meta, sizeof meta);
        flipped[at] ^= (uint8_t) (1u << at % 8);
        rig_store(path, flipped, sizeof flipped);
        rig_open(&rig);
        assert_int_equal(rig_read(&rig, 1, NULL), 12);
        assert_int_equal(log_next_seq(rig.log), 13);
        assert_int_equal(info_of(&rig).lost_count, 0);
        rig_close(&rig);
    }
    rig_fini(&rig);
}

static void half_a_meta_file_is_enough_but_trusted_less(void **state)
{
    struct rig rig;
    char path[256];
    uint8_t meta[2 * BLOCK_BYTES], damaged[2 * BLOCK_BYTES];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 12);
    rig_close(&rig);
    rig_path(&rig, "meta", path);
    rig_load(path, meta, sizeof meta);
    for (int slot = 0; slot < 2; slot++) {
        memcpy(damaged, meta, sizeof meta);
        memset(damaged + slot * BLOCK_BYTES, 'x', BLOCK_BYTES);
        rig_store(path, damaged, sizeof damaged);
        rig_open(&rig);
        assert_int_equal(rig_read(&rig, 1, NULL), 12);
        assert_true(log_next_seq(rig.log) > 13 + LOG_GROUP_EVENTS_MAX); /* the newer half may be the one that is gone */
        rig_close(&rig);
    }
    memset(damaged, 'x', sizeof damaged);
    rig_store(path, damaged, sizeof damaged);
    rig.dev = log_device_open(rig.dir, &rig.err);
    assert_non_null(rig.dev);
    assert_null(log_open(rig.dev, &rig.config, &rig.err));
    assert_string_equal(rig.err.name, "CORRUPT");
    rig_fini(&rig);
}

static void bit_rot_before_later_entries_is_quarantined(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    uint64_t from = two_groups(&rig, 5, 6); /* the second group says that five were synced */
    assert_true(from > BLOCK_BYTES);
    rig_segment_path(&rig, 1, path);
    after[BLOCK_BYTES + 50] ^= 4; /* in the first record */
    rig_store(path, after, RIG_SEGMENT);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, NULL), 10);
    struct log_info info = info_of(&rig);
    assert_int_equal(info.lost_count, 1);
    assert_int_equal(info.lost[0].from, 1);
    assert_int_equal(info.lost[0].to, 1);
    rig_crash(&rig);
    assert_int_equal(rig_load(path, before, sizeof before), RIG_SEGMENT);
    assert_memory_equal(before + BLOCK_BYTES, after + BLOCK_BYTES, RIG_SEGMENT - BLOCK_BYTES); /* nothing was touched */
    rig_fini(&rig);
}

static uint64_t base_of(struct rig *rig, size_t index)
{
    return rig->log->segments[index]->head.base;
}

static void a_missing_segment_is_a_lost_range(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    for (size_t missing = 0; missing < 3; missing++) {
        rig_init(&rig);
        rig_open(&rig);
        rig_write(&rig, 3000);
        assert_true(rig.log->segment_count > 4);
        uint64_t from = base_of(&rig, missing), to = base_of(&rig, missing + 1) - 1;
        rig_crash(&rig);
        rig_segment_path(&rig, from, path);
        assert_int_equal(unlink(path), 0);
        rig_open(&rig);
        struct log_info info = info_of(&rig);
        assert_int_equal(info.lost_count, 1);
        assert_int_equal(info.lost[0].from, from);
        assert_int_equal(info.lost[0].to, to);
        assert_int_equal(rig_read(&rig, 1, NULL), 3000 - (to - from + 1));
        rig_fini(&rig);
    }
}

static void an_old_copy_of_a_segment_is_not_taken_for_the_present(void **state)
{
    struct rig rig;
    char path[256], foreign[256], other[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 10);
    rig_segment_path(&rig, 1, path);
    rig_load(path, before, sizeof before);
    rig_write(&rig, 2000); /* goes on into other segments */
    uint64_t second = base_of(&rig, 1);
    rig_close(&rig);
    rig_store(path, before, RIG_SEGMENT); /* yesterday's copy */
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, NULL), 10 + 2010 - (second - 1));
    struct log_info info = info_of(&rig);
    assert_int_equal(info.lost_count, 1);
    assert_int_equal(info.lost[0].from, 11);
    assert_int_equal(info.lost[0].to, second - 1);
    rig_close(&rig);
    /* Under another name, and in another log, it is not read at all. */
    rig_segment_path(&rig, 5000, other);
    rig_store(other, before, RIG_SEGMENT);
    rig_open(&rig);
    assert_int_equal(log_next_seq(rig.log), 2011);
    struct log_config config = rig.config;
    config.name = "second";
    assert_non_null(log_open(rig.dev, &config, &rig.err));
    rig_close(&rig);
    snprintf(foreign, sizeof foreign, "%s/second/00000000000000000001.log", rig.dir);
    snprintf(path, sizeof path, "%s/second/00000000000000000777.log", rig.dir);
    rig_store(path, before, RIG_SEGMENT);
    rig.dev = log_device_open(rig.dir, &rig.err);
    struct log *log = log_open(rig.dev, &config, &rig.err);
    assert_non_null(log);
    assert_int_equal(log_next_seq(log), 1);
    assert_true(rig_exists(path)); /* and not removed */
    rig_fini(&rig);
}

static void an_old_copy_of_the_last_segment_shows_as_lost(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 10);
    rig_segment_path(&rig, 1, path);
    rig_load(path, before, sizeof before);
    rig_write(&rig, 20);
    rig_close(&rig);
    rig_store(path, before, RIG_SEGMENT);
    rig_open(&rig);
    struct log_info info = info_of(&rig);
    assert_int_equal(info.lost_count, 1);
    assert_int_equal(info.lost[0].from, 11);
    assert_int_equal(info.lost[0].to, 30);
    assert_int_equal(log_next_seq(rig.log), 31);
    rig_write(&rig, 5);
    assert_int_equal(rig_read(&rig, 1, NULL), 15);
    rig_close(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, NULL), 15);
    assert_int_equal(info_of(&rig).lost_count, 1);
    rig_fini(&rig);
}

static void a_segment_cut_short_at_any_page_opens(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 300);
    rig_crash(&rig);
    rig_segment_path(&rig, 1, path);
    rig_load(path, before, sizeof before);
    for (uint64_t len = 0; len <= RIG_SEGMENT; len += 4096) {
        uint64_t last;
        rig_store(path, before, len);
        rig_open(&rig);
        int count = rig_read(&rig, 1, &last);
        assert_int_equal(last, count);
        assert_true(log_next_seq(rig.log) > 300);
        uint64_t seq = log_next_seq(rig.log);
        rig_write(&rig, 1);
        assert_int_equal(rig_read(&rig, 1, &last), count + 1);
        assert_int_equal(last, seq);
        rig_crash(&rig);
        for (uint64_t base = 2; base <= seq; base = base == seq ? seq + 1 : seq) { /* the segment it may have made */
            rig_segment_path(&rig, base, path);
            unlink(path);
        }
        rig_segment_path(&rig, 1, path);
    }
    rig_fini(&rig);
}

static void unknown_files_are_left_alone(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_close(&rig);
    rig_path(&rig, "notes.txt", path);
    rig_store(path, (const uint8_t *) "mine", 4);
    rig_open(&rig);
    rig_write(&rig, 1);
    rig_close(&rig);
    assert_true(rig_exists(path));
    rig_fini(&rig);
}

static void check_sees_damage_and_changes_nothing(void **state)
{
    struct rig rig;
    char path[256], dir[256];
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 3000);
    rig_close(&rig);
    rig_path(&rig, "", dir);
    assert_int_equal(log_check(dir, NULL, NULL, NULL, &rig.err), 0);
    rig_segment_path(&rig, 1, path);
    rig_load(path, before, sizeof before);
    before[5000] ^= 8;
    rig_store(path, before, RIG_SEGMENT);
    assert_int_equal(log_check(dir, NULL, NULL, NULL, &rig.err), 1);
    assert_int_equal(rig_load(path, after, sizeof after), RIG_SEGMENT);
    assert_memory_equal(before, after, RIG_SEGMENT);
    assert_int_equal(log_check("/nowhere", NULL, NULL, NULL, &rig.err), -1);
    rig_fini(&rig);
}

static bool count_entry(void *arg, const struct log_entry *entry, const char *file, uint64_t offset)
{
    uint8_t data[256];
    assert_int_equal(entry->len, rig_bytes(entry->seq, data));
    assert_memory_equal(entry->data, data, entry->len);
    assert_true(*file && offset >= BLOCK_BYTES);
    return ++*(int *) arg < 2000;
}

static void dump_shows_every_entry(void **state)
{
    struct rig rig;
    char dir[256];
    int count = 0;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 1500);
    rig_close(&rig);
    rig_path(&rig, "", dir);
    assert_int_equal(log_dump(dir, 1001, count_entry, &count, &rig.err), 0);
    assert_int_equal(count, 500);
    count = 1990; /* stops when told to */
    log_dump(dir, 1, count_entry, &count, &rig.err);
    assert_int_equal(count, 2000);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tail_torn_at_any_byte_is_cut),
        cmocka_unit_test(records_of_a_torn_group_never_come_back),
        cmocka_unit_test(one_flipped_bit_costs_one_record_at_most),
        cmocka_unit_test(one_flipped_bit_in_meta_costs_nothing),
        cmocka_unit_test(half_a_meta_file_is_enough_but_trusted_less),
        cmocka_unit_test(bit_rot_before_later_entries_is_quarantined),
        cmocka_unit_test(a_missing_segment_is_a_lost_range),
        cmocka_unit_test(an_old_copy_of_a_segment_is_not_taken_for_the_present),
        cmocka_unit_test(an_old_copy_of_the_last_segment_shows_as_lost),
        cmocka_unit_test(a_segment_cut_short_at_any_page_opens),
        cmocka_unit_test(unknown_files_are_left_alone),
        cmocka_unit_test(check_sees_damage_and_changes_nothing),
        cmocka_unit_test(dump_shows_every_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
