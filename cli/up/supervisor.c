/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of `lineshaft up`: one thread, one poll. It starts, watches, restarts and ends the children; the warden does the
 * ending should this process be killed. */
#include "cli/up/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/up/stray.h"
#include "cli/up/warden.h"
#include "lib/clock.h"
#include "lib/lineshaft.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define AFTER_KILL_MS 2000 /* what is left of a group after SIGKILL cannot be ended from here */
#define DRAIN_READS 64
#define STEADY_MS 300   /* a program that cannot start has ended by then */
#define ROLL_CALL_MS 50 /* between questions who is connected, doubling to ... */
#define ROLL_CALL_MS_MAX 250
#define SIGN_OF_LIFE_MS 30000 /* whether the broker runs is known without */

struct supervisor {
    struct child *children; /* [0] is the broker */
    size_t count;
    const char *url, *pages, *nodes_mark, *broker_mark;
    struct warden warden;
    struct screen screen;
    struct speaker self;
    struct ls_client *client; /* of the broker that runs now */
    struct up_status *status; /* what it serves */
    bool asking;              /* the broker, who is connected */
    int64_t ask_ms, ask_pause_ms;
    struct pollfd *polls;
    int signal_fd;
    int64_t now_ms, began_ms;
    bool was_ready; /* the broker answered at least once */
    bool broker_ready; /* the one that runs now */
    bool all_up;    /* so it was once, and has been told */
    bool stopping, killing, failed;
};

static void say(struct supervisor *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct supervisor *s, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    screen_line(&s->screen, STDERR_FILENO, &s->self, text, strlen(text));
}

/* ---- starting ---- */

static void on_notice(void *arg, const struct ls_notice *notice)
{
    if (notice->state == LS_REFUSED)
        say(arg, "broker: nobody can ask what runs here: %s", notice->text);
}

static void client_start(struct supervisor *s)
{
    struct ls_client_options options = {
        .url = s->url, .name = "lineshaft-up", .hb_ms = SIGN_OF_LIFE_MS, .notice = on_notice, .arg = s};
    ls_client_close(&s->client);
    s->client = ls_client_open(&options, NULL);
    if (s->client)
        up_status_serve(s->status, s->client);
    s->broker_ready = s->asking = false;
}

/* Once: all that has scrolled by went well, and here it goes on. */
static void say_all_up(struct supervisor *s)
{
    char took[RENDER_SHORT_SIZE];
    bool known = true;
    for (size_t i = 1; i < s->count; i++) {
        const struct child *child = &s->children[i];
        bool up = child->connects ? child->connected : s->now_ms - child->started_ms >= STEADY_MS;
        known = known && child->connects; /* of the others it is known that they run, no more */
        if (child->state != CHILD_RUNNING || !up)
            return;
    }
    say(s, "%s%zu process%s %s after %s; %s", s->count > 1 ? "all " : "", s->count, s->count > 1 ? "es" : "",
        s->count == 1 ? "is up" : known ? "are up" : "are started", render_duration((s->now_ms - s->began_ms) * 1000, took),
        s->pages ? s->pages : s->url);
    s->all_up = true;
}

static void take_session(struct supervisor *s, struct mp session)
{
    struct ls_slice member;
    for (size_t i = 1; i < s->count && wire_str(session, "member", &member); i++) {
        const char *name = s->children[i].speaker.name;
        if (strlen(name) == member.len && memcmp(name, member.data, member.len) == 0)
            s->children[i].connected = true;
    }
}

static void on_sessions(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct supervisor *s = arg;
    struct mp list;
    uint32_t count;
    s->asking = false;
    for (size_t i = 1; i < s->count; i++)
        s->children[i].connected = false;
    if (err || !mp_find(wire_map(reply), "sessions", &list) || !mp_array(&list, &count))
        return;
    for (struct mp session = list; count && mp_skip(&list); session = list, count--)
        take_session(s, session);
    say_all_up(s);
}

static void call_the_roll(struct supervisor *s)
{
    struct buf request = {0};
    if (s->asking || s->now_ms < s->ask_ms)
        return;
    s->ask_ms = s->now_ms + s->ask_pause_ms;
    s->ask_pause_ms = s->ask_pause_ms * 2 < ROLL_CALL_MS_MAX ? s->ask_pause_ms * 2 : ROLL_CALL_MS_MAX;
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", "sessions");
    s->asking = ls_adm(s->client, ls_bytes(request.data, request.len), on_sessions, s, NULL) == 0;
    buf_fini(&request);
}

