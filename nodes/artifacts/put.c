/* SPDX-License-Identifier: Apache-2.0 */
/* The event artifact.put: content in the event, or a file that is copied into the spool. It is acknowledged when artifact.stored or
 * artifact.failed is in the log. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "lib/error.h"
#include "lib/mp.h"
#include "lib/xmem.h"
#include "nodes/artifacts/artifacts.h"

#define COPY_BYTES ((size_t) 1 << 20) /* of each file, in a turn of the loop */
#define WORKING_EVERY_MS 5000
#define ROOM_RETRY_MS 1000

/* A file on its way into the spool. */
struct copy {
    LIST_ENTRY(copy) link;
    struct entry *entry;
    char *path;
    char expected[65]; /* sha256; "": not told */
    int fd;
};

/* An event as it was read. Texts are borrowed from `body`. */
struct put {
    json_t *body;
    const char *key, *sha256;
    char *file;              /* owned; NULL: the content is in the event */
    struct ls_slice content; /* borrowed from the event or `body` */
    json_int_t size;         /* -1: not told; what it really is, once that is known */
    char id[40];             /* of the entry: the same for the same event */
};

/* ---- failing for good ---- */

static enum ls_verdict give_up(struct artifacts *a, const struct ls_event *event, const struct put *put, const struct ls_error *why)
{
    struct ls_error err = {0};
    const char *run = json_string_value(json_object_get(put->body, "run_id"));
    json_t *body = json_pack("{s:s, s:s, s:s, s:s*}", "path", put->key, "error", why->text, "code", why->name, "run_id", run);
    artifacts_count(a, METRIC_FAILED, 1);
    struct ls_event cause = *event;
    if (run)
        cause.subject = ls_str(run);
    return node_follow(a->node, &cause, "artifact.failed", body, &err);
}

/* The spool has no room: the event comes again, and no other before there is. */
static enum ls_verdict wait_for_room(struct artifacts *a, uint64_t bytes, struct ls_error *err)
{
    artifacts_count(a, METRIC_REFUSED, 1);
    if (bytes >= a->starved_bytes)
        a->starved_bytes = bytes ? bytes : 1;
    node_window(a->node, 0);
    events_pressure(a);
    err->retry_ms = ROOM_RETRY_MS;
    return LS_RETRY;
}

/* ---- an entry's way to the store ---- */

/* Its content is whole. -1 with an error; the entry is then of no use. */
static int finish(struct artifacts *a, struct entry *entry, const char *expected, struct ls_error *err)
{
    spool_digest(entry);
    int rc = 0;
    if (*expected && strcmp(expected, entry->sha256) != 0)
        rc = error_set(err, "BAD_DIGEST", "%.200s: the sha256 of the content is %s, not %s", entry->facts.key, entry->sha256, expected);
    if (rc == 0)
        rc = spool_keep(entry, err);
    if (rc == 0)
        store_go(a, entry);
    return rc;
}

static void drop(struct artifacts *a, struct entry *entry)
{
    store_leave(a, entry);
    spool_drop(&entry);
}

/* ---- files ---- */

static bool is_below(const char *path, const char *folder)
{
    char real[PATH_MAX];
    size_t len = realpath(folder, real) ? strlen(real) : 0;
    return len && (strcmp(real, "/") == 0 || (strncmp(path, real, len) == 0 && path[len] == '/'));
}

static bool is_allowed(const struct artifacts *a, const char *real)
{
    const struct kind_texts *folders = &a->options->files_from;
    bool allowed = !folders->count && is_below(real, ".");
    for (size_t i = 0; i < folders->count; i++)
        allowed |= is_below(real, folders->items[i]);
    return allowed && !is_below(real, spool_dir(a->spool));
}

/* Where the open file is: a folder on its way may have become a link after the path was looked at. */
static bool is_open_allowed(const struct artifacts *a, int fd)
{
    char link[40], real[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, real, sizeof real - 1);
    real[len > 0 ? len : 0] = '\0';
    return is_allowed(a, real);
}

/* A regular file, in one of the folders that are allowed; -1 with an error. */
static int open_file(const struct artifacts *a, const char *path, int64_t *size, struct ls_error *err)
{
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real))
        return error_set(err, "NOT_FOUND", "file: %.200s cannot be read by the artifacts node: %s", path, strerror(errno));
    bool allowed = is_allowed(a, real);
    int fd = allowed ? open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    if (!allowed || (fd >= 0 && !is_open_allowed(a, fd))) {
        if (fd >= 0)
            close(fd);
        return error_set(err, "FORBIDDEN", "file: %.200s is in no folder that artifacts may be taken from: add one to the node's option "
                                           "files_from", path);
    }
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = st.st_size;
        return fd;
    }
    error_set(err, "BAD_VALUE", "file: %.200s cannot be read by the artifacts node: %s", path,
              fd < 0 ? strerror(errno) : "it is no regular file");
    if (fd >= 0)
        close(fd);
    return -1;
}

