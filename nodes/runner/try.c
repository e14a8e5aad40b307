/* SPDX-License-Identifier: Apache-2.0 */
/* A try's life, from the scheduler's grant to the end of all that it started. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/xmem.h"
#include "nodes/runner/outputs.h"
#include "nodes/runner/plan.h"
#include "nodes/runner/runner.h"

#define READS_PER_TURN 4    /* of READ_BYTES: a flood leaves room for others */
#define READS_AT_END_MAX 64 /* what a pipe can hold, and more: nothing that the command started writes any more */

static void on_timeout(void *self, struct timer *timer)
{
    struct runner *r = self;
    struct try *try = (struct try *) (void *) ((char *) timer - offsetof(struct try, timeout));
    try_stop(try, "timeout", r->options->kill_after);
}

struct try *try_new(struct runner *r, json_t *task)
{
    struct try *try = xcalloc(1, sizeof *try);
    try->runner = r;
    try->task = task;
    try->id = json_string_value(json_object_get(task, "try"));
    try->output_fd = -1;
    try->again.fire = claim_on_again;
    try->timeout.fire = on_timeout;
    log_init(try);
    LIST_INSERT_HEAD(&r->tries, try, link);
    return try;
}

struct try *try_find(const struct runner *r, const char *id)
{
    struct try *try;
    LIST_FOREACH(try, &r->tries, link)
    if (strcmp(try->id, id) == 0)
        return try;
    return NULL;
}

static void close_output(struct try *try)
{
    if (try->output_fd < 0)
        return;
    node_unwatch(try->runner->node, try->output_fd);
    close(try->output_fd);
    try->output_fd = -1;
}

void try_free(struct try *try)
{
    LIST_REMOVE(try, link);
    close_output(try);
    node_timer_unset(try->runner->node, &try->again);
    node_timer_unset(try->runner->node, &try->timeout);
    log_fini(try);
    json_decref(try->task);
    json_decref(try->ending.outputs);
    free(try->ending.error);
    free(try->cause.id);
    free(try->cause.subject);
    free(try->cause.traceparent);
    free(try->cause.tracestate);
    free(try->cause.correlationid);
    record_forget(try);
    free(try->outputs);
    free(try);
}

/* ---- output ---- */

/* True if there may be more. */
static bool read_output(struct try *try)
{
    uint8_t *chunk = try->runner->chunk;
    ssize_t got = read(try->output_fd, chunk, READ_BYTES);
    if (got > 0)
        log_take(try, chunk, (size_t) got);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        close_output(try);
    return got > 0;
}

static void on_output(void *arg, int fd, uint32_t events)
{
    (void) fd, (void) events;
    for (int i = 0; i < READS_PER_TURN && read_output(arg); i++)
        continue;
}

/* ---- start ---- */

static const char *const UNSET[] = {
    "LINESHAFT_NODE",     "LINESHAFT_MEMBER", "LINESHAFT_CONSUMER",    "LINESHAFT_OPTIONS",
    "LINESHAFT_DRAIN_MS", "LINESHAFT_HB_MS",  "LINESHAFT_TRACEPARENT", "LINESHAFT_TOKEN", NULL};

static void name_texts(const struct try *try, char *variables[9])
{
    static const struct {
        const char *name, *key;
    } TEXTS[] = {{"LINESHAFT_WORKFLOW", "workflow"},
                 {"LINESHAFT_WORKFLOW_RUN_ID", "workflow_run_id"},
                 {"LINESHAFT_TASK", "task"},
                 {"LINESHAFT_TRY", "try"}};
    const json_t *attempt = json_object_get(try->task, "attempt");
    size_t count = 0;
    for (size_t i = 0; i < 4; i++) {
        const char *text = json_string_value(json_object_get(try->task, TEXTS[i].key));
        variables[count++] = xasprintf("%s=%s", TEXTS[i].name, text ? text : "");
    }
    variables[count++] = xasprintf("LINESHAFT_ATTEMPT=%lld", (long long) (attempt ? json_integer_value(attempt) : 1));
    variables[count++] = xasprintf("LINESHAFT_OUTPUTS=%s", try->outputs);
    variables[count++] = xasprintf("LINESHAFT_URL=%s", try->runner->url);
    if (try->cause.traceparent)
        variables[count++] = xasprintf("LINESHAFT_TRACEPARENT=%s", try->cause.traceparent);
}

