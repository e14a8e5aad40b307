/* SPDX-License-Identifier: Apache-2.0 */
/* A download: GET and HEAD with one range and the conditions of RFC 9110. From a folder the kernel sends the file; from S3 the bytes
 * pass through, each side held back by the other. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/artifacts/answer.h"
#include "nodes/artifacts/door.h"

#define QUEUE_HIGH_BYTES ((size_t) 512 << 10) /* more than that waits for the client: the store is held back */

struct download {
    struct visit visit;
    struct objstore_op *op;
    bool head, streaming;
    bool asked_range;
    unsigned status;         /* of the answer to come */
    uint64_t offset, length; /* of what is sent */
    uint64_t size;           /* of the whole */
    char etag[128];          /* of the object that the range was made for */
};

/* ---- conditions and ranges ---- */

/* Is the tag in a list such as `"a", W/"b"` or `*`? A weak tag never matches when `strong`. */
static bool lists_tag(const char *list, const char *etag, bool strong)
{
    size_t len = strlen(etag);
    for (const char *at = list; *at;) {
        at += strspn(at, " \t,");
        if (*at == '*')
            return true;
        bool weak = strncmp(at, "W/", 2) == 0;
        at += weak ? 2 : 0;
        if (len && strncmp(at, etag, len) == 0 && !(weak && strong))
            return true;
        const char *close = *at == '"' ? strchr(at + 1, '"') : NULL;
        at = close ? close + 1 : at + strcspn(at, ",");
    }
    return false;
}

static bool is_date_of(const char *text, const struct objstore_object *object)
{
    struct tm when = {0};
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &when);
    return end && !*end && timegm(&when) == (time_t) (object->modified_ms / 1000);
}

/* The range holds for this object alone, if If-Range says so. */
static bool range_holds(const struct download *d, const struct objstore_object *object)
{
    const char *only = http_header(d->visit.x, "If-Range");
    if (!only)
        return true;
    return *only == '"' ? lists_tag(only, object->etag, true) : is_date_of(only, object);
}

static bool read_number(const char **at, uint64_t *number)
{
    char *end;
    if (**at < '0' || **at > '9' || strspn(*at, "0123456789") > 18)
        return false;
    *number = strtoull(*at, &end, 10);
    *at = end;
    return true;
}

/* Reads the header Range: 206 with offset and length; 416; 200 if there is none that counts (several ranges are not served). */
static unsigned read_range(struct download *d, const struct objstore_object *object)
{
    const char *at = http_header(d->visit.x, "Range");
    uint64_t first = 0, last = UINT64_MAX;
    if (!at || strncmp(at, "bytes=", 6) != 0 || !range_holds(d, object))
        return 200;
    at += 6;
    bool has_first = read_number(&at, &first);
    if (*at++ != '-')
        return 200;
    bool has_last = read_number(&at, &last);
    if (*at || (!has_first && !has_last) || (has_first && has_last && last < first))
        return 200;
    if (!has_first) { /* the last so many bytes */
        first = last < object->size ? object->size - last : 0;
        if (!last)
            return 416;
        last = UINT64_MAX;
    }
    if (first >= object->size)
        return 416;
    d->offset = first;
    d->length = (last < object->size - 1 ? last : object->size - 1) - first + 1;
    return 206;
}

static unsigned decide(struct download *d, const struct objstore_object *object)
{
    const char *match = http_header(d->visit.x, "If-Match"), *none = http_header(d->visit.x, "If-None-Match");
    d->offset = 0;
    d->length = d->size = object->size;
    snprintf(d->etag, sizeof d->etag, "%s", object->etag);
    if (match && !lists_tag(match, object->etag, true))
        return 412;
    if (none && lists_tag(none, object->etag, false))
        return 304;
    return read_range(d, object);
}

/* ---- answering ---- */

/* Answers that have no content: true if it was one. */
static bool answer_empty(struct download *d, const struct objstore_object *object)
{
    struct ls_error err;
    char text[64];
    if (d->status == 304) {
        door_object_headers(d->visit.x, object);
        http_answer(d->visit.x, 304, (struct ls_slice){0});
        d->visit.answered = true;
    } else if (d->status == 412) {
        error_set(&err, "CONFLICT", "%.200s: If-Match names another version than there is, %s", d->visit.key, object->etag);
        visit_fail(&d->visit, &err);
    } else if (d->status == 416) {
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long) object->size);
        http_answer_header(d->visit.x, "Content-Range", text);
        error_set(&err, "BAD_RANGE", "%.200s has %llu bytes: the range is beyond its end", d->visit.key, (unsigned long long) object->size);
        visit_fail(&d->visit, &err);
    }
    return d->visit.answered;
}

