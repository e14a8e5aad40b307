/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_SCHEMA_H
#define LIB_SCHEMA_H
#include <stddef.h>

#include "lib/lineshaft.h"

/* Event schemas: a subset of JSON Schema 2020-12, checked in one pass over a msgpack or JSON body. A check allocates
 * nothing, keeps no state and is bounded by the body's length; a schema is immutable once parsed, so threads may share it.
 *
 * Keywords: type (a name or a list), properties, required, additionalProperties, items, enum and const (scalars only),
 * minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength (code points), format (date-time, uuid, topic;
 * enforced), minItems, maxItems, minProperties, maxProperties; without effect: title, description, examples, default,
 * $comment, $schema, $id. A boolean may stand where a schema may. There is no `pattern`: a regular expression in the
 * publish path would let one body cost unbounded time.
 *
 * Bodies: a number with an integral value is an integer (1.0 is), as in JSON Schema. NaN and the infinities, which only
 * msgpack can carry, are numbers; NaN lies within no bound. msgpack bin is a string whose length is counted in bytes;
 * ext has no type. Map keys are strings. Text must be UTF-8. Containers nest at most 32 deep. */
struct schema;
struct schema_set;

/* schema_parse compiles YAML or JSON text (of JSON's escapes, libyaml knows no \u pairs for characters past U+FFFF: write
 * those as they are). NULL: *err is CONFIG with the text "origin:line:column: what is wrong". */
struct schema *schema_parse(const char *text, size_t len, const char *origin, struct ls_error *err);
void schema_destroy(struct schema **schema);

/* schema_check: 0 when the body fits. -1: *err is SCHEMA with a text such as `data.value: expected number, got string
 * "abc"`, and `path` (may be NULL) holds the JSON Pointer of the value that failed, cut at path_size. A body that begins
 * with `{` or `[` is JSON; an empty body is nil. Malformed bodies fail as well, also in parts the schema does not name. */
int schema_check(const struct schema *schema, const void *body, size_t len, char *path, size_t path_size,
                 struct ls_error *err);

struct schema_set *schema_set_new(void);
void schema_set_destroy(struct schema_set **set);

/* schema_set_add takes *schema and nulls it. `topic` may be a pattern (lib/topic.h). A second schema for the same topic
 * takes the place of the first, so that a topology can sharpen or loosen a built-in one. -1 (CONFIG) when `topic` is
 * neither a topic nor a pattern; *schema then stays the caller's. */
int schema_set_add(struct schema_set *set, const char *topic, struct schema **schema, struct ls_error *err);
/* schema_set_find: the schema of exactly this topic, else of the first pattern added that matches, else NULL. */
const struct schema *schema_set_find(const struct schema_set *set, const char *topic, size_t len);
/* schema_set_add_builtin adds all of lib/builtin_schemas.h. -1 only when one of them does not parse. */
int schema_set_add_builtin(struct schema_set *set, struct ls_error *err);
/* schema_set_add_folder reads every *.yaml in `folder`; the file name without .yaml is the topic. Blocks on the disk.
 * -1 at the first that cannot be read or parsed; those before it stay added. */
int schema_set_add_folder(struct schema_set *set, const char *folder, struct ls_error *err);

#endif
