/* SPDX-License-Identifier: Apache-2.0 */
/* Events that trigger workflows. Each pattern that a trigger names has an ephemeral subscription, which begins
 * behind the last event whose effect is in the database: so nothing is acknowledged, nothing is lost, and workflow
 * files may change the patterns at any time. A new pattern begins at the end of each stream. */
#include <stdlib.h>

#include "lib/logger.h"
#include "lib/mp.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/scheduler/scheduler.h"

struct source { /* a pattern that is subscribed to */
    LIST_ENTRY(source) link;
    struct scheduler *scheduler;
    char *pattern;
    uint32_t subscription;
    bool wanted;
};

struct stream {
    char name[201];
    uint64_t first, next;
};

struct feed {
    LIST_HEAD(, source) sources;
    bool asking, again; /* the broker is asked for its streams; and once more when it has answered */
    uint64_t now_us;    /* the broker's, when it answered: its events have times of its clock */
};

void feed_open(struct scheduler *s)
{
    s->feed = xcalloc(1, sizeof *s->feed);
    LIST_INIT(&s->feed->sources);
}

static void drop(struct source *source)
{
    ls_unsubscribe(node_client(source->scheduler->node), source->subscription);
    LIST_REMOVE(source, link);
    free(source->pattern);
    free(source);
}

void feed_stop(struct scheduler *s)
{
    while (!LIST_EMPTY(&s->feed->sources))
        drop(LIST_FIRST(&s->feed->sources));
}

void feed_close(struct scheduler *s)
{
    if (!s->feed)
        return;
    feed_stop(s);
    free(s->feed);
    s->feed = NULL;
}

bool feed_refused(struct scheduler *s, uint32_t subscription, const struct ls_error *err)
{
    struct source *source;
    LIST_FOREACH(source, &s->feed->sources, link)
    if (source->subscription == subscription) {
        logger_put(LEVEL_ERROR, "trigger-refused", err->text, "pattern=%s name=%s", source->pattern, err->name);
        return true;
    }
    return false;
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct source *source = arg;
    struct engine *e = &source->scheduler->engine;
    (void) err;
    if (!e->db)
        return LS_DONE; /* feed_stop came first: it is read again */
    char *cause = event->id.len ? xstrndup(event->id.data, event->id.len) : NULL;
    e->cause = cause;
    engine_event(e, source->pattern, event);
    e->cause = NULL;
    free(cause);
    return LS_DONE;
}

/* ---- patterns ---- */

static struct source *find(const struct feed *feed, const char *pattern)
{
    struct source *source;
    LIST_FOREACH(source, &feed->sources, link)
    if (strcmp(source->pattern, pattern) == 0)
        return source;
    return NULL;
}

static void subscribe(struct scheduler *s, const char *pattern, const struct stream *streams, size_t count)
{
    struct engine *e = &s->engine;
    struct ls_position *places = xcalloc(count + 1, sizeof *places);
    bool known = position_known(e, pattern);
    for (size_t i = 0; i < count; i++) {
        if (!position_find(e, pattern, streams[i].name))
            position_set(e, pattern, ls_str(streams[i].name), known ? streams[i].first : streams[i].next,
                         known ? 0 : (int64_t) s->feed->now_us);
        const struct position *p = position_find(e, pattern, streams[i].name);
        places[i] = (struct ls_position){.stream = streams[i].name, .next = p->next, .seen_us = p->seen_us};
    }
    const char *topics[] = {pattern, NULL};
    const struct ls_subscription options = {.topics = topics, .positions = places, .position_count = count};
    struct ls_error err = {0};
    struct source *source = xcalloc(1, sizeof *source);
    source->scheduler = s;
    source->pattern = xstrdup(pattern);
    source->wanted = true;
    LIST_INSERT_HEAD(&s->feed->sources, source, link);
    source->subscription = ls_subscribe(node_client(s->node), &options, on_event, source, &err);
    if (!source->subscription)
        logger_put(LEVEL_ERROR, "trigger-refused", err.text, "pattern=%s", pattern);
    free(places);
}

