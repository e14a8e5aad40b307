/* SPDX-License-Identifier: Apache-2.0 */
/* ACK, NAK, TERM, WIP: what a consumer says about its deliveries. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define SEQ_MAX (1ull << 62) /* no log gets there; below it no count of numbers overflows */
#define SEQS_MAX 20000       /* numbers that one NAK, TERM or WIP may name */

struct sync_wait {           /* an ACK whose state is not yet on disk */
    uint64_t token, session; /* session: its key, since it may end meanwhile */
    uint64_t held;           /* 1 + cid of a subscription that gets its events from now on */
    struct buf reply;
};

struct settling {
    struct session *session;
    struct sub *sub;
    uint64_t cid;
    bool sync, has_tag, has_delay;
    uint64_t delay_ms;
    struct mp_slice error, header;
    struct mp seqs;
    struct ranges stale;
    char who[2 * NAME_LEN_MAX + 2];
};

static int settling_read(struct message *m, struct settling *k, struct ls_error *err)
{
    struct mp_slice header = message_part(m, 1);
    struct mp map = mp_over(header.data, header.len), value;
    *k = (struct settling){.session = m->session, .header = header};
    k->has_tag = mp_find(map, "tag", &value);
    if (!mp_find(map, "cid", &value) || !mp_uint(&value, &k->cid))
        return error_set(err, "BAD_VALUE", "\"cid\" is missing or not a number");
    if (!mp_find(map, "seqs", &k->seqs))
        return error_set(err, "BAD_VALUE", "\"seqs\" is missing: a list of numbers and [from, to] pairs");
    if (mp_find(map, "sync", &value) && !mp_bool(&value, &k->sync))
        return error_set(err, "BAD_VALUE", "\"sync\" wants true or false");
    if (mp_find(map, "delay", &value)) {
        k->has_delay = mp_uint(&value, &k->delay_ms) && k->delay_ms <= 7 * 86400000ull;
        if (!k->has_delay)
            return error_set(err, "BAD_VALUE", "\"delay\" wants ms, a week at most");
    }
    if (mp_find(map, "error", &value) && !mp_str(&value, &k->error))
        return error_set(err, "BAD_VALUE", "\"error\" wants a string");
    k->sub = session_sub(m->session, k->cid);
    if (!k->sub)
        return error_set(err, "NOT_FOUND", "there is no subscription %llu in this session",
                         (unsigned long long) k->cid);
    if (k->sub->kind != SUB_DURABLE || !k->sub->position)
        return error_set(err, "BAD_VALUE", "subscription %llu needs no ACK: it is not a durable consumer's",
                         (unsigned long long) k->cid);
    snprintf(k->who, sizeof k->who, "%s/%s", m->session->client, m->session->member);
    return 0;
}

/* Reads the list item by item: a number stands for itself. */
static bool next_range(struct mp *r, uint64_t *from, uint64_t *to)
{
    uint32_t two;
    if (mp_uint(r, from))
        *to = *from;
    else if (!mp_array(r, &two) || two != 2 || !mp_uint(r, from) || !mp_uint(r, to))
        return false;
    if (*from > *to)
        return false;
    *from = *from < SEQ_MAX ? *from : SEQ_MAX;
    *to = *to < SEQ_MAX ? *to : SEQ_MAX;
    return true;
}

static int seqs_check(struct mp seqs, bool bounded, uint32_t *items, struct ls_error *err)
{
    uint64_t from, to, total = 0;
    if (!mp_array(&seqs, items))
        return error_set(err, "BAD_VALUE", "\"seqs\" wants a list of numbers and [from, to] pairs");
    for (uint32_t i = 0; i < *items; i++) {
        if (!next_range(&seqs, &from, &to))
            return error_set(err, "BAD_VALUE", "\"seqs\" wants numbers and [from, to] pairs with from <= to");
        if (to - from >= SEQS_MAX || (total += to - from + 1) > SEQS_MAX)
            total = SEQS_MAX + 1;
    }
    if (*items > SEQS_MAX || (bounded && total > SEQS_MAX))
        return error_set(err, "BAD_VALUE", "\"seqs\" names more than %d events", SEQS_MAX);
    return 0;
}

static void settle_one(struct settling *k, char verb, uint64_t seq)
{
    struct delivery *d = map_get(&k->sub->position->pending, seq);
    if (!d || d->state != IN_FLIGHT || d->holder != k->sub) {
        ranges_add(&k->stale, seq, seq);
        return;
    }
    if (verb == 'N')
        delivery_nak(d, k->has_delay ? (int64_t) k->delay_ms : -1, k->who, k->error);
    else if (verb == 'T')
        delivery_term(d, k->who, k->error);
    else
        delivery_extend(d);
}

