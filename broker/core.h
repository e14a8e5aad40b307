/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CORE_H
#define BROKER_CORE_H
/* The broker's state, seen by the files of this folder only. Everything belongs to the loop's thread.
 *
 * An event's way: sockets.c receives a message -> verbs.c finds its function -> publish.c reads the header (header.c), asks
 * schema and dedup.c, appends to the stream's log -> the log commits -> stream.c is told, acknowledges (acks.c), feeds
 * the live sockets (live.c) and pumps the subscriptions (consumer.c, ephemeral.c), which deliver (deliver.c). */
#include "broker/config.h"
#include "broker/consumer.h"
#include "broker/event.h"
#include "broker/log/log.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/heap.h"
#include "lib/logger.h"
#include "lib/map.h"
#include "lib/mp.h"
#include "lib/schema.h"
#include "lib/topic.h"
#include "lib/xmem.h"

struct broker;
struct session;
struct stream;
struct consumer;
struct position;
struct sub;

/* ---- stream.c ---- */

struct stream {
    const struct stream_config *config;
    struct broker *broker;
    struct log *log;
    struct state_file *state;
    struct dedup dedup;
    struct walk live;            /* what the live sockets have seen */
    struct consumer **consumers; /* of this stream */
    size_t consumer_count, consumer_room;
    bool committed; /* since the last turn: pump */
    uint64_t published, duplicates;
    struct sync_wait *sync_waits; /* ACKs that wait for the state file */
    size_t sync_wait_count, sync_wait_room;
    uint64_t batch_taken; /* while a batch is read: its events that go here */
};
int stream_open(struct broker *b, struct stream *s, const struct stream_config *config, struct ls_error *err);
void stream_fini(struct stream *s);
struct stream *stream_find(struct broker *b, struct mp_slice name);
void stream_after_commit(struct stream *s); /* acks, live feed, deliveries */
void stream_checkpoint(struct stream *s);

/* ---- route.c: what a topic leads to, and what flowed there; remembered by topic ---- */

struct route {
    char topic[TOPIC_LEN_MAX + 1];
    size_t len;
    struct stream *stream; /* NULL: none keeps it */
    const struct schema *schema;
    uint64_t events, bytes; /* stored or, without a stream, passed on; headers and bodies */
    int64_t last_us;
};
/* route_find: NULL if the topic is not valid. The answer is valid until the end of the turn (should two topics have one hash, it
 * may be the other's then). */
struct route *route_find(struct broker *b, struct mp_slice topic);
void routes_init(struct broker *b);
void routes_fini(struct broker *b);
void routes_trim(struct broker *b); /* once a turn: a flood of topics costs time, not memory */
/* route_count: an event was accepted; `s` is its session, NULL where there is none. */
void route_count(struct route *route, struct session *s, size_t bytes, int64_t now_us);

/* ---- acks.c: what a session's publishes wait for ---- */

struct run {               /* publishes of one session that are answered together, or one reply that waits */
    struct stream *stream; /* NULL: waits for nothing */
    uint64_t seq_last;
    uint64_t n_first, n_last; /* 0: a single reply, `reply` */
    uint64_t turn;
    uint32_t dups;
    size_t bytes; /* counted against the session until answered */
    struct buf reply;
};
struct runs {
    struct run *ring;
    size_t room; /* a power of two */
    uint64_t head, tail;
};
void acks_numbered(struct session *s, struct stream *stream, uint64_t seq_first, uint32_t count, uint64_t n, bool dup,
                   size_t bytes);
/* acks_single: takes the bytes of *reply (an OK's map); an empty one only makes what follows wait. */
void acks_single(struct session *s, struct stream *stream, uint64_t seq_first, uint64_t seq_last, struct buf *reply,
                 size_t bytes);
void acks_send_all(struct broker *b); /* answers all at the front of each session's queue that is durable */
void acks_fail(struct broker *b, struct stream *stream, uint64_t from, uint64_t to, const struct ls_error *err);
void acks_fini(struct session *s);

