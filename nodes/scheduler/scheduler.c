/* SPDX-License-Identifier: Apache-2.0 */
/* The kind `scheduler`: the engine in the loop of a node. */
#include "nodes/scheduler/scheduler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"

/* ---- the engine's ports ---- */

static int64_t wall_ms(void *arg)
{
    (void) arg;
    return clock_wall_us() / 1000;
}

static int64_t mono_ms(void *arg)
{
    (void) arg;
    return clock_mono_ms();
}

static void on_published(void *arg, const struct ls_published *result)
{
    outbox_published(arg, result->err);
}

static bool publish(void *arg, const struct ls_event *event, struct letter *letter)
{
    struct scheduler *s = arg;
    struct ls_error err = {0};
    if (ls_publish(node_client(s->node), event, on_published, letter, &err) == 0)
        return true;
    if (strcmp(err.name, "BUSY") == 0)
        return false;
    outbox_published(letter, &err);
    return true;
}

/* ---- what a turn took in ---- */

static void settle(struct scheduler *s, enum ls_verdict verdict, const struct ls_error *err)
{
    for (size_t i = 0; i < s->unsettled_count; i++)
        node_settle(s->node, s->unsettled[i].subscription, s->unsettled[i].seq, verdict, err);
    s->unsettled_count = 0;
}

static enum ls_verdict on_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct scheduler *s = self;
    bool ended = ls_slice_is(event->topic, "task.ended");
    if (!s->engine.db) {
        error_set(err, "BUSY", "the scheduler's database is away");
        return LS_RETRY;
    }
    if (!ended && !ls_slice_is(event->topic, "task.started"))
        return LS_DONE;
    json_auto_t *body = node_json(event->body, err);
    if (!body)
        return LS_REJECT;
    char *cause = event->id.len ? xstrndup(event->id.data, event->id.len) : NULL;
    s->engine.cause = cause;
    if (ended)
        report_ended(&s->engine, body);
    else
        report_started(&s->engine, body);
    s->engine.cause = NULL;
    free(cause);
    s->unsettled = xgrow(s->unsettled, &s->unsettled_room, s->unsettled_count + 1, sizeof *s->unsettled);
    s->unsettled[s->unsettled_count++] = (struct unsettled){event->subscription, event->seq};
    return LS_PENDING;
}

static enum ls_verdict on_request(void *self, struct ls_call *call, const struct ls_event *request,
                                  struct ls_error *err)
{
    struct scheduler *s = self;
    if (s->engine.db)
        return answers_request(s, call, request, err);
    error_set(err, "BUSY", "the scheduler's database is away");
    return LS_RETRY;
}

static void on_cancelled(void *self, struct ls_call *call, const char *reason)
{
    (void) self, (void) reason;
    answers_cancelled(call);
}

static void on_credit(void *self, struct ls_call *call)
{
    (void) self;
    answers_credit(call);
}

static void on_connected(void *self, const struct ls_error *err)
{
    struct scheduler *s = self;
    s->connected = !err;
    engine_connected(&s->engine, s->connected);
    if (s->connected)
        feed_sync(s);
}

static void on_refused(void *self, uint32_t subscription, const struct ls_error *err)
{
    if (!feed_refused(self, subscription, err))
        logger_put(LEVEL_WARN, "refused", err->text, "name=%s", err->name);
}

/* ---- the database ---- */

static int on_ready(void *self, struct db *db, struct ls_error *err)
{
    struct scheduler *s = self;
    if (engine_load(&s->engine, db, err))
        return -1;
    files_tell(s);
    feed_sync(s);
    return 0;
}

static void on_lost(void *self, const struct ls_error *err)
{
    struct scheduler *s = self;
    feed_stop(s);
    asks_stop(s);
    engine_reset(&s->engine);
    answers_fail(s, err);
    settle(s, LS_RETRY, err);
}

void scheduler_files_changed(struct scheduler *s)
{
    if (!s->engine.db)
        return;
    files_tell(s);
    feed_sync(s);
}

