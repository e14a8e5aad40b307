/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a request, as far as every backend needs it. */
#include "nodes/inference/request.h"

#include "lib/error.h"

json_t *json_read(struct ls_slice text, json_error_t *why)
{
    json_error_t mine;
    json_error_t *told = why ? why : &mine;
    json_t *json = json_loadb(text.data ? text.data : "", text.len, JSON_ALLOW_NUL, told);
    if (!json && json_error_code(told) == json_error_numeric_overflow)
        json = json_loadb(text.data, text.len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, told);
    return json;
}

size_t json_text_of(const json_t *content, struct buf *text)
{
    size_t i, len = 0;
    json_t *part;
    if (json_is_string(content)) {
        len = json_string_length(content);
        if (text)
            buf_add(text, json_string_value(content), len);
        return len;
    }
    json_array_foreach(content, i, part)
    {
        const json_t *words = json_is_string(part) ? part : json_object_get(part, "text");
        if (json_is_string(words))
            len += json_text_of(words, text);
    }
    return len;
}

size_t request_prompt_bytes(const struct request *r)
{
    size_t i, len = json_text_of(json_object_get(r->json, "prompt"), NULL);
    json_t *message;
    json_array_foreach(json_object_get(r->json, "messages"), i, message) len +=
        json_text_of(json_object_get(message, "content"), NULL);
    return len;
}

int request_read(struct request *r, const struct ls_event *event, struct ls_error *err)
{
    struct ls_slice operation = {0};
    json_error_t why;
    *r = (struct request){.body = event->body, .json = json_read(event->body, &why)};
    if (!r->json)
        return error_set(err, "BAD_VALUE", "the body is no JSON: line %d, column %d: %s", why.line, why.column,
                         why.text);
    if (!json_is_object(r->json))
        return error_set(err, "BAD_VALUE", "the body is no JSON object");
    ls_event_attribute(event, "operation", &operation);
    r->completion = ls_slice_is(operation, "completion");
    r->model = json_string_value(json_object_get(r->json, "model"));
    if (operation.len && !r->completion && !ls_slice_is(operation, "chat"))
        return error_set(err, "BAD_VALUE", "the operation \"%.*s\" is neither chat nor completion",
                         operation.len < 40 ? (int) operation.len : 40, operation.data);
    if (!r->completion && !json_array_size(json_object_get(r->json, "messages")))
        return error_set(err, "BAD_VALUE", "`messages` must be a list of at least one message");
    if (r->completion && !json_object_get(r->json, "prompt"))
        return error_set(err, "BAD_VALUE", "`prompt` is missing");
    return 0;
}

void request_fini(struct request *r)
{
    json_decref(r->json);
    r->json = NULL;
}