static void want(struct scheduler *s, const char *pattern, const struct stream *streams, size_t count)
{
    struct source *source = find(s->feed, pattern);
    if (source)
        source->wanted = true;
    else
        subscribe(s, pattern, streams, count);
}

static bool is_wanted(const struct engine *e, const char *pattern)
{
    const struct flow *flow;
    LIST_FOREACH(flow, &e->flows, link)
    {
        const struct workflow *w = flow->definition ? flow->definition->workflow : NULL;
        for (size_t i = 0; w && i < w->trigger_count; i++)
            if (strcmp(w->triggers[i].event, pattern) == 0)
                return true;
    }
    return false;
}

/* What nobody wants any more is forgotten: should it be wanted again, it is new. */
static void forget_unwanted(struct scheduler *s)
{
    struct source *source, *next;
    for (source = LIST_FIRST(&s->feed->sources); source; source = next) {
        next = LIST_NEXT(source, link);
        if (!source->wanted)
            drop(source);
    }
    for (size_t i = 0; i < s->engine.positions->count; i++)
        if (!s->engine.positions->items[i].gone && !is_wanted(&s->engine, s->engine.positions->items[i].pattern))
            position_drop(&s->engine, s->engine.positions->items[i].pattern);
}

static void apply(struct scheduler *s, const struct stream *streams, size_t count)
{
    struct engine *e = &s->engine;
    struct flow *flow;
    struct source *source;
    const char *broker = ls_client_server(node_client(s->node))->broker;
    if (!e->positions->broker || strcmp(e->positions->broker, broker) != 0) {
        if (e->positions->broker)
            logger_put(LEVEL_WARN, "broker-new", "this broker has another data directory: triggers begin at its end",
                       "broker=%s", broker);
        feed_stop(s);
        positions_void(e, broker);
    }
    LIST_FOREACH(source, &s->feed->sources, link)
    source->wanted = false;
    LIST_FOREACH(flow, &e->flows, link)
    {
        const struct workflow *w = flow->definition ? flow->definition->workflow : NULL;
        for (size_t i = 0; w && i < w->trigger_count; i++)
            want(s, w->triggers[i].event, streams, count);
    }
    forget_unwanted(s);
}

/* ---- streams ---- */

static size_t read_streams(struct ls_slice reply, struct stream **streams)
{
    struct mp_maps walk = mp_maps(wire_map(reply), "streams");
    size_t count = 0;
    *streams = xcalloc(walk.left + 1, sizeof **streams);
    for (struct mp one; mp_maps_next(&walk, &one); count++) {
        struct stream *stream = &(*streams)[count];
        struct ls_slice name = {0};
        wire_str(one, "name", &name);
        wire_copy(stream->name, sizeof stream->name, name);
        wire_uint(one, "first", &stream->first);
        wire_uint(one, "next", &stream->next);
    }
    return count;
}

static void on_streams(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct scheduler *s = arg;
    struct stream *streams = NULL;
    s->feed->asking = false;
    s->feed->now_us = 0;
    if (err)
        logger_put(LEVEL_WARN, "streams", err->text, "name=%s", err->name);
    else
        wire_uint(wire_map(reply), "now_us", &s->feed->now_us);
    size_t count = err ? 0 : read_streams(reply, &streams);
    if (s->feed->again)
        feed_sync(s);
    else if (count && s->engine.db)
        apply(s, streams, count);
    free(streams);
}

void feed_sync(struct scheduler *s)
{
    struct buf request = {0};
    struct ls_error err = {0};
    s->feed->again = s->feed->asking;
    if (s->feed->asking || !s->connected || !s->engine.db)
        return;
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", "streams");
    s->feed->asking = ls_adm(node_client(s->node), ls_bytes(request.data, request.len), on_streams, s, &err) == 0;
    if (!s->feed->asking)
        logger_put(LEVEL_WARN, "streams", err.text, "name=%s", err.name);
    buf_fini(&request);
}
