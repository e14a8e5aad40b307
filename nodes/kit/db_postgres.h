/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_DB_POSTGRES_H
#define NODES_KIT_DB_POSTGRES_H
#include <postgresql/libpq-fe.h>

#include "nodes/kit/db_private.h"

/* The inside of the driver for PostgreSQL: db_postgres.c speaks over a connection, db_postgres_open.c makes it. */

struct postgres_sent { /* a command whose answer has not been read */
    const char *sql;            /* borrowed from the statement, or constant; NULL: a plain one */
    struct statement *prepares; /* NULL: it runs something */
};

struct postgres {
    struct db db; /* first */
    PGconn *conn;
    struct map statements; /* by the hash of their text */
    size_t statement_count;
    unsigned long long last_name;
    struct postgres_sent *sent;
    size_t sent_count, sent_room;
    struct buf text;     /* the values of a statement as text */
    const char **params; /* into it */
    size_t param_room;

    /* While the connection is being made. */
    char *url;
    int host_count, turns;  /* hosts that the URL names, and how many times it was begun with another one of them */
    char address[80];       /* where it is tried now */
    struct db_wait wait;
};

extern const struct db_driver POSTGRES_DRIVER;

static inline struct postgres *postgres_of(struct db *db)
{
    return (struct postgres *) (void *) db;
}

/* db_postgres.c */
int postgres_fail(const struct postgres *p, struct db_call *call); /* the connection's own words; DB_LOST, -1 */
int64_t postgres_run(struct db *db, struct db_call *call);

/* db_postgres_open.c */
int postgres_connect(struct db *db, struct db_call *call, struct db_wait *wait);

#endif
