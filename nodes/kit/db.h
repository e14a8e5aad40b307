/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_DB_H
#define NODES_KIT_DB_H
#include "lib/buf.h"
#include "lib/lineshaft.h"

/* One SQL text for two databases: PostgreSQL (libpq, prepared statements, pipeline mode) and SQLite (a file in WAL mode).
 *
 * SQL is the common part of both: parameters are $1, $2 ... (each may stand several times), `INSERT ... ON CONFLICT`, `RETURNING`,
 * row comparison. A statement is prepared once per connection and found again by its text, which is copied. After 500 texts all are
 * forgotten and prepared anew: put what varies into values. Booleans are passed and read as db_bool; times are integers.
 *
 * PostgreSQL infers the type of $N from where it first stands, SQLite keeps what it is given: pass what the column is (an integer for an
 * integer, never db_int for text or a boolean, nor db_double for an integer). Where nothing tells the type, or two places differ,
 * write `$1::bigint` or `$1::text`, which SQLite reads as $1.
 *
 * All calls block until the database has answered; one thread. They give up with DB_LOST when SQLite's file is locked for 20 s, when
 * PostgreSQL says nothing for five minutes (db_script waits on), and after half a second when SIGTERM or SIGINT is blocked and
 * pending, as in a node that is told to stop. PostgreSQL's own limit for a lock is 10 s (lock_timeout, DB_RETRY). They return 0 or
 * more for success, -1 with *err for failure; db_problem then tells the class. A connection that was lost stays lost until db_open;
 * its transaction is void.
 *
 * One statement takes at most 65535 values, with 500 MB of text (DB_VALUE). */

struct db;

/* db_url_check: "sqlite:PATH" (the folder must exist when it is opened) or "postgresql://..." as libpq takes it (postgres:// too).
 * -1 with BAD_VALUE and what to write instead. No effect. */
int db_url_check(const char *url, struct ls_error *err);

/* db_place: which database a URL that passed names, for people: the path, or host, port and name, never a secret. The caller's to free. */
char *db_place(const char *url);

/* db_open connects. SQLite: WAL, foreign keys on, synchronous=FULL; the file is made if it is absent (mode 0600). PostgreSQL: within
 * ten seconds (connect_timeout in the URL) for each address, then the next one of the URL is tried. search_path is `public, lineshaft`
 * unless the URL says otherwise; lock_timeout is 10 s, and the server notices within about 10 s that this process is gone, unless
 * the URL, the role or the database has settings of its own (lock_timeout, tcp_keepalives_..., tcp_user_timeout,
 * client_connection_check_interval). Prepared statements and locks belong to the session, so a pooler between must keep sessions
 * whole. UNREACHABLE (again) when it does not answer; passwords never stand in texts. */
struct db *db_open(const char *url, struct ls_error *err);
void db_close(struct db **db); /* NULL allowed; an open transaction is rolled back */

bool db_is_postgres(const struct db *db);

/* ---- values ---- */

enum db_type { DB_NULL, DB_INT, DB_DOUBLE, DB_BOOL, DB_TEXT };
struct db_value {
    enum db_type type;
    union {
        int64_t i; /* DB_INT; DB_BOOL: 0 or 1 */
        double d;  /* infinities are kept; NaN is refused (DB_VALUE), since SQLite would make NULL of it */
        struct ls_slice text; /* UTF-8 without NUL, else DB_VALUE; borrowed */
    };
};
static inline struct db_value db_null(void) { return (struct db_value){.type = DB_NULL}; }
static inline struct db_value db_int(int64_t i) { return (struct db_value){.type = DB_INT, .i = i}; }
static inline struct db_value db_bool(bool b) { return (struct db_value){.type = DB_BOOL, .i = b}; }
static inline struct db_value db_double(double d) { return (struct db_value){.type = DB_DOUBLE, .d = d}; }
static inline struct db_value db_slice(struct ls_slice s)
{
    return s.data ? (struct db_value){.type = DB_TEXT, .text = s} : db_null();
}
static inline struct db_value db_text(const char *text) { return db_slice(ls_str(text)); } /* NULL is NULL */
#define DB_VALUES(...) (const struct db_value[]){__VA_ARGS__}, sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)

/* ---- statements ---- */

