/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft workflow run: starts a run, and follows it to its end by its events. It listens before it asks, and
 * chooses the run's id itself, so that no event is missed and a request whose answer was lost can be repeated. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/event_view.h"
#include "cli/info.h"
#include "cli/workflows/workflow.h"
#include "lib/clock.h"
#include "lib/node.h"
#include "lib/xmem.h"

#define LOOK_EVERY_MS 5000 /* at the run itself: its events may be kept by no stream, and lost with the connection */
#define LOOK_AGAIN_MS 1000 /* when the scheduler did not answer */
#define TASK_COLUMNS 14
#define UNAVAILABLE 503
#define PROGRESS "::progress " /* docs/nodes/task-run.md */
#define REST_MAX 65536 /* of a log line without an end */

/* What a task's log ends with as yet: the beginning of a line. */
struct rest {
    char *task;
    struct buf text;
};

struct follow {
    struct workflow_command *c;
    char *run_id;
    bool colours, ended, deaf; /* deaf: the scheduler does not answer, which has been said */
    bool paused;               /* so is the workflow, which has been said */
    bool shows;                /* the states of tasks, to people who wait at a terminal */
    int64_t heard_ms; /* clock_mono_ms() of the run's last event or answer */
    struct rest *rests;
    size_t count, room;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void) signal;
    interrupted = 1;
}

/* ---- lines ---- */

/* "13:04:05.123  train          ▶ running, try 1 on hands" */
static void begin_line(const struct follow *f, struct buf *line, const struct ls_event *event, const char *task)
{
    size_t at = line->len;
    render_colour(line, f->colours, COLOUR_DIM);
    event_clock(event_time_us(event), line);
    render_colour(line, f->colours, COLOUR_NONE);
    buf_addf(line, "  ");
    at = line->len;
    render_harmless(line, task, strlen(task));
    size_t columns = render_columns((const char *) line->data + at, line->len - at);
    buf_addf(line, "%*s ", columns < TASK_COLUMNS ? (int) (TASK_COLUMNS - columns) : 0, "");
}

static void end_line(struct buf *line)
{
    buf_add_byte(line, '\n');
    render_put(line, stdout);
    fflush(stdout);
    buf_fini(line);
}

static void put_log_line(const struct follow *f, const struct ls_event *event, const char *task, struct ls_slice text)
{
    struct buf line = {0};
    while (text.len && text.data[text.len - 1] == '\r')
        text.len--;
    if (text.len >= sizeof PROGRESS - 1 && memcmp(text.data, PROGRESS, sizeof PROGRESS - 1) == 0)
        return; /* the runner tells it in its own words */
    begin_line(f, &line, event, task);
    render_colour(&line, f->colours, COLOUR_DIM);
    buf_addf(&line, "| ");
    render_colour(&line, f->colours, COLOUR_NONE);
    render_harmless(&line, text.data, text.len);
    end_line(&line);
}

static struct rest *rest_of(struct follow *f, const char *task)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->rests[i].task, task) == 0)
            return &f->rests[i];
    f->rests = xgrow(f->rests, &f->room, f->count + 1, sizeof *f->rests);
    f->rests[f->count] = (struct rest){.task = xstrdup(task)};
    return &f->rests[f->count++];
}

static void flush_log(struct follow *f, const struct ls_event *event, const char *task)
{
    struct rest *rest = rest_of(f, task);
    if (rest->text.len)
        put_log_line(f, event, task, ls_bytes(rest->text.data, rest->text.len));
    buf_clear(&rest->text);
}

static void put_log(struct follow *f, const struct ls_event *event, const char *task, const json_t *log)
{
    const char *at = json_string_value(log), *end = at + json_string_length(log), *stop;
    struct rest *rest = rest_of(f, task);
    for (; (stop = memchr(at, '\n', (size_t) (end - at))); at = stop + 1) {
        buf_add(&rest->text, at, (size_t) (stop - at));
        put_log_line(f, event, task, ls_bytes(rest->text.data, rest->text.len));
        buf_clear(&rest->text);
    }
    buf_add(&rest->text, at, (size_t) (end - at));
    if (rest->text.len > REST_MAX)
        flush_log(f, event, task);
}

