/* SPDX-License-Identifier: Apache-2.0 */
/* Workflow files: what they may say, what becomes of it, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "workflow/workflow.h"

/* ---- good ones ---- */

static struct diag_list diags;

static struct workflow_file *load(const char *text)
{
    diag_list_fini(&diags); /* of a test that failed */
    return workflow_load_text("flows/nightly.yaml", text, strlen(text), &diags);
}

static struct workflow_file *load_good(const char *text)
{
    struct workflow_file *file = load(text);
    struct buf out = {0};
    diag_print(&diags, (struct diag_style){0}, &out);
    if (!file->workflow || diags.warning_count)
        fail_msg("%s", buf_text(&out));
    buf_fini(&out);
    return file;
}

static void done(struct workflow_file **file)
{
    workflow_file_free(file);
    diag_list_fini(&diags);
}

static void assert_json(const json_t *json, const char *text)
{
    char *got = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    assert_string_equal(got ? got : "nothing", text);
    free(got);
}

static const char ALL[] =
    "id: train.nightly\n"
    "description: trains and evaluates\n"
    "tags: [ml, nightly]\n"
    "schedule: [\"0 2 * * *\", {every: 90, at: \"2026-05-01T10:00\"}]\n"
    "timezone: Europe/Berlin\n"
    "start_date: 2026-01-01\n"
    "end_date: 2026-12-31\n"
    "catchup: all\n"
    "catchup_window: P2DT12H\n"
    "max_active_runs: 2\n"
    "max_active_tasks: 8\n"
    "max_consecutive_failures: 3\n"
    "concurrency: {policy: cancel}\n"
    "timeout: 1h30m\n"
    "paused: true\n"
    "inputs:\n"
    "  order: {type: integer, default: 3, required: true, description: length of the n-grams}\n"
    "  corpus: fortunes\n"
    "  rate: 0.5\n"
    "  version: {type: string, default: 1.10}\n"
    "  dry: false\n"
    "  names: [a, b]\n"
    "  note: null\n"
    "triggers:\n"
    "  - event: model.version.*\n"
    "    filter: event.data.name == 'fortunes'\n"
    "    key: \"{{ event.data.version }}\"\n"
    "    inputs: {corpus: \"{{ event.data.name }}\", version: 1.20}\n"
    "  - chat.feedback\n"
    "defaults:\n"
    "  env: {MODE: quick, REGION: eu}\n"
    "  retry: {limit: 2, delay: 5s}\n"
    "  pool: gpu\n"
    "tasks:\n"
    "  - id: evaluate\n"
    "    depends_on: [train, check-data]\n"
    "    command: [lineshaft, evaluate, \"{{ outputs.train.model }}\", \"{{ outputs.check-data.rows }}\"]\n"
    "    when: outputs.train.perplexity < 100 and not inputs.dry\n"
    "    trigger_rule: none_failed\n"
    "    timeout: PT5M\n"
    "    directory: /srv\n"
    "    retry: {backoff: 1.5, jitter: false, exit_codes: [75], max_delay: 10m, lost_limit: 1}\n"
    "  - id: tell\n"
    "    depends_on: evaluate\n"
    "    event: model.evaluated\n"
    "    data: {run: \"{{ run_id }}\", n: 1, ok: true}\n"
    "    retry: 0\n"
    "  - id: train\n"
    "    command: \"train --order {{ inputs.order }}\"\n"
    "    env: {MODE: full, ORDER: 5}\n"
    "    pool: cpu\n"
    "    pool_slots: 2\n"
    "    priority: -5\n"
    "  - {id: check-data, request: \"data.{{ inputs.corpus }}\", type: request, data: [1], disabled: true}\n";

static void test_every_key_is_read(void **state)
{
    (void) state;
    struct workflow_file *file = load_good(ALL);
    const struct workflow *w = file->workflow;
    assert_string_equal(w->id, "train.nightly");
    assert_string_equal(w->description, "trains and evaluates");
    assert_string_equal(w->tags[1], "nightly");
    assert_null(w->tags[2]);
    assert_string_equal(zone_name(w->zone), "Europe/Berlin");
    assert_int_equal(w->cron_count, 1);
    assert_string_equal(w->cron_texts[0], "0 2 * * *");
    assert_int_equal(w->every_ms, 90000);
    assert_int_equal(w->at_count, 1);
    assert_int_equal(w->at_s[0], 1777622400); /* 08:00Z: summer time */
    assert_int_equal(w->start_s, 1767222000); /* 2025-12-31T23:00Z */
    assert_int_equal(w->end_s, 1798757999);   /* to the end of the day */
    assert_int_equal(w->catchup, CATCHUP_ALL);
    assert_int_equal(w->catchup_window_ms, 60 * 3600 * 1000);
    assert_int_equal(w->max_active_runs, 2);
    assert_int_equal(w->max_active_tasks, 8);
    assert_int_equal(w->max_consecutive_failures, 3);
    assert_int_equal(w->overlap, OVERLAP_CANCEL);
    assert_int_equal(w->timeout_ms, 5400000);
    assert_true(w->paused);
    assert_int_equal(strlen(w->hash), 32);
    assert_string_equal(w->text, ALL);
    done(&file);
}

