/* SPDX-License-Identifier: Apache-2.0 */
/* Reading requests of the API: path, query and body as one object; fields by their types, as liberal as MLflow's
 * own server; page tokens. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/error.h"
#include "lib/json.h"
#include "lib/uri.h"
#include "lib/xmem.h"
#include "nodes/tracker/api.h"
#include "nodes/tracker/search.h"

/* ---- path and query ---- */

json_t *ask_unescaped(const char *text, size_t len, bool plus)
{
    unsigned flaws;
    char *plain = xcalloc(1, len + 1);
    memcpy(plain, text, len);
    size_t used = uri_decode(plain, len, plus, &flaws);
    json_t *value = flaws & URI_NUL ? NULL : json_stringn(plain, used);
    free(plain);
    return value;
}

/* A name that stands twice becomes an array. */
static void add_field(json_t *object, const char *name, json_t *value)
{
    json_t *there = json_object_get(object, name);
    if (!there) {
        json_object_set_new(object, name, value);
    } else if (json_is_array(there)) {
        json_array_append_new(there, value);
    } else {
        json_object_set_new(object, name, json_pack("[O,o]", there, value));
    }
}

static int add_query(json_t *object, const char *query, size_t len, struct ls_error *err)
{
    for (const char *at = query, *end = query + len; at < end;) {
        const char *stop = memchr(at, '&', (size_t) (end - at));
        stop = stop ? stop : end;
        const char *equals = memchr(at, '=', (size_t) (stop - at));
        const char *name_end = equals ? equals : stop, *from = equals ? equals + 1 : stop;
        json_t *name = ask_unescaped(at, (size_t) (name_end - at), true);
        json_t *value = ask_unescaped(from, (size_t) (stop - from), true);
        bool ok = name && value;
        if (ok && json_string_length(name))
            add_field(object, json_string_value(name), json_incref(value));
        json_decref(name);
        json_decref(value);
        if (!ok)
            return error_set(err, "BAD_VALUE", "the query is not UTF-8 text: write it percent-encoded");
        at = stop + 1;
    }
    return 0;
}

/* The segments of the path behind "/mlflow", by the pattern's names. */
static int add_path(json_t *object, const char *path, size_t len, const char *pattern, struct ls_error *err)
{
    const char *at = memmem(path, len, "/mlflow/", 8);
    at = at ? at + 7 : path;
    while (*pattern && at < path + len) {
        if (*pattern != '{') {
            pattern++;
            at++;
            continue;
        }
        const char *close = strchr(pattern, '}'), *slash = memchr(at, '/', (size_t) (path + len - at));
        const char *stop = slash ? slash : path + len;
        json_t *value = ask_unescaped(at, (size_t) (stop - at), false);
        if (!value)
            return error_set(err, "BAD_VALUE", "the path is not UTF-8 text: write it percent-encoded");
        json_object_setn_new(object, pattern + 1, (size_t) (close - pattern - 1), value);
        pattern = close + 1;
        at = stop;
    }
    return 0;
}

/* ---- the whole ---- */

