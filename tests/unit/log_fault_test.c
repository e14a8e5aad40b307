/* SPDX-License-Identifier: Apache-2.0 */
/* What the log does when the disk refuses: EIO and ENOSPC at every call, short writes, interruptions. The system calls are
 * replaced here by ones that fail on command (the program's own symbols come before the C library's). */
#include <stdatomic.h>
#include <sys/syscall.h>

#include "broker/log/scan.h"
#include "tests/unit/log_rig.h"

enum call { CALL_PWRITE, CALL_FDATASYNC, CALL_FSYNC, CALL_FALLOCATE, CALL_RENAME, CALL_PREAD, CALL_COMMIT_SYNC, CALL_META, CALLS };

/* The calls to fail: the `nth` of a kind (counted down), or all from then on. 0: none. */
static int countdown[CALLS], fault_errno;
static atomic_int fired;
static bool sticky[CALLS];
static atomic_int crumbs;
static atomic_int spoilt; /* writes that the system itself refused */
static pthread_mutex_t faults = PTHREAD_MUTEX_INITIALIZER;

/* The thread of this name stays in its next write or reservation until it is let go. NULL: none. */
static const char *held;
static bool held_there;
static pthread_cond_t held_changed = PTHREAD_COND_INITIALIZER;

static bool fault(enum call call)
{
    pthread_mutex_lock(&faults);
    bool fails = countdown[call] == 1;
    if (countdown[call] > 1 || (fails && !sticky[call]))
        countdown[call]--;
    fired += fails;
    int error = fault_errno;
    pthread_mutex_unlock(&faults);
    if (fails)
        errno = error;
    return fails;
}

static void arm(enum call call, int nth, bool for_ever, int error)
{
    pthread_mutex_lock(&faults);
    fired = 0;
    fault_errno = error;
    sticky[call] = for_ever;
    countdown[call] = nth;
    pthread_mutex_unlock(&faults);
}

static void heal(void)
{
    pthread_mutex_lock(&faults);
    for (int i = 0; i < CALLS; i++)
        countdown[i] = 0;
    pthread_mutex_unlock(&faults);
    crumbs = 0;
}

static bool on_thread(const char *name)
{
    char own[16] = "";
    pthread_getname_np(pthread_self(), own, sizeof own);
    return !strcmp(own, name);
}

static void stay_if_held(void)
{
    pthread_mutex_lock(&faults);
    while (held && on_thread(held)) {
        held_there = true;
        pthread_cond_broadcast(&held_changed);
        pthread_cond_wait(&held_changed, &faults);
    }
    pthread_mutex_unlock(&faults);
}

static void hold(const char *thread)
{
    pthread_mutex_lock(&faults);
    held = thread;
    held_there = false;
    pthread_mutex_unlock(&faults);
}

static void wait_held(void)
{
    pthread_mutex_lock(&faults);
    while (!held_there)
        pthread_cond_wait(&held_changed, &faults);
    pthread_mutex_unlock(&faults);
}

static void let_go(void)
{
    hold(NULL);
    pthread_cond_broadcast(&held_changed);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    stay_if_held();
    bool meta = len == BLOCK_BYTES && on_thread("log-prepare"); /* zeros come in other sizes */
    if (fault(CALL_PWRITE) || (meta && fault(CALL_META)))
        return -1;
    if (crumbs && len > 1000) { /* short, and interrupted now and then */
        if (crumbs++ % 3 == 0) {
            errno = EINTR;
            return -1;
        }
        len = len / 2 + 1;
    }
    ssize_t put = syscall(SYS_pwrite64, fd, data, len, offset);
    spoilt += put < 0;
    return put;
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    if (fault(CALL_PREAD))
        return -1;
    return syscall(SYS_pread64, fd, data, crumbs && len > 1 ? len / 2 : len, offset);
}

