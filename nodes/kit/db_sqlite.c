/* SPDX-License-Identifier: Apache-2.0 */
/* The driver for SQLite: one connection to a file in WAL mode, statements kept prepared.
 * Sources: sqlite.org/c3ref, sqlite.org/pragma.html, sqlite.org/rescode.html. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/kit/db_private.h"

#define PATIENCE_MS 20000 /* for a lock on the file */
#define LOOK_MS_MAX 50    /* whether it is free */

struct statement {
    sqlite3_stmt *handle;
    size_t values; /* how many it takes: the greatest N of its $N */
};

struct sqlite {
    struct db db; /* first */
    char *path;
    sqlite3 *handle;
    struct map statements; /* by the hash of their text */
    size_t statement_count;
    int64_t busy_since; /* CLOCK_MONOTONIC ms */
    int *locks;
    size_t lock_count, lock_room;
};

static const struct db_driver DRIVER;

static struct sqlite *of(struct db *db)
{
    return (struct sqlite *) (void *) db;
}

/* ---- errors ---- */

static enum db_problem constraint_problem(int code)
{
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return DB_UNIQUE;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return DB_FOREIGN;
    default: /* NOT NULL, CHECK, DATATYPE, a trigger's RAISE */
        return DB_VALUE;
    }
}

static enum db_problem problem_of(int code, const char *text)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
        return code == SQLITE_BUSY_SNAPSHOT ? DB_RETRY : DB_LOST;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_READONLY:
    case SQLITE_NOMEM:
    case SQLITE_CORRUPT: /* somebody must mend it, and the values are not to blame */
    case SQLITE_NOTADB:
        return DB_LOST;
    case SQLITE_CONSTRAINT:
        return constraint_problem(code);
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return DB_VALUE;
    case SQLITE_SCHEMA:
    case SQLITE_AUTH:
    case SQLITE_PERM:
        return DB_SCHEMA;
    case SQLITE_ERROR: /* SQLite has no code of its own for what is not there */
        return strstr(text, "no such ") || strstr(text, "has no column named") ? DB_SCHEMA : DB_OTHER;
    default:
        return DB_OTHER;
    }
}

