/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft artifact get: bytes out of the store. They go to FILE.part, with the ETag that they have in FILE.part.etag, so that a later
 * call can go on behind them (RFC 9110, 13.1.5, If-Range); FILE is there when all of it is, and its hash is right. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/artifact/artifact.h"
#include "cli/render.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/xmem.h"

#define PIECE_BYTES 262144

struct download {
    struct artifact *a;
    const char *key, *file;    /* file NULL: standard output */
    char *part, *etag_file;
    int fd;
    uint64_t had, size;        /* had: taken from an earlier call; size: what is there now */
    char etag[200], digest[300];
    struct hash *hash;         /* of what is there */
    uint8_t sum[HASH_SIZE];
    struct progress progress;
    bool locked;               /* the part is ours alone */
    bool broken;               /* `err` says why the answer was ended from here */
    struct ls_error err;
};

static int disk_failed(struct download *d, const char *what)
{
    d->broken = true;
    return error_set(&d->err, "SYSTEM", "cannot write %.200s: %s", what, strerror(errno));
}

/* ---- what an earlier call left ---- */

static int start_anew(struct download *d)
{
    hash_end(&d->hash, NULL);
    d->hash = hash_new();
    d->size = d->had = 0;
    d->etag[0] = '\0';
    if (d->file && (ftruncate(d->fd, 0) < 0 || lseek(d->fd, 0, SEEK_SET) < 0))
        return disk_failed(d, d->part);
    return 0;
}

static void read_etag(struct download *d)
{
    FILE *file = fopen(d->etag_file, "re");
    if (file && !fgets(d->etag, sizeof d->etag, file))
        d->etag[0] = '\0';
    d->etag[strcspn(d->etag, "\n")] = '\0';
    if (file)
        fclose(file);
}

/* Without it the next call begins at the start, which is no harm. */
static void write_etag(const struct download *d)
{
    FILE *file = d->file && d->etag[0] ? fopen(d->etag_file, "we") : NULL;
    if (file) {
        fprintf(file, "%s\n", d->etag);
        fclose(file);
    } else if (d->file) {
        unlink(d->etag_file);
    }
}

static int hash_what_is_there(struct download *d)
{
    char *piece = xcalloc(1, PIECE_BYTES);
    ssize_t got;
    while ((got = read(d->fd, piece, PIECE_BYTES)) > 0) {
        hash_add(d->hash, piece, (size_t) got);
        d->size += (uint64_t) got;
    }
    free(piece);
    d->had = d->size;
    return got < 0 ? disk_failed(d, d->part) : 0;
}

