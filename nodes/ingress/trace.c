/* SPDX-License-Identifier: Apache-2.0 */
/* Trace identity, as in W3C Trace Context level 1: 00-TRACE(32)-SPAN(16)-FLAGS(2), lower-case hexadecimal. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "nodes/ingress/ingress.h"

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") >= len;
}

static bool all_zero(const char *text, size_t len)
{
    return strspn(text, "0") >= len;
}

static bool is_traceparent(const char *t)
{
    return strlen(t) == 55 && strncmp(t, "00-", 3) == 0 && is_hex(t + 3, 32) && t[35] == '-' && is_hex(t + 36, 16) &&
           t[52] == '-' && is_hex(t + 53, 2) && !all_zero(t + 3, 32) && !all_zero(t + 36, 16);
}

const char *trace_given(const char *header)
{
    return header && is_traceparent(header) ? header : NULL;
}

static void random_hex(char *out, size_t bytes)
{
    unsigned char random[16];
    if (getrandom(random, bytes, 0) != (ssize_t) bytes)
        memset(random, 0x5a, bytes); /* cannot happen for so few bytes once the system is up */
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", random[i]);
}

void trace_child(const char *parent, char out[TRACEPARENT_SIZE])
{
    char span[17];
    random_hex(span, 8);
    snprintf(out, TRACEPARENT_SIZE, "%.36s%s%.3s", parent, span, parent + 52);
}

void trace_begin(const char *header, char out[TRACEPARENT_SIZE])
{
    char trace[33], span[17];
    if (trace_given(header)) {
        trace_child(header, out);
        return;
    }
    random_hex(trace, 16);
    random_hex(span, 8);
    snprintf(out, TRACEPARENT_SIZE, "00-%s-%s-01", trace, span);
}