static json_t *read_json(struct ls_slice body, struct ls_error *err)
{
    json_error_t why;
    json_t *json = json_loadb(body.data, body.len, JSON_DECODE_ANY, &why);
    if (!json && json_error_code(&why) == json_error_numeric_overflow)
        json = json_loadb(body.data, body.len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    if (!json)
        error_set(
            err, "BAD_VALUE",
            "the body is no valid JSON: %s (line %d, column %d). Numbers that are not finite are written as texts: "
            "\"NaN\", \"Infinity\", \"-Infinity\"",
            why.text, why.line, why.column);
    return json;
}

static json_t *read_body(struct ls_slice body, bool http, struct ls_error *err)
{
    json_t *json = !body.len ? json_object() : http ? read_json(body, err) : node_json(body, err);
    if (json && !json_is_object(json)) {
        error_set(err, "BAD_VALUE", "the body must be a JSON object");
        json_decref(json);
        return NULL;
    }
    return json;
}

json_t *ask_request(const struct ls_event *event, bool http, const char *pattern, struct ls_error *err)
{
    struct ls_slice path = {0}, query = {0};
    json_t *object = json_object(), *body = NULL;
    bool ok = true;
    if (http) {
        ls_event_attribute(event, "path", &path);
        ls_event_attribute(event, "query", &query);
        ok = (!query.len || add_query(object, query.data, query.len, err) == 0);
    }
    ok = ok && (body = read_body(event->body, http, err)) != NULL;
    if (ok)
        json_object_update(object, body);
    if (ok && path.len && add_path(object, path.data, path.len, pattern, err) < 0)
        ok = false;
    json_decref(body);
    if (!ok) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- fields ---- */

static const json_t *field(const json_t *from, const char *key)
{
    const json_t *value = json_object_get(from, key);
    return json_is_null(value) ? NULL : value;
}

bool has(const json_t *from, const char *key)
{
    return field(from, key) != NULL;
}

const char *ask_text(struct op_call *call, const json_t *from, const char *key, struct ls_error *err)
{
    const json_t *value = field(from, key);
    if (value && !json_is_string(value))
        op_fail(call, err, INVALID, "Invalid value for parameter '%s': it must be a string", key);
    return json_string_value(value);
}

const char *need_text(struct op_call *call, const json_t *from, const char *key, struct ls_error *err)
{
    const char *text = ask_text(call, from, key, err);
    if (!text || !*text)
        op_fail(call, err, INVALID,
                "Missing value for required parameter '%s'. See the API docs for more information about request "
                "parameters.",
                key);
    return text;
}

static bool text_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return *text && !isspace((unsigned char) *text) && !*end && !errno;
}

int64_t ask_int(struct op_call *call, const json_t *from, const char *key, int64_t fallback, struct ls_error *err)
{
    const json_t *value = field(from, key);
    int64_t number = fallback;
    double real = json_real_value(value);
    if (!value)
        return fallback;
    if (json_is_integer(value))
        return json_integer_value(value);
    if (json_is_real(value) && real == floor(real) && fabs(real) < 9e18)
        return (int64_t) real;
    if (!json_is_string(value) || !text_int(json_string_value(value), &number))
        op_fail(call, err, INVALID, "Invalid value for parameter '%s': it must be a whole number of at most 64 bits",
                key);
    return number;
}

bool ask_bool(struct op_call *call, const json_t *from, const char *key, bool fallback, struct ls_error *err)
{
    const json_t *value = field(from, key);
    const char *text = json_string_value(value);
    if (!value)
        return fallback;
    if (json_is_boolean(value))
        return json_is_true(value);
    if (text && (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0))
        return true;
    if (!text || (strcasecmp(text, "false") != 0 && strcmp(text, "0") != 0))
        op_fail(call, err, INVALID, "Invalid value for parameter '%s': it must be true or false", key);
    return false;
}

json_t *need_number(struct op_call *call, const json_t *from, const char *key, struct ls_error *err)
{
    const json_t *value = field(from, key);
    const char *text = json_string_value(value);
    if (json_is_number(value))
        return json_real(json_number_value(value));
    if (!value)
        return op_fail(call, err, INVALID,
                       "Missing value for required parameter '%s'. See the API docs for more information about request "
                       "parameters.",
                       key);
    char *end = NULL;
    double number = text ? strtod(text, &end) : 0;
    if (!text || !*text || isspace((unsigned char) *text) || *end)
        return op_fail(
            call, err, INVALID,
            "Got invalid value %.100s for parameter '%s': it must be a number, or \"NaN\", \"Infinity\", \"-Infinity\"",
            text ? text : "of another type", key);
    return isnan(number)   ? json_string("NaN")
           : isinf(number) ? json_string(number > 0 ? "Infinity" : "-Infinity")
                           : json_real(number);
}

const json_t *ask_list(struct op_call *call, json_t *from, const char *key, bool objects, struct ls_error *err)
{
    json_t *value = json_object_get(from, key);
    if (json_is_string(value) && !objects) {
        value = json_pack("[O]", value);
        json_object_set_new(from, key, value);
    }
    if (!value || json_is_null(value))
        return NULL;
    if (!json_is_array(value)) {
        op_fail(call, err, INVALID, "Invalid value for parameter '%s': it must be a list", key);
        return NULL;
    }
    size_t i;
    const json_t *item;
    json_array_foreach(value, i, item)
    {
        if (objects ? !json_is_object(item) : !json_is_string(item)) {
            op_fail(call, err, INVALID, "Invalid value for parameter '%s[%zu]': it must be %s", key, i,
                    objects ? "an object" : "a string");
            return NULL;
        }
    }
    return value;
}

int ask_enum(struct op_call *call, const json_t *from, const char *key, const char *const *words, struct ls_error *err)
{
    const json_t *value = field(from, key);
    const char *text = json_string_value(value);
    int64_t number = json_integer_value(value);
    if (!value)
        return 0;
    if (text && !text_int(text, &number))
        number = 0;
    for (int i = 1; words[i]; i++)
        if (number == i || (text && strcmp(words[i], text) == 0))
            return i;
    op_fail(call, err, INVALID, "Invalid value %.100s for parameter '%s': it must be one such as %s", text ? text : "",
            key, words[1]);
    return 0;
}

int64_t ask_max(struct op_call *call, int64_t fallback, int64_t most, struct ls_error *err)
{
    int64_t max = ask_int(call, call->request, "max_results", fallback, err);
    if (max < 1 || max > most)
        op_fail(call, err, INVALID,
                "Invalid value %lld for parameter 'max_results' supplied: it must be a whole number from 1 to %lld",
                (long long) max, (long long) most);
    return max;
}

json_t *ask_pairs(struct op_call *call, const char *key,
                  void (*check)(struct op_call *call, const char *key, const char *value, struct ls_error *err),
                  struct ls_error *err)
{
    const json_t *list = ask_list(call, call->request, key, true, err);
    json_t *pairs = json_object();
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *name = need_text(call, item, "key", err), *value = ask_text(call, item, "value", err);
        if (refused(call))
            break;
        check(call, name, value ? value : "", err);
        json_object_set_new(pairs, name,
                            check == check_run_tag ? check_cut(value ? value : "", TAG_VALUE_MAX)
                                                   : json_string(value ? value : ""));
    }
    return pairs;
}

