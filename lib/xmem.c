/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that cannot fail as far as the caller is concerned. */
#include "lib/xmem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *mem)
{
    if (!mem) {
        fputs("lineshaft: out of memory\n", stderr);
        abort();
    }
    return mem;
}

void *xcalloc(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *old, size_t size)
{
    return checked(realloc(old, size ? size : 1));
}

char *xstrdup(const char *text)
{
    return checked(strdup(text));
}

char *xstrndup(const char *text, size_t len)
{
    return checked(strndup(text, len));
}

char *xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return checked(len < 0 ? NULL : text);
}

void *xgrow(void *items, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return items;
    size_t wanted = *room ? *room : 8;
    while (wanted < need)
        wanted *= 2;
    *room = wanted;
    return xrealloc(items, wanted * size);
}
