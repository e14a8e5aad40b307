/* SPDX-License-Identifier: Apache-2.0 */
/* The models, each a way to behave; reading a request; and what is sent when. */
#include <stdlib.h>
#include <string.h>

#include "tests/mock/mock.h"

#define QUEUE_MAX (256u << 10) /* of a client that reads slowly */

static const struct behaviour BEHAVIOURS[] = {
    {.name = "fixed"},
    {.name = "echo", .is = ECHO},
    {.name = "hang", .is = HANG},
    {.name = "hang-first", .is = HANG_FIRST | ECHO},
    {.name = "hang-after-", .is = HANG_AFTER},
    {.name = "cut-after-", .is = CUT_AFTER},
    {.name = "bad-json", .is = BAD_JSON},
    {.name = "no-finish", .is = NO_FINISH | NO_DONE},
    {.name = "no-done", .is = NO_DONE},
    {.name = "400", .status = 400, .code = "context_length_exceeded"},
    {.name = "401", .status = 401, .code = "invalid_api_key"},
    {.name = "403", .status = 403, .code = "forbidden"},
    {.name = "404", .status = 404, .code = "model_not_found"},
    {.name = "429", .status = 429, .code = "rate_limit_exceeded"},
    {.name = "500", .status = 500, .code = "server_error"},
    {.name = "503", .status = 503, .code = "overloaded"},
    {.name = "slow-header", .is = SLOW_HEADER},
    {.name = "error-mid-stream", .is = ERROR_MID},
    {.name = "error-int-code", .is = INT_CODE, .status = 400},
    {.name = "flat-error", .is = FLAT_ERROR, .status = 400},
    {.name = "abort-reason", .finish = "abort"},
    {.name = "eos-reason", .finish = "eos"},
    {.name = "reasoning", .is = REASONING},
    {.name = "reasoning_content", .is = REASONING_CONTENT},
    {.name = "tools", .is = TOOLS},
    {.name = "tools-no-index", .is = TOOLS | TOOL_NO_INDEX},
    {.name = "tools-no-type", .is = TOOLS | TOOL_NO_TYPE},
    {.name = "tools-object-args", .is = TOOLS | TOOL_OBJECT},
    {.name = "no-role", .is = NO_ROLE},
    {.name = "no-usage", .is = NO_USAGE},
    {.name = "usage-every-chunk", .is = USAGE_ALWAYS},
    {.name = "usage-no-choices", .is = USAGE_ALONE},
    {.name = "crlf", .is = CRLF},
    {.name = "split", .is = SPLIT | ECHO},
    {.name = "big", .is = BIG},
    {.name = "text-plain", .is = TEXT_PLAIN},
    {.name = "not-streaming", .is = NOT_STREAMING},
    {.name = "two-choices", .is = TWO_CHOICES},
    {.name = "no-choice-index", .is = NO_CHOICE_INDEX},
    {.name = "bare-chunks", .is = BARE},
    {.name = "created-text", .is = CREATED_TEXT},
};
#define BEHAVIOUR_COUNT (sizeof BEHAVIOURS / sizeof BEHAVIOURS[0])

const char *const MOCK_MODELS[] = {
    "fixed", "echo", "hang", "hang-first", "hang-after-0", "hang-after-3", "cut-after-3", "bad-json", "no-finish", "no-done",
    "400", "401", "403",
    "404", "429", "500", "503", "slow-header", "error-mid-stream", "error-int-code", "flat-error", "abort-reason", "eos-reason",
    "reasoning", "reasoning_content", "tools", "tools-no-index", "tools-no-type", "tools-object-args", "no-role", "no-usage",
    "usage-every-chunk", "usage-no-choices", "crlf", "split", "big", "text-plain", "not-streaming", "two-choices", "no-choice-index",
    "bare-chunks", "created-text", NULL};

/* ---- which behaviour ---- */

