/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_KIND_H
#define LIB_KIND_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lineshaft.h"

/* What a node kind is, as data: its options, its wiring, its HTTP routes. `check`, `graph`, `help node`, the documents and
 * the JSON Schema are made from these tables alone; what the kind does is a struct node_code (lib/node.h). */

enum kind_option_type {
    KIND_TEXT,     /* const char * */
    KIND_BOOL,     /* bool */
    KIND_INT,      /* int64_t */
    KIND_NUMBER,   /* double; min and max do not apply */
    KIND_SIZE,     /* int64_t, bytes; written 64KiB */
    KIND_DURATION, /* int64_t, ms; written 30s */
    KIND_ENUM,     /* int, index into words */
    KIND_ADDRESS,  /* const char *, HOST:PORT; an IPv6 host in brackets; port 0: a free one */
    KIND_TEXTS,    /* struct kind_texts */
    KIND_TEXT_MAP, /* struct kind_text_map */
};

struct kind_texts {
    const char **items; /* NULL-terminated; NULL when the option is absent */
    size_t count;
};

struct kind_text_map {
    const char **keys, **values;
    size_t count;
};

/* A list of topics in a table: .takes = KIND_TOPICS("run.>", "chat.completed") */
#define KIND_TOPICS(...) ((const char *const[]){__VA_ARGS__, NULL})

#define KIND_REQUIRED 1u
#define KIND_SECRET 2u /* values from the environment or a file are masked wherever they are shown */

struct kind_option {
    const char *name; /* NULL ends the table */
    enum kind_option_type type;
    unsigned flags;
    size_t offset;        /* into the kind's options struct */
    const char *fallback; /* the default, as it would be written in YAML; NULL: none (NULL, 0, false) */
    int64_t min, max;     /* INT, SIZE, DURATION; max 0: no bounds */
    const char *const *words; /* ENUM; NULL-terminated */
    const char *help;     /* one or two sentences */
};

/* An HTTP route that `ingress` answers by a request over the bus (docs/nodes/ingress.md, "Routes of nodes"). */
struct kind_route {
    const char *method;  /* NULL ends the table */
    const char *path;    /* "/api/2.0/things/{name}"; {name...} at the end takes the rest, slashes and all */
    const char *topic;   /* of the request; the node serves it */
    const char *summary; /* one line for the OpenAPI document */
    /* Bodies too large for the bus: ingress passes the exchange, bytes and all, to the node's own HTTP door, of which the node says in
     * its `about` where it is (docs/decisions/038). `topic` then only names the service. */
    bool bytes;
};

/* A number that a node counts; shown in $sys.stats and /metrics as lineshaft_<kind>_<name>. A name that ends in _total only
 * grows; any other goes up and down. What a name with _seconds stands for is counted in milliseconds and told in seconds. */
struct kind_metric {
    const char *name; /* NULL ends the table; Prometheus form: lower case, _, base units */
    const char *help;
};

/* Wiring that depends on options: in place of the kind's own gives and asks. */
struct kind_wiring {
    const char *const *gives, *const *asks;
};

/* What a kind's check found: which option (NULL: the node as a whole), what is wrong, how to mend it. */
struct kind_problem {
    const char *option;
    char text[300], hint[300];
};

struct kind {
    const char *name, *summary;       /* as in the topology; one line */
    const char *about;                /* paragraphs for `help node` and docs/nodes/; may be NULL */
    const struct kind_option *options; /* ends with {0}; NULL: none */
    size_t options_size;              /* of the struct that they fill */
    /* Default wiring; NULL-terminated, NULL: none. A topology may override each. `asks` are topics of requests that it
     * sends. */
    const char *const *takes, *const *gives, *const *serves, *const *asks;
    int64_t slots;                    /* requests at a time; 0: 1 */
    const struct kind_route *routes;
    bool serves_routes_only; /* of the topics that match `serves` it answers those in `routes`; the rest are mistakes */
    const struct kind_metric *metrics;
    /* Options that depend on each other: true if all is well. No effect but on *problem; starts nothing. May be NULL. */
    bool (*check)(const void *options, struct kind_problem *problem);
    /* What a node with these options gives and asks for; NULL: as above. No effect. May be NULL. */
    const struct kind_wiring *(*wiring)(const void *options);
};

/* kind_options_read fills `options` (kind->options_size bytes, zeroed by this call) from the JSON text of an object whose
 * keys are option names, absent ones at their default; sizes are bytes, durations ms, as numbers. What it allocates is
 * freed by kind_options_free, which may be called on a zeroed struct. BAD_VALUE with the option's name for an unknown key,
 * a wrong type or a missing required option. Does not call kind->check. */
int kind_options_read(const struct kind *kind, const char *json, void *options, struct ls_error *err);
void kind_options_free(const struct kind *kind, void *options);

/* For checks: kind_complain fills *problem, texts copied (cut where they are too long), and returns false. kind_begins: whether
 * `text` begins with `with`; false for NULL. */
bool kind_complain(struct kind_problem *problem, const char *option, const char *text, const char *hint);
bool kind_begins(const char *text, const char *with);

#endif
