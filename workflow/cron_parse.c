/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of cron expressions: fields of lists of ranges with steps, names of months and days, macros.
 * docs/schedules.md is the reference. What a mistake is, and where, matters as much as what is right. */
#include "workflow/cron.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/error.h"

#define FIELDS 6
#define EXPRESSION_MAX 1000
#define BLANKS " \t\r\n"

enum field_name { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };

static const char *const MONTHS[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                     "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const WEEKDAYS[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

/* A star goes up to `star_max`: 7 is Sunday again. */
static const struct field {
    const char *name, *range; /* as people are told */
    int min, max, star_max;
    const char *const *names;
} FIELD[FIELDS] = {
    [SECOND] = {"second", "0 to 59", 0, 59, 59, NULL},
    [MINUTE] = {"minute", "0 to 59", 0, 59, 59, NULL},
    [HOUR] = {"hour", "0 to 23", 0, 23, 23, NULL},
    [DAY] = {"day of month", "1 to 31, or L for the last day", 1, 31, 31, NULL},
    [MONTH] = {"month", "1 to 12, or JAN to DEC", 1, 12, 12, MONTHS},
    [WEEKDAY] = {"day of week", "0 to 7 (0 and 7: Sunday), or SUN to SAT", 0, 7, 6, WEEKDAYS},
};

/* Airflow's presets and crontab(5)'s. */
static const struct macro {
    const char *name, *expression;
} MACROS[] = {
    {"@yearly", "0 0 1 1 *"},   {"@annually", "0 0 1 1 *"}, {"@quarterly", "0 0 1 */3 *"},
    {"@monthly", "0 0 1 * *"},  {"@weekly", "0 0 * * 0"},   {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},   {NULL, NULL},
};

struct reader {
    const char *text, *at, *end; /* the expression, where we are, the end of this field */
    const char *start;           /* of the field */
    int *column;
    struct ls_error *err;
    struct cron *cron;
    enum field_name field;
    uint64_t bits; /* of this field */
};

/* ---- mistakes ---- */

static int fail_at(struct reader *r, const char *at, const char *what)
{
    const struct field *field = &FIELD[r->field];
    const char *hint = r->cron->has_seconds ? "; with six fields the first one is seconds" : "";
    if (r->column)
        *r->column = (int) (at - r->text);
    return error_set(r->err, "BAD_VALUE", "the %s field \"%.*s\": %s; it takes %s%s", field->name,
                     (int) (r->end - r->start), r->start, what, field->range, hint);
}

static int fail_expression(struct reader *r, const char *at, const char *what)
{
    if (r->column)
        *r->column = (int) (at - r->text);
    return error_set(r->err, "BAD_VALUE", "\"%.100s\" is no cron expression: %s", r->text, what);
}

/* ---- values ---- */

static bool at_letter(const struct reader *r)
{
    return r->at < r->end && isalpha((unsigned char) *r->at);
}

/* Does the reader stand at the letter `letter`, with no further letters behind it? */
static bool at_lone(const struct reader *r, char letter)
{
    return r->at < r->end && toupper((unsigned char) *r->at) == letter &&
           (r->at + 1 == r->end || !isalpha((unsigned char) r->at[1]));
}

static int take_name(struct reader *r, int *value)
{
    const struct field *field = &FIELD[r->field];
    const char *start = r->at;
    for (int i = 0; field->names && field->names[i]; i++)
        if (r->end - r->at >= 3 && !strncasecmp(r->at, field->names[i], 3)) {
            r->at += 3;
            *value = i + field->min;
            /* only FRIL, the last Friday, may go on with a letter */
            return at_letter(r) && !(r->field == WEEKDAY && at_lone(r, 'L'))
                       ? fail_at(r, start, "names have three letters")
                       : 0;
        }
    return fail_at(r, start, field->names ? "there is no such name" : "this field has no names");
}

/* A number, or a name where the field has names. */
static int take_value(struct reader *r, int *value)
{
    const struct field *field = &FIELD[r->field];
    const char *start = r->at;
    if (at_letter(r))
        return take_name(r, value);
    *value = 0;
    while (r->at < r->end && isdigit((unsigned char) *r->at) && *value < 1000)
        *value = *value * 10 + *r->at++ - '0';
    if (r->at == start)
        return fail_at(r, start, r->at < r->end ? "a value is expected here" : "a value is missing at the end");
    if (*value < field->min || *value > field->max)
        return fail_at(r, start, "out of range");
    return 0;
}

static int take_step(struct reader *r, int *step)
{
    const char *start = ++r->at;
    *step = 0;
    while (r->at < r->end && isdigit((unsigned char) *r->at) && *step < 1000)
        *step = *step * 10 + *r->at++ - '0';
    if (r->at == start || *step < 1)
        return fail_at(r, start, "a step is a number from 1 on, as in */5");
    return 0;
}

/* ---- items of a list ---- */

static void add_range(struct reader *r, int from, int to, int step)
{
    for (int value = from; value <= to; value += step)
        r->bits |= 1ull << (r->field == WEEKDAY ? value % 7 : value);
}

/* 5L, L5: the last Friday; 5#2: the second. *taken says whether it was one of them. */
static int take_weekday_form(struct reader *r, int value, bool *taken)
{
    *taken = true;
    if (at_lone(r, 'L')) {
        r->at++;
        r->cron->last_weekdays |= (uint8_t) (1 << value % 7);
        return 0;
    }
    if (r->at == r->end || *r->at != '#') {
        *taken = false;
        return 0;
    }
    r->at++;
    if (r->at == r->end || *r->at < '1' || *r->at > '5')
        return fail_at(r, r->at, "behind # stands which one of the month, 1 to 5");
    r->cron->nth_weekdays |= 1ull << ((*r->at++ - '1') * 7 + value % 7);
    return 0;
}

/* croniter's, and so Airflow's, way to write 5L. */
static int take_last_first(struct reader *r)
{
    int value;
    r->at++;
    if (r->field == DAY) {
        r->cron->last_day = true;
        return 0;
    }
    if (r->at == r->end || !isdigit((unsigned char) *r->at))
        return fail_at(r, r->at, "L needs a day here: 5L is the last Friday");
    if (take_value(r, &value))
        return -1;
    r->cron->last_weekdays |= (uint8_t) (1 << value % 7);
    return 0;
}

static int take_range(struct reader *r)
{
    const struct field *field = &FIELD[r->field];
    const char *start = r->at;
    int from = field->min, to = field->star_max, step = 1;
    bool star = *r->at == '*', range = star, taken = false;
    r->at += star;
    if (!star) {
        if (take_value(r, &from) || (r->field == WEEKDAY && take_weekday_form(r, from, &taken)))
            return -1;
        if (taken)
            return 0;
        to = from;
    }
    if (!star && r->at < r->end && *r->at == '-') {
        const char *end = ++r->at;
        range = true;
        if (take_value(r, &to))
            return -1;
        if (r->field == WEEKDAY && to == 0 && isalpha((unsigned char) *end)) /* SAT-SUN */
            to = 7;
        if (to < from)
            return fail_at(r, start, "a range goes upwards, else write it as two");
    }
    if (r->at < r->end && *r->at == '/') {
        if (take_step(r, &step))
            return -1;
        if (!range) /* 5/15 is 5-59/15 */
            to = from > field->star_max ? from : field->star_max;
    }
    add_range(r, from, to, step);
    return 0;
}

static int take_item(struct reader *r)
{
    if (r->at == r->end || *r->at == ',')
        return fail_at(r, r->at, "an item of the list is empty");
    if ((r->field == DAY && at_lone(r, 'L')) || (r->field == WEEKDAY && toupper((unsigned char) *r->at) == 'L'))
        return take_last_first(r);
    return take_range(r);
}

/* ---- fields ---- */

static void store(struct reader *r)
{
    struct cron *cron = r->cron;
    bool any = r->end - r->start == 1 && (*r->start == '*' || *r->start == '?');
    switch (r->field) {
    case SECOND: cron->seconds = r->bits; break;
    case MINUTE: cron->minutes = r->bits; break;
    case HOUR:
        cron->hours = (uint32_t) r->bits;
        cron->hours_any = cron->hours == 0xffffff;
        break;
    case DAY:
        cron->days = (uint32_t) r->bits;
        cron->days_any = any;
        break;
    case MONTH: cron->months = (uint32_t) r->bits; break;
    case WEEKDAY:
        cron->weekdays = (uint8_t) r->bits;
        cron->weekdays_any = any;
        break;
    }
}

static int take_field(struct reader *r)
{
    r->bits = 0;
    r->at = r->start;
    if (*r->at == '?') {
        if (r->end - r->start > 1 || (r->field != DAY && r->field != WEEKDAY))
            return fail_at(r, r->at, "? stands alone, and for a day field only; use *");
        add_range(r, FIELD[r->field].min, FIELD[r->field].star_max, 1);
        store(r);
        return 0;
    }
    for (;; r->at++) {
        if (take_item(r))
            return -1;
        if (r->at == r->end)
            break;
        if (*r->at != ',')
            return fail_at(r, r->at,
                           toupper((unsigned char) *r->at) == 'W' ? "working days (W) are not offered"
                                                                  : "this cannot stand here");
    }
    store(r);
    return 0;
}

static int expand_macro(struct reader *r, const char **text)
{
    const char *start = *text + strspn(*text, BLANKS);
    size_t len = strcspn(start, BLANKS);
    if (*start != '@')
        return 0;
    for (const struct macro *macro = MACROS; macro->name; macro++)
        if (strlen(macro->name) == len && !strncasecmp(start, macro->name, len) &&
            !start[len + strspn(start + len, BLANKS)]) {
            *text = macro->expression;
            return 0;
        }
    return fail_expression(r, start,
                           "the macros are @yearly @annually @quarterly @monthly @weekly @daily @midnight @hourly; "
                           "a single time is {at: TIME}");
}

int cron_parse(const char *text, struct cron *cron, int *column, struct ls_error *err)
{
    const char *starts[FIELDS + 1], *ends[FIELDS + 1];
    struct reader r = {.text = text, .column = column, .err = err, .cron = cron};
    size_t count = 0;
    memset(cron, 0, sizeof *cron);
    if (strnlen(text, EXPRESSION_MAX + 1) > EXPRESSION_MAX)
        return fail_expression(&r, text, "it is too long");
    if (expand_macro(&r, &text))
        return -1;
    for (const char *at = text + strspn(text, BLANKS); *at && count <= FIELDS; at += strspn(at, BLANKS)) {
        starts[count] = at;
        at += strcspn(at, BLANKS);
        ends[count++] = at;
    }
    if (count < FIELDS - 1)
        return fail_expression(&r, text, "it needs five fields: minute, hour, day of month, month, day of week");
    if (count > FIELDS)
        return fail_expression(&r, starts[FIELDS],
                               "more than six fields: second, minute, hour, day of month, month, day of week");
    cron->has_seconds = count == FIELDS;
    cron->seconds = 1;
    for (size_t i = 0; i < count; i++) {
        r.field = (enum field_name)(i + FIELDS - count);
        r.start = starts[i];
        r.end = ends[i];
        if (take_field(&r))
            return -1;
    }
    return 0;
}