static void copy_free(struct copy *copy)
{
    LIST_REMOVE(copy, link);
    close(copy->fd);
    free(copy->path);
    free(copy);
}

/* The copy failed: told at once if for good, else the event comes again. */
static void copy_failed(struct artifacts *a, struct copy *copy, const struct ls_error *why)
{
    struct entry *entry = copy->entry;
    if (why->again) {
        struct ls_error err = *why;
        uint64_t seq = entry->seq;
        uint32_t subscription = entry->subscription;
        wait_for_room(a, entry->reserved, &err);
        drop(a, entry);
        if (seq)
            node_settle(a->node, subscription, seq, LS_RETRY, &err);
    } else {
        json_t *body = events_failed(a, entry, why);
        artifacts_count(a, METRIC_FAILED, 1);
        store_leave(a, entry);
        spool_outcome(entry, json_pack("{s:s, s:o}", "topic", "artifact.failed", "body", body));
        events_tell(a, entry);
    }
    copy_free(copy);
}

/* False: it is over. */
static bool copy_some(struct artifacts *a, struct copy *copy)
{
    char piece[65536];
    struct ls_error err;
    for (size_t done = 0; done < COPY_BYTES;) {
        ssize_t got = read(copy->fd, piece, sizeof piece);
        if (got < 0)
            error_set(&err, "SYSTEM", "file: %.200s cannot be read: %s", copy->path, strerror(errno));
        if (got < 0 || (got > 0 && spool_write(copy->entry, ls_bytes(piece, (size_t) got), &err)) ||
            (got == 0 && finish(a, copy->entry, copy->expected, &err))) {
            copy_failed(a, copy, &err);
            return false;
        }
        if (got == 0) {
            copy_free(copy);
            return false;
        }
        done += (size_t) got;
    }
    return true;
}

bool put_turn(struct artifacts *a)
{
    struct copy *copy, *next;
    for (copy = LIST_FIRST(&a->copies); copy; copy = next) {
        next = LIST_NEXT(copy, link);
        copy_some(a, copy);
    }
    return !LIST_EMPTY(&a->copies);
}

/* ---- reading the event ---- */

static char *file_of(const json_t *body, struct ls_slice dataref)
{
    const char *file = json_string_value(json_object_get(body, "file"));
    char path[4097];
    if (file)
        return xstrdup(file);
    if (dataref.len > 8 && strncmp(dataref.data, "file:///", 8) == 0 &&
        http_unescape(dataref.data + 7, dataref.len - 7, false, path, sizeof path))
        return xstrdup(path);
    return NULL;
}

/* Binary in msgpack must be taken from there: in `body` it has become base64. */
static bool content_of(const struct ls_event *event, const json_t *body, struct ls_slice *content)
{
    const json_t *data = json_object_get(body, "data");
    struct mp value, map = mp_over(event->body.data, event->body.len);
    struct mp_slice bytes;
    if (!json_is_string(data))
        return false;
    *content = ls_bytes(json_string_value(data), json_string_length(data));
    if (ls_body_kind(event->body) == LS_BODY_MSGPACK && mp_find(map, "data", &value) && mp_str(&value, &bytes))
        *content = ls_bytes(bytes.data, bytes.len);
    return true;
}

