/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_MODELS_H
#define NODES_INFERENCE_MODELS_H
#include "lib/buf.h"

/* The models that a node answers for. Zero-initialise. */
struct model {
    const char *id, *owned_by, *version; /* version may be NULL */
    const char *content;                 /* version of the content itself, if `version` is the registry's; may be NULL */
    const char *kind;                    /* "ngram" or NULL; a constant */
    int64_t created;                     /* seconds since 1970 */
    int64_t context_length;              /* 0: unknown */
};

struct models {
    struct model *items;
    size_t count, room;
};

void models_fini(struct models *m);                                      /* leaves an empty list */
void models_add(struct models *m, const struct model *model);            /* copies the texts */
const struct model *models_find(const struct models *m, const char *id); /* NULL: none */
bool models_equal(const struct models *a, const struct models *b);

/* models_pack writes {models: [...]} as docs/nodes/chat-generate.md has it, with as many models as fit into `max` bytes; returns how
 * many. */
size_t models_pack(const struct models *m, struct buf *out, size_t max);

#endif
