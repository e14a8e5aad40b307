/* SPDX-License-Identifier: Apache-2.0 */
/* What a position has done ahead of its cursor, against a bitmap. An input is a msgpack list as in the `seqs` of an ACK, numbers and
 * [from, to] pairs: each is taken modulo the bitmap's size and added, once near 1 and once near the greatest number there is. */
#include <stdlib.h>
#include <string.h>

#include "broker/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NUMBERS 256
#define RANGES_MAX 200

static void check_against(const struct position *p, const bool *done, uint64_t base)
{
    for (uint64_t i = 0; i < NUMBERS; i++)
        if (position_is_done(p, base + i) != done[i])
            abort();
    if (position_is_done(p, base - 1))
        abort();
    const struct ranges *r = &p->done;
    for (size_t i = 0; i < r->count; i++) {
        if (r->items[i].from > r->items[i].to)
            abort(); /* a range of nothing */
        if (i && r->items[i - 1].to + 1 >= r->items[i].from)
            abort(); /* out of order, or not joined with its neighbour */
    }
}

static void add(struct position *p, bool *done, uint64_t base, uint64_t from, uint64_t to)
{
    position_done_ahead(p, base + from, base + to);
    for (uint64_t i = from; i <= to; i++)
        done[i] = true;
}

/* ranges_add keeps the order in which it was told; together they name the same numbers. */
static void check_told(const struct ranges *told, const bool *done)
{
    bool named[NUMBERS] = {false};
    for (size_t i = 0; i < told->count; i++)
        for (uint64_t seq = told->items[i].from; seq <= told->items[i].to; seq++)
            named[seq - 1] = true;
    if (memcmp(named, done, sizeof named) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mp list = mp_over(data, size);
    struct position low = {0}, high = {0};
    struct ranges told = {0};
    bool done[NUMBERS] = {false}, again[NUMBERS] = {false};
    const uint64_t top = UINT64_MAX - 1 - NUMBERS; /* the greatest number itself is never given out */
    uint32_t items, two;
    if (!mp_array(&list, &items))
        return 0;
    for (uint32_t i = 0; i < items && i < RANGES_MAX; i++) {
        uint64_t from, to;
        if (mp_uint(&list, &from))
            to = from;
        else if (!mp_array(&list, &two) || two != 2 || !mp_uint(&list, &from) || !mp_uint(&list, &to))
            break;
        from %= NUMBERS;
        to %= NUMBERS;
        if (from > to)
            continue;
        add(&low, done, 1, from, to);
        add(&high, again, top, from, to);
        ranges_add(&told, 1 + from, 1 + to);
        check_against(&low, done, 1);
    }
    check_against(&high, again, top);
    check_told(&told, done);
    free(low.done.items);
    free(high.done.items);
    free(told.items);
    return 0;
}
