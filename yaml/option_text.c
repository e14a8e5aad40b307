/* SPDX-License-Identifier: Apache-2.0 */
/* Option values and types as text: what `check -v` shows, and the words of the documentation. */
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "yaml/option.h"

static bool needs_quotes(const char *text)
{
    static const char *const WORDS[] = {"true", "false", "null", "yes", "no", "on", "off", NULL};
    for (size_t i = 0; WORDS[i]; i++)
        if (!strcasecmp(WORDS[i], text))
            return true;
    return !*text || strspn(text, "0123456789.+-") == strlen(text) || strchr("-?:!&*>|%@`'\"~ ", *text) ||
           strpbrk(text, ",[]{}#\n\t\r\\") || strstr(text, ": ") || text[strlen(text) - 1] == ':';
}

static void quote(const char *text, struct buf *out)
{
    if (!needs_quotes(text)) {
        buf_addf(out, "%s", text);
        return;
    }
    buf_add_byte(out, '"');
    for (; *text; text++) {
        if ((unsigned char) *text < ' ' || *text == 0x7f)
            buf_addf(out, "\\x%02x", (unsigned char) *text);
        else
            buf_addf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    buf_add_byte(out, '"');
}

static void list_text(const struct text_list *list, struct buf *out)
{
    if (!list->items)
        return;
    buf_addf(out, "[");
    for (size_t i = 0; i < list->count; i++) {
        buf_addf(out, "%s", i ? ", " : "");
        quote(list->items[i], out);
    }
    buf_addf(out, "]");
}

static void map_text(const struct text_map *map, bool mask, struct buf *out)
{
    if (!map->count)
        return;
    buf_addf(out, "{");
    for (size_t i = 0; i < map->count; i++) {
        buf_addf(out, "%s", i ? ", " : "");
        quote(map->keys[i], out);
        buf_addf(out, ": ");
        quote(mask && map->secret[i] ? "***" : map->values[i], out);
    }
    buf_addf(out, "}");
}

static void durations_text(const struct duration_list *list, struct buf *out)
{
    buf_addf(out, "[");
    for (size_t i = 0; i < list->count; i++) {
        buf_addf(out, "%s", i ? ", " : "");
        duration_text(list->items[i], out);
    }
    buf_addf(out, "]");
}

static void from_text(const struct topology_from *from, struct buf *out)
{
    static const char *const WORDS[] = {[TOPOLOGY_START_NEW] = "new", [TOPOLOGY_START_ALL] = "all"};
    char time[CLOCK_TEXT_SIZE];
    clock_format(from->time_us, time);
    if (from->kind == TOPOLOGY_START_TIME)
        buf_addf(out, "{time: \"%s\"}", time);
    else if (from->kind == TOPOLOGY_START_SEQ || (from->kind == TOPOLOGY_START_LAST && from->value != 1))
        buf_addf(out, "{%s: %llu}", from->kind == TOPOLOGY_START_SEQ ? "seq" : "last",
                 (unsigned long long) from->value);
    else
        buf_addf(out, "%s", from->kind == TOPOLOGY_START_LAST ? "last" : WORDS[from->kind]);
}

static int64_t int_at(const void *at)
{
    return *(const int64_t *) at;
}

void option_text(const struct option_def *opt, const void *target, struct buf *out)
{
    const void *at = (const char *) target + opt->offset;
    const char *text = NULL;
    switch (opt->type) {
    case OPTION_TEXT:
    case OPTION_NAME:
    case OPTION_HOST_PORT: text = *(char *const *) at; break;
    case OPTION_ADDRESS: text = ((const struct topology_address *) at)->text; break;
    case OPTION_BOOL: buf_addf(out, *(const bool *) at ? "true" : "false"); break;
    case OPTION_INT:
        if (int_at(at) || opt->fallback)
            buf_addf(out, "%lld", (long long) int_at(at));
        break;
    case OPTION_NUMBER: buf_addf(out, "%.15g", *(const double *) at); break;
    case OPTION_SIZE:
        if (int_at(at) || opt->fallback)
            size_text(int_at(at), out);
        break;
    case OPTION_DURATION:
        if (int_at(at) || opt->fallback)
            duration_text(int_at(at), out);
        break;
    case OPTION_ENUM: buf_addf(out, "%s", opt->words[*(const int *) at]); break;
    case OPTION_PATTERNS:
    case OPTION_TEXTS:
    case OPTION_COMMAND: list_text(at, out); break;
    case OPTION_TEXT_MAP: map_text(at, opt->flags & OPTION_SECRET, out); break;
    case OPTION_DURATIONS: durations_text(at, out); break;
    case OPTION_FROM: from_text(at, out); break;
    default: /* groups and free maps are written by their owner */ break;
    }
    if (text)
        quote(text, out);
}

static void words_text(const char *const *words, struct buf *out)
{
    for (size_t i = 0; words[i]; i++)
        buf_addf(out, "%s%s", !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static void range_text(const struct option_def *opt, struct buf *out)
{
    void (*number)(int64_t, struct buf *) = opt->type == OPTION_SIZE  ? size_text
                                            : opt->type != OPTION_INT ? duration_text
                                                                      : NULL;
    for (int i = 0; i < 2; i++) {
        int64_t bound = i ? opt->max : opt->min;
        if (bound == INT64_MAX) {
            buf_addf(out, " or more");
            return;
        }
        buf_addf(out, i ? " to " : ", ");
        if (number)
            number(bound, out);
        else
            buf_addf(out, "%lld", (long long) bound);
    }
}

void option_type_text(const struct option_def *opt, struct buf *out)
{
    static const char *const NAMES[OPTION_TYPE_COUNT] = {
        [OPTION_TEXT] = "text",
        [OPTION_NAME] = "name",
        [OPTION_BOOL] = "true or false",
        [OPTION_INT] = "number",
        [OPTION_NUMBER] = "decimal number",
        [OPTION_SIZE] = "size",
        [OPTION_DURATION] = "duration",
        [OPTION_PATTERNS] = "list of patterns",
        [OPTION_TEXTS] = "list of texts",
        [OPTION_COMMAND] = "list of texts, or a text",
        [OPTION_TEXT_MAP] = "map of texts",
        [OPTION_DURATIONS] = "list of durations",
        [OPTION_ADDRESS] = "address",
        [OPTION_HOST_PORT] = "HOST:PORT",
        [OPTION_FROM] = "position",
        [OPTION_FREE] = "map",
        [OPTION_GROUP] = "map",
        [OPTION_SECTION] = "map",
    };
    if (opt->words)
        words_text(opt->words, out);
    else
        buf_addf(out, "%s", NAMES[opt->type]);
    if (opt->min == opt->max && opt->max)
        buf_addf(out, " %lld", (long long) opt->max);
    else if (opt->max)
        range_text(opt, out);
}
