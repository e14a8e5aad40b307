/* SPDX-License-Identifier: Apache-2.0 */
/* What is the same for both databases: which URL means which, transactions and what may follow a failure, values that both can keep,
 * errors by their problem. */
#include "nodes/kit/db.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/kit/db_private.h"

#define SQLITE_PREFIX "sqlite:"
#define SHOWN_SQL 100    /* bytes of a statement in an error's text */
#define VALUES_MAX 65535 /* of a statement; what PostgreSQL's protocol can count */
#define VALUES_BYTES_MAX 500000000 /* of text in all of them; with twice that PostgreSQL would end the connection */

/* ---- URLs ---- */

static bool is_sqlite(const char *url)
{
    return strncmp(url, SQLITE_PREFIX, strlen(SQLITE_PREFIX)) == 0;
}

static const char *sqlite_path(const char *url)
{
    return url + strlen(SQLITE_PREFIX);
}

static int check_sqlite(const char *path, struct ls_error *err)
{
    if (!*path || path[strlen(path) - 1] == '/')
        return error_set(err, "BAD_VALUE", "\"sqlite:\" needs the path of a file; write for example sqlite:var/tracker.db");
    if (strncmp(path, "//", 2) == 0)
        return error_set(err, "BAD_VALUE", "sqlite: is followed by the path alone; write sqlite:var/tracker.db or "
                                           "sqlite:/var/lib/tracker.db, without //");
    if (*path == ':')
        return error_set(err, "BAD_VALUE", "\"%.60s\" is no file, and what is kept in memory is lost; write for example "
                                           "sqlite:var/tracker.db", path);
    return 0;
}

int db_url_check(const char *url, struct ls_error *err)
{
    if (is_sqlite(url))
        return check_sqlite(sqlite_path(url), err);
    if (strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0)
        return postgres_check_url(url, err);
    return error_set(err, "BAD_VALUE", "a database is sqlite:PATH or postgresql://USER@HOST/NAME; write for example sqlite:var/tracker.db");
}

char *db_place(const char *url)
{
    return is_sqlite(url) ? xstrdup(sqlite_path(url)) : postgres_place(url);
}

struct db *db_start(const char *url, struct ls_error *err)
{
    if (db_url_check(url, err))
        return NULL;
    return is_sqlite(url) ? sqlite_open(sqlite_path(url), err) : postgres_open_start(url, err);
}

void db_close(struct db **db)
{
    if (!*db)
        return;
    (*db)->driver->close(*db);
    *db = NULL;
}

bool db_is_postgres(const struct db *db)
{
    return db->driver->postgres;
}

enum db_problem db_problem(const struct db *db)
{
    return db->problem;
}

int db_fd(const struct db *db)
{
    return db->loss.name[0] ? -1 : db->driver->fd(db);
}

/* ---- waiting ---- */

static bool told_to_stop(void)
{
    sigset_t waiting;
    return sigpending(&waiting) == 0 && (sigismember(&waiting, SIGTERM) == 1 || sigismember(&waiting, SIGINT) == 1);
}

const char *db_give_up(const struct db *db, int64_t since_ms)
{
    int64_t waited = clock_mono_ms() - since_ms;
    if (waited >= db->patience_ms)
        return "no answer for too long";
    return waited >= DB_STOP_MS && told_to_stop() ? "no answer yet, and this process is told to stop" : NULL;
}

/* Until a connection that is being made can go on. */
static int await_progress(struct db *db, const struct db_wait *wait, struct ls_error *err)
{
    struct db_call call = {.err = err};
    struct pollfd fd = {.fd = db_fd(db), .events = wait->events};
    const char *why;
    int64_t since = clock_mono_ms();
    while (poll(&fd, 1, DB_LOOK_MS) < 1 && clock_mono_ms() < wait->until_ms)
        if ((why = db_give_up(db, since)))
            return db_problem_set(&call, DB_LOST, "%s", why);
    return 0;
}

struct db *db_open(const char *url, struct ls_error *err)
{
    struct db *db = db_start(url, err);
    struct db_wait wait;
    int rc = 0;
    while (db && (rc = db_connect(db, &wait, err)) == 0 && (rc = await_progress(db, &wait, err)) == 0)
        continue;
    if (rc < 0)
        db_close(&db);
    return db;
}

/* ---- errors ---- */

