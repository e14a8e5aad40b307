/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINESHAFT_H
#define LINESHAFT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The client library of the lineshaft event bus. Words and rules are those of docs/protocol.md; a guided tour with a
 * whole program is docs/client.md.
 *
 * One thread: a client and what belongs to it is used by one thread at a time. There are no hidden callbacks: every
 * callback runs inside ls_client_step, or inside ls_flush or a call whose name ends in _wait, which step. Nothing else
 * waits for the network. From inside a callback every function may be called but those, which answer USAGE, and
 * ls_client_close.
 *
 * Results: 0 (or a positive number, or a pointer) for success; -1 (or 0 where numbers are handed out, or NULL) for
 * failure, with *err filled. `err` may be NULL. Times in ms are durations; `_us` are microseconds since 1970, UTC. A
 * timeout of -1 waits for ever. Slices that a callback is given are borrowed until it returns. */

/* An error: `name` and `number` are those of docs/protocol.md ("Errors"); `again` says that the same call may
 * succeed later and is safe to repeat; retry_ms is the broker's advice, 0 for none. Further names of this library:
 * UNREACHABLE (no broker answers), USAGE (the call is wrong), SYSTEM (the operating system refused) and FAILED
 * (a worker answered a request with an error of its own; `text` is its sentence). */
struct ls_error {
    char name[24];
    int number;
    bool again;
    int retry_ms;
    char text[480];
};

/* Bytes that belong to someone else; not NUL-terminated. Absent and empty are the same. */
struct ls_slice {
    const char *data;
    size_t len;
};

static inline struct ls_slice ls_str(const char *text)
{
    struct ls_slice slice = {text, text ? strlen(text) : 0};
    return slice;
}

static inline struct ls_slice ls_bytes(const void *data, size_t len)
{
    struct ls_slice slice = {(const char *) data, len};
    return slice;
}

static inline bool ls_slice_is(struct ls_slice slice, const char *text)
{
    return slice.len == strlen(text) && (!slice.len || !memcmp(slice.data, text, slice.len));
}

/* ---- events (protocol.md, "Events") ---- */

/* An event. To publish one, zero it and fill `topic`, `body` and what else is known; everything is copied by the
 * call. When the library hands one out, all of it is borrowed. A request (ls_request, struct ls_service) has the same
 * form. */
struct ls_event {
    struct ls_slice topic;
    struct ls_slice id;      /* publishing: absent, a UUIDv7 is made */
    struct ls_slice source;  /* publishing: absent, the broker takes the client's name */
    struct ls_slice time;    /* RFC 3339; absent: ts_us is the time */
    struct ls_slice subject, datacontenttype, dataschema, dataref;
    struct ls_slice traceparent, tracestate;
    struct ls_slice correlationid, causationid, partitionkey, expirytime;
    struct ls_slice more;    /* publishing only: further header keys, as one msgpack map; not n, batch or tag */
    struct ls_slice body;    /* msgpack unless the first byte is { or [ (JSON) or datacontenttype says otherwise */

    /* The rest is filled for received events only. */
    struct ls_slice header;  /* the whole header map as msgpack, as the publisher wrote it */
    struct ls_slice stream;  /* absent, and seq 0: no stream keeps this topic */
    uint64_t seq;
    int64_t ts_us;           /* when the broker took it */
    uint32_t attempt;        /* durable consumers: 1 for the first delivery; else 0 */
    uint32_t subscription;   /* what ls_subscribe or ls_serve returned; else 0 */
};

/* ls_event_attribute looks up a header key by name, also one that the struct does not list. True and *value (borrowed
 * from the event) if it is there and is a string or binary. Other types: walk `header` with any msgpack library. */
bool ls_event_attribute(const struct ls_event *event, const char *name, struct ls_slice *value);

enum ls_body { LS_BODY_EMPTY, LS_BODY_JSON, LS_BODY_MSGPACK, LS_BODY_BYTES };
/* ls_body_kind: JSON if the first byte is { or [, msgpack if it is exactly one well-formed value, else bytes. */
enum ls_body ls_body_kind(struct ls_slice body);