static void test_tasks_are_in_order_with_defaults_merged_in(void **state)
{
    (void) state;
    struct workflow_file *file = load_good(ALL);
    const struct workflow *w = file->workflow;
    static const char *const ORDER[] = {"train", "check-data", "evaluate", "tell"};
    assert_int_equal(w->task_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(w->tasks[i].id, ORDER[i]);
        assert_int_equal(w->tasks[i].index, i);
        assert_ptr_equal(workflow_task(w, ORDER[i]), &w->tasks[i]);
    }
    assert_null(workflow_task(w, "nobody"));
    const struct task *train = &w->tasks[0], *data = &w->tasks[1], *evaluate = &w->tasks[2], *tell = &w->tasks[3];
    assert_json(train->command, "[\"/bin/sh\",\"-c\",\"train --order {{ inputs.order }}\"]");
    assert_json(train->environment, "{\"MODE\":\"full\",\"ORDER\":\"5\",\"REGION\":\"eu\"}");
    assert_string_equal(train->pool, "cpu");
    assert_int_equal(train->pool_slots, 2);
    assert_int_equal(train->priority, -5);
    assert_int_equal(train->retry.limit, 2);
    assert_int_equal(train->retry.delay_ms, 5000);
    assert_int_equal(train->downstream_count, 1);
    assert_int_equal(data->type, TASK_REQUEST);
    assert_string_equal(data->topic, "data.{{ inputs.corpus }}");
    assert_json(data->data, "[1]");
    assert_true(data->disabled);
    assert_int_equal(evaluate->upstream_count, 2);
    assert_ptr_equal(evaluate->upstream[0], train);
    assert_ptr_equal(evaluate->downstream[0], tell);
    assert_int_equal(evaluate->trigger_rule, RULE_NONE_FAILED);
    assert_non_null(evaluate->when);
    assert_string_equal(evaluate->when_text, "outputs.train.perplexity < 100 and not inputs.dry");
    assert_int_equal(evaluate->timeout_ms, 300000);
    assert_string_equal(evaluate->directory, "/srv");
    assert_string_equal(evaluate->pool, "gpu");
    assert_int_equal(evaluate->retry.limit, 2);
    assert_true(evaluate->retry.backoff == 1.5);
    assert_false(evaluate->retry.jitter);
    assert_int_equal(evaluate->retry.exit_codes.count, 1);
    assert_int_equal(evaluate->retry.exit_codes.items[0], 75);
    assert_int_equal(evaluate->retry.max_delay_ms, 600000);
    assert_int_equal(evaluate->retry.lost_limit, 1);
    assert_int_equal(tell->retry.limit, 0);
    assert_json(tell->data, "{\"n\":1,\"ok\":true,\"run\":\"{{ run_id }}\"}");
    done(&file);
}

static void test_inputs_and_triggers(void **state)
{
    (void) state;
    struct workflow_file *file = load_good(ALL);
    const struct workflow *w = file->workflow;
    static const struct {
        const char *name, *fallback;
        enum input_type type;
    } INPUTS[] = {{"order", "3", INPUT_INTEGER},    {"corpus", "\"fortunes\"", INPUT_STRING},
                  {"rate", "0.5", INPUT_NUMBER},    {"version", "\"1.10\"", INPUT_STRING},
                  {"dry", "false", INPUT_BOOLEAN},  {"names", "[\"a\",\"b\"]", INPUT_ARRAY},
                  {"note", "nothing", INPUT_STRING}};
    assert_int_equal(w->input_count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(w->inputs[i].name, INPUTS[i].name);
        assert_int_equal(w->inputs[i].type, INPUTS[i].type);
        assert_json(w->inputs[i].fallback, INPUTS[i].fallback);
    }
    assert_true(w->inputs[0].required);
    assert_string_equal(w->inputs[0].description, "length of the n-grams");
    assert_int_equal(w->trigger_count, 2);
    assert_string_equal(w->triggers[0].event, "model.version.*");
    assert_string_equal(w->triggers[0].key, "{{ event.data.version }}");
    assert_json(w->triggers[0].inputs, "{\"corpus\":\"{{ event.data.name }}\",\"version\":\"1.20\"}");
    assert_non_null(w->triggers[0].filter);
    assert_string_equal(w->triggers[1].event, "chat.feedback");
    assert_null(w->triggers[1].inputs);
    done(&file);
}