/* ---- http_route.c: HTTP routes that clients declare with HELLO ---- */

struct http_route {
    char *method, *path, *topic, *summary;
    bool bytes;   /* too much for the bus: the client has a door of its own */
    uint64_t key; /* hash of method and path, parameter names left out */
    struct session *session;
    struct http_route *older; /* the same one, declared by an earlier session of that client */
};
struct http_routes {
    struct http_route *items;
    size_t count, bytes; /* bytes: of memory, about */
};
/* http_routes_read reads `routes` of a HELLO, if it has some; -1 with *err and nothing to free. http_routes_check: CONFLICT if
 * another client than `client` holds one of them, BUSY if there is no memory for them. */
int http_routes_read(struct broker *b, struct mp header, struct http_routes *routes, struct ls_error *err);
int http_routes_check(struct broker *b, const struct http_routes *routes, const struct session *s,
                      struct mp_slice client, struct ls_error *err);
void http_routes_declare(struct session *s, struct http_routes *routes); /* takes them */
void http_routes_withdraw(struct session *s);
void http_routes_free(struct http_routes *routes);

/* ---- session.c: one peer of the ROUTER socket ---- */

struct session {
    struct broker *broker;
    char *route; /* libzmq's routing id */
    size_t route_len;
    uint64_t key; /* its hash: the place in broker->sessions */
    int fd;
    bool delimited, introduced, acking;
    bool gone; /* nothing can be sent any more; ended at the end of the turn */
    const char *doom;
    bool said_goodbye;
    int lost_fd;               /* the descriptor it had */
    uint64_t slow_turn;        /* when it was last asked whether the peer is slow ... */
    bool slow;                 /* ... and the answer */
    uint64_t turn, turn_bytes; /* what reads have put into its pipe in this turn */
    bool lost;                 /* the connection ended; what it sent before is still to be read */
    struct session *next_lost;
    char client[NAME_LEN_MAX + 1], member[NAME_LEN_MAX + 1];
    int64_t hb_ms, seen_ms;
    int64_t since_us; /* of its HELLO */
    struct timer silence;
    struct http_routes http_routes; /* that it declared */
    struct buf stats;               /* the map of its latest PING with one */
    uint64_t last_n;
    struct runs runs;
    struct session *ack_next, *ack_prev; /* sessions with runs */
    struct sub **subs;
    size_t sub_count, sub_room;
    struct map requests;    /* rid -> struct request, as the requester */
    uint64_t pending_bytes; /* published and not yet committed */
    struct {                /* since its HELLO */
        uint64_t published, delivered; /* events accepted from it, and sent to it */
        uint64_t requests, served;     /* that it sent, and that were given to it */
    } flow;
    struct session *next_gone;
    bool ended;
};
/* sessions_sorted: those that said HELLO, by client and member; the caller frees the list. */
struct session **sessions_sorted(struct broker *b, size_t *count);
struct session *session_require(struct broker *b, struct message *m);
struct session *session_of_fd(struct broker *b, int fd);
const char *session_source(const struct session *s); /* "anonymous" without HELLO */
/* session_doom: for use while deliveries are under way: ended by sessions_sweep. session_end gives everything back at once; the
 * memory goes with sessions_sweep, at the end of the turn. */
void session_doom(struct session *s, const char *reason);
void session_end(struct session *s, const char *reason);
void sessions_sweep(struct broker *b);
/* session_lost: its connection ended. sessions_lost_end ends those sessions once everything received has been read. */
void session_lost(struct session *s);
void sessions_lost_end(struct broker *b);
void sessions_fini(struct broker *b);
bool session_is_slow(struct session *s); /* asked once a turn; then the loop looks again soon */
struct sub *session_sub(struct session *s, uint64_t cid);

/* ---- reply.c: sending to one peer ---- */

