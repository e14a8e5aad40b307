/* SPDX-License-Identifier: Apache-2.0 */
/* Durable consumers: their settings, where those come from, and their positions. */
#include "broker/consumer.h"

#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

struct consumer *consumer_find(struct broker *b, struct mp_slice name)
{
    struct consumer *c = NULL;
    for (size_t i = 0; i < b->stream_count && !c; i++)
        c = stream_consumer(&b->streams[i], name);
    return c;
}

static char **copy_list(const char *const *list)
{
    size_t count = 0;
    while (list[count])
        count++;
    char **copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = xstrdup(list[i]);
    return copy;
}

static void settings_free(struct consumer *c)
{
    topics_free(c->takes);
    free(c->backoff_ms);
}

static void settings_copy(struct consumer *c, const struct consumer_config *config)
{
    settings_free(c);
    c->takes = copy_list(config->takes);
    c->takes_all = false;
    for (char **p = c->takes; *p; p++)
        c->takes_all = c->takes_all || !strcmp(*p, ">");
    for (const char *const *p = c->stream->config->topics; *p; p++)
        if (**p == '$')
            c->takes_all = false; /* `>` does not reach $ topics */
    c->from = config->from;
    c->share = config->share;
    c->window = config->window;
    c->window_bytes = config->window_bytes;
    c->ack_wait_ms = config->ack_wait_ms;
    c->backoff_count = config->backoff_count;
    c->backoff_ms = xcalloc(config->backoff_count, sizeof *c->backoff_ms);
    if (config->backoff_count)
        memcpy(c->backoff_ms, config->backoff_ms, config->backoff_count * sizeof *c->backoff_ms);
    c->max_deliver = config->max_deliver;
    c->member_ttl_ms = config->member_ttl_ms;
}

struct consumer *stream_consumer(const struct stream *s, struct mp_slice name)
{
    for (size_t i = 0; i < s->consumer_count; i++)
        if (mp_is(name, s->consumers[i]->name))
            return s->consumers[i];
    return NULL;
}

struct consumer *consumer_add(struct stream *s, const struct consumer_config *config, bool declared)
{
    struct consumer *c = stream_consumer(s, (struct mp_slice){config->name, strlen(config->name)});
    if (!c) {
        c = xcalloc(1, sizeof *c);
        c->stream = s;
        c->name = xstrdup(config->name);
        s->consumers = xgrow(s->consumers, &s->consumer_room, s->consumer_count + 1, sizeof *s->consumers);
        s->consumers[s->consumer_count++] = c;
    }
    settings_copy(c, config);
    c->declared = declared;
    return c;
}

void consumer_destroy(struct consumer *c)
{
    struct stream *s = c->stream;
    while (c->position_count)
        position_destroy(c->positions[c->position_count - 1]);
    for (size_t i = 0; i < s->consumer_count; i++)
        if (s->consumers[i] == c)
            s->consumers[i] = s->consumers[--s->consumer_count];
    settings_free(c);
    free(c->positions);
    free(c->name);
    free(c);
}

uint64_t consumer_drop(struct consumer *c)
{
    uint64_t token = state_dropped(c);
    consumer_destroy(c);
    return token;
}

uint64_t consumer_reset(struct consumer *c, uint64_t next)
{
    uint64_t token = 0;
    if (c->share != SHARE_EACH)
        consumer_position_require(c, "", NULL);
    for (size_t i = 0; i < c->position_count; i++) {
        position_reset(c->positions[i], next);
        token = state_position(c->positions[i]);
    }
    return token;
}

struct position *consumer_position(struct consumer *c, const char *member)
{
    for (size_t i = 0; i < c->position_count; i++)
        if (!strcmp(c->positions[i]->member, member))
            return c->positions[i];
    return NULL;
}

struct position *consumer_position_require(struct consumer *c, const char *member, uint64_t *token)
{
    struct position *p = consumer_position(c, member);
    if (!p) {
        p = position_new(c, member, start_seq(c->stream, &c->from));
        uint64_t written = state_position(p);
        if (token)
            *token = written;
    }
    return p;
}

