/* SPDX-License-Identifier: Apache-2.0 */
/* Where artifacts are reached: an ingress that was named, or the door of which an `artifacts` node says where it is
 * (docs/decisions/038). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/artifact/artifact.h"
#include "cli/bus.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define UNIX_PREFIX "unix:"
#define WAIT_MS 5000     /* for a node that has a door */
#define ASK_EVERY_MS 100
#define SAY_AFTER_MS 2000
#define HTTP_HINT "name an ingress with --http URL or LINESHAFT_HTTP_URL"

static const char *text_of(const char *variable)
{
    const char *text = getenv(variable);
    return text && *text ? text : NULL;
}

static bool is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

static void set_authorization(struct door *door, const char *variable)
{
    const char *token = text_of(variable);
    if (token)
        door->authorization = xasprintf("Authorization: Bearer %s", token);
}

static void set_base(struct door *door, const char *url)
{
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    door->base = xstrndup(url, len);
    door->name = xstrdup(door->base);
}

/* ---- the broker's list of services ---- */

/* A door as a worker tells it: is it one that can be reached from here? If not, *err says why. */
static bool take_address(struct door *door, const char *address, struct ls_error *err)
{
    struct stat st;
    if (strncmp(address, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0) {
        const char *path = address + sizeof UNIX_PREFIX - 1;
        errno = 0;
        if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && access(path, W_OK) == 0) {
            door->socket = xstrdup(path);
            door->base = xstrdup("http://localhost");
            door->name = xasprintf("the door %s", path);
            return true;
        }
        error_set(err, "UNREACHABLE",
                  errno == EACCES ? "the artifacts' door %s is for another user of this machine: " HTTP_HINT
                                  : "the artifacts' door is the unix socket %s, which this machine does not have: " HTTP_HINT,
                  path);
    } else if (is_url(address) && text_of("LINESHAFT_TOKEN")) {
        set_base(door, address);
        set_authorization(door, "LINESHAFT_TOKEN");
        return true;
    } else if (is_url(address)) {
        error_set(err, "FORBIDDEN", "the artifacts' door %s is for nodes of the topology, which have LINESHAFT_TOKEN: " HTTP_HINT,
                  address);
    } else {
        error_set(err, "UNREACHABLE", "the artifacts' door \"%.200s\" is of a kind that is not known here: " HTTP_HINT, address);
    }
    return false;
}

static int take_door(struct door *door, const struct bus *bus, struct mp answer, struct ls_error *err)
{
    struct wire_doors doors = {.services = mp_maps(answer, "services")};
    bool taken = false;
    for (struct ls_slice text; !taken && wire_doors_next(&doors, &text);) {
        char *address = xstrndup(text.data, text.len);
        taken = take_address(door, address, err);
        free(address);
    }
    if (taken)
        return 0;
    return err->name[0] ? -1
                        : error_set(err, "NO_RESPONDER", "no `artifacts` node is on the bus at %s: add one to the topology, or " HTTP_HINT,
                                    ls_client_url(bus->client));
}

static int ask_once(struct door *door, struct bus *bus, struct ls_error *err)
{
    char *reply = NULL;
    size_t len = 0;
    *err = (struct ls_error){.number = 0};
    int status = bus_adm(bus, &(struct bus_adm){.op = "services"}, &reply, &len);
    if (status == CLI_OK)
        take_door(door, bus, mp_over(reply, len), err);
    free(reply);
    return status;
}

static int ask_bus(struct door *door, const struct options_broker *broker)
{
    struct bus bus;
    struct ls_error err = {0};
    bool said = false;
    int status = bus_open(&bus, &ARTIFACT, broker, NULL);
    int64_t began = clock_mono_ms(), most = broker->timeout_ms < WAIT_MS ? broker->timeout_ms : WAIT_MS;
    while (status == CLI_OK && (status = ask_once(door, &bus, &err)) == CLI_OK) {
        int64_t waited = clock_mono_ms() - began;
        if (strcmp(err.name, "NO_RESPONDER") != 0 || waited >= most)
            break;
        if (waited >= SAY_AFTER_MS)
            artifact_says_it_waits(&said, "no `artifacts` node is on the bus yet", most - waited);
        poll(NULL, 0, ASK_EVERY_MS);
    }
    if (status == CLI_OK && err.name[0])
        status = artifact_failed(&err);
    bus_close(&bus);
    return status;
}

int door_find(struct door *door, const char *http, const struct options_broker *broker)
{
    if (!http)
        return ask_bus(door, broker);
    if (!is_url(http))
        return options_usage(&ARTIFACT, "--http: \"%s\" is no URL such as http://127.0.0.1:7480", http);
    set_base(door, http);
    set_authorization(door, "LINESHAFT_API_KEY");
    return CLI_OK;
}

void door_fini(struct door *door)
{
    free(door->base);
    free(door->socket);
    free(door->authorization);
    free(door->name);
}
