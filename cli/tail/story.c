/* SPDX-License-Identifier: Apache-2.0 */
/* What an event says, in one line: which teller knows its topic, and what the tellers share. Of other topics the body. */
#include "cli/tail/story.h"

#include <math.h>
#include <string.h>

#include "cli/tail/tail.h"

#define WORDS_COLUMNS 60 /* of a message that is quoted */
#define VALUE_COLUMNS 80
#define PAIRS_MAX 12
#define BODY_BYTES 400

/* ---- what the tellers share ---- */

const char *story_text(const json_t *body, const char *key)
{
    const char *text = json_string_value(json_object_get(body, key));
    return text && *text ? text : NULL;
}

double story_number(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return json_is_number(value) && json_number_value(value) >= 0 ? json_number_value(value) : -1;
}

void story_put_text(struct buf *out, const char *text)
{
    if (text)
        render_harmless(out, text, strlen(text));
}

void story_put_ms(struct buf *out, double ms)
{
    char text[RENDER_SHORT_SIZE];
    buf_addf(out, "%s", ms < 1e12 ? render_duration((int64_t) (ms * 1000), text) : "very long");
}

void story_put_words(struct buf *out, const struct buf *text)
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

void story_put_more(struct buf *out, const char *before, const char *text)
{
    if (!text)
        return;
    buf_addf(out, "%s", before);
    story_put_text(out, text);
}

static void put_lasted(const json_t *body, const char *before, struct buf *out)
{
    double ms = story_number(body, "duration_ms");
    if (ms < 0)
        return;
    buf_addf(out, "%s", before);
    story_put_ms(out, ms);
}

void story_put_after(const json_t *body, struct buf *out)
{
    put_lasted(body, ", after ", out);
}

void story_put_took(const json_t *body, struct buf *out)
{
    put_lasted(body, ", took ", out);
}

void story_put_value(struct buf *out, const json_t *value)
{
    struct buf text = {0};
    if (json_is_string(value)) {
        render_harmless(&text, json_string_value(value), json_string_length(value));
    } else if (json_is_real(value)) {
        double number = json_real_value(value);
        bool whole = fabs(number) < 1e15 && floor(number) == number;
        buf_addf(&text, whole ? "%.0f" : fabs(number) >= 1000 ? "%.1f" : "%.4g", number);
    } else if (value) {
        char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        story_put_text(&text, json);
        free(json);
    }
    render_cut(&text, VALUE_COLUMNS);
    buf_add(out, text.data, text.len);
    buf_fini(&text);
}

void story_put_pairs(struct buf *out, const char *before, const json_t *object)
{
    const char *key;
    const json_t *value;
    size_t count = 0;
    json_object_foreach((json_t *) (uintptr_t) object, key, value)
    {
        buf_addf(out, "%s", count ? ", " : before);
        if (++count > PAIRS_MAX) {
            buf_addf(out, "…");
            break;
        }
        story_put_text(out, key);
        buf_addf(out, "=");
        if (json_is_object(value) || json_is_array(value))
            buf_addf(out, "%s", json_is_object(value) ? "{…}" : "[…]");
        else
            story_put_value(out, value);
    }
}

void story_put_version(struct buf *out, const char *before, const json_t *version)
{
    if (!json_is_integer(version) && !(json_is_string(version) && json_string_length(version)))
        return;
    buf_addf(out, "%s", before);
    story_put_value(out, version);
}

/* ---- telling ---- */

static const struct teller *const FAMILIES[] = {STORY_CHAT, STORY_WORK, STORY_RUN, STORY_MODEL};

static const struct teller *teller_of(struct ls_slice topic)
{
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++)
        for (const struct teller *teller = FAMILIES[i]; teller->topic; teller++)
            if (ls_slice_is(topic, teller->topic))
                return teller;
    return NULL;
}

void story_put(const struct ls_event *event, struct buf *out)
{
    const struct teller *teller = teller_of(event->topic);
    json_auto_t *body = teller ? event_body_json(event) : NULL;
    if (json_is_object(body)) {
        teller->tell(body, out);
        return;
    }
    render_body(out, event->body.data, event->body.len, BODY_BYTES);
    render_cut(out, BODY_BYTES);
}

/* ---- several in one line ---- */

static const char *const FOLDED[] = {"run.metric", "run.param", "task.progress", "wandb.synced", "wandb.metric"};

bool story_folds(const struct ls_event *a, const struct ls_event *b)
{
    if (a->subject.len != b->subject.len || (a->subject.len && memcmp(a->subject.data, b->subject.data, a->subject.len) != 0))
        return false;
    for (size_t i = 0; i < sizeof FOLDED / sizeof *FOLDED; i++)
        if (ls_slice_is(a->topic, FOLDED[i]) && ls_slice_is(b->topic, FOLDED[i]))
            return true;
    return false;
}

void story_put_fold(const struct ls_event *const *events, size_t count, struct buf *out)
{
    const struct ls_event *last = events[count - 1];
    json_auto_t *bodies = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *body = event_body_json(events[i]);
        if (json_is_object(body))
            json_array_append(bodies, body);
        json_decref(body);
    }
    if (ls_slice_is(last->topic, "run.metric") || ls_slice_is(last->topic, "wandb.metric"))
        story_fold_metrics(bodies, out);
    else if (ls_slice_is(last->topic, "run.param"))
        story_fold_params(bodies, out);
    else if (ls_slice_is(last->topic, "task.progress"))
        story_fold_progress(bodies, out);
    else
        story_put(last, out); /* each says how far it is: the last tells all */
}
