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
    table->cells[table->count++] = xstrdup(buf_text(&cell));
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

static void put_cell(struct buf *line, const char *text, size_t width, bool right, bool last)
{
    size_t columns = render_columns(text, strlen(text));
    size_t pad = columns < width ? width - columns : 0;
    buf_addf(line, "%*s%s%*s", right ? (int) pad : 0, "", text, right || last ? 0 : (int) pad, "");
    if (!last)
        buf_add(line, "  ", 2);
}

static void put_row(const struct table *t, char *const *cells, const size_t *widths, size_t screen)
{
    struct buf line = {0};
    for (size_t c = 0; c < t->columns; c++) {
        const char *text = cells ? cells[c] : t->headings[c] + (t->headings[c][0] == '>');
        put_cell(&line, text, widths[c], t->headings[c][0] == '>', c + 1 == t->columns);
    }
    while (line.len && line.data[line.len - 1] == ' ')
        line.len--;
    render_cut(&line, screen);
    buf_add_byte(&line, '\n');
    render_put(&line, stdout);
    buf_fini(&line);
}

void table_print(struct table *table, const char *nothing)
{
    size_t widths[TABLE_COLUMNS_MAX], screen = render_width(STDOUT_FILENO);
    for (size_t c = 0; c < table->columns; c++) {
        widths[c] = strlen(table->headings[c]) - (table->headings[c][0] == '>');
        for (size_t i = c; i < table->count; i += table->columns) {
            size_t width = render_columns(table->cells[i], strlen(table->cells[i]));
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
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}
