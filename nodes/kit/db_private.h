/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_DB_PRIVATE_H
#define NODES_KIT_DB_PRIVATE_H
#include "lib/map.h"
#include "nodes/kit/db.h"

/* The inside of db*.c: db.c keeps the rules that hold for both databases and calls a driver, db_postgres.c or db_sqlite.c. */

#define DB_STATEMENTS_MAX 500 /* prepared statements of a connection; then all are forgotten */
#define DB_STOP_MS 500        /* who is told to stop waits no longer than that for an answer */
#define DB_LOOK_MS 100        /* who waits looks so often whether to give up */

struct db_row {
    const struct db_driver *driver;
    const void *from; /* the driver's: an answer, or a statement that stands on a row */
    int number;
};

/* A call of a driver: what to run, and what came of it. */
struct db_call {
    const char *sql;
    const struct db_value *values;
    size_t count;
    db_row_fn *fn;
    void *arg;
    enum db_problem problem;
    struct ls_error *err;
};

/* A connection that is being made: what it waits for. */
struct db_wait {
    short events;     /* of db_fd, as poll has them */
    int64_t until_ms; /* CLOCK_MONOTONIC: then db_connect goes on all the same */
};

/* What a driver does. -1: failed, with call->problem and *call->err set by db_problem_set. */
struct db_driver {
    bool postgres;
    int (*connect)(struct db *db, struct db_call *call, struct db_wait *wait); /* NULL: opened at once */
    void (*close)(struct db *db);
    int64_t (*run)(struct db *db, struct db_call *call);
    int (*queue)(struct db *db, struct db_call *call);
    int (*settle)(struct db *db, struct db_call *call); /* reads what the answers to db_queue are; NULL: there are none */
    int (*script)(struct db *db, struct db_call *call);
    int (*lock)(struct db *db, const char *name, struct db_call *call);
    int (*check)(struct db *db, struct db_call *call); /* is the connection there still? Does not wait */
    int (*fd)(const struct db *db);
    bool (*in_transaction)(const struct db *db); /* as the database sees it */
    const char *begin;

    bool (*is_null)(const struct db_row *row, int column);
    int64_t (*get_int)(const struct db_row *row, int column);
    double (*get_double)(const struct db_row *row, int column);
    bool (*get_bool)(const struct db_row *row, int column);
    struct ls_slice (*get_text)(const struct db_row *row, int column);
};

/* The head of a driver's own struct. */
struct db {
    const struct db_driver *driver;
    enum db_problem problem;
    struct ls_error loss; /* named: the connection was lost so */
    int64_t patience_ms;  /* how long a call waits for the file's lock, or for a server that says nothing */
    bool begun;           /* within a transaction */
    bool failed;          /* of which something failed: nothing goes on before db_rollback or db_restore */
};

struct db *postgres_open_start(const char *url, struct ls_error *err);
int postgres_check_url(const char *url, struct ls_error *err);
char *postgres_place(const char *url);
struct db *sqlite_open(const char *path, struct ls_error *err);

/* db_problem_set fills call->problem and *call->err, whose name follows from the problem; -1. The statement stands in the text. */
int db_problem_set(struct db_call *call, enum db_problem problem, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* db_give_up: why a call that has waited since then (CLOCK_MONOTONIC ms) must not go on; NULL: let it wait. A node hears of its signals
 * between two calls only, so a signal that waits to be heard counts too. */
const char *db_give_up(const struct db *db, int64_t since_ms);

/* db_start and db_connect are db_open without waiting. db_start: NULL if it failed. db_connect: 1: the database is open; 0: call it again
 * when db_fd is ready for what *wait says, or at that time (the descriptor is another then, perhaps: stop watching it before the
 * call); -1: it failed, db_close is left to do. A name that DNS is slow to answer blocks both. */
struct db *db_start(const char *url, struct ls_error *err);
int db_connect(struct db *db, struct db_wait *wait, struct ls_error *err);

/* db_fd: the descriptor that becomes readable when an idle connection ends; -1: there is none. db_check looks whether it ended: -1 with
 * DB_LOST. */
int db_fd(const struct db *db);
int db_check(struct db *db, struct ls_error *err);

#endif