#define LS_ID_SIZE 37
/* ls_id writes a new UUIDv7 (36 bytes and NUL): for ids that must be known, or stored, before the event is published.
 * */
void ls_id(char id[LS_ID_SIZE]);

/* ---- the client (protocol.md, "Sessions" and "A client that survives") ---- */

struct ls_client;

enum ls_state {
    LS_CONNECTED,   /* HELLO was answered; subscriptions and unacknowledged events are being sent again */
    LS_LOST,        /* the connection or the session ended; the client goes on trying, with growing pauses */
    LS_REFUSED,     /* a subscription or service was refused: `subscription` says which, it is over */
    LS_STALE,       /* acknowledgements came too late: the leases had ended; those events come again */
    LS_ENDED,       /* sent away for good (replaced by a client of the same name and member, or refused) */
};

struct ls_notice {
    enum ls_state state;
    uint32_t subscription;      /* LS_REFUSED, LS_STALE */
    const char *text;           /* one sentence for people and logs; never NULL */
    const struct ls_error *err; /* NULL with LS_CONNECTED */
};
typedef void ls_notice_fn(void *arg, const struct ls_notice *notice);

/* All members may be left zero for their defaults. Strings are copied. */
struct ls_client_options {
    const char *url;    /* "tcp://HOST:BASEPORT" or "ipc://DIR"; default: $LINESHAFT_URL, then tcp://127.0.0.1:7400 */
    const char *name;   /* the program, [A-Za-z0-9._-], at most 64; default: the executable's name */
    const char *member; /* this instance; default: unique. Set it to keep a position with `each` */
    int hb_ms;          /* promise of a sign of life, 1000-60000; default 5000: call ls_client_step at least so often */
    uint32_t unacked_max;       /* events published and not yet acknowledged; default 1000 */
    size_t unacked_bytes_max;   /* the same in bytes; default 16 MiB */
    uint32_t batch_max;         /* events packed into one message under load; default 64; 1: never */
    size_t batch_bytes_max;     /* the same in bytes; default 256 KiB */
    int publish_retry_ms;       /* how long an event refused with `again` is sent again; default 60000; -1: for ever */
    int ack_every_ms;           /* acknowledgements may be gathered so long; default 0: once a step */
    ls_notice_fn *notice;       /* changes worth a log line; may be NULL */
    void *arg;                  /* for notice */
    void *context;              /* a libzmq context to share; default: one of its own */
    bool heartbeat_thread;      /* signs of life come from a thread of their own: callbacks may take long */
    int stall_ms;               /* ... but without a step for so long it falls silent; default 600000 */
    struct ls_slice routes;     /* HTTP routes for HELLO: a msgpack array of {method, path, topic, summary?, bytes?} */
};

/* ls_client_open makes a client; it neither waits nor needs a running broker: the first step connects. NULL with
 * USAGE or SYSTEM. Free it with ls_client_close. */
struct ls_client *ls_client_open(const struct ls_client_options *options, struct ls_error *err);

/* ls_client_wait steps until the broker has answered HELLO. UNREACHABLE after timeout_ms. */
int ls_client_wait(struct ls_client *client, int timeout_ms, struct ls_error *err);

/* ls_client_step does what there is to do: waits up to timeout_ms for messages, handles what arrived (callbacks run
 * here), sends batches, acknowledgements, credit and signs of life, reconnects. Returns the number of messages
 * handled (0: timeout or a signal), or -1 when the client has ended for good (LS_ENDED). */
int ls_client_step(struct ls_client *client, int timeout_ms, struct ls_error *err);

/* With `heartbeat_thread` a callback, or whatever else keeps its thread from ls_client_step, may take minutes: the session
 * stands, and is used again afterwards. The rest of the rule stays: only one thread calls this library. A loop that never
 * comes back is not kept alive: after stall_ms without a step one line goes to standard error and the broker, hearing
 * nothing, ends the session. The thread takes no signals.
 *
 * ls_stats sets the numbers that travel with signs of life: one msgpack map {name: number} of at most 4 KiB, shown by
 * ADM `sessions` and /metrics until the next. From then on one is sent at least every hb_ms. BAD_VALUE, TOO_BIG. */
