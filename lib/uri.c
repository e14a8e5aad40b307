/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-escapes: writing them, taking them out. */
#include "lib/uri.h"

#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"

static const char UNRESERVED[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

void uri_encode(struct buf *out, const char *text, const char *kept)
{
    for (const char *c = text; *c; c++) {
        if (strchr(UNRESERVED, *c) || strchr(kept, *c))
            buf_add_byte(out, (uint8_t) *c);
        else
            buf_addf(out, "%%%02X", (unsigned char) *c);
    }
}

char *uri_encoded(const char *text, const char *kept)
{
    struct buf out = {0};
    uri_encode(&out, text, kept);
    buf_text(&out); /* now its bytes are a text that free() takes */
    return (char *) out.data;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t uri_decode(char *text, size_t len, bool plus, unsigned *flaws)
{
    unsigned met = 0;
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = plus && text[i] == '+' ? ' ' : text[i];
        if (c == '%' && len - i > 2 && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
            c = (char) (hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
            i += 2;
        } else if (c == '%') {
            met |= URI_MALFORMED;
        }
        met |= c ? 0 : URI_NUL;
        text[used++] = c;
    }
    text[used] = '\0';
    if (flaws)
        *flaws = met;
    return used;
}

char *uri_decoded(const char *text)
{
    char *plain = xstrdup(text);
    uri_decode(plain, strlen(plain), false, NULL);
    return plain;
}

char *uri_file_path(const char *uri)
{
    const char *path = uri + strlen("file:");
    if (strncmp(uri, "file:", strlen("file:")) != 0)
        return NULL;
    if (strncmp(path, "//localhost/", strlen("//localhost/")) == 0)
        path += strlen("//localhost");
    else if (strncmp(path, "///", 3) == 0)
        path += 2;
    else if (path[0] != '/' || path[1] == '/')
        return NULL; /* it is relative, or another machine's */
    return uri_decoded(path);
}
