/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_FILE_H
#define NODES_INFERENCE_NGRAM_FILE_H
#include "nodes/inference/ngram_model.h"

/* The model file, as docs/model-format.md describes it: this header, then arrays whose sizes follow from it. Little-endian. */

#define NGRAM_FILE_MAGIC "LSNGRAM" /* with its NUL, 8 bytes */
#define NGRAM_FILE_VERSION 1u

struct ngram_file_header {
    char magic[8];
    uint64_t checksum; /* XXH64 of all bytes behind this field */
    uint32_t version, order;
    uint64_t file_bytes;
    uint64_t content; /* XXH64 of all behind the header */
    int64_t created;
    uint64_t training_tokens, held_out_tokens;
    uint64_t perplexity[NGRAM_ORDER_MAX], bits_per_character; /* IEEE 754 double */
    uint32_t vocabulary, rare, word_bytes, rare_bytes; /* the bytes of all strings, with up to 3 of padding */
    uint32_t counts[NGRAM_ORDER_MAX]; /* 0 from `order` on */
    char name[NGRAM_NAME_SIZE];       /* filled up with NUL */
    uint8_t zero[32];
};
_Static_assert(sizeof(struct ngram_file_header) == 256, "the header of a model file has 256 bytes");

/* ngram_file_arrays calls `fn` for every array of the file, in order: where its pointer stands, how many bytes it has (a
 * multiple of 4). The view needs order and counts only. */
typedef void ngram_array_fn(void *arg, const void **array, uint64_t bytes);
void ngram_file_arrays(struct ngram_view *view, const struct ngram_file_header *header, ngram_array_fn *fn, void *arg);

/* ngram_write writes a model to `path`: to a new file beside it, synced, then renamed, so that there is never half a model.
 * Of `info` it takes what the view does not say, and fills in version and bytes. SYSTEM. */
int ngram_write(const struct ngram_view *view, struct ngram_info *info, const char *path, struct ls_error *err);

#endif
