/* SPDX-License-Identifier: Apache-2.0 */
/* What the console and /metrics show: asks the broker and every `up`, keeps the answers, and writes them as the record `state` of
 * GET /api/console. */
#include "nodes/ingress/overview.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define EVERY_MS 1000
#define SUPERVISOR_MS 900 /* an `up` that takes longer is not in this round */
#define SUPERVISORS_MAX 64
#define SUPERVISOR_BYTES (4u << 20)
#define SUPERVISOR_PREFIX "up.status."
#define TOPICS_TOLD 200
#define RECORD_MAX (48u << 20) /* well within STREAM_QUEUE_MAX */

static const struct {
    const char *op, *lists[2]; /* keys that the record takes from the answer; none: the whole answer, or nothing */
} QUESTIONS[OVERVIEW_PARTS] = {
    [PART_INFO] = {"info", {NULL}},
    [PART_STREAMS] = {"streams", {"streams"}},
    [PART_CONSUMERS] = {"consumers", {"consumers"}},
    [PART_SERVICES] = {"services", {"services"}},
    [PART_SESSIONS] = {"sessions", {"sessions"}},
    [PART_TOPICS] = {"topics", {"topics", "since_us"}},
    [PART_DLQ] = {"dlq", {NULL}},
};

struct supervisor {
    LIST_ENTRY(supervisor) link;
    struct overview *overview;
    char *topic;
    struct buf answer, coming;
    bool there; /* the broker named its service in this round */
};

struct overview {
    struct ingress *in;
    struct question {
        struct overview *overview;
        struct buf answer;
    } questions[OVERVIEW_PARTS];
    LIST_HEAD(, supervisor) supervisors;
    size_t supervisor_count;
    size_t open;       /* questions of this round that are not answered */
    bool cut;          /* the bus went away in this round: some of its answers are gone */
    struct buf record; /* of the last round while somebody watches */
    struct timer timer;
    LIST_HEAD(, overview_wait) waits;
};

/* ---- what is known ---- */

struct mp overview_part(const struct ingress *in, enum overview_part part)
{
    const struct buf *answer = &in->overview->questions[part].answer;
    return mp_over(answer->data, answer->len);
}

struct ls_slice overview_supervisor(const struct ingress *in, size_t index)
{
    struct supervisor *s;
    LIST_FOREACH(s, &in->overview->supervisors, link)
        if (s->answer.len && index-- == 0)
            return ls_bytes(s->answer.data, s->answer.len);
    return (struct ls_slice){0};
}

bool overview_is_supervisor(struct ls_slice topic)
{
    size_t len = strlen(SUPERVISOR_PREFIX);
    return topic.len > len && memcmp(topic.data, SUPERVISOR_PREFIX, len) == 0;
}

static void supervisor_free(struct supervisor *s)
{
    LIST_REMOVE(s, link);
    s->overview->supervisor_count--;
    free(s->topic);
    buf_fini(&s->answer);
    buf_fini(&s->coming);
    free(s);
}

/* ---- the record ---- */

/* Appends what fits; what does not is left out as a whole, and false. */
static bool put_value(struct buf *out, struct mp *value, const char *instead)
{
    size_t before = out->len;
    if (before < RECORD_MAX && json_put_value(out, value, RECORD_MAX - before))
        return true;
    out->len = before;
    buf_addf(out, "%s", instead);
    return false;
}

/* The answer to ADM info, but for what only its question needs. */
static void put_info(struct buf *out, struct mp info)
{
    uint32_t pairs = 0;
    struct mp_slice key;
    buf_add_byte(out, '{');
    for (mp_map(&info, &pairs); pairs && mp_str(&info, &key); pairs--) {
        if (mp_is(key, "op") || mp_is(key, "tag")) {
            mp_skip(&info);
            continue;
        }
        if (out->data[out->len - 1] != '{')
            buf_add_byte(out, ',');
        json_put_string(out, key.data, key.len);
        buf_add_byte(out, ':');
        if (!put_value(out, &info, "null"))
            break;
    }
    buf_add_byte(out, '}');
}

