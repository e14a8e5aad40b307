/* SPDX-License-Identifier: Apache-2.0 */
/* The gate in front of HTTP requests against a second opinion. An input is a request header, lines separated by LF; a line
 * without a colon is a name without a value. What passes must have one reading only. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/xmem.h"
#include "nodes/kit/http_gate.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool holds, const char *rule)
{
    if (holds)
        return;
    fprintf(stderr, "http_gate_fuzz: %s\n", rule);
    abort();
}

/* Cuts at the first `end`; *rest goes behind it, or to the end of the text. */
static char *cut(char **rest, char end)
{
    char *from = *rest, *at = strchr(from, end);
    *rest = at ? at + 1 : from + strlen(from);
    if (at)
        *at = 0;
    return from;
}

static bool is(const struct http_gate_header *header, const char *name)
{
    return header->name_len == strlen(name) && !strncasecmp(header->name, name, header->name_len);
}

static void check_header(const struct http_gate_header *header)
{
    must(header->name_len > 0, "a header without a name passed");
    for (size_t i = 0; i < header->name_len; i++)
        must(isgraph((unsigned char) header->name[i]) && header->name[i] != ':', "a bad name passed");
    for (size_t i = 0; i < header->value_len; i++)
        must(header->value[i] == '\t' || !iscntrl((unsigned char) header->value[i]), "a control byte passed");
    for (size_t i = 0; i < header->value_len && is(header, "Content-Length"); i++)
        must(isdigit((unsigned char) header->value[i]), "a length with something else than digits passed");
    if (is(header, "Transfer-Encoding"))
        must(header->value_len == 7 && !strncasecmp(header->value, "chunked", 7), "a coding that is not chunked passed");
}

static void check_passed(const struct http_gate_request *request, const struct http_gate_verdict *verdict)
{
    unsigned lengths = 0, codings = 0, hosts = 0;
    for (size_t i = 0; i < request->count; i++) {
        check_header(&request->headers[i]);
        lengths += is(&request->headers[i], "Content-Length");
        codings += is(&request->headers[i], "Transfer-Encoding");
        hosts += is(&request->headers[i], "Host");
    }
    must(lengths + codings <= 1, "more than one length passed");
    must(verdict->chunked == (codings == 1), "chunked is wrong");
    must(!verdict->length || lengths, "a length from nowhere");
    must(hosts == 1 || (!hosts && !strcmp(request->version, "HTTP/1.0")), "not one host, and it passed");
    must(*request->target == '/' || !strcmp(request->target, "*"), "a target that is no path passed");
    must(strcspn(request->target, " \t\r\n#") == strlen(request->target), "a target with a bad byte passed");
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct http_gate_header headers[HTTP_GATE_HEADERS];
    struct http_gate_verdict verdict;
    char *text = xstrndup((const char *) data, size), *rest = text;
    char *line = cut(&rest, '\n');
    const char *method = cut(&line, ' '), *target = cut(&line, ' ');
    struct http_gate_request request = {method, target, line, headers, 0, size};
    for (; *rest; request.count++) {
        char *value = cut(&rest, '\n'), *name = cut(&value, ':');
        if (*value == ' ')
            value++;
        if (request.count < HTTP_GATE_HEADERS)
            headers[request.count] = (struct http_gate_header){name, value, strlen(name), strlen(value)};
    }
    bool passed = http_gate_check(&request, &verdict);
    must(passed == !verdict.status && passed == !verdict.text && passed == !verdict.code, "the verdict contradicts itself");
    if (passed) {
        must(request.count <= HTTP_GATE_HEADERS && request.bytes <= HTTP_GATE_HEADER_BYTES, "too much passed");
        check_passed(&request, &verdict);
    }
    free(text);
    return 0;
}
