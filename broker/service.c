/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves: services come and go, change their slots and what they say about themselves, and `$sys.services` tells when
 * something of it, or of the HTTP routes, has changed. Requests are given to them in request.c. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOTS_MAX 1000
#define ABOUT_BYTES_MAX 16384
#define ABOUT_DEPTH_MAX 8
#define TELL_EVERY_MS 50
#define TOTALS_KEPT 1000 /* those of patterns that nobody serves any more among them */

/* ---- $sys.services ---- */

static void tell(void *arg, struct timer *timer)
{
    struct broker *b = arg;
    struct buf header = {0}, body = {0};
    (void) timer;
    b->services_told_ms = b->now_ms;
    pack_own_header(b, &header, "$sys.services");
    buf_pack_map(&body, 1);
    buf_pair_uint(&body, "change", b->service_changes);
    live_event(b, SLICE("$sys.services"), (struct mp_slice){(const char *) header.data, header.len},
               (struct mp_slice){(const char *) body.data, body.len}, b->now_us);
    buf_fini(&header);
    buf_fini(&body);
}

void services_init(struct broker *b)
{
    b->services_timer.fire = tell;
    b->services_told_ms = b->now_ms - TELL_EVERY_MS;
}

void services_changed(struct broker *b)
{
    int64_t due = b->services_told_ms + TELL_EVERY_MS;
    b->service_changes++;
    if (!b->services_timer.place)
        heap_set(&b->timers, &b->services_timer, due > b->now_ms ? due : b->now_ms);
}

/* ---- how many requests: counted by pattern, so that the total outlives its workers ---- */

struct service_total {
    uint64_t requests;
    size_t holders;
};

static uint64_t total_key(const struct broker *b, const char *pattern)
{
    return XXH3_64bits_withSeed(pattern, strlen(pattern), b->seed);
}

static struct service_total *total_hold(struct broker *b, const char *pattern)
{
    uint64_t key = total_key(b, pattern);
    struct service_total *total = map_get(&b->service_totals, key);
    if (!total) {
        total = xcalloc(1, sizeof *total);
        map_put(&b->service_totals, key, total);
    }
    total->holders++;
    return total;
}

static void total_release(struct broker *b, const char *pattern, struct service_total *total)
{
    if (--total->holders == 0 && b->service_totals.used > TOTALS_KEPT)
        free(map_remove(&b->service_totals, total_key(b, pattern)));
}

static bool stands_before(struct service_total *const *totals, size_t count, const struct service_total *total)
{
    for (size_t i = 0; i < count; i++)
        if (totals[i] == total)
            return true;
    return false;
}

static void totals_hold(struct sub *sub)
{
    size_t count = 0;
    while (sub->topics[count])
        count++;
    sub->totals = xcalloc(count, sizeof *sub->totals);
    for (size_t i = 0; i < count; i++) {
        struct service_total *total = total_hold(sub->session->broker, sub->topics[i]);
        if (stands_before(sub->totals, i, total))
            total->holders--;
        else
            sub->totals[i] = total;
    }
}

static void totals_release(struct sub *sub)
{
    for (size_t i = 0; sub->topics[i]; i++)
        if (sub->totals[i])
            total_release(sub->session->broker, sub->topics[i], sub->totals[i]);
    free(sub->totals);
}

void service_count(struct sub *sub, struct mp_slice topic)
{
    for (size_t i = 0; sub->topics[i]; i++)
        if (sub->totals[i] && topic_match(sub->topics[i], strlen(sub->topics[i]), topic.data, topic.len))
            sub->totals[i]->requests++;
}

void services_fini(struct broker *b)
{
    struct service_total *total;
    for (size_t at = 0; (total = map_walk(&b->service_totals, &at, NULL));)
        free(total);
    map_fini(&b->service_totals);
    free(b->services);
}

/* ---- coming, changing, going ---- */

void service_join(struct sub *sub)
{
    struct broker *b = sub->session->broker;
    b->services = xgrow(b->services, &b->service_room, b->service_count + 1, sizeof *b->services);
    b->services[b->service_count++] = sub;
    totals_hold(sub);
    b->requests_moved = true;
    services_changed(b);
}

void service_leave(struct sub *sub)
{
    struct broker *b = sub->session->broker;
    for (size_t i = 0; i < b->service_count; i++)
        if (b->services[i] == sub)
            b->services[i] = b->services[--b->service_count];
    requests_of_worker_gone(b, sub);
    totals_release(sub);
    b->declared_bytes -= sub->about.len;
    buf_fini(&sub->about);
    b->requests_moved = true;
    services_changed(b);
}

