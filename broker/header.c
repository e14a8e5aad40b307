/* SPDX-License-Identifier: Apache-2.0 */
/* An event's header map: read once, in place; written again with what the broker fills in. */
#include "broker/core.h"

#include <string.h>

#include "lib/utf8.h"

#define KEYS_MAX 64
#define DEPTH_MAX 8
#define TEXT_MAX 256   /* id, source, subject */
#define TRACE_MAX 1024 /* traceparent and the other attributes */

/* The attributes whose values must be strings (docs/protocol.md, "Events"). */
static const struct attribute {
    const char *name;
    size_t slice_at; /* where struct header keeps it; 0: only checked */
    size_t len_max;
} ATTRIBUTES[] = {
    {"topic", offsetof(struct header, topic) + 1, 4096}, /* its own check gives the better message */
    {"id", offsetof(struct header, id) + 1, TEXT_MAX},
    {"source", offsetof(struct header, source) + 1, TEXT_MAX},
    {"time", offsetof(struct header, time) + 1, 64},
    {"subject", offsetof(struct header, subject) + 1, TEXT_MAX},
    {"traceparent", offsetof(struct header, traceparent) + 1, TRACE_MAX},
    {"tracestate", 0, TRACE_MAX},
    {"datacontenttype", 0, TRACE_MAX},
    {"dataschema", 0, TRACE_MAX},
    {"dataref", 0, TRACE_MAX},
    {"correlationid", 0, TRACE_MAX},
    {"causationid", 0, TRACE_MAX},
    {"partitionkey", 0, TRACE_MAX},
    {"expirytime", 0, TRACE_MAX},
};

static const struct attribute *attribute_find(struct mp_slice key)
{
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (key.data[0] == ATTRIBUTES[i].name[0] && mp_is(key, ATTRIBUTES[i].name))
            return &ATTRIBUTES[i];
    return NULL;
}

/* Readers differ on which of two equal keys counts; the broker's own would too. */
static int twice(const char *key, struct ls_error *err)
{
    return error_set(err, "BAD_FRAME", "the header key \"%s\" stands twice", key);
}

static int read_attribute(struct mp *r, const struct attribute *a, struct header *h, struct ls_error *err)
{
    struct mp_slice value;
    if (!mp_str(r, &value) || !value.len)
        return error_set(err, "BAD_VALUE", "the header key \"%s\" wants a string that is not empty", a->name);
    if (value.len > a->len_max)
        return error_set(err, "BAD_VALUE", "the header key \"%s\" is %zu bytes long; at most %zu are allowed", a->name,
                         value.len, a->len_max);
    if (!utf8_valid(value.data, value.len))
        return error_set(err, "BAD_VALUE", "the header key \"%s\" has bytes that are no UTF-8", a->name);
    if (!a->slice_at)
        return 0;
    struct mp_slice *kept = (void *) ((char *) h + a->slice_at - 1);
    if (kept->len)
        return twice(a->name, err);
    *kept = value;
    return 0;
}

/* Keys that speak to the broker and are not stored. 1: it was one. */
static int read_control(struct mp *r, struct mp_slice key, bool bare, struct header *h, struct ls_error *err)
{
    if (mp_is(key, "n")) {
        if (h->has_n)
            return twice("n", err);
        h->has_n = mp_uint(r, &h->n) && h->n;
        return h->has_n ? 1 : error_set(err, "BAD_VALUE", "\"n\" wants a number from 1 on");
    }
    if (mp_is(key, "batch")) {
        if (h->has_batch)
            return twice("batch", err);
        h->has_batch = mp_uint(r, &h->batch) && h->batch && h->batch <= UINT32_MAX;
        return h->has_batch ? 1 : error_set(err, "BAD_VALUE", "\"batch\" wants the number of events");
    }
    const uint8_t *from = r->p;
    struct mp_slice *raw = mp_is(key, "tag") ? &h->tag : bare && mp_is(key, "data") ? &h->data : NULL;
    if (!raw)
        return 0;
    if (raw->len)
        return twice(raw == &h->tag ? "tag" : "data", err);
    struct mp value = *r;
    if (!mp_skip(r))
        return error_set(err, "BAD_FRAME", "the header is cut off");
    *raw = (struct mp_slice){(const char *) from, (size_t) (r->p - from)};
    if (raw == &h->data)
        return 1;
    h->has_tag = true;
    if (!tag_valid(value))
        return error_set(err, "BAD_VALUE", "\"tag\" wants a number or a string of at most 64 bytes");
    return 1;
}

