/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_LOG_STATE_FILE_H
#define BROKER_LOG_STATE_FILE_H
#include "broker/log/internal.h"
#include "lib/crc32c.h"

/* What writing (state_file.c) and reading (state_read.c) state files share. */

#define STATE_MAGIC 0x54530000u /* upper half of a record's kind */
#define STATE_NAME_ROOM 256

struct state_slot {
    int fd;
    uint64_t bytes; /* made of zeros up to here */
    bool failed;    /* a write failed: renewed before it is used again */
};

void state_slot_name(const char *name, int slot, char text[STATE_NAME_ROOM]);
uint32_t state_crc(uint64_t generation, uint64_t offset, const struct state_record *record, const void *data);

struct state_read {
    int slot; /* -1: nothing was ever stored */
    uint64_t generation, newest; /* newest: the highest one met, complete or not */
    uint64_t checkpoint_end;
    uint64_t end, junk; /* behind the last record that counts; end of the bytes behind it */
};

/* state_read finds the newest complete checkpoint and calls `record` for it and what was appended. Fails with CORRUPT if
 * there is content and neither file's header can be read, SYSTEM if the disk refuses. */
int state_read(const struct log *log, const char *name, const struct state_slot *slots,
               void (*record)(void *arg, const uint8_t *data, size_t len), void *arg, struct state_read *read,
               struct ls_error *err);

/* One file's content. state_walk calls `record` (may be NULL) for its records, stepping over damage that was synced once. */
struct state_content {
    uint8_t *data;
    size_t len;
    bool head;          /* its header is right: */
    uint64_t generation;
    uint64_t proof;     /* bytes that some record says were synced */
    bool complete;      /* the checkpoint is */
    uint64_t checkpoint_end, end;
    size_t damaged;     /* places with damage */
};
void state_walk(struct state_content *content, void (*record)(void *arg, const uint8_t *data, size_t len), void *arg);
/* state_find_proof looks at every record to learn what was synced; before state_walk. */
void state_find_proof(struct state_content *content);
/* state_load reads a file and checks its header; 0 or errno. The caller frees content->data. */
int state_load(int fd, const uint8_t log_uuid[16], struct state_content *content);

#endif