/* A row of an answer; the getters convert from what the column is (NULL: 0, false, an empty slice; db_is_null tells). The text of a
 * real or a boolean is as the database writes it, which differs. */
struct db_row;
bool db_is_null(const struct db_row *row, int column);
int64_t db_get_int(const struct db_row *row, int column);
double db_get_double(const struct db_row *row, int column);
bool db_get_bool(const struct db_row *row, int column);
struct ls_slice db_get_text(const struct db_row *row, int column); /* borrowed until the row function returns */
typedef void db_row_fn(void *arg, const struct db_row *row);

/* db_run runs one statement and waits; `fn` (may be NULL) gets each row; it must not use the database. Returns the number of rows: those
 * that were handed out, else those that were changed. Outside a transaction the statement is one of its own, durable when this returns. */
int64_t db_run(struct db *db, const char *sql, const struct db_value *values, size_t count, db_row_fn *fn, void *arg,
               struct ls_error *err);

/* db_queue runs a statement of which neither rows nor count are wanted, within a transaction, without waiting: PostgreSQL's answer is read
 * by the next db_run or db_commit, which then fails in its place. `count` values are copied or used before it returns. */
int db_queue(struct db *db, const char *sql, const struct db_value *values, size_t count, struct ls_error *err);

/* db_script runs several statements without parameters, separated by semicolons. Call it within a transaction, so that all or none
 * happen. */
int db_script(struct db *db, const char *sql, struct ls_error *err);

/* ---- transactions ---- */

/* db_begin: SQLite takes the write lock at once (BEGIN IMMEDIATE); PostgreSQL hears of it with the first statement. db_commit: durable when
 * it returns 0; if it fails with the problem DB_LOST it may have happened all the same. After a failure within a transaction nothing more
 * runs in it, on both databases: call db_rollback (harmless when there is no transaction; db_problem stays).
 * Without a transaction db_commit and the three that follow fail (DB_OTHER).
 * db_savepoint, db_release and db_restore nest one level within a transaction; either of the last two ends it. db_savepoint and db_release
 * wait for what is queued and fail with it. db_restore undoes what came after the savepoint, failed or not, and the transaction goes on. */
int db_begin(struct db *db, struct ls_error *err);
int db_commit(struct db *db, struct ls_error *err);
void db_rollback(struct db *db);
int db_savepoint(struct db *db, struct ls_error *err);
int db_release(struct db *db, struct ls_error *err);
int db_restore(struct db *db, struct ls_error *err);

enum db_problem {
    DB_OK,      /* the last call succeeded */
    DB_LOST,    /* no connection, the server is stopping, the disk is full, the file is locked too long or damaged: again later */
    DB_RETRY,   /* deadlock, serialization failure, a timeout of the server's (lock, statement): the same transaction may succeed */
    DB_UNIQUE,  /* a unique or primary key is taken */
    DB_FOREIGN, /* a foreign key points at nothing */
    DB_VALUE,   /* NOT NULL, CHECK, too long, out of range, malformed: the values are wrong */
    DB_SCHEMA,  /* a table, column or function is not there, or permission is denied */
    DB_OTHER,   /* all else; also a call in a transaction of which something failed, before db_rollback */
};
enum db_problem db_problem(const struct db *db);

/* ---- locks and schema ---- */

/* db_lock takes an exclusive lock with that name ([a-z_]), held until the connection ends, so that only one node works on this database;
 * once for a connection: pg_try_advisory_lock, or flock on PATH.NAME.lock beside the SQLite file. 1: taken, 0: another process has it,
 * -1: failed. */
int db_lock(struct db *db, const char *name, struct ls_error *err);

/* Migrations: step i brings version i to i + 1. db_migrate brings the component `name` to the last version, each step in a
 * transaction, versions kept in lineshaft_schema (component, version, applied ms). A database of a later version is refused with
 * what to do. Of a step either `both` is set, or the two others. On PostgreSQL the schema `lineshaft` is made first; tables of ours
 * are named lineshaft_..., and are made there by writing `lineshaft.lineshaft_x` in the PostgreSQL text. Later statements name them
 * without the schema. */
struct db_step {
    const char *both, *sqlite, *postgres;
};
int db_migrate(struct db *db, const char *name, const struct db_step *steps, size_t count, struct ls_error *err);

#endif
