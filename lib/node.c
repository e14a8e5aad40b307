/* SPDX-License-Identifier: Apache-2.0 */
/* The node runner: the life of a node from its environment to its exit status, and the loop in which all callbacks run. */
#include "lib/node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/node_inside.h"
#include "lib/xmem.h"

#define EXIT_CONFIG 2

/* ---- what callbacks may ask ---- */

struct ls_client *node_client(struct node *node)
{
    return node->client;
}

const char *node_name(const struct node *node)
{
    return node->config.name;
}

const char *node_member(const struct node *node)
{
    return node->config.member;
}

const void *node_kind_options(const struct node *node)
{
    return node->config.options;
}

bool node_draining(const struct node *node)
{
    return node->draining;
}

int64_t node_drain_ms(const struct node *node)
{
    return node->config.drain_ms;
}

/* A timer set to fire at once by the function of another (or its own) waits for the next turn, so that a turn ends. */
void node_timer_set(struct node *node, struct timer *timer, int64_t delay_ms)
{
    int64_t due = clock_mono_ms() + (delay_ms > 0 ? delay_ms : 0);
    heap_set(&node->timers, timer, due > node->turn_ms ? due : node->turn_ms + 1);
}

void node_timer_unset(struct node *node, struct timer *timer)
{
    heap_unset(&node->timers, timer);
}

static void end(struct node *node, int status)
{
    if (!node->over)
        node->status = status;
    node->over = true;
}

void node_fail(struct node *node, const struct ls_error *err)
{
    if (node->over)
        return;
    logger_put(LEVEL_ERROR, "failed", err->text, "name=%s", err->name[0] ? err->name : "FAILED");
    end(node, EXIT_FAILURE);
}

/* ---- the bus ---- */

static const char *what_of(const struct node *node, uint32_t subscription)
{
    if (subscription == node->consumer)
        return node->config.consumer;
    return subscription == node->service ? "serves" : "a subscription";
}

static void on_notice(void *arg, const struct ls_notice *notice)
{
    struct node *node = arg;
    struct ls_error err;
    switch (notice->state) {
    case LS_CONNECTED:
        logger_put(LEVEL_INFO, "connected", notice->text, "member=%s", node->config.member);
        break;
    case LS_LOST:
        logger_put(LEVEL_WARN, "lost", notice->text, "name=%s", notice->err->name);
        break;
    case LS_STALE:
        logger_put(LEVEL_WARN, "stale", notice->text, "of=%s name=%s", what_of(node, notice->subscription), notice->err->name);
        return;
    case LS_REFUSED:
        if (node->code->refused && notice->subscription != node->consumer && notice->subscription != node->service) {
            node->code->refused(node->self, notice->subscription, notice->err);
            return;
        }
        err = *notice->err;
        error_wrap(&err, "the broker refuses %s", what_of(node, notice->subscription));
        node_fail(node, &err);
        return;
    case LS_ENDED: /* the step says it too */
        return;
    }
    if (node->code->connected && node->self)
        node->code->connected(node->self, notice->err);
}

/* The client's descriptor only wakes the loop: the step comes in every turn. */
static void on_bus(void *arg, int fd, uint32_t events)
{
    (void) arg, (void) fd, (void) events;
}

/* ---- the end in order ---- */

static void start_drain(struct node *node, const char *signal_name)
{
    node->draining = true;
    node->drain_until = clock_mono_ms() + node->config.drain_ms;
    node_work_offer(node);
    logger_put(LEVEL_INFO, "draining", "takes nothing new and finishes what is under way", "signal=SIG%s open=%zu limit_ms=%lld",
               signal_name, node_work_open(node), (long long) node->config.drain_ms);
    if (node->code->drain)
        node->code->drain(node->self);
}

static void on_signal(void *arg, int fd, uint32_t events)
{
    struct node *node = arg;
    struct signalfd_siginfo info;
    (void) events;
    if (read(fd, &info, sizeof info) != sizeof info)
        return;
    const char *name = sigabbrev_np((int) info.ssi_signo);
    if (node->draining) {
        logger_put(LEVEL_WARN, "stopped", "at once: the second signal", "signal=SIG%s", name ? name : "?");
        _exit(EXIT_FAILURE);
    }
    start_drain(node, name ? name : "?");
}

static void check_drain(struct node *node)
{
    size_t busy = node->code->busy ? node->code->busy(node->self) : 0, open = node_work_open(node);
    if (busy || open) {
        if (clock_mono_ms() < node->drain_until)
            return;
        logger_put(LEVEL_WARN, "drain-limit", "not everything was finished in time", "busy=%zu open=%zu", busy, open);
    }
    end(node, EXIT_SUCCESS);
}

/* ---- the loop ---- */

static int wait_ms(struct node *node)
{
    int64_t now = clock_mono_ms(), at = now + NODE_STATS_EVERY_MS;
    int due = ls_client_due(node->client);
    at = heap_next(&node->timers) < at ? heap_next(&node->timers) : at;
    at = node->tick_at < at ? node->tick_at : at;
    if (node->draining && node->drain_until < at)
        at = node->drain_until;
    int64_t wait = at > now ? at - now : 0;
    return due >= 0 && due < wait ? due : (int) wait;
}

