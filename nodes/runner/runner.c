/* SPDX-License-Identifier: Apache-2.0 */
/* The kind `runner`: takes tries, asks for them, runs them. docs/nodes/task-run.md says how; runner.h, what is where. */
#include "nodes/runner/runner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define RETAIN_EVERY_MS 3600000
#define UNTOLD_MAX 64 /* reports that the broker does not take; no new tries then */

/* ---- slots ---- */

int64_t runner_free_slots(const struct runner *r)
{
    const struct try *try;
    int64_t taken = 0;
    LIST_FOREACH(try, &r->tries, link)
    taken += try->state == TRY_RUNNING;
    return r->options->slots - taken;
}

void runner_window(struct runner *r)
{
    const struct try *try;
    int64_t untold = 0, lost = 0, free_slots = runner_free_slots(r);
    LIST_FOREACH(try, &r->tries, link)
    untold += try->state == TRY_OVER;
    for (int64_t i = 0; i < r->options->slots; i++)
        lost += r->hands[i].fd < 0 && !r->hands[i].try;
    free_slots = r->ready && untold < UNTOLD_MAX + r->options->slots ? free_slots - lost : 0;
    if (free_slots != r->window)
        node_window(r->node, (uint32_t) free_slots);
    r->window = free_slots;
}

void runner_on_ready(struct runner *r)
{
    runner_window(r);
    report_turn(r);
    claim_introduce(r);
}

/* ---- events ---- */

static char *copy(struct ls_slice slice)
{
    return slice.len ? xstrndup(slice.data, slice.len) : NULL;
}

static void take_cause(struct try *try, const struct ls_event *event)
{
    try->cause = (struct cause){copy(event->id), copy(event->subject), copy(event->traceparent),
                                copy(event->tracestate), copy(event->correlationid)};
}

static enum ls_verdict on_event(void *self, const struct ls_event *event, struct ls_error *err)
{
    struct runner *r = self;
    json_auto_t *task = node_json(event->body, err);
    const json_t *id = node_field(task, "try", JSON_STRING, err);
    if (!id)
        return LS_REJECT;
    struct try *try = try_find(r, json_string_value(id));
    if (try && (try->state != TRY_CLAIMING || try->seq != event->seq))
        return LS_DONE; /* the same try once more: we have it */
    if (!try) {
        try = try_new(r, json_incref(task));
        take_cause(try, event);
    }
    try->subscription = event->subscription;
    try->seq = event->seq;
    claim_ask(try);
    return LS_PENDING;
}

/* task.cancel, which every runner hears. */
static enum ls_verdict on_cancel(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct runner *r = arg;
    json_auto_t *body = node_json(event->body, err);
    const json_t *id = node_field(body, "try", JSON_STRING, err);
    struct try *try = id ? try_find(r, json_string_value(id)) : NULL;
    const char *reason = json_string_value(json_object_get(body, "reason"));
    reason = reason && strcmp(reason, "timeout") == 0 ? "timeout"
             : reason && strcmp(reason, "over") == 0  ? "over"
                                                      : "cancelled";
    if (try)
        try_stop(try, reason, r->options->kill_after);
    return LS_DONE;
}

static void on_connected(void *self, const struct ls_error *err)
{
    struct runner *r = self;
    if (err || !r->hands)
        return;
    claim_all(r);
    claim_introduce(r);
    if (r->renew.place) /* there are tries: their lease is what counts most now */
        claim_renew(r);
}

static int64_t on_tick(void *self, int64_t now_ms)
{
    (void) now_ms;
    report_turn(self);
    return INT64_MAX;
}

/* ---- the end in order ---- */

/* Half of the time is the commands' to finish; then they are told to, and have until an eighth is left, for the reports. */
static void on_drain(void *self, struct timer *timer)
{
    struct runner *r = self;
    int64_t patience = node_drain_ms(r->node) * 3 / 8;
    struct try *try, *next;
    (void) timer;
    for (try = LIST_FIRST(&r->tries); try; try = next) {
        next = LIST_NEXT(try, link);
        try_stop(try, "stopped", patience < r->options->kill_after ? patience : r->options->kill_after);
    }
}

