/* SPDX-License-Identifier: Apache-2.0 */
/* An upload in parts: begun or found again by its journal, several parts at a time, completed when the hash of the whole file is
 * right. A completion whose answer was lost is recognised by the object that is there. */
#include "nodes/kit/objstore_s3_put.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define RESTARTS_MAX 3
#define PARTS_MAX 10000
#define COMPLETE_MS (15 * 60000) /* the store puts the parts together first */
#define ANSWER_BYTES_MAX (4u << 20)

static void create(struct s3_put *put);
static void fill_slots(struct s3_put *put);

static uint64_t part_offset(const struct s3_put *put, unsigned number)
{
    return (number - 1) * put->part_bytes;
}

static uint64_t part_size(const struct s3_put *put, unsigned number)
{
    uint64_t left = put->on.size - part_offset(put, number);
    return left < put->part_bytes ? left : put->part_bytes;
}

/* A request with the upload's id, and the part's number unless it is 0. */
static void init_request(struct s3_put *put, struct s3_request *r, const char *method, unsigned number)
{
    char text[16];
    struct sigv4_pair pairs[] = {{"uploadId", put->journal.upload}, {number ? "partNumber" : NULL, text}, {NULL, NULL}};
    snprintf(text, sizeof text, "%u", number);
    s3_request_init(r, put->store, method, put->on.key, pairs);
    r->arg = put;
}

static void part_is_up(struct s3_put *put, unsigned number, const char *etag)
{
    put->etags[number - 1] = xstrdup(etag);
    put->up++;
    put->reached += part_size(put, number);
}

static void tell_progress(struct s3_put *put)
{
    if (put->on.progress)
        put->on.progress(put->on.arg, put->reached);
}

/* ---- giving up, and beginning anew ---- */

/* The store knows the id no more. */
static void drop_upload(struct s3_put *put)
{
    free(put->journal.upload);
    put->journal.upload = NULL;
}

void s3_parts_stop(struct s3_put *put)
{
    for (int i = 0; put->slots && i < put->store->config.parallel; i++)
        s3_request_stop(&put->slots[i].request);
    if (put->journal.upload && !put->on.journal)
        s3_parts_forget(put);
}

void s3_parts_forget(struct s3_put *put)
{
    if (put->journal.upload)
        s3_errand_delete(put->store, put->on.key, put->journal.upload);
    drop_upload(put);
    s3_journal_remove(&put->journal);
}

/* The upload is lost; the file is sent again from its start. */
static void begin_anew(struct s3_put *put, const struct s3_request *why)
{
    put->doubtful = false;
    if (put->restarts++ == RESTARTS_MAX) {
        s3_put_fail_request(put, why);
        return;
    }
    logger_put(LEVEL_WARN, "s3.anew", "the store has forgotten an upload; it begins anew", "key=\"%s\" code=%s",
               put->on.key, why->code);
    for (int i = 0; i < put->store->config.parallel; i++) {
        s3_request_stop(&put->slots[i].request);
        put->slots[i].number = 0;
    }
    for (unsigned i = 0; i < put->part_count; i++) {
        free(put->etags[i]);
        put->etags[i] = NULL;
    }
    put->up = 0;
    put->reached = 0;
    s3_put_hash_stop(put);
    drop_upload(put);
    create(put);
}

/* ---- completing ---- */

static void complete(struct s3_put *put);

static void on_complete_element(void *arg, const char *path, const char *text)
{
    struct s3_put *put = arg;
    if (strcmp(path, "CompleteMultipartUploadResult/ETag") == 0)
        snprintf(put->etag, sizeof put->etag, "%s", text);
}

/* 404: the upload is gone. If our content is there, the answer that was lost said yes. */
static void on_look_after_loss(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (s3_request_done(r) && s3_put_is_same(put, r)) {
        drop_upload(put);
        s3_put_is_there(put, false);
    } else if (s3_request_done(r) && !put->on.replace) {
        s3_put_conflict(put);
    } else if (s3_request_done(r) || r->status == 404) {
        begin_anew(put, r);
    } else {
        s3_put_fail_request(put, r);
    }
}

static void on_look_after_412(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (r->status == 404) {
        s3_put_gone(put);
    } else if (!s3_request_done(r)) {
        s3_put_fail_request(put, r);
    } else if (s3_put_is_same(put, r)) {
        s3_parts_forget(put);
        s3_put_is_there(put, true);
    } else {
        s3_put_conflict(put);
    }
}

static void on_completed(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (s3_request_done(r)) {
        s3_request_read(r, on_complete_element, put, NULL); /* verified by looking, whatever it says */
        snprintf(put->version_id, sizeof put->version_id, "%s", r->version_id);
        drop_upload(put);
        s3_put_verify(put);
    } else if (r->status == 404) {
        s3_put_look(put, on_look_after_loss);
    } else if (r->status == 412 && !put->on.replace) {
        s3_put_look(put, r->tries > 1 ? on_look_after_loss : on_look_after_412);
    } else if (r->status == 409 && strcmp(r->code, "ConditionalRequestConflict") == 0) {
        s3_errand_delete(put->store, put->on.key, put->journal.upload);
        begin_anew(put, r);
    } else if (r->status == 501 && !put->on.replace && put->store->conditional == 1) {
        put->store->conditional = 0;
        complete(put);
    } else {
        s3_put_fail_request(put, r);
    }
}

