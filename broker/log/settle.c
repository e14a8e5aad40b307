/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of commit groups, spare segments and tasks: the owner's side of the threads' answers. Holds the rule for a
 * failed write: never again on that file; once more on a new one; then the log is read-only until a new file works. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

static void group_clear(struct group *group)
{
    group->piece_count = group->span_count = 0;
    group->first_seq = group->last_seq = group->bytes = group->events = 0;
}

bool log_hand_over(struct log *log)
{
    if (log->flying || log->rescue != RESCUE_NO || !log->front.piece_count)
        return false;
    struct group empty = log->flight;
    log->flight = log->front;
    log->front = empty;
    log->flight_synced = log->synced;
    log->flying = true;
    return true;
}

void log_meta_task(struct log *log)
{
    struct task *task = xcalloc(1, sizeof *task);
    log->meta.generation++;
    log->meta.floor = log->next_seq;
    log->meta_retry_at = 0;
    *task = (struct task){.kind = TASK_META, .log = log, .meta = log->meta};
    device_task(log->dev, &task);
}

/* ---- files that are void after a failed write ---- */

static void names_add(struct task *task, const char *name, const char *recycle_as)
{
    task->names = xrealloc(task->names, (task->name_count + 1) * sizeof *task->names);
    task->recycle_as = xrealloc(task->recycle_as, (task->name_count + 1) * sizeof *task->recycle_as);
    snprintf(task->names[task->name_count], NAME_ROOM, "%s", name);
    snprintf(task->recycle_as[task->name_count++], NAME_ROOM, "%s", recycle_as);
}

static void unlink_stale(struct log *log)
{
    if (!log->stale_count)
        return;
    struct task *task = xcalloc(1, sizeof *task);
    *task = (struct task){.kind = TASK_DROP, .log = log};
    for (size_t i = 0; i < log->stale_count; i++) {
        struct segment *stale = log->stale[i];
        bool replaced = false; /* a later segment took its name */
        for (size_t j = 0; j < log->segment_count; j++)
            replaced |= log->segments[j]->head.base == stale->head.base;
        char name[NAME_ROOM];
        segment_file_name(stale->head.base, name);
        if (!replaced)
            names_add(task, name, "");
        if (stale->spare) {
            device_spare_stop(log->dev, stale->spare);
            names_add(task, stale->spare->name, "");
        }
        segment_free(&log->stale[i]);
    }
    log->stale_count = 0;
    log->stale_drops++;
    device_task(log->dev, &task);
}

/* Segments that begin behind what is committed hold nothing that counts. */
static void make_stale(struct log *log)
{
    while (log->segment_count && log->segments[log->segment_count - 1]->head.base > log->committed) {
        log->stale = xgrow(log->stale, &log->stale_room, log->stale_count + 1, sizeof(struct segment *));
        log->stale[log->stale_count++] = log->segments[--log->segment_count];
    }
    log->lay = NULL;
}

/* ---- a failed group ---- */

static void give_up(struct log *log, int error, const char *what)
{
    struct ls_error err;
    uint64_t from = log->flight.first_seq, to = log->flight.last_seq;
    bool full = error == ENOSPC || error == EDQUOT;
    make_stale(log);
    log->retry_at = log->dev->now + RETRY_MS;
    log_problem(log, full ? LOG_FULL : LOG_READ_ONLY, "%s failed: %s", what, log_error_text(error));
    log->rescue = RESCUE_NO;
    log->pending_bytes -= log->flight.bytes;
    if (from) {
        chunk_cut(log, log->flight.start);
        log->meta.void_from = log->committed + 1; /* also what was refused before it */
        log->meta.void_to = to;
        log_meta_task(log); /* what the failed files hold of it must not come back after a restart */
        log->settled = to;
    }
    log->ordinal = log->committed_ordinal;
    log->laid_last = log->committed;
    group_clear(&log->flight);
    unlink_stale(log);
    error_set(&err, full ? "DISK_FULL" : "STORAGE", "stream %s: %s failed: %s; events %" PRIu64 " to %" PRIu64 " are not stored",
              log->name, what, log_error_text(error), from, to);
    err.retry_ms = RETRY_MS;
    if (from && log->config.failed)
        log->config.failed(log->config.arg, log, from, to, &err);
}

