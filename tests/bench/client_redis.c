/* SPDX-License-Identifier: Apache-2.0 */
/* Redis through hiredis: durable is XADD into one stream, pipelined; live is PUBLISH and SUBSCRIBE. Replies are read with
 * the library's own reader, as many as one read brings. */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "tests/bench/bench.h"

#define FLUSH_BYTES 65536 /* pipelined commands are sent when so much has gathered, or when settle is called */

struct redis {
    redisContext *ctx;
    bool durable;
    uint8_t *body;
    size_t size, gathered;
    uint64_t acked;
};

static void fail_if(const struct redis *r, bool bad)
{
    if (bad)
        die("redis: %s", r->ctx->errstr);
}

static void *redis_open(const struct cell *cell, enum role role)
{
    struct redis *r = xcalloc(1, sizeof *r);

    r->ctx = redisConnect(cell->host, cell->port);
    if (!r->ctx || r->ctx->err)
        die("redis: cannot connect to %s port %d: %s", cell->host, cell->port, r->ctx ? r->ctx->errstr : "no memory");
    r->durable = role == ROLE_DURABLE;
    r->size = cell->size;
    r->body = body_new(cell);
    /* Every cell starts with an empty stream, so that the server's memory does not grow from cell to cell. */
    const char *first = role == ROLE_DURABLE ? "DEL bench" : role == ROLE_SUBSCRIBER ? "SUBSCRIBE bench" : "PING";
    redisReply *reply = redisCommand(r->ctx, first);
    fail_if(r, !reply);
    freeReplyObject(reply);
    return r;
}

static void flush(struct redis *r)
{
    int done = 0;

    while (!done)
        fail_if(r, redisBufferWrite(r->ctx, &done) != REDIS_OK);
    r->gathered = 0;
}

static void redis_publish(void *self, uint64_t number)
{
    struct redis *r = self;
    const char *const add[] = {"XADD", "bench", "*", "d", (const char *) r->body};
    const size_t add_len[] = {4, 5, 1, 1, r->size};
    const char *const publish[] = {"PUBLISH", "bench", (const char *) r->body};
    const size_t publish_len[] = {7, 5, r->size};

    body_set_number(r->body, number);
    int rc = r->durable ? redisAppendCommandArgv(r->ctx, 5, (const char **) (uintptr_t) add, add_len)
                        : redisAppendCommandArgv(r->ctx, 3, (const char **) (uintptr_t) publish, publish_len);
    fail_if(r, rc != REDIS_OK);
    r->gathered += r->size;
    if (r->gathered >= FLUSH_BYTES)
        flush(r);
}

static void take_replies(struct redis *r)
{
    void *got;

    for (;;) {
        fail_if(r, redisReaderGetReply(r->ctx->reader, &got) != REDIS_OK);
        if (!got)
            return;
        redisReply *reply = got;
        if (reply->type == REDIS_REPLY_ERROR)
            die("redis: %s", reply->str);
        freeReplyObject(reply);
        r->acked++;
    }
}

static uint64_t redis_settle(void *self, uint64_t least)
{
    struct redis *r = self;
    struct pollfd ready = {.fd = r->ctx->fd, .events = POLLIN};

    flush(r);
    while (r->acked < least || poll(&ready, 1, 0) == 1) {
        fail_if(r, redisBufferRead(r->ctx) != REDIS_OK);
        take_replies(r);
    }
    return r->acked;
}

static size_t redis_receive(void *self, int timeout_ms, uint64_t numbers[BATCH_MAX])
{
    struct redis *r = self;
    struct pollfd ready = {.fd = r->ctx->fd, .events = POLLIN};
    void *got;

    for (;;) {
        fail_if(r, redisReaderGetReply(r->ctx->reader, &got) != REDIS_OK);
        if (got)
            break;
        if (poll(&ready, 1, timeout_ms) != 1)
            return 0;
        fail_if(r, redisBufferRead(r->ctx) != REDIS_OK);
    }
    redisReply *reply = got;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        die("redis: not a message of the subscription");
    numbers[0] = body_number(reply->element[2]->str, reply->element[2]->len);
    freeReplyObject(reply);
    return 1;
}

static void redis_close(void *self)
{
    struct redis *r = self;

    redisFree(r->ctx);
    free(r->body);
    free(r);
}

static const struct peer redis_peer = {"redis", redis_open, redis_publish, redis_settle, redis_receive, redis_close};
const struct peer *const PEERS[] = {&redis_peer, NULL};
