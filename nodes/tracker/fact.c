/* SPDX-License-Identifier: Apache-2.0 */
/* Facts: the table of topics, and reading a fact's body. */
#include "nodes/tracker/fact.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/utf8.h"

const char *const FACT_STAGES[] = {"active", "deleted", NULL};
const char *const FACT_STATUSES[] = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", NULL};

static const struct {
    const char *topic;
    fact_fn *fn;
} FACTS[] = {
    {"run.metric", fact_run_metric}, /* the most frequent ones first */
    {"run.param", fact_run_param},
    {"run.tag", fact_run_tag},
    {"run.created", fact_run_created},
    {"run.updated", fact_run_updated},
    {"run.deleted", fact_run_deleted},
    {"run.input", fact_run_input},
    {"run.output", fact_run_output},
    {"chat.completed", chat_completed},
    {"chat.feedback", chat_feedback},
    {"chat.failed", chat_failed},
    {"chat.cancelled", chat_cancelled},
    {"experiment.created", fact_experiment_created},
    {"experiment.updated", fact_experiment_updated},
    {"model.registered", fact_model_registered},
    {"model.updated", fact_model_updated},
    {"model.deleted", fact_model_deleted},
    {"model.version.created", fact_version_created},
    {"model.version.updated", fact_version_updated},
    {"model.alias.set", fact_alias_set},
    {"model.alias.deleted", fact_alias_deleted},
    {"model.logged", fact_logged_created},
    {"model.logged.updated", fact_logged_updated},
    {"task.failed", fact_try_failed},
    {"task.retrying", fact_try_failed},
};

int fact_apply(struct tracker *t, const char *topic, const json_t *body, int64_t time_ms, struct ls_error *err)
{
    struct fact f = {.t = t, .topic = topic, .body = body, .time_ms = time_ms, .err = err};
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        if (strcmp(FACTS[i].topic, topic) != 0)
            continue;
        if (!json_is_object(body))
            return fact_wrong(&f, "the body is no object");
        ++*node_metric(t->node, METRIC_FACTS);
        return FACTS[i].fn(&f) < 0 || f.wrong ? -1 : 1;
    }
    return 0;
}

void tracker_mend(char *text)
{
    size_t len = strlen(text), size, to = 0;
    uint32_t code;
    for (size_t from = 0; from < len; from += size ? size : 1) {
        size = utf8_next((const uint8_t *) text + from, len - from, &code);
        memmove(text + to, text + from, size);
        to += size;
    }
    text[to] = '\0';
}

int fact_wrong(struct fact *f, const char *format, ...)
{
    char text[300];
    va_list args;
    if (f->wrong)
        return -1;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->wrong = true;
    tracker_mend(text);
    return error_set(f->err, "BAD_VALUE", "%s: %s", f->topic, text);
}

/* ---- fields ---- */

size_t fact_chars(struct ls_slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((uint8_t) text.data[i] & 0xc0) != 0x80;
    return count;
}

static const json_t *field(const struct fact *f, const char *key)
{
    const json_t *value = json_object_get(f->body, key);
    return json_is_null(value) ? NULL : value;
}

bool fact_has(const struct fact *f, const char *key)
{
    return field(f, key) != NULL;
}

struct db_value fact_text(struct fact *f, const char *key, size_t most)
{
    const json_t *value = field(f, key);
    if (!value)
        return db_null();
    if (!json_is_string(value)) {
        fact_wrong(f, "\"%s\" must be a text", key);
        return db_null();
    }
    struct ls_slice text = {json_string_value(value), json_string_length(value)};
    if (text.len > most && fact_chars(text) > most)
        fact_wrong(f, "\"%s\" has %zu characters; MLflow's tables have room for %zu", key, fact_chars(text), most);
    return db_slice(text);
}

struct db_value fact_need(struct fact *f, const char *key, size_t most)
{
    struct db_value value = fact_text(f, key, most);
    if (value.type == DB_NULL || !value.text.len)
        fact_wrong(f, "\"%s\" is missing or empty", key);
    return value.type == DB_NULL ? db_text("") : value;
}

