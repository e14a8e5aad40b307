/* SPDX-License-Identifier: Apache-2.0 */
/* GET /api/events: events as server-sent events (WHATWG HTML, 9.2). Feeds that want the same from now on share one
 * subscription, a source; one that resumes, or that is too slow for the others, has a source of its own. GET /api/console: the
 * same, with records of the bus's state between the events, or alone.
 *
 * The id of a record is the place of its reader in every stream, "events:1235,audit:17": the next sequence number of each. It
 * is exact, so a reader that comes back with Last-Event-ID gets each stored event once. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/topic.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"
#include "nodes/ingress/places.h"

#define PATTERNS_MAX 20
#define SOURCES_MAX 400 /* a session has at most 512 subscriptions, */
#define WINDOW 32       /* whose windows add up to at most 16,000 */
#define EVENT_NAME "event: event\n" /* on consoles, where records are of several kinds */
#define SLOW_BYTES (256u << 10) /* a feed with more unsent than this leaves its source until it has caught up */

struct source {
    LIST_ENTRY(source) link;
    struct feeds *feeds;
    char *key;                /* of a shared one: its patterns and stream; NULL: one feed's own */
    char **patterns;          /* NULL-terminated */
    char *stream;             /* NULL: all */
    uint32_t subscription;    /* 0: not yet */
    struct places places;
    bool known;               /* the streams were asked for, or need not be */
    struct ls_from from;      /* with a stream: where to begin, once */
    LIST_HEAD(, feed) feeds_list;
};

struct feed {
    LIST_ENTRY(feed) link, all; /* in its source; of all feeds */
    struct source *source;    /* NULL: stopped while its client catches up, or a console that wants no events */
    struct visit *v;
    struct feeds *feeds;
    char *key, *stream;       /* to begin a source of its own */
    char **patterns;
    struct places places;     /* kept while it has no source */
    uint64_t limit;           /* records left; 0: no limit */
    bool begun, console;
    int64_t written_ms;
    struct timer timer;
};

struct feeds {
    struct ingress *in;
    LIST_HEAD(, source) sources;
    LIST_HEAD(, feed) all;
    size_t sources_count;     /* with those that the broker does not know to have ended */
    size_t sources_ended;
    size_t consoles;
    bool asking;
};

/* ---- writing to one feed ---- */

static void feed_detach(struct feed *f);
static void source_start(struct source *s);
static struct source *source_own(struct feed *f);

static void put_id(const struct places *places, struct buf *out)
{
    if (!places->count)
        return;
    buf_addf(out, "id: ");
    places_text(places, out);
    buf_addf(out, "\n");
}

static bool feed_write(struct feed *f, struct ls_slice bytes)
{
    f->written_ms = clock_mono_ms();
    return http_stream_write(f->v->x, bytes);
}

static void tell_away(struct feed *f)
{
    feed_write(f, ls_str("event: away\ndata: {\"text\":\"no connection to the broker; it is tried again all the time\"}\n\n"));
}

/* A console shows at once how things stand. */
static void greet(struct feed *f)
{
    struct ls_slice state = overview_watch(f->feeds->in);
    if (!f->feeds->in->connected)
        tell_away(f);
    else if (state.len)
        feed_write(f, state);
}

/* An id alone, so that a client that is cut off before the first event knows its place. */
static void tell_place(struct feed *f)
{
    struct buf *out = &f->feeds->in->scratch;
    buf_clear(out);
    buf_addf(out, "retry: 2000\n");
    if (f->source)
        put_id(&f->source->places, out);
    buf_addf(out, ": following\n\n");
    feed_write(f, ls_bytes(out->data, out->len));
}

static void feed_begin(struct feed *f)
{
    if (f->begun)
        return;
    f->begun = true;
    http_answer_header(f->v->x, "Content-Type", "text/event-stream; charset=utf-8");
    http_answer_header(f->v->x, "Cache-Control", "no-cache, no-transform");
    http_answer_header(f->v->x, "X-Accel-Buffering", "no");
    http_stream_begin(f->v->x, 200);
    tell_place(f);
    node_timer_set(f->feeds->in->node, &f->timer, f->feeds->in->options->keep_alive);
    if (f->console)
        greet(f);
}

