/* SPDX-License-Identifier: Apache-2.0 */
/* Reading option values by their declared type, and the walk over a table: unknown, missing, defaults.
 * The list-like types are in option_list.c. */
#include "yaml/option.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/xmem.h"

#define NAME_LEN_MAX 64
#define PORT_MAX 65535
#define BASE_PORT_MAX 65531 /* five ports in a row are used */

struct size_unit {
    const char *name;
    int64_t bytes;
};
static const struct size_unit SIZE_UNITS[] = {{"TiB", INT64_C(1) << 40},
                                              {"GiB", INT64_C(1) << 30},
                                              {"MiB", INT64_C(1) << 20},
                                              {"KiB", INT64_C(1) << 10},
                                              {"B", 1}};

static bool size_parse(const char *text, int64_t *bytes)
{
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 15)
        return false;
    int64_t count = strtoll(text, NULL, 10), unit = text[digits] ? 0 : 1;
    for (size_t i = 0; i < sizeof SIZE_UNITS / sizeof *SIZE_UNITS; i++)
        if (!strcmp(text + digits, SIZE_UNITS[i].name))
            unit = SIZE_UNITS[i].bytes;
    return unit && !__builtin_mul_overflow(count, unit, bytes);
}

void size_text(int64_t bytes, struct buf *out)
{
    const struct size_unit *unit = SIZE_UNITS;
    while (unit->bytes > 1 && (!bytes || bytes % unit->bytes))
        unit++;
    buf_addf(out, "%lld%s", (long long) (bytes / unit->bytes), unit->name);
}

