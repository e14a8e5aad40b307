/* SPDX-License-Identifier: Apache-2.0 */
/* Civil time, the zones that are open, and what an instant is called in a zone. The bytes of their files are zone_file.c's. */
#include "workflow/zone.h"

#include <ctype.h>
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "workflow/zone_inside.h"
#include "yaml/diag.h"

#define DAY_S 86400
#define FILE_BYTES_MAX (1 << 20)
#define NAME_MAX_BYTES 100
#define NAMES_MAX 2000
#define INSTANT_MIN (-62135596800) /* 0001-01-01 and the end of 9999, in UTC */
#define INSTANT_MAX 253402300799

/* ---- the calendar ---- */

/* Years begin in March here, so that the leap day is a year's last; 400 of them have 146,097 days. */
int64_t civil_days(int year, int month, int day)
{
    int64_t y = (int64_t) year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void civil_from_days(int64_t days, struct civil *civil)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    *civil = (struct civil){.day = (int) (of_year - (153 * month + 2) / 5 + 1),
                            .month = (int) (month < 10 ? month + 3 : month - 9)};
    civil->year = (int) (year + era * 400 + (civil->month <= 2));
    civil->weekday = (int) ((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */
}

/* ---- an instant's name, and back ---- */

static void table_span(const struct zone *zone, int64_t instant_s, struct zone_span *span)
{
    size_t low = 0, high = zone->jump_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->jumps[middle].at_s <= instant_s)
            low = middle + 1;
        else
            high = middle;
    }
    span->from_s = low ? zone->jumps[low - 1].at_s : INT64_MIN;
    span->until_s = low < zone->jump_count ? zone->jumps[low].at_s : INT64_MAX;
    span->offset = low ? zone->jumps[low - 1].offset : zone->first_offset;
    span->offset_before = low > 1 ? zone->jumps[low - 2].offset : zone->first_offset;
}

static int64_t within_calendar(int64_t instant_s)
{
    return instant_s < INSTANT_MIN ? INSTANT_MIN : instant_s > INSTANT_MAX ? INSTANT_MAX : instant_s;
}

void zone_span(const struct zone *zone, int64_t instant_s, struct zone_span *span)
{
    if (!zone->has_rule || instant_s < zone->rule_from_s) {
        table_span(zone, instant_s, span);
        if (zone->has_rule && span->until_s > zone->rule_from_s)
            span->until_s = zone->rule_from_s;
        return;
    }
    zone_rule_span(&zone->rule, within_calendar(instant_s), span);
    if (instant_s > INSTANT_MAX)
        span->until_s = INT64_MAX;
    if (instant_s < INSTANT_MIN)
        span->from_s = INT64_MIN;
    if (span->from_s < zone->rule_from_s) { /* it began in the table */
        struct zone_span last;
        table_span(zone, zone->rule_from_s - 1, &last);
        span->from_s = zone->rule_from_s;
        span->offset_before = last.offset;
    }
}

int zone_local(const struct zone *zone, int64_t instant_s, struct civil *civil)
{
    struct zone_span span;
    instant_s = within_calendar(instant_s);
    zone_span(zone, instant_s, &span);
    int64_t local = instant_s + span.offset;
    int64_t days = local / DAY_S - (local % DAY_S < 0);
    int second = (int) (local - days * DAY_S);
    civil_from_days(days, civil);
    civil->hour = second / 3600;
    civil->minute = second / 60 % 60;
    civil->second = second % 60;
    return span.offset;
}

/* Every stretch that could hold the civil time is asked whether it does, from the earliest on. */
int zone_instants(const struct zone *zone, const struct civil *civil, int64_t instants[2])
{
    int64_t local = civil_days(civil->year, civil->month, civil->day) * DAY_S + civil->hour * 3600 +
                    civil->minute * 60 + civil->second;
    struct zone_span span = {.until_s = local - ZONE_OFFSET_MAX};
    int count = 0;
    instants[0] = instants[1] = local;
    do {
        zone_span(zone, span.until_s, &span);
        int64_t jump = span.from_s;
        if (count == 0 && jump != INT64_MIN && local >= jump + span.offset_before && local < jump + span.offset) {
            instants[0] = local - span.offset_before;
            instants[1] = jump;
        }
        int64_t at = local - span.offset;
        if (at >= span.from_s && at < span.until_s)
            instants[count++] = at;
    } while (count < 2 && span.until_s <= local - ZONE_OFFSET_MIN);
    return count;
}

/* ---- zones by name ---- */

/* Zones are constant, so that all who ask for a name share one. */
static struct zone *open_zones;
static pthread_mutex_t open_zones_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *zone_folder(void)
{
    const char *folder = getenv("TZDIR");
    return folder && *folder ? folder : "/usr/share/zoneinfo";
}

