/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper process: see keeper.h. One loop over three descriptors: orders, SIGCHLD, one timer. It is forked from the runner
 * before that has much memory, and never runs another program itself. */
#include "nodes/runner/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "nodes/runner/descend.h"
#include "nodes/runner/plan.h"

#define SWEEP_EVERY_MS 20 /* between looks for what is still there after SIGKILL; doubles up to a second */
#define SWEEP_EVERY_MAX_MS 1000
#define NEVER INT64_MAX

struct keeper {
    int runner_fd, signal_fd, timer_fd;
    bool runner_gone;

    /* The try, if `runs`. */
    bool runs, ending, main_ended;
    pid_t main;
    int record_fd, output_fd; /* output_fd: the reading end, held only */
    int64_t kill_after, end_at, lease_kill_at;
    int64_t wished_kill_at; /* of what is to end, if the lease allows it */
    int64_t kill_at, sweep_ms;
    struct word ended;
};

int64_t boot_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int keeper_line_format(const struct word *ended, char line[KEEPER_LINE_SIZE])
{
    return snprintf(line, KEEPER_LINE_SIZE, "ended %d %d %d %lld %lld %lld %lld\n", ended->pid, ended->status,
                    ended->why, (long long) ended->start_ms, (long long) ended->end_ms, (long long) ended->cpu_us,
                    (long long) ended->memory_bytes);
}

bool keeper_line_parse(const char *line, struct word *ended)
{
    long long start_ms, end_ms, cpu_us, memory;
    int length = 0;
    *ended = (struct word){.kind = WORD_ENDED};
    if (sscanf(line, "ended %d %d %d %lld %lld %lld %lld%n", &ended->pid, &ended->status, &ended->why, &start_ms,
               &end_ms, &cpu_us, &memory, &length) != 7 ||
        line[length] != '\n')
        return false;
    ended->start_ms = start_ms;
    ended->end_ms = end_ms;
    ended->cpu_us = cpu_us;
    ended->memory_bytes = memory;
    return true;
}

/* ---- ending ---- */

static void say(struct keeper *k, const struct word *word)
{
    if (send(k->runner_fd, word, sizeof *word, MSG_NOSIGNAL) < 0)
        k->runner_gone = true;
}