void consumers_catch_up(struct stream *s)
{
    for (size_t i = 0; i < s->consumer_count; i++)
        for (size_t k = 0; k < s->consumers[i]->position_count; k++)
            position_catch_up(s->consumers[i]->positions[k]);
}

void consumers_pump(struct stream *s)
{
    for (size_t i = 0; i < s->consumer_count; i++)
        for (size_t k = 0; k < s->consumers[i]->position_count; k++)
            position_pump(s->consumers[i]->positions[k]);
}

/* ---- the creating keys of a SUB ---- */

static int read_share(struct mp header, enum consumer_share *share, struct ls_error *err)
{
    struct mp at;
    struct mp_slice text;
    if (!mp_find(header, "share", &at))
        return 0;
    if (!mp_str(&at, &text) || (!mp_is(text, "group") && !mp_is(text, "each")))
        return error_set(err, "BAD_VALUE", "\"share\" wants \"group\" or \"each\"");
    *share = mp_is(text, "each") ? SHARE_EACH : SHARE_GROUP;
    return 1;
}

#define BACKOFF_MAX 16
struct wishes { /* what a SUB says about its consumer */
    struct consumer_config config;
    char **takes;
    int64_t backoff[BACKOFF_MAX];
    bool has_stream, has_takes, has_from, has_share, has_ack_wait, has_backoff, has_max_deliver, has_member_ttl;
    struct mp_slice stream;
};

static int read_backoff(struct mp header, struct wishes *w, struct ls_error *err)
{
    struct mp at;
    uint32_t count;
    if (!mp_find(header, "backoff", &at))
        return 0;
    if (!mp_array(&at, &count) || count > BACKOFF_MAX)
        return error_set(err, "BAD_VALUE", "\"backoff\" wants a list of at most %d durations in ms", BACKOFF_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ms;
        if (!mp_uint(&at, &ms) || ms > 86400000)
            return error_set(err, "BAD_VALUE", "\"backoff\" wants durations in ms, a day at most");
        w->backoff[i] = (int64_t) ms;
    }
    w->config.backoff_ms = w->backoff;
    w->config.backoff_count = count;
    w->has_backoff = true;
    return 0;
}

static int read_names(struct mp header, struct wishes *w, struct ls_error *err)
{
    struct mp at;
    if (mp_find(header, "stream", &at)) {
        w->has_stream = mp_str(&at, &w->stream);
        if (!w->has_stream)
            return error_set(err, "BAD_VALUE", "\"stream\" wants the name of a stream");
    }
    if (mp_find(header, "takes", &at)) {
        w->takes = topics_read(at, err);
        if (!w->takes)
            return -1;
        w->has_takes = true;
    }
    if (mp_find(header, "from", &at)) {
        if (!start_read(at, &w->config.from))
            return error_set(err, "BAD_VALUE",
                             "\"from\" wants \"new\", \"all\", \"last\", {seq: n}, {time_us: t} or {last: n}");
        w->has_from = true;
    }
    return 0;
}

static int wishes_read(struct mp header, struct wishes *w, struct ls_error *err)
{
    static const int64_t BACKOFF[] = {1000, 5000, 30000};
    uint64_t number = 0;
    int got;
    *w = (struct wishes){.config = {.from = {.kind = START_ALL},
                                    .window = WINDOW_DEFAULT,
                                    .window_bytes = WINDOW_BYTES_DEFAULT,
                                    .ack_wait_ms = 30000,
                                    .backoff_ms = BACKOFF,
                                    .backoff_count = 3,
                                    .max_deliver = 5,
                                    .member_ttl_ms = 3600000}};
    if (read_names(header, w, err) < 0 || read_backoff(header, w, err) < 0)
        return -1;
    if ((got = read_share(header, &w->config.share, err)) < 0)
        return -1;
    w->has_share = got;
    if ((got = header_number(header, "ack_wait", 100, 86400000, &number, err)) < 0)
        return -1;
    if ((w->has_ack_wait = got))
        w->config.ack_wait_ms = (int64_t) number;
    if ((got = header_number(header, "max_deliver", 0, 1000, &number, err)) < 0)
        return -1;
    if ((w->has_max_deliver = got))
        w->config.max_deliver = (uint32_t) number;
    if ((got = header_number(header, "member_ttl", 1000, 2592000000, &number, err)) < 0)
        return -1;
    if ((w->has_member_ttl = got))
        w->config.member_ttl_ms = (int64_t) number;
    return 0;
}

