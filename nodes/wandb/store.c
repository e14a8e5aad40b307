/* SPDX-License-Identifier: Apache-2.0 */
/* wandb.db: runs, their rows until W&B has them all, and the ids of events that are in a row. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/wandb/wandb.h"

const struct db_step WANDB_STEPS[] = {
    {.both =
         "CREATE TABLE lineshaft_wandb_run (number BIGINT NOT NULL PRIMARY KEY, subject TEXT NOT NULL UNIQUE, open "
         "BIGINT NOT NULL,"
         " touched BIGINT NOT NULL, state TEXT NOT NULL);"
         "CREATE INDEX lineshaft_wandb_run_open ON lineshaft_wandb_run (open);"
         "CREATE TABLE lineshaft_wandb_row (run BIGINT NOT NULL, line BIGINT NOT NULL, step BIGINT NOT NULL, axis "
         "BIGINT,"
         " text TEXT NOT NULL, PRIMARY KEY (run, line));"
         "CREATE TABLE lineshaft_wandb_seen (key TEXT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, run BIGINT NOT NULL,"
         " line BIGINT NOT NULL, rev BIGINT NOT NULL, finish BIGINT NOT NULL);"
         "CREATE INDEX lineshaft_wandb_seen_at ON lineshaft_wandb_seen (at);"
         "CREATE TABLE lineshaft_wandb_experiment (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL);"
         "CREATE TABLE lineshaft_wandb_pull (entity TEXT NOT NULL, project TEXT NOT NULL, run TEXT NOT NULL, key TEXT "
         "NOT NULL,"
         " step BIGINT NOT NULL, PRIMARY KEY (entity, project, run, key))"},
};
const size_t WANDB_STEP_COUNT = sizeof WANDB_STEPS / sizeof *WANDB_STEPS;

static char *copy(struct ls_slice text)
{
    return xstrndup(text.len ? text.data : "", text.len);
}

/* ---- runs ---- */

/* False: it is unreadable, and to begin anew would write over the lines that W&B has. */
static bool restore(struct run *run, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 1);
    json_t *state = json_loadb(text.data, text.len, 0, NULL);
    run->number = db_get_int(row, 0);
    wandb_run_restore(run, state);
    json_decref(state);
    return state != NULL;
}

static int unreadable(const char *subject, struct ls_error *err)
{
    return error_set(
        err, "CORRUPT",
        "what it says of %.200s is damaged: move the file away, then its runs go on behind the rows that W&B has",
        subject);
}

struct open_runs {
    struct wandb *w;
    struct ls_error *err;
    int rc;
};

static void take_open(void *arg, const struct db_row *row)
{
    struct open_runs *open = arg;
    char *subject = copy(db_get_text(row, 2));
    struct run *run = wandb_run_new(open->w, subject);
    if (!restore(run, row))
        open->rc = unreadable(subject, open->err);
    wandb_index(open->w, run);
    free(subject);
}

static void take_experiment(void *arg, const struct db_row *row)
{
    struct wandb *w = arg;
    char *id = copy(db_get_text(row, 0));
    struct ls_slice name = db_get_text(row, 1);
    json_object_set_new(w->experiments, id, json_stringn(name.data, name.len));
    free(id);
}

static void take_number(void *arg, const struct db_row *row)
{
    *(int64_t *) arg = db_get_int(row, 0);
}

int wandb_store_load(struct wandb *w, struct ls_error *err)
{
    static const char OPEN[] = "SELECT number, state, subject FROM lineshaft_wandb_run WHERE open = 1 ORDER BY number";
    static const char LAST[] = "SELECT COALESCE(MAX(number), 0) + 1 FROM lineshaft_wandb_run";
    static const char NAMES[] = "SELECT id, name FROM lineshaft_wandb_experiment";
    struct open_runs open = {.w = w, .err = err};
    return db_run(w->db, OPEN, NULL, 0, take_open, &open, err) < 0 || open.rc ||
                   db_run(w->db, LAST, NULL, 0, take_number, &w->next_number, err) < 0 ||
                   db_run(w->db, NAMES, NULL, 0, take_experiment, w, err) < 0
               ? -1
               : 0;
}

struct found {
    struct run *run;
    bool readable;
};

static void take_run(void *arg, const struct db_row *row)
{
    struct found *found = arg;
    found->readable = restore(found->run, row);
}

struct run *wandb_store_find(struct wandb *w, const char *subject, struct ls_error *err)
{
    static const char FIND[] = "SELECT number, state FROM lineshaft_wandb_run WHERE subject = $1";
    struct found found = {.run = wandb_run_new(w, subject)};
    int64_t rows = db_run(w->db, FIND, DB_VALUES(db_text(subject)), take_run, &found, err);
    if (rows == 1 && found.readable)
        return found.run;
    if (rows == 1)
        unreadable(subject, err);
    wandb_run_free(found.run);
    return NULL;
}

int wandb_store_save(struct run *run, struct ls_error *err)
{
    static const char PUT[] =
        "INSERT INTO lineshaft_wandb_run (number, subject, open, touched, state) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (number) DO UPDATE SET open = excluded.open, touched = excluded.touched, state = excluded.state";
    struct buf text = {0};
    json_t *state = wandb_run_state(run);
    node_write(&text, state);
    json_decref(state);
    int rc = db_queue(run->w->db, PUT,
                      DB_VALUES(db_int(run->number), db_text(run->subject), db_int(!run->forgotten),
                                db_int(run->touched_ms), db_slice(ls_bytes(text.data, text.len))),
                      err);
    buf_fini(&text);
    if (!rc)
        run->dirty = false;
    return rc;
}

