/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions: from text to a tree, by the rank of operators. What the tree means is in expr_eval.c. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "workflow/expr_tree.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define DIGITS "0123456789"

enum token { TOKEN_END, TOKEN_NUMBER, TOKEN_TEXT, TOKEN_WORD, TOKEN_SIGN };

struct parser {
    const char *text;
    size_t len;
    bool part;        /* "}}" ends it */
    enum token token; /* the one to look at, and where it is */
    size_t at, end;
    int depth;
    bool failed;
    size_t failed_at;
    struct expr *expr;
    struct ls_error *err;
};

static int parse_choice(struct parser *p);

static int fail(struct parser *p, size_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int fail(struct parser *p, size_t at, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!p->failed)
        error_set(p->err, "BAD_VALUE", "%s", text);
    p->failed_at = p->failed ? p->failed_at : at;
    p->failed = true;
    p->token = TOKEN_END;
    return -1;
}

/* ---- tokens ---- */

static const char *const SIGNS[] = {"&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/",
                                    "%",  "!",  "?",  ":",  "(",  ")",  "[", "]", ",", ".", NULL};

static size_t span(const struct parser *p, size_t from, const char *set)
{
    size_t n = 0;
    while (from + n < p->len && strchr(set, p->text[from + n]))
        n++;
    return n;
}

static size_t number_span(const struct parser *p, size_t from)
{
    size_t at = from + span(p, from, DIGITS);
    if (at + 1 < p->len && p->text[at] == '.' && span(p, at + 1, DIGITS))
        at += 1 + span(p, at + 1, DIGITS);
    if (at < p->len && strchr("eE", p->text[at])) {
        size_t sign = at + 1 + (at + 1 < p->len && strchr("+-", p->text[at + 1]));
        size_t digits = span(p, sign, DIGITS);
        at = digits ? sign + digits : at;
    }
    return at - from;
}

/* Behind the closing quote; 0 if there is none. */
static size_t quote_end(const struct parser *p, size_t from)
{
    for (size_t i = from + 1; i < p->len; i++) {
        if (p->text[i] == p->text[from])
            return i + 1;
        i += p->text[i] == '\\';
    }
    return 0;
}

static void unknown_sign(struct parser *p)
{
    static const struct {
        char sign;
        const char *hint;
    } HINTS[] = {{'=', "== compares"},
                 {'&', "both must hold: &&"},
                 {'|', "one of them: ||; functions are written lower(x)"},
                 {'{', "a { has no place inside an expression"},
                 {'}', "one } too many"},
                 {'$', "names are written without $"}};
    const char *hint = "texts stand in quotes";
    for (size_t i = 0; i < sizeof HINTS / sizeof *HINTS; i++)
        if (HINTS[i].sign == p->text[p->at])
            hint = HINTS[i].hint;
    uint32_t code = 0;
    size_t size = utf8_next((const uint8_t *) p->text + p->at, p->len - p->at, &code);
    fail(p, p->at, "\"%.*s\" is no sign of an expression (%s)", (int) (size ? size : 1), p->text + p->at, hint);
}

/* Makes the token at p->end the one to look at. */
static void next(struct parser *p)
{
    if (p->failed)
        return;
    p->at = p->end + span(p, p->end, " \t\r\n");
    bool over = p->at >= p->len || (p->part && p->len - p->at >= 2 && !memcmp(p->text + p->at, "}}", 2));
    char c = over ? 0 : p->text[p->at];
    p->token = TOKEN_END;
    if (over) {
        p->end = p->at;
    } else if (strchr(DIGITS, c)) {
        p->token = TOKEN_NUMBER;
        p->end = p->at + number_span(p, p->at);
    } else if (strchr(LETTERS, c)) {
        p->token = TOKEN_WORD;
        p->end = p->at + span(p, p->at, LETTERS DIGITS);
    } else if (c == '"' || c == '\'') {
        p->token = TOKEN_TEXT;
        p->end = quote_end(p, p->at);
        if (!p->end)
            fail(p, p->at, "the quote is never closed");
    } else {
        size_t i = 0;
        while (SIGNS[i] && strncmp(p->text + p->at, SIGNS[i], strlen(SIGNS[i])))
            i++;
        p->token = SIGNS[i] ? TOKEN_SIGN : TOKEN_END;
        p->end = p->at + (SIGNS[i] ? strlen(SIGNS[i]) : 0);
        if (!SIGNS[i])
            unknown_sign(p);
    }
}

static bool is(const struct parser *p, enum token token, const char *text)
{
    return p->token == token && p->end - p->at == strlen(text) && !strncmp(p->text + p->at, text, p->end - p->at);
}

static bool take(struct parser *p, const char *sign)
{
    bool there = is(p, TOKEN_SIGN, sign);
    if (there)
        next(p);
    return there;
}

