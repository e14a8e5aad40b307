/* SPDX-License-Identifier: Apache-2.0 */
/* Putting one object: hashed before it is sent, created only if the key is free, compared when it is not or when an answer was lost, and
 * looked at afterwards. What is larger than a part goes up in parts (objstore_s3_parts.c). */
#include "nodes/kit/objstore_s3_put.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define PART_BYTES (16ull << 20)
#define PARTS_WANTED 9000     /* S3 takes 10,000 */
#define HASH_BYTES (4u << 20) /* at a time: some ms */

static bool in_parts(const struct s3_put *put)
{
    return put->part_count > 0;
}

/* ---- hashing ---- */

static void hash_begin(EVP_MD_CTX **ctx, const EVP_MD *kind)
{
    if (!*ctx)
        *ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(*ctx, kind, NULL);
}

void s3_put_hash(struct s3_put *put, uint64_t end, void (*done)(struct s3_put *put))
{
    if (put->hashed == 0)
        hash_begin(&put->whole, EVP_sha256());
    hash_begin(&put->piece, EVP_sha256());
    hash_begin(&put->md5, EVP_md5());
    put->hash_end = end;
    put->hash_done = done;
    put->hashing = true;
    LIST_INSERT_HEAD(&put->store->hashing, put, hash_link);
}

void s3_put_hash_stop(struct s3_put *put)
{
    if (put->hashing)
        LIST_REMOVE(put, hash_link);
    put->hashing = false;
}

/* The MD5 is wanted by https, and for comparing a small object with one that has no hash of ours. */
static bool wants_md5(const struct s3_put *put)
{
    return put->store->config.tls || !in_parts(put);
}

/* Over https no piece is signed, and one piece is the whole. */
static bool wants_piece(const struct s3_put *put)
{
    return !put->store->config.tls && in_parts(put);
}

static void hash_step(struct s3_put *put)
{
    uint8_t bytes[64 << 10];
    struct ls_error err;
    uint64_t stop = put->hash_end - put->hashed > HASH_BYTES ? put->hashed + HASH_BYTES : put->hash_end;
    while (put->hashed < stop) {
        size_t want = stop - put->hashed < sizeof bytes ? (size_t) (stop - put->hashed) : sizeof bytes;
        ssize_t got = pread(put->fd, bytes, want, (off_t) put->hashed);
        if (got <= 0) {
            error_set(&err, "SYSTEM", "cannot read %s at byte %" PRIu64 ": %s", put->on.file, put->hashed,
                      got ? strerror(errno) : "it has become shorter");
            s3_put_fail(put, &err);
            return;
        }
        EVP_DigestUpdate(put->whole, bytes, (size_t) got);
        if (wants_piece(put))
            EVP_DigestUpdate(put->piece, bytes, (size_t) got);
        if (wants_md5(put))
            EVP_DigestUpdate(put->md5, bytes, (size_t) got);
        put->hashed += (uint64_t) got;
    }
    if (put->hashed < put->hash_end)
        return;
    uint8_t digest[32];
    s3_put_hash_stop(put);
    EVP_DigestFinal_ex(put->md5, put->piece_md5, NULL);
    EVP_DigestFinal_ex(put->piece, digest, NULL);
    sigv4_hex(digest, put->piece_sha256);
    put->hash_done(put);
}

void s3_put_step(struct s3_store *store)
{
    struct s3_put *put, *next;
    for (put = LIST_FIRST(&store->hashing); put && put->hashing;
         put = next) { /* a callback may have cancelled it: later, then */
        next = LIST_NEXT(put, hash_link);
        hash_step(put);
    }
}

bool s3_put_whole_is_right(struct s3_put *put)
{
    uint8_t digest[32];
    char hex[SIGV4_HEX_SIZE];
    struct ls_error err;
    EVP_DigestFinal_ex(put->whole, digest, NULL);
    sigv4_hex(digest, hex);
    if (strcmp(hex, put->on.sha256) == 0)
        return true;
    error_set(&err, "CORRUPT",
              "%s does not hold the content that was to be stored as \"%.200s\": its SHA-256 is %s, not %s",
              put->on.file, put->on.key, hex, put->on.sha256);
    s3_put_fail(put, &err);
    return false;
}

