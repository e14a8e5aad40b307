/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OUTBOX_H
#define NODES_TRACKER_OUTBOX_H
#include "nodes/tracker/tracker.h"

/* Own facts on their way: committed with the change that they tell (one row of lineshaft_outbox a change),
 * published behind it, and gone from there when they have come back from the stream. tracker.h has the part for
 * requests; this one is for the node and its feed.
 *
 * What the stream says is the truth, and own facts get their place in it only when the broker has stored them.
 * Until then the tables are ahead: they hold all that the stream has brought so far, and on top of that the own
 * facts that wait here, so that a caller reads what was just answered with success. Each event that the stream
 * brings is put underneath:
 *  - A fact of others that touches the same thing as facts that wait here: it is applied, then those once more, in
 *    their order. They are "disturbed" from then on: when they come round, they are applied again, since what
 *    counts is their place in the stream.
 *  - An own fact that comes round undisturbed, as the first of those that touch the thing: the tables hold it
 *    already. Nothing is to be done, and the work is not done twice.
 * So when nothing waits any more, the tables are what the stream alone gives, and a replay into an empty database
 * gives the same. Metrics do not disturb each other: they are a set. */

struct own; /* a fact that waits */

struct outbox *outbox_new(struct tracker *t);
void outbox_free(struct outbox **outbox);

/* outbox_read, in `ready`: reads what waits in the database, and publishes again what is not known to be on its
 * way. */
int outbox_read(struct outbox *outbox, struct ls_error *err);
/* outbox_turn publishes what waits for room, and removes rows that wait for nothing. -1: the database's error. */
int outbox_turn(struct outbox *outbox, struct ls_error *err);

/* outbox_waiting: how many facts are here. */
size_t outbox_waiting(const struct outbox *outbox);

/* ---- within the transaction that applies events ---- */

/* outbox_find: the waiting fact with that event id, or NULL. */
struct own *outbox_find(const struct outbox *outbox, struct ls_slice id);
/* outbox_comes: it came round. True: apply it. */
bool outbox_comes(struct outbox *outbox, struct own *own);
/* outbox_foreign: a fact of others is about to be applied. */
void outbox_foreign(struct outbox *outbox, const char *topic, const json_t *body);
/* outbox_settle, at the end: applies again what the batch disturbed, removes rows of which every fact came.
 * `careful`: with savepoints, so that one that fails is left out. */
int outbox_settle(struct outbox *outbox, bool careful, struct ls_error *err);
/* Then, when it was committed, or rolled back. */
void outbox_settled(struct outbox *outbox);
void outbox_undo(struct outbox *outbox);

#endif
