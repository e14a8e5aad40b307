/* SPDX-License-Identifier: Apache-2.0 */
/* The text side of logs: cutting between characters, bytes that every reader takes, lines of progress, names of files. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/json.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/runner/log.h"

#define PROGRESS_MARK "::progress"
#define NAME_BYTES_MAX 200
#define MESSAGE_BYTES_MAX 2000

size_t log_cut(const uint8_t *data, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t lead = data[len - back];
        size_t need = lead >= 0xf8 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
        if (lead >= 0x80 && lead < 0xc0)
            continue; /* a byte within a character: its first one stands before it */
        return need > back ? len - back : len;
    }
    return len;
}

void log_text(struct buf *out, const uint8_t *data, size_t len)
{
    buf_add_byte(out, '"');
    while (len) {
        const uint8_t *nul = memchr(data, 0, len);
        size_t plain = nul ? (size_t) (nul - data) : len;
        json_put_chars(out, data, plain, false);
        if (nul)
            buf_addf(out, "\xef\xbf\xbd");
        data += plain + (nul != NULL);
        len -= plain + (nul != NULL);
    }
    buf_add_byte(out, '"');
}

void log_name(struct buf *out, const char *name)
{
    static const char KEPT[] = "._-+:=@,";
    size_t at = out->len;
    for (const char *c = name; *c; c++) {
        bool dot = *c == '.' && c == name; /* no hidden files, no way upwards */
        if (!dot && (isalnum((unsigned char) *c) || strchr(KEPT, *c)))
            buf_add_byte(out, (uint8_t) *c);
        else
            buf_addf(out, "%%%02X", (unsigned char) *c);
    }
    if (out->len - at <= NAME_BYTES_MAX)
        return;
    out->len = at + NAME_BYTES_MAX - 17;
    buf_addf(out, "~%016llx", (unsigned long long) XXH64(name, strlen(name), 0));
}

/* ---- progress ---- */

static void take_line(struct progress *p)
{
    char *end, *at = p->line + strlen(PROGRESS_MARK);
    p->line[p->len] = '\0';
    if (p->len < strlen(PROGRESS_MARK) || strlen(p->line) != p->len || (*at != ' ' && *at != '\t'))
        return;
    double fraction = strtod(at, &end);
    if (end == at || !isfinite(fraction) || fraction < 0 || fraction > 1 || (*end && !isspace((unsigned char) *end)))
        return;
    size_t len = strlen(end + strspn(end, " \t"));
    end += strspn(end, " \t");
    while (len && isspace((unsigned char) end[len - 1]))
        len--;
    p->news = true;
    p->fraction = fraction;
    free(p->message);
    p->message =
        len ? xstrndup(end, log_cut((const uint8_t *) end, len < MESSAGE_BYTES_MAX ? len : MESSAGE_BYTES_MAX)) : NULL;
}

/* What is left of a line is looked at only as long as it may be progress. */
static bool may_be(const struct progress *p)
{
    size_t mark = strlen(PROGRESS_MARK), len = p->len < mark ? p->len : mark;
    return p->len < sizeof p->line - 1 && memcmp(p->line, PROGRESS_MARK, len) == 0;
}

void progress_feed(struct progress *p, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len;
    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t) (end - data)), *stop = newline ? newline : end;
        for (; data < stop && !p->skip; data++) {
            p->line[p->len++] = (char) *data;
            p->skip = !may_be(p);
        }
        if (newline && !p->skip)
            take_line(p);
        if (newline) {
            p->len = 0;
            p->skip = false;
        }
        data = newline ? newline + 1 : end;
    }
}

void progress_fini(struct progress *p)
{
    free(p->message);
    *p = (struct progress){0};
}
