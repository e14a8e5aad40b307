/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/render.h"

/* A table for people: columns as wide as their widest cell, numbers to the right. Zero-initialise, set the headings, add
 * cells row by row, print. Cells are made harmless. */
#define TABLE_COLUMNS_MAX 12
struct table_cell {
    char *text;
    enum colour colour;
};
struct table {
    const char *const *headings; /* NULL-terminated; one that begins with '>' is for a column aligned to the right */
    size_t columns;
    struct table_cell *cells;
    size_t count, room;
};
void table_init(struct table *table, const char *const *headings);
void table_add(struct table *table, const void *text, size_t len);
void table_addf(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* table_colour gives the cell that was added last a colour, which it has on a terminal. */
void table_colour(struct table *table, enum colour colour);
/* table_print writes to standard output, the last column cut at the width of a terminal; then frees the cells. With no rows it
 * says `nothing` on standard error. */
void table_print(struct table *table, const char *nothing);

#endif
