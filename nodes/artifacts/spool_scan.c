/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the spool: its folder and lock, and the entries that are there from an earlier life. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/artifacts/spool_private.h"

#define JSON_BYTES_MAX 65536

/* ---- the folder ---- */

static int open_folder(struct spool *spool, const char *dir, struct ls_error *err)
{
    if (folder_make(dir, 0700, NULL) || !(spool->dir = realpath(dir, NULL)) ||
        (spool->fd = open(spool->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || fchmod(spool->fd, 0700))
        return error_set(err, "SYSTEM", "the spool %.200s cannot be used: %s; `dir` names its folder", dir, strerror(errno));
    spool->lock = openat(spool->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (spool->lock < 0 || flock(spool->lock, LOCK_EX | LOCK_NB))
        return error_set(err, "SYSTEM", "another process uses the spool %.200s: give each artifacts node a `dir` of its own, and one "
                                        "replica", spool->dir);
    return 0;
}

/* ---- entries of an earlier life ---- */

static json_t *read_json(const struct spool *spool, const char *name)
{
    int fd = openat(spool->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    char *text = xcalloc(1, JSON_BYTES_MAX);
    size_t len = file ? fread(text, 1, JSON_BYTES_MAX, file) : 0;
    json_t *json = json_loadb(text, len, 0, NULL);
    free(text);
    if (file)
        fclose(file);
    return json;
}

static char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? xstrdup(text) : NULL;
}

static uint64_t number_of(const json_t *json, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(json, key));
    return number > 0 ? (uint64_t) number : 0;
}

/* The entry of ID.json; NULL if that, or its content, is not what was written. */
static struct entry *read_entry(struct spool *spool, const char *id)
{
    char name[64];
    struct stat st;
    snprintf(name, sizeof name, "%s.json", id);
    json_auto_t *json = read_json(spool, name);
    const char *sha256 = json_string_value(json_object_get(json, "sha256")), *key = json_string_value(json_object_get(json, "key"));
    json_t *outcome = json_object_get(json, "outcome");
    bool done = json_is_object(outcome);
    snprintf(name, sizeof name, "%s.data", id);
    if (!key || !sha256 || strlen(sha256) != 64 ||
        (!done && (fstatat(spool->fd, name, &st, AT_SYMLINK_NOFOLLOW) || (uint64_t) st.st_size != number_of(json, "size"))))
        return NULL;
    struct entry *entry = spool_entry_new(spool, id);
    entry->state = done ? ENTRY_DONE : ENTRY_READY;
    entry->outcome = done ? json_incref(outcome) : NULL;
    entry->order = number_of(json, "order");
    entry->began_ms = (int64_t) number_of(json, "began_ms");
    entry->size = number_of(json, "size");
    entry->held = entry->reserved = done ? 0 : entry->size;
    snprintf(entry->sha256, sizeof entry->sha256, "%s", sha256);
    entry->facts = (struct entry_facts){
        .key = xstrdup(key), .run_id = text_of(json, "run_id"), .content_type = text_of(json, "content_type"),
        .traceparent = text_of(json, "traceparent"), .correlationid = text_of(json, "correlationid"),
        .causationid = text_of(json, "causationid"), .user_id = text_of(json, "user_id"),
        .replace = json_is_true(json_object_get(json, "replace"))};
    spool->reserved += entry->reserved;
    spool->written += entry->held;
    spool->order = entry->order > spool->order ? entry->order : spool->order;
    return entry;
}

static void insert_by_order(struct spool *spool, struct entry *entry)
{
    struct entry *before = TAILQ_LAST(&spool->entries, entry_list);
    while (before && before->order > entry->order)
        before = TAILQ_PREV(before, entry_list, link);
    if (before)
        TAILQ_INSERT_AFTER(&spool->entries, before, entry, link);
    else
        TAILQ_INSERT_HEAD(&spool->entries, entry, link);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), end = strlen(suffix);
    return len > end && strcmp(name + len - end, suffix) == 0;
}

/* What somebody else put into the folder is left alone: ids are UUIDs, or an "e" and 32 digits. */
static bool is_ours(const char *name)
{
    size_t len = strspn(name, "0123456789abcdef-");
    return name[len] == '.' && (len == 36 || (len == 33 && name[0] == 'e'));
}

/* Content that was still coming, or whose small file was never there: nobody was told that it is kept. */
static bool never_whole(const struct spool *spool, const char *name)
{
    char json[64];
    const char *dot = strrchr(name, '.');
    if (ends_with(name, ".part") || ends_with(name, ".new"))
        return true;
    if (!ends_with(name, ".data") && !ends_with(name, ".journal"))
        return false;
    snprintf(json, sizeof json, "%.*s.json", (int) (dot - name), name);
    return faccessat(spool->fd, json, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
}

static void look_at(struct spool *spool, const char *name)
{
    char id[40];
    size_t len = strlen(name);
    if (never_whole(spool, name)) {
        unlinkat(spool->fd, name, 0);
        return;
    }
    if (!ends_with(name, ".json") || len - 5 >= sizeof id)
        return;
    snprintf(id, sizeof id, "%.*s", (int) (len - 5), name);
    struct entry *entry = read_entry(spool, id);
    if (entry)
        insert_by_order(spool, entry);
    else
        logger_put(LEVEL_ERROR, "spool-damaged",
                   "an entry of the spool cannot be read, or its content is not whole; its files stay for you",
                   "dir=%s id=%s", spool->dir, id);
}

static int scan(struct spool *spool, struct ls_error *err)
{
    DIR *dir = fdopendir(openat(spool->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir)
        return error_set(err, "SYSTEM", "the spool %.200s cannot be read: %s", spool->dir, strerror(errno));
    for (struct dirent *file; (file = readdir(dir)) != NULL;)
        if (is_ours(file->d_name))
            look_at(spool, file->d_name);
    closedir(dir);
    return 0;
}

struct spool *spool_open(const struct spool_options *options, struct ls_error *err)
{
    struct spool *spool = xcalloc(1, sizeof *spool);
    *spool = (struct spool){.fd = -1, .lock = -1, .limit = options->limit_bytes, .floor = options->floor_bytes};
    TAILQ_INIT(&spool->entries);
    if (open_folder(spool, options->dir, err) || scan(spool, err))
        spool_close(&spool);
    return spool;
}

void spool_close(struct spool **spool)
{
    struct entry *entry;
    if (!*spool)
        return;
    while ((entry = TAILQ_FIRST(&(*spool)->entries)) != NULL) {
        if (entry->state == ENTRY_RECEIVING) {
            spool_drop(&entry);
        } else {
            TAILQ_REMOVE(&(*spool)->entries, entry, link);
            spool_entry_free(entry);
        }
    }
    if ((*spool)->fd >= 0)
        close((*spool)->fd);
    if ((*spool)->lock >= 0)
        close((*spool)->lock);
    free((*spool)->dir);
    free(*spool);
    *spool = NULL;
}
