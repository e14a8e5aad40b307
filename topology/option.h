/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_OPTION_H
#define TOPOLOGY_OPTION_H
#include "topology/topology.h"

/* Options are declared in tables; parsing, checking, display, the documentation and the JSON Schema come from them.
 * This header is topology's own: nothing outside the folder includes it. */

enum option_type {
    OPTION_TEXT,      /* char * */
    OPTION_NAME,      /* char *; [a-z0-9][a-z0-9_-]* */
    OPTION_BOOL,      /* bool */
    OPTION_INT,       /* int64_t */
    OPTION_NUMBER,    /* double */
    OPTION_SIZE,      /* int64_t, bytes */
    OPTION_DURATION,  /* int64_t, ms */
    OPTION_ENUM,      /* int, index into words */
    OPTION_PATTERNS,  /* struct text_list */
    OPTION_TEXTS,     /* struct text_list */
    OPTION_COMMAND,   /* struct text_list; one string becomes /bin/sh -c string */
    OPTION_TEXT_MAP,  /* struct text_map */
    OPTION_DURATIONS, /* struct duration_list */
    OPTION_ADDRESS,   /* struct topology_address */
    OPTION_HOST_PORT, /* char *, HOST:PORT */
    OPTION_FROM,      /* struct topology_from */
    OPTION_FREE,      /* char *, JSON text of a map */
    OPTION_GROUP,     /* a map with a table of its own, into the same struct */
    OPTION_INLINE,    /* a table whose keys stand beside the others */
    OPTION_SECTION,   /* a part of the file with a table in OPTION_SECTIONS; not read by options_parse */
    OPTION_TYPE_COUNT
};

#define OPTION_REQUIRED 1u
#define OPTION_SECRET 2u /* values from the environment or a file are masked */

struct option_def {
    const char *name; /* NULL ends the table */
    enum option_type type;
    unsigned flags;
    size_t offset;
    const char *fallback; /* the default as it would be written; NULL: none */
    int64_t min, max;     /* INT, SIZE, DURATION, DURATIONS; max 0: no bounds */
    const char *const *words;
    const struct option_def *table; /* GROUP, INLINE */
    enum diag_code unknown;         /* ENUM: code of an unknown word; 0 means enum-unknown */
    const char *help;
};

/* A part of the file with a table: `path` is "broker" or "streams.NAME". */
struct option_section {
    const char *path; /* NULL ends the list; "" is the top level */
    const char *help;
    const struct option_def *table;
};
extern const struct option_section OPTION_SECTIONS[];
extern const struct option_def OPTIONS_TOP[], OPTIONS_BROKER[], OPTIONS_STREAM[], OPTIONS_NODE[], OPTIONS_EXEC[],
    OPTIONS_CONSUMER[], OPTIONS_DELIVERY[];

struct option_context {
    struct pool *pool;
    struct diag_list *diags;
    const char *what; /* `node "tracker"`, for messages */
};

/* options_parse fills `target` from `map` (NULL: everything at its default) by `table`; `at` is where a missing key is
 * reported. Unknown and missing keys, wrong types and ranges are reported; such options keep their default. */
void options_parse(const struct option_context *ctx, const struct option_def *table, const struct value *map,
                   struct place at, void *target);

/* The two halves of options_parse, for a map that several tables read: options_check_keys reports keys that are in none
 * of `tables` (NULL-terminated); options_read fills `target` and leaves further keys alone. */
void options_check_keys(const struct option_context *ctx, const struct option_def *const *tables,
                        const struct value *map);
void options_read(const struct option_context *ctx, const struct option_def *table, const struct value *map,
                  struct place at, void *target);

/* option_set reads one value by its type; false (and reported) if it is not one. Used by options_parse. */
bool option_set(const struct option_context *ctx, const struct option_def *opt, const struct value *v, void *target);
/* option_set_list reads the list-like types. */
bool option_set_list(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target);

/* option_wrong reports type-wrong, with what the option takes as the hint; returns false. */
bool option_wrong(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                  const char *takes);

/* option_text appends a value as it would be written in the file; nothing for an absent one. */
void option_text(const struct option_def *opt, const void *target, struct buf *out);
/* option_type_text appends the type for documentation: "size, 64KiB to 1GiB". */
void option_type_text(const struct option_def *opt, struct buf *out);

/* options_markdown appends the head and the rows of a table for documentation. */
void options_markdown(const struct option_def *table, struct buf *out);
/* markdown_cell appends a text as the cell of a table. */
void markdown_cell(const char *text, struct buf *out);

void size_text(int64_t bytes, struct buf *out);
void duration_text(int64_t ms, struct buf *out);

/* name_check reports name-bad; `what` is "stream", "node" ... */
bool name_check(const struct option_context *ctx, const struct value *key, const char *what);

/* ---- node.c ---- */

/* node_options: OPTIONS_NODE with exec and the built-in kinds as the words of its first row, `kind`. */
const struct option_def *node_options(struct pool *pool, const struct kind *const *kinds);
/* kind_options: a kind's table of options as one of ours; *values (may be NULL) is memory for what it reads. */
const struct option_def *kind_options(struct pool *pool, const struct kind *kind, void **values);
/* node_load reads an entry under `nodes:`, by the common table and then by that of its kind; n->name, n->place and
 * n->at are set. `common` is from node_options. */
void node_load(struct topology *t, struct diag_list *diags, const struct option_def *common, struct topology_node *n);

/* option_place: where an option stands, or `instead` when it is at its default. */
struct place option_place(const struct value *map, const char *key, struct place instead);

/* Checks across the model, in the order they are made. consumers.c: finds or makes the consumer of each node, and
 * the stream of each consumer. settings.c: what options must be together, and what must exist outside the file.
 * wiring.c: streams that hide each other, flows that lead nowhere or in a circle, requests and routes that clash or
 * that nobody answers. */
void consumers_resolve(struct topology *t, struct diag_list *diags);
void settings_check(const struct topology *t, struct diag_list *diags);
void wiring_check(const struct topology *t, struct diag_list *diags);

#endif
