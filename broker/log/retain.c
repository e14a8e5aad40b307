/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: whole segments, oldest first. The low-water mark is made durable before a file goes, so that a crash in
 * between leaves nothing half dropped; the preparer does both. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/log/internal.h"
#include "lib/logger.h"
#include "lib/xmem.h"

/* How many of the oldest segments the limits allow to go. Never the one being written, nor one behind it. */
static size_t droppable(const struct log *log, int64_t now_wall_us)
{
    const struct log_config *config = &log->config;
    uint64_t bytes = 0;
    size_t count = 0;
    for (size_t i = 0; i < log->segment_count; i++)
        bytes += log->segments[i]->head.bytes;
    for (; count + 1 < log->segment_count; count++) {
        const struct segment *segment = log->segments[count], *next = log->segments[count + 1];
        if (next->spare || next->head.base > log->committed + 1 || segment == log->lay)
            break; /* the next one is not on the disk yet */
        /* Its newest entry is no younger than the next one's beginning. */
        bool old = config->retain_age_ms && next->head.created_us < now_wall_us - config->retain_age_ms * 1000;
        bool big = config->retain_bytes && bytes > config->retain_bytes;
        bool many = config->retain_count && log->committed_ordinal - next->head.ordinal >= config->retain_count;
        if (!old && !big && !many)
            break;
        bytes -= segment->head.bytes;
    }
    return count;
}

static void drop_task(struct log *log)
{
    struct task *task = xcalloc(1, sizeof *task);
    size_t room = SHELF_MAX - MIN(log->shelf_count, SHELF_MAX);
    *task = (struct task){.kind = TASK_DROP, .log = log, .name_count = log->dropping_count};
    task->names = xcalloc(task->name_count, sizeof *task->names);
    task->recycle_as = xcalloc(task->name_count, sizeof *task->recycle_as);
    for (size_t i = 0; i < task->name_count; i++) {
        segment_file_name(log->dropping[i]->head.base, task->names[i]);
        if (log->dropping[i]->head.bytes != log->config.segment_bytes || !room)
            continue;
        room--;
        snprintf(task->recycle_as[i], NAME_ROOM, "spare-%" PRIu64, log->next_spare++);
    }
    log->meta.generation++;
    log->meta.floor = log->next_seq;
    task->meta = log->meta;
    log->drop_asked = true;
    device_task(log->dev, &task);
}

void log_retain(struct log *log, int64_t now_wall_us)
{
    size_t count = log->drop_asked ? 0 : droppable(log, now_wall_us);
    if (count) {
        log->dropping = xgrow(log->dropping, &log->dropping_room, log->dropping_count + count, sizeof(struct segment *));
        memcpy(log->dropping + log->dropping_count, log->segments, count * sizeof(struct segment *));
        log->dropping_count += count;
        log->segment_count -= count;
        memmove(log->segments, log->segments + count, log->segment_count * sizeof(struct segment *));
        log->meta.low_water = log->segments[0]->head.base;
        logger_put(LEVEL_DEBUG, "log-retain", "segments dropped", "stream=%s segments=%zu first=%" PRIu64, log->name, count,
                   log->meta.low_water);
    }
    if (log->dropping_count && !log->drop_asked)
        drop_task(log);
}
