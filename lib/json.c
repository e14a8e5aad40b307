/* SPDX-License-Identifier: Apache-2.0 */
/* JSON out of text, msgpack and events. All walks are bounded. */
#include "lib/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/utf8.h"
#include "lib/wire.h"

static void put_escape(struct buf *out, uint32_t code)
{
    if (code > 0xffff)
        buf_addf(out, "\\u%04x\\u%04x", (unsigned) (0xd800 + ((code - 0x10000) >> 10)), (unsigned) (0xdc00 + (code & 0x3ff)));
    else if (code == '\n')
        buf_add(out, "\\n", 2);
    else if (code == '\t')
        buf_add(out, "\\t", 2);
    else
        buf_addf(out, "\\u%04x", (unsigned) code);
}

/* How many bytes from p on are ASCII that needs no escape: nearly all of most texts. */
static size_t plain_run(const uint8_t *p, size_t len)
{
    size_t i = 0;
    while (i < len && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

void json_put_chars(struct buf *out, const void *data, size_t len, bool escaped)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len;) {
        size_t run = plain_run(p + i, len - i);
        if (run) {
            buf_add(out, p + i, run);
            i += run;
            continue;
        }
        uint32_t code = 0;
        size_t size = utf8_next(p + i, len - i, &code);
        if (size == 0)
            buf_add(out, "\xef\xbf\xbd", 3);
        else if (utf8_is_harmful(code))
            put_escape(out, code);
        else {
            if (!escaped && (code == '"' || code == '\\'))
                buf_add_byte(out, '\\');
            buf_add(out, p + i, size);
        }
        i += size ? size : 1;
    }
}

void json_put_string(struct buf *out, const void *data, size_t len)
{
    buf_add_byte(out, '"');
    json_put_chars(out, data, len, false);
    buf_add_byte(out, '"');
}

void json_put_text(struct buf *out, const char *text)
{
    if (text)
        json_put_string(out, text, strlen(text));
    else
        buf_add(out, "null", 4);
}

static void put_key(struct buf *out, const char *key)
{
    buf_addf(out, "%s\"%s\":", out->len && out->data[out->len - 1] == '{' ? "" : ",", key);
}

void json_put_pair(struct buf *out, const char *key, struct ls_slice value)
{
    put_key(out, key);
    json_put_string(out, value.data, value.len);
}

void json_put_double(struct buf *out, double number)
{
    if (!isfinite(number)) {
        buf_add(out, "null", 4);
        return;
    }
    char text[40];
    snprintf(text, sizeof text, "%.15g", number);
    if (strtod(text, NULL) != number)
        snprintf(text, sizeof text, "%.17g", number);
    buf_addf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

void json_put_base64(struct buf *out, const void *data, size_t len)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t) p[i] << 16 | (left > 1 ? (uint32_t) p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        buf_add_byte(out, (uint8_t) DIGITS[group >> 18]);
        buf_add_byte(out, (uint8_t) DIGITS[group >> 12 & 63]);
        buf_add_byte(out, left > 1 ? (uint8_t) DIGITS[group >> 6 & 63] : '=');
        buf_add_byte(out, left > 2 ? (uint8_t) DIGITS[group & 63] : '=');
    }
}

/* ---- msgpack ---- */

static bool put_value(struct buf *out, struct mp *r, size_t stop, int depth);

/* A key that is no string is written as the string of its JSON form. */
static bool put_mp_key(struct buf *out, struct mp *r, size_t stop, int depth)
{
    struct mp_slice key;
    if (mp_peek(r) == MP_STR && mp_str(r, &key)) {
        json_put_string(out, key.data, key.len);
        return true;
    }
    struct buf text = {0};
    bool ok = put_value(&text, r, text.len + stop, depth);
    json_put_string(out, text.data, text.len);
    buf_fini(&text);
    return ok;
}

static bool put_items(struct buf *out, struct mp *r, size_t stop, int depth, const struct mp_value *head)
{
    bool is_map = head->type == MP_MAP;
    buf_add_byte(out, is_map ? '{' : '[');
    for (uint32_t i = 0; i < head->count; i++) {
        if (i)
            buf_add_byte(out, ',');
        if (is_map && !put_mp_key(out, r, stop, depth))
            return false;
        if (is_map)
            buf_add_byte(out, ':');
        if (!put_value(out, r, stop, depth))
            return false;
    }
    buf_add_byte(out, is_map ? '}' : ']');
    return true;
}

