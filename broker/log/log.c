/* SPDX-License-Identifier: Apache-2.0 */
/* A stream's log: opening, appending, what is known about it. What becomes of the appended is in settle.c, reading in
 * cursor.c. */
#include "broker/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

/* ---- segments and spares ---- */

struct segment *log_segment_plan(struct log *log, struct spare *spare, uint64_t base, uint64_t prev_end, uint64_t ordinal,
                                 int64_t ts_us)
{
    struct segment *segment = xcalloc(1, sizeof *segment);
    segment->head = (struct segment_head){.number = log->next_number++,
                                          .base = base,
                                          .prev_end = prev_end,
                                          .ordinal = ordinal,
                                          .bytes = spare->bytes,
                                          .created_us = ts_us};
    memcpy(segment->head.log_uuid, log->meta.log_uuid, sizeof log->meta.log_uuid);
    if (getrandom(&segment->head.id, sizeof segment->head.id, 0) != sizeof segment->head.id) /* never short for 8 bytes */
        segment->head.id = (uint64_t) clock_wall_us() * 0x9e3779b97f4a7c15u ^ segment->head.number;
    segment->fd = spare->fd;
    segment->spare = spare;
    segment->last = base - 1;
    segment->end = BLOCK_BYTES;
    log->segments = xgrow(log->segments, &log->segment_room, log->segment_count + 1, sizeof(struct segment *));
    log->segments[log->segment_count++] = segment;
    return segment;
}

void segment_free(struct segment **segment)
{
    if ((*segment)->fd >= 0)
        close((*segment)->fd);
    free((*segment)->spare);
    free(*segment);
    *segment = NULL;
}

void log_ask_spare(struct log *log, uint64_t bytes, bool for_rescue)
{
    struct spare *spare = xcalloc(1, sizeof *spare);
    struct task *task = xcalloc(1, sizeof *task);
    *task = (struct task){.kind = TASK_SPARE, .log = log, .spare = spare, .for_rescue = for_rescue};
    spare->bytes = bytes;
    if (log->shelf_count && bytes == log->config.segment_bytes) {
        log->shelf_count--;
        snprintf(spare->name, sizeof spare->name, "%s", log->shelf[log->shelf_count].name);
        task->recycled = true;
        task->refill = log->shelf[log->shelf_count].refill;
    } else {
        snprintf(spare->name, sizeof spare->name, "spare-%" PRIu64, log->next_spare++);
    }
    if (!for_rescue) {
        log->spare_asked = true;
        log->spare_awaited = false;
    }
    device_task(log->dev, &task);
}

void group_begin_piece(struct log *log, struct group *group, struct segment *segment, uint64_t offset)
{
    group->pieces = xgrow(group->pieces, &group->piece_room, group->piece_count + 1, sizeof(struct piece));
    int seal_fd = -1;
    if (!log->config.sync && segment->spare)
        for (size_t i = 1; i < log->segment_count; i++)
            if (log->segments[i] == segment)
                seal_fd = log->segments[i - 1]->fd;
    group->pieces[group->piece_count++] =
        (struct piece){.segment = segment, .offset = offset, .span = group->span_count, .seal_fd = seal_fd};
}

/* ---- appending ---- */

static uint64_t refuse(struct log *log, struct ls_error *err)
{
    if (log->health == LOG_FULL)
        error_set(err, "DISK_FULL", "stream %s: %s; free some space or lower its retention", log->name, log->problem);
    else
        error_set(err, "STORAGE", "stream %s takes no events: %s", log->name, log->problem);
    err->retry_ms = RETRY_MS;
    return 0;
}

static uint64_t busy(struct ls_error *err, int retry_ms, const char *name, const char *why)
{
    error_set(err, "BUSY", "stream %s: %s", name, why);
    err->retry_ms = retry_ms;
    return 0;
}

/* The current segment is full: goes on in the next. */
#define SPARE_WAIT_MS 100
static bool roll(struct log *log, int64_t ts_us, struct ls_error *err)
{
    if (!log->spare && log->spare_asked && !log->spare_error && !log->spare_awaited) {
        log->spare_awaited = true;
        device_spare_await(log->dev, log, SPARE_WAIT_MS); /* only when events come faster than files are made */
    }
    struct spare *spare = log->spare;
    if (!spare && log->spare_error) {
        log_problem(log, log->spare_error == ENOSPC || log->spare_error == EDQUOT ? LOG_FULL : LOG_READ_ONLY,
                    "no next segment can be made: %s", log_error_text(log->spare_error));
        return refuse(log, err);
    }
    if (!spare)
        return busy(err, 5, log->name, "the next segment is still being prepared");
    log->spare = NULL;
    log->lay = log_segment_plan(log, spare, log->next_seq, log->laid_last, log->ordinal, ts_us);
    log->at = BLOCK_BYTES;
    group_begin_piece(log, &log->front, log->lay, log->at);
    log_ask_spare(log, log->config.segment_bytes, false);
    return true;
}