/* ---- the clock ---- */

static void on_clock(void *arg, int fd, uint32_t events)
{
    struct scheduler *s = arg;
    uint64_t count;
    (void) events;
    if (read(fd, &count, sizeof count) < 0 && errno != ECANCELED && errno != EAGAIN)
        logger_put(LEVEL_WARN, "clock", strerror(errno), "fd=%d", fd);
    s->clock_due = 0; /* the turn that this begins does the rest */
}

/* Wakes the loop at the next tick, and when somebody sets the clock. */
static void arm_clock(struct scheduler *s)
{
    int64_t due = engine_wall_due(&s->engine);
    const struct itimerspec at = {.it_value = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000 + 1}};
    if (due == s->clock_due)
        return;
    s->clock_due = due;
    if (due == INT64_MAX)
        timerfd_settime(s->clock_fd, 0, &(struct itimerspec){0}, NULL);
    else
        timerfd_settime(s->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

/* ---- the turn ---- */

static int64_t on_tick(void *self, int64_t now_ms)
{
    struct scheduler *s = self;
    struct ls_error err = {0};
    int64_t due = INT64_MAX;
    (void) now_ms;
    if (!s->engine.db)
        return INT64_MAX;
    if (engine_turn(&s->engine, &due, &err)) {
        if (!db_node_failed(s->db_node, &err)) /* a statement of ours is wrong: start anew from what is stored */
            node_fail(s->node, &err);
        return INT64_MAX;
    }
    answers_send(s);
    settle(s, LS_DONE, NULL);
    arm_clock(s);
    return due;
}

/* ---- life ---- */

static int open_node(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct scheduler *s = self;
    s->node = node;
    s->options = options;
    s->clock_fd = -1;
    LIST_INIT(&s->answers);
    LIST_INIT(&s->askings);
    if (db_url_check(s->options->database, err))
        return -1;
    s->ports = (struct engine_ports){.wall_ms = wall_ms,
                                     .mono_ms = mono_ms,
                                     .publish = publish,
                                     .ask = ask_service,
                                     .stop_asking = ask_stop,
                                     .arg = s};
    engine_open(&s->engine, &s->ports, s->options, node_name(node), node_metric(node, 0));
    s->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (s->clock_fd < 0)
        return error_set(err, "SYSTEM", "cannot make a timer: %s", strerror(errno));
    node_watch(node, s->clock_fd, EPOLLIN, on_clock, s);
    feed_open(s);
    files_open(s);
    s->db_node = db_node_open(node, &(struct db_node_options){.url = s->options->database,
                                                              .lock = "scheduler",
                                                              .component = "scheduler",
                                                              .steps = STORE_STEPS,
                                                              .step_count = STORE_STEP_COUNT,
                                                              .ready = on_ready,
                                                              .lost = on_lost,
                                                              .self = s});
    return 0;
}

static void on_drain(void *self)
{
    struct scheduler *s = self;
    s->engine.draining = true;
}

static size_t on_busy(void *self)
{
    return asks_open(self);
}

static void close_node(void *self)
{
    struct scheduler *s = self;
    if (s->feed)
        feed_close(s);
    asks_free(s);
    if (s->engine.ports)
        engine_reset(&s->engine);
    files_close(s);
    engine_close(&s->engine);
    db_node_close(&s->db_node);
    if (s->clock_fd >= 0) {
        node_unwatch(s->node, s->clock_fd);
        close(s->clock_fd);
    }
    free(s->unsettled);
}

const struct node_code node_scheduler = {
    .kind = &kind_scheduler,
    .size = sizeof(struct scheduler),
    .open = open_node,
    .event = on_event,
    .request = on_request,
    .cancelled = on_cancelled,
    .credit = on_credit,
    .connected = on_connected,
    .refused = on_refused,
    .tick = on_tick,
    .drain = on_drain,
    .busy = on_busy,
    .close = close_node,
};
