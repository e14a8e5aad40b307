/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_MAP_H
#define LIB_MAP_H
#include <stddef.h>
#include <stdint.h>

/* A hash map from 64-bit keys to pointers (open addressing, linear probing). Zero-initialise to start. A NULL value means
 * absent. Adding or removing during a walk is not allowed. */
struct map {
    struct map_slot {
        uint64_t key;
        void *value;
    } *slots;
    size_t room, used;
};

void map_fini(struct map *m);
void *map_get(const struct map *m, uint64_t key);
void map_put(struct map *m, uint64_t key, void *value);   /* value must not be NULL; replaces */
void *map_remove(struct map *m, uint64_t key);            /* returns what was there */
/* map_walk: `size_t at = 0; while ((value = map_walk(m, &at, &key)))`; key may be NULL. */
void *map_walk(const struct map *m, size_t *at, uint64_t *key);

#endif
