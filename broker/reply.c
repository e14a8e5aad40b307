/* SPDX-License-Identifier: Apache-2.0 */
/* Sending to one peer. A peer that is gone, or whose pipe is full because it does not read, loses its session: nothing
 * is ever dropped silently in front of a living one. */
#include "broker/core.h"

#include <errno.h>
#include <string.h>

static bool send_bytes(struct session *s, const void *data, size_t len, int more)
{
    s->broker->sockets.sent[SOCK_ROUTER] = true;
    return zmq_send(s->broker->sockets.raw[SOCK_ROUTER], data, len, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
}

/* The routing id, the delimiter if the peer uses one, the verb. Only the first frame can fail (ROUTER_MANDATORY). */
static bool start(struct session *s, const char *verb, int more)
{
    if (s->gone)
        return false;
    if (!send_bytes(s, s->route, s->route_len, 1)) {
        bool full = zmq_errno() == EAGAIN;
        if (full)
            guard_cut(s->broker, s->fd, "a peer does not read what it is sent");
        session_doom(s, full ? "does not read" : "gone");
        return false;
    }
    if (s->delimited)
        send_bytes(s, "", 0, 1);
    send_bytes(s, verb, strlen(verb), more);
    return true;
}

void reply_map(struct session *s, const char *verb, const struct buf *map)
{
    if (start(s, verb, 1))
        send_bytes(s, map->data, map->len, 0);
}

void reply_body(struct session *s, const char *verb, const struct buf *map, zmq_msg_t *body)
{
    if (!start(s, verb, 1))
        return;
    bool with_body = body && zmq_msg_size(body);
    send_bytes(s, map->data, map->len, with_body);
    if (with_body)
        zmq_msg_send(body, s->broker->sockets.raw[SOCK_ROUTER], ZMQ_DONTWAIT);
}

void reply_frames(struct session *s, const char *verb, const struct buf *map, struct mp_slice header,
                  struct mp_slice body)
{
    if (!start(s, verb, 1))
        return;
    send_bytes(s, map->data, map->len, 1);
    send_bytes(s, header.data, header.len, 1);
    send_bytes(s, body.data, body.len, 0);
}

static void pack_error(struct buf *out, const struct ls_error *err, const struct buf *about, uint32_t about_pairs)
{
    buf_pack_map(out, 4 + about_pairs + (err->retry_ms > 0));
    if (about)
        buf_add(out, about->data, about->len);
    buf_pair_str(out, "name", err->name);
    buf_pair_uint(out, "number", (uint64_t) err->number);
    buf_pair_bool(out, "again", err->again);
    buf_pair_str(out, "text", err->text);
    if (err->retry_ms > 0) {
        buf_pair_uint(out, "retry_ms", (uint64_t) err->retry_ms);
    }
}

void reply_error(struct session *s, const struct ls_error *err, const struct buf *about, uint32_t about_pairs)
{
    struct buf map = {0};
    pack_error(&map, err, about, about_pairs);
    s->broker->counters[C_REFUSED]++;
    reply_map(s, "ERR", &map);
    buf_fini(&map);
}

void reply_complaint(struct message *m, const struct ls_error *err)
{
    struct buf about = {0};
    uint32_t pairs = m->parts > 1 ? pack_tag(&about, message_part(m, 1)) : 0;
    reply_error(m->session, err, &about, pairs);
    buf_fini(&about);
}

bool tag_valid(struct mp value)
{
    uint64_t number;
    struct mp_slice text;
    return mp_uint(&value, &number) || (mp_peek(&value) == MP_STR && mp_str(&value, &text) && text.len <= 64);
}

uint32_t pack_tag(struct buf *out, struct mp_slice header)
{
    struct mp value;
    if (!mp_find(mp_over(header.data, header.len), "tag", &value))
        return 0;
    struct mp end = value;
    if (!tag_valid(value) || !mp_skip(&end))
        return 0;
    buf_pack_str(out, "tag");
    buf_add(out, value.p, (size_t) (end.p - value.p));
    return 1;
}

uint32_t pack_numbers(struct buf *out, uint64_t n, uint64_t count)
{
    buf_pair_uint(out, "n", n);
    if (count <= 1)
        return 1;
    buf_pair_uint(out, "count", count);
    return 2;
}
