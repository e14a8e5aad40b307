/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_H
#define NODES_INFERENCE_NGRAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lineshaft.h"

/* A small language model in one file: interpolated modified Kneser-Ney n-grams (Chen and Goodman, "An empirical study of
 * smoothing techniques for language modeling", Computer Speech and Language 13, 1999) over words, made by `lineshaft
 * train`. The file is described in docs/model-format.md; what to expect of the answers in docs/nodes/ngram.md.
 *
 * One thread: a model and its streams are used by one thread at a time. No call waits for anything but the disk. */

struct ngram;
struct ngram_stream;

#define NGRAM_ORDER_MAX 6
#define NGRAM_NAME_SIZE 64
#define NGRAM_TOKENS_MAX 4096 /* of one answer, also where max_tokens asks for more or for none */

struct ngram_info {
    char name[NGRAM_NAME_SIZE];
    char version[17]; /* of the content, in hexadecimal: the same probabilities have the same version */
    uint32_t order;
    uint32_t vocabulary;                      /* kinds of token, with the 256 bytes and the two borders of a document */
    uint64_t ngrams[NGRAM_ORDER_MAX];         /* [0]: of one token */
    uint64_t training_tokens, held_out_tokens;
    double perplexity[NGRAM_ORDER_MAX];       /* on held-out text, for models of order 1, 2 ... `order`; 0: not measured */
    double bits_per_character;                /* of the same text, for this model; 0: not measured */
    int64_t created;                          /* seconds since 1970 */
    uint64_t bytes;                           /* of the file */
};

/* ngram_open maps the file for reading and verifies all of it (sizes, checksum, every index), so that nothing that is read
 * later can lie outside. SYSTEM: it cannot be read; CORRUPT: it is no model, a damaged one or one of another version.
 * Files are replaced by rename, as `train` does: a mapped file must not be cut or overwritten. */
struct ngram *ngram_open(const char *path, struct ls_error *err);

/* ngram_close gives the model back and NULLs. It may be called while streams are under way: the last of them frees it. */
void ngram_close(struct ngram **model);

const struct ngram_info *ngram_info(const struct ngram *model); /* lives as long as the model */

/* How to choose tokens. NGRAM_SAMPLING is the plain one; zeroed, the most probable token is always taken. */
struct ngram_sampling {
    double temperature;       /* 0 to 100; 0: always the most probable token */
    double top_p;             /* 0 to 1: of the most probable tokens, so many that they have this share together */
    bool has_seed;
    uint64_t seed;            /* same model, prompt and sampling with the same seed: same answer on every machine */
    int64_t max_tokens;       /* 0: until the text ends */
    const char *const *stop;  /* the answer ends before the first of these; copied, empty ones are ignored */
    size_t stop_count;
    bool answer;              /* the prompt is a turn to be answered: begin a new text (see docs/nodes/ngram.md);
                               * else it is a text to be continued */
};
#define NGRAM_SAMPLING ((struct ngram_sampling){.temperature = 1, .top_p = 1})

/* ngram_start begins an answer to `prompt` (UTF-8; other bytes are taken as they are; for a chat: the user's last message).
 * Prompt and sampling are copied. Any number of streams may be under way. BAD_VALUE, with the name of the member that
 * is out of its range. Free with ngram_finish. */
struct ngram_stream *ngram_start(struct ngram *model, struct ls_slice prompt, const struct ngram_sampling *sampling,
                                 struct ls_error *err);

/* ngram_next: true and the next piece of the answer, one token's text as a rule: valid UTF-8, never empty, borrowed until the
 * next call. False at the end and *finish_reason is "stop" (the text ended, or a stop string came) or "length"
 * (max_tokens). Text that may become a stop string is held back, so no part of one is ever handed out. Takes well under a
 * millisecond. */
bool ngram_next(struct ngram_stream *stream, struct ls_slice *piece, const char **finish_reason);

/* Pieces of text: words, numbers, marks, white space; also a word that the model has to spell counts as one. */
uint32_t ngram_prompt_tokens(const struct ngram_stream *stream);
uint32_t ngram_completion_tokens(const struct ngram_stream *stream); /* so far, those of a stop string included */

void ngram_finish(struct ngram_stream **stream); /* at any time; NULLs */

#endif
