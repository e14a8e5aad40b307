/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: work that someone waits for, given to one free member of those who serve its topic, answered in parts with credit.
 * Requests live in memory; nothing of them is stored. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX_MS 3600000
#define PARTS_DEFAULT 16
#define PARTS_MAX 1024
#define PART_BYTES_MAX (1u << 20)

struct request {
    struct timer deadline;
    uint64_t rid;       /* the broker's, between it and the worker */
    uint64_t asked_rid; /* the requester's */
    struct session *asker;
    bool single;        /* from a REQ socket: one reply, parts joined */
    struct sub *worker; /* NULL: waits for a free one */
    char topic[TOPIC_LEN_MAX + 1];
    struct buf tag;        /* the pair `tag`, if it came with one */
    struct buf attributes; /* pairs that travel to the worker */
    uint32_t attribute_count;
    struct buf body, joined;
    uint64_t credit, parts;
    uint64_t unread; /* bytes sent since the requester last gave credit */
    struct request *next_waiting, *prev_waiting;
};

static size_t request_bytes(const struct request *r)
{
    return sizeof *r + r->attributes.len + r->body.len + r->joined.len;
}

/* ---- sending ---- */

static void send_to_worker(struct request *r, const char *verb, const char *key, uint64_t number, const char *reason)
{
    struct buf map = {0};
    buf_pack_map(&map, 1 + (key != NULL) + (reason != NULL));
    buf_pair_uint(&map, "rid", r->rid);
    if (key)
        buf_pair_uint(&map, key, number);
    if (reason) {
        buf_pair_str(&map, "reason", reason);
    }
    reply_map(r->worker->session, verb, &map);
    buf_fini(&map);
}

static void fail_request(struct request *r, const char *name, const char *text)
{
    struct ls_error err;
    struct buf about = {0};
    error_set(&err, name, "%s", text);
    uint32_t pairs = !r->single;
    if (!r->single)
        buf_pair_uint(&about, "rid", r->asked_rid);
    buf_add(&about, r->tag.data, r->tag.len);
    reply_error(r->asker, &err, &about, pairs + (r->tag.len > 0));
    buf_fini(&about);
}

/* ---- the queue of those that wait for a worker ---- */

static void waiting_add(struct broker *b, struct request *r)
{
    r->next_waiting = NULL;
    r->prev_waiting = b->waiting_tail;
    if (b->waiting_tail)
        b->waiting_tail->next_waiting = r;
    else
        b->waiting_head = r;
    b->waiting_tail = r;
    b->waiting_count++;
}

static void waiting_remove(struct broker *b, struct request *r)
{
    b->waiting_count--;
    if (r->prev_waiting)
        r->prev_waiting->next_waiting = r->next_waiting;
    else
        b->waiting_head = r->next_waiting;
    if (r->next_waiting)
        r->next_waiting->prev_waiting = r->prev_waiting;
    else
        b->waiting_tail = r->prev_waiting;
}

static void finish(struct request *r)
{
    struct broker *b = r->asker->broker;
    heap_unset(&b->timers, &r->deadline);
    map_remove(&b->requests, r->rid);
    map_remove(&r->asker->requests, r->single ? r->rid | 1ull << 63 : r->asked_rid);
    if (r->worker)
        r->worker->busy--;
    else
        waiting_remove(b, r);
    b->request_bytes -= request_bytes(r);
    buf_fini(&r->attributes);
    buf_fini(&r->tag);
    buf_fini(&r->body);
    buf_fini(&r->joined);
    free(r);
    b->requests_moved = true; /* a slot may be free */
}

/* ---- choosing a worker ---- */

static bool serves(const struct sub *sub, const struct request *r)
{
    return topics_match(sub->topics, (struct mp_slice){r->topic, strlen(r->topic)});
}

/* The free member with the smallest share of its slots busy; in turn among equals. */
static struct sub *free_member(struct broker *b, const struct request *r, bool *any)
{
    struct sub *best = NULL;
    *any = false;
    for (size_t i = 0; i < b->service_count; i++) {
        struct sub *sub = b->services[(b->service_turn + i) % b->service_count];
        if (sub->session->gone || sub->away || !serves(sub, r))
            continue;
        *any = true;
        if (sub->busy < sub->slots &&
            (!best || (uint64_t) sub->busy * best->slots < (uint64_t) best->busy * sub->slots))
            best = sub;
    }
    b->service_turn++;
    return best;
}