static void expect(struct parser *p, const char *sign, size_t opened)
{
    if (!take(p, sign) && !p->failed)
        fail(p, p->token == TOKEN_END ? opened : p->at,
             p->token == TOKEN_END ? "this is never closed: \"%s\" is missing" : "here should be \"%s\"", sign);
}

/* ---- the tree ---- */

static int add(struct parser *p, enum expr_op op, int a, int b)
{
    struct expr *e = p->expr;
    e->nodes = xgrow(e->nodes, &e->room, e->count + 1, sizeof *e->nodes);
    e->nodes[e->count] = (struct expr_node){.op = op, .a = a, .b = b, .c = -1, .next = -1};
    return (int) e->count++;
}

static int add_value(struct parser *p, enum expr_op op, int a, json_t *value)
{
    int node = add(p, op, a, -1);
    p->expr->nodes[node].value = value ? value : json_null();
    return node;
}

static json_t *text_literal(const struct parser *p)
{
    struct buf out = {0};
    for (size_t i = p->at + 1; i + 1 < p->end; i++) {
        char c = p->text[i];
        const char *escape = c == '\\' && i + 2 < p->end ? strchr("\\\"'nt", p->text[i + 1]) : NULL;
        if (escape) {
            c = *escape == 'n' ? '\n' : *escape == 't' ? '\t' : *escape;
            i++;
        }
        buf_add_byte(&out, (uint8_t) c);
    }
    json_t *text = json_stringn(out.len ? (const char *) out.data : "", out.len);
    buf_fini(&out);
    return text;
}

static int parse_number(struct parser *p)
{
    char digits[64];
    size_t len = p->end - p->at;
    if (len >= sizeof digits)
        return fail(p, p->at, "the number has too many digits");
    memcpy(digits, p->text + p->at, len);
    digits[len] = 0;
    errno = 0;
    bool whole = !digits[strspn(digits, DIGITS)];
    long long count = whole ? strtoll(digits, NULL, 10) : 0;
    double real = strtod(digits, NULL);
    if (!isfinite(real))
        return fail(p, p->at, "the number is too large");
    whole = whole && !errno;
    next(p);
    return add_value(p, EXPR_LITERAL, -1, whole ? json_integer(count) : json_real(real));
}

/* Items up to `close`, each the next of the one before; *first is -1 when there are none. Returns their number. */
static int parse_items(struct parser *p, const char *close, int *first)
{
    size_t opened = p->at;
    int count = 0, last = -1;
    *first = -1;
    next(p);
    while (!is(p, TOKEN_SIGN, close) && !p->failed) {
        int item = parse_choice(p);
        if (item < 0)
            return -1;
        if (last >= 0)
            p->expr->nodes[last].next = item;
        else
            *first = item;
        last = item;
        count++;
        if (!take(p, ","))
            break;
    }
    expect(p, close, opened);
    return count;
}

static const struct expr_function *find_function(struct parser *p, struct ls_slice name)
{
    struct buf known = {0};
    const struct expr_function *f = EXPR_FUNCTIONS;
    for (; f->name; f++) {
        if (strlen(f->name) == name.len && !strncmp(f->name, name.data, name.len))
            break;
        buf_addf(&known, "%s%s", known.len ? ", " : "", f->name);
    }
    if (!f->name)
        fail(p, (size_t) (name.data - p->text), "there is no function %.*s; there are %s", (int) name.len, name.data,
             buf_text(&known));
    buf_fini(&known);
    return f->name ? f : NULL;
}

static int parse_call(struct parser *p, struct ls_slice name)
{
    int first;
    const struct expr_function *f = find_function(p, name);
    int count = f ? parse_items(p, ")", &first) : -1;
    if (count < 0 || p->failed)
        return -1;
    if (count != f->arguments)
        return fail(p, (size_t) (name.data - p->text), "%s takes %d value%s, not %d", f->name, f->arguments,
                    f->arguments == 1 ? "" : "s", count);
    int node = add(p, EXPR_CALL, first, -1);
    p->expr->nodes[node].function = f;
    return node;
}

static int parse_word(struct parser *p)
{
    static const char *const RESERVED[] = {"and", "or", "in", "not", "if", "else", NULL};
    struct ls_slice word = {p->text + p->at, p->end - p->at};
    json_t *literal = is(p, TOKEN_WORD, "true")    ? json_true()
                      : is(p, TOKEN_WORD, "false") ? json_false()
                      : is(p, TOKEN_WORD, "null")  ? json_null()
                                                   : NULL;
    for (size_t i = 0; RESERVED[i]; i++)
        if (is(p, TOKEN_WORD, RESERVED[i]))
            return fail(p, p->at, "\"%s\" cannot stand here", RESERVED[i]);
    next(p);
    if (literal)
        return add_value(p, EXPR_LITERAL, -1, literal);
    if (is(p, TOKEN_SIGN, "("))
        return parse_call(p, word);
    return add_value(p, EXPR_NAME, -1, json_stringn(word.data, word.len));
}

