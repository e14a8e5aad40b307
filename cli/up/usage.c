/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of processes, added up: see usage.h. */
#include "cli/up/usage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/proc.h"

#define ROLLUP_BYTES_MAX 4096

static int64_t kib_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoll(at + strlen(key), NULL, 10) * 1024 : 0;
}

static void add_memory(struct usage *u, pid_t pid, const struct proc_stat *p, struct buf *text)
{
    if (proc_read(pid, "smaps_rollup", ROLLUP_BYTES_MAX, text)) {
        u->pss += u->pss < 0 ? 0 : kib_after(buf_text(text), "\nPss:");
        u->rss += kib_after(buf_text(text), "\nRss:");
        return;
    }
    bool ended = errno == ESRCH || (errno == ENOENT && kill(pid, 0) != 0);
    if (ended)
        return;
    u->pss = -1;
    u->rss += p->resident_pages * sysconf(_SC_PAGESIZE);
}

static void add_process(struct usage *u, pid_t pid, const struct proc_stat *p, struct buf *text)
{
    u->cpu_ms += (int64_t) p->cpu_ticks * 1000 / sysconf(_SC_CLK_TCK);
    if (p->state == 'Z') /* it has ended, and its parent has not looked yet */
        return;
    u->processes++;
    add_memory(u, pid, p, text);
}

void usage_measure(struct usage *groups, size_t count)
{
    struct proc_stat p;
    struct buf text = {0};
    for (size_t i = 0; i < count; i++)
        groups[i] = (struct usage){.group = groups[i].group, .also = groups[i].also};
    pid_t *pids = proc_pids();
    for (const pid_t *pid = pids; *pid; pid++) {
        if (!proc_stat(*pid, &p) || !p.group) /* 0: a thread of the kernel */
            continue;
        for (size_t i = 0; i < count; i++)
            if (groups[i].group == p.group || groups[i].also == *pid)
                add_process(&groups[i], *pid, &p, &text);
    }
    free(pids);
    buf_fini(&text);
}
