/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.json (OpenAPI 3.1): made of the route table, of the routes that nodes declare, and of the schemas below. */
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "nodes/ingress/ingress.h"

/* Components by the names that the route table uses; what is not required may be there all the same. */
static const struct {
    const char *name, *media, *schema;
} SCHEMAS[] = {
    {"ChatRequest", "application/json",
     "{\"type\":\"object\",\"required\":[\"model\",\"messages\"],\"properties\":{\"model\":{\"type\":\"string\"},\"messages\":{\"type\":"
     "\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":[\"role\"],\"properties\":{\"role\":{\"enum\":[\"developer\","
     "\"system\",\"user\",\"assistant\",\"tool\"]},\"content\":{\"type\":[\"string\",\"array\",\"null\"]},\"tool_call_id\":{\"type\":"
     "\"string\"}}}},\"stream\":{\"type\":\"boolean\"},\"stream_options\":{\"type\":\"object\",\"properties\":{\"include_usage\":{\"type\":"
     "\"boolean\"}}},\"temperature\":{\"type\":\"number\",\"minimum\":0,\"maximum\":2},\"top_p\":{\"type\":\"number\",\"minimum\":0,"
     "\"maximum\":1},\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":128},\"max_tokens\":{\"type\":\"integer\",\"minimum\":1},"
     "\"max_completion_tokens\":{\"type\":\"integer\",\"minimum\":1},\"stop\":{\"type\":[\"string\",\"array\",\"null\"]},"
     "\"seed\":{\"type\":"
     "[\"integer\",\"null\"]},\"tools\":{\"type\":\"array\",\"maxItems\":128}},\"example\":{\"model\":\"fortunes\",\"messages\":[{\"role\":"
     "\"user\",\"content\":\"Tell me a fortune\"}]}}"},
    {"ChatCompletion", "application/json",
     "{\"type\":\"object\",\"required\":[\"id\",\"object\",\"created\",\"model\",\"choices\",\"usage\"],\"properties\":{\"id\":{\"type\":"
     "\"string\"},\"object\":{\"const\":\"chat.completion\"},\"created\":{\"type\":\"integer\"},\"model\":{\"type\":\"string\"},"
     "\"choices\":"
     "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"index\",\"message\",\"finish_reason\"]}},\"usage\":{\"type\":"
     "\"object\"}}}"},
    {"CompletionRequest", "application/json",
     "{\"type\":\"object\",\"required\":[\"model\",\"prompt\"],\"properties\":{\"model\":{\"type\":\"string\"},\"prompt\":{\"type\":["
     "\"string\",\"array\"]},\"stream\":{\"type\":\"boolean\"},\"max_tokens\":{\"type\":\"integer\",\"minimum\":1}},\"example\":{\"model\":"
     "\"fortunes\",\"prompt\":\"The trouble with\"}}"},
    {"Completion", "application/json",
     "{\"type\":\"object\",\"required\":[\"id\",\"object\",\"created\",\"model\",\"choices\"],\"properties\":{\"object\":{\"const\":"
     "\"text_completion\"},\"choices\":{\"type\":\"array\"}}}"},
    {"ModelList", "application/json",
     "{\"type\":\"object\",\"required\":[\"object\",\"data\"],\"properties\":{\"object\":{\"const\":\"list\"},\"data\":{\"type\":\"array\","
     "\"items\":{\"$ref\":\"#/components/schemas/Model\"}}}}"},
    {"Model", "application/json",
     "{\"type\":\"object\",\"required\":[\"id\",\"object\",\"created\",\"owned_by\"],\"properties\":{\"id\":{\"type\":\"string\"},"
     "\"object\":{\"const\":\"model\"},\"created\":{\"type\":\"integer\"},\"owned_by\":{\"type\":\"string\"},\"lineshaft\":{\"type\":"
     "\"object\"}}}"},
    {"Event", "application/json",
     "{\"type\":[\"object\",\"array\"],\"required\":[\"topic\"],\"maxItems\":1000,\"properties\":{\"topic\":{\"type\":\"string\","
     "\"maxLength\":200},\"data\":{},\"id\":{\"type\":\"string\"},\"source\":{\"type\":\"string\"},\"subject\":{\"type\":\"string\"},"
     "\"time\":{\"type\":\"string\",\"format\":\"date-time\"},\"traceparent\":{\"type\":\"string\"},"
     "\"correlationid\":{\"type\":\"string\"},"
     "\"causationid\":{\"type\":\"string\"},\"partitionkey\":{\"type\":\"string\"}},\"example\":{\"topic\":\"run.metric\",\"data\":{"
     "\"run_id\":\"r1\",\"key\":\"loss\",\"value\":0.7,\"step\":3}}}"},
    {"Published", "application/json",
     "{\"type\":[\"object\",\"array\"],\"required\":[\"id\",\"level\"],\"properties\":{\"id\":{\"type\":\"string\"},\"level\":{\"enum\":["
     "\"disk\",\"memory\",\"none\"]},\"dup\":{\"type\":\"boolean\"}}}"},
    {"EventFeed", "text/event-stream", "{\"type\":\"string\"}"},
    {"Any", "application/json", "{}"},
    {"Bytes", "application/octet-stream", "{}"},
    {"Content", "*/*", "{}"},
    {"Health", "application/json",
     "{\"type\":\"object\",\"required\":[\"status\"],\"properties\":{\"status\":{\"type\":\"string\"}}}"},
    {"Text", "text/plain", "{\"type\":\"string\"}"},
    {"Html", "text/html", "{\"type\":\"string\"}"},
    {NULL, NULL, NULL}};

