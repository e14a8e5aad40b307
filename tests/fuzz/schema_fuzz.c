/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the first byte chooses a schema, the rest is a body. Above the built-in ones stand a few that use every keyword,
 * and last one case that takes the rest as the text of a schema itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/builtin_schemas.h"
#include "lib/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const OWN[] = {
    "true",
    "{ minItems: 1, items: { items: { items: { type: [integer, string], minimum: -3, exclusiveMaximum: 1e9, maxLength: 4 } } } }",
    "{ maxProperties: 3, additionalProperties: { additionalProperties: { type: number } } }",
    "{ items: { enum: [a, 'ä\"\\', 1, 0.5, null, true] }, additionalProperties: { format: date-time } }",
    "{ required: [a, b], minProperties: 1, properties: { a: { format: topic }, b: { format: uuid }, c: { const: x }, d: false } }",
};
#define OWN_COUNT (sizeof OWN / sizeof *OWN)

static struct schema *schemas[64 + OWN_COUNT];
static size_t schema_count;

static void load(const char *text, const char *origin)
{
    struct ls_error err;
    schemas[schema_count] = schema_parse(text, strlen(text), origin, &err);
    if (!schemas[schema_count++])
        abort();
}

static void load_all(void)
{
    for (size_t i = 0; i < OWN_COUNT; i++)
        load(OWN[i], "own");
    for (const struct builtin_schema *b = BUILTIN_SCHEMAS; b->topic && schema_count < 64; b++)
        load(b->text, b->origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ls_error err = {0};
    char path[24];
    if (!schema_count)
        load_all();
    if (!size)
        return 0;
    size_t chosen = data[0] % (schema_count + 1);
    if (chosen == schema_count) {
        struct schema *schema = schema_parse((const char *) data + 1, size - 1, "fuzz", &err);
        if (!schema && !err.text[0])
            abort();
        schema_destroy(&schema);
        return 0;
    }
    int result = schema_check(schemas[chosen], data + 1, size - 1, path, sizeof path, &err);
    if (result && (!err.text[0] || strlen(path) >= sizeof path))
        abort(); /* a refusal always says why */
    return 0;
}
