/* SPDX-License-Identifier: Apache-2.0 */
/* Runs by events: which triggers an event fires, the one run for each key, and from where on events are still to
 * be seen. What an event starts, its key, and the place behind it in its stream are written in one transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

/* ---- keys ---- */

static bool was_seen(const struct engine *e, const char *flow_id, const char *key)
{
    for (size_t i = 0; i < e->seen_count; i++)
        if (strcmp(e->seen[i].flow_id, flow_id) == 0 && strcmp(e->seen[i].key, key) == 0)
            return true;
    return false;
}

static void mark_seen(struct engine *e, const char *flow_id, const char *key, bool for_ever)
{
    e->seen = xgrow(e->seen, &e->seen_room, e->seen_count + 1, sizeof *e->seen);
    e->seen[e->seen_count++] = (struct seen){.flow_id = xstrdup(flow_id), .key = xstrdup(key), .for_ever = for_ever};
    e->changed = true;
}

int seen_write(struct engine *e, struct ls_error *err)
{
    static const char SQL[] =
        "INSERT INTO lineshaft_trigger_seen (workflow, event_key, for_ever, seen_ms) VALUES ($1, $2, $3, $4)";
    for (size_t i = 0; i < e->seen_count; i++)
        if (db_queue(e->db, SQL,
                     DB_VALUES(db_text(e->seen[i].flow_id), db_text(e->seen[i].key), db_bool(e->seen[i].for_ever),
                               db_int(now_wall(e))),
                     err))
            return -1;
    return 0;
}

/* The key of an event for a trigger; `id` gets the run's, the same for the same key. */
static char *key_of(const struct trigger *trigger, const json_t *scope, char id[40], struct ls_error *err)
{
    const json_t *event = json_object_get(scope, "event");
    struct buf key = {0};
    if (trigger->key) {
        buf_addf(&key, "key ");
        if (template_fill(trigger->key, scope, &key, err)) {
            buf_fini(&key);
            return NULL;
        }
    } else {
        buf_addf(&key, "event %s %s", json_string_value(json_object_get(event, "source")),
                 json_string_value(json_object_get(event, "id")));
    }
    char *text = xstrdup(buf_text(&key));
    snprintf(id, 40, "event__%016llx", (unsigned long long) XXH3_64bits(text, strlen(text)));
    buf_fini(&key);
    return text;
}

/* ---- firing ---- */

static bool wanted(const struct trigger *trigger, const json_t *scope, struct ls_error *err)
{
    json_auto_t *value = trigger->filter ? expr_eval(trigger->filter, scope, err) : json_true();
    return value && expr_truth(value);
}

static void start_run(struct flow *flow, const struct trigger *trigger, const json_t *scope,
                      const struct ls_event *event, struct ls_error *err)
{
    struct engine *e = flow->engine;
    const json_t *seen = json_object_get(scope, "event");
    char id[40];
    char *key = key_of(trigger, scope, id, err);
    if (!key || was_seen(e, flow->id, key) || store_was_seen(e, flow->id, key)) {
        free(key);
        return;
    }
    char *traceparent = event->traceparent.len ? xstrndup(event->traceparent.data, event->traceparent.len) : NULL;
    struct run_spec spec = {.id = id,
                            .trigger = "event",
                            .logical_ms = NO_TIME,
                            .traceparent = traceparent,
                            .event_id = json_string_value(json_object_get(seen, "id")),
                            .event_topic = json_string_value(json_object_get(seen, "topic")),
                            .correlationid = json_string_value(json_object_get(seen, "correlationid"))};
    bool existing = false, dropped = false;
    spec.inputs = trigger->inputs ? template_value(trigger->inputs, scope, err) : NULL;
    if (spec.inputs || !trigger->inputs)
        run_create(flow, &spec, &existing, &dropped, err);
    if (dropped)
        err->name[0] = 0; /* as the workflow says */
    mark_seen(e, flow->id, key, trigger->key != NULL);
    free(traceparent);
    free(key);
}

static void fire(struct flow *flow, const struct trigger *trigger, const json_t *scope, const struct ls_event *event)
{
    struct ls_error err = {0};
    if (wanted(trigger, scope, &err))
        start_run(flow, trigger, scope, event, &err);
    if (err.name[0] && !flow->engine->broken.name[0])
        logger_put(LEVEL_WARN, "trigger", err.text, "workflow=%s event=%s topic=%.*s", flow->id,
                   json_string_value(json_object_get(json_object_get(scope, "event"), "id")), (int) event->topic.len,
                   event->topic.data);
}

/* {event: {topic, id, source, subject, time, data}}; NULL: its attributes are no texts. */
static json_t *scope_of(const struct ls_event *event)
{
    struct buf text = {0};
    json_put_event(&text, event);
    json_t *seen = json_loadb(buf_text(&text), text.len, 0, NULL);
    buf_fini(&text);
    return seen ? json_pack("{s:o}", "event", seen) : NULL;
}

void engine_event(struct engine *e, const char *pattern, const struct ls_event *event)
{
    struct flow *flow;
    json_t *scope = NULL;
    LIST_FOREACH(flow, &e->flows, link)
    {
        const struct workflow *w = flow->definition ? flow->definition->workflow : NULL;
        for (size_t i = 0; w && i < w->trigger_count; i++) {
            if (strcmp(w->triggers[i].event, pattern) != 0)
                continue;
            if (!scope)
                scope = scope_of(event);
            if (!scope)
                logger_put(LEVEL_WARN, "trigger", "the event holds text that is not UTF-8", "stream=%.*s seq=%llu",
                           (int) event->stream.len, event->stream.len ? event->stream.data : "",
                           (unsigned long long) event->seq);
            else
                fire(flow, &w->triggers[i], scope, event);
        }
    }
    json_decref(scope);
    if (event->seq)
        position_set(e, pattern, event->stream, event->seq + 1, event->ts_us);
}