static void give(struct request *r, struct sub *worker)
{
    struct broker *b = r->asker->broker;
    struct buf map = {0};
    r->worker = worker;
    worker->busy++;
    worker->session->flow.served++;
    service_count(worker, (struct mp_slice){r->topic, strlen(r->topic)});
    int64_t left = r->deadline.due_ms - b->now_ms;
    buf_pack_map(&map, 5 + r->attribute_count);
    buf_pair_uint(&map, "cid", worker->cid);
    buf_pair_uint(&map, "rid", r->rid);
    buf_pair_uint(&map, "timeout", left > 0 ? (uint64_t) left : 0);
    buf_pair_uint(&map, "parts", r->credit);
    buf_pair_str(&map, "client", session_source(r->asker));
    buf_add(&map, r->attributes.data, r->attributes.len);
    zmq_msg_t body;
    zmq_msg_init_size(&body, r->body.len);
    if (r->body.len)
        memcpy(zmq_msg_data(&body), r->body.data, r->body.len);
    reply_body(worker->session, "REQ", &map, &body);
    zmq_msg_close(&body);
    buf_fini(&map);
}

void requests_assign(struct broker *b)
{
    if (!b->requests_moved)
        return;
    b->requests_moved = false;
    const char *full =
        ""; /* the topic last found without a free member: what waits behind it need not be looked up again */
    for (struct request *r = b->waiting_head, *next; r; r = next) {
        next = r->next_waiting;
        if (!strcmp(r->topic, full))
            continue;
        bool any;
        struct sub *worker = free_member(b, r, &any);
        if (!worker && any)
            full = r->topic;
        if (worker) {
            waiting_remove(b, r);
            give(r, worker);
        } else if (!any) {
            b->counters[C_NO_RESPONDER]++;
            fail_request(r, "NO_RESPONDER", "the last who served this topic is gone");
            finish(r);
        }
    }
}

static void on_deadline(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    struct request *r = (struct request *) ((char *) timer - offsetof(struct request, deadline));
    b->counters[C_TIMEOUTS]++;
    if (r->worker)
        send_to_worker(r, "CANCEL", NULL, 0, "timeout");
    fail_request(r, "TIMEOUT", "the deadline passed before the answer was complete");
    finish(r);
}

/* ---- REQ ---- */

/* Copies the pairs that are the worker's business: all but those between requester and broker. */
static uint32_t copy_attributes(struct buf *out, struct mp header)
{
    static const char *const OURS[] = {"rid", "timeout", "parts", "tag", "client", "cid"};
    uint32_t pairs, kept = 0;
    if (!mp_map(&header, &pairs))
        return 0;
    for (uint32_t i = 0; i < pairs; i++) {
        const uint8_t *from = header.p;
        struct mp_slice key;
        if (!mp_str(&header, &key) || !mp_skip(&header))
            return kept;
        bool ours = false;
        for (size_t k = 0; k < sizeof OURS / sizeof *OURS; k++)
            ours = ours || mp_is(key, OURS[k]);
        if (ours)
            continue;
        buf_add(out, from, (size_t) (header.p - from));
        kept++;
    }
    return kept;
}

struct asking {
    struct mp_slice topic;
    uint64_t rid, timeout, parts;
};

static int asking_read(struct broker *b, struct message *m, struct asking *k, struct ls_error *err)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp header = mp_over(bytes.data, bytes.len), at;
    bool has_rid = mp_find(header, "rid", &at);
    *k = (struct asking){.timeout = TIMEOUT_DEFAULT_MS, .parts = PARTS_DEFAULT};
    if (has_rid ? !mp_uint(&at, &k->rid) || k->rid >> 62 : !m->delimited)
        return error_set(err, "BAD_VALUE", "REQ wants \"rid\", a number of your choice");
    if (!mp_valid(bytes.data, bytes.len, 8))
        return error_set(err, "BAD_FRAME", "the header is not one msgpack map");
    if (!mp_find(header, "topic", &at) || !mp_str(&at, &k->topic) || !topic_valid(k->topic.data, k->topic.len))
        return error_set(err, "BAD_TOPIC", "REQ wants a valid \"topic\"");
    if (header_number(header, "timeout", 1, TIMEOUT_MAX_MS, &k->timeout, err) < 0 ||
        header_number(header, "parts", 1, PARTS_MAX, &k->parts, err) < 0)
        return -1;
    if (bytes.len > b->config->header_bytes_max || message_part(m, 2).len > b->config->body_bytes_max)
        return error_set(err, "TOO_BIG", "the header or the body is over the limit");
    if (!m->delimited && map_get(&m->session->requests, k->rid))
        return error_set(err, "CONFLICT", "request %llu of this connection is still open", (unsigned long long) k->rid);
    return 0;
}

static int check_room(struct broker *b, size_t bytes, struct ls_error *err)
{
    if (b->draining)
        return error_set(err, "DRAINING", "the broker is stopping");
    if (b->requests.used < b->config->requests_max && b->memory + bytes <= b->config->memory_bytes_max)
        return 0;
    error_set(err, "BUSY", "too many requests are open");
    err->retry_ms = 100;
    return -1;
}