static bool name_ok(struct mp_slice name)
{
    if (!name.len || name.len > NAME_LEN_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!((name.data[i] >= 'a' && name.data[i] <= 'z') || (name.data[i] >= '0' && name.data[i] <= '9') ||
              (i && (name.data[i] == '-' || name.data[i] == '_'))))
            return false;
    return true;
}

struct consumer *consumer_create(struct broker *b, struct mp_slice name, struct mp header, struct ls_error *err)
{
    struct wishes w;
    struct consumer *c = NULL;
    char text[NAME_LEN_MAX + 1];
    if (wishes_read(header, &w, err) < 0)
        goto out;
    struct stream *s = w.has_stream ? stream_find(b, w.stream) : NULL;
    if (!w.has_stream && !w.has_takes)
        error_set(
            err, "NO_CONSUMER",
            "there is no consumer \"%.*s\": declare it in the topology, or give `stream` and `takes` to create it",
            (int) (name.len < 64 ? name.len : 64), name.data);
    else if (!w.has_stream || !w.has_takes)
        error_set(err, "BAD_VALUE", "to create a consumer, give both `stream` and `takes`");
    else if (!name_ok(name))
        error_set(err, "BAD_VALUE", "a consumer's name is 1 to 64 of a-z 0-9 _ -, beginning with a letter or digit");
    else if (s && s->consumer_count >= CONSUMERS_MAX)
        error_set(err, "QUOTA", "stream %s has %d consumers already", s->config->name, CONSUMERS_MAX);
    else if (!s)
        error_set(err, "NO_STREAM", "there is no stream \"%.*s\"", (int) (w.stream.len < 64 ? w.stream.len : 64),
                  w.stream.data);
    else {
        snprintf(text, sizeof text, "%.*s", (int) name.len, name.data);
        w.config.name = text;
        w.config.takes = (const char *const *) w.takes;
        c = consumer_add(s, &w.config, false);
        state_created(c);
    }
out:
    topics_free(w.takes);
    return c;
}

static bool same_backoff(const struct consumer *c, const struct wishes *w)
{
    return c->backoff_count == w->config.backoff_count &&
           (!c->backoff_count ||
            !memcmp(c->backoff_ms, w->config.backoff_ms, c->backoff_count * sizeof *c->backoff_ms));
}

int consumer_same(const struct consumer *c, struct mp header, struct ls_error *err)
{
    struct wishes w;
    const char *other = NULL;
    int result = wishes_read(header, &w, err);
    if (result == 0) {
        if (w.has_stream && !mp_is(w.stream, c->stream->config->name))
            other = "stream";
        else if (w.has_takes && !topics_same(w.takes, c->takes))
            other = "takes";
        else if (w.has_share && w.config.share != c->share)
            other = "share";
        else if (w.has_ack_wait && w.config.ack_wait_ms != c->ack_wait_ms)
            other = "ack_wait";
        else if (w.has_backoff && !same_backoff(c, &w))
            other = "backoff";
        else if (w.has_max_deliver && w.config.max_deliver != c->max_deliver)
            other = "max_deliver";
        else if (w.has_member_ttl && w.config.member_ttl_ms != c->member_ttl_ms)
            other = "member_ttl";
        else if (w.has_from && (w.config.from.kind != c->from.kind || w.config.from.value != c->from.value ||
                                w.config.from.time_us != c->from.time_us))
            other = "from";
    }
    if (other)
        result = error_set(err, "CONFLICT",
                           "consumer \"%s\" exists with another `%s`: leave the key out, or use another name", c->name,
                           other);
    topics_free(w.takes);
    return result;
}
