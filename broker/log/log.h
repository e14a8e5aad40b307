/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOG_LOG_H
#define BROKER_LOG_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lineshaft.h"

/* The durable log: a directory per stream with segment files, written by one commit thread per data directory.
 * It knows nothing of sockets, topics or headers: an entry is opaque bytes that stand for `count` consecutive sequence
 * numbers. All functions are called from one thread (the broker's loop) and, but for the open and close calls, never
 * block on the disk. File format and recovery rules: docs/log-format.md. */

struct log_device; /* a data directory: its lock, its commit thread, its segment preparer, its logs and state files */
struct log;        /* one stream */

/* ---- device ---- */

/* log_device_open locks `dir` (created if absent) and starts the threads. Fails with CONFLICT if another process holds
 * the directory (the text names its pid), SYSTEM otherwise. */
struct log_device *log_device_open(const char *dir, struct ls_error *err);

/* log_device_fd: readable when log_device_poll has something to report. */
int log_device_fd(const struct log_device *dev);

/* log_device_submit hands everything appended since the last call to the commit thread, unless it is still at work on an
 * earlier group: then it is handed over by the next log_device_poll that finds the thread idle. Call once a loop turn. */
void log_device_submit(struct log_device *dev);

/* log_device_poll takes in what the threads finished, calls the logs' `committed` and `failed` callbacks, retries
 * refused logs whose time has come, and hands over the next group. Returns the ms until it wants to be called again
 * even if the descriptor stays quiet, or -1. */
int64_t log_device_poll(struct log_device *dev, int64_t now_mono_ms);

/* log_device_wait blocks until nothing is pending any more, polling meanwhile: for an orderly stop and for tests. */
void log_device_wait(struct log_device *dev);

/* log_device_close commits what is pending, marks every log as cleanly closed, ends the threads, frees all logs and state
 * files of the device. */
void log_device_close(struct log_device **dev);

/* ---- one stream's log ---- */

enum log_health {
    LOG_HEALTHY,
    LOG_FULL,      /* no room for a next segment: log_append gives DISK_FULL (507) */
    LOG_READ_ONLY, /* writing or syncing failed, and so did a fresh segment: log_append gives STORAGE (503) */
};

struct log_config {
    const char *name;            /* directory below the device's; [a-z0-9_$-] */
    bool sync;                   /* fdatasync before `committed` (durability: disk) */
    uint64_t segment_bytes;      /* 64 KiB .. 1 GiB, multiple of 4096 */
    uint64_t pending_bytes_max;  /* appended and not yet committed; beyond it log_append gives BUSY (429) */
    uint64_t hot_bytes_max;      /* committed entries kept in memory for readers at the tail */
    int64_t retain_age_ms;       /* 0: no limit, here and below */
    uint64_t retain_bytes, retain_count;
    void (*committed)(void *arg, struct log *log, uint64_t upto);
    /* failed: sequence numbers from..to were given out but are not in the log and never will be. */
    void (*failed)(void *arg, struct log *log, uint64_t from, uint64_t to, const struct ls_error *err);
    void *arg;
};

/* log_open recovers the log (docs/log-format.md, "Recovery") and opens it for appending. Blocks in proportion to the last
 * segment. Damage never makes it fail: lost ranges are in log_info. Fails with SYSTEM or CORRUPT (a meta file that cannot be
 * read in either slot while segments exist). */
struct log *log_open(struct log_device *dev, const struct log_config *config, struct ls_error *err);
#define LOG_DESCRIPTORS 32 /* an open log has at most so many: segments that are read and written, and what belongs to it */

#define LOG_GROUP_EVENTS_MAX (1u << 20) /* events in one commit group; also the gap after an unclean start */
#define LOG_ENTRY_BYTES_MAX (64u << 20)

/* log_append copies an entry made of `parts` into the pending group. Its events take `count` sequence numbers; returns the
 * first, or 0 with *err: BUSY, DISK_FULL, STORAGE, TOO_BIG. ts_us (wall clock) is raised to the previous entry's. */
struct log_part {
    const void *data;
    size_t len;
};
uint64_t log_append(struct log *log, uint16_t flags, uint32_t count, int64_t ts_us, const struct log_part *parts,
                    size_t part_count, struct ls_error *err);

