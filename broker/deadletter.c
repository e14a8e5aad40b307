/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters: what a consumer gave up is first written, durably, as an event of $sys; only then does it leave the consumer. Its id
 * is stream:seq:consumer, so a crash in between writes no second one. The pending letters are those that the
 * built-in consumer $dlq has not finished. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 1000

static struct mp_slice over(const struct buf *b)
{
    return (struct mp_slice){(const char *) b->data, b->len};
}

static void pack_attempts(struct buf *out, const struct delivery *d)
{
    buf_pack_array(out, (uint32_t) d->failure_count);
    for (size_t i = 0; i < d->failure_count; i++) {
        const struct failure *f = &d->failures[i];
        buf_pack_map(out, 4);
        buf_pair_uint(out, "attempt", f->attempt);
        buf_pair_str(out, "member", f->who);
        buf_pair_uint(out, "at_us", (uint64_t) f->at_us);
        buf_pair_str(out, "error", f->error);
    }
}

static void pack_letter(struct buf *out, const struct delivery *d, const char *reason, struct mp_slice topic,
                        struct mp_slice header, struct mp_slice body)
{
    const struct consumer *c = d->position->consumer;
    buf_pack_map(out, 9);
    buf_pair_str(out, "reason", reason);
    buf_pair_str(out, "error", d->failure_count ? d->failures[d->failure_count - 1].error : "");
    buf_pack_str(out, "attempts");
    pack_attempts(out, d);
    buf_pair_str(out, "stream", c->stream->config->name);
    buf_pair_uint(out, "seq", d->seq);
    buf_pair_str(out, "consumer", c->name);
    buf_pair_strn(out, "topic", topic.data, topic.len);
    buf_pack_str(out, "header");
    buf_add(out, header.data, header.len);
    buf_pack_str(out, "body");
    buf_pack_bin(out, body.data, body.len);
}

static void pack_header(struct buf *out, struct broker *b, const char *topic, const char *id,
                        const struct header *original)
{
    size_t more = (original->subject.len > 0) + (original->traceparent.len > 0) + (original->id.len > 0);
    buf_pack_map(out, 4 + (uint32_t) more);
    buf_pair_str(out, "topic", topic);
    buf_pair_str(out, "id", id);
    buf_pair_str(out, "source", "lineshaft");
    buf_pair_str(out, "time", b->now_text);
    if (original->subject.len)
        buf_pair_strn(out, "subject", original->subject.data, original->subject.len);
    if (original->traceparent.len)
        buf_pair_strn(out, "traceparent", original->traceparent.data, original->traceparent.len);
    if (original->id.len)
        buf_pair_strn(out, "causationid", original->id.data, original->id.len);
}

static struct position *deadletter_position(struct broker *b)
{
    return b->letters->positions[0];
}

/* A letter whose replay is on its way to the disk is as good as settled: if the event dies again, that is a new letter. */
static bool settled(struct broker *b, uint64_t seq)
{
    const struct position *p = deadletter_position(b);
    for (size_t i = 0; i < b->replay_count; i++)
        if (b->replays[i].letter == seq)
            return true;
    return seq < p->cursor || position_is_done(p, seq);
}

/* Appends the letter, or finds it already there. 0 with *err if $sys refuses. */
static uint64_t append(struct broker *b, const struct delivery *d, const char *reason, struct ls_error *err)
{
    const struct consumer *c = d->position->consumer;
    struct walk walk = {0};
    struct stored event = {0};
    struct header original = {0};
    struct buf full = {0}, header = {0}, body = {0};
    char topic[NAME_LEN_MAX + 8], id[3 * NAME_LEN_MAX];
    walk_seek(&walk, c->stream->log, d->seq);
    bool found = walk_next(&walk, &event) == 1 && event.seq == d->seq;
    if (found)
        stored_complete(&event, &full);
    else
        buf_pack_map(&full, 0);
    header_read(over(&full), false, &original, NULL);
    snprintf(topic, sizeof topic, "$dlq.%s", c->name);
    snprintf(id, sizeof id, "%s:%llu:%s%s%s", c->stream->config->name, (unsigned long long) d->seq, c->name,
             *d->position->member ? ":" : "", d->position->member);
    pack_header(&header, b, topic, id, &original);
    pack_letter(&body, d, reason, original.topic, over(&full), found ? event.body : (struct mp_slice){0});
    /* A letter that was replayed and died again is a new letter; only the one of a crash is the same. */
    uint64_t seq = dedup_add(&b->sys->dedup, SLICE("lineshaft"), (struct mp_slice){id, strlen(id)},
                             log_next_seq(b->sys->log), b->now_us);
    if (!seq || settled(b, seq)) {
        seq = publish_internal(b, topic, over(&header), over(&body), err);
        if (!seq)
            dedup_forget_from(&b->sys->dedup, log_next_seq(b->sys->log));
        else
            b->counters[C_DEAD_LETTERS]++;
    }
    buf_fini(&full);
    buf_fini(&header);
    buf_fini(&body);
    walk_fini(&walk);
    return seq;
}

