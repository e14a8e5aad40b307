/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a body and a schema together, once, and says where and why the body does not fit. Recursion follows the schema,
 * whose depth is bounded, never the body: what no schema names is skipped by lib/schema_body.c without recursion. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/schema.h"
#include "lib/schema_body.h"
#include "lib/schema_tree.h"
#include "lib/topic.h"

/* The way from the body's root to the value at hand, kept on the C stack; read only when a check fails. */
struct step {
    const struct step *up;
    const struct item *key; /* NULL: an array's item */
    uint32_t index;
};

struct check {
    struct body body;
    char *path;
    size_t path_size;
    struct ls_error *err;
};

/* Text for people, cut where its room ends. */
struct text {
    char *at;
    size_t len, size;
    bool full;
};

static void put(struct text *t, const char *data, size_t len)
{
    if (t->full)
        return;
    for (size_t i = 0; i < len && !t->full; i++) {
        unsigned char c = (unsigned char) data[i];
        t->full = t->len + 1 >= t->size;
        if (!t->full)
            t->at[t->len++] = c < 0x20 || c == 0x7f ? '?' : (char) c;
    }
    /* A cut may have split a character: drop its bytes. */
    while (t->full && t->len && ((unsigned char) t->at[t->len - 1] & 0x80))
        if (((unsigned char) t->at[--t->len] & 0xc0) == 0xc0)
            break;
    if (t->size)
        t->at[t->len] = '\0';
}

static void put_key(struct text *t, const struct item *key, bool pointer)
{
    char name[SCHEMA_NAME_MAX];
    size_t len = item_text(key, name, sizeof name);
    const char *from = name;
    if (len == SIZE_MAX) { /* too long a name to be read: its beginning, as it stands */
        from = key->str.data;
        for (len = sizeof name; len && ((unsigned char) from[len] & 0xc0) == 0x80; len--)
            ;
    }
    for (size_t i = 0; i < len; i++) {
        if (key->type == ITEM_BYTES && ((unsigned char) from[i] & 0x80))
            put(t, "?", 1);
        else if (pointer && (from[i] == '~' || from[i] == '/'))
            put(t, from[i] == '~' ? "~0" : "~1", 2);
        else
            put(t, from + i, 1);
    }
}

/* The path as text: `data.tags[3]`, or as a JSON Pointer (RFC 6901): /tags/3. */
static void put_path(struct text *t, const struct step *at, bool pointer)
{
    const struct step *steps[SCHEMA_DEPTH_MAX + 1];
    int count = 0;
    for (; at && count <= SCHEMA_DEPTH_MAX; at = at->up)
        steps[count++] = at;
    while (count--) {
        char number[16];
        if (steps[count]->key) {
            put(t, pointer ? "/" : ".", 1);
            put_key(t, steps[count]->key, pointer);
            continue;
        }
        int len = snprintf(number, sizeof number, pointer ? "/%u" : "[%u]", steps[count]->index);
        put(t, number, (size_t) len);
    }
}

static bool fail(struct check *c, const struct step *at, const char *what)
{
    char place[160];
    struct text text = {place, 0, sizeof place, false}, path = {c->path, 0, c->path ? c->path_size : 0, false};
    put(&text, "data", 4);
    put_path(&text, at, false);
    if (path.size)
        put_path(&path, at, true);
    error_set(c->err, "SCHEMA", "%s: %s", place, what);
    return false;
}

static bool fail_malformed(struct check *c, const struct step *at)
{
    char what[120];
    snprintf(what, sizeof what, "malformed %s at byte %zu: %s", c->body.json ? "JSON" : "msgpack",
             (size_t) (c->body.at.p - c->body.start), c->body.problem);
    return fail(c, at, what);
}

static void describe(const struct item *item, char *out, size_t size)
{
    struct text t = {out, 0, size, false};
    size_t shown;
    switch (item->type) {
    case ITEM_NULL: snprintf(out, size, "null"); return;
    case ITEM_BOOL: snprintf(out, size, "boolean %s", item->boolean ? "true" : "false"); return;
    case ITEM_UINT: snprintf(out, size, "number %llu", (unsigned long long) item->uint); return;
    case ITEM_INT: snprintf(out, size, "number %lld", (long long) item->sint); return;
    case ITEM_DOUBLE: snprintf(out, size, "number %.15g", item->number); return;
    case ITEM_BYTES: snprintf(out, size, "%zu bytes of bin", item->length); return;
    case ITEM_EXT: snprintf(out, size, "a msgpack extension"); return;
    case ITEM_ARRAY: snprintf(out, size, "an array"); return;
    case ITEM_OBJECT: snprintf(out, size, "an object"); return;
    case ITEM_STRING: break;
    }
    put(&t, "string \"", 8);
    shown = item->str.len < 28 ? item->str.len : 28;
    while (shown && shown < item->str.len && ((unsigned char) item->str.data[shown] & 0xc0) == 0x80)
        shown--;
    put(&t, item->str.data, shown);
    put(&t, shown < item->str.len ? "...\"" : "\"", shown < item->str.len ? 4 : 1);
}

