/* SPDX-License-Identifier: Apache-2.0 */
/* What is made from the option tables for readers and editors: Markdown tables and a JSON Schema. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "topology/tables.h"

static void markdown_default(const struct option_def *opt, struct buf *out)
{
    if (opt->flags & OPTION_REQUIRED)
        buf_addf(out, "required");
    else if (opt->fallback && opt->type == OPTION_DURATIONS)
        buf_addf(out, "`[%s]`", opt->fallback);
    else if (opt->fallback)
        buf_addf(out, "`%s`", opt->fallback);
    else
        buf_addf(out, "–");
}

void markdown_cell(const char *text, struct buf *out)
{
    for (; *text; text++)
        buf_addf(out, *text == '|' ? "\\%c" : "%c", *text);
}

static void markdown_rows(const struct option_def *table, const char *prefix, struct buf *out)
{
    for (const struct option_def *opt = table; opt->name; opt++) {
        if (opt->type == OPTION_INLINE) {
            markdown_rows(opt->table, prefix, out);
            continue;
        }
        buf_addf(out, "| `%s%s` | ", prefix, opt->name);
        option_type_text(opt, out);
        buf_addf(out, " | ");
        markdown_default(opt, out);
        buf_addf(out, " | ");
        markdown_cell(opt->help, out);
        buf_addf(out, " |\n");
        if (opt->type == OPTION_GROUP) {
            struct buf inner = {0};
            buf_addf(&inner, "%s%s.", prefix, opt->name);
            markdown_rows(opt->table, buf_text(&inner), out);
            buf_fini(&inner);
        }
    }
}

void options_markdown(const struct option_def *table, struct buf *out)
{
    buf_addf(out, "| option | type | default | meaning |\n|---|---|---|---|\n");
    markdown_rows(table, "", out);
}

static void kinds_markdown(const struct kind *const *kinds, struct buf *out)
{
    buf_addf(out, "### Node kinds\nWhat a node of a built-in kind takes, gives, serves and asks, its options, HTTP routes and "
                  "metrics: `lineshaft help node KIND`, or its page.\n\n| kind | what it is | page |\n|---|---|---|\n");
    for (size_t i = 0; kinds[i]; i++)
        buf_addf(out, "| `%s` | %s | [%s](nodes/%s.md) |\n", kinds[i]->name, kinds[i]->summary, kinds[i]->name,
                 kinds[i]->name);
    buf_addf(out, "| `exec` | %s | [exec](nodes/exec.md) |\n\nThe options of `exec`:\n\n", TOPOLOGY_EXEC_SUMMARY);
    options_markdown(OPTIONS_EXEC, out);
    buf_addf(out, "\n");
}

void topology_options_markdown(const struct kind *const *kinds, struct buf *out)
{
    struct pool pool = {0};
    for (const struct option_section *s = OPTION_SECTIONS; s->path; s++) {
        bool nodes = s->table == OPTIONS_NODE;
        if (*s->path)
            buf_addf(out, "### `%s`\n", s->path);
        else
            buf_addf(out, "### Top level\n");
        buf_addf(out, "%s\n\n", s->help);
        options_markdown(nodes ? node_options(&pool, kinds) : s->table, out);
        buf_addf(out, "\n");
        if (nodes)
            kinds_markdown(kinds, out);
    }
    pool_fini(&pool);
}

#define NAME_REGEX "^[a-z0-9][a-z0-9_-]{0,63}$"
#define SIZE_REGEX "^[0-9]+(B|KiB|MiB|GiB|TiB)?$|[$][{]"
#define HOST_PORT_REGEX ":[0-9]{1,5}$|[$][{]"
#define DURATION_REGEX "^([0-9]+(ms|s|m|h|d))+$|[$][{]"

static json_t *strings_schema(void)
{
    return json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string");
}

static json_t *enum_schema(const struct option_def *opt)
{
    json_t *words = json_array();
    for (size_t i = 0; opt->words[i]; i++)
        json_array_append_new(words, json_string(opt->words[i]));
    return json_pack("{s:[{s:o}, {s:s, s:s}]}", "anyOf", "enum", words, "type", "string", "pattern", "[$][{]");
}

/* A scalar may also be a reference, "${env:NAME}", which only shows its value when the file is loaded. */
static json_t *int_schema(const struct option_def *opt)
{
    json_t *number = json_pack("{s:s, s:I}", "type", "integer", "minimum", (json_int_t) opt->min);
    if (opt->max && opt->max != INT64_MAX)
        json_object_set_new(number, "maximum", json_integer((json_int_t) opt->max));
    return json_pack("{s:[o, {s:s, s:s}]}", "anyOf", number, "type", "string", "pattern", "[$][{]");
}

static json_t *table_schema(const struct option_def *table);

static json_t *from_schema(void)
{
    return json_pack("{s:[{s:[s, s, s]}, {s:s, s:i, s:i, s:b, s:{s:{s:s}, s:{s:s}, s:{s:s}}}]}", "anyOf", "enum", "new",
                     "all", "last", "type", "object", "minProperties", 1, "maxProperties", 1, "additionalProperties", 0,
                     "properties", "last", "type", "integer", "seq", "type", "integer", "time", "type", "string");
}