void s3_put_md5_header(const struct s3_put *put, struct s3_request *request)
{
    char text[32];
    if (!put->store->config.tls)
        return;
    EVP_EncodeBlock((unsigned char *) text, put->piece_md5, sizeof put->piece_md5);
    s3_request_header(request, "Content-MD5", text);
}

/* ---- the outcome ---- */

static void finish(struct s3_put *put, const struct objstore_object *object, bool already_there,
                   const struct ls_error *err)
{
    objstore_op_over(&put->op.head);
    put->on.end(put->on.arg, object, already_there, err);
}

void s3_put_fail(struct s3_put *put, const struct ls_error *err)
{
    struct ls_error copy = *err; /* it may be the request's, which ends now */
    if (!put->on.journal || strcmp(err->name, "CONFLICT") == 0 || strcmp(err->name, "CORRUPT") == 0)
        s3_parts_forget(put);
    finish(put, NULL, false, &copy);
}

void s3_put_fail_request(struct s3_put *put, const struct s3_request *request)
{
    struct ls_error err;
    s3_request_error(request, "cannot store", put->on.key, &err);
    s3_put_fail(put, &err);
}

void s3_put_is_there(struct s3_put *put, bool already_there)
{
    struct objstore_object object;
    s3_object_read(&put->request, put->on.key, &object);
    snprintf(object.sha256, sizeof object.sha256, "%s", put->on.sha256);
    if (!object.version_id[0])
        snprintf(object.version_id, sizeof object.version_id, "%s", put->version_id);
    s3_journal_remove(&put->journal);
    if (put->on.progress && put->reached < put->on.size)
        put->on.progress(put->on.arg, put->on.size);
    if (!put->op.head.over)
        finish(put, &object, already_there, NULL);
}

static bool etag_is(const char *etag, const char *hex)
{
    size_t len = strlen(hex);
    return strlen(etag) == len + 2 && etag[0] == '"' && strncmp(etag + 1, hex, len) == 0;
}

bool s3_put_is_same(const struct s3_put *put, const struct s3_request *answer)
{
    char hex[33] = "";
    if (answer->content_length != put->on.size)
        return false;
    if (answer->sha256[0])
        return strcmp(answer->sha256, put->on.sha256) == 0;
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", put->piece_md5[i]);
    return !in_parts(put) && etag_is(answer->etag, hex);
}

void s3_put_conflict(struct s3_put *put)
{
    struct ls_error err;
    const struct s3_request *r = &put->request;
    const struct s3_config *c = &put->store->config;
    error_set(&err, "CONFLICT",
              "s3://%s/%s%.150s is there already with another content: %" PRIu64 " bytes%s%s, not %" PRIu64 " with %s",
              c->bucket, c->prefix, put->on.key, r->content_length,
              r->sha256[0] ? ", SHA-256 " : ", no SHA-256 to compare", r->sha256, put->on.size, put->on.sha256);
    s3_put_fail(put, &err);
}

/* Deleted meanwhile, or the store is slow to show it: it may be tried again. */
void s3_put_gone(struct s3_put *put)
{
    struct ls_error err;
    error_set(&err, "BUSY", "s3://%s/%s%.150s was there a moment ago, and is not now; does somebody delete it?",
              put->store->config.bucket, put->store->config.prefix, put->on.key);
    s3_put_fail(put, &err);
}

/* ---- looking ---- */

void s3_put_look(struct s3_put *put, void (*next)(struct s3_request *request))
{
    s3_request_init(&put->request, put->store, "HEAD", put->on.key, NULL);
    put->request.arg = put;
    put->request.end = next;
    s3_request_send(&put->request);
}

