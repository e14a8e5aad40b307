/* SPDX-License-Identifier: Apache-2.0 */
/* Hash map from 64-bit keys to pointers. */
#include "lib/map.h"

#include <stdlib.h>

#include "lib/xmem.h"

/* The finaliser of splitmix64 (S. Vigna): spreads sequence numbers and ids over all bits. */
static size_t home(const struct map *m, uint64_t key)
{
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9ull;
    key = (key ^ key >> 27) * 0x94d049bb133111ebull;
    return (size_t) (key ^ key >> 31) & (m->room - 1);
}

void map_fini(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

static size_t find(const struct map *m, uint64_t key)
{
    size_t at = home(m, key);
    while (m->slots[at].value && m->slots[at].key != key)
        at = (at + 1) & (m->room - 1);
    return at;
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->used ? m->slots[find(m, key)].value : NULL;
}

static void resize(struct map *m, size_t room)
{
    struct map old = *m;
    m->slots = xcalloc(room, sizeof *m->slots);
    m->room = room;
    for (size_t i = 0; i < old.room; i++)
        if (old.slots[i].value)
            m->slots[find(m, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void map_put(struct map *m, uint64_t key, void *value)
{
    if ((m->used + 1) * 4 > m->room * 3)
        resize(m, m->room ? m->room * 2 : 16);
    struct map_slot *slot = &m->slots[find(m, key)];
    if (!slot->value)
        m->used++;
    *slot = (struct map_slot){key, value};
}

void *map_remove(struct map *m, uint64_t key)
{
    if (!m->used)
        return NULL;
    size_t at = find(m, key);
    void *value = m->slots[at].value;
    if (!value)
        return NULL;
    m->used--;
    /* Close the hole: move back whatever could no longer be reached across it. */
    size_t hole = at;
    for (size_t next = (at + 1) & (m->room - 1); m->slots[next].value; next = (next + 1) & (m->room - 1)) {
        size_t wanted = home(m, m->slots[next].key);
        if (((next - wanted) & (m->room - 1)) >= ((next - hole) & (m->room - 1))) {
            m->slots[hole] = m->slots[next];
            hole = next;
        }
    }
    m->slots[hole].value = NULL;
    if (m->room > 1024 && m->used * 16 < m->room)
        resize(m, m->room / 4);
    return value;
}

void *map_walk(const struct map *m, size_t *at, uint64_t *key)
{
    for (; *at < m->room; (*at)++)
        if (m->slots[*at].value) {
            if (key)
                *key = m->slots[*at].key;
            return m->slots[(*at)++].value;
        }
    return NULL;
}
