/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the stored events of several streams page by page, merged by the events' times. */
#include "cli/tail/tail.h"

#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

#define PAGE_EVENTS 500
#define LAST_FACTOR 8 /* how much further back to look when too few of the last events are wanted */

static void page_clear(struct tail_stream *s)
{
    for (size_t i = s->at; i < s->count; i++)
        event_copy_fini(&s->page[i]);
    s->count = s->at = 0;
}

struct sink {
    struct tail *tail;
    struct tail_stream *stream;
};

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct sink *sink = arg;
    struct tail_stream *s = sink->stream;
    (void) err;
    if (event->seq > s->end || !tail_wanted(sink->tail, event))
        return LS_DONE;
    s->page = xgrow(s->page, &s->room, s->count + 1, sizeof *s->page);
    event_copy_init(&s->page[s->count++], event);
    if (s->keep && s->count >= 2 * s->keep) { /* moved seldom, so that a long look back stays linear */
        size_t drop = s->count - s->keep;
        for (size_t i = 0; i < drop; i++)
            event_copy_fini(&s->page[i]);
        memmove(s->page, s->page + drop, s->keep * sizeof *s->page);
        s->count = s->keep;
    }
    return LS_DONE;
}

/* Reads one page from s->next on (or from `from`, when given); s->next moves on. */
static int read_page(struct tail *t, struct tail_stream *s, const struct ls_from *from)
{
    struct sink sink = {t, s};
    struct ls_page page = {0};
    struct ls_error err = {0};
    struct ls_range range = {.stream = s->name, .from = {LS_FROM_SEQ, s->next}, .count = PAGE_EVENTS, .topics = t->topics};
    if (from) {
        range.from = *from;
        s->next = 0;
    }
    int result = ls_get_wait(t->bus.client, &range, on_event, &sink, &page, t->bus.timeout_ms, &err);
    if (result < 0 && strcmp(err.name, "TRIMMED") == 0 && !from) { /* retention was faster */
        range.from = (struct ls_from){LS_FROM_DEFAULT, 0};
        result = ls_get_wait(t->bus.client, &range, on_event, &sink, &page, t->bus.timeout_ms, &err);
    }
    if (result < 0)
        return bus_failed(t->bus.command, &err);
    s->next = page.next > s->next ? page.next : s->next + 1;
    return CLI_OK;
}

/* Makes s->page hold something, unless the stream is read to its end. */
static int fill(struct tail *t, struct tail_stream *s)
{
    while (s->at == s->count && s->next <= s->end && !s->keep) {
        s->at = s->count = 0;
        int status = read_page(t, s, NULL);
        if (status != CLI_OK)
            return status;
    }
    return CLI_OK;
}

/* The last `keep` wanted events: looks at the last few, then further back while too few of them are wanted. */
static int fill_last(struct tail *t, struct tail_stream *s)
{
    s->keep = (size_t) t->from.value;
    for (uint64_t span = t->from.value; s->end >= s->first; span *= LAST_FACTOR) {
        struct ls_from from = {LS_FROM_LAST, span};
        page_clear(s);
        int status = read_page(t, s, &from);
        while (status == CLI_OK && s->next <= s->end)
            status = read_page(t, s, NULL);
        if (status != CLI_OK)
            return status;
        if (s->count >= s->keep || span > s->end - s->first)
            break;
    }
    for (; s->count - s->at > s->keep; s->at++)
        event_copy_fini(&s->page[s->at]);
    return CLI_OK;
}

static int prepare(struct tail *t, struct tail_stream *s)
{
    s->next = s->first;
    if (t->from.kind == LS_FROM_LAST)
        return fill_last(t, s);
    if (t->from.kind == LS_FROM_SEQ)
        s->next = t->from.value > s->first ? t->from.value : s->first;
    if (t->from.kind == LS_FROM_TIME && s->end >= s->first)
        return read_page(t, s, &t->from);
    return CLI_OK;
}

static struct tail_stream *earliest(struct tail *t)
{
    struct tail_stream *best = NULL;
    for (size_t i = 0; i < t->stream_count; i++) {
        struct tail_stream *s = &t->streams[i];
        if (s->at < s->count && (!best || event_time_us(&s->page[s->at].event) < event_time_us(&best->page[best->at].event)))
            best = s;
    }
    return best;
}

/* --last N over several streams: each gave its last N, of which only the last N of all count. */
static void drop_surplus(struct tail *t)
{
    uint64_t left = 0;
    for (size_t i = 0; i < t->stream_count; i++)
        left += t->streams[i].count - t->streams[i].at;
    for (; left > t->from.value; left--) {
        struct tail_stream *s = earliest(t);
        event_copy_fini(&s->page[s->at++]);
    }
}

static int merge(struct tail *t)
{
    int status = CLI_OK;
    for (;;) {
        for (size_t i = 0; i < t->stream_count && status == CLI_OK; i++)
            status = fill(t, &t->streams[i]);
        struct tail_stream *s = status == CLI_OK && !t->finished ? earliest(t) : NULL;
        if (!s)
            return status;
        tail_put(t, &s->page[s->at].event);
        event_copy_fini(&s->page[s->at++]);
    }
}

int tail_history(struct tail *t)
{
    int status = CLI_OK;
    for (size_t i = 0; i < t->stream_count && status == CLI_OK; i++)
        status = prepare(t, &t->streams[i]);
    if (status == CLI_OK && t->from.kind == LS_FROM_LAST)
        drop_surplus(t);
    if (status == CLI_OK)
        status = merge(t);
    for (size_t i = 0; i < t->stream_count; i++) {
        page_clear(&t->streams[i]);
        free(t->streams[i].page);
        t->streams[i].page = NULL;
        t->streams[i].room = 0;
    }
    return status;
}
