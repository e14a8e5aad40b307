/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, failing, and ADM: what the client commands share. */
#include "cli/bus.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/render.h"
#include "lib/error.h"

#define PROBE_MS 300

int bus_failed(const struct cli_command *command, const struct ls_error *err)
{
    static bool told_schemas;
    struct buf text = {0};
    render_harmless(&text, err->text, strlen(err->text));
    fprintf(stderr, "lineshaft %s: %s (%s)\n", command->name, buf_text(&text), err->name);
    buf_fini(&text);
    if (strcmp(err->name, "SCHEMA") == 0 && !told_schemas)
        fprintf(stderr, "  docs/events.md describes every event of lineshaft, with examples; a topology may add its own `schemas`\n");
    told_schemas |= strcmp(err->name, "SCHEMA") == 0;
    if (strcmp(err->name, "UNREACHABLE") == 0)
        return CLI_UNREACHABLE;
    return strcmp(err->name, "USAGE") == 0 ? CLI_USAGE : CLI_FAILED;
}

static void on_notice(void *arg, const struct ls_notice *notice)
{
    struct bus *bus = arg;
    static bool was_lost;
    if (notice->state == LS_ENDED)
        bus->ended = true;
    bus->refused |= notice->state == LS_LOST;
    if (bus->quiet)
        return;
    if (notice->state == LS_LOST && !was_lost)
        fprintf(stderr, "lineshaft %s: broker away, reconnecting (%s)\n", bus->command->name, notice->text);
    else if (notice->state == LS_CONNECTED && was_lost)
        fprintf(stderr, "lineshaft %s: broker is back\n", bus->command->name);
    else if (notice->state == LS_REFUSED || notice->state == LS_ENDED)
        fprintf(stderr, "lineshaft %s: %s\n", bus->command->name, notice->text);
    was_lost = notice->state == LS_LOST || (was_lost && notice->state != LS_CONNECTED);
}

static int limited(int64_t ms)
{
    return ms > INT32_MAX ? INT32_MAX : (int) ms;
}

/* Waits for the session: briefly where nothing listens, long where something does, but is slow to answer. */
static int wait_for_session(struct bus *bus, const struct options_broker *broker, struct ls_error *err)
{
    int refused_ms = limited(broker->refused_ms);
    bool twice = refused_ms < bus->timeout_ms;
    int result = ls_client_wait(bus->client, twice ? refused_ms : bus->timeout_ms, err);
    if (result < 0 && twice && !bus->refused && strcmp(err->name, "UNREACHABLE") == 0)
        result = ls_client_wait(bus->client, bus->timeout_ms - refused_ms, err);
    return result;
}

enum listener { NOBODY, STRANGER, ZEROMQ };

/* Whoever speaks ZeroMQ greets first, with a byte that no HTTP server begins with. */
static enum listener greeted(const struct addrinfo *to)
{
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = -1;
    socklen_t size = sizeof error;
    unsigned char first = 0;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    if (fd < 0)
        return NOBODY;
    (void) !connect(fd, to->ai_addr, to->ai_addrlen); /* how it went is told below */
    bool connected = poll(&wait, 1, PROBE_MS) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    wait.events = POLLIN;
    bool greets = connected && poll(&wait, 1, PROBE_MS) == 1 && recv(fd, &first, 1, 0) == 1 && first == 0xff;
    close(fd);
    return greets ? ZEROMQ : connected ? STRANGER : NOBODY;
}

/* Who listens at tcp://HOST:PORT. */
static enum listener who_listens(const char *url)
{
    char host[256], *port;
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
    if (strncmp(url, "tcp://", 6) != 0 || snprintf(host, sizeof host, "%s", url + 6) >= (int) sizeof host)
        return NOBODY;
    port = strrchr(host, ':');
    if (!port)
        return NOBODY;
    *port++ = '\0';
    size_t len = strlen(host);
    bool bracketed = *host == '[' && host[len - 1] == ']';
    if (bracketed)
        host[len - 1] = '\0';
    if (getaddrinfo(host + bracketed, port, &hints, &found) != 0)
        return NOBODY;
    enum listener who = greeted(found);
    freeaddrinfo(found);
    return who;
}

/* In place of what the library says: it does not know of other servers, nor of options. */
static void say_unreachable(const char *url, struct ls_error *err)
{
    static const char *const WHO[] = {
        [NOBODY] = "nothing listens there; start a broker by `lineshaft up TOPOLOGY`",
        [STRANGER] = "something listens there, but does not speak LWP/1 (is that an HTTP port?); `lineshaft up TOPOLOGY` tells "
                     "the broker's",
        [ZEROMQ] = "what listens there does not answer; is it busy, stopped, or something else than "
                   "a broker started by `lineshaft up TOPOLOGY`"};
    error_set(err, "UNREACHABLE", "no broker answers at %s: %s (--url or LINESHAFT_URL names another address)", url, WHO[who_listens(url)]);
}

int bus_open(struct bus *bus, const struct cli_command *command, const struct options_broker *broker,
             const struct ls_client_options *options)
{
    char name[32];
    struct ls_error err = {0};
    struct ls_client_options all = options ? *options : (struct ls_client_options){0};
    snprintf(name, sizeof name, "lineshaft-%s", command->name);
    *bus = (struct bus){.command = command, .quiet = true,
                        .timeout_ms = limited(broker->timeout_ms)};
    all.url = broker->url;
    all.name = name;
    all.notice = on_notice;
    all.arg = bus;
    bus->client = ls_client_open(&all, &err);
    if (!bus->client)
        return bus_failed(command, &err);
    if (wait_for_session(bus, broker, &err) < 0) {
        if (strcmp(err.name, "UNREACHABLE") == 0)
            say_unreachable(broker->url, &err);
        return bus_failed(command, &err);
    }
    bus->quiet = false;
    return CLI_OK;
}

void bus_close(struct bus *bus)
{
    bus->quiet = true;
    ls_client_close(&bus->client);
}

int bus_adm(struct bus *bus, const struct bus_adm *adm, char **reply, size_t *len)
{
    struct buf request = {0};
    struct ls_error err = {0};
    buf_pack_map(&request, 1 + (adm->key != NULL) + (adm->from != NULL));
    buf_pack_str(&request, "op");
    buf_pack_str(&request, adm->op);
    if (adm->key) {
        buf_pack_str(&request, adm->key);
        if (adm->text)
            buf_pack_str(&request, adm->text);
        else
            buf_pack_uint(&request, adm->number);
    }
    if (adm->from) {
        buf_pack_str(&request, "from");
        if (strspn(adm->from, "0123456789") == strlen(adm->from))
            buf_pack_uint(&request, strtoull(adm->from, NULL, 10));
        else
            buf_pack_str(&request, adm->from);
    }
    int result = ls_adm_wait(bus->client, ls_bytes(request.data, request.len), bus->timeout_ms, reply, len, &err);
    buf_fini(&request);
    return result < 0 ? bus_failed(bus->command, &err) : CLI_OK;
}

struct mp_slice bus_text(struct mp map, const char *key)
{
    struct mp value;
    struct mp_slice text;
    if (mp_find(map, key, &value) && mp_str(&value, &text))
        return text;
    return (struct mp_slice){"", 0};
}

uint64_t bus_number(struct mp map, const char *key)
{
    struct mp value;
    uint64_t number;
    return mp_find(map, key, &value) && mp_uint(&value, &number) ? number : 0;
}

struct mp bus_list(struct mp map, const char *key, uint32_t *count)
{
    struct mp value;
    if (mp_find(map, key, &value) && mp_array(&value, count))
        return value;
    *count = 0;
    return mp_over("", 0);
}
