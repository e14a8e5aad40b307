/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's engine: what tasks and runs become, with the time set and the bus played. */
#include "tests/unit/scheduler_rig.h"

#include "lib/buf.h"

/* ---- tasks ---- */

static void a_chain_of_events_runs_to_its_end(void **state)
{
    struct rig *r = *state;
    define(r,
           "{id: w, tasks: [{id: a, event: job.a}, {id: b, event: job.b, depends_on: a, data: {of: '{{ run_id }}'}}]}");
    start(r, "w", "r1");
    assert_string_equal(run_state(r, "r1"), "success");
    assert_int_equal(told(r, "job.a"), 1);
    assert_int_equal(told(r, "job.b"), 1);
    assert_int_equal(told(r, "task.succeeded"), 2);
    assert_int_equal(told(r, "workflow.run.succeeded"), 1);
    pass(r, 2000);
    assert_string_equal(query(r, "SELECT count(*) FROM lineshaft_scheduler_outbox", NULL, NULL), "0");
}

static void an_event_task_waits_until_the_broker_has_its_event(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, event: job.a}]}");
    r->hold = true;
    size_t first = json_array_size(r->history);
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "a"), "running");
    size_t next = json_array_size(r->history);
    r->hold = false;
    restart(r); /* what was not acknowledged is published again, under the same ids */
    assert_string_equal(state_of(r, "r1", "a"), "success");
    for (size_t i = first; i < next; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(r->history, i), "id")),
                            json_string_value(json_object_get(json_array_get(r->history, next - first + i), "id")));
    for (size_t i = 0; i < r->held_count; i++)
        outbox_published(r->held[i], NULL); /* late answers to what was forgotten */
    turn(r);
    assert_string_equal(run_state(r, "r1"), "success");
}

static void a_refused_event_fails_its_task(void **state)
{
    struct rig *r = *state;
    struct ls_error err = {.name = "SCHEMA", .text = "data/n: is no number"};
    define(r, "{id: w, tasks: [{id: a, event: job.a}]}");
    r->hold = true;
    start(r, "w", "r1");
    r->hold = false;
    for (size_t i = 0; i < r->held_count; i++)
        outbox_published(r->held[i], i + 1 == r->held_count ? &err : NULL);
    turn(r);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
    assert_string_equal(query(r, "SELECT error FROM lineshaft_task", NULL, NULL), "data/n: is no number");
}

static void a_request_gives_outputs_to_the_tasks_behind_it(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, request: things.get}, {id: b, event: job.b, depends_on: a, data: {n: '{{ "
              "outputs.a.n }}'}}]}");
    start(r, "w", "r1");
    assert_int_equal(r->asked, 1);
    assert_string_equal(r->asked_topic, "things.get");
    json_t *answer = json_pack("{s:i}", "n", 7);
    engine_answered(&r->engine, r->asked_try, answer, NULL);
    engine_answered(&r->engine, r->asked_try, answer, NULL);
    json_decref(answer);
    turn(r);
    assert_string_equal(run_state(r, "r1"), "success");
    assert_int_equal(told(r, "job.b"), 1);
    size_t i;
    json_t *event;
    json_array_foreach(r->history, i,
                       event) if (strcmp(json_string_value(json_object_get(event, "topic")), "job.b") == 0)
        assert_int_equal(json_integer_value(json_object_get(json_object_get(event, "data"), "n")), 7);
}

static void a_request_of_a_scheduler_that_died_is_lost_and_asked_again(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, request: things.get, retry: {lost_limit: 1}}]}");
    start(r, "w", "r1");
    restart(r);
    assert_int_equal(r->asked, 2);
    restart(r);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
}

static void failures_are_tried_again_after_growing_delays(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: 'false', retry: {limit: 2, delay: 10s, backoff: 3, jitter: false}}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "a", 1);
    assert_string_equal(state_of(r, "r1", "a"), "up_for_retry");
    pass(r, 9999);
    assert_string_equal(state_of(r, "r1", "a"), "up_for_retry");
    restart(r); /* the delay outlives it */
    assert_string_equal(state_of(r, "r1", "a"), "up_for_retry");
    pass(r, 1);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
    work(r, "w", "r1", "a", 1);
    pass(r, 29999);
    assert_string_equal(state_of(r, "r1", "a"), "up_for_retry");
    pass(r, 1);
    work(r, "w", "r1", "a", 2);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
    assert_string_equal(run_state(r, "r1"), "failed");
    assert_string_equal(query(r, "SELECT error FROM lineshaft_workflow_run", NULL, NULL),
                        "a failed after 3 tries: exit code 2");
    assert_int_equal(told(r, "task.retrying"), 2);
    assert_int_equal(told(r, "task.failed"), 1);
}

