/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of facts, from the bus and for it. */
#include "nodes/tracker/body.h"

#include <math.h>
#include <string.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/mp.h"
#include "lib/node.h"

static const struct {
    const char *text;
    double number;
} WORDS[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
#define WORD_COUNT (sizeof WORDS / sizeof *WORDS)

/* ---- msgpack to JSON ---- */

static json_t *number_of(double number)
{
    if (isfinite(number))
        return json_real(number);
    return json_string(WORDS[isnan(number) ? 0 : number > 0 ? 1 : 2].text);
}

static json_t *read_value(struct mp *r, int depth);

static json_t *read_map(struct mp *r, uint32_t pairs, int depth)
{
    json_t *object = json_object();
    struct mp_slice key;
    while (pairs--) {
        json_t *value = mp_str(r, &key) ? read_value(r, depth) : NULL;
        if (!value || json_object_setn_new(object, key.len ? key.data : "", key.len, value)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *read_array(struct mp *r, uint32_t items, int depth)
{
    json_t *array = json_array();
    while (items--)
        if (json_array_append_new(array, read_value(r, depth))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* NULL: malformed, too deep, or no UTF-8. */
static json_t *read_value(struct mp *r, int depth)
{
    struct mp_value v;
    if (depth > MP_DEPTH_MAX || !mp_next(r, &v))
        return NULL;
    switch (v.type) {
    case MP_BOOL: return json_boolean(v.boolean);
    case MP_UINT: return v.uint <= INT64_MAX ? json_integer((json_int_t) v.uint) : json_real((double) v.uint);
    case MP_INT: return json_integer(v.sint);
    case MP_DOUBLE: return number_of(v.number);
    case MP_STR: return json_stringn(v.str.len ? v.str.data : "", v.str.len);
    case MP_MAP: return read_map(r, v.count, depth + 1);
    case MP_ARRAY: return read_array(r, v.count, depth + 1);
    default: /* binary and extensions have no place in a fact */ return json_null();
    }
}

json_t *body_read(struct ls_slice body, struct ls_error *err)
{
    struct mp r = mp_over(body.data, body.len);
    if (ls_body_kind(body) != LS_BODY_MSGPACK)
        return node_json(body, err);
    json_t *json = read_value(&r, 0);
    if (!json)
        error_set(err, "BAD_VALUE", "the body is no valid msgpack, or has a text that is not UTF-8");
    return json;
}

/* ---- JSON to msgpack ---- */

static const double *word_of(const json_t *value)
{
    const char *text = json_string_value(value);
    for (size_t i = 0; text && i < WORD_COUNT; i++)
        if (strcmp(text, WORDS[i].text) == 0)
            return &WORDS[i].number;
    return NULL;
}

/* One of the plain values that a metric has. */
static void pack_plain(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        buf_pack_strn(out, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        buf_pack_int(out, json_integer_value(value));
    else if (json_is_real(value))
        buf_pack_double(out, json_real_value(value));
    else if (json_is_boolean(value))
        buf_pack_bool(out, json_is_true(value));
    else
        buf_pack_nil(out);
}

void body_write(struct buf *out, const char *topic, const json_t *body)
{
    const double *number = strcmp(topic, "run.metric") == 0 ? word_of(json_object_get(body, "value")) : NULL;
    const char *key;
    json_t *value;
    if (!number) {
        node_write(out, body);
        return;
    }
    buf_pack_map(out, (uint32_t) json_object_size(body));
    json_object_foreach((json_t *) (uintptr_t) body, key, value)
    {
        buf_pack_str(out, key);
        if (strcmp(key, "value") == 0)
            buf_pack_double(out, *number);
        else
            pack_plain(out, value);
    }
}
