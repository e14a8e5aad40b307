/* SPDX-License-Identifier: Apache-2.0 */
/* A position in a stream: what has been given out, to whom, and what comes next. Redeliveries go first; first deliveries
 * follow the log. Every event before the cursor is either finished or in `pending`. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define PUMP_EVENTS_MAX 4000 /* looked at in one go, before others get their turn */
#define CATCH_UP_MAX 10000
/* Given out and not finished: a consumer that puts everything off does not pull the log into memory. */
#define PENDING_MAX 100000
#define PACK_BYTES_MAX (256u << 10)
#define PACK_COUNT_MAX 256
#define ERROR_TEXT_MAX 500

void ranges_add(struct ranges *r, uint64_t from, uint64_t to)
{
    if (r->count && r->items[r->count - 1].to + 1 == from) {
        r->items[r->count - 1].to = to;
        return;
    }
    r->items = xgrow(r->items, &r->room, r->count + 1, sizeof *r->items);
    r->items[r->count++] = (struct log_range){from, to};
}

/* ---- the ready list, in the order of the log ---- */

static void ready_insert(struct delivery *d, struct delivery *before)
{
    struct position *p = d->position;
    d->state = READY;
    d->ready_prev = before;
    d->ready_next = before ? before->ready_next : p->ready_head;
    *(before ? &before->ready_next : &p->ready_head) = d;
    *(d->ready_next ? &d->ready_next->ready_prev : &p->ready_tail) = d;
}

static void ready_add(struct delivery *d)
{
    struct delivery *before = d->position->ready_tail;
    while (before && before->seq > d->seq)
        before = before->ready_prev;
    ready_insert(d, before);
}

static void ready_remove(struct delivery *d)
{
    struct position *p = d->position;
    if (d->ready_prev)
        d->ready_prev->ready_next = d->ready_next;
    else
        p->ready_head = d->ready_next;
    if (d->ready_next)
        d->ready_next->ready_prev = d->ready_prev;
    else
        p->ready_tail = d->ready_prev;
}

/* ---- deliveries ---- */

static void on_delivery_timer(void *arg, struct timer *timer);

static struct broker *broker_of(const struct position *p)
{
    return p->consumer->stream->broker;
}

static struct delivery *delivery_new(struct position *p, uint64_t seq)
{
    struct delivery *d = xcalloc(1, sizeof *d);
    d->position = p;
    d->seq = seq;
    d->timer.fire = on_delivery_timer;
    map_put(&p->pending, seq, d);
    return d;
}

static void release(struct delivery *d)
{
    if (d->state != IN_FLIGHT)
        return;
    d->holder->in_flight--;
    d->holder->in_flight_bytes -= d->bytes;
    d->holder = NULL;
    d->position->consumer->stream->committed = true; /* room in a window: pump */
}

void delivery_detach(struct delivery *d)
{
    release(d);
    if (d->state == READY)
        ready_remove(d);
    heap_unset(&broker_of(d->position)->timers, &d->timer);
}

void delivery_finish(struct delivery *d)
{
    if (d->state == DYING)
        deadletter_forget(d);
    delivery_detach(d);
    map_remove(&d->position->pending, d->seq);
    for (size_t i = 0; i < d->failure_count; i++)
        free(d->failures[i].error);
    free(d->failures);
    free(d);
}

struct delivery *delivery_restore(struct position *p, uint64_t seq)
{
    struct delivery *d = map_get(&p->pending, seq);
    if (!d) {
        d = delivery_new(p, seq);
        ready_add(d);
    }
    return d;
}

void delivery_add_failure(struct delivery *d, const char *who, int64_t at_us, struct mp_slice error)
{
    d->failed++;
    if (d->failure_count == FAILURES_MAX) {
        free(d->failures[0].error);
        memmove(d->failures, d->failures + 1, (FAILURES_MAX - 1) * sizeof *d->failures);
        d->failure_count--;
    }
    d->failures = xrealloc(d->failures, (d->failure_count + 1) * sizeof *d->failures);
    struct failure *f = &d->failures[d->failure_count++];
    *f = (struct failure){.attempt = d->failed, .at_us = at_us};
    snprintf(f->who, sizeof f->who, "%s", who);
    f->error = xstrndup(error.data ? error.data : "", error.len < ERROR_TEXT_MAX ? error.len : ERROR_TEXT_MAX);
}

static int64_t backoff_ms(const struct consumer *c, uint32_t failed)
{
    if (!c->backoff_count)
        return 0;
    size_t i = failed ? failed - 1 : 0;
    return c->backoff_ms[i < c->backoff_count ? i : c->backoff_count - 1];
}

