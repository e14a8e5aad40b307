/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_COUNTS_H
#define NODES_INFERENCE_NGRAM_COUNTS_H
#include "nodes/inference/ngram_train.h"

/* The trainer's memory: tokens, and the n-grams with their counts; ngram_counts.c fills it, ngram_train.c makes probabilities
 * of it. */

struct ngram_count_level {
    uint32_t count;
    size_t room;
    uint32_t *words, *firsts; /* as in struct ngram_level */
    uint32_t *raw;            /* how often the text has it */
    uint32_t *before;         /* how many different tokens stand before it; for one that begins a document: raw */
    uint32_t *suffixes;       /* the n-gram without its first token, in the level below */
    double *chances;          /* of the last token after those before it */
    uint32_t *costs, *backoffs;
};

/* A list of strings while it grows. */
struct ngram_string_list {
    struct buf bytes;
    uint32_t *ends;
    uint32_t count;
    size_t room;
};

struct ngram_counts {
    uint32_t order, vocabulary;
    struct ngram_string_list words, rare;
    uint32_t *tokens; /* of the training text: BEGIN ... END BEGIN ... END */
    size_t token_count;
    struct ngram_count_level levels[NGRAM_ORDER_MAX];
};

/* ngram_counts_vocabulary fills vocabulary, words and rare from the training documents; ngram_counts_tokens then tokens, and
 * ngram_counts_fill then the levels but for chances, costs and backoffs, which it allocates. */
void ngram_counts_vocabulary(struct ngram_counts *counts, const struct ngram_corpus *corpus, uint32_t word_min);
void ngram_counts_tokens(struct ngram_counts *counts, const struct ngram_corpus *corpus);
void ngram_counts_fill(struct ngram_counts *counts);
void ngram_counts_free(struct ngram_counts *counts);

/* ngram_counts_view: a view of the first `order` levels. */
struct ngram_view ngram_counts_view(const struct ngram_counts *counts, uint32_t order);

#endif
