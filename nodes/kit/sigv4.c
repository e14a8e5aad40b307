/* SPDX-License-Identifier: Apache-2.0 */
/* Signature Version 4 with OpenSSL. URL and canonical form come from one encoder, so they cannot differ. */
#include "nodes/kit/sigv4.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/uri.h"
#include "lib/xmem.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

/* ---- headers ---- */

void sigv4_headers_fini(struct sigv4_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++)
        free(headers->lines[i]);
    free(headers->lines);
    *headers = (struct sigv4_headers){0};
}

void sigv4_headers_add(struct sigv4_headers *headers, const char *name, const char *value)
{
    headers->lines = xgrow(headers->lines, &headers->room, headers->count + 2, sizeof *headers->lines);
    headers->lines[headers->count++] = xasprintf("%s: %s", name, value);
    headers->lines[headers->count] = NULL;
}

/* One header in its canonical form. */
struct header {
    char *name;  /* lower case */
    char *value; /* trimmed, runs of blanks as one */
};

static struct header read_header(const char *line)
{
    size_t len = strcspn(line, ":");
    struct header h = {xstrndup(line, len), xstrdup(line[len] ? line + len + 1 : "")};
    char *out = h.value;
    for (char *c = h.name; *c; c++)
        *c = (char) tolower((unsigned char) *c);
    for (const char *in = h.value; *in; in++)
        if ((*in != ' ' && *in != '\t') || (out > h.value && out[-1] != ' '))
            *out++ = *in == '\t' ? ' ' : *in;
    while (out > h.value && out[-1] == ' ')
        out--;
    *out = 0;
    return h;
}

static bool is_signed(const char *line)
{
    static const char *const WHOLE[] = {"content-md5:", "content-type:", "date:", "range:"};
    for (size_t i = 0; i < sizeof WHOLE / sizeof *WHOLE; i++)
        if (strncasecmp(line, WHOLE[i], strlen(WHOLE[i])) == 0)
            return true;
    return strncasecmp(line, "if-", 3) == 0 || strncasecmp(line, "x-amz-", 6) == 0;
}

static int by_name(const void *a, const void *b)
{
    const struct header *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The signed headers, sorted; their number in *count. */
static struct header *signed_headers(const char *host, const struct sigv4_headers *headers, size_t *count)
{
    struct header *found = xcalloc(headers->count + 1, sizeof *found);
    found[0] = (struct header){xstrdup("host"), xstrdup(host)};
    *count = 1;
    for (size_t i = 0; i < headers->count; i++)
        if (is_signed(headers->lines[i]))
            found[(*count)++] = read_header(headers->lines[i]);
    qsort(found, *count, sizeof *found, by_name);
    return found;
}

static void headers_free(struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(headers[i].name);
        free(headers[i].value);
    }
    free(headers);
}

static void add_names(struct buf *out, const struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%s%s", i ? ";" : "", headers[i].name);
}

/* ---- the query ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Sorted by name, then value: "=" would sort behind "-" and "." in names, so a byte below both stands between while sorting. */
char *sigv4_query(const struct sigv4_pair *pairs)
{
    size_t count = 0, i = 0;
    struct buf out = {0};
    while (pairs[count].name)
        count++;
    char **encoded = xcalloc(count + 1, sizeof *encoded);
    for (; i < count; i++) {
        char *name = uri_encoded(pairs[i].name, ""), *value = uri_encoded(pairs[i].value, "");
        encoded[i] = xasprintf("%s\001%s", name, value);
        free(name);
        free(value);
    }
    qsort(encoded, count, sizeof *encoded, by_text);
    buf_reserve(&out, 1);
    for (i = 0; i < count; i++) {
        *strchr(encoded[i], '\001') = '=';
        buf_addf(&out, "%s%s", i ? "&" : "", encoded[i]);
        free(encoded[i]);
    }
    free(encoded);
    buf_text(&out);
    return (char *) out.data;
}