int ls_stats(struct ls_client *client, struct ls_slice map, struct ls_error *err);

/* ls_client_fd and ls_client_due let the client live in another poll loop: before each poll ask ls_client_due for the
 * longest wait in ms (0: call ls_client_step(client, 0) at once), poll the descriptor for reading no longer than
 * that, step. The descriptor stays the same for the client's life; never read it. */
int ls_client_fd(const struct ls_client *client);
int ls_client_due(struct ls_client *client);

bool ls_client_connected(const struct ls_client *client);
const char *ls_client_url(const struct ls_client *client); /* lives as long as the client */

/* What the broker said of itself in its answer to HELLO; zero before the first. */
struct ls_server {
    char server[64], name[65], broker[LS_ID_SIZE], boot[LS_ID_SIZE];
    uint64_t header_max, body_max, batch_max, batch_count_max;
};
const struct ls_server *ls_client_server(const struct ls_client *client);

struct ls_counters {
    uint64_t published, acknowledged, duplicates, refused, resent; /* events */
    uint64_t batches;                                              /* batch messages sent */
    uint64_t received;                                             /* events handed to handlers */
    uint64_t connects;                                             /* sessions that stood */
    uint64_t unacked, unacked_bytes;                               /* now */
    uint64_t calls;                                                /* in this worker's hands now */
};
void ls_client_counters(const struct ls_client *client, struct ls_counters *counters);

/* ls_client_close sends what is gathered (acknowledgements, queued events) and BYE, waits at most two seconds until the
 * broker has taken it all, frees and NULLs. It does not wait for events to be durable: call ls_flush first. Open
 * publishes and requests end without their callbacks. */
void ls_client_close(struct ls_client **client);

/* ---- publish (protocol.md, "Publishing", "Batches") ---- */

struct ls_published {
    struct ls_slice topic, id;
    struct ls_slice level;      /* "disk", "memory", "none": of this event or a lower one of the same acknowledgement */
    struct ls_slice stream;     /* ls_publish_wait only, with seq; absent at level none */
    uint64_t seq;
    bool dup;                   /* it was there already. ls_publish: told only if one OK covers duplicates alone */
    const struct ls_error *err; /* NULL: published */
};
typedef void ls_published_fn(void *arg, const struct ls_published *result);

/* ls_publish takes a copy of the event, sends it (at once, or in a batch with its neighbours when they come fast) and
 * keeps it until the broker acknowledged it, through reconnects and restarts; `again` errors are retried. `fn` (may
 * be NULL) is called exactly once with the outcome. Fails at once with BUSY (again) while the window of
 * unacknowledged events is full: step and try again; with TOO_BIG, BAD_TOPIC, BAD_VALUE for an event that no broker
 * would take. */
int ls_publish(struct ls_client *client, const struct ls_event *event, ls_published_fn *fn, void *arg,
               struct ls_error *err);

/* ls_publish_wait publishes one event behind those already queued, and waits for its own answer, with stream and seq.
 * *result (may be NULL) is valid until the next call with this client; its err is NULL. After UNREACHABLE or TIMEOUT
 * the event may or may not be stored: repeat with the same id. */
int ls_publish_wait(struct ls_client *client, const struct ls_event *event, int timeout_ms, struct ls_published *result,
                    struct ls_error *err);

/* ls_flush waits until nothing is unacknowledged: every `fn` has been called. UNREACHABLE or TIMEOUT otherwise. */
int ls_flush(struct ls_client *client, int timeout_ms, struct ls_error *err);

/* ---- consume (protocol.md, "Durable consumers", "Ephemeral subscriptions") ---- */

enum ls_from_kind { LS_FROM_DEFAULT, LS_FROM_NEW, LS_FROM_ALL, LS_FROM_LAST, LS_FROM_SEQ, LS_FROM_TIME };
struct ls_from {
    enum ls_from_kind kind;
    uint64_t value; /* LS_FROM_LAST: number of events (0 is 1); LS_FROM_SEQ: sequence number; LS_FROM_TIME: us */
};

