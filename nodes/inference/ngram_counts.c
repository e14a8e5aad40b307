/* SPDX-License-Identifier: Apache-2.0 */
/* Counting n-grams: all positions of the text are sorted by the tokens that follow, so that equal n-grams of every length lie
 * together and one pass over them builds all levels. */
#include "nodes/inference/ngram_counts.h"

#include <stdlib.h>

#include "lib/xmem.h"

static struct ls_slice document(const struct ngram_corpus *corpus, size_t i)
{
    return ls_bytes(corpus->text.data + corpus->documents[i].at, corpus->documents[i].len);
}

/* ---- vocabulary ---- */

struct pieces {
    struct ls_slice *items;
    size_t count, room;
};

static void collect(struct pieces *pieces, struct ls_slice text)
{
    while (text.len) {
        enum ngram_kind kind;
        struct ls_slice piece = ngram_cut(&text, &kind);
        if (kind == NGRAM_LOOSE || piece.len > NGRAM_WORD_MAX)
            continue;
        pieces->items = xgrow(pieces->items, &pieces->room, pieces->count + 1, sizeof *pieces->items);
        pieces->items[pieces->count++] = piece;
    }
}

static int by_bytes(const void *a, const void *b)
{
    return ngram_compare(*(const struct ls_slice *) a, *(const struct ls_slice *) b);
}

static void add_string(struct ngram_string_list *list, struct ls_slice text)
{
    list->ends = xgrow(list->ends, &list->room, list->count + 2ul, sizeof *list->ends);
    list->ends[0] = 0;
    if (!text.len)
        return;
    buf_add(&list->bytes, text.data, text.len);
    list->ends[++list->count] = (uint32_t) list->bytes.len;
}

void ngram_counts_vocabulary(struct ngram_counts *counts, const struct ngram_corpus *corpus, uint32_t word_min)
{
    struct pieces pieces = {0};
    for (size_t i = 0; i < corpus->count; i++)
        if (!corpus->documents[i].held_out)
            collect(&pieces, document(corpus, i));
    if (pieces.count)
        qsort(pieces.items, pieces.count, sizeof *pieces.items, by_bytes);
    add_string(&counts->words, ls_bytes("", 0)); /* so that there are arrays even without strings */
    add_string(&counts->rare, ls_bytes("", 0));
    buf_reserve(&counts->words.bytes, 1);
    buf_reserve(&counts->rare.bytes, 1);
    for (size_t i = 0, next; i < pieces.count; i = next) {
        for (next = i + 1; next < pieces.count && by_bytes(&pieces.items[i], &pieces.items[next]) == 0;)
            next++;
        add_string(next - i < word_min ? &counts->rare : &counts->words, pieces.items[i]);
    }
    counts->vocabulary = NGRAM_WORDS + counts->words.count;
    free(pieces.items);
}

void ngram_counts_tokens(struct ngram_counts *counts, const struct ngram_corpus *corpus)
{
    struct ngram_view view = ngram_counts_view(counts, 0);
    size_t room = 0, count = 0;
    for (size_t i = 0; i < corpus->count; i++) {
        struct ngram_reader reader = {.view = &view, .text = document(corpus, i)};
        uint32_t token = NGRAM_BEGIN;
        bool more = !corpus->documents[i].held_out;
        if (!more)
            continue;
        for (; more; more = ngram_read(&reader, &token)) {
            counts->tokens = xgrow(counts->tokens, &room, count + 2, sizeof *counts->tokens);
            counts->tokens[count++] = token;
        }
        counts->tokens[count++] = NGRAM_END;
    }
    counts->token_count = count;
}

/* ---- n-grams ---- */

/* How many of the first `max` tokens from a and from b are the same; n-grams end at END. */
static uint32_t common(const uint32_t *a, const uint32_t *b, uint32_t max)
{
    uint32_t same = 0;
    while (same < max && a[same] == b[same] && a[same++] != NGRAM_END)
        continue;
    return same;
}

static int by_tokens(const void *a, const void *b, void *arg)
{
    const struct ngram_counts *counts = arg;
    const uint32_t *one = counts->tokens + *(const uint32_t *) a, *other = counts->tokens + *(const uint32_t *) b;
    uint32_t same = common(one, other, counts->order);
    if (same == counts->order || (same && one[same - 1] == NGRAM_END))
        return 0;
    return one[same] < other[same] ? -1 : 1;
}

/* A new last n-gram of the level; those that go on from it will be the next ones of the level above. */
static void add_ngram(struct ngram_counts *counts, uint32_t i, uint32_t word)
{
    struct ngram_count_level *level = &counts->levels[i];
    uint32_t above = i + 1 < counts->order ? counts->levels[i + 1].count : 0;
    if (i == 0) { /* every token has its place, also one that the text lacks */
        while (level->count <= word)
            level->firsts[level->count++] = above;
        return;
    }
    if (level->count + 2ul > level->room) {
        size_t room = level->room, need = level->count + 2ul;
        level->words = xgrow(level->words, &room, need, sizeof *level->words);
        level->firsts = xrealloc(level->firsts, room * sizeof *level->firsts);
        level->raw = xrealloc(level->raw, room * sizeof *level->raw);
        level->room = room;
    }
    level->words[level->count] = word;
    level->raw[level->count] = 0;
    level->firsts[level->count++] = above;
}

