/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft top on a terminal: the screen, drawn from the last sample (ncurses sends what differs), and the keys. */
#include <curses.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/top/top.h"
#include "lib/clock.h"

#define FIRST_INTERVAL_MS 500 /* so that there are rates soon */
#define SILENCE_MS 3000       /* without an answer, before it is said */
#define FILTER_MAX 60
#define BODY_LINE 3
#define MORE_COLUMNS 14 /* "  20-39 of 345" */
#define WIDE 60         /* columns, from which on there is room for it */
#define KEY_ESCAPE 27
#define KEY_RUBOUT 127
#define CONTROL(letter) ((letter) & 31)

static const int64_t INTERVALS_MS[] = {500, 1000, 2000, 5000, 10000, 30000, 60000};
#define INTERVALS (sizeof INTERVALS_MS / sizeof *INTERVALS_MS)

struct view {
    struct top *top;
    SCREEN *screen;
    bool colours, done, paused, help, typing; /* typing: the filter */
    char filter[FILTER_MAX + 1];
    size_t panel; /* 0: the overview; else TOP_PANEL[panel - 1] */
    struct top_order order[TOP_PANELS];
    size_t scroll[TOP_PANELS];
    size_t shown[TOP_COLUMNS_MAX], columns; /* of the panel, as it was drawn last */
    int64_t next_ms;  /* when to ask again */
    int64_t lost_ms;  /* since when the broker is away; 0: it is not */
};

/* ---- drawing ---- */

static attr_t attribute(const struct view *v, enum colour colour)
{
    if (colour == COLOUR_NONE)
        return A_NORMAL;
    return v->colours ? COLOR_PAIR(colour) | A_BOLD : A_BOLD;
}

/* Text that is harmless, cut at the screen's edge. Returns the column behind it. */
static int put(int y, int x, attr_t attr, const char *text)
{
    struct buf cut = {0};
    if (x >= COLS || y >= LINES)
        return x;
    buf_add(&cut, text, strlen(text));
    render_cut(&cut, (size_t) (COLS - x));
    attrset(attr);
    mvaddstr(y, x, buf_text(&cut));
    x += (int) render_columns(buf_text(&cut), cut.len);
    attrset(A_NORMAL);
    buf_fini(&cut);
    return x;
}

/* What is going on with the broker, in words. True: it is not as it should be. */
static bool put_state(const struct view *v, struct buf *line)
{
    const struct top *top = v->top;
    int64_t now_ms = clock_mono_ms(), silent_ms = top->ask.sample ? now_ms - top->ask.began_ms : 0;
    if (v->lost_ms) {
        buf_addf(line, "AWAY for ");
        top_age(line, (now_ms - v->lost_ms) * 1000);
        buf_addf(line, ": %s does not answer, trying again", ls_client_url(top->bus.client));
    } else if (silent_ms > SILENCE_MS) {
        buf_addf(line, "NO ANSWER from the broker for ");
        top_age(line, silent_ms * 1000);
    } else if (top->sample) {
        top_header_broker(line, top->sample);
    } else {
        buf_addf(line, "asking the broker");
    }
    return v->lost_ms || silent_ms > SILENCE_MS;
}

static void draw_state(const struct view *v)
{
    struct buf line = {0};
    buf_add_byte(&line, ' ');
    attr_t attr = A_REVERSE | (put_state(v, &line) ? attribute(v, COLOUR_RED) : A_BOLD);
    buf_addf(&line, "   every %g s%s", (double) v->top->interval_ms / 1000, v->paused ? "   PAUSED" : "");
    attrset(attr);
    mvhline(0, 0, ' ', COLS);
    put(0, 0, attr, buf_text(&line));
    buf_clear(&line);
    if (v->top->sample)
        top_header_rates(&line, v->top->sample);
    put(1, 1, attribute(v, top_header_warns(v->top->sample)), buf_text(&line));
    buf_fini(&line);
}

static const char *title(size_t panel)
{
    return panel ? TOP_PANEL[panel - 1].title : "overview";
}

/* Where they do not fit, only the chosen one has its name. */
static void draw_tabs(const struct view *v)
{
    char text[40];
    int x = 0, all = 0;
    for (size_t i = 0; i <= TOP_PANELS; i++)
        all += (int) strlen(title(i)) + 4;
    for (size_t i = 0; i <= TOP_PANELS; i++) {
        bool chosen = i == v->panel;
        snprintf(text, sizeof text, all <= COLS || chosen ? " %zu %s " : " %zu ", i + 1, title(i));
        x = put(2, x, chosen ? A_REVERSE : A_NORMAL, text);
    }
    if (!v->panel)
        return;
    const struct top_order *order = &v->order[v->panel - 1];
    const char *heading = TOP_PANEL[v->panel - 1].columns[order->column].heading;
    snprintf(text, sizeof text, "  by %s%s", heading + (heading[0] == '>'), order->reverse ? ", reversed" : "");
    if (x + (int) strlen(text) <= COLS)
        put(2, COLS - (int) strlen(text), A_DIM, text);
}

