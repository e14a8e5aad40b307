/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles the text of a schema (YAML, of which JSON is a part, through libyaml) into the tree of lib/schema_tree.h.
 * Plain scalars are read by the JSON-like rules of YAML 1.2: `yes` and `0x10` are text. Every refusal names its place. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/error.h"
#include "lib/schema.h"
#include "lib/schema_tree.h"
#include "lib/xmem.h"

#define TEXT_MAX (1u << 20)
#define NODES_MAX 20000 /* visited while compiling: an alias may stand for a tree many times over */

const char *const SCHEMA_TYPE_NAMES[TYPE_COUNT] = {"null", "boolean", "integer", "number", "string", "array", "object"};
static const char *const FORMAT_NAMES[] = {NULL, "date-time", "uuid", "topic"};

struct parse {
    yaml_document_t doc;
    const char *origin;
    struct ls_error *err;
    int depth, visited;
};

static int complain(struct parse *p, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(struct parse *p, const yaml_node_t *node, const char *format, ...)
{
    char what[360];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return error_set(p->err, "CONFIG", "%s:%zu:%zu: %s", p->origin, node->start_mark.line + 1,
                     node->start_mark.column + 1, what);
}

static yaml_node_t *node_at(struct parse *p, int index)
{
    return yaml_document_get_node(&p->doc, index);
}

static const char *text_of(const yaml_node_t *node)
{
    return (const char *) node->data.scalar.value;
}

static bool plain(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool word(const yaml_node_t *node, const char *text)
{
    return plain(node) && !strcmp(text_of(node), text);
}

/* A copy with a NUL behind it; the text itself may hold NULs, so its length counts. */
static char *copy_text(const yaml_node_t *node, size_t *len)
{
    *len = node->data.scalar.length;
    char *copy = xcalloc(*len + 1, 1);
    memcpy(copy, node->data.scalar.value, *len);
    return copy;
}

/* ---- scalars ---- */

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* A decimal number as in YAML 1.2's core schema, `.inf` and `.nan` excepted: no JSON body could equal them. */
static bool number_valid(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t whole = digits(s), part = 0;
    s += whole;
    if (*s == '.') {
        part = digits(++s);
        s += part;
    }
    if (!whole && !part)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        if (!digits(s))
            return false;
        s += digits(s);
    }
    return !*s;
}

/* Integers keep all 64 bits; what has a fraction is what a double makes of it, for so do the bodies. */
static bool number_of(const yaml_node_t *node, long double *value)
{
    if (!plain(node) || !number_valid(text_of(node)))
        return false;
    bool integral = !strpbrk(text_of(node), ".eE");
    *value = integral ? strtold(text_of(node), NULL) : (long double) strtod(text_of(node), NULL);
    return isfinite(*value);
}

static int read_scalar(struct parse *p, const yaml_node_t *node, struct constant *k)
{
    if (node->type != YAML_SCALAR_NODE)
        return complain(p, node, "only text, numbers, true, false and null can stand here");
    if (word(node, "null") || word(node, "~") || word(node, "")) {
        k->type = TYPE_NULL;
    } else if (word(node, "true") || word(node, "false")) {
        k->type = TYPE_BOOLEAN;
        k->boolean = word(node, "true");
    } else if (number_of(node, &k->number)) {
        k->type = TYPE_NUMBER;
    } else {
        k->type = TYPE_STRING;
        k->text = copy_text(node, &k->len);
    }
    return 0;
}

/* ---- keywords: each reads the value of one keyword into the schema, at `offset` where several share a reader ---- */

static struct schema *read_schema(struct parse *p, const yaml_node_t *node);

static int read_type_name(struct parse *p, const yaml_node_t *node, struct schema *s)
{
    for (unsigned i = 0; node->type == YAML_SCALAR_NODE && i < TYPE_COUNT; i++) {
        if (!strcmp(text_of(node), SCHEMA_TYPE_NAMES[i])) {
            s->types |= 1u << i;
            return 0;
        }
    }
    return complain(p, node, "unknown type: use null, boolean, integer, number, string, array or object");
}

static int read_type(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    if (node->type != YAML_SEQUENCE_NODE)
        return read_type_name(p, node, s);
    const yaml_node_item_t *item = node->data.sequence.items.start;
    if (item == node->data.sequence.items.top)
        return complain(p, node, "an empty list of types allows nothing: name one, or leave `type` out");
    for (; item < node->data.sequence.items.top; item++)
        if (read_type_name(p, node_at(p, *item), s))
            return -1;
    return 0;
}

static struct property *require_property(struct parse *p, struct schema *s, const yaml_node_t *name)
{
    if (name->type != YAML_SCALAR_NODE || name->data.scalar.length > SCHEMA_NAME_MAX) {
        complain(p, name, "a field name is text of at most %d bytes", SCHEMA_NAME_MAX);
        return NULL;
    }
    size_t len = name->data.scalar.length;
    for (size_t i = 0; i < s->property_count; i++)
        if (s->properties[i].len == len && !memcmp(s->properties[i].name, text_of(name), len))
            return &s->properties[i];
    if (s->property_count == SCHEMA_FIELDS_MAX) {
        complain(p, name, "more than %d fields in one object", SCHEMA_FIELDS_MAX);
        return NULL;
    }
    s->properties = xgrow(s->properties, &s->property_room, s->property_count + 1, sizeof *s->properties);
    struct property *property = &s->properties[s->property_count++];
    *property = (struct property){0};
    property->name = copy_text(name, &property->len);
    return property;
}

static int read_properties(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    if (node->type != YAML_MAPPING_NODE)
        return complain(p, node, "`properties` is a map from field name to schema");
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = node_at(p, pair->key);
        struct property *property = require_property(p, s, name);
        if (!property)
            return -1;
        if (property->declared)
            return complain(p, name, "the field \"%s\" is declared twice", property->name);
        property->declared = true;
        property->schema = read_schema(p, node_at(p, pair->value));
        if (!property->schema)
            return -1;
    }
    return 0;
}

