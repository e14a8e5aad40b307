/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_ZONE_INSIDE_H
#define WORKFLOW_ZONE_INSIDE_H
#include "workflow/zone.h"

/* What the files of zones share: the table of a TZif file, and the POSIX rule behind it. */

#define ZONE_OFFSET_MAX 93599 /* RFC 8536, 3.2: offsets are between -89999 and 93599 */
#define ZONE_OFFSET_MIN (-89999)

/* A day of the year and a time of it, when clocks change. */
struct zone_change {
    enum { CHANGE_JULIAN, CHANGE_DAY, CHANGE_WEEKDAY } form; /* Jn (29 February never counts), n (from 0), Mm.w.d */
    int month, week, day;
    int time_s; /* local time before the change; from -167 to 167 hours */
};

struct zone_rule {
    int offset, summer_offset; /* seconds east */
    bool has_summer;
    struct zone_change start, end; /* of summer time */
};

/* zone_rule_parse reads the TZ text of POSIX with the extensions of RFC 8536, 3.3.1; false if it is malformed. */
bool zone_rule_parse(const char *text, struct zone_rule *rule);
/* zone_rule_span: as zone_span, by the rule alone. */
void zone_rule_span(const struct zone_rule *rule, int64_t instant_s, struct zone_span *span);

struct zone_jump {
    int64_t at_s;
    int offset; /* from at_s on */
};

struct zone {
    struct zone *next; /* in the list of open zones */
    char *name;
    size_t users;
    int first_offset; /* before the first jump */
    struct zone_jump *jumps;
    size_t jump_count;
    bool has_rule;
    int64_t rule_from_s; /* the rule holds from here on */
    struct zone_rule rule;
};

/* zone_parse makes a zone of a TZif file's bytes, whatever they are: NULL with CORRUPT, or BAD_VALUE for a file that
 * counts leap seconds. */
struct zone *zone_parse(const char *name, const uint8_t *bytes, size_t len, struct ls_error *err);
void zone_free(struct zone *zone);

#endif