int fdatasync(int fd)
{
    bool fails = fault(CALL_FDATASYNC) || (on_thread("log-commit") && fault(CALL_COMMIT_SYNC));
    return fails ? -1 : (int) syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fault(CALL_FSYNC) ? -1 : (int) syscall(SYS_fsync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    stay_if_held();
    return fault(CALL_FALLOCATE) ? -1 : (int) syscall(SYS_fallocate, fd, mode, offset, len);
}

int renameat(int old_dir, const char *old_name, int new_dir, const char *new_name)
{
    return fault(CALL_RENAME) ? -1 : (int) syscall(SYS_renameat, old_dir, old_name, new_dir, new_name);
}

static struct log_info info_of(struct rig *rig)
{
    struct log_info info;
    log_info(rig->log, &info);
    return info;
}

/* Waits until the preparer has nothing to do: then the next call to fail is the commit thread's. */
static void wait_spare(struct rig *rig)
{
    bool ready = false;
    while (!ready) {
        log_device_wait(rig->dev);
        pthread_mutex_lock(&rig->dev->lock);
        ready = rig->log->spare && rig->log->spare->state == SPARE_READY;
        pthread_mutex_unlock(&rig->dev->lock);
    }
}

/* Appends until `count` entries were taken; a log that refuses for good ends it. Returns how many were taken. */
static int try_write(struct rig *rig, int count)
{
    int taken = 0;
    while (taken < count) {
        if (rig_append(rig)) {
            taken++;
            if (taken % 10 == 0)
                log_device_wait(rig->dev);
            continue;
        }
        if (strcmp(rig->err.name, "BUSY"))
            break;
        log_device_wait(rig->dev);
    }
    log_device_wait(rig->dev);
    return taken;
}

/* One failing call anywhere costs nothing: what was taken is committed, and there after a crash. */
static void one_error_costs_nothing(enum call call, int step)
{
    int kept = rig_quiet();
    bool wrong = false;
    for (int nth = 1; !wrong; nth += step) {
        struct rig rig;
        uint64_t last = 0;
        rig_init(&rig);
        rig_open(&rig);
        rig_write(&rig, 20);
        arm(call, nth, false, EIO);
        int taken = try_write(&rig, 1500);
        bool done = !fired;
        heal();
        wrong |= taken != 1500 || rig.failures || rig.committed != 1520 || info_of(&rig).health != LOG_HEALTHY;
        wrong |= rig_read(&rig, 1, &last) != 1520 || last != 1520;
        rig_crash(&rig);
        rig_open(&rig);
        wrong |= rig_read(&rig, 1, &last) != 1520 || last != 1520 || info_of(&rig).lost_count;
        rig_write(&rig, 3);
        wrong |= rig_read(&rig, 1, &last) != 1523;
        rig_fini(&rig);
        if (done)
            break;
    }
    rig_loud(kept);
    assert_false(wrong);
}

static void one_failed_write_costs_nothing(void **state)
{
    (void) state;
    one_error_costs_nothing(CALL_PWRITE, 3);
}

static void one_failed_sync_costs_nothing(void **state)
{
    (void) state;
    one_error_costs_nothing(CALL_FDATASYNC, 1);
}

static void one_failed_rename_or_directory_sync_costs_nothing(void **state)
{
    (void) state;
    one_error_costs_nothing(CALL_RENAME, 1);
    one_error_costs_nothing(CALL_FSYNC, 1);
    one_error_costs_nothing(CALL_FALLOCATE, 1);
}

/* Polls with a clock that runs ahead until the log is healthy again. */
static void wait_healthy(struct rig *rig)
{
    int64_t now = clock_mono_ms();
    for (int i = 0; i < 100 && info_of(rig).health != LOG_HEALTHY; i++) {
        now += 1000;
        log_device_poll(rig->dev, now);
        log_device_wait(rig->dev);
    }
    assert_int_equal(info_of(rig).health, LOG_HEALTHY);
}

static void a_dead_disk_makes_the_log_read_only_until_it_works(void **state)
{
    (void) state;
    for (int nth = 1; nth < 12; nth++) {
        struct rig rig;
        uint64_t last;
        int kept = rig_quiet();
        rig_init(&rig);
        rig_open(&rig);
        rig_write(&rig, 20);
        arm(nth % 2 ? CALL_FDATASYNC : CALL_PWRITE, nth, true, EIO);
        for (int i = 0; i < 3000 && rig_append(&rig); i++)
            if (i % 10 == 9)
                log_device_wait(rig.dev);
        log_device_wait(rig.dev);
        int failures = rig.failures;
        uint64_t committed = rig.committed, from = rig.failed_from, to = rig.failed_to, refused = rig_append(&rig);
        enum log_health health = info_of(&rig).health;
        int readable = rig_read(&rig, 1, &last);
        heal();
        wait_healthy(&rig);
        rig_loud(kept);
        assert_int_equal(failures, 1); /* every number that was given out is settled, once */
        assert_int_equal(health, LOG_READ_ONLY);
        assert_int_equal(refused, 0);
        assert_string_equal(rig.err.name, "STORAGE");
        assert_int_equal(from, committed + 1);
        assert_int_equal(readable, committed); /* reads go on */
        assert_int_equal(rig_append(&rig), to + 1); /* numbers are not used again */
        log_device_wait(rig.dev);
        assert_int_equal(rig_read(&rig, 1, &last), committed + 1);
        rig_crash(&rig);
        rig_open(&rig);
        assert_int_equal(rig_read(&rig, 1, &last), committed + 1);
        assert_int_equal(last, to + 1);
        assert_int_equal(info_of(&rig).lost_count, 0);
        rig_fini(&rig);
    }
}

static void what_failed_does_not_come_back_after_a_crash(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 20);
    wait_spare(&rig);
    int kept = rig_quiet();
    arm(CALL_FDATASYNC, 1, true, EIO); /* written, but not synced: the page cache has it */
    rig_append(&rig);
    log_device_submit(rig.dev);
    while (!rig.failures)
        log_device_poll(rig.dev, clock_mono_ms());
    heal(); /* the mark in meta can be written, the process ends before the log is healthy */
    log_device_wait(rig.dev);
    rig_loud(kept);
    assert_int_equal(rig.failed_from, 21);
    rig_crash(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, &last), 20);
    assert_true(log_next_seq(rig.log) > 21);
    rig_write(&rig, 2);
    assert_int_equal(rig_read(&rig, 1, &last), 22);
    rig_fini(&rig);
}