static void feed_free(struct feed *f)
{
    feed_detach(f);
    node_timer_unset(f->feeds->in->node, &f->timer);
    for (char **p = f->patterns; p && *p; p++)
        free(*p);
    free(f->patterns);
    free(f->key);
    free(f->stream);
    places_fini(&f->places);
    LIST_REMOVE(f, all);
    f->feeds->consoles -= f->console;
    --*node_metric(f->feeds->in->node, METRIC_FEEDS_OPEN);
    free(f);
}

/* The problem is for one that has not begun; others come back by themselves. */
static void feed_end(struct feed *f, const struct problem *problem, const char *text)
{
    struct visit *v = f->v;
    v->work = NULL;
    if (f->begun)
        http_stream_end(v->x);
    else
        answer_problem(v, problem, "%s", text ? text : "");
    feed_free(f);
}

/* A record, with its name in front, for one feed, which may be over or leave its source with it. */
static void feed_put(struct feed *f, const struct ls_event *event, struct ls_slice record)
{
    size_t name = f->console ? 0 : strlen(EVENT_NAME);
    record = ls_bytes(record.data + name, record.len - name);
    feed_begin(f);
    bool ok = feed_write(f, record);
    if (ok)
        ++*node_metric(f->feeds->in->node, METRIC_FEED_EVENTS);
    if (ok && f->limit && --f->limit == 0) {
        feed_end(f, NULL, NULL);
        return;
    }
    if (ok && http_stream_queued(f->v->x) <= SLOW_BYTES)
        return;
    places_copy(&f->places, &f->source->places);
    if (!ok && event->seq) /* the record was not taken */
        places_set(&f->places, event->stream.data, event->stream.len, event->seq);
    feed_detach(f);
}

static void on_gone(void *work)
{
    struct feed *f = work;
    f->v->work = NULL;
    feed_free(f);
}

/* The slow client has caught up: it goes on where it was, by itself. */
static void on_drained(void *work)
{
    struct feed *f = work;
    if (f->source || !f->patterns)
        return;
    if (f->feeds->sources_count >= SOURCES_MAX) {
        feed_end(f, NULL, NULL); /* it comes back with its place */
        return;
    }
    struct source *s = source_own(f);
    s->known = true;
    places_copy(&s->places, &f->places);
    source_start(s);
}

static void on_timer(void *arg, struct timer *timer)
{
    (void) arg;
    struct feed *f = (struct feed *) (void *) ((char *) timer - offsetof(struct feed, timer));
    int64_t every = f->feeds->in->options->keep_alive, silent = clock_mono_ms() - f->written_ms;
    if (silent >= every) {
        feed_write(f, ls_str(": ka\n\n"));
        silent = 0;
    }
    node_timer_set(f->feeds->in->node, timer, every - silent);
}

/* ---- sources ---- */

static void source_free(struct source *s)
{
    if (s->subscription)
        ls_unsubscribe(node_client(s->feeds->in->node), s->subscription);
    s->feeds->sources_ended++;
    LIST_REMOVE(s, link);
    for (char **p = s->patterns; p && *p; p++)
        free(*p);
    free(s->patterns);
    free(s->key);
    free(s->stream);
    places_fini(&s->places);
    free(s);
}

static void feed_detach(struct feed *f)
{
    struct source *s = f->source;
    f->source = NULL;
    if (!s)
        return;
    LIST_REMOVE(f, link);
    if (LIST_EMPTY(&s->feeds_list))
        source_free(s);
}

static void feed_attach(struct feed *f, struct source *s)
{
    f->source = s;
    LIST_INSERT_HEAD(&s->feeds_list, f, link);
}

