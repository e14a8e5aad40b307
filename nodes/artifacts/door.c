/* SPDX-License-Identifier: Apache-2.0 */
/* The door: an HTTP server on a socket of this user, or on a private port for those who know the token. Paths to visits. */
#include "nodes/artifacts/door.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "lib/xmem.h"
#include "nodes/artifacts/answer.h"

#define DOOR_SOCKET "/door.sock"
#define KEY_BYTES 1025
#define QUEUE_BYTES ((size_t) 4 << 20)
#define SMALL_BODY_BYTES 65536 /* of requests that need none */

/* ---- answers ---- */

void visit_answer(struct visit *visit, unsigned status, json_t *body)
{
    if (visit->x && !visit->answered)
        door_json(visit->x, status, body);
    else
        json_decref(body);
    visit->answered = true;
}

void visit_fail(struct visit *visit, const struct ls_error *err)
{
    if (visit->x && !visit->answered)
        door_error(visit->x, visit->mlflow, err);
    visit->answered = true;
}

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") >= len;
}

const char *visit_trace(const struct visit *visit)
{
    const char *t = visit->x ? http_header(visit->x, "traceparent") : NULL;
    bool good = t && strlen(t) == 55 && strncmp(t, "00-", 3) == 0 && is_hex(t + 3, 32) && t[35] == '-' && is_hex(t + 36, 16) &&
                t[52] == '-' && is_hex(t + 53, 2);
    return good ? t : NULL;
}

const char *visit_user(const struct visit *visit)
{
    const char *user = visit->x ? http_header(visit->x, "X-Lineshaft-Principal") : NULL;
    return user && *user && strlen(user) <= 256 && utf8_valid(user, strlen(user)) ? user : NULL;
}

/* ---- from a path to a visit ---- */

static const struct {
    const char *path;
    bool mlflow;
} BASES[] = {
    {"/api/artifacts", false},
    {"/api/2.0/mlflow-artifacts/artifacts", true},
    {"/ajax-api/2.0/mlflow-artifacts/artifacts", true},
};

/* What follows the base: NULL if the path is none of ours, "" for the base itself. */
static const char *rest_of(const char *path, bool *mlflow)
{
    for (size_t i = 0; i < sizeof BASES / sizeof *BASES; i++) {
        size_t len = strlen(BASES[i].path);
        if (strncmp(path, BASES[i].path, len) == 0 && (!path[len] || path[len] == '/')) {
            *mlflow = BASES[i].mlflow;
            return path[len] ? path + len + 1 : path + len;
        }
    }
    return NULL;
}

/* Time tells nothing of the token. */
static bool knows_token(const struct artifacts *a, struct http_exchange *x)
{
    const char *header = http_header(x, "Authorization");
    if (!a->token)
        return true;
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return false;
    size_t len = strlen(a->token);
    return strlen(header + 7) == len && CRYPTO_memcmp(header + 7, a->token, len) == 0;
}

static int read_key(const char *rest, char key[KEY_BYTES], struct ls_error *err)
{
    if (!http_unescape(rest, strlen(rest), false, key, KEY_BYTES))
        return error_set(err, "BAD_VALUE", "the path is longer than 1024 bytes, or its percent-escapes are malformed");
    return objstore_key_check(key, err);
}

/* Which visit a request is; NULL with an error. */
static struct visit *visit_of(const char *method, const char *rest, const char *key, struct ls_error *err)
{
    bool get = strcmp(method, "GET") == 0, head = strcmp(method, "HEAD") == 0;
    struct visit *visit = NULL;
    if (*rest && strcmp(method, "PUT") == 0)
        visit = upload_new();
    else if (*rest && (get || head))
        visit = download_new();
    else if ((*rest && strcmp(method, "DELETE") == 0) || (!*rest && get))
        visit = job_new();
    if (!visit)
        error_set(err, "BAD_METHOD", "%.20s is not for %s: PUT, GET, HEAD and DELETE are for a path, GET alone is for the list", method,
                  *rest ? "a path" : "the list");
    else
        visit->key = xstrdup(key);
    return visit;
}