static void test_defaults_of_an_empty_workflow(void **state)
{
    (void) state;
    struct workflow_file *file = load_good("tasks: [{id: a, command: [\"true\"]}]");
    const struct workflow *w = file->workflow;
    assert_string_equal(w->id, "nightly"); /* the file's name */
    assert_string_equal(zone_name(w->zone), "UTC");
    assert_null(w->tags[0]);
    assert_int_equal(w->cron_count + w->at_count + (size_t) w->every_ms, 0);
    assert_true(w->start_s == INT64_MIN && w->end_s == INT64_MAX);
    assert_int_equal(w->catchup, CATCHUP_LATEST);
    assert_true(w->catchup_window_ms == INT64_C(366) * 86400000);
    assert_int_equal(w->max_active_runs, 16);
    assert_int_equal(w->max_active_tasks, 16);
    assert_int_equal(w->overlap, OVERLAP_QUEUE);
    assert_false(w->paused);
    const struct task *a = &w->tasks[0];
    assert_string_equal(a->pool, "default");
    assert_int_equal(a->pool_slots, 1);
    assert_int_equal(a->trigger_rule, RULE_ALL_SUCCESS);
    assert_int_equal(a->retry.delay_ms, 30000);
    assert_int_equal(a->retry.max_delay_ms, 3600000);
    assert_int_equal(a->retry.lost_limit, 3);
    assert_true(a->retry.jitter && a->retry.backoff == 2);
    assert_int_equal(a->timeout_ms, 0);
    done(&file);
}

static void test_names_of_other_systems(void **state)
{
    (void) state;
    struct workflow_file *file = load_good(
        "dag_id: etl\nparams: {day: 1}\ncatchup: true\nschedule: \"@daily\"\nconcurrency: {limit: 3, policy: skip}\n"
        "default_args: {retries: 4, retry_delay: 300}\n"
        "tasks:\n  load: {needs: [extract], command: [load, \"{{ inputs.day }}\"]}\n  extract: {command: [extract], "
        "retries: 1}\n");
    const struct workflow *w = file->workflow;
    assert_string_equal(w->id, "etl");
    assert_int_equal(w->catchup, CATCHUP_ALL);
    assert_int_equal(w->max_active_runs, 3);
    assert_int_equal(w->overlap, OVERLAP_SKIP);
    assert_string_equal(w->tasks[0].id, "extract");
    assert_int_equal(w->tasks[0].retry.limit, 1);
    assert_int_equal(w->tasks[0].retry.delay_ms, 300000);
    assert_int_equal(w->tasks[1].retry.limit, 4);
    done(&file);
}

/* YAML 1.2 knows three ways to write each; Python's people write the second. */
static void test_booleans(void **state)
{
    (void) state;
    struct workflow_file *file = load_good("schedule: \"@daily\"\ncatchup: False\npaused: TRUE\ninputs: {on: True}\n"
                                           "tasks: {a: {command: x, retry: {jitter: FALSE}}}");
    assert_int_equal(file->workflow->catchup, CATCHUP_LATEST);
    assert_true(file->workflow->paused && !file->workflow->tasks[0].retry.jitter);
    assert_int_equal(file->workflow->inputs[0].type, INPUT_BOOLEAN);
    done(&file);
}

static void test_durations(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        int64_t ms;
    } CASES[] = {{"10s", 10000},       {"1h30m", 5400000}, {"90", 90000},    {"1.5", 1500}, {"PT5M", 300000},
                 {"P1DT1H", 90000000}, {"P1W", 604800000}, {"PT0.25S", 250}, {"0", 0},      {"\"45\"", 45000}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf text = {0};
        buf_addf(&text, "timeout: %s\ntasks: {a: {command: x}}", CASES[i].text);
        struct workflow_file *file = load_good(buf_text(&text));
        assert_int_equal(file->workflow->timeout_ms, CASES[i].ms);
        done(&file);
        buf_fini(&text);
    }
}

/* ---- mistakes ---- */

/* "line:column code; ..." of all problems. */
static void expect_problems(const char *text, const char *problems)
{
    struct workflow_file *file = load(text);
    struct buf out = {0};
    for (size_t i = 0; i < diags.count; i++)
        buf_addf(&out, "%s%d:%d %s", i ? "; " : "", diags.items[i].at.line, diags.items[i].at.column,
                 DIAG_KINDS[diags.items[i].code].name);
    if (strcmp(buf_text(&out), problems)) {
        buf_addf(&out, "\n");
        diag_print(&diags, (struct diag_style){0}, &out);
        fail_msg("%s\ngives %s", text, buf_text(&out));
    }
    assert_int_equal(file->workflow == NULL, diags.error_count > 0);
    buf_fini(&out);
    done(&file);
}

