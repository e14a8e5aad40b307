/* SPDX-License-Identifier: Apache-2.0 */
/* What libmicrohttpd made of a request's header: through the gate with it, is it what the client sent, and does it leave room
 * for an answer. */
#include <strings.h>

#include "nodes/kit/http_server_private.h"

struct collected {
    struct http_gate_header headers[HTTP_GATE_HEADERS];
    size_t count, cookies; /* the latter in bytes */
};

static enum MHD_Result collect(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value,
                               size_t value_len)
{
    (void) kind;
    struct collected *collected = arg;
    if (collected->count < HTTP_GATE_HEADERS)
        collected->headers[collected->count] = (struct http_gate_header){name, value ? value : "", name_len, value_len};
    if (name_len == 6 && !strncasecmp(name, "Cookie", 6))
        collected->cookies += value_len;
    collected->count++;
    return MHD_YES;
}

#if MHD_VERSION == 0x00097500
/* libmicrohttpd 0.9.75 takes a bare LF for the end of a line, a header without a name for the end of all, glues continued lines
 * together, and lets a NUL cut a value off. As it parses in place, each shows as a gap: every piece must lie right behind the
 * one before, with CRLF, by now two NULs, between lines. (Later versions refuse all that themselves.) */
static bool as_sent(const struct http_exchange *x, const char *url, const char *version, const struct collected *collected,
                    size_t bytes)
{
    if (url != x->method + strlen(x->method) + 1 || version != url + strlen(x->path) + 1)
        return false;
    const char *end = version + strlen(version);
    for (size_t i = 0; i < collected->count; i++) {
        const struct http_gate_header *header = &collected->headers[i];
        if (header->name != end + 2)
            return false;
        const char *at = header->name + header->name_len + 1;
        while (at < header->value && (*at == ' ' || *at == '\t'))
            at++;
        if (at != header->value)
            return false;
        end = header->value + header->value_len;
    }
    return end + 4 == x->method + bytes;
}
#else
static bool as_sent(const struct http_exchange *x, const char *url, const char *version, const struct collected *collected,
                    size_t bytes)
{
    (void) x;
    (void) url;
    (void) version;
    (void) collected;
    (void) bytes;
    return true;
}
#endif

static bool refuse(struct http_gate_verdict *verdict, unsigned status, const char *code, const char *text)
{
    verdict->status = status;
    verdict->code = code;
    verdict->text = text;
    return false;
}

bool http_header_check(struct http_exchange *x, const char *url, const char *version, struct http_gate_verdict *verdict)
{
    struct MHD_Connection *mhd = x->connection->mhd;
    struct collected collected;
    collected.count = collected.cookies = 0;
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, collect, &collected);
    size_t bytes = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    struct http_gate_request request = {x->method, x->path, version, collected.headers, collected.count, bytes};
    if (!http_gate_check(&request, verdict))
        return false;
    if (!as_sent(x, url, version, &collected, bytes))
        return refuse(verdict, 400, "bad_request", "A line of the header does not end with CRLF, is continued on the next line, has "
                                                   "no name or holds a NUL, or the request line has too many spaces.");
    int records = MHD_get_connection_values(mhd, MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND, NULL, NULL);
    if (bytes + collected.cookies + (size_t) records * HTTP_POOL_RECORD > HTTP_POOL_BYTES - HTTP_POOL_ANSWER)
        return refuse(verdict, 431, "header_too_large", "The header is too large.");
    return true;
}
