/* SPDX-License-Identifier: Apache-2.0 */
/* What both stores have in common: which driver an URL means, what may be a key, which operations are under way and who frees
 * them. The work is the drivers': objstore_file.c, objstore_s3.c. */
#include "nodes/kit/objstore.h"

#include <stdlib.h>
#include <strings.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "nodes/kit/objstore_private.h"

#define KEY_BYTES_MAX 1024
#define PAGE_DEFAULT 1000

static const struct objstore_driver *const DRIVERS[] = {&OBJSTORE_FILE, &OBJSTORE_S3, NULL};

static const struct objstore_driver *driver_of(const char *url, struct ls_error *err)
{
    for (size_t i = 0; url && DRIVERS[i]; i++)
        if (strncmp(url, DRIVERS[i]->scheme, strlen(DRIVERS[i]->scheme)) == 0)
            return DRIVERS[i];
    error_set(err, "BAD_VALUE", "\"%.200s\" is no store: write file:DIR, s3://BUCKET or s3://BUCKET/PREFIX", url ? url : "");
    return NULL;
}

int objstore_check(const char *url, struct ls_error *err)
{
    const struct objstore_driver *driver = driver_of(url, err);
    return driver ? driver->check(url, err) : -1;
}

struct objstore *objstore_open(const struct objstore_options *options, struct ls_error *err)
{
    const struct objstore_driver *driver = driver_of(options->url, err);
    if (!driver || driver->check(options->url, err))
        return NULL;
    struct objstore *store = driver->open(options, err);
    if (!store)
        return NULL;
    store->driver = driver;
    LIST_INIT(&store->ops);
    LIST_INIT(&store->over);
    return store;
}

int objstore_fd(const struct objstore *store)
{
    return store->driver->fd(store);
}

int64_t objstore_due(const struct objstore *store)
{
    return store->driver->due(store);
}

/* ---- operations ---- */

void objstore_op_begin(struct objstore_op *op, struct objstore *store)
{
    op->store = store;
    LIST_INSERT_HEAD(&store->ops, op, link);
}

void objstore_op_over(struct objstore_op *op)
{
    if (op->over)
        return;
    op->over = true;
    op->store->driver->stop(op);
    LIST_REMOVE(op, link);
    LIST_INSERT_HEAD(&op->store->over, op, link);
}

static void free_over(struct objstore *store)
{
    struct objstore_op *op;
    while ((op = LIST_FIRST(&store->over)) != NULL) {
        LIST_REMOVE(op, link);
        store->driver->free(op);
    }
}

void objstore_cancel(struct objstore_op **op)
{
    if (!*op)
        return;
    struct objstore *store = (*op)->store;
    objstore_op_over(*op);
    if (!store->running)
        free_over(store);
    *op = NULL;
}

void objstore_run(struct objstore *store)
{
    store->running = true;
    store->driver->run(store);
    store->running = false;
    free_over(store);
}

void objstore_close(struct objstore **store)
{
    if (!*store)
        return;
    while (!LIST_EMPTY(&(*store)->ops))
        objstore_op_over(LIST_FIRST(&(*store)->ops));
    free_over(*store);
    (*store)->driver->close(*store);
    *store = NULL;
}

void objstore_pause(struct objstore_op *op)
{
    if (op->paused || op->over)
        return;
    op->paused = true;
    op->store->driver->resume(op);
}

void objstore_resume(struct objstore_op *op)
{
    if (!op->paused || op->over)
        return;
    op->paused = false;
    op->store->driver->resume(op);
}

/* ---- keys ---- */

/* The byte at which the text is no UTF-8, or holds a control character; its length if all is well. */
static size_t clean_bytes(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint32_t code;
        size_t size = utf8_next((const uint8_t *) text + at, len - at, &code);
        if (!size || code < 0x20 || (code >= 0x7f && code < 0xa0))
            break;
        at += size;
    }
    return at;
}

int objstore_key_check(const char *key, struct ls_error *err)
{
    size_t len = key ? strlen(key) : 0;
    if (!len)
        return error_set(err, "BAD_VALUE", "the key is empty: write a path such as models/a.bin");
    if (len > KEY_BYTES_MAX)
        return error_set(err, "BAD_VALUE", "the key has %zu bytes; at most %d fit into a store", len, KEY_BYTES_MAX);
    size_t clean = clean_bytes(key, len);
    if (clean < len)
        return error_set(err, "BAD_VALUE", "the key is not plain UTF-8: byte %zu is a control character or malformed", clean + 1);
    for (const char *at = key; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL) {
        size_t segment = strcspn(at, "/");
        if (!segment)
            return error_set(err, "BAD_VALUE", "the key \"%.200s\" has an empty part: no slash at the start or end, none twice", key);
        if (at[0] == '.' && (segment == 1 || (segment == 2 && at[1] == '.')))
            return error_set(err, "BAD_VALUE", "the key \"%.200s\" has the part \"%.*s\", which means another folder", key,
                             (int) segment, at);
    }
    return 0;
}

