/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: JSON, errors in the two forms that clients read, failures on the bus as HTTP statuses; and request bodies. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "nodes/ingress/ingress.h"

#define DEPTH_MAX 64
#define RETRY_DEFAULT_MS 1000

void answer_json(struct visit *v, unsigned status, struct buf *json)
{
    buf_add_byte(json, '\n');
    http_answer_header(v->x, "Content-Type", "application/json");
    http_answer(v->x, status, ls_bytes(json->data, json->len));
}

/* The error classes of the OpenAI API by status. */
static const char *type_of(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

void problem_json(struct buf *out, const struct problem *problem, const char *text)
{
    buf_addf(out, "{\"error\":{\"message\":");
    json_put_text(out, text);
    buf_addf(out, ",\"type\":");
    json_put_text(out, problem->type ? problem->type : type_of(problem->status));
    buf_addf(out, ",\"param\":");
    json_put_text(out, problem->param);
    buf_addf(out, ",\"code\":");
    json_put_text(out, problem->code);
    buf_addf(out, "}}");
}

/* "messages[2].content" as ["body","messages",2,"content"]. */
static void put_loc(struct buf *out, const char *param)
{
    buf_addf(out, "[\"body\"");
    for (const char *at = param ? param : ""; *at;) {
        size_t len = strcspn(at, ".[]");
        bool number = len && strspn(at, "0123456789") >= len;
        if (len) {
            buf_add_byte(out, ',');
            if (number)
                buf_add(out, at, len);
            else
                json_put_string(out, at, len);
        }
        at += len + (at[len] != '\0');
    }
    buf_add_byte(out, ']');
}

static void detail_json(struct buf *out, const struct problem *problem, const char *text)
{
    if (problem->status != 422) {
        buf_addf(out, "{\"detail\":");
        json_put_text(out, text);
        if (problem->code) {
            buf_addf(out, ",\"code\":");
            json_put_text(out, problem->code);
        }
        buf_addf(out, "}");
        return;
    }
    buf_addf(out, "{\"detail\":[{\"loc\":");
    put_loc(out, problem->param);
    buf_addf(out, ",\"msg\":");
    json_put_text(out, text);
    buf_addf(out, ",\"type\":");
    json_put_text(out, problem->code ? problem->code : "value_error");
    buf_addf(out, "}]}");
}

static void put_retry(struct visit *v, const struct problem *problem)
{
    char number[24];
    int ms = problem->retry_ms ? problem->retry_ms : RETRY_DEFAULT_MS;
    if (problem->dont_retry)
        http_answer_header(v->x, "x-should-retry", "false");
    if (problem->dont_retry || (problem->status != 429 && problem->status != 503))
        return;
    snprintf(number, sizeof number, "%d", ms);
    http_answer_header(v->x, "retry-after-ms", number);
    snprintf(number, sizeof number, "%d", (ms + 999) / 1000);
    http_answer_header(v->x, "Retry-After", number);
}

void answer_problem(struct visit *v, const struct problem *problem, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct buf out = {0};
    if (v->openai)
        problem_json(&out, problem, text);
    else
        detail_json(&out, problem, text);
    put_retry(v, problem);
    answer_json(v, problem->status, &out);
    buf_fini(&out);
}

void answer_no_route(struct visit *v)
{
    const char *method = http_method(v->x), *path = http_path(v->x);
    const struct offered_route *absent = directory_absent(v->ingress, method, path);
    if (absent)
        answer_problem(v, &(struct problem){.status = 503, .code = "unreachable"},
                       "the node %s, which answers %s %.200s, is not connected now; try again", absent->client, method, path);
    else
        answer_problem(v, &(struct problem){.status = 404}, "there is no %s %.200s; /docs shows what there is", method, path);
}

unsigned bus_error_status(const struct ls_error *err)
{
    static const struct {
        const char *name;
        unsigned status;
    } STATUSES[] = {{"UNREACHABLE", 503}, {"BUSY", 503}, {"TIMEOUT", 504}, {"NO_RESPONDER", 503}, {"DRAINING", 503},
                    {"TOO_BIG", 413}, {"USAGE", 500}, {"SYSTEM", 500}};
    for (size_t i = 0; i < sizeof STATUSES / sizeof STATUSES[0]; i++)
        if (strcmp(err->name, STATUSES[i].name) == 0)
            return STATUSES[i].status;
    return err->number >= 400 && err->number < 600 ? (unsigned) err->number : 502;
}

void answer_bus_error(struct visit *v, const struct ls_error *err)
{
    char code[sizeof err->name];
    size_t len = strlen(err->name);
    for (size_t i = 0; i <= len; i++)
        code[i] = err->name[i] >= 'A' && err->name[i] <= 'Z' ? (char) (err->name[i] + 32) : err->name[i];
    answer_problem(v, &(struct problem){.status = bus_error_status(err), .code = code, .retry_ms = err->retry_ms}, "%s", err->text);
}

void answer_no_bus(struct visit *v)
{
    answer_problem(v, &(struct problem){.status = 503, .code = "no_bus"}, "the bus cannot be reached; trying again by itself");
}

/* ---- request bodies ---- */

static bool too_deep(const json_t *json, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (depth > DEPTH_MAX)
        return true;
    if (json_is_object(json)) {
        json_object_foreach((json_t *) (uintptr_t) json, key, item)
            if (too_deep(item, depth + 1))
                return true;
    } else if (json_is_array(json)) {
        json_array_foreach(json, i, item)
            if (too_deep(item, depth + 1))
                return true;
    }
    return false;
}

json_t *body_json(struct visit *v)
{
    struct ls_slice body = http_body(v->x);
    unsigned status = v->openai ? 400 : 422;
    json_error_t error;
    json_t *json = json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json) {
        answer_problem(v, &(struct problem){.status = status, .code = "invalid_json"},
                       body.len ? "the body is no valid JSON: %s (line %d, column %d)" : "the body is empty; send JSON", error.text,
                       error.line, error.column);
        return NULL;
    }
    if (too_deep(json, 1)) {
        json_decref(json);
        answer_problem(v, &(struct problem){.status = status, .code = "invalid_json"}, "the body is nested more than %d deep",
                       DEPTH_MAX);
        return NULL;
    }
    return json;
}

void pack_data(struct buf *body, const json_t *data)
{
    buf_clear(body);
    if (json_is_object(data) || json_is_array(data)) {
        node_write(body, data);
    } else if (json_is_integer(data) && (json_integer_value(data) == '{' || json_integer_value(data) == '[')) {
        buf_addf(body, "\xcc%c", (int) json_integer_value(data)); /* in one byte it would look like JSON */
    } else if (json_is_integer(data)) {
        buf_pack_int(body, json_integer_value(data));
    } else if (json_is_real(data)) {
        buf_pack_double(body, json_real_value(data));
    } else if (json_is_string(data)) {
        buf_pack_strn(body, json_string_value(data), json_string_length(data));
    } else if (json_is_boolean(data)) {
        buf_pack_bool(body, json_is_true(data));
    } else {
        buf_pack_nil(body);
    }
}