/* An attempt failed: again after a pause, or a dead letter. */
static void fail(struct delivery *d, int64_t delay_ms, const char *who, struct mp_slice error)
{
    struct consumer *c = d->position->consumer;
    struct broker *b = broker_of(d->position);
    delivery_detach(d);
    delivery_add_failure(d, who, b->now_us, error);
    state_failed(d, &d->failures[d->failure_count - 1]);
    if (c->max_deliver && d->failed >= c->max_deliver) {
        deadletter_begin(d, "max_deliver");
        return;
    }
    int64_t pause = delay_ms >= 0 ? delay_ms : backoff_ms(c, d->failed);
    if (pause > 0) {
        d->state = WAITING;
        heap_set(&b->timers, &d->timer, b->now_ms + pause);
        return;
    }
    ready_add(d);
    c->stream->committed = true; /* pump */
}

void delivery_nak(struct delivery *d, int64_t delay_ms, const char *who, struct mp_slice error)
{
    d->position->consumer->naked++;
    broker_of(d->position)->counters[C_NAKED]++;
    fail(d, delay_ms, who, error);
}

void delivery_term(struct delivery *d, const char *who, struct mp_slice error)
{
    delivery_detach(d);
    delivery_add_failure(d, who, broker_of(d->position)->now_us, error);
    state_failed(d, &d->failures[d->failure_count - 1]);
    deadletter_begin(d, "term");
}

void delivery_extend(struct delivery *d)
{
    struct broker *b = broker_of(d->position);
    heap_set(&b->timers, &d->timer, b->now_ms + d->position->consumer->ack_wait_ms);
}

static void on_delivery_timer(void *arg, struct timer *timer)
{
    struct delivery *d = (struct delivery *) ((char *) timer - offsetof(struct delivery, timer));
    struct broker *b = arg;
    if (d->state == IN_FLIGHT) {
        char who[2 * NAME_LEN_MAX + 2];
        struct session *s = d->holder->session;
        snprintf(who, sizeof who, "%s/%s", s->client, s->member);
        d->position->consumer->expired++;
        b->counters[C_EXPIRED]++;
        fail(d, -1, who, SLICE("no answer within ack_wait"));
    } else if (d->state == WAITING) {
        ready_add(d);
    } else if (d->state == DYING) {
        deadletter_begin(d, d->reason);
    }
    d->position->consumer->stream->committed = true;
}

/* ---- acknowledging ---- */

/* A finished event that the cursor has yet to pass (known from before a restart) must not be given out again. */
void delivery_done(struct delivery *d)
{
    struct position *p = d->position;
    if (d->seq >= p->cursor)
        position_done_ahead(p, d->seq, d->seq);
    delivery_finish(d);
}

static void ack_one(struct delivery *d, const struct sub *by, struct ranges *done)
{
    struct position *p = d->position;
    bool late = d->state != IN_FLIGHT || d->holder != by;
    if (d->state == DYING)
        return; /* its dead letter is being written: too late */
    ranges_add(done, d->seq, d->seq);
    p->consumer->acked++;
    p->consumer->late_acks += late;
    broker_of(p)->counters[C_ACKED]++;
    delivery_done(d);
}

