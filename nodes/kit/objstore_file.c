/* SPDX-License-Identifier: Apache-2.0 */
/* The store that is a folder: "file:DIR". Content is written to a file in DIR/.lineshaft, hashed on the way, synced, and moved to its
 * place without replacing what must not be replaced. Work is done in slices of a megabyte for each turn of the loop, so that many
 * operations share it; what the disk is slow at (the last sync) is kept short by writing out early. */
#include "nodes/kit/objstore_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define SLICE_PIECES 4                          /* of OBJSTORE_PIECE_BYTES, in a turn of the loop */
#define WRITE_OUT_BYTES ((uint64_t) 8 << 20)    /* so much is handed to the disk at a time */

struct file_store {
    struct objstore head;
    char *root; /* absolute */
    int root_fd, own_fd, wake_fd;
    uint32_t turn;
    uint64_t serial; /* of temporary names */
    char piece[OBJSTORE_PIECE_BYTES];
};

enum step { STEP_LOOK, STEP_COMPARE, STEP_COPY, STEP_GET, STEP_LIST, STEP_REMOVE };

struct file_op {
    struct objstore_op head;
    enum step step;
    uint32_t turn; /* in which it had its slice, or was begun */
    char *key;
    int in, out;   /* -1: none */
    uint64_t at, end;
    EVP_MD_CTX *hash;
    char temp[48]; /* name in .lineshaft; "": none */
    bool cloned;
    bool raced;    /* the key was taken while the content was written */
    struct objstore_put put;
    struct objstore_get get;
    struct objstore_list list;
    size_t told;
    bool more;
    objstore_deleted_fn *deleted;
    void *deleted_arg;
};

static struct file_store *store_of(const struct file_op *op)
{
    return (struct file_store *) op->head.store;
}

static void wake(struct file_store *fs)
{
    eventfd_write(fs->wake_fd, 1);
}

/* ---- the store ---- */

static const char *folder_of(const char *url)
{
    const char *path = url + strlen("file:");
    while (path[0] == '/' && path[1] == '/')
        path++;
    return path;
}

static int file_check(const char *url, struct ls_error *err)
{
    if (!folder_of(url)[0] || strcmp(folder_of(url), "/") == 0)
        return error_set(err, "BAD_VALUE", "\"%.200s\" names no folder: write file:DIR, such as file:var/artifacts", url);
    return 0;
}

