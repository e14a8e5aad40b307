/* SPDX-License-Identifier: Apache-2.0 */
/* State files: what was appended comes back, checkpoints replace it, torn ones do not, damage costs one record. */
#include "broker/log/state_file.h"
#include "tests/unit/log_rig.h"

#define STATE_FILE_BYTES (256u << 10)

static char content[1 << 20]; /* the records that were read, each followed by a space */
static size_t content_len;

static void read_record(void *arg, const uint8_t *data, size_t len)
{
    (void) arg;
    assert_true(content_len + len + 2 < sizeof content);
    memcpy(content + content_len, data, len);
    content_len += len;
    content[content_len++] = ' ';
    content[content_len] = 0;
}

static struct state_file *open_state(struct rig *rig)
{
    content_len = 0;
    content[0] = 0;
    rig_open(rig);
    struct state_file *file = state_file_open(rig->log, "consumers", read_record, NULL, &rig->err);
    if (!file)
        fail_msg("%s", rig->err.text);
    return file;
}

static void put(struct state_file *file, const char *text, bool sync)
{
    state_file_append(file, text, strlen(text), sync);
}

static void slot_path(struct rig *rig, int slot, char path[256])
{
    char name[STATE_NAME_ROOM];
    state_slot_name("consumers", slot, name);
    rig_path(rig, name, path);
}

static void records_come_back_in_order(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    assert_string_equal(content, "");
    put(file, "a", false);
    put(file, "b", true);
    put(file, "", false);
    put(file, "cc", false);
    rig_crash(&rig);
    file = open_state(&rig);
    assert_string_equal(content, "a b  cc ");
    put(file, "d", true);
    rig_close(&rig);
    open_state(&rig);
    assert_string_equal(content, "a b  cc d ");
    rig_fini(&rig);
}

static void a_token_is_reached_when_the_record_is_synced(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    uint64_t token = state_file_append(file, "x", 1, true);
    assert_true(state_file_durable(file) < token);
    log_device_wait(rig.dev);
    assert_true(state_file_durable(file) >= token);
    rig_fini(&rig);
}

static void records_without_sync_are_synced_within_a_second(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    int64_t now = clock_mono_ms();
    log_device_poll(rig.dev, now);
    uint64_t token = state_file_append(file, "x", 1, false);
    log_device_submit(rig.dev);
    while (rig.dev->flying)
        log_device_poll(rig.dev, now);
    assert_true(state_file_durable(file) < token);
    int64_t wait = log_device_poll(rig.dev, now);
    assert_in_range(wait, 1, 1000);
    log_device_poll(rig.dev, now + 1000);
    while (rig.dev->flying)
        log_device_poll(rig.dev, now + 1000);
    assert_true(state_file_durable(file) >= token);
    rig_fini(&rig);
}

static void a_checkpoint_replaces_everything(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    for (int round = 0; round < 5; round++) {
        put(file, "old", true);
        if (round % 2)
            log_device_wait(rig.dev);
        put(file, "older", false);
        state_file_checkpoint_begin(file);
        put(file, "one", false);
        put(file, "two", false);
        state_file_checkpoint_end(file);
        uint64_t token = state_file_append(file, "three", 5, false);
        rig_crash(&rig);
        file = open_state(&rig);
        assert_string_equal(content, "one two three ");
        assert_true(token > 0);
    }
    rig_fini(&rig);
}

static void a_full_file_asks_for_a_checkpoint_and_grows_without(void **state)
{
    struct rig rig;
    char record[1001];
    (void) state;
    memset(record, 'r', 1000);
    record[1000] = 0;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    int count = 0;
    while (!state_file_full(file)) {
        put(file, record, false);
        count++;
    }
    assert_in_range(count, 100, 300);
    for (; count < 600; count++)
        put(file, record, false);
    rig_crash(&rig);
    file = open_state(&rig);
    assert_int_equal(content_len, 600 * 1001);
    assert_true(state_file_full(file));
    state_file_checkpoint_begin(file);
    put(file, "small", false);
    state_file_checkpoint_end(file);
    assert_false(state_file_full(file));
    rig_close(&rig);
    open_state(&rig);
    assert_string_equal(content, "small ");
    rig_fini(&rig);
}

/* A checkpoint "new" over a file that holds "a b", cut off at every byte. */
static void a_checkpoint_torn_at_any_byte_leaves_the_old_content(void **state)
{
    struct rig rig;
    char path[256];
    static uint8_t before[STATE_FILE_BYTES], after[STATE_FILE_BYTES], image[STATE_FILE_BYTES];
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    put(file, "a", true);
    put(file, "b", true);
    log_device_wait(rig.dev);
    slot_path(&rig, 1, path);
    assert_int_equal(rig_load(path, before, sizeof before), sizeof before);
    state_file_checkpoint_begin(file);
    put(file, "new", false);
    state_file_checkpoint_end(file);
    rig_crash(&rig);
    rig_load(path, after, sizeof after);
    size_t end = sizeof after;
    while (!after[end - 1])
        end--;
    for (size_t cut = 0; cut <= end; cut += cut > 60 && cut < BLOCK_BYTES - 8 ? 61 : 1) {
        memcpy(image, after, cut);
        memcpy(image + cut, before + cut, sizeof image - cut);
        rig_store(path, image, sizeof image);
        file = open_state(&rig);
        if (strcmp(content, "new "))
            assert_string_equal(content, "a b ");
        rig_crash(&rig);
    }
    assert_string_equal(content, "new ");
    rig_fini(&rig);
}

