/* SPDX-License-Identifier: Apache-2.0 */
/* When runs are made: ticks, missed ticks, set clocks, pauses, events. The time is set by hand. */
#include "tests/unit/scheduler_rig.h"

#define DAILY "{id: w, schedule: '0 2 * * *', catchup: %s, tasks: [{id: a, event: job.a}]}"

static void daily(struct rig *r, const char *catchup)
{
    char *yaml = xasprintf(DAILY, catchup);
    define(r, yaml);
    free(yaml);
}

static const char *newest(struct rig *r)
{
    return query(r, "SELECT run_id FROM lineshaft_workflow_run ORDER BY id DESC LIMIT 1", NULL, NULL);
}

/* ---- ticks ---- */

static void a_tick_makes_one_run(void **state)
{
    struct rig *r = *state;
    daily(r, "latest");
    pass(r, 2 * HOUR - 1);
    assert_int_equal(runs_of(r, "w"), 0);
    pass(r, 1);
    assert_string_equal(newest(r), "scheduled__2026-11-23T02:00:00Z");
    restart(r);
    pass(r, 10);
    assert_int_equal(runs_of(r, "w"), 1);
    for (int i = 0; i < 30; i++)
        pass(r, DAY - 5);
    assert_int_equal(runs_of(r, "w"), 30);
    assert_string_equal(
        query(r, "SELECT logical_ms - interval_start_ms FROM lineshaft_workflow_run ORDER BY id DESC LIMIT 1", NULL,
              NULL),
        "86400000");
}

static void a_month_of_five_minutes_is_made_up_in_order(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, schedule: '*/5 * * * *', catchup: all, max_active_runs: 2, tasks: [{id: a, event: job.a}]}");
    pass(r, 5 * MINUTE);
    assert_int_equal(runs_of(r, "w"), 1);
    engine_reset(&r->engine);
    r->wall += 30 * DAY;
    rig_load(r);
    turn(r);
    assert_int_equal(runs_of(r, "w"), 1 + 30 * 288);
    assert_string_equal(query(r, "SELECT count(*) FROM lineshaft_workflow_run WHERE state = 'success'", NULL, NULL),
                        "8641");
    assert_string_equal(query(r,
                              "SELECT count(*) FROM lineshaft_workflow_run a JOIN lineshaft_workflow_run b ON b.id = "
                              "a.id + 1 WHERE b.logical_ms <> "
                              "a.logical_ms + 300000",
                              NULL, NULL),
                        "0");
}

static void catching_up_waits_for_room(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, schedule: {every: 1m}, catchup: all, max_active_runs: 1, tasks: [{id: a, command: x}]}");
    pass(r, MINUTE);
    r->wall += 3 * DAY; /* somebody set the clock, or the machine slept */
    turn(r);
    assert_int_equal(runs_of(r, "w"), CATCHUP_QUEUE_MAX + 1);
    restart(r);
    assert_int_equal(runs_of(r, "w"), CATCHUP_QUEUE_MAX + 1);
}

static void missed_ticks_follow_catchup(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *word;
        int64_t runs;
    } CASES[] = {{"none", 1}, {"latest", 2}, {"all", 4}};
    for (size_t i = 0; i < 3; i++) {
        char *id = xasprintf("w%zu", i),
             *yaml = xasprintf("{id: %s, schedule: '0 2 * * *', catchup: %s, tasks: [{id: a, event: job.a}]}", id,
                               CASES[i].word);
        define(r, yaml);
        free(yaml);
        free(id);
    }
    pass(r, 2 * HOUR);
    engine_reset(&r->engine); /* nothing runs for three days */
    r->wall += 3 * DAY + HOUR;
    rig_load(r);
    turn(r);
    for (size_t i = 0; i < 3; i++) {
        char *id = xasprintf("w%zu", i);
        assert_int_equal(runs_of(r, id), CASES[i].runs);
        free(id);
    }
}

static void a_short_absence_misses_nothing(void **state)
{
    struct rig *r = *state;
    daily(r, "none");
    pass(r, 2 * HOUR - 10);
    engine_reset(&r->engine);
    r->wall += 30000;
    rig_load(r);
    turn(r);
    assert_int_equal(runs_of(r, "w"), 1);
}

