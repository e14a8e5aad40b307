/* SPDX-License-Identifier: Apache-2.0 */
/* The panels: which columns they have, what a cell says, when it warns. The grid that comes of it is drawn elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top/top.h"
#include "lib/xmem.h"

#define WAITS_LONG_MS 60000 /* an event that is unacknowledged for so long is worth a colour */
#define NAME_MIN 12         /* columns go before a name gets narrower */
#define UNKNOWN "-"
#define NUMBER_MAX 9e15 /* beyond, a number is nonsense; and it fits where it is multiplied by a thousand */

/* ---- what warns ---- */

static enum colour warn_health(const json_t *row)
{
    return strcmp(top_text(row, "health"), "healthy") == 0 ? COLOUR_NONE : COLOUR_RED;
}

static enum colour warn_problem(const json_t *row)
{
    (void) row;
    return COLOUR_RED;
}

static enum colour warn_oldest(const json_t *row)
{
    return top_count(row, "oldest_ms") >= WAITS_LONG_MS ? COLOUR_YELLOW : COLOUR_NONE;
}

static enum colour warn_members(const json_t *row)
{
    return top_count(row, "members") == 0 && top_count(row, "pending") > 0 ? COLOUR_RED : COLOUR_NONE;
}

static enum colour warn_dead(const json_t *row)
{
    return top_count(row, "dead") > 0 ? COLOUR_RED : COLOUR_NONE;
}

static enum colour warn_waiting(const json_t *row)
{
    return top_count(row, "waiting") > 0 ? COLOUR_YELLOW : COLOUR_NONE;
}

static enum colour warn_state(const json_t *row)
{
    const char *state = top_text(row, "state");
    if (!*state || strcmp(state, "running") == 0)
        return COLOUR_NONE;
    return strcmp(state, "waiting") == 0 ? COLOUR_RED : COLOUR_YELLOW;
}

static enum colour warn_restarts(const json_t *row)
{
    return top_count(row, "restarts") > 0 ? COLOUR_YELLOW : COLOUR_NONE;
}

/* ---- the panels ---- */

#define ALWAYS 100
#define RARE 30 /* and below: not shown while no row has anything to say there */