static int read_required(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    if (node->type != YAML_SEQUENCE_NODE)
        return complain(p, node, "`required` is a list of field names");
    int count = 0;
    const yaml_node_item_t *item = node->data.sequence.items.start;
    for (; item < node->data.sequence.items.top; item++) {
        struct property *property = require_property(p, s, node_at(p, *item));
        if (!property)
            return -1;
        if (property->required_bit)
            return complain(p, node_at(p, *item), "\"%s\" is required twice", property->name);
        if (count == SCHEMA_REQUIRED_MAX)
            return complain(p, node, "more than %d required fields", SCHEMA_REQUIRED_MAX);
        property->required_bit = 1ull << count++;
        s->required |= property->required_bit;
    }
    return 0;
}

static int read_subschema(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    struct schema **child = (struct schema **) (void *) ((char *) s + offset);
    *child = read_schema(p, node);
    return *child ? 0 : -1;
}

static int read_enum(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    if (node->type != YAML_SEQUENCE_NODE || node->data.sequence.items.start == node->data.sequence.items.top)
        return complain(p, node, "`enum` is a list of at least one value");
    const yaml_node_item_t *item = node->data.sequence.items.start;
    s->choices = xcalloc((size_t) (node->data.sequence.items.top - item), sizeof *s->choices);
    for (; item < node->data.sequence.items.top; item++)
        if (read_scalar(p, node_at(p, *item), &s->choices[s->choice_count++]))
            return -1;
    return 0;
}

static int read_const(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    s->only = xcalloc(1, sizeof *s->only);
    return read_scalar(p, node, s->only);
}

static int read_bound(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    struct bound *bound = (struct bound *) (void *) ((char *) s + offset);
    bound->set = number_of(node, &bound->value);
    return bound->set ? 0 : complain(p, node, "this keyword takes a number");
}