static bool put_value(struct buf *out, struct mp *r, size_t stop, int depth)
{
    struct mp_value v;
    if (out->len >= stop || !mp_next(r, &v))
        return false;
    switch (v.type) {
    case MP_BOOL:
        buf_addf(out, "%s", v.boolean ? "true" : "false");
        break;
    case MP_UINT:
        buf_addf(out, "%llu", (unsigned long long) v.uint);
        break;
    case MP_INT:
        buf_addf(out, "%lld", (long long) v.sint);
        break;
    case MP_DOUBLE:
        json_put_double(out, v.number);
        break;
    case MP_STR:
        json_put_string(out, v.str.data, v.str.len < stop ? v.str.len : stop);
        break;
    case MP_BIN:
        buf_add_byte(out, '"');
        json_put_base64(out, v.str.data, v.str.len < stop ? v.str.len : stop);
        buf_add_byte(out, '"');
        break;
    case MP_ARRAY:
    case MP_MAP:
        return depth < MP_DEPTH_MAX && put_items(out, r, stop, depth + 1, &v);
    default: /* nil, extensions */
        buf_add(out, "null", 4);
    }
    return true;
}

static size_t stop_at(const struct buf *out, size_t max)
{
    return max > SIZE_MAX - out->len ? SIZE_MAX : out->len + max;
}

bool json_put_value(struct buf *out, struct mp *value, size_t max)
{
    return put_value(out, value, stop_at(out, max), 0);
}

/* ---- bodies and events ---- */

void json_put_copy(struct buf *out, const char *json, size_t len, size_t max)
{
    size_t stop = stop_at(out, max), start = 0;
    bool inside = false;
    for (size_t i = 0; i < len && out->len < stop; i++) {
        if (!inside && json[i] != '"') {
            if (!strchr(" \t\r\n", json[i]))
                buf_add_byte(out, (uint8_t) json[i]);
        } else if (!inside) {
            inside = true;
            start = i;
        } else if (json[i] == '\\') {
            i++;
        } else if (json[i] == '"') {
            inside = false;
            buf_add_byte(out, '"');
            json_put_chars(out, json + start + 1, i - start - 1, true);
            buf_add_byte(out, '"');
        }
    }
}

static bool is_json(struct ls_slice body)
{
    json_t *json = json_loadb(body.data, body.len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    json_decref(json);
    return json != NULL;
}

enum ls_body json_body_kind(struct ls_slice body)
{
    if (body.len == 0)
        return LS_BODY_EMPTY;
    if ((*body.data == '{' || *body.data == '[') && body.len > 1) /* alone, they are the numbers 123 and 91 in msgpack */
        return is_json(body) ? LS_BODY_JSON : LS_BODY_BYTES;
    return mp_valid(body.data, body.len, MP_DEPTH_MAX) ? LS_BODY_MSGPACK : LS_BODY_BYTES;
}

bool json_put_body(struct buf *out, struct ls_slice body)
{
    struct mp value = mp_over(body.data, body.len);
    switch (json_body_kind(body)) {
    case LS_BODY_EMPTY:
        return false;
    case LS_BODY_JSON:
        buf_addf(out, "\"data\":");
        json_put_copy(out, body.data, body.len, SIZE_MAX);
        break;
    case LS_BODY_MSGPACK:
        buf_addf(out, "\"data\":");
        json_put_value(out, &value, SIZE_MAX);
        break;
    case LS_BODY_BYTES:
        buf_addf(out, "\"data_base64\":\"");
        json_put_base64(out, body.data, body.len);
        buf_add_byte(out, '"');
    }
    return true;
}

/* Attributes whose names mean something else in the object. */
static bool is_reserved(struct mp_slice key)
{
    static const char *const NAMES[] = {"stream", "seq", "attempt", "data", "data_base64"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (mp_is(key, NAMES[i]))
            return true;
    return false;
}

static void put_header(struct buf *out, const struct ls_event *event)
{
    struct mp r = wire_map(event->header);
    struct mp_slice key;
    uint32_t pairs;
    if (!mp_map(&r, &pairs))
        return;
    for (; pairs && mp_str(&r, &key); pairs--) {
        if (is_reserved(key) && mp_skip(&r))
            continue;
        if (out->data[out->len - 1] != '{')
            buf_add_byte(out, ',');
        json_put_string(out, key.data, key.len);
        buf_add_byte(out, ':');
        if (!json_put_value(out, &r, SIZE_MAX))
            return;
    }
}

void json_put_event(struct buf *out, const struct ls_event *event)
{
    struct ls_slice found;
    buf_add_byte(out, '{');
    if (event->seq) {
        json_put_pair(out, "stream", event->stream);
        buf_addf(out, ",\"seq\":%llu", (unsigned long long) event->seq);
    }
    put_header(out, event);
    if (!ls_event_attribute(event, "id", &found) && event->id.len)
        json_put_pair(out, "id", event->id);
    if (!ls_event_attribute(event, "source", &found) && event->source.len)
        json_put_pair(out, "source", event->source);
    if (!ls_event_attribute(event, "time", &found)) {
        char text[CLOCK_TEXT_SIZE];
        clock_format(event->ts_us, text);
        json_put_pair(out, "time", ls_str(text));
    }
    if (event->body.len) {
        buf_add_byte(out, ',');
        json_put_body(out, event->body);
    }
    buf_add_byte(out, '}');
}