static void name_entry(char id[40], const struct ls_event *event)
{
    struct buf all = {0};
    buf_pack_strn(&all, event->source.data, event->source.len);
    buf_pack_strn(&all, event->id.data, event->id.len);
    XXH128_hash_t hash = XXH3_128bits(all.data, all.len);
    snprintf(id, 40, "e%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
    buf_fini(&all);
}

/* -1 with what is wrong, for good. */
static int read_put(struct put *put, const struct ls_event *event, struct ls_error *err)
{
    const json_t *size = json_object_get(put->body, "size");
    put->sha256 = json_string_value(json_object_get(put->body, "sha256"));
    put->size = json_is_integer(size) ? json_integer_value(size) : -1;
    put->file = file_of(put->body, event->dataref);
    bool inside = content_of(event, put->body, &put->content);
    if (objstore_key_check(put->key, err))
        return -1;
    if (put->sha256 && (strlen(put->sha256) != 64 || strspn(put->sha256, "0123456789abcdef") != 64))
        return error_set(err, "BAD_VALUE", "%.200s: sha256 has 64 lower-case hexadecimal digits", put->key);
    if (inside == (put->file != NULL))
        return error_set(err, "BAD_VALUE", "%.200s: give the content as `data`, or name its `file` (or dataref file:///PATH): one of them",
                         put->key);
    return 0;
}

static char *slice_text(struct ls_slice slice)
{
    return slice.len ? xstrndup(slice.data, slice.len) : NULL;
}

static struct entry_facts facts_of(const struct put *put, const struct ls_event *event)
{
    const char *run = json_string_value(json_object_get(put->body, "run_id"));
    const char *type = json_string_value(json_object_get(put->body, "content_type"));
    bool plain = type && *type && strlen(type) < 128;
    for (const char *c = type; plain && *c; c++)
        plain = *c >= 0x20 && *c < 0x7f;
    return (struct entry_facts){
        .key = xstrdup(put->key), .run_id = run ? xstrdup(run) : events_run_of(put->key), .content_type = plain ? xstrdup(type) : NULL,
        .traceparent = slice_text(event->traceparent), .correlationid = slice_text(event->correlationid),
        .causationid = slice_text(event->id), .replace = json_is_true(json_object_get(put->body, "replace"))};
}

/* ---- taking it ---- */

/* Into the spool: 0, or -1 with an error (`again`: there is no room now). */
static int take(struct artifacts *a, const struct ls_event *event, struct put *put, struct ls_error *err)
{
    int64_t size = (int64_t) put->content.len;
    int fd = put->file ? open_file(a, put->file, &size, err) : -1;
    if (put->file && fd < 0)
        return -1;
    struct entry *entry = NULL;
    struct entry_facts facts = facts_of(put, event);
    if (put->size >= 0 && put->size != size) {
        error_set(err, "BAD_VALUE", "%.200s: the content has %lld bytes, not %lld", put->key, (long long) size, (long long) put->size);
        entry_facts_free(&facts);
    } else {
        entry = spool_begin(a->spool, put->id, &facts, size, err);
    }
    put->size = size;
    if (!entry) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    entry->subscription = event->subscription;
    entry->seq = event->seq;
    store_line_up(a, entry);
    if (fd >= 0) {
        struct copy *copy = xcalloc(1, sizeof *copy);
        copy->entry = entry;
        copy->fd = fd;
        copy->path = xstrdup(put->file);
        snprintf(copy->expected, sizeof copy->expected, "%s", put->sha256 ? put->sha256 : "");
        LIST_INSERT_HEAD(&a->copies, copy, link);
    } else if (spool_write(entry, put->content, err) || finish(a, entry, put->sha256 ? put->sha256 : "", err)) {
        drop(a, entry);
        return -1;
    }
    return 0;
}

/* The entry that an event made when it came before. */
static struct entry *known(const struct artifacts *a, const char *id)
{
    struct entry *entry;
    TAILQ_FOREACH_REVERSE(entry, spool_entries(a->spool), entry_list, link)
        if (id[0] == entry->id[0] && strcmp(entry->id, id) == 0)
            return entry;
    return NULL;
}

enum ls_verdict put_event(struct artifacts *a, const struct ls_event *event, struct ls_error *err)
{
    struct put put = {.body = node_json(event->body, err)};
    struct ls_error why = {0};
    enum ls_verdict verdict = LS_PENDING;
    put.key = json_string_value(node_field(put.body, "path", JSON_STRING, err));
    if (!put.key) {
        json_decref(put.body);
        return LS_REJECT;
    }
    name_entry(put.id, event);
    struct entry *entry = known(a, put.id);
    if (entry) { /* it came again: the session was lost, or this process is another */
        entry->subscription = event->subscription;
        entry->seq = event->seq;
    } else if (!events_was_told(a, put.id)) {
        if (read_put(&put, event, &why) || take(a, event, &put, &why)) {
            if (why.again)
                *err = why;
            verdict = why.again ? wait_for_room(a, (uint64_t) put.size, err) : give_up(a, event, &put, &why);
        }
    } else {
        verdict = LS_DONE; /* only our acknowledgement was lost */
    }
    free(put.file);
    json_decref(put.body);
    return verdict;
}

/* ---- life ---- */

static void on_working(void *arg, struct timer *timer)
{
    struct artifacts *a = arg;
    struct entry *entry;
    TAILQ_FOREACH(entry, spool_entries(a->spool), link)
        if (entry->seq)
            node_working(a->node, entry->subscription, entry->seq);
    node_timer_set(a->node, timer, WORKING_EVERY_MS);
}

void put_open(struct artifacts *a)
{
    LIST_INIT(&a->copies);
    a->working_timer.fire = on_working;
    node_timer_set(a->node, &a->working_timer, WORKING_EVERY_MS);
}

void put_leave(struct artifacts *a)
{
    struct entry *entry;
    TAILQ_FOREACH(entry, spool_entries(a->spool), link) {
        if (entry->seq)
            node_release(a->node, entry->seq);
        entry->seq = 0;
    }
}

void put_close(struct artifacts *a)
{
    while (!LIST_EMPTY(&a->copies))
        copy_free(LIST_FIRST(&a->copies));
}