static json_t *option_schema(const struct option_def *opt)
{
    switch (opt->type) {
    case OPTION_NAME: return json_pack("{s:s, s:s}", "type", "string", "pattern", NAME_REGEX "|[$][{]");
    case OPTION_BOOL:
        return json_pack("{s:[{s:s}, {s:s, s:s}]}", "anyOf", "type", "boolean", "type", "string", "pattern", "[$][{]");
    case OPTION_INT: return int_schema(opt);
    case OPTION_NUMBER:
        return json_pack("{s:[{s:s}, {s:s, s:s}]}", "anyOf", "type", "number", "type", "string", "pattern", "[$][{]");
    case OPTION_HOST_PORT: return json_pack("{s:s, s:s}", "type", "string", "pattern", HOST_PORT_REGEX);
    case OPTION_SIZE: return json_pack("{s:[s, s], s:s}", "type", "string", "integer", "pattern", SIZE_REGEX);
    case OPTION_DURATION: return json_pack("{s:s, s:s}", "type", "string", "pattern", DURATION_REGEX);
    case OPTION_ENUM: return enum_schema(opt);
    case OPTION_PATTERNS:
    case OPTION_TEXTS: return strings_schema();
    case OPTION_COMMAND:
        return json_pack("{s:[{s:s}, {s:s, s:{s:[s, s, s]}}]}", "anyOf", "type", "string", "type", "array", "items",
                         "type", "string", "number", "boolean");
    case OPTION_DURATIONS:
        return json_pack("{s:s, s:{s:s, s:s}}", "type", "array", "items", "type", "string", "pattern", DURATION_REGEX);
    case OPTION_TEXT_MAP:
        return json_pack("{s:s, s:{s:[s, s, s]}}", "type", "object", "additionalProperties", "type", "string", "number",
                         "boolean");
    case OPTION_FREE: return json_pack("{s:s}", "type", "object");
    case OPTION_FROM: return from_schema();
    case OPTION_GROUP: return table_schema(opt->table);
    default: return json_pack("{s:s}", "type", "string");
    }
}

static void add_properties(const struct option_def *table, json_t *properties, json_t *required)
{
    for (const struct option_def *opt = table; opt->name; opt++) {
        if (opt->type == OPTION_SECTION)
            continue;
        if (opt->type == OPTION_INLINE) {
            add_properties(opt->table, properties, required);
            continue;
        }
        json_t *schema = option_schema(opt);
        json_object_set_new(schema, "description", json_string(opt->help));
        if (opt->fallback && opt->type != OPTION_DURATIONS)
            json_object_set_new(schema, "default", json_string(opt->fallback));
        json_object_set_new(properties, opt->name, schema);
        if (opt->flags & OPTION_REQUIRED)
            json_array_append_new(required, json_string(opt->name));
    }
}

static json_t *table_schema(const struct option_def *table)
{
    json_t *properties = json_object(), *required = json_array();
    add_properties(table, properties, required);
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required", required,
                     "additionalProperties", 0);
}

static void add_names(json_t *properties, json_t *names)
{
    const char *name;
    json_t *property;
    json_object_foreach(properties, name, property)
        json_array_append_new(names, json_string(name));
}

/* What holds for one kind: its own options beside the common ones, and no others. */
static json_t *kind_schema(const char *name, const struct option_def *own, json_t *common)
{
    json_t *properties = json_object(), *required = json_array(), *names = json_array();
    add_names(common, names);
    add_properties(own, properties, required);
    add_names(properties, names);
    if (own == OPTIONS_EXEC)
        json_array_append_new(required, json_string("command"));
    return json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:{s:o, s:o, s:{s:o}}}", "if", "properties", "kind", "const", name,
                     "required", "kind", "then", "properties", properties, "required", required, "propertyNames", "enum",
                     names);
}

static json_t *nodes_schema(const struct kind *const *kinds)
{
    struct pool pool = {0};
    json_t *schema = table_schema(node_options(&pool, kinds)), *rules = json_array();
    json_t *common = json_object_get(schema, "properties");
    json_array_append_new(rules, kind_schema(OPTIONS_NODE[0].words[0], OPTIONS_EXEC, common));
    for (size_t i = 0; kinds[i]; i++)
        json_array_append_new(rules, kind_schema(kinds[i]->name, kind_options(&pool, kinds[i], NULL), common));
    json_object_del(schema, "additionalProperties"); /* each kind says which there are */
    json_object_set_new(schema, "allOf", rules);
    pool_fini(&pool);
    return schema;
}

/* "streams.NAME" stands for a map of such tables. */
static void add_section(const struct option_section *s, const struct kind *const *kinds, json_t *properties)
{
    char name[32];
    bool named = strchr(s->path, '.') != NULL;
    snprintf(name, sizeof name, "%.*s", (int) strcspn(s->path, "."), s->path);
    json_t *schema = s->table == OPTIONS_NODE ? nodes_schema(kinds) : table_schema(s->table);
    if (named) {
        json_t *sys = NULL;
        if (s->table == OPTIONS_STREAM) { /* $sys is tuned without topics */
            sys = json_deep_copy(schema);
            json_object_del(sys, "required");
        }
        schema = json_pack("{s:[s, s], s:{s:o}, s:b}", "type", "object", "null", "patternProperties", NAME_REGEX,
                           schema, "additionalProperties", 0);
        if (sys)
            json_object_set_new(json_object_get(schema, "patternProperties"), "^[$]sys$", sys);
    }
    json_object_set_new(schema, "description", json_string(s->help));
    json_object_set_new(properties, name, schema);
}

void topology_json_schema(const struct kind *const *kinds, struct buf *out)
{
    json_t *all = json_object();
    json_object_set_new(all, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(all, "title", json_string("lineshaft topology"));
    json_t *top = table_schema(OPTIONS_TOP);
    json_object_update(all, top);
    json_decref(top);
    for (const struct option_section *s = OPTION_SECTIONS; s->path; s++)
        if (*s->path)
            add_section(s, kinds, json_object_get(all, "properties"));
    char *text = json_dumps(all, JSON_INDENT(2));
    if (text)
        buf_addf(out, "%s\n", text);
    free(text);
    json_decref(all);
}
