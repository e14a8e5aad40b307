/* SPDX-License-Identifier: Apache-2.0 */
/* SUB in its three forms, MORE and BYE, and what every subscription has in common. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

#define PATTERNS_MAX 64

bool topics_match(char *const *patterns, struct mp_slice topic)
{
    for (; *patterns; patterns++)
        if (topic_match(*patterns, strlen(*patterns), topic.data, topic.len))
            return true;
    return false;
}

bool topics_same(char *const *a, char *const *b)
{
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b))
            return false;
    return !*a && !*b;
}

void topics_free(char **topics)
{
    for (char **t = topics; t && *t; t++)
        free(*t);
    free(topics);
}

char **topics_read(struct mp value, struct ls_error *err)
{
    uint32_t count;
    if (!mp_array(&value, &count) || !count || count > PATTERNS_MAX) {
        error_set(err, "BAD_VALUE", "a list of 1 to %d topic patterns is wanted", PATTERNS_MAX);
        return NULL;
    }
    char **topics = xcalloc(count + 1, sizeof *topics);
    for (uint32_t i = 0; i < count; i++) {
        struct mp_slice pattern;
        if (!mp_str(&value, &pattern) || !topic_pattern_valid(pattern.data, pattern.len)) {
            error_set(
                err, "BAD_TOPIC",
                "pattern %u of the list is not valid: words joined by dots, `*` for one word, `>` last for the rest",
                i + 1);
            topics_free(topics);
            return NULL;
        }
        topics[i] = xstrndup(pattern.data, pattern.len);
    }
    return topics;
}

void sub_destroy(struct sub *sub)
{
    struct session *s = sub->session;
    s->broker->sub_count--;
    if (sub->kind == SUB_DURABLE && sub->position)
        position_leave(sub->position, sub);
    if (sub->kind == SUB_EPHEMERAL)
        ephemeral_stop(sub);
    if (sub->kind == SUB_SERVICE)
        service_leave(sub);
    for (size_t i = 0; i < s->sub_count; i++)
        if (s->subs[i] == sub)
            s->subs[i] = s->subs[--s->sub_count];
    topics_free(sub->topics);
    free(sub);
}

static struct sub *sub_new(struct session *s, enum sub_kind kind, uint64_t cid)
{
    struct sub *sub = xcalloc(1, sizeof *sub);
    sub->kind = kind;
    sub->session = s;
    sub->cid = cid;
    s->subs = xgrow(s->subs, &s->sub_room, s->sub_count + 1, sizeof *s->subs);
    s->subs[s->sub_count++] = sub;
    s->broker->sub_count++;
    return sub;
}

static int read_batch(struct mp header, bool *batch, struct ls_error *err)
{
    struct mp at;
    if (mp_find(header, "batch", &at) && !mp_bool(&at, batch))
        return error_set(err, "BAD_VALUE", "\"batch\" wants true or false");
    return 0;
}

struct answer { /* the pairs of an OK, and what it waits for */
    struct buf pairs;
    uint32_t count;
    struct stream *stream; /* whose state file must reach the token first; NULL: none */
    uint64_t token;
    struct sub *sub;
};

static void answer_uint(struct answer *a, const char *key, uint64_t value)
{
    buf_pack_str(&a->pairs, key);
    buf_pack_uint(&a->pairs, value);
    a->count++;
}

/* All of a session's windows together stay below what its pipe holds, so that a pipe is never full for a peer that reads. */
static int check_windows(const struct session *s, const struct sub *but, uint64_t more, struct ls_error *err)
{
    uint64_t sum = more;
    for (size_t i = 0; i < s->sub_count; i++)
        if (s->subs[i] != but)
            sum += s->subs[i]->window; /* 0 for services */
    if (sum > SESSION_WINDOW_MAX)
        return error_set(err, "QUOTA", "the windows of one session may add up to %d events; open another connection",
                         SESSION_WINDOW_MAX);
    return 0;
}

static int subscribe_durable(struct broker *b, struct session *s, uint64_t cid, struct mp header, struct mp name_at,
                             struct answer *a, struct ls_error *err)
{
    struct mp_slice name;
    if (!mp_str(&name_at, &name) || !name.len)
        return error_set(err, "BAD_VALUE", "\"consumer\" wants a name");
    if (name.data[0] == '$')
        return error_set(err, "DENIED", "consumers that begin with $ belong to the broker");
    struct consumer *c = consumer_find(b, name);
    uint64_t window = c ? c->window : WINDOW_DEFAULT, bytes = c ? c->window_bytes : WINDOW_BYTES_DEFAULT;
    bool batch = false;
    if (header_number(header, "window", 0, WINDOW_MAX, &window, err) < 0 ||
        header_number(header, "bytes", 1, WINDOW_BYTES_MAX, &bytes, err) < 0 || read_batch(header, &batch, err) < 0 ||
        check_windows(s, NULL, window, err) < 0)
        return -1;
    if (c ? consumer_same(c, header, err) < 0 : !(c = consumer_create(b, name, header, err)))
        return -1;
    const char *member = c->share == SHARE_EACH ? s->member : "";
    if (!consumer_position(c, member) && c->position_count >= MEMBERS_MAX)
        return error_set(err, "QUOTA", "consumer \"%s\" has %d members already", c->name, MEMBERS_MAX);
    struct sub *sub = sub_new(s, SUB_DURABLE, cid);
    sub->window = (uint32_t) window;
    sub->window_bytes = bytes;
    sub->batch = batch;
    struct position *p = consumer_position_require(c, member, &a->token);
    position_join(p, sub);
    a->sub = sub;
    a->stream = c->stream;
    buf_pair_str(&a->pairs, "stream", c->stream->config->name);
    a->count++;
    answer_uint(a, "next", p->cursor);
    struct backlog backlog;
    position_backlog(p, BACKLOG_LOOK, &backlog);
    answer_uint(a, "pending", backlog.unfinished);
    return 0;
}

