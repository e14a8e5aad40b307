/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-escapes and query parameters. */
#include "nodes/kit/http_server.h"

#include <stdlib.h>
#include <string.h>

#include "lib/uri.h"
#include "lib/xmem.h"

bool http_unescape(const char *text, size_t len, bool plus, char *out, size_t size)
{
    unsigned flaws;
    char *plain = xcalloc(1, len + 1);
    memcpy(plain, text, len);
    size_t used = uri_decode(plain, len, plus, &flaws);
    bool good = !flaws && used < size;
    if (good)
        memcpy(out, plain, used + 1);
    free(plain);
    return good;
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
