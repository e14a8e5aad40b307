/* SPDX-License-Identifier: Apache-2.0 */
/* What the events of a chat say. */
#include <string.h>

#include "cli/tail/story.h"

/* A message's content: text, or a list of parts; false if there is none (it may be withheld). */
static bool message_text(const json_t *message, struct buf *text)
{
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    if (json_is_string(content))
        buf_add(text, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part) {
        const char *words = story_text(part, "text"), *type = story_text(part, "type");
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
        const char *role = story_text(json_array_get(messages, i), "role");
        if (role && strcmp(role, "user") == 0)
            asked = json_array_get(messages, i);
    }
    if (story_text(body, "model")) {
        story_put_text(out, story_text(body, "model"));
        buf_addf(out, ", ");
    }
    buf_addf(out, "%zu message%s", count, count == 1 ? "" : "s");
    if (story_number(body, "retry_count") > 0)
        buf_addf(out, ", retry %.0f", story_number(body, "retry_count"));
    struct buf text = {0};
    if (message_text(asked, &text)) {
        buf_addf(out, ": ");
        story_put_words(out, &text);
    } else if (asked) {
        buf_addf(out, ", text not recorded");
    }
    buf_fini(&text);
}

/* "40 tokens"; behind the sign ~ when they are an estimate. The number, or -1. */
static double put_tokens(const json_t *body, struct buf *out)
{
    const json_t *usage = json_object_get(body, "usage");
    double tokens = story_number(usage, "completion_tokens");
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

static void tell_completed(const json_t *body, struct buf *out)
{
    double all_ms = story_number(body, "duration_ms"), first_ms = story_number(body, "first_token_ms");
    const char *finish = story_text(body, "finish_reason"), *worker = story_text(body, "worker");
    story_put_text(out, story_text(body, "model"));
    story_put_version(out, " version ", json_object_get(body, "version"));
    story_put_more(out, " on ", worker);
    story_put_took(body, out);
    if (first_ms >= 0) {
        buf_addf(out, ", first token after ");
        story_put_ms(out, first_ms);
    }
    put_rate(out, put_tokens(body, out), first_ms, all_ms);
    if (finish && strcmp(finish, "stop") != 0)
        story_put_more(out, ", ended by ", finish);
}

static void tell_failed(const json_t *body, struct buf *out)
{
    const char *code = story_text(body, "code");
    double status = story_number(body, "status");
    story_put_text(out, code);
    if (status > 0)
        buf_addf(out, "%s%.0f", code ? " " : "", status);
    buf_addf(out, "%s", code || status > 0 ? ": " : "");
    story_put_text(out, story_text(body, "error"));
    story_put_after(body, out);
    if (json_is_true(json_object_get(body, "partial")))
        buf_addf(out, ", part of the answer had gone out");
    put_tokens(body, out);
}

static void tell_cancelled(const json_t *body, struct buf *out)
{
    story_put_text(out, story_text(body, "reason") ? story_text(body, "reason") : "given up");
    story_put_after(body, out);
    put_tokens(body, out);
}

static void tell_feedback(const json_t *body, struct buf *out)
{
    const char *comment = story_text(body, "comment");
    const json_t *score = json_object_get(body, "score");
    story_put_text(out, story_text(body, "rating"));
    if (json_is_number(score))
        buf_addf(out, ", score %g", json_number_value(score));
    story_put_more(out, ", ", story_text(body, "reason"));
    if (comment) {
        struct buf text = {0};
        buf_addf(&text, "%s", comment);
        buf_addf(out, ": ");
        story_put_words(out, &text);
        buf_fini(&text);
    }
}

const struct teller STORY_CHAT[] = {
    {"chat.request", tell_request},
    {"chat.completed", tell_completed},
    {"chat.failed", tell_failed},
    {"chat.cancelled", tell_cancelled},
    {"chat.feedback", tell_feedback},
    {NULL, NULL},
};
