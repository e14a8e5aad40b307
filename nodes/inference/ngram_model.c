/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in a model: strings, tokens, n-grams, costs. Every search is by halves in sorted arrays. */
#include "nodes/inference/ngram_model.h"

int ngram_compare(struct ls_slice a, struct ls_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

struct ls_slice ngram_text(const struct ngram_view *view, uint32_t token)
{
    static const char BYTES[256] = {
#define FOUR(n) (char) (n), (char) ((n) + 1), (char) ((n) + 2), (char) ((n) + 3)
#define ROW(n) FOUR(n), FOUR((n) + 4), FOUR((n) + 8), FOUR((n) + 12)
#define BLOCK(n) ROW(n), ROW((n) + 16), ROW((n) + 32), ROW((n) + 48)
        BLOCK(0), BLOCK(64), BLOCK(128), BLOCK(192)};
    if (token < NGRAM_BYTES)
        return ls_bytes("", 0);
    if (token < NGRAM_WORDS)
        return ls_bytes(&BYTES[token - NGRAM_BYTES], 1);
    return ngram_string(&view->words, token - NGRAM_WORDS);
}

uint32_t ngram_word(const struct ngram_view *view, struct ls_slice text)
{
    uint32_t low = NGRAM_WORDS, high = view->vocabulary;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = ngram_compare(ngram_text(view, middle), text);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NGRAM_BEGIN;
}

bool ngram_read(struct ngram_reader *reader, uint32_t *token)
{
    if (!reader->spelled.len) {
        if (!reader->text.len)
            return false;
        struct ls_slice piece = ngram_cut(&reader->text, &reader->kind);
        *token = ngram_word(reader->view, piece);
        if (*token != NGRAM_BEGIN)
            return true;
        reader->spelled = piece;
    }
    *token = NGRAM_BYTES + (uint8_t) reader->spelled.data[0];
    reader->spelled = (struct ls_slice){reader->spelled.data + 1, reader->spelled.len - 1};
    return true;
}

bool ngram_child(const struct ngram_view *view, size_t level, uint32_t node, uint32_t word, uint32_t *child)
{
    const uint32_t *firsts = view->levels[level].firsts, *words = view->levels[level + 1].words;
    uint32_t low = firsts[node], end = firsts[node + 1], high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (words[middle] < word)
            low = middle + 1;
        else
            high = middle;
    }
    *child = low;
    return low < end && words[low] == word;
}

bool ngram_find(const struct ngram_view *view, const uint32_t *tokens, size_t count, uint32_t *node)
{
    *node = tokens[0];
    for (size_t level = 0; level + 1 < count; level++)
        if (!ngram_child(view, level, *node, tokens[level + 1], node))
            return false;
    return true;
}

uint64_t ngram_cost(const struct ngram_view *view, const uint32_t *context, size_t count, uint32_t word)
{
    uint64_t cost = 0;
    size_t used = count < view->order - 1 ? count : view->order - 1;
    for (; used; used--) {
        uint32_t node, child;
        if (!ngram_find(view, context + count - used, used, &node))
            continue;
        if (ngram_child(view, used - 1, node, word, &child))
            return cost + view->levels[used].costs[child];
        cost += view->levels[used - 1].backoffs[node];
    }
    return cost + view->levels[0].costs[word];
}
