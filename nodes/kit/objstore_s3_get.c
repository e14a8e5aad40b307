/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an object: a GET that goes on where it broke off, of the same version (If-Match), and a hash over what was read wholly. */
#include "nodes/kit/objstore_s3.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"

struct s3_get {
    struct s3_op op;
    struct objstore_get on; /* key: a copy */
    struct s3_request request;
    bool found;
    bool unsized; /* the store does not say how large it is: half an object could not be told from a whole one */
    uint64_t want, done; /* bytes; want is known when found */
    uint64_t skip;       /* of this answer: the store gave more than was asked for */
    char etag[128];
    char sha256[65]; /* of all of it, to be checked; "": it is not known, or only a part is read */
    EVP_MD_CTX *hash;
};

static void ask(struct s3_get *get, const char *method);

static void finish(struct s3_get *get, const struct ls_error *err)
{
    struct ls_error copy = err ? *err : (struct ls_error){0};
    objstore_op_over(&get->op.head);
    get->on.end(get->on.arg, err ? &copy : NULL);
}

/* Of an open range as of a closed one: from where we are. */
static void set_range(struct s3_get *get, struct s3_request *r)
{
    uint64_t from = get->on.offset + get->done;
    char text[64];
    if (get->on.length > 0)
        snprintf(text, sizeof text, "bytes=%" PRIu64 "-%" PRIu64, from, get->on.offset + (uint64_t) get->on.length - 1);
    else
        snprintf(text, sizeof text, "bytes=%" PRIu64 "-", from);
    if (from || get->on.length > 0)
        s3_request_header(r, "Range", text);
    if (get->etag[0])
        s3_request_header(r, "If-Match", get->etag);
}

static void on_again(struct s3_request *r)
{
    sigv4_headers_fini(&r->more);
    set_range(r->arg, r);
}

static void on_found(struct s3_request *r)
{
    struct s3_get *get = r->arg;
    struct objstore_object object;
    uint64_t left = r->content_length > get->on.offset ? r->content_length - get->on.offset : 0;
    get->skip = r->status == 206 ? 0 : get->on.offset + get->done;
    if (get->op.head.paused)
        http_call_pause(r->call);
    get->unsized = !r->sized;
    if (get->found || get->unsized)
        return;
    get->found = true;
    get->want = get->on.length >= 0 && (uint64_t) get->on.length < left ? (uint64_t) get->on.length : left;
    snprintf(get->etag, sizeof get->etag, "%s", r->etag);
    if (get->want && get->want == r->content_length && r->sha256[0]) {
        snprintf(get->sha256, sizeof get->sha256, "%s", r->sha256);
        get->hash = EVP_MD_CTX_new();
        EVP_DigestInit_ex(get->hash, EVP_sha256(), NULL);
    }
    s3_object_read(r, get->on.key, &object);
    if (get->on.found)
        get->on.found(get->on.arg, &object);
}

static bool on_data(struct s3_request *r, struct ls_slice bytes)
{
    struct s3_get *get = r->arg;
    if (get->unsized)
        return false;
    size_t skipped = get->skip < bytes.len ? (size_t) get->skip : bytes.len;
    get->skip -= skipped;
    bytes.data += skipped;
    bytes.len -= skipped;
    if (bytes.len > get->want - get->done)
        bytes.len = (size_t) (get->want - get->done);
    if (!bytes.len)
        return true;
    get->done += bytes.len;
    r->tries = 1; /* what moves is not given up */
    if (get->hash)
        EVP_DigestUpdate(get->hash, bytes.data, bytes.len);
    get->on.data(get->on.arg, bytes);
    return true;
}

/* All of it came: is it what was put? */
static bool is_right(struct s3_get *get, struct ls_error *err)
{
    uint8_t digest[32];
    char hex[SIGV4_HEX_SIZE] = "";
    if (get->done < get->want) {
        error_set(err, "CORRUPT", "of \"%.200s\" %" PRIu64 " bytes came, not %" PRIu64, get->on.key, get->done,
                  get->want);
        return false;
    }
    if (!get->hash)
        return true;
    EVP_DigestFinal_ex(get->hash, digest, NULL);
    sigv4_hex(digest, hex);
    if (strcmp(hex, get->sha256) != 0)
        error_set(err, "CORRUPT", "\"%.200s\" is not what was stored: its SHA-256 is %s, not %s", get->on.key, hex,
                  get->sha256);
    return strcmp(hex, get->sha256) == 0;
}

static void on_end(struct s3_request *r)
{
    struct s3_get *get = r->arg;
    struct ls_error err;
    if (get->unsized) {
        error_set(&err, "SYSTEM", "the store at %s does not tell the size of \"%.200s\" (Content-Length); does something between "
                                  "change its answers?", r->store->config.endpoint, get->on.key);
        finish(get, &err);
    } else if (s3_request_done(r)) {
        bool head_only = strcmp(r->method, "HEAD") == 0;
        finish(get, head_only || is_right(get, &err) ? NULL : &err);
    } else if (r->status == 416 && !get->found) {
        ask(get, "HEAD"); /* the range begins behind the end: nothing but what it is */
    } else if (r->status == 412 && get->found) {
        error_set(&err, "CORRUPT", "\"%.200s\" was replaced while it was read; read it again", get->on.key);
        finish(get, &err);
    } else {
        s3_request_error(r, "cannot read", get->on.key, &err);
        finish(get, &err);
    }
}

static void ask(struct s3_get *get, const char *method)
{
    struct s3_request *r = &get->request;
    bool head_only = strcmp(method, "HEAD") == 0;
    s3_request_init(r, (struct s3_store *) (void *) get->op.head.store, method, get->on.key, NULL);
    if (!head_only)
        set_range(get, r);
    r->arg = get;
    r->found = on_found;
    r->data = head_only ? NULL : on_data;
    r->again = head_only ? NULL : on_again;
    r->end = on_end;
    s3_request_send(r);
}

static void on_stop(struct objstore_op *op)
{
    s3_request_stop(&((struct s3_get *) (void *) op)->request);
}

static void on_free(struct objstore_op *op)
{
    struct s3_get *get = (struct s3_get *) (void *) op;
    EVP_MD_CTX_free(get->hash);
    free((void *) (uintptr_t) get->on.key);
    free(get);
}

static void on_resume(struct objstore_op *op)
{
    struct s3_get *get = (struct s3_get *) (void *) op;
    if (!get->request.call)
        return;
    if (op->paused)
        http_call_pause(get->request.call);
    else
        http_call_resume(get->request.call);
}

struct objstore_op *s3_get_begin(struct objstore *store, const struct objstore_get *options, struct ls_error *err)
{
    struct s3_get *get = xcalloc(1, sizeof *get);
    (void) err;
    get->op = (struct s3_op){.stop = on_stop, .free = on_free, .resume = on_resume};
    get->on = *options;
    get->on.key = xstrdup(options->key);
    objstore_op_begin(&get->op.head, store);
    ask(get, options->length == 0 ? "HEAD" : "GET");
    return &get->op.head;
}
