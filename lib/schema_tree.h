/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_SCHEMA_TREE_H
#define LIB_SCHEMA_TREE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiled form of a schema, private to lib/schema*.c. A NULL schema pointer allows everything. */
#define SCHEMA_DEPTH_MAX 32    /* of schemas inside schemas; bounds the recursion of the check */
#define SCHEMA_REQUIRED_MAX 64 /* one bit each */
#define SCHEMA_FIELDS_MAX 255  /* one byte each in the slots */
#define SCHEMA_NAME_MAX 200    /* bytes of a property name */

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64
};
#define TYPE_COUNT 7
extern const char *const SCHEMA_TYPE_NAMES[TYPE_COUNT]; /* by bit */

enum schema_format { FORMAT_NONE, FORMAT_DATE_TIME, FORMAT_UUID, FORMAT_TOPIC };

struct constant {
    unsigned type;      /* TYPE_NULL, TYPE_BOOLEAN, TYPE_NUMBER or TYPE_STRING */
    bool boolean;
    long double number; /* holds every int64, uint64 and double exactly */
    char *text;
    size_t len;
};

struct bound {
    bool set;
    long double value;
};

struct property {
    char *name;
    size_t len;
    bool declared;         /* under `properties`; else only in `required` */
    uint64_t required_bit; /* 0: optional */
    struct schema *schema;
};

struct schema {
    bool never;     /* the schema `false` */
    unsigned types; /* 0: any */
    enum schema_format format;
    struct bound minimum, maximum, exclusive_minimum, exclusive_maximum;
    uint64_t min_length, max_length, min_items, max_items, min_properties, max_properties;
    struct constant *choices; /* enum */
    size_t choice_count;
    struct constant *only;    /* const */
    struct property *properties;
    size_t property_count, property_room;
    uint64_t required; /* all bits that must have been seen */
    uint8_t *slots;    /* open hash over properties: index + 1, 0 free */
    uint32_t slot_mask;
    struct schema *additional, *items;
};

/* schema_slot: where the search for a name begins. Length and three bytes tell field names apart well enough. */
static inline uint32_t schema_slot(const char *name, size_t len)
{
    if (!len)
        return 0;
    const unsigned char *p = (const unsigned char *) name;
    return (uint32_t) (len * 7 + p[0] * 31u + p[len - 1] * 131u + p[len / 2] * 17u);
}

#endif