const struct top_panel TOP_PANEL[TOP_PANELS] = {
    {.title = "streams", .list = "streams", .nothing = "no streams", .sort = 1, .columns = {
        {"STREAM", "name", TOP_TEXT, ALWAYS, NULL, "name"},
        {">EVENTS/S", "rate", TOP_RATE, 90, NULL, "events stored a second"},
        {">BYTES/S", "bytes_rate", TOP_SIZE_RATE, 60, NULL, "their headers and bodies"},
        {">EVENTS", "events", TOP_COUNT, 80, NULL, "events that it holds"},
        {">SIZE", "bytes", TOP_SIZE, 70, NULL, "its files, or its memory"},
        {"RETENTION", "retain", TOP_RETENTION, 40, NULL, "how long or how much it keeps"},
        {"HEALTH", "health", TOP_TEXT, 85, warn_health,
         "healthy, full (no room on the disk) or read-only (the disk refused a write)"},
        {"PROBLEM", "problem", TOP_TEXT, RARE, warn_problem, "why it is not healthy"}}},
    {.title = "topics", .list = "topics", .nothing = "no event yet", .sort = 1, .columns = {
        {"TOPIC", "topic", TOP_TEXT, ALWAYS, NULL, "the 1,000 that had the most events"},
        {">EVENTS/S", "rate", TOP_RATE, 90, NULL, "events a second"},
        {">BYTES/S", "bytes_rate", TOP_SIZE_RATE, 60, NULL, "their headers and bodies"},
        {">EVENTS", "events", TOP_COUNT, 80, NULL, "events since the broker started"},
        {">SIZE", "bytes", TOP_SIZE, 50, NULL, "bytes since then"},
        {">LAST SEEN", "last_us", TOP_AGO_US, 70, NULL, "how long ago the latest came"},
        {"STREAM", "stream", TOP_TEXT, 40, NULL, "which keeps it; - if none does"}}},
    {.title = "consumers", .list = "consumers", .nothing = "no durable consumers", .sort = 1, .columns = {
        {"CONSUMER", "name", TOP_TEXT, ALWAYS, NULL, "name"},
        {">PENDING", "pending", TOP_COUNT, 95, NULL, "its lag: events not finished yet"},
        {">RATE", "rate", TOP_RATE, 80, NULL, "acknowledged a second"},
        {">IN FLIGHT", "in_flight", TOP_COUNT, 50, NULL, "given out, not acknowledged yet"},
        {">OLDEST", "oldest_ms", TOP_AGE_MS, 85, warn_oldest,
         "age of the oldest event that is not finished; yellow from a minute on"},
        {">MEMBERS", "members", TOP_COUNT, 70, warn_members, "who reads; red: events wait and nobody does"},
        {">DEAD", "dead", TOP_COUNT, 75, warn_dead,
         "dead letters since the broker started; `lineshaft dlq` shows those that wait"},
        {"STREAM", "stream", TOP_TEXT, 40, NULL, "that it reads"}}},
    {.title = "services", .list = "services", .nothing = "nobody serves requests", .sort = 1, .columns = {
        {"SERVICE", "topic", TOP_TEXT, ALWAYS, NULL, "the requests that are served"},
        {">REQUESTS/S", "rate", TOP_RATE, 90, NULL, "given to workers, a second"},
        {">WORKERS", "members", TOP_COUNT, 70, NULL, "who serves"},
        {">SLOTS", "slots", TOP_COUNT, 60, NULL, "requests that they take at a time"},
        {">BUSY", "busy", TOP_COUNT, 80, NULL, "slots in use"},
        {">WAITING", "waiting", TOP_COUNT, 85, warn_waiting, "requests that no slot is free for"}}},
    {.title = "nodes", .list = "nodes", .nothing = "no nodes, no clients", .sort = 3, .columns = {
        {"NODE", "name", TOP_TEXT, ALWAYS, NULL,
         "process that `lineshaft up` started, or another client of the broker"},
        {"KIND", "kind", TOP_TEXT, 50, NULL, "of the node"},
        {"STATE", "state", TOP_TEXT, 90, warn_state, "running, waiting (to be started again), ending or ended"},
        {">CPU", "cpu_percent", TOP_PERCENT, 85, NULL, "of one core, with all that it started"},
        {">MEMORY", "pss", TOP_SIZE, 80, NULL, "PSS: shared pages are divided among those who share them"},
        {">RESTARTS", "restarts", TOP_COUNT, 75, warn_restarts, "starts after the first"},
        {">PUB/S", "published_rate", TOP_RATE, 65, NULL, "events published a second"},
        {">DELIV/S", "delivered_rate", TOP_RATE, 64, NULL, "events delivered to it a second"},
        {">SERVED/S", "served_rate", TOP_RATE, 45, NULL, "requests given to it a second"},
        {">UP", "since_us", TOP_AGO_US, 60, NULL, "since when it is in this state"},
        {"LAST END", "last_end", TOP_TEXT, RARE, NULL, "how it ended last, if it did"},
        {"HOST", "host", TOP_TEXT, 20, NULL, "of its `up`"}}},
};

size_t top_columns(const struct top_panel *panel)
{
    size_t count = 0;
    while (count < TOP_COLUMNS_MAX && panel->columns[count].heading)
        count++;
    return count;
}

/* ---- cells ---- */

/* At most six digits, so that columns stay calm. */
static void put_count(struct buf *out, double number, bool rate)
{
    static const char *const UNITS[] = {"", " k", " M", " G", " T", " P"};
    size_t unit = 0;
    if (number < 1e6) {
        buf_addf(out, rate && number >= 0.05 && number < 9.95 ? "%.1f" : "%.0f", rate && number < 0.05 ? 0 : number);
        return;
    }
    while (number >= 999.5 && unit < 5) {
        number /= 1000;
        unit++;
    }
    buf_addf(out, number < 9.995 ? "%.2f%s" : number < 99.95 ? "%.1f%s" : "%.0f%s", number, UNITS[unit]);
}

