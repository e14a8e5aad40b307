/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_REQUEST_H
#define NODES_INFERENCE_REQUEST_H
#include <jansson.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* A chat.generate request, read (docs/nodes/chat-generate.md). */
struct request {
    struct ls_slice body; /* the JSON text as it came; borrowed */
    json_t *json;         /* an object with `messages`, or with `prompt` for a completion */
    bool completion;
    const char *model; /* NULL: none named */
};

/* request_read: BAD_VALUE with a sentence for the caller. request_fini also after a failure. */
int request_read(struct request *r, const struct ls_event *event, struct ls_error *err);
void request_fini(struct request *r);

/* request_prompt_bytes: the text that the model is to read. */
size_t request_prompt_bytes(const struct request *r);

/* json_read: strict JSON (RFC 8259), NULs in strings allowed; integers over 64 bits become reals. NULL: *why (may be NULL). */
json_t *json_read(struct ls_slice text, json_error_t *why);

/* json_text_of: the text of `content` as the OpenAI API has it, a string or a list of parts; appended to *text. Returns the
 * bytes it has; text may be NULL. */
size_t json_text_of(const json_t *content, struct buf *text);

#endif
