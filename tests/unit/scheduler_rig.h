/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SCHEDULER_RIG_H
#define TESTS_UNIT_SCHEDULER_RIG_H
/* The scheduler's engine on a scratch SQLite file: the time is set, the bus is this file. What is published is
 * kept in `history`, in order, and is acknowledged at once unless `hold` is set. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "nodes/scheduler/engine.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define MONDAY INT64_C(1795392000000) /* 2026-11-23T00:00:00Z */

struct rig {
    char folder[64];
    struct db *db;
    struct engine engine;
    struct engine_ports ports;
    struct scheduler_options options;
    int64_t counters[METRIC_COUNT];
    int64_t wall, mono;
    json_t *history; /* [{topic, id, data, again}]; again: a broker knows the id */
    json_t *ids;
    struct letter *held[1000];
    size_t held_count, asked;
    bool hold;
    char asked_try[LS_ID_SIZE], asked_topic[201];
    struct definition *definitions[16];
    size_t definition_count;
};

static int64_t rig_wall(void *arg)
{
    return ((struct rig *) arg)->wall;
}

static int64_t rig_mono(void *arg)
{
    return ((struct rig *) arg)->mono;
}

static bool rig_publish(void *arg, const struct ls_event *event, struct letter *letter)
{
    struct rig *r = arg;
    json_t *data = event->body.len ? json_loadb(event->body.data, event->body.len, JSON_DECODE_ANY, NULL) : json_null();
    char *id = xstrndup(event->id.data, event->id.len);
    json_array_append_new(r->history, json_pack("{s:s#, s:s, s:o, s:b}", "topic", event->topic.data, event->topic.len,
                                                "id", id, "data", data, "again", json_object_get(r->ids, id) != NULL));
    json_object_set_new(r->ids, id, json_true());
    free(id);
    if (r->hold)
        r->held[r->held_count++] = letter;
    else
        outbox_published(letter, NULL);
    return true;
}

static void rig_ask(void *arg, const struct try *try, int64_t timeout_ms)
{
    struct rig *r = arg;
    (void) timeout_ms;
    r->asked++;
    snprintf(r->asked_try, sizeof r->asked_try, "%s", try->id);
    snprintf(r->asked_topic, sizeof r->asked_topic, "%s", try->topic);
}

static void rig_stop_asking(void *arg, const char *try_id)
{
    struct ls_error err = {.name = "CANCELLED", .text = "cancelled"};
    engine_answered(&((struct rig *) arg)->engine, try_id, NULL, &err);
}

static void rig_load(struct rig *r)
{
    struct ls_error err = {0};
    if (engine_load(&r->engine, r->db, &err))
        fail_msg("%s", err.text);
    engine_definitions(&r->engine, r->definitions, r->definition_count);
}

