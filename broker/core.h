/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CORE_H
#define BROKER_CORE_H
/* The broker's state, seen by the files of this folder only. Everything belongs to the loop's thread.
 *
 * An event's way: sockets.c receives a message -> verbs.c finds its function -> publish.c reads the header (header.c), asks
 * schema and dedup.c, appends to the stream's log -> the log commits -> stream.c is told, acknowledges (acks.c), feeds
 * the live sockets (live.c) and pumps the subscriptions (consumer.c, ephemeral.c), which deliver (deliver.c). */
#include <zmq.h>

#include "broker/config.h"
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

#define SLICE(text) ((struct mp_slice){(text), sizeof(text) - 1})
#define NAME_LEN_MAX 64
#define TAG_BYTES_MAX 72 /* a string of 64 bytes with its msgpack head, and room */
#define WINDOW_MAX 10000
#define WINDOW_DEFAULT 256
#define WINDOW_BYTES_DEFAULT (8u << 20)
#define SESSION_WINDOW_MAX 16000 /* all subscriptions of a session; below REPLIES_HWM */
#define WINDOW_BYTES_MAX (64u << 20)
#define SUBS_PER_SESSION_MAX 64
#define CONSUMERS_MAX 1000 /* in a stream */
#define MEMBERS_MAX 1000   /* of a consumer with share: each */
#define REPLIES_HWM 20000  /* messages that may wait in a peer's pipe */

struct broker;
struct session;
struct stream;
struct consumer;
struct position;
struct sub;

/* ---- frames.c: messages as they come from a socket ---- */

enum origin { FROM_ROUTER, FROM_PULL, FROM_SUB, ORIGIN_COUNT };

#define MESSAGE_PARTS_MAX 3
struct message {
    enum origin origin;
    char route[256]; /* libzmq's routing id (ROUTER only) */
    size_t route_len;
    bool delimited; /* an empty frame stood in front */
    int fd;         /* the connection's descriptor (set by sockets_drain) */
    size_t parts;
    zmq_msg_t part[MESSAGE_PARTS_MAX];
    bool too_many_parts;
    size_t bytes;
    struct session *session; /* ROUTER only */
};

struct mp_slice message_part(struct message *m, size_t i);                     /* empty if absent */
bool message_receive(struct broker *b, enum origin origin, struct message *m); /* false: nothing there */
void message_fini(struct message *m);
int message_fd(
    struct message *m); /* the descriptor of the connection that it came by; costs a look-up by name in libzmq */

/* ---- header.c: an event's header map, read once ---- */

struct header {
    struct mp_slice topic, id, source, time, subject, traceparent;
    bool has_n, has_batch, has_tag;
    uint64_t n, batch;
    struct mp_slice tag;     /* raw msgpack of the value */
    struct mp_slice data;    /* raw msgpack of `data` (bare maps only) */
    uint32_t pairs, control; /* pairs in the map; how many of them are not attributes */
    struct mp_slice span[5]; /* the attribute pairs, in runs between the control keys */
    size_t spans;
};

/* header_read: 0, or -1 with *err BAD_FRAME or BAD_VALUE. Slices point into the input. `bare`: `data` is a control key. */
int header_read(struct mp_slice map, bool bare, struct header *h, struct ls_error *err);
/* header_read_control reads only `n`, `batch` and `tag`, as far as they can be found, of a header that header_read refused. */
void header_read_control(struct mp_slice map, struct header *h);
/* header_write writes the attributes of h, and those of id, source, time that h lacks and that are given (not empty). */
void header_write(struct buf *out, const struct header *h, struct mp_slice id, struct mp_slice source,
                  struct mp_slice time);

/* ---- stored.c: how events lie in log entries, and walking over them ---- */

#define ENTRY_BATCH 1 /* flag: payload is u8 length, source, packed events; else packed events, complete headers */

struct stored {
    uint64_t seq;
    int64_t ts_us;
    bool batch;
    struct mp_slice source; /* for batch entries: the publisher's name */
    struct mp_slice header, body;
    struct mp_slice packed; /* the event with its two lengths */
};

struct walk {
    struct log_cursor cursor;
    struct log_entry entry;
    bool open;
    size_t at;
    uint64_t index;      /* the next event wanted */
    uint64_t cursor_seq; /* of the event at `at` in the open entry */
    struct mp_slice source;
};
void walk_seek(struct walk *w, struct log *log, uint64_t seq);
/* walk_next: 1 and the next durable event, 0 at the end, -1 if the disk refuses. Slices are valid until the next call. */
int walk_next(struct walk *w, struct stored *s);
void walk_rest(struct walk *w); /* before log_device_poll may run: forget borrowed bytes, keep the place */
void walk_fini(struct walk *w);
bool stored_topic(const struct stored *s, struct mp_slice *topic);
/* stored_complete writes the event's header with source and time filled in (batch entries lack them). */
void stored_complete(const struct stored *s, struct buf *out);
void pack_event(struct buf *out, struct mp_slice header, struct mp_slice body);
/* unpack_event takes one event off the front of `packed`; false if the lengths do not fit. */
bool unpack_event(struct mp_slice *packed, struct mp_slice *header, struct mp_slice *body);

