/* SPDX-License-Identifier: Apache-2.0 */
/* Events from the bus, applied in batches. */
#include "nodes/tracker/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/tracker/body.h"
#include "nodes/tracker/fact.h"
#include "nodes/tracker/outbox.h"

#define KEEP_ALIVE_MS 2000
#define RETRY_MS 200
#define TRACE_SIZE 33

struct event {
    char *stream, *topic, *id;
    uint64_t seq;
    int64_t ts_us, time_ms;
    uint32_t subscription;
    json_t *body; /* NULL: `problem` says why */
    struct ls_error problem;
    bool rejected; /* within a batch: dead letter, with `problem` */
};

struct position {
    char *stream;
    int64_t seq, time_us;  /* committed: of the last event that was applied */
    int64_t next, next_us; /* within a batch */
    int64_t loaded;        /* seq, as feed_load found it */
};

struct feed {
    struct tracker *t;
    struct event **events; /* by stream and seq */
    size_t count, room;
    struct position *positions;
    size_t position_count, position_room;
    int64_t alive_at, retry_at;
};

/* ---- gathering ---- */

static void event_free(struct event *e)
{
    json_decref(e->body);
    free(e->stream);
    free(e->topic);
    free(e->id);
    free(e);
}

static char *copy(struct ls_slice text)
{
    return xstrndup(text.len ? text.data : "", text.len);
}

/* The time of the event in ms: what its publisher wrote, else when the broker took it. Both are the same in every
 * replay. */
static int64_t time_of(const struct ls_event *event)
{
    int64_t us = 0;
    if (!event->time.len || !clock_parse(event->time.data, event->time.len, &us) || us < 0)
        us = event->ts_us;
    return us / 1000;
}

/* The trace id of a chat (W3C Trace Context: version-trace-parent-flags). */
static void add_trace(json_t *body, struct ls_slice traceparent)
{
    if (json_is_object(body) && traceparent.len >= 35 && traceparent.data[2] == '-' && traceparent.data[35] == '-')
        json_object_set_new(body, FACT_TRACE, json_stringn(traceparent.data + 3, TRACE_SIZE - 1));
}

static struct event *event_new(const struct ls_event *from)
{
    struct event *e = xcalloc(1, sizeof *e);
    *e = (struct event){.stream = copy(from->stream),
                        .topic = copy(from->topic),
                        .id = copy(from->id),
                        .seq = from->seq,
                        .ts_us = from->ts_us,
                        .time_ms = time_of(from),
                        .subscription = from->subscription};
    e->body = body_read(from->body, &e->problem);
    if (strncmp(e->topic, "chat.", 5) == 0)
        add_trace(e->body, from->traceparent);
    return e;
}

static int compare(const struct event *a, const struct event *b)
{
    int order = strcmp(a->stream, b->stream);
    return order ? order : (a->seq > b->seq) - (a->seq < b->seq);
}

/* In the stream's order; they come in it, but after a lost session older ones may follow. One that is here already
 * stays. */
enum ls_verdict feed_take(struct feed *feed, const struct ls_event *event)
{
    struct event *e = event_new(event);
    size_t at = feed->count;
    while (at && compare(feed->events[at - 1], e) > 0)
        at--;
    if (at && compare(feed->events[at - 1], e) == 0) {
        feed->events[at - 1]->subscription = e->subscription;
        event_free(e);
        return LS_PENDING;
    }
    feed->events = xgrow(feed->events, &feed->room, feed->count + 1, sizeof(struct event *));
    memmove(feed->events + at + 1, feed->events + at, (feed->count - at) * sizeof(struct event *));
    feed->events[at] = e;
    feed->count++;
    return LS_PENDING;
}

/* ---- positions ---- */

static struct position *position_of(struct feed *feed, struct ls_slice stream)
{
    for (size_t i = 0; i < feed->position_count; i++)
        if (ls_slice_is(stream, feed->positions[i].stream))
            return &feed->positions[i];
    feed->positions = xgrow(feed->positions, &feed->position_room, feed->position_count + 1, sizeof *feed->positions);
    struct position *p = &feed->positions[feed->position_count++];
    *p = (struct position){.stream = copy(stream)};
    return p;
}

static void forget_positions(struct feed *feed)
{
    for (size_t i = 0; i < feed->position_count; i++)
        free(feed->positions[i].stream);
    feed->position_count = 0;
}

