/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a log: which files count, where it ends, what was damaged. The rules are in docs/log-format.md, "Recovery". */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "broker/log/scan.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

struct recovery {
    struct log *log;
    bool have_meta, clean;
    uint64_t bad_base, bad_bytes; /* the last segment file whose header is not readable */
    bool tail_lost;
};

/* ---- the directory ---- */

static void add_to_shelf(struct log *log, const char *name)
{
    struct stat st;
    if (log->shelf_count < SHELF_MAX && !fstatat(log->dir, name, &st, 0) &&
        (uint64_t) st.st_size == log->config.segment_bytes) {
        log->shelf[log->shelf_count].refill = true;
        memcpy(log->shelf[log->shelf_count++].name, name, strlen(name) + 1); /* file_kind_of bounds it */
    } else {
        unlinkat(log->dir, name, 0); /* a spare holds nothing */
    }
}

static void add_segment(struct recovery *rec, const char *name)
{
    struct log *log = rec->log;
    struct segment_head head;
    uint64_t base = strtoull(name, NULL, 10), bytes;
    switch (segment_head_read(log->dir, name, &head, &bytes)) {
    case HEAD_UNREADABLE:
        logger_put(LEVEL_ERROR, "log-segment-unreadable", "the header of a segment is damaged: its events are lost",
                   "stream=%s file=%s", log->name, name);
        if (base >= rec->bad_base) {
            rec->bad_base = base;
            rec->bad_bytes = bytes;
        }
        return;
    case HEAD_WHOLE:
        break;
    }
    if (memcmp(head.log_uuid, log->meta.log_uuid, sizeof head.log_uuid) || head.base != base) {
        logger_put(LEVEL_ERROR, "log-segment-foreign", "a segment belongs to another log or place: it is left alone and not read",
                   "stream=%s file=%s", log->name, name);
        return;
    }
    struct segment *segment = xcalloc(1, sizeof *segment);
    *segment = (struct segment){.head = head, .fd = -1, .end = MIN(bytes, head.bytes)};
    segment->head.bytes = bytes;
    log->segments = xgrow(log->segments, &log->segment_room, log->segment_count + 1, sizeof(struct segment *));
    log->segments[log->segment_count++] = segment;
}

static int read_directory(struct recovery *rec, bool only_names, struct ls_error *err)
{
    struct log *log = rec->log;
    int fd = openat(log->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return error_set(err, "SYSTEM", "cannot read the directory of stream %s: %s", log->name, strerror(errno));
    }
    int segments = 0;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const char *name = entry->d_name;
        enum file_kind kind = file_kind_of(name);
        segments += kind == FILE_SEGMENT;
        if (only_names)
            continue;
        if (kind == FILE_SEGMENT) {
            add_segment(rec, name);
        } else if (kind == FILE_SPARE) {
            log->next_spare = MAX(log->next_spare, strtoull(name + strlen("spare-"), NULL, 10) + 1);
            add_to_shelf(log, name);
        } else if (kind == FILE_UNKNOWN) {
            logger_put(LEVEL_WARN, "log-unknown-file", "an unknown file in a log's directory is left alone", "stream=%s file=%s",
                       log->name, name);
        }
    }
    closedir(dir);
    return segments;
}

/* ---- meta ---- */

static int new_meta(struct log *log, struct ls_error *err)
{
    log->meta = (struct meta){.generation = 1, .low_water = 1, .floor = 1, .created_us = clock_wall_us(), .clean = 1};
    if (getrandom(log->meta.log_uuid, sizeof log->meta.log_uuid, 0) != sizeof log->meta.log_uuid)
        return error_set(err, "SYSTEM", "no random numbers: %s", strerror(errno));
    log->meta_slot = 1;
    int error = meta_write(log, &log->meta);
    if (!error && fsync(log->dir))
        error = errno;
    return error ? error_set(err, "SYSTEM", "cannot write the meta file of stream %s: %s", log->name, strerror(error)) : 0;
}

static int load_meta(struct recovery *rec, struct ls_error *err)
{
    struct log *log = rec->log;
    bool doubtful;
    int slot = meta_read(log->dir, &log->meta, &doubtful);
    if (slot >= 0) {
        log->meta_slot = slot;
        rec->clean = log->meta.clean && !doubtful; /* the slot that cannot be read may have been the newer one */
        if (doubtful)
            logger_put(LEVEL_WARN, "log-meta-damaged", "one half of the meta file is damaged; the other one is used", "stream=%s",
                       log->name);
        return 0;
    }
    int segments = read_directory(rec, true, err);
    if (segments < 0)
        return -1;
    if (segments)
        return error_set(err, "CORRUPT", "%s/%s/meta cannot be read, but there are %d segments: restore the file from a copy, or "
                         "move the directory away to begin anew", log->dev->path, log->name, segments);
    rec->clean = true;
    return new_meta(log, err);
}

/* ---- which segments count ---- */

static int by_number(const void *a, const void *b)
{
    const struct segment *left = *(struct segment *const *) a, *right = *(struct segment *const *) b;
    return left->head.number < right->head.number ? -1 : left->head.number > right->head.number;
}