static unsigned type_bits(const struct item *item)
{
    switch (item->type) {
    case ITEM_NULL: return TYPE_NULL;
    case ITEM_BOOL: return TYPE_BOOLEAN;
    case ITEM_UINT:
    case ITEM_INT: return TYPE_INTEGER | TYPE_NUMBER;
    case ITEM_DOUBLE:
        return isfinite(item->number) && floor(item->number) == item->number ? TYPE_INTEGER | TYPE_NUMBER : TYPE_NUMBER;
    case ITEM_STRING:
    case ITEM_BYTES: return TYPE_STRING;
    case ITEM_ARRAY: return TYPE_ARRAY;
    case ITEM_OBJECT: return TYPE_OBJECT;
    case ITEM_EXT: break;
    }
    return 0;
}

static bool fail_type(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    char got[64], names[80] = "", what[180];
    struct text t = {names, 0, sizeof names, false};
    describe(item, got, sizeof got);
    for (unsigned i = 0, left = s->types; i < TYPE_COUNT; i++) {
        if (!(s->types & 1u << i))
            continue;
        left &= ~(1u << i);
        if (t.len)
            put(&t, left ? ", " : " or ", left ? 2 : 4);
        put(&t, SCHEMA_TYPE_NAMES[i], strlen(SCHEMA_TYPE_NAMES[i]));
    }
    snprintf(what, sizeof what, "expected %s, got %s", names, got);
    return fail(c, at, what);
}

static long double number_of(const struct item *item)
{
    return item->type == ITEM_UINT ? (long double) item->uint
           : item->type == ITEM_INT ? (long double) item->sint : (long double) item->number;
}

static bool equals(const struct constant *k, const struct item *item, unsigned bits)
{
    if (!(k->type & bits))
        return false;
    switch (k->type) {
    case TYPE_STRING: return item_same(item, k->text, k->len);
    case TYPE_NUMBER: return number_of(item) == k->number;
    case TYPE_BOOLEAN: return item->boolean == k->boolean;
    default: return true; /* null */
    }
}

static void put_constant(struct text *t, const struct constant *k)
{
    char number[40];
    if (k->type == TYPE_STRING) {
        put(t, "\"", 1);
        put(t, k->text, k->len);
        put(t, "\"", 1);
    } else if (k->type == TYPE_NUMBER) {
        int len = snprintf(number, sizeof number, "%.15Lg", k->number);
        put(t, number, (size_t) len);
    } else {
        const char *word = k->type == TYPE_NULL ? "null" : k->boolean ? "true" : "false";
        put(t, word, strlen(word));
    }
}

static bool fail_choice(struct check *c, const struct item *item, const struct constant *choices, size_t count,
                        const struct step *at)
{
    char got[64], list[200] = "", what[300];
    struct text t = {list, 0, sizeof list, false};
    describe(item, got, sizeof got);
    for (size_t i = 0; i < count; i++) {
        if (i)
            put(&t, ", ", 2);
        put_constant(&t, &choices[i]);
    }
    snprintf(what, sizeof what, "%s is not %s%s", got, count == 1 ? "" : "one of ", list);
    return fail(c, at, what);
}

static bool check_choices(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    unsigned bits = type_bits(item);
    if (s->only && !equals(s->only, item, bits))
        return fail_choice(c, item, s->only, 1, at);
    for (size_t i = 0; i < s->choice_count; i++)
        if (equals(&s->choices[i], item, bits))
            return true;
    return !s->choices || fail_choice(c, item, s->choices, s->choice_count, at);
}

static bool fail_bound(struct check *c, const struct item *item, const char *must, const struct bound *bound,
                       const struct step *at)
{
    char what[120];
    snprintf(what, sizeof what, "%.15Lg is not %s %.15Lg", number_of(item), must, bound->value);
    return fail(c, at, what);
}

static bool check_number(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    long double v = number_of(item); /* NaN fails every comparison, so every bound */
    if (s->minimum.set && !(v >= s->minimum.value))
        return fail_bound(c, item, "at least", &s->minimum, at);
    if (s->maximum.set && !(v <= s->maximum.value))
        return fail_bound(c, item, "at most", &s->maximum, at);
    if (s->exclusive_minimum.set && !(v > s->exclusive_minimum.value))
        return fail_bound(c, item, "more than", &s->exclusive_minimum, at);
    if (s->exclusive_maximum.set && !(v < s->exclusive_maximum.value))
        return fail_bound(c, item, "less than", &s->exclusive_maximum, at);
    return true;
}

static bool check_count(struct check *c, uint64_t count, const uint64_t limits[2], const char *unit,
                        const struct step *at)
{
    char what[120];
    bool few = count < limits[0];
    if (!few && count <= limits[1])
        return true;
    snprintf(what, sizeof what, "has %llu %s, %s %llu", (unsigned long long) count, unit,
             few ? "fewer than the needed" : "more than the allowed", (unsigned long long) limits[!few]);
    return fail(c, at, what);
}

static bool uuid_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = text[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return len == 36;
}

