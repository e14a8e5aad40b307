/* SPDX-License-Identifier: Apache-2.0 */
/* The command and the environment of a node's process. Built-in kinds run in lineshaft-node, which stands beside us. */
#include "cli/up/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/json.h"
#include "lib/xmem.h"

#define NODE_PROGRAM "lineshaft-node"
#define DRAIN_MARGIN_MS 2000 /* between the end of a node's own patience and SIGKILL */

const char *launch_self(void)
{
    static char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    path[len > 0 ? len : 0] = '\0';
    return path;
}

char *launch_beside(const char *program)
{
    const char *self = launch_self(), *slash = strrchr(self, '/');
    return xasprintf("%.*s%s", slash ? (int) (slash + 1 - self) : 0, self, program);
}

char **launch_texts(char *const *texts)
{
    size_t count = 0;
    while (texts[count])
        count++;
    char **copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = xstrdup(texts[i]);
    return copy;
}

void launch_texts_free(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

void launch_set(char ***env, char *entry)
{
    size_t count = 0, len = strcspn(entry, "=") + 1;
    for (; (*env)[count]; count++)
        if (strncmp((*env)[count], entry, len) == 0) {
            free((*env)[count]);
            (*env)[count] = entry;
            return;
        }
    *env = xrealloc(*env, (count + 2) * sizeof **env);
    (*env)[count] = entry;
    (*env)[count + 1] = NULL;
}

/* What our own environment says of another node is none of this one's business. */
static void unset(char **env, const char *name)
{
    size_t kept = 0, len = strlen(name);
    for (size_t i = 0; env[i]; i++)
        if (strncmp(env[i], name, len) == 0 && env[i][len] == '=')
            free(env[i]);
        else
            env[kept++] = env[i];
    env[kept] = NULL;
}

char *launch_url(const char *host, int port)
{
    if (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    return xasprintf(strchr(host, ':') ? "tcp://[%s]:%d" : "tcp://%s:%d", host, port);
}

char *launch_member(const struct topology_node *node, long replica)
{
    return node->replicas > 1 ? xasprintf("%s.%ld", node->name, replica) : xstrdup(node->name);
}

char **launch_command(const struct topology_node *node)
{
    if (!node->builtin)
        return launch_texts(node->command.items);
    char *program = launch_beside(NODE_PROGRAM);
    char **command = xcalloc(3, sizeof *command);
    command[0] = program;
    command[1] = xstrdup(node->builtin->name);
    return command;
}

bool launch_possible(const char *command, const struct topology_node *node)
{
    char *program = launch_beside(NODE_PROGRAM);
    bool possible = !node->builtin || access(program, X_OK) == 0;
    if (!possible)
        fprintf(stderr,
                "lineshaft %s: node \"%s\" is of the kind %s, which the program " NODE_PROGRAM " runs; there is none at %s.\n"
                "  It belongs into the same folder as lineshaft: `make` builds both, `make install` installs both.\n",
                command, node->name, node->builtin->name, program);
    free(program);
    return possible;
}

static void json_list(struct buf *out, const char *key, const struct text_list *list)
{
    buf_addf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            buf_add_byte(out, ',');
        json_put_text(out, list->items[i]);
    }
    buf_add_byte(out, ']');
}

/* What a node is told of itself. */
static char *node_options(const struct topology_node *node, long replica)
{
    struct buf out = {0};
    buf_addf(&out, "{\"node\":\"%s\",\"replica\":%ld,\"replicas\":%lld", node->name, replica, (long long) node->replicas);
    json_list(&out, "takes", &node->takes);
    json_list(&out, "gives", &node->gives);
    json_list(&out, "serves", &node->serves);
    json_list(&out, "asks", &node->asks);
    if (node->serves.count)
        buf_addf(&out, ",\"slots\":%lld", (long long) node->slots);
    if (node->consumer) {
        buf_addf(&out, ",\"consumer\":");
        json_put_text(&out, node->group);
        buf_addf(&out, ",\"stream\":");
        json_put_text(&out, node->consumer->stream_name);
        buf_addf(&out, ",\"window\":%lld", (long long) node->delivery.window);
    }
    buf_addf(&out, ",\"options\":%s}", node->options);
    char *text = xstrdup(buf_text(&out));
    buf_fini(&out);
    return text;
}

/* How long the node may finish its work after SIGTERM: less than until SIGKILL. */
static long long drain_ms(const struct topology_node *node)
{
    int64_t most = node->stop_timeout - DRAIN_MARGIN_MS, least = node->stop_timeout / 2;
    return most > least ? most : least;
}

char **launch_environment(const struct topology_node *node, long replica, const char *url)
{
    char **env = launch_texts(environ), *options = node_options(node, replica), *member = launch_member(node, replica);
    launch_set(&env, xasprintf("LINESHAFT_URL=%s", url));
    launch_set(&env, xasprintf("LINESHAFT_NODE=%s", node->name));
    launch_set(&env, xasprintf("LINESHAFT_MEMBER=%s", member));
    unset(env, "LINESHAFT_CONSUMER");
    if (node->group)
        launch_set(&env, xasprintf("LINESHAFT_CONSUMER=%s", node->group));
    launch_set(&env, xasprintf("LINESHAFT_OPTIONS=%s", options));
    launch_set(&env, xasprintf("LINESHAFT_DRAIN_MS=%lld", drain_ms(node)));
    for (size_t i = 0; i < node->environment.count; i++)
        launch_set(&env, xasprintf("%s=%s", node->environment.keys[i], node->environment.values[i]));
    free(options);
    free(member);
    return env;
}