/* A transaction that was lost would keep its lock on the file. */
static int fail(struct sqlite *s, struct db_call *call)
{
    const char *text = sqlite3_errmsg(s->handle);
    int code = sqlite3_extended_errcode(s->handle);
    db_problem_set(call, problem_of(code, text), "SQLite: %s (%d)", text, code);
    if (call->problem == DB_LOST && !sqlite3_get_autocommit(s->handle))
        sqlite3_exec(s->handle, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

/* ---- statements ---- */

static void forget_statements(struct sqlite *s)
{
    struct statement *st;
    for (size_t at = 0; (st = map_walk(&s->statements, &at, NULL));) {
        sqlite3_finalize(st->handle);
        free(st);
    }
    map_fini(&s->statements);
    s->statements = (struct map){0};
    s->statement_count = 0;
}

/* The N of the parameter $N at `place`; 0: it has another form. */
static size_t parameter(const struct statement *st, int place)
{
    const char *name = sqlite3_bind_parameter_name(st->handle, place);
    return name && name[0] == '$' ? strtoul(name + 1, NULL, 10) : 0;
}

static struct statement *prepare(struct sqlite *s, uint64_t key, struct db_call *call)
{
    sqlite3_stmt *handle = NULL;
    const char *rest = "";
    if (sqlite3_prepare_v3(s->handle, call->sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, &rest)) {
        fail(s, call);
        return NULL;
    }
    if (!handle || rest[strspn(rest, " \n\t;")]) {
        sqlite3_finalize(handle);
        db_problem_set(call, DB_OTHER, "not one statement; db_script runs several");
        return NULL;
    }
    struct statement *st = xcalloc(1, sizeof *st);
    st->handle = handle;
    for (int i = sqlite3_bind_parameter_count(handle); i > 0; i--)
        st->values = parameter(st, i) > st->values ? parameter(st, i) : st->values;
    map_put(&s->statements, key, st);
    s->statement_count++;
    return st;
}

static struct statement *find(struct sqlite *s, struct db_call *call)
{
    uint64_t key = XXH3_64bits(call->sql, strlen(call->sql));
    struct statement *st = map_get(&s->statements, key);
    if (st && strcmp(sqlite3_sql(st->handle), call->sql) == 0)
        return st;
    if (st || s->statement_count >= DB_STATEMENTS_MAX)
        forget_statements(s);
    return prepare(s, key, call);
}

static int bind_value(sqlite3_stmt *handle, int place, const struct db_value *v)
{
    switch (v->type) {
    case DB_INT:
    case DB_BOOL:
        return sqlite3_bind_int64(handle, place, v->i);
    case DB_DOUBLE:
        return sqlite3_bind_double(handle, place, v->d);
    case DB_TEXT: /* the text stays where it is until the statement is reset */
        return sqlite3_bind_text64(handle, place, v->text.data, v->text.len, SQLITE_STATIC, SQLITE_UTF8);
    case DB_NULL:
        break;
    }
    return sqlite3_bind_null(handle, place);
}

/* A parameter may stand several times, and in any order. */
static int bind(struct sqlite *s, const struct statement *st, struct db_call *call)
{
    if (st->values != call->count)
        return db_problem_set(call, DB_OTHER, "%zu values were given, the statement takes %zu", call->count, st->values);
    for (int i = sqlite3_bind_parameter_count(st->handle); i > 0; i--) {
        size_t number = parameter(st, i);
        if (!number)
            return db_problem_set(call, DB_OTHER, "parameters are $1, $2 ...");
        if (bind_value(st->handle, i, &call->values[number - 1]))
            return fail(s, call);
    }
    return 0;
}

static int64_t step(struct sqlite *s, const struct statement *st, struct db_call *call)
{
    int64_t rows = 0, before = sqlite3_total_changes64(s->handle);
    int code;
    while ((code = sqlite3_step(st->handle)) == SQLITE_ROW) {
        const struct db_row row = {.driver = &DRIVER, .from = st->handle};
        rows++;
        if (call->fn)
            call->fn(call->arg, &row);
    }
    if (code != SQLITE_DONE)
        return fail(s, call);
    if (sqlite3_column_count(st->handle))
        return rows;
    return sqlite3_total_changes64(s->handle) == before ? 0 : sqlite3_changes64(s->handle);
}

static int64_t sqlite_run(struct db *db, struct db_call *call)
{
    struct sqlite *s = of(db);
    struct statement *st = find(s, call);
    if (!st)
        return -1;
    int64_t rows = bind(s, st, call) ? -1 : step(s, st, call);
    sqlite3_reset(st->handle);
    sqlite3_clear_bindings(st->handle);
    return rows;
}

static int sqlite_queue(struct db *db, struct db_call *call)
{
    return sqlite_run(db, call) < 0 ? -1 : 0;
}

static int sqlite_script(struct db *db, struct db_call *call)
{
    struct sqlite *s = of(db);
    return sqlite3_exec(s->handle, call->sql, NULL, NULL, NULL) ? fail(s, call) : 0;
}

/* ---- rows ---- */

static sqlite3_stmt *handle_of(const struct db_row *row)
{
    return (sqlite3_stmt *) (uintptr_t) row->from;
}

static bool sqlite_is_null(const struct db_row *row, int column)
{
    return sqlite3_column_type(handle_of(row), column) == SQLITE_NULL;
}

static int64_t sqlite_get_int(const struct db_row *row, int column)
{
    return sqlite3_column_int64(handle_of(row), column);
}

static double sqlite_get_double(const struct db_row *row, int column)
{
    return sqlite3_column_double(handle_of(row), column);
}

static bool sqlite_get_bool(const struct db_row *row, int column)
{
    return sqlite3_column_int64(handle_of(row), column) != 0;
}

static struct ls_slice sqlite_get_text(const struct db_row *row, int column)
{
    const char *text = (const char *) sqlite3_column_text(handle_of(row), column); /* first: it converts, then the size is known */
    return ls_bytes(text, text ? (size_t) sqlite3_column_bytes(handle_of(row), column) : 0);
}

/* ---- locks ---- */

static int sqlite_lock(struct db *db, const char *name, struct db_call *call)
{
    struct sqlite *s = of(db);
    char *path = xasprintf("%s.%s.lock", s->path, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc = 1;
    if (fd < 0) {
        rc = db_problem_set(call, DB_LOST, "cannot open the lock file %s: %s", path, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB)) {
        rc = errno == EWOULDBLOCK ? 0 : db_problem_set(call, DB_LOST, "cannot lock %s: %s", path, strerror(errno));
        close(fd);
    } else {
        s->locks = xgrow(s->locks, &s->lock_room, s->lock_count + 1, sizeof *s->locks);
        s->locks[s->lock_count++] = fd;
    }
    free(path);
    return rc;
}

/* ---- the connection ---- */

static void sqlite_close(struct db *db)
{
    struct sqlite *s = of(db);
    forget_statements(s);
    sqlite3_close(s->handle); /* rolls back what is open */
    for (size_t i = 0; i < s->lock_count; i++)
        close(s->locks[i]);
    free(s->locks);
    free(s->path);
    free(s);
}

static int sqlite_check(struct db *db, struct db_call *call)
{
    (void) db, (void) call;
    return 0;
}

static int sqlite_fd(const struct db *db)
{
    (void) db;
    return -1;
}

static bool sqlite_in_transaction(const struct db *db)
{
    return !sqlite3_get_autocommit(((const struct sqlite *) (const void *) db)->handle);
}

static const struct db_driver DRIVER = {
    .close = sqlite_close, .run = sqlite_run, .queue = sqlite_queue, .script = sqlite_script, .lock = sqlite_lock,
    .check = sqlite_check, .fd = sqlite_fd, .in_transaction = sqlite_in_transaction, .begin = "BEGIN IMMEDIATE", .is_null = sqlite_is_null,
    .get_int = sqlite_get_int, .get_double = sqlite_get_double, .get_bool = sqlite_get_bool, .get_text = sqlite_get_text,
};

/* SQLite would make the file readable for others. Only a new file is opened here: closing one that SQLite has open in this process
 * would drop its locks. */
static int make_file(const char *path, struct db_call *call)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0)
        return db_problem_set(call, DB_LOST, "cannot make the SQLite file %s: %s; its folder must be there and be writable", path,
                              strerror(errno));
    close(fd);
    return 0;
}

/* The file is locked: 1 looks again. */
static int on_busy(void *arg, int count)
{
    struct sqlite *s = arg;
    int64_t ms = count < LOOK_MS_MAX ? count + 1 : LOOK_MS_MAX;
    if (!count)
        s->busy_since = clock_mono_ms();
    if (db_give_up(&s->db, s->busy_since))
        return 0;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
    return 1;
}

static void is_wal(void *arg, const struct db_row *row)
{
    *(bool *) arg = ls_slice_is(db_get_text(row, 0), "wal");
}

static int set_up(struct sqlite *s, struct db_call *call)
{
    bool wal = false;
    struct db_call mode = {.sql = "PRAGMA journal_mode = WAL", .fn = is_wal, .arg = &wal, .err = call->err};
    sqlite3_extended_result_codes(s->handle, 1);
    sqlite3_busy_handler(s->handle, on_busy, s);
    if (sqlite_run(&s->db, &mode) < 0)
        return -1;
    if (!wal)
        return db_problem_set(call, DB_LOST, "%s cannot be put into WAL mode: is it on a network file system?", s->path);
    if (sqlite3_exec(s->handle, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", NULL, NULL, NULL))
        return fail(s, call);
    return 0;
}

struct db *sqlite_open(const char *path, struct ls_error *err)
{
    struct db_call call = {.err = err};
    if (make_file(path, &call))
        return NULL;
    struct sqlite *s = xcalloc(1, sizeof *s);
    struct db *db = &s->db;
    db->driver = &DRIVER;
    db->patience_ms = PATIENCE_MS;
    s->path = xstrdup(path);
    int code = sqlite3_open_v2(path, &s->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if ((code && fail(s, &call)) || set_up(s, &call)) {
        error_wrap(err, "cannot open the SQLite file %s", path);
        db_close(&db);
        return NULL;
    }
    return db;
}