/* Another call may have renamed it, to FILE, after we opened it. */
static bool is_the_part(const struct download *d)
{
    struct stat ours, named;
    return fstat(d->fd, &ours) == 0 && stat(d->part, &named) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

static int open_part(struct download *d)
{
    d->hash = hash_new();
    if (!d->file)
        return 0;
    d->part = xasprintf("%s.part", d->file);
    d->etag_file = xasprintf("%s.etag", d->part);
    d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (d->fd < 0)
        return disk_failed(d, d->part);
    if (flock(d->fd, LOCK_EX | LOCK_NB) < 0 || !is_the_part(d))
        return error_set(&d->err, "BUSY", "%.200s is being written by another call", d->part);
    d->locked = true;
    read_etag(d);
    return d->etag[0] ? hash_what_is_there(d) : start_anew(d);
}

/* ---- the answer ---- */

/* 206 goes on where asked; anything else is the whole. */
static bool on_begin(void *arg, const struct talk *talk)
{
    struct download *d = arg;
    unsigned long long from = 0;
    bool goes_on = talk->status == 206 && sscanf(talk->range, "bytes %llu-", &from) == 1 && from == d->size && d->size;
    if (talk->status == 206 && !goes_on) {
        d->broken = true;
        error_set(&d->err, "FAILED", "%.200s: another range came than was asked for (%s)", d->key, talk->range);
        return false;
    }
    if (!goes_on && d->size && !d->file) {
        d->broken = true;
        error_set(&d->err, "CUT", "%.200s: it broke off after %llu bytes, and has changed since", d->key, (unsigned long long) d->size);
        return false;
    }
    if (!goes_on && start_anew(d) < 0)
        return false;
    if (!goes_on)
        snprintf(d->etag, sizeof d->etag, "%s", strncmp(talk->etag, "W/", 2) == 0 ? "" : talk->etag);
    write_etag(d);
    snprintf(d->digest, sizeof d->digest, "%s", talk->digest);
    d->progress.from = d->progress.done = d->size;
    d->progress.total = talk->length < 0 ? 0 : d->size + (uint64_t) talk->length;
    return true;
}

static bool on_data(void *arg, struct ls_slice bytes)
{
    struct download *d = arg;
    for (size_t at = 0; at < bytes.len;) {
        ssize_t wrote = write(d->fd, bytes.data + at, bytes.len - at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return disk_failed(d, d->file ? d->part : "to standard output") == 0;
        at += (size_t) wrote;
    }
    hash_add(d->hash, bytes.data, bytes.len);
    d->size += bytes.len;
    d->progress.done = d->size;
    progress_show(&d->progress);
    return true;
}

/* One answer, from where we are. 416: what is there cannot be the beginning of it. */
static int fetch(struct download *d, const char *path)
{
    char range[64], condition[256];
    struct talk talk = {.method = "GET", .path = path, .arg = d, .body_bytes = -1, .begin = on_begin, .data = on_data};
    if (d->size && d->etag[0]) {
        snprintf(range, sizeof range, "Range: bytes=%llu-", (unsigned long long) d->size);
        snprintf(condition, sizeof condition, "If-Range: %s", d->etag);
        talk.headers[0] = range;
        talk.headers[1] = condition;
    }
    struct ls_error err = {0};
    int result = talk_well(d->a, &talk, &err);
    bool beyond = result < 0 && talk.status == 416 && d->size && d->file;
    buf_fini(&talk.body);
    if (beyond)
        return start_anew(d) < 0 ? -1 : fetch(d, path);
    if (result < 0 && !d->broken)
        d->err = err;
    return result;
}

/* A connection that broke is taken up again, as long as something comes. */
static int fetch_all(struct download *d)
{
    char *path = artifact_path(d->key, NULL);
    int result = -1;
    progress_begin(&d->progress, d->a, "getting", d->key);
    talk_begin(d->a);
    for (int tries = 1; result < 0 && tries <= TALK_TRIES; tries++) {
        uint64_t before = d->size;
        d->err = (struct ls_error){.number = 0};
        result = fetch(d, path);
        bool again = result < 0 && !d->broken && (strcmp(d->err.name, "CUT") == 0 || strcmp(d->err.name, "TIMEOUT") == 0);
        if (!again || d->a->spent || (!d->file && d->size && !d->etag[0]))
            break;
        if (d->size > before)
            tries = 0;
        else if (!talk_pause(d->a, tries, 0))
            break;
    }
    progress_end(&d->progress);
    if (result < 0 && d->a->spent)
        error_wrap(&d->err, "%.200s", d->key);
    free(path);
    return result;
}

/* ---- at its end ---- */

static int put_in_place(struct download *d)
{
    unsigned flags = d->a->no_replace ? RENAME_NOREPLACE : 0;
    if (fsync(d->fd) < 0)
        return disk_failed(d, d->part);
    if (renameat2(AT_FDCWD, d->part, AT_FDCWD, d->file, flags) < 0)
        return disk_failed(d, d->file);
    unlink(d->etag_file);
    return 0;
}

static int finish(struct download *d)
{
    hash_end(&d->hash, d->sum);
    if (hash_fits(d->sum, d->digest))
        return d->file ? put_in_place(d) : 0;
    if (d->file) {
        unlink(d->part);
        unlink(d->etag_file);
    }
    return error_set(&d->err, "CORRUPT", "%.200s: what came is not what was stored (its SHA-256 is another); get it again", d->key);
}

static void show(const struct download *d)
{
    char size[RENDER_SHORT_SIZE], had[RENDER_SHORT_SIZE], sum[HASH_TEXT_SIZE];
    hash_text(d->sum, sum);
    if (!d->file)
        return;
    if (d->a->json)
        artifact_json(json_pack("{s:s,s:s,s:I,s:s,s:b,s:I}", "path", d->key, "file", d->file, "size", (json_int_t) d->size, "sha256",
                                sum, "verified", strstr(d->digest, "sha-256=") != NULL, "resumed_from", (json_int_t) d->had));
    else
        artifact_say(d->a, "%s: %s, SHA-256 %s%s%s", d->file, render_size(d->size, size), sum, d->had ? "; went on behind " : "",
                     d->had ? render_size(d->had, had) : "");
}

static int get_one(struct artifact *a, const char *key, const char *file)
{
    struct download d = {.a = a, .key = key, .file = file, .fd = STDOUT_FILENO};
    struct stat st;
    int result = artifact_key_check(key, &d.err);
    if (result == 0 && file && stat(file, &st) == 0 && (S_ISDIR(st.st_mode) || a->no_replace))
        result = error_set(&d.err, "SYSTEM", S_ISDIR(st.st_mode) ? "%.200s is a folder: write %.200s/" : "%.200s is there already", file,
                           file);
    if (result == 0)
        result = open_part(&d);
    if (result == 0)
        result = fetch_all(&d);
    if (result < 0 && strcmp(d.err.name, "NOT_FOUND") == 0 && list_is_folder(a, key))
        error_set(&d.err, "BAD_VALUE", "%.200s: is a folder: -r gets all that is in it", key);
    if (result == 0)
        result = finish(&d);
    if (result == 0)
        show(&d);
    if (result < 0 && d.locked && d.size == 0) { /* nothing of it came */
        unlink(d.part);
        unlink(d.etag_file);
    }
    hash_end(&d.hash, NULL);
    if (file && d.fd >= 0)
        close(d.fd);
    free(d.part);
    free(d.etag_file);
    return result < 0 ? artifact_failed(&d.err) : CLI_OK;
}

/* ---- which keys, and which files ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A name that a list gave is a path below the folder, and no other. */
static bool is_safe(const char *path)
{
    for (const char *at = path; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL) {
        size_t len = strcspn(at, "/");
        if (!len || (len == 1 && *at == '.') || (len == 2 && strncmp(at, "..", 2) == 0))
            return false;
    }
    return true;
}

struct folder {
    struct artifact *a;
    const char *prefix; /* ends with a slash, or is empty */
    const char *to;     /* likewise */
    size_t count;
    int status;
};

static bool get_entry(void *arg, const json_t *entry, struct ls_error *err)
{
    struct folder *f = arg;
    const char *key = json_string_value(json_object_get(entry, "path"));
    size_t len = strlen(f->prefix);
    if (!key || strncmp(key, f->prefix, len) != 0 || !is_safe(key + len))
        return error_set(err, "FAILED", "the list has \"%.200s\", which is no path below %.200s", key ? key : "", f->prefix) == 0;
    char *file = xasprintf("%s%s", f->to, key + len);
    int one = folder_make_above(file, 0777, err) < 0 ? artifact_failed(err) : get_one(f->a, key, file);
    free(file);
    f->count++;
    f->status = one != CLI_OK ? one : f->status;
    return artifact_goes_on(f->a, one);
}

/* a/b goes to TO/b/..., a/b/ to TO/... */
static int get_folder(struct artifact *a, const char *key, const char *to)
{
    size_t len = strlen(key);
    bool content = !len || key[len - 1] == '/';
    char *prefix = content ? xstrdup(key) : xasprintf("%s/", key);
    char *below = content ? xstrdup(to) : xasprintf("%s%s/", to, base_name(key));
    struct folder f = {.a = a, .prefix = prefix, .to = below};
    struct ls_error err = {0};
    int result = list_each(a, prefix, true, get_entry, &f, &err);
    if (result == 0 && !f.count)
        result = error_set(&err, "NOT_FOUND", "there is nothing below %.200s", prefix);
    if (result < 0 && (!f.count || artifact_goes_on(a, f.status)))
        f.status = artifact_failed(&err);
    free(prefix);
    free(below);
    return f.status;
}

static int get_named(struct artifact *a, const char *name, const char *to)
{
    char *key = artifact_key(name);
    size_t len = strlen(to);
    bool below = !len || to[len - 1] == '/';
    int status;
    if (a->recursive) {
        char *folder = below ? xstrdup(to) : xasprintf("%s/", to);
        status = get_folder(a, key, folder);
        free(folder);
    } else {
        struct ls_error err = {0};
        char *file = below ? xasprintf("%s%s", to, base_name(key)) : xstrdup(to);
        bool ready = !below || folder_make_above(file, 0777, &err) == 0;
        status = ready ? get_one(a, key, strcmp(to, "-") == 0 ? NULL : file) : artifact_failed(&err);
        free(file);
    }
    free(key);
    return status;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int artifact_get(struct artifact *a)
{
    size_t keys = a->count > 1 ? a->count - 1 : a->count;
    const char *last = a->count > 1 ? a->names[a->count - 1] : "";
    char *to = *last && last[strlen(last) - 1] != '/' && is_folder(last) ? xasprintf("%s/", last) : xstrdup(last);
    bool below = !*to || to[strlen(to) - 1] == '/';
    int status = CLI_OK;
    if (!a->count)
        status = options_usage(&ARTIFACT, "get: which key?");
    else if (keys > 1 && !below)
        status = options_usage(&ARTIFACT, "get: several keys go into a folder: %.200s/", to);
    else if (a->recursive && strcmp(to, "-") == 0)
        status = options_usage(&ARTIFACT, "get: a folder does not go to standard output");
    for (size_t i = 0; status == CLI_OK && i < keys && !a->recursive; i++)
        if (below && !*base_name(a->names[i]))
            status = options_usage(&ARTIFACT, "get: \"%.200s\" is a folder: -r gets all that is in it", a->names[i]);
    if (status != CLI_OK || (status = door_find(&a->door, a->http, &a->broker)) != CLI_OK)
        keys = 0;
    for (size_t i = 0; i < keys && artifact_goes_on(a, status); i++) {
        int one = get_named(a, a->names[i], to);
        status = one != CLI_OK ? one : status;
    }
    free(to);
    return status;
}
