/* SPDX-License-Identifier: Apache-2.0 */
/* The warden of `lineshaft up`: see warden.h. It runs in the forked child, without exec, and touches only its own memory. One that replaces
 * another is forked while libzmq's threads run: it may use malloc, which glibc keeps usable then, and nothing else that takes a lock. */
#include "cli/up/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/up/stray.h"
#include "lib/clock.h"

#define GRACE_MS 5000         /* between SIGTERM and SIGKILL */
#define GRACE_BROKER_MS 15000 /* the broker has a disk to wait for */
#define LOOK_EVERY_NS 50000000
#define SWEEPS_MAX 100

static void end_marked(const char *mark, int64_t grace_ms)
{
    int64_t until = clock_mono_ms() + grace_ms;
    stray_signal(mark, SIGTERM);
    while (stray_signal(mark, 0) > 0 && clock_mono_ms() < until)
        nanosleep(&(struct timespec){0, LOOK_EVERY_NS}, NULL);
    for (int sweep = 0; sweep < SWEEPS_MAX && stray_signal(mark, SIGKILL) > 0; sweep++) /* and what forks meanwhile */
        nanosleep(&(struct timespec){0, LOOK_EVERY_NS}, NULL);
}

static void detach(int keep)
{
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    setsid();
    for (size_t i = 0; i < sizeof IGNORED / sizeof IGNORED[0]; i++)
        signal(IGNORED[i], SIG_IGN);
    prctl(PR_SET_NAME, "lineshaft-warden");
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
    dup2(keep, 3);
    close_range(4, ~0u, 0);
}

bool warden_start(struct warden *warden, const char *nodes_mark, const char *broker_mark)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    warden->pid = fork();
    if (warden->pid == 0) {
        close(ends[1]);
        detach(ends[0]);
        while (read(3, &byte, 1) < 0 && errno == EINTR) /* nobody writes: it returns when up is gone */
            continue;
        end_marked(nodes_mark, GRACE_MS);
        end_marked(broker_mark, GRACE_BROKER_MS);
        _exit(0);
    }
    close(ends[0]);
    warden->pipe = ends[1];
    return warden->pid > 0;
}

void warden_lost(struct warden *warden)
{
    close(warden->pipe);
    *warden = (struct warden){.pipe = -1};
}

void warden_stop(struct warden *warden)
{
    if (warden->pipe >= 0)
        close(warden->pipe);
    if (warden->pid > 0)
        waitpid(warden->pid, NULL, 0);
    warden->pid = 0;
}
