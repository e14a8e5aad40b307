/* SPDX-License-Identifier: Apache-2.0 */
/* Reading whole files, bounded. */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES 65536u

int file_read(int fd, size_t most, struct buf *out)
{
    size_t end = out->len + most + 1; /* one byte more tells that there is more */
    while (out->len < end) {
        size_t room = end - out->len < PIECE_BYTES ? end - out->len : PIECE_BYTES;
        buf_reserve(out, room);
        ssize_t got = read(fd, out->data + out->len, room);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -1;
        out->len += got > 0 ? (size_t) got : 0;
    }
    errno = EFBIG;
    return -1;
}

static int load(const char *path, int flags, size_t most, struct buf *out)
{
    struct stat info;
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC), result = -1, error;
    if (fd < 0)
        return -1;
    if (fstat(fd, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            errno = EISDIR;
        else if ((flags & O_NONBLOCK) && !S_ISREG(info.st_mode))
            errno = ENOTSUP;
        else
            result = file_read(fd, most, out);
    }
    error = errno;
    close(fd);
    errno = error;
    return result;
}

int file_load(const char *path, size_t most, struct buf *out)
{
    return load(path, 0, most, out);
}

int file_load_regular(const char *path, size_t most, struct buf *out)
{
    return load(path, O_NONBLOCK | O_NOCTTY, most, out);
}

const char *file_problem(int error)
{
    switch (error) {
    case EISDIR:
        return "it is a folder";
    case ENOTSUP:
        return "it is not a regular file";
    case EFBIG:
        return "it is too large";
    default:
        return strerror(error);
    }
}
