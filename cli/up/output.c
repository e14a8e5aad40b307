/* SPDX-License-Identifier: Apache-2.0 */
/* Lines from children to the screen: see output.h. */
#include "cli/up/output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void screen_init(struct screen *screen)
{
    *screen = (struct screen){.name_width = (int) strlen("lineshaft")};
    for (int fd = 1; fd <= 2; fd++)
        screen->colours[fd] = render_colours(fd);
}

void screen_fini(struct screen *screen)
{
    buf_fini(&screen->line);
}

static void write_whole(struct screen *screen, int fd)
{
    size_t at = 0;
    while (at < screen->line.len && !screen->broken) {
        ssize_t wrote = write(fd, screen->line.data + at, screen->line.len - at);
        if (wrote >= 0)
            at += (size_t) wrote;
        else if (errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (errno != EINTR)
            screen->broken = true;
    }
}

void screen_line(struct screen *screen, int fd, const struct speaker *speaker, const char *text, size_t len)
{
    struct buf *line = &screen->line;
    buf_clear(line);
    render_colour(line, screen->colours[fd], speaker->colour);
    buf_addf(line, "%-*s |", screen->name_width, speaker->name);
    render_colour(line, screen->colours[fd], COLOUR_NONE);
    if (len)
        buf_add_byte(line, ' ');
    render_harmless(line, text, len);
    buf_add_byte(line, '\n');
    write_whole(screen, fd);
}

static void put_line(struct source *source, struct screen *screen, struct speaker *speaker, size_t from, size_t len)
{
    const char *text = (const char *) source->text.data + from;
    if (len && text[len - 1] == '\r')
        len--;
    char *kept = speaker->kept[speaker->kept_count++ % OUTPUT_KEPT];
    size_t keep = len < OUTPUT_KEPT_BYTES - 1 ? len : OUTPUT_KEPT_BYTES - 1;
    memcpy(kept, text, keep);
    kept[keep] = '\0';
    screen_line(screen, source->screen, speaker, text, len);
}

static void put_lines(struct source *source, struct screen *screen, struct speaker *speaker)
{
    size_t from = 0;
    const char *text = (const char *) source->text.data;
    while (from < source->text.len) {
        const char *end = memchr(text + from, '\n', source->text.len - from);
        size_t len = end ? (size_t) (end - text) - from : source->text.len - from;
        if (!end && len < OUTPUT_LINE_MAX)
            break;
        if (len > OUTPUT_LINE_MAX)
            len = OUTPUT_LINE_MAX;
        put_line(source, screen, speaker, from, len);
        from += len;
        if (end == text + from)
            from++;
    }
    memmove(source->text.data, source->text.data + from, source->text.len - from);
    source->text.len -= from;
}

bool source_read(struct source *source, struct screen *screen, struct speaker *speaker)
{
    char chunk[OUTPUT_LINE_MAX];
    ssize_t got = read(source->fd, chunk, sizeof chunk);
    if (got > 0) {
        buf_add(&source->text, chunk, (size_t) got);
        put_lines(source, screen, speaker);
        if (source->text.len == 0)
            buf_fini(&source->text); /* a quiet child costs nothing */
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    source_close(source, screen, speaker);
    return false;
}

void source_close(struct source *source, struct screen *screen, struct speaker *speaker)
{
    if (source->fd < 0)
        return;
    if (source->text.len)
        put_line(source, screen, speaker, 0, source->text.len);
    buf_fini(&source->text);
    close(source->fd);
    source->fd = -1;
}
