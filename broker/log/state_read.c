/* SPDX-License-Identifier: Apache-2.0 */
/* Reading state files: which of the two counts, where it ends, what damage means. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/state_file.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

void state_slot_name(const char *name, int slot, char text[STATE_NAME_ROOM])
{
    snprintf(text, STATE_NAME_ROOM, "%s.%d.state", name, slot);
}

int state_load(int fd, const uint8_t log_uuid[16], struct state_content *content)
{
    struct stat st;
    struct log_window window = {0};
    struct state_head head;
    *content = (struct state_content){0};
    if (fstat(fd, &st))
        return errno;
    size_t len = (size_t) st.st_size;
    if (len && !window_get(&window, fd, 0, len, len)) {
        int error = errno ? errno : EIO;
        window_fini(&window);
        return error;
    }
    content->data = window.data;
    content->len = len;
    if (len < BLOCK_BYTES || block_get(content->data, BLOCK_STATE, &head, sizeof head, NULL) ||
        memcmp(head.log_uuid, log_uuid, sizeof head.log_uuid))
        return 0;
    content->head = true;
    content->generation = head.generation;
    return 0;
}

/* The size of the record at `at`, 0 if there is none. */
static size_t record_there(const struct state_content *content, size_t at, struct state_record *record)
{
    if (content->len - at < sizeof *record)
        return 0;
    memcpy(record, content->data + at, sizeof *record);
    if ((record->kind & 0xffff0000u) != STATE_MAGIC || record->len > content->len - at - sizeof *record ||
        record->synced > at || record->crc != state_crc(content->generation, at, record, content->data + at + sizeof *record))
        return 0;
    return sizeof *record + PAD8(record->len);
}

/* The next record at or behind `at`; the end of the content if there is none. */
static size_t search(const struct state_content *content, size_t at)
{
    struct state_record record;
    for (; at + sizeof record <= content->len; at += 8)
        if (record_there(content, at, &record))
            return at;
    return content->len;
}

void state_walk(struct state_content *content, void (*record)(void *arg, const uint8_t *data, size_t len), void *arg)
{
    struct state_record head;
    content->damaged = 0;
    content->complete = false;
    content->end = BLOCK_BYTES;
    for (size_t at = BLOCK_BYTES; at < content->len;) {
        size_t size = record_there(content, at, &head);
        if (!size) {
            size_t next = search(content, at + 8);
            if (next == content->len || at >= content->proof)
                return; /* the end, or a write that never finished */
            content->damaged++;
            at = next;
            continue;
        }
        enum state_kind kind = (enum state_kind)(head.kind & 0xffff);
        content->proof = MAX(content->proof, head.synced);
        bool follows = (kind == STATE_APPEND || kind == STATE_MARK) && !content->complete; /* the end itself is damaged */
        if (kind == STATE_CHECKPOINT_END || follows) {
            content->complete = true;
            content->checkpoint_end = at + size;
        }
        if (record && (kind == STATE_CHECKPOINT || kind == STATE_APPEND))
            record(arg, content->data + at + sizeof head, head.len);
        at += size;
        content->end = at;
    }
}

void state_find_proof(struct state_content *content)
{
    struct state_record head;
    for (size_t at = search(content, BLOCK_BYTES); at < content->len; at = search(content, at)) {
        size_t size = record_there(content, at, &head);
        content->proof = MAX(content->proof, head.synced);
        at += size;
    }
}

static uint64_t end_of_bytes(const struct state_content *content)
{
    size_t end = content->len;
    while (end > content->end && !content->data[end - 1])
        end--;
    return end;
}

/* Nothing was ever stored: at most the making of the file was cut off, in its header or the empty first checkpoint. */
static bool is_empty(const struct state_content *content)
{
    for (size_t i = BLOCK_BYTES + sizeof(struct state_record); i < content->len; i++)
        if (content->data[i])
            return false;
    return true;
}

static int choose(const struct state_content *contents)
{
    for (int complete = 1; complete >= 0; complete--) {
        int best = -1;
        for (int i = 0; i < 2; i++)
            if (contents[i].head && contents[i].complete >= complete &&
                (best < 0 || contents[i].generation > contents[best].generation))
                best = i;
        if (best >= 0)
            return best;
    }
    return -1;
}

int state_read(const struct log *log, const char *name, const struct state_slot *slots,
               void (*record)(void *arg, const uint8_t *data, size_t len), void *arg, struct state_read *read,
               struct ls_error *err)
{
    struct state_content contents[2] = {{0}};
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        int error = state_load(slots[i].fd, log->meta.log_uuid, &contents[i]);
        if (error) /* the other one may do */
            logger_put(LEVEL_ERROR, "state-unreadable", "a state file cannot be read", "stream=%s file=%s.%d.state error=\"%s\"",
                       log->name, name, i, strerror(error));
        if (!contents[i].head)
            continue;
        state_find_proof(&contents[i]);
        state_walk(&contents[i], NULL, NULL);
    }
    *read = (struct state_read){.slot = choose(contents)};
    if (read->slot >= 0) {
        struct state_content *best = &contents[read->slot];
        state_walk(best, record, arg);
        read->generation = best->generation;
        read->newest = MAX(contents[0].generation, contents[1].generation);
        read->checkpoint_end = best->checkpoint_end;
        read->end = best->end;
        read->junk = end_of_bytes(best);
        if (best->damaged || !best->complete)
            logger_put(LEVEL_ERROR, "state-damaged", "records of consumer state were lost to damage",
                       "stream=%s file=%s.%d.state places=%zu generation=%" PRIu64, log->name, name, read->slot, best->damaged,
                       best->generation);
    } else if (!is_empty(&contents[0]) || !is_empty(&contents[1])) {
        rc = error_set(err, "CORRUPT", "the state files %s.0.state and %s.1.state of stream %s cannot be read: restore one from a "
                       "copy, or move both away to let consumers begin anew", name, name, log->name);
    }
    free(contents[0].data);
    free(contents[1].data);
    return rc;
}
