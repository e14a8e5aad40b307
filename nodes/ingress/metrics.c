/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics for Prometheus: the broker, every node and every process, as they are at the moment (overview.h), and the times of
 * this ingress's chats. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/ingress/exposition.h"
#include "nodes/ingress/overview.h"

#define ANSWER_MS 500 /* what has not been told by then is not in the answer */

/* Some families say more than their number: how, where it is not a number as it stands. */
typedef bool read_fn(struct mp value, double *number);

struct family {
    const char *key;  /* in the map that tells of one thing */
    const char *name; /* lineshaft_NAME */
    const char *help;
    double per;       /* 0: as it is; 1000: told in thousandths */
    read_fn *read;    /* NULL: a number */
};

/* ---- tables ---- */

static bool read_health(struct mp value, double *number)
{
    struct mp_slice text;
    if (!mp_str(&value, &text))
        return false;
    *number = mp_is(text, "healthy");
    return true;
}

/* [[from, to], ...]: how many. */
static bool read_lost(struct mp value, double *number)
{
    uint32_t ranges, two;
    uint64_t from, to;
    *number = 0;
    for (mp_array(&value, &ranges); ranges && mp_array(&value, &two) && mp_uint(&value, &from) && mp_uint(&value, &to); ranges--)
        *number += (double) (to - from + 1);
    return true;
}

/* {age_ms, bytes, count}: bytes, where the stream has such a limit. */
static bool read_retain(struct mp value, double *number)
{
    struct mp bytes;
    return mp_find(value, "bytes", &bytes) && mp_double(&bytes, number) && *number > 0;
}

/* The number of the last event: the one before the next. */
static bool read_last(struct mp value, double *number)
{
    if (!mp_double(&value, number))
        return false;
    *number -= 1;
    return true;
}

static bool read_count(struct mp value, double *number)
{
    uint32_t count;
    if (!mp_array(&value, &count))
        return false;
    *number = count;
    return true;
}

static const struct family BROKER[] = {
    {"uptime_ms", "broker_uptime_seconds", "time since the broker started", 1e3, NULL},
    {"connections", "broker_connections", "connections of all sockets", 0, NULL},
    {"sessions", "broker_sessions", "clients that said HELLO", 0, NULL},
    {"requests", "broker_requests_open", "requests that are not answered yet", 0, NULL},
    {"requests_waiting", "broker_requests_waiting", "requests among them that no worker has yet", 0, NULL},
    {"memory", "broker_memory_bytes", "bytes in all accounts of the broker", 0, NULL},
    {"memory_max", "broker_memory_max_bytes", "the limit of these bytes; publishers are answered BUSY near it", 0, NULL},
    {0}};

static const struct family COUNTERS[] = {
    {"messages_in", "broker_messages_in_total", "messages received", 0, NULL},
    {"events_in", "broker_events_in_total", "events received, refused ones and duplicates too", 0, NULL},
    {"events_stored", "broker_events_stored_total", "events stored in streams", 0, NULL},
    {"duplicates", "broker_duplicates_total", "events not stored, as their stream has them already", 0, NULL},
    {"refused", "broker_refused_total", "messages and events answered with an error", 0, NULL},
    {"delivered", "broker_delivered_total", "events given to subscriptions", 0, NULL},
    {"live_out", "broker_live_out_total", "events sent on the live feed", 0, NULL},
    {"acked", "broker_acked_total", "deliveries acknowledged", 0, NULL},
    {"naked", "broker_naked_total", "deliveries answered with NAK", 0, NULL},
    {"expired", "broker_expired_total", "deliveries not answered in time", 0, NULL},
    {"dead_letters", "broker_dead_letters_total", "events that a consumer gave up", 0, NULL},
    {"requests", "broker_requests_total", "requests received", 0, NULL},
    {"no_responder", "broker_no_responder_total", "requests that nobody serves", 0, NULL},
    {"timeouts", "broker_timeouts_total", "requests not answered in time", 0, NULL},
    {"rerouted", "broker_rerouted_total", "requests given to another worker, as the first went away", 0, NULL},
    {"busy", "broker_busy_total", "events answered BUSY for want of memory or disk", 0, NULL},
    {"cut", "broker_cut_total", "sessions ended because their peer did not read", 0, NULL},
    {"rejected", "broker_rejected_total", "events refused from sockets that get no answer; each is an event $sys.rejected", 0, NULL},
    {0}};

