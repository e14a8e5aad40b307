/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_EXPR_TREE_H
#define WORKFLOW_EXPR_TREE_H
#include "workflow/expr.h"

/* An expression as a tree, for expr_*.c and template.c only. Nodes lie in one array and name each other by index;
 * -1: none. */

#define EXPR_LEN_MAX 4096   /* bytes of one expression */
#define EXPR_DEPTH_MAX 50   /* of brackets, functions, signs and conditions in each other */
#define EXPR_TEXT_MAX (1 << 20) /* bytes of a text that an expression or a template makes */

enum expr_op {
    EXPR_LITERAL, /* value */
    EXPR_NAME,    /* value: a text, looked up in the scope */
    EXPR_MEMBER,  /* a.value */
    EXPR_INDEX,   /* a[b] */
    EXPR_LIST,    /* [a, a's next, ...] */
    EXPR_CALL,    /* function(a, a's next, ...) */
    EXPR_NOT, EXPR_NEGATE,
    EXPR_MULTIPLY, EXPR_DIVIDE, EXPR_REMAINDER, EXPR_ADD, EXPR_SUBTRACT,
    EXPR_LESS, EXPR_LESS_EQUAL, EXPR_MORE, EXPR_MORE_EQUAL, EXPR_EQUAL, EXPR_UNEQUAL, EXPR_IN,
    EXPR_AND, EXPR_OR,
    EXPR_CHOICE,  /* a ? b : c */
};

struct expr_node {
    enum expr_op op;
    int a, b, c, next;
    json_t *value;
    const struct expr_function *function;
};

struct expr {
    struct expr_node *nodes;
    size_t count, room;
    int root;
};

/* ---- expr_parse.c ---- */

/* expr_parse_part reads an expression that ends with "}}"; *used is then behind that. Otherwise as expr_parse; *at
 * gets the place in bytes. */
struct expr *expr_parse_part(struct ls_slice text, size_t *used, size_t *at, struct ls_error *err);
/* expr_column: how many characters there are before the byte `at`. */
int expr_column(const char *text, size_t at);

/* ---- expr_function.c ---- */

struct expr_function {
    const char *name; /* NULL ends the table */
    int arguments;
    json_t *(*call)(json_t *const *arguments, struct ls_error *err);
};
extern const struct expr_function EXPR_FUNCTIONS[];
#define EXPR_ARGUMENTS_MAX 2

/* ---- expr_value.c: what operators do with JSON values; each gives a new reference, or NULL with BAD_VALUE ---- */

struct expr_number {
    bool whole;
    int64_t count; /* whole */
    double real;   /* always */
};
bool expr_number(const json_t *value, struct expr_number *number); /* of a number, or of a text that reads as one */
bool expr_equal(const json_t *a, const json_t *b);
int expr_compare(const json_t *a, const json_t *b, int *order, struct ls_error *err);
json_t *expr_arithmetic(enum expr_op op, const json_t *a, const json_t *b, struct ls_error *err);
bool expr_contains(const json_t *whole, const json_t *part);
json_t *expr_member(const json_t *value, const char *key); /* null where there is none */
json_t *expr_item(const json_t *value, const json_t *index);
void expr_text(const json_t *value, struct buf *out); /* as a template shows it */
json_t *expr_real(double number, struct ls_error *err);
const char *expr_kind(const json_t *value); /* "a text", for messages */

#endif
