/* SPDX-License-Identifier: Apache-2.0 */
/* State files: two files in turn, a generation each, that begin with a checkpoint and go on with appended records. Made
 * at full size and written over, so that a full disk does not stop them. state_read.c reads them. */
#include "broker/log/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define STATE_BYTES (256u << 10) /* of each of the two files, at least */
#define SYNC_MS 1000

struct state_flight {
    struct buf data;
    uint64_t at;
    int slot;
    bool sync, checkpoint;
    uint64_t token;
    int error;
};

struct state_file {
    struct state_file *next, *next_flying;
    struct log *log;
    char *name;
    struct state_slot slots[2]; /* commit thread's while flying */
    struct state_flight flight;
    bool flying;
    int slot, good_slot;  /* where appends go; where the newest complete checkpoint is */
    uint64_t generation, newest; /* of `slot`; highest one ever used */
    struct buf pending;   /* for the next flight, at pending_at of `slot`, or of the next slot if a checkpoint */
    uint64_t pending_at, synced;
    bool pending_sync, pending_checkpoint, in_checkpoint;
    struct buf build;
    uint64_t token, durable, checkpoint_bytes;
    int64_t dirty_since;  /* mono ms of the first write that is not synced; 0 */
    bool broken;          /* writing failed: nothing is written until the next checkpoint */
    int64_t retry_at;
};

/* ---- records ---- */

uint32_t state_crc(uint64_t generation, uint64_t offset, const struct state_record *record, const void *data)
{
    uint64_t seed[2] = {generation, offset};
    uint32_t crc = crc32c(crc32c(0, seed, sizeof seed), record, offsetof(struct state_record, crc));
    return crc32c(crc, data, record->len);
}

static void add_record(struct buf *to, uint64_t generation, uint64_t at, struct state_record record, const void *data)
{
    static const uint8_t PADDING[8];
    record.crc = state_crc(generation, at, &record, data);
    buf_add(to, &record, sizeof record);
    if (record.len)
        buf_add(to, data, record.len);
    buf_add(to, PADDING, PAD8(record.len) - record.len);
}

static struct state_record record_of(const struct state_file *file, enum state_kind kind, size_t len)
{
    bool fresh = file->pending_checkpoint || kind == STATE_CHECKPOINT || kind == STATE_CHECKPOINT_END;
    return (struct state_record){.len = (uint32_t) len, .kind = STATE_MAGIC | (uint32_t) kind,
                                 .synced = fresh ? 0 : (uint32_t) file->synced};
}

static void add_head(struct buf *to, const struct log *log, uint64_t generation)
{
    uint8_t block[BLOCK_BYTES];
    struct state_head head = {.generation = generation};
    memcpy(head.log_uuid, log->meta.log_uuid, sizeof head.log_uuid);
    block_put(block, BLOCK_STATE, &head, sizeof head);
    buf_add(to, block, sizeof block);
}

/* ---- the owner's calls ---- */

uint64_t state_file_append(struct state_file *file, const void *data, size_t len, bool sync)
{
    file->token++;
    if (file->in_checkpoint) {
        add_record(&file->build, file->newest + 1, file->build.len, record_of(file, STATE_CHECKPOINT, len), data);
        return file->token;
    }
    if (file->broken)
        return file->token; /* the checkpoint to come holds its effect */
    add_record(&file->pending, file->generation, file->pending_at + file->pending.len, record_of(file, STATE_APPEND, len), data);
    file->pending_sync |= sync;
    return file->token;
}

uint64_t state_file_durable(const struct state_file *file)
{
    return file->durable;
}

static uint64_t capacity(const struct state_file *file)
{
    return MAX(STATE_BYTES, 4 * ((file->checkpoint_bytes + 4095) & ~(uint64_t) 4095));
}

bool state_file_full(const struct state_file *file)
{
    if (file->in_checkpoint)
        return false;
    if (file->broken)
        return file->log->dev->now >= file->retry_at;
    return file->pending_at + file->pending.len > capacity(file) / 4 * 3;
}

void state_file_checkpoint_begin(struct state_file *file)
{
    buf_clear(&file->build);
    add_head(&file->build, file->log, file->newest + 1);
    file->in_checkpoint = true;
}

void state_file_checkpoint_end(struct state_file *file)
{
    file->in_checkpoint = false;
    file->generation = ++file->newest;
    add_record(&file->build, file->generation, file->build.len, record_of(file, STATE_CHECKPOINT_END, 0), NULL);
    struct buf old = file->pending; /* what was not written yet is in the checkpoint */
    file->pending = file->build;
    file->build = old;
    buf_clear(&file->build);
    file->pending_at = 0;
    file->checkpoint_bytes = file->pending.len;
    file->pending_checkpoint = file->pending_sync = true;
    file->broken = false;
}

