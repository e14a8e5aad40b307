/* SPDX-License-Identifier: Apache-2.0 */
/* From the YAML tree to the model: reads each section by its table, then has the checks across sections made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/xmem.h"
#include "topology/tables.h"

static const char SYS[] = "$sys";

struct loader {
    struct topology *t;
    struct diag_list *diags;
};

static struct option_context context(const struct loader *l, const char *what)
{
    return (struct option_context){.pool = &l->t->pool, .diags = l->diags, .what = what};
}

/* The map of a section; NULL when it is absent or empty. */
static const struct value *section(const struct loader *l, const char *name)
{
    const struct value *v = value_find(l->t->root, name);
    if (!v || value_is_null(v) || v->type == VALUE_MAP)
        return v && v->type == VALUE_MAP ? v : NULL;
    struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "\"%s\" must be a map", name);
    diag_hint(d, "one entry a line, indented: \"name:\" and its options");
    return NULL;
}

static size_t map_count(const struct value *map)
{
    return map ? map->count : 0;
}

/* The map of one entry; an empty entry is an empty map, so that what is missing gets reported. */
static const struct value *entry(const struct loader *l, const struct value *map, size_t i, const char *what)
{
    static const struct value EMPTY = {.type = VALUE_MAP};
    const struct value *v = map->items[i];
    if (v->type == VALUE_MAP)
        return v;
    if (value_is_null(v))
        return &EMPTY;
    struct diag *d = diag_add(l->diags, DIAG_TYPE_WRONG, v->at, "%s must be a map of options", what);
    diag_hint(d, "{option: value, ...}, or one option a line, indented");
    return NULL;
}

static bool entry_name(const struct loader *l, const struct value *key, const char *what)
{
    struct option_context ctx = context(l, what);
    bool reserved = *key->text == '$' || (!strcmp(what, "node") && !strcmp(key->text, "broker"));
    if (!reserved)
        return name_check(&ctx, key, what);
    char shown[VALUE_SHOWN_SIZE];
    struct diag *d = diag_add(l->diags, DIAG_NAME_RESERVED, key->at, "the %s name %s is reserved", what,
                              value_shown(key, false, shown));
    if (*key->text == '$')
        diag_hint(d, "names that begin with $ belong to the broker; the stream $sys can be tuned");
    return false;
}

static void load_broker(const struct loader *l)
{
    struct option_context ctx = context(l, "the broker");
    l->t->broker.at = section(l, "broker");
    options_parse(&ctx, OPTIONS_BROKER, l->t->broker.at, (struct place){0}, &l->t->broker);
}

static void load_stream(const struct loader *l, const struct value *map, size_t i, struct topology_stream *s)
{
    char *what = xasprintf("stream \"%.64s\"", map->keys[i]->text);
    struct option_context ctx = context(l, what);
    entry_name(l, map->keys[i], "stream");
    s->name = pool_text(&l->t->pool, map->keys[i]->text, strlen(map->keys[i]->text));
    s->place = map->keys[i]->at;
    s->at = entry(l, map, i, what);
    options_parse(&ctx, OPTIONS_STREAM, s->at, s->place, s);
    free(what);
}

/* $sys has its own defaults, and its topics cannot be changed. */
static void load_sys_stream(const struct loader *l, const struct value *streams, struct topology_stream *s)
{
    static const char *const TOPICS[] = {"$dlq.>", "$sys.rejected"};
    struct option_def table[16] = {0};
    for (size_t i = 0; OPTIONS_STREAM[i].name && i < 15; i++) {
        table[i] = OPTIONS_STREAM[i];
        table[i].flags &= ~OPTION_REQUIRED;
    }
    struct option_context ctx = context(l, "stream \"$sys\"");
    const struct value *key = value_find_key(streams, SYS), *topics = NULL;
    for (size_t i = 0; i < map_count(streams); i++)
        if (streams->keys[i] == key)
            s->at = entry(l, streams, i, ctx.what);
    s->place = key ? key->at : (struct place){0};
    options_parse(&ctx, table, s->at, s->place, s);
    topics = value_find_key(s->at, "topics");
    if (topics) {
        struct diag *d =
            diag_add(l->diags, DIAG_NAME_RESERVED, topics->at, "the topics of the stream \"$sys\" are fixed");
        diag_hint(d, "leave them out; the other options can be set");
    }
    const struct value *retain = value_find(s->at, "retain");
    if (!value_find(s->at, "segment"))
        s->segment = INT64_C(4) << 20;
    if (!value_find(retain, "age"))
        s->retain.age = INT64_C(30) * 86400000;
    if (!value_find(retain, "size"))
        s->retain.size = INT64_C(256) << 20;
    s->name = pool_text(&l->t->pool, SYS, strlen(SYS));
    s->builtin = true;
    s->topics.items = pool_alloc(&l->t->pool, 3, sizeof *s->topics.items);
    s->topics.places = pool_alloc(&l->t->pool, 3, sizeof *s->topics.places);
    for (s->topics.count = 0; s->topics.count < 2; s->topics.count++)
        s->topics.items[s->topics.count] =
            pool_text(&l->t->pool, TOPICS[s->topics.count], strlen(TOPICS[s->topics.count]));
}