static void test_mistakes_at_the_top(void **state)
{
    (void) state;
    expect_problems("", "0:0 type-wrong");
    expect_problems("# nothing\n", "0:0 type-wrong");
    expect_problems("- a\n", "1:1 type-wrong");
    expect_problems("a: {", "2:1 yaml-syntax");
    expect_problems("tasks: [{id: a, command: x}]\n---\ntasks: []\n", "3:1 yaml-unsupported");
    expect_problems("id: x\n", "1:1 key-missing");
    expect_problems("tasks:\n", "1:7 type-wrong");
    expect_problems("tasks: []\n", "1:8 type-wrong");
    expect_problems("tasks: now\n", "1:8 type-wrong");
    expect_problems("id: a b\ntasks: {a: {command: x}}", "1:5 name-bad");
    expect_problems("id: [a]\ntasks: {a: {command: x}}", "1:5 type-wrong");
    expect_problems("id: a\ndag_id: b\ntasks: {a: {command: x}}", "2:1 key-duplicate");
    expect_problems("taks: 1\ntasks: {a: {command: x}}", "1:1 key-unknown");
    expect_problems("timezone: Europe/Berlni\ntasks: {a: {command: x}}", "1:11 zone-unknown");
    expect_problems("timezone: ../../etc/passwd\ntasks: {a: {command: x}}", "1:11 zone-unknown");
    expect_problems("timeout: soon\ncatchup: maybe\npaused: 5\ntasks: {a: {command: x}}",
                    "1:10 duration-bad; 2:1 option-unused; 2:10 enum-unknown; 3:9 type-wrong");
    expect_problems("concurrency: {limit: 1}\nmax_active_runs: 2\ntasks: {a: {command: x}}", "1:15 key-duplicate");
    expect_problems("description: ${env:LINESHAFT_TEST_UNSET}\ntasks: {a: {command: x}}", "1:14 env-unset");
}

static void test_mistakes_in_schedules(void **state)
{
    (void) state;
    expect_problems("schedule: \"0 25 * * *\"\ntasks: {a: {command: x}}", "1:14 cron-bad");
    expect_problems("schedule: [\"@daily\", \"nonsense\"]\ntasks: {a: {command: x}}", "1:23 cron-bad");
    expect_problems("schedule: \"0 0 30 2 *\"\ntasks: {a: {command: x}}", "1:11 schedule-never");
    expect_problems("schedule: {every: 0s}\ntasks: {a: {command: x}}", "1:19 value-range");
    expect_problems("schedule: {}\ntasks: {a: {command: x}}", "1:11 type-wrong");
    expect_problems("schedule: {corn: x}\ntasks: {a: {command: x}}", "1:12 key-unknown");
    expect_problems("schedule: [{every: 5m}, {every: 1h}]\ntasks: {a: {command: x}}", "1:33 key-duplicate");
    expect_problems("schedule: {at: [\"2026-02-29\", \"2026-01-01T25:00\", \"tomorrow\"]}\ntasks: {a: {command: x}}",
                    "1:17 time-bad; 1:31 time-bad; 1:51 time-bad");
    expect_problems("schedule: [[a]]\ntasks: {a: {command: x}}", "1:12 type-wrong");
    expect_problems("schedule: {at: 2027-01-01}\nend_date: 2026-01-01\ntasks: {a: {command: x}}",
                    "1:11 schedule-never");
    expect_problems("schedule: \"@daily\"\nstart_date: 2026-02-01\nend_date: 2026-01-01\ntasks: {a: {command: x}}",
                    "3:11 value-range");
    expect_problems("start_date: 2026-02-01\ntasks: {a: {command: x}}", "1:1 option-unused");
}