/* ---- events ---- */

static void say_progress(struct follow *f, const struct ls_event *event, const json_t *body)
{
    const char *task = view_text(body, "task"), *message = view_text(body, "message");
    const json_t *log = json_object_get(body, "log"), *fraction = json_object_get(body, "fraction");
    struct buf line = {0};
    if (json_is_string(log))
        put_log(f, event, task, log);
    if (!json_is_number(fraction) && !*message)
        return;
    begin_line(f, &line, event, task);
    if (json_is_number(fraction))
        buf_addf(&line, "%3.0f %% ", json_number_value(fraction) * 100);
    render_harmless(&line, message, strlen(message));
    end_line(&line);
}

static void add_text(struct buf *line, const char *before, const char *text)
{
    if (!*text)
        return;
    buf_addf(line, "%s", before);
    render_harmless(line, text, strlen(text));
}

/* What else an event says, in the order of a sentence: "try 2 on hands", "after 2.1 s", "exit code 3", "again
 * in 30 s". */
static void add_details(struct buf *line, const json_t *body, const char *state)
{
    char text[RENDER_SHORT_SIZE];
    int64_t attempt = view_number(body, "attempt"), took_ms = view_number(body, "duration_ms"),
            delay_ms = view_number(body, "delay_ms");
    const char *message = view_message(body), *error = view_text(body, "error"), *why = *error ? error : view_text(body, "reason");
    if (attempt > 1)
        buf_addf(line, ", try %lld", (long long) attempt);
    add_text(line, attempt > 1 ? " on " : ", on ", view_text(body, "runner"));
    if (took_ms >= 0)
        buf_addf(line, ", %s", render_duration(took_ms * 1000, text));
    if (strcmp(state, "success") == 0 || *message)
        add_text(line, ": ", message);
    else if (strcmp(why, state) != 0)
        add_text(line, ": ", why);
    if (delay_ms >= 0)
        buf_addf(line, "; again in %s", render_duration(delay_ms * 1000, text));
}

static void say_state(struct follow *f, const struct ls_event *event, const json_t *body, const char *state)
{
    const char *task = view_text(body, "task");
    struct buf line = {0};
    flush_log(f, event, task);
    begin_line(f, &line, event, task);
    view_put_state(&line, state, f->colours);
    add_details(&line, body, state);
    end_line(&line);
}

/* Topics and the states that they tell of; "" for no line of its own, and the run's own topics end the following. */
static const struct saying {
    const char *topic, *state;
    bool ends;
} SAYINGS[] = {{"task.queued", "queued", false},
               {"task.started", "running", false},
               {"task.succeeded", "success", false},
               {"task.failed", "failed", false},
               {"task.retrying", "up_for_retry", false},
               {"task.skipped", "skipped", false},
               {"task.cleared", "none", false},
               {"workflow.run.succeeded", NULL, true},
               {"workflow.run.failed", NULL, true},
               {"workflow.run.cancelled", NULL, true},
               {NULL, NULL, false}};

static void say(struct follow *f, const struct ls_event *event, const json_t *body, const struct saying *saying)
{
    bool failed = ls_slice_is(event->topic, "task.failed"), again = json_is_false(json_object_get(body, "final"));
    bool upstream =
        strcmp(view_text(body, "reason"), "upstream_failed") == 0 || strcmp(view_text(body, "reason"), "upstream") == 0;
    if (ls_slice_is(event->topic, "task.progress"))
        say_progress(f, event, body);
    else if (saying->state && !(failed && again)) /* of a try that is followed by another, task.retrying tells */
        say_state(f, event, body, upstream ? "upstream_failed" : saying->state);
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct follow *f = arg;
    struct buf line = {0};
    struct ls_error unread;
    (void) err;
    json_auto_t *body = node_json(event->body, &unread);
    if (strcmp(view_text(body, "workflow_run_id"), f->run_id) != 0 ||
        strcmp(view_text(body, "workflow"), f->c->workflow) != 0)
        return LS_DONE;
    f->heard_ms = clock_mono_ms();
    const struct saying *saying = SAYINGS;
    while (saying->topic && !ls_slice_is(event->topic, saying->topic))
        saying++;
    if (f->c->follow && f->c->json) {
        event_json(event, &line);
        render_put(&line, stdout);
        fflush(stdout);
    } else if (f->c->follow || (f->shows && !ls_slice_is(event->topic, "task.progress"))) {
        say(f, event, body, saying);
    }
    f->ended |= saying->ends;
    buf_fini(&line);
    return LS_DONE;
}