/* ---- positions ---- */

static struct position *find(const struct engine *e, const char *pattern, const char *stream, size_t len)
{
    for (size_t i = 0; i < e->positions->count; i++) {
        struct position *p = &e->positions->items[i];
        if (!p->gone && strcmp(p->pattern, pattern) == 0 && strlen(p->stream) == len &&
            memcmp(p->stream, stream, len) == 0)
            return p;
    }
    return NULL;
}

const struct position *position_find(const struct engine *e, const char *pattern, const char *stream)
{
    return find(e, pattern, stream, strlen(stream));
}

bool position_known(const struct engine *e, const char *pattern)
{
    for (size_t i = 0; i < e->positions->count; i++)
        if (!e->positions->items[i].gone && strcmp(e->positions->items[i].pattern, pattern) == 0)
            return true;
    return false;
}

void position_drop(struct engine *e, const char *pattern)
{
    for (size_t i = 0; i < e->positions->count; i++)
        if (strcmp(e->positions->items[i].pattern, pattern) == 0)
            e->positions->items[i].gone = e->changed = true;
}

static struct position *add(struct engine *e, const char *pattern, const char *stream, size_t len)
{
    struct positions *ps = e->positions;
    ps->items = xgrow(ps->items, &ps->room, ps->count + 1, sizeof *ps->items);
    ps->items[ps->count] = (struct position){.pattern = xstrdup(pattern), .stream = xstrndup(stream, len)};
    return &ps->items[ps->count++];
}

void position_set(struct engine *e, const char *pattern, struct ls_slice stream, uint64_t next, int64_t seen_us)
{
    struct position *p = find(e, pattern, stream.data, stream.len);
    if (!p)
        p = add(e, pattern, stream.data, stream.len);
    if (next <= p->next)
        logger_put(LEVEL_WARN, "stream-anew", "the stream is an older copy, or began anew: new events in it trigger",
                   "stream=%s pattern=%s seq=%llu position=%llu", p->stream, pattern, (unsigned long long) next - 1,
                   (unsigned long long) p->next);
    p->next = next;
    p->seen_us = seen_us;
    p->dirty = e->changed = true;
}

static void drop_items(struct positions *ps)
{
    for (size_t i = 0; i < ps->count; i++) {
        free(ps->items[i].pattern);
        free(ps->items[i].stream);
    }
    free(ps->items);
    ps->items = NULL;
    ps->count = ps->room = 0;
}

void positions_clear(struct engine *e)
{
    drop_items(e->positions);
    set_text(&e->positions->broker, NULL);
    e->positions->broker_dirty = false;
}

void positions_void(struct engine *e, const char *broker)
{
    drop_items(e->positions);
    set_text(&e->positions->broker, broker);
    e->positions->broker_dirty = e->changed = true;
}

int positions_write(struct engine *e, struct ls_error *err)
{
    static const char SQL[] = "INSERT INTO lineshaft_trigger_position (pattern, stream, next_seq, seen_us)"
                              " VALUES ($1, $2, $3, $4) ON CONFLICT (pattern, stream) DO UPDATE"
                              " SET next_seq = excluded.next_seq, seen_us = excluded.seen_us";
    static const char GO[] = "DELETE FROM lineshaft_trigger_position WHERE pattern = $1 AND stream = $2";
    struct positions *ps = e->positions;
    if (ps->broker_dirty && (db_queue(e->db, "DELETE FROM lineshaft_trigger_position", NULL, 0, err) ||
                             db_queue(e->db, "UPDATE lineshaft_scheduler SET broker = $1 WHERE one = 1",
                                      DB_VALUES(db_text(ps->broker)), err)))
        return -1;
    ps->broker_dirty = false;
    size_t kept = 0;
    for (size_t i = 0; i < ps->count; i++) { /* those that go first: the same pattern may have come anew */
        struct position *p = &ps->items[i];
        if (p->gone && db_queue(e->db, GO, DB_VALUES(db_text(p->pattern), db_text(p->stream)), err))
            return -1;
        if (p->gone) {
            free(p->pattern);
            free(p->stream);
        } else {
            ps->items[kept++] = *p;
        }
    }
    ps->count = kept;
    for (size_t i = 0; i < ps->count; i++) {
        struct position *p = &ps->items[i];
        if (p->dirty &&
            db_queue(e->db, SQL,
                     DB_VALUES(db_text(p->pattern), db_text(p->stream), db_int((int64_t) p->next), db_int(p->seen_us)), err))
            return -1;
        p->dirty = false;
    }
    return 0;
}

static void on_position(void *arg, const struct db_row *r)
{
    struct ls_slice pattern = db_get_text(r, 0), stream = db_get_text(r, 1);
    char *text = xstrndup(pattern.data, pattern.len);
    struct position *p = add(arg, text, stream.data, stream.len);
    p->next = (uint64_t) db_get_int(r, 2);
    p->seen_us = db_get_int(r, 3);
    free(text);
}

int positions_read(struct engine *e, struct ls_error *err)
{
    return db_run(e->db, "SELECT pattern, stream, next_seq, seen_us FROM lineshaft_trigger_position", NULL, 0, on_position, e,
                  err) < 0
               ? -1
               : 0;
}
