/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_LOG_RIG_H
#define TESTS_UNIT_LOG_RIG_H
/* What the log's tests share: a scratch folder, a device with one log, entries whose bytes follow from their number. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/log/internal.h"
#include "lib/clock.h"
#include "lib/logger.h"

#define RIG_SEGMENT 65536u
#define RIG_STREAM "events"

struct rig {
    char dir[64];
    struct log_config config;
    struct log_device *dev;
    struct log *log;
    uint64_t committed, failed_from, failed_to;
    int failures;
    struct ls_error err;
};

static inline void rig_committed(void *arg, struct log *log, uint64_t upto)
{
    struct rig *rig = arg;
    (void) log;
    assert_true(upto > rig->committed);
    rig->committed = upto;
}

static inline void rig_failed(void *arg, struct log *log, uint64_t from, uint64_t to, const struct ls_error *err)
{
    struct rig *rig = arg;
    (void) log;
    rig->failed_from = from;
    rig->failed_to = to;
    rig->failures++;
    rig->err = *err;
}

static inline void rig_init(struct rig *rig)
{
    logger_init("test", LEVEL_ERROR);
    *rig = (struct rig){0};
    /* Memory, if there is some: what a test proves does not depend on a disk, how long it takes does. */
    snprintf(rig->dir, sizeof rig->dir, "%s/log-test-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert_non_null(mkdtemp(rig->dir));
    rig->config = (struct log_config){.name = RIG_STREAM, .sync = true, .segment_bytes = RIG_SEGMENT,
                                      .pending_bytes_max = 1u << 20, .hot_bytes_max = 1, .committed = rig_committed,
                                      .failed = rig_failed, .arg = rig};
}

static inline int rig_remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void) st, (void) type, (void) where;
    return remove(path);
}

static inline void rig_remove(const char *dir)
{
    nftw(dir, rig_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Turns off what the log tells about a thousand expected damages; rig_loud turns it on again. */
static inline int rig_quiet(void)
{
    int kept = dup(STDERR_FILENO), nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDERR_FILENO);
    close(nothing);
    return kept;
}

static inline void rig_loud(int kept)
{
    dup2(kept, STDERR_FILENO);
    close(kept);
}

static inline void rig_open(struct rig *rig)
{
    rig->committed = 0;
    rig->dev = log_device_open(rig->dir, &rig->err);
    if (!rig->dev)
        fail_msg("%s", rig->err.text);
    rig->log = log_open(rig->dev, &rig->config, &rig->err);
    if (!rig->log)
        fail_msg("%s", rig->err.text);
    log_device_poll(rig->dev, clock_mono_ms());
}

static inline void rig_close(struct rig *rig)
{
    log_device_close(&rig->dev);
    rig->log = NULL;
}

static inline void rig_fini(struct rig *rig)
{
    rig_close(rig);
    rig_remove(rig->dir);
}

/* Entry n: its length and bytes follow from n, so that a reader can tell it from any other. */
static inline size_t rig_bytes(uint64_t n, uint8_t *data)
{
    size_t len = 8 + n * 7 % 100;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t) (n * 31 + i * (n | 1));
    memcpy(data, &n, sizeof n);
    return len;
}

/* Appends one entry whose bytes follow from the number it gets. */
static inline uint64_t rig_append(struct rig *rig)
{
    uint8_t data[256];
    uint64_t n = log_next_seq(rig->log);
    struct log_part parts[2] = {{data, 8}, {data + 8, rig_bytes(n, data) - 8}};
    return log_append(rig->log, (uint16_t) (n % 7), 1, (int64_t) (1000000 + n), parts, 2, &rig->err);
}

/* Appends and commits `count` entries, waiting whenever the log is busy. */
static inline void rig_write(struct rig *rig, int count)
{
    while (count > 0) {
        uint64_t seq = rig_append(rig);
        if (seq) {
            count--;
            continue;
        }
        assert_string_equal(rig->err.name, "BUSY");
        log_device_wait(rig->dev);
    }
    log_device_wait(rig->dev);
}

/* Reads from `from` to the end, checks every byte; returns how many, and the last sequence number in *last. */
static inline int rig_read(struct rig *rig, uint64_t from, uint64_t *last)
{
    struct log_cursor cursor = {0};
    struct log_entry entry;
    uint8_t data[256];
    int count = 0, rc;
    uint64_t before = 0;
    log_cursor_seek(&cursor, rig->log, from);
    while ((rc = log_cursor_next(&cursor, &entry, &rig->err)) > 0) {
        size_t len = rig_bytes(entry.seq, data);
        assert_true(entry.seq > before);
        assert_int_equal(entry.len, len);
        assert_memory_equal(entry.data, data, len);
        assert_int_equal(entry.flags, entry.seq % 7);
        before = entry.seq;
        count++;
    }
    assert_int_equal(rc, 0);
    log_cursor_fini(&cursor);
    if (last)
        *last = before;
    return count;
}

/* Ends the process's hold of the log without an orderly close: the files stay as kill -9 would leave them. */
static inline void rig_crash(struct rig *rig)
{
    char meta[128];
    uint8_t before[2 * BLOCK_BYTES] = {0};
    snprintf(meta, sizeof meta, "%s/%s/meta", rig->dir, RIG_STREAM);
    log_device_wait(rig->dev);
    int fd = open(meta, O_RDWR);
    assert_true(fd >= 0 && pread(fd, before, sizeof before, 0) > 0);
    rig_close(rig);
    assert_int_equal(pwrite(fd, before, sizeof before, 0), sizeof before);
    close(fd);
}

static inline void rig_path(const struct rig *rig, const char *name, char path[256])
{
    assert_true(snprintf(path, 256, "%s/%s/%s", rig->dir, RIG_STREAM, name) < 256);
}

static inline void rig_segment_path(const struct rig *rig, uint64_t base, char path[256])
{
    char name[NAME_ROOM];
    segment_file_name(base, name);
    rig_path(rig, name, path);
}

/* Reads or writes a whole file. */
static inline size_t rig_load(const char *path, uint8_t *data, size_t room)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = pread(fd, data, room, 0);
    close(fd);
    assert_true(len >= 0);
    return (size_t) len;
}

static inline void rig_store(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, 0), len);
    close(fd);
}

static inline bool rig_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

#endif
