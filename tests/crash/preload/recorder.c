/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: writes every change to files below $RECORDER_DIR, and every successful sync, to $RECORDER_FILE, in one order
 * and with the data. tests/crash/recording.py reads it. A sync says how many events there were when it began: only
 * those before are known to be on the disk when it ends. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct event {
    uint8_t type; /* B begin of a process, C create, W write, Z size, R rename, U unlink, S sync, D directory sync, N note */
    uint8_t zero[3];
    uint32_t path_len, data_len, reserved;
    uint64_t inode, offset, begun;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int file = -1;
static const char *dir;
static uint64_t count; /* events of this process */

static void put(char type, uint64_t inode, uint64_t offset, uint64_t begun, const char *path, const void *data, size_t len)
{
    int error = errno;
    struct event event = {.type = (uint8_t) type, .path_len = (uint32_t) strlen(path), .data_len = (uint32_t) len,
                          .inode = inode, .offset = offset, .begun = begun};
    struct iovec parts[3] = {{&event, sizeof event}, {(void *) (uintptr_t) path, event.path_len},
                             {(void *) (uintptr_t) data, len}};
    if (syscall(SYS_writev, file, parts, 3) != (long) (sizeof event + event.path_len + len))
        abort(); /* half a recording proves nothing */
    count++;
    errno = error;
}

static void record(char type, uint64_t inode, uint64_t offset, const char *path, const void *data, size_t len)
{
    pthread_mutex_lock(&lock);
    put(type, inode, offset, 0, path, data, len);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("RECORDER_FILE");
    dir = getenv("RECORDER_DIR");
    if (!name || !dir)
        return;
    file = (int) syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0)
        record('B', 0, 0, "", NULL, 0);
}

EXPORT void recorder_note(const char *text);
EXPORT void recorder_note(const char *text)
{
    if (file >= 0)
        record('N', 0, 0, text, NULL, 0);
}

/* The path behind a descriptor, relative to the recorded directory; false if it lies elsewhere. */
static bool path_of(int fd, char path[512])
{
    char link[64], full[1024];
    if (file < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, full, sizeof full - 1);
    size_t prefix = strlen(dir);
    if (len < 0)
        return false;
    full[len] = 0;
    if (strncmp(full, dir, prefix) || (full[prefix] && full[prefix] != '/'))
        return false;
    snprintf(path, 512, "%s", full[prefix] ? full + prefix + 1 : "");
    return true;
}

static bool path_at(int at, const char *name, char path[512])
{
    char base[512];
    if (!path_of(at, base))
        return false;
    return snprintf(path, 512, "%s%s%s", base, *base ? "/" : "", name) < 512;
}

static uint64_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) ? 0 : st.st_ino;
}

EXPORT int openat(int at, const char *name, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    char path[512];
    bool ours = (flags & O_CREAT) && path_at(at, name, path);
    if (!ours)
        return (int) syscall(SYS_openat, at, name, flags, mode);
    pthread_mutex_lock(&lock);
    bool fresh = syscall(SYS_faccessat, at, name, F_OK) != 0;
    int fd = (int) syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && fresh)
        put('C', inode_of(fd), 0, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    char path[512];
    if (path_of(fd, path))
        record('W', inode_of(fd), (uint64_t) offset, "", data, len); /* before: it may be on the disk as soon as it begins */
    return syscall(SYS_pwrite64, fd, data, len, offset);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t len)
{
    char path[512];
    if (path_of(fd, path))
        record('Z', inode_of(fd), (uint64_t) (offset + len), "", NULL, 0);
    return (int) syscall(SYS_fallocate, fd, mode, offset, len);
}

EXPORT int ftruncate(int fd, off_t len)
{
    char path[512];
    if (path_of(fd, path))
        record('T', inode_of(fd), (uint64_t) len, "", NULL, 0);
    return (int) syscall(SYS_ftruncate, fd, len);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    char old[512], new[512];
    if (path_at(from_dir, from, old) && path_at(to_dir, to, new) && !syscall(SYS_faccessat, from_dir, from, F_OK))
        record('R', 0, 0, old, new, strlen(new));
    return (int) syscall(SYS_renameat, from_dir, from, to_dir, to);
}

EXPORT int unlinkat(int at, const char *name, int flags)
{
    char path[512];
    if (path_at(at, name, path) && !syscall(SYS_faccessat, at, name, F_OK))
        record('U', 0, 0, path, NULL, 0);
    return (int) syscall(SYS_unlinkat, at, name, flags);
}

static int synced(int fd, long call)
{
    char path[512];
    bool ours = path_of(fd, path);
    pthread_mutex_lock(&lock);
    uint64_t begun = count;
    pthread_mutex_unlock(&lock);
    int rc = (int) syscall(call, fd);
    if (rc || !ours)
        return rc;
    struct stat st;
    pthread_mutex_lock(&lock);
    if (!fstat(fd, &st))
        put(S_ISDIR(st.st_mode) ? 'D' : 'S', st.st_ino, 0, begun, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* The end of a process kills its other threads, and a dying thread's writev may stop half-way: none may be writing then. */
EXPORT void _exit(int status)
{
    pthread_mutex_lock(&lock);
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}

EXPORT int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

EXPORT int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}