uint64_t log_next_seq(const struct log *log);    /* what the next append will take */
uint64_t log_durable_seq(const struct log *log); /* highest committed; 0 for none */
/* log_first_seq: the oldest that is stored; if nothing is committed yet, where what is under way begins. */
uint64_t log_first_seq(const struct log *log);
/* log_seq_at_time: the first recorded at or after; behind the last committed one if there is none. */
uint64_t log_seq_at_time(struct log *log, int64_t ts_us);
/* log_seq_back: the sequence number such that at most `count` events are at or after it. */
uint64_t log_seq_back(struct log *log, uint64_t count);

/* log_events_from: how many committed events are at or after `seq` (numbers have gaps, so this is not a difference). A look at the
 * disk if seq is not in memory. */
uint64_t log_events_from(struct log *log, uint64_t seq);

/* log_retain drops what the limits allow (whole segments, oldest first, never the one being written). Call now and then. */
void log_retain(struct log *log, int64_t now_wall_us);

struct log_range {
    uint64_t from, to;
};
struct log_info {
    enum log_health health;
    uint64_t first_seq, next_seq, durable_seq;
    uint64_t bytes;          /* on disk, all segments */
    uint64_t pending_bytes;
    uint64_t segments;
    uint64_t groups, synced_bytes; /* since the start: commit groups, bytes committed */
    const struct log_range *lost;  /* ranges that damage made unreadable */
    size_t lost_count;
    bool unclean_start;
    char problem[200];       /* why it is not healthy, "" if it is */
};
void log_info(const struct log *log, struct log_info *info);

/* ---- reading: committed entries only ---- */

struct log_entry {
    uint64_t seq;   /* of its first event */
    uint32_t count;
    uint16_t flags;
    int64_t ts_us;
    const uint8_t *data;
    size_t len;
};

/* Bytes of a file kept while reading on. */
struct log_window {
    uint8_t *data;
    size_t room, len;
    uint64_t offset;
};

/* A position in a log. Its entry's bytes stay valid until the next call with the same cursor, and until
 * log_device_poll is called. A cursor at the tail holds no memory. Zero-initialise, then log_cursor_seek. All but `seq` is
 * private. */
struct log_cursor {
    struct log *log;
    uint64_t seq; /* the next entry that log_cursor_next returns ends at or after this */
    struct log_window window;
    uint64_t segment, offset; /* where the next record is, once found: number of the segment and place in its file */
    uint64_t expected;        /* its sequence number, or less */
    uint64_t hot_chunk;       /* the same in memory: number of the chunk + 1 */
    size_t hot_at;
};
void log_cursor_seek(struct log_cursor *cursor, struct log *log, uint64_t seq);
/* log_cursor_next: 1 and the entry that holds cursor->seq or the first one after it (lost and trimmed ranges are stepped
 * over); 0 at the durable end; -1 when the disk refuses to read (the cursor stays). Advances cursor->seq behind the entry. */
int log_cursor_next(struct log_cursor *cursor, struct log_entry *entry, struct ls_error *err);
void log_cursor_fini(struct log_cursor *cursor);

/* ---- state files: small records with checkpoints, for the consumers of a stream ---- */

struct state_file;

/* state_file_open reads `name` (in the log's directory): `record` is called for every record of the newest complete
 * checkpoint and of the appends behind it, in order. Created if absent. */
struct state_file *state_file_open(struct log *log, const char *name,
                                   void (*record)(void *arg, const uint8_t *data, size_t len), void *arg, struct ls_error *err);
/* state_file_append adds a record to the next group; it is written with it, and synced if `sync` is set, or when the second
 * is up. Returns a token that state_file_durable reaches when the record is synced. */
uint64_t state_file_append(struct state_file *file, const void *data, size_t len, bool sync);
uint64_t state_file_durable(const struct state_file *file);
/* state_file_full: so much was appended that a checkpoint is due. state_file_checkpoint replaces the whole
 * content by the records that the caller appends between begin and end. */
bool state_file_full(const struct state_file *file);
void state_file_checkpoint_begin(struct state_file *file);
void state_file_checkpoint_end(struct state_file *file);

/* ---- offline: `lineshaft log check` and `log dump` ---- */

/* log_check reads a stream's directory without changing it and calls `found` for every problem (severity "error" or "note").
 * Returns the number of errors, -1 if the directory cannot be read. */
int log_check(const char *dir, void (*found)(void *arg, const char *severity, const char *file, uint64_t offset, const char *text),
              void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes), void *arg, struct ls_error *err);
/* log_dump calls `entry` for every readable entry from `from` on until it returns false. */
int log_dump(const char *dir, uint64_t from, bool (*entry)(void *arg, const struct log_entry *entry, const char *file, uint64_t offset),
             void *arg, struct ls_error *err);

#endif
