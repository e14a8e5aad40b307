/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of events: which form they have, and msgpack and JSON as compact JSON. All walks are bounded. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/render.h"

static bool put_value(struct buf *out, struct mp *r, size_t stop, int depth);

/* A key that is no string is written as the string of its JSON form. */
static bool put_key(struct buf *out, struct mp *r, size_t stop, int depth)
{
    struct mp_slice key;
    if (mp_peek(r) == MP_STR && mp_str(r, &key)) {
        render_json_string(out, key.data, key.len);
        return true;
    }
    struct buf text = {0};
    bool ok = put_value(&text, r, text.len + stop, depth);
    render_json_string(out, text.data, text.len);
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
        if (is_map && !put_key(out, r, stop, depth))
            return false;
        if (is_map)
            buf_add_byte(out, ':');
        if (!put_value(out, r, stop, depth))
            return false;
    }
    buf_add_byte(out, is_map ? '}' : ']');
    return true;
}

static void put_double(struct buf *out, double number)
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

static void put_long_string(struct buf *out, const struct mp_slice *str, size_t stop)
{
    size_t len = str->len < stop ? str->len : stop; /* beyond, the output is cut anyway */
    render_json_string(out, str->data, len);
}

static bool put_value(struct buf *out, struct mp *r, size_t stop, int depth)
{
    struct mp_value v;
    if (depth >= MP_DEPTH_MAX || out->len >= stop || !mp_next(r, &v))
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
        put_double(out, v.number);
        break;
    case MP_STR:
        put_long_string(out, &v.str, stop);
        break;
    case MP_BIN:
        buf_add_byte(out, '"');
        render_base64(out, v.str.data, v.str.len < stop ? v.str.len : stop);
        buf_add_byte(out, '"');
        break;
    case MP_ARRAY:
    case MP_MAP:
        return put_items(out, r, stop, depth + 1, &v);
    default: /* nil, extensions */
        buf_add(out, "null", 4);
    }
    return true;
}

bool render_mp(struct buf *out, struct mp *value, size_t max)
{
    return put_value(out, value, max > SIZE_MAX - out->len ? SIZE_MAX : out->len + max, 0);
}

static bool is_json(const void *body, size_t len)
{
    json_t *json = json_loadb(body, len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    json_decref(json);
    return json != NULL;
}

enum body_form { BODY_EMPTY, BODY_JSON, BODY_MSGPACK, BODY_BYTES };

/* docs/protocol.md, "Events" */
static enum body_form body_form(const void *body, size_t len)
{
    const uint8_t *p = body;
    if (len == 0)
        return BODY_EMPTY;
    if ((*p == '{' || *p == '[') && len > 1) /* alone, they are the numbers 123 and 91 in msgpack */
        return is_json(body, len) ? BODY_JSON : BODY_BYTES;
    return mp_valid(body, len, MP_DEPTH_MAX) ? BODY_MSGPACK : BODY_BYTES;
}

/* Copies JSON that is known to be well-formed: without white space between tokens, harmful characters as \u escapes. */
static void put_json(struct buf *out, const char *json, size_t len, size_t max)
{
    size_t stop = max > SIZE_MAX - out->len ? SIZE_MAX : out->len + max, start = 0;
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
            render_json_chars(out, json + start + 1, i - start - 1, true);
            buf_add_byte(out, '"');
        }
    }
}

void render_body(struct buf *out, const void *body, size_t len, size_t max)
{
    struct mp value = mp_over(body, len);
    char size[RENDER_SHORT_SIZE];
    switch (body_form(body, len)) {
    case BODY_EMPTY:
        break;
    case BODY_JSON:
        put_json(out, body, len, max);
        break;
    case BODY_MSGPACK:
        render_mp(out, &value, max);
        break;
    case BODY_BYTES:
        buf_addf(out, "(%s) ", render_size(len, size));
        render_harmless(out, body, len < max ? len : max);
    }
}

bool render_body_json(struct buf *out, const void *body, size_t len)
{
    struct mp value = mp_over(body, len);
    switch (body_form(body, len)) {
    case BODY_EMPTY:
        return false;
    case BODY_JSON:
        buf_addf(out, "\"data\":");
        put_json(out, body, len, SIZE_MAX);
        break;
    case BODY_MSGPACK:
        buf_addf(out, "\"data\":");
        render_mp(out, &value, SIZE_MAX);
        break;
    case BODY_BYTES:
        buf_addf(out, "\"data_base64\":\"");
        render_base64(out, body, len);
        buf_add_byte(out, '"');
    }
    return true;
}
