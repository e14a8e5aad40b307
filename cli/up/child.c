/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, signalling and counting one child of `up`. */
#include "cli/up/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/xmem.h"

#define STABLE_MS 60000
#define EXIT_NOT_STARTED 127

void child_init(struct child *child)
{
    child->source[0] = (struct source){.fd = -1, .screen = 1};
    child->source[1] = (struct source){.fd = -1, .screen = 2};
    child->ends = xcalloc((size_t) child->limit + 1, sizeof *child->ends);
    child->next_delay_ms = child->delay_ms;
    child->since_us = clock_wall_us();
}

void child_set_state(struct child *child, enum child_state state)
{
    if (child->state != state)
        child->since_us = clock_wall_us();
    child->state = state;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

void child_fini(struct child *child)
{
    free_texts(child->argv);
    free_texts(child->env);
    free(child->directory);
    free(child->mark);
    free(child->ends);
    for (int i = 0; i < 2; i++) {
        buf_fini(&child->source[i].text);
        if (child->source[i].fd >= 0)
            close(child->source[i].fd);
    }
}

/* This and the next one run in the forked child. Another thread (libzmq's) may have held any lock when it was forked off, so they
 * call nothing that takes one: not snprintf, nor strerror, which looks for a translation. */
static _Noreturn void fail(const char *what, const char *name)
{
    const char *texts[] = {"cannot ", what, " ", name, ": ", strerrordesc_np(errno), "\n"};
    struct iovec parts[7];
    for (size_t i = 0; i < 7; i++)
        parts[i] = (struct iovec){(char *) (uintptr_t) texts[i], strlen(texts[i])};
    ssize_t written = writev(STDERR_FILENO, parts, 7);
    (void) written;
    _exit(EXIT_NOT_STARTED);
}

static _Noreturn void become(const struct child *child, const int *pipes, pid_t parent)
{
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(EXIT_NOT_STARTED);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(pipes[0], STDOUT_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close_range(3, ~0u, 0);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (child->directory && chdir(child->directory) != 0)
        fail("enter the directory", child->directory);
    environ = child->env;
    execvp(child->argv[0], child->argv);
    fail("execute", child->argv[0]);
}

bool child_start(struct child *child, int64_t now_ms)
{
    int out[2], err[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return false;
    if (pipe2(err, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return false;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(child, (int[]){out[1], err[1]}, parent);
    int saved = errno;
    close(out[1]);
    close(err[1]);
    if (pid < 0) {
        close(out[0]);
        close(err[0]);
        errno = saved;
        return false;
    }
    setpgid(pid, pid); /* here too: whoever comes first */
    int fds[2] = {out[0], err[0]};
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        child->source[i].fd = fds[i];
    }
    child->pid = pid;
    child_set_state(child, CHILD_RUNNING);
    child->starts++;
    child->leader_ended = false;
    child->started_ms = now_ms;
    return true;
}

void child_signal(const struct child *child, int signal)
{
    if (child->pid > 0)
        kill(-child->pid, signal);
}

bool child_group_alive(const struct child *child)
{
    return child->pid > 0 && kill(-child->pid, 0) == 0;
}

int64_t child_ended(struct child *child, int64_t now_ms)
{
    child->ended_ms = now_ms;
    if (now_ms - child->started_ms >= STABLE_MS) {
        child->next_delay_ms = child->delay_ms;
        child->looping = false;
        child->end_count = 0;
    }
    child->ends[child->end_count++ % (uint64_t) child->limit] = now_ms;
    int64_t delay = child->looping || child_crash_span(child) >= 0 ? child->delay_max_ms : child->next_delay_ms;
    child->next_delay_ms = delay * 2 < child->delay_max_ms ? delay * 2 : child->delay_max_ms;
    return delay;
}

int64_t child_crash_span(const struct child *child)
{
    uint64_t limit = (uint64_t) child->limit;
    if (child->end_count < limit)
        return -1;
    int64_t span = child->ended_ms - child->ends[child->end_count % limit];
    return span <= child->within_ms ? span : -1;
}

const char *child_status_text(int status, char text[64])
{
    if (WIFEXITED(status))
        snprintf(text, 64, "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, 64, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
    return text;
}
