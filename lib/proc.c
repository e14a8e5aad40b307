/* SPDX-License-Identifier: Apache-2.0 */
/* Reading /proc: which processes there are, their files, their environment. */
#include "lib/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/xmem.h"

#define ENVIRON_BYTES_MAX ((size_t) 8 << 20)

pid_t *proc_pids(void)
{
    size_t count = 0, room = 0;
    pid_t *pids = xgrow(NULL, &room, 1, sizeof *pids);
    DIR *folder = opendir("/proc");
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        if (!isdigit((unsigned char) e->d_name[0]))
            continue;
        pids[count++] = (pid_t) strtol(e->d_name, NULL, 10);
        pids = xgrow(pids, &room, count + 1, sizeof *pids);
    }
    if (folder)
        closedir(folder);
    pids[count] = 0;
    return pids;
}

bool proc_read(pid_t pid, const char *name, size_t most, struct buf *text)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/%s", (int) pid, name);
    buf_clear(text);
    int result = file_load(path, most, text);
    if (result && errno == EFBIG)
        text->len = most;
    else if (result)
        return false;
    errno = ESRCH;
    return text->len > 0;
}

/* "PID (NAME) STATE PARENT ...", where NAME may hold anything. */
bool proc_stat(pid_t pid, struct proc_stat *stat)
{
    struct buf text = {0};
    unsigned long long user = 0, kernel = 0;
    const char *rest = proc_read(pid, "stat", 4096, &text) ? strrchr(buf_text(&text), ')') : NULL;
    *stat = (struct proc_stat){0};
    bool known = rest && sscanf(rest + 1,
                                " %c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu"
                                " %*d %*d %*d %*d %*d %*d %*u %*u %ld",
                                &stat->state, &stat->parent, &stat->group, &user, &kernel, &stat->resident_pages) == 6;
    stat->cpu_ticks = user + kernel;
    buf_fini(&text);
    return known;
}

const char *proc_entry(pid_t pid, const char *entry, size_t len, struct buf *text)
{
    if (!proc_read(pid, "environ", ENVIRON_BYTES_MAX, text))
        return NULL;
    const char *at = buf_text(text), *end = at + text->len;
    for (; at < end; at += strlen(at) + 1)
        if ((size_t) (end - at) >= len && memcmp(at, entry, len) == 0)
            return at;
    return NULL;
}

size_t proc_signal_marked(const char *entry, size_t len, int signal)
{
    struct buf text = {0};
    size_t count = 0;
    pid_t *pids = proc_pids();
    for (const pid_t *pid = pids; *pid; pid++)
        if (*pid > 1 && *pid != getpid() && proc_entry(*pid, entry, len, &text) && kill(*pid, signal) == 0)
            count++;
    free(pids);
    buf_fini(&text);
    return count;
}
