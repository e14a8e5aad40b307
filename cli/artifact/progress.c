/* SPDX-License-Identifier: Apache-2.0 */
/* How far a transfer is, for people and for a runner. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/artifact/artifact.h"
#include "cli/render.h"
#include "cli/run_report.h"
#include "lib/clock.h"

#define BAR_EVERY_MS 100
#define TASK_EVERY_MS 1000
#define BAR_COLUMNS 24
#define WIDTH_DEFAULT 80
#define RATE_AFTER_MS 500 /* before that it means little */

void progress_begin(struct progress *p, const struct artifact *a, const char *verb, const char *name)
{
    bool terminal = isatty(STDERR_FILENO);
    *p = (struct progress){.bar = terminal && !a->quiet, .task = !terminal && !a->quiet, .verb = verb, .name = name,
                           .began_ms = clock_mono_ms()};
}

static void add_bar(struct buf *line, double share)
{
    int full = (int) (share * BAR_COLUMNS);
    buf_addf(line, "  [");
    for (int i = 0; i < BAR_COLUMNS; i++)
        buf_add_byte(line, i < full ? '#' : '.');
    buf_addf(line, "] %3.0f %%", share * 100);
}

static void add_rate(struct buf *line, const struct progress *p, int64_t now_ms)
{
    char rate[RENDER_SHORT_SIZE], left[RENDER_SHORT_SIZE];
    int64_t took_ms = now_ms - p->began_ms;
    if (took_ms < RATE_AFTER_MS || p->done <= p->from)
        return;
    double bytes_a_ms = (double) (p->done - p->from) / (double) took_ms;
    buf_addf(line, "  %s/s", render_size((uint64_t) (bytes_a_ms * 1000), rate));
    if (p->total > p->done)
        buf_addf(line, "  %s left", render_duration((int64_t) ((double) (p->total - p->done) / bytes_a_ms) * 1000, left));
}

static void add_amount(struct buf *line, const struct progress *p)
{
    char done[RENDER_SHORT_SIZE], total[RENDER_SHORT_SIZE];
    buf_addf(line, "%s", render_size(p->done, done));
    if (p->total)
        buf_addf(line, " of %s", render_size(p->total, total));
}

static double share_of(const struct progress *p)
{
    double share = p->total ? (double) p->done / (double) p->total : 0;
    return share > 1 ? 1 : share;
}

static void show_bar(const struct progress *p, int64_t now_ms)
{
    struct buf line = {0};
    size_t width = render_width(STDERR_FILENO);
    buf_addf(&line, "%s ", p->verb);
    render_harmless(&line, p->name, strlen(p->name));
    render_cut(&line, 30);
    if (p->total)
        add_bar(&line, share_of(p));
    buf_addf(&line, "  ");
    add_amount(&line, p);
    add_rate(&line, p, now_ms);
    render_cut(&line, (width ? width : WIDTH_DEFAULT) - 1);
    fprintf(stderr, "\r%s\x1b[K", buf_text(&line));
    buf_fini(&line);
}

static void show_task(const struct progress *p)
{
    struct buf text = {0};
    buf_addf(&text, "%s ", p->verb);
    render_harmless(&text, p->name, strlen(p->name));
    buf_addf(&text, ": ");
    add_amount(&text, p);
    if (p->total)
        task_progress(share_of(p), "%s", buf_text(&text));
    buf_fini(&text);
}

void progress_show(struct progress *p)
{
    int64_t now = clock_mono_ms();
    if ((!p->bar && !p->task) || (p->shown_ms && now - p->shown_ms < (p->bar ? BAR_EVERY_MS : TASK_EVERY_MS)))
        return;
    p->shown_ms = now;
    if (p->bar)
        show_bar(p, now);
    else
        show_task(p);
}

void progress_end(struct progress *p)
{
    if (p->bar)
        fputs("\r\x1b[K", stderr);
}
