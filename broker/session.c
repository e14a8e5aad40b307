/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: one for each peer of the ROUTER socket, from its first message until it is silent, gone or says BYE. */
#include "broker/core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define HB_DEFAULT_MS 5000
#define ANONYMOUS_IDLE_MS 60000
#define STATS_MAX 200
#define STATS_BYTES_MAX 4096

/* Sessions by descriptor, for the monitor's news. A session may outlive its entry, never the other way round. */
static uint64_t fd_key(int fd)
{
    return 1ull << 63 | (uint64_t) (unsigned) fd;
}

static void on_silence(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    struct session *s = (struct session *) ((char *) timer - offsetof(struct session, silence));
    int64_t allowed = s->introduced ? 3 * s->hb_ms : ANONYMOUS_IDLE_MS;
    bool busy = b->lagging || (!s->introduced && (s->acking || s->requests.used || guard_is_open(b, s->fd)));
    int64_t due = s->seen_ms + allowed;
    if (due < b->woke_ms + s->hb_ms) /* what came while the broker stood still may be on its way to the socket yet */
        due = b->woke_ms + s->hb_ms;
    if (busy || due > b->now_ms) {
        heap_set(&b->timers, timer, busy ? b->now_ms + allowed : due);
        return;
    }
    if (s->introduced) {
        struct buf map = {0};
        buf_pack_map(&map, 1);
        buf_pair_str(&map, "reason", "silent");
        reply_map(s, "GOODBYE", &map);
        buf_fini(&map);
    }
    session_end(s, "silent");
}

static void fd_bind(struct broker *b, struct session *s, int fd)
{
    if (s->fd == fd)
        return;
    if (s->fd >= 0 && map_get(&b->sessions, fd_key(s->fd)) == s)
        map_remove(&b->sessions, fd_key(s->fd));
    s->fd = fd;
    map_put(&b->sessions, fd_key(fd), s);
}

struct session *session_require(struct broker *b, struct message *m)
{
    uint64_t key = XXH3_64bits_withSeed(m->route, m->route_len, b->seed) & ~(1ull << 63);
    struct session *s = map_get(&b->sessions, key);
    m->fd = s && s->fd >= 0 ? s->fd : message_fd(m);
    if (s && s->lost && m->fd != s->lost_fd) { /* a routing id of the client's own, on its next connection */
        session_end(s, "disconnected");
        s = NULL;
    }
    if (!s) {
        guard_catch_up(b); /* an older connection with the same descriptor is forgotten first */
        s = xcalloc(1, sizeof *s);
        s->broker = b;
        s->key = key;
        s->fd = -1;
        s->route = xcalloc(m->route_len, 1); /* it holds NUL bytes */
        memcpy(s->route, m->route, m->route_len);
        s->route_len = m->route_len;
        s->hb_ms = HB_DEFAULT_MS;
        s->silence.fire = on_silence;
        map_put(&b->sessions, key, s);
        heap_set(&b->timers, &s->silence, b->now_ms + ANONYMOUS_IDLE_MS);
    }
    if (m->fd >= 0 && !s->lost)
        fd_bind(b, s, m->fd);
    s->seen_ms = b->now_ms;
    s->delimited = m->delimited;
    return s;
}

struct session *session_of_fd(struct broker *b, int fd)
{
    return map_get(&b->sessions, fd_key(fd));
}

const char *session_source(const struct session *s)
{
    return s && s->introduced ? s->client : "anonymous";
}

bool session_is_slow(struct session *s)
{
    struct broker *b = s->broker;
    if (s->slow_turn != b->turn) {
        s->slow_turn = b->turn;
        s->slow = guard_is_slow(b, s->fd);
    }
    b->waits_for_slow = b->waits_for_slow || s->slow;
    return s->slow;
}

struct sub *session_sub(struct session *s, uint64_t cid)
{
    for (size_t i = 0; i < s->sub_count; i++)
        if (s->subs[i]->cid == cid)
            return s->subs[i];
    return NULL;
}

static void end_subs(struct session *s)
{
    while (s->sub_count)
        sub_destroy(s->subs[s->sub_count - 1]);
}