static void a_clock_that_is_set_back_repeats_nothing(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, schedule: '*/10 * * * *', tasks: [{id: a, event: job.a}]}");
    for (int i = 0; i < 6; i++)
        pass(r, 10 * MINUTE);
    assert_int_equal(runs_of(r, "w"), 6);
    r->wall -= HOUR;
    turn(r);
    for (int i = 0; i < 6; i++)
        pass(r, 10 * MINUTE);
    assert_int_equal(runs_of(r, "w"), 6);
    pass(r, 10 * MINUTE);
    assert_int_equal(runs_of(r, "w"), 7);
}

static void a_clock_that_is_set_forward_is_an_absence(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, schedule: '*/10 * * * *', catchup: latest, tasks: [{id: a, event: job.a}]}");
    define(r, "{id: v, schedule: '*/10 * * * *', catchup: all, tasks: [{id: a, event: job.a}]}");
    r->wall += HOUR + 1;
    turn(r);
    assert_int_equal(runs_of(r, "w"), 1);
    assert_int_equal(runs_of(r, "v"), 6);
}

static void delays_do_not_follow_a_set_clock(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x, retry: {limit: 1, delay: 10s, jitter: false}}]}");
    start(r, "w", "r1");
    work(r, "w", "r1", "a", 1);
    r->wall -= DAY;
    pass(r, 10000);
    assert_string_equal(state_of(r, "r1", "a"), "queued");
}

static void a_pause_is_an_absence(void **state)
{
    struct rig *r = *state;
    daily(r, "latest");
    json_decref(ask(r, "scheduler.pause", "{s:s, s:b}", "workflow", "w", "paused", 1));
    for (int i = 0; i < 5; i++)
        pass(r, DAY);
    assert_int_equal(runs_of(r, "w"), 0);
    restart(r);
    json_decref(ask(r, "scheduler.pause", "{s:s, s:b}", "workflow", "w", "paused", 0));
    assert_string_equal(newest(r), "scheduled__2026-11-27T02:00:00Z");
    assert_int_equal(runs_of(r, "w"), 1);
}

static void a_changed_schedule_begins_now(void **state)
{
    struct rig *r = *state;
    daily(r, "all");
    pass(r, 12 * HOUR);
    define(r, "{id: w, schedule: '0 * * * *', catchup: all, tasks: [{id: a, event: job.a}]}");
    assert_int_equal(runs_of(r, "w"), 1);
    pass(r, HOUR);
    assert_int_equal(runs_of(r, "w"), 2);
    assert_string_equal(newest(r), "scheduled__2026-11-23T13:00:00Z");
    define(r, "{id: w, schedule: '0 * * * *', catchup: all, tasks: [{id: b, event: job.b}]}");
    restart(r);
    assert_int_equal(runs_of(r, "w"), 2);
    assert_int_equal(told(r, "workflow.updated"), 3);
}

static void a_run_keeps_the_text_that_it_began_with(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, tasks: [{id: a, command: x}, {id: b, event: job.old, depends_on: a}]}");
    start(r, "w", "r1");
    define(r, "{id: w, tasks: [{id: z, event: job.new}]}");
    restart(r);
    work(r, "w", "r1", "a", 0);
    assert_int_equal(told(r, "job.old"), 1);
    start(r, "w", "r2");
    assert_int_equal(told(r, "job.new"), 1);
}

static void a_date_has_one_run_for_ever(void **state)
{
    struct rig *r = *state;
    daily(r, "latest");
    json_decref(ask(r, "scheduler.run", "{s:s, s:s}", "workflow", "w", "logical_date", "2026-11-23T02:00:00Z"));
    pass(r, 2 * HOUR);
    assert_int_equal(runs_of(r, "w"), 1);
    assert_null(ask(r, "scheduler.run", "{s:s, s:s}", "workflow", "w", "logical_date", "2026-11-23T02:00:00Z"));
    assert_non_null(strstr(refusal, "has had a run for 2026-11-23T02:00:00Z already"));
}

static void history_is_forgotten_and_nothing_is_repeated(void **state)
{
    struct rig *r = *state;
    r->options.history = 2 * DAY;
    define(r, "{id: w, schedule: '0 2 * * *', tasks: [{id: a, event: job.a}]}");
    for (int i = 0; i < 10; i++)
        pass(r, DAY);
    assert_int_equal(runs_of(r, "w"), 3);
    restart(r);
    assert_int_equal(runs_of(r, "w"), 3);
    assert_int_equal(told(r, "job.a"), 10);
    assert_string_equal(query(r, "SELECT count(*) FROM lineshaft_task", NULL, NULL), "3");
}