static const struct family STREAMS[] = {
    {"health", "stream_healthy", "1; 0 while the stream is full or read-only: lineshaft stream ls tells why", 0, read_health},
    {"events", "stream_events", "events that the stream holds", 0, NULL},
    {"bytes", "stream_bytes", "bytes that they take on disk", 0, NULL},
    {"retain", "stream_retain_bytes", "bytes at which the oldest go; absent: no such limit", 0, read_retain},
    {"first", "stream_first_sequence", "number of the oldest event that the stream holds", 0, NULL},
    {"next", "stream_last_sequence", "number of the newest event; 0: there was none", 0, read_last},
    {"segments", "stream_segments", "files of the log", 0, NULL},
    {"pending_bytes", "stream_pending_bytes", "bytes on their way to the disk", 0, NULL},
    {"lost", "stream_lost_events", "events that the disk lost (bit rot, a torn end) and the stream still remembers", 0, read_lost},
    {"published", "stream_published_total", "events stored", 0, NULL},
    {"duplicates", "stream_duplicates_total", "events not stored, as they are there already", 0, NULL},
    {0}};

static const struct family CONSUMERS[] = {
    {"pending", "consumer_lag_events", "events that are not finished", 0, NULL},
    {"in_flight", "consumer_in_flight_events", "events among them that a member holds", 0, NULL},
    {"oldest_ms", "consumer_oldest_seconds", "age of the oldest event that is not finished; 0: there is none", 1e3, NULL},
    {"members", "consumer_members", "members that are connected", 0, NULL},
    {"delivered", "consumer_delivered_total", "deliveries, repeated ones too", 0, NULL},
    {"acked", "consumer_acked_total", "deliveries acknowledged", 0, NULL},
    {"naked", "consumer_naked_total", "deliveries answered with NAK", 0, NULL},
    {"expired", "consumer_expired_total", "deliveries not answered in time", 0, NULL},
    {"dead", "consumer_dead_letters_total", "events given up: lineshaft dlq ls", 0, NULL},
    {0}};

static const struct family SERVICES[] = {
    {"members", "service_members", "workers that serve the topic", 0, NULL},
    {"slots", "service_slots", "requests that they take at a time", 0, NULL},
    {"busy", "service_busy", "slots in use", 0, NULL},
    {"waiting", "service_waiting", "requests that wait for a slot", 0, NULL},
    {"requests", "service_requests_total", "requests given to workers", 0, NULL},
    {0}};

static const struct family TOPICS[] = {
    {"events", "topic_events_total", "events of the topic that were stored, or passed on; of the busiest topics", 0, NULL},
    {"bytes", "topic_bytes_total", "their bytes", 0, NULL},
    {0}};

static const struct family SESSIONS[] = {
    {"published", "node_published_total", "events accepted from the node since its session began", 0, NULL},
    {"delivered", "node_delivered_total", "events sent to it", 0, NULL},
    {"requests", "node_requests_total", "requests that it sent", 0, NULL},
    {"served", "node_served_total", "requests given to it", 0, NULL},
    {0}};

static const struct family DEAD_LETTERS[] = {
    {"seqs", "dead_letters_pending", "dead letters neither replayed nor dropped; 1000: or more", 0, read_count}, {0}};

static const struct family PROCESSES[] = {
    {"state", "process_up", "1 while the process runs, 0 while it waits to be started again; none when it was told to end", 0, NULL},
    {"restarts", "process_restarts_total", "starts after the first", 0, NULL},
    {"since_us", "process_state_change_seconds", "when its state changed last, since 1970", 1e6, NULL},
    {"cpu_ms", "process_cpu_seconds_total", "CPU time since it began, of all of its processes", 1e3, NULL},
    {"pss", "process_pss_bytes", "memory, its share of what it shares counted by halves and thirds", 0, NULL},
    {"rss", "process_resident_bytes", "memory, with all that it shares", 0, NULL},
    {0}};

/* ---- the broker's answers ---- */

static bool number_of(struct mp map, const struct family *f, double *number)
{
    struct mp value;
    if (!mp_find(map, f->key, &value) || !(f->read ? f->read(value, number) : mp_double(&value, number)))
        return false;
    if (f->per > 0)
        *number /= f->per;
    return true;
}

