/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKFLOW_EXPR_H
#define WORKFLOW_EXPR_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* Expressions (`when`, `filter`) and templates (`{{ ... }}`) over JSON values. docs/workflows.md is the reference.
 *
 * Literals: numbers, 'text' or "text", [lists], true false null. Paths: inputs.order, outputs.train.perplexity,
 * event.data.name, a["b"], a[0]; a path that leads nowhere is null. Operators, tightest first: ! and -, * / %, + -
 * (+ joins texts), < <= > >=, == !=, in (not in), not, && (and), || (or; gives its first true-ish operand), cond ? a
 * : b. Functions: number(x) text(x) length(x) lower(x) contains(a, b) starts_with(a, b) matches(topic, pattern)
 * quote(x). false, null, 0, "", [] and {} are false. Comparing a number with a text that reads as one compares
 * numbers; other unlike types are unequal, and < of them is an error. */

struct expr;

/* expr_parse: NULL with BAD_VALUE; *column (may be NULL) gets the offending character's place from 0. Nesting and
 * length are bounded. */
struct expr *expr_parse(const char *text, int *column, struct ls_error *err);
void expr_free(struct expr *expr);
/* expr_eval: a new reference; NULL with BAD_VALUE. `scope` is an object of the names. */
json_t *expr_eval(const struct expr *expr, const json_t *scope, struct ls_error *err);
bool expr_truth(const json_t *value);
/* expr_names calls fn with the first two steps of every path ("outputs", "train"); the second may be NULL. For
 * checks. */
void expr_names(const struct expr *expr, void (*fn)(void *arg, const char *first, const char *second), void *arg);

/* template_check: 0, or -1 with BAD_VALUE and *column. template_names: as expr_names, of a template that is
 * well-formed. */
int template_check(const char *text, int *column, struct ls_error *err);
void template_names(const char *text, void (*fn)(void *arg, const char *first, const char *second), void *arg);
/* template_fill appends the text with every {{ expression }} replaced: texts as they are, null as nothing, others as
 * JSON. `\{{` is a literal {{. */
int template_fill(const char *text, const json_t *scope, struct buf *out, struct ls_error *err);
/* template_value fills every text in a JSON value (new reference); a text that is one single {{ expression }}
 * becomes its value with its type. */
json_t *template_value(const json_t *value, const json_t *scope, struct ls_error *err);

#endif
