/* SPDX-License-Identifier: Apache-2.0 */
/* The gate in front of every request: names, values, framing, target. libmicrohttpd lets through what proxies read in another
 * way than it does; here it ends. */
#include "nodes/kit/http_gate.h"

#include <string.h>
#include <strings.h>

static bool refuse(struct http_gate_verdict *verdict, unsigned status, const char *code, const char *text)
{
    verdict->status = status;
    verdict->code = code;
    verdict->text = text;
    return false;
}

static bool bad(struct http_gate_verdict *verdict, const char *text)
{
    return refuse(verdict, 400, "bad_request", text);
}

static bool alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool hex(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

bool http_gate_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];
        if (!c || (!alnum(c) && !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return len > 0;
}

bool http_gate_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool named(const struct http_gate_header *header, const char *name)
{
    return header->name_len == strlen(name) && !strncasecmp(header->name, name, header->name_len);
}

static bool valued(const struct http_gate_header *header, const char *value)
{
    return header->value_len == strlen(value) && !strncasecmp(header->value, value, header->value_len);
}

/* Digits only, no sign, no list; 18 of them fit without overflow. */
static bool read_length(const struct http_gate_header *header, uint64_t *length)
{
    if (!header->value_len || header->value_len > 18)
        return false;
    *length = 0;
    for (size_t i = 0; i < header->value_len; i++) {
        if (header->value[i] < '0' || header->value[i] > '9')
            return false;
        *length = *length * 10 + (uint64_t) (header->value[i] - '0');
    }
    return true;
}

/* A host and maybe a port: nothing that could end the host part of an URL. */
static bool host_valid(const struct http_gate_header *header)
{
    for (size_t i = 0; i < header->value_len; i++) {
        unsigned char c = (unsigned char) header->value[i];
        if (!c || (!alnum(c) && !strchr("-._~!$&'()*+,;=:[]%", c)))
            return false;
    }
    return true;
}

static bool check_target(const struct http_gate_request *request, struct http_gate_verdict *verdict)
{
    const char *target = request->target;
    if (!strcmp(target, "*"))
        return !strcmp(request->method, "OPTIONS") || bad(verdict, "The target \"*\" is for OPTIONS only.");
    if (*target != '/')
        return bad(verdict, "The request's target must be a path that begins with \"/\".");
    bool in_query = false;
    for (const char *at = target; *at; at++) {
        unsigned char c = (unsigned char) *at;
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return bad(verdict, "The request's target holds a byte that must be percent-encoded.");
        if (c == '?')
            in_query = true;
        if (c == '%' && !in_query && (!hex((unsigned char) at[1]) || !hex((unsigned char) at[2])))
            return bad(verdict, "The path has a \"%\" without two hexadecimal digits behind it.");
    }
    return true;
}

/* What the framing of the message depends on, counted. */
struct seen {
    unsigned lengths, encodings, hosts;
};

static bool check_header(const struct http_gate_header *header, struct seen *seen, struct http_gate_verdict *verdict)
{
    if (!http_gate_name(header->name, header->name_len))
        return bad(verdict, "A header's name holds a byte that names must not have, such as a space.");
    if (!http_gate_value(header->value, header->value_len))
        return bad(verdict, "A header's value holds a control byte.");
    if (named(header, "Content-Length")) {
        if (seen->lengths++)
            return bad(verdict, "There is more than one Content-Length.");
        if (!read_length(header, &verdict->length))
            return bad(verdict, "Content-Length must be a number of digits only.");
    } else if (named(header, "Transfer-Encoding")) {
        if (seen->encodings++)
            return bad(verdict, "There is more than one Transfer-Encoding.");
        if (!valued(header, "chunked"))
            return bad(verdict, "The only Transfer-Encoding that is understood is \"chunked\".");
        verdict->chunked = true;
    } else if (named(header, "Host")) {
        if (seen->hosts++)
            return bad(verdict, "There is more than one Host.");
        if (!host_valid(header))
            return bad(verdict, "Host is not a host name with an optional port.");
    } else if (named(header, "Expect")) {
        if (!valued(header, "100-continue"))
            return refuse(verdict, 417, "expectation_failed", "The only Expect that is understood is \"100-continue\".");
        verdict->expects = true;
    }
    return true;
}

bool http_gate_check(const struct http_gate_request *request, struct http_gate_verdict *verdict)
{
    *verdict = (struct http_gate_verdict){0};
    bool http10 = !strcmp(request->version, "HTTP/1.0");
    if (!http10 && strcmp(request->version, "HTTP/1.1") != 0)
        return refuse(verdict, 505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
    size_t method_len = strlen(request->method);
    if (method_len > 32 || !http_gate_name(request->method, method_len))
        return bad(verdict, "The request's method is not a token.");
    if (request->bytes > HTTP_GATE_HEADER_BYTES || request->count > HTTP_GATE_HEADERS)
        return refuse(verdict, 431, "header_too_large", "The header is too large: 12 KiB and 100 lines are the limit.");
    if (!check_target(request, verdict))
        return false;
    struct seen seen = {0};
    for (size_t i = 0; i < request->count; i++)
        if (!check_header(&request->headers[i], &seen, verdict))
            return false;
    if (seen.lengths && seen.encodings)
        return bad(verdict, "Content-Length and Transfer-Encoding must not come together.");
    if (http10 && seen.encodings)
        return bad(verdict, "HTTP/1.0 has no Transfer-Encoding.");
    if (!http10 && !seen.hosts)
        return bad(verdict, "HTTP/1.1 requests need a Host.");
    return true;
}