/* Removes what a process that died was writing: nobody holds the lock of such a file. */
static void sweep(const struct file_store *fs)
{
    DIR *dir = fdopendir(openat(fs->own_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "put-", 4) != 0)
            continue;
        int fd = openat(fs->own_fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(fs->own_fd, entry->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

static void file_close(struct objstore *store)
{
    struct file_store *fs = (struct file_store *) store;
    if (fs->root_fd >= 0)
        close(fs->root_fd);
    if (fs->own_fd >= 0)
        close(fs->own_fd);
    if (fs->wake_fd >= 0)
        close(fs->wake_fd);
    free(fs->root);
    free(fs);
}

static struct objstore *file_open(const struct objstore_options *options, struct ls_error *err)
{
    const char *folder = folder_of(options->url);
    struct file_store *fs = xcalloc(1, sizeof *fs);
    fs->own_fd = fs->wake_fd = -1;
    fs->root_fd = folder_make(folder, 0755, NULL) ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fs->root_fd >= 0 && (mkdirat(fs->root_fd, OBJSTORE_FILE_OWN, 0700) == 0 || errno == EEXIST))
        fs->own_fd = openat(fs->root_fd, OBJSTORE_FILE_OWN, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs->own_fd >= 0)
        fs->root = realpath(folder, NULL);
    if (fs->root)
        fs->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fs->wake_fd < 0) {
        error_set(err, "SYSTEM", "the store %.200s cannot be used: %s; does this user own the folder?", options->url,
                  strerror(errno));
        file_close(&fs->head);
        return NULL;
    }
    sweep(fs);
    return &fs->head;
}

static int file_fd(const struct objstore *store)
{
    return ((const struct file_store *) store)->wake_fd;
}

static int64_t file_due(const struct objstore *store)
{
    (void) store; /* the descriptor is readable while there is work */
    return INT64_MAX;
}

static char *file_uri(const struct objstore *store, const char *key)
{
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/!$&'()*+,;=:@";
    struct buf uri = {0};
    char *path = xasprintf("%s/%s", ((const struct file_store *) store)->root, key);
    buf_addf(&uri, "file://");
    for (const char *c = path; *c; c++)
        buf_addf(&uri, strchr(PLAIN, *c) ? "%c" : "%%%02X", (unsigned char) *c);
    free(path);
    buf_text(&uri);
    return (char *) uri.data;
}

static int file_conditional(const struct objstore *store)
{
    (void) store;
    return 1;
}

static void file_abandon(struct objstore *store, const char *key, const char *journal)
{
    (void) store;
    (void) key;
    unlink(journal); /* a folder's put has none; one of another store may be left */
}

static void file_prune(struct objstore *store, const char *key)
{
    folder_prune(((struct file_store *) store)->root_fd, key);
}

static int file_file(struct objstore *store, const char *key, struct objstore_object *object, struct ls_error *err)
{
    struct stat st;
    int fd = folder_open(((struct file_store *) store)->root_fd, key, &st, err);
    if (fd >= 0)
        folder_object(fd, &st, key, object);
    return fd;
}

/* ---- operations: their life ---- */

static struct file_op *op_new(struct objstore *store, const char *key, enum step step)
{
    struct file_store *fs = (struct file_store *) store;
    struct file_op *op = xcalloc(1, sizeof *op);
    op->key = xstrdup(key);
    op->step = step;
    op->turn = fs->turn;
    op->in = op->out = -1;
    objstore_op_begin(&op->head, store);
    wake(fs);
    return op;
}

static void close_out(struct file_op *op)
{
    if (op->temp[0])
        unlinkat(store_of(op)->own_fd, op->temp, 0);
    if (op->out >= 0)
        close(op->out);
    op->temp[0] = '\0';
    op->out = -1;
}

static void file_stop(struct objstore_op *head)
{
    struct file_op *op = (struct file_op *) head;
    close_out(op);
    if (op->in >= 0)
        close(op->in);
    op->in = -1;
}

static void file_free(struct objstore_op *head)
{
    struct file_op *op = (struct file_op *) head;
    EVP_MD_CTX_free(op->hash);
    free((void *) (uintptr_t) op->put.content_type);
    free((void *) (uintptr_t) op->list.after);
    free(op->key);
    free(op);
}

static void file_resume(struct objstore_op *op)
{
    wake((struct file_store *) op->store);
}

/* ---- put ---- */

static void put_fail(struct file_op *op, const struct ls_error *err)
{
    objstore_op_over(&op->head);
    op->put.end(op->put.arg, NULL, false, err);
}

static void put_done(struct file_op *op, int fd, bool already_there)
{
    struct objstore_object object;
    struct stat st;
    struct ls_error err;
    if (fstat(fd, &st)) {
        folder_error(&err, op->key, "cannot look at it");
        put_fail(op, &err);
        return;
    }
    folder_object(fd, &st, op->key, &object);
    snprintf(object.sha256, sizeof object.sha256, "%s", op->put.sha256); /* also where nothing can be noted at files */
    objstore_op_over(&op->head);
    op->put.end(op->put.arg, &object, already_there, NULL);
}

static struct objstore_op *file_put(struct objstore *store, const struct objstore_put *put, struct ls_error *err)
{
    struct stat st;
    int in = open(put->file, O_RDONLY | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) || !S_ISREG(st.st_mode) || (uint64_t) st.st_size != put->size) {
        int number = errno;
        error_set(err, "SYSTEM", "%.300s cannot be stored: %s", put->file,
                  in < 0 ? strerror(number) : "it is no file of the size that was told");
        if (err)
            err->again = in < 0 && (number == EMFILE || number == ENFILE || number == ENOMEM);
        if (in >= 0)
            close(in);
        return NULL;
    }
    struct file_op *op = op_new(store, put->key, STEP_LOOK);
    op->in = in;
    op->end = put->size;
    op->put = *put;
    op->put.content_type = xstrdup(put->content_type);
    op->put.key = op->put.file = op->put.journal = NULL; /* the caller's, and not needed again */
    op->hash = EVP_MD_CTX_new();
    return &op->head;
}

