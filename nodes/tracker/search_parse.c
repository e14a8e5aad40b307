/* SPDX-License-Identifier: Apache-2.0 */
/* Reading filters and orders. The grammar:
 *   filter     = [comparison *("AND" comparison)]
 *   comparison = name (op value | ["NOT"] "IN" "(" string *("," string) ")" | "IS" ["NOT"] "NULL")
 *   name       = attribute | entity "." key     a key may stand in `...` or "..." and then hold anything
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/tracker/search.h"

#define PATTERN_MAX 10000 /* SQLite takes 50000, and as a GLOB it may become three times as long */

struct reader {
    const struct search_subject *subject;
    const char *start, *at;
    struct ls_error *err;
};

static int complain(const struct reader *r, const char *what, const char *hint)
{
    const char *rest = r->at + strspn(r->at, " \t\r\n");
    int len = (int) strcspn(rest, " \t\r\n");
    len = len > 60 ? 60 : len;
    if (!*rest)
        return error_set(r->err, "BAD_VALUE", "Invalid filter or order_by: at its end %s%s%s", what, *hint ? "; " : "",
                         hint);
    return error_set(r->err, "BAD_VALUE", "Invalid filter or order_by: at character %zu, near '%.*s', %s%s%s",
                     (size_t) (rest - r->start) + 1, len, rest, what, *hint ? "; " : "", hint);
}

static void skip_space(struct reader *r)
{
    while (isspace((unsigned char) *r->at))
        r->at++;
}

/* Takes the word if it is next, in any case. */
static bool take_word(struct reader *r, const char *word)
{
    skip_space(r);
    size_t len = strlen(word);
    unsigned char next = strncasecmp(r->at, word, len) == 0 ? (unsigned char) r->at[len] : 'x';
    if (isalnum(next) || next == '_' || next == '.' || next >= 0x80)
        return false;
    r->at += len;
    return true;
}

/* ---- names ---- */

static size_t bare_length(const char *at)
{
    return strcspn(at, " \t\r\n=!<>(),'\"`");
}

/* A bare piece up to a dot, if `dot` ends it, or a quoted one. NULL: there is none. */
static char *take_piece(struct reader *r, bool dot)
{
    char quote = *r->at;
    if (quote == '`' || quote == '"') {
        const char *end = strchr(r->at + 1, quote);
        if (!end || end == r->at + 1)
            return NULL;
        char *piece = xstrndup(r->at + 1, (size_t) (end - r->at - 1));
        r->at = end + 1;
        return piece;
    }
    size_t len = bare_length(r->at);
    const char *point = dot ? memchr(r->at, '.', len) : NULL;
    len = point ? (size_t) (point - r->at) : len;
    char *piece = len ? xstrndup(r->at, len) : NULL;
    r->at += len;
    return piece;
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcasecmp(word, *words) == 0)
            return true;
    return false;
}

static const struct search_attribute *find_attribute(const struct search_attribute *table, const char *name,
                                                     unsigned use)
{
    for (; table && table->name; table++)
        if (strcmp(table->name, name) == 0 && (table->flags & use))
            return table;
    return NULL;
}

static const struct search_children *find_children(const struct search_subject *subject, const char *word)
{
    for (const struct search_children *c = subject->children; c->words; c++)
        if (is_one_of(word, c->words))
            return c;
    return NULL;
}

struct name {
    const struct search_children *children;
    const struct search_attribute *attribute;
    char *key;
};

static int unknown_attribute(struct reader *r, const char *start, const struct search_attribute *table,
                             const char *name, unsigned use)
{
    struct buf hint = {0};
    char what[120];
    buf_addf(&hint, "it is one of");
    for (const struct search_attribute *a = table; a && a->name; a++)
        if (a->flags & use)
            buf_addf(&hint, "%s %s", hint.len > 12 ? "," : "", a->name);
    r->at = start;
    snprintf(what, sizeof what, "'%.60s' is no attribute of %s", name, r->subject->name);
    int rc = complain(r, what, buf_text(&hint));
    buf_fini(&hint);
    return rc;
}