static void client_step(struct supervisor *s)
{
    char took[RENDER_SHORT_SIZE];
    struct ls_error err = {0};
    if (ls_client_step(s->client, 0, &err) < 0) { /* refused for good: if it was not ready before, it will never be */
        say(s, "broker: %s", err.text);
        ls_client_close(&s->client);
        s->failed = !s->was_ready;
        return;
    }
    if (!s->broker_ready && ls_client_connected(s->client)) {
        say(s, "broker: ready at %s after %s", s->url, render_duration((clock_mono_ms() - s->children[0].started_ms) * 1000, took));
        s->was_ready = s->broker_ready = true;
    }
    if (s->broker_ready && !s->all_up)
        call_the_roll(s);
}

static void start_child(struct supervisor *s, struct child *child)
{
    if (!child_start(child, s->now_ms)) {
        say(s, "%s: cannot make a process (%s), next try in %lld ms", child->speaker.name, strerror(errno),
            (long long) child->delay_max_ms);
        child->start_ms = s->now_ms + child->delay_max_ms;
        return;
    }
    if (!child->looping)
        say(s, "%s: starting, pid %d", child->speaker.name, (int) child->pid);
    if (child->is_broker)
        client_start(s);
}

/* ---- ending ---- */

static void drain(struct supervisor *s, struct child *child)
{
    for (int i = 0; i < 2; i++)
        for (int reads = 0; reads < DRAIN_READS && child->source[i].fd >= 0; reads++) {
            struct pollfd ready = {.fd = child->source[i].fd, .events = POLLIN};
            if (poll(&ready, 1, 0) <= 0 || !source_read(&child->source[i], &s->screen, &child->speaker))
                break;
        }
}

static void ask_to_end(struct supervisor *s, struct child *child)
{
    if (child->state == CHILD_IDLE) {
        child_set_state(child, CHILD_DONE);
    } else if (child->state == CHILD_RUNNING) {
        child_set_state(child, CHILD_CLEARING);
        child->kill_ms = s->now_ms + child->stop_timeout_ms;
        child_signal(child, SIGTERM);
    }
}

static void say_crash_loop(struct supervisor *s, struct child *child, int64_t delay_ms)
{
    char status[64], span[RENDER_SHORT_SIZE], pause[RENDER_SHORT_SIZE];
    uint64_t kept = child->speaker.kept_count < OUTPUT_KEPT ? child->speaker.kept_count : OUTPUT_KEPT;
    say(s, "%s: crash loop: %lld exits in %s, last %s; trying again every %s from now on%s", child->speaker.name,
        (long long) child->limit, render_duration(child_crash_span(child) * 1000, span),
        child_status_text(child->status, status), render_duration(delay_ms * 1000, pause), kept ? "; its last lines:" : "");
    for (uint64_t i = child->speaker.kept_count - kept; i < child->speaker.kept_count; i++)
        say(s, "    %s", child->speaker.kept[i % OUTPUT_KEPT]);
}

/* An end that nobody asked for. */
static void report_end(struct supervisor *s, struct child *child)
{
    char status[64], lived[RENDER_SHORT_SIZE];
    child_status_text(child->status, status);
    render_duration((s->now_ms - child->started_ms) * 1000, lived);
    if (child->is_broker && !s->was_ready) {
        say(s, "broker: did not start (%s); its lines above say why", status);
        s->failed = true;
        return;
    }
    int64_t delay_ms = child_ended(child, s->now_ms);
    child->start_ms = s->now_ms + delay_ms;
    if (child->looping)
        return;
    say(s, "%s: exited (%s) after %s, restarting in %lld ms", child->speaker.name, status, lived, (long long) delay_ms);
    if (child_crash_span(child) >= 0) {
        child->looping = true;
        say_crash_loop(s, child, delay_ms);
    }
}

static void leader_ended(struct supervisor *s, struct child *child, int status)
{
    bool unasked = child->state == CHILD_RUNNING;
    child->status = status;
    child->leader_ended = child->has_ended = true;
    child_set_state(child, CHILD_CLEARING);
    drain(s, child);
    if (child->is_broker)
        ls_client_close(&s->client);
    if (!unasked) {
        char text[64];
        say(s, "%s: stopped (%s)", child->speaker.name, child_status_text(status, text));
        return;
    }
    report_end(s, child);
    if (child_group_alive(child)) {
        child_signal(child, SIGTERM);
        child->kill_ms = s->now_ms + child->stop_timeout_ms;
    }
}