static void build_levels(struct ngram_counts *counts, const uint32_t *positions)
{
    const uint32_t *before = NULL;
    for (size_t i = 0; i < counts->token_count; i++) {
        const uint32_t *at = counts->tokens + positions[i];
        uint32_t same = before ? common(before, at, counts->order) : 0;
        for (uint32_t k = 0; k < counts->order; k++) {
            if (k >= same)
                add_ngram(counts, k, at[k]);
            counts->levels[k].raw[counts->levels[k].count - 1]++;
            if (at[k] == NGRAM_END)
                break;
        }
        before = at;
    }
    struct ngram_count_level *words = &counts->levels[0];
    if (words->count < counts->vocabulary)
        add_ngram(counts, 0, counts->vocabulary - 1);
    for (uint32_t k = 0; k + 1 < counts->order; k++)
        if (counts->levels[k].firsts)
            counts->levels[k].firsts[counts->levels[k].count] = counts->levels[k + 1].count;
}

/* The n-gram without its first token, and from that what stands before each n-gram of the level below. */
static void link_suffixes(struct ngram_counts *counts, uint32_t k)
{
    struct ngram_view view = ngram_counts_view(counts, k + 1);
    struct ngram_count_level *level = &counts->levels[k], *parents = &counts->levels[k - 1];
    for (uint32_t parent = 0; parent < parents->count; parent++)
        for (uint32_t i = parents->firsts[parent]; i < parents->firsts[parent + 1]; i++) {
            if (k == 1)
                level->suffixes[i] = level->words[i];
            else
                ngram_child(&view, k - 2, parents->suffixes[parent], level->words[i], &level->suffixes[i]);
            parents->before[level->suffixes[i]]++;
        }
}

/* Nothing stands before what begins a document: its own count takes the place. BEGIN is token 0, so these come first. */
static void count_beginnings(struct ngram_counts *counts)
{
    uint32_t beginnings = 1;
    for (uint32_t k = 0; k + 1 < counts->order; k++) {
        struct ngram_count_level *level = &counts->levels[k];
        for (uint32_t i = 0; i < beginnings; i++)
            level->before[i] = level->raw[i];
        beginnings = level->firsts[beginnings];
    }
}

void ngram_counts_fill(struct ngram_counts *counts)
{
    struct ngram_count_level *words = &counts->levels[0];
    uint32_t *positions = xcalloc(counts->token_count, sizeof *positions);
    for (size_t i = 0; i < counts->token_count; i++)
        positions[i] = (uint32_t) i;
    qsort_r(positions, counts->token_count, sizeof *positions, by_tokens, counts);
    words->firsts = xcalloc(counts->vocabulary + 1ul, sizeof *words->firsts);
    words->raw = xcalloc(counts->vocabulary, sizeof *words->raw);
    for (uint32_t k = 1; k < counts->order; k++) { /* there may be none, yet there are arrays */
        counts->levels[k].room = 2;
        counts->levels[k].words = xcalloc(2, sizeof *words->words);
        counts->levels[k].firsts = xcalloc(2, sizeof *words->firsts);
        counts->levels[k].raw = xcalloc(2, sizeof *words->raw);
    }
    build_levels(counts, positions);
    free(positions);
    for (uint32_t k = 0; k < counts->order; k++) {
        struct ngram_count_level *level = &counts->levels[k];
        level->before = xcalloc(level->count, sizeof *level->before);
        level->suffixes = xcalloc(level->count, sizeof *level->suffixes);
        level->chances = xcalloc(level->count, sizeof *level->chances);
        level->costs = xcalloc(level->count, sizeof *level->costs);
        level->backoffs = xcalloc(level->count, sizeof *level->backoffs);
    }
    for (uint32_t k = 1; k < counts->order; k++)
        link_suffixes(counts, k);
    count_beginnings(counts);
}

static struct ngram_strings strings_of(const struct ngram_string_list *list)
{
    return (struct ngram_strings){list->count, (const char *) list->bytes.data, list->ends};
}

struct ngram_view ngram_counts_view(const struct ngram_counts *counts, uint32_t order)
{
    struct ngram_view view = {.order = order, .vocabulary = counts->vocabulary, .words = strings_of(&counts->words),
                              .rare = strings_of(&counts->rare)};
    for (uint32_t k = 0; k < order; k++) {
        const struct ngram_count_level *level = &counts->levels[k];
        bool last = k + 1 == order;
        view.levels[k] = (struct ngram_level){level->count, level->words, level->costs, last ? NULL : level->backoffs,
                                              last ? NULL : level->firsts};
    }
    return view;
}

void ngram_counts_free(struct ngram_counts *counts)
{
    for (uint32_t k = 0; k < NGRAM_ORDER_MAX; k++) {
        struct ngram_count_level *level = &counts->levels[k];
        free(level->words);
        free(level->firsts);
        free(level->raw);
        free(level->before);
        free(level->suffixes);
        free(level->chances);
        free(level->costs);
        free(level->backoffs);
    }
    buf_fini(&counts->words.bytes);
    buf_fini(&counts->rare.bytes);
    free(counts->words.ends);
    free(counts->rare.ends);
    free(counts->tokens);
    free(counts);
}
