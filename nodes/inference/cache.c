/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of model files by their hash: see cache.h. */
#include "nodes/inference/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/folder.h"
#include "lib/xmem.h"

#define PART "/.part-"
#define SUFFIX ".ngram"
#define COPY_BYTES (256u << 10)

struct cache {
    char *folder;
    int64_t keep;
};

struct cache_part {
    int fd;
    char *path;
    EVP_MD_CTX *sha256;
};

static int failed(struct ls_error *err, const char *what, const char *path)
{
    error_set(err, "SYSTEM", "cannot %s %.300s: %s", what, path, strerror(errno));
    if (err)
        err->again = true;
    return -1;
}

/* ---- the folder ---- */

static bool is_model(const char *name)
{
    return strlen(name) == CACHE_HASH_SIZE - 1 + strlen(SUFFIX) && strspn(name, "0123456789abcdef") == CACHE_HASH_SIZE - 1 &&
           strcmp(name + CACHE_HASH_SIZE - 1, SUFFIX) == 0;
}

/* A writer holds a lock on its file from before it has content until it is closed. */
static void remove_if_left(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlink(path);
    if (fd >= 0)
        close(fd);
}

static void remove_leftovers(const struct cache *cache)
{
    DIR *dir = opendir(cache->folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char *path = xasprintf("%s/%s", cache->folder, entry->d_name);
        if (strncmp(entry->d_name, &PART[1], strlen(PART) - 1) == 0)
            remove_if_left(path);
        free(path);
    }
    if (dir)
        closedir(dir);
}

struct cache *cache_open(const char *folder, int64_t keep, struct ls_error *err)
{
    struct cache *cache = xcalloc(1, sizeof *cache);
    *cache = (struct cache){.folder = xstrdup(folder), .keep = keep};
    if (folder_make(folder, 0777, err) < 0) {
        error_wrap(err, "the cache");
        cache_close(&cache);
        return NULL;
    }
    remove_leftovers(cache);
    return cache;
}

void cache_close(struct cache **cache)
{
    if (*cache)
        free((*cache)->folder);
    free(*cache);
    *cache = NULL;
}

char *cache_path(const struct cache *cache, const char *sha256)
{
    return xasprintf("%s/%s" SUFFIX, cache->folder, sha256);
}

bool cache_use(const struct cache *cache, const char *sha256)
{
    char *path = cache_path(cache, sha256);
    bool there = utimensat(AT_FDCWD, path, NULL, 0) == 0 || access(path, R_OK) == 0;
    free(path);
    return there;
}

void cache_remove(const struct cache *cache, const char *sha256)
{
    char *path = cache_path(cache, sha256);
    unlink(path);
    free(path);
}

struct used {
    char *path;
    struct timespec at;
};

static int latest_first(const void *a, const void *b)
{
    const struct timespec *one = &((const struct used *) a)->at, *other = &((const struct used *) b)->at;
    if (one->tv_sec != other->tv_sec)
        return one->tv_sec > other->tv_sec ? -1 : 1;
    return (one->tv_nsec < other->tv_nsec) - (one->tv_nsec > other->tv_nsec);
}

