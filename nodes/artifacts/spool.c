/* SPDX-License-Identifier: Apache-2.0 */
/* The spool's entries while they live: content in, what is known of them to their small file, room. What a crash left is
 * read by spool_scan.c. */
#include "nodes/artifacts/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/artifacts/spool_private.h"

#define WRITE_OUT_BYTES ((uint64_t) 8 << 20)

struct entry_list *spool_entries(struct spool *spool)
{
    return &spool->entries;
}

const char *spool_dir(const struct spool *spool)
{
    return spool->dir;
}

char *spool_path(const struct entry *entry, const char *suffix)
{
    return xasprintf("%s/%s%s", entry->spool->dir, entry->id, suffix);
}

void entry_facts_free(struct entry_facts *facts)
{
    free(facts->key);
    free(facts->run_id);
    free(facts->content_type);
    free(facts->traceparent);
    free(facts->correlationid);
    free(facts->causationid);
    free(facts->user_id);
    *facts = (struct entry_facts){0};
}

/* -1 with FULL when the disk is full, else SYSTEM; both `again`, as disks are mended; errno is read. */
static int disk_error(const struct spool *spool, const char *what, struct ls_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    error_set(err, full ? "FULL" : "SYSTEM", "the spool %.200s cannot %s: %s", spool->dir, what, strerror(errno));
    if (err)
        err->again = true;
    return -1;
}

/* ---- room ---- */

static uint64_t disk_free(const struct spool *spool)
{
    struct statvfs disk;
    if (fstatvfs(spool->fd, &disk))
        return UINT64_MAX;
    return (uint64_t) disk.f_bavail * disk.f_frsize;
}

/* What announced uploads have still to write. */
static uint64_t outstanding(const struct spool *spool)
{
    return spool->reserved - spool->written;
}

void spool_use(const struct spool *spool, struct spool_use *use)
{
    *use = (struct spool_use){.bytes = spool->reserved, .limit_bytes = spool->limit, .floor_bytes = spool->floor,
                              .free_bytes = disk_free(spool), .entries = spool->count};
}

int spool_room(const struct spool *spool, uint64_t bytes, struct ls_error *err)
{
    if (bytes > spool->limit)
        return error_set(err, "TOO_BIG", "%llu bytes are more than the spool may ever hold (spool_limit: %llu bytes)",
                         (unsigned long long) bytes, (unsigned long long) spool->limit);
    uint64_t left = disk_free(spool), wanted = bytes + outstanding(spool) + spool->floor;
    if (spool->reserved + bytes > spool->limit)
        error_set(err, "FULL", "the spool has no room: %llu of %llu bytes (spool_limit) wait for the store",
                  (unsigned long long) spool->reserved, (unsigned long long) spool->limit);
    else if (left < wanted)
        error_set(err, "FULL", "the spool's disk has no room: %llu bytes are free, of which %llu must stay (free_floor)",
                  (unsigned long long) left, (unsigned long long) spool->floor);
    else
        return 0;
    if (err)
        err->again = true;
    return -1;
}

/* ---- an entry's life ---- */

struct entry *spool_entry_new(struct spool *spool, const char *id)
{
    struct entry *entry = xcalloc(1, sizeof *entry);
    entry->spool = spool;
    entry->fd = -1;
    snprintf(entry->id, sizeof entry->id, "%s", id);
    spool->count++;
    return entry;
}

void spool_entry_free(struct entry *entry)
{
    struct spool *spool = entry->spool;
    spool->count--;
    spool->reserved -= entry->reserved;
    spool->written -= entry->held;
    if (entry->fd >= 0)
        close(entry->fd);
    EVP_MD_CTX_free(entry->sha_context);
    EVP_MD_CTX_free(entry->md5_context);
    entry_facts_free(&entry->facts);
    json_decref(entry->outcome);
    free(entry);
}

static void remove_file(const struct entry *entry, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", entry->id, suffix);
    unlinkat(entry->spool->fd, name, 0);
}