void top_age(struct buf *out, int64_t us)
{
    char text[RENDER_SHORT_SIZE];
    int64_t s = us > 0 ? us / 1000000 : 0;
    if (s < 60)
        snprintf(text, sizeof text, "%d s", (int) s);
    else
        render_duration(s * 1000000, text);
    char *second = strchr(text, ' ') ? strchr(strchr(text, ' ') + 1, ' ') : NULL;
    if (second && second[1] == '0')
        *second = '\0';
    buf_addf(out, "%s", text);
}

static void put_retention(struct buf *out, const json_t *retain)
{
    char text[RENDER_SHORT_SIZE];
    int64_t age_ms = top_count(retain, "age_ms"), bytes = top_count(retain, "bytes"), count = top_count(retain, "count");
    if (age_ms)
        top_age(out, age_ms * 1000);
    if (bytes)
        buf_addf(out, "%s%s", out->len ? ", " : "", render_size((uint64_t) bytes, text));
    if (count)
        buf_addf(out, "%s%lld events", out->len ? ", " : "", (long long) count);
    if (!out->len)
        buf_addf(out, retain ? "for ever" : UNKNOWN);
}

static void put_text(struct buf *out, const char *text)
{
    render_harmless(out, *text ? text : UNKNOWN, *text ? strlen(text) : 1);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] == '\t')
            out->data[i] = ' ';
}

static void put_cell(struct buf *out, const struct top_column *column, const json_t *row, int64_t now_us)
{
    char text[RENDER_SHORT_SIZE];
    double number;
    bool known = top_number(row, column->key, &number) && number >= 0 && number < NUMBER_MAX;
    buf_clear(out);
    if (column->form == TOP_TEXT)
        put_text(out, top_text(row, column->key));
    else if (column->form == TOP_RETENTION)
        put_retention(out, json_object_get(row, column->key));
    else if (!known)
        buf_addf(out, UNKNOWN);
    else if (column->form == TOP_COUNT || column->form == TOP_RATE)
        put_count(out, number, column->form == TOP_RATE);
    else if (column->form == TOP_PERCENT)
        buf_addf(out, "%.1f %%", number);
    else if (column->form == TOP_SIZE || column->form == TOP_SIZE_RATE)
        buf_addf(out, "%s", render_size((uint64_t) number, text));
    else if (column->form == TOP_AGE_MS)
        buf_addf(out, "%s", number > 0 ? render_duration((int64_t) number * 1000, text) : UNKNOWN);
    else
        top_age(out, now_us - (int64_t) number);
}

/* ---- which rows, in which order ---- */

static bool passes(const struct top_panel *panel, const json_t *row, const char *filter)
{
    if (!*filter)
        return true;
    for (const struct top_column *c = panel->columns; c < panel->columns + top_columns(panel); c++)
        if (c->form == TOP_TEXT && strcasestr(top_text(row, c->key), filter))
            return true;
    return false;
}

static int compare_texts(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(top_text(a, key), top_text(b, key));
}

struct sorting {
    const struct top_panel *panel;
    const struct top_column *column;
    bool reverse;
};

/* What is unknown comes last, either way round; what is equal goes by name. */
static int compare(const void *left, const void *right, void *arg)
{
    const struct sorting *s = arg;
    const json_t *a = *(json_t *const *) left, *b = *(json_t *const *) right;
    const char *key = s->column->key;
    double x, y;
    int order = 0;
    if (s->column->form == TOP_TEXT || s->column->form == TOP_RETENTION) {
        order = compare_texts(a, b, key);
    } else {
        bool known = top_number(a, key, &x), other = top_number(b, key, &y);
        if (known != other)
            return known ? -1 : 1;
        order = !known || x == y ? 0 : x > y ? -1 : 1;
    }
    if (order)
        return s->reverse ? -order : order;
    order = compare_texts(a, b, s->panel->columns[0].key);
    return order ? order : a < b ? -1 : a > b;
}