/* ---- the run ---- */

/* Events of the client's own session come from now on; 0 or the exit status. */
static int listen_to(struct follow *f)
{
    static const char *const TOPICS[] = {"workflow.run.*", "task.*", NULL};
    struct workflow_command *c = f->c;
    struct ls_error err = {0};
    int status = c->bus.client ? CLI_OK : bus_open(&c->bus, &CMD_WORKFLOW, &c->broker, NULL);
    if (status != CLI_OK)
        return status;
    uint32_t number = ls_subscribe(c->bus.client, &(struct ls_subscription){.topics = TOPICS, .from = {LS_FROM_NEW, 0}},
                                   on_event, f, &err);
    if (!number || ls_subscribed_wait(c->bus.client, number, c->bus.timeout_ms, NULL, &err) < 0)
        return bus_failed(&CMD_WORKFLOW, &err);
    return CLI_OK;
}

static json_t *start(struct follow *f)
{
    struct workflow_command *c = f->c;
    json_t *body = workflow_which(c, f->run_id);
    if (c->inputs)
        json_object_set(body, "inputs", c->inputs);
    if (c->date)
        json_object_set_new(body, "logical_date", json_string(c->date));
    if (c->note)
        json_object_set_new(body, "note", json_string(c->note));
    return workflow_ask(c, "scheduler.run", body);
}

static bool is_over(const json_t *run)
{
    const char *state = view_text(run, "state");
    return strcmp(state, "success") == 0 || strcmp(state, "failed") == 0;
}

/* A run of a paused workflow waits for as long as that is so, which looks like a command that hangs. */
static void say_paused(struct follow *f, const json_t *run)
{
    struct buf shown = {0};
    bool paused = json_is_true(json_object_get(run, "paused"));
    render_harmless(&shown, f->c->workflow, strlen(f->c->workflow));
    if (paused && !f->paused)
        fprintf(stderr, "lineshaft workflow: %s is paused: the run waits until `lineshaft workflow unpause %s`\n",
                buf_text(&shown), buf_text(&shown));
    f->paused = paused;
    buf_fini(&shown);
}

/* A scheduler that is being started again, or waits for its database: the run is as durable as it was. */
static bool is_passing(const struct ls_error *err)
{
    static const char *const NAMES[] = {"NO_RESPONDER", "WORKER_LOST", "TIMEOUT", "UNREACHABLE", "DRAINING", "BUSY"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(err->name, NAMES[i]) == 0)
            return true;
    return err->number == UNAVAILABLE;
}

/* The run as it is now; NULL when the scheduler does not answer, or after a message, with c->status. */
static json_t *look(struct follow *f)
{
    struct ls_error err = {0};
    json_t *run = workflow_try(f->c, "scheduler.show", workflow_which(f->c, f->run_id), &err);
    f->heard_ms = clock_mono_ms();
    if (!run && is_passing(&err)) {
        if (!f->deaf)
            fprintf(stderr, "lineshaft workflow: the scheduler does not answer (%s); waiting for it\n", err.name);
        f->heard_ms += LOOK_AGAIN_MS - LOOK_EVERY_MS;
    } else if (!run) {
        workflow_refused(f->c, &err);
    }
    f->deaf = !run;
    if (run)
        say_paused(f, run);
    return run;
}