void deadletter_begin(struct delivery *d, const char *reason)
{
    struct broker *b = d->position->consumer->stream->broker;
    struct ls_error err = {0};
    if (d->state != DYING) {
        b->dying = xgrow(b->dying, &b->dying_room, b->dying_count + 1, sizeof *b->dying);
        b->dying[b->dying_count++] = d;
    }
    if (!d->reason) {
        d->reason = reason;
        state_dying(d);
    }
    d->state = DYING;
    d->letter_seq = append(b, d, reason, &err);
    if (!d->letter_seq) {
        logger_put(LEVEL_WARN, "dead-letter-waits", err.text, "consumer=%s seq=%llu", d->position->consumer->name,
                   (unsigned long long) d->seq);
        heap_set(&b->timers, &d->timer, b->now_ms + RETRY_MS);
    }
    b->sys->committed = true; /* it may be there already */
}

void deadletters_committed(struct broker *b)
{
    size_t keep = 0;
    for (size_t i = 0; i < b->dying_count; i++) {
        struct delivery *d = b->dying[i];
        if (!d->letter_seq || d->letter_seq > log_durable_seq(b->sys->log)) {
            b->dying[keep++] = d;
            continue;
        }
        struct ranges done = {0};
        ranges_add(&done, d->seq, d->seq);
        d->position->consumer->dead++;
        logger_put(LEVEL_WARN, "dead-letter", "a consumer gave an event up; look at it: lineshaft dlq show",
                   "consumer=%s event=%s:%llu reason=%s letter=%llu error=\"%.120s\"", d->position->consumer->name,
                   d->position->consumer->stream->config->name, (unsigned long long) d->seq, d->reason,
                   (unsigned long long) d->letter_seq, d->failure_count ? d->failures[d->failure_count - 1].error : "");
        state_acked(d->position, &done, false);
        free(done.items);
        d->state = WAITING; /* it leaves this list here */
        delivery_done(d);
    }
    b->dying_count = keep;
}

void deadletters_failed(struct broker *b, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < b->dying_count; i++) {
        struct delivery *d = b->dying[i];
        if (d->letter_seq < from || d->letter_seq > to)
            continue;
        d->letter_seq = 0;
        heap_set(&b->timers, &d->timer, b->now_ms + RETRY_MS);
    }
}

void deadletter_forget(const struct delivery *d)
{
    struct broker *b = d->position->consumer->stream->broker;
    for (size_t i = 0; i < b->dying_count; i++)
        if (b->dying[i] == d)
            b->dying[i] = b->dying[--b->dying_count];
}

bool deadletter_reason(struct mp_slice text, const char **reason)
{
    *reason = mp_is(text, "term") ? "term" : mp_is(text, "max_deliver") ? "max_deliver" : NULL;
    return *reason || !text.len;
}

static void resume_position(struct position *p)
{
    struct delivery *d;
    for (size_t at = 0; (d = map_walk(&p->pending, &at, NULL));)
        if (d->reason && d->state != DYING) {
            delivery_detach(d);
            deadletter_begin(d, d->reason);
        }
}

void deadletters_resume(struct broker *b)
{
    for (size_t i = 0; i < b->stream_count; i++)
        for (size_t k = 0; k < b->streams[i].consumer_count; k++)
            for (size_t n = 0; n < b->streams[i].consumers[k]->position_count; n++)
                resume_position(b->streams[i].consumers[k]->positions[n]);
}

void deadletters_list(struct broker *b, struct mp_slice consumer, uint64_t from, uint64_t n, struct buf *out)
{
    struct position *p = deadletter_position(b);
    struct walk walk = {0};
    struct stored event;
    struct mp_slice topic;
    size_t at = buf_begin_array(out);
    uint16_t count = 0;
    bool passing = true; /* all so far are settled: the cursor may follow */
    walk_seek(&walk, b->sys->log, p->cursor);
    while (count < n && count < UINT16_MAX && walk_next(&walk, &event) == 1) {
        bool letter = stored_topic(&event, &topic) && topic.len > 5 && !memcmp(topic.data, "$dlq.", 5);
        if (!letter || position_is_done(p, event.seq)) {
            if (passing)
                p->cursor = event.seq + 1;
            continue;
        }
        passing = false;
        if (event.seq < from || settled(b, event.seq) ||
            (consumer.len && (topic.len - 5 != consumer.len || memcmp(topic.data + 5, consumer.data, consumer.len))))
            continue;
        buf_pack_uint(out, event.seq);
        count++;
    }
    buf_end_array(out, at, count);
    position_forget_passed(p);
    walk_fini(&walk);
}

/* ---- replay and drop ---- */

struct letter {
    struct mp_slice stream, consumer, member;
    uint64_t seq;
};

