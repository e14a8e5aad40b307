/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_PROC_H
#define LIB_PROC_H
#include <sys/types.h>

#include "lib/buf.h"

/* Processes by what /proc says of them (proc(5)). What has ended meanwhile, or is not for this user to see, is left out. */

/* proc_pids: all processes, ended by 0; the caller's to free. A few milliseconds. */
pid_t *proc_pids(void);

/* proc_read replaces `text` by at most `most` bytes of the file /proc/PID/NAME; false: there are none, with errno (ESRCH for an empty
 * file, as that of a process that has ended is). */
bool proc_read(pid_t pid, const char *name, size_t most, struct buf *text);

/* proc_stat reads /proc/PID/stat; false: there is no such process. */
struct proc_stat {
    char state; /* 'Z': it has ended, and its parent has not looked yet */
    pid_t parent, group;
    uint64_t cpu_ticks; /* of sysconf(_SC_CLK_TCK) a second; not of its children */
    long resident_pages;
};
bool proc_stat(pid_t pid, struct proc_stat *stat);

/* proc_entry: the entry of the environment that it was started with which begins with the `len` bytes at `entry`, in `text`; NULL: none. */
const char *proc_entry(pid_t pid, const char *entry, size_t len, struct buf *text);

/* proc_signal_marked sends `signal` (0: none) to every process but this one that was started with an environment entry that begins
 * with the `len` bytes at `entry` (its NUL is one of them where the whole entry is meant); returns how many there are. */
size_t proc_signal_marked(const char *entry, size_t len, int signal);

#endif