/* Row SIZE_MAX: the headings. Returns the column behind it. */
static int draw_row(const struct view *v, const struct top_grid *grid, size_t row, int y)
{
    struct buf line = {0}, piece = {0};
    size_t ends[TOP_COLUMNS_MAX], all = top_columns(grid->panel), begin = 0;
    bool heading = row == SIZE_MAX;
    int x = 0;
    top_grid_line(grid, row, &line, ends);
    for (size_t i = 0; i < grid->columns; begin = ends[i++]) {
        size_t column = grid->column[i];
        bool sorted = heading && v->panel && v->order[v->panel - 1].column == column;
        buf_clear(&piece);
        buf_add(&piece, line.data + begin, ends[i] - begin);
        attr_t attr = A_BOLD | (sorted ? A_UNDERLINE : A_NORMAL);
        if (!heading)
            attr = attribute(v, grid->cells[row * all + column].colour);
        x = put(y, x, attr, buf_text(&piece));
    }
    buf_fini(&piece);
    buf_fini(&line);
    return x;
}

static const char *why_empty(const struct view *v, const struct top_grid *grid)
{
    if (!json_object_get(v->top->sample, grid->panel->list))
        return "this broker does not tell";
    return grid->total ? "nothing has the filter's text" : grid->panel->nothing;
}

/* The columns for a table that may have more rows than are seen, which stands behind its headings. */
static size_t width_of(bool more)
{
    return (size_t) (more && COLS >= WIDE ? COLS - MORE_COLUMNS : COLS);
}

/* A panel's heading and rows from `first` on, in so many lines. */
static void draw_grid(const struct view *v, const struct top_grid *grid, size_t first, int y, int lines)
{
    char text[60];
    int x = draw_row(v, grid, SIZE_MAX, y);
    if (grid->rows == 0)
        put(y + 1, 0, A_DIM, why_empty(v, grid));
    for (int i = 1; i < lines && first + (size_t) i <= grid->rows; i++)
        draw_row(v, grid, first + (size_t) i - 1, y + i);
    if (grid->rows >= (size_t) lines) {
        size_t last = first + (size_t) lines - 1;
        snprintf(text, sizeof text, "  %zu-%zu of %zu", first + 1, last < grid->rows ? last : grid->rows, grid->rows);
        if (x + (int) strlen(text) <= COLS)
            put(y, COLS - (int) strlen(text), A_DIM, text);
    }
}

static void draw_overview(const struct view *v, int lines)
{
    struct top_grid grids[TOP_PANELS];
    size_t needs[TOP_PANELS], shares[TOP_PANELS];
    size_t parts = (size_t) lines / 2 < TOP_PANELS ? (size_t) lines / 2 : TOP_PANELS; /* a heading and a row at least */
    for (size_t i = 0; i < TOP_PANELS; i++) {
        const struct top_want want = {{.column = TOP_PANEL[i].sort}, v->filter, width_of(true)};
        top_grid_fill(&grids[i], &TOP_PANEL[i], v->top->sample, &want);
        needs[i] = 1 + (grids[i].rows ? grids[i].rows : 1);
    }
    bool spaced = parts == TOP_PANELS && (size_t) lines >= 3 * TOP_PANELS - 1;
    top_share_lines(needs, shares, parts, (size_t) lines - (spaced ? TOP_PANELS - 1 : 0));
    for (size_t i = 0, y = BODY_LINE; i < parts; y += shares[i++] + spaced)
        draw_grid(v, &grids[i], 0, (int) y, (int) shares[i]);
    for (size_t i = 0; i < TOP_PANELS; i++)
        top_grid_fini(&grids[i]);
}

static void draw_panel(struct view *v, int lines)
{
    size_t which = v->panel - 1, room = (size_t) lines - 1;
    struct top_want want = {v->order[which], v->filter, width_of(false)};
    struct top_grid grid;
    top_grid_fill(&grid, &TOP_PANEL[which], v->top->sample, &want);
    size_t most = grid.rows > room ? grid.rows - room : 0;
    if (most) {
        want.width = width_of(true);
        top_grid_fini(&grid);
        top_grid_fill(&grid, &TOP_PANEL[which], v->top->sample, &want);
    }
    if (v->scroll[which] > most)
        v->scroll[which] = most;
    draw_grid(v, &grid, v->scroll[which], BODY_LINE, lines);
    memcpy(v->shown, grid.column, sizeof v->shown);
    v->columns = grid.columns;
    top_grid_fini(&grid);
}

