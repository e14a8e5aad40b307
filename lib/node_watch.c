/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of a node's loop. One call of epoll_wait may report several; a function called for the first may unwatch,
 * close and open others, so each report names the generation of the watch that it is for, and stale ones are dropped: what
 * is still ready is reported again. */
#include <errno.h>
#include <string.h>

#include "lib/logger.h"
#include "lib/node_inside.h"
#include "lib/xmem.h"

#define REPORTS_MAX 64

static int control(const struct node *node, int op, int fd, uint32_t events, uint32_t generation)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t) generation << 32 | (uint32_t) fd};
    return epoll_ctl(node->epoll_fd, op, fd, &event);
}

void node_watch(struct node *node, int fd, uint32_t events, node_fd_fn *fn, void *arg)
{
    size_t had = node->watch_room, at = (size_t) fd;
    node->watches = xgrow(node->watches, &node->watch_room, at + 1, sizeof *node->watches);
    if (node->watch_room > had)
        memset(node->watches + had, 0, (node->watch_room - had) * sizeof *node->watches);
    struct watch *watch = &node->watches[at];
    uint32_t generation = ++node->generation;
    int rc = control(node, watch->fn ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events, generation);
    if (rc && (errno == ENOENT || errno == EEXIST)) /* closed without unwatch, and perhaps opened anew */
        rc = control(node, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events, generation);
    if (rc) {
        logger_put(LEVEL_ERROR, "watch", strerror(errno), "fd=%d", fd);
        return;
    }
    *watch = (struct watch){fn, arg, generation};
}

void node_unwatch(struct node *node, int fd)
{
    if (fd < 0 || (size_t) fd >= node->watch_room || !node->watches[fd].fn)
        return;
    node->watches[fd] = (struct watch){0};
    control(node, EPOLL_CTL_DEL, fd, 0, 0);
}

void node_watch_wait(struct node *node, int timeout_ms)
{
    struct epoll_event reports[REPORTS_MAX];
    int count = epoll_wait(node->epoll_fd, reports, REPORTS_MAX, timeout_ms); /* an interrupted wait is a short one */
    for (int i = 0; i < count && !node->over; i++) {
        int fd = (int) (uint32_t) reports[i].data.u64;
        const struct watch watch = node->watches[fd]; /* the table may move in the call */
        if (watch.fn && watch.generation == reports[i].data.u64 >> 32)
            watch.fn(watch.arg, fd, reports[i].events);
    }
}
