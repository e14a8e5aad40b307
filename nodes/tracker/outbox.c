/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: facts of a request become a row, the row is published, and removed when all of its facts have come
 * round. */
#include "nodes/tracker/outbox.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/topic.h"
#include "lib/xmem.h"
#include "nodes/tracker/body.h"
#include "nodes/tracker/fact.h"
#include "nodes/tracker/outbox_inside.h"

#define EVENT_ID_SIZE 96
#define SUBJECT_MAX 256 /* bytes, of the protocol; names of models have up to 1024 */

static const char ROW_PUT[] = "INSERT INTO lineshaft_outbox (id, created, facts) VALUES ($1, $2, $3)";
static const char ROW_DELETE[] = "DELETE FROM lineshaft_outbox WHERE id = $1";
static const char ROWS[] = "SELECT id, created, facts FROM lineshaft_outbox ORDER BY id";
static const char UUID_OF[] = "SELECT value FROM lineshaft_tracker WHERE key = 'database'";
static const char UUID_PUT[] =
    "INSERT INTO lineshaft_tracker (key, value) VALUES ('database', $1) ON CONFLICT (key) DO NOTHING";

/* ---- rows in memory ---- */

static struct row *row_find(const struct outbox *o, int64_t id)
{
    return map_get(&o->by_id, (uint64_t) id);
}

/* Takes `facts` over. */
static struct row *row_new(struct outbox *o, int64_t id, int64_t time_ms, json_t *facts)
{
    size_t count = json_array_size(facts);
    struct row *row = xcalloc(1, sizeof *row + count * sizeof *row->facts_of);
    *row = (struct row){.outbox = o, .id = id, .time_ms = time_ms, .facts = facts, .count = count, .left = count};
    for (size_t i = 0; i < count; i++) {
        const json_t *fact = json_array_get(facts, i);
        struct own *own = &row->facts_of[i];
        own->row = row;
        own->topic = json_string_value(json_object_get(fact, "topic"));
        own->body = json_object_get(fact, "body");
        own->touch = touch_of(own->topic, own->body);
    }
    return row;
}

static void row_add(struct outbox *o, struct row *row)
{
    TAILQ_INSERT_TAIL(&o->rows, row, link);
    map_put(&o->by_id, (uint64_t) row->id, row);
    o->waiting += row->left;
    o->unsent = true;
}

static void row_free(struct row *row)
{
    json_decref(row->facts);
    free(row);
}

static void row_remove(struct outbox *o, struct row *row)
{
    TAILQ_REMOVE(&o->rows, row, link);
    map_remove(&o->by_id, (uint64_t) row->id);
    o->waiting -= row->left;
    o->finished -= row->left == 0;
    row->gone = true;
    if (!row->in_flight)
        row_free(row);
}

static void own_done(struct outbox *o, struct own *own)
{
    if (own->done || own->row->gone)
        return;
    own->done = true;
    o->waiting--;
    o->finished += --own->row->left == 0;
}

/* ---- publishing ---- */

static bool is_taken(const struct outbox *o, const char *topic)
{
    size_t i;
    const json_t *pattern;
    json_array_foreach(o->takes, i, pattern)
    {
        const char *text = json_string_value(pattern);
        if (text && topic_match(text, strlen(text), topic, strlen(topic)))
            return true;
    }
    return !o->takes;
}

static void refused(struct outbox *o, struct own *own, const struct ls_error *err)
{
    ++*node_metric(o->t->node, METRIC_REFUSED);
    logger_put(LEVEL_ERROR, "fact-refused", err->text, "topic=%s name=%s row=%lld", own->topic, err->name,
               (long long) own->row->id);
    own_done(o, own);
}

static void on_published(void *arg, const struct ls_published *result)
{
    struct own *own = arg;
    struct row *row = own->row;
    struct outbox *o = row->outbox;
    row->in_flight--;
    if (row->gone) {
        if (!row->in_flight)
            row_free(row);
        return;
    }
    if (result->err) {
        refused(o, own, result->err);
        return;
    }
    own->acked_at = o->order;
    if (ls_slice_is(result->level, "none") || !is_taken(o, own->topic))
        own_done(o, own); /* it is out, and will not come round */
}

