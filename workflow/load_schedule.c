/* SPDX-License-Identifier: Apache-2.0 */
/* When a workflow runs: its zone, cron expressions, `every`, single times, and the dates between which all that
 * holds. */
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/xmem.h"
#include "workflow/load.h"

#define TIME_HINT "times are written 2026-01-31, 2026-01-31T12:00 (in `timezone`), or 2026-01-31T12:00:00+01:00"
#define YEAR_2000_S INT64_C(946684800)

/* ---- times ---- */

static bool read_pair(const char **text, char before, int digits, int *number)
{
    const char *at = *text + (before ? 1 : 0);
    if (before && **text != before)
        return false;
    *number = 0;
    for (int i = 0; i < digits; i++, at++) {
        if (*at < '0' || *at > '9')
            return false;
        *number = *number * 10 + *at - '0';
    }
    *text = at;
    return true;
}

/* "2026-01-31", "2026-01-31T12:00", "2026-01-31 12:00:30": a time of the workflow's zone. */
static bool read_local(const char *text, struct civil *civil, bool *date_only)
{
    if (!read_pair(&text, 0, 4, &civil->year) || !read_pair(&text, '-', 2, &civil->month) ||
        !read_pair(&text, '-', 2, &civil->day))
        return false;
    struct civil again = {0};
    civil_from_days(civil_days(civil->year, civil->month, civil->day), &again);
    if (civil->month < 1 || civil->month > 12 || again.day != civil->day || again.month != civil->month)
        return false;
    *date_only = !*text;
    if (*date_only)
        return true;
    bool ok = read_pair(&text, *text == ' ' ? ' ' : 'T', 2, &civil->hour) && read_pair(&text, ':', 2, &civil->minute);
    if (ok && *text)
        ok = read_pair(&text, ':', 2, &civil->second);
    return ok && !*text && civil->hour < 24 && civil->minute < 60 && civil->second < 60;
}

static bool read_instant(struct loader *l, const struct value *v, bool end_of_day, int64_t *instant_s)
{
    char shown[VALUE_SHOWN_SIZE];
    struct civil civil = {0};
    bool date_only = false;
    int64_t us, instants[2];
    if (v->broken)
        return false;
    if (v->type == VALUE_TEXT && read_local(v->text, &civil, &date_only)) {
        if (date_only && end_of_day)
            civil.hour = 23, civil.minute = 59, civil.second = 59;
        if (l->w->zone)
            zone_instants(l->w->zone, &civil, instants);
        *instant_s = l->w->zone ? instants[0] : 0;
        return l->w->zone != NULL;
    }
    if (v->type == VALUE_TEXT && clock_parse(v->text, strlen(v->text), &us)) {
        *instant_s = us / 1000000 - (us % 1000000 < 0);
        return true;
    }
    struct diag *d =
        diag_add(l->diags, DIAG_TIME_BAD, v->at, "the workflow: %s is not a time", value_shown(v, false, shown));
    diag_hint(d, TIME_HINT);
    return false;
}

static void load_dates(struct loader *l)
{
    const struct value *start = value_find(l->root, "start_date"), *end = value_find(l->root, "end_date");
    l->w->start_s = INT64_MIN;
    l->w->end_s = INT64_MAX;
    bool both = start && !value_is_null(start) && read_instant(l, start, false, &l->w->start_s);
    both = end && !value_is_null(end) && read_instant(l, end, true, &l->w->end_s) && both;
    if (both && l->w->end_s < l->w->start_s) {
        struct diag *d =
            diag_add(l->diags, DIAG_VALUE_RANGE, end->at, "the workflow: \"end_date\" is before \"start_date\"");
        diag_other(d, start->at, "which is here");
    }
}

static void load_zone(struct loader *l)
{
    struct ls_error err = {0};
    const struct value *v = value_find(l->root, "timezone");
    if (!l->sheet->timezone || (v && v->broken))
        return;
    l->w->zone = zone_open(l->sheet->timezone, &err);
    if (!l->w->zone) {
        struct diag *d = diag_add(l->diags, DIAG_ZONE_UNKNOWN, v ? v->at : (struct place){0},
                                  "the workflow: \"timezone\": %s", err.text);
        diag_hint(d, "zones have IANA names: UTC, Europe/Berlin, America/New_York");
    }
}

/* ---- the schedule ---- */

static void add_cron(struct loader *l, const struct value *v)
{
    struct ls_error err = {0};
    struct workflow *w = l->w;
    struct cron cron;
    int column = 0;
    if (v->broken)
        return;
    if (cron_parse(v->text, &cron, &column, &err)) {
        char shown[VALUE_SHOWN_SIZE];
        struct diag *d = diag_add(l->diags, DIAG_CRON_BAD, load_inside(v, column),
                                  "the workflow: %s is no cron expression", value_shown(v, false, shown));
        const char *why = strstr(err.text, " is no cron expression: "); /* the sentence says that already */
        diag_hint(d, "%s", why ? strchr(why, ':') + 2 : err.text);
        return;
    }
    w->cron_texts[w->cron_count] = pool_text(&l->file->pool, v->text, strlen(v->text));
    w->crons[w->cron_count++] = cron;
    if (w->zone && cron_next(&cron, w->zone, w->start_s > YEAR_2000_S ? w->start_s - 1 : YEAR_2000_S) < 0)
        diag_add(l->diags, DIAG_SCHEDULE_NEVER, v->at, "the workflow: the cron expression \"%.60s\" never matches",
                 v->text);
}