static void fire_timers(struct node *node)
{
    while (!node->over && heap_next(&node->timers) <= node->turn_ms) {
        struct timer *timer = node->timers.timers[0];
        heap_unset(&node->timers, timer);
        timer->fire(node->self, timer);
    }
}

static void turn(struct node *node)
{
    struct ls_error err;
    node_watch_wait(node, wait_ms(node));
    node->turn_ms = clock_mono_ms();
    if (!node->over && ls_client_step(node->client, 0, &err) < 0)
        node_fail(node, &err);
    fire_timers(node);
    node->tick_at = INT64_MAX;
    if (!node->over && node->code->tick)
        node->tick_at = node->code->tick(node->self, node->turn_ms);
    node_work_turn(node);
    if (!node->over && node->draining)
        check_drain(node);
}

/* ---- opening and closing ---- */

static int check_wiring(const struct node *node, struct ls_error *err)
{
    const struct node_code *code = node->code;
    if (node->config.consumer && !code->event)
        return error_set(err, "CONFIG", "the kind %s takes no events: remove `takes` from the node", code->kind->name);
    if (node->config.serves && !code->request)
        return error_set(err, "CONFIG", "the kind %s serves no requests: remove `serves` from the node", code->kind->name);
    return 0;
}

static int open_loop(struct node *node, struct ls_error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL)) /* before the first thread */
        return error_set(err, "SYSTEM", "cannot block signals: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file as large as a limit allows (ulimit -f) is an error of the write, as a full disk is */
    node->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    node->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (node->epoll_fd < 0 || node->signal_fd < 0)
        return error_set(err, "SYSTEM", "cannot make the loop: %s", strerror(errno));
    node_watch(node, node->signal_fd, EPOLLIN, on_signal, node);
    return 0;
}

static int open_client(struct node *node, struct ls_error *err)
{
    struct buf routes = {0};
    node_work_routes(node, &routes);
    const struct ls_client_options options = {.name = node->config.name, .member = node->config.member,
                                              .hb_ms = (int) node->config.hb_ms, .notice = on_notice, .arg = node,
                                              .heartbeat_thread = true, .publish_retry_ms = -1,
                                              .routes = ls_bytes(routes.data, routes.len)};
    node->client = ls_client_open(&options, err);
    buf_fini(&routes);
    if (!node->client)
        return -1;
    node_watch(node, ls_client_fd(node->client), EPOLLIN, on_bus, node);
    return 0;
}

static int open_kind(struct node *node, struct ls_error *err)
{
    const struct node_code *code = node->code;
    const struct kind_metric *metric = code->kind->metrics;
    node->counter_count = NODE_COUNTERS;
    for (; metric && metric->name; metric++)
        node->counter_count++;
    node->counters = xcalloc(node->counter_count, sizeof *node->counters);
    node->counters_sent = xcalloc(node->counter_count, sizeof *node->counters);
    node->self = code->size ? xcalloc(1, code->size) : node;
    if (code->open && code->open(node->self, node, node->config.options, err))
        return -1;
    return node_work_start(node, err);
}

static void close_node(struct node *node)
{
    if (node->client)
        node_work_stop(node);
    if (node->self && node->code->close)
        node->code->close(node->self);
    if (node->code->size)
        free(node->self);
    node->self = NULL;
    ls_client_close(&node->client);
    node_work_free(node);
    heap_fini(&node->timers);
    free(node->watches);
    free(node->counters);
    free(node->counters_sent);
    if (node->signal_fd >= 0)
        close(node->signal_fd);
    if (node->epoll_fd >= 0)
        close(node->epoll_fd);
}

static int run(struct node *node)
{
    struct ls_error err = {0};
    node->epoll_fd = node->signal_fd = -1;
    node->tick_at = 0; /* in the first turn */
    STAILQ_INIT(&node->kept);
    LIST_INIT(&node->follows);
    if (open_loop(node, &err) || open_client(node, &err) || open_kind(node, &err))
        node_fail(node, &err);
    else
        logger_put(LEVEL_INFO, "open", node->code->kind->name, "member=%s url=%s", node->config.member,
                   ls_client_url(node->client));
    while (!node->over)
        turn(node);
    close_node(node);
    logger_put(LEVEL_INFO, "stopped", node->code->kind->name, "status=%d", node->status);
    return node->status;
}

int node_run(const struct node_code *code)
{
    struct node node = {.code = code};
    struct ls_error err;
    int status = EXIT_CONFIG;
    if (node_config_read(&node.config, code->kind, &err) || check_wiring(&node, &err)) {
        fprintf(stderr, "lineshaft-node: %s: %s\n", code->kind->name, err.text);
    } else {
        logger_init(node.config.member, LEVEL_INFO);
        status = run(&node);
    }
    node_config_free(&node.config, code->kind);
    return status;
}
