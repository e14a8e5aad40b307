/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_CLIENT_H
#define LIB_CLIENT_H
#include <sys/queue.h>
#include <zmq.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"
#include "lib/mp.h"

/* The inside of the client, shared by lib/client*.c only. One struct, one thread; if there is a second one (client_heart.c)
 * it touches what says so, under its lock. Connection and dispatch are in client.c, each group of verbs in a file of its
 * own; these meet the connection through five hooks: ready (a session begins), lost (it ended), tick (send what is
 * gathered), due (ms until something is) and free. */

enum client_phase {
    CLIENT_WAITING,    /* no socket; connect_at says when the next is opened */
    CLIENT_CONNECTING, /* socket open, HELLO sent */
    CLIENT_READY,      /* the session stands */
    CLIENT_ENDED,      /* sent away for good: `why` */
};

/* An event on its way: queued (n 0), in flight (n), or waiting to be sent again. */
struct outgoing {
    STAILQ_ENTRY(outgoing) link;
    uint64_t n;
    int64_t retry_at, give_up_at; /* give_up_at 0: refused by nobody yet */
    ls_published_fn *fn;
    void *arg;
    bool sent_before;
    size_t head_len, header_len, body_len;
    uint32_t pairs;
    char bytes[]; /* header map, body */
};
STAILQ_HEAD(outgoing_list, outgoing);

struct publisher {
    struct outgoing_list queue, flight, retry;
    uint32_t queued;       /* events in queue */
    size_t queued_bytes;
    uint64_t last_n;
    bool sent_this_step;   /* the next one gathers instead of leaving at once */
};

/* A _wait call: one request with a tag whose answer is awaited. There is at most one at a time. */
struct waiting {
    uint64_t tag;
    const char *verb;
    struct buf header, body;
    bool repeat;                   /* sent again after a reconnect; else that ends it */
    bool sent, done;
    struct ls_error err;           /* name "" for success */
    struct buf reply;              /* the OK or END map */
    ls_event_fn *fn;               /* GET: each event */
    void *arg;
    uint32_t events;
};

struct stream_position {
    char *stream;
    uint64_t next;
    int64_t seen_us;
};

struct subscription {
    LIST_ENTRY(subscription) link;
    uint32_t cid;
    bool service, durable, single;
    bool stands, ended;            /* ended: freed at the end of the step */
    struct ls_error refused;       /* name "" if not */
    struct ls_subscribed answer;
    ls_event_fn *fn;
    void *arg;
    struct ls_service callbacks;   /* service; its topics are in `request` */
    uint32_t slots;                /* service; ls_service_update changes it; LS_SLOTS_AWAY */
    struct buf about;              /* service: a map, or nothing */
    struct buf request;            /* the pairs of SUB but cid, from, slots and about */
    uint32_t request_pairs;
    struct buf from;               /* the msgpack value given by the user; empty: the default */
    uint32_t window;               /* 0: the default; changed by ls_window */
    bool window_changed;
    char *stream;                  /* ephemeral: the one stream, or NULL for all */
    struct stream_position *positions; /* ephemeral: where to go on */
    size_t position_count, position_room;
    uint32_t consumed;             /* ephemeral: credit to give back */
    uint64_t *acks;
    size_t ack_count, ack_room;
    bool acks_sorted;
};
LIST_HEAD(subscription_list, subscription);

struct request {
    LIST_ENTRY(request) link;
    uint64_t rid;
    ls_part_fn *fn;
    void *arg;
    struct buf pairs, body;        /* until sent */
    uint32_t pair_count;
    bool sent, cancelled, manual_credit;
    int64_t give_up_at;
    uint32_t parts, handled;       /* credit; handled since it was renewed */
};
LIST_HEAD(request_list, request);
#define REQUEST_BUCKETS 256

struct work { /* a request in this worker's hands */
    struct ls_call call;           /* first: the public face */
    LIST_ENTRY(work) link;
    struct ls_client *client;
    struct subscription *service;
    uint64_t rid;
    uint32_t n;
};
LIST_HEAD(work_list, work);

struct question { /* an ADM that nobody waits for */
    STAILQ_ENTRY(question) link;
    uint64_t tag;
    struct buf header;
    ls_adm_fn *fn;
    void *arg;
};
STAILQ_HEAD(question_list, question);

