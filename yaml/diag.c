/* SPDX-License-Identifier: Apache-2.0 */
/* Problems in a file: collecting, sorting, and printing with the source line and a marker, or as JSON. */
#include "yaml/diag.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/utf8.h"
#include "lib/xmem.h"

/* clang-format off */
const struct diag_kind DIAG_KINDS[DIAG_CODE_COUNT] = {
    [DIAG_FILE_UNREADABLE] = {"file-unreadable", DIAG_ERROR, false},
    [DIAG_YAML_SYNTAX] = {"yaml-syntax", DIAG_ERROR, false},
    [DIAG_YAML_UNSUPPORTED] = {"yaml-unsupported", DIAG_ERROR, false},
    [DIAG_YAML_TOO_DEEP] = {"yaml-too-deep", DIAG_ERROR, false},
    [DIAG_YAML_TOO_BIG] = {"yaml-too-big", DIAG_ERROR, false},
    [DIAG_REFERENCE_BAD] = {"reference-bad", DIAG_ERROR, false},
    [DIAG_ENV_UNSET] = {"env-unset", DIAG_ERROR, false},
    [DIAG_KEY_DUPLICATE] = {"key-duplicate", DIAG_ERROR, false},
    [DIAG_KEY_UNKNOWN] = {"key-unknown", DIAG_ERROR, false},
    [DIAG_KEY_MISSING] = {"key-missing", DIAG_ERROR, false},
    [DIAG_VERSION_UNKNOWN] = {"version-unknown", DIAG_ERROR, false},
    [DIAG_TYPE_WRONG] = {"type-wrong", DIAG_ERROR, false},
    [DIAG_VALUE_RANGE] = {"value-range", DIAG_ERROR, false},
    [DIAG_ENUM_UNKNOWN] = {"enum-unknown", DIAG_ERROR, false},
    [DIAG_DURATION_BAD] = {"duration-bad", DIAG_ERROR, false},
    [DIAG_SIZE_BAD] = {"size-bad", DIAG_ERROR, false},
    [DIAG_TIME_BAD] = {"time-bad", DIAG_ERROR, false},
    [DIAG_TOPIC_BAD] = {"topic-bad", DIAG_ERROR, false},
    [DIAG_PATTERN_BAD] = {"pattern-bad", DIAG_ERROR, false},
    [DIAG_NAME_BAD] = {"name-bad", DIAG_ERROR, false},
    [DIAG_NAME_RESERVED] = {"name-reserved", DIAG_ERROR, false},
    [DIAG_ADDRESS_BAD] = {"address-bad", DIAG_ERROR, false},
    [DIAG_LISTEN_BAD] = {"listen-bad", DIAG_ERROR, false},
    [DIAG_LISTEN_NOT_LOOPBACK] = {"listen-not-loopback", DIAG_ERROR, false},
    [DIAG_STREAM_UNKNOWN] = {"stream-unknown", DIAG_ERROR, false},
    [DIAG_STREAM_SHADOWED] = {"stream-shadowed", DIAG_ERROR, false},
    [DIAG_PATTERN_SHADOWED] = {"pattern-shadowed", DIAG_WARNING, false},
    [DIAG_RETAIN_TOO_SMALL] = {"retain-too-small", DIAG_ERROR, false},
    [DIAG_WINDOW_TOO_BIG] = {"window-too-big", DIAG_ERROR, false},
    [DIAG_KIND_UNKNOWN] = {"kind-unknown", DIAG_ERROR, false},
    [DIAG_KIND_CANNOT] = {"kind-cannot", DIAG_ERROR, false},
    [DIAG_NODE_OPTION_CONFLICT] = {"node-option-conflict", DIAG_ERROR, false},
    [DIAG_COMMAND_MISSING] = {"command-missing", DIAG_ERROR, false},
    [DIAG_COMMAND_NOT_FOUND] = {"command-not-found", DIAG_WARNING, false},
    [DIAG_DIRECTORY_MISSING] = {"directory-missing", DIAG_WARNING, false},
    [DIAG_OPTION_UNUSED] = {"option-unused", DIAG_WARNING, false},
    [DIAG_CONSUMER_NO_STREAM] = {"consumer-no-stream", DIAG_ERROR, false},
    [DIAG_CONSUMER_SPANS_STREAMS] = {"consumer-spans-streams", DIAG_ERROR, false},
    [DIAG_CONSUMER_NEVER_MATCHES] = {"consumer-never-matches", DIAG_ERROR, false},
    [DIAG_CONSUMER_DUPLICATE] = {"consumer-duplicate", DIAG_ERROR, false},
    [DIAG_TAKES_LIVE_ONLY] = {"takes-live-only", DIAG_ERROR, false},
    [DIAG_SERVES_OVERLAP] = {"serves-overlap", DIAG_WARNING, false},
    [DIAG_REQUEST_UNSERVED] = {"request-unserved", DIAG_WARNING, false},
    [DIAG_ROUTE_CONFLICT] = {"route-conflict", DIAG_ERROR, false},
    [DIAG_GIVES_UNROUTED] = {"gives-unrouted", DIAG_NOTE, true},
    [DIAG_TWO_WAY_FLOW] = {"two-way-flow", DIAG_NOTE, false},
    [DIAG_TWO_WAY_KIND] = {"two-way-kind", DIAG_NOTE, true},
    [DIAG_SCHEMA_FOLDER_MISSING] = {"schema-folder-missing", DIAG_ERROR, false},
    [DIAG_WORKFLOW_CYCLE] = {"workflow-cycle", DIAG_ERROR, false},
    [DIAG_WORKFLOW_DUPLICATE] = {"workflow-duplicate", DIAG_WARNING, false},
    [DIAG_ID_DUPLICATE] = {"id-duplicate", DIAG_ERROR, false},
    [DIAG_TASK_UNKNOWN] = {"task-unknown", DIAG_ERROR, false},
    [DIAG_ACTION_BAD] = {"action-bad", DIAG_ERROR, false},
    [DIAG_CRON_BAD] = {"cron-bad", DIAG_ERROR, false},
    [DIAG_ZONE_UNKNOWN] = {"zone-unknown", DIAG_ERROR, false},
    [DIAG_SCHEDULE_NEVER] = {"schedule-never", DIAG_WARNING, false},
    [DIAG_EXPRESSION_BAD] = {"expression-bad", DIAG_ERROR, false},
    [DIAG_EXPRESSION_UNKNOWN] = {"expression-unknown", DIAG_ERROR, false},
    [DIAG_INPUT_BAD] = {"input-bad", DIAG_ERROR, false},
    [DIAG_INPUT_MISSING] = {"input-missing", DIAG_ERROR, false},
    [DIAG_FAILURE_HIDDEN] = {"failure-hidden", DIAG_WARNING, false},
    [DIAG_TRIGGER_UNROUTED] = {"trigger-unrouted", DIAG_WARNING, false},
    [DIAG_EVENT_UNTAKEN] = {"event-untaken", DIAG_WARNING, false},
    [DIAG_POOL_UNKNOWN] = {"pool-unknown", DIAG_WARNING, false},
};
/* clang-format on */