static struct request *request_new(struct broker *b, struct message *m, const struct asking *k)
{
    struct mp_slice header = message_part(m, 1), body = message_part(m, 2);
    struct request *r = xcalloc(1, sizeof *r);
    r->rid = ++b->last_rid;
    r->asked_rid = k->rid;
    r->asker = m->session;
    r->single = m->delimited;
    r->credit = r->single ? PARTS_MAX : k->parts;
    memcpy(r->topic, k->topic.data, k->topic.len);
    pack_tag(&r->tag, header);
    r->attribute_count = copy_attributes(&r->attributes, mp_over(header.data, header.len));
    buf_add(&r->body, body.data, body.len);
    r->deadline.fire = on_deadline;
    heap_set(&b->timers, &r->deadline, b->now_ms + (int64_t) k->timeout);
    map_put(&b->requests, r->rid, r);
    map_put(&m->session->requests, r->single ? r->rid | 1ull << 63 : r->asked_rid, r);
    b->request_bytes += request_bytes(r);
    return r;
}

void on_request(struct broker *b, struct message *m)
{
    struct asking k;
    struct ls_error err;
    bool any = false;
    b->counters[C_REQUESTS]++;
    m->session->flow.requests++;
    if (asking_read(b, m, &k, &err) < 0 || check_room(b, message_part(m, 2).len, &err) < 0) {
        struct buf about = {0};
        uint32_t pairs = pack_tag(&about, message_part(m, 1));
        if (!m->delimited)
            buf_pair_uint(&about, "rid", k.rid);
        reply_error(m->session, &err, &about, pairs + !m->delimited);
        buf_fini(&about);
        return;
    }
    struct request *r = request_new(b, m, &k);
    struct sub *worker = free_member(b, r, &any);
    waiting_add(b, r);
    if (worker) {
        waiting_remove(b, r);
        give(r, worker);
    } else if (!any) {
        b->counters[C_NO_RESPONDER]++;
        fail_request(r, "NO_RESPONDER", "nobody serves this topic now");
        finish(r);
    }
}

/* ---- REP, CANCEL, MORE ---- */

static struct request *request_of_worker(struct broker *b, struct message *m)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp at;
    uint64_t rid;
    if (!mp_find(mp_over(bytes.data, bytes.len), "rid", &at) || !mp_uint(&at, &rid))
        return NULL;
    struct request *r = map_get(&b->requests, rid);
    return r && r->worker && r->worker->session == m->session ? r : NULL;
}

static void pass_part(struct request *r, struct message *m, bool more)
{
    struct mp_slice bytes = message_part(m, 1);
    struct buf map = {0}, pairs = {0};
    struct mp header = mp_over(bytes.data, bytes.len);
    uint32_t count = 0, given;
    mp_map(&header, &given);
    for (uint32_t i = 0; i < given; i++) {
        const uint8_t *from = header.p;
        struct mp_slice key;
        if (!mp_str(&header, &key) || !mp_skip(&header))
            break;
        if (mp_is(key, "rid") || mp_is(key, "n") || mp_is(key, "more") || mp_is(key, "tag") || mp_is(key, "cid"))
            continue;
        buf_add(&pairs, from, (size_t) (header.p - from));
        count++;
    }
    buf_pack_map(&map, count + 2 + !r->single + (r->tag.len > 0));
    buf_add(&map, r->tag.data, r->tag.len);
    if (!r->single)
        buf_pair_uint(&map, "rid", r->asked_rid);
    buf_pair_uint(&map, "n", r->parts);
    buf_pair_bool(&map, "more", more);
    buf_add(&map, pairs.data, pairs.len);
    zmq_msg_t *body = m->parts > 2 ? &m->part[2] : NULL;
    zmq_msg_t joined;
    if (r->single) {
        zmq_msg_init_size(&joined, r->joined.len);
        if (r->joined.len)
            memcpy(zmq_msg_data(&joined), r->joined.data, r->joined.len);
        body = &joined;
    }
    reply_body(r->asker, "REP", &map, body);
    if (r->single)
        zmq_msg_close(&joined);
    buf_fini(&map);
    buf_fini(&pairs);
}

static void refuse_part(struct request *r, struct message *m, const char *name, const char *text)
{
    struct ls_error err;
    struct buf about = {0};
    error_set(&err, name, "%s", text);
    buf_pair_uint(&about, "rid", r->rid);
    reply_error(m->session, &err, &about, 1);
    buf_fini(&about);
    fail_request(r, "WORKER_LOST", "the worker broke the rules and was cut off from this request");
    finish(r);
}