/* A memory file with the plan. */
static int make_plan(const struct try *try, struct ls_error *err)
{
    char *variables[9] = {0};
    struct buf bytes = {0};
    name_texts(try, variables);
    const struct plan_place place = {.env = &try->runner->options->env,
                                     .variables = (const char *const *) variables,
                                     .unset = UNSET,
                                     .path_first = try->runner->bin};
    int fd = plan_make(&bytes, try->task, &place, err) ? -1 : memfd_create("plan", MFD_CLOEXEC);
    if (bytes.len && (fd < 0 || write(fd, bytes.data, bytes.len) != (ssize_t) bytes.len)) {
        error_set(err, "START", "cannot prepare the command: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    for (size_t i = 0; i < 9; i++)
        free(variables[i]);
    buf_fini(&bytes);
    return fd;
}

static void set_timeout(struct try *try)
{
    const json_t *timeout = json_object_get(try->task, "timeout_ms");
    double ms = json_number_value(timeout);
    if (json_is_number(timeout) && ms > 0)
        node_timer_set(try->runner->node, &try->timeout, ms < 1e15 ? (int64_t) ms + 1 : (int64_t) 1e15);
}

static void order_lease(const struct try *try, int kind, struct order *order)
{
    struct runner *r = try->runner;
    /* A command is asked to end when its lease does, and has half of the scheduler's grace for it. */
    *order = (struct order){.kind = kind,
                            .end_at = try->lease_end,
                            .kill_at = try->lease_end + r->lease_ms / 8,
                            .kill_after = r->options->kill_after};
}

/* Gives the try to a free keeper: plan, output and record. */
static int hand_over(struct try *try, struct ls_error *err)
{
    struct order order;
    int fds[ORDER_FDS] = {-1, -1, -1, -1}, output[2] = {-1, -1}, rc = 0; /* plan, held end, command's end, record */
    struct hand *hand = hands_find_free(try->runner);
    order_lease(try, ORDER_START, &order);
    fds[3] = record_open(try, err); /* stays the record's */
    fds[0] = fds[3] < 0 ? -1 : make_plan(try, err);
    if (!hand && fds[0] >= 0)
        rc = error_set(err, "START", "there is no keeper: they were killed");
    if (fds[0] < 0)
        rc = -1;
    else if (!rc && pipe2(output, O_CLOEXEC))
        rc = error_set(err, "START", "cannot make a pipe: %s", strerror(errno));
    fds[1] = output[0];
    fds[2] = output[1];
    if (!rc && hand_order(hand, &order, fds))
        rc = error_set(err, "START", "cannot reach a keeper: %s", strerror(errno));
    if (fds[0] >= 0)
        close(fds[0]);
    if (fds[2] >= 0)
        close(fds[2]);
    if (rc) {
        if (fds[1] >= 0)
            close(fds[1]);
        return rc;
    }
    fcntl(fds[1], F_SETFL, O_NONBLOCK); /* shared with the keeper, who never reads */
    try->output_fd = fds[1];
    try->hand = hand;
    hand->try = try;
    return 0;
}

void try_start(struct try *try)
{
    struct ls_error err = {0};
    if (hand_over(try, &err)) {
        try_fail(try, "not_started", err.text);
        return;
    }
    node_watch(try->runner->node, try->output_fd, EPOLLIN, on_output, try);
    set_timeout(try);
}

static void not_started(struct try *try, const struct word *word)
{
    const json_t *command = json_object_get(try->task, "command");
    const char *name = json_string_value(json_is_array(command) ? json_array_get(command, 0) : NULL);
    const char *hint = word->error == ENOEXEC ? "; a script needs a first line such as #!/bin/sh"
                       : word->error == E2BIG ? "; pass large values in a file"
                                              : "";
    const char *what = word->in_directory ? json_string_value(json_object_get(try->task, "directory"))
                       : name             ? name
                                          : "/bin/sh";
    char *error =
        xasprintf(word->in_directory ? "cannot run in the directory \"%s\": %s%s" : "cannot start \"%s\": %s%s", what,
                  strerror(word->error), hint);
    try_fail(try, "not_started", error);
    free(error);
}

void try_on_started(struct try *try, const struct word *word)
{
    try->started = *word;
    if (word->error) {
        try->hand->try = NULL;
        try->hand = NULL;
        not_started(try, word);
        return;
    }
    try->tell_started = true;
    runner_count(try->runner, METRIC_STARTED, 1);
    report_turn(try->runner);
}

/* ---- while it runs ---- */

void try_lease(struct try *try, int64_t end_at)
{
    struct order order;
    if (end_at <= try->lease_end)
        return;
    try->lease_end = end_at;
    order_lease(try, ORDER_LEASE, &order);
    if (try->hand)
        hand_order(try->hand, &order, NULL);
}

void try_stop(struct try *try, const char *reason, int64_t kill_after)
{
    if (try->state != TRY_RUNNING || !try->hand)
        return;
    if (!try->stop_reason)
        try->stop_reason = reason;
    node_timer_unset(try->runner->node, &try->timeout);
    hand_order(try->hand, &(struct order){.kind = ORDER_STOP, .kill_after = kill_after}, NULL);
}

/* ---- the end ---- */

static void over(struct try *try)
{
    struct runner *r = try->runner;
    bool good = strcmp(try->ending.reason, "exit") == 0 && WEXITSTATUS(try->ending.word.status) == 0;
    node_timer_unset(r->node, &try->timeout);
    for (int i = 0; i < READS_AT_END_MAX && try->output_fd >= 0 && read_output(try); i++)
        continue;
    close_output(try);
    log_end(try);
    if (try->state == TRY_RUNNING)
        runner_count(r, METRIC_RUNNING, -1);
    runner_count(r, good ? METRIC_SUCCEEDED : METRIC_FAILED, 1);
    if (strcmp(try->ending.reason, "lost") == 0)
        runner_count(r, METRIC_LOST, 1);
    try->state = TRY_OVER;
    report_turn(r);
    runner_window(r);
    claim_all(r);
}

void try_fail(struct try *try, const char *reason, const char *error)
{
    try->ending = (struct ending){.reason = reason, .error = xstrdup(error), .word.start_ms = try->started.start_ms};
    over(try);
}

static void read_outputs(struct try *try)
{
    struct ls_error err = {0};
    try->ending.outputs = outputs_read(try->outputs, &err);
    if (try->ending.outputs)
        return;
    try->ending.reason = "outputs";
    try->ending.error = xstrdup(err.text);
}

void try_judge(struct try *try, const struct word *ended)
{
    struct ending *ending = &try->ending;
    bool stopping = node_draining(try->runner->node);
    *ending = (struct ending){.word = *ended};
    if (ended->why == WHY_LEASE) {
        ending->reason = "lost";
        ending->error =
            xstrdup("the lease ran out: neither scheduler nor broker answered in time, so the command was ended");
    } else if (ended->why == WHY_RUNNER) {
        ending->reason = "lost";
        ending->error = xstrdup("the runner was killed, and so was what it ran");
    } else if (ended->why == WHY_STOPPED) {
        ending->reason = try->stop_reason ? try->stop_reason : "stopped";
    } else if (WIFEXITED(ended->status)) {
        ending->reason = "exit";
        if (WEXITSTATUS(ended->status) == 0)
            read_outputs(try);
    } else { /* the whole topology is being ended: the signal was for all */
        int signal = WTERMSIG(ended->status);
        ending->reason =
            stopping && (signal == SIGTERM || signal == SIGINT || signal == SIGKILL) ? "stopped" : "signal";
    }
}

void try_on_ended(struct try *try, const struct word *ended)
{
    try_judge(try, ended);
    over(try);
}