/* All send at once or, if the peer is gone or does not read, end its session. Map bytes are copied. */
void reply_map(struct session *s, const char *verb, const struct buf *map);
/* reply_parts adds up to one body frame; takes the content of *body if it is not NULL. */
void reply_body(struct session *s, const char *verb, const struct buf *map, zmq_msg_t *body);
void reply_frames(struct session *s, const char *verb, const struct buf *map, struct mp_slice header,
                  struct mp_slice body);
/* reply_error answers a message with ERR: the error's fields and the pairs already packed in `about` (count of them). */
void reply_error(struct session *s, const struct ls_error *err, const struct buf *about, uint32_t about_pairs);
/* pack_tag copies `tag`, if the header has one, as a pair; returns the number of pairs (0 or 1). */
bool tag_valid(struct mp value);
void reply_complaint(struct message *m, const struct ls_error *err); /* ERR with the message's tag */
uint32_t pack_tag(struct buf *out, struct mp_slice header);
uint32_t pack_numbers(struct buf *out, uint64_t n, uint64_t count); /* `n` and, above 1, `count`; returns the pairs */

/* ---- verbs ---- */

void verb_dispatch(struct broker *b, struct message *m);
void on_publish(struct broker *b, struct message *m); /* publish.c */
void publish_bare(struct broker *b, struct message *m);
void publish_topic(struct broker *b, struct message *m);
void publish_rejected(struct broker *b, struct message *m, const struct ls_error *err);
/* pack_own_header: the header of an event that the broker itself publishes. */
void pack_own_header(struct broker *b, struct buf *out, const char *topic);
/* publish_internal appends an event of the broker's own; returns its seq, 0 with *err. `header` is complete. */
uint64_t publish_internal(struct broker *b, const char *topic, struct mp_slice header, struct mp_slice body,
                          struct ls_error *err);
void on_subscribe(struct broker *b, struct message *m); /* subscribe.c */
void on_more(struct broker *b, struct message *m);
void on_bye(struct broker *b, struct message *m);
void on_settle(struct broker *b, struct message *m); /* settle.c: ACK NAK TERM WIP */
/* settle_wait sends OK when the state file has reached the token, and takes *reply; `held` (may be NULL) gets no MSG before. */
void settle_wait(struct stream *s, uint64_t token, struct session *session, struct sub *held, struct buf *reply);
void settle_synced(struct stream *s); /* answers ACKs whose state is on disk */
void settle_fini(struct stream *s);
void on_get(struct broker *b, struct message *m);     /* read.c */
void on_request(struct broker *b, struct message *m); /* request.c */
void on_reply(struct broker *b, struct message *m);
void on_cancel(struct broker *b, struct message *m);
void on_admin(struct broker *b, struct message *m); /* admin.c */
void on_hello(struct broker *b, struct message *m); /* session.c */
void on_ping(struct broker *b, struct message *m);

/* ---- request.c ---- */

struct request;
void requests_of_session_gone(struct session *s);
void requests_of_worker_gone(struct broker *b, const struct sub *worker); /* others get them, where that is possible */
size_t requests_waiting(const struct broker *b, const char *pattern);     /* whose topic matches it */
int request_credit(struct session *s, uint64_t rid, struct mp header, struct ls_error *err);
void requests_assign(struct broker *b); /* gives waiting requests to workers that became free */
void requests_fini(struct broker *b);

/* ---- service.c: who serves ---- */

void services_init(struct broker *b);
void services_fini(struct broker *b);
void service_join(struct sub *sub);
void service_leave(struct sub *sub);
struct service_wish { /* what a SUB says of a service; what it leaves out stays as it was */
    bool has_slots, has_away, away;
    uint64_t slots;
    struct mp_slice about;
};
int service_read(struct broker *b, struct mp header, struct service_wish *wish, struct ls_error *err);
void service_set(struct sub *sub, const struct service_wish *wish);
void service_count(struct sub *sub, struct mp_slice topic); /* a request is given to it */
void services_changed(struct broker *b); /* tell $sys.services */

/* ---- live.c ---- */

