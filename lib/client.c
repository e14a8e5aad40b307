/* SPDX-License-Identifier: Apache-2.0 */
/* The client as its user sees it: options, the step that drives everything, waiting, the end. The connection is in
 * client_session.c; what the verbs mean in client_publish.c, client_wait.c, client_subscribe.c, client_consume.c,
 * client_request.c, client_serve.c and client_adm.c; the thread that keeps a session alive in client_heart.c. */
#include "lib/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define STEP_MESSAGES_MAX 1000 /* messages and ms of one step, so that timers stay on time */
#define STEP_MS_MAX 20
#define HB_DEFAULT_MS 5000
#define STALL_DEFAULT_MS 600000
#define ROUTES_BYTES_MAX (256u << 10) /* the broker takes 512 routes */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- the step ---- */

static void tick(struct ls_client *client)
{
    int64_t now = clock_mono_ms();
    session_tick(client, now);
    client->dirty = false;
    client->publisher.sent_this_step = false;
    request_tick(client, now);
    if (client->phase != CLIENT_READY)
        return;
    publish_tick(client, now);
    consume_tick(client, now);
}

void client_breathe(struct ls_client *client)
{
    int64_t now = clock_mono_ms();
    if (now - client->acks_at < STEP_MS_MAX)
        return;
    client->acks_at = now;
    if (!client->options.ack_every_ms)
        consume_flush_acks(client);
    if (client->phase == CLIENT_READY && now >= client->spoke_at + client->options.hb_ms)
        session_ping(client, now);
}

static int drain(struct ls_client *client)
{
    int count = 0;
    int64_t started = clock_mono_ms();
    while (client->socket && client->ready && session_receive(client)) {
        if (++count >= STEP_MESSAGES_MAX || clock_mono_ms() - started >= STEP_MS_MAX)
            break;
    }
    return count;
}

static int64_t due_at(const struct ls_client *client, int64_t now)
{
    int64_t at = sooner(session_due(client), request_due(client));
    if (client->phase != CLIENT_READY)
        return at;
    return client->dirty ? now : sooner(at, sooner(publish_due(client, now), consume_due(client)));
}

int ls_client_due(struct ls_client *client)
{
    int64_t now = clock_mono_ms(), at = due_at(client, now);
    if (client->broken || session_has_input(client))
        return 0;
    if (at == INT64_MAX)
        return -1;
    return at <= now ? 0 : at - now > INT32_MAX ? INT32_MAX : (int) (at - now);
}

int ls_client_fd(const struct ls_client *client)
{
    return client->epoll_fd;
}

static void wait_for_input(struct ls_client *client, int timeout_ms)
{
    if (!timeout_ms || client->ready)
        return; /* looked at already */
    int due = ls_client_due(client);
    if (timeout_ms < 0 || (due >= 0 && due < timeout_ms))
        timeout_ms = due;
    if (timeout_ms)
        session_look(client, timeout_ms); /* an interrupted wait is a short one */
}

int ls_client_step(struct ls_client *client, int timeout_ms, struct ls_error *err)
{
    if (client_may_wait(client, err))
        return -1;
    client->stepping = true;
    heart_stepped(client);
    int handled = 0;
    if (client->phase != CLIENT_ENDED) {
        session_look(client, 0);
        tick(client);
        wait_for_input(client, timeout_ms);
        handled = drain(client);
        if (client->phase != CLIENT_ENDED)
            tick(client);
        subscribe_sweep(client);
    }
    heart_stepped(client);
    client->stepping = false;
    return client_may_ask(client, err) ? -1 : handled;
}

/* ---- waiting ---- */

int client_may_wait(const struct ls_client *client, struct ls_error *err)
{
    if (!client->stepping)
        return 0;
    return error_set(err, "USAGE", "this call waits and must not be made inside a callback");
}

int client_may_ask(const struct ls_client *client, struct ls_error *err)
{
    if (client->phase != CLIENT_ENDED)
        return 0;
    if (err)
        *err = client->why;
    return -1;
}

int client_until(struct ls_client *client, bool (*done)(struct ls_client *client, void *arg), void *arg, int timeout_ms,
                 const char *what, struct ls_error *err)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + timeout_ms;
    for (;;) {
        if (done(client, arg))
            return 0;
        int64_t left = until == INT64_MAX ? INT32_MAX : until - clock_mono_ms();
        if (left < 0)
            break;
        if (ls_client_step(client, (int) left, err) < 0)
            return -1;
    }
    if (client->phase == CLIENT_READY)
        return error_set(err, "TIMEOUT", "%s: no answer from %s within %d ms", what, client->url, timeout_ms);
    return error_set(err, "UNREACHABLE", "%s: no broker answers at %s; is it running? (lineshaft up TOPOLOGY)", what,
                     client->url);
}

static bool is_ready(struct ls_client *client, void *arg)
{
    (void) arg;
    return client->phase == CLIENT_READY;
}

int ls_client_wait(struct ls_client *client, int timeout_ms, struct ls_error *err)
{
    return client_until(client, is_ready, NULL, timeout_ms, "connect", err);
}

int client_check_map(struct ls_slice map, size_t max, const char *what, struct ls_error *err)
{
    struct ls_slice rest;
    uint32_t pairs;
    if (!map.len || !wire_map_pairs(map, &pairs, &rest))
        return error_set(err, "BAD_VALUE", "%s must be one msgpack map", what);
    if (map.len > max)
        return error_set(err, "TOO_BIG", "%s has %zu bytes, at most %zu are allowed", what, map.len, max);
    return 0;
}

