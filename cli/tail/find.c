/* SPDX-License-Identifier: Apache-2.0 */
/* Which events belong to what --trace asks for. The argument may be the id of a trace, an event, a chat, a request or a run. An
 * event belongs if that is one of its own ids, or if it is linked to one that belongs: by the trace, as its effect, as feedback
 * is by the request that its body names, or, as the export to W&B, by the run that it is about. Such links may point to events
 * read earlier or later, so the log is read until nothing new is learnt, which is twice as a rule. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cli/tail/tail.h"
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

static bool exports_known(const struct trace *trace, const struct ls_event *event)
{
    char *thing = tail_has_prefix(event->topic, "wandb.") ? tail_thing(event) : NULL;
    bool known = thing && is_known(trace, ls_str(thing));
    free(thing);
    return known;
}

static void learn_thing(struct trace *trace, const struct ls_event *event)
{
    if (!tail_has_prefix(event->topic, "workflow.run.") && !tail_has_prefix(event->topic, "run."))
        return;
    char *thing = tail_thing(event);
    learn(trace, ls_str(thing));
    free(thing);
}

/* ---- short names ---- */

static void take_alias(struct trace *trace, struct ls_slice name, int64_t time_us)
{
    bool same = trace->alias && ls_slice_is(name, trace->alias);
    trace->alias_many |= trace->alias && !same;
    if (trace->alias && (same || time_us < trace->alias_us))
        return;
    free(trace->alias);
    trace->alias = xstrndup(name.data, name.len);
    trace->alias_us = time_us;
}

/* What is behind the first slash. */
static struct ls_slice behind_slash(struct ls_slice text)
{
    const char *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
    return slash ? ls_bytes(slash + 1, text.len - (size_t) (slash + 1 - text.data)) : ls_bytes("", 0);
}

static bool is_of_wandb_run(const struct ls_event *event, const char *asked)
{
    json_t *body = event_body_json(event);
    const char *run = json_string_value(json_object_get(body, "run"));
    bool is = run && strcmp(run, asked) == 0;
    json_decref(body);
    return is;
}

/* "r1" may be short for train/r1; and a run has an id of its own at W&B. */
static void look_for_alias(struct trace *trace, const struct ls_event *event)
{
    if (tail_has_prefix(event->topic, "workflow.run.") && ls_slice_is(behind_slash(event->subject), trace->asked)) {
        if (!trace->alias || ls_slice_is(event->topic, "workflow.run.created"))
            take_alias(trace, event->subject, event_time_us(event));
    } else if (ls_slice_is(event->topic, "wandb.synced") && is_of_wandb_run(event, trace->asked)) {
        take_alias(trace, behind_slash(event->subject), event_time_us(event));
    }
}

/* Nothing has what was asked for as its id: what it is short for, if anything, is asked for instead. */
static bool ask_alias(struct trace *trace)
{
    if (trace->count || !trace->alias || strcmp(trace->alias, trace->asked) == 0)
        return false;
    if (trace->alias_many)
        fprintf(stderr, "lineshaft tail: \"%s\" is a run of several workflows; this is the newest, %s\n", trace->asked, trace->alias);
    free(trace->asked);
    trace->asked = trace->alias;
    trace->alias = NULL;
    learn(trace, ls_str(trace->asked));
    return true;
}

/* ---- the whole ---- */

bool tail_belongs(struct trace *trace, const struct ls_event *event)
{
    bool asked = ls_slice_is(event->id, trace->asked) || ls_slice_is(event->subject, trace->asked);
    if (!asked && !is_known(trace, event_trace_id(event)) && !is_known(trace, event->id) &&
        !is_known(trace, event->causationid) && !is_known(trace, event->correlationid) && !names_known_request(trace, event) &&
        !exports_known(trace, event)) {
        if (trace->count == 0)
            look_for_alias(trace, event);
        return trace->searched && ask_alias(trace) && tail_belongs(trace, event);
    }
    learn_thing(trace, event);
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
        if (!ask_alias(&t->trace) && !t->trace.learnt)
            break;
    }
    t->trace.searched = true;
    return status;
}
