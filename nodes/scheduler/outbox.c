/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: events of a turn are written in its transaction, published after the commit, and removed when the
 * broker has them. An event's id is the database's and a number, the same whenever it is published, so that the
 * broker knows those that it has. */
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/json.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define ROW_LETTERS_MAX 500
#define REMOVE_AFTER_MS 1000 /* rows go with the next transaction; without one, after so long */

enum letter_text { TOPIC, ID, SUBJECT, TIME, TRACEPARENT, CORRELATIONID, CAUSATIONID, TRY, BODY, LETTER_TEXTS };
static const char *const NAMES[] = {"topic",         "id",          "subject", "time", "traceparent",
                                    "correlationid", "causationid", "try",     "body"};

struct letter {
    STAILQ_ENTRY(letter) link;
    struct row *row;
    char *texts[LETTER_TEXTS]; /* NULL: absent */
};
STAILQ_HEAD(letters, letter);

struct row {
    LIST_ENTRY(row) link;
    struct engine *engine;
    int64_t number;
    size_t left; /* letters that are not acknowledged */
    bool orphan; /* the engine has forgotten it; the broker's answers are still to come */
    char *source;
};

struct outbox {
    struct letters told, unsent; /* of this turn; committed */
    LIST_HEAD(, row) rows;       /* with letters that are unsent or under way */
    int64_t *acknowledged;       /* numbers of rows to be removed */
    size_t acknowledged_count, acknowledged_room;
    int64_t acknowledged_mono; /* when the first of them was */
    struct row **fresh;        /* written in this turn */
    size_t fresh_count, fresh_room;
};

void outbox_open(struct engine *e)
{
    e->outbox = xcalloc(1, sizeof *e->outbox);
    STAILQ_INIT(&e->outbox->told);
    STAILQ_INIT(&e->outbox->unsent);
    LIST_INIT(&e->outbox->rows);
}

static void free_letter(struct letter *letter)
{
    for (size_t i = 0; i < LETTER_TEXTS; i++)
        free(letter->texts[i]);
    free(letter);
}

static void free_row(struct row *row)
{
    LIST_REMOVE(row, link);
    free(row->source);
    free(row);
}

static void drop_letters(struct letters *letters)
{
    struct letter *letter;
    while ((letter = STAILQ_FIRST(letters)) != NULL) {
        STAILQ_REMOVE_HEAD(letters, link);
        if (letter->row)
            letter->row->left--;
        free_letter(letter);
    }
}

/* What the client has already is remembered until it has answered. */
void outbox_reset(struct engine *e)
{
    struct outbox *o = e->outbox;
    struct row *row, *next;
    drop_letters(&o->told);
    drop_letters(&o->unsent);
    for (row = LIST_FIRST(&o->rows); row; row = next) {
        next = LIST_NEXT(row, link);
        row->orphan = true;
        if (!row->left)
            free_row(row);
    }
    o->acknowledged_count = o->fresh_count = 0;
    e->counters[METRIC_OUTBOX] = 0;
}

/* The client is closed: letters under way are answered no more, and theirs is the only memory that is not given back. */
void outbox_close(struct engine *e)
{
    struct outbox *o = e->outbox;
    while (!LIST_EMPTY(&o->rows))
        free_row(LIST_FIRST(&o->rows));
    free(o->acknowledged);
    free(o->fresh);
    free(o);
    e->outbox = NULL;
}

/* ---- telling ---- */

static struct letter *tell(struct engine *e, const char *topic, char *subject)
{
    struct letter *letter = xcalloc(1, sizeof *letter);
    char time[CLOCK_TEXT_SIZE];
    clock_format(now_wall(e) * 1000, time);
    letter->texts[TOPIC] = xstrdup(topic);
    letter->texts[SUBJECT] = subject;
    letter->texts[TIME] = xstrdup(time);
    set_text(&letter->texts[CAUSATIONID], e->cause);
    STAILQ_INSERT_TAIL(&e->outbox->told, letter, link);
    e->changed = true;
    return letter;
}

static void trace(struct letter *letter, const struct run *run)
{
    set_text(&letter->texts[TRACEPARENT], run->traceparent);
    set_text(&letter->texts[CORRELATIONID], run->correlationid);
    if (!letter->texts[CAUSATIONID])
        set_text(&letter->texts[CAUSATIONID], run->event_id);
}

static void put_body(struct letter *letter, json_t *body, json_t *more)
{
    if (more)
        json_object_update(body, more);
    json_decref(more);
    letter->texts[BODY] = json_dumps(body, JSON_COMPACT);
    json_decref(body);
}

void outbox_tell_flow(struct flow *flow, const char *topic, json_t *more)
{
    struct letter *letter = tell(flow->engine, topic, xstrdup(flow->id));
    put_body(letter, json_pack("{s:s}", "workflow", flow->id), more);
}