/* 0: sent, or refused; 1: there is no room now. */
static int publish(struct outbox *o, struct own *own)
{
    const struct row *row = own->row;
    size_t i = (size_t) (own - row->facts_of);
    const json_t *fact = json_array_get(row->facts, i);
    const char *subject = json_string_value(json_object_get(fact, "subject"));
    char id[EVENT_ID_SIZE], time[CLOCK_TEXT_SIZE];
    struct buf body = {0};
    struct ls_error err = {0};
    snprintf(id, sizeof id, "%s:%lld:%zu", o->uuid, (long long) row->id, i);
    clock_format(row->time_ms * 1000, time);
    body_write(&body, own->topic, own->body);
    const struct ls_event event = {.topic = ls_str(own->topic),
                                   .id = ls_str(id),
                                   .time = ls_str(time),
                                   .subject = ls_str(subject && strlen(subject) <= SUBJECT_MAX ? subject : ""),
                                   .traceparent = ls_str(json_string_value(json_object_get(fact, "traceparent"))),
                                   .causationid = ls_str(json_string_value(json_object_get(fact, "causationid"))),
                                   .body = ls_bytes(body.data, body.len)};
    own->row->in_flight++;
    int rc = ls_publish(node_client(o->t->node), &event, on_published, own, &err);
    buf_fini(&body);
    if (!rc) {
        own->order = ++o->order;
        return 0;
    }
    own->row->in_flight--;
    if (strcmp(err.name, "BUSY") == 0)
        return 1;
    refused(o, own, &err);
    return 0;
}

static void publish_all(struct outbox *o)
{
    struct row *row;
    if (!o->unsent)
        return;
    TAILQ_FOREACH(row, &o->rows, link)
    OWNS_FOREACH(own, row)
    if (!own->order && !own->done && publish(o, own))
        return;
    o->unsent = false;
}

/* ---- the change that a request makes ---- */

void outbox_begin(struct outbox *o, const struct ls_event *request)
{
    outbox_abort(o);
    o->open = true;
    o->request = request;
    o->time_ms = clock_wall_us() / 1000;
    o->facts = json_array();
}

void outbox_abort(struct outbox *o)
{
    if (!o->open)
        return;
    json_decref(o->facts);
    o->facts = NULL;
    if (o->made)
        row_free(o->made);
    o->made = NULL;
    o->open = false;
    metrics_drop(o->t->metrics);
    known_forget(o->t->known);
}

