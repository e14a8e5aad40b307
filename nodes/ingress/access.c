/* SPDX-License-Identifier: Apache-2.0 */
/* Who may ask: API keys; the Host header, so that a rebound DNS name reaches nothing; web pages of other origins. */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "nodes/ingress/ingress.h"

#define KEY_TEXT_SIZE 72 /* "sha256:" and 64 digits and NUL */

static void hash_key(const char *key, char text[KEY_TEXT_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *) key, strlen(key), digest);
    snprintf(text, KEY_TEXT_SIZE, "sha256:");
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 7 + 2 * i, 3, "%02x", digest[i]);
}

/* The key as sent: "Authorization: Bearer KEY" or "x-api-key: KEY"; NULL if there is none. */
static const char *given_key(const struct http_exchange *x)
{
    const char *authorization = http_header(x, "authorization");
    if (!authorization)
        return http_header(x, "x-api-key");
    if (strncasecmp(authorization, "bearer ", 7) != 0)
        return NULL;
    return authorization + 7 + strspn(authorization + 7, " ");
}

/* Compares with every key, so that the time tells nothing. */
static const char *principal_of(const struct ingress_options *o, const char *key)
{
    char hashed[KEY_TEXT_SIZE];
    const char *name = NULL;
    hash_key(key, hashed);
    for (size_t i = 0; i < o->keys.count; i++)
        if (strlen(o->keys.values[i]) == strlen(hashed) && CRYPTO_memcmp(o->keys.values[i], hashed, strlen(hashed)) == 0)
            name = o->keys.keys[i];
    return name;
}

static bool is_listed(const struct kind_texts *list, const char *text, size_t len)
{
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->items[i]) == len && strncasecmp(list->items[i], text, len) == 0)
            return true;
    return false;
}

static size_t host_len(const char *host)
{
    const char *bracket = *host == '[' ? strchr(host, ']') : NULL;
    return bracket ? (size_t) (bracket - host) + 1 : strcspn(host, ":");
}

static bool host_allowed(const struct ingress_options *o, const char *host)
{
    static const char *const LOOPBACK[] = {"localhost", "127.0.0.1", "[::1]"};
    size_t len = host ? host_len(host) : 0;
    if (o->keys.count || o->insecure || !host)
        return true; /* a page that reaches us by a name of its own has no key; HTTP/1.0 has no Host, and no browser */
    for (size_t i = 0; i < sizeof LOOPBACK / sizeof LOOPBACK[0]; i++)
        if (strlen(LOOPBACK[i]) == len && strncasecmp(LOOPBACK[i], host, len) == 0)
            return true;
    return is_listed(&o->hosts, host, len) || is_listed(&o->hosts, host, strlen(host)) ||
           (strncmp(host, "127.", 4) == 0 && len == strspn(host, "0123456789."));
}

/* The page that asks is ours: its origin is the very host that it calls. */
static bool same_origin(const char *origin, const char *host)
{
    const char *rest = strstr(origin, "://");
    return rest && host && strcasecmp(rest + 3, host) == 0;
}

static void allow_origin(struct http_exchange *x, const char *origin)
{
    http_answer_header(x, "Access-Control-Allow-Origin", origin);
    http_answer_header(x, "Vary", "Origin");
    http_answer_header(x, "Access-Control-Expose-Headers",
                       "x-request-id, openai-processing-ms, x-lineshaft-model, x-lineshaft-version, x-lineshaft-worker, "
                       "x-lineshaft-event, traceparent");
}

static void answer_preflight(struct http_exchange *x)
{
    const char *asked = http_header(x, "access-control-request-headers");
    http_answer_header(x, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    http_answer_header(x, "Access-Control-Allow-Headers", asked ? asked : "authorization, content-type");
    http_answer_header(x, "Access-Control-Max-Age", "600");
    http_answer(x, 204, (struct ls_slice){0});
}

static bool deny(struct visit *v, const struct problem *problem, const char *text)
{
    ++*node_metric(v->ingress->node, METRIC_DENIED);
    answer_problem(v, problem, "%s", text);
    return false;
}

bool access_check(struct visit *v)
{
    const struct ingress_options *o = v->ingress->options;
    const char *origin = http_header(v->x, "origin"), *host = http_header(v->x, "host");
    const char *site = http_header(v->x, "sec-fetch-site");
    bool listed = origin && is_listed(&o->origins, origin, strlen(origin));
    bool preflight = strcmp(http_method(v->x), "OPTIONS") == 0 && http_header(v->x, "access-control-request-method");
    if (!host_allowed(o, host))
        return deny(v, &(struct problem){.status = 403, .code = "host_not_allowed"},
                    "this name is not one the server is known by; add it to the ingress option `hosts`");
    if (listed)
        allow_origin(v->x, origin);
    if (listed && preflight) {
        answer_preflight(v->x);
        return false;
    }
    bool foreign = origin ? !same_origin(origin, host) : site && strcmp(site, "cross-site") == 0;
    if (foreign && !listed && (preflight || !(v->route && v->route->flags & ROUTE_OPEN)))
        return deny(v, &(struct problem){.status = 403, .code = "origin_not_allowed"},
                    "web pages of this origin may not call the server; add it to the ingress option `origins`");
    if (!o->keys.count || (v->route && v->route->flags & ROUTE_OPEN))
        return true;
    const char *key = given_key(v->x);
    v->principal = key ? principal_of(o, key) : NULL;
    if (v->principal)
        return true;
    http_answer_header(v->x, "WWW-Authenticate", "Bearer");
    return deny(v, &(struct problem){.status = 401, .code = "invalid_api_key"},
                key ? "the API key is not valid" : "an API key is needed: Authorization: Bearer KEY");
}