void outbox_tell_run(struct run *run, const char *topic, json_t *more)
{
    struct letter *letter = tell(engine_of(run), topic, xasprintf("%s/%s", run->flow->id, run->id));
    trace(letter, run);
    put_body(letter, json_pack("{s:s, s:s}", "workflow", run->flow->id, "workflow_run_id", run->id), more);
}

void outbox_tell_job(struct job *job, const char *topic, json_t *more)
{
    const struct run *run = job->run;
    struct letter *letter = tell(engine_of(run), topic, xasprintf("%s/%s/%s", run->flow->id, run->id, job->task->id));
    json_t *body =
        json_pack("{s:s, s:s, s:s}", "workflow", run->flow->id, "workflow_run_id", run->id, "task", job->task->id);
    trace(letter, run);
    if (job->try) {
        json_object_set_new(body, "try", json_string(job->try->id));
        json_object_set_new(body, "attempt", json_integer(job->try->attempt));
        if (job->try->runner)
            json_object_set_new(body, "runner", json_string(job->try->runner));
    }
    put_body(letter, body, more);
}

void outbox_post(struct try *try, const char *topic, const char *body)
{
    struct run *run = try->job->run;
    struct letter *letter = tell(engine_of(run), topic, xasprintf("%s/%s", run->flow->id, run->id));
    trace(letter, run);
    letter->texts[ID] = xstrdup(try->id);
    letter->texts[TRY] = xstrdup(try->id);
    letter->texts[BODY] = xstrdup(body);
}

/* ---- writing ---- */

static void put_letter(struct buf *out, const struct letter *letter)
{
    buf_add_byte(out, '{');
    for (size_t i = 0; i < LETTER_TEXTS; i++)
        if (letter->texts[i])
            json_put_pair(out, NAMES[i], ls_str(letter->texts[i]));
    buf_add_byte(out, '}');
}

static struct row *new_row(struct engine *e, int64_t number, const char *source)
{
    struct row *row = xcalloc(1, sizeof *row);
    row->engine = e;
    row->number = number;
    row->source = xstrdup(source);
    LIST_INSERT_HEAD(&e->outbox->rows, row, link);
    return row;
}

/* Takes letters from `letter` on; returns the first that is for the next row. */
static struct letter *write_row(struct engine *e, struct letter *letter, struct ls_error *err)
{
    static const char SQL[] = "INSERT INTO lineshaft_scheduler_outbox (number, source, events) VALUES ($1, $2, $3)";
    struct outbox *o = e->outbox;
    struct row *row = new_row(e, e->next_event, e->name);
    struct buf text = {0};
    for (; letter && row->left < ROW_LETTERS_MAX; letter = STAILQ_NEXT(letter, link)) {
        if (!letter->texts[ID])
            letter->texts[ID] = xasprintf("%s-%lld", e->id, (long long) e->next_event);
        e->next_event++;
        letter->row = row;
        buf_add_byte(&text, row->left++ ? ',' : '[');
        put_letter(&text, letter);
    }
    buf_add_byte(&text, ']');
    db_queue(e->db, SQL, DB_VALUES(db_int(row->number), db_text(row->source), db_text(buf_text(&text))), err);
    buf_fini(&text);
    o->fresh = xgrow(o->fresh, &o->fresh_room, o->fresh_count + 1, sizeof *o->fresh);
    o->fresh[o->fresh_count++] = row;
    return letter;
}

int outbox_write(struct engine *e, struct ls_error *err)
{
    static const char REMOVE[] = "DELETE FROM lineshaft_scheduler_outbox WHERE number = $1";
    static const char COUNT[] = "UPDATE lineshaft_scheduler SET next_run = $1, next_event = $2 WHERE one = 1";
    struct outbox *o = e->outbox;
    err->name[0] = 0;
    for (struct letter *letter = STAILQ_FIRST(&o->told); letter && !err->name[0];)
        letter = write_row(e, letter, err);
    for (size_t i = 0; i < o->acknowledged_count && !err->name[0]; i++)
        db_queue(e->db, REMOVE, DB_VALUES(db_int(o->acknowledged[i])), err);
    if (!err->name[0])
        db_queue(e->db, COUNT, DB_VALUES(db_int(e->next_run), db_int(e->next_event)), err);
    return err->name[0] ? -1 : 0;
}

bool outbox_has_work(const struct engine *e)
{
    return e->outbox->acknowledged_count && outbox_due(e) <= e->ports->mono_ms(e->ports->arg);
}

int64_t outbox_due(const struct engine *e)
{
    return e->outbox->acknowledged_count ? e->outbox->acknowledged_mono + REMOVE_AFTER_MS : INT64_MAX;
}

