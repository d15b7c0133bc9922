/* Counter-based random numbers (Salmon et al. 2011): every number is a pure function of
 * (seed, purpose, a, b, index). There is no generator state, so nothing has to be saved, and no
 * rank, lane or thread can leak into a number.
 *
 * `a` is the step or epoch, `b` the sample, tensor or layer the numbers belong to. */
#ifndef LOCKSTEP_RANDOM_H
#define LOCKSTEP_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef enum RandomPurpose { /* never renumber: the trajectory of every seed depends on it */
                             RANDOM_INIT = 1,
                             RANDOM_ORDER = 2,
                             RANDOM_AUGMENT = 3,
                             RANDOM_DROPOUT = 4,
                             RANDOM_SYNTHETIC = 5,
                             RANDOM_NOISE = 6,
                             RANDOM_MASK = 7,
                             RANDOM_RESAMPLE = 12,
                             RANDOM_LANDSCAPE = 20,
                             RANDOM_TEST = 99,
} RandomPurpose;

/* A stream: made by random_key, never by hand. 128 bits, so that streams do not meet. */
typedef struct RandomKey {
    uint32_t key[2], high[2];
} RandomKey;

RandomKey random_key(uint64_t seed, RandomPurpose purpose, uint64_t a, uint64_t b);

/* Four 32-bit words number 4*index .. 4*index+3 of the stream `key` (Philox4x32-10). */
void random_words(RandomKey key, uint64_t index, uint32_t words[4]);

uint32_t random_word(RandomKey key, uint64_t index);  /* word number `index` of the stream */
double random_uniform(RandomKey key, uint64_t index); /* in (0, 1), 32 bits */
double random_normal(RandomKey key,
                     uint64_t index); /* N(0, 1); inverse CDF, own arithmetic, no libm */
uint32_t random_below(RandomKey key, uint64_t index, uint32_t n); /* 0 .. n-1, bias below 2^-32*n */

/* Fills x[0..n) with word / normal numbers first .. first+n-1 of the stream. */
void random_fill_words(RandomKey key, uint64_t first, uint32_t *x, size_t n);
void random_fill_normal(RandomKey key, uint64_t first, float *x, size_t n);
/* x[i] += scale * normal number first + i */
void random_add_normal(RandomKey key, uint64_t first, float scale, float *x, size_t n);

/* A bijection of 0..n-1, a pure function of the key: Feistel network over the next power of four
 * with cycle walking (Black and Rogaway 2002). O(1) memory, no broadcast. */
uint64_t random_permute(RandomKey key, uint64_t index, uint64_t n);

#endif