static void only_listed_exit_codes_are_tried_again(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x, retry: {limit: 5, delay: 0s, exit_codes: [75]}}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "a", 75);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
    work(r, "w", "r1", "a", 1);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
}

static void results_of_old_tries_change_nothing(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x, retry: {limit: 1, delay: 0s}}]}");
    start(r, "w", "r1");
    char old[LS_ID_SIZE];
    memcpy(old, try_of(r, "w", "r1", "a")->id, sizeof old);
    work(r, "w", "r1", "a", 1);
    ended(r, old, "exit", 0);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
    assert_string_equal(claim(r, old, "hands", "boot-1"), "over");
    assert_int_equal(r->counters[METRIC_LATE_REPORTS], 1);
}

static void a_condition_skips_and_the_skip_spreads(void **state)
{
    struct rig *r = *state;
    define(r,
           "{id: w, inputs: {go: {default: false}}, tasks: [{id: a, event: job.a, when: inputs.go}, {id: b, event: "
           "job.b, depends_on: a},"
           " {id: c, event: job.c, depends_on: a, trigger_rule: none_failed}, {id: d, event: job.d, disabled: true}]}");
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "a"), "skipped");
    assert_string_equal(state_of(r, "r1", "b"), "skipped");
    assert_string_equal(state_of(r, "r1", "c"), "success");
    assert_string_equal(state_of(r, "r1", "d"), "skipped");
    assert_string_equal(query(r, "SELECT reason FROM lineshaft_task WHERE task = 'b'", NULL, NULL), "upstream_skipped");
    assert_string_equal(run_state(r, "r1"), "success");
}

static void a_mistake_in_an_expression_fails_the_task_with_its_sentence(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, event: job.a, when: 'inputs < 3', retry: 5}, {id: b, event: '{{ run_id }} no "
              "topic', retry: 5}]}");
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "a"), "failed");
    assert_memory_equal(query(r, "SELECT error FROM lineshaft_task WHERE task = 'a'", NULL, NULL),
                        "when: inputs < 3: ", 18);
    assert_string_equal(state_of(r, "r1", "b"), "failed");
    assert_int_equal(told(r, "task.retrying"), 0);
}

static void failure_spreads_but_the_leaves_decide(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}, {id: b, event: job.b, depends_on: a}, {id: c, event: job.c, "
              "depends_on: b},"
              " {id: d, event: job.d, depends_on: c, trigger_rule: all_done}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "a", 1);
    assert_string_equal(state_of(r, "r1", "c"), "upstream_failed");
    assert_string_equal(state_of(r, "r1", "d"), "success");
    assert_string_equal(run_state(r, "r1"), "success"); /* Airflow's pitfall, and its rule */
}

static void one_success_does_not_wait_for_the_rest(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, event: job.a}, {id: slow, command: x}, {id: c, event: job.c, depends_on: [a, "
              "slow], trigger_rule: one_success}]}");
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "c"), "success");
    assert_string_equal(run_state(r, "r1"), "running");
}

static void a_long_chain_are_skipped_in_one_turn(void **state)
{
    struct rig *r = *state;
    struct buf yaml = {0};
    buf_addf(&yaml, "id: w\ntasks:\n- {id: t0, event: job.a, disabled: true}\n");
    for (int i = 1; i < 1500; i++) /* as many as a file can hold in this form; the cascade is no recursion */
        buf_addf(&yaml, "- {id: t%d, event: job.a, depends_on: t%d}\n", i, i - 1);
    define(r, buf_text(&yaml));
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "t1499"), "skipped");
    assert_string_equal(run_state(r, "r1"), "success");
    buf_fini(&yaml);
}

/* ---- who may begin ---- */

