/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_CHILD_H
#define CLI_UP_CHILD_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/up/output.h"

/* One process that `up` keeps alive, with its process group and its output. */

enum child_state {
    CHILD_IDLE,     /* to be started at start_ms */
    CHILD_RUNNING,
    CHILD_CLEARING, /* asked to end, or ended with others of its group left; SIGKILL at kill_ms */
    CHILD_DONE,     /* not started again */
};

struct child {
    struct speaker speaker; /* its name */
    const char *node, *kind; /* of the topology; node NULL: the broker */
    char **argv, **env;     /* NULL-terminated; owned */
    char *directory;        /* NULL: the working directory; owned */
    bool is_broker;
    bool connects;          /* says HELLO under its name: of a built-in kind */
    bool connected;         /* it had, when the broker was asked last */
    bool asks;              /* sends requests that other nodes answer: it is stopped before them */
    char *mark;             /* an entry of env that finds what left the group (stray.h); owned */
    int64_t delay_ms, delay_max_ms; /* before restarts: doubling from the one to the other */
    int64_t limit, within_ms;       /* so many ends within this time: crash loop */
    int64_t stop_timeout_ms;

    enum child_state state;
    int64_t since_us;       /* that it is in this state */
    uint64_t starts;
    pid_t pid;              /* of the process and its group; 0: none */
    bool leader_ended;      /* CHILD_CLEARING: only others of the group are left */
    bool has_ended;         /* ever */
    int status;             /* of the last end, as from waitpid */
    int64_t start_ms, kill_ms, started_ms, ended_ms, next_delay_ms;
    int64_t *ends;          /* ring of the last `limit` ends */
    uint64_t end_count;
    bool looping;           /* the crash loop was reported */
    struct source source[2];
};

/* child_init fills in what a new child needs beyond its settings; child_fini frees all of it. */
void child_init(struct child *child);
void child_fini(struct child *child);

/* child_start forks and executes; the new process has a group of its own, standard input from /dev/null, the signals' defaults, and
 * dies (SIGTERM) with this one. A command that cannot be executed says so on its standard error and exits with 127. False
 * if no process could be made. */
bool child_start(struct child *child, int64_t now_ms);

void child_set_state(struct child *child, enum child_state state);

/* child_signal signals the whole group. */
void child_signal(const struct child *child, int signal);
bool child_group_alive(const struct child *child);

/* child_ended records an end, and returns the delay before the next start in ms. A stable minute resets the back-off. */
int64_t child_ended(struct child *child, int64_t now_ms);
/* child_crash_span: ms within which the last `limit` ends happened, or -1 if they are no crash loop. */
int64_t child_crash_span(const struct child *child);

/* child_status_text: "exit 1", "killed by SIGSEGV". */
const char *child_status_text(int status, char text[64]);

#endif
