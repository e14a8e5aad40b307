/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a TZif file (RFC 8536 and, for version 4, RFC 9636). Nothing in them is trusted. */
#include "workflow/zone_inside.h"

#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define HEADER_BYTES 44
#define FOOTER_MAX 100

struct block {
    const uint8_t *at; /* behind the header */
    uint32_t ut_count, standard_count, leap_count, jump_count, type_count, letter_count;
    size_t time_bytes; /* 4 in the first block, 8 in the second */
    size_t len;
};

static uint32_t big32(const uint8_t *at)
{
    return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static int64_t big_time(const uint8_t *at, size_t bytes)
{
    return bytes == 4 ? (int64_t) (int32_t) big32(at) : (int64_t) ((uint64_t) big32(at) << 32 | big32(at + 4));
}

static bool read_block(const uint8_t *bytes, size_t len, size_t time_bytes, struct block *block)
{
    if (len < HEADER_BYTES || memcmp(bytes, "TZif", 4) != 0)
        return false;
    *block = (struct block){bytes + HEADER_BYTES, big32(bytes + 20), big32(bytes + 24),
                            big32(bytes + 28),    big32(bytes + 32), big32(bytes + 36),
                            big32(bytes + 40),    time_bytes,        0};
    uint64_t need = (uint64_t) block->jump_count * (time_bytes + 1) + (uint64_t) block->type_count * 6 +
                    block->letter_count + (uint64_t) block->leap_count * (time_bytes + 4) + block->standard_count +
                    block->ut_count;
    if (need > len - HEADER_BYTES || block->type_count == 0 || block->type_count > 256)
        return false;
    block->len = HEADER_BYTES + (size_t) need;
    return true;
}

/* The offset of local time type `index`; false if there is none, or it is beyond what RFC 8536 allows. */
static bool type_offset(const struct block *block, size_t index, int *offset)
{
    if (index >= block->type_count)
        return false;
    *offset = (int32_t) big32(block->at + block->jump_count * (block->time_bytes + 1) + index * 6);
    return *offset >= ZONE_OFFSET_MIN && *offset <= ZONE_OFFSET_MAX;
}

/* Only jumps that change the offset are kept: names and whether it is summer time do not matter here. */
static bool read_jumps(const struct block *block, struct zone *zone)
{
    const uint8_t *types = block->at + block->jump_count * block->time_bytes;
    int64_t last = INT64_MIN;
    if (!type_offset(block, 0, &zone->first_offset))
        return false;
    int offset = zone->first_offset;
    zone->jumps = xcalloc(block->jump_count + (size_t) 1, sizeof *zone->jumps);
    zone->rule_from_s = INT64_MIN;
    for (size_t i = 0; i < block->jump_count; i++) {
        struct zone_jump jump = {.at_s = big_time(block->at + i * block->time_bytes, block->time_bytes)};
        if ((i && jump.at_s <= last) || !type_offset(block, types[i], &jump.offset))
            return false;
        last = zone->rule_from_s = jump.at_s;
        if (jump.offset != offset)
            zone->jumps[zone->jump_count++] = jump;
        offset = jump.offset;
    }
    return true;
}

/* "\n" TZ "\n"; an empty TZ says that nothing is known about later years. */
static bool read_footer(const uint8_t *bytes, size_t len, struct zone *zone)
{
    char text[FOOTER_MAX + 1];
    if (len < 2 || bytes[0] != '\n')
        return false;
    const uint8_t *end = memchr(bytes + 1, '\n', len - 1);
    size_t text_len = end ? (size_t) (end - bytes - 1) : SIZE_MAX;
    if (text_len > FOOTER_MAX || memchr(bytes + 1, 0, text_len))
        return false;
    memcpy(text, bytes + 1, text_len);
    text[text_len] = '\0';
    zone->has_rule = text_len > 0;
    return !zone->has_rule || zone_rule_parse(text, &zone->rule);
}

static bool read_zone(const uint8_t *bytes, size_t len, struct zone *zone, bool *leaps)
{
    struct block block;
    if (!read_block(bytes, len, 4, &block))
        return false;
    bool wide = bytes[4] >= '2'; /* from version 2 on everything comes again with 64-bit times */
    if (wide) {
        bytes += block.len;
        len -= block.len;
        if (!read_block(bytes, len, 8, &block))
            return false;
    }
    *leaps = block.leap_count > 0;
    return !*leaps && read_jumps(&block, zone) && (!wide || read_footer(bytes + block.len, len - block.len, zone));
}

struct zone *zone_parse(const char *name, const uint8_t *bytes, size_t len, struct ls_error *err)
{
    struct zone *zone = xcalloc(1, sizeof *zone);
    bool leaps = false;
    zone->name = xstrdup(name);
    if (read_zone(bytes, len, zone, &leaps))
        return zone;
    if (leaps)
        error_set(err, "BAD_VALUE",
                  "the time zone \"%s\" counts leap seconds, which clocks of computers do not: use the one without "
                  "\"right/\"",
                  name);
    else
        error_set(err, "CORRUPT",
                  "the file of the time zone \"%s\" is not a TZif file (RFC 8536) or is damaged: install tzdata again",
                  name);
    zone_free(zone);
    return NULL;
}

void zone_free(struct zone *zone)
{
    free(zone->jumps);
    free(zone->name);
    free(zone);
}
