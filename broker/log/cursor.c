/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: at the tail from the chunks in memory, elsewhere from the files; every entry from a file is verified. Also the
 * questions that need a look into the files: which number at a time, which number so many events back. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/error.h"

#define OPEN_SEGMENTS_MAX 16 /* descriptors kept for reading, per log */

/* ---- segments ---- */

/* The first segment that holds something at or behind `seq`; NULL if none does. */
static struct segment *segment_of(struct log *log, uint64_t seq)
{
    size_t low = 0, high = log->segment_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->segments[middle]->last >= seq)
            high = middle;
        else
            low = middle + 1;
    }
    /* `last` of an empty segment is below its base: step over such. */
    while (low < log->segment_count && log->segments[low]->last < log->segments[low]->head.base)
        low++;
    return low < log->segment_count ? log->segments[low] : NULL;
}

static struct segment *segment_by_number(const struct log *log, uint64_t number)
{
    size_t low = 0, high = log->segment_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->segments[middle]->head.number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < log->segment_count && log->segments[low]->head.number == number ? log->segments[low] : NULL;
}

static int segment_fd(struct log *log, struct segment *segment)
{
    segment->read_at = ++log->read_count;
    if (segment->fd >= 0)
        return segment->fd;
    char name[NAME_ROOM];
    segment_file_name(segment->head.base, name);
    segment->fd = openat(log->dir, name, O_RDONLY | O_CLOEXEC);
    /* The newest few, and what a group under way writes to or seals, may be with the commit thread. */
    struct segment *oldest = NULL;
    size_t open_count = 0;
    for (size_t i = 0; i + 8 < log->segment_count && !log->segments[i + 1]->spare; i++) {
        struct segment *other = log->segments[i];
        if (other->fd < 0 || other == segment)
            continue;
        open_count++;
        if (!oldest || other->read_at < oldest->read_at)
            oldest = other;
    }
    if (open_count >= OPEN_SEGMENTS_MAX && oldest->end && !oldest->spare) {
        close(oldest->fd);
        oldest->fd = -1;
    }
    return segment->fd;
}

/* ---- cursor ---- */

void log_cursor_seek(struct log_cursor *cursor, struct log *log, uint64_t seq)
{
    cursor->log = log;
    cursor->seq = seq;
    cursor->segment = 0;
    cursor->hot_chunk = 0;
}

void log_cursor_fini(struct log_cursor *cursor)
{
    window_fini(&cursor->window);
    *cursor = (struct log_cursor){0};
}

static void fill_entry(struct log_entry *entry, const struct record_head *head, const uint8_t *payload)
{
    *entry = (struct log_entry){.seq = head->seq, .count = head->count, .flags = head->flags, .ts_us = head->ts_us,
                                .data = payload, .len = head->len};
}

/* 1, 0 (durable end) or -1: not in memory. */
static int next_hot(struct log_cursor *cursor, struct log_entry *entry)
{
    const struct log *log = cursor->log;
    uint64_t number = cursor->hot_chunk - 1;
    size_t at = cursor->hot_at;
    if (!cursor->hot_chunk || !chunk_get(log, number)) {
        at = 0;
        if (!chunk_find(log, cursor->seq, &number))
            return -1;
    }
    for (const struct chunk *chunk; (chunk = chunk_get(log, number)) != NULL; number++, at = 0) {
        while (at < chunk->used) {
            struct record_head head;
            memcpy(&head, chunk->data + at, sizeof head);
            if (record_last(&head) > log->committed)
                return 0;
            if (record_last(&head) < cursor->seq) {
                at += record_size(&head);
                continue;
            }
            fill_entry(entry, &head, chunk->data + at + RECORD_HEAD);
            cursor->seq = record_last(&head) + 1;
            cursor->hot_chunk = number + 1;
            cursor->hot_at = at + record_size(&head);
            cursor->segment = 0;
            window_fini(&cursor->window);
            return 1;
        }
    }
    return 0;
}

static int refuses(struct log *log, const struct segment *segment, struct ls_error *err)
{
    error_set(err, "STORAGE", "stream %s: the segment that begins with %" PRIu64 " cannot be read: %s", log->name,
              segment->head.base, strerror(errno));
    return -1;
}

/* Finds where to start reading in the segment for cursor->seq. */
static int position(struct log_cursor *cursor, struct segment *segment, struct ls_error *err)
{
    struct log *log = cursor->log;
    if (cursor->segment == segment->head.number)
        return 0;
    int fd = segment_fd(log, segment);
    window_fini(&cursor->window); /* of another file */
    uint64_t offset = BLOCK_BYTES;
    struct segment_view view = {fd, segment->head.id, segment->end};
    if (fd < 0)
        return refuses(log, segment, err);
    if (cursor->seq > segment->head.base) {
        offset = record_bisect(&view, &cursor->window, KEY_SEQ, cursor->seq);
        if (!offset)
            return refuses(log, segment, err);
    }
    cursor->segment = segment->head.number;
    cursor->offset = offset;
    cursor->expected = offset == BLOCK_BYTES ? segment->head.base : 0;
    return 0;
}

/* The record at cursor->offset is bad. Reports what is lost and moves to the next good one, or to the next segment. */
static int step_over(struct log_cursor *cursor, struct segment *segment, const struct segment_view *view, uint64_t after,
                     struct ls_error *err)
{
    struct log *log = cursor->log;
    struct record_head head;
    char name[NAME_ROOM];
    uint64_t found = after, from = MAX(cursor->seq, cursor->expected);
    segment_file_name(segment->head.base, name);
    enum record_state state = record_search(view, &cursor->window, &found, cursor->expected, &head);
    if (state == RECORD_ERROR)
        return refuses(log, segment, err);
    uint64_t to = state == RECORD_END ? segment->last : MIN(head.seq - 1, segment->last);
    if (to >= from)
        log_lost(log, from, to, name);
    cursor->offset = found;
    if (state == RECORD_END || head.seq > segment->last) {
        cursor->seq = MAX(cursor->seq, segment->last + 1);
        cursor->segment = 0;
    } else {
        cursor->seq = MAX(cursor->seq, head.seq);
    }
    return 0;
}