static void add_headers(struct download *d, const struct objstore_object *object)
{
    char text[96];
    door_object_headers(d->visit.x, object);
    if (d->status == 206) {
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long) d->offset,
                 (unsigned long long) (d->offset + d->length - 1), (unsigned long long) d->size);
        http_answer_header(d->visit.x, "Content-Range", text);
    }
    if (!d->head)
        artifacts_count(d->visit.a, METRIC_DOWNLOAD_BYTES, (int64_t) d->length);
    d->visit.answered = true;
}

static void answer_from_folder(struct download *d, int fd, const struct objstore_object *object)
{
    d->status = decide(d, object);
    if (answer_empty(d, object)) {
        close(fd);
        return;
    }
    add_headers(d, object);
    http_answer_file(d->visit.x, d->status, fd, d->offset, d->length);
}

static void fail(struct download *d, const struct ls_error *err)
{
    struct ls_error told = *err;
    door_missing(d->visit.a, d->visit.key, &told);
    visit_fail(&d->visit, &told);
}

/* ---- from S3 ---- */

static void fetch(struct download *d, uint64_t offset, int64_t length);

static void begin_stream(struct download *d, const struct objstore_object *object)
{
    add_headers(d, object);
    http_stream_begin_sized(d->visit.x, d->status, d->length);
    d->streaming = true;
}

static void on_found(void *arg, const struct objstore_object *object)
{
    struct download *d = arg;
    struct ls_error err;
    if (!d->status) {
        d->status = decide(d, object);
        if (answer_empty(d, object))
            objstore_cancel(&d->op);
        else if (d->head || !d->asked_range || (d->status == 200 && !d->length))
            begin_stream(d, object);
        return; /* else only now it is known what is to be fetched */
    }
    if (strcmp(object->etag, d->etag) == 0) {
        begin_stream(d, object);
        return;
    }
    error_set(&err, "BUSY", "%.200s was replaced a moment ago: ask again", d->visit.key);
    visit_fail(&d->visit, &err);
    objstore_cancel(&d->op);
}

static void on_data(void *arg, struct ls_slice bytes)
{
    struct download *d = arg;
    if (!http_stream_write(d->visit.x, bytes)) {
        objstore_cancel(&d->op);
        http_stream_abort(d->visit.x);
    } else if (http_stream_queued(d->visit.x) > QUEUE_HIGH_BYTES) {
        objstore_pause(d->op);
    }
}

static void on_fetched(void *arg, const struct ls_error *err)
{
    struct download *d = arg;
    d->op = NULL;
    if (err && d->streaming)
        http_stream_abort(d->visit.x);
    else if (err)
        fail(d, err);
    else if (d->streaming)
        http_stream_end(d->visit.x);
    else
        fetch(d, d->offset, (int64_t) d->length);
}

static void fetch(struct download *d, uint64_t offset, int64_t length)
{
    struct ls_error err;
    const struct objstore_get get = {.key = d->visit.key, .offset = offset, .length = length, .arg = d, .found = on_found,
                                     .data = on_data, .end = on_fetched};
    d->op = objstore_get(d->visit.a->store, &get, &err);
    if (!d->op)
        visit_fail(&d->visit, &err);
}

/* ---- the visit ---- */

static void on_request(struct visit *visit)
{
    struct download *d = (struct download *) visit;
    struct objstore_object object;
    struct ls_error err;
    d->head = strcmp(http_method(visit->x), "HEAD") == 0;
    d->asked_range = http_header(visit->x, "Range") != NULL;
    if (door_spooled(visit->a, visit->key, &err)) {
        visit_fail(visit, &err);
        return;
    }
    int fd = objstore_file(visit->a->store, visit->key, &object, &err);
    if (fd >= 0)
        answer_from_folder(d, fd, &object);
    else if (strcmp(err.name, "UNSUPPORTED") == 0)
        fetch(d, 0, d->head || d->asked_range ? 0 : -1);
    else
        fail(d, &err);
}

static void on_drained(struct visit *visit)
{
    struct download *d = (struct download *) visit;
    if (d->op)
        objstore_resume(d->op);
}

static void on_end(struct visit *visit, bool complete)
{
    struct download *d = (struct download *) visit;
    if (complete && visit->answered && !d->head && (d->status == 200 || d->status == 206))
        artifacts_count(visit->a, METRIC_DOWNLOADS, 1);
    objstore_cancel(&d->op);
    free(visit->key);
    free(d);
}

static const struct visit_code download_code = {.request = on_request, .drained = on_drained, .end = on_end};

struct visit *download_new(void)
{
    struct download *d = xcalloc(1, sizeof *d);
    d->visit.code = &download_code;
    return &d->visit;
}
