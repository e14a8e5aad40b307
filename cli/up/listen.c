/* SPDX-License-Identifier: Apache-2.0 */
/* Where the broker and the nodes of a topology listen, and what to do when somebody else does: the message names who has the port, the line
 * of the file, and the variable in it. */
#include "cli/up/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/up/port.h"
#include "lib/xmem.h"

#define OTHER_PORT 100 /* how far away the port is that we propose */
#define OTHERS_TRIED 20
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
            char *url = xasprintf(strchr(host, ':') ? "http://[%s]:%d/" : "http://%s:%d/", host, a.port);
            buf_addf(&out, "%schat %s, console %sconsole", out.len ? "; " : "", url, url);
            free(url);
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

/* `${env:NAME:-DEFAULT}` as a value's text holds it. */
struct variable {
    char name[128], fallback[256];
};

/* The variable that gives the port, `listen: "127.0.0.1:${env:NAME:-7480}"`, or with `begins` the one that the value begins with. */
static bool variable_of(const char *text, const struct value *v, bool begins, struct variable *out)
{
    for (int line = 1; v && line < v->at.line && text; line++) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    if (!v || !text)
        return false;
    size_t len = strcspn(text, "\n"), from = 0;
    for (int column = 1; column < v->at.column && from < len; column++) /* characters, which may be of several bytes */
        for (from++; from < len && ((unsigned char) text[from] & 0xc0) == 0x80;)
            from++;
    const char *end = text + from + strspn(text + from, begins ? "\"'" : ADDRESS_BYTES);
    if ((!begins && (end == text + from || end[-1] != ':')) || strncmp(end, "${env:", 6) != 0)
        return false;
    size_t name = strcspn(end + 6, ":}\n");
    const char *rest = end + 6 + name;
    rest += strncmp(rest, ":-", 2) == 0 ? 2 : 0;
    return snprintf(out->name, sizeof out->name, "%.*s", (int) name, end + 6) < (int) sizeof out->name &&
           snprintf(out->fallback, sizeof out->fallback, "%.*s", (int) strcspn(rest, "}\n"), rest) < (int) sizeof out->fallback;
}

/* ---- what another copy needs ---- */

static bool is_free(const char *host, int port, int count)
{
    for (int i = 0; i < count; i++)
        if (!port_is_free(host, port + i))
            return false;
    return true;
}

/* The first of `count` free ports, some way from those that are taken. */
static int another(const char *host, int port, int count)
{
    int step = port + OTHER_PORT * OTHERS_TRIED <= PORT_MAX - count ? OTHER_PORT : -OTHER_PORT;
    for (int i = 1; i <= OTHERS_TRIED && port + i * step > 0; i++)
        if (is_free(host, port + i * step, count))
            return port + i * step;
    return port + step;
}

/* "NAME=7500 ", once; a port that is free stays as it is, and is named only when the environment has set it. */
static void add_port(struct buf *out, const struct variable *v, const struct address *a, int count)
{
    char *known = xasprintf(" %s=", v->name);
    bool stays = is_free(a->host, a->port, count);
    if (!strstr(buf_text(out), known) && (!stays || getenv(v->name)))
        buf_addf(out, " %s=%d", v->name, stays ? a->port : another(a->host, a->port, count));
    free(known);
}

void listen_another(const struct topology *t, const char *text, bool own_data, struct buf *out)
{
    struct variable v;
    struct address bus = {.port = t->broker.listen.port};
    struct buf line = {0};
    snprintf(bus.host, sizeof bus.host, "%s", t->broker.listen.host);
    if (bus.port && variable_of(text, value_find(t->broker.at, "listen"), false, &v))
        add_port(&line, &v, &bus, LISTEN_BUS_PORTS);
    for (size_t i = 0; i < t->node_count; i++)
        for (const struct option_def *opt = t->nodes[i].builtin ? t->nodes[i].own : NULL; opt && opt->name; opt++) {
            const char *written = opt->type == OPTION_HOST_PORT ? address_text(&t->nodes[i], opt) : NULL;
            struct address a = written ? address_of(written) : (struct address){0};
            if (a.port && variable_of(text, value_find(t->nodes[i].at, opt->name), false, &v))
                add_port(&line, &v, &a, 1);
        }
    if (own_data && variable_of(text, value_find(t->broker.at, "data"), true, &v)) {
        const char *now = getenv(v.name);
        buf_addf(&line, " %s=%s2", v.name, now && *now ? now : v.fallback);
    }
    if (line.len)
        buf_addf(out, "%s lineshaft up %s", buf_text(&line) + 1, t->file);
    buf_fini(&line);
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
    struct buf holder = {0}, way = {0};
    int base = t->broker.listen.port;
    const struct value *listen = value_find(t->broker.at, "listen");
    struct variable v;
    say_taken(t->broker.listen.host, port, &holder);
    bool ours = holder.len && strstr(buf_text(&holder), " broker ");
    fprintf(stderr, "  The broker needs the ports %d to %d. Stop what has them, or choose others: ", base, base + LISTEN_BUS_PORTS - 1);
    if (variable_of(text, listen, false, &v))
        listen_another(t, text, ours, &way);
    if (way.len)
        fprintf(stderr, "%s\n", buf_text(&way));
    else if (listen)
        fprintf(stderr, "broker.listen in %s, line %d\n", t->file, listen->at.line);
    else
        fprintf(stderr, "broker: {listen: \"tcp://127.0.0.1:%d\"} in %s\n",
                another(t->broker.listen.host, base, LISTEN_BUS_PORTS), t->file);
    if (ours)
        fputs("  That is a lineshaft broker: perhaps this topology is up already.\n", stderr);
    buf_fini(&holder);
    buf_fini(&way);
}

static void say_node_taken(const struct topology *t, const char *text, const struct topology_node *n, const struct option_def *opt)
{
    struct buf holder = {0}, way = {0};
    struct address a = address_of(address_text(n, opt));
    const struct value *written = value_find(n->at, opt->name);
    struct variable v;
    say_taken(a.host, a.port, &holder);
    bool ours = holder.len && strstr(buf_text(&holder), "lineshaft-node ");
    fprintf(stderr, "  Node \"%s\" (%s) listens there. Stop what has it, or choose another: ", n->name, n->builtin->name);
    if (variable_of(text, written, false, &v))
        listen_another(t, text, ours, &way);
    if (way.len)
        fprintf(stderr, "%s\n  (%s of the node, %s:%d)\n", buf_text(&way), opt->name, t->file, written->at.line);
    else if (written)
        fprintf(stderr, "%s of the node, %s:%d\n", opt->name, t->file, written->at.line);
    else
        fprintf(stderr, "%s: \"127.0.0.1:%d\" at the node, %s:%d\n", opt->name, another(a.host, a.port, 1), t->file, n->place.line);
    if (ours)
        fputs("  That is a lineshaft node: perhaps a topology is up already.\n", stderr);
    buf_fini(&holder);
    buf_fini(&way);
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