static void draw_help(const struct view *v)
{
    static const char *const KEYS[] = {
        "Tab, 1 to 6   the next panel, this one",      "s, S          sort by the next column, the former one",
        "r             reverse the order",              "/             filter: rows that have this text; Esc clears it",
        "arrows, PgUp, PgDn, Home, End   scroll",       "p             pause, and go on",
        "+, -          a longer interval, a shorter one", "q             quit"};
    char text[200];
    int y = BODY_LINE;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        put(y++, 0, A_NORMAL, KEYS[i]);
    const struct top_panel *panel = v->panel ? &TOP_PANEL[v->panel - 1] : NULL;
    y++;
    if (!panel)
        put(y++, 0, A_DIM, "In a panel, ? tells too what its columns mean.");
    for (size_t i = 0; panel && i < top_columns(panel); i++) {
        const struct top_column *c = &panel->columns[i];
        snprintf(text, sizeof text, "%-12s  %s", c->heading + (c->heading[0] == '>'), c->help);
        put(y++, 0, A_NORMAL, text);
    }
}

static void draw_footer(const struct view *v)
{
    char text[300];
    int y = LINES - 1;
    if (v->typing) {
        int x = put(y, 0, A_BOLD, "filter: ");
        move(y, put(y, x, A_NORMAL, v->filter));
        return;
    }
    if (v->help)
        snprintf(text, sizeof text, "any key: back");
    else
        snprintf(text, sizeof text, "%s%s%sTab panel  %s/ filter  p %s  +/- interval  ? help  q quit",
                 *v->filter ? "filter \"" : "", v->filter, *v->filter ? "\" (Esc clears)  " : "",
                 v->panel ? "s sort  r reverse  " : "", v->paused ? "go on" : "pause");
    put(y, 0, A_DIM, text);
}

/* The size is asked for: a terminal that changed while we were stopped has told nobody. */
static void follow_size(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col &&
        is_term_resized(size.ws_row, size.ws_col))
        resizeterm(size.ws_row, size.ws_col);
}

static void draw(struct view *v)
{
    follow_size();
    int lines = LINES - BODY_LINE - 1;
    erase();
    draw_state(v);
    draw_tabs(v);
    if (v->help)
        draw_help(v);
    else if (v->top->sample && lines >= 2 && v->panel)
        draw_panel(v, lines);
    else if (v->top->sample && lines >= 2)
        draw_overview(v, lines);
    move(LINES - 1, COLS - 1);
    draw_footer(v);
    curs_set(v->typing);
    refresh();
}

/* ---- keys ---- */

static void type(struct view *v, int key)
{
    size_t len = strlen(v->filter);
    if (key == KEY_ESCAPE || key == CONTROL('u'))
        v->filter[0] = '\0';
    else if ((key == KEY_BACKSPACE || key == KEY_RUBOUT || key == CONTROL('h')) && len)
        v->filter[len - 1] = '\0';
    else if (key >= ' ' && key <= '~' && len < FILTER_MAX)
        memcpy(v->filter + len, (char[]) {(char) key, '\0'}, 2);
    v->typing = key != KEY_ESCAPE && key != '\n' && key != '\r' && key != KEY_ENTER;
}

static void reverse(struct view *v)
{
    if (v->panel)
        v->order[v->panel - 1].reverse ^= true;
}

/* The next of the columns that are to be seen, `by` being 1 or -1. */
static void sort_by_next(struct view *v, int by)
{
    if (!v->panel || !v->columns)
        return;
    struct top_order *order = &v->order[v->panel - 1];
    size_t at = 0;
    while (at < v->columns && v->shown[at] != order->column)
        at++;
    order->column = v->shown[(at + v->columns + (size_t) by) % v->columns];
    order->reverse = false;
}

static void change_interval(struct view *v, bool longer)
{
    int64_t *interval_ms = &v->top->interval_ms;
    size_t i = 0;
    while (i < INTERVALS && (longer ? INTERVALS_MS[i] <= *interval_ms : INTERVALS_MS[i] < *interval_ms))
        i++;
    if (longer ? i < INTERVALS : i > 0)
        *interval_ms = INTERVALS_MS[longer ? i : i - 1];
    v->next_ms = v->top->ask.began_ms + *interval_ms;
}

static void scroll_to(struct view *v, int key)
{
    size_t nowhere = 0, *at = v->panel ? &v->scroll[v->panel - 1] : &nowhere;
    size_t page = LINES > BODY_LINE + 4 ? (size_t) (LINES - BODY_LINE - 3) : 1;
    size_t by = key == KEY_PPAGE || key == KEY_NPAGE ? page : 1;
    if (key == KEY_HOME)
        *at = 0;
    else if (key == KEY_END)
        *at = SIZE_MAX / 2; /* drawing knows where the end is */
    else if (key == KEY_DOWN || key == KEY_NPAGE)
        *at += by;
    else
        *at -= *at < by ? *at : by;
}

