/* SPDX-License-Identifier: Apache-2.0 */
/* Looks for the first event behind what the database knows. The consumer has finished it if its position is further, and nothing as old
 * is still to come. The question is on its way before the node takes work, so what it takes is not counted against it. */
#include "nodes/tracker/missed.h"

#include <stdlib.h>

#include "lib/logger.h"
#include "lib/mp.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/tracker/feed.h"

struct missed {
    struct tracker *t;
    uint32_t subscription; /* 0: none */
    uint64_t known, next;  /* the last event in the database; where the consumer goes on */
    int64_t oldest_us;     /* of the oldest event that the consumer has yet to finish; 0: there is none */
};

static void stop(struct missed *m)
{
    if (m->subscription)
        ls_unsubscribe(node_client(m->t->node), m->subscription);
    m->subscription = 0;
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct missed *m = arg;
    (void) err;
    if (m->subscription && event->seq < m->next && (!m->oldest_us || event->ts_us < m->oldest_us))
        logger_put(LEVEL_ERROR, "database-behind",
                   "events were acknowledged that this database does not have: if it is an older copy, docs/operations.md says how they "
                   "come again (`lineshaft consumer reset`)",
                   "stream=%.*s first=%llu known=%llu position=%llu", (int) event->stream.len, event->stream.data,
                   (unsigned long long) event->seq, (unsigned long long) m->known, (unsigned long long) m->next);
    stop(m);
    return LS_DONE;
}

/* The consumer's patterns, each the caller's to free, as the list. */
static char **read_takes(struct mp consumer)
{
    uint32_t count = 0;
    struct mp at;
    struct mp_slice pattern;
    if (!mp_find(consumer, "takes", &at) || !mp_array(&at, &count))
        count = 0;
    char **takes = xcalloc((size_t) count + 1, sizeof *takes);
    for (uint32_t i = 0; i < count && mp_str(&at, &pattern); i++)
        takes[i] = xstrndup(pattern.data, pattern.len);
    return takes;
}

static void subscribe(struct missed *m, struct mp consumer, struct ls_slice name)
{
    struct ls_error err = {0};
    char **takes = read_takes(consumer), *stream = xstrndup(name.data, name.len);
    const struct ls_subscription first = {.stream = stream,
                                          .topics = (const char *const *) takes,
                                          .from = {LS_FROM_SEQ, m->known + 1},
                                          .window = 1,
                                          .single = true};
    stop(m);
    m->subscription = ls_subscribe(node_client(m->t->node), &first, on_event, m, &err);
    for (char **each = takes; *each; each++)
        free(*each);
    free(takes);
    free(stream);
}

static void on_consumers(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct missed *m = arg;
    struct ls_slice stream;
    struct mp consumer, position;
    struct mp_maps consumers = mp_maps(wire_map(reply), "consumers");
    uint64_t oldest_us = 0;
    if (err || !mp_maps_next(&consumers, &consumer) || !wire_str(consumer, "stream", &stream))
        return; /* the consumer is not there yet */
    struct mp_maps positions = mp_maps(consumer, "positions");
    if (!mp_maps_next(&positions, &position) || !wire_uint(position, "next", &m->next))
        return;
    wire_uint(position, "oldest_us", &oldest_us);
    m->oldest_us = (int64_t) oldest_us;
    m->known = feed_loaded(m->t->feed, stream);
    if (m->known + 1 < m->next)
        subscribe(m, consumer, stream);
}

void missed_look(struct missed *m)
{
    struct buf request = {0};
    struct ls_error err = {0};
    buf_pack_map(&request, 2);
    buf_pair_str(&request, "op", "consumers");
    buf_pair_str(&request, "consumer", node_name(m->t->node));
    if (ls_adm(node_client(m->t->node), ls_bytes(request.data, request.len), on_consumers, m, &err))
        logger_put(LEVEL_WARN, "not-asked", err.text, "op=consumers");
    buf_fini(&request);
}

struct missed *missed_new(struct tracker *t)
{
    struct missed *m = xcalloc(1, sizeof *m);
    m->t = t;
    return m;
}

void missed_free(struct missed **missed)
{
    free(*missed);
    *missed = NULL;
}
