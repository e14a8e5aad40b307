/* SPDX-License-Identifier: Apache-2.0 */
/* LevelDB's log format as W&B uses it: blocks of 32 KiB, in them chunks of records. */
#include "nodes/wandb/leveldb_log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define BLOCK 32768
#define CHUNK_HEAD 7 /* CRC-32 of type and data, length (16 bits), type */
enum { FULL = 1, FIRST, MIDDLE, LAST };

static uint32_t checksum(uint8_t type, const void *data, size_t len)
{
    uLong crc = crc32(0, &type, 1);
    return (uint32_t) (len ? crc32(crc, data, (uInt) len) : crc);
}

static void put_chunk(struct buf *out, uint8_t type, const char *data, size_t len)
{
    uint32_t crc = checksum(type, data, len);
    const uint8_t head[CHUNK_HEAD] = {(uint8_t) crc, (uint8_t) (crc >> 8), (uint8_t) (crc >> 16), (uint8_t) (crc >> 24),
                                      (uint8_t) len, (uint8_t) (len >> 8), type};
    buf_add(out, head, sizeof head);
    buf_add(out, data, len);
}

void leveldb_log_frame(struct buf *out, uint64_t at, struct ls_slice record)
{
    static const uint8_t zeros[CHUNK_HEAD];
    bool first = true, last = false;
    while (!last) {
        size_t left = BLOCK - (size_t) (at % BLOCK);
        if (left < CHUNK_HEAD) {
            buf_add(out, zeros, left);
            at += left;
            left = BLOCK;
        }
        size_t len = record.len < left - CHUNK_HEAD ? record.len : left - CHUNK_HEAD;
        last = len == record.len;
        put_chunk(out, first ? (last ? FULL : FIRST) : (last ? LAST : MIDDLE), record.data, len);
        record = ls_bytes(record.data + len, record.len - len);
        at += CHUNK_HEAD + len;
        first = false;
    }
}

struct reader {
    uint8_t block[BLOCK];
    size_t len; /* of the block: less at the end of the file */
    struct buf record;
    bool within; /* a record has begun and not ended */
};

/* The chunk at `at` of the block: its whole size, or 0 if it is none, or does not belong here. */
static size_t take_chunk(struct reader *r, size_t at, bool *whole)
{
    const uint8_t *head = r->block + at;
    if (r->len - at < CHUNK_HEAD)
        return 0;
    size_t len = head[4] | (size_t) head[5] << 8;
    uint32_t crc = head[0] | (uint32_t) head[1] << 8 | (uint32_t) head[2] << 16 | (uint32_t) head[3] << 24;
    uint8_t type = head[6];
    if (type < FULL || type > LAST || len > r->len - at - CHUNK_HEAD || crc != checksum(type, head + CHUNK_HEAD, len))
        return 0;
    if (r->within != (type == MIDDLE || type == LAST))
        return 0;
    buf_add(&r->record, head + CHUNK_HEAD, len);
    *whole = type == FULL || type == LAST;
    r->within = !*whole;
    return CHUNK_HEAD + len;
}

/* The chunks of the block from `at` on; false where they end. */
static bool take_block(struct reader *r, uint64_t start, size_t at, leveldb_log_fn *fn, void *arg, uint64_t *end)
{
    while (BLOCK - at >= CHUNK_HEAD) {
        bool whole = false;
        size_t size = take_chunk(r, at, &whole);
        if (size == 0 || (whole && !fn(arg, ls_bytes(r->record.data, r->record.len))))
            return false;
        at += size;
        if (whole) {
            buf_clear(&r->record);
            *end = start + at;
        }
    }
    return r->len == BLOCK;
}

static int read_block(struct reader *r, int fd, uint64_t start, struct ls_error *err)
{
    for (r->len = 0; r->len < BLOCK;) {
        ssize_t n = pread(fd, r->block + r->len, BLOCK - r->len, (off_t) (start + r->len));
        if (n < 0 && errno != EINTR)
            return error_set(err, "SYSTEM", "cannot read: %s", strerror(errno));
        if (n == 0)
            break;
        r->len += n > 0 ? (size_t) n : 0;
    }
    return 0;
}

int leveldb_log_read(int fd, leveldb_log_fn *fn, void *arg, uint64_t *end, struct ls_error *err)
{
    struct reader *r = xcalloc(1, sizeof *r);
    size_t at = LEVELDB_LOG_HEAD_SIZE;
    *end = 0;
    int rc = read_block(r, fd, 0, err);
    if (rc == 0 && memcmp(r->block, LEVELDB_LOG_HEAD, r->len < at ? r->len : at) != 0)
        rc = error_set(err, "CORRUPT", "it does not begin as a .wandb file");
    if (rc == 0 && r->len >= at) {
        *end = at;
        for (uint64_t start = 0; rc == 0 && take_block(r, start, at, fn, arg, end); at = 0) {
            start += BLOCK;
            rc = read_block(r, fd, start, err);
        }
    }
    buf_fini(&r->record);
    free(r);
    return rc;
}
