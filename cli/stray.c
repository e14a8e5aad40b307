/* SPDX-License-Identifier: Apache-2.0 */
/* Finding processes by their environment: see stray.h. */
#include "cli/stray.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"

#define ENVIRON_BYTES_MAX (1u << 20)

static bool read_environ(const char *pid, struct buf *text)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    buf_clear(text);
    while (got > 0 && text->len < ENVIRON_BYTES_MAX) {
        buf_reserve(text, 16384);
        got = read(fd, text->data + text->len, 16384);
        text->len += got > 0 ? (size_t) got : 0;
    }
    if (fd >= 0)
        close(fd);
    return got == 0 && text->len > 0;
}

static bool has_entry(const struct buf *environment, const char *entry)
{
    const char *at = (const char *) environment->data, *end = at + environment->len;
    size_t len = strlen(entry);
    while (at < end) {
        if ((size_t) (end - at) >= len && memcmp(at, entry, len) == 0)
            return true;
        const char *next = memchr(at, '\0', (size_t) (end - at));
        at = next ? next + 1 : end;
    }
    return false;
}

size_t stray_signal(const char *entry, int signal)
{
    struct buf environment = {0};
    size_t count = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *e = processes ? readdir(processes) : NULL; e; e = readdir(processes)) {
        pid_t pid = isdigit((unsigned char) e->d_name[0]) ? (pid_t) strtol(e->d_name, NULL, 10) : 0;
        if (pid > 1 && pid != getpid() && read_environ(e->d_name, &environment) && has_entry(&environment, entry) &&
            kill(pid, signal) == 0)
            count++;
    }
    if (processes)
        closedir(processes);
    buf_fini(&environment);
    return count;
}
