/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of an `up` that is gone: processes of this user with its mark (stray.h), in this folder, with no `up` above them. Where
 * something cannot be told, a process is left alone. */
#include "cli/up/orphan.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/up/stray.h"
#include "lib/clock.h"
#include "lib/proc.h"

#define GRACE_MS 20000 /* the broker has a disk to wait for */
#define AFTER_KILL_MS 5000
#define LOOK_EVERY_NS 20000000
#define TEXT_BYTES_MAX (1u << 20)
#define ANCESTORS_MAX 100

/* Some word is "up": it may be behind the name of a debugger. */
static bool is_up(pid_t pid, struct buf *text)
{
    if (!proc_read(pid, "cmdline", TEXT_BYTES_MAX, text))
        return false;
    const char *word = buf_text(text), *end = word + text->len;
    while (word < end && strcmp(word, "up") != 0)
        word += strlen(word) + 1;
    return word < end;
}

static bool has_up_above(pid_t pid, struct buf *text)
{
    struct proc_stat stat;
    for (int i = 0; i < ANCESTORS_MAX && proc_stat(pid, &stat); i++) {
        pid = stat.parent;
        if (!pid) /* of the first process, which may be an `up` in a container */
            return false;
        if (is_up(pid, text))
            return true;
    }
    return true;
}

static bool is_here(pid_t pid, const struct stat *here)
{
    char path[64];
    struct stat process, folder;
    snprintf(path, sizeof path, "/proc/%d", (int) pid);
    if (stat(path, &process) != 0 || process.st_uid != geteuid())
        return false;
    snprintf(path, sizeof path, "/proc/%d/cwd", (int) pid);
    return stat(path, &folder) == 0 && folder.st_dev == here->st_dev && folder.st_ino == here->st_ino;
}

/* A mark as `up` makes them. One like our own came to us and it the same way, perhaps by a shell that somebody looks around with. */
static bool is_marked(pid_t pid, struct buf *text)
{
    static const char NAME[] = STRAY_VARIABLE "=";
    const char *entry = proc_entry(pid, NAME, sizeof NAME - 1, text), *ours = getenv(STRAY_VARIABLE);
    const char *mark = entry ? entry + sizeof NAME - 1 : "";
    return strspn(mark, "0123456789abcdef-") == UUID_TEXT_SIZE - 1 && mark[UUID_TEXT_SIZE - 1] == '.' && !(ours && strcmp(mark, ours) == 0);
}

/* Signals all orphans (0: none); how many there are. */
static size_t orphans_signal(const struct stat *here, int sig)
{
    struct buf text = {0};
    size_t count = 0;
    pid_t *pids = proc_pids();
    for (pid_t *pid = pids; *pid; pid++)
        if (*pid != getpid() && is_here(*pid, here) && is_marked(*pid, &text) && !has_up_above(*pid, &text) && kill(*pid, sig) == 0)
            count++;
    free(pids);
    buf_fini(&text);
    return count;
}

void orphans_end(void)
{
    struct stat here;
    int64_t now_ms = clock_mono_ms(), kill_ms = now_ms + GRACE_MS;
    size_t count = stat(".", &here) == 0 ? orphans_signal(&here, SIGTERM) : 0;
    if (count)
        fprintf(stderr, "lineshaft up: ending what an earlier `up` of this folder left when it was killed: %zu process%s\n", count,
                count == 1 ? "" : "es");
    for (; count && now_ms < kill_ms + AFTER_KILL_MS; now_ms = clock_mono_ms()) {
        nanosleep(&(struct timespec){0, LOOK_EVERY_NS}, NULL);
        count = orphans_signal(&here, now_ms < kill_ms ? 0 : SIGKILL);
    }
}
