/* SPDX-License-Identifier: Apache-2.0 */
/* One S3 request, signed anew for each of its tries. What may heal is tried again with growing pauses; three things are mended once on the
 * way: a clock that differs, a bucket in another region, a bucket that is to be made. */
#include "nodes/kit/objstore_s3.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define TRIES_MAX 10
#define DAMAGED_TRIES_MAX 3 /* of what arrived damaged */
#define PAUSE_MS 200
#define PAUSE_MS_MAX 20000
#define RETRY_AFTER_MS_MAX 120000
#define SKEW_S 300              /* so far apart that a refusal without a reason may be meant for the clock */
#define EXPECT_BYTES (1u << 20) /* from here on it pays to ask before sending */
#define ANSWER_BYTES_MAX (64u << 10)

static void try_now(struct s3_request *r);

/* ---- which outcomes may heal ---- */

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(word, *list) == 0)
            return true;
    return false;
}

static bool is_damaged(const struct s3_request *r)
{
    return is_one_of(r->code, (const char *const[]){"BadDigest", "XAmzContentSHA256Mismatch", NULL});
}

static bool may_heal(const struct s3_request *r)
{
    static const unsigned STATUS[] = {408, 429, 499, 500, 502, 503, 504, 520};
    static const char *const CODES[] = {
        "RequestTimeout", "InternalError",        "ServiceUnavailable",     "SlowDown",         "SlowDownRead",
        "SlowDownWrite",  "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted", NULL};
    for (size_t i = 0; i < sizeof STATUS / sizeof *STATUS; i++)
        if (r->status == STATUS[i])
            return true;
    if (is_damaged(r))
        return r->tries < DAMAGED_TRIES_MAX;
    if (!r->status)
        return is_one_of(r->err.name, (const char *const[]){"UNREACHABLE", "TIMEOUT", "CUT", "PROTOCOL", NULL});
    if (strcmp(r->code, "ConditionalRequestConflict") == 0)
        return strcmp(r->method, "PUT") == 0; /* of a Complete: the upload is to begin anew */
    return is_one_of(r->code, CODES) || strncmp(r->code, "Throttling", 10) == 0;
}

/* ---- the answer ---- */

/* What is no plain text is of another program, and nothing that can be handed on. */
static void copy_header(const struct http_call *call, const char *name, char *out, size_t size)
{
    const char *value = http_call_header(call, name);
    snprintf(out, size, "%s", value ? value : "");
    for (const char *c = out; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            out[0] = 0;
}

/* The size of the whole object, also where only a part of it comes. */
static void read_length(struct s3_request *r, const struct http_call *call)
{
    const char *range = http_call_header(call, "Content-Range"), *length = http_call_header(call, "Content-Length");
    const char *slash = range ? strchr(range, '/') : NULL;
    const char *size = slash ? slash + 1 : length ? length : "";
    r->sized = *size >= '0' && *size <= '9';
    r->content_length = strtoull(size, NULL, 10);
}

/* Other programs write other things under this name. */
static void read_sha256(struct s3_request *r, const struct http_call *call)
{
    const char *value = http_call_header(call, S3_META_SHA256);
    bool is_hex = value && strlen(value) == 64 && strspn(value, "0123456789abcdefABCDEF") == 64;
    snprintf(r->sha256, sizeof r->sha256, "%s", is_hex ? value : "");
    for (char *c = r->sha256; *c; c++)
        *c = (char) tolower((unsigned char) *c);
}

static void on_headers(void *arg, struct http_call *call, unsigned status)
{
    struct s3_request *r = arg;
    r->status = status;
    copy_header(call, "x-amz-request-id", r->request_id, sizeof r->request_id);
    copy_header(call, "x-amz-bucket-region", r->region, sizeof r->region);
    copy_header(call, "ETag", r->etag, sizeof r->etag);
    copy_header(call, "x-amz-version-id", r->version_id, sizeof r->version_id);
    copy_header(call, "Last-Modified", r->last_modified, sizeof r->last_modified);
    copy_header(call, "Content-Type", r->content_type, sizeof r->content_type);
    read_sha256(r, call);
    read_length(r, call);
    const char *date = http_call_header(call, "Date");
    r->date_ms = s3_time_ms(date ? date : "");
    if (status < 300 && r->found && !r->making_bucket)
        r->found(r);
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct s3_request *r = arg;
    size_t max = r->answer_max && r->status < 300 ? r->answer_max : ANSWER_BYTES_MAX;
    (void) call;
    if (r->status < 300 && r->data && !r->making_bucket)
        return r->data(r, bytes);
    if (r->answer.len + bytes.len > max)
        return r->status >= 300; /* of an error the beginning is enough */
    buf_add(&r->answer, bytes.data, bytes.len);
    return true;
}

static void on_error_element(void *arg, const char *path, const char *text)
{
    struct s3_request *r = arg;
    if (strcmp(path, "Error/Code") == 0)
        snprintf(r->code, sizeof r->code, "%s", text);
    else if (strcmp(path, "Error/Message") == 0)
        snprintf(r->message, sizeof r->message, "%s", text);
    else if (strcmp(path, "Error/RequestId") == 0)
        snprintf(r->request_id, sizeof r->request_id, "%s", text);
    else if (strcmp(path, "Error/Region") == 0 && *text)
        snprintf(r->region, sizeof r->region, "%s", text);
}

/* An error's code. A Complete may say 200 before it knows how it ends, and then <Error>. */
static void read_error(struct s3_request *r)
{
    if (r->answer.len && (r->status >= 300 || strcmp(r->method, "POST") == 0))
        s3_xml_read(ls_bytes(r->answer.data, r->answer.len), on_error_element, r, NULL);
}

int s3_request_read(const struct s3_request *r, s3_xml_fn *element, void *arg, struct ls_error *err)
{
    return s3_xml_read(ls_bytes(r->answer.data, r->answer.len), element, arg, err);
}

int64_t s3_time_ms(const char *text)
{
    struct tm tm = {0};
    int64_t us = 0;
    if (clock_parse(text, strlen(text), &us))
        return us / 1000;
    return strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) ? (int64_t) timegm(&tm) * 1000 : 0;
}

