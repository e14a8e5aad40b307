/* SPDX-License-Identifier: Apache-2.0 */
/* What an event says, in one line: of the chat events what a reader wants to know, of others the body. */
#include <jansson.h>
#include <string.h>

#include "cli/tail.h"

#define WORDS_COLUMNS 60 /* of a message that is quoted */
#define BODY_BYTES 400

/* ---- small readers ---- */

static const char *text_at(const json_t *body, const char *key)
{
    const char *text = json_string_value(json_object_get(body, key));
    return text && *text ? text : NULL;
}

/* A non-negative number, or -1. */
static double number_at(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return json_is_number(value) && json_number_value(value) >= 0 ? json_number_value(value) : -1;
}

static void put_text(struct buf *out, const char *text)
{
    if (text)
        render_harmless(out, text, strlen(text));
}

static void put_ms(struct buf *out, double ms)
{
    char text[RENDER_SHORT_SIZE];
    buf_addf(out, "%s", ms < 1e12 ? render_duration((int64_t) (ms * 1000), text) : "very long");
}

/* The beginning of a text in quotes, white space made single. */
static void put_words(struct buf *out, const struct buf *text)
{
    struct buf plain = {0};
    for (size_t i = 0; i < text->len && plain.len < 4 * WORDS_COLUMNS; i++) {
        bool space = strchr(" \t\r\n", text->data[i]) != NULL;
        if (space ? plain.len && plain.data[plain.len - 1] != ' ' : true)
            buf_add_byte(&plain, space ? ' ' : text->data[i]);
    }
    while (plain.len && plain.data[plain.len - 1] == ' ')
        plain.len--;
    struct buf words = {0};
    render_harmless(&words, plain.data, plain.len);
    render_cut(&words, WORDS_COLUMNS);
    buf_add_byte(out, '"');
    buf_add(out, words.data, words.len);
    buf_add_byte(out, '"');
    buf_fini(&words);
    buf_fini(&plain);
}

/* ---- the chat events ---- */

/* A message's content: text, or a list of parts; false if there is none (it may be withheld). */
static bool message_text(const json_t *message, struct buf *text)
{
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    if (json_is_string(content))
        buf_add(text, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part) {
        const char *words = text_at(part, "text"), *type = text_at(part, "type");
        buf_addf(text, "%s", i ? " " : "");
        if (words)
            buf_add(text, words, strlen(words));
        else
            buf_addf(text, "[%.40s]", type ? type : "?");
    }
    return text->len > 0;
}

static void tell_request(const json_t *body, struct buf *out)
{
    const json_t *messages = json_object_get(body, "messages"), *asked = NULL;
    size_t count = json_array_size(messages);
    for (size_t i = count; i-- > 0 && !asked;) {
        const char *role = text_at(json_array_get(messages, i), "role");
        if (role && strcmp(role, "user") == 0)
            asked = json_array_get(messages, i);
    }
    if (text_at(body, "model")) {
        put_text(out, text_at(body, "model"));
        buf_addf(out, ", ");
    }
    buf_addf(out, "%zu message%s", count, count == 1 ? "" : "s");
    if (number_at(body, "retry_count") > 0)
        buf_addf(out, ", retry %.0f", number_at(body, "retry_count"));
    struct buf text = {0};
    if (message_text(asked, &text)) {
        buf_addf(out, ": ");
        put_words(out, &text);
    } else if (asked) {
        buf_addf(out, ", text not recorded");
    }
    buf_fini(&text);
}

/* "40 tokens"; behind the sign ~ when they are an estimate. The number, or -1. */
static double put_tokens(const json_t *body, struct buf *out)
{
    const json_t *usage = json_object_get(body, "usage");
    double tokens = number_at(usage, "completion_tokens");
    if (tokens >= 0)
        buf_addf(out, ", %s%.0f token%s", json_is_true(json_object_get(usage, "estimated")) ? "~" : "", tokens, tokens == 1 ? "" : "s");
    return tokens;
}

