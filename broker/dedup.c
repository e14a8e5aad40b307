/* SPDX-License-Identifier: Apache-2.0 */
/* Deduplication: which (source, id) pairs a stream has seen within its window. A ring in order of arrival, which gives
 * expiry, and a hash table of places in the ring. Keys are 128-bit hashes with a random seed: two different pairs meet with
 * a probability below 1e-26 for a million of them. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define AHEAD 8
#define HUGE_PAGE ((uintptr_t) 2 << 20)

struct dedup_slot {
    uint64_t high, low, seq;
    int64_t at_us;
};

void dedup_init(struct dedup *d, uint64_t count_max, int64_t window_ms)
{
    *d = (struct dedup){.count_max = count_max, .window_us = window_ms * 1000};
    if (getrandom(&d->seed, sizeof d->seed, 0) != sizeof d->seed)
        d->seed = (uint64_t) clock_wall_us();
}

void dedup_fini(struct dedup *d)
{
    free(d->ring);
    free(d->table);
    d->ring = NULL;
    d->table = NULL;
}

static XXH128_hash_t hash_of(const struct dedup *d, struct mp_slice source, struct mp_slice id)
{
    char both[600]; /* both are at most 256 bytes (header.c) */
    size_t source_len = source.len < 256 ? source.len : 256, id_len = id.len < 256 ? id.len : 256;
    memcpy(both, source.data, source_len);
    both[source_len] = 0;
    memcpy(both + source_len + 1, id.data, id_len);
    return XXH3_128bits_withSeed(both, source_len + 1 + id_len, d->seed);
}

static struct dedup_slot *slot_at(const struct dedup *d, uint64_t position)
{
    return &d->ring[position & (d->room - 1)];
}

/* A table entry: 1 + ring place (0: empty) and 32 bits of the hash, which give its home and tell nearly all others from it
 * without a look at the ring: each look costs a cache miss. Probing is linear. */
struct dedup_entry {
    uint32_t place, tag;
};

static size_t table_find(const struct dedup *d, uint64_t high, uint64_t low)
{
    size_t mask = d->table_room - 1, at = (uint32_t) low & mask;
    for (; d->table[at].place; at = (at + 1) & mask) {
        if (d->table[at].tag != (uint32_t) low)
            continue;
        const struct dedup_slot *slot = &d->ring[d->table[at].place - 1];
        if (slot->high == high && slot->low == low)
            break;
    }
    return at;
}

static void table_remove(struct dedup *d, const struct dedup_slot *slot)
{
    size_t mask = d->table_room - 1, hole = table_find(d, slot->high, slot->low);
    if (!d->table[hole].place)
        return;
    for (size_t next = (hole + 1) & mask; d->table[next].place; next = (next + 1) & mask) {
        size_t wanted = d->table[next].tag & mask;
        if (((next - wanted) & mask) >= ((next - hole) & mask)) {
            d->table[hole] = d->table[next];
            hole = next;
        }
    }
    d->table[hole].place = 0;
}

static void table_put(struct dedup *d, size_t at, uint64_t position)
{
    uint64_t place = position & (d->room - 1);
    d->table[at] = (struct dedup_entry){(uint32_t) (1 + place), (uint32_t) d->ring[place].low};
}

/* The table is looked up at random: with small pages each look costs a TLB miss as well. */
static void want_huge_pages(void *data, size_t bytes)
{
    uintptr_t from = ((uintptr_t) data + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE,
              to = ((uintptr_t) data + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (to > from)
        madvise((void *) from, to - from, MADV_HUGEPAGE);
}

static void grow(struct dedup *d)
{
    size_t room = d->room ? d->room * 2 : 1024;
    struct dedup_slot *ring = xcalloc(room, sizeof *ring);
    for (uint64_t i = d->head; i < d->tail; i++)
        ring[i & (room - 1)] = *slot_at(d, i);
    free(d->ring);
    free(d->table);
    d->ring = ring;
    d->room = room;
    d->table_room = room * 2;
    d->table = xcalloc(d->table_room, sizeof *d->table);
    want_huge_pages(d->table, d->table_room * sizeof *d->table);
    for (uint64_t i = d->head; i < d->tail; i++) {
        const struct dedup_slot *slot = slot_at(d, i);
        table_put(d, table_find(d, slot->high, slot->low), i);
    }
}

static void drop_oldest(struct dedup *d)
{
    table_remove(d, slot_at(d, d->head));
    d->head++;
    if (d->tail - d->head > AHEAD) /* the next to go are known: fetch their places in time */
        __builtin_prefetch(&d->table[(uint32_t) slot_at(d, d->head + AHEAD)->low & (d->table_room - 1)]);
}

struct dedup_key dedup_prepare(const struct dedup *d, struct mp_slice source, struct mp_slice id)
{
    XXH128_hash_t hash = hash_of(d, source, id);
    if (d->table)
        __builtin_prefetch(&d->table[(uint32_t) hash.low64 & (d->table_room - 1)]);
    return (struct dedup_key){hash.high64, hash.low64};
}

uint64_t dedup_add_key(struct dedup *d, struct dedup_key key, uint64_t seq, int64_t now_us)
{
    if (!d->count_max || !d->window_us)
        return 0;
    while (d->head < d->tail && slot_at(d, d->head)->at_us <= now_us - d->window_us)
        drop_oldest(d);
    if (d->tail - d->head == d->room && d->room < d->count_max)
        grow(d);
    size_t at = table_find(d, key.high, key.low);
    if (d->table[at].place)
        return d->ring[d->table[at].place - 1].seq;
    if (d->tail - d->head == d->count_max) { /* a new one takes the oldest one's place, and the table may move */
        drop_oldest(d);
        at = table_find(d, key.high, key.low);
    }
    *slot_at(d, d->tail) = (struct dedup_slot){key.high, key.low, seq, now_us};
    table_put(d, at, d->tail);
    d->tail++;
    return 0;
}

uint64_t dedup_add(struct dedup *d, struct mp_slice source, struct mp_slice id, uint64_t seq, int64_t now_us)
{
    return dedup_add_key(d, dedup_prepare(d, source, id), seq, now_us);
}

void dedup_forget_from(struct dedup *d, uint64_t seq)
{
    while (d->tail > d->head && slot_at(d, d->tail - 1)->seq >= seq) {
        table_remove(d, slot_at(d, d->tail - 1));
        d->tail--;
    }
}