static struct source *source_new(const struct feed *f, const char *key)
{
    struct source *s = xcalloc(1, sizeof *s);
    size_t count = 0;
    while (f->patterns[count])
        count++;
    s->feeds = f->feeds;
    s->key = key ? xstrdup(key) : NULL;
    s->stream = f->stream ? xstrdup(f->stream) : NULL;
    s->patterns = xcalloc(count + 1, sizeof *s->patterns);
    for (size_t i = 0; i < count; i++)
        s->patterns[i] = xstrdup(f->patterns[i]);
    LIST_INIT(&s->feeds_list);
    LIST_INSERT_HEAD(&f->feeds->sources, s, link);
    f->feeds->sources_count++;
    return s;
}

static struct source *source_own(struct feed *f)
{
    struct source *s = source_new(f, NULL);
    feed_attach(f, s);
    return s;
}

static struct source *source_find(struct feeds *feeds, const char *key)
{
    struct source *s;
    LIST_FOREACH(s, &feeds->sources, link)
        if (s->key && strcmp(s->key, key) == 0)
            return s;
    return NULL;
}

static void put_record(const struct source *s, const struct ls_event *event, struct buf *out)
{
    buf_clear(out);
    buf_addf(out, EVENT_NAME);
    put_id(&s->places, out);
    buf_addf(out, "data: ");
    json_put_event(out, event);
    buf_addf(out, "\n\n");
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    (void) err;
    struct source *s = arg;
    struct buf record = {0}; /* feed_begin writes into the scratch */
    if (event->seq)
        places_set(&s->places, event->stream.data, event->stream.len, event->seq + 1);
    put_record(s, event, &record);
    /* Feeds leave while this goes on, and the last one takes the source along. */
    struct feed *next;
    for (struct feed *f = LIST_FIRST(&s->feeds_list); f; f = next) {
        next = LIST_NEXT(f, link);
        feed_put(f, event, ls_bytes(record.data, record.len));
    }
    buf_fini(&record);
    return LS_DONE;
}

static void source_start(struct source *s)
{
    struct ls_error err;
    struct feed *f;
    struct ls_subscription sub = {.stream = s->stream, .topics = (const char *const *) s->patterns, .from = s->from, .window = WINDOW,
                                  .positions = s->places.items, .position_count = s->places.count};
    s->subscription = ls_subscribe(node_client(s->feeds->in->node), &sub, on_event, s, &err);
    if (!s->subscription)
        logger_put(LEVEL_ERROR, "feed", err.text, "topic=%s", s->patterns[0]);
    LIST_FOREACH(f, &s->feeds_list, link)
        if (f->console && f->begun)
            tell_place(f);
        else
            feed_begin(f);
}

/* ---- where the streams stand ---- */

/* False: the stream that is asked for does not exist. */
static bool take_streams(struct source *s, struct ls_slice reply)
{
    struct mp_maps streams = mp_maps(wire_map(reply), "streams");
    bool found = !s->stream, all = s->from.kind == LS_FROM_ALL, placed = s->places.count || (s->from.kind && !all);
    s->known = true;
    for (struct mp item; mp_maps_next(&streams, &item);) {
        struct ls_slice name;
        uint64_t next, first = 1;
        if (!wire_str(item, "name", &name) || !wire_uint(item, "next", &next) ||
            (s->stream ? !ls_slice_is(name, s->stream) : name.len && *name.data == '$'))
            continue;
        found = true;
        wire_uint(item, "first", &first);
        if (!placed)
            places_set(&s->places, name.data, name.len, all ? first : next);
    }
    if (!placed)
        s->from = (struct ls_from){0};
    return found;
}

static void source_end(struct source *s, const struct problem *problem, const char *text)
{
    for (struct feed *f = LIST_FIRST(&s->feeds_list), *next; f; f = next) {
        next = LIST_NEXT(f, link); /* the last one takes the source along */
        feed_end(f, problem, text);
    }
}

