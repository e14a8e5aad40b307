/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics in the text format of Prometheus (version 0.0.4): the broker and every node, as the last $sys.stats told. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/logger.h"
#include "lib/mp.h"
#include "nodes/ingress/ingress.h"

static enum ls_verdict on_stats(void *arg, const struct ls_event *event, struct ls_error *err)
{
    (void) err;
    struct ingress *in = arg;
    buf_clear(&in->stats);
    buf_add(&in->stats, event->body.data, event->body.len);
    return LS_DONE;
}

void metrics_open(struct ingress *in)
{
    static const char *const TOPICS[] = {"$sys.stats", NULL};
    struct ls_error err;
    if (!ls_subscribe(node_client(in->node), &(struct ls_subscription){.topics = TOPICS}, on_stats, in, &err))
        logger_put(LEVEL_ERROR, "metrics", err.text, "topic=%s", TOPICS[0]);
}

void metrics_close(struct ingress *in)
{
    buf_fini(&in->stats);
}

void metrics_count(struct ingress *in)
{
    struct http_server_counters c;
    http_server_counters(in->server, &c);
    *node_metric(in->node, METRIC_REFUSED) = (int64_t) (c.refused_gate + c.refused_limit);
    *node_metric(in->node, METRIC_CONNECTIONS) = (int64_t) c.connections;
}

/* ---- the text ---- */

struct labels {
    const char *names[3];
    struct mp_slice values[3];
};

/* Backslash, quote and newline are escaped in label values. */
static void put_labels(struct buf *out, const struct labels *labels)
{
    for (size_t i = 0; i < 3 && labels->names[i]; i++) {
        buf_addf(out, "%s%s=\"", i ? "," : "{", labels->names[i]);
        for (size_t j = 0; j < labels->values[i].len; j++) {
            char c = labels->values[i].data[j];
            if (c == '\\' || c == '"' || c == '\n')
                buf_add_byte(out, '\\');
            buf_add_byte(out, c == '\n' ? 'n' : (uint8_t) c);
        }
        buf_add_byte(out, '"');
    }
    if (labels->names[0])
        buf_add_byte(out, '}');
}

static bool number_of(struct mp value, double *number)
{
    bool boolean;
    if (mp_double(&value, number))
        return true;
    if (!mp_bool(&value, &boolean))
        return false;
    *number = boolean;
    return true;
}

static void put_sample(struct buf *out, const char *prefix, struct mp_slice name, const struct labels *labels, double number)
{
    buf_addf(out, "lineshaft_%s%.*s", prefix, (int) name.len, name.data);
    put_labels(out, labels);
    if (fabs(number) < 1e15 && floor(number) == number)
        buf_addf(out, " %.0f\n", number);
    else
        buf_addf(out, " %.9g\n", number);
}

static bool is_counter(struct mp_slice name)
{
    return name.len > 6 && memcmp(name.data + name.len - 6, "_total", 6) == 0;
}

static void put_type(struct buf *out, const char *prefix, struct mp_slice name, bool counter)
{
    buf_addf(out, "# TYPE lineshaft_%s%.*s %s\n", prefix, (int) name.len, name.data, counter ? "counter" : "gauge");
}

static struct mp_slice slice(const char *text)
{
    return (struct mp_slice){text, strlen(text)};
}

static void put_broker(struct buf *out, struct mp stats)
{
    static const char *const GAUGES[] = {"uptime_ms", "connections", "sessions", "requests", "requests_waiting", "memory", "memory_max"};
    struct mp value, counters;
    struct mp_slice name;
    double number;
    uint32_t pairs;
    for (size_t i = 0; i < sizeof GAUGES / sizeof GAUGES[0]; i++)
        if (mp_find(stats, GAUGES[i], &value) && number_of(value, &number)) {
            put_type(out, "broker_", slice(GAUGES[i]), false);
            put_sample(out, "broker_", slice(GAUGES[i]), &(struct labels){0}, number);
        }
    if (!mp_find(stats, "counters", &counters) || !mp_map(&counters, &pairs))
        return;
    for (; pairs && mp_str(&counters, &name) && number_of(counters, &number) && mp_skip(&counters); pairs--) {
        char total[128];
        int len = snprintf(total, sizeof total, "%.*s_total", (int) name.len, name.data);
        put_type(out, "broker_", (struct mp_slice){total, (size_t) len}, true);
        put_sample(out, "broker_", (struct mp_slice){total, (size_t) len}, &(struct labels){0}, number);
    }
}

