/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_PROMPT_H
#define NODES_INFERENCE_NGRAM_PROMPT_H
#include "nodes/inference/ngram_model.h"

/* What a model makes of a prompt: the tokens to go on from, and the words that an answer should come to. */

#define NGRAM_TOPICS_MAX 32

struct ngram_prompt {
    uint32_t context[NGRAM_ORDER_MAX]; /* the last tokens */
    size_t context_count;              /* at most NGRAM_ORDER_MAX - 1 */
    uint32_t pieces;                   /* of the whole prompt */
    bool after_space;                  /* it ends in white space, which context leaves out */
    uint8_t *topics;                   /* by token: 0, or the number of its topic from 1; NULL: there are none. The
                                        * owner frees it. */
};

/* ngram_prompt_read: `answer` as in struct ngram_sampling. */
void ngram_prompt_read(const struct ngram_view *view, struct ls_slice text, bool answer, struct ngram_prompt *prompt);

#endif
