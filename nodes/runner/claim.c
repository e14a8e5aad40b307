/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's word: claims of single tries, and the lease of all. docs/nodes/task-run.md, "The lease". */
#include <stdio.h>
#include <string.h>

#include "lib/logger.h"
#include "nodes/runner/runner.h"

#define CLAIM_TIMEOUT_MS 5000
#define PAUSE_MS 250 /* before a claim, or the introduction, is tried again; doubles */
#define PAUSE_MAX_MS 4000
#define RENEW_TIMEOUT_MAX_MS 10000
#define RENEW_AGAIN_MS 1000
#define LEASE_MIN_MS 100
#define KEEPER_PATIENCE_MS                                                                                             \
    2000 /* a keeper that has not ended its command so long after it had to, is stopped or stuck */

/* ---- claims ---- */

static int longer(int pause_ms)
{
    return !pause_ms ? PAUSE_MS : pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
}

static void ask_later(struct try *try)
{
    struct runner *r = try->runner;
    runner_count(r, METRIC_CLAIM_RETRIES, 1);
    node_working(r->node, try->subscription, try->seq);
    try->pause_ms = longer(try->pause_ms);
    node_timer_set(r->node, &try->again, try->pause_ms);
}

static void drop(struct try *try, bool settled)
{
    struct runner *r = try->runner;
    if (settled)
        node_settle(r->node, try->subscription, try->seq, LS_DONE, NULL);
    else
        node_release(r->node, try->seq);
    try_free(try);
    runner_window(r);
}

static void granted(struct try *try, int64_t lease_ms, bool cancelled)
{
    struct runner *r = try->runner;
    r->lease_ms = lease_ms;
    try->lease_end = try->asked_at + lease_ms;
    try->state = TRY_RUNNING;
    runner_count(r, METRIC_RUNNING, 1);
    runner_window(r); /* first the window, then the acknowledgement that would make room in it */
    node_settle(r->node, try->subscription, try->seq, LS_DONE, NULL);
    if (!r->renew.place)
        node_timer_set(r->node, &r->renew, lease_ms / 3);
    if (cancelled)
        try_fail(try, "cancelled", "it was cancelled before its command was started");
    else if (node_draining(r->node))
        try_fail(try, "stopped", "the runner was told to stop before it had started the command");
    else
        try_start(try);
}

static void on_claimed(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct try *try = arg;
    struct runner *r = try->runner;
    const json_t *yes = json_object_get(answer, "granted");
    int64_t lease_ms = json_integer_value(json_object_get(answer, "lease_ms"));
    try->asking = false;
    if (!err && json_is_true(yes) && lease_ms >= LEASE_MIN_MS && boot_ms() < try->asked_at + lease_ms) {
        granted(try, lease_ms, json_is_true(json_object_get(answer, "cancelled")));
    } else if (!err && json_is_false(yes)) {
        const char *reason = json_string_value(json_object_get(answer, "reason"));
        logger_put(LEVEL_INFO, "refused", "the scheduler does not give this try to us", "try=%s reason=%s", try->id,
                   reason ? reason : "?");
        runner_count(r, METRIC_REFUSED, 1);
        drop(try, true);
    } else if (node_draining(r->node)) {
        drop(try, false);
    } else {
        if (err && try->pause_ms == 0)
            logger_put(LEVEL_INFO, "claim-waits", err->text, "try=%s name=%s", try->id, err->name);
        ask_later(try);
    }
}

static int64_t count_asking(const struct runner *r)
{
    const struct try *try;
    int64_t count = 0;
    LIST_FOREACH(try, &r->tries, link)
    count += try->asking;
    return count;
}

void claim_ask(struct try *try)
{
    struct runner *r = try->runner;
    if (try->asking || try->state != TRY_CLAIMING)
        return;
    node_timer_unset(r->node, &try->again);
    if (runner_free_slots(r) <= count_asking(r)) { /* more than our window came */
        node_working(r->node, try->subscription, try->seq);
        node_timer_set(r->node, &try->again, PAUSE_MAX_MS);
        return;
    }
    try->asking = true;
    try->asked_at = boot_ms();
    ask_send(r, "task.claim",
             json_pack("{s:s,s:s,s:s,s:s}", "try", try->id, "runner", node_member(r->node), "boot", r->boot, "host",
                       r->host),
             CLAIM_TIMEOUT_MS, on_claimed, try);
}

void claim_on_again(void *self, struct timer *timer)
{
    (void) self;
    claim_ask((struct try *) (void *) ((char *) timer - offsetof(struct try, again)));
}

void claim_all(struct runner *r)
{
    struct try *try, *next;
    for (try = LIST_FIRST(&r->tries); try; try = next) {
        next = LIST_NEXT(try, link);
        if (try->state == TRY_CLAIMING)
            claim_ask(try);
    }
}

/* ---- the lease ---- */

