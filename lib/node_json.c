/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies for node kinds: reading JSON and msgpack, answering events and requests in JSON. */
#include <assert.h>
#include <stdio.h>
#include <xxhash.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/node_inside.h"

/* ---- reading ---- */

static json_t *parse(const char *text, size_t len, struct ls_error *err)
{
    json_error_t why;
    json_t *json = json_loadb(text, len, JSON_DECODE_ANY, &why);
    if (!json && json_error_code(&why) == json_error_numeric_overflow)
        json = json_loadb(text, len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    if (!json)
        error_set(err, "BAD_VALUE", "the body is no valid JSON: %s (line %d, column %d)", why.text, why.line, why.column);
    return json;
}

json_t *node_json(struct ls_slice body, struct ls_error *err)
{
    enum ls_body kind = ls_body_kind(body);
    struct mp value = mp_over(body.data, body.len);
    struct buf text = {0};
    json_t *json = NULL;
    if (kind == LS_BODY_JSON)
        return parse(body.data, body.len, err);
    if (kind == LS_BODY_MSGPACK && json_put_value(&text, &value, SIZE_MAX))
        json = parse(buf_text(&text), text.len, err);
    else
        error_set(err, "BAD_VALUE", "the body is %s: send JSON or msgpack", kind == LS_BODY_EMPTY ? "empty" : "neither JSON nor msgpack");
    buf_fini(&text);
    return json;
}

static const char *word_of(json_type type)
{
    static const char *const WORDS[] = {
        [JSON_OBJECT] = "an object",     [JSON_ARRAY] = "an array",     [JSON_STRING] = "a string",    [JSON_INTEGER] = "a whole number",
        [JSON_REAL] = "a number",        [JSON_TRUE] = "true or false", [JSON_FALSE] = "true or false", [JSON_NULL] = "null"};
    return WORDS[type];
}

static bool fits(const json_t *value, json_type type)
{
    if (type == JSON_REAL)
        return json_is_number(value);
    if (type == JSON_TRUE || type == JSON_FALSE)
        return json_is_boolean(value);
    return json_typeof(value) == type;
}

const json_t *node_field(const json_t *object, const char *key, json_type type, struct ls_error *err)
{
    if (!object)
        return NULL;
    const json_t *value = json_object_get(object, key);
    if (value && fits(value, type))
        return value;
    if (value)
        error_set(err, "BAD_VALUE", "\"%s\" in the body is %s; it must be %s", key, word_of(json_typeof(value)), word_of(type));
    else if (json_is_object(object))
        error_set(err, "BAD_VALUE", "the body lacks \"%s\", %s", key, word_of(type));
    else
        error_set(err, "BAD_VALUE", "the body is %s; it must be an object with \"%s\"", word_of(json_typeof(object)), key);
    return NULL;
}

/* ---- writing ---- */

static void write_object(struct buf *out, const json_t *object)
{
    const char *key, *comma = "";
    json_t *value;
    buf_add_byte(out, '{');
    json_object_foreach((json_t *) (uintptr_t) object, key, value) {
        buf_addf(out, "%s", comma);
        comma = ",";
        json_put_text(out, key);
        buf_add_byte(out, ':');
        node_write(out, value);
    }
    buf_add_byte(out, '}');
}

static void write_array(struct buf *out, const json_t *array)
{
    size_t i;
    const json_t *value;
    buf_add_byte(out, '[');
    json_array_foreach(array, i, value) {
        if (i)
            buf_add_byte(out, ',');
        node_write(out, value);
    }
    buf_add_byte(out, ']');
}

void node_write(struct buf *out, const json_t *json)
{
    if (json_is_object(json))
        write_object(out, json);
    else if (json_is_array(json))
        write_array(out, json);
    else if (json_is_string(json))
        json_put_string(out, json_string_value(json), json_string_length(json));
    else if (json_is_integer(json))
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    else if (json_is_real(json))
        json_put_double(out, json_real_value(json)); /* jansson would write 0.7 as 0.69999999999999996 */
    else
        buf_addf(out, "%s", json_is_true(json) ? "true" : json_is_false(json) ? "false" : "null");
}

/* Takes the body over. False, with *err for the caller, if there is none. */
static bool take_body(struct buf *text, json_t *body, struct ls_error *err)
{
    if (!body && !err->text[0])
        error_set(err, "FAILED", "the node made no answer; is a text in it not UTF-8?");
    if (!body)
        return false;
    assert(json_is_object(body) || json_is_array(body));
    node_write(text, body);
    json_decref(body);
    return true;
}

/* ---- answering ---- */

#define FOLLOW_ID_SIZE 33

/* The same for the same event and topic, whoever works on it and how often. Ids alone may come from several sources. */
static void follow_id(char id[FOLLOW_ID_SIZE], const struct ls_event *cause, const char *topic)
{
    struct buf all = {0};
    buf_pack_strn(&all, cause->source.data, cause->source.len);
    buf_pack_strn(&all, cause->id.data, cause->id.len);
    buf_pack_str(&all, topic);
    XXH128_hash_t hash = XXH3_128bits(all.data, all.len);
    snprintf(id, FOLLOW_ID_SIZE, "%016llx%016llx", (unsigned long long) hash.high64, (unsigned long long) hash.low64);
    buf_fini(&all);
}

enum ls_verdict node_follow(struct node *node, const struct ls_event *cause, const char *topic, json_t *body,
                            struct ls_error *err)
{
    struct buf text = {0};
    char id[FOLLOW_ID_SIZE];
    if (!take_body(&text, body, err))
        return LS_REJECT;
    follow_id(id, cause, topic);
    node_work_follow(node, cause, &(struct ls_event){.topic = ls_str(topic), .id = ls_str(id), .subject = cause->subject,
                                                     .traceparent = cause->traceparent, .tracestate = cause->tracestate,
                                                     .correlationid = cause->correlationid, .causationid = cause->id,
                                                     .body = ls_bytes(text.data, text.len)});
    buf_fini(&text);
    return LS_PENDING;
}

enum ls_verdict node_reply(struct ls_call *call, json_t *body, struct ls_error *err)
{
    struct buf text = {0}, more = {0};
    if (!take_body(&text, body, err))
        return LS_REJECT;
    buf_pack_map(&more, 1); /* for HTTP callers: docs/nodes/ingress.md, "Routes of nodes" */
    buf_pack_str(&more, "headers");
    buf_pack_map(&more, 1);
    buf_pair_str(&more, "Content-Type", "application/json");
    int rc = ls_reply(call, ls_bytes(text.data, text.len), ls_bytes(more.data, more.len), true, err);
    buf_fini(&text);
    buf_fini(&more);
    return !rc ? LS_DONE : err->again ? LS_RETRY : LS_REJECT;
}
