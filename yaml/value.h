/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAML_VALUE_H
#define YAML_VALUE_H
#include <stdbool.h>
#include <stddef.h>

#include "lib/lineshaft.h"
#include "yaml/diag.h"

/* Memory with one owner: everything taken from a pool lives until pool_fini. Zero-initialise to start. */
struct pool {
    void **items;
    size_t count, room;
};
void *pool_alloc(struct pool *pool, size_t count, size_t size); /* zeroed */
char *pool_text(struct pool *pool, const char *text, size_t len);
void pool_fini(struct pool *pool);

/* The YAML tree. Every value knows its place. Aliases share the anchored value, so it is a tree only in shape:
 * VALUE_WEIGHT_MAX bounds what a walk over it can visit, VALUE_DEPTH_MAX how deep it can go. */
#define VALUE_FILE_MAX (1 << 20)
#define VALUE_WEIGHT_MAX 20000
#define VALUE_DEPTH_MAX 24
#define VALUE_ANCHORS_MAX 500
#define VALUE_REFERENCE_MAX (64 << 10) /* bytes of one ${file:} or ${env:} */

enum value_type { VALUE_TEXT, VALUE_LIST, VALUE_MAP };

struct value {
    enum value_type type;
    bool plain;   /* text without quotes: may mean null, true, 12 */
    bool outside; /* text that came, in part, from the environment or a file */
    bool broken;  /* a reference in it failed and was reported: not to be looked at further */
    struct place at;
    const char *text;     /* VALUE_TEXT, with references expanded; never holds a NUL byte */
    struct value **keys;  /* VALUE_MAP: texts */
    struct value **items; /* VALUE_LIST, VALUE_MAP */
    size_t count;
    size_t weight;
    int height;
};

/* value_parse reads one YAML document. Problems go to `diags` (whose source must be set); returns NULL after a syntax
 * error or when the file is empty, else the tree, owned by `pool`. */
struct value *value_parse(struct pool *pool, const char *text, size_t len, struct diag_list *diags);

/* value_parse_as does the same for a file that may be larger than a topology (NULL: a topology). */
struct value_form {
    const char *what; /* "topology", for messages */
    size_t file_max, weight_max;
};
struct value *value_parse_as(struct pool *pool, struct ls_slice text, const struct value_form *form, struct diag_list *diags);

const struct value *value_find(const struct value *map, const char *key);     /* NULL: absent, or no map at all */
const struct value *value_find_key(const struct value *map, const char *key); /* the key itself, for its place */
bool value_is_null(const struct value *v);
/* value_bool, value_int: true if the text is one. A quoted "true" is no boolean; a quoted "12" is a number. */
bool value_bool(const struct value *v, bool *out);
bool value_int(const struct value *v, long long *out);
/* value_json appends the value as JSON; plain text becomes null, true, false or a number where it reads as one.
 * With `mask`, text from the environment or a file becomes "***". */
void value_json(const struct value *v, bool mask, struct buf *out);

/* value_expand replaces ${env:NAME}, ${env:NAME:-default} and ${file:PATH} in v->text. Problems go to `diags`. */
void value_expand(struct pool *pool, struct value *v, struct diag_list *diags);

/* value_shown: the text as it may stand in a message: short, and *** for a secret from outside. */
#define VALUE_SHOWN_SIZE 84
const char *value_shown(const struct value *v, bool secret, char out[VALUE_SHOWN_SIZE]);

#endif