/* Where a reader of a stream goes on. */
struct ls_position {
    const char *stream;
    uint64_t next;
    int64_t seen_us; /* ts_us of the last event seen: tells a stream that was restored from an older copy; 0: unknown */
};

/* A subscription: durable if `consumer` is set, else ephemeral. Everything is copied. Zero members mean the
 * protocol's defaults. */
struct ls_subscription {
    const char *consumer;         /* durable: its name. Alone it joins one that exists; what follows may create it */
    const char *stream;           /* ephemeral: absent, all streams and the topics that no stream keeps */
    const char *const *topics;    /* patterns, NULL-terminated (`takes` when a consumer is created) */
    struct ls_from from;
    const struct ls_position *positions; /* ephemeral, instead of `from`: where to begin in the streams that it names; in */
    size_t position_count;               /* others at their end. With `stream`: at most that one */
    uint32_t window;              /* events under way to this client, default 256 */
    uint64_t window_bytes;        /* durable only */
    bool single;                  /* events in messages of their own; default: the broker may batch them */
    /* Creating a durable consumer: */
    bool each;                    /* every member gets every event; default: members split them */
    int ack_wait_ms;
    const int *backoff_ms;        /* backoff_count delays before the 2nd, 3rd ... delivery */
    size_t backoff_count;
    int max_deliver;              /* -1: no end */
    int member_ttl_ms;
};

enum ls_verdict {
    LS_DONE,    /* acknowledge */
    LS_RETRY,   /* again later: after err->retry_ms, or the consumer's back-off; err->text is told to the broker */
    LS_REJECT,  /* will never work: dead letter now, with err->text */
    LS_PENDING, /* settled later with ls_ack, ls_nak or ls_term; copy what you need of the event */
};

/* The handler of a subscription; `err` is never NULL. The verdict of an ephemeral one is ignored. */
typedef enum ls_verdict ls_event_fn(void *arg, const struct ls_event *event, struct ls_error *err);

/* ls_subscribe registers the subscription and sends it whenever a session begins; an ephemeral one with `stream` goes
 * on behind the last event seen, one without does so for the streams it has seen. Returns its number (> 0, never
 * reused), 0 with USAGE. A refusal by the broker arrives as the notice LS_REFUSED, or through ls_subscribed_wait. */
uint32_t ls_subscribe(struct ls_client *client, const struct ls_subscription *subscription, ls_event_fn *fn, void *arg,
                      struct ls_error *err);

struct ls_subscribed {
    char stream[201];
    uint64_t next, pending; /* durable: where it goes on, and how many events at most are not finished */
};
/* ls_subscribed_wait steps until the subscription (or service) stands; *result may be NULL. The broker's refusal, or
 * UNREACHABLE. */
int ls_subscribed_wait(struct ls_client *client, uint32_t subscription, int timeout_ms, struct ls_subscribed *result,
                       struct ls_error *err);

/* ls_window sets a durable subscription's window anew; 0 pauses it. ls_unsubscribe ends a subscription or service;
 * what was delivered and is not settled goes to others. Unknown numbers are ignored. */
void ls_window(struct ls_client *client, uint32_t subscription, uint32_t window);
void ls_unsubscribe(struct ls_client *client, uint32_t subscription);

/* Settling what a handler left LS_PENDING: done; failed (delay_ms -1: the consumer's back-off; why may be NULL); will
 * never work; still at work (the lease starts anew). Acknowledgements are gathered into ranges and sent with the next
 * step. After a reconnect the deliveries of the old session are void: acknowledgements still count, the rest is
 * refused by the broker (LS_STALE). Unknown numbers are ignored. */
void ls_ack(struct ls_client *client, uint32_t subscription, uint64_t seq);
void ls_nak(struct ls_client *client, uint32_t subscription, uint64_t seq, int delay_ms, const char *why);
void ls_term(struct ls_client *client, uint32_t subscription, uint64_t seq, const char *why);
void ls_wip(struct ls_client *client, uint32_t subscription, uint64_t seq);

