/* SPDX-License-Identifier: Apache-2.0 */
/* Which events belong to what --trace asks for. The argument may be the id of a trace, an event, a chat or a request. An event
 * belongs if that is one of its own ids, or if it is linked to one that belongs: by the trace, as its effect, or, as feedback
 * is, by the request that its body names. Such links may point to events read earlier or later, so the log is read until
 * nothing new is learnt, which is twice as a rule. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cli/tail.h"
#include "lib/xmem.h"

#define KNOWN_MAX 40000
#define PASSES_MAX 5

uint64_t tail_hash(struct ls_slice text)
{
    return XXH3_64bits(text.data, text.len);
}

static bool is_known(const struct trace *trace, struct ls_slice id)
{
    const char *known = id.len ? map_get(&trace->known, tail_hash(id)) : NULL;
    return known && ls_slice_is(id, known);
}

static void learn(struct trace *trace, struct ls_slice id)
{
    if (id.len == 0 || trace->known_count == KNOWN_MAX || map_get(&trace->known, tail_hash(id)))
        return;
    map_put(&trace->known, tail_hash(id), xstrndup(id.data, id.len));
    trace->known_count++;
    trace->learnt = true;
}

static bool is_chat(const struct ls_event *event)
{
    return event->topic.len > 5 && memcmp(event->topic.data, "chat.", 5) == 0;
}

char *tail_request_id(const struct ls_event *event)
{
    json_t *body = is_chat(event) ? event_body_json(event) : NULL;
    const char *found = json_string_value(json_object_get(body, "request_id"));
    char *id = found && *found ? xstrdup(found) : NULL;
    if (!id && ls_slice_is(event->topic, "chat.request")) {
        struct ls_slice own = event->correlationid.len ? event->correlationid : event->id;
        id = xstrndup(own.data, own.len);
    }
    json_decref(body);
    return id;
}

/* Only feedback is looked into: the other chat events are linked by their headers. */
static bool names_known_request(const struct trace *trace, const struct ls_event *event)
{
    if (!ls_slice_is(event->topic, "chat.feedback"))
        return false;
    char *request = tail_request_id(event);
    bool known = request && is_known(trace, ls_str(request));
    free(request);
    return known;
}

bool tail_belongs(struct trace *trace, const struct ls_event *event)
{
    bool asked = ls_slice_is(event->id, trace->asked) || ls_slice_is(event->subject, trace->asked);
    if (!asked && !is_known(trace, event_trace_id(event)) && !is_known(trace, event->id) &&
        !is_known(trace, event->causationid) && !is_known(trace, event->correlationid) && !names_known_request(trace, event))
        return false;
    learn(trace, event_trace_id(event));
    learn(trace, event->id);
    if (is_chat(event)) {
        char *request = tail_request_id(event);
        learn(trace, event->correlationid);
        learn(trace, ls_str(request));
        free(request);
    }
    return true;
}

/* A traceparent stands for its trace. */
void tail_ask(struct trace *trace, const char *id)
{
    bool parent = strlen(id) == 55 && id[2] == '-' && id[35] == '-';
    trace->asked = parent ? xstrndup(id + 3, 32) : xstrdup(id);
    learn(trace, ls_str(trace->asked));
}

void tail_forget_tree(struct trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        event_copy_fini(&trace->nodes[i].copy);
        free(trace->nodes[i].request);
    }
    trace->count = 0;
}

int tail_search(struct tail *t)
{
    int status = CLI_OK;
    for (int pass = 0; pass < PASSES_MAX && status == CLI_OK; pass++) {
        tail_forget_tree(&t->trace);
        t->count = 0;
        t->finished = t->trace.learnt = false;
        status = tail_history(t);
        if (!t->trace.learnt)
            break;
    }
    return status;
}