/* What HELLO and PING brought. */
static void end_declared(struct session *s)
{
    http_routes_withdraw(s);
    s->broker->declared_bytes -= s->stats.len;
    buf_fini(&s->stats);
}

static int by_name(const void *a, const void *b)
{
    const struct session *x = *(struct session *const *) a, *y = *(struct session *const *) b;
    int order = strcmp(x->client, y->client);
    return order ? order : strcmp(x->member, y->member);
}

struct session **sessions_sorted(struct broker *b, size_t *count)
{
    struct session *s, **sorted = xcalloc(b->sessions.used + 1, sizeof *sorted);
    uint64_t hash;
    *count = 0;
    for (size_t at = 0; (s = map_walk(&b->sessions, &at, &hash));)
        if (s->introduced && !s->gone && !(hash >> 63)) /* the other keys are descriptors */
            sorted[(*count)++] = s;
    qsort(sorted, *count, sizeof *sorted, by_name);
    return sorted;
}

void session_lost(struct session *s)
{
    struct broker *b = s->broker;
    map_remove(&b->sessions, fd_key(s->fd)); /* the descriptor may be another connection's soon */
    s->lost_fd = s->fd;
    s->fd = -1;
    if (s->lost)
        return;
    s->lost = true;
    s->next_lost = b->lost_sessions;
    b->lost_sessions = s;
}

void sessions_lost_end(struct broker *b)
{
    while (b->lost_sessions)
        session_end(b->lost_sessions, "disconnected");
}

static void put_with_gone(struct session *s)
{
    s->gone = true;
    s->next_gone = s->broker->gone_sessions;
    s->broker->gone_sessions = s;
}

void session_doom(struct session *s, const char *reason)
{
    if (s->gone)
        return;
    s->doom = reason;
    put_with_gone(s);
}

static void lost_remove(struct session *s)
{
    struct session **at = &s->broker->lost_sessions;
    while (*at && *at != s)
        at = &(*at)->next_lost;
    if (*at)
        *at = s->next_lost;
}

void session_end(struct session *s, const char *reason)
{
    struct broker *b = s->broker;
    if (s->ended)
        return;
    s->ended = true;
    if (s->lost)
        lost_remove(s);
    if (!s->gone)
        put_with_gone(s);
    if (s->introduced)
        logger_put(LEVEL_DEBUG, "session-end", reason, "client=%s member=%s", s->client, s->member);
    end_subs(s);
    end_declared(s);
    requests_of_session_gone(s);
    acks_fini(s);
    heap_unset(&b->timers, &s->silence);
    if (s->fd >= 0 && map_get(&b->sessions, fd_key(s->fd)) == s)
        map_remove(&b->sessions, fd_key(s->fd));
    map_remove(&b->sessions, s->key);
}

void sessions_sweep(struct broker *b)
{
    while (b->gone_sessions) {
        struct session *s = b->gone_sessions;
        b->gone_sessions = s->next_gone;
        session_end(s, s->doom);
        map_fini(&s->requests);
        free(s->subs);
        free(s->route);
        free(s);
    }
}

void sessions_fini(struct broker *b)
{
    for (;;) {
        size_t at = 0;
        struct session *s = map_walk(&b->sessions, &at, NULL);
        if (!s)
            break;
        session_end(s, "stopping");
    }
    sessions_sweep(b);
    map_fini(&b->sessions);
}

/* ---- HELLO, PING ---- */

