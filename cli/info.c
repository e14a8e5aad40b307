/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's answers as lines and as JSON. */
#include "cli/info.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/render.h"
#include "lib/json.h"

#define LABEL_COLUMNS 14

void info_put(const char *label, const void *text, size_t len)
{
    struct buf line = {0};
    render_harmless(&line, text, len);
    printf("%-*s %s\n", LABEL_COLUMNS, label, buf_text(&line));
    buf_fini(&line);
}

void info_line(const char *label, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    info_put(label, text, strlen(text));
}

void info_text(const char *label, struct mp map, const char *key)
{
    struct mp_slice text = bus_text(map, key);
    info_put(label, text.data, text.len);
}

void info_json(struct mp value)
{
    struct buf out = {0};
    json_put_value(&out, &value, SIZE_MAX);
    puts(buf_text(&out));
    buf_fini(&out);
}

void info_list(struct buf *out, struct mp map, const char *key)
{
    uint32_t count;
    struct mp items = bus_list(map, key, &count);
    struct mp_slice item;
    for (uint32_t i = 0; i < count && mp_str(&items, &item); i++) {
        if (i)
            buf_add(out, ", ", 2);
        buf_add(out, item.data, item.len);
    }
}
