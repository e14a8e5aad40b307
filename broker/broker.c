/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's life: opening, the one loop, closing. */
#include "broker/broker.h"

#include "broker/core.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <czmq.h>

#define UPKEEP_MS 1000
#define PAUSE_MS (UPKEEP_MS * 3 / 2) /* between two turns: then the whole process, or the machine, stood still */
#define DRAIN_TURNS_MAX 100
#define CLOCK_STEP_US 3600000000 /* more than a clock that is only being corrected goes ahead */
#define SLOW_MS 2                 /* between looks at peers that do not read */
#define SEGMENT_SLACK (64u << 10) /* a segment's own head, an entry's, and the source beside a batch */

static void read_clocks(struct broker *b)
{
    const struct broker_clock *given = b->config->clock;
    b->now_ms = given ? given->mono_ms(given->arg) : clock_mono_ms();
    b->now_us = given ? given->wall_us(given->arg) : clock_wall_us();
    clock_format(b->now_us, b->now_text);
}

/* ---- opening ---- */

static bool is_loopback(const char *host)
{
    return !strncmp(host, "127.", 4) || !strcmp(host, "localhost") || !strcmp(host, "::1") || !strcmp(host, "[::1]");
}

/* The data directory's own UUID, made at its first use: clients tell by it whether they meet the same broker again. */
static int read_uuid(struct broker *b, struct ls_error *err)
{
    char *path = xasprintf("%s/broker.uuid", b->config->data_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ssize_t got = fd < 0 ? -1 : read(fd, b->uuid, UUID_TEXT_SIZE - 1);
    int result = 0;
    if (got != UUID_TEXT_SIZE - 1 && fd >= 0) {
        uuid7(b->now_us, b->uuid);
        got = pwrite(fd, b->uuid, UUID_TEXT_SIZE - 1, 0);
        if (got == UUID_TEXT_SIZE - 1)
            fdatasync(fd);
    }
    if (got != UUID_TEXT_SIZE - 1)
        result = error_set(err, "SYSTEM", "cannot read or write %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
    return result;
}

static int open_schemas(struct broker *b, struct ls_error *err)
{
    b->schemas = schema_set_new();
    if (schema_set_add_builtin(b->schemas, err) < 0)
        return -1;
    for (const char *const *folder = b->config->schema_folders; folder && *folder; folder++)
        if (schema_set_add_folder(b->schemas, *folder, err) < 0)
            return -1;
    return 0;
}

/* An event must fit a segment, so segments are raised where they would be too small for one; batches are bounded by the smallest. */
static void fit_segments(struct broker *b)
{
    const struct broker_config *c = b->config;
    uint64_t least = ((uint64_t) c->header_bytes_max + c->body_bytes_max + SEGMENT_SLACK + 4095) / 4096 * 4096,
             smallest = UINT64_MAX;
    b->stream_configs = xcalloc(c->stream_count, sizeof *b->stream_configs);
    for (size_t i = 0; i < c->stream_count; i++) {
        b->stream_configs[i] = c->streams[i];
        if (b->stream_configs[i].segment_bytes < least)
            b->stream_configs[i].segment_bytes = least;
        bool builtin = c->streams[i].name[0] == '$'; /* clients cannot publish there */
        if (!builtin && b->stream_configs[i].segment_bytes < smallest)
            smallest = b->stream_configs[i].segment_bytes;
    }
    b->batch_bytes_max = smallest != UINT64_MAX && smallest - SEGMENT_SLACK < c->batch_bytes_max
                             ? (uint32_t) (smallest - SEGMENT_SLACK)
                             : c->batch_bytes_max;
}

static int open_streams(struct broker *b, struct ls_error *err)
{
    fit_segments(b);
    b->streams = xcalloc(b->config->stream_count, sizeof *b->streams);
    for (size_t i = 0; i < b->config->stream_count; i++) {
        b->stream_count = i + 1;
        if (stream_open(b, &b->streams[i], &b->stream_configs[i], err) < 0)
            return -1;
        if (!strcmp(b->config->streams[i].name, "$sys"))
            b->sys = &b->streams[i];
    }
    return b->sys ? 0 : error_set(err, "CONFIG", "there is no stream $sys");
}

/* Pending dead letters are what this consumer, which nobody joins, has not finished. */
static void open_letters(struct broker *b)
{
    static const char *const TAKES[] = {"$dlq.>", NULL};
    const struct consumer_config config = {
        .name = "$dlq", .stream = "$sys", .takes = TAKES, .from = {.kind = START_ALL}};
    b->letters = consumer_add(b->sys, &config, true);
    consumer_position_require(b->letters, "", NULL);
    deadletters_resume(b);
}

static int open_consumers(struct broker *b, struct ls_error *err)
{
    for (size_t i = 0; i < b->config->consumer_count; i++) {
        const struct consumer_config *config = &b->config->consumers[i];
        struct mp_slice name = {config->name, strlen(config->name)};
        struct stream *s = stream_find(b, (struct mp_slice){config->stream, strlen(config->stream)});
        struct consumer *old = consumer_find(b, name);
        if (!s)
            return error_set(err, "CONFIG", "consumer %s: there is no stream %s", config->name, config->stream);
        if (old && old->stream != s)
            return error_set(
                err, "CONFLICT",
                "consumer %s exists on stream %s and cannot move to %s: choose another name, or drop it first",
                config->name, old->stream->config->name, config->stream);
        struct consumer *c = consumer_add(s, config, true);
        if (c->share == SHARE_GROUP)
            consumer_position_require(c, "", NULL);
    }
    return 0;
}

/* What retention takes for now. A clock that is set forward by a year must not empty the streams: then what is older goes by the time
 * that has passed, until the next start. */
static int64_t retention_us(struct broker *b)
{
    int64_t passed = b->started_us + (b->now_ms - b->started_ms) * 1000;
    bool ahead = b->now_us - passed > CLOCK_STEP_US;
    if (ahead && !b->clock_ahead)
        logger_put(LEVEL_WARN, "clock-ahead",
                   "the clock went ahead of the time that passed (it was set, or the machine slept): until the next start, retention "
                   "by age goes by the time that passed; if the clock is wrong, mend it before that",
                   "ahead_s=%lld", (long long) (b->now_us - passed) / 1000000);
    b->clock_ahead = ahead;
    return ahead ? passed : b->now_us;
}

static void on_upkeep(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    int64_t retain_us = retention_us(b);
    for (size_t i = 0; i < b->stream_count; i++) {
        log_retain(b->streams[i].log, retain_us);
        stream_checkpoint(&b->streams[i]);
        b->streams[i].committed = true; /* what could not be read a second ago may be readable now */
    }
    heap_set(&b->timers, timer, b->now_ms + UPKEEP_MS);
}

static void open_signals(struct broker *b)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    b->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int open_parts(struct broker *b, struct ls_error *err)
{
    const struct broker_config *c = b->config;
    if (!is_loopback(c->host) && !c->insecure)
        return error_set(err, "CONFIG",
                         "refusing to listen on %s: off loopback anyone could publish and read; set broker.insecure: "
                         "true if the network is trusted",
                         c->host);
    if (open_schemas(b, err) < 0 || guard_descriptors(b, err) < 0)
        return -1;
    open_signals(b);
    b->device = log_device_open(c->data_dir, err);
    if (!b->device || read_uuid(b, err) < 0 || sockets_open(b, err) < 0)
        return -1;
    if (open_streams(b, err) < 0 || open_consumers(b, err) < 0)
        return -1;
    for (size_t i = 0; i < b->stream_count; i++)
        consumers_catch_up(&b->streams[i]);
    open_letters(b);
    for (size_t i = 0; i < b->stream_count; i++)
        state_checkpoint(&b->streams[i]); /* consumers that are new here, or changed, stand in it from now on */
    b->upkeep_timer.fire = on_upkeep;
    heap_set(&b->timers, &b->upkeep_timer, b->now_ms + UPKEEP_MS);
    guard_init(b);
    stats_init(b);
    services_init(b);
    routes_init(b);
    return 0;
}

struct broker *broker_open(const struct broker_config *config, struct ls_error *err)
{
    struct broker *b = xcalloc(1, sizeof *b);
    b->config = config;
    b->signal_fd = -1;
    read_clocks(b);
    b->started_ms = b->now_ms;
    b->started_us = b->now_us;
    uuid7(b->now_us, b->boot);
    if (getrandom(&b->seed, sizeof b->seed, 0) != sizeof b->seed)
        b->seed = (uint64_t) b->now_us;
    zsys_init();
    zsys_handler_set(NULL);
    if (open_parts(b, err) < 0) {
        broker_close(&b);
        return NULL;
    }
    logger_put(LEVEL_INFO, "broker-ready", "the broker serves", "name=%s host=%s port=%d data=%s boot=%s", config->name,
               config->host, b->port, config->data_dir, b->boot);
    return b;
}

int broker_port(const struct broker *b)
{
    return b->port;
}

/* ---- the loop ---- */

static void receive(struct broker *b)
{
    const bool *ready = b->sockets.ready;
    guard_events(b);
    if ((!ready[SOCK_ROUTER] && !b->lost_sessions) || sockets_drain(b, SOCK_ROUTER))
        sessions_lost_end(b);
    if (ready[SOCK_PULL])
        sockets_drain(b, SOCK_PULL);
    if (ready[SOCK_SUB])
        sockets_drain(b, SOCK_SUB);
    if (ready[SOCK_LIVE] || ready[SOCK_BATCH])
        live_read_subscriptions(b);
}

/* Everything that follows from what was received, committed or became due. */
static void settle(struct broker *b)
{
    deadletters_replayed(b);
    for (size_t i = 0; i < b->stream_count; i++) {
        struct stream *s = &b->streams[i];
        settle_synced(s);
        if (s->committed)
            stream_after_commit(s);
    }
    acks_send_all(b);
    requests_assign(b);
    ephemeral_pump_all(b);
    live_flush(b);
}

static int64_t time_to_wait(struct broker *b, int64_t wait_ms, int64_t device_ms)
{
    int64_t due = heap_next(&b->timers);
    int64_t wait = due == INT64_MAX ? -1 : due > b->now_ms ? due - b->now_ms : 0;
    if (device_ms >= 0 && (wait < 0 || device_ms < wait))
        wait = device_ms;
    if (wait_ms >= 0 && (wait < 0 || wait_ms < wait))
        wait = wait_ms;
    for (size_t i = 0; i < b->stream_count; i++)
        if (b->streams[i].committed)
            return 0;
    if (b->waits_for_slow && (wait < 0 || wait > SLOW_MS))
        wait = SLOW_MS;
    return b->lagging || b->requests_moved ? 0 : wait;
}

void broker_step(struct broker *b, int64_t wait_ms)
{
    if (sockets_wait(b, time_to_wait(b, wait_ms, b->device_wait_ms)))
        b->stopping = true;
    b->turn++;
    for (size_t i = 0; b->waits_for_slow && i < b->stream_count; i++)
        b->streams[i].committed = true; /* who was slow may read again */
    b->lagging = b->waits_for_slow = false;
    int64_t before = b->now_ms;
    read_clocks(b);
    if (b->now_ms - before > PAUSE_MS)
        b->woke_ms = b->now_ms;
    b->memory = stats_memory(b);
    routes_trim(b);
    receive(b);
    heap_fire(&b->timers, b->now_ms, b);
    b->device_wait_ms = log_device_poll(b->device, b->now_ms);
    settle(b);
    log_device_submit(b->device);
    sessions_sweep(b);
}

void broker_run(struct broker *b)
{
    while (!b->stopping)
        broker_step(b, -1);
}

/* ---- closing ---- */

static void say_goodbye(struct broker *b)
{
    struct buf map = {0};
    buf_pack_map(&map, 2);
    buf_pair_str(&map, "reason", "stopping");
    buf_pair_uint(&map, "retry_ms", 200);
    struct session *s;
    for (size_t at = 0; (s = map_walk(&b->sessions, &at, NULL));)
        if (s->introduced && !s->said_goodbye) {
            s->said_goodbye = true;
            reply_map(s, "GOODBYE", &map);
        }
    buf_fini(&map);
}

/* What was accepted is committed and answered before anything ends. */
static void finish_work(struct broker *b)
{
    b->draining = true;
    say_goodbye(b);
    for (int turn = 0; turn == 0 || (b->lagging && turn < DRAIN_TURNS_MAX); turn++)
        broker_step(b, 0);        /* what has arrived by now is read: late ACKs count, late publishers are told */
    for (int i = 0; i < 2; i++) { /* the replay of a dead letter is two writes, one after the other */
        log_device_submit(b->device);
        log_device_wait(b->device);
        settle(b);
    }
    for (size_t i = 0; i < b->stream_count; i++)
        if (b->streams[i].state)
            state_checkpoint(&b->streams[i]);
}

static void free_parts(struct broker *b)
{
    sessions_fini(b);
    for (size_t i = 0; i < b->stream_count; i++)
        stream_fini(&b->streams[i]);
    free(b->streams);
    free(b->stream_configs);
    if (b->device)
        log_device_close(&b->device);
    routes_fini(b);
    schema_set_destroy(&b->schemas);
    requests_fini(b);
    services_fini(b);
    map_fini(&b->http_routes); /* empty by now: routes go with their sessions */
    guard_fini(b);
    heap_fini(&b->timers);
    buf_fini(&b->scratch);
    buf_fini(&b->scratch2);
    buf_fini(&b->scratch3);
    buf_fini(&b->live_run.packer.bytes);
    deadletters_fini(b);
    if (b->signal_fd >= 0)
        close(b->signal_fd);
}

void broker_close(struct broker **self)
{
    struct broker *b = *self;
    if (!b)
        return;
    *self = NULL;
    bool was_open = b->sys && b->letters;
    if (was_open)
        finish_work(b);
    sockets_close(b);
    free_parts(b);
    zsys_shutdown();
    if (was_open)
        logger_put(LEVEL_INFO, "broker-stopped", "everything is on disk", "uptime_ms=%lld",
                   (long long) (b->now_ms - b->started_ms));
    free(b);
}
