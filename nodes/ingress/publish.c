/* SPDX-License-Identifier: Apache-2.0 */
/* POST /api/events: events in JSON onto the bus, answered when all of them are as durable as their streams promise. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/xmem.h"
#include "nodes/ingress/ingress.h"

#define EVENTS_MAX 1000
#define WAIT_MS 10000 /* then the client is told that the events are not stored yet */

struct result {
    struct publication *publication;
    char id[257], level[12];
    bool dup;
};

struct publication {
    TAILQ_ENTRY(publication) link;
    struct ingress *in;
    struct visit *v;    /* NULL: the client is gone, the events are not */
    json_t *events;
    const char *principal;
    char trace[TRACEPARENT_SIZE]; /* "": none */
    int64_t begun_ms;
    size_t count, next, open;     /* next: the first that was not given to the bus yet */
    bool array, failed;
    size_t failed_at;
    struct ls_error err; /* the first failure */
    struct result results[];
};

static void answer(struct publication *p)
{
    struct buf *out = &p->v->ingress->scratch;
    buf_clear(out);
    buf_addf(out, "%s", p->array ? "[" : "");
    for (size_t i = 0; i < p->count; i++) {
        buf_addf(out, "%s{", i ? "," : "");
        json_put_pair(out, "id", ls_str(p->results[i].id));
        json_put_pair(out, "level", ls_str(p->results[i].level));
        buf_addf(out, "%s}", p->results[i].dup ? ",\"dup\":true" : "");
    }
    buf_addf(out, "%s", p->array ? "]" : "");
    answer_json(p->v, 200, out);
}

static void answer_failure(struct publication *p)
{
    char param[32] = "data";
    if (p->array)
        snprintf(param, sizeof param, "[%zu].data", p->failed_at);
    if (bus_error_status(&p->err) == 422)
        answer_problem(p->v, &(struct problem){.status = 422, .param = param, .code = "schema"}, "%s", p->err.text);
    else if (p->array)
        answer_problem(p->v, &(struct problem){.status = bus_error_status(&p->err), .retry_ms = p->err.retry_ms},
                       "event %zu of %zu: %s; others may be stored: send them again with ids of yours", p->failed_at, p->count,
                       p->err.text);
    else
        answer_bus_error(p->v, &p->err);
}

static void on_gone(void *work)
{
    struct publication *p = work;
    p->v = NULL; /* the last result frees it */
}

static void publication_free(struct publication *p)
{
    TAILQ_REMOVE(&p->in->publications, p, link);
    json_decref(p->events);
    free(p);
}

static void finish(struct publication *p)
{
    if (p->open || p->next < p->count)
        return;
    if (p->v) {
        p->v->work = NULL;
        if (p->failed)
            answer_failure(p);
        else
            answer(p);
    }
    publication_free(p);
}

static void on_published(void *arg, const struct ls_published *published)
{
    struct result *r = arg;
    struct publication *p = r->publication;
    snprintf(r->id, sizeof r->id, "%.*s", (int) published->id.len, published->id.data);
    snprintf(r->level, sizeof r->level, "%.*s", (int) published->level.len, published->level.data);
    r->dup = published->dup;
    if (published->err && !p->failed) {
        p->failed = true;
        p->failed_at = (size_t) (r - p->results);
        p->err = *published->err;
    }
    p->open--;
    finish(p);
}

/* ---- one event from its JSON object ---- */

struct composed {
    struct ls_event event;
    struct buf body, more, pairs;
    uint32_t pair_count;
};

static bool set_member(struct ls_event *event, const char *key, struct ls_slice value)
{
    static const struct {
        const char *name;
        size_t offset;
    } MEMBERS[] = {
#define MEMBER(name) {#name, offsetof(struct ls_event, name)}
        MEMBER(topic), MEMBER(id), MEMBER(source), MEMBER(time), MEMBER(subject), MEMBER(datacontenttype), MEMBER(dataschema),
        MEMBER(dataref), MEMBER(traceparent), MEMBER(tracestate), MEMBER(correlationid), MEMBER(causationid), MEMBER(partitionkey),
        MEMBER(expirytime),
#undef MEMBER
    };
    for (size_t i = 0; i < sizeof MEMBERS / sizeof MEMBERS[0]; i++)
        if (strcmp(MEMBERS[i].name, key) == 0) {
            *(struct ls_slice *) (void *) ((char *) event + MEMBERS[i].offset) = value;
            return true;
        }
    return false;
}

/* The values are texts: check_all has seen to it. */
static void compose(struct composed *c, json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        struct ls_slice text = ls_bytes(json_string_value(value), json_string_length(value));
        if (strcmp(key, "data") == 0) {
            pack_data(&c->body, value);
            continue;
        }
        if (!set_member(&c->event, key, text)) {
            buf_pack_str(&c->pairs, key);
            buf_pack_strn(&c->pairs, text.data, text.len);
            c->pair_count++;
        }
    }
    if (c->pair_count) {
        buf_pack_map(&c->more, c->pair_count);
        buf_add(&c->more, c->pairs.data, c->pairs.len);
    }
    c->event.more = ls_bytes(c->more.data, c->more.len);
    c->event.body = ls_bytes(c->body.data, c->body.len);
}