struct entry *spool_begin(struct spool *spool, const char *id, struct entry_facts *facts, int64_t bytes, struct ls_error *err)
{
    char fresh[UUID_TEXT_SIZE], name[64];
    uuid7(clock_wall_us(), fresh);
    if (spool_room(spool, bytes > 0 ? (uint64_t) bytes : 0, err)) {
        entry_facts_free(facts);
        return NULL;
    }
    struct entry *entry = spool_entry_new(spool, id ? id : fresh);
    entry->facts = *facts;
    *facts = (struct entry_facts){0};
    entry->order = ++spool->order;
    entry->began_ms = clock_wall_us() / 1000;
    snprintf(name, sizeof name, "%s.part", entry->id);
    entry->fd = openat(spool->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (entry->fd < 0) {
        disk_error(spool, "take a file", err);
        spool_entry_free(entry);
        return NULL;
    }
    entry->reserved = bytes > 0 ? (uint64_t) bytes : 0;
    spool->reserved += entry->reserved;
    entry->sha_context = EVP_MD_CTX_new();
    entry->md5_context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(entry->sha_context, EVP_sha256(), NULL);
    EVP_DigestInit_ex(entry->md5_context, EVP_md5(), NULL);
    TAILQ_INSERT_TAIL(&spool->entries, entry, link);
    return entry;
}

int spool_write(struct entry *entry, struct ls_slice bytes, struct ls_error *err)
{
    struct spool *spool = entry->spool;
    uint64_t after = entry->size + bytes.len, before = entry->size / WRITE_OUT_BYTES;
    if (after > entry->reserved) { /* it was not announced */
        if (spool_room(spool, after - entry->reserved, err))
            return -1;
        spool->reserved += after - entry->reserved;
        entry->reserved = after;
    }
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = write(entry->fd, bytes.data + done, bytes.len - done);
        if (n < 0)
            return disk_error(spool, "write", err);
        done += (size_t) n;
        entry->size += (uint64_t) n;
        entry->held += (uint64_t) n;
        spool->written += (uint64_t) n;
    }
    EVP_DigestUpdate(entry->sha_context, bytes.data, bytes.len);
    EVP_DigestUpdate(entry->md5_context, bytes.data, bytes.len);
    if (entry->size / WRITE_OUT_BYTES > before) /* so that the sync at the end is short */
        sync_file_range(entry->fd, (off_t) (before * WRITE_OUT_BYTES), (off_t) WRITE_OUT_BYTES,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
    return 0;
}

void spool_digest(struct entry *entry)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    EVP_DigestFinal_ex(entry->sha_context, digest, &len);
    for (unsigned i = 0; i < 32; i++)
        snprintf(entry->sha256 + (size_t) 2 * i, 3, "%02x", digest[i]);
    EVP_DigestFinal_ex(entry->md5_context, digest, &len);
    memcpy(entry->md5, digest, sizeof entry->md5);
    entry->spool->reserved -= entry->reserved - entry->size; /* less came than was announced */
    entry->reserved = entry->size;
}

/* ---- the small file ---- */

static json_t *describe(const struct entry *entry)
{
    const struct entry_facts *f = &entry->facts;
    return json_pack("{s:s, s:I, s:s, s:I, s:b, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:I, s:O?}", "key", f->key, "size",
                     (json_int_t) entry->size, "sha256", entry->sha256, "order", (json_int_t) entry->order, "replace", f->replace,
                     "content_type", f->content_type, "run_id", f->run_id, "traceparent", f->traceparent, "correlationid",
                     f->correlationid, "causationid", f->causationid, "user_id", f->user_id, "began_ms",
                     (json_int_t) entry->began_ms, "outcome", entry->outcome);
}

static int write_whole(int fd, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0)
            return -1;
        done += (size_t) n;
    }
    return fsync(fd);
}

/* Beside, synced, renamed, and the folder synced. -1 with errno. */
static int write_json(const struct entry *entry)
{
    char fresh[64], name[64];
    json_auto_t *json = describe(entry);
    char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    int dir = entry->spool->fd;
    errno = EINVAL; /* cannot happen: all texts were checked to be UTF-8 */
    if (!text)
        return -1;
    snprintf(fresh, sizeof fresh, "%s.new", entry->id);
    snprintf(name, sizeof name, "%s.json", entry->id);
    int fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -1 : write_whole(fd, text, strlen(text));
    int number = errno;
    free(text);
    if (fd >= 0)
        close(fd);
    if (rc == 0 && (rc = renameat(dir, fresh, dir, name)) == 0)
        return fsync(dir);
    errno = rc ? number : errno;
    return -1;
}

int spool_keep(struct entry *entry, struct ls_error *err)
{
    struct spool *spool = entry->spool;
    char part[64], data[64];
    snprintf(part, sizeof part, "%s.part", entry->id);
    snprintf(data, sizeof data, "%s.data", entry->id);
    if (fsync(entry->fd) || renameat(spool->fd, part, spool->fd, data) || write_json(entry))
        return disk_error(spool, "keep what came", err);
    close(entry->fd);
    entry->fd = -1;
    entry->state = ENTRY_READY;
    EVP_MD_CTX_free(entry->sha_context);
    EVP_MD_CTX_free(entry->md5_context);
    entry->sha_context = entry->md5_context = NULL;
    return 0;
}

void spool_outcome(struct entry *entry, json_t *outcome)
{
    entry->outcome = outcome;
    entry->state = ENTRY_DONE;
    if (write_json(entry)) {
        logger_put(LEVEL_WARN, "outcome-unwritten", "what became of an artifact could not be noted in the spool", "key=%s error=%s",
                   entry->facts.key, strerror(errno));
        return;
    }
    remove_file(entry, ".data");
    entry->spool->reserved -= entry->reserved;
    entry->spool->written -= entry->held;
    entry->reserved = entry->held = 0;
}

void spool_drop(struct entry **entry)
{
    static const char *const SUFFIXES[] = {".json", ".part", ".data", ".new"}; /* json first: without it nothing counts */
    TAILQ_REMOVE(&(*entry)->spool->entries, *entry, link);
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof *SUFFIXES; i++)
        remove_file(*entry, SUFFIXES[i]);
    spool_entry_free(*entry);
    *entry = NULL;
}
