/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_OBJSTORE_FILE_H
#define NODES_KIT_OBJSTORE_FILE_H
#include <openssl/evp.h>
#include <sys/stat.h>

#include "nodes/kit/objstore_private.h"

/* What the files of the folder driver share. */

#define FILE_SLICE_PIECES 4 /* of OBJSTORE_PIECE_BYTES, in a turn of the loop */

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

static inline struct file_store *file_store_of(const struct file_op *op)
{
    return (struct file_store *) op->head.store;
}

/* ---- objstore_file.c ---- */

/* file_op_new begins an operation, without files. file_op_close_out closes `out` and takes the temporary file away. */
struct file_op *file_op_new(struct objstore *store, const char *key, enum step step);
void file_op_close_out(struct file_op *op);

/* ---- objstore_file_put.c ---- */

/* The driver's `put`, and its steps: what has the key now, whether that is the same content, the next slice. */
struct objstore_op *file_put(struct objstore *store, const struct objstore_put *put, struct ls_error *err);
void file_put_look(struct file_op *op);
void file_put_compare(struct file_op *op);
void file_put_copy(struct file_op *op);

/* ---- objstore_file_path.c: keys as paths below a folder's descriptor. No symbolic link is ever followed. `name` in errors is the store
 * as people know it, such as "file:/srv/artifacts". ---- */

#define OBJSTORE_FILE_OWN ".lineshaft" /* in the folder: what is being written; no key begins with it */

/* folder_error fills *err by errno and returns -1: NOT_FOUND, FULL (again), FORBIDDEN, BAD_VALUE (a name too long for the file system),
 * SYSTEM. */
int folder_error(struct ls_error *err, const char *key, const char *what);
/* folder_parent opens the folder that a key's file is in, and makes it (synced) with `make`. *leaf: the last part of `key`. -1 with an
 * error; one that is not there is NOT_FOUND; a file where a folder is needed is NOT_FOUND, or CONFLICT with `make`. */
int folder_parent(int root, const char *key, bool make, const char **leaf, struct ls_error *err);
/* folder_open opens a key's regular file for reading; *st is filled. */
int folder_open(int root, const char *key, struct stat *st, struct ls_error *err);
/* folder_object tells what the open file is. */
void folder_object(int fd, const struct stat *st, const char *key, struct objstore_object *object);
/* folder_mark notes hash and type at the file (extended attributes; where there are none, nothing is noted). */
void folder_mark(int fd, const char *key, const char *sha256, const char *content_type);
/* folder_remove removes the key's file, and folders that it leaves empty. Not there: no error. */
int folder_remove(int root, const char *key, struct ls_error *err);
/* folder_prune_way removes the folders on the way to the key, from below, as far as they are empty; it need not be whole.
 * folder_prune removes the folders that are empty at and below `key`, and those on the way to it that are empty then. */
void folder_prune_way(int root, const char *key);
void folder_prune(int root, const char *key);

/* folder_list tells entries in byte order until `entry` returns false. */
struct folder_list {
    const char *prefix, *after;
    bool recursive;
    void *arg;
    bool (*entry)(void *arg, const char *key, const struct objstore_object *object);
};
int folder_list(int root, const struct folder_list *list, struct ls_error *err);

#endif