/* One family: `key` of every map in the list. */
static void put_family(struct buf *out, struct mp list, const char *prefix, const char *key, const char *label, bool counter)
{
    uint32_t count;
    char name[128];
    snprintf(name, sizeof name, "%s%s", key, counter ? "_total" : "");
    if (!mp_array(&list, &count))
        return;
    for (bool first = true; count; count--) {
        struct mp item = list, value, who;
        struct labels labels = {{label}, {{0}}};
        double number;
        if (!mp_skip(&list))
            return;
        if (!mp_find(item, key, &value) || !number_of(value, &number) || !mp_find(item, "name", &who) || !mp_str(&who, &labels.values[0]))
            continue;
        if (first)
            put_type(out, prefix, slice(name), counter);
        first = false;
        put_sample(out, prefix, slice(name), &labels, number);
    }
}

static void put_lists(struct buf *out, struct mp stats)
{
    static const struct {
        const char *list, *prefix, *label, *key;
        bool counter;
    } FAMILIES[] = {
        {"streams", "stream_", "stream", "events", false}, {"streams", "stream_", "stream", "bytes", false},
        {"streams", "stream_", "stream", "first", false}, {"streams", "stream_", "stream", "next", false},
        {"streams", "stream_", "stream", "segments", false}, {"streams", "stream_", "stream", "pending_bytes", false},
        {"streams", "stream_", "stream", "published", true}, {"streams", "stream_", "stream", "duplicates", true},
        {"consumers", "consumer_", "consumer", "pending", false}, {"consumers", "consumer_", "consumer", "in_flight", false},
        {"consumers", "consumer_", "consumer", "oldest_ms", false}, {"consumers", "consumer_", "consumer", "members", false},
        {"consumers", "consumer_", "consumer", "delivered", true}, {"consumers", "consumer_", "consumer", "acked", true},
        {"consumers", "consumer_", "consumer", "naked", true}, {"consumers", "consumer_", "consumer", "expired", true},
        {"consumers", "consumer_", "consumer", "dead", true},
    };
    for (size_t i = 0; i < sizeof FAMILIES / sizeof FAMILIES[0]; i++) {
        struct mp list;
        if (mp_find(stats, FAMILIES[i].list, &list))
            put_family(out, list, FAMILIES[i].prefix, FAMILIES[i].key, FAMILIES[i].label, FAMILIES[i].counter);
    }
}

/* ---- nodes: samples of one name must stand together ---- */

struct sample {
    struct mp_slice name, client, member;
    double number;
};

static int by_name(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.data, y->name.data, len);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static void add_samples(struct buf *samples, struct mp node)
{
    struct mp value, stats;
    struct sample s = {0};
    uint32_t pairs;
    if (mp_find(node, "client", &value))
        mp_str(&value, &s.client);
    if (mp_find(node, "member", &value))
        mp_str(&value, &s.member);
    if (!mp_find(node, "stats", &stats) || !mp_map(&stats, &pairs))
        return;
    for (; pairs && mp_str(&stats, &s.name) && number_of(stats, &s.number) && mp_skip(&stats); pairs--)
        buf_add(samples, &s, sizeof s);
}

static void put_nodes(struct buf *out, struct mp stats)
{
    struct buf samples = {0};
    struct mp list;
    uint32_t count;
    if (mp_find(stats, "nodes", &list) && mp_array(&list, &count))
        for (; count; count--) {
            struct mp node = list;
            if (!mp_skip(&list))
                break;
            add_samples(&samples, node);
        }
    struct sample *s = (struct sample *) (void *) samples.data;
    size_t total = samples.len / sizeof *s;
    if (total)
        qsort(s, total, sizeof *s, by_name);
    for (size_t i = 0; i < total; i++) {
        struct labels labels = {{"node", "member"}, {s[i].client, s[i].member}};
        if (i == 0 || by_name(&s[i - 1], &s[i]) != 0)
            put_type(out, "", s[i].name, is_counter(s[i].name));
        put_sample(out, "", s[i].name, &labels, s[i].number);
    }
    buf_fini(&samples);
}

void handle_metrics(struct visit *v)
{
    struct ingress *in = v->ingress;
    struct buf *out = &in->scratch;
    struct mp stats = mp_over(in->stats.data, in->stats.len);
    buf_clear(out);
    buf_addf(out, "# TYPE lineshaft_up gauge\nlineshaft_up %d\n", in->connected);
    if (in->stats.len) {
        put_broker(out, stats);
        put_lists(out, stats);
        put_nodes(out, stats);
    }
    http_answer_header(v->x, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    http_answer(v->x, 200, ls_bytes(out->data, out->len));
}
