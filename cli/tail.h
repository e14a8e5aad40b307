/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TAIL_H
#define CLI_TAIL_H
#include "cli/bus.h"
#include "cli/event_view.h"

/* The parts of `lineshaft tail`: what is asked for (cmd_tail.c), reading what is stored (tail_history.c), and the tree of a
 * trace (tail_trace.c). */

#define TAIL_STREAMS_MAX 60 /* subscriptions of a session: 64 */

struct tail_stream {
    char *name;
    uint64_t first, end; /* stored when tail began: first..end, none if end < first */
    /* Reading: the events of one page, or the last ones, by number. */
    uint64_t next;
    struct event_copy *page;
    size_t count, room, at;
    size_t keep;         /* > 0: only the last `keep` of what comes stay in the page */
};

struct tail {
    struct bus bus;
    struct options_broker broker;
    const char **topics;   /* NULL-terminated */
    const char *stream;    /* NULL: all */
    const char *subject, *trace;
    struct ls_from from;   /* LS_FROM_DEFAULT: no history */
    uint64_t count_max, count;
    bool follow, no_follow, json, finished;
    struct view view;
    struct tail_stream streams[TAIL_STREAMS_MAX];
    size_t stream_count;
    struct buf out;
    struct event_copy *tree; /* --trace without --follow: what was found */
    size_t tree_count, tree_room;
};

/* tail_wanted: the event passes --subject and --trace. tail_put prints it (or keeps it for the tree) and counts. */
bool tail_wanted(const struct tail *tail, const struct ls_event *event);
void tail_put(struct tail *tail, const struct ls_event *event);

/* tail_history reads what is stored from tail->from on, of all streams, merged by time. 0, or the exit status. */
int tail_history(struct tail *tail);

/* tail_tree prints the collected events by causation. */
void tail_tree(struct tail *tail);

#endif
