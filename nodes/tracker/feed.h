/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_FEED_H
#define NODES_TRACKER_FEED_H
#include "nodes/tracker/tracker.h"

/* Events from the bus into the tables: gathered during a turn of the loop, applied in the stream's order in one
 * transaction, together with the position in the stream; acknowledged when that has been committed. So each event
 * has its effect once, whatever is killed. While the database is away they stay here, and are kept alive. */

struct feed *feed_new(struct tracker *t);
void feed_free(struct feed **feed);

/* feed_load, in `ready`: reads the positions. */
int feed_load(struct feed *feed, struct ls_error *err);
/* feed_loaded: the last event of the stream that was in the database then; 0: none. */
uint64_t feed_loaded(struct feed *feed, struct ls_slice stream);
/* feed_take gathers an event (the callback `event`). */
enum ls_verdict feed_take(struct feed *feed, const struct ls_event *event);
/* feed_turn applies what was gathered, and settles it. Returns when it wants to be called again (CLOCK_MONOTONIC
 * ms). */
int64_t feed_turn(struct feed *feed, int64_t now_ms);
/* feed_count: events gathered. */
size_t feed_count(const struct feed *feed);

#endif
