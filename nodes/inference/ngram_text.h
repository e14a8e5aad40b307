/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_TEXT_H
#define NODES_INFERENCE_NGRAM_TEXT_H
#include <stddef.h>

#include "lib/lineshaft.h"

/* How text is cut into pieces, from which a model's vocabulary is made (docs/model-format.md, "Tokens"). The pieces of a text
 * joined are the text, whatever bytes it holds. */

enum ngram_kind {
    NGRAM_WORD,   /* letters, with apostrophes between them */
    NGRAM_NUMBER, /* digits */
    NGRAM_MARK,   /* punctuation and symbols */
    NGRAM_SPACE,  /* white space that is not the one space before a piece of another kind */
    NGRAM_LOOSE,  /* a byte that is no UTF-8 */
};

/* ngram_cut takes the first piece off *text, which must not be empty. A single space before a word, number or mark belongs to
 * it. */
struct ls_slice ngram_cut(struct ls_slice *text, enum ngram_kind *kind);

/* ngram_characters: code points of well-formed text. */
size_t ngram_characters(struct ls_slice text);

#endif