void live_read_subscriptions(struct broker *b);
void live_stream(struct stream *s); /* publishes what was committed */
void live_event(struct broker *b, struct mp_slice topic, struct mp_slice header, struct mp_slice body, int64_t ts_us);
/* live_add: an event that no stream keeps. On the batched feed runs gather until live_flush (once a turn). */
void live_add(struct broker *b, struct mp_slice topic, const struct stored *event);
void live_flush(struct broker *b);
void live_sync(struct broker *b, struct mp_slice nonce);

/* ---- sockets.c, guard.c ---- */

enum socket_name { SOCK_ROUTER, SOCK_PULL, SOCK_LIVE, SOCK_SUB, SOCK_BATCH, SOCK_COUNT };
struct sockets {
    struct _zsock_t *zsock[SOCK_COUNT];
    void *raw[SOCK_COUNT];
    void *monitor[SOCK_COUNT];
    unsigned attempts; /* to open them */
    int epoll_fd;
    bool ready[SOCK_COUNT], monitor_ready[SOCK_COUNT]; /* to be read until nothing is left */
    bool sent[SOCK_COUNT];                             /* sent on since it was last looked at */
};
int sockets_open(struct broker *b, struct ls_error *err);
void sockets_close(struct broker *b);
/* sockets_wait waits until a socket is ready, `device_fd` or `signal_fd` is readable, or wait_ms (-1: no end) are over, and
 * sets the flags above. True: signal_fd is readable. */
bool sockets_wait(struct broker *b, int64_t wait_ms);
bool sockets_drain(struct broker *b,
                   enum socket_name from); /* receives and dispatches up to a turn's share; true: all */

struct connection;
struct guard {
    struct connection *connections; /* by descriptor */
    size_t room, open;
    size_t most; /* may be open: connections_max, or what the system's limit of open files leaves */
    struct timer timer;
};
/* guard_descriptors raises the limit of open files as far as the system lets it; -1 if that is too few to work at all. */
int guard_descriptors(struct broker *b, struct ls_error *err);
void guard_init(struct broker *b);
void guard_fini(struct broker *b);
void guard_events(struct broker *b); /* reads the monitors that are known to have something */
/* guard_catch_up reads all of them. libzmq tells of an end before it closes the descriptor, so when the first message of a new
 * connection is in hand, everything about older ones with the same number can be read, but poll may not have said so yet. */
void guard_catch_up(struct broker *b);
void guard_saw_message(struct broker *b, int fd);
bool guard_is_open(const struct broker *b, int fd);
bool guard_is_slow(const struct broker *b, int fd); /* much waits in the kernel for this peer to take it */
void guard_cut(struct broker *b, int fd, const char *why);

/* ---- report.c: what ADM and $sys.stats tell ---- */

struct report {
    struct buf *out;
    size_t limit; /* lists end before *out is longer */
    bool truncated;
};
struct report_list {
    struct report *report;
    size_t at, item; /* where the list and the item under way begin */
    uint16_t count;
};
/* report_begin writes the key, if it is not NULL. report_keep keeps what was written since the last item as one item; false: it did
 * not fit and was taken away, and the list is to end. */
struct report_list report_begin(struct report *r, const char *key);
bool report_keep(struct report_list *list);
void report_end(struct report_list *list);
uint16_t report_info(struct broker *b, struct buf *out); /* scalars and counters; returns how many pairs */
/* One pair each. Empty names: all; likewise NULL. */
void report_streams(struct broker *b, struct report *r, const struct stream *only);
void report_consumers(struct broker *b, struct report *r, struct mp_slice consumer, struct mp_slice stream);
void report_lags(struct broker *b, struct report *r); /* consumers without positions; looks at few events */
void report_sessions(struct broker *b, struct report *r);
void report_nodes(struct broker *b, struct report *r);       /* sessions with stats */
void report_services(struct broker *b, struct report *r);    /* service.c */
/* route.c: the busiest `most`; returns how many there are. */
uint64_t report_topics(struct broker *b, struct report *r, size_t most, const struct stream *only);
void report_http_routes(struct broker *b, struct report *r); /* http_route.c */

