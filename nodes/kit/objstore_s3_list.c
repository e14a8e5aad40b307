/* SPDX-License-Identifier: Apache-2.0 */
/* Listing keys by ListObjectsV2. A page of the store is put into byte order (it tells keys and folders apart), and what is not after
 * `after` is left out: stores differ in whether a folder that was the last one is told again. */
#include "nodes/kit/objstore_s3.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define PAGE_MAX 1000
#define ANSWER_BYTES_MAX (16u << 20) /* 1,000 keys of 1,024 bytes, each byte as %XX, are 3 MiB */

struct entry {
    char *key; /* as S3 tells it, then within the prefix */
    bool folder;
    uint64_t size;
    int64_t modified_ms;
    char etag[128];
};

struct s3_list {
    struct s3_op op;
    struct objstore_list on; /* prefix, after: copies */
    struct s3_request request;
    size_t told;
    char *last; /* the key told last */
    /* The page. */
    struct entry *entries;
    size_t count, room;
    struct entry now; /* being read */
    bool is_list, encoded, more;
    char *token; /* of the next page */
};

static void ask(struct s3_list *list);

static struct s3_config *config_of(const struct s3_list *list)
{
    return &((struct s3_store *) (void *) list->op.head.store)->config;
}

static void page_fini(struct s3_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->entries[i].key);
    free(list->now.key);
    list->now = (struct entry){0};
    list->count = 0;
}

static void finish(struct s3_list *list, bool more, const struct ls_error *err)
{
    objstore_op_over(&list->op.head);
    list->on.end(list->on.arg, more, err);
}

/* ---- reading a page ---- */

static void add(struct s3_list *list)
{
    list->entries = xgrow(list->entries, &list->room, list->count + 1, sizeof *list->entries);
    list->entries[list->count++] = list->now;
    list->now = (struct entry){0};
}

static void take_key(struct s3_list *list, const char *text)
{
    free(list->now.key);
    list->now.key = xstrdup(text);
}

static void on_element(void *arg, const char *path, const char *text)
{
    struct s3_list *list = arg;
    static const char ROOT[] = "ListBucketResult/";
    if (strcmp(path, "ListBucketResult") == 0)
        list->is_list = true;
    if (strncmp(path, ROOT, sizeof ROOT - 1) != 0)
        return;
    path += sizeof ROOT - 1;
    if (strcmp(path, "Contents/Key") == 0 || strcmp(path, "CommonPrefixes/Prefix") == 0)
        take_key(list, text);
    else if (strcmp(path, "Contents/Size") == 0)
        list->now.size = strtoull(text, NULL, 10);
    else if (strcmp(path, "Contents/ETag") == 0)
        snprintf(list->now.etag, sizeof list->now.etag, "%s", text);
    else if (strcmp(path, "Contents/LastModified") == 0)
        list->now.modified_ms = s3_time_ms(text);
    else if (strcmp(path, "EncodingType") == 0)
        list->encoded = strcmp(text, "url") == 0;
    else if (strcmp(path, "IsTruncated") == 0)
        list->more = strcmp(text, "true") == 0;
    else if (strcmp(path, "NextContinuationToken") == 0 && !list->token)
        list->token = xstrdup(text);
    list->now.folder = strcmp(path, "CommonPrefixes") == 0;
    if ((list->now.folder || strcmp(path, "Contents") == 0) && list->now.key)
        add(list);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct entry *) a)->key, ((const struct entry *) b)->key);
}

/* ---- telling it ---- */

/* Keys that end in "/" are marks that consoles leave for empty folders. */
static bool is_wanted(const struct s3_list *list, const struct entry *e)
{
    size_t len = strlen(e->key);
    bool behind =
        (!list->last || strcmp(e->key, list->last) > 0) && (!list->on.after || strcmp(e->key, list->on.after) > 0);
    return len && behind && (e->folder || e->key[len - 1] != '/');
}

static void tell_entry(struct s3_list *list, const struct entry *e)
{
    struct objstore_object object = {.key = e->key, .size = e->size, .modified_ms = e->modified_ms};
    snprintf(object.etag, sizeof object.etag, "%s", e->etag);
    snprintf(object.content_type, sizeof object.content_type, "%s", objstore_content_type(e->key));
    free(list->last);
    list->last = xstrdup(e->key);
    list->told++;
    list->on.entry(list->on.arg, e->key, e->folder ? NULL : &object);
}