static int parse_operand(struct parser *p)
{
    size_t opened = p->at;
    int node = -1;
    if (p->token == TOKEN_NUMBER)
        return parse_number(p);
    if (p->token == TOKEN_WORD)
        return parse_word(p);
    if (p->token == TOKEN_TEXT) {
        node = add_value(p, EXPR_LITERAL, -1, text_literal(p));
        next(p);
        return node;
    }
    if (is(p, TOKEN_SIGN, "[")) {
        int first;
        if (parse_items(p, "]", &first) < 0)
            return -1;
        return add(p, EXPR_LIST, first, -1);
    }
    if (!take(p, "("))
        return fail(p, p->at,
                    p->token == TOKEN_END ? "something is missing at the end" : "a name or a value should stand here");
    node = parse_choice(p);
    expect(p, ")", opened);
    return node;
}

/* What follows a dot: letters, digits, _ and inner -, so that outputs.build-image.tag is a path. */
static int parse_member(struct parser *p, int of)
{
    size_t from = p->end, len = span(p, from, LETTERS DIGITS);
    while (len && from + len + 1 < p->len && p->text[from + len] == '-' && span(p, from + len + 1, LETTERS DIGITS))
        len += 1 + span(p, from + len + 1, LETTERS DIGITS);
    if (!len)
        return fail(p, p->at, "a name should follow the dot");
    p->end = from + len;
    int node = add_value(p, EXPR_MEMBER, of, json_stringn(p->text + from, len));
    next(p);
    return node;
}

static int parse_path(struct parser *p)
{
    int node = parse_operand(p);
    while (node >= 0 && !p->failed) {
        size_t opened = p->at;
        if (is(p, TOKEN_SIGN, ".")) {
            node = parse_member(p, node);
        } else if (take(p, "[")) {
            int index = parse_choice(p);
            expect(p, "]", opened);
            node = add(p, EXPR_INDEX, node, index);
        } else {
            break;
        }
    }
    return node;
}

/* ---- operators by rank; the higher binds tighter. The word `not` binds looser than comparisons, as in Python and
 * Jinja. ---- */

enum { RANK_OR = 1, RANK_AND, RANK_NOT, RANK_IN, RANK_EQUAL, RANK_ORDER, RANK_SUM, RANK_PRODUCT };
static const struct operator
{
    const char *sign;
    enum token token;
    int rank;
    enum expr_op op;
}
OPERATORS[] = {{"||", TOKEN_SIGN, RANK_OR, EXPR_OR},
               {"or", TOKEN_WORD, RANK_OR, EXPR_OR},
               {"&&", TOKEN_SIGN, RANK_AND, EXPR_AND},
               {"and", TOKEN_WORD, RANK_AND, EXPR_AND},
               {"in", TOKEN_WORD, RANK_IN, EXPR_IN},
               {"==", TOKEN_SIGN, RANK_EQUAL, EXPR_EQUAL},
               {"!=", TOKEN_SIGN, RANK_EQUAL, EXPR_UNEQUAL},
               {"<=", TOKEN_SIGN, RANK_ORDER, EXPR_LESS_EQUAL},
               {">=", TOKEN_SIGN, RANK_ORDER, EXPR_MORE_EQUAL},
               {"<", TOKEN_SIGN, RANK_ORDER, EXPR_LESS},
               {">", TOKEN_SIGN, RANK_ORDER, EXPR_MORE},
               {"+", TOKEN_SIGN, RANK_SUM, EXPR_ADD},
               {"-", TOKEN_SIGN, RANK_SUM, EXPR_SUBTRACT},
               {"*", TOKEN_SIGN, RANK_PRODUCT, EXPR_MULTIPLY},
               {"/", TOKEN_SIGN, RANK_PRODUCT, EXPR_DIVIDE},
               {"%", TOKEN_SIGN, RANK_PRODUCT, EXPR_REMAINDER},
               {0}};

static const struct operator* operator_here(const struct parser *p)
{
    for (const struct operator* o = OPERATORS; o->sign; o++)
        if (is(p, o->token, o->sign))
            return o;
    return NULL;
}

static int parse_binary(struct parser *p, int rank);