/* ---- requests (protocol.md, "Requests") ---- */

/* One part of an answer. `err` set: the request failed, no part follows. `last`: nothing follows. */
struct ls_part {
    uint64_t request;
    uint32_t n;
    bool last;
    struct ls_slice header; /* the REP map: the worker's own keys are in it */
    struct ls_slice body;
    const struct ls_error *err;
};
typedef void ls_part_fn(void *arg, const struct ls_part *part);

struct ls_request_options {
    int timeout_ms;     /* default 30000, at most an hour */
    uint32_t parts;     /* credit: parts under way; default 16 */
    bool manual_credit; /* credit is renewed by ls_request_more only; default: as parts are handled */
};

/* ls_request asks; `fn` gets the parts and is called with `last` or `err` exactly once at the end. `options` may be
 * NULL. Returns the request's number, 0 with USAGE, BAD_TOPIC, BAD_VALUE or TOO_BIG. A request waits for a connection
 * within its timeout; if the connection ends after it was sent, it ends with UNREACHABLE (it may have been worked on:
 * it is not repeated by itself). */
uint64_t ls_request(struct ls_client *client, const struct ls_event *request, const struct ls_request_options *options,
                    ls_part_fn *fn, void *arg, struct ls_error *err);
/* ls_request_more adds credit (manual_credit). ls_request_cancel tells the worker to stop; `fn` still gets its end
 * (CANCELLED). Unknown numbers are ignored: the answer may just have ended. */
void ls_request_more(struct ls_client *client, uint64_t request, uint32_t parts);
void ls_request_cancel(struct ls_client *client, uint64_t request);

/* ls_request_wait asks and waits for the whole answer: *answer gets the joined parts, a NUL behind them that *len
 * does not count; the caller frees it with free(). */
int ls_request_wait(struct ls_client *client, const struct ls_event *request, int timeout_ms, char **answer,
                    size_t *len, struct ls_error *err);

/* A request in the hands of this worker. It lives until the last part was sent or until `cancelled` returned. */
struct ls_call {
    void *user;         /* yours */
    uint32_t credit;    /* parts that may be sent now; 0: wait for `credit` */
    int64_t timeout_ms; /* what was left when it arrived */
};

struct ls_service {
    const char *const *topics; /* patterns, NULL-terminated; copied */
    uint32_t slots;            /* requests at a time, default 1 */
    struct ls_slice about;     /* what it says of itself (ADM services): one msgpack map of at most 16 KiB, copied; or empty */
    /* A request came: answer with ls_reply or ls_reply_error, now or later. */
    void (*request)(void *arg, struct ls_call *call, const struct ls_event *request);
    /* Nobody waits any more; may be NULL. Reasons: the protocol's (cancelled, timeout, gone), "lost" (the session
     * ended), or the name of the error with which the broker refused a part. */
    void (*cancelled)(void *arg, struct ls_call *call, const char *reason);
    void (*credit)(void *arg, struct ls_call *call); /* credit came back after zero; may be NULL */
    void *arg;
};

/* ls_serve offers to answer requests; like ls_subscribe in everything else (number, notice, reconnect,
 * ls_unsubscribe). */
uint32_t ls_serve(struct ls_client *client, const struct ls_service *service, struct ls_error *err);

/* ls_service_update changes the slots of a service and what it says of itself, now and in later sessions. Slots 0: nothing
 * new arrives, what is under way goes on; requests wait. LS_SLOTS_AWAY: besides, it counts as absent, so that requests which nobody
 * else serves are answered NO_RESPONDER at once. An empty `about` keeps what was there. NOT_FOUND, BAD_VALUE, TOO_BIG; a refusal by
 * the broker arrives as the notice LS_STALE. */
#define LS_SLOTS_AWAY UINT32_MAX
int ls_service_update(struct ls_client *client, uint32_t subscription, uint32_t slots, struct ls_slice about,
                      struct ls_error *err);

