/* SPDX-License-Identifier: Apache-2.0 */
/* Walking through files as they are found: names, headers, records, and the places where records should be and are not. */
#include "broker/log/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/xmem.h"

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), tail = strlen(end);
    return len > tail && !strcmp(name + len - tail, end);
}

enum file_kind file_kind_of(const char *name)
{
    bool numbered = strspn(name, "0123456789") == 20;
    if (numbered && strlen(name) == 24 && ends_with(name, ".log"))
        return FILE_SEGMENT;
    if (!strcmp(name, "meta"))
        return FILE_META;
    if (!strncmp(name, "spare-", 6) && name[6] && strlen(name) < 32 &&
        strspn(name + 6, "0123456789") == strlen(name + 6))
        return FILE_SPARE;
    if (numbered && strlen(name) == 29 && ends_with(name, ".log.torn"))
        return FILE_TORN;
    if (ends_with(name, ".state"))
        return FILE_STATE;
    return !strcmp(name, ".") || !strcmp(name, "..") ? FILE_NONE : FILE_UNKNOWN;
}

enum head_state segment_head_read(int dir, const char *name, struct segment_head *head, uint64_t *bytes)
{
    uint8_t block[BLOCK_BYTES];
    struct stat st = {0};
    *bytes = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return HEAD_UNREADABLE;
    bool read = disk_read(fd, block, sizeof block, 0);
    int rc = fstat(fd, &st);
    close(fd);
    *bytes = rc ? 0 : (uint64_t) st.st_size;
    if (!read || block_get(block, BLOCK_SEGMENT, head, sizeof *head, NULL))
        return HEAD_UNREADABLE;
    return HEAD_WHOLE;
}