static bool hash_is(const struct file_op *op, char found[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_DigestFinal_ex(op->hash, digest, &len);
    for (unsigned i = 0; i < 32; i++)
        snprintf(found + (size_t) 2 * i, 3, "%02x", digest[i]);
    return strcmp(found, op->put.sha256) == 0;
}

static void conflict(struct file_op *op)
{
    struct ls_error err;
    error_set(&err, "CONFLICT", "%.300s: another content has this key; it was not replaced", op->key);
    put_fail(op, &err);
}

static void begin_copy(struct file_op *op)
{
    struct file_store *fs = store_of(op);
    struct ls_error err;
    close_out(op);
    do { /* in another container there may be a process with our number */
        snprintf(op->temp, sizeof op->temp, "put-%d-%llu", getpid(), (unsigned long long) ++fs->serial);
        op->out = openat(fs->own_fd, op->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (op->out < 0 && errno == EEXIST);
    if (op->out < 0 || flock(op->out, LOCK_EX | LOCK_NB)) {
        folder_error(&err, op->key, "cannot make a file in " OBJSTORE_FILE_OWN);
        if (op->out < 0)
            op->temp[0] = '\0';
        put_fail(op, &err);
        return;
    }
    op->cloned = ioctl(op->out, FICLONE, op->in) == 0; /* the blocks are shared; they are read and hashed all the same */
    EVP_DigestInit_ex(op->hash, EVP_sha256(), NULL);
    op->at = 0;
    op->step = STEP_COPY;
}

/* What has the key now? */
static void put_look(struct file_op *op)
{
    struct objstore_object there;
    struct stat st;
    struct ls_error err;
    int fd = folder_open(store_of(op)->root_fd, op->key, &st, &err);
    if (fd < 0 && strcmp(err.name, "NOT_FOUND") != 0) {
        put_fail(op, &err);
    } else if (fd < 0 && op->raced) { /* a folder or a link, which is no object */
        conflict(op);
    } else if (fd < 0) {
        begin_copy(op);
    } else {
        folder_object(fd, &st, op->key, &there);
        bool same = there.size == op->end && strcmp(there.sha256, op->put.sha256) == 0;
        bool unknown = there.size == op->end && !there.sha256[0];
        close_out(op);
        op->out = fd;
        if (same)
            put_done(op, fd, true);
        else if (op->put.replace)
            begin_copy(op);
        else if (unknown) { /* written by someone else: only its bytes can tell */
            EVP_DigestInit_ex(op->hash, EVP_sha256(), NULL);
            op->at = 0;
            op->step = STEP_COMPARE;
        } else
            conflict(op);
    }
}

/* Hashes the next slice of `fd`, and writes it to `out` unless that is -1: 1 at the end, 0 to go on, -1 with errno. */
static int hash_slice(struct file_op *op, int fd, int out)
{
    char *piece = store_of(op)->piece;
    for (int i = 0; i < SLICE_PIECES && op->at < op->end; i++) {
        size_t want = op->end - op->at < OBJSTORE_PIECE_BYTES ? (size_t) (op->end - op->at) : OBJSTORE_PIECE_BYTES;
        ssize_t got = pread(fd, piece, want, (off_t) op->at);
        if (got <= 0) {
            errno = got < 0 ? errno : ENODATA;
            return -1;
        }
        EVP_DigestUpdate(op->hash, piece, (size_t) got);
        for (ssize_t done = 0, n; out >= 0 && done < got; done += n)
            if ((n = pwrite(out, piece + done, (size_t) (got - done), (off_t) op->at + done)) < 0)
                return -1;
        uint64_t before = op->at / WRITE_OUT_BYTES;
        op->at += (uint64_t) got;
        if (out >= 0 && op->at / WRITE_OUT_BYTES > before)
            sync_file_range(out, (off_t) (before * WRITE_OUT_BYTES), (off_t) WRITE_OUT_BYTES,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
    }
    return op->at == op->end;
}

static void put_compare(struct file_op *op)
{
    char found[65];
    struct ls_error err;
    int rc = hash_slice(op, op->out, -1);
    if (rc < 0) {
        folder_error(&err, op->key, "cannot read what has the key");
        put_fail(op, &err);
    } else if (rc && hash_is(op, found)) {
        put_done(op, op->out, true);
    } else if (rc) {
        conflict(op);
    }
}

/* Moves the finished file to its place: 0; 1: somebody took the key meanwhile; -1. */
static int place(struct file_op *op, struct ls_error *err)
{
    struct file_store *fs = store_of(op);
    const char *leaf;
    int parent = folder_parent(fs->root_fd, op->key, true, &leaf, err);
    if (parent < 0) {
        folder_prune_way(fs->root_fd, op->key);
        return -1;
    }
    int rc = op->put.replace ? renameat(fs->own_fd, op->temp, parent, leaf)
                             : renameat2(fs->own_fd, op->temp, parent, leaf, RENAME_NOREPLACE);
    if (rc && !op->put.replace && (errno == EINVAL || errno == ENOSYS)) { /* a file system without it */
        rc = linkat(fs->own_fd, op->temp, parent, leaf, 0);
        if (rc == 0)
            unlinkat(fs->own_fd, op->temp, 0);
    }
    if (rc && errno == EISDIR) {
        error_set(err, "CONFLICT", "%.300s: there are objects below this key, and in a folder it cannot be both", op->key);
    } else if (rc && errno == EEXIST && !op->put.replace) {
        rc = 1;
    } else if (rc || fsync(parent)) {
        rc = folder_error(err, op->key, "cannot move it to its place");
    } else {
        op->temp[0] = '\0';
    }
    close(parent);
    if (rc)
        folder_prune_way(fs->root_fd, op->key);
    return rc;
}

static void put_copy(struct file_op *op)
{
    struct ls_error err;
    char found[65];
    int rc = hash_slice(op, op->in, op->cloned ? -1 : op->out);
    if (rc < 0) {
        folder_error(&err, op->key, "cannot write it");
        put_fail(op, &err);
        return;
    }
    if (op->put.progress)
        op->put.progress(op->put.arg, op->at);
    if (!rc || op->head.over)
        return;
    if (!hash_is(op, found)) {
        error_set(&err, "CORRUPT", "%.200s: the content is not what was announced: its sha256 is %s, not %s", op->key, found,
                  op->put.sha256);
        put_fail(op, &err);
        return;
    }
    folder_mark(op->out, op->key, op->put.sha256, op->put.content_type);
    rc = fsync(op->out) ? folder_error(&err, op->key, "cannot sync it") : place(op, &err);
    if (rc < 0 && strcmp(err.name, "NOT_FOUND") == 0)
        err.again = true; /* another process took away the folder that had become empty */
    if (rc < 0)
        put_fail(op, &err);
    else if (rc == 0)
        put_done(op, op->out, false);
    else {
        op->raced = true;
        op->step = STEP_LOOK; /* the same content, perhaps */
    }
}

/* ---- get, list, delete ---- */

static struct objstore_op *file_get(struct objstore *store, const struct objstore_get *get, struct ls_error *err)
{
    (void) err; /* what goes wrong is told by `end` */
    struct file_op *op = op_new(store, get->key, STEP_GET);
    op->get = *get;
    op->get.key = NULL;
    return &op->head;
}

static void get_over(struct file_op *op, const struct ls_error *err)
{
    objstore_op_over(&op->head);
    op->get.end(op->get.arg, err);
}

/* False: it is over. */
static bool get_open(struct file_op *op)
{
    struct objstore_object object;
    struct stat st;
    struct ls_error err;
    op->in = folder_open(store_of(op)->root_fd, op->key, &st, &err);
    if (op->in < 0) {
        get_over(op, &err);
        return false;
    }
    folder_object(op->in, &st, op->key, &object);
    op->at = op->get.offset < object.size ? op->get.offset : object.size;
    uint64_t left = object.size - op->at;
    op->end = op->at + (op->get.length >= 0 && (uint64_t) op->get.length < left ? (uint64_t) op->get.length : left);
    if (op->get.found)
        op->get.found(op->get.arg, &object);
    return !op->head.over;
}

static void get_slice(struct file_op *op)
{
    char *piece = store_of(op)->piece;
    struct ls_error err;
    if (op->in < 0 && !get_open(op))
        return;
    for (int i = 0; i < SLICE_PIECES && op->at < op->end && !op->head.paused; i++) {
        size_t want = op->end - op->at < OBJSTORE_PIECE_BYTES ? (size_t) (op->end - op->at) : OBJSTORE_PIECE_BYTES;
        ssize_t got = pread(op->in, piece, want, (off_t) op->at);
        if (got <= 0) {
            errno = got < 0 ? errno : ENODATA;
            folder_error(&err, op->key, "cannot read it");
            get_over(op, &err);
            return;
        }
        op->at += (uint64_t) got;
        op->get.data(op->get.arg, ls_bytes(piece, (size_t) got));
        if (op->head.over)
            return;
    }
    if (op->at == op->end)
        get_over(op, NULL);
}

static struct objstore_op *file_list(struct objstore *store, const struct objstore_list *list, struct ls_error *err)
{
    (void) err;
    struct file_op *op = op_new(store, list->prefix, STEP_LIST);
    op->list = *list;
    op->list.prefix = NULL;
    op->list.after = list->after ? xstrdup(list->after) : NULL;
    return &op->head;
}

static bool tell(void *arg, const char *key, const struct objstore_object *object)
{
    struct file_op *op = arg;
    op->more = op->told == op->list.max;
    if (op->more)
        return false;
    op->told++;
    op->list.entry(op->list.arg, key, object);
    return !op->head.over;
}

static void list_all(struct file_op *op)
{
    struct ls_error err;
    const struct folder_list list = {.prefix = op->key, .after = op->list.after, .recursive = op->list.recursive,
                                     .arg = op, .entry = tell};
    int rc = folder_list(store_of(op)->root_fd, &list, &err);
    if (op->head.over)
        return;
    objstore_op_over(&op->head);
    op->list.end(op->list.arg, op->more, rc ? &err : NULL);
}

static struct objstore_op *file_remove(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg,
                                       struct ls_error *err)
{
    (void) err;
    struct file_op *op = op_new(store, key, STEP_REMOVE);
    op->deleted = end;
    op->deleted_arg = arg;
    return &op->head;
}

static void remove_it(struct file_op *op)
{
    struct ls_error err;
    int rc = folder_remove(store_of(op)->root_fd, op->key, &err);
    objstore_op_over(&op->head);
    op->deleted(op->deleted_arg, rc ? &err : NULL);
}

/* ---- the loop ---- */

static void (*const STEPS[])(struct file_op *op) = {
    [STEP_LOOK] = put_look, [STEP_COMPARE] = put_compare, [STEP_COPY] = put_copy,
    [STEP_GET] = get_slice, [STEP_LIST] = list_all, [STEP_REMOVE] = remove_it,
};

/* An operation that had no slice in this turn. Callbacks may begin and end any, so the search begins anew each time. */
static struct file_op *next_op(const struct file_store *fs)
{
    struct objstore_op *op;
    LIST_FOREACH(op, &fs->head.ops, link)
        if (!op->paused && ((struct file_op *) op)->turn != fs->turn)
            return (struct file_op *) op;
    return NULL;
}

static void file_run(struct objstore *store)
{
    struct file_store *fs = (struct file_store *) store;
    struct file_op *op;
    eventfd_t count;
    eventfd_read(fs->wake_fd, &count);
    fs->turn++;
    while ((op = next_op(fs)) != NULL) {
        op->turn = fs->turn;
        STEPS[op->step](op);
    }
    fs->turn++; /* what was begun by callbacks just now counts as new in the next turn, too */
    if (next_op(fs))
        wake(fs);
}

const struct objstore_driver OBJSTORE_FILE = {
    .scheme = "file:",
    .check = file_check,
    .open = file_open,
    .close = file_close,
    .fd = file_fd,
    .due = file_due,
    .run = file_run,
    .put = file_put,
    .get = file_get,
    .list = file_list,
    .remove = file_remove,
    .abandon = file_abandon,
    .prune = file_prune,
    .resume = file_resume,
    .stop = file_stop,
    .free = file_free,
    .conditional = file_conditional,
    .file = file_file,
    .uri = file_uri,
};
