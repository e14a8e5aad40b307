/* SPDX-License-Identifier: Apache-2.0 */
/* Descendants of a process, by the parents that /proc names. */
#include "nodes/runner/descend.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/proc.h"
#include "lib/xmem.h"

struct process {
    pid_t pid, parent;
    bool dead, below; /* a zombie; a descendant of the root */
};

struct processes {
    struct process *items;
    size_t count, room;
};

static void read_all(struct processes *all)
{
    struct proc_stat stat;
    pid_t *pids = proc_pids();
    for (const pid_t *pid = pids; *pid; pid++) {
        if (!proc_stat(*pid, &stat))
            continue;
        all->items = xgrow(all->items, &all->room, all->count + 1, sizeof *all->items);
        all->items[all->count++] = (struct process){
            .pid = *pid, .parent = stat.parent, .dead = stat.state == 'Z' || stat.state == 'X'};
    }
    free(pids);
}

static bool is_among(pid_t pid, const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

static bool is_below(const struct processes *all, pid_t pid)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].pid == pid)
            return all->items[i].below;
    return false;
}

static void mark_descendants(struct processes *all, pid_t root, const pid_t *spare, size_t spare_count)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < all->count; i++) {
            struct process *p = &all->items[i];
            if (p->below || is_among(p->pid, spare, spare_count) || !(p->parent == root || is_below(all, p->parent)))
                continue;
            p->below = changed = true;
        }
    }
}

size_t descend_signal(pid_t root, int signal, const pid_t *spare, size_t spare_count)
{
    struct processes all = {0};
    size_t count = 0;
    read_all(&all);
    mark_descendants(&all, root, spare, spare_count);
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].below && !all.items[i].dead && kill(all.items[i].pid, signal) == 0)
            count++;
    free(all.items);
    return count;
}