int meta_read(int dir, struct meta *meta, bool *doubtful)
{
    uint8_t blocks[2][BLOCK_BYTES] = {{0}};
    static const uint8_t NOTHING[BLOCK_BYTES];
    struct meta found[2];
    bool whole[2] = {false, false};
    *doubtful = false;
    int fd = openat(dir, "meta", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    /* One by one: a sector that cannot be read must not cost the other slot. */
    for (int i = 0; i < 2; i++) {
        errno = 0; /* stays so if the file only ends */
        bool read = disk_read(fd, blocks[i], BLOCK_BYTES, (uint64_t) i * BLOCK_BYTES);
        whole[i] = read && !block_get(blocks[i], BLOCK_META, &found[i], sizeof found[i], NULL);
        if (!whole[i] && (errno || memcmp(blocks[i], NOTHING, BLOCK_BYTES)))
            *doubtful = true;
    }
    close(fd);
    if (!whole[0] && !whole[1])
        return -1;
    int slot = !whole[0] || (whole[1] && found[1].generation > found[0].generation);
    *meta = found[slot];
    return slot;
}

/* Damage: `before` is the state in front of it, `from` the first sequence number it may have held; the next good record
 * has found_seq at found_offset. */
struct damage {
    struct scan before;
    uint64_t from, found_seq, found_offset;
};
struct walk {
    struct scan scan;
    uint64_t proof; /* highest sequence number that some record says was synced */
    struct damage *damages;
    size_t count, room;
};

static bool counts(const struct record_head *head, uint64_t last, uint64_t void_from, uint64_t void_to)
{
    return head->seq <= last && !(head->seq >= void_from && head->seq <= void_to);
}

static void step(struct walk *walk, uint64_t offset, const struct record_head *head)
{
    walk->scan = (struct scan){.offset = offset + record_size(head),
                               .last = record_last(head),
                               .ordinal = head->ordinal + head->count,
                               .ts_us = head->ts_us};
    if (head->behind)
        walk->proof = MAX(walk->proof, head->seq - MIN(head->behind, head->seq));
}

/* Reads a segment up to its last good record, or the first one beyond `last` or among void_from..void_to. -1 with errno if
 * the disk refuses. The caller frees walk->damages. */
static int segment_walk(const struct segment_view *view, const struct segment_head *segment, uint64_t last, uint64_t void_from,
                 uint64_t void_to, struct walk *walk)
{
    struct log_window window = {0};
    *walk = (struct walk){.scan = {BLOCK_BYTES, segment->base - 1, segment->ordinal, segment->created_us, 0},
                          .proof = segment->prev_end};
    enum record_state state;
    for (;;) {
        struct record_head head;
        const uint8_t *payload;
        uint64_t offset = walk->scan.offset;
        state = record_at(view, &window, offset, &head, &payload);
        if (state == RECORD_WHOLE && head.seq > walk->scan.last && counts(&head, last, void_from, void_to)) {
            step(walk, offset, &head);
            continue;
        }
        if (state == RECORD_END || state == RECORD_ERROR)
            break;
        uint64_t found = offset + 8;
        if (state == RECORD_TORN && head.seq > walk->scan.last)
            found = offset + record_size(&head);
        state = record_search(view, &window, &found, walk->scan.last + 1, &head);
        while (state == RECORD_TORN) { /* only a whole record proves anything */
            found += 8;
            state = record_search(view, &window, &found, walk->scan.last + 1, &head);
        }
        if (state != RECORD_WHOLE || !counts(&head, last, void_from, void_to))
            break;
        walk->damages = xgrow(walk->damages, &walk->room, walk->count + 1, sizeof(struct damage));
        walk->damages[walk->count++] =
            (struct damage){walk->scan, walk->scan.last + 1, head.seq, found};
        step(walk, found, &head);
    }
    int error = errno;
    window_fini(&window);
    errno = error;
    walk->scan.junk = walk->scan.offset;
    return state == RECORD_ERROR ? -1 : 0;
}

/* The end of what is not zero behind `offset`. */
static uint64_t end_of_bytes(const struct segment_view *view, uint64_t offset)
{
    struct log_window window = {0};
    uint64_t end = offset;
    while (offset < view->end) {
        size_t len = (size_t) MIN(READ_AHEAD_MAX, view->end - offset);
        const uint8_t *data = window_get(&window, view->fd, offset, len, len);
        if (!data)
            break;
        for (size_t i = len; i > 0; i--)
            if (data[i - 1]) {
                end = offset + i;
                break;
            }
        offset += len;
    }
    window_fini(&window);
    return end;
}

/* In a recycled file only records can be told from older bytes: the end of the last one of this segment, at or behind
 * `offset`, whether it counts or not. */
static uint64_t end_of_records(const struct segment_view *view, uint64_t offset)
{
    struct log_window window = {0};
    struct record_head head;
    uint64_t end = offset;
    for (;;) {
        enum record_state state = record_search(view, &window, &offset, 0, &head);
        if (state == RECORD_END || state == RECORD_ERROR)
            break;
        offset += record_size(&head);
        end = offset;
    }
    window_fini(&window);
    return end;
}

int scan_tail(struct log *log, struct segment *segment, uint64_t proof, struct scan *scan)
{
    struct walk walk;
    char name[NAME_ROOM];
    struct segment_view view = {segment->fd, segment->head.id, segment->end};
    if (segment_walk(&view, &segment->head, UINT64_MAX, log->meta.void_from, log->meta.void_to, &walk))
        return -1;
    proof = MAX(proof, walk.proof);
    segment_file_name(segment->head.base, name);
    *scan = walk.scan;
    size_t i = 0;
    for (; i < walk.count && walk.damages[i].from <= proof; i++)
        log_lost(log, walk.damages[i].from, walk.damages[i].found_seq - 1, name);
    if (i < walk.count) { /* a write that never finished */
        *scan = walk.damages[i].before;
        scan->junk = walk.scan.offset;
    }
    /* Behind the end a file once filled with zeros holds zeros; a recycled one holds old records. */
    uint64_t end = segment->head.zeroed ? end_of_bytes(&view, walk.scan.offset) : end_of_records(&view, walk.scan.offset);
    scan->junk = MAX(scan->junk, end);
    free(walk.damages);
    return 0;
}

int scan_sealed(struct log *log, struct segment *segment, struct scan *scan)
{
    struct walk walk;
    char name[NAME_ROOM];
    segment_file_name(segment->head.base, name);
    int fd = openat(log->dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    struct segment_view view = {fd, segment->head.id, segment->end};
    int rc = segment_walk(&view, &segment->head, segment->last, 0, 0, &walk);
    close(fd);
    *scan = walk.scan;
    free(walk.damages);
    return rc;
}