/* The entity that the event is about. */
static const json_t *subject_of(const json_t *body)
{
    static const char *const KEYS[] = {"run_id", "model_id", "name", "experiment_id"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        if (json_is_string(json_object_get(body, KEYS[i])))
            return json_object_get(body, KEYS[i]);
    return NULL;
}

/* A row must be JSON that can be read again: a text with a NUL would not be. */
static void add_text(json_t *fact, const char *key, struct ls_slice text)
{
    if (text.len && !memchr(text.data, 0, text.len))
        json_object_set_new(fact, key, json_stringn(text.data, text.len));
}

static int tell(struct tracker *t, const char *topic, json_t *body, struct ls_error *err)
{
    struct outbox *o = t->outbox;
    assert(o->open);
    if (strcmp(topic, "run.param") == 0)
        json_object_set_new(body, "replace", json_true()); /* its caller is told that it stands */
    if (fact_apply(t, topic, body, o->time_ms, err) < 0)
        return -1;
    const json_t *subject = subject_of(body);
    const char *text = subject ? json_string_value(subject) : "";
    if (strncmp(topic, "experiment.", 11) == 0)
        text = json_string_value(json_object_get(body, "experiment_id"));
    json_t *fact = json_pack("{s:s,s:s*,s:O}", "topic", topic, "subject", text, "body", body);
    add_text(fact, "traceparent", o->request->traceparent);
    add_text(fact, "causationid", o->request->id);
    return json_array_append_new(o->facts, fact);
}

int tracker_tell(struct tracker *t, const char *topic, json_t *body, struct ls_error *err)
{
    json_auto_t *owned = body;
    return !owned || tell(t, topic, owned, err) || metrics_flush(t, err) ? -1 : 0;
}

int tracker_tell_all(struct tracker *t, const char *topic, json_t *bodies, struct ls_error *err)
{
    json_auto_t *owned = bodies;
    size_t i;
    json_t *body;
    if (!owned)
        return -1;
    json_array_foreach(owned, i, body) if (tell(t, topic, body, err)) return -1;
    return metrics_flush(t, err);
}

/* What the broker would refuse must not be committed. */
static int check_sizes(const struct outbox *o, size_t row_bytes, struct ls_error *err)
{
    const struct ls_server *server = ls_client_server(node_client(o->t->node));
    size_t i, most = server ? (size_t) server->body_max : 0;
    const json_t *fact;
    if (!most || row_bytes <= most)
        return 0;
    json_array_foreach(o->facts, i, fact)
    {
        struct buf body = {0};
        body_write(&body, json_string_value(json_object_get(fact, "topic")), json_object_get(fact, "body"));
        size_t len = body.len;
        buf_fini(&body);
        if (len > most)
            return error_set(err, "BAD_VALUE", "the change is larger than the %zu bytes that an event may have", most);
    }
    return 0;
}

int outbox_commit(struct outbox *o, struct ls_error *err)
{
    struct buf text = {0};
    int64_t now_us = clock_wall_us();
    if (!json_array_size(o->facts))
        return 0;
    node_write(&text, o->facts);
    o->last_id = now_us > o->last_id
                     ? now_us
                     : o->last_id + 1; /* never a number twice, were the database set back to an older copy */
    int rc = check_sizes(o, text.len, err);
    if (!rc)
        rc = db_queue(o->t->db, ROW_PUT,
                      DB_VALUES(db_int(o->last_id), db_int(o->time_ms), db_slice(ls_bytes(text.data, text.len))), err);
    buf_fini(&text);
    if (rc)
        return -1;
    o->made = row_new(o, o->last_id, o->time_ms, o->facts);
    o->facts = NULL;
    return 0;
}

void outbox_publish(struct outbox *o)
{
    if (o->made)
        row_add(o, o->made);
    o->made = NULL;
    json_decref(o->facts);
    o->facts = NULL;
    o->open = false;
    publish_all(o);
}

/* ---- in turns of the loop ---- */

static int remove_finished(struct outbox *o, struct ls_error *err)
{
    struct row *row, *next;
    if (db_begin(o->t->db, err))
        return -1;
    TAILQ_FOREACH(row, &o->rows, link)
    if (!row->left && db_queue(o->t->db, ROW_DELETE, DB_VALUES(db_int(row->id)), err))
        return -1;
    if (db_commit(o->t->db, err))
        return -1;
    for (row = TAILQ_FIRST(&o->rows); row; row = next) {
        next = TAILQ_NEXT(row, link);
        if (!row->left)
            row_remove(o, row);
    }
    return 0;
}

size_t outbox_waiting(const struct outbox *o)
{
    return o->waiting;
}

int outbox_turn(struct outbox *o, struct ls_error *err)
{
    publish_all(o);
    *node_metric(o->t->node, METRIC_OUTBOX) = (int64_t) o->waiting;
    if (!o->finished || !o->t->db || !remove_finished(o, err))
        return 0;
    db_rollback(o->t->db);
    return -1;
}

/* ---- the end of a batch ---- */

int outbox_settle(struct outbox *o, bool careful, struct ls_error *err)
{
    struct row *row;
    if (outbox_redo(o, careful, err))
        return -1;
    TAILQ_FOREACH(row, &o->rows, link)
    {
        size_t left = row->left;
        OWNS_FOREACH(own, row)
        left -= own->coming && !own->done;
        row->removing = left == 0;
        if (row->removing && db_queue(o->t->db, ROW_DELETE, DB_VALUES(db_int(row->id)), err))
            return -1;
        if (left == row->count)
            break; /* what comes round comes in order, but for few */
    }
    return 0;
}

void outbox_settled(struct outbox *o)
{
    struct row *row, *next;
    for (row = TAILQ_FIRST(&o->rows); row; row = next) {
        next = TAILQ_NEXT(row, link);
        OWNS_FOREACH(own, row)
        {
            if (own->coming)
                own_done(o, own);
            own->coming = own->redo = false;
        }
        if (row->removing)
            row_remove(o, row);
    }
    o->batch_redo = false;
}

void outbox_undo(struct outbox *o)
{
    struct row *row;
    TAILQ_FOREACH(row, &o->rows, link)
    {
        row->removing = false;
        row->first = 0;
        OWNS_FOREACH(own, row)
        own->coming = own->redo = false;
    }
    o->batch_redo = false;
}

struct own *outbox_find(const struct outbox *o, struct ls_slice id)
{
    size_t len = strlen(o->uuid);
    char text[EVENT_ID_SIZE], *end;
    if (id.len <= len + 1 || id.len >= sizeof text || memcmp(id.data, o->uuid, len) != 0 || id.data[len] != ':')
        return NULL;
    snprintf(text, sizeof text, "%.*s", (int) id.len, id.data);
    const struct row *row = row_find(o, strtoll(text + len + 1, &end, 10));
    size_t i = *end == ':' ? strtoul(end + 1, NULL, 10) : SIZE_MAX;
    struct own *own = row && i < row->count ? (struct own *) (uintptr_t) &row->facts_of[i] : NULL;
    return own && !own->done ? own : NULL;
}

/* ---- what the database holds ---- */

struct load {
    struct outbox *o;
    bool broken;
};

static void take_row(void *arg, const struct db_row *row)
{
    struct load *load = arg;
    struct ls_slice text = db_get_text(row, 2);
    int64_t id = db_get_int(row, 0);
    struct row *known = row_find(load->o, id);
    if (!known) {
        json_t *facts = json_loadb(text.len ? text.data : "", text.len, 0, NULL);
        if (!json_is_array(facts)) {
            json_decref(facts);
            load->broken = true;
            return;
        }
        known = row_new(load->o, id, db_get_int(row, 1), facts);
        OWNS_FOREACH(own, known)
        own->disturbed = !own->touch.commutes; /* what came between is not known any more */
        row_add(load->o, known);
    }
    known->seen = true;
    load->o->last_id = id > load->o->last_id ? id : load->o->last_id;
}

static void take_uuid(void *arg, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 0);
    snprintf(arg, LS_ID_SIZE, "%.*s", (int) text.len, text.data);
}