/* ---- dedup.c ---- */

struct dedup {
    struct dedup_slot *ring;
    struct dedup_entry *table;
    size_t room, table_room;
    uint64_t head, tail; /* ring positions, ever growing */
    uint64_t count_max;
    int64_t window_us;
    uint64_t seed;
};
void dedup_init(struct dedup *d, uint64_t count_max, int64_t window_ms);
void dedup_fini(struct dedup *d);
/* A publish knows the pair long before it may add it: dedup_prepare hashes it and fetches its place from memory meanwhile. */
struct dedup_key {
    uint64_t high, low;
};
struct dedup_key dedup_prepare(const struct dedup *d, struct mp_slice source, struct mp_slice id);
uint64_t dedup_add_key(struct dedup *d, struct dedup_key key, uint64_t seq, int64_t now_us);
/* dedup_add: 0 if (source, id) is new and now stands for seq, else the seq that it already stands for. */
uint64_t dedup_add(struct dedup *d, struct mp_slice source, struct mp_slice id, uint64_t seq, int64_t now_us);
void dedup_forget_from(struct dedup *d, uint64_t seq); /* drops what was added for seq and above */

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

/* What a topic leads to, remembered by topic. */
struct route {
    char topic[TOPIC_LEN_MAX + 1];
    size_t len;
    struct stream *stream; /* NULL: none keeps it */
    const struct schema *schema;
};
/* route_find: NULL if the topic is not valid. The answer is valid until the end of the turn. */
const struct route *route_find(struct broker *b, struct mp_slice topic);
void routes_clear(struct broker *b);
void routes_trim(struct broker *b); /* once a turn: a flood of topics costs time, not memory */

/* ---- acks.c: what a session's publishes wait for ---- */