/* ---- with the commit thread ---- */

static bool sync_due(const struct state_file *file, int64_t now, bool flush)
{
    return file->dirty_since && (flush || now >= file->dirty_since + SYNC_MS);
}

void states_hand_over(struct log *log, int64_t now, bool flush, struct state_file **flying)
{
    for (struct state_file *file = log->states; file; file = file->next) {
        bool due = sync_due(file, now, flush);
        if (file->flying || file->broken || (!file->pending.len && !due))
            continue;
        if (file->pending_checkpoint) {
            file->slot = !file->good_slot;
            file->synced = 0;
        }
        struct buf empty = file->flight.data;
        file->flight = (struct state_flight){.data = file->pending,
                                             .at = file->pending_at,
                                             .slot = file->slot,
                                             .sync = file->pending_sync || due,
                                             .checkpoint = file->pending_checkpoint,
                                             .token = file->token};
        file->pending = empty;
        buf_clear(&file->pending);
        file->pending_at += file->flight.data.len;
        file->pending_sync = file->pending_checkpoint = false;
        file->flying = true;
        file->next_flying = *flying;
        *flying = file;
    }
}

/* Room for all of `upto` bytes, made of zeros. */
static int slot_grow(struct state_slot *slot, uint64_t upto)
{
    if (upto <= slot->bytes)
        return 0;
    upto = upto <= STATE_BYTES ? STATE_BYTES : (upto * 2 + 4095) & ~(uint64_t) 4095;
    if (fallocate(slot->fd, 0, 0, (off_t) upto) && errno != EOPNOTSUPP)
        return errno;
    struct spare fill = {.fd = slot->fd, .filled = slot->bytes, .bytes = upto};
    int error = spare_fill(&fill, upto);
    if (!error)
        slot->bytes = upto;
    return error;
}

/* A file that failed once is not written again: another one takes its name. */
static int slot_renew(struct state_file *file, int number)
{
    char name[STATE_NAME_ROOM];
    struct state_slot fresh = {.fd = -1};
    state_slot_name(file->name, number, name);
    if (unlinkat(file->log->dir, name, 0) && errno != ENOENT)
        return errno;
    fresh.fd = openat(file->log->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fresh.fd < 0)
        return errno;
    int error = slot_grow(&fresh, STATE_BYTES);
    if (!error && fsync(file->log->dir))
        error = errno;
    if (error) {
        close(fresh.fd);
        return error;
    }
    close(file->slots[number].fd);
    file->slots[number] = fresh;
    return 0;
}

static int flight_write(struct state_file *file)
{
    struct state_flight *flight = &file->flight;
    struct state_slot *slot = &file->slots[flight->slot];
    int error = slot->failed ? slot_renew(file, flight->slot) : 0;
    if (!error)
        error = slot_grow(slot, flight->at + flight->data.len);
    if (!error)
        error = disk_write(slot->fd, flight->data.data, flight->data.len, flight->at);
    if (!error && flight->sync && fdatasync(slot->fd))
        error = errno;
    slot->failed |= error != 0;
    return error;
}

void states_write(struct state_file *flying)
{
    for (struct state_file *file = flying; file; file = file->next_flying)
        file->flight.error = flight_write(file);
}

static void flight_done(struct state_file *file)
{
    struct state_flight *flight = &file->flight;
    file->flying = false;
    if (flight->error) {
        logger_put(LEVEL_WARN, "state-write-failed", "consumer state could not be written; it is written anew in a second",
                   "stream=%s file=%s error=\"%s\"", file->log->name, file->name, strerror(flight->error));
        if (file->pending_checkpoint)
            return; /* a checkpoint is on its way already */
        buf_clear(&file->pending);
        file->pending_sync = false;
        file->broken = true;
        file->dirty_since = 0;
        file->retry_at = file->log->dev->now + SYNC_MS;
        return;
    }
    if (flight->checkpoint)
        file->good_slot = flight->slot;
    if (!flight->sync) {
        if (!file->dirty_since)
            file->dirty_since = MAX(file->log->dev->now, 1);
        return;
    }
    file->dirty_since = 0;
    file->durable = flight->token;
    file->synced = flight->at + flight->data.len;
    if (flight->checkpoint && !file->pending_checkpoint) /* proof that the checkpoint was whole once */
        add_record(&file->pending, file->generation, file->pending_at + file->pending.len, record_of(file, STATE_MARK, 0), NULL);
}

void states_flight_done(struct state_file **flying)
{
    struct state_file *next, *file = *flying;
    *flying = NULL;
    for (; file; file = next) {
        next = file->next_flying;
        flight_done(file);
    }
}