/* Sends the flight, whatever it is made of, to a new segment. */
static void fly_to(struct log *log, struct spare *spare)
{
    struct group *flight = &log->flight;
    flight->piece_count = 0;
    uint64_t base = flight->first_seq ? flight->first_seq : log->next_seq;
    struct segment *segment =
        log_segment_plan(log, spare, base, log->committed, log->committed_ordinal, log->ts_us);
    size_t spans = flight->span_count;
    flight->span_count = 0;
    group_begin_piece(log, flight, segment, BLOCK_BYTES);
    flight->span_count = spans;
    flight->pieces[0].spans = spans;
    flight->pieces[0].bytes = flight->bytes;
    flight->pieces[0].last_seq = flight->last_seq;
    log->flight_synced = log->synced;
    log->rescue = RESCUE_FLYING;
    log->flying = true;
}

/* All that is not committed becomes one group again, in the order of its numbers. */
static void join_front(struct log *log)
{
    struct group *flight = &log->flight, *front = &log->front;
    flight->spans = xgrow(flight->spans, &flight->span_room, flight->span_count + front->span_count, sizeof(struct span));
    if (front->span_count)
        memcpy(flight->spans + flight->span_count, front->spans, front->span_count * sizeof(struct span));
    flight->span_count += front->span_count;
    flight->bytes += front->bytes;
    flight->events += front->events;
    if (front->last_seq)
        flight->last_seq = front->last_seq;
    if (!flight->first_seq) {
        flight->first_seq = front->first_seq;
        flight->start = front->start;
    }
    group_clear(front);
}

static void begin_rescue(struct log *log, int error)
{
    logger_put(LEVEL_WARN, "log-write-failed", "a write failed: what is not committed goes to a new segment",
               "stream=%s what=\"%s\" error=\"%s\"", log->name, log->flight_what, strerror(error));
    join_front(log);
    make_stale(log);
    log->rescue = RESCUE_SPARE;
    uint64_t need = (BLOCK_BYTES + log->flight.bytes + 4095) & ~(uint64_t) 4095;
    struct spare *spare = log->spare;
    if (spare && spare->bytes >= need) {
        log->spare = NULL;
        fly_to(log, spare);
        log_ask_spare(log, log->config.segment_bytes, false);
        return;
    }
    log_ask_spare(log, MAX(need, log->config.segment_bytes), true);
}

/* ---- answers ---- */

static void flight_committed(struct log *log)
{
    struct group *flight = &log->flight;
    for (size_t i = 0; i < flight->piece_count; i++) {
        struct piece *piece = &flight->pieces[i];
        struct segment *segment = piece->segment;
        if (segment->spare && !log->config.sync)
            log->synced = segment->head.prev_end;
        if (segment->spare)
            log->spare_retried = false;
        free(segment->spare);
        segment->spare = NULL;
        segment->end = piece->offset + piece->bytes;
        if (piece->bytes)
            segment->last = piece->last_seq;
    }
    if (log->rescue == RESCUE_FLYING) {
        log->rescue = RESCUE_NO;
        log->lay = flight->pieces[0].segment;
        log->at = log->lay->end;
        if (log->health != LOG_HEALTHY)
            logger_put(LEVEL_WARN, "log-writable", "the disk takes events again, in a new segment", "stream=%s", log->name);
        log->health = LOG_HEALTHY;
        unlink_stale(log);
    }
    uint64_t upto = flight->last_seq;
    log->committed_ordinal += flight->events;
    log->pending_bytes -= flight->bytes;
    log->groups += flight->bytes != 0;
    log->synced_bytes += flight->bytes;
    group_clear(flight);
    if (!upto)
        return;
    log->committed = log->settled = upto;
    if (log->config.sync)
        log->synced = upto;
    if (log->config.committed)
        log->config.committed(log->config.arg, log, upto);
}

void log_flight_done(struct log *log)
{
    log->flying = false;
    if (!log->flight_error)
        flight_committed(log);
    else if (log->rescue == RESCUE_NO)
        begin_rescue(log, log->flight_error);
    else
        give_up(log, log->flight_error, log->flight_what);
}

/* ---- spares ---- */