int ls_stats(struct ls_client *client, struct ls_slice map, struct ls_error *err)
{
    if (client_check_map(map, STATS_BYTES_MAX, "the map of stats", err))
        return -1;
    heart_lock(client);
    buf_clear(&client->ping);
    buf_pack_map(&client->ping, 1);
    buf_pack_str(&client->ping, "stats");
    buf_add(&client->ping, map.data, map.len);
    client->has_stats = true;
    heart_unlock(client);
    return 0;
}

/* ---- open and close ---- */

static bool name_byte(char c)
{
    return isalnum((unsigned char) c) || c == '.' || c == '_' || c == '-';
}

static char *default_name(void)
{
    char *name = xstrndup(program_invocation_short_name, 64);
    for (char *at = name; *at; at++)
        if (!name_byte(*at))
            *at = '-';
    if (!*name) {
        free(name);
        return xstrdup("client");
    }
    return name;
}

static int check_options(const struct ls_client_options *o, struct ls_error *err)
{
    size_t len = o->name ? strspn(o->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 1;
    if (!len || len > 64 || (o->name && o->name[len]))
        return error_set(err, "USAGE", "client name \"%.80s\": 1 to 64 of A-Z a-z 0-9 . _ -", o->name);
    struct mp routes = wire_map(o->routes);
    uint32_t count;
    if (o->routes.len && (!mp_valid(o->routes.data, o->routes.len, MP_DEPTH_MAX) || !mp_array(&routes, &count)))
        return error_set(err, "USAGE", "`routes` must be one msgpack array");
    if (o->routes.len > ROUTES_BYTES_MAX)
        return error_set(err, "USAGE", "`routes` have %zu bytes, at most %u go into HELLO", o->routes.len, ROUTES_BYTES_MAX);
    if (o->hb_ms && (o->hb_ms < 1000 || o->hb_ms > 60000))
        return error_set(err, "USAGE", "hb_ms is %d; it must be 1000 to 60000", o->hb_ms);
    return 0;
}

static void fill_options(struct ls_client *client, const struct ls_client_options *options)
{
    struct ls_client_options *o = &client->options;
    *o = *options;
    o->url = o->name = o->member = NULL;
    o->routes = (struct ls_slice){0};
    o->stall_ms = o->stall_ms > 0 ? o->stall_ms : STALL_DEFAULT_MS;
    o->hb_ms = o->hb_ms ? o->hb_ms : HB_DEFAULT_MS;
    o->unacked_max = o->unacked_max ? o->unacked_max : 1000;
    o->unacked_bytes_max = o->unacked_bytes_max ? o->unacked_bytes_max : 16u << 20;
    o->batch_max = o->batch_max ? o->batch_max : 64;
    o->batch_bytes_max = o->batch_bytes_max ? o->batch_bytes_max : 256u << 10;
    o->publish_retry_ms = o->publish_retry_ms ? o->publish_retry_ms : 60000;
    client->name = options->name ? xstrdup(options->name) : default_name();
    client->member = options->member ? xstrdup(options->member) : NULL;
    buf_add(&client->routes, options->routes.data, options->routes.len);
    buf_pack_map(&client->ping, 0);
}

struct ls_client *ls_client_open(const struct ls_client_options *options, struct ls_error *err)
{
    static const struct ls_client_options DEFAULTS;
    options = options ? options : &DEFAULTS;
    if (check_options(options, err))
        return NULL;
    struct ls_client *client = xcalloc(1, sizeof *client);
    fill_options(client, options);
    client->url = xstrdup(wire_url(options->url));
    client->server.header_max = 8u << 10; /* the protocol's defaults, until the broker tells its own */
    client->server.body_max = 8u << 20;
    client->server.batch_max = 8u << 20;
    client->server.batch_count_max = 4096;
    publish_init(client);
    request_init(client);
    adm_init(client);
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->own_context = !options->context;
    client->context = options->context ? options->context : zmq_ctx_new();
    client->address = wire_address(client->url, WIRE_ROUTER, err);
    bool made = client->address && client->context && client->epoll_fd >= 0;
    if (made && (!options->heartbeat_thread || !heart_open(client, err)))
        return client; /* its first step connects */
    if (client->address && !made)
        error_set(err, "SYSTEM", "cannot start a client: %s", strerror(errno));
    ls_client_close(&client);
    return NULL;
}

static void say_last_words(struct ls_client *client)
{
    if (client->phase != CLIENT_READY)
        return;
    publish_tick(client, clock_mono_ms());
    consume_flush_acks(client);
    session_bye(client);
}

void ls_client_close(struct ls_client **which)
{
    struct ls_client *client = *which;
    if (!client)
        return;
    *which = NULL;
    heart_close(client);
    say_last_words(client);
    session_close_socket(client);
    publish_free(client);
    subscribe_free(client);
    request_free(client);
    serve_free(client);
    adm_free(client);
    if (client->own_context && client->context)
        zmq_ctx_term(client->context);
    if (client->epoll_fd >= 0)
        close(client->epoll_fd);
    buf_fini(&client->scratch);
    buf_fini(&client->ping);
    buf_fini(&client->routes);
    free(client->url);
    free(client->address);
    free(client->name);
    free(client->member);
    free(client);
}

bool ls_client_connected(const struct ls_client *client)
{
    return client->phase == CLIENT_READY;
}

const char *ls_client_url(const struct ls_client *client)
{
    return client->url;
}

const struct ls_server *ls_client_server(const struct ls_client *client)
{
    return &client->server;
}

void ls_client_counters(const struct ls_client *client, struct ls_counters *counters)
{
    *counters = client->counters;
}
