/* SPDX-License-Identifier: Apache-2.0 */
/* A node's dealings with the bus: events in, requests in, settling, publishing, what it says of itself, its numbers. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/node_inside.h"
#include "lib/topic.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define ABOUT_BYTES_MAX 16384
#define KEPT_BYTES_MAX ((size_t) 64 << 20)
#define COMPLAIN_EVERY_MS 1000
#define WINDOW_DEFAULT 256 /* of a consumer whose entry says nothing (docs/protocol.md) */

/* ---- events ---- */

static void count_verdict(struct node *node, enum ls_verdict verdict)
{
    if (verdict == LS_RETRY)
        node->counters[NODE_RETRIES]++;
    else if (verdict == LS_REJECT)
        node->counters[NODE_REJECTS]++;
}

static void forget_pending(struct node *node, uint64_t seq)
{
    if (map_remove(&node->pending, seq))
        node->pending_count--;
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct node *node = arg;
    if (node->draining || node->over)
        return LS_PENDING; /* it crossed our pausing: the end of the session gives it back, which is no failed attempt */
    node->counters[NODE_EVENTS]++;
    if (!map_get(&node->pending, event->seq))
        node->pending_count++;
    map_put(&node->pending, event->seq, node); /* now: the kind may settle it before it returns */
    enum ls_verdict verdict = node->code->event(node->self, event, err);
    if (verdict != LS_PENDING)
        forget_pending(node, event->seq);
    count_verdict(node, verdict);
    return verdict;
}

void node_settle(struct node *node, uint32_t subscription, uint64_t seq, enum ls_verdict verdict, const struct ls_error *err)
{
    const char *why = err ? err->text : NULL;
    int delay_ms = err && err->retry_ms > 0 ? err->retry_ms : -1;
    if (verdict == LS_PENDING)
        return;
    if (verdict == LS_DONE)
        ls_ack(node->client, subscription, seq);
    else if (verdict == LS_RETRY)
        ls_nak(node->client, subscription, seq, delay_ms, why);
    else
        ls_term(node->client, subscription, seq, why);
    count_verdict(node, verdict);
    if (subscription == node->consumer)
        forget_pending(node, seq);
}

void node_working(struct node *node, uint32_t subscription, uint64_t seq)
{
    ls_wip(node->client, subscription, seq);
}

/* ---- requests ---- */

static void refuse(struct node *node, struct ls_call *call, bool again, struct ls_error *err)
{
    err->again = again;
    if (!err->number)
        err->number = again ? 503 : 500;
    if (!err->text[0])
        snprintf(err->text, sizeof err->text, "the node %s could not answer", node->config.name);
    ls_reply_error(call, err);
}

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    struct node *node = arg;
    struct ls_error err = {0};
    if (node->draining || node->over || node->paused) { /* it crossed our word that we take nothing new */
        bool stops = node->draining || node->over;
        error_set(&err, stops ? "DRAINING" : "NO_RESPONDER", "the node %s %s", node->config.name,
                  stops ? "is stopping" : "takes no requests now: what it needs is not there");
        refuse(node, call, true, &err);
        return;
    }
    node->counters[NODE_REQUESTS]++;
    enum ls_verdict verdict = node->code->request(node->self, call, request, &err);
    count_verdict(node, verdict);
    if (verdict == LS_RETRY || verdict == LS_REJECT)
        refuse(node, call, verdict == LS_RETRY, &err);
}

static void on_cancelled(void *arg, struct ls_call *call, const char *reason)
{
    struct node *node = arg;
    if (node->code->cancelled)
        node->code->cancelled(node->self, call, reason);
}

static void on_credit(void *arg, struct ls_call *call)
{
    struct node *node = arg;
    if (node->code->credit)
        node->code->credit(node->self, call);
}

/* ---- starting and stopping ---- */

static bool serves(const struct node *node, const char *topic)
{
    for (char **pattern = node->config.serves; pattern && *pattern; pattern++)
        if (topic_match(*pattern, strlen(*pattern), topic, strlen(topic)))
            return true;
    return false;
}

void node_work_routes(const struct node *node, struct buf *routes)
{
    const struct kind_route *table = node->code->kind->routes;
    uint16_t count = 0;
    size_t at = buf_begin_array(routes);
    for (const struct kind_route *route = table; route && route->method; route++) {
        if (!serves(node, route->topic))
            continue; /* the topology gave its topic to another */
        count++;
        buf_pack_map(routes, 3 + (route->summary != NULL) + route->bytes);
        buf_pair_str(routes, "method", route->method);
        buf_pair_str(routes, "path", route->path);
        buf_pair_str(routes, "topic", route->topic);
        if (route->summary)
            buf_pair_str(routes, "summary", route->summary);
        if (route->bytes)
            buf_pair_bool(routes, "bytes", true);
    }
    buf_end_array(routes, at, count);
    if (!count)
        buf_clear(routes);
}

