/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded msgpack reader. Lengths are compared with what is left before anything is touched. */
#include "lib/mp.h"

#include <string.h>

static uint64_t big_endian(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static int64_t sign_extend(uint64_t value, size_t bytes)
{
    unsigned shift = (unsigned) (64 - 8 * bytes);
    return (int64_t) (value << shift) >> shift;
}

/* What follows the first byte 0xc0..0xdf: type, bytes of the number or length, extra bytes before the data. */
static const struct head {
    uint8_t type, width, extra;
} HEADS[32] = {
    {MP_NIL, 0, 0},   {MP_BAD, 0, 0},    {MP_BOOL, 0, 0},  {MP_BOOL, 0, 0},   /* c0 nil, c1, c2 false, c3 true */
    {MP_BIN, 1, 0},   {MP_BIN, 2, 0},    {MP_BIN, 4, 0},                      /* c4..c6 */
    {MP_EXT, 1, 1},   {MP_EXT, 2, 1},    {MP_EXT, 4, 1},                      /* c7..c9 */
    {MP_DOUBLE, 4, 0}, {MP_DOUBLE, 8, 0},                                     /* ca float, cb double */
    {MP_UINT, 1, 0},  {MP_UINT, 2, 0},   {MP_UINT, 4, 0},  {MP_UINT, 8, 0},   /* cc..cf */
    {MP_INT, 1, 0},   {MP_INT, 2, 0},    {MP_INT, 4, 0},   {MP_INT, 8, 0},    /* d0..d3 */
    {MP_EXT, 0, 1},   {MP_EXT, 0, 1},    {MP_EXT, 0, 1},   {MP_EXT, 0, 1},  {MP_EXT, 0, 1}, /* d4..d8 fixext */
    {MP_STR, 1, 0},   {MP_STR, 2, 0},    {MP_STR, 4, 0},                      /* d9..db */
    {MP_ARRAY, 2, 0}, {MP_ARRAY, 4, 0},  {MP_MAP, 2, 0},   {MP_MAP, 4, 0},    /* dc..df */
};

enum mp_type mp_peek(const struct mp *r)
{
    if (r->p >= r->end)
        return MP_BAD;
    uint8_t b = *r->p;
    if (b < 0x80)
        return MP_UINT;
    if (b < 0x90)
        return MP_MAP;
    if (b < 0xa0)
        return MP_ARRAY;
    if (b < 0xc0)
        return MP_STR;
    if (b >= 0xe0)
        return MP_INT;
    return (enum mp_type) HEADS[b - 0xc0].type;
}

static bool take_bytes(struct mp *r, const uint8_t *p, uint64_t len, struct mp_value *v)
{
    if (len > (uint64_t) (r->end - p))
        return false;
    v->str = (struct mp_slice){(const char *) p, (size_t) len};
    r->p = p + len;
    return true;
}

static double to_double(uint64_t bits, size_t width)
{
    if (width == 4) {
        float f;
        uint32_t word = (uint32_t) bits;
        memcpy(&f, &word, 4);
        return (double) f;
    }
    double d;
    memcpy(&d, &bits, 8);
    return d;
}

static bool next_long(struct mp *r, struct mp_value *v)
{
    uint8_t b = *r->p;
    struct head head = HEADS[b - 0xc0];
    const uint8_t *p = r->p + 1;
    if ((size_t) (r->end - p) < (size_t) head.width + head.extra)
        return false;
    uint64_t number = big_endian(p, head.width);
    v->type = (enum mp_type) head.type;
    p += head.width;
    switch (v->type) {
    case MP_BOOL:
        v->boolean = b == 0xc3;
        break;
    case MP_DOUBLE:
        v->number = to_double(number, head.width);
        break;
    case MP_UINT:
        v->uint = number;
        break;
    case MP_INT:
        v->sint = sign_extend(number, head.width);
        if (v->sint >= 0) { /* a positive number in a signed form is a number all the same */
            v->type = MP_UINT;
            v->uint = (uint64_t) v->sint;
        }
        break;
    case MP_STR:
    case MP_BIN:
        return take_bytes(r, p, number, v);
    case MP_EXT:
        return take_bytes(r, p + 1, head.width ? number : 1u << (b - 0xd4), v);
    case MP_ARRAY:
    case MP_MAP:
        v->count = (uint32_t) number;
        break;
    case MP_NIL:
        break;
    case MP_BAD:
        return false;
    }
    r->p = p;
    return true;
}

bool mp_next(struct mp *r, struct mp_value *v)
{
    if (r->p >= r->end)
        return false;
    uint8_t b = *r->p;
    if (b >= 0xc0 && b < 0xe0)
        return next_long(r, v);
    v->type = mp_peek(r);
    switch (v->type) {
    case MP_UINT:
        v->uint = b;
        break;
    case MP_INT:
        v->sint = (int8_t) b;
        break;
    case MP_STR:
        return take_bytes(r, r->p + 1, b & 0x1f, v);
    default: /* fixmap, fixarray */
        v->count = b & 0x0f;
        break;
    }
    r->p++;
    return true;
}

static bool skip_depth(struct mp *r, int depth)
{
    /* Open containers as a stack of remaining values; bounded by depth, so hostile nesting costs nothing. */
    uint64_t left[MP_DEPTH_MAX + 1];
    int level = 0;
    struct mp at = *r;
    if (depth > MP_DEPTH_MAX)
        depth = MP_DEPTH_MAX;
    left[0] = 1;
    while (level >= 0) {
        if (!left[level]) {
            level--;
            continue;
        }
        left[level]--;
        struct mp_value v;
        if (!mp_next(&at, &v))
            return false;
        if (v.type != MP_ARRAY && v.type != MP_MAP)
            continue;
        uint64_t inside = v.type == MP_MAP ? 2 * (uint64_t) v.count : v.count;
        if (inside > (uint64_t) (at.end - at.p) || level >= depth)
            return false; /* each value takes at least a byte */
        left[++level] = inside;
    }
    r->p = at.p;
    return true;
}

bool mp_skip(struct mp *r)
{
    return skip_depth(r, MP_DEPTH_MAX);
}

bool mp_valid(const void *data, size_t len, int depth)
{
    struct mp r = mp_over(data, len);
    return skip_depth(&r, depth) && r.p == r.end;
}

static bool next_of(struct mp *r, enum mp_type type, struct mp_value *v)
{
    return mp_peek(r) == type && mp_next(r, v);
}

bool mp_map(struct mp *r, uint32_t *pairs)
{
    struct mp_value v;
    if (!next_of(r, MP_MAP, &v))
        return false;
    *pairs = v.count;
    return true;
}

bool mp_array(struct mp *r, uint32_t *items)
{
    struct mp_value v;
    if (!next_of(r, MP_ARRAY, &v))
        return false;
    *items = v.count;
    return true;
}

bool mp_str(struct mp *r, struct mp_slice *str)
{
    struct mp_value v;
    enum mp_type type = mp_peek(r);
    if ((type != MP_STR && type != MP_BIN) || !mp_next(r, &v))
        return false;
    *str = v.str;
    return true;
}

/* A number in a signed form peeks as MP_INT although its value may be positive, so numbers are read first, then judged. */
static bool number(struct mp *r, struct mp_value *v)
{
    enum mp_type type = mp_peek(r);
    return (type == MP_UINT || type == MP_INT || type == MP_DOUBLE) && mp_next(r, v);
}

bool mp_uint(struct mp *r, uint64_t *value)
{
    struct mp at = *r;
    struct mp_value v;
    if (!number(&at, &v) || v.type != MP_UINT)
        return false;
    *value = v.uint;
    *r = at;
    return true;
}

bool mp_int(struct mp *r, int64_t *value)
{
    struct mp at = *r;
    struct mp_value v;
    if (!number(&at, &v) || v.type == MP_DOUBLE || (v.type == MP_UINT && v.uint > INT64_MAX))
        return false;
    *value = v.type == MP_INT ? v.sint : (int64_t) v.uint;
    *r = at;
    return true;
}

bool mp_double(struct mp *r, double *value)
{
    struct mp_value v;
    if (!number(r, &v))
        return false;
    *value = v.type == MP_DOUBLE ? v.number : v.type == MP_INT ? (double) v.sint : (double) v.uint;
    return true;
}

bool mp_bool(struct mp *r, bool *value)
{
    struct mp_value v;
    if (!next_of(r, MP_BOOL, &v))
        return false;
    *value = v.boolean;
    return true;
}

bool mp_is(struct mp_slice s, const char *text)
{
    return s.len == strlen(text) && !memcmp(s.data, text, s.len);
}

bool mp_find(struct mp map, const char *key, struct mp *value)
{
    uint32_t pairs;
    if (!mp_map(&map, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct mp_slice name;
        bool named = mp_str(&map, &name);
        if (!named && !mp_skip(&map))
            return false;
        if (named && mp_is(name, key)) {
            *value = map;
            return map.p < map.end;
        }
        if (!mp_skip(&map))
            return false;
    }
    return false;
}

struct mp_maps mp_maps(struct mp map, const char *key)
{
    struct mp_maps walk = {.left = 0};
    if (!mp_find(map, key, &walk.at) || !mp_array(&walk.at, &walk.left))
        walk.left = 0;
    return walk;
}

bool mp_maps_next(struct mp_maps *walk, struct mp *item)
{
    while (walk->left) {
        *item = walk->at;
        walk->left--;
        if (!mp_skip(&walk->at))
            walk->left = 0;
        else if (mp_peek(item) == MP_MAP)
            return true;
    }
    return false;
}