static void add_span(struct header *h, const uint8_t *from, const uint8_t *to)
{
    if (to > from)
        h->span[h->spans++] = (struct mp_slice){(const char *) from, (size_t) (to - from)};
}

int header_read(struct mp_slice map, bool bare, struct header *h, struct ls_error *err)
{
    *h = (struct header){0};
    struct mp r = mp_over(map.data, map.len);
    if (!mp_map(&r, &h->pairs))
        return error_set(err, "BAD_FRAME", "the header is not a msgpack map");
    if (h->pairs > KEYS_MAX)
        return error_set(err, "TOO_BIG", "the header has %u keys; at most %d are allowed", h->pairs, KEYS_MAX);
    const uint8_t *run = r.p;
    for (uint32_t i = 0; i < h->pairs; i++) {
        const uint8_t *pair = r.p;
        struct mp_slice key;
        if (!mp_str(&r, &key) || !key.len)
            return error_set(err, "BAD_FRAME", "a header key is not a string, or the header is cut off");
        int control = read_control(&r, key, bare, h, err);
        if (control < 0)
            return -1;
        if (control) {
            add_span(h, run, pair);
            run = r.p;
            h->control++;
            continue;
        }
        const struct attribute *a = attribute_find(key);
        if (a && read_attribute(&r, a, h, err) < 0)
            return -1;
        if (!a && !utf8_valid(key.data, key.len))
            return error_set(err, "BAD_FRAME", "a header key has bytes that are no UTF-8");
        const uint8_t *value = r.p;
        if (!a && (!mp_skip(&r) || !mp_valid(value, (size_t) (r.p - value), DEPTH_MAX)))
            return error_set(err, "BAD_FRAME", "the header's value of \"%.*s\" is cut off or too deep",
                             (int) (key.len < 64 ? key.len : 64), key.data);
    }
    add_span(h, run, r.p);
    if (r.p != r.end)
        return error_set(err, "BAD_FRAME", "there are bytes behind the header map");
    return 0;
}

void header_read_control(struct mp_slice map, struct header *h)
{
    struct mp r = mp_over(map.data, map.len), value;
    *h = (struct header){0};
    h->has_n = mp_find(r, "n", &value) && mp_uint(&value, &h->n) && h->n;
    h->has_batch = mp_find(r, "batch", &value) && mp_uint(&value, &h->batch) && h->batch && h->batch <= UINT32_MAX;
    struct mp end;
    if (mp_find(r, "tag", &value) && tag_valid(value) && (end = value, mp_skip(&end))) {
        h->has_tag = true;
        h->tag = (struct mp_slice){(const char *) value.p, (size_t) (end.p - value.p)};
    }
}

int header_number(struct mp header, const char *key, uint64_t low, uint64_t high, uint64_t *value, struct ls_error *err)
{
    struct mp at;
    if (!mp_find(header, key, &at))
        return 0;
    if (!mp_uint(&at, value) || *value < low || *value > high)
        return error_set(err, "BAD_VALUE", "\"%s\" wants a number from %llu to %llu", key, (unsigned long long) low,
                         (unsigned long long) high);
    return 1;
}

void header_write(struct buf *out, const struct header *h, struct mp_slice id, struct mp_slice source,
                  struct mp_slice time)
{
    bool fill_id = !h->id.len && id.len, fill_source = !h->source.len && source.len,
         fill_time = !h->time.len && time.len;
    buf_pack_map(out, h->pairs - h->control + fill_id + fill_source + fill_time);
    for (size_t i = 0; i < h->spans; i++)
        buf_add(out, h->span[i].data, h->span[i].len);
    if (fill_id)
        buf_pair_strn(out, "id", id.data, id.len);
    if (fill_source)
        buf_pair_strn(out, "source", source.data, source.len);
    if (fill_time)
        buf_pair_strn(out, "time", time.data, time.len);
}