static int by_from(const void *a, const void *b)
{
    const struct log_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

void position_ack(struct position *p, const struct sub *by, uint64_t from, uint64_t to, struct ranges *done)
{
    if (!p->pending.used)
        return;
    if (to - from < p->pending.used) {
        for (uint64_t seq = from; seq <= to; seq++) {
            struct delivery *d = map_get(&p->pending, seq);
            if (d)
                ack_one(d, by, done);
        }
        return;
    }
    /* A huge range: look at what is pending instead. Collect first, a map must not change under a walk; in order, so that
     * neighbours are recorded as one range. */
    struct ranges found = {0};
    uint64_t key;
    for (size_t at = 0; map_walk(&p->pending, &at, &key);)
        if (key >= from && key <= to)
            ranges_add(&found, key, key);
    if (found.count)
        qsort(found.items, found.count, sizeof *found.items, by_from);
    for (size_t i = 0; i < found.count; i++)
        for (uint64_t seq = found.items[i].from; seq <= found.items[i].to; seq++)
            ack_one(map_get(&p->pending, seq), by, done);
    free(found.items);
}

/* Ranges stay sorted and joined; additions come mostly at the end. */
void position_done_ahead(struct position *p, uint64_t from, uint64_t to)
{
    struct ranges *r = &p->done;
    size_t at = r->count;
    while (at && r->items[at - 1].from > from)
        at--;
    if (at && r->items[at - 1].to + 1 >= from) {
        at--;
        if (to > r->items[at].to)
            r->items[at].to = to;
    } else {
        r->items = xgrow(r->items, &r->room, r->count + 1, sizeof *r->items);
        memmove(r->items + at + 1, r->items + at, (r->count - at) * sizeof *r->items);
        r->items[at] = (struct log_range){from, to};
        r->count++;
    }
    while (at + 1 < r->count && r->items[at + 1].from <= r->items[at].to + 1) {
        if (r->items[at + 1].to > r->items[at].to)
            r->items[at].to = r->items[at + 1].to;
        memmove(r->items + at + 1, r->items + at + 2, (r->count - at - 2) * sizeof *r->items);
        r->count--;
    }
}

bool position_is_done(const struct position *p, uint64_t seq)
{
    size_t low = 0, high = p->done.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->done.items[middle].to < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->done.count && p->done.items[low].from <= seq;
}

/* ---- giving out ---- */

static bool has_room(const struct sub *sub)
{
    return !sub->session->gone && !sub->held && sub->in_flight < sub->window &&
           sub->in_flight_bytes < sub->window_bytes && !session_is_slow(sub->session);
}

/* In turn, so that work spreads. */
static struct sub *pick(struct position *p)
{
    for (size_t i = 0; i < p->sub_count; i++) {
        struct sub *sub = p->subs[(p->turn + i) % p->sub_count];
        if (has_room(sub)) {
            p->turn = (p->turn + i + 1) % p->sub_count;
            return sub;
        }
    }
    return NULL;
}

static void lease(struct delivery *d, struct sub *sub, const struct stored *event)
{
    struct broker *b = broker_of(d->position);
    d->state = IN_FLIGHT;
    d->holder = sub;
    d->bytes = (uint32_t) (event->header.len + event->body.len);
    sub->in_flight++;
    sub->in_flight_bytes += d->bytes;
    d->position->consumer->delivered++;
    heap_set(&b->timers, &d->timer, b->now_ms + d->position->consumer->ack_wait_ms);
}

static void send_one(struct delivery *d, struct sub *sub, const struct stored *event)
{
    struct stream *s = d->position->consumer->stream;
    struct buf *lead = &s->broker->scratch3;
    lease(d, sub, event);
    uint32_t pairs = sub_lead(lead, sub);
    deliver_one(sub->session, lead, pairs, event, d->failed + 1, s);
}

/* What retention or damage has taken cannot be delivered any more: it leaves the position, and the log says so. */
static void lost_event(struct delivery *d)
{
    struct position *p = d->position;
    struct ranges done = {0};
    logger_put(LEVEL_WARN, "event-gone", "an event that was to be delivered again is no longer in the stream",
               "stream=%s seq=%llu consumer=%s", p->consumer->stream->config->name, (unsigned long long) d->seq,
               p->consumer->name);
    ranges_add(&done, d->seq, d->seq);
    state_acked(p, &done, false);
    free(done.items);
    delivery_done(d);
}

static bool pump_again(struct position *p)
{
    struct sub *sub;
    while (p->ready_head && (sub = pick(p))) {
        struct delivery *d = p->ready_head;
        struct stored event;
        walk_seek(&p->again, p->consumer->stream->log, d->seq);
        int got = walk_next(&p->again, &event);
        if (got < 0)
            return false;
        if (!got || event.seq != d->seq) {
            lost_event(d);
            continue;
        }
        ready_remove(d);
        send_one(d, sub, &event);
    }
    walk_rest(&p->again);
    return !p->ready_head;
}

static bool wanted(struct position *p, const struct stored *event)
{
    struct mp_slice topic;
    if (p->done.count && position_is_done(p, event->seq))
        return false;
    if (p->pending.used && map_get(&p->pending, event->seq))
        return false; /* known from before a restart */
    return p->consumer->takes_all || (stored_topic(event, &topic) && topics_match(p->consumer->takes, topic));
}

struct packing { /* one subscription's run of events under way */
    struct sub *sub;
    struct packer packer;
};

static void packing_send(struct position *p, struct packing *k)
{
    if (!k->packer.count)
        return;
    struct buf *lead = &broker_of(p)->scratch3;
    uint32_t pairs = sub_lead(lead, k->sub);
    deliver_packed(k->sub->session, lead, pairs, &k->packer, 1, p->consumer->stream);
}

static void give_new(struct position *p, struct packing *k, const struct stored *event)
{
    struct delivery *d = delivery_new(p, event->seq);
    if (!k->sub->batch) {
        send_one(d, k->sub, event);
        k->sub = NULL;
        return;
    }
    lease(d, k->sub, event);
    packer_add(&k->packer, event);
}

void position_forget_passed(struct position *p)
{
    size_t passed = 0;
    while (passed < p->done.count && p->done.items[passed].to < p->cursor)
        passed++;
    if (!passed)
        return;
    p->done.count -= passed;
    memmove(p->done.items, p->done.items + passed, p->done.count * sizeof *p->done.items);
}

static void pump_new(struct position *p)
{
    struct broker *b = broker_of(p);
    struct packing k = {0};
    struct stored event;
    int got = 0, looked = 0;
    for (; looked < PUMP_EVENTS_MAX; looked++) {
        if (k.sub && !has_room(k.sub)) {
            packing_send(p, &k);
            k.sub = NULL;
        }
        if (!k.sub && !(k.sub = pick(p)))
            break;
        got = walk_next(&p->walk, &event);
        if (got <= 0)
            break;
        p->cursor = event.seq + 1;
        if (!wanted(p, &event))
            continue;
        if (k.packer.count && !packer_takes(&k.packer, &event, PACK_BYTES_MAX, PACK_COUNT_MAX)) {
            packing_send(p, &k);
            if (!(k.sub = pick(p))) { /* the event is not lost: step back to it */
                p->cursor = event.seq;
                break;
            }
        }
        give_new(p, &k, &event);
    }
    if (k.sub)
        packing_send(p, &k);
    buf_fini(&k.packer.bytes);
    if (looked == PUMP_EVENTS_MAX) {
        p->consumer->stream->committed = true;
        b->lagging = true;
    }
    walk_seek(&p->walk, p->consumer->stream->log, p->cursor);
    position_forget_passed(p);
}

void position_pump(struct position *p)
{
    if (p->sub_count && pump_again(p) && p->pending.used < PENDING_MAX &&
        log_durable_seq(p->consumer->stream->log) >= p->cursor)
        pump_new(p);
}

/* ---- life ---- */

static void on_expiry(void *arg, struct timer *timer)
{
    struct position *p = (struct position *) ((char *) timer - offsetof(struct position, expiry));
    (void) arg;
    logger_put(LEVEL_INFO, "member-expired", "a member of a consumer with share: each was away too long",
               "consumer=%s member=%s", p->consumer->name, p->member);
    state_position_dropped(p);
    position_destroy(p);
}

struct position *position_new(struct consumer *c, const char *member, uint64_t cursor)
{
    struct position *p = xcalloc(1, sizeof *p);
    p->consumer = c;
    snprintf(p->member, sizeof p->member, "%s", member);
    p->cursor = cursor;
    p->expiry.fire = on_expiry;
    walk_seek(&p->walk, c->stream->log, cursor);
    c->positions = xgrow(c->positions, &c->position_room, c->position_count + 1, sizeof *c->positions);
    c->positions[c->position_count++] = p;
    if (c->share == SHARE_EACH)
        heap_set(&broker_of(p)->timers, &p->expiry, broker_of(p)->now_ms + c->member_ttl_ms);
    return p;
}

/* Forgets what is pending from `first` on; true if there was some. */
static bool forget_pending(struct position *p, uint64_t first)
{
    uint64_t seq, *seqs = xcalloc(p->pending.used + 1, sizeof *seqs);
    size_t count = 0;
    for (size_t at = 0; map_walk(&p->pending, &at, &seq);)
        if (seq >= first)
            seqs[count++] = seq;
    for (size_t i = 0; i < count; i++)
        delivery_finish(map_get(&p->pending, seqs[i]));
    free(seqs);
    return count > 0;
}

void position_reset(struct position *p, uint64_t next)
{
    forget_pending(p, 0);
    p->done.count = 0;
    p->cursor = next;
    walk_seek(&p->walk, p->consumer->stream->log, next);
}

void position_destroy(struct position *p)
{
    struct consumer *c = p->consumer;
    forget_pending(p, 0);
    map_fini(&p->pending);
    heap_unset(&broker_of(p)->timers, &p->expiry);
    for (size_t i = 0; i < p->sub_count; i++)
        p->subs[i]->position = NULL;
    for (size_t i = 0; i < c->position_count; i++)
        if (c->positions[i] == p)
            c->positions[i] = c->positions[--c->position_count];
    walk_fini(&p->walk);
    walk_fini(&p->again);
    free(p->subs);
    free(p->done.items);
    free(p);
}

void position_join(struct position *p, struct sub *sub)
{
    p->subs = xgrow(p->subs, &p->sub_room, p->sub_count + 1, sizeof *p->subs);
    p->subs[p->sub_count++] = sub;
    sub->position = p;
    heap_unset(&broker_of(p)->timers, &p->expiry);
    p->consumer->stream->committed = true;
}

static int by_seq(const void *a, const void *b)
{
    const struct delivery *x = *(struct delivery *const *) a, *y = *(struct delivery *const *) b;
    return x->seq < y->seq ? -1 : 1;
}

/* Oldest first, so that the next member sees them in the order of the log. */
static void give_back(struct position *p, const struct sub *sub)
{
    struct delivery *d, **held = xcalloc(p->pending.used, sizeof *held);
    size_t count = 0;
    for (size_t at = 0; (d = map_walk(&p->pending, &at, NULL));)
        if (d->state == IN_FLIGHT && d->holder == sub)
            held[count++] = d;
    qsort(held, count, sizeof *held, by_seq);
    struct delivery *before = p->ready_tail;
    for (size_t i = count; i-- > 0;) { /* both are sorted: one walk over the list for all */
        delivery_detach(held[i]);
        while (before && before->seq > held[i]->seq)
            before = before->ready_prev;
        ready_insert(held[i], before);
    }
    free(held);
}

void position_leave(struct position *p, struct sub *sub)
{
    give_back(p, sub);
    for (size_t i = 0; i < p->sub_count; i++)
        if (p->subs[i] == sub)
            p->subs[i] = p->subs[--p->sub_count];
    sub->position = NULL;
    if (!p->sub_count && p->consumer->share == SHARE_EACH)
        heap_set(&broker_of(p)->timers, &p->expiry, broker_of(p)->now_ms + p->consumer->member_ttl_ms);
    p->consumer->stream->committed = true;
}

static uint64_t oldest_pending(const struct position *p)
{
    uint64_t oldest = 0, seq;
    for (size_t at = 0; map_walk(&p->pending, &at, &seq);)
        if (!oldest || seq < oldest)
            oldest = seq;
    return oldest;
}

static int64_t time_of(const struct position *p, uint64_t seq)
{
    struct walk walk = {0};
    struct stored event;
    walk_seek(&walk, p->consumer->stream->log, seq);
    int64_t ts_us = walk_next(&walk, &event) == 1 ? event.ts_us : 0;
    walk_fini(&walk);
    return ts_us;
}

int position_backlog(struct position *p, int look, struct backlog *backlog)
{
    struct log *log = p->consumer->stream->log;
    struct walk walk = {0};
    struct stored event;
    uint64_t oldest = oldest_pending(p);
    int looked = 0;
    *backlog = (struct backlog){.unfinished = p->pending.used, .oldest_us = oldest ? time_of(p, oldest) : 0};
    for (size_t i = 0; i < p->sub_count; i++)
        backlog->in_flight += p->subs[i]->in_flight;
    walk_seek(&walk, log, p->cursor);
    for (; looked < look && walk_next(&walk, &event) == 1; looked++) {
        if (!wanted(p, &event))
            continue;
        backlog->unfinished++;
        if (!backlog->oldest_us)
            backlog->oldest_us = event.ts_us;
    }
    if (looked == look) /* what lies behind is only counted */
        backlog->unfinished += log_events_from(log, walk.index);
    walk_fini(&walk);
    return looked;
}

/* Forgets what the state says of numbers that the log has yet to give: files of different moments were copied together. True if it
 * said something. */
static bool forget_future(struct position *p, uint64_t end)
{
    struct ranges *done = &p->done;
    bool ahead = forget_pending(p, end) || p->cursor > end;
    p->cursor = p->cursor > end ? end : p->cursor;
    while (done->count && done->items[done->count - 1].to >= end) {
        struct log_range *last = &done->items[done->count - 1];
        last->to = end - 1;
        done->count -= last->from >= end;
        ahead = true;
    }
    return ahead;
}

/* After recovery the cursor stands where the last checkpoint had it: it may pass what was finished since. */
void position_catch_up(struct position *p)
{
    struct stored event;
    int looked = 0;
    uint64_t end = log_next_seq(p->consumer->stream->log);
    if (forget_future(p, end)) {
        logger_put(LEVEL_WARN, "position-ahead", "the consumer was ahead of its stream, which is an older copy: it goes on at the end",
                   "consumer=%s stream=%s seq=%llu", p->consumer->name, p->consumer->stream->config->name,
                   (unsigned long long) end);
        state_position(p);
        walk_seek(&p->walk, p->consumer->stream->log, p->cursor);
    }
    while (looked++ < CATCH_UP_MAX && walk_next(&p->walk, &event) == 1 && !wanted(p, &event))
        p->cursor = event.seq + 1;
    walk_seek(&p->walk, p->consumer->stream->log, p->cursor);
    position_forget_passed(p);
}
