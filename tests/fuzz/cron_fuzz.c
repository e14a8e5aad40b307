/* SPDX-License-Identifier: Apache-2.0 */
/* Cron expressions of any bytes. The first byte chooses a zone, the next four an instant, the rest is the expression.
 * What is taken must keep the promises of workflow/cron.h: next is later, previous of next is no later than where we
 * came from, a found time matches its fields or was moved by a gap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xmem.h"
#include "workflow/cron_inside.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#define HEAD 5
#define STEPS_MAX (4ull * CRON_YEARS * 366)

static void check(bool holds, const char *rule, const char *expression)
{
    if (holds)
        return;
    fprintf(stderr, "cron_fuzz: %s: \"%s\"\n", rule, expression);
    abort();
}

/* Only what holds of the time alone: the date needs the day rules, which tests/unit/cron_test.c checks. */
static bool fits(const struct cron *cron, const struct civil *c)
{
    return cron->months >> c->month & 1 && cron->hours >> c->hour & 1 && cron->minutes >> c->minute & 1 &&
           cron->seconds >> c->second & 1;
}

static void check_found(const struct cron *cron, const struct zone *zone, int64_t at, const char *expression)
{
    struct zone_span span;
    struct civil c;
    zone_local(zone, at, &c);
    if (fits(cron, &c))
        return;
    zone_span(zone, at, &span);
    check(!cron->hours_any && at - span.from_s < span.offset - span.offset_before, "it matches, or a gap moved it",
          expression);
}

static void check_times(const struct cron *cron, const struct zone *zone, int64_t from, const char *expression)
{
    int64_t at = from;
    for (int i = 0; i < 5 && at >= 0; i++) {
        uint64_t steps = 0;
        int64_t next = cron_search(cron, zone, at, true, &steps);
        check(steps < STEPS_MAX, "a search ends", expression);
        if (next >= 0) {
            check(next > at, "next is later", expression);
            check_found(cron, zone, next, expression);
            int64_t before = cron_search(cron, zone, next, false, &steps);
            check(i == 0 ? before <= at : before == at, "the way back is the way there", expression);
        }
        at = next;
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char *const NAMES[] = {
        "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut"};
    static const struct zone *zones[6]; /* opened once, and kept */
    struct ls_error err = {0};
    struct cron cron;
    int column = -1;
    if (size < HEAD)
        return 0;
    size_t chosen = data[0] % 6;
    if (!zones[chosen] && !(zones[chosen] = zone_open(NAMES[chosen], &err)))
        abort();
    int64_t from = (int64_t) data[1] << 24 | data[2] << 16 | data[3] << 8 | data[4];
    char *expression = xstrndup((const char *) data + HEAD, size - HEAD);
    if (!cron_parse(expression, &cron, &column, &err)) {
        check(cron.minutes && cron.hours && cron.months && cron.seconds, "no field is empty", expression);
        check_times(&cron, zones[chosen], from, expression);
    } else {
        check(column >= 0 && column <= (int) strlen(expression) && *err.text, "a mistake has its place", expression);
    }
    free(expression);
    return 0;
}