static int read_about(struct broker *b, struct mp header, struct mp_slice *about, struct ls_error *err)
{
    struct mp at;
    if (!mp_find(header, "about", &at))
        return 0;
    struct mp end = at;
    size_t len = mp_skip(&end) ? (size_t) (end.p - at.p) : 0;
    if (mp_peek(&at) != MP_MAP || !len || len > ABOUT_BYTES_MAX || !mp_valid(at.p, len, ABOUT_DEPTH_MAX))
        return error_set(err, "BAD_VALUE", "\"about\" wants a map of at most %d bytes, at most %d levels deep",
                         ABOUT_BYTES_MAX, ABOUT_DEPTH_MAX);
    if (b->memory + len > b->config->memory_bytes_max) {
        error_set(err, "BUSY", "the broker's memory is full");
        err->retry_ms = 100;
        return -1;
    }
    *about = (struct mp_slice){(const char *) at.p, len};
    return 0;
}

static int read_away(struct mp header, struct service_wish *wish, struct ls_error *err)
{
    struct mp at;
    wish->has_away = mp_find(header, "away", &at);
    if (wish->has_away && !mp_bool(&at, &wish->away))
        return error_set(err, "BAD_VALUE", "\"away\" wants true or false");
    return 0;
}

int service_read(struct broker *b, struct mp header, struct service_wish *wish, struct ls_error *err)
{
    *wish = (struct service_wish){0};
    int got = header_number(header, "slots", 0, SLOTS_MAX, &wish->slots, err);
    wish->has_slots = got > 0;
    return got < 0 || read_away(header, wish, err) < 0 ? -1 : read_about(b, header, &wish->about, err);
}

void service_set(struct sub *sub, const struct service_wish *wish)
{
    struct broker *b = sub->session->broker;
    const struct mp_slice *about = &wish->about;
    if (wish->has_slots && wish->slots != sub->slots) {
        sub->slots = (uint32_t) wish->slots;
        b->requests_moved = true;
        services_changed(b);
    }
    if (wish->has_away && wish->away != sub->away) {
        sub->away = wish->away;
        b->requests_moved = true;
        services_changed(b);
    }
    if (about->len && (about->len != sub->about.len || memcmp(about->data, sub->about.data, about->len))) {
        b->declared_bytes += about->len - sub->about.len;
        buf_fini(&sub->about); /* as small as what it holds */
        buf_add(&sub->about, about->data, about->len);
        services_changed(b);
    }
}

/* ---- ADM services ---- */

struct entry { /* one service and one of its patterns */
    const char *pattern;
    const struct sub *sub;
    size_t place;
};

static int by_pattern(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->pattern, y->pattern);
    return order ? order : x->place < y->place ? -1 : x->place > y->place;
}

static struct entry *sorted_entries(const struct broker *b, size_t *count)
{
    size_t room = 0;
    struct entry *entries = NULL;
    *count = 0;
    for (size_t i = 0; i < b->service_count; i++)
        for (char **t = b->services[i]->topics; *t; t++) {
            entries = xgrow(entries, &room, *count + 1, sizeof *entries);
            entries[(*count)++] = (struct entry){*t, b->services[i], i};
        }
    if (*count)
        qsort(entries, *count, sizeof *entries, by_pattern);
    return entries;
}

static void pack_worker(struct buf *out, const struct sub *sub)
{
    buf_pack_map(out, 5);
    buf_pair_str(out, "client", sub->session->client);
    buf_pair_str(out, "member", sub->session->member);
    buf_pair_uint(out, "slots", sub->slots);
    buf_pair_uint(out, "busy", sub->busy);
    buf_pack_str(out, "about");
    if (sub->about.len)
        buf_add(out, sub->about.data, sub->about.len);
    else
        buf_pack_map(out, 0);
}

/* The entries of one pattern; a service that names it twice counts once. */
static void pack_service(struct broker *b, struct report *r, const struct entry *entries, size_t count)
{
    uint64_t members = 0, slots = 0, busy = 0;
    for (size_t i = 0; i < count; i++)
        if (!i || entries[i].sub != entries[i - 1].sub) {
            members++;
            slots += entries[i].sub->slots;
            busy += entries[i].sub->busy;
        }
    const struct service_total *total = map_get(&b->service_totals, total_key(b, entries->pattern));
    buf_pack_map(r->out, 7);
    buf_pair_str(r->out, "topic", entries->pattern);
    buf_pair_uint(r->out, "requests", total->requests);
    buf_pair_uint(r->out, "members", members);
    buf_pair_uint(r->out, "slots", slots);
    buf_pair_uint(r->out, "busy", busy);
    buf_pair_uint(r->out, "waiting", requests_waiting(b, entries->pattern));
    struct report_list workers = report_begin(r, "workers");
    bool room = true;
    for (size_t i = 0; i < count && room; i++)
        if (!i || entries[i].sub != entries[i - 1].sub) {
            pack_worker(r->out, entries[i].sub);
            room = report_keep(&workers);
        }
    report_end(&workers);
}

void report_services(struct broker *b, struct report *r)
{
    size_t count, next;
    struct entry *entries = sorted_entries(b, &count);
    struct report_list list = report_begin(r, "services");
    for (size_t i = 0; i < count; i = next) {
        for (next = i + 1; next < count && !strcmp(entries[next].pattern, entries[i].pattern);)
            next++;
        pack_service(b, r, entries + i, next - i);
        if (!report_keep(&list))
            break;
    }
    report_end(&list);
    free(entries);
}
