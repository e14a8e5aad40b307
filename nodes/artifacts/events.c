/* SPDX-License-Identifier: Apache-2.0 */
/* What the bus is told: artifact.stored and artifact.failed, each once (the entry's id makes the event's id, and the entry stays in the
 * spool until the log has it); artifact.deleted; artifact.pressure. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/artifacts/artifacts.h"

#define UNTOLD_RETRY_MS 1000
#define PRESSURE_EVERY_MS 500
#define REFUSED_HOLD_MS 2000 /* an upload was turned away: so long the state stays high */

/* ---- bodies ---- */

char *events_run_of(const char *key)
{
    size_t experiment = strspn(key, "0123456789");
    const char *run = key + experiment + 1;
    bool fits = experiment && key[experiment] == '/' && strspn(run, "0123456789abcdef") == 32 && strncmp(run + 32, "/artifacts/", 11) == 0;
    return fits ? xstrndup(run, 32) : NULL;
}

json_t *events_stored(const struct artifacts *a, const struct entry *entry, const struct objstore_object *object, bool already_there)
{
    char *uri = objstore_uri(a->store, entry->facts.key);
    int64_t took_ms = clock_wall_us() / 1000 - entry->began_ms;
    json_t *body = json_pack("{s:s, s:s, s:I, s:s, s:s*, s:s, s:b, s:I, s:s?, s:s?}", "path", entry->facts.key, "uri", uri, "size",
                             (json_int_t) object->size, "sha256", entry->sha256, "run_id", entry->facts.run_id, "content_type",
                             object->content_type, "already_there", already_there, "duration_ms",
                             (json_int_t) (took_ms > 0 ? took_ms : 0), "etag", object->etag[0] ? object->etag : NULL, "version_id",
                             object->version_id[0] ? object->version_id : NULL);
    free(uri);
    return body;
}

json_t *events_failed(const struct artifacts *a, const struct entry *entry, const struct ls_error *err)
{
    char *uri = objstore_uri(a->store, entry->facts.key);
    json_t *body = json_pack("{s:s, s:s, s:s*, s:s, s:s, s:I, s:I, s:s*}", "path", entry->facts.key, "uri", uri, "run_id",
                             entry->facts.run_id, "error", err->text[0] ? err->text : err->name, "code", err->name, "attempts",
                             (json_int_t) entry->attempts, "size", (json_int_t) entry->size, "sha256",
                             entry->sha256[0] ? entry->sha256 : NULL);
    free(uri);
    return body;
}

/* ---- what became of an entry ---- */

static void settle(struct artifacts *a, struct entry *entry, enum ls_verdict verdict, const struct ls_error *err)
{
    if (entry->seq)
        node_settle(a->node, entry->subscription, entry->seq, verdict, err);
    spool_drop(&entry);
}

static uint64_t hash_of(const char *id)
{
    return XXH3_64bits(id, strlen(id));
}

static void remember(struct artifacts *a, const struct entry *entry)
{
    a->told[a->told_at++ % (sizeof a->told / sizeof *a->told)] = hash_of(entry->id);
}

bool events_was_told(const struct artifacts *a, const char *id)
{
    uint64_t hash = hash_of(id);
    for (size_t i = 0; i < sizeof a->told / sizeof *a->told; i++)
        if (a->told[i] == hash)
            return true;
    return false;
}

static void tell_later(struct artifacts *a, struct entry *entry)
{
    entry->queued = true;
    TAILQ_INSERT_TAIL(&a->untold, entry, queue_link);
    if (!a->untold_timer.place)
        node_timer_set(a->node, &a->untold_timer, UNTOLD_RETRY_MS);
}

static void on_told(void *arg, const struct ls_published *result)
{
    struct entry *entry = arg;
    struct artifacts *a = entry->owner;
    if (!result->err) {
        remember(a, entry);
        settle(a, entry, LS_DONE, NULL);
    } else if (result->err->again) {
        tell_later(a, entry);
    } else {
        logger_put(LEVEL_ERROR, "untold", result->err->text, "key=%s name=%s", entry->facts.key, result->err->name);
        settle(a, entry, LS_REJECT, result->err);
    }
}

void events_tell(struct artifacts *a, struct entry *entry)
{
    const struct entry_facts *f = &entry->facts;
    const char *topic = json_string_value(json_object_get(entry->outcome, "topic"));
    struct buf body = {0};
    char id[64];
    struct ls_error err;
    entry->owner = a;
    node_write(&body, json_object_get(entry->outcome, "body"));
    snprintf(id, sizeof id, "%s-done", entry->id);
    const struct ls_event event = {
        .topic = ls_str(topic), .id = ls_str(id), .subject = ls_str(f->run_id), .traceparent = ls_str(f->traceparent),
        .correlationid = ls_str(f->correlationid), .causationid = ls_str(f->causationid), .body = ls_bytes(body.data, body.len)};
    if (ls_publish(node_client(a->node), &event, on_told, entry, &err)) {
        if (!err.again)
            logger_put(LEVEL_ERROR, "untold", err.text, "key=%s name=%s", f->key, err.name);
        tell_later(a, entry);
    }
    buf_fini(&body);
}

