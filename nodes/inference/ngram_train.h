/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_TRAIN_H
#define NODES_INFERENCE_NGRAM_TRAIN_H
#include "nodes/inference/ngram_corpus.h"
#include "nodes/inference/ngram_model.h"

/* Training: counts, smoothing, and the measure on held-out text. Models of all orders up to the wanted one are made on the way,
 * each a proper one of its order, so that they can be compared. */

enum ngram_stage {
    NGRAM_VOCABULARY, /* tokens, vocabulary are known */
    NGRAM_COUNTED,    /* ngrams of `order` */
    NGRAM_MEASURED,   /* perplexity and bits_per_character of the model of `order`; not without held-out text */
};

struct ngram_step {
    enum ngram_stage stage;
    uint32_t order, vocabulary;
    uint64_t tokens, ngrams;
    double perplexity, bits_per_character;
    double spelled; /* share of the held-out tokens that spell what the vocabulary lacks */
};

struct ngram_train_options {
    uint32_t order;       /* 1 to NGRAM_ORDER_MAX */
    uint32_t word_min;    /* a word that the text has less often is spelled; at least 1 */
    const char *name;
    int64_t created;      /* seconds since 1970 */
    void (*step)(void *arg, const struct ngram_step *step); /* may be NULL */
    void *arg;
};

/* What training made: ready for ngram_cost and ngram_write, which fills in the rest of info. */
struct ngram_trained {
    struct ngram_view view;
    struct ngram_info info;
    struct ngram_counts *counts; /* the arrays' owner */
};

/* ngram_train: NULL with TOO_BIG if it could need more memory than the machine has, or BAD_VALUE if there is no training text
 * at all. Blocks for the time it takes: seconds for a few MB. */
struct ngram_trained *ngram_train(const struct ngram_corpus *corpus, const struct ngram_train_options *options,
                                  struct ls_error *err);
void ngram_trained_free(struct ngram_trained **trained);

#endif