/* The visit of a request, or NULL with the error that it is answered with. */
static struct visit *admit(struct artifacts *a, struct http_exchange *x, bool *mlflow, struct ls_error *err)
{
    char key[KEY_BYTES] = "";
    const char *rest = rest_of(http_path(x), mlflow);
    if (!knows_token(a, x))
        error_set(err, "DENIED", "this door wants Authorization: Bearer with the topology's LINESHAFT_TOKEN");
    else if (!rest)
        error_set(err, "NOT_FOUND", "there is nothing here: artifacts are under %s", BASES[0].path);
    else if (!*rest || read_key(rest, key, err) == 0)
        return visit_of(http_method(x), rest, key, err);
    return NULL;
}

static void on_begin(void *arg, struct http_exchange *x)
{
    struct artifacts *a = arg;
    struct ls_error err;
    bool mlflow = false;
    struct visit *visit = admit(a, x, &mlflow, &err);
    if (!visit) {
        door_error(x, mlflow, &err);
        return;
    }
    visit->a = a;
    visit->x = x;
    visit->mlflow = mlflow;
    LIST_INSERT_HEAD(&a->visits, visit, link);
    http_set_user(x, visit);
    if (visit->code == &upload_code)
        upload_begin(visit);
    else
        http_body_limit(x, SMALL_BODY_BYTES);
}

static void on_body(void *arg, struct http_exchange *x, struct ls_slice bytes)
{
    (void) arg;
    struct visit *visit = http_user(x);
    if (visit && visit->code->body && !visit->answered)
        visit->code->body(visit, bytes);
}

static void on_request(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *visit = http_user(x);
    if (visit && !visit->answered)
        visit->code->request(visit);
}

static void on_drained(void *arg, struct http_exchange *x)
{
    (void) arg;
    struct visit *visit = http_user(x);
    if (visit && visit->code->drained)
        visit->code->drained(visit);
}

static void on_end(void *arg, struct http_exchange *x, bool complete)
{
    (void) arg;
    struct visit *visit = http_user(x);
    if (!visit)
        return;
    LIST_REMOVE(visit, link);
    visit->x = NULL;
    visit->code->end(visit, complete);
}

/* ---- life ---- */

/* The private port: as `listen` says, or any, where the socket's path would be longer than the system takes it. NULL: the socket. */
static const char *private_port(const struct artifacts *a)
{
    bool fits = strlen(spool_dir(a->spool)) + strlen(DOOR_SOCKET) < sizeof((struct sockaddr_un){0}).sun_path;
    return a->options->listen ? a->options->listen : fits ? NULL : "127.0.0.1:0";
}

static int take_token(struct artifacts *a, struct ls_error *err)
{
    a->token = getenv("LINESHAFT_TOKEN");
    if (a->token && *a->token)
        return 0;
    return error_set(err, "CONFIG", "%s needs a token, so that not everybody can read and write: set LINESHAFT_TOKEN for this node "
                                    "and those that fetch from it (`lineshaft up` does it by itself)%s",
                     a->options->listen ? "listen: a private port" : "dir: the path is too long for a socket, and a private port",
                     a->options->listen ? "" : ", or give it a shorter `dir`");
}

int door_open(struct artifacts *a, struct ls_error *err)
{
    const char *port = private_port(a);
    char *address = port ? xstrdup(port) : xasprintf("unix:%s" DOOR_SOCKET, spool_dir(a->spool));
    const struct http_server_options options = {.address = address, .arg = a, .begin = on_begin, .body = on_body,
                                                .request = on_request, .end = on_end, .drained = on_drained,
                                                .limits = {.queue_bytes = QUEUE_BYTES}};
    LIST_INIT(&a->visits);
    int rc = port ? take_token(a, err) : 0;
    if (rc == 0 && !(a->server = http_server_open(&options, err)))
        rc = error_wrap(err, "%s", port ? "`listen`" : "the door, whose place follows from `dir`");
    free(address);
    return rc;
}

char *door_url(const struct artifacts *a)
{
    const char *address = http_server_address(a->server);
    return private_port(a) ? xasprintf("http://%s", address) : xasprintf("unix:%s" DOOR_SOCKET, spool_dir(a->spool));
}

void door_close(struct artifacts *a)
{
    if (a->server)
        http_server_close(&a->server);
}