/* How fast the answer was written once it had begun; without that moment, over the whole time. */
static void put_rate(struct buf *out, double tokens, double first_ms, double all_ms)
{
    double count = first_ms >= 0 ? tokens - 1 : tokens, ms = first_ms >= 0 ? all_ms - first_ms : all_ms;
    if (count > 0 && ms > 0)
        buf_addf(out, count / ms >= 0.01 ? ", %.0f tokens/s" : ", %.1f tokens/s", 1000 * count / ms);
}

static void put_version(const json_t *body, struct buf *out)
{
    const json_t *version = json_object_get(body, "version");
    if (json_is_integer(version))
        buf_addf(out, " version %lld", (long long) json_integer_value(version));
    if (!text_at(body, "version"))
        return;
    buf_addf(out, " version ");
    put_text(out, text_at(body, "version"));
}

static void tell_completed(const json_t *body, struct buf *out)
{
    double all_ms = number_at(body, "duration_ms"), first_ms = number_at(body, "first_token_ms");
    const char *finish = text_at(body, "finish_reason"), *worker = text_at(body, "worker");
    put_text(out, text_at(body, "model"));
    put_version(body, out);
    if (worker) {
        buf_addf(out, " on ");
        put_text(out, worker);
    }
    if (all_ms >= 0) {
        buf_addf(out, ", took ");
        put_ms(out, all_ms);
    }
    if (first_ms >= 0) {
        buf_addf(out, ", first token after ");
        put_ms(out, first_ms);
    }
    put_rate(out, put_tokens(body, out), first_ms, all_ms);
    if (finish && strcmp(finish, "stop") != 0) {
        buf_addf(out, ", ended by ");
        put_text(out, finish);
    }
}

static void put_after(const json_t *body, struct buf *out)
{
    double ms = number_at(body, "duration_ms");
    if (ms < 0)
        return;
    buf_addf(out, ", after ");
    put_ms(out, ms);
}

static void tell_failed(const json_t *body, struct buf *out)
{
    const char *code = text_at(body, "code");
    double status = number_at(body, "status");
    put_text(out, code);
    if (status > 0)
        buf_addf(out, "%s%.0f", code ? " " : "", status);
    buf_addf(out, "%s", code || status > 0 ? ": " : "");
    put_text(out, text_at(body, "error"));
    put_after(body, out);
    if (json_is_true(json_object_get(body, "partial")))
        buf_addf(out, ", part of the answer had gone out");
    put_tokens(body, out);
}

static void tell_cancelled(const json_t *body, struct buf *out)
{
    put_text(out, text_at(body, "reason") ? text_at(body, "reason") : "given up");
    put_after(body, out);
    put_tokens(body, out);
}

static void tell_feedback(const json_t *body, struct buf *out)
{
    const char *comment = text_at(body, "comment");
    const json_t *score = json_object_get(body, "score");
    put_text(out, text_at(body, "rating"));
    if (json_is_number(score))
        buf_addf(out, ", score %g", json_number_value(score));
    if (text_at(body, "reason")) {
        buf_addf(out, ", ");
        put_text(out, text_at(body, "reason"));
    }
    if (comment) {
        struct buf text = {0};
        buf_addf(&text, "%s", comment);
        buf_addf(out, ": ");
        put_words(out, &text);
        buf_fini(&text);
    }
}

static const struct teller {
    const char *topic;
    void (*tell)(const json_t *body, struct buf *out);
} TELLERS[] = {
    {"chat.request", tell_request},     {"chat.completed", tell_completed}, {"chat.failed", tell_failed},
    {"chat.cancelled", tell_cancelled}, {"chat.feedback", tell_feedback},
};

void story_put(const struct ls_event *event, struct buf *out)
{
    for (size_t i = 0; i < sizeof TELLERS / sizeof TELLERS[0]; i++) {
        json_t *body = ls_slice_is(event->topic, TELLERS[i].topic) ? event_body_json(event) : NULL;
        if (json_is_object(body)) {
            TELLERS[i].tell(body, out);
            json_decref(body);
            return;
        }
        json_decref(body);
    }
    render_body(out, event->body.data, event->body.len, BODY_BYTES);
    render_cut(out, BODY_BYTES);
}