static int load_uuid(struct outbox *o, struct ls_error *err)
{
    char uuid[LS_ID_SIZE];
    ls_id(uuid);
    if (db_run(o->t->db, UUID_PUT, DB_VALUES(db_text(uuid)), NULL, NULL, err) < 0)
        return -1;
    return db_run(o->t->db, UUID_OF, NULL, 0, take_uuid, o->uuid, err) == 1 ? 0 : -1;
}

int outbox_read(struct outbox *o, struct ls_error *err)
{
    struct load load = {.o = o};
    struct row *row, *next;
    outbox_undo(o);
    TAILQ_FOREACH(row, &o->rows, link)
    row->seen = false;
    if (load_uuid(o, err) || db_run(o->t->db, ROWS, NULL, 0, take_row, &load, err) < 0)
        return -1;
    if (load.broken)
        logger_put(LEVEL_ERROR, "outbox-broken",
                   "a row of lineshaft_outbox is no JSON array: its facts are in the tables, but were not published",
                   "%s", "");
    for (row = TAILQ_FIRST(&o->rows); row; row = next) {
        next = TAILQ_NEXT(row, link);
        if (!row->seen)
            row_remove(o, row);
    }
    publish_all(o);
    return 0;
}

/* ---- life ---- */

struct outbox *outbox_new(struct tracker *t)
{
    struct outbox *o = xcalloc(1, sizeof *o);
    const char *options = getenv("LINESHAFT_OPTIONS"); /* docs/nodes/exec.md */
    json_auto_t *all = options ? json_loads(options, 0, NULL) : NULL;
    o->t = t;
    o->takes = json_incref(json_object_get(all, "takes"));
    TAILQ_INIT(&o->rows);
    return o;
}

void outbox_free(struct outbox **outbox)
{
    struct outbox *o = *outbox;
    struct row *row;
    if (!o)
        return;
    outbox_abort(o);
    while ((row = TAILQ_FIRST(&o->rows))) {
        row->in_flight = 0; /* no outcome comes any more */
        row_remove(o, row);
    }
    map_fini(&o->by_id);
    json_decref(o->takes);
    free(o);
    *outbox = NULL;
}