/* 1 and the entry, 0 to look again (another segment, or past damage), -1. */
static int next_in(struct log_cursor *cursor, struct segment *segment, struct log_entry *entry, struct ls_error *err)
{
    struct log *log = cursor->log;
    if (position(cursor, segment, err))
        return -1;
    struct segment_view view = {segment_fd(log, segment), segment->head.id, segment->end};
    if (view.fd < 0)
        return refuses(log, segment, err);
    for (;;) {
        struct record_head head;
        const uint8_t *payload;
        enum record_state state = record_at(&view, &cursor->window, cursor->offset, &head, &payload);
        if (state == RECORD_ERROR)
            return refuses(log, segment, err);
        if (state == RECORD_TORN && record_last(&head) < cursor->seq) {
            cursor->offset += record_size(&head); /* damaged, but nobody asked for it */
            cursor->expected = record_last(&head) + 1;
            continue;
        }
        if (state != RECORD_WHOLE || head.seq < cursor->expected) {
            uint64_t after = cursor->offset + (state == RECORD_TORN ? record_size(&head) : 8);
            return step_over(cursor, segment, &view, after, err);
        }
        if (head.seq > segment->last) { /* void: a later segment holds what counts */
            cursor->seq = MAX(cursor->seq, segment->last + 1);
            cursor->segment = 0;
            return 0;
        }
        cursor->offset += record_size(&head);
        cursor->expected = record_last(&head) + 1;
        if (record_last(&head) < cursor->seq)
            continue;
        fill_entry(entry, &head, payload);
        cursor->seq = record_last(&head) + 1;
        return 1;
    }
}

int log_cursor_next(struct log_cursor *cursor, struct log_entry *entry, struct ls_error *err)
{
    struct log *log = cursor->log;
    cursor->seq = MAX(cursor->seq, log->meta.low_water); /* memory may still hold what retention dropped */
    for (;;) {
        int rc = next_hot(cursor, entry);
        if (rc >= 0)
            return rc;
        struct segment *segment = cursor->segment ? segment_by_number(log, cursor->segment) : NULL;
        if (!segment || segment->last < cursor->seq) {
            segment = segment_of(log, cursor->seq);
            if (!segment)
                return 0;
        }
        rc = next_in(cursor, segment, entry, err);
        if (rc)
            return rc;
    }
}

/* ---- questions ---- */

/* The first record in the segment whose key is at or beyond `value`, or that reaches it with its ordinals: 1, 0 or -1. */
static int first_at(struct log *log, struct segment *segment, enum record_key key, uint64_t value, struct record_head *head)
{
    struct log_window window = {0};
    struct segment_view view = {segment_fd(log, segment), segment->head.id, segment->end};
    uint64_t offset = view.fd < 0 ? 0 : record_bisect(&view, &window, key, value);
    int found = offset ? 0 : -1;
    while (!found) {
        enum record_state state = record_search(&view, &window, &offset, 0, head);
        if (state == RECORD_END || state == RECORD_ERROR || head->seq > segment->last)
            break;
        uint64_t reach = key == KEY_TIME ? (uint64_t) head->ts_us : (key == KEY_SEQ ? head->seq : head->ordinal) + head->count - 1;
        if (reach >= value)
            found = 1;
        offset += record_size(head);
    }
    window_fini(&window);
    return found;
}

uint64_t log_seq_at_time(struct log *log, int64_t ts_us)
{
    size_t low = 0, high = log->segment_count; /* the last segment that begins before it, and on from there */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->segments[middle]->head.created_us < ts_us)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low ? low - 1 : 0; i < log->segment_count; i++) {
        struct record_head head;
        if (log->segments[i]->last >= log->segments[i]->head.base &&
            first_at(log, log->segments[i], KEY_TIME, (uint64_t) MAX(ts_us, 0), &head) > 0)
            return head.seq;
    }
    return log_after_committed(log);
}

uint64_t log_seq_back(struct log *log, uint64_t count)
{
    uint64_t first = log_first_seq(log);
    if (!count || !log->segment_count)
        return log_after_committed(log);
    if (count >= log->committed_ordinal)
        return first;
    uint64_t wanted = log->committed_ordinal - count;
    for (size_t i = log->segment_count; i-- > 0;) {
        struct record_head head;
        if (log->segments[i]->head.ordinal > wanted && i)
            continue;
        for (; i < log->segment_count; i++)
            if (log->segments[i]->last >= log->segments[i]->head.base &&
                first_at(log, log->segments[i], KEY_ORDINAL, wanted, &head) > 0)
                return head.ordinal >= wanted ? head.seq : head.seq + (wanted - head.ordinal);
        break;
    }
    return log_after_committed(log);
}

uint64_t log_events_from(struct log *log, uint64_t seq)
{
    seq = MAX(seq, log_first_seq(log));
    for (size_t i = 0; i < log->segment_count; i++) {
        struct record_head head;
        const struct segment *segment = log->segments[i];
        if (segment->last < seq || segment->last < segment->head.base)
            continue;
        if (first_at(log, log->segments[i], KEY_SEQ, seq, &head) > 0) {
            uint64_t before = head.ordinal + (head.seq < seq ? seq - head.seq : 0);
            return log->committed_ordinal > before ? log->committed_ordinal - before : 0;
        }
    }
    return 0;
}