/* ---- events ---- */

static void event(struct rig *r, uint64_t seq, const char *id, const char *body)
{
    const struct ls_event e = {.topic = ls_str("thing.made"),
                               .id = ls_str(id),
                               .source = ls_str("maker"),
                               .time = ls_str("2026-11-23T00:00:00Z"),
                               .traceparent = ls_str("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                               .body = ls_str(body),
                               .stream = ls_str("events"),
                               .seq = seq};
    r->engine.cause = id;
    engine_event(&r->engine, "thing.*", &e);
    r->engine.cause = NULL;
    turn(r);
}

static void an_event_makes_one_run_however_often_it_comes(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, triggers: [{event: 'thing.*', filter: 'event.data.n > 1', inputs: {n: '{{ event.data.n }}'}}], "
              "inputs: {n: {type: integer}},"
              " tasks: [{id: a, event: job.a, data: {n: '{{ inputs.n }}'}}]}");
    event(r, 1, "e1", "{\"n\": 1}");
    event(r, 2, "e2", "{\"n\": 2}");
    event(r, 2, "e2", "{\"n\": 2}");
    restart(r);
    event(r, 2, "e2", "{\"n\": 2}");
    assert_int_equal(runs_of(r, "w"), 1);
    assert_string_equal(query(r, "SELECT event_id || inputs FROM lineshaft_workflow_run", NULL, NULL), "e2{\"n\":2}");
    assert_memory_equal(query(r, "SELECT traceparent FROM lineshaft_workflow_run", NULL, NULL),
                        "00-4bf92f3577b34da6a3ce929d0e0e4736-", 36);
    assert_int_equal(position_find(&r->engine, "thing.*", "events")->next, 3);
    event(r, 3, "e3", "{\"n\": 3}");
    assert_int_equal(runs_of(r, "w"), 2);
}

static void a_key_makes_different_events_one(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, triggers: [{event: 'thing.*', key: '{{ event.data.name }}'}], tasks: [{id: a, event: job.a}]}");
    event(r, 1, "e1", "{\"name\": \"bolt\"}");
    event(r, 2, "e2", "{\"name\": \"bolt\"}");
    event(r, 3, "e3", "{\"name\": \"nut\"}");
    assert_int_equal(runs_of(r, "w"), 2);
    r->options.history = HOUR;
    pass(r, DAY); /* the runs are forgotten, the key is not */
    event(r, 4, "e4", "{\"name\": \"bolt\"}");
    assert_int_equal(runs_of(r, "w"), 0);
}

static void events_of_a_pause_wait_for_its_end(void **state)
{
    struct rig *r = *state;
    define(r, "{id: w, triggers: [{event: 'thing.*'}], tasks: [{id: a, event: job.a}]}");
    json_decref(ask(r, "scheduler.pause", "{s:s, s:b}", "workflow", "w", "paused", 1));
    event(r, 1, "e1", "{}");
    event(r, 2, "e2", "{}");
    assert_int_equal(told(r, "job.a"), 0);
    restart(r);
    json_decref(ask(r, "scheduler.pause", "{s:s, s:b}", "workflow", "w", "paused", 0));
    assert_int_equal(told(r, "job.a"), 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)
    const struct CMUnitTest tests[] = {
        T(a_tick_makes_one_run),
        T(a_month_of_five_minutes_is_made_up_in_order),
        T(catching_up_waits_for_room),
        T(missed_ticks_follow_catchup),
        T(a_short_absence_misses_nothing),
        T(a_clock_that_is_set_back_repeats_nothing),
        T(a_clock_that_is_set_forward_is_an_absence),
        T(delays_do_not_follow_a_set_clock),
        T(a_pause_is_an_absence),
        T(a_changed_schedule_begins_now),
        T(a_run_keeps_the_text_that_it_began_with),
        T(a_date_has_one_run_for_ever),
        T(history_is_forgotten_and_nothing_is_repeated),
        T(an_event_makes_one_run_however_often_it_comes),
        T(a_key_makes_different_events_one),
        T(events_of_a_pause_wait_for_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
