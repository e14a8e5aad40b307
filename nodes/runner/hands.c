/* SPDX-License-Identifier: Apache-2.0 */
/* The keepers from the runner's side: one for each slot, forked when the node opens and used again and again. When one is
 * killed, the runner, a subreaper too, adopts what it had, ends that and forks another. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/descend.h"
#include "nodes/runner/runner.h"

#define SWEEP_EVERY_MS 10

static void on_word(void *arg, int fd, uint32_t events);

static int hand_fork(struct hand *hand, struct ls_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_set(err, "SYSTEM", "cannot make a keeper: %s", strerror(errno));
    hand->pid = fork();
    if (hand->pid == 0)
        keeper_main(ends[1]);
    int error = errno;
    close(ends[1]);
    if (hand->pid < 0) {
        close(ends[0]);
        return error_set(err, "SYSTEM", "cannot fork a keeper: %s", strerror(error));
    }
    hand->fd = ends[0];
    node_watch(hand->runner->node, hand->fd, EPOLLIN, on_word, hand);
    return 0;
}

/* ---- what a killed keeper leaves ---- */

static void reap(struct runner *r)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG))
        for (int64_t i = 0; i < r->options->slots; i++)
            if (r->hands[i].pid == pid)
                r->hands[i].pid = 0;
}

static size_t kill_orphans(struct runner *r)
{
    size_t count = 0;
    pid_t *keepers = xcalloc((size_t) r->options->slots, sizeof *keepers);
    for (int64_t i = 0; i < r->options->slots; i++)
        if (r->hands[i].fd >= 0)
            keepers[count++] = r->hands[i].pid;
    size_t left = descend_signal(getpid(), SIGKILL, keepers, count);
    free(keepers);
    return left;
}

static void replace(struct hand *hand)
{
    struct ls_error err;
    struct try *try = hand->try;
    hand->try = NULL;
    if (hand_fork(hand, &err))
        node_fail(hand->runner->node, &err);
    if (try) {
        try->hand = NULL;
        try_fail(try, "lost", "the keeper of the command was killed; what the command had left was ended");
    }
}

static void on_sweep(void *self, struct timer *timer)
{
    struct runner *r = self;
    size_t left = kill_orphans(r);
    reap(r);
    if (left) {
        node_timer_set(r->node, timer, SWEEP_EVERY_MS);
        return;
    }
    for (int64_t i = 0; i < r->options->slots; i++)
        if (r->hands[i].fd < 0)
            replace(&r->hands[i]);
    runner_window(r);
}

static void on_lost(struct hand *hand)
{
    struct runner *r = hand->runner;
    node_unwatch(r->node, hand->fd);
    close(hand->fd);
    hand->fd = -1;
    kill(hand->pid, SIGKILL); /* it may have left by itself; its orphans are ours once it is waited for */
    waitpid(hand->pid, NULL, 0);
    hand->pid = 0;
    runner_count(r, METRIC_KEEPERS_LOST, 1);
    logger_put(LEVEL_WARN, "keeper-lost", "a keeper was killed; ending what it had", "try=%s",
               hand->try ? hand->try->id : "none");
    runner_window(r);
    on_sweep(r, &r->sweep);
}

/* ---- talking ---- */

static void on_word(void *arg, int fd, uint32_t events)
{
    struct hand *hand = arg;
    struct word word;
    (void) events;
    ssize_t got = recv(fd, &word, sizeof word, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct try *try = hand->try;
    if (got != sizeof word) {
        on_lost(hand);
    } else if (try && word.kind == WORD_STARTED) {
        try_on_started(try, &word);
    } else if (try) {
        hand->try = NULL;
        try->hand = NULL;
        try_on_ended(try, &word);
    }
}

int hand_order(struct hand *hand, const struct order *order, const int *fds)
{
    union {
        char bytes[CMSG_SPACE(ORDER_FDS * sizeof *fds)];
        struct cmsghdr align;
    } room = {0};
    struct order copy = *order;
    struct iovec place = {&copy, sizeof copy};
    struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1};
    if (hand->fd < 0)
        return errno = ESRCH, -1;
    if (fds) {
        message.msg_control = room.bytes;
        message.msg_controllen = sizeof room.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        *head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(ORDER_FDS * sizeof *fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), fds, ORDER_FDS * sizeof *fds);
    }
    return sendmsg(hand->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

void hand_kill(struct hand *hand)
{
    if (hand->fd >= 0)
        kill(hand->pid, SIGKILL); /* on_word sees its end */
}

struct hand *hands_find_free(struct runner *r)
{
    for (int64_t i = 0; i < r->options->slots; i++)
        if (!r->hands[i].try && r->hands[i].fd >= 0)
            return &r->hands[i];
    return NULL;
}

int hands_open(struct runner *r, struct ls_error *err)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    r->sweep.fire = on_sweep;
    r->hands = xcalloc((size_t) r->options->slots, sizeof *r->hands);
    for (int64_t i = 0; i < r->options->slots; i++)
        r->hands[i] = (struct hand){.runner = r, .fd = -1};
    for (int64_t i = 0; i < r->options->slots; i++)
        if (hand_fork(&r->hands[i], err))
            return -1;
    return 0;
}

void hands_close(struct runner *r)
{
    for (int64_t i = 0; r->hands && i < r->options->slots; i++) {
        struct hand *hand = &r->hands[i];
        if (hand->fd < 0)
            continue;
        node_unwatch(r->node, hand->fd);
        close(hand->fd);
        if (!hand->try)
            waitpid(hand->pid, NULL, 0); /* it goes at once */
    }
    node_timer_unset(r->node, &r->sweep);
    free(r->hands);
    r->hands = NULL;
}