static const char *media_of(const char *name)
{
    for (size_t i = 0; SCHEMAS[i].name; i++)
        if (name && strcmp(SCHEMAS[i].name, name) == 0)
            return SCHEMAS[i].media;
    return "application/json";
}

static void put_content(struct buf *out, const char *name)
{
    buf_addf(out, "\"content\":{\"%s\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}}", media_of(name), name);
}

/* One of the path: `name` runs to the end of its braces. OpenAPI has no word for {name...}, which takes slashes: the page must know. */
static void put_path_parameter(struct buf *out, const char *name)
{
    size_t len = strcspn(name, ".}");
    buf_addf(out, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}%s}",
             out->data[out->len - 1] == '[' ? "" : ",", (int) len, name, name[len] == '.' ? ",\"x-lineshaft-slashes\":true" : "");
}

static void put_query_parameter(struct buf *out, const char *name, size_t len, bool required, struct ls_slice about)
{
    buf_addf(out, "%s{\"name\":\"%.*s\",\"in\":\"query\",\"required\":%s,\"schema\":{\"type\":\"string\"}",
             out->data[out->len - 1] == '[' ? "" : ",", (int) len, name, required ? "true" : "false");
    json_put_pair(out, "description", about);
    buf_add_byte(out, '}');
}

/* The {names} of the path, then those of the query: "topic! what it is; from what it is". */
static void put_parameters(struct buf *out, const char *path, const char *query)
{
    buf_addf(out, "\"parameters\":[");
    for (const char *at = strchr(path, '{'); at; at = strchr(at + 1, '{'))
        put_path_parameter(out, at + 1);
    for (const char *at = query; at && *at;) {
        size_t name = strcspn(at, "! "), len = strcspn(at, ";");
        bool required = at[name] == '!';
        const char *about = at + name + required + 1;
        put_query_parameter(out, at, name, required, ls_bytes(about, (size_t) (at + len - about)));
        at += len + (at[len] == ';');
        at += strspn(at, " ");
    }
    buf_addf(out, "],");
}

/* OpenAPI writes {name}, and knows no {name...}. */
static void put_path(struct buf *out, const char *path)
{
    buf_add_byte(out, '"');
    for (const char *at = path; *at; at++)
        if (strncmp(at, "...}", 4) != 0)
            json_put_chars(out, at, 1, false);
        else
            at += 2;
    buf_addf(out, "\":{");
}

static void put_route(struct buf *out, const struct route *r)
{
    char method[8] = "";
    for (size_t i = 0; r->method[i] && i < sizeof method - 1; i++)
        method[i] = (char) (r->method[i] + 32);
    buf_addf(out, "%s\"%s\":{\"tags\":[\"%s\"],\"summary\":", out->data[out->len - 1] == '{' ? "" : ",", method, r->tag);
    json_put_text(out, r->summary);
    buf_add_byte(out, ',');
    put_parameters(out, r->path, r->parameters);
    if (r->body) {
        buf_addf(out, "\"requestBody\":{\"required\":true,");
        put_content(out, r->body);
        buf_addf(out, "},");
    }
    buf_addf(out, "\"responses\":{\"%s\":{\"description\":\"%s\"", r->answer ? "200" : "404", r->answer ? "OK" : "not served");
    if (r->answer) {
        buf_add_byte(out, ',');
        put_content(out, r->answer);
    }
    buf_addf(out, "}%s}%s}", r->answer ? ",\"default\":{\"$ref\":\"#/components/responses/Problem\"}" : "",
             r->flags & ROUTE_OPEN ? ",\"security\":[]" : "");
}

static void put_offered(struct buf *out, const struct offered_route *r)
{
    struct route as = {.method = r->method, .path = r->path, .tag = r->client, .summary = r->summary ? r->summary : "", .body = NULL,
                       .answer = "Any"};
    bool reads = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    if (r->bytes)
        as.answer = "Content";
    if (r->bytes && !reads && strcmp(r->method, "DELETE") != 0)
        as.body = "Bytes";
    else if (!r->bytes && !reads)
        as.body = "Any";
    put_route(out, &as);
}

static void put_paths(struct buf *out, struct ingress *in)
{
    size_t count;
    const struct offered_route *offered = directory_routes(in, &count);
    buf_addf(out, "\"paths\":{");
    for (const struct route *r = ROUTES; r->method; r++) {
        bool again = r > ROUTES && strcmp(r[-1].path, r->path) == 0; /* rows of one path stand together */
        if (!again) {
            buf_addf(out, "%s", r > ROUTES ? "}," : "");
            put_path(out, r->path);
        }
        put_route(out, r);
    }
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(offered[i - 1].path, offered[i].path) != 0) {
            buf_addf(out, "},");
            put_path(out, offered[i].path);
        }
        put_offered(out, &offered[i]);
    }
    buf_addf(out, "}}");
}

void handle_openapi(struct visit *v)
{
    struct buf *out = &v->ingress->scratch;
    buf_clear(out);
    buf_addf(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"lineshaft\",\"version\":\"" LINESHAFT_VERSION
                  "\",\"summary\":\"The HTTP door of an event backbone for language-model services\"},");
    put_paths(out, v->ingress);
    buf_addf(out, ",\"components\":{\"schemas\":{");
    for (size_t i = 0; SCHEMAS[i].name; i++)
        buf_addf(out, "%s\"%s\":%s", i ? "," : "", SCHEMAS[i].name, SCHEMAS[i].schema);
    buf_addf(out, "},\"responses\":{\"Problem\":{\"description\":\"what is wrong and how to mend it\",\"content\":{\"application/json\":"
                  "{\"schema\":{}}}}},\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}}}");
    buf_addf(out, "%s}", v->ingress->options->keys.count ? ",\"security\":[{\"key\":[]}]" : "");
    answer_json(v, 200, out);
}