/* A memory log's numbers must not come again after a power cut either: the floor is written ahead. */
static bool numbers_left(struct log *log, uint32_t count)
{
    uint64_t safe = log->config.sync ? MAX(log->settled, log->floor) : MAX(log->synced, log->floor);
    uint64_t used = log->next_seq + count - 1 - MIN(safe, log->next_seq);
    if (!log->config.sync && used > LOG_GROUP_EVENTS_MAX / 2 && !log->floor_asked) {
        log->floor_asked = true;
        log_meta_task(log);
    }
    return used <= LOG_GROUP_EVENTS_MAX;
}

static bool may_append(struct log *log, uint32_t count, size_t len, struct ls_error *err)
{
    uint64_t need = PAD8(RECORD_HEAD + len);
    if (!count || count > LOG_GROUP_EVENTS_MAX / 2 || len > LOG_ENTRY_BYTES_MAX ||
        need > log->config.segment_bytes - BLOCK_BYTES) {
        error_set(err, "TOO_BIG", "an entry of %zu bytes and %" PRIu32 " events does not fit a segment of stream %s (%" PRIu64
                  " bytes, at most %u events): raise segment_bytes or publish less at once", len, count, log->name,
                  log->config.segment_bytes, LOG_GROUP_EVENTS_MAX / 2);
        return false;
    }
    if (log->health != LOG_HEALTHY)
        return refuse(log, err);
    if (log->rescue != RESCUE_NO || !log->lay)
        return busy(err, 100, log->name, "a failed write is being repaired");
    /* One entry always fits, however small the account. */
    if (log->pending_bytes && log->pending_bytes + need > log->config.pending_bytes_max)
        return busy(err, 10, log->name, "its pending account is full");
    if (!numbers_left(log, count))
        return busy(err, 10, log->name, "too many events wait for the disk");
    return true;
}

static void add_span(struct group *group, uint8_t *data, size_t len)
{
    struct piece *piece = &group->pieces[group->piece_count - 1];
    struct span *last = piece->spans ? &group->spans[group->span_count - 1] : NULL;
    if (last && last->data + last->len == data) {
        last->len += len;
    } else {
        group->spans = xgrow(group->spans, &group->span_room, group->span_count + 1, sizeof(struct span));
        group->spans[group->span_count++] = (struct span){data, len};
        piece->spans++;
    }
    piece->bytes += len;
}

uint64_t log_append(struct log *log, uint16_t flags, uint32_t count, int64_t ts_us, const struct log_part *parts,
                    size_t part_count, struct ls_error *err)
{
    size_t len = 0;
    for (size_t i = 0; i < part_count; i++)
        len += parts[i].len;
    size_t need = PAD8(RECORD_HEAD + len);
    ts_us = MAX(ts_us, log->ts_us);
    if (!may_append(log, count, len, err))
        return 0;
    if (log->at + need > log->lay->head.bytes && !roll(log, ts_us, err))
        return 0;
    struct group *front = &log->front;
    if (!front->piece_count)
        group_begin_piece(log, front, log->lay, log->at);
    struct place place;
    uint8_t *at = chunk_room(log, need, &place);
    struct chunk *chunk = chunk_get(log, place.chunk);
    struct record_head head = {.magic = RECORD_MAGIC, .flags = flags, .len = (uint32_t) len, .seq = log->next_seq,
                               .ts_us = ts_us, .ordinal = log->ordinal, .count = count};
    memcpy(at, &head, sizeof head);
    uint8_t *to = at + sizeof head;
    for (size_t i = 0; i < part_count; to += parts[i++].len)
        if (parts[i].len)
            memcpy(to, parts[i].data, parts[i].len);
    memset(to, 0, (size_t) (at + need - to));
    if (!chunk->used)
        chunk->first_seq = head.seq;
    chunk->used += need;
    add_span(front, at, need);
    if (!front->first_seq) {
        front->first_seq = head.seq;
        front->start = place;
    }
    log->at += need;
    log->next_seq += count;
    log->ordinal += count;
    log->ts_us = ts_us;
    log->laid_last = front->last_seq = front->pieces[front->piece_count - 1].last_seq = log->next_seq - 1;
    front->bytes += need;
    front->events += count;
    log->pending_bytes += need;
    return head.seq;
}

/* ---- opening and closing ---- */

static const char *config_problem(const struct log_config *config)
{
    if (!*config->name || strlen(config->name) > 200 || strspn(config->name, "abcdefghijklmnopqrstuvwxyz0123456789_$-") !=
        strlen(config->name))
        return "its name may only have a-z, 0-9, _, $ and - (at most 200)";
    if (config->segment_bytes < 65536 || config->segment_bytes > 1u << 30 || config->segment_bytes % 4096)
        return "segment_bytes must be a multiple of 4096 from 64 KiB to 1 GiB";
    return NULL;
}