static const struct behaviour *behaviour_find(const char *name, size_t len, unsigned *after)
{
    const char *slash = memrchr(name, '/', len);
    if (slash) { /* "some/echo" behaves as "echo" */
        len -= (size_t) (slash + 1 - name);
        name = slash + 1;
    }
    for (size_t i = 0; i < BEHAVIOUR_COUNT; i++) {
        const struct behaviour *b = &BEHAVIOURS[i];
        size_t known = strlen(b->name);
        bool counted = b->is & (HANG_AFTER | CUT_AFTER);
        if (counted ? len <= known || len > known + 6 : len != known)
            continue;
        if (memcmp(name, b->name, known) != 0)
            continue;
        if (counted) {
            char number[8] = {0}, *end;
            memcpy(number, name + known, len - known);
            *after = (unsigned) strtoul(number, &end, 10);
            if (*end)
                continue;
        }
        return b;
    }
    return NULL;
}

static bool is_served(const struct server *s, const char *name, size_t len)
{
    for (size_t i = 0; i < s->model_count; i++)
        if (strlen(s->models[i]) == len && memcmp(s->models[i], name, len) == 0)
            return true;
    return false;
}

bool model_known(const struct server *s, const char *name, size_t len)
{
    unsigned after;
    return is_served(s, name, len) || behaviour_find(name, len, &after);
}

/* ---- reading the request ---- */

/* `content`: text, or a list of parts. */
static void add_content(struct bytes *text, const json_t *content)
{
    size_t i;
    json_t *part;
    if (json_is_string(content))
        bytes_add(text, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part) {
        const json_t *words = json_is_string(part) ? part : json_object_get(part, "text");
        if (json_is_string(words))
            bytes_add(text, json_string_value(words), json_string_length(words));
    }
}

/* The text to echo: the last user message; behind a tool's result, that result. For completions, the prompt. */
static void read_text(struct answer *a, const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages");
    size_t last = json_array_size(messages);
    if (a->legacy) {
        add_content(&a->text, json_object_get(body, "prompt"));
        return;
    }
    for (size_t i = last; i-- > 0;) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        bool tool = role && strcmp(role, "tool") == 0;
        if (tool && i == last - 1)
            a->tool_result = true;
        if (role && (strcmp(role, "user") == 0 || a->tool_result)) {
            add_content(&a->text, json_object_get(message, "content"));
            return;
        }
    }
}

/* What the request's "mock" object overrides. */
static void read_overrides(struct answer *a, const json_t *mock, int64_t now_us)
{
    const json_t *value = json_object_get(mock, "tokens");
    if (json_is_integer(value))
        a->tokens = (unsigned) json_integer_value(value);
    value = json_object_get(mock, "pace_ms");
    if (json_is_number(value))
        a->pace_us = (int64_t) (json_number_value(value) * 1000);
    value = json_object_get(mock, "first_ms");
    if (json_is_number(value))
        a->due_us = now_us + (int64_t) (json_number_value(value) * 1000);
    value = json_object_get(mock, "text");
    if (json_is_string(value)) {
        a->text.len = 0;
        bytes_add(&a->text, json_string_value(value), json_string_length(value));
        a->has_text = true;
    }
    value = json_object_get(mock, "stamp");
    if (json_is_string(value))
        a->stamp = strcmp(json_string_value(value), "text") == 0 ? STAMP_TEXT : STAMP_FIELD;
}

/* Everything zero but the memory of the last answer. */
static void answer_init(struct answer *a, const struct server *s, bool legacy, int64_t now_us)
{
    struct bytes text = a->text, prefix = a->prefix, model = a->model;
    text.len = prefix.len = model.len = 0;
    *a = (struct answer){.legacy = legacy, .tokens = s->tokens, .pace_us = s->pace_us, .due_us = now_us, .text = text,
        .prefix = prefix, .model = model};
}

static void keep_last(struct server *s, const struct request *r, bool is_json)
{
    s->last_body.len = s->last_head.len = 0;
    bytes_add(&s->last_body, r->body, r->body_len);
    bytes_add(&s->last_head, r->head, r->head_len);
    s->last_body_is_json = is_json;
}

/* ---- beginning ---- */

static void begin_error(struct conn *c, const struct behaviour *b, int status)
{
    struct bytes body = {0};
    put_error(&body, b, status);
    conn_answer(c, status, status == 429 || status == 503
        ? "Content-Type: application/json\r\nretry-after-ms: 20\r\nretry-after: 1\r\n" : "Content-Type: application/json\r\n", &body);
    c->answer.stage = STAGE_OVER;
    free(body.data);
}

