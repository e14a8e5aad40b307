/* SPDX-License-Identifier: Apache-2.0 */
/* Where the broker and the nodes of a topology listen, and what to do when somebody else does: the message names who has the port, the line
 * of the file, and the variable in it. */
#include "cli/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/port.h"
#include "lib/xmem.h"

#define OTHER_PORT 100 /* how far away the port is that we propose */
#define PORT_MAX 65535
#define ADDRESS_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:/*[]\"'"

/* ---- addresses of nodes ---- */

struct address {
    char host[256];
    int port; /* 0: a free one */
};

/* Of HOST:PORT, as the topology has checked it. */
static struct address address_of(const char *text)
{
    struct address a = {0};
    const char *colon = strrchr(text, ':');
    bool bracketed = *text == '[';
    if (!colon)
        return a;
    snprintf(a.host, sizeof a.host, "%.*s", (int) (colon - text - 2 * bracketed), text + bracketed);
    a.port = (int) strtol(colon + 1, NULL, 10);
    return a;
}

static const char *address_text(const struct topology_node *n, const struct option_def *opt)
{
    return *(char *const *) (const void *) ((const char *) n->own_values + opt->offset);
}

static bool is_every(const char *host)
{
    return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0;
}

char *listen_pages(const struct topology *t)
{
    struct buf out = {0};
    for (size_t i = 0; i < t->node_count; i++) {
        const struct topology_node *n = &t->nodes[i];
        if (!n->builtin || strcmp(n->builtin->name, "ingress") != 0)
            continue;
        for (const struct option_def *opt = n->own; opt->name; opt++) {
            struct address a = {0};
            if (opt->type == OPTION_HOST_PORT && address_text(n, opt))
                a = address_of(address_text(n, opt));
            if (!a.port)
                continue;
            const char *host = is_every(a.host) ? "127.0.0.1" : strcmp(a.host, "::") == 0 ? "::1" : a.host;
            buf_addf(&out, strchr(host, ':') ? "%shttp://[%s]:%d/" : "%shttp://%s:%d/", out.len ? ", " : "", host, a.port);
        }
    }
    char *text = out.len ? xstrdup(buf_text(&out)) : NULL;
    buf_fini(&out);
    return text;
}

/* ---- what is taken ---- */

int listen_bus_taken(const char *host, int base)
{
    for (int port = base; port < base + LISTEN_BUS_PORTS; port++)
        if (!port_is_free(host, port))
            return port;
    return 0;
}

/* The variable in `listen: "127.0.0.1:${env:NAME:-7480}"` if the port of the value comes from one. The caller frees it. */
static char *port_variable(const char *text, const struct value *v)
{
    if (!v || !text)
        return NULL;
    for (int line = 1; line < v->at.line && text; line++) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    if (!text)
        return NULL;
    size_t len = strcspn(text, "\n"), from = 0;
    for (int column = 1; column < v->at.column && from < len; column++) /* characters, which may be of several bytes */
        for (from++; from < len && ((unsigned char) text[from] & 0xc0) == 0x80;)
            from++;
    const char *end = text + from + strspn(text + from, ADDRESS_BYTES);
    bool named = end > text + from && end[-1] == ':' && strncmp(end, "${env:", 6) == 0;
    return named ? xstrndup(end + 6, strcspn(end + 6, ":}\n")) : NULL;
}

static int another(int port)
{
    return port + OTHER_PORT <= PORT_MAX - LISTEN_BUS_PORTS ? port + OTHER_PORT : port - OTHER_PORT;
}

/* "port 7480 on 127.0.0.1 is taken by ...". */
static void say_taken(const char *host, int port, struct buf *holder)
{
    fprintf(stderr, "lineshaft up: port %d on %s is taken", port, host);
    if (port_holder(port, holder))
        fprintf(stderr, " by %s", buf_text(holder));
    fputs(".\n", stderr);
}

static void say_bus_taken(const struct topology *t, const char *text, int port)
{
    struct buf holder = {0};
    int base = t->broker.listen.port;
    const struct value *listen = value_find(t->broker.at, "listen");
    char *variable = port_variable(text, listen);
    say_taken(t->broker.listen.host, port, &holder);
    fprintf(stderr, "  The broker needs the ports %d to %d. Stop what has them, or choose others: ", base, base + LISTEN_BUS_PORTS - 1);
    if (variable)
        fprintf(stderr, "%s=%d lineshaft up %s\n", variable, another(base), t->file);
    else if (listen)
        fprintf(stderr, "broker.listen in %s, line %d\n", t->file, listen->at.line);
    else
        fprintf(stderr, "broker: {listen: \"tcp://127.0.0.1:%d\"} in %s\n", another(base), t->file);
    if (holder.len && strstr(buf_text(&holder), " broker "))
        fputs("  That is a lineshaft broker: perhaps this topology is up already.\n", stderr);
    buf_fini(&holder);
    free(variable);
}

static void say_node_taken(const struct topology *t, const char *text, const struct topology_node *n, const struct option_def *opt)
{
    struct buf holder = {0};
    struct address a = address_of(address_text(n, opt));
    const struct value *written = value_find(n->at, opt->name);
    char *variable = port_variable(text, written);
    say_taken(a.host, a.port, &holder);
    fprintf(stderr, "  Node \"%s\" (%s) listens there. Stop what has it, or choose another: ", n->name, n->builtin->name);
    if (variable)
        fprintf(stderr, "%s=%d lineshaft up %s\n  (%s of the node, %s:%d)\n", variable, another(a.port), t->file, opt->name, t->file,
                written->at.line);
    else if (written)
        fprintf(stderr, "%s of the node, %s:%d\n", opt->name, t->file, written->at.line);
    else
        fprintf(stderr, "%s: \"127.0.0.1:%d\" at the node, %s:%d\n", opt->name, another(a.port), t->file, n->place.line);
    if (holder.len && strstr(buf_text(&holder), "lineshaft-node "))
        fputs("  That is a lineshaft node: perhaps a topology is up already.\n", stderr);
    buf_fini(&holder);
    free(variable);
}

static bool node_possible(const struct topology *t, const char *text, const struct topology_node *n)
{
    for (const struct option_def *opt = n->own; opt->name; opt++) {
        const char *written = opt->type == OPTION_HOST_PORT ? address_text(n, opt) : NULL;
        struct address a = written ? address_of(written) : (struct address){0};
        if (a.port && !port_is_free(a.host, a.port)) {
            say_node_taken(t, text, n, opt);
            return false;
        }
    }
    return true;
}

bool listen_possible(const struct topology *t, const char *text)
{
    int base = t->broker.listen.port, taken = base ? listen_bus_taken(t->broker.listen.host, base) : 0;
    if (taken) {
        say_bus_taken(t, text, taken);
        return false;
    }
    for (size_t i = 0; i < t->node_count; i++)
        if (t->nodes[i].builtin && !node_possible(t, text, &t->nodes[i]))
            return false;
    return true;
}