/* ls_reply sends a part of at most the broker's body_max or 1 MiB; `more` are further keys for the REP map, as a
 * msgpack map, or empty. With `last` the call is over and its pointer dead. BUSY (again): no credit, wait for
 * `credit`. */
int ls_reply(struct ls_call *call, struct ls_slice body, struct ls_slice more, bool last, struct ls_error *err);
/* ls_reply_error ends the call: the requester gets FAILED with the number, `again` and text of `why`. Needs no
 * credit. */
void ls_reply_error(struct ls_call *call, const struct ls_error *why);

/* ---- reading the log, administration ---- */

struct ls_page {
    uint64_t next, first, last; /* ask again from `next` while next <= last */
};
struct ls_range {
    const char *stream;
    struct ls_from from;        /* LS_FROM_SEQ, LS_FROM_TIME or LS_FROM_LAST; default: the first event */
    uint32_t count;             /* events; default 100 a page */
    const char *const *topics;  /* patterns, NULL-terminated; NULL: all */
};

/* ls_get_wait reads one page (at most 1,000 events and 1 MiB): `fn` for each event, then *page (may be NULL).
 * ls_event_fn's verdict is ignored. ls_read_wait reads page after page until `count` events (0: all up to the end as
 * it was at the last page) were handed over; returns how many, -1 on error. timeout_ms is for each page. Errors:
 * NO_STREAM, TRIMMED, UNREACHABLE, TIMEOUT. */
int ls_get_wait(struct ls_client *client, const struct ls_range *range, ls_event_fn *fn, void *arg,
                struct ls_page *page, int timeout_ms, struct ls_error *err);
int64_t ls_read_wait(struct ls_client *client, const struct ls_range *range, ls_event_fn *fn, void *arg, int timeout_ms,
                     struct ls_error *err);

/* ls_adm_wait sends ADM with the msgpack map `request` ({op, ...}) and waits; *reply (the OK map as msgpack) is
 * the caller's, free(). Errors: the broker's, UNREACHABLE, TIMEOUT. */
int ls_adm_wait(struct ls_client *client, struct ls_slice request, int timeout_ms, char **reply, size_t *len,
                struct ls_error *err);

/* ls_adm does the same without waiting: `fn` is called exactly once, with the OK map, or with `err` and an empty reply. A
 * question survives reconnects (it is asked again) and has no deadline; one that is open at ls_client_close ends without its
 * callback. USAGE. */
typedef void ls_adm_fn(void *arg, struct ls_slice reply, const struct ls_error *err);
int ls_adm(struct ls_client *client, struct ls_slice request, ls_adm_fn *fn, void *arg, struct ls_error *err);

/* ---- live feed (protocol.md, "Live feed"): no session, best effort, gaps show in seq ---- */

struct ls_live;

struct ls_live_options {
    const char *url;             /* as in ls_client_options */
    const char *const *prefixes; /* byte prefixes of topics ("run."), NULL-terminated; NULL: every topic */
    bool single;                 /* from the unbatched feed; default: the batched one */
    void *context;               /* a libzmq context to share; default: one of its own */
};

/* ls_live_open_wait subscribes and waits until the subscription stands (the $sync handshake): what is published
 * from then on is seen. UNREACHABLE after timeout_ms. Free with ls_live_close. */
struct ls_live *ls_live_open_wait(const struct ls_live_options *options, int timeout_ms, struct ls_error *err);
/* ls_live_next_wait: 1 and the next event (borrowed until the next call), 0 at the end of timeout_ms or a signal, -1
 * on error. A lost broker is not an error: the feed goes on when it is back. */
int ls_live_next_wait(struct ls_live *live, int timeout_ms, struct ls_event *event, struct ls_error *err);
/* ls_live_fd: readable when ls_live_next_wait(live, 0, …) may have something; edge-triggered: call that until it
 * returns 0. */
int ls_live_fd(const struct ls_live *live);
void ls_live_close(struct ls_live **live);

#ifdef __cplusplus
}
#endif
#endif
