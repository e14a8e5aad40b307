/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_INFERENCE_NGRAM_CHANCE_H
#define NODES_INFERENCE_NGRAM_CHANCE_H
#include <stdint.h>

/* Weights and random numbers in integers alone, so that every machine draws the same tokens from the same seed. */

#define NGRAM_WEIGHT_ONE (1ull << 40)

/* ngram_weight: 2 to the power of -cost, cost in units of 2^-24, as a share of NGRAM_WEIGHT_ONE; off by at most one unit in
 * 2^-33 of itself and one of the last place. */
uint64_t ngram_weight(uint64_t cost);
/* ngram_share: value * share / 2^bits, rounded down, without overflow in between. */
uint64_t ngram_share(uint64_t value, uint64_t share, unsigned bits);

/* xoshiro256** 1.0 by David Blackman and Sebastiano Vigna, seeded by splitmix64 as they advise. */
struct ngram_random {
    uint64_t state[4];
};
void ngram_random_seed(struct ngram_random *random, uint64_t seed);
uint64_t ngram_random_below(struct ngram_random *random, uint64_t bound); /* bound > 0 */

#endif