struct run {               /* publishes of one session that are answered together, or one reply that waits */
    struct stream *stream; /* NULL: waits for nothing */
    uint64_t seq_first, seq_last;
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

/* ---- session.c: one peer of the ROUTER socket ---- */

struct session {
    struct broker *broker;
    char *route; /* libzmq's routing id */
    size_t route_len;
    uint64_t key; /* its hash: the place in broker->sessions */
    int fd;
    size_t client_len;
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
    struct timer silence;
    uint64_t last_n;
    struct runs runs;
    struct session *ack_next, *ack_prev; /* sessions with runs */
    struct sub **subs;
    size_t sub_count, sub_room;
    struct map requests;    /* rid -> struct request, as the requester */
    uint64_t pending_bytes; /* published and not yet committed */
    struct session *next_gone;
    bool ended;
};
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

/* ---- subscriptions ---- */

enum sub_kind { SUB_DURABLE, SUB_EPHEMERAL, SUB_SERVICE };

struct feed { /* one stream that an ephemeral subscription reads */
    struct stream *stream;
    struct walk walk;
    struct stored next; /* peeked */
    bool peeked;
};

struct sub {
    enum sub_kind kind;
    struct session *session;
    uint64_t cid;
    bool batch;
    char **topics; /* patterns, NULL-terminated (ephemeral, service) */
    /* durable */
    struct position *position;
    uint32_t window, in_flight; /* window: for an ephemeral one the most credit it had */
    bool held;                  /* its OK waits for the consumer's state to be on disk: no MSG before it */
    uint64_t window_bytes, in_flight_bytes;
    /* ephemeral */
    uint64_t credit;
    struct feed *feeds;
    size_t feed_count;
    bool live_too; /* also what no stream keeps */
    struct sub *next_ephemeral, *prev_ephemeral;
    /* service */
    uint32_t slots, busy;
};
void sub_destroy(struct sub *sub); /* gives deliveries and requests back */
bool topics_match(char *const *patterns, struct mp_slice topic);
/* topics_read reads an array of patterns into a NULL-terminated list; NULL with *err. */
char **topics_read(struct mp value, struct ls_error *err);
void topics_free(char **topics);

void ephemeral_pump_all(struct broker *b); /* ephemeral.c */
void ephemeral_live(struct broker *b, struct mp_slice topic, const struct stored *event);
int ephemeral_start(struct sub *sub, struct stream *only, struct mp from, struct ls_error *err);
void ephemeral_stop(struct sub *sub);
bool start_read(struct mp from, struct start *start); /* "new", "all", {seq: n} ... */
uint64_t start_seq(struct stream *s, const struct start *start);

/* ---- deliver.c: MSG ---- */

struct packer { /* gathers consecutive events for one MSG */
    struct buf bytes;
    uint64_t seq;
    uint32_t count;
    int64_t ts_us;
    bool batch;
    char source[257];
    size_t source_len;
};
bool packer_takes(const struct packer *p, const struct stored *s, size_t bytes_max, uint32_t count_max);
void packer_add(struct packer *p, const struct stored *s);
/* The two ways to send: one event, or what the packer holds (and empties it). attempt 0: none. stream NULL: live only. */
void deliver_one(struct session *to, const struct buf *lead, uint32_t lead_pairs, const struct stored *s,
                 uint32_t attempt, struct stream *stream);
void deliver_packed(struct session *to, const struct buf *lead, uint32_t lead_pairs, struct packer *p, uint32_t attempt,
                    struct stream *stream);
void pack_batch_map(struct buf *map, const struct packer *p, uint32_t more_pairs);

struct live_run { /* events of one topic on their way to the batched feed */
    struct packer packer;
    char topic[TOPIC_LEN_MAX];
    size_t topic_len;
};

/* ---- consumer.c, position.c: durable consumers ---- */

struct ranges {
    struct log_range *items;
    size_t count, room;
};
void ranges_add(struct ranges *r, uint64_t from, uint64_t to); /* joins with the last if it follows on */

struct failure { /* a failed attempt, for the dead letter */
    uint32_t attempt;
    int64_t at_us;
    char who[2 * NAME_LEN_MAX + 2]; /* client/member */
    char *error;
};

enum delivery_state { IN_FLIGHT, WAITING, READY, DYING };

struct delivery {       /* an event that a position has given out, or will give out again */
    struct timer timer; /* IN_FLIGHT: ack_wait; WAITING: back-off; DYING: retry */
    struct position *position;
    uint64_t seq;
    enum delivery_state state;
    uint32_t failed; /* attempts that failed; the one under way is failed + 1 */
    uint32_t bytes;
    struct sub *holder; /* IN_FLIGHT */
    struct delivery *ready_next, *ready_prev;
    struct failure *failures; /* the latest FAILURES_MAX */
    size_t failure_count;
    uint64_t letter_seq; /* DYING: of the dead letter, 0 before it is appended */
    const char *reason;  /* why it becomes a dead letter; NULL: it does not */
};
#define FAILURES_MAX 10

struct position {
    struct consumer *consumer;
    char member[NAME_LEN_MAX + 1];
    uint64_t cursor;    /* every event before it is done or in `pending` */
    struct map pending; /* seq -> struct delivery */
    struct delivery *ready_head, *ready_tail;
    struct ranges done; /* at or after cursor: finished before a restart, sorted */
    struct walk walk, again;
    struct sub **subs; /* members that take from it */
    size_t sub_count, sub_room, turn;
    struct timer expiry; /* share: each, no member */
};

struct consumer {
    struct stream *stream;
    char *name;
    char **takes;
    bool takes_all;
    struct start from;
    enum consumer_share share;
    uint32_t window;
    uint64_t window_bytes;
    int64_t ack_wait_ms;
    int64_t *backoff_ms;
    size_t backoff_count;
    uint32_t max_deliver;
    int64_t member_ttl_ms;
    bool declared;
    struct position **positions;
    size_t position_count, position_room;
    uint64_t delivered, acked, naked, expired, dead, late_acks;
};

struct consumer *consumer_find(struct broker *b, struct mp_slice name);
struct consumer *stream_consumer(const struct stream *s, struct mp_slice name);
struct consumer *consumer_add(struct stream *s, const struct consumer_config *config, bool declared);
void consumer_destroy(struct consumer *c);
/* consumer_create reads the creating keys of a SUB; NULL with *err. */
struct consumer *consumer_create(struct broker *b, struct mp_slice name, struct mp header, struct ls_error *err);
int consumer_same(const struct consumer *c, struct mp header, struct ls_error *err);
struct position *consumer_position(struct consumer *c, const char *member); /* NULL if there is none */
struct position *consumer_position_require(struct consumer *c, const char *member,
                                           uint64_t *token); /* token: of its state record, if it is new */
uint64_t consumer_drop(struct consumer *c);                  /* the token of its state record */

struct position *position_new(struct consumer *c, const char *member, uint64_t cursor);
void position_destroy(struct position *p);
void position_join(struct position *p, struct sub *sub);
void position_leave(struct position *p, struct sub *sub); /* what it held goes to others, without counting */
void position_pump(struct position *p);
void consumers_pump(struct stream *s);
uint64_t position_unfinished(const struct position *p); /* at most */

/* What can happen to a delivery. None of them fails; state records are written. */
/* position_ack: what of from..to is pending is done; the ranges that were are added to *done. */
void position_ack(struct position *p, const struct sub *by, uint64_t from, uint64_t to, struct ranges *done);
void position_done_ahead(struct position *p, uint64_t from, uint64_t to); /* at or after the cursor */
bool position_is_done(const struct position *p, uint64_t seq);            /* for seq at or after the cursor */
void position_forget_passed(struct position *p); /* drops from `done` what the cursor has passed */
void delivery_nak(struct delivery *d, int64_t delay_ms, const char *who,
                  struct mp_slice error); /* delay < 0: the back-off */
void delivery_term(struct delivery *d, const char *who, struct mp_slice error);
void delivery_extend(struct delivery *d);
struct delivery *delivery_restore(struct position *p,
                                  uint64_t seq); /* at recovery and for a replay: ready to be given out */
void delivery_add_failure(struct delivery *d, const char *who, int64_t at_us, struct mp_slice error);
void delivery_finish(struct delivery *d); /* forgets it; writes nothing */
void delivery_done(struct delivery *d);   /* the same, and the event is never given out again */
void delivery_detach(struct delivery *d); /* takes it out of whatever it waits in; the caller says what it is next */

/* deadletter.c */
void deadletter_begin(struct delivery *d, const char *reason);
void deadletters_committed(struct broker *b);
void deadletter_forget(const struct delivery *d); /* the delivery ends otherwise: its consumer is dropped */
void deadletters_resume(struct broker *b);        /* after recovery: what was dying when the broker ended */
void deadletters_failed(struct broker *b, uint64_t from, uint64_t to); /* $sys did not take them after all */
bool deadletter_reason(struct mp_slice text, const char **reason);
/* deadletters_list packs the pending letters' sequence numbers (at most n, from `from` on); consumer: empty for all. */
void deadletters_list(struct broker *b, struct mp_slice consumer, uint64_t from, uint64_t n, struct buf *out);
/* deadletter_settle: *token is what the state file of $sys reaches when the change is on disk. */
int deadletter_settle(struct broker *b, uint64_t seq, bool replay, struct buf *answer, uint32_t *pairs, uint64_t *token,
                      struct ls_error *err);

/* state.c: consumers' state in the stream's state file */
int state_open(struct stream *s, struct ls_error *err);
void state_created(const struct consumer *c);
uint64_t state_dropped(const struct consumer *c);
uint64_t state_position(const struct position *p);
void state_position_dropped(const struct position *p);
uint64_t state_acked(const struct position *p, const struct ranges *ranges, bool sync);
void state_failed(const struct delivery *d, const struct failure *f);
void state_dying(const struct delivery *d);
void state_replayed(const struct position *p, uint64_t seq);
void state_checkpoint(struct stream *s);

/* ---- request.c ---- */

struct request;
void requests_of_session_gone(struct session *s);
void service_leave(struct sub *sub);
void service_join(struct sub *sub);
void services_pack(struct broker *b, struct buf *out);
int request_credit(struct session *s, uint64_t rid, struct mp header, struct ls_error *err);
void requests_assign(struct broker *b); /* gives waiting requests to workers that became free */
void requests_fini(struct broker *b);

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
};
int sockets_open(struct broker *b, struct ls_error *err);
void sockets_close(struct broker *b);
bool sockets_drain(struct broker *b,
                   enum socket_name from); /* receives and dispatches up to a turn's share; true: all */