static void put_one(struct buf *out, const struct family *families, struct mp map)
{
    double number;
    for (const struct family *f = families; f->key; f++)
        if (number_of(map, f, &number)) {
            family_begin(out, ls_str(f->name), NULL, f->help);
            sample_put(out, ls_str(f->name), &(struct labels){0}, number);
        }
}

/* A list whose items are told apart by one or two of their keys. `only`: items that have this key. */
struct list {
    const char *key, *label_keys[2], *label_names[2], *only;
};

static void put_family(struct buf *out, struct mp answer, const struct list *list, const struct family *f)
{
    struct mp_maps items = mp_maps(answer, list->key);
    bool begun = false;
    double number;
    for (struct mp item, only; mp_maps_next(&items, &item);) {
        struct labels labels = {.names = {list->label_names[0], list->label_names[1]}};
        for (size_t i = 0; i < 2 && list->label_keys[i]; i++)
            wire_str(item, list->label_keys[i], &labels.values[i]);
        if ((list->only && !mp_find(item, list->only, &only)) || overview_is_supervisor(labels.values[0]) ||
            !number_of(item, f, &number))
            continue;
        if (!begun)
            family_begin(out, ls_str(f->name), NULL, f->help);
        begun = true;
        sample_put(out, ls_str(f->name), &labels, number);
    }
}

static void put_list(struct buf *out, struct mp answer, const struct list *list, const struct family *families)
{
    for (const struct family *f = families; f->key; f++)
        put_family(out, answer, list, f);
}

static void put_broker(struct buf *out, const struct ingress *in)
{
    struct mp info = overview_part(in, PART_INFO), counters;
    put_one(out, BROKER, info);
    if (mp_find(info, "counters", &counters))
        put_one(out, COUNTERS, counters);
    put_one(out, DEAD_LETTERS, overview_part(in, PART_DLQ));
    put_list(out, overview_part(in, PART_STREAMS), &(struct list){"streams", {"name"}, {"stream"}, NULL}, STREAMS);
    put_list(out, overview_part(in, PART_CONSUMERS), &(struct list){"consumers", {"name", "stream"}, {"consumer", "stream"}, NULL},
             CONSUMERS);
    put_list(out, overview_part(in, PART_SERVICES), &(struct list){"services", {"topic"}, {"topic"}, NULL}, SERVICES);
    put_list(out, overview_part(in, PART_TOPICS), &(struct list){"topics", {"topic", "stream"}, {"topic", "stream"}, NULL}, TOPICS);
    put_list(out, overview_part(in, PART_SESSIONS), &(struct list){"sessions", {"client", "member"}, {"node", "member"}, "stats"},
             SESSIONS);
}

static void put_info(struct buf *out, const struct ingress *in)
{
    struct ls_slice server = {0};
    size_t name = strlen("lineshaft/");
    family_begin(out, ls_str("up"), NULL, "1 while this ingress is connected to the broker");
    sample_put(out, ls_str("up"), &(struct labels){0}, in->connected);
    family_begin(out, ls_str("build_info"), NULL, "versions of the programs that answer here; always 1");
    sample_put(out, ls_str("build_info"),
               &(struct labels){{"component", "version"}, {ls_str("ingress"), ls_str(LINESHAFT_VERSION)}}, 1);
    if (wire_str(overview_part(in, PART_INFO), "server", &server) && server.len > name)
        sample_put(out, ls_str("build_info"),
                   &(struct labels){{"component", "version"}, {ls_str("broker"), ls_bytes(server.data + name, server.len - name)}}, 1);
}

/* ---- what nodes count: samples of one name must stand together ---- */

struct sample {
    struct ls_slice name, client, member;
    double number;
};

static int order(struct ls_slice x, struct ls_slice y)
{
    size_t len = x.len < y.len ? x.len : y.len;
    int first = len ? memcmp(x.data, y.data, len) : 0;
    return first ? first : (x.len > y.len) - (x.len < y.len);
}

static int by_name(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    int name = order(x->name, y->name), client = order(x->client, y->client);
    return name ? name : client ? client : order(x->member, y->member);
}

