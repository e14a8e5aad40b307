/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_ZONE_H
#define WORKFLOW_ZONE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lineshaft.h"

/* IANA time zones, read from TZif files (RFC 8536, versions 1 to 4, with the footer's POSIX rule for years behind the
 * table) below $TZDIR or /usr/share/zoneinfo. glibc has no zones by name that are safe to use beside each other. No
 * leap seconds. */

struct zone;

/* zone_open: "Europe/Berlin", "UTC" (needs no file). NULL with BAD_VALUE for a name that is not there (with the
 * nearest, if one is near) or a path that leaves the folder, CORRUPT for a file that is none. Zones are shared by
 * name and live until zone_close of each opener. */
const struct zone *zone_open(const char *name, struct ls_error *err);
void zone_close(const struct zone *zone);
const char *zone_name(const struct zone *zone);

/* Civil time, proleptic Gregorian. */
struct civil {
    int year, month, day;     /* month and day from 1 */
    int hour, minute, second;
    int weekday;              /* 0 Sunday; zone_local fills it, zone_instants ignores it */
};
/* zone_local: civil time and offset (seconds east of UTC) at an instant. */
int zone_local(const struct zone *zone, int64_t instant_s, struct civil *civil);
/* zone_instants finds the instants of a civil time: 1, 2 in an overlap (earlier first), 0 in a gap: then instants[0]
 * is the civil time moved forward by the length of the gap, instants[1] the instant of the jump. */
int zone_instants(const struct zone *zone, const struct civil *civil, int64_t instants[2]);

/* zone_span: the stretch of time around an instant in which the offset stays the same, [from_s, until_s); INT64_MIN
 * and INT64_MAX where it has no end. */
struct zone_span {
    int64_t from_s, until_s;
    int offset, offset_before; /* offset_before: just before from_s */
};
void zone_span(const struct zone *zone, int64_t instant_s, struct zone_span *span);

/* Days since 1970-01-01 and back (proleptic Gregorian calendar). */
int64_t civil_days(int year, int month, int day);
void civil_from_days(int64_t days, struct civil *civil);

#endif