/* A file in hand: is something waiting for it? */
static void spare_arrived(struct log *log)
{
    log->spare_error = 0;
    log->retry_at = 0;
    if (!log->lay && log->rescue == RESCUE_NO && log->stale_drops) {
        log->retry_at = log->dev->now + 1; /* the new file may get the name that is being removed */
    } else if (!log->lay && log->rescue == RESCUE_NO && !log->flying) {
        struct spare *spare = log->spare;
        log->spare = NULL;
        fly_to(log, spare);
        log_ask_spare(log, log->config.segment_bytes, false);
    } else if (log->lay && log->health != LOG_HEALTHY) {
        log->health = LOG_HEALTHY;
        logger_put(LEVEL_WARN, "log-writable", "there is room for events again", "stream=%s", log->name);
    }
}

static void spare_failed(struct log *log, int error)
{
    if (error != ENOSPC && error != EDQUOT && !log->spare_retried) { /* another file may do: once at once, then every second */
        log->spare_retried = true;
        log_ask_spare(log, log->config.segment_bytes, false);
        return;
    }
    if (!log->spare_error)
        logger_put(LEVEL_WARN, "log-no-spare", "no next segment could be made; trying again every second",
                   "stream=%s error=\"%s\"", log->name, log_error_text(error));
    log->spare_error = error;
    log->retry_at = log->dev->now + RETRY_MS;
}

static void spare_done(struct log *log, struct task *task)
{
    struct spare *spare = task->spare;
    if (!task->for_rescue)
        log->spare_asked = false;
    if (task->error) {
        free(spare);
        if (task->for_rescue)
            give_up(log, task->error, "making a new segment");
        else
            spare_failed(log, task->error);
    } else if (task->for_rescue) {
        fly_to(log, spare);
    } else {
        log->spare = spare;
        spare_arrived(log);
    }
}

void log_spare_spoilt(struct log *log)
{
    int error = log->spare->error;
    close(log->spare->fd);
    free(log->spare);
    log->spare = NULL;
    spare_failed(log, error);
}

void log_retry(struct log *log, int64_t now)
{
    if (log->meta_retry_at && now >= log->meta_retry_at)
        log_meta_task(log);
    if (!log->retry_at || now < log->retry_at || log->spare_asked)
        return;
    log->retry_at = 0;
    if (log->spare)
        spare_arrived(log);
    else
        log_ask_spare(log, log->config.segment_bytes, false);
}

/* ---- tasks ---- */

static void drop_done(struct log *log, struct task *task)
{
    if (!task->meta.generation) {
        log->stale_drops--; /* one that could not be removed is void all the same */
        return;
    }
    log->drop_asked = false;
    if (task->error) {
        logger_put(LEVEL_WARN, "log-retain-failed", "dropped segments could not be removed; trying again later",
                   "stream=%s what=\"%s\" error=\"%s\"", log->name, task->what, strerror(task->error));
        return;
    }
    log->floor = MAX(log->floor, task->meta.floor);
    for (size_t i = 0; i < task->name_count; i++)
        if (*task->recycle_as[i] && log->shelf_count < SHELF_MAX) {
            log->shelf[log->shelf_count].refill = false;
            snprintf(log->shelf[log->shelf_count++].name, NAME_ROOM, "%s", task->recycle_as[i]);
        }
    for (size_t i = 0; i < task->name_count; i++)
        segment_free(&log->dropping[i]);
    log->dropping_count -= task->name_count;
    memmove(log->dropping, log->dropping + task->name_count, log->dropping_count * sizeof(struct segment *));
    if (log->retry_at)
        log->retry_at = log->dev->now; /* there is room again */
}

static void meta_done(struct log *log, struct task *task)
{
    log->floor_asked = false;
    if (!task->error) {
        log->floor = MAX(log->floor, task->meta.floor);
        return;
    }
    logger_put(LEVEL_WARN, "log-meta-failed", "the log's meta file could not be written; trying again in a second",
               "stream=%s error=\"%s\"", log->name, strerror(task->error));
    log->meta_retry_at = log->dev->now + RETRY_MS;
}

void log_task_done(struct log *log, struct task *task)
{
    if (task->kind == TASK_SPARE)
        spare_done(log, task);
    else if (task->kind == TASK_DROP)
        drop_done(log, task);
    else
        meta_done(log, task);
}