/* Words of letters, digits and . _ + - joined by slashes; none begins with a dot. */
static bool name_is_safe(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_BYTES || name[len - 1] == '/')
        return false;
    for (size_t i = 0; i < len; i++) {
        bool starts = i == 0 || name[i - 1] == '/';
        if (starts ? !isalnum((unsigned char) name[i]) : !isalnum((unsigned char) name[i]) && !strchr("._+-/", name[i]))
            return false;
    }
    return true;
}

/* Zone names below the folder: "Europe/Berlin", not "posix/...", "zone.tab". */
static char **all_names(const char *folder)
{
    char *const roots[] = {xstrdup(folder), NULL};
    char **names = xcalloc(NAMES_MAX + 1, sizeof *names);
    size_t count = 0, skip = strlen(folder) + 1;
    FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; walk && count < NAMES_MAX && (entry = fts_read(walk));) {
        bool zone_like =
            entry->fts_level == 0 || (isupper((unsigned char) entry->fts_name[0]) && !strchr(entry->fts_name, '.'));
        if (entry->fts_info == FTS_D && (!zone_like || entry->fts_level > 3))
            fts_set(walk, entry, FTS_SKIP);
        else if (entry->fts_info == FTS_F && zone_like && entry->fts_level > 0)
            names[count++] = xstrdup(entry->fts_path + skip);
    }
    if (walk)
        fts_close(walk);
    free(roots[0]);
    return names;
}

/* "berlin" and "europe/berlin" and "Europe/Berln" mean "Europe/Berlin". */
static const char *nearest_name(const char *name, char **names)
{
    char *asked = xstrdup(name);
    const char *found = NULL;
    for (char *at = asked; *at; at++)
        if (*at == ' ')
            *at = '_';
    for (size_t i = 0; names[i] && !found; i++) {
        const char *city = strrchr(names[i], '/');
        if (!strcasecmp(asked, names[i]) || (city && !strcasecmp(asked, city + 1)))
            found = names[i];
    }
    if (!found)
        found = diag_nearest(asked, (const char *const *) names);
    free(asked);
    return found;
}

static void explain_missing(const char *name, struct ls_error *err)
{
    const char *folder = zone_folder();
    char **names = all_names(folder);
    const char *near = nearest_name(name, names);
    if (!names[0])
        error_set(err, "BAD_VALUE", "there are no time zones in %s: install tzdata, or use \"UTC\"", folder);
    else if (near)
        error_set(err, "BAD_VALUE", "there is no time zone \"%s\": did you mean \"%s\"?", name, near);
    else
        error_set(err, "BAD_VALUE",
                  "there is no time zone \"%s\": write an IANA name, such as \"Europe/Berlin\" or \"UTC\"", name);
    for (size_t i = 0; names[i]; i++)
        free(names[i]);
    free(names);
}

/* The length, or -1. A folder ("Europe") is no zone either. */
static ssize_t read_file(const char *path, uint8_t *bytes, size_t room)
{
    struct stat stat;
    ssize_t len = 0, got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, &stat) || !S_ISREG(stat.st_mode))
        got = -1;
    while (got > 0 && (size_t) len < room) {
        got = read(fd, bytes + len, room - (size_t) len);
        len += got > 0 ? got : 0;
    }
    close(fd);
    return got < 0 ? -1 : len;
}

static struct zone *load(const char *name, struct ls_error *err)
{
    struct zone *zone = NULL;
    if (!strcmp(name, "UTC")) {
        zone = xcalloc(1, sizeof *zone);
        zone->name = xstrdup(name);
        return zone;
    }
    if (!name_is_safe(name)) {
        explain_missing(name, err);
        return NULL;
    }
    char *path = xasprintf("%s/%s", zone_folder(), name);
    uint8_t *bytes = xcalloc(1, FILE_BYTES_MAX);
    ssize_t len = read_file(path, bytes, FILE_BYTES_MAX);
    if (len < 0)
        explain_missing(name, err);
    else
        zone = zone_parse(name, bytes, (size_t) len, err);
    free(bytes);
    free(path);
    return zone;
}

const struct zone *zone_open(const char *name, struct ls_error *err)
{
    pthread_mutex_lock(&open_zones_lock);
    struct zone *zone = open_zones;
    while (zone && strcmp(zone->name, name) != 0)
        zone = zone->next;
    if (!zone && (zone = load(name, err))) {
        zone->next = open_zones;
        open_zones = zone;
    }
    if (zone)
        zone->users++;
    pthread_mutex_unlock(&open_zones_lock);
    return zone;
}

void zone_close(const struct zone *zone)
{
    if (!zone)
        return;
    pthread_mutex_lock(&open_zones_lock);
    struct zone **at = &open_zones;
    while (*at && *at != zone)
        at = &(*at)->next;
    struct zone *found = *at;
    if (found && --found->users == 0) {
        *at = found->next;
        zone_free(found);
    }
    pthread_mutex_unlock(&open_zones_lock);
}

const char *zone_name(const struct zone *zone)
{
    return zone->name;
}