static void set_timer(struct keeper *k)
{
    int64_t at = !k->runs ? NEVER : k->ending ? k->kill_at : k->end_at;
    struct itimerspec when = {.it_value = {at / 1000, at % 1000 * 1000000}};
    if (at == NEVER)
        when.it_value = (struct timespec){0};
    else if (at <= 0)
        when.it_value = (struct timespec){0, 1};
    timerfd_settime(k->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static bool is_killing(const struct keeper *k)
{
    return k->sweep_ms > SWEEP_EVERY_MS;
}

static void set_kill(struct keeper *k)
{
    if (!is_killing(k))
        k->kill_at = k->wished_kill_at < k->lease_kill_at ? k->wished_kill_at : k->lease_kill_at;
}

static void begin_end(struct keeper *k, enum keeper_why why, int64_t kill_at)
{
    if (!k->main_ended)
        k->ended.why = why;
    if (!k->ending || kill_at < k->wished_kill_at)
        k->wished_kill_at = kill_at;
    set_kill(k);
    if (!k->ending || why == WHY_LEASE || why == WHY_RUNNER) {
        if (k->main_ended)
            descend_signal(getpid(), SIGTERM, NULL, 0);
        else
            kill(-k->main, SIGTERM);
        if (!k->main_ended)
            kill(-k->main, SIGCONT);
    }
    k->ending = true;
}

static void kill_all(struct keeper *k)
{
    if (!k->main_ended)
        kill(-k->main, SIGKILL); /* the whole group in one instant: none of it forks away */
    descend_signal(getpid(), SIGKILL, NULL, 0);
    k->kill_at = boot_ms() + k->sweep_ms;
    k->sweep_ms = k->sweep_ms * 2 < SWEEP_EVERY_MAX_MS ? k->sweep_ms * 2 : SWEEP_EVERY_MAX_MS;
}

static void close_try(struct keeper *k)
{
    k->runs = false;
    close(k->record_fd); /* and with it goes the lock */
    close(k->output_fd);
}

static void finish(struct keeper *k)
{
    char line[KEEPER_LINE_SIZE];
    int len = keeper_line_format(&k->ended, line);
    ssize_t wrote = write(k->record_fd, line, (size_t) len);
    (void) wrote; /* a full disk: the runner hears it all the same; if that goes too, the try counts as lost */
    say(k, &k->ended);
    close_try(k);
}

/* ---- what the kernel says ---- */

static void add_usage(struct word *ended, const struct rusage *used)
{
    ended->cpu_us += (int64_t) (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000 + used->ru_utime.tv_usec +
                     used->ru_stime.tv_usec;
    int64_t bytes = (int64_t) used->ru_maxrss * 1024;
    ended->memory_bytes = bytes > ended->memory_bytes ? bytes : ended->memory_bytes;
}

static void on_main_end(struct keeper *k, int status)
{
    k->main_ended = true;
    k->ended.status = status;
    k->ended.end_ms = clock_wall_us() / 1000;
}

/* A child is gone: the command, or one that was adopted. What it used, its own waited-for children included, is told here
 * once, for each is waited for by one parent. */
static void reap(struct keeper *k)
{
    struct rusage used;
    int status;
    pid_t pid;
    bool main_before = k->main_ended;
    while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
        add_usage(&k->ended, &used);
        if (pid == k->main && !k->main_ended)
            on_main_end(k, status);
    }
    if (pid < 0 && errno == ECHILD && k->runs) {
        finish(k);
        return;
    }
    if (k->main_ended && !main_before && k->runs && !is_killing(k)) { /* what it left in the background */
        int64_t at = boot_ms() + k->kill_after;
        at = at < k->wished_kill_at ? at : k->wished_kill_at; /* it may have been told to stop before */
        k->ending = false;
        begin_end(k, WHY_ITSELF, at);
    } else if (is_killing(k)) {
        k->kill_at = 0; /* it may have left children of its own: look again at once */
    }
}

static void on_signal(struct keeper *k)
{
    struct signalfd_siginfo info[8];
    if (read(k->signal_fd, info, sizeof info) > 0 && k->runs)
        reap(k);
}

static void on_timer(struct keeper *k)
{
    uint64_t count;
    if (read(k->timer_fd, &count, sizeof count) < 0 || !k->runs)
        return;
    int64_t now = boot_ms();
    if (k->ending && now >= k->kill_at)
        kill_all(k);
    else if (!k->ending && now >= k->end_at)
        begin_end(k, WHY_LEASE, now + k->kill_after);
}

/* ---- orders ---- */

/* 0, or an errno. */
static int spawn(struct keeper *k, const struct plan *plan, int output)
{
    sigset_t none, all;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions); /* standard input is ours: /dev/null */
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    if (*plan->directory)
        posix_spawn_file_actions_addchdir_np(&actions, plan->directory);
    int error = posix_spawn(&k->main, plan->program, &actions, &attributes, plan->arguments, plan->environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static bool is_folder(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool is = fd >= 0 && faccessat(fd, ".", X_OK, 0) == 0;
    if (fd >= 0)
        close(fd);
    return is;
}

static void on_start(struct keeper *k, const struct order *order, const int fds[ORDER_FDS])
{
    struct plan plan;
    struct word started = {.kind = WORD_STARTED, .start_ms = clock_wall_us() / 1000};
    k->runs = true;
    k->ending = k->main_ended = false;
    k->kill_after = order->kill_after;
    k->end_at = order->end_at;
    k->lease_kill_at = order->kill_at;
    k->kill_at = k->wished_kill_at = NEVER;
    k->sweep_ms = SWEEP_EVERY_MS;
    k->output_fd = fds[1];
    k->record_fd = fds[3];
    started.error = plan_load(&plan, fds[0]) ? errno : spawn(k, &plan, fds[2]);
    started.pid = started.error ? 0 : k->main;
    started.in_directory = started.error && plan.memory && *plan.directory && !is_folder(plan.directory);
    plan_unload(&plan);
    close(fds[0]);
    close(fds[2]);
    k->ended = started;
    k->ended.kind = WORD_ENDED;
    say(k, &started);
    if (started.error)
        close_try(k);
}

static void on_order(struct keeper *k, const struct order *order)
{
    if (!k->runs)
        return;
    if (order->kind == ORDER_LEASE) {
        k->end_at = order->end_at;
        k->lease_kill_at = order->kill_at;
        if (k->ending)
            set_kill(k);
    } else if (order->kind == ORDER_STOP) {
        begin_end(k, WHY_STOPPED, boot_ms() + order->kill_after);
    }
}

static void on_runner_gone(struct keeper *k)
{
    k->runner_gone = true;
    if (!k->runs)
        return;
    begin_end(k, WHY_RUNNER, boot_ms() + k->kill_after);
}

/* One message. */
static void on_runner(struct keeper *k)
{
    struct order order;
    int fds[ORDER_FDS] = {-1, -1, -1, -1};
    union {
        char bytes[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } room;
    struct iovec place = {&order, sizeof order};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = room.bytes, .msg_controllen = sizeof room.bytes};
    ssize_t got = recvmsg(k->runner_fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got != sizeof order) {
        on_runner_gone(k);
        return;
    }
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    bool with_fds = head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof fds);
    if (with_fds)
        memcpy(fds, CMSG_DATA(head), sizeof fds);
    if (order.kind != ORDER_START) {
        on_order(k, &order);
    } else if (with_fds && !k->runs) {
        on_start(k, &order, fds);
    } else { /* out of descriptors: the kernel gave none or not all; the runner sees us go and reports it */
        _exit(EXIT_FAILURE);
    }
}

/* ---- life ---- */

/* What `up` looks for in the environments of processes is not to be found in ours: nobody but the runner's end, or the lease,
 * shall end the one who cleans up. */
static void hide(void)
{
    for (char **entry = environ; *entry; entry++)
        if (strncmp(*entry, "LINESHAFT_", 10) == 0)
            memset(*entry, 0, strlen(*entry));
}

static int detach(int fd)
{
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ, SIGTSTP};
    sigset_t none;
    setsid();
    prctl(PR_SET_NAME, "keeper");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        signal(IGNORED[i], SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 4), null = open("/dev/null", O_RDWR); /* out of the way of 0 to 3 */
    for (int i = 0; i <= 2 && null >= 0; i++)
        dup2(null, i);
    if (own < 0 || dup3(own, 3, O_CLOEXEC) < 0)
        _exit(EXIT_FAILURE);
    close_range(4, ~0u, 0);
    hide();
    return 3;
}

static void turn(struct keeper *k)
{
    struct pollfd fds[] = {
        {k->runner_gone ? -1 : k->runner_fd, POLLIN, 0}, {k->signal_fd, POLLIN, 0}, {k->timer_fd, POLLIN, 0}};
    set_timer(k);
    if (poll(fds, 3, -1) < 0)
        return;
    if (fds[0].revents)
        on_runner(k);
    if (fds[1].revents)
        on_signal(k);
    if (fds[2].revents)
        on_timer(k);
}

void keeper_main(int fd)
{
    struct keeper k = {0};
    sigset_t children;
    k.runner_fd = detach(fd);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    k.signal_fd = signalfd(-1, &children, SFD_CLOEXEC);
    k.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (k.signal_fd < 0 || k.timer_fd < 0)
        _exit(EXIT_FAILURE);
    while (!k.runner_gone || k.runs)
        turn(&k);
    _exit(EXIT_SUCCESS);
}