char *objstore_uri(const struct objstore *store, const char *key)
{
    return store->driver->uri(store, key);
}

int objstore_conditional(const struct objstore *store)
{
    return store->driver->conditional(store);
}

int objstore_file(struct objstore *store, const char *key, struct objstore_object *object, struct ls_error *err)
{
    if (objstore_key_check(key, err))
        return -1;
    return store->driver->file(store, key, object, err);
}

/* ---- beginning operations ---- */

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

struct objstore_op *objstore_put(struct objstore *store, const struct objstore_put *put, struct ls_error *err)
{
    struct objstore_put whole = *put;
    if (objstore_key_check(put->key, err))
        return NULL;
    if (!is_sha256(put->sha256)) {
        error_set(err, "BAD_VALUE", "%.200s: the sha256 of the content is not 64 lower-case hex digits", put->key);
        return NULL;
    }
    if (!whole.content_type || !whole.content_type[strspn(whole.content_type, " \t")])
        whole.content_type = objstore_content_type(put->key);
    return store->driver->put(store, &whole, err);
}

void objstore_abandon(struct objstore *store, const char *key, const char *journal)
{
    store->driver->abandon(store, key, journal);
}

struct objstore_op *objstore_get(struct objstore *store, const struct objstore_get *get, struct ls_error *err)
{
    return objstore_key_check(get->key, err) ? NULL : store->driver->get(store, get, err);
}

struct objstore_op *objstore_list(struct objstore *store, const struct objstore_list *list, struct ls_error *err)
{
    struct objstore_list whole = *list;
    if (!whole.prefix)
        whole.prefix = "";
    if (!whole.max)
        whole.max = PAGE_DEFAULT;
    if (strlen(whole.prefix) > KEY_BYTES_MAX) {
        error_set(err, "BAD_VALUE", "the prefix has more than %d bytes: no key is so long", KEY_BYTES_MAX);
        return NULL;
    }
    return store->driver->list(store, &whole, err);
}

struct objstore_op *objstore_delete(struct objstore *store, const char *key, objstore_deleted_fn *end, void *arg, struct ls_error *err)
{
    return objstore_key_check(key, err) ? NULL : store->driver->remove(store, key, end, arg, err);
}

void objstore_prune(struct objstore *store, const char *key)
{
    if (store->driver->prune && objstore_key_check(key, NULL) == 0)
        store->driver->prune(store, key);
}

/* ---- content types ---- */

static const struct {
    const char *suffix, *type;
} TYPES[] = {
    {"txt", "text/plain"}, {"log", "text/plain"}, {"md", "text/markdown"}, {"csv", "text/csv"},
    {"tsv", "text/tab-separated-values"}, {"html", "text/html"}, {"htm", "text/html"}, {"css", "text/css"},
    {"js", "text/javascript"}, {"py", "text/x-python"}, {"xml", "text/xml"}, {"json", "application/json"},
    {"jsonl", "application/jsonl"}, {"ipynb", "application/x-ipynb+json"}, {"yaml", "application/yaml"}, {"yml", "application/yaml"},
    {"pdf", "application/pdf"}, {"zip", "application/zip"}, {"tar", "application/x-tar"}, {"gz", "application/gzip"},
    {"wasm", "application/wasm"}, {"parquet", "application/vnd.apache.parquet"}, {"png", "image/png"}, {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"}, {"gif", "image/gif"}, {"svg", "image/svg+xml"}, {"webp", "image/webp"},
    {"wav", "audio/wav"}, {"mp3", "audio/mpeg"}, {"mp4", "video/mp4"}, {"webm", "video/webm"},
};

const char *objstore_content_type(const char *key)
{
    const char *slash = strrchr(key, '/'), *dot = strrchr(slash ? slash : key, '.');
    for (size_t i = 0; dot && i < sizeof TYPES / sizeof *TYPES; i++)
        if (strcasecmp(dot + 1, TYPES[i].suffix) == 0)
            return TYPES[i].type;
    return "application/octet-stream";
}
