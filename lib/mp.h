/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_MP_H
#define LIB_MP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A bounded msgpack reader that works in place: no allocation, no recursion past MP_DEPTH_MAX, no trust in any length.
 * Every function returns false (or -1) at malformed or truncated input and then leaves the reader where it was.
 * Strings are slices of the input, not NUL-terminated. Source: the msgpack specification. */
#define MP_DEPTH_MAX 32

enum mp_type { MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_DOUBLE, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT, MP_BAD };

struct mp {
    const uint8_t *p, *end;
};

struct mp_slice {
    const char *data;
    size_t len;
};

/* One value's head. For MP_STR/MP_BIN/MP_EXT the bytes are consumed too; for MP_ARRAY/MP_MAP `count` items
 * (pairs for a map) follow in the reader. MP_INT is used only for negative numbers. */
struct mp_value {
    enum mp_type type;
    union {
        bool boolean;
        uint64_t uint;
        int64_t sint;
        double number;
        struct mp_slice str; /* MP_STR, MP_BIN, MP_EXT */
        uint32_t count;      /* MP_ARRAY, MP_MAP */
    };
};

static inline struct mp mp_over(const void *data, size_t len)
{
    return (struct mp){data, len ? (const uint8_t *) data + len : data}; /* no bytes may be NULL */
}

enum mp_type mp_peek(const struct mp *r);             /* MP_BAD at the end */
bool mp_next(struct mp *r, struct mp_value *value);   /* reads one head */
bool mp_skip(struct mp *r);                           /* skips one whole value */
bool mp_map(struct mp *r, uint32_t *pairs);
bool mp_array(struct mp *r, uint32_t *items);
bool mp_str(struct mp *r, struct mp_slice *str);      /* str or bin */
bool mp_uint(struct mp *r, uint64_t *value);          /* a non-negative integer */
bool mp_int(struct mp *r, int64_t *value);
bool mp_double(struct mp *r, double *value);          /* any number */
bool mp_bool(struct mp *r, bool *value);

bool mp_is(struct mp_slice s, const char *text);

/* mp_find looks in the map that `map` stands at for `key`; on success *value stands at its value. Linear. */
bool mp_find(struct mp map, const char *key, struct mp *value);

/* A walk over the maps in the array that `map` has under `key`; none if it has no such array. What is no map is passed over, and
 * malformed input ends the walk:
 *   struct mp_maps walk = mp_maps(map, "streams");
 *   for (struct mp stream; mp_maps_next(&walk, &stream);) */
struct mp_maps {
    struct mp at;
    uint32_t left;
};
struct mp_maps mp_maps(struct mp map, const char *key);
bool mp_maps_next(struct mp_maps *walk, struct mp *item);

/* mp_valid: the bytes are exactly one well-formed value, at most `depth` deep. */
bool mp_valid(const void *data, size_t len, int depth);

#endif
