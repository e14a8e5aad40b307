/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that write: for any thread, no shared state. Functions return 0 or errno. pwrite only, so that the
 * crash tests' recorder sees everything. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/internal.h"

#define FILL_SYNC_BYTES (8u << 20) /* so that stopping the filling early never waits for more than this */

static const uint8_t ZEROS[65536];

int disk_write(int fd, const void *data, size_t len, uint64_t offset)
{
    const uint8_t *p = data;
    while (len) {
        ssize_t put = pwrite(fd, p, len, (off_t) offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : EIO;
        p += put;
        len -= (size_t) put;
        offset += (uint64_t) put;
    }
    return 0;
}

bool disk_read(int fd, void *data, size_t len, uint64_t offset)
{
    uint8_t *p = data;
    while (len) {
        ssize_t got = pread(fd, p, len, (off_t) offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        len -= (size_t) got;
        offset += (uint64_t) got;
    }
    return true;
}

int disk_write_file(int dir, const char *name, const void *data, size_t len, uint64_t offset, bool create)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | (create ? O_CREAT : 0), 0640);
    if (fd < 0)
        return errno;
    int error = disk_write(fd, data, len, offset);
    if (!error && fdatasync(fd))
        error = errno;
    if (close(fd) && !error)
        error = errno;
    return error;
}

int spare_reserve(int dir, struct spare *spare, bool recycled, bool *reserved)
{
    spare->fd = openat(dir, spare->name, O_RDWR | O_CLOEXEC | (recycled ? 0 : O_CREAT | O_EXCL), 0640);
    if (spare->fd < 0)
        return errno;
    int rc;
    do
        rc = fallocate(spare->fd, 0, 0, (off_t) spare->bytes);
    while (rc && errno == EINTR);
    int error = rc ? errno : 0;
    *reserved = !error;
    if (!error || error == EOPNOTSUPP)
        return 0;
    close(spare->fd);
    spare->fd = -1;
    unlinkat(dir, spare->name, 0);
    return error;
}

int spare_fill(struct spare *spare, uint64_t upto)
{
    upto = MIN(upto, spare->bytes);
    while (spare->filled < upto) {
        size_t len = (size_t) MIN(sizeof ZEROS, upto - spare->filled);
        int error = disk_write(spare->fd, ZEROS, len, spare->filled);
        if (error)
            return error;
        spare->filled += len;
        if ((spare->filled % FILL_SYNC_BYTES == 0 || spare->filled == spare->bytes) && fdatasync(spare->fd))
            return errno;
    }
    return 0;
}

int segment_write_head(const struct segment *segment)
{
    uint8_t block[BLOCK_BYTES];
    struct segment_head head = segment->head;
    const struct spare *spare = segment->spare;
    head.zeroed = spare->zeroed || spare->filled == spare->bytes;
    block_put(block, BLOCK_SEGMENT, &head, sizeof head);
    return disk_write(segment->fd, block, sizeof block, 0);
}

void segment_file_name(uint64_t base, char name[NAME_ROOM])
{
    snprintf(name, NAME_ROOM, "%020" PRIu64 ".log", base);
}

int segment_name_it(int dir, const struct segment *segment, const char *spare_name)
{
    char name[NAME_ROOM];
    segment_file_name(segment->head.base, name);
    return renameat(dir, spare_name, dir, name) || fsync(dir) ? errno : 0;
}

int meta_write(struct log *log, const struct meta *meta)
{
    uint8_t block[BLOCK_BYTES];
    int slot = !log->meta_slot; /* never over the only whole one */
    block_put(block, BLOCK_META, meta, sizeof *meta);
    int error = disk_write_file(log->dir, "meta", block, sizeof block, (uint64_t) slot * BLOCK_BYTES, true);
    if (!error)
        log->meta_slot = slot;
    return error;
}
