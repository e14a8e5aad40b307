/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the tracker which version is meant, and noticing when to ask. What an event says is never acted on: it may be late, or
 * earlier than what the tracker knows. Somebody else than the tracker may have published it, and the tracker learn of it after
 * this node: hence a second question a second later, and one now and again. */
#include "nodes/inference/registry.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/logger.h"
#include "lib/wire.h"
#include "lib/xmem.h"

#define ANSWER_MS_MAX 10000
#define ANSWER_BYTES_MAX (1u << 20)
#define RETRY_MS_MIN 250
#define RETRY_MS_MAX 10000
#define SECOND_LOOK_MS 1000
#define LOOK_EVERY_MS 30000
#define START_MS 5000 /* the tracker may start after this node */

/* What is known besides the versions that were handed on; said once each time it changes. */
enum knowledge { KNOWS, ABSENT, NOT_READY, NO_TRACKER };

struct registry {
    struct node *node;
    struct registry_uri uri;
    registry_fn *fn;
    void *arg;
    uint32_t subscription;
    uint64_t request; /* 0: no question is open */
    struct buf answer;
    struct registry_version found; /* while its location is asked for */
    bool connected, again;         /* again: something changed while the question was under way */
    bool second_look;              /* one more question belongs to `cause` */
    struct registry_cause cause, next_cause; /* of the open question; of the next one */
    struct timer look;
    int64_t retry_ms;
    enum knowledge knowledge;
    bool warned; /* of it */
    int64_t opened_ms;
};

/* ---- causes ---- */

void registry_cause_fini(struct registry_cause *cause)
{
    free(cause->id);
    free(cause->traceparent);
    free(cause->tracestate);
    free(cause->correlationid);
    *cause = (struct registry_cause){0};
}

static char *copy_of(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

void registry_cause_copy(struct registry_cause *to, const struct registry_cause *from)
{
    struct registry_cause copy = {copy_of(from->id), copy_of(from->traceparent), copy_of(from->tracestate),
                                  copy_of(from->correlationid)};
    registry_cause_fini(to);
    *to = copy;
}

static char *text_of(struct ls_slice slice)
{
    return slice.len ? xstrndup(slice.data, slice.len) : NULL;
}

/* ---- answers ---- */

static void look_in(struct registry *r, int64_t delay_ms)
{
    node_timer_set(r->node, &r->look, delay_ms);
}

/* Nothing was served yet, and that is no trouble: the first version is still to be made, or the tracker to start. */
static bool is_beginning(const struct registry *r, enum knowledge knowledge)
{
    return !r->found.version[0] && (knowledge == ABSENT || (knowledge == NO_TRACKER && clock_mono_ms() - r->opened_ms < START_MS));
}

static void note(struct registry *r, enum knowledge knowledge, const char *why)
{
    static const struct {
        enum log_level level;
        const char *code;
    } LINES[] = {[KNOWS] = {LEVEL_INFO, "registry-answers"}, [ABSENT] = {LEVEL_WARN, "version-absent"},
                 [NOT_READY] = {LEVEL_WARN, "version-not-ready"}, [NO_TRACKER] = {LEVEL_WARN, "registry-silent"}};
    enum log_level level = is_beginning(r, knowledge) ? LEVEL_INFO : LINES[knowledge].level;
    bool warns = level == LEVEL_WARN;
    if (r->knowledge != knowledge || (warns && !r->warned))
        logger_put(level, LINES[knowledge].code, why, "model=%s alias=%s version=%s", r->uri.name, r->uri.alias, r->uri.version);
    r->knowledge = knowledge;
    r->warned = warns;
}

static void note_absent(struct registry *r)
{
    const struct registry_uri *uri = &r->uri;
    const char *meanwhile = uri->bridged ? "the file is served until then" : "the node waits, and answers 503 until then";
    char *why = NULL;
    if (r->found.version[0])
        why = xstrdup("the registry has no such version any more; what is served goes on being served");
    else if (uri->alias[0])
        why = xasprintf("no version of %s has the alias %s yet: %s", uri->name, uri->alias, meanwhile);
    else
        why = xasprintf("%s has no version %s yet: %s", uri->name, uri->version, meanwhile);
    note(r, ABSENT, why);
    free(why);
}

static void note_silence(struct registry *r, const struct ls_error *err)
{
    char *why = is_beginning(r, NO_TRACKER) ? xstrdup("the tracker does not answer yet; asked again until it does")
                                            : xasprintf("the tracker does not answer: %s", err->text);
    note(r, NO_TRACKER, why);
    free(why);
}

static void answered(struct registry *r)
{
    r->retry_ms = RETRY_MS_MIN;
    look_in(r, r->second_look ? SECOND_LOOK_MS : LOOK_EVERY_MS);
    if (!r->second_look)
        registry_cause_fini(&r->cause);
    r->second_look = false;
}

static void refused(struct registry *r, const struct ls_error *err)
{
    bool absent = err->number == 404 || (err->number == 400 && strncmp(err->text, "INVALID_PARAMETER_VALUE", 23) == 0);
    if (absent) {
        note_absent(r);
        answered(r);
        return;
    }
    if (r->connected)
        note_silence(r, err);
    look_in(r, r->retry_ms);
    r->retry_ms = r->retry_ms * 2 < RETRY_MS_MAX ? r->retry_ms * 2 : RETRY_MS_MAX;
}

static void question(struct registry *r, const char *topic, json_t *body);

/* A version whose source is another model (models:/...) has its files elsewhere, and the tracker knows where. */
static void ask_place(struct registry *r)
{
    question(r, "tracker.model-versions.get-download-uri",
             json_pack("{s:s,s:s}", "name", r->uri.name, "version", r->found.version));
}

static void hand_on(struct registry *r)
{
    note(r, KNOWS, "the registry answers");
    r->fn(r->arg, &r->found, &r->cause);
    answered(r);
}

static void take_version(struct registry *r, const json_t *version)
{
    const char *number = json_string_value(json_object_get(version, "version")),
               *source = json_string_value(json_object_get(version, "source")),
               *status = json_string_value(json_object_get(version, "status"));
    snprintf(r->found.version, sizeof r->found.version, "%s", number ? number : "");
    snprintf(r->found.source, sizeof r->found.source, "%s", source ? source : "");
    if (status && strcmp(status, "READY") != 0) {
        note(r, NOT_READY, "the version is not READY in the registry; it is served as soon as it is");
        answered(r);
    } else if (strncmp(r->found.source, "models:", 7) == 0) {
        ask_place(r);
    } else {
        hand_on(r);
    }
}

static void take_answer(struct registry *r, const json_t *answer, struct ls_error *err)
{
    const json_t *version = json_object_get(answer, "model_version");
    const char *place = json_string_value(json_object_get(answer, "artifact_uri"));
    if (version) {
        take_version(r, version);
    } else if (place) {
        snprintf(r->found.source, sizeof r->found.source, "%s", place);
        hand_on(r);
    } else {
        if (answer)
            error_set(err, "FAILED", "the tracker's answer names no version");
        refused(r, err);
    }
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct registry *r = arg;
    struct ls_error err = {0};
    if (!part->err && r->answer.len + part->body.len <= ANSWER_BYTES_MAX)
        buf_add(&r->answer, part->body.data, part->body.len);
    if (!part->err && !part->last)
        return;
    r->request = 0;
    if (part->err) {
        refused(r, part->err);
    } else {
        json_auto_t *answer = node_json(ls_bytes(r->answer.data, r->answer.len), &err);
        take_answer(r, answer, &err);
    }
    if (r->again && !r->request)
        registry_ask(r);
}

/* ---- questions ---- */

/* `body` is taken over. */
static void question(struct registry *r, const char *topic, json_t *body)
{
    struct ls_error err;
    struct buf text = {0};
    buf_clear(&r->answer);
    node_write(&text, body);
    json_decref(body);
    const struct ls_event request = {.topic = ls_str(topic), .body = ls_bytes(text.data, text.len),
                                     .traceparent = ls_str(r->cause.traceparent), .causationid = ls_str(r->cause.id)};
    r->request = ls_request(node_client(r->node), &request, &(struct ls_request_options){.timeout_ms = ANSWER_MS_MAX}, on_part, r,
                            &err);
    if (!r->request)
        refused(r, &err);
    buf_fini(&text);
}

void registry_ask(struct registry *r)
{
    r->again = r->request != 0;
    if (r->request || !r->connected)
        return;
    if (r->next_cause.id) {
        registry_cause_fini(&r->cause);
        r->cause = r->next_cause;
        r->next_cause = (struct registry_cause){0};
        r->second_look = true;
    }
    if (r->uri.alias[0])
        question(r, "tracker.registered-models.get-alias", json_pack("{s:s,s:s}", "name", r->uri.name, "alias", r->uri.alias));
    else
        question(r, "tracker.model-versions.get", json_pack("{s:s,s:s}", "name", r->uri.name, "version", r->uri.version));
}

static void on_look(void *self, struct timer *timer)
{
    (void) self;
    registry_ask((struct registry *) (void *) ((char *) timer - offsetof(struct registry, look)));
}

/* ---- when to ask ---- */

static bool is_ours(const struct registry *r, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "name")),
               *renamed = json_string_value(json_object_get(body, "new_name"));
    return (name && strcmp(name, r->uri.name) == 0) || (renamed && strcmp(renamed, r->uri.name) == 0);
}

