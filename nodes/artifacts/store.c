/* SPDX-License-Identifier: Apache-2.0 */
/* From the spool to the store: a few at a time, the entries of one key one after the other, and each again for ever, with growing
 * pauses of its own, while the store says that trying again makes sense. */
#include <stddef.h>
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
static void on_resume(void *arg, struct timer *timer);
static void be_in_trouble(struct artifacts *a, struct entry *entry, enum store_trouble trouble, const struct ls_error *err);

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
    if (!entry->released || entry->queued || entry->op || entry->resume.place || TAILQ_FIRST(&entry->lane->entries) != entry)
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
    node_timer_unset(a->node, &entry->resume);
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

bool store_spooled(const struct artifacts *a, const char *key, bool away)
{
    const struct lane *lane = map_get(&a->lanes, hash_of(key));
    const struct entry *entry;
    if (lane)
        TAILQ_FOREACH(entry, &lane->entries, lane_link)
            if (entry->state == ENTRY_READY && (!away || entry->trouble == TROUBLE_AWAY) && strcmp(entry->facts.key, key) == 0)
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
    be_in_trouble(a, entry, TROUBLE_NONE, NULL);
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

/* Said when the first entry waits for such a reason, and when none does any more: one that cannot be written for long says nothing
 * about the others, which are. */
static void be_in_trouble(struct artifacts *a, struct entry *entry, enum store_trouble trouble, const struct ls_error *err)
{
    static const struct {
        const char *code, *over, *text;
    } WORDS[] = {[TROUBLE_AWAY] = {"store-away", "store-back", "the store is back: all that it did not take at first is stored"},
                 [TROUBLE_FULL] = {"store-full", "store-room", "the store has room again: all that did not fit is stored"}};
    enum store_trouble before = (enum store_trouble) entry->trouble;
    if (before == trouble)
        return;
    entry->trouble = trouble;
    if (before && --a->troubled[before] == 0)
        logger_put(LEVEL_INFO, WORDS[before].over, WORDS[before].text, "last=%s", entry->facts.key);
    if (trouble && a->troubled[trouble]++ == 0)
        logger_put(LEVEL_WARN, WORDS[trouble].code, err->text, "key=%s name=%s", entry->facts.key, err->name);
}

/* Each by itself: one that is too large for a full disk holds up no other. */
static void try_later(struct artifacts *a, struct entry *entry, const struct ls_error *err)
{
    artifacts_count(a, METRIC_RETRIES, 1);
    entry->pause_ms = entry->pause_ms ? entry->pause_ms * 2 : PAUSE_FIRST_MS;
    if (entry->pause_ms > PAUSE_MAX_MS)
        entry->pause_ms = PAUSE_MAX_MS;
    be_in_trouble(a, entry, strcmp(err->name, "FULL") == 0 ? TROUBLE_FULL : TROUBLE_AWAY, err);
    logger_put(LEVEL_DEBUG, "store-failed", err->text, "key=%s name=%s attempts=%u again_ms=%lld", entry->facts.key, err->name,
               entry->attempts, (long long) entry->pause_ms);
    entry->resume.fire = on_resume;
    node_timer_set(a->node, &entry->resume, entry->pause_ms);
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
        start(a);
        return;
    }
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
    while (a->active < a->options->parallel && (entry = TAILQ_FIRST(&a->ready)) != NULL) {
        TAILQ_REMOVE(&a->ready, entry, queue_link);
        entry->queued = false;
        write_entry(a, entry);
    }
}

static void on_resume(void *arg, struct timer *timer)
{
    struct artifacts *a = arg;
    enqueue(a, (struct entry *) (void *) ((char *) timer - offsetof(struct entry, resume)));
    start(a);
}

/* ---- life ---- */

void store_open(struct artifacts *a)
{
    struct entry *entry, *next;
    TAILQ_INIT(&a->ready);
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