void on_reply(struct broker *b, struct message *m)
{
    struct request *r = request_of_worker(b, m);
    struct mp_slice bytes = message_part(m, 1), body = message_part(m, 2);
    struct mp header = mp_over(bytes.data, bytes.len), at;
    bool more = false;
    if (!r)
        return; /* cancelled or timed out meanwhile: the worker was told */
    if ((mp_find(header, "more", &at) && !mp_bool(&at, &more)) || !mp_valid(bytes.data, bytes.len, 8)) {
        refuse_part(r, m, "BAD_FRAME", "the header of REP is not one msgpack map, or \"more\" is not true or false");
        return;
    }
    bool failed = mp_find(header, "error", &at);
    if (failed)
        more = false;
    if (body.len > PART_BYTES_MAX || body.len > b->config->body_bytes_max || bytes.len > b->config->header_bytes_max ||
        (r->single && r->joined.len + body.len > b->config->body_bytes_max)) {
        refuse_part(r, m, "TOO_BIG", "a part, or for a REQ socket all parts together, is over the limit");
        return;
    }
    if (!r->single && r->unread > b->config->connection_bytes_max) {
        send_to_worker(r, "CANCEL", NULL, 0, "gone");
        fail_request(r, "QUOTA",
                     "the requester takes too much at a time: give less credit, and MORE as parts are used");
        finish(r);
        return;
    }
    if (r->single && b->memory + body.len > b->config->memory_bytes_max) {
        refuse_part(r, m, "BUSY", "the broker's memory is full");
        return;
    }
    if (!r->credit && !failed) { /* who has no credit to give must still hear of the failure */
        refuse_part(r, m, "QUOTA", "a part was sent without credit: wait for MORE");
        return;
    }
    r->unread += body.len;
    if (r->single) {
        buf_add(&r->joined, body.data, body.len);
        b->request_bytes += body.len;
    } else {
        r->credit -= r->credit > 0;
    }
    if (!r->single || !more)
        pass_part(r, m, more);
    r->parts++;
    if (!more)
        finish(r);
}

void on_cancel(struct broker *b, struct message *m)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp at;
    uint64_t rid = 0;
    (void) b;
    bool ok = mp_find(mp_over(bytes.data, bytes.len), "rid", &at) && mp_uint(&at, &rid);
    struct request *r = ok ? map_get(&m->session->requests, rid) : NULL;
    if (!r) {
        struct ls_error err;
        struct buf about = {0};
        error_set(&err, "NO_REQUEST", "this connection has no open request %llu", (unsigned long long) rid);
        buf_pair_uint(&about, "rid", rid);
        reply_error(m->session, &err, &about, 1);
        buf_fini(&about);
        return;
    }
    if (r->worker)
        send_to_worker(r, "CANCEL", NULL, 0, "cancelled");
    fail_request(r, "CANCELLED", "the request was cancelled");
    finish(r);
}

int request_credit(struct session *s, uint64_t rid, struct mp header, struct ls_error *err)
{
    uint64_t parts = 0;
    struct request *r = map_get(&s->requests, rid);
    if (!r)
        return error_set(err, "NO_REQUEST", "this connection has no open request %llu", (unsigned long long) rid);
    if (header_number(header, "parts", 1, PARTS_MAX, &parts, err) < 0)
        return -1;
    r->credit += parts;
    r->unread = 0;
    if (r->worker)
        send_to_worker(r, "MORE", "parts", parts, NULL);
    return 0;
}

/* ---- those who come and go ---- */

void requests_of_session_gone(struct session *s)
{
    for (;;) {
        size_t at = 0;
        struct request *r = map_walk(&s->requests, &at, NULL);
        if (!r)
            return;
        if (r->worker)
            send_to_worker(r, "CANCEL", NULL, 0, "gone");
        finish(r);
    }
}

void requests_of_worker_gone(struct broker *b, const struct sub *worker)
{
    for (bool found = true; found;) {
        struct request *r;
        found = false;
        for (size_t at = 0; (r = map_walk(&b->requests, &at, NULL));)
            if (r->worker == worker) {
                found = true;
                break;
            }
        if (!found)
            return;
        if (r->parts) {
            fail_request(r, "WORKER_LOST", "the worker went away in the middle of its answer");
            finish(r);
            continue;
        }
        b->counters[C_REROUTED]++;
        r->worker->busy--;
        r->worker = NULL;
        waiting_add(b, r);
    }
}

size_t requests_waiting(const struct broker *b, const char *pattern)
{
    size_t count = 0;
    for (const struct request *r = b->waiting_head; r; r = r->next_waiting)
        count += topic_match(pattern, strlen(pattern), r->topic, strlen(r->topic));
    return count;
}

void requests_fini(struct broker *b)
{
    map_fini(&b->requests);
}
