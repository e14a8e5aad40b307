/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TAIL_TAIL_H
#define CLI_TAIL_TAIL_H
#include "cli/bus.h"
#include "cli/event_view.h"
#include "lib/map.h"

/* The parts of `lineshaft tail`: what is asked for (cmd_tail.c), reading what is stored (tail_history.c), finding what belongs
 * to a trace (tail_find.c), its tree (tail_link.c, tail_trace.c), and an event's story in a line (tail_story.c, story_*.c). */

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
    size_t children;
};

struct trace {
    char *asked;         /* what --trace names; NULL: no --trace */
    struct map known;    /* ids that make an event belong to it: hash -> text */
    size_t known_count;
    bool learnt;         /* in this pass */
    struct trace_node *nodes; /* in the order of time */
    size_t count, room;
    struct map events, spans, requests, groups; /* hash of the id -> 1 + number of the node: for finding parents */
    struct map things, tries; /* the same: the first event of a run, a task; what began a try */
    char *alias;         /* what `asked` may be short for, by what was read so far: "train/r1" for r1; else NULL */
    int64_t alias_us;    /* when that began */
    bool alias_many;     /* there are others */
    bool searched;       /* the log was read: what comes now is new */
    int topic_columns, source_columns;
};

struct tail {
    struct bus bus;
    struct options_broker broker;
    const char **topics;   /* NULL-terminated */
    bool *kept;           /* of each of topics: some stream keeps it */
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

/* tail_ask sets what is looked for: the id of a trace, event, chat, request or run, or a traceparent. tail_belongs: the event is
 * part of it; learns the ids by which further ones may be. tail_search collects all stored ones in trace.nodes; 0, or the
 * exit status. A name that stands for several runs is told on standard error. */
void tail_ask(struct trace *trace, const char *id);
bool tail_belongs(struct trace *trace, const struct ls_event *event);
int tail_search(struct tail *tail);
void tail_forget_tree(struct trace *trace);
/* tail_request_id: which request a chat event is about; NULL if none. The caller frees it. */
char *tail_request_id(const struct ls_event *event);
uint64_t tail_hash(struct ls_slice text);

/* tail_thing: what the event is about, as "workflow/WORKFLOW/RUN", "workflow/WORKFLOW/RUN/TASK" or "run/RUN", which is how the kind
 * `wandb` names it too; NULL if it is about none of these. The caller frees it. */
char *tail_thing(const struct ls_event *event);
bool tail_has_prefix(struct ls_slice text, const char *prefix);

/* tail_link places node i, those before it being placed: its parent, depth and group (tail_link.c has the rules). */
void tail_link(struct trace *trace, size_t i);
#define SOURCE_COLUMNS_MAX 24

/* tail_tree prints the collected events as a tree, with a line that sums it up (not when it is followed); as JSON with
 * tail->json. tail_tree_more prints one that came later. */
void tail_tree(struct tail *tail);
void tail_tree_more(struct tail *tail, const struct ls_event *event);
void tail_tree_fini(struct trace *trace);

/* story_put appends what the event says, on one line. story_folds: the two are of those kinds that come in rows (values of a run,
 * progress) and may be told together; story_put_fold does so, for events that fold with each other, in the order of time. */
void story_put(const struct ls_event *event, struct buf *out);
bool story_folds(const struct ls_event *a, const struct ls_event *b);
void story_put_fold(const struct ls_event *const *events, size_t count, struct buf *out);

#endif
