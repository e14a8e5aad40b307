/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_ANSWER_H
#define NODES_INFERENCE_ANSWER_H
#include <sys/queue.h>

#include "lib/buf.h"
#include "lib/lineshaft.h"

/* An answer on its way to its requester, in the parts of docs/nodes/chat-generate.md. Pieces wait here and grow together: what
 * came from the backend at once leaves as one part, and a slow requester gets fewer, larger ones. */

/* A piece of one choice; absent members are empty. UTF-8 whole characters only. */
struct delta {
    uint32_t index;
    struct ls_slice reasoning, text, refusal;
    struct ls_slice tool_calls; /* JSON array */
    struct ls_slice logprobs;   /* JSON object */
    const char *finish_reason;  /* a constant; NULL: the choice goes on */
};

struct usage {
    uint64_t prompt_tokens, completion_tokens, total_tokens;
    bool estimated;
    struct ls_slice more; /* msgpack pairs of further keys, without a map's head */
    uint16_t more_pairs;
};

struct pending;

struct answer {
    struct ls_call *call;
    struct buf *scratch;   /* shared by all answers: a part being written */
    char *model, *version; /* of the first part; version may be NULL */
    const char *worker;
    bool begun;     /* the first part has gone */
    bool ending;    /* answer_end was called */
    uint64_t bytes; /* of text, reasoning, refusals and tool calls so far */
    STAILQ_HEAD(, pending) pending;
    size_t pending_bytes, pending_count;
    struct buf last; /* the pairs of the last part */
    uint16_t last_pairs;
};

/* answer_open: `call` must outlive the answer, or end with it; texts are copied but for `worker`. */
void answer_open(struct answer *a, struct ls_call *call, struct buf *scratch);
void answer_name(struct answer *a, const char *model, const char *version, const char *worker);
void answer_close(struct answer *a); /* frees; sends nothing */

/* answer_add keeps the piece for answer_credit; sends at once only what has grown large. -1: too much waits, or the error of
 * sending. */
int answer_add(struct answer *a, const struct delta *delta, struct ls_error *err);
/* answer_end: no piece follows. 1: the last part has gone and the call is dead; 0: answer_credit will send it; -1: error. */
int answer_end(struct answer *a, const struct usage *usage, double backend_ms, struct ls_error *err);
/* answer_credit sends what waits, as far as credit allows; results as for answer_end. */
int answer_credit(struct answer *a, struct ls_error *err);

#endif