static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct registry *r = arg;
    json_auto_t *body = node_json(event->body, err);
    if (!is_ours(r, body))
        return LS_DONE;
    registry_cause_fini(&r->next_cause);
    r->next_cause = (struct registry_cause){text_of(event->id), text_of(event->traceparent), text_of(event->tracestate),
                                            text_of(event->correlationid)};
    registry_ask(r);
    return LS_DONE;
}

void registry_connected(struct registry *r, bool stands)
{
    r->connected = stands;
    if (stands)
        registry_ask(r);
}

/* ---- its life ---- */

struct registry *registry_open(struct node *node, const struct registry_uri *uri, registry_fn *fn, void *arg, struct ls_error *err)
{
    static const char *const OF_ALIAS[] = {"model.alias.set", "model.alias.deleted", "model.version.updated", "model.updated",
                                           "model.deleted", NULL};
    static const char *const OF_VERSION[] = {"model.version.created", "model.version.updated", "model.updated", "model.deleted", NULL};
    struct registry *r = xcalloc(1, sizeof *r);
    *r = (struct registry){.node = node, .uri = *uri, .fn = fn, .arg = arg, .look.fire = on_look, .retry_ms = RETRY_MS_MIN,
                           .opened_ms = clock_mono_ms()};
    const struct ls_subscription events = {.topics = uri->alias[0] ? OF_ALIAS : OF_VERSION};
    r->subscription = ls_subscribe(node_client(node), &events, on_event, r, err);
    if (!r->subscription)
        registry_close(&r);
    return r;
}

void registry_close(struct registry **registry)
{
    struct registry *r = *registry;
    *registry = NULL;
    if (!r)
        return;
    node_timer_unset(r->node, &r->look);
    if (r->subscription)
        ls_unsubscribe(node_client(r->node), r->subscription);
    registry_cause_fini(&r->cause);
    registry_cause_fini(&r->next_cause);
    buf_fini(&r->answer);
    free(r);
}
