/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a streamed answer into pieces. A plain answer is read as one record: its `message` stands where a stream has
 * `delta`. What backends add to the API's form is left out, what they leave out is put in. */
#include <stdlib.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/inference/openai.h"

#define CHOICES_MAX 128
#define USAGE_DEPTH_MAX 8
#define USAGE_BYTES_MAX 8192 /* of keys beyond those of the API; further ones are left out */

struct openai_choice {
    uint32_t index;
    bool finished;
    bool called_function; /* the old form of a tool call */
    struct openai_tools tools;
};

void openai_answer_fini(struct openai_answer *o)
{
    for (size_t i = 0; i < o->count; i++)
        openai_tools_fini(&o->choices[i].tools);
    free(o->choices);
    json_decref(o->usage);
    *o = (struct openai_answer){0};
}

static struct ls_slice text_of(const json_t *json)
{
    return json_is_string(json) ? ls_bytes(json_string_value(json), json_string_length(json)) : (struct ls_slice){0};
}

/* ---- why a choice ended ---- */

/* Reasons that other words stand for. An answer that the backend itself gave up is no answer: NULL. Words that are not listed
 * mean that the model came to its end: clients know no others than those of the API. */
static const struct {
    const char *said, *meant;
} REASONS[] = {
    {"stop", "stop"},
    {"length", "length"},
    {"tool_calls", "tool_calls"},
    {"content_filter", "content_filter"},
    {"function_call", "function_call"},
    {"max_tokens", "length"},
    {"model_length", "length"},
    {"tool_use", "tool_calls"},
    {"safety", "content_filter"},
    {"abort", NULL},
    {"aborted", NULL},
    {"cancel", NULL},
    {"cancelled", NULL},
    {"error", NULL},
};

static int finish(struct openai_choice *choice, const char *said, struct delta *d, struct ls_error *err)
{
    d->finish_reason = "stop";
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++)
        if (strcmp(REASONS[i].said, said) == 0)
            d->finish_reason = REASONS[i].meant;
    if (!d->finish_reason)
        return openai_broken(err, "the backend gave the answer up (finish_reason \"%s\")", said);
    if (choice->called_function && strcmp(d->finish_reason, "function_call") == 0)
        d->finish_reason = "tool_calls";
    choice->finished = true;
    return 0;
}

/* ---- one choice of a record ---- */

static struct openai_choice *choice_of(struct openai_answer *o, const json_t *json, size_t place)
{
    const json_t *given = json_object_get(json, "index");
    json_int_t index = json_is_integer(given) ? json_integer_value(given) : (json_int_t) place;
    for (size_t i = 0; i < o->count; i++)
        if (o->choices[i].index == index)
            return &o->choices[i];
    if (index < 0 || index >= CHOICES_MAX)
        return NULL;
    o->choices = xgrow(o->choices, &o->room, o->count + 1, sizeof *o->choices);
    o->choices[o->count] = (struct openai_choice){.index = (uint32_t) index};
    return &o->choices[o->count++];
}

/* The old `function_call` is told as the first tool call. */
static void put_tools(struct openai_choice *choice, json_t *delta, struct buf *out)
{
    json_t *calls = json_object_get(delta, "tool_calls"), *function = json_object_get(delta, "function_call");
    if (json_is_array(calls)) {
        openai_tools_put(&choice->tools, calls, out);
    } else if (json_is_object(function)) {
        json_t *as_call = json_pack("[{s:i, s:O}]", "index", 0, "function", function);
        choice->called_function = true;
        openai_tools_put(&choice->tools, as_call, out);
        json_decref(as_call);
    }
}

static struct ls_slice content_of(const json_t *json, const json_t *delta, struct buf *joined)
{
    const json_t *content = json_object_get(delta, "content");
    if (!json_is_array(content))
        return text_of(content ? content : json_object_get(json, "text"));
    json_text_of(content, joined);
    return ls_bytes(joined->data, joined->len);
}

static int take_choice(struct openai_answer *o, struct openai_choice *choice, json_t *json, struct ls_error *err)
{
    json_t *delta = json_object_get(json, "delta"), *logprobs = json_object_get(json, "logprobs");
    struct buf joined = {0}, tools = {0};
    if (!json_is_object(delta))
        delta = json_object_get(json, "message");
    struct delta d = {.index = choice->index,
                      .text = content_of(json, delta, &joined),
                      .reasoning = text_of(json_object_get(delta, "reasoning_content")),
                      .refusal = text_of(json_object_get(delta, "refusal"))};
    if (!d.reasoning.len)
        d.reasoning = text_of(json_object_get(delta, "reasoning"));
    put_tools(choice, delta, &tools);
    d.tool_calls = ls_bytes(tools.data, tools.len);
    char *probabilities = json_is_object(logprobs) ? json_dumps(logprobs, JSON_COMPACT) : NULL;
    d.logprobs = ls_str(probabilities);
    const char *said = json_string_value(json_object_get(json, "finish_reason"));
    int result = said && *said && !choice->finished ? finish(choice, said, &d, err) : 0;
    if (result == 0)
        result = turn_add(o->turn, &d, err);
    free(probabilities);
    buf_fini(&joined);
    buf_fini(&tools);
    return result;
}