struct ls_client {
    char *url, *address, *name, *member;
    struct ls_client_options options; /* numbers with defaults filled in; its strings are not used */
    void *context, *socket, *monitor;
    bool own_context, stepping, broken;
    bool dirty;                    /* something was asked for that the next step sends */
    int epoll_fd;
    bool ready, monitor_ready;     /* the socket, its monitor: to be read until nothing is left */
    _Atomic bool sent;             /* sent on since the socket was last looked at */
    enum client_phase phase;
    struct ls_error why;           /* of the last loss, or the end */
    bool told_lost;                /* one notice per outage */
    int64_t connect_at, connecting_since, heard_at, acks_at;
    _Atomic int64_t spoke_at, pinged_at; /* the heart speaks too */
    struct heart *heart;           /* NULL: signs of life come from the steps */
    struct buf ping;               /* the header of PING; under the lock, as is has_stats */
    bool has_stats;
    struct buf routes;             /* for HELLO; an array, or nothing */
    int pause_ms;
    unsigned sockets;              /* opened so far: names the monitors */
    struct ls_server server;
    struct ls_counters counters;
    struct buf scratch;            /* one header being written */

    struct publisher publisher;
    struct waiting *waiting;
    uint64_t last_tag;
    char result[1024];             /* ls_publish_wait: what *result points to */
    struct subscription_list subscriptions;
    uint32_t last_cid;
    bool ended_subscriptions;
    struct request_list requests[REQUEST_BUCKETS];
    uint64_t last_rid;
    uint32_t request_count;
    int64_t requests_due;          /* the earliest give_up_at, or INT64_MAX */
    struct work_list works;
    struct question_list questions;
};

struct message {
    struct ls_slice verb, header, body, extra; /* extra: MSG only, whose `body` is the event header or packed events */
};

/* client_session.c */

/* session_tick connects when it is time, notices a lost connection, sends PING; session_due says when it wants to
 * again. */
void session_tick(struct ls_client *client, int64_t now_ms);
int64_t session_due(const struct ls_client *client);
/* session_receive takes one message off the socket and handles it; false if there is none. */
bool session_receive(struct ls_client *client);
/* session_look waits up to timeout_ms (0: not at all) for something to read and sets ready and monitor_ready. session_has_input:
 * there is something to read that no descriptor tells of. */
void session_look(struct ls_client *client, int timeout_ms);
bool session_has_input(struct ls_client *client);
void session_ping(struct ls_client *client, int64_t now_ms);
/* session_beat sends PING for the heart, which holds the lock; true if messages wait to be read. */
bool session_beat(struct ls_client *client, int64_t now_ms);
/* session_bye says BYE and waits for the answer, at most two seconds: then all that was sent before has been taken.
 * What else arrives is dropped. */
void session_bye(struct ls_client *client);
void session_close_socket(struct ls_client *client);

/* client_heart.c */

/* The lock around every use of the socket; nothing without a heart. heart_stands tells whether the heart may speak: the lock
 * is held. heart_stepped notes that the client's thread is alive. */
int heart_open(struct ls_client *client, struct ls_error *err);
void heart_close(struct ls_client *client);
void heart_lock(struct ls_client *client);
void heart_unlock(struct ls_client *client);
void heart_stands(struct ls_client *client, bool standing);
void heart_stepped(struct ls_client *client);

/* client_send sends [verb][header][body] in the session; false if there is none (the caller's state machine sends
 * again). */
bool client_send(struct ls_client *client, const char *verb, const struct buf *header, struct ls_slice body);
/* client_header empties and returns the scratch header. */
struct buf *client_header(struct ls_client *client);
void client_notice(struct ls_client *client, enum ls_state state, uint32_t cid, const struct ls_error *err,
                   const char *text);

/* client.c */

/* client_until steps until `done` says so; timeout_ms -1: for ever. `what` names the thing in the error. */
int client_until(struct ls_client *client, bool (*done)(struct ls_client *client, void *arg), void *arg, int timeout_ms,
                 const char *what, struct ls_error *err);
