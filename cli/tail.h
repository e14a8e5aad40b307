/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TAIL_H
#define CLI_TAIL_H
#include "cli/bus.h"
#include "cli/event_view.h"
#include "lib/map.h"

/* The parts of `lineshaft tail`: what is asked for (cmd_tail.c), reading what is stored (tail_history.c), finding what belongs
 * to a trace (tail_find.c), its tree (tail_trace.c), and an event's story in a line (tail_story.c). */

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

#define TRACE_NO_PARENT SIZE_MAX
#define TRACE_EVENTS_MAX 10000

struct trace_node {
    struct event_copy copy;
    char *request;       /* of a chat event: the request's id; else NULL */
    size_t parent;       /* an earlier node, or TRACE_NO_PARENT */
    size_t depth, group; /* group: the first node of its trace */
};

struct trace {
    char *asked;         /* what --trace names; NULL: no --trace */
    struct map known;    /* ids that make an event belong to it: hash -> text */
    size_t known_count;
    bool learnt;         /* in this pass */
    struct trace_node *nodes; /* in the order of time */
    size_t count, room;
    struct map events, spans, requests, groups; /* hash of the id -> 1 + number of the node: for finding parents */
    int topic_columns, source_columns;
};

struct tail {
    struct bus bus;
    struct options_broker broker;
    const char **topics;   /* NULL-terminated */
    const char *stream;    /* NULL: all */
    const char *subject;
    struct ls_from from;   /* LS_FROM_DEFAULT: no history */
    uint64_t count_max, count;
    bool follow, no_follow, json, finished, following; /* following: the log was read */
    struct view view;
    struct tail_stream streams[TAIL_STREAMS_MAX];
    size_t stream_count;
    struct buf out;
    struct trace trace;
};

/* tail_wanted: the event passes --subject and --trace. tail_put prints it (or keeps it for the tree) and counts. */
bool tail_wanted(struct tail *tail, const struct ls_event *event);
void tail_put(struct tail *tail, const struct ls_event *event);

/* tail_history reads what is stored from tail->from on, of all streams, merged by time. 0, or the exit status. */
int tail_history(struct tail *tail);

/* tail_ask sets what is looked for: the id of a trace, event, chat or request, or a traceparent. tail_belongs: the event is
 * part of it; learns the ids by which further ones may be. tail_search collects all stored ones in trace.nodes; 0, or the
 * exit status. */
void tail_ask(struct trace *trace, const char *id);
bool tail_belongs(struct trace *trace, const struct ls_event *event);
int tail_search(struct tail *tail);
void tail_forget_tree(struct trace *trace);
/* tail_request_id: which request a chat event is about; NULL if none. The caller frees it. */
char *tail_request_id(const struct ls_event *event);
uint64_t tail_hash(struct ls_slice text);

/* tail_tree prints the collected events as a tree, with a line that sums it up (not when it is followed); as JSON with
 * tail->json. tail_tree_more prints one that came later. */
void tail_tree(struct tail *tail);
void tail_tree_more(struct tail *tail, const struct ls_event *event);
void tail_tree_fini(struct trace *trace);

/* story_put appends what the event says, on one line. */
void story_put(const struct ls_event *event, struct buf *out);

#endif
