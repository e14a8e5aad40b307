/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving one message: raw zmq_msg_t, no copy of bodies, no more frames than the protocol has. */
#include "broker/core.h"

#include <string.h>

struct mp_slice message_part(struct message *m, size_t i)
{
    if (i >= m->parts)
        return (struct mp_slice){0};
    return (struct mp_slice){zmq_msg_data(&m->part[i]), zmq_msg_size(&m->part[i])};
}

int message_fd(struct message *m)
{
    return m->parts ? zmq_msg_get(&m->part[0], ZMQ_SRCFD) : -1;
}

void message_fini(struct message *m)
{
    for (size_t i = 0; i < m->parts; i++)
        zmq_msg_close(&m->part[i]);
    m->parts = 0;
}

static bool receive_route(void *socket, struct message *m)
{
    int len = zmq_recv(socket, m->route, sizeof m->route - 1, ZMQ_DONTWAIT);
    m->route_len = len > 0 ? (size_t) len : 0;
    return len >= 0;
}

/* Frames beyond the third are read and dropped: libzmq hands over whole messages, so they must be taken off the pipe. */
static void drop_rest(void *socket)
{
    zmq_msg_t frame;
    int more = 1;
    while (more) {
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0)
            more = 0;
        else
            more = zmq_msg_more(&frame);
        zmq_msg_close(&frame);
    }
}

bool message_receive(struct broker *b, enum origin origin, struct message *m)
{
    static const enum socket_name SOCKET_OF[] = {SOCK_ROUTER, SOCK_PULL, SOCK_SUB};
    void *socket = b->sockets.raw[SOCKET_OF[origin]];
    m->origin = origin;
    m->parts = 0;
    m->route_len = m->bytes = 0;
    m->delimited = m->too_many_parts = false;
    m->session = NULL;
    m->fd = -1;
    if (origin == FROM_ROUTER && !receive_route(socket, m))
        return false;
    for (bool first = true;; first = false) {
        zmq_msg_t *frame = &m->part[m->parts];
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            return false; /* the pipe ended; nothing was taken but a routing id without frames */
        }
        m->bytes += zmq_msg_size(frame);
        int more = zmq_msg_more(frame);
        if (first && origin == FROM_ROUTER && !zmq_msg_size(frame) && more) {
            m->delimited = true;
            zmq_msg_close(frame);
            continue;
        }
        m->parts++;
        if (!more)
            return true;
        if (m->parts == MESSAGE_PARTS_MAX) {
            m->too_many_parts = true;
            drop_rest(socket);
            return true;
        }
    }
}
