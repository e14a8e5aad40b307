/* SPDX-License-Identifier: Apache-2.0 */
/* The order between own facts that wait and what the stream brings: see outbox.h. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "lib/logger.h"
#include "nodes/tracker/fact.h"
#include "nodes/tracker/outbox_inside.h"

/* ---- what a fact touches ---- */

static uint64_t key_of(char sort, const json_t *body, const char *field)
{
    const json_t *value = json_object_get(body, field);
    char number[24] = "";
    if (json_is_string(value))
        return XXH3_64bits_withSeed(json_string_value(value), json_string_length(value), (XXH64_hash_t) sort);
    if (!json_is_integer(value))
        return 0;
    snprintf(number, sizeof number, "%lld", (long long) json_integer_value(value));
    return XXH3_64bits_withSeed(number, strlen(number), (XXH64_hash_t) sort);
}

struct touch touch_of(const char *topic, const json_t *body)
{
    struct touch touch = {0};
    if (strcmp(topic, "run.metric") == 0 || strcmp(topic, "run.input") == 0 || strcmp(topic, "run.output") == 0 ||
        strncmp(topic, "chat.", 5) == 0) {
        touch.commutes = true;
    } else if (strncmp(topic, "run.", 4) == 0) {
        touch.keys[0] = key_of('r', body, "run_id");
        touch.of_run = true;
    } else if (strncmp(topic, "task.", 5) == 0) {
        touch.all_runs = true; /* which ones, their tags say */
    } else if (strncmp(topic, "experiment.", 11) == 0) {
        touch.keys[0] = key_of('e', body, "experiment_id");
        touch.all_runs = json_object_get(body, "lifecycle_stage") != NULL;
    } else if (strncmp(topic, "model.logged", 12) == 0) {
        touch.keys[0] = key_of('l', body, "model_id");
    } else {
        touch.keys[0] = key_of('m', body, "name");
        touch.keys[1] = key_of('m', body, "new_name");
    }
    return touch;
}

static bool meet(const struct touch *a, const struct touch *b)
{
    if (a->commutes || b->commutes)
        return false;
    if ((a->all_runs && (b->of_run || b->all_runs)) || (b->all_runs && a->of_run))
        return true;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (a->keys[i] && a->keys[i] == b->keys[j])
                return true;
    return false;
}

/* ---- events ---- */

/* Every waiting fact that meets the touch is to be applied again: those behind `after` and before `until`, NULL for
 * no such bound. */
static void disturb(struct outbox *o, const struct touch *touch, struct own *after, const struct own *until)
{
    struct row *row = after ? after->row : TAILQ_FIRST(&o->rows);
    for (; row; row = TAILQ_NEXT(row, link)) {
        bool last = until && row == until->row;
        struct own *own = after && row == after->row ? after + 1 : &row->facts_of[row->first];
        const struct own *end = last ? until : &row->facts_of[row->count];
        for (; own < end; own++)
            if (!own->done && !own->coming && meet(touch, &own->touch))
                own->disturbed = own->redo = o->batch_redo = true;
        if (last)
            return;
    }
}

void outbox_foreign(struct outbox *o, const char *topic, const json_t *body)
{
    if (!o->waiting)
        return;
    const struct touch touch = touch_of(topic, body);
    if (!touch.commutes)
        disturb(o, &touch, NULL, NULL);
}

/* Own facts come in the order in which they were published, except those that another stream has: they will not
 * come. */
static void give_up_passed(struct outbox *o, const struct own *own)
{
    struct row *row;
    TAILQ_FOREACH(row, &o->rows, link)
    for (; row->first < row->count; row->first++) {
        struct own *older = &row->facts_of[row->first];
        if (older->done || older->coming)
            continue;
        if (!older->acked_at || older->acked_at >= own->order)
            return;
        older->coming = true;
    }
}

bool outbox_comes(struct outbox *o, struct own *own)
{
    own->coming = true;
    give_up_passed(o, own);
    if (own->touch.commutes)
        return false;
    disturb(o, &own->touch, NULL, own); /* published before it, stored behind it */
    if (own->disturbed)
        disturb(o, &own->touch, own, NULL);
    return own->disturbed;
}

/* ---- the end of a batch ---- */

static int redo(struct outbox *o, const struct own *own, bool careful, struct ls_error *err)
{
    struct tracker *t = o->t;
    if (careful && db_savepoint(t->db, err))
        return -1;
    t->again = true;
    int rc = fact_apply(t, own->topic, own->body, own->row->time_ms, err);
    t->again = false;
    if (!careful)
        return rc < 0 ? -1 : 0;
    if (rc >= 0 && !metrics_flush(t, err))
        return db_release(t->db, err);
    enum db_problem problem = db_problem(t->db);
    if (problem == DB_LOST || problem == DB_RETRY || problem == DB_SCHEMA)
        return -1;
    logger_put(LEVEL_WARN, "fact-disturbed", err->text, "topic=%s row=%lld", own->topic, (long long) own->row->id);
    metrics_drop(t->metrics);
    known_forget(t->known);
    return db_restore(t->db, err);
}

int outbox_redo(struct outbox *o, bool careful, struct ls_error *err)
{
    struct row *row;
    if (!o->batch_redo)
        return 0;
    TAILQ_FOREACH(row, &o->rows, link)
    OWNS_FOREACH(own, row)
    if (own->redo && !own->coming && !own->done && redo(o, own, careful, err))
        return -1;
    return 0;
}