static void test_mistakes_in_tasks(void **state)
{
    (void) state;
    expect_problems("tasks: [{command: x}]", "1:9 key-missing");
    expect_problems("tasks: [{id: a}]", "1:14 action-bad");
    expect_problems("tasks: [{id: a, command: x, event: b}]", "1:29 action-bad");
    expect_problems("tasks: [{id: a, command: x, type: event}]", "1:35 action-bad");
    expect_problems("tasks: [{id: a, command: x, type: shell}]", "1:35 enum-unknown");
    expect_problems("tasks: [{id: a, command: []}]", "1:26 type-wrong");
    expect_problems("tasks: [{id: a, command: {x: y}}]", "1:26 type-wrong");
    expect_problems("tasks: [{id: a, command: x}, {id: a, command: y}]", "1:35 id-duplicate");
    expect_problems("tasks: [{id: a/b, command: x}]", "1:14 name-bad");
    expect_problems("tasks: [a]", "1:9 type-wrong");
    expect_problems("tasks: {a: {id: b, command: x}}", "1:13 key-duplicate");
    expect_problems("tasks: {a: {comand: x}}", "1:9 action-bad; 1:13 key-unknown");
    expect_problems("tasks: {a: {event: \"a.*\"}, b: {request: A.b}, c: {event: $sys.x}}",
                    "1:20 topic-bad; 1:41 topic-bad; 1:58 name-reserved");
    expect_problems("tasks: {a: {event: a.b, env: {X: 1}}, b: {command: x, data: 1}}",
                    "1:25 option-unused; 1:55 option-unused");
    expect_problems("tasks: {a: {command: x, trigger_rule: all_sucess}}", "1:25 option-unused; 1:39 enum-unknown");
    expect_problems("tasks: {a: {command: x, trigger_rule: one_failed}}", "1:25 option-unused");
    expect_problems("tasks: {a: {command: x, retry: {limit: 1}, retries: 2}}", "1:44 key-duplicate");
    expect_problems("tasks: {a: {command: x, retry: {backoff: 0.5, exit_codes: [0, x], limit: -1, delay: x}}}",
                    "1:42 value-range; 1:60 value-range; 1:63 value-range; 1:74 value-range; 1:85 duration-bad");
    expect_problems("tasks: {a: {command: x, retry: often}}", "1:32 type-wrong");
    expect_problems("defaults: {retry: {limit: x}, comand: y}\ntasks: {a: {command: x}, b: {command: y}}",
                    "1:27 type-wrong; 1:31 key-unknown");
    expect_problems("tasks: {a: {command: x, depends_on: [b, b, c]}, b: {command: y}}",
                    "1:41 id-duplicate; 1:44 task-unknown");
    expect_problems("tasks: {a: {command: x, needs: b, depends_on: b}, b: {command: y}}", "1:25 key-duplicate");
    expect_problems("tasks: {a: {command: x, directory: \"d/{{ ds }}\"}}", "1:36 expression-bad");
}

static void test_mistakes_in_expressions(void **state)
{
    (void) state;
    expect_problems("tasks: {a: {command: x, when: inputs.}}", "1:37 expression-bad");
    expect_problems("tasks: {a: {command: x, when: \"1 +\"}}", "1:35 expression-bad");
    expect_problems("tasks: {a: {command: x, when: \"{{ true }}\"}}", "1:31 expression-bad");
    expect_problems("tasks: {a: {command: \"echo {{ ds | upper }}\"}}", "1:34 expression-bad");
    expect_problems("tasks: {a: {command: [\"{{ inpts.x }}\", \"{{ dag_id }}\", \"{{ event.x }}\"]}}",
                    "1:23 expression-unknown; 1:40 expression-unknown; 1:56 expression-unknown");
    expect_problems("inputs: {order: 1}\ntasks: {a: {command: x, env: {O: \"{{ inputs.odrer }}\"}}}",
                    "2:34 expression-unknown");
    expect_problems("tasks: {a: {command: \"{{ outputs.b.x }}\"}, b: {command: y}}", "1:22 expression-unknown");
    expect_problems("tasks: {a: {command: \"{{ outputs.c.x }}\"}, b: {command: y}}", "1:22 task-unknown");
    expect_problems(
        "tasks: {a: {command: x, depends_on: b, when: outputs.c.x}, b: {command: y, depends_on: c}, c: {command: z}}",
        "");
    expect_problems("defaults: {when: outputs.a.x}\ntasks: {a: {command: x}}", "1:18 expression-unknown");
    expect_problems("tasks: {a: {event: \"a.{{ x }}\", data: [{b: \"{{ 1 \"}]}}",
                    "1:20 expression-unknown; 1:47 expression-bad");
    expect_problems(
        "triggers: [{event: a.b, filter: evnt.data.x, key: \"{{ event.body }}\"}]\ntasks: {a: {command: x}}",
        "1:33 expression-unknown; 1:51 expression-unknown");
}

