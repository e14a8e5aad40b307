/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft top without a screen: tables, or a JSON object a line, once or every interval. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/table.h"
#include "cli/top/top.h"
#include "lib/clock.h"
#include "lib/node.h"

static void put_panel(const struct top_panel *panel, const json_t *sample)
{
    const char *headings[TOP_COLUMNS_MAX + 1] = {NULL};
    const struct top_want want = {.order = {.column = panel->sort}, .filter = ""};
    struct top_grid grid;
    struct table table;
    printf("\n");
    if (json_array_size(json_object_get(sample, panel->list)) == 0) {
        const char *why = json_object_get(sample, panel->list) ? panel->nothing : "this broker does not tell";
        printf("%s: %s\n", panel->title, why);
        return;
    }
    top_grid_fill(&grid, panel, sample, &want);
    for (size_t i = 0; i < grid.columns; i++)
        headings[i] = panel->columns[grid.column[i]].heading;
    table_init(&table, headings);
    for (size_t i = 0; i < grid.rows * grid.columns; i++) {
        size_t row = i / grid.columns, column = grid.column[i % grid.columns];
        const struct top_cell *cell = &grid.cells[row * top_columns(panel) + column];
        table_addf(&table, "%s", cell->text);
        table_colour(&table, cell->colour);
    }
    table_print(&table, panel->nothing);
    top_grid_fini(&grid);
}

static void put_tables(const json_t *sample)
{
    struct buf line = {0};
    top_header_broker(&line, sample);
    buf_addf(&line, "   ");
    top_header_rates(&line, sample);
    puts(buf_text(&line));
    buf_fini(&line);
    for (size_t i = 0; i < TOP_PANELS; i++)
        put_panel(&TOP_PANEL[i], sample);
}

static void put_json(const json_t *sample)
{
    struct buf line = {0};
    node_write(&line, sample);
    buf_add_byte(&line, '\n');
    render_put(&line, stdout);
    buf_fini(&line);
}

/* One sample, when it is time for it. A broker that is away is waited for, unless there is to be an end: then as long as
 * for its other answers. */
static int next_sample(struct top *top, int64_t begin_ms)
{
    struct ls_error err = {0};
    for (bool asked = false, taken = false; !taken && !top_interrupted();) {
        int64_t now_ms = clock_mono_ms(), left_ms = asked ? 1000 : begin_ms - now_ms;
        if (!asked && left_ms <= 0) {
            top_ask_begin(&top->ask);
            asked = true;
        }
        if (asked && top->count && now_ms - top->ask.began_ms > top->bus.timeout_ms) {
            fprintf(stderr,
                    "lineshaft top: the broker at %s has not answered for %lld ms; --timeout is how long that may be\n",
                    ls_client_url(top->bus.client), (long long) top->bus.timeout_ms);
            return CLI_UNREACHABLE;
        }
        if (top_poll(top, -1, left_ms, &err) < 0)
            return bus_failed(&TOP, &err);
        json_t *sample = asked ? top_ask_take(&top->ask) : NULL;
        asked = asked && !sample;
        taken = sample && top_next(top, sample);
    }
    return CLI_OK;
}

int top_plain(struct top *top)
{
    int status = next_sample(top, clock_mono_ms());
    for (uint64_t shown = 0; status == CLI_OK && !top_interrupted() && (!top->count || shown < top->count); shown++) {
        status = next_sample(top, top->ask.began_ms + top->interval_ms);
        if (status != CLI_OK || top_interrupted())
            break;
        if (top->json)
            put_json(top->sample);
        else
            put_tables(top->sample);
        if (shown + 1 != top->count && !top->json)
            printf("\n");
        if (fflush(stdout) != 0 || ferror(stdout))
            return CLI_FAILED;
    }
    return status;
}