static uint32_t pack_cid(struct buf *out, const struct settling *k)
{
    buf_pair_uint(out, "cid", k->cid);
    return 1;
}

static void release_held(struct session *session, uint64_t held)
{
    struct sub *sub = held ? session_sub(session, held - 1) : NULL;
    if (sub && sub->held) {
        sub->held = false;
        sub->position->consumer->stream->committed = true;
    }
}

void settle_wait(struct stream *s, uint64_t token, struct session *session, struct sub *held, struct buf *reply)
{
    if (state_file_durable(s->state) >= token) {
        reply_map(session, "OK", reply);
        buf_fini(reply);
        return;
    }
    if (held)
        held->held = true;
    s->sync_waits = xgrow(s->sync_waits, &s->sync_wait_room, s->sync_wait_count + 1, sizeof *s->sync_waits);
    s->sync_waits[s->sync_wait_count++] = (struct sync_wait){token, session->key, held ? 1 + held->cid : 0, *reply};
    *reply = (struct buf){0};
}

static void answer_ok(struct settling *k, struct stream *s, uint64_t token)
{
    struct buf pairs = {0}, map = {0};
    uint32_t count = pack_cid(&pairs, k) + pack_tag(&pairs, k->header);
    buf_pack_map(&map, count);
    buf_add(&map, pairs.data, pairs.len);
    buf_fini(&pairs);
    settle_wait(s, k->sync ? token : 0, k->session, NULL, &map);
}

void settle_synced(struct stream *s)
{
    size_t keep = 0;
    for (size_t i = 0; i < s->sync_wait_count; i++) {
        struct sync_wait *w = &s->sync_waits[i];
        if (w->token > state_file_durable(s->state)) {
            s->sync_waits[keep++] = *w;
            continue;
        }
        struct session *session = map_get(&s->broker->sessions, w->session);
        if (session) {
            reply_map(session, "OK", &w->reply);
            release_held(session, w->held);
        }
        buf_fini(&w->reply);
    }
    s->sync_wait_count = keep;
}

void settle_fini(struct stream *s)
{
    for (size_t i = 0; i < s->sync_wait_count; i++)
        buf_fini(&s->sync_waits[i].reply);
    free(s->sync_waits);
}

static void acknowledge(struct settling *k, uint32_t items)
{
    struct position *p = k->sub->position;
    struct ranges done = {0};
    uint64_t from, to;
    for (uint32_t i = 0; i < items; i++)
        if (next_range(&k->seqs, &from, &to))
            position_ack(p, k->sub, from, to, &done);
    uint64_t token = state_acked(p, &done, k->sync);
    free(done.items);
    p->consumer->stream->committed = true; /* room in the window: pump */
    if (k->sync || k->has_tag)
        answer_ok(k, p->consumer->stream, token);
}

static void answer_stale(struct settling *k)
{
    struct ls_error err;
    struct buf about = {0};
    error_set(&err, "STALE", "%zu of these deliveries are no longer held by this subscription", k->stale.count);
    uint32_t pairs = pack_cid(&about, k) + pack_tag(&about, k->header);
    buf_pack_str(&about, "seqs");
    buf_pack_array(&about, (uint32_t) k->stale.count);
    for (size_t i = 0; i < k->stale.count; i++) {
        buf_pack_array(&about, 2);
        buf_pack_uint(&about, k->stale.items[i].from);
        buf_pack_uint(&about, k->stale.items[i].to);
    }
    reply_error(k->session, &err, &about, pairs + 1);
    buf_fini(&about);
}

void on_settle(struct broker *b, struct message *m)
{
    struct settling k;
    struct ls_error err;
    uint32_t items;
    uint64_t from, to;
    char verb = message_part(m, 0).data[0];
    (void) b;
    if (settling_read(m, &k, &err) < 0 || seqs_check(k.seqs, verb != 'A', &items, &err) < 0) {
        struct buf about = {0};
        uint32_t pairs = pack_cid(&about, &k) + pack_tag(&about, k.header);
        reply_error(m->session, &err, &about, pairs);
        buf_fini(&about);
        return;
    }
    mp_array(&k.seqs, &items);
    if (verb == 'A') {
        acknowledge(&k, items);
        return;
    }
    for (uint32_t i = 0; i < items; i++)
        if (next_range(&k.seqs, &from, &to))
            for (uint64_t seq = from; seq <= to; seq++)
                settle_one(&k, verb, seq);
    k.sub->position->consumer->stream->committed = true; /* room in the window: pump */
    if (k.stale.count)
        answer_stale(&k);
    else if (k.has_tag)
        answer_ok(&k, k.sub->position->consumer->stream, 0);
    free(k.stale.items);
}
