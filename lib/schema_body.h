/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_SCHEMA_BODY_H
#define LIB_SCHEMA_BODY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/mp.h"

/* One body, msgpack or JSON, read in place as a stream of items; private to lib/schema*.c. Nothing is allocated, nothing
 * recurses, no length is trusted. At the first malformed byte every function fails and `problem` says what is wrong there. */
#define BODY_DEPTH_MAX 32

struct body {
    struct mp at;
    const uint8_t *start;
    bool json;
    int depth; /* open containers */
    const char *problem;
};

enum item_type {
    ITEM_NULL,
    ITEM_BOOL,
    ITEM_UINT,
    ITEM_INT, /* negative */
    ITEM_DOUBLE,
    ITEM_STRING,
    ITEM_BYTES,
    ITEM_EXT,
    ITEM_ARRAY,
    ITEM_OBJECT
};

struct item {
    enum item_type type;
    bool escaped;  /* a JSON string with backslashes: `str` is the raw text between the quotes */
    size_t length; /* ITEM_STRING: code points; ITEM_BYTES: bytes */
    union {
        bool boolean;
        uint64_t uint;
        int64_t sint;
        double number;
        struct mp_slice str;
        uint32_t count; /* containers of msgpack */
    };
};

/* What is left of an open container. */
struct span {
    bool object, first;
    uint32_t left;
};

struct body body_over(const void *data, size_t len);
/* body_next reads one value. A container is then open: go through it with body_enter and body_more, or body_skip it. */
bool body_next(struct body *b, struct item *item);
struct span body_enter(const struct item *container);
/* body_more: 1 when another value (in an object: a key, then a value) follows, 0 at the container's end, -1 malformed. */
int body_more(struct body *b, struct span *span);
bool body_key(struct body *b, struct item *key);
/* body_skip passes over the rest of `item`, checking that it is well-formed. */
bool body_skip(struct body *b, const struct item *item);
/* body_end: nothing is left but JSON white space. */
bool body_end(struct body *b);

/* item_text writes a string's bytes, escapes resolved, as long as they fit; SIZE_MAX when they do not. No NUL. */
size_t item_text(const struct item *string, char *out, size_t room);
bool item_same(const struct item *string, const char *text, size_t len);

#endif