/* A family may be there once only, whatever a node calls its numbers. */
static bool is_ours(struct mp_slice name)
{
    static const char *const BEGINNINGS[] = {"broker_", "stream_", "consumer_", "service_", "topic_", "node_", "process_", "build_info",
                                             "dead_letters_pending", "ingress_chat_first_token_seconds", "ingress_chat_duration_seconds"};
    for (size_t i = 0; i < sizeof BEGINNINGS / sizeof BEGINNINGS[0]; i++)
        if (name.len >= strlen(BEGINNINGS[i]) && memcmp(name.data, BEGINNINGS[i], strlen(BEGINNINGS[i])) == 0)
            return true;
    return mp_is(name, "up");
}

static void add_samples(struct buf *samples, struct mp session)
{
    struct mp stats;
    struct mp_slice name;
    struct sample s = {0};
    uint32_t pairs;
    wire_str(session, "client", &s.client);
    wire_str(session, "member", &s.member);
    if (!mp_find(session, "stats", &stats) || !mp_map(&stats, &pairs))
        return;
    for (; pairs && mp_str(&stats, &name) && mp_double(&stats, &s.number); pairs--) {
        s.name = ls_bytes(name.data, name.len);
        if (!is_ours(name))
            buf_add(samples, &s, sizeof s);
    }
}

/* The ingress knows no kind but its own: what a number means, the page of the kind tells. */
static void put_nodes(struct buf *out, const struct ingress *in)
{
    struct buf samples = {0};
    struct mp_maps sessions = mp_maps(overview_part(in, PART_SESSIONS), "sessions");
    for (struct mp session; mp_maps_next(&sessions, &session);)
        add_samples(&samples, session);
    struct sample *s = (struct sample *) (void *) samples.data;
    size_t total = samples.len / sizeof *s;
    if (total)
        qsort(s, total, sizeof *s, by_name);
    for (size_t i = 0; i < total; i++) {
        if (i && by_name(&s[i - 1], &s[i]) == 0)
            continue; /* told twice: two samples with the same labels are none */
        if (i == 0 || order(s[i - 1].name, s[i].name) != 0)
            family_begin(out, s[i].name, NULL, "told by the node itself; of a built-in kind: lineshaft help node KIND");
        sample_put(out, s[i].name, &(struct labels){{"node", "member"}, {s[i].client, s[i].member}}, s[i].number);
    }
    buf_fini(&samples);
}

/* ---- processes ---- */

static bool process_number(const json_t *process, const struct family *f, double *number)
{
    const json_t *value = json_object_get(process, f->key);
    const char *state = json_string_value(value);
    if (state ? strcmp(state, "ending") == 0 || strcmp(state, "ended") == 0 : !json_is_number(value))
        return false;
    *number = state ? strcmp(state, "running") == 0 : json_number_value(value) / (f->per > 0 ? f->per : 1);
    return true;
}

static struct ls_slice text_at(const json_t *object, const char *key)
{
    return ls_str(json_string_value(json_object_get(object, key)));
}

static void put_processes_of(struct buf *out, const json_t *up, const struct family *f, bool *begun)
{
    const json_t *process;
    size_t i;
    double number;
    json_array_foreach(json_object_get(up, "processes"), i, process) {
        struct labels labels = {{"process", "node", "kind", "up", "host"},
                                {text_at(process, "name"), text_at(process, "node"), text_at(process, "kind"), text_at(up, "name"),
                                 text_at(up, "host")}};
        if (!process_number(process, f, &number))
            continue;
        if (!*begun)
            family_begin(out, ls_str(f->name), NULL, f->help);
        *begun = true;
        sample_put(out, ls_str(f->name), &labels, number);
    }
}

/* Of two `up` that call themselves the same on one machine only one is told of: two samples with the same labels are none. */
static bool is_second(const json_t *ups, const json_t *up)
{
    const json_t *other;
    size_t i;
    json_array_foreach(ups, i, other)
        if (json_equal(json_object_get(other, "name"), json_object_get(up, "name")) &&
            json_equal(json_object_get(other, "host"), json_object_get(up, "host")))
            return true;
    return false;
}

static void put_processes(struct buf *out, const struct ingress *in)
{
    json_auto_t *ups = json_array();
    struct ls_slice text;
    for (size_t i = 0; (text = overview_supervisor(in, i)).len; i++) {
        json_t *up = json_loadb(text.data, text.len, 0, NULL);
        if (up && !is_second(ups, up))
            json_array_append(ups, up);
        json_decref(up);
    }
    for (const struct family *f = PROCESSES; f->key; f++) {
        const json_t *up;
        size_t i;
        bool begun = false;
        json_array_foreach(ups, i, up)
            put_processes_of(out, up, f, &begun);
    }
}