static void pools_and_priority_decide_who_is_next(void **state)
{
    struct rig *r = *state;
    define(r,
           "{id: w, tasks: [{id: a, command: x, pool: default, pool_slots: 100}, {id: low, command: x, pool_slots: 50},"
           " {id: high, command: x, pool_slots: 50, priority: 5}, {id: odd, command: x, pool: nowhere}]}");
    start(r, "w", "r1");
    assert_string_equal(state_of(r, "r1", "odd"), "queued"); /* a pool that there is not limits nothing */
    assert_string_equal(state_of(r, "r1", "high"), "queued");
    assert_string_equal(state_of(r, "r1", "low"), "queued");
    assert_string_equal(state_of(r, "r1", "a"), "scheduled");
    work(r, "w", "r1", "high", 0);
    assert_string_equal(state_of(r, "r1", "a"), "scheduled");
    restart(r);
    assert_string_equal(state_of(r, "r1", "a"), "scheduled");
    work(r, "w", "r1", "low", 0);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
}

static void limits_of_workflow_and_scheduler_hold_over_all_runs(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, max_active_tasks: 2, tasks: [{id: a, command: x}, {id: b, command: x}]}");
    define(r, "{id: v, tasks: [{id: a, command: x}, {id: b, command: x}]}");
    r->options.max_active_tasks = 3;
    start(r, "w", "r1");
    start(r, "w", "r2");
    start(r, "v", "r3");
    assert_string_equal(state_of(r, "r2", "a"), "scheduled");
    assert_int_equal(r->counters[METRIC_TASKS_ACTIVE], 3);
    assert_string_equal(state_of(r, "r3", "a"), "queued");
    assert_string_equal(state_of(r, "r3", "b"), "scheduled");
    work(r, "w", "r1", "a", 0);
    assert_int_equal(r->counters[METRIC_TASKS_ACTIVE], 3);
    work(r, "w", "r1", "b", 0);
    work(r, "v", "r3", "a", 0);
    work(r, "w", "r2", "a", 0);
    work(r, "w", "r2", "b", 0);
    work(r, "v", "r3", "b", 0);
    assert_int_equal(r->counters[METRIC_TASKS_ACTIVE], 0);
    assert_int_equal(r->counters[METRIC_TASKS_WAITING], 0);
    assert_string_equal(run_state(r, "r2"), "success");
}

static void a_run_too_many_waits_is_skipped_or_replaces(void **state)
{
    struct rig *r = *state;
    define(r, "{id: q, max_active_runs: 1, tasks: [{id: a, command: x}]}");
    define(r, "{id: s, concurrency: {limit: 1, policy: skip}, tasks: [{id: a, command: x}]}");
    define(r, "{id: c, concurrency: {limit: 1, policy: cancel}, tasks: [{id: a, command: x}]}");
    start(r, "q", "q1");
    start(r, "q", "q2");
    assert_string_equal(run_state(r, "q2"), "queued");
    work(r, "q", "q1", "a", 0);
    assert_string_equal(run_state(r, "q2"), "running");
    start(r, "s", "s1");
    assert_null(ask(r, "scheduler.run", "{s:s, s:s}", "workflow", "s", "workflow_run_id", "s2"));
    assert_non_null(strstr(refusal, "1 active runs"));
    start(r, "c", "c1");
    start(r, "c", "c2");
    assert_string_equal(run_state(r, "c1"), "failed");
    assert_string_equal(query(r, "SELECT error FROM lineshaft_workflow_run WHERE run_id = $1", "c1", NULL),
                        "replaced by a newer run");
    assert_string_equal(run_state(r, "c2"), "running");
    assert_int_equal(told(r, "workflow.run.cancelled"), 1);
}

/* ---- runners ---- */

static void a_claim_is_granted_once_and_to_the_same_again(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    const char *id = try_of(r, "w", "r1", "a")->id;
    assert_string_equal(claim(r, id, "hands", "boot-1"), "granted");
    assert_string_equal(claim(r, id, "hands", "boot-1"), "granted");
    assert_string_equal(claim(r, id, "hands", "boot-2"), "taken");
    assert_string_equal(claim(r, id, "other", "boot-1"), "taken");
    restart(r);
    id = try_of(r, "w", "r1", "a")->id;
    assert_string_equal(claim(r, id, "other", "boot-3"), "taken");
    assert_string_equal(claim(r, id, "hands", "boot-1"), "granted");
    assert_string_equal(claim(r, "no-such-try", "hands", "boot-1"), "unknown");
}

