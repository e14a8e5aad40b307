/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_OBJSTORE_H
#define NODES_KIT_OBJSTORE_H
#include "lib/lineshaft.h"

/* Objects under keys, in a folder ("file:DIR") or in any store that speaks S3 ("s3://BUCKET", "s3://BUCKET/PREFIX"). One interface,
 * two drivers (objstore_file.c, objstore_s3*.c). For a loop that someone else owns, one thread; all callbacks run inside
 * objstore_run, never inside the call that begins an operation.
 *
 * Keys: "a/b/c", UTF-8 without control characters, at most 1024 bytes; no empty, "." or ".." segment (objstore_key_check): what both
 * drivers and MLflow's clients can hold.
 *
 * Memory is constant: content is read from the file with pread and handed on in pieces of at most 256 KiB.
 *
 * S3: Signature Version 4 (AWS General Reference, "Signature Version 4 signing process"), signed here with OpenSSL. Nothing is signed
 * that a proxy may change. Path style unless the endpoint is Amazon's or `addressing` says otherwise. Over http the content's SHA-256
 * is signed, over https it is UNSIGNED-PAYLOAD with Content-MD5. x-amz-meta-sha256 is put on every object. A request is tried again
 * (10 times, 200 ms doubling to 20 s, full jitter, Retry-After) after a lost connection, 408, 429, 499, 500, 502, 503, 504, 520 and
 * the error codes that mean the same; a clock that differs is corrected once by the answer's Date. */

struct objstore;

struct objstore_options {
    const char *url;
    /* S3; what is NULL comes from where users of AWS tools expect it: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
     * MLFLOW_S3_ENDPOINT_URL; AWS_REGION, AWS_DEFAULT_REGION, else us-east-1; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
     * AWS_SESSION_TOKEN, else the profile AWS_PROFILE (default) of AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials). */
    const char *endpoint;    /* "http://127.0.0.1:9000" */
    const char *region;
    const char *access_key, *secret_key, *session_token;
    const char *addressing;  /* "auto" (NULL), "path", "virtual" */
    const char *ca_file;     /* PEM; NULL: the system's */
    const char *encryption;  /* x-amz-server-side-encryption: "AES256" or "aws:kms"; NULL: none */
    bool create_bucket;      /* made by the first operation when it is absent */
    int64_t part_bytes;      /* of a multipart upload; 0: 16 MiB, more for what would need over 9,000 parts */
    int parallel;            /* parts of one upload at a time; 0: 4 */
};

/* objstore_check: is the URL one of the two forms? -1 with BAD_VALUE and what to write instead. No effect. */
int objstore_check(const char *url, struct ls_error *err);
/* objstore_open: no network. The folder of "file:" is made if it is absent. NULL with BAD_VALUE (no credentials, a wrong
 * endpoint) or SYSTEM. */
struct objstore *objstore_open(const struct objstore_options *options, struct ls_error *err);
void objstore_close(struct objstore **store); /* what is under way ends without a callback; uploads can be resumed */
/* As http_client_fd, http_client_due, http_client_run. */
int objstore_fd(const struct objstore *store);
int64_t objstore_due(const struct objstore *store);
void objstore_run(struct objstore *store);

int objstore_key_check(const char *key, struct ls_error *err); /* -1 with BAD_VALUE and a sentence */
/* objstore_uri: "file:///srv/artifacts/KEY" or "s3://BUCKET/PREFIX/KEY". The caller's to free. */
char *objstore_uri(const struct objstore *store, const char *key);

/* ---- what an object is ---- */

struct objstore_object {
    const char *key;
    uint64_t size;            /* bytes */
    char sha256[65];          /* lower-case hex; "" when the store does not know it */
    char etag[128];           /* with its quotes */
    char version_id[256];     /* of a bucket with versions; "" */
    char content_type[128];   /* "application/octet-stream" when unknown */
    int64_t modified_ms;      /* since 1970 */
};

/* Errors of operations, by name: NOT_FOUND; CONFLICT (another content has the key); FORBIDDEN (key, signature or permission refused);
 * UNREACHABLE, TIMEOUT, BUSY (the store, after all tries; `again`); FULL (disk full or quota; `again`); CORRUPT (what arrived is not what
 * was sent); BAD_VALUE; SYSTEM. Texts name store, key, and what S3 answered (its code, message and request id). */

