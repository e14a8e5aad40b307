/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_OBJSTORE_PRIVATE_H
#define NODES_KIT_OBJSTORE_PRIVATE_H
#include <sys/queue.h>

#include "nodes/kit/objstore.h"

/* The inside of objstore*.c: objstore.c keeps the rules that hold for both stores (forms of keys and hashes, which operations are under
 * way, who frees them) and calls a driver: objstore_file.c or objstore_s3.c. */

#define OBJSTORE_PIECE_BYTES (256u << 10) /* the most that is read, or handed on, at a time */

struct objstore {
    const struct objstore_driver *driver;
    LIST_HEAD(, objstore_op) ops;  /* under way */
    LIST_HEAD(, objstore_op) over; /* ended or cancelled inside objstore_run: freed when that is done */
    bool running;                  /* inside objstore_run */
};

/* The head of a driver's operation. */
struct objstore_op {
    LIST_ENTRY(objstore_op) link;
    struct objstore *store;
    bool paused;
    bool over; /* no callback of this operation runs any more */
};

/* What a driver does. Arguments have been checked by objstore.c: keys by objstore_key_check, sha256 of a put is 64 lower-case hex
 * digits, a list's `max` is not 0, no string of a put or list is NULL but journal and `after`. */
struct objstore_driver {
    const char *scheme;                                      /* "file:", "s3://": what its URLs begin with */
    int (*check)(const char *url, struct ls_error *err);
    struct objstore *(*open)(const struct objstore_options *options, struct ls_error *err); /* fills its own part; zeroed head */
    void (*close)(struct objstore *store);                   /* all operations are gone; frees */
    int (*fd)(const struct objstore *store);
    int64_t (*due)(const struct objstore *store);
    void (*run)(struct objstore *store);

    struct objstore_op *(*put)(struct objstore *store, const struct objstore_put *put, struct ls_error *err);
    struct objstore_op *(*get)(struct objstore *store, const struct objstore_get *get, struct ls_error *err);
    struct objstore_op *(*list)(struct objstore *store, const struct objstore_list *list, struct ls_error *err);
    struct objstore_op *(*remove)(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg, struct ls_error *err);
    void (*abandon)(struct objstore *store, const char *key, const char *journal);
    void (*prune)(struct objstore *store, const char *key);  /* NULL: there is nothing to do */
    void (*resume)(struct objstore_op *op); /* after op->paused changed, both ways */
    /* stop: lets go of calls and descriptors at once; no callback afterwards. free: the memory, stopped before. */
    void (*stop)(struct objstore_op *op);
    void (*free)(struct objstore_op *op);

    int (*conditional)(const struct objstore *store);
    int (*file)(struct objstore *store, const char *key, struct objstore_object *object, struct ls_error *err);
    char *(*uri)(const struct objstore *store, const char *key);
};

extern const struct objstore_driver OBJSTORE_FILE;
extern const struct objstore_driver OBJSTORE_S3;

/* objstore_op_begin: for a driver, when an operation is made. */
void objstore_op_begin(struct objstore_op *op, struct objstore *store);
/* objstore_op_over: for a driver, before it calls `end`: stops the operation and lets it be freed when objstore_run is done. The memory
 * stays until then. Inside objstore_run only. */
void objstore_op_over(struct objstore_op *op);

#endif