int node_work_start(struct node *node, struct ls_error *err)
{
    const struct node_config *config = &node->config;
    if (config->consumer) {
        const struct ls_subscription sub = {.consumer = config->consumer, .window = (uint32_t) config->window};
        node->consumer = ls_subscribe(node->client, &sub, on_event, node, err);
        if (!node->consumer)
            return -1;
    }
    if (config->serves) {
        const struct ls_service service = {.topics = (const char *const *) config->serves, .slots = (uint32_t) config->slots,
                                           .about = node->about, .request = on_request, .cancelled = on_cancelled,
                                           .credit = on_credit, .arg = node};
        node->service = ls_serve(node->client, &service, err);
        if (!node->service)
            return -1;
    }
    if (node->paused || node->full) /* in open, before there was anything to pause; the session does not stand yet, so it begins so */
        node_work_offer(node);
    return 0;
}

static uint32_t slots_now(const struct node *node)
{
    if (node->draining)
        return 0; /* what comes now waits for a replica, or for this node's next life */
    return node->paused ? LS_SLOTS_AWAY : (uint32_t) node->config.slots;
}

void node_work_offer(struct node *node)
{
    bool none = node->draining || node->paused || node->full;
    int64_t window = node->config.window ? node->config.window : WINDOW_DEFAULT;
    if (node->service)
        ls_service_update(node->client, node->service, slots_now(node), (struct ls_slice){0}, NULL);
    if (node->consumer)
        ls_window(node->client, node->consumer, none ? 0 : (uint32_t) window);
}

void node_pause(struct node *node)
{
    if (node->paused)
        return;
    node->paused = true;
    if (!node->draining)
        node_work_offer(node);
}

void node_resume(struct node *node)
{
    if (!node->paused)
        return;
    node->paused = false;
    if (!node->draining)
        node_work_offer(node);
}

void node_window(struct node *node, uint32_t window)
{
    node->full = window == 0;
    if (window && window != NODE_WINDOW_OWN)
        node->config.window = window;
    if (node->consumer)
        node_work_offer(node);
}

void node_release(struct node *node, uint64_t seq)
{
    forget_pending(node, seq);
}

void node_work_stop(struct node *node)
{
    if (!node->consumer && !node->service)
        return;
    ls_unsubscribe(node->client, node->consumer);
    ls_unsubscribe(node->client, node->service);
    ls_client_step(node->client, 0, NULL);
}

void node_about(struct node *node, struct ls_slice map)
{
    struct ls_slice rest;
    uint32_t pairs;
    if (!map.len || map.len > ABOUT_BYTES_MAX || !wire_map_pairs(map, &pairs, &rest)) {
        logger_put(LEVEL_ERROR, "about", "what the node says of itself must be one msgpack map of at most 16384 bytes", "bytes=%zu",
                   map.len);
        return;
    }
    free((void *) (uintptr_t) node->about.data);
    char *copy = xcalloc(1, map.len);
    memcpy(copy, map.data, map.len);
    node->about = ls_bytes(copy, map.len);
    if (node->service)
        ls_service_update(node->client, node->service, slots_now(node), node->about, NULL);
}

/* ---- publishing ---- */

static void complain(struct node *node, struct ls_slice topic, const struct ls_error *err)
{
    int64_t now = clock_mono_ms();
    node->counters[NODE_PUBLISH_FAILED]++;
    if (node->complained_at && now - node->complained_at < COMPLAIN_EVERY_MS)
        return;
    node->complained_at = now;
    logger_put(LEVEL_WARN, "publish-failed", err->text, "topic=%.*s name=%s failed_total=%lld", (int) topic.len,
               topic.len ? topic.data : "", err->name, (long long) node->counters[NODE_PUBLISH_FAILED]);
}

/* The outcome of a publish; err NULL: it is stored. */
static void conclude(struct node *node, struct follow *follow, struct ls_slice topic, const struct ls_error *err)
{
    if (err)
        complain(node, topic, err);
    if (!follow)
        return;
    node_settle(node, follow->subscription, follow->seq, !err ? LS_DONE : err->again ? LS_RETRY : LS_REJECT, err);
    LIST_REMOVE(follow, link);
    free(follow);
}

static void on_published(void *arg, const struct ls_published *result)
{
    conclude(arg, NULL, result->topic, result->err);
}

static void on_followed(void *arg, const struct ls_published *result)
{
    struct follow *follow = arg;
    conclude(follow->node, follow, result->topic, result->err);
}

/* True unless there is no room now. */
static bool publish(struct node *node, const struct ls_event *event, struct follow *follow)
{
    struct ls_error err = {0};
    int rc = follow ? ls_publish(node->client, event, on_followed, follow, &err)
                    : ls_publish(node->client, event, on_published, node, &err);
    if (rc && strcmp(err.name, "BUSY") == 0)
        return false;
    if (rc)
        conclude(node, follow, event->topic, &err);
    return true;
}

#define SLICE(name) offsetof(struct ls_event, name)
static const size_t PUBLISHED[] = {
    SLICE(topic), SLICE(id), SLICE(source), SLICE(time), SLICE(subject), SLICE(datacontenttype), SLICE(dataschema),
    SLICE(dataref), SLICE(traceparent), SLICE(tracestate), SLICE(correlationid), SLICE(causationid), SLICE(partitionkey),
    SLICE(expirytime), SLICE(more), SLICE(body),
};