/* Until the run is over: as it is then, with its tasks; NULL after a message. */
static json_t *wait_for_end(struct follow *f)
{
    struct workflow_command *c = f->c;
    struct ls_error err = {0};
    json_t *run = NULL;
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int) SA_RESETHAND}, NULL);
    while (!run || !is_over(run)) {
        json_decref(run);
        for (run = NULL; !f->ended && !interrupted && clock_mono_ms() - f->heard_ms < LOOK_EVERY_MS;)
            if (ls_client_step(c->bus.client, 200, &err) < 0) {
                c->status = bus_failed(&CMD_WORKFLOW, &err);
                return NULL;
            }
        if (interrupted) {
            fprintf(stderr, "lineshaft workflow: the run goes on; `lineshaft workflow cancel %s %s` ends it\n",
                    c->workflow, f->run_id);
            c->status = CLI_FAILED;
            return NULL;
        }
        f->ended = false;
        run = look(f);
        if (!run && c->status != CLI_OK)
            return NULL;
    }
    return run;
}

static void print_failed(const json_t *run)
{
    size_t i;
    const json_t *task;
    json_array_foreach(json_object_get(run, "tasks"), i, task)
    {
        if (strcmp(view_text(task, "state"), "failed") != 0)
            continue;
        const char *error = view_text(task, "error");
        struct buf line = {0};
        add_text(&line, "", view_text(task, "task"));
        add_text(&line, ": ", *error ? error : view_text(task, "reason"));
        info_put("failed", line.data, line.len);
        buf_fini(&line);
        if (*view_text(task, "log"))
            workflow_print_log(task);
    }
}

static void print_end(const struct follow *f, const json_t *run)
{
    struct buf line = {0};
    if (f->c->json) {
        workflow_print_json(run);
        return;
    }
    if (f->c->follow) {
        putchar('\n');
        view_print_tasks(run);
        putchar('\n');
    }
    render_harmless(&line, f->c->workflow, strlen(f->c->workflow));
    buf_addf(&line, " %s: ", f->run_id);
    view_put_state(&line, view_text(run, "state"), f->colours);
    if (view_us(run, "start_date") >= 0) {
        buf_addf(&line, " after ");
        view_put_took(&line, run);
    }
    add_text(&line, ": ", view_text(run, "reason"));
    end_line(&line);
    if (!f->c->follow) /* which has shown the logs */
        print_failed(run);
}

static int run_and_wait(struct follow *f, json_t *run)
{
    f->heard_ms = clock_mono_ms();
    f->ended = is_over(run);
    json_auto_t *end = wait_for_end(f);
    if (!end)
        return f->c->status;
    print_end(f, end);
    return strcmp(view_text(end, "state"), "success") == 0 ? CLI_OK : CLI_FAILED;
}

int workflow_run(struct workflow_command *c)
{
    char now[CLOCK_TEXT_SIZE], id[UUID_TEXT_SIZE];
    struct follow f = {.c = c, .colours = render_colours(STDOUT_FILENO)};
    clock_format(clock_wall_us(), now);
    uuid7(clock_wall_us(), id);
    f.run_id = c->run_id ? xstrdup(c->run_id) : xasprintf("manual__%s_%s", now, id + 32);
    bool stays = c->wait || c->follow;
    f.shows = !c->json && isatty(STDOUT_FILENO);
    int status = stays ? listen_to(&f) : CLI_OK;
    json_auto_t *run = status == CLI_OK ? start(&f) : NULL;
    if (run)
        say_paused(&f, run);
    if (status == CLI_OK && !run)
        status = c->status;
    else if (run && stays)
        status = run_and_wait(&f, run);
    else if (run && c->json)
        workflow_print_json(run);
    else if (run)
        printf("ok %s %s is %s\n", c->workflow, f.run_id, view_text(run, "state"));
    for (size_t i = 0; i < f.count; i++) {
        free(f.rests[i].task);
        buf_fini(&f.rests[i].text);
    }
    free(f.rests);
    free(f.run_id);
    return status;
}
