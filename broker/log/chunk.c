/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of memory chunks of a log: its pending entries, and behind them the committed ones that readers at the tail
 * still want. Chunks go back to a pool of the device. */
#include <stdlib.h>
#include <string.h>

#include "broker/log/internal.h"
#include "lib/xmem.h"

static struct chunk *chunk_new(struct log_device *dev, size_t need)
{
    if (need <= CHUNK_BYTES && dev->pool) {
        struct chunk *chunk = dev->pool;
        dev->pool = chunk->next;
        dev->pool_bytes -= chunk->room;
        chunk->used = 0;
        chunk->first_seq = 0;
        return chunk;
    }
    size_t room = need <= CHUNK_BYTES ? CHUNK_BYTES : (need + 4095) & ~(size_t) 4095;
    struct chunk *chunk = xrealloc(NULL, sizeof *chunk + room); /* not zeroed: records fill it from the start */
    *chunk = (struct chunk){.room = room};
    return chunk;
}

static void chunk_give_back(struct log_device *dev, struct chunk *chunk)
{
    if (chunk->room != CHUNK_BYTES || dev->pool_bytes >= POOL_BYTES_MAX) {
        free(chunk);
        return;
    }
    chunk->next = dev->pool;
    dev->pool = chunk;
    dev->pool_bytes += chunk->room;
}

void pool_trim(struct log_device *dev, uint64_t keep)
{
    while (dev->pool && dev->pool_bytes > keep) {
        struct chunk *chunk = dev->pool;
        dev->pool = chunk->next;
        dev->pool_bytes -= chunk->room;
        free(chunk);
    }
}

struct chunk *chunk_get(const struct log *log, uint64_t number)
{
    if (number < log->chunk_base || number >= log->chunk_base + log->chunk_count)
        return NULL;
    return log->chunks[log->chunk_first + (size_t) (number - log->chunk_base)];
}

uint8_t *chunk_room(struct log *log, size_t need, struct place *place)
{
    struct chunk *last = log->chunk_count ? log->chunks[log->chunk_first + log->chunk_count - 1] : NULL;
    if (!last || last->room - last->used < need) {
        last = chunk_new(log->dev, need);
        log->hot_bytes += last->room;
        if (log->chunk_first + log->chunk_count == log->chunk_room && log->chunk_first) {
            memmove(log->chunks, log->chunks + log->chunk_first, log->chunk_count * sizeof(struct chunk *));
            log->chunk_first = 0;
        }
        log->chunks = xgrow(log->chunks, &log->chunk_room, log->chunk_first + log->chunk_count + 1, sizeof(struct chunk *));
        log->chunks[log->chunk_first + log->chunk_count++] = last;
    }
    *place = (struct place){log->chunk_base + log->chunk_count - 1, last->used};
    return last->data + last->used;
}

static void drop_first(struct log *log)
{
    struct chunk *chunk = log->chunks[log->chunk_first++];
    log->chunk_base++;
    log->chunk_count--;
    log->hot_bytes -= chunk->room;
    chunk_give_back(log->dev, chunk);
}

void chunk_evict(struct log *log)
{
    uint64_t pending = log->chunk_base + log->chunk_count - 1;
    if (log->front.piece_count)
        pending = MIN(pending, log->front.start.chunk);
    if (log->flight.piece_count)
        pending = MIN(pending, log->flight.start.chunk);
    while (log->hot_bytes > log->config.hot_bytes_max && log->chunk_count > 1 && log->chunk_base < pending)
        drop_first(log);
}

void chunk_cut(struct log *log, struct place from)
{
    while (log->chunk_count && log->chunk_base + log->chunk_count - 1 > from.chunk) {
        struct chunk *chunk = log->chunks[log->chunk_first + --log->chunk_count];
        log->hot_bytes -= chunk->room;
        chunk_give_back(log->dev, chunk);
    }
    struct chunk *chunk = chunk_get(log, from.chunk);
    if (!chunk)
        return;
    chunk->used = MIN(chunk->used, from.at);
    if (!chunk->used)
        chunk->first_seq = 0;
}

bool chunk_find(const struct log *log, uint64_t seq, uint64_t *number)
{
    if (!log->chunk_count)
        return false;
    struct chunk *const *chunks = log->chunks + log->chunk_first;
    size_t low = 0, high = log->chunk_count;
    while (high && !chunks[high - 1]->used) /* the last one may have been emptied */
        high--;
    if (!high || seq < chunks[0]->first_seq)
        return false;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (chunks[middle]->first_seq <= seq)
            low = middle;
        else
            high = middle;
    }
    *number = log->chunk_base + low;
    return true;
}

void chunk_free_all(struct log *log)
{
    while (log->chunk_count)
        drop_first(log);
    free(log->chunks);
    log->chunks = NULL;
}