static void a_silent_runner_loses_its_try_and_that_is_no_failure(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x, retry: {limit: 0, lost_limit: 1}}]}");
    start(r, "w", "r1");
    assert_string_equal(claim(r, try_of(r, "w", "r1", "a")->id, "hands", "boot-1"), "granted");
    for (int i = 0; i < 7; i++)
        pass(r, 5000);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
    pass(r, 2499);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
    pass(r, 1);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 1);
    assert_string_equal(state_of(r, "r1", "a"), "queued"); /* the next try, for anyone */
    assert_string_equal(claim(r, try_of(r, "w", "r1", "a")->id, "other", "boot-9"), "granted");
    for (int i = 0; i < 8; i++)
        pass(r, 5000);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
    assert_string_equal(query(r, "SELECT reason FROM lineshaft_task", NULL, NULL), "lost");
}

static void no_lease_ends_while_nobody_can_be_heard(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    claim(r, try_of(r, "w", "r1", "a")->id, "hands", "boot-1");
    engine_connected(&r->engine, false);
    for (int i = 0; i < 40; i++)
        pass(r, 5000);
    engine_connected(&r->engine, true);
    for (int i = 0; i < 7; i++)
        pass(r, 5000);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
    restart(r); /* and a whole lease again */
    for (int i = 0; i < 7; i++)
        pass(r, 5000);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
    pass(r, HOUR); /* this process slept: what was said meanwhile is unread */
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
}

static void a_database_that_comes_back_finds_every_lease_whole(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    claim(r, try_of(r, "w", "r1", "a")->id, "hands", "boot-1");
    engine_reset(&r->engine);
    r->wall += HOUR;
    r->mono += HOUR;
    rig_load(r);
    turn(r);
    for (int i = 0; i < 7; i++)
        pass(r, 5000);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
    pass(r, 5000);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 1);
}

static void renewing_keeps_tries_and_names_those_to_stop(void **state)
{
    struct rig *r = *state;
    char id[LS_ID_SIZE];
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    memcpy(id, try_of(r, "w", "r1", "a")->id, sizeof id);
    claim(r, id, "hands", "boot-1");
    for (int i = 0; i < 20; i++) {
        pass(r, 5000);
        json_t *answer = ask(r, "task.renew", "{s:s, s:s, s:[s]}", "runner", "hands", "boot", "boot-1", "tries", id);
        assert_int_equal(json_array_size(json_object_get(answer, "stop")), 0);
        json_decref(answer);
    }
    json_decref(ask(r, "scheduler.cancel", "{s:s, s:s}", "workflow", "w", "workflow_run_id", "r1"));
    json_t *answer =
        ask(r, "task.renew", "{s:s, s:s, s:[s, s]}", "runner", "hands", "boot", "boot-1", "tries", id, "unknown");
    char *text = json_dumps(json_object_get(answer, "stop"), JSON_COMPACT | JSON_SORT_KEYS);
    char *wanted =
        xasprintf("[{\"reason\":\"cancelled\",\"try\":\"%s\"},{\"reason\":\"over\",\"try\":\"unknown\"}]", id);
    assert_string_equal(text, wanted);
    free(text);
    free(wanted);
    json_decref(answer);
}

static void a_runner_that_began_anew_has_lost_what_it_does_not_report(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    claim(r, try_of(r, "w", "r1", "a")->id, "hands", "boot-1");
    json_decref(ask(r, "task.renew", "{s:s, s:s, s:[]}", "runner", "hands", "boot", "boot-2", "tries"));
    pass(r, 5000);
    json_decref(ask(r, "task.renew", "{s:s, s:s, s:[]}", "runner", "hands", "boot", "boot-2", "tries"));
    pass(r, 2500);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 1);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
}

