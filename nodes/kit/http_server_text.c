/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-escapes and query parameters. */
#include "nodes/kit/http_server.h"

#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool http_unescape(const char *text, size_t len, bool plus, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char) text[i];
        if (c == '+' && plus)
            c = ' ';
        if (c == '%') {
            if (len - i < 3 || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0)
                return false;
            c = digit(text[i + 1]) * 16 + digit(text[i + 2]);
            i += 2;
        }
        if (!c || used + 1 >= size)
            return false;
        out[used++] = (char) c;
    }
    if (used >= size)
        return false;
    out[used] = 0;
    return true;
}

/* Whether the still encoded text is `name`: a name may come with escapes, too. */
static bool is_name(const char *text, size_t len, const char *name)
{
    char decoded[128];
    return http_unescape(text, len, true, decoded, sizeof decoded) && !strcmp(decoded, name);
}

bool http_query_get(const struct http_exchange *x, const char *name, char *value, size_t size)
{
    const char *at = http_query(x);
    while (*at) {
        size_t len = strcspn(at, "&"), key = strcspn(at, "=&");
        if (is_name(at, key, name)) {
            const char *from = at + key + (at[key] == '=');
            return http_unescape(from, (size_t) (at + len - from), true, value, size);
        }
        at += len + (at[len] == '&');
    }
    return false;
}
