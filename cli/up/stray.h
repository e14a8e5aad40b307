/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_UP_STRAY_H
#define CLI_UP_STRAY_H
#include <stddef.h>

/* Processes that left their group (setsid) still carry the environment they were started with. `up` gives each child
 * LINESHAFT_UP=TOKEN.NUMBER and so finds what the child left behind. */
#define STRAY_VARIABLE "LINESHAFT_UP"

/* stray_signal sends `signal` (0: none) to every process, but this one, with an environment entry that begins with `entry`
 * ("LINESHAFT_UP=TOKEN" for all of an `up`); returns how many there are. Reads /proc: a few milliseconds. */
size_t stray_signal(const char *entry, int signal);

#endif
