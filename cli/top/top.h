/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TOP_TOP_H
#define CLI_TOP_TOP_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cli/bus.h"
#include "cli/options.h"
#include "cli/render.h"

/* What the files of the program lineshaft-top (top_*.c) share. `lineshaft top` becomes this program, because it links
 * ncurses, which nothing else of the command line needs. Where its numbers come from: docs/decisions/041-operators-view.md.
 *
 * A sample is one JSON object: {broker: answer of ADM info; streams, topics, consumers, services, sessions: the lists that
 * ADM tells; dlq: the pending dead letters (1000 at most); supervisors: the answer of each up.status.ID, with its topic}.
 * What was refused or did not come is absent. */

extern const struct cli_command TOP; /* for messages; its help is in cmd_top.c */

/* ---- top_read.c: msgpack from the broker ---- */

/* top_json: the value as JSON, a new reference; null where it is malformed or too deep. `about` and `stats` of peers, which
 * nobody here shows, are left out. */
json_t *top_json(struct mp value);

/* ---- top_rates.c: what follows from a sample and the one before; pure ---- */

/* top_digest completes a sample in place: the rates (NULL `before`: all unknown, null) and the list `nodes`, which joins
 * the processes of `supervisors` with `sessions`. `before` must have been digested. */
void top_digest(json_t *sample, const json_t *before);

/* top_number: the number at `key` into *value; false if there is none. top_count: 0 instead, also of what is negative or
 * absurdly large. top_text: "" instead. */
bool top_number(const json_t *object, const char *key, double *value);
int64_t top_count(const json_t *object, const char *key);
const char *top_text(const json_t *object, const char *key);

/* ---- top_panel.c: the panels as tables; pure ---- */

enum top_form {
    TOP_TEXT, TOP_COUNT, TOP_RATE, TOP_SIZE, TOP_SIZE_RATE, TOP_PERCENT, TOP_AGE_MS, TOP_AGO_US, TOP_RETENTION
};

struct top_column {
    const char *heading, *key; /* a heading that begins with '>' is for a column aligned to the right */
    enum top_form form;
    int keep;                  /* where the screen is narrow, the column with the smallest goes first */
    enum colour (*warns)(const json_t *row); /* NULL: never */
    const char *help;
};

#define TOP_COLUMNS_MAX 12
struct top_panel {
    const char *title, *list; /* the sample's list */
    const char *nothing;      /* said when it is empty */
    struct top_column columns[TOP_COLUMNS_MAX];
    size_t sort;              /* the column by which it is sorted at first */
};
#define TOP_PANELS 5
extern const struct top_panel TOP_PANEL[TOP_PANELS];
size_t top_columns(const struct top_panel *panel);

struct top_order {
    size_t column;
    bool reverse; /* numbers begin with the largest, texts with a; or the other way round */
};

struct top_cell {
    char *text; /* harmless */
    enum colour colour;
};
/* Rows that pass the filter, sorted, with the columns that fit. */
struct top_grid {
    const struct top_panel *panel;
    size_t column[TOP_COLUMNS_MAX], width[TOP_COLUMNS_MAX], columns; /* indices in panel->columns */
    struct top_cell *cells; /* row by row */
    size_t rows, total;     /* total: rows before the filter */
};
/* top_grid_fill: `filter` ("" for none) is looked for in the texts of a row, upper or lower case; `width` 0: every column.
 * Free with top_grid_fini. top_grid_line appends row `row` (SIZE_MAX: the headings) as one line, and tells where each cell
 * ends, in bytes. */
struct top_want {
    struct top_order order;
    const char *filter;
    size_t width;
};
void top_grid_fill(struct top_grid *grid, const struct top_panel *panel, const json_t *sample, const struct top_want *want);
void top_grid_fini(struct top_grid *grid);
void top_grid_line(const struct top_grid *grid, size_t row, struct buf *out, size_t ends[TOP_COLUMNS_MAX]);

/* top_share_lines: how many of `lines` each of `count` parts gets that need so many; in turn, so that none starves. */
void top_share_lines(const size_t *needs, size_t *shares, size_t count, size_t lines);

/* top_age appends a duration in whole seconds: "7 d", not "7 d 0 h". */
void top_age(struct buf *out, int64_t us);

/* top_header_*: the broker in words, harmless. */
void top_header_rates(struct buf *out, const json_t *sample);
void top_header_broker(struct buf *out, const json_t *sample);
enum colour top_header_warns(const json_t *sample);

/* ---- top_ask.c: questions to the broker, without waiting ---- */

struct top_ask {
    struct ls_client *client;
    json_t *sample; /* of the round that is under way; NULL: none is */
    LIST_HEAD(, top_question) open; /* its questions without an answer */
    int64_t began_ms;
};

/* top_ask_begin asks all questions of a round (the former one must have ended); the answers come in ls_client_step.
 * top_ask_take: the sample, taken over by the caller, when all answers are there; NULL until then, and when none is under
 * way. top_ask_fini after the client is closed. */
void top_ask_begin(struct top_ask *ask);
json_t *top_ask_take(struct top_ask *ask);
void top_ask_fini(struct top_ask *ask);

/* ---- the whole ---- */

struct top {
    struct options_broker broker;
    struct bus bus;
    struct top_ask ask;
    json_t *sample; /* the last one, digested; NULL: none yet */
    int64_t interval_ms;
    bool json;
    uint64_t count; /* plain: so many intervals; 0: until it is ended */
};

/* top_plain.c, top_screen.c: return the exit status, after messages. The bus is open. */
int top_plain(struct top *top);
int top_screen(struct top *top);

/* top_next digests `sample` and makes it the last one; it is taken over. False if it says nothing of the broker: then it is
 * dropped. */
bool top_next(struct top *top, json_t *sample);
/* top_poll waits for the broker, for keys (from the terminal `fd`, unless it is -1), for a signal, or so long; then it has
 * handled what the broker sent. -1, with *err, when the broker sent us away for good. */
int top_poll(struct top *top, int fd, int64_t timeout_ms, struct ls_error *err);
/* top_interrupted: the signal that asked us to end, 0 for none. A terminal that is gone counts as SIGHUP. */
int top_interrupted(void);

#endif
