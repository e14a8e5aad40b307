/* SPDX-License-Identifier: Apache-2.0 */
/* Checks what a caller of the OpenAI API may have written wrongly, so that the answer names the place. Fields that are not
 * known here are the backend's business. Source: the OpenAI API reference; facts that clients rely on. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nodes/ingress/chat.h"

#define STOP_MAX 4
#define TOOLS_MAX 128
#define MODEL_MAX 256

__attribute__((format(printf, 3, 4))) static bool wrong(struct visit *v, const char *param, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    answer_problem(v, &(struct problem){.status = 400, .code = "invalid_value", .param = param}, "%s: %s", param, text);
    return false;
}

/* Numbers with bounds; null is as good as absent. */
static const struct number_rule {
    const char *name;
    bool integer;
    double min, max;
} NUMBERS[] = {
    {"temperature", false, 0, 2}, {"top_p", false, 0, 1}, {"n", true, 1, TURN_CHOICES_MAX}, {"max_tokens", true, 1, 1e9},
    {"max_completion_tokens", true, 1, 1e9}, {"presence_penalty", false, -2, 2}, {"frequency_penalty", false, -2, 2},
    {"seed", true, -9.3e18, 9.3e18}, {"top_logprobs", true, 0, 20},
};

static bool check_numbers(struct visit *v, const json_t *body)
{
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        const struct number_rule *rule = &NUMBERS[i];
        const json_t *value = json_object_get(body, rule->name);
        if (!value || json_is_null(value))
            continue;
        if (rule->integer ? !json_is_integer(value) : !json_is_number(value))
            return wrong(v, rule->name, "must be %s", rule->integer ? "an integer" : "a number");
        if (json_number_value(value) < rule->min || json_number_value(value) > rule->max)
            return wrong(v, rule->name, "must be between %g and %g", rule->min, rule->max);
    }
    return true;
}

static bool check_stop(struct visit *v, const json_t *body)
{
    const json_t *stop = json_object_get(body, "stop"), *item;
    size_t i;
    if (!stop || json_is_null(stop) || json_is_string(stop))
        return true;
    if (!json_is_array(stop) || json_array_size(stop) > STOP_MAX)
        return wrong(v, "stop", "must be a string or an array of at most %d strings", STOP_MAX);
    json_array_foreach(stop, i, item)
        if (!json_is_string(item))
            return wrong(v, "stop", "must hold strings only");
    return true;
}

static bool check_rest(struct visit *v, const json_t *body)
{
    static const char *const BOOLEANS[] = {"stream", "logprobs", "store", "parallel_tool_calls"};
    const json_t *tools = json_object_get(body, "tools"), *options = json_object_get(body, "stream_options");
    for (size_t i = 0; i < sizeof BOOLEANS / sizeof BOOLEANS[0]; i++) {
        const json_t *value = json_object_get(body, BOOLEANS[i]);
        bool completion_logprobs = json_is_integer(value) && strcmp(BOOLEANS[i], "logprobs") == 0 && v->route->handle == handle_completion;
        if (value && !json_is_null(value) && !json_is_boolean(value) && !completion_logprobs)
            return wrong(v, BOOLEANS[i], "must be true or false");
    }
    if (tools && !json_is_null(tools) && (!json_is_array(tools) || json_array_size(tools) > TOOLS_MAX))
        return wrong(v, "tools", "must be an array of at most %d tools", TOOLS_MAX);
    if (options && !json_is_null(options) && !json_is_object(options))
        return wrong(v, "stream_options", "must be an object");
    if (json_is_object(options) && !json_is_true(json_object_get(body, "stream")))
        return wrong(v, "stream_options", "goes only with stream: true");
    return true;
}

/* ---- messages ---- */

static bool known_role(const char *role)
{
    static const char *const ROLES[] = {"developer", "system", "user", "assistant", "tool", "function"};
    for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++)
        if (strcmp(role, ROLES[i]) == 0)
            return true;
    return false;
}

static bool check_parts(struct visit *v, const json_t *parts, size_t message)
{
    char param[64];
    const json_t *part;
    size_t i;
    json_array_foreach(parts, i, part) {
        snprintf(param, sizeof param, "messages[%zu].content[%zu]", message, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type)
            return wrong(v, param, "must be an object with a type");
        if (strcmp(type, "text") == 0 && !json_is_string(json_object_get(part, "text")))
            return wrong(v, param, "a part of type text has a string `text`");
    }
    return true;
}

static bool check_message(struct visit *v, const json_t *message, size_t i)
{
    char param[64];
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content");
    snprintf(param, sizeof param, "messages[%zu]", i);
    if (!json_is_object(message))
        return wrong(v, param, "must be an object with role and content");
    snprintf(param, sizeof param, "messages[%zu].role", i);
    if (!role || !known_role(role))
        return wrong(v, param, "must be one of developer, system, user, assistant, tool");
    snprintf(param, sizeof param, "messages[%zu].content", i);
    if (content && !json_is_string(content) && !json_is_array(content) && !json_is_null(content))
        return wrong(v, param, "must be a string or an array of parts");
    if ((!content || json_is_null(content)) && strcmp(role, "assistant") != 0)
        return wrong(v, param, "is missing");
    snprintf(param, sizeof param, "messages[%zu].tool_call_id", i);
    if (strcmp(role, "tool") == 0 && !json_is_string(json_object_get(message, "tool_call_id")))
        return wrong(v, param, "a tool message says which call it answers");
    return !json_is_array(content) || check_parts(v, content, i);
}

static bool check_messages(struct visit *v, const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages"), *message;
    size_t i;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return wrong(v, "messages", "must be an array of at least one message");
    json_array_foreach(messages, i, message)
        if (!check_message(v, message, i))
            return false;
    return true;
}

static bool check_prompt(struct visit *v, const json_t *body)
{
    const json_t *prompt = json_object_get(body, "prompt");
    if (json_is_string(prompt) || (json_is_array(prompt) && json_array_size(prompt) > 0))
        return true;
    return wrong(v, "prompt", "must be a string or an array");
}

bool chat_body_check(struct visit *v, const json_t *body, bool completion)
{
    const char *model = json_string_value(json_object_get(body, "model"));
    if (!json_is_object(body)) {
        answer_problem(v, &(struct problem){.status = 400, .code = "invalid_json"}, "the body must be a JSON object");
        return false;
    }
    if (!model || !*model || strlen(model) > MODEL_MAX)
        return wrong(v, "model", "must be a string; GET /v1/models lists the models there are");
    return (completion ? check_prompt(v, body) : check_messages(v, body)) && check_numbers(v, body) && check_stop(v, body) &&
           check_rest(v, body);
}
