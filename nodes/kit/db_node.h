/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_DB_NODE_H
#define NODES_KIT_DB_NODE_H
#include "lib/node.h"
#include "nodes/kit/db.h"

/* A node's database: opened, locked, migrated; when it is down, at the start or later, the node waits and says so.
 *
 * While there is no database the node is paused (node_pause: no new events, no new requests, so HTTP callers get 503 and bus
 * requesters NO_RESPONDER). It tries again after 100 ms, doubling up to 5 s, for ever; while the node is stopping, not any more. A
 * connection to PostgreSQL is made in the loop, which goes on meanwhile (but for a host name that DNS is slow to answer). Log lines:
 * `database-down` (WARN; at first, when the reason changes, and once a minute) with where and why, `database-up` (INFO), and
 * `database-taken` (WARN) while another process holds the lock: this node then stands by, and takes over when the other has gone.
 * An idle connection to PostgreSQL is watched.
 *
 * The lock is taken anew for each connection, before `ready`. A node that was cut off may not know yet that another has taken over:
 * what it has not committed over this connection has not happened, so act (publish, answer) after the commit only. */

struct db_node;

struct db_node_options {
    const char *url;
    const char *lock;             /* name for db_lock; NULL: none */
    const char *component;        /* for db_migrate */
    const struct db_step *steps;
    size_t step_count;
    /* The database is there, locked and migrated: read state, catch up. Failing (-1, *err) counts as the database being down. After
     * it returned 0 the node takes work, unless the connection was lost within it. Called again after each loss. db_node_db gives
     * the database here too. */
    int (*ready)(void *self, struct db *db, struct ls_error *err);
    /* It was lost: forget what was in transactions; what is in memory and was not committed must be thrown away or redone in
     * `ready`. Not called for an attempt that failed before the node took work. May be NULL. */
    void (*lost)(void *self, const struct ls_error *err);
    void *self;
};

/* db_node_open begins; returns at once, the first attempt is made in the loop. Options are copied, texts borrowed. Never NULL. */
struct db_node *db_node_open(struct node *node, const struct db_node_options *options);
void db_node_close(struct db_node **db_node);

/* db_node_db: the open database, NULL while it is away. */
struct db *db_node_db(struct db_node *db_node);

/* db_node_failed is called with the error of any failed call (before or after db_rollback): when db_problem says DB_LOST or
 * DB_SCHEMA it closes the database, pauses the node, calls `lost`, begins to try again, and returns true; the struct db is gone
 * then. While the database is away it returns true and does nothing, so whoever else saw the same failure may say so too. Within
 * `ready` it only tells: return -1. False: the connection is well, the statement was wrong, or may be tried again (DB_RETRY). */
bool db_node_failed(struct db_node *db_node, const struct ls_error *err);

#endif
