/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a worker's answer (docs/nodes/chat-generate.md): read, checked, as any program on the bus may have written them, and
 * gathered. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/mp.h"
#include "nodes/ingress/chat.h"

/* ---- reading ---- */

static void read_member(struct piece *piece, struct mp_slice key, struct mp value)
{
    static const struct {
        const char *name;
        size_t offset;
    } TEXTS[] = {
#define MEMBER(name, member) {name, offsetof(struct piece, member)}
        MEMBER("text", text), MEMBER("reasoning", reasoning), MEMBER("refusal", refusal), MEMBER("tool_calls", tool_calls),
        MEMBER("logprobs", logprobs), MEMBER("finish_reason", finish), MEMBER("model", model), MEMBER("version", version),
        MEMBER("worker", worker),
#undef MEMBER
    };
    struct mp_slice text;
    uint64_t number;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        if (mp_is(key, TEXTS[i].name) && mp_peek(&value) == MP_STR && mp_str(&value, &text))
            *(struct ls_slice *) (void *) ((char *) piece + TEXTS[i].offset) = ls_bytes(text.data, text.len);
    if (mp_is(key, "version") && mp_uint(&value, &number)) {
        snprintf(piece->version_text, sizeof piece->version_text, "%llu", (unsigned long long) number);
        piece->version = ls_str(piece->version_text);
    }
}

static bool is_finish_reason(struct ls_slice text)
{
    static const char *const REASONS[] = {"stop", "length", "tool_calls", "content_filter", "function_call"};
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++)
        if (ls_slice_is(text, REASONS[i]))
            return true;
    return false;
}

const char *piece_read(struct piece *piece, struct ls_slice part)
{
    struct mp r = mp_over(part.data, part.len);
    struct mp_slice key;
    uint32_t pairs;
    *piece = (struct piece){0};
    if (!mp_map(&r, &pairs))
        return "the worker sent a part that is no msgpack map";
    for (; pairs && mp_str(&r, &key); pairs--) {
        struct mp value = r;
        if (!mp_skip(&r))
            break;
        if (mp_is(key, "index"))
            mp_uint(&value, &piece->index);
        else if (mp_is(key, "usage") && mp_peek(&value) == MP_MAP)
            piece->usage = ls_bytes(value.p, (size_t) (r.p - value.p));
        else
            read_member(piece, key, value);
    }
    if (pairs)
        return "the worker sent a part that is no msgpack map";
    if (piece->finish.len && !is_finish_reason(piece->finish))
        return "the worker ended with a finish_reason that there is not";
    return NULL;
}

/* ---- gathering ---- */

static void append_text(json_t *object, const char *key, const json_t *more)
{
    const char *text = json_string_value(more), *before = json_string_value(json_object_get(object, key));
    if (!text)
        return;
    json_object_set_new(object, key, json_sprintf("%s%s", before ? before : "", text));
}

/* A fragment of a call: names are told once, arguments grow (the OpenAI API's chat.completion.chunk). */
static void merge_call(json_t *calls, const json_t *delta)
{
    size_t index = (size_t) json_integer_value(json_object_get(delta, "index"));
    if (index >= TURN_CHOICES_MAX)
        return;
    while (json_array_size(calls) <= index)
        json_array_append_new(calls, json_pack("{s:n,s:s,s:{s:s,s:s}}", "id", "type", "function", "function", "name", "", "arguments", ""));
    json_t *call = json_array_get(calls, index), *function = json_object_get(call, "function");
    const json_t *given = json_object_get(delta, "function");
    if (json_is_string(json_object_get(delta, "id")))
        json_object_set(call, "id", json_object_get(delta, "id"));
    append_text(function, "name", json_object_get(given, "name"));
    append_text(function, "arguments", json_object_get(given, "arguments"));
}

static const char *gather_calls(struct choice *c, struct ls_slice text)
{
    json_t *deltas = json_loadb(text.data, text.len, 0, NULL), *delta;
    bool ok = json_is_array(deltas);
    size_t i;
    if (ok && !c->tool_calls)
        c->tool_calls = json_array();
    json_array_foreach(deltas, i, delta)
        merge_call(c->tool_calls, delta);
    json_decref(deltas);
    return ok ? NULL : "the worker sent tool_calls that are no JSON array";
}

/* Nobody looks at the logprobs of a stream again. */
static const char *gather_logprobs(struct choice *c, struct ls_slice text, bool stream)
{
    json_t *logprobs = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);
    json_t *before = json_object_get(c->logprobs, "content"), *more = json_object_get(logprobs, "content");
    bool ok = json_is_object(logprobs) || json_is_null(logprobs);
    if (ok && json_is_array(before) && json_is_array(more)) {
        json_array_extend(before, more);
    } else if (ok && !stream) {
        json_decref(c->logprobs);
        c->logprobs = json_incref(logprobs);
    }
    json_decref(logprobs);
    return ok ? NULL : "the worker sent logprobs that are no JSON object";
}

/* Text is kept for the event; of a stream only so much, as nobody waits for the whole. False: an answer without end. */
static bool keep_text(const struct turn *t, struct choice *c, struct buf *kept, struct ls_slice text)
{
    size_t room = (t->stream ? TURN_TEXT_MAX : TURN_ANSWER_MAX) - kept->len;
    bool fits = text.len <= room;
    if (text.len)
        buf_add(kept, text.data, fits ? text.len : room);
    c->cut |= !fits;
    return fits || t->stream;
}

const char *piece_gather(const struct turn *t, struct choice *c, const struct piece *p)
{
    if (!keep_text(t, c, &c->text, p->text) || !keep_text(t, c, &c->reasoning, p->reasoning) ||
        !keep_text(t, c, &c->refusal, p->refusal))
        return "the answer is longer than 64 MiB; ask for it as a stream";
    const char *wrong = p->tool_calls.len ? gather_calls(c, p->tool_calls) : NULL;
    return wrong || !p->logprobs.len ? wrong : gather_logprobs(c, p->logprobs, t->stream);
}
