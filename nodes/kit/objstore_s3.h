/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_OBJSTORE_S3_H
#define NODES_KIT_OBJSTORE_S3_H
#include <openssl/evp.h>

#include "lib/buf.h"
#include "lib/heap.h"
#include "nodes/kit/http_client.h"
#include "nodes/kit/objstore_private.h"
#include "nodes/kit/s3_config.h"
#include "nodes/kit/s3_journal.h"
#include "nodes/kit/s3_xml.h"
#include "nodes/kit/sigv4.h"

/* The inside of objstore_s3*.c: the store, one request with its tries (objstore_s3_request.c), and the operations made of requests. */

#define S3_META_SHA256 "x-amz-meta-sha256"

struct s3_store {
    struct objstore head;
    struct s3_config config;
    struct sigv4_signer signer;
    struct http_client *http;
    struct heap timers;
    int64_t clock_offset_s;         /* the store's clock less ours */
    LIST_HEAD(, s3_errand) errands; /* abandoned uploads, removed probes */
    LIST_HEAD(, s3_put) hashing;    /* puts that have a piece of their file to hash before anything is sent */
    struct s3_probe *probe;         /* under way */
    int conditional;                /* as objstore_conditional */
};

/* ---- one request, tried until it is answered for good ---- */

struct s3_request {
    /* Filled after s3_request_init, before s3_request_send. */
    const char *method;        /* a literal */
    struct sigv4_headers more; /* of its own, besides those of the signature */
    struct buf body;           /* what goes up: this, or a part of a file */
    int fd;                    /* -1: none */
    uint64_t offset, size;
    char payload[SIGV4_HEX_SIZE]; /* SHA-256 of what goes up from the file; signed over http */
    int64_t first_byte_ms;        /* 0: two minutes */
    size_t answer_max;            /* bytes kept of the answer's body; 0: 64 KiB */
    /* Of an answer below 300, instead of keeping it. The last tells that there will be another try; it may change `more`. All may be
     * NULL. */
    void (*found)(struct s3_request *request);
    bool (*data)(struct s3_request *request, struct ls_slice bytes);
    void (*again)(struct s3_request *request);
    void *arg;
    /* It was answered, or given up: status 0 and *err. Not called for s3_request_stop. The request may be used again from inside. */
    void (*end)(struct s3_request *request);

    /* The answer. */
    unsigned status;
    struct buf answer;
    char code[64], message[200], request_id[80], region[64]; /* of an error; "" if it names none */
    char etag[128], version_id[256], last_modified[40];      /* of headers */
    char sha256[65], content_type[128];
    uint64_t content_length;
    bool sized;          /* content_length was told */
    int64_t date_ms;     /* the store's clock; 0: it does not say */
    struct ls_error err; /* status 0: why */
    unsigned tries;      /* so far; a lost answer may have had its effect */

    /* Its own. */
    struct s3_store *store;
    char *path, *query;
    struct http_call *call;
    struct timer timer;
    struct buf bucket_xml; /* the body that makes the bucket */
    uint64_t sent;         /* of what goes up */
    char signed_region[65]; /* as this try was signed: meanwhile another request may have mended that */
    int64_t signed_offset_s;
    bool making_bucket, made_bucket, moved, clocked;
};

/* s3_request_init: `key` NULL: the bucket; pairs as sigv4_query, NULL for none. A request that was used is made empty first. */
void s3_request_init(struct s3_request *request, struct s3_store *store, const char *method, const char *key,
                     const struct sigv4_pair *pairs);
void s3_request_header(struct s3_request *request, const char *name, const char *value);
void s3_request_send(struct s3_request *request);
void s3_request_stop(struct s3_request *request);       /* and frees; harmless when it was never used */
bool s3_request_done(const struct s3_request *request); /* 200 to 299 */
/* s3_request_error fills *err from an answer, or from why there was none; -1. `doing` is "cannot store"; `key` NULL: the bucket. */
int s3_request_error(const struct s3_request *request, const char *doing, const char *key, struct ls_error *err);
/* s3_request_read reads the answer's XML; -1 with PROTOCOL. */
int s3_request_read(const struct s3_request *request, s3_xml_fn *element, void *arg, struct ls_error *err);
/* s3_object_read: what the headers say of an object. */
void s3_object_read(const struct s3_request *request, const char *key, struct objstore_object *object);
int64_t s3_time_ms(const char *text); /* "Wed, 21 Oct 2015 07:28:00 GMT" or RFC 3339; 0: neither */

/* ---- operations ---- */

struct objstore_op *s3_put_begin(struct objstore *store, const struct objstore_put *put, struct ls_error *err);
void s3_put_step(struct s3_store *store); /* a piece of what is to be hashed */
void s3_put_probed(struct s3_store *store,
                   const struct ls_error *err); /* store->conditional is known, or err why not */

struct objstore_op *s3_get_begin(struct objstore *store, const struct objstore_get *get, struct ls_error *err);
struct objstore_op *s3_list_begin(struct objstore *store, const struct objstore_list *list, struct ls_error *err);

/* An operation by which the driver's stop, free and resume find the right one. */
struct s3_op {
    struct objstore_op head;
    void (*stop)(struct objstore_op *op);
    void (*free)(struct objstore_op *op);
    void (*resume)(struct objstore_op *op); /* NULL: cannot be paused */
};

/* s3_errand: a DELETE whose outcome nobody waits for; a failure is logged. `upload` NULL: of the object. */
void s3_errand_delete(struct s3_store *store, const char *key, const char *upload);
/* s3_probe_begin finds out whether the store honours If-None-Match, with an empty object of its own; then s3_put_probed. */
void s3_probe_begin(struct s3_store *store);

#endif
