/* SPDX-License-Identifier: Apache-2.0 */
/* Lines, summary and config in W&B's form (docs/decisions/040). */
#include "nodes/wandb/rows.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "lib/json.h"
#include "lib/node.h"
#include "lib/xmem.h"

#define ROW_BYTES_MAX (1u << 20)
#define SUMMARY_BYTES_MAX (2u << 20) /* a request holds it with every escape, beside lines */
#define PROJECT_MAX 128
#define RUN_MAX 64
#define LABEL_MAX 64

/* ---- a row that gathers ---- */

void row_clear(struct row *row)
{
    buf_clear(&row->text);
    map_fini(&row->keys);
    row->count = 0;
    row->at_ms = 0;
}

void row_fini(struct row *row)
{
    buf_fini(&row->text);
    map_fini(&row->keys);
    *row = (struct row){0};
}

/* Two names with one hash only cost a row of their own. */
static uint64_t hash_of(const char *key)
{
    return XXH3_64bits(key, strlen(key));
}

bool row_fits(const struct row *row, const char *column, int64_t step)
{
    return !row->count || (row->step == step && row->text.len < ROW_BYTES_MAX && !map_get(&row->keys, hash_of(column)));
}

/* Names that W&B or we give to columns of our own. */
static bool is_reserved(const char *key)
{
    static const char *const NAMES[] = {"_step", "_timestamp", "_runtime", "_wandb", ROW_AXIS, NULL};
    for (size_t i = 0; NAMES[i]; i++)
        if (strcmp(NAMES[i], key) == 0)
            return true;
    return false;
}

char *row_column(const char *key)
{
    return is_reserved(key) ? xasprintf("metric/%s", key) : xstrdup(key);
}

void row_add(struct row *row, const char *column, const char *value)
{
    if (row->text.len)
        buf_add_byte(&row->text, ',');
    json_put_text(&row->text, column);
    buf_addf(&row->text, ":%s", value);
    map_put(&row->keys, hash_of(column), row);
    row->count++;
}

/* ---- texts ---- */

void row_put_time(struct buf *out, int64_t ms)
{
    buf_addf(out, "%lld.%03d", (long long) (ms / 1000), (int) (ms % 1000));
}

void row_line(struct buf *out, struct ls_slice text, const struct row_place *place)
{
    buf_add_byte(out, '{');
    buf_add(out, text.data, text.len);
    buf_addf(out, "%s\"_step\":%lld", text.len ? "," : "", (long long) place->step);
    if (place->has_axis)
        buf_addf(out, ",\"" ROW_AXIS "\":%lld", (long long) place->axis);
    buf_add_byte(out, '}');
}

void row_summary(struct buf *out, const json_t *latest, const struct row_last *last)
{
    int64_t runtime = last->at_ms > last->started_ms ? last->at_ms - last->started_ms : 0;
    const char *key;
    json_t *pair;
    buf_add_byte(out, '{');
    json_object_foreach((json_t *) (uintptr_t) latest, key, pair)
    {
        if (out->len > SUMMARY_BYTES_MAX)
            break;
        json_put_text(out, key);
        buf_addf(out, ":%s,", json_string_value(json_array_get(pair, 1)));
    }
    buf_addf(out, "\"_step\":%lld,\"_timestamp\":", (long long) last->step);
    row_put_time(out, last->at_ms);
    buf_addf(out, ",\"_runtime\":");
    row_put_time(out, runtime);
    buf_addf(out, ",\"_wandb\":{\"runtime\":%lld}}", (long long) (runtime / 1000));
}

/* Metrics as protobuf's field numbers: 1 name, 5 the axis' place in the list, 6 options (1 in step with it, 3 said by somebody).
 * `t`, telemetry, tells W&B's own client that the run has begun: without it a resume would start at line 0. */
static void put_own(struct buf *out, const json_t *axes)
{
    size_t i;
    const json_t *key;
    buf_addf(out, "\"_wandb\":{\"value\":{\"t\":{\"1\":[1]},\"m\":[");
    if (json_array_size(axes))
        buf_addf(out, "{\"1\":\"" ROW_AXIS "\",\"6\":[3]}");
    json_array_foreach(axes, i, key)
    {
        buf_addf(out, ",{\"1\":");
        json_put_text(out, json_string_value(key));
        buf_addf(out, ",\"5\":1,\"6\":[1,3]}");
    }
    buf_addf(out, "]}}");
}

void row_config(struct buf *out, const json_t *config, const json_t *axes)
{
    const char *key;
    json_t *value;
    buf_add_byte(out, '{');
    json_object_foreach((json_t *) (uintptr_t) config, key, value)
    {
        if (strcmp(key, "_wandb") == 0)
            continue;
        json_put_text(out, key);
        buf_addf(out, ":{\"value\":");
        node_write(out, value);
        buf_addf(out, "},");
    }
    put_own(out, axes);
    buf_add_byte(out, '}');
}

/* ---- names ---- */

/* Shorter, but not within a character of UTF-8. */
static void cut(char *text, size_t max)
{
    size_t len = strlen(text);
    if (len <= max)
        return;
    for (len = max; len && ((unsigned char) text[len] & 0xc0) == 0x80;)
        len--;
    text[len] = '\0';
}

char *name_project(const char *text)
{
    char *name = xstrdup(*text ? text : "uncategorized");
    cut(name, PROJECT_MAX);
    for (char *at = name; *at; at++)
        if (strchr("/\\#?%:", *at) || iscntrl((unsigned char) *at))
            *at = '-';
    return name;
}

char *name_run(const char *text, int suffix)
{
    struct buf out = {0};
    char *name = xstrdup(text);
    bool changed = strlen(text) > RUN_MAX || !*text;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char) *at) && !strchr("._-", *at)) {
            *at = '-';
            changed = true;
        }
    if (changed)
        cut(name, RUN_MAX - 9);
    buf_addf(&out, "%s", name);
    if (changed) /* what became equal differs by its hash */
        buf_addf(&out, "-%08x", (unsigned) hash_of(text));
    if (suffix > 1)
        buf_addf(&out, "-%d", suffix);
    free(name);
    name = xstrdup(buf_text(&out));
    buf_fini(&out);
    return name;
}

char *name_label(const char *key, const char *value)
{
    char *label = *value ? xasprintf("%s=%s", key, value) : xstrdup(key);
    cut(label, LABEL_MAX);
    return label;
}