void outbox_committed(struct engine *e)
{
    struct outbox *o = e->outbox;
    for (size_t i = 0; i < o->fresh_count; i++)
        e->counters[METRIC_OUTBOX] += (int64_t) o->fresh[i]->left;
    STAILQ_CONCAT(&o->unsent, &o->told);
    o->fresh_count = o->acknowledged_count = 0;
}

/* ---- publishing ---- */

void outbox_pump(struct engine *e)
{
    struct outbox *o = e->outbox;
    struct letter *letter;
    while ((letter = STAILQ_FIRST(&o->unsent)) != NULL) {
        char *const *t = letter->texts;
        const struct ls_event event = {.topic = ls_str(t[TOPIC]),
                                       .id = ls_str(t[ID]),
                                       .source = ls_str(letter->row->source),
                                       .time = ls_str(t[TIME]),
                                       .subject = ls_str(t[SUBJECT]),
                                       .traceparent = ls_str(t[TRACEPARENT]),
                                       .correlationid = ls_str(t[CORRELATIONID]),
                                       .causationid = ls_str(t[CAUSATIONID]),
                                       .datacontenttype =
                                           ls_str(t[TRY] && t[BODY] && *t[BODY] ? "application/json" : NULL),
                                       .body = ls_str(t[BODY])};
        STAILQ_REMOVE_HEAD(&o->unsent, link); /* first: the answer may come at once */
        if (!e->ports->publish(e->ports->arg, &event, letter)) {
            STAILQ_INSERT_HEAD(&o->unsent, letter, link);
            return;
        }
    }
}

static void acknowledge(struct row *row)
{
    struct engine *e = row->engine;
    struct outbox *o = e->outbox;
    if (!o->acknowledged_count)
        o->acknowledged_mono = now_mono(e);
    o->acknowledged = xgrow(o->acknowledged, &o->acknowledged_room, o->acknowledged_count + 1, sizeof *o->acknowledged);
    o->acknowledged[o->acknowledged_count++] = row->number;
}

static void refused_try(struct engine *e, const char *body, const struct ls_error *err)
{
    json_auto_t *json = json_loads(body ? body : "", 0, NULL);
    const char *id = json_string_value(json_object_get(json, "try"));
    if (id)
        engine_stored(e, id, err);
}

void outbox_published(struct letter *letter, const struct ls_error *err)
{
    struct row *row = letter->row;
    struct engine *e = row->engine;
    bool last = --row->left == 0;
    if (!row->orphan) {
        e->counters[METRIC_OUTBOX]--;
        if (err && strcmp(letter->texts[TOPIC], "task.queued") == 0)
            refused_try(e, letter->texts[BODY], err); /* no runner will ever hear of it */
        if (letter->texts[TRY])
            engine_stored(e, letter->texts[TRY], err);
        else if (err)
            logger_put(LEVEL_ERROR, "event-refused", err->text, "topic=%s subject=%s name=%s", letter->texts[TOPIC],
                       letter->texts[SUBJECT], err->name);
        if (last)
            acknowledge(row);
    }
    free_letter(letter);
    if (last)
        free_row(row);
}

/* ---- reading ---- */

struct loading {
    struct engine *engine;
    struct ls_error err;
};

static void on_row(void *arg, const struct db_row *r)
{
    struct loading *l = arg;
    struct ls_slice source = db_get_text(r, 1), text = db_get_text(r, 2);
    json_auto_t *events = json_loadb(text.data, text.len, 0, NULL);
    char *name = xstrndup(source.data, source.len);
    size_t i;
    json_t *event;
    if (!json_is_array(events) || !json_array_size(events)) {
        error_set(&l->err, "CORRUPT", "row %lld of lineshaft_scheduler_outbox is no list of events",
                  (long long) db_get_int(r, 0));
        free(name);
        return;
    }
    struct row *row = new_row(l->engine, db_get_int(r, 0), name);
    json_array_foreach(events, i, event)
    {
        struct letter *letter = xcalloc(1, sizeof *letter);
        for (size_t t = 0; t < LETTER_TEXTS; t++)
            set_text(&letter->texts[t], json_string_value(json_object_get(event, NAMES[t])));
        letter->row = row;
        row->left++;
        STAILQ_INSERT_TAIL(&l->engine->outbox->unsent, letter, link);
    }
    l->engine->counters[METRIC_OUTBOX] += (int64_t) row->left;
    free(name);
}

int outbox_load(struct engine *e, struct ls_error *err)
{
    static const char SQL[] = "SELECT number, source, events FROM lineshaft_scheduler_outbox ORDER BY number";
    struct loading l = {.engine = e};
    if (db_run(e->db, SQL, NULL, 0, on_row, &l, err) < 0)
        return -1;
    if (l.err.name[0])
        *err = l.err;
    return l.err.name[0] ? -1 : 0;
}