struct connection;
struct guard {
    struct connection *connections; /* by descriptor */
    size_t room, open;
    struct timer timer;
};
void guard_init(struct broker *b);
void guard_fini(struct broker *b);
void guard_events(struct broker *b); /* reads the monitors */
void guard_saw_message(struct broker *b, int fd);
bool guard_is_open(const struct broker *b, int fd);
bool guard_is_slow(const struct broker *b, int fd); /* much waits in the kernel for this peer to take it */
void guard_cut(struct broker *b, int fd, const char *why);

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
    int64_t started_ms, now_ms, now_us, device_wait_ms;
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
    struct heap timers;
    struct map sessions; /* hash of the routing id -> session */
    struct session *lost_sessions;
    struct session *gone_sessions; /* doomed or ended: freed at the end of the turn */
    struct session *ack_head;
    struct sub *ephemeral;
    struct delivery **dying;
    size_t dying_count, dying_room;
    struct sub **services; /* subscriptions that serve */
    size_t service_count, service_room, service_turn;
    bool requests_moved; /* a worker may have become free: assign */
    struct request *waiting_head, *waiting_tail;
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
    bool draining;               /* it stops: what is accepted is finished, nothing new is taken */
    bool stopping;           /* a signal asked for the end */
    int64_t rejected_second; /* $sys.rejected events are limited per second */
    uint32_t rejected_count;
    struct buf scratch, scratch2, scratch3;
    int signal_fd;
};

#endif
