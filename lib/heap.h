/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_HEAP_H
#define LIB_HEAP_H
#include <stddef.h>
#include <stdint.h>

/* Timers in a binary heap: the next one due is at the front. A timer is a member of the thing that waits; it knows its
 * place in the heap, so it can be moved and removed. Zero-initialise both. */
struct timer {
    int64_t due_ms;                        /* CLOCK_MONOTONIC */
    size_t place;                          /* 1 + index in the heap; 0: not set */
    void (*fire)(void *arg, struct timer *timer); /* called with the timer removed; may set it again */
};

struct heap {
    struct timer **timers;
    size_t count, room;
};

void heap_fini(struct heap *h);
void heap_set(struct heap *h, struct timer *t, int64_t due_ms); /* adds or moves */
void heap_unset(struct heap *h, struct timer *t);               /* removes if set */
int64_t heap_next(const struct heap *h);                        /* when the first is due; INT64_MAX if none */
void heap_fire(struct heap *h, int64_t now_ms, void *arg);      /* fires all that are due; a timer that sets
 * itself again sets a later time than now_ms */

#endif