static void refuse(struct visit *v, const char *param, const char *text)
{
    answer_problem(v, &(struct problem){.status = 422, .code = "value_error", .param = param}, "%s", text);
}

/* Keys of the PUB verb itself (docs/protocol.md, "Publishing"): as attributes they would say something to the broker. */
static bool is_verb_key(const char *key)
{
    return strcmp(key, "n") == 0 || strcmp(key, "batch") == 0 || strcmp(key, "tag") == 0;
}

/* Everything is looked at before anything is published. */
static bool check_all(struct visit *v, json_t *events, bool array)
{
    json_t *object;
    size_t i;
    json_array_foreach(events, i, object) {
        const char *key;
        json_t *value;
        char place[24] = "", param[300];
        if (array)
            snprintf(place, sizeof place, "[%zu].", i);
        snprintf(param, sizeof param, "%stopic", place);
        if (!json_is_object(object) || !json_is_string(json_object_get(object, "topic"))) {
            refuse(v, param, "an event is an object with a topic: {\"topic\": \"run.metric\", \"data\": {...}}");
            return false;
        }
        json_object_foreach(object, key, value) {
            snprintf(param, sizeof param, "%s%.200s", place, key);
            if (strcmp(key, "data") != 0 && !json_is_string(value)) {
                refuse(v, param, "an attribute is a text; what the event is about goes into data");
                return false;
            }
            if (is_verb_key(key)) {
                refuse(v, param, "n, batch and tag are words of the protocol: choose another name");
                return false;
            }
        }
    }
    return true;
}

/* False: too many events wait for their acknowledgement; it is tried again. */
static bool publish_one(struct publication *p, size_t i)
{
    struct composed c = {0};
    struct ls_error err;
    struct result *r = &p->results[i];
    r->publication = p;
    compose(&c, json_array_get(p->events, i));
    if (*p->principal)
        c.event.source = ls_str(p->principal); /* nobody speaks in another's name */
    if (!c.event.traceparent.len)
        c.event.traceparent = ls_str(p->trace);
    bool given = ls_publish(node_client(p->in->node), &c.event, on_published, r, &err) == 0;
    bool busy = !given && strcmp(err.name, "BUSY") == 0;
    p->open += given;
    if (!given && !busy && !p->failed) {
        p->failed = true;
        p->failed_at = i;
        p->err = err;
    }
    buf_fini(&c.body);
    buf_fini(&c.more);
    buf_fini(&c.pairs);
    return !busy;
}

static bool publish_rest(struct publication *p)
{
    while (p->next < p->count) {
        if (!publish_one(p, p->next))
            return false;
        p->next++;
    }
    return true;
}

/* The bus goes on trying; the client has waited long enough, and may ask again with the same ids. */
static void give_up(struct publication *p)
{
    p->v->work = NULL;
    answer_problem(p->v, &(struct problem){.status = 503, .code = "not_stored_yet", .retry_ms = 5000},
                   "the bus has not acknowledged it within %d s (a full disk?); it may still be stored: send it again with the "
                   "same id", WAIT_MS / 1000);
    p->v = NULL;
}

void publications_tick(struct ingress *in)
{
    int64_t now = clock_mono_ms();
    for (struct publication *p = TAILQ_FIRST(&in->publications), *next; p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->v && now - p->begun_ms > WAIT_MS)
            give_up(p);
        if (p->next == p->count)
            continue; /* it waits for answers */
        if (!publish_rest(p))
            return;
        finish(p);
    }
}

void publications_close(struct ingress *in)
{
    while (!TAILQ_EMPTY(&in->publications))
        publication_free(TAILQ_FIRST(&in->publications));
}

static void begin(struct visit *v, json_t *events, bool array)
{
    size_t count = json_array_size(events);
    struct publication *p = xcalloc(1, sizeof *p + count * sizeof *p->results);
    const char *trace = trace_given(http_header(v->x, "traceparent"));
    p->in = v->ingress;
    p->v = v;
    p->events = events;
    p->principal = v->principal;
    snprintf(p->trace, sizeof p->trace, "%s", trace ? trace : "");
    p->count = count;
    p->array = array;
    p->begun_ms = clock_mono_ms();
    v->work = p;
    v->gone = on_gone;
    TAILQ_INSERT_TAIL(&p->in->publications, p, link);
    if (publish_rest(p))
        finish(p);
}

void handle_publish(struct visit *v)
{
    json_t *body = body_json(v);
    if (!body)
        return;
    bool array = json_is_array(body);
    json_t *events = array ? body : json_pack("[o]", body);
    size_t count = json_array_size(events);
    if (count == 0 || count > EVENTS_MAX) {
        refuse(v, NULL, "an array of events has 1 to 1000 of them");
    } else if (!v->ingress->connected) {
        answer_no_bus(v);
    } else if (check_all(v, events, array)) {
        begin(v, json_incref(events), array);
    }
    json_decref(events);
}
