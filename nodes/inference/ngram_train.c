/* SPDX-License-Identifier: Apache-2.0 */
/* Probabilities from counts: interpolated modified Kneser-Ney (Chen and Goodman 1999, section 3), the discounts from the
 * counts of counts of each level. In a model of order n the level of n-grams uses how often the text has them, every level
 * below how many different tokens stand before them. And the measure of each model on text that it has not seen. */
#include "nodes/inference/ngram_train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/xmem.h"
#include "nodes/inference/ngram_counts.h"
#include "nodes/inference/ngram_measure.h"

#define BYTES_A_NGRAM 40 /* of struct ngram_count_level, and what qsort and growing take on top */
#define BYTES_A_TOKEN 60 /* pieces, tokens, positions */

static uint32_t cost_of(double chance)
{
    double cost = chance > 0 ? -log2(chance) * NGRAM_COST_BIT : NGRAM_NEVER;
    if (cost < 0)
        return 0;
    return cost >= NGRAM_NEVER ? NGRAM_NEVER - 1 : (uint32_t) llround(cost);
}

/* ---- smoothing ---- */

struct discounts {
    double by_count[4]; /* for counts of 0 (nothing), 1, 2, and 3 and more */
};

static double discount(const struct discounts *d, uint32_t count)
{
    return d->by_count[count < 3 ? count : 3];
}

/* Where the text is too small for the formula, KenLM's stand-in: half a count, one, one and a half. */
static struct discounts discounts_of(const uint32_t *counts, uint32_t first, uint32_t count)
{
    uint64_t n[5] = {0};
    struct discounts d = {{0, 0.5, 1, 1.5}};
    for (uint32_t i = first; i < count; i++)
        if (counts[i] < 5)
            n[counts[i]]++;
    if (!n[1] || !n[2] || !n[3] || !n[4])
        return d;
    double y = (double) n[1] / (double) (n[1] + 2 * n[2]);
    struct discounts wanted = {{0, 1 - 2 * y * (double) n[2] / (double) n[1], 2 - 3 * y * (double) n[3] / (double) n[2],
                                3 - 4 * y * (double) n[4] / (double) n[3]}};
    for (int i = 1; i <= 3; i++)
        if (!(wanted.by_count[i] > 0 && wanted.by_count[i] <= i))
            return d;
    return wanted;
}

/* One token without context: what the discounts leave is shared equally by all that can follow, seen or not. */
static void estimate_words(struct ngram_count_level *level, const uint32_t *counts)
{
    struct discounts d = discounts_of(counts, NGRAM_BEGIN + 1, level->count);
    double sum = 0, left = 0;
    for (uint32_t i = NGRAM_BEGIN + 1; i < level->count; i++) {
        sum += counts[i];
        left += discount(&d, counts[i]);
    }
    for (uint32_t i = NGRAM_BEGIN + 1; i < level->count; i++) {
        level->chances[i] = (counts[i] - discount(&d, counts[i])) / sum + left / sum / (level->count - 1);
        level->costs[i] = cost_of(level->chances[i]);
    }
    level->costs[NGRAM_BEGIN] = NGRAM_NEVER;
}

/* The same after each context: what the discounts leave goes to the shorter context's distribution. */
static void estimate_after(struct ngram_count_level *level, struct ngram_count_level *parents, const uint32_t *counts,
                           const double *shorter)
{
    struct discounts d = discounts_of(counts, 0, level->count);
    for (uint32_t parent = 0; parent < parents->count; parent++) {
        uint32_t begin = parents->firsts[parent], end = parents->firsts[parent + 1];
        double sum = 0, left = 0;
        for (uint32_t i = begin; i < end; i++) {
            sum += counts[i];
            left += discount(&d, counts[i]);
        }
        parents->backoffs[parent] = begin < end ? cost_of(left / sum) : 0;
        for (uint32_t i = begin; i < end; i++) {
            level->chances[i] = (counts[i] - discount(&d, counts[i])) / sum + left / sum * shorter[level->suffixes[i]];
            level->costs[i] = cost_of(level->chances[i]);
        }
    }
}

static void estimate(struct ngram_counts *counts, uint32_t k, bool last)
{
    struct ngram_count_level *level = &counts->levels[k];
    const uint32_t *numbers = last ? level->raw : level->before;
    if (k == 0)
        estimate_words(level, numbers);
    else
        estimate_after(level, &counts->levels[k - 1], numbers, counts->levels[k - 1].chances);
}

