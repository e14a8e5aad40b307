/* SPDX-License-Identifier: Apache-2.0 */
/* Acknowledging publishes. Each session has a queue of runs: publishes that become durable together, in the order in
 * which they came. A run at the front is answered as soon as its last sequence number is durable. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

static struct run *run_at(const struct runs *r, uint64_t position)
{
    return &r->ring[position & (r->room - 1)];
}

static struct run *run_last(const struct runs *r)
{
    return r->tail > r->head ? run_at(r, r->tail - 1) : NULL;
}

static struct run *run_add(struct session *s)
{
    struct runs *r = &s->runs;
    struct broker *b = s->broker;
    if (r->tail - r->head == r->room) {
        size_t room = r->room ? r->room * 2 : 8;
        struct run *ring = xcalloc(room, sizeof *ring);
        for (uint64_t i = r->head; i < r->tail; i++)
            ring[i & (room - 1)] = *run_at(r, i);
        free(r->ring);
        r->ring = ring;
        r->room = room;
    }
    if (!s->acking) {
        s->acking = true;
        s->ack_prev = NULL;
        s->ack_next = b->ack_head;
        if (b->ack_head)
            b->ack_head->ack_prev = s;
        b->ack_head = s;
    }
    struct run *run = run_at(r, r->tail++);
    *run = (struct run){.turn = b->turn};
    return run;
}

static void unlink_session(struct session *s)
{
    if (!s->acking)
        return;
    s->acking = false;
    if (s->ack_next)
        s->ack_next->ack_prev = s->ack_prev;
    if (s->ack_prev)
        s->ack_prev->ack_next = s->ack_next;
    else
        s->broker->ack_head = s->ack_next;
}

void acks_numbered(struct session *s, struct stream *stream, uint64_t seq_first, uint32_t count, uint64_t n, bool dup,
                   size_t bytes)
{
    uint32_t dups = dup;
    uint64_t seq_last = seq_first ? seq_first + count - 1 : 0;
    struct run *last = run_last(&s->runs);
    /* A duplicate waits for its first appearance, anywhere in the log: it may not stretch a run's range. */
    if (last && last->stream == stream && last->turn == s->broker->turn && last->n_last && last->n_last + 1 == n &&
        !dups && !last->dups && (!stream || last->seq_last + 1 == seq_first)) {
        last->n_last = n + count - 1;
        last->seq_last = seq_last;
        last->bytes += bytes;
        s->pending_bytes += bytes;
        return;
    }
    struct run *run = run_add(s);
    run->stream = stream;
    run->seq_last = seq_last;
    run->n_first = n;
    run->n_last = n + count - 1;
    run->dups = dups;
    run->bytes = bytes;
    s->pending_bytes += bytes;
}

void acks_single(struct session *s, struct stream *stream, uint64_t seq_first, uint64_t seq_last, struct buf *reply,
                 size_t bytes)
{
    struct run *last = run_last(&s->runs);
    s->pending_bytes += bytes;
    if (!reply->len && last && !last->reply.len && !last->n_last && last->stream == stream &&
        last->turn == s->broker->turn && last->seq_last + 1 == seq_first) { /* waits go on */
        last->seq_last = seq_last;
        last->bytes += bytes;
        return;
    }
    struct run *run = run_add(s);
    run->bytes = bytes;
    run->stream = stream;
    run->seq_last = seq_last;
    run->reply = *reply;
    *reply = (struct buf){0};
}

static bool run_done(const struct run *run)
{
    return !run->stream || log_durable_seq(run->stream->log) >= run->seq_last;
}

static const char *level_of(const struct run *run)
{
    return !run->stream ? "none" : run->stream->config->memory ? "memory" : "disk";
}

static int level_rank(const char *level)
{
    return level[0] == 'n' ? 0 : level[0] == 'm' ? 1 : 2;
}

static void send_upto(struct session *s, uint64_t upto, const char *level, uint64_t dups)
{
    struct buf *map = &s->broker->scratch;
    buf_clear(map);
    buf_pack_map(map, 2 + (dups > 0));
    buf_pair_uint(map, "upto", upto);
    buf_pair_str(map, "level", level);
    if (dups) {
        buf_pair_uint(map, "dup", dups);
    }
    reply_map(s, "OK", map);
}