/* False: the broker cut a list, or one is too long. */
static bool put_lists(struct overview *o, struct buf *out)
{
    bool whole = true;
    for (size_t i = 0; i < OVERVIEW_PARTS; i++)
        for (size_t k = 0; k < 2 && QUESTIONS[i].lists[k]; k++) {
            const char *key = QUESTIONS[i].lists[k], *none = k ? "null" : "[]";
            struct mp answer = overview_part(o->in, (enum overview_part) i), value;
            buf_addf(out, ",\"%s\":", key);
            if (!mp_find(answer, key, &value))
                buf_addf(out, "%s", none);
            else
                whole &= put_value(out, &value, none);
            whole &= !wire_bool(answer, "truncated");
        }
    return whole;
}

static void put_supervisors(struct overview *o, struct buf *out)
{
    const struct supervisor *s;
    buf_addf(out, ",\"supervisors\":[");
    LIST_FOREACH(s, &o->supervisors, link) {
        size_t most = s->answer.len * 6; /* an escape is six for one */
        if (!s->answer.len || out->len + most > RECORD_MAX)
            continue;
        if (out->data[out->len - 1] != '[')
            buf_add_byte(out, ',');
        json_put_copy(out, (const char *) s->answer.data, s->answer.len, most);
    }
    buf_add_byte(out, ']');
}

static void write_record(struct overview *o)
{
    struct buf *out = &o->record;
    struct mp info = overview_part(o->in, PART_INFO);
    uint64_t now_us = 0;
    wire_uint(info, "now_us", &now_us);
    buf_clear(out);
    buf_addf(out, "event: state\ndata: {\"now_us\":%llu,\"broker\":", (unsigned long long) now_us);
    put_info(out, info);
    if (!put_lists(o, out))
        buf_addf(out, ",\"truncated\":true");
    put_supervisors(o, out);
    buf_addf(out, "}\n\n");
}

/* ---- a round ---- */

static void wake_all(struct overview *o)
{
    struct overview_wait *w;
    while ((w = LIST_FIRST(&o->waits)) != NULL) {
        overview_forget(w);
        w->fn(w->arg);
    }
}

static void ask(struct overview *o);

static void answered(struct overview *o)
{
    if (--o->open)
        return;
    for (struct supervisor *s = LIST_FIRST(&o->supervisors), *next; s; s = next) {
        next = LIST_NEXT(s, link);
        if (!s->there)
            supervisor_free(s);
    }
    if (!o->in->connected)
        return;
    if (o->cut) {
        ask(o);
        return;
    }
    if (feeds_watching(o->in)) {
        write_record(o);
        feeds_tell_state(o->in, ls_bytes(o->record.data, o->record.len));
    }
    wake_all(o);
}

static void on_status(void *arg, const struct ls_part *part)
{
    struct supervisor *s = arg;
    bool end = part->last || part->err;
    if (!part->err && s->coming.len + part->body.len <= SUPERVISOR_BYTES)
        buf_add(&s->coming, part->body.data, part->body.len);
    if (!end)
        return;
    struct ls_slice answer = ls_bytes(s->coming.data, s->coming.len);
    buf_clear(&s->answer);
    if (!part->err && answer.len && answer.data[0] == '{' && json_body_kind(answer) == LS_BODY_JSON)
        buf_add(&s->answer, answer.data, answer.len);
    answered(s->overview);
}

static void ask_supervisor(struct overview *o, struct ls_slice topic)
{
    struct ls_error err;
    struct supervisor *s;
    LIST_FOREACH(s, &o->supervisors, link)
        if (ls_slice_is(topic, s->topic))
            break;
    if (!s && o->supervisor_count == SUPERVISORS_MAX)
        return;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        s->overview = o;
        s->topic = xstrndup(topic.data, topic.len);
        LIST_INSERT_HEAD(&o->supervisors, s, link);
        o->supervisor_count++;
    }
    s->there = true;
    buf_clear(&s->coming);
    if (ls_request(node_client(o->in->node), &(struct ls_event){.topic = topic},
                   &(struct ls_request_options){.timeout_ms = SUPERVISOR_MS}, on_status, s, &err))
        o->open++;
    else
        logger_put(LEVEL_WARN, "overview", err.text, "topic=%s", s->topic);
}