static const char *const LEVELS[] = {"error", "warning", "note"};

static void diag_clear(struct diag *d)
{
    free(d->sentence);
    free(d->hint);
    free(d->other_text);
    *d = (struct diag){0};
}

void diag_list_fini(struct diag_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        diag_clear(&list->items[i]);
    diag_clear(&list->spare);
    free(list->items);
    free(list->file);
    free(list->text);
    *list = (struct diag_list){0};
}

void diag_list_source(struct diag_list *list, const char *file, const char *text, size_t len)
{
    free(list->file);
    free(list->text);
    list->file = xstrdup(file);
    list->text = xstrndup(text, len);
    list->text_len = strlen(list->text);
}

/* A character that could move a cursor, change a colour or reorder a line becomes one '?', so that columns stay; tabs stay.
 * Returns the size of the character at text[0], and whether it is such a one. */
static size_t next_character(const char *text, size_t len, bool *harmful)
{
    uint32_t code = 0;
    size_t size = utf8_next((const uint8_t *) text, len, &code);
    *harmful = size ? utf8_is_harmful(code) && code != '\t' : true;
    return size ? size : 1;
}

static void add_clean(struct buf *out, const char *text)
{
    bool harmful;
    for (size_t len = strlen(text), i = 0, size; i < len; i += size) {
        size = next_character(text + i, len - i, &harmful);
        if (harmful)
            buf_add_byte(out, '?');
        else
            buf_add(out, text + i, size);
    }
}

/* Formats, and makes harmless what a file may hold. */
static char *clean_text(const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *text = xcalloc((size_t) (len > 0 ? len : 0) + 1, 1);
    if (len > 0)
        vsnprintf(text, (size_t) len + 1, format, again);
    va_end(again);
    struct buf clean = {0};
    add_clean(&clean, text);
    free(text);
    text = xstrdup(buf_text(&clean));
    buf_fini(&clean);
    return text;
}

