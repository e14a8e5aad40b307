/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones and cron expressions as a filter, for tests in other languages. One command a line, one answer a line:
 *   Z <zone>                                          -> ok | bad <why>    the zone of what follows
 *   I <instant>                                       -> <offset> <year> <month> <day> <hour> <minute> <second> <weekday, 0 Sunday>
 *   C <year> <month> <day> <hour> <minute> <second>   -> <count> <instant> <instant>
 *   N <instant> <count> <expression>                  -> the next instants | bad <why>
 *   P <instant> <count> <expression>                  -> the previous ones, newest first | bad <why> */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workflow/cron.h"

static void answer_instant(const struct zone *zone, const char *line)
{
    struct civil c;
    int offset = zone_local(zone, strtoll(line, NULL, 10), &c);
    printf("%d %d %d %d %d %d %d %d\n", offset, c.year, c.month, c.day, c.hour, c.minute, c.second, c.weekday);
}

static void answer_civil(const struct zone *zone, const char *line)
{
    struct civil c = {0};
    int64_t instants[2];
    if (sscanf(line, "%d %d %d %d %d %d", &c.year, &c.month, &c.day, &c.hour, &c.minute, &c.second) != 6) {
        puts("bad line");
        return;
    }
    int count = zone_instants(zone, &c, instants);
    printf("%d %" PRId64 " %" PRId64 "\n", count, instants[0], instants[1]);
}

static void answer_cron(const struct zone *zone, const char *line, bool forward)
{
    struct ls_error err = {0};
    struct cron cron;
    char *expression;
    int64_t at = strtoll(line, &expression, 10);
    long count = strtol(expression, &expression, 10);
    if (cron_parse(expression + (*expression == ' '), &cron, NULL, &err)) {
        printf("bad %s\n", err.text);
        return;
    }
    for (; count > 0 && at >= 0; count--) {
        at = forward ? cron_next(&cron, zone, at) : cron_previous(&cron, zone, at);
        printf("%" PRId64 "%s", at, count > 1 && at >= 0 ? " " : "");
    }
    putchar('\n');
}

int main(void)
{
    struct ls_error err = {0};
    const struct zone *zone = zone_open("UTC", &err);
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    while ((len = getline(&line, &room, stdin)) > 2) {
        line[len - 1] = '\0';
        if (line[0] == 'Z') {
            const struct zone *other = zone_open(line + 2, &err);
            zone_close(other ? zone : NULL);
            zone = other ? other : zone;
            printf("%s%s\n", other ? "ok" : "bad ", other ? "" : err.text);
        } else if (line[0] == 'I') {
            answer_instant(zone, line + 2);
        } else if (line[0] == 'C') {
            answer_civil(zone, line + 2);
        } else {
            answer_cron(zone, line + 2, line[0] == 'N');
        }
        fflush(stdout);
    }
    free(line);
    zone_close(zone);
    return 0;
}
