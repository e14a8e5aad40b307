/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOG_INTERNAL_H
#define BROKER_LOG_INTERNAL_H
#include <pthread.h>

#include "broker/log/format.h"
#include "lib/lineshaft.h"

/* The log in memory. Three threads: the owner (all of log.h), the commit thread and the preparer. A struct belongs to the owner
 * but for what is marked: `flight` parts belong to the commit thread while device->flying, tasks to the preparer until
 * they are in device->done, and what is marked (lock) is read and written under device->lock only. */

#define CHUNK_BYTES (256u << 10)
#define POOL_BYTES_MAX (32u << 20) /* committed chunks kept for reuse: fresh memory is dear on virtual machines */
#define POOL_BYTES_IDLE (1u << 20)
#define RETRY_MS 1000
#define SHELF_MAX 2
#define NAME_ROOM 64
#define SEGMENT_FILL_AT_OPEN (16u << 20) /* a new log's first segment: zeros written before the first append */

/* ---- memory: entries lie in a chain of chunks, in the form they have in the file; an entry is never split ---- */

struct chunk {
    uint64_t first_seq; /* 0: empty */
    size_t used, room;
    struct chunk *next; /* in the pool */
    uint8_t data[];
};

struct place {
    uint64_t chunk; /* number */
    size_t at;
};

/* ---- files ---- */

enum spare_state { SPARE_RESERVED, SPARE_READY, SPARE_FAILED };

/* A file that will become a segment. RESERVED: its room is, but it is still being filled with zeros. */
struct spare {
    int fd;
    char name[NAME_ROOM];
    uint64_t bytes, filled;
    bool zeroed;            /* false: recycled */
    enum spare_state state; /* (lock), with device->spare_changed */
    bool hurry;             /* (lock): the commit thread is about to use it: stop filling */
    int error;              /* (lock) errno */
    int dir;
    struct spare *next;     /* being filled (lock) */
};

struct segment {
    struct segment_head head;
    int fd;              /* -1: not open */
    struct spare *spare; /* what it will be made of; NULL once it has its name */
    uint64_t last, end;  /* committed: last sequence number, offset behind it (sealed long ago: the file's size) */
    uint64_t read_at;    /* counts uses, for closing the descriptor least used */
};

/* ---- a commit group ---- */

struct span {
    uint8_t *data;
    size_t len;
};

struct piece { /* what goes into one segment */
    struct segment *segment;
    uint64_t offset;
    size_t span, spans; /* first one, and how many */
    size_t bytes;
    uint64_t last_seq;
    int seal_fd;        /* the segment before, to be synced before this one begins; -1 */
};

struct group {
    struct piece *pieces;
    size_t piece_count, piece_room;
    struct span *spans;
    size_t span_count, span_room;
    struct place start;
    uint64_t first_seq, last_seq; /* of all pieces; 0 if it holds none */
    uint64_t bytes, events;
};

enum rescue { RESCUE_NO, RESCUE_SPARE, RESCUE_FLYING };

struct log {
    struct log *next;
    struct log_device *dev;
    struct log_config config;
    char *name;
    int dir;
    struct meta meta;
    int meta_slot; /* holds the newest meta; preparer's while the device runs */

    struct chunk **chunks; /* chunk number chunk_base is chunks[chunk_first] */
    size_t chunk_first, chunk_count, chunk_room;
    uint64_t chunk_base;
    uint64_t hot_bytes;

    struct segment **segments; /* by sequence number */
    size_t segment_count, segment_room;
    struct segment *lay; /* where the next entry goes; NULL: none, a fresh segment is needed */
    uint64_t at;         /* offset there */
    uint64_t next_number, next_spare, read_count;

    uint64_t next_seq, laid_last; /* laid_last: last sequence number appended */
    uint64_t ordinal;
    int64_t ts_us;
    uint64_t committed, committed_ordinal, synced, settled; /* settled: committed, or reported as failed */
    uint64_t floor;      /* meta.floor on disk */
    bool floor_asked;
    int64_t meta_retry_at; /* mono ms: writing meta failed and is due again; 0: it is written, or on its way */
    uint64_t pending_bytes;

    struct group front, flight;
    bool flying;        /* the flight is with the commit thread, or will be next */
    struct log *next_flying;
    uint64_t flight_synced;
    int flight_error;   /* commit thread's answer: errno */
    const char *flight_what;
    enum rescue rescue;

    struct spare *spare; /* the next segment */
    bool spare_asked, spare_news, spare_retried;
    bool spare_awaited; /* appends have waited for the one under way, and do not wait again */
    int spare_error;     /* why there is none; 0 */
    struct {
        char name[NAME_ROOM];
        bool refill; /* left by an earlier process, perhaps half filled */
    } shelf[SHELF_MAX]; /* files for reuse */
    size_t shelf_count;
    struct segment **stale; /* void after a failed write: unlinked once all is well again */
    size_t stale_count, stale_room, stale_drops; /* stale_drops: tasks under way that unlink such */
    struct segment **dropping; /* dropped by retention, their files not yet */
    size_t dropping_count, dropping_room;
    bool drop_asked;