/* Appends `count` entries that are written but never synced, so that they are reported as failed. */
static void have_refused(struct rig *rig, int count)
{
    wait_spare(rig);
    int64_t now = rig->dev->now; /* time stands still: the log is not tried again */
    int failures = rig->failures;
    arm(CALL_COMMIT_SYNC, 1, true, EIO);
    while (count-- > 0)
        assert_true(rig_append(rig));
    log_device_submit(rig->dev);
    while (rig->failures == failures || rig->dev->tasks)
        log_device_poll(rig->dev, now);
    heal();
}

static void two_refused_ranges_stay_refused_after_a_restart(void **state)
{
    (void) state;
    for (int clean = 0; clean < 2; clean++) {
        struct rig rig;
        uint64_t last;
        int kept = rig_quiet();
        rig_init(&rig);
        rig_open(&rig);
        rig_write(&rig, 20);
        have_refused(&rig, 3);
        wait_healthy(&rig);
        have_refused(&rig, 2);
        enum log_health health = info_of(&rig).health;
        if (clean)
            rig_close(&rig);
        else
            rig_crash(&rig);
        rig_open(&rig);
        rig_loud(kept);
        assert_int_equal(rig.failures, 2);
        assert_int_equal(rig.failed_to, 25);
        assert_int_equal(health, LOG_READ_ONLY); /* no later segment tells where the first one ends */
        assert_int_equal(rig_read(&rig, 1, &last), 20);
        assert_int_equal(last, 20);
        assert_true(log_next_seq(rig.log) > 25);
        rig_write(&rig, 2);
        assert_int_equal(rig_read(&rig, 1, &last), 22);
        rig_fini(&rig);
    }
}

/* The mark in meta fails twice, the second time while the next segment is made: when that has come, the mark is still owed. */
static void a_mark_that_failed_is_written_again_whatever_segments_do(void **state)
{
    struct rig rig;
    struct meta meta;
    bool doubtful;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 20);
    int kept = rig_quiet();
    arm(CALL_META, 1, true, EIO);
    have_refused(&rig, 3);
    int64_t now = rig.dev->now + RETRY_MS;
    arm(CALL_META, 1, true, EIO);
    log_device_poll(rig.dev, now);
    while (rig.dev->tasks || rig.dev->flying)
        log_device_poll(rig.dev, now);
    enum log_health health = info_of(&rig).health;
    int fired_again = fired;
    heal();
    int64_t due = log_device_poll(rig.dev, now);
    while (log_device_poll(rig.dev, now + RETRY_MS), rig.dev->tasks)
        ;
    rig_loud(kept);
    assert_int_equal(health, LOG_HEALTHY);
    assert_true(fired_again);
    assert_in_range(due, 1, RETRY_MS);
    assert_true(meta_read(rig.log->dir, &meta, &doubtful) >= 0);
    assert_int_equal(meta.void_from, 21);
    assert_int_equal(meta.void_to, 23);
    rig_fini(&rig);
}