static int parse_unary(struct parser *p)
{
    bool word = is(p, TOKEN_WORD, "not"), negate = is(p, TOKEN_SIGN, "-");
    if (!word && !negate && !is(p, TOKEN_SIGN, "!"))
        return parse_path(p);
    if (++p->depth > EXPR_DEPTH_MAX)
        return fail(p, p->at, "the expression is nested too deep");
    next(p);
    int node = word ? parse_binary(p, RANK_IN) : parse_unary(p);
    p->depth--;
    return node < 0 ? -1 : add(p, negate ? EXPR_NEGATE : EXPR_NOT, node, -1);
}

/* "not in" reads as one operator. */
static bool take_not_in(struct parser *p)
{
    if (!is(p, TOKEN_WORD, "not"))
        return false;
    struct parser back = *p;
    next(p);
    if (is(p, TOKEN_WORD, "in"))
        return true;
    if (!p->failed)
        *p = back;
    return false;
}

static int parse_binary(struct parser *p, int rank)
{
    int node = parse_unary(p);
    bool ordered = false;
    while (node >= 0 && !p->failed) {
        bool inverted = rank <= RANK_IN && take_not_in(p);
        const struct operator* o = operator_here(p);
        if (!o || o->rank < rank)
            break;
        if (o->rank == RANK_ORDER && ordered)
            return fail(p, p->at, "comparisons do not chain: write a < b && b < c");
        ordered = o->rank == RANK_ORDER;
        next(p);
        int right = parse_binary(p, o->rank + 1);
        node = right < 0 ? -1 : add(p, o->op, node, right);
        if (inverted && node >= 0)
            node = add(p, EXPR_NOT, node, -1);
    }
    return p->failed ? -1 : node;
}

static int parse_choice(struct parser *p)
{
    if (++p->depth > EXPR_DEPTH_MAX)
        return fail(p, p->at, "the expression is nested too deep");
    int node = parse_binary(p, RANK_OR);
    size_t opened = p->at;
    if (node >= 0 && take(p, "?")) {
        int yes = parse_choice(p);
        expect(p, ":", opened);
        int no = p->failed ? -1 : parse_choice(p);
        node = add(p, EXPR_CHOICE, node, yes);
        p->expr->nodes[node].c = no;
    }
    p->depth--;
    return p->failed ? -1 : node;
}

/* ---- entries ---- */

static struct expr *parse(struct parser *p)
{
    p->expr = xcalloc(1, sizeof *p->expr);
    if (!p->part && !utf8_valid(p->text, p->len)) /* templates come out of YAML or JSON, which are */
        fail(p, 0, "the expression is not UTF-8");
    next(p);
    if (p->token == TOKEN_END && !p->failed)
        fail(p, p->at, "the expression is empty");
    p->expr->root = p->failed ? -1 : parse_choice(p);
    if (is(p, TOKEN_SIGN, "("))
        fail(p, p->at, "this is no function; those are written as lower(x)");
    if (!p->failed && p->token != TOKEN_END)
        fail(p, p->at, "the expression should end before \"%.*s\"", (int) (p->end - p->at > 20 ? 20 : p->end - p->at),
             p->text + p->at);
    if (!p->failed && p->part && p->end + 2 > p->len)
        fail(p, 0, "the {{ is never closed by }}");
    if (!p->failed && p->end > EXPR_LEN_MAX)
        fail(p, 0, "the expression is longer than %d bytes", EXPR_LEN_MAX);
    if (p->failed)
        expr_free(p->expr);
    return p->failed ? NULL : p->expr;
}

int expr_column(const char *text, size_t at)
{
    int column = 0;
    for (size_t i = 0; i < at; i++)
        column += ((unsigned char) text[i] & 0xc0) != 0x80;
    return column;
}

struct expr *expr_parse_part(struct ls_slice text, size_t *used, size_t *at, struct ls_error *err)
{
    size_t len = text.len < EXPR_LEN_MAX + 2 ? text.len : EXPR_LEN_MAX + 2;
    while (len < text.len && ((unsigned char) text.data[len] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    struct parser p = {.text = text.data, .len = len, .part = true, .err = err};
    struct expr *e = parse(&p);
    *used = p.end + 2;
    *at = p.failed_at;
    return e;
}

struct expr *expr_parse(const char *text, int *column, struct ls_error *err)
{
    size_t len = strlen(text);
    if (column)
        *column = 0;
    if (len > EXPR_LEN_MAX) {
        error_set(err, "BAD_VALUE", "the expression is longer than %d bytes", EXPR_LEN_MAX);
        return NULL;
    }
    struct parser p = {.text = text, .len = len, .err = err};
    struct expr *e = parse(&p);
    if (!e && column)
        *column = expr_column(text, p.failed_at);
    return e;
}

void expr_free(struct expr *expr)
{
    if (!expr)
        return;
    for (size_t i = 0; i < expr->count; i++)
        json_decref(expr->nodes[i].value);
    free(expr->nodes);
    free(expr);
}
