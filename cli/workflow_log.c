/* SPDX-License-Identifier: Apache-2.0 */
/* Where a task's log is, HOST:PATH, and how it ends when it is a file of this machine. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/info.h"
#include "cli/workflow.h"

#define TAIL_LINES 5
#define TAIL_BYTES (8 << 10) /* what is looked at */

/* The path when the host is this machine, else NULL. */
static const char *path_here(const char *log)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1))
        return NULL;
    size_t len = strlen(host);
    return len && strncmp(log, host, len) == 0 && log[len] == ':' && log[len + 1] == '/' ? log + len + 1 : NULL;
}

/* The file's last bytes; 0: it cannot be read, or is no plain file. */
static size_t read_end(const char *path, char bytes[TAIL_BYTES])
{
    struct stat about;
    ssize_t got = -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
        got = pread(fd, bytes, TAIL_BYTES, about.st_size > TAIL_BYTES ? about.st_size - TAIL_BYTES : 0);
    close(fd);
    return got > 0 ? (size_t) got : 0;
}

static void print_end_of(const char *path)
{
    char bytes[TAIL_BYTES];
    size_t len = read_end(path, bytes), lines = 0, at;
    while (len && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r'))
        len--;
    for (at = len; at > 0; at--)
        if (bytes[at - 1] == '\n' && ++lines == TAIL_LINES)
            break;
    while (at < len) {
        struct buf line = {0};
        const char *stop = memchr(bytes + at, '\n', len - at);
        size_t end = stop ? (size_t) (stop - bytes) : len, text = end;
        while (text > at && bytes[text - 1] == '\r')
            text--;
        buf_addf(&line, "| ");
        buf_add(&line, bytes + at, text - at);
        info_put("", line.data, line.len);
        buf_fini(&line);
        at = end + 1;
    }
}

void workflow_print_log(const json_t *task)
{
    const char *log = view_text(task, "log"), *path = path_here(log), *state = view_text(task, "state");
    info_put("log", path ? path : log, strlen(path ? path : log));
    if (path && (strcmp(state, "failed") == 0 || strcmp(state, "up_for_retry") == 0))
        print_end_of(path);
}