/* ---- the chats of this ingress ---- */

static const double HISTOGRAM_BOUNDS[HISTOGRAM_SIZE] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300};

void histogram_add(struct histogram *h, double seconds)
{
    size_t at = 0;
    while (at < HISTOGRAM_SIZE && seconds > HISTOGRAM_BOUNDS[at])
        at++;
    h->counts[at]++;
    h->sum += seconds;
}

static void put_histogram(struct buf *out, const struct ingress *in, const char *name, const char *help, const struct histogram *h)
{
    char part[100], bound[32];
    uint64_t count = 0;
    struct labels labels = {{"node", "member", "le"}, {ls_str(node_name(in->node)), ls_str(node_member(in->node))}};
    family_begin(out, ls_str(name), "histogram", help);
    snprintf(part, sizeof part, "%s_bucket", name);
    for (size_t i = 0; i <= HISTOGRAM_SIZE; i++) {
        count += h->counts[i];
        snprintf(bound, sizeof bound, "%g", i < HISTOGRAM_SIZE ? HISTOGRAM_BOUNDS[i] : 0);
        labels.values[2] = ls_str(i < HISTOGRAM_SIZE ? bound : "+Inf");
        sample_put(out, ls_str(part), &labels, (double) count);
    }
    labels.names[2] = NULL;
    snprintf(part, sizeof part, "%s_sum", name);
    sample_put(out, ls_str(part), &labels, h->sum);
    snprintf(part, sizeof part, "%s_count", name);
    sample_put(out, ls_str(part), &labels, (double) count);
}

/* ---- the answer ---- */

/* ?of=self: where several ingresses are scraped only one tells of all, else each number would be there several times. */
static bool of_self(const struct visit *v)
{
    char of[8];
    return http_query_get(v->x, "of", of, sizeof of) && strcmp(of, "self") == 0;
}

static void answer(struct visit *v)
{
    struct ingress *in = v->ingress;
    struct buf *out = &in->scratch;
    buf_clear(out);
    put_info(out, in);
    if (!of_self(v)) {
        put_broker(out, in);
        put_nodes(out, in);
        put_processes(out, in);
    }
    put_histogram(out, in, "ingress_chat_first_token_seconds", "time from a chat's request to the first token of its answer",
                  &in->first_token);
    put_histogram(out, in, "ingress_chat_duration_seconds", "time from a chat's request to the end of its answer, of completed ones",
                  &in->chat_duration);
    http_answer_header(v->x, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    http_answer(v->x, 200, ls_bytes(out->data, out->len));
}

/* One that reads /metrics, while the questions are under way. */
struct scrape {
    struct overview_wait wait;
    struct visit *v;
    struct timer timer;
};

static void scrape_free(struct scrape *s)
{
    s->v->work = NULL;
    node_timer_unset(s->v->ingress->node, &s->timer);
    free(s);
}

static void on_complete(void *arg)
{
    struct scrape *s = arg;
    struct visit *v = s->v;
    scrape_free(s);
    answer(v);
}

static void on_gone(void *work)
{
    struct scrape *s = work;
    overview_forget(&s->wait);
    scrape_free(s);
}

static void on_timer(void *arg, struct timer *timer)
{
    (void) arg;
    struct scrape *s = (struct scrape *) (void *) ((char *) timer - offsetof(struct scrape, timer));
    overview_forget(&s->wait);
    on_complete(s);
}

void handle_metrics(struct visit *v)
{
    if (of_self(v)) {
        answer(v);
        return;
    }
    struct scrape *s = xcalloc(1, sizeof *s);
    s->v = v;
    s->wait.fn = on_complete;
    s->wait.arg = s;
    s->timer.fire = on_timer;
    if (!overview_wait(v->ingress, &s->wait)) {
        free(s);
        answer(v);
        return;
    }
    v->work = s;
    v->gone = on_gone;
    node_timer_set(v->ingress->node, &s->timer, ANSWER_MS);
}

void metrics_count(struct ingress *in)
{
    struct http_server_counters c;
    http_server_counters(in->server, &c);
    *node_metric(in->node, METRIC_REFUSED) = (int64_t) (c.refused_gate + c.refused_limit);
    *node_metric(in->node, METRIC_CONNECTIONS) = (int64_t) c.connections;
}
