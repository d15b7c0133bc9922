/* Philox4x32-10 (Salmon et al. 2011) over many counters: the words that random_words gives. A
 * counter takes a 64-bit lane of four vectors, one for each word; the upper halves hold what
 * happens to be there, since products are of lower halves only. */
#include "lockstep/cpu.h"
#include "lockstep/kernels.h"

#include <Random123/philox.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { LANES = 8 };
#elif defined __AVX2__
enum { LANES = 4 };
#else
enum { LANES = 2 };
#endif
typedef uint64_t Lanes __attribute__((vector_size(LANES * sizeof(uint64_t))));

/* Products of lower halves: one instruction, which gcc 12 does not find by itself. */
static inline Lanes product(Lanes x, uint32_t factor)
{
    Lanes factors = (Lanes){ 0 } + factor;
#if defined __AVX512F__
    return (Lanes)_mm512_mul_epu32((__m512i)x, (__m512i)factors);
#elif defined __AVX2__
    return (Lanes)_mm256_mul_epu32((__m256i)x, (__m256i)factors);
#elif defined __x86_64__
    return (Lanes)_mm_mul_epu32((__m128i)x, (__m128i)factors);
#else
    return (x & 0xffffffffu) * factors;
#endif
}

/* Words a, b, c, d of every counter -> x (LANES, 4). */
static inline void store(Lanes a, Lanes b, Lanes c, Lanes d, uint32_t *x)
{
    Lanes first = (a & 0xffffffffu) | b << 32, second = (c & 0xffffffffu) | d << 32;
    for (int i = 0; i < LANES; i++) {
        uint64_t pair[2] = { first[i], second[i] };
        memcpy(x + 4 * i, pair, sizeof pair);
    }
}

/* x: (LANES, 4) */
static inline void lanes_of_groups(RandomKey key, uint64_t group, uint32_t *x)
{
    Lanes number;
    for (int i = 0; i < LANES; i++)
        number[i] = group + (uint64_t)i;
    Lanes a = number, b = number >> 32, c = (Lanes){ 0 } + key.high[0],
          d = (Lanes){ 0 } + key.high[1];
    uint32_t key0 = key.key[0], key1 = key.key[1];
    for (int round = 0; round < 10; round++) {
        Lanes low = product(a, PHILOX_M4x32_0), high = product(c, PHILOX_M4x32_1);
        a = high >> 32 ^ b ^ key0;
        b = high;
        c = low >> 32 ^ d ^ key1;
        d = low;
        key0 += PHILOX_W32_0;
        key1 += PHILOX_W32_1;
    }
    store(a, b, c, d, x);
}

extern void ISA_NAME(philox_groups)(RandomKey key, uint64_t group, uint32_t *x, size_t groups);
void ISA_NAME(philox_groups)(RandomKey key, uint64_t group, uint32_t *x, size_t groups)
{
    for (; groups >= LANES; groups -= LANES, group += LANES, x += 4 * LANES)
        lanes_of_groups(key, group, x);
    if (groups > 0) {
        uint32_t rest[4 * LANES];
        lanes_of_groups(key, group, rest);
        memcpy(x, rest, 4 * groups * sizeof *x);
    }
}
