/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a body in place, item by item. The msgpack half stands on lib/mp.h; the JSON half follows RFC 8259, and UTF-8 in
 * both follows RFC 3629. Depth is counted here, so that neither form can nest deeper than BODY_DEPTH_MAX. */
#include "lib/schema_body.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ONES 0x0101010101010101ull
#define HIGHS (ONES * 0x80)
#define JSON_NUMBER_MAX 120 /* bytes; longer ones mean nothing to a double */

static bool bad(struct body *b, const char *problem)
{
    b->problem = problem;
    return false;
}

static uint64_t load8(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* The length of the well-formed UTF-8 sequence at p, 0 when there is none: no overlong form, surrogate or value past U+10FFFF. */
static size_t utf8_len(const uint8_t *p, const uint8_t *end)
{
    uint8_t c = *p, low = 0x80, high = 0xbf;
    size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (!len || (size_t) (end - p) < len)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf)
        if (p[i] < low || p[i] > high)
            return 0;
    return len;
}

static bool utf8_count(const char *text, size_t len, size_t *count)
{
    const uint8_t *p = (const uint8_t *) text, *end = p + len;
    for (*count = 0; p < end;) {
        if (end - p >= 8 && !(load8(p) & HIGHS)) {
            p += 8;
            *count += 8;
            continue;
        }
        size_t step = utf8_len(p, end);
        if (!step)
            return false;
        p += step;
        (*count)++;
    }
    return true;
}

struct body body_over(const void *data, size_t len)
{
    static const uint8_t NIL = 0xc0;
    if (!len) {
        data = &NIL;
        len = 1;
    }
    const uint8_t *p = data;
    return (struct body){.at = mp_over(p, len), .start = p, .json = *p == '{' || *p == '['};
}

static bool open_container(struct body *b)
{
    if (b->depth == BODY_DEPTH_MAX)
        return bad(b, "nested more than 32 deep");
    b->depth++;
    return true;
}

/* ---- msgpack ---- */

static bool next_msgpack(struct body *b, struct item *item)
{
    struct mp_value v;
    item->escaped = false;
    if (!mp_next(&b->at, &v))
        return bad(b, "truncated, or not msgpack");
    switch (v.type) {
    case MP_STR:
        item->type = ITEM_STRING;
        item->str = v.str;
        return utf8_count(v.str.data, v.str.len, &item->length) || bad(b, "text that is not UTF-8 (send it as bin)");
    case MP_BIN:
        item->type = ITEM_BYTES;
        item->str = v.str;
        item->length = v.str.len;
        return true;
    case MP_ARRAY:
    case MP_MAP:
        item->type = v.type == MP_MAP ? ITEM_OBJECT : ITEM_ARRAY;
        item->count = v.count;
        return open_container(b);
    case MP_UINT:
        item->type = ITEM_UINT;
        item->uint = v.uint;
        return true;
    case MP_INT:
        item->type = ITEM_INT;
        item->sint = v.sint;
        return true;
    case MP_DOUBLE:
        item->type = ITEM_DOUBLE;
        item->number = v.number;
        return true;
    case MP_BOOL:
        item->type = ITEM_BOOL;
        item->boolean = v.boolean;
        return true;
    case MP_NIL:
        item->type = ITEM_NULL;
        return true;
    default:
        item->type = ITEM_EXT;
        return true;
    }
}

/* ---- JSON ---- */

static void skip_space(struct body *b)
{
    while (b->at.p < b->at.end && (*b->at.p == ' ' || *b->at.p == '\n' || *b->at.p == '\r' || *b->at.p == '\t'))
        b->at.p++;
}

static bool digit(const uint8_t *p, const uint8_t *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

static int hex4(const uint8_t *p, const uint8_t *end)
{
    int value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        int nibble = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (nibble < 0)
            return -1;
        value = value * 16 + nibble;
    }
    return value;
}

/* The escape at p (a backslash): its length and code point; length 0 when malformed or half a surrogate pair. */
static size_t escape_len(const uint8_t *p, const uint8_t *end, uint32_t *code)
{
    static const char NAMES[] = "\"\\/bfnrt", VALUES[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2 || !p[1])
        return 0;
    const char *simple = strchr(NAMES, p[1]);
    if (simple) {
        *code = (uint8_t) VALUES[simple - NAMES];
        return 2;
    }
    int high = p[1] == 'u' ? hex4(p + 2, end) : -1;
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return 0;
    *code = (uint32_t) high;
    if (high < 0xd800 || high > 0xdbff)
        return 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    int low = hex4(p + 8, end);
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *code = 0x10000u + (((uint32_t) high - 0xd800u) << 10) + ((uint32_t) low - 0xdc00u);
    return 12;
}

