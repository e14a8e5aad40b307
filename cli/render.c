/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people and for JSON out of bytes that nobody vouches for. */
#include "cli/render.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

/* Decodes one code point; 0 bytes if it is not well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
static size_t utf8_next(const uint8_t *p, size_t len, uint32_t *code)
{
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    if (size == 0 || size > len)
        return 0;
    *code = size == 1 ? p[0] : p[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    if (size > 1 && (*code < SMALLEST[size] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)))
        return 0;
    return size;
}

/* Controls, and what reorders or hides text: direction marks, line separators, the byte order mark. */
static bool is_harmful(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0x061c ||
           (code >= 0xe0000 && code <= 0xe007f);
}

void render_harmless(struct buf *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t size = utf8_next(p + i, len - i, &code);
        if (size == 0)
            buf_addf(out, "\\x%02x", p[i]);
        else if (!is_harmful(code) || code == '\t')
            buf_add(out, p + i, size);
        else if (code < 0x80)
            buf_addf(out, code == '\n' ? "\\n" : "\\x%02x", (unsigned) code);
        else
            buf_addf(out, "\\u{%x}", (unsigned) code);
        i += size ? size : 1;
    }
}

static void json_escape(struct buf *out, uint32_t code)
{
    if (code > 0xffff)
        buf_addf(out, "\\u%04x\\u%04x", (unsigned) (0xd800 + ((code - 0x10000) >> 10)), (unsigned) (0xdc00 + (code & 0x3ff)));
    else if (code == '\n')
        buf_add(out, "\\n", 2);
    else if (code == '\t')
        buf_add(out, "\\t", 2);
    else
        buf_addf(out, "\\u%04x", (unsigned) code);
}

void render_json_chars(struct buf *out, const void *data, size_t len, bool escaped)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t size = utf8_next(p + i, len - i, &code);
        if (size == 0)
            buf_add(out, "\xef\xbf\xbd", 3);
        else if (is_harmful(code))
            json_escape(out, code);
        else {
            if (!escaped && (code == '"' || code == '\\'))
                buf_add_byte(out, '\\');
            buf_add(out, p + i, size);
        }
        i += size ? size : 1;
    }
}

void render_json_string(struct buf *out, const void *data, size_t len)
{
    buf_add_byte(out, '"');
    render_json_chars(out, data, len, false);
    buf_add_byte(out, '"');
}

void render_json_text(struct buf *out, const char *text)
{
    if (text)
        render_json_string(out, text, strlen(text));
    else
        buf_add(out, "null", 4);
}

void render_base64(struct buf *out, const void *data, size_t len)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t) p[i] << 16 | (left > 1 ? (uint32_t) p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        buf_add_byte(out, (uint8_t) DIGITS[group >> 18]);
        buf_add_byte(out, (uint8_t) DIGITS[group >> 12 & 63]);
        buf_add_byte(out, left > 1 ? (uint8_t) DIGITS[group >> 6 & 63] : '=');
        buf_add_byte(out, left > 2 ? (uint8_t) DIGITS[group & 63] : '=');
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
