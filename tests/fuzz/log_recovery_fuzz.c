/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a log's last segment. The input is first a program that damages a good segment (so that the fuzzer gets past
 * the checksums), or, if it begins with 0xff, the bytes of the file themselves. Whatever comes: the log opens, every entry
 * that is read is one that was written, in order, with its bytes, and what is appended then is there at the next start. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/clock.h"
#include "lib/logger.h"

#define SEGMENT 65536u
#define ENTRIES 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static uint8_t good[SEGMENT], image[SEGMENT];
static uint8_t good_meta[2 * BLOCK_BYTES]; /* not closed in order */

/* In the place of lib/logger.c: what the log tells about damage is of no interest here. */
void logger_put(enum log_level level, const char *code, const char *text, const char *format, ...)
{
    (void) level, (void) code, (void) text, (void) format;
}

static void must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "log_recovery_fuzz: %s\n", what);
    abort();
}

static size_t bytes_of(uint64_t n, uint8_t *bytes)
{
    size_t len = n * 37 % 200;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t) (n * 31 + i);
    return len;
}

static struct log *open_log(struct log_device **dev)
{
    struct ls_error err;
    struct log_config config = {.name = "s", .sync = true, .segment_bytes = SEGMENT, .pending_bytes_max = 1 << 20,
                                .hot_bytes_max = 1};
    *dev = log_device_open(dir, &err);
    must(*dev != NULL, "the device does not open");
    struct log *log = log_open(*dev, &config, &err);
    must(log != NULL, err.text);
    return log;
}

static void append(struct log *log)
{
    uint8_t bytes[256];
    struct ls_error err;
    struct log_part part = {bytes, bytes_of(log_next_seq(log), bytes)};
    must(log_append(log, 0, 1, 1, &part, 1, &err) != 0, "an append is refused");
}

static void file_path(const char *name, char path[128])
{
    snprintf(path, 128, "%s/s%s%s", dir, *name ? "/" : "", name);
}

static void load(const char *name, uint8_t *bytes, size_t len)
{
    char path[128];
    file_path(name, path);
    int fd = open(path, O_RDONLY);
    must(fd >= 0 && read(fd, bytes, len) == (ssize_t) len, "a file is too short");
    close(fd);
}

static void store(const char *name, const uint8_t *bytes, size_t len)
{
    char path[128];
    file_path(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, bytes, len) == (ssize_t) len, "a file cannot be written");
    close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void) st, (void) type, (void) where;
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void set_up(void)
{
    struct log_device *dev;
    snprintf(dir, sizeof dir, "%s/log-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    must(mkdtemp(dir) != NULL, "no scratch folder");
    atexit(tear_down);
    struct log *log = open_log(&dev);
    for (int i = 1; i <= ENTRIES; i++) {
        append(log);
        if (i % 20 == 0)
            log_device_wait(dev);
    }
    log_device_wait(dev);
    load("meta", good_meta, sizeof good_meta);
    log_device_close(&dev);
    load("00000000000000000001.log", good, sizeof good);
}

/* Each 6 bytes of the program: where (2), what (1), how much (1), value (2). */
static void damage(const uint8_t *program, size_t size)
{
    memcpy(image, good, SEGMENT);
    for (; size >= 6; program += 6, size -= 6) {
        size_t at = (size_t) (program[0] | program[1] << 8), len = MIN((size_t) program[3] * 8 + 1, SEGMENT - at);
        size_t from = MIN((size_t) (program[4] | program[5] << 8), SEGMENT - len);
        switch (program[2] % 5) {
        case 0:
            image[at] ^= program[4];
            break;
        case 1:
            memset(image + at, program[4], len);
            break;
        case 2: /* records at places where they do not belong */
            memmove(image + at, image + from, len);
            break;
        case 3:
            memset(image + at, 0, SEGMENT - at);
            break;
        case 4: /* and back to what was right */
            memcpy(image + at, good + at, len);
            break;
        }
    }
}

static void remove_files(void)
{
    char name[NAME_ROOM], path[128];
    static const char *const NAMES[] = {"00000000000000000001.log", "00000000000000000001.log.torn", "meta"};
    for (size_t i = 0; i < 3; i++) {
        file_path(NAMES[i], path);
        unlink(path);
    }
    for (int i = 1; i < 8; i++) {
        snprintf(name, sizeof name, "spare-%d", i);
        file_path(name, path);
        unlink(path);
    }
}

/* Reads all; every entry must be one of ours. Returns how many there are at or behind `from`. */
static int read_all(struct log *log, uint64_t from)
{
    struct log_cursor cursor = {0};
    struct log_entry entry;
    struct ls_error err;
    uint64_t before = 0;
    int count = 0, rc;
    log_cursor_seek(&cursor, log, 0);
    while ((rc = log_cursor_next(&cursor, &entry, &err)) > 0) {
        uint8_t bytes[256];
        size_t len = bytes_of(entry.seq, bytes);
        must(entry.seq > before && entry.len == len && !memcmp(entry.data, bytes, len), "an entry that nobody wrote");
        must(entry.seq <= ENTRIES || entry.seq >= from, "a number that nobody gave");
        before = entry.seq;
        count += entry.seq >= from;
    }
    must(rc == 0, "reading fails");
    log_cursor_fini(&cursor);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_device *dev;
    char path[128];
    if (!*dir)
        set_up();
    if (size && data[0] == 0xff) {
        memset(image, 0, SEGMENT);
        memcpy(image, data + 1, MIN(size - 1, SEGMENT));
    } else {
        damage(data, size);
    }
    remove_files();
    store("meta", good_meta, sizeof good_meta);
    store("00000000000000000001.log", image, SEGMENT);
    struct log *log = open_log(&dev);
    uint64_t next = log_next_seq(log), base = next;
    must(next > ENTRIES, "a number is given again");
    read_all(log, next);
    for (int i = 0; i < 3; i++)
        append(log);
    log_device_wait(dev);
    must(read_all(log, next) == 3, "what was appended is not there");
    if (log->segments[log->segment_count - 1]->head.base != 1)
        base = log->segments[log->segment_count - 1]->head.base;
    log_device_close(&dev);
    log = open_log(&dev);
    must(read_all(log, next) == 3, "what was appended is not there after a restart");
    log_device_close(&dev);
    char name[NAME_ROOM];
    segment_file_name(base, name);
    file_path(name, path);
    unlink(path); /* the segment it may have gone on in */
    return 0;
}
