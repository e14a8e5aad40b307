/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a stream, and the body of a plain answer, as the models write them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mock/mock.h"

#define CREATED 1700000000
#define BIG_BYTES 100000
#define PROMPT_TOKENS 11

/* ---- the text, piece by piece ---- */

/* Odd sizes, so that pieces end inside words; never inside a character of UTF-8. */
static size_t cut_size(const struct answer *a)
{
    static const unsigned char SIZES[] = {1, 4, 2, 7, 3, 5};
    size_t left = a->text.len - a->text_at, size = SIZES[a->stage_token % sizeof SIZES];
    size = size < left ? size : left;
    while (size < left && ((unsigned char) a->text.data[a->text_at + size] & 0xc0) == 0x80)
        size++;
    return size;
}

bool next_piece(struct answer *a, struct bytes *piece)
{
    if (a->stamp == STAMP_TEXT) {
        if (a->stage_token >= a->tokens)
            return false;
        bytes_addf(piece, "%lld ", (long long) mock_now_us());
    } else if (a->behaviour->is & BIG) {
        if (a->stage_token > 0)
            return false;
        while (piece->len < BIG_BYTES)
            bytes_addf(piece, "%zu ", piece->len);
    } else if (a->has_text) {
        size_t size = cut_size(a);
        bytes_add(piece, a->text.data + a->text_at, size);
        a->text_at += size;
        return size > 0;
    } else {
        if (a->stage_token >= a->tokens)
            return false;
        bytes_addf(piece, "%stok%u", a->stage_token ? " " : "", a->stage_token);
    }
    return true;
}

/* ---- one record ---- */

void record_prefix(struct conn *c)
{
    struct answer *a = &c->answer;
    struct bytes *p = &a->prefix;
    if (a->behaviour->is & BARE) {
        bytes_text(p, "{");
        a->prefix_cut = p->len;
        return;
    }
    bytes_addf(p, "{\"id\":\"%s-mock%llu\",", a->legacy ? "cmpl" : "chatcmpl", (unsigned long long) c->server->count.calls);
    a->prefix_cut = p->len;
    bytes_addf(p, "\"object\":\"%s\",", a->legacy ? "text_completion" : "chat.completion.chunk");
    bytes_addf(p, a->behaviour->is & CREATED_TEXT ? "\"created\":\"%d\"," : "\"created\":%d,", CREATED);
    bytes_addf(p, "\"model\":\"%s\",", a->model.data);
}

static void put_usage(const struct answer *a, struct bytes *out)
{
    bytes_addf(out, "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":3}}", PROMPT_TOKENS, a->token, PROMPT_TOKENS + a->token);
}

/* `json` as one record, in one chunk. */
void record_raw(struct conn *c, const char *json)
{
    static struct bytes record;
    record.len = 0;
    if (c->answer.behaviour->is & CRLF) {
        size_t cut = c->answer.prefix_cut, len = strlen(json);
        cut = cut < len && memcmp(json, c->answer.prefix.data, cut) == 0 ? cut : 0;
        bytes_addf(&record, ": a comment\r\n:\r\ndata: %.*s%s%s\r\n\r\n", (int) cut, json, cut ? "\r\ndata:" : "", json + cut);
    } else {
        bytes_addf(&record, "data: %s\n\n", json);
    }
    conn_chunk(c, &record);
}

/* A record of one choice; `delta` is what stands in it before finish_reason. */
static void record_choice(struct conn *c, unsigned index, const struct bytes *delta, const char *finish)
{
    static struct bytes json;
    const struct answer *a = &c->answer;
    json.len = 0;
    bytes_add(&json, a->prefix.data, a->prefix.len);
    bytes_text(&json, "\"choices\":[{");
    if (!(a->behaviour->is & NO_CHOICE_INDEX))
        bytes_addf(&json, "\"index\":%u,", index);
    bytes_add(&json, delta->data, delta->len);
    if (finish)
        bytes_addf(&json, ",\"finish_reason\":\"%s\"}]", finish);
    else
        bytes_text(&json, ",\"finish_reason\":null}]");
    if (a->behaviour->is & USAGE_ALWAYS) {
        bytes_text(&json, ",\"usage\":");
        put_usage(a, &json);
    } else if (a->include_usage && !(a->behaviour->is & NO_USAGE)) {
        bytes_text(&json, ",\"usage\":null");
    }
    bytes_text(&json, "}");
    record_raw(c, json.data);
}

