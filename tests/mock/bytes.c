/* SPDX-License-Identifier: Apache-2.0 */
/* Growable bytes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mock/mock.h"

void *mock_grow(void *old, size_t count, size_t size)
{
    void *memory = reallocarray(old, count, size);
    if (!memory) {
        fprintf(stderr, "mock: no memory for %zu items of %zu bytes\n", count, size);
        abort();
    }
    return memory;
}

void bytes_reserve(struct bytes *b, size_t more)
{
    if (b->room - b->len >= more)
        return;
    b->room = b->len + more > 2 * b->room ? b->len + more : 2 * b->room;
    b->data = mock_grow(b->data, b->room, 1);
}

void bytes_add(struct bytes *b, const void *data, size_t len)
{
    bytes_reserve(b, len + 1);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void bytes_text(struct bytes *b, const char *text)
{
    bytes_add(b, text, strlen(text));
}

void bytes_addf(struct bytes *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bytes_reserve(b, 256);
    int len = vsnprintf(b->data + b->len, b->room - b->len, format, args);
    va_end(args);
    if ((size_t) len >= b->room - b->len) {
        bytes_reserve(b, (size_t) len + 1);
        va_start(args, format);
        vsnprintf(b->data + b->len, b->room - b->len, format, args);
        va_end(args);
    }
    b->len += (size_t) len;
}

void bytes_json(struct bytes *b, const char *text, size_t len)
{
    bytes_reserve(b, len + 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];
        if (c == '"' || c == '\\')
            bytes_addf(b, "\\%c", c);
        else if (c == '\n')
            bytes_text(b, "\\n");
        else if (c < 0x20)
            bytes_addf(b, "\\u%04x", c);
        else
            bytes_add(b, text + i, 1);
    }
    bytes_add(b, "", 0);
}
