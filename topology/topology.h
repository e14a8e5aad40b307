/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_TOPOLOGY_H
#define TOPOLOGY_TOPOLOGY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/kind.h"
#include "yaml/option.h"

/* The model of a topology file: what it says, with defaults filled in. Durations are in ms, sizes in bytes.
 * Everything belongs to the struct topology and lives until topology_destroy. */

enum topology_durability { DURABILITY_DISK, DURABILITY_MEMORY };
enum topology_share { TOPOLOGY_SHARE_GROUP, TOPOLOGY_SHARE_EACH };

struct topology_broker {
    struct topology_address listen;
    char *data;
    char *ipc; /* NULL: no ipc twins */
    bool insecure;
    int64_t header_max, body_max, batch_max, batch_count_max;
    int64_t connections_max, subscriptions_max, requests_max;
    int64_t memory, connection_memory;
    int64_t stats_every;
    const struct value *at;
};

struct topology_stream {
    char *name;
    bool builtin; /* $sys */
    struct text_list topics;
    int durability; /* enum topology_durability */
    struct {
        int64_t age, size, count; /* 0: no limit */
    } retain;
    int64_t segment;
    struct {
        int64_t window, count;
    } dedup;
    struct place place;
    const struct value *at; /* NULL: not in the file ($sys) */
};

/* What a node and a consumer can both say about how events are delivered. */
struct topology_delivery {
    struct topology_from from;
    int share; /* enum topology_share */
    int64_t window, window_bytes;
    int64_t ack_wait;
    struct duration_list backoff;
    int64_t max_deliver; /* 0: no end */
    int64_t member_ttl;
};

struct topology_consumer {
    char *name;
    char *stream_name; /* as resolved; NULL only when the check failed */
    const struct topology_stream *stream;
    struct text_list takes;
    struct topology_delivery delivery;
    const struct topology_node *node; /* the first node that consumes through it; NULL: an outside program */
    bool declared;                    /* stands under consumers: */
    struct place place;
    const struct value *at;
};

struct topology_node {
    char *name;
    int kind;                    /* 0: exec; else 1 + the index into topology->kinds; -1: no such kind, as reported */
    const struct kind *builtin;  /* NULL: exec, or no such kind */
    const struct option_def *own; /* the options of its kind, and where their values are */
    void *own_values;
    struct text_list command; /* exec; a command given as one string is {"/bin/sh", "-c", string} */
    char *directory;          /* NULL: the working directory */
    struct text_map environment;
    struct text_list takes, gives, serves, asks; /* the kind's, where the file does not say; at the node's place then */
    char *group; /* name of its consumer; NULL when it takes nothing */
    struct topology_delivery delivery;
    const struct topology_consumer *consumer; /* NULL: takes nothing */
    char *options; /* JSON object text; of a built-in kind: what the file sets, sizes in bytes, durations in ms */
    int64_t slots; /* requests at a time; 0: it serves nothing */
    struct {
        int64_t delay, delay_max; /* between restarts, doubling from delay to delay_max */
        int64_t limit, within;    /* so many ends within this time: crash loop */
    } restart;
    int64_t stop_timeout;
    int64_t replicas;
    struct place place;
    const struct value *at;
};

struct topology {
    char *file;
    char *name;
    const struct kind *const *kinds; /* as given to topology_load; borrowed */
    int64_t version;
    struct text_list schemas; /* folders */
    struct topology_broker broker;
    struct topology_stream *streams; /* in file order, the first match wins; the built-in $sys is always the last */
    size_t stream_count;
    struct topology_node *nodes;
    size_t node_count;
    struct topology_consumer *consumers; /* declared ones first, then those implied by nodes */
    size_t consumer_count;
    const struct value *root;
    struct pool pool;
};

/* topology_load reads, expands and checks a file, collecting all problems in `diags`, sorted. Returns NULL only when
 * there is no tree to look at (unreadable file, YAML syntax error). The model is fit for use only if
 * diags->error_count is 0. `kinds` are the built-in node kinds, NULL-terminated; they must outlive the topology. Reads
 * files named by ${file:}; blocks for as long as the disk does. */
struct topology *topology_load(const char *path, const struct kind *const *kinds, struct diag_list *diags);

/* topology_load_text does the same with text in memory; `path` is used in messages only. */
struct topology_text {
    const char *path, *data;
    size_t len;
};
struct topology *topology_load_text(const struct topology_text *text, const struct kind *const *kinds,
                                    struct diag_list *diags);
void topology_destroy(struct topology **topology);

/* topology_stream_takes: events that match `pattern` may reach the stream s, earlier streams considered. */
bool topology_stream_takes(const struct topology *t, const struct topology_stream *s, const char *pattern);

/* topology_print appends the effective settings as YAML, defaults filled in, secrets masked (`check -v`). */
void topology_print(const struct topology *t, struct buf *out);

/* topology_graph appends the wiring; format is "text", "dot", "json" or "mermaid"; false for another one. */
bool topology_graph(const struct topology *t, const char *format, struct buf *out);
extern const char *const TOPOLOGY_GRAPH_FORMATS[]; /* NULL-terminated */

/* topology_kind_name: the kind of a node of a topology without errors. */
const char *topology_kind_name(const struct topology_node *n);

/* Made from the option tables: the tables of docs/topology.md, and a JSON Schema (draft 2020-12) for editors. */
void topology_options_markdown(const struct kind *const *kinds, struct buf *out);
void topology_json_schema(const struct kind *const *kinds, struct buf *out);

/* A node kind as a page for the terminal (`help node KIND`), and as the tables of docs/nodes/KIND.md. `kind` NULL: exec. */
#define TOPOLOGY_EXEC_SUMMARY "a program of your own, in any language that speaks the wire protocol"
void topology_kind_text(const struct kind *kind, struct buf *out);
void topology_kind_markdown(const struct kind *kind, struct buf *out);

#endif
