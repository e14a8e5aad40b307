/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_TRACKER_H
#define NODES_TRACKER_TRACKER_H
#include <jansson.h>
#include <sys/queue.h>

#include "nodes/kit/db_node.h"
#include "nodes/tracker/options.h"

/* The kind `tracker`: experiments, runs and models in MLflow's own tables.
 *
 *   request (HTTP route or bus) -> api.c: op_... validates, asks, and calls tracker_tell for each fact
 *   fact                        -> fact.c: fact_apply, the one place that changes MLflow's tables
 *   event from the bus          -> feed.c: fact_apply, with the stream's position in the same transaction
 *   after the commit            -> outbox.c: own facts are published; each row goes when all of its facts have come round
 *
 * A fact is a topic and a JSON body as in docs/events.md, and carries every value that was assigned (ids, names,
 * times, versions): applying the facts of the stream to an empty database, in their order, gives the same rows.
 * Facts are idempotent. A number that is not finite is the text "NaN", "Infinity" or "-Infinity" in this form; on
 * the bus such a fact travels as msgpack. */

/* Ids of experiments: those that the API makes are the next number below EXPERIMENT_NAMED_FIRST; one that an event
 * names, and that does not exist, gets EXPERIMENT_NAMED_FIRST + (a hash of its name), which is the same in every
 * database. So max + 1 must only count ids below it. */
#define EXPERIMENT_NAMED_FIRST (1LL << 30)

struct answer; /* api.c */
struct asking; /* api_ask.c */

struct tracker {
    struct node *node;
    const struct tracker_options *options;
    struct db_node *db_node;
    struct db *db;          /* NULL while it is away; within callbacks of requests it never is */
    struct outbox *outbox;
    struct feed *feed;
    struct missed *missed;
    TAILQ_HEAD(held, answer) held; /* answers that wait until the outbox is shorter */
    TAILQ_HEAD(askings, asking) askings; /* requests that wait for what another node says */
    struct known *known;     /* what is known to be in the database */
    struct metrics *metrics; /* values of metrics on their way into it */
    bool again;              /* a fact is applied that was applied before (outbox.h) */
    char *artifact_root;    /* absolute URI, without a slash at the end */
};

/* tracker_mend drops what is no UTF-8 from a text: "%.100s" in the text of an error may cut a character. */
void tracker_mend(char *text);

/* ---- fact.c and fact_*.c: one function per topic, in a table ---- */

/* fact_apply changes the tables within the open transaction. `time_ms`: of the fact (the event's time), for values
 * that it does not carry. Returns 1 when it was applied, 0 when nothing here is to be done with that topic, -1 with
 * *err: BAD_VALUE (db_problem DB_OK: the fact can never be applied), else the database's. */
int fact_apply(struct tracker *t, const char *topic, const json_t *body, int64_t time_ms, struct ls_error *err);

/* ---- outbox.c ---- */

/* tracker_tell applies one fact of this tracker's own, and puts it into the change that the present request makes
 * (one row of lineshaft_outbox). Takes `body` over; NULL gives -1 and leaves *err. Only within an op. */
int tracker_tell(struct tracker *t, const char *topic, json_t *body, struct ls_error *err);

/* tracker_tell_all does so for each body of an array, which it takes over, in that order: the same as so many calls
 * of tracker_tell, but the facts of one kind are applied as one set (a thousand values of a log-batch are one
 * change and no thousand round trips). An empty array is well; NULL as above. */
int tracker_tell_all(struct tracker *t, const char *topic, json_t *bodies, struct ls_error *err);

/* The change of one request, used by api.c around an op: outbox_begin when the transaction has begun, outbox_commit
 * before db_commit (writes the row, if anything was told), then outbox_publish when the transaction stands, or
 * outbox_abort when it was rolled back (forgets what was told; harmless when there is nothing). The facts
 * carry the trace of `request`, and its id as their cause; it is borrowed until the commit. */
void outbox_begin(struct outbox *outbox, const struct ls_event *request);
int outbox_commit(struct outbox *outbox, struct ls_error *err);
void outbox_publish(struct outbox *outbox);
void outbox_abort(struct outbox *outbox);

/* ---- api.c ---- */

struct op_call;

/* A question to another node, which an op of a read asks before it can answer. What the op returned is kept as `had` until the whole
 * reply is there (or `failed` says why none came); then `answer` makes the answer of it, or asks again. It borrows both. */
struct op_ask {
    const char *topic; /* NULL: nothing is asked */
    json_t *body;      /* given over */
    json_t *(*answer)(struct op_call *call, json_t *had, const json_t *reply, const struct ls_error *failed,
                      struct ls_error *err);
};

struct op_call {
    struct tracker *tracker;
    const struct ls_event *event; /* the request as it came */
    json_t *request;        /* object: the JSON body, or the query parameters (each a text, repeated ones an array of texts) */
    const char *principal;  /* who asks, "" when nobody says */
    struct ls_slice repeat; /* its key, when it may be asked for again (repeat.h); else empty */
    int64_t now_ms;
    bool told;              /* it wrote, and that stands */
    struct op_ask ask;      /* set by ops that need it, together with a non-NULL return */
    const char *error_code; /* set with a failure: INVALID_PARAMETER_VALUE and so on; its HTTP status follows from it */
};
/* An op returns the answer (new reference; {} for nothing to say), or NULL with *err and call->error_code (op_fail
 * does both). It runs within a transaction, which is committed when it gives an answer and rolled back when not. */
json_t *op_fail(struct op_call *call, struct ls_error *err, const char *error_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The callbacks `request`, `credit` and `cancelled` of the kind: a long answer goes out in parts, as far as there
 * is credit. tracker_request answers HTTP callers {error_code, message} with its status, bus callers an error with
 * that number and sentence. */
enum ls_verdict tracker_request(struct tracker *t, struct ls_call *call, const struct ls_event *request, struct ls_error *err);
void tracker_credit(struct ls_call *call);
/* tracker_release, in each turn of the loop: gives the answers that were held back because the outbox was long. Callers
 * who write faster than the stream takes it would else fill the memory. Returns when it wants to be called at the latest. */
int64_t tracker_release(struct tracker *t, int64_t now_ms);
void tracker_cancelled(struct tracker *t, struct ls_call *call);

/* ---- api_ask.c ---- */

/* asking_begin sends call->ask for the request `of`, which is then pending; takes `had` over. asking_forget: nobody waits for that
 * request any more (false: it asks nothing). asking_close frees all that is open. */
enum ls_verdict asking_begin(struct op_call *call, struct ls_call *of, json_t *had, bool http, struct ls_error *err);
bool asking_forget(struct tracker *t, const struct ls_call *of);
void asking_close(struct tracker *t);

#endif
