/* SPDX-License-Identifier: Apache-2.0 */
/* `lineshaft log check` and `log dump`: reading a stream's directory without a broker and without changing it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/scan.h"
#include "broker/log/state_file.h"
#include "lib/error.h"
#include "lib/xmem.h"

struct stored { /* a segment file */
    char name[NAME_ROOM];
    struct segment_head head;
    uint64_t bytes, last;
};

struct listing {
    int dir;
    struct meta meta;
    bool have_meta, doubtful;
    struct stored *segments;
    size_t count, room;
    char (*states)[STATE_NAME_ROOM];
    size_t state_count;
};

struct check {
    void (*found)(void *arg, const char *severity, const char *file, uint64_t offset, const char *text);
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes);
    void *arg;
    int errors;
    uint64_t done, all;
};

static void report(struct check *check, bool error, const char *file, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void report(struct check *check, bool error, const char *file, uint64_t offset, const char *format, ...)
{
    char text[400];
    va_list args;
    if (!check)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    check->errors += error;
    if (check->found)
        check->found(check->arg, error ? "error" : "note", file, offset, text);
}

/* ---- what is there ---- */

static void list_segment(struct listing *listing, struct check *check, const char *name)
{
    struct stored segment = {.last = UINT64_MAX};
    memcpy(segment.name, name, strlen(name) + 1); /* 24 characters: file_kind_of */
    if (segment_head_read(listing->dir, name, &segment.head, &segment.bytes) != HEAD_WHOLE) {
        report(check, true, name, 0, "the header cannot be read: none of its events can");
        return;
    }
    if (listing->have_meta && memcmp(segment.head.log_uuid, listing->meta.log_uuid, sizeof listing->meta.log_uuid)) {
        report(check, true, name, 0, "belongs to another log: not read");
        return;
    }
    if (segment.head.base != strtoull(name, NULL, 10)) {
        report(check, true, name, 0, "the file's name does not fit its header, which begins with %" PRIu64 ": not read",
               segment.head.base);
        return;
    }
    if (segment.bytes < segment.head.bytes)
        report(check, true, name, segment.bytes, "the file is shorter than the %" PRIu64 " bytes it was made with",
               segment.head.bytes);
    listing->segments = xgrow(listing->segments, &listing->room, listing->count + 1, sizeof(struct stored));
    listing->segments[listing->count++] = segment;
}

static int by_number(const void *a, const void *b)
{
    const struct stored *left = a, *right = b;
    return left->head.number < right->head.number ? -1 : left->head.number > right->head.number;
}

/* The same chain as in recover.c: the later segment says where the earlier one ends. */
static void follow_chain(struct listing *listing, struct check *check)
{
    uint64_t limit = UINT64_MAX;
    size_t kept = listing->count;
    const struct meta *meta = &listing->meta;
    if (listing->count)
        qsort(listing->segments, listing->count, sizeof(struct stored), by_number);
    for (size_t i = listing->count; i-- > 0;) {
        struct stored segment = listing->segments[i];
        bool refused = listing->have_meta && segment.head.base >= meta->void_from && segment.head.base <= meta->void_to;
        if (segment.head.base > limit || refused || (limit != UINT64_MAX && limit < meta->low_water)) {
            report(check, false, segment.name, 0, "left over from a failed write or a retention under way: not read");
            continue;
        }
        segment.last = limit;
        limit = segment.head.prev_end;
        listing->segments[--kept] = segment;
    }
    listing->count -= kept;
    if (listing->count)
        memmove(listing->segments, listing->segments + kept, listing->count * sizeof(struct stored));
}

static int listing_open(struct listing *listing, const char *path, struct check *check, struct ls_error *err)
{
    *listing = (struct listing){.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    DIR *dir = listing->dir < 0 ? NULL : opendir(path);
    if (!dir) {
        error_set(err, "SYSTEM", "cannot read the directory %s: %s", path, strerror(errno));
        if (listing->dir >= 0)
            close(listing->dir);
        return -1;
    }
    listing->have_meta = meta_read(listing->dir, &listing->meta, &listing->doubtful) >= 0;
    if (!listing->have_meta)
        report(check, true, "meta", 0, "cannot be read");
    else if (listing->doubtful)
        report(check, true, "meta", 0, "one of its two halves is damaged; the other one is used");
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        enum file_kind kind = file_kind_of(entry->d_name);
        if (kind == FILE_SEGMENT) {
            list_segment(listing, check, entry->d_name);
        } else if (kind == FILE_STATE && strlen(entry->d_name) < STATE_NAME_ROOM) {
            listing->states = xrealloc(listing->states, (listing->state_count + 1) * sizeof *listing->states);
            memcpy(listing->states[listing->state_count++], entry->d_name, strlen(entry->d_name) + 1);
        } else if (kind == FILE_TORN) {
            report(check, false, entry->d_name, 0, "holds what an interrupted write left; it is safe to remove");
        } else if (kind == FILE_UNKNOWN) {
            report(check, false, entry->d_name, 0, "is not a file of the log");
        }
    }
    closedir(dir);
    follow_chain(listing, check);
    return 0;
}

static void listing_close(struct listing *listing)
{
    close(listing->dir);
    free(listing->segments);
    free(listing->states);
}

/* ---- reading ---- */

struct visit {
    struct check *check; /* NULL: dump */
    uint64_t from;
    bool (*entry)(void *arg, const struct log_entry *entry, const char *file, uint64_t offset);
    void *arg;
    bool stopped;
};

static bool visit_record(struct visit *visit, const struct stored *segment, const struct record_head *head,
                         const uint8_t *payload, uint64_t offset)
{
    if (!visit->entry || record_last(head) < visit->from)
        return true;
    struct log_entry entry = {head->seq, head->count, head->flags, head->ts_us, payload, head->len};
    return visit->entry(visit->arg, &entry, segment->name, offset);
}

/* What the end of a segment's records means. `next` is the sequence number that should follow. */
static void visit_end(struct visit *visit, const struct listing *listing, const struct stored *segment, uint64_t next,
                      uint64_t offset)
{
    uint64_t last = segment->last;
    if (last == UINT64_MAX) /* the one being written */
        last = listing->have_meta && listing->meta.clean ? listing->meta.durable : 0;
    if (next <= last)
        report(visit->check, true, segment->name, offset, "events %" PRIu64 " to %" PRIu64 " are missing", next, last);
}

static int visit_segment(struct visit *visit, const struct listing *listing, const struct stored *segment)
{
    int fd = openat(listing->dir, segment->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        report(visit->check, true, segment->name, 0, "cannot be opened: %s", strerror(errno));
        return 0;
    }
    struct log_window window = {0};
    struct segment_view view = {fd, segment->head.id, MIN(segment->bytes, segment->head.bytes)};
    uint64_t offset = BLOCK_BYTES, next = segment->head.base;
    for (;;) {
        struct record_head head;
        const uint8_t *payload;
        enum record_state state = record_at(&view, &window, offset, &head, &payload);
        bool refused = head.seq >= listing->meta.void_from && head.seq <= listing->meta.void_to;
        if (state == RECORD_WHOLE && head.seq >= next && head.seq <= segment->last && !refused) {
            visit->stopped = !visit_record(visit, segment, &head, payload, offset);
            if (visit->stopped)
                break;
            next = record_last(&head) + 1;
            offset += record_size(&head);
            continue;
        }
        if (state == RECORD_ERROR)
            report(visit->check, true, segment->name, offset, "the disk cannot read here: %s", strerror(errno));
        uint64_t found = offset + 8;
        if (state != RECORD_ERROR && next <= segment->last)
            state = record_search(&view, &window, &found, next, &head);
        if (state != RECORD_WHOLE || head.seq > segment->last || next > segment->last || refused)
            break;
        report(visit->check, true, segment->name, offset, "damage: events from %" PRIu64 " up to %" PRIu64 " are unreadable",
               next, head.seq - 1);
        offset = found;
        next = head.seq;
    }
    visit_end(visit, listing, segment, next, offset);
    window_fini(&window);
    close(fd);
    return 0;
}

/* ---- the two commands ---- */

static void check_gaps(const struct listing *listing, struct check *check)
{
    for (size_t i = 0; i < listing->count; i++) {
        const struct stored *segment = &listing->segments[i];
        uint64_t low_water = listing->have_meta ? listing->meta.low_water : 1;
        if (!i && segment->head.prev_end >= low_water)
            report(check, true, segment->name, 0, "a segment before this one is missing: events %" PRIu64 " to %" PRIu64,
                   low_water, segment->head.prev_end);
    }
    if (!listing->count && listing->have_meta && listing->meta.clean && listing->meta.durable >= listing->meta.low_water)
        report(check, true, "meta", 0, "all segments are missing: events %" PRIu64 " to %" PRIu64, listing->meta.low_water,
               listing->meta.durable);
}

static void check_state(const struct listing *listing, struct check *check, const char *name)
{
    struct state_content content = {0};
    int fd = openat(listing->dir, name, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : state_load(fd, listing->meta.log_uuid, &content);
    if (fd >= 0)
        close(fd);
    bool content_there = false;
    for (size_t i = 0; i < content.len && !content_there; i++)
        content_there = content.data[i] != 0;
    if (error) {
        report(check, true, name, 0, "cannot be read: %s", strerror(error));
    } else if (content.head) {
        state_find_proof(&content);
        state_walk(&content, NULL, NULL);
        if (content.damaged)
            report(check, true, name, 0, "%zu damaged places: records of consumer state are lost", content.damaged);
        if (!content.complete)
            report(check, false, name, content.end, "the checkpoint is not complete: the other file is used");
    } else if (content_there) {
        report(check, true, name, 0, "the header cannot be read, or belongs to another log");
    }
    free(content.data);
}

int log_check(const char *dir, void (*found)(void *arg, const char *severity, const char *file, uint64_t offset, const char *text),
              void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes), void *arg, struct ls_error *err)
{
    struct listing listing;
    struct check check = {.found = found, .progress = progress, .arg = arg};
    if (listing_open(&listing, dir, &check, err))
        return -1;
    for (size_t i = 0; i < listing.count; i++)
        check.all += listing.segments[i].bytes;
    check_gaps(&listing, &check);
    for (size_t i = 0; i < listing.count; i++) {
        struct visit visit = {.check = &check};
        visit_segment(&visit, &listing, &listing.segments[i]);
        check.done += listing.segments[i].bytes;
        if (progress)
            progress(arg, check.done, check.all);
    }
    for (size_t i = 0; i < listing.state_count; i++)
        check_state(&listing, &check, listing.states[i]);
    listing_close(&listing);
    return check.errors;
}

int log_dump(const char *dir, uint64_t from, bool (*entry)(void *arg, const struct log_entry *entry, const char *file, uint64_t offset),
             void *arg, struct ls_error *err)
{
    struct listing listing;
    struct visit visit = {.from = from, .entry = entry, .arg = arg};
    if (listing_open(&listing, dir, NULL, err))
        return -1;
    for (size_t i = 0; i < listing.count && !visit.stopped; i++)
        if (listing.segments[i].last >= from)
            visit_segment(&visit, &listing, &listing.segments[i]);
    listing_close(&listing);
    return 0;
}
