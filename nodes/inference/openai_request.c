/* SPDX-License-Identifier: Apache-2.0 */
/* The body for the backend. It is the caller's text, member by member: numbers, unknown fields and their order reach the
 * backend as they were written. The text has been parsed before (request.c), so the scan here meets only well-formed JSON. */
#include <stdlib.h>

#include "lib/json.h"
#include "nodes/inference/openai.h"

struct member {
    struct ls_slice key, value; /* the key with its quotes */
};

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n,", *p))
        p++;
    return p;
}

/* Behind the string that begins at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p < end ? p + 1 : end;
}

/* Behind the value that begins at p. */
static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else {
            if (depth == 0 && strchr(",}] \t\r\n", *p))
                break;
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
            p++;
        }
        if (depth == 0 && strchr("\"}]", p[-1]))
            break;
    }
    return p;
}

/* The next member of an object; *p stands behind its brace, or behind a member. */
static bool next_member(const char **p, const char *end, struct member *m)
{
    const char *at = skip_blank(*p, end);
    if (at >= end || *at != '"')
        return false;
    const char *behind = skip_string(at, end);
    m->key = (struct ls_slice){at, (size_t) (behind - at)};
    at = skip_blank(behind, end);
    at = skip_blank(at < end ? at + 1 : end, end); /* the colon */
    behind = skip_value(at, end);
    m->value = (struct ls_slice){at, (size_t) (behind - at)};
    *p = behind;
    return true;
}

/* A key may be written with escapes; then jansson reads it. */
static bool is_key(struct ls_slice key, const char *name)
{
    size_t len = strlen(name);
    if (!memchr(key.data, '\\', key.len))
        return key.len == len + 2 && memcmp(key.data + 1, name, len) == 0;
    json_t *text = json_loadb(key.data, key.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same =
        json_is_string(text) && json_string_length(text) == len && memcmp(json_string_value(text), name, len) == 0;
    json_decref(text);
    return same;
}

static void put_key(struct buf *out, const char *quoted, size_t len)
{
    if (out->data[out->len - 1] != '{')
        buf_add_byte(out, ',');
    buf_add(out, quoted, len);
    buf_add_byte(out, ':');
}

static void put_member(struct buf *out, const struct member *m)
{
    put_key(out, m->key.data, m->key.len);
    buf_add(out, m->value.data, m->value.len);
}

static const char *inside(struct ls_slice object, const char **end)
{
    *end = object.data + object.len;
    const char *p = skip_blank(object.data, *end);
    return p < *end && *p == '{' ? p + 1 : *end;
}

static void put_stream_options(struct buf *out, struct ls_slice given)
{
    const char *end = NULL, *p = given.len ? inside(given, &end) : NULL;
    struct member m;
    put_key(out, "\"stream_options\"", 16);
    buf_add_byte(out, '{');
    while (p && next_member(&p, end, &m))
        if (!is_key(m.key, "include_usage"))
            put_member(out, &m);
    put_key(out, "\"include_usage\"", 15);
    buf_add(out, "true}", 5);
}

static bool has_length(const struct request *request)
{
    const json_t *new = json_object_get(request->json, "max_completion_tokens"),
                 *old = json_object_get(request->json, "max_tokens");
    return json_is_number(new) || json_is_number(old);
}

void openai_request(struct buf *out, const struct request *request, const char *model, int64_t max_tokens)
{
    const char *end, *p = inside(request->body, &end);
    struct ls_slice stream_options = {0};
    struct member m;
    bool sets_length = max_tokens > 0 && !has_length(request);
    buf_addf(out, "{");
    put_key(out, "\"model\"", 7);
    json_put_text(out, model);
    while (next_member(&p, end, &m)) {
        if (is_key(m.key, "stream_options"))
            stream_options = m.value;
        else if (!is_key(m.key, "model") && !is_key(m.key, "stream") && !(sets_length && is_key(m.key, "max_tokens")))
            put_member(out, &m);
    }
    if (sets_length)
        buf_addf(out, ",\"max_tokens\":%lld", (long long) max_tokens);
    buf_addf(out, ",\"stream\":true");
    put_stream_options(out, stream_options);
    buf_add_byte(out, '}');
}
