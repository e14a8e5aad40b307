/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that knows both a topology and the broker's configuration: it copies the one into the other. */
#include "cli/broker_config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

static const char *const *list_of(const struct text_list *list)
{
    return (const char *const *) list->items;
}

static void copy_stream(struct stream_config *to, const struct topology_stream *s)
{
    *to = (struct stream_config){
        .name = s->name,
        .topics = list_of(&s->topics),
        .memory = s->durability == DURABILITY_MEMORY,
        .retain_age_ms = s->retain.age,
        .retain_bytes = (uint64_t) s->retain.size,
        .retain_count = (uint64_t) s->retain.count,
        .segment_bytes = (uint64_t) s->segment,
        .dedup_window_ms = s->dedup.window,
        .dedup_count = (uint64_t) s->dedup.count,
    };
}

static struct start copy_start(const struct topology_from *from)
{
    static const enum start_kind KINDS[] = {
        [TOPOLOGY_START_NEW] = START_NEW, [TOPOLOGY_START_ALL] = START_ALL,   [TOPOLOGY_START_LAST] = START_LAST,
        [TOPOLOGY_START_SEQ] = START_SEQ, [TOPOLOGY_START_TIME] = START_TIME,
    };
    return (struct start){KINDS[from->kind], from->value, from->time_us};
}

static void copy_consumer(struct consumer_config *to, const struct topology_consumer *c)
{
    const struct topology_delivery *d = &c->delivery;
    *to = (struct consumer_config){
        .name = c->name,
        .stream = c->stream_name,
        .takes = list_of(&c->takes),
        .from = copy_start(&d->from),
        .share = d->share == TOPOLOGY_SHARE_EACH ? SHARE_EACH : SHARE_GROUP,
        .window = (uint32_t) d->window,
        .window_bytes = (uint64_t) d->window_bytes,
        .ack_wait_ms = d->ack_wait,
        .backoff_ms = d->backoff.items,
        .backoff_count = d->backoff.count,
        .max_deliver = (uint32_t) d->max_deliver,
        .member_ttl_ms = d->member_ttl,
    };
}

struct broker_config *broker_config_new(const struct topology *t)
{
    struct broker_config *c = xcalloc(1, sizeof *c);
    struct stream_config *streams = xcalloc(t->stream_count, sizeof *streams);
    struct consumer_config *consumers = xcalloc(t->consumer_count, sizeof *consumers);
    const struct topology_broker *b = &t->broker;
    for (size_t i = 0; i < t->stream_count; i++)
        copy_stream(&streams[i], &t->streams[i]);
    for (size_t i = 0; i < t->consumer_count; i++)
        copy_consumer(&consumers[i], &t->consumers[i]);
    *c = (struct broker_config){
        .name = t->name ? t->name : "",
        .host = b->listen.host,
        .port = b->listen.port,
        .ipc_dir = b->ipc,
        .data_dir = b->data,
        .insecure = b->insecure,
        .header_bytes_max = (uint32_t) b->header_max,
        .body_bytes_max = (uint32_t) b->body_max,
        .batch_bytes_max = (uint32_t) b->batch_max,
        .batch_count_max = (uint32_t) b->batch_count_max,
        .connections_max = (uint32_t) b->connections_max,
        .subscriptions_max = (uint32_t) b->subscriptions_max,
        .requests_max = (uint32_t) b->requests_max,
        .memory_bytes_max = (uint64_t) b->memory,
        .connection_bytes_max = (uint64_t) b->connection_memory,
        .stats_every_ms = b->stats_every,
        .streams = streams,
        .stream_count = t->stream_count,
        .consumers = consumers,
        .consumer_count = t->consumer_count,
        .schema_folders = list_of(&t->schemas),
    };
    return c;
}

void broker_config_destroy(struct broker_config **self)
{
    struct broker_config *c = *self;
    if (!c)
        return;
    *self = NULL;
    free((void *) (uintptr_t) c->streams);
    free((void *) (uintptr_t) c->consumers);
    free(c);
}
