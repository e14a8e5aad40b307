/* SPDX-License-Identifier: Apache-2.0 */
/* Reading W&B's answers: JSON with NaN in it, refusals in several forms, Retry-After. */
#include "nodes/wandb/api_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "lib/error.h"
#include "nodes/wandb/api.h"

#define TEXT_MAX 300

/* ---- JSON ---- */

static size_t bare_word(const char *at, const char *end)
{
    static const char *const WORDS[] = {"NaN", "Infinity", "-Infinity", NULL};
    for (size_t i = 0; WORDS[i]; i++) {
        size_t len = strlen(WORDS[i]);
        if ((size_t) (end - at) >= len && memcmp(at, WORDS[i], len) == 0)
            return len;
    }
    return 0;
}

/* Behind the string that begins at `at`, or the end of the text. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end)
            at++;
    return at < end ? at + 1 : end;
}

static void quote_words(struct buf *out, struct ls_slice text)
{
    const char *at = text.data, *end = text.data + text.len;
    while (at < end) {
        const char *from = at;
        size_t word = bare_word(at, end);
        at = *at == '"' ? skip_string(at, end) : at + (word ? word : 1);
        if (word)
            buf_add_byte(out, '"');
        buf_add(out, from, (size_t) (at - from));
        if (word)
            buf_add_byte(out, '"');
    }
}

json_t *api_json(struct ls_slice text, struct ls_error *err)
{
    struct buf quoted = {0};
    json_error_t why = {0};
    if (text.len)
        quote_words(&quoted, text);
    json_t *json = json_loadb(buf_text(&quoted), quoted.len, JSON_DECODE_ANY, &why);
    if (!json && json_error_code(&why) == json_error_numeric_overflow)
        json = json_loadb(buf_text(&quoted), quoted.len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    buf_fini(&quoted);
    if (!json)
        error_set(err, "BAD_VALUE", "no valid JSON: %s", why.text);
    return json;
}

/* ---- refusals ---- */

/* The sentence in {"error": ..}, {"errors": [..]}, {"message": ..}, of whatever depth W&B's servers use. NULL: none. */
static const char *sentence_of(const json_t *json)
{
    static const char *const KEYS[] = {"message", "error", "errors", "detail", NULL};
    if (json_is_string(json))
        return json_string_value(json);
    if (json_is_array(json))
        return sentence_of(json_array_get(json, 0));
    for (size_t i = 0; KEYS[i]; i++) {
        const char *text = json_is_object(json) ? sentence_of(json_object_get(json, KEYS[i])) : NULL;
        if (text)
            return text;
    }
    return NULL;
}

static bool is_final(unsigned status)
{
    static const unsigned FINAL[] = {400, 401, 403, 404, 409, 410, 413, 422, 501};
    for (size_t i = 0; i < sizeof FINAL / sizeof *FINAL; i++)
        if (FINAL[i] == status)
            return true;
    return false;
}

static bool is_duplicate(const char *text)
{
    return text && strcasestr(text, "duplicate");
}

static const char *advice(unsigned status)
{
    return status == 401                   ? " (is the API key right?)"
           : status == 403                 ? " (may this key write to that entity and project?)"
           : status == 404                 ? " (are base_url, entity and project right?)"
           : status >= 300 && status < 400 ? " (it sends us elsewhere: say that address as base_url)"
           : status == 413                 ? " (a proxy between may allow less than 10 MiB)"
                                           : "";
}

void api_refusal(struct ls_error *err, unsigned status, struct ls_slice body, bool graphql)
{
    json_auto_t *json = api_json(body, NULL);
    const char *text = sentence_of(json);
    bool final = is_final(status) && (status != 409 || !graphql || is_duplicate(text));
    error_set(err, final ? "REFUSED" : "BUSY", "W&B answered with status %u%s%.*s%s", status, text ? ": " : "",
              TEXT_MAX, text ? text : "", advice(status));
    err->number = (int) status;
    err->again = !final;
}

static int number_of(const char *text)
{
    static const struct {
        const char *word;
        int number;
    } SAYS[] = {{"duplicate", 409},    {"permission", 403}, {"forbidden", 403},    {"unauthorized", 401},
                {"authenticat", 401},  {"api key", 401},    {"not found", 404},    {"could not find", 404},
                {"cannot query", 422}, {"syntax", 422},     {"unknown type", 422}, {"variable \"$", 422}};
    for (size_t i = 0; i < sizeof SAYS / sizeof *SAYS; i++)
        if (strcasestr(text, SAYS[i].word))
            return SAYS[i].number;
    return 0;
}

void api_graphql_errors(struct ls_error *err, const json_t *errors)
{
    const char *text = sentence_of(errors);
    text = text ? text : "an error without a text";
    int number = number_of(text);
    error_set(err, number ? "REFUSED" : "BUSY", "W&B said: %.*s%s", TEXT_MAX, text, advice((unsigned) number));
    err->number = number;
    err->again = number == 0;
}

int64_t api_retry_after(const char *value)
{
    struct tm date = {0};
    char *end = NULL;
    if (!value)
        return 0;
    if (isdigit((unsigned char) value[0])) {
        double seconds = strtod(value, &end);
        return seconds > 0 && seconds < 86400 ? (int64_t) (seconds * 1000) : 0;
    }
    if (!strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &date))
        return 0;
    int64_t seconds = (int64_t) timegm(&date) - (int64_t) time(NULL);
    return seconds > 0 && seconds < 86400 ? seconds * 1000 : 0;
}
