/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks and records as they are in the files: writing, verifying, finding. No state, no policy: what damage means is
 * decided by recover.c and cursor.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log/format.h"
#include "lib/crc32c.h"
#include "lib/xmem.h"

/* ---- blocks ---- */

#define BLOCK_COPY (BLOCK_BYTES / 2)

struct block_head {
    uint32_t kind;
    uint16_t version, len;
    uint32_t crc; /* of kind, version, len and body */
    uint32_t reserved;
};

static uint32_t block_crc(const struct block_head *head, const void *body)
{
    return crc32c(crc32c(0, head, offsetof(struct block_head, crc)), body, head->len);
}

void block_put(uint8_t block[BLOCK_BYTES], enum block_kind kind, const void *body, size_t len)
{
    struct block_head head = {.kind = kind, .version = FORMAT_VERSION, .len = (uint16_t) len};
    head.crc = block_crc(&head, body);
    memset(block, 0, BLOCK_BYTES);
    for (uint8_t *copy = block; copy < block + BLOCK_BYTES; copy += BLOCK_COPY) {
        memcpy(copy, &head, sizeof head);
        memcpy(copy + sizeof head, body, len);
    }
}

int block_get(const uint8_t block[BLOCK_BYTES], enum block_kind kind, void *body, size_t len, int *copies)
{
    int whole = 0;
    for (const uint8_t *copy = block; copy < block + BLOCK_BYTES; copy += BLOCK_COPY) {
        struct block_head head;
        memcpy(&head, copy, sizeof head);
        if (head.kind != (uint32_t) kind || head.version != FORMAT_VERSION || head.len != len || len > BLOCK_BODY_MAX ||
            head.crc != block_crc(&head, copy + sizeof head))
            continue;
        if (!whole++)
            memcpy(body, copy + sizeof head, len);
    }
    if (copies)
        *copies = whole;
    return whole ? 0 : -1;
}

/* ---- reading ---- */

const uint8_t *window_get(struct log_window *window, int fd, uint64_t offset, size_t len, size_t ahead)
{
    if (offset >= window->offset && offset + len <= window->offset + window->len)
        return window->data + (offset - window->offset);
    size_t wanted = MAX(len, ahead);
    if (wanted > window->room) {
        window_fini(window);
        window->data = xrealloc(NULL, wanted); /* not zeroed: it is filled at once */
        window->room = wanted;
    }
    window->offset = offset;
    window->len = 0;
    while (window->len < wanted) {
        ssize_t got = pread(fd, window->data + window->len, wanted - window->len, (off_t) (offset + window->len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && window->len < len)
            return NULL;
        if (got <= 0)
            break;
        window->len += (size_t) got;
    }
    errno = 0;
    return window->len >= len ? window->data : NULL;
}

void window_fini(struct log_window *window)
{
    free(window->data);
    *window = (struct log_window){0};
}

/* ---- records ---- */

uint32_t record_head_crc(uint64_t segment_id, uint64_t offset, const struct record_head *head)
{
    /* The place is part of the sum: a copy of a record inside another one's payload is none. */
    uint64_t seed[2] = {segment_id, offset};
    return crc32c(crc32c(0, seed, sizeof seed), head, offsetof(struct record_head, head_crc));
}

static bool head_is_right(const struct segment_view *view, uint64_t offset, const struct record_head *head)
{
    return head->magic == RECORD_MAGIC && head->count && head->len <= LOG_ENTRY_BYTES_MAX &&
           record_size(head) <= view->end - offset && head->head_crc == record_head_crc(view->id, offset, head);
}

enum record_state record_at(const struct segment_view *view, struct log_window *window, uint64_t offset,
                            struct record_head *head, const uint8_t **payload)
{
    if (offset + RECORD_HEAD > view->end)
        return RECORD_END;
    size_t ahead = (size_t) MIN(window->room ? READ_AHEAD_MAX : READ_AHEAD_MIN, view->end - offset);
    const uint8_t *at = window_get(window, view->fd, offset, RECORD_HEAD, ahead);
    if (!at)
        return errno ? RECORD_ERROR : RECORD_END;
    memcpy(head, at, RECORD_HEAD);
    if (!head_is_right(view, offset, head))
        return RECORD_NONE;
    at = window_get(window, view->fd, offset, RECORD_HEAD + head->len, ahead);
    if (!at)
        return errno ? RECORD_ERROR : RECORD_TORN;
    *payload = at + RECORD_HEAD;
    return crc32c(0, *payload, head->len) == head->payload_crc ? RECORD_WHOLE : RECORD_TORN;
}

enum record_state record_search(const struct segment_view *view, struct log_window *window, uint64_t *offset,
                                uint64_t min_seq, struct record_head *head)
{
    for (uint64_t at = *offset; at + RECORD_HEAD <= view->end;) {
        size_t len = (size_t) MIN(READ_AHEAD_MAX, view->end - at);
        const uint8_t *data = window_get(window, view->fd, at, RECORD_HEAD, len);
        if (!data)
            return errno ? RECORD_ERROR : RECORD_END;
        size_t have = window->len - (size_t) (data - window->data);
        size_t i = 0;
        for (; i + RECORD_HEAD <= have; i += 8) {
            uint16_t magic;
            memcpy(&magic, data + i, sizeof magic);
            if (magic != RECORD_MAGIC)
                continue;
            memcpy(head, data + i, RECORD_HEAD);
            if (head->seq < min_seq || !head_is_right(view, at + i, head))
                continue;
            *offset = at + i;
            const uint8_t *payload;
            return record_at(view, window, *offset, head, &payload);
        }
        at += i;
    }
    return RECORD_END;
}

static uint64_t key_of(const struct record_head *head, enum record_key key)
{
    return key == KEY_SEQ ? head->seq : key == KEY_TIME ? (uint64_t) head->ts_us : head->ordinal;
}

uint64_t record_bisect(const struct segment_view *view, struct log_window *window, enum record_key key, uint64_t value)
{
    uint64_t low = BLOCK_BYTES, high = view->end;
    while (high > low + READ_AHEAD_MIN) {
        uint64_t middle = low + (high - low) / 16 * 8;
        struct record_head head;
        uint64_t found = middle;
        enum record_state state = record_search(view, window, &found, 0, &head);
        if (state == RECORD_ERROR)
            return 0;
        if (state != RECORD_END && found < high && key_of(&head, key) < value)
            low = found;
        else
            high = middle;
    }
    return low;
}
