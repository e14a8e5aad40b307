/* SPDX-License-Identifier: Apache-2.0 */
/* A fetch, step by step: where is the door (the broker knows), what is under the key (HEAD; a folder is listed), the content. */
#include "nodes/inference/fetch.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/error.h"
#include "lib/logger.h"
#include "lib/uri.h"
#include "lib/wire.h"
#include "lib/xmem.h"
#include "nodes/kit/http_client.h"

#define SHORT_MS_MAX 30000 /* for an answer without content */
#define LIST_BYTES_MAX (4u << 20)
#define SUFFIX ".ngram"

enum step { STEP_NONE, STEP_DOOR, STEP_HEAD, STEP_LIST, STEP_GET };

struct fetch {
    struct node *node;
    const struct cache *cache;
    struct http_client *http;
    char *authorization; /* NULL: no token in the environment */
    bool asking;         /* the broker, for the door */
    enum step step;
    char *key;
    char *base, *socket; /* the door: URL, and the socket's path or NULL */
    struct http_call *call;
    struct buf list;
    struct fetched fetched;
    struct ls_error why; /* what was wrong while content came */
    fetch_fn *fn;
    void *arg;
};

static void ask_key(struct fetch *f, enum step step);

/* ---- the end of a fetch ---- */

void fetch_cancel(struct fetch *f)
{
    http_call_cancel(&f->call);
    cache_drop(&f->fetched.part);
    free(f->key);
    free(f->base);
    free(f->socket);
    f->key = f->base = f->socket = NULL;
    f->step = STEP_NONE;
}

static void failed(struct fetch *f, const struct ls_error *why)
{
    struct ls_error err = *why;
    error_wrap(&err, "artifact %.200s", f->key);
    fetch_cancel(f);
    f->fn(f->arg, NULL, &err);
}

static void fail(struct fetch *f, const char *name, bool again, const char *text)
{
    struct ls_error err;
    error_set(&err, name, "%s", text);
    err.again = again;
    failed(f, &err);
}

static void done(struct fetch *f)
{
    struct fetched fetched = f->fetched;
    f->fetched.part = NULL;
    fetch_cancel(f);
    f->fn(f->arg, &fetched, NULL);
}

/* ---- what the door answers ---- */

