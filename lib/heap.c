/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap of timers (the shape is beanstalkd's: deadlines in a heap, no timer threads). */
#include "lib/heap.h"

#include <stdlib.h>

#include "lib/xmem.h"

void heap_fini(struct heap *h)
{
    free(h->timers);
    *h = (struct heap){0};
}

static void put(struct heap *h, size_t at, struct timer *t)
{
    h->timers[at] = t;
    t->place = at + 1;
}

static void settle(struct heap *h, size_t at)
{
    struct timer *t = h->timers[at];
    while (at && h->timers[(at - 1) / 2]->due_ms > t->due_ms) {
        put(h, at, h->timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->timers[child + 1]->due_ms < h->timers[child]->due_ms)
            child++;
        if (h->timers[child]->due_ms >= t->due_ms)
            break;
        put(h, at, h->timers[child]);
        at = child;
    }
    put(h, at, t);
}

void heap_set(struct heap *h, struct timer *t, int64_t due_ms)
{
    t->due_ms = due_ms;
    if (!t->place) {
        h->timers = xgrow(h->timers, &h->room, h->count + 1, sizeof *h->timers);
        put(h, h->count++, t);
    }
    settle(h, t->place - 1);
}

void heap_unset(struct heap *h, struct timer *t)
{
    if (!t->place)
        return;
    size_t at = t->place - 1;
    t->place = 0;
    struct timer *last = h->timers[--h->count];
    if (last != t) {
        put(h, at, last);
        settle(h, at);
    }
}

int64_t heap_next(const struct heap *h)
{
    return h->count ? h->timers[0]->due_ms : INT64_MAX;
}

void heap_fire(struct heap *h, int64_t now_ms, void *arg)
{
    while (h->count && h->timers[0]->due_ms <= now_ms) {
        struct timer *t = h->timers[0];
        heap_unset(h, t);
        t->fire(arg, t);
    }
}
