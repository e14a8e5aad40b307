/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_MISSED_H
#define NODES_TRACKER_MISSED_H
#include "nodes/tracker/tracker.h"

/* Whether the database is as new as the node's consumer. One that was restored alone lacks events that were acknowledged, and no
 * broker gives those again by itself: the log says so (`database-behind`, ERROR). */

struct missed *missed_new(struct tracker *t);
void missed_free(struct missed **missed);
/* missed_look, in `ready` behind feed_load: asks the broker, once it is there. Returns at once. */
void missed_look(struct missed *missed);

#endif
