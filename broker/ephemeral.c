/* SPDX-License-Identifier: Apache-2.0 */
/* Ephemeral subscriptions: events of one or all streams from a place on, and what no stream keeps, against a credit. Nothing is
 * remembered but the next sequence number of each stream. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MAX 4000 /* events looked at in one go */
#define PACK_BYTES_MAX (256u << 10)
#define PACK_COUNT_MAX 256
#define PUMP_BYTES_MAX (1u << 20) /* sent to one subscription in one go */

static bool read_time(struct mp from, const char *key, int64_t *time_us)
{
    struct mp value;
    uint64_t number;
    if (!mp_find(from, key, &value) || !mp_uint(&value, &number) || number > INT64_MAX)
        return false;
    *time_us = (int64_t) number;
    return true;
}

bool start_read(struct mp from, struct start *start)
{
    struct mp_slice text;
    struct mp value;
    *start = (struct start){.kind = START_ALL};
    if (mp_uint(&from, &start->value)) {
        start->kind = START_SEQ;
        return true;
    }
    if (mp_str(&from, &text)) {
        start->kind = mp_is(text, "new") ? START_NEW : mp_is(text, "last") ? START_LAST : START_ALL;
        start->value = 1;
        return start->kind != START_ALL || mp_is(text, "all");
    }
    if (mp_find(from, "seq", &value) && mp_uint(&value, &start->value)) {
        start->kind = START_SEQ;
        read_time(from, "seen_us", &start->time_us);
        return true;
    }
    if (mp_find(from, "last", &value) && mp_uint(&value, &start->value)) {
        start->kind = START_LAST;
        return true;
    }
    start->kind = START_TIME;
    return read_time(from, "time_us", &start->time_us);
}

/* Where a reader goes on who has seen what lies before `seq`. In a log that was restored from an older copy, or made anew, those
 * numbers may come a second time, with other events; but their times are later than all that the reader saw. */
static uint64_t resume_seq(struct stream *s, const struct start *start)
{
    int64_t seen_us = start->time_us < INT64_MAX ? start->time_us : INT64_MAX - 1;
    uint64_t unseen = seen_us ? log_seq_at_time(s->log, seen_us + 1) : log_next_seq(s->log);
    return unseen < start->value ? unseen : start->value;
}

uint64_t start_seq(struct stream *s, const struct start *start)
{
    switch (start->kind) {
    case START_NEW: return log_next_seq(s->log);
    case START_LAST: return log_seq_back(s->log, start->value);
    case START_SEQ: return start->time_us ? resume_seq(s, start) : start->value;
    case START_TIME: return log_seq_at_time(s->log, start->time_us);
    case START_ALL: break;
    }
    return log_first_seq(s->log);
}

static void feed_add(struct sub *sub, struct stream *s, uint64_t seq)
{
    struct feed *f = &sub->feeds[sub->feed_count++];
    *f = (struct feed){.stream = s};
    walk_seek(&f->walk, s->log, seq);
}

/* from: {streams: {name: seq or {seq, seen_us}}} or "new" */
static int start_all(struct sub *sub, struct mp from, struct ls_error *err)
{
    struct broker *b = sub->session->broker;
    struct mp names, value;
    struct mp_slice text;
    bool named = from.p && mp_find(from, "streams", &names) && mp_peek(&names) == MP_MAP;
    if (from.p && !named && (!mp_str(&from, &text) || !mp_is(text, "new")))
        return error_set(err, "BAD_VALUE", "without \"stream\", \"from\" wants \"new\" or {streams: {name: seq}}");
    for (size_t i = 0; i < b->stream_count; i++) {
        struct stream *s = &b->streams[i];
        struct start start = {.kind = START_NEW};
        if (named && mp_find(names, s->config->name, &value) && (!start_read(value, &start) || start.kind != START_SEQ))
            return error_set(err, "BAD_VALUE", "\"from\": stream %s wants a sequence number", s->config->name);
        feed_add(sub, s, start.kind == START_SEQ ? resume_seq(s, &start) : start_seq(s, &start));
    }
    sub->live_too = true;
    return 0;
}

int ephemeral_start(struct sub *sub, struct stream *only, struct mp from, struct ls_error *err)
{
    struct broker *b = sub->session->broker;
    struct start start = {.kind = START_NEW};
    sub->feeds = xcalloc(b->stream_count, sizeof *sub->feeds);
    if (!only) {
        if (start_all(sub, from, err) < 0)
            return -1;
    } else {
        if (from.p && !start_read(from, &start))
            return error_set(err, "BAD_VALUE",
                             "\"from\" wants \"new\", \"all\", \"last\", {seq: n}, {time_us: t} or {last: n}");
        feed_add(sub, only, start_seq(only, &start));
    }
    sub->next_ephemeral = b->ephemeral;
    if (b->ephemeral)
        b->ephemeral->prev_ephemeral = sub;
    b->ephemeral = sub;
    for (size_t i = 0; i < sub->feed_count; i++)
        sub->feeds[i].stream->committed = true;
    return 0;
}