static void load_streams(const struct loader *l)
{
    struct topology *t = l->t;
    const struct value *map = section(l, "streams");
    t->streams = pool_alloc(&t->pool, map_count(map) + 1, sizeof *t->streams);
    for (size_t i = 0; i < map_count(map); i++)
        if (strcmp(map->keys[i]->text, SYS))
            load_stream(l, map, i, &t->streams[t->stream_count++]);
    load_sys_stream(l, map, &t->streams[t->stream_count++]);
}

static void load_nodes(const struct loader *l)
{
    struct topology *t = l->t;
    const struct value *map = section(l, "nodes");
    const struct option_def *common = node_options(&t->pool, t->kinds);
    t->nodes = pool_alloc(&t->pool, map_count(map), sizeof *t->nodes);
    for (size_t i = 0; i < map_count(map); i++) {
        struct topology_node *n = &t->nodes[t->node_count++];
        char *what = xasprintf("node \"%.64s\"", map->keys[i]->text);
        entry_name(l, map->keys[i], "node");
        n->name = pool_text(&t->pool, map->keys[i]->text, strlen(map->keys[i]->text));
        n->place = map->keys[i]->at;
        n->at = entry(l, map, i, what);
        node_load(t, l->diags, common, n);
        free(what);
    }
}

static void load_consumers(const struct loader *l)
{
    struct topology *t = l->t;
    const struct value *map = section(l, "consumers");
    t->consumers = pool_alloc(&t->pool, map_count(map) + t->node_count, sizeof *t->consumers);
    for (size_t i = 0; i < map_count(map); i++) {
        struct topology_consumer *c = &t->consumers[t->consumer_count++];
        char *what = xasprintf("consumer \"%.64s\"", map->keys[i]->text);
        struct option_context ctx = context(l, what);
        entry_name(l, map->keys[i], "consumer");
        c->name = pool_text(&t->pool, map->keys[i]->text, strlen(map->keys[i]->text));
        c->declared = true;
        c->place = map->keys[i]->at;
        c->at = entry(l, map, i, what);
        options_parse(&ctx, OPTIONS_CONSUMER, c->at, c->place, c);
        free(what);
    }
}

static void load_model(const struct loader *l)
{
    struct option_context ctx = context(l, "the topology");
    options_parse(&ctx, OPTIONS_TOP, l->t->root, (struct place){1, 1, 0}, l->t);
    load_broker(l);
    load_streams(l);
    load_nodes(l);
    load_consumers(l);
    consumers_resolve(l->t, l->diags);
    settings_check(l->t, l->diags);
    wiring_check(l->t, l->diags);
}

struct topology *topology_load_text(const struct topology_text *text, const struct kind *const *kinds,
                                    struct diag_list *diags)
{
    struct topology *t = xcalloc(1, sizeof *t);
    struct loader l = {t, diags};
    diag_list_source(diags, text->path, text->data, text->len);
    t->kinds = kinds;
    t->file = pool_text(&t->pool, text->path, strlen(text->path));
    t->root = value_parse(&t->pool, text->data, text->len, diags);
    if (t->root && t->root->type == VALUE_MAP) {
        load_model(&l);
    } else {
        if (!diags->error_count) {
            struct diag *d = diag_add(diags, DIAG_TYPE_WRONG, t->root ? t->root->at : (struct place){0},
                                      t->root ? "the file is not a map" : "the file is empty");
            diag_hint(d, "a topology begins with \"lineshaft: 1\"");
        }
        topology_destroy(&t);
    }
    diag_sort(diags);
    return t;
}

/* What is too large is refused by who reads the text. */
static bool read_all(const char *path, struct buf *text, const char **why)
{
    bool ok = file_load(path, VALUE_FILE_MAX, text) == 0 || errno == EFBIG;
    *why = ok ? NULL : file_problem(errno);
    return ok;
}

struct topology *topology_load(const char *path, const struct kind *const *kinds, struct diag_list *diags)
{
    struct buf text = {0};
    const char *why = NULL;
    struct topology *t = NULL;
    if (read_all(path, &text, &why)) {
        t = topology_load_text(&(struct topology_text){path, buf_text(&text), text.len}, kinds, diags);
    } else {
        diag_list_source(diags, path, "", 0);
        diag_add(diags, DIAG_FILE_UNREADABLE, (struct place){0}, "the topology cannot be read: %s", why);
    }
    buf_fini(&text);
    return t;
}

void topology_destroy(struct topology **topology)
{
    if (!*topology)
        return;
    struct pool pool = (*topology)->pool;
    free(*topology);
    pool_fini(&pool);
    *topology = NULL;
}