/* The key behind "entity.". */
static int read_key(struct reader *r, struct name *name, const char *start, unsigned use)
{
    char *key = take_piece(r, false);
    if (!key)
        return complain(r, "a key is missing", "write entity.key, such as metrics.loss or params.`learning rate`");
    const struct search_attribute *table = !name->children                            ? r->subject->attributes
                                           : name->children->entity == ENTITY_DATASET ? name->children->attributes
                                                                                      : NULL;
    name->attribute = find_attribute(table, key, use);
    if (table && !name->attribute) {
        int rc = unknown_attribute(r, start, table, key, use);
        free(key);
        return rc;
    }
    name->key = key;
    return 0;
}

static int read_name(struct reader *r, struct name *name, unsigned use)
{
    *name = (struct name){0};
    skip_space(r);
    const char *start = r->at;
    char *first = take_piece(r, true);
    int rc = 0;
    if (!first)
        return complain(r, "a name is missing", "write an attribute, or entity.key such as metrics.loss");
    if (*r->at == '.' && *start != '"' && *start != '`') {
        name->children = find_children(r->subject, first);
        r->at++;
        if (name->children || is_one_of(first, r->subject->attribute_words)) {
            rc = read_key(r, name, start, use);
        } else {
            char what[120];
            snprintf(what, sizeof what, "'%.60s' is nothing that %s has", first, r->subject->name);
            r->at = start;
            rc = complain(r, what, "entities are metrics, params, tags, attributes, as far as it has them");
        }
    } else {
        name->attribute = find_attribute(r->subject->attributes, first, use);
        if (!name->attribute)
            rc = unknown_attribute(r, start, r->subject->attributes, first, use);
        else
            name->key = xstrdup(first);
    }
    free(first);
    return rc;
}

/* ---- operators and values ---- */