static int take_choices(struct openai_answer *o, const json_t *choices, struct ls_error *err)
{
    size_t i;
    json_t *json;
    json_array_foreach(choices, i, json)
    {
        struct openai_choice *choice = choice_of(o, json, i);
        if (!choice)
            return openai_broken(err, "the backend sent a choice whose index is none");
        if (take_choice(o, choice, json, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- records ---- */

static bool is_blank(struct ls_slice data)
{
    for (size_t i = 0; i < data.len; i++)
        if (!strchr(" \t\r\n", data.data[i]))
            return false;
    return true;
}

int openai_answer_record(struct openai_answer *o, struct ls_slice data, struct ls_error *err)
{
    int result = -1;
    if (is_blank(data))
        return 0;
    if (ls_slice_is(data, "[DONE]")) {
        o->done = true;
        return 0;
    }
    json_t *json = json_read(data, NULL);
    const json_t *usage = json_object_get(json, "usage");
    if (!json_is_object(json)) {
        openai_broken(err, "the backend sent a record of %zu bytes that is no JSON object", data.len);
    } else if (!openai_error_record(err, json)) {
        if (json_is_object(usage)) { /* each replaces the one before: some backends count on with every record */
            json_decref(o->usage);
            o->usage = json_incref(json_object_get(json, "usage"));
        }
        result = take_choices(o, json_object_get(json, "choices"), err);
    }
    json_decref(json);
    return result;
}

bool openai_answer_complete(const struct openai_answer *o)
{
    for (size_t i = 0; i < o->count; i++)
        if (!o->choices[i].finished)
            return false;
    return o->count > 0;
}

/* ---- usage ---- */

static void pack_json(struct buf *out, json_t *json, int depth)
{
    const char *key;
    json_t *value;
    size_t i;
    switch (depth < USAGE_DEPTH_MAX ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        buf_pack_map(out, (uint32_t) json_object_size(json));
        json_object_foreach(json, key, value)
        {
            buf_pack_str(out, key);
            pack_json(out, value, depth + 1);
        }
        break;
    case JSON_ARRAY:
        buf_pack_array(out, (uint32_t) json_array_size(json));
        json_array_foreach(json, i, value) pack_json(out, value, depth + 1);
        break;
    case JSON_STRING: buf_pack_strn(out, json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: buf_pack_int(out, json_integer_value(json)); break;
    case JSON_REAL: buf_pack_double(out, json_real_value(json)); break;
    case JSON_TRUE:
    case JSON_FALSE: buf_pack_bool(out, json_is_true(json)); break;
    default: buf_pack_nil(out);
    }
}

static uint64_t count_at(const json_t *usage, const char *key)
{
    double count = json_number_value(json_object_get(usage, key));
    return count > 0 && count < 1e15 ? (uint64_t) count : 0;
}

static bool is_known(const char *key)
{
    return strcmp(key, "prompt_tokens") == 0 || strcmp(key, "completion_tokens") == 0 ||
           strcmp(key, "total_tokens") == 0 || strcmp(key, "estimated") == 0;
}

/* A count of nothing for an answer that has text was not counted. */
void openai_answer_usage(const struct openai_answer *o, struct usage *usage, struct buf *scratch)
{
    const char *key;
    json_t *value;
    *usage = (struct usage){.prompt_tokens = count_at(o->usage, "prompt_tokens"),
                            .completion_tokens = count_at(o->usage, "completion_tokens"),
                            .total_tokens = count_at(o->usage, "total_tokens")};
    if (!o->usage || (!usage->completion_tokens && o->turn->answer.bytes)) {
        turn_estimate(o->turn, usage);
        return;
    }
    if (!usage->total_tokens)
        usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    json_object_foreach(o->usage, key, value)
    {
        size_t before = scratch->len;
        if (is_known(key) || json_is_null(value))
            continue;
        buf_pack_str(scratch, key);
        pack_json(scratch, value, 0);
        if (scratch->len > USAGE_BYTES_MAX)
            scratch->len = before;
        else
            usage->more_pairs++;
    }
    usage->more = ls_bytes(scratch->data, scratch->len);
}