/* ---- mending ---- */

static bool mend_clock(struct s3_request *r)
{
    int64_t theirs = r->date_ms / 1000, ours = clock_wall_us() / 1000000;
    int64_t off = theirs - ours - r->signed_offset_s;
    bool meant = strcmp(r->code, "RequestTimeTooSkewed") == 0 || (!r->code[0] && (off > SKEW_S || off < -SKEW_S));
    if (r->clocked || r->status != 403 || !meant || !theirs)
        return false;
    r->clocked = true;
    r->store->clock_offset_s = theirs - ours;
    logger_put(LEVEL_WARN, "s3.clock",
               "this machine's clock differs from the store's; requests are signed with the store's time",
               "seconds=%" PRId64, theirs - ours);
    return true;
}

/* 301, 307, or 400 AuthorizationHeaderMalformed: the bucket's region is another. */
static bool mend_region(struct s3_request *r)
{
    struct s3_config *c = &r->store->config;
    bool meant = r->status == 301 || r->status == 307 || r->status == 400;
    if (r->moved || !meant || !r->region[0] || strcmp(r->region, r->signed_region) == 0 || strpbrk(r->region, "/:@ \t"))
        return false;
    r->moved = true;
    if (strcmp(r->region, c->region) == 0)
        return true; /* another request has found out */
    logger_put(LEVEL_WARN, "s3.region", "the bucket is in another region than the configured one",
               "bucket=%s region=%s configured=%s", c->bucket, r->region, c->region);
    s3_config_set_region(c, r->region);
    r->store->signer.region = c->region;
    return true;
}

/* The next call makes the bucket; what was asked follows. */
static bool mend_bucket(struct s3_request *r)
{
    if (r->made_bucket || !r->store->config.create_bucket || strcmp(r->code, "NoSuchBucket") != 0)
        return false;
    r->making_bucket = true;
    return true;
}

/* True: it is there, made by us or by another. */
static bool bucket_is_made(struct s3_request *r)
{
    r->making_bucket = false;
    r->made_bucket = true;
    return s3_request_done(r) || strcmp(r->code, "BucketAlreadyOwnedByYou") == 0 ||
           strcmp(r->code, "BucketAlreadyExists") == 0;
}

/* ---- the end of a try ---- */

static int64_t pause_ms(const struct s3_request *r, const char *retry_after)
{
    uint32_t dice = 0;
    int64_t most = PAUSE_MS << (r->tries < 8 ? r->tries - 1 : 7);
    if (most > PAUSE_MS_MAX)
        most = PAUSE_MS_MAX;
    if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != sizeof dice)
        dice = (uint32_t) clock_wall_us();
    int64_t pause = (int64_t) (dice % (uint64_t) (most + 1)),
            told_s = retry_after ? strtoll(retry_after, NULL, 10) : 0,
            told = told_s > RETRY_AFTER_MS_MAX / 1000 ? RETRY_AFTER_MS_MAX : told_s < 0 ? 0 : told_s * 1000;
    return told > pause ? told : pause;
}