bool states_pending(const struct log *log, bool flush)
{
    for (const struct state_file *file = log->states; file; file = file->next)
        if (file->flying || (!file->broken && (file->pending.len || (flush && file->dirty_since))))
            return true;
    return false;
}

int64_t states_due(const struct log *log)
{
    int64_t due = INT64_MAX;
    for (const struct state_file *file = log->states; file; file = file->next) {
        if (file->dirty_since && !file->flying)
            due = MIN(due, file->dirty_since + SYNC_MS);
        if (file->broken)
            due = MIN(due, MAX(file->retry_at, file->log->dev->now + SYNC_MS / 10));
    }
    return due;
}

/* ---- opening and closing ---- */

static void state_free(struct state_file *file)
{
    for (int i = 0; i < 2; i++)
        if (file->slots[i].fd >= 0)
            close(file->slots[i].fd);
    buf_fini(&file->pending);
    buf_fini(&file->build);
    buf_fini(&file->flight.data);
    free(file->name);
    free(file);
}

void states_free(struct log *log)
{
    while (log->states) {
        struct state_file *file = log->states;
        log->states = file->next;
        state_free(file);
    }
}

static int open_slots(struct state_file *file, struct ls_error *err)
{
    for (int i = 0; i < 2; i++) {
        char name[STATE_NAME_ROOM];
        struct stat st;
        state_slot_name(file->name, i, name);
        int fd = openat(file->log->dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
        file->slots[i] = (struct state_slot){.fd = fd};
        /* Serve what the disk has, not what a cache holds after a failed sync. */
        if (fd < 0 || fstat(fd, &st) || fdatasync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
            return error_set(err, "SYSTEM", "cannot open %s of stream %s: %s", name, file->log->name, strerror(errno));
        file->slots[i].bytes = (uint64_t) st.st_size;
    }
    return 0;
}

/* The first generation: an empty checkpoint. */
static int begin_file(struct state_file *file)
{
    struct buf content = {0};
    file->generation = file->newest = 1;
    add_head(&content, file->log, 1);
    add_record(&content, 1, content.len, record_of(file, STATE_CHECKPOINT_END, 0), NULL);
    int error = disk_write(file->slots[0].fd, content.data, content.len, 0);
    if (!error && fdatasync(file->slots[0].fd))
        error = errno;
    file->pending_at = file->synced = content.len;
    buf_fini(&content);
    return error;
}

static int wipe_tail(struct state_slot *slot, const struct state_read *read)
{
    struct spare wiped = {.fd = slot->fd, .filled = read->end, .bytes = read->junk};
    if (read->junk <= read->end)
        return 0;
    int error = spare_fill(&wiped, read->junk);
    return error ? error : fdatasync(slot->fd) ? errno : 0;
}

struct state_file *state_file_open(struct log *log, const char *name,
                                   void (*record)(void *arg, const uint8_t *data, size_t len), void *arg, struct ls_error *err)
{
    struct state_file *file = xcalloc(1, sizeof *file);
    struct state_read read;
    file->log = log;
    file->name = xstrdup(name);
    file->slots[0].fd = file->slots[1].fd = -1;
    if (open_slots(file, err) || state_read(log, name, file->slots, record, arg, &read, err))
        goto fail;
    int error = 0;
    for (int i = 0; i < 2 && !error; i++)
        error = slot_grow(&file->slots[i], STATE_BYTES);
    if (!error && read.slot < 0)
        error = begin_file(file);
    if (!error && fsync(log->dir))
        error = errno;
    if (error) {
        error_set(err, "SYSTEM", "cannot prepare state file %s of stream %s: %s", name, log->name, strerror(error));
        goto fail;
    }
    if (read.slot >= 0) {
        file->slot = file->good_slot = read.slot;
        file->generation = read.generation;
        file->newest = read.newest;
        file->pending_at = file->synced = read.end;
        file->checkpoint_bytes = read.checkpoint_end;
        /* A checkpoint that a crash cut off left records there of the generation that the next one will have. */
        struct state_slot *other = &file->slots[!read.slot];
        if (log->unclean_start && wipe_tail(other, &(struct state_read){.junk = other->bytes}))
            other->failed = true;
        error = wipe_tail(&file->slots[read.slot], &read);
        if (error) { /* never behind bytes that could come back: the next checkpoint goes elsewhere */
            file->slots[read.slot].failed = file->broken = true;
            logger_put(LEVEL_WARN, "state-write-failed", "the cut tail of a state file could not be overwritten",
                       "stream=%s file=%s error=\"%s\"", log->name, name, strerror(error));
        }
    }
    file->next = log->states;
    log->states = file;
    return file;
fail:
    state_free(file);
    return NULL;
}