    enum log_health health;
    char problem[200];
    int64_t retry_at; /* mono ms: for a segment; 0: no retry is due */
    bool unclean_start;
    struct log_range *lost;
    size_t lost_count, lost_room;
    uint64_t groups, synced_bytes;
    struct state_file *states;
};

/* ---- device ---- */

enum task_kind { TASK_SPARE, TASK_META, TASK_DROP };

struct task { /* for the preparer */
    enum task_kind kind;
    struct task *next;
    struct log *log;
    struct meta meta;                     /* META, DROP: to be written first */
    struct spare *spare;                  /* SPARE: in and out */
    bool recycled, refill, for_rescue;    /* SPARE: an existing file; to be filled with zeros all the same */
    char (*names)[NAME_ROOM], (*recycle_as)[NAME_ROOM]; /* DROP: recycle_as[i] "": unlink */
    size_t name_count;
    int error;
    const char *what;
};

struct log_device {
    char *path;
    int dir, lock_fd, event_fd;
    pthread_t commit_thread, prepare_thread;
    pthread_mutex_t lock;
    pthread_cond_t commit_wake, prepare_wake, spare_changed;
    /* (lock) */
    bool stopping, commit_asked, commit_done;
    struct task *todo, **todo_end, *done, **done_end;
    struct spare *filling;
    /* commit thread's while `flying` */
    struct log *flying_logs;
    struct state_file *flying_states;
    /* owner */
    struct log *logs;
    bool flying, flushing; /* flushing: state files are synced with the next group */
    size_t tasks; /* with the preparer */
    int64_t now;
    struct chunk *pool;
    uint64_t pool_bytes;
    int64_t idle_since;
};

/* device.c */
void device_task(struct log_device *dev, struct task **task);
uint64_t log_after_committed(const struct log *log);

/* device_spare_await waits, at most ms, until the preparer has reserved the spare that this log asked for, and takes it in. */
void device_spare_await(struct log_device *dev, struct log *log, int ms);
/* device_spare_stop ends the filling of a spare, waiting for the step under way. */
void device_spare_stop(struct log_device *dev, struct spare *spare);

/* disk.c: system calls, for any thread; 0 or errno */
int disk_write(int fd, const void *data, size_t len, uint64_t offset);
bool disk_read(int fd, void *data, size_t len, uint64_t offset); /* all of it, or false */
int disk_write_file(int dir, const char *name, const void *data, size_t len, uint64_t offset, bool create);
int spare_reserve(int dir, struct spare *spare, bool recycled, bool *reserved);
int spare_fill(struct spare *spare, uint64_t upto);
int segment_write_head(const struct segment *segment);
int segment_name_it(int dir, const struct segment *segment, const char *spare_name);
void segment_file_name(uint64_t base, char name[NAME_ROOM]);
int meta_write(struct log *log, const struct meta *meta);

/* commit.c: the commit thread's part */
int group_write(struct log_device *dev, struct log *log);

/* chunk.c */
uint8_t *chunk_room(struct log *log, size_t need, struct place *place);
void chunk_evict(struct log *log);
void chunk_cut(struct log *log, struct place from);
struct chunk *chunk_get(const struct log *log, uint64_t number);
/* chunk_find: number of the chunk that holds `seq` or the first one behind it; false if it lies before all. */
bool chunk_find(const struct log *log, uint64_t seq, uint64_t *number);
void chunk_free_all(struct log *log);
void pool_trim(struct log_device *dev, uint64_t keep);

/* log.c */
void log_free(struct log *log);
void log_meta_task(struct log *log);
void log_lost(struct log *log, uint64_t from, uint64_t to, const char *where);
struct segment *log_segment_plan(struct log *log, struct spare *spare, uint64_t base, uint64_t prev_end, uint64_t ordinal,
                                 int64_t ts_us);
void group_begin_piece(struct log *log, struct group *group, struct segment *segment, uint64_t offset);
void log_ask_spare(struct log *log, uint64_t bytes, bool for_rescue);
const char *log_error_text(int error); /* as strerror; of a limit it says that it is one */
void log_problem(struct log *log, enum log_health health, const char *format, ...) __attribute__((format(printf, 3, 4)));
void segment_free(struct segment **segment);

/* settle.c: what becomes of groups, spares and tasks */
bool log_hand_over(struct log *log);
void log_flight_done(struct log *log);
/* log_spare_spoilt: filling the spare in hand failed. */
void log_spare_spoilt(struct log *log);
void log_task_done(struct log *log, struct task *task);
void log_retry(struct log *log, int64_t now);

/* recover.c */
int log_recover(struct log *log, struct ls_error *err);

/* state_file.c: for all state files of a log, but for the lists of those that fly */
void states_hand_over(struct log *log, int64_t now, bool flush, struct state_file **flying);
void states_write(struct state_file *flying); /* commit thread */
void states_flight_done(struct state_file **flying);
bool states_pending(const struct log *log, bool flush);
int64_t states_due(const struct log *log);
void states_free(struct log *log);

#endif
