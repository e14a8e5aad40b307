/* SPDX-License-Identifier: Apache-2.0 */
/* Building MSG: one event as it was published, or a run of consecutive events in packed form. */
#include "broker/core.h"

#include <string.h>

bool packer_takes(const struct packer *p, const struct stored *s, size_t bytes_max, uint32_t count_max)
{
    if (!p->count)
        return true;
    /* Events of a client's batch share its source and time; complete events need neither and only must follow on. */
    return p->count < count_max && p->bytes.len + s->header.len + s->body.len + 8 <= bytes_max &&
           s->seq == (p->seq ? p->seq + p->count : 0) && s->batch == p->batch &&
           (!s->batch || (s->ts_us == p->ts_us && s->source.len == p->source_len &&
                          !memcmp(s->source.data, p->source, p->source_len)));
}

void packer_add(struct packer *p, const struct stored *s)
{
    if (!p->count) {
        p->seq = s->seq;
        p->ts_us = s->ts_us;
        p->batch = s->batch;
        p->source_len = s->batch ? s->source.len : 0;
        memcpy(p->source, s->source.data ? s->source.data : "", p->source_len);
    }
    p->count++;
    if (s->packed.len)
        buf_add(&p->bytes, s->packed.data, s->packed.len);
    else
        pack_event(&p->bytes, s->header, s->body);
}

void pack_batch_map(struct buf *map, const struct packer *p, uint32_t more_pairs)
{
    buf_pack_map(map, 3 + more_pairs + (p->seq > 0) + (p->source_len > 0));
    buf_pair_bool(map, "batch", true);
    buf_pair_uint(map, "count", p->count);
    buf_pair_uint(map, "ts_us", (uint64_t) p->ts_us);
    if (p->seq) {
        buf_pair_uint(map, "seq", p->seq);
    }
    if (p->source_len) {
        buf_pair_strn(map, "source", p->source, p->source_len);
    }
}

uint32_t sub_lead(struct buf *lead, const struct sub *sub)
{
    buf_clear(lead);
    buf_pair_uint(lead, "cid", sub->cid);
    return 1;
}

static void pack_common(struct buf *map, uint32_t attempt, const struct stream *stream)
{
    if (stream) {
        buf_pair_str(map, "stream", stream->config->name);
    }
    if (attempt) {
        buf_pair_uint(map, "attempt", attempt);
    }
}

void deliver_one(struct session *to, const struct buf *lead, uint32_t lead_pairs, const struct stored *s,
                 uint32_t attempt, struct stream *stream)
{
    struct broker *b = to->broker;
    struct buf *map = &b->scratch;
    buf_clear(map);
    buf_pack_map(map, lead_pairs + 1 + (stream ? 2 : 0) + (attempt > 0));
    if (lead_pairs)
        buf_add(map, lead->data, lead->len);
    pack_common(map, attempt, stream);
    if (stream) {
        buf_pair_uint(map, "seq", s->seq);
    }
    buf_pair_uint(map, "ts_us", (uint64_t) s->ts_us);
    struct mp_slice header = s->header;
    if (s->batch) {
        buf_clear(&b->scratch2);
        stored_complete(s, &b->scratch2);
        header = (struct mp_slice){(const char *) b->scratch2.data, b->scratch2.len};
    }
    b->counters[C_DELIVERED]++;
    to->flow.delivered++;
    reply_frames(to, "MSG", map, header, s->body);
}

void deliver_packed(struct session *to, const struct buf *lead, uint32_t lead_pairs, struct packer *p, uint32_t attempt,
                    struct stream *stream)
{
    struct broker *b = to->broker;
    struct buf *map = &b->scratch;
    if (!p->count)
        return;
    buf_clear(map);
    pack_batch_map(map, p, lead_pairs + (stream != NULL) + (attempt > 0));
    if (lead_pairs)
        buf_add(map, lead->data, lead->len);
    pack_common(map, attempt, stream);
    b->counters[C_DELIVERED] += p->count;
    to->flow.delivered += p->count;
    zmq_msg_t body;
    zmq_msg_init_size(&body, p->bytes.len);
    memcpy(zmq_msg_data(&body), p->bytes.data, p->bytes.len);
    reply_body(to, "MSG", map, &body);
    zmq_msg_close(&body);
    buf_clear(&p->bytes);
    p->count = 0;
}
