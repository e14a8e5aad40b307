/* SPDX-License-Identifier: Apache-2.0 */
/* What a former process of this member left: records of tries. One whose keeper still lives is locked; we wait, the keeper knows
 * that its runner is gone. A keeper that was killed too cannot have ended anything, so what carries the mark of the try in
 * its environment is ended here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/logger.h"
#include "lib/proc.h"
#include "lib/xmem.h"
#include "nodes/runner/runner.h"

#define LOOK_EVERY_MS 50

static bool is_free(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool taken = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return !taken;
}

static bool has_orphans(const struct try *try)
{
    char *mark = xasprintf("LINESHAFT_TRY=%s", try->id);
    size_t left = proc_signal_marked(mark, strlen(mark) + 1, SIGKILL);
    free(mark);
    return left > 0;
}

/* True if it is reported; false: something of it is still there. */
static bool settle(struct runner *r, const char *path)
{
    if (!is_free(path))
        return false;
    bool unused;
    struct try *try = record_read(r, path, &unused);
    if (unused) {
        unlink(path);
        return true;
    }
    if (!try) {
        logger_put(LEVEL_WARN, "leftover", "a record of a former process is unreadable; it is removed", "path=%s",
                   path);
        unlink(path);
        return true;
    }
    if (!try->ending.word.pid && has_orphans(try)) {
        try_free(try);
        return false;
    }
    runner_count(r, METRIC_LOST, strcmp(try->ending.reason, "lost") == 0);
    logger_put(LEVEL_INFO, "leftover", "a try of a former process is reported", "try=%s reason=%s", try->id,
               try->ending.reason);
    return true;
}

static void look(struct runner *r)
{
    struct buf still = {0};
    const char *at = (const char *) r->waiting.data, *end = at + r->waiting.len;
    for (; at < end; at += strlen(at) + 1)
        if (!settle(r, at))
            buf_add(&still, at, strlen(at) + 1);
    buf_fini(&r->waiting);
    r->waiting = still;
    if (still.len) {
        node_timer_set(r->node, &r->look, LOOK_EVERY_MS);
        return;
    }
    r->ready = true;
    runner_on_ready(r);
}

void leftovers_on_look(void *self, struct timer *timer)
{
    (void) timer;
    look(self);
}

void leftovers_find(struct runner *r)
{
    DIR *folder = opendir(r->records);
    r->former_tries = json_array();
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        size_t len = strlen(e->d_name);
        if (len <= 4 || strcmp(e->d_name + len - 4, ".try") != 0)
            continue;
        char *path = xasprintf("%s/%s", r->records, e->d_name);
        buf_add(&r->waiting, path, strlen(path) + 1);
        free(path);
    }
    if (folder)
        closedir(folder);
    look(r);
}
