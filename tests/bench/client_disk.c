/* SPDX-License-Identifier: Apache-2.0 */
/* The disk alone: an event is an overwrite of the next SIZE bytes of an already written file, and its acknowledgement one
 * fdatasync. HOST is the folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/xmem.h"
#include "tests/bench/bench.h"

#define FILE_BYTES (16u << 20)

struct disk {
    int fd;
    uint8_t *body;
    size_t size, at;
    uint64_t synced;
};

static void write_at(const struct disk *d, size_t at)
{
    if (pwrite(d->fd, d->body, d->size, (off_t) at) != (ssize_t) d->size)
        die("disk: write: %s", strerror(errno));
}

static void *disk_open(const struct cell *cell, enum role role)
{
    struct disk *d = xcalloc(1, sizeof *d);
    char *path = xasprintf("%s/fdatasync", cell->host);

    (void) role;
    d->size = cell->size;
    d->body = body_new(cell);
    d->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (d->fd < 0)
        die("disk: %s: %s", path, strerror(errno));
    for (size_t at = 0; at + d->size <= FILE_BYTES; at += d->size)
        write_at(d, at);
    if (fsync(d->fd))
        die("disk: fsync: %s", strerror(errno));
    unlink(path);
    free(path);
    return d;
}

static void disk_publish(void *self, uint64_t number)
{
    struct disk *d = self;

    body_set_number(d->body, number);
    if (d->at + d->size > FILE_BYTES)
        d->at = 0;
    write_at(d, d->at);
    d->at += d->size;
}

static uint64_t disk_settle(void *self, uint64_t least)
{
    struct disk *d = self;

    if (fdatasync(d->fd))
        die("disk: fdatasync: %s", strerror(errno));
    d->synced = least;
    return d->synced;
}

static void disk_close(void *self)
{
    struct disk *d = self;

    close(d->fd);
    free(d->body);
    free(d);
}

static const struct peer disk = {"fdatasync", disk_open, disk_publish, disk_settle, NULL, disk_close};
const struct peer *const PEERS[] = {&disk, NULL};