static int read_size(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    long double value;
    if (!number_of(node, &value) || value < 0 || value > UINT32_MAX || floorl(value) != value)
        return complain(p, node, "this keyword takes a whole number from 0 to %" PRIu32, UINT32_MAX);
    *(uint64_t *) (void *) ((char *) s + offset) = (uint64_t) value;
    return 0;
}

static int read_format(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) offset;
    for (int i = FORMAT_DATE_TIME; node->type == YAML_SCALAR_NODE && i <= FORMAT_TOPIC; i++)
        if (!strcmp(text_of(node), FORMAT_NAMES[i]))
            s->format = (enum schema_format) i;
    return s->format ? 0 : complain(p, node, "unknown format: use date-time, uuid or topic");
}

static int read_note(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset)
{
    (void) p, (void) s, (void) node, (void) offset;
    return 0;
}

static const struct keyword {
    const char *name;
    int (*read)(struct parse *p, struct schema *s, const yaml_node_t *node, size_t offset);
    size_t offset;
} KEYWORDS[] = {
    {"type", read_type, 0},
    {"properties", read_properties, 0},
    {"required", read_required, 0},
    {"additionalProperties", read_subschema, offsetof(struct schema, additional)},
    {"items", read_subschema, offsetof(struct schema, items)},
    {"enum", read_enum, 0},
    {"const", read_const, 0},
    {"minimum", read_bound, offsetof(struct schema, minimum)},
    {"maximum", read_bound, offsetof(struct schema, maximum)},
    {"exclusiveMinimum", read_bound, offsetof(struct schema, exclusive_minimum)},
    {"exclusiveMaximum", read_bound, offsetof(struct schema, exclusive_maximum)},
    {"minLength", read_size, offsetof(struct schema, min_length)},
    {"maxLength", read_size, offsetof(struct schema, max_length)},
    {"format", read_format, 0},
    {"minItems", read_size, offsetof(struct schema, min_items)},
    {"maxItems", read_size, offsetof(struct schema, max_items)},
    {"minProperties", read_size, offsetof(struct schema, min_properties)},
    {"maxProperties", read_size, offsetof(struct schema, max_properties)},
    {"title", read_note, 0},
    {"description", read_note, 0},
    {"examples", read_note, 0},
    {"default", read_note, 0},
    {"$comment", read_note, 0},
    {"$schema", read_note, 0},
    {"$id", read_note, 0},
};
#define KEYWORD_COUNT (sizeof KEYWORDS / sizeof *KEYWORDS)

static int find_keyword(struct parse *p, const yaml_node_t *name)
{
    char list[320] = "";
    size_t len = 0;
    for (size_t i = 0; i < KEYWORD_COUNT; i++) {
        if (name->type == YAML_SCALAR_NODE && !strcmp(text_of(name), KEYWORDS[i].name))
            return (int) i;
        if (KEYWORDS[i].read != read_note)
            len += (size_t) snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "", KEYWORDS[i].name);
    }
    return complain(p, name, "unsupported keyword \"%.40s\"; there are %s",
                    name->type == YAML_SCALAR_NODE ? text_of(name) : "(not text)", list);
}

static void build_slots(struct schema *s)
{
    if (!s->property_count)
        return;
    uint32_t size = 4;
    while (size < 2 * s->property_count)
        size *= 2;
    s->slot_mask = size - 1;
    s->slots = xcalloc(size, 1);
    for (size_t i = 0; i < s->property_count; i++) {
        uint32_t slot = schema_slot(s->properties[i].name, s->properties[i].len) & s->slot_mask;
        while (s->slots[slot])
            slot = (slot + 1) & s->slot_mask;
        s->slots[slot] = (uint8_t) (i + 1);
    }
}