static void begin_stream(struct conn *c)
{
    const struct answer *a = &c->answer;
    record_prefix(c);
    conn_head(c, 200, a->behaviour->is & TEXT_PLAIN ? "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        : "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n");
    if (a->behaviour->is & SLOW_HEADER)
        c->drip = 1;
    else if (a->behaviour->is & SPLIT)
        c->drip = 2;
}

static void begin(struct conn *c, const json_t *body)
{
    static const struct behaviour UNKNOWN = {.name = "unknown", .status = 404, .code = "model_not_found"};
    struct answer *a = &c->answer;
    const json_t *model = json_object_get(body, "model");
    const char *name = json_is_string(model) ? json_string_value(model) : "";
    int64_t now_us = mock_now_us();
    answer_init(a, c->server, a->legacy, now_us);
    a->behaviour = behaviour_find(name, strlen(name), &a->after);
    if (!a->behaviour)
        a->behaviour = is_served(c->server, name, strlen(name)) ? &BEHAVIOURS[0] : &UNKNOWN;
    bytes_json(&a->model, name, strlen(name));
    read_text(a, body);
    a->has_text = a->behaviour->is & ECHO || (a->behaviour->is & TOOLS && a->tool_result);
    read_overrides(a, json_object_get(body, "mock"), now_us);
    a->stream = json_is_true(json_object_get(body, "stream")) && !(a->behaviour->is & NOT_STREAMING);
    a->include_usage = json_is_true(json_object_get(json_object_get(body, "stream_options"), "include_usage"));
    a->stage = a->behaviour->is & (REASONING | REASONING_CONTENT) ? STAGE_REASONING : STAGE_TEXT;
    if (a->behaviour->is & TOOLS && !a->tool_result)
        a->stage = STAGE_TOOLS;
    if (a->behaviour->status)
        begin_error(c, a->behaviour, a->behaviour->status);
    else if (a->behaviour->is & HANG || (a->behaviour->is & HANG_FIRST && !c->server->hung_once))
        a->stage = STAGE_HANG;
    else if (a->stream)
        begin_stream(c);
    c->server->hung_once |= (a->behaviour->is & HANG_FIRST) != 0;
    if (a->stage != STAGE_OVER && a->stage != STAGE_HANG && c->drip != 1)
        chat_run(c, now_us);
}

void chat_begin(struct conn *c, const struct request *r, bool legacy)
{
    json_error_t error;
    json_t *body = json_loadb(r->body, r->body_len, JSON_ALLOW_NUL, &error);
    static const struct behaviour BAD = {.name = "bad", .status = 400, .code = "bad_request"};
    keep_last(c->server, r, body != NULL);
    c->server->count.calls++;
    c->server->count.open++;
    c->busy = true;
    c->answer.legacy = legacy;
    c->answer.head_sent = c->answer.broken = false;
    if (body)
        begin(c, body);
    else
        begin_error(c, &BAD, 400);
    json_decref(body);
}

/* ---- producing ---- */

/* The answer ends here without its proper end: the connection is closed inside a chunk. */
static void cut(struct conn *c)
{
    bytes_text(&c->out, "40\r\ndata: {\"id\":\"chat");
    c->close_after = c->answer.broken = true;
    c->answer.stage = STAGE_OVER;
}

/* After N deltas some models do something else. True: the answer goes on no further. */
static bool strange_turn(struct conn *c)
{
    struct answer *a = &c->answer;
    unsigned is = a->behaviour->is;
    if (is & HANG_AFTER && a->token >= a->after) {
        a->stage = STAGE_HANG;
    } else if (is & CUT_AFTER && a->token >= a->after) {
        cut(c);
    } else if (is & ERROR_MID && a->token == 2) {
        record_error(c);
        a->stage = STAGE_DONE;
    } else {
        if (is & BAD_JSON && a->token == 1)
            record_raw(c, "{\"id\":\"chatcmpl-mock\",\"choices\":[{\"index\":0,\"delta\":{\"conte");
        return false;
    }
    return true;
}

static void sent_token(struct answer *a)
{
    a->token++;
    a->stage_token++;
    a->token_sent = true;
    a->due_us += a->pace_us;
}

static void next_stage(struct answer *a, enum stage stage)
{
    a->stage = stage;
    a->stage_token = 0;
}

static void step_reasoning(struct conn *c)
{
    struct answer *a = &c->answer;
    static struct bytes piece;
    piece.len = 0;
    bytes_addf(&piece, "%sthink%u", a->stage_token ? " " : "", a->stage_token);
    record_delta(c, a->behaviour->is & REASONING ? "reasoning" : "reasoning_content", &piece);
    sent_token(a);
    if (a->stage_token == 3)
        next_stage(a, STAGE_TEXT);
}

static void step_text(struct conn *c)
{
    struct answer *a = &c->answer;
    static struct bytes piece;
    piece.len = 0;
    if (!next_piece(a, &piece)) {
        next_stage(a, STAGE_FINISH);
        return;
    }
    record_delta(c, a->legacy ? "text" : "content", &piece);
    sent_token(a);
}

static void step_tools(struct conn *c)
{
    struct answer *a = &c->answer;
    record_tool(c);
    sent_token(a);
    if (a->stage_token == tool_fragments(a))
        next_stage(a, STAGE_FINISH);
}

static void step_finish(struct conn *c)
{
    if (!(c->answer.behaviour->is & NO_FINISH))
        record_finish(c);
    next_stage(&c->answer, STAGE_USAGE);
}

static void step_usage(struct conn *c)
{
    if (c->answer.include_usage && !(c->answer.behaviour->is & (NO_USAGE | NO_FINISH | USAGE_ALWAYS)))
        record_usage(c);
    next_stage(&c->answer, STAGE_DONE);
}

static void step_done(struct conn *c)
{
    if (!(c->answer.behaviour->is & NO_DONE))
        record_raw(c, "[DONE]");
    bytes_text(&c->out, "0\r\n\r\n");
    next_stage(&c->answer, STAGE_OVER);
}

/* The whole answer at once, when its last token is due. */
static void run_plain(struct conn *c, int64_t now_us)
{
    struct answer *a = &c->answer;
    struct bytes body = {0};
    unsigned is = a->behaviour->is;
    int64_t due_us = a->due_us + (a->tokens ? (int64_t) a->tokens - 1 : 0) * a->pace_us;
    if (due_us > now_us) {
        timer_set(c, due_us);
        return;
    }
    if (is & HANG_AFTER) {
        a->stage = STAGE_HANG;
        return;
    }
    if (is & ERROR_MID) {
        begin_error(c, a->behaviour, 500);
        return;
    }
    put_message(c, &body);
    if (is & BAD_JSON)
        body.len -= 7;
    conn_answer(c, 200, is & TEXT_PLAIN ? "Content-Type: text/plain\r\n" : "Content-Type: application/json\r\n", &body);
    if (is & CUT_AFTER) {
        c->out.len -= body.len / 2;
        c->close_after = a->broken = true;
    }
    if (is & (SLOW_HEADER | SPLIT))
        c->drip = 2;
    a->token_sent = true;
    a->stage = STAGE_OVER;
    free(body.data);
}

void chat_run(struct conn *c, int64_t now_us)
{
    static void (*const STEPS[])(struct conn *) = {[STAGE_REASONING] = step_reasoning, [STAGE_TEXT] = step_text,
        [STAGE_TOOLS] = step_tools, [STAGE_FINISH] = step_finish, [STAGE_USAGE] = step_usage, [STAGE_DONE] = step_done};
    struct answer *a = &c->answer;
    if (!c->busy || a->stage >= STAGE_HANG)
        return;
    if (!a->stream) {
        run_plain(c, now_us);
        return;
    }
    while (a->stage < STAGE_HANG && c->out.len - c->sent < QUEUE_MAX) {
        if (a->stage < STAGE_FINISH && !c->drip && a->due_us > now_us) {
            timer_set(c, a->due_us);
            return;
        }
        if (a->stage > STAGE_TOOLS || !strange_turn(c))
            STEPS[a->stage](c);
    }
}
