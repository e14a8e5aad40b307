/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_INFERENCE_H
#define NODES_INFERENCE_INFERENCE_H
#include <sys/queue.h>

#include "lib/node.h"
#include "nodes/inference/answer.h"
#include "nodes/inference/models.h"
#include "nodes/inference/options.h"
#include "nodes/inference/request.h"

/* The inside of the inference node. One thread. inference.c takes requests and keeps the turns under way; a backend does the
 * work of each and tells by turn_add, turn_end, turn_fail. */

struct inference;

/* One request from its arrival to its last part. */
struct turn {
    LIST_ENTRY(turn) link;
    struct inference *inference;
    struct answer answer;
    LIST_ENTRY(turn) fresh_link;
    bool fresh; /* has pieces that are to leave at the end of this turn of the loop */
    int64_t begun_ms;
    double asked_ms, heard_ms; /* the backend was called; its first byte came; 0: not yet */
    size_t prompt_bytes;
    void *work; /* the backend's; NULL: it has none under way */
};

struct backend {
    /* May fail for what the node cannot live with. On failure close is called too. */
    int (*open)(struct inference *in, struct ls_error *err);
    /* Begins the work of a turn; -1 with err for the caller. `request` dies with the call. */
    int (*start)(struct turn *turn, const struct request *request, const struct model *model, struct ls_error *err);
    /* Ends the work at once, and frees turn->work; tells nothing. Also called for work that has come to its end. */
    void (*stop)(struct turn *turn);
    void (*credit)(struct turn *turn); /* may be NULL */
    void (*connected)(struct inference *in, bool stands); /* the session; may be NULL */
    int64_t (*tick)(struct inference *in, int64_t now_ms);
    void (*close)(struct inference *in);
};
extern const struct backend inference_ngram, inference_openai;

struct inference {
    struct node *node;
    const struct inference_options *options;
    const struct backend *backend;
    void *state;          /* the backend's */
    struct models models; /* change them by inference_models */
    char unready[300];    /* why there are no models yet (inference_waits); empty: there are */
    LIST_HEAD(, turn) turns;
    LIST_HEAD(, turn) fresh;
    size_t turn_count;
    struct buf scratch;
};

/* inference_models takes the list (and empties *models): what this node answers for from now on. */
void inference_models(struct inference *in, struct models *models);
/* inference_waits: there are no models yet, and why: for those who ask, and for ingress (`waits` in the node's about). */
void inference_waits(struct inference *in, const char *format, ...) __attribute__((format(printf, 2, 3)));
void inference_count(struct inference *in, enum inference_metric metric, int64_t more);

/* turn_add: a piece; it leaves at the end of this turn of the loop, with others of the same answer. -1: the turn cannot go on;
 * the backend then calls turn_fail. */
int turn_add(struct turn *turn, const struct delta *delta, struct ls_error *err);
/* turn_end: the answer is whole; what waits for credit is sent when it comes. turn_fail: it ends with this error. Both stop the
 * backend's work; the turn may be gone when they return. */
void turn_end(struct turn *turn, const struct usage *usage);
void turn_fail(struct turn *turn, const struct ls_error *err);
/* turn_heard: the backend's first byte came (later ones do not count). */
void turn_heard(struct turn *turn);
/* turn_estimate: tokens by bytes, where the backend did not count them. */
void turn_estimate(const struct turn *turn, struct usage *usage);

#endif
