/* SPDX-License-Identifier: Apache-2.0 */
/* The measure of a model on text: what its tokens cost. */
#include "nodes/inference/ngram_measure.h"

#include <math.h>
#include <string.h>

void ngram_measure_add(struct ngram_measure *measure, const struct ngram_view *view, struct ls_slice text)
{
    struct ngram_reader reader = {.view = view, .text = text};
    uint32_t context[NGRAM_ORDER_MAX] = {NGRAM_BEGIN}, token;
    size_t count = 1;
    measure->documents++;
    measure->characters += ngram_characters(text);
    for (bool more = true; more;) {
        more = ngram_read(&reader, &token);
        if (!more)
            token = NGRAM_END;
        measure->cost += ngram_cost(view, context, count, token);
        measure->tokens++;
        measure->spelled += token >= NGRAM_BYTES && token < NGRAM_WORDS;
        if (count == NGRAM_ORDER_MAX)
            memmove(context, context + 1, --count * sizeof *context);
        context[count++] = token;
    }
}

static double bits(const struct ngram_measure *measure)
{
    return (double) measure->cost / NGRAM_COST_BIT;
}

double ngram_measure_perplexity(const struct ngram_measure *measure)
{
    return exp2(bits(measure) / (double) measure->tokens);
}

double ngram_measure_bits_per_character(const struct ngram_measure *measure)
{
    return bits(measure) / (double) measure->characters;
}

double ngram_measure_spelled(const struct ngram_measure *measure)
{
    return (double) measure->spelled / (double) measure->tokens;
}
