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

/* scan_tail decides where the last segment ends: damage up to `proof` (or to what the records themselves prove) is
 * reported as lost, later damage ends it. */
int scan_tail(struct log *log, struct segment *segment, uint64_t proof, struct scan *scan);
int scan_sealed(struct log *log, struct segment *segment, struct scan *scan);

#endif
