/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: makes calls on files below $FAULT_DIR fail, as the file $FAULT_CONTROL says while the program runs. One
 * line: "CALLS ERROR [NTH]", for example "fdatasync EIO", "pwrite,fallocate ENOSPC", "pwrite EIO 7" (only the seventh from
 * now on), "fdatasync SLOW 500" (ms before it works), or an empty file for none. Calls: pwrite pread fdatasync fsync
 * fallocate ftruncate open (creating) rename unlink. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timespec read_at; /* change time of the control file when it was read */
static off_t read_len = -1;
static char calls[128], error_name[16];
static long nth, seen;

static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } ERRORS[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"EROFS", EROFS}, {"EINTR", EINTR}};
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (!strcmp(ERRORS[i].name, name))
            return ERRORS[i].number;
    return EIO;
}

static void read_control(void)
{
    struct stat st;
    char text[256];
    const char *name = getenv("FAULT_CONTROL");
    if (!name || stat(name, &st)) {
        *calls = 0;
        return;
    }
    if (st.st_size == read_len && !memcmp(&st.st_mtim, &read_at, sizeof read_at))
        return;
    read_at = st.st_mtim;
    read_len = st.st_size;
    *calls = 0;
    nth = seen = 0;
    int fd = (int) syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    if (sscanf(text, "%127s %15s %ld", calls, error_name, &nth) < 2)
        *calls = 0;
}

static bool is_named(const char *call)
{
    size_t len = strlen(call);
    for (const char *at = strstr(calls, call); at; at = strstr(at + 1, call))
        if ((at == calls || at[-1] == ',') && (at[len] == 0 || at[len] == ','))
            return true;
    return false;
}

static bool below(const char *path)
{
    const char *dir = getenv("FAULT_DIR");
    size_t len = dir ? strlen(dir) : 0;
    return dir && !strncmp(path, dir, len) && (!path[len] || path[len] == '/');
}

static bool fd_below(int fd)
{
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0)
        return false;
    path[len] = 0;
    return below(path);
}

/* True: the call fails, errno is set. */
static bool fails(const char *call, int fd)
{
    int error = 0;
    long slow = 0;
    if (!fd_below(fd))
        return false;
    pthread_mutex_lock(&lock);
    read_control();
    if (*calls && is_named(call)) {
        seen++;
        if (!strcmp(error_name, "SLOW"))
            slow = nth;
        else if (!nth || seen == nth)
            error = number_of(error_name);
    }
    pthread_mutex_unlock(&lock);
    if (slow)
        poll(NULL, 0, (int) slow);
    if (error)
        errno = error;
    return error != 0;
}

EXPORT int openat(int at, const char *name, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if ((flags & O_CREAT) && at != AT_FDCWD && fails("open", at))
        return -1;
    return (int) syscall(SYS_openat, at, name, flags, mode);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return fails("pwrite", fd) ? -1 : syscall(SYS_pwrite64, fd, data, len, offset);
}

EXPORT ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    return fails("pread", fd) ? -1 : syscall(SYS_pread64, fd, data, len, offset);
}

EXPORT int fdatasync(int fd)
{
    return fails("fdatasync", fd) ? -1 : (int) syscall(SYS_fdatasync, fd);
}

EXPORT int fsync(int fd)
{
    return fails("fsync", fd) ? -1 : (int) syscall(SYS_fsync, fd);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fails("fallocate", fd) ? -1 : (int) syscall(SYS_fallocate, fd, mode, offset, len);
}

EXPORT int ftruncate(int fd, off_t len)
{
    return fails("ftruncate", fd) ? -1 : (int) syscall(SYS_ftruncate, fd, len);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return fails("rename", from_dir) ? -1 : (int) syscall(SYS_renameat, from_dir, from, to_dir, to);
}

EXPORT int unlinkat(int at, const char *name, int flags)
{
    return fails("unlink", at) ? -1 : (int) syscall(SYS_unlinkat, at, name, flags);
}
