/* SPDX-License-Identifier: Apache-2.0 */
/* GET: reading a stream's log, one event or a range, bounded in what it sends and in what it looks at. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 1000
#define BYTES_DEFAULT (1u << 20)
#define BYTES_MAX (8u << 20)
/* Given to one session in one turn of the loop: it waits in the peer's pipe until it reads, and one that asks on and on without
 * reading must not fill the memory. */
#define TURN_BYTES_MAX (16u << 20)
#define LOOK_BYTES_MAX (16u << 20) /* a filtered read stops here and says where to go on */

struct reading {
    struct message *m;
    struct stream *stream;
    struct mp_slice header;
    uint64_t count, bytes;
    bool batch;
    char **topics;
    struct start start;
};

static int reading_stream(struct broker *b, struct reading *r, struct mp header, struct ls_error *err)
{
    struct mp at;
    struct mp_slice name;
    if (!mp_find(header, "stream", &at) || !mp_str(&at, &name))
        return error_set(err, "BAD_VALUE", "GET wants \"stream\"");
    r->stream = stream_find(b, name);
    if (!r->stream)
        return error_set(err, "NO_STREAM", "there is no stream \"%.*s\"", (int) (name.len < 64 ? name.len : 64),
                         name.data);
    return 0;
}

static int reading_range(struct reading *r, struct mp header, struct ls_error *err)
{
    struct mp at;
    r->count = 100;
    r->bytes = BYTES_DEFAULT;
    if (!mp_find(header, "from", &at) || !start_read(at, &r->start))
        return error_set(err, "BAD_VALUE",
                         "GET wants \"seq\" for one event, or \"from\": a number, {time_us: t} or {last: n}");
    if (header_number(header, "n", 1, COUNT_MAX, &r->count, err) < 0 ||
        header_number(header, "bytes", 1, BYTES_MAX, &r->bytes, err) < 0)
        return -1;
    if (mp_find(header, "batch", &at) && !mp_bool(&at, &r->batch))
        return error_set(err, "BAD_VALUE", "\"batch\" wants true or false");
    if (mp_find(header, "topics", &at) && !(r->topics = topics_read(at, err)))
        return -1;
    if (r->m->delimited)
        return error_set(err, "BAD_FRAME", "a REQ socket gets one reply: read one event with \"seq\", or use a DEALER");
    return 0;
}

static void send_end(struct reading *r, uint64_t next)
{
    struct buf map = {0}, tag = {0};
    uint32_t tags = pack_tag(&tag, r->header);
    buf_pack_map(&map, 3 + tags);
    buf_add(&map, tag.data, tag.len);
    buf_pair_uint(&map, "next", next);
    buf_pair_uint(&map, "first", log_first_seq(r->stream->log));
    buf_pair_uint(&map, "last", log_durable_seq(r->stream->log));
    reply_map(r->m->session, "END", &map);
    buf_fini(&map);
    buf_fini(&tag);
}

static int get_one(struct reading *r, uint64_t seq, const struct buf *lead, uint32_t lead_pairs, struct ls_error *err)
{
    struct walk walk = {0};
    struct stored event;
    int result = 0;
    walk_seek(&walk, r->stream->log, seq);
    int got = walk_next(&walk, &event);
    if (got < 0)
        result = error_set(err, "STORAGE", "the disk refuses to read");
    else if (seq < log_first_seq(r->stream->log))
        result = error_set(err, "TRIMMED", "event %llu was removed by retention; the oldest is %llu",
                           (unsigned long long) seq, (unsigned long long) log_first_seq(r->stream->log));
    else if (!got || event.seq != seq)
        result = error_set(err, "NOT_FOUND", "stream %s has no event %llu", r->stream->config->name,
                           (unsigned long long) seq);
    else
        deliver_one(r->m->session, lead, lead_pairs, &event, 0, r->stream);
    if (result == 0)
        r->m->session->turn_bytes += event.header.len + event.body.len;
    walk_fini(&walk);
    if (result == 0 && !r->m->delimited)
        send_end(r, seq + 1);
    return result;
}

static bool wanted(const struct reading *r, const struct stored *event)
{
    struct mp_slice topic;
    return !r->topics || (stored_topic(event, &topic) && topics_match(r->topics, topic));
}

static int get_range(struct reading *r, const struct buf *lead, uint32_t lead_pairs, struct ls_error *err)
{
    struct walk walk = {0};
    struct packer packer = {0};
    struct stored event;
    uint64_t sent = 0, bytes = 0, looked = 0, next = start_seq(r->stream, &r->start);
    int got = 0;
    walk_seek(&walk, r->stream->log, next);
    while (sent < r->count && bytes < r->bytes && looked < LOOK_BYTES_MAX && (got = walk_next(&walk, &event)) == 1) {
        size_t size = event.header.len + event.body.len;
        looked += size + 64;
        if (wanted(r, &event)) {
            if (sent && bytes + size > r->bytes)
                break;
            sent++;
            bytes += size;
            r->m->session->turn_bytes += size;
            if (r->batch && !packer_takes(&packer, &event, BYTES_MAX, COUNT_MAX))
                deliver_packed(r->m->session, lead, lead_pairs, &packer, 0, r->stream);
            if (r->batch)
                packer_add(&packer, &event);
            else
                deliver_one(r->m->session, lead, lead_pairs, &event, 0, r->stream);
        }
        next = event.seq + 1;
    }
    deliver_packed(r->m->session, lead, lead_pairs, &packer, 0, r->stream);
    buf_fini(&packer.bytes);
    walk_fini(&walk);
    r->m->bytes += looked;
    if (got < 0)
        return error_set(err, "STORAGE", "the disk refuses to read");
    /* At the end of the log the next number is told, so that a reader polls across gaps. */
    send_end(r, got == 0 && sent < r->count && bytes < r->bytes && looked < LOOK_BYTES_MAX &&
                        next <= log_durable_seq(r->stream->log)
                    ? log_durable_seq(r->stream->log) + 1
                    : next);
    return 0;
}

void on_get(struct broker *b, struct message *m)
{
    struct reading r = {.m = m, .header = message_part(m, 1)};
    struct session *s = m->session;
    struct mp header = mp_over(r.header.data, r.header.len), at;
    struct buf lead = {0};
    struct ls_error err;
    uint64_t seq;
    uint32_t pairs = pack_tag(&lead, r.header);
    int result = reading_stream(b, &r, header, &err);
    if (s->turn != b->turn) {
        s->turn = b->turn;
        s->turn_bytes = 0;
    }
    if (result == 0 && (s->turn_bytes > TURN_BYTES_MAX || session_is_slow(s))) {
        result = error_set(&err, "BUSY", "read what was sent before asking for more");
        err.retry_ms = 20;
    }
    if (result == 0 && mp_find(header, "seq", &at)) {
        result = mp_uint(&at, &seq) ? get_one(&r, seq, &lead, pairs, &err)
                                    : error_set(&err, "BAD_VALUE", "\"seq\" wants a number");
    } else if (result == 0) {
        result = reading_range(&r, header, &err);
        if (result == 0)
            result = get_range(&r, &lead, pairs, &err);
    }
    if (result < 0) {
        if (!strcmp(err.name, "TRIMMED")) {
            buf_pair_uint(&lead, "first", log_first_seq(r.stream->log));
            pairs++;
        }
        reply_error(m->session, &err, &lead, pairs);
    }
    topics_free(r.topics);
    buf_fini(&lead);
}