/* Repr-Digest (RFC 9530) is a dictionary: sha-256=:BASE64:, perhaps among others. */
static void read_digest(const char *header, char sha256[CACHE_HASH_SIZE])
{
    unsigned char hash[33 + 1];
    const char *at = header ? strstr(header, "sha-256=:") : NULL;
    if (!at || strcspn(at + 9, ":") != 44 || EVP_DecodeBlock(hash, (const unsigned char *) at + 9, 44) != 33)
        return;
    for (unsigned i = 0; i < 32; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", hash[i]);
}

static bool on_data(void *arg, struct http_call *call, struct ls_slice bytes)
{
    struct fetch *f = arg;
    (void) call;
    if (f->why.name[0]) /* the content has no place to go */
        return false;
    if (f->step == STEP_GET && f->fetched.part)
        return cache_write(f->fetched.part, bytes, &f->why) == 0;
    if (f->list.len + bytes.len <= LIST_BYTES_MAX)
        buf_add(&f->list, bytes.data, bytes.len);
    return true;
}

static void on_headers(void *arg, struct http_call *call, unsigned status)
{
    struct fetch *f = arg;
    if (status != 200 || f->step == STEP_LIST)
        return;
    read_digest(http_call_header(call, "Repr-Digest"), f->fetched.sha256);
    if (f->step == STEP_GET)
        f->fetched.part = cache_begin(f->cache, &f->why);
}

static void take_head(struct fetch *f)
{
    if (f->fetched.sha256[0] && cache_use(f->cache, f->fetched.sha256))
        done(f);
    else
        ask_key(f, STEP_GET);
}

static bool ends_with_suffix(const char *path)
{
    size_t len = path ? strlen(path) : 0;
    return len > strlen(SUFFIX) && strcmp(path + len - strlen(SUFFIX), SUFFIX) == 0;
}

static void take_list(struct fetch *f)
{
    struct ls_error err;
    json_auto_t *answer = node_json(ls_bytes(f->list.data, f->list.len), &err);
    const json_t *objects = json_object_get(answer, "objects"), *object;
    const char *found = NULL;
    size_t i, count = 0;
    json_array_foreach(objects, i, object) {
        const char *path = json_string_value(json_object_get(object, "path"));
        if (!ends_with_suffix(path))
            continue;
        found = path;
        count++;
    }
    if (count != 1) {
        fail(f, "NOT_FOUND", true,
             !json_array_size(objects) ? "the store has nothing under this key"
             : count ? "more than one *" SUFFIX " lies below this key: a version has exactly one"
                     : "no *" SUFFIX " lies below this key: it is no model that this node can serve");
        return;
    }
    free(f->key);
    f->key = xstrdup(found);
    ask_key(f, STEP_HEAD);
}

static void take_status(struct fetch *f, unsigned status)
{
    char text[200];
    if (status == 404 && f->step == STEP_HEAD && !ends_with_suffix(f->key)) {
        ask_key(f, STEP_LIST);
        return;
    }
    if (status == 401 || status == 403)
        snprintf(text, sizeof text, "the artifacts node refuses this node (%u): both need the same LINESHAFT_TOKEN", status);
    else
        snprintf(text, sizeof text, status == 404 ? "the store has nothing under this key (%u)" : "the artifacts node answered %u",
                 status);
    fail(f, status == 404 ? "NOT_FOUND" : "FAILED", true, text);
}

static void on_end(void *arg, struct http_call *call, unsigned status, const struct ls_error *err)
{
    struct fetch *f = arg;
    (void) call;
    f->call = NULL;
    struct ls_error why = f->why.name[0] ? f->why : err ? *err : (struct ls_error){0};
    if (why.name[0]) {
        why.again = true;
        failed(f, &why);
    } else if (status != 200) {
        take_status(f, status);
    } else if (f->step == STEP_HEAD) {
        take_head(f);
    } else if (f->step == STEP_LIST) {
        take_list(f);
    } else {
        done(f);
    }
}

/* ---- questions to the door ---- */

static void ask_key(struct fetch *f, enum step step)
{
    struct buf url = {0};
    f->step = step;
    f->why = (struct ls_error){0};
    f->fetched.sha256[0] = '\0';
    buf_clear(&f->list);
    buf_addf(&url, "%s/api/artifacts%s", f->base, step == STEP_LIST ? "?recursive=true&prefix=" : "/");
    uri_encode(&url, f->key, "/");
    if (step == STEP_LIST)
        buf_addf(&url, "%%2F");
    const char *headers[] = {"User-Agent: lineshaft", f->authorization, NULL};
    struct http_call_options call = {.method = step == STEP_HEAD ? "HEAD" : "GET", .url = buf_text(&url), .headers = headers,
                                     .unix_socket = f->socket, .exact_path = true, .arg = f, .headers_done = on_headers,
                                     .data = on_data, .end = on_end, .total_ms = step == STEP_GET ? 0 : SHORT_MS_MAX};
    struct ls_error err;
    f->call = http_call_start(f->http, &call, &err);
    buf_fini(&url);
    if (!f->call)
        failed(f, &err);
}

/* ---- the door ---- */

static bool take_door(struct fetch *f, struct mp answer)
{
    struct wire_doors doors = {.services = mp_maps(answer, "services")};
    struct ls_slice http;
    if (!wire_doors_next(&doors, &http))
        return false;
    bool is_socket = http.len > 5 && memcmp(http.data, "unix:", 5) == 0;
    f->socket = is_socket ? xstrndup(http.data + 5, http.len - 5) : NULL;
    f->base = is_socket ? xstrdup("http://localhost") : xstrndup(http.data, http.len);
    return true;
}

static void on_services(void *arg, struct ls_slice reply, const struct ls_error *err)
{
    struct fetch *f = arg;
    f->asking = false;
    if (f->step != STEP_DOOR)
        return;
    if (err)
        failed(f, err);
    else if (take_door(f, wire_map(reply)))
        ask_key(f, STEP_HEAD);
    else
        fail(f, "UNREACHABLE", true, "there is no artifacts node that says where its door is");
}

static void ask_door(struct fetch *f)
{
    struct ls_error err;
    struct buf request = {0};
    if (f->asking)
        return;
    buf_pack_map(&request, 1);
    buf_pair_str(&request, "op", "services");
    f->asking = ls_adm(node_client(f->node), ls_bytes(request.data, request.len), on_services, f, &err) == 0;
    buf_fini(&request);
    if (!f->asking)
        failed(f, &err);
}

void fetch_start(struct fetch *f, const char *key, fetch_fn *fn, void *arg)
{
    fetch_cancel(f);
    f->fn = fn;
    f->arg = arg;
    f->key = xstrdup(key);
    f->step = STEP_DOOR;
    ask_door(f);
}

/* ---- its life ---- */

static void on_http(void *arg, int fd, uint32_t events)
{
    const struct fetch *f = arg;
    (void) fd;
    (void) events;
    http_client_run(f->http);
}

struct fetch *fetch_open(struct node *node, const struct cache *cache, struct ls_error *err)
{
    const char *token = getenv("LINESHAFT_TOKEN");
    struct fetch *f = xcalloc(1, sizeof *f);
    *f = (struct fetch){.node = node, .cache = cache, .http = http_client_open(err),
                        .authorization = token && *token ? xasprintf("Authorization: Bearer %s", token) : NULL};
    if (f->http)
        node_watch(node, http_client_fd(f->http), EPOLLIN, on_http, f);
    else
        fetch_close(&f);
    return f;
}

int64_t fetch_tick(struct fetch *f, int64_t now_ms)
{
    if (http_client_due(f->http) <= now_ms)
        http_client_run(f->http);
    return http_client_due(f->http);
}

void fetch_close(struct fetch **fetch)
{
    struct fetch *f = *fetch;
    *fetch = NULL;
    if (!f)
        return;
    fetch_cancel(f);
    if (f->http)
        node_unwatch(f->node, http_client_fd(f->http));
    http_client_close(&f->http);
    buf_fini(&f->list);
    free(f->authorization);
    free(f);
}