static void try_later(struct s3_request *r, int64_t after_ms)
{
    heap_set(&r->store->timers, &r->timer, clock_mono_ms() + after_ms);
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    struct s3_request *r = arg;
    r->call = NULL;
    if (err && status < 400) { /* a refusal that broke off is still one */
        r->status = 0;
        r->err = *err;
        if (strcmp(err->name, "CANCELLED") == 0)
            error_set(&r->err, "SYSTEM",
                      status ? "the answer is larger than any that belongs here" : "the file is shorter than it was");
    } else {
        read_error(r);
    }
    if (r->making_bucket && r->status && !may_heal(r) && bucket_is_made(r)) {
        try_now(r);
    } else if (r->status && (mend_clock(r) || mend_region(r) || mend_bucket(r))) {
        try_now(r);
    } else if (may_heal(r) && r->tries < TRIES_MAX) {
        if (r->tries == TRIES_MAX / 2)
            logger_put(LEVEL_WARN, "s3.again", "the store does not answer as it should; it is tried again",
                       "host=%s status=%u code=%s why=\"%s\"", r->store->config.host, r->status, r->code,
                       r->status ? r->message : r->err.text);
        try_later(r, pause_ms(r, http_call_header(call, "Retry-After")));
    } else {
        r->end(r);
    }
}

static void on_timer(void *arg, struct timer *timer)
{
    struct s3_request *r = (struct s3_request *) (void *) ((char *) timer - offsetof(struct s3_request, timer));
    (void) arg;
    if (r->err.name[0] && !may_heal(r))
        r->end(r); /* the call could not even begin */
    else
        try_now(r);
}

/* ---- a try ---- */

/* What goes up is a part of a file, or small and in memory. */
static bool from_file(const struct s3_request *r)
{
    return r->fd >= 0 && !r->making_bucket;
}

static const struct buf *small_body(const struct s3_request *r)
{
    return r->making_bucket ? &r->bucket_xml : &r->body;
}

static size_t on_read(void *arg, struct http_call *call, char *out, size_t size)
{
    struct s3_request *r = arg;
    (void) call;
    uint64_t left = (from_file(r) ? r->size : small_body(r)->len) - r->sent;
    if (size > left)
        size = (size_t) left;
    if (size > OBJSTORE_PIECE_BYTES)
        size = OBJSTORE_PIECE_BYTES;
    if (!size)
        return 0;
    ssize_t got = (ssize_t) size;
    if (from_file(r))
        got = pread(r->fd, out, size, (off_t) (r->offset + r->sent));
    else
        memcpy(out, small_body(r)->data + r->sent, size);
    if (got <= 0)
        return HTTP_CALL_ABORT;
    r->sent += (uint64_t) got;
    return (size_t) got;
}

static bool on_rewind(void *arg, struct http_call *call)
{
    struct s3_request *r = arg;
    (void) call;
    r->sent = 0;
    return true;
}