static void take_position(void *arg, const struct db_row *row)
{
    struct position *p = position_of(arg, db_get_text(row, 0));
    p->seq = p->loaded = db_get_int(row, 1);
    p->time_us = db_get_int(row, 2);
}

int feed_load(struct feed *feed, struct ls_error *err)
{
    static const char POSITIONS[] = "SELECT stream, seq, time_us FROM lineshaft_position WHERE consumer = $1";
    forget_positions(feed);
    feed->retry_at = 0;
    return db_run(feed->t->db, POSITIONS, DB_VALUES(db_text(node_name(feed->t->node))), take_position, feed, err) < 0
               ? -1
               : 0;
}

uint64_t feed_loaded(struct feed *feed, struct ls_slice stream)
{
    return (uint64_t) position_of(feed, stream)->loaded;
}

static int put_positions(struct feed *feed, struct ls_error *err)
{
    static const char PUT[] =
        "INSERT INTO lineshaft_position (consumer, stream, seq, time_us) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (consumer, stream) DO UPDATE SET seq = excluded.seq, time_us = excluded.time_us";
    for (size_t i = 0; i < feed->position_count; i++) {
        const struct position *p = &feed->positions[i];
        if (p->next == p->seq && p->next_us == p->time_us)
            continue;
        if (db_queue(
                feed->t->db, PUT,
                DB_VALUES(db_text(node_name(feed->t->node)), db_text(p->stream), db_int(p->next), db_int(p->next_us)),
                err))
            return -1;
    }
    return 0;
}

/* ---- rejected events may come again: `lineshaft dlq replay` ---- */

static int note_rejected(struct feed *feed, const struct event *e, struct ls_error *err)
{
    static const char PUT[] =
        "INSERT INTO lineshaft_rejected (consumer, stream, seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    return db_queue(feed->t->db, PUT,
                    DB_VALUES(db_text(node_name(feed->t->node)), db_text(e->stream), db_int((int64_t) e->seq)), err);
}

/* 1: it was rejected, and has another chance now; 0: it was applied; -1. */
static int take_rejected(struct feed *feed, const struct event *e, struct ls_error *err)
{
    static const char TAKE[] = "DELETE FROM lineshaft_rejected WHERE consumer = $1 AND stream = $2 AND seq = $3";
    return (int) db_run(feed->t->db, TAKE,
                        DB_VALUES(db_text(node_name(feed->t->node)), db_text(e->stream), db_int((int64_t) e->seq)),
                        NULL, NULL, err);
}

/* 1: to be applied, 0: it was, -1. A number that came long ago with a time that is later: the stream was made anew,
 * and counts from one again. */
static int is_new(struct feed *feed, const struct event *e, struct ls_error *err)
{
    struct position *p = position_of(feed, ls_str(e->stream));
    int64_t seq = (int64_t) e->seq;
    if (seq <= p->next && e->ts_us <= p->next_us)
        return take_rejected(feed, e, err);
    bool anew = seq <= p->next;
    if (anew)
        logger_put(LEVEL_WARN, "stream-anew", "the stream is an older copy, or began anew: what is new in it is applied",
                   "stream=%s seq=%lld position=%lld", p->stream, (long long) seq, (long long) p->next);
    p->next = seq;
    p->next_us = anew || e->ts_us > p->next_us ? e->ts_us : p->next_us; /* clocks are set back now and then */
    return 1;
}

/* ---- a batch ---- */

/* The event's effect, unless the tables have it. */
static int apply(struct feed *feed, struct event *e, struct ls_error *err)
{
    struct tracker *t = feed->t;
    if (!e->body) {
        *err = e->problem;
        return -1;
    }
    struct own *own = outbox_find(t->outbox, ls_str(e->id));
    if (own && !outbox_comes(t->outbox, own))
        return 0;
    if (!own)
        outbox_foreign(t->outbox, e->topic, e->body);
    t->again = own != NULL;
    int rc = fact_apply(t, e->topic, e->body, e->time_ms, err);
    t->again = false;
    return rc < 0 ? -1 : 0;
}

static bool is_fatal(enum db_problem problem)
{
    return problem == DB_LOST || problem == DB_SCHEMA || problem == DB_RETRY;
}

/* With a savepoint, so that what cannot be applied harms nobody else. */
static int apply_careful(struct feed *feed, struct event *e, struct ls_error *err)
{
    struct tracker *t = feed->t;
    if (db_savepoint(t->db, err))
        return -1;
    if (!apply(feed, e, err) && !metrics_flush(t, err) && !db_release(t->db, err))
        return 0;
    if (e->body && is_fatal(db_problem(t->db)))
        return -1;
    e->problem = *err;
    e->rejected = true;
    metrics_drop(t->metrics);
    known_forget(t->known);
    return db_restore(t->db, err) || note_rejected(feed, e, err) ? -1 : 0;
}