static int subscribe_ephemeral(struct broker *b, struct session *s, uint64_t cid, struct mp header, struct mp topics_at,
                               struct ls_error *err)
{
    struct mp at, from = {0};
    struct mp_slice name;
    struct stream *only = NULL;
    uint64_t credit = 256;
    bool batch = false;
    if (mp_find(header, "stream", &at)) {
        if (!mp_str(&at, &name) || !(only = stream_find(b, name)))
            return error_set(err, "NO_STREAM", "there is no stream of that name");
    }
    if (mp_find(header, "from", &at))
        from = at;
    if (header_number(header, "window", 0, WINDOW_MAX, &credit, err) < 0 || read_batch(header, &batch, err) < 0 ||
        check_windows(s, NULL, credit, err) < 0)
        return -1;
    char **topics = topics_read(topics_at, err);
    if (!topics)
        return -1;
    struct sub *sub = sub_new(s, SUB_EPHEMERAL, cid);
    sub->topics = topics;
    sub->credit = credit;
    sub->window = (uint32_t) credit;
    sub->batch = batch;
    if (ephemeral_start(sub, only, from, err) < 0) {
        sub_destroy(sub);
        return -1;
    }
    return 0;
}

static int subscribe_service(struct session *s, uint64_t cid, struct mp header, struct mp topics_at,
                             struct ls_error *err)
{
    struct service_wish wish;
    if (service_read(s->broker, header, &wish, err) < 0)
        return -1;
    char **topics = topics_read(topics_at, err);
    if (!topics)
        return -1;
    struct sub *sub = sub_new(s, SUB_SERVICE, cid);
    sub->topics = topics;
    sub->slots = 1;
    service_join(sub);
    service_set(sub, &wish);
    return 0;
}

static int update_service(struct sub *sub, struct mp header, struct mp topics_at, struct ls_error *err)
{
    struct service_wish wish;
    if (service_read(sub->session->broker, header, &wish, err) < 0)
        return -1;
    char **topics = topics_read(topics_at, err);
    if (!topics)
        return -1;
    bool same = topics_same(topics, sub->topics);
    topics_free(topics);
    if (!same)
        return error_set(err, "CONFLICT",
                         "service %llu serves other topics: BYE it first, or take another cid for the new ones",
                         (unsigned long long) sub->cid);
    service_set(sub, &wish);
    return 0;
}

static int subscribe(struct broker *b, struct session *s, uint64_t cid, struct mp header, struct answer *a,
                     struct ls_error *err)
{
    struct mp at;
    struct sub *old = session_sub(s, cid);
    if (old && old->kind == SUB_SERVICE && mp_find(header, "serves", &at)) {
        answer_uint(a, "cid", cid);
        return update_service(old, header, at, err);
    }
    if (old)
        return error_set(err, "CONFLICT", "this session already has a subscription %llu", (unsigned long long) cid);
    if (s->sub_count >= SUBS_PER_SESSION_MAX)
        return error_set(err, "QUOTA", "a session has at most %d subscriptions", SUBS_PER_SESSION_MAX);
    if (b->sub_count >= b->config->subscriptions_max)
        return error_set(err, "QUOTA", "the broker has %zu subscriptions already (broker.subscriptions_max)",
                         b->sub_count);
    answer_uint(a, "cid", cid);
    if (mp_find(header, "consumer", &at))
        return subscribe_durable(b, s, cid, header, at, a, err);
    if (mp_find(header, "topics", &at))
        return subscribe_ephemeral(b, s, cid, header, at, err);
    if (mp_find(header, "serves", &at))
        return subscribe_service(s, cid, header, at, err);
    return error_set(err, "BAD_VALUE", "SUB wants one of \"consumer\", \"topics\", \"serves\"");
}

static void fail(struct message *m, bool has_cid, uint64_t cid, const struct ls_error *err)
{
    struct buf about = {0};
    uint32_t pairs = pack_tag(&about, message_part(m, 1));
    if (has_cid) {
        buf_pair_uint(&about, "cid", cid);
        pairs++;
    }
    reply_error(m->session, err, &about, pairs);
    buf_fini(&about);
}

