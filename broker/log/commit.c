/* SPDX-License-Identifier: Apache-2.0 */
/* The commit thread's work on one log: complete the records of the group, write them, make them durable. Runs on the
 * commit thread, touches the log's flight only. */
#include <errno.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/crc32c.h"

static void seal_records(const struct group *group, const struct piece *piece, uint64_t synced)
{
    uint64_t offset = piece->offset;
    for (size_t i = piece->span; i < piece->span + piece->spans; i++) {
        uint8_t *at = group->spans[i].data, *end = at + group->spans[i].len;
        while (at < end) {
            struct record_head *head = (void *) at; /* chunks are aligned, records padded to 8 */
            head->behind = synced && head->seq - synced < UINT32_MAX ? (uint32_t) (head->seq - synced) : 0;
            head->payload_crc = crc32c(0, at + RECORD_HEAD, head->len);
            head->head_crc = record_head_crc(piece->segment->head.id, offset, head);
            at += record_size(head);
            offset += record_size(head);
        }
    }
}

/* Waits until the preparer is done with the file, asking it to stop filling. */
static int spare_await(struct log_device *dev, struct spare *spare)
{
    pthread_mutex_lock(&dev->lock);
    spare->hurry = true;
    pthread_cond_signal(&dev->prepare_wake);
    while (spare->state == SPARE_RESERVED)
        pthread_cond_wait(&dev->spare_changed, &dev->lock);
    int error = spare->state == SPARE_FAILED ? spare->error : 0;
    pthread_mutex_unlock(&dev->lock);
    return error;
}

static int piece_write(struct log_device *dev, struct log *log, const struct piece *piece)
{
    const struct segment *segment = piece->segment;
    const struct spare *begins = segment->spare;
    int error = 0;
    log->flight_what = "preparing a segment";
    if (begins)
        error = spare_await(dev, segment->spare);
    if (!error && begins && piece->seal_fd >= 0 && fdatasync(piece->seal_fd))
        error = errno;
    log->flight_what = "writing";
    if (!error && begins)
        error = segment_write_head(segment);
    uint64_t offset = piece->offset;
    for (size_t i = piece->span; !error && i < piece->span + piece->spans; i++) {
        const struct span *span = &log->flight.spans[i];
        error = disk_write(segment->fd, span->data, span->len, offset);
        offset += span->len;
    }
    if (error)
        return error;
    log->flight_what = "syncing";
    if ((begins || log->config.sync) && fdatasync(segment->fd))
        return errno;
    log->flight_what = "naming a segment";
    return begins ? segment_name_it(log->dir, segment, begins->name) : 0;
}

int group_write(struct log_device *dev, struct log *log)
{
    const struct group *group = &log->flight;
    for (size_t i = 0; i < group->piece_count; i++)
        seal_records(group, &group->pieces[i], log->flight_synced);
    for (size_t i = 0; i < group->piece_count; i++) {
        int error = piece_write(dev, log, &group->pieces[i]);
        if (error)
            return error;
    }
    return 0;
}
