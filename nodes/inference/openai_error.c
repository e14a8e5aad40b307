/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong at the backend, as one sentence and number for the caller. Only the backend's own sentence and code pass
 * through, nothing else of its answer; where it refused our key not even that, for the sentence may quote the key. */
#include <stdarg.h>
#include <stdio.h>

#include "lib/error.h"
#include "lib/utf8.h"
#include "nodes/inference/openai.h"

#define SENTENCE_BYTES_MAX 300

/* ---- reading an error object ---- */

struct told {
    const char *sentence, *code;
    int number; /* a status that stands in the object; 0: none */
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && *text ? text : NULL;
}

static int number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    int number = json_is_integer(value) ? (int) json_integer_value(value) : 0;
    return number >= 400 && number <= 599 ? number : 0;
}

/* {"error": {message, type, code}}, {"error": "..."}, {"object": "error", message, code}, {"detail": "..."}. */
static struct told read_error(const json_t *json)
{
    struct told told = {0};
    const json_t *error = json_object_get(json, "error");
    const json_t *object = json_is_object(error) ? error : json;
    told.sentence = json_is_string(error) ? json_string_value(error) : text_at(object, "message");
    if (!told.sentence)
        told.sentence = text_at(json, "detail");
    told.code = text_at(object, "code");
    told.number = number_at(object, "code");
    if (!told.number)
        told.number = number_at(object, "status");
    const char *type = text_at(object, "type");
    bool too_long = type && strcmp(type, "exceed_context_size_error") == 0; /* llama.cpp */
    if (told.sentence && strstr(told.sentence, "maximum context length"))   /* vLLM, and OpenAI's own words */
        too_long = true;
    if (too_long)
        told.code = "context_length_exceeded";
    return told;
}

/* ---- numbers ---- */

struct group {
    const char *name;
    int number;
};

static struct group group_of(unsigned status)
{
    switch (status) {
    case 401: return (struct group){"REFUSED", 401};
    case 402:
    case 403: return (struct group){"REFUSED", 403};
    case 404: return (struct group){"REFUSED", 404};
    case 408:
    case 504: return (struct group){"TIMEOUT", 504};
    case 429: return (struct group){"BUSY", 429};
    case 499: /* somebody at the backend cancelled it: not the caller's fault */ return (struct group){"BROKEN", 502};
    case 501: /* llama.cpp: not supported */ return (struct group){"REFUSED", 400};
    case 503:
    case 529: return (struct group){"BUSY", 503};
    default: return status >= 400 && status < 500 ? (struct group){"REFUSED", 400} : (struct group){"BROKEN", 502};
    }
}

static void set_group(struct ls_error *err, struct group group)
{
    snprintf(err->name, sizeof err->name, "%s", group.name);
    err->number = group.number;
    err->again = strcmp(group.name, "REFUSED") != 0;
}

/* A code that is a plain word; anything else would not be one that programs look for. */
static bool is_word(const char *code)
{
    return code && strlen(code) <= 60 &&
           strspn(code, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen(code);
}

/* Whole characters, and no controls: the sentence goes into logs and onto pages. */
static void copy_sentence(char *out, size_t size, const char *text)
{
    const uint8_t *p = (const uint8_t *) text;
    size_t len = strlen(text), used = 0;
    uint32_t code;
    for (size_t i = 0, n; i < len && (n = utf8_next(p + i, len - i, &code)) && used + n < size; i += n) {
        memcpy(out + used, utf8_is_harmful(code) ? " " : text + i, utf8_is_harmful(code) ? 1 : n);
        used += utf8_is_harmful(code) ? 1 : n;
    }
    out[used] = '\0';
}

static void fill(struct ls_error *err, struct group group, const struct told *told)
{
    char sentence[SENTENCE_BYTES_MAX];
    copy_sentence(sentence, sizeof sentence, told->sentence ? told->sentence : "it does not say why");
    bool ours = group.number == 401 || group.number == 403;
    bool coded = !ours && is_word(told->code);
    if (ours)
        error_set(err, "BROKEN", "the backend does not let this node in (status %d): mend the node's api_key",
                  group.number);
    else
        error_set(err, "BROKEN", "%s%s%sthe backend says: %s", coded ? "[" : "", coded ? told->code : "",
                  coded ? "] " : "", sentence);
    set_group(err, group);
}

void openai_error_status(struct ls_error *err, unsigned status, struct ls_slice body)
{
    json_t *json = json_read(body, NULL);
    struct told told = read_error(json);
    if (status >= 300 && status < 400) {
        openai_broken(
            err, "the backend points to another place (status %u), and redirects are not followed: mend the node's url",
            status);
    } else if (told.sentence) {
        fill(err, group_of(status), &told);
    } else {
        error_set(err, "BROKEN", "the backend answered with status %u and no sentence", status);
        set_group(err, group_of(status));
    }
    json_decref(json);
}

bool openai_error_record(struct ls_error *err, const json_t *json)
{
    const json_t *error = json_object_get(json, "error");
    const char *object = json_string_value(json_object_get(json, "object"));
    bool is_error = (error && !json_is_null(error)) || (object && strcmp(object, "error") == 0);
    if (is_error)
        openai_error_record_fill(err, json);
    return is_error;
}

void openai_error_record_fill(struct ls_error *err, const json_t *json)
{
    struct told told = read_error(json);
    bool too_long = told.code && strcmp(told.code, "context_length_exceeded") == 0;
    unsigned status = told.number ? (unsigned) told.number : too_long ? 400 : 502;
    fill(err, group_of(status), &told);
}

void openai_error_call(struct ls_error *err, const char *url, const struct ls_error *why)
{
    if (strcmp(why->name, "UNREACHABLE") == 0) {
        error_set(err, "UNREACHABLE", "the backend at %.150s cannot be reached: %.200s", url, why->text);
        err->number = 503;
    } else if (strcmp(why->name, "TIMEOUT") == 0) {
        error_set(err, "TIMEOUT", "the backend was too slow: %.300s", why->text);
    } else {
        openai_broken(err, "the backend failed: %.300s", why->text);
    }
}

int openai_broken(struct ls_error *err, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(err, "BROKEN", "%s", text);
    set_group(err, (struct group){"BROKEN", 502});
    return -1;
}