/* ---- rows ---- */

int wandb_store_row(const struct run *run, int64_t line, const struct row_place *place, struct ls_slice text,
                    struct ls_error *err)
{
    static const char PUT[] =
        "INSERT INTO lineshaft_wandb_row (run, line, step, axis, text) VALUES ($1, $2, $3, $4, $5)";
    return db_queue(run->w->db, PUT,
                    DB_VALUES(db_int(run->number), db_int(line), db_int(place->step),
                              place->has_axis ? db_int(place->axis) : db_null(), db_slice(text)),
                    err);
}

int wandb_store_first(const struct run *run, int64_t *line, struct ls_error *err)
{
    static const char FIRST[] = "SELECT COALESCE(MIN(line), $2::bigint) FROM lineshaft_wandb_row WHERE run = $1";
    return db_run(run->w->db, FIRST, DB_VALUES(db_int(run->number), db_int(run->lines)), take_number, line, err) < 0
               ? -1
               : 0;
}

int wandb_store_rows_gone(const struct run *run, struct ls_error *err)
{
    static const char DROP[] = "DELETE FROM lineshaft_wandb_row WHERE run = $1";
    return db_queue(run->w->db, DROP, DB_VALUES(db_int(run->number)), err);
}

struct lines {
    store_line_fn *fn;
    void *arg;
    int64_t next;
    bool enough;
};

static void take_line(void *arg, const struct db_row *row)
{
    struct lines *lines = arg;
    if (lines->enough)
        return;
    const struct row_place place = {
        .step = db_get_int(row, 1), .has_axis = !db_is_null(row, 2), .axis = db_get_int(row, 2)};
    lines->enough = !lines->fn(lines->arg, db_get_int(row, 0), &place, db_get_text(row, 3));
    lines->next = db_get_int(row, 0) + 1;
}

int wandb_store_lines(const struct run *run, int64_t line, store_line_fn *fn, void *arg, struct ls_error *err)
{
    static const char PAGE[] =
        "SELECT line, step, axis, text FROM lineshaft_wandb_row WHERE run = $1 AND line >= $2 ORDER BY line LIMIT 500";
    struct lines lines = {.fn = fn, .arg = arg, .next = line};
    int64_t rows = 500;
    while (rows == 500 && !lines.enough) {
        rows = db_run(run->w->db, PAGE, DB_VALUES(db_int(run->number), db_int(lines.next)), take_line, &lines, err);
        if (rows < 0)
            return -1;
    }
    return 0;
}

/* ---- events ---- */

struct seen {
    int64_t *number;
    struct wait *wait;
};

static void take_seen(void *arg, const struct db_row *row)
{
    const struct seen *seen = arg;
    *seen->number = db_get_int(row, 0);
    *seen->wait = (struct wait){.line = db_get_int(row, 1), .rev = db_get_int(row, 2), .end = db_get_int(row, 3)};
}

int wandb_store_seen(struct wandb *w, const char *key, int64_t *number, struct wait *wait, struct ls_error *err)
{
    static const char FIND[] = "SELECT run, line, rev, finish FROM lineshaft_wandb_seen WHERE key = $1";
    struct seen seen = {number, wait};
    return (int) db_run(w->db, FIND, DB_VALUES(db_text(key)), take_seen, &seen, err);
}

int wandb_store_see(const struct run *run, const struct held *held, struct ls_error *err)
{
    static const char PUT[] =
        "INSERT INTO lineshaft_wandb_seen (key, at, run, line, rev, finish) VALUES ($1, $2, $3, $4, $5, $6)";
    return db_queue(run->w->db, PUT,
                    DB_VALUES(db_text(held->key), db_int(clock_wall_us() / 1000), db_int(run->number),
                              db_int(held->wait.line), db_int(held->wait.rev), db_int(held->wait.end)),
                    err);
}

int wandb_store_keep(struct wandb *w, const struct held *held, struct ls_error *err)
{
    static const char TOUCH[] = "UPDATE lineshaft_wandb_seen SET at = $1 WHERE key = $2";
    return db_queue(w->db, TOUCH, DB_VALUES(db_int(clock_wall_us() / 1000), db_text(held->key)), err);
}

int wandb_store_experiment(struct wandb *w, const char *id, const char *name, struct ls_error *err)
{
    static const char PUT[] = "INSERT INTO lineshaft_wandb_experiment (id, name) VALUES ($1, $2)"
                              " ON CONFLICT (id) DO UPDATE SET name = excluded.name";
    json_object_set_new(w->experiments, id, json_string(name));
    return db_queue(w->db, PUT, DB_VALUES(db_text(id), db_text(name)), err);
}

int wandb_store_clean(struct wandb *w, struct ls_error *err)
{
    static const char SEEN[] = "DELETE FROM lineshaft_wandb_seen WHERE at < $1";
    static const char ROWS[] =
        "DELETE FROM lineshaft_wandb_row WHERE run IN (SELECT number FROM lineshaft_wandb_run WHERE open = 0)";
    static const char RUNS[] = "DELETE FROM lineshaft_wandb_run WHERE open = 0 AND touched < $1";
    const struct db_value since = db_int(clock_wall_us() / 1000 - w->options->id_keep);
    return db_queue(w->db, SEEN, &since, 1, err) || db_queue(w->db, ROWS, NULL, 0, err) ||
                   db_queue(w->db, RUNS, &since, 1, err)
               ? -1
               : 0;
}
