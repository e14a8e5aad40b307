/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of options that depend on each other, and of what must exist outside the file: commands and folders. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/xmem.h"
#include "topology/tables.h"

struct place option_place(const struct value *map, const char *key, struct place instead)
{
    const struct value *v = value_find(map, key);
    return v ? v->at : instead;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return !strcmp(host, "localhost");
}

static void check_broker(const struct topology *t, struct diag_list *diags)
{
    const struct topology_broker *b = &t->broker;
    struct place listen = option_place(b->at, "listen", (struct place){0});
    if (!is_loopback(b->listen.host) && !b->insecure) {
        struct diag *d = diag_add(diags, DIAG_LISTEN_NOT_LOOPBACK, listen,
                                  "the broker would be open to the network at %.200s", b->listen.text);
        diag_hint(d, "listen on 127.0.0.1, or say insecure: true where the network itself is closed");
    }
    if (b->batch_max < b->header_max + b->body_max)
        diag_add(diags, DIAG_VALUE_RANGE, option_place(b->at, "batch_max", option_place(b->at, "body_max", listen)),
                 "the broker: \"batch_max\" must have room for one event of \"header_max\" and \"body_max\"");
    if (b->connection_memory > b->memory)
        diag_add(diags, DIAG_VALUE_RANGE,
                 option_place(b->at, "connection_memory", option_place(b->at, "memory", listen)),
                 "the broker: \"connection_memory\" must be at most \"memory\"");
}

static void check_retain(const struct topology_stream *s, struct diag_list *diags)
{
    struct buf least = {0};
    if (!s->retain.size || s->retain.size >= 2 * s->segment)
        return;
    size_text(2 * s->segment, &least);
    struct place at = option_place(s->at, "segment", s->place);
    struct diag *d = diag_add(diags, DIAG_RETAIN_TOO_SMALL, option_place(value_find(s->at, "retain"), "size", at),
                              "stream \"%.64s\" cannot retain less than two segments", s->name);
    diag_hint(d, "retain at least %s, or make \"segment\" smaller", buf_text(&least));
    buf_fini(&least);
}

static void check_window(const struct topology *t, const struct topology_consumer *c, struct diag_list *diags)
{
    struct buf most = {0};
    if (c->delivery.window_bytes <= t->broker.connection_memory)
        return;
    size_text(t->broker.connection_memory, &most);
    struct diag *d = diag_add(diags, DIAG_WINDOW_TOO_BIG, option_place(c->at, "window_bytes", c->place),
                              "consumer \"%.64s\" may hold more bytes than one peer is allowed", c->name);
    diag_hint(d, "at most %s, the broker's \"connection_memory\"", buf_text(&most));
    buf_fini(&most);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return !stat(path, &info) && S_ISDIR(info.st_mode);
}

static bool is_program(const char *path)
{
    struct stat info;
    return !access(path, X_OK) && !stat(path, &info) && S_ISREG(info.st_mode);
}

static bool found_in_path(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; *at;) {
        size_t len = strcspn(at, ":");
        char *full = xasprintf("%.*s/%s", (int) len, at, program);
        bool found = is_program(full);
        free(full);
        if (found)
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

static bool sets_path(const struct topology_node *n)
{
    for (size_t i = 0; i < n->environment.count; i++)
        if (!strcmp(n->environment.keys[i], "PATH"))
            return true;
    return false;
}

static void check_program(const struct topology_node *n, struct diag_list *diags)
{
    const char *program = n->command.items[0];
    bool has_slash = strchr(program, '/') != NULL;
    bool inside = has_slash && *program != '/' && n->directory;
    char *full = inside ? xasprintf("%s/%s", n->directory, program) : xstrdup(program);
    bool found = has_slash ? is_program(full) : sets_path(n) || found_in_path(program);
    if (!found) {
        const struct value *command = value_find(n->at, "command");
        char shown[VALUE_SHOWN_SIZE];
        struct diag *d =
            diag_add(diags, DIAG_COMMAND_NOT_FOUND, n->command.places[0], "node \"%.64s\": the program %s is not found",
                     n->name, value_shown(command->type == VALUE_LIST ? command->items[0] : command, true, shown));
        diag_hint(d, !has_slash ? "it is looked for in PATH"
                     : inside   ? "it is looked for in the node's directory"
                                : "it is looked for in the working directory");
    }
    free(full);
}

static void check_node(const struct topology_node *n, struct diag_list *diags)
{
    const struct value *command = value_find(n->at, "command");
    if (n->kind == 0 && (!command || (command->type == VALUE_LIST && !command->count))) {
        struct diag *d = diag_add(diags, DIAG_COMMAND_MISSING, command ? command->at : n->place,
                                  "node \"%.64s\" has no command", n->name);
        diag_hint(d, "say what to start: command: [program, argument]");
    }
    if (n->directory && !is_folder(n->directory)) {
        struct diag *d = diag_add(diags, DIAG_DIRECTORY_MISSING, option_place(n->at, "directory", n->place),
                                  "node \"%.64s\": there is no folder \"%.200s\"", n->name, n->directory);
        diag_hint_path(diags, d, n->directory, "make it");
    } else if (n->command.count) {
        check_program(n, diags);
    }
    if (n->restart.delay > n->restart.delay_max)
        diag_add(diags, DIAG_VALUE_RANGE, option_place(value_find(n->at, "restart"), "delay", n->place),
                 "node \"%.64s\", restart: \"delay\" must be at most \"delay_max\"", n->name);
}

void settings_check(const struct topology *t, struct diag_list *diags)
{
    check_broker(t, diags);
    for (size_t i = 0; i < t->stream_count; i++)
        check_retain(&t->streams[i], diags);
    for (size_t i = 0; i < t->consumer_count; i++)
        check_window(t, &t->consumers[i], diags);
    for (size_t i = 0; i < t->node_count; i++)
        check_node(&t->nodes[i], diags);
    for (size_t i = 0; i < t->schemas.count; i++) {
        if (is_folder(t->schemas.items[i]))
            continue;
        struct diag *d = diag_add(diags, DIAG_SCHEMA_FOLDER_MISSING, t->schemas.places[i],
                                  "there is no folder \"%.200s\" with schemas", t->schemas.items[i]);
        diag_hint_path(diags, d, t->schemas.items[i], "make it");
    }
}