/* The rows (borrowed), *count of them. */
static const json_t **choose_rows(const struct top_panel *panel, const json_t *list, const struct top_want *want,
                                  size_t *count)
{
    const json_t **rows = xcalloc(json_array_size(list) + 1, sizeof(json_t *)), *row;
    struct sorting sorting = {panel, &panel->columns[want->order.column], want->order.reverse};
    size_t i;
    *count = 0;
    json_array_foreach((json_t *) (uintptr_t) list, i, row)
        if (passes(panel, row, want->filter))
            rows[(*count)++] = row;
    qsort_r(rows, *count, sizeof *rows, compare, &sorting);
    return rows;
}

/* ---- the grid ---- */

static const char *bare(const char *heading)
{
    return heading + (heading[0] == '>');
}

/* What numbers take anyway, so that columns do not move while they change. */
static size_t least_width(const struct top_column *column)
{
    static const size_t WIDTHS[] = {[TOP_COUNT] = 6, [TOP_RATE] = 6, [TOP_SIZE] = 8, [TOP_SIZE_RATE] = 8, [TOP_PERCENT] = 7,
                                    [TOP_AGE_MS] = 9, [TOP_AGO_US] = 9, [TOP_RETENTION] = 0};
    size_t heading = strlen(bare(column->heading)), number = WIDTHS[column->form];
    return heading > number ? heading : number;
}

static size_t total_width(const struct top_grid *grid)
{
    size_t width = 0;
    for (size_t i = 0; i < grid->columns; i++)
        width += grid->width[i] + (i > 0 ? 2 : 0);
    return width;
}

static int keep_of(const struct top_grid *grid, size_t i)
{
    return grid->panel->columns[grid->column[i]].keep;
}

static void drop_column(struct top_grid *grid, size_t i)
{
    grid->columns--;
    memmove(grid->column + i, grid->column + i + 1, (grid->columns - i) * sizeof *grid->column);
    memmove(grid->width + i, grid->width + i + 1, (grid->columns - i) * sizeof *grid->width);
}

static size_t least_column(const struct top_grid *grid)
{
    size_t least = 1;
    for (size_t i = 1; i < grid->columns; i++)
        if (keep_of(grid, i) < keep_of(grid, least))
            least = i;
    return least;
}

static bool says_something(const struct top_grid *grid, size_t column)
{
    for (size_t r = 0; r < grid->rows; r++)
        if (strcmp(grid->cells[r * top_columns(grid->panel) + column].text, UNKNOWN) != 0)
            return true;
    return false;
}

static void drop_rare(struct top_grid *grid)
{
    for (size_t i = grid->columns; i-- > 0;)
        if (keep_of(grid, i) <= RARE && !says_something(grid, grid->column[i]))
            drop_column(grid, i);
}

/* Columns go until the name has room; then the name is cut. */
static void fit(struct top_grid *grid, size_t screen)
{
    size_t name = grid->width[0], least = name < NAME_MIN ? name : NAME_MIN;
    while (grid->columns > 1 && total_width(grid) - name + least > screen)
        drop_column(grid, least_column(grid));
    size_t others = total_width(grid) - name;
    if (others + name > screen)
        grid->width[0] = screen > others ? screen - others : 1;
}

void top_grid_fill(struct top_grid *grid, const struct top_panel *panel, const json_t *sample, const struct top_want *want)
{
    const json_t *list = json_object_get(sample, panel->list);
    int64_t now_us = top_count(json_object_get(sample, "broker"), "now_us");
    size_t all = top_columns(panel);
    struct buf text = {0};
    *grid = (struct top_grid){.panel = panel, .columns = all, .total = json_array_size(list)};
    const json_t **rows = choose_rows(panel, list, want, &grid->rows);
    grid->cells = xcalloc(grid->rows * all + 1, sizeof *grid->cells);
    for (size_t c = 0; c < all; c++) {
        const struct top_column *column = &panel->columns[c];
        grid->column[c] = c;
        grid->width[c] = least_width(column);
        for (size_t r = 0; r < grid->rows; r++) {
            put_cell(&text, column, rows[r], now_us);
            size_t columns = render_columns(buf_text(&text), text.len);
            grid->width[c] = columns > grid->width[c] ? columns : grid->width[c];
            enum colour colour = column->warns ? column->warns(rows[r]) : COLOUR_NONE;
            grid->cells[r * all + c] = (struct top_cell){xstrdup(buf_text(&text)), colour};
        }
    }
    drop_rare(grid);
    if (want->width)
        fit(grid, want->width);
    buf_fini(&text);
    free(rows);
}