static int apply_all(struct feed *feed, bool careful, struct ls_error *err)
{
    struct tracker *t = feed->t;
    for (size_t i = 0; i < feed->count; i++) {
        struct event *e = feed->events[i];
        int fresh = is_new(feed, e, err);
        if (fresh < 0 || (fresh && (careful ? apply_careful(feed, e, err) : apply(feed, e, err))))
            return -1;
    }
    if (metrics_flush(t, err) || outbox_settle(t->outbox, careful, err) || metrics_flush(t, err))
        return -1;
    return put_positions(feed, err);
}

static void begin_batch(struct feed *feed)
{
    for (size_t i = 0; i < feed->position_count; i++) {
        feed->positions[i].next = feed->positions[i].seq;
        feed->positions[i].next_us = feed->positions[i].time_us;
    }
    for (size_t i = 0; i < feed->count; i++)
        feed->events[i]->rejected = false;
}

static int run_batch(struct feed *feed, bool careful, struct ls_error *err)
{
    struct tracker *t = feed->t;
    begin_batch(feed);
    if (!db_begin(t->db, err) && !apply_all(feed, careful, err) && !db_commit(t->db, err))
        return 0;
    db_rollback(t->db);
    metrics_drop(t->metrics);
    known_forget(t->known);
    outbox_undo(t->outbox);
    return -1;
}

/* It was committed. */
static void settle(struct feed *feed)
{
    struct node *node = feed->t->node;
    outbox_settled(feed->t->outbox);
    for (size_t i = 0; i < feed->position_count; i++) {
        feed->positions[i].seq = feed->positions[i].next;
        feed->positions[i].time_us = feed->positions[i].next_us;
    }
    for (size_t i = 0; i < feed->count; i++) {
        struct event *e = feed->events[i];
        node_settle(node, e->subscription, e->seq, e->rejected ? LS_REJECT : LS_DONE, e->rejected ? &e->problem : NULL);
        *node_metric(node, METRIC_REJECTED) += e->rejected;
        event_free(e);
    }
    feed->count = 0;
    ++*node_metric(node, METRIC_BATCHES);
}

/* As one; when something in it fails, once more with care. */
static void apply_batch(struct feed *feed, int64_t now_ms)
{
    struct ls_error err = {0};
    int rc = run_batch(feed, false, &err);
    if (rc && (db_problem(feed->t->db) == DB_RETRY || !is_fatal(db_problem(feed->t->db))))
        rc = run_batch(feed, true, &err);
    if (!rc) {
        settle(feed);
        return;
    }
    feed->retry_at = now_ms + RETRY_MS;
    if (!db_node_failed(feed->t->db_node, &err) && db_problem(feed->t->db) != DB_RETRY)
        logger_put(LEVEL_ERROR, "batch-failed", err.text, "events=%zu name=%s", feed->count, err.name);
}

/* ---- turns ---- */

static void keep_alive(struct feed *feed, int64_t now_ms)
{
    if (now_ms - feed->alive_at < KEEP_ALIVE_MS)
        return;
    feed->alive_at = now_ms;
    for (size_t i = 0; i < feed->count; i++)
        node_working(feed->t->node, feed->events[i]->subscription, feed->events[i]->seq);
}

int64_t feed_turn(struct feed *feed, int64_t now_ms)
{
    if (!feed->count)
        return INT64_MAX;
    if (feed->t->db && now_ms >= feed->retry_at)
        apply_batch(feed, now_ms);
    if (!feed->count)
        return INT64_MAX;
    keep_alive(feed, now_ms);
    int64_t alive = feed->alive_at + KEEP_ALIVE_MS;
    return feed->t->db && feed->retry_at > now_ms && feed->retry_at < alive ? feed->retry_at : alive;
}

size_t feed_count(const struct feed *feed)
{
    return feed->count;
}

struct feed *feed_new(struct tracker *t)
{
    struct feed *feed = xcalloc(1, sizeof *feed);
    feed->t = t;
    return feed;
}

void feed_free(struct feed **feed)
{
    struct feed *f = *feed;
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        event_free(f->events[i]);
    forget_positions(f);
    free(f->events);
    free(f->positions);
    free(f);
    *feed = NULL;
}
