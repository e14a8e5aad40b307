/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of routes: dispatch, /openapi.json and the page /docs are made from it. And matching paths to patterns. */
#include <string.h>

#include "nodes/ingress/ingress.h"

/* clang-format off */
const struct route ROUTES[] = {
    {"POST", "/v1/chat/completions", handle_chat, 0, "OpenAI", "Answer a conversation; with stream as server-sent events",
     "ChatRequest", "ChatCompletion", NULL},
    {"POST", "/v1/completions", handle_completion, 0, "OpenAI", "Continue a text (the older form of the API)",
     "CompletionRequest", "Completion", NULL},
    {"GET", "/v1/models", handle_models, 0, "OpenAI", "Models that workers on the bus answer for", NULL, "ModelList", NULL},
    {"GET", "/v1/models/{model...}", handle_model, 0, "OpenAI", "One model", NULL, "Model", NULL},
    {"POST", "/v1/responses", handle_elsewhere, 0, "OpenAI", "Not served: answers 404 and says what to use instead",
     NULL, NULL, NULL},
    {"POST", "/api/events", handle_publish, 0, "Events", "Publish an event, or up to 1000 in an array; answered when it is as durable as "
     "its stream promises", "Event", "Published", NULL},
    {"GET", "/api/events", handle_feed, 0, "Events", "Follow events as server-sent events; resumes behind Last-Event-ID", NULL, "EventFeed",
     "topic! pattern such as run.> or chat.completed, comma between several; "
     "from where to begin: new (default), all, last:N, seq:N (one stream), or a time; "
     "stream only this stream; limit end after so many events"},
    {"GET", "/api/console", handle_console, 0, "Operation", "Follow the state of bus and processes, every second, as server-sent "
     "events; with topic also events", NULL, "EventFeed",
     "topic also follow these events, as GET /api/events does; from as there; stream as there; limit end after so many events"},
    {"POST", "/api/requests/{topic}", handle_request, 0, "Requests", "Send a request over the bus and wait for the answer; with Accept: "
     "text/event-stream part by part", "Any", "Any", "timeout ms to wait, 30000 by default"},
    {"GET", "/healthz", handle_health, ROUTE_OPEN, "Operation", "The process is alive", NULL, "Health", NULL},
    {"GET", "/readyz", handle_ready, ROUTE_OPEN, "Operation", "It is connected to the bus and takes requests", NULL, "Health", NULL},
    {"GET", "/metrics", handle_metrics, 0, "Operation", "Numbers of the broker, of every node and every process, for Prometheus",
     NULL, "Text", "of self: only what this ingress alone knows, where another one is read, too"},
    {"GET", "/openapi.json", handle_openapi, ROUTE_OPEN, "Operation", "This document", NULL, "Any", NULL},
    {"GET", "/docs", handle_page, ROUTE_OPEN, "Pages", "This list as a page, to try out", NULL, "Html", NULL},
    {"GET", "/", handle_page, ROUTE_OPEN, "Pages", "The chat page", NULL, "Html", NULL},
    {"GET", "/console", handle_page, ROUTE_OPEN, "Pages", "The operator's view", NULL, "Html", NULL},
    {"GET", "/assets/{file}", handle_page, ROUTE_OPEN, "Pages", "What the pages are made of", NULL, "Any", NULL},
    {0}};
/* clang-format on */

static bool take_param(const char *text, size_t len, char *out)
{
    return http_unescape(text, len, false, out, 512) && *out;
}

bool route_match(const char *pattern, const char *path, char params[2][512])
{
    int count = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        const char *end = strchr(pattern, '}');
        bool rest = end[-1] == '.';
        size_t len = rest ? strlen(path) : strcspn(path, "/");
        if (!len || (params && count < 2 && !take_param(path, len, params[count++])))
            return false;
        path += len;
        pattern = end + 1;
    }
    return *path == '\0';
}

static bool takes_method(const struct route *r, const char *method)
{
    return strcmp(r->method, method) == 0 || (strcmp(r->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

const struct route *route_find(struct visit *v, unsigned *status, const char **allow)
{
    const char *path = http_path(v->x);
    *status = 404;
    *allow = NULL;
    for (const struct route *r = ROUTES; r->method; r++) {
        if (!route_match(r->path, path, v->params))
            continue;
        if (takes_method(r, http_method(v->x)))
            return r;
        *allow = *allow ? "GET, HEAD, POST" : strcmp(r->method, "GET") == 0 ? "GET, HEAD" : "POST";
        *status = 405;
    }
    return NULL;
}