struct diag *diag_add(struct diag_list *list, enum diag_code code, struct place at, const char *format, ...)
{
    list->error_count += DIAG_KINDS[code].level == DIAG_ERROR;
    list->warning_count += DIAG_KINDS[code].level == DIAG_WARNING;
    struct diag *d = &list->spare;
    if (list->count < DIAG_KEPT_MAX) {
        list->items = xgrow(list->items, &list->room, list->count + 1, sizeof *list->items);
        d = &list->items[list->count++];
        *d = (struct diag){0};
    }
    diag_clear(d);
    va_list args;
    va_start(args, format);
    d->sentence = clean_text(format, args);
    va_end(args);
    d->code = code;
    d->at = at;
    d->order = list->count;
    return d;
}

void diag_hint(struct diag *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    free(d->hint);
    d->hint = clean_text(format, args);
    va_end(args);
}

void diag_hint_path(const struct diag_list *list, struct diag *d, const char *path, const char *before)
{
    char *file = *path != '/' && list->file ? realpath(list->file, NULL) : NULL, *here = getcwd(NULL, 0);
    for (char *slash = file ? strrchr(file, '/') : NULL; slash > file; slash = strrchr(file, '/')) {
        *slash = '\0';
        char *there = xasprintf("%s/%s", file, path), *whole = realpath(list->file, NULL);
        bool found = access(there, F_OK) == 0 && whole && here;
        if (found)
            diag_hint(d, "paths are relative to the working directory, %s; it is there in another: cd %s && lineshaft up %s", here, file,
                      whole + strlen(file) + 1);
        free(there);
        free(whole);
        if (found)
            break;
    }
    if (!d->hint)
        diag_hint(d, "%s; paths are relative to the working directory", before);
    free(file);
    free(here);
}

void diag_other(struct diag *d, struct place at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    free(d->other_text);
    d->other_text = clean_text(format, args);
    d->other = at;
    va_end(args);
}

static int by_place(const void *left, const void *right)
{
    const struct diag *a = left, *b = right;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column)
        return a->at.column < b->at.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void diag_sort(struct diag_list *list)
{
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_place);
}

/* The text of line `line`, without its end. */
static const char *source_line(const struct diag_list *list, int line, size_t *len)
{
    if (!list->text || line < 1)
        return NULL;
    const char *at = list->text, *end = list->text + list->text_len;
    for (int n = 1; n < line && at; n++) {
        at = memchr(at, '\n', (size_t) (end - at));
        at = at ? at + 1 : NULL;
    }
    if (!at || at >= end)
        return NULL;
    const char *stop = memchr(at, '\n', (size_t) (end - at));
    *len = (size_t) ((stop ? stop : end) - at);
    if (*len && at[*len - 1] == '\r')
        --*len;
    return at;
}

static const char *paint(struct diag_style style, const char *code)
{
    return style.colour ? code : "";
}

static const char *level_paint(struct diag_style style, enum diag_level level)
{
    static const char *const CODES[] = {"\033[1;31m", "\033[1;35m", "\033[1;36m"};
    return paint(style, CODES[level]);
}

#define QUOTE_COLUMNS 140 /* longest piece of a source line that is shown */
#define QUOTE_BEFORE 60   /* of which before the marker */

/* The source line and the marker below it; of a long line, the part around the marker. */
static void print_quote(const struct diag_list *list, struct place at, struct diag_style style, struct buf *out)
{
    size_t len = 0;
    const char *line = source_line(list, at.line, &len);
    if (!line)
        return;
    int first = at.column > QUOTE_COLUMNS - 20 ? at.column - QUOTE_BEFORE : 1, column = 0;
    struct buf marker = {0};
    buf_addf(out, "%5d | %s", at.line, first > 1 ? "..." : "");
    buf_addf(&marker, "      | %s%s", first > 1 ? "   " : "", level_paint(style, DIAG_NOTE));
    for (size_t i = 0, size; i < len; i += size) {
        bool harmful;
        size = next_character(line + i, len - i, &harmful);
        column++;
        if (column < first)
            continue;
        if (column >= first + QUOTE_COLUMNS) {
            buf_addf(out, "...");
            break;
        }
        if (harmful)
            buf_add_byte(out, '?');
        else
            buf_add(out, line + i, size);
        if (column < at.column)
            buf_add_byte(&marker, line[i] == '\t' ? '\t' : ' ');
        else if (column == at.column || column < at.column + at.width)
            buf_add_byte(&marker, column == at.column ? '^' : '~');
    }
    if (column < at.column)
        buf_addf(&marker, "%*s", at.column - column, "^");
    buf_addf(out, "\n%s%s\n", buf_text(&marker), paint(style, "\033[0m"));
    buf_fini(&marker);
}