void search_read(struct op_call *call, struct search *search, struct ls_error *err)
{
    const char *filter = ask_text(call, call->request, "filter", err);
    const json_t *orders = ask_list(call, call->request, "order_by", false, err);
    struct ls_error why = {0};
    size_t i;
    const json_t *order;
    if (refused(call))
        return;
    if (search_filter(search, filter, &why) < 0)
        op_fail(call, err, INVALID, "%s", why.text);
    json_array_foreach(orders, i, order) if (search_order(search, json_string_value(order), &why) < 0)
        op_fail(call, err, INVALID, "%s", why.text);
}

/* ---- page tokens ---- */

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648, section 4. */
static bool base64_read(const char *text, struct buf *out)
{
    uint32_t bits = 0;
    size_t len = strlen(text), i;
    for (i = 0; i < len && text[i] != '='; i++) {
        const char *digit = strchr(BASE64, text[i]);
        if (!digit)
            return false;
        bits = bits << 6 | (uint32_t) (digit - BASE64);
        if (i % 4)
            buf_add_byte(out, (uint8_t) (bits >> (6 - i % 4 * 2)));
    }
    return len % 4 == 0 && len - i <= 2;
}

int64_t token_read(struct op_call *call, const char *question, struct ls_error *err)
{
    const char *text = ask_text(call, call->request, "page_token", err);
    struct buf raw = {0};
    if (!text || !*text)
        return 0;
    json_t *token = base64_read(text, &raw) ? json_loadb(buf_text(&raw), raw.len, 0, NULL) : NULL;
    buf_fini(&raw);
    const json_t *offset = json_object_get(token, "offset");
    const char *of = json_string_value(json_object_get(token, "of"));
    int64_t result = json_integer_value(offset);
    if (!json_is_integer(offset) || result < 0)
        op_fail(call, err, INVALID,
                "Invalid page token: give the next_page_token of an answer, or none for the first page");
    else if (strcmp(of ? of : "", question) != 0)
        op_fail(call, err, INVALID,
                "Invalid page token: it belongs to a search with another filter, order or experiments");
    json_decref(token);
    return result;
}

json_t *token_make(int64_t offset, const char *question)
{
    struct buf raw = {0}, text = {0};
    json_t *token = *question ? json_pack("{s:I,s:s}", "offset", (json_int_t) offset, "of", question)
                              : json_pack("{s:I}", "offset", (json_int_t) offset);
    node_write(&raw, token);
    json_put_base64(&text, raw.data, raw.len);
    json_decref(token);
    token = json_stringn(buf_text(&text), text.len);
    buf_fini(&raw);
    buf_fini(&text);
    return token;
}