static void on_verified(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    struct ls_error err;
    bool hash_right =
        r->sha256[0] ? strcmp(r->sha256, put->on.sha256) == 0 : put->etag[0] && strcmp(r->etag, put->etag) == 0;
    if (!s3_request_done(r) && r->status != 404) {
        s3_put_fail_request(put, r);
    } else if (r->status == 404) {
        s3_put_gone(put);
    } else if (r->content_length != put->on.size || !hash_right) {
        error_set(&err, "CORRUPT",
                  "s3://%s/%s%.150s was stored, but the store now has another content there: %" PRIu64 " bytes of %" PRIu64
                  "; did another writer replace it?",
                  put->store->config.bucket, put->store->config.prefix, put->on.key, r->content_length, put->on.size);
        s3_put_fail(put, &err);
    } else {
        s3_put_is_there(put, false);
    }
}

void s3_put_verify(struct s3_put *put)
{
    s3_put_look(put, on_verified);
}

/* ---- in one piece ---- */

static void send_single(struct s3_put *put);

static void on_taken(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (r->status == 404)
        s3_put_gone(put);
    else if (!s3_request_done(r))
        s3_put_fail_request(put, r);
    else if (s3_put_is_same(put, r))
        s3_put_is_there(put, true);
    else
        s3_put_conflict(put);
}

/* The first answer was lost, so the object may be ours. */
static void on_taken_after_retry(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (s3_request_done(r) && s3_put_is_same(put, r))
        s3_put_is_there(put, false);
    else
        on_taken(r);
}

static void on_key_free(struct s3_request *r)
{
    if (r->status == 404)
        send_single(r->arg);
    else
        on_taken(r);
}

static void on_sent(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (s3_request_done(r)) {
        snprintf(put->etag, sizeof put->etag, "%s", r->etag);
        snprintf(put->version_id, sizeof put->version_id, "%s", r->version_id);
        s3_put_verify(put);
    } else if (r->status == 412 && !put->on.replace) {
        s3_put_look(put, r->tries > 1 ? on_taken_after_retry : on_taken);
    } else if (r->status == 501 && !put->on.replace && put->store->conditional == 1) {
        put->store->conditional = 0; /* one server of several may be older */
        s3_put_look(put, on_key_free);
    } else {
        s3_put_fail_request(put, r);
    }
}

void s3_put_object_headers(const struct s3_put *put, struct s3_request *request)
{
    const char *encryption = put->store->config.encryption;
    s3_request_header(request, "Content-Type", put->on.content_type);
    s3_request_header(request, S3_META_SHA256, put->on.sha256);
    if (encryption)
        s3_request_header(request, "x-amz-server-side-encryption", encryption);
}

static void send_single(struct s3_put *put)
{
    struct s3_request *r = &put->request;
    s3_request_init(r, put->store, "PUT", put->on.key, NULL);
    s3_put_object_headers(put, r);
    s3_put_md5_header(put, r);
    if (!put->on.replace && put->store->conditional == 1)
        s3_request_header(r, "If-None-Match", "*");
    r->fd = put->fd;
    r->size = put->on.size;
    snprintf(r->payload, sizeof r->payload, "%s", put->on.sha256);
    r->arg = put;
    r->end = on_sent;
    s3_request_send(r);
}

static void on_hashed(struct s3_put *put)
{
    if (!s3_put_whole_is_right(put))
        return;
    if (!put->on.replace && put->store->conditional == 0)
        s3_put_look(put, on_key_free);
    else
        send_single(put);
}

/* ---- beginning and end ---- */

/* Both go on inside objstore_run: beginning may fail, and then `end` is called. */
static void go(struct s3_put *put)
{
    if (in_parts(put))
        s3_put_hash(put, 0, s3_parts_begin);
    else
        s3_put_hash(put, put->on.size, on_hashed);
}

static void on_stop(struct objstore_op *op);
static void on_free(struct objstore_op *op);

