/* SPDX-License-Identifier: Apache-2.0 */
/* The store that is a folder: "file:DIR". Work is done in slices of a megabyte for each turn of the loop, so that many operations share
 * it. objstore_file_put.c writes, objstore_file_path.c knows paths. */
#include "nodes/kit/objstore_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/uri.h"
#include "lib/xmem.h"

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
    struct buf uri = {0};
    char *path = xasprintf("%s/%s", ((const struct file_store *) store)->root, key);
    buf_addf(&uri, "file://");
    uri_encode(&uri, path, "/!$&'()*+,;=:@");
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

struct file_op *file_op_new(struct objstore *store, const char *key, enum step step)
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

void file_op_close_out(struct file_op *op)
{
    if (op->temp[0])
        unlinkat(file_store_of(op)->own_fd, op->temp, 0);
    if (op->out >= 0)
        close(op->out);
    op->temp[0] = '\0';
    op->out = -1;
}

static void file_stop(struct objstore_op *head)
{
    struct file_op *op = (struct file_op *) head;
    file_op_close_out(op);
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

/* ---- get, list, delete ---- */

static struct objstore_op *file_get(struct objstore *store, const struct objstore_get *get, struct ls_error *err)
{
    (void) err; /* what goes wrong is told by `end` */
    struct file_op *op = file_op_new(store, get->key, STEP_GET);
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
    op->in = folder_open(file_store_of(op)->root_fd, op->key, &st, &err);
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
    char *piece = file_store_of(op)->piece;
    struct ls_error err;
    if (op->in < 0 && !get_open(op))
        return;
    for (int i = 0; i < FILE_SLICE_PIECES && op->at < op->end && !op->head.paused; i++) {
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
    struct file_op *op = file_op_new(store, list->prefix, STEP_LIST);
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
    int rc = folder_list(file_store_of(op)->root_fd, &list, &err);
    if (op->head.over)
        return;
    objstore_op_over(&op->head);
    op->list.end(op->list.arg, op->more, rc ? &err : NULL);
}

static struct objstore_op *file_remove(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg,
                                       struct ls_error *err)
{
    (void) err;
    struct file_op *op = file_op_new(store, key, STEP_REMOVE);
    op->deleted = end;
    op->deleted_arg = arg;
    return &op->head;
}

static void remove_it(struct file_op *op)
{
    struct ls_error err;
    int rc = folder_remove(file_store_of(op)->root_fd, op->key, &err);
    objstore_op_over(&op->head);
    op->deleted(op->deleted_arg, rc ? &err : NULL);
}

/* ---- the loop ---- */

static void (*const STEPS[])(struct file_op *op) = {
    [STEP_LOOK] = file_put_look, [STEP_COMPARE] = file_put_compare, [STEP_COPY] = file_put_copy,
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
