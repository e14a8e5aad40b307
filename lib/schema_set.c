/* SPDX-License-Identifier: Apache-2.0 */
/* The schemas of a broker: a hash by exact topic, then a short list of patterns. */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/builtin_schemas.h"
#include "lib/error.h"
#include "lib/file.h"
#include "lib/mp.h"
#include "lib/schema.h"
#include "lib/topic.h"
#include "lib/xmem.h"

#define FILE_MAX (1u << 20)

struct entry {
    char *topic;
    size_t len;
    struct schema *schema;
};

struct schema_set {
    struct entry *slots; /* open hash over exact topics; power of two, at most half full; a NULL topic is free */
    size_t slot_count, used;
    struct entry *patterns;
    size_t pattern_count, pattern_room;
};

static uint32_t hash(const char *text, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t) text[i]) * 16777619u;
    return h;
}

static struct entry *slot_of(const struct schema_set *set, const char *topic, size_t len)
{
    size_t i = hash(topic, len) & (set->slot_count - 1);
    while (set->slots[i].topic && (set->slots[i].len != len || memcmp(set->slots[i].topic, topic, len)))
        i = (i + 1) & (set->slot_count - 1);
    return &set->slots[i];
}

static void grow_slots(struct schema_set *set)
{
    struct entry *old = set->slots;
    size_t count = set->slot_count;
    set->slot_count *= 2;
    set->slots = xcalloc(set->slot_count, sizeof *set->slots);
    for (size_t i = 0; i < count; i++)
        if (old[i].topic)
            *slot_of(set, old[i].topic, old[i].len) = old[i];
    free(old);
}

struct schema_set *schema_set_new(void)
{
    struct schema_set *set = xcalloc(1, sizeof *set);
    set->slot_count = 64;
    set->slots = xcalloc(set->slot_count, sizeof *set->slots);
    return set;
}

static void free_entries(struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(entries[i].topic);
        schema_destroy(&entries[i].schema);
    }
    free(entries);
}

void schema_set_destroy(struct schema_set **set)
{
    if (!*set)
        return;
    free_entries((*set)->slots, (*set)->slot_count);
    free_entries((*set)->patterns, (*set)->pattern_count);
    free(*set);
    *set = NULL;
}

static struct entry *require_pattern(struct schema_set *set, const char *pattern)
{
    for (size_t i = 0; i < set->pattern_count; i++)
        if (!strcmp(set->patterns[i].topic, pattern))
            return &set->patterns[i];
    set->patterns = xgrow(set->patterns, &set->pattern_room, set->pattern_count + 1, sizeof *set->patterns);
    set->patterns[set->pattern_count] = (struct entry){0};
    return &set->patterns[set->pattern_count++];
}

static struct entry *require_topic(struct schema_set *set, const char *topic, size_t len)
{
    struct entry *entry = slot_of(set, topic, len);
    if (entry->topic)
        return entry;
    if (2 * ++set->used <= set->slot_count)
        return entry;
    grow_slots(set);
    return slot_of(set, topic, len);
}

int schema_set_add(struct schema_set *set, const char *topic, struct schema **schema, struct ls_error *err)
{
    size_t len = strlen(topic);
    if (!topic_pattern_valid(topic, len))
        return error_set(err, "CONFIG", "\"%.*s\" is not a topic: use lower-case words joined by dots, such as run.metric",
                         TOPIC_LEN_MAX, topic);
    struct entry *entry = topic_valid(topic, len) ? require_topic(set, topic, len) : require_pattern(set, topic);
    if (!entry->topic)
        *entry = (struct entry){.topic = xstrdup(topic), .len = len};
    schema_destroy(&entry->schema);
    entry->schema = *schema;
    *schema = NULL;
    return 0;
}

const struct schema *schema_set_find(const struct schema_set *set, const char *topic, size_t len)
{
    const struct entry *entry = slot_of(set, topic, len);
    if (entry->topic)
        return entry->schema;
    for (size_t i = 0; i < set->pattern_count; i++)
        if (topic_match(set->patterns[i].topic, set->patterns[i].len, topic, len))
            return set->patterns[i].schema;
    return NULL;
}

static int add_text(struct schema_set *set, const char *topic, struct mp_slice text, const char *origin,
                    struct ls_error *err)
{
    struct schema *schema = schema_parse(text.data, text.len, origin, err);
    if (!schema)
        return -1;
    if (schema_set_add(set, topic, &schema, err)) {
        schema_destroy(&schema);
        return error_wrap(err, "%s", origin);
    }
    return 0;
}

int schema_set_add_builtin(struct schema_set *set, struct ls_error *err)
{
    for (const struct builtin_schema *b = BUILTIN_SCHEMAS; b->topic; b++)
        if (add_text(set, b->topic, (struct mp_slice){b->text, strlen(b->text)}, b->origin, err))
            return -1;
    return 0;
}

static int add_file(struct schema_set *set, const char *folder, const char *name, struct ls_error *err)
{
    char *path = xasprintf("%s/%s", folder, name);
    char *topic = xstrndup(name, strlen(name) - strlen(".yaml"));
    struct buf text = {0};
    int bad = file_load(path, FILE_MAX, &text) && errno != EFBIG /* which schema_parse refuses */
                  ? error_set(err, "SYSTEM", "%s: %s", path, file_problem(errno))
                  : add_text(set, topic, (struct mp_slice){buf_text(&text), text.len}, path, err);
    buf_fini(&text);
    free(topic);
    free(path);
    return bad ? -1 : 0;
}

static int is_schema_file(const struct dirent *item)
{
    size_t len = strlen(item->d_name);
    return len > 5 && item->d_name[0] != '.' && !strcmp(item->d_name + len - 5, ".yaml");
}

int schema_set_add_folder(struct schema_set *set, const char *folder, struct ls_error *err)
{
    struct dirent **items;
    int count = scandir(folder, &items, is_schema_file, alphasort);
    if (count < 0)
        return error_set(err, "SYSTEM", "the schema folder %s: %s", folder, strerror(errno));
    int bad = 0;
    for (int i = 0; i < count; i++) {
        bad = bad ? bad : add_file(set, folder, items[i]->d_name, err);
        free(items[i]);
    }
    free(items);
    return bad;
}