/* Eight bytes that need no look: ASCII, no control byte, quote or backslash. */
static bool plain8(const uint8_t *p)
{
    uint64_t w = load8(p), quote = w ^ (ONES * '"'), slash = w ^ (ONES * '\\');
    uint64_t marks = w | (w - ONES * 0x20) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash);
    return !(marks & HIGHS);
}

static bool next_string(struct body *b, struct item *item)
{
    const uint8_t *p = b->at.p + 1, *end = b->at.end;
    *item = (struct item){.type = ITEM_STRING, .str = {(const char *) p, 0}};
    while (p < end && *p != '"') {
        size_t step, count = 1;
        uint32_t code;
        if (end - p >= 8 && plain8(p)) {
            step = count = 8;
        } else if (*p == '\\') {
            step = escape_len(p, end, &code);
            item->escaped = true;
        } else {
            step = *p < 0x20 ? 0 : utf8_len(p, end);
        }
        if (!step) {
            b->at.p = p;
            return bad(b, *p == '\\' ? "bad escape" : *p < 0x20 ? "a control byte in a string" : "text that is not UTF-8");
        }
        p += step;
        item->length += count;
    }
    b->at.p = p;
    if (p == end)
        return bad(b, "a string without an end");
    item->str.len = (size_t) ((const char *) p - item->str.data);
    b->at.p++;
    return true;
}

/* 19 and 20 digits: exact as far as 64 bits reach. */
static bool long_integer(const char *text, struct item *item)
{
    bool negative = *text == '-';
    errno = 0;
    uint64_t value = strtoull(text + negative, NULL, 10);
    if (errno || (negative && value > (uint64_t) INT64_MAX + 1))
        return false;
    if (negative)
        *item = (struct item){.type = ITEM_INT, .sint = (int64_t) -value};
    else
        *item = (struct item){.type = ITEM_UINT, .uint = value};
    return true;
}

/* Up to 18 digits are read here; what is longer or has a fraction goes through strtod (in the C locale, as the program is). */
static bool number_value(struct body *b, const uint8_t *from, bool integral, struct item *item)
{
    char text[JSON_NUMBER_MAX + 1];
    size_t len = (size_t) (b->at.p - from), sign = *from == '-';
    if (len > JSON_NUMBER_MAX)
        return bad(b, "a number of more than 120 characters");
    if (integral && len - sign <= 18) {
        uint64_t value = 0;
        for (size_t i = sign; i < len; i++)
            value = value * 10 + (from[i] - '0');
        if (sign && value)
            *item = (struct item){.type = ITEM_INT, .sint = -(int64_t) value};
        else
            *item = (struct item){.type = ITEM_UINT, .uint = value};
        return true;
    }
    memcpy(text, from, len);
    text[len] = '\0';
    if (integral && long_integer(text, item))
        return true;
    char *stop;
    *item = (struct item){.type = ITEM_DOUBLE, .number = strtod(text, &stop)};
    if (*stop || isinf(item->number))
        return bad(b, "a number that no double can hold");
    return true;
}

static bool next_number(struct body *b, struct item *item)
{
    const uint8_t *from = b->at.p, *p = from, *end = b->at.end;
    bool integral = true;
    p += *p == '-';
    if (!digit(p, end))
        return bad(b, "not JSON");
    if (*p++ != '0')
        while (digit(p, end))
            p++;
    if (p < end && *p == '.') {
        integral = false;
        if (!digit(++p, end))
            return bad(b, "a number without digits after the point");
        while (digit(p, end))
            p++;
    }
    if (p < end && (*p | 32) == 'e') {
        integral = false;
        p++;
        p += p < end && (*p == '+' || *p == '-');
        if (!digit(p, end))
            return bad(b, "a number without digits in the exponent");
        while (digit(p, end))
            p++;
    }
    b->at.p = p;
    return number_value(b, from, integral, item);
}

static bool next_word(struct body *b, struct item *item)
{
    static const struct {
        const char *text;
        size_t len;
        struct item item;
    } WORDS[] = {
        {"true", 4, {.type = ITEM_BOOL, .boolean = true}},
        {"false", 5, {.type = ITEM_BOOL}},
        {"null", 4, {.type = ITEM_NULL}},
    };
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        if ((size_t) (b->at.end - b->at.p) >= WORDS[i].len && !memcmp(b->at.p, WORDS[i].text, WORDS[i].len)) {
            *item = WORDS[i].item;
            b->at.p += WORDS[i].len;
            return true;
        }
    }
    return bad(b, "not JSON");
}