static void on_streams(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct feeds *feeds = arg;
    feeds->asking = false;
    for (struct source *s = LIST_FIRST(&feeds->sources), *next; s; s = next) {
        next = LIST_NEXT(s, link);
        if (s->known)
            continue;
        if (err)
            source_end(s, &(struct problem){.status = 503, .code = "no_bus"}, err->text);
        else if (take_streams(s, reply))
            source_start(s);
        else
            source_end(s, &(struct problem){.status = 422, .code = "value_error", .param = "stream"}, "there is no stream of this name");
    }
}

static void ask_streams(struct feeds *feeds)
{
    struct ls_error err;
    struct buf request = {0};
    if (feeds->asking || !feeds->in->connected)
        return;
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", "streams");
    feeds->asking = ls_adm(node_client(feeds->in->node), ls_bytes(request.data, request.len), on_streams, feeds, &err) == 0;
    buf_fini(&request);
}

/* ---- what is asked for ---- */

static void wrong(struct visit *v, const char *param, const char *text)
{
    answer_problem(v, &(struct problem){.status = 422, .code = "value_error", .param = param}, "%s", text);
}

/* "a,b" into a list of patterns; false after it has answered. */
static bool read_patterns(struct feed *f, const char *text)
{
    size_t count = 0;
    f->patterns = xcalloc(PATTERNS_MAX + 1, sizeof *f->patterns);
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        if (count == PATTERNS_MAX || !topic_pattern_valid(at, len)) {
            wrong(f->v, "topic", "topic is a pattern such as run.> or chat.completed, or up to 20 of them with commas between");
            return false;
        }
        f->patterns[count++] = xstrndup(at, len);
        at += len + (at[len] == ',');
    }
    if (!count)
        wrong(f->v, "topic", "say what to follow: ?topic=run.> (chat.completed, or > for all)");
    return count > 0;
}

static bool read_from(struct feed *f, const char *text, struct ls_from *from)
{
    if (!from_parse(text, from))
        return wrong(f->v, "from", "from is new, all, last:N, seq:N or a time such as 2026-11-23T12:00:00Z"), false;
    if (from->kind && from->kind != LS_FROM_ALL && !f->stream)
        return wrong(f->v, "from", "last:N, seq:N and times need stream=NAME, the stream to read"), false;
    return true;
}

static bool read_limit(struct feed *f)
{
    char text[20];
    if (!http_query_get(f->v->x, "limit", text, sizeof text))
        return true;
    f->limit = strspn(text, "0123456789") == strlen(text) ? strtoull(text, NULL, 10) : 0;
    if (!f->limit)
        wrong(f->v, "limit", "limit is a number of events, 1 or more");
    return f->limit > 0;
}

/* A feed with a place goes there, by itself; others share the source of their patterns. A stream that is named must exist. */
static void follow(struct feed *f, const struct ls_from *from, const struct places *resume)
{
    bool own = resume->count || from->kind;
    struct source *s = own ? NULL : source_find(f->feeds, f->key);
    bool found = s != NULL;
    if (!found && f->feeds->sources_count >= SOURCES_MAX) {
        feed_end(f, &(struct problem){.status = 503, .code = "too_many_feeds", .retry_ms = 5000},
                 "too many different feeds are followed at the moment");
        return;
    }
    if (own)
        s = source_own(f);
    else if (!found)
        s = source_new(f, f->key);
    if (own) {
        s->from = *from;
        places_copy(&s->places, resume);
        s->known = resume->count && !f->stream;
    } else {
        feed_attach(f, s);
    }
    if (!s->known)
        ask_streams(f->feeds);
    else if (found)
        feed_begin(f);
    else
        source_start(s);
}

static bool read_query(struct feed *f, struct ls_from *from)
{
    char topic[2048] = "", stream[128] = "", begin[64] = "";
    struct visit *v = f->v;
    http_query_get(v->x, "topic", topic, sizeof topic);
    if (http_query_get(v->x, "stream", stream, sizeof stream) && *stream)
        f->stream = xstrdup(stream);
    http_query_get(v->x, "from", begin, sizeof begin);
    f->key = xasprintf("%s %s", topic, stream);
    return read_patterns(f, topic) && read_from(f, begin, from) && read_limit(f);
}