void duration_text(int64_t ms, struct buf *out)
{
    static const struct {
        const char *name;
        int64_t ms;
    } UNITS[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    while (UNITS[i].ms > 1 && (!ms || ms % UNITS[i].ms))
        i++;
    if (!ms)
        i = 3; /* 0s */
    buf_addf(out, "%lld%s", (long long) (ms / UNITS[i].ms), UNITS[i].name);
}

static void *member(const struct option_def *opt, void *target)
{
    return (char *) target + opt->offset;
}

bool option_wrong(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                  const char *takes)
{
    char shown[VALUE_SHOWN_SIZE];
    struct diag *d;
    if (value_is_null(v) || (v->type == VALUE_TEXT && !*v->text) || (v->type == VALUE_LIST && !v->count))
        d = diag_add(ctx->diags, DIAG_TYPE_WRONG, v->at, "%s: \"%s\" has no value", ctx->what, opt->name);
    else
        d = diag_add(ctx->diags, DIAG_TYPE_WRONG, v->at, "%s: \"%s\" does not take %s", ctx->what, opt->name,
                     value_shown(v, opt->flags & OPTION_SECRET, shown));
    diag_hint(d, "it takes: %s", takes);
    return false;
}

static bool wrong_type(const struct option_context *ctx, const struct option_def *opt, const struct value *v)
{
    struct buf type = {0};
    option_type_text(opt, &type);
    bool quoted = opt->type == OPTION_BOOL && v->type == VALUE_TEXT && !v->plain;
    option_wrong(ctx, opt, v, quoted ? "true or false, without quotes" : buf_text(&type));
    buf_fini(&type);
    return false;
}

static void number_text(const struct option_def *opt, int64_t number, struct buf *out)
{
    if (opt->type == OPTION_SIZE)
        size_text(number, out);
    else if (opt->type == OPTION_DURATION || opt->type == OPTION_DURATIONS)
        duration_text(number, out);
    else
        buf_addf(out, "%lld", (long long) number);
}

static bool in_range(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     int64_t number)
{
    if (!opt->max || (number >= opt->min && number <= opt->max))
        return true;
    if (opt->unknown) {
        struct diag *d = diag_add(ctx->diags, opt->unknown, v->at,
                                  "this program does not know file format version %lld", (long long) number);
        diag_hint(d, "it knows version %lld", (long long) opt->max);
        return false;
    }
    struct buf range = {0};
    number_text(opt, number < opt->min ? opt->min : opt->max, &range);
    struct diag *d = diag_add(ctx->diags, DIAG_VALUE_RANGE, v->at, "%s: \"%s\" must be at %s %s", ctx->what, opt->name,
                              number < opt->min ? "least" : "most", buf_text(&range));
    buf_clear(&range);
    option_type_text(opt, &range);
    diag_hint(d, "it takes: %s", buf_text(&range));
    buf_fini(&range);
    return false;
}

static bool set_text(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    if (v->type != VALUE_TEXT || value_is_null(v) || !*v->text)
        return wrong_type(ctx, opt, v);
    *(char **) member(opt, target) = pool_text(ctx->pool, v->text, strlen(v->text));
    return true;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    return len && len <= NAME_LEN_MAX && *text != '_' && *text != '-' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

bool name_check(const struct option_context *ctx, const struct value *key, const char *what)
{
    char shown[VALUE_SHOWN_SIZE];
    if (is_name(key->text))
        return true;
    struct diag *d = diag_add(ctx->diags, DIAG_NAME_BAD, key->at, "%s cannot be the name of a %s",
                              value_shown(key, false, shown), what);
    diag_hint(d, "names are made of a-z, 0-9, _ and -, begin with a letter or digit, and have at most %d characters",
              NAME_LEN_MAX);
    return false;
}

static bool set_name(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    return name_check(ctx, v, strcmp(opt->name, "group") ? "bus" : "group") && set_text(ctx, opt, v, target);
}

static bool set_bool(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    return value_bool(v, member(opt, target)) || wrong_type(ctx, opt, v);
}

static bool set_int(const struct option_context *ctx, const struct option_def *opt, const struct value *v, void *target)
{
    long long number;
    if (!value_int(v, &number))
        return wrong_type(ctx, opt, v);
    if (!in_range(ctx, opt, v, number))
        return false;
    *(int64_t *) member(opt, target) = number;
    return true;
}

static bool set_number(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                       void *target)
{
    const char *text = v->type == VALUE_TEXT ? v->text : "";
    char *end = NULL;
    double number = strtod(text, &end);
    bool digits = *text && strspn(text, "+-.0123456789eE") == strlen(text); /* no 0x, inf, nan */
    if (!digits || *end || end == text || !isfinite(number))
        return wrong_type(ctx, opt, v);
    *(double *) member(opt, target) = number;
    return true;
}

static bool set_size(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    char shown[VALUE_SHOWN_SIZE];
    int64_t bytes;
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    if (!size_parse(v->text, &bytes)) {
        struct diag *d = diag_add(ctx->diags, DIAG_SIZE_BAD, v->at, "%s: \"%s\" is %s, which is not a size", ctx->what,
                                  opt->name, value_shown(v, opt->flags & OPTION_SECRET, shown));
        diag_hint(d, "sizes are whole numbers with a unit: 512B, 64KiB, 8MiB, 1GiB, 2TiB");
        return false;
    }
    if (!in_range(ctx, opt, v, bytes))
        return false;
    *(int64_t *) member(opt, target) = bytes;
    return true;
}

static bool set_duration(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                         void *target)
{
    char shown[VALUE_SHOWN_SIZE];
    int64_t ms;
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    if (!clock_parse_duration(v->text, &ms)) {
        struct diag *d = diag_add(ctx->diags, DIAG_DURATION_BAD, v->at, "%s: \"%s\" is %s, which is not a duration",
                                  ctx->what, opt->name, value_shown(v, opt->flags & OPTION_SECRET, shown));
        diag_hint(d, "durations are whole numbers with a unit: 250ms, 30s, 5m, 2h, 7d, 1h30m");
        return false;
    }
    if (!in_range(ctx, opt, v, ms))
        return false;
    *(int64_t *) member(opt, target) = ms;
    return true;
}

static bool set_enum(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    char shown[VALUE_SHOWN_SIZE];
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    for (int i = 0; opt->words[i]; i++)
        if (!strcmp(opt->words[i], v->text)) {
            *(int *) member(opt, target) = i;
            return true;
        }
    struct buf known = {0};
    option_type_text(opt, &known);
    struct diag *d = diag_add(ctx->diags, opt->unknown ? opt->unknown : DIAG_ENUM_UNKNOWN, v->at,
                              "%s: \"%s\" cannot be %s", ctx->what, opt->name, value_shown(v, false, shown));
    const char *near = diag_nearest(v->text, opt->words);
    if (near)
        diag_hint(d, "did you mean \"%s\"?  (known: %s)", near, buf_text(&known));
    else
        diag_hint(d, "known: %s", buf_text(&known));
    buf_fini(&known);
    return false;
}

/* The port after the last colon, and where the host ends. */
static bool split_port(const char *text, int port_max, const char **host_end, int *port)
{
    const char *colon = strrchr(text, ':');
    const char *digits = colon ? colon + 1 : NULL;
    if (!digits || !*digits || strlen(digits) > 5 || digits[strspn(digits, "0123456789")])
        return false;
    *port = (int) strtol(digits, NULL, 10);
    *host_end = colon;
    return *port <= port_max;
}

/* Takes the brackets off an IPv6 host; false if it is no host. */
static bool bare_host(const char **host, const char **end)
{
    size_t len = (size_t) (*end - *host);
    if (!len || **host != '[')
        return len && !memchr(*host, ':', len) && !memchr(*host, '/', len);
    ++*host;
    return *--*end == ']' && *end > *host;
}

static bool set_address(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                        void *target)
{
    char shown[VALUE_SHOWN_SIZE];
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    struct topology_address address = {0};
    const char *host = v->text + 6, *end = NULL;
    bool tcp = !strncmp(v->text, "tcp://", 6);
    if (!tcp || !split_port(host, BASE_PORT_MAX, &end, &address.port) || !bare_host(&host, &end)) {
        struct diag *d = diag_add(ctx->diags, DIAG_LISTEN_BAD, v->at, "%s: \"%s\" is %s, which is not an address",
                                  ctx->what, opt->name, value_shown(v, false, shown));
        diag_hint(
            d, "an address is tcp://HOST:PORT, an IPv6 HOST in brackets, PORT at most 65531 (five in a row are used)");
        return false;
    }
    address.host = pool_text(ctx->pool, host, (size_t) (end - host));
    address.text = pool_text(ctx->pool, v->text, strlen(v->text));
    *(struct topology_address *) member(opt, target) = address;
    return true;
}

static bool set_host_port(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                          void *target)
{
    char shown[VALUE_SHOWN_SIZE];
    if (v->type != VALUE_TEXT || value_is_null(v))
        return wrong_type(ctx, opt, v);
    const char *host = v->text, *end = NULL;
    int port;
    if (split_port(host, PORT_MAX, &end, &port) && bare_host(&host, &end))
        return set_text(ctx, opt, v, target);
    struct diag *d = diag_add(ctx->diags, DIAG_ADDRESS_BAD, v->at, "%s: \"%s\" is %s, which is not an address", ctx->what,
                              opt->name, value_shown(v, opt->flags & OPTION_SECRET, shown));
    diag_hint(d, "an address is HOST:PORT, an IPv6 HOST in brackets, PORT at most %d (0: a free one)", PORT_MAX);
    return false;
}

static bool set_free(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                     void *target)
{
    if (v->type != VALUE_MAP)
        return wrong_type(ctx, opt, v);
    struct buf json = {0};
    value_json(v, false, &json);
    *(char **) member(opt, target) = pool_text(ctx->pool, (const char *) json.data, json.len);
    buf_fini(&json);
    return true;
}

static bool set_group(const struct option_context *ctx, const struct option_def *opt, const struct value *v,
                      void *target)
{
    if (v->type != VALUE_MAP)
        return wrong_type(ctx, opt, v);
    char *what = xasprintf("%s, %s", ctx->what, opt->name);
    struct option_context inner = *ctx;
    inner.what = what;
    inner.elsewhere = NULL;
    options_parse(&inner, opt->table, v, v->at, target);
    free(what);
    return true;
}

typedef bool setter_fn(const struct option_context *, const struct option_def *, const struct value *, void *);

bool option_set(const struct option_context *ctx, const struct option_def *opt, const struct value *v, void *target)
{
    static setter_fn *const SETTERS[OPTION_TYPE_COUNT] = {[OPTION_TEXT] = set_text,
                                                          [OPTION_NAME] = set_name,
                                                          [OPTION_BOOL] = set_bool,
                                                          [OPTION_INT] = set_int,
                                                          [OPTION_NUMBER] = set_number,
                                                          [OPTION_SIZE] = set_size,
                                                          [OPTION_DURATION] = set_duration,
                                                          [OPTION_ENUM] = set_enum,
                                                          [OPTION_ADDRESS] = set_address,
                                                          [OPTION_HOST_PORT] = set_host_port,
                                                          [OPTION_FREE] = set_free,
                                                          [OPTION_GROUP] = set_group,
                                                          [OPTION_PATTERNS] = option_set_list,
                                                          [OPTION_TEXTS] = option_set_list,
                                                          [OPTION_COMMAND] = option_set_list,
                                                          [OPTION_TEXT_MAP] = option_set_list,
                                                          [OPTION_DURATIONS] = option_set_list,
                                                          [OPTION_FROM] = option_set_list};
    return v->broken || SETTERS[opt->type](ctx, opt, v, target);
}

/* The default is a value like any other; only its place is missing. */
static void set_default(const struct option_context *ctx, const struct option_def *opt, void *target)
{
    if (opt->type == OPTION_GROUP)
        options_parse(ctx, opt->table, NULL, (struct place){0}, target);
    if (!opt->fallback)
        return;
    struct value text = {.type = VALUE_TEXT, .plain = true, .text = opt->fallback};
    option_set(ctx, opt, &text, target);
}

/* Collects the names of a table, inline tables included; returns how many. */
static size_t table_names(const struct option_def *table, const char **names, size_t room)
{
    size_t count = 0;
    for (; table->name && count < room; table++) {
        if (table->type == OPTION_INLINE)
            count += table_names(table->table, names + count, room - count);
        else
            names[count++] = table->name;
    }
    return count;
}

#define KEYS_MAX 255

static void hint_key(const struct option_context *ctx, struct diag *d, const char *key, const char *const *names)
{
    for (const struct option_elsewhere *e = ctx->elsewhere; e && e->name; e++)
        if (!strcmp(e->name, key)) {
            diag_hint(d, "%s", e->hint);
            return;
        }
    const char *near = diag_nearest(key, names);
    struct buf all = {0};
    for (size_t i = 0; names[i]; i++)
        buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
    if (near)
        diag_hint(d, "did you mean \"%s\"?", near);
    else
        diag_hint(d, "it has: %s", buf_text(&all));
    buf_fini(&all);
}

void options_check_keys(const struct option_context *ctx, const struct option_def *const *tables,
                        const struct value *map)
{
    const char *names[KEYS_MAX + 1];
    char shown[VALUE_SHOWN_SIZE];
    size_t count = 0;
    for (; *tables; tables++)
        count += table_names(*tables, names + count, KEYS_MAX - count);
    names[count] = NULL;
    for (size_t i = 0; i < map->count; i++) {
        const struct value *key = map->keys[i];
        size_t n = 0;
        while (names[n] && strcmp(names[n], key->text))
            n++;
        if (names[n])
            continue;
        struct diag *d = diag_add(ctx->diags, DIAG_KEY_UNKNOWN, key->at, "%s has no option %s", ctx->what,
                                  value_shown(key, false, shown));
        hint_key(ctx, d, key->text, names);
    }
}

void options_read(const struct option_context *ctx, const struct option_def *table, const struct value *map,
                  struct place at, void *target)
{
    for (const struct option_def *opt = table; opt->name; opt++) {
        if (opt->type == OPTION_SECTION)
            continue;
        if (opt->type == OPTION_INLINE) {
            options_read(ctx, opt->table, map, at, member(opt, target));
            continue;
        }
        const struct value *v = value_find(map, opt->name);
        set_default(ctx, opt, target);
        if (v)
            option_set(ctx, opt, v, target);
        else if (map && opt->flags & OPTION_REQUIRED)
            diag_add(ctx->diags, DIAG_KEY_MISSING, at, "%s needs the option \"%s\"", ctx->what, opt->name);
    }
}

void options_parse(const struct option_context *ctx, const struct option_def *table, const struct value *map,
                   struct place at, void *target)
{
    if (map)
        options_check_keys(ctx, (const struct option_def *const[]){table, NULL}, map);
    options_read(ctx, table, map, at, target);
}