static void stop_named(struct runner *r, const json_t *stop)
{
    static const char *const REASONS[] = {"timeout", "over", "cancelled"};
    const json_t *item;
    size_t i;
    json_array_foreach(stop, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "try"));
        const char *reason = json_string_value(json_object_get(item, "reason"));
        struct try *try = id ? try_find(r, id) : NULL;
        size_t at = 0;
        while (at < 2 && !(reason && strcmp(reason, REASONS[at]) == 0))
            at++;
        if (try)
            try_stop(try, REASONS[at], r->options->kill_after);
    }
}

static void extend(struct runner *r)
{
    struct try *try, *next;
    for (try = LIST_FIRST(&r->tries); try; try = next) {
        next = LIST_NEXT(try, link);
        if (try->in_renewal && try->state == TRY_RUNNING)
            try_lease(try, r->renewal_sent_at + r->lease_ms);
        try->in_renewal = false;
    }
}

/* A keeper that was stopped by a signal, say, cannot end what the lease no longer covers: then we do. */
static void kill_late_keepers(struct runner *r)
{
    int64_t now = boot_ms();
    struct try *try;
    LIST_FOREACH(try, &r->tries, link)
    if (try->state == TRY_RUNNING && try->hand && now > try->lease_end + r->lease_ms / 8 + KEEPER_PATIENCE_MS)
        hand_kill(try->hand);
}

static bool has_tries(const struct runner *r)
{
    const struct try *try;
    LIST_FOREACH(try, &r->tries, link)
    if (try->state != TRY_CLAIMING && !try->former)
        return true;
    return false;
}

static void introduced(struct runner *r)
{
    r->introduced = true;
    json_decref(r->former_tries);
    r->former_tries = NULL;
    node_timer_unset(r->node, &r->hello);
}

static void on_renewed(void *arg, const json_t *answer, const struct ls_error *err)
{
    struct runner *r = arg;
    bool nobody = err && strcmp(err->name, "NO_RESPONDER") == 0; /* none there, so none gives our tries away */
    int64_t lease_ms = json_integer_value(json_object_get(answer, "lease_ms")), again = RENEW_AGAIN_MS;
    r->renewing = false;
    if (lease_ms >= LEASE_MIN_MS)
        r->lease_ms = lease_ms;
    if (nobody || lease_ms >= LEASE_MIN_MS) {
        runner_count(r, METRIC_RENEWALS, 1);
        extend(r);
        again = r->lease_ms / 3 - (boot_ms() - r->renewal_sent_at);
        stop_named(r, json_object_get(answer, "stop"));
    } else {
        runner_count(r, METRIC_RENEWALS_FAILED, 1);
        logger_put(LEVEL_WARN, "lease", err ? err->text : "the answer to task.renew has no lease_ms", "name=%s",
                   err ? err->name : "BAD_VALUE");
        kill_late_keepers(r);
        again = r->lease_ms / 12 < again ? r->lease_ms / 12 : again;
    }
    if (lease_ms >= LEASE_MIN_MS && !r->introduced)
        introduced(r);
    if (has_tries(r))
        node_timer_set(r->node, &r->renew, again > 10 ? again : 10);
    if (!r->introduced) {
        r->hello_pause_ms = longer(r->hello_pause_ms);
        node_timer_set(r->node, &r->hello, r->hello_pause_ms);
    }
}

void claim_renew(struct runner *r)
{
    struct try *try;
    if (r->renewing)
        return;
    int64_t timeout = r->lease_ms / 3;
    json_t *tries = json_array(), *ended = r->former_tries ? json_copy(r->former_tries) : json_array();
    r->renewing = true;
    r->renewal_sent_at = boot_ms();
    LIST_FOREACH(try, &r->tries, link)
    {
        try->in_renewal = try->state != TRY_CLAIMING && !try->former;
        if (try->in_renewal) /* also one that is over, until its report is stored */
            json_array_append_new(tries, json_string(try->id));
        else if (try->former)
            json_array_append_new(ended, json_string(try->id));
    }
    json_t *body = json_pack("{s:s,s:s,s:o}", "runner", node_member(r->node), "boot", r->boot, "tries", tries);
    if (json_array_size(ended))
        json_object_set(body, "ended", ended);
    json_decref(ended);
    timeout = timeout < LEASE_MIN_MS || timeout > RENEW_TIMEOUT_MAX_MS ? RENEW_TIMEOUT_MAX_MS : timeout;
    ask_send(r, "task.renew", body, (int) timeout, on_renewed, r);
}

void claim_on_renew(void *self, struct timer *timer)
{
    (void) timer;
    if (has_tries(self))
        claim_renew(self);
}

void claim_on_hello(void *self, struct timer *timer)
{
    (void) timer;
    claim_introduce(self);
}

void claim_introduce(struct runner *r)
{
    if (!r->introduced && r->ready)
        claim_renew(r);
}
