/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CONSUMER_H
#define BROKER_CONSUMER_H
/* Subscriptions of every kind, durable consumers with their positions and deliveries, dead letters, and their state on disk. */
#include "broker/config.h"
#include "broker/event.h"
#include "lib/heap.h"
#include "lib/map.h"
#include "lib/topic.h"

#define NAME_LEN_MAX 64
#define WINDOW_MAX 10000
#define WINDOW_DEFAULT 256
#define WINDOW_BYTES_DEFAULT (8u << 20)
#define SESSION_WINDOW_MAX 16000 /* all subscriptions of a session; below REPLIES_HWM */
#define WINDOW_BYTES_MAX (64u << 20)
#define SUBS_PER_SESSION_MAX 512
#define CONSUMERS_MAX 1000 /* in a stream */
#define MEMBERS_MAX 1000   /* of a consumer with share: each */
#define REPLIES_HWM 20000  /* messages that may wait in a peer's pipe */

struct broker;
struct session;
struct stream;
struct consumer;
struct position;
struct sub;

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
    struct service_total **totals; /* one for each pattern; NULL: an earlier one is the same */
    bool away; /* not counted among those who serve */
    struct buf about; /* a msgpack map, or empty */
};
void sub_destroy(struct sub *sub); /* gives deliveries and requests back */
bool topics_same(char *const *a, char *const *b);
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
uint32_t sub_lead(struct buf *lead, const struct sub *sub); /* the pairs that name the subscription; how many */
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
/* consumer_reset: all of its positions go on at `next`; what they had given out or finished does not count any more. Only while it
 * has no members. The token as above. */
uint64_t consumer_reset(struct consumer *c, uint64_t next);

struct position *position_new(struct consumer *c, const char *member, uint64_t cursor);
void position_destroy(struct position *p);
void position_reset(struct position *p, uint64_t next); /* nothing pending, nothing done ahead */
void position_join(struct position *p, struct sub *sub);
void position_leave(struct position *p, struct sub *sub); /* what it held goes to others, without counting */
void position_pump(struct position *p);
void consumers_pump(struct stream *s);
void consumers_catch_up(struct stream *s);
/* position_backlog counts what is not finished: exactly for the next `look` events, at most for what lies behind them. Returns
 * how many it looked at. */
#define BACKLOG_LOOK 10000
struct backlog {
    uint64_t unfinished, in_flight;
    int64_t oldest_us; /* when the oldest of them was recorded; 0: there is none */
};
int position_backlog(struct position *p, int look, struct backlog *backlog);
void position_catch_up(struct position *p);

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
/* deadletter_drop: *token is what the state file of $sys reaches when the change is on disk. */
int deadletter_drop(struct broker *b, uint64_t seq, uint64_t *token, struct ls_error *err);
/* deadletter_replay gives the event out again and says where that is recorded: the pairs in `answer`, the stream whose state
 * file must reach `token` before the letter counts as settled. deadletter_replay_wait, to be called next, sees to that and
 * then sends OK with *reply, which it takes. */
struct replay {
    uint64_t letter;
    struct stream *stream;
    uint64_t token, session; /* session: its key, since it may end meanwhile */
    struct buf reply;
};
int deadletter_replay(struct broker *b, struct replay *replay, struct buf *answer, struct ls_error *err);
#define REPLAY_PAIRS 3
void deadletter_replay_wait(struct session *s, struct replay *replay, struct buf *reply);
void deadletters_replayed(struct broker *b); /* settles letters whose replay is on disk */
void deadletters_fini(struct broker *b);

/* state.c: consumers' state in the stream's state file */
int state_open(struct stream *s, struct ls_error *err);
void state_created(const struct consumer *c);
uint64_t state_dropped(const struct consumer *c);
uint64_t state_position(const struct position *p);
void state_position_dropped(const struct position *p);
uint64_t state_acked(const struct position *p, const struct ranges *ranges, bool sync);
void state_failed(const struct delivery *d, const struct failure *f);
void state_dying(const struct delivery *d);
uint64_t state_replayed(const struct position *p, uint64_t seq);
void state_checkpoint(struct stream *s);

#endif
