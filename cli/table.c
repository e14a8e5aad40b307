/* SPDX-License-Identifier: Apache-2.0 */
/* Aligned tables on standard output. */
#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/render.h"
#include "lib/xmem.h"

void table_init(struct table *table, const char *const *headings)
{
    *table = (struct table){.headings = headings};
    while (headings[table->columns] && table->columns < TABLE_COLUMNS_MAX)
        table->columns++;
}

void table_add(struct table *table, const void *text, size_t len)
{
    struct buf cell = {0};
    render_harmless(&cell, text, len);
    table->cells = xgrow(table->cells, &table->room, table->count + 1, sizeof *table->cells);
    table->cells[table->count++] = (struct table_cell){.text = xstrdup(buf_text(&cell))};
    buf_fini(&cell);
}

void table_addf(struct table *table, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    table_add(table, text, strlen(text));
}

void table_colour(struct table *table, enum colour colour)
{
    table->cells[table->count - 1].colour = colour;
}

static void put_cell(struct buf *line, const char *text, size_t width, bool right, bool last)
{
    size_t columns = render_columns(text, strlen(text));
    size_t pad = columns < width ? width - columns : 0;
    buf_addf(line, "%*s%s%*s", right ? (int) pad : 0, "", text, right || last ? 0 : (int) pad, "");
    if (!last)
        buf_add(line, "  ", 2);
}

/* Writes a row that has its length already with the colours of its cells, which end at `ends`. */
static void put_coloured(const struct table *t, const struct buf *line, const struct table_cell *cells, const size_t *ends)
{
    bool colours = render_colours(STDOUT_FILENO);
    struct buf out = {0};
    for (size_t c = 0, at = 0; c < t->columns && at < line->len; c++) {
        size_t end = ends[c] < line->len && c + 1 < t->columns ? ends[c] : line->len;
        bool coloured = colours && cells[c].colour != COLOUR_NONE;
        render_colour(&out, coloured, cells[c].colour);
        buf_add(&out, line->data + at, end - at);
        render_colour(&out, coloured, COLOUR_NONE);
        at = end;
    }
    render_put(&out, stdout);
    buf_fini(&out);
}

/* A row; cells NULL: the headings. */
static void put_row(const struct table *t, const struct table_cell *cells, const size_t *widths, size_t screen)
{
    struct buf line = {0};
    size_t ends[TABLE_COLUMNS_MAX];
    for (size_t c = 0; c < t->columns; c++) {
        const char *text = cells ? cells[c].text : t->headings[c] + (t->headings[c][0] == '>');
        put_cell(&line, text, widths[c], t->headings[c][0] == '>', c + 1 == t->columns);
        ends[c] = line.len;
    }
    while (line.len && line.data[line.len - 1] == ' ')
        line.len--;
    render_cut(&line, screen);
    if (cells)
        put_coloured(t, &line, cells, ends);
    else
        render_put(&line, stdout);
    putchar('\n');
    buf_fini(&line);
}

void table_print(struct table *table, const char *nothing)
{
    size_t widths[TABLE_COLUMNS_MAX], screen = render_width(STDOUT_FILENO);
    for (size_t c = 0; c < table->columns; c++) {
        widths[c] = strlen(table->headings[c]) - (table->headings[c][0] == '>');
        for (size_t i = c; i < table->count; i += table->columns) {
            size_t width = render_columns(table->cells[i].text, strlen(table->cells[i].text));
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    if (table->count == 0)
        fprintf(stderr, "%s\n", nothing);
    else
        put_row(table, NULL, widths, screen);
    for (size_t i = 0; i + table->columns <= table->count; i += table->columns)
        put_row(table, table->cells + i, widths, screen);
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct table){0};
}