static int rig_open(void **state)
{
    struct rig *r = xcalloc(1, sizeof *r);
    struct ls_error err = {0};
    snprintf(r->folder, sizeof r->folder, "/tmp/scheduler-test-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    char *url = xasprintf("sqlite:%s/db", r->folder);
    r->db = db_open(url, &err);
    free(url);
    if (!r->db || db_migrate(r->db, "scheduler", STORE_STEPS, STORE_STEP_COUNT, &err))
        fail_msg("%s", err.text);
    r->wall = MONDAY;
    r->mono = 1000;
    r->history = json_array();
    r->ids = json_object();
    r->options = (struct scheduler_options){.lease = 30000, .max_active_tasks = 32, .history = 90 * DAY};
    r->ports = (struct engine_ports){.wall_ms = rig_wall,
                                     .mono_ms = rig_mono,
                                     .publish = rig_publish,
                                     .ask = rig_ask,
                                     .stop_asking = rig_stop_asking,
                                     .arg = r};
    engine_open(&r->engine, &r->ports, &r->options, "sched", r->counters);
    engine_connected(&r->engine, true);
    rig_load(r);
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *r = *state;
    char *command = xasprintf("%s/db", r->folder);
    engine_reset(&r->engine);
    for (size_t i = 0; i < r->definition_count; i++)
        definition_drop(r->definitions[i]);
    engine_close(&r->engine);
    db_close(&r->db);
    static const char *const ENDS[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char *file = xasprintf("%s%s", command, ENDS[i]);
        unlink(file);
        free(file);
    }
    free(command);
    rmdir(r->folder);
    json_decref(r->history);
    json_decref(r->ids);
    free(r);
    return 0;
}

/* Turns until nothing is left to do now. */
static void turn(struct rig *r)
{
    struct ls_error err = {0};
    int64_t due = 0;
    for (int i = 0; i < 20000; i++) {
        size_t before = json_array_size(r->history);
        if (engine_turn(&r->engine, &due, &err))
            fail_msg("%s: %s", err.name, err.text);
        bool ticks = engine_wall_due(&r->engine) <= r->wall;
        if (!r->engine.changed && !ticks && due > r->mono && json_array_size(r->history) == before)
            return;
    }
    fail_msg("it does not come to rest");
}

/* Time passes. */
static void pass(struct rig *r, int64_t ms)
{
    r->wall += ms;
    r->mono += ms;
    turn(r);
}

/* ... in steps, while runners renew in between: no lease ends. */
static void pass_busy(struct rig *r, int64_t ms) __attribute__((unused));
static void pass_busy(struct rig *r, int64_t ms)
{
    for (; ms > 0; ms -= 5000) {
        engine_connected(&r->engine, true);
        pass(r, ms < 5000 ? ms : 5000);
    }
}

static void restart(struct rig *r)
{
    engine_reset(&r->engine);
    rig_load(r);
    turn(r);
}

/* Replaces the workflow of that id, or adds it. */
static struct flow *define(struct rig *r, const char *yaml)
{
    struct diag_list diags = {0};
    struct workflow_file *file = workflow_load_text("test.yaml", yaml, strlen(yaml), &diags);
    if (!file->workflow)
        fail_msg("%s\n%s", diags.count ? diags.items[0].sentence : "no workflow", yaml);
    diag_list_fini(&diags);
    struct definition *fresh = definition_add(&r->engine, &file);
    definition_use(fresh);
    size_t i = 0;
    while (i < r->definition_count && strcmp(r->definitions[i]->workflow->id, fresh->workflow->id) != 0)
        i++;
    struct definition *old = i < r->definition_count ? r->definitions[i] : NULL;
    r->definitions[i] = fresh;
    r->definition_count = i < r->definition_count ? r->definition_count : i + 1;
    engine_definitions(&r->engine, r->definitions, r->definition_count);
    if (old)
        definition_drop(old);
    turn(r);
    return flow_find(&r->engine, fresh->workflow->id);
}

/* A request as it comes over the bus; `format` is that of json_pack. NULL: refused, the sentence is in `refusal`. */
static char refusal[480];
static json_t *ask(struct rig *r, const char *topic, const char *format, ...) __attribute__((unused));
static json_t *ask(struct rig *r, const char *topic, const char *format, ...)
{
    va_list args;
    struct ls_error err = {0};
    va_start(args, format);
    json_t *request = json_vpack_ex(NULL, 0, format, args);
    va_end(args);
    assert_non_null(request);
    json_t *answer = request_answer(&r->engine, topic, request, &err);
    json_decref(request);
    snprintf(refusal, sizeof refusal, "%s", answer ? "" : err.text);
    turn(r);
    return answer;
}

static void start(struct rig *r, const char *workflow, const char *run_id)
{
    json_t *answer = ask(r, "scheduler.run", "{s:s, s:s}", "workflow", workflow, "workflow_run_id", run_id);
    if (!answer)
        fail_msg("%s", refusal);
    json_decref(answer);
}

/* ---- looking ---- */

static void on_text(void *arg, const struct db_row *row)
{
    struct ls_slice text = db_get_text(row, 0);
    snprintf(arg, 200, "%.*s", (int) text.len, text.len ? text.data : "");
}

static const char *query(struct rig *r, const char *sql, const char *a, const char *b)
{
    static char found[200];
    struct ls_error err = {0};
    found[0] = 0;
    const struct db_value values[] = {db_text(a), db_text(b)};
    if (db_run(r->db, sql, values, b ? 2 : a ? 1 : 0, on_text, found, &err) < 0)
        fail_msg("%s", err.text);
    return found;
}

/* The state of a task in the database; "none" without a row. */
static const char *state_of(struct rig *r, const char *run_id, const char *task)
{
    const char *state = query(r,
                              "SELECT t.state FROM lineshaft_task t JOIN lineshaft_workflow_run r ON r.id = t.run "
                              "WHERE r.run_id = $1 AND t.task = $2",
                              run_id, task);
    return *state ? state : "none";
}

static const char *run_state(struct rig *r, const char *run_id) __attribute__((unused));
static const char *run_state(struct rig *r, const char *run_id)
{
    return query(r, "SELECT state FROM lineshaft_workflow_run WHERE run_id = $1", run_id, NULL);
}

static int64_t runs_of(struct rig *r, const char *workflow) __attribute__((unused));
static int64_t runs_of(struct rig *r, const char *workflow)
{
    return strtoll(query(r, "SELECT count(*) FROM lineshaft_workflow_run WHERE workflow = $1", workflow, NULL), NULL,
                   10);
}

static size_t told(struct rig *r, const char *topic)
{
    size_t i, count = 0;
    const json_t *event;
    json_array_foreach(r->history, i, event) count +=
        strcmp(json_string_value(json_object_get(event, "topic")), topic) == 0 &&
        json_is_false(json_object_get(event, "again"));
    return count;
}

/* ---- playing the runner ---- */

static struct try *try_of(struct rig *r, const char *workflow, const char *run_id, const char *task)
{
    struct run *run = run_find(&r->engine, workflow, run_id);
    const struct task *found = run ? workflow_task(run->definition->workflow, task) : NULL;
    return found && run->jobs ? run->jobs[found->index].
    try : NULL
        ;
}

static const char *claim(struct rig *r, const char *try_id, const char *runner, const char *boot)
    __attribute__((unused));
static const char *claim(struct rig *r, const char *try_id, const char *runner, const char *boot)
{
    static char reason[40];
    json_t *answer = ask(r, "task.claim", "{s:s, s:s, s:s}", "try", try_id, "runner", runner, "boot", boot);
    const char *why = json_string_value(json_object_get(answer, "reason"));
    snprintf(reason, sizeof reason, "%s", why ? why : "granted");
    json_decref(answer);
    return reason;
}

static void ended(struct rig *r, const char *try_id, const char *reason, int code)
{
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:i}", "try", try_id, "runner", "hands", "reason", reason, "exit_code", code);
    report_ended(&r->engine, body);
    json_decref(body);
    turn(r);
}

/* Claims the live try of a task, starts it, ends it with an exit code; its id goes to `id` (may be NULL). */
static void work(struct rig *r, const char *workflow, const char *run_id, const char *task, int code)
{
    struct try *try = try_of(r, workflow, run_id, task);
    char id[LS_ID_SIZE];
    if (!try)
        fail_msg("%s/%s/%s has no live try: %s", workflow, run_id, task, state_of(r, run_id, task));
    memcpy(id, try->id, sizeof id);
    assert_string_equal(claim(r, id, "hands", "boot-1"), "granted");
    json_t *body = json_pack("{s:s, s:s, s:i}", "try", id, "runner", "hands", "pid", 7);
    report_started(&r->engine, body);
    json_decref(body);
    turn(r);
    assert_string_equal(state_of(r, run_id, task), "running");
    ended(r, id, "exit", code);
}

#endif
