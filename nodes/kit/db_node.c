/* SPDX-License-Identifier: Apache-2.0 */
/* A node's database over time: trying until it is there, noticing that it went, trying again. */
#include "nodes/kit/db_node.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/db_private.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define SAY_EVERY_MS 60000

static const char DOWN[] = "database-down", TAKEN[] = "database-taken";

struct db_node {
    struct timer timer; /* first: the next attempt */
    struct node *node;
    struct db_node_options options;
    char *place;
    struct db *db;   /* NULL: away */
    int watched;     /* descriptor; -1: none */
    bool attempting;
    int64_t retry_ms, up_at;
    const char *said; /* DOWN or TAKEN, what stands in the way now; NULL: nothing does */
    int64_t said_at;
};

static void say(struct db_node *d, const char *code, const char *why)
{
    int64_t now = clock_mono_ms();
    if (d->said == code && now - d->said_at < SAY_EVERY_MS)
        return;
    d->said = code;
    d->said_at = now;
    logger_put(LEVEL_WARN, code, why, "database=%s", d->place);
}

static void try_again(struct db_node *d)
{
    node_timer_set(d->node, &d->timer, d->retry_ms);
    d->retry_ms = d->retry_ms * 2 < RETRY_MAX_MS ? d->retry_ms * 2 : RETRY_MAX_MS;
}

static void let_go(struct db_node *d)
{
    if (d->watched >= 0)
        node_unwatch(d->node, d->watched);
    d->watched = -1;
    db_close(&d->db);
}

/* It was there, and is not any more. */
static void lose(struct db_node *d, const struct ls_error *err)
{
    const struct ls_error why = *err; /* it may live in what is closed now */
    let_go(d);
    node_pause(d->node);
    say(d, DOWN, why.text);
    if (d->options.lost)
        d->options.lost(d->options.self, &why);
    if (clock_mono_ms() - d->up_at >= RETRY_MAX_MS) /* else it comes and goes: no faster than that */
        d->retry_ms = RETRY_MIN_MS;
    try_again(d);
}

/* An idle connection has something to say, most often that it ended. */
static void on_readable(void *arg, int fd, uint32_t events)
{
    struct db_node *d = arg;
    struct ls_error err = {0};
    (void) fd, (void) events;
    if (db_check(d->db, &err))
        lose(d, &err);
}

/* 1: ready to work, 0: another has it, -1: it failed. */
static int prepare(struct db_node *d, struct ls_error *err)
{
    const struct db_node_options *o = &d->options;
    d->db = db_open(o->url, err);
    if (!d->db)
        return -1;
    int taken = o->lock ? db_lock(d->db, o->lock, err) : 1;
    if (taken < 1)
        return taken;
    if (db_migrate(d->db, o->component, o->steps, o->step_count, err))
        return -1;
    return o->ready(o->self, d->db, err) ? -1 : 1;
}

static void attempt(void *self, struct timer *timer)
{
    struct db_node *d = (struct db_node *) (void *) timer;
    struct ls_error err = {0};
    (void) self;
    d->attempting = true;
    int rc = prepare(d, &err);
    d->attempting = false;
    if (rc < 1) {
        let_go(d);
        say(d, rc ? DOWN : TAKEN, rc ? err.text : "another process works on it: this node stands by until that one has gone");
        try_again(d);
        return;
    }
    d->up_at = clock_mono_ms();
    d->said = NULL;
    d->watched = db_fd(d->db);
    if (d->watched >= 0)
        node_watch(d->node, d->watched, EPOLLIN, on_readable, d);
    logger_put(LEVEL_INFO, "database-up", "open, and the tables are as they should be", "database=%s", d->place);
    node_resume(d->node);
}

struct db_node *db_node_open(struct node *node, const struct db_node_options *options)
{
    struct db_node *d = xcalloc(1, sizeof *d);
    d->node = node;
    d->options = *options;
    d->place = db_place(options->url);
    d->watched = -1;
    d->retry_ms = RETRY_MIN_MS;
    d->timer.fire = attempt;
    node_pause(node);
    node_timer_set(node, &d->timer, 0);
    return d;
}

void db_node_close(struct db_node **db_node)
{
    struct db_node *d = *db_node;
    if (!d)
        return;
    node_timer_unset(d->node, &d->timer);
    let_go(d);
    free(d->place);
    free(d);
    *db_node = NULL;
}

struct db *db_node_db(struct db_node *db_node)
{
    return db_node->db;
}

bool db_node_failed(struct db_node *db_node, const struct ls_error *err)
{
    enum db_problem problem = db_node->db ? db_problem(db_node->db) : DB_OK;
    if (problem != DB_LOST && problem != DB_SCHEMA)
        return false;
    if (!db_node->attempting) /* else `ready` says so too */
        lose(db_node, err);
    return true;
}
