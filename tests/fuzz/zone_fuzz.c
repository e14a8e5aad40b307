/* SPDX-License-Identifier: Apache-2.0 */
/* TZif files of any bytes. What is taken as a zone must keep the promises of workflow/zone.h: stretches that hold the
 * instant that was asked for and join, local times that lead back, and cron searches that end. An input whose first
 * byte is `R` is a rule for a small file instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "workflow/cron.h"
#include "workflow/zone_inside.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool holds, const char *rule, int64_t at)
{
    if (holds)
        return;
    fprintf(stderr, "zone_fuzz: %s at %lld\n", rule, (long long) at);
    abort();
}

static void check_instant(const struct zone *zone, int64_t at)
{
    struct zone_span span, next;
    struct civil civil;
    int64_t instants[2];
    zone_span(zone, at, &span);
    check(span.from_s <= at && (span.until_s > at || at == INT64_MAX), "a stretch holds its instant", at);
    if (span.until_s < INT64_MAX) {
        zone_span(zone, span.until_s, &next);
        check(next.from_s >= span.from_s && next.until_s > span.until_s, "stretches go on", at);
    }
    int offset = zone_local(zone, at, &civil);
    check(offset >= ZONE_OFFSET_MIN && offset <= ZONE_OFFSET_MAX, "offsets have limits", at);
    int count = zone_instants(zone, &civil, instants);
    if (at > -62000000000 && at < 253000000000)
        check(count > 0 && (instants[0] == at || count == 2), "a local time leads back", at);
}

static void check_searches(const struct zone *zone, int64_t at)
{
    static const char *const EXPRESSIONS[] = {"30 2 * * *", "0 * * * *", "0 0 31 2 *"};
    for (size_t i = 0; i < 3; i++) {
        struct cron cron;
        check(!cron_parse(EXPRESSIONS[i], &cron, NULL, NULL), "the expression is right", at);
        int64_t next = cron_next(&cron, zone, at), previous = cron_previous(&cron, zone, at);
        check(next == -1 || next > at, "next is later", at);
        check(previous == -1 || previous < at, "previous is earlier", at);
    }
}

/* The first block, with nothing in it, then a second one of one type at offset 0, then the rule. */
static void make_file(struct buf *b, const unsigned char *rule, size_t len)
{
    static const unsigned char HEADER[44] = {'T', 'Z', 'i', 'f', '2', [39] = 1, [43] = 1};
    for (int i = 0; i < 2; i++) {
        buf_add(b, HEADER, sizeof HEADER);
        buf_add(b, "\0\0\0\0\0\0\0", 7);
    }
    buf_add_byte(b, '\n');
    buf_add(b, rule, len);
    buf_add_byte(b, '\n');
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const int64_t INSTANTS[] = {INT64_MIN,  INT64_MAX,  0,          -1,          -4000000000,
                                       1000000000, 1743292800, 4102444800, 250000000000};
    struct buf file = {0};
    if (size && *data == 'R')
        make_file(&file, data + 1, size - 1);
    struct zone *zone =
        file.len ? zone_parse("Any/Bytes", file.data, file.len, NULL) : zone_parse("Any/Bytes", data, size, NULL);
    buf_fini(&file);
    if (!zone)
        return 0;
    for (size_t i = 0; i < sizeof INSTANTS / sizeof *INSTANTS; i++)
        check_instant(zone, INSTANTS[i]);
    for (size_t i = 0; i < zone->jump_count && i < 20; i++)
        check_instant(zone, zone->jumps[i].at_s);
    for (int day = 0; day < 400; day += 7)
        check_instant(zone, 2000000000 + day * 86400ll);
    check_searches(zone, 1000000000);
    check_searches(zone, 4102444800);
    zone_free(zone);
    return 0;
}