static bool is_texts(struct loader *l, const struct value *list, const char *what)
{
    bool ok = true;
    for (size_t i = 0; i < list->count; i++) {
        const struct value *v = list->items[i];
        if (v->type == VALUE_TEXT && !value_is_null(v) && *v->text)
            continue;
        struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "the workflow: \"%s\" takes texts", what);
        diag_hint(d, "\"0 6 * * *\", [\"0 6 * * *\", \"@daily\"], or {every: 10m}");
        ok = false;
    }
    return ok;
}

static void make_room(struct loader *l)
{
    struct workflow *w = l->w;
    if (w->cron_count < l->cron_room)
        return;
    l->cron_room = l->cron_room ? 2 * l->cron_room : 4;
    struct cron *crons = pool_alloc(&l->file->pool, l->cron_room, sizeof *crons);
    char **texts = pool_alloc(&l->file->pool, l->cron_room, sizeof *texts);
    for (size_t i = 0; i < w->cron_count; i++) {
        crons[i] = w->crons[i];
        texts[i] = w->cron_texts[i];
    }
    w->crons = crons;
    w->cron_texts = texts;
}

static void add_crons(struct loader *l, const struct value *list)
{
    for (size_t i = 0; i < list->count && l->w->cron_count <= WORKFLOW_CRONS_MAX; i++) {
        make_room(l);
        add_cron(l, list->items[i]);
        if (l->w->cron_count > WORKFLOW_CRONS_MAX)
            diag_add(l->diags, DIAG_VALUE_RANGE, list->items[i]->at,
                     "the workflow: the schedule has more than %d cron expressions", WORKFLOW_CRONS_MAX);
    }
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return x < y ? -1 : x > y;
}

static void add_times(struct loader *l, const struct value *list)
{
    struct workflow *w = l->w;
    int64_t *at_s = pool_alloc(&l->file->pool, w->at_count + list->count, sizeof *at_s);
    for (size_t i = 0; i < w->at_count; i++)
        at_s[i] = w->at_s[i];
    w->at_s = at_s;
    for (size_t i = 0; i < list->count; i++)
        w->at_count += read_instant(l, list->items[i], false, &at_s[w->at_count]);
    if (w->at_count)
        qsort(at_s, w->at_count, sizeof *at_s, by_number);
}

static void add_map(struct loader *l, const struct value *given)
{
    struct option_context ctx = load_context(l, "the schedule");
    ctx.elsewhere = ELSEWHERE_SCHEDULE;
    struct schedule_draft draft = {0};
    struct value *map = load_own(l, given, NULL, OPTIONS_SCHEDULE);
    options_parse(&ctx, OPTIONS_SCHEDULE, map, map->at, &draft);
    const struct value *cron = value_find(map, "cron"), *every = value_find(map, "every"), *at = value_find(map, "at");
    if (cron && draft.cron.items && is_texts(l, cron, "cron"))
        add_crons(l, cron);
    if (at && draft.at.items && is_texts(l, at, "at"))
        add_times(l, at);
    if (every && l->w->every_ms) {
        struct diag *d = diag_add(l->diags, DIAG_KEY_DUPLICATE, every->at, "the schedule has a second \"every\"");
        diag_hint(d, "a workflow has one");
    }
    l->w->every_ms = draft.every ? draft.every : l->w->every_ms;
    if (!map->count)
        diag_add(l->diags, DIAG_TYPE_WRONG, map->at, "the schedule is empty: it needs \"cron\", \"every\" or \"at\"");
}

static void add_item(struct loader *l, const struct value *v)
{
    struct value single = *v, *items[1] = {&single},
                 list = {.type = VALUE_LIST, .at = v->at, .items = items, .count = 1};
    if (v->type == VALUE_MAP)
        add_map(l, v);
    else if (is_texts(l, &list, "schedule"))
        add_crons(l, &list);
}

static void load_ticks(struct loader *l)
{
    const struct value *v = value_find(l->root, "schedule");
    if (!v || value_is_null(v) || v->broken ||
        (v->type == VALUE_TEXT && (!strcmp(v->text, "none") || !strcmp(v->text, "None"))))
        return; /* by hand and by events */
    if (v->type != VALUE_LIST) {
        add_item(l, v);
        return;
    }
    for (size_t i = 0; i < v->count; i++)
        add_item(l, v->items[i]);
}

static void check_effect(struct loader *l)
{
    static const char *const KEYS[] = {"catchup", "catchup_window", "start_date", "end_date"};
    const struct workflow *w = l->w;
    const struct value *schedule = value_find(l->root, "schedule");
    for (size_t i = 0; i < w->at_count; i++)
        if (w->at_s[i] < w->start_s || w->at_s[i] > w->end_s) {
            diag_add(l->diags, DIAG_SCHEDULE_NEVER, schedule->at,
                     "the workflow: a time of its schedule is not between \"start_date\" and \"end_date\"");
            break;
        }
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const struct value *key = value_find_key(l->root, KEYS[i]);
        if (key && (!schedule || value_is_null(schedule)))
            diag_add(l->diags, DIAG_OPTION_UNUSED, key->at,
                     "the workflow: \"%s\" has no effect, for there is no schedule", KEYS[i]);
    }
}

void load_schedule(struct loader *l)
{
    load_zone(l);
    load_dates(l);
    load_ticks(l);
    check_effect(l);
}