/* ---- the measure ---- */

static void measure(struct ngram_trained *trained, const struct ngram_corpus *corpus, uint32_t order, struct ngram_step *step)
{
    struct ngram_view view = ngram_counts_view(trained->counts, order);
    struct ngram_measure sum = {0};
    for (size_t i = 0; i < corpus->count; i++)
        if (corpus->documents[i].held_out)
            ngram_measure_add(&sum, &view, ls_bytes(corpus->text.data + corpus->documents[i].at, corpus->documents[i].len));
    step->perplexity = ngram_measure_perplexity(&sum);
    step->bits_per_character = ngram_measure_bits_per_character(&sum);
    step->spelled = ngram_measure_spelled(&sum);
    step->tokens = sum.tokens;
    trained->info.held_out_tokens = sum.tokens;
    trained->info.perplexity[order - 1] = step->perplexity;
    trained->info.bits_per_character = step->bits_per_character;
}

/* ---- training ---- */

static void tell(const struct ngram_train_options *options, const struct ngram_step *step)
{
    if (options->step)
        options->step(options->arg, step);
}

static int check_memory(const struct ngram_corpus *corpus, uint32_t order, uint64_t tokens, struct ls_error *err)
{
    double machine = (double) sysconf(_SC_PHYS_PAGES) * (double) sysconf(_SC_PAGESIZE);
    double need = (double) (corpus->text.room + tokens * (BYTES_A_TOKEN + (uint64_t) (order - 1) * BYTES_A_NGRAM));
    if (need <= machine)
        return 0;
    return error_set(err, "TOO_BIG", "this much text may take %.1f GiB of memory to train, the machine has %.1f: name fewer files, or "
                     "a lower --order", need / (1 << 30), machine / (1 << 30));
}

static int count(struct ngram_counts *counts, const struct ngram_corpus *corpus, const struct ngram_train_options *options,
                 struct ls_error *err)
{
    ngram_counts_vocabulary(counts, corpus, options->word_min);
    ngram_counts_tokens(counts, corpus);
    struct ngram_step step = {.stage = NGRAM_VOCABULARY, .vocabulary = counts->vocabulary, .tokens = counts->token_count};
    tell(options, &step);
    if (check_memory(corpus, counts->order, counts->token_count, err) < 0)
        return -1;
    ngram_counts_fill(counts);
    for (uint32_t k = 0; k < counts->order; k++) {
        step = (struct ngram_step){.stage = NGRAM_COUNTED, .order = k + 1, .ngrams = counts->levels[k].count};
        tell(options, &step);
    }
    return 0;
}

struct ngram_trained *ngram_train(const struct ngram_corpus *corpus, const struct ngram_train_options *options,
                                  struct ls_error *err)
{
    if (corpus->count == corpus->held_out_count) {
        error_set(err, "BAD_VALUE", "there is no text to train on");
        return NULL;
    }
    struct ngram_trained *trained = xcalloc(1, sizeof *trained);
    struct ngram_counts *counts = trained->counts = xcalloc(1, sizeof *counts);
    counts->order = options->order;
    if (count(counts, corpus, options, err) < 0) {
        ngram_trained_free(&trained);
        return NULL;
    }
    trained->info = (struct ngram_info){.order = options->order, .vocabulary = counts->vocabulary, .created = options->created,
                                        .training_tokens = counts->token_count};
    for (uint32_t i = 0; i < options->order; i++)
        trained->info.ngrams[i] = counts->levels[i].count;
    snprintf(trained->info.name, sizeof trained->info.name, "%s", options->name);
    for (uint32_t order = 1; order <= options->order; order++) {
        struct ngram_step step = {.stage = NGRAM_MEASURED, .order = order};
        estimate(counts, order - 1, true);
        if (corpus->held_out_count) {
            measure(trained, corpus, order, &step);
            tell(options, &step);
        }
        if (order < options->order)
            estimate(counts, order - 1, false);
    }
    trained->view = ngram_counts_view(counts, options->order);
    return trained;
}

void ngram_trained_free(struct ngram_trained **trained)
{
    struct ngram_trained *old = *trained;
    *trained = NULL;
    if (!old)
        return;
    ngram_counts_free(old->counts);
    free(old);
}