static bool next_json(struct body *b, struct item *item)
{
    skip_space(b);
    if (b->at.p == b->at.end)
        return bad(b, "truncated");
    uint8_t c = *b->at.p;
    if (c == '"')
        return next_string(b, item);
    if (c == '{' || c == '[') {
        *item = (struct item){.type = c == '{' ? ITEM_OBJECT : ITEM_ARRAY};
        b->at.p++;
        return open_container(b);
    }
    return c == '-' || (c >= '0' && c <= '9') ? next_number(b, item) : next_word(b, item);
}

/* ---- both ---- */

bool body_next(struct body *b, struct item *item)
{
    return b->json ? next_json(b, item) : next_msgpack(b, item);
}

struct span body_enter(const struct item *container)
{
    return (struct span){.object = container->type == ITEM_OBJECT, .first = true, .left = container->count};
}

static int more_json(struct body *b, struct span *span)
{
    skip_space(b);
    bool first = span->first;
    span->first = false;
    if (b->at.p < b->at.end && *b->at.p == (span->object ? '}' : ']')) {
        b->at.p++;
        b->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (b->at.p == b->at.end || *b->at.p != ',') {
        b->problem = b->at.p == b->at.end ? "truncated" : "a comma or the end of the container is missing";
        return -1;
    }
    b->at.p++;
    return 1;
}

int body_more(struct body *b, struct span *span)
{
    if (b->json)
        return more_json(b, span);
    if (!span->left) {
        b->depth--;
        return 0;
    }
    span->left--;
    return 1;
}

bool body_key(struct body *b, struct item *key)
{
    if (!b->json) {
        if (!next_msgpack(b, key))
            return false;
        return key->type == ITEM_STRING || key->type == ITEM_BYTES || bad(b, "a map key that is not a string");
    }
    skip_space(b);
    if (b->at.p == b->at.end || *b->at.p != '"')
        return bad(b, "an object key is missing");
    if (!next_string(b, key))
        return false;
    skip_space(b);
    if (b->at.p == b->at.end || *b->at.p != ':')
        return bad(b, "a colon is missing");
    b->at.p++;
    return true;
}

bool body_skip(struct body *b, const struct item *item)
{
    struct span open[BODY_DEPTH_MAX];
    struct item next = *item;
    int level = 0;
    if (item->type != ITEM_ARRAY && item->type != ITEM_OBJECT)
        return true;
    open[level++] = body_enter(&next);
    while (level) {
        int more = body_more(b, &open[level - 1]);
        if (more < 0)
            return false;
        if (!more) {
            level--;
            continue;
        }
        if ((open[level - 1].object && !body_key(b, &next)) || !body_next(b, &next))
            return false;
        if (next.type == ITEM_ARRAY || next.type == ITEM_OBJECT)
            open[level++] = body_enter(&next); /* body_next has bounded the depth */
    }
    return true;
}

bool body_end(struct body *b)
{
    if (b->json)
        skip_space(b);
    return b->at.p == b->at.end || bad(b, "bytes after the end of the body");
}

static size_t utf8_put(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char) code;
        return 1;
    }
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t LEADS[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i; i--, code >>= 6)
        out[i] = (char) (0x80 | (code & 0x3f));
    out[0] = (char) (LEADS[len] | code);
    return len;
}

/* Steps over one character of a string that body_next has found well-formed. */
static size_t take_char(const uint8_t **p, const uint8_t *end, char out[4])
{
    uint32_t code;
    if (**p == '\\') {
        *p += escape_len(*p, end, &code);
        return utf8_put(code, out);
    }
    out[0] = (char) *(*p)++;
    return 1;
}

size_t item_text(const struct item *string, char *out, size_t room)
{
    if (!string->escaped) {
        if (string->str.len > room)
            return SIZE_MAX;
        memcpy(out, string->str.data, string->str.len);
        return string->str.len;
    }
    const uint8_t *p = (const uint8_t *) string->str.data, *end = p + string->str.len;
    size_t len = 0;
    while (p < end) {
        char one[4];
        size_t step = take_char(&p, end, one);
        if (len + step > room)
            return SIZE_MAX;
        memcpy(out + len, one, step);
        len += step;
    }
    return len;
}

bool item_same(const struct item *string, const char *text, size_t len)
{
    if (!string->escaped)
        return string->str.len == len && !memcmp(string->str.data, text, len);
    const uint8_t *p = (const uint8_t *) string->str.data, *end = p + string->str.len;
    size_t at = 0;
    while (p < end) {
        char one[4];
        size_t step = take_char(&p, end, one);
        if (len - at < step || memcmp(text + at, one, step))
            return false;
        at += step;
    }
    return at == len;
}
