/* SPDX-License-Identifier: Apache-2.0 */
/* A node's configuration: the environment that `lineshaft up` and `lineshaft node` make. */
#include <jansson.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/node_inside.h"
#include "lib/xmem.h"

#define DRAIN_DEFAULT_MS 8000
#define DRAIN_MAX_MS 3600000
#define HB_DEFAULT_MS 5000
#define HB_MIN_MS 1000
#define HB_MAX_MS 60000
#define OPTIONS_VARIABLE "LINESHAFT_OPTIONS"

static int read_ms(const char *variable, int64_t fallback, int64_t min, int64_t max, int64_t *ms, struct ls_error *err)
{
    const char *text = getenv(variable);
    char *end;
    *ms = fallback;
    if (!text || !*text)
        return 0;
    *ms = strtoll(text, &end, 10);
    if (end == text || *end || *ms < min || *ms > max)
        return error_set(err, "CONFIG", "%s is \"%.40s\"; it takes milliseconds, %lld to %lld", variable, text, (long long) min,
                         (long long) max);
    return 0;
}

static int wrong(const char *key, const char *takes, struct ls_error *err)
{
    return error_set(err, "CONFIG", OPTIONS_VARIABLE ": \"%s\" must be %s", key, takes);
}

/* ---- keys of the JSON object ---- */

static int read_number(const json_t *object, const char *key, int64_t fallback, int64_t *number, struct ls_error *err)
{
    const json_t *value = json_object_get(object, key);
    *number = value ? json_integer_value(value) : fallback;
    if (value && (!json_is_integer(value) || *number < 0 || *number > UINT32_MAX))
        return wrong(key, "a whole number", err);
    return 0;
}

/* The texts of a list, NULL-terminated; *texts stays NULL if it is absent or empty. */
static int read_texts(const json_t *object, const char *key, char ***texts, struct ls_error *err)
{
    const json_t *list = json_object_get(object, key);
    size_t count = json_array_size(list);
    if (list && !json_is_array(list))
        return wrong(key, "a list of topics", err);
    if (!count)
        return 0;
    *texts = xcalloc(count + 1, sizeof **texts);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item))
            return wrong(key, "a list of topics", err);
        (*texts)[i] = xstrdup(json_string_value(item));
    }
    return 0;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

/* A variable, or else the key that says the same. */
static char *variable_or_key(const char *variable, const json_t *object, const char *key)
{
    const char *text = getenv(variable);
    if (!text || !*text)
        text = json_string_value(json_object_get(object, key));
    return text && *text ? xstrdup(text) : NULL;
}

static int read_options(struct node_config *config, const struct kind *kind, const json_t *object, struct ls_error *err)
{
    const json_t *options = json_object_get(object, "options");
    char *text = options ? json_dumps(options, JSON_ENCODE_ANY) : NULL;
    struct kind_problem problem = {0};
    config->options = xcalloc(1, kind->options_size ? kind->options_size : 1);
    int rc = kind_options_read(kind, text ? text : "{}", config->options, err);
    free(text);
    if (rc)
        return error_wrap(err, OPTIONS_VARIABLE);
    if (!kind->check || kind->check(config->options, &problem))
        return 0;
    return error_set(err, "CONFIG", "%s%s%.290s%s%.290s", problem.option ? problem.option : "", problem.option ? ": " : "",
                     problem.text, problem.hint[0] ? "; " : "", problem.hint);
}

static int read_object(struct node_config *config, const struct kind *kind, const json_t *object, struct ls_error *err)
{
    char **takes = NULL;
    int rc = read_texts(object, "takes", &takes, err);
    config->name = variable_or_key("LINESHAFT_NODE", object, "node");
    config->member = variable_or_key("LINESHAFT_MEMBER", object, "node");
    if (takes)
        config->consumer = variable_or_key("LINESHAFT_CONSUMER", object, "consumer");
    bool no_consumer = takes && !config->consumer;
    free_texts(takes);
    if (rc)
        return -1;
    if (!config->name || !config->member)
        return error_set(err, "CONFIG", "LINESHAFT_NODE, the node's name, is not set");
    if (no_consumer)
        return error_set(err, "CONFIG", "LINESHAFT_CONSUMER is not set, but the node takes events");
    if (read_texts(object, "serves", &config->serves, err) || read_number(object, "window", 0, &config->window, err) ||
        read_number(object, "slots", kind->slots ? kind->slots : 1, &config->slots, err))
        return -1;
    return read_options(config, kind, object, err);
}

int node_config_read(struct node_config *config, const struct kind *kind, struct ls_error *err)
{
    const char *text = getenv(OPTIONS_VARIABLE);
    json_error_t error;
    if (!text)
        return error_set(err, "CONFIG", OPTIONS_VARIABLE " is not set: a node is started by `lineshaft up` or `lineshaft node`, "
                         "which put its configuration into its environment");
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    int rc = json_is_object(object)
                 ? read_object(config, kind, object, err)
                 : error_set(err, "CONFIG", OPTIONS_VARIABLE " is no JSON object: %s; a node is started by `lineshaft up` or "
                             "`lineshaft node`, which write it", object ? "it is a list" : error.text);
    json_decref(object);
    if (rc || read_ms("LINESHAFT_DRAIN_MS", DRAIN_DEFAULT_MS, 0, DRAIN_MAX_MS, &config->drain_ms, err) ||
        read_ms("LINESHAFT_HB_MS", HB_DEFAULT_MS, HB_MIN_MS, HB_MAX_MS, &config->hb_ms, err))
        return -1;
    return 0;
}

void node_config_free(struct node_config *config, const struct kind *kind)
{
    if (config->options)
        kind_options_free(kind, config->options);
    free(config->options);
    free_texts(config->serves);
    free(config->name);
    free(config->member);
    free(config->consumer);
    *config = (struct node_config){0};
}
