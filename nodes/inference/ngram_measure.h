/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_MEASURE_H
#define NODES_INFERENCE_NGRAM_MEASURE_H
#include "nodes/inference/ngram_model.h"

/* How well a model predicts text. Zero-initialise; add documents; read off. */
struct ngram_measure {
    uint64_t cost;    /* of all tokens */
    uint64_t tokens;  /* the ends of the documents are tokens too */
    uint64_t spelled; /* tokens that spell what the vocabulary lacks */
    uint64_t characters, documents;
};

/* ngram_measure_add: `text` is one document, cleaned as the training text was (ngram_corpus_clean). */
void ngram_measure_add(struct ngram_measure *measure, const struct ngram_view *view, struct ls_slice text);

/* Of at least one document. Perplexity is per token, so it compares models of one vocabulary; bits per
 * character compare all. */
double ngram_measure_perplexity(const struct ngram_measure *measure);
double ngram_measure_bits_per_character(const struct ngram_measure *measure);
double ngram_measure_spelled(const struct ngram_measure *measure); /* share of the tokens */

#endif
