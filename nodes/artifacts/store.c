/* SPDX-License-Identifier: Apache-2.0 */
/* From the spool to the store: a few at a time, the entries of one key one after the other, and again for ever while the store says
 * that trying again makes sense. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/artifacts/artifacts.h"

#define PAUSE_FIRST_MS 250
#define PAUSE_MAX_MS 60000

/* The entries of a key that are not done, in their order. (Keys of one hash share a lane: that only makes them wait.) */
struct lane {
    uint64_t hash;
    struct entry_list entries;
};

static uint64_t hash_of(const char *key)
{
    return XXH3_64bits(key, strlen(key));
}

static void start(struct artifacts *a);

/* ---- lanes ---- */

void store_line_up(struct artifacts *a, struct entry *entry)
{
    uint64_t hash = hash_of(entry->facts.key);
    struct lane *lane = map_get(&a->lanes, hash);
    if (!lane) {
        lane = xcalloc(1, sizeof *lane);
        lane->hash = hash;
        TAILQ_INIT(&lane->entries);
        map_put(&a->lanes, hash, lane);
    }
    entry->lane = lane;
    TAILQ_INSERT_TAIL(&lane->entries, entry, lane_link);
}

static void enqueue(struct artifacts *a, struct entry *entry)
{
    if (!entry->released || entry->queued || entry->op || TAILQ_FIRST(&entry->lane->entries) != entry)
        return;
    entry->queued = true;
    TAILQ_INSERT_TAIL(&a->ready, entry, queue_link);
}

void store_go(struct artifacts *a, struct entry *entry)
{
    entry->released = true;
    enqueue(a, entry);
    start(a);
}

void store_leave(struct artifacts *a, struct entry *entry)
{
    struct lane *lane = entry->lane;
    if (!lane)
        return;
    if (entry->queued)
        TAILQ_REMOVE(&a->ready, entry, queue_link);
    entry->queued = false;
    TAILQ_REMOVE(&lane->entries, entry, lane_link);
    entry->lane = NULL;
    if (!TAILQ_EMPTY(&lane->entries)) {
        enqueue(a, TAILQ_FIRST(&lane->entries));
        return;
    }
    map_remove(&a->lanes, lane->hash);
    free(lane);
}

bool store_has_waiting(const struct artifacts *a, const char *key, bool below)
{
    const struct entry *entry;
    size_t len = strlen(key);
    if (map_get(&a->lanes, hash_of(key)))
        return true;
    TAILQ_FOREACH(entry, spool_entries(a->spool), link)
        if (below && entry->lane && strncmp(entry->facts.key, key, len) == 0 && entry->facts.key[len] == '/')
            return true;
    return false;
}

/* ---- writing ---- */

/* Of a multipart upload that came to no end, the store is to forget the parts. */
static void abandon_rest(struct artifacts *a, struct entry *entry)
{
    char *journal = spool_path(entry, ".journal");
    if (access(journal, F_OK) == 0)
        objstore_abandon(a->store, entry->facts.key, journal);
    free(journal);
}

static void done(struct artifacts *a, struct entry *entry, const char *topic, json_t *body)
{
    json_t *outcome = json_pack("{s:s, s:o}", "topic", topic, "body", body);
    store_leave(a, entry);
    spool_outcome(entry, outcome);
    abandon_rest(a, entry);
    events_tell(a, entry);
}

static void fail(struct artifacts *a, struct entry *entry, const struct ls_error *err)
{
    struct upload *upload = entry->upload;
    artifacts_count(a, METRIC_FAILED, 1);
    logger_put(LEVEL_WARN, "artifact-failed", err->text, "key=%s name=%s attempts=%u", entry->facts.key, err->name, entry->attempts);
    entry->upload = NULL;
    done(a, entry, "artifact.failed", events_failed(a, entry, err));
    if (upload)
        upload_failed(upload, err);
}

static void try_later(struct artifacts *a, struct entry *entry, const struct ls_error *err)
{
    artifacts_count(a, METRIC_RETRIES, 1);
    a->pause_ms = a->pause_ms ? a->pause_ms * 2 : PAUSE_FIRST_MS;
    if (a->pause_ms > PAUSE_MAX_MS)
        a->pause_ms = PAUSE_MAX_MS;
    logger_put(LEVEL_WARN, "store-failed", err->text, "key=%s name=%s attempts=%u again_ms=%lld", entry->facts.key, err->name,
               entry->attempts, (long long) a->pause_ms);
    enqueue(a, entry);
    node_timer_set(a->node, &a->resume, a->pause_ms);
}

static void on_put(void *arg, const struct objstore_object *object, bool already_there, const struct ls_error *err)
{
    struct entry *entry = arg;
    struct artifacts *a = entry->owner;
    struct upload *upload = entry->upload;
    entry->op = NULL;
    a->active--;
    if (err && err->again) {
        try_later(a, entry, err);
        return;
    }
    a->pause_ms = 0;
    if (err) {
        fail(a, entry, err);
    } else {
        entry->upload = NULL;
        artifacts_count(a, METRIC_STORED, 1);
        artifacts_count(a, METRIC_STORED_BYTES, (int64_t) object->size);
        done(a, entry, "artifact.stored", events_stored(a, entry, object, already_there));
        if (upload)
            upload_stored(upload, object, already_there);
    }
    start(a);
}

static void write_entry(struct artifacts *a, struct entry *entry)
{
    struct ls_error err;
    char *file = spool_path(entry, ".data"), *journal = spool_path(entry, ".journal");
    struct objstore_put put = {.key = entry->facts.key, .file = file, .journal = journal, .size = entry->size,
                               .content_type = entry->facts.content_type, .replace = entry->facts.replace, .arg = entry,
                               .end = on_put};
    snprintf(put.sha256, sizeof put.sha256, "%s", entry->sha256);
    entry->owner = a;
    entry->attempts++;
    entry->op = objstore_put(a->store, &put, &err);
    free(file);
    free(journal);
    if (entry->op)
        a->active++;
    else if (err.again)
        try_later(a, entry, &err);
    else
        fail(a, entry, &err);
}

static void start(struct artifacts *a)
{
    struct entry *entry;
    while (a->active < a->options->parallel && !a->resume.place && (entry = TAILQ_FIRST(&a->ready)) != NULL) {
        TAILQ_REMOVE(&a->ready, entry, queue_link);
        entry->queued = false;
        write_entry(a, entry);
    }
}

static void on_resume(void *arg, struct timer *timer)
{
    (void) timer;
    start(arg);
}

/* ---- life ---- */

void store_open(struct artifacts *a)
{
    struct entry *entry, *next;
    TAILQ_INIT(&a->ready);
    a->resume.fire = on_resume;
    for (entry = TAILQ_FIRST(spool_entries(a->spool)); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->state == ENTRY_DONE) {
            abandon_rest(a, entry);
            events_tell(a, entry);
        } else {
            store_line_up(a, entry);
            store_go(a, entry);
        }
    }
}

void store_close(struct artifacts *a)
{
    struct entry *entry;
    TAILQ_FOREACH(entry, spool_entries(a->spool), link) {
        objstore_cancel(&entry->op);
        store_leave(a, entry);
    }
    map_fini(&a->lanes);
}