/* True: the caller's page is full, and something is left of ours. */
static bool tell_page(struct s3_list *list)
{
    size_t prefix = strlen(config_of(list)->prefix);
    for (size_t i = 0; i < list->count; i++) {
        struct entry *e = &list->entries[i];
        size_t len;
        if (list->encoded)
            uri_decode(e->key, strlen(e->key), true, NULL); /* as in a form: Amazon writes a blank as "+" */
        len = strlen(e->key);
        memmove(e->key, e->key + (prefix < len ? prefix : len), len - (prefix < len ? prefix : len) + 1);
    }
    if (list->count)
        qsort(list->entries, list->count, sizeof *list->entries, by_key);
    for (size_t i = 0; i < list->count && !list->op.head.over; i++) {
        if (!is_wanted(list, &list->entries[i]))
            continue;
        if (list->told == list->on.max)
            return true;
        tell_entry(list, &list->entries[i]);
    }
    return false;
}

static void on_page(struct s3_request *r)
{
    struct s3_list *list = r->arg;
    struct ls_error err;
    if (!s3_request_done(r)) {
        s3_request_error(r, "cannot list", list->on.prefix, &err);
        finish(list, false, &err);
        return;
    }
    list->is_list = list->more = list->encoded = false;
    free(list->token);
    list->token = NULL;
    if (s3_request_read(r, on_element, list, &err) < 0) {
        error_wrap(&err, "cannot list s3://%s", config_of(list)->bucket);
        finish(list, false, &err);
        return;
    }
    if (!list->is_list) {
        error_set(&err, "PROTOCOL", "cannot list s3://%s: what %s answered is no list of objects; is it an S3 server?",
                  config_of(list)->bucket, config_of(list)->endpoint);
        finish(list, false, &err);
        return;
    }
    bool left = tell_page(list);
    page_fini(list);
    if (list->op.head.over)
        return;
    if (left || list->told == list->on.max || !list->more || !list->token)
        finish(list, left || (list->more && list->token), NULL);
    else
        ask(list);
}

/* One more than is missing, as the store may tell once more what was the last. */
static void ask(struct s3_list *list)
{
    const char *prefix = config_of(list)->prefix;
    size_t missing = list->on.max - list->told + 1;
    char *whole = xasprintf("%s%s", prefix, list->on.prefix);
    char *after = list->on.after && !list->token ? xasprintf("%s%s", prefix, list->on.after) : NULL;
    char count[16];
    struct sigv4_pair pairs[8] = {{"list-type", "2"}, {"encoding-type", "url"}, {"max-keys", count}, {"prefix", whole}};
    size_t n = 4;
    snprintf(count, sizeof count, "%zu", missing < PAGE_MAX ? missing : PAGE_MAX);
    if (!list->on.recursive)
        pairs[n++] = (struct sigv4_pair){"delimiter", "/"};
    if (list->token)
        pairs[n++] = (struct sigv4_pair){"continuation-token", list->token};
    else if (after)
        pairs[n++] = (struct sigv4_pair){"start-after", after};
    s3_request_init(&list->request, (struct s3_store *) (void *) list->op.head.store, "GET", NULL, pairs);
    list->request.answer_max = ANSWER_BYTES_MAX;
    list->request.arg = list;
    list->request.end = on_page;
    s3_request_send(&list->request);
    free(after);
    free(whole);
}

/* ---- beginning and end ---- */

static void on_stop(struct objstore_op *op)
{
    s3_request_stop(&((struct s3_list *) (void *) op)->request);
}

static void on_free(struct objstore_op *op)
{
    struct s3_list *list = (struct s3_list *) (void *) op;
    page_fini(list);
    free(list->entries);
    free(list->token);
    free(list->last);
    free((void *) (uintptr_t) list->on.prefix);
    free((void *) (uintptr_t) list->on.after);
    free(list);
}

struct objstore_op *s3_list_begin(struct objstore *store, const struct objstore_list *options, struct ls_error *err)
{
    struct s3_list *list = xcalloc(1, sizeof *list);
    (void) err;
    list->op = (struct s3_op){.stop = on_stop, .free = on_free};
    list->on = *options;
    list->on.prefix = xstrdup(options->prefix);
    list->on.after = options->after ? xstrdup(options->after) : NULL;
    objstore_op_begin(&list->op.head, store);
    ask(list);
    return &list->op.head;
}
