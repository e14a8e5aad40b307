/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker answers, from msgpack to JSON. Peers wrote some of it: any value must do. */
#include <math.h>
#include <stdlib.h>

#include "cli/top/top.h"
#include "lib/xmem.h"

#define DEPTH_MAX 16

static json_t *read_value(struct mp *r, int depth);

static json_t *read_array(struct mp *r, uint32_t count, int depth)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count && mp_peek(r) != MP_BAD; i++)
        json_array_append_new(array, read_value(r, depth + 1));
    return array;
}

static json_t *read_map(struct mp *r, uint32_t pairs, int depth)
{
    json_t *map = json_object();
    struct mp_slice key;
    for (uint32_t i = 0; i < pairs && mp_str(r, &key); i++) {
        if (mp_is(key, "about") || mp_is(key, "stats")) {
            mp_skip(r);
            continue;
        }
        char *name = xstrndup(key.data, key.len);
        json_object_set_new_nocheck(map, name, read_value(r, depth + 1));
        free(name);
    }
    return map;
}

static json_t *read_value(struct mp *r, int depth)
{
    struct mp_value value;
    if (depth > DEPTH_MAX || !mp_next(r, &value)) {
        r->p = r->end;
        return json_null();
    }
    switch (value.type) {
    case MP_BOOL: return json_boolean(value.boolean);
    case MP_UINT:
        return value.uint <= INT64_MAX ? json_integer((json_int_t) value.uint) : json_real((double) value.uint);
    case MP_INT: return json_integer(value.sint);
    case MP_DOUBLE: return isfinite(value.number) ? json_real(value.number) : json_null(); /* JSON knows no infinity */
    case MP_STR: return json_stringn_nocheck(value.str.data, value.str.len);
    case MP_ARRAY: return read_array(r, value.count, depth);
    case MP_MAP: return read_map(r, value.count, depth);
    default: return json_null();
    }
}

json_t *top_json(struct mp value)
{
    return read_value(&value, 0);
}
