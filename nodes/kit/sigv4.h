/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_SIGV4_H
#define NODES_KIT_SIGV4_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* AWS Signature Version 4 as S3 has it (AWS General Reference, "Signature Version 4 signing process"; S3 API Reference, "Authenticating
 * Requests: Using the Authorization Header"). No network, no clock. */

#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* SHA-256 of nothing */
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

/* Lines "name: value", as http_client takes them. Zero-initialise. */
struct sigv4_headers {
    char **lines; /* ends with NULL; NULL: there are none */
    size_t count, room;
};
void sigv4_headers_fini(struct sigv4_headers *headers);
void sigv4_headers_add(struct sigv4_headers *headers, const char *name, const char *value);

/* Who signs. The key derived for a day and a region is kept from one call to the next. Zero-initialise; the texts are the caller's. */
struct sigv4_signer {
    const char *access_key, *secret_key, *session_token; /* token: may be NULL */
    const char *region;
    char derived_for[96]; /* "DATE/REGION" */
    uint8_t derived[32];
};

struct sigv4_request {
    const char *method;
    const char *host;    /* as the Host header has it: with the port unless it is the scheme's own */
    const char *path;    /* encoded once (uri_encoded), begins with "/" */
    const char *query;   /* by sigv4_query; "" for none */
    const char *payload; /* the body's SHA-256 in hex, or SIGV4_UNSIGNED */
    int64_t at_s;        /* since 1970 */
};

struct sigv4_pair {
    const char *name, *value;
};
/* sigv4_query: encoded, sorted by bytes, an empty value as "name=". `pairs` ends with a NULL name. The caller's to free. */
char *sigv4_query(const struct sigv4_pair *pairs);

/* sigv4_canonical: the canonical request of the headers' signed ones: host, content-md5, content-type, date, range, if-*, x-amz-*; nothing
 * that a proxy may change. The caller's to free. */
char *sigv4_canonical(const struct sigv4_request *request, const struct sigv4_headers *headers);

/* sigv4_sign adds x-amz-date, x-amz-content-sha256, x-amz-security-token where there is a token, and Authorization. */
void sigv4_sign(struct sigv4_signer *signer, const struct sigv4_request *request, struct sigv4_headers *headers);

#define SIGV4_HEX_SIZE 65
void sigv4_hex(const uint8_t digest[32], char hex[SIGV4_HEX_SIZE]);

#endif
