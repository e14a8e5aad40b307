/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people out of bytes that nobody vouches for. The same for JSON is lib/json.c. */
#include "cli/render.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "lib/json.h"
#include "lib/utf8.h"

void render_harmless(struct buf *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t size = utf8_next(p + i, len - i, &code);
        if (size == 0)
            buf_addf(out, "\\x%02x", p[i]);
        else if (!utf8_is_harmful(code) || code == '\t')
            buf_add(out, p + i, size);
        else if (code < 0x80)
            buf_addf(out, code == '\n' ? "\\n" : "\\x%02x", (unsigned) code);
        else
            buf_addf(out, "\\u{%x}", (unsigned) code);
        i += size ? size : 1;
    }
}

void render_body(struct buf *out, const void *body, size_t len, size_t max)
{
    struct mp value = mp_over(body, len);
    char size[RENDER_SHORT_SIZE];
    switch (json_body_kind(ls_bytes(body, len))) {
    case LS_BODY_EMPTY:
        break;
    case LS_BODY_JSON:
        json_put_copy(out, body, len, max);
        break;
    case LS_BODY_MSGPACK:
        json_put_value(out, &value, max);
        break;
    case LS_BODY_BYTES:
        buf_addf(out, "(%s) ", render_size(len, size));
        render_harmless(out, body, len < max ? len : max);
    }
}

size_t render_columns(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *) text;
    size_t columns = 0;
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t size = utf8_next(p + i, len - i, &code);
        int width = size > 1 ? wcwidth((wchar_t) code) : 1;
        columns += width < 0 ? 1 : (size_t) width;
        i += size ? size : 1;
    }
    return columns;
}

void render_cut(struct buf *text, size_t columns)
{
    if (columns == 0 || render_columns((const char *) text->data, text->len) <= columns)
        return;
    size_t at = 0, used = 0;
    while (at < text->len) {
        uint32_t code = 0;
        size_t size = utf8_next(text->data + at, text->len - at, &code);
        size = size ? size : 1;
        size_t width = render_columns((const char *) text->data + at, size);
        if (used + width > columns - 1)
            break;
        used += width;
        at += size;
    }
    text->len = at;
    buf_add(text, "\xe2\x80\xa6", 3);
}

void render_put(const struct buf *text, FILE *file)
{
    if (text->len)
        fwrite(text->data, 1, text->len, file);
}

bool render_colours(int fd)
{
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
    return !(none && *none) && term && strcmp(term, "dumb") != 0 && isatty(fd);
}

void render_colour(struct buf *out, bool colours, enum colour colour)
{
    static const char *const CODES[] = {"0", "31", "32", "33", "34", "35", "36", "2", "1"};
    if (colours)
        buf_addf(out, "\x1b[%sm", CODES[colour]);
}

size_t render_width(int fd)
{
    struct winsize size;
    if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) != 0)
        return 0;
    setlocale(LC_CTYPE, "C.UTF-8"); /* wcwidth knows wide characters by it */
    return size.ws_col;
}

const char *render_size(uint64_t bytes, char text[RENDER_SHORT_SIZE])
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double number = (double) bytes;
    size_t unit = 0;
    while (number >= 1023.95 && unit < 5) {
        number /= 1024;
        unit++;
    }
    snprintf(text, RENDER_SHORT_SIZE, unit && number < 100 ? "%.1f %s" : "%.0f %s", number, UNITS[unit]);
    return text;
}

const char *render_duration(int64_t us, char text[RENDER_SHORT_SIZE])
{
    long long s = (long long) us / 1000000;
    if (us < 1000)
        snprintf(text, RENDER_SHORT_SIZE, "%lld us", (long long) us);
    else if (us < 10000)
        snprintf(text, RENDER_SHORT_SIZE, "%.1f ms", (double) us / 1000);
    else if (us < 1000000)
        snprintf(text, RENDER_SHORT_SIZE, "%lld ms", (long long) us / 1000);
    else if (s < 60)
        snprintf(text, RENDER_SHORT_SIZE, s < 10 ? "%.1f s" : "%.0f s", (double) us / 1e6);
    else if (s < 3600)
        snprintf(text, RENDER_SHORT_SIZE, "%lld min %lld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, RENDER_SHORT_SIZE, "%lld h %lld min", s / 3600, s / 60 % 60);
    else
        snprintf(text, RENDER_SHORT_SIZE, "%lld d %lld h", s / 86400, s / 3600 % 24);
    return text;
}