/* The whole group is gone. */
static void cleared(struct supervisor *s, struct child *child)
{
    if (child->mark && stray_signal(child->mark, SIGKILL) > 0)
        say(s, "%s: killed what it left running outside its process group", child->speaker.name);
    child->pid = 0;
    for (int i = 0; i < 2; i++)
        source_close(&child->source[i], &s->screen, &child->speaker);
    child_set_state(child, s->stopping || s->failed ? CHILD_DONE : CHILD_IDLE);
}

static void kill_child(struct supervisor *s, struct child *child)
{
    if (child->leader_ended && s->now_ms >= child->kill_ms + AFTER_KILL_MS) {
        cleared(s, child);
        return;
    }
    if (!s->killing && !child->leader_ended)
        say(s, "%s: did not stop within %lld ms, killing it", child->speaker.name, (long long) child->stop_timeout_ms);
    child_signal(child, SIGKILL);
}

/* ---- the loop ---- */

/* Without a warden nobody would end what this process leaves when it is killed. */
static void start_warden_again(struct supervisor *s)
{
    warden_lost(&s->warden);
    if (warden_start(&s->warden, s->nodes_mark, s->broker_mark))
        say(s, "the warden, which ends what is left should this process be killed, was killed itself: another stands by");
    else
        say(s, "the warden was killed, and there is no other (%s): should this process be killed, look for what is left", strerror(errno));
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == s->warden.pid)
            start_warden_again(s);
        for (size_t i = 0; i < s->count; i++)
            if (s->children[i].pid == pid)
                leader_ended(s, &s->children[i], status);
    }
}

/* Only Ctrl-C counts twice: SIGTERM and SIGHUP come more than once for one wish (timeout, a shell and its terminal that go away). */
static void stop(struct supervisor *s, uint32_t signal)
{
    if (!s->stopping) {
        s->stopping = true;
        say(s, "stopping: nodes first, the broker last (a second Ctrl-C kills at once)");
        return;
    }
    if (s->killing || signal != SIGINT)
        return;
    s->killing = true;
    say(s, "killing everything");
    for (size_t i = 0; i < s->count; i++) {
        ask_to_end(s, &s->children[i]);
        s->children[i].kill_ms = s->now_ms;
        child_signal(&s->children[i], SIGKILL);
    }
}

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t) sizeof info)
        if (info.ssi_signo == SIGCHLD)
            reap(s);
        else
            stop(s, info.ssi_signo);
}

static bool nodes_done(const struct supervisor *s)
{
    for (size_t i = 1; i < s->count; i++)
        if (s->children[i].state != CHILD_DONE)
            return false;
    return true;
}

static bool askers_done(const struct supervisor *s)
{
    for (size_t i = 1; i < s->count; i++)
        if (s->children[i].asks && s->children[i].state != CHILD_DONE)
            return false;
    return true;
}

/* First the nodes that ask, while those that answer are still there; then these; then the broker. */
static bool is_its_turn(const struct supervisor *s, const struct child *child)
{
    return child->asks || (child->is_broker ? nodes_done(s) : askers_done(s));
}

static void tick_child(struct supervisor *s, struct child *child)
{
    if ((s->stopping || s->failed) && is_its_turn(s, child)) {
        if (child->is_broker && child->state == CHILD_RUNNING)
            ls_client_close(&s->client);
        ask_to_end(s, child);
    }
    if (child->state == CHILD_IDLE && s->now_ms >= child->start_ms && (child->is_broker || s->was_ready))
        start_child(s, child);
    else if (child->state == CHILD_CLEARING && child->leader_ended && !child_group_alive(child))
        cleared(s, child);
    else if (child->state == CHILD_CLEARING && s->now_ms >= child->kill_ms)
        kill_child(s, child);
}

/* tick does what is due, and returns whether anything is left to supervise. Nodes that answer start before those that ask; when
 * all stops it is the other way round, the broker last: the end of some lets the next begin to. */