static void acks_send(struct session *s)
{
    struct runs *r = &s->runs;
    uint64_t upto = 0, dups = 0;
    const char *level = "disk";
    while (!s->gone && r->head < r->tail && run_done(run_at(r, r->head))) {
        struct run run = *run_at(r, r->head++);
        s->pending_bytes -= run.bytes;
        if (run.n_last) {
            upto = run.n_last;
            dups += run.dups;
            if (level_rank(level_of(&run)) < level_rank(level))
                level = level_of(&run);
            continue;
        }
        if (upto)
            send_upto(s, upto, level, dups);
        upto = dups = 0;
        if (!s->gone && run.reply.len)
            reply_map(s, "OK", &run.reply);
        buf_fini(&run.reply);
    }
    if (upto && !s->gone)
        send_upto(s, upto, level, dups);
    if (!s->gone && r->head == r->tail)
        unlink_session(s);
}

void acks_send_all(struct broker *b)
{
    for (struct session *s = b->ack_head, *next; s; s = next) {
        next = s->ack_next;
        acks_send(s);
    }
}

static void fail_run(struct session *s, const struct run *run, const struct ls_error *err)
{
    struct buf about = {0};
    uint32_t pairs = 0;
    if (run->n_first) {
        pairs = pack_numbers(&about, run->n_first, run->n_last - run->n_first + 1);
    } else {
        /* A single reply carries its id and perhaps a tag: both name the publish in the ERR as well. */
        struct mp value, map = mp_over(run->reply.data, run->reply.len);
        static const char *const KEYS[] = {"id", "tag"};
        for (size_t i = 0; i < 2; i++)
            if (mp_find(map, KEYS[i], &value)) {
                struct mp end = value;
                mp_skip(&end);
                buf_pack_str(&about, KEYS[i]);
                buf_add(&about, value.p, (size_t) (end.p - value.p));
                pairs++;
            }
    }
    reply_error(s, err, &about, pairs);
    buf_fini(&about);
}

/* A batch answered by one OK is a row of runs without reply, then the one with it: if one of the first fails, so does the last. */
static void fail_session(struct session *s, struct stream *stream, uint64_t from, uint64_t to,
                         const struct ls_error *err)
{
    struct runs *r = &s->runs;
    uint64_t keep = r->head, end = r->tail, row = keep; /* row: where the present row of waits began */
    bool batch_failed = false;
    for (uint64_t i = r->head; i < end; i++) {
        /* Taken out of the ring before anything is sent: a failing send must not find it there again. */
        struct run run = *run_at(r, i);
        *run_at(r, i) = (struct run){0};
        bool closes_batch = batch_failed && run.reply.len;
        if (!closes_batch && (run.stream != stream || run.seq_last < from || run.seq_last > to)) {
            bool waits = !run.n_first && !run.reply.len;
            *run_at(r, keep++) = run;
            if (!waits)
                row = keep;
            continue;
        }
        if (closes_batch) /* its other waits would fail the next batch instead */
            while (keep > row)
                s->pending_bytes -= run_at(r, --keep)->bytes;
        s->pending_bytes -= run.bytes;
        bool waits_only = !run.n_first && !run.reply.len;
        batch_failed = waits_only;
        if (!waits_only)
            fail_run(s, &run, err);
        buf_fini(&run.reply);
    }
    r->tail = keep;
    if (r->head == r->tail)
        unlink_session(s);
}

void acks_fail(struct broker *b, struct stream *stream, uint64_t from, uint64_t to, const struct ls_error *err)
{
    for (struct session *s = b->ack_head, *next; s; s = next) {
        next = s->ack_next;
        fail_session(s, stream, from, to, err);
    }
}

void acks_fini(struct session *s)
{
    unlink_session(s);
    for (uint64_t i = s->runs.head; i < s->runs.tail; i++)
        buf_fini(&run_at(&s->runs, i)->reply);
    free(s->runs.ring);
    s->runs = (struct runs){0};
}