/* The first record of a chat names the role and has no text yet. */
static void record_role(struct conn *c, unsigned choices)
{
    static struct bytes delta;
    struct answer *a = &c->answer;
    if (a->role_sent || a->legacy || a->behaviour->is & NO_ROLE)
        return;
    a->role_sent = true;
    delta.len = 0;
    bytes_text(&delta, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
    for (unsigned i = 0; i < choices; i++)
        record_choice(c, i, &delta, NULL);
}

static unsigned choice_count(const struct answer *a)
{
    return a->behaviour->is & TWO_CHOICES ? 2 : 1;
}

void record_delta(struct conn *c, const char *key, const struct bytes *piece)
{
    static struct bytes delta;
    const struct answer *a = &c->answer;
    record_role(c, choice_count(a));
    for (unsigned i = 0; i < choice_count(a); i++) {
        delta.len = 0;
        bytes_addf(&delta, "%s\"%s\":\"%s", a->legacy ? "" : "\"delta\":{", key, i ? "~" : "");
        bytes_json(&delta, piece->data, piece->len);
        bytes_text(&delta, "\"");
        if (a->stamp == STAMP_FIELD)
            bytes_addf(&delta, ",\"mock_us\":%lld", (long long) mock_now_us());
        bytes_text(&delta, a->legacy ? ",\"logprobs\":null" : "}");
        record_choice(c, i, &delta, NULL);
    }
}

static const char *finish_reason(const struct answer *a)
{
    bool tools = a->behaviour->is & TOOLS && !a->tool_result;
    return a->behaviour->finish ? a->behaviour->finish : tools ? "tool_calls" : "stop";
}

void record_finish(struct conn *c)
{
    static struct bytes delta;
    const struct answer *a = &c->answer;
    delta.len = 0;
    bytes_text(&delta, a->legacy ? "\"text\":\"\"" : "\"delta\":{}");
    for (unsigned i = 0; i < choice_count(a); i++)
        record_choice(c, i, &delta, finish_reason(a));
}

void record_usage(struct conn *c)
{
    static struct bytes json;
    const struct answer *a = &c->answer;
    json.len = 0;
    bytes_add(&json, a->prefix.data, a->prefix.len);
    bytes_text(&json, a->behaviour->is & USAGE_ALONE ? "\"usage\":" : "\"choices\":[],\"usage\":");
    put_usage(a, &json);
    bytes_text(&json, "}");
    record_raw(c, json.data);
}

/* ---- tool calls: get_weather({"city": "Zürich"}), and but for the odd ones get_time({"zone": "CET"}) ---- */

static const struct tool {
    const char *id, *name;
    const char *parts[4]; /* of the arguments, escaped; NULL: no more */
    const char *object;
} TOOL[] = {
    {"call_1", "get_weather", {"{\\\"ci", "ty\\\": \\\"Z\\u00fcr", "ich\\\"}"}, "{\"city\":\"Z\xc3\xbcrich\"}"},
    {"call_2", "get_time", {"{\\\"zone", "\\\": \\\"CET\\\"", "}"}, "{\"zone\":\"CET\"}"},
};
#define TOOL_PARTS 3

static unsigned tool_count(const struct answer *a)
{
    return a->behaviour->is & (TOOL_NO_INDEX | TOOL_OBJECT) ? 1 : 2;
}

unsigned tool_fragments(const struct answer *a)
{
    return a->behaviour->is & TOOL_OBJECT ? 1 : tool_count(a) * (TOOL_PARTS + 1);
}

void record_tool(struct conn *c)
{
    static struct bytes delta;
    const struct answer *a = &c->answer;
    unsigned index = a->stage_token / (TOOL_PARTS + 1), part = a->stage_token % (TOOL_PARTS + 1);
    const struct tool *tool = &TOOL[index];
    record_role(c, 1);
    delta.len = 0;
    bytes_text(&delta, "\"delta\":{\"tool_calls\":[{");
    if (!(a->behaviour->is & TOOL_NO_INDEX))
        bytes_addf(&delta, "\"index\":%u,", index);
    if (part == 0) {
        bytes_addf(&delta, "\"id\":\"%s\",%s\"function\":{\"name\":\"%s\",\"arguments\":", tool->id,
                   a->behaviour->is & TOOL_NO_TYPE ? "" : "\"type\":\"function\",", tool->name);
        bytes_text(&delta, a->behaviour->is & TOOL_OBJECT ? tool->object : "\"\"");
    } else {
        bytes_addf(&delta, "\"function\":{\"arguments\":\"%s\"", tool->parts[part - 1]);
    }
    bytes_text(&delta, "}}]}");
    record_choice(c, 0, &delta, NULL);
}

static void put_tools(const struct answer *a, struct bytes *out)
{
    bytes_text(out, "\"content\":null,\"tool_calls\":[");
    for (unsigned i = 0; i < tool_count(a); i++) {
        bytes_addf(out, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":\"%s\",\"arguments\":", i ? "," : "", TOOL[i].id,
                   TOOL[i].name);
        if (a->behaviour->is & TOOL_OBJECT)
            bytes_text(out, TOOL[i].object);
        else
            bytes_addf(out, "\"%s%s%s\"", TOOL[i].parts[0], TOOL[i].parts[1], TOOL[i].parts[2]);
        bytes_text(out, "}}");
    }
    bytes_text(out, "]");
}

/* ---- errors ---- */

void put_error(struct bytes *out, const struct behaviour *b, int status)
{
    if (b->is & FLAT_ERROR)
        bytes_addf(out, "{\"object\":\"error\",\"message\":\"the mock refuses\",\"type\":\"BadRequestError\",\"param\":null,\"code\":%d}",
                   status);
    else if (b->is & INT_CODE)
        bytes_addf(out, "{\"error\":{\"code\":%d,\"message\":\"the mock refuses\",\"type\":\"invalid_request_error\"}}", status);
    else
        bytes_addf(out, "{\"error\":{\"message\":\"the mock refuses\",\"type\":\"mock_error\",\"param\":null,\"code\":\"%s\"}}",
                   b->code ? b->code : "server_error");
}

void record_error(struct conn *c)
{
    static struct bytes json;
    json.len = 0;
    put_error(&json, c->answer.behaviour, 500);
    record_raw(c, json.data);
}

/* ---- the plain answer ---- */

/* Every piece of the text; counts them as tokens. */
static void put_text(struct answer *a, struct bytes *out, unsigned index)
{
    struct bytes piece = {0};
    a->text_at = 0;
    for (a->stage_token = 0; next_piece(a, &piece); a->stage_token++) {
        bytes_text(out, index ? "~" : "");
        bytes_json(out, piece.data, piece.len);
        piece.len = 0;
        a->token += index == 0;
    }
    free(piece.data);
}

static void put_choice(struct conn *c, struct bytes *out, unsigned index)
{
    struct answer *a = &c->answer;
    unsigned is = a->behaviour->is;
    bytes_text(out, "{");
    if (!(is & NO_CHOICE_INDEX))
        bytes_addf(out, "\"index\":%u,", index);
    if (!a->legacy)
        bytes_text(out, is & NO_ROLE ? "\"message\":{" : "\"message\":{\"role\":\"assistant\",");
    if (is & (REASONING | REASONING_CONTENT))
        bytes_addf(out, "\"%s\":\"think0 think1 think2\",", is & REASONING ? "reasoning" : "reasoning_content");
    if (is & TOOLS && !a->tool_result) {
        put_tools(a, out);
        a->token = tool_fragments(a);
    } else {
        bytes_text(out, a->legacy ? "\"text\":\"" : "\"content\":\"");
        put_text(a, out, index);
        bytes_text(out, "\"");
    }
    bytes_text(out, a->legacy ? ",\"logprobs\":null,\"finish_reason\":" : "},\"logprobs\":null,\"finish_reason\":");
    if (is & NO_FINISH)
        bytes_text(out, "null}");
    else
        bytes_addf(out, "\"%s\"}", finish_reason(a));
}

void put_message(struct conn *c, struct bytes *out)
{
    struct answer *a = &c->answer;
    a->token = a->behaviour->is & (REASONING | REASONING_CONTENT) ? 3 : 0;
    bytes_text(out, "{");
    if (!(a->behaviour->is & BARE)) {
        bytes_addf(out, "\"id\":\"%s-mock%llu\",\"object\":\"%s\",", a->legacy ? "cmpl" : "chatcmpl",
                   (unsigned long long) c->server->count.calls, a->legacy ? "text_completion" : "chat.completion");
        bytes_addf(out, a->behaviour->is & CREATED_TEXT ? "\"created\":\"%d\"," : "\"created\":%d,", CREATED);
        bytes_addf(out, "\"model\":\"%s\",", a->model.data);
    }
    bytes_text(out, "\"choices\":[");
    for (unsigned i = 0; i < choice_count(a); i++) {
        bytes_text(out, i ? "," : "");
        put_choice(c, out, i);
    }
    bytes_text(out, "]");
    if (!(a->behaviour->is & NO_USAGE)) {
        bytes_text(out, ",\"usage\":");
        put_usage(a, out);
    }
    bytes_text(out, "}");
}
