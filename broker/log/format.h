/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOG_FORMAT_H
#define BROKER_LOG_FORMAT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/log/log.h"

/* What the log's files look like; docs/log-format.md is the specification. Everything is little-endian. */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the log's files are little-endian and this processor is not: byte swaps would be needed in broker/log"
#endif

#define PAD8(n) (((n) + 7) & ~(uint64_t) 7)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- blocks: 4096 bytes that hold a small body twice, 2048 bytes apart, so that one bad sector costs nothing ---- */

#define BLOCK_BYTES 4096u
#define BLOCK_BODY_MAX 2032u
#define FORMAT_VERSION 1

enum block_kind { BLOCK_META = 0x4d534c01, BLOCK_SEGMENT = 0x53534c01, BLOCK_STATE = 0x54534c01 };

void block_put(uint8_t block[BLOCK_BYTES], enum block_kind kind, const void *body, size_t len);
/* block_get: 0 and the body, or -1 if neither copy is whole. *copies (may be NULL): how many are. */
int block_get(const uint8_t block[BLOCK_BYTES], enum block_kind kind, void *body, size_t len, int *copies);

/* ---- segments ---- */

struct segment_head {
    uint8_t log_uuid[16];
    uint64_t id;        /* random, new at every use of a file; part of every record's checksum */
    uint64_t number;    /* counts the segments of a log: of two that hold the same sequence number the later one counts */
    uint64_t base;      /* first sequence number */
    uint64_t prev_end;  /* last sequence number before this segment: what earlier ones hold beyond it is void */
    uint64_t ordinal;   /* events in the log before this segment */
    uint64_t bytes;     /* file size */
    int64_t created_us; /* wall clock of the first record */
    uint32_t zeroed;    /* 1: was filled with zeros, 0: holds records of an earlier use */
    uint32_t reserved;
};

#define RECORD_MAGIC 0x524c /* "LR" */

struct record_head {
    uint16_t magic, flags;
    uint32_t len;         /* of the payload, which follows; then zeros up to a multiple of 8 */
    uint64_t seq;         /* of its first event */
    int64_t ts_us;
    uint64_t ordinal;     /* events in the log before this one: like seq, but without gaps */
    uint32_t count;       /* events */
    uint32_t behind;      /* seq - behind was the highest synced sequence number when this was written; 0: not known */
    uint32_t payload_crc; /* CRC-32C of the payload */
    uint32_t head_crc;    /* CRC-32C of segment id, offset in the file and all the above */
};
#define RECORD_HEAD ((uint64_t) sizeof(struct record_head))
_Static_assert(sizeof(struct record_head) == 48, "the record header has 48 bytes");

#define record_size(head) PAD8(RECORD_HEAD + (head)->len)
#define record_last(head) ((head)->seq + (head)->count - 1)

uint32_t record_head_crc(uint64_t segment_id, uint64_t offset, const struct record_head *head);

/* struct log_window, a file being read: `data` holds `len` bytes from `offset` on. Zero-initialise; window_fini frees. */
/* window_get makes `len` bytes at `offset` available (reading `ahead` at once) and returns them, or NULL with errno
 * (0: the file ends before). */
const uint8_t *window_get(struct log_window *window, int fd, uint64_t offset, size_t len, size_t ahead);
void window_fini(struct log_window *window);

/* A segment to be read: up to `end`. */
struct segment_view {
    int fd;
    uint64_t id, end;
};

enum record_state {
    RECORD_WHOLE,
    RECORD_TORN,  /* the header is right, the payload is not: the next record follows at its proper place */
    RECORD_NONE,  /* no record here */
    RECORD_END,   /* no room for one */
    RECORD_ERROR, /* the disk refuses: errno */
};
#define READ_AHEAD_MIN 65536u
#define READ_AHEAD_MAX 262144u

/* record_at reads and verifies the record at `offset`. *payload stays valid until the window is used again. */
enum record_state record_at(const struct segment_view *view, struct log_window *window, uint64_t offset,
                            struct record_head *head, const uint8_t **payload);
/* record_search looks for the next record from *offset on, in steps of 8 bytes, whose header is right and whose seq is at
 * least `min_seq`. RECORD_WHOLE (or RECORD_TORN) with *offset and *head set, RECORD_END or RECORD_ERROR. */
enum record_state record_search(const struct segment_view *view, struct log_window *window, uint64_t *offset,
                                uint64_t min_seq, struct record_head *head);

enum record_key { KEY_SEQ, KEY_TIME, KEY_ORDINAL };
/* record_bisect returns the offset of a record such that the first one whose key is at or beyond `value`, and the one before
 * it, are reached by walking on from there over less than READ_AHEAD_MIN bytes or one record; BLOCK_BYTES if it is the first.
 * 0 with errno if the disk refuses. */
uint64_t record_bisect(const struct segment_view *view, struct log_window *window, enum record_key key, uint64_t value);

/* ---- meta: two blocks, written in turn ---- */

struct meta {
    uint8_t log_uuid[16];
    uint64_t generation;
    uint64_t low_water;         /* sequence numbers below were dropped by retention */
    uint64_t floor;             /* sequence numbers below may have been given out */
    uint64_t durable;           /* if clean: the highest one stored */
    uint64_t void_from, void_to; /* given out and refused by the disk: what a segment may hold of them does not count */
    int64_t created_us;
    uint32_t clean;             /* 1: the log was closed in order */
    uint32_t reserved;
};

/* ---- state files: two of them, a generation each; see state_file.c ---- */

struct state_head {
    uint8_t log_uuid[16];
    uint64_t generation;
};

enum state_kind { STATE_CHECKPOINT = 1, STATE_CHECKPOINT_END, STATE_APPEND, STATE_MARK };

struct state_record {
    uint32_t len;    /* of the payload */
    uint32_t kind;
    uint32_t synced; /* bytes of the file that were synced when this was written */
    uint32_t crc;    /* of generation, offset in the file, the above, and the payload */
};

#endif