static void test_mistakes_in_inputs_and_triggers(void **state)
{
    (void) state;
    expect_problems("inputs: [a]\ntasks: {a: {command: x}}", "1:9 type-wrong");
    expect_problems("inputs: {a b: 1}\ntasks: {a: {command: x}}", "1:10 name-bad");
    expect_problems("inputs: {a: {type: integer, default: many}}\ntasks: {a: {command: x}}", "1:38 input-bad");
    expect_problems("inputs: {a: {type: int}}\ntasks: {a: {command: x}}", "1:20 enum-unknown");
    expect_problems("inputs: {a: {required: true}}\nschedule: \"@daily\"\ntasks: {a: {command: x}}",
                    "1:10 input-missing");
    expect_problems("inputs: {a: {required: true}}\ntriggers: [x.y]\ntasks: {a: {command: x}}", "2:12 input-missing");
    expect_problems("inputs: {a: 1}\ntriggers: [{event: x.y, inputs: {a: many, b: 2}}]\ntasks: {a: {command: x}}",
                    "2:37 input-bad; 2:43 expression-unknown");
    expect_problems("triggers: [{filter: \"true\"}, {event: X}, {event: \"a.>.b\"}]\ntasks: {a: {command: x}}",
                    "1:12 key-missing; 1:38 topic-bad; 1:50 pattern-bad");
    expect_problems("triggers: x y\ntasks: {a: {command: x}}", "1:11 topic-bad");
}