static void a_torn_append_is_cut_and_its_followers_stay_away(void **state)
{
    struct rig rig;
    char path[256];
    static uint8_t after[STATE_FILE_BYTES], now[STATE_FILE_BYTES];
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    put(file, "a", true);
    log_device_wait(rig.dev);
    put(file, "torn", false); /* one group: nothing says that any of it was synced */
    put(file, "late", false);
    rig_crash(&rig);
    slot_path(&rig, 0, path);
    rig_load(path, after, sizeof after);
    size_t at = 0;
    while (memcmp(after + at, "torn", 4))
        at++;
    after[at] = 'T';
    rig_store(path, after, sizeof after);
    file = open_state(&rig);
    assert_string_equal(content, "a ");
    rig_load(path, now, sizeof now);
    for (size_t i = at; i < sizeof now; i++)
        assert_int_equal(now[i], 0);
    put(file, "next", false);
    rig_crash(&rig);
    open_state(&rig);
    assert_string_equal(content, "a next ");
    rig_fini(&rig);
}

static void one_flipped_bit_costs_one_record_at_most(void **state)
{
    struct rig rig;
    char path[256];
    static uint8_t good[STATE_FILE_BYTES], image[STATE_FILE_BYTES];
    (void) state;
    rig_init(&rig);
    struct state_file *file = open_state(&rig);
    state_file_checkpoint_begin(file);
    put(file, "one", false);
    put(file, "two", false);
    state_file_checkpoint_end(file);
    log_device_wait(rig.dev);
    put(file, "three", true);
    log_device_wait(rig.dev);
    put(file, "four", true);
    rig_crash(&rig);
    slot_path(&rig, 1, path);
    rig_load(path, good, sizeof good);
    size_t end = sizeof good, dropped = 0, wrong = 0;
    while (!good[end - 1])
        end--;
    int kept = rig_quiet();
    for (size_t at = 0; at < end; at += at > 100 && at < BLOCK_BYTES - 8 ? 61 : 1) {
        static const char *const FINE[] = {"one two three four ", "two three four ", "one three four ", "one two four ",
                                           "one two three "};
        bool fine = false;
        memcpy(image, good, sizeof image);
        image[at] ^= (uint8_t) (1u << at % 8);
        rig_store(path, image, sizeof image);
        open_state(&rig);
        for (int i = 0; i < 5; i++)
            fine |= !strcmp(content, FINE[i]);
        if (!fine)
            wrong = at;
        dropped += strlen(content) < strlen(FINE[0]);
        rig_crash(&rig);
    }
    rig_loud(kept);
    assert_int_equal(wrong, 0);
    assert_true(dropped > 50);
    rig_fini(&rig);
}

static void files_that_cannot_be_read_are_a_named_refusal(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    put(open_state(&rig), "a", true);
    rig_close(&rig);
    slot_path(&rig, 0, path);
    static uint8_t damaged[STATE_FILE_BYTES];
    rig_load(path, damaged, sizeof damaged);
    memset(damaged, 'x', BLOCK_BYTES);
    rig_store(path, damaged, sizeof damaged);
    rig_open(&rig);
    assert_null(state_file_open(rig.log, "consumers", read_record, NULL, &rig.err));
    assert_string_equal(rig.err.name, "CORRUPT");
    rig_fini(&rig);
}

static void a_file_whose_making_was_cut_off_is_empty(void **state)
{
    struct rig rig;
    char path[256];
    (void) state;
    rig_init(&rig);
    open_state(&rig);
    rig_close(&rig);
    slot_path(&rig, 0, path);
    static uint8_t torn[STATE_FILE_BYTES];
    rig_load(path, torn, sizeof torn);
    memset(torn, 0, 512);
    memset(torn + 2048, 0, 512);
    rig_store(path, torn, sizeof torn);
    struct state_file *file = open_state(&rig);
    assert_string_equal(content, "");
    put(file, "a", true);
    rig_close(&rig);
    open_state(&rig);
    assert_string_equal(content, "a ");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_in_order),
        cmocka_unit_test(a_token_is_reached_when_the_record_is_synced),
        cmocka_unit_test(records_without_sync_are_synced_within_a_second),
        cmocka_unit_test(a_checkpoint_replaces_everything),
        cmocka_unit_test(a_full_file_asks_for_a_checkpoint_and_grows_without),
        cmocka_unit_test(a_checkpoint_torn_at_any_byte_leaves_the_old_content),
        cmocka_unit_test(a_torn_append_is_cut_and_its_followers_stay_away),
        cmocka_unit_test(one_flipped_bit_costs_one_record_at_most),
        cmocka_unit_test(a_file_whose_making_was_cut_off_is_empty),
        cmocka_unit_test(files_that_cannot_be_read_are_a_named_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