struct objstore_op; /* one operation under way */
/* objstore_cancel ends an operation without its `end`; frees and NULLs. An upload that was begun stays in its journal. */
void objstore_cancel(struct objstore_op **op);

/* ---- put ---- */

struct objstore_put {
    const char *key;
    const char *file;           /* path of the content; must not change before `end` */
    uint64_t size;
    char sha256[65];            /* of the content, hex: verified by the driver where the store cannot */
    const char *content_type;   /* NULL: by the key's suffix (objstore_content_type) */
    bool replace;               /* false: if the key is taken, it is done when the content is the same, else CONFLICT */
    /* Multipart uploads write what they have reached to this file (append, fdatasync): the upload's id, then each part's number and ETag. A
     * put with the same key, size, sha256 and journal goes on there. The file is removed when the upload is over. NULL: in memory only. */
    const char *journal;
    void *arg;
    void (*progress)(void *arg, uint64_t bytes); /* of the content, at the store; may be NULL */
    /* The object as the store has it, verified (size and hash or ETag). Exactly one of the two is NULL. `already_there`: it had this
     * content before. */
    void (*end)(void *arg, const struct objstore_object *object, bool already_there, const struct ls_error *err);
};
/* Everything is copied. NULL with BAD_VALUE or SYSTEM (the file cannot be read). */
struct objstore_op *objstore_put(struct objstore *store, const struct objstore_put *put, struct ls_error *err);
/* objstore_abandon tells the store to forget the upload in a journal (AbortMultipartUpload) and removes the file; in the background,
 * errors are logged. */
void objstore_abandon(struct objstore *store, const char *key, const char *journal);
/* Conditional creation, as probed with a first object: 1 the store honours If-None-Match: *, 0 it does not (HEAD first is the
 * fall-back, with a gap between), -1 not known yet. Folders: 1. */
int objstore_conditional(const struct objstore *store);

/* ---- get ---- */

struct objstore_get {
    const char *key;
    uint64_t offset;
    int64_t length;             /* -1: to the end; 0: none, only `found` */
    void *arg;
    /* Comes once before data; a range beyond the end is cut to what there is. */
    void (*found)(void *arg, const struct objstore_object *object);
    void (*data)(void *arg, struct ls_slice bytes);     /* at most 256 KiB */
    void (*end)(void *arg, const struct ls_error *err); /* NULL: all of it came */
};
struct objstore_op *objstore_get(struct objstore *store, const struct objstore_get *get, struct ls_error *err);
void objstore_pause(struct objstore_op *op); /* no more data until objstore_resume; a piece in hand may still come */
void objstore_resume(struct objstore_op *op);
/* objstore_file: the file of an object in a folder, open for reading, for sendfile; *object filled (key borrowed from the caller).
 * -1 with NOT_FOUND or SYSTEM; -1 with UNSUPPORTED for S3. Blocks as open does. */
int objstore_file(struct objstore *store, const char *key, struct objstore_object *object, struct ls_error *err);

/* ---- list, delete ---- */

struct objstore_list {
    const char *prefix;         /* "" all; "a/b/" */
    bool recursive;             /* false: what lies deeper is told once, as a folder */
    const char *after;          /* key or folder of the page before; NULL: from the start */
    size_t max;                 /* of a page; 0: 1000 */
    void *arg;
    /* In byte order. For a folder `object` is NULL and key ends with "/". */
    void (*entry)(void *arg, const char *key, const struct objstore_object *object);
    void (*end)(void *arg, bool more, const struct ls_error *err);
};
struct objstore_op *objstore_list(struct objstore *store, const struct objstore_list *list, struct ls_error *err);

typedef void objstore_deleted_fn(void *arg, const struct ls_error *err); /* a key that is not there is no error */
struct objstore_op *objstore_delete(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg, struct ls_error *err);

/* objstore_prune: the store that is a folder keeps no folders below `key` that hold nothing, nor `key` itself if it is one; S3 has none.
 * (Lists do not show them; they are there after a crash, or by other programs.) Blocks as the disk does. */
void objstore_prune(struct objstore *store, const char *key);

/* objstore_content_type by a key's suffix: "text/plain", "application/json" ...; never NULL. */
const char *objstore_content_type(const char *key);

#endif