static bool check_format(struct check *c, enum schema_format format, const struct item *item, const struct step *at)
{
    static const char *const WHAT[] = {"", "an RFC 3339 time such as 2026-11-23T03:43:00Z",
                                       "a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057",
                                       "a topic (lower-case words joined by dots)"};
    char text[TOPIC_LEN_MAX], got[64], what[200];
    int64_t when;
    size_t len = item_text(item, text, sizeof text);
    bool good = false;
    if (len == SIZE_MAX)
        good = false;
    else if (format == FORMAT_DATE_TIME)
        good = len > 10 && (text[10] == 'T' || text[10] == 't') && clock_parse(text, len, &when);
    else
        good = format == FORMAT_UUID ? uuid_valid(text, len) : topic_valid(text, len);
    if (good)
        return true;
    describe(item, got, sizeof got);
    snprintf(what, sizeof what, "%s is not %s", got, WHAT[format]);
    return fail(c, at, what);
}

static bool check_string(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    const uint64_t limits[2] = {s->min_length, s->max_length};
    return check_count(c, item->length, limits, item->type == ITEM_BYTES ? "bytes" : "characters", at) &&
           (s->format == FORMAT_NONE || check_format(c, s->format, item, at));
}

static bool check_value(struct check *c, const struct schema *s, const struct step *at);

static bool check_array(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    const uint64_t limits[2] = {s->min_items, s->max_items};
    struct span span = body_enter(item);
    struct step here = {at, NULL, 0};
    int more;
    for (; (more = body_more(&c->body, &span)) > 0; here.index++)
        if (!check_value(c, s->items, &here))
            return false;
    return more < 0 ? fail_malformed(c, at) : check_count(c, here.index, limits, "items", at);
}

static const struct property *find_property(const struct schema *s, const char *name, size_t len)
{
    if (!s->slots)
        return NULL;
    for (uint32_t slot = schema_slot(name, len) & s->slot_mask;; slot = (slot + 1) & s->slot_mask) {
        if (!s->slots[slot])
            return NULL;
        const struct property *property = &s->properties[s->slots[slot] - 1];
        if (property->len == len && !memcmp(property->name, name, len))
            return property;
    }
}

static const struct property *find_key(const struct schema *s, const struct item *key)
{
    char name[SCHEMA_NAME_MAX];
    if (!key->escaped)
        return find_property(s, key->str.data, key->str.len);
    size_t len = item_text(key, name, sizeof name);
    return len == SIZE_MAX ? NULL : find_property(s, name, len);
}

static bool fail_required(struct check *c, const struct schema *s, uint64_t seen, const struct step *at)
{
    char what[SCHEMA_NAME_MAX + 40];
    for (size_t i = 0; i < s->property_count; i++) {
        const struct property *property = &s->properties[i];
        if (property->required_bit & ~seen) {
            snprintf(what, sizeof what, "the required field \"%s\" is missing", property->name);
            return fail(c, at, what);
        }
    }
    return true;
}

static bool check_object(struct check *c, const struct schema *s, const struct item *item, const struct step *at)
{
    const uint64_t limits[2] = {s->min_properties, s->max_properties};
    struct span span = body_enter(item);
    struct item key;
    struct step here = {at, &key, 0};
    uint64_t seen = 0, count = 0;
    int more;
    for (; (more = body_more(&c->body, &span)) > 0; count++) {
        if (!body_key(&c->body, &key))
            return fail_malformed(c, at);
        const struct property *property = find_key(s, &key);
        if (property)
            seen |= property->required_bit;
        if (!check_value(c, property && property->declared ? property->schema : s->additional, &here))
            return false;
    }
    if (more < 0)
        return fail_malformed(c, at);
    if (seen != s->required)
        return fail_required(c, s, seen, at);
    return check_count(c, count, limits, "fields", at);
}

static bool check_value(struct check *c, const struct schema *s, const struct step *at)
{
    struct item item;
    if (!body_next(&c->body, &item))
        return fail_malformed(c, at);
    if (!s)
        return body_skip(&c->body, &item) || fail_malformed(c, at);
    if (s->never)
        return fail(c, at, "nothing is allowed here");
    if (s->types && !(s->types & type_bits(&item)))
        return fail_type(c, s, &item, at);
    if ((s->choices || s->only) && !check_choices(c, s, &item, at))
        return false;
    switch (item.type) {
    case ITEM_OBJECT: return check_object(c, s, &item, at);
    case ITEM_ARRAY: return check_array(c, s, &item, at);
    case ITEM_STRING:
    case ITEM_BYTES: return check_string(c, s, &item, at);
    case ITEM_UINT:
    case ITEM_INT:
    case ITEM_DOUBLE: return check_number(c, s, &item, at);
    default: return true; /* null and booleans; ext, which only a schema without `type` lets come this far */
    }
}

int schema_check(const struct schema *schema, const void *body, size_t len, char *path, size_t path_size,
                 struct ls_error *err)
{
    struct check c = {.body = body_over(body, len), .path = path, .path_size = path_size, .err = err};
    if (path && path_size)
        *path = '\0';
    if (!check_value(&c, schema, NULL))
        return -1;
    return body_end(&c.body) || fail_malformed(&c, NULL) ? 0 : -1;
}