/* ---- stats.c ---- */

enum counter {
    C_MESSAGES_IN,
    C_EVENTS_IN,
    C_EVENTS_STORED,
    C_DUPLICATES,
    C_REFUSED,
    C_DELIVERED,
    C_LIVE_OUT,
    C_ACKED,
    C_NAKED,
    C_EXPIRED,
    C_DEAD_LETTERS,
    C_REQUESTS,
    C_NO_RESPONDER,
    C_TIMEOUTS,
    C_REROUTED,
    C_BUSY,
    C_CUT,
    C_REJECTED,
    C_COUNT,
};
struct counter_info {
    const char *name, *help;
};
extern const struct counter_info COUNTERS[C_COUNT];
void stats_pack_counters(const struct broker *b, struct buf *out);
void stats_init(struct broker *b);
uint64_t stats_memory(const struct broker *b);

/* ---- the broker ---- */

struct broker {
    const struct broker_config *config;
    int port;
    char uuid[UUID_TEXT_SIZE], boot[UUID_TEXT_SIZE];
    int64_t started_ms, started_us, now_ms, now_us, device_wait_ms;
    bool clock_ahead; /* it was set forward since the start */
    int64_t woke_ms; /* when the loop last turned again after a pause of the whole process */
    char now_text[CLOCK_TEXT_SIZE];
    uint64_t seed;                        /* of the hashes that peers could play with */
    uint32_t batch_bytes_max;             /* so that a batch fits every stream's segments */
    struct stream_config *stream_configs; /* with segments raised where an event would not fit */
    uint64_t turn, memory;                /* memory: all accounts, counted once a turn */
    bool lagging;                         /* lagging: something stopped for fairness, come back at once */
    struct sockets sockets;
    struct guard guard;
    struct log_device *device;
    struct stream *streams;
    size_t stream_count;
    struct stream *sys;       /* the built-in stream $sys */
    struct consumer *letters; /* its consumer $dlq: the pending dead letters */
    struct schema_set *schemas;
    struct map routes;
    int64_t routes_since_us; /* that they are counted */
    struct heap timers;
    struct map sessions; /* hash of the routing id -> session */
    struct session *lost_sessions;
    struct session *gone_sessions; /* doomed or ended: freed at the end of the turn */
    struct session *ack_head;
    struct sub *ephemeral;
    struct delivery **dying;
    size_t dying_count, dying_room;
    struct replay *replays; /* of dead letters, on their way to the disk */
    size_t replay_count, replay_room;
    struct sub **services; /* subscriptions that serve */
    size_t service_count, service_room, service_turn;
    struct map service_totals; /* by pattern */
    uint64_t service_changes; /* of services and HTTP routes */
    struct timer services_timer;
    int64_t services_told_ms;
    struct map http_routes;  /* key -> the latest struct http_route of that key */
    uint64_t declared_bytes; /* routes, `about` and stats of all sessions */
    bool requests_moved;     /* a worker may have become free: assign */
    struct request *waiting_head, *waiting_tail;
    size_t waiting_count;
    struct map requests;  /* the broker's rid -> request */
    uint64_t last_member; /* numbers the members that have no name */
    uint64_t last_rid, request_bytes;
    size_t sub_count; /* all sessions' subscriptions */
    size_t live_subs, batch_subs;
    uint64_t live_bytes; /* published on the live feeds */
    bool waits_for_slow; /* a subscription waits for its peer to read: look again soon */
    struct live_run live_run;
    uint64_t counters[C_COUNT];
    struct timer stats_timer, upkeep_timer;
    bool draining;           /* it stops: what is accepted is finished, nothing new is taken */
    bool stopping;           /* a signal asked for the end */
    int64_t rejected_second; /* $sys.rejected events are limited per second */
    uint32_t rejected_count;
    struct buf scratch, scratch2, scratch3;
    int signal_fd;
};

#endif