void ephemeral_stop(struct sub *sub)
{
    struct broker *b = sub->session->broker;
    for (size_t i = 0; i < sub->feed_count; i++)
        walk_fini(&sub->feeds[i].walk);
    free(sub->feeds);
    if (sub->next_ephemeral)
        sub->next_ephemeral->prev_ephemeral = sub->prev_ephemeral;
    if (sub->prev_ephemeral)
        sub->prev_ephemeral->next_ephemeral = sub->next_ephemeral;
    else if (b->ephemeral == sub)
        b->ephemeral = sub->next_ephemeral;
}

/* The next event of a feed that the subscription wants, within the look budget. */
static bool feed_peek(struct feed *f, const struct sub *sub, int *look)
{
    struct mp_slice topic;
    while (!f->peeked && *look > 0 && walk_next(&f->walk, &f->next) == 1) {
        --*look;
        f->peeked = stored_topic(&f->next, &topic) && topics_match(sub->topics, topic);
    }
    return f->peeked;
}

/* Of all feeds the one whose next event is oldest. */
static struct feed *oldest_feed(struct sub *sub, int *look)
{
    struct feed *oldest = NULL;
    for (size_t i = 0; i < sub->feed_count; i++) {
        struct feed *f = &sub->feeds[i];
        bool found = feed_peek(f, sub, look);
        if (!found && *look <= 0)
            return NULL; /* not looked through: what it holds may be older than what the others have */
        if (found && (!oldest || f->next.ts_us < oldest->next.ts_us))
            oldest = f;
    }
    return oldest;
}

static void send_packed(struct sub *sub, struct packer *p, struct stream *stream)
{
    struct buf *lead = &sub->session->broker->scratch3;
    uint32_t pairs = sub_lead(lead, sub);
    deliver_packed(sub->session, lead, pairs, p, 0, stream);
}

static void pump(struct sub *sub)
{
    struct broker *b = sub->session->broker;
    struct packer packer = {0};
    struct stream *packed_of = NULL;
    struct feed *f = NULL;
    int look = LOOK_MAX;
    size_t bytes = 0;
    while (sub->credit && !sub->session->gone && bytes < PUMP_BYTES_MAX && (f = oldest_feed(sub, &look))) {
        bytes += f->next.header.len + f->next.body.len;
        if (!sub->batch) {
            struct buf *lead = &b->scratch3;
            uint32_t pairs = sub_lead(lead, sub);
            deliver_one(sub->session, lead, pairs, &f->next, 0, f->stream);
        } else {
            if (packer.count &&
                (packed_of != f->stream || !packer_takes(&packer, &f->next, PACK_BYTES_MAX, PACK_COUNT_MAX)))
                send_packed(sub, &packer, packed_of);
            packed_of = f->stream;
            packer_add(&packer, &f->next);
        }
        f->peeked = false;
        sub->credit--;
    }
    send_packed(sub, &packer, packed_of);
    buf_fini(&packer.bytes);
    for (size_t i = 0; i < sub->feed_count; i++) {
        f = &sub->feeds[i];
        walk_seek(&f->walk, f->stream->log, f->peeked ? f->next.seq : f->walk.index);
        f->peeked = false;
        if (look <= 0 || bytes >= PUMP_BYTES_MAX)
            b->lagging = true;
    }
}

static bool news_for(const struct sub *sub)
{
    for (size_t i = 0; i < sub->feed_count; i++)
        if (log_durable_seq(sub->feeds[i].stream->log) >= sub->feeds[i].walk.index)
            return true;
    return false;
}

void ephemeral_pump_all(struct broker *b)
{
    for (struct sub *sub = b->ephemeral; sub; sub = sub->next_ephemeral)
        if (sub->credit && !sub->session->gone && news_for(sub)) {
            if (!session_is_slow(sub->session)) /* it keeps its place in the log; nothing piles up in memory */
                pump(sub);
        }
}

void ephemeral_live(struct broker *b, struct mp_slice topic, const struct stored *event)
{
    for (struct sub *sub = b->ephemeral; sub; sub = sub->next_ephemeral) {
        if (!sub->live_too || !sub->credit || sub->session->gone || !topics_match(sub->topics, topic) ||
            session_is_slow(sub->session))
            continue; /* what no stream keeps is best effort */
        struct buf *lead = &b->scratch3;
        uint32_t pairs = sub_lead(lead, sub);
        sub->credit--;
        deliver_one(sub->session, lead, pairs, event, 0, NULL);
    }
}
