/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_GATE_H
#define NODES_KIT_HTTP_GATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a request's header must look like before anything is done with it: RFC 9110 and 9112, and where they leave a choice,
 * the strict side. Whatever two servers in a row could read differently (two lengths, a length and chunks, a space before a
 * colon) is refused. Pure functions: no state, no allocation. */

#define HTTP_GATE_HEADER_BYTES 12288 /* request line and header together */
#define HTTP_GATE_HEADERS 100        /* lines */

struct http_gate_header {
    const char *name, *value;
    size_t name_len, value_len; /* of what there is; not NUL-terminated as far as the gate is concerned */
};

struct http_gate_request {
    const char *method;
    const char *target;  /* as sent: path and query */
    const char *version; /* "HTTP/1.1" */
    const struct http_gate_header *headers;
    size_t count;        /* may exceed HTTP_GATE_HEADERS; then `headers` holds that many */
    size_t bytes;        /* of the whole header as received; 0: unknown */
};

struct http_gate_verdict {
    unsigned status;         /* of the refusal; 0: the request may pass */
    const char *code, *text; /* a stable word and a sentence for the caller; NULL when it passes */
    bool chunked;            /* the body comes in chunks */
    bool expects;            /* Expect: 100-continue */
    uint64_t length;         /* Content-Length; 0 without one */
};

/* http_gate_check judges one request header; true if it may pass. */
bool http_gate_check(const struct http_gate_request *request, struct http_gate_verdict *verdict);

/* http_gate_name: a token of RFC 9110, 5.6.2 (a header's name, a method). http_gate_value: no control byte but a tab inside. */
bool http_gate_name(const char *text, size_t len);
bool http_gate_value(const char *text, size_t len);

#endif
