/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAML_OPTION_H
#define YAML_OPTION_H
#include <stdint.h>

#include "yaml/diag.h"
#include "yaml/value.h"

/* Options are declared in tables; parsing, checking, display, the documentation and the JSON Schema come from them.
 * Durations are in ms, sizes in bytes. */

/* ---- what values become ---- */

struct text_list {
    char **items; /* NULL-terminated; NULL when the option is absent */
    size_t count;
    struct place *places; /* of each item */
};

struct text_map {
    char **keys, **values;
    bool *secret; /* value came from the environment or a file */
    size_t count;
};

struct duration_list {
    int64_t *items;
    size_t count;
};

enum topology_start {
    TOPOLOGY_START_NEW,
    TOPOLOGY_START_ALL,
    TOPOLOGY_START_LAST,
    TOPOLOGY_START_SEQ,
    TOPOLOGY_START_TIME
};

struct topology_from {
    enum topology_start kind;
    uint64_t value;  /* LAST: number of events; SEQ: sequence number */
    int64_t time_us; /* TIME */
};

struct topology_address {
    char *text; /* as written */
    char *host; /* an IPv6 host is without brackets */
    int port;   /* base port; 0: the broker chooses */
};

/* ---- tables ---- */

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
    const char *const *words;       /* ENUM; SECTION: what it takes, for documentation; may be NULL */
    const struct option_def *table; /* GROUP, INLINE */
    enum diag_code unknown;         /* ENUM: code of an unknown word; 0 means enum-unknown */
    const char *help;
};

/* What other systems call an option, and what it is here. */
struct option_elsewhere {
    const char *name, *hint; /* name NULL ends the table */
};

struct option_context {
    struct pool *pool;
    struct diag_list *diags;
    const char *what; /* `node "tracker"`, for messages */
    const struct option_elsewhere *elsewhere; /* for hints about unknown keys; may be NULL */
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

#endif