static int read_keywords(struct parse *p, struct schema *s, const yaml_node_t *node)
{
    bool seen[KEYWORD_COUNT] = {false};
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = node_at(p, pair->key);
        int found = find_keyword(p, name);
        if (found < 0)
            return -1;
        if (seen[found])
            return complain(p, name, "the keyword \"%s\" stands here twice", KEYWORDS[found].name);
        seen[found] = true;
        if (KEYWORDS[found].read(p, s, node_at(p, pair->value), KEYWORDS[found].offset))
            return -1;
    }
    build_slots(s);
    return 0;
}

static struct schema *read_schema(struct parse *p, const yaml_node_t *node)
{
    if (p->depth == SCHEMA_DEPTH_MAX || ++p->visited > NODES_MAX) {
        complain(p, node, "the schema nests more than %d deep or is too large", SCHEMA_DEPTH_MAX);
        return NULL;
    }
    struct schema *s = xcalloc(1, sizeof *s);
    s->max_length = s->max_items = s->max_properties = UINT64_MAX;
    p->depth++;
    int bad = 0;
    if (node->type == YAML_MAPPING_NODE)
        bad = read_keywords(p, s, node);
    else if (word(node, "true") || word(node, "false"))
        s->never = word(node, "false");
    else
        bad = complain(p, node, "a schema is a map of keywords, true or false");
    p->depth--;
    if (bad)
        schema_destroy(&s);
    return s;
}

static void free_constants(struct constant *constants, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(constants[i].text);
    free(constants);
}

void schema_destroy(struct schema **schema)
{
    struct schema *s = *schema;
    if (!s)
        return;
    for (size_t i = 0; i < s->property_count; i++) {
        free(s->properties[i].name);
        schema_destroy(&s->properties[i].schema);
    }
    free(s->properties);
    free(s->slots);
    free_constants(s->choices, s->choice_count);
    free_constants(s->only, s->only != NULL);
    schema_destroy(&s->additional);
    schema_destroy(&s->items);
    free(s);
    *schema = NULL;
}

static int load_failed(const yaml_parser_t *yaml, const char *origin, struct ls_error *err)
{
    /* For what is left open, the useful place is where it began. */
    const yaml_mark_t *mark = yaml->context ? &yaml->context_mark : &yaml->problem_mark;
    return error_set(err, "CONFIG", "%s:%zu:%zu: not YAML: %s", origin, mark->line + 1, mark->column + 1,
                     yaml->problem ? yaml->problem : "it cannot be read");
}

/* Compiles the one document that must be there. */
static struct schema *parse_document(yaml_parser_t *yaml, struct parse *p)
{
    yaml_document_t rest;
    if (!yaml_parser_load(yaml, &p->doc)) {
        load_failed(yaml, p->origin, p->err);
        return NULL;
    }
    struct schema *schema = NULL;
    const yaml_node_t *root = yaml_document_get_root_node(&p->doc);
    if (!root) {
        error_set(p->err, "CONFIG", "%s:1:1: no schema here, the text is empty", p->origin);
    } else if (!yaml_parser_load(yaml, &rest)) {
        load_failed(yaml, p->origin, p->err);
    } else {
        const yaml_node_t *second = yaml_document_get_root_node(&rest);
        if (second)
            complain(p, second, "a second document; one file holds one schema");
        else
            schema = read_schema(p, root);
        yaml_document_delete(&rest);
    }
    yaml_document_delete(&p->doc);
    return schema;
}

struct schema *schema_parse(const char *text, size_t len, const char *origin, struct ls_error *err)
{
    if (len > TEXT_MAX) {
        error_set(err, "CONFIG", "%s:1:1: a schema has at most %u bytes", origin, TEXT_MAX);
        return NULL;
    }
    yaml_parser_t yaml;
    if (!yaml_parser_initialize(&yaml)) {
        error_set(err, "SYSTEM", "%s: no memory for the YAML parser", origin);
        return NULL;
    }
    yaml_parser_set_input_string(&yaml, (const unsigned char *) text, len);
    struct parse p = {.origin = origin, .err = err};
    struct schema *schema = parse_document(&yaml, &p);
    yaml_parser_delete(&yaml);
    return schema;
}