static bool read_op(struct reader *r, enum search_op *op)
{
    static const struct {
        const char *sign;
        enum search_op op;
    } SIGNS[] = {{"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE}, {"=", OP_EQ}, {">", OP_GT}, {"<", OP_LT}};
    skip_space(r);
    for (size_t i = 0; i < sizeof SIGNS / sizeof *SIGNS; i++) {
        size_t len = strlen(SIGNS[i].sign);
        if (strncmp(r->at, SIGNS[i].sign, len) == 0) {
            r->at += len;
            *op = SIGNS[i].op;
            return true;
        }
    }
    if (take_word(r, "LIKE"))
        *op = OP_LIKE;
    else if (take_word(r, "ILIKE"))
        *op = OP_ILIKE;
    else if (take_word(r, "IN"))
        *op = OP_IN;
    else if (take_word(r, "NOT"))
        *op = OP_NOT_IN;
    else if (take_word(r, "IS"))
        *op = OP_NULL;
    else
        return false;
    return *op != OP_NOT_IN || take_word(r, "IN");
}

static enum search_type type_of(const struct name *name)
{
    if (name->attribute)
        return name->attribute->type;
    return name->children->entity == ENTITY_METRIC ? SEARCH_NUMBER : SEARCH_TEXT;
}

static bool op_fits(const struct name *name, enum search_op op)
{
    enum search_type type = type_of(name);
    if (op == OP_NULL)
        return !name->attribute && type == SEARCH_TEXT;
    if (op == OP_IN || op == OP_NOT_IN)
        return name->attribute && (name->attribute->flags & SEARCH_IN);
    if (type == SEARCH_INT || type == SEARCH_NUMBER)
        return op <= OP_GE;
    if (type == SEARCH_LOGGED_STATUS)
        return op == OP_EQ || op == OP_NE;
    return op == OP_EQ || op == OP_NE || op == OP_LIKE || op == OP_ILIKE;
}

/* '...' or "..."; a doubled quote is one. */
static json_t *read_string(struct reader *r)
{
    struct buf text = {0};
    char quote = *r->at;
    const char *at = r->at;
    if (quote != '\'' && quote != '"') {
        complain(r, "a quoted string is missing", "write it as 'text'");
        return NULL;
    }
    for (at++; *at && (*at != quote || at[1] == quote); at++) {
        at += *at == quote;
        buf_add_byte(&text, (uint8_t) *at);
    }
    json_t *value = *at ? json_stringn(buf_text(&text), text.len) : NULL;
    buf_fini(&text);
    if (!value)
        complain(r, "the string does not end", "close it with the quote it began with");
    else
        r->at = at + 1;
    return value;
}

static json_t *read_number(struct reader *r, bool whole)
{
    size_t len = strspn(r->at, "0123456789+-.eE");
    char text[64], *end = text;
    if (len && len < sizeof text) {
        memcpy(text, r->at, len);
        text[len] = '\0';
        errno = 0;
        double number = strtod(text, &end);
        bool ends = !r->at[len] || isspace((unsigned char) r->at[len]) || strchr("<>=!", r->at[len]);
        if (!*end && ends && isfinite(number) && (!whole || (number == floor(number) && fabs(number) < 9e18))) {
            r->at += len;
            return whole ? json_integer(strcspn(text, ".eE") == len ? strtoll(text, NULL, 10) : (json_int_t) number)
                         : json_real(number);
        }
    }
    complain(r, whole ? "a whole number is missing" : "a number is missing", "numbers stand without quotes");
    return NULL;
}

static json_t *read_list(struct reader *r)
{
    json_t *list = json_array(), *item = NULL;
    skip_space(r);
    if (*r->at != '(') {
        complain(r, "a list is missing", "write IN ('a', 'b')");
        json_decref(list);
        return NULL;
    }
    do {
        r->at++;
        skip_space(r);
        item = read_string(r);
        if (item)
            json_array_append_new(list, item);
        skip_space(r);
    } while (item && *r->at == ',');
    if (item && *r->at == ')') {
        r->at++;
        return list;
    }
    if (item)
        complain(r, "the list does not end", "write IN ('a', 'b')");
    json_decref(list);
    return NULL;
}

static json_t *read_value(struct reader *r, const struct name *name, enum search_op op)
{
    enum search_type type = type_of(name);
    if (op == OP_IN || op == OP_NOT_IN)
        return read_list(r);
    skip_space(r);
    if (type == SEARCH_INT || type == SEARCH_NUMBER)
        return read_number(r, type == SEARCH_INT);
    return read_string(r);
}

/* ---- filters ---- */

static int read_rest(struct reader *r, struct search *s, struct name *name)
{
    enum search_op op;
    json_t *value = NULL;
    skip_space(r);
    const char *sign = r->at;
    if (!read_op(r, &op)) {
        r->at = sign;
        return complain(r, "an operator is missing", "it is one of = != > >= < <= LIKE ILIKE IN");
    }
    if (op == OP_NULL) {
        op = take_word(r, "NOT") ? OP_NOT_NULL : OP_NULL;
        if (!take_word(r, "NULL"))
            return complain(r, "NULL is missing", "write IS NULL or IS NOT NULL");
    }
    if (!op_fits(name, op == OP_NOT_NULL ? OP_NULL : op)) {
        bool number = type_of(name) == SEARCH_INT || type_of(name) == SEARCH_NUMBER;
        r->at = sign;
        return complain(r, "this operator does not fit",
                        number ? "numbers take = != > >= < <=" : "texts take = != LIKE ILIKE, some also IN");
    }
    const char *at = r->at;
    if (op != OP_NULL && op != OP_NOT_NULL && !(value = read_value(r, name, op)))
        return -1;
    if ((op == OP_LIKE || op == OP_ILIKE) && json_string_length(value) > PATTERN_MAX) {
        json_decref(value);
        r->at = at;
        return complain(r, "the pattern is too long", "patterns have at most 10000 bytes");
    }
    s->conditions = xgrow(s->conditions, &s->condition_room, s->condition_count + 1, sizeof *s->conditions);
    s->conditions[s->condition_count++] = (struct search_condition){
        .children = name->children, .attribute = name->attribute, .key = name->key, .op = op, .value = value};
    name->key = NULL;
    return 0;
}

static int read_comparison(struct reader *r, struct search *s)
{
    struct name name;
    int rc = read_name(r, &name, SEARCH_FILTER);
    if (rc == 0)
        rc = read_rest(r, s, &name);
    free(name.key);
    return rc;
}

int search_filter(struct search *s, const char *text, struct ls_error *err)
{
    struct reader r = {s->subject, text, text, err};
    if (!text)
        return 0;
    skip_space(&r);
    if (!*r.at)
        return 0;
    if (strlen(text) > 100000)
        return error_set(err, "BAD_VALUE", "Invalid filter: it is longer than 100000 bytes");
    do {
        if (s->condition_count >= 200)
            return complain(&r, "the filter has more than 200 comparisons", "");
        if (read_comparison(&r, s) < 0)
            return -1;
    } while (take_word(&r, "AND"));
    skip_space(&r);
    if (*r.at)
        return complain(&r, "AND or the end is expected",
                        "comparisons are joined by AND alone: there is no OR, and no parentheses but those of IN");
    return 0;
}

/* ---- order_by ---- */

static void add_order(struct search *s, struct name *name, bool descending)
{
    s->orders = xgrow(s->orders, &s->order_room, s->order_count + 1, sizeof *s->orders);
    s->orders[s->order_count++] = (struct search_order){
        .children = name->children, .attribute = name->attribute, .key = name->key, .descending = descending};
    name->key = NULL;
}

static int read_order_name(struct reader *r, struct name *name)
{
    int rc = read_name(r, name, SEARCH_ORDER);
    if (rc == 0 && name->children && name->children->entity == ENTITY_DATASET)
        rc = complain(r, "data sets give no order", "");
    return rc;
}

int search_order(struct search *s, const char *text, struct ls_error *err)
{
    struct reader r = {s->subject, text, text, err};
    struct name name;
    if (s->order_count >= 50)
        return complain(&r, "there are more than 50 orders", "");
    int rc = read_order_name(&r, &name);
    bool descending = rc == 0 && take_word(&r, "DESC");
    if (rc == 0 && !descending)
        take_word(&r, "ASC");
    skip_space(&r);
    if (rc == 0 && *r.at)
        rc = complain(&r, "ASC, DESC or the end is expected", "write one key in each item of the list");
    if (rc == 0)
        add_order(s, &name, descending);
    free(name.key);
    return rc;
}

int search_order_field(struct search *s, const char *field, bool descending, const char *dataset_name,
                       const char *dataset_digest, struct ls_error *err)
{
    struct reader r = {s->subject, field, field, err};
    struct name name;
    int rc = read_order_name(&r, &name);
    if (rc == 0 && *r.at)
        rc = complain(&r, "the end of the field's name is expected", "the direction is the field `ascending`");
    if (rc == 0) {
        add_order(s, &name, descending);
        s->orders[s->order_count - 1].dataset_name = dataset_name ? xstrdup(dataset_name) : NULL;
        s->orders[s->order_count - 1].dataset_digest = dataset_digest ? xstrdup(dataset_digest) : NULL;
    }
    free(name.key);
    return rc;
}

bool search_orders_by(const struct search *s, const char *sql)
{
    for (size_t i = 0; i < s->order_count; i++)
        if (s->orders[i].attribute && strcmp(s->orders[i].attribute->sql, sql) == 0)
            return true;
    return false;
}

void search_fini(struct search *s)
{
    for (size_t i = 0; i < s->condition_count; i++) {
        free(s->conditions[i].key);
        json_decref(s->conditions[i].value);
    }
    for (size_t i = 0; i < s->order_count; i++) {
        free(s->orders[i].key);
        free(s->orders[i].dataset_name);
        free(s->orders[i].dataset_digest);
    }
    free(s->conditions);
    free(s->orders);
    s->conditions = NULL;
    s->orders = NULL;
    s->condition_count = s->order_count = s->condition_room = s->order_room = 0;
}