static bool tick(struct supervisor *s)
{
    if (s->screen.broken)
        s->stopping = true; /* nobody listens: as if asked to stop */
    bool askers_first = s->stopping || s->failed;
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 1; i < s->count; i++)
            if (s->children[i].asks == (askers_first == (turn == 0)))
                tick_child(s, &s->children[i]);
    tick_child(s, &s->children[0]);
    return !nodes_done(s) || s->children[0].state != CHILD_DONE;
}

static int64_t wait_ms(struct supervisor *s)
{
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < s->count; i++) {
        const struct child *child = &s->children[i];
        int64_t at = INT64_MAX;
        if (child->state == CHILD_IDLE && (child->is_broker || s->was_ready))
            at = child->start_ms;
        else if (child->state == CHILD_CLEARING)
            at = child->kill_ms > s->now_ms ? child->kill_ms : s->now_ms + AFTER_KILL_MS / 4;
        due = at < due ? at : due;
    }
    if (s->client && s->now_ms + ls_client_due(s->client) < due)
        due = s->now_ms + ls_client_due(s->client);
    if (s->client && s->broker_ready && !s->all_up && !s->asking && s->ask_ms < due)
        due = s->ask_ms;
    return due == INT64_MAX ? -1 : due > s->now_ms ? due - s->now_ms : 0;
}

/* polls: [0] signals, [1] the client, then two pipes for each child. */
static void wait_and_read(struct supervisor *s)
{
    nfds_t count = 2 + 2 * s->count;
    s->polls[0] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    s->polls[1] = (struct pollfd){.fd = s->client ? ls_client_fd(s->client) : -1, .events = POLLIN};
    for (size_t i = 0; i < s->count; i++)
        for (size_t k = 0; k < 2; k++)
            s->polls[2 + 2 * i + k] = (struct pollfd){.fd = s->children[i].source[k].fd, .events = POLLIN};
    int64_t wait = wait_ms(s);
    if (poll(s->polls, count, wait > 60000 ? 60000 : (int) wait) < 0 && errno != EINTR)
        say(s, "cannot wait for events: %s", strerror(errno));
    s->now_ms = clock_mono_ms();
    for (size_t i = 0; i < 2 * s->count; i++) {
        struct child *child = &s->children[i / 2];
        if (s->polls[2 + i].revents && child->source[i % 2].fd >= 0)
            source_read(&child->source[i % 2], &s->screen, &child->speaker);
    }
    if (s->client)
        client_step(s);
    if (s->polls[0].revents)
        take_signals(s);
}

static void set_names(struct supervisor *s)
{
    static const enum colour COLOURS[] = {COLOUR_CYAN, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_BLUE, COLOUR_MAGENTA};
    s->self = (struct speaker){.name = "lineshaft", .colour = COLOUR_BOLD};
    screen_init(&s->screen);
    for (size_t i = 0; i < s->count; i++) {
        struct speaker *speaker = &s->children[i].speaker;
        int len = (int) strlen(speaker->name);
        if (len > s->screen.name_width)
            s->screen.name_width = len;
        speaker->colour = i == 0 ? COLOUR_DIM : COLOURS[(i - 1) % (sizeof COLOURS / sizeof COLOURS[0])];
    }
}

static bool open_signals(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd >= 0;
}

int supervise(const struct supervision *what)
{
    struct supervisor s = {.children = what->children, .count = what->count, .url = what->url, .pages = what->pages,
                           .nodes_mark = what->nodes_mark, .broker_mark = what->broker_mark,
                           .now_ms = clock_mono_ms(), .began_ms = clock_mono_ms(), .ask_pause_ms = ROLL_CALL_MS};
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what nodes leave behind becomes ours, so its end is seen */
    if (!warden_start(&s.warden, what->nodes_mark, what->broker_mark) || !open_signals(&s)) {
        fprintf(stderr, "lineshaft up: cannot start: %s\n", strerror(errno));
        return 1;
    }
    set_names(&s);
    s.polls = xcalloc(2 + 2 * s.count, sizeof *s.polls);
    s.status = up_status_new(&what->story, s.children, s.count, &s.warden);
    while (tick(&s))
        wait_and_read(&s);
    ls_client_close(&s.client);
    up_status_destroy(&s.status);
    warden_stop(&s.warden);
    say(&s, s.failed ? "nothing is running" : "all stopped");
    close(s.signal_fd);
    free(s.polls);
    screen_fini(&s.screen);
    return s.failed || s.killing ? 1 : 0;
}