static void what_a_former_process_is_about_to_report_is_not_lost(void **state)
{
    struct rig *r = *state;
    char id[LS_ID_SIZE];
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    memcpy(id, try_of(r, "w", "r1", "a")->id, sizeof id);
    claim(r, id, "hands", "boot-1");
    json_decref(
        ask(r, "task.renew", "{s:s, s:s, s:[], s:[s]}", "runner", "hands", "boot", "boot-2", "tries", "ended", id));
    for (int i = 0; i < 7; i++) /* the renewal came first */
        pass(r, 5000);
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 0);
    ended(r, id, "exit", 0);
    assert_string_equal(state_of(r, "r1", "a"), "success");
}

static void what_others_say_of_a_try_does_not_keep_it(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    claim(r, try_of(r, "w", "r1", "a")->id, "hands", "boot-1");
    for (int i = 0; i < 8; i++) {
        json_decref(ask(r, "task.renew", "{s:s, s:s, s:[], s:[s]}", "runner", "other", "boot", "boot-3", "tries",
                        "ended", try_of(r, "w", "r1", "a")->id));
        pass(r, 5000);
    }
    assert_int_equal(r->counters[METRIC_TRIES_LOST], 1);
}

/* ---- stopping and clearing ---- */

static void cancelling_stops_what_runs_and_skips_the_rest(void **state)
{
    struct rig *r = *state;
    define(
        r,
        "{id: w, tasks: [{id: a, command: x, retry: 3}, {id: b, command: x}, {id: c, event: job.c, depends_on: a}]}");
    start(r, "w", "r1");
    char id[LS_ID_SIZE];
    memcpy(id, try_of(r, "w", "r1", "a")->id, sizeof id);
    claim(r, id, "hands", "boot-1");
    json_decref(
        ask(r, "scheduler.cancel", "{s:s, s:s, s:s}", "workflow", "w", "workflow_run_id", "r1", "reason", "no need"));
    assert_string_equal(run_state(r, "r1"), "running");
    assert_string_equal(state_of(r, "r1", "b"), "skipped");
    assert_string_equal(state_of(r, "r1", "c"), "skipped");
    assert_int_equal(told(r, "task.cancel"), 1);
    restart(r);
    ended(r, id, "cancelled", 0);
    assert_string_equal(state_of(r, "r1", "a"), "failed");
    assert_string_equal(run_state(r, "r1"), "failed");
    assert_int_equal(told(r, "workflow.run.cancelled"), 1);
    assert_null(ask(r, "scheduler.cancel", "{s:s, s:s}", "workflow", "w", "workflow_run_id", "r1"));
}

static void a_run_ends_with_its_timeout(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, timeout: 1m, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    pass(r, 30000);
    restart(r);
    pass(r, 29999);
    assert_string_equal(run_state(r, "r1"), "running");
    pass(r, 1);
    assert_string_equal(run_state(r, "r1"), "failed");
    assert_string_equal(query(r, "SELECT reason FROM lineshaft_workflow_run", NULL, NULL), "timeout");
}

static void cleared_tasks_run_again_with_what_is_behind_them(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, event: job.a}, {id: b, command: x, depends_on: a}, {id: c, event: job.c, "
              "depends_on: b}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "b", 1);
    assert_string_equal(run_state(r, "r1"), "failed");
    restart(r);
    json_t *dry = ask(r, "scheduler.clear", "{s:s, s:s, s:b}", "workflow", "w", "workflow_run_id", "r1", "dry_run", 1);
    assert_int_equal(json_array_size(json_object_get(dry, "tasks")), 2);
    json_decref(dry);
    assert_string_equal(run_state(r, "r1"), "failed");
    json_decref(ask(r, "scheduler.clear", "{s:s, s:s}", "workflow", "w", "workflow_run_id", "r1"));
    assert_string_equal(run_state(r, "r1"), "running");
    work(r, "w", "r1", "b", 0);
    assert_string_equal(run_state(r, "r1"), "success");
    assert_string_equal(query(r, "SELECT attempt FROM lineshaft_task WHERE task = 'b'", NULL, NULL), "2");
    assert_int_equal(told(r, "job.a"), 1);
    assert_int_equal(told(r, "task.cleared"), 2);
}

