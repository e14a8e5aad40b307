/* SPDX-License-Identifier: Apache-2.0 */
/* Rates out of totals, and the list of nodes out of processes and sessions. */
#include <stdlib.h>
#include <string.h>

#include "cli/top/top.h"

#define COUNT_MAX 9e15 /* beyond, a number is nonsense: it may come from anybody */

bool top_number(const json_t *object, const char *key, double *value)
{
    const json_t *number = json_object_get(object, key);
    *value = json_number_value(number);
    return json_is_number(number);
}

int64_t top_count(const json_t *object, const char *key)
{
    double number;
    return top_number(object, key, &number) && number > 0 && number < COUNT_MAX ? (int64_t) number : 0;
}

const char *top_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- rates ---- */

/* What the total at `key` grew by becomes the rate at `rate`. Unknown (null) without a former row, and for a total that
 * began anew. */
static void set_rate(json_t *row, const json_t *before, const char *key, const char *rate, double factor)
{
    double now, then;
    bool known = before && factor > 0 && top_number(row, key, &now) && top_number(before, key, &then) && now >= then;
    json_object_set_new(row, rate, known ? json_real((now - then) * factor) : json_null());
}

/* What makes a row the same one in two samples. */
static void put_identity(struct buf *out, const json_t *row, const char *const *keys)
{
    buf_clear(out);
    for (; *keys; keys++)
        buf_addf(out, "%s\n", top_text(row, *keys));
}

static json_t *index_rows(const json_t *list, const char *const *keys)
{
    json_t *index = json_object();
    struct buf identity = {0};
    size_t i;
    json_t *row;
    json_array_foreach((json_t *) (uintptr_t) list, i, row) {
        put_identity(&identity, row, keys);
        json_object_set_nocheck(index, buf_text(&identity), row);
    }
    buf_fini(&identity);
    return index;
}

static const struct rated {
    const char *list;
    const char *keys[3];
    struct {
        const char *total, *rate;
    } rates[4];
} RATED[] = {
    {"streams", {"name"}, {{"published", "rate"}}},
    {"topics", {"topic", "stream"}, {{"events", "rate"}, {"bytes", "bytes_rate"}}},
    {"consumers", {"stream", "name"}, {{"acked", "rate"}}},
    {"services", {"topic"}, {{"requests", "rate"}}},
    {"sessions",
     {"client", "member"},
     {{"published", "published_rate"}, {"delivered", "delivered_rate"}, {"served", "served_rate"}}},
};

static void rate_list(const struct rated *rated, const json_t *sample, const json_t *before, double per_s)
{
    json_t *index = index_rows(json_object_get(before, rated->list), rated->keys);
    struct buf identity = {0};
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(sample, rated->list), i, row) {
        put_identity(&identity, row, rated->keys);
        const json_t *former = json_object_get(index, buf_text(&identity));
        for (size_t k = 0; rated->rates[k].total; k++)
            set_rate(row, former, rated->rates[k].total, rated->rates[k].rate, per_s);
    }
    buf_fini(&identity);
    json_decref(index);
}

/* Bytes per second of streams: what their topics had. (Their own `bytes` shrink when retention drops some.) */
static void rate_streams(const json_t *sample)
{
    static const char *const NAME[] = {"name", NULL}, *const STREAM[] = {"stream", NULL};
    const json_t *topics = json_object_get(sample, "topics");
    json_t *streams = index_rows(json_object_get(sample, "streams"), NAME), *row;
    struct buf identity = {0};
    size_t i;
    double rate, sum;
    json_array_foreach(json_object_get(sample, "streams"), i, row) {
        bool known = topics && top_number(row, "rate", &rate);
        json_object_set_new(row, "bytes_rate", known ? json_real(0) : json_null());
    }
    json_array_foreach((json_t *) (uintptr_t) topics, i, row) {
        put_identity(&identity, row, STREAM);
        json_t *stream = json_object_get(streams, buf_text(&identity));
        if (top_number(row, "bytes_rate", &rate) && top_number(stream, "bytes_rate", &sum))
            json_object_set_new(stream, "bytes_rate", json_real(sum + rate));
    }
    buf_fini(&identity);
    json_decref(streams);
}

static void rate_broker(const json_t *sample, const json_t *before, double per_s)
{
    json_t *broker = json_object_get(sample, "broker");
    const json_t *counters = json_object_get(broker, "counters"), *former = json_object_get(before, "broker");
    json_object_set_new(broker, "events_in", json_integer(top_count(counters, "events_in")));
    int64_t out = top_count(counters, "delivered") + top_count(counters, "live_out");
    json_object_set_new(broker, "events_out", json_integer(out));
    set_rate(broker, former, "events_in", "events_in_rate", per_s);
    set_rate(broker, former, "events_out", "events_out_rate", per_s);
}

/* One over the seconds between two samples, 0 if they are not of the same broker. By its uptime: a wall clock that steps
 * spoils no rate. */
static double per_second(const json_t *sample, const json_t *before)
{
    const json_t *now = json_object_get(sample, "broker"), *then = json_object_get(before, "broker");
    int64_t ms = top_count(now, "uptime_ms") - top_count(then, "uptime_ms");
    return then && ms > 0 && strcmp(top_text(now, "boot"), top_text(then, "boot")) == 0 ? 1000.0 / (double) ms : 0;
}