static void ask_supervisors(struct overview *o)
{
    struct mp_maps services = mp_maps(overview_part(o->in, PART_SERVICES), "services");
    struct ls_slice topic;
    for (struct mp service; mp_maps_next(&services, &service);)
        if (wire_str(service, "topic", &topic) && overview_is_supervisor(topic) && !memchr(topic.data, '*', topic.len) &&
            !memchr(topic.data, '>', topic.len))
            ask_supervisor(o, topic);
}

static void on_answer(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct question *q = arg;
    struct overview *o = q->overview;
    buf_clear(&q->answer);
    if (!err)
        buf_add(&q->answer, reply.data, reply.len);
    if (q == &o->questions[PART_SERVICES])
        ask_supervisors(o);
    answered(o);
}

static void ask(struct overview *o)
{
    struct ls_error err;
    struct supervisor *s;
    if (o->open || !o->in->connected)
        return;
    o->cut = false;
    LIST_FOREACH(s, &o->supervisors, link)
        s->there = false;
    for (size_t i = 0; i < OVERVIEW_PARTS; i++) {
        struct buf request = {0};
        buf_pack_map(&request, i == PART_TOPICS ? 2 : 1);
        buf_pair_str(&request, "op", QUESTIONS[i].op);
        if (i == PART_TOPICS)
            buf_pair_uint(&request, "n", TOPICS_TOLD);
        if (ls_adm(node_client(o->in->node), ls_bytes(request.data, request.len), on_answer, &o->questions[i], &err) == 0)
            o->open++;
        else
            logger_put(LEVEL_WARN, "overview", err.text, "op=%s", QUESTIONS[i].op);
        buf_fini(&request);
    }
}

bool overview_wait(struct ingress *in, struct overview_wait *wait)
{
    if (!in->connected)
        return false;
    ask(in->overview);
    LIST_INSERT_HEAD(&in->overview->waits, wait, link);
    return true;
}

void overview_forget(struct overview_wait *wait)
{
    LIST_REMOVE(wait, link);
}

/* ---- once a second ---- */

static void on_timer(void *arg, struct timer *timer)
{
    struct ingress *in = arg;
    if (!feeds_watching(in)) {
        buf_fini(&in->overview->record);
        return;
    }
    ask(in->overview);
    node_timer_set(in->node, timer, EVERY_MS);
}

struct ls_slice overview_watch(struct ingress *in)
{
    struct overview *o = in->overview;
    if (!o->timer.place) {
        ask(o);
        node_timer_set(in->node, &o->timer, EVERY_MS);
    }
    return ls_bytes(o->record.data, o->record.len);
}

/* ---- its life ---- */

void overview_open(struct ingress *in)
{
    struct overview *o = in->overview = xcalloc(1, sizeof *o);
    o->in = in;
    o->timer.fire = on_timer;
    for (size_t i = 0; i < OVERVIEW_PARTS; i++)
        o->questions[i].overview = o;
}

/* What a round that was cut off still waits for, the client asks the broker again by itself. */
void overview_connected(struct ingress *in)
{
    if (feeds_watching(in))
        ask(in->overview);
}

/* What was true of the bus that went away is not shown as if it still were. */
void overview_lost(struct ingress *in)
{
    struct overview *o = in->overview;
    if (!o)
        return;
    o->cut = o->open > 0;
    buf_clear(&o->record);
    for (size_t i = 0; i < OVERVIEW_PARTS; i++)
        buf_clear(&o->questions[i].answer);
    struct supervisor *s;
    LIST_FOREACH(s, &o->supervisors, link)
        buf_clear(&s->answer);
    feeds_tell_away(in);
    wake_all(o);
}

void overview_close(struct ingress *in)
{
    struct overview *o = in->overview;
    if (!o)
        return;
    node_timer_unset(in->node, &o->timer);
    while (!LIST_EMPTY(&o->supervisors))
        supervisor_free(LIST_FIRST(&o->supervisors));
    for (size_t i = 0; i < OVERVIEW_PARTS; i++)
        buf_fini(&o->questions[i].answer);
    buf_fini(&o->record);
    free(o);
    in->overview = NULL;
}
