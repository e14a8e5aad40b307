/* SPDX-License-Identifier: Apache-2.0 */
/* NATS through libnats: durable is a JetStream publish with file storage, asynchronous with the library's own window; live
 * is core NATS. */
#include <nats/nats.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "tests/bench/bench.h"

#define STREAM "BENCH"
#define STORED_SUBJECT "bench.stored"
#define LIVE_SUBJECT "bench.live" /* no stream takes it */

struct nats {
    natsOptions *options;
    natsConnection *connection;
    natsSubscription *subscription;
    jsCtx *jet;
    bool durable;
    uint8_t *body;
    size_t size;
    pthread_mutex_t lock; /* of the two below, changed by libnats's thread */
    pthread_cond_t moved;
    uint64_t acked, awaited;
};

static void check(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        die("nats: %s: %s", what, natsStatus_GetText(status));
}

static void on_ack(jsCtx *jet, natsMsg *msg, jsPubAck *ack, jsPubAckErr *err, void *arg)
{
    struct nats *n = arg;

    (void) jet;
    if (!ack)
        die("nats: publish refused: %s", err ? err->ErrText : "no reason given");
    natsMsg_Destroy(msg);
    pthread_mutex_lock(&n->lock);
    n->acked++;
    if (n->acked == n->awaited)
        pthread_cond_signal(&n->moved);
    pthread_mutex_unlock(&n->lock);
}

/* A new stream for every cell, so that the server's files do not grow from cell to cell. */
static void open_stream(struct nats *n, const struct cell *cell)
{
    jsOptions options;
    jsStreamConfig stream;
    const char *subjects[] = {STORED_SUBJECT};

    check(jsOptions_Init(&options), "options");
    options.PublishAsync.MaxPending = cell->window;
    options.PublishAsync.StallWait = 30000;
    options.PublishAsync.AckHandler = on_ack;
    options.PublishAsync.AckHandlerClosure = n;
    check(natsConnection_JetStream(&n->jet, n->connection, &options), "JetStream");
    js_DeleteStream(n->jet, STREAM, NULL, NULL); /* absent the first time */
    check(jsStreamConfig_Init(&stream), "stream options");
    stream.Name = STREAM;
    stream.Subjects = subjects;
    stream.SubjectsLen = 1;
    stream.Storage = js_FileStorage;
    check(js_AddStream(NULL, n->jet, &stream, NULL, NULL), "cannot create the stream");
}

static void *nats_open(const struct cell *cell, enum role role)
{
    struct nats *n = xcalloc(1, sizeof *n);
    char url[128];

    snprintf(url, sizeof url, "nats://%s:%d", cell->host, cell->port);
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->moved, NULL);
    n->durable = role == ROLE_DURABLE;
    n->size = cell->size;
    n->body = body_new(cell);
    check(natsOptions_Create(&n->options), "options");
    check(natsOptions_SetURL(n->options, url), "address");
    check(natsConnection_Connect(&n->connection, n->options), "cannot connect");
    if (role == ROLE_DURABLE)
        open_stream(n, cell);
    if (role == ROLE_SUBSCRIBER) {
        check(natsConnection_SubscribeSync(&n->subscription, n->connection, LIVE_SUBJECT), "subscribe");
        check(natsSubscription_SetPendingLimits(n->subscription, -1, -1), "subscription limits");
        check(natsConnection_Flush(n->connection), "flush");
    }
    return n;
}

static void nats_publish(void *self, uint64_t number)
{
    struct nats *n = self;

    body_set_number(n->body, number);
    if (n->durable)
        check(js_PublishAsync(n->jet, STORED_SUBJECT, n->body, (int) n->size, NULL), "publish");
    else
        check(natsConnection_Publish(n->connection, LIVE_SUBJECT, n->body, (int) n->size), "publish");
}

static uint64_t nats_settle(void *self, uint64_t least)
{
    struct nats *n = self;

    if (!n->durable) {
        check(natsConnection_Flush(n->connection), "flush");
        return 0;
    }
    pthread_mutex_lock(&n->lock);
    n->awaited = least;
    while (n->acked < least)
        pthread_cond_wait(&n->moved, &n->lock);
    uint64_t acked = n->acked;
    pthread_mutex_unlock(&n->lock);
    return acked;
}

static size_t nats_receive(void *self, int timeout_ms, uint64_t numbers[BATCH_MAX])
{
    struct nats *n = self;
    natsMsg *msg = NULL;

    natsStatus status = natsSubscription_NextMsg(&msg, n->subscription, timeout_ms);
    if (status == NATS_TIMEOUT)
        return 0;
    check(status, "receive");
    numbers[0] = body_number(natsMsg_GetData(msg), (size_t) natsMsg_GetDataLength(msg));
    natsMsg_Destroy(msg);
    return 1;
}

static void nats_close(void *self)
{
    struct nats *n = self;

    natsSubscription_Destroy(n->subscription);
    jsCtx_Destroy(n->jet);
    natsConnection_Destroy(n->connection);
    natsOptions_Destroy(n->options);
    nats_Close();
    pthread_cond_destroy(&n->moved);
    pthread_mutex_destroy(&n->lock);
    free(n->body);
    free(n);
}

static const struct peer nats_peer = {"nats", nats_open, nats_publish, nats_settle, nats_receive, nats_close};
const struct peer *const PEERS[] = {&nats_peer, NULL};
