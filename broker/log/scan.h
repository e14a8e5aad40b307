/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOG_SCAN_H
#define BROKER_LOG_SCAN_H
#include "broker/log/internal.h"

/* Reading what a log's directory holds: for recovery and for the offline tools. */

enum file_kind { FILE_SEGMENT, FILE_META, FILE_SPARE, FILE_TORN, FILE_STATE, FILE_NONE, FILE_UNKNOWN };
enum file_kind file_kind_of(const char *name); /* FILE_NONE: "." and ".." */

enum head_state { HEAD_WHOLE, HEAD_UNREADABLE };
enum head_state segment_head_read(int dir, const char *name, struct segment_head *head, uint64_t *bytes);

/* meta_read: the slot that holds the newest meta, or -1 if neither can be read. *doubtful: the other one is damaged. */
int meta_read(int dir, struct meta *meta, bool *doubtful);

/* What stands at a place of a segment, and before it. */
struct scan {
    uint64_t offset;  /* behind the last record that counts */
    uint64_t last;    /* its last sequence number; base - 1 if there is none */
    uint64_t ordinal; /* events up to here */
    int64_t ts_us;
    uint64_t junk;    /* end of what follows and does not count; offset if nothing does */
};

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
/* segment_walk reads a segment up to its last good record, or the first one beyond `last` or among void_from..void_to. -1
 * with errno if the disk refuses. The caller frees walk->damages. */
int segment_walk(const struct segment_view *view, const struct segment_head *head, uint64_t last, uint64_t void_from,
                 uint64_t void_to, struct walk *walk);

/* scan_tail decides where the last segment ends: damage up to `proof` (or to what the records themselves prove) is
 * reported as lost, later damage ends it. */
int scan_tail(struct log *log, struct segment *segment, uint64_t proof, struct scan *scan);
int scan_sealed(struct log *log, struct segment *segment, struct scan *scan);

#endif
