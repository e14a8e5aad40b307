/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_RUNNER_KEEPER_H
#define NODES_RUNNER_KEEPER_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A keeper is a process that runs one command at a time for the runner and answers for all that the command starts. It adopts
 * every descendant (PR_SET_CHILD_SUBREAPER), so none gets away by a session of its own or by forking twice; it reports the end
 * only when nothing is left; and it ends everything by itself when the runner is gone or the lease has run out. Runner and
 * keeper talk over a SEQPACKET socket pair, a struct each message; its end is the end of the runner. Times are
 * CLOCK_BOOTTIME in ms, which goes on while a machine sleeps: so does the scheduler's clock. */

enum order_kind { ORDER_START, ORDER_LEASE, ORDER_STOP };

/* To the keeper. ORDER_START comes with ORDER_FDS descriptors: the plan (plan.h), both ends of the pipe for the command's
 * output, and the record of the try, locked. The keeper holds the reading end so that no command dies of SIGPIPE
 * because the runner did. */
#define ORDER_FDS 4
struct order {
    int32_t kind;
    int32_t spare;
    int64_t end_at;  /* START, LEASE: when the lease ends: SIGTERM ... */
    int64_t kill_at; /* ... and then SIGKILL */
    int64_t
        kill_after; /* START: between SIGTERM and SIGKILL when what ends is not the lease; STOP: the same for this one */
};

enum word_kind { WORD_STARTED, WORD_ENDED };
enum keeper_why { WHY_ITSELF, WHY_STOPPED, WHY_LEASE, WHY_RUNNER }; /* what ended the command */

/* To the runner. WORD_STARTED with `error` (an errno) says that there is no command and that nothing follows. WORD_ENDED: the
 * command and all its descendants are gone; the same stands in the record then. */
struct word {
    int32_t kind, pid;
    int32_t error, in_directory; /* the error is about the working directory */
    int32_t status, why;         /* as waitpid gives it; enum keeper_why */
    int64_t start_ms, end_ms;    /* since 1970, of the command itself */
    int64_t cpu_us, memory_bytes;
};

/* keeper_main is the life of a keeper, from the fork on; it does not return. `fd` is its end of the socket pair; every other
 * descriptor is closed. */
void keeper_main(int fd) __attribute__((noreturn));

/* The line about the end in a record: written by the keeper, read by a runner that comes back. */
#define KEEPER_LINE_SIZE 160
int keeper_line_format(const struct word *ended, char line[KEEPER_LINE_SIZE]);
bool keeper_line_parse(const char *line, struct word *ended);

int64_t boot_ms(void); /* CLOCK_BOOTTIME */

#endif