static void succeed(struct message *m, struct answer *a)
{
    struct buf map = {0};
    a->count += pack_tag(&a->pairs, message_part(m, 1));
    buf_pack_map(&map, a->count);
    buf_add(&map, a->pairs.data, a->pairs.len);
    if (a->stream)
        settle_wait(a->stream, a->token, m->session, a->sub, &map);
    else
        reply_map(m->session, "OK", &map);
    buf_fini(&map);
}

void on_subscribe(struct broker *b, struct message *m)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp header = mp_over(bytes.data, bytes.len), at;
    struct answer a = {0};
    struct ls_error err;
    uint64_t cid = 0;
    if (m->delimited) {
        error_set(&err, "BAD_FRAME", "a REQ socket gets one reply to each message; subscribe from a DEALER");
        fail(m, false, 0, &err);
    } else if (!m->session->introduced) {
        error_set(&err, "NO_SESSION",
                  "the broker does not know this connection (it may have restarted): send HELLO, then SUB again");
        fail(m, false, 0, &err);
    } else if (!mp_find(header, "cid", &at) || !mp_uint(&at, &cid)) {
        error_set(&err, "BAD_VALUE", "\"cid\" is missing or not a number");
        fail(m, false, 0, &err);
    } else if (subscribe(b, m->session, cid, header, &a, &err) < 0) {
        fail(m, true, cid, &err);
    } else {
        succeed(m, &a);
    }
    buf_fini(&a.pairs);
}

static int more_of_sub(struct session *s, struct mp header, uint64_t cid, struct ls_error *err)
{
    struct sub *sub = session_sub(s, cid);
    uint64_t number = 0, bytes;
    if (!sub)
        return error_set(err, "NOT_FOUND", "there is no subscription %llu in this session", (unsigned long long) cid);
    if (sub->kind == SUB_EPHEMERAL) {
        if (header_number(header, "n", 0, WINDOW_MAX, &number, err) < 0)
            return -1;
        sub->credit += number;
        if (sub->credit > sub->window && check_windows(s, sub, sub->credit, err) < 0) {
            sub->credit -= number;
            return -1;
        }
        if (sub->credit > sub->window)
            sub->window = (uint32_t) sub->credit;
        for (size_t i = 0; i < sub->feed_count; i++)
            sub->feeds[i].stream->committed = true;
        return 0;
    }
    if (sub->kind != SUB_DURABLE || !sub->position)
        return error_set(err, "BAD_VALUE", "subscription %llu has no window", (unsigned long long) cid);
    bytes = sub->window_bytes;
    if (header_number(header, "window", 0, WINDOW_MAX, &number, err) != 1)
        return err->name[0] ? -1 : error_set(err, "BAD_VALUE", "\"window\" is missing");
    if (header_number(header, "bytes", 1, WINDOW_BYTES_MAX, &bytes, err) < 0)
        return -1;
    if (check_windows(s, sub, number, err) < 0)
        return -1;
    sub->window = (uint32_t) number;
    sub->window_bytes = bytes;
    sub->position->consumer->stream->committed = true;
    return 0;
}

void on_more(struct broker *b, struct message *m)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp header = mp_over(bytes.data, bytes.len), at;
    struct ls_error err = {0};
    uint64_t number;
    if (mp_find(header, "rid", &at)) {
        if (!mp_uint(&at, &number))
            number = 0;
        if (request_credit(m->session, number, header, &err) < 0) {
            struct buf about = {0};
            buf_pair_uint(&about, "rid", number);
            reply_error(m->session, &err, &about, 1);
            buf_fini(&about);
        }
        return;
    }
    (void) b;
    if (!mp_find(header, "cid", &at) || !mp_uint(&at, &number)) {
        error_set(&err, "BAD_VALUE", "MORE wants \"cid\" or \"rid\"");
        fail(m, false, 0, &err);
    } else if (!m->session->introduced) {
        error_set(&err, "NO_SESSION", "the broker does not know this connection: send HELLO, then SUB again");
        fail(m, true, number, &err);
    } else if (more_of_sub(m->session, header, number, &err) < 0) {
        fail(m, true, number, &err);
    } else if (mp_find(header, "tag", &at)) {
        struct answer a = {0};
        answer_uint(&a, "cid", number);
        succeed(m, &a);
        buf_fini(&a.pairs);
    }
}

void on_bye(struct broker *b, struct message *m)
{
    struct mp_slice bytes = message_part(m, 1);
    struct mp at;
    struct answer a = {0};
    uint64_t cid;
    (void) b;
    if (!mp_find(mp_over(bytes.data, bytes.len), "cid", &at)) {
        succeed(m, &a);
        session_end(m->session, "said BYE");
    } else {
        struct sub *sub = mp_uint(&at, &cid) ? session_sub(m->session, cid) : NULL;
        if (sub) {
            answer_uint(&a, "cid", cid);
            sub_destroy(sub);
            succeed(m, &a);
        } else {
            struct ls_error err;
            error_set(&err, "NOT_FOUND", "there is no such subscription in this session");
            fail(m, false, 0, &err);
        }
    }
    buf_fini(&a.pairs);
}