/* A later segment says where the earlier ones end; what they hold beyond is void. */
static void follow_chain(struct log *log)
{
    uint64_t limit = UINT64_MAX;
    size_t kept = log->segment_count;
    if (log->segment_count)
        qsort(log->segments, log->segment_count, sizeof(struct segment *), by_number);
    for (size_t i = log->segment_count; i-- > 0;) {
        struct segment *segment = log->segments[i];
        log->next_number = MAX(log->next_number, segment->head.number + 1);
        bool void_range = segment->head.base >= log->meta.void_from && segment->head.base <= log->meta.void_to;
        bool dropped = limit != UINT64_MAX && limit < log->meta.low_water;
        if (segment->head.base > limit || void_range || dropped) {
            char name[NAME_ROOM];
            segment_file_name(segment->head.base, name);
            if (dropped || segment->head.base < log->meta.low_water)
                unlinkat(log->dir, name, 0); /* retention had come this far */
            else
                logger_put(LEVEL_WARN, "log-segment-void", "a segment left by a failed write is not read", "stream=%s file=%s",
                           log->name, name);
            segment_free(&segment);
            continue;
        }
        segment->last = limit;
        limit = segment->head.prev_end;
        log->segments[--kept] = segment;
    }
    log->segment_count -= kept;
    if (log->segment_count)
        memmove(log->segments, log->segments + kept, log->segment_count * sizeof(struct segment *));
}

static void find_missing(struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        uint64_t stored = log->meta.low_water - 1; /* where the segment before ends */
        char name[NAME_ROOM];
        if (segment->head.prev_end <= stored || (i && log->segments[i - 1]->head.number + 1 == segment->head.number))
            continue;
        if (i) {
            struct scan scan;
            if (scan_sealed(log, log->segments[i - 1], &scan))
                continue; /* the disk does not say: readers will meet it */
            stored = scan.last;
        }
        segment_file_name(segment->head.base, name);
        if (stored < segment->head.prev_end)
            log_lost(log, stored + 1, segment->head.prev_end, "before this one:");
    }
}

/* ---- the end of the last segment ---- */

static void keep_torn(struct log *log, const struct segment *segment, uint64_t from, uint64_t to)
{
    char name[NAME_ROOM], torn[NAME_ROOM + 8];
    struct log_window window = {0};
    struct stat st;
    segment_file_name(segment->head.base, name);
    snprintf(torn, sizeof torn, "%s.torn", name);
    uint64_t at = fstatat(log->dir, torn, &st, 0) ? 0 : (uint64_t) st.st_size;
    int error = at + (to - from) > segment->head.bytes ? EFBIG : 0; /* bounded: no more than the segment itself */
    for (uint64_t offset = from; offset < to && !error; offset += READ_AHEAD_MAX) {
        size_t len = (size_t) MIN(READ_AHEAD_MAX, to - offset);
        const uint8_t *data = window_get(&window, segment->fd, offset, len, len);
        error = data ? disk_write_file(log->dir, torn, data, len, at + offset - from, true) : errno ? errno : EIO;
    }
    window_fini(&window);
    logger_put(LEVEL_WARN, "log-tail-cut", "the last write was cut off half way; nothing of it had been acknowledged",
               "stream=%s file=%s offset=%" PRIu64 " bytes=%" PRIu64 " kept=%s", log->name, name, from, to - from,
               error ? strerror(error) : torn);
}

/* Zeros over what was cut, so that nobody wonders later. The rule that sequence numbers only grow protects without it. */
static int wipe(const struct segment *segment, uint64_t from, uint64_t to)
{
    struct spare wiped = {.fd = segment->fd, .bytes = to, .filled = from};
    int error = spare_fill(&wiped, to);
    return error ? error : fdatasync(segment->fd) ? errno : 0;
}

static int recover_tail(struct recovery *rec, struct ls_error *err)
{
    struct log *log = rec->log;
    struct segment *segment = log->segments[log->segment_count - 1];
    struct scan scan;
    char name[NAME_ROOM];
    segment_file_name(segment->head.base, name);
    segment->fd = openat(log->dir, name, O_RDWR | O_CLOEXEC);
    if (segment->fd < 0)
        return error_set(err, "SYSTEM", "cannot open %s of stream %s: %s", name, log->name, strerror(errno));
    /* What the page cache holds after a failed sync may not be on the disk: write out, forget, read what is there. */
    if (!rec->clean) {
        bool synced = fdatasync(segment->fd) == 0;
        posix_fadvise(segment->fd, 0, 0, POSIX_FADV_DONTNEED); /* also, and above all, after a sync that failed */
        if (!synced) {
            rec->tail_lost = true; /* never again on this file: go on in a new segment */
            logger_put(LEVEL_WARN, "log-sync-failed", "the last segment could not be synced at the start", "stream=%s", log->name);
        }
    }
    if (scan_tail(log, segment, rec->clean ? log->meta.durable : 0, &scan))
        return error_set(err, "SYSTEM", "cannot read %s of stream %s: %s", name, log->name, strerror(errno));
    segment->end = scan.offset;
    segment->last = scan.last;
    log->committed = MAX(scan.last >= segment->head.base ? scan.last : 0, segment->head.prev_end);
    log->committed_ordinal = scan.ordinal;
    log->ts_us = scan.ts_us;
    if (rec->clean && log->committed < log->meta.durable) {
        log_lost(log, log->committed + 1, log->meta.durable, name);
        log->committed_ordinal += log->meta.durable - log->committed;
        segment->last = log->committed = log->meta.durable;
        segment->end = segment->head.bytes;
        rec->tail_lost = true;
    } else if (scan.junk > scan.offset) {
        keep_torn(log, segment, scan.offset, scan.junk);
        int error = wipe(segment, scan.offset, scan.junk);
        if (error) {
            rec->tail_lost = true; /* go on in a new segment */
            logger_put(LEVEL_WARN, "log-wipe-failed", "the cut tail could not be overwritten", "stream=%s error=\"%s\"", log->name,
                       strerror(error));
        }
    }
    return 0;
}