/* client_breathe: between the events of one message, so that a slow handler does not hold back acknowledgements. */
void client_breathe(struct ls_client *client);
/* client_may_ask: 0, or -1 with the reason why this client has ended. */
int client_may_ask(const struct ls_client *client, struct ls_error *err);
/* client_check_map: `map` is one well-formed msgpack map of at most `max` bytes; else BAD_VALUE, TOO_BIG. */
#define STATS_BYTES_MAX 4096
#define ABOUT_BYTES_MAX 16384
int client_check_map(struct ls_slice map, size_t max, const char *what, struct ls_error *err);
/* client_may_wait: 0, or -1 with USAGE inside a callback. */
int client_may_wait(const struct ls_client *client, struct ls_error *err);

/* client_publish.c */
void publish_init(struct ls_client *client);
void publish_ready(struct ls_client *client);
void publish_lost(struct ls_client *client);
void publish_tick(struct ls_client *client, int64_t now_ms);
int64_t publish_due(const struct ls_client *client, int64_t now_ms);
/* publish_ended, request_ended: sent away for good; everything open ends with client->why. */
void publish_ended(struct ls_client *client);
void publish_free(struct ls_client *client);
void publish_ok(struct ls_client *client, struct mp header, uint64_t upto);
/* publish_err: the events n ... n+count-1 were refused. */
void publish_err(struct ls_client *client, uint64_t n, uint64_t count, const struct ls_error *err);

/* client_wait.c */
void wait_ready(struct ls_client *client);
void wait_lost(struct ls_client *client);
/* wait_answer: true if the message answered (or was part of the answer to) the waiting call. */
bool wait_answer(struct ls_client *client, uint64_t tag, const struct message *message);

/* client_subscribe.c */
void subscribe_ready(struct ls_client *client);
void subscribe_lost(struct ls_client *client);
void subscribe_sweep(struct ls_client *client); /* says BYE for the ended ones and frees them */
void subscribe_free(struct ls_client *client);
void subscribe_ok(struct ls_client *client, uint64_t cid, struct mp header);
void subscribe_err(struct ls_client *client, uint64_t cid, const struct ls_error *err);
struct subscription *subscription_find(struct ls_client *client, uint64_t cid);
struct subscription *subscription_new(struct ls_client *client, bool service);
/* subscription_send sends its SUB, if there is a session. */
void subscription_send(struct ls_client *client, struct subscription *sub);
/* pack_patterns appends key and list of a NULL-terminated array; pack_from a value of `from`. */
void pack_patterns(struct buf *b, const char *key, const char *const *patterns);
void pack_from(struct buf *b, const struct ls_from *from);

/* client_consume.c */
void consume_tick(struct ls_client *client, int64_t now_ms);
int64_t consume_due(const struct ls_client *client);
void consume_message(struct ls_client *client, const struct message *message);
void consume_flush_acks(struct ls_client *client);
/* deliver_message calls fn for the event, or for each event of the batch, that a MSG carries. */
typedef bool (*deliver_fn)(void *arg, const struct ls_event *event);
void deliver_message(const struct message *message, deliver_fn fn, void *arg);

/* client_request.c */
void request_init(struct ls_client *client);
void request_ready(struct ls_client *client);
void request_lost(struct ls_client *client);
void request_tick(struct ls_client *client, int64_t now_ms);
int64_t request_due(const struct ls_client *client);
void request_ended(struct ls_client *client);
void request_free(struct ls_client *client);
void request_part(struct ls_client *client, const struct message *message);
/* request_err: false if `rid` is none of this requester's. */
bool request_err(struct ls_client *client, uint64_t rid, const struct ls_error *err);

/* client_serve.c */
void serve_lost(struct ls_client *client);
void serve_free(struct ls_client *client);
void serve_request(struct ls_client *client, const struct message *message);
void serve_more(struct ls_client *client, const struct message *message);
void serve_cancel(struct ls_client *client, const struct message *message);
void serve_err(struct ls_client *client, uint64_t rid, const struct ls_error *err);
/* serve_ended: the subscription is over; its calls are cancelled ("gone"). */
void serve_ended(struct ls_client *client, const struct subscription *sub);

/* client_adm.c */
void adm_init(struct ls_client *client);
void adm_ready(struct ls_client *client);
void adm_answer(struct ls_client *client, uint64_t tag, const struct message *message);
void adm_ended(struct ls_client *client);
void adm_free(struct ls_client *client);

#endif