static void send_complete(struct s3_put *put)
{
    struct s3_request *r = &put->request;
    struct ls_error err;
    if (s3_journal_complete(&put->journal, &err) < 0) {
        s3_put_fail(put, &err);
        return;
    }
    init_request(put, r, "POST", 0);
    s3_request_header(r, "Content-Type", "application/xml");
    if (!put->on.replace && put->store->conditional == 1)
        s3_request_header(r, "If-None-Match", "*");
    buf_addf(&r->body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (unsigned i = 0; i < put->part_count; i++) {
        buf_addf(&r->body, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
        s3_xml_escape(&r->body, put->etags[i]);
        buf_addf(&r->body, "</ETag></Part>");
    }
    buf_addf(&r->body, "</CompleteMultipartUpload>");
    r->first_byte_ms = COMPLETE_MS;
    r->end = on_completed;
    s3_request_send(r);
}

static void on_look_before_complete(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (r->status == 404)
        send_complete(put);
    else
        on_look_after_412(r);
}

/* Without conditions the key is looked at once more, right before. */
static void complete(struct s3_put *put)
{
    if (!put->on.replace && put->store->conditional == 0 && !put->journal.completing)
        s3_put_look(put, on_look_before_complete);
    else
        send_complete(put);
}

/* ---- parts ---- */

static void on_part(struct s3_request *r)
{
    struct s3_slot *slot = r->arg;
    struct s3_put *put = slot->put;
    unsigned number = slot->number;
    struct ls_error err;
    if (r->status == 404 && strcmp(r->code, "NoSuchUpload") == 0) {
        begin_anew(put, r);
        return;
    }
    if (!s3_request_done(r) || !r->etag[0]) {
        s3_put_fail_request(put, r);
        return;
    }
    if (s3_journal_part(&put->journal, number, r->etag, &err) < 0) {
        s3_put_fail(put, &err);
        return;
    }
    part_is_up(put, number, r->etag);
    slot->number = 0;
    tell_progress(put);
    if (!put->op.head.over)
        fill_slots(put);
}

static void send_part(struct s3_put *put, struct s3_slot *slot, unsigned number)
{
    struct s3_request *r = &slot->request;
    slot->put = put;
    slot->number = number;
    init_request(put, r, "PUT", number);
    s3_put_md5_header(put, r);
    r->fd = put->fd;
    r->offset = part_offset(put, number);
    r->size = part_size(put, number);
    snprintf(r->payload, sizeof r->payload, "%s", put->piece_sha256);
    r->arg = slot;
    r->end = on_part;
    s3_request_send(r);
}

static struct s3_slot *find_free(struct s3_put *put)
{
    for (int i = 0; i < put->store->config.parallel; i++)
        if (!put->slots[i].number)
            return &put->slots[i];
    return NULL;
}

/* The next part is hashed; one that is up already counts for the whole only. */
static void on_hashed(struct s3_put *put)
{
    unsigned number = put->next++;
    if (number == put->part_count && !s3_put_whole_is_right(put))
        return;
    if (!put->etags[number - 1])
        send_part(put, find_free(put), number);
    fill_slots(put);
}

static void fill_slots(struct s3_put *put)
{
    if (put->hashing)
        return;
    if (put->next > put->part_count && put->up == put->part_count)
        complete(put);
    else if (put->next <= put->part_count && find_free(put))
        s3_put_hash(put, part_offset(put, put->next) + part_size(put, put->next), on_hashed);
}

static void begin_parts(struct s3_put *put)
{
    put->next = 1;
    put->hashed = 0;
    fill_slots(put);
}

/* ---- beginning, or going on ---- */

static void on_create_element(void *arg, const char *path, const char *text)
{
    struct s3_put *put = arg;
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0 && *text && !put->journal.upload)
        put->journal.upload = xstrdup(text);
}

static void on_created(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    struct ls_error err;
    if (!s3_request_done(r)) {
        s3_put_fail_request(put, r);
        return;
    }
    s3_request_read(r, on_create_element, put, NULL);
    if (!put->journal.upload) {
        error_set(&err, "SYSTEM", "the store at %s began an upload for \"%.200s\" without an id",
                  put->store->config.endpoint, put->on.key);
        s3_put_fail(put, &err);
    } else if (s3_journal_upload(&put->journal, &err) < 0) {
        s3_errand_delete(put->store, put->on.key, put->journal.upload);
        drop_upload(put);
        s3_put_fail(put, &err);
    } else if (put->doubtful || r->tries > 1) {
        s3_strays_sweep(put, begin_parts);
    } else {
        begin_parts(put);
    }
}

static void create(struct s3_put *put)
{
    struct s3_request *r = &put->request;
    struct s3_journal *j = &put->journal;
    struct ls_error err;
    free(j->key);
    j->key = xstrdup(put->on.key);
    j->size = put->on.size;
    snprintf(j->sha256, sizeof j->sha256, "%s", put->on.sha256);
    j->part_bytes = put->part_bytes;
    j->completing = false;
    if (!put->doubtful)
        j->creating_ms = clock_wall_us() / 1000;
    if (s3_journal_begin(j, &err) < 0) {
        s3_put_fail(put, &err);
        return;
    }
    s3_request_init(r, put->store, "POST", put->on.key, (const struct sigv4_pair[]){{"uploads", ""}, {NULL, NULL}});
    s3_put_object_headers(put, r);
    r->arg = put;
    r->end = on_created;
    s3_request_send(r);
}

static void on_free(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    if (r->status == 404)
        create(put);
    else
        on_look_after_412(r);
}

/* Looking first costs little against gigabytes that are sent in vain. */
static void begin(struct s3_put *put)
{
    if (put->on.replace)
        create(put);
    else
        s3_put_look(put, on_free);
}

/* ---- what is up already ---- */

struct listed {
    struct s3_put *put;
    unsigned number;
    uint64_t size;
    char etag[128];
};

static void on_list_element(void *arg, const char *path, const char *text)
{
    struct listed *l = arg;
    struct s3_put *put = l->put;
    if (strcmp(path, "ListPartsResult/Part/PartNumber") == 0)
        l->number = (unsigned) strtoul(text, NULL, 10);
    else if (strcmp(path, "ListPartsResult/Part/Size") == 0)
        l->size = strtoull(text, NULL, 10);
    else if (strcmp(path, "ListPartsResult/Part/ETag") == 0)
        snprintf(l->etag, sizeof l->etag, "%s", text);
    else if (strcmp(path, "ListPartsResult/IsTruncated") == 0)
        put->list_more = strcmp(text, "true") == 0;
    if (strcmp(path, "ListPartsResult/Part") != 0)
        return;
    bool ours = l->number >= 1 && l->number <= put->part_count;
    if (ours && !put->etags[l->number - 1] && l->etag[0] && l->size == part_size(put, l->number))
        part_is_up(put, l->number, l->etag);
    if (l->number > put->listed_to)
        put->listed_to = l->number;
    *l = (struct listed){.put = put};
}

static void list_parts(struct s3_put *put);

static void on_listed(struct s3_request *r)
{
    struct s3_put *put = r->arg;
    struct listed listed = {.put = put};
    struct ls_error err;
    unsigned before = put->listed_to;
    put->list_more = false;
    if (r->status == 404) { /* swept away, or completed */
        if (put->journal.completing) {
            s3_put_look(put, on_look_after_loss);
        } else {
            drop_upload(put);
            begin(put);
        }
        return;
    }
    if (!s3_request_done(r)) {
        s3_put_fail_request(put, r);
    } else if (s3_request_read(r, on_list_element, &listed, &err) < 0) {
        error_wrap(&err, "cannot go on with the upload of \"%.200s\"", put->on.key);
        s3_put_fail(put, &err);
    } else if (put->list_more && put->listed_to > before) {
        list_parts(put);
    } else {
        tell_progress(put);
        if (!put->op.head.over)
            s3_strays_sweep(put, begin_parts);
    }
}

static void list_parts(struct s3_put *put)
{
    struct s3_request *r = &put->request;
    char marker[16];
    snprintf(marker, sizeof marker, "%u", put->listed_to);
    struct sigv4_pair pairs[] = {
        {"uploadId", put->journal.upload}, {put->listed_to ? "part-number-marker" : NULL, marker}, {NULL, NULL}};
    s3_request_init(r, put->store, "GET", put->on.key, pairs);
    r->answer_max = ANSWER_BYTES_MAX;
    r->arg = put;
    r->end = on_listed;
    s3_request_send(r);
}

static bool journal_is_ours(const struct s3_put *put)
{
    const struct s3_journal *j = &put->journal;
    return j->key && j->size == put->on.size && strcmp(j->sha256, put->on.sha256) == 0 &&
           strcmp(j->key, put->on.key) == 0 && (j->size - 1) / j->part_bytes < PARTS_MAX;
}

/* Parts that are up keep the size that they had. */
void s3_parts_begin(struct s3_put *put)
{
    struct s3_journal *j = &put->journal;
    bool ours = journal_is_ours(put);
    if (ours && j->upload) {
        put->part_bytes = j->part_bytes;
        put->part_count = (unsigned) ((put->on.size + put->part_bytes - 1) / put->part_bytes);
    } else if (j->upload) {
        s3_errand_delete(put->store, j->key, j->upload);
        drop_upload(put);
    }
    put->etags = xcalloc(put->part_count, sizeof *put->etags);
    put->slots = xcalloc((size_t) put->store->config.parallel, sizeof *put->slots);
    put->doubtful = ours && !j->upload && j->creating_ms > 0;
    if (j->upload)
        list_parts(put);
    else
        begin(put);
}