/* A console begins without a topic, and while the bus is away, too: it shows that. */
static void feed_open(struct visit *v, bool console)
{
    struct feeds *feeds = v->ingress->feeds;
    struct places places = {0};
    struct ls_from from = {0};
    const char *resume = http_header(v->x, "last-event-id");
    struct feed *f = xcalloc(1, sizeof *f);
    f->feeds = feeds;
    f->v = v;
    f->console = console;
    f->timer.fire = on_timer;
    LIST_INSERT_HEAD(&feeds->all, f, all);
    feeds->consoles += console;
    ++*node_metric(feeds->in->node, METRIC_FEEDS_OPEN);
    bool follows = !console || strstr(http_query(v->x), "topic="), ok = !follows || read_query(f, &from);
    if (ok && follows && resume && !places_parse(&places, resume)) {
        wrong(v, "Last-Event-ID", "Last-Event-ID is the id of a record of this feed: STREAM:NUMBER, with commas between several");
        ok = false;
    } else if (ok && !console && !feeds->in->connected) {
        answer_no_bus(v);
        ok = false;
    }
    if (ok) {
        v->work = f;
        v->gone = on_gone;
        v->drained = on_drained;
        if (!follows || !feeds->in->connected)
            feed_begin(f);
        if (follows)
            follow(f, &from, &places);
    } else {
        feed_free(f);
    }
    places_fini(&places);
}

void handle_feed(struct visit *v)
{
    feed_open(v, false);
}

void handle_console(struct visit *v)
{
    feed_open(v, true);
}

/* ---- what all consoles are told ---- */

bool feeds_watching(const struct ingress *in)
{
    return in->feeds->consoles > 0;
}

void feeds_tell_state(struct ingress *in, struct ls_slice record)
{
    struct feed *f;
    LIST_FOREACH(f, &in->feeds->all, all)
        if (f->console && f->begun && !http_stream_queued(f->v->x))
            feed_write(f, record);
}

void feeds_tell_away(struct ingress *in)
{
    struct feed *f;
    LIST_FOREACH(f, &in->feeds->all, all)
        if (f->console && f->begun)
            tell_away(f);
}

/* ---- their life ---- */

void feeds_open(struct ingress *in)
{
    in->feeds = xcalloc(1, sizeof *in->feeds);
    in->feeds->in = in;
    LIST_INIT(&in->feeds->sources);
    LIST_INIT(&in->feeds->all);
}

void feeds_connected(struct ingress *in)
{
    struct source *s;
    LIST_FOREACH(s, &in->feeds->sources, link)
        if (!s->known) {
            ask_streams(in->feeds);
            return;
        }
}

/* The step of the client has told the broker of those that ended before. */
void feeds_tick(struct ingress *in)
{
    in->feeds->sources_count -= in->feeds->sources_ended;
    in->feeds->sources_ended = 0;
}

void feeds_drain(struct ingress *in)
{
    struct feed *f;
    while ((f = LIST_FIRST(&in->feeds->all)) != NULL)
        feed_end(f, &(struct problem){.status = 503, .code = "stopping"}, "the server is stopping");
}

/* A subscription did not stand, or no longer does after a restart of the broker: its feeds end, and may come back. */
void feeds_refused(struct ingress *in, uint32_t subscription, const struct ls_error *err)
{
    struct feed *f, *next;
    const struct problem problem = {.status = bus_error_status(err), .code = "feed_refused", .retry_ms = 2000};
    for (f = LIST_FIRST(&in->feeds->all); f; f = next) {
        next = LIST_NEXT(f, all);
        if (f->source && f->source->subscription == subscription)
            feed_end(f, &problem, err->text);
    }
}

void feeds_close(struct ingress *in)
{
    free(in->feeds);
    in->feeds = NULL;
}