void top_grid_fini(struct top_grid *grid)
{
    for (size_t i = 0; grid->cells && i < grid->rows * top_columns(grid->panel); i++)
        free(grid->cells[i].text);
    free(grid->cells);
    *grid = (struct top_grid){0};
}

static void put_padded(struct buf *out, const char *text, size_t width, bool right, bool last)
{
    struct buf cut = {0};
    buf_add(&cut, text, strlen(text));
    render_cut(&cut, width);
    size_t columns = render_columns(buf_text(&cut), cut.len), pad = columns < width ? width - columns : 0;
    buf_addf(out, "%*s%s%*s", right ? (int) pad : 0, "", buf_text(&cut), right || last ? 0 : (int) pad, "");
    buf_fini(&cut);
}

void top_grid_line(const struct top_grid *grid, size_t row, struct buf *out, size_t ends[TOP_COLUMNS_MAX])
{
    size_t all = top_columns(grid->panel);
    for (size_t i = 0; i < grid->columns; i++) {
        const char *heading = grid->panel->columns[grid->column[i]].heading;
        const char *text = row == SIZE_MAX ? bare(heading) : grid->cells[row * all + grid->column[i]].text;
        if (i)
            buf_add(out, "  ", 2);
        put_padded(out, text, grid->width[i], heading[0] == '>', i + 1 == grid->columns);
        ends[i] = out->len;
    }
}

void top_share_lines(const size_t *needs, size_t *shares, size_t count, size_t lines)
{
    bool more = true;
    memset(shares, 0, count * sizeof *shares);
    while (lines && more) {
        more = false;
        for (size_t i = 0; i < count && lines; i++)
            if (shares[i] < needs[i]) {
                shares[i]++;
                lines--;
                more = true;
            }
    }
}

/* ---- the header ---- */

#define MEMORY_WARN 0.8
#define MEMORY_ALARM 0.95

static double memory_share(const json_t *broker)
{
    int64_t most = top_count(broker, "memory_max");
    return most ? (double) top_count(broker, "memory") / (double) most : 0;
}

static void put_rate(struct buf *out, const json_t *broker, const char *key)
{
    double rate;
    if (top_number(broker, key, &rate))
        put_count(out, rate, true);
    else
        buf_addf(out, UNKNOWN);
}

void top_header_rates(struct buf *out, const json_t *sample)
{
    const json_t *broker = json_object_get(sample, "broker");
    char text[RENDER_SHORT_SIZE];
    size_t dead = json_array_size(json_object_get(sample, "dlq"));
    buf_addf(out, "events/s ");
    put_rate(out, broker, "events_in_rate");
    buf_addf(out, " in, ");
    put_rate(out, broker, "events_out_rate");
    buf_addf(out, " out");
    if (dead)
        buf_addf(out, "   %zu%s dead letter%s", dead, dead >= 1000 ? " or more" : "", dead == 1 ? "" : "s");
    buf_addf(out, "   memory %s of ", render_size((uint64_t) top_count(broker, "memory"), text));
    buf_addf(out, "%s   %lld connections", render_size((uint64_t) top_count(broker, "memory_max"), text),
             (long long) top_count(broker, "connections"));
}

void top_header_broker(struct buf *out, const json_t *sample)
{
    const json_t *broker = json_object_get(sample, "broker");
    put_text(out, top_text(broker, "name"));
    buf_addf(out, "   up ");
    top_age(out, top_count(broker, "uptime_ms") * 1000);
}

enum colour top_header_warns(const json_t *sample)
{
    double share = memory_share(json_object_get(sample, "broker"));
    if (share >= MEMORY_ALARM)
        return COLOUR_RED;
    return share >= MEMORY_WARN || json_array_size(json_object_get(sample, "dlq")) ? COLOUR_YELLOW : COLOUR_NONE;
}
