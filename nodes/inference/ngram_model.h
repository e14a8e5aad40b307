/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_MODEL_H
#define NODES_INFERENCE_NGRAM_MODEL_H
#include "nodes/inference/ngram.h"
#include "nodes/inference/ngram_text.h"

/* A model as arrays, wherever they lie (in a mapped file, or in memory while it is trained), and looking things up in it.
 * docs/model-format.md says what the arrays mean. */

/* Tokens: the borders of a document, 256 that spell what the vocabulary lacks byte by byte, then the vocabulary's words (any
 * pieces of text) in the order of their bytes. */
#define NGRAM_BEGIN 0u
#define NGRAM_END 1u
#define NGRAM_BYTES 2u
#define NGRAM_WORDS 258u
#define NGRAM_WORD_MAX 63 /* bytes of a word, also of a rare one */

/* A cost is -log2 of a probability in units of 2^-24 bits; NEVER: the probability is 0. */
#define NGRAM_COST_BIT (1u << 24)
#define NGRAM_NEVER UINT32_MAX

/* The n-grams of one length, in the order of their tokens. Those that go on from n-gram i with one more token are the n-grams
 * firsts[i] to firsts[i + 1] - 1 of the next level. */
struct ngram_level {
    uint32_t count;
    const uint32_t *words;    /* the last token, ascending within a parent; NULL at level 0: it is the index */
    const uint32_t *costs;    /* of the last token after those before it */
    const uint32_t *backoffs; /* what a token costs on top that does not go on from here; NULL at the last level */
    const uint32_t *firsts;   /* count + 1; NULL at the last level */
};

/* Strings one behind the other, ascending: number i has the bytes from ends[i] to ends[i + 1] - 1. */
struct ngram_strings {
    uint32_t count;
    const char *bytes;
    const uint32_t *ends;
};

struct ngram_view {
    uint32_t order, vocabulary;
    struct ngram_strings words; /* of the tokens from NGRAM_WORDS on */
    struct ngram_strings rare;  /* words of the training text that are spelled: the only ones that an answer spells */
    struct ngram_level levels[NGRAM_ORDER_MAX];
};

struct ngram {
    struct ngram_view view;
    struct ngram_info info;
    void *map;
    size_t map_len;
    uint32_t *by_cost; /* tokens, those first that are cheapest without context */
    unsigned uses;     /* the opener and the streams */
};

static inline struct ls_slice ngram_string(const struct ngram_strings *strings, uint32_t i)
{
    return ls_bytes(strings->bytes + strings->ends[i], strings->ends[i + 1] - strings->ends[i]);
}

/* ngram_compare: the order of strings, that of memcmp; a beginning comes before what it begins. */
int ngram_compare(struct ls_slice a, struct ls_slice b);
/* ngram_text: what a token stands for; empty for the borders. */
struct ls_slice ngram_text(const struct ngram_view *view, uint32_t token);
/* ngram_word: the token of exactly this string, or NGRAM_BEGIN if the vocabulary lacks it. */
uint32_t ngram_word(const struct ngram_view *view, struct ls_slice text);

/* Text as tokens, one at a time: set view and text, zero the rest, read until false. */
struct ngram_reader {
    const struct ngram_view *view;
    struct ls_slice text, spelled;
    enum ngram_kind kind; /* of the piece that the last token is, or is a byte of */
};
bool ngram_read(struct ngram_reader *reader, uint32_t *token);

/* ngram_child: the n-gram that goes on from `node` of `level` (0: one token) with `word`. False if there is none. */
bool ngram_child(const struct ngram_view *view, size_t level, uint32_t node, uint32_t word, uint32_t *child);
/* ngram_find: the n-gram of these tokens, 1 to order of them, in level count - 1. */
bool ngram_find(const struct ngram_view *view, const uint32_t *tokens, size_t count, uint32_t *node);
/* ngram_cost: the cost of `word` after the `count` tokens of `context`, of which the last order - 1 matter. */
uint64_t ngram_cost(const struct ngram_view *view, const uint32_t *context, size_t count, uint32_t word);

#endif