struct db_value fact_id(struct fact *f, const char *key, size_t most)
{
    struct db_value id = fact_need(f, key, most);
    for (size_t i = 0; i < id.text.len; i++) {
        char c = id.text.data[i];
        if (!isalnum((unsigned char) c) && (i == 0 || (c != '_' && c != '-')))
            fact_wrong(f, "\"%s\" may have ASCII letters, digits, _ and -, and begins with a letter or digit", key);
    }
    return id;
}

struct db_value fact_or(struct fact *f, const char *key, size_t most, const char *fallback)
{
    struct db_value value = fact_text(f, key, most);
    return value.type == DB_NULL ? db_text(fallback) : value;
}

struct db_value fact_word(struct fact *f, const char *key, const char *const *words)
{
    struct db_value value = fact_text(f, key, 40);
    if (value.type == DB_NULL)
        return value;
    for (; *words; words++)
        if (ls_slice_is(value.text, *words))
            return value;
    fact_wrong(f, "\"%s\" is \"%.*s\", which MLflow does not know", key, (int) value.text.len, value.text.data);
    return value;
}

static bool read_int(const json_t *value, int64_t *number)
{
    const char *text = json_string_value(value);
    char *end;
    if (json_is_integer(value)) {
        *number = json_integer_value(value);
        return true;
    }
    if (!text || !*text || strlen(text) > 20 || strspn(text, "-0123456789") != strlen(text))
        return false;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return *end == '\0' && !errno;
}

int64_t fact_int(struct fact *f, const char *key, int64_t fallback)
{
    const json_t *value = field(f, key);
    int64_t number = fallback;
    if (value && !read_int(value, &number))
        fact_wrong(f, "\"%s\" must be a whole number", key);
    return number;
}

struct db_value fact_int_or_null(struct fact *f, const char *key)
{
    return fact_has(f, key) ? db_int(fact_int(f, key, 0)) : db_null();
}

struct db_value fact_time(struct fact *f, const char *key)
{
    int64_t time = fact_int(f, key, f->time_ms);
    if (time < 0)
        fact_wrong(f, "\"%s\" must be milliseconds since 1970", key);
    return db_int(time);
}

int64_t fact_experiment(struct fact *f, const char *key, int64_t fallback)
{
    int64_t id = fact_int(f, key, fallback);
    if (id < 0 || id > INT32_MAX)
        fact_wrong(f, "\"%s\" is no number of an experiment", key);
    return id;
}

/* ---- values of parameters and tags ---- */

/* Up to `most` characters of it: MLflow, too, cuts rather than refuses what was measured. */
static struct ls_slice cut(struct ls_slice text, size_t most)
{
    if (text.len <= most)
        return text;
    size_t i = 0;
    for (; i < text.len; i++)
        if (((uint8_t) text.data[i] & 0xc0) != 0x80 && most-- == 0)
            break;
    text.len = i;
    return text;
}

struct db_value fact_value(const json_t *value, size_t most, char room[FACT_ROOM])
{
    struct buf text = {0};
    if (!value || json_is_null(value))
        return db_null();
    if (json_is_string(value))
        return db_slice(cut(ls_bytes(json_string_value(value), json_string_length(value)), most));
    if (json_is_object(value) || json_is_array(value))
        return db_text("");
    node_write(&text, value);
    snprintf(room, FACT_ROOM, "%s", buf_text(&text));
    buf_fini(&text);
    return db_text(room);
}

int fact_each_tag(struct fact *f, struct db_value owner, const struct fact_tags *tags)
{
    const json_t *object = field(f, tags->field);
    const char *key;
    json_t *value;
    char room[FACT_ROOM];
    if (object && !json_is_object(object))
        return fact_wrong(f, "\"%s\" must be an object", tags->field);
    json_object_foreach((json_t *) (uintptr_t) object, key, value)
    {
        if (!*key || fact_chars(ls_str(key)) > tags->key_most)
            return fact_wrong(f, "a key in \"%s\" is empty or has more than %zu characters", tags->field,
                              tags->key_most);
        if (tags->fn(f, owner, db_text(key), fact_value(value, tags->value_most, room)))
            return -1;
    }
    return 0;
}
