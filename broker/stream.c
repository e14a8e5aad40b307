/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: opening their logs, and what follows a commit. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define PENDING_BYTES_MAX (64u << 20)
#define HOT_BYTES_MAX (8u << 20)

static void on_committed(void *arg, struct log *log, uint64_t upto)
{
    struct stream *s = arg;
    (void) log;
    (void) upto;
    s->committed = true;
}

static void on_failed(void *arg, struct log *log, uint64_t from, uint64_t to, const struct ls_error *err)
{
    struct stream *s = arg;
    (void) log;
    dedup_forget_from(&s->dedup, from); /* they were the latest: a resend is no duplicate */
    if (s == s->broker->sys)
        deadletters_failed(s->broker, from, to);
    acks_fail(s->broker, s, from, to, err);
}

/* The window is rebuilt from the log, so that it survives a crash. Bounded by its count. */
static void dedup_rebuild(struct stream *s)
{
    if (!s->config->dedup_count || !s->config->dedup_window_ms)
        return;
    uint64_t from = log_seq_at_time(s->log, s->broker->now_us - s->config->dedup_window_ms * 1000);
    uint64_t bound = log_seq_back(s->log, s->config->dedup_count);
    struct walk walk = {0};
    struct stored event;
    struct header h;
    walk_seek(&walk, s->log, from > bound ? from : bound);
    while (walk_next(&walk, &event) == 1)
        if (header_read(event.header, false, &h, NULL) == 0 && h.id.len)
            dedup_add(&s->dedup, h.source.len ? h.source : event.source, h.id, event.seq, event.ts_us);
    walk_fini(&walk);
}

int stream_open(struct broker *b, struct stream *s, const struct stream_config *config, struct ls_error *err)
{
    *s = (struct stream){.config = config, .broker = b};
    struct log_config log = {
        .name = config->name,
        .sync = !config->memory,
        .segment_bytes = config->segment_bytes,
        .pending_bytes_max = PENDING_BYTES_MAX,
        .hot_bytes_max = HOT_BYTES_MAX,
        .retain_age_ms = config->retain_age_ms,
        .retain_bytes = config->retain_bytes,
        .retain_count = config->retain_count,
        .committed = on_committed,
        .failed = on_failed,
        .arg = s,
    };
    s->log = log_open(b->device, &log, err);
    if (!s->log)
        return error_wrap(err, "stream %s", config->name);
    dedup_init(&s->dedup, config->dedup_count, config->dedup_window_ms);
    dedup_rebuild(s);
    walk_seek(&s->live, s->log, log_next_seq(s->log));
    return state_open(s, err);
}

void stream_fini(struct stream *s)
{
    while (s->consumer_count)
        consumer_destroy(s->consumers[s->consumer_count - 1]);
    free(s->consumers);
    dedup_fini(&s->dedup);
    settle_fini(s);
    walk_fini(&s->live);
}

struct stream *stream_find(struct broker *b, struct mp_slice name)
{
    for (size_t i = 0; i < b->stream_count; i++)
        if (mp_is(name, b->streams[i].config->name))
            return &b->streams[i];
    return NULL;
}

void stream_after_commit(struct stream *s)
{
    s->committed = false;
    live_stream(s);
    consumers_pump(s);
    if (s == s->broker->sys)
        deadletters_committed(s->broker);
}

void stream_checkpoint(struct stream *s)
{
    if (state_file_full(s->state))
        state_checkpoint(s);
}