/* ---- processes ---- */

static const char *const PROCESS[] = {"name", NULL};

/* An answer with the time of the former is the former: `up` measures at most twice a second. */
static void rate_supervisor(json_t *supervisor, const json_t *before)
{
    int64_t us = top_count(supervisor, "now_us") - top_count(before, "now_us");
    json_t *index = index_rows(json_object_get(before, "processes"), PROCESS), *process;
    struct buf identity = {0};
    size_t i;
    json_array_foreach(json_object_get(supervisor, "processes"), i, process) {
        put_identity(&identity, process, PROCESS);
        const json_t *former = json_object_get(index, buf_text(&identity));
        if (former && top_count(former, "pid") != top_count(process, "pid"))
            former = NULL;
        if (former && us == 0)
            json_object_set(process, "cpu_percent", json_object_get(former, "cpu_percent"));
        else
            set_rate(process, former, "cpu_ms", "cpu_percent", us > 0 ? 1e5 / (double) us : 0);
    }
    buf_fini(&identity);
    json_decref(index);
}

static const json_t *same_supervisor(const json_t *list, const json_t *supervisor)
{
    size_t i;
    const json_t *other;
    json_array_foreach((json_t *) (uintptr_t) list, i, other)
        if (json_equal(json_object_get(other, "host"), json_object_get(supervisor, "host")) &&
            json_equal(json_object_get(other, "pid"), json_object_get(supervisor, "pid")) &&
            json_equal(json_object_get(other, "started_us"), json_object_get(supervisor, "started_us")))
            return other;
    return NULL;
}

/* ---- nodes ---- */

static const char *const MEMBER[] = {"member", NULL};

static void take_session(json_t *node, const json_t *session)
{
    static const char *const KEYS[] = {"client", "member", "published", "delivered", "served",
                                       "published_rate", "delivered_rate", "served_rate"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        json_object_set(node, KEYS[i], json_object_get(session, KEYS[i]));
}

/* A session that no `up` started. Its member is a made up name, unless it begins with the client's. */
static json_t *node_of_session(const json_t *session)
{
    const char *client = top_text(session, "client"), *member = top_text(session, "member");
    json_t *node = json_object();
    bool named = *client && strncmp(client, member, strlen(client)) == 0;
    json_object_set_new(node, "name", json_string_nocheck(named || !*client ? member : client));
    json_object_set(node, "since_us", json_object_get(session, "since_us"));
    take_session(node, session);
    return node;
}

/* The member name of a process: its own; of `up` that of the worker that serves its status. */
static const char *member_of(const json_t *sample, const json_t *supervisor, const json_t *process)
{
    const json_t *service, *services = json_object_get(sample, "services");
    size_t i;
    if (strcmp(top_text(process, "kind"), "up") != 0)
        return top_text(process, "name");
    json_array_foreach((json_t *) (uintptr_t) services, i, service)
        if (strcmp(top_text(service, "topic"), top_text(supervisor, "topic")) == 0)
            return top_text(json_array_get(json_object_get(service, "workers"), 0), "member");
    return "";
}

static void add_processes(json_t *nodes, const json_t *sample, const json_t *supervisor, const json_t *sessions,
                          json_t *joined)
{
    struct buf identity = {0};
    size_t i;
    const json_t *process;
    json_array_foreach(json_object_get(supervisor, "processes"), i, process) {
        json_t *node = json_is_object(process) ? json_copy((json_t *) (uintptr_t) process) : json_object();
        buf_clear(&identity);
        buf_addf(&identity, "%s\n", member_of(sample, supervisor, process));
        json_t *session = json_object_get(sessions, buf_text(&identity));
        if (session) {
            take_session(node, session);
            json_array_append(joined, session);
        }
        json_object_set(node, "host", json_object_get(supervisor, "host"));
        json_array_append_new(nodes, node);
    }
    buf_fini(&identity);
}

static void join_nodes(json_t *sample)
{
    json_t *nodes = json_array(), *joined = json_array(), *sessions = json_object_get(sample, "sessions");
    json_t *by_member = index_rows(sessions, MEMBER);
    size_t i, at = 0;
    const json_t *supervisor, *session;
    json_array_foreach(json_object_get(sample, "supervisors"), i, supervisor)
        add_processes(nodes, sample, supervisor, by_member, joined);
    json_array_foreach(sessions, i, session) {
        for (at = 0; at < json_array_size(joined) && json_array_get(joined, at) != session;)
            at++;
        if (at == json_array_size(joined))
            json_array_append_new(nodes, node_of_session(session));
    }
    json_object_set_new(sample, "nodes", nodes);
    json_decref(joined);
    json_decref(by_member);
}

void top_digest(json_t *sample, const json_t *before)
{
    double per_s = per_second(sample, before);
    size_t i;
    json_t *supervisor;
    for (i = 0; i < sizeof RATED / sizeof *RATED; i++)
        rate_list(&RATED[i], sample, before, per_s);
    rate_streams(sample);
    rate_broker(sample, before, per_s);
    json_array_foreach(json_object_get(sample, "supervisors"), i, supervisor)
        rate_supervisor(supervisor, same_supervisor(json_object_get(before, "supervisors"), supervisor));
    join_nodes(sample);
}