struct log *log_open(struct log_device *dev, const struct log_config *config, struct ls_error *err)
{
    const char *problem = config_problem(config);
    if (problem) {
        error_set(err, "CONFIG", "stream %s: %s", config->name, problem);
        return NULL;
    }
    struct log *log = xcalloc(1, sizeof *log);
    log->dev = dev;
    log->config = *config;
    log->name = xstrdup(config->name);
    log->config.name = log->name;
    log->dir = -1;
    log->next_spare = 1;
    if (mkdirat(dev->dir, log->name, 0750) && errno != EEXIST) {
        error_set(err, "SYSTEM", "cannot create %s/%s: %s", dev->path, log->name, strerror(errno));
        goto fail;
    }
    log->dir = openat(dev->dir, log->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir < 0 || fsync(dev->dir)) {
        error_set(err, "SYSTEM", "cannot open %s/%s: %s", dev->path, log->name, strerror(errno));
        goto fail;
    }
    if (log_recover(log, err))
        goto fail;
    log->next = dev->logs;
    dev->logs = log;
    if (log->retry_at)
        log->retry_at = dev->now + RETRY_MS;
    else
        log_ask_spare(log, log->config.segment_bytes, false);
    return log;
fail:
    log_free(log);
    return NULL;
}

void log_free(struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++)
        segment_free(&log->segments[i]);
    for (size_t i = 0; i < log->stale_count; i++)
        segment_free(&log->stale[i]);
    for (size_t i = 0; i < log->dropping_count; i++)
        segment_free(&log->dropping[i]);
    if (log->spare && log->spare->fd >= 0)
        close(log->spare->fd);
    free(log->spare);
    states_free(log);
    chunk_free_all(log);
    struct group *groups[] = {&log->front, &log->flight};
    for (int i = 0; i < 2; i++) {
        free(groups[i]->pieces);
        free(groups[i]->spans);
    }
    free(log->segments);
    free(log->stale);
    free(log->dropping);
    free(log->lost);
    if (log->dir >= 0)
        close(log->dir);
    free(log->name);
    free(log);
}

/* ---- what is known ---- */

const char *log_error_text(int error)
{
    return error == EFBIG ? "File too large: `ulimit -f` is set; start it again without" : strerror(error);
}

void log_problem(struct log *log, enum log_health health, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(log->problem, sizeof log->problem, format, args);
    va_end(args);
    if (health != log->health)
        logger_put(LEVEL_ERROR, health == LOG_FULL ? "log-full" : "log-read-only", log->problem, "stream=%s", log->name);
    log->health = health;
    if (!log->retry_at)
        log->retry_at = log->dev->now + RETRY_MS;
}

void log_lost(struct log *log, uint64_t from, uint64_t to, const char *where)
{
    size_t i = 0;
    while (i < log->lost_count && log->lost[i].to + 1 < from)
        i++;
    if (i < log->lost_count && log->lost[i].from <= from && log->lost[i].to >= to)
        return;
    logger_put(LEVEL_ERROR, "log-lost", "damage made events unreadable; they are stepped over, nothing was removed",
               "stream=%s from=%" PRIu64 " to=%" PRIu64 " file=%s", log->name, from, to, where);
    size_t j = i;
    for (; j < log->lost_count && log->lost[j].from <= to + 1; j++) {
        from = MIN(from, log->lost[j].from);
        to = MAX(to, log->lost[j].to);
    }
    log->lost = xgrow(log->lost, &log->lost_room, log->lost_count + 1, sizeof(struct log_range));
    memmove(log->lost + i + 1, log->lost + j, (log->lost_count - j) * sizeof(struct log_range));
    log->lost[i] = (struct log_range){from, to};
    log->lost_count = log->lost_count - (j - i) + 1;
}

uint64_t log_next_seq(const struct log *log)
{
    return log->next_seq;
}

uint64_t log_durable_seq(const struct log *log)
{
    return log->committed;
}

/* Where the events begin that are under way: appended, and not committed yet. */
uint64_t log_after_committed(const struct log *log)
{
    return log->pending_bytes ? log->committed + 1 : log->next_seq;
}

uint64_t log_first_seq(const struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++)
        if (log->segments[i]->last >= log->segments[i]->head.base)
            return log->segments[i]->head.base;
    return log_after_committed(log);
}

void log_info(const struct log *log, struct log_info *info)
{
    *info = (struct log_info){.health = log->health,
                              .first_seq = log_first_seq(log),
                              .next_seq = log->next_seq,
                              .durable_seq = log->committed,
                              .pending_bytes = log->pending_bytes,
                              .segments = log->segment_count,
                              .groups = log->groups,
                              .synced_bytes = log->synced_bytes,
                              .lost = log->lost,
                              .lost_count = log->lost_count,
                              .unclean_start = log->unclean_start};
    for (size_t i = 0; i < log->segment_count; i++)
        info->bytes += log->segments[i]->head.bytes;
    if (log->health != LOG_HEALTHY)
        snprintf(info->problem, sizeof info->problem, "%s", log->problem);
}
