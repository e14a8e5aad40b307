/* SPDX-License-Identifier: Apache-2.0 */
/* The place of a reader in every stream, and the texts that say so. */
#include "nodes/ingress/places.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/xmem.h"

#define STREAMS_MAX 64

void places_set(struct places *p, const char *stream, size_t len, uint64_t next)
{
    for (size_t i = 0; i < p->count; i++)
        if (strlen(p->items[i].stream) == len && memcmp(p->items[i].stream, stream, len) == 0) {
            p->items[i].next = next;
            return;
        }
    if (p->count == STREAMS_MAX)
        return;
    p->items = xgrow(p->items, &p->room, p->count + 1, sizeof *p->items);
    p->items[p->count++] = (struct ls_position){.stream = xstrndup(stream, len), .next = next};
}

void places_fini(struct places *p)
{
    for (size_t i = 0; i < p->count; i++)
        free((char *) (uintptr_t) p->items[i].stream);
    free(p->items);
    *p = (struct places){0};
}

void places_copy(struct places *to, const struct places *from)
{
    places_fini(to);
    for (size_t i = 0; i < from->count; i++)
        places_set(to, from->items[i].stream, strlen(from->items[i].stream), from->items[i].next);
}

void places_text(const struct places *p, struct buf *out)
{
    for (size_t i = 0; i < p->count; i++)
        buf_addf(out, "%s%s:%llu", i ? "," : "", p->items[i].stream, (unsigned long long) p->items[i].next);
}

bool places_parse(struct places *p, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, ":,");
        const char *number = text + len + 1;
        size_t digits = text[len] == ':' ? strspn(number, "0123456789") : 0;
        if (!len || len > 64 || !digits || digits > 19 || (number[digits] && number[digits] != ','))
            return false;
        places_set(p, text, len, strtoull(number, NULL, 10));
        text = number + digits + (number[digits] == ',');
    }
    return p->count > 0;
}

bool from_parse(const char *text, struct ls_from *from)
{
    int64_t us;
    const char *number = strchr(text, ':') ? strchr(text, ':') + 1 : "";
    bool digits = *number && strlen(number) < 19 && strspn(number, "0123456789") == strlen(number);
    if (!*text || strcmp(text, "new") == 0)
        return true;
    if (strcmp(text, "all") == 0)
        from->kind = LS_FROM_ALL;
    else if (strncmp(text, "last:", 5) == 0 && digits)
        *from = (struct ls_from){LS_FROM_LAST, strtoull(number, NULL, 10)};
    else if (strncmp(text, "seq:", 4) == 0 && digits)
        *from = (struct ls_from){LS_FROM_SEQ, strtoull(number, NULL, 10)};
    else if (clock_parse(text, strlen(text), &us) && us >= 0)
        *from = (struct ls_from){LS_FROM_TIME, (uint64_t) us};
    else
        return false;
    return true;
}