static void on_untold(void *arg, struct timer *timer)
{
    (void) timer;
    struct artifacts *a = arg;
    struct entry_list again;
    struct entry *entry;
    TAILQ_INIT(&again);
    TAILQ_CONCAT(&again, &a->untold, queue_link);
    while ((entry = TAILQ_FIRST(&again)) != NULL) {
        TAILQ_REMOVE(&again, entry, queue_link);
        entry->queued = false;
        events_tell(a, entry);
    }
}

/* ---- deleted, pressure ---- */

void events_deleted(struct artifacts *a, const char *key, const char *user_id, const char *traceparent)
{
    struct buf text = {0};
    char *uri = objstore_uri(a->store, key), *run_id = events_run_of(key);
    json_auto_t *body = json_pack("{s:s, s:s, s:s*, s:s*}", "path", key, "uri", uri, "run_id", run_id, "user_id", user_id);
    node_write(&text, body);
    node_publish(a->node, &(struct ls_event){.topic = ls_str("artifact.deleted"), .subject = ls_str(run_id),
                                             .traceparent = ls_str(traceparent), .body = ls_bytes(text.data, text.len)});
    artifacts_count(a, METRIC_DELETED, 1);
    buf_fini(&text);
    free(uri);
    free(run_id);
}

static void tell_pressure(struct artifacts *a, const struct spool_use *use)
{
    struct buf text = {0};
    json_auto_t *body = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "state", a->high ? "high" : "clear", "spool_bytes",
                                  (json_int_t) use->bytes, "limit_bytes", (json_int_t) use->limit_bytes, "free_bytes",
                                  (json_int_t) use->free_bytes, "floor_bytes", (json_int_t) use->floor_bytes, "entries",
                                  (json_int_t) use->entries);
    node_write(&text, body);
    node_publish(a->node, &(struct ls_event){.topic = ls_str("artifact.pressure"), .body = ls_bytes(text.data, text.len)});
    buf_fini(&text);
    logger_put(a->high ? LEVEL_WARN : LEVEL_INFO, a->high ? "spool-full" : "spool-room",
               a->high ? "the spool has no room for more: uploads are answered 507, events wait" : "the spool has room again",
               "spool_bytes=%llu limit_bytes=%llu free_bytes=%llu entries=%llu", (unsigned long long) use->bytes,
               (unsigned long long) use->limit_bytes, (unsigned long long) use->free_bytes, (unsigned long long) use->entries);
}

/* High at nine tenths, clear again below three quarters: it does not flutter. */
static bool is_high(const struct artifacts *a, const struct spool_use *use)
{
    uint64_t mark = use->limit_bytes / 20 * (a->high ? 15 : 18);
    bool refused = a->refused_ms && clock_mono_ms() - a->refused_ms < REFUSED_HOLD_MS;
    return use->bytes > mark || use->free_bytes < use->floor_bytes || a->starved_bytes || refused;
}

void events_pressure(struct artifacts *a)
{
    struct spool_use use;
    if (a->starved_bytes && spool_room(a->spool, a->starved_bytes, NULL) == 0) {
        a->starved_bytes = 0;
        node_window(a->node, NODE_WINDOW_OWN);
    }
    spool_use(a->spool, &use);
    bool high = is_high(a, &use);
    bool turned = high != a->high;
    a->high = high;
    if (turned)
        tell_pressure(a, &use);
    *node_metric(a->node, METRIC_SPOOL_ENTRIES) = (int64_t) use.entries;
    *node_metric(a->node, METRIC_SPOOL_BYTES) = (int64_t) use.bytes;
    *node_metric(a->node, METRIC_SPOOL_FREE_BYTES) = (int64_t) (use.free_bytes >> 20 << 20); /* else it changes each second */
    *node_metric(a->node, METRIC_PRESSURE) = high;
}

static void on_pressure(void *arg, struct timer *timer)
{
    struct artifacts *a = arg;
    events_pressure(a);
    node_timer_set(a->node, timer, PRESSURE_EVERY_MS);
}

void events_open(struct artifacts *a)
{
    TAILQ_INIT(&a->untold);
    a->untold_timer.fire = on_untold;
    a->pressure_timer.fire = on_pressure;
    node_timer_set(a->node, &a->pressure_timer, PRESSURE_EVERY_MS);
}