static bool name_ok(struct mp_slice name)
{
    if (!name.len || name.len > NAME_LEN_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", name.data[i]) || !name.data[i])
            return false;
    return true;
}

static void copy_name(char to[NAME_LEN_MAX + 1], struct mp_slice name)
{
    memcpy(to, name.data, name.len);
    to[name.len] = 0;
}

struct hello {
    struct mp_slice client, member;
    uint64_t hb_ms;
    struct http_routes routes;
};

static int hello_read(struct broker *b, struct mp header, struct hello *hello, struct ls_error *err)
{
    struct mp value;
    uint64_t version;
    *hello = (struct hello){.hb_ms = HB_DEFAULT_MS};
    if (!mp_find(header, "v", &value) || !mp_uint(&value, &version) || version != 1)
        return error_set(err, "BAD_VALUE", "HELLO wants \"v\": 1; this broker speaks LWP/1");
    if (!mp_find(header, "client", &value) || !mp_str(&value, &hello->client) || !name_ok(hello->client))
        return error_set(err, "BAD_VALUE", "HELLO wants \"client\": a name of 1 to 64 letters, digits, '.', '_', '-'");
    if (mp_find(header, "member", &value) && (!mp_str(&value, &hello->member) || !name_ok(hello->member)))
        return error_set(err, "BAD_VALUE", "\"member\" wants 1 to 64 letters, digits, '.', '_', '-'");
    if (mp_find(header, "hb", &value) &&
        (!mp_uint(&value, &hello->hb_ms) || hello->hb_ms < 1000 || hello->hb_ms > 60000))
        return error_set(err, "BAD_VALUE", "\"hb\" wants milliseconds from 1000 to 60000");
    return http_routes_read(b, header, &hello->routes, err);
}

/* Only one session may be this member: the newer one wins, since the older is most often a connection that died unseen. */
static void replace_older(struct broker *b, const struct session *s)
{
    size_t at = 0;
    struct session *other, *older = NULL;
    while ((other = map_walk(&b->sessions, &at, NULL)))
        if (other != s && other->introduced && !strcmp(other->client, s->client) && !strcmp(other->member, s->member))
            older = other;
    if (!older)
        return;
    struct buf map = {0};
    buf_pack_map(&map, 1);
    buf_pair_str(&map, "reason", "replaced");
    reply_map(older, "GOODBYE", &map);
    buf_fini(&map);
    session_end(older, "replaced");
}

static void hello_answer(struct broker *b, struct session *s, struct mp_slice header)
{
    struct buf map = {0};
    size_t at = buf_begin_map(&map);
    buf_pair_uint(&map, "v", 1);
    buf_pair_str(&map, "server", "lineshaft/" LINESHAFT_VERSION);
    buf_pair_str(&map, "name", b->config->name);
    buf_pair_str(&map, "broker", b->uuid);
    buf_pair_str(&map, "boot", b->boot);
    buf_pair_str(&map, "member", s->member);
    buf_pair_uint(&map, "hb", (uint64_t) s->hb_ms);
    buf_pair_uint(&map, "now_us", (uint64_t) b->now_us);
    buf_pair_uint(&map, "header_max", b->config->header_bytes_max);
    buf_pair_uint(&map, "body_max", b->config->body_bytes_max);
    buf_pair_uint(&map, "batch_max", b->batch_bytes_max);
    buf_pair_uint(&map, "batch_count_max", b->config->batch_count_max);
    buf_pack_str(&map, "caps");
    buf_pack_array(&map, 2);
    buf_pair_str(&map, "batch", "requests");
    uint16_t pairs = (uint16_t) (13 + pack_tag(&map, header));
    buf_end_map(&map, at, pairs);
    reply_map(s, "OK", &map);
    buf_fini(&map);
}

void on_hello(struct broker *b, struct message *m)
{
    struct session *s = m->session;
    struct mp_slice header = message_part(m, 1);
    struct hello hello;
    struct ls_error err;
    if (hello_read(b, mp_over(header.data, header.len), &hello, &err) < 0 ||
        http_routes_check(b, &hello.routes, s, hello.client, &err) < 0) {
        http_routes_free(&hello.routes);
        reply_complaint(m, &err);
        return;
    }
    end_subs(s); /* a second HELLO starts over */
    end_declared(s);
    s->introduced = true;
    s->since_us = b->now_us;
    memset(&s->flow, 0, sizeof s->flow);
    copy_name(s->client, hello.client);
    if (hello.member.len)
        copy_name(s->member, hello.member);
    else
        snprintf(s->member, sizeof s->member, "%.8s-%llu", b->boot + 28, (unsigned long long) ++b->last_member);
    s->hb_ms = (int64_t) hello.hb_ms;
    heap_set(&b->timers, &s->silence, b->now_ms + 3 * s->hb_ms);
    if (hello.member.len)
        replace_older(b, s);
    http_routes_declare(s, &hello.routes);
    logger_put(LEVEL_DEBUG, "session-start", "a client said HELLO", "client=%s member=%s", s->client, s->member);
    hello_answer(b, s, header);
}

static bool nonce_ok(struct mp_slice nonce)
{
    if (!nonce.len || nonce.len > 64)
        return false;
    for (size_t i = 0; i < nonce.len; i++)
        if (!nonce.data[i] || !strchr("abcdefghijklmnopqrstuvwxyz0123456789-", nonce.data[i]))
            return false;
    return true;
}

/* `stats`: {name: number}. */
static int stats_check(struct mp value, size_t len, struct ls_error *err)
{
    uint32_t pairs;
    struct mp_slice name;
    double number;
    if (!mp_map(&value, &pairs) || pairs > STATS_MAX || len > STATS_BYTES_MAX)
        return error_set(err, "BAD_VALUE", "\"stats\" wants a map of at most %d numbers and %d bytes", STATS_MAX,
                         STATS_BYTES_MAX);
    for (uint32_t i = 0; i < pairs; i++) {
        bool ok = mp_peek(&value) == MP_STR && mp_str(&value, &name) && name.len && name.len <= 100;
        for (size_t k = 0; ok && k < name.len; k++)
            ok = name.data[k] && strchr("abcdefghijklmnopqrstuvwxyz0123456789_", name.data[k]);
        if (!ok)
            return error_set(err, "BAD_VALUE", "name %u of \"stats\" wants 1 to 100 of a-z, 0-9, _", i + 1);
        if (!mp_double(&value, &number) || !isfinite(number))
            return error_set(err, "BAD_VALUE", "\"%.*s\" of \"stats\" wants a finite number", (int) name.len,
                             name.data);
    }
    return 0;
}

static int take_stats(struct session *s, struct mp value, struct ls_error *err)
{
    struct mp end = value;
    size_t len = mp_skip(&end) ? (size_t) (end.p - value.p) : 0;
    if (stats_check(value, len, err) < 0)
        return -1;
    if (!s->introduced)
        return 0; /* PONG says that there is no session to keep them */
    s->broker->declared_bytes += len - s->stats.len;
    buf_clear(&s->stats);
    buf_add(&s->stats, value.p, len);
    return 0;
}

/* What a PING asks for besides its PONG. */
static int ping_read(struct broker *b, struct session *s, struct mp header, struct ls_error *err)
{
    struct mp value;
    struct mp_slice nonce;
    if (mp_find(header, "stats", &value) && take_stats(s, value, err) < 0)
        return -1;
    if (!mp_find(header, "sync", &value))
        return 0;
    if (!mp_str(&value, &nonce) || !nonce_ok(nonce))
        return error_set(err, "BAD_VALUE", "\"sync\" wants 1 to 64 bytes of a-z, 0-9 and '-'");
    live_sync(b, nonce);
    return 0;
}

void on_ping(struct broker *b, struct message *m)
{
    struct mp_slice header = message_part(m, 1);
    struct mp r = mp_over(header.data, header.len), value;
    struct ls_error err;
    if (ping_read(b, m->session, r, &err) < 0) {
        reply_complaint(m, &err);
        return;
    }
    struct buf map = {0};
    size_t at = buf_begin_map(&map);
    uint16_t pairs = 2;
    buf_pair_uint(&map, "now_us", (uint64_t) b->now_us);
    buf_pair_bool(&map, "session", m->session->introduced);
    if (mp_find(r, "t", &value)) {
        struct mp end = value;
        if (mp_skip(&end) && end.p - value.p <= TAG_BYTES_MAX) {
            buf_pack_str(&map, "t");
            buf_add(&map, value.p, (size_t) (end.p - value.p));
            pairs++;
        }
    }
    pairs = (uint16_t) (pairs + pack_tag(&map, header));
    buf_end_map(&map, at, pairs);
    reply_map(m->session, "PONG", &map);
    buf_fini(&map);
}