static void choose_panel(struct view *v, size_t panel)
{
    v->panel = panel;
    v->columns = 0;
}

static void on_key(struct view *v, int key)
{
    if (key == KEY_RESIZE)
        return;
    if (v->typing) {
        type(v, key);
        return;
    }
    if (v->help) {
        v->help = false;
        return;
    }
    switch (key) {
    case '\t': choose_panel(v, (v->panel + 1) % (TOP_PANELS + 1)); break;
    case KEY_BTAB: choose_panel(v, (v->panel + TOP_PANELS) % (TOP_PANELS + 1)); break;
    case '1': case '2': case '3': case '4': case '5': case '6': choose_panel(v, (size_t) (key - '1')); break;
    case 's': sort_by_next(v, 1); break;
    case 'S': sort_by_next(v, -1); break;
    case 'r': reverse(v); break;
    case '/': v->typing = true; break;
    case KEY_ESCAPE: v->filter[0] = '\0'; break;
    case 'p': v->paused = !v->paused; break;
    case '+': case '=': change_interval(v, true); break;
    case '-': change_interval(v, false); break;
    case KEY_UP: case KEY_DOWN: case KEY_PPAGE: case KEY_NPAGE: case KEY_HOME: case KEY_END: scroll_to(v, key); break;
    case '?': case 'h': case KEY_F(1): v->help = true; break;
    case CONTROL('l'): clearok(curscr, TRUE); break;
    case 'q': v->done = true; break;
    default: break;
    }
}

/* ---- the life of the screen ---- */

static void start_colours(struct view *v)
{
    static const short COLOURS[] = {[COLOUR_RED] = COLOR_RED, [COLOUR_GREEN] = COLOR_GREEN, [COLOUR_YELLOW] = COLOR_YELLOW};
    v->colours = render_colours(STDOUT_FILENO) && has_colors() && start_color() != ERR && use_default_colors() != ERR;
    for (short i = COLOUR_RED; v->colours && i <= COLOUR_YELLOW; i++)
        init_pair(i, COLOURS[i], -1);
}

static void leave(void)
{
    endwin();
}

static bool open_screen(struct view *v)
{
    setlocale(LC_CTYPE, "C.UTF-8"); /* texts are UTF-8, whatever the language of the user is */
    v->screen = newterm(NULL, stdout, stdin);
    if (!v->screen) {
        fprintf(stderr, "lineshaft top: the system does not know a terminal \"%.60s\" (TERM); --plain needs none\n",
                getenv("TERM"));
        return false;
    }
    atexit(leave);
    set_escdelay(25);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    start_colours(v);
    return true;
}

/* What there is to ask or to take; the milliseconds until there is more. */
static int64_t turn(struct view *v)
{
    struct top *top = v->top;
    int64_t now_ms = clock_mono_ms();
    bool connected = ls_client_connected(top->bus.client);
    int64_t interval_ms = top->sample || top->interval_ms < FIRST_INTERVAL_MS ? top->interval_ms : FIRST_INTERVAL_MS;
    if (connected || !v->lost_ms)
        v->lost_ms = connected ? 0 : now_ms;
    json_t *sample = top->ask.sample ? top_ask_take(&top->ask) : NULL;
    if (sample && !top_next(top, sample))
        v->next_ms = now_ms + FIRST_INTERVAL_MS;
    else if (sample)
        v->next_ms = top->ask.began_ms + interval_ms;
    if (!top->ask.sample && !v->paused && connected && now_ms >= v->next_ms)
        top_ask_begin(&top->ask);
    bool waits = top->ask.sample || v->paused || !connected || v->next_ms - now_ms > 1000;
    return waits ? 1000 : v->next_ms - now_ms; /* the header tells time */
}

int top_screen(struct top *top)
{
    struct view v = {.top = top};
    struct ls_error err = {0};
    int result = 0;
    top->bus.quiet = true; /* the header tells of a lost broker */
    for (size_t i = 0; i < TOP_PANELS; i++)
        v.order[i].column = TOP_PANEL[i].sort;
    if (!open_screen(&v))
        return CLI_FAILED;
    while (result == 0 && !v.done && !top_interrupted()) {
        int64_t wait_ms = turn(&v);
        draw(&v);
        result = top_poll(top, STDIN_FILENO, wait_ms, &err);
        for (int key; (key = getch()) != ERR && !v.done;)
            on_key(&v, key);
    }
    endwin();
    delscreen(v.screen);
    return result < 0 ? bus_failed(&TOP, &err) : CLI_OK;
}