static void hash_hex(struct ls_slice bytes, char hex[SIGV4_HEX_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_Digest(bytes.data, bytes.len, digest, NULL, EVP_sha256(), NULL);
    sigv4_hex(digest, hex);
}

/* Over https the content of a file is guarded by the connection and Content-MD5. */
static void sign(struct s3_request *r, struct sigv4_request *what, struct sigv4_headers *headers)
{
    char hash[SIGV4_HEX_SIZE];
    struct s3_store *store = r->store;
    if (!from_file(r))
        hash_hex(ls_bytes(small_body(r)->data, small_body(r)->len), hash);
    what->host = store->config.host;
    what->payload = !from_file(r) ? hash : store->config.tls ? SIGV4_UNSIGNED : r->payload;
    what->at_s = clock_wall_us() / 1000000 + store->clock_offset_s;
    r->signed_offset_s = store->clock_offset_s;
    snprintf(r->signed_region, sizeof r->signed_region, "%s", store->config.region);
    for (size_t i = 0; i < r->more.count && !r->making_bucket; i++) {
        const char *line = r->more.lines[i], *colon = strchr(line, ':');
        char *name = xstrndup(line, (size_t) (colon - line));
        sigv4_headers_add(headers, name, colon + 2);
        free(name);
    }
    sigv4_sign(&store->signer, what, headers);
}

static void start(struct s3_request *r, const struct sigv4_request *what)
{
    struct s3_config *c = &r->store->config;
    struct sigv4_headers headers = {0};
    struct sigv4_request signed_so = *what;
    bool upload = strcmp(what->method, "PUT") == 0 || strcmp(what->method, "POST") == 0;
    uint64_t bytes = from_file(r) ? r->size : small_body(r)->len;
    sign(r, &signed_so, &headers);
    char *url = xasprintf("%s%s%s%s", c->base, what->path, *what->query ? "?" : "", what->query);
    struct http_call_options o = {
        .method = what->method,
        .url = url,
        .headers = (const char *const *) headers.lines,
        .exact_path = true,
        .read = upload ? on_read : NULL,
        .rewind = on_rewind,
        .body_bytes = (int64_t) bytes,
        .expect = bytes >= EXPECT_BYTES,
        .ca_file = c->ca_file,
        .arg = r,
        .headers_done = on_headers,
        .data = on_data,
        .end = on_end,
        .first_byte_ms = r->first_byte_ms,
        .stall_ms = r->first_byte_ms,
    };
    r->call = http_call_start(r->store->http, &o, &r->err);
    if (!r->call)
        try_later(r, 0);
    free(url);
    sigv4_headers_fini(&headers);
}

/* A bucket's place is asked for in the body; Amazon's first region has no name there. */
static void make_bucket(struct s3_request *r)
{
    const struct s3_config *c = &r->store->config;
    char *path = s3_config_path(c, NULL);
    buf_clear(&r->bucket_xml);
    if (strcmp(c->region, "us-east-1") != 0) {
        buf_addf(&r->bucket_xml,
                 "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>");
        s3_xml_escape(&r->bucket_xml, c->region);
        buf_addf(&r->bucket_xml, "</LocationConstraint></CreateBucketConfiguration>");
    }
    start(r, &(struct sigv4_request){.method = "PUT", .path = path, .query = ""});
    free(path);
}

/* Everything of the try before is forgotten. */
static void forget_answer(struct s3_request *r)
{
    char *const texts[] = {r->code,       r->message,       r->request_id, r->region,      r->etag,
                           r->version_id, r->last_modified, r->sha256,     r->content_type};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        texts[i][0] = 0;
    r->status = 0;
    r->sent = 0;
    r->content_length = 0;
    r->sized = false;
    r->date_ms = 0;
    r->err = (struct ls_error){0};
    buf_clear(&r->answer);
}

static void try_now(struct s3_request *r)
{
    if (r->tries++ && r->again)
        r->again(r);
    forget_answer(r);
    if (r->making_bucket)
        make_bucket(r);
    else
        start(r, &(struct sigv4_request){.method = r->method, .path = r->path, .query = r->query});
}

/* ---- for operations ---- */

void s3_request_init(struct s3_request *r, struct s3_store *store, const char *method, const char *key,
                     const struct sigv4_pair *pairs)
{
    if (r->store)
        s3_request_stop(r);
    *r = (struct s3_request){.store = store, .method = method, .fd = -1, .timer = {.fire = on_timer}};
    r->path = s3_config_path(&store->config, key);
    r->query = pairs ? sigv4_query(pairs) : xstrdup("");
}

void s3_request_header(struct s3_request *r, const char *name, const char *value)
{
    sigv4_headers_add(&r->more, name, value);
}

void s3_request_send(struct s3_request *r)
{
    try_now(r);
}

void s3_request_stop(struct s3_request *r)
{
    if (!r->store)
        return;
    http_call_cancel(&r->call);
    heap_unset(&r->store->timers, &r->timer);
    sigv4_headers_fini(&r->more);
    buf_fini(&r->body);
    buf_fini(&r->bucket_xml);
    buf_fini(&r->answer);
    free(r->path);
    free(r->query);
    r->path = r->query = NULL;
    r->store = NULL;
}

bool s3_request_done(const struct s3_request *r)
{
    return r->status >= 200 && r->status < 300 && !r->code[0];
}

void s3_object_read(const struct s3_request *r, const char *key, struct objstore_object *object)
{
    *object =
        (struct objstore_object){.key = key, .size = r->content_length, .modified_ms = s3_time_ms(r->last_modified)};
    snprintf(object->sha256, sizeof object->sha256, "%s", r->sha256);
    snprintf(object->etag, sizeof object->etag, "%s", r->etag);
    snprintf(object->version_id, sizeof object->version_id, "%s", r->version_id);
    snprintf(object->content_type, sizeof object->content_type, "%s",
             r->content_type[0] ? r->content_type : "application/octet-stream");
}

/* ---- errors for people ---- */

static const struct {
    const char *code, *name, *hint;
} MEANINGS[] = {
    {"NoSuchBucket", "NOT_FOUND", "; make the bucket, or let it be made with create_bucket"},
    {"NoSuchKey", "NOT_FOUND", ""},
    {"NoSuchUpload", "NOT_FOUND", ""},
    {"InvalidAccessKeyId", "FORBIDDEN", "; the store does not know this access key"},
    {"SignatureDoesNotMatch", "FORBIDDEN", "; is the secret key the one that belongs to the access key?"},
    {"RequestTimeTooSkewed", "FORBIDDEN", "; set this machine's clock"},
    {"ExpiredToken", "FORBIDDEN", "; the session token has expired: start with a new one"},
    {"AccessDenied", "FORBIDDEN", "; the key may not do that: look at its policy, and at the bucket's name"},
    {"BadDigest", "CORRUPT", "; what arrived is not what was sent"},
    {"XAmzContentSHA256Mismatch", "CORRUPT", "; what arrived is not what was sent"},
    {"InvalidPart", "CORRUPT", "; a part at the store is not the one that was sent"},
    {"QuotaExceeded", "FULL", "; make room, or raise the quota"},
    {"XMinioStorageFull", "FULL", "; make room"},
    {"InsufficientStorage", "FULL", "; make room"},
};

static const char *name_of_status(const struct s3_request *r)
{
    unsigned s = r->status;
    return may_heal(r)                                    ? "BUSY"
           : s == 401 || s == 403                         ? "FORBIDDEN"
           : s == 404                                     ? "NOT_FOUND"
           : s == 409 || s == 412                         ? "CONFLICT"
           : s == 507                                     ? "FULL"
           : s == 400 || s == 411 || s == 413 || s == 416 ? "BAD_VALUE"
                                                          : "SYSTEM";
}

/* CUT and PROTOCOL are words of http_client; of a store both mean that it cannot be reached well. */
static int no_answer(const struct s3_request *r, const char *what, struct ls_error *err)
{
    const char *name = r->err.name;
    if (is_one_of(name, (const char *const[]){"CUT", "PROTOCOL", NULL}))
        name = "UNREACHABLE";
    error_set(err, name, "%s at %s: %s", what, r->store->config.endpoint, r->err.text);
    return -1;
}

/* So much of what the store says is shown, a line: some quote the whole request as they would have signed it. */
static size_t words_of(const struct s3_request *r)
{
    size_t len = strcspn(r->message, "\r\n");
    const char *escaped = strstr(r->message, "\\n"); /* a line's end that was escaped once too often */
    return escaped && (size_t) (escaped - r->message) < len ? (size_t) (escaped - r->message) : len;
}

int s3_request_error(const struct s3_request *r, const char *doing, const char *key, struct ls_error *err)
{
    const struct s3_config *c = &r->store->config;
    const char *hint = "";
    char *what = key ? xasprintf("%s s3://%s/%s%.150s", doing, c->bucket, c->prefix, key)
                     : xasprintf("%s s3://%s", doing, c->bucket);
    if (!r->status) {
        no_answer(r, what, err);
    } else {
        const char *name = name_of_status(r);
        if (!r->code[0] && r->status == 403) /* a HEAD has no body that could say why */
            hint = "; the access key is not known, its secret is wrong, or it may not do that";
        for (size_t i = 0; i < sizeof MEANINGS / sizeof *MEANINGS; i++)
            if (strcmp(r->code, MEANINGS[i].code) == 0) {
                name = MEANINGS[i].name;
                hint = MEANINGS[i].hint;
            }
        int words = (int) words_of(r);
        error_set(err, name, "%s at %s: the store answered %u%s%s%s%s%s%s%s%.*s", what, c->endpoint, r->status,
                  r->code[0] ? " " : "", r->code, hint, r->request_id[0] ? " (request " : "", r->request_id,
                  r->request_id[0] ? ")" : "", words ? ": " : "", words, r->message);
        err->number = (int) r->status;
        err->again = strcmp(name, "BUSY") == 0 || strcmp(name, "FULL") == 0;
    }
    free(what);
    return -1;
}