/* Other processes may have a file that goes open: they keep it, as it is mapped. */
void cache_prune(const struct cache *cache, const char *sha256)
{
    struct used *files = NULL;
    size_t count = 0, room = 0;
    struct stat info;
    DIR *dir = opendir(cache->folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (!is_model(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        files = xgrow(files, &room, count + 1, sizeof *files);
        files[count++] = (struct used){xasprintf("%s/%s", cache->folder, entry->d_name), info.st_mtim};
    }
    if (dir)
        closedir(dir);
    if (count)
        qsort(files, count, sizeof *files, latest_first);
    for (size_t i = 0; i < count; i++) {
        if ((int64_t) i >= cache->keep && !strstr(files[i].path, sha256))
            unlink(files[i].path);
        free(files[i].path);
    }
    free(files);
}

/* ---- a file on its way ---- */

struct cache_part *cache_begin(const struct cache *cache, struct ls_error *err)
{
    struct cache_part *part = xcalloc(1, sizeof *part);
    part->path = xasprintf("%s" PART "XXXXXX", cache->folder);
    part->fd = mkostemp(part->path, O_CLOEXEC);
    part->sha256 = EVP_MD_CTX_new();
    if (part->fd >= 0 && flock(part->fd, LOCK_EX) == 0 && fchmod(part->fd, 0644) == 0 && part->sha256 &&
        EVP_DigestInit_ex(part->sha256, EVP_sha256(), NULL))
        return part;
    failed(err, "write", part->path);
    cache_drop(&part);
    return NULL;
}

int cache_write(struct cache_part *part, struct ls_slice bytes, struct ls_error *err)
{
    EVP_DigestUpdate(part->sha256, bytes.data, bytes.len);
    while (bytes.len) {
        ssize_t written = write(part->fd, bytes.data, bytes.len);
        if (written < 0 && errno != EINTR)
            return failed(err, "write", part->path);
        if (written > 0)
            bytes = ls_bytes(bytes.data + written, bytes.len - (size_t) written);
    }
    return 0;
}

/* The only model file below a folder, the caller's to free. */
static char *find_below(const char *folder, struct ls_error *err)
{
    char *found = NULL, *root = xstrdup(folder), *const roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
    size_t count = 0;
    for (const FTSENT *entry; fts && count < 2 && (entry = fts_read(fts)) != NULL;) {
        size_t len = entry->fts_namelen;
        if (entry->fts_info == FTS_D || entry->fts_info == FTS_DP || len <= strlen(SUFFIX) ||
            strcmp(entry->fts_name + len - strlen(SUFFIX), SUFFIX) != 0)
            continue;
        if (++count == 1)
            found = xstrdup(entry->fts_path);
    }
    if (fts)
        fts_close(fts);
    free(root);
    if (count == 1)
        return found;
    error_set(err, "NOT_FOUND", "the folder %.300s has %s" SUFFIX " file below it: a version has exactly one", folder,
              count ? "more than one *" : "no *");
    free(found);
    return NULL;
}

static int copy_from(struct cache_part *part, int from, const char *path, struct ls_error *err)
{
    char *bytes = xcalloc(1, COPY_BYTES);
    ssize_t count;
    int rc = 0;
    while (rc == 0 && ((count = read(from, bytes, COPY_BYTES)) > 0 || (count < 0 && errno == EINTR)))
        rc = count > 0 ? cache_write(part, ls_bytes(bytes, (size_t) count), err) : 0;
    if (rc == 0 && count < 0)
        rc = failed(err, "read", path);
    free(bytes);
    return rc;
}

int cache_copy(struct cache_part *part, const char *path, struct ls_error *err)
{
    struct stat info;
    char *file = stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? find_below(path, err) : xstrdup(path);
    if (!file)
        return -1;
    int from = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = from < 0 || fstat(from, &info) < 0 ? failed(err, "read", file) : 0;
    if (rc == 0 && !S_ISREG(info.st_mode)) /* a device may have no end */
        rc = error_set(err, "BAD_VALUE", "%.300s is no regular file", file);
    if (rc == 0)
        rc = copy_from(part, from, file, err);
    if (from >= 0)
        close(from);
    free(file);
    return rc;
}

static void finish_hash(struct cache_part *part, char sha256[CACHE_HASH_SIZE])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_DigestFinal_ex(part->sha256, hash, &len);
    for (unsigned i = 0; i < len && 2 * i + 2 < CACHE_HASH_SIZE; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", hash[i]);
}

static int sync_folder(const struct cache *cache, struct ls_error *err)
{
    int fd = open(cache->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? failed(err, "sync", cache->folder) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int cache_end(const struct cache *cache, struct cache_part **part, const char *expected, char sha256[CACHE_HASH_SIZE], bool *there,
              struct ls_error *err)
{
    int rc = 0;
    finish_hash(*part, sha256);
    if (*expected && strcmp(expected, sha256) != 0) {
        rc = error_set(err, "CORRUPT", "what came has the SHA-256 %s, and the store says %s", sha256, expected);
        if (err)
            err->again = true;
    }
    *there = rc == 0 && cache_use(cache, sha256);
    char *path = cache_path(cache, sha256);
    if (rc == 0 && !*there) {
        if (fsync((*part)->fd) < 0 || rename((*part)->path, path) < 0)
            rc = failed(err, "store", path);
        else
            rc = sync_folder(cache, err);
    }
    free(path);
    cache_drop(part); /* of a file with another name nothing is left under this one */
    return rc;
}

void cache_drop(struct cache_part **part)
{
    struct cache_part *p = *part;
    *part = NULL;
    if (!p)
        return;
    if (p->fd >= 0) {
        unlink(p->path);
        close(p->fd);
    }
    EVP_MD_CTX_free(p->sha256);
    free(p->path);
    free(p);
}