static void start_drain(void *self)
{
    struct runner *r = self;
    struct try *try, *next;
    for (try = LIST_FIRST(&r->tries); try; try = next) {
        next = LIST_NEXT(try, link);
        if (try->state != TRY_CLAIMING || try->asking)
            continue;
        node_release(r->node, try->seq);
        try_free(try);
    }
    node_timer_set(r->node, &r->drain, node_drain_ms(r->node) / 2);
}

static size_t count_busy(void *self)
{
    struct runner *r = self;
    const struct try *try;
    size_t busy = 0;
    LIST_FOREACH(try, &r->tries, link)
    busy++;
    return busy;
}

/* ---- opening and closing ---- */

/* Whole paths, for commands run elsewhere. */
static int open_folders(struct runner *r, struct ls_error *err)
{
    if (folder_make(r->options->dir, 0777, err))
        return -1;
    char *dir = realpath(r->options->dir, NULL);
    if (!dir)
        return error_set(err, "SYSTEM", "cannot find the folder %.300s: %s", r->options->dir, strerror(errno));
    r->logs = xasprintf("%s/logs", dir);
    r->records = xasprintf("%s/%s", dir, node_member(r->node));
    free(dir);
    return folder_make(r->logs, 0777, err) || folder_make(r->records, 0777, err) ? -1 : 0;
}

static void on_retain(void *self, struct timer *timer)
{
    struct runner *r = self;
    retain_sweep(r);
    node_timer_set(r->node, timer, RETAIN_EVERY_MS);
}

static char *own_folder(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    path[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(path, '/');
    return slash ? xstrndup(path, (size_t) (slash - path)) : NULL;
}

static int open_bus(struct runner *r, struct ls_error *err)
{
    static const char *const CANCEL[] = {"task.cancel", NULL};
    const struct ls_subscription sub = {.topics = CANCEL, .from.kind = LS_FROM_NEW};
    r->url = xstrdup(ls_client_url(node_client(r->node)));
    return ls_subscribe(node_client(r->node), &sub, on_cancel, r, err) ? log_serve(r, err) : -1;
}

static int on_open(void *self, struct node *node, const void *options, struct ls_error *err)
{
    struct runner *r = self;
    r->node = node;
    r->options = options;
    r->window = -1;
    r->renew.fire = claim_on_renew;
    r->hello.fire = claim_on_hello;
    r->look.fire = leftovers_on_look;
    r->drain.fire = on_drain;
    r->retain.fire = on_retain;
    runner_log_events(r->options->log_events, &r->log_events, &r->log_rate);
    uuid7(clock_wall_us(), r->boot);
    if (gethostname(r->host, sizeof r->host - 1))
        snprintf(r->host, sizeof r->host, "localhost");
    r->bin = own_folder();
    r->chunk = xcalloc(1, READ_BYTES);
    signal(SIGXFSZ, SIG_IGN); /* a log that is too large for a limit ends, not the runner */
    if (hands_open(r, err) || open_folders(r, err) || open_bus(r, err))
        return -1;
    runner_window(r);
    leftovers_find(r);
    on_retain(r, &r->retain);
    return 0;
}

static void on_close(void *self)
{
    struct runner *r = self;
    ask_free(r);
    hands_close(r);
    while (!LIST_EMPTY(&r->tries))
        try_free(LIST_FIRST(&r->tries));
    records_close(r);
    json_decref(r->former_tries);
    buf_fini(&r->waiting);
    free(r->records);
    free(r->logs);
    free(r->url);
    free(r->bin);
    free(r->chunk);
}

const struct node_code node_runner = {
    .kind = &kind_runner,
    .size = sizeof(struct runner),
    .open = on_open,
    .event = on_event,
    .connected = on_connected,
    .tick = on_tick,
    .drain = start_drain,
    .busy = count_busy,
    .close = on_close,
};