static bool letter_read(const struct stored *event, struct letter *l)
{
    struct mp body = mp_over(event->body.data, event->body.len), value;
    *l = (struct letter){0};
    return mp_find(body, "stream", &value) && mp_str(&value, &l->stream) && mp_find(body, "consumer", &value) &&
           mp_str(&value, &l->consumer) && mp_find(body, "seq", &value) && mp_uint(&value, &l->seq);
}

/* The position that gave the event up: for share: each the member stands behind the third colon of the id. */
static struct position *letter_position(struct consumer *c, const struct stored *event)
{
    struct header h;
    char member[NAME_LEN_MAX + 1] = "";
    if (c->share == SHARE_EACH && header_read(event->header, false, &h, NULL) == 0) {
        const char *at = h.id.data, *end = h.id.data + h.id.len;
        for (int colons = 0; at < end && colons < 3; at++)
            colons += *at == ':';
        if ((size_t) (end - at) < sizeof member)
            memcpy(member, at, (size_t) (end - at));
    }
    return consumer_position(c, member);
}

static int find_letter(struct broker *b, uint64_t seq, struct walk *walk, struct stored *event, struct ls_error *err)
{
    struct mp_slice topic;
    walk_seek(walk, b->sys->log, seq);
    if (walk_next(walk, event) == 1 && event->seq == seq && stored_topic(event, &topic) && topic.len >= 5 &&
        !memcmp(topic.data, "$dlq.", 5) && !settled(b, seq))
        return 0;
    return error_set(err, "NOT_FOUND", "there is no pending dead letter %llu", (unsigned long long) seq);
}

static int give_again(struct broker *b, const struct stored *event, struct replay *r, struct buf *answer,
                      struct ls_error *err)
{
    struct letter l;
    if (!letter_read(event, &l))
        return error_set(err, "NOT_FOUND", "the dead letter cannot be read");
    struct consumer *c = consumer_find(b, l.consumer);
    if (!c || !mp_is(l.stream, c->stream->config->name))
        return error_set(err, "NO_CONSUMER", "consumer \"%.*s\" does not exist any more", (int) l.consumer.len,
                         l.consumer.data);
    if (l.seq < log_first_seq(c->stream->log))
        return error_set(
            err, "TRIMMED",
            "retention has removed the original event; publish the copy that the dead letter holds instead");
    struct position *p = letter_position(c, event);
    if (!p)
        return error_set(err, "NO_CONSUMER", "the member that gave the event up is gone");
    delivery_restore(p, l.seq)->failed = 0;
    r->stream = c->stream;
    r->token = state_replayed(p, l.seq);
    c->stream->committed = true;
    buf_pair_str(answer, "consumer", c->name);
    buf_pair_str(answer, "stream", c->stream->config->name);
    buf_pair_uint(answer, "original", l.seq);
    return 0;
}

int deadletter_replay(struct broker *b, struct replay *r, struct buf *answer, struct ls_error *err)
{
    struct walk walk = {0};
    struct stored event;
    int result = find_letter(b, r->letter, &walk, &event, err);
    if (result == 0)
        result = give_again(b, &event, r, answer, err);
    walk_fini(&walk);
    return result;
}

void deadletter_replay_wait(struct session *s, struct replay *r, struct buf *reply)
{
    struct broker *b = s->broker;
    r->session = s->key;
    r->reply = *reply;
    *reply = (struct buf){0};
    b->replays = xgrow(b->replays, &b->replay_room, b->replay_count + 1, sizeof *b->replays);
    b->replays[b->replay_count++] = *r;
}

static uint64_t settle_letter(struct broker *b, uint64_t seq)
{
    struct position *p = deadletter_position(b);
    struct ranges done = {0};
    ranges_add(&done, seq, seq);
    position_done_ahead(p, seq, seq);
    uint64_t token = state_acked(p, &done, true);
    free(done.items);
    return token;
}

/* Two files, synced one after the other: a power cut in between leaves the letter pending, never the replay lost. */
void deadletters_replayed(struct broker *b)
{
    size_t keep = 0;
    for (size_t i = 0; i < b->replay_count; i++) {
        struct replay *r = &b->replays[i];
        if (state_file_durable(r->stream->state) < r->token) {
            b->replays[keep++] = *r;
            continue;
        }
        uint64_t token = settle_letter(b, r->letter);
        struct session *s = map_get(&b->sessions, r->session);
        if (s)
            settle_wait(b->sys, token, s, NULL, &r->reply);
        buf_fini(&r->reply);
    }
    b->replay_count = keep;
}

void deadletters_fini(struct broker *b)
{
    for (size_t i = 0; i < b->replay_count; i++)
        buf_fini(&b->replays[i].reply);
    free(b->replays);
    free(b->dying);
}

int deadletter_drop(struct broker *b, uint64_t seq, uint64_t *token, struct ls_error *err)
{
    struct walk walk = {0};
    struct stored event;
    int result = find_letter(b, seq, &walk, &event, err);
    walk_fini(&walk);
    if (result == 0)
        *token = settle_letter(b, seq);
    return result;
}
