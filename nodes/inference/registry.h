/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_REGISTRY_H
#define NODES_INFERENCE_REGISTRY_H
#include "lib/node.h"
#include "nodes/inference/options.h"

/* Which version of a registered model is meant: asked of the tracker when the session begins, after each event about the model,
 * and every half a minute; one question at a time, so the last answer is the newest (docs/decisions/039). */

struct registry;

struct registry_version {
    char version[21];
    char source[501]; /* URI of its files */
};

/* The event that made the registry be asked; all NULL: none did. */
struct registry_cause {
    char *id, *traceparent, *tracestate, *correlationid;
};
void registry_cause_copy(struct registry_cause *to, const struct registry_cause *from); /* frees what `to` had */
void registry_cause_fini(struct registry_cause *cause);

/* Each answer that names a version which can be served. */
typedef void registry_fn(void *arg, const struct registry_version *version, const struct registry_cause *cause);

/* registry_open subscribes; no question before registry_connected. NULL with the client's error. */
struct registry *registry_open(struct node *node, const struct registry_uri *uri, registry_fn *fn, void *arg, struct ls_error *err);
void registry_connected(struct registry *r, bool stands);
void registry_ask(struct registry *r); /* now, or as soon as the open question is answered */
void registry_close(struct registry **r);

#endif