static struct ls_slice *slice_of(struct ls_event *event, size_t i)
{
    return (struct ls_slice *) (void *) ((char *) event + PUBLISHED[i]);
}

static struct kept *keep(const struct ls_event *event, struct follow *follow)
{
    struct ls_event copy = *event;
    size_t size = 0, count = sizeof PUBLISHED / sizeof *PUBLISHED;
    for (size_t i = 0; i < count; i++)
        size += slice_of(&copy, i)->len;
    struct kept *kept = xcalloc(1, sizeof *kept + size);
    char *at = kept->bytes;
    kept->event = copy;
    kept->follow = follow;
    kept->size = sizeof *kept + size;
    for (size_t i = 0; i < count; i++) {
        struct ls_slice *slice = slice_of(&kept->event, i);
        if (slice->len)
            memcpy(at, slice->data, slice->len);
        slice->data = at;
        at += slice->len;
    }
    return kept;
}

static void publish_or_keep(struct node *node, const struct ls_event *event, struct follow *follow)
{
    struct ls_error err;
    if (STAILQ_EMPTY(&node->kept) && publish(node, event, follow))
        return;
    if (node->kept_bytes >= KEPT_BYTES_MAX) {
        error_set(&err, "BUSY", "%zu MiB of events wait for the broker: there is no room for more", KEPT_BYTES_MAX >> 20);
        conclude(node, follow, event->topic, &err);
        return;
    }
    struct kept *kept = keep(event, follow);
    node->kept_bytes += kept->size;
    STAILQ_INSERT_TAIL(&node->kept, kept, link);
}

void node_publish(struct node *node, const struct ls_event *event)
{
    publish_or_keep(node, event, NULL);
}

void node_work_follow(struct node *node, const struct ls_event *cause, const struct ls_event *event)
{
    struct follow *follow = xcalloc(1, sizeof *follow);
    *follow = (struct follow){.node = node, .subscription = cause->subscription, .seq = cause->seq};
    LIST_INSERT_HEAD(&node->follows, follow, link);
    publish_or_keep(node, event, follow);
}

static void drop_first_kept(struct node *node)
{
    struct kept *kept = STAILQ_FIRST(&node->kept);
    STAILQ_REMOVE_HEAD(&node->kept, link);
    node->kept_bytes -= kept->size;
    free(kept);
}

/* ---- numbers ---- */

int64_t *node_metric(struct node *node, size_t index)
{
    return &node->counters[NODE_COUNTERS + index];
}

static void pack_number(struct buf *map, const struct node *node, const char *name, int64_t value)
{
    char key[160];
    snprintf(key, sizeof key, "%s_%s", node->code->kind->name, name);
    buf_pack_str(map, key);
    if (strstr(name, "_seconds"))
        buf_pack_double(map, (double) value / 1e3);
    else
        buf_pack_int(map, value);
}

static void send_stats(struct node *node)
{
    static const char *const NAMES[NODE_COUNTERS] = {"events_total", "retries_total", "rejects_total", "requests_total",
                                                     "publish_failed_total", "open_calls"};
    const struct kind_metric *metrics = node->code->kind->metrics;
    struct buf map = {0};
    struct ls_error err;
    buf_pack_map(&map, (uint32_t) node->counter_count);
    for (size_t i = 0; i < node->counter_count; i++)
        pack_number(&map, node, i < NODE_COUNTERS ? NAMES[i] : metrics[i - NODE_COUNTERS].name, node->counters[i]);
    if (ls_stats(node->client, ls_bytes(map.data, map.len), &err))
        logger_put(LEVEL_WARN, "stats", err.text, "bytes=%zu", map.len);
    buf_fini(&map);
}

void node_work_turn(struct node *node)
{
    for (struct kept *kept; (kept = STAILQ_FIRST(&node->kept)) && publish(node, &kept->event, kept->follow);)
        drop_first_kept(node);
    if (node->turn_ms - node->stats_at < NODE_STATS_EVERY_MS)
        return;
    struct ls_counters counters;
    size_t bytes = node->counter_count * sizeof *node->counters;
    ls_client_counters(node->client, &counters);
    node->counters[NODE_OPEN_CALLS] = (int64_t) counters.calls;
    if (node->stats_at && memcmp(node->counters, node->counters_sent, bytes) == 0)
        return;
    node->stats_at = node->turn_ms;
    memcpy(node->counters_sent, node->counters, bytes);
    send_stats(node);
}

size_t node_work_open(const struct node *node)
{
    struct ls_counters counters;
    ls_client_counters(node->client, &counters);
    return counters.calls + counters.unacked + node->pending_count + !STAILQ_EMPTY(&node->kept);
}

void node_work_free(struct node *node)
{
    while (!STAILQ_EMPTY(&node->kept))
        drop_first_kept(node);
    while (!LIST_EMPTY(&node->follows)) { /* publishes that were open when the session ended */
        struct follow *follow = LIST_FIRST(&node->follows);
        LIST_REMOVE(follow, link);
        free(follow);
    }
    map_fini(&node->pending);
    free((void *) (uintptr_t) node->about.data);
}