static struct s3_put *find_waiting(struct s3_store *store)
{
    struct objstore_op *op;
    LIST_FOREACH(op, &store->head.ops, link)
    {
        struct s3_put *put = (struct s3_put *) (void *) op;
        if (put->op.stop == on_stop && put->finding_out)
            return put;
    }
    return NULL;
}

void s3_put_probed(struct s3_store *store, const struct ls_error *err)
{
    struct s3_put *put;
    while ((put = find_waiting(store))) { /* looked for anew: callbacks may cancel others */
        put->finding_out = false;
        if (err)
            s3_put_fail(put, err);
        else
            go(put);
    }
}

/* From 16 MiB on in parts, unless the options say otherwise; so large that they are not too many. What was begun in parts goes on so. */
static void plan_parts(struct s3_put *put)
{
    uint64_t size = put->on.size,
             part = put->store->config.part_bytes ? (uint64_t) put->store->config.part_bytes : PART_BYTES;
    if (size < part && !(put->journal.upload && size))
        return;
    uint64_t least = (size + PARTS_WANTED - 1) / PARTS_WANTED;
    if (least > part)
        part = (least + (1u << 20) - 1) >> 20 << 20;
    put->part_bytes = part;
    put->part_count = (unsigned) ((size + part - 1) / part);
}

static int open_file(struct s3_put *put, struct ls_error *err)
{
    struct stat st;
    put->fd = open(put->on.file, O_RDONLY | O_CLOEXEC);
    if (put->fd < 0 || fstat(put->fd, &st) < 0) {
        int number = errno;
        error_set(err, "SYSTEM", "cannot read %s: %s", put->on.file, strerror(number));
        err->again = number == EMFILE || number == ENFILE || number == ENOMEM;
        return -1;
    }
    if ((uint64_t) st.st_size != put->on.size)
        return error_set(err, "BAD_VALUE", "%s has %lld bytes, not the %" PRIu64 " that are to be stored", put->on.file,
                         (long long) st.st_size, put->on.size);
    return 0;
}

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

struct objstore_op *s3_put_begin(struct objstore *store, const struct objstore_put *options, struct ls_error *err)
{
    struct s3_put *put = xcalloc(1, sizeof *put);
    put->op = (struct s3_op){.stop = on_stop, .free = on_free};
    put->store = (struct s3_store *) (void *) store;
    put->on = *options;
    put->on.key = copy(options->key);
    put->on.file = copy(options->file);
    put->on.content_type = copy(options->content_type);
    put->on.journal = copy(options->journal);
    put->journal.fd = -1;
    put->fd = -1;
    if (open_file(put, err) < 0 || s3_journal_load(&put->journal, put->on.journal, err) < 0) {
        on_free(&put->op.head);
        return NULL;
    }
    plan_parts(put);
    objstore_op_begin(&put->op.head, store);
    put->finding_out = !put->on.replace && put->store->conditional < 0;
    if (put->finding_out)
        s3_probe_begin(put->store);
    else
        go(put);
    return &put->op.head;
}

static void on_stop(struct objstore_op *op)
{
    struct s3_put *put = (struct s3_put *) (void *) op;
    s3_put_hash_stop(put);
    s3_request_stop(&put->request);
    s3_parts_stop(put);
}

static void on_free(struct objstore_op *op)
{
    struct s3_put *put = (struct s3_put *) (void *) op;
    const char *const texts[] = {put->on.key, put->on.file, put->on.content_type, put->on.journal};
    EVP_MD_CTX_free(put->whole);
    EVP_MD_CTX_free(put->piece);
    EVP_MD_CTX_free(put->md5);
    if (put->fd >= 0)
        close(put->fd);
    for (unsigned i = 0; put->etags && i < put->part_count; i++)
        free(put->etags[i]);
    free(put->etags);
    free(put->slots);
    s3_strays_free(put);
    s3_journal_fini(&put->journal);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free((void *) (uintptr_t) texts[i]);
    free(put);
}
