/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAML_DIAG_H
#define YAML_DIAG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "lib/buf.h"

/* Problems found in a topology or workflow file: each has a stable code, a place, a sentence, and often a hint.
 * All problems are collected; the caller prints them once, in the order of the file. */

/* A place in the file; line and column count from 1, in characters. Line 0 means the file as a whole. */
struct place {
    int line, column;
    int width; /* characters to underline; 0 is shown as 1 */
};

enum diag_level { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE };

enum diag_code {
    DIAG_FILE_UNREADABLE,
    DIAG_YAML_SYNTAX,
    DIAG_YAML_UNSUPPORTED,
    DIAG_YAML_TOO_DEEP,
    DIAG_YAML_TOO_BIG,
    DIAG_REFERENCE_BAD,
    DIAG_ENV_UNSET,
    DIAG_KEY_DUPLICATE,
    DIAG_KEY_UNKNOWN,
    DIAG_KEY_MISSING,
    DIAG_VERSION_UNKNOWN,
    DIAG_TYPE_WRONG,
    DIAG_VALUE_RANGE,
    DIAG_ENUM_UNKNOWN,
    DIAG_DURATION_BAD,
    DIAG_SIZE_BAD,
    DIAG_TIME_BAD,
    DIAG_TOPIC_BAD,
    DIAG_PATTERN_BAD,
    DIAG_NAME_BAD,
    DIAG_NAME_RESERVED,
    DIAG_ADDRESS_BAD,
    DIAG_LISTEN_BAD,
    DIAG_LISTEN_NOT_LOOPBACK,
    DIAG_STREAM_UNKNOWN,
    DIAG_STREAM_SHADOWED,
    DIAG_PATTERN_SHADOWED,
    DIAG_RETAIN_TOO_SMALL,
    DIAG_WINDOW_TOO_BIG,
    DIAG_KIND_UNKNOWN,
    DIAG_KIND_CANNOT,
    DIAG_NODE_OPTION_CONFLICT,
    DIAG_COMMAND_MISSING,
    DIAG_COMMAND_NOT_FOUND,
    DIAG_DIRECTORY_MISSING,
    DIAG_OPTION_UNUSED,
    DIAG_CONSUMER_NO_STREAM,
    DIAG_CONSUMER_SPANS_STREAMS,
    DIAG_CONSUMER_NEVER_MATCHES,
    DIAG_CONSUMER_DUPLICATE,
    DIAG_TAKES_LIVE_ONLY,
    DIAG_SERVES_OVERLAP,
    DIAG_REQUEST_UNSERVED,
    DIAG_ROUTE_CONFLICT,
    DIAG_GIVES_UNROUTED,
    DIAG_TWO_WAY_FLOW,
    DIAG_TWO_WAY_KIND,
    DIAG_SCHEMA_FOLDER_MISSING,
    DIAG_WORKFLOW_CYCLE,
    DIAG_WORKFLOW_DUPLICATE,
    DIAG_ID_DUPLICATE,
    DIAG_TASK_UNKNOWN,
    DIAG_ACTION_BAD,
    DIAG_CRON_BAD,
    DIAG_ZONE_UNKNOWN,
    DIAG_SCHEDULE_NEVER,
    DIAG_EXPRESSION_BAD,
    DIAG_EXPRESSION_UNKNOWN,
    DIAG_INPUT_BAD,
    DIAG_INPUT_MISSING,
    DIAG_FAILURE_HIDDEN,
    DIAG_TRIGGER_UNROUTED,
    DIAG_EVENT_UNTAKEN,
    DIAG_POOL_UNKNOWN,
    DIAG_CODE_COUNT
};

struct diag_kind {
    const char *name;
    enum diag_level level;
    bool verbose; /* shown by `check -v` only */
};
extern const struct diag_kind DIAG_KINDS[DIAG_CODE_COUNT];

struct diag {
    enum diag_code code;
    struct place at;
    char *sentence;
    char *hint;       /* NULL: none */
    char *other_text; /* NULL: no second place */
    struct place other;
    size_t order; /* in which it was found */
};

/* Zero-initialise to start. The list keeps a copy of the file's text for quoting source lines. At most DIAG_KEPT_MAX
 * problems are kept; further ones are only counted. */
#define DIAG_KEPT_MAX 200
struct diag_list {
    char *file;
    char *text;
    size_t text_len;
    struct diag *items;
    size_t count, room;
    size_t error_count, warning_count;
    struct diag spare;
};

void diag_list_fini(struct diag_list *list);
/* diag_list_source names the file that the following places are in; both are copied. */
void diag_list_source(struct diag_list *list, const char *file, const char *text, size_t len);
/* diag_add returns the new entry for diag_hint and diag_other; valid until the next diag_add. */
struct diag *diag_add(struct diag_list *list, enum diag_code code, struct place at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* diag_hint_path: that `path`, relative to the working directory, is not there; and where it is, if the file or a folder above it
 * has it. */
void diag_hint_path(const struct diag_list *list, struct diag *d, const char *path, const char *before);
void diag_hint(struct diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_other(struct diag *d, struct place at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* diag_sort puts the entries into the order of the file. */
void diag_sort(struct diag_list *list);

struct diag_style {
    bool colour;
    bool verbose; /* verbose notes too */
    size_t max;   /* print at most so many, then "... and N more"; 0: all */
};
/* diag_print appends the entries as people read them. */
void diag_print(const struct diag_list *list, struct diag_style style, struct buf *out);
/* diag_print_json appends a JSON array of objects: file, line, column, level, code, text, hint, other. */
void diag_print_json(const struct diag_list *list, bool verbose, struct buf *out);

/* diag_nearest: the one of `names` (NULL-terminated) closest to `word`, or NULL when none is close. */
const char *diag_nearest(const char *word, const char *const *names);

#endif
