/* SPDX-License-Identifier: Apache-2.0 */
/* When a task may run, by the states of those it depends on: Airflow's twelve trigger rules. How long it waits
 * before it is tried again. The words for states and rules. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "workflow/workflow.h"

const char *const TRIGGER_RULES[] = {
    [RULE_ALL_SUCCESS] = "all_success",
    [RULE_ALL_FAILED] = "all_failed",
    [RULE_ALL_DONE] = "all_done",
    [RULE_ALL_DONE_MIN_ONE_SUCCESS] = "all_done_min_one_success",
    [RULE_ALL_SKIPPED] = "all_skipped",
    [RULE_ONE_FAILED] = "one_failed",
    [RULE_ONE_SUCCESS] = "one_success",
    [RULE_ONE_DONE] = "one_done",
    [RULE_NONE_FAILED] = "none_failed",
    [RULE_NONE_FAILED_MIN_ONE_SUCCESS] = "none_failed_min_one_success",
    [RULE_NONE_SKIPPED] = "none_skipped",
    [RULE_ALWAYS] = "always",
    NULL,
};

const char *const TASK_STATES[] = {
    [TASK_NONE] = "none",
    [TASK_SCHEDULED] = "scheduled",
    [TASK_QUEUED] = "queued",
    [TASK_RUNNING] = "running",
    [TASK_SUCCESS] = "success",
    [TASK_FAILED] = "failed",
    [TASK_SKIPPED] = "skipped",
    [TASK_UPSTREAM_FAILED] = "upstream_failed",
    [TASK_UP_FOR_RETRY] = "up_for_retry",
    [TASK_REMOVED] = "removed",
    NULL,
};

const char *const RUN_STATES[] = {
    [RUN_QUEUED] = "queued", [RUN_RUNNING] = "running", [RUN_SUCCESS] = "success", [RUN_FAILED] = "failed", NULL};

/* ---- rules: a function each. `done` says that nothing can change any more. Where all is done and a rule can
 * neither run nor skip (somebody upstream was removed), the answer is RULE_FAIL, so that no run waits for ever. ---- */

struct tally {
    const struct rule_counts *n;
    size_t bad; /* failed, or could not run for a failure */
    bool done;
};

static enum rule_verdict run_if(bool met, const struct tally *t)
{
    return met ? RULE_RUN : t->done ? RULE_FAIL : RULE_WAIT;
}

static enum rule_verdict all_success(const struct tally *t)
{
    if (t->bad)
        return RULE_FAIL;
    return t->n->skipped ? RULE_SKIP : run_if(t->n->success == t->n->upstream, t);
}

static enum rule_verdict all_failed(const struct tally *t)
{
    return t->n->success || t->n->skipped ? RULE_SKIP : run_if(t->bad == t->n->upstream, t);
}

static enum rule_verdict all_done(const struct tally *t)
{
    return run_if(t->done, t);
}

/* A task that was skipped does not count as done here: it makes this one skipped, too. */
static enum rule_verdict all_done_min_one_success(const struct tally *t)
{
    return t->n->skipped ? RULE_SKIP : run_if(t->done && t->n->success, t);
}

static enum rule_verdict all_skipped(const struct tally *t)
{
    return t->n->success || t->bad ? RULE_SKIP : run_if(t->n->skipped == t->n->upstream, t);
}

static enum rule_verdict one_failed(const struct tally *t)
{
    return t->bad ? RULE_RUN : t->done ? RULE_SKIP : RULE_WAIT;
}

static enum rule_verdict one_success(const struct tally *t)
{
    return t->done && t->n->skipped == t->n->upstream ? RULE_SKIP : run_if(t->n->success, t);
}

/* A task that could not run for a failure has not been done. */
static enum rule_verdict one_done(const struct tally *t)
{
    return t->n->success || t->n->failed ? RULE_RUN : t->done ? RULE_SKIP : RULE_WAIT;
}

static enum rule_verdict none_failed(const struct tally *t)
{
    return t->bad ? RULE_FAIL : run_if(t->n->success + t->n->skipped == t->n->upstream, t);
}

static enum rule_verdict none_failed_min_one_success(const struct tally *t)
{
    return !t->bad && t->n->skipped == t->n->upstream ? RULE_SKIP : none_failed(t);
}

static enum rule_verdict none_skipped(const struct tally *t)
{
    return t->n->skipped ? RULE_SKIP : run_if(t->done, t);
}

enum rule_verdict rule_decide(enum trigger_rule rule, const struct rule_counts *counts)
{
    static enum rule_verdict (*const RULES[])(const struct tally *) = {
        [RULE_ALL_SUCCESS] = all_success,   [RULE_ALL_FAILED] = all_failed,
        [RULE_ALL_DONE] = all_done,         [RULE_ALL_DONE_MIN_ONE_SUCCESS] = all_done_min_one_success,
        [RULE_ALL_SKIPPED] = all_skipped,   [RULE_ONE_FAILED] = one_failed,
        [RULE_ONE_SUCCESS] = one_success,   [RULE_ONE_DONE] = one_done,
        [RULE_NONE_FAILED] = none_failed,   [RULE_NONE_FAILED_MIN_ONE_SUCCESS] = none_failed_min_one_success,
        [RULE_NONE_SKIPPED] = none_skipped,
    };
    size_t over = counts->success + counts->failed + counts->skipped + counts->upstream_failed + counts->removed;
    struct tally t = {counts, counts->failed + counts->upstream_failed, over >= counts->upstream};
    return !counts->upstream || rule == RULE_ALWAYS ? RULE_RUN : RULES[rule](&t);
}

/* ---- retries ---- */

int64_t retry_delay_ms(const struct retry *retry, int64_t attempt, const char *identity)
{
    if (!retry->delay_ms)
        return 0;
    double limit = (double) retry->max_delay_ms;
    double base = (double) retry->delay_ms * pow(retry->backoff, (double) (attempt - 1));
    base = base < limit ? base : limit; /* pow may have become infinite */
    if (retry->jitter) {
        uint64_t hash = XXH3_64bits_withSeed(identity, strlen(identity), (uint64_t) attempt);
        base += base * ((double) (hash >> 11) / (double) (UINT64_C(1) << 53));
        base = base < limit ? base : limit;
    }
    return (int64_t) base;
}