static void test_circles_are_named(void **state)
{
    (void) state;
    static const struct {
        const char *text, *sentence;
    } CASES[] = {
        {"tasks: {a: {command: x, depends_on: a}}", "task \"a\" depends on itself"},
        {"tasks: {a: {command: x, depends_on: b}, b: {command: x, depends_on: a}}",
         "tasks wait for each other in a circle: a -> b -> a"},
        {"tasks: {s: {command: x}, a: {command: x, needs: [s, c]}, b: {command: x, needs: a}, c: {command: x, needs: "
         "b}, d: {command: x, needs: c}}",
         "tasks wait for each other in a circle: a -> b -> c -> a"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct workflow_file *file = load(CASES[i].text);
        assert_int_equal(diags.error_count, 1);
        assert_int_equal(diags.items[0].code, DIAG_WORKFLOW_CYCLE);
        assert_string_equal(diags.items[0].sentence, CASES[i].sentence);
        done(&file);
    }
    expect_problems("tasks: {a: {command: x, needs: [b, d]}, b: {command: x, needs: a}, c: {command: x, needs: d}, d: "
                    "{command: x, needs: c}}",
                    "1:64 workflow-cycle; 1:91 workflow-cycle");
}

static void test_a_long_circle_is_named_in_part(void **state)
{
    (void) state;
    struct buf text = {0};
    buf_addf(&text, "tasks:\n");
    for (int i = 0; i < 5000; i++)
        buf_addf(&text, "  t%d: {command: x, depends_on: t%d}\n", i, i ? i - 1 : 4999);
    struct workflow_file *file = load(buf_text(&text));
    assert_int_equal(diags.error_count, 1);
    assert_string_equal(
        diags.items[0].sentence,
        "tasks wait for each other in a circle: t0 -> t1 -> t2 -> t3 -> t4 -> t5 -> (4989 more) -> t4995 -> t4996 -> "
        "t4997 -> t4998 -> t4999 -> t0");
    done(&file);
    buf_fini(&text);
}

static void many_tasks(struct buf *text, int count)
{
    buf_clear(text);
    buf_addf(text, "tasks:\n");
    for (int i = 0; i < count; i++)
        buf_addf(text, i ? "- {id: t%d, command: x, depends_on: t%d}\n" : "- {id: t%d, command: x}\n", i, i - 1);
}

static void test_at_most_10000_tasks(void **state)
{
    (void) state;
    struct buf text = {0};
    many_tasks(&text, WORKFLOW_TASKS_MAX);
    struct workflow_file *file = load_good(buf_text(&text));
    assert_int_equal(file->workflow->task_count, WORKFLOW_TASKS_MAX);
    assert_string_equal(file->workflow->tasks[9999].id, "t9999");
    done(&file);
    many_tasks(&text, WORKFLOW_TASKS_MAX + 1);
    expect_problems(buf_text(&text), "2:1 value-range");
    buf_fini(&text);
}

/* A list or map of `count` items, each with its number in it. */
static void expect_many(const char *before, const char *item, const char *end, int count, const char *problems)
{
    struct buf text = {0};
    buf_addf(&text, "%s", before);
    for (int i = 0; i < count; i++) {
        buf_addf(&text, "%s", i ? ", " : "");
        buf_addf(&text, "%s%d%s", item, i, end);
    }
    buf_addf(&text, "%s\ntasks: {a: {command: x}}", strchr(before, '[') ? "]" : "}");
    expect_problems(buf_text(&text), problems);
    buf_fini(&text);
}

static void test_inputs_and_cron_expressions_are_counted(void **state)
{
    (void) state;
    expect_many("inputs: {", "i", ": 1", 1000, "");
    expect_many("inputs: {", "i", ": 1", 1001, "1:9 value-range");
    expect_many("schedule: [", "\"@daily\" #", "\n", 1000, "");
    expect_many("schedule: [", "\"@daily\" #", "\n", 3000, "1001:3 value-range");
}

static void test_hostile_files(void **state)
{
    (void) state;
    struct buf text = {0};
    struct workflow_file *file = workflow_load_text("x.yaml", "tasks:\0{}", 9, &diags);
    assert_null(file->workflow);
    assert_int_equal(diags.items[0].code, DIAG_YAML_SYNTAX);
    done(&file);
    file = workflow_load_text("x.yaml", "\xff\xfe\x80 binary \x01", 12, &diags);
    assert_null(file->workflow);
    assert_true(diags.error_count);
    done(&file);
    buf_addf(&text, "tasks: ");
    for (int i = 0; i < 30; i++)
        buf_addf(&text, "[");
    expect_problems(buf_text(&text), "1:31 yaml-too-deep");
    buf_clear(&text);
    buf_addf(&text, "x: ");
    for (int i = 0; i < 9 << 20; i++)
        buf_add_byte(&text, 'x');
    expect_problems(buf_text(&text), "0:0 yaml-too-big");
    buf_clear(&text);
    buf_addf(&text, "a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 8; i++)
        buf_addf(&text, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", 'a' + i, 'a' + i, 'a' + i - 1,
                 'a' + i - 1, 'a' + i - 1, 'a' + i - 1, 'a' + i - 1, 'a' + i - 1, 'a' + i - 1, 'a' + i - 1, 'a' + i - 1,
                 'a' + i - 1);
    file = load(buf_text(&text));
    assert_int_equal(diags.items[0].code, DIAG_YAML_TOO_BIG);
    done(&file);
    buf_fini(&text);
}

static void test_secrets_are_not_shown(void **state)
{
    (void) state;
    setenv("LINESHAFT_TEST_SECRET", "sword{{ fish", 1);
    struct workflow_file *file = load("tasks: {a: {command: x, env: {KEY: \"${env:LINESHAFT_TEST_SECRET}\"}}}");
    struct buf out = {0};
    diag_print(&diags, (struct diag_style){0}, &out);
    assert_int_equal(diags.error_count, 1);
    assert_null(strstr(buf_text(&out), "fish"));
    buf_fini(&out);
    done(&file);
    setenv("LINESHAFT_TEST_SECRET", "swordfish", 1);
    file = load_good("tasks: {a: {command: x, env: {KEY: \"${env:LINESHAFT_TEST_SECRET}\"}}}");
    assert_json(file->workflow->tasks[0].environment, "{\"KEY\":\"swordfish\"}");
    assert_null(strstr(file->workflow->text, "swordfish"));
    done(&file);
}

static void test_hidden_failures_are_told(void **state)
{
    (void) state;
    expect_problems(
        "tasks: {a: {command: x}, b: {command: x, needs: a}, c: {command: x, needs: [a, b], trigger_rule: all_done}}",
        "1:98 failure-hidden");
    expect_problems(
        "tasks: {a: {command: x}, b: {command: x, needs: a}, c: {command: x, needs: a, trigger_rule: all_done}}", "");
}

/* ---- inputs of a run ---- */

static void expect_inputs(const struct workflow *w, const char *given, const char *result)
{
    struct ls_error err = {0};
    json_t *from = given ? json_loads(given, JSON_DECODE_ANY, NULL) : NULL, *inputs = workflow_inputs(w, from, &err);
    if (inputs)
        assert_json(inputs, result);
    else
        assert_string_equal(err.text, result);
    json_decref(from);
    json_decref(inputs);
}

static void test_inputs_of_a_run(void **state)
{
    (void) state;
    struct workflow_file *file = load_good("id: w\ninputs: {order: 3, name: {required: true}, fast: false, rate: 0.5, "
                                           "set: {type: object}, list: {type: array, default: [1]}}\n"
                                           "tasks: {a: {command: x}}");
    const struct workflow *w = file->workflow;
    expect_inputs(w, "{\"name\": \"n\"}", "{\"fast\":false,\"list\":[1],\"name\":\"n\",\"order\":3,\"rate\":0.5}");
    expect_inputs(w,
                  "{\"name\": \"n\", \"order\": \"5\", \"fast\": \"true\", \"rate\": \"2\", \"set\": \"{\\\"a\\\": "
                  "1}\", \"list\": []}",
                  "{\"fast\":true,\"list\":[],\"name\":\"n\",\"order\":5,\"rate\":2,\"set\":{\"a\":1}}");
    expect_inputs(w, "{\"name\": \"n\", \"order\": 5.0, \"fast\": null}",
                  "{\"fast\":false,\"list\":[1],\"name\":\"n\",\"order\":5,\"rate\":0.5}");
    expect_inputs(w, NULL, "the input \"name\" of the workflow \"w\" is required");
    expect_inputs(w, "{\"name\": 5}", "the input \"name\" takes a string, not 5");
    expect_inputs(w, "{\"name\": \"n\", \"order\": \"many\"}", "the input \"order\" takes an integer, not \"many\"");
    expect_inputs(w, "{\"name\": \"n\", \"order\": 5.5}", "the input \"order\" takes an integer, not 5.5");
    expect_inputs(w, "{\"name\": \"n\", \"fast\": 1}", "the input \"fast\" takes a boolean, not 1");
    expect_inputs(w, "{\"name\": \"n\", \"set\": \"[1]\"}", "the input \"set\" takes an object, not \"[1]\"");
    expect_inputs(w, "{\"nmae\": \"n\"}", "the workflow \"w\" has no input \"nmae\"; did you mean \"name\"?");
    expect_inputs(w, "[1]", "inputs are an object: {\"name\": value}");
    done(&file);
}

/* ---- files and folders ---- */

static void put_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put(const char *folder, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    put_text(path, "tasks: {a: {command: x}}\n");
}

static void test_files_below_a_folder(void **state)
{
    (void) state;
    char folder[] = "/tmp/workflow-load.XXXXXX", path[300];
    struct ls_error err = {0};
    char **paths;
    assert_non_null(mkdtemp(folder));
    put(folder, "b.yaml");
    put(folder, "notes.txt");
    put(folder, ".hidden.yaml");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, i ? ".git" : "a");
        mkdir(path, 0755);
        put(path, "c.yml");
    }
    snprintf(path, sizeof path, "%s/loop", folder);
    assert_int_equal(symlink(folder, path), 0);
    assert_int_equal(workflow_folder(folder, &paths, &err), 0);
    snprintf(path, sizeof path, "%s/a/c.yml", folder);
    assert_string_equal(paths[0], path);
    snprintf(path, sizeof path, "%s/b.yaml", folder);
    assert_string_equal(paths[1], path);
    assert_null(paths[2]);
    workflow_paths_free(&paths);

    assert_int_equal(workflow_folder(path, &paths, &err), 0); /* one file */
    assert_string_equal(paths[0], path);
    workflow_paths_free(&paths);
    assert_true(workflow_is(path));
    put_text(path, "id: b\ntaks: {}\n");
    assert_true(workflow_is(path)); /* one with mistakes */
    put_text(path, "lineshaft: 1\nnodes: {tasks: {}}\n");
    assert_false(workflow_is(path));
    put_text(path, "tasks: {a: {command: x}}");
    struct workflow_file *file = workflow_load(path, &diags);
    assert_string_equal(file->workflow->id, "b");
    done(&file);
    snprintf(path, sizeof path, "%s/none", folder);
    assert_int_equal(workflow_folder(path, &paths, &err), -1);
    assert_string_equal(err.name, "SYSTEM");
    assert_null(paths);
    assert_false(workflow_is(path));
    file = workflow_load(path, &diags);
    assert_null(file->workflow);
    assert_int_equal(diags.items[0].code, DIAG_FILE_UNREADABLE);
    done(&file);

    static const char *const FILES[] = {"b.yaml", "notes.txt", ".hidden.yaml", "a/c.yml", ".git/c.yml", "loop"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        assert_int_equal(unlink(path), 0);
    }
    snprintf(path, sizeof path, "%s/a", folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/.git", folder);
    rmdir(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_is_read),
        cmocka_unit_test(test_tasks_are_in_order_with_defaults_merged_in),
        cmocka_unit_test(test_inputs_and_triggers),
        cmocka_unit_test(test_defaults_of_an_empty_workflow),
        cmocka_unit_test(test_names_of_other_systems),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_inputs_and_cron_expressions_are_counted),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_mistakes_at_the_top),
        cmocka_unit_test(test_mistakes_in_schedules),
        cmocka_unit_test(test_mistakes_in_tasks),
        cmocka_unit_test(test_mistakes_in_expressions),
        cmocka_unit_test(test_mistakes_in_inputs_and_triggers),
        cmocka_unit_test(test_circles_are_named),
        cmocka_unit_test(test_a_long_circle_is_named_in_part),
        cmocka_unit_test(test_at_most_10000_tasks),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_secrets_are_not_shown),
        cmocka_unit_test(test_hidden_failures_are_told),
        cmocka_unit_test(test_inputs_of_a_run),
        cmocka_unit_test(test_files_below_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
