/* SPDX-License-Identifier: Apache-2.0 */
/* lineshaft-node: runs one node of a built-in kind. `lineshaft up` and `lineshaft node` start it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/node.h"
#include "nodes/kinds.h"

#define NAME_MAX_COMPARED 32

#define DECLARE(name) extern const struct node_code node_##name;
NODE_KINDS(DECLARE)

#define ADDRESS(name) &node_##name,
static const struct node_code *const CODES[] = {NODE_KINDS(ADDRESS) NULL};

static const char USAGE[] =
    "lineshaft-node - run one node of a built-in kind\n"
    "\n"
    "SYNOPSIS\n"
    "  lineshaft-node KIND\n"
    "  lineshaft-node --list | --help | --version\n"
    "\n"
    "DESCRIPTION\n"
    "  `lineshaft up TOPOLOGY` and `lineshaft node` start this program; there is rarely a reason to do it by hand. It finds\n"
    "  its whole configuration in its environment: LINESHAFT_URL (the broker), LINESHAFT_NODE, LINESHAFT_MEMBER,\n"
    "  LINESHAFT_CONSUMER and LINESHAFT_OPTIONS (a JSON object; `lineshaft help node KIND` lists the options).\n"
    "\n"
    "  SIGTERM or SIGINT: takes nothing new, finishes what is under way within LINESHAFT_DRAIN_MS (8000), ends. A second one\n"
    "  ends it at once.\n"
    "\n"
    "EXIT STATUS\n"
    "  0  stopped in order\n"
    "  1  failed; `up` starts it again\n"
    "  2  wrong usage, or a configuration that cannot work\n";

static void print_names(FILE *out)
{
    for (size_t i = 0; CODES[i]; i++)
        fprintf(out, "%s\n", CODES[i]->kind->name);
}

/* Levenshtein distance, names cut to NAME_MAX_COMPARED. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_COMPARED + 1], a_len = strnlen(a, NAME_MAX_COMPARED), b_len = strnlen(b, NAME_MAX_COMPARED);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

static int unknown(const char *name)
{
    fprintf(stderr, "lineshaft-node: there is no kind \"%s\"", name);
    const char *separator = "; did you mean ";
    for (size_t i = 0; CODES[i]; i++)
        if (distance(name, CODES[i]->kind->name) <= 1 + strlen(name) / 4) {
            fprintf(stderr, "%s%s", separator, CODES[i]->kind->name);
            separator = " or ";
        }
    fputs(*separator == ';' ? ". There are:\n" : "?\n", stderr);
    if (*separator == ';')
        print_names(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *word = argc == 2 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(USAGE, stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        puts("lineshaft-node " LINESHAFT_VERSION);
        return 0;
    }
    if (strcmp(word, "--list") == 0) {
        print_names(stdout);
        return 0;
    }
    if (!*word || *word == '-') {
        fputs("lineshaft-node: give the name of one kind (--list shows them); `lineshaft up` or `lineshaft node` does it\n",
              stderr);
        return 2;
    }
    for (size_t i = 0; CODES[i]; i++)
        if (strcmp(CODES[i]->kind->name, word) == 0)
            return node_run(CODES[i]);
    return unknown(word);
}