/* ---- the signature ---- */

void sigv4_hex(const uint8_t digest[32], char hex[SIGV4_HEX_SIZE])
{
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void sha256_hex(const char *text, char hex[SIGV4_HEX_SIZE])
{
    uint8_t digest[32];
    int ok = EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL);
    assert(ok == 1); /* fails only without memory or without SHA-256 */
    (void) ok;
    sigv4_hex(digest, hex);
}

static void hmac(const void *key, size_t key_len, const char *text, uint8_t out[32])
{
    const void *done = HMAC(EVP_sha256(), key, (int) key_len, (const unsigned char *) text, strlen(text), out, NULL);
    assert(done);
    (void) done;
}

static void derive(struct sigv4_signer *signer, const char *day)
{
    char wanted[sizeof signer->derived_for];
    snprintf(wanted, sizeof wanted, "%s/%s", day, signer->region);
    if (strcmp(wanted, signer->derived_for) == 0)
        return;
    char *secret = xasprintf("AWS4%s", signer->secret_key);
    hmac(secret, strlen(secret), day, signer->derived);
    hmac(signer->derived, 32, signer->region, signer->derived);
    hmac(signer->derived, 32, "s3", signer->derived);
    hmac(signer->derived, 32, "aws4_request", signer->derived);
    snprintf(signer->derived_for, sizeof signer->derived_for, "%s", wanted);
    free(secret);
}

char *sigv4_canonical(const struct sigv4_request *request, const struct sigv4_headers *headers)
{
    size_t count;
    struct buf out = {0};
    struct header *found = signed_headers(request->host, headers, &count);
    buf_addf(&out, "%s\n%s\n%s\n", request->method, request->path, request->query);
    for (size_t i = 0; i < count; i++)
        buf_addf(&out, "%s:%s\n", found[i].name, found[i].value);
    buf_add_byte(&out, '\n');
    add_names(&out, found, count);
    buf_addf(&out, "\n%s", request->payload);
    headers_free(found, count);
    buf_text(&out);
    return (char *) out.data;
}

/* "20130524T000000Z"; the day is its first eight characters. */
static void write_time(int64_t at_s, char text[32])
{
    struct tm tm;
    time_t at = (time_t) at_s;
    gmtime_r(&at, &tm);
    strftime(text, 32, "%Y%m%dT%H%M%SZ", &tm);
}

void sigv4_sign(struct sigv4_signer *signer, const struct sigv4_request *request, struct sigv4_headers *headers)
{
    char at[32], day[9], hash[SIGV4_HEX_SIZE];
    uint8_t signature[32];
    size_t count;
    struct buf names = {0};
    write_time(request->at_s, at);
    snprintf(day, sizeof day, "%.8s", at);
    sigv4_headers_add(headers, "x-amz-date", at);
    sigv4_headers_add(headers, "x-amz-content-sha256", request->payload);
    if (signer->session_token && *signer->session_token)
        sigv4_headers_add(headers, "x-amz-security-token", signer->session_token);

    char *canonical = sigv4_canonical(request, headers);
    sha256_hex(canonical, hash);
    char *scope = xasprintf("%s/%s/s3/aws4_request", day, signer->region);
    char *to_sign = xasprintf(ALGORITHM "\n%s\n%s\n%s", at, scope, hash);
    derive(signer, day);
    hmac(signer->derived, 32, to_sign, signature);
    sigv4_hex(signature, hash);

    struct header *found = signed_headers(request->host, headers, &count);
    add_names(&names, found, count);
    char *value = xasprintf(ALGORITHM " Credential=%s/%s,SignedHeaders=%s,Signature=%s", signer->access_key, scope,
                            buf_text(&names), hash);
    sigv4_headers_add(headers, "Authorization", value);
    headers_free(found, count);
    buf_fini(&names);
    free(value);
    free(to_sign);
    free(scope);
    free(canonical);
}
