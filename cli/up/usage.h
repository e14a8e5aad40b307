/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_USAGE_H
#define CLI_UP_USAGE_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* CPU and memory of process groups, as the kernel tells them in /proc. */

struct usage {
    pid_t group;       /* whose processes are counted; 0: none */
    pid_t also;        /* a process of another group that is counted with them; 0: none */
    /* What usage_measure fills in: */
    int64_t cpu_ms;    /* of those that live, each since it began; not of their children that have ended */
    int64_t pss, rss;  /* bytes; pss -1: the kernel does not tell it of all */
    size_t processes;
};

/* usage_measure looks once at every process of the machine and fills in `count` groups. Blocks for some ms: the kernel walks the
 * page tables of those that are counted. What cannot be read counts as absent. */
void usage_measure(struct usage *groups, size_t count);

#endif
