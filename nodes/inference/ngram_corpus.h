/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_CORPUS_H
#define NODES_INFERENCE_NGRAM_CORPUS_H
#include "lib/buf.h"
#include "nodes/inference/ngram.h"

/* The text that a model is trained on: documents, cleaned, and dealt out to training and held-out text. */

#define NGRAM_TEXT_MAX (1ull << 30) /* bytes of a corpus; one of 1 GiB needs some 40 GiB of memory to train */

struct ngram_document {
    size_t at;
    uint32_t len;
    bool held_out;
};

/* Zero-initialise; set held_out. */
struct ngram_corpus {
    double held_out; /* per cent of the documents, 0 to 90 */
    struct buf text;
    struct ngram_document *documents;
    size_t count, room, held_out_count;
    size_t training_bytes, held_out_bytes;
    uint64_t files, skipped, read_bytes; /* skipped: no text */
    struct ngram_inode {
        uint64_t device, inode;
    } *seen; /* files: no text is read twice */
    size_t seen_count, seen_room;
    void (*progress)(void *arg, const struct ngram_corpus *corpus); /* after each file; may be NULL */
    void *arg;
};
void ngram_corpus_fini(struct ngram_corpus *corpus);

/* ngram_corpus_text adds one file's text: split into documents at lines of a lone "%", or, if it has none, at empty lines; each
 * is cleaned (see ngram_corpus_clean), empty ones are dropped. A document is held out by a hash of its cleaned bytes, so the
 * choice is the same every time and equal documents are never on both sides. */
void ngram_corpus_text(struct ngram_corpus *corpus, struct ls_slice text);

/* ngram_corpus_clean appends a document: line ends are "\n"; overstruck characters ("_\bx", of paper terminals) are once there;
 * other controls go; lines that were broken because they were full (50 columns and more, and the next word did not fit) are
 * joined; two spaces behind the end of a sentence are one; white space at both ends goes. Bytes that are no UTF-8 stay, and
 * are spelled by the model. */
void ngram_corpus_clean(struct buf *out, struct ls_slice document);

/* ngram_corpus_add adds a file, or all files of a folder and the folders in it, in the order of their names. Files whose name
 * begins with a dot, indexes (NAME.dat beside NAME), files with NUL bytes and files that were read before (by another name) are
 * left out. SYSTEM, TOO_BIG. */
int ngram_corpus_add(struct ngram_corpus *corpus, const char *path, struct ls_error *err);

#endif