static void failures_in_a_row_pause_the_workflow(void **state)
{
    struct rig *r = *state;
    struct flow *flow = define(r, "{id: w, max_consecutive_failures: 2, tasks: [{id: a, command: x}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "a", 1);
    assert_false(flow->paused);
    restart(r);
    start(r, "w", "r2");
    work(r, "w", "r2", "a", 1);
    assert_true(flow_find(&r->engine, "w")->paused);
    start(r, "w", "r3");
    assert_string_equal(run_state(r, "r3"), "queued");
    restart(r);
    json_decref(ask(r, "scheduler.pause", "{s:s, s:b}", "workflow", "w", "paused", 0));
    assert_string_equal(run_state(r, "r3"), "running");
}

/* ---- the same after a restart in every state ---- */

static const char MIXED[] =
    "{id: w, tasks: [{id: a, event: job.a}, {id: b, command: x, depends_on: a, retry: {limit: 1, delay: 10s, jitter: "
    "false}},"
    " {id: c, command: x, depends_on: b, when: 'true'}, {id: d, event: job.d, depends_on: a, disabled: true},"
    " {id: e, event: job.e, depends_on: [c, d], trigger_rule: none_failed}]}";

static char *life(struct rig *r, const char *run_id, bool restarts)
{
    struct buf story = {0};
    static const char *const TASKS[] = {"a", "b", "c", "d", "e"};
    define(r, MIXED);
    start(r, "w", run_id);
    for (int step = 0; step < 6; step++) {
        if (restarts)
            restart(r);
        for (size_t i = 0; i < 5; i++)
            buf_addf(&story, "%s ", state_of(r, run_id, TASKS[i]));
        buf_addf(&story, "%s\n", run_state(r, run_id));
        if (step == 0)
            work(r, "w", run_id, "b", 1);
        else if (step == 1 || step == 2)
            pass_busy(r, 6000);
        else if (step == 3)
            work(r, "w", run_id, "b", 0);
        else if (step == 4)
            work(r, "w", run_id, "c", 0);
    }
    char *text = xstrdup(buf_text(&story));
    buf_fini(&story);
    return text;
}

static void a_restart_in_any_state_changes_nothing(void **state)
{
    struct rig *r = *state;
    char *plain = life(r, "r1", false), *restarted = life(r, "r2", true);
    assert_string_equal(plain, restarted);
    assert_non_null(strstr(plain, "success success success skipped success success"));
    free(plain);
    free(restarted);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)
    const struct CMUnitTest tests[] = {
        T(a_chain_of_events_runs_to_its_end),
        T(an_event_task_waits_until_the_broker_has_its_event),
        T(a_refused_event_fails_its_task),
        T(a_request_gives_outputs_to_the_tasks_behind_it),
        T(a_request_of_a_scheduler_that_died_is_lost_and_asked_again),
        T(failures_are_tried_again_after_growing_delays),
        T(only_listed_exit_codes_are_tried_again),
        T(results_of_old_tries_change_nothing),
        T(a_condition_skips_and_the_skip_spreads),
        T(a_mistake_in_an_expression_fails_the_task_with_its_sentence),
        T(failure_spreads_but_the_leaves_decide),
        T(one_success_does_not_wait_for_the_rest),
        T(a_long_chain_are_skipped_in_one_turn),
        T(pools_and_priority_decide_who_is_next),
        T(limits_of_workflow_and_scheduler_hold_over_all_runs),
        T(a_run_too_many_waits_is_skipped_or_replaces),
        T(a_claim_is_granted_once_and_to_the_same_again),
        T(a_silent_runner_loses_its_try_and_that_is_no_failure),
        T(no_lease_ends_while_nobody_can_be_heard),
        T(a_database_that_comes_back_finds_every_lease_whole),
        T(renewing_keeps_tries_and_names_those_to_stop),
        T(a_runner_that_began_anew_has_lost_what_it_does_not_report),
        T(what_a_former_process_is_about_to_report_is_not_lost),
        T(what_others_say_of_a_try_does_not_keep_it),
        T(cancelling_stops_what_runs_and_skips_the_rest),
        T(a_run_ends_with_its_timeout),
        T(cleared_tasks_run_again_with_what_is_behind_them),
        T(failures_in_a_row_pause_the_workflow),
        T(a_restart_in_any_state_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