static void print_position(const struct diag_list *list, struct place at, struct diag_style style, struct buf *out)
{
    buf_addf(out, "%s", paint(style, "\033[1m"));
    add_clean(out, list->file ? list->file : "?");
    buf_add_byte(out, ':');
    if (at.line)
        buf_addf(out, "%d:%d:", at.line, at.column);
    buf_addf(out, "%s ", paint(style, "\033[0m"));
}

static void print_one(const struct diag_list *list, const struct diag *d, struct diag_style style, struct buf *out)
{
    const struct diag_kind *kind = &DIAG_KINDS[d->code];
    const char *plain = paint(style, "\033[0m");
    print_position(list, d->at, style, out);
    buf_addf(out, "%s%s:%s %s [%s]\n", level_paint(style, kind->level), LEVELS[kind->level], plain, d->sentence,
             kind->name);
    print_quote(list, d->at, style, out);
    if (d->other_text) {
        print_position(list, d->other, style, out);
        buf_addf(out, "%s\n", d->other_text);
        print_quote(list, d->other, style, out);
    }
    if (d->hint)
        buf_addf(out, "  %shint:%s %s\n", level_paint(style, DIAG_NOTE), plain, d->hint);
}

static bool hidden(const struct diag *d, bool verbose)
{
    return DIAG_KINDS[d->code].verbose && !verbose;
}

void diag_print(const struct diag_list *list, struct diag_style style, struct buf *out)
{
    size_t printed = 0, kept = 0, notes = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *d = &list->items[i];
        if (hidden(d, style.verbose))
            continue;
        kept++;
        notes += DIAG_KINDS[d->code].level == DIAG_NOTE;
        if (style.max && printed >= style.max)
            continue;
        print_one(list, d, style, out);
        printed++;
    }
    size_t all = list->error_count + list->warning_count + notes;
    if (kept > all)
        all = kept;
    if (all > printed)
        buf_addf(out, "... and %zu more\n", all - printed);
}

void diag_print_json(const struct diag_list *list, bool verbose, struct buf *out)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *d = &list->items[i];
        if (hidden(d, verbose))
            continue;
        json_t *item = json_pack("{s:s, s:i, s:i, s:s, s:s, s:s}", "file", list->file, "line", d->at.line, "column",
                                 d->at.column, "level", LEVELS[DIAG_KINDS[d->code].level], "code",
                                 DIAG_KINDS[d->code].name, "text", d->sentence);
        if (!item)
            continue; /* a path that is not UTF-8; the words on standard error still name it */
        if (d->hint)
            json_object_set_new(item, "hint", json_string(d->hint));
        if (d->other_text)
            json_object_set_new(
                item, "other",
                json_pack("{s:i, s:i, s:s}", "line", d->other.line, "column", d->other.column, "text", d->other_text));
        json_array_append_new(array, item);
    }
    char *text = json_dumps(array, JSON_INDENT(2));
    if (text)
        buf_addf(out, "%s\n", text);
    free(text);
    json_decref(array);
}

#define NEAR_WORD_MAX 64

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; both at most NEAR_WORD_MAX long. */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][NEAR_WORD_MAX + 2];
    int len_a = (int) strlen(a), len_b = (int) strlen(b);
    for (int j = 0; j <= len_b; j++)
        rows[0][j] = j;
    for (int i = 1; i <= len_a; i++) {
        int *now = rows[i % 3], *before = rows[(i + 2) % 3], *older = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= len_b; j++) {
            int best = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && older[j - 2] + 1 < best)
                best = older[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[len_a % 3][len_b];
}

const char *diag_nearest(const char *word, const char *const *names)
{
    size_t len = strlen(word);
    int best = len <= 3 ? 2 : len <= 6 ? 3 : 4; /* farther than this minus one is no typing error */
    const char *found = NULL;
    if (len > NEAR_WORD_MAX)
        return NULL;
    for (; *names; names++) {
        if (strlen(*names) > NEAR_WORD_MAX)
            continue;
        int distance = edit_distance(word, *names);
        if (distance < best && distance < (int) strlen(*names)) {
            best = distance;
            found = *names;
        }
    }
    return found;
}
