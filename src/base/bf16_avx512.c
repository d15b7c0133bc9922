/* bfloat16 kernels of AVX512-BF16 (Cooper Lake, Sapphire Rapids, Zen 4): rounding and packing,
 * which AMX uses as well, and products by vdpbf16ps, 32 multiply-adds an instruction. */
#include "lockstep/bf16.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

bool bf16_has_avx512(void);
bool bf16_has_avx512(void)
{
    unsigned a, b, c, d;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a & 1u << 5);
}

/* The first `count` of 16 floats at x; zeros behind, nothing read there. */
INLINE __m512 load(const float *x, int count)
{
    __mmask16 mask = count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
    return _mm512_maskz_loadu_ps(mask, x);
}

/* 16 numbers of `low`, then 16 of `high`. */
INLINE __m512i rounded(__m512 low, __m512 high)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Turns 16 x 16 words: four times, rows i and i + 8 are shuffled like two halves of a deck. */
INLINE void turn(__m512i rows[16])
{
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    __m512i shuffled[16];
#pragma GCC unroll 4
    for (int round = 0; round < 4; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            shuffled[2 * i] = _mm512_permutex2var_epi32(rows[i], low, rows[i + 8]);
            shuffled[2 * i + 1] = _mm512_permutex2var_epi32(rows[i], high, rows[i + 8]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            rows[i] = shuffled[i];
    }
}

/* Rows of a tile: 16 lines of 32 numbers if k is contiguous in the source, 16 pairs of k of 16
 * lines if lines are. `full`: the whole tile lies inside the operand. */
INLINE void load_tile(const bool full, const Bf16Source *source, int line, int k, __m512i rows[16])
{
    const __m512i pairs =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const int lines = full ? BF16_LINES : source->lines - line;
    const int depth = full ? BF16_DEPTH : source->depth - k;
    if (!source->turned) {
        const float *x = source->x + (size_t)line * source->step + k;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++, x += source->step)
            rows[i] = i < lines ? rounded(load(x, depth), depth > 16 ? load(x + 16, depth - 16)
                                                                     : _mm512_setzero_ps())
                                : _mm512_setzero_si512();
        return;
    }
    const float *x = source->x + (size_t)k * source->step + line;
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++, x += 2 * source->step) {
        __m512 even = 2 * i < depth ? load(x, lines) : _mm512_setzero_ps();
        __m512 odd = 2 * i + 1 < depth ? load(x + source->step, lines) : _mm512_setzero_ps();
        rows[i] = _mm512_permutexvar_epi16(pairs, rounded(even, odd));
    }
}

/* A right tile is the left tile of the same lines with its 16 x 16 pairs turned. */
INLINE void pack_tile(const bool full, const bool turns, const Bf16Source *source, int line, int k,
                      uint16_t *to)
{
    __m512i rows[16];
    load_tile(full, source, line, k, rows);
    if (turns)
        turn(rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        _mm512_store_si512(to + i * BF16_DEPTH, rows[i]);
}

TARGET static void pack_one(const bool turns, const Bf16Source *source, int line, int k,
                            uint16_t *to)
{
    const int depth = (source->depth + BF16_DEPTH - 1) / BF16_DEPTH;
    to += ((size_t)(line / BF16_LINES) * (size_t)depth + (size_t)(k / BF16_DEPTH)) * BF16_TILE;
    bool full = line + BF16_LINES <= source->lines && k + BF16_DEPTH <= source->depth;
    if (turns && full)
        pack_tile(true, true, source, line, k, to);
    else if (turns)
        pack_tile(false, true, source, line, k, to);
    else if (full)
        pack_tile(true, false, source, line, k, to);
    else
        pack_tile(false, false, source, line, k, to);
}

/* In the order in which the source is stored, so that the CPU's prefetchers can follow. */
static void pack(Bf16Side side, const Bf16Source *source, uint16_t *to)
{
    const bool turns = source->turned == (side == BF16_LEFT);
    if (source->turned)
        for (int k = 0; k < source->depth; k += BF16_DEPTH)
            for (int line = 0; line < source->lines; line += BF16_LINES)
                pack_one(turns, source, line, k, to);
    else
        for (int line = 0; line < source->lines; line += BF16_LINES)
            for (int k = 0; k < source->depth; k += BF16_DEPTH)
                pack_one(turns, source, line, k, to);
}

#define EACH_ROW(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define DECLARE(i) __m512 s##i##_0 = _mm512_setzero_ps(), s##i##_1 = s##i##_0;
#define MULTIPLY(i)                                                                                \
    {                                                                                              \
        const __m512bh value = (__m512bh)_mm512_set1_epi32(row[i * 16]);                           \
        s##i##_0 = _mm512_dpbf16_ps(s##i##_0, value, b0);                                          \
        s##i##_1 = _mm512_dpbf16_ps(s##i##_1, value, b1);                                          \
    }
#define STORE(i)                                                                                   \
    _mm512_storeu_ps(sums + i * step, s##i##_0);                                                   \
    if (right > 1)                                                                                 \
        _mm512_storeu_ps(sums + i * step + 16, s##i##_1);

typedef int Word __attribute__((may_alias));

/* 8 rows of C times 1 or 2 tiles of B. */
TARGET static void multiply_rows(int right, int depth, const uint16_t *a, const uint16_t *b,
                                 float *sums, size_t step)
{
    const uint16_t *next = right > 1 ? b + (size_t)depth * BF16_TILE : b;
    EACH_ROW(DECLARE)
    for (int tile = 0; tile < depth; tile++, a += BF16_TILE)
        for (int pair = 0; pair < BF16_DEPTH / 2; pair++, b += BF16_DEPTH, next += BF16_DEPTH) {
            const Word *row = (const Word *)(const void *)a + pair;
            const __m512bh b0 = (__m512bh)_mm512_load_si512(b);
            const __m512bh b1 = (__m512bh)_mm512_load_si512(next);
            EACH_ROW(MULTIPLY)
        }
    EACH_ROW(STORE)
}

static void block(int left, int right, int depth, const uint16_t *a, const uint16_t *b, float *sums,
                  size_t step)
{
    for (int i = 0; i < left * 2; i++)
        multiply_rows(right, depth,
                      a + (size_t)(i / 2) * (size_t)depth * BF16_TILE +
                          (size_t)(i % 2) * BF16_TILE / 2,
                      b, sums + (size_t)i * 8 * step, step);
}

extern const Bf16Kernels bf16_avx512;
const Bf16Kernels bf16_avx512 = {
    .name = "avx512",
    .pack = pack,
    .block = block,
};

#endif