static const char *const NAMES[] = {
    [DB_OK] = "FAILED",      [DB_LOST] = "UNREACHABLE", [DB_RETRY] = "FAILED",  [DB_UNIQUE] = "CONFLICT",
    [DB_FOREIGN] = "BAD_VALUE", [DB_VALUE] = "BAD_VALUE",  [DB_SCHEMA] = "CONFIG", [DB_OTHER] = "FAILED",
};

/* libpq speaks in several lines. */
static void one_line(char *text)
{
    size_t to = 0;
    for (size_t from = 0; text[from]; from++) {
        bool space = strchr(" \t\n", text[from]) != NULL;
        if (!space || (to && text[to - 1] != ' '))
            text[to++] = space ? ' ' : text[from];
    }
    text[to && text[to - 1] == ' ' ? to - 1 : to] = '\0';
}

int db_problem_set(struct db_call *call, enum db_problem problem, const char *format, ...)
{
    char text[sizeof call->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    one_line(text);
    call->problem = problem;
    if (call->sql)
        error_set(call->err, NAMES[problem], "%.360s; in: %.*s%s", text, SHOWN_SQL, call->sql,
                  strlen(call->sql) > SHOWN_SQL ? " ..." : "");
    else
        error_set(call->err, NAMES[problem], "%s", text);
    if (call->err)
        call->err->again |= problem == DB_RETRY;
    return -1;
}

/* After every call: remembers what went wrong. What was lost stays lost, and a failed transaction failed. */
static int64_t finish(struct db *db, struct db_call *call, int64_t rc)
{
    struct ls_error scratch = {0};
    db->problem = rc < 0 ? call->problem : DB_OK;
    if (rc >= 0)
        return rc;
    db->failed |= db->begun;
    if (db->problem == DB_LOST && !db->loss.name[0]) {
        error_set(&scratch, NAMES[DB_LOST], "the database is away");
        db->loss = call->err ? *call->err : scratch;
    }
    return rc;
}

static int check_size(struct db_call *call)
{
    size_t bytes = 0;
    if (call->count > VALUES_MAX)
        return db_problem_set(call, DB_OTHER, "%zu values are more than a statement takes, which is %d", call->count, VALUES_MAX);
    for (size_t i = 0; i < call->count && bytes <= VALUES_BYTES_MAX; i++)
        bytes += call->values[i].type == DB_TEXT ? call->values[i].text.len : 0;
    return bytes <= VALUES_BYTES_MAX ? 0 : db_problem_set(call, DB_VALUE, "text of more than %d bytes for one statement", VALUES_BYTES_MAX);
}

static int check_values(struct db_call *call)
{
    if (check_size(call))
        return -1;
    for (size_t i = 0; i < call->count; i++) {
        const struct db_value *v = &call->values[i];
        if (v->type == DB_DOUBLE && isnan(v->d))
            return db_problem_set(call, DB_VALUE, "value %zu is NaN, which not every database can keep", i + 1);
        if (v->type == DB_TEXT && v->text.len && memchr(v->text.data, 0, v->text.len))
            return db_problem_set(call, DB_VALUE, "value %zu is text with a NUL byte, which a database cannot keep", i + 1);
        if (v->type == DB_TEXT && !utf8_valid(v->text.data, v->text.len))
            return db_problem_set(call, DB_VALUE, "value %zu is not text in UTF-8", i + 1);
    }
    return 0;
}

static int check_lost(const struct db *db, struct db_call *call)
{
    if (!db->loss.name[0])
        return 0;
    call->problem = DB_LOST;
    if (call->err)
        *call->err = db->loss;
    return -1;
}

/* What no call may do: -1, as a driver would say it. */
static int check(struct db *db, struct db_call *call)
{
    if (check_lost(db, call))
        return -1;
    if (db->failed)
        return db_problem_set(call, DB_OTHER, "something in this transaction failed before: roll it back");
    return check_values(call);
}

/* -1 unless there is a transaction, as it must be; or there is none, as it must be. */
static int check_begun(const struct db *db, bool begun, struct db_call *call)
{
    if (check_lost(db, call))
        return -1;
    if (db->begun == begun)
        return 0;
    return db_problem_set(call, DB_OTHER, begun ? "this works within a transaction only" : "there is a transaction already");
}

int db_connect(struct db *db, struct db_wait *wait, struct ls_error *err)
{
    struct db_call call = {.err = err};
    return db->driver->connect ? (int) finish(db, &call, db->driver->connect(db, &call, wait)) : 1;
}

int db_check(struct db *db, struct ls_error *err)
{
    struct db_call call = {.err = err};
    return (int) finish(db, &call, check_lost(db, &call) ? -1 : db->driver->check(db, &call));
}

/* ---- statements ---- */

static int64_t run(struct db *db, struct db_call *call)
{
    return finish(db, call, check(db, call) ? -1 : db->driver->run(db, call));
}

int64_t db_run(struct db *db, const char *sql, const struct db_value *values, size_t count, db_row_fn *fn, void *arg,
               struct ls_error *err)
{
    struct db_call call = {.sql = sql, .values = values, .count = count, .fn = fn, .arg = arg, .err = err};
    return run(db, &call);
}

int db_queue(struct db *db, const char *sql, const struct db_value *values, size_t count, struct ls_error *err)
{
    struct db_call call = {.sql = sql, .values = values, .count = count, .err = err};
    return (int) finish(db, &call, check_begun(db, true, &call) || check(db, &call) ? -1 : db->driver->queue(db, &call));
}

int db_script(struct db *db, const char *sql, struct ls_error *err)
{
    struct db_call call = {.sql = sql, .err = err};
    return (int) finish(db, &call, check(db, &call) ? -1 : db->driver->script(db, &call));
}

/* ---- transactions ---- */

/* Of a transaction that there must be. */
static int run_plain(struct db *db, const char *sql, struct ls_error *err)
{
    struct db_call call = {.sql = sql, .err = err};
    return (check_begun(db, true, &call) ? finish(db, &call, -1) : run(db, &call)) < 0 ? -1 : 0;
}

int db_begin(struct db *db, struct ls_error *err)
{
    struct db_call call = {.sql = db->driver->begin, .err = err};
    if (finish(db, &call, check_begun(db, false, &call) || check(db, &call) ? -1 : db->driver->queue(db, &call)))
        return -1;
    db->begun = true;
    return 0;
}

int db_commit(struct db *db, struct ls_error *err)
{
    if (run_plain(db, "COMMIT", err))
        return -1;
    db->begun = false;
    return 0;
}

/* Failures of what was queued do not matter where it is undone. */
static void settle(struct db *db)
{
    struct db_call call = {0};
    if (!db->loss.name[0] && db->driver->settle && db->driver->settle(db, &call) && call.problem == DB_LOST)
        finish(db, &call, -1);
}

void db_rollback(struct db *db)
{
    enum db_problem problem = db->problem; /* whoever rolls back may still ask why */
    struct ls_error err = {0};
    struct db_call stuck = {.err = &err};
    db->failed = false;
    settle(db);
    if (db->begun && run_plain(db, "ROLLBACK", &err) && !db->loss.name[0] && db->driver->in_transaction(db)) {
        db_problem_set(&stuck, DB_LOST, "a transaction that cannot be rolled back"); /* nothing would ever be stored behind it */
        finish(db, &stuck, -1);
    }
    db->begun = db->failed = false;
    db->problem = db->loss.name[0] ? DB_LOST : problem;
}

int db_savepoint(struct db *db, struct ls_error *err)
{
    return run_plain(db, "SAVEPOINT lineshaft_inner", err);
}

int db_release(struct db *db, struct ls_error *err)
{
    return run_plain(db, "RELEASE SAVEPOINT lineshaft_inner", err);
}

int db_restore(struct db *db, struct ls_error *err)
{
    settle(db);
    db->failed = false;
    return run_plain(db, "ROLLBACK TO SAVEPOINT lineshaft_inner", err) ? -1 : db_release(db, err);
}

int db_lock(struct db *db, const char *name, struct ls_error *err)
{
    struct db_call call = {.err = err};
    return (int) finish(db, &call, check(db, &call) ? -1 : db->driver->lock(db, name, &call));
}

/* ---- rows ---- */

bool db_is_null(const struct db_row *row, int column)
{
    return row->driver->is_null(row, column);
}

int64_t db_get_int(const struct db_row *row, int column)
{
    return row->driver->get_int(row, column);
}

double db_get_double(const struct db_row *row, int column)
{
    return row->driver->get_double(row, column);
}

bool db_get_bool(const struct db_row *row, int column)
{
    return row->driver->get_bool(row, column);
}

struct ls_slice db_get_text(const struct db_row *row, int column)
{
    return row->driver->get_text(row, column);
}
