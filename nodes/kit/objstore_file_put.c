/* SPDX-License-Identifier: Apache-2.0 */
/* Putting content into a folder: it is written to a file in DIR/.lineshaft, hashed on the way, synced, and moved to its place without
 * replacing what must not be replaced. What the disk is slow at (the last sync) is kept short by writing out early. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/objstore_file.h"

#define WRITE_OUT_BYTES ((uint64_t) 8 << 20) /* so much is handed to the disk at a time */

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

struct objstore_op *file_put(struct objstore *store, const struct objstore_put *put, struct ls_error *err)
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
    struct file_op *op = file_op_new(store, put->key, STEP_LOOK);
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
    struct file_store *fs = file_store_of(op);
    struct ls_error err;
    file_op_close_out(op);
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
void file_put_look(struct file_op *op)
{
    struct objstore_object there;
    struct stat st;
    struct ls_error err;
    int fd = folder_open(file_store_of(op)->root_fd, op->key, &st, &err);
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
        file_op_close_out(op);
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
    char *piece = file_store_of(op)->piece;
    for (int i = 0; i < FILE_SLICE_PIECES && op->at < op->end; i++) {
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

void file_put_compare(struct file_op *op)
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
    struct file_store *fs = file_store_of(op);
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

void file_put_copy(struct file_op *op)
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
