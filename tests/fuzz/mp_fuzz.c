/* SPDX-License-Identifier: Apache-2.0 */
/* The msgpack reader against msgpack-c: the same bytes are accepted with the same values, or refused by both. Where the limits
 * differ (nesting deeper than MP_DEPTH_MAX, and what msgpack-c itself refuses to nest) only safety is checked. */
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "mp_fuzz: %s\n", what);
    abort();
}

static int depth_of(const msgpack_object *o)
{
    int deepest = 0;
    if (o->type == MSGPACK_OBJECT_ARRAY)
        for (uint32_t i = 0; i < o->via.array.size; i++) {
            int depth = depth_of(&o->via.array.ptr[i]);
            deepest = depth > deepest ? depth : deepest;
        }
    else if (o->type == MSGPACK_OBJECT_MAP)
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            int key = depth_of(&o->via.map.ptr[i].key), value = depth_of(&o->via.map.ptr[i].val);
            deepest = key > deepest ? key : deepest;
            deepest = value > deepest ? value : deepest;
        }
    else
        return 0;
    return deepest + 1;
}

static void same_bytes(struct mp_slice ours, const char *theirs, uint32_t len)
{
    check(ours.len == len && (!len || !memcmp(ours.data, theirs, len)), "other bytes");
}

/* The readers of one type take a value exactly if it is of that type, and leave the reader alone otherwise. */
static void same_typed(struct mp r, const msgpack_object *o)
{
    uint64_t u;
    int64_t s;
    double d;
    bool b;
    struct mp_slice text;
    struct mp at = r;
    bool positive = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER, negative = o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    bool real = o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64;
    check(mp_uint(&at, &u) == positive && (positive ? u == o->via.u64 : at.p == r.p), "mp_uint");
    at = r;
    bool fits = negative || (positive && o->via.u64 <= INT64_MAX);
    check(mp_int(&at, &s) == fits && (fits ? s == o->via.i64 : at.p == r.p), "mp_int");
    at = r;
    check(mp_double(&at, &d) == (positive || negative || real), "mp_double");
    if (real)
        check(!memcmp(&d, &o->via.f64, sizeof d) || (d != d && o->via.f64 != o->via.f64), "another double");
    at = r;
    check(mp_bool(&at, &b) == (o->type == MSGPACK_OBJECT_BOOLEAN), "mp_bool");
    at = r;
    check(mp_str(&at, &text) == (o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN), "mp_str");
}

static void same_value(struct mp *r, const msgpack_object *o)
{
    struct mp_value v;
    struct mp skipped = *r;
    same_typed(*r, o);
    check(mp_skip(&skipped), "mp_skip refuses what is valid");
    check(mp_next(r, &v), "mp_next refuses what is valid");
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        check(v.type == MP_NIL, "nil");
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        check(v.type == MP_BOOL && v.boolean == o->via.boolean, "bool");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        check(v.type == MP_UINT && v.uint == o->via.u64, "uint");
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        check(v.type == MP_INT && v.sint == o->via.i64, "int");
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        check(v.type == MP_DOUBLE, "double");
        break;
    case MSGPACK_OBJECT_STR:
        check(v.type == MP_STR, "str");
        same_bytes(v.str, o->via.str.ptr, o->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        check(v.type == MP_BIN, "bin");
        same_bytes(v.str, o->via.bin.ptr, o->via.bin.size);
        break;
    case MSGPACK_OBJECT_EXT:
        check(v.type == MP_EXT, "ext");
        same_bytes(v.str, o->via.ext.ptr, o->via.ext.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        check(v.type == MP_ARRAY && v.count == o->via.array.size, "array");
        for (uint32_t i = 0; i < v.count; i++)
            same_value(r, &o->via.array.ptr[i]);
        break;
    case MSGPACK_OBJECT_MAP:
        check(v.type == MP_MAP && v.count == o->via.map.size, "map");
        for (uint32_t i = 0; i < v.count; i++) {
            same_value(r, &o->via.map.ptr[i].key);
            same_value(r, &o->via.map.ptr[i].val);
        }
        break;
    }
    check(r->p == skipped.p, "mp_skip goes another way");
}

/* msgpack-c makes room for what a head announces before it looks; such lengths are ours to refuse. */
static bool announces_too_much(const uint8_t *data, size_t size)
{
    struct mp r = mp_over(data, size);
    struct mp_value v;
    while (mp_next(&r, &v))
        if ((v.type == MP_ARRAY || v.type == MP_MAP) && v.count > (size_t) (r.end - r.p))
            return true;
    return false;
}

/* Whatever the bytes are: nothing is read outside, and a refusal leaves the reader where it was. */
static void check_refusal(const uint8_t *data, size_t size)
{
    struct mp r = mp_over(data, size), value;
    struct mp_value v;
    if (!mp_skip(&r))
        check(r.p == data, "a refused skip moved");
    while (mp_next(&r, &v))
        check(r.p <= r.end, "beyond the end");
    if (mp_find(mp_over(data, size), "topic", &value))
        check(value.p > data && value.p < data + size, "mp_find points outside");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    msgpack_unpacked got;
    size_t used = 0;
    check_refusal(data, size);
    if (announces_too_much(data, size)) {
        check(!mp_valid(data, size, MP_DEPTH_MAX), "more is announced than there is, and taken for valid");
        return 0;
    }
    msgpack_unpacked_init(&got);
    msgpack_unpack_return result = msgpack_unpack_next(&got, (const char *) data, size, &used);
    if (result == MSGPACK_UNPACK_SUCCESS) {
        int depth = depth_of(&got.data);
        if (depth <= MP_DEPTH_MAX) {
            struct mp r = mp_over(data, size);
            check(mp_valid(data, used, depth), "mp_valid refuses what is valid");
            check(!depth || !mp_valid(data, used, depth - 1), "mp_valid counts another depth");
            same_value(&r, &got.data);
            check(r.p == data + used, "another length");
        }
    } else if (result == MSGPACK_UNPACK_CONTINUE) {
        check(!mp_valid(data, size, MP_DEPTH_MAX), "half a value is taken for a whole one");
    }
    msgpack_unpacked_destroy(&got);
    return 0;
}
