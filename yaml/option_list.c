/* SPDX-License-Identifier: Apache-2.0 */
/* Option values that are lists or maps: patterns, texts, commands, environments, lists of durations, start positions. */
#include <string.h>

#include "lib/clock.h"
#include "lib/topic.h"
#include "yaml/option.h"

static const char *list_example(const struct option_def *opt)
{
    return opt->type == OPTION_PATTERNS    ? "a list of patterns: [\"run.>\", \"chat.completed\"]"
           : opt->type == OPTION_DURATIONS ? "a list of durations: [1s, 5s, 30s]"
           : opt->type == OPTION_COMMAND   ? "a list of texts: [program, argument], or one text for the shell"
                                           : "a list of texts: [one, two]";
}

/* Why a text is no pattern; NULL when it is one. */
static const char *pattern_problem(const char *text)
{
    size_t len = strlen(text);
    if (topic_pattern_valid(text, len))
        return NULL;
    if (!len || len > TOPIC_LEN_MAX)
        return "a topic has 1 to 200 characters";
    if (strpbrk(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        return "topics are written in lower case";
    if (*text == '.' || text[len - 1] == '.' || strstr(text, ".."))
        return "words are joined by single dots";
    const char *rest = strchr(text, '>');
    if (rest && rest[1])
        return "> stands for the rest, so it comes last";
    if ((rest && rest > text && rest[-1] != '.') || strchr(text, '*'))
        return "a wildcard is a whole word: \"run.*\", \"run.>\"";
    return "words are made of a-z, 0-9, _ and -; the first one may begin with $";
}

static bool check_pattern(const struct option_context *ctx, const struct option_def *opt, const struct value *v)
{
    char shown[VALUE_SHOWN_SIZE];
    const char *problem = pattern_problem(v->text);
    if (!problem)
        return true;
    bool wild = strpbrk(v->text, "*>") != NULL;
    struct diag *d = diag_add(ctx->diags, wild ? DIAG_PATTERN_BAD : DIAG_TOPIC_BAD, v->at,
                              "%s: \"%s\" holds %s, which is "
                              "not a %s",
                              ctx->what, opt->name, value_shown(v, false, shown), wild ? "pattern" : "topic");
    diag_hint(d, "%s", problem);
    return false;
}

static bool set_texts(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                      struct text_list *list)
{
    if (v->type != VALUE_LIST || (!v->count && opt->flags & OPTION_REQUIRED))
        return option_wrong(ctx, opt, v, list_example(opt));
    struct text_list out = {pool_alloc(ctx->pool, v->count + 1, sizeof *out.items), 0,
                            pool_alloc(ctx->pool, v->count + 1, sizeof *out.places)};
    for (size_t i = 0; i < v->count; i++) {
        const struct value *item = v->items[i];
        if (item->broken)
            continue;
        if (item->type != VALUE_TEXT || (value_is_null(item) && opt->type != OPTION_COMMAND)) {
            option_wrong(ctx, opt, item, list_example(opt));
            continue;
        }
        if (opt->type == OPTION_PATTERNS && !check_pattern(ctx, opt, item))
            continue;
        out.places[out.count] = item->at;
        out.items[out.count++] = pool_text(ctx->pool, item->text, strlen(item->text));
    }
    *list = out;
    return true;
}

static bool set_command(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                        struct text_list *list)
{
    static const char *const SHELL[] = {"/bin/sh", "-c"};
    if (v->type != VALUE_TEXT)
        return set_texts(ctx, opt, v, list);
    if (value_is_null(v) || !*v->text)
        return option_wrong(ctx, opt, v, list_example(opt));
    struct text_list out = {pool_alloc(ctx->pool, 4, sizeof *out.items), 3,
                            pool_alloc(ctx->pool, 3, sizeof *out.places)};
    for (size_t i = 0; i < 3; i++) {
        const char *word = i < 2 ? SHELL[i] : v->text;
        out.items[i] = pool_text(ctx->pool, word, strlen(word));
        out.places[i] = v->at;
    }
    *list = out;
    return true;
}

static bool set_text_map(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                         struct text_map *map)
{
    if (v->type != VALUE_MAP)
        return option_wrong(ctx, opt, v, "a map of texts: {NAME: value}");
    struct text_map out = {pool_alloc(ctx->pool, v->count, sizeof *out.keys),
                           pool_alloc(ctx->pool, v->count, sizeof *out.values),
                           pool_alloc(ctx->pool, v->count, sizeof *out.secret), 0};
    for (size_t i = 0; i < v->count; i++) {
        const struct value *key = v->keys[i], *item = v->items[i];
        if (item->type != VALUE_TEXT) {
            option_wrong(ctx, opt, item, "a map of texts: {NAME: value}");
            continue;
        }
        if (strchr(key->text, '=')) {
            diag_add(ctx->diags, DIAG_TYPE_WRONG, key->at, "%s: a name in \"%s\" cannot hold \"=\"", ctx->what,
                     opt->name);
            continue;
        }
        out.keys[out.count] = pool_text(ctx->pool, key->text, strlen(key->text));
        out.values[out.count] = pool_text(ctx->pool, item->text, strlen(item->text));
        out.secret[out.count++] = item->outside;
    }
    *map = out;
    return true;
}

/* Items go through option_set as single durations, so that they report in the same words. */
static bool set_durations(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                          struct duration_list *list)
{
    if (v->type != VALUE_LIST)
        return option_wrong(ctx, opt, v, list_example(opt));
    struct duration_list out = {pool_alloc(ctx->pool, v->count, sizeof *out.items), 0};
    struct option_def item = *opt;
    item.type = OPTION_DURATION;
    item.offset = 0;
    for (size_t i = 0; i < v->count; i++)
        out.count += option_set(ctx, &item, v->items[i], &out.items[out.count]);
    *list = out;
    return true;
}

static bool default_durations(const struct option_context *ctx, const char *text, struct duration_list *list)
{
    char word[16];
    list->items = pool_alloc(ctx->pool, strlen(text), sizeof *list->items);
    for (list->count = 0; *text; list->count++) {
        size_t len = strcspn(text, ", ");
        snprintf(word, sizeof word, "%.*s", (int) len, text);
        if (!clock_parse_duration(word, &list->items[list->count]))
            return false;
        text += len + strspn(text + len, ", ");
    }
    return true;
}

#define FROM_TAKES "new, all, last, {last: N}, {seq: N} or {time: 2026-01-31T12:00:00Z}"

static bool set_from_map(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                         struct topology_from *from)
{
    const struct value *last = value_find(v, "last"), *seq = value_find(v, "seq"), *time = value_find(v, "time");
    const struct value *one = last ? last : seq ? seq : time;
    long long number = 0;
    int64_t time_us = 0;
    char shown[VALUE_SHOWN_SIZE];
    if (v->count != 1 || !one || one->type != VALUE_TEXT)
        return option_wrong(ctx, opt, v, FROM_TAKES);
    if (one->broken)
        return true;
    if (one == time && !clock_parse(time->text, strlen(time->text), &time_us)) {
        struct diag *d = diag_add(ctx->diags, DIAG_TIME_BAD, time->at, "%s: \"%s\" has %s, which is not a time",
                                  ctx->what, opt->name, value_shown(time, false, shown));
        diag_hint(d, "times are written 2026-01-31 or 2026-01-31T12:00:00Z");
        return false;
    }
    if (one != time && (!value_int(one, &number) || number < 1)) {
        struct diag *d =
            diag_add(ctx->diags, DIAG_VALUE_RANGE, one->at, "%s: \"%s\" has %s, which is not a number above 0",
                     ctx->what, opt->name, value_shown(one, false, shown));
        diag_hint(d, "it takes: " FROM_TAKES);
        return false;
    }
    from->kind = one == last ? TOPOLOGY_START_LAST : one == seq ? TOPOLOGY_START_SEQ : TOPOLOGY_START_TIME;
    from->value = (uint64_t) number;
    from->time_us = time_us;
    return true;
}

static bool set_from(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     struct topology_from *from)
{
    static const char *const WORDS[] = {
        [TOPOLOGY_START_NEW] = "new", [TOPOLOGY_START_ALL] = "all", [TOPOLOGY_START_LAST] = "last", NULL};
    if (v->type == VALUE_MAP)
        return set_from_map(ctx, opt, v, from);
    for (int i = 0; v->type == VALUE_TEXT && WORDS[i]; i++)
        if (!strcmp(WORDS[i], v->text)) {
            *from = (struct topology_from){.kind = (enum topology_start) i, .value = i == TOPOLOGY_START_LAST};
            return true;
        }
    if (v->type == VALUE_LIST || value_is_null(v))
        return option_wrong(ctx, opt, v, FROM_TAKES);
    char shown[VALUE_SHOWN_SIZE];
    struct diag *d = diag_add(ctx->diags, DIAG_ENUM_UNKNOWN, v->at, "%s: \"%s\" cannot be %s", ctx->what, opt->name,
                              value_shown(v, false, shown));
    const char *near = diag_nearest(v->text, WORDS);
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "it takes: " FROM_TAKES);
    return false;
}

bool option_set_list(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    void *at = (char *) target + opt->offset;
    bool is_default = v->type == VALUE_TEXT && v->text == opt->fallback;
    switch (opt->type) {
    case OPTION_COMMAND: return set_command(ctx, opt, v, at);
    case OPTION_TEXT_MAP: return set_text_map(ctx, opt, v, at);
    case OPTION_DURATIONS: return is_default ? default_durations(ctx, v->text, at) : set_durations(ctx, opt, v, at);
    case OPTION_FROM: return set_from(ctx, opt, v, at);
    default: return set_texts(ctx, opt, v, at);
    }
}
