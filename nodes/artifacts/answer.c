/* SPDX-License-Identifier: Apache-2.0 */
/* How the door answers: objects, their headers, errors in two forms. */
#include "nodes/artifacts/answer.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"

#define RETRY_AFTER_S "5"

/* Names of errors, as statuses; for MLflow's clients the names that they know. */
static const struct {
    const char *name;
    unsigned status;
    const char *type, *mlflow;
} ERRORS[] = {
    {"NOT_FOUND", 404, "not_found", "RESOURCE_DOES_NOT_EXIST"},
    {"BAD_VALUE", 400, "invalid_request", "INVALID_PARAMETER_VALUE"},
    {"BAD_DIGEST", 400, "invalid_request", "INVALID_PARAMETER_VALUE"},
    {"DENIED", 401, "authentication", "UNAUTHENTICATED"},
    {"BAD_METHOD", 405, "invalid_request", "BAD_REQUEST"},
    {"CONFLICT", 412, "conflict", "RESOURCE_CONFLICT"},
    {"TOO_BIG", 413, "invalid_request", "INVALID_PARAMETER_VALUE"},
    {"BAD_RANGE", 416, "invalid_request", "INVALID_PARAMETER_VALUE"},
    {"FULL", 507, "capacity", "RESOURCE_LIMIT_EXCEEDED"},
    {"FORBIDDEN", 502, "store", "INTERNAL_ERROR"},
    {"CORRUPT", 502, "store", "INTERNAL_ERROR"},
    {"UNREACHABLE", 503, "store", "TEMPORARILY_UNAVAILABLE"},
    {"BUSY", 503, "store", "TEMPORARILY_UNAVAILABLE"},
    {"DRAINING", 503, "store", "TEMPORARILY_UNAVAILABLE"},
    {"TIMEOUT", 503, "store", "TEMPORARILY_UNAVAILABLE"},
    {"SPOOLED", 503, "store", "TEMPORARILY_UNAVAILABLE"},
    {NULL, 500, "internal", "INTERNAL_ERROR"},
};

static size_t row_of(const char *name)
{
    size_t i = 0;
    while (ERRORS[i].name && strcmp(ERRORS[i].name, name) != 0)
        i++;
    return i;
}

void door_number(struct ls_error *err)
{
    err->number = (int) ERRORS[row_of(err->name)].status;
    if (err->number == 412)
        err->number = 409;
}

static bool be_spooled(const struct artifacts *a, const char *key, bool away, struct ls_error *err)
{
    if (!store_spooled(a, key, away))
        return false;
    error_set(err, "SPOOLED", "%.200s is spooled, and not in the store yet", key);
    err->again = true;
    return true;
}

void door_missing(const struct artifacts *a, const char *key, struct ls_error *err)
{
    bool missing = strcmp(err->name, "NOT_FOUND") == 0;
    if ((missing || err->again) && be_spooled(a, key, false, err))
        return;
    if (missing && !strstr(err->text, "NoSuchBucket"))
        error_set(err, "NOT_FOUND", "there is no artifact %.200s", key);
}

bool door_spooled(const struct artifacts *a, const char *key, struct ls_error *err)
{
    return be_spooled(a, key, true, err);
}

void door_json(struct http_exchange *x, unsigned status, json_t *body)
{
    struct buf text = {0};
    node_write(&text, body);
    json_decref(body);
    http_answer_header(x, "Content-Type", "application/json");
    http_answer(x, status, ls_bytes(text.data, text.len));
    buf_fini(&text);
}

void door_error(struct http_exchange *x, bool mlflow, const struct ls_error *err)
{
    size_t row = row_of(err->name);
    if (ERRORS[row].status == 503 || ERRORS[row].status == 507)
        http_answer_header(x, "Retry-After", RETRY_AFTER_S);
    if (ERRORS[row].status == 401)
        http_answer_header(x, "WWW-Authenticate", "Bearer");
    door_json(x, ERRORS[row].status,
                mlflow ? json_pack("{s:s, s:s}", "error_code", ERRORS[row].mlflow, "message", err->text)
                       : json_pack("{s:{s:s, s:s, s:s}}", "error", "message", err->text, "code", err->name, "type", ERRORS[row].type));
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

json_t *door_object(const struct artifacts *a, const struct objstore_object *object)
{
    char modified[CLOCK_TEXT_SIZE] = "";
    char *uri = objstore_uri(a->store, object->key);
    if (object->modified_ms)
        clock_format(object->modified_ms * 1000, modified);
    json_t *json = json_pack("{s:s, s:s, s:I, s:o, s:o, s:s, s:o, s:o}", "path", object->key, "uri", uri, "size",
                             (json_int_t) object->size, "sha256", text_or_null(object->sha256), "etag", text_or_null(object->etag),
                             "content_type", object->content_type, "modified", text_or_null(modified), "version_id",
                             text_or_null(object->version_id));
    free(uri);
    return json;
}

static unsigned hex(char digit)
{
    return (unsigned) (digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

void door_object_headers(struct http_exchange *x, const struct objstore_object *object)
{
    unsigned char digest[32], base64[48];
    char text[80];
    struct tm when;
    time_t seconds = (time_t) (object->modified_ms / 1000);
    http_answer_header(x, "Content-Type", object->content_type);
    http_answer_header(x, "Accept-Ranges", "bytes");
    http_answer_header(x, "X-Content-Type-Options", "nosniff"); /* what somebody uploaded is no page of ours: */
    http_answer_header(x, "Content-Security-Policy", "sandbox"); /* in a browser its scripts do not run */
    if (object->etag[0])
        http_answer_header(x, "ETag", object->etag);
    if (object->modified_ms && gmtime_r(&seconds, &when) && strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &when))
        http_answer_header(x, "Last-Modified", text);
    if (!object->sha256[0])
        return;
    for (size_t i = 0; i < sizeof digest; i++)
        digest[i] = (unsigned char) (hex(object->sha256[2 * i]) << 4 | hex(object->sha256[2 * i + 1]));
    EVP_EncodeBlock(base64, digest, sizeof digest);
    snprintf(text, sizeof text, "sha-256=:%s:", (const char *) base64);
    http_answer_header(x, "Repr-Digest", text); /* RFC 9530 */
}
