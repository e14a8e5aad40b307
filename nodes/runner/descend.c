/* SPDX-License-Identifier: Apache-2.0 */
/* Finding processes in /proc: descendants by their parents, strays by their environment. */
#include "nodes/runner/descend.h"

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
#include "lib/xmem.h"

#define ENVIRON_BYTES_MAX ((size_t) 8 << 20)

struct process {
    pid_t pid, parent;
    bool dead, below; /* a zombie; a descendant of the root */
};

struct processes {
    struct process *items;
    size_t count, room;
};

/* Reads up to `most` bytes of a file in /proc/PID. */
static bool read_file(const char *pid, const char *name, struct buf *text, size_t most)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    buf_clear(text);
    while (got > 0 && text->len < most) {
        buf_reserve(text, 4096);
        got = read(fd, text->data + text->len, 4096);
        text->len += got > 0 ? (size_t) got : 0;
    }
    if (fd >= 0)
        close(fd);
    return got >= 0 && text->len > 0;
}

/* "PID (NAME) STATE PARENT ...", where NAME may hold anything. */
static bool read_process(const char *name, struct buf *text, struct process *process)
{
    if (!read_file(name, "stat", text, 4096))
        return false;
    const char *behind = strrchr(buf_text(text), ')');
    if (!behind || strlen(behind) < 5)
        return false;
    *process = (struct process){.pid = (pid_t) strtol(name, NULL, 10),
                                .parent = (pid_t) strtol(behind + 4, NULL, 10),
                                .dead = behind[2] == 'Z' || behind[2] == 'X'};
    return true;
}

static void read_all(struct processes *all)
{
    struct buf text = {0};
    struct process process;
    DIR *folder = opendir("/proc");
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        if (!isdigit((unsigned char) e->d_name[0]) || !read_process(e->d_name, &text, &process))
            continue;
        all->items = xgrow(all->items, &all->room, all->count + 1, sizeof *all->items);
        all->items[all->count++] = process;
    }
    if (folder)
        closedir(folder);
    buf_fini(&text);
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

static bool has_entry(const struct buf *environment, const char *entry)
{
    const char *at = (const char *) environment->data, *end = at + environment->len;
    size_t len = strlen(entry) + 1; /* its NUL too */
    while (at < end) {
        const char *next = memchr(at, '\0', (size_t) (end - at));
        next = next ? next + 1 : end;
        if ((size_t) (next - at) == len && memcmp(at, entry, len) == 0)
            return true;
        at = next;
    }
    return false;
}

size_t descend_marked(const char *entry, int signal)
{
    struct buf environment = {0};
    size_t count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        pid_t pid = isdigit((unsigned char) e->d_name[0]) ? (pid_t) strtol(e->d_name, NULL, 10) : 0;
        if (pid > 1 && pid != getpid() && read_file(e->d_name, "environ", &environment, ENVIRON_BYTES_MAX) &&
            has_entry(&environment, entry) && kill(pid, signal) == 0)
            count++;
    }
    if (folder)
        closedir(folder);
    buf_fini(&environment);
    return count;
}