static void a_full_disk_refuses_before_anything_is_lost(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 2 * RIG_SEGMENT;
    rig_open(&rig);
    rig_write(&rig, 20);
    int kept = rig_quiet();
    struct state_file *file = state_file_open(rig.log, "consumers", NULL, NULL, &rig.err);
    arm(CALL_FALLOCATE, 1, true, ENOSPC);
    int taken = try_write(&rig, 5000);
    assert_int_equal(info_of(&rig).health, LOG_FULL);
    assert_string_equal(rig.err.name, "DISK_FULL");
    assert_true(rig.err.again && rig.err.retry_ms > 0);
    assert_int_equal(rig.failures, 0);
    assert_int_equal(rig.committed, 20 + taken); /* ENOSPC never meets a commit */
    assert_int_equal(rig_read(&rig, 1, &last), 20 + taken);
    uint64_t token = state_file_append(file, "ack", 3, true); /* consumers can still drain */
    log_device_wait(rig.dev);
    assert_true(state_file_durable(file) >= token);
    heal();
    wait_healthy(&rig);
    rig_loud(kept);
    rig_write(&rig, 100);
    assert_int_equal(rig_read(&rig, 1, &last), 120 + taken);
    rig_fini(&rig);
}

static void retention_makes_room_at_once(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig.config.retain_bytes = 2 * RIG_SEGMENT;
    rig_open(&rig);
    rig_write(&rig, 3000);
    int kept = rig_quiet();
    arm(CALL_FALLOCATE, 1, true, ENOSPC);
    try_write(&rig, 5000);
    enum log_health health = info_of(&rig).health;
    heal();
    int64_t now = rig.dev->now; /* time stands still: the second is not up */
    log_retain(rig.log, 0);
    while (rig.dev->tasks)
        log_device_poll(rig.dev, now);
    rig_loud(kept);
    assert_int_equal(health, LOG_FULL);
    assert_int_equal(info_of(&rig).health, LOG_HEALTHY);
    rig_fini(&rig);
}

static void short_writes_and_interruptions_do_not_show(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    crumbs = 1;
    rig_open(&rig);
    rig_write(&rig, 2000);
    assert_int_equal(rig_read(&rig, 1, &last), 2000);
    rig_close(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, &last), 2000);
    heal();
    rig_fini(&rig);
}

static void a_disk_that_cannot_read_says_so_and_the_reader_stays(void **state)
{
    struct rig rig;
    struct log_cursor cursor = {0};
    struct log_entry entry;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    rig_write(&rig, 20);
    rig_close(&rig);
    rig_open(&rig);
    log_cursor_seek(&cursor, rig.log, 7);
    arm(CALL_PREAD, 1, true, EIO);
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), -1);
    assert_string_equal(rig.err.name, "STORAGE");
    heal();
    assert_int_equal(log_cursor_next(&cursor, &entry, &rig.err), 1);
    assert_int_equal(entry.seq, 7);
    log_cursor_fini(&cursor);
    rig_fini(&rig);
}

/* A reader keeps few files open: what it closes is never with the commit thread, however far that is behind. */
static void a_reader_of_old_segments_closes_no_file_that_is_written_to(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    while (info_of(&rig).segments < 20)
        rig_write(&rig, 500);
    rig_close(&rig);
    rig_open(&rig); /* of the old segments only the last is open */
    uint64_t old = log_durable_seq(rig.log), segments = info_of(&rig).segments;
    wait_spare(&rig);
    spoilt = 0;
    hold("log-commit");
    rig_append(&rig);
    log_device_submit(rig.dev);
    wait_held();
    while (info_of(&rig).segments < segments + 10) /* so the one being written is not among the newest */
        if (!rig_append(&rig))
            log_device_poll(rig.dev, clock_mono_ms());
    uint64_t all = log_next_seq(rig.log) - 1, read_held = (uint64_t) rig_read(&rig, 1, &last);
    let_go();
    log_device_wait(rig.dev);
    assert_int_equal(read_held, old);
    assert_int_equal(spoilt, 0);
    assert_int_equal(rig.failures, 0);
    assert_int_equal(rig.committed, all);
    rig_crash(&rig);
    rig_open(&rig);
    assert_int_equal(rig_read(&rig, 1, &last), all);
    assert_int_equal(info_of(&rig).lost_count, 0);
    rig_fini(&rig);
}

