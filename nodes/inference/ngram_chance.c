/* SPDX-License-Identifier: Apache-2.0 */
/* Powers of two in fixed point, and the random numbers. */
#include "nodes/inference/ngram_chance.h"

#define ONE (1ull << 60)
#define LN2 799144290325165979ull /* in units of 2^-60 */

/* 2^(-i/16) in units of 2^-60. */
static const uint64_t SIXTEENTHS[16] = {
    1152921504606846976, 1104041415199452355, 1057233681222091667, 1012410441603304977, 969487560292816559, 928384468332857358,
    889024012625145262,  851332311109649260,  815238614083298888,  780675171398325420,  747577105290957711, 715882288601764123,
    685531228159052439,  656466953106431027,  628634907964915054,  601982850228848561};

uint64_t ngram_share(uint64_t value, uint64_t share, unsigned bits)
{
    return (uint64_t) ((unsigned __int128) value * share >> bits);
}

uint64_t ngram_weight(uint64_t cost)
{
    uint64_t whole = cost >> 24;
    if (whole > 40)
        return 0;
    /* The sixteenths from the table, the rest by the series of e^-x, x below 0.0434. */
    uint64_t rest = ngram_share((cost & 0xfffff) << 36, LN2, 60), sum = ONE;
    for (uint64_t n = 6; n; n--)
        sum = ONE - ngram_share(rest, sum, 60) / n;
    return ngram_share(SIXTEENTHS[cost >> 20 & 15], sum, 60) >> (20 + whole);
}

void ngram_random_seed(struct ngram_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        random->state[i] = z ^ z >> 31;
    }
}

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t ngram_random_below(struct ngram_random *random, uint64_t bound)
{
    uint64_t *s = random->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return (uint64_t) ((unsigned __int128) result * bound >> 64);
}
