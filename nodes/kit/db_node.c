/* SPDX-License-Identifier: Apache-2.0 */
/* A node's database over time: trying until it is there, noticing that it went, trying again. */
#include "nodes/kit/db_node.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/kit/db_private.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define SAY_EVERY_MS 60000

static const char DOWN[] = "database-down", TAKEN[] = "database-taken";

struct db_node {
    struct timer timer; /* first: the next attempt, or the end of the patience with this one */
    struct node *node;
    struct db_node_options options;
    char *place;
    struct db *opening; /* the connection that is being made; NULL: none */
    struct db *db;      /* NULL: away */
    int watched;        /* the descriptor of one of them; -1: none */
    bool attempting;
    int64_t retry_ms, up_at;
    const char *said; /* DOWN or TAKEN, what stands in the way now; NULL: nothing does */
    char said_why[sizeof ((struct ls_error *) 0)->text];
    int64_t said_at;
};

static void say(struct db_node *d, const char *code, const char *why)
{
    int64_t now = clock_mono_ms();
    if (d->said == code && strcmp(d->said_why, why) == 0 && now - d->said_at < SAY_EVERY_MS)
        return;
    d->said = code;
    snprintf(d->said_why, sizeof d->said_why, "%s", why);
    d->said_at = now;
    logger_put(LEVEL_WARN, code, why, "database=%s", d->place);
}

static void try_again(struct db_node *d)
{
    node_timer_set(d->node, &d->timer, d->retry_ms);
    d->retry_ms = d->retry_ms * 2 < RETRY_MAX_MS ? d->retry_ms * 2 : RETRY_MAX_MS;
}

static void unwatch(struct db_node *d)
{
    if (d->watched >= 0)
        node_unwatch(d->node, d->watched);
    d->watched = -1;
}

static void watch(struct db_node *d, int fd, short events, node_fd_fn *fn)
{
    d->watched = fd;
    if (fd >= 0)
        node_watch(d->node, fd, (uint32_t) events, fn, d); /* EPOLLIN is POLLIN, EPOLLOUT is POLLOUT */
}

static void let_go(struct db_node *d)
{
    unwatch(d);
    db_close(&d->db);
    db_close(&d->opening);
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

/* ---- attempts ---- */

/* The connection stands. 1: ready to work, 0: another has it, -1: it failed. */
static int prepare(struct db_node *d, struct ls_error *err)
{
    const struct db_node_options *o = &d->options;
    int taken = o->lock ? db_lock(d->db, o->lock, err) : 1;
    if (taken < 1)
        return taken;
    if (db_migrate(d->db, o->component, o->steps, o->step_count, err) || o->ready(o->self, d->db, err))
        return -1;
    return db_check(d->db, err) ? -1 : 1; /* `ready` may not have looked */
}

static void begin_work(struct db_node *d)
{
    d->up_at = clock_mono_ms();
    d->said = NULL;
    watch(d, db_fd(d->db), POLLIN, on_readable);
    logger_put(LEVEL_INFO, "database-up", "open, and the tables are as they should be", "database=%s", d->place);
    node_resume(d->node);
}

/* Without a connection (taken is -1), or the lock (0). */
static void stand_back(struct db_node *d, int taken, const struct ls_error *err)
{
    let_go(d);
    if (taken < 0)
        say(d, DOWN, err->text);
    else
        say(d, TAKEN, "another process works on it: this node stands by until that one has gone");
    try_again(d);
}

static void on_progress(void *arg, int fd, uint32_t events)
{
    struct db_node *d = arg;
    (void) fd, (void) events;
    d->timer.fire(NULL, &d->timer);
}

/* Goes as far as it can without waiting for the connection. */
static void go_on(struct db_node *d)
{
    struct ls_error err = {0};
    struct db_wait wait;
    unwatch(d);
    int rc = db_connect(d->opening, &wait, &err);
    if (rc == 0) {
        watch(d, db_fd(d->opening), wait.events, on_progress);
        node_timer_set(d->node, &d->timer, wait.until_ms - clock_mono_ms());
        return;
    }
    node_timer_unset(d->node, &d->timer);
    if (rc > 0) {
        d->db = d->opening;
        d->opening = NULL;
        d->attempting = true;
        rc = prepare(d, &err);
        d->attempting = false;
    }
    if (rc > 0)
        begin_work(d);
    else
        stand_back(d, rc, &err);
}

static void attempt(void *self, struct timer *timer)
{
    struct db_node *d = (struct db_node *) (void *) timer;
    struct ls_error err = {0};
    (void) self;
    if (node_draining(d->node)) { /* it takes no work any more, and must not be held up */
        node_timer_unset(d->node, &d->timer);
        let_go(d);
        return;
    }
    if (!d->opening && !(d->opening = db_start(d->options.url, &err)))
        stand_back(d, -1, &err);
    else
        go_on(d);
}

/* ---- for kinds ---- */

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
    if (!db_node->db) /* it went before, and this is of the same failure */
        return true;
    enum db_problem problem = db_problem(db_node->db);
    if (problem != DB_LOST && problem != DB_SCHEMA)
        return false;
    if (!db_node->attempting) /* else `ready` says so too */
        lose(db_node, err);
    return true;
}