/* Waits until the preparer has made the file that was asked for. Only a poll or an append that waits takes it. */
static void wait_made(struct rig *rig)
{
    bool made = false;
    while (!made) {
        pthread_mutex_lock(&rig->dev->lock);
        made = rig->dev->done;
        pthread_mutex_unlock(&rig->dev->lock);
    }
}

static void appends_wait_once_for_a_spare_that_is_late(void **state)
{
    struct rig rig;
    uint64_t last;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    wait_spare(&rig);
    hold("log-prepare");
    while (rig_append(&rig)) /* the last one waits in vain */
        ;
    uint64_t count = log_next_seq(rig.log) - 1, segments = info_of(&rig).segments;
    let_go();
    wait_made(&rig);
    assert_string_equal(rig.err.name, "BUSY");
    assert_int_equal(rig_append(&rig), 0); /* one that waited would have it now */
    assert_string_equal(rig.err.name, "BUSY");
    log_device_poll(rig.dev, clock_mono_ms());
    assert_int_equal(rig_append(&rig), count + 1);
    wait_made(&rig);
    while (info_of(&rig).segments < segments + 2) /* the spare after it is waited for again */
        assert_true(rig_append(&rig));
    count = log_next_seq(rig.log) - 1;
    log_device_wait(rig.dev);
    assert_int_equal(rig_read(&rig, 1, &last), count);
    rig_fini(&rig);
}

static void consumer_state_survives_a_failed_write(void **state)
{
    struct rig rig;
    (void) state;
    rig_init(&rig);
    rig_open(&rig);
    int kept = rig_quiet();
    struct state_file *file = state_file_open(rig.log, "consumers", NULL, NULL, &rig.err);
    wait_spare(&rig);
    for (int round = 0; round < 4; round++) {
        uint64_t token = state_file_append(file, "x", 1, true);
        arm(round % 2 ? CALL_PWRITE : CALL_FDATASYNC, 1, false, EIO);
        log_device_wait(rig.dev);
        assert_true(state_file_durable(file) < token);
        heal();
        log_device_poll(rig.dev, clock_mono_ms() + 1000);
        assert_true(state_file_full(file)); /* a checkpoint is asked for, and goes to the other file */
        state_file_checkpoint_begin(file);
        state_file_append(file, "x", 1, false);
        state_file_checkpoint_end(file);
        log_device_wait(rig.dev);
        assert_true(state_file_durable(file) >= token);
        assert_false(state_file_full(file));
    }
    rig_loud(kept);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failed_write_costs_nothing),
        cmocka_unit_test(one_failed_sync_costs_nothing),
        cmocka_unit_test(one_failed_rename_or_directory_sync_costs_nothing),
        cmocka_unit_test(a_dead_disk_makes_the_log_read_only_until_it_works),
        cmocka_unit_test(what_failed_does_not_come_back_after_a_crash),
        cmocka_unit_test(two_refused_ranges_stay_refused_after_a_restart),
        cmocka_unit_test(a_mark_that_failed_is_written_again_whatever_segments_do),
        cmocka_unit_test(a_full_disk_refuses_before_anything_is_lost),
        cmocka_unit_test(retention_makes_room_at_once),
        cmocka_unit_test(short_writes_and_interruptions_do_not_show),
        cmocka_unit_test(a_disk_that_cannot_read_says_so_and_the_reader_stays),
        cmocka_unit_test(a_reader_of_old_segments_closes_no_file_that_is_written_to),
        cmocka_unit_test(appends_wait_once_for_a_spare_that_is_late),
        cmocka_unit_test(consumer_state_survives_a_failed_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
