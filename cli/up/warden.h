/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_WARDEN_H
#define CLI_UP_WARDEN_H
#include <stdbool.h>
#include <sys/types.h>

/* A small process beside `lineshaft up` that ends what is left when up itself is killed. It waits for the end of its pipe;
 * then every process with the nodes' mark in its environment (stray.h) gets SIGTERM, after a grace SIGKILL, and then the
 * broker's likewise. */
struct warden {
    pid_t pid;
    int pipe; /* close it, or die, and the warden does its work */
};

/* warden_start forks the warden; false, with errno, if that fails. The marks live as long as the process. */
bool warden_start(struct warden *warden, const char *nodes_mark, const char *broker_mark);
/* warden_lost: it was killed, and the caller has seen its end (waitpid). Another may be started. */
void warden_lost(struct warden *warden);
/* warden_stop lets it finish, and waits; there is nothing for it to do when all children have ended. */
void warden_stop(struct warden *warden);

#endif
