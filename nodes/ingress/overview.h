/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INGRESS_OVERVIEW_H
#define NODES_INGRESS_OVERVIEW_H
#include "lib/mp.h"
#include "nodes/ingress/ingress.h"

/* The state of bus and processes: what the broker answers to ADM, and each `up` to its up.status.ID (docs/decisions/041). It is
 * asked in rounds, one at a time for all who want to know: once a second while a console watches, and when /metrics is read.
 * Nobody wants to know: nothing is asked. */

enum overview_part { PART_INFO, PART_STREAMS, PART_CONSUMERS, PART_SERVICES, PART_SESSIONS, PART_TOPICS, PART_DLQ, OVERVIEW_PARTS };

/* overview_wait asks, or joins the round that is under way, and calls wait->fn when it is complete, or when the bus goes away.
 * false: there is no connection. overview_forget: fn is not called any more; only for one that still waits. */
struct overview_wait {
    LIST_ENTRY(overview_wait) link;
    void (*fn)(void *arg);
    void *arg;
};
bool overview_wait(struct ingress *in, struct overview_wait *wait);
void overview_forget(struct overview_wait *wait);

/* overview_part: the last answer to a question, a map; an empty reader if there is none, as while the bus is away.
 * overview_supervisor: the last answer of the index-th `up`, JSON text; empty behind the last. Both until the next turn. */
struct mp overview_part(const struct ingress *in, enum overview_part part);
struct ls_slice overview_supervisor(const struct ingress *in, size_t index);
/* Supervisors are services whose topic begins so. */
bool overview_is_supervisor(struct ls_slice topic);

#endif