/* ---- the segment to write to ---- */

static void begin_segment(struct log *log)
{
    struct spare *spare = xcalloc(1, sizeof *spare);
    bool recycled = log->shelf_count > 0, reserved;
    spare->bytes = log->config.segment_bytes;
    if (recycled)
        snprintf(spare->name, sizeof spare->name, "%s", log->shelf[--log->shelf_count].name);
    else
        snprintf(spare->name, sizeof spare->name, "spare-%" PRIu64, log->next_spare++);
    int error = spare_reserve(log->dir, spare, recycled, &reserved);
    if (error) {
        log_problem(log, error == ENOSPC || error == EDQUOT ? LOG_FULL : LOG_READ_ONLY, "no segment can be made: %s",
                    log_error_text(error));
        free(spare);
        return;
    }
    spare->zeroed = !recycled;
    error = spare_fill(spare, reserved ? MIN(SEGMENT_FILL_AT_OPEN, spare->bytes) : spare->bytes);
    struct segment *segment =
        log_segment_plan(log, spare, log->next_seq, log->committed, log->committed_ordinal, clock_wall_us());
    if (!error)
        error = segment_write_head(segment);
    if (!error && fdatasync(segment->fd))
        error = errno;
    if (!error)
        error = segment_name_it(log->dir, segment, spare->name);
    if (error) {
        log_problem(log, LOG_READ_ONLY, "no segment can be made: %s", log_error_text(error));
        unlinkat(log->dir, spare->name, 0);
        segment_free(&log->segments[--log->segment_count]);
        return;
    }
    free(segment->spare);
    segment->spare = NULL;
    log->lay = segment;
    log->at = BLOCK_BYTES;
}

static void number_on(struct recovery *rec)
{
    struct log *log = rec->log;
    log->next_seq = MAX(log->committed + 1, log->meta.floor);
    if (!rec->clean)
        log->next_seq += LOG_GROUP_EVENTS_MAX + 1; /* beyond all that may have been given out */
    if (rec->bad_base > log->committed) {
        uint64_t known = rec->clean ? log->meta.durable : log->meta.floor - 1;
        log_lost(log, rec->bad_base, MAX(known, rec->bad_base), "with an unreadable header");
        log->committed = MAX(known, rec->bad_base);
        log->next_seq = MAX(log->next_seq, rec->bad_base + (rec->bad_bytes / RECORD_HEAD + 1) * LOG_GROUP_EVENTS_MAX);
        rec->tail_lost = true;
    }
    log->laid_last = log->committed;
    log->synced = log->committed;
    log->settled = log->next_seq - 1;
    log->floor = log->next_seq;
    log->ordinal = log->committed_ordinal;
}

int log_recover(struct log *log, struct ls_error *err)
{
    struct recovery rec = {.log = log};
    log->next_number = 1;
    if (load_meta(&rec, err) || read_directory(&rec, false, err) < 0)
        return -1;
    follow_chain(log);
    find_missing(log);
    if (log->segment_count) {
        if (recover_tail(&rec, err))
            return -1;
    } else {
        log->committed = rec.clean ? log->meta.durable : log->meta.floor - 1;
        if (log->committed >= log->meta.low_water && !rec.bad_base)
            log_lost(log, log->meta.low_water, log->committed, "none: all segments are missing");
    }
    log->unclean_start = !rec.clean;
    number_on(&rec);
    struct segment *last = log->segment_count ? log->segments[log->segment_count - 1] : NULL;
    if (last && !rec.tail_lost && last->end + RECORD_HEAD <= last->head.bytes) {
        log->lay = last;
        log->at = last->end;
    } else {
        begin_segment(log);
    }
    log->meta.generation++;
    log->meta.clean = 0;
    log->meta.floor = log->next_seq;
    int error = meta_write(log, &log->meta);
    if (error)
        return error_set(err, "SYSTEM", "cannot write the meta file of stream %s: %s", log->name, strerror(error));
    return 0;
}
