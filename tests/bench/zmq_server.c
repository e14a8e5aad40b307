/* SPDX-License-Identifier: Apache-2.0 */
/* The two ceilings: what libzmq and the disk allow a broker that does nothing else. `gc`: ROUTER in, append to an already
 * written file, one fdatasync for all that was there, one cumulative acknowledgement per client. `router`: ROUTER in,
 * XPUB (port + 1) out, [topic][body]. No checksum, no index, no limits. Ends with SIGTERM. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/xmem.h"

#define LOG_BYTES (128u << 20) /* then from the start again, as recycled segments are */
#define GROUP_BYTES (1u << 20)
#define CLIENTS_MAX 16

struct client {
    char id[256];
    size_t id_len;
    uint64_t upto; /* 0: nothing to acknowledge */
};

struct gc {
    void *router;
    int fd;
    off_t at;
    struct buf group;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
};

static void stop_if(int bad, const char *what)
{
    if (!bad)
        return;
    fprintf(stderr, "zmq_server: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void *bind_socket(void *ctx, int type, int port)
{
    const int unlimited = 0;
    char url[64];

    void *socket = zmq_socket(ctx, type);
    stop_if(!socket, "socket");
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    stop_if(zmq_bind(socket, url), url);
    return socket;
}

static int open_log(const char *path)
{
    uint8_t *zeros = xcalloc(1, GROUP_BYTES);

    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    stop_if(fd < 0, path);
    for (size_t done = 0; done < LOG_BYTES; done += GROUP_BYTES)
        stop_if(write(fd, zeros, GROUP_BYTES) != GROUP_BYTES, path);
    stop_if(fsync(fd), path);
    free(zeros);
    return fd;
}

static struct client *require_client(struct gc *g, zmq_msg_t *id)
{
    size_t len = zmq_msg_size(id);

    for (size_t i = 0; i < g->client_count; i++)
        if (g->clients[i].id_len == len && !memcmp(g->clients[i].id, zmq_msg_data(id), len))
            return &g->clients[i];
    if (g->client_count == CLIENTS_MAX)
        g->client_count = 0; /* clients of earlier cells: they are gone */
    struct client *c = &g->clients[g->client_count++];
    *c = (struct client){.id_len = len};
    memcpy(c->id, zmq_msg_data(id), len);
    return c;
}

/* Takes one event into the group; 0 if none is waiting. */
static int take(struct gc *g)
{
    zmq_msg_t id, number, body;
    uint32_t head[4] = {0};
    uint64_t upto;

    zmq_msg_init(&id);
    zmq_msg_init(&number);
    zmq_msg_init(&body);
    if (zmq_msg_recv(&id, g->router, ZMQ_DONTWAIT) < 0)
        return 0;
    stop_if(zmq_msg_recv(&number, g->router, 0) != sizeof upto, "number");
    stop_if(zmq_msg_recv(&body, g->router, 0) < 0, "body");
    memcpy(&upto, zmq_msg_data(&number), sizeof upto);
    head[0] = (uint32_t) zmq_msg_size(&body);
    memcpy(head + 2, &upto, sizeof upto);
    buf_add(&g->group, head, sizeof head);
    buf_add(&g->group, zmq_msg_data(&body), zmq_msg_size(&body));
    require_client(g, &id)->upto = upto;
    zmq_msg_close(&id);
    zmq_msg_close(&number);
    zmq_msg_close(&body);
    return 1;
}

static void commit(struct gc *g)
{
    if ((size_t) g->at + g->group.len > LOG_BYTES)
        g->at = 0;
    stop_if(pwrite(g->fd, g->group.data, g->group.len, g->at) != (ssize_t) g->group.len, "pwrite");
    stop_if(fdatasync(g->fd), "fdatasync");
    g->at += (off_t) g->group.len;
    buf_clear(&g->group);
    for (size_t i = 0; i < g->client_count; i++) {
        struct client *c = &g->clients[i];
        if (!c->upto)
            continue;
        zmq_send(g->router, c->id, c->id_len, ZMQ_SNDMORE);
        zmq_send(g->router, &c->upto, sizeof c->upto, 0);
        c->upto = 0;
    }
}

static void serve_gc(void *ctx, int port, const char *path)
{
    struct gc g = {.fd = open_log(path), .router = bind_socket(ctx, ZMQ_ROUTER, port)};
    zmq_pollitem_t ready = {.socket = g.router, .events = ZMQ_POLLIN};

    for (;;) {
        stop_if(zmq_poll(&ready, 1, -1) < 0, "poll");
        while (g.group.len < GROUP_BYTES && take(&g))
            ;
        if (g.group.len)
            commit(&g);
    }
}

static void serve_router(void *ctx, int port)
{
    void *in = bind_socket(ctx, ZMQ_ROUTER, port), *out = bind_socket(ctx, ZMQ_XPUB, port + 1);
    zmq_pollitem_t ready[] = {{.socket = in, .events = ZMQ_POLLIN}, {.socket = out, .events = ZMQ_POLLIN}};
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    for (;;) {
        stop_if(zmq_poll(ready, 2, -1) < 0, "poll");
        while (zmq_msg_recv(&msg, out, ZMQ_DONTWAIT) >= 0)
            ; /* (un)subscriptions: the socket itself has acted on them */
        while (zmq_msg_recv(&msg, in, ZMQ_DONTWAIT) >= 0) { /* the sender's id */
            for (int more = 1; more;) {
                stop_if(zmq_msg_recv(&msg, in, 0) < 0, "receive");
                more = zmq_msg_more(&msg);
                stop_if(zmq_msg_send(&msg, out, more ? ZMQ_SNDMORE : 0) < 0, "send");
            }
        }
    }
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long port = argc > 2 ? strtol(argv[2], &end, 10) : 0;

    if (port > 0 && port < 65535 && !*end && argc == 4 && !strcmp(argv[1], "gc"))
        serve_gc(zmq_ctx_new(), (int) port, argv[3]);
    if (port > 0 && port < 65535 && !*end && argc == 3 && !strcmp(argv[1], "router"))
        serve_router(zmq_ctx_new(), (int) port);
    fprintf(stderr, "usage: %s gc PORT FILE | router PORT\n", argv[0]);
    return 2;
}
